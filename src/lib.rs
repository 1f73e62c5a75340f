//! dynbench: which LLM serving deployment is better, answered with numbers that hold.
//!
//! One TOML plan is expanded into a DAG of steps (discover, render, preflight, deploy, wait, warm-up, load, collect,
//! teardown, summarize, plot) that is run with checkpoints. The modules stand in floor order: each may import those
//! above it in this list and never one below, which `tests/it/floors.rs` proves at every build.
//!
//! # Words, and the one meaning each has here
//!
//! | word | meaning |
//! | --- | --- |
//! | plan | the TOML file of the user, and what it resolves to |
//! | deployment | one serving set-up under test: what is started, or where it already runs |
//! | target | the way a deployment comes to life and is reached (`kubernetes`, `process`, `endpoint`, `simulated`) |
//! | workload | the traffic: ISL, OSL, their spread, the shape of a request |
//! | level | one load intensity of a workload, `c64` for 64 concurrent requests |
//! | point | one measurement: deployment x workload x level x repeat |
//! | block | one pass over all deployments; repeat `r2` of every point belongs to block 2 |
//! | step | a node of the DAG, known by its address (`agg/default/load/c64`) |
//! | key | digest of everything that decides what a step's result means |
//! | attempt | one try at a step; only one attempt of a point is ever published |
//! | obligation | something started outside of this process that must be ended again |
//! | incarnation | one life of a deployment: the processes or pods that answered during a point |
//! | record | what is known of one request |
//! | conversation | requests of one user, its turns, each with all that was said and answered before |
//! | TTFT | first chunk with text minus send |
//! | ITL | (last text chunk - first text chunk) / (output tokens - 1), per request |

pub mod base;
pub mod measure;
pub mod plan;
pub mod render;
pub mod load;
pub mod sim;
pub mod target;
pub mod run;
pub mod report;
pub mod steps;
pub mod app;
pub mod cli;
