//! Where a node in recovery gets its log from: the archive and pg_wal, or a primary, by turns. Without I/O.
//!
//! ```text
//!            nothing more, and the log may end            (recovery.signal)
//!          +-------------------------------------------> ended
//!          |
//!        local --- nothing more, a primary is named ---> streaming
//!          ^                                                 | the last try failed, and there is an archive
//!          |                                                 | to ask; or no primary is named any more
//!          |                                                 v
//!        resting <----- the receiver has stopped ------- leaving
//!          ^
//!          +--- local: nothing more, and no primary is named
//! ```
//!
//! - local: redo reads pg_wal and has each segment fetched from the archive first. Nobody else writes in
//!   pg_wal.
//! - streaming: the receiver writes in pg_wal, redo reads behind it, the archive is not asked. Without an
//!   archive, the receiver tries again by itself and this state stays.
//! - leaving: the receiver has been told to stop, and may still write.
//! - resting: wal_retrieve_retry_interval passes since the last look here, or the settings are reloaded.
//!   After a stream that ran for longer than that nothing is waited for.
//!
//! A stream that ends by order, the primary's or that of other settings, is no failed try.
//!
//! What was received and cannot be read is looked for everywhere: the stream is left as if it had failed and
//! there were an archive, and begins anew before the bad place.
//!
//! A promotion takes one more look at the archive after the receiver has stopped, so that nothing is left out
//! that was there. Not so one by which the primary hands its role over: its log has ended, and all of it came
//! by the stream. So an archive that does not answer keeps no cluster without a primary. Nor is it asked
//! between the primary's word and that, though the stream ends.

use std::time::Duration;

/// What the settings say of a node's sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceSettings {
    /// Wait for more log (standby.signal), or end with it (recovery.signal).
    pub follow: bool,
    /// primary_conninfo is set.
    pub primary: bool,
    /// restore_command is set.
    pub archive: bool,
    /// wal_retrieve_retry_interval
    pub retry: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Local,
    Streaming { failed: bool },
    Leaving,
    Resting { until: Duration },
}

/// What redo shall do that has used up its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Look in the archive and in pg_wal.
    Look,
    /// The log is over.
    End,
    /// Wait for the receiver, which shall run.
    Stream,
    /// Wait until the receiver, which shall stop, has done so.
    Leave,
    /// Wait for this long.
    Rest(Duration),
}

/// The turns of the sources.
#[derive(Clone, Copy, Debug)]
pub struct SourceSwitch {
    settings: SourceSettings,
    state: State,
    /// When the last look began at what is here.
    looked: Duration,
    closed: bool,
    promoting: bool,
    last_look: bool,
}

impl SourceSwitch {
    /// Redo begins locally, at the time 0.
    pub fn new(settings: SourceSettings) -> Self {
        let (state, looked) = (State::Local, Duration::ZERO);
        Self { settings, state, looked, closed: false, promoting: false, last_look: false }
    }

    /// Takes over reloaded settings. That ends the rest: what failed may be mended.
    pub fn set(&mut self, settings: SourceSettings) {
        if matches!(self.state, State::Resting { .. }) {
            self.state = State::Resting { until: Duration::ZERO };
        }
        self.settings = settings;
    }

    /// Whether redo reads what lies here, rather than what a receiver writes.
    pub fn is_local(&self) -> bool {
        !matches!(self.state, State::Streaming { .. } | State::Leaving)
    }

    /// A promotion or the end is to come, for which the receiver stops: nothing else is looked at meanwhile.
    pub fn close(&mut self) {
        self.closed = true;
    }

    /// A promotion begins, and the receiver has stopped for good. `whole`: what was received is all that
    /// there is.
    pub fn promote(&mut self, whole: bool) {
        self.promoting = true;
        self.last_look |= whole;
        if !self.is_local() {
            self.state = State::Local;
        }
    }

