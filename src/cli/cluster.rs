//! Commands about what is in clusters: cleanup, rbac, reap, and the cluster's part of `plan`.

use serde_json::json;

use super::args::{Cleanup, PlanFile, Reap};
use super::running::runtime;
use super::{ask, print};
use crate::app::{
    self, AppError, Cleaned, CleanupScope, DeploymentView, ExitCode, FoundRun, Leftover, Overrides, Plan, Swept,
    TargetError,
};

/// Says what is awaited, once for each new thing.
fn talk() -> impl Fn(&str) + Sync {
    let last = std::sync::Mutex::new(String::new());
    move |what: &str| {
        let mut last = last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if *last != what {
            print::say(what);
            what.clone_into(&mut last);
        }
    }
}

pub(super) fn cleanup(arguments: &Cleanup) -> Result<ExitCode, AppError> {
    let plan = match &arguments.plan {
        None => None,
        Some(path) => {
            let checked = app::check(path, &Overrides::default());
            print::problems(&checked);
            Some(app::usable(path, &checked)?)
        }
    };
    let scope = CleanupScope {
        run: arguments.run.clone(),
        plan,
        expired: arguments.expired,
        context: arguments.context.clone(),
        namespace: arguments.namespace.clone(),
    };
    let say = talk();
    if arguments.dry_run {
        let (left, runs) = runtime()?.block_on(app::leftovers(&scope, &say))?;
        return would_end(&left, &runs, arguments.json);
    }
    let (cleaned, runs) = runtime()?.block_on(app::cleanup(&scope, &say))?;
    ended(&cleaned, &runs, arguments.json)
}

fn would_end(left: &[Leftover], runs: &[FoundRun], as_json: bool) -> Result<ExitCode, AppError> {
    if as_json {
        let left: Vec<_> = left.iter().map(|left| json!({"run-dir": left.run, "what": left.what})).collect();
        print::json(&json!({"leftovers": left, "runs": runs}))?;
        return Ok(ExitCode::DONE);
    }
    for left in left {
        print::out(&format!("{}: would end {}\n", left.run.display(), left.what))?;
    }
    for run in runs {
        match &run.spared {
            Some(why) => print::out(&format!("run {} ({}): would be left alone: {why}\n", run.run, run.place))?,
            None => {
                for object in &run.objects {
                    print::out(&format!("run {} ({}): would delete {object}\n", run.run, run.place))?;
                }
            }
        }
    }
    if left.is_empty() && runs.is_empty() {
        print::say("nothing was left behind");
    }
    Ok(ExitCode::DONE)
}

fn ended(cleaned: &[Cleaned], runs: &[FoundRun], as_json: bool) -> Result<ExitCode, AppError> {
    let leaks = cleaned.iter().any(|one| one.failed.is_some())
        || runs.iter().any(|run| run.swept.as_ref().is_some_and(|swept| !swept.is_clean()));
    let code = if leaks { ExitCode::LEAKED } else { ExitCode::DONE };
    if as_json {
        let one = |one: &Cleaned| json!({"run-dir": one.leftover.run, "what": one.leftover.what, "failed": one.failed});
        print::json(&json!({"ended": cleaned.iter().map(one).collect::<Vec<_>>(), "runs": runs}))?;
        return Ok(code);
    }
    if cleaned.is_empty() && runs.is_empty() {
        print::say("nothing was left behind");
    }
    let mut out = String::new();
    for cleaned in cleaned {
        let place = cleaned.leftover.run.display();
        match &cleaned.failed {
            None => out.push_str(&format!("{place}: ended {}\n", cleaned.leftover.what)),
            Some(why) => print::say(&format!("{place}: {why}")),
        }
    }
    for run in runs {
        let place = format!("run {} ({})", run.run, run.place);
        match (&run.spared, &run.swept) {
            (Some(why), _) => out.push_str(&format!("{place}: left alone: {why}\n")),
            (None, Some(swept)) => say_swept(&place, swept, &mut out),
            (None, None) => {}
        }
    }
    // What is left is said also when this cannot be printed.
    print::out(&out)?;
    Ok(code)
}

/// Adds what was deleted to the data, and says the rest.
fn say_swept(place: &str, swept: &Swept, out: &mut String) {
    for gone in &swept.gone {
        out.push_str(&format!("{place}: deleted {gone}\n"));
    }
    for stays in &swept.stays {
        print::say(&format!("{place}: {stays}"));
    }
    for note in &swept.notes {
        print::say(&format!("{place}: {note}"));
    }
    if !swept.hidden.is_empty() {
        print::say(&format!("{place}: not looked at, no access: {}", swept.hidden.join(", ")));
    }
}

pub(super) fn rbac(file: &PlanFile) -> Result<ExitCode, AppError> {
    let (_, plan) = ask::checked(file)?;
    print::out(&app::rbac(&plan)?)?;
    Ok(ExitCode::DONE)
}

pub(super) fn reap(arguments: &Reap) -> Result<ExitCode, AppError> {
    let say = talk();
    let reaping = app::reap(&arguments.run, arguments.namespace.as_deref(), &arguments.after, &say);
    match runtime()?.block_on(reaping)? {
        None => print::say(&format!("run {} is over", arguments.run)),
        Some(swept) => {
            let mut out = String::new();
            say_swept(&format!("run {}", arguments.run), &swept, &mut out);
            print::out(&out)?;
        }
    }
    Ok(ExitCode::DONE)
}

/// Asks the clusters of a plan.
pub(super) fn views(plan: &Plan) -> Result<Vec<DeploymentView>, AppError> {
    Ok(runtime()?.block_on(app::server_views(plan)))
}

pub(super) fn views_json(views: &[DeploymentView]) -> serde_json::Value {
    let one = |view: &DeploymentView| {
        let (looked_at, problem) = match &view.preflight {
            Ok(lines) => (Some(lines), None),
            Err(error) => (None, Some(json!({"message": error.message, "details": error.details, "help": error.help}))),
        };
        json!({
            "deployment": view.deployment, "looked-at": looked_at, "problem": problem, "objects": view.objects,
        })
    };
    views.iter().map(one).collect()
}

pub(super) fn views_text(views: &[DeploymentView]) -> String {
    let mut out = String::new();
    for view in views {
        out.push_str(&format!("\n# {} as its surroundings see it\n\n", view.deployment));
        match &view.preflight {
            Ok(lines) => lines.iter().for_each(|line| out.push_str(&format!("ok: {line}\n"))),
            Err(error) => problem(&mut out, error),
        }
        for object in view.objects.iter().flat_map(|view| &view.objects) {
            out.push_str(&format!("{:<8} {}", object.action, object.object));
            if object.added > 0 {
                out.push_str(&format!(" ({} fields added by the cluster)", object.added));
            }
            out.push('\n');
            for line in &object.lines {
                out.push_str(&format!("           {line}\n"));
            }
        }
    }
    out
}

fn problem(out: &mut String, error: &TargetError) {
    out.push_str(&format!("problem: {}\n", error.message));
    for detail in &error.details {
        out.push_str(&format!("  {detail}\n"));
    }
    if let Some(help) = &error.help {
        out.push_str(&format!("  help: {help}\n"));
    }
}
