//! What a plan says of commands, with and without its placeholders filled in.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::base::{Diagnostic, Problems, is_secret_name, secrets_in, slug};
use crate::plan::{Deployment, Key, Plan, Shape};
use crate::render::{TemplateError, expand, template_name, template_vars};
use crate::target::served_model;

/// Where the model answers unless the plan says otherwise.
pub(super) const DEFAULT_URL: &str = "http://127.0.0.1:{{ port }}";

/// Keys of one command.
const COMMAND: &[Key] = &[
    Key {
        name: "command",
        about: "Program and arguments, without a shell. Placeholders: {{ port }}, {{ ports.NAME }}, {{ dir }}, {{ model }}, {{ vars.NAME }}.",
        shape: Shape::List { of: &Shape::Text, min: 1, unique: false },
        default: None,
        required: true,
    },
    Key {
        name: "name",
        about: "Names its log and its messages; by default the program's name.",
        shape: Shape::Name,
        default: None,
        required: false,
    },
    Key {
        name: "env",
        about: "Environment variables beside those of dynbench itself. Secrets belong into `env-from`.",
        shape: Shape::Map(&Shape::OneOf(&[Shape::Text, Shape::Number { min: f64::MIN, max: f64::MAX }, Shape::Bool])),
        default: None,
        required: false,
    },
    Key {
        name: "env-from",
        about: "Environment variables whose values are taken from variables of dynbench's own environment, by name.",
        shape: Shape::Map(&Shape::Text),
        default: None,
        required: false,
    },
    Key {
        name: "dir",
        about: "Working directory; by default the plan's folder.",
        shape: Shape::Text,
        default: None,
        required: false,
    },
    Key {
        name: "ports",
        about: "Names of further free ports, `{{ ports.NAME }}`, known to all commands of the deployment.",
        shape: Shape::List { of: &Shape::Name, min: 0, unique: true },
        default: None,
        required: false,
    },
];

/// Keys of a deployment.
pub(super) const KEYS: &[Key] = &[
    Key {
        name: "commands",
        about: "What is started, in this order.",
        shape: Shape::List { of: &Shape::Table(COMMAND), min: 1, unique: false },
        default: None,
        required: true,
    },
    Key {
        name: "url",
        about: "Base URL at which the model answers, with placeholders.",
        shape: Shape::Text,
        default: Some("\"http://127.0.0.1:{{ port }}\""),
        required: false,
    },
    Key {
        name: "metrics-urls",
        about: "Base URLs whose `/metrics` tell the servers' own view, with placeholders; by default `url`.",
        shape: Shape::List { of: &Shape::Text, min: 0, unique: true },
        default: None,
        required: false,
    },
    Key {
        name: "vars",
        about: "Values for placeholders `{{ vars.NAME }}`.",
        shape: Shape::Map(&Shape::Any),
        default: None,
        required: false,
    },
];

/// The keys as they are decoded.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Raw {
    commands: Vec<RawCommand>,
    #[serde(default)]
    url: Option<String>,
    #[serde(default)]
    metrics_urls: Vec<String>,
    #[serde(default)]
    vars: Map<String, Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RawCommand {
    command: Vec<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    env: Map<String, Value>,
    #[serde(default)]
    env_from: BTreeMap<String, String>,
    #[serde(default)]
    dir: Option<String>,
    #[serde(default)]
    ports: Vec<String>,
}

impl RawCommand {
    fn name(&self) -> String {
        let from_program = || {
            let program = Path::new(self.command.first()?).file_name()?;
            Some(slug(&program.to_string_lossy())).filter(|name| !name.is_empty())
        };
        self.name.clone().or_else(from_program).unwrap_or_else(|| "command".to_owned())
    }
}

/// What the runner gives at each start.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::target) struct Given {
    /// `{{ port }}`
    pub(in crate::target) port: Value,
    /// `{{ ports.NAME }}`, by the names of the plan.
    pub(in crate::target) ports: BTreeMap<String, Value>,
    /// `{{ dir }}`
    pub(in crate::target) dir: Value,
}

