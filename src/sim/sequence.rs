//! A request inside the engine, and the table of all of them.

use std::collections::HashMap;

/// Identity of a request, in the order of arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// What the engine must know of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Tokens of the prompt, template included; at least 1.
    pub prompt_tokens: u32,
    /// Most tokens that were asked: what KV cache is reserved for.
    pub max_tokens: u32,
    /// Tokens that it will really produce, which the engine knows only when they are there.
    pub output_tokens: u32,
    /// Hash of each whole block of the prompt, over all tokens up to its end.
    pub prefix: Vec<u64>,
    /// The same of prompt and output together: what a later turn of a conversation begins with.
    pub whole: Vec<u64>,
}

/// Where a sequence is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// In the server and router, before any worker.
    Arriving,
    /// In a worker's queue; holds no KV cache there.
    Waiting { worker: usize },
    /// In a worker's batch, its prompt not yet done.
    Prefilling { worker: usize },
    /// Its KV cache is on the way; the prefill worker still holds it.
    Transferring { from: usize },
    /// In a worker's batch, producing tokens.
    Decoding { worker: usize },
}

#[derive(Debug)]
pub(super) struct Sequence {
    pub(super) job: Job,
    pub(super) stage: Stage,
    /// Prompt tokens found in a prefix cache.
    pub(super) cached: u32,
    /// Prompt tokens whose KV cache is there, cached ones included.
    pub(super) prefilled: u32,
    /// Output tokens so far.
    pub(super) produced: u32,
    /// KV blocks that it holds on its worker.
    pub(super) blocks: u32,
}

impl Sequence {
    pub(super) fn new(job: Job) -> Self {
        Self { job, stage: Stage::Arriving, cached: 0, prefilled: 0, produced: 0, blocks: 0 }
    }

    /// Prompt tokens still to compute.
    pub(super) fn left(&self) -> u32 {
        self.job.prompt_tokens - self.prefilled
    }

    /// Tokens of context that a decode step must read.
    pub(super) fn context(&self) -> u64 {
        u64::from(self.job.prompt_tokens) + u64::from(self.produced)
    }
}

/// All sequences that are not finished.
pub(super) type Sequences = HashMap<RequestId, Sequence>;
