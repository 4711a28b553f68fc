//! What has to be done to the target's files, out of both directories' lists and the blocks that the target's
//! log changed.
//!
//! | file | in both | only at the source | only in the target |
//! | ---- | ---- | ---- | ---- |
//! | relation | changed blocks and a longer tail are read, a surplus is cut | read whole | removed |
//! | other, of the cluster (`base`, `global`, the version files) | read | read | removed |
//! | other, of the node | stays, or as pg_rewind does, like one of the cluster | | |
//! | log, control file, what no base backup sends | the end of the rewind sees to them | | |

use crate::blocks::BlockSet;
use crate::error::{RewindError, io_error};
use basebackup::send::exclude::relation_of;
use basebackup::send::files::{FileClass, SentFile, sent_files};
use host::{Disk, FileKind};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::path::Path;
use storage::relation::SEGMENT_PAGES;
use wal::RelFile;

/// Bytes of a page.
pub(crate) const PAGE: u64 = 8192;
/// Pages that are read at once.
pub(crate) const RUN_PAGES: u32 = 32;

/// Where a block of a relation is: its file's path below the data directory, and its offset in bytes.
pub(crate) fn place_of(rel: RelFile, block: u32) -> (String, u64) {
    let segment = block / SEGMENT_PAGES;
    let path = if segment == 0 { rel.to_string() } else { format!("{rel}.{segment}") };
    (path, u64::from(block % SEGMENT_PAGES) * PAGE)
}

/// Which files that belong to a node and not to its cluster are taken from the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeFiles {
    /// None: settings, pg_hba.conf and the like stay as the node has them.
    Keep,
    /// All: what only the target has goes. So pg_rewind does.
    Replace,
}

/// What becomes of one relation file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelationPlan {
    /// Its path below the data directory.
    pub path: String,
    /// The number of its first block in the relation.
    pub first_block: u32,
    /// Blocks of the file to read, with those behind its present end.
    pub runs: Vec<Range<u32>>,
    /// From here on all blocks are new: they are in no log of the target.
    pub new_from: u32,
    /// The length in bytes that it is cut to first, if it is longer.
    pub cut_to: Option<u64>,
}

/// All that is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Folders to make, outer ones first.
    pub make_folders: Vec<String>,
    /// Relation files to change or make.
    pub relations: Vec<RelationPlan>,
    /// Other files to replace.
    pub whole: Vec<SentFile>,
    /// Files to remove.
    pub remove_files: Vec<String>,
    /// Folders to remove, inner ones first.
    pub remove_folders: Vec<String>,
    /// Bytes of all files of the source, the log too.
    pub source_bytes: u64,
    /// Segments of the log to copy; which, is planned beside this.
    pub log_files: usize,
    /// Their bytes.
    pub log_bytes: u64,
}

/// Relation files of which blocks that are in no log of the target were overwritten, by a rewind that was
/// broken off: path, and the first such block of the file.
pub type Touched = BTreeMap<String, u32>;

impl Plan {
    /// Compares both lists. `touched` is what an earlier rewind has begun.
    pub fn new(
        source: &[SentFile],
        target: &[SentFile],
        blocks: &BlockSet,
        touched: &Touched,
        node_files: NodeFiles,
    ) -> Self {
        let here: BTreeMap<&str, &SentFile> = target.iter().map(|file| (file.path.as_str(), file)).collect();
        let source_bytes = source.iter().map(|file| file.size).sum();
        let mut plan = Self { source_bytes, ..Self::default() };
        for file in source.iter().filter(|file| is_compared(file, node_files)) {
            let own = here.get(file.path.as_str()).copied();
            match file.class {
                FileClass::Folder | FileClass::EmptyFolder => {
                    if own.is_none() {
                        plan.make_folders.push(file.path.clone());
                    }
                }
                FileClass::Relation => plan.add_relation(file, own, blocks, touched),
                _ => plan.whole.push(file.clone()),
            }
        }
        let there: BTreeSet<&str> = source.iter().map(|file| file.path.as_str()).collect();
        for file in target.iter().filter(|file| is_compared(file, node_files)) {
            if there.contains(file.path.as_str()) {
                continue;
            }
            match file.class {
                FileClass::Folder | FileClass::EmptyFolder => plan.remove_folders.push(file.path.clone()),
                _ => plan.remove_files.push(file.path.clone()),
            }
        }
        plan.remove_folders.reverse();
        plan
    }

