//! Words of the nodes' log lines: what is listened for, and how values are read from behind it.

/// A life of a node begins.
pub(super) const STARTS: &str = "starting Plimsoll";
/// A node begins a timeline.
pub(super) const NEW_TIMELINE: &str = "selected new timeline ID: ";
/// A start undoes a promotion that was not completed; the timeline.
pub(super) const TAKEN_BACK: &str = "took back the promotion to timeline ";
/// A node takes writes.
pub(super) const READY: &str = "database system is ready to accept connections";
/// It follows others.
pub(super) const STANDBY: &str = "entering standby mode";
/// It does not become a primary.
pub(super) const REFUSED: &str = "promotion refused";
/// It follows a younger branch.
pub(super) const FOLLOWS: &str = "new target timeline is ";
/// Redo ends, at a start or a promotion.
pub(super) const REDONE: &str = "redo done at ";
/// A node cuts what its log has behind a position.
pub(super) const CUT: &str = "cut log from ";
/// It does so since it becomes a primary.
pub(super) const CUT_AT_PROMOTION: &str = "cut at the promotion";
/// A start cut the torn end of the log.
pub(super) const TORN: &str = "which are no whole log";
/// Recovery ends large transactions.
pub(super) const ABORTED: &str = "transactions without an outcome";

/// A primary does not know yet which commits of before hold, and then it does.
pub(super) const UNDECIDED: &str = "are undecided until the synchronous standbys hold them";
pub(super) const DECIDED: &str = "the synchronous standbys hold all commits up to";
/// It shows what is undecided.
pub(super) const SHOWN: &str = " are released ";
pub(super) const TIMED_OUT: &str = "released by plimsoll.unconfirmed_timeout";
pub(super) const NOBODY_NAMED: &str = "are released since no synchronous standbys";

/// A primary falls back behind a position, and is back to what its settings ask for.
pub(super) const FALLS_BACK: &str = "falling back from synchronous replication after ";
pub(super) const RETURNS: &str = "returning to synchronous replication";
/// It fell back before it went down.
pub(super) const FELL_BACK: &str = "this server's last run acknowledged commits after";
/// Who was replaced had fallen back.
pub(super) const PRIMARY_FELL_BACK: &str = "the primary of before acknowledged commits after";

/// A primary is fenced.
pub(super) const FENCED: &str = "this server is fenced and takes no more writes";
/// Its upstream's branch does not continue its own: what an operator is to do.
pub(super) const STRANGE_BRANCH: &str = "To have it follow its upstream, run: ";

/// A standby goes down to rewind itself; it is done, and its new timeline.
pub(super) const REWINDS_ITSELF: &str = "ending recovery, to rewind this server";
pub(super) const REWOUND_ITSELF: &str = "rewound to timeline ";
/// It gives commits up for that.
pub(super) const GIVES_UP: &str = ", kept in \"/data/plimsoll/discarded-";

/// A primary begins to hand its role over; what came of it.
pub(super) const HANDS_OVER: &str = "handing over to standby ";
pub(super) const BACKED_OUT: &str = " is backed out: ";
pub(super) const HANDED_OVER: &str = " takes over at ";
pub(super) const HANDOVER_UNDECIDED: &str = "the switchover is undecided: ";
/// A standby takes the role.
pub(super) const TAKES_OVER: &str = "the primary has handed its role over to this server";

/// A start ends in the middle, since a stop was asked for.
pub(super) const BROKEN_OFF: &str = "the start was broken off: ";
/// A standby's stream ends, since its slot is to go.
pub(super) const STREAM_ENDED: &str = " to release replication slot \"of_n";

/// A table's file, or a segment of the log, could not go.
pub(super) const KEPT_FILE: &str = "could not remove file \"/data/base";
pub(super) const KEPT_SEGMENT: &str = "could not recycle file";
/// A slot, or log, is gone.
pub(super) const SLOT_LOST: &str = "invalidating slot";
pub(super) const LOG_REMOVED: &str = "has already been removed";
/// A disk is full.
pub(super) const FULL: &str = "No space left on device";
/// It has kept an entry from the ledger.
pub(super) const UNWRITTEN: &str = "could not write plimsoll/ledger";
/// What had to wait is written, or never will be.
pub(super) const LEDGER_WRITTEN: &str = "entries of plimsoll/ledger that had to wait";
pub(super) const LEDGER_LOST: &str = "entries of plimsoll/ledger: ";
/// Replay gave a snapshot up because its rows go.
pub(super) const GIVEN_UP: &str = "User query might have needed to see row versions that must be removed";

/// A standby lacks what it received.
pub(super) const RECEIVED_DAMAGE: &str = "replay goes on when it was received again";

/// A log cannot be read as far as it was durable.
pub(super) const DAMAGED_LOG: &str = "WAL is damaged: ";
/// A server takes its own files for broken.
pub(super) const DAMAGE: &[&str] = &["is damaged", "could not be read from disk: invalid page", "PANIC:"];

/// All that is listened for, but for [`DAMAGE`].
pub(super) const HEARD: &[&str] = &[
    STARTS,
    NEW_TIMELINE,
    TAKEN_BACK,
    READY,
    RECEIVED_DAMAGE,
    STANDBY,
    REFUSED,
    FOLLOWS,
    REDONE,
    CUT,
    TORN,
    ABORTED,
    UNDECIDED,
    DECIDED,
    TIMED_OUT,
    NOBODY_NAMED,
    FALLS_BACK,
    RETURNS,
    FELL_BACK,
    PRIMARY_FELL_BACK,
    FENCED,
    STRANGE_BRANCH,
    REWINDS_ITSELF,
    REWOUND_ITSELF,
    GIVES_UP,
    HANDS_OVER,
    BACKED_OUT,
    HANDED_OVER,
    HANDOVER_UNDECIDED,
    TAKES_OVER,
    BROKEN_OFF,
    STREAM_ENDED,
    KEPT_FILE,
    KEPT_SEGMENT,
    SLOT_LOST,
    LOG_REMOVED,
    FULL,
    UNWRITTEN,
    LEDGER_WRITTEN,
    LEDGER_LOST,
    GIVEN_UP,
];

/// The value behind these words, if the line has them and it is one.
pub(super) fn value_after<T: std::str::FromStr>(line: &str, words: &str) -> Option<T> {
    line.split_once(words)?.1.split([' ', ':', ',']).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use wal::Lsn;

    #[test]
    fn values_are_read_from_lines() {
        let line = "LOG:  cut log from 0/10B918 to 0/14A000: no whole record of timeline 1, cut before";
        assert_eq!(value_after(line, " to "), "0/14A000".parse::<Lsn>().ok());
        assert_eq!(value_after(line, CUT), "0/10B918".parse::<Lsn>().ok());
        let line = "redo done at 0/1BB740 system usage: 140";
        assert_eq!(value_after(line, REDONE), "0/1BB740".parse::<Lsn>().ok());
        assert_eq!(value_after::<Lsn>(line, CUT), None);
        assert_eq!(value_after(&format!("{NEW_TIMELINE}2"), NEW_TIMELINE), Some(2));
    }
}
