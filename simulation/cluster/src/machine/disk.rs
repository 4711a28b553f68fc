//! A node's disk: a virtual one whose syncs take time, and whose calls are part of the trace.

use super::log_rules::Tails;
use super::slot_files::Refused;
use super::spared::Spared;
use super::unsettled::Unsettled;
use super::{log_rules, rewind_rules, rules};
use host::{DirEntry, Disk, File, LockGuard, Mapping, Metadata, OpenMode, SharedFile};
use parking_lot::Mutex;
use simulated::World;
use simulation::VirtualDisk;
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long a disk takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskSpeed {
    /// To make a file or a folder durable, in microseconds.
    pub sync_us: RangeInclusive<u64>,
    /// To write one piece, in microseconds; most take none.
    pub write_us: RangeInclusive<u64>,
}

impl DiskSpeed {
    /// A local disk with a cache that survives a power cut.
    pub const FAST: Self = Self { sync_us: 20..=400, write_us: 0..=0 };
    /// A disk that others use too.
    pub const SLOW: Self = Self { sync_us: 500..=30_000, write_us: 0..=200 };
}

/// A disk that takes time. Its files are those of the virtual disk inside.
#[derive(Debug)]
pub struct NodeDisk {
    inner: VirtualDisk,
    pace: Arc<Pace>,
    seen: Arc<Seen>,
}

/// What a life of a server has done to its files, as far as rules ask for it.
#[derive(Debug, Default)]
struct Seen {
    tails: Tails,
    unsettled: Unsettled,
    spared: Spared,
    refused: Refused,
}

impl Seen {
    /// A file was replaced or written: its control file says something else from then on, if it is that one.
    fn control_changed(&self, files: &VirtualDisk, path: &Path) {
        if let Some(data) = rules::controlled(files, path) {
            rules::control_changed(files, &data);
            self.spared.control_changed(files, &data);
        }
    }
}

#[derive(Debug)]
struct Pace {
    speed: Mutex<DiskSpeed>,
    random: Mutex<fastrand::Rng>,
}

impl Pace {
    /// Lets the time of a call pass, for whoever may wait for it.
    fn takes(&self, of: impl Fn(&DiskSpeed) -> RangeInclusive<u64>) {
        let range = of(&self.speed.lock());
        let us = if *range.end() == 0 { 0 } else { self.random.lock().u64(range) };
        if us > 0 && simulated::fiber::in_fiber() {
            simulated::thread::sleep(Duration::from_micros(us));
        }
    }
    fn sync(&self) {
        self.takes(|speed| speed.sync_us.clone());
    }
    fn write(&self) {
        self.takes(|speed| speed.write_us.clone());
    }
}

/// Puts a call that changes something into the trace.
fn note(call: u8, place: &[u8], numbers: (u64, u64)) {
    if let Some(world) = World::current() {
        world.note((call, place, numbers));
    }
}

impl NodeDisk {
    /// A disk with the files of `inner`; `seed` decides how long each call takes.
    pub fn new(inner: VirtualDisk, speed: DiskSpeed, seed: u64) -> Self {
        let pace = Pace { speed: Mutex::new(speed), random: Mutex::new(fastrand::Rng::with_seed(seed)) };
        Self { inner, pace: Arc::new(pace), seen: Arc::default() }
    }
    /// The files.
    pub fn files(&self) -> &VirtualDisk {
        &self.inner
    }
    /// The small files that must outlive a power cut and would not, each with since when.
    pub fn unsettled(&self) -> Vec<(PathBuf, Instant)> {
        self.seen.unsettled.list(&self.inner)
    }
    /// Changes how long calls take from now on.
    pub fn set_speed(&self, speed: DiskSpeed) {
        *self.pace.speed.lock() = speed;
    }
}

