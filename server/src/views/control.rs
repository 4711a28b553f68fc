//! Functions about the log, recovery and the node itself.

use super::Asked;
use super::{Function, Returns, lsn, no_defaults, one, refuse, time, timeline};
use crate::state::NodeState;
use host::Timestamp;
use protocol::SqlState;
use replica::driver::PauseState;
use sql_interface::{NodeCall, SettingActor, SqlError};
use sql_types::{Datum, TypeId};
use std::sync::atomic::Ordering;
use std::time::Duration;
use storage::Database;
use wal::Lsn;

pub(super) fn database<'a>(asked: &Asked<'a>) -> Result<&'a Database, SqlError> {
    asked
        .database()
        .ok_or_else(|| SqlError::new(SqlState::CANNOT_CONNECT_NOW, "the database system is starting up"))
}

/// The database, for a function that writes into its log: on a server that takes no writes it is refused.
pub(super) fn writable<'a>(asked: &Asked<'a>) -> Result<&'a Database, SqlError> {
    let database = database(asked)?;
    if database.is_in_recovery() {
        return Err(in_recovery());
    }
    sql_interface::refuse_if_fenced(database)?;
    Ok(database)
}

/// The number of the database that users' data are in.
const USER_DATABASE: u32 = 5;

pub(super) fn in_recovery() -> SqlError {
    SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "recovery is in progress")
        .with_hint("WAL control functions cannot be executed during recovery.")
}

fn not_in_recovery() -> SqlError {
    SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "recovery is not in progress")
        .with_hint("Recovery control functions can only be executed during recovery.")
}

/// A position of the primary's log.
fn of_log(asked: &Asked<'_>, position: impl FnOnce(&wal::Positions) -> Lsn) -> NodeCall {
    match database(asked).map(Database::positions) {
        Ok(Some(positions)) => one(lsn(position(&positions))),
        Ok(None) => refuse(in_recovery()),
        Err(error) => refuse(error),
    }
}

/// A fact of a standby; NULL where there never was recovery.
fn of_recovery(asked: &Asked<'_>, fact: impl FnOnce(&Database) -> Datum) -> NodeCall {
    match database(asked) {
        Ok(database) => one(fact(database)),
        Err(error) => refuse(error),
    }
}

macro_rules! function {
    ($name:literal, $about:literal, [$($argument:literal: $ty:ident),*] -> $returns:ident, $call:expr) => {
        Function {
            name: $name,
            about: $about,
            arguments: &[$(($argument, TypeId::$ty)),*],
            required: <[&str]>::len(&[$($argument),*]),
            defaults: no_defaults,
            strict: true,
            returns: Returns::One(TypeId::$returns),
            call: $call,
        }
    };
}

fn argument_lsn(arguments: &[Datum]) -> Option<Lsn> {
    match arguments.first() {
        Some(Datum::Lsn(at)) => Some(Lsn::new(*at)),
        _ => None,
    }
}

/// The name of the segment that holds the byte before a position, and the position's offset in its own
/// segment.
fn file_of(asked: &Asked<'_>, function: &str, arguments: &[Datum]) -> Result<(String, i32), SqlError> {
    let database = database(asked)?;
    let at = argument_lsn(arguments).unwrap_or_default();
    if database.is_in_recovery() {
        let error = SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "recovery is in progress");
        return Err(error.with_hint(format!("{function}() cannot be executed during recovery.")));
    }
    let size = database.control().segment_size;
    let name = size.segment_before(at).file_name(database.timeline(), size);
    Ok((name, i32::try_from(size.offset_of(at)).unwrap_or(0)))
}

