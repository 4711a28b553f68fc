//! The kinds of operations and faults that a seed switches on.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

macro_rules! features {
    ($($(#[doc = $doc:literal])* $name:ident = $word:literal,)*) => {
        /// One kind of operation or fault.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Feature { $($(#[doc = $doc])* $name,)* }

        impl Feature {
            /// Each of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Its word in a story.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }
        }
    };
}

features! {
    /// Savepoints, and rollbacks to them.
    Savepoints = "savepoints",
    /// Transactions that go early because they are larger than the write set's limit.
    Large = "large",
    /// Tables, indexes and columns come and go.
    Ddl = "ddl",
    /// COPY FROM STDIN.
    Copy = "copy",
    /// Rows are deleted and inserted again.
    Reinsert = "reinsert",
    /// Commits at off and local beside those that wait for standbys.
    WeakLevels = "weak levels",
    /// Waits of commits are cancelled.
    CancelledWaits = "cancelled waits",
    /// Statements run into their timeout.
    Timeouts = "timeouts",
    /// Clients go away in the middle.
    Disappear = "disappearing clients",
    /// Reads on standbys.
    StandbyReads = "standby reads",
    /// Reads that follow a token.
    Tokens = "tokens",
    /// Reads of what is confirmed only.
    ConfirmedReads = "confirmed reads",
    /// Processes are killed.
    Kills = "kills",
    /// Machines lose power.
    PowerCuts = "power cuts",
    /// Nodes stand still.
    Freezes = "freezes",
    /// The network is cut, slow, or resets connections.
    Network = "network faults",
    /// Replay is paused, resumed or delayed.
    Replay = "paused replay",
    /// Slots come and go.
    Slots = "slots",
    /// Settings are changed by a reload.
    Reloads = "reloads",
    /// Disks run full.
    FullDisks = "full disks",
    /// Clocks jump.
    Clocks = "clock jumps",
    /// Standbys of standbys.
    Cascades = "cascades",
    /// A standby is promoted while its primary lives.
    WrongPromotions = "wrong promotions",
    /// The old primary comes back as a primary, or runs on.
    OldPrimaries = "old primaries",
    /// Standbys have slots at their upstreams.
    StandbySlots = "slots of standbys",
    /// Several nodes go down at once, and come back from their disks.
    Blackouts = "blackouts",
    /// Nodes go down at the moment at which a client is answered.
    AtAnswers = "faults at answers",
    /// Standbys get the beginning of what the primary wrote last.
    TornStreams = "torn streams",
    /// A primary is cut off from its standbys, but not from its clients.
    CutOff = "cut off primaries",
    /// A standby that lags is promoted.
    Laggards = "laggards",
    /// Reads hold their snapshot for a while.
    HeldSnapshots = "held snapshots",
    /// Finished log goes to an archive, and comes back from there.
    Archives = "archives",
    /// Who lags is promoted, and who was waited for follows it.
    Behind = "standbys switched to one behind",
    /// Two nodes are promoted from one place, unseen by each other.
    Twins = "twin promotions",
    /// Nodes go down in the middle of what they write, several times in a row.
    Crashes = "crashes in a row",
    /// Clones are broken off.
    BrokenClones = "broken clones",
    /// Standbys do not tell of their snapshots.
    Unheeded = "unheeded snapshots",
    /// Clients rest.
    Rests = "rests",
    /// Those that commits wait for leave, lag, or come back with much to catch up.
    Waits = "waits",
    /// Standbys copy their upstream's slots.
    CopiedSlots = "copied slots",
    /// Syncs of the log fail.
    FailingSyncs = "failing syncs",
    /// Two transactions lock two rows in opposite orders.
    Deadlocks = "deadlocks",
    /// Keys are asked for that somebody else has just taken.
    Collisions = "collisions",
    /// Disks change what standbys have received.
    SpoiledLog = "spoiled log",
    /// Primaries hand their role over.
    Switchovers = "switchovers",
    /// Nodes that went another way are rewound.
    Rewinds = "rewinds",
    /// Readers look which tables there are, and into tables that are being made.
    TableReads = "table reads",
    /// Numbers are taken from a sequence.
    Numbers = "numbers",
    /// The monitoring views are compared with what is known of the nodes.
    Views = "views",
    /// Scenes that reach what is rarely reached.
    RareScenes = "rare scenes",
    /// Standbys that are past the fork of their upstream's branch rewind themselves.
    OwnRewinds = "standbys rewind themselves",
    /// Rows of large transactions are asked for again and again until they are free, while commits stand
    /// still at locks.
    Peeks = "rows asked for until free",
    /// Syncs of tables' files fail.
    FailingDataSyncs = "failing syncs of tables",
    /// Files cannot be removed.
    KeptFiles = "files that cannot be removed",
    /// Tables are dropped that snapshots read, and that are due to be swept.
    KeptDrops = "dropped tables that are read on",
    /// Clients take turns under locks on what they do not write.
    Turns = "turns",
}

/// Those that [`Features::later`] draws.
const LATER: [Feature; 4] = [Feature::TableReads, Feature::Numbers, Feature::Views, Feature::RareScenes];
/// Each of them is switched on in so many of a hundred stories.
const LATER_PERCENT: u8 = 14;
/// [`Feature::OwnRewinds`] in so many, [`Feature::Peeks`], and what befalls files.
const OWN_REWINDS_PERCENT: u8 = 30;
const PEEKS_PERCENT: u8 = 8;
const FILE_FAULTS_PERCENT: u8 = 8;
/// [`Feature::Turns`] in so many.
const TURNS_PERCENT: u8 = 20;

/// A set of features.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Features(BTreeSet<Feature>);

impl Features {
    /// All of them.
    pub fn all() -> Self {
        Feature::ALL.iter().copied().collect()
    }

    /// A random subset: of each seed another number of them, so that some runs do little else than one thing.
    pub fn random(rng: &mut fastrand::Rng) -> Self {
        let percent = [25, 50, 75, 95][rng.usize(..4)];
        let is_early = |feature: &Feature| !LATER.contains(feature) && *feature < Feature::OwnRewinds;
        let early = Feature::ALL.iter().copied().filter(is_early);
        early.filter(|_| rng.u8(..100) < percent).collect()
    }

    /// Some of those that came later. They are drawn apart, so that a seed's story without them is what it
    /// was before there were any.
    pub fn later(rng: &mut fastrand::Rng) -> Self {
        LATER.into_iter().filter(|_| rng.u8(..100) < LATER_PERCENT).collect()
    }

    /// What came last, drawn apart again.
    pub fn last(rng: &mut fastrand::Rng) -> Self {
        let rewinds = (rng.u8(..100) < OWN_REWINDS_PERCENT).then_some(Feature::OwnRewinds);
        // Only large transactions write rows before they commit.
        let peeks = (rng.u8(..100) < PEEKS_PERCENT).then_some([Feature::Peeks, Feature::Large]);
        let mut drawn: Self = rewinds.into_iter().chain(peeks.into_iter().flatten()).collect();
        let files = [Feature::FailingDataSyncs, Feature::KeptFiles];
        drawn.0.extend(files.into_iter().filter(|_| rng.u8(..100) < FILE_FAULTS_PERCENT));
        if drawn.has(Feature::KeptFiles) {
            // Only tables that are dropped have files that go.
            drawn.0.insert(Feature::Ddl);
        }
        drawn.0.extend((rng.u8(..100) < FILE_FAULTS_PERCENT).then_some(Feature::KeptDrops));
        drawn.0.extend((rng.u8(..100) < TURNS_PERCENT).then_some(Feature::Turns));
        drawn
    }

    /// These and others.
    pub fn and(&self, others: &Self) -> Self {
        self.iter().chain(others.iter()).collect()
    }

    /// Whether it is switched on.
    pub fn has(&self, feature: Feature) -> bool {
        self.0.contains(&feature)
    }

    /// The same without one.
    pub fn without(&self, feature: Feature) -> Self {
        self.iter().filter(|other| *other != feature).collect()
    }

    /// Each that is switched on.
    pub fn iter(&self) -> impl Iterator<Item = Feature> + '_ {
        self.0.iter().copied()
    }
}

impl FromIterator<Feature> for Features {
    fn from_iter<I: IntoIterator<Item = Feature>>(features: I) -> Self {
        Self(features.into_iter().collect())
    }
}

impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<&str> = self.iter().map(Feature::word).collect();
        f.write_str(&words.join(", "))
    }
}

