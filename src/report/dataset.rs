//! A run's results as every report reads them: the points in the order of the plan, records loaded when asked for.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::error::ReportError;
use super::format::{RESULTS_JSON, read_point, read_records, read_server_metrics};
use super::info::RunInfo;
use crate::base::{Name, list_dir};
use crate::measure::{PointSummary, RequestRecord, ServerScrape};

/// All of a run that was published.
#[derive(Debug, Clone, PartialEq)]
pub struct RunResults {
    /// The run.
    pub info: RunInfo,
    /// Its points: by deployment and workload in the order of the plan, then level, then repeat.
    pub points: Vec<Point>,
}

/// One published point.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Its folder.
    pub dir: PathBuf,
    /// Its numbers.
    pub summary: PointSummary,
}

impl Point {
    /// Reads every request of it.
    ///
    /// # Errors
    /// When the file is missing, damaged or newer than this program.
    pub fn records(&self) -> Result<Vec<RequestRecord>, ReportError> {
        read_records(&self.dir)
    }

    /// Reads what the server said of itself.
    ///
    /// # Errors
    /// When there is no such file, or it is damaged or newer than this program.
    pub fn server_metrics(&self) -> Result<Vec<ServerScrape>, ReportError> {
        read_server_metrics(&self.dir)
    }
}

/// Folders at the top of a run that hold no points. Hidden ones (`.run`) never do.
const OTHER_FOLDERS: [&str; 2] = ["plots", "logs"];
/// `<deployment>/<workload>/c<N>/r<k>`
const DEEPEST: usize = 4;

impl RunResults {
    /// Reads every point below a run folder. One that cannot be read is an error: a report that leaves out a
    /// measurement in silence would be wrong.
    ///
    /// # Errors
    /// When a folder or a point cannot be read, or is newer than this program.
    pub fn read(run_dir: &Path, info: RunInfo) -> Result<Self, ReportError> {
        let mut points = Vec::new();
        for name in list_dir(run_dir)? {
            let dir = run_dir.join(&name);
            if is_folder(&dir) && !name.starts_with('.') && !OTHER_FOLDERS.contains(&name.as_str()) {
                gather(&dir, 1, &mut points)?;
            }
        }
        Ok(Self::new(info, points))
    }

    /// Puts points into the order of the plan.
    pub fn new(info: RunInfo, mut points: Vec<Point>) -> Self {
        let deployments: Vec<_> = info.deployments.iter().map(|deployment| &deployment.name).collect();
        let workloads: Vec<_> = info.workloads.iter().collect();
        points.sort_by_cached_key(|point| {
            let meta = &point.summary.meta;
            let place =
                |list: &[&Name], name: &Name| list.iter().position(|known| *known == name).unwrap_or(usize::MAX);
            (
                (place(&deployments, &meta.deployment), meta.deployment.clone()),
                (place(&workloads, &meta.workload), meta.workload.clone()),
                meta.level,
                meta.repeat,
            )
        });
        Self { info, points }
    }

    /// Names of all deployments: those of the plan in its order, then others that have points.
    pub fn deployments(&self) -> Vec<Name> {
        let planned = self.info.deployments.iter().map(|deployment| &deployment.name);
        distinct(planned.chain(self.points.iter().map(|point| &point.summary.meta.deployment)))
    }

    /// Names of all workloads: those of the plan in its order, then others that have points.
    pub fn workloads(&self) -> Vec<Name> {
        distinct(self.info.workloads.iter().chain(self.points.iter().map(|point| &point.summary.meta.workload)))
    }

    /// The points of one deployment and workload.
    pub fn sweep<'a>(&'a self, deployment: &Name, workload: &Name) -> Vec<&'a PointSummary> {
        let is_meant =
            |point: &&Point| point.summary.meta.deployment == *deployment && point.summary.meta.workload == *workload;
        self.points.iter().filter(is_meant).map(|point| &point.summary).collect()
    }

    /// Whether any of it is simulated: then every file must say so.
    pub fn is_simulated(&self) -> bool {
        self.info.deployments.iter().any(|deployment| deployment.time_scale.is_some())
            || self.points.iter().any(|point| point.summary.meta.simulated)
    }
}

fn distinct<'a>(names: impl Iterator<Item = &'a Name>) -> Vec<Name> {
    names.cloned().collect::<indexmap::IndexSet<_>>().into_iter().collect()
}

/// Links are not followed: `latest` and whatever users put beside would be counted twice.
fn is_folder(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|found| found.is_dir())
}

