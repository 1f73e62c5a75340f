//! `dynbench init`: a commented plan to start from.

use std::io::{self, Write};
use std::path::Path;

use super::error::AppError;
use crate::base::FileError;

/// What the deployments of a new plan are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InitKind {
    /// The embedded engine.
    Simulated,
    /// Local processes.
    Process,
    /// URLs.
    Endpoint,
    /// Kubernetes objects.
    Kubernetes,
}

impl InitKind {
    fn deployments(self) -> &'static str {
        match self {
            Self::Simulated => SIMULATED,
            Self::Process => PROCESS,
            Self::Endpoint => ENDPOINT,
            Self::Kubernetes => KUBERNETES,
        }
    }
}

const HEAD: &str = "\
# A dynbench plan. `dynbench check` finds every mistake, `dynbench plan` shows every default and what would be done.
schema = 1
name = \"NAME\"

[model]
id = \"Qwen/Qwen3-0.6B\"            # as /v1/models lists it
# tokenizer = \"tokenizer.json\"     # exact prompt lengths; without it they are calibrated against the server

[workload]
isl = 200                          # prompt tokens, mean
isl-std = 10                       # and standard deviation
osl = 200                          # output tokens
concurrency = [1, 2, 4, 8, 16, 32, 64, 128]
duration = \"60s\"                   # a level ends after this, or after `requests`
# repeats = 5                      # blocks that interleave the deployments: needed for a verdict

";

const SIMULATED: &str = "\
[target]
kind = \"simulated\"                 # the embedded engine: no GPU, every result says so

[deployments.agg]
engine = \"aggregated\"
replicas = 2

[deployments.disagg]
engine = \"disaggregated\"
prefill-replicas = 1
decode-replicas = 1
";

const PROCESS: &str = "\
[target]
kind = \"process\"                   # commands that are started, watched and ended for each deployment

[deployments.vanilla]
gpus = 1

[[deployments.vanilla.commands]]
name = \"server\"
command = [\"vllm\", \"serve\", \"{{ model }}\", \"--host\", \"127.0.0.1\", \"--port\", \"{{ port }}\"]
# env-from = { HF_TOKEN = \"HF_TOKEN\" }   # secrets are named, never written
";

const ENDPOINT: &str = "\
[target]
kind = \"endpoint\"                  # servers that run already: measured, never started or stopped

[deployments.one]
url = \"http://127.0.0.1:8000\"      # without /v1
gpus = 1                           # for tokens per second and GPU
# api-key-env = \"MY_API_KEY\"       # the environment variable that holds the key
";

const KUBERNETES: &str = "\
[target]
kind = \"kubernetes\"
namespace = \"benchmarking\"

[deployments.agg]
template = \"dynamo-vllm-agg\"       # `dynbench templates list` names them all

[deployments.disagg]
template = \"dynamo-vllm-disagg\"
vars = { prefill-replicas = 1, decode-replicas = 1 }
";

const TAIL: &str = "
# [objectives]                     # bounds (SLO): the summary names the best level that keeps them, exit code 4 if none
# time-to-first-token.p90 = 500    # milliseconds
# inter-token-latency.p90 = 25
";

/// Writes a plan. Never over an existing file.
///
/// # Errors
/// When the file exists or cannot be written.
pub fn init(path: &Path, kind: InitKind) -> Result<(), AppError> {
    let stem = path.file_stem().map(|stem| crate::base::slug(&stem.to_string_lossy())).unwrap_or_default();
    let name: String = if stem.is_empty() { "plan".to_owned() } else { stem.chars().take(40).collect() };
    let text = format!("{}{}{TAIL}", HEAD.replace("NAME", name.trim_end_matches('-')), kind.deployments());
    let mut file = match std::fs::OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(AppError::Usage {
                message: format!("{} exists already, and nothing is written over", path.display()),
                help: Some("choose another name".to_owned()),
            });
        }
        Err(source) => return Err(FileError::new("create", path, source).into()),
    };
    file.write_all(text.as_bytes()).map_err(|source| FileError::new("write", path, source))?;
    Ok(())
}
