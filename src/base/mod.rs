//! What everything else stands on: identity, time, digests, files that name their path in every error, and
//! diagnostics that point at the text a user wrote.

mod clock;
mod diagnostic;
mod digest;
pub mod fact;
mod files;
mod names;
mod secret;
mod source;
mod units;

pub use clock::{Clock, ManualClock, SystemClock, Timestamp};
pub use diagnostic::{Diagnostic, Excerpt, Problems, Severity};
pub use digest::{Digest, canonical_json, digest_file, digest_json};
pub use files::{
    FileError, append_line, create_dir, create_new_dir, is_storage_full, link_latest, list_dir, publish_dir,
    read_limited, read_text, remove_dir, rename, sync_dir, sync_tree, write_atomic, write_atomic_with,
};
pub use names::{Name, NameError, nearest, slug, some_of};
pub use secret::{WrittenSecret, is_reference, is_secret_name, secrets_in};
pub use source::{Source, SourceId, SourceMap, Span, Spanned};
pub use units::{Millis, format_duration, format_quantity, parse_duration};
