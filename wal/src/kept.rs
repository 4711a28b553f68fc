//! Log that nothing needs but a rewind: what a checkpoint takes out of pg_wal while another node may still be
//! promoted from before that checkpoint.
//!
//! Whoever is rewound needs the log from the last checkpoint before the fork to its end, and a checkpoint
//! (also the one of its clean stop) removes just that; so does the new primary's first checkpoint. Here it
//! stays, within a size, out of the way of what counts the files of pg_wal: no server streams from it, no
//! backup has it, slots do not know it. What is here is renamed, not copied; what goes from here may become a
//! segment ahead. A rewind reads it here, too: its marks of the archive are gone, so in pg_wal it would seem
//! to wait.

use crate::error::{WalError, WalOperation};
use crate::ids::SegmentNumber;
use crate::segments::{Ahead, Removed, SegmentFate, SegmentFile, SegmentFolder, io_error};
use std::io;

/// The folder in pg_wal.
pub const KEPT_DIR: &str = "kept";

/// Which of the segments that go are kept for a rewind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptLog {
    /// Those from here on.
    pub from: SegmentNumber,
    /// Of these the newest, so many at most.
    pub segments_max: u64,
    /// Segments that go now are kept; otherwise only what lies here already.
    pub adds: bool,
}

impl KeptLog {
    /// All that is there already, and nothing more.
    pub const AS_IT_IS: Self = Self { from: SegmentNumber::new(0), segments_max: u64::MAX, adds: false };

    fn has(&self, file: SegmentFile) -> bool {
        self.segments_max > 0 && file.segment >= self.from
    }

    /// Whether a segment of pg_wal that goes is kept.
    pub(crate) fn takes(&self, file: SegmentFile) -> bool {
        self.adds && self.has(file)
    }
}

impl SegmentFolder {
    /// The folder of segments that only a rewind reads; it may not be there.
    pub fn kept(&self) -> Self {
        let mut kept = self.clone();
        kept.dir.push(KEPT_DIR);
        kept
    }

    /// The segments of a folder that may not be there.
    ///
    /// # Errors
    /// Fails if it cannot be read.
    pub fn list_if_there(&self) -> Result<Vec<SegmentFile>, WalError> {
        match self.disk.metadata(&self.dir) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(cause) => Err(io_error(WalOperation::List, &self.dir, cause)),
            Ok(_) => self.list(),
        }
    }

    /// Moves a segment there. A power cut amid that may leave the file both names, and a rename to a name
    /// that it has already changes nothing: then the one here goes.
    pub(crate) fn put_aside(&self, file: SegmentFile, outcome: &mut Removed) -> Result<(), WalError> {
        let kept = self.kept();
        let (path, aside) = (self.path(file.timeline, file.segment), kept.path(file.timeline, file.segment));
        let moved = if self.are_one_file(&path, &aside)? {
            self.disk.remove_file(&path)
        } else {
            self.disk.create_dir_all(&kept.dir).and_then(|()| self.disk.rename(&path, &aside))
        };
        match moved {
            Ok(()) => {
                outcome.put_aside += 1;
                outcome.last = outcome.last.max(Some(file.segment));
            }
            Err(cause) => outcome.fail(&path, cause),
        }
        Ok(())
    }

    /// Takes away what is kept no longer, the oldest first.
    pub(crate) fn trim_kept(
        &self,
        keep: KeptLog,
        ahead: &mut Ahead<'_>,
        outcome: &mut Removed,
        fate: &mut dyn FnMut(SegmentFile) -> SegmentFate,
    ) -> Result<(), WalError> {
        let kept = self.kept();
        let files = kept.list_if_there()?;
        let mut wanted = files.iter().filter(|file| keep.has(**file)).count() as u64;
        let mut gone = Removed::default();
        for file in files {
            let is_wanted = keep.has(file);
            if is_wanted && wanted <= keep.segments_max {
                continue;
            }
            wanted -= u64::from(is_wanted);
            // It left pg_wal when nothing needed it. Whether somebody still reads its bytes is asked again.
            kept.give_up(file, fate(file), ahead, &mut gone)?;
        }
        if gone.has_any() || outcome.put_aside > 0 {
            kept.sync_names()?;
        }
        outcome.add(Removed { last: None, ..gone });
        Ok(())
    }
}
