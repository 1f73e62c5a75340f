//! Records whose chunk times are put into a file while the level runs.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::levels::{prompts, spec};
use super::server::*;
use crate::load::*;

/// Long enough that each of two senders hands over a pack of them more than once.
const OSL: u32 = 3000;
const REQUESTS: u64 = 60;

fn long(scratch: &Path) -> LevelSpec {
    LevelSpec { scratch: Some(scratch.to_owned()), ..spec(2, REQUESTS) }
}

async fn run(spec: &LevelSpec) -> Result<LevelRun, LoadError> {
    let server = Server::start(|seen, _| Reply::Bytes(good(1, max_tokens(seen)))).await;
    let endpoint = Endpoint::new(&server.spec()).unwrap();
    let lengths = Lengths { osl: OSL, ..prompts().lengths };
    let prompts = Arc::new(Prompts { lengths, ..Arc::into_inner(prompts()).unwrap() });
    run_level(spec, &endpoint, prompts, &CancellationToken::new(), Arc::default()).await
}

fn assert_whole(run: &LevelRun, scratch: &Path) {
    let mut indices: Vec<u64> = run.records.iter().map(|record| record.index).collect();
    indices.sort_unstable();
    assert_eq!(indices, (0..REQUESTS).collect::<Vec<_>>());
    assert!(run.records.is_sorted_by_key(|record| record.sent));
    for record in &run.records {
        let at: Vec<u64> = record.chunks.iter().map(|chunk| record.sent + chunk.at).collect();
        assert_eq!(
            (at.len(), at.first(), at.last()),
            (OSL as usize, record.first_text.as_ref(), record.last_text.as_ref())
        );
    }
    let away = run.records.iter().filter(|record| record.chunks.held_bytes() == 0).count();
    assert!(away > run.records.len() / 2, "{away} of {} are in the file", run.records.len());
    assert_eq!(std::fs::read_dir(scratch).unwrap().count(), 0, "the file has a name");
}

#[tokio::test]
async fn times_of_chunks_go_to_a_file_without_a_name() {
    let scratch = tempfile::tempdir().unwrap();
    assert_whole(&run(&long(scratch.path())).await.unwrap(), scratch.path());
    let pacing = Pacing::Open { rate: 500.0, arrivals: Arrivals::Constant };
    let open = LevelSpec { pacing, threads: Some(1), ..long(scratch.path()) };
    assert_whole(&run(&open).await.unwrap(), scratch.path());
}

#[tokio::test]
async fn a_folder_that_takes_no_file_ends_the_level() {
    let home = tempfile::tempdir().unwrap();
    let missing = home.path().join("missing");
    let error = run(&long(&missing)).await.unwrap_err();
    assert!(matches!(error, LoadError::Storage(_)), "{error:?}");
    // A short level needs none.
    let short = LevelSpec { requests: 4, duration: Duration::from_secs(60), ..long(&missing) };
    assert_eq!(run(&short).await.unwrap().records.len(), 4);
}
