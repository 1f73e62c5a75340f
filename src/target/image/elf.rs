//! Whether a file is a program that runs in an image of its own: static, for Linux, and for which processors.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::base::{FileError, read_limited};

/// Largest program that is read.
const MOST_BYTES: u64 = 1 << 30;
/// Processor families that Kubernetes nodes with GPUs have, with their numbers in an ELF header.
const MACHINES: &[(u16, Architecture)] = &[(62, Architecture::Amd64), (183, Architecture::Arm64)];
/// Kind of the program header that names a dynamic loader.
const PT_INTERP: u32 = 3;

/// A family of processors, as images name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// x86-64
    Amd64,
    /// AArch64, such as Grace
    Arm64,
}

impl Architecture {
    /// `amd64` or `arm64`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Architecture {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "amd64" | "x86_64" => Ok(Self::Amd64),
            "arm64" | "aarch64" => Ok(Self::Arm64),
            _ => Err(format!("`{text}` is neither amd64 nor arm64")),
        }
    }
}

/// Why a file cannot run in an image of its own.
#[derive(Debug, thiserror::Error)]
pub enum NotStatic {
    /// It cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is no program for Linux.
    #[error("{} is no Linux program (ELF, 64 bits)", path.display())]
    NotElf {
        /// The file.
        path: PathBuf,
    },
    /// It is for processors that no image is made for.
    #[error("{} is for a processor of number {machine}, which is neither amd64 nor arm64", path.display())]
    Machine {
        /// The file.
        path: PathBuf,
        /// The number in its header.
        machine: u16,
    },
    /// It needs a dynamic loader.
    #[error("{} is not static: it needs {interpreter}", path.display())]
    Dynamic {
        /// The file.
        path: PathBuf,
        /// The loader.
        interpreter: String,
    },
    /// It is for other processors than asked.
    #[error("{} is for {found}, not for {wanted}", path.display())]
    Other {
        /// The file.
        path: PathBuf,
        /// What it is for.
        found: Architecture,
        /// What was asked.
        wanted: Architecture,
    },
}

impl NotStatic {
    /// What to do.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Dynamic { .. } => Some(
                "build it with RUSTFLAGS=\"-C target-feature=+crt-static\" cargo build --release --target \
                 x86_64-unknown-linux-gnu, or name a static one with `--binary` (in a plan: `load.binary`)"
                    .to_owned(),
            ),
            Self::NotElf { .. } | Self::Other { .. } | Self::Machine { .. } => Some(
                "name a static dynbench for the nodes' Linux with `--binary` (in a plan: `load.binary`)".to_owned(),
            ),
            Self::File(_) => None,
        }
    }
}

/// A static program.
#[derive(Debug, Clone)]
pub struct Program {
    /// Where it was read.
    pub path: PathBuf,
    /// All of it.
    pub bytes: Vec<u8>,
    /// What it is for.
    pub architecture: Architecture,
}

impl Program {
    /// Reads and checks one.
    ///
    /// # Errors
    /// When it is not static, or nothing that nodes run.
    pub fn read(path: &Path) -> Result<Self, NotStatic> {
        let bytes = read_limited(path, MOST_BYTES)?;
        let architecture = inspect(&bytes, path)?;
        Ok(Self { path: path.to_owned(), bytes, architecture })
    }

    /// Refuses other processors than these.
    ///
    /// # Errors
    /// When it is for others.
    pub fn expect(&self, wanted: Architecture) -> Result<(), NotStatic> {
        if self.architecture == wanted {
            return Ok(());
        }
        Err(NotStatic::Other { path: self.path.clone(), found: self.architecture, wanted })
    }
}

