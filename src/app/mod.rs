//! What a user can ask for, without a terminal: check, plan, apply, report, explain, clean up. Prints nothing.

mod apply;
mod beside;
mod catalog;
mod check;
mod cleanup;
mod error;
mod explain;
mod graph;
mod image;
mod init;
mod once;
mod preview;
mod report;
mod runs;
mod server;
mod simulate;
mod worker;
mod written;

pub use crate::load::Arrivals;
pub use crate::measure::{Conversations, Rate};
pub use crate::render::GraphVersion;
pub use apply::{Applied, ApplyOptions, EditChoice, apply, exit_code_of, frozen_sets, nonce};
pub use catalog::catalog;
pub use check::{Overrides, check, schema, usable};
pub use cleanup::{Cleaned, CleanupScope, Leftover, cleanup, leftovers};
pub use error::AppError;
pub use explain::{Explanation, explain};
pub use graph::{dot, mermaid};
pub use image::{ImageOptions, MadeImage, image};
pub use init::{InitKind, init};
pub use once::{LoadOptions, Loaded, OpenLoop, load_once};
pub use preview::{Preview, preview};
pub use report::{Drawing, ReportOptions, Reported, report};
pub use runs::{Shown, export, find, fsck, import, list, prune, show};
pub use server::{DeploymentView, rbac, reap, server_views};
pub use simulate::{SimulateOptions, listen, simulate, simulate_config, writable};
pub use worker::{WorkerArguments, worker};
pub use written::{render, show_template, steps_of, templates};

// What the command line shows and listens to, by its one name.
pub use crate::load::{LiveProgress, raise_file_limit};
pub use crate::measure::{METRICS, PointSummary};
pub use crate::plan::{Checked, Plan, StepSpec, resolved_toml};
pub use crate::run::{
    Cause, EventBody, EventLevel, EventReceiver, ExitCode, Finding, Outlook, Progress, Pruned, RunEvent, RunInfo,
    RunReport, RunStatus, StepReport, Stop, StopLevel, event_channel, listen as listen_to_signals,
};

pub use crate::target::{FoundRun, ObjectOutlook, ServerView, Swept, TargetError, hold};
