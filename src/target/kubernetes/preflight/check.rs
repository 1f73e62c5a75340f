//! What a check is, and how the findings of all of them become one answer.

use super::super::super::contract::{BoxFuture, Live, NOT_CHECKED, TargetError};
use super::super::fault::Place;
use super::scene::Scene;
use super::table::CHECKS;

/// One check.
pub(super) struct Check {
    /// A word for it.
    pub(super) name: &'static str,
    /// Looks. Changes nothing.
    pub(super) run: for<'a> fn(&'a Scene<'a>) -> Looking<'a>,
}

/// A check at its work.
pub(super) type Looking<'a> = BoxFuture<'a, Result<Vec<Finding>, TargetError>>;

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Finding {
    /// As it should be, in words.
    Fine(String),
    /// Could not be looked at: what, and why.
    Unknown(String, String),
    /// Would fail later.
    Problem(TargetError),
}

impl Finding {
    /// A problem and what to do about it.
    pub(super) fn problem(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Problem(TargetError { help: Some(help.into()), ..TargetError::new(message) })
    }

    /// The same, with the plan's value that is to blame.
    pub(super) fn at(self, key: &str) -> Self {
        match self {
            Self::Problem(error) => Self::Problem(TargetError { key: Some(key.to_owned()), ..error }),
            other @ (Self::Fine(_) | Self::Unknown(..)) => other,
        }
    }

    /// Something that only cluster-wide rights show.
    pub(super) fn no_access(what: impl Into<String>) -> Self {
        Self::Unknown(what.into(), "no access".to_owned())
    }
}

/// Runs all checks of a deployment: a line for each thing looked at.
///
/// # Errors
/// All problems together.
pub(in super::super) async fn preflight(live: Live<'_>) -> Result<Vec<String>, TargetError> {
    let scene = Scene::look(live).await?;
    let mut findings = Vec::new();
    for check in CHECKS {
        match (check.run)(&scene).await {
            Ok(found) => findings.extend(found),
            // Whatever else is wrong cannot be said while nobody answers.
            Err(error) if error.passing => return Err(error),
            Err(error) => findings
                .push(Finding::Problem(TargetError { message: format!("{}: {}", check.name, error.message), ..error })),
        }
    }
    sum_up(&scene.cluster.place, live.deployment.name.as_str(), findings)
}

/// One answer out of many.
fn sum_up(place: &Place, deployment: &str, findings: Vec<Finding>) -> Result<Vec<String>, TargetError> {
    let mut lines = vec![format!("{place}")];
    let mut problems = Vec::new();
    for finding in findings {
        match finding {
            Finding::Fine(line) => lines.push(line),
            Finding::Unknown(what, why) => lines.push(format!("{what}{NOT_CHECKED}{why}")),
            Finding::Problem(error) => problems.push(error),
        }
    }
    let count = problems.len();
    let mut problems = problems.into_iter();
    match (problems.next(), count) {
        (None, _) => Ok(lines),
        (Some(only), 1) => Err(place.named_in(only)),
        (Some(first), _) => {
            let key = first.key.clone();
            let mut details = Vec::new();
            for error in std::iter::once(first).chain(problems) {
                details.push(error.message);
                details.extend(error.details.into_iter().map(|detail| format!("  {detail}")));
                details.extend(error.help.map(|help| format!("  help: {help}")));
            }
            let message = format!("{count} things stand in the way of {deployment} ({place})");
            Err(TargetError { details, key, ..TargetError::new(message) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place { context: "lab".to_owned(), namespace: "bench".to_owned() }
    }

    #[test]
    fn what_could_not_be_looked_at_is_said_and_is_no_problem() {
        let findings = vec![Finding::Fine("Kubernetes v1.34.4".to_owned()), Finding::no_access("nodes")];
        let lines = sum_up(&place(), "agg", findings).unwrap();
        assert_eq!(lines, ["context lab, namespace bench", "Kubernetes v1.34.4", "nodes: not checked: no access"]);
    }

    #[test]
    fn all_problems_are_reported_together_and_each_says_what_to_do() {
        let one = || Finding::problem("Secret a is not there", "make it").at("vars");
        let error = sum_up(&place(), "agg", vec![one()]).unwrap_err();
        assert_eq!(error.message, "Secret a is not there (context lab, namespace bench)");
        assert_eq!(error.help.as_deref(), Some("make it"));
        let error = sum_up(&place(), "agg", vec![one(), Finding::problem("no GPUs", "add some")]).unwrap_err();
        assert_eq!(error.message, "2 things stand in the way of agg (context lab, namespace bench)");
        assert_eq!(error.details, ["Secret a is not there", "  help: make it", "no GPUs", "  help: add some"]);
        assert_eq!(error.key.as_deref(), Some("vars"));
    }
}
