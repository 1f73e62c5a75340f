//! What a process cost, told by the system once it has ended.

use std::fs;
use std::io::Read;
use std::process::{Child, ChildStdout};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A process that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(300);
/// Between looks at it.
const LOOK: Duration = Duration::from_millis(20);

/// Of a process that has ended.
#[derive(Debug, Clone)]
pub(crate) struct Cost {
    /// User and system time.
    pub(crate) cpu_s: f64,
    /// In MB of 2^20 bytes.
    pub(crate) peak_mb: f64,
    /// Its exit code.
    pub(crate) code: i32,
    /// All that it wrote to a piped stdout.
    pub(crate) stdout: String,
}

/// Waits for the end of a process.
///
/// The system tells the CPU time of a process that has ended for as long as nobody has waited for it; its peak memory only
/// while it runs, hence the looks.
pub(crate) fn watch(mut child: Child) -> Cost {
    let stdout = child.stdout.take().map(read);
    let deadline = Instant::now() + PATIENCE;
    let of = |file: &str| fs::read_to_string(format!("/proc/{}/{file}", child.id())).unwrap();
    let mut peak_kb = 0.0;
    loop {
        let status = of("status");
        let value = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            line.and_then(|line| line.split_whitespace().next())
        };
        peak_kb = value("VmHWM:").map_or(peak_kb, |value| value.parse().unwrap());
        if value("State:") == Some("Z") {
            break;
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            panic!("the process did not end");
        }
        std::thread::sleep(LOOK);
    }
    // The name, in parentheses, is the second field; user and system time are the 14th and 15th.
    let stat = of("stat");
    let (_, after_name) = stat.rsplit_once(')').unwrap();
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks: u64 = fields[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    let status = child.wait().unwrap();
    Cost {
        cpu_s: ticks as f64 / rustix::param::clock_ticks_per_second() as f64,
        peak_mb: peak_kb / 1024.0,
        code: status.code().unwrap_or_else(|| panic!("ended with {status}")),
        stdout: stdout.map_or_else(String::new, |reader| reader.join().unwrap()),
    }
}

fn read(mut from: ChildStdout) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut text = String::new();
        from.read_to_string(&mut text).unwrap();
        text
    })
}
