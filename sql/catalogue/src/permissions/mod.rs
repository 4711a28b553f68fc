//! Who may do what (aclchk.c and acl.c of PostgreSQL 15): an owner's rights are those of its list like
//! anybody's, but it may always grant them; superusers may do all.

mod functions;
mod roles;

pub(crate) use roles::{predefined_memberships, predefined_roles};

use crate::model::{BOOTSTRAP_ROLE_OID, Catalogue, INFORMATION_SCHEMA_OID, PG_CATALOG_OID, PUBLIC_OID};
use crate::rights::{Acl, AclItem, DefaultFor, Object, ObjectKind, PUBLIC, Privileges, predefined};

/// Made-up tables that PUBLIC may not read.
const PRIVATE_TABLES: &[(&str, &[u32])] = &[
    ("pg_authid", &[]),
    ("pg_shadow", &[]),
    ("pg_hba_file_rules", &[]),
    ("pg_ident_file_mappings", &[]),
    ("pg_file_settings", &[]),
    ("pg_statistic", &[]),
    ("pg_statistic_ext_data", &[]),
    ("pg_largeobject", &[]),
    ("pg_user_mapping", &[]),
    ("pg_backend_memory_contexts", &[predefined::READ_ALL_STATS]),
    ("pg_replication_origin_status", &[]),
    ("pg_subscription", &[]),
    ("pg_shmem_allocations", &[predefined::READ_ALL_STATS]),
];

/// pg_subscription, and the one of its columns that PUBLIC may not read, though it may read all others:
/// subconninfo, which may have a password.
const SUBSCRIPTION_OID: u32 = 6100;
const SUBSCRIPTION_CONNINFO: i16 = 11;

impl Catalogue {
    /// The role of a name that stands for a grantee: `public` is everybody.
    pub fn grantee(&self, name: &str) -> Option<u32> {
        if name == "public" { Some(PUBLIC) } else { self.role(name).map(|role| role.oid) }
    }

    /// The kind and the owner of a table, view, sequence or index of a user.
    pub fn owned_relation(&self, oid: u32) -> Option<(ObjectKind, u32, &str)> {
        if let Some(table) = self.relations.get(&oid) {
            return Some((ObjectKind::Table, table.owner, &table.name));
        }
        if let Some(view) = self.views.get(&oid) {
            return Some((ObjectKind::View, view.owner, &view.name));
        }
        if let Some(sequence) = self.sequences.get(&oid) {
            return Some((ObjectKind::Sequence, sequence.owner, &sequence.name));
        }
        let (table, index) = self.index(oid)?;
        Some((ObjectKind::Index, table.owner, index.name))
    }

    /// Who owns a schema. public belongs to whoever owns the database.
    pub fn schema_owner(&self, schema: u32) -> u32 {
        let given = self.rights.schema_owners.get(&schema).copied();
        given.unwrap_or(if schema == PUBLIC_OID { predefined::DATABASE_OWNER } else { BOOTSTRAP_ROLE_OID })
    }

    /// The kind and the owner of an object, as far as the catalogue has it. What is made up belongs to the
    /// bootstrap superuser.
    pub fn kind_and_owner(&self, object: &Object) -> (ObjectKind, u32) {
        match object {
            Object::Relation(oid) => {
                let found = self.owned_relation(*oid).map(|(kind, owner, _)| (kind, owner));
                found.unwrap_or((ObjectKind::View, BOOTSTRAP_ROLE_OID))
            }
            Object::MadeUp(..) => (ObjectKind::View, BOOTSTRAP_ROLE_OID),
            Object::Column(oid, _) => (ObjectKind::Column, self.kind_and_owner(&Object::Relation(*oid)).1),
            Object::Schema(oid) => (ObjectKind::Schema, self.schema_owner(*oid)),
            Object::Database(oid) => {
                let owner = self.databases.iter().find(|entry| entry.oid == *oid).map(|entry| entry.owner);
                (ObjectKind::Database, owner.unwrap_or(BOOTSTRAP_ROLE_OID))
            }
            Object::Function(_) => (ObjectKind::Function, BOOTSTRAP_ROLE_OID),
        }
    }

