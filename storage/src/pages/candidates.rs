//! Pages that nothing may lead to, while a sweep looks for them.

use host::Mutex;
use wal::BlockNumber;

/// Pages of a relation that may be lost: a bit each.
#[derive(Debug, Default)]
pub(crate) struct Candidates(Mutex<Vec<u64>>);

impl Candidates {
    pub(crate) fn add(&self, blocks: impl Iterator<Item = BlockNumber>) {
        let mut words = self.0.lock();
        for block in blocks {
            let at = block.get() as usize / 64;
            if words.len() <= at {
                words.resize(at + 1, 0);
            }
            words[at] |= 1 << (block.get() % 64);
        }
    }
    /// Takes pages out; returns how many were inside.
    pub(crate) fn remove(&self, blocks: &[BlockNumber]) -> usize {
        let mut words = self.0.lock();
        let mut take = |block: &&BlockNumber| {
            let (at, mask) = (block.get() as usize / 64, 1 << (block.get() % 64));
            let word = words.get_mut(at).filter(|word| **word & mask != 0);
            word.map(|word| *word &= !mask).is_some()
        };
        blocks.iter().filter(|block| take(block)).count()
    }
    pub(crate) fn count(&self) -> u64 {
        self.0.lock().iter().map(|word| u64::from(word.count_ones())).sum()
    }
    /// The first ones, at most so many.
    pub(crate) fn first(&self, count: usize) -> Vec<BlockNumber> {
        let words = self.0.lock();
        let bits = (0_u32..).zip(words.iter()).filter(|(_, word)| **word != 0).flat_map(|(at, word)| {
            (0..64).filter(move |bit| word >> bit & 1 != 0).map(move |bit| BlockNumber::new(at * 64 + bit))
        });
        bits.take(count).collect()
    }
}
