//! The buffer pool: a fixed number of frames, found by page through a sharded table, given to other pages by
//! a clock sweep with usage counts, as PostgreSQL's: pages that are used often survive as many rounds.
//!
//! A scan of much uses a [`Ring`]: few frames, which it takes again and again, so that its pages push out
//! each other and not what everybody else uses; its pins count a page as used once at most. (S3-FIFO and 2Q
//! need a history of pages that left. Here the scans are known as such, so none is needed.)
//!
//! A pin keeps a page in its frame; a latch (never held across an await) orders readers and the writer of the
//! page. Of a frame, `state` (pins, usage, loading) is atomic; `key` changes only while exactly one pin, the
//! changer's, exists and the page's table shard is locked; `rec_lsn` and `next_rec_lsn` change under the
//! page's latch. Locks, in order: `io` of a frame, its latch, a table shard, a frame's key. Who has one `io`
//! only tries to get others, and has no other while it waits for a latch.
//!
//! A page is written from a copy taken under its read latch, after [`WriteBarrier`] has said that it may be,
//! and with it the changed ones next to it in its file (`run.rs`). After a poisoning (the log failed in the
//! middle of a change, or a sync failed) no page is written ever again.

mod ahead;
mod behind;
mod frame;
mod ring;
mod run;
mod sweep;

pub use ahead::CleanNeed;
use frame::Spare;
pub use frame::{OwnedPin, Pin, ReadPage, SpareFrame, WritePage};
pub use ring::{RING_FRAMES, Ring};

use crate::Error;
use crate::pages::barrier::WriteBarrier;
use crate::pages::page::{PAGE_SIZE, Page};
use crate::pages::relation::Relations;
use frame::Frame;
pub(crate) use frame::KeyHasher;
use host::sync::{Condvar, Mutex, RwLock};
use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use wal::{BlockNumber, RelFile};

/// The least number of frames (shared_buffers = 1MB).
pub const FRAMES_MIN: usize = 128;
/// How long a load waits for a frame before it gives up.
const FRAME_WAIT: Duration = Duration::from_secs(30);

/// Names one page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageKey {
    /// The relation.
    pub rel: RelFile,
    /// The page in it.
    pub block: BlockNumber,
}

impl PageKey {
    /// A page by relation and number.
    pub const fn new(rel: RelFile, block: BlockNumber) -> Self {
        Self { rel, block }
    }
}

/// What a file is that ends before a page.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Short {
    IsDamage,
    IsNew,
}

type Hasher = BuildHasherDefault<KeyHasher>;
type Shard = RwLock<HashMap<PageKey, u32, Hasher>>;

/// How often pages came from and went to disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolCounters {
    /// Pages read.
    pub reads: u64,
    /// Pages written, by whomever.
    pub writes: u64,
    /// Of those, by checkpoints.
    pub checkpoint_writes: u64,
    /// Of those, by the background writer.
    pub background_writes: u64,
    /// Rounds of the background writer that ended because it had written its most.
    pub background_stops: u64,
    /// Frames given to other pages.
    pub taken: u64,
}

/// The pool; shared by Arc.
#[derive(Debug)]
pub struct Pool {
    frames: Box<[Frame]>,
    table: Box<[Shard]>,
    free: Mutex<Vec<u32>>,
    hand: AtomicUsize,
    relations: Arc<Relations>,
    checksums: bool,
    barrier: RwLock<Option<Arc<dyn WriteBarrier>>>,
    poison: OnceLock<Error>,
    /// Loads that wait for a frame, and their bell.
    waiting: AtomicU32,
    bell: (Mutex<()>, Condvar),
    /// Pins that prepared changes may still take, so that readers always find frames.
    budget: Budget,
    /// Pins that operations may still keep, so that who writes in place always finds frames.
    kept_budget: Budget,
    /// Memory for runs of pages that are written, not in use.
    run_copies: Mutex<Vec<Vec<[u8; PAGE_SIZE]>>>,
    reads: AtomicU64,
    writes: AtomicU64,
    checkpoint_writes: AtomicU64,
    background_writes: AtomicU64,
    background_stops: AtomicU64,
    taken: AtomicU64,
}

