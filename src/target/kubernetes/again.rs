//! Whether what an earlier session applied can be measured on as it stands.
//!
//! Only what is recorded, whole, untouched, and equal to what would be applied now: whatever is doubtful is ended and
//! deployed anew, which costs minutes, while a point measured on something else costs the comparison. That the pods below
//! may be others by now is no reason against it: they are judged by `wait`, and another incarnation is recorded as one.

use std::collections::BTreeMap;

use kube::api::ObjectMeta;
use serde_json::Value;

use super::super::contract::{Again, Deployed, Live, TargetError};
use super::apply::{Piece, pieces};
use super::client::Cluster;
use super::discover;
use super::handle::{Handle, State};
use super::kind;
use super::own;
use super::seen::Applied;

/// Kinds whose generation moves only when somebody changes what was asked for. Custom kinds are not among them: their
/// operators rewrite what they were given, and the generation moves without our doing.
const TELLING: [&str; 4] = ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"];

/// Said of what has no record of all its objects' uids.
const NOT_WHOLE: &str = "it was not applied as a whole";

/// Looks whether the deployment that `deployed` records, and that `handle` would end, can be used again.
///
/// # Errors
/// When the objects cannot be rendered or the API server cannot be asked.
pub(super) async fn again(live: Live<'_>, deployed: Option<&Deployed>, handle: &Value) -> Result<Again, TargetError> {
    let Some(deployed) = deployed else { return Ok(changed(NOT_WHOLE)) };
    // What cannot be read was written by another version: it is ended by whatever can be read of it.
    let (Ok(handle), Ok(state)) = (Handle::read(handle), State::of(deployed)) else {
        return Ok(changed("its record is of another version of dynbench"));
    };
    let cluster = Cluster::connect(&kind::whereabouts(live.deployment)?).await?;
    if handle != state.handle {
        return Ok(changed(NOT_WHOLE));
    }
    if cluster.whereabouts() != handle.whereabouts {
        return Ok(changed("the plan means another place now"));
    }
    let discovered = discover::discover(&cluster).await?;
    if discovered.cluster_uid != handle.cluster_uid {
        return Ok(changed("the context names another cluster now"));
    }
    let wanted = pieces(&cluster, live, &discovered).await?;
    if let Some(why) = differs(&state, &wanted, kind::read(live.deployment)?.service.as_deref()) {
        return Ok(changed(why));
    }
    for (applied, piece) in state.applied.iter().zip(&wanted) {
        let doing = format!("looking for {} {}", applied.kind, applied.name);
        let found = cluster.call_opt(&doing, piece.resource.of(&cluster).get_metadata(&applied.name)).await?;
        if let Some(why) = touched(applied, found.as_ref().map(|found| &found.metadata), live.run) {
            return Ok(changed(format!("{} {} {why}", applied.kind, applied.name)));
        }
    }
    Ok(Again::Unchanged)
}

fn changed(why: impl Into<String>) -> Again {
    Again::Changed(why.into())
}

/// Why what would be applied now is not what was applied.
fn differs(state: &State, wanted: &[Piece], service: Option<&str>) -> Option<String> {
    let names = |one: &Applied, other: &Piece| {
        (&one.api_version, &one.kind, &one.name) == (&other.resource.api_version, &other.resource.kind, &other.name)
    };
    let same_list = state.applied.len() == wanted.len()
        && state.applied.iter().zip(wanted).all(|(applied, piece)| names(applied, piece));
    if !same_list {
        return Some("the plan has other objects now".to_owned());
    }
    if state.service.as_deref() != service {
        return Some("the plan names another service now".to_owned());
    }
    let other = state.applied.iter().zip(wanted).find(|(applied, piece)| applied.sent != piece.sent);
    other.map(|(applied, _)| format!("{} {} would be another now", applied.kind, applied.name))
}

