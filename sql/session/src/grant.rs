//! GRANT and REVOKE of privileges, and ALTER DEFAULT PRIVILEGES (aclchk.c of PostgreSQL 15).

use super::SqlSession;
use super::rights::denied;
use sql_catalogue::Catalogue;
use sql_catalogue::grants;
use sql_catalogue::names::SYSTEM_COLUMNS;
use sql_catalogue::rights::{
    Acl, AclItem, Behaviour, DefaultFor, Members, Object, ObjectKind, PUBLIC, Privileges,
};
use sql_interface::{CommandTag, Result, Severity, SqlError};
use sql_language::parse::{Grant, GrantTarget, NamedPrivilege, Parsed, RoleSpec};
use sql_language::plan::rights;
use sqlstate::SqlState;

/// What of an object is granted or revoked: privileges of its whole, and of single columns by their names.
struct Asked {
    /// ALL PRIVILEGES
    all: bool,
    whole: Privileges,
    columns: Vec<(String, Privileges)>,
}

/// A change, the same for all its objects.
struct Change<'a> {
    grant: &'a Grant,
    grantees: Vec<u32>,
}

pub(super) fn invalid_grant(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::INVALID_GRANT_OPERATION, message)
}

impl SqlSession {
    /// GRANT, REVOKE and ALTER DEFAULT PRIVILEGES.
    pub(super) async fn grant(&mut self, parsed: &Parsed, grant: &Grant) -> Result<CommandTag> {
        let defaults = matches!(grant.target, GrantTarget::Defaults { .. });
        let word = match (defaults, grant.is_grant) {
            (true, _) => "ALTER DEFAULT PRIVILEGES",
            (false, true) => "GRANT",
            (false, false) => "REVOKE",
        };
        self.begin_role_change(word).await?;
        if let Some(by) = &grant.granted_by
            && self.role_of(by)? != self.role.oid
        {
            return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, "grantor must be current user"));
        }
        let mut grantees = Vec::with_capacity(grant.grantees.len());
        for grantee in &grant.grantees {
            grantees.push(self.role_of(grantee)?);
        }
        if grant.is_grant && grant.option && grantees.contains(&PUBLIC) {
            return Err(invalid_grant("grant options can only be granted to roles"));
        }
        let change = Change { grant, grantees };
        if let GrantTarget::Defaults { roles, schemas, kind } = &grant.target {
            self.change_defaults(&change, roles, (schemas, *kind)).await?;
            return Ok(CommandTag::Words(word));
        }
        let catalogue = self.facts.catalogue.clone();
        let objects = self.objects(parsed, &catalogue, &grant.target)?;
        let kind = kind_of(&grant.target);
        let asked = asked(grant, kind)?;
        for role in &change.grantees {
            if grant.is_grant {
                self.hold_role(*role).await?;
            }
        }
        for object in objects {
            self.change_object(&change, &object, &asked).await?;
        }
        Ok(CommandTag::Words(word))
    }

    /// The OID of a role that a statement names; 0 for PUBLIC.
    pub(super) fn role_of(&self, spec: &RoleSpec) -> Result<u32> {
        match spec {
            RoleSpec::Public => Ok(PUBLIC),
            RoleSpec::Current => Ok(self.role.oid),
            RoleSpec::Session => Ok(self.facts.session_role),
            RoleSpec::Named(name) => {
                let found = self.facts.catalogue.role(name).map(|role| role.oid);
                found.ok_or_else(|| {
                    SqlError::new(SqlState::UNDEFINED_OBJECT, format!("role \"{name}\" does not exist"))
                })
            }
        }
    }

    /// Changes the lists of one object: its own, and those of its columns.
    async fn change_object(&mut self, change: &Change<'_>, object: &Object, asked: &Asked) -> Result<()> {
        grants::lock(self.transaction()?, object).await?;
        self.begin_statement().await?;
        let catalogue = self.catalogue().await?;
        if let Object::Relation(oid) = object
            && catalogue.owned_relation(*oid).is_none()
        {
            // Somebody has dropped it meanwhile.
            let message = format!("relation with OID {oid} does not exist");
            return Err(SqlError::new(SqlState::UNDEFINED_TABLE, message));
        }
        let (kind, owner) = catalogue.kind_and_owner(object);
        let name = name_of(&catalogue, object);
        let (mut whole, mut all) = (asked.whole, asked.all);
        if matches!(change.grant.target, GrantTarget::Tables(_) | GrantTarget::AllTables(_)) {
            (whole, all) = self.of_table_syntax(kind, &name, (whole, all))?;
        }
        let mut of_columns = column_numbers(&catalogue, object, &name, &asked.columns)?;
        if all && asked.columns.is_empty() {
            whole = kind.all();
        }
        if !whole.is_empty() {
            let old = catalogue.acl(object);
            let (grantor, options) = catalogue.best_grantor(self.role.oid, (&old, owner), whole);
            let has_any = !catalogue.privileges(grantor, object, kind.all()).is_empty()
                || !old.options_held(grantor, owner, kind.all(), &*catalogue).is_empty();
            if options.is_empty() && !has_any && !self.role.superuser {
                return Err(rights::permission_denied(&catalogue, object));
            }
            let given = self.restrict(change, (whole, options, all), &format!("\"{name}\""));
            let new = changed(&old, change, (given, grantor, owner), &*catalogue)?;
            grants::put_acl(self.transaction()?, object, Some(&new)).await?;
            // What is taken of a table is taken of its columns, too.
            let of_column = whole & ObjectKind::Column.all();
            if let (false, Object::Relation(oid)) = (change.grant.is_grant || of_column.is_empty(), object) {
                for (number, column) in columns_of(&catalogue, *oid, grantor == owner) {
                    match of_columns.iter_mut().find(|(known, ..)| *known == number) {
                        Some((_, _, privileges)) => *privileges |= of_column,
                        None => of_columns.push((number, column, of_column)),
                    }
                }
            }
        }
        if let Object::Relation(oid) = object {
            of_columns.sort_by_key(|(number, ..)| *number);
            for (number, column, privileges) in of_columns {
                let at = (object, Object::Column(*oid, number), column);
                self.change_column_rights(change, at, privileges, &name).await?;
            }
        }
        self.catalogue_changed();
        Ok(())
    }

    /// GRANT ... ON TABLE takes sequences, too, with what they know of it.
    fn of_table_syntax(
        &mut self,
        kind: ObjectKind,
        name: &str,
        (whole, all): (Privileges, bool),
    ) -> Result<(Privileges, bool)> {
        if all {
            return Ok((whole, all));
        }
        let foreign = whole.without(kind.all());
        if kind == ObjectKind::Sequence {
            if !foreign.is_empty() {
                let message =
                    format!("sequence \"{name}\" only supports USAGE, SELECT, and UPDATE privileges");
                let code = SqlState::INVALID_GRANT_OPERATION;
                self.notices.push(SqlError::report(Severity::Warning, code, message));
            }
            return Ok((whole & kind.all(), all));
        }
        if foreign.is_empty() {
            return Ok((whole, all));
        }
        Err(invalid_grant(format!("invalid privilege type {} for table", foreign.word())))
    }

    async fn change_column_rights(
        &mut self,
        change: &Change<'_>,
        (table, object, column): (&Object, Object, String),
        privileges: Privileges,
        table_name: &str,
    ) -> Result<()> {
        grants::lock(self.transaction()?, &object).await?;
        let catalogue = self.catalogue().await?;
        let (_, owner) = catalogue.kind_and_owner(table);
        let old = catalogue.acl(&object);
        // Who may grant on the table may grant on its columns.
        let together = catalogue.acl(table).merged(&old);
        let (grantor, options) = catalogue.best_grantor(self.role.oid, (&together, owner), privileges);
        let has_any = !together.held(grantor, ObjectKind::Column.all(), &*catalogue).is_empty()
            || !catalogue.privileges(grantor, table, ObjectKind::Column.all()).is_empty()
            || !together.options_held(grantor, owner, ObjectKind::Column.all(), &*catalogue).is_empty();
        if options.is_empty() && !has_any && !self.role.superuser {
            let message = format!("permission denied for column \"{column}\" of relation \"{table_name}\"");
            return Err(denied(message));
        }
        let what = format!("column \"{column}\" of relation \"{table_name}\"");
        let all = privileges == ObjectKind::Column.all();
        let given = self.restrict(change, (privileges, options, all), &what);
        let new = changed(&old, change, (given, grantor, owner), &*catalogue)?;
        if new.is_empty() && old.is_empty() {
            return Ok(());
        }
        grants::put_acl(self.transaction()?, &object, (!new.is_empty()).then_some(&new)).await
    }

    /// REVOKE ALL of an object from a role, CASCADE, as far as the role that acts may.
    pub(super) async fn revoke_all(&mut self, object: &Object, from: u32) -> Result<()> {
        let grant = Grant {
            is_grant: false,
            option: false,
            privileges: None,
            all_columns: Vec::new(),
            target: GrantTarget::Schemas(Vec::new()),
            grantees: Vec::new(),
            granted_by: None,
            cascade: true,
        };
        let change = Change { grant: &grant, grantees: vec![from] };
        let asked = Asked { all: true, whole: Privileges::NONE, columns: Vec::new() };
        self.change_object(&change, object, &asked).await
    }

    /// What of the wanted may be given or taken by the options that there are; a warning if that is not all.
    fn restrict(
        &mut self,
        change: &Change<'_>,
        (wanted, options, all): (Privileges, Privileges, bool),
        what: &str,
    ) -> Privileges {
        let given = wanted & options;
        let (code, verb) = if change.grant.is_grant {
            (SqlState::WARNING_PRIVILEGE_NOT_GRANTED, "were granted")
        } else {
            (SqlState::WARNING_PRIVILEGE_NOT_REVOKED, "could be revoked")
        };
        let how = if given.is_empty() {
            "no"
        } else if !all && given != wanted {
            "not all"
        } else {
            return given;
        };
        self.notices.push(SqlError::report(
            Severity::Warning,
            code,
            format!("{how} privileges {verb} for {what}"),
        ));
        given
    }

    async fn change_defaults(
        &mut self,
        change: &Change<'_>,
        roles: &[RoleSpec],
        (schemas, kind): (&[String], char),
    ) -> Result<()> {
        let mut of = Vec::new();
        for role in roles {
            let role = self.owner_named(role)?;
            if !self.facts.catalogue.is_member_of(self.role.oid, role) {
                let name = self.facts.catalogue.roles.get(&role).map_or_else(String::new, |r| r.name.clone());
                return Err(denied(format!("must be member of role \"{name}\"")));
            }
            of.push(role);
        }
        if of.is_empty() {
            of.push(self.role.oid);
        }
        let mut in_schemas = Vec::new();
        for schema in schemas {
            in_schemas.push(schema_oid(schema)?);
        }
        if in_schemas.is_empty() {
            in_schemas.push(0);
        } else if kind == 'n' {
            return Err(invalid_grant("cannot use IN SCHEMA clause when using GRANT/REVOKE ON SCHEMAS"));
        }
        let objects = DefaultFor { role: 0, schema: 0, kind }.object_kind();
        let asked = asked(change.grant, objects)?;
        if !asked.columns.is_empty() {
            return Err(invalid_grant("default privileges cannot be set for columns"));
        }
        for role in of {
            for schema in &in_schemas {
                let of = DefaultFor { role, schema: *schema, kind };
                self.change_default(change, of, &asked).await?;
            }
        }
        Ok(())
    }

    async fn change_default(&mut self, change: &Change<'_>, of: DefaultFor, asked: &Asked) -> Result<()> {
        grants::lock_default(self.transaction()?, of).await?;
        self.begin_statement().await?;
        let catalogue = self.catalogue().await?;
        let kind = of.object_kind();
        let base = of.first_acl();
        let known = catalogue.rights.defaults.get(&of);
        let old = known.cloned().unwrap_or_else(|| base.clone());
        let privileges = if asked.all { kind.all() } else { asked.whole };
        let new = changed(&old, change, (privileges, of.role, of.role), &*catalogue)?.sorted();
        if new.is_same(&base) {
            if known.is_some() {
                grants::put_default(self.transaction()?, of, None).await?;
            }
        } else {
            grants::put_default(self.transaction()?, of, Some(&new)).await?;
        }
        self.catalogue_changed();
        Ok(())
    }
}

