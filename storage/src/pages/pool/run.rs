//! A changed page goes to disk together with the changed pages next to it in its file, with one call: what
//! the kernel does for a write, it does seldom for each page, and a run of a large load is written whole.
//!
//! A run stays within [`RUN_PAGES`] blocks that begin at a multiple of it, so within a segment file too. Its
//! first page is the one that was asked for; the others are taken only if neither a lock nor the log must be
//! waited for.

use super::frame::{Frame, Slot};
use super::{PageKey, Pool};
use crate::Error;
use crate::pages::page::{PAGE_SIZE, seal};
use crate::pages::relation::SEGMENT_PAGES;
use host::sync::MutexGuard;
use smallvec::SmallVec;
use std::sync::atomic::Ordering;
use wal::{BlockNumber, Lsn};

/// Pages of a run at most (128 kB).
const RUN_PAGES: usize = 16;
const _: () = assert!((SEGMENT_PAGES as usize).is_multiple_of(RUN_PAGES), "a run has one file");
/// Memory that is kept for so many runs that are written at the same time; more of them take it anew.
const COPIES_KEPT: usize = 8;

/// Whether a changed neighbour is to be written too, by its block and frame.
pub(super) type Joins<'a> = &'a dyn Fn(u32, &Frame) -> bool;

/// Under `io`: copies a page, to be written, if it is changed and bears no LSN past `upto`; returns its LSN.
fn copy_changed(frame: &Frame, slot: &Slot, upto: Lsn, copy: &mut [u8; PAGE_SIZE]) -> Option<Lsn> {
    let page = slot.page();
    (frame.is_dirty() && page.lsn() <= upto).then(|| {
        frame.begin_write();
        copy.copy_from_slice(page.bytes());
        page.lsn()
    })
}

impl Pool {
    /// Writes a pinned page if it is changed, and those of its changed neighbours that join it. Waits while
    /// another thread writes the page. Returns how many were written.
    pub(super) fn write_out(&self, key: PageKey, frame: &Frame, joins: Joins<'_>) -> Result<usize, Error> {
        if !frame.is_dirty() {
            return Ok(0);
        }
        let kept = self.run_copies.lock().pop();
        let mut copies = kept.unwrap_or_else(|| vec![[0; PAGE_SIZE]; RUN_PAGES]);
        let written = match self.write_run(key, frame, joins, &mut copies) {
            // The page itself may have its space.
            Err(Error::DiskFull { .. }) => self.write_run(key, frame, &|_, _| false, &mut copies),
            other => other,
        };
        let mut kept = self.run_copies.lock();
        if kept.len() < COPIES_KEPT {
            kept.push(copies);
        }
        written
    }

