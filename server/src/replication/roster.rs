//! The roster's wiring ([`replica::roster`]): where this node says that it can be reached, what keeps the
//! roster on disk and the streams told of it, who is no more, and who is forgotten.

use super::Replication;
use super::asking::{Target, Told, targets};
use super::fencing::last_word;
use super::ledger::Ledger;
use super::standby::settings::follows_as;
use crate::configuration::Ground;
use crate::connection::listen::{socket_dirs, words};
use crate::tasks::blocking;
use protocol::conninfo::{ConnInfo, Endpoint};
use protocol::{Report, SqlState};
use replica::ReplicaError;
use replica::directory_id::DirectoryId;
use replica::roster::file::{self, ROSTER_FILE};
use replica::roster::former::{self, FORMER_FILE};
use replica::roster::heard_file::{self, HEARD_FILE};
use replica::roster::{ADDRESSES_MAX, Address, Displaced, MEMBERS_MAX, Member, Roster};
use std::sync::Arc;
use std::time::Duration;
use wal::Lsn;

/// Time between two times that all is told again, so that who is far away stays young.
const RETELL_INTERVAL: Duration = Duration::from_secs(600);

/// Reads the roster and what was told of timelines, or begins them. Without the roster's file a node knows
/// nobody: the log says so.
pub(super) fn open(ground: &Ground, is_standby: bool) -> Roster {
    let standby = || DirectoryId::of_directory(&ground.host, &ground.data_dir).ok();
    let id = is_standby.then(standby).flatten();
    let mut was = None;
    let roster = match file::load(&ground.host, &ground.data_dir, id) {
        Ok(loaded) => {
            was = loaded.former;
            if loaded.damaged {
                let what =
                    "is damaged: the other nodes of the cluster are those that streams tell of from now on";
                ground.log.warning(format!("file \"{ROSTER_FILE}\" {what}"));
            }
            loaded.roster
        }
        Err(error) => {
            ground.log.warning(format!("could not read file \"{ROSTER_FILE}\": {error}"));
            Roster::new(id.unwrap_or_else(|| DirectoryId::new(ground.host.entropy.next_u64())))
        }
    };
    recall_formers(ground, &roster, was);
    if is_standby {
        roster.lead(false);
    }
    recall(ground, &roster);
    state(ground, &roster);
    roster
}

/// Reads which nodes are no more. `was`: the one whose directory this was, and what it said last.
fn recall_formers(ground: &Ground, roster: &Roster, was: Option<(DirectoryId, u64)>) {
    let found = former::load(&ground.host, &ground.data_dir, roster);
    warn(ground, FORMER_FILE, found, "which nodes are no more is what streams tell of from now on");
    if let Some((id, stated)) = was {
        roster.succeed(id, stated);
    }
}

/// Reads what was told of timelines in earlier lives.
fn recall(ground: &Ground, roster: &Roster) {
    let found = heard_file::load(&ground.host, &ground.data_dir, roster);
    warn(ground, HEARD_FILE, found, "which timelines there are is what other nodes tell from now on");
}

/// Says that a file told nothing, and what is known instead; or that it could not be read.
fn warn(ground: &Ground, file: &str, damaged: std::io::Result<bool>, instead: &str) {
    match damaged {
        Ok(false) => {}
        Ok(true) => ground.log.warning(format!("file \"{file}\" is damaged: {instead}")),
        Err(error) => ground.log.warning(format!("could not read file \"{file}\": {error}")),
    }
}

/// Says where this node can be reached, by the settings of now.
fn state(ground: &Ground, roster: &Roster) {
    roster.state(&follows_as(&ground.config()), own_addresses(ground), ground.host.clock.now());
}

