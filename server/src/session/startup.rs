//! How a session begins: limits, authentication, and what a client is told when it is in; and how it ends.

use super::replication::{self, WalSender};
use super::rows::Scratch;
use super::startup_options::{self, Asked};
use super::{Limits, Session, SessionEnvironment, from_sql, lost_server};
use super::{members, packets};
use crate::auth::{self, Authenticator, Claim};
use crate::connection::lobby::Visitor;
use crate::connection::registry::{Activity, EndedFor, Full, Member, NewSession, SessionHandle, SessionKind};
use crate::connection::socket::Socket;
use crate::connection::wire::{Exit, Wire};
use crate::log::LogContext;
use crate::node::Node;
use crate::state::NodeState;
use crate::state::StopMode;
use protocol::backend::{self, TransactionStatus};
use protocol::frame::FrameLimits;
use protocol::startup::{ReplicationMode, StartupParameters};
use protocol::{Report, Severity, SqlState};
use replica::roster::login::MEMBER_USER;
use sql_interface::{Canceller, clipped};
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use storage::ConflictKind;
use tokio::runtime::{Handle, RuntimeFlavor};

fn fatal(code: SqlState, message: impl Into<String>) -> Exit {
    Exit::Fatal(Box::new(Report::fatal(code, message)))
}

/// Serves one connection to its end.
pub(crate) async fn serve(node: Arc<Node>, socket: Socket, visitor: Visitor) {
    let config = node.ground.config();
    // A socket that takes no options still serves.
    let _ = socket.configure(&config);
    let peer = socket.peer();
    if config.log_connections {
        let from = match peer {
            Some(peer) => format!("host={} port={}", peer.ip(), peer.port()),
            None => "host=[local]".to_owned(),
        };
        let context = LogContext {
            host: peer.map_or_else(|| "[local]".to_owned(), |peer| peer.ip().to_string()),
            port: peer.map(|peer| peer.port()),
            backend_type: "not initialized",
            started: node.ground.host.clock.now(),
            ..LogContext::default()
        };
        let message = format!("connection received: {from}");
        let report = Report::new(Severity::Log, SqlState::SUCCESSFUL_COMPLETION, message);
        node.ground.log.write(Some(&context), &report, None);
    }
    let mut wire = Wire::new(socket);
    let limit = config.authentication_timeout;
    let entered = tokio::select! {
        biased;
        entered = enter(&node, &mut wire, &visitor) => entered,
        () = visitor.shown_out() => {
            let report = closed(&node).unwrap_or_else(|| Full::Connections.report("", &config));
            // The log was told of all who had to leave at once.
            return farewell(&node, &mut wire, Exit::Fatal(Box::new(report)), false).await;
        }
        () = tokio::time::sleep(limit) => {
            Err(fatal(SqlState::QUERY_CANCELED, "canceling authentication due to timeout"))
        }
    };
    drop(visitor);
    let entered = match entered {
        Ok(Some(entered)) => entered,
        Ok(None) => return,
        Err(exit) => return farewell(&node, &mut wire, exit, true).await,
    };
    Box::pin(attend(node, wire, entered)).await;
}

/// Serves one that was let in. What a session's work may need is apart from what a connection is made with:
/// those who never log in take none of it.
async fn attend(node: Arc<Node>, wire: Wire, entered: Entered) {
    let handle = entered.member.handle.clone();
    match entered.kind {
        Kind::Physical(replication) => {
            let canceller = Canceller::default();
            keep(&node, &handle, &canceller);
            let run = pin!(replication::run(replication, wire, entered.member));
            match caught(pin!(canceller.keeping(run))).await {
                Ok((mut wire, exit)) => farewell(&node, &mut wire, exit, true).await,
                // The connection went with it.
                Err(Panicked) => node.ground.log.write(Some(&handle.log_context()), &panicked(), None),
            }
        }
        Kind::Sql(start) => {
            let (sql, environment, replication) = *start;
            keep(&node, &handle, sql.canceller());
            let mut session = Session::new(&node, wire, entered.member, (sql, environment, replication));
            session.limit_silence();
            let canceller = session.canceller.clone();
            let ran = caught(pin!(canceller.keeping(pin!(session.run())))).await;
            let logged = matches!(&ran, Ok(Exit::Fatal(_))) && session.active;
            let exit = ran.unwrap_or_else(|Panicked| {
                // What lies there may be half a message.
                session.wire.out.clear();
                Exit::Fatal(Box::new(panicked()))
            });
            farewell(&node, &mut session.wire, exit, !logged).await;
        }
    }
    left(&node, &handle);
}

