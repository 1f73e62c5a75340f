//! Templates and manifests become canonical Kubernetes objects; placeholders in values of the plan are filled in.
//!
//! Pure: the same plan and the same texts give the same objects. What is done with them is the business of `target`.

mod builtin;
mod canonical;
#[cfg(test)]
mod corpus;
mod documents;
mod engine;
mod environment;
#[cfg(test)]
pub(crate) mod fixtures;
mod gpus;
mod graph;
mod inputs;
mod objects;
mod overrides;
mod refused;
mod scalar;
#[cfg(test)]
mod tests;
mod text;
mod vars;
mod write;
mod yaml;

pub use builtin::{EMBEDDED, TEMPLATES, Template, Variable, template};
pub use engine::engine_arguments;
pub use environment::TemplateError;
pub use gpus::{GpuCount, count_gpus, gpus};
pub use graph::{GRAPH, GraphVersion, LATE_FIELDS, in_version, is_graph, without_fields};
pub use inputs::Inputs;
pub use objects::{Rendered, object_name, render};
pub use overrides::{fitting_pattern, image_for};
pub use text::expand;
pub use vars::{VarsMeet, template_name, template_vars};
pub use write::write_yaml;
pub use yaml::{Document, YamlError, read_yaml};
