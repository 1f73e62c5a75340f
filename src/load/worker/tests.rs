//! Workers over loopback, before scripted servers: what a client gets is what was measured, whatever happens on the way.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Map;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::super::level::{LevelSpec, LiveProgress, Totals};
use super::super::request::{Api, Capabilities, RequestShape};
use super::super::tests::server::{Reply, Server, answer, counting_along, counts_along, good, max_tokens};
use super::super::{Asker, Lengths, LoadError};
use super::client::Alive;
use super::order::*;
use super::*;
use crate::base::Digest;
use crate::measure::SpillReader;

/// A worker of this process, ended with the value.
struct Post {
    url: String,
    dir: tempfile::TempDir,
    _task: JoinSet<()>,
}

fn post() -> Post {
    let dir = tempfile::tempdir().unwrap();
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let options =
        WorkerOptions { dir: dir.path().to_owned(), hold: Duration::from_secs(3600), idle: Duration::from_secs(3600) };
    let mut task = JoinSet::new();
    task.spawn(async move {
        serve_worker(options, listener, Default::default()).await.unwrap();
    });
    Post { url, dir, _task: task }
}

impl Post {
    fn worker(&self) -> Worker {
        Worker::new("post", &self.url, None).with_patience(Duration::from_secs(30))
    }

    fn generator(&self) -> Generator {
        Generator::Workers(vec![self.worker()])
    }
}

fn shape() -> RequestShape {
    RequestShape { api: Api::Chat, model: "m".to_owned(), temperature: None, extra: Map::new() }
}

fn level(concurrency: u32, requests: u64) -> LevelOrder {
    LevelOrder {
        spec: LevelSpec { threads: Some(1), ..LevelSpec::new(concurrency, requests, Duration::from_secs(60)) },
        prompts: PromptsOrder {
            asker: Asker { seed: 1, nonce: "t".to_owned(), level: "c".to_owned(), repeat: 1, attempt: 1 },
            lengths: Lengths { isl: 30, isl_std: 3.0, osl: 5, osl_std: 0.0 },
            content: crate::measure::Content::default(),
            turn_overhead: None,
            ruler: RulerOrder::Words,
            shape: shape(),
            capabilities: Capabilities::default(),
        },
        keep_raw: true,
        before: None,
        series: None,
    }
}

fn order(server: &Server, work: Work) -> Order {
    let endpoint = EndpointRef { url: server.url.clone(), ..EndpointRef::default() };
    Order { key: Digest::of(b"point"), attempt: 1, endpoint, work }
}

fn place(dir: &Path) -> Place {
    Place { spill: Some(dir.join("spill")), ..Place::default() }
}

async fn answering() -> Server {
    Server::start(|seen, _| match seen.line.as_str() {
        // A server without metrics.
        "GET /metrics" => Reply::Bytes(vec![answer("404 Not Found", "text/plain", "", "")]),
        _completion => Reply::Bytes(good(41, max_tokens(seen))),
    })
    .await
}

fn measured(carried: Carried) -> Measured {
    let Done::Measured(measured) = carried.done else { panic!("{carried:?}") };
    *measured
}

/// Looks at the server's metrics around a level that one worker does alone.
const METRICS: usize = 2;

/// Indices in a spill file.
fn spilled(path: &Path) -> BTreeSet<u64> {
    SpillReader::new(std::fs::File::open(path).unwrap()).unwrap().map(|entry| entry.unwrap().index).collect()
}

#[tokio::test]
async fn a_level_done_by_a_worker_is_the_level_done_here() {
    let (server, post, home) = (answering().await, post(), tempfile::tempdir().unwrap());
    let order = order(&server, Work::Level(level(3, 20)));
    let place = place(home.path());
    let far = post.generator().carry_out("a", &order, &place, home.path()).await.unwrap();
    assert_eq!(far.receipt.adopted, None);
    let far = measured(far).run;
    assert_eq!(spilled(&home.path().join("spill")), (0..20).collect());
    let here = Place { spill: place.spill.clone(), ..Place::default() };
    let near = measured(Generator::Here.carry_out("a", &order, &here, home.path()).await.unwrap()).run;
    let ids =
        |run: &super::super::LevelRun| run.records.iter().map(|record| record.id.clone()).collect::<BTreeSet<_>>();
    assert_eq!(ids(&far), ids(&near));
    assert_eq!((far.totals, far.fill_requests, far.ended_by), (near.totals, near.fill_requests, near.ended_by));
    assert_eq!(place.live.done.load(Ordering::Relaxed), 20);
}

