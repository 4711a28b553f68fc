//! Fencing: a primary that hears of a branch which replaced its own stops acknowledging for good.
//!
//! | what the peer's branch is to ours | a primary does                                                 |
//! |-----------------------------------|----------------------------------------------------------------|
//! | another cluster                   | nothing but a log line: the address is wrong                   |
//! | the same                          | nothing                                                        |
//! | an ancestor                       | nothing; it is the peer that has to learn                      |
//! | a descendant                      | fences itself, durably, until rewound or cloned anew           |
//! | one that left where our log ends  | does not believe who only says so, and asks its peers          |
//! | before it was there               |                                                                |
//! | a sibling, a twin                 | says so loudly at each look, since neither continues the other |
//!
//! A standby is never fenced: it acknowledges nothing, and its receiver refuses what does not continue it.
//! But a record that holds for its branch bars its promotion: whoever is fenced does not get out of it by
//! standby.signal.
//!
//! The record is `plimsoll/fence`, text lines `key=value` closed by a CRC-32 of the lines above it. It is
//! node-local, left out of backups, and dropped when the directory is rewound. A disk that is full by then
//! must not keep it out: `plimsoll/fence.reserve` holds the space for it and says nothing. The record is
//! written over it and takes its place by a rename.

use crate::error::ReplicaError;
use crate::timeline::relation::{Relation, relation};
use host::{Host, OpenMode, Timestamp};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use wal::codec::{SealedLines, seal_text};
use wal::history::{BranchId, TimelineHistory};
use wal::{Lsn, SystemId, TimelineId};

/// Largest record that is read, in bytes.
const FILE_BYTES_MAX: usize = 4096;
const FIRST_LINE: &str = "plimsoll fence 1";

/// A node's branch, ours or a peer's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeBranch {
    /// The cluster.
    pub system: SystemId,
    /// The timeline that it writes or follows, with its past.
    pub history: TimelineHistory,
}

/// What to do about a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Fine,
    /// Stop acknowledging: our timeline ended at this position.
    Fence {
        /// Where their branch left ours.
        fork: Lsn,
    },
    /// Its fork lies behind the end of our log, where we have never been.
    Beyond {
        /// Where their branch left ours, as it says.
        fork: Lsn,
    },
    /// Tell the log: both are primaries of one cluster and neither continues the other.
    Diverged {
        /// The end of what they share.
        fork: Lsn,
        /// Both took the same timeline number.
        twins: bool,
    },
    /// Tell the log: it belongs to another cluster.
    Stranger,
}

/// Judges a peer's branch, as the table above has it. `primary` says whether this node takes writes,
/// `log_end` how far its log is durable.
pub fn judge(ours: &NodeBranch, primary: bool, log_end: Lsn, theirs: &NodeBranch) -> Verdict {
    if ours.system != theirs.system {
        return Verdict::Stranger;
    }
    match relation(&ours.history, &theirs.history) {
        Relation::Same | Relation::Ancestor { .. } => Verdict::Fine,
        _ if !primary => Verdict::Fine,
        _ if host::planted!("a primary that hears of a descendant goes on") => Verdict::Fine,
        Relation::Descendant { fork } if fork > log_end => Verdict::Beyond { fork },
        Relation::Descendant { fork } => Verdict::Fence { fork },
        Relation::Sibling { fork, .. } => Verdict::Diverged { fork, twins: false },
        Relation::Twin { fork } => Verdict::Diverged { fork, twins: true },
    }
}

/// Why this node is fenced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FenceRecord {
    /// The cluster.
    pub system: SystemId,
    /// The timeline that this node wrote.
    pub timeline: TimelineId,
    /// The timeline that replaced it.
    pub descendant: TimelineId,
    /// Its branch id, if its history names one.
    pub branch: Option<BranchId>,
    /// Where it left ours: what this node wrote from here on is not part of it.
    pub fork: Lsn,
    /// The end of the log here when it was fenced.
    pub log_end: Lsn,
    /// Who said so.
    pub peer: String,
    /// When.
    pub at: Timestamp,
}

impl FenceRecord {
    /// The record of a fence that this verdict led to.
    pub fn new(
        ours: &NodeBranch,
        theirs: &NodeBranch,
        fork: Lsn,
        log_end: Lsn,
        peer: &str,
        at: Timestamp,
    ) -> Self {
        Self {
            system: ours.system,
            timeline: ours.history.target(),
            descendant: theirs.history.target(),
            branch: theirs.history.branch(),
            fork,
            log_end,
            peer: peer.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect(),
            at,
        }
    }

