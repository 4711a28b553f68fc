//! Asking the cluster's other nodes what they are witnesses of: whom, how, and what they said last.
//!
//! Asked are the members of the roster, each at each address that is known, and who is named in
//! plimsoll.peers, each server of an entry that names several: also one at a member's address, since an entry
//! may lead elsewhere or be refused. What an address answers is the word of who answers, which may be another
//! member, this node, or a server that is none of the cluster's nodes and has taken an address over: a test
//! copy. One that nobody named counts if one of both knows the other by its id.

use super::Replication;
use host::task::task;
use host::{Instant, Timestamp};
use protocol::conninfo::{self, ConnInfo, Endpoint};
use replica::directory_id::DirectoryId;
use replica::driver::peers::{Asker, Peer, Silence, SilenceKind, probe, probe_member, split_peers};
use replica::roster::login::MemberLogin;
use replica::roster::{Address, Member};
use replica::timeline::heard::HISTORY_BYTES_MAX;
use replica::timeline::relation::{Relation, relation};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::task::JoinSet;
use wal::TimelineId;
use wal::history::TimelineHistory;

/// The view's word for a server that is at a member's address and is none.
const UNKNOWN_THERE: &str = "unknown";
/// Pause before one is asked again that is about to start.
const NOT_YET_PAUSE: Duration = Duration::from_millis(20);

/// Somebody to ask.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// In messages: without what a connection string may hold of secrets.
    pub(crate) name: String,
    how: How,
}

#[derive(Clone, Debug)]
enum How {
    Named(String),
    Member(Address, MemberLogin, Asker),
}

impl Target {
    /// Whether the settings name it.
    pub(crate) const fn is_named(&self) -> bool {
        matches!(self.how, How::Named(_))
    }

    async fn ask(&self) -> Result<Peer, Silence> {
        match &self.how {
            How::Named(conninfo) => probe(conninfo).await,
            How::Member(address, login, asker) => probe_member(address, login, *asker).await,
        }
    }

    /// Asks again while it is about to start.
    async fn ask_until(&self, end: Instant) -> Result<Peer, Silence> {
        loop {
            match self.ask().await {
                Err(silence) if silence.kind == SilenceKind::NotYet && Instant::now() < end => {
                    tokio::time::sleep(NOT_YET_PAUSE).await;
                }
                answer => return answer,
            }
        }
    }
}

/// One that was asked, and what it said.
pub(crate) struct Asked {
    pub(crate) target: Target,
    pub(crate) answer: Result<Peer, Silence>,
}

/// What an address said last.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) at: Timestamp,
    /// The words of the view for it.
    pub(crate) state: &'static str,
    pub(crate) member: Option<DirectoryId>,
    /// What it writes or follows, and what it is a witness of.
    pub(crate) timelines: Option<(TimelineId, TimelineId)>,
    /// Why it says nothing.
    pub(crate) error: Option<String>,
    /// This server has replaced it, and it does not know this one.
    is_unaware: bool,
}

impl Told {
    fn new(asked: &Asked, at: Timestamp) -> Self {
        match &asked.answer {
            Ok(peer) => Self {
                at,
                state: "answers",
                member: peer.member,
                timelines: Some((peer.timeline, peer.branch.history.target())),
                error: None,
                is_unaware: false,
            },
            Err(silence) => Self {
                at,
                state: match silence.kind {
                    SilenceKind::NotThere => "not there",
                    SilenceKind::NotYet => "starting",
                    SilenceKind::Unknown => "cannot be asked",
                },
                member: None,
                timelines: None,
                error: Some(silence.error.to_string()),
                is_unaware: false,
            },
        }
    }
}

/// What was said last, by the target's name.
pub(super) type Answers = BTreeMap<String, Told>;

/// A peer's name: of its connection string as much as may be shown.
pub(super) fn peer_name(conninfo: &str) -> String {
    let pairs = conninfo::split(conninfo).unwrap_or_default();
    let shown = pairs.iter().filter(|(name, _)| matches!(name.as_str(), "host" | "hostaddr" | "port"));
    let shown: Vec<_> = shown.map(|(name, value)| format!("{name}={value}")).collect();
    if shown.is_empty() { "peer".to_owned() } else { shown.join(" ") }
}

/// Where a connection string leads.
pub(super) fn places(conninfo: &str) -> impl Iterator<Item = (String, u16)> {
    let endpoints = ConnInfo::parse(conninfo).map(|info| info.endpoints).unwrap_or_default();
    endpoints.into_iter().map(|(endpoint, port)| match endpoint {
        Endpoint::Tcp(host) => (host, port),
        Endpoint::Unix(folder) => (folder.display().to_string(), port),
    })
}

