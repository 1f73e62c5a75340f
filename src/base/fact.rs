//! Names of facts about a deployment that is ready, as far as more than one floor knows them: a target finds them out, each
//! point keeps them, and reports show them.

/// Uid of the cluster.
pub const CLUSTER: &str = "cluster";
/// Product of the GPUs that the deployment's pods hold.
pub const GPU_PRODUCT: &str = "gpu-product";
/// The GPUs that the deployment's pods hold are not as many as the plan counts.
pub const GPUS_DIFFER: &str = "gpus-differ";
/// Pages of metrics that the user named and that cannot be read, each with why.
pub const METRICS_UNREAD: &str = "metrics-unread";
/// Whether a deployment with prefill and decode workers was seen to use both: a sentence that begins with `proven` or
/// [`NOT_PROVEN`].
pub const DISAGGREGATED: &str = "disaggregated";
/// How that fact begins when it could not be seen.
pub const NOT_PROVEN: &str = "not proven";
