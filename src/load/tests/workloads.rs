//! Every kind of workload over real HTTP: what a server gets is what was asked.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::levels::prompts;
use super::server::*;
use crate::load::*;
use crate::measure::{
    Content, Dataset, DatasetRequest, Message, MixPart, PrefixScope, SharedPrefix, Source, TraceRequest,
};

/// One request as it reached the server.
struct Got {
    index: u64,
    messages: Vec<Message>,
    max_tokens: usize,
}

impl Got {
    /// Words of the last message.
    fn words(&self) -> Vec<&str> {
        self.messages.last().unwrap().content.split_whitespace().collect()
    }

    fn start(&self, words: usize) -> String {
        self.words()[..words].join(" ")
    }
}

/// All that a level sends, by its place, and its records.
async fn sent(content: Content, ruler: Ruler, asker: Asker, requests: u64) -> (Vec<Got>, LevelRun) {
    let server = Server::start(|seen, _| Reply::Bytes(good(41, max_tokens(seen)))).await;
    let base = Arc::into_inner(prompts()).unwrap();
    let lengths = Lengths { isl: 60, isl_std: 5.0, osl: 6, osl_std: 1.0 };
    let prompts = Arc::new(Prompts { content, ruler: Arc::new(ruler), asker, lengths, ..base });
    let spec = LevelSpec { fill: true, threads: Some(1), ..LevelSpec::new(3, requests, Duration::from_secs(60)) };
    let endpoint = Endpoint::new(&server.spec()).unwrap();
    let run = run_level(&spec, &endpoint, prompts, &CancellationToken::new(), Arc::default()).await.unwrap();
    assert_eq!(run.totals.ok, requests + 3);
    let mut got: Vec<Got> = server.seen().iter().filter_map(read).collect();
    got.sort_by_key(|got| got.index);
    assert_eq!(got.len() as u64, requests);
    (got, run)
}

/// A measured request.
fn read(seen: &Seen) -> Option<Got> {
    let index = seen.headers["x-request-id"].rsplit_once("-m")?.1.parse().unwrap();
    let body: Value = serde_json::from_str(&seen.body).unwrap();
    let messages = serde_json::from_value(body["messages"].clone()).unwrap();
    Some(Got { index, messages, max_tokens: max_tokens(seen) })
}

fn asker() -> Asker {
    Asker { seed: 1, nonce: "t".to_owned(), level: "c3".to_owned(), repeat: 1, attempt: 1 }
}

/// Everybody else who may ask in the same run or another one.
fn others() -> Vec<Asker> {
    vec![
        Asker { level: "c4".to_owned(), ..asker() },
        Asker { repeat: 2, ..asker() },
        Asker { attempt: 2, ..asker() },
        Asker { nonce: "u".to_owned(), ..asker() },
    ]
}

fn tokenizer() -> (Ruler, Arc<LocalTokenizer>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tokenizer/tiny-bpe.json");
    let tokenizer = Arc::new(LocalTokenizer::open(&path).unwrap());
    (Ruler::Tokenizer { tokenizer: Arc::clone(&tokenizer), overhead: None }, tokenizer)
}

fn mix() -> Content {
    let part = |isl, osl, weight| MixPart { isl, isl_std: 0.0, osl, osl_std: 0.0, weight };
    Content { mix: vec![part(40, 4, 3.0), part(120, 8, 1.0)], ..Content::default() }
}

fn prefix(per: PrefixScope) -> Content {
    Content { prefix: Some(SharedPrefix { tokens: 30, groups: 3, per }), ..Content::default() }
}

fn trace() -> Content {
    let request = |hash_ids: &[u64], input_length| TraceRequest {
        input_length,
        output_length: input_length / 100,
        hash_ids: hash_ids.to_vec(),
    };
    let requests = vec![
        request(&[1, 2], 1024),
        request(&[1, 3], 1024),
        request(&[1, 2, 4], 1300),
        request(&[7], 600),
        request(&[], 100),
    ];
    Content { source: Source::Trace(requests), ..Content::default() }
}

fn dataset(unique: bool) -> Content {
    let said = |role: &str, content: &str| Message { role: role.to_owned(), content: content.to_owned() };
    let requests = vec![
        DatasetRequest { messages: vec![said("user", "what is\n\n \"this\"? 日本")], osl: 3 },
        DatasetRequest {
            messages: vec![
                said("system", "be kind"),
                said("user", "hello"),
                said("assistant", "hi"),
                said("user", "and now?"),
            ],
            osl: 5,
        },
    ];
    Content { source: Source::Dataset(Dataset { unique, requests }), ..Content::default() }
}

#[tokio::test]
async fn a_mix_is_sent_by_its_weights_and_each_kind_with_its_own_lengths() {
    let (got, run) = sent(mix(), Ruler::Words, asker(), 200).await;
    let mut kinds = BTreeMap::new();
    for (got, record) in got.iter().zip(&by_index(&run)) {
        let kind = (got.words().len(), got.max_tokens);
        assert_eq!(kind, (record.isl_asked as usize, record.osl_asked as usize));
        *kinds.entry(kind).or_insert(0) += 1;
    }
    assert_eq!(kinds.keys().copied().collect::<Vec<_>>(), [(40, 4), (120, 8)]);
    // One in four, and three standard deviations around it.
    assert!((32..=68).contains(&kinds[&(120, 8)]), "{kinds:?}");
    let again = sent(mix(), Ruler::Words, Asker { attempt: 2, ..asker() }, 200).await.0;
    let lengths = |all: &[Got]| all.iter().map(|got| got.words().len()).collect::<Vec<_>>();
    assert_eq!(lengths(&again), lengths(&got), "every attempt has the same kinds in the same order");
}

