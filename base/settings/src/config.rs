//! Typed snapshots of the settings that code reads often: plain fields, derived once a reload or SET.

use crate::definition::Unit;
use crate::node::Settings;
use crate::value::Value;
use durability::SyncLevel;
use std::sync::Arc;
use std::time::Duration;

/// How a field is made from a value.
trait Field: Sized + Default {
    fn from_value(value: &Value, unit: Unit) -> Option<Self>;
}

impl Field for bool {
    fn from_value(value: &Value, _: Unit) -> Option<Self> {
        if let Value::Bool(on) = value { Some(*on) } else { None }
    }
}
impl Field for i64 {
    fn from_value(value: &Value, unit: Unit) -> Option<Self> {
        match (value, unit) {
            (Value::Integer(number), Unit::None) => Some(*number),
            _ => None,
        }
    }
}
impl Field for f64 {
    fn from_value(value: &Value, _: Unit) -> Option<Self> {
        if let Value::Real(number) = value { Some(*number) } else { None }
    }
}
impl Field for Arc<str> {
    fn from_value(value: &Value, _: Unit) -> Option<Self> {
        match value {
            Value::Text(text) => Some(text.clone()),
            Value::Choice(word) => Some((*word).into()),
            _ => None,
        }
    }
}
impl Field for SyncLevel {
    fn from_value(value: &Value, _: Unit) -> Option<Self> {
        if let Value::Choice(word) = value { Self::from_name(word) } else { None }
    }
}
/// A time; zero or less means never.
impl Field for Option<Duration> {
    fn from_value(value: &Value, unit: Unit) -> Option<Self> {
        let each = unit.micros()?;
        match value {
            Value::Integer(count) if *count <= 0 => Some(None),
            Value::Integer(count) => {
                Some(Some(Duration::from_micros(u64::try_from(*count).ok()?.saturating_mul(each))))
            }
            Value::Real(count) => {
                let time = Duration::try_from_secs_f64(count * each as f64 / 1e6).ok();
                Some(time.filter(|time| !time.is_zero()))
            }
            _ => None,
        }
    }
}
impl Field for Duration {
    fn from_value(value: &Value, unit: Unit) -> Option<Self> {
        Option::<Duration>::from_value(value, unit).map(Option::unwrap_or_default)
    }
}

/// A time that -1 turns off; zero is at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnlessNegative(pub Option<Duration>);

impl Field for UnlessNegative {
    fn from_value(value: &Value, unit: Unit) -> Option<Self> {
        match value {
            Value::Integer(count) if *count < 0 => Some(Self(None)),
            Value::Real(count) if *count < 0.0 => Some(Self(None)),
            _ => Duration::from_value(value, unit).map(|time| Self(Some(time))),
        }
    }
}

/// A size in bytes; None for -1 (automatic, or no limit, as the setting has it).
pub type SizeBytes = Option<u64>;

impl Field for SizeBytes {
    fn from_value(value: &Value, unit: Unit) -> Option<Self> {
        let each = unit.bytes()?;
        match value {
            Value::Integer(count) => Some(u64::try_from(*count).ok().map(|count| count.saturating_mul(each))),
            _ => None,
        }
    }
}
impl Field for u64 {
    fn from_value(value: &Value, unit: Unit) -> Option<Self> {
        match unit {
            Unit::None => i64::from_value(value, unit).map(|number| u64::try_from(number).unwrap_or(0)),
            _ => SizeBytes::from_value(value, unit).map(Option::unwrap_or_default),
        }
    }
}

macro_rules! config {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty = $setting:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name { $($(#[$field_doc])* pub $field: $type,)* }

        impl $name {
            /// Derives every field from the value in force.
            pub(crate) fn from_values(value: impl Fn(&str) -> Option<Value>) -> Self {
                Self { $($field: field(&value, $setting),)* }
            }
            /// Derives the fields of one setting anew from the value in force; None if there is none.
            #[allow(dead_code, reason = "only sessions derive single fields anew")]
            pub(crate) fn with_changed(&self, name: &str, value: impl Fn(&str) -> Option<Value>) -> Option<Self> {
                let mut changed = None;
                $(if $setting.eq_ignore_ascii_case(name) {
                    changed.get_or_insert_with(|| self.clone()).$field = field(&value, $setting);
                })*
                changed
            }
            #[cfg(test)]
            fn without_effect() -> Vec<&'static str> {
                [$($setting),*].into_iter().filter(|name| !crate::used::is_used(name)).collect()
            }
            #[cfg(test)]
            fn unreadable() -> Vec<&'static str> {
                let mut bad = Vec::new();
                $({
                    let good = crate::find($setting).is_some_and(|known| {
                        <$type as Field>::from_value(&Value::boot(known), known.kind.unit()).is_some()
                    });
                    if !good { bad.push($setting); }
                })*
                bad
            }
        }
    };
}

