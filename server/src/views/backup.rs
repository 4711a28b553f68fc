//! pg_backup_start and pg_backup_stop: an online backup whose files somebody else copies.

use super::control::database;
use super::{Asked, Function, Returns, refuse};
use crate::archive::stop_backup;
use protocol::{Report, Severity, SqlState};
use sql_interface::{NodeCall, NodeRows, SettingActor, SqlError};
use sql_types::{Datum, TypeId};
use std::pin::pin;
use std::time::Duration;
use tokio::sync::mpsc;

fn start(asked: &Asked<'_>, _: SettingActor, arguments: &[Datum]) -> NodeCall {
    let database = match database(asked) {
        Ok(database) => database.clone(),
        Err(error) => return refuse(error),
    };
    let label = arguments.first().and_then(Datum::as_str).unwrap_or_default().to_owned();
    if label.len() > 1024 {
        let what = "backup label too long (max 1024 bytes)";
        return refuse(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, what));
    }
    let fast = arguments.get(1).and_then(Datum::as_bool).unwrap_or(false);
    let config = asked.ground.config();
    let spread = config.checkpoint_timeout.mul_f64(config.checkpoint_completion_target.clamp(0.0, 1.0));
    let spread = if fast { Duration::ZERO } else { spread };
    let handle = asked.handle.clone();
    NodeCall::Later(Box::pin(async move {
        if handle.backup.lock().is_some() {
            let what = "a backup is already in progress in this session";
            return Err(SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, what)
                .with_hint("Run pg_backup_stop() and try again."));
        }
        let begun = database.start_backup(&label, spread).await.map_err(SqlError::from)?;
        let start = begun.start;
        *handle.backup.lock() = Some((database, begun));
        Ok(vec![vec![Datum::Lsn(start.get())]])
    }))
}

fn stop(asked: &Asked<'_>, _: SettingActor, arguments: &[Datum]) -> NodeCall {
    let wait = arguments.first().and_then(Datum::as_bool).unwrap_or(true);
    let (handle, archive, ground) = (asked.handle.clone(), asked.archive.clone(), asked.ground.clone());
    NodeCall::Later(Box::pin(async move {
        let Some((database, backup)) = handle.backup.lock().take() else {
            return Err(SqlError::new(
                SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
                "backup is not in progress",
            )
            .with_hint("Did you call pg_backup_start()?"));
        };
        let label = backup.label_file.clone();
        let (notes, mut noted) = mpsc::channel(1);
        let tell = |report: Report| match report.severity {
            // Who looks after the server is to know while it lasts; the client gets its notices at the end.
            Severity::Warning => ground.log.write(Some(&handle.log_context()), &report, None),
            _ => handle.warn(report),
        };
        let mut stopping = pin!(stop_backup(&archive, &database, backup, wait, &notes));
        let ended = loop {
            tokio::select! {
                biased;
                ended = &mut stopping => break ended.map_err(SqlError::from)?,
                Some(report) = noted.recv() => tell(report),
            }
        };
        while let Ok(report) = noted.try_recv() {
            tell(report);
        }
        // There are no tablespaces to map.
        let row = vec![Datum::Lsn(ended.stop.get()), Datum::from(label), Datum::text("")];
        Ok::<NodeRows, SqlError>(vec![row])
    }))
}

pub(super) static FUNCTIONS: &[Function] = &[
    Function {
        name: "pg_backup_start",
        about: "Begins an online backup: the files may be copied from then on, by whoever does it.",
        arguments: &[("label", TypeId::Text), ("fast", TypeId::Bool)],
        required: 1,
        defaults: || vec![Datum::Bool(false)],
        strict: true,
        returns: Returns::One(TypeId::Lsn),
        call: start,
    },
    Function {
        name: "pg_backup_stop",
        about: "Ends the online backup of the session; labelfile is to be put into the copy as backup_label.",
        arguments: &[("wait_for_archive", TypeId::Bool)],
        required: 0,
        defaults: || vec![Datum::Bool(true)],
        strict: true,
        returns: Returns::Record(&[
            ("lsn", TypeId::Lsn),
            ("labelfile", TypeId::Text),
            ("spcmapfile", TypeId::Text),
        ]),
        call: stop,
    },
];
