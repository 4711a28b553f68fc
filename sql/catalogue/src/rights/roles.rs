//! The roles that every directory has, and memberships.

use std::collections::HashMap;

/// The roles of PostgreSQL 15 that nobody makes, by their OIDs. They are not stored.
pub mod predefined {
    /// Whoever owns the database at hand: its one member, and by itself.
    pub const DATABASE_OWNER: u32 = 6171;
    /// Reads all tables, views and sequences.
    pub const READ_ALL_DATA: u32 = 6181;
    /// Writes all tables.
    pub const WRITE_ALL_DATA: u32 = 6182;
    /// Reads all that monitoring needs.
    pub const MONITOR: u32 = 3373;
    /// Reads the settings that are for superusers.
    pub const READ_ALL_SETTINGS: u32 = 3374;
    /// Sees of all sessions what they do.
    pub const READ_ALL_STATS: u32 = 3375;
    /// Runs monitoring functions that lock tables for long.
    pub const STAT_SCAN_TABLES: u32 = 3377;
    /// Reads files of the server.
    pub const READ_SERVER_FILES: u32 = 4569;
    /// Writes files of the server, as BASE_BACKUP to a target does.
    pub const WRITE_SERVER_FILES: u32 = 4570;
    /// Runs programs on the server.
    pub const EXECUTE_SERVER_PROGRAM: u32 = 4571;
    /// Cancels and ends other sessions.
    pub const SIGNAL_BACKEND: u32 = 4200;
    /// Runs CHECKPOINT.
    pub const CHECKPOINT: u32 = 4544;

    /// OIDs and names.
    pub(crate) const ALL: [(u32, &str); 12] = [
        (DATABASE_OWNER, "pg_database_owner"),
        (READ_ALL_DATA, "pg_read_all_data"),
        (WRITE_ALL_DATA, "pg_write_all_data"),
        (MONITOR, "pg_monitor"),
        (READ_ALL_SETTINGS, "pg_read_all_settings"),
        (READ_ALL_STATS, "pg_read_all_stats"),
        (STAT_SCAN_TABLES, "pg_stat_scan_tables"),
        (READ_SERVER_FILES, "pg_read_server_files"),
        (WRITE_SERVER_FILES, "pg_write_server_files"),
        (EXECUTE_SERVER_PROGRAM, "pg_execute_server_program"),
        (SIGNAL_BACKEND, "pg_signal_backend"),
        (CHECKPOINT, "pg_checkpoint"),
    ];

    /// Whether this is one of them.
    pub fn contains(oid: u32) -> bool {
        ALL.iter().any(|(known, _)| *known == oid)
    }

    /// The OID of one of them by its name.
    pub fn oid(name: &str) -> Option<u32> {
        ALL.iter().find(|(_, known)| *known == name).map(|(oid, _)| *oid)
    }
}

/// That one role is a member of another (pg_auth_members).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The role that has members.
    pub role: u32,
    /// The one that is a member.
    pub member: u32,
    /// Who said so.
    pub grantor: u32,
    /// WITH ADMIN OPTION: it may make others members.
    pub admin: bool,
}

/// All memberships, by the role that is a member.
#[derive(Clone, Debug, Default)]
pub struct Memberships(HashMap<u32, Vec<Membership>>);

impl Memberships {
    /// Adds one, in the place of what was said of the same two roles before.
    pub(crate) fn add(&mut self, membership: Membership) {
        let of_member = self.0.entry(membership.member).or_default();
        match of_member.iter_mut().find(|known| known.role == membership.role) {
            Some(known) => *known = membership,
            None => of_member.push(membership),
        }
    }
    /// What this role is a member of.
    pub fn of_member(&self, member: u32) -> &[Membership] {
        self.0.get(&member).map_or(&[], Vec::as_slice)
    }
    /// All of them, by their OIDs.
    pub fn sorted(&self) -> Vec<Membership> {
        let mut all: Vec<Membership> = self.0.values().flatten().copied().collect();
        all.sort_by_key(|membership| (membership.role, membership.member));
        all
    }
    /// One of them.
    pub fn get(&self, role: u32, member: u32) -> Option<Membership> {
        self.of_member(member).iter().find(|membership| membership.role == role).copied()
    }
}
