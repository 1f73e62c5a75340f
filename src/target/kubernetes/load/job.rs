//! The Job of the load workers, as an object. Pure: what a plan says, in Kubernetes' words.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::super::{own, stamp};
use super::needs::carries;
use crate::base::{Digest, digest_json, format_duration};
use crate::plan::{Deployment, Plan};

/// Value of [`own::ROLE`].
pub(in super::super) const ROLE: &str = "load";
/// The container.
pub(super) const CONTAINER: &str = "load";
/// Port of a worker, on its pod's loopback.
pub(super) const PORT: u16 = 8701;
/// Where a carried binary is awaited; what has arrived of it, and what was made of that, until it is whole.
pub(super) const BINARY: &str = "/work/dynbench";
pub(super) const PARTS: &str = "/work/dynbench.parts";
pub(super) const PROGRAM: &str = "/work/dynbench.new";

/// A worker that nobody asks and that holds nothing ends after this.
const IDLE: Duration = Duration::from_secs(30 * 60);
/// A Job that has ended stays so long for people who want to look at it.
const KEPT_S: u64 = 3600;
/// Nobody on any node.
const USER: u32 = 65_532;

/// Name of the Job: the same for the same run and deployment, so that it is found again.
pub(super) fn name_of(run: &str, deployment: &str) -> String {
    format!("load-{}", Digest::of(format!("{run}/{deployment}").as_bytes()).short())
}

/// What a Job is made from.
pub(super) struct Wanted<'a> {
    pub(super) plan: &'a Plan,
    pub(super) deployment: &'a Deployment,
    pub(super) run: &'a str,
    pub(super) namespace: &'a str,
    /// With this program in it, or with a shell only.
    pub(super) image: &'a str,
    /// Secrets by which it is pulled.
    pub(super) pull_secrets: &'a [String],
    /// Labels of the pods under test, where they are not ours: workers keep away from them.
    pub(super) tested: Option<&'a Map<String, Value>>,
    /// Digest of the program that will be carried into it: another program makes other workers.
    pub(super) binary: Option<&'a Digest>,
}

/// The Job. The annotation [`own::SENT`] is the digest of what makes its workers what they are: another deadline makes no
/// other workers.
pub(super) fn job(wanted: &Wanted<'_>) -> Value {
    let load = &wanted.plan.load;
    // Ours go over the user's: by them the Job is found again.
    let mut labels = load.labels.clone();
    labels.extend(stamp::labels(wanted.run, wanted.plan.name.as_str(), wanted.deployment.name.as_str()));
    labels.insert(own::ROLE.to_owned(), json!(ROLE));
    let mut metadata = json!({"labels": labels});
    if !load.annotations.is_empty() {
        metadata["annotations"] = json!(load.annotations);
    }
    let template = json!({"metadata": metadata, "spec": pod(wanted)});
    let sent = digest_json(&json!([template, load.workers])).short().to_owned();
    json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name_of(wanted.run, wanted.deployment.name.as_str()),
            "namespace": wanted.namespace,
            "labels": labels,
            "annotations": {own::SENT: sent},
        },
        "spec": {
            "completionMode": "Indexed",
            "completions": load.workers,
            "parallelism": load.workers,
            // Another pod would know nothing of the orders: it is the client that starts anew.
            "backoffLimit": 0,
            "podFailurePolicy": {"rules": [
                {"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
            ]},
            "activeDeadlineSeconds": deadline(wanted.plan).as_secs(),
            "ttlSecondsAfterFinished": KEPT_S,
            "template": template,
        },
    })
}

