//! What a plan changes in manifests that are otherwise taken as they are: images, replicas, environment, namespace.

use std::collections::BTreeSet;

use indexmap::IndexMap;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::base::{Diagnostic, nearest};
use crate::plan::{Deployment, Values};

/// `images` of `[target]` or of a deployment.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Images {
    /// What an image's name is, and what it becomes. One `*` stands for any text, and for the same text in the new name.
    #[serde(default)]
    pub(super) rewrite: IndexMap<String, String>,
}

/// `overrides` of a deployment.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Overrides {
    /// Replicas by the name of an object, or of a component of a graph.
    #[serde(default)]
    pub(super) replicas: IndexMap<String, u32>,
    /// Environment variables of all containers: text, or a reference as Kubernetes writes it (`{ secretKeyRef = ... }`).
    #[serde(default)]
    pub(super) env: Map<String, Value>,
}

/// The name under which an image is had for a deployment: what its own patterns, then those of its `[target]`, make of
/// it. For images that are no part of its objects, such as that of the load.
pub fn image_for(deployment: &Deployment, image: &str) -> String {
    images_of(deployment).fitting(image).map_or_else(|| image.to_owned(), |(_, new)| new)
}

/// The pattern that decides it, if one fits.
pub fn fitting_pattern(deployment: &Deployment, image: &str) -> Option<String> {
    images_of(deployment).fitting(image).map(|(from, _)| from.to_owned())
}

fn images_of(deployment: &Deployment) -> Images {
    let of = |values: &Values| -> Images {
        // Keys of another shape have been refused when the plan was read.
        values.json.get("images").and_then(|images| Images::deserialize(images).ok()).unwrap_or_default()
    };
    of(&deployment.values).before(of(&deployment.target.values))
}

impl Images {
    /// These patterns, and after them the others.
    pub(super) fn before(mut self, others: Self) -> Self {
        for (from, to) in others.rewrite {
            self.rewrite.entry(from).or_insert(to);
        }
        self
    }

    /// The first pattern that fits, and the new name.
    fn fitting(&self, image: &str) -> Option<(&str, String)> {
        self.rewrite.iter().find_map(|(from, to)| Some((from.as_str(), rewritten(image, from, to)?)))
    }

    /// Rewrites every image that a pattern fits, once; the first that does counts. Returns the patterns that did.
    pub(super) fn rewrite(&self, objects: &mut [Value]) -> BTreeSet<String> {
        let mut used = BTreeSet::new();
        objects.iter_mut().for_each(|object| self.rewrite_in(object, &mut used));
        used
    }

