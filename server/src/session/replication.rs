//! WalSender commands: of a physical connection, and beside SQL in one with `replication=database`.

use super::{Failure, Session, SessionEnvironment};
use crate::connection::registry::{Activity, Member, SessionHandle, Statement};
use crate::connection::wire::{Exit, Wire};
use crate::node::Node;
use crate::replication::Replication;
use protocol::backend::{self, FieldDescription, TransactionStatus};
use protocol::frame::FrameLimits;
use protocol::frontend::FrontendMessage;
use protocol::replication::{COMMAND_BYTES_MAX, CommandError, ReplicationCommand, parse_command};
use protocol::{Report, Severity, SqlState};
use replica::sender::streams::SenderHandle;
use sql_interface::{Environment, SettingActor};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use storage::Database;
use wal::TimelineId;

/// Of a connection that takes replication commands only: their text, a length word and a final zero.
const FRAME_LIMITS: FrameLimits = FrameLimits { large: COMMAND_BYTES_MAX + 5, small: 10_000 };

/// text
pub(crate) const TEXT: u32 = 25;
/// integer
pub(crate) const INT4: u32 = 23;
/// bigint
pub(crate) const INT8: u32 = 20;

/// What replication commands work on.
pub(crate) struct WalSender {
    pub(crate) node: Arc<Node>,
    pub(crate) handle: Arc<SessionHandle>,
    pub(super) environment: Arc<SessionEnvironment>,
    /// That of the stream which has ended, until the next one or the connection's end.
    pub(super) row: Option<SenderHandle>,
}

/// Appends a RowDescription of text-format columns.
pub(crate) fn columns(wire: &mut Wire, columns: &[(&str, u32)]) {
    let fields = columns.iter().map(|(name, data_type)| {
        let type_len = match *data_type {
            INT4 => 4,
            INT8 => 8,
            _ => -1,
        };
        FieldDescription::computed(name, *data_type, type_len)
    });
    backend::row_description(&mut wire.out, fields);
}

/// Serves a connection that takes replication commands only.
pub(super) async fn run(mut replication: WalSender, mut wire: Wire, member: Member) -> (Wire, Exit) {
    let exit = loop {
        if let Err(exit) = replication.step(&mut wire).await {
            break exit;
        }
    };
    drop(member);
    (wire, exit)
}

impl WalSender {
    pub(super) fn new(
        node: Arc<Node>,
        handle: Arc<SessionHandle>,
        environment: Arc<SessionEnvironment>,
    ) -> Self {
        Self { node, handle, environment, row: None }
    }

    /// Takes one message of a physical connection.
    async fn step(&mut self, wire: &mut Wire) -> Result<(), Exit> {
        let (kind, body) = wire.next(FRAME_LIMITS).await?;
        let done = match FrontendMessage::decode(kind, &body)? {
            FrontendMessage::Query(text) => {
                self.handle.set_statement(Statement::Text(text.into()));
                match parsed(text) {
                    Ok(Some(command)) => self.execute(wire, text, command).await,
                    Ok(None) => Err(not_a_command()),
                    Err(error) => Err(syntax(&error)),
                }
            }
            FrontendMessage::Terminate => return Err(Exit::Gone),
            // What is left of a stream that ended.
            FrontendMessage::CopyData(_) | FrontendMessage::CopyDone | FrontendMessage::CopyFail(_) => {
                return Ok(());
            }
            _ => {
                let what = "extended query protocol not supported in a replication connection";
                return Err(Exit::Fatal(Box::new(Report::fatal(SqlState::PROTOCOL_VIOLATION, what))));
            }
        };
        match done {
            Ok(()) => {}
            Err(Failure::Exit(exit)) => return Err(exit),
            Err(Failure::Error(report)) => {
                let statement = self.handle.statement();
                self.node.ground.log.write(Some(&self.handle.log_context()), &report, Some(statement.text()));
                report.encode(&mut wire.out);
                super::startup::drop_temporary_slots(&self.node, &self.handle);
            }
        }
        backend::ready_for_query(&mut wire.out, TransactionStatus::Idle);
        self.handle.set_activity(Activity::Idle, self.node.ground.host.clock.now());
        wire.flush().await
    }

    /// Carries out a command, up to its CommandComplete.
    async fn execute(
        &mut self,
        wire: &mut Wire,
        text: &str,
        command: ReplicationCommand,
    ) -> Result<(), Failure> {
        self.environment.follow();
        self.handle.set_activity(Activity::Active, self.node.ground.host.clock.now());
        if self.node.ground.config().log_replication_commands {
            let message = format!("received replication command: {text}");
            let report = Report::new(Severity::Log, SqlState::SUCCESSFUL_COMPLETION, message);
            self.node.ground.log.write(Some(&self.handle.log_context()), &report, None);
        }
        match command {
            ReplicationCommand::IdentifySystem => self.identify_system(wire),
            ReplicationCommand::Show(name) => self.show(wire, &name),
            ReplicationCommand::TimelineHistory(timeline) => {
                self.timeline_history(wire, TimelineId::new(timeline))
            }
            ReplicationCommand::Logical(what) => {
                Err(Report::error(SqlState::FEATURE_NOT_SUPPORTED, format!("{what} is not supported")).into())
            }
            ReplicationCommand::CreateSlot(create) => self.create_slot(wire, &create),
            ReplicationCommand::DropSlot { name, wait } => self.drop_slot(wire, &name, wait).await,
            ReplicationCommand::ReadSlot { name } => self.read_slot(wire, &name),
            ReplicationCommand::BaseBackup(options) => self.base_backup(wire, &options).await,
            ReplicationCommand::StartReplication(start) => self.start_replication(wire, &start).await,
            ReplicationCommand::Extension(command) => self.extension(wire, &command).await,
        }
    }

