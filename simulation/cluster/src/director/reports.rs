//! What nodes said, just before each promotion, that it would lose (plimsoll_promotion_report), against what
//! it lost.

use super::admin::{PATIENCE, ask};
use super::facts::quorum_of;
use super::{Shared, machine_of};
use crate::cluster::State;
use crate::guarantee::{Guarantee, Lost, Quorum, Turn};
use crate::history::{Entry, History, Level};
use crate::rare::{Counters, Rare};
use std::collections::BTreeSet;
use std::sync::Arc;

const REPORT: &str = "select verdict || '|' || coalesce(synchronous_standby_names, '') \
                      from plimsoll_promotion_report() where is_this_node and verdict is not null";
/// How long after the question a promotion may begin its branch that the answer was for.
const TURN_MS: u64 = 5000;

/// An answer.
#[derive(Clone, Debug)]
pub(super) struct Said {
    node: usize,
    at_ms: u64,
    /// The lowest level of which nothing is lost; None if something may be.
    safe_from: Option<Level>,
    /// The names by which it said so.
    names: String,
    /// Nodes that did not run when it was asked. A primary among them that comes back before the promotion is
    /// done, which may wait for an archive, acknowledges more with the standbys that still follow it.
    down: BTreeSet<usize>,
}

impl Said {
    fn read((node, at_ms): (usize, u64), down: BTreeSet<usize>, answer: &str) -> Option<Self> {
        let (verdict, names) = answer.split_once('|')?;
        let safe_from = match verdict {
            "no loss" => Some(Level::Off),
            "no loss at remote_write and above" => Some(Level::RemoteWrite),
            "no loss at on and above" => Some(Level::On),
            _ => None,
        };
        Some(Self { node, at_ms, safe_from, names: names.to_owned(), down })
    }

    /// Whether the answer speaks of such a commit at all.
    fn is_told_of(&self, level: Level, entry: &Entry) -> bool {
        // An old primary that comes back may acknowledge what waits for nobody, until it is fenced.
        entry.invoked_ms <= self.at_ms || (level.stage().is_some() && !self.down.contains(&entry.node))
    }
}

/// Asks a node that is to be promoted what that would lose. It is promoted meanwhile.
pub(super) fn ask_report(shared: &Arc<Shared>, node: usize) {
    let (there, at_ms) = (shared.clone(), shared.now_ms());
    let is_down = |node: &usize| {
        let state = shared.cluster.lock().node(machine_of(*node)).map(|there| there.state());
        state.is_none_or(|state| state != State::Up)
    };
    let down = shared.nodes().filter(is_down).collect();
    shared.beside(async move {
        // Of one that does not answer, or is promoted already, nothing is known.
        let Ok(Some(answer)) = ask(machine_of(node), REPORT, PATIENCE).await else { return };
        there.tell(&format!("node {node} says of its promotion: {answer}"));
        if let Some(said) = Said::read((node, at_ms), down, &answer) {
            there.facts.lock().reports.push(said);
        }
    });
}

/// Checks that nothing was lost by a promotion that was said to lose nothing, and counts how often that was
/// said.
pub(super) fn check(
    reports: &[Said],
    history: &History,
    guarantee: &Guarantee,
    rare: &mut Counters,
) -> Result<(), String> {
    for said in reports {
        let Some(turn) = turn_of(said, guarantee) else { continue };
        let lost = |entry: &&Entry| is_lost(entry, said, turn, guarantee);
        let mut lost =
            history.entries().iter().filter(lost).filter_map(|entry| Some((entry.level_told()?, entry)));
        let Some(safe_from) = said.safe_from else {
            let loses = lost.any(|(level, _)| level.stage().is_some());
            rare.hit(if loses { Rare::LossSaid } else { Rare::LossFeared });
            continue;
        };
        if let Some((_, entry)) =
            lost.find(|(level, entry)| *level >= safe_from && said.is_told_of(*level, entry))
        {
            return Err(format!(
                "Acknowledged: the promotion of node {} at {} ms was said to lose nothing at {safe_from:?} and above, \
                 and lost {entry:?}",
                said.node, said.at_ms
            ));
        }
        rare.hit(Rare::NoLossProven);
    }
    Ok(())
}

/// The change of branch that an answer was for. None if the node lost its memory in between.
fn turn_of<'g>(said: &Said, guarantee: &'g Guarantee) -> Option<&'g Turn> {
    let fits = |turn: &&Turn| turn.node == said.node && turn.decided_ms <= said.at_ms;
    let turn = guarantee.turns.iter().rev().find(fits)?;
    let until_ms = said.at_ms + TURN_MS;
    let lost_it = guarantee.losses.iter().any(|loss| {
        loss.node == said.node && loss.lost >= Lost::Machine && (said.at_ms..=until_ms).contains(&loss.at_ms)
    });
    (turn.decided_ms + TURN_MS >= said.at_ms && !lost_it).then_some(turn)
}

