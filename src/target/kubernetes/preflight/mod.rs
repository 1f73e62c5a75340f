//! What would fail later, found before anything is started and without changing anything.
//!
//! A check is one file and one line in [`table`]. Each says what it looked at, what it could not look at, and what stands
//! in the way; all problems of a deployment are reported together.
//!
//! | file | purpose |
//! | --- | --- |
//! | `check` | what a check is, and how their findings become one answer |
//! | `scene` | the deployment and its cluster, as the checks see them |
//! | `table` | the checks |
//! | `demand` | pods, and what they ask of nodes and quotas, counted from objects: pure |
//! | `difference` | how two objects differ, in lines: pure |

mod access;
mod admission;
mod check;
mod demand;
mod difference;
mod dry_run;
mod exporter;
mod images;
mod kinds;
mod load;
mod namespace;
mod neighbours;
mod nodes;
mod quota;
mod references;
mod scene;
mod secrets;
mod storage;
mod table;
mod version;

pub(super) use check::preflight;
pub use dry_run::{Outlook as ObjectOutlook, ServerView, server_view};
