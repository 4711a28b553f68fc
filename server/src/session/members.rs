//! The question of another node of the cluster: who this one is, and what it is a witness of. It is answered
//! before a node lets anybody else in, as soon as its database is open, so that two that start at once hear
//! of one another. Who asks keeps a place in the lobby, and is no session.

use super::replication::{INT4, TEXT, columns};
use crate::auth;
use crate::connection::wire::{Exit, Wire};
use crate::node::Node;
use crate::replication::Replication;
use protocol::backend::{self, TransactionStatus};
use protocol::frame::FrameLimits;
use protocol::frontend::FrontendMessage;
use protocol::replication::{ExtensionCommand, OptionValue, ReplicationCommand, parse_command};
use protocol::{Report, SqlState};
use replica::roster::login::MEMBER_QUESTION;

/// Lets a member in and answers its questions, until it leaves.
pub(super) async fn serve(node: &Node, wire: &mut Wire) -> Result<(), Exit> {
    let starting = || Report::fatal(SqlState::CANNOT_CONNECT_NOW, "the database system is starting up");
    let Some(replication) = node.replication() else { return Err(Exit::Fatal(Box::new(starting()))) };
    let Some(login) = &replication.member_login else {
        let what = "this cluster has no secret by which its nodes know each other";
        return Err(Exit::Fatal(Box::new(Report::fatal(
            SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
            what,
        ))));
    };
    auth::authenticate_member(&node.ground.host, &node.ground.log, wire, login).await?;
    loop {
        backend::ready_for_query(&mut wire.out, TransactionStatus::Idle);
        wire.flush().await?;
        let (kind, body) = wire.next(FrameLimits::AUTHENTICATION).await?;
        match FrontendMessage::decode(kind, &body)? {
            FrontendMessage::Query(text) => match question(text) {
                Some(command) => answer(replication, wire, &command),
                None => {
                    let what = "a node of the cluster may ask another who it is, and nothing else";
                    Report::error(SqlState::FEATURE_NOT_SUPPORTED, what).encode(&mut wire.out);
                }
            },
            FrontendMessage::Terminate => return Ok(()),
            _ => {
                let what = "unexpected message from a node of the cluster";
                return Err(Exit::Fatal(Box::new(Report::fatal(SqlState::PROTOCOL_VIOLATION, what))));
            }
        }
    }
}

fn question(text: &str) -> Option<ExtensionCommand> {
    match parse_command(text) {
        Ok(Some(ReplicationCommand::Extension(command))) if command.name == MEMBER_QUESTION => Some(command),
        _ => None,
    }
}

fn answer(replication: &Replication, wire: &mut Wire, command: &ExtensionCommand) {
    let asks = command.options.iter().find(|(name, _)| name == "id").map(|(_, value)| value);
    if let Some(OptionValue::Text(id)) = asks
        && let Ok(id) = id.parse()
    {
        replication.roster.heard_of(id, replication.ground.host.clock.monotonic());
    }
    columns(
        wire,
        &[("systemid", TEXT), ("timeline", INT4), ("witnessed", INT4), ("content", TEXT), ("id", TEXT)],
    );
    let log = replication.log.state();
    let (system, timeline) = (replication.database.system_id().to_string(), log.history.target().to_string());
    let seen = replication.log.witnessed();
    let witnessed = seen.as_ref().map(|seen| seen.target().to_string());
    let content = seen.as_ref().map(|seen| seen.text());
    let id = replication.roster.own_id().to_string();
    let row = [Some(system.as_str()), Some(&timeline), witnessed.as_deref(), content, Some(&id)];
    backend::text_row(&mut wire.out, &row);
    backend::command_complete(&mut wire.out, "PLIMSOLL");
}
