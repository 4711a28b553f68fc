//! What a rewind discards, commit by commit: as lines of JSON for a file and for scripts, and as text.
//!
//! The first line names the discard: `system`, `timeline`, `fork`, `end`, `source_timeline`. Each line after
//! it is a commit, in their order:
//!
//! | field | meaning |
//! | ----- | ------- |
//! | `xid`, `time`, `lsn` | the transaction, when it was committed (UTC), the end of its record |
//! | `level` | null: the log does not have the level at which a commit was acknowledged |
//! | `partial` | it began before the log that was read: some of its changes may be missing |
//! | `tables` | the tables that it changed |
//! | `changes` | `table`, `op` (insert, update, delete), `key`, `old`, `new`: columns with their values |
//! |           | as text; `old_unknown`, `new_unknown` where nothing tells any more |
//! | `catalogue` | changes of tables, columns, sequences, roles, in words |

use anyhow::{Context, Result, anyhow};
use rewind::{Change, DiscardedCommit, Divergence, Rewind, RewindError, Target, TreeRows, Version};
use serde_json::{Map, Value, json};
use server::{CATALOGUE_TREES, Named, NamedRows, NamedValue};
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use storage::TreeId;
use wal::describe::utc_text;

/// The commits of a divergence, with the names of what they change.
pub struct Report<'r> {
    target: &'r Target,
    divergence: &'r Divergence,
    names: NamedRows,
    head: Value,
}

/// How many there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub commits: u64,
    pub changes: u64,
}

impl<'r> Report<'r> {
    /// Reads the catalogue of the target, as it was at the fork and as it is.
    pub fn new(rewind: &'r Rewind, divergence: &'r Divergence) -> Result<Self> {
        let target = rewind.target();
        let trees = CATALOGUE_TREES.map(TreeId::file);
        let [before, after] = target.rows_before_and_after(divergence, &trees)?;
        let pair = |rows: Vec<TreeRows>| -> Result<[TreeRows; 2]> {
            rows.try_into().map_err(|_| anyhow!("the catalogue has other trees than were asked for"))
        };
        let names = NamedRows::new(pair(before)?, pair(after)?)
            .map_err(|error| anyhow!("could not read the target's catalogue: {}", error.message()))?;
        let head = json!({
            "discarded": {
                "system": target.system_id().to_string(),
                "timeline": divergence.fork.timeline.get(),
                "fork": divergence.fork.at.to_string(),
                "end": divergence.end.to_string(),
                "source_timeline": rewind.timeline().get(),
            }
        });
        Ok(Self { target, divergence, names, head })
    }

    /// Gives each line, the head first.
    pub fn lines(&self, each: &mut dyn FnMut(&Value) -> Result<()>) -> Result<Counts> {
        each(&self.head)?;
        let mut counts = Counts::default();
        let wants = |rel: wal::RelFile| !matches!(self.names.tree(tree_of(rel)), Named::Index);
        let mut failed = None;
        let done = self.target.discarded(self.divergence, &wants, &mut |commit| {
            counts.commits += 1;
            counts.changes += commit.changes.len() as u64;
            each(&self.commit(&commit)).map_err(|error| {
                let said = format!("{error:#}");
                failed = Some(error);
                RewindError::Answer(said)
            })
        });
        match failed {
            Some(error) => Err(error),
            None => Ok(done.map(|()| counts)?),
        }
    }

    /// Writes the lines durably to the target's own file of them, and shows each; gives the file's path.
    pub fn keep(&self, data: &Path, show: &mut dyn FnMut(&Value) -> Result<()>) -> Result<(PathBuf, Counts)> {
        let fork = &self.divergence.fork;
        let name = format!("discarded-{}-{:016X}.json", fork.timeline, fork.at.get());
        let (folder, temporary) = (data.join("plimsoll"), format!("{name}.tmp"));
        let (path, temporary) = (folder.join(name), folder.join(temporary));
        let failed = || format!("could not write {}", temporary.display());
        let file = fs::File::create(&temporary).with_context(failed)?;
        let mut out = std::io::BufWriter::new(file);
        let counts = self.lines(&mut |line| {
            show(line)?;
            writeln!(out, "{line}").with_context(failed)
        })?;
        out.flush().with_context(failed)?;
        host::durable_rename(&host::RealDisk, &temporary, &path).with_context(failed)?;
        Ok((path, counts))
    }

