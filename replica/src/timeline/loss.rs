//! What the promotion of a standby would lose, by what the nodes that can be asked say of themselves.
//!
//! **The argument.** A commit that waited for `k` of the named standbys is held by `k` of them: each had the
//! log up to its end when it said so. Of the `n` standbys that are named, those that can be asked, and whose
//! positions cannot have gone back since they spoke ([`Answer::has_caught_up`]), are known; `u` are not. If
//! `u` is less than `k`, each quorum has at least `k - u` known members, so no commit was acknowledged that
//! ends behind the place which `k - u` of the known ones have reached. A standby that has the log up to there
//! has all that was acknowledged. `FIRST` chooses by who was connected, which nobody knows afterwards, so it
//! counts like `ANY`.
//!
//! **What makes one unknown.** It cannot be asked; it still receives, or may again in a moment since the
//! primary lives, so it may confirm more; it is on another branch; or it has not had all of the primary's log
//! since it was started or made. The last guards against a power cut that took what was only written, and
//! against a directory that was made anew from a copy which had less.
//!
//! **Where the rule comes from.** Each primary puts into its log how it acknowledges commits: whom they wait
//! for, and whether it may go on without them ([`Rule`]). What it says counts for its own timeline. If it
//! names nobody, anybody (`*`), or may fall back, nothing bounds what it acknowledged. A rule that the
//! primary changed without any node here having heard of it is beyond what can be known.
//!
//! **Other branches.** What went on elsewhere may have acknowledged commits, whoever can be asked of it. So
//! a branch of which witnesses told any node counts as one that cannot be asked, and a primary that is
//! fenced is no proof that nothing went on: the fence says that something did. Of those that were only told
//! of, a branch with a lower number than that of the standby is another matter: a promotion has gone past it
//! already, and this one loses nothing more of it. A node that answers from there shows that not all went
//! past it, so it counts whatever its number is.
//!
//! **Former nodes.** A node whose directory has become another's is one standby with that one: whatever it
//! confirmed the other one has once it has caught up, and no commit counted both. Its name, if the new one
//! has another, may be somebody's of whom nobody here has heard.
//! A silent node at whose address another one of its name has begun since is bounded by that one
//! ([`Node::formers`]); but both may have been there at one time, at two addresses, and a commit may count
//! both.
//! One whose directory has become the primary's confirmed nothing on the primary's timeline, which began
//! later.
//!
//! Positions are compared along one branch alone ([`super::relation`]).

pub mod wire;

use super::relation::{Relation, relation};
use crate::directory_id::DirectoryId;
use crate::sync::{Progress, SyncNames};
use host::Timestamp;
use std::collections::BTreeSet;
use wal::history::TimelineHistory;
use wal::{Lsn, TimelineId};

/// How a primary acknowledges commits, as its log says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The timeline whose primary says so.
    pub timeline: TimelineId,
    /// synchronous_standby_names; None if they were too long for the log.
    pub names: Option<String>,
    /// plimsoll.synchronous_timeout is set, other names come into force, or the primary goes on without its
    /// standbys already.
    pub may_fall_back: bool,
    /// Who it is.
    pub primary: DirectoryId,
    /// The name by which it would follow: it is no standby of its own, though all nodes' settings may name
    /// it.
    pub primary_name: String,
}

/// What a node does with its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It writes it.
    Primary {
        /// It may acknowledge commits: it is neither fenced nor on its way down.
        acknowledges: bool,
    },
    /// It receives it.
    Standby {
        /// It does so now.
        streams: bool,
    },
}

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its branch.
    pub history: TimelineHistory,
    /// What it does.
    pub role: Role,
    /// How far it is.
    pub progress: Progress,
    /// The end of the last whole record of what is written, exclusive.
    pub end: Lsn,
    /// What it has heard to be confirmed, or confirms itself.
    pub confirmed: Lsn,
    /// Since its server was started, and on this branch, it has had all that the primary had at one moment.
    /// So whatever it confirmed, then or before, is here.
    pub has_caught_up: bool,
    /// The rule by the log up to `end`; None if that was not read to its end, or has none.
    pub rule: Option<Rule>,
    /// The last that a primary said of its own end, and when that came.
    pub primary_end: Option<(Lsn, Timestamp)>,
    /// The time of the last commit that is replayed.
    pub last_commit: Option<Timestamp>,
    /// It is a primary that another branch has replaced.
    pub is_fenced: bool,
    /// Other branches of which witnesses told it, but for those that were given up ([`super::heard`]).
    pub heard: Vec<TimelineHistory>,
}

