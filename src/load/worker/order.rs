//! What can be ordered, and what comes of it. Data only: it goes over the wire as it stands here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::calibrate::{calibrate, template_overhead, tokenizer_error, turn_overhead};
use super::super::closed::WarmUp;
use super::super::endpoint::{Endpoint, EndpointSpec};
use super::super::error::LoadError;
use super::super::lengths::Lengths;
use super::super::level::{LevelRun, LevelSpec, Totals};
use super::super::metrics::CounterSnapshot;
use super::super::probe::canary;
use super::super::prompt::{Asker, Prompts};
use super::super::request::{Capabilities, RequestShape};
use super::super::ruler::{Calibration, LocalTokenizer, Ruler};
use super::super::series::SeriesSource;
use super::offset::ClockOffset;
use crate::base::{Digest, digest_file};
use crate::measure::{Content, ServerScrape};

/// One thing to do with a server under test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Order {
    /// Digest of everything that decides what the result means, the deployment's incarnation included.
    pub key: Digest,
    /// Which attempt asked for it: ids of requests carry it.
    pub attempt: u32,
    /// The server.
    pub endpoint: EndpointRef,
    /// What to do.
    pub work: Work,
}

/// A server whose secrets are named, not told: whoever does the order has them in its environment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct EndpointRef {
    /// Base URL.
    pub url: String,
    /// Headers by name, and the variables that hold their values.
    pub headers_env: BTreeMap<String, String>,
    /// The variable that holds the API key.
    pub api_key_env: Option<String>,
    /// Certificates to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Whose `/metrics` tell the server's own view; empty: that of `url`.
    pub metrics_pages: Vec<MetricsPage>,
}

/// Where a part of a server tells its own view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct MetricsPage {
    /// Base URL.
    pub url: String,
    /// `frontend`, `prefill`, `decode`, ..., if it is known.
    pub role: Option<String>,
    /// Of a page that tells of all GPUs of a node: the server's pods as `namespace/name`, with what each is a part of.
    #[serde(default)]
    pub gpus_of: BTreeMap<String, Option<String>>,
}

/// The part whose counters count each request once.
const FRONTEND: &str = "frontend";

impl EndpointRef {
    /// The endpoint, with secrets read from this process' environment.
    ///
    /// # Errors
    /// When a variable is not set, or the endpoint cannot be used.
    pub fn resolve(&self) -> Result<Endpoint, LoadError> {
        Endpoint::new(&self.spec()?)
    }

    /// Where the server's own counters are read that are compared with ours: at its frontend, where it is known which
    /// that is. Whatever stands behind it counts each request again.
    ///
    /// # Errors
    /// As [`Self::resolve`].
    pub fn metrics(&self) -> Result<Vec<Endpoint>, LoadError> {
        let mut sources = self.series()?;
        sources.retain(|source| source.gpus_of.is_empty());
        let is_frontend = |source: &SeriesSource| source.role.as_deref() == Some(FRONTEND);
        let known = sources.iter().any(is_frontend);
        Ok(sources.into_iter().filter(|source| !known || is_frontend(source)).map(|source| source.endpoint).collect())
    }

    /// Where the server's own view is read: the pages of all its parts.
    ///
    /// # Errors
    /// As [`Self::resolve`].
    pub fn series(&self) -> Result<Vec<SeriesSource>, LoadError> {
        let spec = self.spec()?;
        let only = [MetricsPage { url: self.url.clone(), role: None, gpus_of: BTreeMap::new() }];
        let pages = if self.metrics_pages.is_empty() { &only[..] } else { &self.metrics_pages };
        let source = |page: &MetricsPage| {
            // Whoever tells of a node's GPUs is no part of the server: its secrets are not shown there.
            let endpoint = if page.gpus_of.is_empty() {
                Endpoint::at(&spec, &page.url)?
            } else {
                Endpoint::at(&EndpointSpec::default(), &page.url)?
            };
            Ok(SeriesSource { endpoint, role: page.role.clone(), gpus_of: page.gpus_of.clone() })
        };
        pages.iter().map(source).collect()
    }

    fn spec(&self) -> Result<EndpointSpec, LoadError> {
        let value = |name: &String| std::env::var(name).map_err(|_| LoadError::Variable { name: name.clone() });
        let header = |(header, name): (&String, &String)| Ok((header.clone(), value(name)?));
        Ok(EndpointSpec {
            url: self.url.clone(),
            headers: self.headers_env.iter().map(header).collect::<Result<_, LoadError>>()?,
            api_key: self.api_key_env.as_ref().map(value).transpose()?,
            ca_file: self.ca_file.clone(),
        })
    }
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Work {
    /// Find out which fields the server takes and how it counts.
    Tune(TuneOrder),
    /// Send requests that nobody measures.
    WarmUp(LevelOrder),
    /// Measure one level.
    Level(LevelOrder),
    /// Read the server's counters.
    Count,
    /// Read the server's counters until they have grown by so much, or two seconds have passed.
    Settle {
        /// The counters before.
        before: CounterSnapshot,
        /// What was asked of the server since.
        totals: Totals,
    },
    /// Read the server's `/metrics` as they are.
    Scrape,
}

/// See [`Work::Tune`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TuneOrder {
    /// What requests are like.
    pub shape: RequestShape,
    /// A tokenizer, if there is one: then only the template's overhead is probed.
    pub tokenizer: Option<TokenizerFile>,
    /// Makes the probes' texts fresh.
    pub nonce: String,
    /// Limit of one question.
    pub limit: Duration,
    /// Whether requests will be turns of conversations: then what the template adds to each turn is probed as well.
    #[serde(default)]
    pub conversations: bool,
}

