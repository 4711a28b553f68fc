//! Settings that sessions begin with: ALTER ROLE ... SET and ALTER DATABASE ... SET (pg_db_role_setting).

use super::SqlSession;
use super::named_in_settings::{MissingObject, missing_object};
use super::rights::{denied, not_owner};
use super::utility::isolation_mode;
use sql_catalogue::grants;
use sql_catalogue::rights::ObjectKind;
use sql_interface::{CommandTag, Result, Severity, SqlError};
use sql_language::parse::{Mode, RoleSpec, SettingChange, SettingOf};
use sqlstate::SqlState;

impl SqlSession {
    /// ALTER ROLE and ALTER DATABASE, SET and RESET.
    pub(super) async fn alter_settings(
        &mut self,
        of: &SettingOf,
        change: &SettingChange,
    ) -> Result<CommandTag> {
        let word = if matches!(of, SettingOf::Database(_)) { "ALTER DATABASE" } else { "ALTER ROLE" };
        self.begin_role_change(word).await?;
        let key = match of {
            SettingOf::Database(name) => {
                let (oid, owner) = self.database_named(name)?;
                if !self.owns(owner) {
                    return Err(not_owner(ObjectKind::Database, name));
                }
                (oid, 0)
            }
            SettingOf::Role { role, database } => {
                let database = match database {
                    Some(name) => self.database_named(name)?.0,
                    None => 0,
                };
                (database, self.role_of_settings(role.as_ref(), database)?)
            }
        };
        if let SettingChange::Set { name, .. } | SettingChange::Current(name) = change
            && name.eq_ignore_ascii_case("session_authorization")
        {
            return Err(SqlError::unsupported(format!("{word} SET of \"{name}\"")));
        }
        let catalogue = self.facts.catalogue.clone();
        let mut settings = catalogue.rights.settings.get(&key).cloned().unwrap_or_default();
        let before = settings.clone();
        let is_of = |line: &String, name: &str| {
            line.split_once('=').is_some_and(|(known, _)| known.eq_ignore_ascii_case(name))
        };
        let (name, value) = match change {
            SettingChange::ResetAll => {
                // What a superuser has set for others to keep stays.
                settings.retain(|line| {
                    let name = line.split_once('=').map_or(line.as_str(), |(name, _)| name);
                    self.environment.check_start_setting(self.actor(), name, None).is_err()
                });
                (None, None)
            }
            SettingChange::Set { name, value } => (Some(name), value.clone()),
            SettingChange::Current(name) => (Some(name), Some(self.facts.show(name)?)),
        };
        if let Some(name) = name {
            if name.eq_ignore_ascii_case("role")
                && let Some(role) = value.as_deref()
            {
                self.warn_of_role(role);
            }
            self.refuse_of_transaction(name, value.as_deref())?;
            if let Some(missing) = value.as_deref().and_then(|value| missing_object(name, value)) {
                self.warn_of_missing(&missing);
            }
            let known = self.environment.check_start_setting(self.actor(), name, value.as_deref())?;
            match (settings.iter().position(|line| is_of(line, name)), value) {
                (Some(at), Some(value)) => settings[at] = format!("{known}={value}"),
                (None, Some(value)) => settings.push(format!("{known}={value}")),
                (Some(at), None) => drop(settings.remove(at)),
                (None, None) => {}
            }
        }
        if settings != before {
            grants::put_settings(self.transaction()?, key, &settings).await?;
            self.catalogue_changed();
        }
        Ok(CommandTag::Words(word))
    }

    /// What later sessions are to use may be made until then.
    fn warn_of_missing(&mut self, MissingObject { kind, name }: &MissingObject) {
        let message = format!("{kind} \"{name}\" does not exist");
        self.notices.push(SqlError::report(Severity::Notice, SqlState::UNDEFINED_OBJECT, message));
    }

    /// 25001 for what is judged as if the present transaction took it over, which has looked at something.
    fn refuse_of_transaction(&mut self, name: &str, value: Option<&str>) -> Result<()> {
        let Some(value) = value else { return Ok(()) };
        let called = match name.to_ascii_lowercase().as_str() {
            "transaction_isolation" => {
                let Mode::Isolation(level) = isolation_mode(value)? else { return Ok(()) };
                if level == self.ensure_block().isolation {
                    return Ok(());
                }
                "SET TRANSACTION ISOLATION LEVEL"
            }
            "transaction_deferrable" if sql_types::is_true(value).is_some() => {
                "SET TRANSACTION [NOT] DEFERRABLE"
            }
            _ => return Ok(()),
        };
        let message = format!("{called} must be called before any query");
        Err(SqlError::new(SqlState::ACTIVE_SQL_TRANSACTION, message))
    }

    /// Whom sessions are to begin as may be made, or become a role's, later.
    fn warn_of_role(&mut self, name: &str) {
        let catalogue = &self.facts.catalogue;
        let (code, message) = match catalogue.role(name) {
            _ if name == "none" => return,
            None => (SqlState::UNDEFINED_OBJECT, format!("role \"{name}\" does not exist")),
            Some(role) if !catalogue.is_member_of(self.facts.session_role, role.oid) => {
                let message = format!("permission will be denied to set role \"{name}\"");
                (SqlState::INSUFFICIENT_PRIVILEGE, message)
            }
            Some(_) => return,
        };
        self.notices.push(SqlError::report(Severity::Notice, code, message));
    }

    /// OID and owner of a database.
    pub(super) fn database_named(&self, name: &str) -> Result<(u32, u32)> {
        let found = self.facts.catalogue.databases.iter().find(|entry| entry.name == name);
        found.map(|entry| (entry.oid, entry.owner)).ok_or_else(|| {
            SqlError::new(SqlState::INVALID_CATALOG_NAME, format!("database \"{name}\" does not exist"))
        })
    }

    /// Whose settings these are (0: of all roles), if this role may change them.
    fn role_of_settings(&self, role: Option<&RoleSpec>, database: u32) -> Result<u32> {
        let Some(role) = role else {
            if database == 0 {
                return if self.role.superuser {
                    Ok(0)
                } else {
                    Err(denied("must be superuser to alter settings globally"))
                };
            }
            let owner = self.database_owner(database);
            return if self.owns(owner) { Ok(0) } else { Err(not_owner(ObjectKind::Database, "postgres")) };
        };
        let oid = self.role_of(role)?;
        let name = self.role_name(oid);
        if name.starts_with("pg_") {
            return Err(SqlError::new(SqlState::RESERVED_NAME, format!("role name \"{name}\" is reserved"))
                .with_detail("Cannot alter reserved roles."));
        }
        let is_superuser = self.facts.catalogue.roles.get(&oid).is_some_and(|role| role.superuser);
        if is_superuser {
            if !self.role.superuser {
                return Err(denied("must be superuser to alter superusers"));
            }
        } else if !self.role.superuser && !self.role.create_role && oid != self.role.oid {
            return Err(denied("permission denied"));
        }
        Ok(oid)
    }

    /// Whether the role that acts has the rights of whoever owns the session's database.
    pub(super) fn owns_database(&self) -> bool {
        self.database_named(&self.facts.database).is_ok_and(|(_, owner)| self.owns(owner))
    }

    fn database_owner(&self, database: u32) -> u32 {
        let found = self.facts.catalogue.databases.iter().find(|entry| entry.oid == database);
        found.map_or(sql_catalogue::BOOTSTRAP_ROLE_OID, |entry| entry.owner)
    }
}
