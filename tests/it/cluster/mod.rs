//! Against a real cluster. Ignored in the ordinary suite: `cargo test cluster -- --ignored` with the variables that
//! each file names.

mod inload;
