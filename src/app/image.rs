//! `dynbench image`: an image of this program, without Docker.

use std::path::{Path, PathBuf};

use super::error::AppError;
use crate::base::{format_quantity, write_atomic_with};
use crate::target::{Architecture, Image, Program, push_image};

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
    let image =
        Image::of(&program).map_err(|source| AppError::System { action: "pack the image".to_owned(), source })?;
    let size = format_quantity(image.layer.bytes.len() as f64 / 1e6);
    let mut made = MadeImage { said: Vec::new(), reference: None };
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

fn write(image: &Image, name: &str, out: &Path) -> Result<(), AppError> {
    Ok(write_atomic_with(out, |to| image.write(name, to))?)
}