    /// The list of an object that nobody has granted or revoked anything on; None if it is its kind's.
    pub(crate) fn first_acl(&self, object: &Object) -> Option<Acl> {
        let item = |grantee, grantor, privileges| AclItem {
            grantee,
            grantor,
            privileges,
            options: Privileges::NONE,
        };
        match object {
            Object::Schema(schema @ (PUBLIC_OID | PG_CATALOG_OID | INFORMATION_SCHEMA_OID)) => {
                // Where the owner was changed, the list went along.
                let owner = self.schema_owner(*schema);
                Some(Acl::new(vec![
                    item(owner, owner, ObjectKind::Schema.all()),
                    item(PUBLIC, owner, Privileges::USAGE),
                ]))
            }
            // The templates, which nobody is to change in passing.
            Object::Database(oid @ (1 | 4)) => {
                let (_, owner) = self.kind_and_owner(&Object::Database(*oid));
                Some(Acl::new(vec![
                    item(PUBLIC, owner, Privileges::CONNECT),
                    item(owner, owner, ObjectKind::Database.all()),
                ]))
            }
            Object::Function(signature) => {
                functions::default_acl(signature.split('(').next().unwrap_or_default())
            }
            Object::MadeUp(_, name) => {
                let private = PRIVATE_TABLES.iter().find(|(known, _)| known == name);
                let mut items = vec![item(BOOTSTRAP_ROLE_OID, BOOTSTRAP_ROLE_OID, ObjectKind::Table.all())];
                match private {
                    Some((_, granted)) => items.extend(
                        granted.iter().map(|role| item(*role, BOOTSTRAP_ROLE_OID, Privileges::SELECT)),
                    ),
                    None => items.push(item(PUBLIC, BOOTSTRAP_ROLE_OID, Privileges::SELECT)),
                }
                if *name == "pg_settings" {
                    items.push(item(PUBLIC, BOOTSTRAP_ROLE_OID, Privileges::UPDATE));
                }
                Some(Acl::new(items))
            }
            Object::Column(SUBSCRIPTION_OID, number) if *number != SUBSCRIPTION_CONNINFO => {
                Some(Acl::new(vec![item(PUBLIC, BOOTSTRAP_ROLE_OID, Privileges::SELECT)]))
            }
            _ => None,
        }
    }

    /// The stored list of an object.
    fn stored_acl(&self, object: &Object) -> Option<&Acl> {
        match object {
            Object::MadeUp(oid, _) => self.rights.acls.get(&Object::Relation(*oid)),
            other => self.rights.acls.get(other),
        }
    }

    /// The list of an object as views show it: None where it is its kind's default.
    pub fn shown_acl(&self, object: &Object) -> Option<Acl> {
        self.stored_acl(object).cloned().or_else(|| self.first_acl(object))
    }

    /// The list of an object.
    pub fn acl(&self, object: &Object) -> Acl {
        self.shown_acl(object).unwrap_or_else(|| {
            let (kind, owner) = self.kind_and_owner(object);
            Acl::default_of(kind, owner)
        })
    }

    /// What of `wanted` a role may do with an object. For a table that counts what it may do with the whole
    /// of it, not with single columns.
    pub fn privileges(&self, role: u32, object: &Object, wanted: Privileges) -> Privileges {
        if self.roles.get(&role).is_some_and(|role| role.superuser) {
            return wanted;
        }
        let mut found = match self.stored_acl(object) {
            Some(acl) => acl.held(role, wanted, self),
            None => self.acl(object).held(role, wanted, self),
        };
        let by_role = match object {
            Object::Relation(_) | Object::MadeUp(..) => [
                (predefined::READ_ALL_DATA, Privileges::SELECT),
                (predefined::WRITE_ALL_DATA, Privileges::INSERT | Privileges::UPDATE | Privileges::DELETE),
            ],
            Object::Schema(_) => [
                (predefined::READ_ALL_DATA, Privileges::USAGE),
                (predefined::WRITE_ALL_DATA, Privileges::USAGE),
            ],
            _ => return found,
        };
        for (of, gives) in by_role {
            let missing = (wanted & gives).without(found);
            if !missing.is_empty() && self.has_rights_of(role, of) {
                found |= missing;
            }
        }
        found
    }

