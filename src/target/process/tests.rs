//! Real processes of this machine, started through a shim in shell, or through the real one in this test's own binary.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::procfs;
use super::shim::{Held, Shim, hold};
use super::{Launcher, Process};
use crate::base::{Problems, SourceMap};
use crate::plan::{Api, Deployment, Plan, TargetKind};
use crate::target::fixtures::{self, Memory, with_places};
use crate::target::{
    BoxFuture, Deployed, Endpoint, HTTP_PROBER, Listing, Live, ProbeFault, Prober, Ready, Target, TargetError,
};

/// Keeps the protocol of the shim.
const SHELL: Shim =
    Shim::Program(&["/bin/sh", "-c", "read line && [ \"$line\" = go ] && exec \"$@\" </dev/null", "sh"]);
const GRACE: Duration = Duration::from_millis(200);

/// A server is ready as soon as a file holds so many lines: so commands of a test tell that they came this far.
#[derive(Debug)]
struct Lines {
    file: PathBuf,
    count: usize,
}

impl Lines {
    fn read(&self) -> Vec<String> {
        fs::read_to_string(&self.file).unwrap_or_default().lines().map(str::to_owned).collect()
    }
}

impl Prober for Lines {
    fn models<'a>(&'a self, endpoint: &'a Endpoint) -> BoxFuture<'a, Result<Listing, ProbeFault>> {
        let ready = self.read().len() >= self.count;
        let listing = Listing { ids: vec![endpoint.model.clone()], server: None };
        Box::pin(
            async move { if ready { Ok(listing) } else { Err(ProbeFault::NoModel { url: endpoint.url.clone() }) } },
        )
    }

    fn canary<'a>(&'a self, _: &'a Endpoint, _: Api) -> BoxFuture<'a, Result<u64, ProbeFault>> {
        Box::pin(async { Ok(1) })
    }

    fn metrics<'a>(&'a self, _: &'a Endpoint, base: &'a str) -> BoxFuture<'a, Result<String, ProbeFault>> {
        Box::pin(async move { Err(ProbeFault::Refused { url: base.to_owned() }) })
    }
}

/// One deployment in a folder of its own. Whatever a failed test leaves is ended when this is dropped.
struct World {
    folder: TempDir,
    target: Process,
    deployment: Deployment,
    plan: Plan,
    ledger: Memory,
    cancel: CancellationToken,
    lines: &'static Lines,
}

impl World {
    /// Commands in shell; `$OUT` is the file whose lines make it ready.
    fn new(scripts: &[&str], count: usize) -> Self {
        Self::with_shim(SHELL, scripts, count)
    }

    fn with_shim(shim: Shim, scripts: &[&str], count: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("out");
        let command = |script: &&str| json!({"command": ["/bin/sh", "-c", script], "env": {"OUT": file}});
        let commands: Vec<_> = scripts.iter().map(command).collect();
        let deployment = fixtures::deployment(json!({"commands": commands}));
        let plan = fixtures::plan(folder.path());
        let lines: &Lines = Box::leak(Box::new(Lines { file, count }));
        let target = Process::with_launcher(Launcher::new(shim, lines).with_grace(GRACE));
        Self { folder, target, deployment, plan, ledger: Memory::default(), cancel: CancellationToken::new(), lines }
    }

    fn dir(&self) -> PathBuf {
        self.folder.path().join("live")
    }

    fn live<'a>(&'a self, dir: &'a Path) -> Live<'a> {
        Live { plan: &self.plan, deployment: &self.deployment, run: "r", dir, cancel: &self.cancel }
    }

    async fn deploy(&self) -> Result<Deployed, TargetError> {
        self.target.deploy(self.live(&self.dir()), &self.ledger).await
    }

    async fn wait(&self, deployed: &Deployed) -> Result<Ready, TargetError> {
        self.target.wait(self.live(&self.dir()), deployed, &self.ledger).await
    }

