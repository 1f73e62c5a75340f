//! The command line, command by command, through the real binary.

use std::fs;
use std::net::{SocketAddr, TcpStream};

use super::world::{PLAN, SMALL, World, files};
use insta::assert_snapshot;
use serde_json::Value;

/// The small plan, after a run of it.
fn applied() -> World {
    let world = World::new(SMALL);
    world.ends(0, &["apply", PLAN]);
    world
}

#[test]
fn help_shows_every_command_and_each_has_its_own() {
    let world = World::new("");
    let help = world.ends(0, &["--help"]).stdout;
    assert_snapshot!(help);
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let mut count = 0;
    // A description that does not fit goes on below itself.
    let commands = commands.filter(|line| !line.starts_with("   ") && !line.starts_with("  help "));
    for command in commands.filter_map(|line| line.split_whitespace().next()) {
        assert!(world.ends(0, &[command, "--help"]).stdout.contains("Usage: "), "{command}");
        count += 1;
    }
    assert!(count > 10, "only {count}");
    world.ends(2, &["aply", PLAN]);
}

#[test]
fn check_says_what_is_wrong_and_by_its_code_whether_anything_is() {
    let world = World::new(SMALL);
    assert_eq!(world.ends(0, &["check", PLAN]).stderr.trim(), "plan.toml: ok");
    world.write("bad.toml", SMALL.replace("isl = 20", "isl = 0\nconcurency = 3"));
    let ran = world.ends(2, &["check", PLAN, "bad.toml"]);
    assert_snapshot!("check", ran.stderr);
    let json = world.ends(2, &["check", "--json", PLAN, "bad.toml"]).json();
    assert_eq!(json[0]["usable"], true);
    let lines: Vec<_> = json[1]["problems"].as_array().unwrap().iter().map(|problem| &problem["line"]).collect();
    assert_eq!(lines, [6, 7]);
}

#[test]
fn a_tokenizer_that_is_none_is_found_before_anything_is_deployed() {
    let world = World::new("");
    world.write("tokenizer.json", b"{}");
    world.write("bad.toml", SMALL.replace("[workload]", "model.tokenizer = \"tokenizer.json\"\n\n[workload]"));
    let ran = world.ends(2, &["check", "bad.toml"]);
    assert!(ran.stderr.contains("tokenizer.json is no tokenizer"), "{}", ran.stderr);
    assert!(ran.stderr.contains("bad.toml:5:"), "{}", ran.stderr);
    assert_eq!(world.ends(2, &["apply", "bad.toml"]).stderr.matches("is no tokenizer").count(), 1);
}

#[test]
fn files_that_are_no_plans_are_refused_with_one_error() {
    let world = World::new("");
    world.write("huge.toml", vec![b'#'; 10 << 20]);
    world.write("latin1.toml", b"name = \"caf\xe9\"\n");
    world.write("binary.toml", [0, 159, 146, 150].repeat(100));
    fs::create_dir(world.path("folder.toml")).unwrap();
    let mut said = String::new();
    for file in ["huge.toml", "latin1.toml", "binary.toml", "folder.toml", "absent.toml", "/dev/null"] {
        let ran = world.ends(2, &["apply", file]);
        said.push_str(&format!("$ apply {file}\n{}\n", ran.stderr));
    }
    world.filters().bind(|| assert_snapshot!(said));
    assert!(!world.path("results").exists());
}

#[test]
fn plan_shows_every_step_and_says_by_its_code_whether_any_is_left() {
    let world = World::new(SMALL);
    let text = world.ends(10, &["plan", PLAN, "--exit-code"]).stdout;
    world.filters().bind(|| assert_snapshot!("plan", text));
    assert!(!world.path("results").exists(), "a preview wrote something");
    world.ends(0, &["apply", PLAN]);
    let text = world.ends(0, &["plan", PLAN, "--exit-code"]).stdout;
    world.filters().bind(|| assert_snapshot!("plan-after-the-run", text));
    let json = world.ends(0, &["plan", PLAN, "--json"]).json();
    assert_eq!((&json["work-left"], &json["plan"]["name"]), (&Value::from(0), &Value::from("small")));
    world.edit("[1, 2]", "[1, 2, 3]");
    let json = world.ends(10, &["plan", PLAN, "--json", "--exit-code"]).json();
    let runs = json["decisions"].as_array().unwrap().iter().filter(|decision| decision["decision"] == "run");
    let runs: Vec<_> = runs.filter_map(|decision| decision["address"].as_str()).collect();
    assert!(runs.contains(&"agg/default/load/c3") && !runs.contains(&"agg/default/load/c1"), "{runs:?}");
}

