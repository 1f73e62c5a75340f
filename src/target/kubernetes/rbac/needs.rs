//! The rights that a plan needs.
//!
//! Plurals of custom kinds are guessed by the rule that every generator of CRDs uses, because `dynbench rbac` must work
//! without a cluster; preflight asks the cluster itself about kinds.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::super::load::permissions;
use super::super::mentions::Mentions;
use super::super::settings::Settings;
use crate::plan::{Deployment, Plan};

/// API group (empty: core) and resource, with a part of it after a slash, such as `pods/log`; the only object of it that is
/// meant, by its name.
type Of = (String, String, Option<String>);

/// One right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Right<'a> {
    /// API group; empty: the core one.
    pub(in super::super) group: &'a str,
    /// With a part of it after a slash.
    pub(in super::super) resource: &'a str,
    /// Of this object only.
    pub(in super::super) name: Option<&'a str>,
    /// `get`
    pub(in super::super) verb: &'static str,
}

/// Verbs, by what they are for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in super::super) struct Rules(BTreeMap<Of, BTreeSet<&'static str>>);

const LOOK: &[&str] = &["get", "list", "watch"];
const OWN: &[&str] = &["get", "list", "watch", "create", "patch", "delete"];
const SWEEP: &[&str] = &["get", "list", "delete"];

