//! Senders and receivers wired to each other, without I/O, under a seed: connections break, nodes restart,
//! standbys are promoted and followed, also in cascades. At each reply the standby's log must equal its
//! upstream's up to what it says it has flushed; at the end all logs are equal.
//!
//! One seed again: `SIMULATION_SEED=42 cargo test -p replica --test simulation`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a simulation fails by them")]

use bytes::Bytes;
use host::Timestamp;
use replica::ReplicaError;
use replica::receiver::{Event, Receiver, ReceiverAction, ReceiverOptions};
use replica::sender::{Action, Finish, Reply, Sender, SenderTimes, StreamPlan};
use replica::sync::Progress;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use wal::history::{BranchId, TimelineHistory};
use wal::{Lsn, SegmentSize, SystemId, TimelineId};

const SYSTEM: SystemId = SystemId::new(7);
const SEGMENT: u64 = 1 << 20;
/// Logs begin here: near a segment's end, so that runs cross it.
const BASE: u64 = 2 * SEGMENT - 40_000;

#[derive(Debug)]
enum Down {
    Data { start: Lsn, wal: Bytes },
    Keepalive { reply_requested: bool },
    CopyDone,
}

#[derive(Debug)]
enum Up {
    Reply(Progress, bool),
    CopyDone,
}

/// A stream under way, with what is on the wire.
struct Stream {
    upstream: usize,
    sender: Sender,
    down: VecDeque<Down>,
    up: VecDeque<Up>,
    result: Option<Option<(TimelineId, Lsn)>>,
}

struct Node {
    history: TimelineHistory,
    histories: BTreeMap<TimelineId, TimelineHistory>,
    /// From BASE on. A record is its length in two bytes and as many more.
    log: Vec<u8>,
    flushed: u64,
    alive: bool,
    upstream: Option<usize>,
    receiver: Option<Receiver>,
    stream: Option<Stream>,
    refused: Option<String>,
}

impl Node {
    fn end(&self) -> u64 {
        BASE + self.log.len() as u64
    }
    /// Zeros before BASE.
    fn bytes(&self, from: u64, upto: u64) -> Vec<u8> {
        let mut bytes = vec![0; BASE.min(upto).saturating_sub(from) as usize];
        if upto > BASE {
            bytes.extend(&self.log[from.saturating_sub(BASE) as usize..(upto - BASE) as usize]);
        }
        bytes
    }
    /// The end of the last whole record.
    fn whole_end(&self, limit: u64) -> u64 {
        let mut at = 0;
        let log = &self.log[..(limit.min(self.end()) - BASE) as usize];
        while let Some([high, low]) = log.get(at..at + 2) {
            let next = at + 2 + usize::from(u16::from_be_bytes([*high, *low]));
            if next > log.len() {
                break;
            }
            at = next;
        }
        BASE + at as u64
    }
    fn options() -> ReceiverOptions {
        ReceiverOptions {
            system: SYSTEM,
            segment_size: SegmentSize::new(SEGMENT).unwrap(),
            slot: None,
            follow_latest: true,
            status_interval: Some(Duration::from_secs(10)),
            timeout: Some(Duration::from_secs(60)),
            retry_interval: Duration::from_secs(5),
            feedback: false,
        }
    }
    /// As a server starts: what is behind the last whole durable record is gone.
    fn start_standby(&mut self) {
        let whole = self.whole_end(self.flushed);
        self.log.truncate((whole - BASE) as usize);
        self.flushed = whole;
        let (history, end) = (self.history.clone(), Lsn::new(whole));
        let timeline = history.timeline_at(end);
        self.stream = None;
        self.receiver = Some(Receiver::new(Self::options(), history, timeline, end, end));
    }
}

struct Cluster {
    seed: u64,
    random: fastrand::Rng,
    now: Duration,
    nodes: Vec<Node>,
    replies_checked: u64,
    switches: u64,
    cuts: u64,
}