#[test]
fn steps_are_drawn_and_what_they_start_is_written() {
    let world = World::new(SMALL);
    assert_snapshot!("graph-dot", world.ends(0, &["graph", PLAN]).stdout);
    assert_snapshot!("graph-mermaid", world.ends(0, &["graph", PLAN, "--format", "mermaid"]).stdout);
    assert_eq!(world.ends(0, &["render", PLAN, "--out", "out"]).stdout, "out/agg.json\n");
    let engine: Value = serde_json::from_str(&world.read("out/agg.json")).unwrap();
    assert_eq!((&engine["engine"], &engine["model"]), (&Value::from("aggregated"), &Value::from("tiny")));
    let init = ["init", "k8s.toml", "--target", "kubernetes"];
    world.ends(0, &init);
    world.ends(0, &["render", "k8s.toml", "--out", "out"]);
    assert!(world.read("out/agg.yaml").contains("DynamoGraphDeployment"));
}

#[test]
fn completions_are_a_script() {
    let script = World::new("").ends(0, &["completions", "bash"]).stdout;
    assert!(script.contains("complete -F _dynbench") && script.contains("--accept-changes"));
}

#[test]
fn explain_names_the_fields_that_differ() {
    let world = applied();
    let same = world.ends(0, &["explain", "agg/default/load/c1", "--plan", PLAN]).stdout;
    world.edit("isl = 20", "isl = 30");
    world.edit("ttft-ms = 5", "ttft-ms = 6");
    let edited = world.ends(0, &["explain", "agg/default/load/c1", "--plan", PLAN]).stdout;
    world.filters().bind(|| assert_snapshot!(format!("{same}\n{edited}")));
    let json = world.ends(0, &["explain", "agg/default/load/c1", "--plan", PLAN, "--json"]).json();
    assert_eq!(json["differences"].as_array().unwrap().len(), 2);
    let ran = world.ends(2, &["explain", "agg/default/load/c3"]);
    assert!(ran.stderr.contains("did you mean `agg/default/load/c"), "{}", ran.stderr);
}

#[test]
fn runs_are_listed_shown_checked_moved_and_pruned() {
    let world = applied();
    let list = world.ends(0, &["runs", "list"]).stdout;
    let show = world.ends(0, &["runs", "show"]).stdout;
    let mut filters = world.filters();
    // Which kind took longest is a matter of the moment.
    filters.add_filter(r"time: .*", "time: [TIMES]");
    filters.bind(|| assert_snapshot!(format!("{list}\n{show}")));
    let json = world.ends(0, &["runs", "list", "--json"]).json();
    let id = json[0]["run"].as_str().unwrap();
    let shown = world.ends(0, &["runs", "show", &id[..13], "--json"]).json();
    assert_eq!(shown["run"], id);
    let (all, steps) = (&shown["seconds"]["all"], &shown["seconds"]["steps"]);
    let load = steps["load"].as_f64().unwrap();
    assert!(load > 0.0 && load <= all.as_f64().unwrap(), "{all} {steps}");
    assert_eq!(steps.as_object().unwrap().len(), 10, "{steps}");
    world.ends(0, &["runs", "fsck"]);

    world.ends(0, &["runs", "export", "latest", "run.tar.gz"]);
    let elsewhere = World::new(SMALL);
    fs::copy(world.path("run.tar.gz"), elsewhere.path("run.tar.gz")).unwrap();
    assert_eq!(elsewhere.ends(0, &["runs", "import", "run.tar.gz"]).stdout, format!("results/small/{id}\n"));
    assert_eq!(elsewhere.ends(2, &["runs", "import", "run.tar.gz"]).stdout, "");
    elsewhere.ends(0, &["plan", PLAN, "--exit-code"]);
    let measured = format!("results/small/{id}/agg");
    assert_eq!(files(&elsewhere.path(&measured)), files(&world.path(&measured)));

    world.write("torn.tar.gz", &fs::read(world.path("run.tar.gz")).unwrap()[..3000]);
    let ran = elsewhere.run(&["runs", "import", &world.path("torn.tar.gz").display().to_string()]);
    assert!(ran.code == 2 || ran.code == 11, "{}", ran.stderr);

    let said = world.ends(0, &["runs", "prune", "--keep", "0", "--dry-run"]).stdout;
    assert!(said.contains("would be removed"), "{said}");
    world.ends(0, &["runs", "fsck"]);
    world.ends(0, &["runs", "prune", "--keep", "0"]);
    assert_eq!(world.ends(0, &["runs", "list", "--json"]).json(), serde_json::json!([]));
}