fn switch_wal(asked: &Asked<'_>) -> NodeCall {
    let database = match writable(asked) {
        Ok(database) => database.clone(),
        Err(error) => return refuse(error),
    };
    let archive = asked.archive.clone();
    NodeCall::Later(Box::pin(async move {
        let switched = host::task::blocking(move || {
            let wal = database.wal().ok_or_else(in_recovery)?;
            let failed = |error: wal::WalError| SqlError::new(SqlState::IO_ERROR, error.to_string());
            let switched = wal.switch_segment().map_err(failed)?;
            // Whoever switches wants the segment whole, and in the archive.
            wal.flush_all().map_err(failed)?;
            archive.notice_segments();
            Ok::<_, SqlError>(switched)
        });
        let at = switched.await.map_err(|error| SqlError::internal(error.to_string()))??;
        Ok(vec![vec![lsn(at.end)]])
    }))
}

/// pg_logical_emit_message: a record that says nothing to replay; whoever reads the log finds it, and counts
/// a transactional one if it finds its commit.
fn emit_message(asked: &Asked<'_>, arguments: &[Datum]) -> NodeCall {
    let database = match writable(asked) {
        Ok(database) => database.clone(),
        Err(error) => return refuse(error),
    };
    let transactional = arguments.first().and_then(Datum::as_bool).unwrap_or(false);
    let prefix = arguments.get(1).and_then(Datum::as_str).unwrap_or_default().to_owned();
    let content = match arguments.get(2) {
        Some(Datum::Bytea(bytes)) => bytes.to_vec(),
        Some(text) => text.as_str().unwrap_or_default().as_bytes().to_vec(),
        None => Vec::new(),
    };
    let write = |transaction: Option<wal::Xid>| async move {
        let written = host::task::blocking(move || {
            let log = database.wal().ok_or_else(in_recovery)?;
            let transaction = transaction.map(wal::Xid::low);
            let mut record = wal::message::logical_message(USER_DATABASE, transaction, &prefix, &content)
                .map_err(|error| SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, error.to_string()))?;
            let failed = |error: wal::WalError| SqlError::new(SqlState::IO_ERROR, error.to_string());
            Ok::<_, SqlError>(log.insert(&mut record).map_err(failed)?.end)
        });
        let end = written.await.map_err(|error| SqlError::internal(error.to_string()))??;
        Ok(vec![vec![lsn(end)]])
    };
    if transactional {
        NodeCall::WithXid(Box::new(|xid| Box::pin(write(Some(xid)))))
    } else {
        NodeCall::Later(Box::pin(write(None)))
    }
}

/// pg_promote(wait, wait_seconds)
fn promote(asked: &Asked<'_>, _: SettingActor, arguments: &[Datum]) -> NodeCall {
    let database = match database(asked) {
        Ok(database) => database,
        Err(error) => return refuse(error),
    };
    if !database.is_in_recovery() {
        return refuse(not_in_recovery());
    }
    let wait = arguments.first().and_then(Datum::as_bool).unwrap_or(true);
    let seconds = arguments.get(1).and_then(Datum::as_i64).unwrap_or(60);
    let Ok(seconds @ 1..) = u64::try_from(seconds) else {
        let what = "\"wait_seconds\" must not be negative or zero";
        return refuse(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, what));
    };
    asked.ground.log.log("received promote request");
    // Before redo hears of it, which then lets no query hold replay up.
    asked.handle.awaits_promotion.store(wait, Ordering::Release);
    if let Err(refused) = asked.request_promotion() {
        asked.handle.awaits_promotion.store(false, Ordering::Release);
        let error = SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, refused.message);
        return refuse(match refused.hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        });
    }
    if !wait {
        return one(Datum::Bool(true));
    }
    let (session, mut states) = (asked.handle.clone(), asked.life.states());
    NodeCall::Later(Box::pin(async move {
        let promoted = states.wait_for(|state| *state == NodeState::Running);
        let done =
            tokio::time::timeout(Duration::from_secs(seconds), promoted).await.is_ok_and(|r| r.is_ok());
        session.awaits_promotion.store(false, Ordering::Release);
        if !done {
            let plural = if seconds == 1 { "" } else { "s" };
            let what = format!("server did not promote within {seconds} second{plural}");
            session.warn(protocol::Report::warning(SqlState::WARNING, what));
        }
        Ok(vec![vec![Datum::Bool(done)]])
    }))
}

