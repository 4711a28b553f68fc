//! Everything on the disk at one moment.

use super::contents::Inode;
use super::faults::{Faults, enospc};
use super::names::{Folder, Node, last_name_of, names_of};
use host::OpenMode;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Nodes are shared between copies of a disk until one changes them.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) files: BTreeMap<u64, Arc<Inode>>,
    pub(super) folders: BTreeMap<u64, Arc<Folder>>,
    /// The files that have, or had, more than one name.
    pub(super) linked: BTreeSet<u64>,
    pub(super) next_node: u64,
    /// Calls so far that change something.
    pub(super) changes: u64,
    pub(super) capacity_bytes: u64,
    pub(super) faults: Faults,
}

pub(super) const ROOT: u64 = 0;

impl Default for State {
    fn default() -> Self {
        Self {
            files: BTreeMap::new(),
            folders: BTreeMap::from([(ROOT, Arc::default())]),
            linked: BTreeSet::new(),
            next_node: ROOT + 1,
            changes: 0,
            capacity_bytes: u64::MAX,
            faults: Faults::default(),
        }
    }
}

impl State {
    pub(super) fn new_node(&mut self) -> u64 {
        let number = self.next_node;
        self.next_node += 1;
        number
    }
    pub(super) fn file(&self, number: u64) -> io::Result<&Inode> {
        self.files.get(&number).map(Arc::as_ref).ok_or_else(not_found)
    }
    pub(super) fn file_mut(&mut self, number: u64) -> io::Result<&mut Inode> {
        let tick = self.changes;
        let file = Arc::make_mut(self.files.get_mut(&number).ok_or_else(not_found)?);
        file.modified_tick = tick;
        Ok(file)
    }
    pub(super) fn folder(&self, number: u64) -> io::Result<&Folder> {
        self.folders.get(&number).map(Arc::as_ref).ok_or_else(not_found)
    }
    pub(super) fn folder_mut(&mut self, number: u64) -> io::Result<&mut Folder> {
        Ok(Arc::make_mut(self.folders.get_mut(&number).ok_or_else(not_found)?))
    }

    pub(super) fn find(&self, path: &Path) -> io::Result<Option<Node>> {
        self.find_by(path, Folder::get)
    }
    /// What a path leads to if all names that are not synced are lost.
    pub(super) fn find_durable(&self, path: &Path) -> io::Result<Option<Node>> {
        self.find_by(path, Folder::get_durable)
    }
    fn find_by(&self, path: &Path, get: fn(&Folder, &str) -> Option<Node>) -> io::Result<Option<Node>> {
        let mut at = Node::Folder(ROOT);
        for name in names_of(path)? {
            let Node::Folder(folder) = at else { return Err(not_a_directory()) };
            match get(self.folder(folder)?, name) {
                Some(node) => at = node,
                None => return Ok(None),
            }
        }
        Ok(Some(at))
    }
    pub(super) fn find_folder(&self, path: &Path) -> io::Result<u64> {
        match self.find(path)? {
            Some(Node::Folder(number)) => Ok(number),
            Some(Node::File(_)) => Err(not_a_directory()),
            None => Err(not_found()),
        }
    }
    /// The folder that holds a path's last name, and that name.
    pub(super) fn parent_of(&self, path: &Path) -> io::Result<(u64, String)> {
        let (folder, name) = last_name_of(path)?;
        Ok((self.find_folder(folder)?, name.to_owned()))
    }

    /// Fails if files would grow beyond the capacity.
    pub(super) fn check_growth(&self, number: u64, new_len: u64) -> io::Result<()> {
        let old = self.file(number)?.space();
        if self.capacity_bytes == u64::MAX || new_len <= old {
            return Ok(());
        }
        let reachable = self.reachable_files();
        let used: u64 =
            reachable.iter().filter_map(|number| self.files.get(number)).map(|file| file.space()).sum();
        if used.saturating_sub(old) + new_len > self.capacity_bytes { Err(enospc()) } else { Ok(()) }
    }

    pub(super) fn reachable_files(&self) -> BTreeSet<u64> {
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
    pub(super) fn walk(&self, folder: u64, path: &mut PathBuf, visit: &mut dyn FnMut(&Path, Option<&Inode>)) {
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

    pub(super) fn open(&mut self, path: &Path, mode: OpenMode) -> io::Result<u64> {
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

    /// How many names stand for a file that has one.
    pub(super) fn count_names(&self, number: u64) -> u64 {
        if !self.linked.contains(&number) {
            return 1;
        }
        let names = self.folders.values().flat_map(|folder| folder.entries().values());
        names.filter(|named| **named == Node::File(number)).count() as u64
    }

    /// Looks for files with more than one name.
    pub(super) fn find_linked(&mut self) {
        let mut named = BTreeSet::new();
        for node in self.folders.values().flat_map(|folder| folder.entries().values()) {
            if let Node::File(number) = node
                && !named.insert(*number)
            {
                self.linked.insert(*number);
            }
        }
    }

    pub(super) fn link(&mut self, file: &Path, name: &Path) -> io::Result<()> {
        let node = self.find(file)?.ok_or_else(not_found)?;
        let Node::File(number) = node else {
            return Err(io::Error::from(io::ErrorKind::PermissionDenied));
        };
        if self.find(name)?.is_some() {
            return Err(io::Error::from(io::ErrorKind::AlreadyExists));
        }
        let (folder, name) = self.parent_of(name)?;
        self.folder_mut(folder)?.change(vec![(name, Some(node))]);
        self.linked.insert(number);
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
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

pub(super) fn not_found() -> io::Error {
    io::Error::from_raw_os_error(libc::ENOENT)
}

pub(super) fn not_a_directory() -> io::Error {
    io::Error::from_raw_os_error(libc::ENOTDIR)
}
