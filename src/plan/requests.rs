//! Files of requests: a trace in Mooncake's format, or a dataset of prompts. A JSON object a line; members that are not
//! known are passed over; what is wrong is told with its line.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::measure::{DatasetRequest, Message, TRACE_BLOCK, TraceRequest, USER};

/// Largest file that is read: requests are held in memory, and handed to load workers.
const MOST_BYTES: u64 = 64 << 20;
/// Longest prompt and output of a trace, as for lengths in a plan.
const MOST_INPUT: i64 = 10_000_000;
const MOST_OUTPUT: i64 = 1_000_000;

/// What is wrong with a file of requests.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestsFault {
    #[error("cannot be read")]
    Read(#[from] std::io::Error),
    #[error("line {line} is not UTF-8")]
    Encoding { line: usize },
    #[error("line {line} is no JSON object: {reason}")]
    Json { line: usize, reason: String },
    #[error("line {line}: {reason}")]
    Entry { line: usize, reason: String },
    #[error("it has no requests")]
    Empty,
    #[error("it is one JSON list, and not one object a line")]
    List,
    #[error("it is larger than {} MB", MOST_BYTES >> 20)]
    Long,
}

/// Reads a trace: `input_length`, `output_length` and `hash_ids` of each line.
pub(super) fn read_trace(path: &Path) -> Result<Vec<TraceRequest>, RequestsFault> {
    lines(BufReader::new(File::open(path)?), trace_request)
}

/// Reads a dataset: `prompt`, `messages` or ShareGPT's `conversations` of each line; `osl` for lines that do not tell it. As
/// conversations their requests are what the user and the system say, without the answers that were given.
pub(super) fn read_dataset(
    path: &Path,
    osl: Option<u32>,
    conversations: bool,
) -> Result<Vec<DatasetRequest>, RequestsFault> {
    lines(BufReader::new(File::open(path)?), |object| dataset_request(object, osl, conversations))
}

fn lines<T>(
    text: impl BufRead,
    read: impl Fn(serde_json::Map<String, Value>) -> Result<T, String>,
) -> Result<Vec<T>, RequestsFault> {
    let mut text = text.take(MOST_BYTES + 1);
    let mut found = Vec::new();
    let mut line = 0;
    let mut bytes = Vec::new();
    let mut total = 0;
    loop {
        bytes.clear();
        line += 1;
        let length = text.read_until(b'\n', &mut bytes)? as u64;
        total += length;
        if total > MOST_BYTES {
            return Err(RequestsFault::Long);
        }
        if length == 0 {
            break;
        }
        let Ok(text) = std::str::from_utf8(&bytes) else { return Err(RequestsFault::Encoding { line }) };
        // The mark that some editors put before the first line is none of it.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        if text.trim().is_empty() {
            continue;
        }
        if found.is_empty() && text.trim_start().starts_with('[') {
            return Err(RequestsFault::List);
        }
        let object =
            serde_json::from_str(text).map_err(|error| RequestsFault::Json { line, reason: error.to_string() })?;
        found.push(read(object).map_err(|reason| RequestsFault::Entry { line, reason })?);
    }
    if found.is_empty() { Err(RequestsFault::Empty) } else { Ok(found) }
}

fn trace_request(object: serde_json::Map<String, Value>) -> Result<TraceRequest, String> {
    let length = |name: &str, most: i64| match object.get(name).map(Value::as_i64) {
        Some(Some(length)) if (1..=most).contains(&length) => Ok(length as u32),
        Some(Some(length)) => Err(format!("`{name}` must be from 1 to {most}, not {length}")),
        Some(None) => Err(format!("`{name}` must be a whole number")),
        None => Err(format!("it has no `{name}`")),
    };
    let (input_length, output_length) = (length("input_length", MOST_INPUT)?, length("output_length", MOST_OUTPUT)?);
    let hash_ids: Vec<u64> = match object.get("hash_ids") {
        None | Some(Value::Null) => Vec::new(),
        Some(ids) => Vec::deserialize(ids).map_err(|_| "`hash_ids` must be a list of whole numbers".to_owned())?,
    };
    let blocks = input_length.div_ceil(TRACE_BLOCK) as usize;
    if hash_ids.len() > blocks {
        return Err(format!(
            "it has {} hash_ids, and {input_length} tokens have {blocks} blocks of {TRACE_BLOCK}",
            hash_ids.len()
        ));
    }
    Ok(TraceRequest { input_length, output_length, hash_ids })
}

