//! A standby whose log goes past the fork of its upstream's branch rewinds itself, if plimsoll.auto_rewind
//! allows that.
//!
//! The receiver finds the fork and asks for the rewind. Recovery ends as at a fast stop, the process begins
//! a new life of the node in place, and that one, before it opens the directory, does what
//! `plimsoll rewind --source <primary_conninfo>` does: with the same report of what is discarded, and with
//! the same marker. Then it starts as the standby that it was. Where primary_conninfo names several servers,
//! the source is the first of them that this one can be rewound to: one that was replaced, or has no fork
//! from the log here, is none.
//!
//! | who                                                                      | rewinds itself             |
//! |--------------------------------------------------------------------------|----------------------------|
//! | a standby past the fork of a branch that continues the one it follows    | yes                        |
//! | one whose upstream has that branch from an archive alone                 | no: a backup that was      |
//! |                                                                          | promoted for a test proves |
//! |                                                                          | nothing                    |
//! | one whose upstream's branch is a sibling or a twin of its own            | no: neither continues the  |
//! |                                                                          | other, and nobody here     |
//! |                                                                          | knows which counts         |
//! | a primary, fenced or not                                                 | not before standby.signal  |
//! |                                                                          | makes it follow another    |
//! | a directory of another system                                            | never                      |
//! | one that a recovery target, a delay or a timeline of its own holds back  | no: what it would be       |
//! |                                                                          | rewound to is newer        |
//! | one in which a rewind was begun and broken off, with standby.signal      | at its start, until it is  |
//! |                                                                          | done: to the branch that   |
//! |                                                                          | it was begun for, or to    |
//! |                                                                          | one that continues that or |
//! |                                                                          | its own, as above          |
//!
//! A rewind that fails before anything has changed leaves the standby that it was; the next one is not before
//! a pause that grows with each failure. One that fails afterwards is tried again until it works or a stop is
//! asked for, as long as that may help; else the start fails, and says what to run.

use super::Node;
use super::directory::has_file;
use super::options::ServerOptions;
use super::start::Ending;
use super::stop::{After, stop_at_once, stop_cleanly, stop_of};
use crate::archive::restore::Restorer;
use crate::configuration::Ground;
use crate::connection::registry::SessionKind;
use crate::error::ServerError;
use crate::replication::rewinding::{commands, keep_discarded, leave_as_is, why_held};
use crate::replication::standby::Standby;
use crate::state::{NodeState, StopMode};
use host::Host;
use host::task::block_on;
use protocol::{ClientError, SqlState, conninfo};
use replica::driver::peers::{Silence, SilenceKind, probe};
use rewind::{
    Counts, LogArchive, Need, NodeFiles, Rewind, RewindError, RewindOptions, Rewound, SourceName,
    remove_leftovers,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use storage::Database;
use tokio::runtime::Handle;
use tokio::sync::watch;
use wal::control::ControlFile;
use wal::{SegmentNumber, TimelineId};

/// The file that makes a server a standby.
const SIGNAL: &str = "standby.signal";
/// Time from a rewind to the next one, at least.
const PAUSE_MIN: Duration = Duration::from_secs(5);
/// And at most, after many that failed.
const PAUSE_MAX: Duration = Duration::from_secs(3600);
/// Time between two tries to end a rewind that was begun, at most: nobody can use the directory meanwhile.
const BEGUN_PAUSE_MAX: Duration = Duration::from_secs(60);

/// How this process's rewinds of its directory went.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tries {
    /// The last life ended for one.
    pub(super) asked: bool,
    /// So many failed since the last that worked.
    failed: u32,
    /// None is asked for before this, on the monotonic clock.
    next: Duration,
}

impl Tries {
    /// How long none is asked for.
    pub(super) fn left(&self, now: Duration) -> Duration {
        self.next.saturating_sub(now)
    }

    /// As the next life gets them.
    pub(super) fn handed_on(self, asked: bool) -> Self {
        Self { asked, ..self }
    }

    fn worked(&mut self, now: Duration) {
        *self = Self { asked: false, failed: 0, next: now + PAUSE_MIN };
    }

    /// Gives the pause.
    fn failed(&mut self, now: Duration) -> Duration {
        let pause = (PAUSE_MIN * (1 << self.failed.min(16))).min(PAUSE_MAX);
        *self = Self { asked: false, failed: self.failed.saturating_add(1), next: now + pause };
        pause
    }
}

/// How much a failure tells of why a rewind is not done, the least first, where several servers were asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Tells {
    /// That server is none to rewind to, whatever becomes of the others: it has no fork from the log here, or
    /// was replaced.
    NoSource,
    /// It does not answer, or not yet.
    NoAnswer,
    /// What keeps the rewind from being done.
    Cause,
}

