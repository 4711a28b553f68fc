//! What can happen, and its words in a story.

use std::fmt;
use std::str::FromStr;

/// Which way a network fault works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ways {
    /// What the first node sends is lost.
    One,
    /// What both send is lost.
    Both,
}

impl fmt::Display for Ways {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::One { "one way" } else { "both ways" })
    }
}

impl FromStr for Ways {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "one way" => Ok(Self::One),
            "both ways" => Ok(Self::Both),
            _ => Err(()),
        }
    }
}

/// What a client is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answered {
    /// That its commit is done, at level on.
    Commit,
    /// What a primary shows.
    Read,
}

impl fmt::Display for Answered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::Commit { "commit" } else { "read" })
    }
}

impl FromStr for Answered {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "commit" => Ok(Self::Commit),
            "read" => Ok(Self::Read),
            _ => Err(()),
        }
    }
}

/// How far the handing over of a primary's role is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Handed {
    /// The primary has offered it.
    Offered,
    /// The standby has said that it takes it.
    Taken,
}

impl fmt::Display for Handed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::Offered { "offered" } else { "taken" })
    }
}

impl FromStr for Handed {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "offered" => Ok(Self::Offered),
            "taken" => Ok(Self::Taken),
            _ => Err(()),
        }
    }
}

/// A list of nodes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Nodes(pub Vec<usize>);

impl fmt::Display for Nodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&numbers.join(", "))
    }
}

impl FromStr for Nodes {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.split(", ").map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}

/// The values that stand in the places of a template, in its order; None if the text does not fit.
fn fit<'t>(template: &str, text: &'t str) -> Option<Vec<&'t str>> {
    let mut values = Vec::new();
    let mut rest = text;
    let mut parts = template.split('{');
    rest = rest.strip_prefix(parts.next()?)?;
    for part in parts {
        let (_, literal) = part.split_once('}')?;
        let end = if literal.is_empty() { rest.len() } else { rest.find(literal)? };
        values.push(rest.get(..end)?);
        rest = rest.get(end + literal.len()..)?;
    }
    rest.is_empty().then_some(values)
}

