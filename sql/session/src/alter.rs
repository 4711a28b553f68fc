//! ALTER TABLE, as far as rows need no rewriting, and ADD PRIMARY KEY, which rewrites them.

use super::SqlSession;
use super::definition::{
    AddedColumn, added_column, check_text, identity_of, key_columns, refuse_first, refuse_of_identity,
    refuse_system_name, require_key_types, require_plain_key, unique_key,
};
use super::naming::Going;
use super::options;
use sql_catalogue::grants;
use sql_catalogue::rights::Object;
use sql_catalogue::{Column, POSTGRES_DATABASE, PrimaryKey, Relation, store};
use sql_execution::{row, violation};
use sql_interface::{CommandTag, Result, SqlError};
use sql_language::expr::{self, EvalContext, Expr};
use sql_language::parse::{Parsed, RoleSpec, columns, fold};
use sql_language::plan::BATCH;
use sql_types::{Datum, Style, Type, TypeId};
use sqlparser::ast::{self, AlterTableOperation};
use sqlstate::SqlState;
use std::sync::Arc;
use storage::{Direction, KeyRange, LockMode, LockWait, TableLockMode};

impl SqlSession {
    pub(super) async fn alter_table(
        &mut self,
        parsed: &Parsed,
        alter: &ast::AlterTable,
    ) -> Result<CommandTag> {
        self.refuse_in_read_only(true, "ALTER TABLE")?;
        // ONLY says nothing where nothing inherits; the last ones are of other servers.
        let ast::AlterTable {
            name,
            if_exists,
            only: _,
            operations,
            location,
            on_cluster,
            table_type,
            end_token: _,
        } = alter;
        let foreign = location.is_some() || on_cluster.is_some() || table_type.is_some();
        refuse_first(&[(foreign, "this form of ALTER TABLE")])?;
        let operations = in_passes(operations)?;
        if self.alter_other(parsed, name, &operations).await? {
            return Ok(CommandTag::Words("ALTER TABLE"));
        }
        for operation in operations {
            let wait = self.lock_wait();
            let relation = match self.lock_relation(parsed, name, TableLockMode::AccessExclusive, wait).await
            {
                Ok(relation) => relation,
                Err(error)
                    if *if_exists
                        && [SqlState::UNDEFINED_TABLE, SqlState::INVALID_SCHEMA_NAME]
                            .contains(&error.code()) =>
                {
                    self.notice(format!("relation \"{}\" does not exist, skipping", name));
                    return Ok(CommandTag::Words("ALTER TABLE"));
                }
                Err(error) => return Err(error),
            };
            self.require_owner(&relation)?;
            self.refuse_altering_in_use(&relation, operation)?;
            // The table's own entry changes with any of its parts, so that transactions with older snapshots
            // see that they must not write.
            store::put_relation(self.transaction()?, &relation).await?;
            self.alter_once(parsed, &relation, operation).await?;
            self.catalogue_changed();
        }
        Ok(CommandTag::Words("ALTER TABLE"))
    }

