//! Every picture from made-up measurements, plain and strange ones.

mod world;

use world::{GUIDE, Shape, World};

use super::scene::{Area, At, Rgb, Scene, Text};
use super::*;
use crate::measure::{Level, METRICS, Rate};

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

    let repeats = World::of(&Shape { repeats: 3, ..GUIDE });
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
    let many_levels: Vec<u32> = (1..=20).chain([24, 28, 32, 48, 56, 64, 96, 100, 128]).collect();
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

/// What a plan may ask for, drawn in every world.
fn everything(customs: &[CustomPlot]) -> Vec<Picture<'_>> {
    Picture::all().into_iter().chain(customs.iter().map(Picture::Custom)).collect()
}

fn built_in(input: &PlotInput<'_>, id: &str) -> Result<Scene, Missing> {
    draw::scene(input, Picture::BuiltIn(id))
}

#[test]
fn every_picture_of_every_world_has_words_that_stand_apart_and_inside() {
    let customs = customs();
    for (name, world) in worlds() {
        for picture in everything(&customs) {
            let scene = world.with_input(|input| draw::scene(input, picture)).unwrap();
            let page = Area { left: 0.0, top: 0.0, right: scene.width, bottom: scene.height };
            let texts: Vec<_> = scene.texts().map(|text| (text.words.as_str(), text.bounds())).collect();
            for (place, (words, bounds)) in texts.iter().enumerate() {
                assert!(page.holds(bounds), "{name}, {}: `{words}` leaves the page", picture.id());
                let other = texts[..place].iter().find(|(_, other)| other.overlaps(bounds));
                assert_eq!(other, None, "{name}, {}: under `{words}`", picture.id());
            }
        }
    }
}

#[test]
fn every_picture_says_what_it_shows_of_whom_and_what_it_means() {
    let world = World::of(&Shape { simulated: true, ..GUIDE });
    for row in PLOTS {
        let scene = world.with_input(|input| built_in(input, row.id)).unwrap();
        let words: Vec<_> = scene.texts().map(|text| text.words.as_str()).collect();
        let all = words.join("\n");
        for part in [
            "SIMULATED",
            "agg",
            "disagg",
            "vanilla",
            "Qwen/Qwen3-0.6B",
            "ISL 200 ± 10, OSL 200",
            "20261124-221003",
            "disagg: disaggregated not proven",
        ] {
            assert!(all.contains(part), "{}: no {part} in {all}", row.id);
        }
        // What is the server's own has no formula of ours.
        let of_server = all.replace('\n', " ").contains("as the server's /metrics told them");
        assert!(of_server || METRICS.iter().any(|metric| all.contains(metric.definition)), "{}: {all}", row.id);
        assert!(scene.title.starts_with("SIMULATED: "), "{}", scene.title);
    }
}

#[test]
fn pictures_of_an_open_loop_speak_of_rates() {
    let mut world = World::of(&Shape { levels: &[2, 8, 32], ..GUIDE });
    for point in &mut world.points {
        point.meta.level = Level::Rate(Rate::new(point.meta.level.value() / 2.0).unwrap());
    }
    for row in PLOTS {
        let scene = world.with_input(|input| built_in(input, row.id)).unwrap();
        let wrong = scene.texts().find(|text| text.words.to_lowercase().contains("concurrency"));
        assert_eq!(wrong.map(|text| text.words.as_str()), None, "{}", row.id);
    }
    let server = world.with_input(|input| built_in(input, "server-timeline")).unwrap();
    assert_eq!(server.title, "The server's own view at 16 requests/s");
}

#[test]
fn only_simulated_numbers_are_called_so() {
    let scene = World::of(&GUIDE).with_input(|input| built_in(input, "pareto")).unwrap();
    assert!(!scene.texts().any(|text| text.words.contains("SIMULATED")));
    let mut world = World::of(&GUIDE);
    world.points[3].meta.simulated = true;
    let scene = world.with_input(|input| built_in(input, "pareto")).unwrap();
    assert!(scene.texts().any(|text| text.words == "SIMULATED"));
}

