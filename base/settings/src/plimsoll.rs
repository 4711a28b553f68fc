//! The settings that PostgreSQL does not have.

use crate::definition::Context::{Internal, Postmaster, Sighup, User};
use crate::definition::{Definition, Unit, boolean, cat, choice, flag, integer, text};

const WEEK_S: i64 = 7 * 24 * 60 * 60;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

pub(crate) static PLIMSOLL: &[Definition] = &[
    text("plimsoll.advertised_address", Sighup, cat::PLIMSOLL, ""),
    boolean("plimsoll.auto_rewind", Sighup, cat::PLIMSOLL, false),
    integer("plimsoll.fence_check_timeout", Sighup, cat::PLIMSOLL, 500, 0, DAY_MS, Unit::Ms),
    integer("plimsoll.fence_probe_interval", Sighup, cat::PLIMSOLL, 5_000, 100, DAY_MS, Unit::Ms),
    integer("plimsoll.format_version", Internal, cat::PRESET_OPTIONS, 0, 0, i32::MAX as i64, Unit::None)
        .flags(flag::NOT_IN_SAMPLE | flag::RUNTIME_COMPUTED),
    integer("plimsoll.heartbeat_interval", Sighup, cat::PLIMSOLL, 1_000, 10, DAY_MS, Unit::Ms),
    integer("plimsoll.idle_replication_slot_timeout", Sighup, cat::PLIMSOLL, 0, 0, i32::MAX as i64, Unit::S),
    integer("plimsoll.ledger_size", Sighup, cat::PLIMSOLL, 16 << 10, 64, 1 << 20, Unit::Kb),
    integer("plimsoll.memory_limit", Sighup, cat::PLIMSOLL, 0, 0, i32::MAX as i64, Unit::Kb),
    text("plimsoll.metrics_listen", Postmaster, cat::PLIMSOLL, ""),
    text("plimsoll.peers", Sighup, cat::PLIMSOLL, "").flags(flag::SUPERUSER_ONLY),
    text("plimsoll.read_after", User, cat::PLIMSOLL, ""),
    boolean("plimsoll.report_commit_lsn", User, cat::PLIMSOLL, false),
    integer("plimsoll.rewind_keep_size", Sighup, cat::PLIMSOLL, 1 << 10, 0, i32::MAX as i64, Unit::Mb),
    integer("plimsoll.roster_forget_after", Sighup, cat::PLIMSOLL, WEEK_S, 0, i32::MAX as i64, Unit::S),
    choice("plimsoll.standby_reads", User, cat::PLIMSOLL, "replayed", &["replayed", "confirmed"]),
    boolean("plimsoll.sync_replication_slots", Sighup, cat::PLIMSOLL, false),
    integer("plimsoll.synchronous_timeout", Sighup, cat::PLIMSOLL, 0, 0, DAY_MS, Unit::Ms),
    integer("plimsoll.unconfirmed_timeout", Sighup, cat::PLIMSOLL, 30_000, -1, DAY_MS, Unit::Ms),
    integer("plimsoll.worker_threads", Postmaster, cat::PLIMSOLL, 0, 0, 1024, Unit::None),
    integer("plimsoll.write_set_limit", Sighup, cat::PLIMSOLL, 64 << 10, 64, 16 << 20, Unit::Kb),
];
