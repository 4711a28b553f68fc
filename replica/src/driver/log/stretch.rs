//! What is in a stretch of a node's own log: its commits, and whether its primary says in it how it
//! acknowledges them.

use super::LogPlace;
use crate::timeline::loss::Commits;
use storage::state::changes_sync_state;
use wal::reader::{Next, ReaderOptions, WalReader};
use wal::{LogState, Lsn, xact};

/// The most that is read of the log for one answer, in bytes.
const STRETCH_BYTES_MAX: u64 = 64 << 20;

/// A stretch of the log.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stretch {
    /// Its commits, up to the end of the last whole record.
    pub commits: Commits,
    /// Nothing that can be read follows there, or what follows lies behind the stretch.
    pub is_whole: bool,
}

impl LogPlace {
    /// Reads a node's own log between two positions; both are ends of records, or the second lies within one.
    /// What cannot be read of what is durable is damage, and the stretch not whole. Blocks.
    pub fn read_stretch(&self, log: &LogState, from: Lsn, upto: Lsn) -> Stretch {
        let options = ReaderOptions { proven_flush: log.flushed(), ..ReaderOptions::new(self.segment_size) };
        let mut reader = WalReader::new(self.files(&log.history), options, from);
        let mut stretch = Stretch::default();
        let commits = &mut stretch.commits;
        commits.upto = from;
        while commits.upto < upto && commits.upto.bytes_since(from) < STRETCH_BYTES_MAX {
            let record = match reader.next() {
                Ok(Next::Record(record)) if record.end() <= upto => record,
                Ok(_) => {
                    stretch.is_whole = true;
                    return stretch;
                }
                Err(_) => return stretch,
            };
            commits.upto = record.end();
            commits.changes_rule |= changes_sync_state(&record);
            if let Some(at) = xact::commit_time(&record) {
                commits.count += 1;
                commits.first.get_or_insert(record.end());
                commits.times = Some((commits.times.map_or(at, |(first, _)| first), at));
            }
        }
        stretch.is_whole = commits.upto >= upto;
        stretch
    }
}
