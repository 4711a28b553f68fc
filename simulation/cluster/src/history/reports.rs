//! What standbys have told their upstreams of how far they are.

use super::Level;
use crate::branch::{Branch, Branches, Token};
use std::collections::BTreeMap;

/// How far a standby says it is; all are exclusive ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// What it has received.
    pub written: u64,
    /// What is durable on it.
    pub flushed: u64,
    /// What it has replayed.
    pub replayed: u64,
}

impl Progress {
    /// What counts for commits of a level.
    pub fn of(&self, level: Level) -> u64 {
        match level {
            Level::RemoteApply => self.replayed,
            Level::On => self.flushed,
            _ => self.written,
        }
    }

    /// The most of both, stage by stage.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self {
            written: self.written.max(other.written),
            flushed: self.flushed.max(other.flushed),
            replayed: self.replayed.max(other.replayed),
        }
    }
}

/// Who told of what, and to whom.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// The standby.
    pub node: usize,
    /// The branch of its stream.
    pub branch: Branch,
    /// The node that it follows.
    pub upstream: usize,
}

/// The most that was told until some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// When this was told first.
    pub at_ms: u64,
    /// How far the standby is.
    pub progress: Progress,
    /// Since when the standby may count: the stream had once been given all that there was, and the standby
    /// had said that it has some, which its upstream may take in later. None if that is not so yet.
    pub streams_from_ms: Option<u64>,
}

/// A stream from one node to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Streamed {
    /// Who receives.
    pub node: usize,
    /// Who sends.
    pub upstream: usize,
    /// When it began.
    pub from_ms: u64,
    /// When it had been given all that there was; None if it never was.
    pub caught_up_ms: Option<u64>,
    /// What the receiver said in it, each word that was new with its time.
    pub told: Vec<(u64, Progress)>,
}

impl Streamed {
    /// The last that was said by a time.
    pub fn told_by(&self, at_ms: u64) -> Option<Progress> {
        self.told.iter().rev().find(|(told_ms, _)| *told_ms <= at_ms).map(|(_, progress)| *progress)
    }
}

/// All that was told, and over which streams.
#[derive(Debug, Clone, Default)]
pub struct Reports {
    told: BTreeMap<Source, Vec<Told>>,
    streams: Vec<Streamed>,
}

impl Reports {
    /// Notes a report.
    pub fn add(&mut self, source: Source, at_ms: u64, progress: Progress, streams_from_ms: Option<u64>) {
        let told = self.told.entry(source).or_default();
        let progress = told.last().map_or(progress, |last| last.progress.max(progress));
        match told.last_mut() {
            Some(last) if last.at_ms == at_ms => *last = Told { at_ms, progress, streams_from_ms },
            Some(last) if last.progress == progress => {}
            _ => told.push(Told { at_ms, progress, streams_from_ms }),
        }
    }

    /// What a node first said when it had a commit, as this level asks for it; None if it never said so. Of
    /// several streams the first to tell counts.
    pub fn told(
        &self,
        branches: &Branches,
        node: usize,
        level: Level,
        commit: &Token,
    ) -> Option<(usize, Told)> {
        let told = self.all_told(branches, node, level, commit).min_by_key(|(_, told)| told.at_ms);
        told.map(|(source, told)| (source.upstream, told))
    }

    /// The same of what it said to this upstream.
    pub fn told_to(
        &self,
        upstream: usize,
        branches: &Branches,
        node: usize,
        level: Level,
        commit: &Token,
    ) -> Option<Told> {
        let all = self.all_told(branches, node, level, commit);
        let to_it = all.filter(|(source, _)| source.upstream == upstream);
        to_it.map(|(_, told)| told).min_by_key(|told| told.at_ms)
    }

    fn all_told(
        &self,
        branches: &Branches,
        node: usize,
        level: Level,
        commit: &Token,
    ) -> impl Iterator<Item = (&Source, Told)> {
        let of_node = self.told.iter().filter(move |(source, _)| source.node == node);
        let on_branch = of_node.filter(|(source, _)| branches.has(&source.branch, commit));
        on_branch.filter_map(move |(source, told)| {
            let at = told.partition_point(|told| told.progress.of(level) < commit.at.get());
            told.get(at).map(|told| (source, *told))
        })
    }

    /// Notes that a stream begins.
    pub fn begins(&mut self, node: usize, upstream: usize, from_ms: u64) -> usize {
        let told = Vec::new();
        self.streams.push(Streamed { node, upstream, from_ms, caught_up_ms: None, told });
        self.streams.len() - 1
    }

    /// Notes that a stream, by its number, was given all that there is.
    pub fn catches_up(&mut self, stream: usize, at_ms: u64) {
        if let Some(stream) = self.streams.get_mut(stream) {
            stream.caught_up_ms.get_or_insert(at_ms);
        }
    }

