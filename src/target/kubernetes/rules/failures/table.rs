//! The signs, in the order in which they explain each other: a cause stands before its effects.

use super::super::super::seen::Failure;
use super::super::look::Look;
use super::super::pod::Pod;
use super::{config, create, ended, evicted, graph, image, mount, schedule, storage};

/// Where a sign is looked for.
enum Sign {
    /// Once, in everything that was seen.
    Whole(fn(&mut Look<'_>) -> Option<Failure>),
    /// In every pod that is not ending and not of an older revision.
    Pod(fn(&mut Look<'_>, Pod<'_>) -> Option<Failure>),
}

const SIGNS: &[Sign] = &[
    Sign::Whole(graph::failed),
    Sign::Whole(graph::operator_away),
    Sign::Whole(graph::component_refused),
    Sign::Whole(create::refused),
    Sign::Whole(storage::not_provisioned),
    Sign::Pod(image::not_pulled),
    Sign::Pod(config::not_created),
    Sign::Pod(ended::cannot_start),
    Sign::Pod(ended::out_of_memory),
    Sign::Pod(ended::again_and_again),
    Sign::Pod(schedule::no_node),
    Sign::Pod(mount::not_mounted),
    Sign::Whole(evicted::again),
];

/// The first failure in the order of the table. All signs are looked at, so that every one keeps its time.
pub(in super::super) fn first(look: &mut Look<'_>) -> Option<Failure> {
    let pods: Vec<_> = look.pods().filter(|pod| !pod.ending() && pod.current(look)).collect();
    let mut found = None;
    for sign in SIGNS {
        match sign {
            Sign::Whole(find) => {
                let failure = find(look);
                found = found.or(failure);
            }
            Sign::Pod(find) => {
                for pod in &pods {
                    let failure = find(look, *pod);
                    found = found.or(failure);
                }
            }
        }
    }
    found
}
