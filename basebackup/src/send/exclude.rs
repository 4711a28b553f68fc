//! What of a data directory stays at home.
//!
//! PostgreSQL 15's rules (the manual, BASE_BACKUP), and `plimsoll/`, which belongs to one node:
//!
//! | kept out                                                           | why                               |
//! |--------------------------------------------------------------------|-----------------------------------|
//! | contents of pg_wal, pg_replslot, pg_dynshmem, pg_notify,           | made anew; the folders come empty |
//! | pg_serial, pg_snapshots, pg_stat_tmp, pg_subtrans                  |                                   |
//! | postmaster.pid, postmaster.opts, current_logfiles.tmp,             | of the running server             |
//! | postgresql.auto.conf.tmp                                           |                                   |
//! | backup_label, tablespace_map, backup_manifest                      | the backup brings its own         |
//! | standby.signal, recovery.signal                                    | (not kept out: as in PostgreSQL)  |
//! | names that begin with pgsql_tmp, or pg_internal.init               | temporary                         |
//! | forks of unlogged relations but the init fork, temporary relations | not in the log                    |
//! | (`t<n>_<n>`)                                                       |                                   |
//! | plimsoll/, plimsoll.clone, plimsoll.rewind                         | this node's                       |

use std::collections::HashSet;
use storage::relation::SEGMENT_PAGES;
use wal::{BlockNumber, RelFile};

/// What becomes of an entry of the data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is sent, a folder with its contents.
    Keep,
    /// A folder is sent without its contents.
    Empty,
    /// It is left out.
    Omit,
    /// global/pg_control: sent last.
    Last,
}

const EMPTY_FOLDERS: [&str; 7] =
    ["pg_replslot", "pg_dynshmem", "pg_notify", "pg_serial", "pg_snapshots", "pg_stat_tmp", "pg_subtrans"];
const OMITTED_FILES: [&str; 9] = [
    "postmaster.pid",
    "postmaster.opts",
    "current_logfiles.tmp",
    "postgresql.auto.conf.tmp",
    "backup_label",
    "tablespace_map",
    "backup_manifest",
    crate::manifest::MARKER_FILE,
    storage::REWIND_MARKER,
];

/// The fate of the entry `name` of the folder `folder` (path below the data directory, empty for itself).
pub fn fate(folder: &str, name: &str) -> Fate {
    if name.starts_with("pgsql_tmp") || name.starts_with("pg_internal.init") {
        return Fate::Omit;
    }
    match (folder, name) {
        ("", "pg_wal") => Fate::Keep,
        ("", "plimsoll") => Fate::Omit,
        ("", name) if EMPTY_FOLDERS.contains(&name) => Fate::Empty,
        (_, name) if OMITTED_FILES.contains(&name) => Fate::Omit,
        ("global", "pg_control") => Fate::Last,
        // Only the folder of archive states, empty; segments travel with the option WAL or beside the backup.
        ("pg_wal", "archive_status") => Fate::Empty,
        ("pg_wal", _) => Fate::Omit,
        _ => Fate::Keep,
    }
}

/// A relation file's name taken apart: number, fork (None for the main one), segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelationName<'a> {
    /// The relation file number.
    pub relation: u32,
    /// fsm, vm or init.
    pub fork: Option<&'a str>,
    /// The gigabyte that it holds, from 0.
    pub segment: u32,
}

/// Reads `<number>[_fork][.segment]`; None for any other name.
pub fn relation_name(name: &str) -> Option<RelationName<'_>> {
    let number = |text: &str| {
        let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| text.parse::<u32>().ok()).flatten()
    };
    let (name, segment) = match name.split_once('.') {
        Some((name, segment)) => (name, number(segment)?),
        None => (name, 0),
    };
    let (name, fork) = match name.split_once('_') {
        Some((name, fork @ ("fsm" | "vm" | "init"))) => (name, Some(fork)),
        Some(_) => return None,
        None => (name, None),
    };
    Some(RelationName { relation: number(name)?, fork, segment })
}

/// The relation that a file of pages in `base/` belongs to, by its path below the data directory, and the
/// number of its first block there.
pub fn relation_of(path: &str) -> Option<(RelFile, BlockNumber)> {
    let (database, name) = path.strip_prefix("base/")?.split_once('/')?;
    let name = relation_name(name).filter(|name| name.fork.is_none())?;
    let first = BlockNumber::new(name.segment.saturating_mul(SEGMENT_PAGES));
    Some((RelFile::new(database.parse().ok()?, name.relation), first))
}

/// Whether a file name is that of a temporary relation: `t<backend>_<number>...`.
pub fn is_temporary_relation(name: &str) -> bool {
    let Some((backend, rest)) = name.strip_prefix('t').and_then(|rest| rest.split_once('_')) else {
        return false;
    };
    !backend.is_empty() && backend.bytes().all(|byte| byte.is_ascii_digit()) && relation_name(rest).is_some()
}

/// The unlogged relations of a database folder: those with an init fork.
pub fn unlogged<'a>(names: impl Iterator<Item = &'a str>) -> HashSet<u32> {
    names
        .filter_map(relation_name)
        .filter(|name| name.fork == Some("init"))
        .map(|name| name.relation)
        .collect()
}

/// Whether a folder holds relation files.
pub fn is_relation_folder(folder: &str) -> bool {
    folder == "global" || folder.strip_prefix("base/").is_some_and(|database| !database.contains('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_entry_meets_its_fate() {
        for (folder, name, expected) in [
            ("", "base", Fate::Keep),
            ("", "postgresql.conf", Fate::Keep),
            ("", "standby.signal", Fate::Keep),
            ("", "postmaster.pid", Fate::Omit),
            ("", "backup_manifest", Fate::Omit),
            ("", "pg_replslot", Fate::Empty),
            ("", "plimsoll", Fate::Omit),
            ("", "pg_wal", Fate::Keep),
            ("pg_wal", "archive_status", Fate::Empty),
            ("pg_wal", "000000010000000000000001", Fate::Omit),
            ("pg_wal", "00000002.history", Fate::Omit),
            ("base", "pgsql_tmp", Fate::Omit),
            ("base/5", "pg_internal.init.123", Fate::Omit),
            ("base/5", "16384", Fate::Keep),
            ("global", "pg_control", Fate::Last),
            ("global", "pgsql_tmp.pg_control", Fate::Omit),
        ] {
            assert_eq!(fate(folder, name), expected, "{folder}/{name}");
        }
    }

    #[test]
    fn relation_names_are_taken_apart() {
        let name = |relation, fork, segment| Some(RelationName { relation, fork, segment });
        assert_eq!(relation_name("16384"), name(16384, None, 0));
        assert_eq!(relation_name("16384.3"), name(16384, None, 3));
        assert_eq!(relation_name("16384_fsm.1"), name(16384, Some("fsm"), 1));
        for other in ["PG_VERSION", "16384_x", "16384.", "_vm", "+1", "t3_16384", ""] {
            assert_eq!(relation_name(other), None, "{other}");
        }
        let of = |path| relation_of(path).map(|(rel, first)| (rel, first.get()));
        assert_eq!(of("base/5/16384"), Some((RelFile::new(5, 16_384), 0)));
        assert_eq!(of("base/5/16384.2"), Some((RelFile::new(5, 16_384), 262_144)));
        for other in ["base/5/16384_fsm", "base/5/PG_VERSION", "base/5", "global/1262", "16384"] {
            assert_eq!(of(other), None, "{other}");
        }
        assert!(is_temporary_relation("t3_16384_fsm.1"));
        assert!(!is_temporary_relation("table_1"));
    }
}
