//! What the namespace's quotas leave is enough.

use k8s_openapi::api::core::v1::ResourceQuota;
use kube::Api;
use kube::api::ListParams;

use super::super::super::contract::TargetError;
use super::super::quantity::parse;
use super::check::Finding;
use super::demand::Demand;
use super::scene::{Answer, Scene};

pub(super) async fn check(scene: &Scene<'_>) -> Result<Vec<Finding>, TargetError> {
    if scene.namespace_is_absent() {
        return Ok(Vec::new());
    }
    let api: Api<ResourceQuota> = Api::namespaced(scene.cluster.client.clone(), scene.cluster.namespace());
    let listed = match scene.ask("listing quotas", api.list(&ListParams::default())).await? {
        Answer::Found(listed) => listed.items,
        Answer::Absent => Vec::new(),
        Answer::NoAccess => return Ok(vec![Finding::no_access("quotas")]),
    };
    let demand = Demand::of(&scene.all_objects());
    let mut findings = Vec::new();
    for quota in &listed {
        let name = quota.metadata.name.clone().unwrap_or_default();
        // Quotas with scopes count only some pods; which ones is for the API server to say.
        let spec = quota.spec.as_ref();
        if spec.is_some_and(|spec| spec.scopes.is_some() || spec.scope_selector.is_some()) {
            findings.push(Finding::Unknown(format!("quota {name}"), "it is for some pods only".to_owned()));
            continue;
        }
        let short = shortages(quota, &demand);
        findings.push(if short.is_empty() {
            Finding::Fine(format!("quota {name} leaves enough"))
        } else {
            Finding::Problem(TargetError {
                details: short,
                help: Some("ask for a larger quota, take less, or end what uses it".to_owned()),
                ..TargetError::new(format!("quota {name} leaves too little"))
            })
        });
    }
    if listed.is_empty() {
        findings.push(Finding::Fine("no quota".to_owned()));
    }
    Ok(findings)
}

/// Everything that the quota leaves less of than is needed.
fn shortages(quota: &ResourceQuota, demand: &Demand) -> Vec<String> {
    let status = quota.status.as_ref();
    let hard = quota.spec.as_ref().and_then(|spec| spec.hard.as_ref()).into_iter().flatten();
    hard.filter_map(|(resource, hard)| {
        let used = status.and_then(|status| status.used.as_ref()).and_then(|used| used.get(resource));
        let used = used.map_or("0", |used| used.0.as_str());
        let needed = demand.total(resource);
        let left = parse(&hard.0)? - parse(used)?;
        // Sums of many decimal fractions.
        (needed > left * (1.0 + 1e-9)).then(|| {
            format!("{resource}: needs {}, {} is left ({used} of {} used)", shown(needed), shown(left.max(0.0)), hard.0)
        })
    })
    .collect()
}

/// Without a tail of zeros.
pub(super) fn shown(number: f64) -> String {
    if number >= 1024f64.powi(3) {
        format!("{:.1}Gi", number / 1024f64.powi(3))
    } else if number >= 1024f64.powi(2) {
        format!("{:.0}Mi", number / 1024f64.powi(2))
    } else {
        let text = format!("{number:.3}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn quota(hard: serde_json::Value, used: serde_json::Value) -> ResourceQuota {
        serde_json::from_value(json!({"spec": {"hard": hard}, "status": {"used": used}})).unwrap()
    }

    fn demand() -> Demand {
        Demand::of(&[
            json!({"kind": "Deployment", "metadata": {"name": "a"}, "spec": {"replicas": 3, "template": {"spec": {
                "containers": [{"resources": {"limits": {"nvidia.com/gpu": "2"}, "requests": {"memory": "4Gi", "cpu": "100m"}}}],
            }}}}),
        ])
    }

    #[test]
    fn what_is_used_already_is_not_left() {
        let quota =
            quota(json!({"requests.nvidia.com/gpu": "8", "pods": "3"}), json!({"requests.nvidia.com/gpu": "4"}));
        assert_eq!(shortages(&quota, &demand()), ["requests.nvidia.com/gpu: needs 6, 4 is left (4 of 8 used)"]);
    }

    #[test]
    fn exactly_enough_is_enough() {
        let quota = quota(json!({"requests.memory": "12Gi", "requests.cpu": "300m", "services": "0"}), json!({}));
        assert_eq!(shortages(&quota, &demand()), Vec::<String>::new());
    }

    #[test]
    fn memory_is_told_in_the_unit_that_fits() {
        let quota = quota(json!({"memory": "10Gi"}), json!({"memory": "1Gi"}));
        assert_eq!(shortages(&quota, &demand()), ["memory: needs 12.0Gi, 9.0Gi is left (1Gi of 10Gi used)"]);
        assert_eq!((shown(32.0 * 1024f64.powi(2)).as_str(), shown(0.5).as_str()), ("32Mi", "0.5"));
    }
}
