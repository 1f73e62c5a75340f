//! Where load comes from: this process, or workers. The one place that knows the difference.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::super::closed::WarmUp;
use super::super::error::LoadError;
use super::super::level::{LevelSpec, LiveProgress};
use super::client::Worker;
use super::merge::{self, merge};
use super::offset::ClockOffset;
use super::order::{Done, LevelOrder, Measured, Order, Work};
use super::perform::{Place, perform};
use super::serve::SPILL;
use super::share::Share;
use super::shelf::{Counted, OrderState, Part};
use crate::base::{Clock, Digest, SystemClock, Timestamp};

/// Several workers begin together so long after they were told: enough for their connections to be opened.
const LEAD: std::time::Duration = std::time::Duration::from_millis(1500);

/// Where load comes from.
#[derive(Debug)]
pub enum Generator {
    /// This process.
    Here,
    /// Workers, at least one; each level is shared among all of them.
    Workers(Vec<Worker>),
}

impl Generator {
    /// The machines that the load comes from; `None`: not known of some of them.
    pub fn hosts(&self) -> Option<String> {
        match self {
            Self::Here => Some(this_machine()),
            Self::Workers(workers) => {
                let hosts: Option<BTreeSet<&str>> = workers.iter().map(|worker| worker.host.as_deref()).collect();
                Some(hosts?.into_iter().collect::<Vec<_>>().join(" + "))
            }
        }
    }
}

/// This machine's name.
pub fn this_machine() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// An order that was carried out.
#[derive(Debug)]
pub struct Carried {
    /// What came of it.
    pub done: Done,
    /// By which it is acknowledged.
    pub receipt: Receipt,
}

/// Who holds a result.
#[derive(Debug, Clone, Default)]
pub struct Receipt {
    /// The earlier attempt whose result this is, if it was found rather than made.
    pub adopted: Option<Adopted>,
    /// Worker by place, and the id under which it holds the result.
    held: Vec<(usize, String)>,
}

/// An earlier attempt that went on without its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Adopted {
    /// Which.
    pub attempt: u32,
    /// Whether it was still being done when it was found: what was asked of the server to find that out fell into it.
    pub was_running: bool,
}

/// What each worker has to do of one order.
struct Piece {
    worker: usize,
    order: Order,
    offset: ClockOffset,
}

/// A piece under way.
struct Running {
    worker: usize,
    id: String,
    offset: ClockOffset,
}

impl Generator {
    /// Carries an order out, or finds it carried out under the same key. `id` is the order's own, unique in the run and
    /// attempt; `scratch` is a folder for files on their way.
    ///
    /// # Errors
    /// As [`perform`], and when a worker is gone or cannot be asked. Nothing goes on elsewhere after an error, except
    /// when a worker was out of reach: then it holds its result for whoever comes with the same key.
    pub async fn carry_out(
        &self,
        id: &str,
        order: &Order,
        place: &Place,
        scratch: &Path,
    ) -> Result<Carried, LoadError> {
        match self {
            Self::Here => {
                let done = perform(&order.endpoint, &order.work, place).await?;
                Ok(Carried { done, receipt: Receipt::default() })
            }
            Self::Workers(workers) => {
                let outcome = by_workers(workers, id, order, place, scratch).await;
                if let Err(error) = &outcome
                    && !matches!(error, LoadError::Worker { .. })
                {
                    give_up(workers, id, order).await;
                }
                outcome
            }
        }
    }

