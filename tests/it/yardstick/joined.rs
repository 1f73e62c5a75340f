//! What the client says and what the server knows, request by request, joined by id.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use dynbench::measure::{RequestRecord, percentile};
use dynbench::sim::{Ending, TruthRecord};

/// Ours minus the server's, over all requests; milliseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Errors {
    pub(crate) mean_abs: f64,
    pub(crate) p99_abs: f64,
    /// Our p99 less the server's.
    pub(crate) of_p99: f64,
    /// The mean absolute error as a share of the server's mean; 0 where that is 0.
    pub(crate) relative: f64,
}

impl Errors {
    fn of(pairs: &[(f64, f64)]) -> Self {
        let sorted = |mut values: Vec<f64>| {
            values.sort_by(f64::total_cmp);
            values
        };
        let off = sorted(pairs.iter().map(|(ours, theirs)| (ours - theirs).abs()).collect());
        let ours = sorted(pairs.iter().map(|(ours, _)| *ours).collect());
        let theirs = sorted(pairs.iter().map(|(_, theirs)| *theirs).collect());
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let (mean_abs, truth) = (mean(&off), mean(&theirs));
        Self {
            mean_abs,
            p99_abs: percentile(&off, 0.99),
            of_p99: percentile(&ours, 0.99) - percentile(&theirs, 0.99),
            relative: if truth > 0.0 { mean_abs / truth } else { 0.0 },
        }
    }
}

/// Both sides of all measured requests.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Joined {
    pub(crate) requests: usize,
    pub(crate) ttft: Errors,
    pub(crate) itl: Errors,
}

impl Joined {
    /// Joins the records of a file with the server's log; every request must have succeeded on both sides with the same
    /// number of tokens, two at least.
    pub(crate) fn of(records: &Path, truth: &[TruthRecord]) -> Self {
        let by_id: HashMap<&str, &TruthRecord> = truth.iter().map(|record| (record.id.as_str(), record)).collect();
        assert_eq!(by_id.len(), truth.len(), "an id was used twice");
        let (mut ttft, mut itl) = (Vec::new(), Vec::new());
        for line in fs::read_to_string(records).unwrap().lines() {
            let record: RequestRecord = serde_json::from_str(line).unwrap();
            assert!(record.is_ok(), "{record:?}");
            let truth = by_id[record.id.as_str()];
            let tokens = truth.token_ns.len();
            assert_eq!(truth.ending, Ending::Finished);
            assert_eq!(record.output_tokens.map(|tokens| tokens as usize), Some(tokens), "{}", record.id);
            let (first, last) = (record.first_text.unwrap(), record.last_text.unwrap());
            let (true_first, true_last) = (truth.token_ns[0], truth.token_ns[tokens - 1]);
            let gaps = (tokens - 1) as f64;
            ttft.push((millis(first - record.sent), millis(true_first)));
            itl.push((millis(last - first) / gaps, millis(true_last - true_first) / gaps));
        }
        Self { requests: ttft.len(), ttft: Errors::of(&ttft), itl: Errors::of(&itl) }
    }
}

fn millis(nanos: u64) -> f64 {
    nanos as f64 / 1e6
}
