//! The claim of a model cache, and the Job that fills it.

use serde_json::{Value, json};

use super::super::own::{MANAGED_BY, MANAGER, ROLE};
use super::super::settings::ModelCache;
use crate::base::digest_json;

/// Value of [`ROLE`] on both.
pub(super) const CACHE: &str = "model-cache";

/// Annotation of a Job: what it downloads, for people.
const MODEL: &str = "dynbench.dev/model";

/// The claim.
pub(super) fn claim(cache: &ModelCache) -> Value {
    let mut spec = json!({
        "accessModes": [cache.access_mode],
        "resources": {"requests": {"storage": cache.size}},
    });
    if let Some(class) = &cache.storage_class {
        spec["storageClassName"] = json!(class);
    }
    json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": cache.pvc, "labels": labels()},
        "spec": spec,
    })
}

fn labels() -> Value {
    json!({MANAGED_BY: MANAGER, ROLE: CACHE})
}

/// What is downloaded: decides whether a volume that is full is full of the right thing.
fn wish(cache: &ModelCache, model: &str, image: &str) -> Value {
    json!({"model": model, "image": image, "command": command(cache, model), "path": cache.mount_path})
}

fn command(cache: &ModelCache, model: &str) -> Vec<String> {
    let standard = || {
        // Older images have the tool under its older name.
        let script = "if command -v hf >/dev/null; then hf download \"$1\"; else huggingface-cli download \"$1\"; fi";
        ["sh", "-c", script, "sh", model].map(str::to_owned).to_vec()
    };
    cache.command.clone().unwrap_or_else(standard)
}

/// Name of the Job for a claim with this uid.
pub(super) fn job_name(cache: &ModelCache, model: &str, image: &str, claim_uid: &str) -> String {
    let digest = digest_json(&json!({"wish": wish(cache, model, image), "claim": claim_uid}));
    format!("dynbench-cache-{}", &digest.short()[..8])
}

/// What the download's pod has of the pod that will use the volume: how its image is pulled, and where it may run.
const ALIKE: [&str; 3] = ["imagePullSecrets", "nodeSelector", "tolerations"];

/// The Job. `user` is the spec of the pod that will use the volume.
pub(super) fn job(cache: &ModelCache, model: &str, image: &str, name: &str, user: &Value) -> Value {
    let mut container = json!({
        "name": "download",
        "image": image,
        "command": command(cache, model),
        "env": [{"name": "HF_HOME", "value": cache.mount_path}, {"name": "HOME", "value": "/tmp"}],
        "volumeMounts": [
            {"name": "cache", "mountPath": cache.mount_path},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
        "resources": {"requests": {"cpu": "1", "memory": "1Gi"}},
        "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
    });
    if let Some(secret) = &cache.token_secret {
        container["envFrom"] = json!([{"secretRef": {"name": secret}}]);
    }
    // Files are read by others than their writer: users and groups must be those of the pod that reads.
    let mut security = user.get("securityContext").cloned().unwrap_or_else(|| json!({}));
    if security.get("seccompProfile").is_none() {
        security["seccompProfile"] = json!({"type": "RuntimeDefault"});
    }
    let mut pod = json!({
        "restartPolicy": "Never",
        "automountServiceAccountToken": false,
        "securityContext": security,
        "containers": [container],
        "volumes": [
            {"name": "cache", "persistentVolumeClaim": {"claimName": cache.pvc}},
            {"name": "tmp", "emptyDir": {}},
        ],
    });
    for key in ALIKE {
        if let Some(value) = user.get(key) {
            pod[key] = value.clone();
        }
    }
    if let Some(affinity) = user.pointer("/affinity/nodeAffinity") {
        pod["affinity"] = json!({"nodeAffinity": affinity});
    }
    json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": name, "labels": labels(), "annotations": {MODEL: model}},
        "spec": {
            // Downloads try again by themselves and go on where they broke; a pod may be evicted.
            "backoffLimit": 1,
            "activeDeadlineSeconds": cache.deadline.as_secs(),
            "template": {
                "metadata": {"labels": labels()},
                "spec": pod,
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn cache() -> ModelCache {
        ModelCache {
            pvc: "models".to_owned(),
            size: "10Gi".to_owned(),
            storage_class: None,
            access_mode: "ReadWriteOnce".to_owned(),
            image: None,
            command: None,
            mount_path: "/model-cache".to_owned(),
            token_secret: Some("hf".to_owned()),
            deadline: Duration::from_secs(60),
        }
    }

    #[test]
    fn a_job_is_known_again_by_what_it_downloads_and_by_the_volume() {
        let name = |model: &str, uid: &str| job_name(&cache(), model, "image:1", uid);
        assert_eq!(name("a/b", "1"), name("a/b", "1"));
        assert_ne!(name("a/b", "1"), name("a/c", "1"));
        assert_ne!(name("a/b", "1"), name("a/b", "2"));
    }

    #[test]
    fn the_models_id_is_an_argument_and_no_part_of_a_script() {
        let command = command(&cache(), "a/b; rm -rf /");
        assert_eq!(command.last().unwrap(), "a/b; rm -rf /");
        assert!(!command[2].contains("a/b"));
    }

    #[test]
    fn the_download_is_pulled_and_placed_like_the_pod_that_will_read_it() {
        let user = json!({
            "imagePullSecrets": [{"name": "pull"}],
            "nodeSelector": {"zone": "a"},
            "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
            "affinity": {"nodeAffinity": {"x": 1}, "podAntiAffinity": {"x": 2}},
            "securityContext": {"runAsNonRoot": true, "runAsUser": 1000, "fsGroup": 1000},
            "containers": [{"image": "image:1"}],
            "serviceAccountName": "engine",
        });
        let job = job(&cache(), "a/b", "image:1", "n", &user);
        insta::assert_snapshot!(serde_json::to_string_pretty(&job["spec"]["template"]["spec"]).unwrap());
    }

    #[test]
    fn neither_carries_the_label_of_a_run() {
        let both = [claim(&cache()), job(&cache(), "a/b", "image:1", "n", &Value::Null)];
        for object in both {
            assert!(!object.to_string().contains("dynbench.dev/run"), "{object}");
        }
    }
}
