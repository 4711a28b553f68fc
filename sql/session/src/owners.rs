//! Who owns what: OWNER TO, REASSIGN OWNED, DROP OWNED, and what keeps a role from being dropped.

use super::SqlSession;
use super::grant::schema_oid;
use super::index::last_name;
use super::rights::{denied, not_owner};
use sql_catalogue::grants;
use sql_catalogue::rights::{Acl, Object, ObjectKind, PUBLIC};
use sql_catalogue::schema::Schema;
use sql_catalogue::{
    BOOTSTRAP_ROLE_OID, Catalogue, DatabaseEntry, POSTGRES_DATABASE, Relation, Sequence, View, store,
};
use sql_interface::{CommandTag, Result, Severity, SqlError};
use sql_language::parse::{DropKind, DropTarget, OwnedKind, Parsed, RoleSpec};
use sqlparser::ast;
use sqlstate::SqlState;
use storage::{TableLockMode, TreeId};

impl SqlSession {
    /// ALTER ... OWNER TO.
    pub(super) async fn alter_owner(
        &mut self,
        parsed: &Parsed,
        (kind, if_exists): (OwnedKind, bool),
        name: &ast::ObjectName,
        owner: &RoleSpec,
    ) -> Result<CommandTag> {
        let word = match kind {
            OwnedKind::Table => "ALTER TABLE",
            OwnedKind::View => "ALTER VIEW",
            OwnedKind::Index => "ALTER INDEX",
            OwnedKind::Sequence => "ALTER SEQUENCE",
            OwnedKind::Schema => "ALTER SCHEMA",
            OwnedKind::Database => "ALTER DATABASE",
        };
        self.begin_role_change(word).await?;
        let new = self.owner_named(owner)?;
        self.hold_role(new).await?;
        match kind {
            OwnedKind::Schema => self.give_schema(&last_name(name), new).await?,
            OwnedKind::Database => self.give_database(&last_name(name), new).await?,
            _ => {
                let Some(oid) = self.owned_named(parsed, name, (kind, if_exists))? else {
                    return Ok(CommandTag::Words(word));
                };
                self.give_relation(oid, new).await?;
            }
        }
        Ok(CommandTag::Words(word))
    }

    /// The OID of a role that owns something: PUBLIC is none.
    pub(super) fn owner_named(&self, spec: &RoleSpec) -> Result<u32> {
        match self.role_of(spec)? {
            PUBLIC => Err(SqlError::new(SqlState::UNDEFINED_OBJECT, "role \"public\" does not exist")),
            role => Ok(role),
        }
    }