    async fn alter_once(
        &mut self,
        parsed: &Parsed,
        relation: &Arc<Relation>,
        operation: &AlterTableOperation,
    ) -> Result<()> {
        match operation {
            AlterTableOperation::AddColumn {
                column_keyword: _,
                if_not_exists,
                column_def,
                column_position: None,
            } => self.add_column(parsed, relation, column_def, *if_not_exists).await,
            AlterTableOperation::DropColumn {
                has_column_keyword: _,
                column_names,
                if_exists,
                drop_behavior,
            } => {
                self.refuse_under_views(relation, "DROP COLUMN").await?;
                let cascade = matches!(drop_behavior, Some(ast::DropBehavior::Cascade));
                for name in column_names {
                    self.drop_column(parsed, relation, &fold(name), (*if_exists, cascade)).await?;
                }
                Ok(())
            }
            AlterTableOperation::RenameColumn { old_column_name, new_column_name } => {
                self.rename_column(relation, &fold(old_column_name), fold(new_column_name)).await
            }
            AlterTableOperation::RenameTable { table_name: ast::RenameTableNameKind::To(name) } => {
                self.refuse_under_views(relation, "RENAME").await?;
                self.rename_table(parsed, relation, name).await
            }
            AlterTableOperation::AlterColumn { column_name, op } => {
                self.alter_column(parsed, relation, &fold(column_name), op).await
            }
            AlterTableOperation::AddConstraint { constraint, not_valid } => {
                self.add_constraint(parsed, relation, constraint, *not_valid).await
            }
            AlterTableOperation::ValidateConstraint { name } => {
                self.validate_check(parsed, relation, &fold(name)).await
            }
            // Nothing depends on a constraint.
            AlterTableOperation::DropConstraint { if_exists, name, drop_behavior: _ } => {
                self.drop_constraint(relation, &fold(name), *if_exists).await
            }
            AlterTableOperation::OwnerTo { new_owner } => {
                self.give_relation(relation.oid, self.new_owner(new_owner)?).await
            }
            AlterTableOperation::SetOptionsParens { options } => {
                let catalogue = self.catalogue().await?;
                let before = catalogue.options.get(&relation.oid).map_or(&[][..], Vec::as_slice);
                let options = options::set(before, options::of_table(options)?);
                grants::put_options(self.transaction()?, relation.oid, &options).await
            }
            other => {
                let text = other.to_string();
                let words: Vec<&str> = text.split_whitespace().take(2).collect();
                Err(SqlError::unsupported(format!("ALTER TABLE {}", words.join(" "))))
            }
        }
    }

    async fn change_column(
        &mut self,
        relation: &Relation,
        at: usize,
        change: impl FnOnce(&mut Column),
    ) -> Result<()> {
        let Some(mut column) = relation.columns.get(at).cloned() else {
            return Err(SqlError::internal("no such column"));
        };
        change(&mut column);
        store::put_column(self.transaction()?, relation.oid, &column).await
    }

    async fn add_column(
        &mut self,
        parsed: &Parsed,
        relation: &Arc<Relation>,
        definition: &ast::ColumnDef,
        if_not_exists: bool,
    ) -> Result<()> {
        self.require_type(&definition.data_type)?;
        let AddedColumn { mut column, checks, uniques, sequences } = added_column(relation, definition)?;
        refuse_system_name(&column.name)?;
        if relation.column(&column.name).is_some() {
            return self.skip_existing(if_not_exists, duplicate_column(relation, &column.name));
        }
        let mut changed = Relation::clone(relation);
        changed.columns.push(column.clone());
        changed.lay_out();
        if !sequences.is_empty() {
            if !self.is_empty(relation).await? {
                return Err(SqlError::unsupported("ADD COLUMN with a sequence to a table that has rows"));
            }
            for own in &sequences {
                self.add_own_sequence(&mut changed, own).await?;
            }
            self.begin_statement().await?;
            self.catalogue().await?;
        }
        self.keep_default(parsed, &mut changed, relation.columns.len()).await?;
        if let Some(added) = changed.columns.last() {
            column = added.clone();
        }
        // The default of now is what the rows that are there hold.
        let value = if sequences.is_empty() {
            self.default_now(parsed, &changed, relation.columns.len())?
        } else {
            Datum::Null
        };
        if value.is_null() && column.not_null && !self.is_empty(relation).await? {
            return Err(has_nulls(relation, &column.name));
        }
        column.missing = value.to_text(&Style::default());
        store::put_column(self.transaction()?, relation.oid, &column).await?;
        if uniques.is_empty() && checks.is_empty() {
            return Ok(());
        }
        let mut changed = Relation::clone(relation);
        changed.columns.push(column);
        changed.lay_out();
        for given in checks {
            let relation = Arc::new(changed.clone());
            changed.checks.push(self.add_check(parsed, &relation, given, false).await?);
        }
        for unique in &uniques {
            let index = self.unique_index(&changed, unique).await?;
            self.add_index(&changed, index).await?;
        }
        Ok(())
    }