fn pause(asked: &Asked<'_>, paused: bool) -> NodeCall {
    let name = if paused { "pg_wal_replay_pause" } else { "pg_wal_replay_resume" };
    match asked.recovery() {
        Some(recovery) if recovery.feed.set_paused(paused) => one(void()),
        Some(_) => {
            let error =
                SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "standby promotion is ongoing");
            refuse(error.with_hint(format!("{name}() cannot be executed after promotion is triggered.")))
        }
        None => refuse(not_in_recovery()),
    }
}

fn paused(asked: &Asked<'_>, show: fn(PauseState) -> Datum) -> NodeCall {
    match asked.recovery() {
        Some(recovery) => one(show(recovery.feed.pause_state())),
        None => refuse(not_in_recovery()),
    }
}

/// The one value of type void.
fn void() -> Datum {
    Datum::text("")
}

/// A time of the control file, in seconds since 1970.
fn unix_time(seconds: i64) -> Timestamp {
    Timestamp::from_unix_micros(seconds.saturating_mul(1_000_000))
}

fn control_system(asked: &Asked<'_>) -> NodeCall {
    of_database(asked, |database| {
        let control = database.control();
        vec![
            Datum::Int4(1300),
            Datum::Int4(i32::try_from(control.catalog_version).unwrap_or(0)),
            Datum::Int8(control.system_id.get().cast_signed()),
            time(Some(unix_time(control.time))),
        ]
    })
}

fn control_checkpoint(asked: &Asked<'_>) -> NodeCall {
    of_database(asked, |database| {
        let control = database.control();
        let copy = &control.checkpoint_copy;
        let name = control.segment_size.segment_of(copy.redo).file_name(copy.timeline, control.segment_size);
        vec![
            lsn(control.checkpoint),
            lsn(copy.redo),
            Datum::text(name),
            timeline(copy.timeline),
            timeline(copy.previous_timeline),
            Datum::Bool(copy.full_page_writes),
            Datum::text(format!("{}:{}", copy.next_xid.epoch(), copy.next_xid.low())),
            time(Some(unix_time(copy.time))),
        ]
    })
}

fn control_recovery(asked: &Asked<'_>) -> NodeCall {
    of_database(asked, |database| {
        let control = database.control();
        let always = |at: Lsn| Datum::Lsn(at.get());
        vec![
            always(control.min_recovery_point),
            timeline(control.min_recovery_point_timeline),
            always(control.backup_start_point),
            always(control.backup_end_point),
            Datum::Bool(control.backup_end_required),
        ]
    })
}

fn of_database(asked: &Asked<'_>, row: impl FnOnce(&Database) -> Vec<Datum>) -> NodeCall {
    NodeCall::Now(database(asked).map(|database| vec![row(database)]))
}

/// The files of pg_wal.
fn list_log(asked: &Asked<'_>) -> sql_interface::Result<sql_interface::NodeRows> {
    let ground = asked.ground;
    let dir = ground.data_dir.join("pg_wal");
    let failed = |error: std::io::Error| {
        SqlError::new(SqlState::IO_ERROR, format!("could not open directory \"pg_wal\": {error}"))
    };
    let mut rows = Vec::new();
    for entry in ground.host.disk.list(&dir).map_err(failed)? {
        // A segment may be recycled between the two looks.
        let Ok(found) = ground.host.disk.metadata(&dir.join(&entry.name)) else { continue };
        if entry.kind != host::FileKind::File {
            continue;
        }
        let since_unix = found.modified.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let modified = Timestamp::from_unix_micros(i64::try_from(since_unix.as_micros()).unwrap_or(i64::MAX));
        rows.push(vec![
            Datum::text(entry.name),
            Datum::Int8(i64::try_from(found.len).unwrap_or(i64::MAX)),
            Datum::Timestamptz(modified.micros()),
        ]);
    }
    Ok(rows)
}

