//! Carries a plan out: the source's bytes into the target's files.
//!
//! A page that the source writes while it is read may come torn. It is told by its checksums and read again,
//! so what is written here are whole pages, and recovery needs no image of them.

use crate::error::{RewindError, io_error};
use crate::plan::{PAGE, Plan, RelationPlan};
use crate::source::Source;
use host::{Disk, OpenMode, SharedDisk, SharedFile};
use protocol::replication::ReadFile;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use storage::page::Page;
use wal::{BlockNumber, KEPT_DIR};

/// Reads that are asked for together.
const BATCH: usize = 256;
/// Bytes of a file that is no relation, read at once.
const PIECE: u64 = 256 << 10;
/// How often a page is read that does not check out: a write lasts microseconds.
const TRIES: u32 = 50;
/// A file that is being copied whole.
pub(crate) const TEMPORARY: &str = ".rewind_tmp";

/// Copies into a directory.
pub(crate) struct Copier<'c> {
    pub(crate) disk: SharedDisk,
    pub(crate) dir: PathBuf,
    pub(crate) source: &'c mut Source,
    /// Whether pages bear PostgreSQL's checksum.
    pub(crate) checksums: bool,
    /// Called with the bytes that have come.
    pub(crate) arrived: &'c mut (dyn FnMut(u64) + Send),
}

/// Makes a folder and all in it durable. Whoever waits may go away between two files: a stop does not wait
/// for all of a large directory.
pub(crate) async fn settle_folder(disk: &dyn Disk, folder: &Path) -> Result<(), RewindError> {
    let failed = |failed: host::TreeError| io_error(&failed.path)(failed.error);
    for step in host::sync_steps(disk, folder, true).map_err(failed)? {
        step.map_err(failed)?;
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// A run of a relation file that is to be read.
#[derive(Clone)]
struct Wanted<'p> {
    relation: &'p RelationPlan,
    run: Range<u32>,
}

impl Wanted<'_> {
    fn read(&self) -> ReadFile {
        ReadFile {
            path: self.relation.path.clone(),
            offset: u64::from(self.run.start) * PAGE,
            length: (self.run.end - self.run.start) * PAGE as u32,
        }
    }
}

