//! The engine: which request is worked on when, as a pure machine over simulated time.
//!
//! It knows no socket, no clock and no thread. Given a configuration with its seed and the arrivals at their simulated
//! times, the time of every token follows, the same on every machine: [`simulate`] is just that. The server drives the
//! same machine in real time.
//!
//! # The model
//!
//! A request passes `server-ms` (and `router-ms`, if its engine has a router), waits in a worker's queue, prefills,
//! decodes, and ends. A worker does one step after the other; a step takes
//!
//! ```text
//!   decode part   decode-step-ms + decode-ms-per-sequence * S + decode-ms-per-1k-kv * C / 1000      if S > 0
//! + prefill part  prefill-step-ms + 1000 * P / prefill-tokens-per-s                                 if P > 0
//! ```
//!
//! for S decoding sequences with C tokens of context in all and P prompt tokens, times 1 + `step-jitter` * N(0, 1) cut at
//! three deviations. Decoding reads the weights once a step and each sequence's KV cache; prefill is bound by arithmetic.
//! That is the usual first-order model of such engines; the two parts are added, as if nothing of them overlapped.
//!
//! - **aggregated**: a step decodes the whole batch and spends what is left of `max-batched-tokens` on chunks of prompts
//!   (chunked prefill as in vLLM's second engine). Prompts that arrive make the steps longer in which others decode: ITL
//!   rises with the arrival rate. The router gives a request to the worker with the least to prefill (its prefix cache
//!   counted) plus KV cache in use, as Dynamo's KV router does.
//! - **vanilla**: while a prompt waits and fits, steps prefill whole prompts up to `max-batched-tokens` and nobody decodes
//!   (vLLM's first engine): a long prompt is one long gap in everybody's stream. Round robin, no router.
//! - **disaggregated**: prefill workers take whole prompts in order; the finished KV cache travels for `kv-transfer-ms` +
//!   `kv-transfer-ms-per-1k` * prompt / 1000; decode workers only decode. The first token comes from the decode worker,
//!   so that TTFT pays for transfer and one decode step, and no arriving prompt can disturb the ITL.
//!
//! A worker's KV cache is reserved for prompt and most output at admission, in blocks (no eviction, as TensorRT-LLM's
//! policy of that name): who is in always finishes, who does not fit waits in order. The first output token comes with the
//! end of the prompt's last prefill step, except in disaggregated engines (see above).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::config::{EngineKind, SimConfig};
use super::fixed::FixedEngine;
use super::sequence::{Job, RequestId, Sequence, Sequences, Stage};
use super::time::Nanos;
use super::worker::{Outcome, Role, WorkDone, Worker};

/// One token of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Emission {
    /// Whose.
    pub id: RequestId,
    /// When it is there.
    pub at: Nanos,
    /// Prompt tokens of the request that a prefix cache saved.
    pub cached_tokens: u32,
    /// Whether it is the request's last.
    pub last: bool,
}

/// Why a request is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// As many wait as may.
    #[error("{waiting} requests are waiting already")]
    QueueFull {
        /// How many.
        waiting: u32,
    },
    /// It could never fit.
    #[error("{asked} tokens were asked, and {limit} fit")]
    TooLong {
        /// Prompt and output.
        asked: u64,
        /// What fits.
        limit: u32,
    },
}

/// What one worker is at, for `/metrics`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerView {
    /// How it works.
    pub role: Role,
    /// Sequences in its batch.
    pub running: usize,
    /// Requests in its queue.
    pub waiting: usize,
    /// KV blocks reserved, of how many.
    pub kv_blocks: (u32, u32),
    /// What it has done so far.
    pub done: WorkDone,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrived(RequestId),
    StepEnded(usize),
    Transferred(RequestId),
}

/// The machine.
#[derive(Debug)]
pub struct Engine {
    config: SimConfig,
    now: Nanos,
    /// Ties are broken by the order in which events were planned: nothing depends on how a heap is built.
    events: BinaryHeap<Reverse<(Nanos, u64, Event)>>,
    planned: u64,
    arriving: usize,
    sequences: Sequences,
    workers: Vec<Worker>,
    turn: usize,
    fixed: Option<FixedEngine>,
    outcomes: Vec<Outcome>,
}