/// A node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Who it is, if that is known.
    pub id: Option<DirectoryId>,
    /// The name by which synchronous_standby_names means it.
    pub name: String,
    /// None if it cannot be asked.
    pub answer: Option<Answer>,
    /// Silent nodes of its name that ended before its server began where they were. It has all that they
    /// confirmed, and each may have confirmed a commit beside it.
    pub formers: Vec<DirectoryId>,
}

/// The commits in a stretch of the log that a standby does not have, as a node that has it read them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Commits {
    /// Up to here it was read, exclusive.
    pub upto: Lsn,
    /// How many.
    pub count: u64,
    /// The end of the first; None if there is none.
    pub first: Option<Lsn>,
    /// Their times.
    pub times: Option<(Timestamp, Timestamp)>,
    /// The primary says in it how it acknowledges commits.
    pub changes_rule: bool,
}

/// What a promotion would lose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Commits that were acknowledged.
    Loss,
    /// Nobody here can know that it loses nothing.
    Possible,
    /// Nothing that was acknowledged at `on` or `remote_apply`.
    NoneFromOn,
    /// Nothing that was acknowledged at `remote_write` or above.
    NoneFromRemoteWrite,
    /// Nothing at all.
    NoLoss,
}

impl Verdict {
    /// Whether it may lose something.
    pub const fn may_lose(self) -> bool {
        matches!(self, Self::Loss | Self::Possible)
    }

    /// In the report.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Loss => "loss",
            Self::Possible => "possible loss",
            Self::NoneFromOn => "no loss at on and above",
            Self::NoneFromRemoteWrite => "no loss at remote_write and above",
            Self::NoLoss => "no loss",
        }
    }
}

/// The report on one standby.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What its promotion would lose.
    pub verdict: Verdict,
    /// The arithmetic of the quorum proves it.
    pub by_quorum: bool,
    /// What it has: more than this may be missing.
    pub from: Lsn,
    /// The furthest position of which anybody here knows, if it lies behind that.
    pub upto: Option<Lsn>,
    /// Why.
    pub reason: String,
}

/// Why nothing bounds what was acknowledged.
enum Doubt {
    NoRule(TimelineId),
    LongNames,
    Changed(String),
    Unread(String),
    Nobody,
    Anybody,
    FallBack,
    TooFew { unknown: Vec<String>, count: usize },
}

impl Doubt {
    fn text(&self) -> String {
        match self {
            Self::NoRule(timeline) => format!(
                "the log that is replayed here does not say how the primary of timeline {timeline} acknowledges commits"
            ),
            Self::LongNames => "synchronous_standby_names is too long for the log to say".to_owned(),
            Self::Changed(name) => {
                format!("by the log of \"{name}\" the primary has changed how it acknowledges commits")
            }
            Self::Unread(name) => {
                format!("what the log of \"{name}\" says of how commits were acknowledged could not be read to its end")
            }
            Self::Nobody => {
                "no synchronous standbys are named: commits waited for the primary alone".to_owned()
            }
            Self::Anybody => {
                "\"*\" in synchronous_standby_names lets servers confirm commits that nobody here \
                              knows: name the standbys"
                    .to_owned()
            }
            Self::FallBack => {
                "plimsoll.synchronous_timeout, or a change of synchronous_standby_names that was under way, lets the \
                 primary acknowledge commits without these standbys"
                    .to_owned()
            }
            Self::TooFew { unknown, count } => {
                format!(
                    "{count} of the standbys confirm a commit, which may have been {}",
                    unknown.join(", ")
                )
            }
        }
    }
}

/// How far acknowledged commits may reach, exclusive.
struct Bounds {
    /// Those at `remote_write`.
    written: Lsn,
    /// Those at `on` and `remote_apply`.
    flushed: Lsn,
    /// What proves it, in words.
    proof: String,
}

/// Behind what a standby confirmed nothing.
#[derive(Clone, Copy)]
struct Reach {
    written: Lsn,
    flushed: Lsn,
}

/// The nodes, with one of them to be promoted.
struct Case<'a> {
    nodes: &'a [Node],
    at: usize,
    mine: &'a Answer,
    commits: Option<&'a Commits>,
}