    /// Whether a worker does, or has done and holds, what was ordered earlier.
    ///
    /// # Errors
    /// When a worker cannot be asked.
    pub async fn is_engaged(&self) -> Result<bool, LoadError> {
        let Self::Workers(workers) = self else { return Ok(false) };
        for worker in workers {
            let status = worker.status().await?;
            if status.orders.values().any(|order| usable(&order.state)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Acknowledges a result: it is safe here, and workers let it go.
    ///
    /// # Errors
    /// When a worker cannot be asked.
    pub async fn acknowledge(&self, receipt: &Receipt) -> Result<(), LoadError> {
        let Self::Workers(workers) = self else { return Ok(()) };
        for (worker, id) in &receipt.held {
            workers[*worker].discard(id).await?;
        }
        Ok(())
    }
}

async fn by_workers(
    workers: &[Worker],
    id: &str,
    order: &Order,
    place: &Place,
    scratch: &Path,
) -> Result<Carried, LoadError> {
    let pieces = pieces(workers, order).await?;
    let (running, adopted) = match found(workers, &pieces, order.attempt).await? {
        Some((running, adopted)) => (running, Some(adopted)),
        None => {
            let pieces = counted(workers, pieces, id, order, place, scratch).await?;
            (begin(workers, pieces, id).await?, None)
        }
    };
    let parts = all_done(workers, &running, place).await?;
    let done = gathered(workers, &running, &parts, place, scratch).await?;
    let held = running.into_iter().map(|piece| (piece.worker, piece.id)).collect();
    let adopted = adopted.filter(|adopted| adopted.attempt != order.attempt);
    Ok(Carried { done, receipt: Receipt { adopted, held } })
}

/// Ends what an order has left on workers that can be reached.
async fn give_up(workers: &[Worker], id: &str, order: &Order) {
    for worker in workers {
        let discard = async {
            // What was adopted has an id of its own; its key tells.
            let status = worker.status().await?;
            let keys = part_keys(order, workers.len());
            for (found, _) in status.orders.iter().filter(|(found, order)| *found == id || keys.contains(&order.key)) {
                worker.discard(found).await?;
            }
            Ok::<_, LoadError>(())
        };
        // A worker that does not answer ends by itself; waiting for it would keep a person who pressed Ctrl-C.
        drop(tokio::time::timeout(std::time::Duration::from_secs(10), discard).await);
    }
}

fn part_key(order: &Order, share: Share) -> Digest {
    if share == Share::WHOLE {
        return order.key.clone();
    }
    Digest::of(format!("{} {} of {}", order.key, share.part, share.of).as_bytes())
}

fn part_keys(order: &Order, workers: usize) -> Vec<Digest> {
    let most = u32::try_from(workers).unwrap_or(u32::MAX);
    let shares = (1..=most).flat_map(|of| (0..of).map(move |part| Share { part, of }));
    shares.map(|share| part_key(order, share)).collect()
}

/// Cuts an order into what each worker has to do.
async fn pieces(workers: &[Worker], order: &Order) -> Result<Vec<Piece>, LoadError> {
    let shared = match &order.work {
        Work::WarmUp(level) | Work::Level(level) => level.spec.concurrency.max(1),
        Work::Tune(_) | Work::Count | Work::Settle { .. } | Work::Scrape => 1,
    };
    let of = u32::try_from(workers.len()).unwrap_or(u32::MAX).min(shared);
    if of == 1 {
        return Ok(vec![Piece { worker: 0, order: order.clone(), offset: ClockOffset::default() }]);
    }
    let mut pieces = Vec::new();
    for (part, (place, worker)) in (0..of).zip(workers.iter().enumerate()) {
        let share = Share { part, of };
        let key = part_key(order, share);
        let work = match &order.work {
            Work::WarmUp(level) => Work::WarmUp(part_of(level, share)),
            Work::Level(level) => Work::Level(part_of(level, share)),
            whole @ (Work::Tune(_) | Work::Count | Work::Settle { .. } | Work::Scrape) => whole.clone(),
        };
        let offset = worker.clock().await?;
        pieces.push(Piece { worker: place, order: Order { key, work, ..order.clone() }, offset });
    }
    Ok(pieces)
}

fn part_of(level: &LevelOrder, share: Share) -> LevelOrder {
    let mut part = level.clone();
    // A part of no limit is none either.
    if level.spec.concurrency != LevelSpec::UNLIMITED {
        let concurrency = share.of_total(u64::from(level.spec.concurrency));
        part.spec.concurrency = u32::try_from(concurrency).unwrap_or(u32::MAX);
    }
    // Conversations are counted over the whole level: which of them are its own follows from its share.
    if level.prompts.content.conversations.is_none() {
        part.spec.requests = share.of_total(level.spec.requests);
    }
    part.spec.least = share.of_total(level.spec.least);
    part.spec.share = share;
    // One looks at the server for all.
    part.series = level.series.filter(|_| share.part == 0);
    part
}

/// Whether something comes, or has come, of an order.
fn usable(state: &OrderState) -> bool {
    match state {
        OrderState::Running | OrderState::Done(_) => true,
        OrderState::Failed(_) => false,
    }
}

/// The pieces as an earlier attempt left them, if every one of them runs or is done. Whatever else runs there is ended:
/// nobody waits for it any more.
async fn found(
    workers: &[Worker],
    pieces: &[Piece],
    attempt: u32,
) -> Result<Option<(Vec<Running>, Adopted)>, LoadError> {
    let mut running = Vec::new();
    let mut adopted = Adopted { attempt, was_running: false };
    for piece in pieces {
        let status = workers[piece.worker].status().await?;
        let same = status.orders.iter().find(|(_, order)| order.key == piece.order.key && usable(&order.state));
        if let Some((id, order)) = same {
            adopted.attempt = order.attempt;
            adopted.was_running |= order.state == OrderState::Running;
            running.push(Running { worker: piece.worker, id: id.clone(), offset: piece.offset });
        }
        for (id, order) in &status.orders {
            let wanted = running.last().is_some_and(|found| found.worker == piece.worker && found.id == *id);
            if order.state == OrderState::Running && !wanted {
                workers[piece.worker].discard(id).await?;
            }
        }
    }
    if running.len() == pieces.len() {
        return Ok(Some((running, adopted)));
    }
    // A part of the level is missing: the others are of no use without it.
    for part in running {
        workers[part.worker].discard(&part.id).await?;
    }
    Ok(None)
}

/// Has the server's counters read before several workers begin a level: each would read them when others have begun.
async fn counted(
    workers: &[Worker],
    mut pieces: Vec<Piece>,
    id: &str,
    order: &Order,
    place: &Place,
    scratch: &Path,
) -> Result<Vec<Piece>, LoadError> {
    if pieces.len() == 1 || !matches!(order.work, Work::Level(_)) {
        return Ok(pieces);
    }
    let id = format!("{id}-before");
    let order = Order { work: Work::Count, key: Digest::of(id.as_bytes()), ..order.clone() };
    let piece = Piece { worker: 0, order, offset: ClockOffset::default() };
    let running = begin(workers, vec![piece], &id).await?;
    let parts = all_done(workers, &running, place).await?;
    let done = gathered(workers, &running, &parts, place, scratch).await?;
    workers[0].discard(&id).await?;
    if let Done::Counted(before) = done {
        for piece in &mut pieces {
            if let Work::Level(level) = &mut piece.order.work {
                level.before = Some(before);
            }
        }
    }
    Ok(pieces)
}

/// Gives every worker its piece; several begin at one moment, each by its own clock.
async fn begin(workers: &[Worker], pieces: Vec<Piece>, id: &str) -> Result<Vec<Running>, LoadError> {
    let together = pieces.len() > 1;
    let lead = u64::try_from(LEAD.as_nanos()).unwrap_or(u64::MAX);
    let start = Timestamp(SystemClock::default().now().0.saturating_add(lead));
    let mut running = Vec::new();
    for mut piece in pieces {
        if together {
            match &mut piece.order.work {
                Work::WarmUp(level) | Work::Level(level) => level.spec.start = Some(piece.offset.to_worker(start)),
                Work::Tune(_) | Work::Count | Work::Settle { .. } | Work::Scrape => {}
            }
        }
        let file = piece.order.work.files().cloned();
        workers[piece.worker].begin(id, &piece.order, file.as_ref()).await?;
        running.push(Running { worker: piece.worker, id: id.to_owned(), offset: piece.offset });
    }
    Ok(running)
}

/// Waits for all pieces; the first that fails fails the whole.
async fn all_done(workers: &[Worker], running: &[Running], place: &Place) -> Result<Vec<Vec<Part>>, LoadError> {
    let counts = std::sync::Mutex::new(vec![Counted::default(); running.len()]);
    let waits = running.iter().enumerate().map(|(number, piece)| {
        let (counts, live): (_, &LiveProgress) = (&counts, &place.live);
        workers[piece.worker].wait(&piece.id, live, &place.cancel, move |status| {
            if let Ok(mut counts) = counts.lock() {
                counts[number] = status.progress;
                counts.iter().fold(Counted::default(), |sum, one| sum.plus(*one)).show(live);
            }
        })
    });
    try_all(waits).await
}

/// All of them at once, in their order; the first error ends it.
async fn try_all<T>(
    futures: impl Iterator<Item = impl Future<Output = Result<T, LoadError>>>,
) -> Result<Vec<T>, LoadError> {
    let mut waiting: Vec<_> = futures.map(|future| (Some(Box::pin(future)), None)).collect();
    std::future::poll_fn(move |cx| {
        let mut pending = false;
        for (future, result) in &mut waiting {
            let Some(running) = future else { continue };
            match running.as_mut().poll(cx) {
                std::task::Poll::Ready(Ok(value)) => (*future, *result) = (None, Some(value)),
                std::task::Poll::Ready(Err(error)) => return std::task::Poll::Ready(Err(error)),
                std::task::Poll::Pending => pending = true,
            }
        }
        if pending {
            return std::task::Poll::Pending;
        }
        std::task::Poll::Ready(Ok(waiting.iter_mut().filter_map(|(_, result)| result.take()).collect()))
    })
    .await
}

/// Fetches what came of the pieces and makes one of it.
async fn gathered(
    workers: &[Worker],
    running: &[Running],
    parts: &[Vec<Part>],
    place: &Place,
    scratch: &Path,
) -> Result<Done, LoadError> {
    let mut dones = Vec::new();
    for (number, (piece, parts)) in running.iter().zip(parts).enumerate() {
        let worker = &workers[piece.worker];
        let done = worker.done(&piece.id, parts, scratch).await?;
        let mut spill = None;
        if let (Some(part), Some(path)) = (parts.iter().find(|part| part.name == SPILL), &place.spill) {
            let to = if running.len() == 1 { path.clone() } else { numbered(path, number) };
            worker.fetch(&piece.id, part, &to).await?;
            spill = Some(to);
        }
        dones.push((done, piece.offset, spill));
    }
    if dones.len() == 1 {
        return Ok(dones.remove(0).0);
    }
    together(dones, place.spill.clone()).await
}

fn numbered(path: &Path, number: usize) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

/// One result out of several.
async fn together(dones: Vec<(Done, ClockOffset, Option<PathBuf>)>, spill: Option<PathBuf>) -> Result<Done, LoadError> {
    let mut runs = Vec::new();
    let mut before = None;
    let mut silent = Vec::new();
    let mut warm = WarmUp { ok: 0, failed: 0, example: None, totals: super::super::level::Totals::default() };
    for (done, offset, spill) in dones {
        match done {
            Done::Measured(measured) => {
                let Measured { run, before: counters, scrapes, silent: unheard, .. } = *measured;
                silent.extend(unheard);
                before.get_or_insert(counters);
                runs.push(merge::Part { run, offset, spill, scrapes });
            }
            Done::Warmed(part) => {
                warm = WarmUp {
                    ok: warm.ok + part.ok,
                    failed: warm.failed + part.failed,
                    example: warm.example.or(part.example),
                    totals: warm.totals.plus(part.totals),
                };
            }
            only @ (Done::Tuned(_) | Done::Counted(_) | Done::Scraped(_)) => return Ok(only),
        }
    }
    let Some(before) = before else { return Ok(Done::Warmed(warm)) };
    let offsets = runs.iter().map(|part| part.offset).collect();
    let merged = tokio::task::spawn_blocking(move || {
        let litter: Vec<_> = runs.iter().filter_map(|part| part.spill.clone()).collect();
        let merged = merge(runs, spill.as_deref());
        for path in litter {
            // Joined in one file by now.
            drop(std::fs::remove_file(path));
        }
        merged
    });
    let (run, scrapes) = merged.await.map_err(|_| LoadError::Panicked)??;
    Ok(Done::Measured(Box::new(Measured { run, before, after: None, offsets, scrapes, silent })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{Api, Asker, Capabilities, Lengths, PromptsOrder, RequestShape, RulerOrder};

    #[test]
    fn a_part_of_a_level_has_its_share_of_everything_that_has_a_limit() {
        let part = |concurrency: u32| {
            let spec = LevelSpec::new(concurrency, 10, std::time::Duration::from_secs(1));
            let prompts = PromptsOrder {
                asker: Asker { seed: 0, nonce: String::new(), level: String::new(), repeat: 1, attempt: 1 },
                lengths: Lengths { isl: 1, isl_std: 0.0, osl: 1, osl_std: 0.0 },
                content: crate::measure::Content::default(),
                turn_overhead: None,
                ruler: RulerOrder::Words,
                shape: RequestShape {
                    api: Api::Chat,
                    model: String::new(),
                    temperature: None,
                    extra: serde_json::Map::new(),
                },
                capabilities: Capabilities::default(),
            };
            let spec = LevelSpec { least: 6, ..spec };
            let level = LevelOrder { spec, prompts, keep_raw: false, before: None, series: None };
            part_of(&level, Share { part: 0, of: 3 }).spec
        };
        let few = part(8);
        assert_eq!((few.concurrency, few.requests, few.least), (3, 4, 2));
        // Else waiting for one of this machine's files would look like waiting that the plan asked for.
        assert_eq!(part(LevelSpec::UNLIMITED).concurrency, LevelSpec::UNLIMITED);
    }
}