/// The longest that all levels of a deployment can take, and the time for which results are held.
fn deadline(plan: &Plan) -> Duration {
    let hooks = [&plan.hooks.before_level, &plan.hooks.after_level].into_iter().flatten();
    let hooks = hooks.map(|hook| hook.deadline).fold(Duration::ZERO, Duration::saturating_add);
    let attempts = plan.policy.retries.saturating_add(1);
    let workload = |workload: &crate::plan::Workload| {
        let levels = u32::try_from(workload.most_levels()).unwrap_or(u32::MAX);
        // A wave before, a grace after; the warm-up is one more level. Each may be tried again.
        let one = workload.duration.saturating_add(workload.request.timeout.saturating_mul(2)).saturating_add(hooks);
        // Time does not end the low loads of a search, and each load is twice the last.
        let judged = workload.request.timeout.saturating_mul(u32::try_from(2 * workload.least()).unwrap_or(u32::MAX));
        one.saturating_mul(levels.saturating_add(1)).saturating_add(judged).saturating_mul(attempts)
    };
    let levels = plan.workloads.values().map(workload).fold(Duration::ZERO, Duration::saturating_add);
    levels.saturating_add(plan.load.hold).min(Duration::from_secs(30 * 86_400))
}

fn pod(wanted: &Wanted<'_>) -> Value {
    let load = &wanted.plan.load;
    let mut pod = json!({
        "restartPolicy": "Never",
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "terminationGracePeriodSeconds": 5,
        "securityContext": {
            "runAsNonRoot": true, "runAsUser": USER, "runAsGroup": USER, "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container(wanted)],
        "volumes": [{"name": "work", "emptyDir": {}}],
        "affinity": load.affinity.clone().unwrap_or_else(|| away(wanted)),
    });
    let mut set = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            pod[key] = value;
        }
    };
    set("nodeSelector", Some(json!(load.node_selector)).filter(|_| !load.node_selector.is_empty()));
    set("tolerations", Some(json!(load.tolerations)).filter(|_| !load.tolerations.is_empty()));
    set("priorityClassName", load.priority_class.clone().map(Value::from));
    set("serviceAccountName", load.service_account.clone().map(Value::from));
    let secrets: Vec<_> = wanted.pull_secrets.iter().map(|name| json!({"name": name})).collect();
    set("imagePullSecrets", Some(json!(secrets)).filter(|_| !secrets.is_empty()));
    pod
}

