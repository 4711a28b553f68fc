//! The archive of the log: putting finished segments there, fetching them back, and recovery from it to a
//! target.
//!
//! ```text
//!   primary (or any node with archive_mode = always)
//!     log grows --> [archiver] .ready --> archive_command --> .done --> a checkpoint may remove the segment
//!
//!   node in recovery
//!     redo's reader --> [restore] restore_command --> pg_wal/RECOVERYXLOG --> pg_wal/<segment>, .done
//! ```
//!
//! Where things are decided: which source has its turn, `replica::receiver::sources`; which timeline is
//! followed, `wal::timelines`; where recovery stops, `storage::target`; which marks a file carries,
//! `wal::archive_status`. Here are the commands, the log lines, and the wiring. What redo asks of the archive
//! and the primary by turns is in `replication::standby`.
//!
//! Invariants:
//! - A segment is marked `.ready` when it is durable and complete, and removed only when it is `.done` (or
//!   nobody archives). The marking may be late (after a crash it is made up for at the start), the removal
//!   never early.
//! - No byte of a segment that is marked changes. So on a standby it is marked when it is settled, that is
//!   redone with the record that goes on behind it: what is behind may be cut.
//! - A fetched file gets its name in pg_wal only when it is whole, proven (`same_log`) and durable; the
//!   temporary files of fetches are never redone, and do not outlive the fetch.
//! - A timeline's history is archived before its other files (`histories`).
//! - A primary that was replaced archives no log from behind the fork (`replaced`).
//! - The archive is asked for segments only while no receiver writes in pg_wal.
//! - A timeline's number is chosen above all that pg_wal, the peers and the archive know. If the primary has
//!   handed its role over an archive that does not answer is not waited for.
//! - recovery_end_command has run before the node takes writes.

pub(crate) mod archiver;
mod backup;
mod copying;
mod histories;
mod replaced;
pub(crate) mod restore;
mod same_log;
pub(crate) mod shell;

pub(crate) use backup::stop_backup;

use crate::configuration::Ground;
use crate::log::Log;
use crate::state::NodeState;
use crate::tasks::Tasks;
use archiver::Archiver;
use host::Host;
use host::sync::Mutex;
use host::task::block_on;
use restore::Restorer;
use shell::{Outcome, Running, ShellCommands};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use storage::Database;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use wal::{ArchiveStatus, NodeLog};

/// A command that a life of the node leaves to the next one, until the archiver of that starts.
pub(crate) type LeftCommand = Arc<Mutex<Option<Running>>>;

/// A node's archive: the way into it, the way back, and the shell commands of both.
pub(crate) struct Archive {
    pub(crate) ground: Arc<Ground>,
    /// There once the database is open.
    archiver: OnceLock<Arc<Archiver>>,
    /// There if the node recovers from the archive.
    restorer: OnceLock<Arc<Restorer>>,
    /// Runs the shell commands of the settings and owns them.
    pub(crate) commands: Arc<ShellCommands>,
    /// Ends the commands that recovery waits for (restore_command and its kin) when the node stops.
    pub(crate) stop: CancellationToken,
    /// The node is promoted: nobody waits for what tidies up after a standby.
    promoted: CancellationToken,
    pub(crate) left: LeftCommand,
}

impl Archive {
    pub(crate) fn new(ground: Arc<Ground>, left: LeftCommand) -> Self {
        Self {
            ground,
            archiver: OnceLock::new(),
            restorer: OnceLock::new(),
            commands: Arc::default(),
            stop: CancellationToken::new(),
            promoted: CancellationToken::new(),
            left,
        }
    }

    /// Takes over the opened database and its log.
    pub(crate) fn open(&self, database: &Database, log: &NodeLog) {
        let left = self.left.lock().as_ref().and_then(|left| left.file().map(str::to_owned));
        let archiver = Archiver::new(&self.ground, &self.commands, database.clone(), log.clone(), left);
        // Set once, before anything is archived.
        let _ = self.archiver.set(Arc::new(archiver));
    }
    pub(crate) fn set_restorer(&self, restorer: Arc<Restorer>) {
        // Set once, before recovery begins.
        let _ = self.restorer.set(restorer);
    }
    pub(crate) fn restorer(&self) -> Option<&Arc<Restorer>> {
        self.restorer.get()
    }
    pub(crate) fn archiver(&self) -> Option<&Arc<Archiver>> {
        self.archiver.get()
    }
    /// Marks the segments that are complete by now, for those who want to see the marks at once. Does I/O.
    pub(crate) fn notice_segments(&self) {
        if let Some(archiver) = self.archiver() {
            archiver.notice_now();
        }
    }

    /// Starts the archiver's tasks.
    pub(crate) fn start(&self, states: &watch::Receiver<NodeState>, tasks: &Tasks) {
        if let Some(archiver) = self.archiver() {
            archiver.make_up();
            copying::start(&self.ground, states, tasks, archiver, self.left.lock().take());
        }
    }