#[test]
fn invalid_points_are_told_and_never_part_of_a_line() {
    let lines_of_agg = |world: &World| -> usize {
        let scene = world.with_input(|input| built_in(input, "output-throughput-vs-concurrency")).unwrap();
        let blue = Rgb(0, 114, 178);
        let of_agg = |shape: &&scene::Shape| matches!(shape, scene::Shape::Line { color, points, .. } if *color == blue && points.len() > 2);
        scene.shapes.iter().filter(of_agg).count()
    };
    let mut world = World::of(&GUIDE);
    assert_eq!(lines_of_agg(&world), 1);
    world.break_points(|meta| meta.deployment.as_str() == "agg" && meta.level.value() == 8.0, "12 % failed");
    assert_eq!(lines_of_agg(&world), 2);
    let scene = world.with_input(|input| built_in(input, "output-throughput-vs-concurrency")).unwrap();
    let told = |text: &Text| text.words == "Not valid (hollow) or left out: agg c8 (12 % failed).";
    assert!(scene.texts().any(told));
}

#[test]
fn a_deployment_without_a_row_in_the_timeline_is_told() {
    let mut world = World::of(&GUIDE);
    world.break_points(|meta| meta.deployment.as_str() == "vanilla", "restarted");
    let scene = world.with_input(|input| built_in(input, "timeline")).unwrap();
    assert!(scene.texts().any(|text| text.words == "Left out: vanilla (no valid point, or no records kept)."));
    assert!(scene.title.ends_with("concurrency 128"), "{}", scene.title);
}

#[test]
fn percentiles_of_small_samples_are_left_out_and_told() {
    let mut world = World::of(&GUIDE);
    for point in world.points.iter_mut().filter(|point| point.meta.level.value() < 4.0) {
        point.distributions.values_mut().for_each(|distribution| distribution.n = 100);
    }
    let id = "p99-time-to-first-token-vs-concurrency";
    let scene = world.with_input(|input| built_in(input, id)).unwrap();
    let words: String = scene.texts().map(|text| text.words.clone() + " ").collect();
    assert!(words.contains("agg c1, c2 (p99 needs 368 requests)"), "{words}");

    for point in &mut world.points {
        point.distributions.values_mut().for_each(|distribution| distribution.n = 100);
    }
    let why = world.with_input(|input| built_in(input, id)).unwrap_err();
    assert_eq!(why.to_string(), "p99 needs 368 requests at a level, the most there were is 100");
}

#[test]
fn tokens_per_gpu_are_never_drawn_with_a_guessed_number_of_gpus() {
    let mut world = World::of(&GUIDE);
    for point in world.points.iter_mut().filter(|point| point.meta.deployment.as_str() != "agg") {
        point.meta.gpus = None;
    }
    let custom = CustomPlot { y: "tok_s_gpu".to_owned(), ..customs().remove(0) };
    for row in PLOTS.iter().filter(|row| row.needs_gpus) {
        let why = world.with_input(|input| built_in(input, row.id)).unwrap_err();
        assert_eq!(why, Missing::Gpus { deployments: "disagg, vanilla".to_owned() });
    }
    assert!(world.with_input(|input| draw::scene(input, Picture::Custom(&custom))).is_err());
    for row in PLOTS.iter().filter(|row| !row.needs_gpus) {
        assert!(world.with_input(|input| built_in(input, row.id)).is_ok(), "{}", row.id);
    }
}

#[test]
fn nothing_to_draw_is_an_answer_and_no_picture() {
    let mut world = World::of(&GUIDE);
    world.break_points(|_| true, "restarted");
    for row in PLOTS {
        assert_eq!(world.with_input(|input| built_in(input, row.id)), Err(Missing::Points), "{}", row.id);
    }
    world.points.clear();
    for row in PLOTS {
        assert_eq!(world.with_input(|input| built_in(input, row.id)), Err(Missing::Points), "{}", row.id);
    }
    let mut world = World::of(&GUIDE);
    world.keep_records = false;
    for id in ["ecdf-time-to-first-token", "ecdf-inter-token-latency", "timeline"] {
        assert_eq!(world.with_input(|input| built_in(input, id)), Err(Missing::Records), "{id}");
    }
    let unknown = world.with_input(|input| built_in(input, "paretto"));
    assert_eq!(unknown, Err(Missing::Plot { id: "paretto".to_owned() }));
}

