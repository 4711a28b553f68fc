//! A sweep over a tree, leaf by leaf: dead versions go for good, empty leaves leave the tree, sparse ones
//! become fewer, and the file's free end is cut off.
//!
//! ```text
//! survey      under the leaf's read latch: is anything to be done here? What large values would go?
//!             Which chains are there?
//! sweep_chain a chain of a key's older versions, some pages at a time ([`super::chain`])
//! find_large  without any latch: the pages of those values (reads from disk)
//! sweep_leaf  under the write lock: one leaf's dead versions, their chains' pages, the leaf itself
//!             if it is empty, or sparse beside others
//! lost        pages that nothing leads to become free ([`super::lost`])
//! move_end    under the write lock, a page at a time: pages at the file's end move to free ones before it,
//!             if there are many
//! cut_end     under the write lock: the free pages at the end
//! ```

use super::Tree;
use super::chain::{LargeHead, large_head};
use super::insert::Leaf;
use super::lost::Search;
use super::prune::{Known, settled_in};
use super::repack::is_sparse;
use crate::Error;
use crate::changes::records::{MAP_ID, info};
use crate::changes::store::{Fault, Store};
use crate::changes::writer::{Target, Writer, check_changeable};
use crate::pages::free_map;
use crate::pages::page::leaf::{self, CHAIN, DELETED};
use crate::pages::page::{FIRST, Page, PageKind};
use crate::pages::pool::Ring;
use smallvec::SmallVec;
use std::any::Any;
use wal::smgr::{SmgrRecord, TRUNCATE_MAIN};
use wal::{BlockNumber, Xid};

/// Versions of large values that are looked up for one leaf at most.
const LARGE_MAX: usize = 512;
/// A file is cut if so many pages go, or this share of it; as in PostgreSQL, so that a busy file's end is
/// left alone.
const CUT_MIN_PAGES: u32 = 1000;
const CUT_MIN_SHARE: u32 = 16;
/// Pages move away from a file's end if this share of the file is free: so what moves is less than what has
/// become free since the last time.
const MOVE_MIN_SHARE: u32 = 8;

/// Pages of large values that are looked up for one leaf at most, those of one value apart.
const KNOWN_PAGES_MAX: usize = 1 << 18;

/// What one leaf holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Survey {
    /// Keys whose newest version is a row.
    live: u64,
    /// Versions in the leaf besides those.
    dead: u64,
    /// There are versions that can go now, or the leaf is empty or sparse.
    has_work: bool,
    /// Versions of aborted transactions in the leaf.
    aborted: u64,
    /// The next leaf's low bound; None at the end of the tree.
    next: Option<Vec<u8>>,
    /// Large values of versions that may go.
    large: Vec<LargeHead>,
    /// Keys that have a chain.
    chains: Vec<Vec<u8>>,
}

/// The database whose tree is swept.
pub trait Owner {
    /// Every snapshot, here and on standbys, sees all xids below this one.
    fn horizon(&self) -> Xid;
    /// The same, and it stays there for all who ask until the guard goes.
    fn hold_horizon(&self) -> (Xid, Box<dyn Any>);
    /// Fails once nothing may be written any more. Asked under the write lock.
    ///
    /// # Errors
    /// Fails once nothing may be written any more.
    fn check_open(&self) -> Result<(), Error> {
        Ok(())
    }
}

/// A horizon that moves only between two sweeps: for tests and tools.
impl<F: Fn() -> Xid> Owner for F {
    fn horizon(&self) -> Xid {
        self()
    }
    fn hold_horizon(&self) -> (Xid, Box<dyn Any>) {
        (self(), Box::new(()))
    }
}

/// What a sweep removes besides what is dead for all.
#[derive(Clone, Debug, Default)]
pub(super) struct SweepOrder {
    /// Transactions that came to nothing, rising: their versions go.
    pub(super) aborted: Vec<Xid>,
    pub(super) known: Known,
}

/// A sweep on its way through a tree.
pub(super) struct Pass<'s> {
    pub(super) owner: &'s dyn Owner,
    pub(super) order: SweepOrder,
    pub(super) report: SweepReport,
    pub(super) ring: Option<&'s Ring>,
    pub(super) lost: Search,
    pace: &'s mut dyn Pace,
    store: Store,
    /// Pages read and changes made when it rested last.
    at_rest: (u64, u64),
}