/// Has a session stopped by others through this, take memory within the limit, and compute for long where
/// nobody else waits.
fn keep(node: &Node, handle: &SessionHandle, canceller: &Canceller) {
    handle.set_canceller(canceller.clone());
    canceller.set_memory_limit(node.memory.clone());
    // A session is a task of its own; where there are other threads they take over what else this one has to
    // do.
    if Handle::current().runtime_flavor() == RuntimeFlavor::MultiThread {
        canceller.let_work_leave();
    }
}

impl Session {
    fn new(
        node: &Arc<Node>,
        wire: Wire,
        member: Member,
        (sql, environment, replication): (
            sql_session::SqlSession,
            Arc<SessionEnvironment>,
            Option<WalSender>,
        ),
    ) -> Self {
        let limits = Limits::of(&environment);
        *member.handle.log_levels.lock() = limits.log_levels;
        Self {
            limits,
            node: node.clone(),
            wire,
            handle: member.handle.clone(),
            environment,
            canceller: sql.canceller().clone(),
            unnamed: None,
            skipping: false,
            active: false,
            deadline: None,
            statement_over: false,
            scratch: Scratch::default(),
            told_changes: 0,
            told_commit: None,
            told_snapshot: None,
            frame_limits: FrameLimits::SERVER,
            began_fenced: is_fenced(node),
            tracked: None,
            replication,
            _member: member,
            sql,
        }
    }
}

/// Whether the server was replaced.
pub(super) fn is_fenced(node: &Node) -> bool {
    node.database().is_some_and(|database| database.fenced().is_some())
}

/// Drops the temporary slots of a session: it has ended, or met an error.
pub(super) fn drop_temporary_slots(node: &Node, handle: &SessionHandle) {
    if let Some(replication) = node.replication()
        && let Err(error) = replication.slots.release_session(handle.key.pid)
    {
        node.ground.log.warning(format!("could not drop temporary replication slots: {error}"));
    }
}

/// A session has ended: its temporary slots go, and the log hears of it if the settings say so.
fn left(node: &Node, handle: &SessionHandle) {
    if let Some((database, backup)) = handle.backup.lock().take() {
        node.ground.log.warning(format!("aborting backup \"{}\": its session has ended", backup.label));
        database.abort_backup(backup);
    }
    drop_temporary_slots(node, handle);
    if let Some(replication) = node.replication() {
        // What it needed of old versions, as a standby without a slot or with a temporary one, goes with it.
        replication.update_horizon();
    }
    if node.ground.config().log_disconnections {
        let idle = Activity::Idle.name().unwrap_or_default().to_owned();
        let context = LogContext { command: idle, ..handle.log_context() };
        let seconds = node.ground.host.clock.now().since(handle.started).as_secs_f64();
        let (hours, minutes, rest) = (seconds / 3600.0, seconds / 60.0 % 60.0, seconds % 60.0);
        let port = handle.client.map(|address| format!(" port={}", address.port())).unwrap_or_default();
        let report = Report::new(
            Severity::Log,
            SqlState::SUCCESSFUL_COMPLETION,
            format!(
                "disconnection: session time: {:.0}:{:02.0}:{rest:06.3} user={} database={} host={}{port}",
                hours.floor(),
                minutes.floor(),
                handle.user,
                handle.database,
                context.host
            ),
        );
        node.ground.log.write(Some(&context), &report, None);
    }
}

/// A panic in a session's own layers. What it held below has been let go of, or the process would have ended
/// (`host::vital`).
struct Panicked;

/// Runs what `work` does, and stops a panic of it here: it ends this session, and no other.
async fn caught<F: Future>(mut work: Pin<&mut F>) -> Result<F::Output, Panicked> {
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
        Ok(polled) => polled.map(Ok),
        Err(_) => Poll::Ready(Err(Panicked)),
    })
    .await
}

/// What the client hears of it, and the log; the panic's own words are on standard error.
fn panicked() -> Report {
    let what = "terminating connection because of a fault in the server's program";
    Report::fatal(SqlState::INTERNAL_ERROR, what)
        .with_detail("The current transaction was rolled back, other sessions go on.")
        .with_hint("The server's standard error names the place. Please report it.")
}