fn own_addresses(ground: &Ground) -> Vec<Address> {
    let config = ground.config();
    let port = u16::try_from(config.port).unwrap_or(0);
    let mut addresses: Vec<Address> = if config.advertised_address.trim().is_empty() {
        let host = |name: &str| match name {
            "*" | "0.0.0.0" | "::" => String::new(),
            name => name.to_owned(),
        };
        words(&config.listen_addresses).filter_map(|name| Address::new(&host(&name), port)).collect()
    } else {
        // Its text was checked.
        let info = ConnInfo::parse_with(&config.advertised_address, |_| None);
        let endpoints = info.map(|info| info.endpoints).unwrap_or_default();
        let address = |(endpoint, port): (Endpoint, u16)| match endpoint {
            Endpoint::Tcp(host) => Address::new(&host, port),
            Endpoint::Unix(folder) => Address::new(&folder.display().to_string(), port),
        };
        endpoints.into_iter().filter_map(address).collect()
    };
    if addresses.is_empty() {
        for folder in socket_dirs(&config, &ground.data_dir) {
            let folder = folder.display().to_string();
            match Address::new(&folder, port) {
                Some(address) => addresses.push(address),
                None => ground.log.warning(format!(
                    "other nodes are not told of this server: no connection string can name its socket folder \"{folder}\", \
                     so neither the roster nor a fence knows it"
                )),
            }
        }
    }
    addresses.truncate(ADDRESSES_MAX);
    addresses
}

/// Keeps the roster on disk, the streams told of it and the settings heeded.
pub(super) async fn keep(replication: Arc<Replication>) {
    let (ground, roster) = (replication.ground.clone(), replication.roster.clone());
    let (mut changes, mut reloads) = (roster.changes(), ground.reloads());
    let (mut failed, mut told_left_out) = (false, false);
    loop {
        changes.borrow_and_update();
        replication.note_run();
        tell_displaced(&replication, &mut told_left_out);
        // Before others hear of it: what a directory knows of itself is what they know.
        save(&replication, &mut failed).await;
        replication.senders.reloaded();
        if let Some(recovery) = replication.recovery() {
            recovery.tell_roster();
        }
        // Until the next change, or the next try.
        loop {
            tokio::select! {
                biased;
                changed = reloads.changed() => {
                    if changed.is_err() { return }
                    state(&ground, &roster);
                }
                changed = changes.changed() => if changed.is_err() { return } else { break },
                () = tokio::time::sleep(retell_interval(&ground)) => {
                    forget(&replication);
                    roster.change();
                }
                () = tokio::time::sleep(ground.config().fence_probe_interval), if failed => break,
            }
        }
    }
}

fn retell_interval(ground: &Ground) -> Duration {
    let least = Duration::from_secs(1);
    let by_setting = ground.config().roster_forget_after.map(|after| (after / 4).max(least));
    by_setting.unwrap_or(RETELL_INTERVAL).min(RETELL_INTERVAL)
}

async fn save(replication: &Replication, failed: &mut bool) {
    let (ground, roster) = (replication.ground.clone(), replication.roster.clone());
    let saved = blocking(move || {
        let (host, data_dir) = (&ground.host, &ground.data_dir);
        // Until it has who this node was, nothing but the roster's file of before does.
        let formers = former::save(host, data_dir, &roster);
        let members = if formers.is_ok() { file::save(host, data_dir, &roster) } else { Ok(()) };
        let heard = heard_file::save(host, data_dir, &roster);
        let saved = [(FORMER_FILE, formers), (ROSTER_FILE, members), (HEARD_FILE, heard)];
        saved.into_iter().find_map(|(name, saved)| saved.err().map(|error| (name, error)))
    });
    // Else the server ends.
    let Ok(error) = saved.await else { return };
    if let (Some((name, error)), false) = (&error, *failed) {
        let what = format!("could not write file \"{name}\"; it will be tried again");
        replication.ground.log.warning(format!("{what}: {error}"));
    }
    *failed = error.is_some();
}

/// Writes what was told of timelines; what fails is tried again by [`keep`], which tells of it.
pub(super) fn save_heard(ground: &Ground, roster: &Roster) {
    let _ = heard_file::save(&ground.host, &ground.data_dir, roster);
}

