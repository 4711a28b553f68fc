//! The commits that a rewind takes back: what the target's log has behind the fork, change by change.
//!
//! The log is read twice: for the names, the catalogue's trees are redone up to the fork and up to the end;
//! then all that is wanted, and each commit is given when its record comes. Of a transaction that is
//! open at the fork all changes count, those of before it too: its commit goes. One that began before the
//! redo point is read from its beginning if the log of that is here (`beginning.rs`), else it is told as
//! partial.
//! Aborted transactions change nothing.
//!
//! # What was there before
//!
//! The version below a new one on its page, but not one of the same transaction, nor of an aborted one. One
//! that has no outcome yet is of the same transaction: nobody else gets past it. Of an xid from before the
//! log that is read, that is not known; the commit's record names all of its transaction's. So these versions
//! are noted, down to one that is none of them for sure, and the commit chooses the first of another one.

use crate::beginning::{Beginning, outcome};
use crate::error::RewindError;
use crate::moved::{Moved, Place};
use crate::past::{Applied, Past, TreeRows, Version};
use crate::target::{Divergence, Target};
use host::Timestamp;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use storage::page::leaf;
use storage::page::{FIRST, Page, PageKind};
use storage::records::{Insert, full_xid, info};
use wal::codec::Fields;
use wal::{BlockNumber, Lsn, Record, RelFile, Rmgr, Xid};

/// Versions of one row that are noted at most, and pages of its chain that are read.
const NOTED_MAX: usize = 64;

/// What a transaction did to a row: what was there before it, and what it left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The tree.
    pub rel: RelFile,
    /// The row's key; None if the log only says that it is that of a row on a page which is newer by now.
    pub key: Option<Vec<u8>>,
    /// Before.
    pub old: Version,
    /// After.
    pub new: Version,
}

/// A commit that goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiscardedCommit {
    /// Its xid.
    pub xid: Xid,
    /// When.
    pub time: Timestamp,
    /// The end of its record.
    pub end: Lsn,
    /// Its changes, in order of the first one to each row; none of trees that it dropped itself.
    pub changes: Vec<Change>,
    /// It began before the log that is still here: some changes may be missing.
    pub is_partial: bool,
}

/// A change whose transaction has not ended.
struct Noted {
    /// The end of its record.
    at: Lsn,
    /// The page that the row was on.
    place: Place,
    /// Where nothing older is chosen, its old version is right.
    change: Change,
    /// Versions below it that may be what was there before, with who wrote them, the newest first.
    older: Vec<(Xid, Version)>,
}

/// Transactions on their way through the log.
struct Open {
    changes: HashMap<Xid, Vec<Noted>>,
    /// Those that came to nothing.
    aborted: BTreeSet<Xid>,
    next: Xid,
    beginning: Beginning,
    moved: Moved,
}

impl Open {
    fn note_xid(&mut self, xid: Xid) {
        if self.next <= xid {
            self.next = xid.next();
        }
    }

    /// Whether a version is no old one: of a transaction that came to nothing, or has no outcome.
    fn passes_over(&self, xid: Xid) -> bool {
        self.aborted.contains(&xid) || self.changes.contains_key(&xid)
    }

    /// What the log tells of a version that is in a page at a record.
    fn told(&self, at: Lsn, xid: Xid, version: Version) -> Version {
        let is_in_doubt = at <= self.beginning.doubt_until && xid < self.beginning.next_xid;
        if is_in_doubt { Version::Unknown } else { version }
    }

    /// The changes that a transaction leaves which ends with these xids and drops these trees: what it wrote
    /// there before went with them.
    fn end(&mut self, xids: &[Xid], dropped: &[RelFile]) -> Vec<Change> {
        let lists = xids.iter().filter_map(|xid| self.changes.remove(xid));
        let dropped: BTreeSet<RelFile> = dropped.iter().copied().collect();
        let stays = |noted: &Noted| !dropped.contains(&noted.change.rel);
        let mut noted: Vec<Noted> = lists.flatten().filter(stays).collect();
        // A part may go on after a later one was released into it.
        noted.sort_by_key(|noted| noted.at);
        let own: BTreeSet<Xid> = xids.iter().copied().collect();
        let is_other = |xid: &Xid| !own.contains(xid) && !self.aborted.contains(xid);
        let changes = noted.into_iter().map(|Noted { mut change, older, place, .. }| {
            if let Some((_, version)) = older.into_iter().find(|(xid, _)| is_other(xid)) {
                change.old = version;
            }
            (change, self.moved.group_of(place))
        });
        folded(changes)
    }
}