fn dataset_request(
    object: serde_json::Map<String, Value>,
    usual: Option<u32>,
    conversations: bool,
) -> Result<DatasetRequest, String> {
    let osl = ["osl", "output_length", "max_tokens", "max_completion_tokens"]
        .into_iter()
        .find_map(|name| object.get(name).filter(|value| !value.is_null()).map(|value| (name, value.as_i64())));
    let osl = match osl {
        None => usual.ok_or("it does not say how long its answer is with \"osl\", and the plan does not say `osl`")?,
        Some((_, Some(length))) if (1..=MOST_OUTPUT).contains(&length) => length as u32,
        Some((name, _)) => return Err(format!("`{name}` must be a whole number from 1 to {MOST_OUTPUT}")),
    };
    let user = |text: &str| vec![Message { role: USER.to_owned(), content: text.to_owned() }];
    let said = if conversations { own_texts } else { up_to_user };
    let messages = if let Some(prompt) = object.get("prompt").or_else(|| object.get("text_input")) {
        user(prompt.as_str().ok_or("`prompt` must be a text")?)
    } else if let Some(messages) = object.get("messages") {
        said(messages, "messages", ("role", "content"))?
    } else if let Some(messages) = object.get("conversations") {
        said(messages, "conversations", ("from", "value"))?
    } else {
        return Err("it has neither `prompt` nor `messages` nor `conversations`".to_owned());
    };
    let is_empty = |messages: &[Message]| messages.iter().all(|message| message.content.trim().is_empty());
    let request = DatasetRequest { messages, osl };
    if is_empty(&request.messages) {
        return Err("its prompt is empty".to_owned());
    }
    if conversations && request.turns().any(is_empty) {
        return Err("one of its turns is empty".to_owned());
    }
    Ok(request)
}

/// What the user and the system say, up to the last that the user says. Texts of the user with nothing between them are one.
/// Answers and whatever else was said in between are passed over, whatever they are made of.
fn own_texts(list: &Value, name: &str, (role, content): (&str, &str)) -> Result<Vec<Message>, String> {
    let list = list.as_array().ok_or_else(|| format!("`{name}` must be a list"))?;
    let mut messages: Vec<Message> = Vec::new();
    let mut goes_on = false;
    for item in list {
        let said = item
            .get(role)
            .and_then(Value::as_str)
            .ok_or_else(|| format!("each of `{name}` needs the text `{role}`"))?;
        let own = match role_of(said) {
            own @ (USER | "system" | "developer") => own,
            _ => {
                goes_on = false;
                continue;
            }
        };
        let text = item.get(content).and_then(Value::as_str);
        let text = text.ok_or_else(|| format!("what `{said}` says in `{name}` needs the text `{content}`"))?;
        match messages.last_mut() {
            Some(last) if goes_on && own == USER => last.content = format!("{}\n\n{text}", last.content),
            Some(_) | None => messages.push(Message { role: own.to_owned(), content: text.to_owned() }),
        }
        goes_on = own == USER;
    }
    ending_with_user(messages, name)
}

/// A role as chats call it.
fn role_of(said: &str) -> &str {
    match said {
        "human" => USER,
        "gpt" => "assistant",
        other => other,
    }
}

/// The messages up to the last one that the user says.
fn ending_with_user(mut messages: Vec<Message>, name: &str) -> Result<Vec<Message>, String> {
    let last = messages.iter().rposition(|message| message.role == USER);
    messages.truncate(last.map_or(0, |last| last + 1));
    if messages.is_empty() { Err(format!("`{name}` holds nothing that the user says")) } else { Ok(messages) }
}

