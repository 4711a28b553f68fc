//! What is under way: pg_stat_progress_basebackup, and the views of work that ends before anybody looks, or
//! does not exist here. pg_stat_wal: what is counted of the log.

use super::{View, count, time};
use sql_types::{Datum, TypeId};
use std::sync::atomic::Ordering;

/// A view of work that is never found under way.
const fn idle(
    name: &'static str,
    oid: u32,
    about: &'static str,
    columns: &'static [(&'static str, TypeId)],
) -> View {
    View { name, oid, about, columns, rows: |_, _| Ok(Vec::new()) }
}

const ANALYZE: &[(&str, TypeId)] = &[
    ("pid", TypeId::Int4),
    ("datid", TypeId::Oid),
    ("datname", TypeId::Name),
    ("relid", TypeId::Oid),
    ("phase", TypeId::Text),
    ("sample_blks_total", TypeId::Int8),
    ("sample_blks_scanned", TypeId::Int8),
    ("ext_stats_total", TypeId::Int8),
    ("ext_stats_computed", TypeId::Int8),
    ("child_tables_total", TypeId::Int8),
    ("child_tables_done", TypeId::Int8),
    ("current_child_table_relid", TypeId::Oid),
];
const VACUUM: &[(&str, TypeId)] = &[
    ("pid", TypeId::Int4),
    ("datid", TypeId::Oid),
    ("datname", TypeId::Name),
    ("relid", TypeId::Oid),
    ("phase", TypeId::Text),
    ("heap_blks_total", TypeId::Int8),
    ("heap_blks_scanned", TypeId::Int8),
    ("heap_blks_vacuumed", TypeId::Int8),
    ("index_vacuum_count", TypeId::Int8),
    ("max_dead_tuples", TypeId::Int8),
    ("num_dead_tuples", TypeId::Int8),
];
const CLUSTER: &[(&str, TypeId)] = &[
    ("pid", TypeId::Int4),
    ("datid", TypeId::Oid),
    ("datname", TypeId::Name),
    ("relid", TypeId::Oid),
    ("command", TypeId::Text),
    ("phase", TypeId::Text),
    ("cluster_index_relid", TypeId::Oid),
    ("heap_tuples_scanned", TypeId::Int8),
    ("heap_tuples_written", TypeId::Int8),
    ("heap_blks_total", TypeId::Int8),
    ("heap_blks_scanned", TypeId::Int8),
    ("index_rebuild_count", TypeId::Int8),
];
const CREATE_INDEX: &[(&str, TypeId)] = &[
    ("pid", TypeId::Int4),
    ("datid", TypeId::Oid),
    ("datname", TypeId::Name),
    ("relid", TypeId::Oid),
    ("index_relid", TypeId::Oid),
    ("command", TypeId::Text),
    ("phase", TypeId::Text),
    ("lockers_total", TypeId::Int8),
    ("lockers_done", TypeId::Int8),
    ("current_locker_pid", TypeId::Int8),
    ("blocks_total", TypeId::Int8),
    ("blocks_done", TypeId::Int8),
    ("tuples_total", TypeId::Int8),
    ("tuples_done", TypeId::Int8),
    ("partitions_total", TypeId::Int8),
    ("partitions_done", TypeId::Int8),
];
const COPY: &[(&str, TypeId)] = &[
    ("pid", TypeId::Int4),
    ("datid", TypeId::Oid),
    ("datname", TypeId::Name),
    ("relid", TypeId::Oid),
    ("command", TypeId::Text),
    ("type", TypeId::Text),
    ("bytes_processed", TypeId::Int8),
    ("bytes_total", TypeId::Int8),
    ("tuples_processed", TypeId::Int8),
    ("tuples_excluded", TypeId::Int8),
];

pub(super) static VIEWS: &[View] = &[
    idle("pg_stat_progress_analyze", 12_265, "ANALYZE under way: always empty, it gathers nothing.", ANALYZE),
    idle(
        "pg_stat_progress_vacuum",
        12_270,
        "VACUUM under way: always empty, its progress is not counted.",
        VACUUM,
    ),
    idle("pg_stat_progress_cluster", 12_275, "CLUSTER under way: always empty.", CLUSTER),
    idle(
        "pg_stat_progress_create_index",
        12_280,
        "CREATE INDEX under way: always empty, its progress is not counted.",
        CREATE_INDEX,
    ),
    idle("pg_stat_progress_copy", 12_290, "COPY under way: always empty, its progress is not counted.", COPY),
    view! {
        "pg_stat_progress_basebackup", 12_285, "Base backups under way; a row a backup.",
        rows |asked, actor| {
            let sessions = asked.sessions.list().into_iter();
            let backups = sessions.filter(|session| session.backing_up.load(Ordering::Acquire));
            backups.map(|session| {
                let role = session.role_oid.load(Ordering::Relaxed);
                let seen = actor.reads_statistics || asked.acts_for(actor, role);
                (session, seen)
            })
        },
        each |(session, seen)| [
            let progress = *session.backup_progress.lock();
            // What others than pg_read_all_stats and the session's own role do not see.
            let shown = |value: Datum| if seen { value } else { Datum::Null };
        ] {
            "pid": Int4 = Datum::Int4(session.key.pid),
            "phase": Text = shown(Datum::text(progress.phase)),
            "backup_total": Int8 = shown(progress.total_bytes.map_or(Datum::Null, count)),
            "backup_streamed": Int8 = shown(count(progress.sent_bytes)),
            "tablespaces_total": Int8 = shown(Datum::Int8(1)),
            "tablespaces_streamed": Int8 = shown(Datum::Int8(i64::from(progress.is_sent))),
        }
    },
    view! {
        "pg_stat_wal", 12_300, "When counting began; one row. Nothing of the log is counted by record: the counts are NULL.",
        rows |asked, _actor| [asked.started],
        each |started| [] {
            "wal_records": Int8 = Datum::Null,
            "wal_fpi": Int8 = Datum::Null,
            "wal_bytes": Numeric = Datum::Null,
            "wal_buffers_full": Int8 = Datum::Null,
            "wal_write": Int8 = Datum::Null,
            "wal_sync": Int8 = Datum::Null,
            "wal_write_time": Float8 = Datum::Null,
            "wal_sync_time": Float8 = Datum::Null,
            "stats_reset": Timestamptz = time(Some(started)),
        }
    },
];

pub(super) static FILES: &[View] = &[view! {
    "pg_file_settings", 12_124, "What the configuration files say now, in force or not; a row an entry.",
    rows |asked, _actor| asked.ground.file_settings(),
    each |entry| [] {
        "sourcefile": Text = Datum::text(entry.place.file.display().to_string()),
        "sourceline": Int4 = i32::try_from(entry.place.line).map_or(Datum::Null, Datum::Int4),
        "seqno": Int4 = i32::try_from(entry.number).map_or(Datum::Null, Datum::Int4),
        "name": Text = super::text(entry.name),
        "setting": Text = super::text(entry.value),
        "applied": Bool = Datum::Bool(entry.applied),
        "error": Text = super::text(entry.error),
    }
}];
