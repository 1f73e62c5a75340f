//! One simulated GPU: its queue, its batch, its KV cache, and what it does in one step.
//!
//! A worker does one step at a time. What goes into a step is decided at its start and takes effect at its end; the
//! engine asks for both. Sequences that a client gave up may still stand in a step's lists: they are passed over.

use std::collections::VecDeque;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

use super::config::SimConfig;
use super::prefix::PrefixCache;
use super::sequence::{RequestId, Sequence, Sequences, Stage};
use super::time::Nanos;

/// How a worker composes its steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Decodes the whole batch and fills the rest of the step's budget with chunks of prompts.
    Mixed,
    /// Prefills whole prompts while any waits and fits; decodes only in steps of its own.
    PrefillFirst,
    /// Prefills whole prompts, never decodes.
    Prefill,
    /// Decodes sequences whose KV cache came from elsewhere, never prefills.
    Decode,
}

impl Role {
    /// As it stands in `/metrics`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mixed => "mixed",
            Self::PrefillFirst => "prefill-first",
            Self::Prefill => "prefill",
            Self::Decode => "decode",
        }
    }
}

/// What a worker has done since its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WorkDone {
    /// Steps.
    pub steps: u64,
    /// Prompt tokens computed (not those found in the prefix cache).
    pub prefill_tokens: u64,
    /// Prompt tokens found in the prefix cache.
    pub cached_tokens: u64,
    /// Output tokens produced.
    pub output_tokens: u64,
}

#[derive(Debug)]
struct Step {
    prefill: Vec<(RequestId, u32)>,
    decode: Vec<RequestId>,
}

/// What the end of a step means for one sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It has one more token.
    Token(RequestId),
    /// Its prompt is done, and decoding happens elsewhere.
    Prefilled(RequestId),
}

#[derive(Debug)]
pub(super) struct Worker {
    pub(super) role: Role,
    pub(super) done: WorkDone,
    index: usize,
    waiting: VecDeque<RequestId>,
    prefilling: Vec<RequestId>,
    running: Vec<RequestId>,
    step: Option<Step>,
    blocks_used: u32,
    blocks_total: u32,
    cache: PrefixCache,
    jitter: ChaCha8Rng,
}