#[test]
fn numbers_that_are_none_are_left_out() {
    for strange in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, -1.0, 0.0, 5e-324] {
        let mut world = World::of(&Shape { repeats: 3, levels: &[1, 8, 64], ..GUIDE });
        for point in world.points.iter_mut().step_by(2) {
            for distribution in point.distributions.values_mut() {
                (distribution.mean, distribution.percentiles) = (strange, [strange; 9]);
            }
            point.values.values_mut().for_each(|value| *value = strange);
        }
        let customs = customs();
        for picture in everything(&customs) {
            // It may lack data; it must not panic, nor draw outside of what can be seen.
            let Ok(scene) = world.with_input(|input| draw::scene(input, picture)) else { continue };
            for shape in &scene.shapes {
                let inside = |(x, y): &At| (-1e3..1e5).contains(x) && (-1e3..1e5).contains(y);
                let all = match shape {
                    scene::Shape::Line { points, .. } => points.iter().all(inside),
                    scene::Shape::Area { corners, .. } => corners.iter().all(inside),
                    scene::Shape::Dot { at, .. } => inside(at),
                    scene::Shape::Text(text) => inside(&text.at),
                };
                assert!(all, "{strange}, {}: {shape:?}", picture.id());
            }
        }
    }
}

#[test]
fn objectives_are_drawn_where_their_metric_is() {
    let mut world = World::of(&GUIDE);
    world.objective("ttft", "p99", 500.0);
    let has = |world: &World, id: &str, words: &str| {
        let scene = world.with_input(|input| built_in(input, id)).unwrap();
        scene.texts().any(|text| text.words.contains(words))
    };
    assert!(has(&world, "p99-time-to-first-token-vs-concurrency", "objective: at most 500 ms"));
    assert!(has(&world, "ecdf-time-to-first-token", "objective p99 at most 500 ms"));
    assert!(!has(&world, "avg-time-to-first-token-vs-concurrency", "objective"));
    world.objective("request-throughput", "value", 1e9);
    assert!(has(&world, "request-throughput-vs-concurrency", "Beyond the axis: objective of at least 1e9 req/s"));
}

#[test]
fn filters_keep_the_colours_of_the_plan() {
    let world = World::of(&GUIDE);
    let plot = CustomPlot { filter: vec!["vanilla".to_owned()], ..customs().remove(2) };
    let scene = world.with_input(|input| draw::scene(input, Picture::Custom(&plot))).unwrap();
    let words: Vec<_> = scene.texts().map(|text| text.words.as_str()).collect();
    assert!(words.contains(&"vanilla") && !words.contains(&"agg"), "{words:?}");
    let green = Rgb(0, 158, 115);
    assert!(scene.shapes.iter().any(|shape| matches!(shape, scene::Shape::Line { color, .. } if *color == green)));
}

#[test]
fn a_png_has_its_size_and_all_colours_of_the_series_in_its_middle() {
    let world = World::of(&GUIDE);
    for id in ["avg-time-to-first-token-vs-concurrency", "pareto", "timeline"] {
        let bytes = world.with_input(|input| render(input, Picture::BuiltIn(id))).unwrap().png;
        let mut reader = png::Decoder::new(bytes.as_slice()).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((info.width, info.height, info.color_type), (1600, 1000, png::ColorType::Rgb), "{id}");
        let middle =
            pixels.chunks_exact(1600 * 3).skip(180).take(680).flat_map(|row| row[200 * 3..1350 * 3].chunks_exact(3));
        let seen: std::collections::BTreeSet<[u8; 3]> = middle.map(|rgb| [rgb[0], rgb[1], rgb[2]]).collect();
        assert!(seen.len() > 50, "{id}: {} colours", seen.len());
        if id != "timeline" {
            for color in [[0, 114, 178], [213, 94, 0], [0, 158, 115]] {
                assert!(seen.contains(&color), "{id}: no {color:?}");
            }
        }
    }
}

