//! What a server is: which models it lists, whether it generates, and which optional fields it takes.
//!
//! All of it is found out once and kept with the incarnation ([`Capabilities`]); nothing is tried per request.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value};

use super::chunk::describe_error;
use super::client::Answer;
use super::endpoint::Endpoint;
use super::error::LoadError;
use super::reading::{BodyEnd, Reading, shorten};
use super::request::{Capabilities, RequestShape, bytes_of};
use crate::base::nearest;
use crate::measure::Outcome;

/// Path of the list of models.
const MODELS: &str = "/v1/models";
/// How long a connection is watched after a canary.
const LINGER: Duration = Duration::from_millis(100);
/// Tokens that a canary asks for.
const CANARY_TOKENS: u32 = 4;

/// What a canary told.
#[derive(Debug, Clone, PartialEq)]
pub struct Canary {
    /// Which fields the server takes.
    pub capabilities: Capabilities,
    /// Output tokens it gave.
    pub output_tokens: Option<u32>,
    /// Prompt tokens it counted.
    pub prompt_tokens: Option<u32>,
    /// Why it stopped.
    pub finish_reason: Option<String>,
}

/// The ids that `/v1/models` lists.
///
/// # Errors
/// When nothing answers, the server is loading, or what answers is no list of models.
pub async fn models(endpoint: &Endpoint, limit: Duration) -> Result<Vec<String>, LoadError> {
    let answer = endpoint.get(MODELS, limit).await?;
    check_status(endpoint, MODELS, &answer)?;
    let list: Option<Vec<String>> = serde_json::from_slice::<Value>(&answer.body).ok().and_then(|value| {
        let data = value.get("data")?.as_array()?;
        Some(data.iter().filter_map(|model| model.get("id")?.as_str().map(str::to_owned)).collect())
    });
    list.ok_or_else(|| not_an_api(endpoint, MODELS, &answer))
}

/// Checks that the server lists `model`.
///
/// # Errors
/// As [`models`], and when it lists others only.
pub async fn check_model(endpoint: &Endpoint, model: &str, limit: Duration) -> Result<(), LoadError> {
    let listed = models(endpoint, limit).await?;
    if listed.iter().any(|id| id == model) {
        return Ok(());
    }
    let nearest = nearest(model, listed.iter().map(String::as_str)).map(str::to_owned);
    Err(LoadError::ModelNotListed { url: endpoint.whole(MODELS), model: model.to_owned(), listed, nearest })
}

/// Asks for a few tokens with every optional field, and leaves out what the server refuses, until it answers.
///
/// # Errors
/// When nothing answers, or the server refuses the request whatever is left out.
pub async fn canary(endpoint: &Endpoint, shape: &RequestShape, limit: Duration) -> Result<Canary, LoadError> {
    let path = shape.api.path();
    let mut capabilities = Capabilities::default();
    let mut left_to_drop = Capabilities::OPTIONAL.len() + 1;
    loop {
        let body = canary_body(shape, &capabilities);
        let answer = endpoint.post_and_linger(path, bytes_of(&body), limit, LINGER).await?;
        match answer.status {
            400 | 422 if left_to_drop > 0 => {
                left_to_drop -= 1;
                let Some(fewer) = without_refused(endpoint, shape, capabilities, &answer, limit).await? else {
                    return Err(refused(endpoint, path, &answer));
                };
                capabilities = fewer;
            }
            _ => {
                check_status(endpoint, path, &answer)?;
                return read_canary(endpoint, path, capabilities, &answer);
            }
        }
    }
}

/// How to leave a field out.
type Drop = fn(&mut Capabilities);

