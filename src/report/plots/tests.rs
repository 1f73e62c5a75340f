//! Every picture from made-up measurements, plain and strange ones.

mod world;

use world::{GUIDE, Shape, World};

use super::*;

const EIGHT: &[&str] = &[
    "agg",
    "disagg-1p1d",
    "vanilla",
    "agg-tp2-router-kv-aware-long-name-of-40c",
    "disagg-2p1d",
    "sglang",
    "trtllm-agg",
    "llama-cpp",
];

/// Worlds with names, from the guide's own to strange ones.
fn worlds() -> Vec<(&'static str, World)> {
    let mut guide = World::of(&GUIDE);
    guide.objective("time-to-first-token", "p99", 500.0);
    guide.objective("time-to-first-token", "mean", 300.0);
    guide.objective("inter-token-latency", "p50", 12.0);
    guide.objective("itl", "p99", 1e6);
    guide.objective("output-throughput-per-user", "mean", 80.0);

    let mut broken = World::of(&Shape { simulated: true, ..GUIDE });
    broken.break_points(
        |meta| meta.deployment.as_str() == "agg" && meta.level.value() == 32.0,
        "12 % of requests failed, 1 % is allowed",
    );
    broken.break_points(|meta| meta.deployment.as_str() == "vanilla" && meta.level.value() >= 64.0, "restarted");

    let repeats = World::of(&Shape { repeats: 5, ..GUIDE });
    let two = World::of(&Shape { repeats: 2, levels: &[1, 16, 64], ..GUIDE });
    let eight = World::of(&Shape { deployments: EIGHT, ..GUIDE });
    let one_point = World::of(&Shape { deployments: &["agg"], levels: &[16], simulated: true, ..GUIDE });
    let workloads = World::of(&Shape {
        workloads: &[("chat", 200.0, 200.0), ("rag", 3000.0, 150.0), ("code", 800.0, 600.0)],
        levels: &[1, 4, 16, 64],
        ..GUIDE
    });
    let mut huge = World::of(&GUIDE);
    huge.blow_up = 400.0;
    huge.again();
    let many_levels: Vec<u32> = (1..=40).chain([48, 56, 64, 96, 100, 128, 200, 256]).collect();
    let levels = World::of(&Shape { levels: &many_levels, deployments: &["agg", "disagg"], ..GUIDE });
    vec![
        ("guide", guide),
        ("broken", broken),
        ("repeats", repeats),
        ("two", two),
        ("eight", eight),
        ("one-point", one_point),
        ("workloads", workloads),
        ("huge", huge),
        ("levels", levels),
    ]
}

fn customs() -> Vec<CustomPlot> {
    let plot = CustomPlot {
        id: "ttft-vs-throughput".to_owned(),
        x: "output-throughput".to_owned(),
        y: "ttft".to_owned(),
        statistic: "p90".to_owned(),
        group: Group::Deployment,
        scale: Scale::LogY,
        filter: Vec::new(),
        title: String::new(),
    };
    vec![
        CustomPlot {
            id: "by-workload".to_owned(),
            group: Group::Workload,
            scale: Scale::Linear,
            x: "concurrency".to_owned(),
            y: "request-latency".to_owned(),
            ..plot.clone()
        },
        CustomPlot {
            id: "log-log".to_owned(),
            scale: Scale::Log,
            title: "A <title> of the user's & a \"long\" one".repeat(3),
            ..plot.clone()
        },
        plot,
    ]
}

#[test]
#[ignore = "writes a gallery for looking at into the folder named by DYNBENCH_GALLERY"]
fn gallery() {
    let dir = std::path::PathBuf::from(std::env::var("DYNBENCH_GALLERY").unwrap());
    let only = std::env::var("DYNBENCH_WORLD").unwrap_or_default();
    for (name, world) in worlds() {
        if !only.is_empty() && !only.split(',').any(|one| one == name) {
            continue;
        }
        let into = dir.join(name);
        crate::base::create_dir(&into).unwrap();
        let customs = customs();
        let mut pictures = Picture::all();
        pictures.extend(customs.iter().map(Picture::Custom));
        for drawn in world.with_input(|input| draw_all(input, &pictures, &into)).unwrap() {
            if let Drawn::LeftOut { id, why } = drawn {
                std::fs::write(into.join(format!("{id}.txt")), why.to_string()).unwrap();
            }
        }
    }
}
