//! Whole deployments, rendered.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::fixtures::{deployment, plan};
use super::*;
use crate::base::{Problems, SourceId, SourceMap, Span};

fn rendered(keys: Value) -> Rendered {
    let dir = Path::new("/nowhere");
    render(&plan(dir), &deployment(keys), &Inputs::beside(dir), None).unwrap_or_else(|problems| {
        panic!("{}", problems.render(&SourceMap::default(), false));
    })
}

/// Renders files of one's own and returns the problems as text.
fn refused(files: &[(&str, &str)], keys: Value) -> String {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let mut deployment = deployment(keys);
    let source = "template = \"own/a.yaml\"\n";
    deployment.values.spans.insert("template".to_owned(), Span { source: SourceId(0), range: 11..23 });
    let mut sources = SourceMap::default();
    sources.add(Path::new("plan.toml"), source.to_owned());
    let shown =
        |problems: &Problems| problems.render(&sources, false).replace(&folder.path().display().to_string(), "DIR");
    match render(&plan(folder.path()), &deployment, &Inputs::beside(folder.path()), None) {
        Ok(rendered) => shown(&rendered.notes),
        Err(problems) => shown(&problems),
    }
}

fn own() -> Value {
    json!({"template": "own/a.yaml"})
}

#[test]
fn every_built_in_template_renders_with_its_defaults() {
    for template in TEMPLATES {
        let rendered = rendered(json!({"template": template.name}));
        insta::assert_snapshot!(template.name, write_yaml(&rendered.objects));
        assert!(rendered.inputs.contains_key(&format!("<built in>/{}", template.file)));
    }
}

#[test]
fn variables_reach_every_part_of_a_template() {
    let vars = json!({
        "image": "registry/x:1.2.3", "prefill-replicas": 2, "decode_replicas": 3, "decode-gpus-per-replica": 4,
        "engine-args": ["--max-model-len", "4096"], "env": {"A": "yes", "N": 1}, "hf-token-secret": "hf",
        "node-selector": {"gpu": "h100"}, "tolerations": [{"key": "gpu", "operator": "Exists"}],
        "router-mode": "kv", "shared-memory": "16Gi", "nodes": 2, "resources": {"limits": {"memory": "1024Mi"}},
        "affinity": {"podAntiAffinity": {"x": 1}}, "image-pull-secrets": ["pull"], "service-account": "runner",
        "model-cache": "models", "labels": {"kueue.x-k8s.io/queue-name": "q"}, "annotations": {"a": "b"},
    });
    let rendered = rendered(json!({"template": "dynamo-vllm-disagg", "vars": vars}));
    assert_eq!(gpus(&rendered.objects), Some(2.0 * (2.0 + 3.0 * 4.0)));
    insta::assert_snapshot!(write_yaml(&rendered.objects));
}

