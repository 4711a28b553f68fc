//! The blocks that the target's log changed.

use std::collections::BTreeMap;
use std::ops::Range;
use wal::{BlockNumber, RelFile};

/// Blocks of one bitmap.
const CHUNK: u32 = 16_384;
const WORDS: usize = CHUNK as usize / 64;

/// A set of blocks of relations: a bit each, in pieces of 16384 blocks, so 2 kB for each 128 MB of a relation
/// that a change falls into.
#[derive(Debug, Default)]
pub struct BlockSet {
    chunks: BTreeMap<(RelFile, u32), Box<[u64; WORDS]>>,
}

impl BlockSet {
    /// Adds a block.
    pub fn add(&mut self, rel: RelFile, block: BlockNumber) {
        let (chunk, at) = (block.get() / CHUNK, block.get() % CHUNK);
        let words = self.chunks.entry((rel, chunk)).or_insert_with(|| Box::new([0; WORDS]));
        if let Some(word) = words.get_mut(at as usize / 64) {
            *word |= 1 << (at % 64);
        }
    }

    /// The relations of its blocks.
    pub(crate) fn relations(&self) -> impl Iterator<Item = RelFile> {
        let mut last = None;
        let relations = self.chunks.keys().map(|(rel, _)| *rel);
        relations.filter(move |rel| last.replace(*rel) != Some(*rel))
    }

    /// Whether a block is in it.
    pub fn contains(&self, rel: RelFile, block: BlockNumber) -> bool {
        let (chunk, at) = (block.get() / CHUNK, block.get() % CHUNK);
        let word = self.chunks.get(&(rel, chunk)).and_then(|words| words.get(at as usize / 64));
        word.is_some_and(|word| word & (1 << (at % 64)) != 0)
    }

    /// How many blocks there are.
    pub fn count(&self) -> u64 {
        let words = self.chunks.values().flat_map(|words| words.iter());
        words.map(|word| u64::from(word.count_ones())).sum()
    }

    /// The runs of neighbouring blocks of a relation from `blocks.start` on and below `blocks.end`, each of
    /// at most `longest`, counted from the relation's begin.
    pub fn runs(&self, rel: RelFile, blocks: Range<u32>, longest: u32) -> Vec<Range<u32>> {
        let mut runs: Vec<Range<u32>> = Vec::new();
        let chunks = self.chunks.range((rel, blocks.start / CHUNK)..=(rel, u32::MAX));
        for ((_, chunk), words) in chunks {
            let first = chunk.saturating_mul(CHUNK);
            if first >= blocks.end {
                break;
            }
            for (at, word) in words.iter().enumerate().filter(|(_, word)| **word != 0) {
                for bit in (0..64).filter(|bit| word & (1 << bit) != 0) {
                    let block = first + at as u32 * 64 + bit;
                    if !blocks.contains(&block) {
                        continue;
                    }
                    match runs.last_mut() {
                        Some(run) if run.end == block && block - run.start < longest => run.end = block + 1,
                        _ => runs.push(block..block + 1),
                    }
                }
            }
        }
        runs
    }
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "lists of runs")]
mod tests {
    use super::*;

    #[test]
    fn neighbours_make_runs_and_files_are_cut_out() {
        let mut set = BlockSet::default();
        let (one, two) = (RelFile::new(5, 1), RelFile::new(5, 2));
        for block in [0, 1, 2, 63, 64, 16_383, 16_384, 131_071, 131_072, u32::MAX - 1] {
            set.add(one, BlockNumber::new(block));
            set.add(one, BlockNumber::new(block));
        }
        set.add(two, BlockNumber::new(7));
        assert_eq!(set.count(), 11);
        assert!(set.contains(one, BlockNumber::new(131_071)) && !set.contains(two, BlockNumber::new(8)));
        let file = set.runs(one, 0..131_072, 128);
        assert_eq!(file, [0..3, 63..65, 16_383..16_385, 131_071..131_072]);
        assert_eq!(set.runs(one, 131_072..262_144, 128), [131_072..131_073]);
        assert_eq!(set.runs(one, 0..131_072, 2), [0..2, 2..3, 63..65, 16_383..16_385, 131_071..131_072]);
        assert_eq!(set.runs(two, 0..131_072, 128), [7..8]);
        assert_eq!(set.runs(RelFile::new(5, 3), 0..131_072, 128), []);
    }
}
