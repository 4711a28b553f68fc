//! The roster: the nodes of this cluster as this one knows them, so that a primary that comes back knows whom
//! to ask whether it was replaced, without any setting.
//!
//! **Who is a member.** A server that streams from another one, or sends to one, with Plimsoll's extensions.
//! It has an id: a standby that of its data directory, which it keeps when it is promoted, though the
//! directory's own file goes then ([`crate::directory_id`] says why); a primary that never was a standby one
//! that was drawn for it. A standby that hears its own id from the node that it follows draws another one,
//! since one of the two is a copy of the other. It has a name, by which it follows a primary and
//! synchronous_standby_names means it, and at most [`ADDRESSES_MAX`] addresses. A copy in the
//! making, a receiver of PostgreSQL's and a copy that was promoted from a backup tell nothing of themselves,
//! so they are never asked.
//!
//! **How it spreads.** Both ends of a stream tell each other all that they know when it begins and when it
//! changes, themselves first ([`statement`]). So all nodes of a tree of standbys come to know all others.
//!
//! **Which word counts.** What a node says of itself bears a number that only goes up: microseconds of its
//! clock when it said so first, or one more than before. It says so anew at each start. The statement with
//! the highest number counts, whoever passes it on. Two ways in which others see one statement's addresses
//! are both kept.
//!
//! **Addresses.** A node that listens on all addresses says "where you see me": whoever hears that from the
//! node itself puts in where it sees it. A loopback address is meant on the teller's machine, so whoever sees
//! the teller elsewhere puts that in its place, and leaves out Unix sockets ([`Address::seen_from`]).
//!
//! **How long a member stays.** Each is forgotten when nobody has heard of it for
//! plimsoll.roster_forget_after: no stream, no answer, no other node that has. Times of hearing are passed on
//! as ages, and count on the monotonic clock while the server runs: a clock that jumps forgets nobody, and
//! neither does a server that was away for long, whose first question is the one that matters. Hearsay may
//! make a member younger, never older, and nobody is removed on a word. There are [`MEMBERS_MAX`] members at
//! most. Who comes then takes the place of one that is no more ([`former`]), or whose name and addresses
//! another member has by now; else one that tells of itself takes that of the one that was silent longest,
//! and one that others tell of takes none. Each that goes so is told of ([`Roster::take_displaced`]).
//!
//! **Which of them are no more**, since their directory is another member's now, says [`former`].
//!
//! **How they are asked** says [`login`]; the question itself is [`crate::driver::peers`].
//!
//! **Of timelines** it keeps what those nodes told ([`crate::timeline::heard`]).
//!
//! **Over which of them** a standby's log comes says [`route`].
//!
//! **On disk** it is a file of the node's own ([`file`]), and what was told of timelines another
//! ([`heard_file`]).
//!
//! No I/O here but that of the files; nobody waits for it but who writes them, too.

pub mod file;
pub mod former;
pub mod heard_file;
pub mod login;
pub mod route;
pub mod statement;

pub use statement::{Address, Seen, Statement};

use crate::directory_id::DirectoryId;
use crate::timeline::heard::{Gone, Heard};
use host::{Mutex, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use wal::TimelineId;
use wal::history::TimelineHistory;

/// Most members, oneself not counted.
pub const MEMBERS_MAX: usize = 64;
/// Most addresses of one.
pub const ADDRESSES_MAX: usize = 4;

/// Another node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Who it is.
    pub id: DirectoryId,
    /// The name by which it follows a primary, or would.
    pub name: String,
    /// Where it can be reached from here.
    pub addresses: Vec<Address>,
    /// The number of its statement.
    pub stated: u64,
    /// When it was last heard of, in microseconds of the monotonic clock; one may be of before this start.
    heard_us: i64,
}

impl Member {
    /// How long nobody has heard of it.
    pub fn silent_for(&self, now: Duration) -> Duration {
        let silent = micros(now).saturating_sub(self.heard_us);
        Duration::from_micros(u64::try_from(silent).unwrap_or(0))
    }
}

