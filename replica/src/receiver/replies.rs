//! When a standby reports: as soon as there is something worth reporting, when asked, and from time to time.

use super::{ReceiverAction, ReceiverOptions};
use crate::error::ReplicaError;
use crate::sync::Progress;
use durability::{Stage, Stages};
use std::time::Duration;
use wal::Xid;

/// Pause between reports of a stage that no commit waits for.
const UNHURRIED: Duration = Duration::from_millis(25);

#[derive(Debug)]
pub(super) struct Replies {
    status_interval: Option<Duration>,
    timeout: Option<Duration>,
    feedback: bool,
    xmin: Option<Xid>,
    /// The last feedback sent; None if none was on this connection.
    told_xmin: Option<Option<Xid>>,
    last: Option<Progress>,
    last_at: Duration,
    feedback_at: Duration,
    heard_at: Duration,
    /// A report that asks for an answer is on its way.
    asked: bool,
    /// The next flush is reported in any case.
    owed: bool,
    /// The stages that commits on the primary wait for.
    awaited: Stages,
    /// When to look whether there is something to report that nobody hurries for.
    look_at: Option<Duration>,
    /// hot_standby_feedback was turned on or off: the primary shall know at once.
    feedback_turned: bool,
}

impl Replies {
    pub(super) fn new(options: &ReceiverOptions) -> Self {
        Self {
            status_interval: options.status_interval,
            timeout: options.timeout,
            feedback: options.feedback,
            xmin: None,
            told_xmin: None,
            last: None,
            last_at: Duration::ZERO,
            feedback_at: Duration::ZERO,
            heard_at: Duration::ZERO,
            asked: false,
            owed: false,
            awaited: Stages::ALL,
            look_at: None,
            feedback_turned: false,
        }
    }

    /// A new stream.
    pub(super) fn restart(&mut self, now: Duration) {
        (self.last, self.told_xmin, self.asked, self.look_at) = (None, None, false, None);
        self.owed = false;
        (self.heard_at, self.last_at) = (now, now);
    }

    pub(super) fn set_options(&mut self, options: &ReceiverOptions) {
        let before = self.gives_feedback();
        self.status_interval = options.status_interval;
        self.timeout = options.timeout;
        self.feedback = options.feedback;
        self.feedback_turned |= self.gives_feedback() != before;
    }
    /// What would never be told anew is not told at all.
    fn gives_feedback(&self) -> bool {
        self.feedback && self.status_interval.is_some()
    }
    pub(super) fn set_xmin(&mut self, xmin: Option<Xid>) {
        self.xmin = xmin;
    }
    pub(super) fn set_awaited(&mut self, awaited: Stages) {
        self.awaited = awaited;
    }
    pub(super) fn awaited(&self) -> Stages {
        self.awaited
    }
    /// The primary wants an answer once what is written is flushed.
    pub(super) fn owe(&mut self) {
        self.owed = true;
    }

    /// Whether it does.
    pub(super) fn owes(&self) -> bool {
        self.owed
    }

    /// Reports what was held back of a stage that commits wait for by now.
    pub(super) fn catch_up(&mut self, progress: Progress, now: Duration, out: &mut Vec<ReceiverAction>) {
        if self.hurries(progress) {
            self.send(progress, false, now, out);
        }
    }

    /// Whether a stage that commits wait for has moved since the last report.
    fn hurries(&self, progress: Progress) -> bool {
        let moved = |last: Progress, stage: Stage| last.at(stage) != progress.at(stage);
        let awaited = self.awaited;
        self.last
            .is_some_and(|last| Stage::ALL.into_iter().any(|stage| awaited.has(stage) && moved(last, stage)))
    }

    pub(super) fn heard(&mut self, now: Duration) {
        self.heard_at = now;
        self.asked = false;
    }

    fn send(
        &mut self,
        progress: Progress,
        reply_requested: bool,
        now: Duration,
        out: &mut Vec<ReceiverAction>,
    ) {
        (self.last, self.last_at) = (Some(progress), now);
        self.look_at = self.next_look(progress, now);
        out.push(ReceiverAction::Reply { progress, reply_requested });
    }

