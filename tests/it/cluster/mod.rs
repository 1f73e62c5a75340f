//! Against a real cluster. Ignored in the ordinary suite: `cargo test cluster -- --ignored` with `KUBECONFIG`, and with the
//! variables that each file names. Every test has a namespace of its own and leaves the cluster as it found it.

mod cache;
mod cleanup;
mod early;
mod inload;
mod locks;
mod preflight;
mod rights;
mod room;
mod traps;
mod whole;