fn container(wanted: &Wanted<'_>) -> Value {
    let load = &wanted.plan.load;
    let mut arguments: Vec<String> = [
        "worker".to_owned(),
        "--listen".to_owned(),
        format!("127.0.0.1:{PORT}"),
        "--dir".to_owned(),
        "/work".to_owned(),
        "--hold".to_owned(),
        format!("{}s", load.hold.as_secs()),
        "--idle".to_owned(),
        format!("{}s", IDLE.as_secs()),
    ]
    .into();
    let mut container = json!({
        "name": CONTAINER,
        "image": wanted.image,
        "imagePullPolicy": "IfNotPresent",
        "env": environment(wanted),
        "resources": {
            "requests": {"cpu": load.cpu, "memory": load.memory},
            // No limit of processor time unless asked for: being throttled would be measured as the server's latency.
            "limits": {"memory": load.memory},
        },
        "securityContext": {
            "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "work", "mountPath": "/work"}],
        "terminationMessagePolicy": "FallbackToLogsOnError",
    });
    if let Some(limit) = &load.cpu_limit {
        container["resources"]["limits"]["cpu"] = json!(limit);
    }
    if carries(load) {
        let script = format!(
            "trap 'exit 143' TERM; until [ -x {BINARY} ]; do sleep 1; done; exec {BINARY} {}",
            arguments.join(" ")
        );
        container["command"] = json!(["/bin/sh", "-c", script]);
    } else {
        container["args"] = json!(std::mem::take(&mut arguments));
    }
    container
}

fn environment(wanted: &Wanted<'_>) -> Vec<Value> {
    // The root is read-only: whoever wants a temporary file gets it beside the results.
    let own = json!({"name": "TMPDIR", "value": "/work"});
    let binary = wanted.binary.map(|digest| json!({"name": "DYNBENCH_SHA256", "value": digest.as_str()}));
    let secrets = wanted.plan.load.env.iter().map(
        |(name, from)| json!({"name": name, "valueFrom": {"secretKeyRef": {"name": from.secret, "key": from.key}}}),
    );
    std::iter::once(own).chain(binary).chain(secrets).collect()
}

/// Away from the pods under test, and workers away from one another, where there is room.
fn away(wanted: &Wanted<'_>) -> Value {
    let term = |weight: u8, labels: Map<String, Value>, expressions: Value| {
        json!({"weight": weight, "podAffinityTerm": {
            "topologyKey": "kubernetes.io/hostname",
            "labelSelector": {"matchLabels": labels, "matchExpressions": expressions},
        }})
    };
    let of_run: Map<String, Value> = [(own::RUN, wanted.run), (own::DEPLOYMENT, wanted.deployment.name.as_str())]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), json!(value)))
        .collect();
    let tested = match wanted.tested {
        Some(labels) => term(100, labels.clone(), json!([])),
        None => term(100, of_run.clone(), json!([{"key": own::ROLE, "operator": "DoesNotExist"}])),
    };
    let others = term(50, of_run, json!([{"key": own::ROLE, "operator": "In", "values": [ROLE]}]));
    json!({"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [tested, others]}})
}

/// How long a Job may live, for people.
pub(super) fn life(plan: &Plan) -> String {
    format_duration(deadline(plan))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::plan::SecretKey;
    use crate::target::fixtures;

    fn made(change: impl FnOnce(&mut Plan)) -> Value {
        made_beside(None, change)
    }

    fn made_beside(tested: Option<&Map<String, Value>>, change: impl FnOnce(&mut Plan)) -> Value {
        let mut plan = fixtures::plan(Path::new("/p"));
        change(&mut plan);
        let deployment = fixtures::deployment(json!({"template": "vllm"}));
        let pull_secrets = plan.load.image_pull_secrets.clone();
        job(&Wanted {
            plan: &plan,
            deployment: &deployment,
            run: "r1",
            namespace: "bench",
            image: "r.io/x:1",
            pull_secrets: &pull_secrets,
            tested,
            binary: None,
        })
    }

    #[test]
    fn a_job_is_what_a_careful_admin_would_write() {
        insta::assert_snapshot!(
            serde_json::to_string_pretty(&made(|plan| {
                plan.load.image = Some("r.io/x:1".to_owned());
                plan.load.workers = 2;
                plan.load.node_selector.insert("pool".to_owned(), json!("cpu"));
                plan.load.tolerations = vec![json!({"key": "cpu", "operator": "Exists"})];
                plan.load.image_pull_secrets = vec!["pull".to_owned()];
                let secret = SecretKey { secret: "keys".to_owned(), key: "api".to_owned() };
                plan.load.env.insert("API_KEY".to_owned(), secret);
            }))
            .unwrap()
        );
    }

    #[test]
    fn without_an_image_of_ours_the_pod_waits_for_the_binary() {
        let command = made(|_| {})["spec"]["template"]["spec"]["containers"][0]["command"].clone();
        assert_eq!(command[0], "/bin/sh");
        let script = command[2].as_str().unwrap();
        assert!(script.contains("until [ -x /work/dynbench ]") && script.contains("exec /work/dynbench worker"));
    }

    #[test]
    fn workers_keep_away_from_pods_that_carry_no_label_of_ours() {
        let selector = json!({"app": "theirs"}).as_object().cloned();
        let job = made_beside(selector.as_ref(), |_| {});
        let terms =
            job.pointer("/spec/template/spec/affinity/podAntiAffinity/preferredDuringSchedulingIgnoredDuringExecution");
        let labels =
            |at: usize| terms.unwrap()[at].pointer("/podAffinityTerm/labelSelector/matchLabels").unwrap().clone();
        assert_eq!(labels(0), json!({"app": "theirs"}));
        // And from one another.
        assert_eq!(labels(1)[own::RUN], "r1");
    }

    #[test]
    fn a_job_lives_as_long_as_all_tries_and_their_hooks() {
        let hook = |seconds| {
            let deadline = Duration::from_secs(seconds);
            Some(crate::plan::Hook { command: vec!["true".to_owned()], deadline, span: None })
        };
        let life = |change: &dyn Fn(&mut Plan)| {
            let job = made(|plan| {
                let workload = json!({
                    "name": "default", "isl": 10, "isl_std": 0.0, "osl": 10, "osl_std": 0.0, "concurrency": [1, 2],
                    "requests": null, "duration": {"secs": 100, "nanos": 0}, "warm_up_requests": 0, "repeats": 1,
                    "seed": 0, "span": null,
                    "request": {
                        "api": "chat", "temperature": null, "extra": {},
                        "timeout": {"secs": 10, "nanos": 0}, "idle_timeout": {"secs": 10, "nanos": 0},
                    },
                });
                let workload: crate::plan::Workload = serde_json::from_value(workload).unwrap();
                plan.workloads.insert(workload.name.clone(), workload);
                plan.load.hold = Duration::ZERO;
                change(plan);
            });
            job["spec"]["activeDeadlineSeconds"].as_u64().unwrap()
        };
        // Two levels and the warm-up, each with a wave before and a grace after.
        assert_eq!(life(&|_| {}), 3 * 120);
        assert_eq!(life(&|plan| plan.policy.retries = 2), 3 * 3 * 120);
        let with_hooks = life(&|plan| {
            plan.hooks.before_level = hook(3);
            plan.hooks.after_level = hook(4);
        });
        assert_eq!(with_hooks, 3 * 127);
    }

    #[test]
    fn labels_and_annotations_of_the_plan_are_on_the_pods_and_never_instead_of_ours() {
        let job = made(|plan| {
            plan.load.labels.insert("kueue.x-k8s.io/queue-name".to_owned(), json!("cpu"));
            plan.load.labels.insert(own::ROLE.to_owned(), json!("x"));
            plan.load.annotations.insert("sidecar.istio.io/inject".to_owned(), json!("false"));
        });
        assert_eq!(job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"], "cpu");
        let metadata = &job["spec"]["template"]["metadata"];
        assert_eq!(metadata["labels"]["kueue.x-k8s.io/queue-name"], "cpu");
        assert_eq!(
            (&metadata["labels"][own::ROLE], &job["metadata"]["labels"][own::ROLE]),
            (&json!(ROLE), &json!(ROLE))
        );
        assert_eq!(metadata["annotations"]["sidecar.istio.io/inject"], "false");
    }

    #[test]
    fn processors_are_limited_only_where_the_plan_says_so() {
        let limits = |job: Value| job["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"].clone();
        assert_eq!(limits(made(|_| {})), json!({"memory": "1Gi"}));
        assert_eq!(
            limits(made(|plan| plan.load.cpu_limit = Some("4".to_owned()))),
            json!({"cpu": "4", "memory": "1Gi"})
        );
    }

    #[test]
    fn only_what_makes_other_workers_has_another_digest() {
        let sent = |job: Value| job["metadata"]["annotations"][own::SENT].clone();
        let first = sent(made(|_| {}));
        assert_eq!(first, sent(made(|plan| plan.policy.retries = 7)));
        assert_ne!(first, sent(made(|plan| plan.load.workers = 2)));
        assert_ne!(first, sent(made(|plan| plan.load.cpu = "2".to_owned())));
    }

    #[test]
    fn the_name_is_that_of_run_and_deployment() {
        assert_eq!(name_of("r1", "agg"), name_of("r1", "agg"));
        assert_ne!(name_of("r1", "agg"), name_of("r2", "agg"));
        assert!(name_of("r1", "agg").len() <= 20);
    }
}
