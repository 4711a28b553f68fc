//! A frame of the pool, and what holds on to it: pins, latches, spare frames.

use super::{PageKey, Pool};
use crate::lock_order::{Held, Rank, hold};
use crate::pages::page::Page;
use host::sync::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::fmt;
use std::hash::Hasher;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use wal::Lsn;

const PINS: u32 = (1 << 20) - 1;
const USAGE_ONE: u32 = 1 << 20;
const USAGE: u32 = 0xF << 20;
const USAGE_MAX: u32 = 5 << 20;
const LOADING: u32 = 1 << 31;

/// Mixes the name of a page or a relation quickly; names come from us, so nobody can make them collide on
/// purpose.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        let mixed = (self.0 ^ self.0 >> 32).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        mixed ^ mixed >> 29
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }
    fn write_u32(&mut self, value: u32) {
        self.0 = (self.0.rotate_left(23) ^ u64::from(value)).wrapping_mul(0xD6E8_FEB8_6659_FD93);
    }
}

static ZERO: Page = Page::ZERO;

/// The memory of a frame, taken when it is first used.
#[derive(Debug, Default)]
pub(super) struct Slot(Option<Box<Page>>);

impl Slot {
    pub(super) fn page(&self) -> &Page {
        self.0.as_deref().unwrap_or(&ZERO)
    }
    pub(super) fn page_mut(&mut self) -> &mut Page {
        self.0.get_or_insert_with(Page::boxed)
    }
}

#[derive(Debug, Default)]
pub(super) struct Frame {
    state: AtomicU32,
    pub(super) key: Mutex<Option<PageKey>>,
    pub(super) slot: RwLock<Slot>,
    /// Held while the page is written, so that an older copy never overtakes a newer one.
    pub(super) io: Mutex<()>,
    /// Start of the oldest record whose change is not on disk; 0 if the page is clean.
    rec_lsn: AtomicU64,
    /// Start of the oldest record after the copy that is being written was taken; 0 if there is none.
    next_rec_lsn: AtomicU64,
}

impl Frame {
    pub(super) fn pins(&self) -> u32 {
        self.state.load(Ordering::Acquire) & PINS
    }
    pub(super) fn is_loading(&self) -> bool {
        self.state.load(Ordering::Acquire) & LOADING != 0
    }
    pub(super) fn set_loading(&self, on: bool) {
        if on {
            self.state.fetch_or(LOADING, Ordering::AcqRel);
        } else {
            self.state.fetch_and(!LOADING, Ordering::AcqRel);
        }
    }
    pub(super) fn rec_lsn(&self) -> Option<Lsn> {
        Some(self.rec_lsn.load(Ordering::Acquire)).filter(|lsn| *lsn != 0).map(Lsn::new)
    }
    pub(super) fn is_dirty(&self) -> bool {
        self.rec_lsn().is_some()
    }
    /// Under the write latch: the record at `start` changed the page.
    fn mark_dirty(&self, start: Lsn) {
        for lsn in [&self.rec_lsn, &self.next_rec_lsn] {
            if lsn.load(Ordering::Acquire) == 0 {
                lsn.store(start.get(), Ordering::Release);
            }
        }
    }
    /// Under a latch: a copy is taken for writing.
    pub(super) fn begin_write(&self) {
        self.next_rec_lsn.store(0, Ordering::Release);
    }
    /// Under a latch: the copy is written; dirty only if changed since.
    pub(super) fn end_write(&self) {
        self.rec_lsn.store(self.next_rec_lsn.load(Ordering::Acquire), Ordering::Release);
    }
    /// The page need not be written any more.
    pub(super) fn forget_changes(&self) {
        self.next_rec_lsn.store(0, Ordering::Release);
        self.rec_lsn.store(0, Ordering::Release);
    }

