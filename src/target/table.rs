//! The table of targets.

use super::contract::Target;
use super::endpoint::Existing;
use super::kubernetes::Kubernetes;
use super::process::Process;
use super::simulated::Simulated;

static PROCESS: Process = Process::new();
static ENDPOINT: Existing = Existing::new();
static SIMULATED: Simulated = Simulated::new();

/// Every way for a deployment to come to life.
pub static TARGETS: &[&dyn Target] = &[&Kubernetes, &PROCESS, &ENDPOINT, &SIMULATED];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::plan::{Shape, TargetKind};

    #[test]
    fn kinds_and_keys_are_named_once_and_rows_can_be_given_to_the_plan() {
        let kinds: Vec<&dyn TargetKind> = TARGETS.iter().map(|target| *target as &dyn TargetKind).collect();
        let names: BTreeSet<_> = kinds.iter().map(|kind| kind.kind()).collect();
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ["endpoint", "kubernetes", "process", "simulated"]);
        for kind in kinds {
            for keys in [kind.target_keys(), kind.deployment_keys()] {
                let names: BTreeSet<_> = keys.iter().map(|key| key.name).collect();
                assert_eq!(names.len(), keys.len(), "{}", kind.kind());
                for key in keys {
                    assert!(key.about.ends_with('.'), "{}", key.name);
                    if let Shape::Integer { min, max } = key.shape {
                        assert!(min < max, "{}", key.name);
                    }
                }
            }
        }
    }
}
