//! A transaction goes early.

use crate::changes::state_page::STATE_FILE;
use crate::changes::store::Fault;
use crate::commit::early_list::{PARTS_MAX, PLACES, Touched};
use crate::commit::request::{EarlyWrites, reserve_bytes};
use crate::commit::write_set::{CommandId, Write};
use crate::engine::Engine;
use crate::engine::sweep::sweep_aborted;
use crate::locks::{LockRef, LockSet};
use crate::pages::pool::{OwnedPin, PageKey};
use crate::transaction::Transaction;
use crate::tree::{KeyLocks, Prepared, Tree};
use crate::{Error, Interrupt, LockMode, LockWait, TreeId};
use host::task::Blocking;
use smallvec::SmallVec;
use std::sync::Arc;
use wal::{BlockNumber, Xid};

/// Where a savepoint stands in its transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SavepointMark {
    /// Writes before it.
    pub(crate) writes: usize,
    /// Locks taken before it.
    pub(crate) locks: u64,
}

/// What a large transaction wrote at one level of savepoints.
#[derive(Debug)]
struct Part {
    /// The first one is for what is written from now on, the others came by released savepoints.
    xids: SmallVec<[Xid; 1]>,
    /// How many savepoints are around it.
    depth: usize,
    /// Held on the xids until the outcome, for others to wait.
    locks: LockSet,
}

/// The pages at a tree's end that a load fills, and how far they are on their way to disk.
#[derive(Debug)]
struct Behind {
    tree: TreeId,
    /// Those before it are written, or about to be.
    next: u32,
    /// Writes a stretch.
    job: Option<Blocking<Result<usize, Error>>>,
}

/// What a large transaction has in pages. Dropping it aborts that unless it is committed; never under a lock
/// of the pipeline.
#[derive(Debug)]
pub(crate) struct Early {
    engine: Arc<Engine>,
    /// The transaction's own first.
    parts: Vec<Part>,
    /// All xids of all parts, ascending.
    xids: Vec<Xid>,
    /// Relations that the list names for them.
    touched: Vec<TreeId>,
    is_committed: bool,
    behind: Option<Behind>,
    /// Keeps the state page in the pool, so that the outcome needs no I/O.
    _page: OwnedPin,
    _place: LockSet,
}

impl Early {
    /// Whether this version is of the transaction.
    pub(crate) fn wrote(&self, xid: Xid) -> bool {
        self.xids.binary_search(&xid).is_ok()
    }
    /// Whether the command `before` sees this version because an earlier one of its own transaction wrote it.
    pub(crate) fn sees(&self, xid: Xid, cid: u32, before: CommandId) -> bool {
        cid < before.0 && self.wrote(xid)
    }
    /// What was written under more than `depth` savepoints came to nothing.
    pub(crate) fn abort_deeper(&mut self, depth: usize) {
        let gone: Vec<Part> = self.parts.extract_if(1.., |part| part.depth > depth).collect();
        let xids: Vec<Xid> = gone.iter().flat_map(|part| part.xids.iter().copied()).collect();
        self.xids.retain(|xid| !xids.contains(xid));
        if let (false, Ok(pipeline)) = (xids.is_empty(), self.engine.pipeline()) {
            pipeline.abort_early(&xids);
        }
    }
    /// Savepoints are no more: what was written under them is a part of what was written outside.
    pub(crate) fn release_deeper(&mut self, depth: usize) {
        let released: Vec<Part> = self.parts.extract_if(1.., |part| part.depth > depth).collect();
        for mut part in released {
            match self.parts.iter_mut().find(|outer| outer.depth == depth) {
                Some(outer) => {
                    outer.xids.append(&mut part.xids);
                    outer.locks.absorb(part.locks);
                }
                None => self.parts.push(Part { depth, ..part }),
            }
        }
    }
    /// Whether rows may go into pages under `depth` savepoints though there are few: they have an xid, or
    /// xids are not scarce yet.
    pub(super) fn takes_small_parts(&self, depth: usize) -> bool {
        let xids = self.parts.iter().map(|part| part.xids.len()).sum::<usize>();
        xids <= SMALL_PARTS_MAX || self.parts.iter().any(|part| part.depth == depth)
    }
}

/// Stretches that a load may be ahead of their writing.
const STRETCHES_AHEAD: u32 = 4;

