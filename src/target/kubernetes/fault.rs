//! What the API server (or the way to it) answered, as an error that a person can act on.
//!
//! The text decides, not the code alone: a user's fault can come as HTTP 500, when a conversion webhook or the typed
//! patch refuses it, and then trying again helps nobody.

use kube::core::Status;

use super::super::contract::TargetError;

/// Where something was tried: every message names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Context of the kubeconfig, or `in-cluster`.
    pub(super) context: String,
    /// The namespace.
    pub(super) namespace: String,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "context {}, namespace {}", self.context, self.namespace)
    }
}

impl Place {
    /// The error, with this place in its message unless it is there already.
    pub(super) fn named_in(&self, error: TargetError) -> TargetError {
        let place = self.to_string();
        if error.message.contains(&place) {
            return error;
        }
        TargetError { message: format!("{} ({place})", error.message), ..error }
    }
}

/// An error of the kube crate while `doing` something.
pub(super) fn translate(place: &Place, doing: &str, error: &kube::Error) -> TargetError {
    match error {
        kube::Error::Api(status) => refused(place, doing, status),
        kube::Error::Auth(error) => TargetError {
            help: Some("log in again, as for kubectl, then run `dynbench apply --resume`".to_owned()),
            ..TargetError::new(format!("{doing} ({place}): no credentials for the API server: {}", chain(error)))
        },
        other => TargetError::passing(format!("{doing} ({place}): the API server cannot be reached: {}", chain(other))),
    }
}

/// An answer of the API server other than success.
fn refused(place: &Place, doing: &str, status: &Status) -> TargetError {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let details = causes.map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
    let help = match status.code {
        401 => Some("the token has expired or was revoked: log in again, as for kubectl, and resume"),
        403 => Some("`dynbench rbac plan.toml` prints the Role that this plan needs"),
        _ => None,
    };
    TargetError {
        message: format!("{doing} ({place}): {}", status.message),
        details,
        help: help.map(str::to_owned),
        passing: is_passing(status),
        key: None,
    }
}

/// Whether the same request may do another time.
pub(super) fn is_passing(status: &Status) -> bool {
    let users_fault = ["strict decoding error", "typed patch object", "json: cannot unmarshal", "is forbidden"];
    match status.code {
        429 | 502 | 503 | 504 => true,
        500 => !users_fault.iter().any(|text| status.message.contains(text)),
        _ => false,
    }
}

/// An error with all its causes, in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Many wrappers print their cause already.
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: u16, message: &str) -> Status {
        Status { code, message: message.to_owned(), ..Status::default() }
    }

    #[test]
    fn a_users_fault_that_comes_as_500_is_not_tried_again() {
        assert!(is_passing(&status(500, "failed calling webhook \"x\": connection refused")));
        assert!(is_passing(&status(503, "the server is currently unable to handle the request")));
        assert!(!is_passing(&status(500, "failed to create typed patch object: field not declared in schema")));
        assert!(!is_passing(&status(500, "conversion webhook for x failed: json: cannot unmarshal number into y")));
        assert!(!is_passing(&status(422, "is invalid")));
    }

    #[test]
    fn a_place_is_named_once() {
        let place = Place { context: "lab".to_owned(), namespace: "bench".to_owned() };
        let told = place.named_in(TargetError { help: Some("h".to_owned()), ..TargetError::passing("pod x is gone") });
        assert_eq!(told.message, "pod x is gone (context lab, namespace bench)");
        assert!(told.passing && told.help.is_some());
        assert_eq!(place.named_in(told.clone()), told);
    }

    #[test]
    fn every_message_says_where_and_what_was_tried() {
        let place = Place { context: "lab".to_owned(), namespace: "bench".to_owned() };
        let error = refused(&place, "reading pods", &status(403, "pods is forbidden: User \"x\" cannot list"));
        assert_eq!(
            error.message,
            "reading pods (context lab, namespace bench): pods is forbidden: User \"x\" cannot list"
        );
        assert!(error.help.is_some_and(|help| help.contains("dynbench rbac")));
    }
}
