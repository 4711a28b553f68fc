//! The monitoring views: an administrator looks at them while everything else goes on, and what he was shown
//! is compared with what standbys have told, with their disks, and with the lines of the servers' logs.
//!
//! | what is shown                         | what must hold                                            |
//! |---------------------------------------|-----------------------------------------------------------|
//! | positions in pg_stat_replication      | the standby has told as much, and no less is shown than   |
//! |                                       | what it told a while ago; what was sent is flushed here   |
//! | sync_state and sync_priority there    | what synchronous_standby_names makes of who streams       |
//! | flushed_lsn in pg_stat_wal_receiver   | it is durable on the standby, no less than it has told    |
//! | mode in plimsoll_stat_sync            | standbys are named, or not                                |
//! | fallbacks and returns there           | the log of this run of the server tells of as many        |

use super::admin::PATIENCE;
use super::words::{FALLS_BACK, RETURNS, STARTS};
use super::{Shared, disks, facts, machine_of};
use crate::branch::Branch;
use crate::cluster::conninfo;
use crate::features::Feature;
use crate::guarantee::{Guarantee, Quorum};
use crate::history::reports::{Progress, Reports, Streamed};
use protocol::Client;
use protocol::client::QueryResult;
use std::sync::Arc;
use wal::Lsn;

/// Time between two looks, each at the next node.
const PAUSE_MS: u64 = 110;
/// What was told so long ago has arrived, and a stream that is so old is known.
const ARRIVES_MS: u64 = 400;
/// Who was asked to become a primary so long ago is one, and goes by the names that are set.
const BEGINS_MS: u64 = 2000;
/// The end of what a standby shows as flushed that is looked at on its disk.
const TAIL_BYTES: u64 = 8192;
/// A return that is none: it was recorded that commits are released, and they were not.
const NAMED_AGAIN: &str = "standbys are named again";

/// What is asked.
const SYNC: &str = "select mode, fallbacks, returns from plimsoll_stat_sync";
const STANDBYS: &str = "select r.application_name, r.state, r.sent_lsn, r.write_lsn, r.flush_lsn, r.replay_lsn, \
                        r.sync_state, r.sync_priority, l.copying \
                        from pg_stat_replication r join plimsoll_stat_lag l on l.pid = r.pid";
const RECEIVER: &str = "select written_lsn, flushed_lsn from pg_stat_wal_receiver";
const END: &str = "select case when pg_is_in_recovery() then null else pg_current_wal_flush_lsn() end";

/// A standby, as pg_stat_replication shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Standby {
    node: usize,
    streams: bool,
    sent: u64,
    progress: Progress,
    sync_state: String,
    priority: usize,
    copying: bool,
}

/// What a node showed.
#[derive(Clone, Debug)]
struct Look {
    node: usize,
    /// When it was asked, and had answered.
    asked_ms: u64,
    answered_ms: u64,
    mode: String,
    fallbacks: usize,
    returns: usize,
    standbys: Vec<Standby>,
    /// What it shows as flushed of what it receives.
    flushed: Option<Lsn>,
}

/// What a line of a log tells that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counted {
    Start,
    Fallback,
    Return,
}

/// What was shown so far, and what logs told.
#[derive(Debug, Default)]
pub(super) struct Views {
    looks: Vec<Look>,
    lines: Vec<(usize, u64, Counted)>,
    next_ms: u64,
    next: usize,
}

impl Views {
    /// Takes in a line of a node's log.
    pub(super) fn hear(&mut self, node: usize, at_ms: u64, line: &str) {
        let counted = [(STARTS, Counted::Start), (FALLS_BACK, Counted::Fallback), (RETURNS, Counted::Return)];
        let found = counted.iter().find(|(words, _)| line.contains(words) && !line.contains(NAMED_AGAIN));
        self.lines.extend(found.map(|(_, counted)| (node, at_ms, *counted)));
    }

    /// The node that is to be looked at now.
    fn due(&mut self, now_ms: u64, nodes: usize) -> Option<usize> {
        if now_ms < self.next_ms {
            return None;
        }
        self.next_ms = now_ms + PAUSE_MS;
        self.next = (self.next + 1) % nodes.max(1);
        Some(self.next)
    }

    /// Compares all that was shown with what is known in the end.
    pub(super) fn check(&self, guarantee: &Guarantee) -> Result<(), String> {
        let Some(reports) = &guarantee.reports else { return Ok(()) };
        for look in &self.looks {
            let found = check_counts(look, &self.lines)
                .and_then(|()| check_mode(look, guarantee))
                .and_then(|()| check_standings(look, guarantee))
                .and_then(|()| check_positions(look, reports, guarantee))
                .and_then(|()| check_receiver(look, reports, guarantee));
            found.map_err(|why| format!("Views: at node {} {why}: {look:?}", look.node))?;
        }
        Ok(())
    }
}