    async fn incarnation(&self, deployed: &Deployed) -> Value {
        self.target.incarnation(self.live(&self.dir()), deployed).await.unwrap()
    }

    async fn end_all(&self) {
        for handle in self.ledger.handles() {
            self.target.end(&handle, &self.cancel).await.unwrap();
        }
    }

    /// The pids that the commands wrote.
    fn pids(&self) -> Vec<u32> {
        self.lines.read().iter().map(|line| line.trim().parse().unwrap()).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let token = self.ledger.handles().into_iter().map(|handle| handle["token"].as_str().unwrap().to_owned());
        for token in token {
            for stat in procfs::all().unwrap_or_default() {
                if procfs::marker(stat.pid).is_some_and(|marker| marker == token)
                    && let Some(pid) = rustix::process::Pid::from_raw(stat.pid as i32)
                {
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                }
            }
        }
    }
}

fn lives(pid: u32) -> bool {
    procfs::stat(pid).is_some_and(|stat| stat.alive())
}

/// Not a test: the real shim, for which this binary is started again.
#[test]
#[ignore = "the body of a shim, started by another test"]
fn shim_body() {
    let argv: Vec<_> = std::env::var("HOLD_ARGV").unwrap().split(' ').map(OsString::from).collect();
    panic!("{}", hold(&argv));
}

/// The real shim in this binary.
fn real_shim() -> Shim {
    let exe = std::env::current_exe().unwrap();
    let script = format!(
        "HOLD_ARGV=\"$*\" exec {} --exact target::process::tests::shim_body --ignored --nocapture --test-threads 1",
        exe.display()
    );
    let words: Vec<&'static str> = vec!["/bin/sh", "-c", Box::leak(script.into_boxed_str()), "sh"];
    Shim::Program(Box::leak(words.into_boxed_slice()))
}

fn held(shim: Shim, folder: &Path, argv: &[&str]) -> Held {
    let argv: Vec<_> = argv.iter().map(|word| (*word).to_owned()).collect();
    let log = fs::File::create(folder.join("log")).unwrap();
    Held::start(shim, &argv, &[], folder, log).unwrap()
}

#[test]
fn a_shim_that_is_abandoned_never_starts_its_command() {
    for shim in [SHELL, real_shim()] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("started");
        held(shim, folder.path(), &["/usr/bin/touch", &file.to_string_lossy()]).abandon().unwrap();
        assert!(!file.exists());
    }
}

#[test]
fn a_shim_that_is_released_becomes_its_command_with_the_same_identity() {
    let folder = tempfile::tempdir().unwrap();
    let held = held(real_shim(), folder.path(), &["/bin/cat", "/proc/self/stat"]);
    let before = procfs::stat(held.pid()).unwrap();
    let (mut child, sent) = held.release();
    sent.unwrap();
    assert!(child.wait().unwrap().success());
    let log = fs::read_to_string(folder.path().join("log")).unwrap();
    let at = log.find(" (cat)").unwrap();
    let start = log[..at].rfind([' ', '\n']).map_or(0, |space| space + 1);
    let after = procfs::Stat::parse(&log[start..]).unwrap();
    assert_eq!((after.pid, after.group, after.start), (before.pid, before.group, before.start));
    assert_eq!(before.group, before.pid);
}

#[test]
fn a_command_that_cannot_be_run_is_told_in_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let (mut child, _) = held(real_shim(), folder.path(), &["/no/such/program"]).release();
    assert!(!child.wait().unwrap().success());
    let log = fs::read_to_string(folder.path().join("log")).unwrap();
    assert!(log.contains("cannot run /no/such/program"), "{log}");
}

