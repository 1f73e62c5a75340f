//! `dynbench report`: summary and pictures of a run again, from its data.

use std::path::{Path, PathBuf};

use super::apply::RESULTS;
use super::beside::{Beside, no_results, nothing_of_our_own};
use super::error::AppError;
use crate::measure::STATISTICS;
use crate::plan::Plan;
use crate::report::plots::{CustomPlot, Drawn, Group, PLOTS, Picture, Scale};
use crate::report::{
    ReportError, RunInfo, RunResults, StepNote, StepState, is_foreign, read_info, summary_text, write_run_results,
    write_summary,
};
use crate::run::{RunError, RunLayout, damaged_results, faults, find_run, frozen_of, read_state, show_run};
use crate::steps;

/// What to write, and where.
#[derive(Debug, Clone, Default)]
pub struct ReportOptions {
    /// The run: its folder, its id or the start of it, or `latest`.
    pub run: String,
    /// Only these built-in plots; empty: all, and the plan's own.
    pub plots: Vec<String>,
    /// Plots of the command line: `x=METRIC,y=METRIC[,statistic=...][,scale=...][,title=...]`.
    pub draw: Vec<String>,
    /// Results to be drawn beside the run's: `NAME=PATH` of another run, or of another tool.
    pub with: Vec<String>,
    /// Folder to write to instead of the run's own.
    pub out: Option<PathBuf>,
}

/// One picture: where it is, or why it is not.
#[derive(Debug, Clone)]
pub enum Drawing {
    /// PNG and SVG.
    Files(Vec<PathBuf>),
    /// Why it was left out.
    LeftOut(String),
}

/// What was written.
#[derive(Debug)]
pub struct Reported {
    /// The folder.
    pub dir: PathBuf,
    /// The text of SUMMARY.txt.
    pub summary: String,
    /// Pictures by id.
    pub drawings: Vec<(String, Drawing)>,
    /// All points.
    pub results: RunResults,
    /// What is not as it was measured, which SUMMARY.txt says too.
    pub damage: Vec<StepNote>,
}

/// Writes SUMMARY.txt, results.json, results.csv and pictures.
///
/// # Errors
/// When there is no such run or plot, its data cannot be read, or a file cannot be written.
pub fn report(options: &ReportOptions) -> Result<Reported, AppError> {
    let path = Path::new(&options.run);
    let (OfRun { mut results, plots: own_plots, damage }, run) = match find_run(Path::new(RESULTS), None, &options.run)
    {
        Ok(run) => (of_run(&run)?, Some(run)),
        Err(RunError::NotARun { .. }) if is_foreign(path) => {
            (OfRun { results: nothing_of_our_own(path), plots: Vec::new(), damage: Vec::new() }, None)
        }
        Err(RunError::NotARun { .. }) if path.exists() => return Err(no_results(path, &[])),
        Err(error) => return Err(error.into()),
    };
    let mut beside = Vec::new();
    if run.is_none() {
        beside.push(Beside::parse(&options.run)?);
    }
    for text in &options.with {
        beside.push(Beside::parse(text)?);
    }
    let dir = match (&options.out, run) {
        (Some(out), run) => {
            let is_own = run.is_some_and(|run| beside.is_empty() && is_same(&run, out));
            if RunLayout::new(out).inner().exists() && !is_own {
                return Err(AppError::Usage {
                    message: format!("{} is a run, and holds what that run measured", out.display()),
                    help: Some("name another folder: `--out DIR`".to_owned()),
                });
            }
            out.clone()
        }
        (None, Some(run)) if beside.is_empty() => run,
        // A run's own folder holds what that run measured, and nothing else.
        (None, _) => {
            return Err(AppError::Usage {
                message: "results of others need a folder of their own".to_owned(),
                help: Some("name one: `--out DIR`".to_owned()),
            });
        }
    };
    let drawn = custom_plots(options, own_plots)?;
    let pictures = pictures(options, &drawn)?;
    crate::base::create_dir(&dir)?;
    for other in &beside {
        other.add_to(&mut results, &dir)?;
    }
    if let Some(first) = results.points.first().filter(|_| results.info.model.is_empty()) {
        results.info.model.clone_from(&first.summary.meta.model);
        results.info.started = first.summary.meta.origin;
    }
    write_run_results(&dir, &results)?;
    write_summary(&dir, &results)?;
    let drawings = steps::draw(&results, &pictures, &dir.join("plots"))?.into_iter().map(|drawn| match drawn {
        Drawn::Files { id, files } => (id, Drawing::Files(files.to_vec())),
        Drawn::LeftOut { id, why } => (id, Drawing::LeftOut(why.to_string())),
    });
    Ok(Reported { drawings: drawings.collect(), summary: summary_text(&results), dir, results, damage })
}