/// The setting exists and is of the field's type, which a test holds for every field.
fn field<T: Field>(value: &impl Fn(&str) -> Option<Value>, setting: &str) -> T {
    let unit = crate::find(setting).map_or(Unit::None, |known| known.kind.unit());
    value(setting).and_then(|value| T::from_value(&value, unit)).unwrap_or_default()
}

config! {
    /// The node's settings that the engine reads.
    Config {
        /// Addresses to listen on, separated by commas.
        listen_addresses: Arc<str> = "listen_addresses",
        /// TCP port and number of the Unix socket.
        port: u64 = "port",
        /// Folders of Unix sockets, separated by commas.
        unix_socket_directories: Arc<str> = "unix_socket_directories",
        /// Mode of the Unix sockets.
        unix_socket_permissions: u64 = "unix_socket_permissions",
        /// replayed or confirmed: what sessions read that say nothing else.
        standby_reads: Arc<str> = "plimsoll.standby_reads",
        /// Sessions at once.
        max_connections: u64 = "max_connections",
        /// Sessions of those kept for superusers.
        superuser_reserved_connections: u64 = "superuser_reserved_connections",
        /// Time to log in.
        authentication_timeout: Duration = "authentication_timeout",
        /// Bytes of the buffer pool.
        shared_buffers_bytes: u64 = "shared_buffers",
        /// Bytes of WAL buffers; None derives them from shared_buffers.
        wal_buffers_bytes: SizeBytes = "wal_buffers",
        /// Whether to sync at all.
        fsync: bool = "fsync",
        /// Whether first changes log whole pages.
        full_page_writes: bool = "full_page_writes",
        /// off, pglz, lz4, zstd or on.
        wal_compression: Arc<str> = "wal_compression",
        /// Whether new WAL files are filled with zeros.
        wal_init_zero: bool = "wal_init_zero",
        /// Whether old WAL files are renamed for later use.
        wal_recycle: bool = "wal_recycle",
        /// minimal, replica or logical.
        wal_level: Arc<str> = "wal_level",
        /// Pause of the background flush.
        wal_writer_delay: Duration = "wal_writer_delay",
        /// Unflushed bytes that end that pause.
        wal_writer_flush_after_bytes: u64 = "wal_writer_flush_after",
        /// Time between checkpoints.
        checkpoint_timeout: Duration = "checkpoint_timeout",
        /// Whether sweeps run by themselves.
        autovacuum: bool = "autovacuum",
        /// Sweeps that run by themselves at the same time, at most.
        autovacuum_max_workers: u64 = "autovacuum_max_workers",
        /// Time between two looks for trees that are due.
        autovacuum_naptime: Duration = "autovacuum_naptime",
        /// Dead versions that make a sweep due, besides the share.
        autovacuum_vacuum_threshold: u64 = "autovacuum_vacuum_threshold",
        /// Dead versions for each row that make a sweep due.
        autovacuum_vacuum_scale_factor: f64 = "autovacuum_vacuum_scale_factor",
        /// A sweep's rest; None is vacuum_cost_delay's.
        autovacuum_vacuum_cost_delay: UnlessNegative = "autovacuum_vacuum_cost_delay",
        /// Cost between two rests; negative is vacuum_cost_limit's.
        autovacuum_vacuum_cost_limit: i64 = "autovacuum_vacuum_cost_limit",
        /// VACUUM's rest.
        vacuum_cost_delay: Duration = "vacuum_cost_delay",
        /// Cost between two rests of VACUUM.
        vacuum_cost_limit: i64 = "vacuum_cost_limit",
        /// Cost of a page in the pool.
        vacuum_cost_page_hit: u64 = "vacuum_cost_page_hit",
        /// Cost of a page that was read.
        vacuum_cost_page_miss: u64 = "vacuum_cost_page_miss",
        /// Cost of a page that was changed.
        vacuum_cost_page_dirty: u64 = "vacuum_cost_page_dirty",
        /// Sweeps that took this long are logged; None is never.
        log_autovacuum_min_duration: UnlessNegative = "log_autovacuum_min_duration",
        /// Pause of the background writer.
        bgwriter_delay: Duration = "bgwriter_delay",
        /// Pages that it writes at most in one round.
        bgwriter_lru_maxpages: u64 = "bgwriter_lru_maxpages",
        /// How many times the recent need of clean frames it provides.
        bgwriter_lru_multiplier: f64 = "bgwriter_lru_multiplier",
        /// Pages that a scan has read ahead of it.
        effective_io_concurrency: u64 = "effective_io_concurrency",
        /// Share of that time for the writes.
        checkpoint_completion_target: f64 = "checkpoint_completion_target",
        /// Bytes of WAL that set off a checkpoint.
        max_wal_size_bytes: u64 = "max_wal_size",
        /// Bytes of WAL kept for reuse.
        min_wal_size_bytes: u64 = "min_wal_size",
        /// Bytes of WAL kept for standbys without slots.
        wal_keep_size_bytes: u64 = "wal_keep_size",
        /// Bytes of WAL that slots may hold back; None is no limit.
        max_slot_wal_keep_size_bytes: SizeBytes = "max_slot_wal_keep_size",
        /// Walsenders at once.
        max_wal_senders: u64 = "max_wal_senders",
        /// Slots at once.
        max_replication_slots: u64 = "max_replication_slots",
        /// Which standbys commits wait for.
        synchronous_standby_names: Arc<str> = "synchronous_standby_names",
        /// How to reach the primary.
        primary_conninfo: Arc<str> = "primary_conninfo",
        /// Slot on the primary.
        primary_slot_name: Arc<str> = "primary_slot_name",
        /// A file whose appearance promotes a standby; empty for none.
        promote_trigger_file: Arc<str> = "promote_trigger_file",
        /// Whether a standby serves reads.
        hot_standby: bool = "hot_standby",
        /// Whether a standby reports its oldest snapshot.
        hot_standby_feedback: bool = "hot_standby_feedback",
        /// How old a commit must be before a standby replays it.
        recovery_min_apply_delay: Duration = "recovery_min_apply_delay",
        /// How long streamed log waits for queries that it would disturb; None is for ever.
        max_standby_streaming_delay: UnlessNegative = "max_standby_streaming_delay",
        /// Whether such waits are logged.
        log_recovery_conflict_waits: bool = "log_recovery_conflict_waits",
        /// Longest time between reports; None is only when asked.
        wal_receiver_status_interval: Option<Duration> = "wal_receiver_status_interval",
        /// Silence of the primary that ends the connection.
        wal_receiver_timeout: Option<Duration> = "wal_receiver_timeout",
        /// Pause between tries to reach a source of WAL.
        wal_retrieve_retry_interval: Duration = "wal_retrieve_retry_interval",
        /// latest, current or a number.
        recovery_target_timeline: Arc<str> = "recovery_target_timeline",
        /// off, on or always.
        archive_mode: Arc<str> = "archive_mode",
        /// Time after which a segment is ended; None is never.
        archive_timeout: Option<Duration> = "archive_timeout",
        /// Shell command that fetches archived WAL.
        restore_command: Arc<str> = "restore_command",
        /// Name of this server.
        cluster_name: Arc<str> = "cluster_name",
        /// Begin of each line of the log.
        log_line_prefix: Arc<str> = "log_line_prefix",
        /// Time zone of the log.
        log_timezone: Arc<str> = "log_timezone",
        /// Whether connections are logged.
        log_connections: bool = "log_connections",
        /// Whether disconnections are logged.
        log_disconnections: bool = "log_disconnections",
        /// Whether long waits for locks are logged.
        log_lock_waits: bool = "log_lock_waits",
        /// Wait after which a deadlock is looked for.
        deadlock_timeout: Duration = "deadlock_timeout",
        /// Whether checkpoints are logged.
        log_checkpoints: bool = "log_checkpoints",
        /// Whether replication commands are logged.
        log_replication_commands: bool = "log_replication_commands",
        /// scram-sha-256 or md5.
        password_encryption: Arc<str> = "password_encryption",
        /// Idle time before TCP keepalives, in seconds; 0 is the system's.
        tcp_keepalives_idle: Duration = "tcp_keepalives_idle",
        /// Time between TCP keepalives.
        tcp_keepalives_interval: Duration = "tcp_keepalives_interval",
        /// Lost keepalives that end a connection.
        tcp_keepalives_count: i64 = "tcp_keepalives_count",
        /// Bytes of memory that the process may take; 0 derives them from the machine's.
        memory_limit_bytes: u64 = "plimsoll.memory_limit",
        /// Where metrics are served; empty is nowhere.
        metrics_listen: Arc<str> = "plimsoll.metrics_listen",
        /// Other nodes' connection strings, separated by semicolons.
        peers: Arc<str> = "plimsoll.peers",
        /// Where other nodes reach this one; empty: as they see it.
        advertised_address: Arc<str> = "plimsoll.advertised_address",
        /// Whether a standby past the fork of its upstream's branch rewinds itself.
        auto_rewind: bool = "plimsoll.auto_rewind",
        /// Longest wait of a primary's start for other nodes; zero waits for none.
        fence_check_timeout: Duration = "plimsoll.fence_check_timeout",
        /// Log that is kept for rewinds alone, at most.
        rewind_keep_size_bytes: u64 = "plimsoll.rewind_keep_size",
        /// Time after which a silent node is forgotten; None is never.
        roster_forget_after: Option<Duration> = "plimsoll.roster_forget_after",
        /// Time between two looks at the peers.
        fence_probe_interval: Duration = "plimsoll.fence_probe_interval",
        /// Time between heartbeats.
        heartbeat_interval: Duration = "plimsoll.heartbeat_interval",
        /// Time after which an unused slot is invalidated; None is never.
        idle_replication_slot_timeout: Option<Duration> = "plimsoll.idle_replication_slot_timeout",
        /// Bytes of the ledger.
        ledger_size_bytes: u64 = "plimsoll.ledger_size",
        /// Whether a standby copies its upstream's slots.
        sync_replication_slots: bool = "plimsoll.sync_replication_slots",
        /// Longest wait for synchronous standbys; None is for ever.
        synchronous_timeout: Option<Duration> = "plimsoll.synchronous_timeout",
        /// Longest wait before undecided commits are released.
        unconfirmed_timeout: UnlessNegative = "plimsoll.unconfirmed_timeout",
        /// Threads of the runtime; 0 is one a processor.
        worker_threads: u64 = "plimsoll.worker_threads",
    }
}

