//! Which standbys count, and how far the log is where commits wait for them.

use super::names::{Method, SyncNames};
use durability::Stage;
use wal::Lsn;

/// What a standby has done with the log, each an exclusive end; INVALID until it has said so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Handed to its kernel: what is `received` there.
    pub written: Lsn,
    /// Durable there.
    pub flushed: Lsn,
    /// Replayed there, which is durable: the protocol calls it applied.
    pub replayed: Lsn,
}

impl Progress {
    /// How far it is at a stage.
    #[inline]
    pub const fn at(&self, stage: Stage) -> Lsn {
        match stage {
            Stage::Written => self.written,
            Stage::Flushed => self.flushed,
            Stage::Replayed => self.replayed,
        }
    }

    /// As much of it as lies before `limit`.
    pub fn up_to(self, limit: Lsn) -> Self {
        let Self { written, flushed, replayed } = self;
        Self { written: written.min(limit), flushed: flushed.min(limit), replayed: replayed.min(limit) }
    }

    /// Each stage that has come to `start`, and nothing of the others.
    pub fn from(self, start: Lsn) -> Self {
        let come = |at: Lsn| if at >= start { at } else { Lsn::INVALID };
        let Self { written, flushed, replayed } = self;
        Self { written: come(written), flushed: come(flushed), replayed: come(replayed) }
    }

    /// The further of both at each stage.
    pub fn max(self, other: Self) -> Self {
        Self {
            written: self.written.max(other.written),
            flushed: self.flushed.max(other.flushed),
            replayed: self.replayed.max(other.replayed),
        }
    }
}

/// One connected standby, as the quorum rule sees it.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// Its application_name.
    pub name: &'a str,
    /// Whether it has caught up and streams (or is being sent the last WAL of a shutdown).
    pub streaming: bool,
    /// Its last reply.
    pub progress: Progress,
}

/// sync_state of pg_stat_replication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncState {
    /// Not named, or it has not said that it has flushed anything.
    Async,
    /// Would take the place of a synchronous one that goes.
    Potential,
    /// Commits wait for it.
    Sync,
    /// One of those of whom enough have to answer.
    Quorum,
}

impl SyncState {
    /// The word in pg_stat_replication.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Async => "async",
            Self::Potential => "potential",
            Self::Sync => "sync",
            Self::Quorum => "quorum",
        }
    }
}

/// Where a standby stands in the rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// sync_priority: 0 for one that is asynchronous.
    pub priority: usize,
    /// sync_state.
    pub state: SyncState,
}

/// What the rule says of all connected standbys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evaluation {
    /// The position that the required standbys have reached at each stage; None while too few of them stream.
    pub synced: Option<Progress>,
    /// In the order of the candidates.
    pub standings: Vec<Standing>,
}

