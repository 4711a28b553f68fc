//! Which branch is followed: from the primary's answer about itself to START_REPLICATION, and on to the next
//! timeline.

use super::{Receiver, ReceiverAction, State};
use crate::error::ReplicaError;
use crate::timeline::relation::{Relation, relation};
use std::time::Duration;
use wal::history::TimelineHistory;
use wal::{Lsn, SystemId, TimelineId};

/// Pause before a primary is asked again that has ended a timeline and is not on the next one yet.
const BEHIND_PAUSE: Duration = Duration::from_millis(100);

/// Histories on their way.
#[derive(Debug)]
pub(super) enum Fetching {
    /// That of the timeline that is followed, which is not here; the primary is on this timeline.
    Own(TimelineId),
    /// The primary's.
    Theirs,
}

impl Receiver {
    pub(super) fn identify(&mut self, out: &mut Vec<ReceiverAction>) {
        self.state = State::Identifying;
        out.push(ReceiverAction::Identify);
    }

    pub(super) fn identified(
        &mut self,
        system: SystemId,
        (primary, end): (TimelineId, Lsn),
        now: Duration,
        out: &mut Vec<ReceiverAction>,
    ) -> Result<(), ReplicaError> {
        if system != self.options.system {
            return Err(ReplicaError::OtherSystem { primary: system, standby: self.options.system });
        }
        if self.next.is_some_and(|next| primary < next) {
            // The same stream would end again at once.
            self.state = State::Behind { until: now + BEHIND_PAUSE };
            return Ok(());
        }
        self.asked_end = end;
        self.judge(primary, out)
    }

    /// Begins to follow a primary of this cluster.
    fn judge(&mut self, primary: TimelineId, out: &mut Vec<ReceiverAction>) -> Result<(), ReplicaError> {
        let standby = self.history.target();
        if primary < standby {
            if self.plimsoll {
                out.push(ReceiverAction::TellDescendant);
            }
            return Err(ReplicaError::PrimaryBehind { primary, standby });
        }
        let rootless = self.history.entries().is_empty();
        if rootless && standby > TimelineId::FIRST {
            // Its file got lost, or a copy left it out: without it no later timeline looks like a child of
            // this one.
            self.state = State::Fetching(Fetching::Own(primary));
            out.push(ReceiverAction::FetchHistory(standby));
        } else if rootless && primary == standby {
            // A first timeline has no history to compare; the bytes will be.
            return self.go_on(out);
        } else {
            self.state = State::Fetching(Fetching::Theirs);
            out.push(ReceiverAction::FetchHistory(primary));
        }
        Ok(())
    }

    /// Takes over the history of the timeline that is followed, which was not here. The log goes on where it
    /// is.
    pub(super) fn own_history(
        &mut self,
        own: TimelineHistory,
        primary: TimelineId,
        out: &mut Vec<ReceiverAction>,
    ) -> Result<(), ReplicaError> {
        let timeline = own.target();
        if own.entries().is_empty() {
            let what = format!("the primary's history of timeline {timeline} names no timeline before it");
            return Err(ReplicaError::Protocol(what));
        }
        // Of a copy that came without its log nothing is here but what its files need.
        if own.timeline_at(self.end.max(self.needed)) != timeline {
            return Err(ReplicaError::Twin { timeline });
        }
        out.push(ReceiverAction::Follow { history: own.clone(), kept: self.end });
        self.history = own;
        self.judge(primary, out)
    }

    pub(super) fn history_came(
        &mut self,
        timeline: TimelineId,
        text: &str,
        out: &mut Vec<ReceiverAction>,
    ) -> Result<(), ReplicaError> {
        let invalid = |error: wal::history::HistoryError| ReplicaError::Protocol(error.to_string());
        let came = TimelineHistory::parse(timeline, text).map_err(invalid)?;
        match std::mem::replace(&mut self.state, State::Identifying) {
            State::Fetching(Fetching::Own(primary)) => self.own_history(came, primary, out),
            _ => self.primary_history(came, out),
        }
    }

    /// Judges the primary's branch.
    pub(super) fn primary_history(
        &mut self,
        theirs: TimelineHistory,
        out: &mut Vec<ReceiverAction>,
    ) -> Result<(), ReplicaError> {
        let (primary, standby) = (theirs.target(), self.history.target());
        match relation(&self.history, &theirs) {
            Relation::Same => self.go_on(out),
            Relation::Descendant { fork } if self.lost.max(self.needed) > fork => {
                self.stay_behind(out);
                let reached = self.lost.max(self.needed);
                Err(ReplicaError::ForkedBefore { primary, standby, forked_at: fork, reached })
            }
            Relation::Descendant { fork }
                if self.end > fork && !host::planted!("a standby past the fork follows as it is") =>
            {
                self.state = State::Scanning { theirs, fork };
                out.push(ReceiverAction::FindWholeEnd);
                Ok(())
            }
            Relation::Descendant { .. } => {
                self.follow_or_stay(theirs, self.end, out);
                Ok(())
            }
            Relation::Ancestor { .. } => Err(ReplicaError::PrimaryBehind { primary, standby }),
            Relation::Sibling { .. } => Err(ReplicaError::NotAChild { primary, standby }),
            Relation::Twin { .. } => Err(ReplicaError::Twin { timeline: primary }),
        }
    }

