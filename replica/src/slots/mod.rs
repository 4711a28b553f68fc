//! Replication slots: names under which receivers keep WAL on this server.
//!
//! A slot's position moves in memory with every report of its receiver and is written at checkpoints and
//! clean stops, as in PostgreSQL: after a crash it stands a little back, which only keeps more WAL. So one
//! that moves back is written at once, as the first word that its standby has readers is. What is asked
//! of a client (create, drop, copy, advance) is durable when the call returns.
//!
//! One lock guards the table; files are written under it, since commands on slots are rare. Reports take it
//! for a few instructions.

mod active;
pub(crate) mod copied;
mod file;
mod folders;
mod limits;
mod view;

pub use active::ActiveSlot;
pub use copied::{Copied, CopyNews, Refusal, UpstreamSlot};
pub use limits::{WalLimits, WalStatus};
pub use view::{GivenUp, SlotView};

use crate::error::ReplicaError;
use crate::lag::Pace;
use file::SlotState;
use folders::read_state;
use host::Mutex;
use host::{FileKind, Host, OpenMode, Timestamp};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::sync::Notify;
use wal::{BranchError, BranchObserver, Generations, LogState, Lsn, Xid};

const NAME_BYTES_MAX: usize = 63;
const STATE_FILE: &str = "state";
/// A forecast looks at the log's growth over this time: checkpoints and loads come in bursts.
const FORECAST_SPAN: Duration = Duration::from_secs(60);

/// How long a slot lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// Until it is dropped.
    Permanent,
    /// Until the session that made it ends, or the server.
    Temporary,
}

#[derive(Clone, Debug)]
struct Slot {
    lifetime: Lifetime,
    /// The session that uses it.
    active: Option<i32>,
    /// The session that a temporary one belongs to.
    owner: Option<i32>,
    restart: Lsn,
    /// The position in the file, never after `restart` by what a receiver tells. WAL is kept from here, so a
    /// crash finds what it says.
    saved: Lsn,
    invalidated_at: Lsn,
    /// Its file lacks something other than the position.
    unwritten: bool,
    /// Oldest transaction that the receiver's queries need (hot_standby_feedback).
    xmin: Option<Xid>,
    /// It follows the upstream's slot of this name.
    copied: bool,
    /// Since when nobody uses it, on the monotonic clock; None while somebody does, and of a copy, which the
    /// upstream's slot stands for.
    idle_since: Option<Duration>,
    /// How it moves against the end of the log.
    pace: Pace,
}

impl Slot {
    /// One that nobody uses.
    fn new(lifetime: Lifetime, restart: Lsn) -> Self {
        Self {
            lifetime,
            active: None,
            owner: None,
            restart,
            saved: restart,
            invalidated_at: Lsn::INVALID,
            unwritten: false,
            xmin: None,
            copied: false,
            idle_since: None,
            pace: Pace::over(FORECAST_SPAN),
        }
    }
    /// It lost its WAL when it stood at `at`. That is in force before its file says so.
    fn invalidate(&mut self, at: Lsn) {
        (self.restart, self.invalidated_at, self.unwritten) = (Lsn::INVALID, at, true);
    }
    /// Whether the session `pid` may use, move or drop it.
    fn is_free_for(&self, name: &str, pid: i32) -> Result<(), ReplicaError> {
        if self.copied {
            return Err(ReplicaError::SlotCopied(name.to_owned()));
        }
        match self.user_other_than(pid) {
            Some(pid) => Err(ReplicaError::SlotActive { name: name.to_owned(), pid }),
            None => Ok(()),
        }
    }
    fn user_other_than(&self, pid: i32) -> Option<i32> {
        // A temporary slot is its session's own even while no stream uses it.
        self.active.or(self.owner).filter(|user| *user != pid)
    }
    fn view(&self, name: &str) -> SlotView {
        SlotView {
            name: name.to_owned(),
            temporary: self.lifetime == Lifetime::Temporary,
            active_pid: self.active.or(self.owner),
            restart: self.restart,
            invalidated_at: self.invalidated_at,
            xmin: self.xmin,
            copied: self.copied,
            idle_since: self.idle_since,
            falls_behind: self.pace.growth_of_gap(),
        }
    }
    fn state(&self, name: &str) -> SlotState {
        SlotState {
            name: name.to_owned(),
            persistent: self.lifetime == Lifetime::Permanent,
            restart: self.restart,
            invalidated_at: self.invalidated_at,
            xmin: self.xmin,
            copied: self.copied,
        }
    }
}