impl Early {
    /// Has the pages written that a load of rising keys has filled at the end of `tree`, once frames run
    /// short; waits if that lags far behind. They are full, so that nothing is written twice. What goes wrong
    /// is told to who needs the frames, and by checkpoints.
    pub(super) async fn write_behind(&mut self, tree: TreeId, pages: u32) {
        let pool = self.engine.store.pool();
        let stretch = pool.stretch();
        let behind = match &mut self.behind {
            Some(behind) if behind.tree == tree => behind,
            other => other.insert(Behind { tree, next: pages, job: None }),
        };
        if !pool.is_nearly_full() {
            // Frames are left: a checkpoint may find these pages changed more than once.
            behind.next = behind.next.max(pages.saturating_sub(stretch));
            return;
        }
        // The last pages are still being filled, and their log is not flushed.
        while pages >= behind.next.saturating_add(2 * stretch) {
            if let Some(job) = behind.job.take_if(|job| {
                job.is_finished() || pages >= behind.next.saturating_add(STRETCHES_AHEAD * stretch)
            }) {
                let _ = job.await;
            }
            if behind.job.is_some() {
                return;
            }
            let (pool, blocks) = (Arc::clone(pool), behind.next..behind.next + stretch);
            behind.next += stretch;
            let work = move || pool.write_behind(tree.file(), blocks);
            behind.job = Some(crate::blocking::run(work));
        }
    }
}

impl EarlyWrites for Early {
    fn xids(&self) -> &[Xid] {
        &self.xids
    }
    fn committed(&mut self) {
        self.is_committed = true;
    }
}

impl Drop for Early {
    fn drop(&mut self) {
        if let (false, Ok(pipeline)) = (self.is_committed, self.engine.pipeline()) {
            pipeline.abort_early(&self.xids);
        }
    }
}

/// From how much on the write set is full once the transaction is early: with the rows' locks it stays in a
/// core's cache.
const SPILLED_BYTES: usize = 1 << 20;
/// A transaction that has more xids than this, or would take more at once, fills its write set up to the
/// limit before it takes others.
pub(super) const SMALL_PARTS_MAX: usize = 256;
/// Versions that one hold of the write lock puts into pages at most, so that commits do not wait long.
const CHUNK_VERSIONS: usize = 256;
/// The same in bytes.
const CHUNK_BYTES: usize = 32 << 10;
/// Log promised for a chunk beyond its versions: records, splits and page images.
const CHUNK_LOG_BYTES: usize = 512 << 10;
/// Pages that a chunk may add to its tree, large values apart.
const CHUNK_PAGES: u32 = 64;
/// After so many misses in a row a chunk loads what it needs under the lock.
const IN_PLACE_AFTER: u32 = 4;

/// A version to be put into a page: its key, its value or None for a deletion.
pub(crate) type KeyValue<'a> = (&'a [u8], Option<&'a [u8]>);

/// Writes that share a stamp.
pub(super) struct Stamp<'a> {
    pub(super) tree: &'a Tree,
    pub(super) xid: Xid,
    pub(super) command: CommandId,
}

/// Which versions may go into pages.
#[derive(Clone, Copy)]
pub(super) enum Which<'a> {
    /// All: their locks are held.
    All,
    /// Those under keys that nobody has or has locked; who may have is told by these locks, or nobody can.
    New(Option<OthersLocks<'a>>),
}

/// The locks that others hold on keys of a tree.
#[derive(Clone, Copy)]
pub(super) struct OthersLocks<'a> {
    pub(super) own: &'a LockSet,
    pub(super) tree: TreeId,
}

impl KeyLocks for OthersLocks<'_> {
    fn are_all_free(&self) -> bool {
        self.own.are_rows_free()
    }
    fn is_free(&self, key: &[u8]) -> bool {
        self.own.is_free(self.tree, key)
    }
}

impl Transaction {
    /// Whether it has versions in pages.
    pub(crate) fn is_early(&self) -> bool {
        self.large.is_some()
    }

