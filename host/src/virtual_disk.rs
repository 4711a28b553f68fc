//! A disk in memory that can cut power.
//!
//! Every file has two lives: what programs read (all writes, at once), and what is durable (up to its last sync); so has every
//! folder with its names. [`VirtualDisk::crash`] gives the disk that a machine finds after a power cut: what was synced is there, and
//! of the rest whatever the [`CrashPolicy`] says, torn at sectors of 512 bytes and in any order between two syncs. Calls can be
//! made to fail ([`Fault`]), bits to flip, and every state on the way can be looked at ([`VirtualDisk::observe`]).
//!
//! A copy of a disk shares its pages with it, so hundreds of thousands of crash states are cheap.

mod contents;
mod faults;
mod names;

pub use faults::{Call, Fault, FaultKind, Operation};

use crate::disk::{DirEntry, Disk, File, FileKind, LockGuard, Mapping, Metadata, OpenMode, SharedFile};
use contents::{Fate, Fnv, Inode};
use faults::{Faults, eio, enospc};
use names::{Folder, Node, names_of};
use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::ops::Deref;
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
    /// Writes reach the disk in the order in which they were made, up to a point for each file, where the last one is torn.
    InOrder {
        /// Picks the points.
        seed: u64,
    },
    /// Each file and folder gets a fate of its own; in some files each sector stops at a state of its own between the durable
    /// and the newest one.
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

/// Nodes are shared between copies of a disk until one changes them.
#[derive(Clone, Debug)]
struct State {
    files: BTreeMap<u64, Arc<Inode>>,
    folders: BTreeMap<u64, Arc<Folder>>,
    next_node: u64,
    /// Calls so far that change something.
    changes: u64,
    capacity_bytes: u64,
    faults: Faults,
}

const ROOT: u64 = 0;

