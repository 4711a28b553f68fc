//! The questions of another node of the cluster: who this one is, what it is a witness of, and how far it is.
//! They are answered before a node lets anybody else in, as soon as its database is open, so that two that
//! start at once hear of one another. Who asks keeps a place in the lobby, and is no session.

use super::replication::{INT4, TEXT, columns};
use crate::auth;
use crate::connection::wire::{Exit, Wire};
use crate::node::Node;
use crate::replication::asking::{self, own_witness};
use crate::replication::{Replication, fencing, loss};
use protocol::backend::{self, TransactionStatus};
use protocol::frame::FrameLimits;
use protocol::frontend::FrontendMessage;
use protocol::replication::{ExtensionCommand, OptionValue, ReplicationCommand, parse_command};
use protocol::{Report, SqlState};
use replica::directory_id::DirectoryId;
use replica::roster::login::MEMBER_QUESTION;
use replica::timeline::loss::wire::{
    COMMITS_COLUMNS, COMMITS_QUESTION, POSITIONS_COLUMNS, POSITIONS_QUESTION,
};
use std::sync::Arc;
use wal::history::TimelineHistory;
use wal::{Lsn, TimelineId};

/// What a node may ask: who this one is, how far it is, and what it has in a stretch of its log.
const QUESTIONS: [&str; 3] = [MEMBER_QUESTION, POSITIONS_QUESTION, COMMITS_QUESTION];

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
                // What it says now may be untrue in a moment, and who asks may be about to write.
                Some(command) if command.name == MEMBER_QUESTION && node.is_being_promoted() => {
                    let what = "this server is being promoted";
                    Report::error(SqlState::CANNOT_CONNECT_NOW, what).encode(&mut wire.out);
                }
                Some(command) => answer(replication, wire, &command).await,
                None => {
                    let what =
                        "a node of the cluster may ask another who it is and how far, and nothing else";
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
        Ok(Some(ReplicationCommand::Extension(command))) if QUESTIONS.contains(&command.name.as_str()) => {
            Some(command)
        }
        _ => None,
    }
}

async fn answer(replication: &Arc<Replication>, wire: &mut Wire, command: &ExtensionCommand) {
    match command.name.as_str() {
        POSITIONS_QUESTION => match loss::own(replication).await {
            Ok(told) => row(wire, &POSITIONS_COLUMNS, &told.row()),
            Err(error) => Report::error(SqlState::IO_ERROR, error.to_string()).encode(&mut wire.out),
        },
        COMMITS_QUESTION => answer_commits(replication, wire, command).await,
        _ => answer_who(replication, wire, command),
    }
}

/// The text that is given for an option.
fn option<'a>(command: &'a ExtensionCommand, name: &str) -> Option<&'a str> {
    match command.options.iter().find(|(option, _)| option == name) {
        Some((_, OptionValue::Text(text))) => Some(text),
        _ => None,
    }
}

async fn answer_commits(replication: &Arc<Replication>, wire: &mut Wire, command: &ExtensionCommand) {
    let position = |name: &str| option(command, name)?.parse::<Lsn>().ok();
    let (Some(from), Some(upto)) = (position("from"), position("upto")) else {
        let what = "PLIMSOLL commits needs two positions, from and upto";
        return Report::error(SqlState::SYNTAX_ERROR, what).encode(&mut wire.out);
    };
    match loss::own_commits(replication, from, upto).await {
        Some(commits) => row(wire, &COMMITS_COLUMNS, &commits.row()),
        None => {
            let what = "the database system is shutting down";
            Report::error(SqlState::CANNOT_CONNECT_NOW, what).encode(&mut wire.out);
        }
    }
}

fn row(wire: &mut Wire, names: &[&str], values: &[Option<String>]) {
    let texts: Vec<_> = names.iter().map(|name| (*name, TEXT)).collect();
    columns(wire, &texts);
    let values: Vec<_> = values.iter().map(Option::as_deref).collect();
    backend::text_row(&mut wire.out, &values);
    backend::command_complete(&mut wire.out, "PLIMSOLL");
}

/// What this node tells of timelines.
pub(super) struct Known {
    /// The branch of which it is a witness.
    pub(super) witnessed: Option<TimelineHistory>,
    /// The newest timeline of all.
    pub(super) newest: TimelineId,
    /// Those of which it was told.
    pub(super) heard: Vec<TimelineHistory>,
}

pub(super) fn known(replication: &Replication) -> Known {
    let (witnessed, roster) = (replication.log.witnessed(), &replication.roster);
    let heard = roster.heard_branches(&own_witness(replication));
    Known { witnessed, newest: asking::newest(replication), heard }
}

fn answer_who(replication: &Replication, wire: &mut Wire, command: &ExtensionCommand) {
    let mut knows = false;
    if let Some(id) = option(command, "id").and_then(|id| id.parse::<DirectoryId>().ok()) {
        knows = replication.roster.has(id);
        replication.roster.heard_of(id, replication.ground.host.clock.monotonic());
    }
    // A promotion that follows takes another number. Who asks may have replaced this server, and says so.
    if let Some(newest) = option(command, "newest").and_then(|number| number.parse::<TimelineId>().ok())
        && replication.roster.hear_of_timeline(newest)
        && newest > replication.log.state().history.target()
    {
        fencing::inquire(replication);
    }
    columns(
        wire,
        &[
            ("systemid", TEXT),
            ("timeline", INT4),
            ("witnessed", INT4),
            ("content", TEXT),
            ("id", TEXT),
            ("newest", INT4),
            ("knows", TEXT),
        ],
    );
    let log = replication.log.state();
    let (system, timeline) = (replication.database.system_id().to_string(), log.history.target().to_string());
    let Known { witnessed: seen, newest, heard } = known(replication);
    let witnessed = seen.as_ref().map(|seen| seen.target().to_string());
    let content = seen.as_ref().map(|seen| seen.text());
    let (id, newest) = (replication.roster.own_id().to_string(), newest.to_string());
    let system = Some(system.as_str());
    let knows = Some(if knows { "t" } else { "f" });
    let row = [system, Some(&timeline), witnessed.as_deref(), content, Some(&id), Some(&newest), knows];
    backend::text_row(&mut wire.out, &row);
    for history in heard {
        let timeline = history.target().to_string();
        let row = [system, None, Some(timeline.as_str()), Some(history.text()), None, None, None];
        backend::text_row(&mut wire.out, &row);
    }
    backend::command_complete(&mut wire.out, "PLIMSOLL");
}