/// Why a rewind failed.
#[derive(Debug)]
struct Failure {
    what: String,
    /// The same may work later.
    may_pass: bool,
    tells: Tells,
    /// The connection string of the server that it was tried with, if it came to that.
    server: Option<String>,
}

impl Failure {
    fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), may_pass: false, tells: Tells::Cause, server: None }
    }

    /// That server has all of the log that is here.
    fn no_fork(timeline: TimelineId) -> Self {
        Self { tells: Tells::NoSource, ..Self::new(format!("timeline {timeline} has all that is here")) }
    }

    fn with(self, server: &str) -> Self {
        Self { server: Some(server.to_owned()), ..self }
    }

    /// Of two servers' failures the one that tells more; if one of them may pass, another try makes sense.
    fn or(self, later: Self) -> Self {
        let may_pass = self.may_pass || later.may_pass;
        let told = if later.tells > self.tells { later } else { self };
        Self { may_pass, ..told }
    }
}

impl From<RewindError> for Failure {
    fn from(error: RewindError) -> Self {
        let tells = match &error {
            RewindError::NoFork { .. } => Tells::NoSource,
            RewindError::Client(ClientError::Server(report)) => match report.code {
                SqlState::READ_ONLY_SQL_TRANSACTION => Tells::NoSource,
                SqlState::CANNOT_CONNECT_NOW => Tells::NoAnswer,
                _ => Tells::Cause,
            },
            RewindError::Client(ClientError::Connect { .. } | ClientError::Io(_) | ClientError::Closed) => {
                Tells::NoAnswer
            }
            _ => Tells::Cause,
        };
        Self { may_pass: error.may_pass(), tells, ..Self::new(error.to_string()) }
    }
}

impl From<Silence> for Failure {
    fn from(silence: Silence) -> Self {
        let tells = match silence.kind {
            SilenceKind::NotThere | SilenceKind::NotYet => Tells::NoAnswer,
            SilenceKind::Unknown => Tells::Cause,
        };
        Self { may_pass: true, tells, ..Self::new(silence.to_string()) }
    }
}

impl From<ServerError> for Failure {
    fn from(error: ServerError) -> Self {
        Self::new(error.message)
    }
}

