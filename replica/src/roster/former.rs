//! Nodes that are no more, because their directory has become another's: what a report on a promotion
//! ([`crate::timeline::loss`]) need not fear of them.
//!
//! **How one ends.** A directory that was made a standby's while its server was stopped has a new id at its
//! next start ([`crate::directory_id`] says why): after `plimsoll rewind`, or by standby.signal alone. If it
//! was a primary's, the new node knows its former id and hands it on. A primary's id confirms nothing ever
//! again, whatever copies there are of its directory: each is a new standby. A standby's may, if its
//! directory was copied, so of that nothing is told.
//!
//! **What that proves.** Whatever the former node confirmed it confirmed before the new one began. Once that
//! one has had all that its primary had, on the branch that is asked about, it has that, too. So the two are
//! one standby, for which the new one speaks; while it says nothing, one standby is unknown, not two. No
//! commit counts both: the new one's stream puts the former's old one out ([`crate::sender::streams`]).
//!
//! **What it does not prove.** The directory may be a copy, and the original may go on. So an end is told
//! with the number of the last statement that the directory knew. A node states itself anew, with a higher
//! number, at each start, and when it hears that it has ended: then it has not, for all who hear that. Of a
//! directory that was removed nobody knows what became of it: its node stays a member until it is forgotten.
//!
//! **How it spreads and lasts.** Streams tell it before the roster, in a message of its own, and it lies in a
//! file of its own, plimsoll/former, since a program of before knows neither. A former node stays a member,
//! which others ask as ever. 64 are known at most; one that is no member makes room for one that is.
//!
//! The message's payload, its integers big endian:
//!
//! | bytes | contents                                                        |
//! |-------|-----------------------------------------------------------------|
//! | 1     | 1, the layout; a node passes over one that it does not know     |
//! | 1     | how many follow                                                 |
//! |       | of each:                                                        |
//! | 8     | the id of the node that is no more                              |
//! | 8     | the number of its last statement                                |
//! | 8     | the id that its directory has since                             |
//!
//! The file is text, sealed by a CRC-32 as plimsoll/fence is:
//!
//! ```text
//! plimsoll former 1
//! led=<the id of the node whose directory it is>                  if it is a primary's
//! former=<id> <number of its last statement> <id since>
//! crc=<8 hexadecimal digits>
//! ```
//!
//! It is this node's alone: left out of backups, and kept when the directory is rewound. One that is damaged
//! is worth nothing, and what it said is unknown again.

use super::{Known, Member, Roster};
use crate::directory_id::DirectoryId;
use crate::error::ReplicaError;
use host::{Host, write_file_durably};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use wal::codec::{seal_text, sealed_text};

/// The file, in the data directory.
pub const FORMER_FILE: &str = "plimsoll/former";
const FIRST_LINE: &str = "plimsoll former 1";
const LED: &str = "led=";
const FORMER: &str = "former=";
/// Largest file that is read, in bytes; none that is written is larger.
const FILE_BYTES_MAX: u64 = 64 << 10;
const LAYOUT: u8 = 1;
/// Most that are known, and told.
const FORMERS_MAX: usize = 64;

/// A node that is no more, by the word of the one that has its directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Former {
    /// Who.
    pub id: DirectoryId,
    /// The number of its last statement. If it says more, it lives.
    pub stated: u64,
    /// Who its directory is since.
    pub successor: DirectoryId,
}

/// Those that are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Formers {
    /// Whose directory this is, if it is a primary's.
    led: Option<DirectoryId>,
    /// The number of the last statement, by the former's id and the successor's. There are several successors
    /// where the directory was copied.
    over: BTreeMap<(DirectoryId, DirectoryId), u64>,
}

impl Formers {
    fn iter(&self) -> impl Iterator<Item = Former> {
        self.over.iter().map(|((id, successor), stated)| Former {
            id: *id,
            stated: *stated,
            successor: *successor,
        })
    }

    /// Takes one in; whether it is news.
    fn take(&mut self, told: Former, is_member: impl Fn(DirectoryId) -> bool) -> bool {
        let key = (told.id, told.successor);
        if let Some(stated) = self.over.get_mut(&key) {
            let is_news = told.stated > *stated;
            *stated = told.stated.max(*stated);
            return is_news;
        }
        if self.over.len() >= FORMERS_MAX {
            let useless = self.over.keys().find(|(id, _)| !is_member(*id)).copied();
            let Some(useless) = useless.filter(|_| is_member(told.id)) else { return false };
            self.over.remove(&useless);
        }
        self.over.insert(key, told.stated);
        true
    }

