//! Locks as others are shown them: pg_locks, pg_blocking_pids(), the detail of a deadlock.

use super::deadlock::Step;
use super::manager::LockManager;
use super::name::LockName;
use super::table::Owner;
use crate::TreeId;
use std::collections::BTreeSet;

/// What a lock is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockTarget {
    /// A row, by its tree and a hash of its key.
    Row(TreeId, u64),
    /// A whole table.
    Table(TreeId),
}

/// One lock that is held or waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockInfo {
    /// The session's number ([`crate::Interrupt::set_session`]); 0 if it has none.
    pub session: i32,
    /// The transaction, by a number that means something only while this process lives.
    pub transaction: u64,
    /// What the lock is on.
    pub target: LockTarget,
    /// The mode, in PostgreSQL's words for locks on tables and tuples.
    pub mode: &'static str,
    /// Held, not waited for.
    pub granted: bool,
}

/// The names of the modes by their bits. Rows have those of PostgreSQL's tuple locks.
const MODE_NAMES: [&str; 14] = [
    "ShareLock",
    "AccessShareLock",
    "RowShareLock",
    "ExclusiveLock",
    "AccessExclusiveLock",
    "AccessExclusiveLock",
    "AccessShareLock",
    "RowShareLock",
    "RowExclusiveLock",
    "ShareUpdateExclusiveLock",
    "ShareLock",
    "ShareRowExclusiveLock",
    "ExclusiveLock",
    "AccessExclusiveLock",
];

fn mode_name(bit: u32) -> &'static str {
    usize::try_from(bit).ok().and_then(|bit| MODE_NAMES.get(bit)).copied().unwrap_or("InvalidLock")
}

fn names_of(bits: u16) -> impl Iterator<Item = &'static str> {
    (0..u16::BITS).filter(move |bit| bits & (1 << bit) != 0).map(mode_name)
}

impl LockManager {
    /// All locks on tables, and those on rows that somebody waits for.
    pub(crate) fn list(&self) -> Vec<LockInfo> {
        let mut all = Vec::new();
        for shard in &self.shards {
            for lock in shard.lock().iter() {
                let target = match &lock.name {
                    LockName::Row(..) if lock.queue.is_empty() => continue,
                    LockName::Transaction(_) | LockName::Place(_) => continue,
                    LockName::Row(tree, _) => LockTarget::Row(*tree, lock.hash),
                    LockName::Table(tree) => LockTarget::Table(*tree),
                };
                let info = |owner: Owner, mode, granted| LockInfo {
                    session: owner.session,
                    transaction: owner.number,
                    target,
                    mode,
                    granted,
                };
                for holder in &lock.holders {
                    all.extend(names_of(holder.bits).map(|mode| info(holder.owner, mode, true)));
                }
                for waiter in &lock.queue {
                    all.extend(names_of(waiter.strength.bit).map(|mode| info(waiter.owner, mode, false)));
                }
            }
        }
        all
    }

    /// The sessions whose locks, or earlier places in the queue, keep this one waiting.
    pub(crate) fn blocking(&self, session: i32) -> Vec<i32> {
        let waits = self.waits();
        let waiting = waits.iter().filter(|(owner, _)| owner.session == session);
        let blockers = waiting.flat_map(|(owner, (hash, name))| self.step(*owner, *hash, name).blockers);
        blockers.map(|blocker| blocker.session).collect::<BTreeSet<i32>>().into_iter().collect()
    }
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.session {
            0 => write!(f, "transaction {}", self.number),
            session => write!(f, "process {session}"),
        }
    }
}

/// A cycle of waits, a line each.
pub(super) fn describe(cycle: &[Step]) -> String {
    let line = |(at, step): (usize, &Step)| {
        let blocker = cycle.get(at + 1).or(cycle.first()).unwrap_or(step).owner;
        let what = match &step.name {
            // As in pg_locks. The key may be what this session is not to see.
            LockName::Row(tree, _) => {
                let TreeId { database, relation } = tree;
                format!("tuple {:016x} of relation {relation} of database {database}", step.hash)
            }
            LockName::Table(tree) => {
                format!("relation {} of database {}", tree.relation, tree.database)
            }
            LockName::Transaction(xid) => format!("transaction {xid}"),
            LockName::Place(_) => "a place for a large transaction".to_owned(),
        };
        let mode = names_of(step.mode).next().unwrap_or("InvalidLock");
        let who = step.owner.to_string();
        let (first, rest) = who.split_at(1);
        format!("{}{rest} waits for {mode} on {what}; blocked by {blocker}.", first.to_ascii_uppercase())
    };
    cycle.iter().enumerate().map(line).collect::<Vec<_>>().join("\n")
}