/// Has the next node asked, if it is time and the plan says so.
pub(super) fn look(shared: &Arc<Shared>) {
    if !shared.plan.features.has(Feature::Views) {
        return;
    }
    let due = shared.facts.lock().views.due(shared.now_ms(), shared.plan.nodes());
    if let Some(node) = due {
        shared.beside(look_at(shared.clone(), node));
    }
}

async fn look_at(shared: Arc<Shared>, node: usize) {
    let asked_ms = shared.now_ms();
    let branch = branch_of(&shared, node);
    // Of one that does not answer nothing is known.
    let Ok(Some(answers)) = tokio::time::timeout(PATIENCE, ask(node)).await else { return };
    let answered_ms = shared.now_ms();
    let Some((look, end)) = read((node, asked_ms, answered_ms), &answers) else {
        return shared.fail(format!("Views: node {node} shows what is not understood: {answers:?}"));
    };
    let found = check_end(&look, end).and_then(|()| check_durable(&shared, &look, branch));
    if let Err(why) = found {
        shared.fail(format!("Views: at node {node} {why}: {look:?}"));
    }
    shared.facts.lock().views.looks.push(look);
}

async fn ask(node: usize) -> Option<Vec<QueryResult>> {
    let mut client = Client::connect_to(&conninfo(machine_of(node))).await.ok()?;
    let results = client.simple_query(&[SYNC, STANDBYS, RECEIVER, END].join("; ")).await.ok()?;
    client.close().await;
    Some(results)
}

/// What the answers show, and the end of a primary's log.
fn read(
    (node, asked_ms, answered_ms): (usize, u64, u64),
    answers: &[QueryResult],
) -> Option<(Look, Option<Lsn>)> {
    let [sync, standbys, receiver, end] = answers else { return None };
    let number = |row, column| sync.text(row, column)?.parse::<usize>().ok();
    // Others than standbys stream, too.
    let named = (0..standbys.rows.len()).filter_map(|row| Some((row, node_of(standbys.text(row, 0)?)?)));
    let standbys = named.map(|(row, node)| standby_in(standbys, row, node)).collect::<Option<_>>()?;
    let look = Look {
        node,
        asked_ms,
        answered_ms,
        mode: sync.text(0, 0)?.to_owned(),
        fallbacks: number(0, 1)?,
        returns: number(0, 2)?,
        standbys,
        flushed: receiver.text(0, 1).and_then(|lsn| lsn.parse().ok()),
    };
    Some((look, end.text(0, 0).and_then(|lsn| lsn.parse().ok())))
}

fn node_of(name: &str) -> Option<usize> {
    name.strip_prefix('n')?.parse().ok()
}

fn standby_in(rows: &QueryResult, row: usize, node: usize) -> Option<Standby> {
    let text = |column| rows.text(row, column);
    // What is not known yet is not shown.
    let position = |column| text(column).and_then(|lsn| lsn.parse::<Lsn>().ok()).map_or(0, Lsn::get);
    Some(Standby {
        node,
        streams: text(1)? == "streaming",
        sent: position(2),
        progress: Progress { written: position(3), flushed: position(4), replayed: position(5) },
        sync_state: text(6)?.to_owned(),
        priority: text(7)?.parse().ok()?,
        copying: text(8)? == "t",
    })
}

/// A primary has sent nothing that it has not flushed.
fn check_end(look: &Look, end: Option<Lsn>) -> Result<(), String> {
    let Some(end) = end else { return Ok(()) };
    match look.standbys.iter().find(|standby| standby.sent > end.get()) {
        Some(standby) => Err(format!("{standby:?} was sent more than the log has, which ends at {end}")),
        None => Ok(()),
    }
}

fn branch_of(shared: &Shared, node: usize) -> Option<Branch> {
    let cluster = shared.cluster.lock();
    facts::branch_followed(cluster.node(machine_of(node))?.files())
}

/// What a standby shows as flushed is durable on its disk, if it is the one that was asked still.
fn check_durable(shared: &Shared, look: &Look, branch: Option<Branch>) -> Result<(), String> {
    let Some(flushed) = look.flushed else { return Ok(()) };
    if shared.facts.lock().losses_since(look.node, look.asked_ms) > 0
        || branch_of(shared, look.node) != branch
    {
        return Ok(());
    }
    let cluster = shared.cluster.lock();
    let Some(there) = cluster.node(machine_of(look.node)).filter(|there| there.is_up()) else {
        return Ok(());
    };
    let Some(history) = facts::branch_history(there.files()) else { return Ok(()) };
    let durable = disks::is_log_durable(there.files(), &history, (flushed - TAIL_BYTES, flushed));
    durable.map_err(|at| format!("the receiver shows {flushed} as flushed, and {at} is not durable"))
}