/// A member that had to go for another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Displaced {
    /// Who.
    pub member: Member,
    /// The name of the one that came.
    pub by: String,
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

#[derive(Debug)]
struct Known {
    own: Statement,
    /// A number that was drawn for this life of the node.
    life: u64,
    /// It has stated itself since this start.
    has_stated: bool,
    /// Somebody told a later statement of this node than it remembers; it was outdone once.
    outdone: bool,
    members: BTreeMap<DirectoryId, Member>,
    /// Nodes that are no more.
    formers: former::Formers,
    /// What was told of timelines.
    heard: Heard,
    /// Members that had to go, as long as nobody has taken note.
    displaced: Vec<Displaced>,
    /// One that others told of was left out for want of room.
    left_out: bool,
}

#[derive(Debug)]
struct Shared {
    known: Mutex<Known>,
    /// What the file of what was told says, if that is known; held while it is written.
    written: Mutex<Option<Heard>>,
    /// The same of the file of former nodes.
    written_formers: Mutex<Option<former::Formers>>,
    changes: watch::Sender<u64>,
    /// What the server that this one receives from told of the way of its log; None if it receives from
    /// nobody.
    route: watch::Sender<Option<route::Route>>,
}

/// The roster of a node; cloning shares it.
#[derive(Clone, Debug)]
pub struct Roster(Arc<Shared>);

impl Roster {
    /// That of a node that knows nobody yet.
    pub fn new(id: DirectoryId) -> Self {
        Self::with(Statement::of(id, 0), 0, BTreeMap::new())
    }

    fn with(own: Statement, life: u64, members: BTreeMap<DirectoryId, Member>) -> Self {
        let known = Known {
            own,
            life,
            has_stated: false,
            outdone: false,
            members,
            formers: former::Formers::default(),
            heard: Heard::default(),
            displaced: Vec::new(),
            left_out: false,
        };
        Self(Arc::new(Shared {
            known: Mutex::new(known),
            written: Mutex::new(None),
            written_formers: Mutex::new(None),
            changes: watch::Sender::new(0),
            route: watch::Sender::new(None),
        }))
    }

    /// This node's id.
    pub fn own_id(&self) -> DirectoryId {
        self.0.known.lock().own.id
    }

    /// This node says how it can be reached, anew after each start. A node that cannot says nothing of
    /// itself.
    pub fn state(&self, name: &str, addresses: Vec<Address>, now: Timestamp) {
        let mut known = self.0.known.lock();
        let own = &known.own;
        let said = Statement { name: statement::tidy_name(name), addresses, ..own.clone() };
        if *own != said || !known.has_stated {
            let clock = u64::try_from(now.micros()).unwrap_or(0);
            known.own = Statement { stated: clock.max(known.own.stated.saturating_add(1)), ..said };
            known.has_stated = true;
            drop(known);
            self.change();
        }
    }

    /// Whether who tells this of itself, at the other end of a stream, is another node of this one's id: one
    /// of the two works on a copy of the other's directory. Who says what this node says is itself.
    pub fn is_shared_by(&self, told: &[Statement]) -> bool {
        let known = self.0.known.lock();
        told.first().is_some_and(|theirs| theirs.id == known.own.id && theirs.stated != known.own.stated)
    }

    /// This node is another one from here on than that with which it shared its id, and states itself anew.
    pub fn part(&self, id: DirectoryId) {
        let mut known = self.0.known.lock();
        known.members.remove(&id);
        known.own.id = id;
        known.own.stated = known.own.stated.saturating_add(1);
        drop(known);
        self.change();
    }

    /// What is told on a stream: this node and all that it knows.
    pub fn told(&self, now: Duration) -> Vec<u8> {
        let known = self.0.known.lock();
        let mut members: Vec<&Member> = known.members.values().collect();
        members.sort_by_key(|member| std::cmp::Reverse(member.heard_us));
        let others = members.into_iter().map(|member| Statement {
            id: member.id,
            stated: member.stated,
            name: member.name.clone(),
            addresses: member.addresses.clone(),
            age: member.silent_for(now),
        });
        statement::encode(std::iter::once(known.own.clone()).chain(others))
    }