fn sleep(asked: &Asked<'_>, arguments: &[Datum]) -> NodeCall {
    let seconds = match arguments.first() {
        Some(Datum::Float8(seconds)) if *seconds > 0.0 => seconds.min(1e9),
        _ => 0.0,
    };
    let interrupt = asked.handle.interrupt();
    NodeCall::Later(Box::pin(async move {
        let _waiting = interrupt.as_ref().map(|interrupt| interrupt.waiting(storage::WaitEvent::Sleep));
        tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
        Ok(vec![vec![void()]])
    }))
}

pub(super) static FUNCTIONS: &[Function] = &[
    function!("pg_is_in_recovery", "Whether this server is a standby, or recovers from the archive.",
        [] -> Bool, |asked, _, _| {
        of_recovery(asked, |db| Datum::Bool(db.is_in_recovery()))
    }),
    function!("pg_current_wal_lsn", "The end of the log that was handed to the kernel.",
        [] -> Lsn, |asked, _, _| {
        of_log(asked, wal::Positions::written)
    }),
    function!("pg_current_wal_insert_lsn", "The end of the log.",
        [] -> Lsn, |asked, _, _| {
        of_log(asked, wal::Positions::inserted)
    }),
    function!("pg_current_wal_flush_lsn", "The end of the log that is durable here.",
        [] -> Lsn, |asked, _, _| {
        of_log(asked, wal::Positions::flushed)
    }),
    function!("pg_last_wal_replay_lsn", "The end of the log that was replayed here.",
        [] -> Lsn, |asked, _, _| {
        of_recovery(asked, |db| lsn(db.replayed()))
    }),
    function!("pg_last_wal_receive_lsn", "The end of the log that was received here and is durable.",
        [] -> Lsn, |asked, _, _| {
        one(lsn(asked.replication.map_or(Lsn::INVALID, |replication| replication.last_receive_lsn())))
    }),
    function!("pg_last_xact_replay_timestamp",
        "When the last transaction that was replayed here was committed.",
        [] -> Timestamptz, |asked, _, _| {
        of_recovery(asked, |db| {
            db.last_redone_commit().map_or(Datum::Null, |at| Datum::Timestamptz(at.micros()))
        })
    }),
    function!("pg_wal_replay_pause", "Pauses replay.",
        [] -> Void, |asked, _, _| pause(asked, true)),
    function!("pg_wal_replay_resume", "Ends a pause of replay; at a recovery target it promotes.",
        [] -> Void, |asked, _, _| pause(asked, false)),
    function!("pg_is_wal_replay_paused", "Whether a pause of replay was asked for.",
        [] -> Bool, |asked, _, _| {
        paused(asked, |state| Datum::Bool(state != PauseState::NotPaused))
    }),
    function!("pg_get_wal_replay_pause_state", "Whether replay goes on, is about to pause, or is paused.",
        [] -> Text, |asked, _, _| {
        paused(asked, |state| Datum::text(state.name()))
    }),
    function!("pg_switch_wal",
        "Ends the segment of the log, so that it can be archived; gives where it ended.",
        [] -> Lsn, |asked, _, _| switch_wal(asked)),
    function!("pg_logical_emit_message",
        "Writes a message into the log for its readers, with the transaction or at once; gives its end.",
        ["transactional": Bool, "prefix": Text, "content": Text] -> Lsn,
        |asked, _, arguments| emit_message(asked, arguments)),
    function!("pg_logical_emit_message",
        "Writes a message into the log for its readers, with the transaction or at once; gives its end.",
        ["transactional": Bool, "prefix": Text, "content": Bytea] -> Lsn,
        |asked, _, arguments| emit_message(asked, arguments)),
    function!("pg_walfile_name", "The name of the file of the log that holds a position.",
        ["lsn": Lsn] -> Text, |asked, _, arguments| {
        match file_of(asked, "pg_walfile_name", arguments) {
            Ok((name, _)) => one(Datum::text(name)),
            Err(error) => refuse(error),
        }
    }),
    Function {
        name: "pg_walfile_name_offset",
        about: "The file of the log that holds a position, and the position's offset in it.",
        arguments: &[("lsn", TypeId::Lsn)],
        required: 1,
        defaults: no_defaults,
        strict: true,
        returns: Returns::Record(&[("file_name", TypeId::Text), ("file_offset", TypeId::Int4)]),
        call: |asked, _, arguments| {
            let row = file_of(asked, "pg_walfile_name_offset", arguments);
            NodeCall::Now(row.map(|(name, offset)| vec![vec![Datum::text(name), Datum::Int4(offset)]]))
        },
    },
    Function {
        name: "pg_promote",
        about: "Makes a standby a primary; with wait it gives whether that was done in time.",
        arguments: &[("wait", TypeId::Bool), ("wait_seconds", TypeId::Int4)],
        required: 0,
        defaults: || vec![Datum::Bool(true), Datum::Int4(60)],
        strict: true,
        returns: Returns::One(TypeId::Bool),
        call: promote,
    },
    function!("pg_reload_conf", "Reads the configuration files again.",
        [] -> Bool, |asked, _, _| {
        asked.reload();
        one(Datum::Bool(true))
    }),
    Function {
        name: "pg_ls_waldir",
        about: "The files of the log.",
        arguments: &[],
        required: 0,
        defaults: no_defaults,
        strict: true,
        returns: Returns::Set(&[
            ("name", TypeId::Text),
            ("size", TypeId::Int8),
            ("modification", TypeId::Timestamptz),
        ]),
        call: |asked, _, _| NodeCall::Now(list_log(asked)),
    },
    function!("pg_sleep", "Waits for so many seconds.",
        ["seconds": Float8] -> Void, |asked, _, arguments| sleep(asked, arguments)),
    Function {
        name: "pg_control_system",
        about: "What the control file says of the cluster.",
        arguments: &[],
        required: 0,
        defaults: no_defaults,
        strict: true,
        returns: Returns::Record(&[
            ("pg_control_version", TypeId::Int4),
            ("catalog_version_no", TypeId::Int4),
            ("system_identifier", TypeId::Int8),
            ("pg_control_last_modified", TypeId::Timestamptz),
        ]),
        call: |asked, _, _| control_system(asked),
    },
    Function {
        name: "pg_control_checkpoint",
        about: "What the control file says of the last checkpoint.",
        arguments: &[],
        required: 0,
        defaults: no_defaults,
        strict: true,
        returns: Returns::Record(&[
            ("checkpoint_lsn", TypeId::Lsn),
            ("redo_lsn", TypeId::Lsn),
            ("redo_wal_file", TypeId::Text),
            ("timeline_id", TypeId::Int4),
            ("prev_timeline_id", TypeId::Int4),
            ("full_page_writes", TypeId::Bool),
            ("next_xid", TypeId::Text),
            ("checkpoint_time", TypeId::Timestamptz),
        ]),
        call: |asked, _, _| control_checkpoint(asked),
    },
    Function {
        name: "pg_control_recovery",
        about: "What the control file says of recovery.",
        arguments: &[],
        required: 0,
        defaults: no_defaults,
        strict: true,
        returns: Returns::Record(&[
            ("min_recovery_end_lsn", TypeId::Lsn),
            ("min_recovery_end_timeline", TypeId::Int4),
            ("backup_start_lsn", TypeId::Lsn),
            ("backup_end_lsn", TypeId::Lsn),
            ("end_of_backup_record_required", TypeId::Bool),
        ]),
        call: |asked, _, _| control_recovery(asked),
    },
];
