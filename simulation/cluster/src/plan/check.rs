//! What is asked of a story that somebody wrote: each line means something, once, and within what a run can
//! do.

use super::{Event, Plan, SYNC_NAMES, Timed};
use std::collections::BTreeSet;
use std::fmt;

/// No cluster has more nodes: each may be a standby of one of them, which has so many WAL senders.
const NODES_MAX: usize = 10;
/// Nor does it have more clients.
const CLIENTS_MAX: u32 = 100;
/// Nothing lasts longer, in milliseconds.
const MS_MAX: u64 = 3_600_000;
/// No number of an event is larger, by the unit behind it.
const UNITS: &[(&str, u64)] = &[("ms", MS_MAX), ("us", 60_000_000), ("kB", 100_000)];
/// Characters of a line that are shown.
const SHOWN_MAX: usize = 120;

/// Why a text is no story.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoStory(pub String);

impl NoStory {
    pub(super) fn at(number: usize, line: &str, why: &str) -> Self {
        let shown: String = line.chars().take(SHOWN_MAX).collect();
        let rest = if shown.len() < line.len() { "..." } else { "" };
        Self(format!("line {number} of the story: {why}: \"{shown}{rest}\""))
    }
}

impl fmt::Display for NoStory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NoStory {}

/// Which of the lines that come once were there.
#[derive(Debug, Default)]
pub(super) struct Told(BTreeSet<&'static str>);

impl Told {
    /// A line comes.
    pub(super) fn note(&mut self, number: usize, line: &str) -> Result<(), NoStory> {
        let kinds = ["seed ", "commits wait for standbys ", "switched on:", " clients work for "];
        let is = |kind: &&str| line.starts_with(*kind) || (kind.starts_with(' ') && line.contains(*kind));
        let kind = kinds.into_iter().find(is).filter(|_| !line.starts_with("at "));
        if kind.is_some_and(|kind| !self.0.insert(kind)) {
            return Err(NoStory::at(number, line, "there is such a line already"));
        }
        Ok(())
    }
}

/// What no event may ask for, whatever the cluster.
pub(super) fn event(timed: &Timed) -> Result<(), String> {
    if timed.at_ms > MS_MAX {
        return Err(format!("nothing comes later than at {MS_MAX} ms"));
    }
    match &timed.event {
        Event::CreateSlot { name, .. } | Event::DropSlot { name, .. } if !is_slot_name(name) => {
            return Err("a slot's name has lower case letters, digits and underscores".to_owned());
        }
        Event::ChangeSyncNames { names } => is_read(names)?,
        Event::Reload { name, value, .. } if name == SYNC_NAMES => is_read(value)?,
        _ => {}
    }
    let text = timed.event.to_string();
    let words: Vec<&str> = words(&text).collect();
    for pair in words.windows(2) {
        let [number, unit] = pair else { continue };
        let most = UNITS.iter().find(|(name, _)| name == unit).map(|(_, most)| *most);
        if let (Some(most), Ok(number)) = (most, number.parse::<u64>())
            && number > most
        {
            return Err(format!("no more than {most} {unit} are possible"));
        }
    }
    Ok(())
}

/// The words of an event, without the value of a setting.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(" = ").next().unwrap_or_default().split_whitespace()
}

fn is_slot_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
}

/// Whether the checks read synchronous_standby_names as servers do: of what servers take, a part.
fn is_read(names: &str) -> Result<(), String> {
    let is_name = |name: &str| {
        let name = name.trim().trim_matches('"');
        name == "*" || name.strip_prefix('n').is_some_and(|number| number.parse::<usize>().is_ok())
    };
    let is_list = || {
        let (head, list) = names.trim().strip_suffix(')')?.split_once('(')?;
        let (kind, count) = head.trim().split_once(' ')?;
        let counts = count.trim().parse::<usize>().is_ok_and(|count| count > 0);
        (matches!(kind, "ANY" | "FIRST") && counts && list.split(',').all(is_name)).then_some(())
    };
    if ["", "*"].contains(&names.trim()) || is_list().is_some() {
        return Ok(());
    }
    Err("standbys are named as '', '*', or 'ANY 1 (n1, n2)' or 'FIRST 1 (n1, n2)'".to_owned())
}