#[test]
fn a_file_that_was_changed_is_found_out() {
    let world = applied();
    world.write("results/small/latest/agg/c1/requests.jsonl", "{}\n");
    let ran = world.ends(3, &["runs", "fsck"]);
    assert!(ran.stdout.contains("agg/c1") && ran.stdout.contains("broken"), "{}\n{}", ran.stdout, ran.stderr);
    assert!(ran.stderr.contains("help: "), "{}", ran.stderr);
}

#[test]
fn a_report_is_written_again_with_the_pictures_asked_for() {
    let world = applied();
    fs::remove_file(world.path("results/small/latest/SUMMARY.txt")).unwrap();
    let ran =
        world.ends(0, &["report", "latest", "--plot", "pareto", "--draw", "x=ttft,y=output-throughput,title=mine"]);
    assert_eq!(world.summary(), ran.stdout);
    let plots = files(&world.path("results/small/latest/plots"));
    assert!(plots.keys().any(|path| path.ends_with("pareto.svg")), "{:?}", plots.keys());
    assert_eq!(plots.len(), 4, "two pictures, each as SVG and PNG: {:?}", plots.keys());
    let json = world.ends(0, &["report", "--json"]).json();
    assert_eq!(json["points"].as_array().unwrap().len(), 2);
    world.ends(2, &["report", "--draw", "x=ttft,y=latencyy"]);
    world.ends(2, &["report", "no-such-run"]);
}

#[test]
fn everything_that_shows_numbers_says_that_they_are_simulated() {
    let world = World::new(&SMALL.replace("[plots]\nset = []", "[plots]\nset = ['pareto']"));
    let ran = world.ends(0, &["apply", PLAN]);
    assert!(ran.stdout.contains("SIMULATED"), "{}", ran.stdout);
    let mut unmarked = Vec::new();
    for (path, bytes) in files(&world.path("results/small/latest").canonicalize().unwrap()) {
        let shown = path.extension().is_some_and(|kind| ["txt", "csv", "svg"].iter().any(|one| kind == *one))
            || path.ends_with("results.json");
        let text = String::from_utf8_lossy(&bytes).to_lowercase();
        if shown
            && !path.starts_with(".run")
            && !path.ends_with("profile_export_genai_perf.csv")
            && !text.contains("simulated")
        {
            unmarked.push(path);
        }
    }
    assert!(unmarked.is_empty(), "{unmarked:?}");
    // Also where nothing is left of the run but what other tools read.
    for name in ["profile_export_aiperf.json", "profile_export_genai_perf.json"] {
        let folder = world.path(&format!("copied-{}", name.len()));
        fs::create_dir(&folder).unwrap();
        fs::copy(world.path(&format!("results/small/latest/agg/c1/{name}")), folder.join(name)).unwrap();
        let out = format!("out-{}", name.len());
        let folder = folder.display().to_string();
        let ran = world.ends(0, &["report", &folder, "--out", &out]);
        assert!(ran.stdout.contains("SIMULATED"), "{name}: {}", ran.stdout);
        assert!(world.read(&format!("{out}/results.json")).contains("\"simulated\": true"), "{name}");
    }
}

