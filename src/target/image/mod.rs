//! An image of this program, made without Docker.
//!
//! | file | purpose |
//! | --- | --- |
//! | `elf` | whether a file is a static program, and for which processors |
//! | `archive` | the image: one layer, its configuration, manifest and index, as an OCI archive |

mod archive;
mod elf;

pub use archive::{Blob, Image};
pub use elf::{Architecture, NotStatic, Program};
