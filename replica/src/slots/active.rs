//! A slot in use: who holds it moves it, and gives it up when it is dropped.

use super::{SlotView, Slots};
use crate::error::ReplicaError;
use wal::{Lsn, Xid};

/// A slot in use by a session; letting go of it makes it inactive.
#[derive(Debug)]
pub struct ActiveSlot {
    pub(super) slots: Slots,
    pub(super) name: String,
    /// The session that took it.
    pub(super) pid: i32,
}

impl ActiveSlot {
    /// The slot's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The slot as it stands.
    ///
    /// # Errors
    ///
    /// Fails if the slot is gone.
    pub fn view(&self) -> Result<SlotView, ReplicaError> {
        self.slots.find(&self.name)
    }

    /// The receiver has flushed the log of this generation up to here: WAL before it is no longer needed. In
    /// memory until the next save, unless the slot's file keeps less than that: a receiver may begin behind
    /// its slot. Of WAL that a checkpoint has let go none is reserved: until the receiver is past that, the
    /// slot keeps what it kept.
    pub fn release_before(&self, flushed: Lsn, generation: u64) {
        let mut table = self.slots.0.table.lock();
        let flushed = self.slots.of_this_log(flushed, generation);
        if let Some(slot) = table.get_mut(&self.name)
            && slot.active == Some(self.pid)
            && flushed.is_valid()
        {
            let moves_back = !slot.saved.is_valid() || flushed < slot.saved;
            if moves_back && self.slots.has_let_go(flushed) {
                slot.restart = slot.restart.min(slot.saved);
                return;
            }
            slot.restart = flushed;
            slot.invalidated_at = Lsn::INVALID;
            if moves_back {
                // In force before its file says so. If that cannot be written, the next save tries again.
                (slot.saved, slot.unwritten) = (flushed, true);
                let _ = self.slots.write(&self.name, slot);
            }
        }
    }

    /// The oldest transaction that the receiver's queries need: in memory until the next save, unless the
    /// slot's file may keep less. What a crash leaves is older, and keeps more.
    pub fn set_xmin(&self, xmin: Option<Xid>) {
        let mut table = self.slots.0.table.lock();
        let Some(slot) = table.get_mut(&self.name).filter(|slot| slot.active == Some(self.pid)) else {
            return;
        };
        if slot.xmin == xmin {
            return;
        }
        let moves_back = slot.xmin.is_none_or(|now| xmin.is_some_and(|xmin| xmin < now));
        (slot.xmin, slot.unwritten) = (xmin, true);
        if moves_back {
            // If the file cannot be written, the next save tries again.
            let _ = self.slots.write(&self.name, slot);
        }
    }
}

impl Drop for ActiveSlot {
    fn drop(&mut self) {
        if let Some(slot) = self.slots.0.table.lock().get_mut(&self.name)
            && slot.active == Some(self.pid)
        {
            (slot.active, slot.idle_since) = (None, Some(self.slots.0.host.clock.monotonic()));
        }
        self.slots.0.released.notify_waiters();
    }
}
