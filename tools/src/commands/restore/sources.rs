//! Where the preview's log comes from: the folders that are named, restore_command, and pg_wal, in this
//! order, through a temporary folder of links and fetched files that is gone afterwards.
//!
//! As in recovery, pg_wal's own history of a timeline is the one that counts, and an archive's segments are
//! not read if its history says that they are another branch's.

use crate::output::complain;
use anyhow::{Context, Result};
use host::{Disk, RealDisk, ShellCommand};
use parking_lot::Mutex;
use std::collections::{BTreeSet, HashSet, VecDeque};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use wal::history::{HISTORY_FILE_SIZE_MAX, TimelineHistory};
use wal::reader::SegmentSupply;
use wal::{ArchiveHistories, Lsn, SegmentNumber, SegmentSize, TimelineId, file_names};

/// Fetched segments that are kept at a time.
const FETCHED_MAX: usize = 4;

/// The temporary folder, which is removed on drop: histories at first, and segments once it is known what is
/// followed.
pub(super) struct Sources {
    folder: PathBuf,
    pg_wal: PathBuf,
    /// The folders that were named, with the histories that lie there.
    named: Vec<(PathBuf, ArchiveHistories)>,
    /// Those that restore_command has brought.
    by_command: Mutex<ArchiveHistories>,
}

impl Sources {
    pub(super) fn new(pg_wal: &Path, named: &[PathBuf]) -> Result<Arc<Self>> {
        let folder = std::env::temp_dir().join(format!("plimsoll-preview-{}", std::process::id()));
        std::fs::create_dir(&folder)
            .with_context(|| format!("could not create folder {}", folder.display()))?;
        let pg_wal = std::path::absolute(pg_wal)?;
        let mut sources = Self { folder, pg_wal, named: Vec::new(), by_command: Mutex::default() };
        sources.add_histories(&sources.pg_wal)?;
        for folder in named {
            let folder = std::path::absolute(folder)?;
            let histories = sources.add_histories(&folder)?;
            sources.named.push((folder, histories));
        }
        Ok(Arc::new(sources))
    }

    /// Where histories and segments are read.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Links to a folder's histories of timelines that have none yet.
    fn add_histories(&self, folder: &Path) -> Result<ArchiveHistories> {
        let mut histories = ArchiveHistories::default();
        for timeline in names_in(folder)?.iter().filter_map(|name| TimelineId::parse_history_file_name(name))
        {
            histories.learn(TimelineHistory::load(&RealDisk, folder, timeline)?);
            let path = folder.join(timeline.history_file_name());
            if self.is_wanted(timeline, &path)? {
                self.put(&path)?;
            }
        }
        Ok(histories)
    }

