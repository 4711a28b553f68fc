//! The pages that an operation keeps in the pool from one run of it to the next.
//!
//! Operations that wait for pages are tasks. While a writer waits in place for a frame, it may hold the one
//! thread that would run them on, so what they keep must leave it frames: all operations together keep a
//! share of the pool ([`Budget`]). Who gets none of it runs on with what the pool still has of the pages that
//! it loaded. That may be nothing, so after some pages in vain it waits for its turn: one operation at a time
//! keeps what it needs beyond the share.

use crate::pages::pool::{Budget, OwnedPin};
use crate::{Error, Interrupt};
use smallvec::SmallVec;
use tokio::sync::{Mutex, MutexGuard};

/// Pins kept at most: a deep tree's path and an overflow page or two.
pub(super) const PINS_KEPT_MAX: usize = 12;
/// Pages that an operation loads without keeping them before it waits for its turn.
const LOST_MAX: u32 = 8;

/// Who may keep pages beyond the share.
pub(super) type Turn = Mutex<()>;

/// What one operation keeps.
pub(super) struct Kept<'s> {
    budget: &'s Budget,
    pins: SmallVec<[OwnedPin; 4]>,
    /// Its part of the share, in pins.
    taken: usize,
    /// Pages that it loaded and could not keep.
    lost: u32,
    turn: (&'s Turn, Option<MutexGuard<'s, ()>>),
}

impl<'s> Kept<'s> {
    /// Keeps nothing yet.
    pub(super) fn new(budget: &'s Budget, turn: &'s Turn) -> Self {
        Self { budget, pins: SmallVec::new(), taken: 0, lost: 0, turn: (turn, None) }
    }

    /// Makes a place for one more page, in that of the oldest if it keeps many. False: the page is not to be
    /// kept.
    ///
    /// # Errors
    /// [`Error::Cancelled`] if `interrupt` ends the wait for its turn.
    pub(super) async fn make_place(&mut self, interrupt: &Interrupt) -> Result<bool, Error> {
        if self.pins.len() >= PINS_KEPT_MAX {
            self.pins.remove(0);
        }
        if self.pins.len() < self.taken {
            return Ok(true);
        }
        if self.budget.take(1) {
            self.taken += 1;
            return Ok(true);
        }
        if self.turn.1.is_none() && self.lost >= LOST_MAX {
            self.turn.1 = tokio::select! {
                biased;
                () = interrupt.cancelled() => return Err(Error::Cancelled),
                turn = self.turn.0.lock() => Some(turn),
            };
        }
        self.lost = self.lost.saturating_add(1);
        Ok(self.turn.1.is_some())
    }

    /// Keeps a page, in a place made for it.
    pub(super) fn add(&mut self, pin: Option<OwnedPin>) {
        self.pins.extend(pin);
    }

    /// Gives all pages up, and its part of the share.
    pub(super) fn clear(&mut self) {
        self.pins.clear();
        // Most operations miss nothing: they leave the counter that all share alone.
        if self.taken > 0 {
            self.budget.give_back(std::mem::take(&mut self.taken));
        }
    }
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        self.clear();
    }
}