/// What a session hears that replay has ended.
fn conflict_report(conflict: ConflictKind) -> Report {
    let what = "terminating connection due to conflict with recovery";
    Report::fatal(SqlState::SERIALIZATION_FAILURE, what)
        .with_detail(conflict.detail())
        .with_hint("In a moment you should be able to reconnect to the database and repeat your command.")
}

/// What a session hears that the server ends of its own accord; None if somebody asked for that.
pub(super) fn end_report(node: &Node, handle: &SessionHandle) -> Option<Report> {
    match handle.ended_for()? {
        EndedFor::Conflict(kind) => Some(conflict_report(kind)),
        EndedFor::Fence => {
            let reason = node.database().and_then(storage::Database::fenced)?;
            let why = storage::Error::Fenced { reason }.to_string();
            Some(lost_server(&why, Some("The transaction that this session had open is rolled back.")))
        }
    }
}

/// What a session hears that was told to end.
fn terminated_report(node: &Node, handle: Option<&SessionHandle>) -> Report {
    handle.and_then(|handle| end_report(node, handle)).unwrap_or_else(|| {
        let what = "terminating connection due to administrator command";
        Report::fatal(SqlState::ADMIN_SHUTDOWN, what)
    })
}

/// Tells the client why the session ends, as far as it still listens.
async fn farewell(node: &Node, wire: &mut Wire, exit: Exit, log: bool) {
    let report = match exit {
        Exit::Gone => {
            wire.out.clear();
            return wire.close_now().await;
        }
        Exit::Terminated => Box::new(match node.state() {
            NodeState::Stopping(StopMode::Immediate) => {
                let what = "terminating connection due to immediate shutdown command";
                Report::warning(SqlState::ADMIN_SHUTDOWN, what)
            }
            _ => terminated_report(node, wire.handle.as_deref()),
        }),
        Exit::Fatal(report) => report,
    };
    if log {
        let context = wire.handle.as_ref().map(|handle| handle.log_context());
        node.ground.log.write(context.as_ref(), &report, None);
    }
    report.encode(&mut wire.out);
    wire.close_now().await;
}

/// A connection that was let in.
struct Entered {
    member: Member,
    kind: Kind,
}

enum Kind {
    Sql(Box<(sql_session::SqlSession, Arc<SessionEnvironment>, Option<WalSender>)>),
    Physical(WalSender),
}

/// Why no session can begin now.
pub(super) fn closed(node: &Node) -> Option<Report> {
    let report = |message: &str| Report::fatal(SqlState::CANNOT_CONNECT_NOW, message);
    match node.state() {
        NodeState::Running | NodeState::HotStandby => None,
        NodeState::Starting => Some(report("the database system is starting up")),
        NodeState::Recovering if node.ground.config().hot_standby => Some(
            report("the database system is not yet accepting connections")
                .with_detail("Consistent recovery state has not been yet reached."),
        ),
        NodeState::Recovering => Some(
            report("the database system is not accepting connections")
                .with_detail("Hot standby mode is disabled."),
        ),
        NodeState::Stopping(_) => Some(report("the database system is shutting down")),
    }
}

/// Agrees on a protocol, and finds out what kind of session is wanted.
fn negotiate(wire: &mut Wire, parameters: &StartupParameters) -> Result<ReplicationMode, Exit> {
    if parameters.major() != 3 {
        return Err(packets::unsupported(parameters.major(), parameters.minor()));
    }
    let unknown: Vec<&str> = parameters.extensions().collect();
    if parameters.minor() > 0 || !unknown.is_empty() {
        backend::negotiate_protocol_version(&mut wire.out, unknown.into_iter());
    }
    parameters.replication().map_err(|value| {
        let what = format!("invalid value for parameter \"replication\": \"{value}\"");
        let hint = "Valid values are: \"false\", 0, \"true\", 1, \"database\".";
        Exit::Fatal(Box::new(Report::fatal(SqlState::INVALID_PARAMETER_VALUE, what).with_hint(hint)))
    })
}

/// Who wants to log in, and where.
fn claim(parameters: &StartupParameters, mode: ReplicationMode) -> Result<Claim, Exit> {
    // No name in the catalogue is longer.
    let user = clipped(parameters.get("user").unwrap_or_default()).to_owned();
    if user.is_empty() {
        let what = "no PostgreSQL user name specified in startup packet";
        return Err(fatal(SqlState::INVALID_AUTHORIZATION_SPECIFICATION, what));
    }
    let physical = mode == ReplicationMode::Physical;
    let database = match parameters.get("database") {
        _ if physical => String::new(),
        Some(name) if !name.is_empty() => clipped(name).to_owned(),
        _ => user.clone(),
    };
    Ok(Claim { user, database, replication: physical })
}

