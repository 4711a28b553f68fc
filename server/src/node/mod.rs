//! A node's life: how its parts are put together at the start, and how it runs, is promoted and stops.
//!
//! The node knows no sessions and no views. What serves clients stands above it, and is given to the start as
//! [`Services`].

pub(crate) mod directory;
mod handover;
pub(crate) mod init;
pub(crate) mod open;
pub(crate) mod options;
mod own_certificate;
mod promote;
mod rewind;
mod run;
pub(crate) mod signals;
pub(crate) mod start;
pub(crate) mod states;
pub(crate) mod stop;

use crate::archive::{Archive, LeftCommand};
use crate::configuration::{AlterSystemError, Current, Ground, storage_options};
use crate::connection::listen::Entrance;
use crate::connection::lobby::{Lobby, Visitor};
use crate::connection::registry::Sessions;
use crate::connection::socket::Socket;
use crate::error::ServerError;
use crate::log::Log;
use crate::replication::{Replication, fencing};
use crate::state::NodeState;
use crate::tasks::Tasks;
use host::sync::Mutex;
use host::{MemoryLimit, Timestamp};
use options::ServerOptions;
use sql_session::SqlEngine;
use states::Life;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, OnceLock};
use storage::Database;
use wal::LogPosition;

/// What serves the clients of a node.
pub(crate) trait Services: 'static {
    /// Serves one connection to its end.
    fn serve(node: Arc<Node>, socket: Socket, visitor: Visitor) -> impl Future<Output = ()> + Send + 'static;
    /// The database is open: starts what shows the node to others.
    fn opened(node: &Arc<Node>) -> impl Future<Output = ()> + Send;
}

/// The numbers under which the server's own parts show in pg_stat_activity.
pub(crate) struct PartPids {
    pub(crate) startup: i32,
    pub(crate) checkpointer: i32,
    pub(crate) background_writer: i32,
    pub(crate) log_writer: i32,
}

/// What there is once the database is open.
struct Opened {
    engine: SqlEngine,
    replication: Arc<Replication>,
    /// Mock verifiers of unknown roles are made from it: like those of roles they are the same on all nodes,
    /// and in all lives.
    mock_secret: [u8; 32],
}

/// A node: its parts, put together.
pub(crate) struct Node {
    pub(crate) ground: Arc<Ground>,
    pub(crate) life: Arc<Life>,
    pub(crate) tasks: Arc<Tasks>,
    pub(crate) sessions: Arc<Sessions>,
    lobby: Arc<Lobby>,
    /// What sessions may take.
    pub(crate) memory: Arc<MemoryLimit>,
    pub(crate) archive: Arc<Archive>,
    opened: OnceLock<Opened>,
    /// Ends the opening of the database.
    end_opening: Arc<AtomicBool>,
    /// Where the timeline ended whose last segment got a file of its own at this start: the archive lacks it.
    separated: Mutex<Option<LogPosition>>,
    /// Checkpoints that the log's growth set off.
    pub(crate) checkpoints_by_log: Arc<AtomicU64>,
    pub(crate) started: Timestamp,
    pub(crate) part_pids: PartPids,
}

impl Node {
    fn new(
        options: &ServerOptions,
        data_dir: PathBuf,
        log: Arc<Log>,
        current: Current,
        left: LeftCommand,
    ) -> Self {
        let host = options.host.clone();
        let sessions = Arc::new(Sessions::new(&host));
        let part_pids = PartPids {
            startup: sessions.allocate_pid(),
            checkpointer: sessions.allocate_pid(),
            background_writer: sessions.allocate_pid(),
            log_writer: sessions.allocate_pid(),
        };
        let lobby = Lobby::new(lobby_places(&current.config));
        let started = host.clock.now();
        let ground = Arc::new(Ground::new(host, data_dir, log, current));
        Self {
            life: Arc::new(Life::new(&ground, options)),
            tasks: Arc::default(),
            sessions,
            lobby,
            memory: Arc::default(),
            archive: Arc::new(Archive::new(ground.clone(), left)),
            opened: OnceLock::new(),
            end_opening: Arc::default(),
            separated: Mutex::default(),
            checkpoints_by_log: Arc::default(),
            started,
            part_pids,
            ground,
        }
    }

    fn entrance(&self) -> Entrance {
        Entrance {
            lobby: self.lobby.clone(),
            log: self.ground.log.clone(),
            clock: self.ground.host.clock.clone(),
            tasks: self.tasks.clone(),
        }
    }

