//! A disk in memory that can cut power.
//!
//! Every file has two lives: what programs read (all writes, at once), and what is durable (up to its last
//! sync); so has every folder with its names. [`VirtualDisk::crash`] gives the disk that a machine finds
//! after a power cut: what was synced is there, and of the rest whatever the [`CrashPolicy`] says, torn at
//! sectors of 512 bytes and in any order between two syncs. Calls can be made to fail ([`Fault`]), bits to
//! flip, and every state on the way can be looked at ([`VirtualDisk::observe`]).
//!
//! A copy of a disk shares its pages with it, so hundreds of thousands of crash states are cheap.

mod contents;
mod faults;
mod file;
mod names;
mod state;

pub use faults::{Call, Fault, FaultKind, Operation};

use contents::{Fate, Fnv, Inode};
use faults::{eio, enospc, eopnotsupp};
use file::{VirtualFile, VirtualLock, VirtualMapping};
use host::{DirEntry, Disk, FileKind, LockGuard, Mapping, Metadata, OpenMode, SharedFile};
use names::{Folder, Node};
use parking_lot::{Mutex, MutexGuard};
use state::{ROOT, State, not_found};
use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

/// What a power cut does to everything that was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashPolicy {
    /// It is all lost.
    LoseUnsynced,
    /// It all reached the disk (a kill of the process, not of the machine).
    KeepAll,
    /// Writes reach the disk in the order in which they were made, up to a point for each file, where the
    /// last one is torn.
    InOrder {
        /// Picks the points.
        seed: u64,
    },
    /// Each file and folder gets a fate of its own; in some files each sector stops at a state of its own
    /// between the durable and the newest one.
    Anything {
        /// Picks all that.
        seed: u64,
    },
}

impl CrashPolicy {
    fn fate(self, random: &mut fastrand::Rng) -> Fate {
        match self {
            Self::LoseUnsynced => Fate::Lost,
            Self::KeepAll => Fate::Kept,
            Self::InOrder { .. } => Fate::Prefix,
            Self::Anything { .. } => match random.u8(..8) {
                0 => Fate::Lost,
                1 => Fate::Kept,
                2 | 3 => Fate::Prefix,
                _ => Fate::Shuffled,
            },
        }
    }
    fn seed(self) -> u64 {
        match self {
            Self::LoseUnsynced | Self::KeepAll => 0,
            Self::InOrder { seed } | Self::Anything { seed } => seed,
        }
    }
}

/// Called after each call that changes something.
pub type Observer = Box<dyn FnMut(&Operation, &Moment<'_>) + Send>;

/// The disk at the moment that an observer looks at.
#[derive(Debug)]
pub struct Moment<'a>(&'a State);

impl Moment<'_> {
    /// The disk as it is now, unsynced changes included.
    pub fn fork(&self) -> VirtualDisk {
        VirtualDisk::from_state(self.0.clone())
    }
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    watch: Mutex<Watching>,
    locked: Mutex<BTreeSet<u64>>,
}

#[derive(Default)]
struct Watching {
    trace: Option<Vec<Operation>>,
    observer: Option<Observer>,
}

/// The disk. Cloning shares it; [`VirtualDisk::fork`] copies it.
#[derive(Clone, Default)]
pub struct VirtualDisk {
    shared: Arc<Shared>,
}

impl fmt::Debug for VirtualDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.state.lock();
        write!(f, "VirtualDisk({} files, {} changes)", state.files.len(), state.changes)
    }
}

impl VirtualDisk {
    /// An empty disk with a root folder.
    pub fn new() -> Self {
        Self::default()
    }
    fn from_state(state: State) -> Self {
        Self { shared: Arc::new(Shared { state: Mutex::new(state), ..Shared::default() }) }
    }

    /// A copy with all that is not yet synced, without locks and observers; armed faults are left out.
    pub fn fork(&self) -> Self {
        let mut state = self.shared.state.lock().clone();
        state.faults.clear();
        Self::from_state(state)
    }