impl Given {
    /// Stand-ins for the fingerprint and for checks: the same for every start.
    pub(super) fn stand_ins(raw: &Raw) -> Self {
        let ports = raw.port_names().map(|name| (name.to_owned(), json!(format!("<port {name}>")))).collect();
        Self { port: json!("<port>"), ports, dir: json!("<dir>") }
    }
}

/// A deployment with all placeholders filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::target) struct Resolved {
    pub(in crate::target) commands: Vec<Command>,
    /// Files to write into the empty folder before the start, by name.
    pub(in crate::target) files: BTreeMap<String, String>,
    pub(in crate::target) url: String,
    pub(in crate::target) metrics_urls: Vec<String>,
}

/// One command with all placeholders filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::target) struct Command {
    pub(in crate::target) name: String,
    /// Program and arguments.
    pub(in crate::target) argv: Vec<String>,
    pub(in crate::target) env: BTreeMap<String, String>,
    /// Variable of the command -> variable of ours.
    pub(in crate::target) env_from: BTreeMap<String, String>,
    /// Working directory.
    pub(in crate::target) dir: PathBuf,
    /// Its path in the plan's deployment, for errors.
    pub(in crate::target) key: String,
}

/// A placeholder that cannot be filled in, and the path of the value that holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unfilled {
    pub(super) key: String,
    pub(super) error: TemplateError,
}

impl Raw {
    pub(super) fn read(deployment: &Deployment) -> Result<Self, serde_json::Error> {
        deployment.values.decode()
    }

    /// The commands' names.
    pub(super) fn names(&self) -> Vec<String> {
        self.commands.iter().map(RawCommand::name).collect()
    }

    /// All names of further ports.
    pub(super) fn port_names(&self) -> impl Iterator<Item = &str> {
        self.commands.iter().flat_map(|command| command.ports.iter().map(String::as_str))
    }

    /// Fills in every placeholder; all that cannot be filled in are told together.
    pub(super) fn resolve(
        &self,
        plan: &Plan,
        deployment: &Deployment,
        given: &Given,
    ) -> Result<Resolved, Vec<Unfilled>> {
        let ports: Map<_, _> = given.ports.iter().map(|(name, port)| (template_name(name), port.clone())).collect();
        let context = json!({
            "port": given.port,
            "ports": ports,
            "dir": given.dir,
            "model": served_model(plan, deployment),
            // Names that meet are told by the check.
            "vars": template_vars(&self.vars).unwrap_or_default(),
        });
        let mut unfilled = Vec::new();
        let mut fill = |key: String, text: &str| {
            expand(text, &context).unwrap_or_else(|error| {
                unfilled.push(Unfilled { key, error });
                String::new()
            })
        };
        let mut commands = Vec::new();
        for (number, raw) in self.commands.iter().enumerate() {
            let key = format!("commands.{number}");
            let argument = |(at, text): (usize, &String)| fill(format!("{key}.command.{at}"), text);
            let argv = raw.command.iter().enumerate().map(argument).collect();
            let variable = |(name, value): (&String, &Value)| {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                (name.clone(), fill(format!("{key}.env.{name}"), &text))
            };
            let env = raw.env.iter().map(variable).collect();
            let dir = raw.dir.as_deref().map(|dir| fill(format!("{key}.dir"), dir));
            let dir = dir.map_or_else(|| plan.dir.clone(), |dir| plan.dir.join(dir));
            commands.push(Command { name: raw.name(), argv, env, env_from: raw.env_from.clone(), dir, key });
        }
        let url = fill("url".to_owned(), self.url.as_deref().unwrap_or(DEFAULT_URL));
        let numbered = self.metrics_urls.iter().enumerate();
        let mut metrics_urls: Vec<_> = numbered.map(|(at, text)| fill(format!("metrics-urls.{at}"), text)).collect();
        if metrics_urls.is_empty() {
            metrics_urls.push(url.clone());
        }
        if unfilled.is_empty() {
            Ok(Resolved { commands, files: BTreeMap::new(), url, metrics_urls })
        } else {
            Err(unfilled)
        }
    }

