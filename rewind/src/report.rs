//! What a rewind discards, commit by commit, as lines of JSON: for the file that keeps them, and for scripts.
//!
//! The first line names the discard: `system`, `timeline`, `fork`, `fork_timeline`, `end`, `source_timeline`.
//! Each line after it is a commit, in their order:
//!
//! | field | meaning |
//! | ----- | ------- |
//! | `xid`, `time`, `lsn` | the transaction, when it was committed (UTC), the end of its record |
//! | `level` | null: the log does not have the level at which a commit was acknowledged |
//! | `partial` | it began before the log that is still here: some of its changes may be missing |
//! | `tables` | the tables whose rows it changed, or took away by TRUNCATE |
//! | `changes` | `table`, `op` (insert, update, delete, rewrite), `key`, `old`, `new`: columns with their |
//! |           | values as text; `old_unknown`, `new_unknown` where nothing tells any more; `names_unknown` |
//! |           | where the table and its columns have the names of the log's end, and may have had others |
//! | `catalogue` | changes of tables, columns, sequences, roles, and TRUNCATE, in words |
//!
//! Names and columns are those of the commit's own time: `old` has the columns that the commit found, `new`
//! those that it left. Rows that it wrote into a table which it then dropped or emptied itself are not told:
//! nobody else ever saw them.
//!
//! What is not known may be that there was no row: an `update` with `old_unknown` may have been an insert,
//! one with `new_unknown` a delete, and an insert with that may have come to nothing. A `rewrite` is a row of
//! a table that the commit wrote anew as a whole, as ADD PRIMARY KEY does. Most such rows are what they were,
//! and nothing tells which: all have `old_unknown`.

use crate::copy::remove_tree;
use crate::discarded::{Change, DiscardedCommit};
use crate::error::{RewindError, io_error};
use crate::past::{TreeRows, Version};
use crate::rewinding::{Need, Rewind};
use crate::target::{Divergence, ForkPoint, Target};
use host::{Disk, OpenMode, SharedDisk, SharedFile};
use serde_json::{Map, Value, json};
use sql_catalogue::Relation;
use sql_session::{CATALOGUE_TREES, CatalogueChange, EntryChange, EntryValue, Named, NamedRows, NamedValue};
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use storage::{DISCARD_PREFIX, TreeId};
use wal::Lsn;
use wal::describe::utc_text;

/// Bytes of the file that are written at once.
const PIECE: usize = 256 << 10;
/// The node's own folder.
pub(crate) const OWN_DIR: &str = "plimsoll";
/// A report that is being written.
const TEMPORARY: &str = ".tmp";

/// The commits of a divergence, with the names of what they change.
pub struct Report<'r> {
    target: &'r Target,
    divergence: &'r Divergence,
    /// As they are before the first commit.
    names: NamedRows,
    head: Value,
}

/// How many there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Commits that go.
    pub commits: u64,
    /// Their changes, as the lines have them.
    pub changes: u64,
}

/// A report that is written and has not got its name yet, since its rewind is not sure to begin: the server
/// may still write on, and the next rewind would discard something else. Dropped, its file goes; that of a
/// process which was killed is removed by the next rewind or start: till it has its name nothing changes, so
/// it can be written anew.
#[derive(Debug)]
pub struct Draft {
    disk: SharedDisk,
    temporary: PathBuf,
    path: PathBuf,
    counts: Counts,
}

impl Draft {
    fn new(target: &Target, divergence: &Divergence) -> Self {
        let name = file_name(target, divergence.fork, divergence.end);
        let temporary = target.path(&format!("{name}{TEMPORARY}"));
        Self { disk: target.disk.clone(), temporary, path: target.path(&name), counts: Counts::default() }
    }

    /// The file's path, once it is kept.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is in it.
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// Gives the file its name, durably: when the rewind's marker stands, and before its first change.
    ///
    /// # Errors
    /// Fails if the file cannot be renamed.
    pub fn keep(&self) -> Result<(), RewindError> {
        host::durable_rename(&*self.disk, &self.temporary, &self.path).map_err(io_error(&self.path))
    }