    /// Takes in what the node at the other end of a stream told: the first statement is its own.
    pub fn hear(&self, mut told: Vec<Statement>, seen: &Seen, now: Duration) {
        if host::planted!("only who is at the other end of a stream becomes a member") {
            told.truncate(1);
        }
        let changed = {
            let mut known = self.0.known.lock();
            let mut direct = true;
            told.into_iter().fold(false, |changed, statement| {
                changed | known.take(statement, seen, std::mem::take(&mut direct), now)
            })
        };
        if changed {
            self.change();
        }
    }

    /// It has answered, or asked.
    pub fn heard_of(&self, id: DirectoryId, now: Duration) {
        if let Some(member) = self.0.known.lock().members.get_mut(&id) {
            member.heard_us = member.heard_us.max(micros(now));
        }
    }

    /// This process did not run for so long until now: that makes no member older.
    pub fn excuse(&self, lost: Duration, now: Duration) {
        for member in self.0.known.lock().members.values_mut() {
            member.heard_us =
                member.heard_us.saturating_add(micros(lost)).min(micros(now).max(member.heard_us));
        }
    }

    /// Takes those that had to go for others since this was asked last.
    pub fn take_displaced(&self) -> Vec<Displaced> {
        std::mem::take(&mut self.0.known.lock().displaced)
    }

    /// Whether others told of one for which there was no room, since this was asked last.
    pub fn take_left_out(&self) -> bool {
        std::mem::take(&mut self.0.known.lock().left_out)
    }

    /// The members, by id.
    pub fn members(&self) -> Vec<Member> {
        self.0.known.lock().members.values().cloned().collect()
    }

    /// Forgets whom nobody has heard of for so long, and gives them.
    pub fn forget(&self, after: Duration, now: Duration) -> Vec<Member> {
        let mut known = self.0.known.lock();
        let gone = known.members.values().filter(|member| member.silent_for(now) >= after);
        let gone: Vec<Member> = gone.cloned().collect();
        for member in &gone {
            known.members.remove(&member.id);
        }
        drop(known);
        if !gone.is_empty() {
            self.change();
        }
        gone
    }

    /// Whether a node is known.
    pub fn has(&self, id: DirectoryId) -> bool {
        self.0.known.lock().members.contains_key(&id)
    }

    /// The newest timeline of which another node has told, in whichever life of this one; INVALID if none
    /// has.
    pub fn newest_heard(&self) -> TimelineId {
        self.0.known.lock().heard.newest()
    }

    /// Another node told of a timeline of this number. Whether that is news.
    pub fn hear_of_timeline(&self, number: TimelineId) -> bool {
        let is_news = self.0.known.lock().heard.hear_number(number);
        if is_news {
            self.change();
        }
        is_news
    }

    /// Another node told of a branch, as a witness of it or of what one told. `ours` is the branch of which
    /// this node is a witness. Whether that is news, and passed on.
    pub fn hear_of_branch(&self, ours: &TimelineHistory, theirs: &TimelineHistory) -> bool {
        self.hear_of_timeline(theirs.target());
        let is_news = self.0.known.lock().heard.hear_branch(ours, theirs);
        if is_news {
            self.change();
        }
        is_news
    }

    /// The branches that are passed on to who asks a node that is a witness of `ours`.
    pub fn heard_branches(&self, ours: &TimelineHistory) -> Vec<TimelineHistory> {
        self.0.known.lock().heard.passed_on(ours).cloned().collect()
    }

    /// An administrator said that all that replaced `ours` is gone for good: the branches that go on from it
    /// of which others told, and what `unseen` names.
    pub fn give_up(&self, ours: &TimelineHistory, unseen: Gone) {
        if let Gone::Named { descendant, .. } = unseen {
            self.hear_of_timeline(descendant);
        }
        self.0.known.lock().heard.give_up(ours, unseen);
        self.change();
    }