#[tokio::test]
async fn ending_takes_the_group_its_children_and_those_that_left_it() {
    let script = "sleep 1000 & echo $! >>$OUT; (setsid sleep 1000 & echo $! >>$OUT); \
                  (env -i /usr/bin/setsid /bin/sleep 60 & echo $! >>$OUT); echo $$ >>$OUT; wait";
    let world = World::new(&[script], 4);
    let deployed = world.deploy().await.unwrap();
    world.wait(&deployed).await.unwrap();
    let pids = world.pids();
    assert!(pids.iter().all(|pid| lives(*pid)), "{pids:?}");
    // The one without environment and group was orphaned by its subshell: only its group could tell, and it left that.
    let (scrubbed, others) = (pids[2], [pids[0], pids[1], pids[3]]);
    world.end_all().await;
    assert!(others.iter().all(|pid| !lives(*pid)), "{pids:?}");
    let pid = rustix::process::Pid::from_raw(scrubbed as i32).unwrap();
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    // What is gone already is a success.
    world.end_all().await;
}

#[tokio::test]
async fn a_command_that_ignores_sigterm_is_killed() {
    let world = World::new(&["trap '' TERM; echo $$ >>$OUT; while :; do sleep 1000; done"], 1);
    let deployed = world.deploy().await.unwrap();
    world.wait(&deployed).await.unwrap();
    world.end_all().await;
    assert!(!lives(world.pids()[0]));
}

#[tokio::test]
async fn a_process_that_only_has_the_same_number_is_left_alone() {
    let world = World::new(&["echo $$ >>$OUT; exec sleep 1000"], 1);
    let deployed = world.deploy().await.unwrap();
    world.wait(&deployed).await.unwrap();
    let handle = world.ledger.handles().remove(0);
    let mut reused = handle.clone();
    reused["start"] = json!(handle["start"].as_u64().unwrap() + 1);
    reused["token"] = json!("another");
    let mut rebooted = handle.clone();
    rebooted["boot"] = json!("00000000-0000-0000-0000-000000000000");
    for forged in [reused, rebooted] {
        world.target.end(&forged, &world.cancel).await.unwrap();
        assert!(lives(world.pids()[0]), "{forged}");
    }
    world.end_all().await;
    assert!(!lives(world.pids()[0]));
}

#[tokio::test]
async fn a_command_that_exits_early_is_told_with_its_code_and_its_last_words() {
    let script = "i=0; while [ $i -lt 30 ]; do i=$((i+1)); echo line $i; done; echo 'no such device' >&2; exit 3";
    let world = World::new(&["exec sleep 1000", script], 1);
    let deployed = world.deploy().await.unwrap();
    let error = world.wait(&deployed).await.unwrap_err();
    world.end_all().await;
    let (before, after) = error.message.split_once(" after ").unwrap();
    assert_eq!(before, "`sh` exited with code 3");
    assert!(after.ends_with(" s before the model answered"), "{after}");
    assert_eq!(error.details.len(), 20);
    assert_eq!((error.details[0].as_str(), error.details[19].as_str()), ("line 12", "no such device"));
    assert_eq!(error.key.as_deref(), Some("commands.1"));
    assert!(error.help.unwrap().ends_with("live/logs/sh.2.log"));
}

#[tokio::test]
async fn an_incarnation_is_equal_only_while_all_processes_live() {
    let world = World::new(&["echo $$ >>$OUT; exec sleep 1000", "echo $$ >>$OUT; exec sleep 1000"], 2);
    let deployed = world.deploy().await.unwrap();
    let ready = world.wait(&deployed).await.unwrap();
    assert_eq!(world.incarnation(&deployed).await, ready.incarnation);
    world.target.end(&world.ledger.handles()[1], &world.cancel).await.unwrap();
    assert_ne!(world.incarnation(&deployed).await, ready.incarnation);
    world.end_all().await;
}