    /// Takes in the parts that work on the opened database. They were made with the settings that were read
    /// before: a reload in between found nobody to hand its settings to.
    fn set_opened(&self, engine: SqlEngine, replication: Arc<Replication>) {
        self.ground.between_reloads(|| {
            apply_settings(&self.ground, &replication);
            // Set once, before any session can ask for it.
            let mock_secret = engine.database().control().mock_authentication_nonce;
            let _ = self.opened.set(Opened { engine, replication, mock_secret });
        });
    }
    pub(crate) fn engine(&self) -> Option<&SqlEngine> {
        self.opened.get().map(|opened| &opened.engine)
    }
    pub(crate) fn database(&self) -> Option<&Database> {
        self.engine().map(SqlEngine::database)
    }
    pub(crate) fn mock_secret(&self) -> Option<&[u8; 32]> {
        self.opened.get().map(|opened| &opened.mock_secret)
    }
    pub(crate) fn replication(&self) -> Option<&Arc<Replication>> {
        self.opened.get().map(|opened| &opened.replication)
    }

    pub(crate) fn state(&self) -> NodeState {
        self.life.state()
    }

    /// Reads the configuration files again (SIGHUP, pg_reload_conf()).
    pub(crate) fn reload(&self) {
        reload(&self.ground, || self.replication());
    }

    /// Changes postgresql.auto.conf, durably.
    ///
    /// # Errors
    ///
    /// If the setting or its value is refused, if the server would not start with it, or if the file cannot
    /// be written.
    pub(crate) fn alter_system(&self, change: settings::AutoChange<'_>) -> Result<(), AlterSystemError> {
        self.ground.alter_system(change)
    }

    /// Asks a standby to become a primary. An error if nothing may make this one a primary, which the log is
    /// told too.
    pub(crate) fn request_promotion(&self) -> Result<(), ServerError> {
        request_promotion(&self.ground, &self.life, self.replication())
    }

    /// Whether it is a standby that becomes a primary as soon as it can.
    pub(crate) fn is_being_promoted(&self) -> bool {
        let is_standby = self.replication().is_some_and(|replication| replication.database.is_in_recovery());
        is_standby && *self.life.promotions().borrow()
    }

    /// Judges a promotion that was asked for before anything was there to judge it by.
    fn judge_early_promotion(&self) {
        if host::planted!("a promotion that is asked for in a start is not judged") {
            return;
        }
        if self.life.withdraw_promotion()
            && let Err(refusal) = self.request_promotion()
        {
            self.tell_refused_promotion(&refusal);
        }
    }

    /// Who has asked by a signal looks for the refusal in a file; the log has it too.
    fn tell_refused_promotion(&self, refusal: &ServerError) {
        let path = self.ground.data_dir.join(signals::PROMOTION_REFUSED);
        let _ = host::write_file_durably(&*self.ground.host.disk, &path, refusal.message.as_bytes());
    }
}

/// [`Node::reload`] for who has these parts of a node. Replication is asked for when it is this reload's
/// turn; there is none before the database is open.
pub(crate) fn reload<'r>(ground: &Ground, replication: impl FnOnce() -> Option<&'r Arc<Replication>>) {
    ground.reload(|| {
        if let Some(replication) = replication() {
            apply_settings(ground, replication);
        }
    });
}

/// Hands the settings of this moment to the parts that do not look themselves.
fn apply_settings(ground: &Ground, replication: &Replication) {
    replication.reload();
    if let Err(error) = storage_options::apply(&ground.current(), &replication.database) {
        ground.log.warning(format!(
            "could not log the change of full_page_writes, the next checkpoint will try again: {error}"
        ));
    }
}

/// [`Node::request_promotion`] for who has these parts of a node.
pub(crate) fn request_promotion(
    ground: &Ground,
    life: &Life,
    replication: Option<&Arc<Replication>>,
) -> Result<(), ServerError> {
    let barred = replication.map_or(Ok(()), |replication| {
        fencing::check_promotion(replication)?;
        replication.recovery().map_or(Ok(()), |recovery| recovery.check_promotion())
    });
    match &barred {
        Ok(()) => life.request_promotion(),
        Err(error) => ground.log.warning(format!("promotion is refused: {}", error.message)),
    }
    barred
}

/// As many connections may be about to log in as may have, and a few in any case.
fn lobby_places(config: &settings::Config) -> usize {
    let sessions = config.max_connections.saturating_add(config.max_wal_senders);
    usize::try_from(sessions).unwrap_or(usize::MAX).max(16)
}
