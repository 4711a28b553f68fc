//! What a planned change of roles needs of replication: which stream its standby is, how this node reaches it
//! afterwards, and the durable marker of a handover that is not decided.
//!
//! The marker is plimsoll/handover, text lines closed by a CRC-32. It is written before the standby is asked
//! to promote itself, and as long as it is there no start makes this directory's node a primary: it follows
//! the standby instead. It goes once the handover is decided: the standby said that it promotes itself (and
//! this directory is a standby's by then), it refused, it was never asked, this node follows a timeline that
//! left the marked one, or it was promoted itself. It is node-local, and left out of backups.
//!
//! | line       | meaning                                          |
//! |------------|--------------------------------------------------|
//! | `timeline` | the one that this node wrote                     |
//! | `end`      | where its log ended with the shutdown checkpoint |
//! | `standby`  | whom the role was offered to                     |
//! | `conninfo` | how this node reaches it                         |
//! | `taken`    | the number that its timeline may have            |
//!
//! A marker of before does not say what may be taken: the next number, then.

use super::standby::settings::{follows_as, follows_by};
use super::{Replication, asking, fencing};
use crate::configuration::Ground;
use crate::connection::registry::SessionHandle;
use crate::error::ServerError;
use basebackup::clone::{OF_OTHER_RECOVERIES, primary_conninfo};
use host::task::task;
use host::{Disk, OpenMode, write_file_durably};
use protocol::conninfo::{self, ConnInfo, SslMode};
use replica::driver::peers::{Identity, identify, split_peers};
use replica::roster::Address;
use replica::roster::heard_file::GivenUp;
use replica::sender::SenderState;
use replica::sender::handover::{Event, Handover};
use replica::sender::streams::SenderRow;
use replica::timeline::relation::{Relation, relation};
use settings::{AutoChange, Settings, Source};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use wal::codec::{SealedLines, seal_text};
use wal::history::TimelineHistory;
use wal::{Lsn, TimelineId, timelines};

/// The marker, in the data directory.
pub const HANDOVER_FILE: &str = "plimsoll/handover";
/// Largest marker that is read, in bytes.
const FILE_BYTES_MAX: u64 = 64 << 10;
const FIRST_LINE: &str = "plimsoll handover 1";

/// What a connection string says of which server is meant, and for what, not of how it is spoken to.
const OF_ONE_SERVER: [&str; 10] = [
    "host",
    "hostaddr",
    "port",
    "user",
    "dbname",
    "service",
    "replication",
    "application_name",
    "fallback_application_name",
    "target_session_attrs",
];

/// A handover that the node shall carry out.
pub(crate) struct Order {
    pub(crate) handover: Arc<Handover>,
    /// The name of the standby.
    pub(crate) standby: String,
    /// How this node reaches it.
    pub(crate) conninfo: String,
    /// When the standby must have the log's end, on the monotonic clock.
    pub(crate) deadline: Duration,
    /// Who asked for it, and gets its answer first.
    pub(crate) session: Arc<SessionHandle>,
}

/// What the marker says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Marker {
    pub(crate) timeline: TimelineId,
    pub(crate) end: Lsn,
    pub(crate) standby: String,
    pub(crate) conninfo: String,
    /// A promotion of this node takes a number above it.
    pub(crate) taken: TimelineId,
}

impl fmt::Display for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { timeline, end, standby, conninfo, taken } = self;
        write!(f, "timeline={timeline}\nend={end}\nstandby={standby}\nconninfo={conninfo}\ntaken={taken}\n")
    }
}

fn path(data_dir: &Path) -> PathBuf {
    data_dir.join(HANDOVER_FILE)
}

impl Marker {
    fn decode(text: &str) -> Option<Self> {
        let mut lines = SealedLines::of(text, FIRST_LINE)?;
        let timeline: TimelineId = lines.parsed("timeline")?;
        Some(Self {
            timeline,
            end: lines.parsed("end")?,
            standby: lines.value("standby")?.to_owned(),
            conninfo: lines.value("conninfo")?.to_owned(),
            taken: match lines.value("taken") {
                Some(taken) => taken.parse().ok()?,
                None => timeline.next()?,
            },
        })
    }

