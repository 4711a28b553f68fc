//! The bugs that are planted in product code, to know what the checks catch: all of them, with the promise
//! that each breaks.
//!
//! The code that has one asks `host::planted!("...")` with the name that stands here. What came of hunts for
//! them stands in tests/PLANTED_BUGS.md.

/// What a planted bug breaks: one of the promises of the design.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// Acknowledged is durable.
    Acknowledged,
    /// Visible is durable.
    Visible,
    /// One order of commits, on all nodes.
    OneOrder,
    /// A standby's log and files equal the primary's.
    ByteForByte,
    /// One writer a branch.
    OneWriter,
    /// Nothing is silent.
    NothingSilent,
    /// Damage is told from the log's end.
    Damage,
    /// Disk and memory are bounded.
    Bounded,
    /// What may go on goes on.
    Liveness,
}

/// A planted bug.
#[derive(Clone, Copy, Debug)]
pub struct Bug {
    /// What it does wrong; the same words as in the code that has it.
    pub name: &'static str,
    /// What it breaks.
    pub breaks: Promise,
}

const fn bug(name: &'static str, breaks: Promise) -> Bug {
    Bug { name, breaks }
}

use Promise::{
    Acknowledged, Bounded, ByteForByte, Damage, Liveness, NothingSilent, OneOrder, OneWriter, Visible,
};

