//! Who a session acts as: SET ROLE and SET SESSION AUTHORIZATION, which a rollback undoes like any SET.

use super::SqlSession;
use sql_catalogue::names::SearchPath;
use sql_catalogue::rights::predefined;
use sql_catalogue::{Catalogue, Role};
use sql_interface::{CommandTag, NAME_BYTES_MAX, Result, SettingActor, Severity, SqlError, clipped};
use sql_language::parse::cut_name;
use sqlstate::SqlState;
use std::sync::Arc;

/// What SET and SET LOCAL have said of one setting, and what to go back to.
#[derive(Debug)]
struct Setting<T> {
    set: T,
    local: Option<T>,
    /// What was there before the first change at each level of the transaction: 1 is the transaction itself,
    /// each savepoint one more.
    saved: Vec<(u32, T, Option<T>)>,
}

impl<T: Copy + PartialEq> Setting<T> {
    fn new(set: T) -> Self {
        Self { set, local: None, saved: Vec::new() }
    }

    fn now(&self) -> T {
        self.local.unwrap_or(self.set)
    }

    fn change(&mut self, level: u32, local: bool, to: T) {
        if level > 0 && self.saved.last().is_none_or(|(known, ..)| *known < level) {
            self.saved.push((level, self.set, self.local));
        }
        if local && level > 0 {
            self.local = Some(to);
        } else if !local {
            (self.set, self.local) = (to, None);
        }
    }

    /// Gives up all levels from `level` on; whether it is another after that.
    fn leave(&mut self, level: u32, keep: bool) -> bool {
        if self.saved.is_empty() && self.local.is_none() {
            return false;
        }
        let before = self.now();
        let first = self.saved.iter().position(|(known, ..)| *known >= level);
        let saved = first.and_then(|at| self.saved.get(at).copied().map(|saved| (at, saved)));
        if let Some((first, (_, set, local))) = saved {
            self.saved.truncate(first);
            if !keep {
                (self.set, self.local) = (set, local);
            } else if level > 1 && self.saved.last().is_none_or(|(known, ..)| *known < level - 1) {
                self.saved.push((level - 1, set, local));
            }
        }
        if level <= 1 {
            self.local = None;
            self.saved.clear();
        }
        self.now() != before
    }
}

/// The roles of a session, by their OIDs. session_authorization and role are settings of their own: each is
/// undone as it was set.
#[derive(Debug)]
pub(super) struct Acting {
    /// Who logged in.
    authenticated: u32,
    /// That was a superuser, who may become anybody for the rest of the session.
    by_superuser: bool,
    /// The role that the session began with, by its settings; None is NONE.
    began_as: Option<u32>,
    /// session_user
    session: Setting<u32>,
    /// What SET ROLE said; None is NONE.
    role: Setting<Option<u32>>,
}

impl Acting {
    pub(super) fn new(role: &Role) -> Self {
        Self {
            authenticated: role.oid,
            by_superuser: role.superuser,
            began_as: None,
            session: Setting::new(role.oid),
            role: Setting::new(None),
        }
    }

    fn current(&self) -> u32 {
        self.role.now().unwrap_or_else(|| self.session.now())
    }

    /// Another session_user comes with a role of its own.
    fn change_session(&mut self, level: u32, local: bool, (session, role): (u32, Option<u32>)) {
        self.session.change(level, local, session);
        self.role.change(level, local, role);
    }

    /// Gives up all levels from `level` on; whether somebody else acts after that.
    fn leave(&mut self, level: u32, keep: bool) -> bool {
        let session = self.session.leave(level, keep);
        self.role.leave(level, keep) || session
    }
}

/// Which of the predefined roles' rights a role has.
fn actor_of(catalogue: &Catalogue, role: &Role) -> SettingActor {
    if role.superuser {
        return SettingActor { role: role.oid, ..SettingActor::SUPERUSER };
    }
    let has = catalogue.roles_of(role.oid, true);
    SettingActor {
        superuser: false,
        role: role.oid,
        replication: role.replication,
        reads_settings: has.contains(&predefined::READ_ALL_SETTINGS),
        reads_statistics: has.contains(&predefined::READ_ALL_STATS),
        signals: has.contains(&predefined::SIGNAL_BACKEND),
    }
}

