//! `plimsoll timelines`: the tree of timelines, as data directories, archives and servers know it.

mod server;
mod tree;

use crate::cli::TimelinesArgs;
use crate::output::{self, complain, say};
use crate::wal_files::{segment_size, time_of};
use anyhow::Result;
use host::{Host, Timestamp};
use std::collections::BTreeMap;
use std::path::Path;
use tree::Tree;
use wal::backup_label::BackupLabel;
use wal::control::ControlFile;
use wal::history::TimelineHistory;
use wal::reader::{Next, ReaderOptions, SegmentFiles, WalReader, WalSource};
use wal::timelines::RecoveryStart;
use wal::{BranchRecord, Lsn, SegmentNumber, SegmentSize, TimelineId};

/// Records of a new timeline that are looked at for its first moment.
const RECORDS_MAX: usize = 4;

/// Draws it; gives the exit code, 1 if a part could not be read.
pub fn run(arguments: &TimelinesArgs) -> Result<u8> {
    let host = Host::real();
    let mut known = Known { host: &host, tree: Tree::default(), complete: true };
    for folder in &arguments.wal {
        let looked = known.look_into_archive(folder);
        known.settle(looked, &format!("archive \"{}\"", folder.display()));
    }
    for data in &arguments.data {
        let looked = known.look_into_directory(data);
        known.settle(looked, &format!("data directory \"{}\"", data.display()));
    }
    for conninfo in &arguments.dbname {
        let asked = server::ask(conninfo, &mut known);
        known.settle(asked, "a server");
    }
    for line in known.tree.lines() {
        say!("{line}");
    }
    Ok(u8::from(!known.complete))
}

/// What was found so far.
struct Known<'a> {
    host: &'a Host,
    tree: Tree,
    /// Nothing had to be left out.
    complete: bool,
}

impl Known<'_> {
    /// Says what is left out, and why.
    fn leave_out(&mut self, what: &str, why: &dyn std::fmt::Display) {
        self.complete = false;
        complain!("plimsoll: error: {what} is left out: {}", output::plain(&why.to_string()));
    }

    /// What nobody could ask does not keep the others from being shown.
    fn settle(&mut self, looked: Result<()>, what: &str) {
        if let Err(error) = looked {
            self.leave_out(what, &output::error_text(&error));
        }
    }

    fn look_into_directory(&mut self, data: &Path) -> Result<()> {
        let disk = &*self.host.disk;
        let control = ControlFile::load(disk, data)?;
        crate::serve::check_format(data, &control)?;
        let pg_wal = data.join("pg_wal");
        self.histories_of(&pg_wal, Some(control.segment_size))?;
        let label = BackupLabel::load(disk, data, control.segment_size)?;
        let record = BranchRecord::load(disk, data, &control)?;
        let history = RecoveryStart::found(&control, label.as_ref(), record).own_history(disk, &pg_wal)?;
        self.note(&history, format!("directory \"{}\"", data.display()));
        Ok(())
    }

    fn look_into_archive(&mut self, folder: &Path) -> Result<()> {
        let disk = &*self.host.disk;
        let names: Vec<_> = disk.list(folder)?.into_iter().map(|entry| entry.name).collect();
        let has_log = names.iter().any(|name| wal::file_names::is_segment(name));
        let size = has_log.then(|| segment_size(disk, folder, None)).transpose()?;
        let places = self.histories_of(folder, size)?;
        let Some(size) = size else { return Ok(()) };
        let mut ranges = BTreeMap::new();
        for (timeline, segment) in names.iter().filter_map(|name| SegmentNumber::parse_file_name(name, size))
        {
            let range = ranges.entry(timeline).or_insert((segment, segment, 0));
            *range = (range.0.min(segment), range.1.max(segment), range.2 + 1);
        }
        for (timeline, (first, last, count)) in ranges {
            let place = self.tree.place_of_log(timeline, &places);
            let (begin, end) = (size.start_of(first), size.start_of(last.next()));
            let gaps = if last.get() - first.get() + 1 == count { "" } else { ", with gaps" };
            let note = format!("log from {begin} to {end}{gaps} in \"{}\"", folder.display());
            if let Some(branch) = self.tree.get_mut(place) {
                branch.notes.push(note);
            }
        }
        Ok(())
    }

    /// Adds the histories of a folder; gives the places of their timelines.
    fn histories_of(&mut self, folder: &Path, size: Option<SegmentSize>) -> Result<Vec<usize>> {
        let disk = &*self.host.disk;
        let mut timelines: Vec<_> = disk
            .list(folder)?
            .iter()
            .filter_map(|entry| TimelineId::parse_history_file_name(&entry.name))
            .collect();
        timelines.sort_unstable();
        let mut places = Vec::new();
        for timeline in timelines {
            let history = match TimelineHistory::load(disk, folder, timeline) {
                Ok(history) => history,
                Err(error) => {
                    self.leave_out(&folder.join(timeline.history_file_name()).display().to_string(), &error);
                    continue;
                }
            };
            let began = size.and_then(|size| {
                let files = SegmentFiles::new(self.host.disk.clone(), folder, size, history.clone());
                first_time(files, size, history.begin())
            });
            places.extend(self.add(&history, began));
        }
        Ok(places)
    }

    /// Adds a timeline, which began at this moment, and those that it comes from; gives their places.
    fn add(&mut self, history: &TimelineHistory, began: Option<Timestamp>) -> Vec<usize> {
        let places = self.tree.add(history);
        if let Some(branch) = places.last().and_then(|last| self.tree.get_mut(*last)) {
            branch.began = branch.began.or(began);
        }
        places
    }

    /// Somebody is on this timeline.
    fn note(&mut self, history: &TimelineHistory, note: String) {
        let places = self.tree.add(history);
        if let Some(branch) = places.last().and_then(|last| self.tree.get_mut(*last)) {
            branch.notes.push(note);
        }
    }
}

/// The first moment that the log from `begin` on tells of, if it is there.
fn first_time(log: impl WalSource, size: SegmentSize, begin: Lsn) -> Option<Timestamp> {
    let mut reader = WalReader::new(log, ReaderOptions::new(size), begin);
    let mut next = reader.find_next_record(begin).ok()?;
    for _ in 0..RECORDS_MAX {
        let Next::Record(record) = next else { return None };
        if let Some(time) = time_of(&record) {
            return Some(time);
        }
        next = reader.next().ok()?;
    }
    None
}
