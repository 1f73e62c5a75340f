use proptest::prelude::*;

use super::*;

fn job(prompt: u32, output: u32) -> Job {
    Job { prompt_tokens: prompt, max_tokens: output, output_tokens: output, prefix: Vec::new(), whole: Vec::new() }
}

/// Without spread, so that numbers can be said exactly.
fn exact(config: SimConfig) -> SimConfig {
    SimConfig { step_jitter: 0.0, ..config }
}

fn engines() -> [SimConfig; 3] {
    [SimConfig::aggregated(1), SimConfig::disaggregated(1, 1), SimConfig::vanilla(1)].map(exact)
}

/// `count` requests that each begin when another of the `slots` ends, as a closed loop does: throughput in tokens/s.
fn closed_loop(config: &SimConfig, slots: u64, count: u64) -> f64 {
    let mut engine = Engine::new(config.clone());
    let (mut next, mut out, mut tokens) = (0, Vec::new(), 0);
    let mut now = Nanos(0);
    for _ in 0..slots {
        engine.submit(now, RequestId(next), job(200, 100)).unwrap();
        next += 1;
    }
    while let Some(at) = engine.next_event() {
        now = at;
        engine.advance(now, &mut out);
        for emission in out.drain(..) {
            tokens += 1;
            if emission.last && next < count {
                engine.submit(now, RequestId(next), job(200, 100)).unwrap();
                next += 1;
            }
        }
    }
    assert_eq!(tokens, count * 100);
    tokens as f64 / (now.millis() / 1000.0)
}

/// Largest gap between two tokens, in milliseconds, of a request that decodes alone while prompts of others arrive.
fn worst_gap(config: &SimConfig, prompts: u64, prompt_tokens: u32) -> f64 {
    let mut arrivals = vec![(Nanos(0), job(100, 100))];
    for number in 0..prompts {
        arrivals.push((Nanos::from_millis(200.0 + 20.0 * number as f64), job(prompt_tokens, 1)));
    }
    let times = &simulate(config, &arrivals)[&RequestId(0)];
    times.windows(2).map(|pair| pair[1].millis() - pair[0].millis()).fold(0.0, f64::max)
}

#[test]
fn a_lone_request_takes_the_time_of_the_formula() {
    let [aggregated, disaggregated, vanilla] = engines();
    let first = |config: &SimConfig| simulate(config, &[(Nanos(0), job(160, 3))])[&RequestId(0)].clone();
    // 160 tokens at 16000 tokens/s are 10 ms, and 2 ms the step's own cost.
    assert_eq!(first(&vanilla)[0], Nanos::from_millis(1.0 + 2.0 + 10.0));
    assert_eq!(first(&aggregated)[0], Nanos::from_millis(1.0 + 2.0 + 2.0 + 10.0));
    // Transfer of 160 tokens, and the decode worker's first step over 160 tokens of context.
    let decode = 6.0 + 0.03 + 0.02 * 0.160;
    assert_eq!(first(&disaggregated)[0], Nanos::from_millis(15.0 + 5.0 + 0.8 + decode));
    let times = first(&vanilla);
    assert_eq!(times[1].0 - times[0].0, Nanos::from_millis(6.0 + 0.03 + 0.02 * 0.161).0);
}

#[test]
fn arriving_prompts_disturb_decoding_unless_it_is_disaggregated() {
    let [aggregated, disaggregated, vanilla] = engines();
    let quiet = worst_gap(&disaggregated, 0, 1);
    // The other requests decode one token there too: that is the batch growing, not the prompts.
    assert!(worst_gap(&disaggregated, 10, 2000) < quiet + 1.0);
    assert!(worst_gap(&aggregated, 10, 2000) > quiet + 100.0);
    assert!(worst_gap(&vanilla, 10, 2000) > quiet + 100.0);
}

#[test]
fn a_chunk_bounds_the_gap_that_a_whole_prompt_makes() {
    let [aggregated, _, vanilla] = engines().map(|config| SimConfig { max_batched_tokens: 512, ..config });
    let chunked = worst_gap(&aggregated, 1, 8000);
    let whole = worst_gap(&vanilla, 1, 8000);
    assert!(chunked < 50.0, "{chunked}");
    assert!(whole > 500.0, "{whole}");
}