/// Those that the setting names: each server of an entry, since any of them may be the one that knows. Who is
/// named twice by the same words is asked once; each has a name of its own, by which its answer is kept.
fn named_targets(peers: &str) -> Vec<Target> {
    let (mut targets, mut ways, mut names) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    for way in split_peers(peers).flat_map(ways_of) {
        if !ways.insert(way.clone()) {
            continue;
        }
        let shown = peer_name(&way);
        let mut name = shown.clone();
        for number in 2.. {
            if names.insert(name.clone()) {
                break;
            }
            name = format!("{shown} ({number})");
        }
        targets.push(Target { name, how: How::Named(way) });
    }
    targets
}

/// A connection string for each server of an entry. Where it names several, which of them it would choose
/// (target_session_attrs) is no matter: all are asked.
fn ways_of(peer: &str) -> Vec<String> {
    let mut ways = conninfo::servers(peer);
    if ways.len() > 1 {
        // The last word on it counts.
        ways.iter_mut().for_each(|way| way.push_str(" target_session_attrs=any"));
    }
    ways
}

/// Whom to ask now.
pub(crate) fn targets(replication: &Replication) -> Vec<Target> {
    let mut targets = named_targets(&replication.ground.config().peers);
    let mut seen = BTreeSet::new();
    let Some(login) = &replication.member_login else { return targets };
    if host::planted!("members of the roster are not asked") {
        return targets;
    }
    let asker = asker(replication);
    for address in replication.roster.members().into_iter().flat_map(|member: Member| member.addresses) {
        if seen.insert((address.host().to_owned(), address.port())) {
            let mut name = address.to_string();
            // An entry's answer and a member's are two.
            if targets.iter().any(|target| target.name == name) {
                name.push_str(" (by the roster)");
            }
            targets.push(Target { name, how: How::Member(address, login.clone(), asker) });
        }
    }
    targets
}

/// Questions on their way.
#[derive(Default)]
pub(super) struct Questions {
    asking: JoinSet<Asked>,
    /// Whom, by name: nobody is asked twice at once.
    open: BTreeSet<String>,
}

impl Questions {
    /// Asks those who are not being asked already. Until `end` who is about to start is asked again.
    pub(super) fn ask(&mut self, targets: Vec<Target>, end: Option<Instant>) {
        for target in targets {
            if self.open.insert(target.name.clone()) {
                let end = end.unwrap_or_else(Instant::now);
                self.asking.spawn(task(async move {
                    let answer = target.ask_until(end).await;
                    Asked { target, answer }
                }));
            }
        }
    }