    /// The value of a new column's default, which must not differ from row to row.
    fn default_now(&self, parsed: &Parsed, changed: &Relation, at: usize) -> Result<Datum> {
        let catalogue = self.facts.catalogue.clone();
        let default: Expr = self.analysing(parsed, Vec::new(), &catalogue, |analyzer| {
            let default = analyzer.default_value(changed, at)?;
            if default.is_volatile() || !analyzer.take_deferred().is_empty() {
                return Err(SqlError::unsupported("ADD COLUMN with a volatile default"));
            }
            Ok(default)
        })?;
        default.eval(&EvalContext::of_no_row(&self.facts))
    }

    /// Whether a table that nobody else can write has no rows at all.
    async fn is_empty(&mut self, relation: &Relation) -> Result<bool> {
        let canceller = self.canceller.clone();
        let explain = |error| canceller.explain(error);
        let transaction = self.transaction()?;
        let scan = transaction.scan_complete(relation.tree, KeyRange::all(), Direction::Forward);
        let mut scan = scan.await.map_err(explain)?;
        let mut found = Vec::new();
        while found.is_empty() && scan.next_batch(transaction, 1, &mut found).await.map_err(explain)? {
            canceller.check()?;
        }
        Ok(found.is_empty())
    }

    async fn drop_column(
        &mut self,
        parsed: &Parsed,
        relation: &Relation,
        name: &str,
        (if_exists, cascade): (bool, bool),
    ) -> Result<()> {
        let Some(at) = relation.column(name) else {
            keep_system_column(name, "drop")?;
            if if_exists {
                let table = &relation.name;
                self.notice(format!("column \"{name}\" of relation \"{table}\" does not exist, skipping"));
                return Ok(());
            }
            return relation.require_column(name).map(|_| ());
        };
        if relation.primary_key.as_ref().is_some_and(|key| key.columns.contains(&at)) {
            return Err(SqlError::unsupported("DROP COLUMN of a primary key column"));
        }
        self.drop_checks_of(relation, name).await?;
        for index in relation.indexes.iter().filter(|i| i.columns.iter().any(|column| column.at == at)) {
            self.remove_index(relation, index).await?;
        }
        let number = relation.columns.get(at).map(|column| column.number);
        if let Some(number) = number
            && self.facts.catalogue.columns_with_rights(relation.oid).any(|known| known == number)
        {
            let object = Object::Column(relation.oid, number);
            grants::put_acl(self.transaction()?, &object, None).await?;
        }
        self.change_column(relation, at, |column| {
            column.identity = None;
            column.name = format!("........pg.dropped.{}........", column.number);
            column.dropped = true;
            column.not_null = false;
            column.default = None;
            column.missing = None;
        })
        .await?;
        let going = Going { tables: &[], column: number.map(|number| (relation.oid, number)) };
        self.drop_sequences_of(parsed, (relation.oid, number), going, cascade).await
    }

    async fn rename_column(&mut self, relation: &Relation, old: &str, new: String) -> Result<()> {
        keep_system_column(old, "rename")?;
        let at = relation.require_column(old)?;
        refuse_system_name(&new)?;
        if relation.column(&new).is_some() {
            return Err(duplicate_column(relation, &new));
        }
        self.refuse_under_views(relation, "RENAME COLUMN").await?;
        self.rename_in_checks(relation, old, &new).await?;
        self.change_column(relation, at, |column| column.name = new).await
    }