    /// Puts the whole write set into pages. Where that takes many xids, or more than there is room for, it is
    /// full only at its limit from now on, and what is below stays in it.
    ///
    /// # Errors
    /// Fails with [`Error::TooManyParts`] at the limit if there is no room for the xids, and if the wait for
    /// a place is cancelled, or pages or the log cannot be written.
    pub(crate) async fn spill(&mut self) -> Result<(), Error> {
        let limit = self.engine.write_set_limit_bytes();
        let (may_save_up, parts) = (self.writes.bytes() < limit, self.parts_to_come());
        if !(may_save_up && parts > SMALL_PARTS_MAX) {
            let had = self.large.as_ref().map_or(0, |large| large.xids.len());
            // Not one is taken where all would be too many.
            let spilled =
                if had + parts > PARTS_MAX { Err(Error::TooManyParts) } else { self.spill_all().await };
            match spilled {
                Err(Error::TooManyParts) if may_save_up => {}
                other => return other,
            }
        }
        self.writes.set_limit(limit, limit);
        Ok(())
    }

    /// How many xids the write set needs to go into pages: one for each level of savepoints that has written
    /// and has none.
    pub(super) fn parts_to_come(&self) -> usize {
        let parts = self.large.iter().flat_map(|large| large.parts.iter().map(|part| part.depth));
        let mut had: Vec<usize> = parts.collect();
        had.sort_unstable();
        let mut first = self.writes.mark() - self.writes.len();
        let ends = self.savepoints.iter().map(|level| level.writes).chain([self.writes.mark()]);
        let wrote = |(depth, end): &(usize, usize)| {
            let wrote = *end > first;
            first = first.max(*end);
            wrote && had.binary_search(depth).is_err()
        };
        ends.enumerate().filter(wrote).count()
    }

    /// An error in between leaves the write set as it was: what is in pages already is found there as well,
    /// and is right.
    async fn spill_all(&mut self) -> Result<(), Error> {
        if self.writes.is_empty() {
            return Ok(());
        }
        self.go_early().await?;
        let Self { engine, writes, savepoints, large, created, locks, interrupt, .. } = self;
        let Some(large) = large else { return Ok(()) };
        let depth_of = |number: usize| savepoints.partition_point(|level| level.writes <= number);
        let work = writes.by_key(depth_of);
        for run in work.chunk_by(|left, right| left.1.tree == right.1.tree) {
            let Some((_, first)) = run.first() else { continue };
            // Also into a tree that is to be dropped: a rollback to a savepoint may keep it.
            let tree = engine.store.tree(first.tree)?;
            let is_own = created.contains(&first.tree);
            let same = |left: &(usize, &Write), right: &(usize, &Write)| {
                left.1.command == right.1.command
                    && depth_of(left.0) == depth_of(right.0)
                    && left.1.key != right.1.key
            };
            for run in run.chunk_by(same) {
                let Some((number, first)) = run.first() else { continue };
                let xid = large.part(locks, depth_of(*number), first.tree, is_own, interrupt).await?;
                let stamp = Stamp { tree: &tree, xid, command: first.command };
                let items: Vec<KeyValue<'_>> =
                    run.iter().map(|(_, write)| (&write.key[..], write.value.as_deref())).collect();
                put_into_pages(engine, &stamp, &items, Which::All, interrupt).await?;
            }
        }
        drop(work);
        let limit = engine.write_set_limit_bytes();
        writes.set_limit(limit, if large.xids.len() > SMALL_PARTS_MAX { limit } else { SPILLED_BYTES });
        let lock_depth = |number: u64| savepoints.partition_point(|level| level.locks <= number);
        locks.release_rows(|tree, key, number| {
            // One taken outside of the savepoint where the row was written outlives a rollback to it.
            writes.oldest(tree, key).is_some_and(|write| lock_depth(number) >= depth_of(write))
        });
        writes.forget();
        Ok(())
    }

    /// Takes a place and an xid, once.
    pub(crate) async fn go_early(&mut self) -> Result<(), Error> {
        if self.large.is_some() {
            return Ok(());
        }
        let mut place = self.locks.sibling();
        if !take_free_place(&mut place, &self.interrupt).await? {
            await_place(&mut place, &self.interrupt).await?;
        }
        self.begin_early(place).await
    }

    /// The same, unless it would have to wait for a place. Whether it is early now.
    pub(super) async fn go_early_now(&mut self) -> Result<bool, Error> {
        if self.large.is_none() {
            let mut place = self.locks.sibling();
            if !take_free_place(&mut place, &self.interrupt).await? {
                return Ok(false);
            }
            self.begin_early(place).await?;
        }
        Ok(true)
    }

