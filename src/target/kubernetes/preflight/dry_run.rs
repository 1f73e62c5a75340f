//! Every object as the API server would take it: a dry run finds what admission, schemas and other managers refuse, and
//! shows what would become of it.

use kube::api::{Patch, PatchParams};
use serde::Serialize;
use serde_json::Value;

use super::super::super::contract::{Live, TargetError};
use super::super::fault::translate;
use super::super::own::{MANAGER, RUN};
use super::check::Finding;
use super::difference::difference;
use super::scene::{Answer, Scene, name_of, title};

/// What would become of one object.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Outlook {
    /// `Deployment agg-x`
    pub object: String,
    /// `create`, `change`, `same`, or `refused`.
    pub action: &'static str,
    /// What changes, or why it is refused, a line each. For a new object: what the cluster makes of what was written.
    pub lines: Vec<String>,
    /// Fields that the cluster adds by itself.
    pub added: usize,
}

/// What a cluster says of one deployment.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ServerView {
    /// Context and namespace.
    pub place: String,
    /// Its objects, in the order of the texts.
    pub objects: Vec<Outlook>,
}

pub(super) async fn check(scene: &Scene<'_>) -> Result<Vec<Finding>, TargetError> {
    if scene.objects.is_empty() {
        return Ok(Vec::new());
    }
    if scene.namespace_is_absent() {
        let what = "a dry run of the objects".to_owned();
        return Ok(vec![Finding::Unknown(what, "the namespace is made later".to_owned())]);
    }
    let mut findings = Vec::new();
    for object in &scene.objects {
        // What is not served is a finding of its own already.
        let Some(outlook) = look(scene, object).await? else { continue };
        findings.push(match outlook {
            Ok(outlook) => Finding::Fine(format!("dry run: {} would be accepted ({})", outlook.object, outlook.action)),
            Err(error) => Finding::Problem(error),
        });
    }
    Ok(findings)
}

/// What a deployment's objects would become in the cluster.
///
/// # Errors
/// When nobody answers.
pub async fn server_view(live: Live<'_>) -> Result<ServerView, TargetError> {
    let scene = Scene::look(live).await?;
    let mut objects = Vec::new();
    for object in &scene.objects {
        let refused = |lines| Outlook { object: title(object), action: "refused", lines, added: 0 };
        objects.push(match look(&scene, object).await? {
            None => refused(vec!["the cluster does not know this kind".to_owned()]),
            Some(Ok(outlook)) => outlook,
            Some(Err(error)) => refused(std::iter::once(error.message).chain(error.details).collect()),
        });
    }
    Ok(ServerView { place: scene.cluster.place.to_string(), objects })
}

/// Tries one object; `None`: its kind is not served.
async fn look(scene: &Scene<'_>, object: &Value) -> Result<Option<Result<Outlook, TargetError>>, TargetError> {
    let Some(kind) = scene.kind_of(object) else { return Ok(None) };
    let (api, name, title) = (kind.of(&scene.cluster), name_of(object), title(object));
    let present = match scene.ask(&format!("looking for {title}"), api.get(name)).await? {
        Answer::Found(found) => serde_json::to_value(found).ok(),
        Answer::Absent | Answer::NoAccess => None,
    };
    if let Some(present) = &present {
        let run = present.pointer("/metadata/labels").and_then(|labels| labels.get(RUN)).and_then(Value::as_str);
        if run != Some(scene.live.run) {
            let whose = run.map_or("dynbench did not make it".to_owned(), |run| format!("it belongs to run {run}"));
            return Ok(Some(Err(TargetError {
                help: Some("rename yours, or delete the other one; nothing is ever adopted".to_owned()),
                ..TargetError::new(format!("{title} is there already ({}): {whose}", scene.cluster.place))
            })));
        }
    }
    let params = PatchParams { dry_run: true, ..PatchParams::apply(MANAGER).validation_strict() };
    let doing = format!("dry run of {title}");
    let answer = scene.cluster.answered(&doing, api.patch(name, &params, &Patch::Apply(object))).await?;
    let after = match answer {
        Ok(after) => serde_json::to_value(after).unwrap_or_default(),
        Err(error @ kube::Error::Api(_)) => return Ok(Some(Err(translate(&scene.cluster.place, &doing, &error)))),
        Err(error) => return Err(translate(&scene.cluster.place, &doing, &error)),
    };
    let found = difference(present.as_ref().unwrap_or(object), &after);
    let mut lines = found.changed;
    lines.extend(found.removed.into_iter().map(|path| format!("{path} goes")));
    let action = match (&present, lines.is_empty()) {
        (None, _) => "create",
        (Some(_), true) => "same",
        (Some(_), false) => "change",
    };
    Ok(Some(Ok(Outlook { object: title, action, lines, added: found.added.len() })))
}
