//! SIGKILL at random instants of real runs, until they are done: nothing lost, nothing measured twice, nothing left.
//!
//! Slow, and therefore run by `.ci/run` and not by the README's test command. `DYNBENCH_KILLS` sets how many kills
//! (default 20), `DYNBENCH_SEED` where they fall. Kills by time alone would nearly all fall into levels and waits, where a
//! run spends its time; so each is aimed at one of four things that a run does, see [`Aim`].

#![expect(clippy::print_stderr, reason = "the figures are what a reader of CI wants to see")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::TcpStream;
use std::process::Child;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::killed::{Before, Folder, Kill, assert_point_is_whole, describe, setting};

/// Two deployments, three levels: about six seconds undisturbed.
const PLAN: &str = r#"
schema = 1
name = "killed"
[model]
id = "m"
[workload]
isl = 40
osl = 20
concurrency = [1, 2, 4]
requests = 24
warm-up-requests = 4
[target]
kind = "simulated"
[deployments.a]
engine = "aggregated"
fixed = { ttft-ms = 10, itl-ms = 1 }
[deployments.b]
engine = "vanilla"
fixed = { ttft-ms = 10, itl-ms = 1 }
[validity]
send-lag-ms = 1000
[plots]
set = ["pareto", "avg-time-to-first-token-vs-concurrency"]
"#;

/// Of every point.
const RECORDS: usize = 24;

const POINTS: [&str; 6] = ["a/c1", "a/c2", "a/c4", "b/c1", "b/c2", "b/c4"];

/// A folder with the plan and the runs of it, and what they start on this machine.
struct World {
    folder: Folder,
}

impl World {
    fn new() -> Self {
        Self { folder: Folder::new("killed", PLAN) }
    }

    /// Command lines of processes that name this world's folder (engines and shims of its runs) or carry the marker of one
    /// of its obligations.
    fn processes(&self) -> Vec<String> {
        let needle = self.folder.path().to_str().unwrap();
        let markers: BTreeSet<String> = self.folder.journal().iter().filter_map(marker).collect();
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
            let Ok(bytes) = fs::read(format!("/proc/{pid}/cmdline")) else { continue };
            let line = String::from_utf8_lossy(&bytes).replace('\0', " ");
            // Of a process that ended in between nothing can be read, and nothing is left.
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            let environment = String::from_utf8_lossy(&environment).into_owned();
            if line.contains(needle) || markers.iter().any(|marker| environment.contains(marker)) {
                found.push(format!("{pid}: {line}"));
            }
        }
        found
    }

    /// No process of this world is left, and no port of it answers.
    fn assert_all_is_gone(&self) {
        assert_eq!(self.processes(), Vec::<String>::new());
        for port in self.ports() {
            assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "port {port} answers");
        }
    }

    fn ports(&self) -> BTreeSet<u16> {
        let text: String = self.folder.journal().iter().map(Value::to_string).collect();
        let after = text.split("http://127.0.0.1:").skip(1);
        after
            .filter_map(|rest| rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok())
            .collect()
    }

    /// All points are there, whole, and nothing else is.
    fn assert_the_run_is_whole(&self) {
        self.folder.assert_points_are_whole(&POINTS, RECORDS);
        let run = self.folder.run_dir();
        let levels = |deployment: &str| fs::read_dir(run.join(deployment)).unwrap().count();
        assert_eq!((levels("a"), levels("b")), (3, 3), "something else was published");
        assert_eq!(fs::read_dir(run.join("plots")).unwrap().count(), 4);
    }
}

/// What the environment of every process of an obligation's deployment holds.
fn marker(event: &Value) -> Option<String> {
    let token = event.pointer("/obligation/handle/token")?.as_str()?;
    Some(format!("DYNBENCH_PROCESS={}/", token.split('/').next()?))
}

/// A test that failed leaves no engine to the machine either.
impl Drop for World {
    fn drop(&mut self) {
        for process in self.processes() {
            let pid = process.split(':').next().and_then(|pid| Pid::from_raw(pid.parse().ok()?));
            // One that has ended in between is no loss.
            let _ = pid.map(|pid| kill_process(pid, Signal::KILL));
        }
    }
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap(), signal).unwrap();
}

/// Waits until a condition holds; fails after a minute.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(60), "waited for a minute: {what}");
        sleep(Duration::from_millis(10));
    }
}

/// What a kill is meant to hit.
#[derive(Debug, Clone, Copy)]
enum Aim {
    /// The first moments of a session, before and while it takes the run up.
    Start,
    /// Wherever the run is after some time: mostly waits and levels.
    Time,
    /// Right after so many more lines of the journal: between any two steps, in teardown, among summary and plots.
    Line(usize),
    /// When a level is over and its files are written, sealed, renamed.
    Publishing,
}

/// Lines that a session without a kill adds to the journal, about.
const LINES: usize = 50;

impl Aim {
    /// One of the four, and how long to wait when it is met.
    fn draw(rng: &mut ChaCha8Rng) -> (Self, Duration) {
        let (aim, most) = match rng.random_range(0..4) {
            // The square crowds them at the very beginning.
            0 => (Self::Start, 0.3 * rng.random::<f64>()),
            1 => (Self::Time, 4.0),
            2 => (Self::Line(rng.random_range(1..=LINES)), 0.004),
            _ => (Self::Publishing, 0.03),
        };
        (aim, Duration::from_secs_f64(most * rng.random::<f64>()))
    }

    fn is_met(self, world: &World, before: &Before) -> bool {
        match self {
            Self::Start | Self::Time => true,
            Self::Line(more) => world.folder.lines() >= before.lines + more,
            Self::Publishing => !world.folder.half_written().is_subset(&before.half_written),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Time => "time",
            Self::Line(_) => "line",
            Self::Publishing => "publishing",
        }
    }
}