/// Fallbacks and returns are counted from the server's start. Each is counted before it is told.
fn check_counts(look: &Look, lines: &[(usize, u64, Counted)]) -> Result<(), String> {
    let of_node = || lines.iter().filter(|(node, ..)| *node == look.node);
    let starts = || of_node().filter(|(.., what)| *what == Counted::Start).map(|(_, at_ms, _)| *at_ms);
    let Some(since_ms) = starts().filter(|at_ms| *at_ms < look.asked_ms).max() else { return Ok(()) };
    if starts().any(|at_ms| at_ms >= look.asked_ms && at_ms <= look.answered_ms) {
        return Ok(());
    }
    let told = |counted: Counted, until_ms: u64| {
        let is_it = |(_, at_ms, what): &&(usize, u64, Counted)| {
            *what == counted && *at_ms >= since_ms && *at_ms <= until_ms
        };
        of_node().filter(is_it).count()
    };
    for (what, counted, shown) in
        [("fallbacks", Counted::Fallback, look.fallbacks), ("returns", Counted::Return, look.returns)]
    {
        let (least, most) = (told(counted, look.asked_ms - 1), told(counted, look.answered_ms) + 1);
        if shown < least || shown > most {
            return Err(format!("there are {shown} {what}, and the log tells of {least} to {most}"));
        }
    }
    Ok(())
}

/// The only setting of names that may have been in force while a primary was looked at. What is set while a
/// node becomes a primary is in force once its log says so.
fn names_of<'g>(look: &Look, guarantee: &'g Guarantee) -> Option<&'g Quorum> {
    if begins(look, guarantee) {
        return None;
    }
    let mut in_force = guarantee.in_force(look.node, look.asked_ms, look.answered_ms);
    in_force.next().filter(|_| look.mode != "standby" && in_force.next().is_none())
}

/// Whether a node became a primary while it was looked at, or just before.
fn begins(look: &Look, guarantee: &Guarantee) -> bool {
    guarantee.is_promoted(look.node, look.asked_ms.saturating_sub(BEGINS_MS), look.answered_ms)
}

fn check_mode(look: &Look, guarantee: &Guarantee) -> Result<(), String> {
    let Some(quorum) = names_of(look, guarantee) else { return Ok(()) };
    // Who has just become a primary has not asked its standbys yet.
    let is_calm = guarantee.is_calm(look.node, look.asked_ms, look.answered_ms);
    if is_calm && (look.mode == "asynchronous") != (quorum.count == 0) {
        return Err(format!("commits are {}, and {quorum:?} is set", look.mode));
    }
    if look.mode == "fallen back" && look.fallbacks == 0 {
        return Err("the server has fallen back, and has not counted it".to_owned());
    }
    Ok(())
}

/// Who is named is asked in his turn, if he streams and has told that he has some of the log.
fn check_standings(look: &Look, guarantee: &Guarantee) -> Result<(), String> {
    // Who becomes a primary asks its standbys before it says that it is one.
    let recovers = look.mode == "standby" && !begins(look, guarantee);
    for standby in &look.standbys {
        if recovers && (standby.sync_state != "async" || standby.priority > 0) {
            return Err(format!("no commit waits for {standby:?}, and it is shown as if one did"));
        }
    }
    // Where a node itself is named, it is by "*" or among any: which of both is not known.
    let is_clear = |quorum: &&Quorum| !quorum.first.is_empty() || !quorum.standbys.contains(&look.node);
    let Some(quorum) = names_of(look, guarantee).filter(is_clear) else { return Ok(()) };
    let is_first = !quorum.first.is_empty();
    let place = |node: usize| match quorum.first.iter().position(|named| *named == node) {
        Some(at) => at + 1,
        None => usize::from(quorum.standbys.contains(&node)),
    };
    let counts = |standby: &&Standby| standby.sync_state == "sync" || standby.sync_state == "quorum";
    let asked = look.standbys.iter().filter(counts).count();
    for standby in &look.standbys {
        let has_told = standby.progress.flushed > 0;
        let priority = if has_told { place(standby.node) } else { 0 };
        let fits = match standby.sync_state.as_str() {
            "async" => priority == 0,
            "sync" => priority > 0 && is_first && standby.streams,
            "quorum" => priority > 0 && !is_first && standby.streams,
            "potential" => priority > 0,
            _ => false,
        };
        if !fits || standby.priority != priority || (is_first && asked > quorum.count) {
            return Err(format!("{standby:?} is none of that by {quorum:?}"));
        }
        let is_ready = standby.streams && !standby.copying && has_told;
        let twice = look.standbys.iter().filter(|other| other.node == standby.node).count() > 1;
        let is_missed = standby.sync_state == "potential" && (!is_first || asked < quorum.count);
        if is_ready && !twice && is_missed {
            return Err(format!("{standby:?} is ready, and is not asked by {quorum:?}"));
        }
    }
    Ok(())
}

