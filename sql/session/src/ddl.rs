//! CREATE TABLE (AS), DROP TABLE, TRUNCATE.

use super::SqlSession;
use super::checks::check_name;
use super::definition::{
    CHECKS_MAX, COLUMNS_MAX, Definition, column_definition, plain_column, refuse_absent_clauses,
    refuse_first, refuse_system_name, require_key_types, storage_options, table_constraint,
};
use super::names::wrong_kind;
use super::naming::{Dropped, Going};
use super::portal::Given;
use super::rights::not_owner;
use sql_catalogue::grants;
use sql_catalogue::rights::{Object, ObjectKind, Privileges};
use sql_catalogue::{
    Catalogue, Check, Column, Index, Layout, POSTGRES_DATABASE, PrimaryKey, Relation, store,
};
use sql_interface::{CommandTag, Result, SqlError, stack};
use sql_language::parse::fold;
use sql_language::parse::{DropKind, DropTarget, Parsed};
use sql_language::plan::{BATCH, ModifiedTable, Plan};
use sql_types::Type;
use sqlparser::ast;
use sqlstate::SqlState;
use std::sync::Arc;
use storage::{RowBatch, TableLockMode, TreeId};

impl SqlSession {
    /// CREATE TABLE, CREATE TABLE AS.
    pub(super) async fn create_table(
        &mut self,
        parsed: &Arc<Parsed>,
        table: &ast::CreateTable,
        given: Given,
    ) -> Result<CommandTag> {
        refuse_absent_clauses(table)?;
        let (verb, words) = if table.query.is_some() {
            ("CREATE TABLE AS", "CREATE TABLE AS")
        } else {
            ("CREATE TABLE", "CREATE TABLE")
        };
        self.refuse_in_read_only(true, verb)?;
        self.begin_statement().await?;
        let catalogue = self.catalogue().await?;
        let (name, exists) = {
            let analyzer = self.analyzer(parsed, Vec::new(), &catalogue);
            let (name, _) = analyzer.name_for_new(&table.name)?;
            let exists = catalogue.relation(&name).is_some();
            (name, exists)
        };
        self.require_create()?;
        self.hold_role(self.role.oid).await?;
        let exists = exists || store::lock_relation_name(self.transaction()?, &name).await?;
        if exists {
            return self.name_is_taken(&name, table.if_not_exists, words);
        }
        match &table.query {
            None => {
                let definition = self.definition(parsed, &name, table)?;
                self.make_table(parsed, &name, definition).await?;
                Ok(CommandTag::Words("CREATE TABLE"))
            }
            Some(query) => self.create_table_as(parsed, &name, (table, query), given).await,
        }
    }

    /// Writes a new table's entries and checks that its expressions make sense.
    async fn make_table(
        &mut self,
        parsed: &Parsed,
        name: &str,
        definition: Definition,
    ) -> Result<Arc<Relation>> {
        let tree = self
            .transaction()?
            .create_tree(POSTGRES_DATABASE)
            .await
            .map_err(|e| self.canceller.explain(e))?;
        let database = self.engine.database().clone();
        let Definition { columns, primary_key, checks, mut uniques, sequences, options, .. } = definition;
        // A UNIQUE that says what the primary key or another one says adds nothing.
        let key_columns = primary_key.as_ref().map_or(&[][..], |(_, columns)| columns);
        uniques.retain(|unique| unique.columns != key_columns);
        let primary_key = match primary_key {
            None => None,
            Some((key_name, columns)) => {
                let name = self.key_name(name, key_name).await?;
                Some(PrimaryKey { oid: database.allocate_number()?, name, columns })
            }
        };
        let mut named = Vec::with_capacity(checks.len());
        for given in checks {
            let check_name = check_name(name, &given, &named)?;
            let oid = database.allocate_number()?;
            named.push(Check { oid, name: check_name, expression: given.1, not_valid: false });
        }
        let mut relation = Relation {
            oid: tree.relation,
            name: name.to_owned(),
            owner: self.role.oid,
            tree,
            columns,
            primary_key,
            checks: named,
            indexes: Vec::new(),
            layout: Layout::new(&[], None),
        };
        relation.lay_out();
        for (at, unique) in uniques.iter().enumerate() {
            if uniques.iter().take(at).any(|before| before.columns == unique.columns) {
                continue;
            }
            let index = self.unique_index(&relation, unique).await?;
            let tree = self.transaction()?.create_tree(POSTGRES_DATABASE).await;
            let tree = tree.map_err(|e| self.canceller.explain(e))?;
            relation.indexes.push(Index { tree, ..index });
        }
        for own in &sequences {
            self.add_own_sequence(&mut relation, own).await?;
        }
        if !sequences.is_empty() {
            // The next statement sees what the defaults name.
            self.begin_statement().await?;
            self.catalogue().await?;
        }
        let relation = self.with_kept_texts(parsed, relation).await?;
        store::create_relation(self.transaction()?, &relation).await?;
        self.note_made(tree);
        let (known, begins) = (self.facts.catalogue.clone(), ('r', relation.owner));
        grants::begin_relation(self.transaction()?, &known, relation.oid, begins).await?;
        if !options.is_empty() {
            grants::put_options(self.transaction()?, relation.oid, &options).await?;
        }
        self.catalogue_changed();
        Ok(relation)
    }

