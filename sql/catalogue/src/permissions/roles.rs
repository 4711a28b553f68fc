//! Which roles have whose rights.

use crate::model::{BOOTSTRAP_ROLE_OID, Catalogue, POSTGRES_DATABASE, Role};
use crate::rights::{Members, Membership, predefined};

/// Memberships that nobody makes.
pub(crate) fn predefined_memberships() -> impl Iterator<Item = Membership> {
    use predefined::{MONITOR, READ_ALL_SETTINGS, READ_ALL_STATS, STAT_SCAN_TABLES};
    [READ_ALL_SETTINGS, READ_ALL_STATS, STAT_SCAN_TABLES].into_iter().map(|role| Membership {
        role,
        member: MONITOR,
        grantor: BOOTSTRAP_ROLE_OID,
        admin: false,
    })
}

impl Membership {
    /// Whether it is one that nobody makes, or takes the place of one.
    pub fn is_predefined(&self) -> bool {
        predefined_memberships().any(|known| (known.role, known.member) == (self.role, self.member))
    }
}

/// The roles that nobody makes.
pub(crate) fn predefined_roles() -> impl Iterator<Item = Role> {
    predefined::ALL.into_iter().map(|(oid, name)| Role { oid, name: name.to_owned(), ..Role::plain() })
}

impl Catalogue {
    fn is_superuser(&self, role: u32) -> bool {
        self.roles.get(&role).is_some_and(|role| role.superuser)
    }

    /// Who owns the database that is used, and so is a member of pg_database_owner.
    fn database_owner(&self) -> Option<u32> {
        self.databases.iter().find(|entry| entry.oid == POSTGRES_DATABASE).map(|entry| entry.owner)
    }

    /// The role itself and all that it is a member of, however far, the nearest first. `inherited`: only
    /// those whose rights it has without SET ROLE.
    pub fn roles_of(&self, role: u32, inherited: bool) -> Vec<u32> {
        let mut found = vec![role];
        let mut next = 0;
        while let Some(member) = found.get(next).copied() {
            next += 1;
            if inherited && self.roles.get(&member).is_some_and(|role| !role.inherit) {
                continue;
            }
            let owned = (self.database_owner() == Some(member)).then_some(predefined::DATABASE_OWNER);
            let granted = self.rights.members.of_member(member).iter().map(|membership| membership.role);
            for role in granted.chain(owned) {
                if !found.contains(&role) {
                    found.push(role);
                }
            }
        }
        found
    }

    /// Whether a role has all rights of another without SET ROLE.
    pub fn has_rights_of(&self, role: u32, of: u32) -> bool {
        role == of || self.is_superuser(role) || self.roles_of(role, true).contains(&of)
    }

    /// Whether a role may become another by SET ROLE.
    pub fn is_member_of(&self, role: u32, of: u32) -> bool {
        self.is_superuser(role) || self.is_member_but_superuser(role, of)
    }

    /// Whether a role is another or a member of it, were it no superuser.
    pub fn is_member_but_superuser(&self, role: u32, of: u32) -> bool {
        role == of || self.roles_of(role, false).contains(&of)
    }

    /// Whether a role may make others members of this one: by the admin option, of itself or of one that it
    /// is a member of. No role has it on itself.
    pub fn is_admin_of(&self, role: u32, of: u32) -> bool {
        if self.is_superuser(role) {
            return true;
        }
        if role == of {
            return false;
        }
        let all = self.roles_of(role, false);
        all.iter().any(|member| {
            self.rights.members.of_member(*member).iter().any(|found| found.role == of && found.admin)
        })
    }
}

impl Members for Catalogue {
    fn has_rights_of(&self, role: u32, of: u32) -> bool {
        Self::has_rights_of(self, role, of)
    }
}