    /// Notes what was said in a stream, by its number.
    pub fn says(&mut self, stream: usize, at_ms: u64, progress: Progress) {
        if let Some(stream) = self.streams.get_mut(stream)
            && stream.told.last().is_none_or(|(_, last)| *last != progress)
        {
            stream.told.push((at_ms, progress));
        }
    }

    /// The streams to a node that had begun by a time, the last one first.
    pub fn streams_to(&self, node: usize, at_ms: u64) -> impl Iterator<Item = &Streamed> {
        self.streams.iter().rev().filter(move |stream| stream.node == node && stream.from_ms <= at_ms)
    }

    /// The streams from one node to another, in the order of time.
    pub fn streams(&self, upstream: usize, node: usize) -> impl Iterator<Item = &Streamed> {
        self.streams.iter().filter(move |stream| stream.node == node && stream.upstream == upstream)
    }

    /// How far a node has said to have each branch durably.
    pub fn flushed(&self, node: usize) -> Vec<(Branch, u64)> {
        let of_node = self.told.iter().filter(|(source, _)| source.node == node);
        let last = of_node.filter_map(|(source, told)| Some((source, told.last()?)));
        last.map(|(source, told)| (source.branch.clone(), told.progress.flushed)).collect()
    }

    /// Whether a node has said since a time that it has more of a branch durably than this.
    pub fn flushed_past(&self, node: usize, branch: &Branch, at: u64, since_ms: u64) -> bool {
        let mut its = self.told.iter().filter(|(source, _)| source.node == node && source.branch == *branch);
        its.any(|(_, told)| told.iter().any(|told| told.at_ms >= since_ms && told.progress.flushed > at))
    }

    /// The most that a node has told of this branch; None if it told nothing.
    pub fn last_told(&self, node: usize, branch: &Branch) -> Option<Progress> {
        let its = self.told.iter().filter(|(source, _)| source.node == node && source.branch == *branch);
        its.filter_map(|(_, told)| Some(told.last()?.progress)).reduce(Progress::max)
    }

    /// When a node first said that it has replayed a commit.
    pub fn replayed_at(&self, branches: &Branches, node: usize, commit: &Token) -> Option<u64> {
        self.told(branches, node, Level::RemoteApply, commit).map(|(_, told)| told.at_ms)
    }

    /// The same, said on the branch that the token names or on what continues it. Who said it on a branch
    /// that this one left may not have heard of it.
    pub fn replayed_by_name(&self, branches: &Branches, node: usize, token: &Token) -> Option<u64> {
        let all = self.all_told(branches, node, Level::RemoteApply, token);
        let named = all.filter(|(source, _)| branches.lineage(&source.branch).contains(&token.branch));
        named.map(|(_, told)| told.at_ms).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_counts_for_its_stage_and_for_commits_of_its_branch() {
        let mut branches = Branches::default();
        branches.add(Branch::new("2-a"), Branch::new("1"), wal::Lsn::new(0x100));
        branches.add(Branch::new("2-b"), Branch::new("1"), wal::Lsn::new(0x90));
        let mut reports = Reports::default();
        let progress = |written, flushed, replayed| Progress { written, flushed, replayed };
        let source = |branch: &str| Source { node: 3, branch: Branch::new(branch), upstream: 0 };
        reports.add(source("1"), 10, progress(0x120, 0x90, 0x50), None);
        reports.add(source("1"), 20, progress(0x110, 0x100, 0x90), None);
        reports.add(source("2-a"), 30, progress(0x130, 0x130, 0x130), None);
        let told = |level, token: &str| {
            let token = token.parse().expect("a token");
            reports.told(&branches, 3, level, &token).map(|(_, told)| told.at_ms)
        };
        assert_eq!(told(Level::RemoteWrite, "1:0/120"), Some(10));
        assert_eq!(told(Level::On, "1:0/90"), Some(10));
        assert_eq!(told(Level::On, "1:0/91"), Some(20));
        assert_eq!(told(Level::RemoteApply, "1:0/100"), Some(30), "a younger branch has it too");
        assert_eq!(told(Level::On, "1:0/110"), None, "of what was left it counts nothing");
        assert_eq!(told(Level::On, "2-a:0/110"), Some(30));
        let by_name = |token: &str| reports.replayed_by_name(&branches, 3, &token.parse().expect("a token"));
        assert_eq!(told(Level::RemoteApply, "2-a:0/90"), Some(20));
        assert_eq!(by_name("2-a:0/90"), Some(30), "what it had before was not of that name to it");
        assert_eq!((by_name("1:0/90"), by_name("1:0/100")), (Some(20), Some(30)));
        assert_eq!(by_name("2-b:0/90"), None, "of that one it never heard");
        let past = |at, since_ms| reports.flushed_past(3, &Branch::new("1"), at, since_ms);
        assert_eq!((past(0xff, 20), past(0x100, 20), past(0xff, 21)), (true, false, false));
        assert!(reports.told(&branches, 2, Level::On, &"1:0/1".parse().expect("a token")).is_none());
    }
}