/// The slots of a server; cloning shares them.
#[derive(Clone, Debug)]
pub struct Slots(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    host: Host,
    dir: PathBuf,
    max: usize,
    table: Mutex<BTreeMap<String, Slot>>,
    /// WAL before it goes or has gone. Read and moved while the table is locked.
    gone_before: AtomicU64,
    /// Those of the log. Read and moved while the table is locked: who was told of a position of a log that
    /// is left meanwhile moves no slot there.
    generations: Mutex<Generations>,
    /// What is known of the upstream's slots.
    upstream: Mutex<copied::OfUpstream>,
    /// Told whenever a slot becomes inactive, for DROP ... WAIT.
    released: Notify,
}

/// Checks a slot's name as PostgreSQL does.
///
/// # Errors
///
/// Fails if the name is too short, too long, or has other characters.
pub fn validate_name(name: &str) -> Result<(), ReplicaError> {
    if name.is_empty() {
        return Err(ReplicaError::SlotNameShort(name.to_owned()));
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(ReplicaError::SlotNameLong(name.to_owned()));
    }
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if name.bytes().all(allowed) { Ok(()) } else { Err(ReplicaError::SlotNameCharacter(name.to_owned())) }
}

/// The newest position that a slot of the folder `dir` (pg_replslot) keeps; INVALID if none does. Nothing is
/// changed.
///
/// # Errors
///
/// Fails if a slot's file is damaged or cannot be read.
pub fn newest_restart(host: &Host, dir: &Path) -> Result<Lsn, ReplicaError> {
    let entries = host.disk.list(dir).map_err(|cause| ReplicaError::file("list", dir, cause))?;
    let mut newest = Lsn::INVALID;
    for entry in entries {
        if entry.kind == FileKind::Directory && !entry.name.ends_with(".tmp") {
            let state = read_state(&*host.disk, &dir.join(&entry.name), &entry.name)?;
            newest = newest.max(if state.persistent { state.restart } else { Lsn::INVALID });
        }
    }
    Ok(newest)
}

/// No slot stands behind `end`.
fn cut(table: &mut BTreeMap<String, Slot>, end: Lsn) {
    table.values_mut().for_each(|slot| slot.restart = slot.restart.min(end));
}

fn oldest_of(table: &BTreeMap<String, Slot>) -> Option<Lsn> {
    let forgets = host::planted!("the log that a slot needs is removed");
    let needed = table.values().filter(|slot| !slot.invalidated_at.is_valid() && !forgets);
    needed.map(|slot| slot.saved).filter(|lsn| lsn.is_valid()).min()
}

impl Slots {
    /// Reads the slots of the folder `dir` (pg_replslot). What a crash left half made or half dropped is
    /// removed; a damaged file is an error. More slots than `max` are an error, as in PostgreSQL.
    ///
    /// # Errors
    ///
    /// Fails if a slot's file is damaged or cannot be read, or there are more than `max`.
    pub fn open(host: &Host, dir: &Path, max: usize) -> Result<Self, ReplicaError> {
        let shared = Shared {
            host: host.clone(),
            dir: dir.to_path_buf(),
            max,
            table: Mutex::default(),
            gone_before: AtomicU64::default(),
            generations: Mutex::default(),
            upstream: Mutex::default(),
            released: Notify::new(),
        };
        let slots = Self(Arc::new(shared));
        slots.load()?;
        Ok(slots)
    }

