//! Pages are written before their frames are needed, so that whoever needs a frame finds a clean one.

use super::Pool;
use crate::Error;
use std::sync::atomic::Ordering;

/// Rounds over which a need that has gone down is still remembered.
const SMOOTHING: f64 = 16.0;

/// Foretells how many frames will be taken until the next round, from those taken of late (as PostgreSQL
/// does: it follows a rise at once and a fall slowly).
#[derive(Clone, Copy, Debug, Default)]
pub struct CleanNeed {
    taken: Option<u64>,
    smoothed: f64,
}

impl CleanNeed {
    /// How many frames to have ready, when `taken` were taken so far; `multiplier` times what is foretold.
    pub fn next(&mut self, taken: u64, multiplier: f64) -> usize {
        let recent = taken.saturating_sub(self.taken.unwrap_or(taken)) as f64;
        self.taken = Some(taken);
        self.smoothed = match recent >= self.smoothed {
            true => recent,
            false => self.smoothed + (recent - self.smoothed) / SMOOTHING,
        };
        (self.smoothed * multiplier.max(0.0)) as usize
    }
}

impl Pool {
    /// Looks ahead of the clock's hand until `wanted` frames can be taken without a write, and writes the
    /// changed ones among them with their neighbours, until it has written `pages_max`. Returns how many it
    /// wrote. Blocks on the disk.
    ///
    /// # Errors
    /// Fails if the log cannot be flushed or a page not be written.
    pub fn write_ahead(&self, wanted: usize, pages_max: usize) -> Result<usize, Error> {
        let (mut ready, mut written) = (self.free.lock().len(), 0);
        let hand = self.hand.load(Ordering::Relaxed);
        for step in 0..self.frames.len() {
            if ready >= wanted {
                break;
            }
            let frame = &self.frames[(hand + step) % self.frames.len()];
            if !frame.is_next() {
                continue;
            }
            let Some(key) = *frame.key.lock() else { continue };
            if frame.is_dirty() {
                if written >= pages_max {
                    self.background_stops.fetch_add(1, Ordering::Relaxed);
                    break;
                }
                if !frame.claim() {
                    continue;
                }
                // The frame may hold another page by now.
                let is_same = *frame.key.lock() == Some(key);
                let done = match is_same {
                    true => self.write_out(key, frame, &|_, neighbour| neighbour.is_little_used()),
                    false => Ok(0),
                };
                frame.unpin();
                self.ring();
                let done = done?;
                written += done;
                self.background_writes.fetch_add(done as u64, Ordering::Relaxed);
            }
            ready += 1;
        }
        Ok(written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_need_rises_at_once_and_falls_slowly() {
        let mut need = CleanNeed::default();
        assert_eq!(need.next(1000, 2.0), 0, "what was taken before the first look says nothing");
        assert_eq!(need.next(1100, 2.0), 200);
        assert_eq!(need.next(1100, 2.0), 187);
        assert_eq!(need.next(2100, 2.0), 2000);
        assert_eq!(need.next(2100, 0.0), 0);
    }
}