/// Each of them.
pub const ALL: &[Bug] = &[
    bug("positions survive a cut of the log's tail", ByteForByte),
    bug("reports are kept over a change of branch", Acknowledged),
    bug("confirmations of an old branch are kept", Acknowledged),
    bug("a report counts for more than was sent on the branch", Acknowledged),
    bug("a slot is cut in memory alone", Bounded),
    bug("a dropped table is swept until its file goes", ByteForByte),
    bug("locks pass on before what was done under them is seen", Visible),
    bug("a lock that was given back tells of nothing", Visible),
    bug("a part of a record goes for an archive's history in silence", NothingSilent),
    bug("an archive's history counts though more was received", Acknowledged),
    bug("a standby rewinds itself to any upstream", OneWriter),
    bug("a stopped standby's log counts only as far as it was replayed", ByteForByte),
    bug("a slot's restart stays behind a cut", ByteForByte),
    bug("what redo may read survives a cut", ByteForByte),
    bug("redo reads on in what was cut", ByteForByte),
    bug("what was confirmed behind a cut stays so", Visible),
    bug("a fence is asked by timeline number", OneWriter),
    bug("branches of one number pass for one branch", OneWriter),
    bug("a fence does not survive a restart", OneWriter),
    bug("the fence's file is not synced", OneWriter),
    bug("a primary that hears of a descendant goes on", OneWriter),
    bug("a promotion report takes one standby too many for a quorum", Acknowledged),
    bug("a fenced server is promoted", OneWriter),
    bug("the next xid is chosen before the leftovers are known", OneOrder),
    bug("no abort is logged for what has no outcome", OneOrder),
    bug("a standby shows transactions that have no outcome yet", OneOrder),
    bug("rows do not wait for what they rest on", Visible),
    bug("COMMIT does not wait for what it rests on", Visible),
    bug("local does not wait for the flush", Acknowledged),
    bug("the log is not synced", Acknowledged),
    bug("a standby's log is not synced", Acknowledged),
    bug("a standby reports what is written as flushed", Acknowledged),
    bug("a history file is not synced", OneWriter),
    bug("the control file is not synced", Acknowledged),
    bug("a checkpoint does not sync page files", Acknowledged),
    bug("a checkpoint does not sync the names of new files", Acknowledged),
    bug("a checkpoint leaves out the pages that changed since the last", Acknowledged),
    bug("a slot's file is not synced", Bounded),
    bug("a rename is not followed by its folder's sync", Acknowledged),
    bug("a file is renamed before it is synced", Acknowledged),
    bug("recovery trusts what a killed server left to the kernel", Acknowledged),
    bug("a start takes for durable what a failed sync left", Acknowledged),
    bug("one standby less than asked is enough", Acknowledged),
    bug("FIRST counts as ANY", Acknowledged),
    bug("ANY counts as FIRST", Liveness),
    bug("a standby that is not named counts", Acknowledged),
    bug("a standby that catches up counts", Acknowledged),
    bug("a reload leaves the old synchronous names", Acknowledged),
    bug("on waits for remote_write only", Acknowledged),
    bug("remote_apply waits for on only", Acknowledged),
    bug("log is shipped before it is flushed", ByteForByte),
    bug("a standby ships its last page to the end", ByteForByte),
    bug("a commit is shown before its level is reached", Visible),
    bug("a large transaction passes for settled before its commit is published", Visible),
    bug("commits of before a start are shown before the quorum holds them", Visible),
    bug("the word of a clean stop is believed after the next crash", Visible),
    bug("a standby shows as confirmed what it has redone", Visible),
    bug("a confirmed position is taken from the log as it is", Visible),
    bug("REPEATABLE READ takes a new snapshot on a standby", OneOrder),
    bug("a read does not wait for its token", OneOrder),
    bug("a token of a lost commit is served", OneOrder),
    bug("a cancelled wait answers as if the level were reached", Acknowledged),
    bug("a commit's wait does not hear its cancel", Liveness),
    bug("a promotion takes its parent's next number", OneWriter),
    bug("a history names the last record's start as its switch", ByteForByte),
    bug("the last records are dropped at a switch of timelines", ByteForByte),
    bug("the log is not left at a promotion", ByteForByte),
    bug("a standby past the fork follows as it is", ByteForByte),
    bug("a receiver that ends does not flush", Acknowledged),
    bug("a standby writes pages ahead of its durable log", Acknowledged),
    bug("a page is written ahead of its log", Acknowledged),
    bug("a page is written before minRecoveryPoint is raised", OneOrder),
    bug("no page image after a checkpoint", Damage),
    bug("of a split only the first page is redone", ByteForByte),
    bug("what lies behind the log's end is not wiped", Damage),
    bug("a torn tail is cut where its record begins", Damage),
    bug("a cut of the log's tail is not recorded", NothingSilent),
    bug("damage below the flush point passes for the log's end", Damage),
    bug("damage in what a standby received passes for the log's end", Damage),
    bug("a backup_label is ignored", OneOrder),
    bug("a slot gives up what its standby has only written", Bounded),
    bug("a slot's restart is not saved", Bounded),
    bug("the log that a slot needs is removed", Liveness),
    bug("a segment waits for the archive before it is whole", ByteForByte),
    bug("a fallback is not put into the log", NothingSilent),
    bug("a fallback is not put into the ledger", NothingSilent),
    bug("pruning does not heed a standby's feedback", Liveness),
    bug("pruning does not heed the oldest snapshot", OneOrder),
    bug("a prune on a standby does not heed its snapshots", OneOrder),
    bug("a snapshot whose versions are gone reads on", OneOrder),
    bug("a waiter does not look again once it is registered", Liveness),
    bug("of several waiters one is woken", Liveness),
    bug("the flusher misses a lazy flush", Acknowledged),
    bug("who queues while the leader ends is forgotten", Liveness),
    bug("a full segment is left without a sync", Acknowledged),
    bug("a page that changes while it is written counts as written", Acknowledged),
    bug("redo tells its position before it has redone the record", OneOrder),
    bug("the next in line is not asked when a synchronous standby leaves", Liveness),
    bug("a promotion leaves minRecoveryPoint on the ended timeline", Acknowledged),
    bug("an undone promotion leaves what it wrote behind the switch", ByteForByte),
    bug("log goes up to the checkpoint's record instead of its redo point", Liveness),
    bug("a clone is let go before its files are durable", Acknowledged),
    bug("a clone in the making counts", Acknowledged),
    bug("a standby counts once for each of its connections", Acknowledged),
    bug("a file counts as archived while its command still runs", NothingSilent),
    bug("a commit that waits does not hear of the fence", OneWriter),
    bug("a wait for a token does not hear that the branch has changed", OneOrder),
    bug("a promotion that is asked for in a start is not judged", Liveness),
    bug("a standby copies no slots", Liveness),
    bug("a copied slot keeps no more than what comes from now on", Bounded),
    bug("log that nobody needs stays", Bounded),
    bug("a fallback does not wait for its timeout", Acknowledged),
    bug("undecided commits are released before their time", Visible),
    bug("REPEATABLE READ writes over a newer version", OneOrder),
    bug("the ledger names no range", NothingSilent),
    bug("an error that tells of rows does not wait", Visible),
    bug("what is confirmed never moves on", Liveness),
    bug("what peers tell of their branch is not heeded", OneWriter),
    bug("no deadlock is found", Liveness),
    bug("who waits for an answer hears of no other primary", Liveness),
    bug("a failed sync of the log passes for a good one", Acknowledged),
    bug("a role is taken without the end of the log", Acknowledged),
    bug("a role is offered at a position before the shutdown checkpoint", OneWriter),
    bug("a handover does not end sessions that write", Liveness),
    bug("the marker of a handover is not synced", OneWriter),
    bug("who has handed its role over starts as the primary that it was", OneWriter),
    bug("a handover that is backed out leaves its marker", Liveness),
    bug("an offer that went out is taken back", OneWriter),
    bug("a rewind copies the first block of a record alone", ByteForByte),
    bug("a rewind does not sync the pages that it copies", Acknowledged),
    bug("the marker of a rewind goes before its last files are there", Acknowledged),
    bug("a rewind stores the source's control file first", Damage),
    bug("a rewind's report leaves out the first commit", NothingSilent),
    bug("a rewind keeps the log behind the fork", ByteForByte),
    bug("members of the roster are not asked", OneWriter),
    bug("only who is at the other end of a stream becomes a member", OneWriter),
    bug("the roster's file is not synced", OneWriter),
    bug("rows of remote_apply are shown once standbys have flushed them", Visible),
    bug("a commit reports no token", Acknowledged),
    bug("a token of before a promotion is refused", OneOrder),
    bug("the end of a fallback is not put into the log", NothingSilent),
    bug("tables are shown before the commit that makes them", Visible),
    bug("a number is told before what reserves it is durable", Acknowledged),
    bug("what was sent is shown as flushed", NothingSilent),
    bug("who is next in line is shown as synchronous", NothingSilent),
    bug("a receiver shows what is written as flushed", NothingSilent),
    bug("a fallback is not counted", NothingSilent),
    bug("a fallback is recorded up to before its commit", NothingSilent),
    bug("a fallback is told to begin where all levels were reached", NothingSilent),
    bug("a lost slot is recorded at the log's end", NothingSilent),
];

