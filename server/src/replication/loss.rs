//! What a promotion would lose ([`replica::timeline::loss`]): what this node says of itself to others, and
//! the questions to all of them for a report.
//!
//! Who receives while it is asked may confirm more before it answers. So whether it receives is looked at
//! before and after its positions.
//!
//! A member that does not answer may be no more. It is one node with who has its directory since
//! ([`replica::roster::former`]). One at whose address another node answers, of the same name, has ended
//! before that one's server began there: it could go on at another address alone, and would have said so. So
//! that one has all that it confirmed, once it has had all that its primary had. Both may have been there at
//! one time, though, and have confirmed one commit; and who was seen at another address too may have been
//! given this one while it ran, before the other ended ([`heir`]).

use super::Replication;
use super::asking::{asker, hear, own_witness, places};
use super::standby::settings::follows_as;
use crate::configuration::recovery_target;
use crate::tasks::blocking;
use host::task::task;
use replica::directory_id::DirectoryId;
use replica::driver::Stretch;
use replica::driver::peers::{self, Peer, split_peers};
use replica::receiver::ReceiverStatus;
use replica::roster::login::MemberLogin;
use replica::roster::{Address, Member, Roster};
use replica::sync::Progress;
use replica::timeline::loss::wire::Told;
use replica::timeline::loss::{Answer, Commits, Further, Node, Report, Role, Rule, best, further, judge};
use std::collections::{BTreeMap, BTreeSet};
use std::mem::discriminant;
use std::sync::Arc;
use std::time::Duration;
use storage::Error;
use tokio::task::JoinSet;
use wal::{Live, LogState, Lsn, Stopping};

/// The least time that others have for their answers.
const ANSWER_TIME_MIN: Duration = Duration::from_millis(500);

/// What this node says of itself. Reads its log where that is not replayed yet.
pub(crate) async fn own(replication: &Arc<Replication>) -> Result<Told, Error> {
    let this = replication.clone();
    let answer = blocking(move || answer(&this)).await.map_err(|_| Error::Shutdown)??;
    let system = replication.database.system_id();
    let name = follows_as(&replication.ground.config());
    Ok(Told { system, id: replication.roster.own_id(), name, answer })
}

/// The commits in a stretch of this node's log.
pub(crate) async fn own_commits(replication: &Arc<Replication>, from: Lsn, upto: Lsn) -> Option<Commits> {
    let this = replication.clone();
    let read = blocking(move || {
        let log = this.log.state();
        // What is only in memory is not read.
        this.place.read_stretch(&log, from, upto.min(log.written()))
    });
    read.await.ok().map(|stretch| stretch.commits)
}

fn answer(replication: &Replication) -> Result<Answer, Error> {
    let database = &replication.database;
    let log = replication.log.state();
    let primary_end = replication
        .recovery()
        .and_then(|recovery| recovery.end_of_primary())
        .filter(|(end, _)| end.is_valid());
    let answer = Answer {
        history: log.history.clone(),
        role: Role::Standby { streams: false },
        progress: Progress::default(),
        end: Lsn::INVALID,
        confirmed: database.commit_gate().confirmed(),
        has_caught_up: false,
        rule: None,
        primary_end,
        last_commit: database.last_redone_commit(),
        is_fenced: false,
        heard: replication.roster.heard_branches(&own_witness(replication)),
    };
    match &log.live {
        Live::Primary(writer) => {
            let is_fenced = database.fenced().is_some();
            let acknowledges = !is_fenced && log.stopping == Stopping::No;
            let positions = writer.positions();
            let flushed = positions.flushed();
            let progress = Progress { written: positions.written(), flushed, replayed: flushed };
            let (role, end) = (Role::Primary { acknowledges }, positions.inserted());
            Ok(Answer { role, progress, end, rule: rule(replication)?, is_fenced, ..answer })
        }
        Live::Standby(_) => standby(replication, &log, answer),
    }
}

