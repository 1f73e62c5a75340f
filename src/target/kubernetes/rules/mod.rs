//! When a deployment is ready, and when it never will be. Pure: data of one look in, a judgement out.
//!
//! | file | purpose |
//! | --- | --- |
//! | `judge` | the layers, in order: what was applied is still there; status by kind; pods; signs of failure |
//! | `kinds/` | when a kind's own status says ready: a table, one file a kind |
//! | `asked` | the plan's own `ready` for custom resources |
//! | `pods` | what no status can be trusted for: the pods |
//! | `failures/` | signs that it never will be: a table, one file a sign |
//! | `evidence` | what the cluster said, as details of a failure |
//! | `view`, `pod` | reading live objects |
//! | `look`, `history` | what rules get; since when a sign has been there |
//!
//! Ready is what Kubernetes can know, and no more: whether the model is listed and answers is asked afterwards. No rule
//! compares the cluster's clock with ours: time is counted from when we first saw a sign.

mod asked;
mod evidence;
mod failures;
mod history;
mod judge;
mod kinds;
mod look;
mod pod;
mod pods;
#[cfg(test)]
mod tests;
mod view;

pub(super) use asked::Asked;
pub(super) use history::History;
pub(super) use judge::judge;
