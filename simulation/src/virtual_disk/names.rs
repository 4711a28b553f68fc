//! Folders: the names that programs see, and those that a power cut leaves.

use super::contents::Fate;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// What a name stands for; the number is the node's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    File(u64),
    Folder(u64),
}

/// Changes of names that stay together: a rename inside a folder is one.
#[derive(Clone, Debug)]
struct NameChange(Vec<(String, Option<Node>)>);

/// A folder with its two lives.
#[derive(Clone, Debug, Default)]
pub(super) struct Folder {
    live: BTreeMap<String, Node>,
    durable: BTreeMap<String, Node>,
    unsynced: Vec<NameChange>,
}

impl Folder {
    pub(super) fn get(&self, name: &str) -> Option<Node> {
        self.live.get(name).copied()
    }
    /// What a power cut leaves of a name, if all that is not synced is lost.
    pub(super) fn get_durable(&self, name: &str) -> Option<Node> {
        self.durable.get(name).copied()
    }
    pub(super) fn entries(&self) -> &BTreeMap<String, Node> {
        &self.live
    }
    /// Sets (Some) or removes (None) names, as one step.
    pub(super) fn change(&mut self, changes: Vec<(String, Option<Node>)>) {
        apply(&mut self.live, &changes);
        self.unsynced.push(NameChange(changes));
    }
    pub(super) fn sync(&mut self) {
        self.unsynced.clear();
        self.durable = self.live.clone();
    }
    pub(super) fn is_dirty(&self) -> bool {
        !self.unsynced.is_empty()
    }

    /// The folder as a power cut leaves it. Names change in the order in which they were changed, as a
    /// journal has them: some first changes are kept, the others lost.
    pub(super) fn after_power_cut(&self, fate: Fate, random: &mut fastrand::Rng) -> Self {
        let kept = match fate {
            Fate::Lost => 0,
            Fate::Kept => self.unsynced.len(),
            Fate::Prefix | Fate::Shuffled => random.usize(..=self.unsynced.len()),
        };
        let mut names = self.durable.clone();
        self.unsynced.iter().take(kept).for_each(|change| apply(&mut names, &change.0));
        Self { live: names.clone(), durable: names, unsynced: Vec::new() }
    }
}

fn apply(names: &mut BTreeMap<String, Node>, changes: &[(String, Option<Node>)]) {
    for (name, node) in changes {
        match node {
            Some(node) => names.insert(name.clone(), *node),
            None => names.remove(name),
        };
    }
}

/// The names of a path from the root on; relative paths start at the root too.
pub(super) fn names_of(path: &Path) -> io::Result<impl Iterator<Item = &str>> {
    let path = text_of(path)?;
    if path.split('/').any(|name| name == "..") {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the virtual disk knows no \"..\""));
    }
    Ok(path.split('/').filter(|name| !matches!(*name, "" | ".")))
}

/// The path of the folder that holds a path's last name, and that name.
pub(super) fn last_name_of(path: &Path) -> io::Result<(&Path, &str)> {
    let path = text_of(path)?.trim_end_matches('/');
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    if matches!(name, "" | "." | "..") {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    Ok((Path::new(folder), name))
}

fn text_of(path: &Path) -> io::Result<&str> {
    path.to_str()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the virtual disk takes UTF-8 names only"))
}
