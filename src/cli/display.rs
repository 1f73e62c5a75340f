//! Progress: on a terminal a line for each running step; without one, transitions and a line every 30 s.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::print;
use crate::app::{EventBody, EventLevel, Progress, RunEvent, StepSpec};
use crate::base::{SourceMap, Span, format_duration};

/// Without a terminal a step that goes on says so this often.
pub(super) const STILL: Duration = Duration::from_secs(30);

/// What is running, and how it is shown.
pub(super) struct Display {
    verbose: bool,
    sources: SourceMap,
    /// What stands in the plan for each step, for failures.
    places: BTreeMap<String, Span>,
    bars: Option<MultiProgress>,
    running: BTreeMap<String, Running>,
    /// Steps that will run, and those that have ended.
    due: usize,
    ended: usize,
}

struct Running {
    bar: Option<ProgressBar>,
    since: Instant,
    said: Instant,
}

impl Display {
    pub(super) fn new(verbose: bool, sources: SourceMap, steps: &[StepSpec]) -> Self {
        let place = |step: &StepSpec| Some((step.address.to_string(), step.span.clone()?));
        Self {
            verbose,
            sources,
            places: steps.iter().filter_map(place).collect(),
            bars: io::stderr().is_terminal().then(MultiProgress::new),
            running: BTreeMap::new(),
            due: 0,
            ended: 0,
        }
    }

    /// Shows one event.
    pub(super) fn show(&mut self, event: &RunEvent) {
        match &event.body {
            EventBody::Hello { dir, .. } => self.line(&format!("{} ({})", event.message, dir.display())),
            EventBody::Plan { steps } => {
                self.due = steps.iter().filter(|step| step.decision == "run").count();
                self.line(&event.message);
            }
            EventBody::StepStarted { address, .. } => self.started(address.as_str()),
            EventBody::StepProgress { address, progress } => self.progress(address.as_str(), progress),
            EventBody::StepSucceeded { address, .. } => self.over(address.as_str(), "ok", &event.message),
            EventBody::StepInvalid { address, invalid, .. } => {
                self.over(address.as_str(), "invalid", &event.message);
                for reason in invalid {
                    self.line(&format!("         {}: {}", reason.rule, reason.reason));
                }
            }
            EventBody::StepFailed { address, failure, .. } => {
                self.over(address.as_str(), "failed", &event.message);
                for detail in &failure.details {
                    self.line(&format!("         {detail}"));
                }
                if let Some(help) = &failure.help {
                    self.line(&format!("         help: {help}"));
                }
                let place = failure.span.as_ref().or_else(|| self.places.get(address.as_str()));
                if let Some(place) = place.and_then(|span| self.sources.place(span)) {
                    self.line(&format!("         asked for at {place}"));
                }
            }
            EventBody::StepInterrupted { address, .. } => self.over(address.as_str(), "stopped", &event.message),
            EventBody::StepSkipped { .. } | EventBody::StepVoided { .. } | EventBody::Stopping { .. } => {
                self.line(&event.message);
            }
            EventBody::StepKept { .. } | EventBody::ObligationOpened { .. } | EventBody::ObligationClosed { .. } => {
                if self.verbose {
                    self.line(&event.message);
                }
            }
            EventBody::Note { .. } => self.line(&format!("note     {}", event.message)),
            EventBody::Diagnostic { .. } => {
                if self.verbose || event.level > EventLevel::Info {
                    self.line(&event.message);
                }
            }
            EventBody::Finished { .. } => {}
        }
    }

    /// Takes every bar away.
    pub(super) fn finish(&mut self) {
        for running in std::mem::take(&mut self.running).into_values() {
            if let Some(bar) = running.bar {
                bar.finish_and_clear();
            }
        }
    }

    fn line(&self, text: &str) {
        match &self.bars {
            // A terminal that is gone is no reason to stop.
            Some(bars) => drop(bars.println(text)),
            None => print::say(text),
        }
    }

    fn started(&mut self, address: &str) {
        let bar = self.bars.as_ref().map(|bars| {
            let bar = bars.add(ProgressBar::new(0));
            bar.set_style(waiting_style());
            bar.set_prefix(address.to_owned());
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        if bar.is_none() {
            self.line(&format!("start    {address}"));
        }
        let now = Instant::now();
        self.running.insert(address.to_owned(), Running { bar, since: now, said: now });
    }

    fn progress(&mut self, address: &str, progress: &Progress) {
        let Some(running) = self.running.get_mut(address) else { return };
        let figures = if progress.figures.is_empty() { String::new() } else { format!(" {}", progress.figures) };
        let Some(bar) = &running.bar else {
            if running.said.elapsed() >= STILL {
                running.said = Instant::now();
                let count =
                    if progress.total > 0 { format!(" {}/{}", progress.done, progress.total) } else { String::new() };
                let since = format_duration(running.since.elapsed());
                self.line(&format!("still    {address}: {}{count}{figures} (for {since})", progress.doing));
            }
            return;
        };
        if progress.total > 0 {
            bar.set_style(counting_style());
            bar.set_length(progress.total);
            bar.set_position(progress.done);
        } else {
            bar.set_style(waiting_style());
        }
        bar.set_message(format!("{}{figures}", progress.doing));
    }

    fn over(&mut self, address: &str, word: &str, message: &str) {
        let running = self.running.remove(address);
        if let Some(bar) = running.as_ref().and_then(|running| running.bar.as_ref()) {
            bar.finish_and_clear();
        }
        self.ended += 1;
        let took =
            running.map_or_else(String::new, |running| format!(" in {}", format_duration(running.since.elapsed())));
        let of = if self.due > 0 { format!(" [{}/{}]", self.ended.min(self.due), self.due) } else { String::new() };
        let text = if word == "ok" {
            format!("{word:<8} {address}{took}{of}")
        } else {
            format!("{word:<8} {message}{took}{of}")
        };
        self.line(&text);
    }
}

fn waiting_style() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {prefix}  {wide_msg}  {elapsed}").expect("a template that was tried")
}

fn counting_style() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {prefix}  [{bar:24}] {pos}/{len}  {wide_msg}  {elapsed}")
        .expect("a template that was tried")
        .progress_chars("=> ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_templates() {
        let _ = (waiting_style(), counting_style());
    }
}