    fn add_relation(
        &mut self,
        file: &SentFile,
        own: Option<&SentFile>,
        blocks: &BlockSet,
        touched: &Touched,
    ) {
        let Some((rel, first_block)) = relation_of(&file.path) else {
            self.whole.push(file.clone());
            return;
        };
        let pages = |size: u64| u32::try_from(size / PAGE).unwrap_or(u32::MAX).min(SEGMENT_PAGES);
        let (theirs, ours) = (pages(file.size), own.map_or(0, |own| pages(own.size)));
        let begun = touched.get(&file.path).copied().unwrap_or(u32::MAX);
        let new_from = ours.min(begun).min(theirs);
        let first_block = first_block.get();
        let changed = first_block..first_block.saturating_add(new_from);
        let mut runs: Vec<Range<u32>> = blocks
            .runs(rel, changed, RUN_PAGES)
            .into_iter()
            .map(|run| run.start - first_block..run.end - first_block)
            .collect();
        let mut from = new_from;
        while from < theirs {
            let upto = theirs.min(from.saturating_add(RUN_PAGES));
            runs.push(from..upto);
            from = upto;
        }
        let cut_to = own.filter(|own| own.size > u64::from(theirs) * PAGE).map(|_| u64::from(theirs) * PAGE);
        if own.is_none() || cut_to.is_some() || !runs.is_empty() {
            self.relations.push(RelationPlan {
                path: file.path.clone(),
                first_block,
                runs,
                new_from,
                cut_to,
            });
        }
    }

    /// Bytes by which files grow before others go.
    pub(crate) fn added_bytes(&self) -> u64 {
        let grown = |relation: &RelationPlan| {
            let end = relation.runs.iter().map(|run| run.end).max().unwrap_or(0);
            u64::from(end.saturating_sub(relation.new_from)) * PAGE
        };
        let whole = self.whole.iter().map(|file| file.size);
        self.relations.iter().map(grown).chain(whole).sum()
    }

    /// Bytes to read of the source's files, the log too.
    pub fn bytes(&self) -> u64 {
        let pages = self.relations.iter().flat_map(|relation| &relation.runs);
        let pages: u64 = pages.map(|run| u64::from(run.end - run.start)).sum();
        pages * PAGE + self.whole.iter().map(|file| file.size).sum::<u64>() + self.log_bytes
    }

    /// How many files these are of.
    pub fn files(&self) -> usize {
        self.relations.len() + self.whole.len() + self.log_files
    }

    /// What it overwrites or cuts off beyond the blocks that the target's log names, with what was begun
    /// before.
    pub fn touches(&self, before: &Touched) -> Touched {
        let mut touched = before.clone();
        for relation in &self.relations {
            let grows = relation.runs.iter().any(|run| run.end > relation.new_from);
            // A power cut may bring back the length that it was cut from, and not what was there.
            if grows || relation.cut_to.is_some() {
                let from = touched.entry(relation.path.clone()).or_insert(relation.new_from);
                *from = (*from).min(relation.new_from);
            }
        }
        touched
    }
}

/// The files of a target before a rewind, or what is left of one, changes any. What stands there in the
/// place of a file or a folder of the source is one, too: nothing is written through a link, or begun that
/// cannot be ended.
pub(crate) fn target_files(
    disk: &dyn Disk,
    target: &Path,
    source: &[SentFile],
    node_files: NodeFiles,
) -> Result<Vec<SentFile>, RewindError> {
    let mut listed: BTreeMap<&str, BTreeMap<String, FileKind>> = BTreeMap::new();
    let is_written = |file: &&SentFile| file.class == FileClass::Log || is_compared(file, node_files);
    for file in source.iter().filter(is_written) {
        let (folder, name) = file.path.rsplit_once('/').unwrap_or(("", &file.path));
        let kinds = match listed.entry(folder) {
            Entry::Occupied(kinds) => kinds.into_mut(),
            Entry::Vacant(place) => {
                let path = target.join(folder);
                let entries = match disk.list(&path) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
                    other => other.map_err(io_error(&path))?,
                };
                place.insert(entries.into_iter().map(|entry| (entry.name, entry.kind)).collect())
            }
        };
        let theirs = match file.class {
            FileClass::Folder | FileClass::EmptyFolder => FileKind::Directory,
            _ => FileKind::File,
        };
        if kinds.get(name).is_some_and(|ours| *ours != theirs) {
            return Err(RewindError::DifferentKind(file.path.clone()));
        }
    }
    sent_files(disk, target).map_err(io_error(target))
}

