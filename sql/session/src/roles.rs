//! CREATE, ALTER and DROP ROLE. Who may do what is PostgreSQL 15's (user.c).

use super::SqlSession;
use super::owners::is_pinned;
use super::rights::denied;
use host::Timestamp;
use sql_catalogue::grants;
use sql_catalogue::store::{self, Base};
use sql_catalogue::{BOOTSTRAP_ROLE_OID, Role};
use sql_interface::{CommandTag, Result, SqlError};
use sql_language::parse::{RoleOption, RoleSpec};
use sql_types::{Datum, Type, TypeId};
use sqlstate::SqlState;
use std::sync::Arc;

impl SqlSession {
    /// 42501 with this message for all but superusers.
    fn require_superuser(&self, message: &str) -> Result<()> {
        if self.role.superuser { Ok(()) } else { Err(denied(message)) }
    }

    /// 42501 with this message for roles that have neither CREATEROLE nor SUPERUSER.
    fn require_create_role(&self, message: &str) -> Result<()> {
        if self.role.superuser || self.role.create_role { Ok(()) } else { Err(denied(message)) }
    }

    fn apply_options(&mut self, role: &mut Role, options: &[RoleOption]) -> Result<()> {
        for option in options {
            match option {
                RoleOption::Superuser(yes) => role.superuser = *yes,
                RoleOption::Login(yes) => role.login = *yes,
                RoleOption::Replication(yes) => role.replication = *yes,
                RoleOption::CreateRole(yes) => role.create_role = *yes,
                RoleOption::CreateDatabase(yes) => role.create_database = *yes,
                RoleOption::Inherit(yes) => role.inherit = *yes,
                RoleOption::BypassRls(yes) => role.bypass_rls = *yes,
                // Those come when the role is there.
                RoleOption::MemberOf(_) | RoleOption::Members { .. } => {}
                RoleOption::ConnectionLimit(limit) => role.connection_limit = *limit,
                RoleOption::Password(None) => role.password = None,
                RoleOption::Password(Some(text)) if is_md5(text) => {
                    return Err(SqlError::unsupported("a password that is an MD5 hash"));
                }
                RoleOption::Password(Some(text)) => {
                    role.password = match text.is_empty() {
                        true => None,
                        false => self.environment.password_verifier(text)?,
                    };
                    if role.password.is_none() {
                        self.notice("empty string is not a valid password, clearing password".to_owned());
                    }
                }
                RoleOption::ValidUntil(text) => {
                    role.valid_until =
                        match Datum::parse(Type::of(TypeId::Timestamptz), text, &self.facts.style)? {
                            Datum::Timestamptz(micros) => Some(Timestamp::from_micros(micros)),
                            _ => None,
                        };
                }
            }
        }
        Ok(())
    }

    /// Begins a statement that changes roles, rights or owners: alone, and with what others have left.
    pub(super) async fn begin_role_change(&mut self, word: &str) -> Result<()> {
        self.refuse_in_read_only(true, word)?;
        self.begin_statement().await?;
        grants::lock_roles(self.transaction()?).await?;
        self.begin_statement().await?;
        self.catalogue().await?;
        Ok(())
    }

    /// Keeps a role from being dropped until the transaction ends, because it gets something.
    pub(super) async fn hold_role(&mut self, role: u32) -> Result<()> {
        if store::hold(self.transaction()?, Base::Role(role)).await? || self.is_new_role(role) {
            return Ok(());
        }
        let message = format!("role {role} was concurrently dropped");
        Err(SqlError::new(SqlState::UNDEFINED_OBJECT, message))
    }

    fn find_role(&self, name: &str) -> Result<Arc<Role>> {
        self.facts.catalogue.role(name).cloned().ok_or_else(|| {
            SqlError::new(SqlState::UNDEFINED_OBJECT, format!("role \"{name}\" does not exist"))
        })
    }