#[tokio::test]
async fn a_new_start_ends_what_the_last_one_left_and_has_an_empty_folder() {
    let world = World::new(&["[ ! -e litter ] && touch litter; echo $$ >>$OUT; exec sleep 1000"], 1);
    let mut world = world;
    world.deployment.values.json["commands"][0]["dir"] = json!("{{ dir }}");
    let deployed = world.deploy().await.unwrap();
    world.wait(&deployed).await.unwrap();
    let first = world.pids()[0];
    assert!(world.dir().join("work/litter").exists());
    fs::remove_file(&world.lines.file).unwrap();

    let again = world.deploy().await.unwrap();
    assert!(!lives(first));
    world.wait(&again).await.unwrap();
    assert_ne!(world.pids()[0], first);
    // The first obligation is still open, and meeting it now must not touch the second life.
    world.target.end(&world.ledger.handles()[0], &world.cancel).await.unwrap();
    assert!(lives(world.pids()[0]));
    world.end_all().await;
    assert!(!lives(world.pids()[0]));
}

#[tokio::test]
async fn nothing_is_started_when_an_obligation_cannot_be_written_down() {
    let mut world = World::new(&["echo $$ >>$OUT; exec sleep 1000", "exec sleep 1000"], 1);
    world.ledger.room = Some(1);
    assert_eq!(world.deploy().await.unwrap_err().message, "the journal cannot be written");
    assert!(world.lines.read().is_empty());
    assert!(world.ledger.handles().is_empty());
}

#[tokio::test]
async fn commands_get_their_ports_variables_and_nothing_on_stdin() {
    let mut world = World::new(&["echo port=$1 side=$2 path=$FROM >>$OUT; cat >>$OUT; exec sleep 1000"], 1);
    let command = &mut world.deployment.values.json["commands"][0];
    command["command"].as_array_mut().unwrap().extend(["sh", "{{ port }}", "{{ ports.side_door }}"].map(Value::from));
    command["ports"] = json!(["side-door"]);
    command["env-from"] = json!({"FROM": "PATH"});
    let deployed = world.deploy().await.unwrap();
    world.wait(&deployed).await.unwrap();
    let port = deployed.endpoint.url.strip_prefix("http://127.0.0.1:").unwrap();
    let line = world.lines.read().remove(0);
    assert!(line.starts_with(&format!("port={port} side=")), "{line}");
    assert!(line.ends_with(&format!("path={}", std::env::var("PATH").unwrap())), "{line}");
    let into = world.folder.path().join("collected");
    world.end_all().await;
    assert!(world.target.collect(world.live(&world.dir()), &deployed, &into).await.unwrap().is_empty());
    assert!(fs::read_to_string(into.join("sh.1.log")).unwrap().starts_with("==== "));
}

#[tokio::test]
async fn a_step_that_is_cancelled_tells_what_it_waited_for() {
    let world = World::new(&["exec sleep 1000"], 1);
    let deployed = world.deploy().await.unwrap();
    world.cancel.cancel();
    assert!(world.wait(&deployed).await.unwrap_err().message.starts_with("not ready yet"));
    let mut world = world;
    world.cancel = CancellationToken::new();
    world.end_all().await;
}

fn problems(source: &str, keys: Value, places: &[(&str, &str)]) -> String {
    let deployment = with_places(fixtures::deployment(keys), source, places);
    let mut problems = Problems::default();
    let target = Process::with_launcher(Launcher::new(SHELL, HTTP_PROBER));
    target.check(&fixtures::plan(Path::new("/")), &deployment, &mut problems);
    let mut sources = SourceMap::default();
    sources.add(Path::new("plan.toml"), source.to_owned());
    problems.render(&sources, false)
}