    /// Whether it holds for a node on this branch: it does unless the branch goes on from the one that
    /// replaced ours.
    pub fn holds_for(&self, ours: &NodeBranch) -> bool {
        let history = &ours.history;
        let same_branch = match (self.branch, history.branch_of(self.descendant)) {
            (Some(replaced_by), Some(followed)) => {
                replaced_by == followed || host::planted!("a fence is asked by timeline number")
            }
            _ => true,
        };
        let left_there = history.end_of(self.timeline).is_ok_and(|end| end == Some(self.fork));
        !(ours.system == self.system && history.contains(self.descendant) && same_branch && left_there)
    }

    fn encode(&self) -> String {
        let branch = self.branch.map_or_else(|| "none".to_owned(), |branch| branch.to_string());
        seal_text(format!(
            "{FIRST_LINE}\nsystem={}\ntimeline={}\ndescendant={}\nbranch={branch}\nfork={}\nlog_end={}\nat={}\npeer={}\n",
            self.system,
            self.timeline,
            self.descendant,
            self.fork,
            self.log_end,
            self.at.micros(),
            self.peer
        ))
    }

    fn decode(text: &str) -> Option<Self> {
        let mut lines = SealedLines::of(text, FIRST_LINE)?;
        Some(Self {
            system: lines.parsed("system")?,
            timeline: lines.parsed("timeline")?,
            descendant: lines.parsed("descendant")?,
            branch: match lines.value("branch")? {
                "none" => None,
                branch => Some(branch.parse().ok()?),
            },
            fork: lines.parsed("fork")?,
            log_end: lines.parsed("log_end")?,
            at: Timestamp::from_micros(lines.parsed("at")?),
            peer: lines.value("peer")?.to_owned(),
        })
    }
}

impl fmt::Display for FenceRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "timeline {} ended at {} and goes on as timeline {} (heard from {}); ",
            self.timeline, self.fork, self.descendant, self.peer
        )?;
        match self.log_end.bytes_since(self.fork) {
            0 => f.write_str("nothing had been written here behind that when it was fenced"),
            bytes => write!(f, "{bytes} bytes that had been written here behind that are not part of it"),
        }
    }
}

/// Where the record lies.
#[derive(Clone, Debug)]
pub struct FenceStore {
    host: Host,
    path: PathBuf,
    reserve: PathBuf,
}

impl FenceStore {
    /// Of a data directory.
    pub fn new(host: &Host, data_dir: &Path) -> Self {
        let folder = data_dir.join("plimsoll");
        Self { host: host.clone(), path: folder.join("fence"), reserve: folder.join("fence.reserve") }
    }

