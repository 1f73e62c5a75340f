//! Deployments that are processes of this machine: started through a shim, supervised, ended as groups.
//!
//! No instant of a SIGKILL leaves something unknown behind. The rules that make it so:
//!
//! 1. A command is started as a *shim* (our own binary) in a process group of its own, which waits for one line on stdin.
//! 2. The group's id, start time and boot id go to the ledger, durably, while the shim waits.
//! 3. Only then is the line sent, and the shim becomes the command: same pid, same group, same start time.
//! 4. If we die between 1 and 3, the shim reads end of file and exits: nothing was started.
//! 5. Each process carries a marker in its environment, by which stragglers that left the group are found.

mod children;
mod end;
mod kind;
mod launch;
mod ports;
mod procfs;
mod shim;
mod spec;
#[cfg(test)]
mod tests;

pub use kind::Process;
pub use launch::Launcher;
pub use shim::{HoldError, Shim, hold};

pub(in crate::target) use shim::own_binary;
pub(in crate::target) use spec::{Command, Given, Resolved};
