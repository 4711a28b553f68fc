//! What clients did and were told, and what was there in the end.
//!
//! Each transaction has a number of its own. It leaves parts (rows of the table `parts`) and adds one to some
//! registers, which keep the number of the transaction that wrote them last. So a look at the registers names
//! the transactions that it rests on, and what is left in the end names each that is there.

pub mod registers;
pub mod reports;

pub use durability::SyncLevel as Level;

use crate::branch::Token;
use crate::rare::{Counters, Rare};
use registers::{REGISTERS, Values};
use std::collections::{BTreeMap, BTreeSet};
use wal::Lsn;

/// A transaction of rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// Its number.
    pub tx: u64,
    /// How durable it asked to be.
    pub level: Level,
    /// The parts that it leaves.
    pub kept: BTreeSet<u32>,
    /// The registers that it adds one to.
    pub adds: BTreeSet<u8>,
    /// Each register with the value that it left, once it was told of them all.
    pub wrote: Vec<(u8, u32)>,
    /// The transactions of which it was shown rows, each with when.
    pub met: Vec<(u64, u64)>,
    /// At REPEATABLE READ, all registers as its snapshot showed them, if it looked.
    pub snapshot: Option<Values>,
}

impl Write {
    /// A transaction that has not begun.
    pub fn new(tx: u64, level: Level, kept: BTreeSet<u32>, adds: BTreeSet<u8>) -> Self {
        Self { tx, level, kept, adds, wrote: Vec::new(), met: Vec::new(), snapshot: None }
    }
}

/// Tables, indexes and columns that come or go in one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ddl {
    /// How durable it asked to be.
    pub level: Level,
    /// Each object with whether it is there from then on. Only one client changes an object.
    pub changes: Vec<(String, bool)>,
}

/// What a reader is to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// What a primary shows.
    Primary,
    /// What a standby has replayed.
    Replayed,
    /// What a standby knows to be confirmed.
    Confirmed,
}

/// A look at all registers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// What the node was asked for.
    pub view: View,
    /// The token that was asked for.
    pub after: Option<Token>,
    /// What was there; None if the read failed.
    pub seen: Option<Seen>,
}

/// What a snapshot showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The token of the snapshot.
    pub at: Token,
    /// The value of each register.
    pub values: Values,
    /// The transaction that wrote each last; 0 for none.
    pub writers: [u64; REGISTERS],
    /// The parts of some transactions, in the same snapshot.
    pub parts: BTreeMap<u64, BTreeSet<u32>>,
}

/// A look at the tables and indexes that clients made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// What the node was asked for.
    pub view: View,
    /// What was there; None if the look failed.
    pub seen: Option<Listed>,
}

/// The tables and indexes of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The token of the snapshot.
    pub at: Token,
    /// Those that were there.
    pub names: BTreeSet<String>,
    /// Whether these are all of them, and not one that was asked for by its name.
    pub is_all: bool,
}

/// Numbers of the one sequence that all clients share, taken at level on. The token of the outcome lies
/// behind what they rest on, or is the end of the branch that they are of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Numbers {
    /// Those that were told.
    pub values: Vec<i64>,
    /// Where the log had ended before: what the last of them rests on was written since. None if that is not
    /// known, or they may have been reserved before.
    pub behind: Option<Lsn>,
}

/// What a client did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// It wrote rows.
    Write(Write),
    /// It changed tables.
    Ddl(Ddl),
    /// It looked.
    Read(Read),
    /// It looked which tables there are.
    List(Listing),
    /// It took numbers of a sequence.
    Take(Numbers),
}

/// What a client was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Acked {
        /// Where the commit ends, or the snapshot.
        token: Option<Token>,
        /// What was said beside it. A commit with a warning has given up its wait.
        warnings: Vec<String>,
    },
    /// It was certainly not done; with what was said.
    Failed(String),
    /// Nobody knows; with what was said.
    Unknown(String),
}

/// One operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Who did it.
    pub client: u32,
    /// Goes up whenever the client forgets the tokens that it had.
    pub session: u32,
    /// Which node was asked.
    pub node: usize,
    /// The kind of operation, as [`History::kinds`] counts it.
    pub kind: &'static str,
    /// When it began.
    pub invoked_ms: u64,
    /// When it was answered; None if it never was.
    pub returned_ms: Option<u64>,
    /// When its COMMIT was sent alone, and when that one's wait must end, since it is cancelled or its time
    /// is over; None if it was not, or whoever sent it did not wait.
    pub commit_ms: Option<(u64, u64)>,
    /// What it was.
    pub deed: Deed,
    /// What it came to.
    pub outcome: Outcome,
}

impl Entry {
    /// The level that was reached for a commit that was acknowledged: one whose wait was given up is on the
    /// primary's disk alone. None if it was not acknowledged.
    pub fn level_told(&self) -> Option<Level> {
        let Outcome::Acked { warnings, .. } = &self.outcome else { return None };
        let asked = match &self.deed {
            Deed::Write(write) => write.level,
            Deed::Ddl(ddl) => ddl.level,
            Deed::Read(_) | Deed::List(_) | Deed::Take(_) => return None,
        };
        Some(if warnings.is_empty() { asked } else { asked.min(Level::Local) })
    }

