//! plimsoll_switchover(): has the node hand its role over to a standby.
//!
//! All that can be found out without touching anybody comes first: which standby it is, how this node will
//! follow it, and whether it keeps up. An error up to here has changed nothing, and no session was ended. The
//! answer is the last that the session hears of this server.

use super::control::{database, in_recovery};
use super::{Asked, Function, Returns, refuse};
use crate::connection::registry::SessionHandle;
use crate::error::ServerError;
use crate::node::states::Life;
use crate::replication::Replication;
use crate::replication::handover::{self, Asking, Order};
use protocol::SqlState;
use sql_interface::{NodeCall, NodeRows, SettingActor, SqlError};
use sql_types::{Datum, TypeId};
use std::sync::Arc;
use std::time::Duration;
use storage::CheckpointKind;

const NAME: &str = "plimsoll_switchover";

fn refused(error: ServerError) -> SqlError {
    let refusal = SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, error.message);
    match error.hint {
        Some(hint) => refusal.with_hint(hint),
        None => refusal,
    }
}

fn switchover(asked: &Asked<'_>, _: SettingActor, arguments: &[Datum]) -> NodeCall {
    let database = match database(asked) {
        Ok(database) => database,
        Err(error) => return refuse(error),
    };
    if database.is_in_recovery() {
        return refuse(in_recovery());
    }
    let Some(replication) = asked.replication else { return refuse(in_recovery()) };
    if !asked.life.starts_again {
        let what = "a server that is part of another program cannot hand its role over";
        return refuse(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, what));
    }
    let text = |at: usize| arguments.get(at).and_then(Datum::as_str).unwrap_or_default().to_owned();
    let timeout_ms = arguments.get(1).and_then(Datum::as_i64).and_then(|ms| u64::try_from(ms).ok());
    let Some(timeout_ms @ 1..) = timeout_ms else {
        let what = "\"timeout_ms\" must not be negative or zero";
        return refuse(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, what));
    };
    let request = Request {
        replication: replication.clone(),
        life: asked.life.clone(),
        session: asked.handle.clone(),
        standby: text(0),
        timeout: Duration::from_millis(timeout_ms),
        rejoin: text(2),
    };
    NodeCall::Later(Box::pin(request.run()))
}

struct Request {
    replication: Arc<Replication>,
    life: Arc<Life>,
    session: Arc<SessionHandle>,
    standby: String,
    timeout: Duration,
    rejoin: String,
}

impl Request {
    async fn run(self) -> Result<NodeRows, SqlError> {
        let Self { replication, life, session, standby, timeout, rejoin } = self;
        handover::check(&replication).map_err(refused)?;
        let row = handover::find(&replication, &standby).map_err(refused)?;
        let way = tokio::time::timeout(timeout, handover::way_to(&replication, &row, &rejoin)).await;
        let silent = || {
            let what =
                format!("cannot reach standby \"{standby}\" to follow it afterwards: it does not answer");
            ServerError::new(format!("{what} within {} ms", timeout.as_millis()))
        };
        let conninfo = way.unwrap_or_else(|_| Err(silent())).map_err(refused)?;
        // So that the one at the end is small.
        let taken = replication.database.checkpoint(CheckpointKind::Immediate).await;
        taken.map_err(|error| SqlError::new(SqlState::IO_ERROR, error.to_string()))?;
        let asking = Asking::begin(&replication, &row).map_err(refused)?;
        let deadline = replication.ground.host.clock.monotonic() + timeout;
        let kept_up = tokio::time::timeout(timeout, asking.until_it_keeps_up()).await;
        let late =
            || Err(format!("it does not replay what is flushed here within {} ms", timeout.as_millis()));
        if let Err(why) = kept_up.unwrap_or_else(|_| late()) {
            let error = ServerError::new(format!("standby \"{standby}\" cannot take over: {why}"))
                .with_hint("Look at the standby, or try again with more time.");
            return Err(refused(error));
        }
        session.await_answer();
        let order = Order {
            handover: asking.handover.clone(),
            standby: standby.clone(),
            conninfo: conninfo.clone(),
            deadline,
            session,
        };
        if !life.request_handover(order) {
            return Err(refused(ServerError::new("this server stops, or hands its role over already")));
        }
        asking.give();
        Ok(vec![vec![Datum::text(standby), Datum::text(conninfo)]])
    }
}

pub(super) static FUNCTIONS: &[Function] = &[Function {
    name: NAME,
    about: "Hands the primary's role over to a standby, and makes this server its standby; ends all sessions.",
    arguments: &[("standby", TypeId::Text), ("timeout_ms", TypeId::Int4), ("rejoin", TypeId::Text)],
    required: 1,
    defaults: || vec![Datum::Int4(10_000), Datum::text("")],
    strict: true,
    returns: Returns::Record(&[("standby", TypeId::Text), ("conninfo", TypeId::Text)]),
    call: switchover,
}];