    /// The name of a table's primary key: the given one, which must be free, or one that is.
    pub(super) async fn key_name(&mut self, table: &str, given: Option<String>) -> Result<String> {
        match given {
            None => self.choose_name(table, "", "pkey").await,
            Some(name) if self.is_name_taken(&name).await? => {
                let message = format!("relation \"{name}\" already exists");
                Err(SqlError::new(SqlState::DUPLICATE_TABLE, message))
            }
            Some(name) => Ok(name),
        }
    }

    fn definition(&self, parsed: &Parsed, name: &str, table: &ast::CreateTable) -> Result<Definition> {
        let mut definition = Definition::new(name);
        if table.columns.len() > COLUMNS_MAX {
            return Err(SqlError::new(
                SqlState::TOO_MANY_COLUMNS,
                format!("tables can have at most {COLUMNS_MAX} columns"),
            ));
        }
        for column in &table.columns {
            self.require_type(&column.data_type)?;
            let at = definition.columns.len();
            let new = column_definition(column, at, &mut definition)?;
            refuse_system_name(&new.name)
                .map_err(|error| error.at(parsed.source.position(column.name.span.start)))?;
            if definition.columns.iter().any(|known| known.name == new.name) {
                return Err(SqlError::new(
                    SqlState::DUPLICATE_COLUMN,
                    format!("column \"{}\" specified more than once", new.name),
                )
                .at(parsed.source.position(column.name.span.start)));
            }
            definition.columns.push(new);
        }
        for constraint in &table.constraints {
            table_constraint(constraint, &mut definition)?;
        }
        definition.options = storage_options(table)?;
        if definition.checks.len() > CHECKS_MAX {
            return Err(SqlError::new(
                SqlState::PROGRAM_LIMIT_EXCEEDED,
                format!("a table can be created with at most {CHECKS_MAX} check constraints"),
            ));
        }
        if let Some((_, columns)) = &definition.primary_key {
            require_key_types(&definition.columns, columns)?;
            for at in columns {
                if let Some(column) = definition.columns.get_mut(*at) {
                    column.not_null = true;
                }
            }
        }
        Ok(definition)
    }

    /// Plans the query of CREATE TABLE AS, and holds what it reads.
    async fn settle_query(
        &mut self,
        parsed: &Parsed,
        query: &ast::Query,
        types: Vec<Option<Type>>,
    ) -> Result<Arc<Plan>> {
        let parameters_max = types.len();
        let planned = |session: &Self, catalogue: &Catalogue| {
            let mut plan = session.analysing(parsed, types.clone(), catalogue, |analyzer| {
                analyzer.parameters_max = parameters_max;
                sql_language::plan::plan_query(analyzer, query)
            })?;
            // The table that it fills is not.
            plan.of_node_alone = false;
            Ok(plan)
        };
        let catalogue = self.catalogue().await?;
        let plan = Arc::new(planned(self, &catalogue)?);
        self.settle(plan, planned).await
    }

    async fn create_table_as(
        &mut self,
        parsed: &Arc<Parsed>,
        name: &str,
        (table, query): (&ast::CreateTable, &ast::Query),
        Given { types, values }: Given,
    ) -> Result<CommandTag> {
        let plan = self.settle_query(parsed, query, types).await?;
        let outputs = plan.columns.clone().unwrap_or_default();
        if table.columns.len() > outputs.len() {
            return Err(SqlError::syntax("too many column names were specified"));
        }
        let mut columns = Vec::with_capacity(outputs.len());
        for (at, output) in outputs.iter().enumerate() {
            let column_name =
                table.columns.get(at).map_or_else(|| output.name.clone(), |column| fold(&column.name));
            refuse_system_name(&column_name)?;
            if columns.iter().any(|known: &Column| known.name == column_name) {
                let message = format!("column \"{column_name}\" specified more than once");
                return Err(SqlError::new(SqlState::DUPLICATE_COLUMN, message));
            }
            columns.push(plain_column(at, column_name, output.ty)?);
        }
        let options = storage_options(table)?;
        let definition = Definition { columns, options, ..Definition::new(name) };
        let relation = self.make_table(parsed, name, definition).await?;
        if table.with_data.as_ref().is_some_and(|with| !with.data) {
            return Ok(CommandTag::Words("CREATE TABLE AS"));
        }
        let target = ModifiedTable { relation, checks: Vec::new(), written: Vec::new() };
        let mut cx = self.context(&values)?;
        cx.suit(&plan);
        let fill = async {
            let mut exec = sql_execution::build(&plan.node);
            let (mut batch, mut count) = (RowBatch::default(), 0);
            while let Some(rows) = exec.next(&mut cx, BATCH).await? {
                for row in rows {
                    count += 1;
                    sql_execution::batch_row(&mut cx, &target, &mut batch, count, &row).await?;
                }
                sql_execution::insert_batch(&mut cx, &target, &mut batch)
                    .await
                    .map_err(|(_, error)| error)?;
            }
            Ok::<_, SqlError>(count)
        };
        Ok(CommandTag::Select(stack::on(plan.stack_bytes, fill).await?))
    }