    /// The token that it was given.
    pub fn token(&self) -> Option<&Token> {
        match &self.outcome {
            Outcome::Acked { token, .. } => token.as_ref(),
            _ => None,
        }
    }

    /// When it was over; the end of time if it never was.
    pub fn told_ms(&self) -> u64 {
        self.returned_ms.unwrap_or(u64::MAX)
    }
}

/// An operation that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Pending(usize);

/// All that clients did, in the order in which it began.
#[derive(Debug, Clone, Default)]
pub struct History {
    entries: Vec<Entry>,
    /// Rare states that clients saw.
    pub rare: Counters,
}

/// Whoever looks for a commit looks at so many operations.
const LAST_ENTRIES: usize = 50;

/// The kind of a transaction that writes rows before it commits.
pub const LARGE: &str = "large";

impl History {
    /// Notes that a client begins something. Whoever goes away before it ends leaves an outcome that nobody
    /// knows.
    pub fn begin(
        &mut self,
        (client, session): (u32, u32),
        node: usize,
        kind: &'static str,
        now_ms: u64,
        deed: Deed,
    ) -> Pending {
        let outcome = Outcome::Unknown("it was never answered".to_owned());
        self.entries.push(Entry {
            client,
            session,
            node,
            kind,
            invoked_ms: now_ms,
            returned_ms: None,
            commit_ms: None,
            deed,
            outcome,
        });
        Pending(self.entries.len() - 1)
    }

    /// Notes that COMMIT is sent, and when its wait must end.
    pub fn commits(&mut self, pending: Pending, now_ms: u64, due_ms: u64) {
        if let Some(entry) = self.entries.get_mut(pending.0) {
            entry.commit_ms = Some((now_ms, due_ms));
        }
    }

    /// Notes that it was shown what a transaction wrote.
    pub fn meets(&mut self, pending: Pending, tx: u64, now_ms: u64) {
        if let Some(Deed::Write(write)) = self.entries.get_mut(pending.0).map(|entry| &mut entry.deed) {
            write.met.push((tx, now_ms));
        }
    }

    /// Notes what the snapshot of a transaction at REPEATABLE READ has shown.
    pub fn looks(&mut self, pending: Pending, values: Values) {
        if let Some(Deed::Write(write)) = self.entries.get_mut(pending.0).map(|entry| &mut entry.deed) {
            write.snapshot = Some(values);
        }
    }

    /// The newest transaction whose COMMIT a node has not answered; without one, of those that it has.
    pub fn last_commit(&self, node: usize) -> Option<&Write> {
        let recent = self.entries.iter().rev().take(LAST_ENTRIES).filter(|entry| entry.node == node);
        let commits = recent.filter_map(|entry| match (&entry.deed, entry.commit_ms, entry.returned_ms) {
            (Deed::Write(write), Some(_), returned) if !write.kept.is_empty() => Some((returned, write)),
            _ => None,
        });
        let mut commits = commits.peekable();
        let last = commits.peek().copied();
        commits.find(|(returned, _)| returned.is_none()).or(last).map(|(_, write)| write)
    }

    /// The newest large transaction on a node that has not ended.
    pub fn open_large(&self, node: usize) -> Option<&Write> {
        let recent = self.entries.iter().rev().take(LAST_ENTRIES);
        let mut large = recent.filter(|entry| entry.node == node && entry.kind == LARGE);
        large.find_map(|entry| match &entry.deed {
            Deed::Write(write) if entry.returned_ms.is_none() => Some(write),
            _ => None,
        })
    }

    /// The table whose creation a node has not answered, or did last.
    pub fn last_table(&self) -> Option<&str> {
        let recent = self.entries.iter().rev().take(LAST_ENTRIES);
        let mut made = recent.filter_map(|entry| match &entry.deed {
            Deed::Ddl(Ddl { changes, .. }) => match changes.as_slice() {
                [(name, true)] if is_table(name) => Some((entry.returned_ms, name.as_str())),
                _ => None,
            },
            _ => None,
        });
        let last = made.next()?;
        let waits = std::iter::once(last).chain(made).find(|(returned, _)| returned.is_none());
        Some(waits.unwrap_or(last).1)
    }

    /// Notes what it came to. `change` adds to the deed what was learned on the way.
    pub fn end(&mut self, pending: Pending, now_ms: u64, outcome: Outcome, change: impl FnOnce(&mut Deed)) {
        if let Some(entry) = self.entries.get_mut(pending.0) {
            entry.returned_ms = Some(now_ms);
            entry.outcome = outcome;
            change(&mut entry.deed);
        }
    }