/// Whether it receives, over whichever other nodes, what a primary may send: a standby that receives of one
/// without a primary confirms nothing to anybody, and what that one has was sent before.
fn streams(replication: &Replication) -> bool {
    let view = replication.recovery().and_then(|recovery| recovery.receiver());
    let receives = view.is_some_and(|view| view.status == ReceiverStatus::Streaming);
    receives && replication.roster.may_hear_primary()
}

fn standby(replication: &Replication, log: &LogState, answer: Answer) -> Result<Answer, Error> {
    let before = streams(replication);
    // Before the rule is read: what that says holds from here on.
    let redone = replication.database.applied();
    let rule = rule(replication)?;
    let Some(positions) = log.standby() else { return Ok(answer) };
    let (received, flushed, replayed) = (positions.received(), positions.flushed(), positions.replayed());
    let progress = Progress { written: received, flushed, replayed };
    // A promotion ends at a recovery target, whatever was received behind it.
    let targets = recovery_target::of_settings(&replication.ground.settings());
    let ends_at_target = !matches!(targets, Ok(None));
    let Stretch { commits, is_whole } = match redone < received && !ends_at_target {
        true => replication.place.read_stretch(log, redone, received),
        false => Stretch { commits: Commits { upto: redone, ..Commits::default() }, is_whole: true },
    };
    let is_same = replication.log.state().generation() == log.generation();
    // Under another name it may have confirmed commits that were not its own to confirm by this one.
    let name = follows_as(&replication.ground.config());
    let caught_up = replication.recovery().is_some_and(|recovery| recovery.feed.has_caught_up_as(&name));
    Ok(Answer {
        role: Role::Standby { streams: before || streams(replication) },
        progress,
        end: commits.upto,
        // Of a log that cannot be read to its end nobody knows how far it went.
        // Nor does its end tell then how far it has confirmed.
        has_caught_up: caught_up && is_same && is_whole && !ends_at_target,
        rule: rule.filter(|_| is_whole && !commits.changes_rule),
        ..answer
    })
}

/// How the primary acknowledges commits, by the log as far as it is redone here.
fn rule(replication: &Replication) -> Result<Option<Rule>, Error> {
    let database = &replication.database;
    let Some(primary) = database.primary_record()? else { return Ok(None) };
    let mut sync = database.sync_record()?;
    Ok(Some(Rule {
        timeline: primary.timeline,
        may_fall_back: primary.may_fall_back || sync.open().is_some(),
        names: sync.has_all_names().then_some(sync.names),
        primary: DirectoryId::new(primary.member),
        primary_name: primary.name,
    }))
}

/// A node of the report.
pub(crate) struct ReportedNode {
    pub(crate) node: Node,
    /// Where it was asked; none for this node.
    pub(crate) address: Option<Address>,
    /// Why it does not answer.
    pub(crate) error: Option<String>,
    /// If it is a standby that answers.
    pub(crate) report: Option<Report>,
    /// The commits that it lacks and another one has.
    pub(crate) commits: Option<Commits>,
    /// It is the standby that has the most log.
    pub(crate) is_best: bool,
}

/// What others answer in time.
struct Asking<'a> {
    replication: &'a Arc<Replication>,
    login: Option<&'a MemberLogin>,
    limit: Duration,
}

/// Asks all nodes how far they are, and judges what the promotion of each would lose; this node comes first.
pub(crate) async fn report(replication: &Arc<Replication>) -> Result<Vec<ReportedNode>, Error> {
    let limit = replication.ground.config().fence_check_timeout.max(ANSWER_TIME_MIN);
    let asking = Asking { replication, login: replication.member_login.as_ref(), limit };
    let mut reported = asking.nodes().await?;
    let nodes: Vec<Node> = reported.iter().map(|reported| reported.node.clone()).collect();
    let best = best(&nodes);
    for at in 0..reported.len() {
        let commits = asking.commits_behind(&reported, &nodes, at).await;
        let Some(this) = reported.get_mut(at) else { break };
        (this.report, this.is_best) = (judge(&nodes, at, commits.as_ref()), best == Some(at));
        this.commits = commits.filter(|_| this.report.is_some());
    }
    Ok(reported)
}