impl Target {
    /// Gives each commit behind the fork, in their order, with its changes to relations that `wants` takes.
    ///
    /// # Errors
    /// Fails if the log cannot be read, or with what `each` fails with.
    pub fn discarded(
        &self,
        divergence: &Divergence,
        wants: &dyn Fn(RelFile) -> bool,
        each: &mut dyn FnMut(DiscardedCommit) -> Result<(), RewindError>,
    ) -> Result<(), RewindError> {
        let (fork, mut beginning) = (divergence.fork.at, self.beginning(divergence)?);
        let (mut past, mut reader) = (Past::new(self, divergence), self.reader(beginning.at));
        let (aborted, next) = (std::mem::take(&mut beginning.aborted), beginning.next_xid);
        let mut open = Open { changes: HashMap::new(), aborted, next, beginning, moved: Moved::default() };
        let mut leaves_out = host::planted!("a rewind's report leaves out the first commit");
        self.each_record(&mut reader, |record| {
            if record.rmgr() == Rmgr::XACT {
                let Some((end, commits)) = outcome(record) else { return Ok(()) };
                let xid = end.xid(record, open.next);
                let xids: Vec<Xid> = end.parts(open.next).into_iter().chain([xid]).collect();
                open.note_xid(xid);
                if !commits {
                    xids.iter().for_each(|xid| drop(open.changes.remove(xid)));
                    open.aborted.extend(xids);
                    return Ok(());
                }
                let changes = open.end(&xids, &end.dropped);
                if record.end() <= fork || std::mem::take(&mut leaves_out) {
                    return Ok(());
                }
                let is_partial = xids.iter().any(|xid| open.beginning.is_partial(*xid));
                let (time, end) = (end.time, record.end());
                return each(DiscardedCommit { xid, time, end, changes, is_partial });
            }
            let xid = full_xid(record, open.next);
            let stands = past.redo(record, xid, wants)?;
            if record.rmgr() == Rmgr::ENGINE {
                open.moved.note(record, wants);
                collect(record, xid, stands, wants, &mut past, &mut open)?;
            }
            Ok(())
        })?;
        Ok(())
    }

    /// The rows of some trees, the catalogue's say, as they were at the fork, and as they are at the end.
    ///
    /// # Errors
    /// Fails if the log cannot be read.
    pub fn rows_before_and_after(
        &self,
        divergence: &Divergence,
        trees: &[RelFile],
    ) -> Result<[Vec<TreeRows>; 2], RewindError> {
        let wants = |rel| trees.contains(&rel);
        let (fork, beginning) = (divergence.fork.at, self.beginning(divergence)?);
        let (mut past, mut next) = (Past::new(self, divergence), beginning.next_xid);
        if divergence.overwritten.is_some() {
            let mut reader = self.reader(beginning.at);
            self.each_record(&mut reader, |record| past.note_images(record, &wants))?;
        }
        // What came to nothing stays among what is open.
        let (mut before, mut open) = (None, beginning.aborted);
        let mut reader = self.reader(beginning.at);
        self.each_record(&mut reader, |record| {
            if before.is_none() && record.end() > fork {
                // A page out of its file may bear what came later.
                before = Some(past.rows_of(trees, &|xid| xid < next && !open.contains(&xid))?);
            }
            if record.rmgr() == Rmgr::XACT {
                if let Some((end, true)) = outcome(record) {
                    let xid = end.xid(record, next);
                    let done: BTreeSet<Xid> = end.parts(next).into_iter().chain([xid]).collect();
                    open.retain(|xid| !done.contains(xid));
                    next = next.max(xid.next());
                }
                return Ok(());
            }
            let xid = full_xid(record, next);
            if record.rmgr() == Rmgr::ENGINE && is_insert(record) {
                open.insert(xid);
            }
            past.redo(record, xid, &wants).map(|_| ())
        })?;
        let after = past.rows_of(trees, &|xid| !open.contains(&xid))?;
        Ok([before.unwrap_or_else(|| after.clone()), after])
    }
}

