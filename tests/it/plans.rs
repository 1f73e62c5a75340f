//! Plan files: bad ones and what is said of them, good ones and what becomes of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use dynbench::base::Problems;
use dynbench::plan::{
    Catalog, Checked, Plan, StepSpec, check_text, estimate, expand, key_faults, load_plan, resolved_toml,
};
use insta::{assert_snapshot, glob};
use proptest::prelude::*;
use serde::Deserialize;

/// The tables that the program itself reads plans with.
static CATALOG: LazyLock<Catalog> = LazyLock::new(dynbench::app::catalog);

/// A plan without faults, to be changed by tests.
const MINIMAL: &str = r#"
schema = 1
name = "p"
model.id = "m"
target.kind = "simulated"

[workload]
isl = 200
osl = 100
concurrency = [1, 2]

[deployments.a]
engine = "aggregated"

[deployments.b]
engine = "vanilla"
"#;

fn check(text: &str, sets: &[&str]) -> Checked {
    let sets: Vec<_> = sets.iter().map(|set| (*set).to_owned()).collect();
    check_text(Path::new("/plans/plan.toml"), text.to_owned(), &sets, &CATALOG)
}

fn plan(text: &str, sets: &[&str]) -> Plan {
    let checked = check(text, sets);
    checked.plan.unwrap_or_else(|| panic!("{}", checked.problems.render(&checked.sources, false)))
}

fn messages(problems: &Problems) -> Vec<String> {
    problems.sorted().into_iter().map(|problem| problem.message.clone()).collect()
}

/// Checks a fixture under the name `plan.toml`, its folder being the fixtures' own. A first line `# --set: K=V` adds
/// what stands there to the command line.
fn check_fixture(path: &Path) -> Checked {
    let text = fs::read_to_string(path).unwrap();
    let sets: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# --set: ")).map(str::to_owned).collect();
    let named = path.with_file_name("plan.toml");
    let mut checked = check_text(&named, text, &sets, &CATALOG);
    // Shown without the place of this checkout.
    let mut sources = dynbench::base::SourceMap::default();
    let mut id = dynbench::base::SourceId(0);
    while let Some(source) = checked.sources.get(id) {
        sources.add(Path::new(source.path.file_name().unwrap()), source.text.clone());
        id.0 += 1;
    }
    checked.sources = sources;
    checked
}

fn without_folder(text: &str) -> String {
    text.replace(&format!("{}/tests/fixtures/plans/good/", env!("CARGO_MANIFEST_DIR")), "")
        .replace(&format!("{}/tests/fixtures/plans/bad/", env!("CARGO_MANIFEST_DIR")), "")
}

fn listing(plan: &Plan, steps: &[StepSpec]) -> String {
    let mut out = String::new();
    for step in steps {
        let needs: Vec<_> = step.needs.iter().map(|need| need.address.as_str()).collect();
        let key = step.key.short();
        writeln!(out, "{} [{key}] {}\n    after: {}", step.address, step.summary, needs.join(" ")).unwrap();
    }
    writeln!(out, "{:?}", estimate(plan, steps, &CATALOG)).unwrap();
    out
}

#[test]
fn bad_plans_are_explained() {
    glob!("../fixtures/plans", "bad/*.toml", |path| {
        let checked = check_fixture(path);
        assert!(checked.plan.is_none(), "{} has no error", path.display());
        assert_snapshot!(without_folder(&checked.problems.render(&checked.sources, false)));
    });
}

#[test]
fn good_plans_become_steps() {
    glob!("../fixtures/plans", "good/*.toml", |path| {
        let checked = check_fixture(path);
        let problems = checked.problems.render(&checked.sources, false);
        let plan = checked.plan.unwrap_or_else(|| panic!("{problems}"));
        let steps = listing(&plan, &expand(&plan, &CATALOG));
        let resolved = resolved_toml(&checked.resolved.unwrap());
        assert_snapshot!(without_folder(&format!("{problems}\n\n{steps}\n{resolved}")));
    });
}

