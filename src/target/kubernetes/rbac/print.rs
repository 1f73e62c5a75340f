//! `dynbench rbac`: the Role that a plan needs, for an administrator to read and apply.

use std::collections::BTreeMap;

use serde_json::{Value, json};

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
pub fn rbac(plan: &Plan) -> Option<String> {
    let mut namespaces: BTreeMap<String, Wanted> = BTreeMap::new();
    for deployment in plan.deployments.values().filter(|deployment| deployment.target.kind == "kubernetes") {
        let (Ok(settings), Ok(at)) = (Settings::of(deployment), whereabouts(deployment)) else { continue };
        let objects = objects_of(plan, deployment).unwrap_or_default();
        let wanted = namespaces.entry(at.namespace.unwrap_or_else(|| "default".to_owned())).or_default();
        wanted.rules.join(for_deployment(plan, deployment, &objects, &settings));
        wanted.create_namespace |= settings.create_namespace;
    }
    if namespaces.is_empty() {
        return None;
    }
    let mut out = format!(
        "# What plan {} needs. Give it to the user instead of the ServiceAccount by changing `subjects`.\n",
        plan.name
    );
    for (namespace, wanted) in &namespaces {
        out.push_str("---\n");
        out.push_str(&write_yaml(&role(namespace, &wanted.rules)));
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
    out.push_str(&write_yaml(&cluster_role(&for_cluster(creates), &subjects)));
    Some(out)
}

const NAME: &str = "dynbench";

fn subject(namespace: &str) -> Value {
    json!({"kind": "ServiceAccount", "name": NAME, "namespace": namespace})
}

fn role(namespace: &str, rules: &Rules) -> Vec<Value> {
    let metadata = json!({"name": NAME, "namespace": namespace});
    let group = "rbac.authorization.k8s.io";
    vec![
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}),
        json!({"apiVersion": format!("{group}/v1"), "kind": "Role", "metadata": metadata, "rules": rules_json(rules)}),
        json!({
            "apiVersion": format!("{group}/v1"), "kind": "RoleBinding", "metadata": metadata,
            "roleRef": {"apiGroup": group, "kind": "Role", "name": NAME}, "subjects": [subject(namespace)],
        }),
    ]
}

fn cluster_role(rules: &Rules, subjects: &[Value]) -> Vec<Value> {
    let metadata = json!({"name": NAME});
    let group = "rbac.authorization.k8s.io";
    vec![
        json!({
            "apiVersion": format!("{group}/v1"), "kind": "ClusterRole", "metadata": metadata, "rules": rules_json(rules),
        }),
        json!({
            "apiVersion": format!("{group}/v1"), "kind": "ClusterRoleBinding", "metadata": metadata,
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": NAME}, "subjects": subjects,
        }),
    ]
}
