//! Runs of the real binary that are killed at an instant and resumed, until they are done: the machinery of `kills`, which
//! has them on this machine, and of `cluster::kills`. Whoever uses it says where kills fall and what else must be true.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

/// A session that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(300);

/// A folder with a plan, and the runs of it.
pub(crate) struct Folder {
    dir: tempfile::TempDir,
    /// The plan's name.
    name: String,
}

/// How a run stood when a session began.
pub(crate) struct Before {
    pub(crate) lines: usize,
    pub(crate) half_written: BTreeSet<PathBuf>,
}

/// When a session is killed.
pub(crate) struct Kill<'a> {
    /// What the run must have come to.
    pub(crate) met: &'a dyn Fn(&Before) -> bool,
    /// How long after that.
    pub(crate) after: Duration,
}

impl Folder {
    /// With this plan, of that name.
    pub(crate) fn new(name: &str, plan: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("plan.toml"), plan).unwrap();
        Self { dir, name: name.to_owned() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn start(&self, arguments: &[&str]) -> Child {
        let said = File::options().create(true).append(true).open(self.path().join("said.txt")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_dynbench"));
        command.args(arguments).current_dir(self.path()).env("NO_COLOR", "1");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said).spawn().unwrap()
    }

    /// Runs dynbench to its end; the exit code.
    pub(crate) fn run(&self, arguments: &[&str]) -> Option<i32> {
        self.start(arguments).wait().unwrap().code()
    }

    /// What all sessions said, the last lines of it.
    pub(crate) fn said(&self) -> String {
        let said = fs::read_to_string(self.path().join("said.txt")).unwrap_or_default();
        let lines: Vec<_> = said.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }

    /// What the run says of its points.
    pub(crate) fn summary(&self) -> String {
        fs::read_to_string(self.latest().join("SUMMARY.txt")).unwrap_or_default()
    }

    fn latest(&self) -> PathBuf {
        self.path().join("results").join(&self.name).join("latest")
    }

    pub(crate) fn run_dir(&self) -> PathBuf {
        fs::canonicalize(self.latest()).unwrap()
    }

    fn journal_bytes(&self) -> Vec<u8> {
        fs::read(self.latest().join(".run/journal.jsonl")).unwrap_or_default()
    }

    /// Every whole line of the newest run's journal.
    pub(crate) fn journal(&self) -> Vec<Value> {
        let bytes = self.journal_bytes();
        String::from_utf8_lossy(&bytes).lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// How many lines the newest run's journal has, whole or not.
    pub(crate) fn lines(&self) -> usize {
        self.journal_bytes().iter().filter(|byte| **byte == b'\n').count()
    }

    /// Attempts at levels that are over and whose files are being written, or were when a kill fell.
    pub(crate) fn half_written(&self) -> BTreeSet<PathBuf> {
        let attempts = self.latest().join(".run/attempts");
        let inside = |dir: PathBuf| fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
        inside(attempts)
            .filter(|step| step.to_string_lossy().contains(".load."))
            .flat_map(inside)
            .filter(|attempt| attempt.extension().is_some_and(|part| part == "part"))
            .filter(|part| inside(part.clone()).next().is_some())
            .collect()
    }

    /// Runs a session until it ends or the kill falls; how it ended, if it did.
    pub(crate) fn session(&self, kill: Option<&Kill<'_>>) -> Option<ExitStatus> {
        let before = Before { lines: self.lines(), half_written: self.half_written() };
        let mut child = self.start(&["apply", "plan.toml", "--resume"]);
        let (began, mut met) = (Instant::now(), None);
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return Some(status);
            }
            if let Some(kill) = kill {
                if met.is_none() && (kill.met)(&before) {
                    met = Some(Instant::now());
                }
                if met.is_some_and(|met: Instant| met.elapsed() >= kill.after) {
                    child.kill().unwrap();
                    let status = child.wait().unwrap();
                    // It may have come to its end in the last instant.
                    return (status.signal() != Some(9)).then_some(status);
                }
            }
            if began.elapsed() > PATIENCE {
                child.kill().unwrap();
                child.wait().unwrap();
                panic!("a session takes longer than {PATIENCE:?}:\n{}", self.said());
            }
            sleep(Duration::from_micros(500));
        }
    }