    fn write_run(
        &self,
        key: PageKey,
        frame: &Frame,
        joins: Joins<'_>,
        copies: &mut [[u8; PAGE_SIZE]],
    ) -> Result<usize, Error> {
        let place = key.block.get() as usize % RUN_PAGES;
        let block_at = |at: usize| BlockNumber::new(key.block.get() - place as u32 + at as u32);
        let _io = frame.io.lock();
        let Some(lsn) = copy_changed(frame, &frame.slot.read(), Lsn::MAX, &mut copies[place]) else {
            return Ok(0);
        };
        self.check_poison()?;
        let early = host::planted!("a page is written ahead of its log");
        let upto = if early { lsn } else { self.before_write(lsn)? };
        let mut neighbours: SmallVec<[(&Frame, MutexGuard<'_, ()>); RUN_PAGES]> = SmallVec::new();
        let mut join = |at: usize| {
            let (neighbour, io) = self.lock_neighbour(PageKey::new(key.rel, block_at(at)), joins)?;
            copy_changed(neighbour, &*neighbour.slot.try_read()?, upto, &mut copies[at])?;
            neighbours.push((neighbour, io));
            Some(())
        };
        let behind = (place + 1..RUN_PAGES).map_while(&mut join).count();
        let before = (0..place).rev().map_while(&mut join).count();
        let run = place - before..place + 1 + behind;
        for at in run.clone() {
            seal(&mut copies[at], block_at(at), self.checksums);
        }
        // The log may have poisoned the pool meanwhile; then a copy may hold a change that is in no log.
        self.check_poison()?;
        if let Some(relation) = self.relations.get(key.rel) {
            relation.write(block_at(run.start), &copies[run])?;
        }
        let mut written = 1;
        for (neighbour, io) in neighbours {
            // Whoever has the latch may wait for one of these locks, so they are not kept while it is waited
            // for: a neighbour that is being changed counts as not written.
            if let Some(_slot) = neighbour.slot.try_read() {
                neighbour.end_write();
                written += 1;
            }
            drop(io);
        }
        let slot = frame.slot.read();
        if host::planted!("a page that changes while it is written counts as written") {
            frame.begin_write();
        }
        frame.end_write();
        drop(slot);
        self.writes.fetch_add(written as u64, Ordering::Relaxed);
        Ok(written)
    }

    /// The frame of a changed page that joins, if nobody writes it just now. It needs no pin: a changed page
    /// does not leave its frame before it is written, and that takes `io`.
    fn lock_neighbour(&self, key: PageKey, joins: Joins<'_>) -> Option<(&Frame, MutexGuard<'_, ()>)> {
        let index = *self.shard(key).read().get(&key)?;
        let frame = &self.frames[index as usize];
        if !frame.is_dirty() || !joins(key.block.get(), frame) {
            return None;
        }
        let io = frame.io.try_lock()?;
        // Looked at in this order: only while it is changed does it stay.
        (frame.is_dirty() && *frame.key.lock() == Some(key)).then_some((frame, io))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::changes::store::WriteBarrier;
    use crate::pages::page::PageKind;
    use crate::pages::pool::WritePage;
    use crate::testing::{Bench, bench};
    use host::sync::Mutex;
    use host::{Disk, OpenMode};
    use simulation::{Call, Fault, FaultKind};
    use std::fmt;
    use std::path::Path;
    use std::sync::Arc;
    use wal::RelFile;

    const REL: RelFile = RelFile::new(5, 20_000);
    const PATH: &str = "/data/base/5/20000";

    const fn key(block: u32) -> PageKey {
        PageKey::new(REL, BlockNumber::new(block))
    }

    /// Makes a page anew, or changes it, by a record that ends at `lsn`.
    fn change(pool: &Pool, block: u32, lsn: u64) -> WritePage<'_> {
        let mut page = pool.create(key(block), None, true).unwrap().unwrap();
        page.init(PageKind::Free, 0, BlockNumber::INVALID);
        page.changed_by(Lsn::new(lsn - 8), Lsn::new(lsn));
        page
    }

    /// A pool with so many changed pages of the relation, none of them used since; each record is 8 bytes
    /// long.
    fn changed(pages: u32) -> Bench {
        let bench = bench(128);
        bench.store.flush_before(Lsn::MAX, &mut |_| ()).unwrap();
        bench.store.relations().create(REL).unwrap().extend_to(BlockNumber::new(pages - 1));
        (0..pages).for_each(|block| drop(change(bench.store.pool(), block, lsn_of(block))));
        // The log is flushed further than what is asked for.
        bench.store.set_barrier(Arc::new(Barrier::new(1 << 20, |_| ())));
        bench
    }

    fn lsn_of(block: u32) -> u64 {
        1000 + 8 * u64::from(block)
    }

    /// Lets everything be written that bears no LSN past this one, and does something before.
    struct Barrier {
        upto: u64,
        work: Mutex<Box<dyn FnMut(Lsn) + Send>>,
    }

    impl Barrier {
        fn new(upto: u64, work: impl FnMut(Lsn) + Send + 'static) -> Self {
            Self { upto, work: Mutex::new(Box::new(work)) }
        }
    }

    impl fmt::Debug for Barrier {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("Barrier").field("upto", &self.upto).finish_non_exhaustive()
        }
    }

    impl WriteBarrier for Barrier {
        fn before_page_write(&self, lsn: Lsn) -> Result<Lsn, Error> {
            (self.work.lock())(lsn);
            Ok(lsn.max(Lsn::new(self.upto)))
        }
    }

    fn frame(pool: &Pool, block: u32) -> &Frame {
        let index = pool.shard(key(block)).read()[&key(block)];
        &pool.frames[index as usize]
    }

    fn dirty(pool: &Pool, blocks: u32) -> Vec<u32> {
        (0..blocks).filter(|block| pool.has(key(*block)) && frame(pool, *block).is_dirty()).collect()
    }

    /// The least position from which the log must be redone for pages that are not yet written.
    fn oldest_dirty(pool: &Pool) -> Option<Lsn> {
        pool.frames.iter().filter_map(Frame::rec_lsn).min()
    }

    /// Calls that write to the relation's file while `work` runs.
    fn calls(bench: &Bench, work: impl FnOnce(&Pool)) -> usize {
        bench.disk.start_trace();
        work(bench.store.pool());
        let trace = bench.disk.take_trace();
        trace.iter().filter(|call| call.call == Call::Write && call.path == Path::new(PATH)).count()
    }

    /// Has the page leave the pool.
    fn evict(pool: &Pool, block: u32) {
        let frame = frame(pool, block);
        assert!(frame.claim());
        assert!(pool.evict(frame, true).unwrap());
    }

    #[test]
    fn a_checkpoint_writes_sixteen_neighbours_with_one_call() {
        let bench = changed(40);
        let before = bench.store.counters();
        let mut heard = Vec::new();
        let calls = calls(&bench, |pool| {
            assert_eq!(pool.write_before(Lsn::MAX, &mut |done| heard.push(done)).unwrap(), 40)
        });
        assert_eq!((calls, heard.len()), (3, 40));
        let after = bench.store.counters();
        assert_eq!(after.writes - before.writes, 40);
        assert_eq!(after.checkpoint_writes - before.checkpoint_writes, 40);
        bench.store.pool().forget(REL, 0);
        for block in 0..40 {
            // It checks the sums, which the page's number is a part of.
            let page = bench.store.pool().load(key(block), true).unwrap().read();
            assert_eq!(page.lsn(), Lsn::new(lsn_of(block)));
        }
    }

    #[test]
    fn a_checkpoint_leaves_neighbours_that_were_changed_after_it_began() {
        let bench = changed(8);
        let limit = Lsn::new(lsn_of(5));
        let calls = calls(&bench, |pool| assert_eq!(pool.write_before(limit, &mut |_| ()).unwrap(), 6));
        assert_eq!((calls, dirty(bench.store.pool(), 8)), (1, vec![6, 7]));
    }

    #[test]
    fn a_load_writes_its_stretch_with_few_calls_and_nothing_else() {
        let bench = changed(40);
        let calls = calls(&bench, |pool| assert_eq!(pool.write_behind(REL, 2..34).unwrap(), 32));
        assert_eq!((calls, dirty(bench.store.pool(), 40)), (3, vec![0, 1, 34, 35, 36, 37, 38, 39]));
    }

    #[test]
    fn a_page_that_leaves_takes_along_only_neighbours_that_are_changed_and_little_used() {
        type Stop = fn(&Pool, u32);
        let stops: [(&str, Stop); 5] = [
            ("much used", |pool, block| (0..3).for_each(|_| drop(pool.pin(key(block))))),
            ("clean", |pool, block| frame(pool, block).forget_changes()),
            ("being changed", |pool, block| std::mem::forget(pool.pin_gently(key(block)).unwrap().write())),
            ("being written", |pool, block| std::mem::forget(frame(pool, block).io.lock())),
            ("ahead of the flushed log", |pool, block| drop(change(pool, block, 2 << 20))),
        ];
        for (what, stop) in stops {
            let bench = changed(16);
            let pool = bench.store.pool();
            // One that is used by a single scan goes along.
            drop(pool.pin_gently(key(6)));
            // On a thread of its own, with which the latches that it keeps are gone from the order of locks.
            std::thread::scope(|scope| {
                scope.spawn(|| [4, 9].map(|block| stop(pool, block)));
            });
            let others =
                dirty(pool, 16).into_iter().filter(|block| !(5..9).contains(block)).collect::<Vec<_>>();
            let uses = frame(pool, 6).is_next();
            assert_eq!(calls(&bench, |pool| evict(pool, 7)), 1, "{what}");
            assert_eq!(dirty(pool, 16), others, "{what}");
            assert_eq!(
                (pool.has(key(7)), frame(pool, 6).is_next(), frame(pool, 6).pins()),
                (false, uses, 0),
                "{what}"
            );
            assert_eq!(bench.disk.metadata(Path::new(PATH)).unwrap().len, 9 * PAGE_SIZE as u64, "{what}");
        }
    }

    #[test]
    fn the_same_blocks_of_another_relation_stay() {
        let bench = changed(4);
        let pool = bench.store.pool();
        let other = PageKey::new(RelFile::new(5, 20_001), BlockNumber::new(4));
        bench.store.relations().create(other.rel).unwrap().extend_to(other.block);
        let mut page = pool.create(other, None, true).unwrap().unwrap();
        page.changed_by(Lsn::new(40), Lsn::new(48));
        drop(page);
        assert_eq!(calls(&bench, |pool| evict(pool, 3)), 1);
        assert_eq!(dirty(pool, 4), []);
        assert_eq!(oldest_dirty(pool), Some(Lsn::new(40)));
    }

    #[test]
    fn after_a_failed_write_all_pages_are_still_to_be_written() {
        let bench = changed(16);
        let pool = bench.store.pool();
        let before = bench.store.counters().writes;
        bench.disk.inject(Fault::once(Call::Write, PATH, 1, FaultKind::Io));
        assert!(pool.write_before(Lsn::MAX, &mut |_| ()).is_err());
        assert_eq!(dirty(pool, 16), (0..16).collect::<Vec<_>>());
        assert_eq!(
            (bench.store.counters().writes, oldest_dirty(pool)),
            (before, Some(Lsn::new(lsn_of(0) - 8)))
        );
        assert_eq!(
            calls(&bench, |pool| assert_eq!(pool.write_before(Lsn::MAX, &mut |_| ()).unwrap(), 16)),
            1
        );
    }

    #[test]
    fn a_page_is_written_alone_where_the_disk_has_no_room_for_its_neighbours() {
        let bench = changed(16);
        bench.disk.inject(Fault::once(Call::Write, PATH, 1, FaultKind::NoSpace));
        evict(bench.store.pool(), 0);
        assert_eq!(dirty(bench.store.pool(), 16), (1..16).collect::<Vec<_>>());
    }

    #[test]
    fn pages_that_are_changed_while_their_copies_are_written_stay_changed() {
        let bench = changed(16);
        let pool = Arc::clone(bench.store.pool());
        let writes = Arc::clone(&pool);
        // After the copies are taken, before the locks are given up: 0 and 3 are changed, 5 is still being
        // changed.
        bench.disk.observe(Box::new(move |_, _| {
            if dirty(&writes, 16).len() == 16 {
                drop(change(&writes, 0, 5000));
                drop(change(&writes, 3, 6000));
                std::mem::forget(writes.pin(key(5)).unwrap().write());
            }
        }));
        pool.write_out(key(0), frame(&pool, 0), &|_, _| true).unwrap();
        bench.disk.stop_observing();
        assert_eq!(dirty(&pool, 16), [0, 3, 5]);
        let oldest = |block| frame(&pool, block).rec_lsn().map(Lsn::get);
        assert_eq!((oldest(0), oldest(3), oldest(5)), (Some(4992), Some(5992), Some(lsn_of(5) - 8)));
    }

    #[test]
    fn the_log_is_asked_before_a_page_is_written_and_once_for_a_run() {
        let bench = changed(16);
        let (asked, disk) = (Arc::new(Mutex::new(Vec::new())), bench.disk.clone());
        let (seen, before) = (Arc::clone(&asked), disk.changes());
        let barrier =
            Barrier::new(lsn_of(12), move |lsn| seen.lock().push((lsn.get(), disk.changes() - before)));
        bench.store.set_barrier(Arc::new(barrier));
        evict(bench.store.pool(), 7);
        assert_eq!(*asked.lock(), [(lsn_of(7), 0)]);
        assert_eq!(dirty(bench.store.pool(), 16), [13, 14, 15], "the log is not flushed up to there");
    }

    #[test]
    fn who_finds_a_page_torn_on_disk_has_it_written_from_the_pool() {
        let bench = changed(4);
        let (store, pool) = (&bench.store, bench.store.pool());
        pool.write_before(Lsn::MAX, &mut |_| ()).unwrap();
        let file = bench.disk.open(Path::new(PATH), OpenMode::ReadWrite).unwrap();
        let tear = |block: u64| file.write_all_at(&[7; 100], block * PAGE_SIZE as u64 + 4096).unwrap();
        let mend = || {
            let bytes = bench.disk.read(Path::new(PATH), 1 << 20).unwrap();
            store.mend_file(REL, BlockNumber::new(0), &bytes).unwrap()
        };
        assert!(!mend(), "all are whole");
        drop(change(pool, 0, 5000));
        drop(change(pool, 2, 5000));
        tear(2);
        assert!(mend());
        assert_eq!(dirty(pool, 4), [0], "what is whole there is not written");
        assert!(!mend());
        // What the log has cut off goes; what the pool has not is damage.
        pool.forget(REL, 2);
        store.relations().get(REL).unwrap().begin_cut(2, Lsn::new(6000));
        tear(3);
        assert!(mend());
        assert_eq!(bench.disk.metadata(Path::new(PATH)).unwrap().len, 2 * PAGE_SIZE as u64);
        pool.forget(REL, 0);
        tear(1);
        assert!(!mend());
    }

    #[test]
    fn a_cut_waits_for_the_log_of_one_that_joins_it() {
        let bench = changed(4);
        bench.store.pool().write_before(Lsn::MAX, &mut |_| ()).unwrap();
        let relation = bench.store.relations().get(REL).unwrap();
        relation.begin_cut(3, Lsn::new(2000));
        let (asked, joins) = (Arc::new(Mutex::new(Vec::new())), Arc::clone(&relation));
        let seen = Arc::clone(&asked);
        let work = move |lsn: Lsn| {
            if seen.lock().is_empty() {
                joins.begin_cut(2, Lsn::new(3000));
            }
            seen.lock().push(lsn.get());
        };
        bench.store.set_barrier(Arc::new(Barrier::new(0, work)));
        bench.store.finish_cut(&relation).unwrap();
        assert_eq!((&*asked.lock(), relation.pending_cut()), (&vec![2000, 3000], None));
        assert_eq!(bench.disk.metadata(Path::new(PATH)).unwrap().len, 2 * PAGE_SIZE as u64);
    }

    #[test]
    fn a_cut_in_the_middle_of_a_run_is_done_before_it_is_written() {
        let bench = changed(32);
        let pool = bench.store.pool();
        pool.write_before(Lsn::MAX, &mut |_| ()).unwrap();
        let relation = bench.store.relations().get(REL).unwrap();
        pool.forget(REL, 8);
        relation.begin_cut(8, Lsn::new(2000));
        relation.extend_to(BlockNumber::new(11));
        (6..12).for_each(|block| drop(change(pool, block, 3000)));
        assert_eq!(calls(&bench, |pool| assert_eq!(pool.write_before(Lsn::MAX, &mut |_| ()).unwrap(), 6)), 1);
        assert_eq!(relation.pending_cut(), None);
        assert_eq!(bench.disk.metadata(Path::new(PATH)).unwrap().len, 12 * PAGE_SIZE as u64);
    }
}