    /// The oldest segment that a restart of this recovery needs (`%r`); None before the database is open.
    fn oldest_needed(&self) -> Option<String> {
        Some(oldest_needed(self.archiver()?.database()))
    }

    /// Runs recovery_end_command. Blocks.
    ///
    /// # Errors
    /// Fails if a stop ended it, or came before it; and, as PostgreSQL does, if a signal ended it or the
    /// shell could not run it. That it failed by itself is a warning.
    pub(crate) fn end_recovery(&self) -> Result<(), String> {
        const NAME: &str = "recovery_end_command";
        let Some(runtime) = self.restorer().map(|restorer| restorer.runtime()) else { return Ok(()) };
        match block_on(&runtime, self.run_recovery_command(NAME)) {
            Ran::Done => Ok(()),
            Ran::Stopped => Err(format!("{NAME} was ended by the server's stop")),
            Ran::Broken(what) => Err(what),
        }
    }

    /// Runs archive_cleanup_command after a restartpoint. What a stop leaves of it, the next restartpoint's
    /// does. A promotion waits for the restartpoint and not for the command, which goes on by itself then.
    /// Blocks.
    pub(crate) fn clean_up(&self) {
        let Some(runtime) = self.restorer().map(|restorer| restorer.runtime()) else { return };
        block_on(&runtime, async {
            tokio::select! {
                biased;
                () = self.promoted.cancelled() => {}
                ran = self.run_recovery_command("archive_cleanup_command") => {
                    if let Ran::Broken(what) = ran {
                        self.ground.log.warning(what);
                    }
                }
            }
        });
    }

    /// A promotion has begun: no restartpoint holds it up.
    pub(crate) fn promotes(&self) {
        self.promoted.cancel();
    }

    /// Runs a command of recovery, for which a failure of its own is a warning.
    async fn run_recovery_command(&self, name: &str) -> Ran {
        let (ground, log) = (&self.ground, &self.ground.log);
        let template = ground.settings().show(name).unwrap_or_default();
        if template.trim().is_empty() {
            return Ran::Done;
        }
        let oldest = self.oldest_needed().unwrap_or_default();
        let command = shell::expand(&template, &[('r', oldest.as_str())]);
        let told = |what: String| format!("{name} \"{command}\": {what}");
        let what = match self.commands.run(&command, &ground.data_dir, &self.stop).await {
            Ok(Outcome::Done) => return Ran::Done,
            Ok(Outcome::Stopped) => return Ran::Stopped,
            Ok(outcome @ Outcome::Broken { .. }) => return Ran::Broken(told(outcome.describe())),
            Ok(outcome) => outcome.describe(),
            Err(error) => error.to_string(),
        };
        log.warning(told(what));
        Ran::Done
    }

    /// Before the shutdown checkpoint of a node that archives: ends the segment, so that all but that
    /// checkpoint is archived. What a replaced primary has not ended is of no use to the archive.
    pub(crate) async fn end_segment(&self) {
        let Some(archiver) = self.archiver().cloned() else { return };
        let database = archiver.database().clone();
        let in_recovery = database.is_in_recovery();
        if !archiver.archives(in_recovery) || in_recovery || archiver.is_replaced() {
            return;
        }
        let ended = host::task::blocking(move || {
            if let Some(wal) = database.wal() {
                wal.switch_segment()?;
                wal.flush_all()?;
                archiver.notice_now();
            }
            Ok::<_, wal::WalError>(())
        });
        // A log that cannot be written fails the shutdown checkpoint, which says so.
        let _ = ended.await;
    }
}

/// What came of a command of recovery.
enum Ran {
    /// It ended, well or not.
    Done,
    /// A stop ended it, or came before it.
    Stopped,
    /// A signal ended it, or the shell could not run it: what is told of that.
    Broken(String),
}

/// The node's life in which the command of the one before would be waited for does not come: waits for it
/// here, and marks its file.
pub(crate) async fn end_left(host: &Host, data_dir: &Path, log: &Log, left: &LeftCommand) {
    let Some(running) = left.lock().take() else { return };
    let file = running.file().unwrap_or_default().to_owned();
    log.log(format!("waiting for archive_command, which is in the middle of \"{file}\""));
    let status = ArchiveStatus::new(host.disk.clone(), &data_dir.join("pg_wal"));
    copying::end_left(log, &status, &ShellCommands::default(), running, &CancellationToken::new()).await;
}

/// The oldest segment that a restart needs.
fn oldest_needed(database: &Database) -> String {
    let control = database.control();
    let (size, copy) = (control.segment_size, control.checkpoint_copy);
    size.segment_of(copy.redo).file_name(copy.timeline, size)
}