    /// The primary's branch goes on from ours, and is not followed: what it knows of that is passed on to who
    /// asks here.
    fn stay_behind(&self, out: &mut Vec<ReceiverAction>) {
        if self.plimsoll {
            out.push(ReceiverAction::AskWitnessed);
        }
    }

    /// Follows the branch that is followed here already.
    fn go_on(&mut self, out: &mut Vec<ReceiverAction>) -> Result<(), ReplicaError> {
        if self.lost > self.asked_end {
            // What it lacks is here, if only behind what cannot be read.
            return Err(ReplicaError::EndsBefore { end: self.asked_end, reached: self.lost });
        }
        self.start(out);
        Ok(())
    }

    /// Our log goes past the fork; it still continues if only a record's beginning does.
    pub(super) fn scanned(&mut self, whole: Lsn, out: &mut Vec<ReceiverAction>) -> Result<(), ReplicaError> {
        let State::Scanning { theirs, fork } = std::mem::replace(&mut self.state, State::Identifying) else {
            return Ok(());
        };
        if whole > fork {
            self.stay_behind(out);
            return Err(ReplicaError::ForkedBefore {
                primary: theirs.target(),
                standby: self.history.target(),
                forked_at: fork,
                reached: whole,
            });
        }
        self.follow_or_stay(theirs, whole, out);
        Ok(())
    }

    /// Follows a branch that goes on from this one; or what both have, if only this one's timeline is wanted.
    fn follow_or_stay(&mut self, history: TimelineHistory, kept: Lsn, out: &mut Vec<ReceiverAction>) {
        if self.options.follow_latest {
            self.accept(history, kept, out);
        } else {
            self.start(out);
        }
    }

    /// Follows a branch of which we have what lies below `kept`. The histories of the branches in between are
    /// taken from its own: a primary that was cloned need not have their files.
    pub(super) fn accept(&mut self, history: TimelineHistory, kept: Lsn, out: &mut Vec<ReceiverAction>) {
        let ours = self.history.target();
        let between = history.entries().iter().map(|entry| entry.timeline).filter(|between| *between > ours);
        let files = between.filter_map(|between| history.ancestor(between));
        out.extend(files.map(ReceiverAction::StoreHistory));
        out.push(ReceiverAction::Follow { history: history.clone(), kept });
        self.keep_beyond(&history, kept);
        self.history = history;
        // What the primary told of the end of its log was said of another branch.
        (self.end, self.flushed, self.primary_end) = (kept, self.flushed.min(kept), Lsn::INVALID);
        assert!(self.replayed <= kept, "{} is replayed and only {kept} kept", self.replayed);
        self.start(out);
    }

    pub(super) fn start(&mut self, out: &mut Vec<ReceiverAction>) {
        let timeline = self.history.timeline_at(self.end);
        if timeline != self.timeline {
            out.push(ReceiverAction::SwitchTimeline(timeline));
            self.timeline = timeline;
        }
        // So much that we have is sent again, to be compared.
        let at = (self.end - 1).page_start().max(self.segment_start());
        let overlap = self.overlap().filter(|overlap| *overlap < at && self.plimsoll);
        self.awaits_begin = overlap.is_some();
        self.expected = at;
        self.started = (at, timeline);
        self.state = State::Starting;
        out.push(ReceiverAction::Start { slot: self.options.slot.clone(), at, overlap, timeline });
        out.push(ReceiverAction::ReportStart { at, timeline });
    }

    /// The stream begins there; or goes on there, since what was to be compared before was removed meanwhile.
    pub(super) fn on_begin(
        &mut self,
        at: Lsn,
        now: Duration,
        out: &mut Vec<ReceiverAction>,
    ) -> Result<(), ReplicaError> {
        let goes_on = at == self.started.0 && self.expected < at;
        let begins = std::mem::take(&mut self.awaits_begin) && at <= self.expected;
        if !begins && !goes_on {
            return Err(ReplicaError::Protocol(format!("the stream begins at {at}")));
        }
        self.expected = at;
        self.replies.force(self.reported(), now, out);
        Ok(())
    }

    /// The start of the segment in which the next byte lies.
    pub(super) fn segment_start(&self) -> Lsn {
        let size = self.options.segment_size;
        size.start_of(size.segment_of(self.end))
    }

    /// The last page that says something, where it is known. At the end of a segment that may be far before:
    /// what follows a switch is empty in every log.
    fn overlap(&self) -> Option<Lsn> {
        self.last_page.filter(|(end, _)| *end == self.end).map(|(_, page)| page)
    }

    pub(super) fn stream_ended(
        &mut self,
        next: Option<(TimelineId, Lsn)>,
        out: &mut Vec<ReceiverAction>,
    ) -> Result<(), ReplicaError> {
        if matches!(self.state, State::Streaming) {
            // The primary's CopyDone; its result comes after ours.
            if self.flushed < self.end {
                out.push(ReceiverAction::Flush);
            }
            out.push(ReceiverAction::FinishStream);
            self.state = State::Ending;
            return Ok(());
        }
        match next {
            // The history that we follow says what comes next; the primary's is fetched if it is newer.
            Some((timeline, _)) if self.options.follow_latest || self.history.contains(timeline) => {
                self.next = Some(timeline);
                self.identify(out);
                Ok(())
            }
            _ => Err(ReplicaError::Connection {
                what: "replication terminated by primary server".to_owned(),
                cause: format!("end of WAL reached on timeline {} at {}", self.timeline, self.end),
            }),
        }
    }
}