/// Everything of a plan but the places.
fn without_places(plan: &Plan) -> serde_json::Value {
    fn strip(value: &mut serde_json::Value) {
        match value {
            serde_json::Value::Object(map) => {
                map.retain(|key, _| key != "span" && key != "spans");
                map.values_mut().for_each(strip);
            }
            serde_json::Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let mut json = serde_json::to_value(plan).unwrap();
    strip(&mut json);
    json
}

#[test]
fn a_resolved_plan_is_a_plan_with_the_same_meaning() {
    glob!("../fixtures/plans", "good/*.toml", |path| {
        let checked = check_fixture(path);
        let text = resolved_toml(&checked.resolved.unwrap());
        let again = check_text(&path.with_file_name("plan.toml"), text.clone(), &[], &CATALOG);
        let Some(plan) = again.plan else { panic!("{text}\n{}", again.problems.render(&again.sources, false)) };
        assert_eq!(without_places(&plan), without_places(&checked.plan.unwrap()));
    });
}

#[test]
fn a_plan_survives_being_frozen() {
    glob!("../fixtures/plans", "good/*.toml", |path| {
        let plan = check_fixture(path).plan.unwrap();
        let thawed: Plan = serde_json::from_str(&serde_json::to_string(&plan).unwrap()).unwrap();
        assert_eq!(thawed, plan);
    });
}

#[test]
fn files_that_are_no_plan_are_refused_with_one_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("plan.toml");
    fs::write(&path, vec![b'#'; 10 << 20]).unwrap();
    let checked = load_plan(&path, &[], &CATALOG);
    assert_eq!(messages(&checked.problems), [format!("{} is larger than 1 MiB", path.display())]);
    let checked = load_plan(dir.path(), &[], &CATALOG);
    assert_eq!(messages(&checked.problems), [format!("{} is a folder, not a plan", dir.path().display())]);
}

#[test]
fn the_file_gives_the_name_that_the_plan_does_not() {
    let text = MINIMAL.replace("name = \"p\"\n", "");
    let named = |file: &str| check_text(Path::new(file), text.clone(), &[], &CATALOG);
    assert_eq!(named("/x/Agg vs. Disagg.toml").plan.unwrap().name.as_str(), "agg-vs-disagg");
    assert!(named("/x/--.toml").plan.is_none());
}

#[test]
fn every_value_of_a_plan_can_be_set() {
    let plan = plan(
        MINIMAL,
        &[
            "name=other",
            "workload.concurrency=64",
            "workload.request.extra.top_k=1",
            "deployments.a.gpus=4",
            "policy.ready-deadline=5m",
            "objectives.ttft.p99=200",
            "deployments.b.time-scale=2",
        ],
    );
    assert_eq!(plan.name.as_str(), "other");
    assert_eq!(plan.workloads["default"].concurrency, [64]);
    assert_eq!(plan.workloads["default"].request.extra["top_k"], 1);
    assert_eq!(plan.deployments["a"].gpus, Some(4.0));
    assert_eq!(plan.policy.ready_deadline.as_secs(), 300);
    assert_eq!(plan.objectives[0].metric, "time-to-first-token");
    assert_eq!(plan.deployments["b"].values.json["time-scale"], 2);
}

#[test]
fn the_order_of_the_file_changes_no_key() {
    let keys = |text: &str| -> BTreeMap<String, String> {
        let plan = plan(text, &[]);
        expand(&plan, &CATALOG).into_iter().map(|step| (step.address.0, step.key.to_string())).collect()
    };
    let baseline = "\n[compare]\nbaseline = \"a\"\n";
    let (head, deployments) = MINIMAL.split_once("[deployments.a]").unwrap();
    let (a, b) = deployments.split_once("[deployments.b]").unwrap();
    let turned = format!("{head}[deployments.b]{b}\n[deployments.a]{a}{baseline}");
    assert_ne!(turned, MINIMAL);
    assert_eq!(keys(&format!("{MINIMAL}{baseline}")), keys(&turned));
}

/// Addresses whose key differs between two plans.
fn changed(sets: &[&str]) -> BTreeSet<String> {
    let keys = |sets: &[&str]| -> BTreeMap<String, String> {
        expand(&plan(MINIMAL, sets), &CATALOG).into_iter().map(|step| (step.address.0, step.key.to_string())).collect()
    };
    let (before, after) = (keys(&[]), keys(sets));
    before
        .iter()
        .filter(|(address, key)| after.get(*address) != Some(key))
        .map(|(address, _)| address.clone())
        .collect()
}

#[test]
fn a_key_changes_exactly_with_what_decides_the_result() {
    let points = ["a/default/load/c1", "a/default/load/c2", "b/default/load/c1", "b/default/load/c2"];
    let warm_ups = ["a/default/warm-up", "b/default/warm-up"];
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();

    assert_eq!(changed(&["workload.requests=900"]), set(&points));
    assert_eq!(changed(&["workload.duration=60s"]), set(&points));
    assert_eq!(changed(&["workload.warm-up-requests=1"]), set(&warm_ups));
    for of_traffic in ["workload.isl=201", "workload.osl-std=1", "workload.seed=7", "workload.request.timeout=10s"] {
        assert_eq!(changed(&[of_traffic]), set(&[points.as_slice(), &warm_ups].concat()), "{of_traffic}");
    }
    let of_a = changed(&["deployments.a.decode-step-ms=9"]);
    assert!(of_a.contains("a/render") && of_a.contains("a/default/load/c2"));
    assert!(of_a.iter().all(|address| address.starts_with("a/")), "{of_a:?}");
    assert_eq!(changed(&["compare.margin=0.1"]), set(&["summarize"]));
    assert_eq!(
        changed(&["deployments.a.gpus=8"]),
        set(&["plot/efficiency-tok-s-gpu-vs-user", "plot/pareto", "summarize"])
    );
    for nothing in [
        "name=other",
        "workload.concurrency=[2,1,4]",
        "policy.ready-deadline=1m",
        "workload.repeats=3",
        "description=x",
    ] {
        assert_eq!(changed(&[nothing]), set(&[]), "{nothing}");
    }
}

#[test]
fn blocks_alternate_the_order_of_deployments_and_end_with_their_workload() {
    let text = MINIMAL
        .replace("[workload]", "[workloads.w]\nrepeats = 3")
        .replace("[deployments.a]", "[workloads.once]\nisl = 5\nosl = 5\nconcurrency = [9]\n\n[deployments.a]");
    let steps = expand(&plan(&text, &[]), &CATALOG);
    let of = |kind: &str| -> Vec<&str> {
        steps.iter().filter(|step| step.kind == kind).map(|step| step.address.as_str()).collect()
    };
    assert_eq!(of("deploy"), ["a/deploy", "b/deploy", "b/deploy/r2", "a/deploy/r2", "a/deploy/r3", "b/deploy/r3"]);
    let loads = of("load");
    assert_eq!(loads[..3], ["a/w/load/c1", "a/w/load/c2", "a/once/load/c9"]);
    assert_eq!(loads.iter().filter(|address| address.contains("once")).count(), 2);
    assert!(loads.contains(&"b/w/load/c2/r3"));
}

/// What a target reads its values into.
#[derive(Debug, Deserialize)]
struct ProcessValues {
    commands: Vec<Command>,
}

#[derive(Debug, Deserialize)]
struct Command {
    command: Vec<String>,
    env: BTreeMap<String, String>,
    dir: Option<String>,
}

#[test]
fn values_fit_a_struct_and_every_one_has_its_place() {
    let text = fs::read_to_string("tests/fixtures/plans/good/process.toml").unwrap();
    let plan = plan(&text, &[]);
    let values: ProcessValues = plan.deployments["agg-tp2"].values.decode().unwrap();
    let server = &values.commands[0];
    assert_eq!(server.command[3], "{{ port }}");
    assert_eq!(server.command[5], "2");
    assert_eq!(server.env["DIR"], "{{ dir }}");
    assert_eq!(server.dir.as_deref(), Some("server"));
    let place = plan.deployments["agg-tp2"].values.span("commands.0.env.DIR").unwrap();
    assert_eq!(&text[place.range.clone()], "\"{{ dir }}\"");
}

#[test]
fn the_tables_of_targets_have_no_faults() {
    for target in CATALOG.targets {
        assert_eq!(key_faults(target.target_keys()), Vec::<String>::new(), "{}", target.kind());
        assert_eq!(key_faults(target.deployment_keys()), Vec::<String>::new(), "{}", target.kind());
    }
}

#[test]
fn huge_and_deep_texts_end_in_errors() {
    let chain: String = (0..25_000).map(|at| format!("[deployments.d{at}]\nlike = \"d{}\"\n", at + 1)).collect();
    let texts = [
        "a = [1,\n".repeat(100_000),
        format!("{}\n{} = 1\n", MINIMAL, "x".repeat(900_000)),
        format!("schema = 1\nname = \"{}\"\n", "x".repeat(900_000)),
        format!("schema = 1\n{}", "[".repeat(500_000)),
        format!("schema = 1\nmodel.id = \"m\"\ntarget.kind = \"simulated\"\n{chain}"),
    ];
    for text in texts {
        let checked = check(&text, &[]);
        assert!(checked.problems.has_errors() && checked.plan.is_none());
        assert!(checked.problems.len() <= 101);
        for problem in checked.problems.sorted() {
            assert!(problem.message.len() < 300, "{}", problem.message.len());
        }
        checked.problems.render(&checked.sources, false);
    }
}

#[test]
fn thousands_of_problems_are_counted_and_not_all_told() {
    let mut text = String::from(MINIMAL);
    for at in 0..20_000 {
        writeln!(text, "key-{at} = 1").unwrap();
    }
    let checked = check(&text, &[]);
    assert_eq!(checked.problems.len(), 101);
    assert!(messages(&checked.problems).contains(&"19900 more problems are not shown".to_owned()));
    assert!(checked.problems.has_errors());
}

/// Whether some order of the steps respects all needs, and no need points at nothing.
fn is_acyclic(steps: &[StepSpec]) -> bool {
    let mut done = BTreeSet::new();
    loop {
        let before = done.len();
        for step in steps {
            if step.needs.iter().all(|need| done.contains(&need.address)) {
                done.insert(step.address.clone());
            }
        }
        if done.len() == steps.len() {
            return true;
        }
        if done.len() == before {
            return false;
        }
    }
}

/// What a fault puts into a plan.
const FAULTS: &[&str] = &[
    "",
    "",
    "\n",
    "=",
    "[",
    "]",
    "{",
    "}",
    "\"",
    "'",
    "\"\"\"",
    "#",
    ".",
    ",",
    "-1",
    "1e999",
    "nan",
    "99999999999999999999",
    "\u{0}",
    "\u{1f600}",
    "{{ matrix.x }}",
    "[workload]\n",
    "isl = 1\n",
    "mix = [{}]\n",
    "trace = \"/\"\n",
    "dataset = \"x\"\n",
    "shared-prefix = { tokens = 0 }\n",
    "request-rate = [0]\n",
    "like = \"a\"\n",
    "true",
];

prop_compose! {
    fn plan_text()(
        workloads in prop::collection::vec((1_u32..4, 1_usize..4), 1..4),
        deployments in 1_usize..5,
    ) -> String {
        let mut text = String::from("schema = 1\nmodel.id = 'm'\ntarget.kind = 'simulated'\n");
        for (at, (repeats, levels)) in workloads.iter().enumerate() {
            let levels: Vec<_> = (1..=*levels).collect();
            writeln!(text, "[workloads.w{at}]\nisl = 9\nosl = 9\nrepeats = {repeats}\nconcurrency = {levels:?}").unwrap();
        }
        for at in 0..deployments {
            writeln!(text, "[deployments.d{at}]\nengine = 'vanilla'").unwrap();
        }
        text
    }
}

proptest! {
    // PROPTEST_CASES makes it as long as one likes.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn needs_never_form_a_circle_and_point_backwards_only(text in plan_text()) {
        let steps = expand(&plan(&text, &[]), &CATALOG);
        prop_assert!(is_acyclic(&steps));
        let mut seen = BTreeSet::new();
        for step in &steps {
            for need in &step.needs {
                prop_assert!(seen.contains(&need.address), "{} needs {}", step.address, need.address);
            }
            prop_assert!(seen.insert(step.address.clone()), "{} twice", step.address);
        }
    }

    #[test]
    fn every_point_of_the_plan_is_one_step(text in plan_text()) {
        let plan = plan(&text, &[]);
        let points: usize = plan
            .workloads
            .values()
            .map(|workload| workload.concurrency.len() * workload.repeats as usize * plan.deployments.len())
            .sum();
        let steps = expand(&plan, &CATALOG);
        prop_assert_eq!(steps.iter().filter(|step| step.kind == "load").count(), points);
    }

    #[test]
    fn a_good_plan_with_faults_is_a_plan_or_has_errors_to_show(
        which in any::<prop::sample::Index>(),
        faults in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..30, 0_usize..FAULTS.len()), 1..6),
    ) {
        let all: Vec<_> = ["tests/fixtures/plans/good", "plans"]
            .into_iter()
            .flat_map(|dir| fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()))
            .filter(|path| path.extension().is_some_and(|end| end == "toml"))
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        let mut text: Vec<char> = fs::read_to_string(&all[which.index(all.len())]).unwrap().chars().collect();
        for (at, length, with) in faults {
            let at = at.index(text.len() + 1);
            let end = (at + length).min(text.len());
            text.splice(at..end, FAULTS[with].chars());
        }
        let checked = check(&text.into_iter().collect::<String>(), &[]);
        prop_assert_eq!(checked.plan.is_some(), !checked.problems.has_errors());
        checked.problems.render(&checked.sources, false);
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,200}") {
        let checked = check(&text, &[&text]);
        checked.problems.render(&checked.sources, false);
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("plan.toml");
        fs::write(&path, bytes).unwrap();
        let checked = load_plan(&path, &[], &CATALOG);
        prop_assert!(checked.plan.is_none());
        checked.problems.render(&checked.sources, false);
    }

    #[test]
    fn no_mutation_of_a_plan_makes_the_check_panic(
        which in 0_usize..16,
        cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), "[\\[\\]{}=.\"'a-z0-9\n-]{0,6}"), 1..4),
    ) {
        let mut files: Vec<_> = fs::read_dir("tests/fixtures/plans/good").unwrap().map(|e| e.unwrap().path()).collect();
        files.sort();
        let mut text = fs::read_to_string(&files[which % files.len()]).unwrap();
        for (one, other, insert) in cuts {
            let (one, other) = (one.index(text.len() + 1), other.index(text.len() + 1));
            let (mut start, mut end) = (one.min(other), one.max(other).min(one.min(other) + 20));
            while !text.is_char_boundary(start) { start -= 1; }
            while !text.is_char_boundary(end) { end += 1; }
            text.replace_range(start..end, &insert);
        }
        let checked = check(&text, &[]);
        checked.problems.render(&checked.sources, false);
        if let Some(plan) = checked.plan {
            prop_assert!(is_acyclic(&expand(&plan, &CATALOG)));
        } else {
            prop_assert!(checked.problems.has_errors());
        }
    }
}
