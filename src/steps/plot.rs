//! `plot/ID`: one picture, as PNG and SVG.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use serde_json::json;

use super::summarize::{report_failure, results};
use crate::measure::PointSummary;
use crate::plan::{NeedMode, NeedRule, Plan, PlotRow, Reach, Scope, StepClass, StepRow};
use crate::report::plots::{self, CustomPlot, Drawn, Group, PLOTS, Picture, PlotInput, Scale};
use crate::report::{RunResults, in_a_picture, transports};
use crate::run::{BoxFuture, FILES, FailureKind, StepAction, StepContext, StepFailure, StepOutcome};

pub(super) const ROW: StepRow = StepRow {
    kind: "plot",
    about: "draws one picture",
    class: StepClass::Pure,
    scope: Scope::Plot,
    version: 1,
    needs: &[
        NeedRule { kind: "load", reach: Reach::All, mode: NeedMode::Ended },
        NeedRule { kind: "summarize", reach: Reach::All, mode: NeedMode::Ended },
    ],
    overlaps: true,
};

static ROWS: LazyLock<Vec<PlotRow>> = LazyLock::new(|| {
    let known = |row: &crate::report::plots::PlotRow| PlotRow {
        id: row.id,
        about: row.about,
        needs_gpus: row.needs_gpus,
        needs_objectives: row.needs_objectives,
    };
    PLOTS.iter().map(known).collect()
});

/// The built-in plots, as a catalog wants them.
pub fn plot_rows() -> &'static [PlotRow] {
    &ROWS
}

/// The plan's own plots in the words of `report`.
pub fn plot_settings(plan: &Plan) -> Vec<CustomPlot> {
    let custom = plan.plots.custom.iter().map(|(name, custom)| CustomPlot {
        id: name.to_string(),
        x: custom.x.clone(),
        y: custom.y.clone(),
        statistic: custom.statistic.clone(),
        group: Group::parse(&custom.group).expect("the plan's keys allow only words that are known here"),
        scale: Scale::parse(&custom.scale).expect("the plan's keys allow only words that are known here"),
        filter: custom.filter.clone(),
        title: custom.title.clone(),
    });
    custom.collect()
}

pub(super) struct Plot;

impl StepAction for Plot {
    fn run<'a>(&'a self, cx: &'a StepContext) -> BoxFuture<'a, Result<StepOutcome, StepFailure>> {
        Box::pin(async move {
            let id = cx.spec.plot.clone().expect("a step of this scope has a plot");
            let results = results(cx).await.map_err(|error| report_failure(&error))?;
            let plan = cx.shared.plan.clone();
            let dir = cx.run_dir().join("plots");
            let wanted = id.clone();
            let drawn = tokio::task::spawn_blocking(move || {
                let custom = plot_settings(&plan);
                let picture = custom
                    .iter()
                    .find(|custom| custom.id == wanted)
                    .map_or_else(|| Picture::BuiltIn(&wanted), Picture::Custom);
                draw(&results, &[picture], &dir)
            });
            let drawn = match drawn.await {
                Ok(drawn) => drawn.map_err(|error| StepFailure::from_error(FailureKind::Storage, &error))?,
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            };
            outcome(cx, &id, drawn).await
        })
    }
}

/// A default plot that lacks data is a note; one asked for by name is a failure.
async fn outcome(cx: &StepContext, id: &str, drawn: Vec<Drawn>) -> Result<StepOutcome, StepFailure> {
    let mut files: Vec<PathBuf> = Vec::new();
    for drawn in drawn {
        match drawn {
            Drawn::Files { files: written, .. } => files.extend(written),
            Drawn::LeftOut { why, .. } => {
                let plots = &cx.shared.plan.plots;
                let by_name = plots.set.iter().flatten().any(|asked| asked == id)
                    || plots.custom.keys().any(|asked| asked.as_str() == id);
                if by_name {
                    return Err(StepFailure::from_error(FailureKind::Lasting, &why)
                        .help("take it out of [plots], or measure what it needs"));
                }
                cx.note(format!("left out: {why}")).await?;
                return Ok(StepOutcome::ok(json!({ "left-out": why.to_string() })));
            }
        }
    }
    let names = files.iter().filter_map(|file| file.file_name());
    let names: Vec<_> = names.map(|name| format!("plots/{}", name.to_string_lossy())).collect();
    Ok(StepOutcome::ok(json!({ FILES: names })))
}

/// Draws pictures of a run into a folder, which is made if it is not there.
///
/// # Errors
/// When a file cannot be written.
pub fn draw(results: &RunResults, pictures: &[Picture<'_>], dir: &Path) -> Result<Vec<Drawn>, crate::base::FileError> {
    crate::base::create_dir(dir)?;
    let points: Vec<PointSummary> = results.points.iter().map(|point| point.summary.clone()).collect();
    let records = |meta: &crate::measure::PointMeta| {
        results.points.iter().find(|point| point.summary.meta == *meta)?.records().ok()
    };
    let server = |meta: &crate::measure::PointMeta| {
        results.points.iter().find(|point| point.summary.meta == *meta)?.server_metrics().ok()
    };
    let deployments = results.deployments();
    let caveats = in_a_picture(results);
    let transport = transports(&points);
    let input = PlotInput {
        plan: &results.info.plan,
        run: &results.info.run,
        model: &results.info.model,
        transport: &transport,
        caveats: &caveats,
        simulated: results.is_simulated(),
        deployments: &deployments,
        points: &points,
        records: &records,
        server: &server,
        objectives: &results.info.objectives,
    };
    plots::draw_all(&input, pictures, dir)
}