    /// A directory that was `former`'s is `own`'s now, and so is what was that one's before.
    fn succeed(&mut self, former: DirectoryId, stated: u64, own: DirectoryId) {
        let older = self.iter().filter(|older| older.successor == former && older.id != own);
        let older: Vec<Former> = older.collect();
        self.over.retain(|(_, successor), _| *successor != former);
        for Former { id, stated, .. } in older {
            self.over.insert((id, own), stated);
        }
        self.over.insert((former, own), stated);
        while self.over.len() > FORMERS_MAX {
            let other = self.over.keys().find(|(id, successor)| *successor != own || *id != former).copied();
            let Some(other) = other else { break };
            self.over.remove(&other);
        }
    }
}

impl Known {
    /// Whether a node that had said so much then has said nothing since.
    fn is_over(&self, former: &Former) -> bool {
        let member = self.members.get(&former.id);
        former.id != self.own.id && member.is_none_or(|member| member.stated <= former.stated)
    }

    fn hear_former(&mut self, told: Former) -> bool {
        if told.id == self.own.id {
            // Somebody has a copy of this directory: this one is as it was, and says so.
            let before = self.own.stated;
            if told.stated >= before {
                self.own.stated = told.stated.saturating_add(1);
            }
            return self.own.stated != before;
        }
        let members = &self.members;
        told.id != told.successor && self.formers.take(told, |id| members.contains_key(&id))
    }

    /// Who has the directories of a node since, if it is no more.
    pub(super) fn heirs(&self, id: DirectoryId) -> Vec<DirectoryId> {
        let heirs = self.formers.iter().filter(|former| former.id == id && self.is_over(former));
        heirs.map(|former| former.successor).collect()
    }
}

impl Roster {
    /// This node has the directory of one that was another, and had said `stated` last. That is so, and told,
    /// of a primary's alone.
    pub fn succeed(&self, former: DirectoryId, stated: u64) {
        let mut known = self.0.known.lock();
        let own = known.own.id;
        if former != own && known.formers.led == Some(former) {
            known.formers.succeed(former, stated, own);
        }
    }

    /// Whether this node is a primary from now on.
    pub fn lead(&self, is_primary: bool) {
        let mut known = self.0.known.lock();
        known.formers.led = is_primary.then_some(known.own.id);
        drop(known);
        self.change();
    }

    /// What is told on a stream before the roster; nothing if there is nothing to tell.
    pub fn told_formers(&self) -> Option<Vec<u8>> {
        let known = self.0.known.lock();
        let formers: Vec<Former> = known.formers.iter().collect();
        (!formers.is_empty()).then(|| encode(&formers))
    }

    /// Takes in what the node at the other end of a stream told.
    pub fn hear_formers(&self, told: Vec<Former>) {
        let is_news = {
            let mut known = self.0.known.lock();
            told.into_iter().fold(false, |is_news, former| is_news | known.hear_former(former))
        };
        if is_news {
            self.change();
        }
    }

    /// The nodes that are no more and whose directory a node has.
    pub fn formers_of(&self, id: DirectoryId) -> Vec<DirectoryId> {
        let known = self.0.known.lock();
        let formers = known.formers.iter().filter(|former| former.successor == id && known.is_over(former));
        formers.map(|former| former.id).collect()
    }

    /// The members, by id, but for those that are no more.
    pub fn living(&self) -> Vec<Member> {
        let known = self.0.known.lock();
        let living = known.members.values().filter(|member| known.heirs(member.id).is_empty());
        living.cloned().collect()
    }

    /// Who has the directories of a node now, over all that had them in between; nobody if it may live.
    pub fn successors(&self, id: DirectoryId) -> Vec<DirectoryId> {
        let known = self.0.known.lock();
        let (mut seen, mut open, mut found) = (BTreeSet::from([id]), known.heirs(id), Vec::new());
        while let Some(heir) = open.pop() {
            if seen.insert(heir) {
                let next = known.heirs(heir);
                if next.is_empty() {
                    found.push(heir);
                }
                open.extend(next);
            }
        }
        found
    }
}

