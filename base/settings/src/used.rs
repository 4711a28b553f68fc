//! The settings that have an effect here, each with what it does. What is not in this list is accepted and
//! shown, and does nothing; a feature that begins to obey a setting adds its line.

/// Sorted by name, for the search.
static USED: &[(&str, &str)] = &[
    (
        "application_name",
        "Name that the client gives itself; a standby is matched by it in synchronous_standby_names.",
    ),
    ("archive_cleanup_command", "Shell command that runs after each restartpoint."),
    ("archive_command", "Shell command that puts a finished segment into the archive."),
    ("archive_mode", "Whether finished segments are archived; always does so on a standby too."),
    (
        "archive_timeout",
        "Longest time after which a segment that was written to is ended, so that it is archived.",
    ),
    ("array_nulls", "Whether an unquoted NULL in an array's text is a null value."),
    ("authentication_timeout", "Longest time that a client may take to log in."),
    (
        "autovacuum",
        "Whether tables are swept by themselves for versions that nobody can see any more, once enough have gathered.",
    ),
    ("autovacuum_max_workers", "Automatic sweeps that run at the same time, at most."),
    ("autovacuum_naptime", "Time between two looks for tables that are due for a sweep."),
    (
        "autovacuum_vacuum_cost_delay",
        "Rest of an automatic sweep each time its cost limit is reached; -1 takes vacuum_cost_delay.",
    ),
    (
        "autovacuum_vacuum_cost_limit",
        "Cost that an automatic sweep may run up between two rests; -1 takes vacuum_cost_limit.",
    ),
    ("autovacuum_vacuum_scale_factor", "Dead versions, as a share of the rows, that make a sweep due."),
    ("autovacuum_vacuum_threshold", "Dead versions, besides the share, that make a sweep due."),
    (
        "bgwriter_delay",
        "Time between two rounds of the background writer, which writes changed pages before their frames are needed.",
    ),
    (
        "bgwriter_lru_maxpages",
        "Pages that the background writer writes at most in one round; 0 turns it off.",
    ),
    (
        "bgwriter_lru_multiplier",
        "How many times the recent need of frames the background writer keeps ready without a write.",
    ),
    ("block_size", "Bytes of a data page."),
    ("bytea_output", "Text form of bytea values."),
    (
        "checkpoint_completion_target",
        "Share of the time between checkpoints over which one spreads its writes.",
    ),
    ("checkpoint_timeout", "Longest time between two checkpoints."),
    ("client_encoding", "Encoding of the client's text; only UTF8 exists."),
    ("client_min_messages", "Lowest level of messages that are sent to the client."),
    ("cluster_name", "Name of this server in its log and, for a standby, towards its primary."),
    ("config_file", "Path of the main configuration file."),
    ("data_checksums", "Whether data pages carry checksums."),
    ("data_directory", "Folder of this server's data."),
    ("data_directory_mode", "Permissions of the data directory."),
    ("DateStyle", "Text form of dates; ISO, with the order in which ambiguous input is read."),
    ("deadlock_timeout", "Time that a lock is waited for before a deadlock is looked for."),
    ("default_transaction_isolation", "Isolation of transactions that name none."),
    ("default_transaction_read_only", "Whether transactions that do not say are read-only."),
    (
        "effective_io_concurrency",
        "Pages that a scan has read ahead of it; the server's value counts, not a session's.",
    ),
    ("extra_float_digits", "Digits of floating-point output."),
    ("fsync", "Whether WAL and data are forced to disk; off loses data in a crash."),
    ("full_page_writes", "Whether a page's first change after a checkpoint logs the whole page."),
    ("hba_file", "Path of the file that says who may log in how."),
    ("hot_standby", "Whether a standby answers queries."),
    (
        "hot_standby_feedback",
        "Whether a standby tells its primary which old versions its queries still need.",
    ),
    ("ident_file", "Path of the file that maps user names."),
    (
        "idle_in_transaction_session_timeout",
        "Longest idle time inside a transaction before the session ends.",
    ),
    ("idle_session_timeout", "Longest idle time outside a transaction before the session ends."),
    ("in_hot_standby", "Whether this server is a standby."),
    ("integer_datetimes", "Whether timestamps are integers; always on."),
    ("IntervalStyle", "Text form of intervals."),
    ("is_superuser", "Whether the session's role is a superuser."),
    ("lc_collate", "Collation; only C exists."),
    ("lc_ctype", "Character classes; only C exists."),
    ("listen_addresses", "Addresses on which clients are accepted."),
    ("lock_timeout", "Longest time that a statement waits for one lock."),
    ("log_autovacuum_min_duration", "Automatic sweeps that took this long are logged; 0 logs all, -1 none."),
    ("log_checkpoints", "Whether checkpoints are logged with their figures."),
    ("log_connections", "Whether connections are logged."),
    (
        "log_destination",
        "Forms in which the log is written: stderr, csvlog, jsonlog; the last two need logging_collector.",
    ),
    ("log_directory", "Folder of the log files of logging_collector, from the data directory on."),
    ("log_disconnections", "Whether ends of sessions are logged with their length."),
    ("log_duration", "Whether the duration of each statement is logged."),
    (
        "log_error_verbosity",
        "How much of an error is logged: terse without detail, hint and context; verbose with the SQLSTATE.",
    ),
    ("log_file_mode", "Permissions of the log files."),
    ("log_filename", "Name of a log file, with the escapes of strftime for the time at which it begins."),
    ("log_line_prefix", "What each line of the log begins with."),
    (
        "log_lock_waits",
        "Whether waits for a lock that are longer than deadlock_timeout are logged; the server's value counts, not a session's.",
    ),
    ("log_min_duration_sample", "Of statements that take at least this long a sample is logged."),
    ("log_min_duration_statement", "Statements that take at least this long are logged."),
    ("log_min_error_statement", "Lowest level of errors whose statements are logged."),
    ("log_min_messages", "Lowest level of messages that are logged."),
    (
        "log_parameter_max_length",
        "Bytes of each parameter that are logged with a statement; -1 is all, 0 logs none.",
    ),
    (
        "log_parameter_max_length_on_error",
        "Bytes of each parameter that are told with an error; -1 is all, 0 tells none.",
    ),
    ("log_recovery_conflict_waits", "Whether long waits of replay for queries are logged."),
    ("log_replication_commands", "Whether replication commands are logged."),
    ("log_rotation_age", "Time after which a new log file begins; 0 is never."),
    ("log_rotation_size", "Size at which a new log file begins; 0 is none."),
    ("log_statement", "Which statements are logged."),
    ("log_statement_sample_rate", "Share of the statements of log_min_duration_sample that is logged."),
    ("log_timezone", "Time zone of the log."),
    (
        "log_truncate_on_rotation",
        "Whether a log file whose name comes again begins anew instead of being appended to.",
    ),
    (
        "logging_collector",
        "Whether the log goes into files that the server itself begins anew from time to time.",
    ),
    ("max_connections", "How many sessions can be open at once."),
    ("max_function_args", "Most arguments of a function."),
    ("max_identifier_length", "Longest name, in bytes."),
    ("max_index_keys", "Most columns of an index."),
    ("max_replication_slots", "How many replication slots can exist."),
    (
        "max_slot_wal_keep_size",
        "WAL that a slot keeps at most; a slot that would need more is invalidated. -1: any amount.",
    ),
    (
        "max_stack_depth",
        "Stack that a statement may take; what is nested deeper than that allows is refused (54001).",
    ),
    (
        "max_standby_streaming_delay",
        "Longest time that replay of streamed WAL waits for queries that it would disturb; -1 waits for ever.",
    ),
    ("max_wal_senders", "How many standbys, backups and receivers can be connected at once."),
    ("max_wal_size", "Size of WAL that sets off a checkpoint."),
    ("min_wal_size", "Size of WAL segments below which old ones are kept for reuse."),
    ("password_encryption", "How new passwords are stored."),
    ("pg_stat_statements.max", "Statements that pg_stat_statements keeps; those that ran least go first."),
    (
        "pg_stat_statements.track",
        "Whether pg_stat_statements counts: none, top or all; the last two are the same here.",
    ),
    (
        "pg_stat_statements.track_utility",
        "Whether pg_stat_statements counts other statements than SELECT, INSERT, UPDATE and DELETE.",
    ),
    (
        "plimsoll.advertised_address",
        "Where the cluster's other nodes reach this one, as host=... port=...; if empty, where it listens, or where they see it if it listens everywhere.",
    ),
    (
        "plimsoll.auto_rewind",
        "Whether a standby whose WAL goes past the point where its upstream's timeline left its own rewinds itself; what it discards is kept in a file.",
    ),
    (
        "plimsoll.fence_check_timeout",
        "Longest time that a primary which starts waits for the cluster's other nodes to tell whether it was replaced; 0 waits for none.",
    ),
    (
        "plimsoll.fence_probe_interval",
        "Time between two times that a primary asks the cluster's other nodes whether it was replaced.",
    ),
    (
        "plimsoll.format_version",
        "Number of the format of this server's data directory and WAL; a standby reads its own and the one before.",
    ),
    ("plimsoll.heartbeat_interval", "Time between heartbeats that keep lag figures true on an idle system."),
    (
        "plimsoll.idle_replication_slot_timeout",
        "Time after which a slot that nobody uses is invalidated, recorded; 0 keeps it for ever.",
    ),
    (
        "plimsoll.ledger_size",
        "Size of plimsoll/ledger, where this node records what it gave up, from which on the older half goes.",
    ),
    (
        "plimsoll.memory_limit",
        "Memory that the server takes, shared_buffers included, before sessions are refused more (53200); 0 is three quarters of the machine's. Less than shared_buffers and 200 MB refuses what is ordinary.",
    ),
    (
        "plimsoll.metrics_listen",
        "Address and port where metrics are served as Prometheus reads them; none if empty.",
    ),
    (
        "plimsoll.peers",
        "Connection strings of nodes that are asked whether this primary was replaced, separated by semicolons (each server of one that names several is asked), beside those of the cluster that it knows by replication, which are asked at the same address, too.",
    ),
    (
        "plimsoll.read_after",
        "Token (timeline-branch:LSN) that each new snapshot of the session must include.",
    ),
    ("plimsoll.report_commit_lsn", "Whether a commit reports its LSN to the client as a parameter."),
    (
        "plimsoll.rewind_keep_size",
        "Log that no longer needs to stay and is kept, out of sight in pg_wal/kept, as long as a node of the cluster may be promoted from before its last checkpoint: so that an old primary can be rewound. The newest of it, up to this size; 0 keeps none.",
    ),
    (
        "plimsoll.roster_forget_after",
        "Time after which a node of the cluster of which nobody has heard is forgotten, recorded; time when this server does not run does not count. 0 forgets none.",
    ),
    (
        "plimsoll.standby_reads",
        "What a session sees on a standby: all that is replayed, or only what the primary has named confirmed, that is, held by its synchronous standbys.",
    ),
    (
        "plimsoll.sync_replication_slots",
        "Whether a standby copies its upstream's replication slots, so that receivers find them after a failover.",
    ),
    (
        "plimsoll.synchronous_timeout",
        "Longest wait for synchronous standbys before commits fall back to what those reach, recorded; 0 waits for ever.",
    ),
    (
        "plimsoll.unconfirmed_timeout",
        "After a restart or promotion, longest wait for the quorum to confirm earlier commits before they are released, recorded; -1 waits for ever.",
    ),
    ("plimsoll.worker_threads", "Threads that serve sessions; 0 is one a processor."),
    (
        "plimsoll.write_set_limit",
        "Size of the uncommitted changes from which on a transaction puts them into pages.",
    ),
    ("port", "TCP port, and the number in the Unix socket's name."),
    ("primary_conninfo", "How a standby connects to its primary."),
    ("primary_slot_name", "Replication slot that a standby uses on its primary."),
    ("promote_trigger_file", "File whose appearance promotes a standby, which removes it."),
    ("recovery_end_command", "Shell command that runs once at the end of recovery."),
    ("recovery_min_apply_delay", "Age of a commit from which a standby replays it."),
    ("recovery_target", "immediate ends recovery as soon as the data is consistent."),
    ("recovery_target_action", "What happens when the recovery target is reached."),
    ("recovery_target_inclusive", "Whether what is exactly at the recovery target is recovered."),
    ("recovery_target_lsn", "Position up to which recovery goes."),
    ("recovery_target_name", "Restore point up to which recovery goes."),
    ("recovery_target_time", "Moment up to which recovery goes."),
    ("recovery_target_timeline", "Timeline that recovery follows."),
    ("recovery_target_xid", "Transaction up to which recovery goes."),
    ("restore_command", "Shell command that fetches a segment from the archive."),
    ("search_path", "Schemas in which unqualified names are looked up."),
    ("segment_size", "Pages of one file of a relation."),
    ("server_encoding", "Encoding of stored text; UTF8."),
    ("server_version", "Version of PostgreSQL whose formats and protocol are spoken."),
    ("server_version_num", "The same as a number."),
    ("session_authorization", "Role that the session logged in as."),
    ("shared_buffers", "Memory for data pages."),
    ("shared_preload_libraries", "Modules that are turned on; pg_stat_statements is the only one here."),
    ("ssl", "Whether connections over TCP that ask for it are encrypted by TLS."),
    (
        "ssl_ca_file",
        "File of the root certificates that clients' certificates must come from; empty asks for none.",
    ),
    ("ssl_cert_file", "File of the server's certificate, and of those between it and its root."),
    (
        "ssl_ciphers",
        "Ciphers of TLS 1.2 that are offered, as OpenSSL lists them; those of TLS 1.3 always are.",
    ),
    ("ssl_crl_dir", "Folder of lists of revoked client certificates."),
    ("ssl_crl_file", "File of lists of revoked client certificates."),
    ("ssl_dh_params_file", "Takes no value: there is no DHE key exchange, only ECDHE."),
    ("ssl_ecdh_curve", "Curve of the key exchange: prime256v1, secp384r1 or X25519."),
    ("ssl_key_file", "File of the private key of the server's certificate."),
    ("ssl_library", "Library that encrypts connections."),
    ("ssl_max_protocol_version", "Highest version of TLS that is spoken; empty is the newest."),
    ("ssl_min_protocol_version", "Lowest version of TLS that is spoken; none below TLSv1.2 ever is."),
    ("ssl_passphrase_command", "Takes no value: a key with a passphrase cannot be used."),
    ("ssl_prefer_server_ciphers", "Whether the server's order of ciphers counts, not the client's."),
    ("standard_conforming_strings", "Whether backslashes in '...' are ordinary characters; always on."),
    ("statement_timeout", "Longest time that a statement may run."),
    ("superuser_reserved_connections", "Sessions kept free for superusers."),
    ("synchronous_commit", "What a commit waits for before it is acknowledged."),
    ("synchronous_standby_names", "Which standbys synchronous commits wait for."),
    ("tcp_keepalives_count", "Lost keepalives after which a TCP connection is given up."),
    ("tcp_keepalives_idle", "Idle time before the first TCP keepalive."),
    ("tcp_keepalives_interval", "Time between TCP keepalives."),
    (
        "tcp_user_timeout",
        "Longest time that sent data may stay unacknowledged before a TCP connection is closed.",
    ),
    ("TimeZone", "Time zone of timestamps with time zone."),
    ("transaction_isolation", "Isolation of the current transaction."),
    ("transaction_read_only", "Whether the current transaction is read-only."),
    ("transform_null_equals", "Whether `expression = NULL` means `expression IS NULL`."),
    ("unix_socket_directories", "Folders in which Unix sockets are created."),
    ("unix_socket_permissions", "Permissions of the Unix sockets."),
    ("vacuum_cost_delay", "Rest of VACUUM each time its cost limit is reached; 0 is no rest."),
    ("vacuum_cost_limit", "Cost that VACUUM may run up between two rests."),
    ("vacuum_cost_page_dirty", "Cost of a page that a sweep changes."),
    ("vacuum_cost_page_hit", "Cost of a page that a sweep looks at."),
    ("vacuum_cost_page_miss", "Cost of a page that a sweep reads from disk."),
    ("wal_block_size", "Bytes of a WAL page."),
    ("wal_buffers", "Memory for WAL that is not yet written."),
    ("wal_compression", "How page images in the WAL are compressed."),
    ("wal_init_zero", "Whether new WAL files are filled with zeros before use."),
    ("wal_keep_size", "WAL kept for standbys that have no slot."),
    ("wal_level", "How much the WAL says; replica and logical log the same here."),
    ("wal_receiver_status_interval", "Longest time between two reports of a standby."),
    ("wal_receiver_timeout", "Silence of the primary after which a standby gives up the connection."),
    ("wal_recycle", "Whether old WAL files are renamed for later use, or removed."),
    ("wal_retrieve_retry_interval", "Pause of a standby before it tries its sources of WAL again."),
    ("wal_segment_size", "Bytes of a WAL segment file."),
    ("wal_sender_timeout", "Silence of a standby after which its connection is given up."),
    ("wal_writer_delay", "Time between two flushes of WAL that nobody waits for."),
    ("wal_writer_flush_after", "Unflushed WAL that sets off a flush early."),
    (
        "work_mem",
        "A sixteenth of what one sort, hash table or join may hold in memory; one that needs more is refused (53200): none uses files.",
    ),
];

/// Whether a setting has an effect.
pub(crate) fn is_used(name: &str) -> bool {
    description(name).is_some()
}

/// What a setting does here, None if nothing.
pub(crate) fn description(name: &str) -> Option<&'static str> {
    let at = USED.binary_search_by(|(used, _)| crate::table::compare_names(used, name)).ok()?;
    USED.get(at).map(|(_, text)| *text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn described_settings_exist_and_stand_in_order() {
        for pair in USED.windows(2) {
            assert!(crate::table::compare_names(pair[0].0, pair[1].0).is_lt(), "{} misplaced", pair[1].0);
        }
        for (name, text) in USED {
            assert!(crate::find(name).is_some_and(|known| known.name == *name), "{name} is no setting");
            assert!(text.ends_with('.'), "{name}");
        }
    }

    #[test]
    fn all_of_our_own_settings_are_described() {
        for own in crate::plimsoll::PLIMSOLL {
            assert!(description(own.name).is_some(), "{}", own.name);
        }
    }
}
