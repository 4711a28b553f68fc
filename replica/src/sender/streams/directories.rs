//! Which streams go to one directory: of those the newest counts alone. The others are of before the standby
//! lost its connection or its power, and their standby would count twice. A directory may have had other ids
//! before ([`crate::roster::former`]).
//!
//! **A standby that was made anew** has a directory with a new id. What its old stream had reported was true
//! of a directory that is no more. Two servers cannot listen at one address, so a stream whose node listens
//! where that of an older stream does puts the older one out, for good: what the older reported stays of a
//! directory that is gone, also when the newer stream ends. One that listens on all addresses may be seen at
//! several of them, so a node names its network, too: at one port of that nobody else listens where one
//! listens on all addresses, neither so nor at a single one. (Two single ones may have a server each.)
//!
//! Two nodes may seem to listen at one address: behind one translated address, a proxy or a tunnel. The older
//! stream counts again once its node has told of the newer one. It hears of that by this server,
//! and tells so at once if it lives; a server that ended before the newer began can never have heard of it.
//! Who says nothing of where it listens counts as in PostgreSQL.

use super::{SenderHandle, Senders, Table};
use crate::directory_id::DirectoryId;
use crate::roster::{Address, MEMBERS_MAX, Seen, Statement};
use wal::Lsn;

/// Longest name of a network that is heeded, in bytes.
const NETWORK_MAX: usize = 255;

/// The node at the other end of a stream, as it says.
#[derive(Debug)]
pub(super) struct StreamNode {
    id: DirectoryId,
    listens: Listens,
    /// The others of which it told last.
    knows: Vec<DirectoryId>,
    /// The last that came later, seems to listen where this one does, and is unknown to it.
    displaced_by: Option<DirectoryId>,
}

/// Where a node listens, as far as it says so.
#[derive(Debug)]
struct Listens {
    /// As seen from here.
    addresses: Vec<Address>,
    /// By TCP at these ports, and whether on all addresses.
    ports: Vec<(u16, bool)>,
    /// The name of the network in which it does.
    network: Option<Box<[u8]>>,
}

impl Listens {
    /// What a node says that is seen there and listens in this network.
    fn of(node: &Statement, seen: &Seen, network: Option<Box<[u8]>>) -> Self {
        let by_tcp = node.addresses.iter().filter(|address| !address.host().starts_with('/'));
        let ports = by_tcp.map(|address| (address.port(), address.host().is_empty())).collect();
        Self { addresses: node.addresses_from(seen, true), ports, network }
    }

    /// Whether two servers cannot listen so at one time.
    fn meets(&self, other: &Self) -> bool {
        let shares_address = self.addresses.iter().any(|address| other.addresses.contains(address));
        let collide = |(port, all): (u16, bool)| {
            other.ports.iter().any(|(theirs, theirs_all)| port == *theirs && (all || *theirs_all))
        };
        let shares_port = self.ports.iter().copied().any(collide);
        let same_network = self.network.is_some() && self.network == other.network;
        shares_address || same_network && shares_port
    }
}

impl StreamNode {
    /// Whether its directory is no more, as far as is known.
    pub(super) const fn is_displaced(&self) -> bool {
        self.displaced_by.is_some()
    }

    /// The node of a later stream says where it listens.
    fn meet_later(&mut self, later: DirectoryId, listens: &Listens) {
        if self.listens.meets(listens) && self.id != later && !self.knows.contains(&later) {
            self.displaced_by = Some(later);
        }
    }
}

impl Senders {
    /// How far a directory is known to have made the log durable, by its streams of this life.
    pub fn held_by(&self, directory: DirectoryId) -> Option<Lsn> {
        let table = self.0.table.lock();
        let mut streams = table.entries.values().rev();
        let newest = streams.find(|entry| entry.directory == Some(directory));
        let reported = newest.map(|entry| entry.progress.flushed).filter(|flushed| flushed.is_valid());
        reported.or_else(|| table.left.get(&directory).copied())
    }
}

impl Table {
    /// A stream ends: what its directory had is remembered.
    pub(super) fn note_left(&mut self, key: u64) {
        let Some(entry) = self.entries.get(&key) else { return };
        let (Some(directory), flushed) = (entry.directory, entry.progress.flushed) else { return };
        if flushed.is_valid() && (self.left.len() < MEMBERS_MAX || self.left.contains_key(&directory)) {
            self.left.insert(directory, flushed);
        }
    }

    /// Finds the streams that have a newer one to the same directory.
    pub(super) fn find_replaced(&mut self) {
        let mut newer = Vec::new();
        for entry in self.entries.values_mut().rev() {
            let Some(directory) = entry.directory else { continue };
            match newer.contains(&directory) {
                true => entry.replaced = entry.replaced.or(Some(entry.sent)),
                false => (entry.replaced, entry.shared) = (None, false),
            }
            newer.push(directory);
            newer.extend(&entry.formers);
        }
    }
}

impl SenderHandle {
    /// The standby says what directory it works on, which had these ids before.
    pub fn set_directory(&self, directory: DirectoryId, formers: Vec<DirectoryId>) {
        let mut table = self.senders.0.table.lock();
        if let Some(entry) = table.entries.get_mut(&self.key) {
            (entry.directory, entry.formers) = (Some(directory), formers);
        }
        table.find_replaced();
        self.senders.recompute(&mut table);
    }

    /// The standby names the network in which it listens, for what it says next of its node.
    pub fn set_network(&self, name: &[u8]) {
        self.with(|table, key| {
            if let Some(entry) = table.entries.get_mut(&key) {
                entry.network = (1..=NETWORK_MAX).contains(&name.len()).then(|| name.into());
            }
        });
    }

    /// The standby tells of the cluster's nodes, itself first, and is seen there.
    pub fn set_node(&self, told: &[Statement], seen: &Seen) {
        let Some((own, others)) = told.split_first() else { return };
        let knows: Vec<DirectoryId> = others.iter().map(|other| other.id).collect();
        let mut table = self.senders.0.table.lock();
        let network = table.entries.get(&self.key).and_then(|entry| entry.network.clone());
        let listens = Listens::of(own, seen, network);
        for (_, older) in table.entries.range_mut(..self.key) {
            if let Some(node) = &mut older.node {
                node.meet_later(own.id, &listens);
            }
        }
        if let Some(entry) = table.entries.get_mut(&self.key) {
            // That it knows who came later says that it lived then.
            let before = entry.node.take().and_then(|node| node.displaced_by);
            let displaced_by = before.filter(|later| !knows.contains(later));
            entry.node = Some(StreamNode { id: own.id, listens, knows, displaced_by });
        }
        self.senders.recompute(&mut table);
    }

    /// A directory that another one, a copy of it, says to have been lives: its streams count.
    pub fn lives_on(&self, directory: DirectoryId) {
        let mut table = self.senders.0.table.lock();
        let mut denied = false;
        for entry in table.entries.values_mut() {
            let count = entry.formers.len();
            entry.formers.retain(|former| *former != directory);
            denied |= entry.formers.len() < count;
        }
        if denied {
            table.find_replaced();
            self.senders.recompute(&mut table);
        }
    }
}