fn gather(dir: &Path, depth: usize, points: &mut Vec<Point>) -> Result<(), ReportError> {
    for name in list_dir(dir)? {
        let entry = dir.join(&name);
        if name == RESULTS_JSON {
            points.push(Point { dir: dir.to_owned(), summary: read_point(dir)? });
        } else if depth < DEEPEST && !name.starts_with('.') && is_folder(&entry) {
            gather(&entry, depth + 1, points)?;
        }
    }
    Ok(())
}

/// How requests reached the servers of these points: one word, or several with `and` between them.
pub fn transports<'a>(points: impl IntoIterator<Item = &'a PointSummary>) -> String {
    let found: BTreeSet<&str> = points.into_iter().map(|point| point.meta.transport.as_str()).collect();
    found.into_iter().collect::<Vec<_>>().join(" and ")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::base::{Timestamp, create_dir};
    use crate::measure::sample::{Shape, name, point};
    use crate::measure::{CompareRules, PointData};
    use crate::report::{DeploymentInfo, read_info, write_point, write_run_results};

    pub(in crate::report) fn info(deployments: &[&str]) -> RunInfo {
        let deployment = |text: &&str| DeploymentInfo {
            name: name(text),
            target: "process".to_owned(),
            gpus: Some(1.0),
            fingerprint: None,
            engine_arguments: Vec::new(),
            time_scale: None,
        };
        RunInfo {
            plan: "agg-vs-disagg-vs-vanilla".to_owned(),
            run: "20261124-221003".to_owned(),
            model: "Qwen/Qwen3-0.6B".to_owned(),
            started: Timestamp(1_795_558_203_250_000_000),
            tool_version: "0.1.0".to_owned(),
            deployments: deployments.iter().map(deployment).collect(),
            workloads: vec![name("default")],
            notes: Vec::new(),
            incarnations_matter: true,
            objectives: Vec::new(),
            searches: Vec::new(),
            compare: CompareRules { primary: "output-throughput-per-gpu".to_owned(), baseline: None, margin: 0.02 },
        }
    }

    fn write(dir: &Path, data: &PointData) {
        create_dir(dir).unwrap();
        write_point(dir, data, &PointSummary::of(data)).unwrap();
    }

    #[test]
    fn a_run_is_read_in_the_order_of_the_plan_from_what_was_published() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        let of =
            |deployment, users, repeat| point(Shape { deployment, users, repeat, requests: 5, ..Shape::default() });
        write(&at("vanilla/c2"), &of("vanilla", 2, 1));
        write(&at("agg/c16"), &of("agg", 16, 1));
        write(&at("agg/c2/r2"), &of("agg", 2, 2));
        write(&at("agg/c2/r1"), &of("agg", 2, 1));
        let mut chat = of("disagg", 4, 1);
        chat.meta.workload = name("chat");
        write(&at("disagg/chat/c4"), &chat);
        for hidden in [".run/attempts/agg/c2", "plots/old/c2", "logs/c2"] {
            write(&at(hidden), &of("agg", 99, 1));
        }
        std::os::unix::fs::symlink("agg", at("latest")).unwrap();

        let found = RunResults::read(dir.path(), info(&["vanilla", "agg"])).unwrap();
        let order: Vec<_> = found
            .points
            .iter()
            .map(|point| {
                let meta = &point.summary.meta;
                format!("{} {} {} {}", meta.deployment, meta.workload, meta.level, meta.repeat)
            })
            .collect();
        assert_eq!(
            order,
            ["vanilla default c2 1", "agg default c2 1", "agg default c2 2", "agg default c16 1", "disagg chat c4 1"]
        );
        assert_eq!(found.points[0].records().unwrap().len(), 5);
        assert_eq!(found.deployments(), ["vanilla", "agg", "disagg"].map(name));

        write_run_results(dir.path(), &found).unwrap();
        let again = RunResults::read(dir.path(), read_info(dir.path()).unwrap()).unwrap();
        assert_eq!(again, found);
    }

    #[test]
    fn a_damaged_point_stops_the_report() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("agg/c4");
        write(&folder, &point(Shape { requests: 2, ..Shape::default() }));
        crate::base::write_atomic(&folder.join(RESULTS_JSON), b"{").unwrap();
        assert!(matches!(RunResults::read(dir.path(), info(&["agg"])), Err(ReportError::Damaged { .. })));
    }

    #[test]
    fn points_reached_by_different_ways_name_them_all() {
        let reached = |transport: &str| {
            let mut point = crate::measure::sample::summary(crate::measure::sample::Shape::default());
            point.meta.transport = transport.to_owned();
            point
        };
        assert_eq!(transports(&[reached("url"), reached("in-cluster"), reached("url")]), "in-cluster and url");
        assert_eq!(transports(&[]), "");
    }
}