    /// Takes the name back, durably, as long as nobody was told of it and nothing has changed.
    ///
    /// # Errors
    /// Fails if the file cannot be removed.
    pub fn take_back(&self) -> Result<(), RewindError> {
        remove_report(&*self.disk, &self.path)
    }
}

/// Removes a report that tells of nothing that happened, durably.
///
/// # Errors
/// Fails if the file cannot be removed.
pub fn remove_report(disk: &dyn Disk, path: &Path) -> Result<(), RewindError> {
    remove_tree(disk, path)?;
    let folder = path.parent().unwrap_or(path);
    disk.sync_dir(folder).map_err(io_error(folder))
}

impl Drop for Draft {
    fn drop(&mut self) {
        // What a full disk took of it would only keep it full. One that is kept is not there any more.
        let _ = self.disk.remove_file(&self.temporary);
    }
}

impl<'r> Report<'r> {
    /// Reads the catalogue of the target, as it was at the fork and as it is.
    ///
    /// # Errors
    /// Fails if the target's log or catalogue cannot be read.
    pub fn new(rewind: &'r Rewind, divergence: &'r Divergence) -> Result<Self, RewindError> {
        let target = rewind.target();
        let trees = CATALOGUE_TREES.map(TreeId::file);
        let [before, after] = target.rows_before_and_after(divergence, &trees)?;
        let pair = |rows: Vec<TreeRows>| -> Result<[TreeRows; 2], RewindError> {
            let other = |_| RewindError::Catalogue("it has other trees than were asked for".to_owned());
            rows.try_into().map_err(other)
        };
        let names = NamedRows::new(pair(before)?, pair(after)?)
            .map_err(|error| RewindError::Catalogue(error.message().to_owned()))?;
        let head = head(rewind, divergence);
        Ok(Self { target, divergence, names, head })
    }

    /// Gives each line, the head first.
    ///
    /// # Errors
    /// Fails if the log cannot be read, or with what `each` fails with.
    pub fn lines(
        &self,
        each: &mut dyn FnMut(&Value) -> Result<(), RewindError>,
    ) -> Result<Counts, RewindError> {
        each(&self.head)?;
        let (mut counts, mut names) = (Counts::default(), self.names.clone());
        let indexes = names.indexes();
        let wants = |rel: wal::RelFile| !indexes.contains(&tree_of(rel));
        self.target.discarded(self.divergence, &wants, &mut |commit| {
            names.take_in(commit.changes.iter().filter_map(entry_change));
            let line = commit_line(&names, &commit);
            counts.commits += 1;
            counts.changes += changes_of(&line);
            each(&line)
        })?;
        Ok(counts)
    }

    /// Shows the lines that this rewind kept in an earlier run, which was broken off and may have begun to
    /// change files: what they were is in that file alone. Gives its path; None if there is no such file.
    ///
    /// # Errors
    /// Fails if the file cannot be read, or is no report.
    pub fn of_earlier_run(
        rewind: &Rewind,
        divergence: &Divergence,
        show: &mut (dyn FnMut(&Value) + Send),
    ) -> Result<Option<(PathBuf, Counts)>, RewindError> {
        let target = rewind.target();
        let path = target.path(&file_name(target, divergence.fork, divergence.end));
        if !rewind.was_begun() || !target.disk.exists(&path).map_err(io_error(&path))? {
            return Ok(None);
        }
        let mut counts = Counts::default();
        each_line(&*target.disk, &path, &mut |line| {
            if line.get("discarded").is_none() {
                counts.commits += 1;
                counts.changes += changes_of(line);
            }
            show(line);
        })?;
        Ok(Some((path, counts)))
    }

