//! A stand-in for the Dynamo operator, against a real cluster: it answers admission and conversion, makes real objects from
//! DynamoGraphDeployments, and writes their status in the steps in which the real one was seen to. Real pods decide what is
//! ready. Knobs make it behave as the real one did at its worst.
//!
//! | file | purpose |
//! | --- | --- |
//! | `running` | its life; started with [`Operator::start`] |
//! | `shared` | CRDs of one age, used by several; none |
//! | `installed` | CRDs and webhooks: put there, and taken away |
//! | `admission`, `review` | requests over HTTPS; what it says to them |
//! | `conversion` | v1alpha1 and v1beta1, each from the other |
//! | `work` | the loop: what it does with a graph, step by step |
//! | `made`, `pods` | what it makes of a graph: names, labels, owners; probes, environment, volumes |
//! | `told` | the statuses that it writes |
//! | `faithful` | its objects, compared with those of the real operator |
//! | `events` | the events, noise included |
//! | `knobs` | how it misbehaves, and which operator it is: one that stores v1beta1, or an older one with v1alpha1 only |
//!
//! It leaves out: restarts by `spec.restart`, pull secrets found by themselves, the parts of an older operator that differ
//! in more than the version of its objects. Of several nodes a component it says what the real one says without Grove
//! and LeaderWorkerSet: failed.

mod admission;
mod conversion;
mod events;
mod faithful;
mod installed;
mod knobs;
mod made;
mod pods;
mod review;
mod running;
mod shared;
mod told;
mod work;

pub(crate) use conversion::convert;
pub(crate) use knobs::{Admission, Age, Knobs};
pub(crate) use running::Operator;
pub(crate) use shared::absent;