impl Cluster {
    fn new(seed: u64, nodes: usize) -> Self {
        let node = |index: usize| Node {
            history: TimelineHistory::root(TimelineId::FIRST),
            histories: BTreeMap::new(),
            log: Vec::new(),
            flushed: BASE,
            alive: true,
            upstream: (index > 0).then_some(index.saturating_sub(1).min(1)),
            receiver: None,
            stream: None,
            refused: None,
        };
        let mut cluster = Self {
            seed,
            random: fastrand::Rng::with_seed(seed),
            now: Duration::ZERO,
            nodes: (0..nodes).map(node).collect(),
            replies_checked: 0,
            switches: 0,
            cuts: 0,
        };
        for node in cluster.nodes.iter_mut().skip(1) {
            node.start_standby();
        }
        cluster
    }

    fn wall(&self) -> Timestamp {
        Timestamp::from_micros(self.now.as_micros() as i64)
    }

    /// Appends some records on a primary; it flushes at a record's end only.
    fn write(&mut self, primary: usize) {
        let burst = self.random.u8(0..120) == 0;
        self.write_records(primary, burst);
    }

    fn write_records(&mut self, primary: usize, burst: bool) {
        // A burst leaves standbys behind, so that their logs may end in the middle of a record.
        for _ in 0..if burst { 6 } else { self.random.usize(1..4) } {
            let len = if burst { 60_000 } else { self.random.u16(0..500) };
            let node = &mut self.nodes[primary];
            node.log.extend(len.to_be_bytes());
            node.log.extend((0..len).map(|_| self.random.u8(..)));
        }
        self.nodes[primary].flushed = self.nodes[primary].end();
    }

