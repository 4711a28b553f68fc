//! The list of early xids: which are open, which aborted and not yet swept, and where each has versions.
//!
//! The committer keeps it, and a field of the state page holds what it is: count u16, then for each, ascending,
//! xid u64, fate u8 (0 open, 1 aborted), number of relations u8 (255: any) and for each of these database u32, relation u32.

use crate::TreeId;
use smallvec::SmallVec;
use wal::Xid;
use wal::codec::{Fields, PutFields, Short};

/// The field of the state page.
pub(crate) const STATE_EARLY: u16 = 3;
/// xids that the list holds at most before another large transaction may begin. The page has room for more: what a crash
/// leaves is added in any case.
pub(crate) const LIST_MAX: usize = 40;
/// Relations that an entry names; one that has versions in more is looked for everywhere.
const RELATIONS_MAX: usize = 16;
const ANY: u8 = 255;

/// Where an xid has versions besides in relations that its own transaction created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Touched {
    These(SmallVec<[TreeId; 2]>),
    Any,
}

impl Touched {
    /// Adds a relation; false if it was there.
    pub(crate) fn add(&mut self, tree: TreeId) -> bool {
        match self {
            Self::Any => false,
            Self::These(trees) if trees.contains(&tree) => false,
            Self::These(trees) if trees.len() == RELATIONS_MAX => {
                *self = Self::Any;
                true
            }
            Self::These(trees) => {
                trees.push(tree);
                true
            }
        }
    }
    /// Whether versions may be in `tree`.
    pub(crate) fn has(&self, tree: TreeId) -> bool {
        match self {
            Self::Any => true,
            Self::These(trees) => trees.contains(&tree),
        }
    }
    fn is_none(&self) -> bool {
        matches!(self, Self::These(trees) if trees.is_empty())
    }
}

/// One early xid that has not committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) xid: Xid,
    pub(crate) aborted: bool,
    pub(crate) touched: Touched,
}

/// All of them, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct EarlyList(Vec<Entry>);

impl EarlyList {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
    /// The highest xid.
    pub(crate) fn last(&self) -> Option<Xid> {
        self.0.last().map(|entry| entry.xid)
    }
    pub(crate) fn open(&self) -> impl Iterator<Item = Xid> {
        self.0.iter().filter(|entry| !entry.aborted).map(|entry| entry.xid)
    }
    pub(crate) fn aborted(&self) -> impl Iterator<Item = &Entry> {
        self.0.iter().filter(|entry| entry.aborted)
    }
    pub(crate) fn get_mut(&mut self, xid: Xid) -> Option<&mut Entry> {
        self.0.iter_mut().find(|entry| entry.xid == xid)
    }
    pub(crate) fn insert(&mut self, entry: Entry) {
        let at = self.0.partition_point(|known| known.xid < entry.xid);
        self.0.insert(at, entry);
    }
    pub(crate) fn remove(&mut self, xids: &[Xid]) {
        self.0.retain(|entry| !xids.contains(&entry.xid));
    }
    /// Notes an abort, of an xid that may be new to the list. One without versions that outlive it leaves at once; false then.
    pub(crate) fn abort(&mut self, xid: Xid) -> bool {
        match self.get_mut(xid) {
            Some(entry) if entry.touched.is_none() => {
                self.remove(&[xid]);
                false
            }
            Some(entry) => {
                entry.aborted = true;
                true
            }
            None => {
                self.insert(Entry { xid, aborted: true, touched: Touched::Any });
                true
            }
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(2 + 18 * self.0.len());
        out.put_u16(u16::try_from(self.0.len()).unwrap_or(u16::MAX));
        for entry in self.0.iter().take(usize::from(u16::MAX)) {
            out.put_u64(entry.xid.get());
            out.put_u8(u8::from(entry.aborted));
            match &entry.touched {
                Touched::Any => out.put_u8(ANY),
                Touched::These(trees) => {
                    out.put_u8(trees.len() as u8);
                    for tree in trees {
                        out.put_u32(tree.database);
                        out.put_u32(tree.relation);
                    }
                }
            }
        }
        out
    }

    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Short> {
        let mut fields = Fields::new(bytes);
        let mut list = Self::default();
        for _ in 0..fields.u16()? {
            let xid = Xid::new(fields.u64()?);
            let (aborted, count) = (fields.u8()? != 0, fields.u8()?);
            let touched = if count == ANY {
                Touched::Any
            } else {
                let mut trees = SmallVec::new();
                for _ in 0..count {
                    trees.push(TreeId::new(fields.u32()?, fields.u32()?));
                }
                Touched::These(trees)
            };
            list.insert(Entry { xid, aborted, touched });
        }
        Ok(list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(number: u32) -> TreeId {
        TreeId::new(5, number)
    }

    fn entry(xid: u64, trees: &[u32]) -> Entry {
        let trees = trees.iter().map(|number| tree(*number)).collect();
        Entry { xid: Xid::new(xid), aborted: false, touched: Touched::These(trees) }
    }

    #[test]
    fn the_state_page_keeps_fates_and_relations() {
        let mut list = EarlyList::default();
        list.insert(entry(12, &[3, 4]));
        list.insert(entry(7, &[]));
        list.insert(entry(9, &[5]));
        list.abort(Xid::new(9));
        list.abort(Xid::new(30));
        let bytes = list.encode();
        assert_eq!(EarlyList::parse(&bytes).unwrap(), list);
        assert_eq!(list.open().map(Xid::get).collect::<Vec<_>>(), [7, 12]);
        assert_eq!(list.aborted().map(|entry| entry.xid.get()).collect::<Vec<_>>(), [9, 30]);
        for len in 0..bytes.len() {
            assert!(EarlyList::parse(&bytes[..len]).is_err(), "{len} bytes pass for a list");
        }
    }

    #[test]
    fn an_abort_that_leaves_nothing_behind_leaves_the_list_at_once() {
        let mut list = EarlyList::default();
        list.insert(entry(7, &[]));
        assert!(!list.abort(Xid::new(7)));
        assert_eq!(list.len(), 0);
    }

    #[test]
    fn a_full_list_fits_the_state_page() {
        let mut list = EarlyList::default();
        for xid in 0..LIST_MAX as u64 + 8 {
            let mut one = entry(xid, &[]);
            for number in 0..RELATIONS_MAX as u32 {
                assert!(one.touched.add(tree(number)));
                assert!(!one.touched.add(tree(number)));
            }
            list.insert(one);
        }
        assert!(list.encode().len() + 1200 < crate::state::STATE_BYTES_MAX);
        assert!(list.0[0].touched.add(tree(99)));
        assert!(list.0[0].touched == Touched::Any && list.0[0].touched.has(tree(1234)));
    }
}