    fn load(&self) -> Result<(), ReplicaError> {
        let (disk, dir) = (&self.0.host.disk, &self.0.dir);
        let entries = disk.list(dir).map_err(|cause| ReplicaError::file("list", dir, cause))?;
        let mut table = self.0.table.lock();
        for entry in entries.into_iter().filter(|entry| entry.kind == FileKind::Directory) {
            let folder = dir.join(&entry.name);
            if entry.name.ends_with(".tmp") {
                self.remove_folder(&folder)?;
                continue;
            }
            let state = read_state(&**disk, &folder, &entry.name)?;
            if !state.persistent {
                self.remove(&entry.name)?;
                continue;
            }
            // A killed server may have left it to the kernel.
            let path = folder.join(STATE_FILE);
            let synced = disk.open(&path, OpenMode::ReadWrite).and_then(|file| file.sync());
            synced
                .and_then(|()| disk.sync_dir(&folder))
                .and_then(|()| disk.sync_dir(dir))
                .map_err(|cause| ReplicaError::file("sync", &path, cause))?;
            let slot = Slot {
                invalidated_at: state.invalidated_at,
                xmin: state.xmin,
                copied: state.copied,
                idle_since: (!state.copied).then(|| self.0.host.clock.monotonic()),
                ..Slot::new(Lifetime::Permanent, state.restart)
            };
            table.insert(entry.name, slot);
        }
        // Copies go, or become what the upstream says, once this node is up.
        let own = table.values().filter(|slot| !slot.copied).count();
        if own > self.0.max { Err(ReplicaError::SlotsSurplus) } else { Ok(()) }
    }

    /// Creates a slot that the session `pid` then uses if it is temporary. With `reserve`, WAL is kept from
    /// the position it returns on (the redo point); it is asked under the lock that [`Slots::oldest`] takes.
    ///
    /// # Errors
    ///
    /// Fails if the name is invalid or taken, no slot is free, or the file cannot be written.
    pub fn create(
        &self,
        name: &str,
        lifetime: Lifetime,
        reserve: Option<&dyn Fn() -> Lsn>,
        pid: i32,
    ) -> Result<SlotView, ReplicaError> {
        let mut table = self.0.table.lock();
        self.insert(
            &mut table,
            name,
            lifetime,
            || reserve.map_or(Lsn::INVALID, |redo_point| redo_point()),
            pid,
        )
    }

    fn insert(
        &self,
        table: &mut BTreeMap<String, Slot>,
        name: &str,
        lifetime: Lifetime,
        restart: impl FnOnce() -> Lsn,
        pid: i32,
    ) -> Result<SlotView, ReplicaError> {
        validate_name(name)?;
        if self.0.max == 0 {
            return Err(ReplicaError::SlotsOff);
        }
        if table.contains_key(name) {
            return Err(ReplicaError::SlotExists(name.to_owned()));
        }
        if table.len() >= self.0.max {
            return Err(ReplicaError::SlotsFull);
        }
        let restart = restart();
        let slot = Slot {
            owner: (lifetime == Lifetime::Temporary).then_some(pid),
            idle_since: Some(self.0.host.clock.monotonic()),
            ..Slot::new(lifetime, restart)
        };
        self.write_new(name, &slot)?;
        let view = slot.view(name);
        table.insert(name.to_owned(), slot);
        Ok(view)
    }

    /// Copies a slot that reserves WAL.
    ///
    /// # Errors
    ///
    /// Fails if there is no such slot, it keeps no log, or as [`Slots::create`].
    pub fn copy(&self, from: &str, to: &str, lifetime: Lifetime, pid: i32) -> Result<SlotView, ReplicaError> {
        let mut table = self.0.table.lock();
        let source = table.get(from).ok_or_else(|| ReplicaError::NoSlot(from.to_owned()))?;
        if source.invalidated_at.is_valid() {
            return Err(ReplicaError::SlotInvalidated(from.to_owned()));
        }
        if !source.restart.is_valid() {
            return Err(ReplicaError::SlotNotCopied);
        }
        // The saved position: what the source holds back for sure.
        let restart = source.saved;
        self.insert(&mut table, to, lifetime, || restart, pid)
    }

    /// Takes a slot for the session `pid`.
    ///
    /// # Errors
    ///
    /// Fails if there is no such slot, somebody uses it, or it has lost its log.
    pub fn acquire(&self, name: &str, pid: i32) -> Result<ActiveSlot, ReplicaError> {
        let mut table = self.0.table.lock();
        let slot = table.get_mut(name).ok_or_else(|| ReplicaError::NoSlot(name.to_owned()))?;
        slot.is_free_for(name, pid)?;
        // One that was given up may be used too, with WAL from elsewhere; what it needed before is gone.
        if slot.invalidated_at.is_valid() {
            (slot.xmin, slot.unwritten) = (None, true);
        }
        (slot.active, slot.idle_since) = (Some(pid), None);
        Ok(ActiveSlot { slots: self.clone(), name: name.to_owned(), pid })
    }

