//! A sweep over a tree, leaf by leaf: dead versions go for good, empty leaves leave the tree, sparse ones become fewer, and the file's
//! free end is cut off.
//!
//! ```text
//! survey      under the leaf's read latch: is anything to be done here? What large values would go?
//! find_large  without any latch: the pages of those values (reads from disk)
//! sweep_leaf  under the write lock: one leaf's dead versions, their chains' pages, the leaf itself if it is empty, or sparse beside others
//! move_end    under the write lock, a page at a time: pages at the file's end move to free ones before it, if there are many
//! cut_end     under the write lock: the free pages at the end
//! ```

use super::Tree;
use super::insert::Leaf;
use super::prune::{Known, settled_in};
use super::repack::is_sparse;
use crate::free_map;
use crate::page::leaf::{self, CHAIN, DELETED, LARGE};
use crate::page::{FIRST, Page, PageKind};
use crate::pool::{PageKey, Ring};
use crate::records::{MAP_ID, Prune, info};
use crate::store::Fault;
use crate::writer::{Target, Writer};
use crate::{Error, records};
use smallvec::SmallVec;
use wal::smgr::{SmgrRecord, TRUNCATE_MAIN};
use wal::{BlockNumber, Xid};

/// Versions of large values that are looked up for one leaf at most.
const LARGE_MAX: usize = 512;
/// A file is cut if so many pages go, or this share of it; as in PostgreSQL, so that a busy file's end is left alone.
const CUT_MIN_PAGES: u32 = 1000;
const CUT_MIN_SHARE: u32 = 16;
/// Pages move away from a file's end if this share of the file is free: so what moves is less than what has become free since the last time.
const MOVE_MIN_SHARE: u32 = 8;

/// What one leaf holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Keys whose newest version is a row.
    pub live: u64,
    /// Versions besides those.
    pub dead: u64,
    /// There are versions that can go now, or the leaf is empty or sparse.
    pub has_work: bool,
    /// Versions of aborted transactions.
    pub aborted: u64,
    /// The next leaf's low bound; None at the end of the tree.
    pub next: Option<Vec<u8>>,
    /// Large values of versions that may go: their first page, and who wrote them.
    large: Vec<(BlockNumber, Xid, u32)>,
}

/// What a sweep removes besides what is dead for all.
#[derive(Clone, Debug, Default)]
pub struct SweepOrder {
    /// Transactions that came to nothing, rising: their versions go.
    pub aborted: Vec<Xid>,
    known: Known,
}

impl SweepOrder {
    /// Versions of these (rising) go as well.
    pub fn new(aborted: Vec<Xid>) -> Self {
        Self { aborted, known: Known::default() }
    }
}

/// What a sweep of one leaf did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Versions removed.
    pub removed: usize,
    /// Pages that became free.
    pub freed: usize,
    /// Whether leaves were packed.
    pub packed: bool,
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
            packed: self.packed + index.packed,
            moved: self.moved + index.moved,
            cut: self.cut + index.cut,
            pages: self.pages + index.pages,
        }
    }
}

/// How a sweep spares the others.
pub trait Pace {
    /// A leaf was looked at, and changed or not; `read_pages` came from disk for it. May rest. False: stop here.
    fn after_leaf(&mut self, changed: bool, read_pages: u64) -> bool;
}

/// As fast as it goes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unpaced;

impl Pace for Unpaced {
    fn after_leaf(&mut self, _changed: bool, _read_pages: u64) -> bool {
        true
    }
}

/// Write locks that one leaf may take in a row: a long chain goes piece by piece.
const ROUNDS_MAX: usize = 4096;

impl Tree {
    /// Removes what is dead from all leaves, and the versions of `aborted` (rising). `horizon` is asked for anew for each leaf. Blocks.
    pub fn sweep(
        &self,
        horizon: &dyn Fn() -> Xid,
        aborted: &[Xid],
        pace: &mut dyn Pace,
    ) -> Result<SweepReport, Error> {
        let tree = self.gently();
        let ring = self.is_large().then(Ring::new);
        let mut order = SweepOrder::new(aborted.to_vec());
        let mut report = SweepReport::default();
        let mut next = Some(Vec::new());
        while let Some(key) = next {
            let reads = self.store.counters().reads;
            let before = (report.removed, report.freed);
            let survey = tree.sweep_at(&key, horizon, &mut order, &mut report, ring.as_ref())?;
            report.leaves += 1;
            report.live += survey.live;
            report.dead += survey.dead;
            report.aborted += survey.aborted;
            next = survey.next;
            let read = self.store.counters().reads.wrapping_sub(reads);
            if next.is_some() && !pace.after_leaf(before != (report.removed, report.freed), read) {
                return Err(Error::Cancelled);
            }
        }
        report.moved = self.move_end(pace)?;
        report.pages = self.page_count();
        Ok(report)
    }