    async fn alter_column(
        &mut self,
        parsed: &Parsed,
        relation: &Arc<Relation>,
        name: &str,
        operation: &ast::AlterColumnOperation,
    ) -> Result<()> {
        use ast::AlterColumnOperation as Op;
        let at = relation.require_column(name)?;
        refuse_of_identity(relation, at, operation)?;
        match operation {
            Op::GenericOptions { .. } => Err(SqlError::unsupported("ALTER COLUMN OPTIONS")),
            Op::SetNotNull => {
                self.require_no_nulls(relation, at).await?;
                self.change_column(relation, at, |column| column.not_null = true).await
            }
            Op::DropNotNull => {
                if relation.primary_key.as_ref().is_some_and(|key| key.columns.contains(&at)) {
                    return Err(SqlError::new(
                        SqlState::INVALID_TABLE_DEFINITION,
                        format!("column \"{name}\" is in a primary key"),
                    ));
                }
                self.change_column(relation, at, |column| column.not_null = false).await
            }
            Op::SetDefault { value } => {
                let mut changed = Relation::clone(relation);
                if let Some(column) = changed.columns.get_mut(at) {
                    column.default = Some(columns::text_of(value));
                }
                self.keep_default(parsed, &mut changed, at).await?;
                let default = changed.columns.get(at).and_then(|column| column.default.clone());
                self.change_column(relation, at, |column| column.default = default).await
            }
            Op::DropDefault => self.change_column(relation, at, |column| column.default = None).await,
            Op::SetDataType { data_type, using, had_set: _ } => {
                self.change_type(relation, (at, name), data_type, using.as_ref()).await
            }
            Op::AddGenerated { generated_as, sequence_options } => {
                let generated = generated_as.unwrap_or(ast::GeneratedAs::Always);
                let own = identity_of(at, generated, sequence_options.as_deref())?;
                // As in PostgreSQL, errors of the sequence come before those of the column.
                let mut changed = Relation::clone(relation);
                self.add_own_sequence(&mut changed, &own).await?;
                let column = relation.columns.get(at);
                let column = column.ok_or_else(|| SqlError::internal("no such column"))?;
                let reason = if !column.not_null {
                    Some("must be declared NOT NULL before identity can be added")
                } else if column.identity.is_some() {
                    Some("is already an identity column")
                } else if column.default.is_some() {
                    Some("already has a default value")
                } else {
                    None
                };
                if let Some(reason) = reason {
                    return Err(SqlError::new(
                        SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
                        format!("column \"{name}\" of relation \"{}\" {reason}", relation.name),
                    ));
                }
                self.change_column(&changed, at, |_| ()).await
            }
        }
    }

    /// ALTER COLUMN TYPE, where rows stay as they are.
    async fn change_type(
        &mut self,
        relation: &Arc<Relation>,
        (at, name): (usize, &str),
        data_type: &ast::DataType,
        using: Option<&ast::Expr>,
    ) -> Result<()> {
        let is_itself = |using: &ast::Expr| matches!(using, ast::Expr::Identifier(of) if fold(of) == name);
        if using.is_some_and(|using| !is_itself(using)) {
            return Err(SqlError::unsupported("ALTER COLUMN TYPE ... USING"));
        }
        self.require_type(data_type)?;
        self.refuse_under_views(relation, "ALTER COLUMN TYPE").await?;
        let ty = expr::data_type(data_type)?;
        let old = relation.columns.get(at).map(|column| column.ty);
        if old.is_some_and(|old| widens(old, ty)) {
            return self.change_column(relation, at, |column| column.ty = ty).await;
        }
        Err(SqlError::unsupported("ALTER COLUMN TYPE that rewrites rows"))
    }

    /// 23502 if any row of a table that nobody else can write has no value in this column.
    async fn require_no_nulls(&mut self, relation: &Relation, at: usize) -> Result<()> {
        let canceller = self.canceller.clone();
        let explain = |error| canceller.explain(error);
        let transaction = self.transaction()?;
        let scan = transaction.scan_complete(relation.tree, KeyRange::all(), Direction::Forward);
        let mut scan = scan.await.map_err(explain)?;
        let mut batch = Vec::new();
        loop {
            batch.clear();
            let more = scan.next_batch(transaction, BATCH, &mut batch).await.map_err(explain)?;
            for (key, value) in &batch {
                let found = row::decode(relation, &[at], key, value)?;
                if found.get(at).is_none_or(Datum::is_null) {
                    let name = relation.columns.get(at).map_or("", |column| &column.name);
                    return Err(has_nulls(relation, name));
                }
            }
            if !more {
                return Ok(());
            }
            canceller.check()?;
        }
    }