/// The standby that has the most log, of those that nobody has gone on from, and of these on the newest
/// timeline: positions of two branches say nothing of each other. None, too, if there are two branches of
/// that number.
pub fn best(nodes: &[Node]) -> Option<usize> {
    let answers = || nodes.iter().enumerate().filter_map(|(at, node)| Some((at, node.answer.as_ref()?)));
    let is_left = |answer: &Answer| {
        let relation_of = |(_, other): (usize, &Answer)| relation(&answer.history, &other.history);
        answers().map(relation_of).any(|relation| matches!(relation, Relation::Descendant { .. }))
    };
    let branch = |answer: &Answer| (!is_left(answer), answer.history.target());
    let rank = |(at, answer): &(usize, &Answer)| {
        let Progress { flushed, replayed, .. } = answer.progress;
        (branch(answer), answer.end, flushed, replayed, std::cmp::Reverse(*at))
    };
    let standbys = || answers().filter(|(_, answer)| matches!(answer.role, Role::Standby { .. }));
    let (at, best) = standbys().max_by_key(rank)?;
    let is_twin = |other: &Answer| matches!(relation(&best.history, &other.history), Relation::Twin { .. });
    let rivals = standbys().any(|(_, other)| branch(other) == branch(best) && is_twin(other));
    (!rivals).then_some(at)
}

/// Log that a standby lacks, and another node has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Further {
    /// Whose it is, of the nodes.
    pub node: usize,
    /// The standby's log is that one's up to here, exclusive.
    pub from: Lsn,
    /// The end of that one's.
    pub upto: Lsn,
}

/// The node that has the most log behind what this standby has, on its branch or one that goes on from it.
pub fn further(nodes: &[Node], at: usize) -> Option<Further> {
    let mine = nodes.get(at)?.answer.as_ref()?;
    let ahead = |(at, node): (usize, &'_ Node)| {
        let answer = node.answer.as_ref()?;
        let (goes_on, from) = match relation(&mine.history, &answer.history) {
            Relation::Same => (false, mine.end),
            // What lies here behind the fork is other log.
            Relation::Descendant { fork } => (true, mine.end.min(fork)),
            _ => return None,
        };
        (answer.end > from).then_some((goes_on, answer.end, at, from))
    };
    let most = nodes.iter().enumerate().filter_map(ahead).max();
    most.map(|(_, upto, node, from)| Further { node, from, upto })
}

/// What the promotion of `nodes[at]` would lose. `commits`: what the one that is [`further`] read behind what
/// this one has. None if it is no standby that answers.
pub fn judge(nodes: &[Node], at: usize, commits: Option<&Commits>) -> Option<Report> {
    let mine = nodes.get(at)?.answer.as_ref()?;
    matches!(mine.role, Role::Standby { .. }).then(|| Case { nodes, at, mine, commits }.report())
}

