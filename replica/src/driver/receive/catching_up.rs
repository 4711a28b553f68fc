//! Whether this standby has had all that its primary had at one moment of this life of the standby's process.
//!
//! What the standby confirmed before that moment, be it in an earlier life or from another directory, is then
//! here: the primary had it. What it confirms afterwards cannot go back while the process lives. So it knows
//! how far it ever confirmed the log, which a report on a promotion rests on
//! ([`crate::timeline::loss`]).

use super::running::Driver;
use wal::Lsn;

/// How far it is with that, for the log as it is now.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum CatchingUp {
    /// The primary has told nothing of its end.
    #[default]
    Unknown,
    /// It had this.
    Upto(Lsn),
    /// That is here.
    Done,
}

impl Driver {
    /// The server before this one tells where its log ends. A standby's end says nothing of its primary's,
    /// and a stream of an ended timeline nothing of what came after it. A primary says on each stream that it
    /// is one: it may have been a standby when the connection began.
    pub(super) fn note_primary_end(&mut self, end: Lsn) {
        let is_latest = || self.machine.end().1 == self.machine.history().target();
        if matches!(self.catching_up, CatchingUp::Unknown) && self.from_primary && is_latest() {
            self.catching_up = CatchingUp::Upto(end);
        }
    }

    /// Shows where the stream is, and looks whether that is here which the primary had.
    pub(super) fn note_place(&mut self) {
        self.show();
        if let CatchingUp::Upto(upto) = self.catching_up
            && self.machine.has_shown(upto)
        {
            self.catching_up = CatchingUp::Done;
            self.context.feed.set_caught_up(&self.settings.application_name);
        }
    }
}