    pub(super) fn database(&self) -> Result<&Database, Failure> {
        self.node.database().ok_or_else(|| starting().into())
    }

    pub(super) fn node_replication(&self) -> Result<&Arc<Replication>, Failure> {
        self.node.replication().ok_or_else(|| starting().into())
    }

    fn identify_system(&self, wire: &mut Wire) -> Result<(), Failure> {
        let database = self.database()?;
        columns(wire, &[("systemid", TEXT), ("timeline", INT4), ("xlogpos", TEXT), ("dbname", TEXT)]);
        // What streams follow: a standby's log may be on the next timeline before redo has come there.
        let log = self.node_replication()?.log.state();
        let (timeline, at) = (log.history.target().to_string(), log.flushed().to_string());
        let system = database.system_id().to_string();
        let name = Some(self.handle.database.as_str()).filter(|name| !name.is_empty());
        backend::text_row(&mut wire.out, &[Some(&system), Some(&timeline), Some(&at), name]);
        backend::command_complete(&mut wire.out, "IDENTIFY_SYSTEM");
        Ok(())
    }

    fn show(&self, wire: &mut Wire, name: &str) -> Result<(), Failure> {
        let superuser = self.handle.superuser.load(Ordering::Relaxed);
        let role = self.handle.role_oid.load(Ordering::Relaxed);
        let reads = |engine: &sql_session::SqlEngine| {
            engine.has_rights_of(role, sql_catalogue::rights::predefined::READ_ALL_SETTINGS)
        };
        let reads_settings = superuser || self.node.engine().is_some_and(reads);
        let actor = SettingActor { superuser, role, reads_settings, ..SettingActor::default() };
        if name.eq_ignore_ascii_case("all") {
            columns(wire, &[("name", TEXT), ("setting", TEXT), ("description", TEXT)]);
            for line in self.environment.show_all(actor) {
                let row = [line.name.as_str(), &line.value, &line.description].map(Some);
                backend::text_row(&mut wire.out, &row);
            }
            backend::command_complete(&mut wire.out, "SHOW");
            return Ok(());
        }
        let value = self.environment.show(actor, name)?.ok_or_else(|| {
            Report::error(
                SqlState::UNDEFINED_OBJECT,
                format!("unrecognized configuration parameter \"{name}\""),
            )
        })?;
        columns(wire, &[(name, TEXT)]);
        backend::text_row(&mut wire.out, &[Some(&value)]);
        backend::command_complete(&mut wire.out, "SHOW");
        Ok(())
    }

    fn timeline_history(&self, wire: &mut Wire, timeline: TimelineId) -> Result<(), Failure> {
        let name = timeline.history_file_name();
        let path = self.node.ground.data_dir.join("pg_wal").join(&name);
        let unreadable = |code, error| {
            let why = format!("could not open file \"pg_wal/{name}\": {}", host::os_message(&error));
            Report::error(code, why)
        };
        let content = match self.node.ground.host.disk.read(&path, 16 << 20) {
            Ok(content) => content,
            // A node that was cloned has its own timeline's alone, which begins with that of each ancestor.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let own = self.node_replication()?.log.state().history.ancestor(timeline);
                let text = own.map(|own| own.text().as_bytes().to_vec()).filter(|text| !text.is_empty());
                text.ok_or_else(|| unreadable(SqlState::UNDEFINED_FILE, error))?
            }
            Err(error) => return Err(unreadable(SqlState::IO_ERROR, error).into()),
        };
        columns(wire, &[("filename", TEXT), ("content", TEXT)]);
        backend::data_row(&mut wire.out, 2, |row| {
            backend::value(row, |value| value.extend_from_slice(name.as_bytes()));
            backend::value(row, |value| value.extend_from_slice(&content));
        });
        backend::command_complete(&mut wire.out, "TIMELINE_HISTORY");
        Ok(())
    }
}

fn starting() -> Report {
    Report::error(SqlState::CANNOT_CONNECT_NOW, "the database system is starting up")
}

/// Reads a command, a long one where nobody waits for it.
fn parsed(text: &str) -> Result<Option<ReplicationCommand>, CommandError> {
    sql_types::work::aside(text.len(), || parse_command(text))
}

fn syntax(error: &CommandError) -> Failure {
    Report::error(error.code(), error.to_string()).into()
}

fn not_a_command() -> Failure {
    let what = "cannot execute SQL commands in WAL sender for physical replication";
    Report::error(SqlState::FEATURE_NOT_SUPPORTED, what)
        .with_hint("Connect with replication=database, or without it, for SQL.")
        .into()
}

impl Session {
    /// Carries out a replication command of a `replication=database` session; None if the text is SQL.
    pub(super) async fn replication_command(&mut self, text: &str) -> Option<Result<(), Exit>> {
        self.replication.as_ref()?;
        let parsed = match parsed(text) {
            Ok(None) => return None,
            Ok(Some(command)) => Ok(command),
            Err(error) => Err(syntax(&error)),
        };
        let mut replication = self.replication.take()?;
        let done = match parsed {
            Ok(command) => replication.execute(&mut self.wire, text, command).await,
            Err(failure) => Err(failure),
        };
        self.replication = Some(replication);
        Some(match done {
            Ok(()) => self.ready().await,
            Err(Failure::Exit(exit)) => Err(exit),
            Err(Failure::Error(report)) => match self.failed(*report) {
                Ok(()) => self.ready().await,
                Err(exit) => Err(exit),
            },
        })
    }
}