impl Case<'_> {
    /// The other nodes that answer.
    fn others(&self) -> impl Iterator<Item = (usize, &Node, &Answer)> {
        let others = self.nodes.iter().enumerate().filter(|(at, _)| *at != self.at);
        others.filter_map(|(at, node)| Some((at, node, node.answer.as_ref()?)))
    }

    fn relation(&self, other: &Answer) -> Relation {
        relation(&self.mine.history, &other.history)
    }

    /// Whether no commit is missing here that ends at or before `bound`.
    fn has_commits_up_to(&self, bound: Lsn) -> bool {
        let none_between =
            |commits: &Commits| bound <= commits.upto && commits.first.is_none_or(|first| first > bound);
        bound <= self.mine.end || self.commits.is_some_and(none_between)
    }

    fn report(&self) -> Report {
        let (verdict, by_quorum, reason) = self.verdict();
        let others = self.others().filter(|(_, _, other)| self.relation(other) == Relation::Same);
        let told = others.flat_map(|(_, _, other)| [Some(other.end), other.primary_end.map(|(end, _)| end)]);
        let told = told.chain([self.mine.primary_end.map(|(end, _)| end)]).flatten();
        let further = further(self.nodes, self.at).map(|further| further.upto);
        let from = self.has_upto();
        let upto = told.chain(further).max().filter(|upto| *upto > from);
        Report { verdict, by_quorum, from, upto, reason }
    }

    /// What it has of the log that goes on furthest.
    fn has_upto(&self) -> Lsn {
        further(self.nodes, self.at).map_or(self.mine.end, |further| further.from)
    }

    fn verdict(&self) -> (Verdict, bool, String) {
        if let Some(reason) = self.proven_loss() {
            return (Verdict::Loss, false, reason);
        }
        let went_on = self.other_branch().or_else(|| self.heard_branch()).or_else(|| self.fenced_primary());
        if let Some(reason) = went_on {
            return (Verdict::Possible, false, reason);
        }
        if let Some(reason) = self.quiet_primary() {
            return (Verdict::NoLoss, false, reason);
        }
        let bounds = match self.bounds() {
            Ok(bounds) => bounds,
            Err(doubt) => return (Verdict::Possible, false, doubt.text()),
        };
        if self.has_commits_up_to(bounds.written) {
            (Verdict::NoneFromRemoteWrite, true, bounds.proof)
        } else if self.has_commits_up_to(bounds.flushed) {
            let what = format!("up to {} commits at remote_write may have been acknowledged", bounds.written);
            (Verdict::NoneFromOn, true, format!("{}; {what}", bounds.proof))
        } else {
            let what = format!("commits up to {} may have been acknowledged", bounds.flushed);
            (Verdict::Possible, false, format!("{what}, and here is the log up to {}", self.mine.end))
        }
    }

    /// Commits that are confirmed elsewhere and not here.
    fn proven_loss(&self) -> Option<String> {
        let first = self.commits?.first?;
        let goes_on = |(_, _, other): &(usize, &Node, &Answer)| {
            matches!(self.relation(other), Relation::Same | Relation::Descendant { .. })
        };
        let confirms =
            |(_, node, other): (usize, &Node, &Answer)| (other.confirmed >= first).then(|| node.name.clone());
        let name = self.others().filter(goes_on).find_map(confirms)?;
        Some(format!("\"{name}\" knows commits behind {} as confirmed", self.has_upto()))
    }

    /// Somebody has left what this standby follows, or it is not on the branch of all others.
    fn other_branch(&self) -> Option<String> {
        self.others().find_map(|(_, node, other)| {
            let (name, timeline) = (&node.name, other.history.target());
            match self.relation(other) {
                Relation::Same | Relation::Ancestor { .. } => None,
                Relation::Descendant { fork } => {
                    Some(format!("\"{name}\" goes on from here since {fork}, on timeline {timeline}"))
                }
                Relation::Sibling { fork, .. } | Relation::Twin { fork } => {
                    Some(format!("\"{name}\" is on another branch since {fork}, timeline {timeline}"))
                }
            }
        })
    }

    /// Somebody was told of a branch on which commits may have been acknowledged that are not here.
    fn heard_branch(&self) -> Option<String> {
        let ours = &self.mine.history;
        let answers = self.nodes.iter().filter_map(|node| Some((&node.name, node.answer.as_ref()?)));
        let mut told = answers.flat_map(|(name, answer)| answer.heard.iter().map(move |heard| (name, heard)));
        told.find_map(|(name, theirs)| {
            let timeline = theirs.target();
            let fork = match relation(ours, theirs) {
                Relation::Descendant { fork } | Relation::Twin { fork } => fork,
                // One with a lower number was left behind by the promotion that made ours.
                Relation::Sibling { fork, .. } if timeline > ours.target() => fork,
                Relation::Same | Relation::Ancestor { .. } | Relation::Sibling { .. } => return None,
            };
            Some(format!(
                "\"{name}\" was told of timeline {timeline}, which left at {fork}: nobody here knows what \
                 was acknowledged on it"
            ))
        })
    }

    /// The primary was replaced, though nobody here can say by which branch.
    fn fenced_primary(&self) -> Option<String> {
        let mut same = self.others().filter(|(_, _, other)| self.relation(other) == Relation::Same);
        let (_, node, _) = same.find(|(_, _, other)| other.is_fenced)?;
        Some(format!(
            "the primary \"{}\" is fenced: nobody here knows what was acknowledged on the timeline that \
             replaced it",
            node.name
        ))
    }

    /// The primary answers, acknowledges nothing any more, and has no commit that is not here.
    fn quiet_primary(&self) -> Option<String> {
        let is_quiet = |other: &Answer| other.role == Role::Primary { acknowledges: false };
        let mut same = self.others().filter(|(_, _, other)| self.relation(other) == Relation::Same);
        let (_, node, primary) = same.find(|(_, _, other)| is_quiet(other))?;
        self.has_commits_up_to(primary.end).then(|| {
            format!("the primary \"{}\" takes no more commits, and has none that is not here", node.name)
        })
    }

    /// A primary may acknowledge more at any moment: a standby that is between two connections now counts for
    /// it again in the next.
    fn has_live_primary(&self) -> bool {
        let lives = |other: &Answer| other.role == Role::Primary { acknowledges: true };
        let mut same = self.others().filter(|(_, _, other)| self.relation(other) == Relation::Same);
        same.any(|(_, _, other)| lives(other))
    }

    /// The rule that holds for what is missing here.
    fn rule(&self) -> Result<&Rule, Doubt> {
        let timeline = self.mine.history.target();
        let of_timeline = self.mine.rule.as_ref().filter(|rule| rule.timeline == timeline);
        let rule = of_timeline.ok_or(Doubt::NoRule(timeline))?;
        let same = self.others().filter(|(_, _, other)| self.relation(other) == Relation::Same);
        let ahead: Vec<_> = same.filter(|(_, _, other)| other.end > self.mine.end).collect();
        if let Some((_, node, _)) = ahead.iter().find(|(_, _, other)| other.rule.as_ref() != Some(rule)) {
            return Err(Doubt::Changed(node.name.clone()));
        }
        // It may have been another one in between.
        let Some((_, node, furthest)) = ahead.iter().max_by_key(|(_, _, other)| other.end) else {
            return Ok(rule);
        };
        match self.commits {
            Some(commits) if commits.changes_rule => Err(Doubt::Changed(node.name.clone())),
            Some(commits) if commits.upto >= furthest.end => Ok(rule),
            _ => Err(Doubt::Unread(node.name.clone())),
        }
    }

    /// The standbys that the names mean; None for one of which nobody here knows how far it confirmed.
    fn named(&self, rule: &Rule, names: &SyncNames) -> Result<Vec<(String, Option<Reach>)>, Doubt> {
        let (mut seen, mut named) = (BTreeSet::new(), Vec::new());
        for name in names.names() {
            if name == "*" {
                return Err(Doubt::Anybody);
            }
            if !seen.insert(name.to_ascii_lowercase()) {
                continue;
            }
            let before = named.len();
            for (at, node) in self.nodes.iter().enumerate() {
                if !node.name.eq_ignore_ascii_case(name) {
                    continue;
                }
                let own = (node.id != Some(rule.primary)).then(|| self.known(at));
                let formers = node.formers.iter().filter(|former| **former != rule.primary);
                let reaches = own.into_iter().chain(formers.map(|_| self.known_of_formers(node)));
                named.extend(reaches.map(|reach| (name.clone(), reach)));
            }
            if named.len() == before && !name.eq_ignore_ascii_case(&rule.primary_name) {
                named.push((name.clone(), None));
            }
        }
        Ok(named)
    }

    /// How far a standby confirms, if what it says tells what it ever confirmed, or will.
    fn known(&self, at: usize) -> Option<Reach> {
        let answer = self.nodes.get(at)?.answer.as_ref()?;
        let is_quiet = answer.role == Role::Standby { streams: false } && !self.has_live_primary();
        let is_still = at == self.at || is_quiet;
        let counts = is_still && answer.has_caught_up && self.relation(answer) == Relation::Same;
        let flushed = answer.end.min(answer.progress.flushed);
        counts.then_some(Reach { written: answer.end, flushed })
    }

    /// How far those confirmed that ended before this node's server began.
    fn known_of_formers(&self, heir: &Node) -> Option<Reach> {
        let answer = heir.answer.as_ref().filter(|answer| self.relation(answer) == Relation::Same)?;
        Some(Reach { written: answer.end, flushed: answer.end })
    }

    /// How far commits that waited for standbys may have been acknowledged.
    fn bounds(&self) -> Result<Bounds, Doubt> {
        let rule = self.rule()?;
        let text = rule.names.as_deref().ok_or(Doubt::LongNames)?;
        let names = SyncNames::parse(text).map_err(|_| Doubt::LongNames)?.ok_or(Doubt::Nobody)?;
        if rule.may_fall_back {
            return Err(Doubt::FallBack);
        }
        let named = self.named(rule, &names)?;
        let known: Vec<Reach> = named.iter().filter_map(|(_, reach)| *reach).collect();
        let planted =
            usize::from(host::planted!("a promotion report takes one standby too many for a quorum"));
        let (count, unknown) = (names.count() + planted, named.len() - known.len());
        if unknown >= count {
            let unknown = named.iter().filter(|(_, reach)| reach.is_none());
            let unknown = unknown.map(|(name, _)| format!("\"{name}\"")).collect();
            return Err(Doubt::TooFew { unknown, count });
        }
        // That many of the known ones are in each quorum.
        let nth = |mut ends: Vec<Lsn>| {
            ends.sort_unstable_by(|one, other| other.cmp(one));
            ends.get(count - unknown - 1).copied().unwrap_or(Lsn::INVALID)
        };
        // No commit ends within what is no whole record.
        let written = nth(known.iter().map(|reach| reach.written).collect());
        let flushed = nth(known.iter().map(|reach| reach.flushed).collect());
        let proof = format!(
            "commits waited for {names}; {} of these {} are known, and none behind {written} was confirmed",
            known.len(),
            named.len()
        );
        Ok(Bounds { written, flushed, proof })
    }
}

#[cfg(test)]
mod tests;