/// The OID of a schema; 3F000 if there is none.
pub(super) fn schema_oid(name: &str) -> Result<u32> {
    let known = sql_catalogue::system::schemas();
    known.iter().find(|(_, known)| *known == name).map(|(oid, _)| *oid).ok_or_else(|| {
        SqlError::new(SqlState::INVALID_SCHEMA_NAME, format!("schema \"{name}\" does not exist"))
    })
}

/// The kind whose privileges may be named.
fn kind_of(target: &GrantTarget) -> ObjectKind {
    match target {
        GrantTarget::Tables(_) | GrantTarget::AllTables(_) | GrantTarget::Defaults { .. } => {
            ObjectKind::Table
        }
        GrantTarget::Sequences(_) | GrantTarget::AllSequences(_) => ObjectKind::Sequence,
        GrantTarget::Functions(_)
        | GrantTarget::AllFunctions(_)
        | GrantTarget::Procedures(_)
        | GrantTarget::AllProcedures(_) => ObjectKind::Function,
        GrantTarget::Schemas(_) => ObjectKind::Schema,
        GrantTarget::Databases(_) => ObjectKind::Database,
    }
}

/// Reads the privileges of a statement.
fn asked(grant: &Grant, kind: ObjectKind) -> Result<Asked> {
    let is_relation = kind == ObjectKind::Table;
    let mut asked = Asked { all: grant.privileges.is_none(), whole: Privileges::NONE, columns: Vec::new() };
    let defaults = matches!(grant.target, GrantTarget::Defaults { .. });
    let (allowed, word) = match kind {
        // Sequences may be named where tables may.
        ObjectKind::Table if !defaults => (kind.all() | ObjectKind::Sequence.all(), "relation"),
        ObjectKind::Table => (kind.all(), "relation"),
        ObjectKind::Absent(_) => (kind.all(), "type"),
        other => (other.all(), other.word()),
    };
    if !grant.all_columns.is_empty() {
        if !is_relation {
            return Err(invalid_grant("column privileges are only valid for relations"));
        }
        let all = ObjectKind::Column.all();
        asked.columns = grant.all_columns.iter().map(|name| (name.clone(), all)).collect();
    }
    for NamedPrivilege { name, columns } in grant.privileges.iter().flatten() {
        let Some(one) = Privileges::from_word(name) else {
            return Err(SqlError::syntax(format!("unrecognized privilege type \"{name}\"")));
        };
        let invalid =
            |word: &str| Err(invalid_grant(format!("invalid privilege type {} for {word}", one.word())));
        if columns.is_empty() {
            if !allowed.has(one) {
                return invalid(word);
            }
            asked.whole |= one;
            continue;
        }
        if !is_relation || defaults {
            return Err(invalid_grant("column privileges are only valid for relations"));
        }
        if !ObjectKind::Column.all().has(one) {
            return invalid("column");
        }
        for column in columns {
            match asked.columns.iter_mut().find(|(known, _)| known == column) {
                Some((_, privileges)) => *privileges |= one,
                None => asked.columns.push((column.clone(), one)),
            }
        }
    }
    Ok(asked)
}

