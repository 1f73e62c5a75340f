//! The image: this program as the only file, the same bytes for the same program.
//!
//! The archive is an OCI image layout in a tar file, with the one file more that older `docker load` looks for.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use super::elf::{Architecture, Program};
use crate::base::Digest;

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// The user of its processes: nobody that any node knows.
const USER: &str = "65532:65532";

/// One part of an image, known by its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// What it is.
    pub media_type: &'static str,
    /// Its SHA-256.
    pub digest: Digest,
    /// All of it.
    pub bytes: Vec<u8>,
}

impl Blob {
    fn new(media_type: &'static str, bytes: Vec<u8>) -> Self {
        Self { media_type, digest: Digest::of(&bytes), bytes }
    }

    /// `sha256:...`
    pub fn name(&self) -> String {
        format!("sha256:{}", self.digest)
    }

    fn descriptor(&self) -> Value {
        json!({"mediaType": self.media_type, "digest": self.name(), "size": self.bytes.len()})
    }
}

/// An image of one program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// What it is for.
    pub architecture: Architecture,
    /// The one layer.
    pub layer: Blob,
    /// How it is started.
    pub config: Blob,
    /// What names both.
    pub manifest: Blob,
}

impl Image {
    /// An image whose entry point is the program.
    ///
    /// # Errors
    /// Never in practice: all is written to memory.
    pub fn of(program: &Program) -> io::Result<Self> {
        let files = files(&program.bytes)?;
        let unpacked = Digest::of(&files);
        let mut packed = GzEncoder::new(Vec::new(), Compression::default());
        packed.write_all(&files)?;
        let layer = Blob::new(LAYER, packed.finish()?);
        let config = json!({
            "architecture": program.architecture.as_str(),
            "os": "linux",
            "config": {"Entrypoint": ["/dynbench"], "User": USER, "WorkingDir": "/", "Env": ["PATH=/"]},
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{unpacked}")]},
            "history": [{"created_by": concat!("dynbench image ", env!("CARGO_PKG_VERSION"))}],
        });
        let config = Blob::new(CONFIG, serde_json::to_vec(&config)?);
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config.descriptor(),
            "layers": [layer.descriptor()],
        });
        let manifest = Blob::new(MANIFEST, serde_json::to_vec(&manifest)?);
        Ok(Self { architecture: program.architecture, layer, config, manifest })
    }

    /// Writes it as an archive that container runtimes import under `name`, such as `registry/dynbench:1.0`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, name: &str, to: &mut dyn Write) -> io::Result<()> {
        let tag = name.rsplit_once(':').map_or("latest", |(_, tag)| tag);
        let mut manifest = self.manifest.descriptor();
        manifest["platform"] = json!({"architecture": self.architecture.as_str(), "os": "linux"});
        manifest["annotations"] = json!({"org.opencontainers.image.ref.name": tag, "io.containerd.image.name": name});
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [manifest]});
        let blob = |blob: &Blob| format!("blobs/sha256/{}", blob.digest);
        let docker = json!([{"Config": blob(&self.config), "RepoTags": [name], "Layers": [blob(&self.layer)]}]);
        let mut archive = tar::Builder::new(to);
        add(&mut archive, "oci-layout", 0o644, &serde_json::to_vec(&json!({"imageLayoutVersion": "1.0.0"}))?)?;
        add(&mut archive, "index.json", 0o644, &serde_json::to_vec(&index)?)?;
        add(&mut archive, "manifest.json", 0o644, &serde_json::to_vec(&docker)?)?;
        for part in [&self.config, &self.layer, &self.manifest] {
            add(&mut archive, &blob(part), 0o644, &part.bytes)?;
        }
        archive.finish()
    }
}

/// The layer before it is packed.
fn files(program: &[u8]) -> io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    add(&mut archive, "dynbench", 0o755, program)?;
    archive.into_inner()
}

/// One file of nobody, of no time: only its bytes decide the digest.
fn add<W: Write>(archive: &mut tar::Builder<W>, name: &str, mode: u32, bytes: &[u8]) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(mode);
    header.set_mtime(0);
    archive.append_data(&mut header, name, bytes)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read;
    use std::path::PathBuf;

    use flate2::read::GzDecoder;

    use super::super::elf::tests::program;
    use super::*;

    fn image() -> (Vec<u8>, Image) {
        let bytes = program(183, &[], b"the program");
        let program = Program { path: PathBuf::from("p"), bytes: bytes.clone(), architecture: Architecture::Arm64 };
        (bytes, Image::of(&program).unwrap())
    }

    fn unpacked(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        for entry in tar::Archive::new(archive).entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().display().to_string();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            files.insert(name, bytes);
        }
        files
    }

    /// Follows the archive as a container runtime does: index, manifest, configuration, layer, each by its digest.
    #[test]
    fn an_archive_leads_from_its_index_to_the_program_by_digests_that_hold() {
        let (program, image) = image();
        let mut archive = Vec::new();
        image.write("r.io/dynbench:1.0", &mut archive).unwrap();
        let files = unpacked(&archive);
        let json = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
        let blob = |descriptor: &Value| {
            let name = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
            let bytes = &files[&format!("blobs/sha256/{name}")];
            assert_eq!(Digest::of(bytes).as_str(), name);
            assert_eq!(descriptor["size"], bytes.len());
            bytes.clone()
        };
        assert_eq!(json(&files["oci-layout"])["imageLayoutVersion"], "1.0.0");
        let index = json(&files["index.json"]);
        let manifest = &index["manifests"][0];
        assert_eq!(manifest["annotations"]["io.containerd.image.name"], "r.io/dynbench:1.0");
        assert_eq!(manifest["annotations"]["org.opencontainers.image.ref.name"], "1.0");
        let manifest = json(&blob(manifest));
        let config = json(&blob(&manifest["config"]));
        assert_eq!((&config["architecture"], &config["os"]), (&json!("arm64"), &json!("linux")));
        assert_eq!(config["config"]["Entrypoint"], json!(["/dynbench"]));
        let mut layer = Vec::new();
        GzDecoder::new(&blob(&manifest["layers"][0])[..]).read_to_end(&mut layer).unwrap();
        assert_eq!(config["rootfs"]["diff_ids"][0], format!("sha256:{}", Digest::of(&layer)));
        assert_eq!(unpacked(&layer), BTreeMap::from([("dynbench".to_owned(), program)]));
        let docker = json(&files["manifest.json"]);
        assert!(files.contains_key(docker[0]["Config"].as_str().unwrap()));
    }

    #[test]
    fn the_same_program_is_the_same_image() {
        assert_eq!(image(), image());
    }
}