/// Takes over what ALTER ROLE ... SET and its kin say that this session begins with.
async fn begin_with_settings(
    node: &Node,
    claim: &Claim,
    environment: &SessionEnvironment,
) -> Result<(), Exit> {
    let Some(engine) = node.engine().filter(|_| !claim.replication) else { return Ok(()) };
    let settings = engine
        .start_settings(&claim.user, &claim.database)
        .await
        .map_err(|error| ended_by(from_sql(&error)))?;
    environment.begin_with(&settings);
    Ok(())
}

async fn enter(node: &Arc<Node>, wire: &mut Wire, visitor: &Visitor) -> Result<Option<Entered>, Exit> {
    let Some(parameters) = packets::parameters(node, wire).await? else { return Ok(None) };
    visitor.is_heard();
    Box::pin(log_in(node, wire, parameters)).await
}

/// Lets in who has said who it is, if it may come; None if it was no session that was wanted.
async fn log_in(
    node: &Arc<Node>,
    wire: &mut Wire,
    parameters: StartupParameters,
) -> Result<Option<Entered>, Exit> {
    let mode = negotiate(wire, &parameters)?;
    let claim = claim(&parameters, mode)?;
    if claim.replication && claim.user == MEMBER_USER {
        members::serve(node, wire).await?;
        return Ok(None);
    }
    if let Some(report) = closed(node) {
        return Err(Exit::Fatal(Box::new(report)));
    }
    let kind = if mode == ReplicationMode::Off { SessionKind::Client } else { SessionKind::WalSender };
    let new = NewSession {
        kind,
        user: claim.user.clone(),
        database: claim.database.clone(),
        client: wire.socket().peer(),
        server: wire.socket().local(),
        encryption: wire.socket().encryption().cloned(),
        started: node.ground.host.clock.now(),
    };
    let handle = node.sessions.candidate(new, node.ground.host.entropy.as_ref());
    wire.handle = Some(handle.clone());

    let current = node.ground.current();
    let by = Authenticator {
        host: &node.ground.host,
        log: &node.ground.log,
        logs_connections: current.config.log_connections,
        rules: &current.login,
        asks_certificates: current.tls.as_ref().is_some_and(|tls| tls.asks_clients()),
        engine: node.engine(),
        mock_secret: node.mock_secret(),
    };
    auth::authenticate(&by, wire, &claim).await?;
    let role = authorize(node, &claim, kind).await?;
    let superuser = role.superuser;
    // Only now, so that nobody takes a session's place who may not have one.
    let config = node.ground.config();
    let member = node
        .sessions
        .admit(handle, &role, &config)
        .map_err(|full| Exit::Fatal(Box::new(full.report(&claim.user, &config))))?;

    let Asked { settings, wrong } = startup_settings(&parameters);
    require_own_identity(&settings, &claim.user, superuser)?;
    let environment = SessionEnvironment::new(node.clone(), member.handle.clone(), superuser, &settings)
        .map_err(|error| ended_by(from_sql(&error)))?;
    if let Some(wrong) = wrong {
        return Err(ended_by(*wrong));
    }
    let environment = Arc::new(environment);
    begin_with_settings(node, &claim, &environment).await?;
    log_authorized(node, &member, claim.replication);
    let kind = open(node, &member, claim, mode, &environment).await?;
    for (name, value) in environment.reported() {
        backend::parameter_status(&mut wire.out, name, &value);
    }
    backend::backend_key_data(&mut wire.out, member.handle.key);
    backend::ready_for_query(&mut wire.out, TransactionStatus::Idle);
    wire.flush().await?;
    member.handle.set_activity(Activity::Idle, node.ground.host.clock.now());
    Ok(Some(Entered { member, kind }))
}

/// The end of a session before it has begun.
fn ended_by(report: Report) -> Exit {
    Exit::Fatal(Box::new(Report { severity: Severity::Fatal, ..report }))
}