/// What is shown of a standby it has told, and what it has told is shown soon.
fn check_positions(look: &Look, reports: &Reports, guarantee: &Guarantee) -> Result<(), String> {
    for standby in look.standbys.iter().filter(|standby| !standby.copying) {
        let streams: Vec<&Streamed> = reports
            .streams_to(standby.node, look.answered_ms)
            .filter(|stream| stream.upstream == look.node)
            .collect();
        let told = streams.iter().flat_map(|stream| &stream.told);
        let told = told.filter(|(at_ms, _)| *at_ms <= look.answered_ms).map(|(_, progress)| *progress);
        let most = told.reduce(|one, other| one.max(other)).unwrap_or_default();
        let Progress { written, flushed, replayed } = standby.progress;
        let is_more = written > most.written || flushed > most.flushed || replayed > most.replayed;
        if is_more || written > standby.sent {
            return Err(format!("{standby:?} has told no more than {most:x?}"));
        }
        let Some(least) = least_known(look, standby, &streams, guarantee) else { continue };
        let shown = look.standbys.iter().filter(|other| other.node == standby.node);
        let shown = shown.map(|other| other.progress).reduce(|one, other| one.max(other)).unwrap_or_default();
        if shown.written < least.written || shown.flushed < least.flushed || shown.replayed < least.replayed {
            return Err(format!("{standby:?} has told {least:x?} a while ago"));
        }
    }
    Ok(())
}

/// What a standby must be known to have: what it told a while ago in a stream that is not new, if nothing
/// befell anybody.
fn least_known(
    look: &Look,
    standby: &Standby,
    streams: &[&Streamed],
    guarantee: &Guarantee,
) -> Option<Progress> {
    let known_ms = look.asked_ms.saturating_sub(ARRIVES_MS);
    let last = streams.first().filter(|stream| stream.from_ms < known_ms)?;
    let nodes = (look.node, standby.node);
    let is_well = guarantee.is_clear(nodes, last.from_ms, look.answered_ms)
        && [nodes.0, nodes.1].iter().all(|node| guarantee.is_calm(*node, known_ms, look.answered_ms));
    // What it was sent since counts, too.
    let sent = |progress: Progress| progress.written <= standby.sent;
    last.told_by(known_ms).filter(|told| is_well && sent(*told))
}

