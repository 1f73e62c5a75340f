//! What objects refer to by name: Secrets, ConfigMaps, accounts, claims, storage classes, images. Read from any object
//! that has pod templates somewhere, custom ones included.

use std::collections::BTreeSet;

use serde_json::Value;

use super::family::name;

fn kind_of(object: &Value) -> &str {
    object.get("kind").and_then(Value::as_str).unwrap_or_default()
}

/// Names, by what they name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Mentions {
    pub(super) secrets: BTreeSet<String>,
    pub(super) pull_secrets: BTreeSet<String>,
    pub(super) config_maps: BTreeSet<String>,
    pub(super) accounts: BTreeSet<String>,
    pub(super) claims: BTreeSet<String>,
    pub(super) storage_classes: BTreeSet<String>,
    /// Whether a claim is made that leaves its class to the cluster.
    pub(super) default_class: bool,
    pub(super) images: BTreeSet<String>,
}

impl Mentions {
    /// Everything that these objects need and do not bring themselves.
    pub(super) fn of(objects: &[Value]) -> Self {
        let mut mentions = Self::default();
        for object in objects {
            mentions.walk(object);
            match kind_of(object) {
                "PersistentVolumeClaim" => mentions.claim(object),
                "StatefulSet" => {
                    let templates = object.pointer("/spec/volumeClaimTemplates").and_then(Value::as_array);
                    templates.into_iter().flatten().for_each(|template| mentions.claim(template));
                }
                _ => {}
            }
        }
        for object in objects {
            let name = name(object);
            match kind_of(object) {
                "Secret" => mentions.secrets.remove(name),
                "ConfigMap" => mentions.config_maps.remove(name),
                "ServiceAccount" => mentions.accounts.remove(name),
                "PersistentVolumeClaim" => mentions.claims.remove(name),
                _ => false,
            };
        }
        mentions
    }

    fn claim(&mut self, claim: &Value) {
        match claim.pointer("/spec/storageClassName").and_then(Value::as_str) {
            // An empty name asks for a volume that is there already.
            Some("") => {}
            Some(class) => {
                self.storage_classes.insert(class.to_owned());
            }
            None => self.default_class = true,
        }
    }

    fn walk(&mut self, value: &Value) {
        match value {
            Value::Object(map) => {
                for (key, inner) in map {
                    self.member(key, inner);
                    self.walk(inner);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.walk(item)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn member(&mut self, key: &str, value: &Value) {
        let optional = value.get("optional").and_then(Value::as_bool).unwrap_or(false);
        let inner = |name: &str| value.get(name).and_then(Value::as_str).filter(|_| !optional).map(str::to_owned);
        let text = || value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        match key {
            "secretRef" | "secretKeyRef" => self.secrets.extend(inner("name")),
            "secret" => self.secrets.extend(inner("secretName").or_else(|| inner("name"))),
            // v1alpha1 of Dynamo's graphs.
            "envFromSecret" => self.secrets.extend(text()),
            "configMapRef" | "configMapKeyRef" | "configMap" => self.config_maps.extend(inner("name")),
            "persistentVolumeClaim" => self.claims.extend(inner("claimName")),
            "serviceAccountName" => self.accounts.extend(text()),
            "imagePullSecrets" => {
                let names = value.as_array().into_iter().flatten();
                self.pull_secrets.extend(names.filter_map(|one| one.get("name")?.as_str().map(str::to_owned)));
            }
            "image" => self.images.extend(text()),
            "pvcs" => {
                for claim in value.as_array().into_iter().flatten() {
                    let made = claim.get("create").and_then(Value::as_bool).unwrap_or(false);
                    self.claims.extend(claim.get("name").and_then(Value::as_str).filter(|_| !made).map(str::to_owned));
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_are_found_wherever_a_pod_may_name_them() {
        let pod = json!({
            "serviceAccountName": "runner",
            "imagePullSecrets": [{"name": "registry"}],
            "containers": [{
                "image": "vllm:1",
                "envFrom": [{"secretRef": {"name": "hf"}}, {"configMapRef": {"name": "settings"}}],
                "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "key", "key": "k"}}},
                        {"name": "B", "valueFrom": {"secretKeyRef": {"name": "maybe", "key": "k", "optional": true}}}],
            }],
            "volumes": [{"secret": {"secretName": "tls"}}, {"persistentVolumeClaim": {"claimName": "cache"}}],
        });
        let object = json!({"kind": "DynamoGraphDeployment", "metadata": {"name": "g"}, "spec": {
            "components": [{"podTemplate": {"spec": pod}}], "services": {"a": {"envFromSecret": "old"}}}});
        let mentions = Mentions::of(&[object]);
        assert_eq!(mentions.secrets.iter().collect::<Vec<_>>(), ["hf", "key", "old", "tls"]);
        assert_eq!(mentions.pull_secrets.iter().collect::<Vec<_>>(), ["registry"]);
        assert_eq!(mentions.config_maps.iter().collect::<Vec<_>>(), ["settings"]);
        assert_eq!(mentions.accounts.iter().collect::<Vec<_>>(), ["runner"]);
        assert_eq!(mentions.claims.iter().collect::<Vec<_>>(), ["cache"]);
        assert_eq!(mentions.images.iter().collect::<Vec<_>>(), ["vllm:1"]);
    }

    #[test]
    fn what_the_objects_bring_themselves_is_not_missing() {
        let objects = [
            json!({"kind": "PersistentVolumeClaim", "metadata": {"name": "own"}, "spec": {}}),
            json!({"kind": "ConfigMap", "metadata": {"name": "own"}}),
            json!({"kind": "Pod", "spec": {"volumes": [
                {"persistentVolumeClaim": {"claimName": "own"}}, {"configMap": {"name": "own"}}]}}),
        ];
        let mentions = Mentions::of(&objects);
        assert!(mentions.claims.is_empty() && mentions.config_maps.is_empty());
        assert!(mentions.default_class);
    }
}
