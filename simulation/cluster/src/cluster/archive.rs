//! One archive of the log for all nodes, and the shell commands that lead into it and out of it.

use super::{DATA, id_text};
use crate::machine::log_rules;
use host::{Disk, OpenMode};
use parking_lot::Mutex;
use simulated::NodeId;
use simulated::shell;
use simulation::VirtualDisk;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The largest file that is archived.
const FILE_MAX: u64 = 1 << 30;

/// How long an archive takes at most that seldom does not answer at once, in milliseconds.
pub(crate) const SLOW_MS: u64 = 9000;

/// What archives: a node's settings for it.
pub(crate) const ARCHIVE_COMMAND: &str = "keep %p %f";
/// What fetches.
pub(crate) const RESTORE_COMMAND: &str = "fetch %f %p";

/// A file that two nodes, or one of them twice, archived with other bytes.
#[derive(Clone, Debug)]
pub struct Differing {
    /// The file.
    pub name: String,
    /// Who came second.
    pub who: String,
    /// From which byte on, and the first of them: what came second, and what is kept.
    pub bytes: String,
}

/// The first bytes from which on `ours` is not what is in the archive.
pub(crate) fn first_difference(ours: &[u8], archived: &[u8]) -> String {
    let (here, there) = (ours.iter(), archived.iter());
    let at = here.zip(there).position(|(ours, theirs)| ours != theirs);
    let (at, len) = (at.unwrap_or(ours.len().min(archived.len())), archived.len());
    let some = |bytes: &[u8]| bytes.iter().skip(at).take(16).copied().collect::<Vec<u8>>();
    format!("from byte {at} of {len} on: {:x?} here, {:x?} in the archive", some(ours), some(archived))
}

/// The files that nodes have archived.
#[derive(Debug, Default)]
pub struct Archive {
    files: Mutex<BTreeMap<String, Arc<Vec<u8>>>>,
    differ: Mutex<Vec<Differing>>,
    /// How the names of timelines begin of which nothing is kept.
    discarded: Mutex<BTreeSet<String>>,
}

impl Archive {
    /// What a name is archived as.
    pub fn file(&self, name: &str) -> Option<Arc<Vec<u8>>> {
        self.files.lock().get(name).cloned()
    }

    /// Removes what was archived of a timeline, and takes what comes without keeping it.
    pub fn discard_timeline(&self, timeline: u32) {
        let begin = format!("{timeline:08X}");
        self.files.lock().retain(|name, _| !name.starts_with(&begin));
        self.discarded.lock().insert(begin);
    }

    /// All names.
    pub fn names(&self) -> Vec<String> {
        self.files.lock().keys().cloned().collect()
    }

    /// What was archived with other bytes than before.
    pub fn differing(&self) -> Vec<Differing> {
        self.differ.lock().clone()
    }

    /// Has a node's commands run from now on. They take a while, fail at times, and seldom take so long for a
    /// history that the promotion of a handover does not wait for it.
    pub(super) fn serve(self: &Arc<Self>, node: NodeId, files: &VirtualDisk, seed: u64) {
        let (archive, files) = (self.clone(), files.clone());
        let random = Mutex::new(fastrand::Rng::with_seed(seed));
        shell::install(
            node,
            Arc::new(move |command, _| {
                let (archive, files, who) = (archive.clone(), files.clone(), id_text(node));
                let words: Vec<String> = command.split(' ').map(str::to_owned).collect();
                let (ms, fails) = {
                    let mut random = random.lock();
                    let asks_for_timelines = words.get(1).is_some_and(|name| name.ends_with(".history"));
                    let hangs = asks_for_timelines && random.u8(..30) == 0;
                    let ms = if hangs { random.u64(1000..SLOW_MS) } else { random.u64(1..25) };
                    (ms, random.u8(..12) == 0)
                };
                Box::pin(async move {
                    tokio::time::sleep(Duration::from_millis(ms)).await;
                    let done = match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
                        _ if fails => false,
                        ["keep", path, name] => archive.keep(&who, &files, path, name),
                        ["fetch", name, path] => archive.fetch(&files, name, path),
                        _ => false,
                    };
                    u8::from(!done)
                })
            }),
        );
    }

    fn keep(&self, who: &str, files: &VirtualDisk, path: &str, name: &str) -> bool {
        let Ok(bytes) = files.read(&Path::new(DATA).join(path), FILE_MAX) else { return false };
        if name.get(..8).is_some_and(|begin| self.discarded.lock().contains(begin)) {
            log_rules::archived(name);
            return true;
        }
        let mut kept = self.files.lock();
        match kept.entry(name.to_owned()) {
            Entry::Occupied(known) if **known.get() != bytes => {
                let bytes = first_difference(&bytes, known.get());
                self.differ.lock().push(Differing { name: name.to_owned(), who: who.to_owned(), bytes });
                return false;
            }
            Entry::Occupied(_) => {}
            Entry::Vacant(free) => _ = free.insert(Arc::new(bytes)),
        }
        log_rules::archived(name);
        true
    }

    fn fetch(&self, files: &VirtualDisk, name: &str, path: &str) -> bool {
        let Some(bytes) = self.file(name) else { return false };
        let file = files.open(&Path::new(DATA).join(path), OpenMode::Create);
        file.and_then(|file| file.write_all_at(&bytes, 0)).is_ok()
    }
}