impl Worker {
    pub(super) fn new(index: usize, role: Role, config: &SimConfig) -> Self {
        Self {
            role,
            done: WorkDone::default(),
            index,
            waiting: VecDeque::new(),
            prefilling: Vec::new(),
            running: Vec::new(),
            step: None,
            blocks_used: 0,
            blocks_total: config.kv_tokens / config.kv_block,
            cache: PrefixCache::default(),
            jitter: ChaCha8Rng::seed_from_u64(config.seed.wrapping_add(1 + index as u64)),
        }
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn in_batch(&self) -> usize {
        self.prefilling.len() + self.running.len()
    }

    pub(super) fn blocks(&self) -> (u32, u32) {
        (self.blocks_used, self.blocks_total)
    }

    /// KV blocks that a request needs here.
    pub(super) fn blocks_for(&self, sequence: &Sequence, config: &SimConfig) -> u32 {
        let output = match self.role {
            Role::Prefill => 0,
            Role::Mixed | Role::PrefillFirst | Role::Decode => sequence.job.max_tokens,
        };
        sequence.job.prompt_tokens.saturating_add(output).div_ceil(config.kv_block)
    }

    /// What the router weighs: prompt tokens to compute before this one is done, and blocks held or waited for.
    pub(super) fn cost(&self, next: &Sequence, sequences: &Sequences, config: &SimConfig) -> u64 {
        let queued = self.waiting.iter().chain(&self.prefilling).filter_map(|id| sequences.get(id));
        let ahead: u64 = match self.role {
            Role::Mixed | Role::PrefillFirst | Role::Prefill => queued.map(|sequence| u64::from(sequence.left())).sum(),
            Role::Decode => queued.map(Sequence::context).sum(),
        };
        let own = u64::from(next.job.prompt_tokens - self.cached(next, config));
        ahead + own + u64::from(self.blocks_used) * u64::from(config.kv_block)
    }

    /// Prompt tokens that the cache would save. The last token is always computed: something must give the first output.
    fn cached(&self, sequence: &Sequence, config: &SimConfig) -> u32 {
        if !config.prefix_cache {
            return 0;
        }
        let whole = (sequence.job.prompt_tokens - 1) / config.kv_block;
        let hits = u32::try_from(self.cache.hits(&sequence.job.prefix)).unwrap_or(u32::MAX);
        hits.min(whole) * config.kv_block
    }

    pub(super) fn enqueue(&mut self, id: RequestId, sequence: &mut Sequence) {
        sequence.stage = Stage::Waiting { worker: self.index };
        self.waiting.push_back(id);
    }

    /// Takes a sequence out, wherever it stands here, and frees its KV cache.
    pub(super) fn remove(&mut self, id: RequestId, sequence: &Sequence) {
        self.waiting.retain(|other| *other != id);
        self.prefilling.retain(|other| *other != id);
        self.running.retain(|other| *other != id);
        self.blocks_used -= sequence.blocks;
    }

    /// Remembers prompt and output of a sequence that has ended here, for a turn that begins with them.
    pub(super) fn remember(&mut self, sequence: &Sequence, config: &SimConfig) {
        match self.role {
            Role::Mixed | Role::PrefillFirst if config.prefix_cache => {
                self.cache.insert(&sequence.job.whole, (self.blocks_total - self.blocks_used) as usize);
            }
            // What was decoded elsewhere is not sent back to those that prefill.
            Role::Mixed | Role::PrefillFirst | Role::Prefill | Role::Decode => {}
        }
    }

    /// Begins a step if there is anything to do and none is under way; returns how long it takes.
    pub(super) fn start_step(&mut self, sequences: &mut Sequences, config: &SimConfig) -> Option<Nanos> {
        if self.step.is_some() {
            return None;
        }
        let step = match self.role {
            Role::Mixed => {
                let budget = config.max_batched_tokens - u32::try_from(self.running.len()).unwrap_or(u32::MAX);
                Step { decode: self.running.clone(), prefill: self.chunks(budget, sequences, config) }
            }
            Role::PrefillFirst => {
                let prefill = self.whole_prompts(sequences, config);
                Step { decode: if prefill.is_empty() { self.running.clone() } else { Vec::new() }, prefill }
            }
            Role::Prefill => Step { decode: Vec::new(), prefill: self.whole_prompts(sequences, config) },
            Role::Decode => {
                while let Some(id) = self.admit(sequences, config) {
                    self.running.push(id);
                    sequences.entry(id).and_modify(|sequence| {
                        sequence.stage = Stage::Decoding { worker: self.index };
                    });
                }
                Step { decode: self.running.clone(), prefill: Vec::new() }
            }
        };
        if step.prefill.is_empty() && step.decode.is_empty() {
            return None;
        }
        let millis = step_millis(&step, sequences, config);
        self.step = Some(step);
        let spread: f64 = StandardNormal.sample(&mut self.jitter);
        Some(Nanos::from_millis(millis * (1.0 + config.step_jitter * spread.clamp(-3.0, 3.0))))
    }

    /// Takes the head of the queue into the batch if a place and KV cache for all it may need are free. Nobody
    /// overtakes, and whoever is in always finishes: there is no preemption.
    fn admit(&mut self, sequences: &mut Sequences, config: &SimConfig) -> Option<RequestId> {
        let id = *self.waiting.front()?;
        let sequence =
            sequences.get_mut(&id).expect("a queue holds live sequences only: `remove` takes the others out");
        let blocks = self.blocks_for(sequence, config);
        let full = self.in_batch() >= config.max_batch as usize;
        if full || blocks > self.blocks_total - self.blocks_used {
            return None;
        }
        self.waiting.pop_front();
        self.blocks_used += blocks;
        sequence.blocks = blocks;
        if self.role != Role::Decode {
            sequence.cached = self.cached(sequence, config);
            sequence.prefilled = sequence.cached;
            self.done.cached_tokens += u64::from(sequence.cached);
        }
        Some(id)
    }

    fn begin_prefill(&mut self, sequences: &mut Sequences, config: &SimConfig) -> Option<u32> {
        let id = self.admit(sequences, config)?;
        let sequence = sequences.get_mut(&id).expect("it was admitted just now");
        sequence.stage = Stage::Prefilling { worker: self.index };
        self.prefilling.push(id);
        Some(sequence.left())
    }

    /// Pieces of prompts, oldest first, until the budget is spent.
    fn chunks(&mut self, mut budget: u32, sequences: &mut Sequences, config: &SimConfig) -> Vec<(RequestId, u32)> {
        let mut chunks = Vec::new();
        let mut place = 0;
        while budget > 0 {
            if place == self.prefilling.len() && self.begin_prefill(sequences, config).is_none() {
                break;
            }
            let id = self.prefilling[place];
            let chunk = sequences.get(&id).map_or(0, Sequence::left).min(budget);
            budget -= chunk;
            chunks.push((id, chunk));
            place += 1;
        }
        chunks
    }

    /// Whole prompts in order until the next would exceed the budget; one that exceeds it alone goes alone.
    fn whole_prompts(&mut self, sequences: &mut Sequences, config: &SimConfig) -> Vec<(RequestId, u32)> {
        let mut prompts = Vec::new();
        let mut total = 0;
        while let Some(next) = self.waiting.front().and_then(|id| sequences.get(id)) {
            let size = next.job.prompt_tokens - self.cached(next, config);
            if total > 0 && total + size > config.max_batched_tokens {
                break;
            }
            let Some(left) = self.begin_prefill(sequences, config) else { break };
            total += left;
            prompts.extend(self.prefilling.last().map(|id| (*id, left)));
        }
        prompts
    }

    /// Ends the step under way: what it means for each sequence in it, in the order of the batch.
    pub(super) fn end_step(&mut self, sequences: &mut Sequences, config: &SimConfig, outcomes: &mut Vec<Outcome>) {
        let step = self.step.take().expect("the engine ends a step only when its end comes");
        self.done.steps += 1;
        for id in step.decode {
            if let Some(sequence) = sequences.get_mut(&id) {
                self.produce(id, sequence, outcomes);
            }
        }
        for (id, chunk) in step.prefill {
            let Some(sequence) = sequences.get_mut(&id) else { continue };
            sequence.prefilled += chunk;
            self.done.prefill_tokens += u64::from(chunk);
            if sequence.left() > 0 {
                continue;
            }
            self.prefilling.retain(|other| *other != id);
            if config.prefix_cache {
                self.cache.insert(&sequence.job.prefix, (self.blocks_total - self.blocks_used) as usize);
            }
            match self.role {
                Role::Mixed | Role::PrefillFirst => {
                    sequence.stage = Stage::Decoding { worker: self.index };
                    self.running.push(id);
                    self.produce(id, sequence, outcomes);
                }
                Role::Prefill | Role::Decode => {
                    sequence.stage = Stage::Transferring { from: self.index };
                    outcomes.push(Outcome::Prefilled(id));
                }
            }
        }
    }

    fn produce(&mut self, id: RequestId, sequence: &mut Sequence, outcomes: &mut Vec<Outcome>) {
        sequence.produced += 1;
        self.done.output_tokens += 1;
        outcomes.push(Outcome::Token(id));
    }
}

/// How long a step takes, in milliseconds: the formula in the docs of [`super::engine`].
fn step_millis(step: &Step, sequences: &Sequences, config: &SimConfig) -> f64 {
    let mut millis = 0.0;
    if !step.decode.is_empty() {
        let context: u64 = step.decode.iter().filter_map(|id| sequences.get(id)).map(Sequence::context).sum();
        millis += config.decode_step_ms
            + config.decode_ms_per_sequence * step.decode.len() as f64
            + config.decode_ms_per_1k_kv * context as f64 / 1000.0;
    }
    if !step.prefill.is_empty() {
        let tokens: u32 = step.prefill.iter().map(|(_, chunk)| chunk).sum();
        millis += config.prefill_step_ms + f64::from(tokens) / config.prefill_tokens_per_s * 1000.0;
    }
    millis
}
