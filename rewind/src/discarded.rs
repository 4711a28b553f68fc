//! The commits that a rewind takes back: what the target's log has behind the fork, change by change.
//!
//! The log is read twice: for the names, the catalogue's trees are redone up to the fork and up to the end;
//! then all that is wanted, and each commit is given when its record comes. Of a transaction that is
//! open at the fork all changes count, those of before it too: its commit goes. What began before the redo
//! point has changes that are not read: it is told as partial. Aborted transactions change nothing.

use crate::error::RewindError;
use crate::past::{Applied, Past, TreeRows, Version};
use crate::target::{Divergence, Target};
use host::Timestamp;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use storage::page::leaf;
use storage::page::{FIRST, Page};
use storage::records::{Insert, full_xid, info};
use wal::codec::Fields;
use wal::xact::{XactEnd, XactRecord};
use wal::{Lsn, Record, RelFile, Rmgr, Xid};

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
    /// Its changes, in order of the first one to each row.
    pub changes: Vec<Change>,
    /// It began before the log that is read: some changes may be missing.
    pub is_partial: bool,
    /// Relation files that it dropped.
    pub dropped: Vec<RelFile>,
}

/// Transactions on their way through the log.
#[derive(Default)]
struct Open {
    changes: HashMap<Xid, Vec<Change>>,
    /// Those that came to nothing.
    aborted: BTreeSet<Xid>,
    next: Xid,
}

impl Open {
    fn note_xid(&mut self, xid: Xid) {
        if self.next <= xid {
            self.next = xid.next();
        }
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
        let (base, fork) = (divergence.base.contents, divergence.fork.at);
        let (mut past, mut open) =
            (Past::new(self, divergence), Open { next: base.next_xid, ..Open::default() });
        let mut reader = self.reader(divergence.changed_from);
        let mut leaves_out = host::planted!("a rewind's report leaves out the first commit");
        self.each_record(&mut reader, |record| {
            if record.rmgr() == Rmgr::XACT {
                let Some((end, commits)) = outcome(record) else { return Ok(()) };
                let xid = end.xid(record, open.next);
                let xids: Vec<Xid> = end.parts(open.next).into_iter().chain([xid]).collect();
                open.note_xid(xid);
                let lists: Vec<_> = xids.iter().filter_map(|xid| open.changes.remove(xid)).collect();
                if !commits {
                    open.aborted.extend(xids);
                    return Ok(());
                }
                if record.end() <= fork || std::mem::take(&mut leaves_out) {
                    return Ok(());
                }
                let is_partial = xids.iter().any(|xid| *xid < base.next_xid);
                let changes = folded(lists.into_iter().flatten());
                let XactEnd { time, dropped, .. } = end;
                return each(DiscardedCommit { xid, time, end: record.end(), changes, is_partial, dropped });
            }
            let xid = full_xid(record, open.next);
            let stands = past.redo(record, xid, wants)?;
            if record.rmgr() == Rmgr::ENGINE {
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
        let fork = divergence.fork.at;
        let (mut past, mut next) = (Past::new(self, divergence), divergence.base.contents.next_xid);
        if divergence.overwritten.is_some() {
            let mut reader = self.reader(divergence.changed_from);
            self.each_record(&mut reader, |record| past.note_images(record, &wants))?;
        }
        let (mut before, mut open) = (None, BTreeSet::new());
        let mut reader = self.reader(divergence.changed_from);
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

/// What a transaction's last record says, and whether it took effect.
fn outcome(record: &Record) -> Option<(XactEnd, bool)> {
    match XactRecord::parse(record) {
        Ok(XactRecord::Commit(end)) => Some((end, true)),
        Ok(XactRecord::Abort(end)) => Some((end, false)),
        _ => None,
    }
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
        let change = match (&brought.key, &page) {
            (Some(key), Some(page)) => match place_of(page, key, xid, brought.cid) {
                Some(at) => {
                    let new = past.version(block.rel, page.item(at))?;
                    let old = match older(page, key, at, xid, &open.aborted) {
                        Some(at) => past.version(block.rel, page.item(at))?,
                        None => Version::None,
                    };
                    Change { rel: block.rel, key: brought.key, old, new }
                }
                None => Change { rel: block.rel, key: brought.key, old: Version::Unknown, new: brought.new },
            },
            _ => Change { rel: block.rel, key: brought.key, old: Version::Unknown, new: brought.new },
        };
        open.changes.entry(xid).or_default().push(change);
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

/// Where it has the version that was there before this transaction.
fn older(page: &Page, key: &[u8], at: usize, xid: Xid, aborted: &BTreeSet<Xid>) -> Option<usize> {
    (at + 1..page.item_count()).take_while(|at| page.key(*at) == key).find(|at| {
        let head = leaf::item_head(page.item(*at));
        head.flags & leaf::CHAIN != 0 || head.xid != xid && !aborted.contains(&head.xid)
    })
}

/// One change a row: what was there before the first, and what the last left.
fn folded(changes: impl Iterator<Item = Change>) -> Vec<Change> {
    let mut places: BTreeMap<(RelFile, Vec<u8>), usize> = BTreeMap::new();
    let mut folded: Vec<Change> = Vec::new();
    for change in changes {
        let Some(key) = &change.key else {
            folded.push(change);
            continue;
        };
        match places.get(&(change.rel, key.clone())).and_then(|at| folded.get_mut(*at)) {
            Some(first) => first.new = change.new,
            None => {
                places.insert((change.rel, key.clone()), folded.len());
                folded.push(change);
            }
        }
    }
    // What it made and took back itself was never there.
    folded.retain(|change| !(change.old == Version::None && change.new == Version::None));
    folded
}