/// Messages up to the last one that the user says: what comes after it is the answer that was given.
fn up_to_user(list: &Value, name: &str, (role, content): (&str, &str)) -> Result<Vec<Message>, String> {
    let list = list.as_array().ok_or_else(|| format!("`{name}` must be a list"))?;
    let message = |item: &Value| {
        let role = role_of(item.get(role)?.as_str()?);
        Some(Message { role: role.to_owned(), content: item.get(content)?.as_str()?.to_owned() })
    };
    let messages: Option<Vec<_>> = list.iter().map(message).collect();
    let messages = messages.ok_or_else(|| format!("each of `{name}` needs the texts `{role}` and `{content}`"))?;
    ending_with_user(messages, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(text: &[u8]) -> Result<Vec<TraceRequest>, String> {
        lines(text, trace_request).map_err(|fault| fault.to_string())
    }

    fn dataset(text: &str) -> Result<Vec<DatasetRequest>, String> {
        lines(text.as_bytes(), |object| dataset_request(object, Some(9), false)).map_err(|fault| fault.to_string())
    }

    #[test]
    fn a_trace_is_read_with_members_that_are_not_known() {
        let text = b"{\"timestamp\":0,\"input_length\":600,\"output_length\":5,\"hash_ids\":[1,2],\"x\":null}\n\n\
                     {\"input_length\":1,\"output_length\":1}";
        let found = trace(text).unwrap();
        assert_eq!(found[0], TraceRequest { input_length: 600, output_length: 5, hash_ids: vec![1, 2] });
        assert_eq!((found.len(), found[1].hash_ids.len()), (2, 0));
    }

    #[test]
    fn what_is_wrong_with_a_trace_is_told_with_its_line() {
        for (text, wrong) in [
            ("", "it has no requests"),
            ("\n \n", "it has no requests"),
            ("{\"input_length\":9,\"output_length\":1}\nnonsense", "line 2 is no JSON object"),
            ("[1]", "it is one JSON list, and not one object a line"),
            ("{\"input_length\":-3,\"output_length\":1}", "line 1: `input_length` must be from 1 to 10000000, not -3"),
            ("{\"input_length\":3,\"output_length\":0}", "line 1: `output_length` must be from 1 to 1000000, not 0"),
            ("{\"input_length\":3}", "line 1: it has no `output_length`"),
            ("{\"input_length\":3.5,\"output_length\":1}", "line 1: `input_length` must be a whole number"),
            ("{\"input_length\":9,\"output_length\":1,\"hash_ids\":[1,2]}", "line 1: it has 2 hash_ids"),
            ("{\"input_length\":9,\"output_length\":1,\"hash_ids\":[-1]}", "line 1: `hash_ids` must be a list"),
        ] {
            let found = trace(text.as_bytes()).unwrap_err();
            assert!(found.starts_with(wrong), "{text}: {found}");
        }
        assert_eq!(trace(b"\xff\xfe\n"), Err("line 1 is not UTF-8".to_owned()));
    }

    #[test]
    fn prompts_messages_and_conversations_are_read() {
        let text = r#"{"prompt":"say it","osl":7}
            {"messages":[{"role":"system","content":"be kind"},{"role":"user","content":"hello"},{"role":"assistant","content":"hi"}]}
            {"id":"a","conversations":[{"from":"human","value":"one"},{"from":"gpt","value":"two"},{"from":"human","value":"three"}]}"#;
        let found = dataset(text).unwrap();
        let roles = |at: usize| found[at].messages.iter().map(|message| message.role.as_str()).collect::<Vec<_>>();
        assert_eq!(
            (roles(0), roles(1), roles(2)),
            (vec!["user"], vec!["system", "user"], vec!["user", "assistant", "user"])
        );
        assert_eq!((found[0].osl, found[1].osl, found[0].words()), (7, 9, 2));
    }

    #[test]
    fn of_a_conversation_only_what_user_and_system_say_is_read_turn_by_turn() {
        let talk = |text: &str| {
            let read = |object| dataset_request(object, Some(9), true);
            lines(text.as_bytes(), read).map_err(|fault| fault.to_string())
        };
        let turns = |request: &DatasetRequest| {
            let texts = |turn: &[Message]| turn.iter().map(|message| message.content.clone()).collect::<Vec<_>>();
            request.turns().map(texts).collect::<Vec<_>>()
        };
        // Answers may be anything: here a call of a tool and what it gave. What comes after the last turn is none.
        let found = talk(
            r#"{"messages":[{"role":"system","content":"be kind"},{"role":"user","content":"one"},
                {"role":"assistant","content":null,"tool_calls":[]},{"role":"tool","content":"x"},
                {"role":"user","content":"two"},{"role":"user","content":"and three"},{"role":"assistant","content":"no"}]}"#
                .replace('\n', "")
                .as_str(),
        );
        assert_eq!(turns(&found.unwrap()[0]), [vec!["be kind", "one"], vec!["two\n\nand three"]]);
        let found = talk("{\"prompt\":\"alone\"}").unwrap();
        assert_eq!(turns(&found[0]), [["alone"]]);
        for (text, wrong) in [
            (r#"{"conversations":[{"from":"gpt","value":"hi"}]}"#, "line 1: `conversations` holds nothing that"),
            (r#"{"messages":[{"role":"user","content":7}]}"#, "line 1: what `user` says in `messages` needs the text"),
            (r#"{"messages":[{"content":"a"}]}"#, "line 1: each of `messages` needs the text `role`"),
            (
                r#"{"messages":[{"role":"user","content":"a"},{"role":"assistant"},{"role":"user","content":" "}]}"#,
                "line 1: one of its turns is empty",
            ),
        ] {
            let found = talk(text).unwrap_err();
            assert!(found.starts_with(wrong), "{text}: {found}");
        }
    }

    #[test]
    fn a_mark_before_the_first_line_is_passed_over() {
        assert_eq!(dataset("\u{feff}{\"prompt\":\"a\"}").unwrap()[0].words(), 1);
    }

    #[test]
    fn an_answer_without_any_length_is_refused() {
        let found = lines("{\"prompt\":\"a\"}".as_bytes(), |object| dataset_request(object, None, false)).unwrap_err();
        assert!(found.to_string().starts_with("line 1: it does not say how long its answer is"), "{found}");
    }

    #[test]
    fn what_is_wrong_with_a_dataset_is_told_with_its_line() {
        for (text, wrong) in [
            ("", "it has no requests"),
            ("{\"prompt\":\"a\"}\n{\"prompt\":", "line 2 is no JSON object"),
            ("{\"question\":\"a\"}", "line 1: it has neither"),
            ("{\"prompt\":\"  \"}", "line 1: its prompt is empty"),
            ("{\"prompt\":7}", "line 1: `prompt` must be a text"),
            ("{\"messages\":[{\"role\":\"user\"}]}", "line 1: each of `messages` needs"),
            ("{\"messages\":[]}", "line 1: `messages` holds nothing that the user says"),
            ("{\"prompt\":\"a\",\"osl\":-1}", "line 1: `osl` must be a whole number from 1"),
        ] {
            let found = dataset(text).unwrap_err();
            assert!(found.starts_with(wrong), "{text}: {found}");
        }
    }
}