impl Asking<'_> {
    /// This node and all that it knows.
    async fn nodes(&self) -> Result<Vec<ReportedNode>, Error> {
        let streamed = streams(self.replication);
        let mut told = self.answers().await;
        // It may receive meanwhile, which only adds to what it has.
        let own = own(self.replication).await?;
        let own_speaks = speaks_for_former(&own.answer);
        let mut there: Vec<Speaker> = Vec::new();
        let mut answered: Vec<(Address, Told)> = Vec::new();
        let mut silent: BTreeMap<Address, String> = BTreeMap::new();
        while let Some((address, answer)) = told.pop() {
            match answer {
                Ok(told) if told.system != own.system => {
                    silent.insert(address, format!("it belongs to another cluster ({})", told.system));
                }
                Ok(told) if is_echo(&own, &told, streamed) => {
                    if own_speaks {
                        there.push(Speaker { address, id: own.id, name: own.name.clone(), is_own: true });
                    }
                }
                Ok(told) => {
                    if speaks_for_former(&told.answer) {
                        let (address, name) = (address.clone(), told.name.clone());
                        there.push(Speaker { address, id: told.id, name, is_own: false });
                    }
                    take(&mut answered, (address, told));
                }
                Err(error) => _ = silent.insert(address, error),
            }
        }
        let mut nodes = vec![reported(own.id, own.name, None, Ok(own.answer))];
        let members = self.replication.roster.members();
        let mut heirs: Vec<(DirectoryId, DirectoryId)> = Vec::new();
        let answers = |id: DirectoryId| answered.iter().any(|(_, told)| told.id == id);
        for member in members.iter().filter(|member| !answers(member.id)) {
            if let Some(heir) = heir(member, &members, &there) {
                heirs.push((member.id, heir));
            } else {
                let error = member.addresses.iter().find_map(|address| silent.get(address));
                let error = error.cloned().unwrap_or_else(|| "another node answers there".to_owned());
                let address = member.addresses.first().cloned();
                nodes.push(reported(member.id, member.name.clone(), address, Err(error)));
            }
        }
        silent.retain(|address, _| !members.iter().any(|member| member.addresses.contains(address)));
        answered.sort_by_key(|(_, told)| told.id);
        let answered = answered.into_iter();
        nodes.extend(
            answered.map(|(address, told)| reported(told.id, told.name, Some(address), Ok(told.answer))),
        );
        nodes.extend(silent.into_iter().map(|(address, error)| {
            let node = Node { id: None, name: String::new(), answer: None, formers: Vec::new() };
            let error = Some(error);
            ReportedNode { node, address: Some(address), error, report: None, commits: None, is_best: false }
        }));
        for (former, heir) in heirs {
            // A copy of its directory may answer under the same id: which of them it was does not matter.
            let of_heir = nodes.iter_mut().filter(|reported| reported.node.id == Some(heir));
            of_heir.for_each(|reported| reported.node.formers.push(former));
        }
        Ok(join_formers(nodes, &self.replication.roster))
    }

    /// What is said at each address.
    async fn answers(&self) -> Vec<(Address, Result<Told, String>)> {
        let peers = self.replication.ground.config().peers.clone();
        let named = split_peers(&peers).flat_map(places).filter_map(|(host, port)| Address::new(&host, port));
        let members = self.replication.roster.members().into_iter().flat_map(|member| member.addresses);
        let mut addresses: Vec<Address> = named.chain(members).collect();
        addresses.sort_unstable();
        addresses.dedup();
        let silent = |address: Address, error: &str| (address, Err(error.to_owned()));
        let Some(login) = self.login else {
            let error = "this cluster has no secret by which its nodes know each other";
            return addresses.into_iter().map(|address| silent(address, error)).collect();
        };
        let mut asking = JoinSet::new();
        for address in addresses.clone() {
            let (login, limit, asker) = (login.clone(), self.limit, asker(self.replication));
            asking.spawn(task(async move {
                let answer = tokio::time::timeout(limit, peers::positions(&address, &login, asker)).await;
                let answer = answer.map_err(|_| "it does not answer in time".to_owned());
                (address, answer.and_then(|answer| answer.map_err(|silence| silence.to_string())))
            }));
        }
        let mut answers = Vec::new();
        while let Some(answer) = asking.join_next().await {
            let Ok((address, answer)) = answer else { continue };
            let told = answer.map(|(peer, told)| self.keep(&address, &peer, told));
            answers.push((address, told));
        }
        // One whose question ended by a panic says nothing.
        addresses.retain(|address| !answers.iter().any(|(answered, _)| answered == address));
        answers.extend(addresses.into_iter().map(|address| silent(address, "it could not be asked")));
        answers
    }

    /// Keeps what a node tells of timelines, as of all that are asked: a promotion that follows takes another
    /// number. What an administrator gave up here is no doubt.
    fn keep(&self, address: &Address, peer: &Peer, mut told: Told) -> Told {
        hear(self.replication, &address.to_string(), peer);
        let ours = own_witness(self.replication);
        told.answer.heard.retain(|theirs| !self.replication.roster.is_given_up(&ours, theirs));
        told
    }

    /// The commits behind what a standby has, by the one that has the most of what follows.
    async fn commits_behind(&self, reported: &[ReportedNode], nodes: &[Node], at: usize) -> Option<Commits> {
        let Further { node, from, upto } = further(nodes, at)?;
        let Some(address) = &reported.get(node)?.address else {
            return own_commits(self.replication, from, upto).await;
        };
        let asked = peers::commits(address, self.login?, (from, upto));
        tokio::time::timeout(self.limit, asked).await.ok()?.ok()
    }
}