    /// Whatever single keys cannot show.
    pub(super) fn check(&self, plan: &Plan, deployment: &Deployment, problems: &mut Problems) {
        let at = |key: &str| deployment.values.span(key).or(deployment.span.as_ref()).cloned();
        if let Err(error) = template_vars(&self.vars) {
            problems.push(Diagnostic::error(error.to_string()).at(at(&format!("vars.{}", error.second))));
        }
        let mut ports: BTreeMap<String, &str> = BTreeMap::new();
        let mut names = BTreeMap::new();
        for (number, command) in self.commands.iter().enumerate() {
            let key = format!("commands.{number}");
            if let (Some(name), Some(first)) = (&command.name, names.insert(command.name(), number)) {
                let message = format!("two commands are named `{name}`, numbers {} and {}", first + 1, number + 1);
                problems.push(Diagnostic::error(message).at(at(&format!("{key}.name"))));
            }
            for (place, port) in command.ports.iter().enumerate() {
                if let Some(first) = ports.insert(template_name(port), port) {
                    let message = if first == port {
                        format!("the port `{port}` is named twice")
                    } else {
                        format!("the ports `{first}` and `{port}` are one to a placeholder")
                    };
                    let help = "every command may use all ports: name each of them once";
                    problems.push(Diagnostic::error(message).at(at(&format!("{key}.ports.{place}"))).help(help));
                }
            }
            for (name, value) in &command.env {
                let place = at(&format!("{key}.env.{name}"));
                if command.env_from.contains_key(name) {
                    problems.push(Diagnostic::error(format!("`{name}` stands in `env` and in `env-from`")).at(place));
                } else if name == super::procfs::MARKER {
                    let message = format!("`{name}` is how dynbench knows its processes");
                    problems.push(Diagnostic::error(message).at(place));
                } else if is_secret_name(name) && value.as_str() != Some("") {
                    problems.push(literal_secret(name).at(place));
                }
            }
            let line: Vec<&str> = command.command.iter().map(String::as_str).collect();
            for secret in secrets_in(&line) {
                let message = format!("the value of `{}` looks like a secret written into the plan", secret.name);
                let help = "give it in an environment variable through `env-from`";
                let place = at(&format!("{key}.command.{}", secret.argument));
                problems.push(Diagnostic::error(message).at(place).help(help));
            }
        }
        match self.resolve(plan, deployment, &Given::stand_ins(self)) {
            Ok(resolved) => {
                let told = |command: &Command| {
                    let mut texts = command.argv.iter().chain(command.env.values());
                    texts.any(|text| text.contains("<port>"))
                };
                if resolved.url.contains("<port>") && !resolved.commands.iter().any(told) {
                    let message = "no command is told the port at which the model is expected";
                    let help = "put `{{ port }}` where the server takes its port, or say in `url` where it listens";
                    problems.push(Diagnostic::warning(message).at(at("commands")).help(help));
                }
            }
            Err(all) => {
                for Unfilled { key, error } in all {
                    let mut diagnostic = Diagnostic::error(error.message).at(at(&key)).label("in this value");
                    diagnostic.help = error.help;
                    problems.push(diagnostic);
                }
            }
        }
    }
}

fn literal_secret(name: &str) -> Diagnostic {
    Diagnostic::error(format!("the value of `{name}` looks like a secret written into the plan"))
        .label("plans are checked in, and this would be")
        .help(format!("set it in dynbench's own environment and write `env-from = {{ {name} = \"{name}\" }}`"))
}
