//! What a session's role may do besides what plans ask: own, create, and run what is no query.

use super::SqlSession;
use sql_catalogue::grants;
use sql_catalogue::rights::{Object, ObjectKind, Privileges, predefined};
use sql_catalogue::{Catalogue, PUBLIC_OID, Relation};
use sql_interface::{CommandTag, Result, SqlError};
use sql_language::expr;
use sql_language::parse::{Parsed, SetTarget, Utility};
use sql_language::plan::Plan;
use sql_language::plan::rights::{self, Requirement};
use sqlparser::ast;
use sqlstate::SqlState;
use std::sync::atomic::Ordering;

/// 42501 with this message.
pub(super) fn denied(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::INSUFFICIENT_PRIVILEGE, message)
}

/// 42501 for what belongs to somebody else.
pub(super) fn not_owner(kind: ObjectKind, name: &str) -> SqlError {
    denied(format!("must be owner of {} {name}", kind.word()))
}

impl SqlSession {
    /// Carries out a statement about roles and rights.
    pub(super) async fn run_of_rights(&mut self, parsed: &Parsed, utility: &Utility) -> Result<CommandTag> {
        match utility {
            Utility::Set { local, name, value } => self.set_identity(*local, name, value.as_deref()).await,
            Utility::Reset(SetTarget::Name(name)) => {
                self.set_identity(false, name, None).await?;
                Ok(CommandTag::Words("RESET"))
            }
            Utility::Grant(grant) => self.grant(parsed, grant).await,
            Utility::GrantRole(grant) => self.grant_role(grant).await,
            Utility::ChangeOwner { kind, if_exists, name, owner } => {
                self.alter_owner(parsed, (*kind, *if_exists), name, owner).await
            }
            Utility::ReassignOwned { from, to } => self.reassign_owned(from, to).await,
            Utility::DropOwned { roles, cascade } => self.drop_owned(parsed, roles, *cascade).await,
            Utility::AlterSettings { of, change } => self.alter_settings(of, change).await,
            Utility::CreateRole { name, options } => self.create_role(name, options).await,
            Utility::AlterRole { role, options } => self.alter_role(role, options).await,
            Utility::RenameRole { name, to } => self.rename_role(name, to).await,
            Utility::DropRole { if_exists, roles } => self.drop_roles(*if_exists, roles).await,
            _ => Err(SqlError::internal("a statement about something else")),
        }
    }

    /// 3F000 and 42501 for a type in a schema that is not there or may not be looked into.
    pub(super) fn require_type(&self, ty: &ast::DataType) -> Result<()> {
        expr::require_schema_of_type(ty, &self.facts.catalogue, &self.facts.path)
    }

    /// Whether the role that acts has a role's rights: what that one owns is its own.
    pub(super) fn owns(&self, owner: u32) -> bool {
        owner == self.role.oid || self.facts.catalogue.has_rights_of(self.role.oid, owner)
    }

    /// 42501 for a table that belongs to somebody else.
    pub(super) fn require_owner(&self, relation: &Relation) -> Result<()> {
        self.require_owner_of(ObjectKind::Table, &relation.name, relation.owner)
    }

    /// 42501 for anything that belongs to somebody else.
    pub(super) fn require_owner_of(&self, kind: ObjectKind, name: &str, owner: u32) -> Result<()> {
        if self.owns(owner) { Ok(()) } else { Err(not_owner(kind, name)) }
    }

    /// Whoever owns the schema may drop what is in it.
    pub(super) fn may_drop(&self, owner: u32) -> bool {
        self.owns(owner) || self.owns(self.facts.catalogue.schema_owner(PUBLIC_OID))
    }

    /// 42501 for those who may not make anything in schema public.
    pub(super) fn require_create(&self) -> Result<()> {
        self.require_create_of(self.role.oid)
    }

    /// The same of another role, which is to own something there.
    pub(super) fn require_create_of(&self, role: u32) -> Result<()> {
        self.require_privileges(role, &Object::Schema(PUBLIC_OID), Privileges::CREATE)
    }

    /// 42501 unless a role may do all of this with an object.
    pub(super) fn require_privileges(&self, role: u32, object: &Object, needed: Privileges) -> Result<()> {
        let catalogue = &self.facts.catalogue;
        if catalogue.privileges(role, object, needed).has(needed) {
            return Ok(());
        }
        Err(rights::permission_denied(catalogue, object))
    }

    /// 42501 unless the role that acts may do one of these with a table.
    pub(super) fn require_any(&self, object: &Object, any_of: Privileges) -> Result<()> {
        let catalogue = &self.facts.catalogue;
        if catalogue.privileges(self.role.oid, object, any_of).is_empty() {
            return Err(rights::permission_denied(catalogue, object));
        }
        Ok(())
    }

    /// 42501 unless the role that acts may do what was collected.
    pub(super) fn require_all(&self, requirements: &[Requirement]) -> Result<()> {
        rights::check(requirements, &self.facts.catalogue, self.role.oid)
    }

    /// Whether the role that acts may run a plan of this catalogue: asked once a plan and role.
    pub(super) fn check_rights(&self, plan: &Plan, catalogue: &Catalogue) -> Result<()> {
        // Of a superuser, too: below a view its owner's rights count.
        rights::check(&plan.rights, catalogue, self.role.oid)?;
        plan.allowed.store(self.role.oid, Ordering::Relaxed);
        Ok(())
    }

    /// TRUNCATE ... RESTART IDENTITY is for who owns the sequences.
    pub(super) fn require_sequences_of(&self, relation: &Relation) -> Result<()> {
        for sequence in self.facts.catalogue.sequences_of(relation.oid) {
            self.require_owner_of(ObjectKind::Sequence, &sequence.name, sequence.owner)?;
        }
        Ok(())
    }

    /// What was granted on a relation goes with it, also by a GRANT that is not over yet.
    pub(super) async fn forget_rights_of(&mut self, relation: u32) -> Result<()> {
        grants::lock(self.transaction()?, &Object::Relation(relation)).await?;
        self.begin_statement().await?;
        let known = self.catalogue().await?;
        grants::drop_relation(self.transaction()?, &known, relation).await
    }

    /// CHECKPOINT is for superusers and pg_checkpoint.
    pub(super) fn require_checkpoint(&self) -> Result<()> {
        if self.owns(predefined::CHECKPOINT) {
            return Ok(());
        }
        Err(denied("must be superuser or have privileges of pg_checkpoint to do CHECKPOINT"))
    }
}
