//! Commands that only look at a plan: check, plan, render, graph.

use std::path::Path;

use serde_json::json;

use super::args::{Check, Graph, GraphFormat, PlanArguments, PlanFile, Render};
use super::{cluster, print};
use crate::app::{self, AppError, Checked, ExitCode, Overrides, Plan, Preview};
use crate::base::format_duration;

/// What the command line changes about a plan.
pub(super) fn overrides(file: &PlanFile) -> Overrides {
    Overrides { sets: file.sets.clone(), namespace: file.namespace.clone() }
}

/// The plan, checked; its warnings and errors are printed.
pub(super) fn checked(file: &PlanFile) -> Result<(Checked, Plan), AppError> {
    let checked = app::check(&file.plan, &overrides(file));
    print::problems(&checked);
    let plan = app::usable(&file.plan, &checked)?;
    Ok((checked, plan))
}

pub(super) fn check(arguments: &Check) -> Result<ExitCode, AppError> {
    let mut code = ExitCode::DONE;
    let mut all = Vec::new();
    for path in &arguments.plans {
        let checked = app::check(path, &Overrides::default());
        if checked.plan.is_none() {
            code = ExitCode::USAGE;
        }
        if arguments.json {
            all.push(problems_json(path, &checked));
        } else {
            print::problems(&checked);
            let verdict = match (&checked.plan, checked.problems.len()) {
                (None, 1) => "1 problem".to_owned(),
                (None, count) => format!("{count} problems"),
                (Some(_), 0) => "ok".to_owned(),
                (Some(_), count) => format!("ok, with {count} remarks"),
            };
            print::say(&format!("{}: {verdict}", path.display()));
        }
    }
    if arguments.json {
        print::json(&all)?;
    }
    Ok(code)
}

fn problems_json(path: &Path, checked: &Checked) -> serde_json::Value {
    let problems = checked.problems.sorted().into_iter().map(|problem| {
        let place = problem.span.as_ref().and_then(|span| checked.sources.position(span));
        json!({
            "severity": problem.severity,
            "message": problem.message,
            "line": place.map(|(line, _)| line),
            "column": place.map(|(_, column)| column),
            "label": problem.label,
            "help": problem.help,
        })
    });
    json!({ "plan": path, "usable": checked.plan.is_some(), "problems": problems.collect::<Vec<_>>() })
}

pub(super) fn plan(arguments: &PlanArguments) -> Result<ExitCode, AppError> {
    let (checked, plan) = checked(&arguments.file)?;
    let preview = app::preview(&plan, arguments.output_dir.as_deref())?;
    let views = if arguments.server { cluster::views(&plan)? } else { Vec::new() };
    if arguments.json {
        let mut json = preview_json(&checked, &preview);
        if arguments.server {
            json["server"] = cluster::views_json(&views);
        }
        print::json(&json)?;
    } else {
        print::out(&preview_text(&checked, &preview))?;
        print::out(&cluster::views_text(&views))?;
    }
    if views.iter().any(|view| view.preflight.is_err()) {
        return Ok(ExitCode::PREFLIGHT);
    }
    let left = arguments.exit_code && preview.work_left() > 0;
    Ok(if left { ExitCode::WORK_LEFT } else { ExitCode::DONE })
}

fn preview_json(checked: &Checked, preview: &Preview) -> serde_json::Value {
    json!({
        "run": preview.run,
        "plan": checked.resolved.as_ref().map(|resolved| &resolved.json),
        "steps": preview.steps,
        "decisions": preview.outlooks,
        "work-left": preview.work_left(),
        "estimate-seconds": preview.duration.as_secs_f64(),
        "gpu-hours": preview.gpu_hours,
    })
}

fn preview_text(checked: &Checked, preview: &Preview) -> String {
    let mut out = String::from("# Every value, as resolved\n\n");
    out.push_str(&checked.resolved.as_ref().map_or_else(String::new, app::resolved_toml));
    let of_run =
        preview.run.as_ref().map_or_else(|| "a new run".to_owned(), |run| format!("the run in {}", run.display()));
    out.push_str(&format!("\n# Steps of {of_run}\n\n"));
    let width = preview.outlooks.iter().map(|outlook| outlook.address.as_str().len()).max().unwrap_or(0);
    for outlook in &preview.outlooks {
        let time = outlook.estimate_seconds.map_or_else(String::new, |seconds| {
            format!(" (about {})", format_duration(std::time::Duration::from_secs_f64(seconds)))
        });
        out.push_str(&format!(
            "{:<10} {:<width$}  {}{time}\n{:<10} {:<width$}  why: {}\n",
            outlook.decision, outlook.address, outlook.summary, "", "", outlook.why
        ));
    }
    out.push_str(&format!("\n# Cost\n\n{}\n", cost(preview)));
    out
}

/// One line: how much is to be done, how long it takes, what it costs.
pub(super) fn cost(preview: &Preview) -> String {
    let gpu_hours = preview
        .gpu_hours
        .map_or_else(|| "GPU hours unknown (set `gpus`)".to_owned(), |hours| format!("{hours:.2} GPU hours"));
    format!(
        "{} of {} steps have work to do: about {} of warm-up and load, {gpu_hours}; deploying and waiting come on top",
        preview.work_left(),
        preview.outlooks.len(),
        format_duration(preview.duration),
    )
}

pub(super) fn render(arguments: &Render) -> Result<ExitCode, AppError> {
    let (_, plan) = checked(&arguments.file)?;
    for file in app::render(&plan, &arguments.out, arguments.api_version.into())? {
        print::out(&format!("{}\n", file.display()))?;
    }
    Ok(ExitCode::DONE)
}

pub(super) fn graph(arguments: &Graph) -> Result<ExitCode, AppError> {
    let (_, plan) = checked(&arguments.file)?;
    let steps = app::steps_of(&plan);
    print::out(&match arguments.format {
        GraphFormat::Dot => app::dot(&steps),
        GraphFormat::Mermaid => app::mermaid(&steps),
    })?;
    Ok(ExitCode::DONE)
}