    /// The OID of what an ALTER names; None where IF EXISTS passes it over.
    pub(super) fn owned_named(
        &mut self,
        parsed: &Parsed,
        name: &ast::ObjectName,
        (kind, if_exists): (OwnedKind, bool),
    ) -> Result<Option<u32>> {
        let catalogue = self.facts.catalogue.clone();
        let (schema, table, _) = self.analyzer(parsed, Vec::new(), &catalogue).table_name(name)?;
        let found = catalogue.find(&*self.environment, &self.facts.path, schema.as_deref(), &table)?;
        let oid = found.map(|found| found.oid());
        let Some(oid) = oid else {
            let full = schema.map_or_else(|| table.clone(), |schema| format!("{schema}.{table}"));
            let message = format!("relation \"{full}\" does not exist");
            self.skip_missing(if_exists, SqlState::UNDEFINED_TABLE, message)?;
            return Ok(None);
        };
        let wrong = |what: &str| {
            let message = format!("\"{table}\" is not {what}");
            Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, message))
        };
        match (catalogue.owned_relation(oid).map(|(kind, ..)| kind), kind) {
            (Some(ObjectKind::View), OwnedKind::View | OwnedKind::Table)
            | (Some(ObjectKind::Sequence), OwnedKind::Sequence | OwnedKind::Table)
            | (Some(ObjectKind::Table), OwnedKind::Table) => Ok(Some(oid)),
            (_, OwnedKind::View) => wrong("a view"),
            (_, OwnedKind::Sequence) => wrong("a sequence"),
            (Some(ObjectKind::Index), _) => {
                self.keep_owner_of_index(oid)?;
                Ok(None)
            }
            (Some(_), OwnedKind::Index) => wrong("an index"),
            _ => {
                let message = format!("permission denied: \"{table}\" is a system catalog");
                Err(SqlError::new(SqlState::INSUFFICIENT_PRIVILEGE, message))
            }
        }
    }

    /// An index has its table's owner, whatever is said.
    pub(super) fn keep_owner_of_index(&mut self, oid: u32) -> Result<()> {
        let catalogue = self.facts.catalogue.clone();
        let Some((kind, owner, name)) = catalogue.owned_relation(oid) else { return Ok(()) };
        self.require_owner_of(kind, name, owner)?;
        let message = format!("cannot change owner of index \"{name}\"");
        let warning = SqlError::report(Severity::Warning, SqlState::WRONG_OBJECT_TYPE, message);
        self.notices.push(warning.with_hint("Change the ownership of the index's table, instead."));
        Ok(())
    }

    /// Gives a table, view or sequence to another role, if this one may.
    pub(super) async fn give_relation(&mut self, oid: u32, new: u32) -> Result<()> {
        let catalogue = self.facts.catalogue.clone();
        let Some((kind, owner, name)) = catalogue.owned_relation(oid) else {
            return Err(SqlError::internal("an object is gone"));
        };
        self.require_owner_of(kind, name, owner)?;
        if let Some(table) = catalogue.relations.get(&oid) {
            self.refuse_in_use(table, "ALTER TABLE")?;
        }
        if owner == new {
            return Ok(());
        }
        if let Some(sequence) = catalogue.sequences.get(&oid)
            && let Some((table, _)) = sequence.owned_by
        {
            let table = catalogue.relations.get(&table).map_or("", |table| &table.name);
            let message = format!("cannot change owner of sequence \"{name}\"");
            return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message)
                .with_detail(format!("Sequence \"{name}\" is linked to table \"{table}\".")));
        }
        if !self.role.superuser {
            self.require_member(new)?;
            self.require_create_of(new)?;
        }
        self.set_owner(oid, new).await
    }

    /// 42501 unless the role that acts may become this one.
    fn require_member(&self, role: u32) -> Result<()> {
        if self.facts.catalogue.is_member_of(self.role.oid, role) {
            return Ok(());
        }
        Err(denied(format!("must be member of role \"{}\"", self.role_name(role))))
    }

    /// Writes another owner of a table (with the sequences of its columns), view or sequence.
    async fn set_owner(&mut self, oid: u32, new: u32) -> Result<()> {
        self.lock_for_owner(oid).await?;
        let catalogue = self.facts.catalogue.clone();
        let Some((_, old, _)) = catalogue.owned_relation(oid) else { return Ok(()) };
        let transaction = self.transaction()?;
        if let Some(table) = catalogue.relations.get(&oid) {
            let changed = Relation { owner: new, ..Relation::clone(table) };
            store::put_relation(transaction, &changed).await?;
            for sequence in catalogue.sequences_of(oid) {
                let object = Object::Relation(sequence.oid);
                grants::change_owner(transaction, &catalogue, &object, (sequence.owner, new)).await?;
                let changed = Sequence { owner: new, ..Sequence::clone(sequence) };
                store::put_sequence(transaction, &changed).await?;
            }
        } else if let Some(view) = catalogue.views.get(&oid) {
            store::put_view(transaction, &View { owner: new, ..View::clone(view) }).await?;
        } else if let Some(sequence) = catalogue.sequences.get(&oid) {
            store::put_sequence(transaction, &Sequence { owner: new, ..Sequence::clone(sequence) }).await?;
        }
        grants::change_owner(transaction, &catalogue, &Object::Relation(oid), (old, new)).await?;
        self.catalogue_changed();
        Ok(())
    }

    /// Locks a table with its sequences, or a sequence, and sees it as it is then: entries are written whole.
    async fn lock_for_owner(&mut self, oid: u32) -> Result<()> {
        let trees = |catalogue: &Catalogue| -> Vec<TreeId> {
            let of_sequence = |oid| TreeId::new(POSTGRES_DATABASE, oid);
            let table = catalogue.relations.get(&oid).map(|table| table.tree);
            let own = catalogue.sequences.contains_key(&oid).then(|| of_sequence(oid));
            let owned = catalogue.sequences_of(oid).into_iter().map(|sequence| of_sequence(sequence.oid));
            table.into_iter().chain(own).chain(owned).collect()
        };
        let mut locked = Vec::new();
        loop {
            let wanted = trees(&self.facts.catalogue);
            if wanted == locked {
                return Ok(());
            }
            for tree in &wanted {
                self.hold_tree(*tree, TableLockMode::AccessExclusive).await?;
            }
            locked = wanted;
            self.begin_statement().await?;
            self.catalogue().await?;
        }
    }

    async fn give_schema(&mut self, name: &str, new: u32) -> Result<()> {
        let oid = schema_oid(name)?;
        let catalogue = self.facts.catalogue.clone();
        let old = catalogue.schema_owner(oid);
        if old == new {
            return Ok(());
        }
        if !self.role.superuser {
            self.require_owner_of(ObjectKind::Schema, name, old)?;
            self.require_member(new)?;
            // Whoever gives a schema away might have made it for the new owner.
            return Err(denied(format!("permission denied for database {}", self.facts.database)));
        }
        self.set_schema_owner(&catalogue, oid, new).await
    }

    async fn set_schema_owner(&mut self, catalogue: &Catalogue, oid: u32, new: u32) -> Result<()> {
        let (object, old) = (Object::Schema(oid), catalogue.schema_owner(oid));
        let acl = catalogue.acl(&object).with_owner(old, new);
        grants::put_schema_owner(self.transaction()?, oid, new).await?;
        grants::put_acl(self.transaction()?, &object, Some(&acl)).await?;
        self.catalogue_changed();
        Ok(())
    }

    async fn give_database(&mut self, name: &str, new: u32) -> Result<()> {
        let (oid, old) = self.database_named(name)?;
        if old == new {
            return Ok(());
        }
        if !self.role.superuser {
            if !self.owns(old) {
                return Err(not_owner(ObjectKind::Database, name));
            }
            self.require_member(new)?;
            if !self.role.create_database {
                return Err(denied("permission denied to change owner of database"));
            }
        }
        let catalogue = self.facts.catalogue.clone();
        let Some(entry) = catalogue.databases.iter().find(|entry| entry.oid == oid) else { return Ok(()) };
        let changed = DatabaseEntry { owner: new, ..entry.clone() };
        let transaction = self.transaction()?;
        grants::put_database(transaction, &changed).await?;
        grants::change_owner(transaction, &catalogue, &Object::Database(oid), (old, new)).await?;
        self.catalogue_changed();
        Ok(())
    }

    /// Roles whose belongings a statement gives away or drops: whoever does it must have their rights.
    fn roles_with_belongings(&self, specs: &[RoleSpec], what: &str) -> Result<Vec<u32>> {
        let mut roles = Vec::with_capacity(specs.len());
        for spec in specs {
            let role = self.owner_named(spec)?;
            if !self.owns(role) {
                return Err(denied(format!("permission denied to {what} objects")));
            }
            roles.push(role);
        }
        if let Some(pinned) = roles.iter().find(|role| is_pinned(**role)) {
            let name = self.role_name(*pinned);
            let what = if what == "reassign" { "reassign ownership of" } else { what };
            let message = format!(
                "cannot {what} objects owned by role {name} because they are required by the database system"
            );
            return Err(SqlError::new(SqlState::DEPENDENT_OBJECTS_STILL_EXIST, message));
        }
        Ok(roles)
    }

    /// REASSIGN OWNED BY roles TO role.
    pub(super) async fn reassign_owned(&mut self, from: &[RoleSpec], to: &RoleSpec) -> Result<CommandTag> {
        const DONE: CommandTag = CommandTag::Words("REASSIGN OWNED");
        self.begin_role_change("REASSIGN OWNED").await?;
        self.see_all_rows().await?;
        self.catalogue().await?;
        let roles = self.roles_with_belongings(from, "reassign")?;
        let new = self.owner_named(to)?;
        self.hold_role(new).await?;
        if !self.owns(new) {
            return Err(denied("permission denied to reassign objects"));
        }
        let catalogue = self.facts.catalogue.clone();
        for oid in belongings(&catalogue, &roles) {
            let goes_along = catalogue.sequences.get(&oid).is_some_and(|found| found.owned_by.is_some());
            if !goes_along {
                self.set_owner(oid, new).await?;
            }
        }
        for (schema, _) in sql_catalogue::system::schemas() {
            if roles.contains(&catalogue.schema_owner(schema)) {
                self.set_schema_owner(&catalogue, schema, new).await?;
            }
        }
        for entry in catalogue.databases.iter().filter(|entry| roles.contains(&entry.owner)) {
            let changed = DatabaseEntry { owner: new, ..entry.clone() };
            grants::put_database(self.transaction()?, &changed).await?;
            self.catalogue_changed();
        }
        Ok(DONE)
    }

    /// DROP OWNED BY roles: what they own goes, and what they were granted.
    pub(super) async fn drop_owned(
        &mut self,
        parsed: &Parsed,
        specs: &[RoleSpec],
        cascade: bool,
    ) -> Result<CommandTag> {
        self.begin_role_change("DROP OWNED").await?;
        self.see_all_rows().await?;
        self.catalogue().await?;
        let roles = self.roles_with_belongings(specs, "drop")?;
        for role in &roles {
            // What was taken from the one before is gone.
            self.begin_statement().await?;
            let catalogue = self.catalogue().await?;
            self.forget_grants(&catalogue, *role).await?;
        }
        // Whatever search_path says, and whether or not the role may look into the schema.
        self.facts.names_are_given = true;
        self.refresh_path();
        let dropped = self.drop_belongings(parsed, &roles, cascade).await;
        self.facts.names_are_given = false;
        self.refresh_path();
        dropped?;
        Ok(CommandTag::Words("DROP OWNED"))
    }

    async fn drop_belongings(&mut self, parsed: &Parsed, roles: &[u32], cascade: bool) -> Result<()> {
        // The newest first: views go before what they read, and all that are left out go with their tables.
        let mut oids = belongings(&self.facts.catalogue, roles);
        oids.reverse();
        for oid in oids {
            self.begin_statement().await?;
            let catalogue = self.catalogue().await?;
            let Some((kind, _, name)) = catalogue.owned_relation(oid) else { continue };
            if catalogue.sequences.get(&oid).is_some_and(|found| found.owned_by.is_some()) {
                continue;
            }
            let kind = match kind {
                ObjectKind::View => DropKind::View,
                ObjectKind::Sequence => DropKind::Sequence,
                _ => DropKind::Table,
            };
            let ident = |name: &str| ast::Ident::with_quote('"', name.to_owned());
            let names = vec![ast::ObjectName::from(vec![ident(Schema::PUBLIC.name()), ident(name)])];
            let target = DropTarget { kind, names, if_exists: true, cascade, concurrently: false };
            match kind {
                DropKind::View => self.drop_views(parsed, &target).await?,
                DropKind::Sequence => self.drop_sequences(parsed, &target).await?,
                _ => self.drop_tables(parsed, &target).await?,
            };
        }
        Ok(())
    }

    /// Takes away what a role was granted, as far as the role that acts may, and what others have from it;
    /// its default privileges, too.
    async fn forget_grants(&mut self, catalogue: &Catalogue, role: u32) -> Result<()> {
        for object in catalogue.objects_naming(role) {
            let object = match object {
                Object::Relation(oid) | Object::Column(oid, _) => {
                    let made_up = sql_catalogue::system::made_up(&*self.environment, *oid);
                    made_up.unwrap_or(Object::Relation(*oid))
                }
                other => other.clone(),
            };
            self.revoke_all(&object, role).await?;
        }
        let mut defaults: Vec<_> = catalogue.rights.defaults.iter().collect();
        defaults.sort_by_key(|(of, _)| **of);
        for (of, acl) in defaults {
            let left: Option<Acl> = if of.role == role {
                None
            } else if acl.names(role) {
                let mut acl = acl.clone();
                acl.forget(role, of.role, catalogue)?;
                Some(acl).filter(|acl| !acl.is_same(&of.first_acl()))
            } else {
                continue;
            };
            grants::put_default(self.transaction()?, *of, left.as_ref()).await?;
            self.catalogue_changed();
        }
        Ok(())
    }

    /// What depends on a role, as the detail of an error names it: a line each.
    pub(super) fn dependents(&self, role: u32) -> Vec<String> {
        let catalogue = &self.facts.catalogue;
        let mut lines: Vec<((u32, i16, bool), String)> = Vec::new();
        for oid in belongings(catalogue, &[role]) {
            if let Some((kind, _, name)) = catalogue.owned_relation(oid) {
                lines.push(((oid, 0, false), format!("owner of {} {name}", kind.word())));
            }
        }
        for (schema, name) in sql_catalogue::system::schemas() {
            if catalogue.schema_owner(schema) == role {
                lines.push(((schema, 0, false), format!("owner of schema {name}")));
            }
        }
        for entry in catalogue.databases.iter().filter(|entry| entry.owner == role) {
            lines.push(((entry.oid, 0, false), format!("owner of database {}", entry.name)));
        }
        for object in catalogue.objects_naming(role) {
            let (oid, number, _) = object.sort_key();
            lines.push(((oid, number, true), format!("privileges for {}", described(catalogue, object))));
        }
        let mut defaults: Vec<_> = catalogue.rights.defaults.iter().collect();
        defaults.sort_by_key(|(of, _)| **of);
        for (of, acl) in defaults {
            let owns = of.role == role;
            if !owns && !acl.names(role) {
                continue;
            }
            let kinds = match of.kind {
                'S' => "sequences",
                'f' => "functions",
                'T' => "types",
                'n' => "schemas",
                _ => "relations",
            };
            let place = sql_catalogue::system::schemas()
                .into_iter()
                .find(|(oid, _)| *oid == of.schema)
                .map_or_else(String::new, |(_, name)| format!(" in schema {name}"));
            let maker = self.role_name(of.role);
            let what = format!("default privileges on new {kinds} belonging to role {maker}{place}");
            let line = if owns { format!("owner of {what}") } else { format!("privileges for {what}") };
            lines.push(((u32::MAX, 0, !owns), line));
        }
        lines.sort_by_key(|(place, _)| *place);
        lines.into_iter().map(|(_, line)| line).collect()
    }
}