/// A value for a variable that all templates of a group share, what of it must stand in each pod, and whether the frontend
/// is one of those pods. `None`: a variable of one template's own business, which its snapshot shows.
fn mark(variable: &str) -> Option<(Value, Vec<&'static str>, Pods)> {
    let (vars, fragments, pods) = match variable {
        "image" => (json!({"image": "r/marked:1.2.3"}), vec![r#""image":"r/marked:1.2.3""#], Pods::All),
        "engine-args" => (json!({"engine-args": ["--marked"]}), vec![r#""--marked""#], Pods::Engines),
        "env" => (json!({"env": {"MARKED": 1}}), vec![r#"{"name":"MARKED","value":"1"}"#], Pods::All),
        "resources" => {
            let given = json!({"resources": {"requests": {"cpu": "77m"}, "limits": {"memory": "77Mi"}}});
            (given, vec![r#""cpu":"77m""#, r#""memory":"77Mi""#], Pods::Engines)
        }
        "frontend-resources" => {
            let given = json!({"frontend-resources": {"requests": {"cpu": "77m"}, "limits": {"memory": "77Mi"}}});
            (given, vec![r#""cpu":"77m""#, r#""memory":"77Mi""#], Pods::Frontends)
        }
        "shared-memory" => (json!({"shared-memory": "77Mi"}), vec![r#""77Mi""#], Pods::Engines),
        "gpu-resource" => (json!({"gpu-resource": "marked.com/gpu"}), vec![r#""marked.com/gpu":"1""#], Pods::Engines),
        "hf-token-secret" => {
            (json!({"hf-token-secret": "marked"}), vec![r#"{"secretRef":{"name":"marked"}}"#], Pods::All)
        }
        "model-cache" | "model-cache-path" => {
            let given = json!({"model-cache": "marked", "model-cache-path": "/marked"});
            let fragments = [
                r#""persistentVolumeClaim":{"claimName":"marked"}"#,
                r#""mountPath":"/marked""#,
                r#"{"name":"HF_HOME","value":"/marked"}"#,
            ];
            (given, fragments.to_vec(), Pods::All)
        }
        "node-selector" => {
            (json!({"node-selector": {"a": "marked"}}), vec![r#""nodeSelector":{"a":"marked"}"#], Pods::All)
        }
        "tolerations" => {
            (json!({"tolerations": [{"key": "marked"}]}), vec![r#""tolerations":[{"key":"marked"}]"#], Pods::All)
        }
        "affinity" => (json!({"affinity": {"marked": {"a": 1}}}), vec![r#""affinity":{"marked":{"a":1}}"#], Pods::All),
        "image-pull-secrets" => {
            (json!({"image-pull-secrets": ["marked"]}), vec![r#""imagePullSecrets":[{"name":"marked"}]"#], Pods::All)
        }
        "service-account" => {
            (json!({"service-account": "marked"}), vec![r#""serviceAccountName":"marked""#], Pods::All)
        }
        "labels" => (json!({"labels": {"marked": "x"}}), vec![r#""marked":"x""#], Pods::AllAndObjects),
        "annotations" => (json!({"annotations": {"marked": "x"}}), vec![r#""marked":"x""#], Pods::AllAndObjects),
        "run-as-user" => (json!({"run-as-user": 77}), vec![r#""runAsUser":77"#, r#""fsGroup":77"#], Pods::All),
        "model-path"
        | "speedup-ratio"
        | "storage-class"
        | "command"
        | "engine"
        | "set"
        | "router-mode"
        | "nodes"
        | "replicas"
        | "gpus-per-replica"
        | "prefill-replicas"
        | "decode-replicas"
        | "prefill-gpus-per-replica"
        | "decode-gpus-per-replica"
        | "engine-config"
        | "prefill-engine-config"
        | "decode-engine-config" => return None,
        other => panic!("nothing says which pods `{other}` is for"),
    };
    Some((vars, fragments, pods))
}

/// What a variable is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pods {
    All,
    AllAndObjects,
    Engines,
    Frontends,
}

/// Pods, or parts of a graph, and whether each is a frontend.
fn pods(object: &Value) -> Vec<(bool, &Value)> {
    let components = object.pointer("/spec/components").and_then(Value::as_array).into_iter().flatten();
    let components = components.map(|component| (component["type"] == "frontend", component));
    let template = object.pointer("/spec/template");
    let template =
        template.map(|pod| (pod.pointer("/metadata/labels/role").is_some_and(|role| role == "frontend"), pod));
    components.chain(template).collect()
}

#[test]
fn each_variable_of_each_template_reaches_every_pod_that_it_is_for() {
    for template in TEMPLATES {
        for variable in template.variables() {
            let Some((vars, fragments, wanted)) = mark(variable.name) else { continue };
            let objects = rendered(json!({"template": template.name, "vars": vars})).objects;
            let of = format!("{} of {}", variable.name, template.name);
            let mut reached = 0;
            for (is_frontend, pod) in objects.iter().flat_map(pods) {
                let is_meant = match wanted {
                    Pods::All | Pods::AllAndObjects => true,
                    Pods::Engines => !is_frontend,
                    Pods::Frontends => is_frontend,
                };
                let text = pod.to_string();
                for fragment in &fragments {
                    assert_eq!(text.contains(fragment), is_meant, "{of}: {fragment} in {text}");
                }
                reached += usize::from(is_meant);
            }
            assert!(reached > 0, "{of} reaches no pod");
            for object in objects.iter().filter(|_| wanted == Pods::AllAndObjects) {
                assert!(object["metadata"].to_string().contains(fragments[0]), "{of}: {}", object["metadata"]);
            }
        }
    }
}

#[test]
fn parts_of_a_deployment_are_named_after_it() {
    // `-discovery`
    const LONGEST_PART: usize = 10;
    for template in TEMPLATES {
        let dir = Path::new("/nowhere");
        let deployment = deployment(json!({"template": template.name}));
        let objects =
            render(&plan(dir), &deployment, &Inputs::beside(dir), Some("a-run-with-a-long-id")).unwrap().objects;
        let name = object_name("agg", Some("a-run-with-a-long-id"));
        for object in &objects {
            let own = object["metadata"]["name"].as_str().unwrap();
            let part = own.strip_prefix(&name).unwrap_or_else(|| panic!("{own} is not of {name}"));
            assert!(part.is_empty() || (part.starts_with('-') && part.len() <= LONGEST_PART), "{own}");
        }
    }
}

#[test]
fn the_deployments_patterns_come_before_the_targets_and_an_image_is_rewritten_once() {
    let mut deployment = deployment(json!({"template": "vllm", "images": {"rewrite": {"vllm/*": "own/*"}}}));
    let target = json!({"rewrite": {"vllm/*": "never/*", "own/*": "twice/*", "busybox": "mirror/busybox"}});
    deployment.target.values.json.insert("images".to_owned(), target);
    let dir = Path::new("/nowhere");
    let rendered = render(&plan(dir), &deployment, &Inputs::beside(dir), None).unwrap();
    let image = rendered.objects[0].pointer("/spec/template/spec/containers/0/image").unwrap();
    assert_eq!(image, "own/vllm-openai:v0.11.0");
    assert_eq!(rendered.rewritten.into_iter().collect::<Vec<_>>(), ["vllm/*"]);
    // Images that are no part of the objects go the same way.
    assert_eq!(image_for(&deployment, "busybox"), "mirror/busybox");
    assert_eq!(image_for(&deployment, "vllm/a:1"), "own/a:1");
    assert_eq!(image_for(&deployment, "other:1"), "other:1");
}

#[test]
fn kinds_that_could_not_be_ended_are_refused_by_the_check() {
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n";
    let said = refused(&[("m.yaml", namespace)], json!({"manifests": ["m.yaml"]}));
    assert!(said.contains("Namespace `x`: dynbench makes none"), "{said}");
}

#[test]
fn graphs_are_written_in_the_older_version_too() {
    for template in TEMPLATES.iter().filter(|template| template.file == "dynamo.yaml.j2") {
        let newest = rendered(json!({"template": template.name, "vars": {"hf-token-secret": "hf", "env": {"A": 1}}}));
        let older: Vec<_> =
            newest.objects.iter().map(|object| in_version(object.clone(), GraphVersion::V1alpha1)).collect();
        assert_eq!(gpus(&older), gpus(&newest.objects), "{}", template.name);
        if ["dynamo-vllm-disagg-multinode", "dynamo-mocker-agg"].contains(&template.name) {
            insta::assert_snapshot!(format!("{}-v1alpha1", template.name), write_yaml(&older));
        }
    }
}

#[test]
fn rendering_again_from_frozen_texts_gives_the_same_objects() {
    let dir = Path::new("/nowhere");
    let deployment = deployment(json!({"template": "vllm"}));
    let first = render(&plan(dir), &deployment, &Inputs::beside(dir), Some("r1")).unwrap();
    let again = render(&plan(dir), &deployment, &Inputs::frozen(first.inputs.clone()), Some("r1")).unwrap();
    assert_eq!(first, again);
    assert_eq!(first.objects[0]["metadata"]["name"], "agg-r1");
}

#[test]
fn an_unknown_variable_is_underlined_with_the_nearest_name() {
    let template = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata:\n  n: \"{{ vars.prefil_replicas }}\"\n";
    let keys = json!({"template": "own/a.yaml", "vars": {"prefill-replicas": 1}});
    insta::assert_snapshot!(refused(&[("own/a.yaml", template)], keys), @r#"
    error: `vars.prefil_replicas` is not defined
     --> plan.toml:1:12
      |
    1 | template = "own/a.yaml"
      |            ^^^^^^^^^^^^
      |
     ::: own/a.yaml:5:10
      |
    5 |   n: "{{ vars.prefil_replicas }}"
      |          ^^^^^^^^^^^^^^^^^^^^ not defined
      |
      = help: did you mean `vars.prefill_replicas`?
    "#);
}

#[test]
fn templates_that_include_each_other_are_told_as_a_cycle() {
    let files = [
        ("own/a.yaml", "a: 1\n{% include \"b.j2\" %}\n"),
        ("own/b.j2", "{% include \"parts/c.j2\" %}\n"),
        ("own/parts/c.j2", "{% include \"../b.j2\" %}\n"),
    ];
    insta::assert_snapshot!(refused(&files, own()), @r#"
    error: these templates include each other without end: own/b.j2 -> own/parts/c.j2 -> own/b.j2
     --> plan.toml:1:12
      |
    1 | template = "own/a.yaml"
      |            ^^^^^^^^^^^^
      |
     ::: own/a.yaml:2:4
      |
    2 | {% include "b.j2" %}
      |    ^^^^^^^^^^^^^^ included here
      |
      = help: take one of the includes out
    "#);
}

#[test]
fn broken_templates_and_manifests_are_shown_where_they_break() {
    let cases = [
        "a: {{ 1 + }}\n",
        "a: 1\n{% include \"no.j2\" %}\n",
        "a: {{ model | nofilter }}\n",
        "kind: Pod\nkind: Pod\n",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: 5}\n",
        "# nothing\n",
    ];
    let all: Vec<_> = cases.iter().map(|text| refused(&[("own/a.yaml", text)], own())).collect();
    insta::assert_snapshot!(all.join("\n\n----\n\n"));
}

#[test]
fn booleans_and_own_includes_arrive_as_values() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("own")).unwrap();
    let template =
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ name }}}\nflag: {{ vars.flag }}\n{% include 'b.j2' %}\n";
    fs::write(folder.path().join("own/a.yaml"), template).unwrap();
    fs::write(folder.path().join("own/b.j2"), "mode: 0755\n").unwrap();
    let deployment = deployment(json!({"template": "own/a.yaml", "vars": {"flag": true}}));
    let rendered = render(&plan(folder.path()), &deployment, &Inputs::beside(folder.path()), None).unwrap();
    assert_eq!(rendered.objects[0]["flag"], json!(true));
    assert_eq!(rendered.objects[0]["mode"], json!(493));
    assert_eq!(rendered.inputs.len(), 2);
}

#[test]
fn unknown_and_wrongly_typed_variables_of_built_in_templates_are_refused() {
    let keys = json!({"template": "vllm", "vars": {"replica": 2, "image": 5, "zzz": 1}});
    insta::assert_snapshot!(refused(&[], keys), @r#"
    error: the template `vllm` has no variable `replica`
     |
     = help: did you mean `replicas`?

    error: the template `vllm` has no variable `zzz`
     |
     = help: it has: image, replicas, gpus-per-replica, shared-memory, gpu-resource, engine-args, env, resources, hf-token-secret, model-cache, model-cache-path, node-selector, tolerations, affinity, image-pull-secrets, service-account, labels, annotations

    error: `image` must be text, like its default "vllm/vllm-openai:v0.11.0"
    "#);
    insta::assert_snapshot!(refused(&[], json!({"template": "dynamo-vlm-agg"})), @r#"
    error: no template `dynamo-vlm-agg` is built in
     --> plan.toml:1:12
      |
    1 | template = "own/a.yaml"
      |            ^^^^^^^^^^^^
      |
      = help: did you mean `dynamo-vllm-agg`?
    "#);
}

#[test]
fn a_variable_that_no_template_reads_is_worth_a_warning() {
    let template = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n";
    let keys = json!({"template": "own/a.yaml", "vars": {"misspelt": 1}});
    let said = refused(&[("own/a.yaml", template)], keys);
    assert!(said.contains("warning: no template reads the variable `misspelt`"), "{said}");
}

#[test]
fn manifests_are_taken_as_they_are_and_lists_are_taken_apart() {
    let list = "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Secret, metadata: {name: a}}\n- {apiVersion: v1, kind: Secret, metadata: {name: a}}\n";
    let keys = json!({"manifests": ["m.yaml", "no.yaml"]});
    insta::assert_snapshot!(refused(&[("m.yaml", list)], keys), @r#"
    error: Secret `a` stands here twice
     --> m.yaml:1:1
      |
    1 | apiVersion: v1
      | ^^^^^^^^^^^^^^ the second one

    error: cannot open DIR/no.yaml: No such file or directory (os error 2)
    "#);
}

#[test]
fn names_are_short_and_differ_by_run() {
    assert_eq!(object_name("agg", None), "agg");
    assert_eq!(object_name("agg", Some("a1b2c3")), "agg-a1b2c3");
    let long = object_name("a-deployment-with-a-long-name", Some("a1b2c3"));
    assert!(long.len() <= 20 && long.starts_with("a-deployment-"), "{long}");
    assert_ne!(long, object_name("a-deployment-with-a-long-name", Some("d4e5f6")));
}
