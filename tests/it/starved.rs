//! The load generator says by itself when it and not the server was the limit.
//!
//! 512 streams of 100 ms / 10 ms. The generator is confined to one core, with more and more threads there that are always busy, or
//! has all cores. The log of the truth tells how far its figures are off. More than is promised, as soon as one thread is busy
//! beside it, it must say; where it has room it must not. It measures time, so it is no part of the ordinary tests:
//!
//! `cargo test --release --test it starved -- --ignored --nocapture`

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde_json::Value;

use crate::yardstick::{Joined, Server, Timing, print, watch};

const STREAMS: u32 = 512;
const REQUESTS: u32 = 5 * STREAMS;
const OSL: u32 = 64;
/// Threads that keep the core busy, from none to far too many.
const BUSY: [usize; 5] = [0, 1, 2, 4, 8];
/// Runs of the load that has room: the machine may be busy for another reason during one of them.
const TRIES: usize = 5;

/// What a valid point promises at these times: the error of TTFT on average and at p99, milliseconds, and that of ITL as a
/// share of it.
const PROMISED: [f64; 3] = [1.0, 5.0, 0.005];
/// Its error is more than so many times what is promised where it is starved beyond doubt, and less where it has room: the
/// machine may be busy with something else too.
const FAR_OFF: f64 = 2.0;
/// No more than so many times what is promised may go unsaid.
const NEARLY: f64 = 1.25;
/// So many busy threads leave it no more than a fifth of the core.
const BEYOND_DOUBT: usize = 4;

#[test]
#[ignore = "slow: run by .ci/run"]
fn a_starved_generator_says_so_and_one_with_room_does_not() {
    for threads in BUSY {
        let found = {
            let _busy = Busy::on(0, threads);
            load(Some(0))
        };
        found.print(&format!("on a core with {threads} busy threads"));
        if threads >= BEYOND_DOUBT {
            assert!(found.times_promised() > FAR_OFF, "{threads} busy threads did not starve it");
        }
        let (off, health) = (found.times_promised(), &found.health);
        match found.limited {
            Some(reason) => assert!(reason.contains("use fewer streams"), "{reason}"),
            // Alone on the core it has its whole time; what else the machine does is not this test's doing.
            None if threads == 0 => {}
            None => {
                assert!(off <= NEARLY, "{threads} busy threads: {off:.2} times what is promised, not seen: {health}")
            }
        }
    }
    let mut wrong = Vec::new();
    for _ in 0..TRIES {
        let found = load(None);
        found.print("with room");
        let off = found.times_promised();
        match found.limited {
            None if off <= FAR_OFF => return,
            // The machine is busy with something else, and it says so, no more than so many times too early.
            Some(_) if off > 1.0 / FAR_OFF => {}
            limited => wrong.push((off, limited)),
        }
    }
    assert!(wrong.is_empty(), "with room it is off by so many times what is promised, and says: {wrong:#?}");
    print("with room it was right each time that the machine was too busy, and was never seen with room");
}

/// What a level said of itself, and what the server knows of it.
struct Found {
    joined: Joined,
    /// Why the level counts as limited by the generator, if it does.
    limited: Option<String>,
    health: Value,
}

impl Found {
    /// How many times what is promised the largest of its errors is.
    fn times_promised(&self) -> f64 {
        let Joined { ttft, itl, .. } = &self.joined;
        let errors = [ttft.mean_abs, ttft.p99_abs, itl.relative];
        errors.iter().zip(PROMISED).map(|(error, promised)| error / promised).fold(0.0, f64::max)
    }

    fn print(&self, when: &str) {
        let Joined { ttft, itl, .. } = &self.joined;
        let figure = |name: &str| self.health[name].as_f64().unwrap();
        print(&format!(
            "{when}: {}; TTFT off by {:.2} ms, p99 {:.2} ms, ITL by {:.2} %; loop lag {:.2} ms, p99 {:.2} ms, computed \
             {:.0} %, waited {:.0} %",
            if self.limited.is_some() { "marked" } else { "valid" },
            ttft.mean_abs,
            ttft.p99_abs,
            100.0 * itl.relative,
            figure("loop_lag_mean_ms"),
            figure("loop_lag_p99_ms"),
            100.0 * figure("cpu_share"),
            100.0 * figure("cpu_wait_share"),
        ));
    }
}

/// One level, on one core alone or on all.
fn load(core: Option<usize>) -> Found {
    let server = Server::start(Timing::PACED);
    let dir = tempfile::tempdir().unwrap();
    let records = dir.path().join("records.jsonl");
    let all = sched_getaffinity(None).unwrap();
    if let Some(core) = core {
        sched_setaffinity(None, &only(core)).unwrap();
    }
    // A process inherits the cores of the thread that starts it.
    let spawned = Command::new(env!("CARGO_BIN_EXE_dynbench"))
        .args(["load", &server.url, "--isl", "64", "--warm-up", "0", "--json"])
        .args(["--concurrency", &STREAMS.to_string(), "--requests", &REQUESTS.to_string()])
        .args(["--osl", &OSL.to_string()])
        .arg("--records")
        .arg(&records)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    sched_setaffinity(None, &all).unwrap();
    let cost = watch(spawned);
    let said: Value = serde_json::from_str(&cost.stdout).unwrap();
    let breaches = said["invalid"].as_array().unwrap();
    let limited = breaches.iter().find(|breach| breach["rule"] == "generator-limited");
    Found {
        joined: Joined::of(&records, &server.stop()),
        limited: limited.map(|breach| breach["reason"].as_str().unwrap().to_owned()),
        health: said["generator"].clone(),
    }
}

fn only(core: usize) -> CpuSet {
    let mut set = CpuSet::new();
    set.set(core);
    set
}

/// Threads that keep one core busy until dropped.
struct Busy {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Busy {
    fn on(core: usize, threads: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let spin = || {
            let stopped = Arc::clone(&stop);
            std::thread::spawn(move || {
                sched_setaffinity(None, &only(core)).unwrap();
                while !stopped.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            })
        };
        let threads = (0..threads).map(|_| spin()).collect();
        Self { stop, threads }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| thread.join().unwrap());
    }
}