impl Pass<'_> {
    /// Takes the write lock for one piece of work.
    pub(super) fn write<T>(
        &self,
        tree: &Tree,
        mut work: impl FnMut(&mut Writer<'_>) -> Result<T, Fault>,
    ) -> Result<T, Error> {
        tree.store.run_blocking(|| {
            let mut writer = tree.store.writer();
            self.owner.check_open()?;
            writer.set_horizon(self.owner.horizon());
            work(&mut writer)
        })
    }

    /// A piece of work is done: rests as the pace says. [`Error::Cancelled`] if that says stop.
    pub(super) fn rest(&mut self) -> Result<(), Error> {
        let SweepReport { removed, freed, moved, .. } = self.report;
        let now = (self.store.counters().reads, removed + freed + moved);
        let (reads, changes) = std::mem::replace(&mut self.at_rest, now);
        let goes_on = self.pace.after_piece(changes != now.1, now.0.wrapping_sub(reads));
        if goes_on { Ok(()) } else { Err(Error::Cancelled) }
    }
}

/// What a sweep of one leaf did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Swept {
    /// Versions removed.
    removed: usize,
    /// Pages that became free.
    freed: usize,
    /// Whether leaves were packed.
    packed: bool,
}

/// What a sweep of one tree found and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// Leaves looked at.
    pub leaves: u64,
    /// Versions removed.
    pub removed: u64,
    /// Rows that are there now: keys whose newest version is no deletion.
    pub live: u64,
    /// Versions besides those that could not go yet: a snapshot may see them.
    pub dead: u64,
    /// Versions of aborted transactions that are still there.
    pub aborted: u64,
    /// Pages that became free.
    pub freed: u64,
    /// Pages that nothing led to, and that are free now.
    pub recovered: u64,
    /// How often sparse leaves were packed into fewer.
    pub packed: u64,
    /// Pages that moved away from the end of the file.
    pub moved: u64,
    /// Pages cut off the end of the file.
    pub cut: u32,
    /// Pages of the file at the end.
    pub pages: u32,
}

impl SweepReport {
    /// The sum of two sweeps of trees that hold the same rows: this one's rows, both's pages and versions.
    #[must_use]
    pub fn with(self, index: &Self) -> Self {
        Self {
            leaves: self.leaves + index.leaves,
            removed: self.removed + index.removed,
            live: self.live,
            dead: self.dead + index.dead,
            aborted: self.aborted + index.aborted,
            freed: self.freed + index.freed,
            recovered: self.recovered + index.recovered,
            packed: self.packed + index.packed,
            moved: self.moved + index.moved,
            cut: self.cut + index.cut,
            pages: self.pages + index.pages,
        }
    }
}

/// How a sweep spares the others.
pub trait Pace {
    /// A leaf, or a piece of something long, was looked at, and changed or not; `read_pages` came from disk
    /// for it. May rest. False: stop here.
    fn after_piece(&mut self, changed: bool, read_pages: u64) -> bool;
}

/// As fast as it goes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unpaced;

impl Pace for Unpaced {
    fn after_piece(&mut self, _changed: bool, _read_pages: u64) -> bool {
        true
    }
}

/// Write locks that one leaf may take in a row.
const ROUNDS_MAX: usize = 4096;

impl Tree {
    /// Removes what is dead from all leaves, and the versions of `aborted` (rising); with `finds_lost` the
    /// pages that nothing leads to become free. Blocks.
    ///
    /// # Errors
    /// Fails if a page cannot be read or changed, or the pace or the owner ends it.
    pub fn sweep(
        &self,
        owner: &dyn Owner,
        aborted: &[Xid],
        finds_lost: bool,
        pace: &mut dyn Pace,
    ) -> Result<SweepReport, Error> {
        let tree = self.gently();
        let ring = self.is_large().then(Ring::new);
        let known = Known { waits: true, ..Known::default() };
        let mut pass = Pass {
            owner,
            order: SweepOrder { aborted: aborted.to_vec(), known },
            report: SweepReport::default(),
            ring: ring.as_ref(),
            lost: if finds_lost { Search::begin(self)? } else { Search::default() },
            pace,
            store: self.store.clone(),
            at_rest: (self.store.counters().reads, 0),
        };
        tree.sweep_leaves(&mut pass)?;
        if pass.lost.has_lost() {
            pass.lost.follow();
            let first = pass.report;
            tree.sweep_leaves(&mut pass)?;
            let SweepReport { live, dead, aborted, leaves, .. } = first;
            pass.report = SweepReport { live, dead, aborted, leaves, ..pass.report };
            pass.report.recovered = self.give_back_lost(&mut pass)?;
        }
        self.move_end(&mut pass)?;
        pass.report.pages = self.page_count();
        Ok(pass.report)
    }

