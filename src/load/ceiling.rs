//! How much this generator can read on this machine: measured against a loopback server, once per machine.
//!
//! What is measured is events per second of CPU time of one thread, so that it does not matter that the loopback server wants
//! cores too. The figure is kept in the user's cache folder by processor, number of cores and build; where that cannot be
//! written it is measured again by every process. It takes less than half a second and is never done while a level runs.
//!
//! It is asked for only after a level whose threads were busy ([`BUSY`]): a generator that idled most of the time was at no
//! ceiling, whatever this is, and must not pay for knowing it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Map;
use tokio_util::sync::CancellationToken;

use super::closed::run_closed;
use super::endpoint::{Endpoint, EndpointSpec};
use super::error::LoadError;
use super::lengths::Lengths;
use super::level::LevelSpec;
use super::loopback::{EVENTS, Loopback};
use super::prompt::{Asker, Prompts};
use super::request::{Api, Capabilities, RequestShape};
use super::ruler::Ruler;
use crate::base::{read_text, write_atomic};
use crate::measure::GeneratorHealth;

/// How long it is measured.
const SPAN: Duration = Duration::from_millis(300);
/// Streams at a time: enough to keep one thread busy.
const STREAMS: u32 = 16;
/// More than a thread gets through in that time, and soon made.
const REQUESTS: u64 = 4000;
/// Share of its time that the busiest thread must have computed for the ceiling to matter: at the ceiling it is all of it.
const BUSY: f64 = 0.5;
/// Version of the file. 1: the first.
const FILE_VERSION: u32 = 1;

/// What is kept: events per CPU second and thread, by machine and build.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    version: u32,
    events_per_cpu_second: BTreeMap<String, f64>,
}

/// SSE events that one thread of the generator reads per second of CPU time on this machine: from the cache, or measured now.
///
/// # Errors
/// When the loopback device cannot be used.
pub async fn ceiling(cache: Option<&Path>) -> Result<f64, LoadError> {
    let file = cache.map(|dir| dir.join("ceiling.json"));
    let key = machine();
    let mut kept = file
        .as_deref()
        .and_then(read)
        .unwrap_or(Kept { version: FILE_VERSION, events_per_cpu_second: BTreeMap::new() });
    if let Some(known) = kept.events_per_cpu_second.get(&key) {
        return Ok(*known);
    }
    let found = measure().await?;
    kept.events_per_cpu_second.insert(key, found);
    if let Some(file) = file {
        keep(&file, &kept);
    }
    Ok(found)
}

/// What a level's threads could have read per second together, kept in the user's cache folder; `None` when they were far
/// from it, or when it cannot be measured, which makes a level no less valid.
pub async fn ceiling_of(health: &GeneratorHealth) -> Option<f64> {
    ceiling_in(cache_dir().as_deref(), health).await
}

async fn ceiling_in(cache: Option<&Path>, health: &GeneratorHealth) -> Option<f64> {
    if health.cpu_share < BUSY {
        return None;
    }
    ceiling(cache).await.ok().map(|of_one| of_one * f64::from(health.threads))
}

/// The folder for such figures: `$XDG_CACHE_HOME/dynbench`, else `~/.cache/dynbench`; `None` when there is no home.
fn cache_dir() -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")))?;
    base.is_absolute().then(|| base.join("dynbench"))
}

/// A file that is damaged or newer is as good as none: its figure is measured again.
fn read(file: &Path) -> Option<Kept> {
    let kept: Kept = serde_json::from_str(&read_text(file).ok()?).ok()?;
    (kept.version == FILE_VERSION).then_some(kept)
}

fn keep(file: &Path, kept: &Kept) {
    let text = serde_json::to_vec_pretty(kept).expect("numbers by text become JSON");
    let written = file.parent().map(crate::base::create_dir).transpose().and_then(|_| write_atomic(file, &text));
    // A folder that cannot be written costs the next process a third of a second, and nothing else.
    let _ = written;
}

/// Processor, cores and build.
fn machine() -> String {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let model = model.map_or(std::env::consts::ARCH, |(_, model)| model.trim());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let build = if cfg!(debug_assertions) { "debug" } else { "release" };
    format!("{model}, {cores} cores, {} {build}", env!("CARGO_PKG_VERSION"))
}

async fn measure() -> Result<f64, LoadError> {
    let server = Loopback::start().map_err(LoadError::Thread)?;
    let endpoint =
        Endpoint::new(&EndpointSpec { url: format!("http://{}", server.address), ..EndpointSpec::default() })?;
    let prompts = Prompts {
        asker: Asker { seed: 0, nonce: String::new(), level: "ceiling".to_owned(), repeat: 1, attempt: 1 },
        lengths: Lengths { isl: 8, isl_std: 0.0, osl: EVENTS, osl_std: 0.0 },
        content: crate::measure::Content::default(),
        turn_overhead: None,
        ruler: Arc::new(Ruler::Words),
        shape: RequestShape { api: Api::Chat, model: "loopback".to_owned(), temperature: None, extra: Map::new() },
        capabilities: Capabilities::default(),
    };
    let spec = LevelSpec { fill: false, threads: Some(1), ..LevelSpec::new(STREAMS, REQUESTS, SPAN) };
    let run = run_closed(&spec, &endpoint, Arc::new(prompts), &CancellationToken::new(), Arc::default()).await?;
    Ok(run.health.events_per_s / run.health.cpu_share.max(1e-3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_ceiling_is_measured_once_and_then_read() {
        let dir = tempfile::tempdir().unwrap();
        let cache = dir.path().join("cache/dynbench");
        let measured = ceiling(Some(&cache)).await.unwrap();
        assert!(measured > 1000.0, "{measured}");
        let file = cache.join("ceiling.json");
        let text = read_text(&file).unwrap();
        assert_eq!(read(&file).unwrap().events_per_cpu_second[&machine()], measured);
        // What stands in the file is believed, and not measured again.
        write_atomic(&file, text.replace(&measured.to_string(), "123456.0").as_bytes()).unwrap();
        assert_eq!(ceiling(Some(&cache)).await.unwrap(), 123_456.0);
    }

    #[tokio::test]
    async fn a_level_that_idled_asks_for_no_ceiling() {
        let dir = tempfile::tempdir().unwrap();
        let health = |cpu_share| GeneratorHealth { cpu_share, threads: 2, ..GeneratorHealth::default() };
        assert_eq!(ceiling_in(Some(dir.path()), &health(0.4)).await, None);
        assert!(!dir.path().join("ceiling.json").exists(), "nothing was measured");
        let known = Kept { version: FILE_VERSION, events_per_cpu_second: BTreeMap::from([(machine(), 1000.0)]) };
        keep(&dir.path().join("ceiling.json"), &known);
        assert_eq!(ceiling_in(Some(dir.path()), &health(0.6)).await, Some(2000.0));
    }

    #[tokio::test]
    async fn a_damaged_or_newer_file_is_measured_over() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["{", r#"{"version": 9, "events_per_cpu_second": {}}"#] {
            write_atomic(&dir.path().join("ceiling.json"), text.as_bytes()).unwrap();
            assert!(ceiling(Some(dir.path())).await.unwrap() > 1000.0);
            assert!(read(&dir.path().join("ceiling.json")).is_some());
        }
    }
}
