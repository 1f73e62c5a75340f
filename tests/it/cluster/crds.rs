//! Every built-in template is taken by the real API server with the real CRDs: strictly, as a dry run, in each version of
//! DynamoGraphDeployment, with the variables' defaults and with all of them set. They need `DYNBENCH_SHARED`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use dynbench::render::{TEMPLATES, Template};
use serde_json::{Value, json};

use super::room::{Room, shared};
use crate::operator::{Age, Knobs, Operator, convert};
use crate::world::World;

/// A dry run of everything, and registries that are not to be reached.
const PATIENCE: Duration = Duration::from_secs(400);

/// What a variable is set to that has another value by default; `None`: its default is as good as any.
fn set(variable: &str) -> Option<Value> {
    Some(match variable {
        "image" => json!("dynbench.local/dynamo:v1.6.1-cuda13"),
        "engine-args" => json!(["--max-model-len", "4096", "--flag"]),
        "env" => json!({"LEVEL": "on", "NUMBER": 8}),
        "resources" | "frontend-resources" => {
            json!({"requests": {"cpu": "500m", "memory": "1024Mi"}, "limits": {"memory": "2Gi", "rdma/ib": "1"}})
        }
        "hf-token-secret" => json!("hf-token"),
        "model-cache" => json!("models"),
        "model-cache-path" => json!("/models"),
        "node-selector" => json!({"gpu": "h100"}),
        "tolerations" => json!([{"key": "gpu", "operator": "Equal", "value": "yes", "effect": "NoSchedule"},
            {"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60}]),
        "affinity" => json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a", "b"]}]}]}},
            "podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 10, "podAffinityTerm": {
                "topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "x"}}}}]}}),
        "image-pull-secrets" => json!(["pull", "other"]),
        "service-account" => json!("runner"),
        "labels" => json!({"kueue.x-k8s.io/queue-name": "q", "number": "1"}),
        "annotations" => json!({"example.com/on": "yes"}),
        "shared-memory" => json!("16384Mi"),
        "gpu-resource" => json!("amd.com/gpu"),
        "nodes" => json!(2),
        "run-as-user" => json!(1001),
        "replicas" | "prefill-replicas" | "decode-replicas" => json!(3),
        "gpus-per-replica" | "prefill-gpus-per-replica" | "decode-gpus-per-replica" => json!(4),
        "router-mode" => json!("kv"),
        "model-path" => json!("/models/tiny"),
        "speedup-ratio" => json!(10),
        "storage-class" => json!("standard"),
        "command" => json!(["/dynbench"]),
        "engine" => json!("disaggregated"),
        "set" => json!({"prefill-workers": 2}),
        _ => return None,
    })
}

/// JSON as TOML writes it inline.
fn inline(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let fields: Vec<_> =
                fields.iter().map(|(name, value)| format!("{} = {}", json!(name), inline(value))).collect();
            format!("{{ {} }}", fields.join(", "))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(inline).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

/// All variables of a template that are not left at their defaults, as `vars` of a plan.
fn variables(template: &Template) -> String {
    let values = template.variables().filter_map(|variable| Some((variable.name, set(variable.name)?)));
    let values: BTreeMap<_, _> = values.collect();
    inline(&json!(values))
}

/// A plan with every template, twice: as it is, and with all its variables.
fn plan(namespace: &str) -> String {
    let mut text = format!(
        "schema = 1\nname = \"all\"\nmodel.id = \"tiny\"\n\n[workload]\nisl = 20\nosl = 4\nconcurrency = [1]\n\n\
         [load]\nfrom = \"here\"\n\n[target]\nkind = \"kubernetes\"\nnamespace = \"{namespace}\"\n\n[plots]\nset = []\n"
    );
    for (number, template) in TEMPLATES.iter().enumerate() {
        let name = template.name;
        write!(text, "\n[deployments.plain-{number}]\ntemplate = \"{name}\"\n").unwrap();
        let vars = variables(template);
        write!(text, "\n[deployments.full-{number}]\ntemplate = \"{name}\"\nvars = {vars}\n").unwrap();
    }
    text
}

#[test]
fn every_variable_of_a_template_but_texts_of_engines_is_set_to_another_value() {
    let names = TEMPLATES.iter().flat_map(Template::variables).map(|variable| variable.name);
    let unset: Vec<_> = names.filter(|name| set(name).is_none() && !name.ends_with("engine-config")).collect();
    assert_eq!(unset, Vec::<&str>::new());
}

/// All objects of a file that dynbench wrote.
fn written(world: &World, file: &str) -> Vec<Value> {
    use serde::Deserialize as _;
    let text = world.read(file);
    serde_yaml::Deserializer::from_str(&text).map(|document| Value::deserialize(document).unwrap()).collect()
}

#[test]
fn a_graph_in_the_older_version_is_the_same_graph_to_the_operator() {
    let world = World::new(&plan("anywhere"));
    for version in ["v1beta1", "v1alpha1"] {
        world.ends(0, &["render", "plan.toml", "--api-version", version, "-o", version]);
    }
    let mut graphs = 0;
    for (number, template) in TEMPLATES.iter().enumerate() {
        for name in [format!("plain-{number}.yaml"), format!("full-{number}.yaml")] {
            let newer = written(&world, &format!("v1beta1/{name}"));
            let older = written(&world, &format!("v1alpha1/{name}"));
            for (mut newer, older) in newer.into_iter().zip(older) {
                if newer["kind"] == "DynamoGraphDeployment" {
                    assert_eq!(older["apiVersion"], "nvidia.com/v1alpha1");
                    // A map has no order.
                    let components = newer["spec"]["components"].as_array_mut().unwrap();
                    components.sort_by(|one, other| one["name"].as_str().cmp(&other["name"].as_str()));
                    graphs += 1;
                }
                assert_eq!(convert(&older, "nvidia.com/v1beta1").unwrap(), newer, "{}", template.name);
            }
        }
    }
    assert!(graphs > TEMPLATES.len(), "{graphs}");
}

fn every_template_is_taken(namespace: &str, age: Age) {
    let room = Room::new(namespace).patient(PATIENCE);
    let knobs = Knobs { age, ..Knobs::default() };
    let _operator = Operator::start(namespace, &shared("data/crds"), knobs);
    room.world.write("plan.toml", plan(namespace));
    if age == Age::Oldest {
        // A schema is published a moment after its kind is served, and says which fields there are.
        let schema = &["get", "--raw", "/openapi/v3/apis/nvidia.com/v1alpha1"];
        room.until("the schema is published", || room.try_kubectl(schema).is_some_and(|it| it.contains("dynamoGraph")));
    }
    // By dynbench itself, in the version that this cluster serves. Images and Secrets are not there: that is said, and is
    // no business of this test.
    let view = room.world.ends(7, &["plan", "plan.toml", "--server", "--json"]).json();
    let views = view["server"].as_array().unwrap();
    assert_eq!(views.len(), 2 * TEMPLATES.len());
    for view in views {
        for object in view["objects"]["objects"].as_array().unwrap_or_else(|| panic!("{view}")) {
            assert_eq!(object["action"], "create", "{}: {object}", view["deployment"]);
        }
    }
    // And what is written for people, in either version that this cluster takes.
    let versions: &[&str] = if age == Age::Newest { &["v1beta1", "v1alpha1"] } else { &[] };
    for version in versions {
        room.world.ends(0, &["render", "plan.toml", "--api-version", version, "-o", version]);
        let said = room.kubectl(&["apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", version]);
        assert!(said.lines().count() > 2 * TEMPLATES.len(), "{said}");
    }
}

#[test]
#[ignore = "needs a cluster"]
fn every_template_is_taken_in_the_newest_version_and_in_the_older_one_beside_it() {
    every_template_is_taken("rules-newest", Age::Newest);
}

#[test]
#[ignore = "needs a cluster"]
fn every_template_is_taken_where_there_is_the_older_version_only() {
    every_template_is_taken("rules-old", Age::Older);
}

#[test]
#[ignore = "needs a cluster"]
fn every_template_is_taken_by_the_oldest_crd() {
    every_template_is_taken("rules-oldest", Age::Oldest);
}
