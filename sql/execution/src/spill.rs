//! Sorting more than memory holds: pairs of byte strings go to runs in temporary files, which are merged when
//! read.
//!
//! A run is a file of `base/pgsql_tmp`, which backups and checksum tools pass over: pairs in order, each as
//! two u32 (LE) lengths, the key, the value. It is removed when its sort is over; what a crash leaves is
//! removed at the next start.

use host::{OpenMode, SharedDisk, SharedFile};
use sql_interface::{Result, SqlError};
use sqlstate::SqlState;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of a run that are written or read at once.
const CHUNK_BYTES: usize = 256 << 10;
/// What a pair costs in memory besides its bytes.
const PAIR_BYTES: usize = 64;

/// Where temporary files lie.
#[derive(Debug)]
pub struct TempSpace {
    disk: SharedDisk,
    folder: PathBuf,
    next: AtomicU64,
}

impl TempSpace {
    /// The space of a data directory. Removes what is left there from before a crash; that it cannot is no
    /// reason not to start, for new files get other names.
    pub fn new(disk: SharedDisk, data_dir: &Path) -> Self {
        let folder = data_dir.join("base").join("pgsql_tmp");
        let mut next = 0;
        for entry in disk.list(&folder).unwrap_or_default() {
            if disk.remove_file(&folder.join(&entry.name)).is_err() {
                let number = entry.name.rsplit('.').next().and_then(|number| number.parse::<u64>().ok());
                next = next.max(number.map_or(0, |number| number + 1));
            }
        }
        Self { disk, folder, next: AtomicU64::new(next) }
    }

    fn create(self: &Arc<Self>) -> Result<TempFile> {
        let failed = |what: &str, path: &Path, error: std::io::Error| {
            let message = format!("could not {what} \"{}\": {error}", path.display());
            SqlError::new(SqlState::IO_ERROR, message)
        };
        if self.disk.metadata(&self.folder).is_err()
            && let Err(error) = self.disk.create_dir(&self.folder)
            && error.kind() != std::io::ErrorKind::AlreadyExists
        {
            return Err(failed("create directory", &self.folder, error));
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let path = self.folder.join(format!("pgsql_tmp.{number}"));
        match self.disk.open(&path, OpenMode::CreateNew) {
            Ok(file) => Ok(TempFile { space: Arc::clone(self), path, file }),
            Err(error) => Err(failed("create temporary file", &path, error)),
        }
    }
}

/// A file that goes away with its owner.
#[derive(Debug)]
struct TempFile {
    space: Arc<TempSpace>,
    path: PathBuf,
    file: SharedFile,
}

impl TempFile {
    fn write(&self, bytes: &[u8], at: u64) -> Result<()> {
        self.file.write_all_at(bytes, at).map_err(|error| self.failed("write", &error))
    }

    fn read(&self, bytes: &mut [u8], at: u64) -> Result<()> {
        self.file.read_exact_at(bytes, at).map_err(|error| self.failed("read", &error))
    }

    fn failed(&self, what: &str, error: &std::io::Error) -> SqlError {
        let state = if host::is_disk_full(error) { SqlState::DISK_FULL } else { SqlState::IO_ERROR };
        SqlError::new(state, format!("could not {what} temporary file \"{}\": {error}", self.path.display()))
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        // If it cannot be removed now, the next start will.
        let _ = self.space.disk.remove_file(&self.path);
    }
}

/// A pair: the key that is compared by memcmp, and what goes with it.
pub(crate) type Pair = (Vec<u8>, Vec<u8>);

/// Takes pairs in any order.
pub struct Sorter {
    space: Arc<TempSpace>,
    limit_bytes: usize,
    used_bytes: usize,
    pairs: Vec<Pair>,
    runs: Vec<Run>,
}

/// A run on disk, and how far it was read.
struct Run {
    file: TempFile,
    len: u64,
    /// Where `buffer` ends in the file.
    read: u64,
    buffer: Vec<u8>,
    at: usize,
}

impl Sorter {
    /// Holds about `limit_bytes` in memory.
    pub fn new(space: Arc<TempSpace>, limit_bytes: usize) -> Self {
        Self { space, limit_bytes, used_bytes: 0, pairs: Vec::new(), runs: Vec::new() }
    }

    /// Takes a pair in.
    ///
    /// # Errors
    ///
    /// 58030, or 53100 where the disk is full.
    pub fn add(&mut self, key: Vec<u8>, value: Vec<u8>) -> Result<()> {
        self.used_bytes += PAIR_BYTES + key.len() + value.len();
        self.pairs.push((key, value));
        if self.used_bytes > self.limit_bytes { self.spill() } else { Ok(()) }
    }

    fn spill(&mut self) -> Result<()> {
        self.pairs.sort_unstable();
        let file = self.space.create()?;
        let (mut chunk, mut len) = (Vec::with_capacity(CHUNK_BYTES + 4096), 0_u64);
        for (key, value) in self.pairs.drain(..) {
            for part in [&key, &value] {
                let length =
                    u32::try_from(part.len()).map_err(|_| SqlError::internal("a pair is too long"))?;
                chunk.extend_from_slice(&length.to_le_bytes());
            }
            chunk.extend_from_slice(&key);
            chunk.extend_from_slice(&value);
            if chunk.len() >= CHUNK_BYTES {
                file.write(&chunk, len)?;
                len += chunk.len() as u64;
                chunk.clear();
            }
        }
        file.write(&chunk, len)?;
        len += chunk.len() as u64;
        self.used_bytes = 0;
        self.runs.push(Run { file, len, read: 0, buffer: Vec::new(), at: 0 });
        Ok(())
    }