/// Whether two answers may be one node's.
fn is_alike(one: &Told, other: &Told) -> bool {
    let (ones, others) = (&one.answer, &other.answer);
    let is_of_its_role = discriminant(&ones.role) == discriminant(&others.role);
    one.id == other.id && one.name == other.name && ones.history == others.history && is_of_its_role
}

/// Whether this node answered itself, or one on a copy of its directory of which nothing is to be feared that
/// is not to be feared of this one: it has no more log, has lost none, and receives only if this node does.
/// `streamed`: this node did, before the questions.
fn is_echo(own: &Told, told: &Told, streamed: bool) -> bool {
    let receives = |told: &Told| told.answer.role == Role::Standby { streams: true };
    let may_receive = streamed || receives(own) || !receives(told);
    let has_all = told.answer.has_caught_up || !own.answer.has_caught_up;
    is_alike(own, told) && told.answer.end <= own.answer.end && may_receive && has_all
}

/// Takes in what a node says at one of its addresses. A copy that somebody made of its directory says it is
/// the same node, and commits count the two as one standby, whose confirmations either may have made: where
/// they look alike they are one that knows what both know, else a node each.
fn take(answered: &mut Vec<(Address, Told)>, (address, told): (Address, Told)) {
    let Some(known) = answered.iter_mut().find(|(_, known)| is_alike(known, &told)) else {
        answered.push((address, told));
        return;
    };
    let (mine, theirs) = (&known.1.answer, &told.answer);
    let role = match (mine.role, theirs.role) {
        (Role::Standby { streams }, Role::Standby { streams: also }) => {
            Role::Standby { streams: streams || also }
        }
        (Role::Primary { acknowledges }, Role::Primary { acknowledges: also }) => {
            Role::Primary { acknowledges: acknowledges || also }
        }
        (role, _) => role,
    };
    let progress = mine.progress.max(theirs.progress);
    let confirmed = mine.confirmed.max(theirs.confirmed);
    let has_caught_up = mine.has_caught_up && theirs.has_caught_up;
    let is_fenced = mine.is_fenced || theirs.is_fenced;
    let heard = [mine.heard.clone(), theirs.heard.clone()].concat();
    if theirs.end > mine.end {
        *known = (address, told);
    }
    let answer = &mut known.1.answer;
    (answer.role, answer.progress, answer.confirmed) = (role, progress, confirmed);
    (answer.has_caught_up, answer.is_fenced, answer.heard) = (has_caught_up, is_fenced, heard);
}