#[test]
fn an_svg_is_well_formed_and_holds_its_words() {
    let customs = customs();
    let world = World::of(&Shape { simulated: true, ..GUIDE });
    for picture in everything(&customs) {
        let svg = world.with_input(|input| draw::scene(input, picture)).map(|scene| paint::svg(&scene)).unwrap();
        well_formed(&svg).unwrap_or_else(|why| panic!("{}: {why}", picture.id()));
        for words in ["SIMULATED", "disagg", "<title>SIMULATED: ", "viewBox=\"0 0 16000 "] {
            assert!(svg.contains(words), "{}: no {words}", picture.id());
        }
    }
}

/// Whether tags are closed in order, attributes quoted, and bare text free of markup.
fn well_formed(xml: &str) -> Result<(), String> {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = xml.trim();
    while let Some(start) = rest.find('<') {
        let text = &rest[..start];
        let entities = ["&amp;", "&lt;", "&gt;", "&quot;", "&apos;"];
        let bare = entities.iter().fold(text.to_owned(), |text, entity| text.replace(entity, ""));
        if bare.contains(['&', '>']) {
            return Err(format!("bare markup in `{text}`"));
        }
        let end = rest.find('>').ok_or("a tag is not closed")?;
        let tag = &rest[start + 1..end];
        if let Some(name) = tag.strip_prefix('/') {
            if open.pop() != Some(name) {
                return Err(format!("</{name}> closes nothing"));
            }
        } else {
            let body = tag.strip_suffix('/').unwrap_or(tag);
            if !body.matches('"').count().is_multiple_of(2) || body.contains('<') {
                return Err(format!("<{tag}> has broken attributes"));
            }
            if body.len() == tag.len() {
                open.push(tag.split_whitespace().next().unwrap_or(""));
            }
        }
        rest = &rest[end + 1..];
        if open.is_empty() && !rest.trim().is_empty() {
            return Err("something stands after the end".to_owned());
        }
    }
    if open.is_empty() { Ok(()) } else { Err(format!("{open:?} is not closed")) }
}

#[test]
fn the_same_data_give_the_same_bytes() {
    let draw = || {
        let world = World::of(&Shape { levels: &[1, 16, 64], ..GUIDE });
        let rendered = world.with_input(|input| render(input, Picture::BuiltIn("pareto"))).unwrap();
        (rendered.png, rendered.svg)
    };
    assert!(draw() == draw());
}

#[test]
fn files_have_the_names_of_the_guide() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::of(&Shape { levels: &[4], ..GUIDE });
    let custom = CustomPlot { x: "hook.nothing".to_owned(), ..customs().remove(0) };
    let wanted = [Picture::BuiltIn("efficiency-tok-s-gpu-vs-user"), Picture::Custom(&custom)];
    let drawn = world.with_input(|input| draw_all(input, &wanted, dir.path())).unwrap();
    let names = crate::base::list_dir(dir.path()).unwrap();
    assert_eq!(names, ["efficiency_tok_s_gpu_vs_user.png", "efficiency_tok_s_gpu_vs_user.svg"]);
    assert!(matches!(&drawn[0], Drawn::Files { id, .. } if id == "efficiency-tok-s-gpu-vs-user"), "{drawn:?}");
    assert!(
        matches!(&drawn[1], Drawn::LeftOut { id, why: Missing::Number { .. } } if id == "by-workload"),
        "{drawn:?}"
    );
}

#[test]
fn the_table_has_the_plots_of_the_guide_first() {
    let stems: Vec<_> = PLOTS.iter().take(5).map(|row| row.id.replace('-', "_")).collect();
    assert_eq!(
        stems,
        [
            "p50_inter_token_latency_vs_concurrency",
            "avg_inter_token_latency_vs_concurrency",
            "request_throughput_vs_concurrency",
            "avg_time_to_first_token_vs_concurrency",
            "efficiency_tok_s_gpu_vs_user",
        ]
    );
    let ids: std::collections::BTreeSet<_> = PLOTS.iter().map(|row| row.id).collect();
    assert_eq!(ids.len(), PLOTS.len());
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
        let pictures = everything(&customs);
        for drawn in world.with_input(|input| draw_all(input, &pictures, &into)).unwrap() {
            if let Drawn::LeftOut { id, why } = drawn {
                std::fs::write(into.join(format!("{id}.txt")), why.to_string()).unwrap();
            }
        }
    }
}
