//! Commands that look at runs: report, explain, runs.

use std::path::Path;

use serde_json::json;

use super::args::{Explain, Report};
use super::print;
use crate::app::{self, AppError, Drawing, ExitCode, Overrides, ReportOptions, RunStatus};
use crate::base::format_duration;

pub(super) fn report(arguments: &Report) -> Result<ExitCode, AppError> {
    let options = ReportOptions {
        run: arguments.run.clone(),
        plots: arguments.plots.clone(),
        draw: arguments.draw.clone(),
        with: arguments.with.clone(),
        out: arguments.out.clone(),
    };
    let reported = app::report(&options)?;
    for damage in &reported.damage {
        print::say(&format!("warning: {}: {}", damage.address, damage.reason));
    }
    let mut code = ExitCode::DONE;
    let mut files = 0;
    for (id, drawing) in &reported.drawings {
        match drawing {
            Drawing::Files(written) => files += written.len(),
            Drawing::LeftOut(why) => {
                print::say(&format!("{id} was not drawn: {why}"));
                if arguments.plots.contains(id) || !arguments.draw.is_empty() {
                    code = ExitCode::FAILED;
                }
            }
        }
    }
    if arguments.json {
        let points: Vec<_> = reported.results.points.iter().map(|point| &point.summary).collect();
        print::json(&json!({ "run": reported.results.info, "points": points }))?;
    } else {
        print::out(&reported.summary)?;
    }
    print::say(&format!("wrote SUMMARY.txt and {files} pictures to {}", reported.dir.display()));
    Ok(code)
}

pub(super) fn explain(arguments: &Explain) -> Result<ExitCode, AppError> {
    let plan = match &arguments.plan {
        Some(path) => {
            let checked = app::check(path, &Overrides::default());
            print::problems(&checked);
            Some(app::usable(path, &checked)?)
        }
        None => None,
    };
    let found = app::explain(&arguments.run, &arguments.address, plan.as_ref())?;
    if arguments.json {
        print::json(&found)?;
        return Ok(ExitCode::DONE);
    }
    let mut out = format!("{}\n  run: {}\n  does: {}\n", found.step.address, found.run.display(), found.step.summary);
    out.push_str(&format!("  state: {}\n", found.record.state));
    if let Some(outlook) = &found.outlook {
        out.push_str(&format!("  next: {} ({})\n", outlook.decision, outlook.why));
    }
    match &found.differences {
        None => out.push_str("  it has no result to compare with\n"),
        Some(differences) if differences.is_empty() => {
            out.push_str(&format!("  its result and the plan mean the same (key {})\n", found.step.key.short()));
        }
        Some(differences) => {
            out.push_str("  its result and the plan differ:\n");
            for difference in differences {
                out.push_str(&format!("    {difference}\n"));
            }
        }
    }
    print::out(&out)?;
    Ok(ExitCode::DONE)
}

fn status(status: &RunStatus) -> String {
    match status {
        RunStatus::Running => "running".to_owned(),
        RunStatus::Finished(code) => format!("finished ({code})"),
        RunStatus::Unfinished => "unfinished".to_owned(),
        RunStatus::Damaged(why) => format!("damaged: {why}"),
    }
}

pub(super) fn list(as_json: bool) -> Result<ExitCode, AppError> {
    let runs = app::list()?;
    if as_json {
        let rows = runs.iter().map(|run| {
            json!({
                "run": run.id, "plan": run.plan, "dir": run.dir, "created": run.created,
                "status": status(&run.status), "sessions": run.sessions, "steps": run.steps,
                "obligations": run.obligations,
            })
        });
        print::json(&rows.collect::<Vec<_>>())?;
        return Ok(ExitCode::DONE);
    }
    if runs.is_empty() {
        print::say("there are no runs below results/");
    }
    for run in runs {
        let open = match run.obligations.len() {
            0 => String::new(),
            open => format!("  {open} left to clean up"),
        };
        print::out(&format!("{:<22} {:<28} {:<14} {}{open}\n", run.id, run.plan, status(&run.status), run.created))?;
    }
    Ok(ExitCode::DONE)
}

pub(super) fn show(run: &str, as_json: bool) -> Result<ExitCode, AppError> {
    let app::Shown { info, steps, spent } = app::show(run)?;
    if as_json {
        let kinds = spent.kinds.iter().map(|kind| (kind.kind.clone(), json!(kind.time.as_secs_f64())));
        print::json(&json!({
            "run": info.id, "plan": info.plan, "dir": info.dir, "created": info.created,
            "status": status(&info.status), "sessions": info.sessions, "obligations": info.obligations, "steps": steps,
            "seconds": {"all": spent.sessions.as_secs_f64(), "steps": kinds.collect::<serde_json::Map<_, _>>()},
        }))?;
        return Ok(ExitCode::DONE);
    }
    let mut out = format!(
        "run {} of {}\n  folder: {}\n  made: {}, {} sessions, {}\n\n",
        info.id,
        info.plan,
        info.dir.display(),
        info.created,
        info.sessions,
        status(&info.status)
    );
    let width = steps.iter().map(|step| step.address.as_str().len()).max().unwrap_or(0);
    for step in &steps {
        let reason = step.reason.as_deref().unwrap_or_default();
        out.push_str(format!("{:<12} {:<width$}  {reason}", step.state, step.address).trim_end());
        out.push('\n');
    }
    out.push_str(&format!("\ntime: {}", format_duration(spent.sessions)));
    // The longest first: that is what one asks for.
    let mut kinds = spent.kinds;
    kinds.sort_by_key(|kind| std::cmp::Reverse(kind.time));
    for kind in kinds {
        out.push_str(&format!(", {} {} ({})", kind.kind, format_duration(kind.time), kind.attempts));
    }
    out.push('\n');
    for open in &info.obligations {
        out.push_str(&format!("left to clean up: {}\n", open.what));
    }
    print::out(&out)?;
    Ok(ExitCode::DONE)
}

pub(super) fn prune(keep: usize, dry_run: bool) -> Result<ExitCode, AppError> {
    for pruned in app::prune(keep, dry_run)? {
        let what = match (&pruned.stays, dry_run) {
            (Some(why), _) => format!("stays, {why}"),
            (None, true) => "would be removed".to_owned(),
            (None, false) => "removed".to_owned(),
        };
        print::out(&format!("{}: {what}\n", pruned.dir.display()))?;
    }
    Ok(ExitCode::DONE)
}

pub(super) fn fsck(run: &str) -> Result<ExitCode, AppError> {
    let findings = app::fsck(run)?;
    let bad = findings.iter().any(|finding| !finding.mended);
    for finding in &findings {
        let state = if finding.mended { "mended" } else { "broken" };
        print::out(&format!("{state}: {}\n", finding.what))?;
        if !finding.mended {
            print::say(&format!("  help: {}", finding.help));
        }
    }
    if findings.is_empty() {
        print::say("journal, checksums and published results are whole");
    }
    Ok(if bad { ExitCode::FAILED } else { ExitCode::DONE })
}

pub(super) fn export(run: &str, file: &Path) -> Result<ExitCode, AppError> {
    let dir = app::export(run, file)?;
    print::say(&format!("packed {} into {}", dir.display(), file.display()));
    Ok(ExitCode::DONE)
}

pub(super) fn import(file: &Path) -> Result<ExitCode, AppError> {
    let dir = app::import(file)?;
    print::out(&format!("{}\n", dir.display()))?;
    Ok(ExitCode::DONE)
}