fn inspect(bytes: &[u8], path: &Path) -> Result<Architecture, NotStatic> {
    let path = || path.to_owned();
    // Magic, 64 bits, little-endian: all of them that nodes are.
    if !bytes.starts_with(b"\x7fELF\x02\x01") {
        return Err(NotStatic::NotElf { path: path() });
    }
    let torn = || NotStatic::NotElf { path: path() };
    let machine = u16::from_le_bytes(field(bytes, 18).ok_or_else(torn)?);
    let known = MACHINES.iter().find(|(number, _)| *number == machine);
    let (_, architecture) = known.ok_or_else(|| NotStatic::Machine { path: path(), machine })?;
    let table = u64::from_le_bytes(field(bytes, 32).ok_or_else(torn)?);
    let size = u64::from(u16::from_le_bytes(field(bytes, 54).ok_or_else(torn)?));
    let count = u64::from(u16::from_le_bytes(field(bytes, 56).ok_or_else(torn)?));
    for number in 0..count {
        let at = usize::try_from(table.saturating_add(number * size)).map_err(|_| torn())?;
        if u32::from_le_bytes(field(bytes, at).ok_or_else(torn)?) != PT_INTERP {
            continue;
        }
        let number = |offset| field(bytes, at + offset).map(u64::from_le_bytes).and_then(|n| usize::try_from(n).ok());
        let (from, length) = (number(8).ok_or_else(torn)?, number(32).ok_or_else(torn)?);
        let name = bytes.get(from..from.saturating_add(length)).unwrap_or_default();
        let interpreter = String::from_utf8_lossy(name).trim_end_matches('\0').to_owned();
        return Err(NotStatic::Dynamic { path: path(), interpreter });
    }
    Ok(*architecture)
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The head of a program, with the program headers given as kind, offset and length of what they name.
    pub(in crate::target::image) fn program(machine: u16, headers: &[(u32, u64, u64)], rest: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x7fELF\x02\x01".to_vec();
        bytes.resize(64, 0);
        bytes[18..20].copy_from_slice(&machine.to_le_bytes());
        bytes[32..40].copy_from_slice(&64_u64.to_le_bytes());
        bytes[54..56].copy_from_slice(&56_u16.to_le_bytes());
        bytes[56..58].copy_from_slice(&u16::try_from(headers.len()).unwrap().to_le_bytes());
        for (kind, offset, length) in headers {
            let mut header = vec![0; 56];
            header[..4].copy_from_slice(&kind.to_le_bytes());
            header[8..16].copy_from_slice(&offset.to_le_bytes());
            header[32..40].copy_from_slice(&length.to_le_bytes());
            bytes.extend(header);
        }
        bytes.extend_from_slice(rest);
        bytes
    }

    #[test]
    fn a_static_program_is_known_with_its_processors() {
        let at = Path::new("p");
        assert_eq!(inspect(&program(62, &[(1, 0, 0)], b""), at).unwrap(), Architecture::Amd64);
        assert_eq!(inspect(&program(183, &[], b""), at).unwrap(), Architecture::Arm64);
    }

    #[test]
    fn a_dynamic_program_is_refused_with_its_loader() {
        let loader = b"/lib64/ld-linux-x86-64.so.2\0";
        let bytes = program(62, &[(1, 0, 0), (3, 64 + 112, loader.len() as u64)], loader);
        let error = inspect(&bytes, Path::new("p")).unwrap_err();
        assert_eq!(error.to_string(), "p is not static: it needs /lib64/ld-linux-x86-64.so.2");
        assert!(error.help().unwrap().contains("crt-static"));
    }

    #[test]
    fn what_is_no_program_is_refused_wherever_it_ends() {
        let whole = program(62, &[(1, 0, 0), (3, 400, 9)], b"");
        for cut in 0..whole.len() {
            // A torn file is refused or, cut behind its headers, has a loader of no name; never a panic.
            assert!(inspect(&whole[..cut], Path::new("p")).is_err());
        }
        assert!(matches!(inspect(&program(3, &[], b""), Path::new("p")), Err(NotStatic::Machine { machine: 3, .. })));
        assert!(matches!(inspect(b"#!/bin/sh", Path::new("p")), Err(NotStatic::NotElf { .. })));
    }

    #[test]
    fn architectures_have_the_names_of_images_and_of_compilers() {
        for (text, found) in [("amd64", Architecture::Amd64), ("aarch64", Architecture::Arm64)] {
            assert_eq!(text.parse::<Architecture>().unwrap(), found);
        }
        assert!("riscv".parse::<Architecture>().unwrap_err().contains("neither"));
    }
}