#[tokio::test]
async fn tokens_of_each_chunk_come_back_from_a_worker() {
    let server = Server::start(|seen, _| match seen.line.as_str() {
        "GET /metrics" => Reply::Bytes(vec![answer("404 Not Found", "text/plain", "", "")]),
        _completion => Reply::Bytes(counting_along(41, &[3, 2])),
    })
    .await;
    let (post, home) = (post(), tempfile::tempdir().unwrap());
    let order = order(&server, Work::Level(level(1, 4)));
    let far = post.generator().carry_out("a", &order, &place(home.path()), home.path()).await.unwrap();
    let records = measured(far).run.records;
    assert_eq!(records.len(), 4);
    for record in records {
        assert_eq!(record.first_tokens(), 3);
        assert_eq!(record.chunks.iter().map(|chunk| chunk.tokens).collect::<Vec<_>>(), [3, 2]);
    }
    assert!(server.seen().iter().any(counts_along));
}

#[tokio::test]
async fn several_workers_hold_whole_conversations_and_together_those_of_one() {
    let (server, home) = (answering().await, tempfile::tempdir().unwrap());
    let mut talking = level(4, 30);
    talking.prompts.content.conversations =
        Some(crate::measure::Conversations { turns: Some(3), turns_std: 1.0, delay_s: 0.01, delay_std_s: 0.0 });
    let order = order(&server, Work::Level(talking));
    let posts = [post(), post()];
    let generator = Generator::Workers(posts.iter().map(Post::worker).collect());
    let far = measured(generator.carry_out("a", &order, &place(home.path()), home.path()).await.unwrap()).run;
    let near = measured(Generator::Here.carry_out("a", &order, &place(home.path()), home.path()).await.unwrap()).run;
    let turns = |run: &super::super::LevelRun| {
        run.records.iter().map(|record| (record.id.clone(), record.turn.map(|turn| turn.turn))).collect::<BTreeSet<_>>()
    };
    assert_eq!(turns(&far), turns(&near));
    assert!(far.records.len() >= 30);
    let mut slots = std::collections::BTreeMap::new();
    for record in &far.records {
        let slot = *slots.entry(record.turn.unwrap().conversation).or_insert(record.slot);
        assert_eq!(slot, record.slot, "one user holds a conversation");
    }
}

#[tokio::test]
async fn a_result_that_nobody_took_is_found_by_its_key_and_an_acknowledged_one_is_not() {
    let (server, post, home) = (answering().await, post(), tempfile::tempdir().unwrap());
    let first = order(&server, Work::Level(level(2, 6)));
    post.generator().carry_out("p.a1", &first, &place(home.path()), home.path()).await.unwrap();
    let mut second = first.clone();
    second.attempt = 2;
    let generator = post.generator();
    assert!(generator.is_engaged().await.unwrap());
    let carried = generator.carry_out("p.a2", &second, &place(home.path()), home.path()).await.unwrap();
    assert_eq!(carried.receipt.adopted, Some(Adopted { attempt: 1, was_running: false }));
    assert_eq!(server.seen().len(), 2 + 6 + METRICS, "two of the wave, six of the level");
    generator.acknowledge(&carried.receipt).await.unwrap();
    assert!(!generator.is_engaged().await.unwrap());
    let again = generator.carry_out("p.a3", &second, &place(home.path()), home.path()).await.unwrap();
    assert_eq!(again.receipt.adopted, None);
    assert_eq!(server.seen().len(), 2 * (8 + METRICS));
}

#[tokio::test]
async fn an_order_that_still_runs_is_adopted_and_one_of_another_key_is_ended() {
    let server = Server::start(|_, _| Reply::AndHang(Vec::new())).await;
    let (post, home) = (post(), tempfile::tempdir().unwrap());
    let mut slow = level(1, 1);
    slow.spec.fill = false;
    slow.spec.idle_timeout = Duration::from_millis(300);
    let first = order(&server, Work::Level(slow.clone()));
    post.worker().begin("p.a1", &first, None).await.unwrap();
    let mut second = first.clone();
    second.attempt = 2;
    let carried = post.generator().carry_out("p.a2", &second, &place(home.path()), home.path()).await.unwrap();
    assert_eq!(carried.receipt.adopted, Some(Adopted { attempt: 1, was_running: true }));
    assert_eq!(measured(carried).run.records.len(), 1);

    slow.spec.idle_timeout = Duration::from_secs(3600);
    let lost = Order { key: Digest::of(b"lost"), ..order(&server, Work::Level(slow)) };
    post.worker().begin("lost", &lost, None).await.unwrap();
    let page = Order { key: Digest::of(b"other"), ..order(&server, Work::Scrape) };
    let after = Server::start(|_, _| Reply::Bytes(good(1, 1))).await;
    let page = Order { endpoint: EndpointRef { url: after.url.clone(), ..EndpointRef::default() }, ..page };
    post.generator().carry_out("page", &page, &Place::default(), home.path()).await.unwrap();
    assert!(!post.worker().status().await.unwrap().orders.contains_key("lost"));
}