    fn feed(&mut self, standby: usize, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let (now, wall) = (self.now, self.wall());
            let Some(receiver) = self.nodes[standby].receiver.as_mut() else { return };
            for command in receiver.handle(event, now, wall) {
                match self.perform(standby, command) {
                    Some(event @ (Event::Lost(_) | Event::Differs(_))) => {
                        events.push_back(event);
                        break;
                    }
                    Some(event) => events.push_back(event),
                    None => {}
                }
            }
        }
    }

    fn broken(&mut self) -> Option<Event> {
        let broken = self.random.u8(0..30) == 0;
        broken.then(|| lost("broken"))
    }

    /// What the upstream answers.
    fn ask(&mut self, standby: usize, upstream: usize, question: ReceiverAction) -> Event {
        if !self.nodes[upstream].alive {
            return lost("the upstream is down");
        }
        match question {
            ReceiverAction::Connect => self.broken().unwrap_or(Event::Connected { plimsoll: true }),
            ReceiverAction::Identify => {
                let timeline = self.nodes[upstream].history.target();
                self.broken().unwrap_or(Event::Identified { system: SYSTEM, timeline, end: Lsn::MAX })
            }
            ReceiverAction::FetchHistory(timeline) => {
                let node = &self.nodes[upstream];
                let known = node.histories.get(&timeline).map(|history| history.text().to_owned());
                let text = known.unwrap_or_default();
                self.broken().unwrap_or(Event::History { timeline, text })
            }
            ReceiverAction::Start { at, timeline, .. } => self.start_stream(standby, upstream, at, timeline),
            other => panic!("{other:?} is no question"),
        }
    }

    fn follow(&mut self, standby: usize, history: TimelineHistory, kept: Lsn) {
        let node = &mut self.nodes[standby];
        if node.end() > kept.get() {
            self.cuts += 1;
            node.log.truncate((kept.get() - BASE) as usize);
            node.flushed = node.flushed.min(kept.get());
        }
        node.histories.insert(history.target(), history.clone());
        node.history = history;
        self.tell_branch(standby, kept);
    }

    fn perform(&mut self, standby: usize, command: ReceiverAction) -> Option<Event> {
        let upstream = self.nodes[standby].upstream?;
        match command {
            ReceiverAction::Connect
            | ReceiverAction::Identify
            | ReceiverAction::FetchHistory(_)
            | ReceiverAction::Start { .. } => Some(self.ask(standby, upstream, command)),
            ReceiverAction::StoreHistory(history) => {
                self.nodes[standby].histories.insert(history.target(), history);
                None
            }
            ReceiverAction::Follow { history, kept } => {
                self.follow(standby, history, kept);
                None
            }
            ReceiverAction::FindWholeEnd => {
                let node = &self.nodes[standby];
                Some(Event::WholeEnd(Lsn::new(node.whole_end(node.end()))))
            }
            ReceiverAction::GoOnAt(_) | ReceiverAction::Count => panic!("no log is removed here"),
            ReceiverAction::SwitchTimeline(_) => {
                self.switches += 1;
                None
            }
            ReceiverAction::Compare { at, wal } => {
                let ours = self.nodes[standby].bytes(at.get(), at.get() + wal.len() as u64);
                (ours != wal).then_some(Event::Differs(at))
            }
            ReceiverAction::Write { at, wal } => {
                let node = &mut self.nodes[standby];
                assert_eq!(at.get(), node.end(), "seed {}: a hole in the log", self.seed);
                node.log.extend(&wal);
                Some(Event::Written(Lsn::new(self.nodes[standby].end())))
            }
            ReceiverAction::Flush => {
                let node = &mut self.nodes[standby];
                node.flushed = node.end();
                Some(Event::Flushed(Lsn::new(node.flushed)))
            }
            ReceiverAction::Reply { progress, reply_requested } => {
                if let Some(stream) = &mut self.nodes[standby].stream {
                    stream.up.push_back(Up::Reply(progress, reply_requested));
                }
                None
            }
            ReceiverAction::FinishStream => {
                if let Some(stream) = &mut self.nodes[standby].stream {
                    stream.up.push_back(Up::CopyDone);
                }
                None
            }
            ReceiverAction::Disconnect => {
                self.nodes[standby].stream = None;
                None
            }
            ReceiverAction::Report(error) | ReceiverAction::ReportEnd(error) => {
                self.nodes[standby].refused = (!is_temporary(&error)).then(|| error.to_string());
                None
            }
            ReceiverAction::TellDescendant
            | ReceiverAction::AskWitnessed
            | ReceiverAction::Feedback(_)
            | ReceiverAction::ReportStart { .. } => None,
        }
    }

    fn start_stream(&mut self, standby: usize, upstream: usize, at: Lsn, timeline: TimelineId) -> Event {
        let node = &self.nodes[upstream];
        match StreamPlan::new(&node.history, Lsn::new(node.flushed), at, Some(timeline)) {
            Err(error) => lost(&error.to_string()),
            Ok(plan) if plan.is_empty() => {
                Event::StreamEnded { next: plan.end.map(|end| (end.next, end.at)) }
            }
            Ok(plan) => {
                let times = SenderTimes { timeout: Some(Duration::from_secs(60)), heartbeat: None };
                let sender = Sender::new(plan, times, self.now);
                let (down, up) = (VecDeque::new(), VecDeque::new());
                self.nodes[standby].stream = Some(Stream { upstream, sender, down, up, result: None });
                Event::Started
            }
        }
    }

    /// A node's log is another one behind `kept`: the streams that leave it hear of it.
    fn tell_branch(&mut self, upstream: usize, kept: Lsn) {
        let history = self.nodes[upstream].history.clone();
        for standby in 0..self.nodes.len() {
            let Some(stream) = &mut self.nodes[standby].stream else { continue };
            if stream.upstream == upstream && stream.sender.on_branch(&history, kept).is_err() {
                self.cut_connection(standby);
            }
        }
    }

    fn cut_connection(&mut self, standby: usize) {
        if self.nodes[standby].stream.take().is_some() {
            self.feed(standby, lost("the connection was cut"));
        }
    }

    /// One step of the sender of a stream.
    fn step_sender(&mut self, standby: usize) {
        let now = self.now;
        let Some(upstream) = self.nodes[standby].stream.as_ref().map(|stream| stream.upstream) else {
            return;
        };
        let flushed = Lsn::new(self.nodes[upstream].flushed);
        let Some(stream) = &mut self.nodes[standby].stream else { return };
        match stream.sender.poll(now, flushed) {
            Action::Send { from, upto } => {
                stream.sender.sent(upto, now);
                let wal = Bytes::from(self.nodes[upstream].bytes(from.get(), upto.get()));
                let Some(stream) = &mut self.nodes[standby].stream else { return };
                stream.down.push_back(Down::Data { start: from, wal });
            }
            Action::Keepalive { reply_requested } => {
                stream.down.push_back(Down::Keepalive { reply_requested })
            }
            Action::CopyDone => stream.down.push_back(Down::CopyDone),
            Action::Finish(Finish::TimelineEnded(end)) => stream.result = Some(Some((end.next, end.at))),
            Action::Finish(_) => stream.result = Some(None),
            Action::Fail(_) => self.cut_connection(standby),
            Action::Wait { .. } | Action::LookOnce { .. } | Action::Reached => {}
        }
    }

    fn deliver_up(&mut self, standby: usize) {
        let now = self.now;
        let Some(stream) = &mut self.nodes[standby].stream else { return };
        match stream.up.pop_front() {
            Some(Up::Reply(progress, reply_requested)) => {
                stream.sender.on_reply(Reply { progress, reply_requested }, now);
                let upstream = stream.upstream;
                self.check_confirmed(standby, upstream, progress.flushed);
            }
            Some(Up::CopyDone) => stream.sender.on_copy_done(),
            None => {}
        }
    }

    /// The promise: what a standby confirms, it has, and it is the upstream's.
    fn check_confirmed(&mut self, standby: usize, upstream: usize, flushed: Lsn) {
        self.replies_checked += 1;
        let (down, up) = (&self.nodes[standby], &self.nodes[upstream]);
        let upto = flushed.get().max(BASE);
        assert!(upto <= down.flushed && upto <= up.end(), "seed {}: confirms what it lacks", self.seed);
        let len = (upto - BASE) as usize;
        let recent = len.saturating_sub(300_000)..len;
        assert!(down.log[recent.clone()] == up.log[recent], "seed {}: confirms other bytes", self.seed);
    }

    fn deliver_down(&mut self, standby: usize) {
        let clock = self.wall();
        let Some(upstream) = self.nodes[standby].stream.as_ref().map(|stream| stream.upstream) else {
            return;
        };
        let primary_end = Lsn::new(self.nodes[upstream].flushed);
        let Some(stream) = &mut self.nodes[standby].stream else { return };
        let event = match stream.down.pop_front() {
            Some(Down::Data { start, wal }) => Event::Data { start, primary_end, clock, wal },
            Some(Down::Keepalive { reply_requested }) => {
                Event::Keepalive { primary_end, clock, reply_requested }
            }
            Some(Down::CopyDone) => Event::StreamEnded { next: None },
            None => match stream.result {
                Some(next) => {
                    self.nodes[standby].stream = None;
                    Event::StreamEnded { next }
                }
                None => Event::Drained,
            },
        };
        self.feed(standby, event);
    }

    fn promote(&mut self, node: usize) {
        let branch = BranchId::new(self.random.u64(..));
        let known = self.nodes.iter().map(|node| node.history.target()).max().unwrap();
        let promoted = &mut self.nodes[node];
        let whole = promoted.whole_end(promoted.flushed);
        promoted.log.truncate((whole - BASE) as usize);
        promoted.flushed = whole;
        (promoted.receiver, promoted.stream, promoted.upstream) = (None, None, None);
        let next = TimelineId::new(known.get() + 1);
        promoted.history = promoted.history.fork(next, Lsn::new(whole), "promoted", branch).unwrap();
        promoted.histories.insert(next, promoted.history.clone());
        self.tell_branch(node, Lsn::new(whole));
    }

    fn round(&mut self, chaos: bool, primary: usize) {
        self.now += Duration::from_millis(self.random.u64(1..400));
        let standby = self.random.usize(0..self.nodes.len());
        match self.random.u8(0..12) {
            0 | 1 if chaos => self.write(primary),
            2 if chaos && self.random.u8(0..20) == 0 => self.cut_connection(standby),
            3 if chaos && self.random.u8(0..40) == 0 && self.nodes[standby].receiver.is_some() => {
                self.nodes[standby].start_standby();
                for other in 0..self.nodes.len() {
                    if self.nodes[other].stream.as_ref().is_some_and(|stream| stream.upstream == standby) {
                        self.cut_connection(other);
                    }
                }
            }
            4 => self.feed(standby, Event::Tick),
            5 | 6 => self.step_sender(standby),
            7 | 8 => self.deliver_up(standby),
            9 => {
                let replayed = self.nodes[standby].whole_end(self.nodes[standby].flushed);
                self.feed(standby, Event::Replayed(Lsn::new(replayed)));
            }
            _ => self.deliver_down(standby),
        }
    }

    /// Lets everything come to rest; clones again whoever was refused for good.
    fn settle(&mut self, primary: usize) -> u64 {
        let mut clones = 0;
        for _ in 0..300 {
            for _ in 0..400 {
                self.round(false, primary);
            }
            for node in 0..self.nodes.len() {
                if node != primary && self.nodes[node].refused.is_some() {
                    let (log, flushed) = (self.nodes[primary].log.clone(), self.nodes[primary].flushed);
                    let (history, histories) =
                        (self.nodes[primary].history.clone(), self.nodes[primary].histories.clone());
                    let clone = &mut self.nodes[node];
                    (clone.log, clone.flushed, clone.history, clone.histories) =
                        (log, flushed, history, histories);
                    (clone.alive, clone.upstream, clone.refused) = (true, Some(primary), None);
                    clone.start_standby();
                    clones += 1;
                }
            }
            if self.nodes.iter().all(|node| node.log == self.nodes[primary].log) {
                return clones;
            }
        }
        panic!("seed {}: the logs never became equal", self.seed);
    }
}

