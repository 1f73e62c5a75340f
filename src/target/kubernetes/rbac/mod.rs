//! What a plan needs to be allowed, as data: preflight asks the cluster for it, `dynbench rbac` prints it as a Role.
//!
//! | file | purpose |
//! | --- | --- |
//! | `needs` | the list, from a plan's objects and settings: pure |
//! | `print` | the Role, and apart the optional ClusterRole, as YAML |

mod needs;
mod print;

pub(super) use needs::{Right, Rules, for_cluster, for_deployment, for_reaper, rules_json};
pub use print::rbac;