/// A word that names no feature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoFeature(pub String);

impl FromStr for Features {
    type Err = NoFeature;

    fn from_str(text: &str) -> Result<Self, NoFeature> {
        let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
        words
            .map(|word| {
                let found = Feature::ALL.iter().find(|feature| feature.word() == word);
                found.copied().ok_or_else(|| NoFeature(word.to_owned()))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_read_as_they_are_written_and_seeds_differ() {
        assert_eq!(Features::all().to_string().parse(), Ok(Features::all()));
        assert_eq!("".parse(), Ok(Features::default()));
        assert_eq!("kills, dreams".parse::<Features>(), Err(NoFeature("dreams".to_owned())));
        let sizes: BTreeSet<usize> =
            (0..50).map(|seed| Features::random(&mut fastrand::Rng::with_seed(seed)).0.len()).collect();
        assert!(sizes.len() > 8, "{sizes:?}");
    }

    #[test]
    fn what_came_later_is_drawn_apart() {
        let rng = || fastrand::Rng::with_seed(5);
        let is_later = |feature: &Feature| LATER.contains(feature);
        assert!(!(0..50).any(|_| Features::random(&mut rng()).iter().any(|feature| is_later(&feature))));
        let mut rng = rng();
        let mut drawn = Features::default();
        for _ in 0..50 {
            let some = Features::later(&mut rng);
            assert!(some.iter().all(|feature| is_later(&feature)) && some.0.len() < 5);
            drawn = drawn.and(&some);
        }
        assert_eq!(drawn.0.len(), LATER.len());
    }
}