    /// Every point (`a/c1`) is published once and whole, with so many records that come from one attempt, and was not
    /// measured again after it was good; nothing is open.
    pub(crate) fn assert_points_are_whole(&self, points: &[&str], records: usize) {
        let (run, journal) = (self.run_dir(), self.journal());
        for point in points {
            assert_point_is_whole(&run.join(point), records, &journal);
        }
        let mut good = BTreeMap::<String, u64>::new();
        for event in &journal {
            let address = event["address"].as_str().unwrap_or_default().to_owned();
            if !address.contains("/load/") {
                continue;
            }
            match event["event"].as_str().unwrap() {
                "step.started" => assert!(!good.contains_key(&address), "{address} was measured again: {event}"),
                "step.succeeded" if event["outcome"]["invalid"] == serde_json::json!([]) => {
                    assert_eq!(good.insert(address, 1), None, "twice: {event}");
                }
                _ => {}
            }
        }
        assert_eq!(good.len(), points.len());
        assert!(run.join("SUMMARY.txt").is_file());
        assert_eq!(self.run(&["runs", "fsck"]), Some(0));
        let ids = |kind: &str| journal.iter().filter_map(|event| obligation(event, kind)).collect::<BTreeSet<_>>();
        assert_eq!(ids("obligation.opened"), ids("obligation.closed"), "obligations are open");
    }
}

fn obligation(event: &Value, kind: &str) -> Option<String> {
    let id = event.pointer("/obligation/id").or_else(|| event.get("id"))?;
    (event["event"] == kind).then(|| id.as_str().unwrap().to_owned())
}

/// Every file is there as its manifest lists it, and so many records come from one attempt: the point's own, or the one
/// that its load worker went on with.
pub(crate) fn assert_point_is_whole(point: &Path, expected: usize, journal: &[Value]) {
    let manifest: Value = serde_json::from_str(&fs::read_to_string(point.join("manifest.json")).unwrap()).unwrap();
    let mut listed = BTreeSet::from(["manifest.json".to_owned()]);
    for file in manifest["files"].as_array().unwrap() {
        let name = file["path"].as_str().unwrap();
        let (digest, _) = dynbench::base::digest_file(&point.join(name)).unwrap();
        assert_eq!(file["sha256"], digest.as_str(), "{}/{name}", point.display());
        listed.insert(name.to_owned());
    }
    let present: BTreeSet<_> =
        fs::read_dir(point).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(present, listed, "{}", point.display());
    // The id of every request names the attempt that sent it.
    let records = fs::read_to_string(point.join("requests.jsonl")).unwrap();
    let records: Vec<Value> = records.lines().skip(1).map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(records.len(), expected, "{}", point.display());
    let attempt_of = |record: &Value| {
        let id = record["id"].as_str().unwrap().to_owned();
        let part = id.rsplit('-').find_map(|part| part.strip_prefix('a')?.parse::<u64>().ok());
        part.unwrap_or_else(|| panic!("{id} names no attempt"))
    };
    let attempts: BTreeSet<u64> = records.iter().map(attempt_of).collect();
    let went_on_with = |attempt: u64| {
        let words = format!("the load worker went on with attempt {attempt}: its result is used");
        journal.iter().any(|event| event["address"] == manifest["address"] && event["text"] == words.as_str())
    };
    let [attempt] = attempts.iter().copied().collect::<Vec<_>>()[..] else {
        panic!("{} has records of the attempts {attempts:?}", point.display());
    };
    let own = manifest["attempt"] == attempt;
    assert!(own || went_on_with(attempt), "{} has records of attempt {attempt}", point.display());
}

pub(crate) fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// An event with the kind of its step, without names and numbers.
pub(crate) fn describe(event: &Value) -> String {
    let address = event["address"].as_str().or_else(|| event.pointer("/obligation/address")?.as_str()).unwrap_or("");
    let within = address.split_once('/').map_or(address, |(_, within)| within);
    let kind = within.split('/').find(|part| *part != "default").unwrap_or("");
    format!("{} {kind}", event["event"].as_str().unwrap_or("?"))
}