    /// Whether the clock would take it when it next comes by.
    pub(super) fn is_next(&self) -> bool {
        self.state.load(Ordering::Acquire) & (PINS | LOADING | USAGE) == 0
    }
    /// One step of the clock: claims the frame with a pin if nobody uses it and its turn has come.
    pub(super) fn tick(&self) -> bool {
        let state = self.state.load(Ordering::Acquire);
        if state & (PINS | LOADING) != 0 {
            return false;
        }
        let next = if state & USAGE != 0 { state - USAGE_ONE } else { state + 1 };
        let swapped = self.state.compare_exchange(state, next, Ordering::AcqRel, Ordering::Acquire).is_ok();
        swapped && state & USAGE == 0
    }
    /// Claims an unused frame whatever its usage.
    pub(super) fn claim(&self) -> bool {
        let state = self.state.load(Ordering::Acquire);
        state & (PINS | LOADING) == 0
            && self.state.compare_exchange(state, 1, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
    pub(super) fn unpin(&self) {
        let before = self.state.fetch_sub(1, Ordering::AcqRel);
        debug_assert!(before & PINS != 0, "a pin is given back that nobody has");
    }
    /// Counts as not used: the clock takes it when it next comes by.
    pub(super) fn forget_uses(&self) {
        self.state.fetch_and(!USAGE, Ordering::AcqRel);
    }
    /// Whether only scans have used it of late.
    pub(super) fn is_little_used(&self) -> bool {
        self.state.load(Ordering::Acquire) & USAGE <= USAGE_ONE
    }
    fn pin(&self, usage_max: u32) {
        let state = self.state.fetch_add(1, Ordering::AcqRel) + 1;
        debug_assert!(state & PINS != 0, "a frame has more pins than can be counted");
        if state & USAGE < usage_max {
            // Lost races only make the count a little smaller.
            let _ =
                self.state.compare_exchange(state, state + USAGE_ONE, Ordering::AcqRel, Ordering::Relaxed);
        }
    }
}

/// Keeps a page in the pool, borrowed from it.
pub struct Pin<'p> {
    pool: &'p Pool,
    frame: u32,
}

impl<'p> Pin<'p> {
    /// The page's table shard is locked, or another pin is held.
    pub(super) fn take(pool: &'p Pool, frame: u32) -> Self {
        pool.frames[frame as usize].pin(USAGE_MAX);
        Self { pool, frame }
    }
    /// As [`Pin::take`], for one who will not come again: however often it is taken so, the page counts as
    /// used once.
    pub(super) fn take_gently(pool: &'p Pool, frame: u32) -> Self {
        pool.frames[frame as usize].pin(USAGE_ONE);
        Self { pool, frame }
    }
    pub(super) fn index(&self) -> u32 {
        self.frame
    }
    fn frame(&self) -> &'p Frame {
        &self.pool.frames[self.frame as usize]
    }
    /// Waits for the read latch.
    pub fn read(self) -> ReadPage<'p> {
        let held = hold(Rank::Latch);
        ReadPage { guard: self.frame().slot.read(), _held: held, pin: self }
    }
    /// Waits for the write latch.
    pub fn write(self) -> WritePage<'p> {
        let held = hold(Rank::Latch);
        WritePage { guard: self.frame().slot.write(), _held: held, pin: self }
    }
    /// The same pin, not borrowed. `pool` must be its pool.
    pub fn into_owned(self, pool: &Arc<Pool>) -> OwnedPin {
        let this = ManuallyDrop::new(self);
        OwnedPin { pool: Arc::clone(pool), frame: this.frame }
    }
}

impl Drop for Pin<'_> {
    fn drop(&mut self) {
        self.frame().unpin();
        self.pool.ring();
    }
}

impl fmt::Debug for Pin<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pin").field(&self.frame).finish()
    }
}

/// Keeps a page in the pool, across awaits.
pub struct OwnedPin {
    pool: Arc<Pool>,
    frame: u32,
}

impl OwnedPin {
    /// Another pin of the same page.
    pub fn pin(&self) -> Pin<'_> {
        Pin::take(&self.pool, self.frame)
    }
    /// The same, borrowed from `pool`; None unless that is its pool.
    pub fn pin_in<'p>(&self, pool: &'p Arc<Pool>) -> Option<Pin<'p>> {
        Arc::ptr_eq(pool, &self.pool).then(|| Pin::take(pool, self.frame))
    }
}