/// One level, or the warm-up before all of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LevelOrder {
    /// How much, how long. Its `spill` is the doer's own affair.
    pub spec: LevelSpec,
    /// What is asked.
    pub prompts: PromptsOrder,
    /// Whether raw responses are kept.
    pub keep_raw: bool,
    /// The server's counters before the level, where somebody has read them and will do so after it: the level is one of
    /// several parts. `None`: whoever does it reads both.
    pub before: Option<CounterSnapshot>,
    /// How often the server's own view is read meanwhile; `None`: not at all.
    pub series: Option<Duration>,
}

/// The requests of a level.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PromptsOrder {
    /// Who asks.
    pub asker: Asker,
    /// How long prompts and outputs are.
    pub lengths: Lengths,
    /// What they hold.
    #[serde(default)]
    pub content: Content,
    /// How prompt lengths are reached.
    pub ruler: RulerOrder,
    /// What every request has.
    pub shape: RequestShape,
    /// Which fields the server takes.
    pub capabilities: Capabilities,
    /// Tokens that the chat template adds for each earlier turn of a conversation, if they are known.
    #[serde(default)]
    pub turn_overhead: Option<f64>,
}

impl PromptsOrder {
    /// The requests themselves.
    ///
    /// # Errors
    /// When the tokenizer cannot be read.
    pub fn resolve(&self) -> Result<Arc<Prompts>, LoadError> {
        Ok(Arc::new(Prompts {
            asker: self.asker.clone(),
            lengths: self.lengths,
            content: self.content.clone(),
            ruler: Arc::new(self.ruler.resolve()?),
            shape: self.shape.clone(),
            capabilities: self.capabilities,
            turn_overhead: self.turn_overhead,
        }))
    }
}

/// How prompt lengths are reached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RulerOrder {
    /// By a tokenizer.
    Tokenizer {
        /// Which.
        file: TokenizerFile,
        /// Tokens that the chat template adds, if known.
        overhead: Option<f64>,
    },
    /// By the server's own counts.
    Calibrated(Calibration),
    /// A word is taken for a token.
    Words,
}

impl RulerOrder {
    /// `tokenizer`, `calibrated` or `words`, as records of points name it.
    pub fn method(&self) -> &'static str {
        match self {
            Self::Tokenizer { .. } => "tokenizer",
            Self::Calibrated(_) => "calibrated",
            Self::Words => "words",
        }
    }

    /// Tokens that the chat template adds to each prompt, if they are known.
    pub fn overhead(&self) -> Option<f64> {
        match self {
            Self::Tokenizer { overhead, .. } => *overhead,
            Self::Calibrated(calibration) => Some(calibration.overhead),
            Self::Words => None,
        }
    }

    /// As whoever makes prompts needs it.
    ///
    /// # Errors
    /// When the tokenizer's file cannot be read, or is none.
    pub fn resolve(&self) -> Result<Ruler, LoadError> {
        Ok(match self {
            Self::Tokenizer { file, overhead } => {
                Ruler::Tokenizer { tokenizer: Arc::new(file.open()?), overhead: *overhead }
            }
            Self::Calibrated(calibration) => Ruler::Calibrated(calibration.clone()),
            Self::Words => Ruler::Words,
        })
    }
}

/// A tokenizer's file: here by its path, elsewhere by its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenizerFile {
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// Where it lies in this process' file system.
    #[serde(skip)]
    pub path: PathBuf,
}

impl TokenizerFile {
    /// A `tokenizer.json`, or that of a folder.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn at(path: &Path) -> Result<Self, LoadError> {
        let path = if path.is_dir() { path.join("tokenizer.json") } else { path.to_owned() };
        let (digest, _) = digest_file(&path)?;
        Ok(Self { digest, path })
    }

    fn open(&self) -> Result<LocalTokenizer, LoadError> {
        LocalTokenizer::open(&self.path)
    }
}