    pub(super) fn force(&mut self, progress: Progress, now: Duration, out: &mut Vec<ReceiverAction>) {
        self.send(progress, false, now, out);
    }

    pub(super) fn on_written(&mut self, progress: Progress, now: Duration, out: &mut Vec<ReceiverAction>) {
        self.catch_up(progress, now, out);
    }

    pub(super) fn on_flushed(&mut self, progress: Progress, now: Duration, out: &mut Vec<ReceiverAction>) {
        if std::mem::take(&mut self.owed) {
            self.send(progress, false, now, out);
        } else if self.last.is_none_or(|last| last.flushed != progress.flushed) {
            self.report(progress, now, out);
        }
    }

    pub(super) fn on_replayed(&mut self, progress: Progress, now: Duration, out: &mut Vec<ReceiverAction>) {
        if self.last.is_some_and(|last| last.replayed != progress.replayed) {
            self.report(progress, now, out);
        }
    }

    /// Reports at once what commits wait for, and anything else after a pause.
    fn report(&mut self, progress: Progress, now: Duration, out: &mut Vec<ReceiverAction>) {
        let pause_ends = self.last_at + UNHURRIED;
        if self.hurries(progress) || now >= pause_ends {
            self.send(progress, false, now, out);
        } else {
            self.look_at.get_or_insert(pause_ends);
        }
    }

    /// Replay that is behind moves without an event, unless commits wait for it.
    fn next_look(&self, progress: Progress, now: Duration) -> Option<Duration> {
        (!self.awaited.has(Stage::Replayed) && progress.replayed < progress.flushed).then(|| now + UNHURRIED)
    }

    pub(super) fn feedback(&mut self, now: Duration, out: &mut Vec<ReceiverAction>) {
        self.feedback_turned = false;
        let xmin = self.xmin.filter(|_| self.gives_feedback());
        // Feedback that was turned off is taken back once; an earlier connection may have told of some.
        let taken_back = self.told_xmin != Some(None);
        if self.gives_feedback() || taken_back {
            self.told_xmin = Some(xmin);
            self.feedback_at = now;
            out.push(ReceiverAction::Feedback(xmin));
        }
    }

    pub(super) fn tick(
        &mut self,
        progress: Progress,
        now: Duration,
        out: &mut Vec<ReceiverAction>,
    ) -> Result<(), ReplicaError> {
        if let Some(timeout) = self.timeout {
            if !self.asked && now >= self.heard_at + timeout {
                // This process did not run when it was to ask. What the primary said meanwhile is still to be
                // read.
                self.heard_at = now.saturating_sub(timeout / 2);
            }
            if now >= self.heard_at + timeout {
                return Err(ReplicaError::ReceiverTimeout);
            }
            if !self.asked && now >= self.heard_at + timeout / 2 {
                self.asked = true;
                self.send(progress, true, now, out);
            }
        }
        let due = self.status_interval.is_some_and(|interval| now >= self.last_at + interval);
        let looks = self.look_at.is_some_and(|at| now >= at);
        if due || (looks && self.last != Some(progress)) {
            self.send(progress, false, now, out);
        } else if looks {
            self.look_at = self.next_look(progress, now);
        }
        if self.feedback_turned
            || self.status_interval.is_some_and(|interval| now >= self.feedback_at + interval)
        {
            self.feedback(now, out);
        }
        Ok(())
    }

    pub(super) fn wake_at(&self) -> Option<Duration> {
        let timeout =
            self.timeout.map(|timeout| self.heard_at + if self.asked { timeout } else { timeout / 2 });
        let status = self.status_interval.map(|interval| self.last_at + interval);
        let feedback = self.status_interval.filter(|_| self.feedback).map(|pause| self.feedback_at + pause);
        let turned = self.feedback_turned.then_some(Duration::ZERO);
        [timeout, status, feedback, self.look_at, turned].into_iter().flatten().min()
    }
}