#[test]
fn throughput_rises_and_then_saturates() {
    for config in engines() {
        let rates: Vec<_> = [1, 8, 64, 256, 512].map(|slots| closed_loop(&config, slots, slots * 6)).to_vec();
        assert!(rates[1] > rates[0] * 4.0, "{rates:?}");
        assert!(rates[2] > rates[1] * 1.5, "{rates:?}");
        assert!(rates[4] < rates[3] * 1.15, "{rates:?}");
    }
}

#[test]
fn replicas_share_the_load() {
    for config in [SimConfig::aggregated(2), SimConfig::vanilla(2), SimConfig::disaggregated(2, 2)] {
        let mut engine = Engine::new(config);
        for number in 0..40 {
            engine.submit(Nanos(number), RequestId(number), job(300, 20)).unwrap();
        }
        let mut out = Vec::new();
        while let Some(next) = engine.next_event() {
            engine.advance(next, &mut out);
        }
        for worker in engine.workers() {
            let work = worker.done.prefill_tokens + worker.done.output_tokens;
            assert!(work > 200, "{worker:?}");
        }
    }
}

#[test]
fn both_pools_of_a_disaggregated_engine_work_and_never_swap() {
    let mut engine = Engine::new(SimConfig::disaggregated(1, 1));
    engine.submit(Nanos(0), RequestId(0), job(300, 20)).unwrap();
    let mut out = Vec::new();
    while let Some(next) = engine.next_event() {
        engine.advance(next, &mut out);
    }
    let [prefill, decode] = engine.workers()[..] else { panic!("two workers") };
    assert_eq!((prefill.done.prefill_tokens, prefill.done.output_tokens), (300, 0));
    assert_eq!((decode.done.prefill_tokens, decode.done.output_tokens), (0, 20));
}

#[test]
fn a_repeated_prompt_is_found_in_the_cache_and_by_the_router() {
    let prefix: Vec<u64> = (0..20).collect();
    let repeated = Job { prefix, ..job(321, 2) };
    let mut engine = Engine::new(exact(SimConfig::aggregated(2)));
    let mut out = Vec::new();
    for number in 0..3 {
        engine.submit(Nanos::from_millis(1000.0 * number as f64), RequestId(number), repeated.clone()).unwrap();
        while let Some(next) = engine.next_event() {
            engine.advance(next, &mut out);
        }
    }
    let cached: Vec<_> = out.iter().filter(|emission| emission.last).map(|emission| emission.cached_tokens).collect();
    assert_eq!(cached, [0, 320, 320]);
    let off = SimConfig { prefix_cache: false, ..exact(SimConfig::aggregated(2)) };
    let times = simulate(&off, &[(Nanos(0), repeated.clone()), (Nanos::from_millis(1000.0), repeated)]);
    assert_eq!(times[&RequestId(0)][0].0, times[&RequestId(1)][0].0 - Nanos::from_millis(1000.0).0);
}

#[test]
fn what_cannot_fit_is_refused_and_what_must_wait_is_counted() {
    let config = SimConfig { max_queue: 2, max_batch: 1, kv_tokens: 1000, ..SimConfig::vanilla(1) };
    let mut engine = Engine::new(config);
    assert_eq!(engine.submit(Nanos(0), RequestId(0), job(900, 101)), Err(Refused::TooLong { asked: 1001, limit: 992 }));
    engine.submit(Nanos(0), RequestId(1), job(100, 50)).unwrap();
    engine.advance(Nanos::from_millis(2.0), &mut Vec::new());
    engine.submit(Nanos::from_millis(2.0), RequestId(2), job(100, 50)).unwrap();
    engine.submit(Nanos::from_millis(2.0), RequestId(3), job(100, 50)).unwrap();
    let refused = engine.submit(Nanos::from_millis(2.0), RequestId(4), job(100, 50));
    assert_eq!(refused, Err(Refused::QueueFull { waiting: 2 }));
}

