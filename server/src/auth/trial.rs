//! What pg_hba.conf and pg_ident.conf say, without a server.

use super::hba::{Candidate, Hba, HbaError, Verdict};
use super::ident::IdentMaps;
use std::io;
use std::net::IpAddr;
use std::path::Path;

/// Both files, read as a server reads them.
#[derive(Clone, Debug)]
pub struct LoginFiles {
    hba: Hba,
    maps: IdentMaps,
}

impl LoginFiles {
    /// Reads the texts of both. `read` reads the files that they name with @.
    ///
    /// # Errors
    ///
    /// All lines that cannot be read, with their places.
    pub fn parse(
        hba: &str,
        ident: &str,
        read: &dyn Fn(&Path) -> io::Result<String>,
    ) -> Result<Self, Vec<HbaError>> {
        let hba = Hba::parse(hba, Path::new("pg_hba.conf"), read)?;
        let maps = IdentMaps::parse(ident, Path::new("pg_ident.conf"), read)?;
        Ok(Self { hba, maps })
    }

    /// The method by which a user, a member of no other role, may log in to a database without TLS from an
    /// address, or by the Unix socket. None if no rule fits.
    pub fn method(&self, address: Option<IpAddr>, user: &str, database: &str) -> Option<&'static str> {
        let roles = [user.to_owned()];
        let candidate = Candidate {
            address,
            interfaces: Vec::new,
            user,
            database,
            replication: false,
            encrypted: false,
            roles: Some(&roles),
            name: None,
        };
        match self.hba.verdict(&candidate) {
            Verdict::Rule(rule) => Some(rule.method.name()),
            Verdict::Nothing | Verdict::NeedsRoles | Verdict::NeedsName => None,
        }
    }

    /// Whether a map lets a name outside be a role.
    pub fn maps(&self, map: &str, outside: &str, role: &str) -> bool {
        self.maps.check(Some(map), outside, role).is_ok()
    }
}
