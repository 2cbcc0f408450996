//! What becomes of the messages of a spout task: it continues `spout_task`.
//!
//! ```text
//!   outcomes of ackers, blocks complete at once ─▶ ack
//!                      failures, time-outs, losses ─▶ back-off ─▶ fail ─▶ the spout replays, or not
//! ```

use crate::api::{Failure, FailureCause};
use crate::clock::Time;
use crate::config::limits::BLOCK_MESSAGES_MAX;
use crate::ids::{MessageId, RootId};
use crate::runtime::acking::acker::Outcome;
use crate::runtime::acking::pending::FailedMessage;
use crate::runtime::executor::latencies::{Latencies, record};
use crate::runtime::executor::spout_task::SpoutTask;
use crate::runtime::executor::step::ExecutorHandles;
use crate::runtime::executor::user_code::call_hooks;
use crate::runtime::routing::emitter::Emitter;

impl SpoutTask {
    /// Applies outcomes to the open messages, and calls `ack` and `fail` of the spout accordingly.
    pub fn take_outcomes(
        &mut self,
        outcomes: Vec<Outcome>,
        latencies: &Latencies,
        handles: &ExecutorHandles,
        now: Time,
    ) {
        let mut failed = Vec::new();
        let mut acked = Vec::with_capacity(BLOCK_MESSAGES_MAX as usize);
        let Emitter { pending, outgoing, tree_now, .. } = &mut self.emitter;
        let Some(pending) = pending else { return };
        for outcome in outcomes {
            match outcome {
                Outcome::Complete(root) => {
                    if let Some(audit) = &outgoing.audit {
                        audit.completed(root);
                    }
                    if let Some((messages, opened_at)) = pending.complete(root, |id| acked.push(id)) {
                        let latency = now.since(opened_at);
                        self.pending_limit.note_latency(latency, now);
                        record(latencies, latency, messages);
                    }
                }
                Outcome::Failed { root, message, report } => {
                    failed.extend(pending.fail(root, message, report))
                }
                Outcome::Reset(root) => pending.reset_timeout(root, *tree_now),
                Outcome::Lost(root) => {
                    pending.give_up(root, FailureCause::Lost, |message| failed.push(message));
                }
            }
        }
        self.call_ack(&acked, handles, now);
        self.take_failed(&failed, handles, now);
    }

    /// Acks the messages of blocks that were complete when they were closed; returns whether there were any.
    pub fn take_settled(&mut self, latencies: &Latencies, handles: &ExecutorHandles, now: Time) -> bool {
        if self.emitter.settled.is_empty() {
            return false;
        }
        let settled = std::mem::take(&mut self.emitter.settled);
        self.take_outcomes(settled.into_iter().map(Outcome::Complete).collect(), latencies, handles, now);
        true
    }

    fn call_ack(&mut self, acked: &[MessageId], handles: &ExecutorHandles, now: Time) {
        self.acked_now += acked.len() as u64;
        // If `ack` fails for one message, it must still be called for the others.
        self.call(handles, now, |spout, out| {
            for id in acked {
                spout.ack(*id).unwrap_or_else(|error| out.report_error(error));
            }
            Ok(())
        });
        call_hooks(&mut self.state.hooks, &self.emitter.errors, now, |hook| {
            acked.iter().for_each(|id| hook.spout_ack(*id));
        });
    }

    /// Makes failed messages wait for their back-off. `fail` is called at once if no replay follows, or if
    /// the message was lost with a worker and never failed before: then it will probably not fail again.
    fn take_failed(&mut self, failed: &[FailedMessage], handles: &ExecutorHandles, now: Time) {
        if let Some(pending) = &mut self.emitter.pending {
            // From now on each message may be a replay.
            pending.close_open(&mut self.state.messages);
        }
        for message in failed {
            self.failed_now += 1;
            let is_first_loss = message.cause == FailureCause::Lost && message.failures == 1;
            if message.is_final || self.draining || is_first_loss {
                self.call_fail(*message, handles, now);
            } else {
                self.backoff.add(*message, now, &mut self.emitter.outgoing.rng);
            }
        }
    }

    fn call_fail(&mut self, message: FailedMessage, handles: &ExecutorHandles, now: Time) {
        let FailedMessage { id, cause, failures, is_final } = message;
        self.given_up_now += u64::from(is_final);
        let failure = Failure { cause, failures, is_final };
        self.call(handles, now, |spout, out| spout.fail(id, &failure, out));
        call_hooks(&mut self.state.hooks, &self.emitter.errors, now, |hook| hook.spout_fail(id));
        // The spout may have queued the message for replay, so `next_tuple` is called again even if it
        // was exhausted.
        self.exhausted = false;
        self.idle.end();
    }

    /// Calls `fail` for failed messages whose back-off has passed.
    pub fn call_due_fails(&mut self, handles: &ExecutorHandles, now: Time) {
        // While the task has no instance, no message waits: `break_down` cleared them.
        while let Some(message) = self.backoff.take_due(now) {
            self.call_fail(message, handles, now);
        }
    }

    /// The topology is ending. Nothing is replayed any more, so `fail` is called for all waiting messages.
    pub fn drain(&mut self, handles: &ExecutorHandles, now: Time) {
        self.draining = true;
        while let Some(message) = self.backoff.take() {
            self.call_fail(message, handles, now);
        }
    }

    /// Fails the messages whose time-out has passed.
    pub fn expire(&mut self, handles: &ExecutorHandles, now: Time) {
        let Emitter { pending, outgoing, tree_now, .. } = &mut self.emitter;
        let Some(pending) = pending else { return };
        let mut failed = Vec::new();
        pending.expire(*tree_now, |message| failed.push(message), |root| outgoing.acks.forget(root));
        self.take_failed(&failed, handles, now);
    }

    /// Fails every block that a lost acker kept. No block may be open.
    pub fn lose_acker(&mut self, acker: usize, handles: &ExecutorHandles, now: Time) {
        let Emitter { pending, outgoing, acker_table, .. } = &mut self.emitter;
        let Some(pending) = pending else { return };
        let mut failed = Vec::new();
        let kept_there = |root: &RootId| acker_table.acker_of(*root) == acker;
        for root in pending.open_roots().into_iter().filter(kept_there) {
            pending.give_up(root, FailureCause::Lost, |message| failed.push(message));
            outgoing.acks.forget(root);
        }
        self.take_failed(&failed, handles, now);
    }

    /// In an untracked topology: acks what was emitted.
    pub(super) fn ack_at_once(&mut self, handles: &ExecutorHandles, now: Time) {
        if self.emitter.pending.is_some() {
            return;
        }
        let mut emitted = std::mem::take(&mut self.state.messages.ids);
        self.call_ack(&emitted, handles, now);
        emitted.clear();
        self.state.messages.ids = emitted;
    }
}
