//! Pages that are at the source as they were at the fork.
//!
//! A page that is free may be made anew for other contents, and then its old ones are in no image in the log:
//! large values that discarded commits replaced, and that were swept away. Without full_page_writes no page
//! has an image. Once such a page is written, the target's log and files tell no more what it held at the
//! fork. The source's file does, where that page is not newer than the fork: what the source's last
//! checkpoint has settled is no older either. A page that the source writes at this moment is newer; if it
//! comes torn, it is left out.

use crate::blocks::BlockSet;
use crate::error::{RewindError, io_error};
use crate::plan::{PAGE, RUN_PAGES, place_of};
use crate::source::Source;
use crate::target::Target;
use host::{OpenMode, SharedDisk, SharedFile};
use protocol::replication::ReadFile;
use std::collections::HashMap;
use std::path::PathBuf;
use storage::page::Page;
use storage::relation::SEGMENT_PAGES;
use wal::{BlockNumber, Lsn, RelFile};

/// Where they lie.
pub(crate) const UNTOUCHED_FILE: &str = "plimsoll/rewind.untouched";
/// Reads that are asked for together.
const BATCH: usize = 256;

/// Those pages, in a file of the node's own folder, which goes with this.
#[derive(Debug, Default)]
pub(crate) struct Untouched {
    places: HashMap<(RelFile, u32), u64>,
    kept: Option<Kept>,
}

#[derive(Debug)]
struct Kept {
    disk: SharedDisk,
    path: PathBuf,
    file: SharedFile,
}

impl Untouched {
    /// Asks the source for these blocks, of whose pages it has whatever was done before the target's log
    /// comes to them.
    pub(crate) async fn fetch(
        source: &mut Source,
        target: &Target,
        blocks: &BlockSet,
        fork: Lsn,
    ) -> Result<Self, RewindError> {
        let mut untouched = Self::default();
        let mut reads = blocks.relations().flat_map(|rel| reads_of(blocks, rel));
        loop {
            let batch: Vec<(RelFile, u32, ReadFile)> = reads.by_ref().take(BATCH).collect();
            if batch.is_empty() {
                return Ok(untouched);
            }
            let asked: Vec<ReadFile> = batch.iter().map(|(.., read)| read.clone()).collect();
            let mut answered = batch.iter();
            let mut take = |_: &ReadFile, bytes: Option<&[u8]>| {
                let Some((rel, first, _)) = answered.next() else { return Ok(()) };
                for (block, bytes) in
                    (*first..).zip(bytes.unwrap_or_default().as_chunks::<{ PAGE as usize }>().0)
                {
                    let mut page = Page::boxed();
                    page.bytes_mut().copy_from_slice(bytes);
                    let is_sound =
                        page.unseal(BlockNumber::new(block), target.control.data_checksums).is_ok();
                    if is_sound && !page.is_new() && page.lsn() <= fork {
                        untouched.keep(target, (*rel, block), &page)?;
                    }
                }
                Ok(())
            };
            source.read(&asked, &mut take).await?;
        }
    }

    fn keep(&mut self, target: &Target, key: (RelFile, u32), page: &Page) -> Result<(), RewindError> {
        let path = target.path(UNTOUCHED_FILE);
        let file = match &self.kept {
            Some(kept) => kept.file.clone(),
            None => {
                let disk = target.disk.clone();
                let file = disk.open(&path, OpenMode::Create).map_err(io_error(&path))?;
                self.kept.insert(Kept { disk, path: path.clone(), file }).file.clone()
            }
        };
        let place = self.places.len() as u64;
        file.write_all_at(page.bytes(), place * PAGE).map_err(io_error(&path))?;
        self.places.insert(key, place);
        Ok(())
    }

    /// The page as it was at the fork, if the source has it so.
    pub(crate) fn page(&self, key: (RelFile, u32)) -> Result<Option<Box<Page>>, RewindError> {
        let (Some(place), Some(kept)) = (self.places.get(&key), &self.kept) else { return Ok(None) };
        let mut page = Page::boxed();
        kept.file.read_exact_at(page.bytes_mut(), place * PAGE).map_err(io_error(&kept.path))?;
        Ok(Some(page))
    }
}

/// The reads of a relation's blocks, each with its relation and its first block.
fn reads_of(blocks: &BlockSet, rel: RelFile) -> impl Iterator<Item = (RelFile, u32, ReadFile)> {
    let runs = blocks.runs(rel, 0..u32::MAX, RUN_PAGES);
    let pieces = runs.into_iter().flat_map(|run| {
        // A file may end within it.
        let border = (run.end - 1) / SEGMENT_PAGES * SEGMENT_PAGES;
        let border = border.max(run.start);
        [run.start..border, border..run.end]
    });
    pieces.filter(|piece| !piece.is_empty()).map(move |piece| {
        let (path, offset) = place_of(rel, piece.start);
        let length = (piece.end - piece.start) * PAGE as u32;
        (rel, piece.start, ReadFile { path, offset, length })
    })
}

impl Drop for Kept {
    fn drop(&mut self) {
        // What is left of it goes with the node's own files.
        let _ = self.disk.remove_file(&self.path);
    }
}