    fn commit(&self, commit: &DiscardedCommit) -> Value {
        let (mut changes, mut catalogue, mut tables) = (Vec::new(), Vec::new(), BTreeSet::new());
        for change in &commit.changes {
            match self.names.tree(tree_of(change.rel)) {
                Named::Index => {}
                Named::Catalogue => catalogue.extend(self.catalogue_change(change)),
                Named::Table(table) => {
                    tables.insert(table.name.clone());
                    changes.push(self.row_change(&table.name, Some(&table), change));
                }
                Named::Unknown => {
                    let name = change.rel.to_string();
                    tables.insert(name.clone());
                    changes.push(self.row_change(&name, None, change));
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

    fn catalogue_change(&self, change: &Change) -> Option<String> {
        let bytes = |version: &'_ Version| match version {
            Version::Row(bytes) => Some(bytes.clone()),
            Version::None | Version::Unknown => None,
        };
        let (old, new) = (bytes(&change.old), bytes(&change.new));
        let key = change.key.as_deref()?;
        let tree = tree_of(change.rel);
        match self.names.catalogue_change(tree, key, old.as_deref(), new.as_deref()) {
            Ok(text) => text,
            Err(error) => Some(format!("an entry that cannot be read: {}", error.message())),
        }
    }

    fn row_change(&self, name: &str, table: Option<&Table>, change: &Change) -> Value {
        let mut fields = Map::new();
        fields.insert("table".to_owned(), name.into());
        let op = match (&change.old, &change.new) {
            (_, Version::None) => "delete",
            (Version::None, _) => "insert",
            _ => "update",
        };
        fields.insert("op".to_owned(), op.into());
        let key = change.key.as_deref().unwrap_or_default();
        match (&change.key, table) {
            (None, _) => drop(fields.insert("key_unknown".to_owned(), true.into())),
            (Some(_), Some(table)) => {
                if let Ok(columns) = self.names.key(table, key) {
                    fields.insert("key".to_owned(), object(columns));
                }
            }
            (Some(_), None) => drop(fields.insert("key_bytes".to_owned(), hex(key).into())),
        }
        for (side, version) in [("old", &change.old), ("new", &change.new)] {
            let (name, value) = match (version, table) {
                (Version::None, _) => (side.to_owned(), Value::Null),
                (Version::Unknown, _) => (format!("{side}_unknown"), true.into()),
                (Version::Row(bytes), None) => (format!("{side}_bytes"), hex(bytes).into()),
                (Version::Row(bytes), Some(table)) => match self.names.row(table, key, bytes) {
                    Ok(columns) if change.key.is_some() => (side.to_owned(), object(columns)),
                    _ => (format!("{side}_bytes"), hex(bytes).into()),
                },
            };
            fields.insert(name, value);
        }
        Value::Object(fields)
    }
}

type Table = server::Table;

fn tree_of(rel: wal::RelFile) -> TreeId {
    TreeId::new(rel.database, rel.relation)
}

fn object(columns: Vec<NamedValue>) -> Value {
    columns.into_iter().map(|(name, value)| (name, value.map_or(Value::Null, Value::from))).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A line for a person.
pub fn text(line: &Value) -> String {
    if let Some(head) = line.get("discarded") {
        let of = |name: &str| head.get(name).map(plain).unwrap_or_default();
        return format!(
            "commits of timeline {} behind {} that timeline {} has not:",
            of("timeline"),
            of("fork"),
            of("source_timeline")
        );
    }
    let of = |name: &str| line.get(name).map(plain).unwrap_or_default();
    let mut text = format!("xid {} at {} ({})", of("xid"), of("time"), of("lsn"));
    if line.get("partial").is_some_and(|partial| partial == true) {
        text.push_str(", began before the log that was read: changes may be missing");
    }
    let list = |name: &str| line.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    for change in list("catalogue") {
        text.push_str(&format!("\n    {}", plain(&change)));
    }
    for change in list("changes") {
        let side = |name: &str| match change.get(name) {
            Some(Value::Object(columns)) => columns_text(columns),
            _ if change.get(format!("{name}_unknown")).is_some() => "unknown".to_owned(),
            _ => change
                .get(format!("{name}_bytes"))
                .map_or_else(String::new, |bytes| format!("\\x{}", plain(bytes))),
        };
        let of = |name: &str| change.get(name).map(plain).unwrap_or_default();
        let said = match of("op").as_str() {
            "insert" => side("new"),
            "delete" => format!("{} was {}", side("key"), side("old")),
            _ => format!("{} was {} became {}", side("key"), side("old"), side("new")),
        };
        text.push_str(&format!("\n    {} {}: {said}", of("op"), of("table")));
    }
    text
}

fn columns_text(columns: &Map<String, Value>) -> String {
    let columns: Vec<String> = columns
        .iter()
        .map(|(name, value)| match value {
            Value::String(text) => format!("{name}='{text}'"),
            _ => format!("{name}=NULL"),
        })
        .collect();
    format!("({})", columns.join(", "))
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_reads_as_what_it_did() {
        let line = json!({
            "xid": 7, "time": "2026-01-01 00:00:00 UTC", "lsn": "0/100", "level": null, "partial": false,
            "tables": ["t"], "catalogue": ["created table u"],
            "changes": [
                {"table": "t", "op": "insert", "key": {"id": "1"}, "old": null, "new": {"id": "1", "v": "a"}},
                {"table": "t", "op": "update", "key": {"id": "2"}, "old": {"id": "2", "v": "b"},
                 "new": {"id": "2", "v": null}},
                {"table": "t", "op": "delete", "key": {"id": "3"}, "old_unknown": true, "new": null},
            ],
        });
        assert_eq!(
            text(&line),
            "xid 7 at 2026-01-01 00:00:00 UTC (0/100)\n    created table u\n    insert t: (id='1', v='a')\n    \
             update t: (id='2') was (id='2', v='b') became (id='2', v=NULL)\n    delete t: (id='3') was unknown"
        );
    }
}
