//! Which streams go to one directory: of those the newest counts alone. The others are of before the standby
//! lost its connection or its power, and their standby would count twice. A directory may have had other ids
//! before ([`crate::roster::former`]).

use super::{SenderHandle, Senders, Table};
use crate::directory_id::DirectoryId;
use crate::roster::MEMBERS_MAX;
use wal::Lsn;

impl Senders {
    /// How far a directory is known to have made the log durable, by its streams of this life.
    pub fn held_by(&self, directory: DirectoryId) -> Option<Lsn> {
        let table = self.0.table.lock();
        let mut streams = table.entries.values().rev();
        let newest = streams.find(|entry| entry.directory == Some(directory));
        let reported = newest.map(|entry| entry.progress.flushed).filter(|flushed| flushed.is_valid());
        reported.or_else(|| table.left.get(&directory).copied())
    }
}

impl Table {
    /// A stream ends: what its directory had is remembered.
    pub(super) fn note_left(&mut self, key: u64) {
        let Some(entry) = self.entries.get(&key) else { return };
        let (Some(directory), flushed) = (entry.directory, entry.progress.flushed) else { return };
        if flushed.is_valid() && (self.left.len() < MEMBERS_MAX || self.left.contains_key(&directory)) {
            self.left.insert(directory, flushed);
        }
    }

    /// Finds the streams that have a newer one to the same directory.
    pub(super) fn find_replaced(&mut self) {
        let mut newer = Vec::new();
        for entry in self.entries.values_mut().rev() {
            let Some(directory) = entry.directory else { continue };
            match newer.contains(&directory) {
                true => entry.replaced = entry.replaced.or(Some(entry.sent)),
                false => (entry.replaced, entry.shared) = (None, false),
            }
            newer.push(directory);
            newer.extend(&entry.formers);
        }
    }
}

impl SenderHandle {
    /// The standby says what directory it works on, which had these ids before.
    pub fn set_directory(&self, directory: DirectoryId, formers: Vec<DirectoryId>) {
        let mut table = self.senders.0.table.lock();
        if let Some(entry) = table.entries.get_mut(&self.key) {
            (entry.directory, entry.formers) = (Some(directory), formers);
        }
        table.find_replaced();
        self.senders.recompute(&mut table);
    }

    /// A directory that another one, a copy of it, says to have been lives: its streams count.
    pub fn lives_on(&self, directory: DirectoryId) {
        let mut table = self.senders.0.table.lock();
        let mut denied = false;
        for entry in table.entries.values_mut() {
            let count = entry.formers.len();
            entry.formers.retain(|former| *former != directory);
            denied |= entry.formers.len() < count;
        }
        if denied {
            table.find_replaced();
            self.senders.recompute(&mut table);
        }
    }
}