macro_rules! events {
    ($($(#[doc = $doc:literal])* $name:ident { $($field:ident: $kind:ty),* } = $words:literal,)*) => {
        /// What happens to a cluster. Nodes are numbers from 0; times are milliseconds.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Event {
            $($(#[doc = $doc])* $name {
                $(#[doc = concat!("In the story's place `", stringify!($field), "`.")] $field: $kind,)*
            },)*
        }

        impl fmt::Display for Event {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self { $(Self::$name { $($field),* } => write!(f, $words),)* }
            }
        }

        impl FromStr for Event {
            type Err = NoEvent;

            fn from_str(text: &str) -> Result<Self, NoEvent> {
                $(
                    if let Some(values) = fit($words, text) {
                        let mut values = values.into_iter();
                        let mut parse = || Some(Self::$name {
                            $($field: values.next()?.parse::<$kind>().ok()?,)*
                        });
                        if let Some(event) = parse() {
                            return Ok(event);
                        }
                    }
                )*
                Err(NoEvent(text.to_owned()))
            }
        }
    };
}

/// Words that name no event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoEvent(pub String);

events! {
    /// The process ends at once; what it wrote to files stays.
    Kill { node: usize } = "kill node {node}",
    /// The machine loses power; a generator of this seed says which unsynced sectors and names survive.
    PowerCut { node: usize, seed: u64 } = "cut the power of node {node} with seed {seed}",
    /// These processes end as soon as a client is answered so.
    KillAtAnswer { nodes: Nodes, answer: Answered } = "kill nodes {nodes} at the next answer to a {answer}",
    /// These machines lose power as soon as a client is answered so.
    PowerCutAtAnswer { nodes: Nodes, answer: Answered, seed: u64 } = "cut the power of nodes {nodes} at the next answer to a {answer} with seed {seed}",
    /// It is stopped as by SIGQUIT.
    ImmediateStop { node: usize } = "stop node {node} immediately",
    /// It is stopped as by SIGINT.
    FastStop { node: usize } = "stop node {node} fast",
    /// A node that is down is started from what its disk has.
    Restart { node: usize } = "start node {node}",
    /// It stands still.
    Freeze { node: usize, ms: u64 } = "freeze node {node} for {ms} ms",
    /// What it sends to another node is lost, connections stay open.
    Partition { from: usize, to: usize, ways: Ways, ms: u64 } = "cut node {from} off from node {to} {ways} for {ms} ms",
    /// It can reach no node and no client, nor they it.
    Isolate { node: usize, ms: u64 } = "isolate node {node} for {ms} ms",
    /// Bytes between two nodes take this much longer, both ways.
    SlowLink { from: usize, to: usize, delay_ms: u64, ms: u64 } = "delay bytes between node {from} and node {to} by {delay_ms} ms for {ms} ms",
    /// So much goes through between two nodes, each way.
    NarrowLink { kilobytes: u64, from: usize, to: usize, ms: u64 } = "let {kilobytes} kB a second through between node {from} and node {to} for {ms} ms",
    /// All its connections break.
    ResetConnections { node: usize } = "reset all connections of node {node}",
    /// It is promoted, whatever it has.
    Promote { node: usize } = "promote node {node}",
    /// Its process ends so long after its signal file went, in the middle of a promotion.
    KillInPromotion { node: usize, ms: u64 } = "kill node {node} when {ms} ms have passed since its signal file went",
    /// Its machine loses power then.
    PowerCutInPromotion { node: usize, ms: u64, seed: u64 } = "cut the power of node {node} when {ms} ms have passed since its signal file went with seed {seed}",
    /// Of these nodes the one with the most log is promoted; those that are down do not count.
    PromoteBest { among: Nodes } = "promote the best of nodes {among}",
    /// The same, unless one of the cluster is a primary.
    PromoteIfNone { among: Nodes } = "promote the best of nodes {among} if none is a primary",
    /// Whoever was promoted last is asked, until it does so, to hand its role over to a standby, which must
    /// keep up within so long. With an odd time it has to find out by itself how to reach that one
    /// afterwards.
    Switchover { to: usize, ms: u64 } = "hand the primary's role over to node {to} within {ms} ms",
    /// These processes end as soon as a role is handed over so far.
    KillAtHandover { nodes: Nodes, handed: Handed } = "kill nodes {nodes} when a role is {handed}",
    /// These machines lose power as soon as a role is handed over so far.
    PowerCutAtHandover { nodes: Nodes, handed: Handed, seed: u64 } = "cut the power of nodes {nodes} when a role is {handed} with seed {seed}",
    /// What a node sends to another one is lost as soon as a role is handed over so far.
    CutAtHandover { from: usize, to: usize, ways: Ways, handed: Handed, ms: u64 } = "cut node {from} off from node {to} {ways} when a role is {handed} for {ms} ms",
    /// It is ended if it runs, rewound to the branch of another node and started as its standby.
    Rewind { node: usize, from: usize } = "rewind node {node} to node {from}",
    /// A standby is stopped and started again; in between its directory is copied, and the other one rewound
    /// to that.
    RewindAtRest { node: usize, from: usize } = "rewind node {node} to the directory of node {from}",
    /// It is ended if it runs, cloned anew from another node and started as its standby.
    Clone { node: usize, from: usize } = "clone node {node} from node {from}",
    /// A standby follows another node from now on.
    Follow { node: usize, from: usize } = "let node {node} follow node {from}",
    /// It follows whoever was promoted last, unless it is that one.
    FollowPrimary { node: usize } = "let node {node} follow the primary",
    /// A setting is changed by ALTER SYSTEM or in the file, and read by a reload.
    Reload { node: usize, name: String, value: String } = "set on node {node} {name} = {value}",
    /// synchronous_standby_names is changed on whoever is the primary.
    ChangeSyncNames { names: String } = "wait for standbys '{names}'",
    /// Its disk has no room for anything new.
    DiskFull { node: usize, ms: u64 } = "fill the disk of node {node} for {ms} ms",
    /// Its disk takes up to so long for a write or a sync.
    SlowDisk { node: usize, us: u64, ms: u64 } = "let the disk of node {node} take up to {us} us for a call for {ms} ms",
    /// A node that is down loses the end of its log although it was durable: all from so many bytes before
    /// the LSN of its newest page on. If there is such a page, it can tell.
    LoseLog { node: usize, bytes: u64 } = "let node {node} lose its log from {bytes} bytes before its newest page on",
    /// A standby's disk changes a bit of log that was received and not replayed; a generator of this seed
    /// says which.
    SpoilLog { node: usize, seed: u64 } = "spoil a record that node {node} has not replayed with seed {seed}",
    /// The next sync of its log fails, and what it was to save never gets to the disk by itself. When the
    /// server has ended for that, an even seed has its machine lose power, and a generator of it says what
    /// survives; with an odd one the next server finds all of it in the kernel.
    FailSync { node: usize, seed: u64 } = "let a sync of the log of node {node} fail with seed {seed}",
    /// The next sync of a file of tables fails in the same way.
    FailDataSync { node: usize, seed: u64 } = "let a sync of a table's file of node {node} fail with seed {seed}",
    /// No file of a table and no segment of the log can be removed.
    KeepFiles { node: usize, ms: u64 } = "let node {node} remove no table's file and no segment for {ms} ms",
    /// Replay is paused on a standby.
    PauseReplay { node: usize } = "pause replay on node {node}",
    /// Replay goes on.
    ResumeReplay { node: usize } = "resume replay on node {node}",
    /// recovery_min_apply_delay is set on a standby.
    DelayReplay { node: usize, ms: u64 } = "delay replay on node {node} by {ms} ms",
    /// A physical slot that keeps log from now on is made.
    CreateSlot { name: String, node: usize } = "create slot {name} on node {node}",
    /// A slot is dropped.
    DropSlot { name: String, node: usize } = "drop slot {name} on node {node}",
    /// A transaction of this size is written at once.
    Burst { kilobytes: u64, node: usize } = "write {kilobytes} kB on node {node}",
    /// One record of this size, which changes nothing.
    Record { kilobytes: u64, node: usize } = "log one record of {kilobytes} kB on node {node}",
    /// A table is dropped while a standby reads it.
    DropRead { node: usize, on: usize } = "drop a table on node {node} while node {on} reads it",
    /// A table with rows that are due to be swept is dropped while a snapshot of before is there for so long.
    DropKept { node: usize, ms: u64 } = "drop a table on node {node} that a snapshot may read there for {ms} ms",
    /// Clients rest for at least so long, and so many sessions write instead.
    Alone { sessions: u64, node: usize, ms: u64 } = "let {sessions} sessions alone write on node {node} for {ms} ms",
    /// Fibers stand still at many locks for a while, each for a moment.
    StallLocks { ms: u64 } = "let fibers stand still at many locks for {ms} ms",
    /// A snapshot is held on a standby, of which the primary is told.
    Hold { node: usize, ms: u64 } = "hold a snapshot on node {node} for {ms} ms",
    /// Clients begin nothing for a while.
    Rest { ms: u64 } = "let clients rest for {ms} ms",
    /// CHECKPOINT.
    Checkpoint { node: usize } = "checkpoint on node {node}",
    /// pg_switch_wal().
    SwitchWal { node: usize } = "switch the segment on node {node}",
    /// Its wall clock is set forward by this much.
    ClockForward { node: usize, ms: u64 } = "set the clock of node {node} forward by {ms} ms",
    /// Its wall clock is set back by this much.
    ClockBack { node: usize, ms: u64 } = "set the clock of node {node} back by {ms} ms",
}

impl Event {
    /// Whether it may begin a branch.
    pub fn changes_branch(&self) -> bool {
        use Event::{Promote, PromoteBest, PromoteIfNone, Switchover};
        matches!(self, Promote { .. } | PromoteBest { .. } | PromoteIfNone { .. } | Switchover { .. })
    }

    /// A setting is changed on a node.
    pub fn set(node: usize, name: &str, value: &str) -> Self {
        Self::Reload { node, name: name.to_owned(), value: value.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_no_event_has_are_refused() {
        for text in
            ["", "kill node x", "kill node 1 ", "kill", "promote the best of nodes ", "freeze node 1 for ms"]
        {
            assert_eq!(text.parse::<Event>(), Err(NoEvent(text.to_owned())), "{text}");
        }
    }
}