    async fn begin_early(&mut self, place: LockSet) -> Result<(), Error> {
        let xid = begin(&self.engine, None, None, &self.interrupt).await?;
        // From here on nothing is awaited before somebody is there who aborts it.
        let key = PageKey::new(STATE_FILE.file(), BlockNumber::new(0));
        let pool = self.engine.store.pool();
        let page = match pool.load(key, true) {
            Ok(pin) => pin.into_owned(pool),
            Err(error) => {
                self.engine.pipeline()?.abort_early(&[xid]);
                return Err(error);
            }
        };
        let part = Part { xids: SmallVec::from_buf([xid]), depth: 0, locks: self.locks.sibling() };
        let early = Early {
            engine: Arc::clone(&self.engine),
            parts: vec![part],
            xids: vec![xid],
            touched: Vec::new(),
            is_committed: false,
            behind: None,
            _page: page,
            _place: place,
        };
        // What is written from now on stays in memory for a short time only.
        self.writes.set_limit(self.engine.write_set_limit_bytes(), SPILLED_BYTES);
        let early = self.large.insert(Box::new(early));
        for part in &mut early.parts {
            hold(&mut part.locks, xid).await?;
        }
        Ok(())
    }
}

impl Early {
    /// The xid for writes into `tree` under `depth` savepoints.
    pub(super) async fn part(
        &mut self,
        locks: &LockSet,
        depth: usize,
        tree: TreeId,
        is_own: bool,
        interrupt: &Interrupt,
    ) -> Result<Xid, Error> {
        // A rollback to a savepoint leaves the relations that the transaction created before.
        let is_named = (is_own && depth == 0) || self.touched.contains(&tree);
        let xid = match self.parts.iter().find(|part| part.depth == depth) {
            Some(part) => {
                let xid = part.xids[0];
                if !is_named {
                    self.engine.pipeline()?.touch(xid, tree)?;
                }
                xid
            }
            None => {
                let first = self.xids.first().copied();
                let xid = begin(&self.engine, first, (!is_named).then_some(tree), interrupt).await?;
                self.xids.push(xid);
                let part = Part { xids: SmallVec::from_buf([xid]), depth, locks: locks.sibling() };
                self.parts.push(part);
                let at = self.parts.len() - 1;
                hold(&mut self.parts[at].locks, xid).await?;
                xid
            }
        };
        if !is_named {
            self.touched.push(tree);
        }
        Ok(xid)
    }
}

/// Takes one of the places if one is free.
async fn take_free_place(place: &mut LockSet, interrupt: &Interrupt) -> Result<bool, Error> {
    for number in 0..PLACES {
        match place
            .take(LockRef::Place(number), LockMode::Exclusive.into(), LockWait::NoWait, interrupt)
            .await
        {
            Err(Error::LockNotAvailable { .. }) => {}
            other => return other.map(|_| true),
        }
    }
    Ok(false)
}

/// Waits for one of the places: stands in the queue of one of them, and takes whichever becomes free.
async fn await_place(place: &mut LockSet, interrupt: &Interrupt) -> Result<(), Error> {
    let (manager, number) = (place.manager(), place.number_below(PLACES));
    loop {
        let mut freed = std::pin::pin!(manager.place_freed().notified());
        freed.as_mut().enable();
        if take_free_place(place, interrupt).await? {
            return Ok(());
        }
        let name = LockRef::Place(number);
        tokio::select! {
            biased;
            taken = place.take(name, LockMode::Exclusive.into(), LockWait::Forever, interrupt) => {
                return taken.map(drop);
            }
            () = freed => {}
        }
    }
}

async fn hold(lock: &mut LockSet, xid: Xid) -> Result<(), Error> {
    // Nobody else holds it, so this never waits.
    lock.take(LockRef::Transaction(xid), LockMode::Exclusive.into(), LockWait::NoWait, &Interrupt::new())
        .await
        .map(drop)
}