impl Engine {
    /// An engine at rest. The configuration has no [`SimConfig::problems`].
    pub fn new(config: SimConfig) -> Self {
        let roles: Vec<(Role, u32)> = match config.engine {
            EngineKind::Aggregated => vec![(Role::Mixed, config.replicas)],
            EngineKind::Vanilla => vec![(Role::PrefillFirst, config.replicas)],
            EngineKind::Disaggregated => {
                vec![(Role::Prefill, config.prefill_replicas), (Role::Decode, config.decode_replicas)]
            }
        };
        let roles = roles.into_iter().flat_map(|(role, count)| (0..count).map(move |_| role));
        let workers = roles.enumerate().map(|(index, role)| Worker::new(index, role, &config)).collect();
        Self {
            fixed: config.fixed.map(FixedEngine::new),
            config,
            now: Nanos(0),
            events: BinaryHeap::new(),
            planned: 0,
            arriving: 0,
            sequences: Sequences::new(),
            workers,
            turn: 0,
            outcomes: Vec::new(),
        }
    }

    /// A request has arrived at `at`. One that is told late, when the machine is already past that, counts from now on;
    /// with fixed times it counts from `at` all the same.
    ///
    /// # Errors
    /// When it could never fit, or too many wait.
    pub fn submit(&mut self, at: Nanos, id: RequestId, job: Job) -> Result<(), Refused> {
        let asked = u64::from(job.prompt_tokens) + u64::from(job.max_tokens);
        let limit = self.limit();
        if asked > u64::from(limit) {
            return Err(Refused::TooLong { asked, limit });
        }
        if let Some(fixed) = &mut self.fixed {
            fixed.submit(at, id, job.output_tokens);
            return Ok(());
        }
        let waiting = self.arriving + self.workers.iter().map(Worker::waiting).sum::<usize>();
        if waiting >= self.config.max_queue as usize {
            return Err(Refused::QueueFull { waiting: u32::try_from(waiting).unwrap_or(u32::MAX) });
        }
        let router = match self.config.engine {
            EngineKind::Aggregated | EngineKind::Disaggregated => self.config.router_ms,
            EngineKind::Vanilla => 0.0,
        };
        let ready = at + Nanos::from_millis(self.config.server_ms + router);
        self.sequences.insert(id, Sequence::new(job));
        self.arriving += 1;
        self.plan(ready.max(self.now), Event::Arrived(id));
        Ok(())
    }

    /// Most tokens of prompt and output together.
    pub fn limit(&self) -> u32 {
        let blocks = self.config.kv_tokens / self.config.kv_block;
        self.config.max_model_len.min(blocks * self.config.kv_block)
    }

    /// The client is gone: whatever the request holds is free at once. An id that is unknown or finished is no error.
    pub fn cancel(&mut self, id: RequestId) {
        if let Some(fixed) = &mut self.fixed {
            fixed.cancel(id);
            return;
        }
        if let Some(sequence) = self.sequences.remove(&id) {
            self.release(id, &sequence);
        }
    }

    /// When something happens next, if anything will.
    pub fn next_event(&self) -> Option<Nanos> {
        match &self.fixed {
            Some(fixed) => fixed.next_event(),
            None => self.events.peek().map(|Reverse((at, _, _))| *at),
        }
    }

    /// Lets everything happen that is due at `now`, and adds the tokens to `out` in the order of their times.
    pub fn advance(&mut self, now: Nanos, out: &mut Vec<Emission>) {
        if let Some(fixed) = &mut self.fixed {
            fixed.advance(now, out);
            return;
        }
        while let Some(Reverse((at, _, event))) = self.events.peek().copied().filter(|Reverse((at, _, _))| *at <= now) {
            self.events.pop();
            self.now = at;
            match event {
                Event::Arrived(id) => self.arrived(id),
                Event::StepEnded(worker) => self.step_ended(worker, out),
                Event::Transferred(id) => self.transferred(id),
            }
        }
        self.now = self.now.max(now);
    }

    /// What each worker is at. With fixed times there is one that stands for all.
    pub fn workers(&self) -> Vec<WorkerView> {
        if let Some(fixed) = &self.fixed {
            let done = WorkDone { output_tokens: fixed.produced(), ..WorkDone::default() };
            return vec![WorkerView {
                role: Role::Mixed,
                running: fixed.running(),
                waiting: 0,
                kv_blocks: (0, self.config.kv_tokens / self.config.kv_block),
                done,
            }];
        }
        let view = |worker: &Worker| WorkerView {
            role: worker.role,
            running: worker.in_batch(),
            waiting: worker.waiting(),
            kv_blocks: worker.blocks(),
            done: worker.done,
        };
        self.workers.iter().map(view).collect()
    }

    fn plan(&mut self, at: Nanos, event: Event) {
        self.events.push(Reverse((at, self.planned, event)));
        self.planned += 1;
    }

