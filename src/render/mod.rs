//! Templates and manifests become Kubernetes objects.

mod environment;
mod scalar;
mod text;
mod vars;
mod write;
mod yaml;

pub use environment::TemplateError;
pub use text::expand;
pub use vars::{VarsMeet, template_name, template_vars};
pub use write::write_yaml;
pub use yaml::{Document, YamlError, read_yaml};