/// Numbers of the columns that a grant names.
fn column_numbers(
    catalogue: &Catalogue,
    object: &Object,
    table: &str,
    columns: &[(String, Privileges)],
) -> Result<Vec<(i16, String, Privileges)>> {
    let mut found = Vec::with_capacity(columns.len());
    if !columns.is_empty() && !matches!(object, Object::Relation(_)) {
        return Err(SqlError::unsupported("rights on columns of a system table"));
    }
    for (name, privileges) in columns {
        if SYSTEM_COLUMNS.contains(&name.as_str()) {
            return Err(SqlError::unsupported(format!("rights on the system column {name}")));
        }
        let number = match object {
            Object::Relation(oid) => match (catalogue.relations.get(oid), catalogue.views.get(oid)) {
                (Some(relation), _) => {
                    let at = relation.column(name);
                    at.and_then(|at| relation.columns.get(at)).map(|column| column.number)
                }
                (None, Some(view)) => {
                    let at = view.columns.iter().position(|column| column.name == *name);
                    at.and_then(|at| i16::try_from(at + 1).ok())
                }
                (None, None) => None,
            },
            _ => None,
        };
        let number = number.ok_or_else(|| {
            let message = format!("column \"{name}\" of relation \"{table}\" does not exist");
            SqlError::new(SqlState::UNDEFINED_COLUMN, message)
        })?;
        found.push((number, name.clone(), *privileges));
    }
    Ok(found)
}