impl Disk for NodeDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<SharedFile> {
        let inner = self.inner.open(path, mode)?;
        let (files, pace, path) = (self.inner.clone(), self.pace.clone(), path.to_path_buf());
        Ok(Arc::new(NodeFile { inner, files, path, pace, seen: self.seen.clone() }))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        note(1, from.as_os_str().as_encoded_bytes(), (0, 0));
        self.inner.rename(from, to)?;
        self.seen.refused.replaced(to);
        self.seen.spared.slot_changed(&self.inner, to);
        rules::renamed(&self.inner, from, to, &self.seen.refused);
        self.seen.unsettled.gone(from);
        self.seen.unsettled.touched(&self.inner, to);
        self.seen.control_changed(&self.inner, to);
        Ok(())
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        note(2, path.as_os_str().as_encoded_bytes(), (0, 0));
        if rewind_rules::before_removal(&self.inner, path) {
            self.seen.spared.is_rewound();
        }
        let removed = self.inner.remove_file(path);
        rules::removal(path, removed.is_ok());
        removed?;
        self.seen.refused.removed(path);
        rules::removed(&self.inner, path, &self.seen.refused);
        self.seen.unsettled.gone(path);
        Ok(())
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.create_dir(path)
    }
    fn link_file(&self, file: &Path, name: &Path) -> io::Result<()> {
        note(7, name.as_os_str().as_encoded_bytes(), (0, 0));
        self.inner.link_file(file, name)
    }
    fn is_one_file(&self, one: &Path, other: &Path) -> io::Result<bool> {
        self.inner.is_one_file(one, other)
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.remove_dir(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.inner.list(path)
    }
    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        self.inner.metadata(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.pace.sync();
        note(3, path.as_os_str().as_encoded_bytes(), (0, 0));
        self.inner.sync_dir(path)?;
        self.seen.unsettled.synced(&self.inner, path);
        Ok(())
    }
    fn map_sealed(&self, path: &Path) -> io::Result<Box<dyn Mapping>> {
        self.inner.map_sealed(path)
    }
    fn lock(&self, path: &Path) -> io::Result<Box<dyn LockGuard>> {
        self.inner.lock(path)
    }
}

#[derive(Debug)]
struct NodeFile {
    inner: SharedFile,
    files: VirtualDisk,
    path: PathBuf,
    pace: Arc<Pace>,
    seen: Arc<Seen>,
}

/// Whether a file has these bytes at this place.
fn is_there(file: &dyn File, bytes: &[u8], offset: u64) -> bool {
    let mut old = vec![0; bytes.len()];
    file.read_exact_at(&mut old, offset).is_ok() && old == bytes
}

impl File for NodeFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_at(buf, offset)
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.pace.write();
        note(4, &[], (offset, buf.len() as u64));
        rules::before_write(&self.files, &self.path, buf, offset);
        let is_minded = self.seen.tails.mind(&self.path);
        // A start writes again what is there already, to have it durable: that changes nothing.
        let is_there = is_minded && is_there(&*self.inner, buf, offset);
        if is_minded && !is_there {
            rules::judge(&self.files, &self.path, |data| {
                log_rules::written(&self.files, data, &self.path, (buf, offset))
            });
        }
        let written = self.inner.write_at(buf, offset)?;
        if !is_there {
            self.seen.tails.wrote(&self.path, buf, offset);
        }
        rules::touched(&self.files, &self.path);
        self.seen.unsettled.touched(&self.files, &self.path);
        self.seen.control_changed(&self.files, &self.path);
        Ok(written)
    }
    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.inner.allocate(offset, len)
    }
    fn reserve(&self, offset: u64, len: u64) -> io::Result<()> {
        self.inner.reserve(offset, len)
    }
    fn truncate(&self, len: u64) -> io::Result<()> {
        note(5, &[], (len, 0));
        self.inner.truncate(len)
    }
    fn sync(&self) -> io::Result<()> {
        // What is written while it lasts may be durable too, as on a real disk.
        self.pace.sync();
        note(6, &[], (0, 0));
        rules::judge(&self.files, &self.path, |_| self.seen.tails.syncs(&self.files, &self.path));
        self.inner.sync()?;
        self.seen.unsettled.synced(&self.files, &self.path);
        Ok(())
    }
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
}