/// Whether the system needs a role: those that nobody has made.
pub(super) fn is_pinned(role: u32) -> bool {
    role == BOOTSTRAP_ROLE_OID || sql_catalogue::rights::predefined::contains(role)
}

/// OIDs of the tables, views and sequences of some roles, in order.
fn belongings(catalogue: &Catalogue, roles: &[u32]) -> Vec<u32> {
    let tables = catalogue.relations.values().filter(|table| roles.contains(&table.owner));
    let views = catalogue.views.values().filter(|view| roles.contains(&view.owner));
    let sequences = catalogue.sequences.values().filter(|sequence| roles.contains(&sequence.owner));
    let mut oids: Vec<u32> = tables.map(|table| table.oid).collect();
    oids.extend(views.map(|view| view.oid));
    oids.extend(sequences.map(|sequence| sequence.oid));
    oids.sort_unstable();
    oids
}

/// An object in words.
fn described(catalogue: &Catalogue, object: &Object) -> String {
    let relation = |oid: u32| match catalogue.owned_relation(oid) {
        Some((kind, _, name)) => format!("{} {name}", kind.word()),
        None => format!("table {oid}"),
    };
    match object {
        Object::Relation(oid) => relation(*oid),
        Object::MadeUp(_, name) => format!("table {name}"),
        Object::Column(oid, number) => {
            let table = catalogue.relations.get(oid);
            let column = table.and_then(|table| table.columns.iter().find(|known| known.number == *number));
            let of_view = || {
                let view = catalogue.views.get(oid)?;
                let at = usize::try_from(*number).ok()?.checked_sub(1)?;
                view.columns.get(at).map(|column| column.name.clone())
            };
            let name = column.map(|column| column.name.clone()).or_else(of_view).unwrap_or_default();
            format!("column {name} of {}", relation(*oid))
        }
        Object::Schema(oid) => {
            let known = sql_catalogue::system::schemas().into_iter().find(|(known, _)| known == oid);
            format!("schema {}", known.map_or("", |(_, name)| name))
        }
        Object::Database(oid) => {
            let known = catalogue.databases.iter().find(|entry| entry.oid == *oid);
            format!("database {}", known.map_or("", |entry| entry.name.as_str()))
        }
        Object::Function(signature) => format!("function {}", signature.replace(", ", ",")),
    }
}