impl Work {
    /// The files that it needs, to be found by their digests.
    pub(super) fn files(&mut self) -> Option<&mut TokenizerFile> {
        match self {
            Self::Tune(order) => order.tokenizer.as_mut(),
            Self::WarmUp(order) | Self::Level(order) => match &mut order.prompts.ruler {
                RulerOrder::Tokenizer { file, .. } => Some(file),
                RulerOrder::Calibrated(_) | RulerOrder::Words => None,
            },
            Self::Count | Self::Settle { .. } | Self::Scrape => None,
        }
    }
}

/// How prompts are made for one deployment: found out once per incarnation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tuning {
    /// Which fields the server takes.
    pub capabilities: Capabilities,
    /// The server's own count of words, when there is no local tokenizer.
    pub calibration: Option<Calibration>,
    /// Tokens that the chat template adds, probed beside a local tokenizer.
    pub overhead: Option<f64>,
    /// By which share the server counts more or fewer tokens than the local tokenizer, if it counts.
    #[serde(default)]
    pub tokenizer_error: Option<f64>,
    /// Tokens that it adds for each earlier turn of a conversation.
    #[serde(default)]
    pub turn_overhead: Option<f64>,
}

/// Difference of a tokenizer's counts that is always allowed: where words and template meet, tokens may join.
const LEAST_ALLOWED: f64 = 0.02;

impl Tuning {
    /// The way to make prompts of so many tokens; `tokenizer` is that of the order.
    pub fn ruler(&self, tokenizer: Option<TokenizerFile>) -> RulerOrder {
        match (tokenizer, &self.calibration) {
            (Some(file), _) => RulerOrder::Tokenizer { file, overhead: self.overhead },
            (None, Some(calibration)) => RulerOrder::Calibrated(calibration.clone()),
            (None, None) => RulerOrder::Words,
        }
    }

    /// That the tokenizer is another model's, in words; `tolerance` is the share by which lengths may be missed.
    pub fn other_tokenizer(&self, tolerance: f64) -> Option<String> {
        let error = self.tokenizer_error.filter(|error| error.abs() > tolerance.max(LEAST_ALLOWED))?;
        Some(format!(
            "the server counts {:.1} % {} prompt tokens than the tokenizer: it is another model's",
            100.0 * error.abs(),
            if error > 0.0 { "more" } else { "fewer" }
        ))
    }
}

/// What to do about it.
pub const OTHER_TOKENIZER_HELP: &str = "name the tokenizer.json of the model that is served, or leave the tokenizer out: \
                                        lengths are then those that the server counts";

impl TuneOrder {
    /// Asks the server.
    ///
    /// # Errors
    /// When a question is not answered.
    pub async fn ask(&self, endpoint: &Endpoint) -> Result<Tuning, LoadError> {
        let (shape, limit) = (&self.shape, self.limit);
        let capabilities = canary(endpoint, shape, limit).await?.capabilities;
        let mut tuning =
            Tuning { capabilities, calibration: None, overhead: None, tokenizer_error: None, turn_overhead: None };
        match &self.tokenizer {
            Some(file) => {
                let tokenizer = file.open()?;
                let text = format!("A {}", self.nonce);
                let tokens = u32::try_from(tokenizer.count(&text)).unwrap_or(u32::MAX);
                tuning.overhead = template_overhead(endpoint, shape, &capabilities, &text, tokens, limit).await?;
                if let Some(overhead) = tuning.overhead {
                    let about = (self.nonce.as_str(), overhead);
                    tuning.tokenizer_error =
                        tokenizer_error(endpoint, shape, &capabilities, &tokenizer, about, limit).await?;
                }
            }
            None => tuning.calibration = calibrate(endpoint, shape, &capabilities, &self.nonce, limit).await?,
        }
        if self.conversations {
            tuning.turn_overhead = turn_overhead(endpoint, shape, &capabilities, limit).await?;
        }
        Ok(tuning)
    }
}

/// What came of an order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Done {
    /// Of [`Work::Tune`].
    Tuned(Tuning),
    /// Of [`Work::WarmUp`].
    Warmed(WarmUp),
    /// Of [`Work::Level`].
    Measured(Box<Measured>),
    /// Of [`Work::Count`] and [`Work::Settle`].
    Counted(CounterSnapshot),
    /// Of [`Work::Scrape`].
    Scraped(Vec<Page>),
}

/// A level that was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Its records and what goes with them.
    pub run: LevelRun,
    /// The server's counters before its first request.
    pub before: CounterSnapshot,
    /// The same after its last; `None`: the level has other parts, which may not have ended yet.
    pub after: Option<CounterSnapshot>,
    /// The clocks of the workers against that of the first, where there were several.
    #[serde(default)]
    pub offsets: Vec<ClockOffset>,
    /// What the server said of itself meanwhile, on the records' clock.
    pub scrapes: Vec<ServerScrape>,
    /// Base URLs of pages that told nothing.
    pub silent: Vec<String>,
}

/// One page of metrics.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// Base URL.
    pub url: String,
    /// What it said, if it did.
    pub text: Option<String>,
}