impl Pool {
    /// A pool of `frames` frames (at least [`FRAMES_MIN`]); their memory is taken as they are first used.
    pub fn new(frames: usize, relations: Arc<Relations>, checksums: bool) -> Self {
        let count = u32::try_from(frames.max(FRAMES_MIN)).unwrap_or(u32::MAX >> 1);
        let shards = (count as usize / 16).next_power_of_two().clamp(16, 256);
        Self {
            frames: (0..count).map(|_| Frame::default()).collect(),
            table: (0..shards).map(|_| Shard::default()).collect(),
            free: Mutex::new((0..count).rev().collect()),
            hand: AtomicUsize::new(0),
            relations,
            checksums,
            barrier: RwLock::new(None),
            poison: OnceLock::new(),
            waiting: AtomicU32::new(0),
            bell: Default::default(),
            budget: Budget::new(count as usize / 2),
            kept_budget: Budget::new(count as usize / 4),
            run_copies: Mutex::default(),
            reads: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            checkpoint_writes: AtomicU64::new(0),
            background_writes: AtomicU64::new(0),
            background_stops: AtomicU64::new(0),
            taken: AtomicU64::new(0),
        }
    }

    /// Whether pages bear PostgreSQL's checksum.
    pub(crate) const fn has_checksums(&self) -> bool {
        self.checksums
    }
    /// Frames in the pool.
    pub fn frame_count(&self) -> usize {
        self.frames.len()
    }
    /// Pages read and written so far.
    pub fn counters(&self) -> PoolCounters {
        PoolCounters {
            reads: self.reads.load(Ordering::Relaxed),
            writes: self.writes.load(Ordering::Relaxed),
            checkpoint_writes: self.checkpoint_writes.load(Ordering::Relaxed),
            background_writes: self.background_writes.load(Ordering::Relaxed),
            background_stops: self.background_stops.load(Ordering::Relaxed),
            taken: self.taken.load(Ordering::Relaxed),
        }
    }
    /// Sets what must be done before a page is written.
    pub fn set_barrier(&self, barrier: Arc<dyn WriteBarrier>) {
        *self.barrier.write() = Some(barrier);
    }
    /// Forbids every write of a page from now on: memory and log no longer agree, the disk lied, or the
    /// server stops as by a crash.
    pub fn poison(&self, why: Error) {
        let _ = self.poison.set(why);
    }
    /// Fails if the pool is poisoned.
    ///
    /// # Errors
    /// Fails with the reason if it is.
    pub fn check_poison(&self) -> Result<(), Error> {
        self.poison.get().map_or(Ok(()), |error| Err(error.clone()))
    }

    fn shard(&self, key: PageKey) -> &Shard {
        let hash = Hasher::default().hash_one(key);
        // The map inside takes the low bits, the shard the high ones.
        &self.table[(hash >> 48) as usize & (self.table.len() - 1)]
    }

