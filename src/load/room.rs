//! Files and ports of this machine: each request under way has a connection, and each connection is an open file.
//!
//! Running out of them is the generator's own limit. A level that would is refused before it starts; where it happens
//! nevertheless (a port range used up, files of the whole system) the request has a failure class of its own and never
//! counts as the server's.

use std::io;

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit, setrlimit};

use super::error::LoadError;
use crate::measure::FailureClass;

/// Files that this process needs for other things.
const OTHER_FILES: u64 = 64;

/// Lets this process, and those that it starts, have as many open files as the system allows it to ask for: the usual soft
/// limit (1024) is fewer than the streams of one level.
pub fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    // Where it is refused the old limit stays, and levels are held to that.
    let _ = setrlimit(Resource::Nofile, rustix::process::Rlimit { current: limit.maximum, ..limit });
}

/// Connections that this process may have at one time.
pub(super) fn connections() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX).saturating_sub(OTHER_FILES).max(1)
}

/// Refuses a level with more requests under way than this process may have connections.
pub(super) fn must_hold(under_way: u32) -> Result<(), LoadError> {
    let (wanted, most) = (u64::from(under_way), connections());
    if wanted <= most { Ok(()) } else { Err(LoadError::Room { wanted, most }) }
}

/// What it means that no connection could be opened.
pub(super) fn class_of(error: &io::Error) -> FailureClass {
    let local = [Errno::MFILE, Errno::NFILE, Errno::ADDRNOTAVAIL, Errno::NOBUFS, Errno::NOMEM];
    let errno = error.raw_os_error();
    if local.iter().any(|local| Some(local.raw_os_error()) == errno) {
        FailureClass::NoRoom
    } else {
        FailureClass::Connect
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_machine_lacks_is_not_the_servers_fault() {
        let of = |errno: Errno| class_of(&io::Error::from_raw_os_error(errno.raw_os_error()));
        assert_eq!([Errno::MFILE, Errno::ADDRNOTAVAIL].map(of), [FailureClass::NoRoom; 2]);
        assert_eq!([Errno::CONNREFUSED, Errno::TIMEDOUT].map(of), [FailureClass::Connect; 2]);
        assert_eq!(class_of(&io::Error::other("certificate")), FailureClass::Connect);
    }

    #[test]
    fn a_level_that_needs_more_files_than_this_process_may_have_is_refused_with_both_numbers() {
        let most = connections();
        assert!(must_hold(1).is_ok());
        let Ok(too_many) = u32::try_from(most.saturating_add(1)) else { return };
        assert_eq!(
            must_hold(too_many).unwrap_err().to_string(),
            format!(
                "{too_many} requests under way need a connection each, and this machine lets the generator have {most}"
            )
        );
    }
}