    async fn add_constraint(
        &mut self,
        parsed: &Parsed,
        relation: &Arc<Relation>,
        constraint: &ast::TableConstraint,
        not_valid: bool,
    ) -> Result<()> {
        if not_valid && !matches!(constraint, ast::TableConstraint::Check(_)) {
            return Err(SqlError::unsupported("NOT VALID of a constraint that is no CHECK constraint"));
        }
        match constraint {
            ast::TableConstraint::PrimaryKey(key) => {
                require_plain_key(key)?;
                let columns = key_columns(&relation.columns, &key.columns, "primary key")?;
                self.add_primary_key(relation, key.name.as_ref().map(fold), columns).await
            }
            ast::TableConstraint::Check(check) => {
                let given = (check.name.as_ref().map(fold), check_text(check)?);
                self.add_check(parsed, relation, given, not_valid).await.map(|_| ())
            }
            ast::TableConstraint::Unique(unique) => {
                let columns = key_columns(&relation.columns, &unique.columns, "unique")?;
                let key = unique_key(unique, unique.name.as_ref().map(fold), columns)?;
                let index = self.unique_index(relation, &key).await?;
                self.add_index(relation, index).await
            }
            ast::TableConstraint::ForeignKey(_) => Err(SqlError::unsupported("FOREIGN KEY")),
            _ => Err(SqlError::unsupported("this table constraint")),
        }
    }

    /// Rewrites the table into a tree keyed by the new primary key.
    async fn add_primary_key(
        &mut self,
        relation: &Relation,
        name: Option<String>,
        columns: Vec<usize>,
    ) -> Result<()> {
        if relation.primary_key.is_some() {
            return Err(SqlError::new(
                SqlState::INVALID_TABLE_DEFINITION,
                format!("multiple primary keys for table \"{}\" are not allowed", relation.name),
            ));
        }
        require_key_types(&relation.columns, &columns)?;
        let name = self.key_name(&relation.name, name).await?;
        let mut changed = relation.clone();
        for at in &columns {
            if let Some(column) = changed.columns.get_mut(*at) {
                column.not_null = true;
            }
        }
        changed.primary_key =
            Some(PrimaryKey { oid: self.engine.database().allocate_number()?, name, columns });
        changed.lay_out();
        self.see_all_rows().await?;
        let canceller = self.canceller.clone();
        let transaction = self.transaction()?;
        changed.tree =
            transaction.create_tree(POSTGRES_DATABASE).await.map_err(|error| canceller.explain(error))?;
        let needed: Vec<usize> = relation.live_columns().map(|(at, _)| at).collect();
        let mut scan = transaction.scan(relation.tree, KeyRange::all(), Direction::Forward);
        let mut batch = Vec::new();
        loop {
            batch.clear();
            let more =
                scan.next_batch(transaction, BATCH, &mut batch).await.map_err(|e| canceller.explain(e))?;
            for (key, value) in &batch {
                let values = row::decode(relation, &needed, key, value)?;
                if let Some(at) = row::forbidden_null(&changed, &values) {
                    let name = changed.columns.get(at).map_or("", |column| &column.name);
                    return Err(has_nulls(&changed, name));
                }
                let mut new_key = Vec::new();
                row::encode_key(&changed, &values, &mut new_key)?;
                let locked =
                    transaction.lock(changed.tree, &new_key, LockMode::Exclusive, LockWait::Forever).await?;
                if locked.newest.is_some() {
                    let Some(key) = &changed.primary_key else { continue };
                    let key = (key.name.as_str(), key.columns.as_slice());
                    return Err(violation::duplicate_in_build(&self.facts, &changed, key, &values));
                }
                transaction.put(changed.tree, new_key, row::encode_value(&changed, &values)?)?;
            }
            if !more {
                break;
            }
            canceller.check()?;
        }
        transaction.drop_tree(relation.tree)?;
        store::put_relation(transaction, &changed).await?;
        if let Some(key) = &changed.primary_key {
            store::put_primary_key(transaction, changed.oid, key, &changed.columns).await?;
            for column in key.columns.iter().filter_map(|at| changed.columns.get(*at)) {
                store::put_column(transaction, changed.oid, column).await?;
            }
        }
        // Rows have new keys, which the entries of indexes end in.
        self.rebuild_indexes(&changed).await
    }

