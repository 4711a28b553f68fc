//! The list of early xids: which are open, which aborted and not yet swept, and where they have versions.
//!
//! Those of one transaction make one entry, however many savepoints it had: what RELEASE merges is one entry
//! already, and ROLLBACK TO takes xids out of it. The committer keeps the list, and a field of the state page
//! holds what it is:
//!
//! ```text
//! count u16, then for each entry
//!   fate u8 (0 open, 1 aborted)
//!   number of relations u8 (255: any), and for each of these database u32, relation u32
//!   count u16, the first xid u64, and for each of the others, ascending, by how much it is above the one
//!   before, 7 bits a byte, the lowest first
//! ```
//!
//! The page has room for some thousand xids. When it is full, entries of aborted transactions become one, and
//! relations are not named.

use crate::TreeId;
use crate::changes::records::info;
use crate::changes::state_page::{STATE_BYTES_MAX, STATE_EARLY};
use crate::pages::page::Page;
use smallvec::SmallVec;
use wal::codec::{Fields, PutFields, Short};
use wal::{Record, Rmgr, Xid};

/// How many transactions may be early at once.
pub(crate) const PLACES: u32 = 16;
/// So many aborted xids are swept before another early one is given out.
pub(crate) const ABORTED_MAX: usize = 40;
/// Bytes of the state page that other fields may take.
const OTHER_FIELDS_BYTES: usize = 1200;
/// Bytes that the list may take.
const BYTES_MAX: usize = STATE_BYTES_MAX - OTHER_FIELDS_BYTES;
/// An xid of a savepoint must leave room for the first one of each transaction that has a place, and for what
/// a crash leaves.
const BYTES_KEPT: usize = (PLACES as usize + 2) * 24;
/// More xids than this no transaction ever has in the list: each takes a byte at least.
pub(crate) const PARTS_MAX: usize = BYTES_MAX - BYTES_KEPT;
/// Relations that an entry names; versions of one with more are looked for everywhere.
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

/// Early xids that have not committed: all of an open transaction, or aborted ones with versions in the same
/// relations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Ascending.
    pub(crate) xids: Vec<Xid>,
    pub(crate) aborted: bool,
    pub(crate) touched: Touched,
}

impl Entry {
    fn has(&self, xid: Xid) -> bool {
        self.xids.binary_search(&xid).is_ok()
    }
    fn add(&mut self, xid: Xid) {
        if let Err(at) = self.xids.binary_search(&xid) {
            self.xids.insert(at, xid);
        }
    }
}

/// All of them, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct EarlyList(Vec<Entry>);

impl EarlyList {
    /// The highest xid.
    pub(crate) fn last(&self) -> Option<Xid> {
        self.0.iter().filter_map(|entry| entry.xids.last().copied()).max()
    }
    pub(crate) fn open(&self) -> impl Iterator<Item = Xid> {
        self.0.iter().filter(|entry| !entry.aborted).flat_map(|entry| entry.xids.iter().copied())
    }
    pub(crate) fn aborted(&self) -> impl Iterator<Item = &Entry> {
        self.0.iter().filter(|entry| entry.aborted)
    }
    pub(crate) fn aborted_xids(&self) -> impl Iterator<Item = Xid> {
        self.aborted().flat_map(|entry| entry.xids.iter().copied())
    }
    /// Adds an open xid: of the transaction that has `first`, or of a new one. False if there is no room.
    pub(crate) fn open_one(&mut self, xid: Xid, first: Option<Xid>, touched: Touched) -> bool {
        let before = self.clone();
        let known = first.and_then(|first| self.0.iter_mut().find(|entry| entry.has(first)));
        let limit = if known.is_some() { BYTES_MAX - BYTES_KEPT } else { BYTES_MAX };
        match known {
            Some(entry) => {
                entry.add(xid);
                match touched {
                    Touched::Any => entry.touched = Touched::Any,
                    Touched::These(trees) => trees.into_iter().for_each(|tree| {
                        entry.touched.add(tree);
                    }),
                }
            }
            None => self.0.push(Entry { xids: vec![xid], aborted: false, touched }),
        }
        self.squeeze(limit);
        let has_room = self.size_bytes() <= limit;
        if !has_room {
            *self = before;
        }
        has_room
    }
    /// Notes a relation where the transaction that has `xid` has versions; false if that was known.
    pub(crate) fn touch(&mut self, xid: Xid, tree: TreeId) -> bool {
        let entry = self.0.iter_mut().find(|entry| entry.has(xid));
        let added = entry.is_some_and(|entry| entry.touched.add(tree));
        self.squeeze(BYTES_MAX);
        added
    }
    pub(crate) fn remove(&mut self, xids: &[Xid]) {
        let gone: std::collections::BTreeSet<Xid> = xids.iter().copied().collect();
        for entry in &mut self.0 {
            entry.xids.retain(|xid| !gone.contains(xid));
        }
        self.0.retain(|entry| !entry.xids.is_empty());
    }
    /// Notes the abort of xids of one transaction, or of one that may be new to the list. Those without
    /// versions that outlive them leave at once; false then.
    pub(crate) fn abort(&mut self, xids: &[Xid]) -> bool {
        let known = xids.first().and_then(|first| self.0.iter().find(|entry| entry.has(*first)));
        let touched = known.map_or(Touched::Any, |entry| entry.touched.clone());
        self.remove(xids);
        if touched.is_none() {
            return false;
        }
        self.add_aborted(xids, touched);
        self.squeeze(BYTES_MAX);
        true
    }