impl Default for State {
    fn default() -> Self {
        Self {
            files: BTreeMap::new(),
            folders: BTreeMap::from([(ROOT, Arc::default())]),
            next_node: ROOT + 1,
            changes: 0,
            capacity_bytes: u64::MAX,
            faults: Faults::default(),
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

    /// The disk that a machine finds after power failed now. This one stays as it is. The same policy on the same state gives the same
    /// disk.
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
        Self::from_state(after)
    }

    /// Arms a fault.
    pub fn inject(&self, fault: Fault) {
        self.shared.state.lock().faults.arm(fault);
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
    /// Begins to list all calls from now on.
    pub fn start_trace(&self) {
        self.shared.watch.lock().trace = Some(Vec::new());
    }
    /// The calls since [`VirtualDisk::start_trace`]: the places where faults can be injected.
    pub fn take_trace(&self) -> Vec<Operation> {
        self.shared.watch.lock().trace.take().unwrap_or_default()
    }
    /// Has `observer` called after each call that changes something. It must not use this disk itself, only copies of it.
    pub fn observe(&self, observer: Observer) {
        self.shared.watch.lock().observer = Some(observer);
    }
    /// Ends that.
    pub fn stop_observing(&self) {
        self.shared.watch.lock().observer = None;
    }

    /// Flips a bit of a file where it lies; false if the file is shorter.
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

    /// Copies a folder of this disk into an existing folder of the real one, so that ordinary tools can look at it.
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

impl State {
    fn new_node(&mut self) -> u64 {
        let number = self.next_node;
        self.next_node += 1;
        number
    }
    fn file(&self, number: u64) -> io::Result<&Inode> {
        self.files.get(&number).map(Arc::as_ref).ok_or_else(not_found)
    }
    fn file_mut(&mut self, number: u64) -> io::Result<&mut Inode> {
        let tick = self.changes;
        let file = Arc::make_mut(self.files.get_mut(&number).ok_or_else(not_found)?);
        file.modified_tick = tick;
        Ok(file)
    }
    fn folder(&self, number: u64) -> io::Result<&Folder> {
        self.folders.get(&number).map(Arc::as_ref).ok_or_else(not_found)
    }
    fn folder_mut(&mut self, number: u64) -> io::Result<&mut Folder> {
        Ok(Arc::make_mut(self.folders.get_mut(&number).ok_or_else(not_found)?))
    }

    fn find(&self, path: &Path) -> io::Result<Option<Node>> {
        let mut at = Node::Folder(ROOT);
        for name in names_of(path)? {
            let Node::Folder(folder) = at else { return Err(not_a_directory()) };
            match self.folder(folder)?.get(name) {
                Some(node) => at = node,
                None => return Ok(None),
            }
        }
        Ok(Some(at))
    }
    fn find_folder(&self, path: &Path) -> io::Result<u64> {
        match self.find(path)? {
            Some(Node::Folder(number)) => Ok(number),
            Some(Node::File(_)) => Err(not_a_directory()),
            None => Err(not_found()),
        }
    }
    /// The folder that holds a path's last name, and that name.
    fn parent_of(&self, path: &Path) -> io::Result<(u64, String)> {
        let mut names = names_of(path)?;
        let name = names.pop().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?.to_owned();
        let folder = self.find_folder(&names.iter().collect::<PathBuf>())?;
        Ok((folder, name))
    }

    /// Fails if files would grow beyond the capacity.
    fn check_growth(&self, number: u64, new_len: u64) -> io::Result<()> {
        let old = self.file(number)?.live().len();
        if self.capacity_bytes == u64::MAX || new_len <= old {
            return Ok(());
        }
        let reachable = self.reachable_files();
        let used: u64 =
            reachable.iter().filter_map(|number| self.files.get(number)).map(|file| file.live().len()).sum();
        if used.saturating_sub(old) + new_len > self.capacity_bytes { Err(enospc()) } else { Ok(()) }
    }

    fn reachable_files(&self) -> BTreeSet<u64> {
        let mut found = BTreeSet::new();
        let mut folders = vec![ROOT];
        while let Some(folder) = folders.pop() {
            let Some(folder) = self.folders.get(&folder) else { continue };
            for node in folder.entries().values() {
                match node {
                    Node::File(number) => drop(found.insert(*number)),
                    Node::Folder(number) => folders.push(*number),
                }
            }
        }
        found
    }

    /// Visits a folder and everything below it, by name.
    fn walk(&self, folder: u64, path: &mut PathBuf, visit: &mut dyn FnMut(&Path, Option<&Inode>)) {
        visit(path, None);
        let Some(found) = self.folders.get(&folder) else { return };
        for (name, node) in found.entries() {
            path.push(name);
            match node {
                Node::File(number) => {
                    if let Some(file) = self.files.get(number) {
                        visit(path, Some(file));
                    }
                }
                Node::Folder(number) => self.walk(*number, path, visit),
            }
            path.pop();
        }
    }

    fn open(&mut self, path: &Path, mode: OpenMode) -> io::Result<u64> {
        match (self.find(path)?, mode) {
            (Some(Node::Folder(_)), _) => Err(io::Error::from(io::ErrorKind::IsADirectory)),
            (Some(Node::File(_)), OpenMode::CreateNew) => Err(io::Error::from(io::ErrorKind::AlreadyExists)),
            (Some(Node::File(number)), _) => Ok(number),
            (None, OpenMode::Read | OpenMode::ReadWrite) => Err(not_found()),
            (None, OpenMode::Create | OpenMode::CreateNew) => {
                let (folder, name) = self.parent_of(path)?;
                let number = self.new_node();
                self.files.insert(number, Arc::new(Inode::empty(0o600, self.changes)));
                self.folder_mut(folder)?.change(vec![(name, Some(Node::File(number)))]);
                Ok(number)
            }
        }
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let node = self.find(from)?.ok_or_else(not_found)?;
        let ((source, old), (target, new)) = (self.parent_of(from)?, self.parent_of(to)?);
        match (node, self.find(to)?) {
            (Node::File(_), Some(Node::Folder(_))) => {
                return Err(io::Error::from(io::ErrorKind::IsADirectory));
            }
            (Node::Folder(_), Some(Node::File(_))) => return Err(not_a_directory()),
            (Node::Folder(_), Some(Node::Folder(there))) if !self.folder(there)?.entries().is_empty() => {
                return Err(io::Error::from(io::ErrorKind::DirectoryNotEmpty));
            }
            (_, Some(same)) if same == node => return Ok(()),
            _ => {}
        }
        if source == target {
            self.folder_mut(source)?.change(vec![(old, None), (new, Some(node))]);
        } else {
            self.folder_mut(target)?.change(vec![(new, Some(node))]);
            self.folder_mut(source)?.change(vec![(old, None)]);
        }
        Ok(())
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
            let (len, tick, permissions) = match node {
                Node::File(number) => {
                    let file = state.file(number)?;
                    (file.live().len(), file.modified_tick, file.permissions)
                }
                Node::Folder(_) => (0, 0, 0o700),
            };
            let modified = UNIX_EPOCH + Duration::from_secs(tick);
            Ok(Metadata { kind: kind_of(node), len, modified, permissions })
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
                Ok(Box::new(VirtualLock { disk: self.clone(), number }) as Box<dyn LockGuard>)
            }
            _ => Err(not_found()),
        })
    }
}

