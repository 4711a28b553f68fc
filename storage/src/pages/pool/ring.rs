//! The few frames that one scan uses again and again.

use super::frame::Spare;
use super::{PageKey, Pool};
use host::sync::Mutex;
use std::collections::VecDeque;

/// Frames of a ring (256 kB, as in PostgreSQL): what is read ahead has room, and the processor's cache holds
/// them.
pub const RING_FRAMES: usize = 32;

/// Frames that a scan has filled, the oldest first. They are the pool's like any other: who else uses such a
/// page keeps it.
#[derive(Debug, Default)]
pub struct Ring(Mutex<VecDeque<(u32, PageKey)>>);

impl Ring {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    pub(super) fn add(&self, frame: u32, key: PageKey) {
        self.0.lock().push_back((frame, key));
    }
}

impl Pool {
    /// A frame of the ring's whose page nobody else has come to use, emptied; None if the ring is not yet
    /// full, or none is left: then it grows by a frame of the clock's. A changed page stays: to write it is
    /// not the scan's business.
    pub(super) fn take_of(&self, ring: &Ring) -> Option<Spare<'_>> {
        let mut entries = ring.0.lock();
        while entries.len() >= RING_FRAMES {
            let (index, key) = entries.pop_front()?;
            let frame = &self.frames[index as usize];
            if *frame.key.lock() != Some(key) || !frame.is_little_used() || frame.is_dirty() || !frame.claim()
            {
                continue;
            }
            let is_same = *frame.key.lock() == Some(key);
            match is_same && matches!(self.evict(frame, false), Ok(true)) {
                true => return Some(Spare::claimed(self, index)),
                false => frame.unpin(),
            }
        }
        None
    }
}
