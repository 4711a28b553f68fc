//! What a transaction has written and not yet committed: a journal with an index in key order.
//!
//! Each write is a journal entry that knows the entry it replaces, so that a rollback to a savepoint pops
//! entries and puts the index back, and a scan opened by an earlier command finds what the key was then.
//! Entries are counted from the transaction's start, also when a large one has put the first of them into
//! pages and forgotten them here. One that writes a row or two takes no memory of its own.

use super::key_index::KeyIndex;
use crate::{Error, TreeId};
use bytes::Bytes;
use smallvec::SmallVec;
use std::ops::Bound;
use wal::BlockNumber;

/// The number of a statement within its transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CommandId(pub(crate) u32);

/// One write.
#[derive(Debug)]
pub(crate) struct Write {
    pub(crate) tree: TreeId,
    pub(crate) key: Bytes,
    /// None: deleted.
    pub(crate) value: Option<Bytes>,
    pub(crate) command: CommandId,
    /// The leaf where the key was, or would have been, when it was looked up last; a hint.
    pub(crate) near: BlockNumber,
    /// The entry for the same key before this one.
    previous: Option<u32>,
}

/// What bookkeeping costs an entry, counted against the limit.
const ENTRY_BYTES: usize = 160;

#[derive(Debug)]
pub(crate) struct WriteSet {
    journal: SmallVec<[Write; 1]>,
    /// For each tree, in the order of first use, its keys with their latest entry.
    trees: SmallVec<[(TreeId, KeyIndex); 1]>,
    /// Entries before the journal's first.
    forgotten: usize,
    bytes: usize,
    /// From how much on it is to be put into pages.
    full_bytes: usize,
    /// What it may hold until then at most, as whoever runs the server has set it.
    limit_bytes: usize,
}

/// How far over its limit a write set may go between two moments at which it can be emptied.
const OVERDRAFT: usize = 4;

/// Entries for which memory is kept when all are forgotten.
const KEPT_ENTRIES: usize = 8192;

impl WriteSet {
    pub(crate) fn new(limit_bytes: usize) -> Self {
        let (journal, trees) = (SmallVec::new(), SmallVec::new());
        Self { journal, trees, forgotten: 0, bytes: 0, full_bytes: limit_bytes, limit_bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.journal.is_empty()
    }

    /// What it takes, bookkeeping included.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether it is to be put into pages as soon as that can be done.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes >= self.full_bytes
    }

    /// Sets the limit, and from how many bytes below it on it is full.
    pub(crate) fn set_limit(&mut self, limit_bytes: usize, full_bytes: usize) {
        (self.limit_bytes, self.full_bytes) = (limit_bytes, full_bytes.min(limit_bytes));
    }

    /// How many entries it holds.
    pub(crate) fn len(&self) -> usize {
        self.journal.len()
    }

    /// Whether any key of `tree` was written.
    pub(crate) fn touches(&self, tree: TreeId) -> bool {
        self.tree(tree).is_some_and(|index| !index.is_empty())
    }

    /// Adds a write, however long; fails with 54000 and changes nothing where those before are far beyond the
    /// limit already.
    pub(crate) fn push(
        &mut self,
        tree: TreeId,
        key: Bytes,
        value: Option<Bytes>,
        command: CommandId,
    ) -> Result<(), Error> {
        let size = ENTRY_BYTES + key.len() + value.as_ref().map_or(0, Bytes::len);
        let at = match u32::try_from(self.journal.len()) {
            Ok(at) if self.bytes <= self.limit_bytes.saturating_mul(OVERDRAFT) => at,
            _ => return Err(Error::WriteSetFull { limit_bytes: self.limit_bytes }),
        };
        let tree_at = match self.trees.iter().position(|(id, _)| *id == tree) {
            Some(at) => at,
            None => {
                self.trees.push((tree, KeyIndex::default()));
                self.trees.len() - 1
            }
        };
        let previous = self.trees[tree_at].1.put(&self.journal, &key, at);
        self.journal.push(Write { tree, key, value, command, near: BlockNumber::INVALID, previous });
        self.bytes += size;
        Ok(())
    }

