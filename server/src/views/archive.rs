//! pg_stat_archiver, restore points and transaction ids: what recovery to a point is prepared and watched
//! with.

use super::Asked;
use super::control::{in_recovery, writable};
use super::{Function, Returns, View, lsn, no_defaults, one, refuse, text, time};
use protocol::SqlState;
use sql_interface::{NodeCall, SettingActor, SqlError};
use sql_types::{Datum, TypeId};
use storage::Database;
use wal::xlog::XlogRecord;

pub(super) static VIEWS: &[View] = &[view! {
    "pg_stat_archiver", 12_253, "What archive_command has done since the counters were reset; one row.",
    rows |asked, _actor| asked.archive.archiver().map(|archiver| archiver.stats()),
    each |stats| [
        let (archived, archived_at) = stats.last_archived.unzip();
        let (failed, failed_at) = stats.last_failed.unzip();
    ] {
        "archived_count": Int8 = Datum::Int8(stats.archived),
        "last_archived_wal": Text = text(archived),
        "last_archived_time": Timestamptz = time(archived_at),
        "failed_count": Int8 = Datum::Int8(stats.failed),
        "last_failed_wal": Text = text(failed),
        "last_failed_time": Timestamptz = time(failed_at),
        "stats_reset": Timestamptz = time(Some(stats.reset)),
    }
}];

/// pg_stat_reset_shared(target)
fn reset_shared(asked: &Asked<'_>, _: SettingActor, arguments: &[Datum]) -> NodeCall {
    match arguments.first().and_then(Datum::as_str).unwrap_or_default() {
        "archiver" => {
            if let Some(archiver) = asked.archive.archiver() {
                archiver.reset_stats(asked.ground.host.clock.now());
            }
            one(Datum::text(""))
        }
        // Counted nowhere here.
        "bgwriter" | "wal" | "recovery_prefetch" => one(Datum::text("")),
        other => refuse(
            SqlError::new(
                SqlState::INVALID_PARAMETER_VALUE,
                format!("unrecognized reset target: \"{other}\""),
            )
            .with_hint("Target must be \"archiver\", \"bgwriter\", \"recovery_prefetch\", or \"wal\"."),
        ),
    }
}

/// pg_create_restore_point(name)
fn create_restore_point(asked: &Asked<'_>, _: SettingActor, arguments: &[Datum]) -> NodeCall {
    let database = match writable(asked) {
        Ok(database) => database.clone(),
        Err(error) => return refuse(error),
    };
    let ground = asked.ground.clone();
    if ground.config().wal_level.as_ref() == "minimal" {
        let what = "WAL level not sufficient for creating a restore point";
        let hint = "wal_level must be set to \"replica\" or \"logical\" at server start.";
        return refuse(SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, what).with_hint(hint));
    }
    let name = arguments.first().and_then(Datum::as_str).unwrap_or_default().to_owned();
    if name.len() >= 64 {
        let what = "value too long for restore point (maximum 63 characters)";
        return refuse(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, what));
    }
    NodeCall::Later(Box::pin(async move {
        let made = host::task::blocking(move || {
            let wal = database.wal().ok_or_else(in_recovery)?;
            let point = XlogRecord::RestorePoint { name: name.clone(), time: ground.host.clock.now() };
            let mut record = point.encode().map_err(|error| SqlError::internal(error.to_string()))?;
            let failed = |error: wal::WalError| SqlError::new(SqlState::IO_ERROR, error.to_string());
            let placed = wal.insert(&mut record).map_err(failed)?;
            wal.flush(placed.end).map_err(failed)?;
            ground.log.log(format!("restore point \"{name}\" created at {}", placed.end));
            Ok::<_, SqlError>(placed.end)
        });
        let end = made.await.map_err(|error| SqlError::internal(error.to_string()))??;
        Ok(vec![vec![lsn(end)]])
    }))
}

fn transaction_id(asked: &Asked<'_>, assign: bool, as_xid8: bool) -> NodeCall {
    if assign && asked.database().is_some_and(Database::is_in_recovery) {
        let what = "cannot execute pg_current_xact_id() during recovery";
        return refuse(SqlError::new(SqlState::READ_ONLY_SQL_TRANSACTION, what));
    }
    NodeCall::TransactionId { assign, as_xid8 }
}

macro_rules! transaction_id {
    ($name:literal, $about:literal, $ty:ident, $assign:literal) => {
        Function {
            name: $name,
            about: $about,
            arguments: &[],
            required: 0,
            defaults: no_defaults,
            strict: true,
            returns: Returns::One(TypeId::$ty),
            call: |asked, _, _| transaction_id(asked, $assign, matches!(TypeId::$ty, TypeId::Xid8)),
        }
    };
}

/// How many transactions ago an id was the next one; special ids are older than all others.
fn age(asked: &Asked<'_>, _: SettingActor, arguments: &[Datum]) -> NodeCall {
    let Some(Datum::Xid(xid)) = arguments.first() else { return one(Datum::Null) };
    let next = asked.database().map_or(0, |database| database.next_xid().low());
    let age = if *xid < wal::Xid::FIRST_NORMAL.low() { i32::MAX } else { next.wrapping_sub(*xid) as i32 };
    one(Datum::Int4(age))
}

pub(super) static FUNCTIONS: &[Function] = &[
    Function {
        name: "mxid_age",
        about: "How many multixacts have begun since the one of this id: there are none.",
        arguments: &[("xid", TypeId::Xid)],
        required: 1,
        defaults: no_defaults,
        strict: true,
        returns: Returns::One(TypeId::Int4),
        call: |_, _, _| one(Datum::Int4(0)),
    },
    Function {
        name: "age",
        about: "How many transactions have begun since the one of this id.",
        arguments: &[("xid", TypeId::Xid)],
        required: 1,
        defaults: no_defaults,
        strict: true,
        returns: Returns::One(TypeId::Int4),
        call: age,
    },
    transaction_id!(
        "txid_current",
        "The number of this transaction, which gets one if it has none.",
        Int8,
        true
    ),
    transaction_id!(
        "pg_current_xact_id",
        "The number of this transaction, which gets one if it has none.",
        Xid8,
        true
    ),
    transaction_id!(
        "txid_current_if_assigned",
        "The number of this transaction, or NULL if it has none yet.",
        Int8,
        false
    ),
    transaction_id!(
        "pg_current_xact_id_if_assigned",
        "The number of this transaction, or NULL if it has none yet.",
        Xid8,
        false
    ),
    Function {
        name: "pg_create_restore_point",
        about: "Writes a named point into the log, to which recovery can go; gives its position.",
        arguments: &[("name", TypeId::Text)],
        required: 1,
        defaults: no_defaults,
        strict: true,
        returns: Returns::One(TypeId::Lsn),
        call: create_restore_point,
    },
    Function {
        name: "pg_stat_reset_shared",
        about: "Sets the counters of pg_stat_archiver back.",
        arguments: &[("target", TypeId::Text)],
        required: 1,
        defaults: no_defaults,
        strict: true,
        returns: Returns::One(TypeId::Void),
        call: reset_shared,
    },
];