/// A new early xid, of the transaction that has `first` or of a new one. A full list is swept first.
async fn begin(
    engine: &Arc<Engine>,
    first: Option<Xid>,
    tree: Option<TreeId>,
    interrupt: &Interrupt,
) -> Result<Xid, Error> {
    let pipeline = engine.pipeline()?;
    let touched = || Touched::These(tree.into_iter().collect());
    if let Some(xid) = pipeline.begin_early(first, touched(), false)? {
        return Ok(xid);
    }
    let (owned, until) = (Arc::clone(engine), interrupt.clone());
    let swept = crate::blocking::run(move || sweep_aborted(&owned, &until)).await;
    swept.map_err(|_| Error::Shutdown)??;
    pipeline.begin_early(first, touched(), true)?.ok_or(Error::TooManyParts)
}

/// Puts versions with one stamp into pages, in chunks. `items` are in key order, each key once if all are to
/// go. Returns how many went: the one behind them may not.
pub(super) async fn put_into_pages(
    engine: &Engine,
    stamp: &Stamp<'_>,
    items: &[KeyValue<'_>],
    which: Which<'_>,
    interrupt: &Interrupt,
) -> Result<usize, Error> {
    let (mut done, mut missed) = (0, 0);
    let mut prepared = Prepared::default();
    while let Some((key, value)) = items.get(done) {
        if interrupt.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let length = value.map_or(0, <[u8]>::len);
        let _reserved = reserve_bytes(engine.wal()?, (CHUNK_LOG_BYTES + 2 * length) as u64).await?;
        if !stamp.tree.relation().has_space(CHUNK_PAGES) {
            let tree = stamp.tree.clone();
            let space = crate::blocking::run(move || tree.relation().reserve_space(CHUNK_PAGES)).await;
            space.map_err(|_| Error::Shutdown)??;
        }
        let rest = items.get(done..).unwrap_or_default();
        let (count, end) = put_chunk(engine, stamp, rest, which, &mut prepared, missed > IN_PLACE_AFTER)?;
        done += count;
        match end {
            ChunkEnd::Full => {
                missed = 0;
                tokio::task::yield_now().await;
            }
            ChunkEnd::Refused => break,
            ChunkEnd::Fault(Fault::Failed(error)) => return Err(error),
            ChunkEnd::Fault(fault) => {
                missed = if count > 0 { 1 } else { missed + 1 };
                let Some((next, value)) = items.get(done) else { continue };
                let length = value.map_or(0, <[u8]>::len);
                debug_assert!(count > 0 || next == key);
                if let Fault::NeedFrames = fault {
                    engine.store.make_free().await?;
                }
                engine.store.run(|| stamp.tree.prepare(next, length, &mut prepared)).await?;
            }
        }
    }
    Ok(done)
}

/// Why a chunk ended.
enum ChunkEnd {
    /// It held enough, or all.
    Full,
    /// The next version may not go into a page.
    Refused,
    /// Something is missing for the next one, or it failed.
    Fault(Fault),
}

/// One hold of the write lock. Returns how many versions are in pages, and what kept the next one out.
fn put_chunk(
    engine: &Engine,
    stamp: &Stamp<'_>,
    items: &[KeyValue<'_>],
    which: Which<'_>,
    prepared: &mut Prepared,
    in_place: bool,
) -> Result<(usize, ChunkEnd), Error> {
    let pipeline = engine.pipeline()?;
    let mut writer = engine.store.writer();
    // Under the lock: after a redo point of a shutdown nothing more is written.
    pipeline.check_open()?;
    writer.set_early_xid(stamp.xid);
    writer.set_horizon(engine.visibility.horizon());
    writer.allow_io(in_place);
    let (mut done, mut bytes) = (0, 0);
    while done < items.len() && done < CHUNK_VERSIONS && bytes < CHUNK_BYTES {
        let rest = items.get(done..).unwrap_or_default();
        let rest = rest.get(..CHUNK_VERSIONS).unwrap_or(rest);
        let put = match which {
            Which::All => writer.insert_versions(stamp.tree, prepared, stamp.command.0, rest),
            Which::New(locks) => {
                writer.insert_new(stamp.tree, prepared, stamp.command.0, rest, locks.as_ref())
            }
        };
        match put {
            Ok(0) => return Ok((done, ChunkEnd::Refused)),
            Ok(count) => {
                let written = rest.iter().take(count);
                bytes += written.map(|(key, value)| key.len() + value.map_or(0, <[u8]>::len)).sum::<usize>();
                done += count;
            }
            Err(fault) => return Ok((done, ChunkEnd::Fault(fault))),
        }
    }
    Ok((done, ChunkEnd::Full))
}