    /// The receiver could not stream.
    pub fn failed(&mut self) {
        if let State::Streaming { failed } = &mut self.state {
            *failed = true;
        }
    }

    /// The receiver streams. It tries by itself while redo is behind or paused: what failed before is over.
    pub fn streams(&mut self) {
        if let State::Streaming { failed } = &mut self.state {
            *failed = false;
        }
    }

    /// What the receiver wrote cannot be read.
    pub fn damaged(&mut self) {
        if matches!(self.state, State::Streaming { .. }) {
            self.state = State::Leaving;
        }
    }

    /// The receiver has stopped as told.
    pub fn stopped(&mut self) {
        if self.state == State::Leaving {
            self.state = State::Resting { until: self.looked + self.settings.retry };
        }
    }

    /// Redo has nothing more to do where it looked. Until something changes, the same is answered again.
    pub fn turn(&mut self, now: Duration) -> Turn {
        if self.promoting {
            // The last look is for what came into the archive while a primary was followed.
            return if self.settings.archive && !std::mem::replace(&mut self.last_look, true) {
                Turn::Look
            } else {
                Turn::End
            };
        }
        match self.state {
            State::Local if !self.settings.follow => Turn::End,
            _ if self.closed => Turn::Leave,
            State::Local if self.settings.primary => {
                self.state = State::Streaming { failed: false };
                Turn::Stream
            }
            State::Local => {
                self.state = State::Resting { until: now + self.settings.retry };
                Turn::Rest(self.settings.retry)
            }
            State::Streaming { failed } => {
                if !self.settings.primary || (failed && self.settings.archive) {
                    self.state = State::Leaving;
                    Turn::Leave
                } else {
                    Turn::Stream
                }
            }
            State::Leaving => Turn::Leave,
            State::Resting { until } if now >= until => {
                (self.state, self.looked) = (State::Local, now);
                Turn::Look
            }
            State::Resting { until } => Turn::Rest(until - now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETRY: Duration = Duration::from_secs(5);

    fn switch(follow: bool, primary: bool, archive: bool) -> SourceSwitch {
        SourceSwitch::new(SourceSettings { follow, primary, archive, retry: RETRY })
    }
    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_archive_is_not_asked_between_the_primarys_word_and_the_promotion() {
        let mut switch = switch(true, true, true);
        assert_eq!(switch.turn(at(0)), Turn::Stream);
        switch.close();
        switch.failed();
        assert_eq!(switch.turn(at(100)), Turn::Leave);
        switch.stopped();
        assert_eq!(switch.turn(at(200)), Turn::Leave);
        switch.promote(true);
        assert_eq!(switch.turn(at(200)), Turn::End);
    }

    #[test]
    fn archive_recovery_ends_with_its_log() {
        assert_eq!(switch(false, false, true).turn(at(0)), Turn::End);
        // recovery.signal alone does not stream, whatever primary_conninfo says.
        assert_eq!(switch(false, true, true).turn(at(0)), Turn::End);
    }

    #[test]
    fn a_standby_without_a_primary_looks_again_after_each_rest() {
        let mut switch = switch(true, false, true);
        assert_eq!(switch.turn(at(0)), Turn::Rest(RETRY));
        assert_eq!(switch.turn(at(2)), Turn::Rest(at(3)));
        assert_eq!(switch.turn(at(5)), Turn::Look);
        assert_eq!(switch.turn(at(5)), Turn::Rest(RETRY));
    }

    #[test]
    fn a_reload_ends_the_rest_and_a_primary_that_is_named_by_it_is_followed_at_once() {
        let mut switch = switch(true, false, false);
        let settings = SourceSettings { follow: true, primary: false, archive: false, retry: RETRY };
        assert_eq!(switch.turn(at(0)), Turn::Rest(RETRY));
        assert_eq!(switch.turn(at(1)), Turn::Rest(at(4)));
        switch.set(settings);
        assert_eq!(switch.turn(at(1)), Turn::Look, "what is named may be there now");
        assert_eq!(switch.turn(at(1)), Turn::Rest(RETRY));
        switch.set(SourceSettings { primary: true, ..settings });
        assert_eq!(switch.turn(at(1)), Turn::Look);
        assert_eq!(switch.turn(at(1)), Turn::Stream);
    }

    #[test]
    fn a_failed_stream_gives_the_archive_its_turn_once_nobody_writes() {
        let mut switch = switch(true, true, true);
        assert_eq!(switch.turn(at(0)), Turn::Stream);
        assert!(!switch.is_local());
        assert_eq!(switch.turn(at(1)), Turn::Stream);
        switch.failed();
        assert_eq!(switch.turn(at(2)), Turn::Leave);
        assert_eq!(switch.turn(at(9)), Turn::Leave, "the receiver may still write");
        assert!(!switch.is_local());
        switch.stopped();
        assert!(switch.is_local());
        assert_eq!(switch.turn(at(14)), Turn::Look);
        assert_eq!(switch.turn(at(14)), Turn::Stream, "and then the primary has its turn again");
    }

    #[test]
    fn what_fails_after_a_long_stream_is_looked_for_at_once_and_what_fails_again_after_a_rest() {
        let mut switch = switch(true, true, true);
        let fails_at = |switch: &mut SourceSwitch, now: Duration| {
            assert_eq!(switch.turn(now), Turn::Stream);
            switch.failed();
            assert_eq!(switch.turn(now), Turn::Leave);
            switch.stopped();
            switch.turn(now)
        };
        assert_eq!(fails_at(&mut switch, at(60)), Turn::Look);
        assert_eq!(fails_at(&mut switch, at(61)), Turn::Rest(at(4)));
        assert_eq!(switch.turn(at(65)), Turn::Look);
        assert_eq!(fails_at(&mut switch, at(65)), Turn::Rest(RETRY));
    }

    #[test]
    fn a_stream_that_runs_again_is_not_left_for_what_failed_before_it() {
        let mut switch = switch(true, true, true);
        assert_eq!(switch.turn(at(0)), Turn::Stream);
        switch.failed();
        // Redo asks for nothing meanwhile: it is behind, or paused.
        switch.streams();
        assert_eq!(switch.turn(at(3)), Turn::Stream);
        switch.failed();
        assert_eq!(switch.turn(at(4)), Turn::Leave);
        switch.streams();
        assert_eq!(switch.turn(at(5)), Turn::Leave, "who was told to stop does so");
    }

    #[test]
    fn without_an_archive_the_receiver_tries_again_by_itself() {
        let mut switch = switch(true, true, false);
        assert_eq!(switch.turn(at(0)), Turn::Stream);
        switch.failed();
        assert_eq!(switch.turn(at(1)), Turn::Stream);
        switch.set(SourceSettings { follow: true, primary: false, archive: false, retry: RETRY });
        assert_eq!(switch.turn(at(1)), Turn::Leave);
    }

    #[test]
    fn what_is_damaged_is_looked_for_in_the_archive_and_streamed_again() {
        let mut switch = switch(true, true, false);
        switch.damaged();
        assert_eq!(switch.turn(at(0)), Turn::Stream, "nobody writes here yet");
        switch.damaged();
        switch.streams();
        assert_eq!(switch.turn(at(1)), Turn::Leave);
        switch.stopped();
        assert_eq!(switch.turn(at(6)), Turn::Look);
        assert_eq!(switch.turn(at(6)), Turn::Stream);
    }

    #[test]
    fn a_promotion_looks_into_the_archive_once_more_unless_the_log_is_whole() {
        for whole in [false, true] {
            let mut switch = switch(true, true, true);
            assert_eq!(switch.turn(at(0)), Turn::Stream);
            switch.promote(whole);
            if !whole {
                assert_eq!(switch.turn(at(0)), Turn::Look);
            }
            assert_eq!(switch.turn(at(0)), Turn::End);
        }
    }
}