/// Why an object is not as it was left; `found` is what has its name now.
fn touched(applied: &Applied, found: Option<&ObjectMeta>, run: &str) -> Option<&'static str> {
    let Some(found) = found else { return Some("is gone") };
    let has = |values: &Option<BTreeMap<String, String>>, name: &str, value: &str| {
        values.as_ref().and_then(|values| values.get(name)).is_some_and(|present| present == value)
    };
    match () {
        () if found.uid.as_deref() != Some(&applied.uid) => Some("was replaced"),
        () if found.deletion_timestamp.is_some() => Some("is being deleted"),
        () if !has(&found.labels, own::RUN, run) => Some("has lost its label"),
        () if !has(&found.annotations, own::SENT, &applied.sent) => Some("was applied anew"),
        () if TELLING.contains(&applied.kind.as_str())
            && applied.generation.is_some()
            && found.generation != applied.generation =>
        {
            Some("was changed")
        }
        () => None,
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use k8s_openapi::jiff::Timestamp;
    use serde_json::json;

    use super::super::client::Whereabouts;
    use super::super::discover::Discovered;
    use super::super::handle::Named;
    use super::super::resource::Resource;
    use super::*;

    fn applied(kind: &str) -> Applied {
        Applied {
            api_version: "apps/v1".to_owned(),
            kind: kind.to_owned(),
            name: "agg".to_owned(),
            uid: "u1".to_owned(),
            sent: "d1".to_owned(),
            generation: Some(1),
        }
    }

    fn found() -> ObjectMeta {
        ObjectMeta {
            uid: Some("u1".to_owned()),
            generation: Some(1),
            labels: pairs(own::RUN, "r1"),
            annotations: pairs(own::SENT, "d1"),
            ..ObjectMeta::default()
        }
    }

    fn pairs(name: &str, value: &str) -> Option<BTreeMap<String, String>> {
        Some(BTreeMap::from([(name.to_owned(), value.to_owned())]))
    }

    #[test]
    fn an_object_is_untouched_only_when_nothing_about_it_changed() {
        type Change = fn(&mut ObjectMeta);
        let changes: [(Change, Option<&str>); 8] = [
            (|_| {}, None),
            (|found| found.resource_version = Some("7".to_owned()), None),
            (|found| found.uid = Some("u2".to_owned()), Some("was replaced")),
            (|found| found.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH)), Some("is being deleted")),
            (|found| found.labels = None, Some("has lost its label")),
            (|found| found.annotations = None, Some("was applied anew")),
            (|found| found.annotations = pairs(own::SENT, "d2"), Some("was applied anew")),
            (|found| found.generation = Some(2), Some("was changed")),
        ];
        for (number, (change, why)) in changes.into_iter().enumerate() {
            let mut now = found();
            change(&mut now);
            assert_eq!(touched(&applied("Deployment"), Some(&now), "r1"), why, "change {number}");
        }
        assert_eq!(touched(&applied("Deployment"), None, "r1"), Some("is gone"));
        assert_eq!(touched(&applied("Deployment"), Some(&found()), "r2"), Some("has lost its label"));
    }

    #[test]
    fn the_generation_counts_only_where_nobody_but_a_user_moves_it_and_where_it_is_recorded() {
        let moved = ObjectMeta { generation: Some(2), ..found() };
        for (kind, why) in [
            ("StatefulSet", Some("was changed")),
            ("DynamoGraphDeployment", None),
            ("LeaderWorkerSet", None),
            ("Job", None),
            ("Service", None),
        ] {
            assert_eq!(touched(&applied(kind), Some(&moved), "r1"), why, "{kind}");
        }
        let older = Applied { generation: None, ..applied("Deployment") };
        assert_eq!(touched(&older, Some(&moved), "r1"), None);
    }

    #[test]
    fn a_plan_that_would_apply_something_else_uses_nothing_again() {
        let resource = Resource::known("apps/v1", "Deployment", "deployments");
        let piece = |name: &str, sent: &str| Piece {
            resource: resource.clone(),
            name: name.to_owned(),
            object: json!({}),
            sent: sent.to_owned(),
        };
        let state = State {
            handle: Handle {
                whereabouts: Whereabouts::default(),
                server: String::new(),
                cluster_uid: None,
                run: "r1".to_owned(),
                deployment: "agg".to_owned(),
                objects: vec![Named { resource: resource.clone(), name: "agg".to_owned() }],
                role: None,
            },
            applied: vec![applied("Deployment")],
            existing: None,
            service: Some("agg:80".to_owned()),
            discovered: Discovered { kubernetes: "v1.34.4".to_owned(), ..Discovered::default() },
        };
        let service = Some("agg:80");
        assert_eq!(differs(&state, &[piece("agg", "d1")], service), None);
        for (wanted, service, why) in [
            (vec![piece("agg", "d2")], service, "Deployment agg would be another now"),
            (vec![piece("agg", "d1"), piece("more", "d1")], service, "the plan has other objects now"),
            (vec![piece("other", "d1")], service, "the plan has other objects now"),
            (vec![], service, "the plan has other objects now"),
            (vec![piece("agg", "d1")], None, "the plan names another service now"),
        ] {
            assert_eq!(differs(&state, &wanted, service).as_deref(), Some(why));
        }
    }
}
