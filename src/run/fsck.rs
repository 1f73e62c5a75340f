//! Looks at a run's files for what does not fit, and mends what can be mended without a doubt.

use std::path::Path;

use serde::Serialize;

use super::error::RunError;
use super::frozen;
use super::graph::Graph;
use super::journal;
use super::layout::RunLayout;
use super::lock::{Holder, RunLock};
use super::publish;
use super::state::{Phase, RunState};
use crate::base::Timestamp;
use crate::plan::Address;

/// One thing that does not fit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// In words.
    pub what: String,
    /// Whether it is as it should be now.
    pub mended: bool,
    /// What to do.
    pub help: String,
}

/// Checks journal, frozen plan and every result of a run. `mend`: cut a torn line off, bring whole attempts to their
/// places. A run that is in order has no findings.
///
/// # Errors
/// When it is no run, or, to mend it, another process has it. A damaged journal is a finding.
pub fn fsck(dir: &Path, mend: bool, now: Timestamp) -> Result<Vec<Finding>, RunError> {
    let layout = RunLayout::new(dir);
    if !layout.journal().is_file() {
        return Err(RunError::NotARun { dir: dir.to_owned() });
    }
    let _lock = if mend { Some(RunLock::take(&layout, &Holder::this_process(now))?) } else { None };
    let mut findings = Vec::new();
    let replay = match journal::read(&layout.journal()) {
        Ok(replay) => replay,
        Err(error) => return Ok(vec![hopeless(&error)]),
    };
    if let Some(torn) = &replay.torn {
        if mend {
            journal::cut(&layout, torn)?;
        }
        findings.push(Finding {
            what: format!("the journal's last line is torn after line {}", replay.lines.len()),
            mended: mend,
            help: "the next --resume cuts it off".to_owned(),
        });
    }
    let state = match RunState::replay(&replay.lines) {
        Ok(state) => state,
        Err((line, source)) => {
            let error = RunError::Impossible { path: layout.journal(), line, source };
            findings.push(hopeless(&error));
            return Ok(findings);
        }
    };
    let graph = match frozen_graph(&layout, &state) {
        Ok(graph) => graph,
        Err(what) => {
            let help = "results stay readable; start another run with `--new`".to_owned();
            findings.push(Finding { what, mended: false, help });
            return Ok(findings);
        }
    };
    if mend {
        let places = graph.steps().iter().enumerate();
        let places = places.filter_map(|(at, step)| Some((&step.address, graph.published_at(at)?)));
        publish::put_repeats_back(&layout, places)?;
    }
    for address in state.steps().keys() {
        let found = check_step(&layout, &graph, &state, address, mend)?;
        findings.extend(found.map(|finding| Finding { what: format!("{address}: {}", finding.what), ..finding }));
    }
    Ok(findings)
}

/// What a report of the run must tell of the results that its journal counts on and that are not as they were measured:
/// of which step (or `plan`), and what. Changes nothing.
///
/// # Errors
/// When files cannot be read.
pub fn damaged_results(layout: &RunLayout, state: &RunState) -> Result<Vec<(String, String)>, RunError> {
    let graph = match frozen_graph(layout, state) {
        Ok(graph) => graph,
        Err(what) => return Ok(vec![("plan".to_owned(), what)]),
    };
    let mut damaged = Vec::new();
    for (address, _) in state.steps().iter().filter(|(_, record)| matches!(record.phase, Phase::Succeeded(_))) {
        let found = check_step(layout, &graph, state, address, false)?;
        damaged.extend(found.map(|finding| (address.to_string(), finding.what)));
    }
    Ok(damaged)
}

fn hopeless(error: &RunError) -> Finding {
    let cause = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
    Finding {
        what: format!("{error}{cause}"),
        mended: false,
        help: "published results stay as they are and can be read by `report`; the run cannot be continued: start \
               another with `--new`, and end what this one left with `dynbench cleanup`"
            .to_owned(),
    }
}

fn frozen_graph(layout: &RunLayout, state: &RunState) -> Result<Graph, String> {
    let (_, steps) = frozen::thaw(layout, state.generation()).map_err(|error| error.to_string())?;
    if Some(&frozen::digest_of(&steps)) != state.frozen() {
        return Err(format!("{} is not what the journal says was frozen", layout.frozen(state.generation()).display()));
    }
    Graph::new(steps).map_err(|error| error.to_string())
}

fn check_step(
    layout: &RunLayout,
    graph: &Graph,
    state: &RunState,
    address: &Address,
    mend: bool,
) -> Result<Option<Finding>, RunError> {
    let record = state.step(address);
    let (place, manifest) = match &record.phase {
        Phase::Succeeded(success) if success.manifest.is_none() => return Ok(None),
        Phase::Succeeded(success) => (success.place.clone(), success.manifest.as_ref()),
        Phase::Started => (graph.place_of(address).and_then(|at| graph.published_at(at)), None),
        Phase::Never | Phase::Failed(_) | Phase::Interrupted(_) | Phase::Skipped(_) | Phase::Voided(_) => {
            return Ok(None);
        }
    };
    let found = publish::find_whole(layout, address, record.attempts, place.as_deref(), manifest);
    let recorded = manifest.is_some();
    let Some((from, ..)) = found else {
        if !recorded {
            return Ok(None);
        }
        let folder = place.as_ref().map_or_else(|| layout.whole(address, record.attempts), |at| layout.root().join(at));
        let faults = publish::faults(&folder);
        let what =
            if faults.is_empty() { format!("{} holds another attempt", folder.display()) } else { faults.join("; ") };
        let help = "the next --resume runs the step again".to_owned();
        return Ok(Some(Finding { what, mended: false, help }));
    };
    let Some(place) = place else { return Ok(None) };
    if from == layout.root().join(&place) {
        return Ok(None);
    }
    if mend {
        publish::publish(layout, address, &from, &place)?;
    }
    Ok(Some(Finding {
        what: format!("attempt {} is whole but not published", record.attempts),
        mended: mend,
        help: "the next --resume publishes it".to_owned(),
    }))
}