    /// That of a data directory. One that cannot be read is an error: nobody knows whether another server is
    /// the primary.
    pub(crate) fn load(disk: &dyn Disk, data_dir: &Path) -> Result<Option<Self>, ServerError> {
        let path = path(data_dir);
        let marker = match disk.read_text(&path, FILE_BYTES_MAX) {
            Ok(text) => Self::decode(&text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => None,
            Err(error) => {
                return Err(ServerError::new(format!("could not read file \"{}\": {error}", path.display())));
            }
        };
        marker.map(Some).ok_or_else(|| {
            let what = format!("the marker of a switchover, \"{}\", is damaged", path.display());
            ServerError::new(what)
                .with_hint("If no other server is the primary, remove the file; else clone this server anew.")
        })
    }

    /// Makes it durable. From here on this directory's node does not write by itself.
    pub(crate) fn store(&self, disk: &dyn Disk, data_dir: &Path) -> io::Result<()> {
        let text = seal_text(format!("{FIRST_LINE}\n{self}"));
        if host::planted!("the marker of a handover is not synced") {
            return disk.open(&path(data_dir), OpenMode::Create)?.write_all_at(text.as_bytes(), 0);
        }
        write_file_durably(disk, &path(data_dir), text.as_bytes())
    }
}

/// Removes the marker, durably; whether there was one.
pub(crate) fn forget(ground: &Ground) -> io::Result<bool> {
    let (disk, path) = (&*ground.host.disk, path(&ground.data_dir));
    match disk.remove_file(&path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    }
    if let Some(folder) = path.parent() {
        disk.sync_dir(folder)?;
    }
    Ok(true)
}

/// The handover is decided by what this node does now: it follows a timeline that left the marked one, or was
/// promoted.
pub(crate) fn settle(ground: &Ground, how: &str) {
    match forget(ground) {
        Ok(true) => ground.log.log(format!("the switchover is decided: {how}")),
        Ok(false) => {}
        Err(error) => {
            ground.log.warning(format!("could not remove file \"{HANDOVER_FILE}\": {error}"));
        }
    }
}

/// Makes the directory of a primary that has shut down a standby's, which follows this server.
pub(crate) fn become_standby(ground: &Ground, conninfo: &str) -> Result<(), ServerError> {
    let change = |name: &str, value: &str| {
        ground.alter_system(AutoChange::Set(name, value)).map_err(|error| {
            ServerError::new(format!("could not set {name} in postgresql.auto.conf: {error}"))
        })
    };
    change("primary_conninfo", conninfo)?;
    let settings = ground.settings();
    for (name, harmless) in OF_OTHER_RECOVERIES {
        let Ok(value) = settings.show(name) else { continue };
        if value != harmless {
            change(name, harmless)?;
            // Nobody hears of it otherwise, and its slot keeps log for nobody.
            ground.log.log(format!(
                "the switchover set {name} to '{harmless}': '{value}' was of the server that this one followed before"
            ));
        }
    }
    let path = ground.data_dir.join("standby.signal");
    write_file_durably(&*ground.host.disk, &path, b"")
        .map_err(|error| ServerError::new(format!("could not write file \"standby.signal\": {error}")))
}

/// The stream of the standby with this name, if it can be handed the role.
pub(crate) fn find(replication: &Replication, name: &str) -> Result<SenderRow, ServerError> {
    let rows = replication.sender_rows(replication.log.flushed());
    let mut fitting = rows.iter().filter(|row| row.info.application_name == name);
    let Some(row) = fitting.next() else {
        let mut names: Vec<_> = rows.iter().map(|row| format!("\"{}\"", row.info.application_name)).collect();
        names.dedup();
        let connected = if names.is_empty() {
            "No standby is connected.".to_owned()
        } else {
            format!("Connected are: {}.", names.join(", "))
        };
        return Err(ServerError::new(format!("no standby \"{name}\" is connected")).with_hint(connected));
    };
    if fitting.next().is_some() {
        return Err(ServerError::new(format!(
            "more than one standby is connected under the name \"{name}\""
        ))
        .with_hint("Give each a cluster_name, or an application_name in primary_conninfo, of its own."));
    }
    if row.copying || !row.takes_over {
        return Err(ServerError::new(format!("\"{name}\" is no standby that can take over"))
            .with_hint("It must be a Plimsoll server of this version, and no copy in the making."));
    }
    if row.state != SenderState::Streaming {
        return Err(ServerError::new(format!("standby \"{name}\" is not streaming: {}", row.state.name()))
            .with_hint("Try again once it has caught up."));
    }
    Ok(row.clone())
}

/// How this node reaches the standby of that stream afterwards: by what was given, or by the one of
/// plimsoll.peers or the member of the roster that calls itself so.
pub(crate) async fn way_to(
    replication: &Replication,
    row: &SenderRow,
    given: &str,
) -> Result<String, ServerError> {
    let standby = row.info.application_name.as_str();
    let system = replication.database.system_id();
    if !given.is_empty() {
        check_given(replication, row, given).await?;
        return normal_form(replication, given, true);
    }
    let config = replication.ground.config();
    let ask = |ways: Vec<String>| {
        let mut asked = JoinSet::new();
        for way in ways {
            asked.spawn(task(async move { (identify(&way).await, way) }));
        }
        asked
    };
    // What an administrator wrote goes before what the roster leads to, also if its answer takes longer.
    let peers = ask(split_peers(&config.peers).map(str::to_owned).collect());
    let members = ask(by_roster(replication, row));
    let mut tried = Vec::new();
    for (mut asked, guessed) in [(peers, false), (members, true)] {
        while let Some(answer) = asked.join_next().await {
            // One whose question ended by a panic says nothing.
            let Ok((answer, peer)) = answer else { continue };
            let why = match answer {
                Ok(Identity { system: theirs, .. }) if theirs != system => {
                    "the server there belongs to another cluster".to_owned()
                }
                Ok(Identity { id, .. }) if id == Some(replication.roster.own_id()) => {
                    "that is this server".to_owned()
                }
                // More than one may have its name.
                Ok(Identity { id: Some(id), name, .. })
                    if name == standby && id != row.directory.unwrap_or(id) =>
                {
                    "that is another server of that name".to_owned()
                }
                Ok(Identity { name, .. }) if name == standby => {
                    let way = normal_form(replication, &peer, false)?;
                    if guessed && replication.ground.current().tls.is_some() {
                        warn_of_unchecked(replication, standby, &way);
                    }
                    return Ok(way);
                }
                Ok(Identity { name, .. }) => format!("the server there calls itself \"{name}\""),
                Err(error) => error.to_string(),
            };
            tried.push(format!("{}: {why}", asking::peer_name(&peer)));
        }
    }
    let tried = match tried.is_empty() {
        true => "neither the roster nor plimsoll.peers has an address for it".to_owned(),
        false => tried.join("; "),
    };
    let what = format!("it is not known how to reach standby \"{standby}\" to follow it afterwards: {tried}");
    Err(ServerError::new(what).with_hint("Give a connection string, or name the standby in plimsoll.peers."))
}

/// Whether the server that was given is the standby of that stream.
async fn check_given(replication: &Replication, row: &SenderRow, given: &str) -> Result<(), ServerError> {
    let standby = row.info.application_name.as_str();
    let found = identify(given).await.map_err(|error| {
        ServerError::new(format!("cannot reach standby \"{standby}\" to follow it afterwards: {error}"))
    })?;
    if found.system != replication.database.system_id() {
        let what = format!("the server that \"{standby}\" is to be reached by belongs to another cluster");
        return Err(ServerError::new(what));
    }
    if found.id == Some(replication.roster.own_id()) {
        let what = format!("the server that \"{standby}\" is to be reached by is this one");
        return Err(ServerError::new(what));
    }
    if let Some((theirs, id)) = row.directory.zip(found.id).filter(|(theirs, id)| theirs != id) {
        let what =
            format!("the server that \"{standby}\" is to be reached by is another one, \"{}\"", found.name);
        let detail = format!("Its directory has the id {id}, and that of the standby {theirs}.");
        return Err(ServerError::new(what).with_hint(detail));
    }
    Ok(())
}

/// The addresses that the roster has for the standby of a stream, with the user name that the stream
/// logged in by. How a server is spoken to (sslmode and its kin) this node's primary_conninfo of an earlier
/// life says.
fn by_roster(replication: &Replication, row: &SenderRow) -> Vec<String> {
    let former = conninfo::split(&replication.ground.config().primary_conninfo).unwrap_or_default();
    let is_same = former.iter().any(|(name, value)| name == "user" && *value == row.info.user);
    let speaks = |name: &str| !OF_ONE_SERVER.contains(&name) && (is_same || name != "password");
    let manner: Vec<_> = former.iter().filter(|(name, _)| speaks(name)).collect();
    let members = replication.roster.members().into_iter();
    let named = members.filter(|member| member.name == row.info.application_name);
    let way = |address: &Address| {
        let port = address.port().to_string();
        let place = [("host", address.host()), ("port", &port), ("user", &row.info.user)];
        let manner = manner.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        conninfo::join(place.into_iter().chain(manner))
    };
    named.flat_map(|member| member.addresses.iter().map(way).collect::<Vec<_>>()).collect()
}

/// Tells that a server with TLS will follow one whose certificate it does not check.
fn warn_of_unchecked(replication: &Replication, standby: &str, way: &str) {
    let mode = ConnInfo::parse(way).map(|info| info.tls.mode);
    if !matches!(mode, Ok(SslMode::VerifyCa | SslMode::VerifyFull)) {
        replication.ground.log.warning(format!(
            "to follow standby \"{standby}\" this server goes by an address of the roster, and does not check the \
             certificate there: name the standby in plimsoll.peers with sslmode=verify-full to have it checked"
        ));
    }
}

/// What primary_conninfo becomes. This node follows by the name that it told the cluster, unless the text is
/// meant for that and `may_name` another one.
fn normal_form(replication: &Replication, conninfo: &str, may_name: bool) -> Result<String, ServerError> {
    let wrong = |error: &dyn fmt::Display| ServerError::new(error.to_string());
    let mut text = primary_conninfo(conninfo).map_err(|error| wrong(&error))?;
    let config = replication.ground.config();
    let (own, mut given) = (follows_as(&config), conninfo::split(&text).map_err(|error| wrong(&error))?);
    let names = given.iter().any(|(name, _)| name == "application_name");
    if follows_by(&text, &config) != own && !(names && may_name) {
        given.retain(|(name, _)| name != "application_name");
        let words = given.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        text = conninfo::join(words.chain([("application_name", own.as_str())]));
    }
    match text.chars().any(char::is_control) {
        true => Err(ServerError::new("the connection string holds control characters")),
        false => Ok(text),
    }
}

/// Why this primary hands its role to nobody now.
pub(crate) fn check(replication: &Replication) -> Result<(), ServerError> {
    if let Some(reason) = replication.database.fenced() {
        return Err(ServerError::new(format!("this server is fenced: {reason}")));
    }
    let (ground, trigger) = (&replication.ground, replication.ground.config().promote_trigger_file.clone());
    if !trigger.is_empty() && ground.host.disk.exists(&ground.data_dir.join(&*trigger)).unwrap_or(false) {
        return Err(ServerError::new(format!(
            "the file of promote_trigger_file is there, and would have this server take its role back at \
             once: remove \"{trigger}\" first"
        )));
    }
    check_command_line(&ground.settings())
}

/// What [`become_standby`] writes must come into force: an option of the command line goes before it, also in
/// the next life of the same process, so this node would not follow the one that replaces it.
fn check_command_line(settings: &Settings) -> Result<(), ServerError> {
    let is_fixed = |name: &str| matches!(settings.source(name), Some((Source::CommandLine, _)));
    let is_harmful = |(name, harmless): &(&str, &str)| {
        is_fixed(name) && settings.show(name).is_ok_and(|value| value != *harmless)
    };
    let harmful = OF_OTHER_RECOVERIES.iter().find(|setting| is_harmful(setting)).map(|(name, _)| *name);
    let fixed = if is_fixed("primary_conninfo") { Some("primary_conninfo") } else { harmful };
    match fixed {
        None => Ok(()),
        Some(name) => Err(ServerError::new(format!(
            "{name} is set on the command line of this server, which could not follow the new primary"
        ))
        .with_hint(format!("Start this server without it; {name} belongs in postgresql.auto.conf."))),
    }
}

/// Whether this standby takes the role over: it must have exactly the log that ends at `end`, all of it
/// redone, and room for its own. What was given up on the primary is no reason against it, unless it is there
/// after all. Gives the newest timeline that it knows: its own has the next number, unless its archive has
/// more.
pub(crate) fn judge(
    replication: &Replication,
    end: Lsn,
    branch: Option<wal::history::BranchId>,
    given_up: &GivenUp,
) -> Result<TimelineId, String> {
    let state = replication.log.state();
    let (Some(positions), Some(recovery)) = (state.standby(), replication.recovery()) else {
        return Err("it is not in recovery".to_owned());
    };
    if state.history.branch() != branch {
        return Err(format!("it follows another branch, timeline {}", state.history.target()));
    }
    let (received, replayed) = (positions.received(), positions.replayed());
    let takes_any = host::planted!("a role is taken without the end of the log");
    if (received != end || replayed != end) && !takes_any {
        return Err(format!("its log ends at {received} and is replayed up to {replayed}, not {end}"));
    }
    let checked = fencing::check_promotion(replication).and_then(|()| recovery.check_promotion());
    checked.map_err(|why| why.message)?;
    // Its recovery would end with an error, and then nobody writes.
    if recovery.lacks_target() {
        return Err("its recovery has a target and has not reached it".to_owned());
    }
    let ours = &state.history;
    let mut heard = replication.roster.heard_branches(&asking::own_witness(replication));
    heard.retain(|theirs| !given_up.includes(ours, theirs) || asking::is_there(replication, theirs));
    check_heard(ours, &heard).inspect_err(|_| fencing::inquire(replication))?;
    // A promotion that finds none ends the server, and then nobody writes.
    replication
        .place
        .look_for_room()
        .map_err(|error| format!("it lacks room for its own timeline: {error}"))?;
    newest_timeline(replication).map_err(|error| format!("could not look for timelines: {error}"))
}

/// A role is not taken beside a timeline that went on from `ours` already: neither would go on from the
/// other, so neither would fence the other. The primary hears of that timeline and is fenced by it.
fn check_heard(ours: &TimelineHistory, heard: &[TimelineHistory]) -> Result<(), String> {
    for theirs in heard {
        if let Relation::Descendant { fork } = relation(ours, theirs) {
            let (next, timeline) = (theirs.target(), ours.target());
            return Err(format!("it was told of timeline {next}, which left timeline {timeline} at {fork}"));
        }
    }
    Ok(())
}

/// The newest timeline that this directory has seen, or of which others told.
pub(crate) fn newest_timeline(replication: &Replication) -> io::Result<TimelineId> {
    let (place, control) = (&replication.place, replication.database.control());
    let seen = timelines::newest_seen(&*place.disk, &place.pg_wal, &control)?;
    Ok(seen.max(asking::newest(replication)))
}

/// A handover that is asked for and not the node's yet: it is taken back when this is dropped.
pub(crate) struct Asking {
    replication: Arc<Replication>,
    pub(crate) handover: Arc<Handover>,
    given: bool,
}

impl Asking {
    /// Asks the stream's standby how far it is.
    pub(crate) fn begin(replication: &Arc<Replication>, row: &SenderRow) -> Result<Self, ServerError> {
        let handover = Arc::new(Handover::new(row.stream));
        if replication.senders.hand_over(&handover) {
            Ok(Self { replication: replication.clone(), handover, given: false })
        } else {
            Err(ServerError::new("another switchover is on its way"))
        }
    }

