//! Ends a process group and whoever left it, and proves that they are gone. Never touches a process that only has the
//! same number.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::children::Children;
use super::procfs::{self, Stat};
use crate::target::TargetError;

/// Time between SIGTERM and SIGKILL.
pub(super) const GRACE: Duration = Duration::from_secs(10);
/// Time that SIGKILL may take: a process in the middle of device I/O dies late.
const KILLED_WITHIN: Duration = Duration::from_secs(10);
/// How often it is looked whether they are gone.
const TICK: Duration = Duration::from_millis(20);

/// What an obligation must know to find its processes again, even after a reboot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Handle {
    /// Process group, and pid of its leader.
    pub(super) group: u32,
    /// The leader's start time, clock ticks after boot.
    pub(super) start: u64,
    /// The leader's session.
    pub(super) session: u32,
    /// This boot of the machine.
    pub(super) boot: String,
    /// The command, for people.
    pub(super) command: String,
    /// The marker in the environment.
    pub(super) token: String,
}

/// What is looked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Quarry<'a> {
    /// One command and all that came of it.
    Command(&'a Handle),
    /// Everything whose marker starts with this: what earlier lives of a deployment left behind.
    Marked(&'a str),
}

impl Quarry<'_> {
    fn token(self) -> String {
        match self {
            Self::Command(handle) => handle.token.clone(),
            Self::Marked(token) => token.to_owned(),
        }
    }
}

/// Who of `all` belongs to the quarry and lives.
///
/// `marked` are the pids that carry the marker, `known` those that were found before (pid and start time), so that a
/// process whose parents have died since is not lost.
fn victims(all: &[Stat], quarry: Quarry<'_>, marked: &BTreeSet<u32>, known: &BTreeMap<u32, u64>) -> Vec<Stat> {
    let group = match quarry {
        Quarry::Command(handle) if group_is_ours(all, handle, marked) => Some(handle.group),
        Quarry::Command(_) | Quarry::Marked(_) => None,
    };
    let ours = |stat: &Stat| {
        Some(stat.group) == group || marked.contains(&stat.pid) || known.get(&stat.pid) == Some(&stat.start)
    };
    let mut pids: BTreeSet<u32> = all.iter().filter(|stat| ours(stat)).map(|stat| stat.pid).collect();
    loop {
        let children: Vec<_> =
            all.iter().filter(|stat| pids.contains(&stat.parent) && !pids.contains(&stat.pid)).collect();
        if children.is_empty() {
            break;
        }
        pids.extend(children.into_iter().map(|stat| stat.pid));
    }
    all.iter().filter(|stat| stat.alive() && stat.pid > 1 && pids.contains(&stat.pid)).cloned().collect()
}

/// Whether the group of that number is the one that was started.
fn group_is_ours(all: &[Stat], handle: &Handle, marked: &BTreeSet<u32>) -> bool {
    match all.iter().find(|stat| stat.pid == handle.group) {
        Some(leader) => leader.start == handle.start,
        // While a group has members its number is given to no new process: one marked member proves it all. Without one
        // (they dropped their environment) the session tells ours from a group that got the number much later.
        None => {
            let mut members = all.iter().filter(|stat| stat.group == handle.group);
            members.any(|stat| marked.contains(&stat.pid) || stat.session == handle.session)
        }
    }
}

/// Ends all of the quarry: SIGTERM, `grace`, SIGKILL, and a look that nobody is left.
pub(super) async fn end(
    quarry: Quarry<'_>,
    children: &Children,
    grace: Duration,
    cancel: &CancellationToken,
) -> Result<(), TargetError> {
    let cannot_look = |error: io::Error| TargetError::new(format!("cannot look at the processes in /proc: {error}"));
    if let Quarry::Command(handle) = quarry
        && procfs::boot_id().map_err(cannot_look)? != handle.boot
    {
        return Ok(());
    }
    let token = quarry.token();
    let mut known = BTreeMap::new();
    let mut asked = BTreeSet::new();
    let mut waited = Duration::ZERO;
    loop {
        children.reap();
        let all = procfs::all().map_err(cannot_look)?;
        let marked = all.iter().filter(|stat| carries(stat.pid, &token)).map(|stat| stat.pid).collect();
        let left = victims(&all, quarry, &marked, &known);
        if left.is_empty() {
            return Ok(());
        }
        known.extend(left.iter().map(|stat| (stat.pid, stat.start)));
        if waited >= grace + KILLED_WITHIN {
            return Err(still_there(&left));
        }
        if waited >= grace {
            signal(&left, Signal::KILL);
        } else {
            let new: Vec<_> = left.into_iter().filter(|stat| asked.insert((stat.pid, stat.start))).collect();
            signal(&new, Signal::TERM);
        }
        tokio::select! {
            () = tokio::time::sleep(TICK) => waited += TICK,
            () = cancel.cancelled() => return Err(TargetError::passing("interrupted before the processes were gone")),
        }
    }
}