    /// The files of earlier runs that were broken off on their way to other branches, the one that tells most
    /// first, if what they tell is not what goes now: those runs have changed nothing, or this one leaves the
    /// target more.
    ///
    /// # Errors
    /// Fails if the files cannot be looked for, or the log cannot be read.
    pub fn given_up(rewind: &Rewind) -> Result<Vec<PathBuf>, RewindError> {
        let (target, Some(begun)) = (rewind.target(), rewind.begun()) else { return Ok(Vec::new()) };
        let (end, is_given_up): (Lsn, &dyn Fn(ForkPoint) -> bool) = match (rewind.need(), &begun.history) {
            (Need::Diverged(now), _) if begun.is_untouched => (now.end, &|fork| fork != now.fork),
            (Need::Diverged(now), _) => (now.end, &|fork| fork.at < now.fork.at),
            (Need::Nothing, Some(branch)) => match target.divergence_from(branch, Some(begun))? {
                Some(divergence) => (divergence.end, &|_| true),
                None => return Ok(Vec::new()),
            },
            (Need::Nothing, None) | (Need::Rest, _) => return Ok(Vec::new()),
        };
        let folder = target.path(OWN_DIR);
        let mut told: Vec<(Lsn, PathBuf)> = Vec::new();
        for entry in target.disk.list(&folder).map_err(io_error(&folder))? {
            if let Some(fork) = fork_of(&entry.name, target, end).filter(|fork| is_given_up(*fork)) {
                told.push((fork.at, folder.join(&entry.name)));
            }
        }
        told.sort();
        Ok(told.into_iter().map(|(_, path)| path).collect())
    }

    /// Writes what goes of the commits that an earlier run has told of, as that told it: since it began to
    /// change files, the log and they may tell less. Each line is shown.
    ///
    /// # Errors
    /// Fails if that run's file is no report, or the new one cannot be written.
    pub fn narrowed(
        rewind: &Rewind,
        divergence: &Divergence,
        told: &Path,
        show: &mut (dyn FnMut(&Value) + Send),
    ) -> Result<Draft, RewindError> {
        let target = rewind.target();
        let mut draft = Draft::new(target, divergence);
        let mut out = Lines::create(&*draft.disk, &draft.temporary)?;
        let (mut counts, mut written) = (Counts::default(), out.add(&head(rewind, divergence)));
        each_line(&*target.disk, told, &mut |line| {
            let end = line.get("lsn").and_then(Value::as_str).and_then(|lsn| lsn.parse::<Lsn>().ok());
            if written.is_ok() && end.is_some_and(|end| end > divergence.fork.at) {
                counts.commits += 1;
                counts.changes += changes_of(line);
                show(line);
                written = out.add(line);
            }
        })?;
        written?;
        out.finish()?;
        draft.counts = counts;
        Ok(draft)
    }

    /// Writes the lines durably to what becomes the target's own file of them, and shows each.
    ///
    /// # Errors
    /// Fails if the log cannot be read or the file cannot be written.
    pub fn draft(&self, show: &mut (dyn FnMut(&Value) + Send)) -> Result<Draft, RewindError> {
        let mut draft = Draft::new(self.target, self.divergence);
        draft.counts = self.write(&*draft.disk, &draft.temporary, show)?;
        Ok(draft)
    }

    fn write(
        &self,
        disk: &dyn Disk,
        path: &Path,
        show: &mut (dyn FnMut(&Value) + Send),
    ) -> Result<Counts, RewindError> {
        let mut out = Lines::create(disk, path)?;
        let counts = self.lines(&mut |line| {
            show(line);
            out.add(line)
        })?;
        out.finish()?;
        Ok(counts)
    }
}

/// The first line.
fn head(rewind: &Rewind, divergence: &Divergence) -> Value {
    let target = rewind.target();
    json!({
        "discarded": {
            "system": target.system_id().to_string(),
            "timeline": target.timeline().get(),
            "fork": divergence.fork.at.to_string(),
            "fork_timeline": divergence.fork.timeline.get(),
            "end": divergence.end.to_string(),
            "source_timeline": rewind.timeline().get(),
        }
    })
}

fn commit_line(names: &NamedRows, commit: &DiscardedCommit) -> Value {
    let (mut changes, mut catalogue, mut tables) = (Vec::new(), Vec::new(), BTreeSet::new());
    for change in &commit.changes {
        match names.tree(tree_of(change.rel)) {
            Named::Index => {}
            Named::Catalogue => {
                for change in catalogue_change(names, change) {
                    tables.extend(change.emptied);
                    catalogue.push(change.text);
                }
            }
            Named::Table { before, after, is_rewritten, names_unknown } => {
                tables.insert(after.name.clone());
                let relations = Some((&*before, &*after));
                let mut told = row_change(names, &after.name, relations, is_rewritten, change);
                if names_unknown {
                    told.insert("names_unknown".to_owned(), true.into());
                }
                changes.push(Value::Object(told));
            }
            Named::Unknown => {
                let name = change.rel.to_string();
                tables.insert(name.clone());
                changes.push(Value::Object(row_change(names, &name, None, false, change)));
            }
        }
    }
    json!({
        "xid": commit.xid.get(),
        "time": utc_text(commit.time),
        "lsn": commit.end.to_string(),
        "level": Value::Null,
        "partial": commit.is_partial,
        "tables": tables,
        "changes": changes,
        "catalogue": catalogue,
    })
}