impl Copier<'_> {
    /// Does all of it. Who calls it makes it durable, with what an earlier try did.
    pub(crate) async fn carry_out(&mut self, plan: &Plan) -> Result<(), RewindError> {
        for folder in &plan.make_folders {
            let path = self.dir.join(folder);
            self.disk.create_dir_all(&path).map_err(io_error(&path))?;
        }
        let gone = self.copy_relations(&plan.relations).await?;
        for file in &plan.whole {
            self.copy_whole(&file.path, &file.path, file.size, (0, file.size)).await?;
        }
        // What no backup sends of a folder that only the target has goes, too.
        for name in plan.remove_files.iter().chain(&gone).chain(&plan.remove_folders) {
            remove_tree(&*self.disk, &self.dir.join(name))?;
        }
        Ok(())
    }

    /// Gives the files that the source had no more.
    async fn copy_relations(&mut self, relations: &[RelationPlan]) -> Result<BTreeSet<String>, RewindError> {
        for relation in relations {
            let path = self.dir.join(&relation.path);
            let file = self.disk.open(&path, OpenMode::Create).map_err(io_error(&path))?;
            if let Some(len) = relation.cut_to {
                file.truncate(len).map_err(io_error(&path))?;
            }
        }
        let mut wanted =
            relations.iter().flat_map(|relation| relation.runs.iter().map(move |run| (relation, run)));
        let mut gone = BTreeSet::new();
        loop {
            let batch: Vec<Wanted<'_>> = wanted
                .by_ref()
                .take(BATCH)
                .map(|(relation, run)| Wanted { relation, run: run.clone() })
                .collect();
            if batch.is_empty() {
                return Ok(gone);
            }
            let mut left = self.copy_runs(batch, &mut gone, false).await?;
            for tried in 1..=TRIES {
                if left.is_empty() {
                    break;
                }
                left = self.copy_runs(left, &mut gone, tried == TRIES).await?;
            }
        }
    }

    /// Reads these runs and writes their whole pages; gives those to be read again. With `last` a bad page is
    /// an error.
    async fn copy_runs<'p>(
        &mut self,
        batch: Vec<Wanted<'p>>,
        gone: &mut BTreeSet<String>,
        last: bool,
    ) -> Result<Vec<Wanted<'p>>, RewindError> {
        let reads: Vec<ReadFile> = batch.iter().map(Wanted::read).collect();
        let mut answered = batch.into_iter();
        let mut again = Vec::new();
        let mut files = OpenFiles { disk: self.disk.clone(), dir: self.dir.clone(), open: BTreeMap::new() };
        let (checksums, arrived) = (self.checksums, &mut *self.arrived);
        self.source
            .read(&reads, &mut |read, bytes| {
                let Some(wanted) = answered.next() else { return Ok(()) };
                let Some(bytes) = bytes else {
                    gone.insert(read.path.clone());
                    return Ok(());
                };
                // What is only begun of a page at the file's end, redo makes.
                let bytes = bytes.get(..bytes.len() - bytes.len() % PAGE as usize).unwrap_or_default();
                let first = wanted.relation.first_block.saturating_add(wanted.run.start);
                if let Some((block, why)) = bad_page(bytes, first, checksums) {
                    if last {
                        let block = u64::from(block);
                        return Err(RewindError::DamagedPage { path: read.path.clone(), block, why });
                    }
                    again.push(wanted);
                    return Ok(());
                }
                arrived(bytes.len() as u64);
                files.write(&read.path, read.offset, bytes)
            })
            .await?;
        Ok(again)
    }

    /// [`Self::copy_whole`] of a segment of the log, from wherever the source has it with so many bytes.
    /// False if it is nowhere there.
    pub(crate) async fn copy_segment(
        &mut self,
        name: &str,
        to: &str,
        length: u64,
        size: u64,
    ) -> Result<bool, RewindError> {
        for from in segment_places(name) {
            if self.copy_whole(&from, to, length, (length, size)).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Copies the first `length` bytes of a file that is no relation, in place of `to`, durably; it has
    /// `size` bytes then, with zeros at the end. False, and nothing is replaced, if the source has no such
    /// file, or less than `least` bytes of it.
    async fn copy_whole(
        &mut self,
        from: &str,
        to: &str,
        length: u64,
        (least, size): (u64, u64),
    ) -> Result<bool, RewindError> {
        let target = self.dir.join(to);
        let temporary = self.dir.join(format!("{to}{TEMPORARY}"));
        remove_tree(&*self.disk, &temporary)?;
        let file = self.disk.open(&temporary, OpenMode::CreateNew).map_err(io_error(&temporary))?;
        let reads: Vec<ReadFile> = (0..length.div_ceil(PIECE))
            .map(|piece| {
                let offset = piece * PIECE;
                let length = u32::try_from(PIECE.min(length - offset)).unwrap_or(0);
                ReadFile { path: from.to_owned(), offset, length }
            })
            .collect();
        let (mut is_there, mut came, arrived) = (true, 0, &mut *self.arrived);
        self.source
            .read(&reads, &mut |read, bytes| {
                let Some(bytes) = bytes else {
                    is_there = false;
                    return Ok(());
                };
                arrived(bytes.len() as u64);
                came += bytes.len() as u64;
                if bytes.is_empty() {
                    return Ok(());
                }
                file.write_all_at(bytes, read.offset).map_err(io_error(&temporary))
            })
            .await?;
        if !is_there || came < least {
            remove_tree(&*self.disk, &temporary)?;
            return Ok(false);
        }
        if file.len().map_err(io_error(&temporary))? < size && size > length {
            file.truncate(size).map_err(io_error(&temporary))?;
        }
        drop(file);
        host::durable_rename(&*self.disk, &temporary, &target).map_err(io_error(&target))?;
        Ok(true)
    }
}

/// The files that are written to, open.
struct OpenFiles {
    disk: SharedDisk,
    dir: PathBuf,
    open: BTreeMap<String, SharedFile>,
}

impl OpenFiles {
    fn write(&mut self, path: &str, offset: u64, bytes: &[u8]) -> Result<(), RewindError> {
        if bytes.is_empty() {
            return Ok(());
        }
        let full = self.dir.join(path);
        let file = match self.open.get(path) {
            Some(file) => file,
            None => {
                let file = self.disk.open(&full, OpenMode::ReadWrite).map_err(io_error(&full))?;
                self.open.entry(path.to_owned()).or_insert(file)
            }
        };
        file.write_all_at(bytes, offset).map_err(io_error(&full))
    }
}

/// Where a source may have a segment. A checkpoint moves it from the first place to the second at any moment,
/// never back, so one that is looked for in this order is not missed.
fn segment_places(name: &str) -> [String; 2] {
    [format!("pg_wal/{name}"), format!("pg_wal/{KEPT_DIR}/{name}")]
}

/// The first page that does not check out: its number in the relation, and why.
fn bad_page(bytes: &[u8], first: u32, checksums: bool) -> Option<(u32, String)> {
    let mut page = Page::boxed();
    bytes.as_chunks::<{ PAGE as usize }>().0.iter().enumerate().find_map(|(at, bytes)| {
        let block = first.saturating_add(u32::try_from(at).unwrap_or(u32::MAX));
        page.bytes_mut().copy_from_slice(bytes);
        let fault = page.unseal(BlockNumber::new(block), checksums).err()?;
        Some((block, fault.to_string()))
    })
}

/// Removes a file, or a folder with what is in it; what is not there is no error.
pub(crate) fn remove_tree(disk: &dyn Disk, path: &Path) -> Result<(), RewindError> {
    host::remove_tree(disk, path).map_err(|failed| io_error(&failed.path)(failed.error))
}
