//! Counters of states that are rarely reached. A test that never reached one has not tested what it is for.

use std::collections::BTreeMap;
use std::fmt;

macro_rules! states {
    ($($(#[doc = $doc:literal])* $name:ident = $words:literal,)*) => {
        /// A state that is rarely reached.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Rare { $($(#[doc = $doc])* $name,)* }

        impl Rare {
            /// Each of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// What it is, in words.
            pub const fn words(self) -> &'static str {
                match self { $(Self::$name => $words,)* }
            }
        }
    };
}

states! {
    /// A standby cut the beginning of a record from its log's end.
    PartialRecordAtCut = "a partial record at a cut",
    /// A standby was promoted with the beginning of a record as its log's end.
    PartialRecordAtPromotion = "a partial record at a promotion",
    /// A primary that was about to fall back to asynchronous commits was replaced.
    PromotionWithPendingFallback = "a promotion with a pending fallback",
    /// A standby of a standby of a standby.
    CascadeOfCascade = "a cascade of a cascade",
    /// Two nodes were promoted from one branch.
    TwoPromotionsAtOnce = "two promotions at once",
    /// Two promotions took one timeline number.
    TwinTimelines = "two timelines of one number",
    /// A node went down between the request of its promotion and its end.
    CrashDuringPromotion = "a crash in the middle of a promotion",
    /// A node went down while it recovered from another crash.
    CrashDuringRecovery = "a crash in the middle of recovery",
    /// A node went down while it was cloned.
    CrashDuringClone = "a crash in the middle of a clone",
    /// A source of a clone went down meanwhile.
    SourceCrashDuringClone = "a crash of a clone's source",
    /// A standby reported to a primary from a branch that was left.
    ReportFromOldBranch = "a report from an old branch",
    /// A standby was asked to follow a branch that does not continue its own.
    StrangeBranchRefused = "a strange branch was refused",
    /// A primary fenced itself.
    Fenced = "a fence rose",
    /// A fenced node was started again.
    FencedRestart = "a fenced node started again",
    /// A client was refused by a fence.
    RefusedByFence = "a client was refused by a fence",
    /// Two nodes acknowledged commits at the same time, each as a primary.
    TwoPrimaries = "two primaries took commits",
    /// A commit was acknowledged on a branch that was lost.
    LostWeakCommit = "a weak commit went with its branch",
    /// A commit whose outcome nobody was told is there in the end.
    UnknownKept = "an untold commit was kept",
    /// A commit whose outcome nobody was told is not there in the end.
    UnknownLost = "an untold commit was lost",
    /// A commit's wait for standbys was cancelled.
    CancelledWait = "a cancelled wait",
    /// A cancelled commit is not there in the end.
    CancelledLost = "a commit with a cancelled wait was lost",
    /// A client went away while its commit waited.
    GoneInCommit = "a client went away in its commit",
    /// A read waited for what a restart or a promotion left undecided.
    UndecidedRead = "a read of what is undecided",
    /// A token of a lost commit was refused.
    TokenRefused = "a token of a lost branch was refused",
    /// A confirmed read saw less than what was replayed.
    ConfirmedBehind = "a confirmed read behind the replay",
    /// A read on a standby was cancelled for replay.
    ConflictWithReplay = "a read cancelled by replay",
    /// Commits fell back to fewer standbys.
    FellBack = "a fallback to fewer standbys",
    /// A promotion was said to lose nothing, and lost nothing.
    NoLossProven = "a promotion of which it was known that it loses nothing",
    /// A promotion was said to lose something perhaps, and lost nothing.
    LossFeared = "a promotion that lost nothing, which nobody knew",
    /// A promotion was said to lose something perhaps, and did.
    LossSaid = "a promotion of which it was known that it may lose something",
    /// Undecided commits were released by their timeout.
    Released = "undecided commits were released",
    /// A large transaction was open when its node went down.
    LargeAtCrash = "a crash with a large transaction open",
    /// A large transaction was open at a promotion.
    LargeAtPromotion = "a promotion with a large transaction open",
    /// A change of tables was under way when its node went down.
    DdlAtCrash = "a crash in a change of tables",
    /// A disk was full at a commit.
    DiskFullAtCommit = "a full disk at a commit",
    /// A disk was full on a standby that commits wait for.
    DiskFullOnStandby = "a full disk of a standby",
    /// A torn sector was found by recovery.
    TornTail = "a torn tail was cut",
    /// A rename or a new file was lost with a power cut.
    LostName = "a name was lost with the power",
    /// A slot lost the log that it was to keep.
    SlotLost = "a slot lost its log",
    /// A standby found the log that it needs removed.
    LogRemoved = "needed log was removed",
    /// Replay was paused at a promotion.
    PausedAtPromotion = "a promotion with replay paused",
    /// Names of standbys changed while commits waited.
    NamesChangedInWait = "names changed while commits waited",
    /// A frozen primary woke up after its successor was promoted.
    WokeReplaced = "a frozen primary woke up replaced",
    /// An old primary was started as a primary beside its successor.
    OldPrimaryBack = "an old primary came back as one",
    /// A clock jumped back.
    ClockBack = "a clock jumped back",
    /// A cascade followed its upstream over a change of branch.
    CascadeFollowed = "a cascade followed a change of branch",
    /// A primary handed its role over.
    HandedOver = "a role was handed over",
    /// A primary took a handover back.
    HandoverBackedOut = "a handover was backed out",
    /// A primary does not know whether its role was taken.
    HandoverUndecided = "a handover was undecided",
    /// A primary went down while it handed its role over, before it had given up writing.
    CrashBeforeGivingUp = "a crash in a handover before the marker",
    /// The same when it had.
    CrashAfterGivingUp = "a crash in a handover after the marker",
    /// A rewind took commits back.
    CommitsRewound = "a rewind took commits back",
    /// A node went down while it was rewound.
    CrashDuringRewind = "a crash in the middle of a rewind",
    /// A source of a rewind went down meanwhile.
    SourceCrashDuringRewind = "a crash of a rewind's source",
    /// A rewind went on with what another one had begun.
    RewoundAgain = "a rewind that was run again",
    /// A node was rewound to the directory of a standby that was stopped.
    RewoundToDirectory = "a rewind to a stopped standby's directory",
    /// A standby rewound itself.
    RewoundItself = "a standby rewound itself",
    /// A standby met damage in what it had received.
    ReceivedDamage = "damage was met in received log",
    /// A server ended since a sync of a table's file failed.
    FailedDataSync = "a sync of a table's file failed",
    /// A server could not remove a dropped table's file, and went on.
    KeptFile = "a table's file could not be removed",
    /// The same with a segment of the log.
    KeptSegment = "a segment could not be removed",
    /// A table was dropped whose file stayed for an old snapshot on the primary.
    ReadAfterDrop = "a dropped table's file stayed for a snapshot",
}

impl fmt::Display for Rare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

/// How often each state was reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters(BTreeMap<Rare, u64>);

impl Counters {
    /// Counts a state that was reached.
    pub fn hit(&mut self, rare: Rare) {
        let count = self.0.entry(rare).or_default();
        *count = count.saturating_add(1);
    }

    /// How often a state was reached.
    pub fn count(&self, rare: Rare) -> u64 {
        self.0.get(&rare).copied().unwrap_or(0)
    }

    /// Adds another run's.
    pub fn merge(&mut self, other: &Self) {
        for (rare, more) in &other.0 {
            let count = self.0.entry(*rare).or_default();
            *count = count.saturating_add(*more);
        }
    }

    /// The states that were never reached.
    pub fn never(&self) -> Vec<Rare> {
        Rare::ALL.iter().copied().filter(|rare| self.count(*rare) == 0).collect()
    }

    /// The counters as lines of `count words`, which [`Counters::parse`] reads: a run in a process of its own
    /// hands them over as text.
    pub fn to_text(&self) -> String {
        self.0.iter().map(|(rare, count)| format!("{count} {rare}\n")).collect()
    }

    /// Reads what [`Counters::to_text`] wrote; lines that name no state are left out.
    pub fn parse(text: &str) -> Self {
        let mut counters = Self::default();
        for (count, words) in text.lines().filter_map(|line| line.split_once(' ')) {
            let rare = Rare::ALL.iter().find(|rare| rare.words() == words);
            if let (Some(rare), Ok(count)) = (rare, count.parse()) {
                counters.0.insert(*rare, count);
            }
        }
        counters
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn counters_add_up_and_name_what_was_never_reached() {
        let mut one = Counters::default();
        one.hit(Rare::Fenced);
        one.hit(Rare::Fenced);
        let mut other = Counters::default();
        other.hit(Rare::Fenced);
        other.hit(Rare::TwinTimelines);
        one.merge(&other);
        assert_eq!((one.count(Rare::Fenced), one.count(Rare::TwinTimelines)), (3, 1));
        let never = one.never();
        assert_eq!(never.len(), Rare::ALL.len() - 2);
        assert!(!never.contains(&Rare::Fenced) && never.contains(&Rare::TornTail));
        assert_eq!(Counters::parse(&one.to_text()), one);
    }

    #[test]
    fn no_two_states_have_the_same_words() {
        let words: BTreeSet<&str> = Rare::ALL.iter().map(|rare| rare.words()).collect();
        assert_eq!(words.len(), Rare::ALL.len());
    }
}
