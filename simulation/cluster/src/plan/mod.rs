//! A seed becomes a plan: what a cluster looks like, and what happens to it when.
//!
//! A plan prints as a story, one line an event, and a story is read back as the plan: so a regression is a
//! text.

mod branches;
mod check;
mod crashes;
mod edges;
mod event;
mod generate;
mod handovers;
mod peace;
mod rarely;
mod rewinds;
mod scenes;
mod tails;
mod waits;

pub use check::NoStory;
pub use event::{Answered, Event, Handed, NoEvent, Nodes, Ways};

use crate::features::Features;
use check::Told;
use std::fmt;
use std::str::FromStr;

/// An event with its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timed {
    /// Since the cluster began to work.
    pub at_ms: u64,
    /// What happens.
    pub event: Event,
}

impl fmt::Display for Timed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {} ms {}", self.at_ms, self.event)
    }
}

/// A cluster and what happens to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Seeds the clients, the network and the order of steps.
    pub seed: u64,
    /// Whom each node follows in the beginning; None for the primary, which is node 0. Nodes are named `n0`,
    /// `n1` and so on (cluster_name).
    pub upstreams: Vec<Option<usize>>,
    /// How many clients work.
    pub clients: u32,
    /// How long they work. Then all faults end, and the nodes must converge.
    pub duration_ms: u64,
    /// synchronous_standby_names in the beginning.
    pub names: String,
    /// What is switched on.
    pub features: Features,
    /// What happens, in the order of time.
    pub events: Vec<Timed>,
}

impl Plan {
    /// The plan of a seed.
    pub fn of_seed(seed: u64) -> Self {
        generate::plan(seed)
    }

    /// How many nodes there are.
    pub fn nodes(&self) -> usize {
        self.upstreams.len()
    }

    /// Whether any event changes the branch.
    pub fn changes_branch(&self) -> bool {
        self.events.iter().any(|timed| timed.event.changes_branch())
    }
}

/// The setting that says how often a primary asks its peers whether it was replaced.
pub const FENCE_PROBE: &str = "plimsoll.fence_probe_interval";
/// The setting that names those that commits wait for.
pub const SYNC_NAMES: &str = "synchronous_standby_names";

/// The setting's value for a quorum of nodes (`ANY 1 (n1, n2)`).
pub fn names_of(first: bool, count: usize, nodes: &[usize]) -> String {
    if nodes.is_empty() || count == 0 {
        return String::new();
    }
    let names: Vec<String> = nodes.iter().map(|node| format!("n{node}")).collect();
    format!("{} {count} ({})", if first { "FIRST" } else { "ANY" }, names.join(", "))
}

/// Those of some nodes that are not this one.
fn others_than(node: usize, among: &[usize]) -> Vec<usize> {
    among.iter().copied().filter(|other| *other != node).collect()
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}", self.seed)?;
        for (node, upstream) in self.upstreams.iter().enumerate() {
            match upstream {
                None => writeln!(f, "node {node} is the primary")?,
                Some(upstream) => writeln!(f, "node {node} follows node {upstream}")?,
            }
        }
        writeln!(f, "{} clients work for {} ms", self.clients, self.duration_ms)?;
        writeln!(f, "commits wait for standbys '{}'", self.names)?;
        writeln!(f, "switched on: {}", self.features)?;
        self.events.iter().try_for_each(|timed| writeln!(f, "{timed}"))
    }
}

impl FromStr for Plan {
    type Err = NoStory;

    /// Reads a story. Empty lines and lines that begin with `#` are left out.
    fn from_str(text: &str) -> Result<Self, NoStory> {
        let mut told = Told::default();
        let mut plan = Self {
            seed: 0,
            upstreams: Vec::new(),
            clients: 0,
            duration_ms: 0,
            names: String::new(),
            features: Features::default(),
            events: Vec::new(),
        };
        for (number, line) in (1..).zip(text.lines().map(str::trim)) {
            if !line.is_empty() && !line.starts_with('#') {
                told.note(number, line)?;
                plan.read_line(line).ok_or_else(|| NoStory::at(number, line, "it is not understood"))?;
                let last = plan.events.last().filter(|_| line.starts_with("at "));
                last.map_or(Ok(()), check::event).map_err(|why| NoStory::at(number, line, &why))?;
            }
        }
        check::cluster(&plan, &told).map_err(NoStory)?;
        plan.events.sort_by_key(|timed| timed.at_ms);
        Ok(plan)
    }
}

impl Plan {
    fn read_line(&mut self, line: &str) -> Option<()> {
        if let Some(rest) = line.strip_prefix("at ") {
            let (at, event) = rest.split_once(" ms ")?;
            // What is set to nothing ends with a blank, which nobody keeps.
            let event = if event.ends_with(" =") { format!("{event} ") } else { event.to_owned() };
            self.events.push(Timed { at_ms: at.parse().ok()?, event: event.parse().ok()? });
        } else if let Some(seed) = line.strip_prefix("seed ") {
            self.seed = seed.parse().ok()?;
        } else if let Some(rest) = line.strip_prefix("node ") {
            let (node, role) = rest.split_once(' ')?;
            if node.parse() != Ok(self.upstreams.len()) {
                return None;
            }
            self.upstreams.push(match role {
                "is the primary" => None,
                follows => Some(follows.strip_prefix("follows node ")?.parse().ok()?),
            });
        } else if let Some(names) = line.strip_prefix("commits wait for standbys '") {
            self.names = names.strip_suffix('\'')?.to_owned();
        } else if let Some(words) = line.strip_prefix("switched on:") {
            self.features = words.parse().ok()?;
        } else {
            let (clients, duration) = line.strip_suffix(" ms")?.split_once(" clients work for ")?;
            (self.clients, self.duration_ms) = (clients.parse().ok()?, duration.parse().ok()?);
        }
        Some(())
    }
}

#[cfg(test)]
mod tests;