fn is_insert(record: &Record) -> bool {
    matches!(record.rmgr_info(), info::INSERT | info::INSERT_MANY)
}

/// Notes the versions that a record brings.
fn collect(
    record: &Record,
    xid: Xid,
    stands: Applied,
    wants: &dyn Fn(RelFile) -> bool,
    past: &mut Past<'_>,
    open: &mut Open,
) -> Result<(), RewindError> {
    let Some(block) = record.block(0).filter(|block| is_insert(record) && wants(block.rel)) else {
        return Ok(());
    };
    let page: Option<Box<Page>> = past.page(block.rel, block.block)?.map(|page| {
        let mut copy = Page::boxed();
        copy.bytes_mut().copy_from_slice(page.bytes());
        copy
    });
    for brought in brought(record, stands, page.as_deref()) {
        let (rel, at) = (block.rel, record.end());
        let place = page.as_ref().zip(brought.key.as_ref());
        let place = place.and_then(|(page, key)| Some((page, key, place_of(page, key, xid, brought.cid)?)));
        let (old, new, older) = match place {
            Some((page, key, place)) => {
                let new = past.version(rel, page.item(place), at)?;
                let (older, rest) = older(past, rel, (page, key, place), xid, at, open)?;
                (rest, new, older)
            }
            None => (Version::Unknown, brought.new, Vec::new()),
        };
        let change = Change { rel, key: brought.key, old, new };
        open.changes.entry(xid).or_default().push(Noted { at, place: (rel, block.block), change, older });
    }
    Ok(())
}

/// A version that a record brings, as the record alone tells it.
struct Brought {
    key: Option<Vec<u8>>,
    cid: u32,
    new: Version,
}

fn brought(record: &Record, stands: Applied, page: Option<&Page>) -> Vec<Brought> {
    let main = record.main_data();
    let value = |flags: u16, value: &[u8]| match flags {
        0 => Version::Row(value.to_vec()),
        leaf::DELETED => Version::None,
        _ => Version::Unknown,
    };
    if record.rmgr_info() == info::INSERT {
        let Ok(insert) = Insert::decode(main) else { return Vec::new() };
        let (key, new) = match (insert.like, page) {
            (None, _) => (Some(insert.key.to_vec()), value(insert.flags, insert.value)),
            (Some(_), Some(page)) if stands == Applied::Exactly && insert.index < page.item_count() => {
                (Some(page.key(insert.index).to_vec()), Version::Unknown)
            }
            (Some(_), _) => (None, Version::Unknown),
        };
        return vec![Brought { key, cid: insert.cid, new }];
    }
    let many = || {
        let mut fields = Fields::new(main);
        let (_epoch, cid, count) = (fields.u32()?, fields.u32()?, fields.u16()?);
        let mut all = Vec::new();
        for _ in 0..count {
            let (_index, flags) = (fields.u16()?, fields.u8()?);
            let (key, len) = (usize::from(fields.u16()?), usize::from(fields.u16()?));
            let key = fields.take(key)?.to_vec();
            let new = value(flags.into(), fields.take(len)?);
            all.push(Brought { key: Some(key), cid, new });
        }
        Ok::<_, wal::codec::Short>(all)
    };
    many().unwrap_or_default()
}

/// Where a page has the version that this command of this transaction wrote.
fn place_of(page: &Page, key: &[u8], xid: Xid, cid: u32) -> Option<usize> {
    if page.level() != 0 {
        return None;
    }
    let run = page.lower_bound(key).max(FIRST)..page.item_count();
    run.take_while(|at| page.key(*at) == key).find(|at| {
        let head = leaf::item_head(page.item(*at));
        head.xid == xid && head.cid == cid && head.flags & leaf::CHAIN == 0
    })
}

