//! `dynbench simulate`: the embedded engine alone.

use std::error::Error as _;
use std::fs::OpenOptions;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use super::error::AppError;
use crate::base::{FileError, read_limited};
use crate::sim::{SimConfig, SimError, serve};

/// Largest file of parameters that is read.
const MAX_CONFIG: u64 = 1 << 20;

/// What to be, and where.
#[derive(Debug, Clone)]
pub struct SimulateOptions {
    /// `aggregated`, `disaggregated` or `vanilla`; a file of parameters goes before it.
    pub engine: Option<String>,
    /// The model's id; a file of parameters goes before it.
    pub model: Option<String>,
    /// A JSON file of parameters.
    pub config: Option<PathBuf>,
    /// `KEY=VALUE`, which go before all.
    pub sets: Vec<String>,
    /// Where what really happened is written.
    pub truth: Option<PathBuf>,
}

/// The engine's parameters from file and command line.
///
/// # Errors
/// When a key is unknown, or a value is none that an engine can have.
pub fn simulate_config(options: &SimulateOptions) -> Result<SimConfig, AppError> {
    let mut values = Map::new();
    let given = [("engine", &options.engine), ("model", &options.model)];
    values.extend(given.into_iter().filter_map(|(key, value)| Some((key.to_owned(), Value::from(value.clone()?)))));
    if let Some(path) = &options.config {
        let bytes = read_limited(path, MAX_CONFIG).map_err(|error| AppError::Usage {
            message: error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}")),
            help: Some("name the file of parameters with --config".to_owned()),
        })?;
        let file: Map<String, Value> = serde_json::from_slice(&bytes)
            .map_err(|error| AppError::usage(format!("{} is no JSON object: {error}", path.display())))?;
        values.extend(file);
    }
    for set in &options.sets {
        let (key, value) = set.split_once('=').ok_or_else(|| AppError::usage(format!("`{set}` is no KEY=VALUE")))?;
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
        match key.split_once('.') {
            None => drop(values.insert(key.to_owned(), value)),
            Some((table, key)) => {
                let table = values.entry(table).or_insert_with(|| Value::Object(Map::new()));
                if let Some(table) = table.as_object_mut() {
                    table.insert(key.to_owned(), value);
                }
            }
        }
    }
    let config: SimConfig = serde_json::from_value(Value::Object(values))
        .map_err(|error| AppError::usage(format!("the engine does not take this: {error}")))?;
    match config.problems() {
        problems if problems.is_empty() => Ok(config),
        problems => Err(SimError::Config { problems }.into()),
    }
}

/// Makes sure that the log of the truth can be kept there: said before anybody is told that the engine serves.
///
/// # Errors
/// When the file cannot be made or written.
pub fn writable(path: &Path) -> Result<(), AppError> {
    let opened = OpenOptions::new().create(true).append(true).open(path);
    opened.map(drop).map_err(|source| FileError::new("write", path, source).into())
}

/// Listens at an address; port 0 takes a free one.
///
/// # Errors
/// When the port is taken.
pub fn listen(host: IpAddr, port: u16) -> Result<TcpListener, AppError> {
    let address = SocketAddr::new(host, port);
    TcpListener::bind(address).map_err(|source| AppError::System { action: format!("listen at {address}"), source })
}

/// Serves until cancelled.
///
/// # Errors
/// When the parameters are unfit, or the log of the truth cannot be written.
pub async fn simulate(
    config: SimConfig,
    listener: TcpListener,
    truth: Option<PathBuf>,
    shutdown: CancellationToken,
) -> Result<(), AppError> {
    Ok(serve(config, listener, truth, shutdown).await?)
}
