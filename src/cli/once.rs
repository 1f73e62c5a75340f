//! `dynbench load URL`.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use tokio_util::sync::CancellationToken;

use super::args::Load;
use super::display::STILL;
use super::{print, running};
use crate::app::{
    self, AppError, Arrivals, Conversations, ExitCode, LiveProgress, LoadOptions, Loaded, METRICS, OpenLoop, Rate,
    Stop, StopLevel,
};
use crate::base::{FileError, format_duration, format_quantity, parse_duration};

/// The open loop that the arguments ask for, if they do.
fn open_loop(arguments: &Load) -> Result<Option<OpenLoop>, AppError> {
    let Some(rate) = arguments.request_rate else { return Ok(None) };
    let Some(rate) = Rate::new(rate) else {
        let (low, high) = (Rate::LOWEST, Rate::HIGHEST);
        return Err(AppError::usage(format!("--request-rate {rate}: it must be from {low} to {high} per second")));
    };
    let arrivals = match (arguments.arrivals.as_str(), arguments.burstiness) {
        ("gamma", Some(burstiness)) if (0.01..=1000.0).contains(&burstiness) => Arrivals::Gamma { burstiness },
        ("gamma", _) => return Err(AppError::usage("--arrivals gamma needs --burstiness from 0.01 to 1000")),
        (_, Some(_)) => return Err(AppError::usage("--burstiness is of --arrivals gamma only")),
        ("constant", None) => Arrivals::Constant,
        (_, None) => Arrivals::Poisson,
    };
    Ok(Some(OpenLoop { rate, arrivals, max_concurrency: arguments.max_concurrency }))
}

/// The conversations that the arguments ask for, if they do.
fn conversations(arguments: &Load) -> Result<Option<Conversations>, AppError> {
    let Some(turns) = arguments.turns else { return Ok(None) };
    if !(1..=10_000).contains(&turns) {
        return Err(AppError::usage("--turns must be from 1 to 10000"));
    }
    let delay = match &arguments.turn_delay {
        Some(delay) => parse_duration(delay).map_err(|why| AppError::usage(format!("--turn-delay {delay}: {why}")))?,
        None => Duration::ZERO,
    };
    Ok(Some(Conversations { turns: Some(turns), turns_std: 0.0, delay_s: delay.as_secs_f64(), delay_std_s: 0.0 }))
}

/// A time that is not zero.
fn time(name: &str, text: &str) -> Result<Duration, AppError> {
    match parse_duration(text) {
        Ok(Duration::ZERO) => Err(AppError::usage(format!("{name} {text}: it must be longer than nothing"))),
        Ok(time) => Ok(time),
        Err(reason) => Err(AppError::usage(format!("{name} {text}: {reason}"))),
    }
}

/// Refuses a level that never has as many requests under way as it is asked for, as a plan does.
fn refuse_few_requests(options: &LoadOptions) -> Result<(), AppError> {
    let (Some(requests), None) = (options.requests, &options.open) else { return Ok(()) };
    if f64::from(options.concurrency) * options.turns() <= requests as f64 {
        return Ok(());
    }
    Err(AppError::Usage {
        message: format!("--requests {requests} never make --concurrency {}", options.concurrency),
        help: Some("ask for at least ten times the concurrency, or leave --requests out".to_owned()),
    })
}