    /// Sweeps the leaf that covers `key`. Gives the last look at it, which comes after the last change: what a split moved to the right
    /// meanwhile is found there by the next key.
    fn sweep_at(
        &self,
        key: &[u8],
        horizon: &dyn Fn() -> Xid,
        order: &mut SweepOrder,
        report: &mut SweepReport,
        ring: Option<&Ring>,
    ) -> Result<Survey, Error> {
        let mut goes_on = true;
        for round in 0.. {
            let survey = self.store.run_blocking_in(ring, || self.survey(key, horizon(), &order.aborted))?;
            if !survey.has_work || !goes_on || round == ROUNDS_MAX {
                return Ok(survey);
            }
            self.find_large(&survey, order)?;
            let swept = self.store.run_blocking(|| {
                let mut writer = self.store.writer();
                writer.set_horizon(horizon());
                writer.sweep_leaf(self, key, order)
            })?;
            goes_on = swept.removed > 0 || swept.freed > 0;
            report.removed += swept.removed as u64;
            report.freed += swept.freed as u64;
            report.packed += u64::from(swept.packed);
        }
        Ok(Survey::default())
    }

    /// Moves the last pages of the file to free ones before them if many are free, so that the end can be cut off. Returns how many.
    fn move_end(&self, pace: &mut dyn Pace) -> Result<u64, Error> {
        let mut moved = 0;
        let pages = self.page_count();
        if self.free_count(pages)? < u64::from(pages / MOVE_MIN_SHARE).max(1) {
            return Ok(0);
        }
        // Others may take the free pages meanwhile, or make more.
        for _ in 0..pages {
            let reads = self.store.counters().reads;
            if !self.store.run_blocking(|| self.store.writer().move_last(self))? {
                break;
            }
            moved += 1;
            if !pace.after_leaf(true, self.store.counters().reads.wrapping_sub(reads)) {
                return Err(Error::Cancelled);
            }
        }
        Ok(moved)
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
    pub fn survey(&self, key: &[u8], horizon: Xid, aborted: &[Xid]) -> Result<Survey, Fault> {
        let page = self.descend(key, 0, None)?.page;
        let mut survey = Survey { next: page.high_key().map(<[u8]>::to_vec), ..Survey::default() };
        let count = page.item_count();
        // What is before was looked at where it was before it was packed into this leaf.
        let mut index = page.lower_bound(key);
        while index < count {
            let end = leaf::run_end(&page, index);
            self.survey_run(&page, index..end, horizon, aborted, &mut survey)?;
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
            let goes = below
                || (head.flags & CHAIN == 0 && is_aborted(head.xid))
                || (settled == Some(at) && head.flags & DELETED != 0);
            survey.has_work |= goes;
            if head.flags & CHAIN != 0 {
                self.survey_chain(item, aborted, survey)?;
                continue;
            }
            survey.aborted += u64::from(is_aborted(head.xid));
            if goes && head.flags & LARGE != 0 && survey.large.len() < LARGE_MAX {
                survey.large.push((leaf::chain_start(leaf::item_value(item)), head.xid, head.cid));
            }
        }
        Ok(())
    }

    /// Notes the large values of a chain's versions, and has its pages loaded.
    fn survey_chain(&self, item: &[u8], aborted: &[Xid], survey: &mut Survey) -> Result<(), Fault> {
        let mut block = leaf::chain_start(leaf::item_value(item));
        let mut left = self.relation.page_count();
        while block.is_valid() {
            let page = self.overflow(block, PageKind::Overflow, &mut left)?;
            // The oldest versions of a long chain go piece by piece.
            survey.has_work = true;
            for item in page.items() {
                let head = leaf::item_head(item);
                survey.aborted += u64::from(aborted.binary_search(&head.xid).is_ok());
                if head.flags & LARGE != 0 && survey.large.len() < LARGE_MAX {
                    survey.large.push((leaf::chain_start(leaf::item_value(item)), head.xid, head.cid));
                }
            }
            block = page.right();
        }
        Ok(())
    }

    /// Finds the pages of the large values that a survey has met, and brings their maps into the pool. Does I/O, holds no latch: a
    /// value whose version goes away meanwhile may yield nonsense, which is not used because no version leads to it.
    pub fn find_large(&self, survey: &Survey, order: &mut SweepOrder) -> Result<(), Error> {
        order.known.clear();
        let pool = &self.store.0.pool;
        for (start, xid, cid) in &survey.large {
            let mut pages = Vec::new();
            let mut block = *start;
            let mut map = BlockNumber::INVALID;
            let limit = self.relation.page_count();
            while block.is_valid() && block.get() < limit && pages.len() < limit as usize {
                let page = pool.load(PageKey::new(self.relation.id(), block), true)?.read();
                if page.kind() != Some(PageKind::Large) {
                    break;
                }
                pages.push(block);
                let next = page.right();
                drop(page);
                if free_map::map_of(block) != map {
                    map = free_map::map_of(block);
                    pool.load(PageKey::new(self.relation.id(), map), true).map(drop)?;
                }
                block = next;
            }
            if !block.is_valid() {
                order.known.insert(*start, (*xid, *cid, pages));
            }
        }
        Ok(())
    }
}

impl<'a> Writer<'a> {
    /// Removes what is dead from the leaf that covers `key`, and the leaf if that leaves it empty, or sparse beside others.
    pub fn sweep_leaf(&mut self, tree: &Tree, key: &[u8], order: &SweepOrder) -> Result<Swept, Fault> {
        let (page, block) = self.find(tree, key, 0)?;
        let mut leaf = Leaf { page, block };
        let (mut removed, mut freed) = self.remove_dead(tree, &mut leaf, &order.aborted, &order.known)?;
        for index in FIRST..leaf.page.item_count() {
            let item = leaf.page.item(index);
            if leaf::item_head(item).flags & CHAIN == 0 {
                continue;
            }
            let start = leaf::chain_start(leaf::item_value(item));
            if self.horizon.is_valid() {
                freed += self.shorten_chain(tree, &mut leaf, start, false, &order.known)?;
            }
            if !order.aborted.is_empty() {
                removed += self.sweep_chain(tree, &mut leaf, start, order)?;
            }
        }
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

    /// Removes the versions of aborted transactions from a chain. An overflow page may end up empty; it goes with its chain.
    fn sweep_chain(
        &mut self,
        tree: &Tree,
        leaf: &mut Leaf<'a>,
        start: BlockNumber,
        order: &SweepOrder,
    ) -> Result<usize, Fault> {
        let (mut block, mut removed) = (start, 0);
        for _ in 0..tree.relation.page_count() {
            if !block.is_valid() {
                return Ok(removed);
            }
            let mut page = self.pin(&tree.relation, block)?.write();
            if page.kind() != Some(PageKind::Overflow) {
                return Err(tree.broken(block, "a chain leads to a page of another kind"));
            }
            let (mut dead, mut pages) = (Vec::new(), Vec::new());
            for (index, item) in (0_u16..).zip(page.items()) {
                let head = leaf::item_head(item);
                if order.aborted.binary_search(&head.xid).is_err() {
                    continue;
                }
                if head.flags & LARGE == 0 || self.pages_of(tree, item, &order.known, &mut pages) {
                    dead.push(index);
                }
            }
            let next = page.right();
            if !dead.is_empty() {
                removed += dead.len();
                let mut main = Vec::with_capacity(10 + 2 * dead.len());
                Prune { horizon: Xid::INVALID, dead }.encode(&mut main);
                let (mut maps, rest) = self.take_maps(tree, pages)?;
                let mut targets: SmallVec<[Target<'_, 'a>; 4]> = SmallVec::new();
                targets.push(Target {
                    id: 0,
                    block: leaf.block,
                    init: false,
                    data: &[],
                    page: &mut leaf.page,
                });
                targets.push(Target { id: 1, block, init: false, data: &[], page: &mut page });
                targets.extend(maps.targets());
                self.change(info::CHAIN_PRUNE, &tree.relation, &main, &mut targets)?;
                drop(targets);
                maps.freed(tree);
                self.free_pages(tree, rest)?;
            }
            block = next;
        }
        Err(tree.broken(start, "a chain leads in a circle"))
    }

    /// Cuts the free pages off the relation's end if they are worth it (or any, with `all`); returns how many. The files
    /// follow by `Store::finish_cut`.
    pub fn cut_end(&mut self, tree: &Tree, all: bool) -> Result<u32, Fault> {
        let relation = &tree.relation;
        let before = relation.page_count();
        let mut end = before;
        while end > records::ROOT.get() + 1 {
            let last = BlockNumber::new(end - 1);
            let map = self.pin(relation, free_map::map_of(last))?.read();
            if !free_map::is_map(last) && !free_map::is_free(&map, last) {
                break;
            }
            end -= 1;
        }
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