    fn arrived(&mut self, id: RequestId) {
        // Given up meanwhile: `cancel` has counted it out.
        if !self.sequences.contains_key(&id) {
            return;
        }
        self.arriving -= 1;
        let worker = match self.config.engine {
            EngineKind::Vanilla => {
                self.turn += 1;
                (self.turn - 1) % self.workers.len()
            }
            EngineKind::Aggregated => self.cheapest(id, Role::Mixed),
            EngineKind::Disaggregated => self.cheapest(id, Role::Prefill),
        };
        self.enqueue(id, worker);
    }

    fn transferred(&mut self, id: RequestId) {
        if !self.sequences.contains_key(&id) {
            return;
        }
        let worker = self.cheapest(id, Role::Decode);
        if let Some(sequence) = self.sequences.get_mut(&id)
            && let Stage::Transferring { from } = sequence.stage
        {
            self.workers[from].remove(id, sequence);
            sequence.blocks = 0;
            self.enqueue(id, worker);
            self.kick(from);
        }
    }

    /// The worker of a role that is cheapest for this request; the first of equals.
    fn cheapest(&self, id: RequestId, role: Role) -> usize {
        let sequence = &self.sequences[&id];
        let of_role = self.workers.iter().enumerate().filter(|(_, worker)| worker.role == role);
        of_role
            .min_by_key(|(_, worker)| worker.cost(sequence, &self.sequences, &self.config))
            .map(|(index, _)| index)
            .expect("a configuration without problems has workers of every role its engine needs")
    }

    fn enqueue(&mut self, id: RequestId, worker: usize) {
        if let Some(sequence) = self.sequences.get_mut(&id) {
            self.workers[worker].enqueue(id, sequence);
        }
        self.kick(worker);
    }

    /// Begins a worker's next step if it is idle and has anything to do.
    fn kick(&mut self, worker: usize) {
        if let Some(span) = self.workers[worker].start_step(&mut self.sequences, &self.config) {
            self.plan(self.now + span, Event::StepEnded(worker));
        }
    }

    fn step_ended(&mut self, worker: usize, out: &mut Vec<Emission>) {
        let mut outcomes = std::mem::take(&mut self.outcomes);
        self.workers[worker].end_step(&mut self.sequences, &self.config, &mut outcomes);
        for outcome in outcomes.drain(..) {
            match outcome {
                Outcome::Token(id) => {
                    let sequence = &self.sequences[&id];
                    let last = sequence.produced == sequence.job.output_tokens;
                    out.push(Emission { id, at: self.now, cached_tokens: sequence.cached, last });
                    if last && let Some(sequence) = self.sequences.remove(&id) {
                        self.workers[worker].remove(id, &sequence);
                        self.workers[worker].remember(&sequence, &self.config);
                    }
                }
                Outcome::Prefilled(id) => {
                    let prompt = f64::from(self.sequences[&id].job.prompt_tokens);
                    let millis = self.config.kv_transfer_ms + self.config.kv_transfer_ms_per_1k * prompt / 1000.0;
                    self.plan(self.now + Nanos::from_millis(millis), Event::Transferred(id));
                }
            }
        }
        self.outcomes = outcomes;
        self.kick(worker);
    }

    fn release(&mut self, id: RequestId, sequence: &Sequence) {
        match sequence.stage {
            Stage::Arriving => self.arriving -= 1,
            Stage::Waiting { worker }
            | Stage::Prefilling { worker }
            | Stage::Decoding { worker }
            | Stage::Transferring { from: worker } => {
                self.workers[worker].remove(id, sequence);
                self.kick(worker);
            }
        }
    }
}

/// The whole of an engine's decisions without a server: when each token of each request is there. Requests are
/// numbered from 0 in the order given, which must be the order of their times. Those that are refused have no tokens.
///
/// Every request must end by itself: `output_tokens` is not huge.
pub fn simulate(config: &SimConfig, arrivals: &[(Nanos, Job)]) -> BTreeMap<RequestId, Vec<Nanos>> {
    let mut engine = Engine::new(config.clone());
    let mut tokens: BTreeMap<RequestId, Vec<Nanos>> = BTreeMap::new();
    let mut out = Vec::new();
    for (number, (at, job)) in (0..).zip(arrivals) {
        engine.advance(*at, &mut out);
        // A refused request has no tokens, which is all that this function says of it.
        if engine.submit(*at, RequestId(number), job.clone()).is_ok() {
            tokens.insert(RequestId(number), Vec::new());
        }
    }
    while let Some(next) = engine.next_event() {
        engine.advance(next, &mut out);
        for emission in out.drain(..) {
            tokens.entry(emission.id).or_default().push(emission.at);
        }
    }
    tokens
}

#[cfg(test)]
mod tests;