fn entry_value(version: &Version) -> EntryValue<'_> {
    match version {
        Version::Row(bytes) => EntryValue::Is(bytes),
        Version::None => EntryValue::None,
        Version::Unknown => EntryValue::Unknown,
    }
}

/// What a change leaves in the catalogue; None if it is none of the catalogue.
fn entry_change(change: &Change) -> Option<EntryChange<'_>> {
    let (tree, key) = (tree_of(change.rel), change.key.as_deref());
    CATALOGUE_TREES.contains(&tree).then(|| EntryChange { tree, key, new: entry_value(&change.new) })
}

fn catalogue_change(names: &NamedRows, change: &Change) -> Vec<CatalogueChange> {
    let Some(key) = change.key.as_deref() else { return Vec::new() };
    let (old, new) = (entry_value(&change.old), entry_value(&change.new));
    names.catalogue_change(tree_of(change.rel), key, old, new).unwrap_or_else(|error| {
        let text = format!("an entry that cannot be read: {}", error.message());
        vec![CatalogueChange { text, emptied: None }]
    })
}

/// A change of a row; `table`: as the commit found it, and as it left it.
fn row_change(
    names: &NamedRows,
    name: &str,
    table: Option<(&Relation, &Relation)>,
    is_rewritten: bool,
    change: &Change,
) -> Map<String, Value> {
    let mut fields = Map::new();
    fields.insert("table".to_owned(), name.into());
    // The tree of a table that was written anew had no rows, the table may have had this one.
    let old = if is_rewritten { &Version::Unknown } else { &change.old };
    let op = match (old, &change.new) {
        (_, Version::None) => "delete",
        _ if is_rewritten => "rewrite",
        (Version::None, _) => "insert",
        _ => "update",
    };
    fields.insert("op".to_owned(), op.into());
    let key = change.key.as_deref().unwrap_or_default();
    match (&change.key, table) {
        (None, _) => drop(fields.insert("key_unknown".to_owned(), true.into())),
        (Some(_), Some((_, after))) => {
            if let Ok(columns) = names.key(after, key) {
                fields.insert("key".to_owned(), object(columns));
            }
        }
        (Some(_), None) => drop(fields.insert("key_bytes".to_owned(), hex(key).into())),
    }
    let (before, after) = table.unzip();
    for (side, version, table) in [("old", old, before), ("new", &change.new, after)] {
        let (name, value) = match (version, table) {
            (Version::None, _) => (side.to_owned(), Value::Null),
            (Version::Unknown, _) => (format!("{side}_unknown"), true.into()),
            (Version::Row(bytes), None) => (format!("{side}_bytes"), hex(bytes).into()),
            (Version::Row(bytes), Some(table)) => match names.row(table, key, bytes) {
                Ok(columns) if change.key.is_some() => (side.to_owned(), object(columns)),
                _ => (format!("{side}_bytes"), hex(bytes).into()),
            },
        };
        fields.insert(name, value);
    }
    fields
}

/// The file of what a target discards, from its directory on: the same name each time that the rewind is run,
/// since till all is copied the target's log stays as it is, and another one for each discard. Two branches
/// that were given up may have left the source's at one fork; their numbers, ends or branch ids differ.
fn file_name(target: &Target, fork: ForkPoint, end: Lsn) -> String {
    let (timeline, at, branch) = (fork.timeline, fork.at.get(), branch_named(target, end));
    format!("{OWN_DIR}/{DISCARD_PREFIX}{timeline}-{at:016X}-{branch}")
}

