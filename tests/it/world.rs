//! A world for the real binary: a folder of its own, a clean environment, a limit for its patience, and filters that
//! take out of its output what differs from run to run.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

/// A command that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// The file that plans are written to.
pub(crate) const PLAN: &str = "plan.toml";

/// One small deployment, two levels: about a second.
pub(crate) const SMALL: &str = r#"schema = 1
name = "small"
model.id = "tiny"

[workload]
isl = 20
osl = 4
concurrency = [1, 2]
requests = 6
warm-up-requests = 2

[target]
kind = "simulated"

[deployments.agg]
engine = "aggregated"
fixed = { ttft-ms = 5, itl-ms = 1 }

[plots]
set = []

# A busy machine must not make a point invalid here: that is tested where it is measured.
[validity]
send-lag-ms = 10000.0
"#;

/// A folder in which the binary works.
pub(crate) struct World {
    dir: TempDir,
    variables: BTreeMap<String, String>,
    patience: Duration,
}

/// What a command said, and how it ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl World {
    /// With this plan in `plan.toml`.
    pub(crate) fn new(plan: &str) -> Self {
        let world = Self { dir: tempfile::tempdir().unwrap(), variables: BTreeMap::new(), patience: PATIENCE };
        world.write(PLAN, plan);
        world
    }

    /// One more variable in the environment, which is empty but for a few, for every command from now on.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.variables.insert(name.to_owned(), value.to_owned());
    }

    /// For commands that may take longer.
    pub(crate) fn patient(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        self.dir.path().join(inside)
    }

    pub(crate) fn write(&self, inside: &str, text: impl AsRef<[u8]>) {
        fs::write(self.path(inside), text).unwrap();
    }

    pub(crate) fn read(&self, inside: &str) -> String {
        fs::read_to_string(self.path(inside)).unwrap()
    }

    /// Changes the plan as an editor would.
    pub(crate) fn edit(&self, from: &str, to: &str) {
        let text = self.read(PLAN);
        assert!(text.contains(from), "the plan holds no `{from}`");
        self.write(PLAN, text.replace(from, to));
    }

    /// The SUMMARY.txt of the newest run.
    pub(crate) fn summary(&self) -> String {
        self.read("results/small/latest/SUMMARY.txt")
    }

    fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(args)
            .current_dir(self.dir.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.dir.path())
            .env("NO_COLOR", "1")
            .envs(&self.variables)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Starts a command and leaves it running.
    pub(crate) fn start(&self, args: &[&str]) -> Started {
        let child = self.command(env!("CARGO_BIN_EXE_dynbench"), args).spawn().unwrap();
        Started { child, patience: self.patience }
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        self.start(args).end(args)
    }

    /// Runs a command that must end with this exit code.
    pub(crate) fn ends(&self, code: i32, args: &[&str]) -> Ran {
        let ran = self.run(args);
        assert_eq!(ran.code, code, "{args:?}\n{}\n{}", ran.stdout, ran.stderr);
        ran
    }

    /// What another program says that ends well; `None`: it is not there, or may not.
    pub(crate) fn other(&self, program: &str, args: &[&str]) -> Option<String> {
        let child = self.command(program, args).spawn().ok()?;
        let ran = Started { child, patience: self.patience }.end(args);
        (ran.code == 0).then_some(ran.stdout)
    }

    /// Takes out what differs from run to run, for snapshots.
    pub(crate) fn filters(&self) -> insta::Settings {
        let mut settings = insta::Settings::clone_current();
        settings.set_prepend_module_to_snapshot(true);
        for dir in [self.dir.path().canonicalize().unwrap(), self.dir.path().to_owned()] {
            settings.add_filter(&dir.display().to_string().replace('.', r"\."), "[DIR]");
        }
        settings.add_filter(r"\d{8}-\d{6}-[0-9a-f]{4}", "[RUN]");
        settings.add_filter(r"\d{4}-\d\d-\d\dT[0-9:.]+Z", "[WHEN]");
        settings.add_filter(r"(127\.0\.0\.1|localhost):\d+", "[ADDRESS]");
        settings.add_filter(r"(in|after|for) \d+(\.\d+)? ?(ms|s)\b", "$1 [TIME]");
        settings.add_filter(r"about \d+(\.\d+)?(ms|s)\b", "about [TIME]");
        settings.add_filter(r"\bpid \d+", "pid [PID]");
        settings.add_filter(r#""(pid|start|started|boot|inode)":("?)[0-9a-f.-]+"?"#, r#""$1":[..]"#);
        settings.add_filter(r"key [0-9a-f]{12}", "key [KEY]");
        settings
    }
}

/// A command that runs. It is ended with the value.
pub(crate) struct Started {
    child: Child,
    patience: Duration,
}

impl Started {
    /// Reads stderr until a line holds the word; that line. What follows is read away so that nobody waits for us.
    pub(crate) fn says(&mut self, word: &str) -> String {
        use std::io::BufRead;
        let mut lines = std::io::BufReader::new(self.child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let found = lines.find(|line| line.contains(word)).unwrap_or_else(|| panic!("it never said `{word}`"));
        thread::spawn(move || lines.for_each(drop));
        found
    }

    /// Kills it where it cannot say anything to anybody.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end.
    pub(crate) fn end(mut self, args: &[&str]) -> Ran {
        fn reader(pipe: impl Read + Send + 'static, to: &mpsc::Sender<(bool, String)>, out: bool) {
            let (mut pipe, to) = (pipe, to.clone());
            thread::spawn(move || {
                let mut bytes = Vec::new();
                // What was read before an error is shown all the same.
                let _ = pipe.read_to_end(&mut bytes);
                let _ = to.send((out, String::from_utf8_lossy(&bytes).into_owned()));
            });
        }
        let (to, from) = mpsc::channel();
        reader(self.child.stdout.take().unwrap(), &to, true);
        reader(self.child.stderr.take().unwrap(), &to, false);
        let mut said = BTreeMap::new();
        while said.len() < 2 {
            let Ok((out, text)) = from.recv_timeout(self.patience) else {
                let _ = self.child.kill();
                panic!("{args:?} hangs");
            };
            said.insert(out, text);
        }
        let code = self.child.wait().unwrap().code().unwrap_or(-1);
        let (stdout, stderr) = (said.remove(&true).unwrap(), said.remove(&false).unwrap());
        assert!(!stderr.contains("panicked"), "{args:?} panicked:\n{stderr}");
        Ran { code, stdout, stderr }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // It has ended already when all went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ran {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}:\n{}", self.stdout))
    }

    /// What stderr says after the plan was shown, without the steps that went well.
    pub(crate) fn essence(&self) -> String {
        let said = &self.stderr;
        let shown = said.split_once("come on top\n").or_else(|| said.rsplit_once("  # default\n"));
        let after = shown.map_or(said.as_str(), |(_, after)| after);
        let lines = after.lines().filter(|line| !["start ", "ok ", "still "].iter().any(|word| line.starts_with(word)));
        let lines: Vec<_> = lines.filter(|line| !line.is_empty()).collect();
        lines.join("\n")
    }
}

/// Every file below a folder, with its contents.
pub(crate) fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            } else if path.is_file() {
                found.insert(path.strip_prefix(dir).unwrap().to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    found
}
