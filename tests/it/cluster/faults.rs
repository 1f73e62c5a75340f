//! Faults of the cluster itself, in the midst of a run: each ends in bounded time with words that say what happened, and a
//! resume goes on when the fault is over.
//!
//! What disturbs others on the cluster is named `disturbs_...`, and is to be run alone; the tool that makes such faults is
//! `$DYNBENCH_SHARED/cluster/cluster`. Looks at a cluster are lists and not watches (see `target::kubernetes::look`), so
//! that there is no watch to be cut: an API server that is restarted between two looks takes its place.

use std::path::PathBuf;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use super::midst::{APPLY, Midst};
use super::room::{Room, kubeconfig, shared};
use crate::world::Ran;

/// A fault that is ended with the value, however the test ends.
struct Fault {
    tool: PathBuf,
    undo: [&'static str; 2],
}

impl Fault {
    fn begin(does: [&'static str; 2], undo: [&'static str; 2]) -> Self {
        let fault = Self { tool: shared("cluster/cluster"), undo };
        assert!(Command::new(&fault.tool).args(does).status().unwrap().success(), "{does:?}");
        fault
    }
}

impl Drop for Fault {
    fn drop(&mut self) {
        let undone = Command::new(&self.tool).args(self.undo).status().is_ok_and(|status| status.success());
        assert!(undone || std::thread::panicking(), "{:?} failed", self.undo);
    }
}

/// The API server is killed, and is away for so long.
fn api_server_away(time: Duration) {
    let _away = Fault::begin(["stop", "kube-apiserver"], ["start", "kube-apiserver"]);
    sleep(time);
}

fn assert_said(ran: &Ran, words: &[&str]) {
    for words in words {
        assert!(ran.stderr.contains(words), "it did not say `{words}`:\n{}", ran.stderr);
    }
}

#[test]
#[ignore = "needs a cluster"]
fn disturbs_an_api_server_that_is_killed_during_the_wait_costs_only_time() {
    let midst = Midst::new("faults-wait", "", "");
    let running = midst.at("wait");
    api_server_away(Duration::from_secs(6));
    // Restarted between two looks.
    api_server_away(Duration::ZERO);
    let ran = running.end(APPLY);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(midst.events().contains("the API server has not answered for"), "nobody was told");
    midst.assert_nothing_is_left();
}

#[test]
#[ignore = "needs a cluster"]
fn disturbs_an_api_server_that_is_killed_during_the_teardown_costs_only_time() {
    let midst = Midst::new("faults-teardown", "", "");
    let running = midst.at("teardown");
    api_server_away(Duration::from_secs(6));
    let ran = running.end(APPLY);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    midst.assert_nothing_is_left();
}

#[test]
#[ignore = "needs a cluster"]
fn a_pod_that_is_deleted_in_mid_point_spoils_the_point_and_a_resume_measures_it_again() {
    let midst = Midst::new("faults-pod", "", "");
    let running = midst.measuring("c2");
    midst.room.kubectl(&["delete", "pod", &midst.worker().0, "--wait=false"]);
    let ran = running.end(APPLY);
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    assert_said(&ran, &["restarted: the deployment was restarted, replaced or ended during the point"]);
    midst.assert_nothing_is_left();
    midst.resumes(0);
    assert_eq!(midst.point("c1").1, 1);
    assert_ne!(midst.point("c1").0, midst.point("c2").0);
    midst.assert_nothing_is_left();
}

/// Takes a node's pods of ours away and no others'.
struct Drained<'a> {
    room: &'a Room,
    node: String,
}

impl<'a> Drained<'a> {
    fn begin(room: &'a Room, node: &str) -> Self {
        let drained = Self { room, node: node.to_owned() };
        let ours = "--pod-selector=dynbench.dev/deployment=agg";
        room.kubectl(&["drain", node, ours, "--delete-emptydir-data", "--force", "--ignore-daemonsets"]);
        drained
    }
}

impl Drop for Drained<'_> {
    fn drop(&mut self) {
        let undone = self.room.try_kubectl(&["uncordon", &self.node]);
        assert!(undone.is_some() || std::thread::panicking(), "{} is not uncordoned", self.node);
    }
}