#[derive(Debug)]
struct VirtualFile {
    disk: VirtualDisk,
    number: u64,
    path: PathBuf,
    writable: bool,
}

impl VirtualFile {
    /// Makes a call that changes the file.
    fn change<T>(
        &self,
        call: Call,
        act: impl FnOnce(&mut State, Option<FaultKind>) -> io::Result<T>,
    ) -> io::Result<T> {
        if !self.writable && call != Call::Sync {
            return Err(io::Error::from_raw_os_error(libc::EBADF));
        }
        self.disk.call(call, &self.path, act)
    }
}

impl File for VirtualFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.disk
            .call(Call::Read, &self.path, |state, _| Ok(state.file(self.number)?.live().read(buf, offset)))
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.change(Call::Write, |state, fault| {
            let len = match fault {
                Some(FaultKind::Short(len)) => len.min(buf.len().saturating_sub(1)),
                _ => buf.len(),
            };
            let end =
                offset.checked_add(len as u64).ok_or_else(|| io::Error::from(io::ErrorKind::FileTooLarge))?;
            state.check_growth(self.number, end)?;
            if len > 0 {
                state.file_mut(self.number)?.write(buf.get(..len).unwrap_or_default(), offset);
            }
            Ok(len)
        })
    }
    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.change(Call::Allocate, |state, _| {
            let end = offset.checked_add(len).ok_or_else(|| io::Error::from(io::ErrorKind::FileTooLarge))?;
            state.check_growth(self.number, end)?;
            if end > state.file(self.number)?.live().len() {
                state.file_mut(self.number)?.set_len(end);
            }
            Ok(())
        })
    }
    fn truncate(&self, len: u64) -> io::Result<()> {
        self.change(Call::Truncate, |state, _| {
            state.check_growth(self.number, len)?;
            state.file_mut(self.number)?.set_len(len);
            Ok(())
        })
    }
    fn sync(&self) -> io::Result<()> {
        self.change(Call::Sync, |state, fault| {
            let file = state.file_mut(self.number)?;
            match fault {
                Some(kind) => {
                    file.lose_dirty();
                    Err(if kind == FaultKind::NoSpace { enospc() } else { eio() })
                }
                None => {
                    file.sync();
                    Ok(())
                }
            }
        })
    }
    fn len(&self) -> io::Result<u64> {
        self.disk.call(Call::Metadata, &self.path, |state, _| Ok(state.file(self.number)?.live().len()))
    }
}

#[derive(Debug)]
struct VirtualMapping(Vec<u8>);

impl Deref for VirtualMapping {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Mapping for VirtualMapping {}

#[derive(Debug)]
struct VirtualLock {
    disk: VirtualDisk,
    number: u64,
}

impl LockGuard for VirtualLock {}

impl Drop for VirtualLock {
    fn drop(&mut self) {
        self.disk.shared.locked.lock().remove(&self.number);
    }
}

fn kind_of(node: Node) -> FileKind {
    match node {
        Node::File(_) => FileKind::File,
        Node::Folder(_) => FileKind::Directory,
    }
}

fn not_found() -> io::Error {
    io::Error::from_raw_os_error(libc::ENOENT)
}

fn not_a_directory() -> io::Error {
    io::Error::from_raw_os_error(libc::ENOTDIR)
}

#[cfg(test)]
#[path = "virtual_disk/tests.rs"]
mod tests;
