//! From a choice of pictures to files.

use std::path::{Path, PathBuf};

use super::custom::{self, CustomPlot};
use super::input::{Missing, PlotInput};
use super::paint;
use super::scene::Scene;
use super::table::PLOTS;
use crate::base::{FileError, write_atomic};

/// A picture that is wanted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Picture<'a> {
    /// A row of [`PLOTS`], by its id.
    BuiltIn(&'a str),
    /// One that the plan describes.
    Custom(&'a CustomPlot),
}

impl<'a> Picture<'a> {
    /// All built-in ones, in the table's order.
    pub fn all() -> Vec<Picture<'static>> {
        PLOTS.iter().map(|row| Picture::BuiltIn(row.id)).collect()
    }

    /// Its id.
    pub fn id(&self) -> &'a str {
        match self {
            Self::BuiltIn(id) => id,
            Self::Custom(plot) => &plot.id,
        }
    }
}

/// A picture as bytes.
pub struct Rendered {
    /// PNG, 1600 pixels wide.
    pub png: Vec<u8>,
    /// SVG, without an XML declaration, so that it can stand inside HTML.
    pub svg: String,
}

/// What became of a picture.
#[derive(Debug)]
pub enum Drawn {
    /// It is in these files.
    Files {
        /// The picture's id.
        id: String,
        /// PNG and SVG.
        files: [PathBuf; 2],
    },
    /// The data do not allow it. For one that was asked for by name this is an error, else a note.
    LeftOut {
        /// The picture's id.
        id: String,
        /// Why.
        why: Missing,
    },
}

/// Draws one picture in memory.
///
/// # Errors
/// When the data do not allow it.
pub fn render(input: &PlotInput<'_>, picture: Picture<'_>) -> Result<Rendered, Missing> {
    let scene = scene(input, picture)?;
    Ok(Rendered { png: paint::png(&scene), svg: paint::svg(&scene) })
}

/// The picture as data.
pub(super) fn scene(input: &PlotInput<'_>, picture: Picture<'_>) -> Result<Scene, Missing> {
    match picture {
        Picture::BuiltIn(id) => {
            let row = PLOTS.iter().find(|row| row.id == id).ok_or_else(|| Missing::Plot { id: id.to_owned() })?;
            (row.draw)(input)
        }
        Picture::Custom(plot) => custom::draw(input, plot),
    }
}

/// Draws one picture into `dir`, as `<id with underscores>.png` and `.svg`; files of that name are replaced whole.
///
/// # Errors
/// When a file cannot be written.
pub fn draw(input: &PlotInput<'_>, picture: Picture<'_>, dir: &Path) -> Result<Drawn, FileError> {
    let id = picture.id().to_owned();
    let rendered = match render(input, picture) {
        Ok(rendered) => rendered,
        Err(why) => return Ok(Drawn::LeftOut { id, why }),
    };
    let stem = id.replace('-', "_");
    let files = ["png", "svg"].map(|extension| dir.join(format!("{stem}.{extension}")));
    write_atomic(&files[0], &rendered.png)?;
    write_atomic(&files[1], rendered.svg.as_bytes())?;
    Ok(Drawn::Files { id, files })
}

/// Draws all of `pictures` into `dir`, which exists.
///
/// # Errors
/// When a file cannot be written.
pub fn draw_all(input: &PlotInput<'_>, pictures: &[Picture<'_>], dir: &Path) -> Result<Vec<Drawn>, FileError> {
    pictures.iter().map(|picture| draw(input, *picture, dir)).collect()
}
