//! Results that stand beside a run's own in a report: of another run, or of another tool.

use std::path::Path;

use super::error::AppError;
use crate::base::{Name, Timestamp, create_dir, slug};
use crate::measure::{CompareRules, PointData};
use crate::report::{
    DeploymentInfo, Foreign, IMPORTS, Imported, Point, RunInfo, RunResults, StepNote, StepState, read_foreign,
    read_info, write_point,
};

/// Results to be added, and the name that they get.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Beside<'a> {
    name: Name,
    path: &'a Path,
    /// GPUs that another tool's files do not tell.
    gpus: Option<f64>,
}

impl<'a> Beside<'a> {
    /// Reads `[NAME=]PATH[,gpus=N]`; without a name the path's last part is one.
    pub(super) fn parse(text: &'a str) -> Result<Self, AppError> {
        const FORM: &str = "write [NAME=]PATH[,gpus=N], such as `--with old=artifacts/agg,gpus=8`";
        let wrong = |message: String| AppError::Usage { message, help: Some(FORM.to_owned()) };
        let (text, gpus) = match text.rsplit_once(",gpus=") {
            None => (text, None),
            Some((rest, count)) => {
                let gpus = count.parse().ok().filter(|gpus: &f64| gpus.is_finite() && *gpus > 0.0);
                (rest, Some(gpus.ok_or_else(|| wrong(format!("`{count}` is no number of GPUs")))?))
            }
        };
        let (name, path) = text.split_once('=').map_or((None, text), |(name, path)| (Some(name), path));
        let path = Path::new(path);
        let last = if path.is_dir() { path.file_name() } else { path.file_stem() };
        let last = last.and_then(|last| last.to_str()).unwrap_or_default();
        let wanted = name.map_or_else(|| last.to_lowercase().replace(['_', '.', ' '], "-"), str::to_owned);
        let name =
            Name::new(&wanted).map_err(|error| wrong(format!("`{wanted}` cannot name a deployment: {error}")))?;
        Ok(Self { name, path, gpus })
    }

    /// Adds its points. Those of other tools are written into `out` in our own format: pictures are drawn from files.
    pub(super) fn add_to(&self, results: &mut RunResults, out: &Path) -> Result<(), AppError> {
        let (deployments, points) = match read_info(self.path) {
            Ok(info) => self.of_run(RunResults::read(self.path, info)?)?,
            Err(_) => self.of_other_tool(results, out)?,
        };
        for deployment in deployments {
            if results.info.deployment(&deployment.name).is_some() {
                let message = format!("there are two deployments `{}`", deployment.name);
                let help = "give this one another name: `--with NAME=PATH`".to_owned();
                return Err(AppError::Usage { message, help: Some(help) });
            }
            results.info.deployments.push(deployment);
        }
        results.points.extend(points);
        *results = RunResults::new(results.info.clone(), std::mem::take(&mut results.points));
        Ok(())
    }

    /// Another run: its deployments get this name before their own.
    fn of_run(&self, other: RunResults) -> Result<(Vec<DeploymentInfo>, Vec<Point>), AppError> {
        let renamed = |name: &Name| {
            Name::new(&format!("{}-{name}", self.name)).map_err(|error| AppError::Usage {
                message: format!("`{}-{name}` cannot name a deployment: {error}", self.name),
                help: Some("choose a shorter name: `--with NAME=PATH`".to_owned()),
            })
        };
        let mut deployments = other.info.deployments;
        for deployment in &mut deployments {
            deployment.name = renamed(&deployment.name)?;
        }
        let mut points = other.points;
        for point in &mut points {
            let meta = &mut point.summary.meta;
            meta.deployment = renamed(&meta.deployment)?;
        }
        Ok((deployments, points))
    }