/// Whether two paths lead to one folder.
fn is_same(one: &Path, other: &Path) -> bool {
    matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

/// What a run's own folder gives.
struct OfRun {
    results: RunResults,
    /// Plots of the plan.
    plots: Vec<CustomPlot>,
    /// Also among the notes of `results`.
    damage: Vec<StepNote>,
}

fn of_run(run: &Path) -> Result<OfRun, AppError> {
    let layout = RunLayout::new(run);
    let known = read_state(&layout).and_then(|state| Ok((state, frozen_of(run)?)));
    let (mut results, plots, damaged) = match known {
        Ok((state, (plan, steps_of_run))) => {
            let results = read(run, &plan, &state.reports(&steps_of_run), state.run())?;
            let damaged =
                damaged_results(&layout, &state)?.into_iter().map(|(step, what)| (step, not_as_measured(&what)));
            (results, steps::plot_settings(&plan), damaged.collect::<Vec<_>>())
        }
        // What was published is still there, and can be read without them.
        Err(error @ (RunError::Damaged { .. } | RunError::Impossible { .. } | RunError::Decode { .. })) => {
            let cause = std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
            let what =
                format!("{error}{cause}; these are the points that were published, whatever became of them since");
            let results = without_journal(run)?;
            let mut damaged = vec![("journal".to_owned(), what)];
            for point in &results.points {
                let faults = faults(&point.dir).into_iter();
                damaged
                    .extend(faults.map(|fault| (point.summary.meta.deployment.to_string(), not_as_measured(&fault))));
            }
            (results, Vec::new(), damaged)
        }
        Err(error) => return Err(error.into()),
    };
    let note = |(address, reason): (String, String)| StepNote { address, state: StepState::Lost, reason };
    let damage: Vec<_> = damaged.into_iter().map(note).collect();
    // Those of a report before this one stand in what it wrote.
    results.info.notes.retain(|note| !damage.contains(note));
    results.info.notes.extend(damage.iter().cloned());
    Ok(OfRun { results, plots, damage })
}

fn not_as_measured(what: &str) -> String {
    format!("not as it was measured: {what}")
}

/// The published points of a run whose journal or frozen plan is damaged.
fn without_journal(run: &Path) -> Result<RunResults, AppError> {
    let info = match read_info(run) {
        Ok(info) => info,
        // It got no further than its points.
        Err(ReportError::File(_)) => {
            let shown = show_run(run);
            RunInfo { plan: shown.plan, run: shown.id, ..nothing_of_our_own(run).info }
        }
        Err(error) => return Err(error.into()),
    };
    Ok(RunResults::read(run, info)?)
}

fn read(run: &Path, plan: &Plan, states: &[crate::run::StepReport], id: &str) -> Result<RunResults, AppError> {
    let notes = steps::notes(states);
    // When the run began is in its own results, if it got so far.
    let started = read_info(run).map(|info| info.started).ok();
    let info = steps::run_info(plan, id, started.unwrap_or(crate::base::Timestamp(0)), notes);
    let mut results = steps::with_plan(run, plan, info)?;
    if started.is_none() {
        results.info.started =
            results.points.iter().map(|point| point.summary.meta.origin).min().unwrap_or(crate::base::Timestamp(0));
    }
    Ok(results)
}

/// The plan's own plots (unless built-in ones were chosen) and those of the command line.
fn custom_plots(options: &ReportOptions, of_plan: Vec<CustomPlot>) -> Result<Vec<CustomPlot>, AppError> {
    let mut plots = if options.plots.is_empty() { of_plan } else { Vec::new() };
    for (number, spec) in options.draw.iter().enumerate() {
        plots.push(parse(spec, number)?);
    }
    Ok(plots)
}

fn pictures<'a>(options: &'a ReportOptions, custom: &'a [CustomPlot]) -> Result<Vec<Picture<'a>>, AppError> {
    let mut pictures = Vec::new();
    for id in &options.plots {
        let known = PLOTS.iter().map(|row| row.id);
        if !known.clone().any(|known| known == id) {
            let near = crate::base::nearest(id, known.clone()).map(|near| format!("did you mean `{near}`?"));
            let all = known.collect::<Vec<_>>().join(", ");
            return Err(AppError::Usage {
                message: format!("there is no plot `{id}`"),
                help: near.or(Some(format!("known are {all}"))),
            });
        }
        pictures.push(Picture::BuiltIn(id));
    }
    if options.plots.is_empty() && options.draw.is_empty() {
        pictures.extend(Picture::all());
    }
    pictures.extend(custom.iter().map(Picture::Custom));
    Ok(pictures)
}

/// Reads `x=METRIC,y=METRIC,statistic=p50,...`.
fn parse(spec: &str, number: usize) -> Result<CustomPlot, AppError> {
    const FORM: &str = "write x=METRIC,y=METRIC and if wanted statistic=p50, group=deployment|workload, \
                        scale=linear|log-x|log-y|log, filter=NAME, title=TEXT";
    let wrong = |message: String| AppError::Usage { message, help: Some(FORM.to_owned()) };
    let mut plot = CustomPlot {
        id: format!("drawn-{}", number + 1),
        x: String::new(),
        y: String::new(),
        statistic: "mean".to_owned(),
        group: Group::Deployment,
        scale: Scale::Linear,
        filter: Vec::new(),
        title: String::new(),
    };
    for part in spec.split(',') {
        let (key, value) = part.split_once('=').ok_or_else(|| wrong(format!("`{part}` is no KEY=VALUE")))?;
        match key.trim() {
            "x" => plot.x = quantity(value)?,
            "y" => plot.y = quantity(value)?,
            "statistic" if STATISTICS.contains(&value) => value.clone_into(&mut plot.statistic),
            "statistic" => {
                return Err(AppError::Usage {
                    message: format!("there is no statistic `{value}`"),
                    help: Some(format!("there are {}", STATISTICS.join(", "))),
                });
            }
            "group" => plot.group = Group::parse(value).ok_or_else(|| wrong(format!("there is no group `{value}`")))?,
            "scale" => plot.scale = Scale::parse(value).ok_or_else(|| wrong(format!("there is no scale `{value}`")))?,
            "filter" => plot.filter.push(value.to_owned()),
            "title" => value.clone_into(&mut plot.title),
            other => return Err(wrong(format!("a plot has no `{other}`"))),
        }
    }
    if plot.x.is_empty() || plot.y.is_empty() {
        return Err(wrong(format!("`{spec}` names no x and y")));
    }
    Ok(plot)
}

fn quantity(name: &str) -> Result<String, AppError> {
    if name == "concurrency" || name.starts_with("hook.") {
        return Ok(name.to_owned());
    }
    if let Some(metric) = crate::measure::metric(name) {
        return Ok(metric.id.to_owned());
    }
    let near = crate::base::nearest(name, crate::measure::METRICS.iter().map(|metric| metric.id));
    Err(AppError::Usage {
        message: format!("there is no metric `{name}`"),
        help: near.map(|near| format!("did you mean `{near}`?")),
    })
}
