//! Frames change hands, and pages go to disk.

use super::frame::{Frame, Spare};
use super::{PageKey, Pool};
use crate::Error;
use crate::pages::page::Page;
use std::sync::atomic::Ordering;
use wal::{Lsn, RelFile};

/// Rounds of the clock before the pool counts as full of pins: enough for every usage count to run down.
const ROUNDS: usize = 7;

impl Pool {
    /// A frame that holds no page: a free one, or one whose page leaves the pool. With `io` a changed page
    /// may be written for it. None: all are pinned (or, without `io`, changed).
    pub(super) fn take_frame(&self, io: bool) -> Result<Option<Spare<'_>>, Error> {
        if let Some(frame) = self.take_free() {
            return Ok(Some(frame));
        }
        let mut full_disk = None;
        for _ in 0..self.frames.len() * ROUNDS {
            let index = self.hand.fetch_add(1, Ordering::Relaxed) % self.frames.len();
            let frame = &self.frames[index];
            if (!io && frame.is_dirty()) || !frame.tick() {
                continue;
            }
            match self.evict(frame, io) {
                Ok(true) => {
                    self.taken.fetch_add(1, Ordering::Relaxed);
                    return Ok(Some(Spare::claimed(self, index as u32)));
                }
                Ok(false) => frame.unpin(),
                // Clean pages can still make room, so that reads go on.
                Err(error @ Error::DiskFull { .. }) => {
                    frame.unpin();
                    full_disk = Some(error);
                }
                Err(error) => {
                    frame.unpin();
                    return Err(error);
                }
            }
        }
        match (self.take_free(), full_disk) {
            (Some(frame), _) => Ok(Some(frame)),
            (None, Some(error)) => Err(error),
            (None, None) => Ok(None),
        }
    }

    fn take_free(&self) -> Option<Spare<'_>> {
        let index = self.free.lock().pop()?;
        // Free frames have no pins and no page, and the sweep leaves them alone, so this claim is the only
        // one.
        while !self.frames[index as usize].claim() {
            host::thread::spin();
        }
        Some(Spare::claimed(self, index))
    }

    /// Takes the page out of a claimed frame. False if it has none or somebody uses it after all.
    pub(super) fn evict(&self, frame: &Frame, io: bool) -> Result<bool, Error> {
        let Some(key) = *frame.key.lock() else { return Ok(false) };
        if frame.is_dirty() {
            if !io {
                return Ok(false);
            }
            // What is used much changes again soon: it is written when it leaves itself.
            self.write_out(key, frame, &|_, neighbour| neighbour.is_little_used())?;
        }
        let mut shard = self.shard(key).write();
        if frame.pins() != 1 || frame.is_dirty() || *frame.key.lock() != Some(key) {
            return Ok(false);
        }
        shard.remove(&key);
        *frame.key.lock() = None;
        Ok(true)
    }

    /// Writes a page if it is changed, with its changed neighbours. False if it is not in the pool.
    pub(crate) fn write_if_changed(&self, key: PageKey) -> Result<bool, Error> {
        let Some(pin) = self.pin_gently(key) else { return Ok(false) };
        self.write_out(key, &self.frames[pin.index() as usize], &|_, _| true)?;
        Ok(true)
    }

    /// Sees to it that files may be changed that the log up to `lsn` tells of; returns up to where that is so
    /// by now.
    pub(crate) fn before_write(&self, lsn: Lsn) -> Result<Lsn, Error> {
        let barrier = self.barrier.read().clone();
        barrier.map_or(Ok(Lsn::MAX), |barrier| barrier.before_page_write(lsn))
    }

    /// Writes every page whose oldest unwritten change is of a record before `before`, in file order. `pace`
    /// hears after each page which share is done (0 to 1).
    ///
    /// # Errors
    /// Fails if the log cannot be flushed or a page not be written.
    pub fn write_before(&self, before: Lsn, pace: &mut dyn FnMut(f64)) -> Result<u64, Error> {
        self.write_before_while(before, &mut |done| {
            pace(done);
            true
        })
    }

    /// The same, until `pace` says no.
    ///
    /// # Errors
    /// As [`Self::write_before`].
    pub fn write_before_while(&self, before: Lsn, pace: &mut dyn FnMut(f64) -> bool) -> Result<u64, Error> {
        let is_due = |frame: &Frame| frame.rec_lsn().is_some_and(|lsn| lsn < before);
        let mut keys: Vec<PageKey> = Vec::new();
        for frame in &self.frames {
            if is_due(frame) {
                keys.extend(*frame.key.lock());
            }
        }
        keys.sort_unstable();
        let (total, mut written) = (keys.len(), 0);
        for (done, key) in (1_usize..).zip(keys) {
            // A page no longer in the pool was written when it left.
            if let Some(pin) = self.pin(key) {
                let frame = &self.frames[pin.index() as usize];
                // One that is no longer due was written with a neighbour.
                let wrote = match is_due(frame) {
                    true => self.write_out(key, frame, &|_, neighbour| is_due(neighbour))? as u64,
                    false => 0,
                };
                written += wrote;
                self.checkpoint_writes.fetch_add(wrote, Ordering::Relaxed);
            }
            if !pace(done as f64 / total as f64) {
                break;
            }
        }
        Ok(written)
    }

    /// The newest LSN that a page on disk bears, of those pages that the pool has changed since. Redo makes
    /// such pages from images and does not read them. A page that does not check out says nothing. At most
    /// `pages_max` are looked at, evenly spread over all; `goes_on` is asked before each.
    ///
    /// # Errors
    /// Fails if a file cannot be read, or `goes_on` fails.
    pub fn newest_lsn_on_disk(
        &self,
        pages_max: usize,
        goes_on: &dyn Fn() -> Result<(), Error>,
    ) -> Result<Lsn, Error> {
        let mut newest = Lsn::INVALID;
        let mut page = Box::new(Page::ZERO);
        let changed = || self.frames.iter().filter(|frame| frame.is_dirty());
        let step = changed().count().div_ceil(pages_max.max(1)).max(1);
        for frame in changed().step_by(step) {
            goes_on()?;
            let key = *frame.key.lock();
            let Some(key) = key else { continue };
            let Some(relation) = self.relations.get(key.rel) else { continue };
            if relation.read(key.block, &mut page)? && page.unseal(key.block, self.checksums).is_ok() {
                newest = newest.max(page.lsn());
            }
        }
        Ok(newest)
    }

    /// Forgets the pages of a relation from block `from` on without writing them.
    pub fn forget(&self, rel: RelFile, from: u32) {
        for (index, frame) in (0..).zip(&self.frames) {
            let key = *frame.key.lock();
            let Some(key) = key.filter(|key| key.rel == rel && key.block.get() >= from) else { continue };
            let _io = frame.io.lock();
            if *frame.key.lock() != Some(key) {
                continue;
            }
            frame.forget_changes();
            // A page that is still pinned leaves later, as any clean one.
            if frame.claim() {
                match self.evict(frame, false) {
                    Ok(true) => drop(Spare::claimed(self, index)),
                    _ => frame.unpin(),
                }
            }
        }
    }
}