#[test]
#[ignore = "needs a cluster"]
fn disturbs_a_node_that_is_drained_spoils_the_point_and_a_resume_goes_on_elsewhere() {
    let midst = Midst::new("faults-drain", "", "");
    let running = midst.measuring("c2");
    let (_, node) = midst.worker();
    let _drained = Drained::begin(&midst.room, &node);
    let ran = running.end(APPLY);
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    assert_said(&ran, &["restarted: the deployment was restarted, replaced or ended during the point"]);
    midst.resumes(0);
    let journal = midst.journal();
    let last =
        journal.iter().rfind(|event| event["event"] == "incarnation.recorded").unwrap()["incarnation"].to_string();
    assert!(!last.contains(&format!("\"{node}\"")), "{last}");
    midst.assert_nothing_is_left();
}

#[test]
#[ignore = "needs a cluster"]
fn disturbs_a_node_off_the_network_ends_the_point_and_its_pods_are_named_as_leaked() {
    let pinned = ", node-selector = { \"kubernetes.io/hostname\" = \"node-2\" }";
    let midst = Midst::new("faults-cut", pinned, "policy.teardown-deadline = \"10s\"");
    // Twenty requests must find out, one after the other.
    midst.room.world.edit("idle-timeout = \"5s\"", "idle-timeout = \"1s\"");
    let running = midst.measuring("c1");
    let cut = Fault::begin(["cut", "node-2"], ["join", "node-2"]);
    let ran = running.end(APPLY);
    assert_eq!(ran.code, 6, "{}", ran.stderr);
    assert_said(&ran, &["on node-2: is ending", "dynbench cleanup --run"]);
    drop(cut);
    // The node's pods have their whole grace now, which is longer than the plan gives a teardown.
    midst.room.until("the pods of the node have ended", || midst.pods().is_empty());
    midst.resumes(0);
    midst.assert_nothing_is_left();
}

#[test]
#[ignore = "needs a cluster"]
fn a_namespace_that_is_deleted_under_a_run_is_said_and_a_resume_needs_it_back() {
    let midst = Midst::new("faults-namespace", "", "");
    let running = midst.measuring("c1");
    midst.room.kubectl(&["delete", "namespace", "faults-namespace", "--wait=true"]);
    let ran = running.end(APPLY);
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    assert_said(&ran, &["restarted: the deployment "]);
    let without = midst.resumes(7);
    assert_said(&without, &["namespace faults-namespace"]);
    midst.room.kubectl(&["create", "namespace", "faults-namespace"]);
    midst.resumes(0);
    assert_eq!(midst.point("c1").0, midst.point("c2").0);
    midst.assert_nothing_is_left();
}

/// A webhook that nobody answers, asked before anything in the namespace is deleted.
fn refusing_deletes(namespace: &str) -> String {
    format!(
        r#"
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {{name: {namespace}}}
webhooks:
  - name: nobody.example.com
    admissionReviewVersions: [v1]
    sideEffects: None
    failurePolicy: Fail
    timeoutSeconds: 1
    namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {namespace}}}}}
    clientConfig: {{service: {{name: nobody, namespace: {namespace}}}}}
    rules: [{{apiGroups: [apps], apiVersions: ["*"], operations: [DELETE], resources: [deployments]}}]
"#
    )
}

/// It is of the whole cluster, and gone with the value.
struct Webhook<'a>(&'a Room);

impl Drop for Webhook<'_> {
    fn drop(&mut self) {
        let gone = self.0.try_kubectl(&["delete", "validatingwebhookconfiguration", &self.0.namespace]);
        assert!(gone.is_some() || std::thread::panicking(), "the webhook stays");
    }
}

#[test]
#[ignore = "needs a cluster"]
fn a_webhook_that_refuses_deletes_is_a_leak_that_says_so_and_a_resume_ends_it() {
    let midst = Midst::new("faults-webhook", "", "policy.teardown-deadline = \"5s\"");
    let running = midst.measuring("c1");
    midst.room.apply(&refusing_deletes("faults-webhook"));
    let webhook = Webhook(&midst.room);
    let ran = running.end(APPLY);
    assert_eq!(ran.code, 6, "{}", ran.stderr);
    assert_said(&ran, &["failed calling webhook", "dynbench cleanup --run"]);
    drop(webhook);
    midst.resumes(0);
    assert_eq!((midst.point("c1").1, midst.point("c2").1), (1, 1), "results were safe before");
    midst.assert_nothing_is_left();
}

/// A finalizer on a Service, taken off with the value.
struct Finalizer<'a> {
    room: &'a Room,
    service: String,
}