#[test]
fn a_plan_with_secrets_or_unknown_placeholders_is_refused_at_the_place() {
    let source = "command = [\"serve\", \"--port={{ prt }}\", \"--api-key\", \"abc\"]\nenv = { HF_TOKEN = \"hf_x\" }\n";
    let keys = json!({
        "commands": [{
            "command": ["serve", "--port={{ prt }}", "--api-key", "abc"],
            "env": {"HF_TOKEN": "hf_x"},
        }],
    });
    let places = [
        ("commands.0.command.1", "\"--port={{ prt }}\""),
        ("commands.0.command.3", "\"abc\""),
        ("commands.0.env.HF_TOKEN", "\"hf_x\""),
    ];
    insta::assert_snapshot!(problems(source, keys, &places), @r#"
    error: `prt` is not defined
     --> plan.toml:1:21
      |
    1 | command = ["serve", "--port={{ prt }}", "--api-key", "abc"]
      |                     ^^^^^^^^^^^^^^^^^^ in this value
      |
      = help: did you mean `port`?

    error: the value of `--api-key` looks like a secret written into the plan
     --> plan.toml:1:54
      |
    1 | command = ["serve", "--port={{ prt }}", "--api-key", "abc"]
      |                                                      ^^^^^
      |
      = help: give it in an environment variable through `env-from`

    error: the value of `HF_TOKEN` looks like a secret written into the plan
     --> plan.toml:2:20
      |
    2 | env = { HF_TOKEN = "hf_x" }
      |                    ^^^^^^ plans are checked in, and this would be
      |
      = help: set it in dynbench's own environment and write `env-from = { HF_TOKEN = "HF_TOKEN" }`
    "#);
}

#[test]
fn a_command_that_is_told_no_port_is_worth_a_warning() {
    let keys = json!({"commands": [{"command": ["serve"], "ports": ["a"]}, {"command": ["serve"], "ports": ["a"]}]});
    insta::assert_snapshot!(problems("", keys, &[]), @r"
    error: the port `a` is named twice
     |
     = help: every command may use all ports: name each of them once

    warning: no command is told the port at which the model is expected
     |
     = help: put `{{ port }}` where the server takes its port, or say in `url` where it listens
    ");
}

#[test]
fn a_good_plan_has_no_problem_and_a_fingerprint_without_ports_and_folders() {
    let keys = json!({
        "vars": {"batch-size": 8},
        "commands": [{
            "command": ["serve", "{{ port }}", "{{ ports.boot }}", "{{ dir }}/kv", "{{ model }}", "{{ vars.batch_size }}"],
            "ports": ["boot"],
            "env": {"MAX_TOKENS": 5},
            "env-from": {"HF_TOKEN": "MY_TOKEN"},
        }],
    });
    assert_eq!(problems("", keys.clone(), &[]), "");
    let deployment = fixtures::deployment(keys);
    let plan = fixtures::plan(Path::new("/somewhere"));
    assert_eq!(
        Process::new().fingerprint(&plan, &deployment),
        json!({
            "commands": [{
                "command": ["serve", "<port>", "<port boot>", "<dir>/kv", "Qwen/Qwen3-0.6B", "8"],
                "env": {"MAX_TOKENS": "5"},
                "env-from": {"HF_TOKEN": "MY_TOKEN"},
            }],
            "url": "http://127.0.0.1:<port>",
        })
    );
}

#[tokio::test]
async fn preflight_finds_what_is_missing_before_anything_is_started() {
    let mut world = World::new(&["true"], 1);
    let dir = world.dir();
    assert_eq!(world.target.preflight(world.live(&dir)).await.unwrap(), ["sh: /bin/sh"]);
    for (key, value, message, blamed) in [
        (
            "env-from",
            json!({"A": "DYNBENCH_TEST_UNSET"}),
            "the environment variable `DYNBENCH_TEST_UNSET`, which `sh` needs, is not set",
            "commands.0.env-from",
        ),
        ("dir", json!("/no/such"), "the working directory /no/such of `sh` does not exist", "commands.0.dir"),
        (
            "command",
            json!(["no-such-program"]),
            "the program `no-such-program` of `no-such-program` is not there or is not executable",
            "commands.0.command",
        ),
    ] {
        world.deployment.values.json["commands"][0][key] = value;
        let error = world.target.preflight(world.live(&dir)).await.unwrap_err();
        assert_eq!((error.message.as_str(), error.key.as_deref()), (message, Some(blamed)));
        world.deployment.values.json["commands"][0].as_object_mut().unwrap().remove(key);
    }
}
