//! The options of the storage engine that the settings mean.

use super::Current;
use settings::Config;
use std::path::Path;
use storage::{Database, DatabaseOptions, ImageCompression, LogWriting, ServerParameters, WalSizes};
use wal::SegmentSize;

/// The options that the settings mean.
pub(crate) fn database_options(
    current: &Current,
    data_dir: &Path,
    segment_size: SegmentSize,
) -> DatabaseOptions {
    let config = &current.config;
    let segment = segment_size.bytes();
    // As in PostgreSQL: a 32nd of shared_buffers, no more than a segment, no less than 64 kB.
    let automatic = (config.shared_buffers_bytes / 32).min(segment).max(64 << 10);
    let session = settings::SessionSettings::new(current.settings.clone());
    DatabaseOptions {
        shared_buffers_bytes: bytes(config.shared_buffers_bytes).max(1 << 20),
        wal_buffers_bytes: bytes(config.wal_buffers_bytes.unwrap_or(automatic)),
        write_set_limit_bytes: bytes(session.config().write_set_limit_bytes),
        deadlock_timeout: session.config().deadlock_timeout,
        log_writing: log_writing(config),
        full_page_writes: config.full_page_writes,
        image_compression: image_compression(config),
        wal_init_zero: config.wal_init_zero,
        wal_sizes: wal_sizes(config),
        sync_required: replica::sync::SyncNames::are_given(&config.synchronous_standby_names),
        parameters: parameters(config, &current.settings),
        ..DatabaseOptions::new(data_dir)
    }
}

/// Has the open database take over the options that a reload may change. An error if the log could not be
/// told of one; they are in force all the same.
pub(crate) fn apply(current: &Current, database: &Database) -> Result<(), storage::Error> {
    let (config, session) = (&current.config, settings::SessionSettings::new(current.settings.clone()));
    database.set_log_writing(log_writing(config));
    database.set_wal_sizes(wal_sizes(config));
    database.set_image_compression(image_compression(config));
    database.set_deadlock_timeout(session.config().deadlock_timeout);
    database.set_write_set_limit(bytes(session.config().write_set_limit_bytes));
    database.set_full_page_writes(config.full_page_writes)
}

fn bytes(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

fn log_writing(config: &Config) -> LogWriting {
    LogWriting {
        fsync: config.fsync,
        delay: config.wal_writer_delay,
        flush_after_bytes: config.wal_writer_flush_after_bytes,
    }
}

fn image_compression(config: &Config) -> ImageCompression {
    match config.wal_compression.as_ref() {
        "lz4" | "on" | "pglz" => ImageCompression::Lz4,
        "zstd" => ImageCompression::Zstd,
        _ => ImageCompression::Off,
    }
}

/// How much log there is between checkpoints, and is kept for later.
fn wal_sizes(config: &Config) -> WalSizes {
    WalSizes {
        min_bytes: config.min_wal_size_bytes,
        max_bytes: config.max_wal_size_bytes,
        completion_target: config.checkpoint_completion_target.clamp(0.0, 1.0),
        recycle: config.wal_recycle,
    }
}

fn parameters(config: &Config, settings: &settings::Settings) -> ServerParameters {
    let number = |name: &str| settings.show(name).ok().and_then(|text| text.parse().ok());
    let on = |name: &str| settings.value(name) == Some(settings::Value::Bool(true));
    let count = |value: u64| i32::try_from(value).unwrap_or(i32::MAX);
    ServerParameters {
        max_connections: count(config.max_connections),
        max_wal_senders: count(config.max_wal_senders),
        max_worker_processes: number("max_worker_processes").unwrap_or(8),
        max_prepared_transactions: number("max_prepared_transactions").unwrap_or(0),
        max_locks_per_transaction: number("max_locks_per_transaction").unwrap_or(64),
        wal_level: match config.wal_level.as_ref() {
            "minimal" => 0,
            "logical" => 2,
            _ => 1,
        },
        wal_log_hints: on("wal_log_hints"),
        track_commit_timestamp: on("track_commit_timestamp"),
    }
}
