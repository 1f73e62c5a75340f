//! Does one order. The same lines in a worker and here.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::super::ceiling::ceiling_of;
use super::super::closed::warm_up;
use super::super::counted::all_equal;
use super::super::endpoint::Endpoint;
use super::super::error::LoadError;
use super::super::level::{LevelSpec, LiveProgress, Totals};
use super::super::metrics::{CounterSnapshot, scrape};
use super::super::series::{SeriesLog, SeriesSource, watch_series};
use super::super::shape::run_level;
use super::order::{Done, EndpointRef, Measured, Page, Work};

/// Limit for one page of metrics before a level, when the server has little to do.
const FIRST_PAGE: Duration = Duration::from_secs(3);
/// Limit for one page of metrics.
const PAGE: Duration = Duration::from_secs(5);
/// How often counters are looked at again, and how many times.
const AGAIN: Duration = Duration::from_millis(200);
const LOOKS: u32 = 10;

/// Where an order is done.
#[derive(Debug, Clone, Default)]
pub struct Place {
    /// Cancelled when it must end.
    pub cancel: CancellationToken,
    /// How far it is.
    pub live: Arc<LiveProgress>,
    /// The file for raw responses, if they are kept.
    pub spill: Option<PathBuf>,
    /// The folder for what is needed only meanwhile (see [`LevelSpec::scratch`]).
    pub scratch: Option<PathBuf>,
}

/// Does it.
///
/// # Errors
/// When the server does not answer a question, or the generator cannot work; [`LoadError::Cancelled`].
pub async fn perform(endpoint: &EndpointRef, work: &Work, place: &Place) -> Result<Done, LoadError> {
    let cancelled = || place.cancel.cancelled();
    match work {
        Work::Tune(order) => {
            let endpoint = endpoint.resolve()?;
            tokio::select! {
                () = cancelled() => Err(LoadError::Cancelled),
                tuning = order.ask(&endpoint) => Ok(Done::Tuned(tuning?)),
            }
        }
        Work::WarmUp(order) => {
            let (to, prompts) = (endpoint.resolve()?, order.prompts.resolve()?);
            let spec = LevelSpec { scratch: place.scratch.clone(), ..order.spec.clone() };
            let warm = warm_up(&spec, &to, prompts, &place.cancel, Arc::clone(&place.live)).await?;
            if place.cancel.is_cancelled() { Err(LoadError::Cancelled) } else { Ok(Done::Warmed(warm)) }
        }
        Work::Level(order) => {
            let (to, prompts) = (endpoint.resolve()?, order.prompts.resolve()?);
            let spill = place.spill.clone().filter(|_| order.keep_raw);
            let spec = LevelSpec { spill, scratch: place.scratch.clone(), ..order.spec.clone() };
            let (before, pages) = match order.before {
                Some(before) => (before, Vec::new()),
                None => counters(&endpoint.metrics().unwrap_or_default(), FIRST_PAGE).await,
            };
            let listening = Listening::start(endpoint.series()?, order.series);
            let mut run = run_level(&spec, &to, prompts, &place.cancel, Arc::clone(&place.live)).await?;
            run.health.ceiling_events_per_s = ceiling_of(&run.health).await;
            if place.cancel.is_cancelled() {
                return Err(LoadError::Cancelled);
            }
            let after = match order.before {
                Some(_) => None,
                // A page that could not be read before has nothing to be compared with, and may be one that hangs.
                None => Some(settled(&pages, &before, &run.totals).await),
            };
            let heard = listening.stop().await;
            let silent = heard.silent.clone();
            let scrapes = heard.since(run.origin);
            Ok(Done::Measured(Box::new(Measured { run, before, after, offsets: Vec::new(), scrapes, silent })))
        }
        Work::Count => Ok(Done::Counted(counters(&endpoint.metrics().unwrap_or_default(), FIRST_PAGE).await.0)),
        Work::Settle { before, totals } => {
            Ok(Done::Counted(settled(&endpoint.metrics().unwrap_or_default(), before, totals).await))
        }
        Work::Scrape => {
            let mut pages = Vec::new();
            for from in endpoint.metrics()? {
                let answer = from.get("/metrics", PAGE).await.ok().filter(|answer| answer.status == 200);
                let text = answer.map(|answer| String::from_utf8_lossy(&answer.body).into_owned());
                pages.push(Page { url: from.url().to_owned(), text });
            }
            Ok(Done::Scraped(pages))
        }
    }
}

/// The reading of the server's own view, on a task of its own; ended when dropped.
struct Listening {
    stop: CancellationToken,
    task: Option<AbortOnDropHandle<SeriesLog>>,
}

impl Listening {
    /// Starts it; without an interval nothing is read.
    fn start(sources: Vec<SeriesSource>, interval: Option<Duration>) -> Self {
        let stop = CancellationToken::new();
        let task = interval.map(|interval| {
            let stop = stop.clone();
            AbortOnDropHandle::new(tokio::spawn(async move { watch_series(&sources, interval, &stop).await }))
        });
        Self { stop, task }
    }

    async fn stop(self) -> SeriesLog {
        self.stop.cancel();
        match self.task {
            Some(task) => match task.await {
                Ok(log) => log,
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            },
            None => SeriesLog::default(),
        }
    }
}

/// The server's own counters, summed over all pages that can be read, and those pages.
async fn counters(pages: &[Endpoint], limit: Duration) -> (CounterSnapshot, Vec<Endpoint>) {
    let (mut sum, mut read) = (CounterSnapshot::default(), Vec::new());
    for page in pages {
        // A server without /metrics is compared with nothing.
        let Ok(found) = scrape(page, limit).await else { continue };
        sum = sum.plus(&found);
        read.push(page.clone());
    }
    (sum, read)
}

/// The counters once they have grown by what was asked. Some servers count a moment after the last byte: they are asked
/// again until all is equal or two seconds have passed.
async fn settled(pages: &[Endpoint], before: &CounterSnapshot, totals: &Totals) -> CounterSnapshot {
    let (mut after, _) = counters(pages, PAGE).await;
    for _ in 1..LOOKS {
        if all_equal(before, &after, totals) {
            break;
        }
        tokio::time::sleep(AGAIN).await;
        (after, _) = counters(pages, PAGE).await;
    }
    after
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tokio::net::TcpListener;

    use super::super::super::endpoint::EndpointSpec;
    use super::*;

    #[tokio::test]
    async fn a_page_that_cannot_be_read_before_a_level_is_waited_for_once() {
        // Whoever listens and never accepts is a server that hangs.
        let hangs = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", hangs.local_addr().unwrap());
        let page = Endpoint::new(&EndpointSpec { url, ..EndpointSpec::default() }).unwrap();
        let (before, pages) = counters(&[page], Duration::from_millis(50)).await;
        let began = Instant::now();
        assert_eq!(settled(&pages, &before, &Totals::default()).await, CounterSnapshot::default());
        assert!(began.elapsed() < PAGE, "{:?}", began.elapsed());
    }
}
