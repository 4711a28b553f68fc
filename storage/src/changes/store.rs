//! The tree side of the engine in one object: relation files, buffer pool, the log that page changes go to.
//!
//! Locks and their order: the write lock ([`Store::writer`]), then page latches (a tree page before its
//! overflow pages before the meta page), then the pool's and the files' own short locks. All logged changes
//! of pages are made by the one holder of the write lock, so a redo point taken under it falls between
//! changes. Readers take one tree page's latch at a time, and keep it only to follow that leaf's overflow
//! pages.

use crate::lock_order::{Rank, Ranked};
use crate::pages::page::{PAGE_SIZE, Page};
use crate::pages::pool::{OwnedPin, PageKey, Pool, PoolCounters, RING_FRAMES, Ring};
use crate::pages::relation::{Relation, Relations};
use crate::{Error, Interrupt, TreeId};
use host::Host;
use host::Mutex;
use host::sync::RwLock;
use smallvec::SmallVec;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use wal::{BlockNumber, ImageMethod, Lsn, RelFile, Xid};

use super::kept::{Kept, PINS_KEPT_MAX, Turn};
use super::resume::{Held, resuming};

pub use super::log::{Log, Logged};
pub use super::writer::{NewVersion, Writer};
pub use crate::pages::barrier::WriteBarrier;

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// The data directory.
    pub dir: PathBuf,
    /// Pages in the buffer pool, at least 128.
    pub frames: usize,
    /// Whether pages carry PostgreSQL's checksum (data_page_checksum_version of the control file).
    pub checksums: bool,
    /// Whether the first change of a page after a redo point logs its image.
    pub full_page_writes: bool,
}

/// What an operation on pages could not go on without, or why it failed.
#[derive(Clone, Debug)]
pub enum Fault {
    /// This page is not in the pool: load it, keep it pinned, try again.
    Miss(PageKey),
    /// No frame is free without I/O: make some free, and try again.
    NeedFrames,
    /// It has done much in one go: let others have the thread and the pages, then go on.
    Pause,
    /// It failed.
    Failed(Error),
}

impl Fault {
    /// The error of a fault that nothing can be done about any more.
    pub(crate) fn into_error(self) -> Error {
        match self {
            Self::Failed(error) => error,
            Self::Miss(_) | Self::NeedFrames | Self::Pause => Error::PoolExhausted,
        }
    }
}

impl From<Error> for Fault {
    #[cold]
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) pool: Arc<Pool>,
    pub(crate) relations: Arc<Relations>,
    pub(crate) log: RwLock<Option<Arc<dyn Log>>>,
    pub(crate) full_page_writes: AtomicBool,
    pub(crate) image_compression: RwLock<ImageMethod>,
    pub(crate) writer: Mutex<super::writer::Scratch>,
    pub(crate) missing: Mutex<BTreeMap<PageKey, Lsn>>,
    /// The newest LSN that redo met on a page which was ahead of it.
    pub(crate) newest_met: AtomicU64,
    /// The highest horizon below which changes of this life have removed versions.
    pruned_below: AtomicU64,
    /// Pages that a scan has read ahead of it (effective_io_concurrency).
    read_ahead: AtomicUsize,
    turn: Turn,
}

/// Files, pool and log; cloning shares them.
#[derive(Clone, Debug)]
pub struct Store(pub(crate) Arc<Inner>);

/// How a page is loaded: whether it waits for a frame, and whether its pin is kept.
#[derive(Clone, Copy, Debug)]
struct Load {
    wait: bool,
    keep: bool,
}

/// Frames that one change sets aside at most; a larger one does I/O under the write lock.
pub(crate) const SPARES_MAX: usize = 16;
/// Frames that are made free at once for a change that needs some: what the largest one sets aside, and some
/// for others.
const FRAMES_MADE_FREE: usize = SPARES_MAX + 8;
/// Pages read ahead at most: a part of a ring.
const READ_AHEAD_MAX: usize = RING_FRAMES / 4;