    /// What of `wanted` a role may grant on an object.
    pub fn grant_options(&self, role: u32, object: &Object, wanted: Privileges) -> Privileges {
        let (_, owner) = self.kind_and_owner(object);
        self.acl(object).options_held(role, owner, wanted, self)
    }

    /// Whether a role may do this with a column, by the column's own list.
    pub fn may_column(&self, role: u32, relation: u32, number: i16, wanted: Privileges) -> bool {
        if self.roles.get(&role).is_some_and(|role| role.superuser) {
            return true;
        }
        let object = Object::Column(relation, number);
        match self.rights.acls.get(&object) {
            Some(acl) => acl.held(role, wanted, self).has(wanted),
            None => self.first_acl(&object).is_some_and(|acl| acl.held(role, wanted, self).has(wanted)),
        }
    }

    /// Whether a role may do this with any column of a relation, by the columns' own lists.
    pub fn may_any_column(&self, role: u32, relation: u32, wanted: Privileges) -> bool {
        let first = (relation == SUBSCRIPTION_OID).then_some(1);
        let mut numbers = first.into_iter().chain(self.columns_with_rights(relation));
        numbers.any(|number| self.may_column(role, relation, number, wanted))
    }

    /// Numbers of a relation's columns that have lists of their own.
    pub fn columns_with_rights(&self, relation: u32) -> impl Iterator<Item = i16> {
        self.rights.acls.keys().filter_map(move |object| match object {
            Object::Column(of, number) if *of == relation => Some(*number),
            _ => None,
        })
    }

    /// Who acts when a role grants something on an object, and what it may grant of `wanted`: the owner for
    /// those who have the owner's rights, else the one of its roles that may grant most.
    pub fn best_grantor(
        &self,
        role: u32,
        (acl, owner): (&Acl, u32),
        wanted: Privileges,
    ) -> (u32, Privileges) {
        if role == owner || self.roles.get(&role).is_some_and(|role| role.superuser) {
            return (owner, wanted);
        }
        let mut best = (role, Privileges::NONE);
        for candidate in self.roles_of(role, true) {
            let options = acl.options_of(candidate, owner, wanted);
            if options == wanted {
                return (candidate, options);
            }
            if options.count() > best.1.count() {
                best = (candidate, options);
            }
        }
        best
    }

    /// What a new object begins with; None if that is its kind's default.
    pub fn new_acl(&self, kind: char, owner: u32, schema: u32) -> Option<Acl> {
        let of = |schema| self.rights.defaults.get(&DefaultFor { role: owner, schema, kind });
        let (everywhere, here) = (of(0), of(schema));
        if everywhere.is_none() && here.is_none() {
            return None;
        }
        let plain = Acl::default_of(DefaultFor { role: owner, schema, kind }.object_kind(), owner);
        let mut all = everywhere.cloned().unwrap_or_else(|| plain.clone());
        if let Some(here) = here {
            all = all.merged(here);
        }
        (!all.is_same(&plain)).then_some(all)
    }

    /// Objects whose lists name a role, in the order of their OIDs.
    pub fn objects_naming(&self, role: u32) -> Vec<&Object> {
        let mut found: Vec<&Object> = self
            .rights
            .acls
            .iter()
            .filter(|(object, acl)| {
                // An owner stands in its list by owning.
                self.kind_and_owner(object).1 != role && acl.names(role)
            })
            .map(|(object, _)| object)
            .collect();
        found.sort_by_key(|object| object.sort_key());
        found
    }
}

#[cfg(test)]
mod tests;