/// Whether it has all that a former life of it confirmed, or is a primary, for which nobody confirms at its
/// own place.
fn speaks_for_former(answer: &Answer) -> bool {
    answer.has_caught_up || matches!(answer.role, Role::Primary { .. })
}

/// A node that has all that a former life of it confirmed, and where it answers.
struct Speaker {
    address: Address,
    id: DirectoryId,
    name: String,
    /// It is this node, which is no member, and not one on a copy of its directory.
    is_own: bool,
}

/// Who speaks for a member that does not answer. Of an address that moves to a running server, which is seen
/// at another one, too, nobody knows when the other left it.
fn heir(member: &Member, members: &[Member], there: &[Speaker]) -> Option<DirectoryId> {
    let is_there_alone = |id: DirectoryId| {
        let known = members.iter().find(|other| other.id == id);
        known.is_some_and(|known| known.addresses.iter().all(|address| member.addresses.contains(address)))
    };
    let speaks = |speaker: &&Speaker| {
        let is_its_life = speaker.name == member.name && member.addresses.contains(&speaker.address);
        is_its_life && (speaker.is_own || is_there_alone(speaker.id))
    };
    there.iter().find(speaks).map(|speaker| speaker.id)
}

/// Makes one node of each that does not answer and is no more, and the one that has its directory.
fn join_formers(nodes: Vec<ReportedNode>, roster: &Roster) -> Vec<ReportedNode> {
    let ids: BTreeSet<DirectoryId> = nodes.iter().filter_map(|reported| reported.node.id).collect();
    let successor = |node: &Node| {
        let silent = node.id.filter(|_| node.answer.is_none())?;
        roster.successors(silent).into_iter().find(|id| ids.contains(id))
    };
    nodes.into_iter().filter(|reported| successor(&reported.node).is_none()).collect()
}

fn reported(
    id: DirectoryId,
    name: String,
    address: Option<Address>,
    answer: Result<Answer, String>,
) -> ReportedNode {
    let (answer, error) = match answer {
        Ok(answer) => (Some(answer), None),
        Err(error) => (None, Some(error)),
    };
    let node = Node { id: Some(id), name, answer, formers: Vec::new() };
    ReportedNode { node, address, error, report: None, commits: None, is_best: false }
}

#[cfg(test)]
mod tests {
    use super::*;
    use replica::roster::{Seen, Statement};
    use replica::timeline::loss::Verdict;
    use wal::history::TimelineHistory;
    use wal::{SystemId, TimelineId};

    fn rule() -> Rule {
        Rule {
            timeline: TimelineId::FIRST,
            names: Some("ANY 1 (a, b)".to_owned()),
            may_fall_back: false,
            primary: DirectoryId::new(99),
            primary_name: "p".to_owned(),
        }
    }

    /// A standby that has lost its primary, with the log up to here, and the address where it is asked.
    fn told(id: u64, name: &str, port: u16, end: u64) -> (Address, Told) {
        let end = Lsn::new(end);
        let answer = Answer {
            history: TimelineHistory::root(TimelineId::FIRST),
            role: Role::Standby { streams: false },
            progress: Progress { written: end, flushed: end, replayed: end },
            end,
            confirmed: Lsn::INVALID,
            has_caught_up: true,
            rule: Some(rule()),
            primary_end: None,
            last_commit: None,
            is_fenced: false,
            heard: Vec::new(),
        };
        let (id, name) = (DirectoryId::new(id), name.to_owned());
        (Address::new("host", port).unwrap(), Told { system: SystemId::new(1), id, name, answer })
    }