impl Rules {
    pub(super) fn add(&mut self, group: &str, resource: &str, verbs: &[&'static str]) {
        self.0.entry((group.to_owned(), resource.to_owned(), None)).or_default().extend(verbs);
    }

    /// Rights on one object.
    fn add_named(&mut self, group: &str, resource: &str, name: &str, verbs: &[&'static str]) {
        let of = (group.to_owned(), resource.to_owned(), Some(name.to_owned()));
        self.0.entry(of).or_default().extend(verbs);
    }

    /// All of both.
    pub(super) fn join(&mut self, other: Self) {
        for (of, verbs) in other.0 {
            self.0.entry(of).or_default().extend(verbs);
        }
    }

    /// Every right alone.
    pub(in super::super) fn each(&self) -> impl Iterator<Item = Right<'_>> {
        self.0.iter().flat_map(|((group, resource, name), verbs)| {
            verbs.iter().map(|verb| Right { group, resource, name: name.as_deref(), verb })
        })
    }
}

/// The rules as a Role lists them: resources of one group with the same verbs stand together, and so do names.
pub(in super::super) fn rules_json(rules: &Rules) -> Vec<Value> {
    let mut together: BTreeMap<(&str, &BTreeSet<&str>), Vec<&str>> = BTreeMap::new();
    let mut named: BTreeMap<(&str, &str, &BTreeSet<&str>), Vec<&str>> = BTreeMap::new();
    for ((group, resource, name), verbs) in &rules.0 {
        match name {
            None => together.entry((group, verbs)).or_default().push(resource),
            Some(name) => named.entry((group, resource, verbs)).or_default().push(name),
        }
    }
    let whole = together
        .into_iter()
        .map(|((group, verbs), resources)| json!({"apiGroups": [group], "resources": resources, "verbs": verbs}));
    let named = named.into_iter().map(|((group, resource, verbs), names)| {
        json!({"apiGroups": [group], "resources": [resource], "resourceNames": names, "verbs": verbs})
    });
    whole.chain(named).collect()
}

/// Secrets whose existence preflight looks at, or whose logins it reads.
fn secrets_named(plan: &Plan, objects: &[Value], settings: &Settings) -> BTreeSet<String> {
    let Mentions { mut secrets, pull_secrets, .. } = Mentions::of(objects);
    secrets.extend(pull_secrets);
    secrets.extend(plan.load.image_pull_secrets.iter().cloned());
    secrets.extend(plan.load.env.values().map(|from| from.secret.clone()));
    secrets.extend(settings.model_cache.as_ref().and_then(|cache| cache.token_secret.clone()));
    secrets
}

/// What one deployment needs in its namespace. `objects` are what will be applied; none: something that runs already is
/// only measured.
pub(in super::super) fn for_deployment(
    plan: &Plan,
    deployment: &Deployment,
    objects: &[Value],
    settings: &Settings,
) -> Rules {
    let mut rules = Rules::default();
    // Waiting, judging, collecting.
    for resource in ["pods", "services", "events", "persistentvolumeclaims"] {
        rules.add("", resource, LOOK);
    }
    rules.add("", "pods/log", &["get"]);
    rules.add("apps", "deployments", LOOK);
    rules.add("apps", "replicasets", LOOK);
    rules.add("apps", "statefulsets", LOOK);
    rules.add("discovery.k8s.io", "endpointslices", LOOK);
    // Preflight.
    rules.add("", "serviceaccounts", &["get"]);
    rules.add("", "resourcequotas", &["list"]);
    for name in secrets_named(plan, objects, settings) {
        rules.add_named("", "secrets", &name, &["get"]);
    }
    // Questions to what serves. Newer servers ask for `create` as well.
    rules.add("", "pods/portforward", &["get", "create"]);
    for right in permissions(plan, deployment) {
        rules.add(right.group, right.resource, right.verbs);
    }
    // Leases of run and pool.
    rules.add("coordination.k8s.io", "leases", &["get", "list", "create", "update", "delete"]);
    for object in objects {
        let (group, resource) = resource_of(object);
        rules.add(&group, &resource, OWN);
        if group == "nvidia.com" {
            rules.add("nvidia.com", "dynamocomponentdeployments", LOOK);
            rules.add("leaderworkerset.x-k8s.io", "leaderworkersets", LOOK);
            rules.add("grove.io", "podcliquesets", LOOK);
        }
    }
    if !settings.secrets.is_empty() {
        rules.add("", "secrets", &["get", "list", "create", "delete"]);
    }
    if settings.model_cache.is_some() {
        rules.add("", "persistentvolumeclaims", &["create"]);
        rules.add("batch", "jobs", OWN);
    }
    if plan.policy.reaper {
        rules.add("", "serviceaccounts", &["get", "list", "create", "delete"]);
        rules.add("rbac.authorization.k8s.io", "roles", &["get", "list", "create", "delete"]);
        rules.add("rbac.authorization.k8s.io", "rolebindings", &["get", "list", "create", "delete"]);
        // Nobody may give rights away that they do not have.
        rules.join(for_reaper(objects, settings));
    }
    rules
}

/// What the reaper needs: to find and delete what a run may have left.
pub(in super::super) fn for_reaper(objects: &[Value], settings: &Settings) -> Rules {
    let mut rules = Rules::default();
    for (group, resource) in [
        ("", "pods"),
        ("", "services"),
        ("apps", "deployments"),
        ("apps", "statefulsets"),
        ("batch", "jobs"),
        ("coordination.k8s.io", "leases"),
    ] {
        rules.add(group, resource, SWEEP);
    }
    for object in objects {
        let (group, resource) = resource_of(object);
        rules.add(&group, &resource, SWEEP);
    }
    if !settings.secrets.is_empty() {
        rules.add("", "secrets", SWEEP);
    }
    rules
}

/// What is better known but not needed: with it, preflight sees more. A namespace of its own is the exception: whoever
/// asks for `create-namespace` needs that right.
pub(in super::super) fn for_cluster(create_namespace: bool) -> Rules {
    let mut rules = Rules::default();
    rules.add("", "nodes", &["get", "list"]);
    // Pods of the DCGM exporter, wherever they run.
    rules.add("", "pods", &["list"]);
    rules.add("", "namespaces", &["get"]);
    rules.add("storage.k8s.io", "storageclasses", &["get", "list"]);
    rules.add("apiextensions.k8s.io", "customresourcedefinitions", &["get"]);
    if create_namespace {
        rules.add("", "namespaces", &["create", "delete"]);
    }
    rules
}

/// Group and plural of an object's kind.
fn resource_of(object: &Value) -> (String, String) {
    let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default();
    let group = text("apiVersion").rsplit_once('/').map_or("", |(group, _)| group);
    (group.to_owned(), plural(text("kind")))
}

/// `Ingress` -> `ingresses`, `NetworkPolicy` -> `networkpolicies`.
fn plural(kind: &str) -> String {
    let kind = kind.to_lowercase();
    let ends = |ends: &[&str]| ends.iter().any(|end| kind.ends_with(end));
    if kind == "endpoints" {
        kind
    } else if ends(&["s", "x", "z", "ch", "sh"]) {
        format!("{kind}es")
    } else if kind.ends_with('y') && !ends(&["ay", "ey", "oy", "uy"]) {
        format!("{}ies", &kind[..kind.len() - 1])
    } else {
        format!("{kind}s")
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::render::write_yaml;
    use crate::target::fixtures;

    fn has(rules: &Rules, group: &str, resource: &str, verb: &str) -> bool {
        let named = Right { group, resource, name: None, verb: "" };
        rules.each().any(|right| Right { verb: "", ..right } == named && right.verb == verb)
    }

    #[test]
    fn each_kind_of_the_plan_may_be_made_and_deleted_and_no_other() {
        let objects = [
            json!({"apiVersion": "nvidia.com/v1beta1", "kind": "DynamoGraphDeployment"}),
            json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy"}),
        ];
        let deployment = fixtures::deployment(json!({}));
        let rules = for_deployment(&fixtures::plan(Path::new("/p")), &deployment, &objects, &Settings::default());
        assert!(has(&rules, "nvidia.com", "dynamographdeployments", "create"));
        assert!(has(&rules, "nvidia.com", "dynamocomponentdeployments", "list"));
        assert!(!has(&rules, "nvidia.com", "dynamocomponentdeployments", "delete"));
        assert!(has(&rules, "networking.k8s.io", "networkpolicies", "delete"));
        assert!(!has(&rules, "apps", "deployments", "create"));
        assert!(!has(&rules, "rbac.authorization.k8s.io", "roles", "create"));
        assert!(!rules.each().any(|right| right.resource == "secrets"));
    }

    #[test]
    fn only_secrets_that_the_plan_names_may_be_looked_at() {
        let pod = json!({"imagePullSecrets": [{"name": "pull"}], "containers": [
            {"env": [{"name": "T", "valueFrom": {"secretKeyRef": {"name": "hf", "key": "t"}}}]}]});
        let objects = [json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"template": {"spec": pod}}})];
        let mut plan = fixtures::plan(Path::new("/p"));
        plan.load.image_pull_secrets = vec!["load-pull".to_owned()];
        let rules = for_deployment(&plan, &fixtures::deployment(json!({})), &objects, &Settings::default());
        assert!(!has(&rules, "", "secrets", "get"));
        let of_secrets: Vec<_> =
            rules_json(&rules).into_iter().filter(|rule| rule["resources"].to_string().contains("secrets")).collect();
        assert_eq!(
            of_secrets,
            [
                json!({"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["hf", "load-pull", "pull"], "verbs": ["get"]})
            ]
        );
    }

    #[test]
    fn a_plan_with_all_that_there_is_may_make_all_of_it() {
        let mut plan = fixtures::plan(Path::new("/p"));
        plan.policy.reaper = true;
        plan.load.image = Some("r.io/dynbench:1".to_owned());
        let mut deployment = fixtures::deployment(json!({"template": "dynamo-vllm-disagg"}));
        deployment.target.values.json.insert("secrets".to_owned(), json!({"hf": {"from-env": "HF_TOKEN"}}));
        let cache =
            json!({"pvc": "m", "size": "1Gi", "access-mode": "ReadWriteOnce", "mount-path": "/m", "deadline": "1h"});
        deployment.target.values.json.insert("model-cache".to_owned(), cache);
        let settings = Settings::of(&deployment).unwrap();
        let objects = super::super::super::objects::objects_of(&plan, &deployment).unwrap();
        let rules = for_deployment(&plan, &deployment, &objects, &settings);
        insta::assert_snapshot!(write_yaml(&rules_json(&rules)));
    }

    #[test]
    fn what_a_reaper_may_do_its_maker_may_do_too() {
        let objects = [json!({"apiVersion": "apps/v1", "kind": "Deployment"})];
        let settings = Settings::default();
        let mut plan = fixtures::plan(Path::new("/p"));
        plan.policy.reaper = true;
        let mine = for_deployment(&plan, &fixtures::deployment(json!({})), &objects, &settings);
        for right in for_reaper(&objects, &settings).each() {
            assert!(mine.each().any(|mine| mine == right), "{right:?}");
        }
        assert!(has(&mine, "rbac.authorization.k8s.io", "rolebindings", "create"));
    }

    #[test]
    fn plurals_are_those_of_the_api_server() {
        for (kind, expected) in [
            ("Deployment", "deployments"),
            ("Ingress", "ingresses"),
            ("NetworkPolicy", "networkpolicies"),
            ("Gateway", "gateways"),
            ("Endpoints", "endpoints"),
            ("PodDisruptionBudget", "poddisruptionbudgets"),
        ] {
            assert_eq!(plural(kind), expected);
        }
    }
}