/// Whether a commit that was acknowledged is on the branch that was left, behind the place where it was. The
/// report rests on the names by which the log says that commits waited: of one that may have waited for
/// others, as after a change of which the promoted node had not heard, it says nothing; nor of a branch that
/// began later, which the promotion took for its parent's.
fn is_lost(entry: &Entry, said: &Said, turn: &Turn, guarantee: &Guarantee) -> bool {
    let (Some(_), Some(token)) = (entry.level_told(), entry.token()) else { return false };
    let Some(fork) = guarantee.branches.fork(&turn.branch) else { return false };
    let is_behind = guarantee.branches.home(token) == fork.parent && token.at > fork.at;
    let mut turns = guarantee.turns.iter();
    let was_there = !turns.any(|turn| turn.branch == fork.parent && turn.decided_ms > said.at_ms);
    let nodes = guarantee.quorums.iter().map(|quorum| quorum.node + 1).max().unwrap_or(0);
    let (count, named) = quorum_of(&said.names, nodes);
    let named: BTreeSet<usize> = named.into_iter().collect();
    let is_said = |quorum: &Quorum| quorum.count == count && quorum.standbys == named;
    let mut in_force = guarantee.in_force(entry.node, entry.invoked_ms, entry.told_ms());
    is_behind && was_there && !guarantee.may_be_released(token) && in_force.all(is_said)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::branch::Branch;
    use crate::history::{Deed, Outcome, Write};
    use wal::Lsn;

    /// Node 0 committed at 0/50 for node 1 or 2; node 2 was promoted at 0/40 after its report.
    fn case(level: Level, names: &str) -> (History, Guarantee, Vec<Said>) {
        let mut history = History::default();
        let deed = Deed::Write(Write::new(1, level, [0].into(), [0].into()));
        let pending = history.begin((0, 0), 0, "insert", 1000, deed);
        let token = Some("1:0/50".parse().expect("a token"));
        history.end(pending, 1500, Outcome::Acked { token, warnings: Vec::new() }, |_| ());
        let mut guarantee = Guarantee::calm(Branch::new("2"));
        guarantee.branches.add(Branch::new("2"), Branch::new("1"), Lsn::new(0x40));
        let standbys = [1, 2].into();
        guarantee.quorums.push(Quorum {
            node: 0,
            from_ms: 0,
            to_ms: 9000,
            count: 1,
            standbys,
            first: Vec::new(),
        });
        let candidates = [(2, Lsn::INVALID)].into();
        let turn = Turn { branch: Branch::new("2"), node: 2, decided_ms: 2000, candidates, sealed: false };
        guarantee.turns.push(turn);
        let answer = format!("no loss at remote_write and above|{names}");
        let said = Said::read((2, 2000), BTreeSet::new(), &answer);
        (history, guarantee, said.into_iter().collect())
    }

    #[test]
    fn a_commit_that_is_gone_although_nothing_was_to_be_lost_is_found() {
        let names = "ANY 1 (n1, n2)";
        for (level, names, found) in
            [(Level::On, names, true), (Level::Local, names, false), (Level::On, "ANY 1 (n2)", false)]
        {
            let (history, guarantee, said) = case(level, names);
            let mut rare = Counters::default();
            assert_eq!(check(&said, &history, &guarantee, &mut rare).is_err(), found, "{level:?} {names}");
            assert_eq!(rare.count(Rare::NoLossProven), u64::from(!found));
        }
        let (history, mut guarantee, said) = case(Level::On, names);
        guarantee.branches.add(Branch::new("2"), Branch::new("1"), Lsn::new(0x50));
        assert_eq!(check(&said, &history, &guarantee, &mut Counters::default()), Ok(()));
        // A primary that did not run then, and one that ran.
        for (down, found) in [([0].into(), false), ([1].into(), true)] {
            let (history, guarantee, said) = case(Level::On, names);
            let said: Vec<Said> = said
                .into_iter()
                .map(|said| Said { at_ms: 999, down: BTreeSet::clone(&down), ..said })
                .collect();
            let guarantee = Guarantee {
                turns: guarantee.turns.iter().map(|turn| Turn { decided_ms: 999, ..turn.clone() }).collect(),
                ..guarantee
            };
            let judged = check(&said, &history, &guarantee, &mut Counters::default());
            assert_eq!(judged.is_err(), found, "{down:?}");
        }
        // Another promotion that was begun after the answer, whose branch this one continues.
        for (decided_ms, found) in [(2000, true), (2001, false)] {
            let (history, mut guarantee, said) = case(Level::On, names);
            let turn = Turn { branch: Branch::new("1"), node: 0, decided_ms, ..guarantee.turns[0].clone() };
            guarantee.turns.push(turn);
            let judged = check(&said, &history, &guarantee, &mut Counters::default());
            assert_eq!(judged.is_err(), found, "{decided_ms}");
        }
    }
}