    async fn drop_constraint(&mut self, relation: &Relation, name: &str, if_exists: bool) -> Result<()> {
        if relation.primary_key.as_ref().is_some_and(|key| key.name == name) {
            return Err(SqlError::unsupported("dropping a primary key"));
        }
        let unique = relation.indexes.iter().find(|index| index.constraint && index.name == name);
        if let Some(index) = unique {
            return self.remove_index(relation, index).await;
        }
        match relation.checks.iter().find(|check| check.name == name) {
            Some(check) => store::delete_constraint(self.transaction()?, relation.oid, check.oid).await,
            None => {
                let message =
                    format!("constraint \"{name}\" of relation \"{}\" does not exist", relation.name);
                self.skip_missing(if_exists, SqlState::UNDEFINED_OBJECT, message)
            }
        }
    }

    /// The role that OWNER TO names.
    pub(super) fn new_owner(&self, owner: &ast::Owner) -> Result<u32> {
        self.role_of(&match owner {
            ast::Owner::Ident(name) => RoleSpec::Named(fold(name)),
            ast::Owner::CurrentRole | ast::Owner::CurrentUser => RoleSpec::Current,
            ast::Owner::SessionUser => RoleSpec::Session,
        })
    }
}

/// The operations in the order in which PostgreSQL runs them, whatever the order in which they are written:
/// what drops, changes of types, new columns, what columns must hold, keys, then the rest.
fn in_passes(operations: &[AlterTableOperation]) -> Result<Vec<&AlterTableOperation>> {
    use ast::{AlterColumnOperation as Op, TableConstraint as Constraint};
    let pass = |operation: &&AlterTableOperation| match operation {
        AlterTableOperation::DropColumn { .. }
        | AlterTableOperation::DropConstraint { .. }
        | AlterTableOperation::AlterColumn { op: Op::DropDefault | Op::DropNotNull, .. } => 0,
        AlterTableOperation::AlterColumn { op: Op::SetDataType { .. }, .. } => 1,
        AlterTableOperation::AddColumn { .. } => 2,
        AlterTableOperation::AlterColumn { op: Op::SetNotNull, .. } => 3,
        AlterTableOperation::AddConstraint {
            constraint: Constraint::PrimaryKey(_) | Constraint::Unique(_),
            ..
        } => 4,
        AlterTableOperation::AddConstraint { .. } | AlterTableOperation::AlterColumn { .. } => 5,
        _ => 6,
    };
    let renames = |operation: &AlterTableOperation| {
        matches!(
            operation,
            AlterTableOperation::RenameColumn { .. }
                | AlterTableOperation::RenameTable { .. }
                | AlterTableOperation::RenameConstraint { .. }
        )
    };
    if operations.len() > 1 && operations.iter().any(renames) {
        return Err(SqlError::syntax("RENAME stands alone in ALTER TABLE"));
    }
    let mut sorted: Vec<&AlterTableOperation> = operations.iter().collect();
    sorted.sort_by_key(pass);
    Ok(sorted)
}

/// Refuses what only columns of users allow, where a name is no user's.
fn keep_system_column(name: &str, verb: &str) -> Result<()> {
    refuse_system_name(name).map_err(|_| {
        let message = format!("cannot {verb} system column \"{name}\"");
        SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message)
    })
}

fn duplicate_column(relation: &Relation, name: &str) -> SqlError {
    SqlError::new(
        SqlState::DUPLICATE_COLUMN,
        format!("column \"{name}\" of relation \"{}\" already exists", relation.name),
    )
}

/// Whether values of the old type are stored as the new type stores them, and all fit.
fn widens(old: Type, new: Type) -> bool {
    let strings = |id| matches!(id, TypeId::Text | TypeId::Varchar);
    if !strings(old.id) || !strings(new.id) {
        return old == new;
    }
    match (old.character_limit(), new.character_limit()) {
        (_, None) => true,
        (Some(old), Some(new)) => old <= new,
        (None, Some(_)) => false,
    }
}

/// 23502 for a column that is to take no NULL and holds some.
fn has_nulls(relation: &Relation, column: &str) -> SqlError {
    let message = format!("column \"{column}\" of relation \"{}\" contains null values", relation.name);
    SqlError::new(SqlState::NOT_NULL_VIOLATION, message).of_table("public", &relation.name).of_column(column)
}