    /// The log behind what a standby has, read to its end: a commit begins it, and no other rule is in it.
    fn read_behind(nodes: &[Node], at: usize) -> Option<Commits> {
        let Further { from, upto, .. } = further(nodes, at)?;
        Some(Commits { upto, count: 1, first: Some(from + 1), ..Commits::default() })
    }

    /// What the promotion of the first one would lose.
    fn verdict(answers: Vec<(Address, Told)>) -> (usize, Verdict) {
        let mut answered = Vec::new();
        answers.into_iter().for_each(|told| take(&mut answered, told));
        let node = |(_, told): (Address, Told)| Node {
            id: Some(told.id),
            name: told.name,
            answer: Some(told.answer),
            formers: Vec::new(),
        };
        let nodes: Vec<Node> = answered.into_iter().map(node).collect();
        (nodes.len(), judge(&nodes, 0, read_behind(&nodes, 0).as_ref()).unwrap().verdict)
    }

    #[test]
    fn a_server_at_two_addresses_is_one_and_its_directory_s_copy_hides_nothing_of_it() {
        let (a, b) = (told(1, "a", 1, 15), told(2, "b", 2, 10));
        let proven = Verdict::NoneFromRemoteWrite;
        assert_eq!(verdict(vec![a.clone(), b.clone()]), (2, proven));
        assert_eq!(verdict(vec![a.clone(), b.clone(), told(2, "b", 3, 10)]), (2, proven));
        // Through the other directory it has confirmed what is not here, or may have.
        let more = told(2, "b", 3, 20);
        let mut fresh = told(2, "b", 3, 5);
        fresh.1.answer.has_caught_up = false;
        for copy in [more, fresh] {
            for answers in [vec![a.clone(), b.clone(), copy.clone()], vec![a.clone(), copy, b.clone()]] {
                assert_eq!(verdict(answers), (2, Verdict::Possible));
            }
        }
        // One of the two was promoted.
        let mut led = told(2, "b", 3, 12);
        led.1.answer.role = Role::Primary { acknowledges: true };
        let fork = wal::history::BranchId::new(2);
        let old = led.1.answer.history.clone();
        led.1.answer.history = old.fork(TimelineId::new(2), Lsn::new(8), "test", fork).unwrap();
        assert_eq!(verdict(vec![a, led, b]), (3, Verdict::Possible));
    }

    #[test]
    fn a_copy_of_this_node_s_directory_is_its_echo_only_while_it_may_have_confirmed_nothing_else() {
        let own = told(1, "a", 1, 20).1;
        let echoes = |change: &dyn Fn(&mut Told)| {
            let mut answer = told(1, "a", 2, 10).1;
            change(&mut answer);
            [false, true].map(|streamed| is_echo(&own, &answer, streamed))
        };
        assert_eq!(echoes(&|_| {}), [true; 2]);
        assert_eq!(echoes(&|told| told.answer.end = Lsn::new(21)), [false; 2]);
        assert_eq!(echoes(&|told| told.id = DirectoryId::new(2)), [false; 2]);
        assert_eq!(echoes(&|told| told.answer.has_caught_up = false), [false; 2]);
        assert_eq!(echoes(&|told| told.name = "b".to_owned()), [false; 2]);
        let receives = |told: &mut Told| told.answer.role = Role::Standby { streams: true };
        assert_eq!(echoes(&receives), [false, true], "it may confirm what this one does not get any more");
        let leads = |told: &mut Told| told.answer.role = Role::Primary { acknowledges: true };
        assert_eq!(echoes(&leads), [false; 2]);
        let fork = |told: &mut Told| {
            let (old, branch) = (told.answer.history.clone(), wal::history::BranchId::new(2));
            told.answer.history = old.fork(TimelineId::new(2), Lsn::new(8), "test", branch).unwrap();
        };
        assert_eq!(echoes(&fork), [false; 2], "its positions are another branch's");
        let mut promoted = told(1, "a", 2, 10);
        leads(&mut promoted.1);
        fork(&mut promoted.1);
        assert_eq!(verdict(vec![told(1, "a", 1, 20), promoted]), (2, Verdict::Possible));
    }

