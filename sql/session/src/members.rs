//! GRANT and REVOKE of roles: who is a member of which (user.c of PostgreSQL 15).

use super::SqlSession;
use super::grant::invalid_grant;
use super::rights::denied;
use sql_catalogue::Role;
use sql_catalogue::grants;
use sql_catalogue::rights::{Membership, PUBLIC, predefined};
use sql_catalogue::store::{self, Base};
use sql_interface::{CommandTag, Result, Severity, SqlError};
use sql_language::parse::{MemberGrant, RoleOption, RoleSpec};
use sqlstate::SqlState;
use std::sync::Arc;

impl SqlSession {
    /// GRANT role TO role, and REVOKE role FROM role.
    pub(super) async fn grant_role(&mut self, grant: &MemberGrant) -> Result<CommandTag> {
        let word = match (grant.of_group, grant.is_grant) {
            (true, _) => "ALTER ROLE",
            (false, true) => "GRANT ROLE",
            (false, false) => "REVOKE ROLE",
        };
        self.begin_role_change(word).await?;
        let grantor = match &grant.granted_by {
            Some(by) => self.role_of(by)?,
            None => self.role.oid,
        };
        let mut members = Vec::with_capacity(grant.members.len());
        for member in &grant.members {
            members.push(self.member_of(member)?);
        }
        for named in &grant.roles {
            if !named.columns.is_empty() {
                return Err(invalid_grant("column names cannot be included in GRANT/REVOKE ROLE"));
            }
            let role = self.role_named(&named.name)?;
            if grant.of_group {
                let change = RoleOption::Members { roles: Vec::new(), admin: false };
                self.may_alter(&role, &[change])?;
            }
            if grant.is_grant {
                self.add_members(&role, &members, (grantor, grant.admin)).await?;
            } else {
                self.take_members(&role, &members, grant.admin).await?;
            }
        }
        Ok(CommandTag::Words(word))
    }

    pub(super) fn role_named(&self, name: &str) -> Result<Arc<Role>> {
        self.facts.catalogue.role(name).cloned().ok_or_else(|| {
            SqlError::new(SqlState::UNDEFINED_OBJECT, format!("role \"{name}\" does not exist"))
        })
    }

    pub(super) fn role_name(&self, oid: u32) -> String {
        self.facts.catalogue.roles.get(&oid).map_or_else(|| oid.to_string(), |role| role.name.clone())
    }

    /// A role that is to become a member, or not to be one any more: everybody cannot.
    fn member_of(&self, spec: &RoleSpec) -> Result<u32> {
        match self.role_of(spec)? {
            PUBLIC => Err(SqlError::new(SqlState::UNDEFINED_OBJECT, "role \"public\" does not exist")),
            member => Ok(member),
        }
    }

    fn may_administer(&self, role: &Role, by: u32) -> Result<()> {
        if role.superuser {
            return if self.role.superuser {
                Ok(())
            } else {
                Err(denied("must be superuser to alter superusers"))
            };
        }
        let may =
            self.role.superuser || self.role.create_role || self.facts.catalogue.is_admin_of(by, role.oid);
        if may {
            return Ok(());
        }
        Err(denied(format!("must have admin option on role \"{}\"", role.name)))
    }

    /// Makes roles members of another.
    pub(super) async fn add_members(
        &mut self,
        role: &Role,
        members: &[u32],
        (grantor, admin): (u32, bool),
    ) -> Result<()> {
        if members.is_empty() {
            return Ok(());
        }
        self.may_administer(role, grantor)?;
        if role.oid == predefined::DATABASE_OWNER {
            let message = format!("role \"{}\" cannot have explicit members", role.name);
            return Err(SqlError::internal(message));
        }
        if grantor != self.role.oid && !self.role.superuser {
            return Err(denied("must be superuser to set grantor"));
        }
        for member in members {
            let name = self.role_name(*member);
            if *member == predefined::DATABASE_OWNER {
                let message = format!("role \"{name}\" cannot be a member of any role");
                return Err(SqlError::internal(message));
            }
            for role in [role.oid, *member] {
                if !store::hold(self.transaction()?, Base::Role(role)).await? && !self.is_new_role(role) {
                    let name = self.role_name(role);
                    let message = format!("role \"{name}\" does not exist");
                    return Err(SqlError::new(SqlState::UNDEFINED_OBJECT, message));
                }
            }
            // What this statement itself has said counts, too.
            self.begin_statement().await?;
            let catalogue = self.catalogue().await?;
            if catalogue.is_member_but_superuser(role.oid, *member) {
                let message = format!("role \"{}\" is a member of role \"{name}\"", role.name);
                return Err(invalid_grant(message));
            }
            let known = catalogue.rights.members.get(role.oid, *member);
            if known.is_some_and(|known| known.admin || !admin) {
                self.notice(format!("role \"{name}\" is already a member of role \"{}\"", role.name));
                continue;
            }
            let membership = Membership { role: role.oid, member: *member, grantor, admin };
            grants::put_membership(self.transaction()?, &membership).await?;
            self.catalogue_changed();
        }
        Ok(())
    }

    /// A role that this transaction has made: nobody else can drop it.
    pub(super) fn is_new_role(&self, role: u32) -> bool {
        self.facts.catalogue.roles.contains_key(&role)
            && self.block.as_ref().is_some_and(|block| block.catalogue_changed)
    }

    /// Takes memberships away, or (`admin`) the admin option alone.
    async fn take_members(&mut self, role: &Role, members: &[u32], admin: bool) -> Result<()> {
        if members.is_empty() {
            return Ok(());
        }
        self.may_administer(role, self.role.oid)?;
        for member in members {
            self.begin_statement().await?;
            let catalogue = self.catalogue().await?;
            let Some(known) = catalogue.rights.members.get(role.oid, *member) else {
                let name = self.role_name(*member);
                let message = format!("role \"{name}\" is not a member of role \"{}\"", role.name);
                self.notices.push(SqlError::report(Severity::Warning, SqlState::WARNING, message));
                continue;
            };
            if known.is_predefined() && !admin {
                let (name, of) = (self.role_name(*member), &role.name);
                let what = format!("ending the membership of role \"{name}\" in role \"{of}\"");
                return Err(SqlError::unsupported(what));
            }
            let transaction = self.transaction()?;
            if admin {
                grants::put_membership(transaction, &Membership { admin: false, ..known }).await?;
            } else {
                grants::delete_membership(transaction, role.oid, *member).await?;
            }
            self.catalogue_changed();
        }
        Ok(())
    }
}