impl SqlSession {
    /// Takes over roles and memberships as the catalogue has them now, and whoever acts now.
    pub(super) fn refresh_role(&mut self) {
        let catalogue = self.facts.catalogue.clone();
        // A role that was dropped meanwhile may do nothing any more.
        let find = |oid: u32| {
            let gone = || Arc::new(Role { oid, name: oid.to_string(), ..Role::plain() });
            catalogue.roles.get(&oid).cloned().unwrap_or_else(gone)
        };
        let (role, session) = (find(self.acting.current()), find(self.acting.session.now()));
        let actor = actor_of(&catalogue, &role);
        if actor.superuser != self.facts.actor.superuser || session.name != self.facts.session_user {
            self.environment.acts_as(actor.superuser, &session.name);
        }
        self.facts.actor = actor;
        self.facts.session_role = session.oid;
        if self.facts.session_user != session.name {
            self.facts.session_user.clone_from(&session.name);
        }
        if self.facts.user != role.name {
            self.facts.user.clone_from(&role.name);
        }
        self.facts.role_is_set = self.acting.role.now().is_some();
        self.role = role;
        self.refresh_path();
    }

    /// Takes over search_path, as far as the role that acts may look into its schemas.
    pub(super) fn refresh_path(&mut self) {
        let path = if self.facts.names_are_given {
            SearchPath::of_catalogue().clone()
        } else {
            let path = SearchPath::new(&self.quick.search_path, &self.facts.user);
            path.of_role(self.facts.actor.role, &self.facts.catalogue)
        };
        if !path.leads_where(&self.facts.path) {
            self.plan_anew();
        }
        self.facts.path = path;
    }

    /// The transaction leaves all levels from this one on (1 is its end, higher ones are savepoints):
    /// settings, roles and advisory locks go back, or stay.
    pub(super) fn leave_levels(&mut self, level: u32, keep: bool) {
        self.facts.levels.leave(&*self.environment, level, keep);
        self.advisory.leave(level, keep);
        if self.acting.leave(level, keep) {
            self.refresh_role();
        }
    }

    /// SET ROLE and SET SESSION AUTHORIZATION; None is DEFAULT.
    pub(super) async fn set_identity(
        &mut self,
        local: bool,
        name: &str,
        value: Option<&str>,
    ) -> Result<CommandTag> {
        if local && !self.in_transaction_block() {
            self.notices.push(SqlError::report(
                Severity::Warning,
                SqlState::NO_ACTIVE_SQL_TRANSACTION,
                "SET LOCAL can only be used in transaction blocks",
            ));
        }
        if let Some(value) = value.filter(|value| value.len() > NAME_BYTES_MAX) {
            self.notices.push(cut_name(value));
        }
        let value = value.map(clipped);
        self.see_roles().await?;
        let level = self.facts.levels.depth();
        let began_as = self.acting.began_as;
        if name.eq_ignore_ascii_case("role") {
            // Whoever began the session as a role may go back to it.
            let role = value.map_or(Ok(began_as), |name| self.role_to_set(name))?;
            self.acting.role.change(level, local, role);
        } else {
            let to = match value {
                None => (self.acting.authenticated, began_as),
                Some(name) => (self.session_role_to_set(name)?, None),
            };
            self.acting.change_session(level, local, to);
        }
        self.refresh_role();
        Ok(CommandTag::Words("SET"))
    }

    /// Takes over roles and memberships as they are now. That is no query: the transaction's isolation and
    /// snapshot are open after it as before.
    pub(super) async fn see_roles(&mut self) -> Result<()> {
        if self.block.as_ref().is_some_and(|block| block.catalogue_changed) {
            self.begin_planning().await?;
            self.catalogue().await?;
            return Ok(());
        }
        self.ensure_block();
        self.facts.catalogue = self.engine.newest().await?;
        self.refresh_role();
        Ok(())
    }