    /// All pairs, in order.
    ///
    /// # Errors
    ///
    /// As [`Sorter::add`].
    pub fn finish(mut self) -> Result<Sorted> {
        if self.runs.is_empty() {
            self.pairs.sort_unstable();
            return Ok(Sorted { memory: self.pairs.into_iter(), runs: Vec::new(), heads: BinaryHeap::new() });
        }
        if !self.pairs.is_empty() {
            self.spill()?;
        }
        let mut sorted = Sorted { memory: Vec::new().into_iter(), runs: self.runs, heads: BinaryHeap::new() };
        for at in 0..sorted.runs.len() {
            sorted.refill(at)?;
        }
        Ok(sorted)
    }
}

/// Gives pairs in order.
pub struct Sorted {
    memory: std::vec::IntoIter<Pair>,
    runs: Vec<Run>,
    /// The next pair of each run that has one.
    heads: BinaryHeap<Reverse<(Pair, usize)>>,
}

impl Sorted {
    /// The next pair; None at the end.
    ///
    /// # Errors
    ///
    /// 58030.
    pub fn next_pair(&mut self) -> Result<Option<Pair>> {
        if self.runs.is_empty() {
            return Ok(self.memory.next());
        }
        let Some(Reverse((pair, run))) = self.heads.pop() else { return Ok(None) };
        self.refill(run)?;
        Ok(Some(pair))
    }

    fn refill(&mut self, at: usize) -> Result<()> {
        let Some(run) = self.runs.get_mut(at) else { return Ok(()) };
        if let Some(pair) = run.next()? {
            self.heads.push(Reverse((pair, at)));
        }
        Ok(())
    }
}

impl Run {
    fn next(&mut self) -> Result<Option<Pair>> {
        let Some(head) = self.take(8)? else { return Ok(None) };
        let mut lengths =
            head.chunks_exact(4).map(|four| <[u8; 4]>::try_from(four).map_or(0, u32::from_le_bytes) as usize);
        let (key, value) = (lengths.next().unwrap_or(0), lengths.next().unwrap_or(0));
        let (key, value) = (self.take(key)?, self.take(value)?);
        match (key, value) {
            (Some(key), Some(value)) => Ok(Some((key, value))),
            _ => Err(SqlError::new(SqlState::IO_ERROR, "a temporary file ends too early")),
        }
    }

    /// The next `count` bytes; None at the end of the file.
    fn take(&mut self, count: usize) -> Result<Option<Vec<u8>>> {
        while self.buffer.len() - self.at < count {
            let left = self.len - self.read;
            if left == 0 {
                return Ok(None);
            }
            self.buffer.drain(..self.at);
            self.at = 0;
            let start = self.buffer.len();
            let more = usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK_BYTES);
            self.buffer.resize(start + more, 0);
            self.file.read(self.buffer.get_mut(start..).unwrap_or_default(), self.read)?;
            self.read += more as u64;
        }
        let taken = self.buffer.get(self.at..self.at + count).unwrap_or_default().to_vec();
        self.at += count;
        Ok(Some(taken))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use host::Host;

    fn space(dir: &Path) -> Arc<TempSpace> {
        std::fs::create_dir_all(dir.join("base")).unwrap();
        Arc::new(TempSpace::new(Host::real().disk, dir))
    }

    fn files(dir: &Path) -> usize {
        std::fs::read_dir(dir.join("base/pgsql_tmp")).map_or(0, Iterator::count)
    }

    #[test]
    fn pairs_come_in_order_whether_they_fit_or_not_and_leave_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let space = space(dir.path());
        for (limit, spills) in [(1 << 20, false), (2000, true), (0, true)] {
            let mut sorter = Sorter::new(Arc::clone(&space), limit);
            let mut expected = Vec::new();
            for number in 0..300_u32 {
                let key = (number.wrapping_mul(2_654_435_761) % 97).to_be_bytes().to_vec();
                let value = vec![u8::try_from(number % 251).unwrap(); (number % 40) as usize];
                expected.push((key.clone(), value.clone()));
                sorter.add(key, value).unwrap();
            }
            expected.sort();
            let mut sorted = sorter.finish().unwrap();
            assert_eq!(files(dir.path()) > 0, spills, "{limit}");
            let mut found = Vec::new();
            while let Some(pair) = sorted.next_pair().unwrap() {
                found.push(pair);
            }
            assert_eq!(found, expected, "{limit}");
            drop(sorted);
            assert_eq!(files(dir.path()), 0, "{limit}");
        }
    }

    #[test]
    fn a_new_start_removes_what_a_crash_left() {
        let dir = tempfile::tempdir().unwrap();
        let first = space(dir.path());
        let mut sorter = Sorter::new(first, 0);
        sorter.add(vec![1], vec![2]).unwrap();
        std::mem::forget(sorter);
        assert_eq!(files(dir.path()), 1);
        space(dir.path());
        assert_eq!(files(dir.path()), 0);
    }
}