impl Store {
    /// Opens the relation files below `base/`. Without a log it only reads and redoes.
    ///
    /// # Errors
    /// Fails if the folders of relations cannot be read.
    pub fn open(host: &Host, options: StoreOptions) -> Result<Self, Error> {
        let relations = Arc::new(Relations::open(host.disk.clone(), &options.dir)?);
        let pool = Arc::new(Pool::new(options.frames, relations.clone(), options.checksums));
        Ok(Self(Arc::new(Inner {
            pool,
            relations,
            log: RwLock::new(None),
            full_page_writes: AtomicBool::new(options.full_page_writes),
            image_compression: RwLock::new(ImageMethod::Plain),
            writer: Mutex::default(),
            missing: Mutex::default(),
            newest_met: AtomicU64::new(0),
            pruned_below: AtomicU64::new(0),
            read_ahead: AtomicUsize::new(1),
            turn: Turn::default(),
        })))
    }
    /// Lets changes go to this log from now on (a primary, or a standby at its promotion).
    pub fn set_log(&self, log: Arc<dyn Log>) {
        *self.0.log.write() = Some(log);
    }
    /// Sets what is done before a page is written.
    pub fn set_barrier(&self, barrier: Arc<dyn WriteBarrier>) {
        self.0.pool.set_barrier(barrier);
    }
    /// Whether changes log the images of pages. Redo points that follow find it as it is set here.
    pub fn set_full_page_writes(&self, on: bool) {
        self.0.full_page_writes.store(on, Ordering::Release);
    }
    /// How many pages a scan has read ahead of it (effective_io_concurrency).
    pub fn set_read_ahead(&self, pages: usize) {
        self.0.read_ahead.store(pages.min(READ_AHEAD_MAX), Ordering::Relaxed);
    }
    /// How page images are compressed from now on (wal_compression).
    pub fn set_image_compression(&self, method: ImageMethod) {
        *self.0.image_compression.write() = method;
    }
    pub(crate) fn image_compression(&self) -> ImageMethod {
        *self.0.image_compression.read()
    }
    /// Waits for the write lock.
    pub fn writer(&self) -> Writer<'_> {
        Writer::new(self, Ranked::take(Rank::Write, || self.0.writer.lock()))
    }
    /// Changes of this life may have removed what snapshots need that do not see all xids below this one.
    pub(crate) fn pruned_below(&self) -> Xid {
        Xid::new(self.0.pruned_below.load(Ordering::Relaxed))
    }
    pub(crate) fn prunes_below(&self, horizon: Xid) {
        self.0.pruned_below.fetch_max(horizon.get(), Ordering::Relaxed);
    }
    /// The buffer pool.
    pub fn pool(&self) -> &Arc<Pool> {
        &self.0.pool
    }
    /// The relation files.
    pub fn relations(&self) -> &Relations {
        &self.0.relations
    }
    /// Pages read and written.
    pub fn counters(&self) -> PoolCounters {
        self.0.pool.counters()
    }

    /// Runs an operation on pages, loading on the I/O pool what it misses, until it succeeds or fails.
    ///
    /// Pages once loaded stay pinned until the operation is through, as far as it has a part of what all may
    /// keep ([`super::kept`]), unless the pool has no frame for the next one: then all pins are given up
    /// before the wait, so that operations never wait for each other in a circle.
    ///
    /// # Errors
    /// Fails with what the operation failed with, or if a page cannot be loaded.
    pub async fn run<T>(&self, operation: impl FnMut() -> Result<T, Fault> + Send) -> Result<T, Error> {
        self.run_until(&Interrupt::new(), None, operation).await
    }

    /// The same, unless `interrupt` ends it, and with a ring for a scan of much, whose pages go there.
    /// [`Error::Cancelled`] if it was ended.
    pub(crate) async fn run_until<T>(
        &self,
        interrupt: &Interrupt,
        ring: Option<&Arc<Ring>>,
        mut operation: impl FnMut() -> Result<T, Fault> + Send,
    ) -> Result<T, Error> {
        let (mut kept, mut held) = (Kept::new(self.0.pool.kept_budget(), &self.0.turn), Held::default());
        let mut loads = 0..;
        loop {
            let fault = match resuming(&mut held, &mut operation) {
                Ok(value) => return Ok(value),
                Err(Fault::Failed(error)) => return Err(error),
                Err(fault) => fault,
            };
            if interrupt.is_cancelled() {
                return Err(Error::Cancelled);
            }
            if let Fault::Pause = fault {
                tokio::task::yield_now().await;
                continue;
            }
            // One step may need more pages at once than the ring has frames (a value of 300 kB): in the ring
            // it would push out its own for ever.
            let ring = ring.filter(|_| loads.next().is_some_and(|load: usize| load < RING_FRAMES / 2));
            let keep = kept.make_place(interrupt).await?;
            match self.on_io_pool(fault.clone(), Load { wait: false, keep }, ring.cloned()).await {
                Ok(pin) => kept.add(pin),
                Err(Error::PoolExhausted) => {
                    kept.clear();
                    let keep = kept.make_place(interrupt).await?;
                    kept.add(self.on_io_pool(fault, Load { wait: true, keep }, ring.cloned()).await?);
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn on_io_pool(
        &self,
        fault: Fault,
        load: Load,
        ring: Option<Arc<Ring>>,
    ) -> Result<Option<OwnedPin>, Error> {
        let store = self.clone();
        let done = crate::blocking::run(move || {
            let pin = store.resolve(fault, load.wait, ring.as_deref())?;
            Ok(pin.filter(|_| load.keep))
        })
        .await;
        // It is cancelled only when the runtime stops.
        done.unwrap_or(Err(Error::Shutdown))
    }

    fn resolve(&self, fault: Fault, wait: bool, ring: Option<&Ring>) -> Result<Option<OwnedPin>, Error> {
        match fault {
            Fault::Miss(key) => {
                // Whoever was led to a page that was cut off meanwhile looks again, and finds out if that is
                // damage.
                let is_cut_off =
                    || self.0.relations.get(key.rel).is_some_and(|rel| key.block.get() >= rel.page_count());
                match self.0.pool.load_in(key, wait, ring) {
                    Ok(pin) => Ok(Some(pin.into_owned(&self.0.pool))),
                    Err(Error::Corrupt(_)) if is_cut_off() => Ok(None),
                    Err(error) => Err(error),
                }
            }
            Fault::NeedFrames => self.0.pool.make_free(FRAMES_MADE_FREE, wait).map(|()| None),
            Fault::Pause => Ok(None),
            Fault::Failed(error) => Err(error),
        }
    }

    /// Makes some frames free, waiting for them if need be.
    pub(crate) async fn make_free(&self) -> Result<(), Error> {
        self.on_io_pool(Fault::NeedFrames, Load { wait: true, keep: false }, None).await.map(drop)
    }

    /// Begins to read pages that a scan will come to; what goes wrong is told when it does.
    pub(crate) fn read_ahead(&self, rel: RelFile, blocks: &[BlockNumber], ring: Option<&Arc<Ring>>) {
        for block in blocks {
            let (store, ring, key) = (self.clone(), ring.cloned(), PageKey::new(rel, *block));
            drop(crate::blocking::run(move || store.0.pool.load_in(key, false, ring.as_deref()).map(drop)));
        }
    }
    pub(crate) fn read_ahead_pages(&self) -> usize {
        self.0.read_ahead.load(Ordering::Relaxed)
    }

    /// As [`Store::run`], loading in place: for redo, tools and tests.
    ///
    /// # Errors
    /// Fails with what the operation failed with, or if a page cannot be loaded.
    pub fn run_blocking<T>(&self, operation: impl FnMut() -> Result<T, Fault>) -> Result<T, Error> {
        self.run_blocking_in(None, operation)
    }

    /// The same for a scan of much, whose pages go into its ring.
    ///
    /// # Errors
    /// Fails with what the operation failed with, or if a page cannot be loaded.
    pub fn run_blocking_in<T>(
        &self,
        ring: Option<&Ring>,
        mut operation: impl FnMut() -> Result<T, Fault>,
    ) -> Result<T, Error> {
        let (mut kept, mut held) = (SmallVec::<[OwnedPin; 4]>::new(), Held::default());
        loop {
            let fault = match resuming(&mut held, &mut operation) {
                Ok(value) => return Ok(value),
                Err(Fault::Failed(error)) => return Err(error),
                Err(fault) => fault,
            };
            if kept.len() >= PINS_KEPT_MAX {
                kept.remove(0);
            }
            match self.resolve(fault.clone(), false, ring) {
                Ok(pin) => kept.extend(pin),
                Err(Error::PoolExhausted) => {
                    kept.clear();
                    kept.extend(self.resolve(fault, true, ring)?);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Forgets and removes the files of relations that the log up to `end` drops. Nobody may use them any
    /// more. Only redo up to there makes a directory whole that lacks them, as with a page that is as new.
    /// Returns those of which files stay, and why: they are nobody's, and take room.
    ///
    /// # Errors
    /// Fails if the log cannot be made durable up to there.
    pub fn drop_files(&self, relations: &[RelFile], end: Lsn) -> Result<Vec<(RelFile, Error)>, Error> {
        self.0.pool.before_write(end)?;
        let mut failures = Vec::new();
        for rel in relations {
            failures.extend(self.0.relations.remove(*rel).err().map(|failure| (*rel, failure)));
            self.0.pool.forget(*rel, 0);
            self.0.missing.lock().retain(|key, _| key.rel != *rel);
        }
        Ok(failures)
    }

    /// The log has just dropped these trees: nothing changes them from here on. Under the write lock, or
    /// where nobody writes.
    pub(crate) fn close_dropped(&self, trees: &[TreeId]) {
        if host::planted!("a dropped table is swept until its file goes") {
            return;
        }
        for tree in trees {
            if let Some(relation) = self.0.relations.get(tree.file()) {
                relation.close();
            }
        }
    }

    /// Writes all pages changed before `redo`, in file order, and syncs every file written since the last
    /// time. `pace` is called after each page with the share done (0 to 1). Returns pages written. After a
    /// failed sync the store writes no page any more.
    ///
    /// # Errors
    /// Fails if a page cannot be written or a file not be synced.
    pub fn flush_before(&self, redo: Lsn, pace: &mut dyn FnMut(f64)) -> Result<u64, Error> {
        let written = self.0.pool.write_before(redo, pace)?;
        self.sync_files()?;
        Ok(written)
    }

    /// Looks through pages that were read from a relation's file, from block `first` on, and has the file
    /// mended where one does not check out. After a crash a page may be torn there that redo has made whole
    /// in the pool, until the next checkpoint writes it; and pages that the log has cut off may lie there.
    /// True if it is worth to read the file again.
    ///
    /// # Errors
    /// Fails if a page cannot be written or the file not be cut.
    pub fn mend_file(&self, rel: RelFile, first: BlockNumber, bytes: &[u8]) -> Result<bool, Error> {
        let Some(relation) = self.0.relations.get(rel) else { return Ok(false) };
        let mut page = Page::boxed();
        let mut is_mended = false;
        for (block, bytes) in (first.get()..).zip(bytes.as_chunks::<PAGE_SIZE>().0) {
            let key = PageKey::new(rel, BlockNumber::new(block));
            page.bytes_mut().copy_from_slice(bytes);
            if page.unseal(key.block, self.0.pool.has_checksums()).is_ok() {
                continue;
            }
            is_mended |= match relation.pending_cut() {
                Some(_) if block >= relation.page_count() => self.finish_cut(&relation).map(|()| true)?,
                _ => self.0.pool.write_if_changed(key)?,
            };
        }
        Ok(is_mended)
    }

    /// The newest LSN that a page on disk bears, as far as redo has read pages, and of at most `anew_max` of
    /// those that it made anew and that are in the pool.
    pub(crate) fn newest_lsn_on_disk(
        &self,
        anew_max: usize,
        goes_on: &dyn Fn() -> Result<(), Error>,
    ) -> Result<Lsn, Error> {
        let met = Lsn::new(self.0.newest_met.load(Ordering::Relaxed));
        Ok(met.max(self.0.pool.newest_lsn_on_disk(anew_max, goes_on)?))
    }

    /// Cuts the files of a relation that the log has cut, once the log is flushed up to there.
    pub(crate) fn finish_cut(&self, relation: &Relation) -> Result<(), Error> {
        // While the log is flushed for one cut another thread may log the next.
        while let Some(end) = relation.pending_cut() {
            self.0.pool.before_write(end)?;
            relation.finish_cut_before(end)?;
        }
        Ok(())
    }

    /// Syncs every file written since the last time.
    ///
    /// # Errors
    /// Fails if a file cannot be cut or synced.
    pub fn sync_files(&self) -> Result<(), Error> {
        self.0.pool.check_poison()?;
        for relation in self.0.relations.all() {
            self.finish_cut(&relation)?;
        }
        let goes_on = || self.0.pool.check_poison();
        self.0.relations.sync(&goes_on).inspect_err(|error| self.0.pool.poison(error.clone()))
    }
}