    /// The disk that a machine finds after power failed now. This one stays as it is. The same policy on the
    /// same state gives the same disk.
    pub fn crash(&self, policy: CrashPolicy) -> Self {
        let state = self.shared.state.lock().clone();
        let mut random = fastrand::Rng::with_seed(policy.seed());
        let mut after =
            State { next_node: state.next_node, capacity_bytes: state.capacity_bytes, ..State::default() };
        for (number, folder) in &state.folders {
            let fate = policy.fate(&mut random);
            let kept = if folder.is_dirty() {
                Arc::new(folder.after_power_cut(fate, &mut random))
            } else {
                folder.clone()
            };
            after.folders.insert(*number, kept);
        }
        for number in after.reachable_files() {
            let Some(file) = state.files.get(&number) else { continue };
            let fate = policy.fate(&mut random);
            // Clean but different lives happen too: after a failed sync.
            after.files.insert(number, Arc::new(file.after_power_cut(fate, &mut random)));
        }
        after.find_linked();
        Self::from_state(after)
    }

    /// Arms a fault.
    pub fn inject(&self, fault: Fault) {
        self.shared.state.lock().faults.arm(fault);
    }
    /// Disarms a fault, as often as it was armed.
    pub fn disarm(&self, fault: &Fault) {
        self.shared.state.lock().faults.disarm(fault);
    }
    /// Disarms all faults; power is back on, with nothing lost.
    pub fn clear_faults(&self) {
        self.shared.state.lock().faults.clear();
    }
    /// Limits the sum of all files' lengths; beyond it comes ENOSPC.
    pub fn set_capacity(&self, bytes: u64) {
        self.shared.state.lock().capacity_bytes = bytes;
    }

    /// How many calls so far changed something.
    pub fn changes(&self) -> u64 {
        self.shared.state.lock().changes
    }
    /// Whether anything is not durable now.
    pub fn is_dirty(&self) -> bool {
        let state = self.shared.state.lock();
        state.files.values().any(|file| file.is_dirty())
            || state.folders.values().any(|folder| folder.is_dirty())
    }
    /// Whether a power cut that loses all that is not synced leaves these bytes of a file as programs see
    /// them now, under this name.
    ///
    /// # Errors
    ///
    /// Fails if no file stands there.
    pub fn is_durable(&self, path: &Path, range: Range<u64>) -> io::Result<bool> {
        let state = self.shared.state.lock();
        let Some(Node::File(number)) = state.find(path)? else { return Err(not_found()) };
        let live = state.file(number)?;
        Ok(match state.find_durable(path)? {
            Some(Node::File(before)) if before != number => {
                // The name may come back as that of either.
                let bytes = live.read(range.clone());
                live.keeps(&bytes, range.clone()) && state.file(before)?.keeps(&bytes, range)
            }
            Some(Node::File(_)) => live.is_durable(range),
            _ => false,
        })
    }
    /// What a power cut that loses all that is not synced leaves of a file; None if that is no file.
    pub fn read_durable(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.shared.state.lock();
        let Ok(Some(Node::File(number))) = state.find_durable(path) else { return None };
        state.files.get(&number).map(|file| file.durable_bytes())
    }
    /// The files below a folder, as programs see them, of which a power cut may leave less.
    pub fn undurable_files(&self, folder: &Path) -> Vec<PathBuf> {
        let state = self.shared.state.lock();
        let mut found = Vec::new();
        if let Ok(Some(Node::Folder(number))) = state.find(folder) {
            state.walk(number, &mut folder.to_path_buf(), &mut |path, file| {
                if let Some(file) = file
                    && (file.is_dirty() || !matches!(state.find_durable(path), Ok(Some(_))))
                {
                    found.push(path.to_path_buf());
                }
            });
        }
        found
    }
    /// Begins to list all calls from now on.
    pub fn start_trace(&self) {
        self.shared.watch.lock().trace = Some(Vec::new());
    }
    /// The calls since [`VirtualDisk::start_trace`]: the places where faults can be injected.
    pub fn take_trace(&self) -> Vec<Operation> {
        self.shared.watch.lock().trace.take().unwrap_or_default()
    }
    /// Has `observer` called after each call that changes something. It must not use this disk itself, only
    /// copies of it.
    pub fn observe(&self, observer: Observer) {
        self.shared.watch.lock().observer = Some(observer);
    }
    /// Ends that.
    pub fn stop_observing(&self) {
        self.shared.watch.lock().observer = None;
    }

    /// Flips a bit of a file where it lies; false if the file is shorter.
    ///
    /// # Errors
    ///
    /// Fails if no file stands there.
    pub fn flip_bit(&self, path: &Path, offset: u64, bit: u8) -> io::Result<bool> {
        let mut state = self.shared.state.lock();
        match state.find(path)? {
            Some(Node::File(number)) => Ok(state.file_mut(number)?.flip(offset, bit)),
            _ => Err(not_found()),
        }
    }