    /// Whether a history takes its name here: there is none, or the beginning of this one.
    fn is_wanted(&self, timeline: TimelineId, history: &Path) -> io::Result<bool> {
        let read = |path: &Path| RealDisk.read(path, HISTORY_FILE_SIZE_MAX);
        match read(&self.folder.join(timeline.history_file_name())) {
            Ok(known) => Ok(read(history)?.starts_with(&known)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Puts a link to a file here, in place of one of its name.
    fn put(&self, file: &Path) -> Result<()> {
        let Some(name) = file.file_name() else { return Ok(()) };
        let link = self.folder.join(name);
        match std::fs::remove_file(&link) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => symlink(file, &link),
        }
        .with_context(|| format!("could not create link {}", link.display()))
    }

    /// Has a timeline's history file, from a folder that was named, from the archive or from pg_wal; false if
    /// there is none. One that says nothing is an error: a command that makes a file of any name would have
    /// timelines without end.
    pub(super) fn fetch_history(&self, archive: &ByCommand, timeline: TimelineId) -> io::Result<bool> {
        if self.named.iter().all(|(_, histories)| histories.lacks(timeline)) {
            self.ask_for_history(archive, timeline)?;
        }
        self.folder.join(timeline.history_file_name()).try_exists()
    }

    /// Asks the archive for a timeline's history.
    fn ask_for_history(&self, archive: &ByCommand, timeline: TimelineId) -> io::Result<()> {
        let name = timeline.history_file_name();
        let Some(fetched) = archive.fetch(&name, &self.folder)? else { return Ok(()) };
        let contents = RealDisk.read(&fetched, HISTORY_FILE_SIZE_MAX)?;
        let text = String::from_utf8_lossy(&contents);
        let nonsense = match TimelineHistory::parse(timeline, &text) {
            Ok(history) if history.entries().is_empty() => "it names no timeline before it".to_owned(),
            Ok(history) => {
                self.by_command.lock().learn(history);
                if self.is_wanted(timeline, &fetched)? {
                    std::fs::rename(&fetched, self.folder.join(&name))?;
                }
                return Ok(());
            }
            Err(error) => error.to_string(),
        };
        Err(io::Error::other(format!("file \"{name}\" makes no sense: {nonsense}")))
    }

    /// Links to the segments that are here, and what fetches the others, for who follows this history.
    pub(super) fn supply(
        self: Arc<Self>,
        archive: ByCommand,
        size: SegmentSize,
        followed: &TimelineHistory,
    ) -> Result<Fetcher> {
        let mut named = HashSet::new();
        for (folder, histories) in &self.named {
            let mut anothers = BTreeSet::new();
            for name in names_in(folder)?.into_iter().filter(|name| file_names::is_segment(name)) {
                let timeline = TimelineId::of_file_name(&name).unwrap_or(TimelineId::FIRST);
                if histories.are_anothers(followed, timeline) {
                    anothers.insert(timeline);
                } else if named.insert(name.clone()) {
                    self.put(&folder.join(name))?;
                }
            }
            for timeline in anothers {
                say_anothers(timeline, &folder.display().to_string());
            }
        }
        for name in names_in(&self.pg_wal)?.iter().filter(|name| file_names::is_segment(name)) {
            if !named.contains(name) {
                self.put(&self.pg_wal.join(name))?;
            }
        }
        let (refused, fetched) = (Mutex::default(), Mutex::default());
        Ok(Fetcher { sources: self, archive, size, named, refused, fetched })
    }
}

impl Drop for Sources {
    fn drop(&mut self) {
        // What cannot be removed is a folder of links among the temporary files.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// An archive that is asked by restore_command, as recovery asks it.
pub(super) struct ByCommand {
    pub(super) command: String,
    /// The data directory.
    pub(super) data: PathBuf,
    /// The segment where redo begins (`%r`).
    pub(super) first_needed: String,
}

impl ByCommand {
    /// Has a file brought to a name of its own in `folder`; None if the archive has none.
    fn fetch(&self, name: &str, folder: &Path) -> io::Result<Option<PathBuf>> {
        if self.command.trim().is_empty() {
            return Ok(None);
        }
        let path = folder.join("fetched");
        let text = path.to_str().ok_or_else(|| io::Error::other("the temporary folder's name is no text"))?;
        let values = [('p', text), ('f', name), ('r', self.first_needed.as_str())];
        let command = server::expand_command(&self.command, &values);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let status = ShellCommand::spawn(&command, &self.data, Stdio::null())?.wait()?;
        // As in recovery: a code up to 125 says that there is no such file, all else that asking again makes
        // no sense.
        match status.code() {
            Some(0) => Ok(path.try_exists()?.then_some(path)),
            Some(1..=125) => Ok(None),
            _ => Err(io::Error::other(format!("restore_command for \"{name}\" failed: {status}"))),
        }
    }
}

/// Fetches by restore_command the segments that no named folder has.
pub(super) struct Fetcher {
    sources: Arc<Sources>,
    archive: ByCommand,
    size: SegmentSize,
    /// The segments of the named folders.
    named: HashSet<String>,
    /// The timelines of which it was said that the archive's segments are another branch's.
    refused: Mutex<BTreeSet<TimelineId>>,
    /// What was fetched lately.
    fetched: Mutex<VecDeque<PathBuf>>,
}

impl SegmentSupply for Fetcher {
    fn fetch(
        &self,
        history: &TimelineHistory,
        timeline: TimelineId,
        segment: SegmentNumber,
        _own_upto: Lsn,
    ) -> io::Result<bool> {
        let (sources, name) = (&self.sources, segment.file_name(timeline, self.size));
        if self.named.contains(&name) {
            // The link to it.
            return Ok(true);
        }
        if sources.by_command.lock().lacks(timeline) {
            sources.ask_for_history(&self.archive, timeline)?;
        }
        if sources.by_command.lock().are_anothers(history, timeline) {
            if self.refused.lock().insert(timeline) {
                say_anothers(timeline, "the archive");
            }
            return Ok(false);
        }
        let Some(fetched) = self.archive.fetch(&name, &sources.folder)? else { return Ok(false) };
        let found = std::fs::metadata(&fetched)?.len();
        if found != self.size.bytes() {
            let expected = self.size.bytes();
            return Err(io::Error::other(format!(
                "archive file \"{name}\" has wrong size: {found} instead of {expected}"
            )));
        }
        let path = sources.folder.join(&name);
        std::fs::rename(fetched, &path)?;
        // Reading goes forward: what lies behind only takes space.
        let mut fetched = self.fetched.lock();
        fetched.retain(|other| *other != path);
        fetched.push_back(path);
        if fetched.len() > FETCHED_MAX
            && let Some(oldest) = fetched.pop_front()
        {
            std::fs::remove_file(oldest)?;
        }
        Ok(true)
    }
}

fn say_anothers(timeline: TimelineId, place: &str) {
    complain!(
        "plimsoll: warning: the segments of timeline {timeline} in {place} are of another branch than the \
         timeline {timeline} that is followed, and are left out"
    );
}

fn names_in(folder: &Path) -> Result<Vec<String>> {
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("could not read folder {}", folder.display()))?;
    let names: io::Result<Vec<_>> = entries.map(|entry| entry.map(|entry| entry.file_name())).collect();
    Ok(names?.into_iter().filter_map(|name| name.into_string().ok()).collect())
}