    fn sweep_leaves(&self, pass: &mut Pass<'_>) -> Result<(), Error> {
        let mut next = Some(Vec::new());
        while let Some(key) = next {
            let survey = self.sweep_at(&key, pass)?;
            pass.report.leaves += 1;
            pass.report.live += survey.live;
            pass.report.dead += survey.dead;
            pass.report.aborted += survey.aborted;
            next = survey.next;
            pass.lost.follow_met(self)?;
            pass.rest()?;
        }
        Ok(())
    }

    /// Sweeps the leaf that covers `key`. Gives the last look at it, which comes after the last change: what
    /// a split moved to the right meanwhile is found there by the next key.
    fn sweep_at(&self, key: &[u8], pass: &mut Pass<'_>) -> Result<Survey, Error> {
        let mut goes_on = true;
        for round in 0.. {
            let survey = self.store.run_blocking_in(pass.ring, || {
                self.survey(key, pass.owner.horizon(), &pass.order.aborted, &pass.lost)
            })?;
            if round == 0 {
                for chain in &survey.chains {
                    self.sweep_chain(chain, pass)?;
                }
            }
            if !survey.has_work || !goes_on || round == ROUNDS_MAX {
                return Ok(survey);
            }
            self.find_large(&survey.large, &mut pass.order.known)?;
            let swept = pass.write(self, |writer| writer.sweep_leaf(self, key, &pass.order))?;
            goes_on = swept.removed > 0 || swept.freed > 0;
            pass.report.removed += swept.removed as u64;
            pass.report.freed += swept.freed as u64;
            pass.report.packed += u64::from(swept.packed);
        }
        Ok(Survey::default())
    }

    /// Moves the last pages of the file to free ones before them if many are free, so that the end can be cut
    /// off.
    fn move_end(&self, pass: &mut Pass<'_>) -> Result<(), Error> {
        let pages = self.page_count();
        if self.free_count(pages)? < u64::from(pages / MOVE_MIN_SHARE).max(1) {
            return Ok(());
        }
        // Others may take the free pages meanwhile, or make more.
        for _ in 0..pages {
            if !pass.write(self, |writer| writer.move_last(self))? {
                break;
            }
            pass.report.moved += 1;
            pass.rest()?;
        }
        Ok(())
    }

    /// How many of the file's pages are free.
    fn free_count(&self, pages: u32) -> Result<u64, Error> {
        let mut count = 0;
        for number in 0..free_map::map_count(pages) {
            let block = BlockNumber::new(number * free_map::SPAN);
            count += self.store.run_blocking(|| {
                let map = self.pin(block)?.read();
                Ok(free_map::free_blocks(&map, block).filter(|free| free.get() < pages).count() as u64)
            })?;
        }
        Ok(count)
    }

    /// Looks at the leaf that covers `key`, and at its versions of that key and those above.
    fn survey(&self, key: &[u8], horizon: Xid, aborted: &[Xid], lost: &Search) -> Result<Survey, Fault> {
        let mut path: SmallVec<[BlockNumber; 8]> = SmallVec::new();
        let page = self.descend(key, 0, Some(&mut path))?.page;
        lost.met(&path);
        let mut survey = Survey { next: page.high_key().map(<[u8]>::to_vec), ..Survey::default() };
        let count = page.item_count();
        // What is before was looked at where it was before it was packed into this leaf.
        let mut index = page.lower_bound(key);
        while index < count {
            let end = leaf::run_end(&page, index);
            self.survey_run(&page, index..end, horizon, aborted, &mut survey)?;
            (index..end).for_each(|at| lost.met_large(page.item(at)));
            index = end;
        }
        survey.has_work |= count == FIRST || is_sparse(&page);
        Ok(survey)
    }

    fn survey_run(
        &self,
        page: &Page,
        run: std::ops::Range<usize>,
        horizon: Xid,
        aborted: &[Xid],
        survey: &mut Survey,
    ) -> Result<(), Fault> {
        let settled = settled_in(page, run.clone(), horizon, aborted);
        let is_aborted = |xid: Xid| aborted.binary_search(&xid).is_ok();
        let newest = run.clone().map(|at| leaf::item_head(page.item(at))).find(|head| !is_aborted(head.xid));
        let lives = newest.is_some_and(|head| head.flags & (DELETED | CHAIN) == 0);
        survey.live += u64::from(lives);
        survey.dead += run.len() as u64 - u64::from(lives);
        for at in run {
            let item = page.item(at);
            let head = leaf::item_head(item);
            let below = settled.is_some_and(|settled| at > settled);
            let is_chain = head.flags & CHAIN != 0;
            let goes = below
                || (!is_chain && is_aborted(head.xid))
                || (settled == Some(at) && head.flags & DELETED != 0);
            survey.has_work |= goes;
            if is_chain {
                survey.chains.push(leaf::item_key(item).to_vec());
                // Its versions are counted by the sweep of the chain.
                survey.dead -= 1;
            } else {
                survey.aborted += u64::from(is_aborted(head.xid));
            }
            if goes && is_chain {
                // The first page goes with its item, the others before.
                let first =
                    self.overflow(leaf::chain_start(leaf::item_value(item)), PageKind::Overflow, &mut 1)?;
                survey.large.extend(first.items().filter_map(large_head));
            } else if goes && survey.large.len() < LARGE_MAX {
                survey.large.extend(large_head(item));
            }
        }
        Ok(())
    }