    fn rewrite_in(&self, value: &mut Value, used: &mut BTreeSet<String>) {
        match value {
            Value::Array(items) => items.iter_mut().for_each(|item| self.rewrite_in(item, used)),
            Value::Object(fields) => {
                for (name, inner) in fields.iter_mut() {
                    if let (true, Some(image)) = (name == "image", inner.as_str()) {
                        if let Some((from, new)) = self.fitting(image) {
                            used.insert(from.to_owned());
                            *inner = new.into();
                        }
                    } else {
                        self.rewrite_in(inner, used);
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
}

/// The new name of an image, if the pattern fits it.
fn rewritten(image: &str, from: &str, to: &str) -> Option<String> {
    let Some((before, after)) = from.split_once('*') else { return (image == from).then(|| to.to_owned()) };
    let middle = image.strip_prefix(before)?.strip_suffix(after)?;
    Some(to.replacen('*', middle, 1))
}

/// Everything is made in the plan's namespace; the names of those that manifests ask for instead.
pub(super) fn without_namespaces(objects: &mut [Value]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for object in objects {
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut)
            && let Some(Value::String(namespace)) = metadata.shift_remove("namespace")
        {
            found.insert(namespace);
        }
    }
    found
}

impl Overrides {
    /// Changes the objects; what fits nothing is a problem.
    pub(super) fn apply(&self, objects: &mut [Value]) -> Vec<Diagnostic> {
        let mut problems = Vec::new();
        let mut known = BTreeSet::new();
        for object in objects.iter_mut() {
            for (name, scaled) in scaled(object) {
                if let Some(replicas) = self.replicas.get(&name) {
                    scaled.insert("replicas".to_owned(), (*replicas).into());
                }
                known.insert(name);
            }
            if !self.env.is_empty() {
                self.environment(object);
            }
        }
        for name in self.replicas.keys().filter(|name| !known.contains(*name)) {
            let diagnostic = Diagnostic::error(format!("nothing here with replicas is called `{name}`"));
            let near = nearest(name, known.iter().map(String::as_str));
            problems.push(diagnostic.suggest(near));
        }
        problems
    }

    /// Sets the variables in every list of containers and in every graph.
    fn environment(&self, value: &mut Value) {
        match value {
            Value::Array(items) => items.iter_mut().for_each(|item| self.environment(item)),
            Value::Object(fields) => {
                if super::graph::is_graph(&Value::Object(fields.clone()))
                    && let Some(Value::Object(spec)) = fields.get_mut("spec")
                {
                    let key = if spec.contains_key("services") { "envs" } else { "env" };
                    self.set(spec.entry(key).or_insert_with(|| json!([])));
                    // What a component says of a variable counts before what the graph says.
                    for parts in ["services", "components"] {
                        if let Some(parts) = spec.get_mut(parts) {
                            self.within_components(parts);
                        }
                    }
                    return;
                }
                for (name, inner) in fields.iter_mut() {
                    if ["containers", "initContainers"].contains(&name.as_str()) {
                        for container in inner.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
                            self.set(container.entry("env").or_insert_with(|| json!([])));
                        }
                    } else {
                        self.environment(inner);
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    /// Replaces the variables in the main containers of a graph, where they stand; sets them in all others, which get
    /// nothing from the graph.
    fn within_components(&self, value: &mut Value) {
        match value {
            Value::Array(items) => items.iter_mut().for_each(|item| self.within_components(item)),
            Value::Object(fields) => {
                for (name, inner) in fields.iter_mut() {
                    match (name.as_str(), &mut *inner) {
                        ("env" | "envs", list) => self.replace(list),
                        ("containers" | "initContainers", Value::Array(containers)) => {
                            for container in containers.iter_mut().filter_map(Value::as_object_mut) {
                                let main = container.get("name").is_some_and(|name| name == "main");
                                match container.get_mut("env") {
                                    Some(list) if main => self.replace(list),
                                    None if main => {}
                                    Some(_) | None => self.set(container.entry("env").or_insert_with(|| json!([]))),
                                }
                            }
                        }
                        (_, inner) => self.within_components(inner),
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    /// Sets only those variables that are in the list.
    fn replace(&self, list: &mut Value) {
        let has = |name: &str| list.as_array().is_some_and(|list| list.iter().any(|one| one["name"] == name));
        let env = self.env.iter().filter(|(name, _)| has(name)).map(|(name, value)| (name.clone(), value.clone()));
        let known = Self { env: env.collect(), ..Self::default() };
        known.set(list);
    }

    fn set(&self, list: &mut Value) {
        let Some(list) = list.as_array_mut() else { return };
        for (name, value) in &self.env {
            list.retain(|variable| variable["name"] != name.as_str());
            list.push(match value {
                Value::Object(reference) => json!({"name": name, "valueFrom": reference}),
                Value::String(text) => json!({"name": name, "value": text}),
                other => json!({"name": name, "value": other.to_string()}),
            });
        }
    }
}

/// Whatever has replicas in an object, by the name that a plan calls it.
fn scaled(object: &mut Value) -> Vec<(String, &mut Map<String, Value>)> {
    let kind = object["kind"].as_str().unwrap_or_default().to_owned();
    let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else { return Vec::new() };
    match kind.as_str() {
        "Deployment" | "StatefulSet" | "ReplicaSet" | "LeaderWorkerSet" => vec![(name, spec)],
        super::graph::GRAPH if spec.contains_key("services") => {
            let services = spec.get_mut("services").and_then(Value::as_object_mut);
            let each = services.into_iter().flatten();
            each.filter_map(|(name, service)| Some((name.clone(), service.as_object_mut()?))).collect()
        }
        super::graph::GRAPH => {
            let components = spec.get_mut("components").and_then(Value::as_array_mut);
            let each = components.into_iter().flatten().filter_map(Value::as_object_mut);
            each.map(|component| {
                (component.get("name").and_then(Value::as_str).unwrap_or_default().to_owned(), component)
            })
            .collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overrides(value: Value) -> Overrides {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn images_are_rewritten_by_the_first_pattern_that_fits() {
        let images: Images = serde_json::from_value(json!({"rewrite": {
            "nvcr.io/*": "mirror.local/nvcr/*", "busybox": "mirror.local/busybox:1", "*:latest": "never/*",
        }}))
        .unwrap();
        let mut object =
            json!({"spec": {"containers": [{"image": "nvcr.io/a/b:1"}, {"image": "busybox"}, {"image": "other:2"}]}});
        let used = images.rewrite(std::slice::from_mut(&mut object));
        assert_eq!(used.into_iter().collect::<Vec<_>>(), ["busybox", "nvcr.io/*"]);
        let found: Vec<_> =
            object["spec"]["containers"].as_array().unwrap().iter().map(|one| one["image"].clone()).collect();
        assert_eq!(found, ["mirror.local/nvcr/a/b:1", "mirror.local/busybox:1", "other:2"]);
    }

    #[test]
    fn replicas_and_environment_reach_plain_objects_and_graphs() {
        let mut objects = vec![
            json!({"kind": "Deployment", "metadata": {"name": "web"}, "spec": {"replicas": 1, "template": {"spec": {"containers": [
                {"name": "a", "env": [{"name": "X", "value": "old"}]}]}}}}),
            json!({"apiVersion": "nvidia.com/v1beta1", "kind": "DynamoGraphDeployment", "metadata": {"name": "g"},
                "spec": {"components": [{"name": "Worker", "replicas": 1}]}}),
        ];
        let change = overrides(json!({"replicas": {"web": 3, "Worker": 2},
            "env": {"X": "new", "T": {"secretKeyRef": {"name": "s", "key": "k"}}}}));
        assert!(change.apply(&mut objects).is_empty());
        assert_eq!(objects[0]["spec"]["replicas"], 3);
        assert_eq!(objects[1]["spec"]["components"][0]["replicas"], 2);
        let expected = json!([{"name": "X", "value": "new"}, {"name": "T", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]);
        assert_eq!(objects[0]["spec"]["template"]["spec"]["containers"][0]["env"], expected);
        assert_eq!(objects[1]["spec"]["env"], expected);
        let wrong = overrides(json!({"replicas": {"worker": 2}})).apply(&mut objects);
        assert_eq!(wrong[0].message, "nothing here with replicas is called `worker`");
    }

    #[test]
    fn a_components_own_variable_gives_way_in_either_version_of_a_graph() {
        let own = json!([{"name": "X", "value": "old"}, {"name": "Y", "value": "1"}]);
        let new = json!([{"name": "Y", "value": "1"}, {"name": "X", "value": "new"}]);
        let beta = json!({"apiVersion": "nvidia.com/v1beta1", "kind": "DynamoGraphDeployment", "metadata": {"name": "g"},
            "spec": {"components": [{"name": "Worker", "podTemplate": {"spec": {"containers": [
                {"name": "main", "env": own}, {"name": "sidecar"}]}}}]}});
        let alpha = json!({"apiVersion": "nvidia.com/v1alpha1", "kind": "DynamoGraphDeployment", "metadata": {"name": "h"},
            "spec": {"services": {"Worker": {"envs": own, "extraPodSpec": {"mainContainer": {"env": own}}}}}});
        let mut objects = vec![beta, alpha];
        assert!(overrides(json!({"env": {"X": "new", "Z": "2"}})).apply(&mut objects).is_empty());
        let all = json!([{"name": "X", "value": "new"}, {"name": "Z", "value": "2"}]);
        for (object, place, expected) in [
            (0, "/spec/env", &all),
            (0, "/spec/components/0/podTemplate/spec/containers/0/env", &new),
            // The graph's own variables reach its main containers only.
            (0, "/spec/components/0/podTemplate/spec/containers/1/env", &all),
            (1, "/spec/envs", &all),
            (1, "/spec/services/Worker/envs", &new),
            (1, "/spec/services/Worker/extraPodSpec/mainContainer/env", &new),
        ] {
            assert_eq!(objects[object].pointer(place), Some(expected), "{place}");
        }
    }

    #[test]
    fn namespaces_of_manifests_give_way_to_the_plans() {
        let mut objects =
            vec![json!({"metadata": {"name": "a", "namespace": "theirs"}}), json!({"metadata": {"name": "b"}})];
        assert_eq!(without_namespaces(&mut objects).into_iter().collect::<Vec<_>>(), ["theirs"]);
        assert_eq!(objects[0], json!({"metadata": {"name": "a"}}));
    }
}
