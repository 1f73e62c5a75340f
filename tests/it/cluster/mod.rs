//! Against a real cluster: `KUBECONFIG=... cargo test --test it cluster -- --ignored`. Without `KUBECONFIG` each test says
//! that it was left out. Every test has a namespace of its own and leaves the cluster as it found it.

mod cache;
mod cleanup;
mod locks;
mod preflight;
mod rights;
mod room;
