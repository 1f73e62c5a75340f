//! `dynbench simulate` with fixed times and the log of the truth.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use dynbench::sim::{TruthRecord, read_truth};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// When the server's tokens are due.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    pub(crate) ttft_ms: f64,
    pub(crate) itl_ms: f64,
}

impl Timing {
    pub(crate) const PACED: Self = Self { ttft_ms: 100.0, itl_ms: 10.0 };
    /// More than it can do: 100,000 tokens a second and stream.
    pub(crate) const UNTHROTTLED: Self = Self { ttft_ms: 0.0, itl_ms: 0.01 };

    /// Tokens per second of so many streams whose requests follow one another without a pause.
    pub(crate) fn ideal_tokens_per_s(self, streams: u32, osl: u32) -> f64 {
        let request_ms = self.ttft_ms + self.itl_ms * f64::from(osl - 1);
        f64::from(streams) * f64::from(osl) * 1e3 / request_ms
    }
}

/// A simulated server in a process of its own, ended when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) url: String,
    dir: TempDir,
}

impl Server {
    pub(crate) fn start(timing: Timing) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let Timing { ttft_ms, itl_ms } = timing;
        let mut child = Command::new(env!("CARGO_BIN_EXE_dynbench"))
            .args(["simulate", "--port", "0", "--set"])
            .arg(format!(r#"fixed={{"ttft-ms":{ttft_ms},"itl-ms":{itl_ms}}}"#))
            .arg("--truth")
            .arg(dir.path().join("truth.jsonl"))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(child.stderr.as_mut().unwrap()).read_line(&mut said).unwrap();
        let url = said.split([' ', ';']).find(|word| word.starts_with("http://"));
        let url = url.unwrap_or_else(|| panic!("no address in `{said}`")).to_owned();
        Self { child, url, dir }
    }

    /// Ends it as Ctrl-C does, after which its log is complete, and reads that.
    pub(crate) fn stop(mut self) -> Vec<TruthRecord> {
        kill_process(Pid::from_child(&self.child), Signal::INT).unwrap();
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "the server ended with {status}: {said}");
        read_truth(&self.dir.path().join("truth.jsonl")).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Fails when it has ended already, as it should have.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