fn by_index(run: &LevelRun) -> Vec<crate::measure::RequestRecord> {
    let mut records = run.records.clone();
    records.sort_by_key(|record| record.index);
    records
}

#[tokio::test]
async fn prompts_of_a_group_begin_alike_and_have_the_length_asked() {
    let (got, run) = sent(prefix(PrefixScope::Level), Ruler::Words, asker(), 60).await;
    let groups: BTreeSet<String> = got.iter().map(|got| got.start(30)).collect();
    assert_eq!(groups.len(), 3);
    for (got, record) in got.iter().zip(by_index(&run)) {
        assert_eq!(got.words().len(), record.isl_asked as usize);
    }
    let ends: BTreeSet<String> = got.iter().map(|got| got.words()[30..].join(" ")).collect();
    assert_eq!(ends.len(), got.len(), "nothing is alike but the start");
    for other in others() {
        let elsewhere = sent(prefix(PrefixScope::Level), Ruler::Words, other, 20).await.0;
        assert!(elsewhere.iter().all(|got| !groups.contains(&got.start(30))));
    }
}

#[tokio::test]
async fn a_start_of_the_run_is_that_of_all_its_levels_and_of_no_other_run() {
    let starts = async |asker| {
        let got = sent(prefix(PrefixScope::Run), Ruler::Words, asker, 60).await.0;
        got.iter().map(|got| got.start(30)).collect::<BTreeSet<_>>()
    };
    let own = starts(asker()).await;
    assert_eq!(own, starts(Asker { level: "c4".to_owned(), attempt: 3, ..asker() }).await);
    assert!(own.is_disjoint(&starts(Asker { nonce: "u".to_owned(), ..asker() }).await));
}

#[tokio::test]
async fn blocks_of_a_trace_are_alike_where_its_ids_are_and_nowhere_else() {
    let (got, run) = sent(trace(), Ruler::Words, asker(), 10).await;
    let ids: [&[u64]; 5] = [&[1, 2], &[1, 3], &[1, 2, 4], &[7], &[]];
    let mut blocks: BTreeMap<String, (usize, Option<u64>)> = BTreeMap::new();
    for (place, got) in got.iter().enumerate() {
        let words = got.words();
        assert_eq!(words.len(), by_index(&run)[place].isl_asked as usize);
        for (at, block) in words.chunks(512).enumerate() {
            // A lap of its own for each time that the trace is played. A short block is known by its first words.
            let id = (place / 5, ids[place % 5].get(at).copied());
            let text = block[..block.len().min(80)].join(" ");
            let known = blocks.entry(text).or_insert(id);
            assert_eq!(*known, id, "equal texts have equal ids");
        }
    }
    // In each lap the ids 1, 2, 3, 4 and 7, the rest of the prompt of one block, and the one without ids.
    let named = blocks.values().filter(|(_, id)| id.is_some()).count();
    assert_eq!((named, blocks.len()), (2 * 5, 2 * 7));
    assert_eq!(got.iter().map(|got| got.max_tokens).take(5).collect::<Vec<_>>(), [10, 10, 13, 6, 1]);
}

#[tokio::test]
async fn texts_of_a_dataset_are_sent_whole_and_in_order() {
    let Source::Dataset(file) = dataset(true).source else { panic!() };
    for unique in [false, true] {
        let got = sent(dataset(unique), Ruler::Words, asker(), 5).await.0;
        for (place, got) in got.iter().enumerate() {
            let asked = &file.requests[place % 2];
            assert_eq!(got.max_tokens, asked.osl as usize);
            let (first, rest) = got.messages.split_first().unwrap();
            assert_eq!((&first.role, rest), (&asked.messages[0].role, &asked.messages[1..]));
            match unique {
                false => assert_eq!(first.content, asked.messages[0].content),
                true => {
                    let own = first.content.strip_suffix(&format!("\n{}", asked.messages[0].content)).unwrap();
                    assert_eq!(own.split(' ').count(), 24);
                }
            }
        }
    }
}

#[tokio::test]
async fn with_a_tokenizer_every_prompt_has_exactly_the_tokens_asked() {
    for content in [Content::default(), mix(), prefix(PrefixScope::Level), trace()] {
        let (ruler, tokenizer) = tokenizer();
        let (got, run) = sent(content.clone(), ruler, asker(), 20).await;
        for (got, record) in got.iter().zip(by_index(&run)) {
            let tokens = tokenizer.count(&got.messages[0].content);
            assert_eq!((tokens, record.isl), (record.isl_asked as usize, Some(record.isl_asked)), "{content:?}");
        }
    }
}

#[tokio::test]
async fn nothing_is_sent_twice_but_what_is_asked_to_be_shared() {
    let mut without_ids = trace();
    if let Source::Trace(requests) = &mut without_ids.source {
        requests.iter_mut().for_each(|request| request.hash_ids.clear());
    }
    let mut seen = BTreeSet::new();
    for (kind, content) in [Content::default(), mix(), without_ids, dataset(true)].into_iter().enumerate() {
        for asker in others().into_iter().chain([asker()]) {
            for got in sent(content.clone(), Ruler::Words, asker, 15).await.0 {
                let words: Vec<_> = got.messages[0].content.split_whitespace().take(16).collect();
                assert!(seen.insert((kind, words.join(" "))), "sent twice: {words:?}");
            }
        }
    }
}