    /// Finds the pages of large values, and brings their maps into the pool. Does I/O, holds no latch: a
    /// value whose version goes away meanwhile may yield nonsense, which is not used because no version leads
    /// to it.
    pub(super) fn find_large(&self, large: &[LargeHead], known: &mut Known) -> Result<(), Error> {
        known.values.clear();
        let mut total = 0;
        for (start, xid, cid) in large {
            if total > KNOWN_PAGES_MAX {
                break;
            }
            let Some(pages) = self.pages_of_large(*start)? else { continue };
            total += pages.len();
            let mut map = BlockNumber::INVALID;
            for page in &pages {
                if free_map::map_of(*page) != map {
                    map = free_map::map_of(*page);
                    self.load(map).map(drop).map_err(Fault::into_error)?;
                }
            }
            known.values.insert(*start, (*xid, *cid, pages));
        }
        Ok(())
    }

    /// The pages of a large value; None if they are none such.
    pub(super) fn pages_of_large(&self, start: BlockNumber) -> Result<Option<Vec<BlockNumber>>, Error> {
        let (mut pages, mut block, limit) = (Vec::new(), start, self.relation.page_count());
        while block.is_valid() {
            if block.get() >= limit || pages.len() >= limit as usize {
                return Ok(None);
            }
            let page = self.load(block).map_err(Fault::into_error)?.read();
            if page.kind() != Some(PageKind::Large) {
                return Ok(None);
            }
            pages.push(block);
            block = page.right();
        }
        Ok(Some(pages))
    }
}

impl<'a> Writer<'a> {
    /// Removes what is dead from the leaf that covers `key`, and the leaf if that leaves it empty, or sparse
    /// beside others.
    fn sweep_leaf(&mut self, tree: &Tree, key: &[u8], order: &SweepOrder) -> Result<Swept, Fault> {
        let (page, block) = self.find(tree, key, 0)?;
        let mut leaf = Leaf { page, block };
        let (removed, freed) = self.remove_dead(tree, &mut leaf, &order.aborted, &order.known)?;
        if leaf.page.item_count() == FIRST {
            let unlinked = self.unlink(tree, key, leaf)?;
            if unlinked > 0 {
                return Ok(Swept { removed, freed: freed + unlinked, packed: false });
            }
            let (page, block) = self.find(tree, key, 0)?;
            leaf = Leaf { page, block };
        }
        let packed = if is_sparse(&leaf.page) { self.pack(tree, key, leaf)? } else { 0 };
        Ok(Swept { removed, freed: freed + packed, packed: packed > 0 })
    }

    /// Cuts the free pages off the relation's end if they are worth it (or any, with `all`); returns how
    /// many. The files follow by `Store::finish_cut`.
    ///
    /// # Errors
    /// Fails if a page is not in the pool or is damaged, or the log takes no record.
    pub fn cut_end(&mut self, tree: &Tree, all: bool) -> Result<u32, Fault> {
        let relation = &tree.relation;
        let before = relation.page_count();
        let end = self.used_end(tree, before)?;
        check_changeable(relation)?;
        let gone = before - end;
        if gone == 0 || !(all || gone >= CUT_MIN_PAGES || gone >= before / CUT_MIN_SHARE) {
            return Ok(0);
        }
        // The map first: nothing may be done by halves for want of a page.
        let block = free_map::map_of(BlockNumber::new(end));
        let mut map = match end.is_multiple_of(free_map::SPAN) {
            true => None,
            false => Some(self.pin(relation, block)?.write()),
        };
        let length = BlockNumber::new(end);
        let mut record = SmgrRecord::Truncate { rel: relation.id(), length, flags: TRUNCATE_MAIN }
            .encode(0)
            .map_err(|error| Error::Log(error.to_string().into()))?;
        let logged = self.insert_record(&mut record)?;
        self.pool().forget(relation.id(), end);
        relation.begin_cut(end, logged.end);
        if let Some(page) = &mut map {
            let target = Target { id: MAP_ID, block, init: false, data: &[], page };
            self.change(info::TRIM, relation, &end.to_le_bytes(), &mut [target])?;
        }
        Ok(gone)
    }
}
