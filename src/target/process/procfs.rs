//! What `/proc` tells of processes: who they are, whether they live, what they carry.

use std::fs;
use std::io;

/// The environment variable by which processes of ours are known, whatever group they moved to.
pub(super) const MARKER: &str = "DYNBENCH_PROCESS";

/// One line of `/proc/<pid>/stat`, as far as identity needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) pid: u32,
    pub(super) state: char,
    pub(super) parent: u32,
    pub(super) group: u32,
    pub(super) session: u32,
    /// Field 22: clock ticks after boot. With the pid and the boot id it names a process for ever.
    pub(super) start: u64,
}

impl Stat {
    /// Zombies hold a pid and nothing else: whoever is their parent has to reap them.
    pub(super) fn alive(&self) -> bool {
        !matches!(self.state, 'Z' | 'X' | 'x')
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        // The name stands in parentheses and may hold spaces and parentheses itself.
        let (pid, _) = text.split_once(' ')?;
        let (_, rest) = text.rsplit_once(") ")?;
        let fields: Vec<_> = rest.split_ascii_whitespace().collect();
        Some(Self {
            pid: pid.parse().ok()?,
            state: fields.first()?.chars().next()?,
            parent: fields.get(1)?.parse().ok()?,
            group: fields.get(2)?.parse().ok()?,
            session: fields.get(3)?.parse().ok()?,
            start: fields.get(19)?.parse().ok()?,
        })
    }
}

/// A process, if it exists (zombies do).
pub(super) fn stat(pid: u32) -> Option<Stat> {
    Stat::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// All processes that can be seen.
pub(super) fn all() -> io::Result<Vec<Stat>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        // One that ended since the folder was listed is no error.
        let pid = entry?.file_name().to_str().and_then(|name| name.parse().ok());
        found.extend(pid.and_then(stat));
    }
    Ok(found)
}

/// The marker that a process carries; processes of other users cannot be read, and are not ours.
pub(super) fn marker(pid: u32) -> Option<String> {
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let prefix = format!("{MARKER}=");
    let entry = environment.split(|byte| *byte == 0).find(|entry| entry.starts_with(prefix.as_bytes()))?;
    Some(String::from_utf8_lossy(&entry[prefix.len()..]).into_owned())
}

/// Names this boot of the machine: pids and start times of another one mean nothing.
pub(super) fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// Seconds since a process with this start time was started.
pub(super) fn age_seconds(start: u64) -> Option<f64> {
    let uptime: f64 = fs::read_to_string("/proc/uptime").ok()?.split_ascii_whitespace().next()?.parse().ok()?;
    Some((uptime - start as f64 / rustix::param::clock_ticks_per_second() as f64).max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let text = "4711 (a) b (c) S 1 4711 99 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 123456 0 0";
        let stat = Stat::parse(text).unwrap();
        assert_eq!((stat.pid, stat.parent, stat.group, stat.session, stat.start), (4711, 1, 4711, 99, 123_456));
        assert!(stat.alive());
        assert_eq!(Stat::parse("4711 (a) Z"), None);
    }

    #[test]
    fn this_process_is_found_among_all() {
        let own = stat(std::process::id()).unwrap();
        assert!(all().unwrap().iter().any(|other| other.pid == own.pid && other.start == own.start));
        assert!(age_seconds(own.start).is_some());
        assert_eq!(boot_id().unwrap().len(), 36);
    }
}
