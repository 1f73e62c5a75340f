//! Against a real cluster. Ignored in the ordinary suite; `.ci/run cluster` brings a cluster up and runs them with
//! `KUBECONFIG`, `DYNBENCH_STATIC` (this program, static: load Jobs carry it) and `DYNBENCH_SHARED` (the folder with the
//! cluster's tool, its examples and the CRDs).
//!
//! Every test has a namespace of its own and leaves the cluster as it found it. Those that need Dynamo's CRDs, or need them
//! not to be there, wait for one another. What would disturb its neighbours all the same (a stopped API server, a drained
//! node) is named `disturbs_...`, and is run after the others, one at a time.

mod again;
mod cache;
mod cleanup;
mod crds;
mod devices;
mod early;
mod existing;
mod faults;
mod gpus;
mod inload;
mod kills;
mod load;
mod locks;
mod manifests;
mod midst;
mod preflight;
mod rights;
mod room;
mod templates;
mod traps;
mod whole;
