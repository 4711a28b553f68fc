//! Answers come in time while nothing keeps them: nobody waits for what has happened already, nor on when his
//! wait is over.
//!
//! Only times are looked at in which nothing was done to the node that was asked. That its standbys were
//! there and reached what a commit waits for, they have said themselves.

use super::{Promise, Violation, violation};
use crate::branch::Token;
use crate::guarantee::{Guarantee, Quorum};
use crate::history::reports::Reports;
use crate::history::{Deed, Entry, History, Level, Outcome, View};

/// How long an answer may take once what it waits for is there, or its wait is over.
const ANSWER_MS: u64 = 400;
/// After how long clients give up an answer.
const PATIENCE_MS: u64 = 2500;

pub(super) fn check(history: &History, guarantee: &Guarantee) -> Result<(), Violation> {
    let Some(reports) = &guarantee.reports else { return Ok(()) };
    let judge = Judge { guarantee, reports };
    for entry in history.entries() {
        judge.check_late(entry)?;
        judge.check_shipped(entry)?;
        judge.check_due(entry)?;
        judge.check_unanswered(entry)?;
        judge.check_read(entry)?;
    }
    Ok(())
}

struct Judge<'g> {
    guarantee: &'g Guarantee,
    reports: &'g Reports,
}

impl Judge<'_> {
    /// A commit is told soon after enough standbys have said that they have it and all before it.
    fn check_late(&self, entry: &Entry) -> Result<(), Violation> {
        let Some((_, token)) = entry.level_told().zip(entry.token()) else { return Ok(()) };
        let (node, told_ms) = (entry.node, entry.told_ms());
        let sent_ms = entry.commit_ms.map_or(0, |(sent_ms, _)| sent_ms);
        let from_ms = entry.invoked_ms.saturating_sub(ANSWER_MS);
        let quorums: Vec<_> = self.guarantee.in_force(node, from_ms, told_ms).collect();
        // Whoever comes back is waited for again: the commit may have been due before that.
        let back_ms = quorums.iter().flat_map(|quorum| &quorum.standbys).flat_map(|standby| {
            let begins = self.reports.streams(node, *standby).map(|stream| stream.from_ms);
            begins.filter(|begin_ms| (sent_ms + ANSWER_MS..told_ms).contains(begin_ms))
        });
        for until_ms in back_ms.chain([told_ms]) {
            // Of several quorums that may be in force the last to be reached counts.
            let each = quorums.iter().map(|quorum| self.ready(quorum, token, until_ms));
            let Some(at_ms) = each.collect::<Option<Vec<_>>>() else { continue };
            let ready_ms = at_ms.into_iter().fold(sent_ms, u64::max);
            let late_ms = until_ms.saturating_sub(ready_ms);
            if ready_ms > 0 && late_ms > ANSWER_MS && self.guarantee.is_calm(node, ready_ms, until_ms) {
                let text = format!("not told {late_ms} ms after all that it waits for: {entry:?}");
                return violation(Promise::Timely, text);
            }
        }
        Ok(())
    }

    /// A commit that is to be durable goes into the log and out to those who stream, whoever is waited for.
    fn check_shipped(&self, entry: &Entry) -> Result<(), Violation> {
        let Some(((level, token), (sent_ms, _))) = entry.level_told().zip(entry.token()).zip(entry.commit_ms)
        else {
            return Ok(());
        };
        let branches = &self.guarantee.branches;
        let hears = |node: &usize| {
            let told = self.reports.told_to(entry.node, branches, *node, Level::RemoteWrite, token)?;
            let streams = told.streams_from_ms.is_some_and(|from_ms| from_ms < sent_ms);
            let is_well = self.guarantee.is_clear((entry.node, *node), sent_ms, told.at_ms)
                && self.guarantee.is_calm(*node, sent_ms, told.at_ms);
            (streams && is_well).then_some(told.at_ms)
        };
        let quorums = self.guarantee.in_force(entry.node, sent_ms, entry.told_ms());
        let heard = quorums.flat_map(|quorum| &quorum.standbys).filter_map(hears).min();
        let Some(heard_ms) = heard.filter(|_| level > Level::Off) else { return Ok(()) };
        if heard_ms > sent_ms + ANSWER_MS && self.guarantee.is_calm(entry.node, sent_ms, heard_ms) {
            let text =
                format!("sent at {sent_ms} ms, and no standby heard of it before {heard_ms}: {entry:?}");
            return violation(Promise::Timely, text);
        }
        Ok(())
    }

    /// From when on, as of a time, a quorum held a commit and all before it, and nobody else was waited for;
    /// None if that is not known.
    fn ready(&self, quorum: &Quorum, commit: &Token, until_ms: u64) -> Option<u64> {
        let holds = |node: &usize| self.holds_from(quorum.node, *node, commit);
        let told = |node: &usize| holds(node).map(|at_ms| (at_ms, *node));
        let mut told: Vec<(u64, usize)> = quorum.standbys.iter().filter_map(told).collect();
        told.sort_unstable();
        let first = told.get(..quorum.count)?;
        let enough_ms = first.last().map_or(0, |(at_ms, _)| *at_ms);
        // The word of one that has gone by then does not count.
        if !first.iter().all(|(at_ms, node)| self.stays(quorum.node, *node, (*at_ms, enough_ms + ANSWER_MS)))
        {
            return None;
        }
        // Of those that ask for the first it is not known which these are: nobody who could be one lacks it.
        // Whoever names all asks for the first, too.
        let is_all = quorum.standbys.contains(&quorum.node);
        let all = quorum.standbys.iter().filter(|node| is_all && **node != quorum.node);
        let others = quorum.first.iter().chain(all).map(|node| {
            let gone_ms = self.is_gone_from(quorum.node, *node, until_ms);
            holds(node).unwrap_or(u64::MAX).min(gone_ms)
        });
        let ready_ms = others.fold(enough_ms, u64::max);
        let stay = || first.iter().all(|(at_ms, node)| self.stays(quorum.node, *node, (*at_ms, until_ms)));
        (ready_ms <= enough_ms || ready_ms < u64::MAX && stay()).then_some(ready_ms)
    }

    /// When a standby told its primary that it has a commit and had been given all that there was, if nothing
    /// kept that word.
    fn holds_from(&self, primary: usize, node: usize, commit: &Token) -> Option<u64> {
        let branches = &self.guarantee.branches;
        let told = self.reports.told_to(primary, branches, node, Level::RemoteApply, commit)?;
        let at_ms = told.at_ms.max(told.streams_from_ms?);
        self.stays(primary, node, (told.at_ms, at_ms + ANSWER_MS)).then_some(at_ms)
    }

    /// Whether a standby was there for its primary from a time to another.
    fn stays(&self, primary: usize, node: usize, (from_ms, until_ms): (u64, u64)) -> bool {
        self.guarantee.is_clear((primary, node), from_ms, until_ms)
            && self.guarantee.lives(node, from_ms, until_ms)
            && !self.guarantee.is_promoted(node, from_ms.saturating_sub(PATIENCE_MS), until_ms)
    }

    /// From when on until a time a primary need not wait for a standby, since it is not connected, or is sent
    /// what is old. The end of time if it may have to.
    fn is_gone_from(&self, primary: usize, node: usize, until_ms: u64) -> u64 {
        let mut gone_ms = 0;
        for stream in self.reports.streams(primary, node).filter(|stream| stream.from_ms < until_ms) {
            if stream.caught_up_ms.is_none_or(|at_ms| at_ms > until_ms) {
                continue;
            }
            let is_seen = |at_ms: u64| self.guarantee.is_clear((primary, node), at_ms, at_ms + ANSWER_MS);
            // What was to end before is not this stream, however late its end is heard of.
            let ends = self.guarantee.ends_of(node).filter(|(at_ms, _)| *at_ms >= stream.from_ms);
            let heard = ends.map(|(_, heard_ms)| heard_ms).filter(|heard_ms| is_seen(*heard_ms));
            gone_ms = gone_ms.max(heard.min().unwrap_or(u64::MAX));
        }
        gone_ms
    }

    /// The wait of a COMMIT ends when it is cancelled, or its time is over.
    fn check_due(&self, entry: &Entry) -> Result<(), Violation> {
        let (Some((_, due_ms)), Some(told_ms)) = (entry.commit_ms, entry.returned_ms) else { return Ok(()) };
        if told_ms > due_ms + ANSWER_MS && self.guarantee.is_calm(entry.node, due_ms, told_ms) {
            let text = format!("its wait was over at {due_ms} ms and went on: {entry:?}");
            return violation(Promise::Timely, text);
        }
        Ok(())
    }

    /// A statement runs into its time limit before its client gives up.
    fn check_unanswered(&self, entry: &Entry) -> Result<(), Violation> {
        let (Outcome::Unknown(text) | Outcome::Failed(text)) = &entry.outcome else { return Ok(()) };
        let told_ms = entry.told_ms();
        // Each statement of a message has its own limit.
        let is_one = text.starts_with("no answer to ") && !text.contains(';');
        let from_ms = told_ms.saturating_sub(PATIENCE_MS);
        if is_one && told_ms >= PATIENCE_MS && self.guarantee.is_calm(entry.node, from_ms, told_ms) {
            return violation(Promise::Timely, format!("nothing keeps the answer: {entry:?}"));
        }
        Ok(())
    }

    /// Who waits on a standby for what it has replayed is served, once it is on the branch that the token
    /// names: one that is not may yet hear of the promotion that began it.
    fn check_read(&self, entry: &Entry) -> Result<(), Violation> {
        let (Deed::Read(read), Outcome::Failed(text)) = (&entry.deed, &entry.outcome) else { return Ok(()) };
        let (Some(after), View::Replayed) = (&read.after, read.view) else { return Ok(()) };
        if !text.starts_with("57014") && !text.contains("timeout") {
            return Ok(());
        }
        let told_ms = entry.told_ms();
        let replayed = self.reports.replayed_by_name(&self.guarantee.branches, entry.node, after);
        let Some(at_ms) = replayed.filter(|at_ms| at_ms + ANSWER_MS < told_ms) else { return Ok(()) };
        let calm = self.guarantee.lives(entry.node, at_ms, told_ms)
            && self.guarantee.is_calm(entry.node, told_ms.saturating_sub(PATIENCE_MS), told_ms);
        if calm {
            let text = format!("it has replayed {after} since {at_ms} ms: {entry:?}");
            return violation(Promise::Timely, text);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::branch::Branch;
    use crate::guarantee::{Loss, Lost, Pause, Trouble};
    use crate::history::reports::{Progress, Source};
    use crate::history::{Read, Write};

    /// A commit that began at 1000 ms, ends at 0/50 and was told at 5000 ms, or something else.
    fn commit(outcome: Outcome, due_ms: Option<u64>) -> History {
        let (kept, adds) = ([0].into(), [0].into());
        let write = Write::new(1, Level::On, kept, adds);
        let mut history = History::default();
        let pending = history.begin((0, 0), 0, "insert", 1000, Deed::Write(write));
        due_ms.into_iter().for_each(|due_ms| history.commits(pending, 1000, due_ms));
        history.end(pending, 5000, outcome, |_| ());
        history
    }

    fn acked() -> Outcome {
        Outcome::Acked { token: "1:0/50".parse().ok(), warnings: Vec::new() }
    }

    /// Node 0 waits for these, and each has told at these times, over streams that began at once.
    fn told(first: bool, standbys: &[usize], times: &[(usize, u64)]) -> Guarantee {
        let mut guarantee = Guarantee::calm(Branch::new("1"));
        let order = if first { standbys.to_vec() } else { Vec::new() };
        let standbys = standbys.iter().copied().collect();
        guarantee.quorums.push(Quorum { node: 0, from_ms: 0, to_ms: 9000, count: 1, standbys, first: order });
        let mut reports = Reports::default();
        for (node, at_ms) in times {
            let stream = reports.begins(*node, 0, 10);
            reports.catches_up(stream, 20);
            let progress = Progress { written: 0x50, flushed: 0x50, replayed: 0x50 };
            let source = Source { node: *node, branch: Branch::new("1"), upstream: 0 };
            reports.add(source, *at_ms, progress, Some(20));
        }
        guarantee.reports = Some(reports);
        guarantee
    }

    fn found(history: &History, guarantee: &Guarantee) -> bool {
        check(history, guarantee).is_err()
    }

    #[test]
    fn a_late_answer_is_found_if_nothing_kept_it() {
        let history = commit(acked(), None);
        for (at_ms, late) in [(1100, true), (4500, true), (4700, false)] {
            let mut guarantee = told(false, &[1], &[(1, at_ms)]);
            assert_eq!(found(&history, &guarantee), late, "{at_ms}");
            guarantee.disturbed.push(Pause { node: 0, from_ms: 4800, to_ms: 4801 });
            assert!(!found(&history, &guarantee));
            guarantee.disturbed.clear();
            guarantee.troubles.push(Trouble { nodes: (1, 0), from_ms: at_ms, to_ms: at_ms + 1 });
            assert!(!found(&history, &guarantee), "its word may not have come");
        }
    }

    #[test]
    fn of_any_one_is_enough_and_of_the_first_those_who_are_there() {
        let history = commit(acked(), None);
        assert!(found(&history, &told(false, &[1, 2], &[(2, 1100)])));
        let both = [(2, 1100), (1, 8000)];
        assert!(!found(&history, &told(true, &[1, 2], &both)), "the first has not told");
        assert!(found(&history, &told(true, &[1, 2], &both[..1])), "it is not there");
        let mut guarantee = told(true, &[1, 2], &both);
        guarantee.losses.push(Loss { node: 1, at_ms: 4700, lost: Lost::Process });
        assert!(!found(&history, &guarantee));
        guarantee.losses[0].at_ms = 4500;
        assert!(found(&history, &guarantee), "it has left");
        guarantee.pauses.push(Pause { node: 1, from_ms: 4300, to_ms: 4700 });
        assert!(found(&history, &guarantee), "it stands still, and is killed");
        guarantee.stops.push((1, 4499));
        assert!(!found(&history, &guarantee), "it is told so and stands still");
        guarantee.stops.clear();
        guarantee.losses[0].at_ms = 5;
        guarantee.pauses.push(Pause { node: 1, from_ms: 3, to_ms: 1100 });
        assert!(!found(&history, &guarantee), "what was to end is not what streams");
        guarantee.losses[0].at_ms = 4500;
        guarantee.pauses.clear();
        guarantee.losses[0].lost = Lost::Machine;
        assert!(!found(&history, &guarantee), "nobody hears of that");
    }

    #[test]
    fn who_comes_back_is_waited_for_again_and_what_was_due_before_is_late() {
        let history = commit(acked(), None);
        for (back_ms, late) in [(4800, false), (4950, true)] {
            let mut guarantee = told(true, &[1, 2], &[(2, 1100), (1, 8000)]);
            guarantee.losses.push(Loss { node: 1, at_ms: 4500, lost: Lost::Process });
            let reports = guarantee.reports.as_mut().unwrap();
            let stream = reports.begins(1, 0, back_ms);
            reports.catches_up(stream, back_ms + 1);
            assert_eq!(found(&history, &guarantee), late, "{back_ms}");
            guarantee.losses.push(Loss { node: 2, at_ms: 4600, lost: Lost::Process });
            assert!(!found(&history, &guarantee), "who has it is gone, too");
        }
    }

    #[test]
    fn a_read_that_waits_for_what_is_replayed_is_found_if_its_branch_is_known() {
        let read = |token: &str| {
            let deed = Deed::Read(Read { view: View::Replayed, after: token.parse().ok(), seen: None });
            let mut history = History::default();
            let pending = history.begin((0, 0), 1, "read of a standby after a token", 4000, deed);
            history.end(pending, 5000, Outcome::Failed("57014 statement timeout".to_owned()), |_| ());
            history
        };
        let mut guarantee = told(false, &[1], &[(1, 1100)]);
        guarantee.branches.add(Branch::new("2-a"), Branch::new("1"), wal::Lsn::new(0x50));
        assert!(found(&read("1:0/50"), &guarantee));
        assert!(!found(&read("1:0/51"), &guarantee));
        assert!(!found(&read("2-a:0/50"), &guarantee), "it has not heard of that branch");
        let source = Source { node: 1, branch: Branch::new("2-a"), upstream: 0 };
        let progress = Progress { written: 0x50, flushed: 0x50, replayed: 0x50 };
        guarantee.reports.as_mut().expect("reports").add(source, 4700, progress, None);
        assert!(!found(&read("2-a:0/50"), &guarantee), "it has only just");
        let source = Source { node: 1, branch: Branch::new("2-a"), upstream: 2 };
        guarantee.reports.as_mut().expect("reports").add(source, 4500, progress, None);
        assert!(found(&read("2-a:0/50"), &guarantee));
    }

    #[test]
    fn a_wait_that_goes_on_is_found() {
        // Whom it waits for has told nothing.
        let guarantee = told(false, &[1], &[]);
        assert!(found(&commit(acked(), Some(4000)), &guarantee));
        assert!(!found(&commit(acked(), Some(4700)), &guarantee));
        let unanswered = |text: &str| commit(Outcome::Unknown(text.to_owned()), None);
        assert!(found(&unanswered("no answer to COMMIT"), &guarantee));
        assert!(!found(&unanswered("the connection is closed"), &guarantee));
    }
}