pub(super) fn load(arguments: &Load) -> Result<ExitCode, AppError> {
    if !(0.0..=f64::from(arguments.isl)).contains(&arguments.isl_std) {
        return Err(AppError::usage("--isl-std must be from 0 to --isl"));
    }
    let options = LoadOptions {
        url: arguments.url.clone(),
        api_key_env: arguments.api_key_env.clone(),
        model: arguments.model.clone(),
        concurrency: arguments.concurrency,
        open: open_loop(arguments)?,
        requests: arguments.requests,
        duration: time("--duration", &arguments.duration)?,
        timeout: time("--timeout", &arguments.timeout)?,
        isl: arguments.isl,
        isl_std: arguments.isl_std,
        conversations: conversations(arguments)?,
        osl: arguments.osl,
        tokenizer: arguments.tokenizer.clone(),
        completions: arguments.completions,
        seed: arguments.seed,
        warm_up: arguments.warm_up,
        nonce: app::nonce(),
    };
    refuse_few_requests(&options)?;
    let stop = Stop::default();
    let cancel = CancellationToken::new();
    let live = Arc::new(LiveProgress::default());
    let loaded = running::runtime()?.block_on(async {
        let _signals = app::listen_to_signals(stop.clone())
            .map_err(|source| AppError::System { action: "listen to signals".to_owned(), source })?;
        let mut loading = std::pin::pin!(app::load_once(&options, &cancel, Arc::clone(&live)));
        let mut progress = Progress::of(&options);
        let mut looks = tokio::time::interval(Duration::from_millis(250));
        loop {
            tokio::select! {
                loaded = &mut loading => break loaded,
                () = stop.reached(StopLevel::Orderly), if !cancel.is_cancelled() => cancel.cancel(),
                _ = looks.tick() => progress.show(live.done.load(Ordering::Relaxed)),
            }
        }
    })?;
    if let Some(path) = &arguments.records {
        write_records(path, &loaded).map_err(|source| FileError::new("write", path, source))?;
    }
    if arguments.json {
        print::json(&loaded.to_json())?;
    } else {
        print::out(&text(&loaded))?;
    }
    if let Some(failed) = &loaded.failed {
        print::say(&format!("the level failed: {failed}"));
    }
    Ok(match stop.signal() {
        Some(signal) => app::exit_code_of(signal),
        None if loaded.failed.is_some() || !loaded.summary.is_valid() => ExitCode::FAILED,
        None => ExitCode::DONE,
    })
}

/// How far a level is: a bar on a terminal, now and then a line elsewhere.
struct Progress {
    bar: Option<ProgressBar>,
    total: u64,
    began: Instant,
    said: Instant,
}

impl Progress {
    fn of(options: &LoadOptions) -> Self {
        let template = "{spinner} [{bar:30}] {pos}/{len} requests  {elapsed} (left {eta})";
        let style = ProgressStyle::with_template(template).ok().filter(|_| io::stderr().is_terminal());
        let (total, now) = (options.requests(), Instant::now());
        Self { bar: style.map(|style| ProgressBar::new(total).with_style(style)), total, began: now, said: now }
    }

    fn show(&mut self, done: u64) {
        match &self.bar {
            Some(bar) => bar.set_position(done),
            None if self.said.elapsed() >= STILL => {
                self.said = Instant::now();
                let since = format_duration(Duration::from_secs(self.began.elapsed().as_secs()));
                print::say(&format!("still    {done}/{} requests (for {since})", self.total));
            }
            None => {}
        }
    }
}

fn write_records(path: &std::path::Path, loaded: &Loaded) -> io::Result<()> {
    let mut file = io::BufWriter::new(std::fs::File::create(path)?);
    for record in &loaded.records {
        serde_json::to_writer(&mut file, record)?;
        file.write_all(b"\n")?;
    }
    file.flush()
}

fn text(loaded: &Loaded) -> String {
    let summary = &loaded.summary;
    let counts = &summary.counts;
    let mut out = format!(
        "{} at {}, {}: {} ok, {} failed in {:.1} s\n\n{:<36} {:>10} {:>10} {:>10} {:>10}\n",
        summary.meta.model,
        summary.meta.url,
        summary.meta.level.words(),
        counts.ok,
        counts.failed,
        summary.duration_s,
        "",
        "mean",
        "p50",
        "p90",
        "p99"
    );
    let cell = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), format_quantity);
    for metric in METRICS {
        let name = format!("{} ({})", metric.title, metric.unit);
        if let Some(found) = summary.distributions.get(metric.id) {
            let p = |p| cell(found.trusted_percentile(p));
            out.push_str(&format!(
                "{name:<36} {:>10} {:>10} {:>10} {:>10}\n",
                cell(Some(found.mean)),
                p(50),
                p(90),
                p(99)
            ));
        } else if let Some(value) = summary.values.get(metric.id) {
            out.push_str(&format!("{name:<36} {:>10}\n", cell(Some(*value))));
        }
    }
    if let Some(short) = summary.itl_shortfall() {
        out.push_str(&format!(
            "\nthe server merges tokens and does not tell how many its first chunk holds: the inter-token latency takes it \
             for one and is too low by up to {:.1} %\n",
            100.0 * short
        ));
    }
    if let Some(found) = &summary.conversations {
        out.push_str(&format!("\nconversations: {found}\n"));
    }
    for failure in &summary.failures {
        out.push_str(&format!("\nfailed: {} x {}, such as: {}\n", failure.count, failure.class, failure.example));
    }
    for breach in &summary.invalid {
        out.push_str(&format!("\nnot valid: {}: {}\n", breach.rule, breach.reason));
    }
    out
}