    fn of_other_tool(
        &self,
        results: &mut RunResults,
        out: &Path,
    ) -> Result<(Vec<DeploymentInfo>, Vec<Point>), AppError> {
        let Foreign { results: found, skipped } = read_foreign(self.path)?;
        if found.is_empty() {
            return Err(no_results(self.path, &skipped));
        }
        results.info.notes.extend(skipped.into_iter().map(|why| StepNote {
            address: self.name.to_string(),
            state: StepState::Skipped,
            reason: why,
        }));
        let names = found.iter().map(|one| self.name_of(one, &found)).collect::<Result<Vec<_>, _>>()?;
        let mut deployments = Vec::<DeploymentInfo>::new();
        let mut at = 0;
        for curve in found.chunk_by(|one, other| one.curve() == other.curve()) {
            let name = &names[at];
            at += curve.len();
            if deployments.iter().any(|known| known.name == *name) {
                return Err(AppError::Usage {
                    message: format!(
                        "{} holds results of two models whose names differ by signs only",
                        self.path.display()
                    ),
                    help: Some("give each a name of its own: `--with NAME=FILE`".to_owned()),
                });
            }
            deployments.push(DeploymentInfo {
                name: name.clone(),
                target: curve[0].tool.clone(),
                gpus: self.gpus,
                fingerprint: None,
                engine_arguments: Vec::new(),
                time_scale: None,
            });
        }
        let points = found.into_iter().zip(&names).map(|(imported, name)| self.write(imported, name, out));
        let points = points.collect::<Result<_, _>>()?;
        Ok((deployments, points))
    }

    /// The name of the deployment that a result is of: with the tool, where there are results of several, and with the
    /// model, where the tool's are of several.
    fn name_of(&self, one: &Imported, all: &[Imported]) -> Result<Name, AppError> {
        let (by, model) = one.curve();
        let mut name = self.name.to_string();
        if all.iter().any(|other| other.by != by) {
            name = format!("{name}-{by}");
        }
        if all.iter().any(|other| other.by == by && other.curve() != one.curve()) {
            let model = slug(model.rsplit('/').next().unwrap_or(model));
            name = format!("{name}-{}", if model.is_empty() { "unknown" } else { &model });
        }
        Name::new(&name).map_err(|error| AppError::Usage {
            message: format!("`{name}` cannot name a deployment: {error}"),
            help: Some("choose a shorter name, or name each file: `--with NAME=PATH`".to_owned()),
        })
    }

    fn write(&self, imported: Imported, name: &Name, out: &Path) -> Result<Point, AppError> {
        let Imported { mut summary, records, .. } = imported;
        summary.meta.deployment = name.clone();
        summary.set_gpus(self.gpus);
        let mut dir = out.join(name.as_str()).join(summary.meta.level.to_string());
        if summary.meta.repeat > 1 {
            dir.push(format!("r{}", summary.meta.repeat));
        }
        create_dir(&dir)?;
        let (meta, health) = (summary.meta.clone(), summary.health.clone());
        let data =
            PointData { meta, records, health, extra: std::collections::BTreeMap::new(), objectives: Vec::new() };
        write_point(&dir, &data, &summary)?;
        Ok(Point { dir, summary })
    }
}

/// That there is nothing to report, and what was left out.
pub(super) fn no_results(path: &Path, skipped: &[String]) -> AppError {
    let skipped = skipped.iter().map(|why| format!("; {why}")).collect::<String>();
    let known = IMPORTS.iter().map(|import| format!("{} ({})", import.tool, import.about));
    AppError::Usage {
        message: format!("{} holds no results{skipped}", path.display()),
        help: Some(format!("known are a run of dynbench, {}", known.collect::<Vec<_>>().join(", "))),
    }
}

/// An empty report, to which only results of others are added.
pub(super) fn nothing_of_our_own(path: &Path) -> RunResults {
    let plan = path.file_name().map_or_else(|| path.display().to_string(), |name| name.display().to_string());
    let info = RunInfo {
        plan,
        run: "imported".to_owned(),
        model: String::new(),
        started: Timestamp(0),
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        deployments: Vec::new(),
        workloads: Vec::new(),
        notes: Vec::new(),
        incarnations_matter: false,
        objectives: Vec::new(),
        searches: Vec::new(),
        compare: CompareRules { primary: "output-throughput".to_owned(), baseline: None, margin: 0.05 },
    };
    RunResults { info, points: Vec::new() }
}
