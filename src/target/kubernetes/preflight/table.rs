//! The checks, in the order of their lines.

use super::check::Check;
use super::{
    access, admission, dry_run, exporter, images, kinds, load, namespace, neighbours, nodes, quota, references,
    secrets, storage, version,
};

/// All checks.
pub(super) static CHECKS: &[Check] = &[
    Check { name: "version", run: |scene| Box::pin(version::check(scene)) },
    Check { name: "namespace", run: |scene| Box::pin(namespace::check(scene)) },
    Check { name: "kinds", run: |scene| Box::pin(kinds::check(scene)) },
    Check { name: "admission", run: |scene| Box::pin(admission::check(scene)) },
    Check { name: "neighbours", run: |scene| Box::pin(neighbours::check(scene)) },
    Check { name: "access", run: |scene| Box::pin(access::check(scene)) },
    Check { name: "quota", run: |scene| Box::pin(quota::check(scene)) },
    Check { name: "nodes", run: |scene| Box::pin(nodes::check(scene)) },
    Check { name: "DCGM exporter", run: |scene| Box::pin(exporter::check(scene)) },
    Check { name: "load", run: |scene| Box::pin(load::check(scene)) },
    Check { name: "secrets", run: |scene| Box::pin(secrets::check(scene)) },
    Check { name: "references", run: |scene| Box::pin(references::check(scene)) },
    Check { name: "storage", run: |scene| Box::pin(storage::check(scene)) },
    Check { name: "images", run: |scene| Box::pin(images::check(scene)) },
    Check { name: "dry run", run: |scene| Box::pin(dry_run::check(scene)) },
];