/// How the names end of all files of what a log discards that ends there.
fn branch_named(target: &Target, end: Lsn) -> String {
    let own = &target.history;
    let branch = own.branch().map_or_else(String::new, |branch| format!(".{branch}"));
    format!("{}{branch}-{:016X}.json", own.target(), end.get())
}

/// Where the branches part whose discard a file tells of; None if it is none of this log.
fn fork_of(name: &str, target: &Target, end: Lsn) -> Option<ForkPoint> {
    let (timeline, rest) = name.strip_prefix(DISCARD_PREFIX)?.split_once('-')?;
    let (at, branch) = rest.split_once('-')?;
    let fork =
        ForkPoint { timeline: timeline.parse().ok()?, at: Lsn::new(u64::from_str_radix(at, 16).ok()?) };
    (branch == branch_named(target, end)).then_some(fork)
}

/// Whether a file of the node's own folder is a report that was not written to its end.
pub(crate) fn is_begun_report(name: &str) -> bool {
    name.starts_with(DISCARD_PREFIX) && name.ends_with(TEMPORARY)
}

/// Gives each line of a report's file.
fn each_line(disk: &dyn Disk, path: &Path, each: &mut dyn FnMut(&Value)) -> Result<(), RewindError> {
    let file = disk.open(path, OpenMode::Read).map_err(io_error(path))?;
    let (mut piece, mut waiting, mut at) = (vec![0; PIECE], Vec::new(), 0);
    loop {
        let got = file.read_at(&mut piece, at).map_err(io_error(path))?;
        if got == 0 {
            break;
        }
        at += got as u64;
        for part in piece.get(..got).unwrap_or_default().split_inclusive(|byte| *byte == b'\n') {
            waiting.extend_from_slice(part);
            if part.ends_with(b"\n") {
                each(&parsed_line(path, &waiting)?);
                waiting.clear();
            }
        }
    }
    // Each line ends, the last one too.
    if waiting.is_empty() { Ok(()) } else { Err(no_report(path)) }
}

fn parsed_line(path: &Path, line: &[u8]) -> Result<Value, RewindError> {
    serde_json::from_slice(line).map_err(|_| no_report(path))
}

fn no_report(path: &Path) -> RewindError {
    let what = "a line is no JSON, so it is no report of what a rewind discarded: move it away, then rewind";
    io_error(path)(io::Error::new(io::ErrorKind::InvalidData, what))
}

/// How many changes a commit's line tells of.
fn changes_of(commit: &Value) -> u64 {
    let length = |name: &str| commit.get(name).and_then(Value::as_array).map_or(0, Vec::len) as u64;
    length("changes") + length("catalogue")
}

/// The file's lines on their way to the disk.
struct Lines {
    path: PathBuf,
    file: SharedFile,
    waiting: Vec<u8>,
    written: u64,
}

impl Lines {
    fn create(disk: &dyn Disk, path: &Path) -> Result<Self, RewindError> {
        let file = disk.open(path, OpenMode::Create).map_err(io_error(path))?;
        // A report that was broken off may have left more.
        file.truncate(0).map_err(io_error(path))?;
        Ok(Self { path: path.to_owned(), file, waiting: Vec::new(), written: 0 })
    }

    fn add(&mut self, line: &Value) -> Result<(), RewindError> {
        self.waiting.extend_from_slice(line.to_string().as_bytes());
        self.waiting.push(b'\n');
        if self.waiting.len() < PIECE { Ok(()) } else { self.write() }
    }

    fn finish(&mut self) -> Result<(), RewindError> {
        self.write()?;
        self.file.sync().map_err(io_error(&self.path))
    }

    fn write(&mut self) -> Result<(), RewindError> {
        let written = self.file.write_all_at(&self.waiting, self.written);
        written.map_err(io_error(&self.path))?;
        self.written += self.waiting.len() as u64;
        self.waiting.clear();
        Ok(())
    }
}

fn tree_of(rel: wal::RelFile) -> TreeId {
    TreeId::new(rel.database, rel.relation)
}

fn object(columns: Vec<NamedValue>) -> Value {
    columns.into_iter().map(|(name, value)| (name, value.map_or(Value::Null, Value::from))).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