fn lost(cause: &str) -> Event {
    Event::Lost(ReplicaError::Connection { what: "test".to_owned(), cause: cause.to_owned() })
}

fn seeds(count: u64) -> Vec<u64> {
    match std::env::var("SIMULATION_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (1..=count).collect(),
    }
}

#[test]
fn standbys_converge_through_cuts_and_restarts() {
    let mut replies = 0;
    for seed in seeds(60) {
        let mut cluster = Cluster::new(seed, 3);
        for _ in 0..6000 {
            cluster.round(true, 0);
        }
        assert_eq!(cluster.settle(0), 0, "seed {seed}: nobody may be refused on one timeline");
        replies += cluster.replies_checked;
    }
    assert!(replies > 1000, "only {replies} replies were checked");
}

#[test]
fn a_promotion_is_followed_by_all_and_nobody_confirms_another_branch() {
    let (mut switches, mut clones, mut cuts) = (0, 0, 0);
    for seed in seeds(60) {
        let mut cluster = Cluster::new(seed, 4);
        let mut primary = 0;
        for round in 0..3 {
            for _ in 0..3000 {
                cluster.round(true, primary);
            }
            // The old primary is lost, one of its standbys takes over, the others are pointed there.
            let next = (primary + 1 + cluster.random.usize(0..3)) % 4;
            if round < 2 {
                // It fails in the middle of shipping a burst.
                cluster.write_records(primary, true);
                for _ in 0..cluster.random.usize(0..60) {
                    cluster.round(false, primary);
                }
                cluster.nodes[primary].alive = false;
                for standby in 0..4 {
                    if cluster.nodes[standby].stream.as_ref().is_some_and(|s| s.upstream == primary) {
                        cluster.cut_connection(standby);
                    }
                }
                cluster.promote(next);
                for node in 0..4 {
                    if node != next {
                        cluster.nodes[node].upstream = Some(next);
                    }
                }
                // The old one comes back as a standby, as it is.
                let old = &mut cluster.nodes[primary];
                old.alive = true;
                old.start_standby();
                primary = next;
            }
        }
        clones += cluster.settle(primary);
        switches += cluster.switches;
        cuts += cluster.cuts;
    }
    assert!(switches > 100 && clones > 10 && cuts > 0, "{switches} switches, {clones} clones, {cuts} cuts");
}

/// Whether trying again later can succeed without anybody's help.
fn is_temporary(error: &ReplicaError) -> bool {
    matches!(
        error,
        ReplicaError::Connection { .. }
            | ReplicaError::ReceiverTimeout
            | ReplicaError::ReceiverTerminated
            | ReplicaError::StreamTerminated(_)
            | ReplicaError::SenderTimeout
            | ReplicaError::Refused { .. }
            | ReplicaError::Protocol(_)
            | ReplicaError::SendersFull(_)
    )
}