config! {
    /// A session's settings that the engine reads.
    SessionConfig {
        /// What its commits wait for.
        synchronous_commit: SyncLevel = "synchronous_commit",
        /// Longest time of a statement.
        statement_timeout: Option<Duration> = "statement_timeout",
        /// Longest wait for a lock.
        lock_timeout: Option<Duration> = "lock_timeout",
        /// Wait before a deadlock is looked for.
        deadlock_timeout: Duration = "deadlock_timeout",
        /// Longest idle time in a transaction.
        idle_in_transaction_session_timeout: Option<Duration> = "idle_in_transaction_session_timeout",
        /// How long sent data may stay unacknowledged before a TCP connection is given up.
        tcp_user_timeout: Option<Duration> = "tcp_user_timeout",
        /// Longest idle time outside one.
        idle_session_timeout: Option<Duration> = "idle_session_timeout",
        /// Silence of a standby that ends its connection.
        wal_sender_timeout: Option<Duration> = "wal_sender_timeout",
        /// Isolation of new transactions.
        default_transaction_isolation: Arc<str> = "default_transaction_isolation",
        /// Whether new transactions are read-only.
        default_transaction_read_only: bool = "default_transaction_read_only",
        /// Bytes of one sort.
        work_mem_bytes: u64 = "work_mem",
        /// Bytes of stack, as PostgreSQL counts them.
        max_stack_depth_bytes: u64 = "max_stack_depth",
        /// Bytes of uncommitted changes.
        write_set_limit_bytes: u64 = "plimsoll.write_set_limit",
        /// Schemas, as a list of identifiers.
        search_path: Arc<str> = "search_path",
        /// Name of the time zone.
        time_zone: Arc<str> = "TimeZone",
        /// ISO and an order.
        date_style: Arc<str> = "DateStyle",
        /// How intervals are written: postgres, postgres_verbose, sql_standard or iso_8601.
        interval_style: Arc<str> = "IntervalStyle",
        /// Whether an unquoted NULL in an array's text is a null value.
        array_nulls: bool = "array_nulls",
        /// Digits of floating-point output.
        extra_float_digits: i64 = "extra_float_digits",
        /// hex or escape.
        bytea_output: Arc<str> = "bytea_output",
        /// Name that the client gave itself.
        application_name: Arc<str> = "application_name",
        /// Lowest level of messages sent.
        client_min_messages: Arc<str> = "client_min_messages",
        /// Statements at least this long are logged.
        log_min_duration_statement: UnlessNegative = "log_min_duration_statement",
        /// Whether all durations are logged.
        log_duration: bool = "log_duration",
        /// A sample of statements at least this long is logged.
        log_min_duration_sample: UnlessNegative = "log_min_duration_sample",
        /// Which share of those.
        log_statement_sample_rate: f64 = "log_statement_sample_rate",
        /// Bytes of a parameter that are logged; None is no limit.
        log_parameter_max_length: SizeBytes = "log_parameter_max_length",
        /// The same with an error.
        log_parameter_max_length_on_error: SizeBytes = "log_parameter_max_length_on_error",
        /// Lowest level of errors whose statements are logged.
        log_min_error_statement: Arc<str> = "log_min_error_statement",
        /// terse, default or verbose.
        log_error_verbosity: Arc<str> = "log_error_verbosity",
        /// Statements that pg_stat_statements keeps.
        track_max: u64 = "pg_stat_statements.max",
        /// none, top or all.
        track: Arc<str> = "pg_stat_statements.track",
        /// Whether it counts other statements than those with plans.
        track_utility: bool = "pg_stat_statements.track_utility",
        /// Lowest level of messages logged.
        log_min_messages: Arc<str> = "log_min_messages",
        /// none, ddl, mod or all.
        log_statement: Arc<str> = "log_statement",
        /// Whether a commit reports its LSN.
        report_commit_lsn: bool = "plimsoll.report_commit_lsn",
        /// replayed or confirmed.
        standby_reads: Arc<str> = "plimsoll.standby_reads",
        /// Token that snapshots must have reached.
        read_after: Arc<str> = "plimsoll.read_after",
    }
}