    /// A number that differs between disks with different files: all names and bytes that programs see now.
    pub fn image_hash(&self) -> u128 {
        let state = self.shared.state.lock();
        let mut hash = Fnv::default();
        state.walk(ROOT, &mut PathBuf::from("/"), &mut |path, file| {
            hash.bytes(path.as_os_str().as_encoded_bytes());
            hash.wide(file.map_or(0, |file| file.live().hash()));
        });
        hash.0
    }

    /// Copies a folder of this disk into an existing folder of the real one, so that ordinary tools can look
    /// at it.
    ///
    /// # Errors
    ///
    /// Fails if a real file cannot be written.
    pub fn export(&self, from: &Path, to: &Path) -> io::Result<()> {
        let state = self.shared.state.lock();
        let Some(Node::Folder(number)) = state.find(from)? else { return Err(not_found()) };
        let mut result = Ok(());
        state.walk(number, &mut to.to_path_buf(), &mut |path, file| {
            if result.is_ok() && path != to {
                result = match file {
                    Some(file) => {
                        let mut bytes = vec![0; usize::try_from(file.live().len()).unwrap_or(0)];
                        file.live().read(&mut bytes, 0);
                        std::fs::write(path, bytes)
                    }
                    None => std::fs::create_dir_all(path),
                };
            }
        });
        result
    }

    /// Copies a folder of the real disk into this one, where it is durable at once.
    ///
    /// # Errors
    ///
    /// Fails if a real file cannot be read.
    pub fn import(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.create_dir_all(to)?;
        for entry in std::fs::read_dir(from)? {
            let entry = entry?;
            let target = to.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                self.import(&entry.path(), &target)?;
            } else {
                let bytes = std::fs::read(entry.path())?;
                let mut state = self.shared.state.lock();
                let tick = state.changes;
                let number = state.new_node();
                state.files.insert(number, Arc::new(Inode::durable_from(&bytes, 0o600, tick)));
                let (folder, name) = state.parent_of(&target)?;
                state.folder_mut(folder)?.change(vec![(name, Some(Node::File(number)))]);
            }
        }
        let mut state = self.shared.state.lock();
        let folders: Vec<u64> = state.folders.keys().copied().collect();
        folders.into_iter().try_for_each(|folder| state.folder_mut(folder).map(Folder::sync))
    }

    /// Makes one call: counts it, lets its fault happen or does it, and shows the outcome to the observer.
    fn call<T>(
        &self,
        call: Call,
        path: &Path,
        act: impl FnOnce(&mut State, Option<FaultKind>) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut state = self.shared.state.lock();
        let fault = state.faults.meet(call, path);
        match fault {
            Some(FaultKind::PowerOff) => return Err(eio()),
            Some(FaultKind::Io) if call != Call::Sync => return Err(eio()),
            Some(FaultKind::NoSpace) if call != Call::Sync => return Err(enospc()),
            Some(FaultKind::Unsupported) if call != Call::Sync => return Err(eopnotsupp()),
            _ => {}
        }
        let outcome = act(&mut state, fault);
        if call.changes() {
            state.changes += 1;
        }
        self.show(call, path, state);
        outcome
    }

    fn show(&self, call: Call, path: &Path, state: MutexGuard<'_, State>) {
        let mut watch = self.shared.watch.lock();
        if watch.trace.is_none() && (watch.observer.is_none() || !call.changes()) {
            return;
        }
        let operation = Operation { number: state.changes, call, path: path.to_path_buf() };
        if call.changes()
            && let Some(observer) = &mut watch.observer
        {
            observer(&operation, &Moment(&state));
        }
        if let Some(trace) = &mut watch.trace {
            trace.push(operation);
        }
    }
}

