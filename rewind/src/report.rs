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
use crate::rewinding::Rewind;
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
        let head = json!({
            "discarded": {
                "system": target.system_id().to_string(),
                "timeline": target.timeline().get(),
                "fork": divergence.fork.at.to_string(),
                "fork_timeline": divergence.fork.timeline.get(),
                "end": divergence.end.to_string(),
                "source_timeline": rewind.timeline().get(),
            }
        });
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

    /// The file of an earlier run that was broken off before it changed anything, if that was to go back to
    /// another fork: what it tells is not what this one discards.
    ///
    /// # Errors
    /// Fails if the file cannot be looked for.
    pub fn given_up(rewind: &Rewind, divergence: &Divergence) -> Result<Option<PathBuf>, RewindError> {
        let (target, Some(begun)) = (rewind.target(), rewind.untouched_for()) else { return Ok(None) };
        let Some(fork) = target.fork_from(begun, divergence.end) else { return Ok(None) };
        let path = target.path(&file_name(target, fork, divergence.end));
        let is_another = fork != divergence.fork && target.disk.exists(&path).map_err(io_error(&path))?;
        Ok(is_another.then_some(path))
    }

    /// Writes the lines durably to what becomes the target's own file of them, and shows each.
    ///
    /// # Errors
    /// Fails if the log cannot be read or the file cannot be written.
    pub fn draft(&self, show: &mut (dyn FnMut(&Value) + Send)) -> Result<Draft, RewindError> {
        let name = file_name(self.target, self.divergence.fork, self.divergence.end);
        let mut draft = Draft {
            disk: self.target.disk.clone(),
            temporary: self.target.path(&format!("{name}{TEMPORARY}")),
            path: self.target.path(&name),
            counts: Counts::default(),
        };
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
        out.write()?;
        out.file.sync().map_err(io_error(path))?;
        Ok(counts)
    }
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
    let own = &target.history;
    let branch = own.branch().map_or_else(String::new, |branch| format!(".{branch}"));
    format!(
        "plimsoll/{DISCARD_PREFIX}{}-{:016X}-{}{branch}-{:016X}.json",
        fork.timeline,
        fork.at.get(),
        own.target(),
        end.get()
    )
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