/// Opens what serves a session that was let in.
async fn open(
    node: &Arc<Node>,
    member: &Member,
    claim: Claim,
    mode: ReplicationMode,
    environment: &Arc<SessionEnvironment>,
) -> Result<Kind, Exit> {
    let replication = (mode != ReplicationMode::Off)
        .then(|| WalSender::new(node.clone(), member.handle.clone(), environment.clone()));
    let replication = match replication {
        Some(replication) if claim.replication => return Ok(Kind::Physical(replication)),
        other => other,
    };
    let options = sql_session::SessionOptions { user: claim.user, database: claim.database };
    let Some(engine) = node.engine() else {
        return Err(fatal(SqlState::CANNOT_CONNECT_NOW, "the database system is starting up"));
    };
    // A database that is not there is the session's error to tell.
    if let Ok(Some(oid)) = engine.database_oid(&options.database).await {
        member.handle.database_oid.store(oid, Ordering::Relaxed);
    }
    let session =
        engine.session(options, environment.clone()).await.map_err(|error| ended_by(from_sql(&error)))?;
    Ok(Kind::Sql(Box::new((session, environment.clone(), replication))))
}

/// Checks that the role exists and may do this.
async fn authorize(node: &Node, claim: &Claim, kind: SessionKind) -> Result<sql_catalogue::Role, Exit> {
    let Some(engine) = node.engine() else {
        return Err(fatal(SqlState::CANNOT_CONNECT_NOW, "the database system is starting up"));
    };
    let role = engine.role(&claim.user).await.map_err(|error| ended_by(from_sql(&error)))?;
    let user = &claim.user;
    let denied = |what: String| fatal(SqlState::INVALID_AUTHORIZATION_SPECIFICATION, what);
    let Some(role) = role else { return Err(denied(format!("role \"{user}\" does not exist"))) };
    if !role.login {
        return Err(denied(format!("role \"{user}\" is not permitted to log in")));
    }
    if kind == SessionKind::WalSender && !role.superuser && !role.replication {
        return Err(fatal(
            SqlState::INSUFFICIENT_PRIVILEGE,
            "must be superuser or replication role to start walsender",
        ));
    }
    Ok(role)
}

fn log_authorized(node: &Node, member: &Member, physical: bool) {
    if !node.ground.config().log_connections {
        return;
    }
    let handle = &member.handle;
    let application = handle.application.lock().clone();
    let application =
        if application.is_empty() { String::new() } else { format!(" application_name={application}") };
    let encryption = handle.encryption.as_ref().map_or_else(String::new, |tls| {
        format!(" SSL enabled (protocol={}, cipher={}, bits={})", tls.version, tls.cipher, tls.bits)
    });
    let (user, database) = (&handle.user, &handle.database);
    let message = if physical {
        format!("replication connection authorized: user={user}{application}{encryption}")
    } else {
        format!("connection authorized: user={user} database={database}{application}{encryption}")
    };
    let report = Report::new(Severity::Log, SqlState::SUCCESSFUL_COMPLETION, message);
    node.ground.log.write(Some(&handle.log_context()), &report, None);
}

/// The settings that a startup packet sets, those of `options` first, and alone if something is wrong there.
fn startup_settings(parameters: &StartupParameters) -> Asked {
    let mut asked = parameters.get("options").map(startup_options::parse).unwrap_or_default();
    let own = ["user", "database", "options", "replication"];
    let rest = parameters
        .parameters
        .iter()
        .filter(|(name, _)| !own.contains(&name.as_str()) && !name.starts_with("_pq_."));
    if asked.wrong.is_none() {
        asked.settings.extend(rest.cloned());
    }
    asked
}

/// A startup packet may name whom the session acts as (`role`), but not make it another user's.
fn require_own_identity(settings: &[(String, String)], user: &str, superuser: bool) -> Result<(), Exit> {
    let mut asked = settings.iter().filter(|(name, _)| name.eq_ignore_ascii_case("session_authorization"));
    let Some((_, other)) = asked.find(|(_, other)| other != user) else { return Ok(()) };
    if superuser {
        let message = "session_authorization in a startup packet is not supported";
        let report = Report::fatal(SqlState::FEATURE_NOT_SUPPORTED, message);
        let hint = Some("Send SET SESSION AUTHORIZATION when the session has begun.".to_owned());
        return Err(Exit::Fatal(Box::new(Report { hint, ..report })));
    }
    let message = format!("permission denied to set session authorization \"{other}\"");
    Err(fatal(SqlState::INSUFFICIENT_PRIVILEGE, message))
}