    /// Whether `theirs` left `ours` by a branch that was given up.
    pub fn is_given_up(&self, ours: &TimelineHistory, theirs: &TimelineHistory) -> bool {
        self.0.known.lock().heard.is_given_up(ours, theirs)
    }

    /// Counts changes that others are to hear of, and the disk.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// The count now.
    pub fn version(&self) -> u64 {
        *self.0.changes.borrow()
    }

    /// Has all told again, with their ages of now.
    pub fn change(&self) {
        self.0.changes.send_modify(|count| *count = count.wrapping_add(1));
    }
}

impl Known {
    /// Whether others are to hear of it.
    fn take(&mut self, said: Statement, seen: &Seen, direct: bool, now: Duration) -> bool {
        if said.id == self.own.id {
            return self.hear_of_oneself(&said, direct);
        }
        let addresses = said.addresses_from(seen, direct);
        let age = if direct { Duration::ZERO } else { said.age };
        let heard_us = micros(now).saturating_sub(micros(age));
        if let Some(member) = self.members.get_mut(&said.id) {
            member.heard_us = member.heard_us.max(heard_us);
            return member.hear(said, addresses);
        }
        let Statement { id, stated, name, .. } = said;
        let new = Member { id, name, addresses, stated, heard_us };
        if new.addresses.is_empty() || !self.has_room(&new, direct) {
            return false;
        }
        self.members.insert(id, new);
        true
    }

    /// Others know a later statement of this node than it does, since its file was lost: it says anew what
    /// holds now.
    fn hear_of_oneself(&mut self, said: &Statement, direct: bool) -> bool {
        let outdo = !direct && said.stated > self.own.stated && !self.outdone;
        if outdo {
            self.outdone = true;
            self.own.stated = said.stated.saturating_add(1);
        }
        outdo
    }

    /// Whether there is room for one that comes, also by another one that goes for it: none that may live for
    /// one that others tell of, and nobody while those that went before are untold.
    fn has_room(&mut self, new: &Member, direct: bool) -> bool {
        if self.members.len() < MEMBERS_MAX {
            return true;
        }
        let all = || self.members.values().filter(|_| self.displaced.len() < MEMBERS_MAX);
        let silent_longest = |member: &&Member| member.heard_us;
        let no_more = all().filter(|member| self.is_no_more(member, new)).min_by_key(silent_longest);
        let goes = no_more.or_else(|| all().filter(|_| direct).min_by_key(silent_longest)).map(|it| it.id);
        match goes.and_then(|id| self.members.remove(&id)) {
            Some(member) => self.displaced.push(Displaced { member, by: new.name.clone() }),
            None => self.left_out = true,
        }
        goes.is_some()
    }

    /// Whether a member is no more, or another one, maybe the one that comes, has its name and its places.
    fn is_no_more(&self, member: &Member, new: &Member) -> bool {
        let mut others = self.members.values().chain([new]);
        !self.heirs(member.id).is_empty() || others.any(|other| other.has_place_of(member))
    }
}

impl Member {
    /// Whether this is a node that began later where the other one was, by its name.
    fn has_place_of(&self, other: &Self) -> bool {
        let is_later = self.stated > other.stated && self.heard_us > other.heard_us;
        let is_there = || other.addresses.iter().all(|address| self.addresses.contains(address));
        is_later && self.name == other.name && is_there()
    }

    /// Takes over what it says of itself, if that is no older word; whether that is news.
    fn hear(&mut self, said: Statement, mut addresses: Vec<Address>) -> bool {
        if said.stated < self.stated || addresses.is_empty() {
            return false;
        }
        if said.stated == self.stated {
            addresses.extend(self.addresses.iter().cloned());
            addresses.sort();
            addresses.dedup();
            addresses.truncate(ADDRESSES_MAX);
        }
        let mut known = self.addresses.clone();
        known.sort();
        let mut sorted = addresses.clone();
        sorted.sort();
        let is_news = said.stated != self.stated || sorted != known || said.name != self.name;
        if is_news {
            (self.stated, self.name, self.addresses) = (said.stated, said.name, addresses);
        }
        is_news
    }
}

#[cfg(test)]
mod tests;