    /// What set_config said of the role, once its statement is over.
    pub(super) fn take_role_to_be(&mut self) {
        if let Some((role, local)) = self.facts.role_to_be() {
            self.acting.role.change(self.facts.levels.depth(), local, role);
            self.refresh_role();
        }
    }

    fn role_by_name(&self, name: &str) -> Result<Arc<Role>> {
        self.facts.catalogue.role(name).cloned().ok_or_else(|| {
            SqlError::new(SqlState::INVALID_PARAMETER_VALUE, format!("role \"{name}\" does not exist"))
        })
    }

    fn role_to_set(&self, name: &str) -> Result<Option<u32>> {
        if name == "none" {
            return Ok(None);
        }
        let role = self.role_by_name(name)?;
        if !self.facts.catalogue.is_member_of(self.acting.session.now(), role.oid) {
            return Err(SqlError::new(
                SqlState::INSUFFICIENT_PRIVILEGE,
                format!("permission denied to set role \"{name}\""),
            ));
        }
        Ok(Some(role.oid))
    }

    fn session_role_to_set(&self, name: &str) -> Result<u32> {
        let role = self.role_by_name(name)?;
        if role.oid != self.acting.authenticated && !self.acting.by_superuser {
            return Err(SqlError::new(
                SqlState::INSUFFICIENT_PRIVILEGE,
                format!("permission denied to set session authorization \"{name}\""),
            ));
        }
        Ok(role.oid)
    }

    /// The role that the session is to begin with, as its startup settings say.
    pub(super) fn begin_as(&mut self, name: &str) -> Result<()> {
        let role = self.role_to_set(name)?;
        (self.acting.began_as, self.facts.began_as) = (role, role);
        self.acting.role.change(0, false, role);
        self.refresh_role();
        Ok(())
    }

    /// Back to whoever logged in (DISCARD ALL).
    pub(super) fn reset_identity(&mut self) {
        let to = (self.acting.authenticated, self.acting.began_as);
        self.acting.change_session(self.facts.levels.depth(), false, to);
        self.refresh_role();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acting() -> Acting {
        Acting::new(&Role { oid: 10, superuser: true, ..Role::plain() })
    }

    #[test]
    fn a_set_role_is_undone_with_its_savepoint_or_transaction() {
        let mut acting = acting();
        acting.role.change(1, false, Some(1));
        acting.role.change(2, false, Some(2));
        acting.role.change(3, true, Some(3));
        assert_eq!(acting.current(), 3);
        assert!(acting.leave(3, false));
        assert_eq!(acting.current(), 2);
        assert!(!acting.leave(2, true), "released, it belongs to the transaction");
        assert!(acting.leave(1, false));
        assert_eq!(acting.current(), 10);
    }

    #[test]
    fn what_was_set_stays_after_the_commit_and_what_was_local_does_not() {
        let mut acting = acting();
        acting.role.change(1, false, Some(1));
        acting.role.change(2, true, Some(2));
        acting.leave(2, true);
        assert_eq!(acting.current(), 2, "SET LOCAL outlives the release of its savepoint");
        acting.leave(1, true);
        assert_eq!(acting.current(), 1);
        acting.role.change(1, true, Some(3));
        acting.role.change(1, false, Some(4));
        assert_eq!(acting.current(), 4, "a later SET outweighs it");
        acting.leave(1, false);
        assert_eq!(acting.current(), 1);
    }

    #[test]
    fn a_role_that_is_set_outlives_a_local_session_user() {
        let mut acting = acting();
        acting.change_session(1, true, (1, None));
        acting.role.change(1, false, Some(2));
        assert_eq!((acting.session.now(), acting.current()), (1, 2));
        acting.leave(1, true);
        assert_eq!((acting.session.now(), acting.current()), (10, 2));
    }
}