/// Applies the rule. Of standbys with equal priority, the one first in the slice counts first.
pub fn evaluate(names: Option<&SyncNames>, candidates: &[Candidate<'_>]) -> Evaluation {
    let Some(names) = names else {
        let standing = Standing { priority: 0, state: SyncState::Async };
        return Evaluation { synced: None, standings: vec![standing; candidates.len()] };
    };
    let priority = |candidate: &Candidate<'_>| names.priority(candidate.name);
    let mut eligible: Vec<(usize, usize)> = candidates
        .iter()
        .enumerate()
        .filter(|(_, candidate)| candidate.streaming || host::planted!("a standby that catches up counts"))
        .filter(|(_, candidate)| candidate.progress.flushed.is_valid())
        .map(|(at, candidate)| (priority(candidate), at))
        .filter(|(priority, _)| *priority > 0 || host::planted!("a standby that is not named counts"))
        .collect();
    eligible.sort_unstable();
    let chosen: Vec<usize> = match names.method() {
        Method::First if host::planted!("FIRST counts as ANY") => {
            eligible.iter().map(|(_, at)| *at).collect()
        }
        Method::Any if host::planted!("ANY counts as FIRST") => {
            eligible.iter().take(names.count()).map(|(_, at)| *at).collect()
        }
        Method::First => eligible.iter().take(names.count()).map(|(_, at)| *at).collect(),
        Method::Any => eligible.iter().map(|(_, at)| *at).collect(),
    };
    let standing = |(at, candidate): (usize, &Candidate<'_>)| {
        // As in PostgreSQL: who never says what it has flushed, such as pg_receivewal without --synchronous,
        // takes nobody's place.
        let priority = if candidate.progress.flushed.is_valid() { priority(candidate) } else { 0 };
        let state = match names.method() {
            _ if priority == 0 => SyncState::Async,
            _ if !chosen.contains(&at) => SyncState::Potential,
            Method::Any => SyncState::Quorum,
            Method::First => SyncState::Sync,
        };
        Standing { priority, state }
    };
    let standings = candidates.iter().enumerate().map(standing).collect();
    let progress: Vec<Progress> =
        chosen.iter().filter_map(|at| candidates.get(*at)).map(|candidate| candidate.progress).collect();
    let fewer = usize::from(host::planted!("one standby less than asked is enough") && names.count() > 1);
    Evaluation { synced: synced(names.count() - fewer, &progress), standings }
}

/// At each stage, the position that `count` of these have reached.
fn synced(count: usize, chosen: &[Progress]) -> Option<Progress> {
    let reached = |stage: fn(&Progress) -> Lsn| {
        let mut positions: Vec<Lsn> = chosen.iter().map(stage).collect();
        positions.sort_unstable_by(|a, b| b.cmp(a));
        positions.get(count.checked_sub(1)?).copied()
    };
    Some(Progress {
        written: reached(|progress| progress.written)?,
        flushed: reached(|progress| progress.flushed)?,
        replayed: reached(|progress| progress.replayed)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> SyncNames {
        SyncNames::parse(text).unwrap().unwrap()
    }
    fn standby(name: &str, at: u64) -> Candidate<'_> {
        let progress =
            Progress { written: Lsn::new(at + 2), flushed: Lsn::new(at + 1), replayed: Lsn::new(at) };
        Candidate { name, streaming: true, progress }
    }
    fn replayed(names: &SyncNames, candidates: &[Candidate<'_>]) -> Option<u64> {
        evaluate(Some(names), candidates).synced.map(|progress| progress.replayed.get())
    }
    fn states(names: &SyncNames, candidates: &[Candidate<'_>]) -> Vec<(usize, &'static str)> {
        let standings = evaluate(Some(names), candidates).standings;
        standings.iter().map(|standing| (standing.priority, standing.state.name())).collect()
    }

    #[test]
    fn first_waits_for_the_best_named_and_the_next_takes_over() {
        let first = names("FIRST 2 (a, b, c)");
        let all = [standby("c", 30), standby("a", 10), standby("b", 20), standby("x", 99)];
        assert_eq!(replayed(&first, &all), Some(10));
        assert_eq!(states(&first, &all), [(3, "potential"), (1, "sync"), (2, "sync"), (0, "async")]);
        let without_a = [standby("c", 30), standby("b", 20)];
        assert_eq!(replayed(&first, &without_a), Some(20));
        assert_eq!(replayed(&first, &without_a[..1]), None);
    }

    #[test]
    fn any_waits_for_the_nth_fastest_at_each_stage_by_itself() {
        let any = names("ANY 2 (a, b, c)");
        let mut all = [standby("a", 10), standby("b", 20), standby("c", 30)];
        assert_eq!(replayed(&any, &all), Some(20));
        assert_eq!(states(&any, &all), [(1, "quorum"); 3]);
        let catches_up = Candidate { streaming: false, ..standby("a", 10) };
        assert_eq!(states(&any, &[catches_up, all[1]]), [(1, "potential"), (1, "quorum")]);
        all[0].progress.written = Lsn::new(100);
        let synced = evaluate(Some(&any), &all).synced.unwrap();
        assert_eq!((synced.written, synced.flushed), (Lsn::new(32), Lsn::new(21)));
    }

    #[test]
    fn a_standby_that_catches_up_or_never_flushed_does_not_count() {
        let first = names("a, b");
        let mut all = [standby("a", 10), standby("b", 20)];
        all[0].streaming = false;
        assert_eq!(replayed(&first, &all), Some(20));
        assert_eq!(states(&first, &all), [(1, "potential"), (2, "sync")]);
        all[1].progress.flushed = Lsn::INVALID;
        assert_eq!(replayed(&first, &all), None);
        assert_eq!(states(&first, &all), [(1, "potential"), (0, "async")]);
        let any = names("ANY 1 (*)");
        assert_eq!(states(&any, &all), [(1, "potential"), (0, "async")]);
    }

    #[test]
    fn of_two_with_one_name_the_earlier_counts() {
        let first = names("FIRST 1 (*)");
        assert_eq!(states(&first, &[standby("a", 5), standby("b", 9)]), [(1, "sync"), (1, "potential")]);
        assert_eq!(replayed(&first, &[standby("a", 5), standby("b", 9)]), Some(5));
    }

    /// Every stage says what its definition says, for all small clusters.
    #[test]
    fn the_rule_agrees_with_counting_for_every_small_cluster() {
        for method in ["FIRST", "ANY"] {
            for count in 1..=3 {
                let names = names(&format!("{method} {count} (a, b, c)"));
                for pattern in 0..4usize.pow(3) {
                    let positions = [0, 1, 2].map(|at| pattern / 4usize.pow(at) % 4);
                    let connected: Vec<_> = ["a", "b", "c"]
                        .into_iter()
                        .zip(positions)
                        .filter(|(_, position)| *position > 0)
                        .map(|(name, position)| standby(name, position as u64 * 10))
                        .collect();
                    let got = replayed(&names, &connected);
                    let considered: &[_] = match method {
                        "FIRST" => &connected[..connected.len().min(count)],
                        _ => &connected,
                    };
                    let have =
                        |lsn: u64| considered.iter().filter(|c| c.progress.replayed.get() >= lsn).count();
                    let expected = [30, 20, 10].into_iter().find(|lsn| have(*lsn) >= count);
                    assert_eq!(got, expected, "{method} {count} {positions:?}");
                }
            }
        }
    }
}
