//! GPUs as the DCGM exporter tells them: found by its labels, told by node and part. The exporter is a stand-in that asks the
//! cluster which pods of its node hold a (pretended) GPU and makes the numbers up.

use std::time::Duration;

use serde_json::Value;

use super::room::{Room, mocker};

/// Deploying, six seconds of load, teardown.
const PATIENCE: Duration = Duration::from_secs(180);
/// Nobody else's tests count these.
const GPU: &str = "amd.com/gpu";

/// Two pods, one a node, with a page in the form of the exporter's.
const EXPORTER: &str = r#"
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: pods}
rules: [{apiGroups: [""], resources: [pods], verbs: [list]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: pods}
subjects: [{kind: ServiceAccount, name: default, namespace: NAMESPACE}]
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: pods}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: exporter}
data:
  exporter.py: |
    import http.server, json, os, ssl, urllib.request
    ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount/"
    def pods():
        node = os.environ["NODE"]
        url = f"https://{os.environ['KUBERNETES_SERVICE_HOST']}:{os.environ['KUBERNETES_SERVICE_PORT']}"
        url += f"/api/v1/namespaces/NAMESPACE/pods?fieldSelector=spec.nodeName={node}"
        headers = {"Authorization": "Bearer " + open(ACCOUNT + "token").read()}
        context = ssl.create_default_context(cafile=ACCOUNT + "ca.crt")
        answer = urllib.request.urlopen(urllib.request.Request(url, headers=headers), context=context)
        held = lambda pod: any("GPU" in c.get("resources", {}).get("limits", {}) for c in pod["spec"]["containers"])
        return [pod["metadata"]["name"] for pod in json.load(answer)["items"] if held(pod)]
    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            text = ""
            for number, pod in enumerate(pods() + [""]):
                labels = f'gpu="{number}",UUID="GPU-{number}",device="nvidia{number}",modelName="Pretended",Hostname="{os.environ["NODE"]}",'
                labels += f'container="main",namespace="NAMESPACE",pod="{pod}"' if pod else 'container="",namespace="",pod=""'
                for name, value in [("GPU_UTIL", 90), ("FB_USED", 70000), ("POWER_USAGE", 600.5)]:
                    text += f"DCGM_FI_DEV_{name}{{{labels}}} {value + number}\n"
            self.send_response(200)
            self.end_headers()
            self.wfile.write(text.encode())
        def log_message(self, *_):
            pass
    http.server.ThreadingHTTPServer(("", 9400), Page).serve_forever()
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: dcgm}
spec:
  selector: {matchLabels: {app.kubernetes.io/name: dcgm-exporter}}
  template:
    metadata: {labels: {app.kubernetes.io/name: dcgm-exporter}}
    spec:
      terminationGracePeriodSeconds: 0
      volumes: [{name: code, configMap: {name: exporter}}]
      containers:
        - name: exporter
          image: dynbench.local/dynamo:1.6.1
          command: [python3, /code/exporter.py]
          env: [{name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}]
          ports: [{name: metrics, containerPort: 9400}]
          volumeMounts: [{name: code, mountPath: /code}]
          readinessProbe: {httpGet: {path: /metrics, port: metrics}, periodSeconds: 1, failureThreshold: 60}
"#;

/// Pretended GPUs on both nodes, taken away again at the end.
struct Gpus<'a>(&'a Room);

impl<'a> Gpus<'a> {
    fn on(room: &'a Room) -> Self {
        let gpus = Self(room);
        gpus.patch(r#"{"status":{"capacity":{"amd.com/gpu":"2"},"allocatable":{"amd.com/gpu":"2"}}}"#);
        gpus
    }

    fn patch(&self, patch: &str) {
        for node in ["node-1", "node-2"] {
            // What cannot be taken away any more is only litter.
            let _ = self.0.try_kubectl(&["patch", "node", node, "--subresource=status", "--type=merge", "-p", patch]);
        }
    }
}

impl Drop for Gpus<'_> {
    fn drop(&mut self) {
        self.patch(r#"{"status":{"capacity":{"amd.com/gpu":null},"allocatable":{"amd.com/gpu":null}}}"#);
    }
}

#[test]
#[ignore = "needs a cluster"]
fn gpus_of_the_deployments_pods_are_told_by_node_and_part() {
    let room = Room::new("gpus-dcgm").patient(PATIENCE);
    let _gpus = Gpus::on(&room);
    room.apply(&EXPORTER.replace("NAMESPACE", &room.namespace).replace("\"GPU\" in", &format!("\"{GPU}\" in")));
    room.kubectl(&["rollout", "status", "daemonset/dcgm", "--timeout=60s"]);

    let command = "          command: [python3, -m, dynamo.mocker";
    let with_gpu = format!("          resources: {{limits: {{{GPU}: 1}}}}\n{command}");
    room.world.write("disagg.yaml", mocker("disagg").replace(command, &with_gpu));
    room.world.write(
        "plan.toml",
        format!(
            "schema = 1\nname = \"gpus\"\nmodel.id = \"tiny-llama\"\n\n[workload]\nisl = 20\nosl = 20\nconcurrency = [2]\n\
             duration = \"6s\"\nwarm-up-requests = 2\n\n[load]\nfrom = \"here\"\n\n[target]\nkind = \"kubernetes\"\n\
             namespace = \"{}\"\n\n[deployments.disagg]\nmanifests = [\"disagg.yaml\"]\n\n[plots]\nset = []\n\n\
             [validity]\nsend-lag-ms = 10000.0\n",
            room.namespace
        ),
    );
    room.world.ends(0, &["apply", "plan.toml"]);
    let journal = room.world.read("results/gpus/latest/.run/journal.jsonl");
    assert!(journal.contains("DCGM exporter on 2 nodes") && journal.contains("read on node-"), "{journal}");
    let results = room.world.read("results/gpus/latest/disagg/c2/results.json");
    let point: Value = serde_json::from_str(&results).unwrap();
    let views = point["point"]["server"].as_array().unwrap();
    let busy: Vec<&Value> = views.iter().filter(|view| view["series"] == "gpu-utilisation").collect();
    let mut roles: Vec<&str> = busy.iter().filter_map(|view| view["role"].as_str()).collect();
    roles.sort_unstable();
    assert_eq!(roles, ["decode", "prefill"], "{busy:#?}");
    assert!(busy.iter().all(|view| view["gpu"]["node"].as_str().unwrap().starts_with("node-")), "{busy:#?}");
    assert!(views.iter().any(|view| view["series"] == "gpu-power"), "{views:#?}");
    let summary = room.world.read("results/gpus/latest/SUMMARY.txt");
    assert!(summary.contains("disagg-prefill-"), "{summary}");
}