impl Capabilities {
    /// The fields that may be left out, in the order in which they are suspected, each with the name it has in a body.
    const OPTIONAL: [(&'static str, Drop); 4] = [
        ("continuous_usage_stats", |all| all.continuous_usage = false),
        ("ignore_eos", |all| all.ignore_eos = false),
        ("min_tokens", |all| all.min_tokens = false),
        ("stream_options", |all| (all.include_usage, all.continuous_usage) = (false, false)),
    ];

    /// With one more field left out.
    fn without(mut self, drop: Drop) -> Option<Self> {
        let before = self;
        drop(&mut self);
        (self != before).then_some(self)
    }
}

/// Finds which field a refusal was about: by its name in the message, else by leaving out one after the other, and at
/// last all of them. `None` when the refusal is about something else.
async fn without_refused(
    endpoint: &Endpoint,
    shape: &RequestShape,
    capabilities: Capabilities,
    answer: &Answer,
    limit: Duration,
) -> Result<Option<Capabilities>, LoadError> {
    let message = String::from_utf8_lossy(&answer.body).into_owned();
    if capabilities.max_tokens && message.contains("max_completion_tokens") && message.contains("max_tokens") {
        return Ok(Some(Capabilities { max_tokens: false, ..capabilities }));
    }
    let named = Capabilities::OPTIONAL
        .iter()
        .find(|(name, drop)| message.contains(name) && capabilities.without(*drop).is_some());
    if let Some(fewer) = named.and_then(|(_, drop)| capabilities.without(*drop)) {
        return Ok(Some(fewer));
    }
    let mut none_left = capabilities;
    for (_, drop) in Capabilities::OPTIONAL {
        drop(&mut none_left);
        if let Some(fewer) = capabilities.without(drop)
            && accepted(endpoint, shape, &fewer, limit).await?
        {
            return Ok(Some(fewer));
        }
    }
    if none_left == capabilities || !accepted(endpoint, shape, &none_left, limit).await? {
        return Ok(None);
    }
    // More than one field is refused: each is put back alone, and stays if the server takes it.
    let mut kept = none_left;
    for put_back in [
        Capabilities { include_usage: capabilities.include_usage, ..none_left },
        Capabilities {
            include_usage: capabilities.include_usage,
            continuous_usage: capabilities.continuous_usage,
            ..none_left
        },
        Capabilities { min_tokens: capabilities.min_tokens, ..none_left },
        Capabilities { ignore_eos: capabilities.ignore_eos, ..none_left },
    ] {
        if put_back != none_left && accepted(endpoint, shape, &put_back, limit).await? {
            kept.include_usage |= put_back.include_usage;
            kept.continuous_usage |= put_back.continuous_usage;
            kept.min_tokens |= put_back.min_tokens;
            kept.ignore_eos |= put_back.ignore_eos;
        }
    }
    Ok(Some(kept))
}

async fn accepted(
    endpoint: &Endpoint,
    shape: &RequestShape,
    capabilities: &Capabilities,
    limit: Duration,
) -> Result<bool, LoadError> {
    let body = bytes_of(&canary_body(shape, capabilities));
    Ok((200..300).contains(&endpoint.post(shape.api.path(), body, limit).await?.status))
}

fn canary_body(shape: &RequestShape, capabilities: &Capabilities) -> Map<String, Value> {
    shape.body(capabilities, "Say a few words.", CANARY_TOKENS)
}

/// Reads a streamed answer that came whole, such as a canary's.
pub(super) fn read_whole(answer: &Answer) -> (Reading, Outcome) {
    let mut reading = Reading::new(answer.status, answer.content_type.as_deref(), 0, 64);
    // Breaking off only means that the rest does not matter: the outcome says why.
    let _ = reading.bytes(0, 0, &answer.body);
    let outcome = reading.outcome(BodyEnd::Whole);
    (reading, outcome)
}

fn read_canary(
    endpoint: &Endpoint,
    path: &str,
    capabilities: Capabilities,
    answer: &Answer,
) -> Result<Canary, LoadError> {
    let (reading, outcome) = read_whole(answer);
    if let Outcome::Failed { detail, .. } = outcome {
        let url = endpoint.whole(path);
        return Err(if looks_like_json_or_stream(answer) {
            LoadError::NoCompletion { url, status: answer.status, message: detail }
        } else {
            LoadError::NotAnApi { url, status: answer.status, message: detail }
        });
    }
    let (output_tokens, _) = reading.output_tokens();
    let prompt_tokens = reading.usage.and_then(|usage| usage.prompt_tokens);
    let capabilities = Capabilities {
        keep_alive: !answer.closed,
        // A server that does not know the field may pass over it without a word: what counts is what came.
        continuous_usage: capabilities.continuous_usage && reading.chunks.knows_tokens(),
        ..capabilities
    };
    Ok(Canary { capabilities, output_tokens, prompt_tokens, finish_reason: reading.finish_reason })
}

fn check_status(endpoint: &Endpoint, path: &str, answer: &Answer) -> Result<(), LoadError> {
    match answer.status {
        200..=299 => Ok(()),
        300..=399 => {
            let to = answer.location.as_deref().unwrap_or("no address");
            let message = format!("a redirect to {}; it is not followed: give that address instead", shorten(to));
            Err(LoadError::NotAnApi { url: endpoint.whole(path), status: answer.status, message })
        }
        503 => Err(LoadError::Loading {
            url: endpoint.whole(path),
            status: answer.status,
            message: message_of(&answer.body),
        }),
        401 | 403 => Err(refused(endpoint, path, answer)),
        _ if looks_like_json_or_stream(answer) || answer.body.is_empty() => Err(refused(endpoint, path, answer)),
        _ => Err(not_an_api(endpoint, path, answer)),
    }
}

fn looks_like_json_or_stream(answer: &Answer) -> bool {
    let kind = answer.content_type.as_deref().unwrap_or_default();
    kind.starts_with("application/json") || kind.starts_with("text/event-stream")
}

fn refused(endpoint: &Endpoint, path: &str, answer: &Answer) -> LoadError {
    LoadError::Refused { url: endpoint.whole(path), status: answer.status, message: message_of(&answer.body) }
}

fn not_an_api(endpoint: &Endpoint, path: &str, answer: &Answer) -> LoadError {
    LoadError::NotAnApi { url: endpoint.whole(path), status: answer.status, message: message_of(&answer.body) }
}

fn message_of(body: &Bytes) -> String {
    if body.is_empty() { "an empty body".to_owned() } else { shorten(&describe_error(body)) }
}
