//! The README is true: its commands are commands, its plan is a plan, its tables are those of the code.

use std::path::{Path, PathBuf};
use std::process::Command;

use dynbench::app::ExitCode;
use dynbench::measure::METRICS;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn readme() -> String {
    std::fs::read_to_string(root().join("README.md")).unwrap()
}

/// The blocks of one language.
fn blocks(language: &str) -> Vec<String> {
    let text = readme();
    let fence = format!("```{language}\n");
    text.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

/// Runs dynbench; its exit code and what it printed.
fn dynbench(arguments: &[&str], dir: &Path) -> (Option<i32>, String) {
    let run = Command::new(env!("CARGO_BIN_EXE_dynbench")).args(arguments).current_dir(dir).output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    (run.status.code(), text)
}

/// Every command line of the README that starts with `dynbench`, in console blocks and in running text.
fn commands() -> Vec<Vec<String>> {
    let text = readme();
    let in_blocks: Vec<String> =
        blocks("console").iter().flat_map(|block| block.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    let in_text = text.split('`').skip(1).step_by(2).map(|code| code.replace('\n', " "));
    let lines = in_blocks.into_iter().chain(in_text).filter(|line| line.starts_with("dynbench "));
    lines.map(|line| line.split('#').next().unwrap().split_whitespace().skip(1).map(str::to_owned).collect()).collect()
}

#[test]
fn every_command_of_the_readme_is_a_command() {
    let dir = tempfile::tempdir().unwrap();
    let mut seen = 0;
    for command in commands() {
        // `a|b|c` stands for several, `<command>` for any.
        for word in command[0].split('|').filter(|word| !word.starts_with('<')) {
            let mut arguments = vec![word];
            if let Some(sub) = command.get(1).filter(|_| matches!(word, "runs" | "templates")) {
                arguments.push(sub.split('|').next().unwrap());
            }
            arguments.push("--help");
            let (code, text) = dynbench(&arguments, dir.path());
            assert_eq!(code, Some(0), "{command:?}: {text}");
            for flag in command.iter().filter(|part| part.starts_with("--")) {
                assert!(text.contains(flag.as_str()), "{command:?}: no {flag} in its help");
            }
            seen += 1;
        }
    }
    assert!(seen >= 12, "only {seen} commands were found");
}

#[test]
fn the_two_commands_stand_first_and_their_plan_is_there() {
    let first = &blocks("console")[0];
    let commands: Vec<_> = first.lines().map(|line| line.split('#').next().unwrap().trim()).collect();
    assert_eq!(commands, ["cargo run --release -- apply plans/quickstart.toml", "cargo test"]);
    assert!(root().join("plans/quickstart.toml").is_file());
    let ci = std::fs::read_to_string(root().join(".ci/run")).unwrap();
    assert!(ci.contains("cargo test"), ".ci/run does not call the test command");
}

#[test]
fn the_plan_of_the_readme_is_a_plan() {
    let dir = tempfile::tempdir().unwrap();
    for (number, plan) in blocks("toml").iter().enumerate() {
        let path = dir.path().join(format!("plan-{number}.toml"));
        std::fs::write(&path, plan).unwrap();
        let (code, text) = dynbench(&["check", path.to_str().unwrap()], dir.path());
        assert_eq!(code, Some(0), "{text}");
    }
    assert!(!blocks("toml").is_empty());
}

#[test]
fn the_first_steps_of_the_readme_work_one_after_the_other() {
    let dir = tempfile::tempdir().unwrap();
    for (arguments, code) in [
        (vec!["init", "plan.toml"], 0),
        (vec!["check", "plan.toml"], 0),
        (vec!["plan", "plan.toml"], 0),
        (vec!["plan", "plan.toml", "--exit-code"], 10),
        (vec!["init", "plan.toml"], 2),
    ] {
        let (found, text) = dynbench(&arguments, dir.path());
        assert_eq!(found, Some(code), "{arguments:?}: {text}");
    }
}

#[test]
fn every_link_of_the_readme_leads_somewhere() {
    let text = readme();
    let links: Vec<_> = text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()).collect();
    assert!(links.len() > 8, "{links:?}");
    let headings: Vec<_> = text
        .lines()
        .filter_map(|line| line.trim_start_matches('#').strip_prefix(' ').filter(|_| line.starts_with('#')))
        .map(|heading| format!("#{}", heading.to_lowercase().replace(' ', "-")))
        .collect();
    for link in links {
        if link.starts_with('#') {
            assert!(headings.iter().any(|heading| heading == link), "{link}");
            continue;
        }
        assert!(root().join(link).is_file(), "{link}");
    }
}

#[test]
fn the_table_of_metrics_is_the_one_of_the_code() {
    let mut table = String::from("| metric | short | unit | definition |\n| --- | --- | --- | --- |\n");
    for metric in METRICS {
        table
            .push_str(&format!("| `{}` | `{}` | {} | {} |\n", metric.id, metric.short, metric.unit, metric.definition));
    }
    let text = readme();
    let (head, rest) = text.split_once("from the table of metrics -->\n").unwrap();
    let (found, tail) = rest.split_once("<!-- /metrics -->").unwrap();
    if found != table && std::env::var_os("UPDATE_README").is_some() {
        let whole = format!("{head}from the table of metrics -->\n{table}<!-- /metrics -->{tail}");
        std::fs::write(root().join("README.md"), whole).unwrap();
        return;
    }
    assert_eq!(found, table, "run `UPDATE_README=1 cargo test readme` and look at the change");
}

#[test]
fn the_table_of_exit_codes_names_each_of_them() {
    let text = readme();
    let codes = [
        ExitCode::DONE,
        ExitCode::USAGE,
        ExitCode::FAILED,
        ExitCode::OBJECTIVE,
        ExitCode::OUTSTANDING,
        ExitCode::LEAKED,
        ExitCode::PREFLIGHT,
        ExitCode::LOCKED,
        ExitCode::REFUSED,
        ExitCode::WORK_LEFT,
        ExitCode::STORAGE,
        ExitCode::BUG,
    ];
    for code in codes {
        assert!(text.contains(&format!("\n| {} | ", code.0)), "{}", code.0);
    }
    assert!(text.contains(&format!("| {}, {} |", ExitCode::INTERRUPTED.0, ExitCode::TERMINATED.0)));
}