    /// Waits until the standby has flushed and replayed what is flushed here now.
    pub(crate) async fn until_it_keeps_up(&self) -> Result<(), String> {
        let wanted = self.replication.log.flushed();
        let mut standing = self.handover.subscribe();
        let reached = standing.wait_for(|now| {
            now.step.outcome().is_some() || now.progress.flushed.min(now.progress.replayed) >= wanted
        });
        // The handover lives in self.
        let left = reached.await.is_ok_and(|now| now.step.outcome().is_some());
        if left { Err("it has left".to_owned()) } else { Ok(()) }
    }

    /// The node takes it from here.
    pub(crate) fn give(mut self) -> Arc<Handover> {
        self.given = true;
        self.handover.clone()
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        if !self.given {
            self.handover.on(&Event::Withdraw);
            self.replication.senders.end_handover();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use host::RealDisk;
    use wal::history::BranchId;

    #[test]
    fn no_role_is_taken_beside_a_timeline_that_went_on_already() {
        let fork = |parent: &TimelineHistory, timeline: u32, at: u64| {
            let branch = BranchId::new(u64::from(timeline));
            parent.fork(TimelineId::new(timeline), Lsn::new(at), "test", branch).unwrap()
        };
        let one = TimelineHistory::root(TimelineId::FIRST);
        let two = fork(&one, 2, 0x20_00E8);
        let (three, beside) = (fork(&two, 3, 0x30_0000), fork(&one, 4, 0x10_0000));
        assert_eq!(check_heard(&one, &[]), Ok(()));
        assert_eq!(check_heard(&two, &[one.clone(), two.clone(), beside.clone()]), Ok(()));
        let why = "it was told of timeline 3, which left timeline 2 at 0/300000";
        assert_eq!(check_heard(&two, &[beside, three.clone()]), Err(why.to_owned()));
        let why = "it was told of timeline 3, which left timeline 1 at 0/2000E8";
        assert_eq!(check_heard(&one, &[three]), Err(why.to_owned()));
    }

    #[test]
    fn a_command_line_that_says_whom_to_follow_keeps_the_role_here() {
        let checked = |name: &str, value: &str, source: Source| {
            let mut settings = Settings::new();
            settings.set(name, value, source).unwrap();
            check_command_line(&settings)
        };
        for (name, value) in [
            ("primary_conninfo", "host=two"),
            ("primary_conninfo", ""),
            ("primary_slot_name", "of_two"),
            ("recovery_target_lsn", "0/3000000"),
        ] {
            let refused = checked(name, value, Source::CommandLine).unwrap_err();
            assert!(refused.message.starts_with(name), "{name}: {}", refused.message);
            assert!(checked(name, value, Source::File).is_ok(), "{name}");
        }
        assert!(checked("primary_slot_name", "", Source::CommandLine).is_ok());
        assert!(checked("recovery_target_timeline", "latest", Source::CommandLine).is_ok());
        assert!(checked("port", "5433", Source::CommandLine).is_ok());
    }

    #[test]
    fn a_marker_is_read_as_it_was_written_and_a_damaged_one_starts_nobody() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("plimsoll")).unwrap();
        assert_eq!(Marker::load(&RealDisk, dir.path()).unwrap(), None);
        let marker = Marker {
            timeline: TimelineId::new(3),
            end: Lsn::new(0x0300_0148),
            standby: "two = 2".to_owned(),
            conninfo: "host=/tmp port=5433 user=postgres".to_owned(),
            taken: TimelineId::new(7),
        };
        marker.store(&RealDisk, dir.path()).unwrap();
        let path = dir.path().join(HANDOVER_FILE);
        let whole = std::fs::read(&path).unwrap();
        let of_before = marker.to_string().replace("taken=7\n", "");
        std::fs::write(&path, seal_text(format!("{FIRST_LINE}\n{of_before}"))).unwrap();
        let found = Marker::load(&RealDisk, dir.path()).unwrap().unwrap();
        assert_eq!(found.taken, TimelineId::new(4), "of before it was written down");
        std::fs::write(&path, &whole).unwrap();
        assert_eq!(Marker::load(&RealDisk, dir.path()).unwrap(), Some(marker));
        for len in 0..whole.len() {
            std::fs::write(&path, &whole[..len]).unwrap();
            assert!(Marker::load(&RealDisk, dir.path()).is_err(), "{len} bytes");
        }
    }
}