impl<'a> Finalizer<'a> {
    fn set(room: &'a Room) -> Self {
        let services = room.kubectl(&["get", "services", "-o", "name"]);
        let finalizer = Self { room, service: services.lines().next().unwrap().to_owned() };
        assert!(finalizer.patch(r#"["example.com/hold"]"#).is_some());
        finalizer
    }

    fn patch(&self, finalizers: &str) -> Option<String> {
        let patch = format!(r#"{{"metadata":{{"finalizers":{finalizers}}}}}"#);
        self.room.try_kubectl(&["patch", &self.service, "--type=merge", "-p", &patch])
    }
}

impl Drop for Finalizer<'_> {
    fn drop(&mut self) {
        assert!(self.patch("null").is_some() || std::thread::panicking(), "the finalizer stays");
    }
}

#[test]
#[ignore = "needs a cluster"]
fn a_finalizer_that_nobody_takes_off_is_a_leak_that_names_it_and_a_resume_ends_it() {
    let midst = Midst::new("faults-finalizer", "", "policy.teardown-deadline = \"5s\"");
    let running = midst.measuring("c1");
    let finalizer = Finalizer::set(&midst.room);
    let ran = running.end(APPLY);
    assert_eq!(ran.code, 6, "{}", ran.stderr);
    assert_said(&ran, &["waits for whoever set the finalizer example.com/hold"]);
    drop(finalizer);
    midst.resumes(0);
    assert_eq!((midst.point("c1").1, midst.point("c2").1), (1, 1), "results were safe before");
    midst.assert_nothing_is_left();
}

/// Who the run is: an account with the plan's own Role, known by the token in a Secret.
fn as_service_account(midst: &mut Midst) {
    let room = &mut midst.room;
    let printed = room.world.ends(0, &["rbac", "plan.toml"]).stdout;
    let (role, _) = printed.split_once("---\n# OPTIONAL").unwrap();
    room.apply(role);
    let account = room.kubectl(&["get", "serviceaccounts", "-o", "name"]);
    let account = account.lines().find_map(|name| name.strip_prefix("serviceaccount/dynbench")).unwrap().to_owned();
    room.apply(&format!(
        "apiVersion: v1\nkind: Secret\ntype: kubernetes.io/service-account-token\nmetadata: {{name: token, annotations: \
         {{kubernetes.io/service-account.name: dynbench{account}}}}}\n"
    ));
    room.until("the Secret has a token", || room.get(&["secret", "token"])["data"]["token"].is_string());
    let token = room.kubectl(&["get", "secret", "token", "-o", "go-template={{.data.token | base64decode}}"]);
    let config = room.kubectl(&["config", "view", "--raw", "-o", "json"]);
    let mut config: serde_json::Value = serde_json::from_str(&config).unwrap();
    config["users"] = serde_json::json!([{"name": "sa", "user": {"token": token.trim()}}]);
    config["contexts"][0]["context"]["user"] = "sa".into();
    room.world.write("sa.json", config.to_string());
}

/// Runs as that account, loses its access in the midst of a point, and has another one for the resume.
fn without_access(namespace: &str, lost: impl Fn(&Room), words: &[&str]) {
    let mut midst = Midst::new(namespace, "", "");
    as_service_account(&mut midst);
    let admin = kubeconfig();
    let account = midst.room.world.path("sa.json").display().to_string();
    midst.room.world.set("KUBECONFIG", &account);
    let running = midst.measuring("c1");
    midst.room.world.set("KUBECONFIG", &admin);
    lost(&midst.room);
    let ran = running.end(APPLY);
    assert_eq!(ran.code, 6, "{}", ran.stderr);
    assert_said(&ran, words);
    midst.resumes(0);
    midst.assert_nothing_is_left();
}

#[test]
#[ignore = "needs a cluster"]
fn a_token_that_is_revoked_leaves_what_runs_and_says_how_to_go_on() {
    let words = ["the token has expired or was revoked: log in again", "dynbench cleanup --run"];
    without_access("faults-token", |room| drop(room.kubectl(&["delete", "secret", "token"])), &words);
}

#[test]
#[ignore = "needs a cluster"]
fn a_role_that_is_taken_away_leaves_what_runs_and_says_which_right_is_missing() {
    let words = ["is forbidden", "`dynbench rbac plan.toml` prints the Role", "dynbench cleanup --run"];
    without_access("faults-role", |room| drop(room.kubectl(&["delete", "rolebindings", "--all"])), &words);
}