/// A standby shows as flushed what it has told to be.
fn check_receiver(look: &Look, reports: &Reports, guarantee: &Guarantee) -> Result<(), String> {
    let Some(flushed) = look.flushed else { return Ok(()) };
    let Some(last) = reports.streams_to(look.node, look.answered_ms).next() else { return Ok(()) };
    let told = last.told_by(look.asked_ms).map_or(0, |told| told.flushed);
    let is_same = last.from_ms < look.asked_ms && guarantee.lives(look.node, last.from_ms, look.answered_ms);
    if is_same && flushed.get() < told {
        let told = Lsn::new(told);
        return Err(format!("the receiver shows {flushed} as flushed, and has told {told}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(written: u64, flushed: u64, replayed: u64) -> Progress {
        Progress { written, flushed, replayed }
    }

    fn standby(node: usize, sync_state: &str, priority: usize) -> Standby {
        let progress = progress(0x90, 0x80, 0x70);
        let (sync_state, streams, copying) = (sync_state.to_owned(), true, false);
        Standby { node, streams, sent: 0xA0, progress, sync_state, priority, copying }
    }

    /// Node 0 was asked at 5000 ms; it waits for the first of nodes 1 and 2.
    fn look() -> Look {
        Look {
            node: 0,
            asked_ms: 5000,
            answered_ms: 5010,
            mode: "synchronous".to_owned(),
            fallbacks: 1,
            returns: 1,
            standbys: vec![standby(1, "sync", 1), standby(2, "potential", 2), standby(3, "async", 0)],
            flushed: None,
        }
    }

    fn guarantee() -> Guarantee {
        let mut guarantee = Guarantee::calm(Branch::new("1"));
        let (standbys, first) = ([1, 2].into(), vec![1, 2]);
        guarantee.quorums.push(Quorum { node: 0, from_ms: 0, to_ms: 9000, count: 1, standbys, first });
        let mut reports = Reports::default();
        for node in 1..4 {
            let stream = reports.begins(node, 0, 1000);
            reports.says(stream, 4500, progress(0x90, 0x80, 0x70));
        }
        guarantee.reports = Some(reports);
        guarantee
    }

    fn judged(change: impl FnOnce(&mut Look)) -> Result<(), String> {
        let mut look = look();
        change(&mut look);
        let mut views = Views::default();
        views.hear(0, 900, STARTS);
        views.hear(0, 2000, &format!("{FALLS_BACK}0/1: why"));
        views.hear(0, 3000, &format!("{RETURNS}: why"));
        views.hear(0, 3500, &format!("{RETURNS}: {NAMED_AGAIN}"));
        views.looks.push(look);
        views.check(&guarantee())
    }

    #[test]
    fn what_is_as_it_was_told_passes() {
        assert_eq!(judged(|_| ()), Ok(()));
        assert_eq!(judged(|look| (look.fallbacks, look.returns) = (2, 2)), Ok(()), "told in a moment");
        let mut any = guarantee();
        (any.quorums[0].first, any.quorums[0].standbys) = (Vec::new(), [0, 1, 2].into());
        let mut look = look();
        look.standbys.iter_mut().for_each(|standby| standby.sync_state = "quorum".to_owned());
        assert_eq!(check_standings(&look, &any), Ok(()), "it names itself");
        any.quorums[0].standbys.remove(&0);
        assert!(check_standings(&look, &any).is_err(), "node 3 is not named");
    }

    #[test]
    fn who_has_not_said_what_it_has_flushed_has_no_place() {
        let mut look = look();
        look.standbys[1].progress.flushed = 0;
        assert!(check_standings(&look, &guarantee()).is_err());
        (look.standbys[1].sync_state, look.standbys[1].priority) = ("async".to_owned(), 0);
        assert_eq!(check_standings(&look, &guarantee()), Ok(()));
    }

    #[test]
    fn each_thing_that_is_not_as_it_was_told_is_found() {
        type Change = fn(&mut Look);
        let changes: [(&str, Change); 17] = [
            ("less fallbacks", |look| look.fallbacks = 0),
            ("more fallbacks", |look| look.fallbacks = 3),
            ("less returns", |look| look.returns = 0),
            ("no names", |look| look.mode = "asynchronous".to_owned()),
            ("a standby", |look| look.mode = "standby".to_owned()),
            ("another is asked", |look| look.standbys.swap(0, 1)),
            ("two are asked", |look| look.standbys[1].sync_state = "sync".to_owned()),
            ("none is asked", |look| look.standbys[0].sync_state = "potential".to_owned()),
            ("one that is not named", |look| look.standbys[2].sync_state = "sync".to_owned()),
            ("any", |look| look.standbys[0].sync_state = "quorum".to_owned()),
            ("another place", |look| look.standbys[1].priority = 1),
            ("more written", |look| look.standbys[2].progress.written = 0x91),
            ("more flushed", |look| look.standbys[2].progress.flushed = 0x81),
            ("more replayed", |look| look.standbys[2].progress.replayed = 0x71),
            ("less replayed", |look| look.standbys[2].progress.replayed = 0x6F),
            ("more than sent", |look| look.standbys[2].sent = 0x8F),
            ("is not named", |look| look.standbys[0].sync_state = "async".to_owned()),
        ];
        for (what, change) in changes {
            // Whoever changes places keeps his name.
            let swapped = |look: &mut Look| {
                change(look);
                if what == "another is asked" {
                    (look.standbys[0].node, look.standbys[1].node) = (1, 2);
                }
            };
            assert!(judged(swapped).is_err(), "{what}");
        }
    }

    #[test]
    fn a_standby_shows_as_flushed_what_it_has_told() {
        let mut look = look();
        (look.node, look.mode) = (1, "standby".to_owned());
        look.standbys.clear();
        let guarantee = guarantee();
        let reports = guarantee.reports.as_ref().expect("reports");
        for (flushed, is_right) in [(0x7F, false), (0x80, true), (0x90, true)] {
            look.flushed = Some(Lsn::new(flushed));
            assert_eq!(check_receiver(&look, reports, &guarantee).is_ok(), is_right);
        }
    }
}