    fn add_aborted(&mut self, xids: &[Xid], touched: Touched) {
        let same = |entry: &&mut Entry| entry.aborted && entry.touched == touched;
        match self.0.iter_mut().find(same) {
            Some(entry) => xids.iter().for_each(|xid| entry.add(*xid)),
            None => {
                let mut xids = xids.to_vec();
                xids.sort_unstable();
                self.0.push(Entry { xids, aborted: true, touched });
            }
        }
    }

    /// Says less about relations where the list would take more bytes than this.
    fn squeeze(&mut self, limit: usize) {
        if self.size_bytes() <= limit {
            return;
        }
        let aborted: Vec<Xid> = self.aborted_xids().collect();
        self.0.retain(|entry| !entry.aborted);
        if !aborted.is_empty() {
            self.add_aborted(&aborted, Touched::Any);
        }
        for at in 0..self.0.len() {
            if self.size_bytes() <= limit {
                return;
            }
            if let Some(entry) = self.0.get_mut(at) {
                entry.touched = Touched::Any;
            }
        }
    }

    fn size_bytes(&self) -> usize {
        let size = |entry: &Entry| {
            let trees = match &entry.touched {
                Touched::Any => 0,
                Touched::These(trees) => trees.len(),
            };
            let steps = entry.xids.windows(2).map(|pair| step_bytes(pair[1].get() - pair[0].get()));
            12 + 8 * trees + steps.sum::<usize>()
        };
        2 + self.0.iter().map(size).sum::<usize>()
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.size_bytes());
        out.put_u16(u16::try_from(self.0.len()).unwrap_or(u16::MAX));
        for entry in self.0.iter().take(usize::from(u16::MAX)) {
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
            out.put_u16(u16::try_from(entry.xids.len()).unwrap_or(u16::MAX));
            out.put_u64(entry.xids.first().map_or(0, |xid| xid.get()));
            for pair in entry.xids.windows(2) {
                put_step(pair[1].get() - pair[0].get(), &mut out);
            }
        }
        out
    }

    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Short> {
        let mut fields = Fields::new(bytes);
        let mut list = Self::default();
        for _ in 0..fields.u16()? {
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
            let (count, mut xid) = (fields.u16()?, fields.u64()?);
            let mut xids = vec![Xid::new(xid)];
            for _ in 1..count {
                xid = xid.saturating_add(step(&mut fields)?);
                xids.push(Xid::new(xid));
            }
            list.0.push(Entry { xids, aborted, touched });
        }
        Ok(list)
    }
}

/// The xids of the list, for who reads a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EarlyXids {
    /// Without an outcome.
    pub open: Vec<Xid>,
    /// Those that came to nothing and have versions in pages.
    pub aborted: Vec<Xid>,
}

impl EarlyXids {
    /// As a record puts them on the state page; None if it is another record.
    pub fn of_record(record: &Record) -> Option<Self> {
        let is_state = record.rmgr() == Rmgr::ENGINE && record.rmgr_info() == info::STATE;
        is_state.then(|| Self::of_field(record.main_data())).flatten()
    }

    /// As the state page has them; None if it never had any.
    pub fn of_page(page: &Page) -> Option<Self> {
        page.items().find_map(Self::of_field)
    }

    fn of_field(field: &[u8]) -> Option<Self> {
        let list = EarlyList::parse(field.strip_prefix(&STATE_EARLY.to_le_bytes())?).ok()?;
        Some(Self { open: list.open().collect(), aborted: list.aborted_xids().collect() })
    }
}

fn step_bytes(step: u64) -> usize {
    (u64::BITS - step.leading_zeros()).div_ceil(7).max(1) as usize
}

fn put_step(mut step: u64, out: &mut Vec<u8>) {
    while step >= 0x80 {
        out.put_u8(step as u8 | 0x80);
        step >>= 7;
    }
    out.put_u8(step as u8);
}