impl Settings {
    /// The typed snapshot of the values in force.
    pub fn config(&self) -> Config {
        Config::from_values(|name| self.value(name))
    }

    /// What a session begins with.
    pub(crate) fn session_config(&self) -> Arc<SessionConfig> {
        let derive = || Arc::new(SessionConfig::from_values(|name| self.value(name)));
        self.session_config.get_or_init(derive).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Source;

    #[test]
    fn every_field_reads_a_setting_of_its_type() {
        assert_eq!(Config::unreadable(), [""; 0]);
        assert_eq!(SessionConfig::unreadable(), [""; 0]);
    }

    #[test]
    fn what_is_read_is_described_as_having_an_effect() {
        assert_eq!(Config::without_effect(), [""; 0]);
        assert_eq!(SessionConfig::without_effect(), [""; 0]);
    }

    #[test]
    fn fields_are_in_bytes_and_durations() {
        let mut settings = Settings::new();
        settings.set("shared_buffers", "1MB", Source::CommandLine).unwrap();
        settings.set("wal_receiver_status_interval", "0", Source::CommandLine).unwrap();
        let config = settings.config();
        assert_eq!(config.shared_buffers_bytes, 1 << 20);
        assert_eq!(config.wal_buffers_bytes, None);
        assert_eq!(config.wal_receiver_status_interval, None);
        assert_eq!(config.checkpoint_timeout, Duration::from_secs(300));
        assert_eq!(config.unconfirmed_timeout, UnlessNegative(Some(Duration::from_secs(30))));
        assert_eq!(config.tcp_keepalives_idle, Duration::ZERO);
    }
}