impl Drop for OwnedPin {
    fn drop(&mut self) {
        self.pool.frames[self.frame as usize].unpin();
        self.pool.ring();
    }
}

impl fmt::Debug for OwnedPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OwnedPin").field(&self.frame).finish()
    }
}

/// A page under its read latch. Not Send, so that it cannot cross an await.
pub struct ReadPage<'p> {
    guard: RwLockReadGuard<'p, Slot>,
    _held: Held,
    pin: Pin<'p>,
}

impl<'p> ReadPage<'p> {
    /// Gives up the latch and keeps the pin.
    pub fn into_pin(self) -> Pin<'p> {
        let Self { guard, pin, .. } = self;
        drop(guard);
        pin
    }
}

impl Deref for ReadPage<'_> {
    type Target = Page;
    fn deref(&self) -> &Page {
        self.guard.page()
    }
}

/// A page under its write latch.
pub struct WritePage<'p> {
    guard: RwLockWriteGuard<'p, Slot>,
    _held: Held,
    pin: Pin<'p>,
}

impl WritePage<'_> {
    /// The record from `start` to `end` has changed the page.
    pub fn changed_by(&mut self, start: Lsn, end: Lsn) {
        self.set_lsn(end);
        self.pin.frame().mark_dirty(start);
    }
}

impl Deref for WritePage<'_> {
    type Target = Page;
    fn deref(&self) -> &Page {
        self.guard.page()
    }
}

impl DerefMut for WritePage<'_> {
    fn deref_mut(&mut self) -> &mut Page {
        self.guard.page_mut()
    }
}

/// A frame without a page, out of circulation until it is used or dropped.
pub(super) struct Spare<'p> {
    pool: &'p Pool,
    frame: u32,
}

impl<'p> Spare<'p> {
    /// The caller has claimed the frame, and it holds no page.
    pub(super) fn claimed(pool: &'p Pool, frame: u32) -> Self {
        Self { pool, frame }
    }
    pub(super) fn index(&self) -> u32 {
        self.frame
    }
    pub(super) fn frame(&self) -> &'p Frame {
        &self.pool.frames[self.frame as usize]
    }
    /// The frame was given a page: its claim becomes a pin.
    pub(super) fn into_pin(self) -> Pin<'p> {
        let this = ManuallyDrop::new(self);
        Pin { pool: this.pool, frame: this.frame }
    }
    /// As [`Spare::into_pin`], for a frame whose write latch is held.
    pub(super) fn into_page(self, guard: RwLockWriteGuard<'p, Slot>) -> WritePage<'p> {
        WritePage { guard, _held: hold(Rank::Latch), pin: self.into_pin() }
    }
    /// The same, not borrowed.
    pub(super) fn into_owned(self, pool: &Arc<Pool>) -> SpareFrame {
        let this = ManuallyDrop::new(self);
        SpareFrame { pool: Arc::clone(pool), frame: Some(this.frame) }
    }
}

impl Drop for Spare<'_> {
    fn drop(&mut self) {
        self.pool.give_back(self.frame);
    }
}

/// A frame set aside for a page that a prepared change may need to make.
pub struct SpareFrame {
    pool: Arc<Pool>,
    /// None once lent.
    frame: Option<u32>,
}

impl SpareFrame {
    /// Its frame, borrowed from its pool.
    pub(super) fn lend(mut self, pool: &Pool) -> Option<Spare<'_>> {
        self.frame.take().map(|frame| Spare { pool, frame })
    }
}

impl Drop for SpareFrame {
    fn drop(&mut self) {
        if let Some(frame) = self.frame {
            self.pool.give_back(frame);
        }
    }
}

impl fmt::Debug for SpareFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SpareFrame").field(&self.frame).finish()
    }
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "nobody has")]
    fn a_pin_that_nobody_has_is_not_given_back() {
        Frame::default().unpin();
    }
}