    #[test]
    fn who_was_at_the_address_of_a_node_of_its_name_may_have_confirmed_beside_it() {
        let node = |(_, mut told): (Address, Told)| {
            told.answer.rule = Some(Rule { names: Some("ANY 2 (a, b)".to_owned()), ..rule() });
            Node { id: Some(told.id), name: told.name, answer: Some(told.answer), formers: Vec::new() }
        };
        let mut nodes = vec![node(told(1, "a", 1, 10)), node(told(2, "b", 2, 20))];
        let judged = |nodes: &[Node]| {
            [0, 1].map(|at| judge(nodes, at, read_behind(nodes, at).as_ref()).unwrap().verdict.may_lose())
        };
        assert_eq!(judged(&nodes), [false, false], "each commit waited for both");
        nodes[1].formers.push(DirectoryId::new(3));
        assert_eq!(judged(&nodes), [true, false], "it may have waited for the two of one name");
        // Once that was a primary's directory, nobody confirmed anything from it.
        nodes[1].formers = vec![rule().primary];
        assert_eq!(judged(&nodes), [false, false]);
        // What it confirmed is there though its heir may confirm more.
        nodes[1].formers = vec![DirectoryId::new(3)];
        nodes[1].answer.as_mut().unwrap().role = Role::Standby { streams: true };
        assert_eq!(judged(&nodes), [true, false]);
        // A primary of that name, too, has what was confirmed where it listens.
        let named = Rule { primary_name: "b".to_owned(), ..rule() };
        nodes[1].id = Some(named.primary);
        for node in &mut nodes {
            node.answer.as_mut().unwrap().rule = Some(named.clone());
        }
        nodes[1].answer.as_mut().unwrap().role = Role::Primary { acknowledges: true };
        assert!(judge(&nodes, 0, read_behind(&nodes, 0).as_ref()).unwrap().verdict.may_lose());
    }

    #[test]
    fn who_is_seen_at_another_address_too_speaks_for_nobody_who_was_at_this_one() {
        let roster = Roster::new(DirectoryId::new(9));
        let address = |port: u16| Address::new("host", port).unwrap();
        let says = |id: u64, ports: &[u16]| {
            let addresses = ports.iter().map(|port| address(*port)).collect();
            let (id, name, age) = (DirectoryId::new(id), "b".to_owned(), Duration::ZERO);
            let said = Statement { id, stated: 1, name, addresses, age };
            roster.hear(vec![said], &Seen::client(None), Duration::from_secs(1));
        };
        let heir_at = |id: u64, name: &str, port: u16| {
            let is_own = id == 9;
            let (address, id, name) = (address(port), DirectoryId::new(id), name.to_owned());
            let there = [Speaker { address, id, name, is_own }];
            let members = roster.members();
            let silent = members.iter().find(|member| member.id == DirectoryId::new(1)).unwrap();
            heir(silent, &members, &there).map(DirectoryId::number)
        };
        says(1, &[1]);
        assert_eq!(heir_at(2, "b", 1), None, "nobody knows where it was");
        assert_eq!(heir_at(9, "b", 1), Some(9), "this node itself");
        says(2, &[1]);
        assert_eq!((heir_at(2, "b", 1), heir_at(2, "c", 1), heir_at(2, "b", 2)), (Some(2), None, None));
        says(2, &[2]);
        assert_eq!(heir_at(2, "b", 1), None, "it was seen at another one, too");
    }
}
