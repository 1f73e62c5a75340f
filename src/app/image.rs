//! `dynbench image`: an image of this program, without Docker.

use std::path::{Path, PathBuf};

use super::error::AppError;
use crate::base::{format_quantity, write_atomic_with};
use crate::target::{Architecture, Image, Machines, NOT_CHECKED, Program, machines, push_image};

/// What to make of which program.
#[derive(Debug, Clone)]
pub struct ImageOptions {
    /// The program; this one, if not given.
    pub binary: Option<PathBuf>,
    /// The processors that it must be for.
    pub architecture: Option<Architecture>,
    /// File to write.
    pub out: Option<PathBuf>,
    /// Name of the image in the file.
    pub name: String,
    /// Reference to push to.
    pub push: Option<String>,
    /// The registry speaks plain HTTP.
    pub insecure: bool,
}

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MadeImage {
    /// Lines for people.
    pub said: Vec<String>,
    /// What `load.image` is to be, if it was pushed: by digest.
    pub reference: Option<String>,
}

/// Makes the image, writes it and pushes it.
///
/// # Errors
/// When the program is not static or for other processors, the file cannot be written, or the registry refuses.
pub async fn image(options: &ImageOptions) -> Result<MadeImage, AppError> {
    if options.out.is_none() && options.push.is_none() {
        return Err(AppError::usage("say what to do with the image: `-o FILE.tar`, `--push REF`, or both"));
    }
    let own = || std::env::current_exe();
    let path = options.binary.clone().map_or_else(own, Ok);
    let path = path.map_err(|source| AppError::System { action: "find its own executable".to_owned(), source })?;
    let program = Program::read(&path)?;
    if let Some(wanted) = options.architecture {
        program.expect(wanted)?;
    }
    let mut made = MadeImage { said: Vec::new(), reference: None };
    if options.architecture.is_none() {
        made.said.push(suits(program.architecture, &machines().await));
    }
    let image =
        Image::of(&program).map_err(|source| AppError::System { action: "pack the image".to_owned(), source })?;
    let size = format_quantity(image.layer.bytes.len() as f64 / 1e6);
    if let Some(out) = &options.out {
        write(&image, &options.name, out)?;
        let (name, arch) = (&options.name, image.architecture);
        made.said.push(format!("{}: {name} for linux/{arch}, {size} MB", out.display()));
    }
    if let Some(reference) = &options.push {
        let pushed = push_image(&image, reference, options.insecure).await;
        let pushed = pushed.map_err(|error| AppError::Usage { message: error.message, help: error.help })?;
        made.said.push(format!("pushed {reference} for linux/{}, {size} MB", image.architecture));
        made.reference = Some(pushed);
    }
    Ok(made)
}

/// Whether the nodes of the current cluster run a program, in words. The image may be for another cluster: nothing fails.
fn suits(program: Architecture, nodes: &Result<Machines, String>) -> String {
    let Machines { context, architectures } = match nodes {
        Ok(nodes) => nodes,
        Err(why) => return format!("whether nodes run {program}{NOT_CHECKED}{why}"),
    };
    let all: Vec<_> = architectures.iter().map(|(architecture, count)| format!("{architecture} ({count})")).collect();
    let all = all.join(", ");
    match architectures.get(program.as_str()) {
        Some(_) if architectures.len() == 1 => format!("the nodes of {context} are {all}: they run it"),
        Some(_) => format!("the nodes of {context} are {all}: choose those that run {program} by `load.node-selector`"),
        None => format!(
            "careful: the program is for {program}, and the nodes of {context} are {all}; name another with `--binary`"
        ),
    }
}

fn write(image: &Image, name: &str, out: &Path) -> Result<(), AppError> {
    Ok(write_atomic_with(out, |to| image.write(name, to))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_no_node_runs_is_said_and_so_is_that_nobody_looked() {
        let nodes = |all: &[&str]| {
            let architectures = all.iter().map(|one| ((*one).to_owned(), 2)).collect();
            suits(Architecture::Amd64, &Ok(Machines { context: "lab".to_owned(), architectures }))
        };
        assert_eq!(nodes(&["amd64"]), "the nodes of lab are amd64 (2): they run it");
        assert!(nodes(&["amd64", "arm64"]).contains("`load.node-selector`"));
        assert!(nodes(&["arm64"]).starts_with("careful: the program is for amd64, and the nodes of lab are arm64 (2)"));
        let unknown = suits(Architecture::Amd64, &Err("no access to nodes of lab".to_owned()));
        assert_eq!(unknown, "whether nodes run amd64: not checked: no access to nodes of lab");
    }
}
