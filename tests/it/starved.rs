//! The load generator says by itself when it and not the server was the limit.
//!
//! 512 streams of 100 ms / 10 ms, once with the generator on a core that something else keeps busy, once with all cores. It
//! measures time, so it is no part of the ordinary tests:
//!
//! `cargo test --release --test it starved -- --ignored --nocapture`

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde_json::Value;

/// Runs of the load that is not starved: the machine may be busy for another reason during one of them.
const TRIES: usize = 3;

#[test]
#[ignore = "slow: run by .ci/run"]
fn a_starved_generator_says_so_and_the_same_load_with_room_is_valid() {
    let server = Server::start();
    let starved = {
        let _busy = Busy::on(0);
        load(&server, Some(0))
    };
    let reason = limited(&starved).unwrap_or_else(|| panic!("not seen: {}", starved["generator"]));
    assert!(reason.contains("use fewer streams"), "{reason}");
    print(&format!("starved: {reason}\n{}", starved["generator"]));

    let mut reasons = Vec::new();
    for _ in 0..TRIES {
        let free = load(&server, None);
        print(&format!("with room: {}", free["generator"]));
        match limited(&free) {
            None => return,
            Some(reason) => reasons.push(reason),
        }
    }
    panic!("never valid with room: {reasons:#?}");
}

#[expect(clippy::print_stdout, reason = "the figures are what this is run for")]
fn print(text: &str) {
    println!("{text}");
}

/// Why the level counts as limited by the generator, if it does.
fn limited(loaded: &Value) -> Option<String> {
    let breaches = loaded["invalid"].as_array().unwrap();
    let found = breaches.iter().find(|breach| breach["rule"] == "generator-limited")?;
    Some(found["reason"].as_str().unwrap().to_owned())
}

/// One level of 512 streams, on one core alone or on all.
fn load(server: &Server, core: Option<usize>) -> Value {
    let all = sched_getaffinity(None).unwrap();
    if let Some(core) = core {
        sched_setaffinity(None, &only(core)).unwrap();
    }
    // A process inherits the cores of the thread that starts it.
    let spawned = Command::new(env!("CARGO_BIN_EXE_dynbench"))
        .args([
            "load",
            &server.url,
            "--concurrency",
            "512",
            "--requests",
            "2560",
            "--isl",
            "64",
            "--osl",
            "64",
            "--json",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    sched_setaffinity(None, &all).unwrap();
    let output = spawned.wait_with_output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

fn only(core: usize) -> CpuSet {
    let mut set = CpuSet::new();
    set.set(core);
    set
}

/// A thread that keeps one core busy until dropped.
struct Busy {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Busy {
    fn on(core: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            sched_setaffinity(None, &only(core)).unwrap();
            while !stopped.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

/// A simulated server of its own, ended when dropped.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_dynbench"))
            .args(["simulate", "--port", "0", "--set", r#"fixed={"ttft-ms":100,"itl-ms":10}"#])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(child.stderr.as_mut().unwrap()).read_line(&mut said).unwrap();
        let url = said.split([' ', ';']).find(|word| word.starts_with("http://"));
        let url = url.unwrap_or_else(|| panic!("no address in `{said}`")).to_owned();
        Self { child, url }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