#[test]
#[ignore = "slow: run by .ci/run"]
fn kills_at_random_instants_lose_nothing_and_leave_nothing() {
    let (wanted, seed) = (setting("DYNBENCH_KILLS", 20), setting("DYNBENCH_SEED", 20_261_124));
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (mut kills, mut resumes, mut runs, mut adopted) = (0, 0, 0, 0);
    let mut fell_after = BTreeMap::<String, u32>::new();
    let began = Instant::now();
    while kills < wanted {
        let world = World::new();
        runs += 1;
        let mut sessions = 0;
        loop {
            let aim = (kills < wanted).then(|| Aim::draw(&mut rng));
            sessions += 1;
            let ended = match aim {
                None => world.folder.session(None),
                Some((aim, after)) => {
                    let met = |before: &Before| aim.is_met(&world, before);
                    world.folder.session(Some(&Kill { met: &met, after }))
                }
            };
            if let Some(status) = ended {
                assert_eq!(status.code(), Some(0), "{status:?} in session {sessions}");
                break;
            }
            kills += 1;
            let last = world.folder.journal().last().map_or_else(|| "no journal".to_owned(), describe);
            let aim = aim.map_or("", |(aim, _)| aim.name());
            *fell_after.entry(format!("{last} (aimed at {aim})")).or_default() += 1;
        }
        resumes += sessions - 1;
        world.assert_the_run_is_whole();
        world.assert_all_is_gone();
        adopted += world.folder.journal().iter().filter(|event| event["adopted"] == true).count();
    }
    let points = runs * POINTS.len();
    eprintln!(
        "seed {seed}: {kills} kills, {resumes} resumes, {runs} runs, {points} points ({adopted} found whole after a kill), \
         none lost, none doubled, nothing left, in {:.0} s",
        began.elapsed().as_secs_f64()
    );
    for (event, count) in fell_after {
        eprintln!("  {count:>3} kills after {event}");
    }
}

#[test]
#[ignore = "slow: run by .ci/run"]
fn kills_are_cleaned_up_by_cleanup_alone() {
    let world = World::new();
    let mut child = world.folder.start(&["apply", "plan.toml"]);
    until("an engine runs", || world.folder.journal().iter().any(|event| event["event"] == "incarnation.recorded"));
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(world.processes().len(), 1, "{:?}", world.processes());
    assert_eq!(world.folder.run(&["cleanup", "--dry-run"]), Some(0));
    assert_eq!(world.processes().len(), 1, "a dry run ended something");
    assert_eq!(world.folder.run(&["cleanup"]), Some(0));
    world.assert_all_is_gone();
    assert_eq!(world.folder.run(&["apply", "plan.toml", "--resume"]), Some(0));
    world.assert_the_run_is_whole();
}

#[test]
#[ignore = "slow: run by .ci/run"]
fn kills_before_the_link_to_a_new_run_are_made_good_by_the_resume() {
    let world = World::new();
    let mut child = world.folder.start(&["apply", "plan.toml"]);
    until("an engine runs", || world.folder.journal().iter().any(|event| event["event"] == "incarnation.recorded"));
    child.kill().unwrap();
    child.wait().unwrap();
    fs::remove_file(world.folder.path().join("results/killed/latest")).unwrap();
    assert_eq!(world.folder.run(&["apply", "plan.toml", "--resume"]), Some(0));
    world.assert_the_run_is_whole();
    world.assert_all_is_gone();
}

#[test]
#[ignore = "slow: run by .ci/run"]
fn kills_by_signals_that_ask_tear_down_or_say_what_is_left() {
    for (signals, code, torn_down) in [
        (vec![Signal::INT], 130, true),
        (vec![Signal::TERM], 143, true),
        (vec![Signal::HUP], 143, true),
        (vec![Signal::INT, Signal::INT], 130, false),
    ] {
        let world = World::new();
        let mut child = world.folder.start(&["apply", "plan.toml"]);
        let measuring = |event: &Value| {
            event["event"] == "step.started"
                && event["address"].as_str().is_some_and(|address| address.contains("/load/"))
        };
        until("a level is measured", || world.folder.journal().iter().any(measuring));
        for which in &signals {
            signal(&child, *which);
        }
        assert_eq!(child.wait().unwrap().code(), Some(code), "{signals:?}");
        if torn_down {
            world.assert_all_is_gone();
        }
        assert_eq!(world.folder.run(&["apply", "plan.toml", "--resume"]), Some(0), "{signals:?}");
        world.assert_the_run_is_whole();
        world.assert_all_is_gone();
    }
}

#[test]
#[ignore = "slow: run by .ci/run"]
fn kills_of_the_server_in_mid_level_mark_the_point_and_a_resume_measures_it_again() {
    let world = World::new();
    let mut child = world.folder.start(&["apply", "plan.toml"]);
    let measuring = |event: &Value| event["event"] == "step.started" && event["address"] == "b/default/load/c2";
    until("the level is measured", || world.folder.journal().iter().any(measuring));
    for process in world.processes().iter().filter(|line| line.contains(" simulate ")) {
        let pid: i32 = process.split(':').next().unwrap().parse().unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    }
    assert_eq!(child.wait().unwrap().code(), Some(3));
    let summary = fs::read_to_string(world.folder.run_dir().join("SUMMARY.txt")).unwrap();
    assert!(summary.contains("b/default/load/c4: b is not what became ready any more"), "{summary}");
    assert_eq!(world.folder.run(&["apply", "plan.toml", "--resume"]), Some(0));
    for point in POINTS {
        assert_point_is_whole(&world.folder.run_dir().join(point), RECORDS, &world.folder.journal());
    }
    world.assert_all_is_gone();
}