    /// Notes a position behind all that an operation was told, if there is one.
    pub fn is_placed(&mut self, pending: Pending, at: Option<Token>) {
        if let (Some(entry), Some(at)) = (self.entries.get_mut(pending.0), at)
            && let Outcome::Acked { token, .. } = &mut entry.outcome
        {
            *token = Some(at);
        }
    }

    /// Counts a rare state.
    pub fn hit(&mut self, rare: Rare) {
        self.rare.hit(rare);
    }

    /// All operations.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// How often each kind of operation began, and how often it was acknowledged.
    pub fn kinds(&self) -> BTreeMap<&'static str, (usize, usize)> {
        let mut kinds = BTreeMap::<_, (usize, usize)>::new();
        for entry in &self.entries {
            let counts = kinds.entry(entry.kind).or_default();
            counts.0 += 1;
            counts.1 += usize::from(matches!(entry.outcome, Outcome::Acked { .. }));
        }
        kinds
    }

    /// All operations as lines, for the trace: two runs of one seed must give the same.
    pub fn to_text(&self) -> String {
        self.entries.iter().map(|entry| format!("{entry:?}\n")).collect()
    }
}

/// Whether the name of what a client made is a table's (`o_3_1`), and not that of an index or a column.
pub fn is_table(object: &str) -> bool {
    object.split('_').count() == 3 && !object.contains('.')
}

/// What a node holds in the end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// The parts of each transaction that has left any.
    pub parts: BTreeMap<u64, BTreeSet<u32>>,
    /// The value of each register.
    pub values: Values,
    /// The transaction that wrote each last; 0 for none.
    pub writers: [u64; REGISTERS],
    /// The tables, indexes and columns that clients made.
    pub objects: BTreeSet<String>,
    /// How many rows each burst has left, by its number, which ends with how many it wrote.
    pub bursts: BTreeMap<u64, u64>,
    /// How often each turn was taken, by its gate and its number.
    pub turns: BTreeMap<(u32, u64), u64>,
}

/// A burst's number is a multiple of this, and how many rows it has; a row's key is that times this, and its
/// place.
pub const BURST_ROWS: u64 = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_ended_is_unknown_and_a_warning_takes_the_level_away() {
        let mut history = History::default();
        let write = |level| {
            let (kept, adds) = (BTreeSet::from([0]), BTreeSet::new());
            Deed::Write(Write::new(1, level, kept, adds))
        };
        let _gone = history.begin((0, 0), 0, "insert", 5, write(Level::On));
        let acked = |warnings| Outcome::Acked { token: None, warnings };
        for (level, warnings) in
            [(Level::On, vec![]), (Level::On, vec!["w".to_owned()]), (Level::Off, vec!["w".to_owned()])]
        {
            let pending = history.begin((0, 0), 0, "insert", 5, write(level));
            history.end(pending, 9, acked(warnings), |_| ());
        }
        let told: Vec<Option<Level>> = history.entries().iter().map(Entry::level_told).collect();
        assert_eq!(told, [None, Some(Level::On), Some(Level::Local), Some(Level::Off)]);
        assert!(matches!(history.entries()[0].outcome, Outcome::Unknown(_)));
        assert_eq!(history.entries()[0].told_ms(), u64::MAX);
        assert_eq!(history.kinds(), BTreeMap::from([("insert", (4, 3))]));
    }

    #[test]
    fn the_table_that_is_being_made_is_found_before_those_that_are_there() {
        let mut history = History::default();
        assert_eq!(history.last_table(), None);
        for (object, is_there, is_over) in [
            ("o_1_1", true, true),
            ("o_1_2", true, false),
            ("o_1_3", true, true),
            ("o_1_3_i4", true, false),
            ("o_1_3.c5", true, false),
            ("o_1_1", false, false),
        ] {
            let changes = vec![(object.to_owned(), is_there)];
            let pending = history.begin((0, 0), 0, "ddl", 5, Deed::Ddl(Ddl { level: Level::On, changes }));
            if is_over {
                history.end(pending, 9, Outcome::Failed(String::new()), |_| ());
            }
        }
        assert_eq!(history.last_table(), Some("o_1_2"));
    }

    #[test]
    fn of_the_commits_of_a_node_the_last_that_waits_is_found_first() {
        let mut history = History::default();
        assert_eq!(history.last_commit(0), None);
        for (tx, node, kept, is_over) in
            [(1, 0, 1, false), (2, 0, 1, true), (3, 0, 0, false), (4, 1, 1, true), (5, 1, 1, true)]
        {
            let write = Write::new(tx, Level::On, (0..kept).collect(), BTreeSet::new());
            let pending = history.begin((0, 0), node, "insert", 5, Deed::Write(write));
            history.commits(pending, 6, 9);
            if is_over {
                history.end(pending, 9, Outcome::Failed(String::new()), |_| ());
            }
        }
        let last = |node| history.last_commit(node).map(|write| write.tx);
        assert_eq!([last(0), last(1), last(2)], [Some(1), Some(5), None]);
    }
}
