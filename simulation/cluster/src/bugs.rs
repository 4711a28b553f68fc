//! The bugs that are planted in product code, to know what the checks catch: all of them, with the promise
//! that each breaks.
//!
//! The code that has one asks `host::planted!("...")` with the name that stands here.

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

/// Whether the checks find a bug, as far as 14 to 20 seeds tell at which nothing is wrong without one. What
/// fails at other seeds without any bug (liveness, tokens of another branch) does not count as found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// They do.
    Caught,
    /// They do not, and why.
    Missed(&'static str),
    /// It was not tried yet.
    Untried,
}

/// A planted bug.
#[derive(Clone, Copy, Debug)]
pub struct Bug {
    /// What it does wrong; the same words as in the code that has it.
    pub name: &'static str,
    /// What it breaks.
    pub breaks: Promise,
    /// Whether the checks find it.
    pub expected: Expected,
}

const fn bug(name: &'static str, breaks: Promise, expected: Expected) -> Bug {
    Bug { name, breaks, expected }
}

use Promise::{
    Acknowledged, Bounded, ByteForByte, Damage, Liveness, NothingSilent, OneOrder, OneWriter, Visible,
};

/// Each of them.
pub const ALL: &[Bug] = &[
    bug(
        "positions survive a cut of the log's tail",
        ByteForByte,
        Expected::Missed("a follower's log hardly ever goes past the fork: old primaries are always cloned"),
    ),
    bug(
        "reports are kept over a change of branch",
        Acknowledged,
        Expected::Missed("no check has seen it yet"),
    ),
    bug(
        "confirmations of an old branch are kept",
        Acknowledged,
        Expected::Missed("no check has seen it yet"),
    ),
    bug(
        "a report counts for more than was sent on the branch",
        Acknowledged,
        Expected::Missed("no check has seen it yet"),
    ),
    bug("a slot's restart stays behind a cut", ByteForByte, Expected::Missed("no standby uses a slot")),
    bug(
        "what redo may read survives a cut",
        ByteForByte,
        Expected::Missed("a follower's log hardly ever goes past the fork: old primaries are always cloned"),
    ),
    bug(
        "redo reads on in what was cut",
        ByteForByte,
        Expected::Missed("a follower's log hardly ever goes past the fork: old primaries are always cloned"),
    ),
    bug("what was confirmed behind a cut stays so", Visible, Expected::Missed("no check has seen it yet")),
    bug(
        "a fence is asked by timeline number",
        OneWriter,
        Expected::Missed("fences hardly rise: no node has plimsoll.peers, and an old primary is soon cloned"),
    ),
    bug(
        "branches of one number pass for one branch",
        OneWriter,
        Expected::Missed("twin timelines hardly meet before one of them is cloned anew"),
    ),
    bug(
        "a fence does not survive a restart",
        OneWriter,
        Expected::Missed("no primary is started again once its fence has risen"),
    ),
    bug("the fence's file is not synced", OneWriter, Expected::Caught),
    bug(
        "a primary that hears of a descendant goes on",
        OneWriter,
        Expected::Missed("no node has plimsoll.peers, and no check asks that a fence rises"),
    ),
    bug(
        "a fenced server is promoted",
        OneWriter,
        Expected::Missed("no server is promoted once it was fenced"),
    ),
    bug(
        "the next xid is chosen before the leftovers are known",
        OneOrder,
        Expected::Missed("no check has seen it yet"),
    ),
    bug(
        "no abort is logged for what has no outcome",
        OneOrder,
        Expected::Missed("no large transaction is open when its server goes down"),
    ),
    bug(
        "a standby shows transactions that have no outcome yet",
        OneOrder,
        Expected::Missed("no check has seen it yet"),
    ),
    bug("rows do not wait for what they rest on", Visible, Expected::Missed("no check has seen it yet")),
    bug(
        "COMMIT does not wait for what it rests on",
        Visible,
        Expected::Missed("only by a failure that comes without a bug too"),
    ),
    bug("local does not wait for the flush", Acknowledged, Expected::Caught),
    bug("the log is not synced", Acknowledged, Expected::Caught),
    bug("a standby's log is not synced", Acknowledged, Expected::Caught),
    bug("a standby reports what is written as flushed", Acknowledged, Expected::Caught),
    bug("a history file is not synced", OneWriter, Expected::Caught),
    bug("the control file is not synced", Acknowledged, Expected::Caught),
    bug("a checkpoint does not sync page files", Acknowledged, Expected::Caught),
    bug("a checkpoint does not sync the names of new files", Acknowledged, Expected::Caught),
    bug("a checkpoint leaves out the pages that changed since the last", Acknowledged, Expected::Caught),
    bug("a slot's file is not synced", Bounded, Expected::Missed("a slot's folder seldom meets a power cut")),
    bug("a rename is not followed by its folder's sync", Acknowledged, Expected::Caught),
    bug("a file is renamed before it is synced", Acknowledged, Expected::Caught),
    bug(
        "recovery trusts what a killed server left to the kernel",
        Acknowledged,
        Expected::Missed("no check has seen it yet"),
    ),
    bug("one standby less than asked is enough", Acknowledged, Expected::Caught),
    bug(
        "FIRST counts as ANY",
        Acknowledged,
        Expected::Missed("only by a failure that comes without a bug too"),
    ),
    bug("ANY counts as FIRST", Liveness, Expected::Missed("no check has seen it yet")),
    bug("a standby that is not named counts", Acknowledged, Expected::Caught),
    bug("a standby that catches up counts", Acknowledged, Expected::Missed("no check has seen it yet")),
    bug("a reload leaves the old synchronous names", Acknowledged, Expected::Caught),
    bug("on waits for remote_write only", Acknowledged, Expected::Caught),
    bug("remote_apply waits for on only", Acknowledged, Expected::Caught),
    bug("log is shipped before it is flushed", ByteForByte, Expected::Caught),
    bug(
        "a commit is shown before its level is reached",
        Visible,
        Expected::Missed("only by a failure that comes without a bug too"),
    ),
    bug(
        "commits of before a start are shown before the quorum holds them",
        Visible,
        Expected::Missed("no check has seen it yet"),
    ),
    bug(
        "the word of a clean stop is believed after the next crash",
        Visible,
        Expected::Missed("no check has seen it yet"),
    ),
    bug(
        "a standby shows as confirmed what it has redone",
        Visible,
        Expected::Missed("only by a failure that comes without a bug too"),
    ),
    bug(
        "a confirmed position is taken from the log as it is",
        Visible,
        Expected::Missed("no check has seen it yet"),
    ),
    bug("REPEATABLE READ takes a new snapshot on a standby", OneOrder, Expected::Caught),
    bug("a read does not wait for its token", OneOrder, Expected::Caught),
    bug("a token of a lost commit is served", OneOrder, Expected::Missed("no check has seen it yet")),
    bug("a cancelled wait answers as if the level were reached", Acknowledged, Expected::Caught),
    bug(
        "a commit's wait does not hear its cancel",
        Liveness,
        Expected::Missed("no check asks that a cancelled wait ends"),
    ),
    bug(
        "a promotion takes its parent's next number",
        OneWriter,
        Expected::Missed("no check has seen it yet"),
    ),
    bug(
        "a history names the last record's start as its switch",
        ByteForByte,
        Expected::Missed("only by a failure that comes without a bug too"),
    ),
    bug(
        "the last records are dropped at a switch of timelines",
        ByteForByte,
        Expected::Missed("no check has seen it yet"),
    ),
    bug("the log is not left at a promotion", ByteForByte, Expected::Missed("no check has seen it yet")),
    bug("a standby past the fork follows as it is", ByteForByte, Expected::Caught),
    bug("a receiver that ends does not flush", Acknowledged, Expected::Missed("no check has seen it yet")),
    bug(
        "a standby writes pages ahead of its durable log",
        Acknowledged,
        Expected::Missed("no check has seen it yet"),
    ),
    bug("a page is written ahead of its log", Acknowledged, Expected::Caught),
    bug("a page is written before minRecoveryPoint is raised", OneOrder, Expected::Caught),
    bug("no page image after a checkpoint", Damage, Expected::Missed("no check has seen it yet")),
    bug("of a split only the first page is redone", ByteForByte, Expected::Caught),
    bug("what lies behind the log's end is not wiped", Damage, Expected::Missed("no check has seen it yet")),
    bug(
        "a torn tail is cut where its record begins",
        Damage,
        Expected::Missed("no server starts with the beginning of a record as its log's end"),
    ),
    bug(
        "a cut of the log's tail is not recorded",
        NothingSilent,
        Expected::Missed("no check reads the ledger"),
    ),
    bug(
        "damage below the flush point passes for the log's end",
        Damage,
        Expected::Missed("no disk damages what was durable"),
    ),
    bug("a backup_label is ignored", OneOrder, Expected::Missed("no check has seen it yet")),
    bug(
        "a slot gives up what its standby has only written",
        Bounded,
        Expected::Missed("no standby uses a slot"),
    ),
    bug("a slot's restart is not saved", Bounded, Expected::Missed("no standby uses a slot")),
    bug("the log that a slot needs is removed", Liveness, Expected::Missed("no standby uses a slot")),
    bug(
        "a segment waits for the archive before it is whole",
        ByteForByte,
        Expected::Missed("no node archives"),
    ),
    bug(
        "a fallback is not put into the log",
        NothingSilent,
        Expected::Missed("no check reads the record of fallbacks"),
    ),
    bug(
        "a fallback is not put into the ledger",
        NothingSilent,
        Expected::Missed("no check reads the ledger"),
    ),
    bug("pruning does not heed a standby's feedback", Liveness, Expected::Missed("no check has seen it yet")),
    bug("pruning does not heed the oldest snapshot", OneOrder, Expected::Missed("no check has seen it yet")),
    bug(
        "a prune on a standby does not heed its snapshots",
        OneOrder,
        Expected::Missed("no check has seen it yet"),
    ),
    bug(
        "a snapshot whose versions are gone reads on",
        OneOrder,
        Expected::Missed("no check has seen it yet"),
    ),
    bug(
        "a waiter does not look again once it is registered",
        Liveness,
        Expected::Missed("no check has seen it yet"),
    ),
    bug("of several waiters one is woken", Liveness, Expected::Caught),
    bug("the flusher misses a lazy flush", Acknowledged, Expected::Missed("no check has seen it yet")),
    bug(
        "who queues while the leader ends is forgotten",
        Liveness,
        Expected::Missed("no check has seen it yet"),
    ),
    bug("a full segment is left without a sync", Acknowledged, Expected::Untried),
    bug("a page that changes while it is written counts as written", Acknowledged, Expected::Untried),
    bug("redo tells its position before it has redone the record", OneOrder, Expected::Untried),
    bug("the next in line is not asked when a synchronous standby leaves", Liveness, Expected::Untried),
    bug("a promotion leaves minRecoveryPoint on the ended timeline", Acknowledged, Expected::Untried),
    bug("log goes up to the checkpoint's record instead of its redo point", Liveness, Expected::Untried),
    bug("a clone is let go before its files are durable", Acknowledged, Expected::Untried),
    bug("a file counts as archived while its command still runs", NothingSilent, Expected::Untried),
    bug("a commit that waits does not hear of the fence", OneWriter, Expected::Untried),
    bug("a wait for a token does not hear that the branch has changed", OneOrder, Expected::Untried),
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
    const CODE: [&str; 10] = [
        "base/host/src",
        "base/protocol/src",
        "wal/src",
        "storage/src",
        "replica/src",
        "basebackup/src",
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