fn step(fields: &mut Fields<'_>) -> Result<u64, Short> {
    let (mut step, mut shift) = (0, 0);
    loop {
        let byte = fields.u8()?;
        step |= u64::from(byte & 0x7F).checked_shl(shift).unwrap_or(0);
        if byte & 0x80 == 0 {
            return Ok(step);
        }
        shift += 7;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(number: u32) -> TreeId {
        TreeId::new(5, number)
    }

    fn these(trees: &[u32]) -> Touched {
        Touched::These(trees.iter().map(|number| tree(*number)).collect())
    }

    fn open(list: &mut EarlyList, xid: u64, first: Option<u64>, trees: &[u32]) -> bool {
        list.open_one(Xid::new(xid), first.map(Xid::new), these(trees))
    }

    #[test]
    fn the_state_page_keeps_fates_and_relations() {
        let mut list = EarlyList::default();
        assert!(open(&mut list, 7, None, &[]) && open(&mut list, 9, None, &[5]));
        assert!(open(&mut list, 12, Some(7), &[3, 4]) && open(&mut list, 1 << 40, Some(7), &[4]));
        list.abort(&[Xid::new(9)]);
        list.abort(&[Xid::new(30)]);
        let bytes = list.encode();
        assert_eq!(bytes.len(), list.size_bytes());
        assert_eq!(EarlyList::parse(&bytes).unwrap(), list);
        assert_eq!(list.open().map(Xid::get).collect::<Vec<_>>(), [7, 12, 1 << 40]);
        assert_eq!(list.aborted_xids().map(Xid::get).collect::<Vec<_>>(), [9, 30]);
        assert_eq!(list.last(), Some(Xid::new(1 << 40)));
        let told = EarlyXids::of_field(&[&STATE_EARLY.to_le_bytes(), &bytes[..]].concat()).unwrap();
        let (open, aborted) = (list.open().collect::<Vec<_>>(), list.aborted_xids().collect::<Vec<_>>());
        assert_eq!((told.open, told.aborted), (open, aborted));
        assert_eq!(EarlyXids::of_field(&bytes), None, "that is no such field");
        for len in 0..bytes.len() {
            assert!(EarlyList::parse(&bytes[..len]).is_err(), "{len} bytes pass for a list");
        }
    }

    #[test]
    fn an_abort_that_leaves_nothing_behind_leaves_the_list_at_once() {
        let mut list = EarlyList::default();
        open(&mut list, 7, None, &[]);
        assert!(!list.abort(&[Xid::new(7)]));
        assert_eq!(list, EarlyList::default());
    }

    #[test]
    fn a_rollback_to_a_savepoint_takes_its_xids_out_of_their_transaction() {
        let mut list = EarlyList::default();
        open(&mut list, 7, None, &[1]);
        for xid in 8..12 {
            open(&mut list, xid, Some(7), &[1]);
        }
        assert!(list.abort(&[Xid::new(9), Xid::new(11)]));
        assert_eq!(list.open().map(Xid::get).collect::<Vec<_>>(), [7, 8, 10]);
        assert!(list.abort(&[Xid::new(8), Xid::new(7), Xid::new(10)]));
        assert_eq!(list.0.len(), 1, "aborted ones with versions in the same relations are one entry");
        list.remove(&[7, 8, 9, 10, 11].map(Xid::new));
        assert_eq!(list, EarlyList::default());
    }

    #[test]
    fn one_transactions_savepoints_take_no_room_from_the_first_xids_of_others() {
        let mut list = EarlyList::default();
        assert!(open(&mut list, 1000, None, &[1]));
        let taken = (1..).take_while(|number| open(&mut list, 1000 + number * 200, Some(1000), &[2])).count();
        assert!(taken > 2500, "room for {taken} savepoints");
        for number in 0..u64::from(PLACES) {
            assert!(open(&mut list, 10_000_000 + number, None, &[3]), "{number}");
        }
        for number in 0..u64::from(PLACES) {
            for relation in 0..20 {
                list.touch(Xid::new(10_000_000 + number), tree(100 + relation));
            }
            assert!(list.abort(&[Xid::new(10_000_000 + number)]));
        }
        assert!(list.encode().len() <= BYTES_MAX);
        assert_eq!(EarlyList::parse(&list.encode()).unwrap(), list);
        let aborted: Vec<_> = list.aborted().collect();
        assert!(aborted.iter().all(|entry| entry.touched.has(tree(110))));
        assert_eq!(list.aborted_xids().count(), PLACES as usize);
        assert_eq!(list.open().count(), taken + 1);
    }
}
