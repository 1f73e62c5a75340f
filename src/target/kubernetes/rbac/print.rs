//! `dynbench rbac`: the Role that a plan needs, for an administrator to read and apply.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::super::contract::TargetError;
use super::super::client::{Whereabouts, default_namespace};
use super::super::kind::whereabouts;
use super::super::objects::objects_of;
use super::super::settings::Settings;
use super::needs::{Rules, for_cluster, for_deployment, rules_json};
use crate::plan::Plan;
use crate::render::write_yaml;

/// What one namespace needs.
#[derive(Default)]
struct Wanted {
    rules: Rules,
    create_namespace: bool,
}

/// YAML of a ServiceAccount, a Role and its binding for each namespace of the plan's Kubernetes deployments, and after
/// them, as a comment would be too easily lost, a ClusterRole that is marked optional. `None`: the plan has none of them.
///
/// # Errors
/// When neither the plan nor the kubeconfig names a namespace: a Role in another one than the run's would give nothing.
pub fn rbac(plan: &Plan) -> Result<Option<String>, TargetError> {
    printed(plan, &default_namespace)
}

fn printed(
    plan: &Plan,
    default_namespace: &dyn Fn(&Whereabouts) -> Result<String, TargetError>,
) -> Result<Option<String>, TargetError> {
    let mut namespaces: BTreeMap<String, Wanted> = BTreeMap::new();
    for deployment in plan.deployments.values().filter(|deployment| deployment.target.kind == "kubernetes") {
        let (Ok(settings), Ok(at)) = (Settings::of(deployment), whereabouts(deployment)) else { continue };
        let objects = objects_of(plan, deployment).unwrap_or_default();
        let namespace = match &at.namespace {
            Some(namespace) => namespace.clone(),
            None => default_namespace(&at)?,
        };
        let wanted = namespaces.entry(namespace).or_default();
        wanted.rules.join(for_deployment(plan, deployment, &objects, &settings));
        wanted.create_namespace |= settings.create_namespace;
    }
    if namespaces.is_empty() {
        return Ok(None);
    }
    let mut out = format!(
        "# What plan {} needs. Give it to the user instead of the ServiceAccount by changing `subjects`.\n",
        plan.name
    );
    for (namespace, wanted) in &namespaces {
        out.push_str("---\n");
        out.push_str(&write_yaml(&role(plan.name.as_str(), namespace, &wanted.rules)));
    }
    let creates = namespaces.values().any(|wanted| wanted.create_namespace);
    let subjects: Vec<Value> = namespaces.keys().map(|namespace| subject(namespace)).collect();
    out.push_str("---\n");
    out.push_str(if creates {
        "# `create-namespace` needs the rights on namespaces; the others are OPTIONAL. Without them preflight says \"not\n# \
         checked: no access\" for nodes, storage classes and the DCGM exporter and the run goes on.\n"
    } else {
        "# OPTIONAL. Without it preflight says \"not checked: no access\" for nodes, storage classes and the DCGM exporter and the run \
         goes on.\n"
    });
    // Without a namespace of its own its name must hold one: two teams may have plans of one name.
    let first = namespaces.keys().next().map_or("", String::as_str);
    let name = format!("{ACCOUNT}-{first}-{}", plan.name);
    out.push_str(&write_yaml(&cluster_role(&name, &for_cluster(creates), &subjects)));
    Ok(Some(out))
}

/// Name of the account. One for all plans of a namespace: what it may do adds up.
const ACCOUNT: &str = "dynbench";

fn subject(namespace: &str) -> Value {
    json!({"kind": "ServiceAccount", "name": ACCOUNT, "namespace": namespace})
}

/// The Role has the plan's name: another plan of the namespace must not take this one's rights away.
fn role(plan: &str, namespace: &str, rules: &Rules) -> Vec<Value> {
    let name = format!("{ACCOUNT}-{plan}");
    let account = json!({"name": ACCOUNT, "namespace": namespace});
    let metadata = json!({"name": name, "namespace": namespace});
    let group = "rbac.authorization.k8s.io";
    vec![
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account}),
        json!({"apiVersion": format!("{group}/v1"), "kind": "Role", "metadata": metadata, "rules": rules_json(rules)}),
        json!({
            "apiVersion": format!("{group}/v1"), "kind": "RoleBinding", "metadata": metadata,
            "roleRef": {"apiGroup": group, "kind": "Role", "name": name}, "subjects": [subject(namespace)],
        }),
    ]
}

fn cluster_role(name: &str, rules: &Rules, subjects: &[Value]) -> Vec<Value> {
    let metadata = json!({"name": name});
    let group = "rbac.authorization.k8s.io";
    vec![
        json!({
            "apiVersion": format!("{group}/v1"), "kind": "ClusterRole", "metadata": metadata, "rules": rules_json(rules),
        }),
        json!({
            "apiVersion": format!("{group}/v1"), "kind": "ClusterRoleBinding", "metadata": metadata,
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": name}, "subjects": subjects,
        }),
    ]
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::target::fixtures;

    fn plan(name: &str, namespace: Option<&str>) -> Plan {
        let mut plan = fixtures::plan(Path::new("/p"));
        plan.name = crate::base::Name::new(name).unwrap();
        let mut deployment = fixtures::deployment(json!({"template": "vllm"}));
        if let Some(namespace) = namespace {
            deployment.target.values.json.insert("namespace".to_owned(), json!(namespace));
        }
        plan.deployments.insert(deployment.name.clone(), deployment);
        plan
    }

    #[test]
    fn rights_are_printed_for_the_namespace_that_a_run_would_use() {
        let here = |_: &Whereabouts| Ok("of-the-context".to_owned());
        let yaml = printed(&plan("p", None), &here).unwrap().unwrap();
        assert!(yaml.contains("namespace: of-the-context") && !yaml.contains("namespace: default"), "{yaml}");
        let nowhere = |_: &Whereabouts| Err(TargetError::new("no kubeconfig"));
        assert!(printed(&plan("p", None), &nowhere).is_err());
        let named = printed(&plan("p", Some("bench")), &nowhere).unwrap().unwrap();
        assert!(named.contains("namespace: bench"), "{named}");
    }

    #[test]
    fn two_plans_of_a_namespace_do_not_take_each_others_rights_away() {
        let nowhere = |_: &Whereabouts| Err(TargetError::new("no kubeconfig"));
        let names = |name: &str| {
            let yaml = printed(&plan(name, Some("bench")), &nowhere).unwrap().unwrap();
            let names = yaml.lines().filter_map(|line| line.strip_prefix("  name: ").map(str::to_owned));
            names.filter(|name| name != ACCOUNT).collect::<std::collections::BTreeSet<_>>()
        };
        let (one, other) = (names("one"), names("other"));
        assert_eq!(one.into_iter().collect::<Vec<_>>(), ["dynbench-bench-one", "dynbench-one"]);
        assert!(other.contains("dynbench-other"), "{other:?}");
    }
}