impl Disk for VirtualDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<SharedFile> {
        let exists = self.shared.state.lock().find(path)?.is_some();
        let creates = !exists && matches!(mode, OpenMode::Create | OpenMode::CreateNew);
        let call = if creates { Call::Create } else { Call::Open };
        let number = self.call(call, path, |state, _| state.open(path, mode))?;
        let writable = mode != OpenMode::Read;
        Ok(Arc::new(VirtualFile { disk: self.clone(), number, path: path.to_path_buf(), writable }))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call(Call::Rename, from, |state, _| state.rename(from, to))
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.call(Call::RemoveFile, path, |state, _| match state.find(path)? {
            Some(Node::File(_)) => {
                let (folder, name) = state.parent_of(path)?;
                state.folder_mut(folder)?.change(vec![(name, None)]);
                Ok(())
            }
            Some(Node::Folder(_)) => Err(io::Error::from(io::ErrorKind::IsADirectory)),
            None => Err(not_found()),
        })
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.call(Call::CreateDir, path, |state, _| {
            if state.find(path)?.is_some() {
                return Err(io::Error::from(io::ErrorKind::AlreadyExists));
            }
            let (folder, name) = state.parent_of(path)?;
            let number = state.new_node();
            state.folders.insert(number, Arc::default());
            state.folder_mut(folder)?.change(vec![(name, Some(Node::Folder(number)))]);
            Ok(())
        })
    }
    fn link_file(&self, file: &Path, name: &Path) -> io::Result<()> {
        self.call(Call::Link, name, |state, _| state.link(file, name))
    }
    fn is_one_file(&self, one: &Path, other: &Path) -> io::Result<bool> {
        self.call(Call::Metadata, one, |state, _| {
            let (one, other) = (state.find(one)?, state.find(other)?);
            Ok(one.ok_or_else(not_found)? == other.ok_or_else(not_found)?)
        })
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.call(Call::RemoveDir, path, |state, _| {
            let number = state.find_folder(path)?;
            if !state.folder(number)?.entries().is_empty() {
                return Err(io::Error::from(io::ErrorKind::DirectoryNotEmpty));
            }
            let (folder, name) = state.parent_of(path)?;
            state.folder_mut(folder)?.change(vec![(name, None)]);
            Ok(())
        })
    }
    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.call(Call::List, path, |state, _| {
            let folder = state.folder(state.find_folder(path)?)?;
            let entry =
                |(name, node): (&String, &Node)| DirEntry { name: name.clone(), kind: kind_of(*node) };
            Ok(folder.entries().iter().map(entry).collect())
        })
    }
    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        self.call(Call::Metadata, path, |state, _| {
            let node = state.find(path)?.ok_or_else(not_found)?;
            let (len, tick, permissions, names) = match node {
                Node::File(number) => {
                    let file = state.file(number)?;
                    (file.live().len(), file.modified_tick, file.permissions, state.count_names(number))
                }
                Node::Folder(_) => (0, 0, 0o700, 1),
            };
            let modified = UNIX_EPOCH + Duration::from_secs(tick);
            Ok(Metadata { kind: kind_of(node), len, modified, permissions, names })
        })
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.call(Call::SyncDir, path, |state, _| {
            let number = state.find_folder(path)?;
            if state.folder(number)?.is_dirty() {
                state.folder_mut(number)?.sync();
            }
            Ok(())
        })
    }
    fn map_sealed(&self, path: &Path) -> io::Result<Box<dyn Mapping>> {
        self.call(Call::Map, path, |state, _| match state.find(path)? {
            Some(Node::File(number)) => {
                let contents = state.file(number)?.live();
                let mut bytes = vec![0; usize::try_from(contents.len()).map_err(io::Error::other)?];
                contents.read(&mut bytes, 0);
                Ok(Box::new(VirtualMapping(bytes)) as Box<dyn Mapping>)
            }
            _ => Err(not_found()),
        })
    }
    fn lock(&self, path: &Path) -> io::Result<Box<dyn LockGuard>> {
        drop(Disk::open(self, path, OpenMode::Create)?);
        self.call(Call::Lock, path, |state, _| match state.find(path)? {
            Some(Node::File(number)) => {
                if !self.shared.locked.lock().insert(number) {
                    return Err(io::Error::from(io::ErrorKind::WouldBlock));
                }
                let path = path.to_path_buf();
                let file = VirtualFile { disk: self.clone(), number, path, writable: true };
                Ok(Box::new(VirtualLock(file)) as Box<dyn LockGuard>)
            }
            _ => Err(not_found()),
        })
    }
}

fn kind_of(node: Node) -> FileKind {
    match node {
        Node::File(_) => FileKind::File,
        Node::Folder(_) => FileKind::Directory,
    }
}

#[cfg(test)]
#[path = "virtual_disk/tests.rs"]
mod tests;
