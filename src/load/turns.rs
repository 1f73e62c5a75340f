//! The thread that makes the next turn of a conversation while its user thinks: it decodes the answer, counts it, and
//! writes the whole body. The threads that measure hand it the answer's bytes and go on.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::conversation::{Answered, Later};
use super::error::LoadError;
use super::exchange::RawBody;
use super::prompt::Prompts;
use super::request::Prepared;
use super::stage::Stage;
use crate::measure::RequestRecord;

struct Job {
    later: Later,
    /// Which sequence it belongs to.
    measured: bool,
    answered: Answered,
    made: oneshot::Sender<Prepared>,
}

/// The way to the thread, which ends when all ways to it are gone.
#[derive(Clone)]
pub(super) struct Turns(mpsc::UnboundedSender<Job>);

/// A turn that is being made.
pub(super) struct Next {
    made: oneshot::Receiver<Prepared>,
    /// From the answer's end to its sending.
    pub(super) delay: Duration,
}

impl Turns {
    /// Starts the thread, where requests are turns of conversations.
    pub(super) fn start(stage: &mut Stage, prompts: &Arc<Prompts>) -> Result<Option<Self>, LoadError> {
        if prompts.content.conversations.is_none() {
            return Ok(None);
        }
        // A user has one turn under way: there are never more jobs than users.
        let (sender, mut jobs) = mpsc::unbounded_channel::<Job>();
        let prompts = Arc::clone(prompts);
        stage.helper("turns", move || {
            while let Some(Job { later, measured, answered, made }) = jobs.blocking_recv() {
                if let Some(prepared) = prompts.next_turn(measured, later, &answered) {
                    // Whoever does not wait any more is at the end of the level.
                    let _ = made.send(prepared);
                }
            }
        })?;
        Ok(Some(Self(sender)))
    }

    /// Begins to make the turn after a request that has ended; `None` where its conversation ends with it.
    pub(super) fn after(
        &self,
        prepared: &mut Prepared,
        measured: bool,
        record: &RequestRecord,
        raw: &RawBody,
    ) -> Option<Next> {
        let later = prepared.later.take().filter(|_| record.is_ok())?;
        let (made, receiver) = oneshot::channel();
        let next = Next { made: receiver, delay: later.delay() };
        let answered = Answered::of(record, raw.bytes.clone());
        self.0.send(Job { later: *later, measured, answered, made }).ok()?;
        Some(next)
    }
}

impl Next {
    /// The turn, once it is made; `None` when the thread is gone.
    pub(super) async fn made(self) -> Option<Prepared> {
        self.made.await.ok()
    }
}
