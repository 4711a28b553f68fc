//! Pages of a large load go to disk behind it, so that it finds clean frames for the next ones.

use super::{PageKey, Pool};
use crate::Error;
use std::ops::Range;
use wal::{BlockNumber, RelFile};

/// Of a pool, the share that is left free when a load begins to write its pages.
const FREE_SHARE: usize = 4;
/// Pages that are written in one go, as a share of the pool and at most.
const STRETCH_SHARE: usize = 32;
const STRETCH_MAX: usize = 512;

impl Pool {
    /// Whether frames run short, so that those who fill many should write them too.
    pub(crate) fn is_nearly_full(&self) -> bool {
        self.free.lock().len() < self.frames.len() / FREE_SHARE
    }

    /// How many pages a load fills before it has them written.
    pub(crate) fn stretch(&self) -> u32 {
        u32::try_from((self.frames.len() / STRETCH_SHARE).min(STRETCH_MAX)).unwrap_or(1)
    }

    /// Writes those of these pages that are changed, and makes all of them the next to leave the pool:
    /// whoever filled them does not come back. Blocks on the log and the disk.
    pub(crate) fn write_behind(&self, rel: RelFile, blocks: Range<u32>) -> Result<usize, Error> {
        let mut written = 0;
        for block in blocks.clone() {
            let key = PageKey::new(rel, BlockNumber::new(block));
            // One that is not there was written when it left.
            let Some(pin) = self.pin_gently(key) else { continue };
            let frame = &self.frames[pin.index() as usize];
            written += self.write_out(key, frame, &|block, _| blocks.contains(&block))?;
            frame.forget_uses();
        }
        Ok(written)
    }
}
