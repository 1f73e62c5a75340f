//! Logins to registries, where docker and podman keep them: in files and in credential helpers.
//!
//! They are read when they are needed and never kept: [`Login`] prints nothing of itself.

use std::env;
use std::fmt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;

/// A helper that asks a person something will not be answered.
const HELPER: Duration = Duration::from_secs(15);

/// The name under which docker keeps its own registry.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// Name and password for a registry.
#[derive(Clone, PartialEq, Eq)]
pub(in super::super) struct Login {
    /// The user; `<token>` when the secret is a refresh token.
    pub(super) user: String,
    pub(super) secret: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Login({})", self.user)
    }
}

/// The user's own login for a registry (`host:port`), if there is any.
///
/// # Errors
/// When a file or a helper holds something that cannot be understood: in words.
pub(in super::super) async fn login_of(registry: &str) -> Result<Option<Login>, String> {
    for path in files() {
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        let config: Value =
            serde_json::from_str(&text).map_err(|error| format!("{} is no JSON: {error}", path.display()))?;
        if let Some(helper) = helper_of(&config, registry) {
            if let Some(login) = ask_helper(&helper, registry).await? {
                return Ok(Some(login));
            }
        }
        if let Some(login) = login_in(&config, registry) {
            return Ok(Some(login));
        }
    }
    Ok(None)
}

/// Files with logins, the first that has one counts.
fn files() -> Vec<PathBuf> {
    let dir = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| !path.as_os_str().is_empty());
    let home = dir("HOME");
    let docker = dir("DOCKER_CONFIG").or_else(|| Some(home.as_ref()?.join(".docker")));
    let podman = dir("XDG_RUNTIME_DIR").map(|run| run.join("containers/auth.json"));
    let containers = home.map(|home| home.join(".config/containers/auth.json"));
    [dir("REGISTRY_AUTH_FILE"), docker.map(|docker| docker.join("config.json")), podman, containers]
        .into_iter()
        .flatten()
        .collect()
}

/// The login for a registry in a document of docker's form: `config.json`, or a pull secret's `.dockerconfigjson`.
pub(in super::super) fn login_in(config: &Value, registry: &str) -> Option<Login> {
    let auths = config.get("auths")?.as_object()?;
    let entry = auths.iter().find(|(name, _)| names(name, registry)).map(|(_, entry)| entry)?;
    let text = |key: &str| entry.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    if let Some(token) = text("identitytoken") {
        return Some(Login { user: "<token>".to_owned(), secret: token.to_owned() });
    }
    if let (Some(user), Some(secret)) = (text("username"), text("password")) {
        return Some(Login { user: user.to_owned(), secret: secret.to_owned() });
    }
    let auth = text("auth")?.trim();
    let bytes = STANDARD.decode(auth).or_else(|_| STANDARD_NO_PAD.decode(auth)).ok()?;
    let plain = String::from_utf8(bytes).ok()?;
    let (user, secret) = plain.split_once(':')?;
    Some(Login { user: user.to_owned(), secret: secret.to_owned() })
}

/// Whether an entry's name means the registry: with or without scheme and path.
fn names(entry: &str, registry: &str) -> bool {
    let host = entry.split_once("://").map_or(entry, |(_, rest)| rest).split('/').next().unwrap_or_default();
    host == registry || (registry == "docker.io" && ["index.docker.io", "registry-1.docker.io"].contains(&host))
}

fn helper_of(config: &Value, registry: &str) -> Option<String> {
    let helpers = config.get("credHelpers").and_then(Value::as_object).into_iter().flatten();
    let own = helpers.into_iter().find(|(name, _)| names(name, registry)).and_then(|(_, helper)| helper.as_str());
    own.or_else(|| config.get("credsStore").and_then(Value::as_str)).map(str::to_owned)
}

/// `docker-credential-NAME get`, as docker calls it.
async fn ask_helper(helper: &str, registry: &str) -> Result<Option<Login>, String> {
    let program = format!("docker-credential-{helper}");
    let failed = |error: std::io::Error| format!("{program} cannot be asked: {error}");
    let mut command = tokio::process::Command::new(&program);
    command.arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn().map_err(failed)?;
    let server = if registry == "docker.io" { DOCKER_HUB } else { registry };
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(server.as_bytes()).await.map_err(failed)?;
    }
    let output = tokio::time::timeout(HELPER, child.wait_with_output())
        .await
        .map_err(|_| format!("{program} did not answer within {} s", HELPER.as_secs()))?
        .map_err(failed)?;
    if !output.status.success() {
        // That is how helpers say that they have none.
        return Ok(None);
    }
    // Never quoted in an error: it holds the secret.
    let answer: Value =
        serde_json::from_slice(&output.stdout).map_err(|_| format!("{program} answered something else than JSON"))?;
    let text = |key: &str| answer.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    Ok(Some(Login { user: text("Username"), secret: text("Secret") }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn logins_are_found_in_every_form_that_docker_writes() {
        let config = json!({"auths": {
            "https://index.docker.io/v1/": {"auth": "dTpw"},
            "r.io:5000": {"username": "me", "password": "p:w"},
            "https://quay.io/v2/": {"auth": "YTpiOmM="},
            "token.io": {"identitytoken": "t"},
        }});
        let login = |registry| login_in(&config, registry).map(|login| (login.user, login.secret));
        let of = |user: &str, secret: &str| Some((user.to_owned(), secret.to_owned()));
        assert_eq!(login("docker.io"), of("u", "p"));
        assert_eq!(login("r.io:5000"), of("me", "p:w"));
        assert_eq!(login("quay.io"), of("a", "b:c"));
        assert_eq!(login("token.io"), of("<token>", "t"));
        assert_eq!(login("r.io"), None);
    }

    #[test]
    fn a_login_never_prints_its_secret() {
        let login = Login { user: "u".to_owned(), secret: "hunter2".to_owned() };
        assert_eq!(format!("{login:?}"), "Login(u)");
    }

    #[test]
    fn a_registrys_own_helper_goes_before_the_general_one() {
        let config = json!({"credsStore": "desktop", "credHelpers": {"gcr.io": "gcloud"}});
        assert_eq!(helper_of(&config, "gcr.io").as_deref(), Some("gcloud"));
        assert_eq!(helper_of(&config, "nvcr.io").as_deref(), Some("desktop"));
    }
}