#[test]
fn fixed_times_are_kept_whatever_the_load() {
    let arrivals: Vec<_> = (0..500).map(|number| (Nanos(number * 1_000_003), job(100, 20))).collect();
    let tokens = simulate(&SimConfig::fixed(100.0, 10.0), &arrivals);
    for (number, (at, _)) in (0..).zip(&arrivals) {
        let expected: Vec<_> = (0..20).map(|n| Nanos(at.0 + 100_000_000 + n * 10_000_000)).collect();
        assert_eq!(tokens[&RequestId(number)], expected);
    }
}

prop_compose! {
    fn any_config()(
        engine in prop::sample::select(vec![EngineKind::Aggregated, EngineKind::Disaggregated, EngineKind::Vanilla]),
        replicas in 1..4u32,
        prefill_replicas in 1..3u32,
        decode_replicas in 1..3u32,
        max_batch in 1..20u32,
        extra_budget in 1..300u32,
        kv_blocks in 20..200u32,
        seed in any::<u64>(),
    ) -> SimConfig {
        SimConfig {
            engine, replicas, prefill_replicas, decode_replicas, max_batch, seed,
            max_batched_tokens: max_batch + extra_budget,
            kv_tokens: kv_blocks * 16,
            ..SimConfig::default()
        }
    }
}

fn any_arrivals() -> impl Strategy<Value = Vec<(Nanos, Job)>> {
    let one =
        (0..20_000_000u64, 1..250u32, 1..40u32, 0..10u32, 0..4u64).prop_map(|(gap, prompt, output, unused, family)| {
            let prefix = (0..u64::from(prompt / 16)).map(|block| family * 1000 + block).collect();
            (
                gap,
                Job {
                    prompt_tokens: prompt,
                    max_tokens: output + unused,
                    output_tokens: output,
                    prefix,
                    whole: Vec::new(),
                },
            )
        });
    prop::collection::vec(one, 1..40).prop_map(|gaps| {
        let mut now = 0;
        gaps.into_iter()
            .map(|(gap, job)| {
                now += gap;
                (Nanos(now), job)
            })
            .collect()
    })
}

proptest! {
    #[test]
    fn every_admitted_request_gets_all_its_tokens_in_order(config in any_config(), arrivals in any_arrivals()) {
        let tokens = simulate(&config, &arrivals);
        for (id, times) in &tokens {
            let (at, job) = &arrivals[id.0 as usize];
            prop_assert_eq!(times.len(), job.output_tokens as usize);
            prop_assert!(times[0] > *at);
            prop_assert!(times.windows(2).all(|pair| pair[0] < pair[1]));
        }
        prop_assert_eq!(&tokens, &simulate(&config, &arrivals), "the same seed must give the same times");
    }

    #[test]
    fn kv_cache_never_exceeds_its_capacity_and_is_all_freed(
        config in any_config(),
        arrivals in any_arrivals(),
        given_up in prop::collection::vec(any::<bool>(), 40),
    ) {
        let mut engine = Engine::new(config.clone());
        let mut out = Vec::new();
        let check = |engine: &Engine| engine.workers().iter().all(|worker| {
            worker.kv_blocks.0 <= worker.kv_blocks.1 && worker.running <= config.max_batch as usize
        });
        let mut at_next = arrivals.iter().enumerate().peekable();
        loop {
            let due = engine.next_event();
            if let Some((number, (at, job))) = at_next.next_if(|(_, (at, _))| due.is_none_or(|due| *at <= due)) {
                engine.advance(*at, &mut out);
                let taken = engine.submit(*at, RequestId(number as u64), job.clone()).is_ok();
                if taken && number > 0 && given_up[number] {
                    engine.cancel(RequestId(number as u64 - 1));
                }
            } else if let Some(due) = due {
                engine.advance(due, &mut out);
            } else {
                break;
            }
            prop_assert!(check(&engine));
        }
        for worker in engine.workers() {
            prop_assert_eq!((worker.kv_blocks.0, worker.running, worker.waiting), (0, 0, 0));
        }
    }
}