    /// Drops a slot that no other session uses.
    ///
    /// # Errors
    ///
    /// Fails if there is no such slot, somebody uses it, or its file cannot be removed.
    pub fn drop_slot(&self, name: &str, pid: i32) -> Result<(), ReplicaError> {
        let mut table = self.0.table.lock();
        let slot = table.get(name).ok_or_else(|| ReplicaError::NoSlot(name.to_owned()))?;
        slot.is_free_for(name, pid)?;
        self.remove(name)?;
        table.remove(name);
        drop(table);
        self.0.released.notify_waiters();
        Ok(())
    }

    /// DROP_REPLICATION_SLOT ... WAIT: drops it as soon as nobody uses it.
    ///
    /// # Errors
    ///
    /// As [`Slots::drop_slot`], but for one that is used.
    pub async fn drop_when_free(&self, name: &str, pid: i32) -> Result<(), ReplicaError> {
        loop {
            let released = self.0.released.notified();
            tokio::pin!(released);
            released.as_mut().enable();
            match self.drop_slot(name, pid) {
                Err(ReplicaError::SlotActive { .. }) => released.await,
                other => return other,
            }
        }
    }

    /// The session `pid` has ended: its temporary slots go.
    ///
    /// # Errors
    ///
    /// Fails if a temporary slot's file cannot be removed.
    pub fn release_session(&self, pid: i32) -> Result<(), ReplicaError> {
        let mut table = self.0.table.lock();
        let owned = table.iter().filter(|(_, slot)| slot.owner == Some(pid));
        let names: Vec<String> = owned.map(|(name, _)| name.clone()).collect();
        if names.is_empty() {
            return Ok(());
        }
        for name in names {
            self.remove(&name)?;
            table.remove(&name);
        }
        drop(table);
        self.0.released.notify_waiters();
        Ok(())
    }

    /// pg_replication_slot_advance: moves a slot that nobody uses to `to`, or to `end`, that of the log of
    /// this generation, if that is less; durable when it returns. Gives the position reached.
    ///
    /// # Errors
    ///
    /// Fails if there is no such slot, it cannot move there, or its file cannot be written.
    pub fn advance(
        &self,
        name: &str,
        to: Lsn,
        (end, generation): (Lsn, u64),
        pid: i32,
    ) -> Result<Lsn, ReplicaError> {
        let mut table = self.0.table.lock();
        let slot = table.get_mut(name).ok_or_else(|| ReplicaError::NoSlot(name.to_owned()))?;
        slot.is_free_for(name, pid)?;
        // Who moves it uses it for a moment, also to no purpose.
        slot.idle_since = slot.idle_since.map(|_| self.0.host.clock.monotonic());
        if !slot.restart.is_valid() {
            return Err(ReplicaError::SlotNotAdvanced(name.to_owned()));
        }
        let to = to.min(self.of_this_log(end, generation));
        if to < slot.restart {
            return Err(ReplicaError::SlotBackwards { to, minimum: slot.restart });
        }
        self.write_as(name, slot, to)?;
        Ok(to)
    }

    /// One slot.
    ///
    /// # Errors
    ///
    /// Fails if there is no such slot.
    pub fn find(&self, name: &str) -> Result<SlotView, ReplicaError> {
        let table = self.0.table.lock();
        let slot = table.get(name).ok_or_else(|| ReplicaError::NoSlot(name.to_owned()))?;
        Ok(slot.view(name))
    }

    /// All slots by name.
    pub fn list(&self) -> Vec<SlotView> {
        self.0.table.lock().iter().map(|(name, slot)| slot.view(name)).collect()
    }

    /// The oldest position that a slot needs, as its file says; None if none does. WAL before it may go.
    pub fn oldest(&self) -> Option<Lsn> {
        oldest_of(&self.0.table.lock())
    }

    /// The oldest transaction that receivers' queries need. Nobody comes back for what a lost slot's needed.
    pub fn oldest_xmin(&self) -> Option<Xid> {
        let table = self.0.table.lock();
        table.values().filter(|slot| !slot.invalidated_at.is_valid()).filter_map(|slot| slot.xmin).min()
    }

    /// Writes what changed since it was last written; called by each checkpoint and clean stop. One that
    /// cannot be written keeps none of the others from it.
    ///
    /// # Errors
    ///
    /// Fails if a slot's file cannot be written.
    pub fn save(&self) -> Result<(), ReplicaError> {
        let mut result = Ok(());
        for (name, slot) in self.0.table.lock().iter_mut() {
            if host::planted!("a slot's restart is not saved") {
                slot.saved = slot.restart;
            }
            result = result.and(self.write_if_changed(name, slot));
        }
        result
    }