    pub(super) async fn create_role(&mut self, name: &str, options: &[RoleOption]) -> Result<CommandTag> {
        self.begin_role_change("CREATE ROLE").await?;
        let mut role =
            Role { oid: self.engine.database().allocate_number()?, name: name.to_owned(), ..Role::plain() };
        self.apply_options(&mut role, options)?;
        if role.superuser {
            self.require_superuser("must be superuser to create superusers")?;
        } else if role.replication {
            self.require_superuser("must be superuser to create replication users")?;
        } else if role.bypass_rls {
            self.require_superuser("must be superuser to create bypassrls users")?;
        } else {
            self.require_create_role("permission denied to create role")?;
        }
        refuse_reserved(name)?;
        if store::lock_role_name(self.transaction()?, name).await? {
            return Err(SqlError::new(SqlState::DUPLICATE_OBJECT, format!("role \"{name}\" already exists")));
        }
        store::put_role(self.transaction()?, &role).await?;
        if role.bypass_rls {
            grants::put_attributes(self.transaction()?, &role).await?;
        }
        self.catalogue_changed();
        self.join_roles(&role, options).await?;
        Ok(CommandTag::Words("CREATE ROLE"))
    }

    /// What CREATE ROLE says of memberships.
    async fn join_roles(&mut self, role: &Role, options: &[RoleOption]) -> Result<()> {
        let of_members =
            |option: &RoleOption| matches!(option, RoleOption::MemberOf(_) | RoleOption::Members { .. });
        if !options.iter().any(of_members) {
            return Ok(());
        }
        self.begin_role_change("CREATE ROLE").await?;
        let grantor = self.role.oid;
        for option in options {
            match option {
                RoleOption::MemberOf(roles) => {
                    for of in roles {
                        let of = self.role_of(of)?;
                        let of = self.role_named(&self.role_name(of))?;
                        self.add_members(&of, &[role.oid], (grantor, false)).await?;
                    }
                }
                RoleOption::Members { roles, admin } => {
                    let mut members = Vec::with_capacity(roles.len());
                    for member in roles {
                        members.push(self.owner_named(member)?);
                    }
                    self.add_members(role, &members, (grantor, *admin)).await?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    pub(super) async fn alter_role(&mut self, role: &RoleSpec, options: &[RoleOption]) -> Result<CommandTag> {
        self.begin_role_change("ALTER ROLE").await?;
        let name = self.role_name(self.owner_named(role)?);
        refuse_to_alter(&name)?;
        let old = self.find_role(&name)?;
        let mut new = Role::clone(&old);
        self.apply_options(&mut new, options)?;
        self.may_alter(&old, options)?;
        if old.oid == BOOTSTRAP_ROLE_OID && !new.superuser {
            return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, "permission denied to alter role")
                .with_detail("The bootstrap user must have the SUPERUSER attribute."));
        }
        store::put_role(self.transaction()?, &new).await?;
        if new.bypass_rls != old.bypass_rls {
            grants::put_attributes(self.transaction()?, &new).await?;
        }
        self.catalogue_changed();
        Ok(CommandTag::Words("ALTER ROLE"))
    }

    /// Who may change a role. A replication role reads everything, so in no way may one without all rights
    /// make itself one, or learn another's password by setting it; and even NOSUPERUSER for a role that is
    /// none asks for them.
    pub(super) fn may_alter(&self, old: &Role, options: &[RoleOption]) -> Result<()> {
        let names = |wanted: fn(&RoleOption) -> bool| options.iter().any(wanted);
        if old.superuser || names(|option| matches!(option, RoleOption::Superuser(_))) {
            self.require_superuser("must be superuser to alter superuser roles or change superuser attribute")
        } else if old.replication || names(|option| matches!(option, RoleOption::Replication(_))) {
            self.require_superuser(
                "must be superuser to alter replication roles or change replication attribute",
            )
        } else if names(|option| matches!(option, RoleOption::BypassRls(_))) {
            self.require_superuser("must be superuser to change bypassrls attribute")
        } else if old.oid == self.role.oid && !names(|option| !matches!(option, RoleOption::Password(_))) {
            // Everybody may change the own password.
            Ok(())
        } else {
            self.require_create_role("permission denied")
        }
    }

    pub(super) async fn rename_role(&mut self, name: &str, to: &str) -> Result<CommandTag> {
        self.begin_role_change("ALTER ROLE").await?;
        let old = self.find_role(name)?;
        if old.oid == self.facts.session_role {
            return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, "session user cannot be renamed"));
        }
        if old.oid == self.role.oid {
            return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, "current user cannot be renamed"));
        }
        refuse_reserved(name)?;
        refuse_reserved(to)?;
        if store::lock_role_name(self.transaction()?, to).await? {
            return Err(SqlError::new(SqlState::DUPLICATE_OBJECT, format!("role \"{to}\" already exists")));
        }
        if old.superuser {
            self.require_superuser("must be superuser to rename superusers")?;
        } else {
            self.require_create_role("permission denied to rename role")?;
        }
        store::delete_role(self.transaction()?, &old).await?;
        let new = Role { name: to.to_owned(), ..Role::clone(&old) };
        store::put_role(self.transaction()?, &new).await?;
        self.catalogue_changed();
        Ok(CommandTag::Words("ALTER ROLE"))
    }

    /// What goes with a role: its memberships, its settings, its further attributes.
    async fn forget_role(&mut self, role: &Role) -> Result<()> {
        let known = self.facts.catalogue.clone();
        let transaction = self.transaction()?;
        for membership in known.rights.members.sorted() {
            if membership.role == role.oid || membership.member == role.oid {
                grants::delete_membership(transaction, membership.role, membership.member).await?;
            }
        }
        let mut settings: Vec<(u32, u32)> = known.rights.settings.keys().copied().collect();
        settings.sort_unstable();
        for key in settings.into_iter().filter(|(_, of)| *of == role.oid) {
            grants::put_settings(transaction, key, &[]).await?;
        }
        if role.bypass_rls {
            grants::delete_attributes(transaction, role.oid).await?;
        }
        Ok(())
    }

    pub(super) async fn drop_roles(&mut self, if_exists: bool, specs: &[RoleSpec]) -> Result<CommandTag> {
        self.begin_role_change("DROP ROLE").await?;
        self.require_create_role("permission denied to drop role")?;
        for spec in specs {
            if let RoleSpec::Named(name) = spec
                && let Ok(role) = self.find_role(name)
            {
                store::lock(self.transaction()?, Base::Role(role.oid)).await?;
            }
        }
        self.begin_statement().await?;
        // A table in doubt has an owner too.
        self.see_all_rows().await?;
        self.catalogue().await?;
        for (at, spec) in specs.iter().enumerate() {
            let RoleSpec::Named(name) = spec else {
                let message = "cannot use special role specifier in DROP ROLE";
                return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message));
            };
            let again = specs.iter().take(at).any(|before| before == spec);
            let role = match self.find_role(name) {
                // Named twice, it is gone at the second time.
                Ok(role) if !again => role,
                _ if if_exists => {
                    self.notice(format!("role \"{name}\" does not exist, skipping"));
                    continue;
                }
                Ok(_) => {
                    let message = format!("role \"{name}\" does not exist");
                    return Err(SqlError::new(SqlState::UNDEFINED_OBJECT, message));
                }
                Err(error) => return Err(error),
            };
            if role.oid == self.role.oid {
                return Err(SqlError::new(SqlState::OBJECT_IN_USE, "current user cannot be dropped"));
            }
            if role.oid == self.facts.session_role {
                return Err(SqlError::new(SqlState::OBJECT_IN_USE, "session user cannot be dropped"));
            }
            if role.superuser {
                self.require_superuser("must be superuser to drop superusers")?;
            }
            if is_pinned(role.oid) {
                let message =
                    format!("cannot drop role {name} because it is required by the database system");
                return Err(SqlError::new(SqlState::DEPENDENT_OBJECTS_STILL_EXIST, message));
            }
            let dependents = self.dependents(role.oid);
            if !dependents.is_empty() {
                return Err(SqlError::new(
                    SqlState::DEPENDENT_OBJECTS_STILL_EXIST,
                    format!("role \"{name}\" cannot be dropped because some objects depend on it"),
                )
                .with_detail(dependents.join("\n")));
            }
            self.forget_role(&role).await?;
            store::delete_role(self.transaction()?, &role).await?;
            self.catalogue_changed();
        }
        Ok(CommandTag::Words("DROP ROLE"))
    }
}

/// Whether a password is the hash that PostgreSQL keeps under password_encryption = md5.
fn is_md5(password: &str) -> bool {
    let digits = password.strip_prefix("md5").filter(|digits| digits.len() == 32);
    digits.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// 42939 for the roles that nobody has made.
fn refuse_to_alter(name: &str) -> Result<()> {
    if !name.starts_with("pg_") {
        return Ok(());
    }
    Err(SqlError::new(SqlState::RESERVED_NAME, format!("role name \"{name}\" is reserved"))
        .with_detail("Cannot alter reserved roles."))
}

fn refuse_reserved(name: &str) -> Result<()> {
    if !name.starts_with("pg_") {
        return Ok(());
    }
    Err(SqlError::new(SqlState::RESERVED_NAME, format!("role name \"{name}\" is reserved"))
        .with_detail("Role names starting with \"pg_\" are reserved."))
}