    /// The next answer, noted; None if no question is open.
    pub(super) async fn next(&mut self, replication: &Replication) -> Option<Asked> {
        loop {
            match self.asking.join_next().await {
                Some(Ok(asked)) => {
                    self.open.remove(&asked.target.name);
                    note(replication, &asked);
                    return Some(asked);
                }
                // One whose question ended by a panic says nothing.
                Some(Err(_)) => {}
                None => {
                    self.open.clear();
                    return None;
                }
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.asking.is_empty()
    }

    /// Whose answer is still open.
    pub(super) fn open(&self) -> Vec<String> {
        self.open.iter().cloned().collect()
    }
}

fn note(replication: &Replication, asked: &Asked) {
    let (clock, name) = (&replication.ground.host.clock, &asked.target.name);
    let mut told = Told::new(asked, clock.now());
    if let Ok(peer) = &asked.answer {
        if let Some(member) = peer.member {
            replication.roster.heard_of(member, clock.monotonic());
        }
        if !is_of_cluster(replication, peer) {
            told.state = UNKNOWN_THERE;
        }
        told.is_unaware = told.state != UNKNOWN_THERE && is_unaware(replication, peer);
        hear(replication, name, peer);
    }
    let (is_unknown, is_unaware) = (told.state == UNKNOWN_THERE, told.is_unaware);
    let before = replication.fence.answers.lock().insert(name.clone(), told);
    if is_unaware && !before.as_ref().is_some_and(|before| before.is_unaware) {
        replication.ground.log.warning(format!(
            "the server at \"{name}\" is on a timeline that this server has replaced, and does not know this server: \
             if it takes writes it goes on; name this server in its plimsoll.peers"
        ));
    }
    if is_unknown && before.is_none_or(|before| before.state != UNKNOWN_THERE) {
        replication.ground.log.warning(format!(
            "the server at \"{name}\" is no node of this cluster that is known, and does not know this one: what it \
             tells of timelines does not count; if it is one, name it in plimsoll.peers"
        ));
    }
}

/// Whether it is on a branch that this primary has replaced, and asks nobody here, since it has forgotten
/// this node.
fn is_unaware(replication: &Replication, peer: &Peer) -> bool {
    let goes_on = || relation(&peer.branch.history, &own_witness(replication));
    !peer.knows_us
        && !replication.database.is_in_recovery()
        && peer.branch.system == replication.database.system_id()
        && peer.timeline < replication.log.state().history.target()
        && matches!(goes_on(), Relation::Descendant { .. })
}

/// Whether what it tells counts: not of a copy that stands where a member was. A node that was made anew
/// knows this one by who it streams from.
pub(super) fn is_of_cluster(replication: &Replication, peer: &Peer) -> bool {
    let Some(id) = peer.member else { return true };
    peer.knows_us || id == replication.roster.own_id() || replication.roster.has(id)
}

/// Keeps what a node of the cluster tells of timelines. A number counts whoever of them tells of it; of a
/// branch it is a witness, or passes on what one told. That of this node itself is no news; another one of
/// its id works on a copy of its directory, and what that tells counts.
pub(super) fn hear(replication: &Replication, name: &str, peer: &Peer) {
    let roster = &replication.roster;
    let is_strange = peer.branch.system != replication.database.system_id();
    if is_strange || !is_of_cluster(replication, peer) {
        return;
    }
    roster.hear_of_timeline(peer.timeline.max(peer.newest));
    hear_of_branch(replication, name, &peer.branch.history);
    let ours = own_witness(replication);
    for passed_on in peer.heard.iter().filter(|theirs| !roster.is_given_up(&ours, theirs)) {
        hear_of_branch(replication, name, passed_on);
    }
}

/// A branch is not kept, which is said once of each timeline.
fn tell_too_long(replication: &Replication, name: &str, timeline: TimelineId) {
    replication.roster.hear_of_timeline(timeline);
    let before = replication.fence.too_long.lock().replace(timeline);
    if before != Some(timeline) {
        replication.ground.log.warning(format!(
            "the history of timeline {timeline}, of which \"{name}\" tells, is longer than {HISTORY_BYTES_MAX} \
             bytes: who asks this server is not told of that timeline"
        ));
    }
}

/// Keeps a branch of which a witness told, or who passes that on.
pub(super) fn hear_of_branch(replication: &Replication, name: &str, theirs: &TimelineHistory) {
    if theirs.text().len() > HISTORY_BYTES_MAX {
        return tell_too_long(replication, name, theirs.target());
    }
    let ours = own_witness(replication);
    let is_news = replication.roster.hear_of_branch(&ours, theirs);
    let is_standby = replication.database.is_in_recovery();
    if is_news
        && is_standby
        && let Relation::Descendant { fork } = relation(&ours, theirs)
    {
        replication.ground.log.log(format!(
            "\"{name}\" tells of timeline {}, which left this server's timeline {} at {fork}: \
             who asks this server is told of it, too",
            theirs.target(),
            ours.target()
        ));
    }
}

/// Whether a node was a witness of this branch when it was asked last: it is not gone, whoever gave it up.
pub(super) fn is_there(replication: &Replication, theirs: &TimelineHistory) -> bool {
    let answers = replication.fence.answers.lock();
    let mut known = answers.values().filter(|told| told.state != UNKNOWN_THERE);
    known.any(|told| told.timelines.is_some_and(|(_, witnessed)| witnessed == theirs.target()))
}

/// The newest timeline of which this node knows, or was told.
pub(crate) fn newest(replication: &Replication) -> TimelineId {
    replication.roster.newest_heard().max(replication.log.state().history.target())
}

/// As what this node asks others.
pub(super) fn asker(replication: &Replication) -> Asker {
    Asker { id: replication.roster.own_id(), newest: newest(replication) }
}

/// The branch of which this node is a witness: the first timeline if of nothing else.
pub(crate) fn own_witness(replication: &Replication) -> TimelineHistory {
    replication.log.witnessed().unwrap_or_else(|| TimelineHistory::root(TimelineId::FIRST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_server_of_an_entry_is_asked_under_a_name_of_its_own() {
        let peers = "host=a,b port=1,2 user=u; host=b port=2 user=v;host=c port=3;host=c port=3; ;\
                     host=a,d port=1 target_session_attrs=primary";
        let targets = named_targets(peers);
        let of = |target: &Target| match &target.how {
            How::Named(way) => (target.name.clone(), way.clone()),
            How::Member(..) => panic!("no member is named"),
        };
        let found: Vec<_> = targets.iter().map(of).collect();
        for ((name, way), (expected, leads)) in found.iter().zip([
            ("host=a port=1", "host=a port=1 user=u target_session_attrs=any"),
            ("host=b port=2", "host=b port=2 user=u target_session_attrs=any"),
            ("host=b port=2 (2)", "host=b port=2 user=v"),
            ("host=c port=3", "host=c port=3"),
            ("host=a port=1 (2)", "host=a port=1 target_session_attrs=primary target_session_attrs=any"),
            ("host=d port=1", "host=d port=1 target_session_attrs=primary target_session_attrs=any"),
        ]) {
            assert_eq!((name.as_str(), way.as_str()), (expected, leads));
            assert!(ConnInfo::parse(way).is_ok(), "{way}");
        }
        assert_eq!(found.len(), 6, "{found:?}");
        assert!(targets.iter().all(Target::is_named));
    }
}