/// Waits until what was told of timelines is on disk.
pub(super) async fn keep_heard(replication: &Arc<Replication>) -> Result<(), ReplicaError> {
    let (ground, roster) = (replication.ground.clone(), replication.roster.clone());
    let saved = blocking(move || heard_file::save(&ground.host, &ground.data_dir, &roster));
    // Else the server ends.
    let Ok(Err(cause)) = saved.await else { return Ok(()) };
    Err(ReplicaError::File { what: "write", path: HEARD_FILE.to_owned(), cause })
}

/// Tells of those that had to go for others, and, once, that there was no room for others.
fn tell_displaced(replication: &Replication, told_left_out: &mut bool) {
    let ground = &replication.ground;
    for Displaced { member, by } in replication.roster.take_displaced() {
        let what = format!(
            "{} is forgotten: this server keeps {MEMBERS_MAX} other nodes, and \"{by}\" has come",
            describe(&member)
        );
        ground.log.warning(&what);
        record(&replication.ledger, &what);
    }
    if replication.roster.take_left_out() && !std::mem::replace(told_left_out, true) {
        let what = format!(
            "there are more nodes than the {MEMBERS_MAX} others that this server keeps: it does not ask the others \
             whether they have replaced it"
        );
        let hint =
            "Name those that may be promoted in plimsoll.peers, or lower plimsoll.roster_forget_after.";
        ground.log.write(None, &Report::warning(SqlState::WARNING, what).with_hint(hint), None);
    }
}

/// Forgets who was silent for too long.
fn forget(replication: &Replication) {
    if !replication.note_run() {
        return;
    }
    let ground = &replication.ground;
    let Some(after) = ground.config().roster_forget_after else { return };
    for member in replication.roster.forget(after, ground.host.clock.monotonic()) {
        let what = format!(
            "{} is forgotten: nobody has heard of it for plimsoll.roster_forget_after",
            describe(&member)
        );
        ground.log.log(&what);
        record(&replication.ledger, &what);
    }
}

fn record(ledger: &Ledger, what: &str) {
    ledger.record("member_forgotten", (Lsn::INVALID, Lsn::INVALID), what);
}

/// A member in messages.
fn describe(member: &Member) -> String {
    let addresses: Vec<String> = member.addresses.iter().map(ToString::to_string).collect();
    format!("member \"{}\" at {}", member.name, addresses.join(", "))
}

/// An address of somebody whom this node knows.
pub(crate) struct RosterRow {
    pub(crate) member: Option<DirectoryId>,
    pub(crate) name: Option<String>,
    pub(crate) host: Option<String>,
    pub(crate) port: Option<u16>,
    /// How it is known.
    pub(crate) source: &'static str,
    /// Since when nobody has heard of it.
    pub(crate) silent: Option<Duration>,
    pub(crate) told: Option<Told>,
}

/// This node, the members, and those that the settings name.
pub(crate) fn rows(replication: &Replication) -> Vec<RosterRow> {
    let (ground, roster) = (&replication.ground, &replication.roster);
    let row = |address: &Address, source| RosterRow {
        member: None,
        name: None,
        host: Some(address.host().to_owned()),
        port: Some(address.port()),
        source,
        silent: None,
        told: last_word(replication, &address.to_string()),
    };
    let own_name = Some(follows_as(&ground.config()));
    let own = |address: Address| RosterRow {
        member: Some(roster.own_id()),
        name: own_name.clone(),
        host: Some(address.host()).filter(|host| !host.is_empty()).map(str::to_owned),
        told: None,
        ..row(&address, "this node")
    };
    let now = ground.host.clock.monotonic();
    let members = roster.members();
    let members = members.iter().flat_map(|member| {
        member.addresses.iter().map(|address| RosterRow {
            member: Some(member.id),
            name: Some(member.name.clone()),
            silent: Some(member.silent_for(now)),
            ..row(address, "replication")
        })
    });
    let named = targets(replication).into_iter().filter(Target::is_named).map(|target| RosterRow {
        member: None,
        name: None,
        host: None,
        port: None,
        source: "plimsoll.peers",
        silent: None,
        told: last_word(replication, &target.name),
    });
    own_addresses(ground).into_iter().map(own).chain(members).chain(named).collect()
}