    /// Says of the last write where its key is.
    pub(crate) fn note_near(&mut self, leaf: BlockNumber) {
        if let Some(write) = self.journal.last_mut() {
            write.near = leaf;
        }
    }

    fn tree(&self, tree: TreeId) -> Option<&KeyIndex> {
        self.trees.iter().find(|(id, _)| *id == tree).map(|(_, index)| index)
    }

    fn entry(&self, at: u32) -> &Write {
        &self.journal[at as usize]
    }

    /// The latest write of `key`.
    pub(crate) fn newest(&self, tree: TreeId, key: &[u8]) -> Option<&Write> {
        self.tree(tree)?.get(&self.journal, key).map(|at| self.entry(at))
    }

    /// The latest write of `key` by a command before `command`.
    pub(crate) fn before(&self, tree: TreeId, key: &[u8], command: CommandId) -> Option<&Write> {
        self.tree(tree)?.get(&self.journal, key).and_then(|at| self.back_to(at, command))
    }

    fn back_to(&self, at: u32, command: CommandId) -> Option<&Write> {
        let mut write = self.entry(at);
        while write.command >= command {
            write = self.entry(write.previous?);
        }
        Some(write)
    }

    /// The writes of commands before `command` with keys between the bounds, ascending.
    pub(crate) fn range<'a>(
        &'a self,
        tree: TreeId,
        bounds: (Bound<&'a [u8]>, Bound<&'a [u8]>),
        command: CommandId,
    ) -> impl DoubleEndedIterator<Item = &'a Write> {
        let empty = match bounds {
            (Bound::Included(from), Bound::Excluded(to)) => from >= to,
            (Bound::Excluded(from), Bound::Excluded(to) | Bound::Included(to)) => from >= to,
            (Bound::Included(from), Bound::Included(to)) => from > to,
            _ => false,
        };
        let index = if empty { None } else { self.tree(tree) };
        index
            .into_iter()
            .flat_map(move |index| index.range(&self.journal, bounds))
            .filter_map(move |at| self.back_to(at, command))
    }

    /// The last write of each key, in key order within a tree: what commit applies.
    pub(crate) fn last_writes(&self) -> impl Iterator<Item = &Write> {
        self.trees.iter().flat_map(|(_, index)| index.values().map(|at| self.entry(at)))
    }

    /// The number of entries since the transaction's start: a mark for [`WriteSet::rollback_to`].
    pub(crate) fn mark(&self) -> usize {
        self.forgotten + self.journal.len()
    }

    /// All writes that are held: for each tree its keys in order, and for each key its writes, oldest first,
    /// each with its number since the transaction's start. Of those by the same command at the same level the
    /// last one alone.
    pub(crate) fn by_key(&self, mut level: impl FnMut(usize) -> usize) -> Vec<(usize, &Write)> {
        let mut all = Vec::with_capacity(self.journal.len());
        for latest in self.trees.iter().flat_map(|(_, index)| index.values()) {
            let first = all.len();
            let mut at = Some(latest);
            while let Some(index) = at {
                let (number, write) = (self.forgotten + index as usize, self.entry(index));
                let replaced =
                    all.get(first..).and_then(<[_]>::last).is_some_and(|(newer, by): &(usize, &Write)| {
                        by.command == write.command && level(*newer) == level(number)
                    });
                if !replaced {
                    all.push((number, write));
                }
                at = write.previous;
            }
            all[first..].reverse();
        }
        all
    }

    /// The number of the first write of `key` that is held.
    pub(crate) fn oldest(&self, tree: TreeId, key: &[u8]) -> Option<usize> {
        let mut at = self.tree(tree)?.get(&self.journal, key)?;
        while let Some(previous) = self.entry(at).previous {
            at = previous;
        }
        Some(self.forgotten + at as usize)
    }

    /// Forgets all writes because they are in pages now.
    pub(crate) fn forget(&mut self) {
        self.forgotten += self.journal.len();
        // Memory that a large transaction took is given back, but what it needs again at once.
        self.journal.clear();
        if self.journal.capacity() > KEPT_ENTRIES {
            self.journal = SmallVec::with_capacity(KEPT_ENTRIES);
        }
        (self.trees, self.bytes) = (SmallVec::new(), 0);
    }

    /// Forgets every write after `mark`.
    pub(crate) fn rollback_to(&mut self, mark: usize) {
        let mark = mark.saturating_sub(self.forgotten);
        while self.journal.len() > mark {
            let Some(write) = self.journal.last() else { return };
            self.bytes -= ENTRY_BYTES + write.key.len() + write.value.as_ref().map_or(0, Bytes::len);
            if let Some((_, index)) = self.trees.iter_mut().find(|(id, _)| *id == write.tree) {
                match write.previous {
                    Some(previous) => _ = index.put(&self.journal, &write.key, previous),
                    None => index.remove(&self.journal, &write.key),
                }
            }
            self.journal.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: TreeId = TreeId::new(5, 16384);
    const OTHER: TreeId = TreeId::new(5, 16385);

    fn put(set: &mut WriteSet, key: &'static str, value: &'static str, command: u32) {
        set.push(TREE, key.into(), Some(value.into()), CommandId(command)).unwrap();
    }

    fn value(write: Option<&Write>) -> Option<&[u8]> {
        write.and_then(|write| write.value.as_deref())
    }

    #[test]
    fn a_command_does_not_see_its_own_writes_but_later_ones_do() {
        let mut set = WriteSet::new(1 << 20);
        put(&mut set, "a", "1", 1);
        put(&mut set, "a", "2", 2);
        assert_eq!(value(set.before(TREE, b"a", CommandId(1))), None);
        assert_eq!(value(set.before(TREE, b"a", CommandId(2))), Some(&b"1"[..]));
        assert_eq!(value(set.before(TREE, b"a", CommandId(3))), Some(&b"2"[..]));
        assert_eq!(value(set.newest(TREE, b"a")), Some(&b"2"[..]));
        assert!(set.newest(OTHER, b"a").is_none());
    }

    #[test]
    fn rolling_back_restores_each_key_and_the_size() {
        let mut set = WriteSet::new(1 << 20);
        put(&mut set, "a", "1", 1);
        let (mark, bytes) = (set.mark(), set.bytes);
        put(&mut set, "a", "2", 2);
        put(&mut set, "b", "3", 2);
        set.push(TREE, "a".into(), None, CommandId(3)).unwrap();
        set.rollback_to(mark);
        assert_eq!(value(set.newest(TREE, b"a")), Some(&b"1"[..]));
        assert!(set.newest(TREE, b"b").is_none());
        assert_eq!(set.bytes, bytes);
    }

    #[test]
    fn a_range_is_in_key_order_and_stays_inside_its_bounds() {
        let mut set = WriteSet::new(1 << 20);
        for key in ["d", "a", "c", "b"] {
            put(&mut set, key, key, 1);
        }
        let bounds = (Bound::Excluded(&b"a"[..]), Bound::Excluded(&b"d"[..]));
        let keys: Vec<_> = set.range(TREE, bounds, CommandId(2)).map(|write| write.key.clone()).collect();
        assert_eq!(keys, ["b", "c"]);
        let backwards: Vec<_> =
            set.range(TREE, bounds, CommandId(2)).rev().map(|write| write.key.clone()).collect();
        assert_eq!(backwards, ["c", "b"]);
        let nothing = (Bound::Included(&b"d"[..]), Bound::Excluded(&b"a"[..]));
        assert_eq!(set.range(TREE, nothing, CommandId(2)).count(), 0);
    }

    #[test]
    fn far_beyond_the_limit_a_write_is_refused_and_the_set_stays_as_it_was() {
        let mut set = WriteSet::new(400);
        put(&mut set, "a", "1", 1);
        assert!(!set.is_full());
        set.push(TREE, "b".into(), Some(vec![0; 1700].into()), CommandId(1)).unwrap();
        assert!(set.is_full());
        let refused = set.push(TREE, "c".into(), Some("3".into()), CommandId(1));
        assert!(matches!(refused, Err(Error::WriteSetFull { limit_bytes: 400 })));
        assert_eq!(set.last_writes().count(), 2);
        set.forget();
        put(&mut set, "c", "3", 1);
    }

    #[test]
    fn what_is_full_below_its_limit_may_hold_as_much_as_before() {
        let mut set = WriteSet::new(4000);
        set.set_limit(400, 200);
        put(&mut set, "a", "1", 1);
        assert!(!set.is_full());
        put(&mut set, "b", "1", 1);
        assert!(set.is_full());
        set.push(TREE, "c".into(), Some(vec![0; 900].into()), CommandId(1)).unwrap();
        put(&mut set, "d", "1", 1);
        put(&mut set, "e", "1", 1);
        let refused = set.push(TREE, "f".into(), None, CommandId(1));
        assert!(matches!(refused, Err(Error::WriteSetFull { limit_bytes: 400 })), "{refused:?}");
    }

    #[test]
    fn what_goes_into_pages_is_in_key_order_and_keeps_what_other_commands_and_levels_wrote() {
        let mut set = WriteSet::new(1 << 20);
        put(&mut set, "b", "1", 1);
        put(&mut set, "a", "2", 1);
        put(&mut set, "b", "3", 1);
        put(&mut set, "b", "4", 2);
        put(&mut set, "b", "5", 2);
        let level = |number| usize::from(number >= 4);
        let found: Vec<_> =
            set.by_key(level).iter().map(|(number, write)| (*number, write.key.clone())).collect();
        assert_eq!(found, [(1, "a".into()), (2, "b".into()), (3, "b".into()), (4, "b".into())]);
        assert_eq!(set.oldest(TREE, b"b"), Some(0));
    }

    #[test]
    fn few_keys_and_many_are_kept_alike_through_writes_and_rollbacks() {
        let mut rng = fastrand::Rng::with_seed(0x6b65_7973);
        for keys in [1, 3, 16, 17, 60] {
            let (mut set, mut list) = (WriteSet::new(1 << 20), Vec::<(u8, u32)>::new());
            for step in 0..300 {
                if rng.u8(..8) == 0 {
                    list.truncate(rng.usize(..=list.len()));
                    set.rollback_to(list.len());
                } else {
                    let key = rng.u8(..keys);
                    set.push(TREE, Bytes::copy_from_slice(&[key]), None, CommandId(step)).unwrap();
                    list.push((key, step));
                }
                for key in 0..keys {
                    let of_key = || list.iter().filter(|(written, _)| *written == key);
                    let newest = set.newest(TREE, &[key]).map(|write| write.command.0);
                    assert_eq!(newest, of_key().next_back().map(|(_, step)| *step), "{keys} keys, {step}");
                    let oldest = list.iter().position(|(written, _)| *written == key);
                    assert_eq!(set.oldest(TREE, &[key]), oldest, "{keys} keys, {step}");
                }
                let mut wanted: Vec<u8> = list.iter().map(|(key, _)| *key).collect();
                wanted.sort_unstable();
                wanted.dedup();
                let last: Vec<u8> = set.last_writes().map(|write| write.key[0]).collect();
                assert_eq!(last, wanted, "{keys} keys, {step}");
                let (from, to) = (rng.u8(..keys), rng.u8(..=keys));
                let (low, high) = ([from], [to]);
                let bounds = (Bound::Excluded(&low[..]), Bound::Included(&high[..]));
                wanted.retain(|key| *key > from && *key <= to);
                let found: Vec<u8> =
                    set.range(TREE, bounds, CommandId(step + 1)).map(|write| write.key[0]).collect();
                assert_eq!(found, wanted, "{keys} keys, {step}, above {from} up to {to}");
            }
        }
    }

    #[test]
    fn marks_hold_although_the_first_writes_are_forgotten() {
        let mut set = WriteSet::new(1 << 20);
        put(&mut set, "a", "1", 1);
        let early = set.mark();
        put(&mut set, "b", "2", 1);
        set.forget();
        put(&mut set, "c", "3", 2);
        let late = set.mark();
        put(&mut set, "d", "4", 2);
        set.rollback_to(late);
        assert_eq!((set.len(), set.mark()), (1, 3));
        set.rollback_to(early);
        assert_eq!((set.len(), set.mark()), (0, 2));
    }
}