    /// DROP TABLE.
    pub(super) async fn drop_tables(&mut self, parsed: &Parsed, target: &DropTarget) -> Result<CommandTag> {
        self.refuse_in_read_only(true, "DROP TABLE")?;
        // What is no table is told before anything goes, and what is named twice goes once.
        let mut tables: Vec<(&ast::ObjectName, String)> = Vec::with_capacity(target.names.len());
        for name in &target.names {
            if let Some(bare) = self.dropped(parsed, name, target).await?
                && tables.iter().all(|(_, known)| *known != bare)
            {
                tables.push((name, bare));
            }
        }
        let catalogue = self.catalogue().await?;
        let going: Vec<u32> =
            tables.iter().filter_map(|(_, bare)| catalogue.relation(bare)).map(|found| found.oid).collect();
        let going = Going { tables: &going, column: None };
        for (name, bare) in tables {
            let wait = self.lock_wait();
            let relation = match self.lock_relation(parsed, name, TableLockMode::AccessExclusive, wait).await
            {
                Ok(relation) => relation,
                // Somebody else has dropped it meanwhile.
                Err(error) if error.code() == SqlState::UNDEFINED_TABLE => {
                    let message = format!("table \"{bare}\" does not exist");
                    self.skip_missing(target.if_exists, SqlState::UNDEFINED_TABLE, message)?;
                    continue;
                }
                Err(error) => return Err(error),
            };
            if !self.may_drop(relation.owner) {
                return Err(not_owner(ObjectKind::Table, &relation.name));
            }
            self.refuse_in_use(&relation, "DROP TABLE")?;
            let dropped = Dropped { kind: "table", name: &relation.name, oid: relation.oid };
            self.drop_naming(parsed, dropped, going, target.cascade).await?;
            self.forget_rights_of(relation.oid).await?;
            store::drop_relation(self.transaction()?, &relation).await?;
            self.drop_views_of(relation.oid, &format!("table {}", relation.name), target.cascade).await?;
            self.drop_sequences_of(parsed, (relation.oid, None), going, target.cascade).await?;
            for tree in relation.indexes.iter().map(|index| index.tree).chain([relation.tree]) {
                self.transaction()?.drop_tree(tree)?;
            }
            self.catalogue_changed();
        }
        Ok(CommandTag::Words("DROP TABLE"))
    }

    /// TRUNCATE: the table gets a new, empty tree.
    pub(super) async fn truncate(&mut self, parsed: &Parsed, truncate: &ast::Truncate) -> Result<CommandTag> {
        self.refuse_in_read_only(true, "TRUNCATE TABLE")?;
        // CASCADE says nothing where no key refers to another table, nor ONLY where nothing inherits.
        let ast::Truncate { table_names, partitions, table: _, if_exists, identity, cascade: _, on_cluster } =
            truncate;
        let foreign = partitions.is_some() || *if_exists || on_cluster.is_some();
        refuse_first(&[(foreign, "this form of TRUNCATE")])?;
        for name in table_names {
            self.refuse_other_kinds(parsed, &name.name, |name, kind| match kind {
                DropKind::Table => None,
                _ => Some(wrong_kind(name, "a table")),
            })
            .await?;
            let wait = self.lock_wait();
            let relation =
                self.lock_relation(parsed, &name.name, TableLockMode::AccessExclusive, wait).await?;
            self.require_privileges(self.role.oid, &Object::Relation(relation.oid), Privileges::TRUNCATE)?;
            if *identity == Some(ast::TruncateIdentityOption::Restart) {
                self.require_sequences_of(&relation)?;
            }
            self.refuse_in_use(&relation, "TRUNCATE")?;
            self.replace_tree(&relation).await?;
            self.empty_indexes(&relation).await?;
            if *identity == Some(ast::TruncateIdentityOption::Restart) {
                self.restart_sequences_of(&relation).await?;
            }
        }
        Ok(CommandTag::Words("TRUNCATE TABLE"))
    }

    /// Puts a new, empty tree in the place of a table's old one.
    pub(super) async fn replace_tree(&mut self, relation: &Relation) -> Result<TreeId> {
        let tree = self
            .transaction()?
            .create_tree(POSTGRES_DATABASE)
            .await
            .map_err(|e| self.canceller.explain(e))?;
        let changed = Relation { tree, ..relation.clone() };
        store::put_relation(self.transaction()?, &changed).await?;
        self.transaction()?.drop_tree(relation.tree)?;
        self.note_made(tree);
        self.catalogue_changed();
        Ok(tree)
    }
}