/// The versions below one that may be what was there before, the newest first, down to one that is it if no
/// other is; and what was there if it is none of them.
fn older(
    past: &mut Past<'_>,
    rel: RelFile,
    (page, key, place): (&Page, &[u8], usize),
    xid: Xid,
    at: Lsn,
    open: &Open,
) -> Result<(Vec<(Xid, Version)>, Version), RewindError> {
    let mut older = Vec::new();
    let below = (place + 1..page.item_count()).take_while(|at| page.key(*at) == key);
    let mut items: VecDeque<Vec<u8>> = below.map(|at| page.item(at).to_vec()).collect();
    let (mut next, mut pages) = (BlockNumber::INVALID, 0);
    loop {
        let Some(item) = items.pop_front() else {
            if !next.is_valid() {
                return Ok((older, Version::None));
            }
            pages += 1;
            // A page that is newer may be another chain's by now.
            let is_chain = |page: &&Page| page.kind() == Some(PageKind::Overflow) && page.lsn() <= at;
            let Some(chain) = past.page(rel, next)?.filter(|page| is_chain(page) && pages <= NOTED_MAX)
            else {
                return Ok((older, Version::Unknown));
            };
            next = chain.right();
            items.extend(chain.items().map(<[u8]>::to_vec));
            continue;
        };
        let head = leaf::item_head(&item);
        if head.flags & leaf::CHAIN != 0 {
            next = leaf::chain_start(leaf::item_value(&item));
            continue;
        }
        if head.xid == xid || open.passes_over(head.xid) {
            continue;
        }
        if older.len() == NOTED_MAX {
            return Ok((older, Version::Unknown));
        }
        let version = past.version(rel, &item, at)?;
        older.push((head.xid, open.told(at, head.xid, version)));
        if !open.beginning.is_partial(head.xid) {
            return Ok((older, Version::Unknown));
        }
    }
}

/// One change a row: what was there before the first, and what the last left. Each comes with the group of
/// pages that its row has been on.
///
/// One without a key may be of any row of its group that was there before it: what an earlier change of that
/// row left is not known then. It is of no row that was deleted: only a version above another one is logged
/// without its key.
fn folded(changes: impl Iterator<Item = (Change, Place)>) -> Vec<Change> {
    let mut places: BTreeMap<(RelFile, Vec<u8>), usize> = BTreeMap::new();
    // The last change without a key of each group, and the last of each of `folded`, by their number.
    let mut doubts: BTreeMap<Place, usize> = BTreeMap::new();
    let mut last: Vec<(usize, Place)> = Vec::new();
    let mut folded: Vec<Change> = Vec::new();
    for (number, (change, group)) in changes.enumerate() {
        let place = change.key.clone().map(|key| *places.entry((change.rel, key)).or_insert(folded.len()));
        if place.is_none() {
            doubts.insert(group, number);
        }
        match place.and_then(|place| folded.get_mut(place).zip(last.get_mut(place))) {
            Some((first, last)) => (first.new, *last) = (change.new, (number, group)),
            None => {
                folded.push(change);
                last.push((number, group));
            }
        }
    }
    for (change, (number, group)) in folded.iter_mut().zip(last) {
        if change.new != Version::None && doubts.get(&group).is_some_and(|doubt| *doubt > number) {
            change.new = Version::Unknown;
        }
    }
    // What it made and took back itself was never there.
    folded.retain(|change| !(change.old == Version::None && change.new == Version::None));
    folded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_an_unknown_row_puts_in_doubt_what_earlier_ones_of_its_pages_left() {
        let row = |value: &str| Version::Row(value.as_bytes().to_vec());
        let rel = storage::TreeId::new(5, 1).file();
        let change = |key: Option<&str>, old: Version, new: Version| {
            let key = key.map(|key| key.as_bytes().to_vec());
            Change { rel, key, old, new }
        };
        let [here, there] = [1, 2].map(|block| (rel, BlockNumber::new(block)));
        let some = || change(None, Version::Unknown, Version::Unknown);
        let changes = [
            (change(Some("a"), row("a0"), row("a1")), here),
            (change(Some("b"), row("b0"), row("b1")), here),
            (change(Some("c"), Version::None, row("c1")), here),
            (change(Some("c"), row("c1"), Version::None), here),
            (change(Some("d"), row("d0"), Version::None), here),
            (change(Some("e"), row("e0"), row("e1")), there),
            (some(), here),
            (change(Some("b"), row("b1"), row("b2")), here),
        ];
        let expected = [
            change(Some("a"), row("a0"), Version::Unknown),
            change(Some("b"), row("b0"), row("b2")),
            change(Some("d"), row("d0"), Version::None),
            change(Some("e"), row("e0"), row("e1")),
            some(),
        ];
        assert_eq!(folded(changes.into_iter()), expected);
    }
}
