//! `[target.model-cache]`: a volume with the model, filled by a Job before anything is deployed, and kept.
//!
//! | file | purpose |
//! | --- | --- |
//! | `job` | the claim and the Job, as objects: pure |
//! | `fill` | makes them, waits, says why it failed |
//!
//! The mark that it is full is the Job itself, succeeded: its name holds a digest of what it downloads and of the claim's
//! uid. So a run that finds it uses the volume again, two runs at once wait for the same Job, and a volume that was made
//! anew is filled anew. Neither carries a run's label: no clean-up of a run touches them.

mod fill;
mod job;

pub(super) use fill::fill;