#[test]
fn a_url_is_loaded_once_without_a_plan() {
    let world = World::new("");
    let fast = r#"fixed={"ttft-ms":5,"itl-ms":1}"#;
    let mut engine = world.start(&["simulate", "--port", "0", "--model", "tiny", "--set", fast]);
    let said = engine.says("serving");
    assert!(said.contains("simulated"), "{said}");
    let url = said.split_whitespace().find(|word| word.starts_with("http://")).unwrap().trim_end_matches(';');
    let load = ["load", url, "-c", "2", "-n", "20", "--isl", "20", "--osl", "4", "--records", "records.jsonl"];
    let ran = world.run(&[&load[..], &["--json"]].concat());
    let json = ran.json();
    assert_eq!((json["model"].as_str(), json["concurrency"].as_f64()), (Some("tiny"), Some(2.0)));
    assert!(json["ttft"]["mean"].as_f64().unwrap() >= 4.0, "{json}");
    assert_eq!(world.read("records.jsonl").lines().count(), 20);
    let ran = world.ends(7, &["load", url, "--model", "tinny"]);
    assert!(ran.stderr.contains("did you mean `tiny`?"), "{}", ran.stderr);
    world.ends(2, &["load", url, "-c", "0"]);
    drop(engine);
    let address: SocketAddr = url.trim_start_matches("http://").parse().unwrap();
    assert!(TcpStream::connect(address).is_err());
    let ran = world.ends(7, &["load", url]);
    assert!(ran.stderr.contains("refuse") || ran.stderr.contains("nothing"), "{}", ran.stderr);
}

#[test]
fn values_of_load_that_make_no_sense_are_refused_by_their_name_before_anything_is_asked() {
    let world = World::new("");
    let cases: [(&[&str], &str); 13] = [
        (&["-c", "0"], "0 is not in 1.."),
        (&["-c", "-1"], "-1 is not in 1.."),
        (&["-n", "-1"], "invalid value '-1' for '--requests"),
        (&["--request-rate", "-1"], "--request-rate -1: it must be from"),
        (&["--request-rate", "2", "--max-concurrency", "0"], "0 is not in 1.."),
        (&["--isl", "10000001"], "10000001 is not in 1..=10000000"),
        (&["--osl", "4000000000"], "4000000000 is not in 1..=10000000"),
        (&["--isl-std", "-3"], "--isl-std must be from 0 to --isl"),
        (&["--duration", "0s"], "--duration 0s: it must be longer than nothing"),
        (&["--timeout", "0s"], "--timeout 0s: it must be longer than nothing"),
        (&["--timeout", "soon"], "--timeout soon: "),
        (&["-c", "8", "-n", "4"], "--requests 4 never make --concurrency 8"),
        (&["-c", "2", "-n", "4", "--turns", "3"], "--requests 4 never make --concurrency 2"),
    ];
    for (arguments, reason) in cases {
        let ran = world.ends(2, &[&["load", "http://127.0.0.1:9"], arguments].concat());
        assert!(ran.stderr.contains(reason), "{arguments:?}: {}", ran.stderr);
    }
    for url in ["http://127.0.0.1:99999", "http://h:x", "h:1", "http://h/#a"] {
        world.ends(2, &["load", url]);
    }
}

#[test]
fn a_request_that_is_not_answered_within_the_timeout_is_given_up() {
    let world = World::new("");
    let slow = r#"fixed={"ttft-ms":60000,"itl-ms":1}"#;
    let mut engine = world.start(&["simulate", "--port", "0", "--set", slow]);
    let said = engine.says("serving");
    let url = said.split_whitespace().find(|word| word.starts_with("http://")).unwrap().trim_end_matches(';');
    let ran = world.ends(7, &["load", url, "--timeout", "500ms"]);
    assert!(ran.stderr.contains("did not answer within 0.5 s"), "{}", ran.stderr);
}

#[test]
fn files_of_the_engine_that_are_not_there_are_found_before_it_serves() {
    let world = World::new("");
    let ran = world.ends(2, &["simulate", "--port", "0", "--config", "/nope"]);
    assert!(ran.stderr.contains("/nope"), "{}", ran.stderr);
    let ran = world.ends(11, &["simulate", "--port", "0", "--truth", "/nope/x"]);
    assert!(ran.stderr.contains("/nope/x") && !ran.stderr.contains("serving"), "{}", ran.stderr);
}