/// Numbers and names of a relation's columns; `known`: only of those that have rights of their own, and
/// without names. Whoever may not revoke something is warned of each, the system's among them.
fn columns_of(catalogue: &Catalogue, relation: u32, known: bool) -> Vec<(i16, String)> {
    if known {
        return catalogue.columns_with_rights(relation).map(|number| (number, String::new())).collect();
    }
    let all = catalogue.numbered_columns(relation);
    all.into_iter().map(|(number, name)| (number, name.to_owned())).collect()
}

/// A list after a change (merge_acl_with_grant).
fn changed(
    old: &Acl,
    change: &Change<'_>,
    (privileges, grantor, owner): (Privileges, u32, u32),
    members: &dyn Members,
) -> Result<Acl> {
    let Grant { is_grant, option, cascade, .. } = *change.grant;
    let mut new = old.clone();
    for grantee in &change.grantees {
        // GRANT ... WITH GRANT OPTION gives both; a plain REVOKE takes both, and GRANT OPTION FOR the option
        // alone.
        let item = AclItem {
            grantee: *grantee,
            grantor,
            privileges: if is_grant || !option { privileges } else { Privileges::NONE },
            options: if !is_grant || option { privileges } else { Privileges::NONE },
        };
        if is_grant {
            new.grant(item, owner, members)?;
        } else {
            let behaviour = if cascade { Behaviour::Cascade } else { Behaviour::Restrict };
            new.revoke(item, owner, behaviour, members)?;
        }
    }
    Ok(new)
}

/// The name of an object, for messages.
fn name_of(catalogue: &Catalogue, object: &Object) -> String {
    match object {
        Object::Relation(oid) | Object::Column(oid, _) => {
            catalogue.owned_relation(*oid).map_or_else(|| oid.to_string(), |(_, _, name)| name.to_owned())
        }
        Object::MadeUp(_, name) => (*name).to_owned(),
        Object::Schema(oid) => {
            let known = sql_catalogue::system::schemas().into_iter().find(|(known, _)| known == oid);
            known.map_or_else(|| oid.to_string(), |(_, name)| name.to_owned())
        }
        Object::Database(oid) => {
            let known = catalogue.databases.iter().find(|entry| entry.oid == *oid);
            known.map_or_else(|| oid.to_string(), |entry| entry.name.clone())
        }
        Object::Function(signature) => signature.split('(').next().unwrap_or_default().to_owned(),
    }
}
