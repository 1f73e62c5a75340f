//! Container registries, asked with the user's own logins.
//!
//! | file | purpose |
//! | --- | --- |
//! | `reference` | `host:5000/team/image:tag` taken apart: pure |
//! | `login` | logins, as docker and podman keep them, or as a pull secret holds them |
//! | `client` | requests to one repository, with the log-in that the registry asks for |
//! | `push` | an image put there |
//! | `manifest` | whether an image is there, and for which architectures |

mod client;
mod login;
mod manifest;
mod push;
mod reference;

pub(super) use client::{RegistryError, Repository};
pub(super) use login::{Login, login_in, login_of};
pub(super) use manifest::platforms;
pub use push::push_image;
pub(super) use reference::ImageRef;