/// A way to a worker that cuts its first connections after a few bytes of answer.
async fn cutting(to: &str, cuts: usize, after: usize) -> (String, Arc<AtomicUsize>, JoinSet<()>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let to = to.trim_start_matches("http://").to_owned();
    let made = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&made);
    let mut task = JoinSet::new();
    task.spawn(async move {
        loop {
            let (mut near, _) = listener.accept().await.unwrap();
            let mut far = TcpStream::connect(&to).await.unwrap();
            let number = count.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let (mut near_read, mut near_write) = near.split();
                let (mut far_read, mut far_write) = far.split();
                let back = async {
                    let mut left = if number < cuts { after } else { usize::MAX };
                    let mut bytes = vec![0; 512];
                    while left > 0 {
                        let read = far_read.read(&mut bytes).await.unwrap_or(0);
                        if read == 0 || near_write.write_all(&bytes[..read.min(left)]).await.is_err() {
                            break;
                        }
                        left = left.saturating_sub(read);
                    }
                };
                tokio::select! {
                    () = back => {}
                    _ = tokio::io::copy(&mut near_read, &mut far_write) => {}
                }
            });
        }
    });
    (url, made, task)
}

#[tokio::test]
async fn a_way_that_breaks_again_and_again_loses_nothing_and_measures_nothing_twice() {
    let (server, post, home) = (answering().await, post(), tempfile::tempdir().unwrap());
    // Long enough for a status, too short for a result.
    let (url, made, _task) = cutting(&post.url, 12, 3000).await;
    let worker = Worker::new("post", &url, None).with_patience(Duration::from_secs(60));
    let order = order(&server, Work::Level(level(2, 40)));
    let generator = Generator::Workers(vec![worker]);
    let run = measured(generator.carry_out("a", &order, &place(home.path()), home.path()).await.unwrap()).run;
    assert_eq!(run.totals.ok, 42);
    assert_eq!(spilled(&home.path().join("spill")), (0..40).collect());
    assert!(made.load(Ordering::SeqCst) > 3, "the way was to break");
    assert_eq!(server.seen().len(), 42 + METRICS);
}

#[tokio::test]
async fn bytes_that_are_not_those_that_were_told_are_refused() {
    let (server, post, home) = (answering().await, post(), tempfile::tempdir().unwrap());
    let worker = post.worker();
    worker.begin("a", &order(&server, Work::Level(level(1, 2))), None).await.unwrap();
    let live = LiveProgress::default();
    let parts = worker.wait("a", &live, &Default::default(), |_| {}).await.unwrap();
    let path = post.dir.path().join("results/a/done.json");
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let error = worker.done("a", &parts, home.path()).await.unwrap_err().to_string();
    assert!(error.contains("does not have the digest"), "{error}");
}

#[tokio::test]
async fn two_workers_send_together_what_one_would_send() {
    let (server, home) = (answering().await, tempfile::tempdir().unwrap());
    let posts = [post(), post()];
    let generator = Generator::Workers(posts.iter().map(Post::worker).collect());
    let order = order(&server, Work::Level(level(5, 33)));
    let carried = generator.carry_out("a", &order, &place(home.path()), home.path()).await.unwrap();
    let done = measured(carried);
    let run = done.run;
    let indices: Vec<_> = run.records.iter().map(|record| record.index).collect();
    assert_eq!(indices.iter().copied().collect::<BTreeSet<_>>(), (0..33).collect());
    assert_eq!((indices.len(), run.fill_requests, run.totals), (33, 5, totals(38)));
    assert_eq!(run.records.iter().map(|record| record.slot).collect::<BTreeSet<_>>(), (0..5).collect());
    assert!(run.records.windows(2).all(|pair| pair[0].sent <= pair[1].sent));
    assert_eq!(spilled(&home.path().join("spill")), (0..33).collect());
    assert_eq!((run.health.workers, done.offsets.len()), (2, 2));
    assert!(run.health.clock_uncertainty_ms > 0.0);
    // Both clocks are this machine's: an offset beyond its own uncertainty would be a fault of the measuring.
    for offset in &done.offsets {
        assert!(offset.offset_ns.unsigned_abs() <= offset.uncertainty_ns, "{offset:?}");
    }
    // The wave of both began after both were told.
    assert!(home.path().read_dir().unwrap().count() == 1, "the parts' own files are gone");
    assert_eq!(server.seen().len(), 38 + 1);
}