/// Reads into the roster what the node knew in earlier lives. Whether there was a file, and it told nothing.
///
/// # Errors
///
/// Fails if the file is there and cannot be read.
pub fn load(host: &Host, data_dir: &Path, roster: &Roster) -> io::Result<bool> {
    let found = match host.disk.read_text(&data_dir.join(FORMER_FILE), FILE_BYTES_MAX) {
        Ok(text) => decode_file(&text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Some(Formers::default()),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => None,
        Err(error) => return Err(error),
    };
    let Some(formers) = found else { return Ok(true) };
    *roster.0.written_formers.lock() = Some(formers.clone());
    roster.0.known.lock().formers = formers;
    Ok(false)
}

/// Writes it, unless that is what the file says.
///
/// # Errors
///
/// Fails if the file cannot be written.
pub fn save(host: &Host, data_dir: &Path, roster: &Roster) -> io::Result<()> {
    let mut written = roster.0.written_formers.lock();
    let formers = roster.0.known.lock().formers.clone();
    if written.as_ref() == Some(&formers) {
        return Ok(());
    }
    // A write that fails may leave either.
    *written = None;
    write_file_durably(&*host.disk, &data_dir.join(FORMER_FILE), encode_file(&formers).as_bytes())?;
    *written = Some(formers);
    Ok(())
}

fn encode_file(formers: &Formers) -> String {
    let mut text = format!("{FIRST_LINE}\n");
    if let Some(led) = formers.led {
        text.push_str(&format!("{LED}{led}\n"));
    }
    for Former { id, stated, successor } in formers.iter() {
        text.push_str(&format!("{FORMER}{id} {stated} {successor}\n"));
    }
    seal_text(text)
}

fn decode_file(text: &str) -> Option<Formers> {
    let mut lines = sealed_text(text)?.lines().peekable();
    if lines.next()? != FIRST_LINE {
        return None;
    }
    let led = match lines.next_if(|line| line.starts_with(LED)) {
        Some(line) => Some(line.strip_prefix(LED)?.parse().ok()?),
        None => None,
    };
    let former = |line: &str| -> Option<((DirectoryId, DirectoryId), u64)> {
        let mut words = line.strip_prefix(FORMER)?.split(' ');
        let (id, stated) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        Some(((id, words.next()?.parse().ok()?), stated))
    };
    let over = lines.take(FORMERS_MAX).map(former).collect::<Option<_>>()?;
    Some(Formers { led, over })
}

fn encode(formers: &[Former]) -> Vec<u8> {
    let formers = formers.get(..FORMERS_MAX).unwrap_or(formers);
    let mut out = vec![LAYOUT, u8::try_from(formers.len()).unwrap_or(0)];
    for Former { id, stated, successor } in formers {
        for number in [id.number(), *stated, successor.number()] {
            out.extend_from_slice(&number.to_be_bytes());
        }
    }
    out
}

/// Reads a payload; nothing of a layout that this program does not know.
///
/// # Errors
///
/// Fails where it is no payload.
pub fn decode(payload: &[u8]) -> Result<Vec<Former>, ReplicaError> {
    let malformed = || ReplicaError::Protocol("malformed former ids from a node of the cluster".to_owned());
    let (layout, rest) = payload.split_first().ok_or_else(malformed)?;
    if *layout != LAYOUT {
        return Ok(Vec::new());
    }
    let (count, mut rest) = rest.split_first().ok_or_else(malformed)?;
    if usize::from(*count) > FORMERS_MAX {
        return Err(malformed());
    }
    let mut number = || {
        let (taken, after) = rest.split_first_chunk::<8>()?;
        rest = after;
        Some(u64::from_be_bytes(*taken))
    };
    let mut former = || {
        let (id, stated) = (DirectoryId::new(number()?), number()?);
        Some(Former { id, stated, successor: DirectoryId::new(number()?) })
    };
    let formers: Option<Vec<Former>> = (0..*count).map(|_| former()).collect();
    formers.filter(|_| rest.is_empty()).ok_or_else(malformed)
}

#[cfg(test)]
mod tests {
    use super::super::{Address, Seen, Statement};
    use super::*;
    use host::Timestamp;
    use std::time::Duration;

    const NOW: Duration = Duration::from_secs(1000);

    fn id(number: u64) -> DirectoryId {
        DirectoryId::new(number)
    }

    fn former(number: u64, stated: u64, successor: u64) -> Former {
        Former { id: id(number), stated, successor: id(successor) }
    }

    /// A node tells of itself.
    fn speaks(roster: &Roster, number: u64, stated: u64) {
        let addresses = vec![Address::new("a", 5432).unwrap()];
        let said = Statement { addresses, ..Statement::of(id(number), stated) };
        roster.hear(vec![said], &Seen::client(None), NOW);
    }

    #[test]
    fn a_node_whose_directory_is_another_s_is_no_more_until_it_speaks_again() {
        let roster = Roster::new(id(9));
        speaks(&roster, 1, 500);
        roster.hear_formers(vec![former(1, 499, 2)]);
        assert!(roster.successors(id(1)).is_empty(), "it said more than the directory knew");
        let before = roster.version();
        roster.hear_formers(vec![former(1, 500, 2)]);
        assert_eq!((roster.successors(id(1)), roster.formers_of(id(2))), (vec![id(2)], vec![id(1)]));
        assert_eq!(roster.version(), before + 1, "others hear of it");
        roster.hear_formers(vec![former(1, 500, 2), former(1, 400, 2), former(3, 5, 3)]);
        assert_eq!(roster.version(), before + 1, "no news");
        assert_eq!((roster.members().len(), roster.living().len()), (1, 0), "it stays a member");
        roster.hear_formers(vec![former(2, 1, 4), former(1, 500, 5)]);
        assert_eq!(roster.successors(id(1)), [id(5), id(4)], "two copies, one of which became a third");
        speaks(&roster, 1, 501);
        assert!(roster.successors(id(1)).is_empty() && roster.formers_of(id(2)).is_empty());
        assert_eq!(roster.living(), roster.members());
        // What goes round in a circle says nothing.
        roster.hear_formers(vec![former(6, 1, 7), former(7, 1, 6)]);
        assert!(roster.successors(id(6)).is_empty());
    }

    #[test]
    fn who_hears_of_its_own_end_says_that_it_lives() {
        let (roster, other) = (Roster::new(id(1)), Roster::new(id(9)));
        roster.state("one", vec![Address::new("a", 5432).unwrap()], Timestamp::from_micros(500));
        let tell = || {
            let told = super::super::statement::decode(&roster.told(NOW)).unwrap();
            other.hear(told, &Seen::client(None), NOW);
        };
        tell();
        other.hear_formers(vec![former(1, 500, 2)]);
        assert_eq!(other.successors(id(1)), [id(2)]);
        let before = roster.version();
        roster.hear_formers(decode(&other.told_formers().unwrap()).unwrap());
        assert_eq!(roster.version(), before + 1);
        tell();
        assert!(other.successors(id(1)).is_empty());
        roster.hear_formers(vec![former(1, 500, 2)]);
        assert!(roster.version() == before + 1 && roster.told_formers().is_none(), "it was said");
    }

    #[test]
    fn a_directory_hands_on_all_that_it_was() {
        let (host, dir) = (Host::real(), tempfile::tempdir().unwrap());
        std::fs::create_dir(dir.path().join("plimsoll")).unwrap();
        let path = dir.path().join(FORMER_FILE);
        let open = |number: u64, was: Option<(u64, u64)>| {
            let roster = Roster::new(id(number));
            assert!(!load(&host, dir.path(), &roster).unwrap());
            if let Some((was, stated)) = was {
                roster.succeed(id(was), stated);
            }
            roster.lead(true);
            save(&host, dir.path(), &roster).unwrap();
            roster
        };
        open(1, Some((1, 5)));
        let (follower, copy) = (Roster::new(id(1)), Roster::new(id(2)));
        follower.lead(true);
        follower.lead(false);
        save(&host, dir.path(), &follower).unwrap();
        load(&host, dir.path(), &copy).unwrap();
        copy.succeed(id(1), 5);
        assert_eq!(copy.told_formers(), None, "the original may go on as a standby");
        open(1, None);
        open(2, Some((1, 5))).hear_formers(vec![former(7, 1, 8)]);
        open(3, Some((2, 6)));
        let roster = open(3, None);
        let told = decode(&roster.told_formers().unwrap()).unwrap();
        assert_eq!(told, [former(1, 5, 3), former(2, 6, 3)]);
        assert_eq!(roster.formers_of(id(3)), [id(1), id(2)]);
        let good = std::fs::read(&path).unwrap();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, &bad).unwrap();
            let found = Roster::new(id(3));
            let damaged = load(&host, dir.path(), &found).unwrap();
            // Letter case of the checksum's own digits.
            assert!(damaged != (found.formers_of(id(3)) == [id(1), id(2)]), "bit {bit}");
        }
    }

    #[test]
    fn a_full_list_takes_members_alone() {
        let roster = Roster::new(id(9));
        let all = || decode(&roster.told_formers().unwrap()).unwrap();
        roster.hear_formers((0..100).map(|number| former(100 + number, 1, 10)).collect());
        assert_eq!((all().len(), all()[0]), (FORMERS_MAX, former(100, 1, 10)));
        speaks(&roster, 1, 5);
        roster.hear_formers(vec![former(1, 5, 10), former(99, 1, 10)]);
        assert_eq!((all().len(), all()[0], all()[1]), (FORMERS_MAX, former(1, 5, 10), former(101, 1, 10)));
    }

    #[test]
    fn what_is_told_is_read_again_and_what_is_damaged_is_refused() {
        let formers = [former(1, 2, 3), former(4, u64::MAX, 5)];
        let payload = encode(&formers);
        assert_eq!(decode(&payload).unwrap(), formers);
        for len in 0..payload.len() {
            assert!(decode(&payload[..len]).is_err(), "{len}");
        }
        assert_eq!(decode(&[2, 9, 9]).unwrap(), [], "a layout of later");
        assert!(decode(&[1, 65]).is_err());
        assert!(decode(&[payload, vec![0]].concat()).is_err());
    }
}