    /// The record; None if this node is not fenced. A record that cannot be read counts as a fence, and is an
    /// error.
    ///
    /// # Errors
    ///
    /// Fails if the record cannot be read; a damaged one counts as a fence.
    pub fn load(&self) -> Result<Option<FenceRecord>, ReplicaError> {
        let record = match self.host.disk.read_text(&self.path, FILE_BYTES_MAX as u64) {
            Ok(text) => FenceRecord::decode(&text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => None,
            Err(error) => return Err(ReplicaError::file("read", &self.path, error)),
        };
        match record {
            Some(record) => Ok(Some(record)),
            None => Err(ReplicaError::Fenced(format!("the record \"{}\" is damaged", self.path.display()))),
        }
    }

    /// The record that holds for a node on this branch, if there is one.
    ///
    /// # Errors
    ///
    /// As [`FenceStore::load`].
    pub fn holding(&self, ours: &NodeBranch) -> Result<Option<FenceRecord>, ReplicaError> {
        Ok(self.load()?.filter(|record| record.holds_for(ours)))
    }

    /// Takes the space that a record needs, if that is not done, so that a full disk does not keep it out.
    ///
    /// # Errors
    ///
    /// Fails if the disk does not give it.
    pub fn reserve(&self) -> Result<(), ReplicaError> {
        let disk = &*self.host.disk;
        if disk.metadata(&self.reserve).is_ok_and(|found| found.len == FILE_BYTES_MAX as u64) {
            return Ok(());
        }
        self.make_folder()?;
        host::write_file_durably(disk, &self.reserve, &[0; FILE_BYTES_MAX])
            .map_err(|error| ReplicaError::file("write", &self.reserve, error))
    }

    fn make_folder(&self) -> Result<(), ReplicaError> {
        let folder = self.path.parent().unwrap_or(&self.path);
        let made = self.host.disk.create_dir_all(folder);
        made.map_err(|error| ReplicaError::file("create", folder, error))
    }

    /// Takes the fence off: only an administrator does that, who knows that the descendant is gone for good.
    ///
    /// # Errors
    ///
    /// Fails if the record cannot be removed.
    pub fn remove(&self) -> Result<(), ReplicaError> {
        let disk = &*self.host.disk;
        let removed = disk
            .remove_file(&self.path)
            .and_then(|()| disk.sync_dir(self.path.parent().unwrap_or(&self.path)));
        removed.map_err(|error| ReplicaError::file("remove", &self.path, error))
    }

    /// Makes the fence durable. The first record that holds for this branch stays, since it says where the
    /// history parted; one of an earlier life on another branch gives way.
    ///
    /// # Errors
    ///
    /// Fails if the record cannot be written.
    pub fn raise(&self, ours: &NodeBranch, record: &FenceRecord) -> Result<(), ReplicaError> {
        if matches!(self.holding(ours), Ok(Some(_)) | Err(ReplicaError::Fenced(_))) {
            return Ok(());
        }
        self.make_folder()?;
        if host::planted!("a fence does not survive a restart") {
            return Ok(());
        }
        if host::planted!("the fence's file is not synced") {
            let file = self.host.disk.open(&self.path, OpenMode::Create);
            return file
                .and_then(|file| file.write_all_at(record.encode().as_bytes(), 0))
                .map_err(|error| ReplicaError::file("write", &self.path, error));
        }
        let (disk, contents) = (&*self.host.disk, record.encode());
        host::write_reserved_file(disk, &self.reserve, &self.path, contents.as_bytes())
            .or_else(|_| host::write_file_durably(disk, &self.path, contents.as_bytes()))
            .map_err(|error| ReplicaError::file("write", &self.path, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::host::Disk;
    use simulation::{CrashPolicy, VirtualDisk};
    use std::sync::Arc;

    fn node(system: u64, history: &TimelineHistory) -> NodeBranch {
        NodeBranch { system: SystemId::new(system), history: history.clone() }
    }
    fn fork(of: &TimelineHistory, number: u32, at: u64, branch: u64) -> TimelineHistory {
        of.fork(TimelineId::new(number), Lsn::new(at), "test", BranchId::new(branch)).unwrap()
    }

    #[test]
    fn only_a_primary_that_meets_its_descendant_is_fenced() {
        let one = TimelineHistory::root(TimelineId::FIRST);
        let two = fork(&one, 2, 100, 2);
        let three = fork(&two, 3, 200, 3);
        let twin = fork(&one, 2, 100, 9);
        let sibling = fork(&one, 3, 150, 4);
        let lsn = Lsn::new;
        for (ours, theirs, as_primary) in [
            (node(1, &one), node(2, &two), Verdict::Stranger),
            (node(1, &two), node(1, &two), Verdict::Fine),
            (node(1, &two), node(1, &one), Verdict::Fine),
            (node(1, &one), node(1, &two), Verdict::Fence { fork: lsn(100) }),
            (node(1, &one), node(1, &fork(&one, 2, 1001, 8)), Verdict::Beyond { fork: lsn(1001) }),
            (node(1, &one), node(1, &three), Verdict::Fence { fork: lsn(100) }),
            (node(1, &two), node(1, &three), Verdict::Fence { fork: lsn(200) }),
            (node(1, &two), node(1, &twin), Verdict::Diverged { fork: lsn(100), twins: true }),
            (node(1, &two), node(1, &sibling), Verdict::Diverged { fork: lsn(100), twins: false }),
        ] {
            assert_eq!(judge(&ours, true, lsn(1000), &theirs), as_primary, "{ours:?} {theirs:?}");
            let as_standby = judge(&ours, false, lsn(1000), &theirs);
            assert!(matches!(as_standby, Verdict::Fine | Verdict::Stranger), "{as_standby:?}");
        }
    }

    fn record() -> FenceRecord {
        let one = TimelineHistory::root(TimelineId::FIRST);
        let two = fork(&one, 2, 100, 2);
        let now = Timestamp::from_micros(5);
        FenceRecord::new(&node(1, &one), &node(1, &two), Lsn::new(100), Lsn::new(164), "host=b\nport=1", now)
    }

    #[test]
    fn a_fence_survives_a_restart_and_the_first_one_stays() {
        let dir = tempfile::tempdir().unwrap();
        let store = FenceStore::new(&Host::real(), dir.path());
        assert_eq!(store.load().unwrap(), None);
        let ours = node(1, &TimelineHistory::root(TimelineId::FIRST));
        store.raise(&ours, &record()).unwrap();
        let later = FenceRecord { fork: Lsn::new(1), ..record() };
        store.raise(&ours, &later).unwrap();
        let found = FenceStore::new(&Host::real(), dir.path()).load().unwrap().unwrap();
        assert_eq!(found, record());
        assert_eq!(
            found.to_string(),
            "timeline 1 ended at 0/64 and goes on as timeline 2 (heard from host=b port=1); \
             64 bytes that had been written here behind that are not part of it"
        );
        let idle = FenceRecord { log_end: found.fork, ..found };
        assert!(
            idle.to_string().ends_with("; nothing had been written here behind that when it was fenced"),
            "{idle}"
        );
    }

    #[test]
    fn a_record_holds_by_branch_and_not_by_number_until_the_node_continues_what_replaced_it() {
        let one = TimelineHistory::root(TimelineId::FIRST);
        let two = fork(&one, 2, 100, 2);
        let record = record();
        for (ours, holds) in [
            (&one, true),
            (&two, false),
            (&fork(&two, 3, 200, 3), false),
            (&fork(&one, 2, 100, 9), true),
            (&fork(&fork(&one, 2, 100, 9), 3, 200, 3), true),
            (&fork(&one, 2, 90, 2), true),
            (&fork(&one, 3, 100, 3), true),
        ] {
            assert_eq!(record.holds_for(&node(1, ours)), holds, "{ours:?}");
        }
        // One that holds no more must not stand in the way of the next.
        let dir = tempfile::tempdir().unwrap();
        let store = FenceStore::new(&Host::real(), dir.path());
        store.raise(&node(1, &one), &record).unwrap();
        let (on_two, three) = (node(1, &two), node(1, &fork(&two, 3, 200, 3)));
        assert_eq!(store.holding(&on_two).unwrap(), None);
        let at = Timestamp::from_micros(9);
        let next = FenceRecord::new(&on_two, &three, Lsn::new(200), Lsn::new(300), "host=c", at);
        store.raise(&on_two, &next).unwrap();
        assert_eq!(store.holding(&on_two).unwrap(), Some(next));
    }

    #[test]
    fn a_full_disk_takes_the_record_whole_or_not_whenever_the_power_fails() {
        let host = |files: &VirtualDisk| Host { disk: Arc::new(files.clone()), ..Host::real() };
        let (files, dir) = (VirtualDisk::new(), Path::new("/data"));
        files.create_dir_all(&dir.join("plimsoll")).unwrap();
        files.sync_dir(Path::new("/")).unwrap();
        files.sync_dir(dir).unwrap();
        let ours = node(1, &TimelineHistory::root(TimelineId::FIRST));
        let store = FenceStore::new(&host(&files), dir);
        files.set_capacity(0);
        assert!(store.reserve().is_err() && store.raise(&ours, &record()).is_err(), "there is no room");
        assert_eq!(store.load().unwrap(), None);
        files.set_capacity(u64::MAX);
        store.reserve().unwrap();
        files.set_capacity(0);
        let moments = Arc::new(host::Mutex::new(Vec::new()));
        let seen = moments.clone();
        files.observe(Box::new(move |_, moment| seen.lock().push(moment.fork())));
        store.reserve().unwrap();
        store.raise(&ours, &record()).unwrap();
        files.stop_observing();
        assert_eq!(store.load().unwrap(), Some(record()));
        let moments = std::mem::take(&mut *moments.lock());
        for (number, seed) in (0..moments.len()).flat_map(|number| (0..20).map(move |seed| (number, seed))) {
            let crashed = moments[number].crash(CrashPolicy::Anything { seed });
            let found = FenceStore::new(&host(&crashed), dir).load().unwrap();
            let is_last = number + 1 == moments.len();
            assert!(found == Some(record()) || found.is_none() && !is_last, "{number}, {seed}: {found:?}");
        }
        // The next one has its space again.
        files.set_capacity(u64::MAX);
        store.reserve().unwrap();
        assert_eq!(files.metadata(&store.reserve).unwrap().len, FILE_BYTES_MAX as u64);
    }

    #[test]
    fn a_damaged_record_still_fences() {
        let dir = tempfile::tempdir().unwrap();
        let store = FenceStore::new(&Host::real(), dir.path());
        store.raise(&node(1, &TimelineHistory::root(TimelineId::FIRST)), &record()).unwrap();
        let good = std::fs::read(&store.path).unwrap();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&store.path, &bad).unwrap();
            match store.load() {
                Err(ReplicaError::Fenced(_)) => {}
                // Letter case of the checksum's own digits.
                Ok(Some(found)) => assert_eq!(found, record(), "bit {bit}"),
                other => panic!("bit {bit}: {other:?}"),
            }
        }
        for len in 0..good.len() {
            std::fs::write(&store.path, &good[..len]).unwrap();
            assert!(matches!(store.load(), Err(ReplicaError::Fenced(_))), "{len} bytes");
        }
        for other in [vec![b'x'; FILE_BYTES_MAX + 1], [&good[..], &[0xFF]].concat()] {
            std::fs::write(&store.path, &other).unwrap();
            assert!(matches!(store.load(), Err(ReplicaError::Fenced(_))), "{} bytes", other.len());
        }
    }
}