    /// The log ends at `end`, whatever was told of later positions.
    pub fn end_at(&self, end: Lsn) {
        cut(&mut self.0.table.lock(), end);
    }

    /// As much of a position in the log of this generation as the present log has, too. With the table
    /// locked.
    fn of_this_log(&self, at: Lsn, generation: u64) -> Lsn {
        at.min(self.0.generations.lock().kept_since(generation))
    }

    /// Notes how the slots stand against the end of the log, for forecasts.
    pub fn note_pace(&self, end: Lsn, now: Timestamp) {
        for slot in self.0.table.lock().values_mut().filter(|slot| slot.restart.is_valid()) {
            slot.pace.note(slot.restart, end.max(slot.restart), now);
        }
    }

    /// Gives up slots that need WAL before `kept_from`; returns them as they were, for the log. A session
    /// that uses one has lost it and has to be ended. The others' files say by then that they do not need it.
    pub fn invalidate_before(&self, kept_from: Lsn) -> GivenUp {
        for (name, slot) in self.0.table.lock().iter_mut() {
            if slot.saved < kept_from && slot.restart >= kept_from && self.write(name, slot).is_err() {
                // Its file asks for more, which is not kept.
                (slot.saved, slot.unwritten) = (slot.restart, true);
            }
        }
        self.invalidate(|slot| slot.restart < kept_from)
    }

    /// Gives up slots that nobody has used since `since`, on the monotonic clock; copies are the upstream's
    /// to give up.
    pub fn invalidate_idle(&self, since: Duration) -> GivenUp {
        self.invalidate(|slot| {
            !slot.copied && slot.owner.is_none() && slot.idle_since.is_some_and(|idle| idle < since)
        })
    }

    /// This process did not run for so long until now: nobody could use a slot meanwhile.
    pub fn excuse(&self, lost: Duration) {
        let mut table = self.0.table.lock();
        let now = self.0.host.clock.monotonic();
        for since in table.values_mut().filter_map(|slot| slot.idle_since.as_mut()) {
            *since = since.saturating_add(lost).min(now);
        }
    }

    fn invalidate(&self, goes: impl Fn(&Slot) -> bool) -> GivenUp {
        let mut given_up = GivenUp::default();
        let mut table = self.0.table.lock();
        for (name, slot) in table.iter_mut() {
            if slot.restart.is_valid() && goes(slot) && !slot.invalidated_at.is_valid() {
                let mut view = slot.view(name);
                slot.invalidate(slot.restart);
                slot.active = None;
                // It is lost whatever its file says, which the next save makes good.
                let written = self.write(name, slot);
                given_up.unwritten.extend(written.err());
                view.invalidated_at = slot.invalidated_at;
                given_up.slots.push(view);
            }
        }
        given_up
    }
}

impl BranchObserver for Slots {
    /// A receiver that was further holds what is no part of this log. A file that says more would let log go
    /// that its slot needs, once a start has read it.
    fn before_branch(&self, kept: Lsn) -> Result<(), BranchError> {
        let forgets = host::planted!("a slot is cut in memory alone");
        if forgets || host::planted!("a slot's restart stays behind a cut") {
            return Ok(());
        }
        for (name, slot) in self.0.table.lock().iter_mut().filter(|(_, slot)| slot.saved > kept) {
            slot.restart = slot.restart.min(kept);
            self.write(name, slot).map_err(|error| BranchError::Observer(error.to_string()))?;
        }
        Ok(())
    }

    /// The same again: receivers may have told more since.
    fn branched(&self, state: &LogState) {
        if host::planted!("a slot's restart stays behind a cut") {
            return;
        }
        let mut table = self.0.table.lock();
        self.0.generations.lock().clone_from(&state.generations);
        cut(&mut table, state.kept());
        if host::planted!("a slot is cut in memory alone") {
            return;
        }
        for (name, slot) in table.iter_mut().filter(|(_, slot)| slot.saved > slot.restart) {
            if self.write(name, slot).is_err() {
                // The next save makes it good.
                slot.unwritten = true;
            }
        }
    }
}

#[cfg(test)]
mod tests;