fn totals(ok: u64) -> Totals {
    Totals { ok, prompt_tokens: ok * 41, output_tokens: ok * 5, other: 0 }
}

#[tokio::test]
async fn a_part_that_is_missing_makes_the_whole_level_anew() {
    let (server, home) = (answering().await, tempfile::tempdir().unwrap());
    let posts = [post(), post()];
    let generator = Generator::Workers(posts.iter().map(Post::worker).collect());
    let mut order = order(&server, Work::Level(level(2, 4)));
    let place = place(home.path());
    generator.carry_out("a", &order, &place, home.path()).await.unwrap();
    order.attempt = 2;
    let found = generator.carry_out("b", &order, &place, home.path()).await.unwrap();
    assert_eq!(found.receipt.adopted, Some(Adopted { attempt: 1, was_running: false }));
    posts[1].worker().discard("a").await.unwrap();
    order.attempt = 3;
    let anew = generator.carry_out("c", &order, &place, home.path()).await.unwrap();
    assert_eq!(anew.receipt.adopted, None);
}

#[tokio::test]
async fn a_tokenizer_goes_along_with_the_first_order_that_needs_it() {
    let (server, post, home) = (answering().await, post(), tempfile::tempdir().unwrap());
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tokenizer/tiny-bpe.json");
    let mut level = level(1, 3);
    level.prompts.ruler = RulerOrder::Tokenizer { file: TokenizerFile::at(&fixture).unwrap(), overhead: None };
    let order = order(&server, Work::Level(level));
    let run = measured(post.generator().carry_out("a", &order, &place(home.path()), home.path()).await.unwrap()).run;
    assert!(run.records.iter().all(|record| record.isl == Some(record.isl_asked)));
    assert_eq!(post.dir.path().join("files").read_dir().unwrap().count(), 1);
}

#[tokio::test]
async fn what_failed_there_is_told_here_in_its_own_words() {
    let (server, post, home) = (answering().await, post(), tempfile::tempdir().unwrap());
    let mut order = order(&server, Work::Level(level(1, 3)));
    order.endpoint.api_key_env = Some("DYNBENCH_TEST_UNSET".to_owned());
    let failed = post.generator().carry_out("a", &order, &place(home.path()), home.path()).await.unwrap_err();
    assert!(failed.to_string().contains("DYNBENCH_TEST_UNSET is not set"), "{failed}");
    assert!(failed.help().unwrap().contains("load.env.DYNBENCH_TEST_UNSET"));
    assert!(post.worker().status().await.unwrap().orders.is_empty(), "nobody comes back for it");
}

#[tokio::test]
async fn an_order_that_is_cancelled_ends_there_too() {
    let server = Server::start(|_, _| Reply::AndHang(Vec::new())).await;
    let (post, home) = (post(), tempfile::tempdir().unwrap());
    let place = place(home.path());
    let cancel = place.cancel.clone();
    let generator = post.generator();
    let order = order(&server, Work::Level(level(1, 3)));
    let carrying = generator.carry_out("a", &order, &place, home.path());
    let cancelling = async {
        // The order is there before it is cancelled.
        while post.worker().status().await.unwrap().orders.is_empty() {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
    };
    let (carried, ()) = tokio::join!(carrying, cancelling);
    assert!(matches!(carried, Err(LoadError::Cancelled)));
    assert!(post.worker().status().await.unwrap().orders.is_empty());
}

/// Says that a worker is gone.
struct Gone;

impl Lifeline for Gone {
    fn check(&self) -> Alive<'_> {
        Box::pin(async { Err("its pod was evicted".to_owned()) })
    }
}

#[tokio::test]
async fn a_worker_that_is_gone_is_not_waited_for() {
    let worker = Worker::new("pod", "http://127.0.0.1:1", Some(Arc::new(Gone)));
    let error = worker.status().await.unwrap_err();
    assert!(matches!(&error, LoadError::WorkerGone { reason, .. } if reason == "its pod was evicted"), "{error}");
}

#[tokio::test]
async fn a_worker_that_nobody_asks_ends_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let options = WorkerOptions { dir: dir.path().to_owned(), hold: Duration::ZERO, idle: Duration::ZERO };
    let why = serve_worker(options, listener, Default::default()).await.unwrap();
    assert!(why.contains("nobody has asked"), "{why}");
}
