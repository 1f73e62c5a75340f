//! What is asked, and that it is never asked twice.

use std::collections::HashSet;
use std::sync::Arc;

use super::super::request::Api;
use super::*;
use crate::measure::{DatasetRequest, Message, MixPart};

fn prompts(change: impl FnOnce(&mut Asker)) -> Prompts {
    let mut asker = Asker { seed: 7, nonce: "n".to_owned(), level: "c8".to_owned(), repeat: 1, attempt: 1 };
    change(&mut asker);
    Prompts {
        asker,
        lengths: Lengths { isl: 60, isl_std: 10.0, osl: 20, osl_std: 5.0 },
        content: Content::default(),
        turn_overhead: None,
        ruler: Arc::new(Ruler::Words),
        shape: RequestShape {
            api: Api::Completions,
            model: "m".to_owned(),
            temperature: None,
            extra: serde_json::Map::new(),
        },
        capabilities: Capabilities::default(),
    }
}

fn text(prepared: &Prepared) -> String {
    let body: serde_json::Value = serde_json::from_slice(&prepared.body).unwrap();
    body["prompt"].as_str().unwrap().to_owned()
}

fn start(prepared: &Prepared) -> String {
    text(prepared).split(' ').take(16).collect::<Vec<_>>().join(" ")
}

#[test]
fn no_first_block_is_ever_sent_twice() {
    let mut seen = HashSet::new();
    let all = [
        prompts(|_| {}),
        prompts(|who| who.nonce = "other".to_owned()),
        prompts(|who| who.level = "c16".to_owned()),
        prompts(|who| who.repeat = 2),
        prompts(|who| who.attempt = 2),
        prompts(|who| who.seed = 8),
    ];
    for level in &all {
        for index in 0..50 {
            assert!(seen.insert(start(&level.measured(index))));
            assert!(seen.insert(start(&level.fill(index))));
        }
    }
}

#[test]
fn every_attempt_has_the_same_lengths() {
    let (one, two) = (prompts(|_| {}), prompts(|who| (who.attempt, who.nonce) = (2, "other".to_owned())));
    for index in 0..50 {
        let lengths = |level: &Prompts| {
            let prepared = level.measured(index);
            (prepared.isl_asked, prepared.osl_asked)
        };
        assert_eq!(lengths(&one), lengths(&two));
    }
}

#[test]
fn the_same_asker_asks_the_same() {
    assert_eq!(prompts(|_| {}).measured(3), prompts(|_| {}).measured(3));
}

fn with(content: Content, change: impl FnOnce(&mut Asker)) -> Prompts {
    Prompts { content, ..prompts(change) }
}

fn shared(per: PrefixScope) -> Content {
    Content { prefix: Some(SharedPrefix { tokens: 40, groups: 3, per }), ..Content::default() }
}

fn starts(level: &Prompts) -> HashSet<String> {
    let start = |prepared: Prepared| text(&prepared).split(' ').take(40).collect::<Vec<_>>().join(" ");
    (0..60).flat_map(|index| [start(level.measured(index)), start(level.fill(index))]).collect()
}

#[test]
fn prompts_of_a_group_share_their_start_within_a_level_and_no_further() {
    let content = shared(PrefixScope::Level);
    let one = with(content.clone(), |_| {});
    let found = starts(&one);
    assert_eq!(found.len(), 3);
    for other in [
        with(content.clone(), |who| who.level = "c16".to_owned()),
        with(content.clone(), |who| who.attempt = 2),
        with(content.clone(), |who| who.nonce = "other".to_owned()),
    ] {
        assert!(found.is_disjoint(&starts(&other)));
    }
    let whole: HashSet<String> = (0..60).map(|index| text(&one.measured(index))).collect();
    assert_eq!(whole.len(), 60, "only the start is shared");
}

#[test]
fn a_prefix_of_the_run_is_the_same_in_every_level_and_the_length_stays_what_was_drawn() {
    let content = shared(PrefixScope::Run);
    let one = with(content.clone(), |_| {});
    assert_eq!(starts(&one), starts(&with(content, |who| who.level = "c16".to_owned())));
    for index in 0..30 {
        let prepared = one.measured(index);
        if prepared.isl_asked > 40 {
            assert_eq!(text(&prepared).split(' ').count() as u32, prepared.isl_asked);
        }
    }
}

#[test]
fn a_mix_has_its_parts_by_weight() {
    let part = |isl, weight| MixPart { isl, isl_std: 0.0, osl: isl / 10, osl_std: 0.0, weight };
    let level = with(Content { mix: vec![part(100, 3.0), part(500, 1.0)], ..Content::default() }, |_| {});
    let long = (0..2000).filter(|index| level.measured(*index).isl_asked == 500).count();
    assert!((400..600).contains(&long), "{long}");
    assert!((0..100).map(|index| level.measured(index)).all(|one| one.osl_asked == one.isl_asked / 10));
}

#[test]
fn blocks_with_equal_ids_are_equal_texts_and_others_are_not() {
    let request =
        |hash_ids: &[u64], input_length| TraceRequest { input_length, output_length: 5, hash_ids: hash_ids.to_vec() };
    let requests = vec![request(&[1, 2], 1000), request(&[1, 3], 1000), request(&[1, 2, 4], 1300), request(&[], 60)];
    let content = Content { source: Source::Trace(requests), ..Content::default() };
    let level = with(content.clone(), |_| {});
    let words = |index| text(&level.measured(index)).split(' ').map(str::to_owned).collect::<Vec<_>>();
    let (one, two, three) = (words(0), words(1), words(2));
    assert_eq!([one.len(), two.len(), three.len(), words(3).len()], [1000, 1000, 1300, 60]);
    assert_eq!(one[..512], two[..512]);
    assert_ne!(one[512..], two[512..]);
    assert_eq!(one[..], three[..1000]);
    // The second lap and another level meet nothing of the first.
    assert_ne!(words(4)[..64], one[..64]);
    let other = with(content, |who| who.level = "c16".to_owned());
    assert_ne!(text(&other.measured(0)), text(&level.measured(0)));
}

#[test]
fn texts_of_a_dataset_are_sent_as_they_are_or_behind_words_of_their_own() {
    let message = Message { role: "user".to_owned(), content: "what is this".to_owned() };
    let of = |unique| {
        let requests = vec![DatasetRequest { messages: vec![message.clone()], osl: 7 }];
        with(Content { source: Source::Dataset(Dataset { unique, requests }), ..Content::default() }, |_| {})
    };
    assert_eq!(text(&of(false).measured(5)), "what is this");
    let level = of(true);
    assert!(text(&level.measured(5)).ends_with("\nwhat is this"));
    assert_ne!(start(&level.measured(5)), start(&level.measured(6)));
    assert_eq!(level.measured(5).osl_asked, 7);
}