#[test]
fn values_of_the_engine_that_make_no_sense_are_refused() {
    let world = World::new("");
    for set in ["replicas=0", "replicas", "replicaz=2", "time-scale=0", "fixed=3"] {
        let ran = world.ends(2, &["simulate", "--port", "0", "--set", set]);
        assert!(ran.stderr.starts_with("error: "), "{set}: {}", ran.stderr);
    }
}

/// Real results of other tools, as they wrote them.
fn formats(path: &str) -> String {
    format!("{}/tests/fixtures/formats/{path}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn results_of_other_tools_are_drawn_beside_our_own_and_alone() {
    let world = applied();
    let before = files(&world.path("results"));
    let old = format!("old={},gpus=2", formats("aiperf-0.13.0"));
    let vllm = format!("older={}", formats("vllm-bench/r.json"));
    world.ends(2, &["report", "--with", &old]);
    let plot = "avg-time-to-first-token-vs-concurrency";
    let both = world.ends(0, &["report", "--with", &old, "--with", &vllm, "--out", "beside", "--plot", plot, "--json"]);
    let found = both.json();
    let names: Vec<_> = found["run"]["deployments"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["agg", "old", "older"]);
    let aiperf = &found["points"][2];
    assert_eq!(aiperf["meta"]["measured_by"], "AIPerf 0.13.0, its requests");
    let (all, per_gpu) = (&aiperf["values"]["output-throughput"], &aiperf["values"]["output-throughput-per-gpu"]);
    assert!((all.as_f64().unwrap() - 2.0 * per_gpu.as_f64().unwrap()).abs() < 1e-9);
    let summary = fs::read_to_string(world.path("beside/SUMMARY.txt")).unwrap();
    assert!(summary.contains("how it did itself is not known"), "{summary}");
    assert!(world.path("beside/plots/avg_time_to_first_token_vs_concurrency.png").is_file());
    assert_eq!(files(&world.path("results")), before, "the run's own folder is left alone");

    let alone = world.ends(0, &["report", &formats("genai-perf-0.0.16"), "--out", "alone", "--json"]).json();
    assert_eq!(alone["points"][0]["meta"]["deployment"], "genai-perf-0-0-16");
    // What was written is one of our own folders: it can be drawn beside others again.
    let again = world.ends(0, &["report", "--with", "x=alone", "--out", "again", "--json"]).json();
    assert_eq!(again["points"][2]["meta"]["deployment"], "x-genai-perf-0-0-16");
    world.ends(2, &["report", "--with", "x=no-such-folder", "--out", "nowhere"]);
}

#[test]
fn results_of_several_tools_and_models_in_one_folder_share_no_deployment() {
    let world = applied();
    let put = |from: &str, to: &str, model: Option<&str>| {
        let to = world.path(to);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        let text = fs::read_to_string(formats(from)).unwrap();
        fs::write(to, model.map_or(text.clone(), |model| text.replace("\"mock\"", &format!("\"{model}\"")))).unwrap();
    };
    put("aiperf-0.13.0/profile_export_aiperf.json", "mixed/c1/profile_export_aiperf.json", None);
    let genai = "profile_export_genai_perf.json";
    put(&format!("genai-perf-0.0.16/{genai}"), &format!("mixed/c2/{genai}"), None);
    put("vllm-bench/r.json", "mixed/c8/one.json", None);
    put("vllm-bench/r.json", "mixed/c8/two.json", Some("org/Model.B"));
    let plot = "avg-time-to-first-token-vs-concurrency";
    let found = world.ends(0, &["report", "mixed", "--out", "out", "--plot", plot, "--json"]).json();
    let names: Vec<_> = found["run"]["deployments"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["mixed-aiperf", "mixed-genai-perf", "mixed-vllm-mock", "mixed-vllm-model-b"]);
    let points = found["points"].as_array().unwrap();
    let of: Vec<_> = points.iter().map(|point| (&point["meta"]["deployment"], &point["meta"]["repeat"])).collect();
    assert!(of.iter().zip(&names).all(|((deployment, repeat), name)| deployment == name && **repeat == 1), "{of:?}");
    assert_eq!(points.len(), 4);
}

#[test]
fn a_report_says_which_results_are_not_as_they_were_measured() {
    let world = applied();
    let point = "results/small/latest/agg/c1/results.json";
    world.write(point, format!("{}\n", world.read(point)));
    fs::remove_dir_all(world.path("results/small/latest/agg/c2")).unwrap();
    for _ in 0..2 {
        let ran = world.ends(0, &["report", "--plot", "pareto"]);
        for said in [ran.stderr, world.summary()] {
            for level in ["c1", "c2"] {
                let words = format!("agg/default/load/{level}: not as it was measured");
                assert_eq!(said.matches(&words).count(), 1, "{said}");
            }
        }
    }
}

#[test]
fn published_points_of_a_run_with_a_damaged_journal_can_be_read() {
    let world = applied();
    let journal = "results/small/latest/.run/journal.jsonl";
    let mut lines: Vec<_> = world.read(journal).lines().map(str::to_owned).collect();
    lines[2] = "{}".to_owned();
    world.write(journal, lines.join("\n"));
    let said = world.ends(3, &["runs", "fsck"]).stderr;
    assert!(said.contains("can be read by `report`"), "{said}");
    for _ in 0..2 {
        let ran = world.ends(0, &["report", "--json", "--plot", "pareto"]);
        assert_eq!(ran.json()["points"].as_array().unwrap().len(), 2);
        assert!(ran.stderr.contains("warning: journal: line 3 of"), "{}", ran.stderr);
        assert_eq!(world.summary().matches("lost journal: line 3 of").count(), 1, "{}", world.summary());
    }
    // Without what the run wrote of itself at its end, too.
    fs::remove_file(world.path("results/small/latest/results.json")).unwrap();
    assert_eq!(world.ends(0, &["report", "--json", "--plot", "pareto"]).json()["run"]["plan"], "small");
}

#[test]
fn no_report_is_written_over_another_run_and_runs_are_told_apart() {
    let world = applied();
    world.ends(0, &["apply", PLAN, "--new"]);
    let list = world.ends(0, &["runs", "list", "--json"]).json();
    let [first, second] = [0, 1].map(|at| list[at]["run"].as_str().unwrap().to_owned());
    let other = format!("results/small/{first}");
    let before = files(&world.path(&other));
    let ran = world.ends(2, &["report", "latest", "--out", &other]);
    assert!(ran.stderr.contains("is a run") && ran.stderr.contains("name another folder"), "{}", ran.stderr);
    assert_eq!(files(&world.path(&other)), before);
    world.ends(0, &["report", "latest", "--out", &format!("results/small/{second}"), "--plot", "pareto"]);

    let said = world.ends(2, &["runs", "show", "20"]).stderr;
    assert!(said.contains("2 runs match `20`") && said.contains(&first) && said.contains(&second), "{said}");
    fs::create_dir(world.path("empty")).unwrap();
    let said = world.ends(2, &["report", "empty", "--out", "out"]).stderr;
    assert!(said.contains("empty holds no results"), "{said}");
    let said = world.ends(2, &["report", "latest", "--draw", "x=concurrency,y=itl,statistic=p80"]).stderr;
    assert!(said.contains("no statistic `p80`") && said.contains("p75, p90"), "{said}");
}

#[test]
fn data_that_cannot_be_printed_are_an_error_and_a_reader_that_left_is_none() {
    let world = World::new(SMALL);
    let script = r#"
        "$0" $1 > /dev/full 2> said.txt
        echo $?
        { "$0" $1 2> quiet.txt; echo $? > code.txt; } | true
    "#;
    for command in ["schema", "plan plan.toml", "check plan.toml --json", "completions bash"] {
        let code = world.other("sh", &["-c", script, env!("CARGO_BIN_EXE_dynbench"), command]).unwrap();
        assert_eq!(code, "11\n", "{command}");
        assert!(world.read("said.txt").contains("cannot write to stdout"), "{}", world.read("said.txt"));
        assert_eq!(world.read("code.txt"), "0\n");
    }
}