/// Whether the plan says what becomes of a file.
fn is_compared(file: &SentFile, node_files: NodeFiles) -> bool {
    if matches!(file.class, FileClass::Log | FileClass::Control) {
        return false;
    }
    let (top, below) = file.path.split_once('/').unwrap_or((&file.path, ""));
    match top {
        "pg_wal" => false,
        "base" | "global" => true,
        wal::format::FORMAT_FILE | "PG_VERSION" => below.is_empty(),
        // Their contents are this node's alone, or nothing.
        _ if file.class == FileClass::EmptyFolder => false,
        _ => node_files == NodeFiles::Replace,
    }
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "lists of runs")]
mod tests {
    use super::*;
    use wal::BlockNumber;

    fn file(path: &str, pages: u64) -> SentFile {
        let class = match path {
            "base/5" | "base/6" | "log" => FileClass::Folder,
            path if relation_of(path).is_some() => FileClass::Relation,
            path if path.starts_with("pg_wal/") => FileClass::Log,
            _ => FileClass::Plain,
        };
        SentFile { path: path.to_owned(), size: pages * PAGE, class }
    }

    fn blocks() -> BlockSet {
        let mut set = BlockSet::default();
        for (relation, block) in [(1, 0), (1, 2), (1, 3), (1, 9), (2, 1), (3, 131_073)] {
            set.add(RelFile::new(5, relation), BlockNumber::new(block));
        }
        set
    }

    fn relation(
        path: &str,
        first_block: u32,
        runs: &[Range<u32>],
        new_from: u32,
        cut: Option<u64>,
    ) -> RelationPlan {
        let cut_to = cut.map(|pages| pages * PAGE);
        RelationPlan { path: path.to_owned(), first_block, runs: runs.to_vec(), new_from, cut_to }
    }

    #[test]
    fn every_file_gets_what_its_row_says() {
        let source = [
            file("base/5", 0),
            file("base/5/1", 5),
            file("base/5/2", 40),
            file("base/5/3.1", 2),
            file("base/5/4", 3),
            file("base/5/PG_VERSION", 1),
            file("base/6", 0),
            file("postgresql.conf", 1),
            file("pg_wal/000000010000000000000001", 1),
        ];
        let target = [
            file("base/5", 0),
            file("base/5/1", 7),
            file("base/5/2", 4),
            file("base/5/3.1", 2),
            file("base/5/7", 1),
            file("base/5/PG_VERSION", 1),
            file("log", 0),
            file("own.conf", 1),
            file("pg_wal/000000010000000000000009", 1),
        ];
        let plan = Plan::new(&source, &target, &blocks(), &Touched::new(), NodeFiles::Keep);
        assert_eq!(
            plan.relations,
            [
                relation("base/5/1", 0, &[0..1, 2..4], 5, Some(5)),
                relation("base/5/2", 0, &[1..2, 4..36, 36..40], 4, None),
                relation("base/5/3.1", 131_072, &[1..2], 2, None),
                relation("base/5/4", 0, &[0..3], 0, None),
            ]
        );
        assert_eq!(plan.make_folders, ["base/6"]);
        assert_eq!(plan.remove_files, ["base/5/7"]);
        assert_eq!(
            plan.whole.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(),
            ["base/5/PG_VERSION"]
        );
        let touched = plan.touches(&Touched::new());
        let from = |path: &str, block| (path.to_owned(), block);
        assert_eq!(
            touched,
            Touched::from([from("base/5/1", 5), from("base/5/2", 4), from("base/5/4", 0)]),
            "what is cut off is noted, too"
        );

        // The same once more, when the files have their length already: nothing tells what is in them.
        let again = Plan::new(&source, &source, &blocks(), &touched, NodeFiles::Keep);
        let second = again.relations.iter().find(|relation| relation.path == "base/5/2").unwrap();
        assert_eq!(second.runs, [1..2, 4..36, 36..40]);
        assert_eq!(again.relations.last().unwrap().runs, [0..3]);

        let plan = Plan::new(&source, &target, &blocks(), &Touched::new(), NodeFiles::Replace);
        assert_eq!(plan.remove_files, ["base/5/7", "own.conf"]);
        assert_eq!(plan.remove_folders, ["log"]);
        assert!(plan.whole.iter().any(|file| file.path == "postgresql.conf"));
    }
}