/// Waits until the node is asked to rewind itself.
pub(super) async fn rewind_asked(rewinds: &mut watch::Receiver<bool>) {
    // The sender lives as long as the node.
    if rewinds.wait_for(|asked| *asked).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Stops a standby so that its next life begins with a rewind.
pub(super) async fn leave_to_rewind(
    node: &Arc<Node>,
    database: &Database,
    standby: Option<Standby>,
) -> Result<Ending, ServerError> {
    node.life.go(NodeState::Stopping(StopMode::Fast));
    node.ground.log.log("ending recovery, to rewind this server to its upstream's branch");
    node.sessions.close();
    node.archive.stop.cancel();
    let mut stops = node.life.stops();
    let stopping = async {
        node.sessions.terminate_all(SessionKind::Client);
        node.sessions.wait_gone(SessionKind::Client).await;
        stop_cleanly(node, database, standby, After::Rewind).await
    };
    tokio::select! {
        biased;
        stopped = stopping => stopped,
        _ = stop_of(&mut stops, StopMode::Immediate) => stop_at_once(node).await.map(|()| Ending::Stopped),
    }
}

/// Refuses a directory whose rewind was broken off, unless this start may go on with it.
pub(super) fn check_begun(
    options: &ServerOptions,
    data_dir: &Path,
    config: &settings::Config,
) -> Result<(), ServerError> {
    if options.starts_again && goes_on(&options.host, data_dir, config) {
        return Ok(());
    }
    refuse_begun(&options.host, data_dir)
}

/// Whether a standby rewinds itself, or goes on with a rewind that was broken off.
fn goes_on(host: &Host, data_dir: &Path, config: &settings::Config) -> bool {
    let has_source = !config.primary_conninfo.trim().is_empty();
    config.auto_rewind && has_source && host.disk.exists(&data_dir.join(SIGNAL)).unwrap_or(false)
}

fn refuse_begun(host: &Host, data_dir: &Path) -> Result<(), ServerError> {
    storage::check_rewound(host, data_dir).map_err(|error| ServerError::new(error.to_string()))
}

/// A server that goes on without its signal file would be a primary, on its upstream's timeline once it is
/// rewound: nobody has promoted it.
fn check_signal(ground: &Ground) -> Result<(), ServerError> {
    if has_file(ground, SIGNAL)? {
        return Ok(());
    }
    let what = format!("file \"{SIGNAL}\" is gone, and this server went down as a standby, to rewind itself");
    let hint = "Make the file again and start the server; or start it without, and it is a primary.";
    Err(ServerError::new(what).with_hint(hint))
}

fn is_begun(ground: &Ground) -> Result<bool, ServerError> {
    let begun = storage::is_being_rewound(&ground.host, &ground.data_dir);
    begun.map_err(|error| ServerError::new(error.to_string()))
}

/// Removes what a rewind that was killed has left. One that runs reads it: it has the directory's lock.
fn remove_unread(ground: &Ground) -> Result<(), ServerError> {
    let (host, dir) = (&ground.host, &ground.data_dir);
    let failed = |error: RewindError| ServerError::new(error.to_string());
    let _lock = storage::lock_directory(host, dir).map_err(|error| failed(error.into()))?;
    remove_leftovers(&*host.disk, dir).map_err(failed)
}

/// Rewinds the directory if that was asked for, or begun earlier. Gives its control file if it was changed.
/// Settings and signal file may change while it waits: each try asks them anew.
pub(super) async fn before_open(node: &Node) -> Result<Option<ControlFile>, ServerError> {
    let ground = &node.ground;
    let was_begun = is_begun(ground)?;
    if !was_begun && !node.life.tries.lock().asked {
        remove_unread(ground)?;
        return Ok(None);
    }
    let changed = try_until_whole(node, was_begun).await?;
    check_signal(ground)?;
    Ok(changed)
}

/// Gives the control file, unless the directory is what it was.
async fn try_until_whole(node: &Node, mut was_begun: bool) -> Result<Option<ControlFile>, ServerError> {
    let ground = &node.ground;
    let changed = || {
        let control = ControlFile::load(ground.host.disk.as_ref(), &ground.data_dir);
        control.map(Some).map_err(|error| ServerError::new(error.to_string()))
    };
    loop {
        let begun = is_begun(ground)?;
        if was_begun && !begun {
            ground.log.log("the rewind of this server was ended by another program");
            ground.reload(|| {});
            return changed();
        }
        if begun && !goes_on(&ground.host, &ground.data_dir, &ground.config()) {
            refuse_begun(&ground.host, &ground.data_dir)?;
        }
        check_signal(ground)?;
        let done = carry_out(node).await;
        let now = ground.host.clock.monotonic();
        let Err(Failure { what, may_pass, server, .. }) = done else {
            node.life.tries.lock().worked(now);
            return changed();
        };
        let pause = node.life.tries.lock().failed(now);
        let server = server.unwrap_or_else(|| ground.config().primary_conninfo.to_string());
        let run = commands(ground, &server);
        was_begun = is_begun(ground)?;
        if !was_begun && node.archive.stop.is_cancelled() {
            ground.log.log("this server did not rewind itself, and stays as it was: it stops");
            return Ok(None);
        }
        if !was_begun {
            ground.log.warning(format!(
                "this server could not rewind itself, and stays as it was: {what}; it does not try again for {} s \
                 (by hand: {run})",
                pause.as_secs()
            ));
            return Ok(None);
        }
        if !may_pass || node.archive.stop.is_cancelled() {
            let what = format!("the rewind of this server is broken off: {what}");
            return Err(ServerError::new(what).with_hint(format!("Run: {run}; or clone it anew.")));
        }
        let pause = pause.min(BEGUN_PAUSE_MAX);
        ground.log.warning(format!(
            "the rewind of this server is not done: {what}; it is tried again in {} s",
            pause.as_secs()
        ));
        tokio::select! {
            biased;
            () = node.archive.stop.cancelled() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Rewinds the directory once, on a thread that may block; a stop breaks it off.
async fn carry_out(node: &Node) -> Result<(), Failure> {
    let (ground, stop) = (node.ground.clone(), node.archive.stop.clone());
    let conninfo = ground.config().primary_conninfo.to_string();
    let options = RewindOptions {
        source: SourceName::Server(conninfo.clone()),
        target: ground.data_dir.clone(),
        node_files: NodeFiles::Keep,
        // It is one.
        standby: false,
        supply: supply(node)?,
        stop: stop.clone(),
    };
    let runtime = Handle::current();
    let working = host::task::blocking(move || {
        let work = async {
            tokio::select! {
                biased;
                () = stop.cancelled() => Err(Failure::new("the server stops")),
                done = rewind_to(&ground, &conninfo, options) => done,
            }
        };
        block_on(&runtime, work)
    });
    working.await.unwrap_or_else(|error| Err(Failure::new(error.to_string())))
}

async fn rewind_to(ground: &Ground, conninfo: &str, options: RewindOptions) -> Result<(), Failure> {
    let host = &ground.host;
    if !is_begun(ground)? {
        // The settings may be others than when it was asked for.
        if !goes_on(host, &ground.data_dir, &ground.config()) {
            return Err(Failure::new("plimsoll.auto_rewind is off, or primary_conninfo is empty"));
        }
        if let Some(why) = why_held(ground) {
            return Err(Failure::new(why));
        }
    }
    let (mut rewind, server) = choose(ground, conninfo, &options).await?;
    if matches!(rewind.need(), Need::Nothing) {
        leave_as_is(host, &ground.data_dir, &mut rewind)?;
        return Err(Failure::no_fork(rewind.timeline()).with(&server));
    }
    carry_out_with(ground, rewind).await.map_err(|failure| failure.with(&server))
}

/// A rewind to the first server of those that primary_conninfo names to which this directory can be rewound,
/// with that one's connection string; nothing is changed. Only one is prepared at a time, since each holds
/// the directory. A server that has all of the log here is chosen if it is the only one that is named, or if
/// a rewind was begun that no other server can end: that has changed nothing, and is given up.
async fn choose(
    ground: &Ground,
    conninfo: &str,
    options: &RewindOptions,
) -> Result<(Rewind, String), Failure> {
    let servers = conninfo::servers(conninfo);
    let is_alone = servers.len() == 1;
    let (mut failed, mut has_all) = (None::<Failure>, None);
    for server in servers {
        let why = match prepare(ground, &server, options).await {
            Ok(rewind) if is_alone => return Ok((rewind, server)),
            Ok(rewind) if matches!(rewind.need(), Need::Nothing) => {
                has_all.get_or_insert(server.clone());
                Failure::no_fork(rewind.timeline())
            }
            // A server that was replaced tells nothing of its files: another one is found before that shows.
            Ok(mut rewind) => match rewind.make_ready().await {
                Ok(()) => return Ok((rewind, server)),
                Err(error) => error.into(),
            },
            Err(why) => why,
        };
        let why = why.with(&server);
        if !is_alone {
            let shown = SourceName::Server(server).shown();
            ground.log.log(format!("this server is not rewound to that at \"{shown}\": {}", why.what));
        }
        failed = Some(match failed {
            Some(before) => before.or(why),
            None => why,
        });
    }
    if let Some(server) = has_all.filter(|_| is_begun(ground).unwrap_or(false)) {
        let rewind = prepare(ground, &server, options).await?;
        if matches!(rewind.need(), Need::Nothing) {
            return Ok((rewind, server));
        }
    }
    Err(failed.unwrap_or_else(|| Failure::new("primary_conninfo names no server")))
}

/// A rewind to this server, if it may be the source.
async fn prepare(ground: &Ground, server: &str, options: &RewindOptions) -> Result<Rewind, Failure> {
    let witness = check_witness(server).await;
    let witness = if is_begun(ground)? { witness } else { Ok(witness?) };
    let options = RewindOptions { source: SourceName::Server(server.to_owned()), ..options.clone() };
    let rewind = Rewind::prepare(&ground.host, options).await?;
    // The upstream may be another one than that which the rewind was asked or begun for.
    check_branch(&rewind, witness)?;
    Ok(rewind)
}

async fn carry_out_with(ground: &Ground, mut rewind: Rewind) -> Result<(), Failure> {
    let (host, log) = (&ground.host, &ground.log);
    match rewind.need() {
        Need::Nothing => return Err(Failure::no_fork(rewind.timeline())),
        Need::Rest => log.log("a rewind was broken off when its files were copied: doing the rest"),
        Need::Diverged(divergence) => log.log(format!(
            "rewinding to timeline {}: it left timeline {} at {}, and the log here goes on to {}",
            rewind.timeline(),
            divergence.fork.timeline,
            divergence.fork.at,
            divergence.end
        )),
    }
    let kept = keep_discarded(host, &ground.data_dir, &mut rewind, &mut |_| {}).await?;
    if let Some((path, counts)) = &kept {
        log.warning(format!(
            "discarding {} commits with {} changes, kept in \"{}\" (plimsoll rewind --replay makes SQL of it)",
            counts.commits,
            counts.changes,
            path.display()
        ));
    }
    let what = given_up(rewind.need(), rewind.target().timeline(), kept.as_ref());
    let Rewound { timeline, end, bytes, dropped_slots, .. } = rewind.run(&mut |_| {}).await?;
    for slot in dropped_slots {
        log.warning(format!("dropped replication slot \"{slot}\": a rewind keeps none, since it discards log that they reserve"));
    }
    log.log(format!(
        "rewound to timeline {timeline}: {what}; {bytes} bytes copied, consistent from {end} on"
    ));
    Ok(())
}

/// Refuses the upstream's branch, unless the rewind was begun for that one.
fn check_branch(rewind: &Rewind, witness: Result<(), Failure>) -> Result<(), Failure> {
    if matches!(rewind.need(), Need::Nothing)
        || rewind.was_begun_for_this()
        || host::planted!("a standby rewinds itself to any upstream")
    {
        return Ok(());
    }
    witness?;
    if rewind.is_continued() {
        return Ok(());
    }
    let begun = rewind
        .begun_for()
        .map_or_else(String::new, |begun| format!(", nor timeline {begun}, for which the rewind was begun"));
    let what = format!(
        "timeline {} of the upstream does not continue timeline {}, which this server follows{begun}",
        rewind.timeline(),
        rewind.target().timeline()
    );
    Err(Failure { may_pass: true, ..Failure::new(what) })
}

/// What a rewind of a log on this timeline gave up, for the one line that says what it did.
fn given_up(need: &Need, from: TimelineId, kept: Option<&(PathBuf, Counts)>) -> String {
    let (Need::Diverged(divergence), Some((path, counts))) = (need, kept) else {
        return "the rest of a rewind that was broken off".to_owned();
    };
    let Counts { commits, changes } = counts;
    format!(
        "from {} on timeline {from} back to {}, {commits} commits with {changes} changes discarded, kept in \"{}\"",
        divergence.end,
        divergence.fork.at,
        path.display()
    )
}

/// The upstream must have its branch from a server that wrote it.
async fn check_witness(server: &str) -> Result<(), Failure> {
    let peer = probe(server).await?;
    let (follows, seen) = (peer.timeline, peer.branch.history.target());
    if follows != seen {
        let what =
            format!("the upstream knows timeline {follows} from an archive alone, which proves nothing");
        return Err(Failure { may_pass: true, ..Failure::new(what) });
    }
    Ok(())
}

/// The archive of the directory's own log, if there is one.
fn supply(node: &Node) -> Result<Option<Arc<dyn LogArchive>>, ServerError> {
    let ground = &node.ground;
    if ground.config().restore_command.trim().is_empty() {
        return Ok(None);
    }
    let control = ControlFile::load(ground.host.disk.as_ref(), &ground.data_dir)
        .map_err(|error| ServerError::new(error.to_string()))?;
    let size = control.segment_size;
    // A rewind goes back behind every restart point. So a restore_command that removes from the archive what
    // lies before %r is told of the very first segment, as PostgreSQL does where nothing may be removed.
    let first = SegmentNumber::new(0).file_name(TimelineId::INVALID, size);
    let restorer = Restorer::new(&node.archive, size, first, true);
    Ok(Some(Arc::new(restorer)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_servers_failures_the_one_that_says_most_is_told() {
        let failure = |what: &str, tells, may_pass| Failure { tells, may_pass, ..Failure::new(what) };
        let none = || failure("has all", Tells::NoSource, false);
        let silent = || failure("refused", Tells::NoAnswer, true);
        let cause = |what| failure(what, Tells::Cause, false);
        for (all, told, may_pass) in [
            (vec![none(), silent()], "refused", true),
            (vec![silent(), none()], "refused", true),
            (vec![cause("first"), none(), cause("second")], "first", false),
            (vec![silent(), cause("no room"), silent()], "no room", true),
            (vec![none()], "has all", false),
        ] {
            let found = all.into_iter().reduce(Failure::or).expect("there is one");
            assert_eq!((found.what.as_str(), found.may_pass), (told, may_pass));
        }
    }

    #[test]
    fn rewinds_that_fail_come_ever_less_often_and_one_that_works_ends_that() {
        let mut tries = Tries { asked: true, ..Tries::default() };
        let now = Duration::from_secs(100);
        assert_eq!(tries.left(now), Duration::ZERO);
        let pauses: Vec<u64> = (0..12).map(|_| tries.failed(now).as_secs()).collect();
        assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600]);
        assert!(!tries.asked && tries.left(now) == PAUSE_MAX);
        tries.worked(now);
        assert_eq!((tries.left(now), tries.failed(now)), (PAUSE_MIN, PAUSE_MIN));
        for _ in 0..100 {
            assert!(tries.failed(now) <= PAUSE_MAX);
        }
    }
}