/// What holds for the story as a whole.
pub(super) fn cluster(plan: &Plan, told: &Told) -> Result<(), String> {
    let nodes = plan.nodes();
    if !told.0.contains("seed ") {
        return Err("the story has no line \"seed N\"".to_owned());
    }
    if nodes == 0 {
        if told.0.len() > 1 || !plan.events.is_empty() {
            return Err("the story has no nodes, and says more than its seed".to_owned());
        }
        return Ok(());
    }
    is_read(&plan.names)?;
    if !told.0.contains(" clients work for ") {
        return Err("the story has no line \"N clients work for N ms\"".to_owned());
    }
    if nodes > NODES_MAX || plan.clients > CLIENTS_MAX || plan.duration_ms > MS_MAX {
        let most = format!("{NODES_MAX} nodes, {CLIENTS_MAX} clients and {MS_MAX} ms");
        return Err(format!("the story has more than {most}"));
    }
    for node in 0..nodes {
        if !leads_to_primary(plan, node) {
            return Err(format!("node {node} does not follow node 0, the one primary, over any others"));
        }
    }
    for timed in &plan.events {
        if let Some(node) = named(&timed.event.to_string()).into_iter().find(|node| *node >= nodes) {
            return Err(format!("there is no node {node}: \"{timed}\""));
        }
    }
    Ok(())
}

fn leads_to_primary(plan: &Plan, node: usize) -> bool {
    let mut at = node;
    for _ in 0..plan.nodes() {
        match plan.upstreams.get(at) {
            Some(None) => return at == 0,
            Some(Some(upstream)) => at = *upstream,
            None => return false,
        }
    }
    false
}

/// The nodes that an event names.
fn named(text: &str) -> Vec<usize> {
    let (mut found, mut lists) = (Vec::new(), false);
    for word in words(text) {
        let number = word.trim_end_matches(',').parse();
        match number {
            Ok(number) if lists => found.push(number),
            _ => lists = matches!(word, "node" | "nodes"),
        }
        lists &= number.is_err() || word.ends_with(',');
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nodes_of_an_event_are_those_behind_the_word() {
        assert_eq!(named("cut the power of nodes 1, 2 at the next answer to a commit with seed 77"), [1, 2]);
        assert_eq!(named("clone node 3 from node 0"), [3, 0]);
        assert_eq!(named("freeze node 2 for 100 ms"), [2]);
        assert_eq!(named("set on node 1 cluster_name = node 9"), [1]);
    }

    #[test]
    fn a_story_that_cannot_be_meant_says_why() {
        let base = "seed 1\nnode 0 is the primary\nnode 1 follows node 0\n2 clients work for 100 ms\n";
        assert!(base.parse::<Plan>().is_ok());
        for (more, why) in [
            ("at 5 ms kill node 2", "there is no node 2: \"at 5 ms kill node 2\""),
            ("at 5 ms promote the best of nodes 0, 7", "there is no node 7"),
            ("at 99999999 ms kill node 1", "line 5 of the story: nothing comes later than"),
            ("at 5 ms freeze node 1 for 99999999 ms", "no more than 3600000 ms"),
            ("at 5 ms write 99999999 kB on node 1", "no more than 100000 kB"),
            ("at 5 ms drop slot a = b on node 9", "line 5 of the story: a slot's name has lower case"),
            ("at 5 ms wait for standbys '1 (n1)'", "line 5 of the story: standbys are named as"),
            ("at 5 ms set on node 1 synchronous_standby_names = ANY 1 (N1)", "standbys are named as"),
            ("commits wait for standbys 'n1'", "standbys are named as"),
            ("seed 2", "there is such a line already: \"seed 2\""),
            ("node 2 is the primary", "node 2 does not follow node 0"),
            ("node 2 follows node 2", "node 2 does not follow node 0"),
            ("node 2 follows node 9", "node 2 does not follow node 0"),
            ("xyz", "line 5 of the story: it is not understood: \"xyz\""),
        ] {
            let found = format!("{base}{more}").parse::<Plan>().expect_err(more).to_string();
            assert!(found.contains(why), "{more}: {found}");
        }
        assert!("seed 1\n2 clients work for 100 ms".parse::<Plan>().is_err(), "no nodes");
        assert!("node 0 is the primary".parse::<Plan>().is_err(), "no seed");
        assert!("seed 1\nnode 0 is the primary".parse::<Plan>().is_err(), "no clients");
    }
}