/// Whether a process carries this marker, or one below it.
fn carries(pid: u32, token: &str) -> bool {
    let Some(marker) = procfs::marker(pid) else { return false };
    marker.strip_prefix(token).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whole groups at once where their leader is among them, so that nobody is born between two signals.
fn signal(stats: &[Stat], signal: Signal) {
    for stat in stats {
        let Some(pid) = i32::try_from(stat.pid).ok().and_then(Pid::from_raw) else { continue };
        // The number may have gone to somebody else since we looked.
        if procfs::stat(stat.pid).is_none_or(|now| now.start != stat.start) {
            continue;
        }
        // What cannot be signalled is found alive at the next look, and named if it stays so.
        let _ = if stat.pid == stat.group { kill_process_group(pid, signal) } else { kill_process(pid, signal) };
    }
}

fn still_there(left: &[Stat]) -> TargetError {
    let pids: Vec<_> = left.iter().map(|stat| stat.pid.to_string()).collect();
    let mut error = TargetError::new(format!("still there after SIGKILL: process {}", pids.join(", ")));
    error.details =
        left.iter().map(|stat| format!("pid {} in state {}, group {}", stat.pid, stat.state, stat.group)).collect();
    error.help = Some("a process in state D waits for a device; state T or t is stopped by a debugger".to_owned());
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(pid: u32, parent: u32, group: u32, session: u32, start: u64) -> Stat {
        Stat { pid, state: 'S', parent, group, session, start }
    }

    fn handle() -> Handle {
        Handle {
            group: 100,
            start: 5000,
            session: 7,
            boot: "b".to_owned(),
            command: "serve".to_owned(),
            token: "t".to_owned(),
        }
    }

    fn found(all: &[Stat], marked: &[u32], known: &[(u32, u64)]) -> Vec<u32> {
        let marked = marked.iter().copied().collect();
        let known = known.iter().copied().collect();
        victims(all, Quarry::Command(&handle()), &marked, &known).into_iter().map(|stat| stat.pid).collect()
    }

    #[test]
    fn the_group_and_all_below_it_are_found() {
        let all = [
            stat(100, 1, 100, 7, 5000),
            stat(101, 100, 100, 7, 5001),
            stat(102, 101, 102, 102, 5002),
            stat(200, 1, 200, 7, 4000),
        ];
        assert_eq!(found(&all, &[], &[]), [100, 101, 102]);
    }

    #[test]
    fn a_reused_pid_is_left_alone_but_marked_stragglers_are_not() {
        let all = [stat(100, 1, 100, 7, 9999), stat(101, 100, 100, 7, 9999), stat(300, 1, 300, 300, 5003)];
        assert_eq!(found(&all, &[], &[]), [0; 0]);
        assert_eq!(found(&all, &[300], &[]), [300]);
    }

    #[test]
    fn a_group_without_its_leader_is_ours_by_marker_or_session() {
        assert_eq!(found(&[stat(101, 1, 100, 7, 5001)], &[], &[]), [101]);
        assert_eq!(found(&[stat(101, 1, 100, 8, 5001), stat(102, 1, 100, 8, 5001)], &[102], &[]), [101, 102]);
        assert_eq!(found(&[stat(101, 1, 100, 8, 5001)], &[], &[]), [0; 0]);
    }

    #[test]
    fn zombies_are_not_alive_and_known_ones_are_not_lost() {
        let zombie = Stat { state: 'Z', ..stat(100, 1, 100, 7, 5000) };
        assert_eq!(found(&[zombie], &[], &[]), [0; 0]);
        let orphan = stat(102, 1, 102, 102, 5002);
        assert_eq!(found(std::slice::from_ref(&orphan), &[], &[(102, 5002)]), [102]);
        assert_eq!(found(&[orphan], &[], &[(102, 1)]), [0; 0]);
    }
}