    /// Pins a page that is in the pool and read; None if it is not.
    pub fn pin(&self, key: PageKey) -> Option<Pin<'_>> {
        let shard = self.shard(key).read();
        let frame = *shard.get(&key)?;
        let pin = Pin::take(self, frame);
        drop(shard);
        (!self.frames[frame as usize].is_loading()).then_some(pin)
    }

    /// As [`Pool::pin`], for a scan: see [`Ring`].
    pub fn pin_gently(&self, key: PageKey) -> Option<Pin<'_>> {
        let shard = self.shard(key).read();
        let frame = *shard.get(&key)?;
        let pin = Pin::take_gently(self, frame);
        drop(shard);
        (!self.frames[frame as usize].is_loading()).then_some(pin)
    }

    /// Whether a page is in the pool, or on its way there.
    pub fn has(&self, key: PageKey) -> bool {
        self.shard(key).read().contains_key(&key)
    }

    /// Pins a page, reading it if it is not in the pool. Blocks on the disk, and with `wait` on a free frame;
    /// without it a pool without a free frame is [`Error::PoolExhausted`] at once.
    ///
    /// # Errors
    /// Fails if the page does not exist, is damaged or cannot be read, or no frame is free.
    pub fn load(&self, key: PageKey, wait: bool) -> Result<Pin<'_>, Error> {
        self.load_or(key, wait, Short::IsDamage, None)
    }

    /// As [`Pool::load`], into a frame of the ring's if one can be had.
    ///
    /// # Errors
    /// Fails if the page does not exist, is damaged or cannot be read, or no frame is free.
    pub fn load_in(&self, key: PageKey, wait: bool, ring: Option<&Ring>) -> Result<Pin<'_>, Error> {
        self.load_or(key, wait, Short::IsDamage, ring)
    }

    /// As [`Pool::load`], for redo: a page behind the file's end is a new one, whose relation a later record
    /// drops.
    ///
    /// # Errors
    /// Fails if the page is damaged or cannot be read, or no frame is free.
    pub fn load_for_redo(&self, key: PageKey) -> Result<Pin<'_>, Error> {
        self.load_or(key, true, Short::IsNew, None)
    }

    fn load_or(&self, key: PageKey, wait: bool, short: Short, ring: Option<&Ring>) -> Result<Pin<'_>, Error> {
        if let Some(pin) = self.pin(key) {
            return Ok(pin);
        }
        loop {
            if let Some(pin) = self.pin_or_wait(key) {
                return Ok(pin);
            }
            let relation = self.relations.get(key.rel).ok_or(Error::NoSuchTree(key.rel))?;
            if key.block.get() >= relation.page_count() {
                return Err(Error::corrupt_page(
                    key.rel,
                    key.block,
                    format!("a link leads here, but the relation has {} pages", relation.page_count()),
                ));
            }
            let reused = ring.and_then(|ring| self.take_of(ring));
            let spare = reused.map_or_else(|| self.spare(wait), Ok)?;
            let frame = spare.frame();
            let mut slot = frame.slot.write();
            {
                let mut shard = self.shard(key).write();
                if shard.contains_key(&key) {
                    continue;
                }
                frame.set_loading(true);
                *frame.key.lock() = Some(key);
                shard.insert(key, spare.index());
            }
            let page = slot.page_mut();
            let read = relation.read(key.block, page).and_then(|found| match found {
                true => page
                    .unseal(key.block, self.checksums)
                    .map_err(|fault| Error::corrupt_page(key.rel, key.block, fault.to_string())),
                false if short == Short::IsNew => {
                    page.clone_from(&Page::ZERO);
                    Ok(())
                }
                false => Err(Error::corrupt_page(key.rel, key.block, "the file ends before it")),
            });
            self.reads.fetch_add(1, Ordering::Relaxed);
            match read {
                Ok(()) => {
                    frame.set_loading(false);
                    drop(slot);
                    if let Some(ring) = ring {
                        ring.add(spare.index(), key);
                    }
                    return Ok(spare.into_pin());
                }
                Err(error) => {
                    self.shard(key).write().remove(&key);
                    *frame.key.lock() = None;
                    drop(slot);
                    // Those who waited for the load let go as soon as they see that the frame has no page.
                    while frame.pins() > 1 {
                        host::thread::yield_now();
                    }
                    frame.set_loading(false);
                    return Err(error);
                }
            }
        }
    }

    /// Pins a page that is in the pool, waiting for a load in progress; None if it is not there or the load
    /// failed.
    fn pin_or_wait(&self, key: PageKey) -> Option<Pin<'_>> {
        let pin = {
            let shard = self.shard(key).read();
            Pin::take(self, *shard.get(&key)?)
        };
        let frame = &self.frames[pin.index() as usize];
        if frame.is_loading() {
            drop(frame.slot.read());
        }
        let is_there = *frame.key.lock() == Some(key);
        is_there.then_some(pin)
    }

    /// Latches a page that is about to be made anew, without reading it. Takes `spare` if the page is not in
    /// the pool; without one a free frame, for which `io` allows the writing of another page. None: no frame.
    ///
    /// # Errors
    /// Fails if a page cannot be written to make a frame free.
    pub fn create(
        &self,
        key: PageKey,
        spare: Option<SpareFrame>,
        io: bool,
    ) -> Result<Option<WritePage<'_>>, Error> {
        let mut spare = spare.and_then(|spare| spare.lend(self));
        loop {
            if let Some(pin) = self.pin_or_wait(key) {
                return Ok(Some(pin.write()));
            }
            let taken = match spare.take() {
                Some(spare) => spare,
                None if io => self.spare(true)?,
                None => match self.take_frame(false)? {
                    Some(frame) => frame,
                    None => return Ok(None),
                },
            };
            let mut slot = taken.frame().slot.write();
            let mut shard = self.shard(key).write();
            if shard.contains_key(&key) {
                // A reader of a standby was faster to load the old page.
                drop((shard, slot));
                spare = Some(taken);
                continue;
            }
            slot.page_mut().clone_from(&Page::ZERO);
            *taken.frame().key.lock() = Some(key);
            shard.insert(key, taken.index());
            drop(shard);
            return Ok(Some(taken.into_page(slot)));
        }
    }

    /// A frame set aside for a change to come, if one is free without I/O.
    ///
    /// # Errors
    /// Fails if the pool cannot look for a frame.
    pub fn set_aside(self: &Arc<Self>) -> Result<Option<SpareFrame>, Error> {
        Ok(self.take_frame(false)?.map(|frame| frame.into_owned(self)))
    }

    /// Writes changed pages until `count` frames are free. Blocks on the disk, and with `wait` on others'
    /// pins.
    ///
    /// # Errors
    /// Fails if a page cannot be written, or no frame becomes free.
    pub fn make_free(&self, count: usize, wait: bool) -> Result<(), Error> {
        let mut taken = Vec::with_capacity(count);
        while taken.len() < count
            && let Some(frame) = self.take_frame(true)?
        {
            taken.push(frame);
        }
        // With some frames in hand it does not wait for more: others may do the same.
        if taken.is_empty() { self.spare(wait).map(drop) } else { Ok(()) }
    }

    /// A frame that holds no page. Blocks on the disk, and with `wait` on other users' pins.
    fn spare(&self, wait: bool) -> Result<Spare<'_>, Error> {
        if let Some(frame) = self.take_frame(true)? {
            return Ok(frame);
        }
        if !wait {
            return Err(Error::PoolExhausted);
        }
        let deadline = host::Instant::now() + FRAME_WAIT;
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let found = loop {
            let mut bell = self.bell.0.lock();
            match self.take_frame(true) {
                Ok(Some(frame)) => break Ok(frame),
                Ok(None) => {}
                Err(error) => break Err(error),
            }
            // A pin given up between the look and the wait rings a bell that is not yet heard: so look again
            // soon.
            self.bell.1.wait_for(&mut bell, Duration::from_millis(20));
            if host::Instant::now() > deadline {
                break Err(Error::PoolExhausted);
            }
        };
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        found
    }

    /// Takes back a frame that holds no page.
    fn give_back(&self, frame: u32) {
        self.frames[frame as usize].unpin();
        self.free.lock().push(frame);
        self.ring();
    }

    /// Called when a pin or frame was given up.
    fn ring(&self) {
        if self.waiting.load(Ordering::Relaxed) > 0 {
            self.bell.1.notify_one();
        }
    }

    /// The pins that prepared changes may hold at once.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }
    /// The pins that operations may keep at once while they wait for others.
    pub fn kept_budget(&self) -> &Budget {
        &self.kept_budget
    }
}

/// A number of pins that many share.
#[derive(Debug)]
pub struct Budget(AtomicUsize);

impl Budget {
    fn new(count: usize) -> Self {
        Self(AtomicUsize::new(count))
    }

    /// Takes `count`; false if there are not as many left.
    pub fn take(&self, count: usize) -> bool {
        let take = |left: usize| left.checked_sub(count);
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).is_ok()
    }
    /// Gives back what was taken.
    pub fn give_back(&self, count: usize) {
        self.0.fetch_add(count, Ordering::AcqRel);
    }
}
