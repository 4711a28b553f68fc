//! The log of a node as its segment files have it, along its timelines.

use crate::Node;
use crate::wire::parse_lsn;
use std::collections::BTreeMap;
use std::fs;

/// A node's way through the timelines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Branch {
    /// Each timeline with where it begins, oldest first.
    timelines: Vec<(u32, u64)>,
}

impl Branch {
    /// The newest branch that a node's history files tell of.
    pub fn of(node: &Node) -> Self {
        let newest = names(node).filter_map(|name| {
            let number = name.strip_suffix(".history")?;
            u32::from_str_radix(number, 16).ok()
        });
        let mut begin = 0;
        let mut timelines = Vec::new();
        let target = newest.max().unwrap_or(1);
        let text = fs::read_to_string(node.data().join(format!("pg_wal/{target:08X}.history")));
        for line in text.unwrap_or_default().lines().filter(|line| !line.starts_with('#')) {
            let mut fields = line.split_whitespace();
            let Some(timeline) = fields.next().and_then(|field| field.parse().ok()) else { continue };
            timelines.push((timeline, begin));
            begin = fields.next().and_then(parse_lsn).expect("a history has positions");
        }
        timelines.push((target, begin));
        Self { timelines }
    }

    /// The newest timeline.
    pub fn timeline(&self) -> u32 {
        self.timelines.last().map_or(1, |(timeline, _)| *timeline)
    }

    /// Where the newest timeline begins.
    pub fn fork(&self) -> u64 {
        self.timelines.last().map_or(0, |(_, begin)| *begin)
    }

    /// The timeline whose file holds a segment's bytes; it begins with a copy of what its ancestors have
    /// there.
    fn file_timeline(&self, segment: u64, size: u64) -> u32 {
        let begun = self.timelines.iter().rfind(|(_, begin)| begin / size <= segment);
        begun.map_or(1, |(timeline, _)| *timeline)
    }
}

fn names(node: &Node) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(node.data().join("pg_wal")).expect("pg_wal");
    entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
}

/// The segments along a branch that a node has, with their names.
fn segments(node: &Node, branch: &Branch, size: u64) -> BTreeMap<u64, String> {
    let of_branch = names(node).filter(|name| name.len() == 24).filter_map(|name| {
        let part = |range: std::ops::Range<usize>| u64::from_str_radix(&name[range], 16).ok();
        let segment = part(8..16)? * ((1 << 32) / size) + part(16..24)?;
        (u64::from(branch.file_timeline(segment, size)) == part(0..8)?).then_some((segment, name.clone()))
    });
    of_branch.collect()
}

/// Compares the logs of two nodes along a branch from the first segment that both have up to `upto`. Returns
/// how many bytes were compared.
pub fn assert_logs_equal(one: &Node, other: &Node, branch: &Branch, upto: u64) -> u64 {
    let size = names(one).filter(|name| name.len() == 24).find_map(|name| {
        let metadata = fs::metadata(one.data().join("pg_wal").join(name)).ok()?;
        Some(metadata.len())
    });
    let size = size.expect("a segment");
    let (ours, theirs) = (segments(one, branch, size), segments(other, branch, size));
    let first = |of: &BTreeMap<u64, String>| *of.keys().next().expect("a segment of this branch");
    let mut compared = 0;
    for segment in first(&ours).max(first(&theirs))..upto.div_ceil(size) {
        let end = usize::try_from(size.min(upto - segment * size)).expect("a segment");
        let read = |node: &Node, of: &BTreeMap<u64, String>| {
            let name = of.get(&segment).unwrap_or_else(|| {
                panic!("{} has no segment {segment:x} of {branch:?}: {of:?}", node.data().display())
            });
            (fs::read(node.data().join("pg_wal").join(name)).expect("a segment is readable"), name.clone())
        };
        let ((left, name), (right, _)) = (read(one, &ours), read(other, &theirs));
        let differs = left[..end].iter().zip(&right[..end]).position(|(left, right)| left != right);
        assert!(differs.is_none(), "segment {name} differs at {differs:x?} of {end:x}");
        compared += end as u64;
    }
    compared
}
