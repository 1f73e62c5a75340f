//! Image references, read as container runtimes read them.

use std::fmt;

/// The registry of references that name none.
const DOCKER_HUB: &str = "docker.io";

/// `registry/repository:tag` or `registry/repository@digest`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) struct ImageRef {
    /// Host, and port if there is one; `docker.io` when the text names none.
    pub(in super::super) registry: String,
    /// Path within the registry.
    pub(in super::super) repository: String,
    /// Tag or digest.
    pub(in super::super) reference: String,
}

impl ImageRef {
    /// Reads a reference; `None`: it is none.
    pub(in super::super) fn parse(text: &str) -> Option<Self> {
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (text, None),
        };
        let (first, rest) = name.split_once('/').unwrap_or(("", name));
        let is_host = first.contains(['.', ':']) || first == "localhost";
        let (registry, path) = if is_host { (first, rest) } else { (DOCKER_HUB, name) };
        // A colon after the last slash starts a tag: the registry's port is gone already.
        let (path, tag) = match path.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (path, tag),
            Some(_) | None => (path, "latest"),
        };
        let repository = match (registry, path.contains('/')) {
            (DOCKER_HUB, false) => format!("library/{path}"),
            _ => path.to_owned(),
        };
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "/._-".contains(c);
        let good = !path.is_empty() && repository.chars().all(fits) && !tag.is_empty();
        good.then(|| Self { registry: registry.to_owned(), repository, reference: digest.unwrap_or(tag).to_owned() })
    }

    /// Host that answers for the registry.
    pub(super) fn host(&self) -> &str {
        if self.registry == DOCKER_HUB { "registry-1.docker.io" } else { &self.registry }
    }

    /// Whether it names its contents and not only a tag.
    fn is_digest(&self) -> bool {
        self.reference.contains(':')
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.is_digest() { '@' } else { ':' };
        write!(f, "{}/{}{mark}{}", self.registry, self.repository, self.reference)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_taken_apart_as_runtimes_do_it() {
        for (text, whole) in [
            ("python", "docker.io/library/python:latest"),
            ("vllm/vllm-openai:v0.11.0", "docker.io/vllm/vllm-openai:v0.11.0"),
            ("nvcr.io/nvidia/ai-dynamo/vllm-runtime:1.6.1", "nvcr.io/nvidia/ai-dynamo/vllm-runtime:1.6.1"),
            ("localhost/a", "localhost/a:latest"),
            ("10.0.0.1:5000/a/b", "10.0.0.1:5000/a/b:latest"),
            ("r.io/a:1@sha256:00ff", "r.io/a@sha256:00ff"),
        ] {
            assert_eq!(ImageRef::parse(text).unwrap().to_string(), whole, "{text}");
        }
        for text in ["", "r.io/", "r.io/UPPER:1", "a b", "a:"] {
            assert_eq!(ImageRef::parse(text), None, "{text}");
        }
        assert_eq!(ImageRef::parse("python").unwrap().host(), "registry-1.docker.io");
    }
}
