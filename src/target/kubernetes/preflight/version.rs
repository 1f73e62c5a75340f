//! The API server answers, and is new enough.

use super::super::super::contract::TargetError;
use super::check::Finding;
use super::scene::Scene;

/// The first minor version whose server refuses unknown fields (`fieldValidation=Strict` is on by default since then).
const OLDEST: u32 = 27;

pub(super) async fn check(scene: &Scene<'_>) -> Result<Vec<Finding>, TargetError> {
    let version = scene.cluster.call("asking for its version", scene.cluster.client.apiserver_version()).await?;
    let text = format!("Kubernetes {}", version.git_version);
    Ok(vec![if is_old(&version.major, &version.minor) {
        Finding::problem(
            format!("{text} is too old: misspelt fields would be dropped in silence"),
            format!("dynbench needs Kubernetes 1.{OLDEST} or newer"),
        )
    } else {
        Finding::Fine(text)
    }])
}

/// Managed clusters write `28+`.
fn is_old(major: &str, minor: &str) -> bool {
    let number = |text: &str| text.trim_end_matches(|c: char| !c.is_ascii_digit()).parse::<u32>().ok();
    matches!((number(major), number(minor)), (Some(1), Some(minor)) if minor < OLDEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_managed_clusters_are_read_too() {
        assert!(is_old("1", "26"));
        assert!(is_old("1", "24+"));
        assert!(!is_old("1", "27+"));
        assert!(!is_old("1", "34"));
        assert!(!is_old("", ""));
    }
}