/// The bug of this name.
pub fn named(name: &str) -> Option<&'static Bug> {
    ALL.iter().find(|bug| bug.name == name)
}

#[cfg(test)]
mod tests {
    use super::ALL;
    use std::collections::BTreeSet;
    use std::path::Path;

    /// The rooms of product code.
    const CODE: [&str; 11] = [
        "base/host/src",
        "base/protocol/src",
        "wal/src",
        "storage/src",
        "replica/src",
        "basebackup/src",
        "rewind/src",
        "sql",
        "server/src",
        "tools/src",
        "plimsoll/src",
    ];

    /// Adds the names that the sources below a folder ask for.
    fn asked(folder: &Path, names: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                asked(&path, names);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let sites = text.split("planted!(").skip(1);
                let quoted = sites.filter_map(|site| site.trim_start().strip_prefix('"')?.split('"').next());
                names.extend(quoted.filter(|name| *name != "what it does wrong").map(str::to_owned));
            }
        }
    }

    #[test]
    fn the_table_names_the_bugs_that_the_code_has_and_no_others() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut names = BTreeSet::new();
        CODE.iter().for_each(|folder| asked(&root.join(folder), &mut names));
        let listed: BTreeSet<String> = ALL.iter().map(|bug| bug.name.to_owned()).collect();
        assert_eq!(listed.len(), ALL.len(), "each is listed once");
        assert_eq!(names, listed);
        assert!(names.len() >= 32, "{}", names.len());
    }
}
