//! CREATE TABLE (AS), DROP TABLE, TRUNCATE.

use super::SqlSession;
use super::checks::check_name;
use super::options;
use super::rights::not_owner;
use super::sequence::OwnSequence;
use sql_catalogue::grants;
use sql_catalogue::rights::{Object, ObjectKind, Privileges};
use sql_catalogue::{Check, Column, Identity, Index, Layout, POSTGRES_DATABASE, PrimaryKey, Relation, store};
use sql_interface::{CommandTag, Result, SqlError, stack};
use sql_language::expr;
use sql_language::parse::fold;
use sql_language::parse::{DropTarget, Parsed, SequenceOptions, identity_options};
use sql_language::plan::{Analyzer, BATCH, ModifiedTable, Plan};
use sql_types::{Type, TypeId};
use sqlparser::ast;
use sqlstate::SqlState;
use std::sync::Arc;
use storage::{RowBatch, TableLockMode, TreeId};

/// PostgreSQL's limit on columns.
const COLUMNS_MAX: usize = 1600;

/// CHECK constraints of one CREATE TABLE. PostgreSQL counts them to 32,767, and finds each a name among the
/// others.
const CHECKS_MAX: usize = 1600;

/// A table as its definition says, before it has OIDs and files.
struct Definition {
    /// The table's name.
    name: String,
    columns: Vec<Column>,
    /// Name (if given) and column places of the primary key.
    primary_key: Option<(Option<String>, Vec<usize>)>,
    checks: Vec<NamedCheck>,
    uniques: Vec<UniqueKey>,
    sequences: Vec<OwnSequence>,
    /// Storage parameters.
    options: Vec<String>,
}

/// A UNIQUE constraint.
#[derive(Clone, Debug)]
pub(super) struct UniqueKey {
    pub(super) name: Option<String>,
    /// Places of its columns.
    pub(super) columns: Vec<usize>,
    pub(super) nulls_not_distinct: bool,
}

impl Definition {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            columns: Vec::new(),
            primary_key: None,
            checks: Vec::new(),
            uniques: Vec::new(),
            sequences: Vec::new(),
            options: Vec::new(),
        }
    }
}

/// The name (if given) and text of a CHECK.
pub(super) type NamedCheck = (Option<String>, String);

impl SqlSession {
    /// CREATE TABLE, CREATE TABLE AS.
    pub(super) async fn create_table(
        &mut self,
        parsed: &Arc<Parsed>,
        table: &ast::CreateTable,
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
            Some(query) => self.create_table_as(parsed, &name, table, query).await,
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
        let relation = Arc::new(relation);
        self.check_expressions(parsed, &relation)?;
        store::create_relation(self.transaction()?, &relation).await?;
        let known = self.facts.catalogue.clone();
        let begins = ('r', relation.owner);
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

    /// Compiles all defaults and checks of a table, for their errors.
    pub(super) fn check_expressions(&self, parsed: &Parsed, relation: &Arc<Relation>) -> Result<()> {
        let catalogue = self.facts.catalogue.clone();
        self.analysing(parsed, Vec::new(), &catalogue, |analyzer| {
            analyzer.parameters_max = 0;
            analyzer.defines = true;
            analyzer.target_of(relation)?;
            for (at, _) in relation.live_columns() {
                analyzer.default_value(relation, at)?;
            }
            Ok(())
        })
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
            let at = definition.columns.len();
            let new = column_definition(column, at, &mut definition)?;
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

    async fn create_table_as(
        &mut self,
        parsed: &Arc<Parsed>,
        name: &str,
        table: &ast::CreateTable,
        query: &ast::Query,
    ) -> Result<CommandTag> {
        let catalogue = self.catalogue().await?;
        let plan: Plan = self.analysing(parsed, Vec::new(), &catalogue, |analyzer| {
            analyzer.parameters_max = 0;
            sql_language::plan::plan_query(analyzer, query)
        })?;
        self.require_all(&plan.rights)?;
        self.lock_tables(&plan).await?;
        let outputs = plan.columns.clone().unwrap_or_default();
        if table.columns.len() > outputs.len() {
            return Err(SqlError::syntax("too many column names were specified"));
        }
        let mut columns = Vec::with_capacity(outputs.len());
        for (at, output) in outputs.iter().enumerate() {
            let column_name =
                table.columns.get(at).map_or_else(|| output.name.clone(), |column| fold(&column.name));
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
        let target = ModifiedTable { relation, checks: Vec::new() };
        let mut cx = self.context(&[])?;
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
        for name in &target.names {
            let Some(bare) = self.dropped(parsed, name, target).await? else { continue };
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
            self.forget_rights_of(relation.oid).await?;
            store::drop_relation(self.transaction()?, &relation).await?;
            self.drop_views_of(relation.oid, &format!("table {}", relation.name), target.cascade).await?;
            self.drop_sequences_of(relation.oid, None).await?;
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
        // CASCADE says nothing where no key refers to another table.
        if truncate.partitions.is_some() || truncate.if_exists || truncate.on_cluster.is_some() {
            return Err(SqlError::syntax("syntax error in TRUNCATE"));
        }
        for name in &truncate.table_names {
            let wait = self.lock_wait();
            let relation =
                self.lock_relation(parsed, &name.name, TableLockMode::AccessExclusive, wait).await?;
            self.require_privileges(self.role.oid, &Object::Relation(relation.oid), Privileges::TRUNCATE)?;
            if truncate.identity == Some(ast::TruncateIdentityOption::Restart) {
                self.require_sequences_of(&relation)?;
            }
            self.replace_tree(&relation).await?;
            self.empty_indexes(&relation).await?;
            if truncate.identity == Some(ast::TruncateIdentityOption::Restart) {
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
        self.catalogue_changed();
        Ok(tree)
    }
}

/// WITH (...)
fn storage_options(table: &ast::CreateTable) -> Result<Vec<String>> {
    match &table.table_options {
        ast::CreateTableOptions::None => Ok(Vec::new()),
        ast::CreateTableOptions::With(options) => options::of_table(options),
        _ => Err(SqlError::unsupported("this form of CREATE TABLE")),
    }
}

fn refuse_absent_clauses(table: &ast::CreateTable) -> Result<()> {
    let absent = [
        (table.temporary, "CREATE TEMPORARY TABLE"),
        (table.unlogged, "CREATE UNLOGGED TABLE"),
        (table.like.is_some(), "CREATE TABLE LIKE"),
        (table.inherits.is_some(), "CREATE TABLE INHERITS"),
        (table.partition_by.is_some() || table.partition_of.is_some(), "CREATE TABLE with partitions"),
        (table.on_commit.is_some(), "CREATE TABLE ON COMMIT"),
        (table.or_replace || table.external || table.clone.is_some(), "this form of CREATE TABLE"),
    ];
    match absent.iter().find(|(found, _)| *found) {
        Some((_, what)) => Err(SqlError::unsupported(what)),
        None => Ok(()),
    }
}

/// A column without constraints at a place of a table.
pub(super) fn plain_column(at: usize, name: String, ty: Type) -> Result<Column> {
    require_storable(&name, ty)?;
    let number = i16::try_from(at + 1).map_err(|_| {
        SqlError::new(SqlState::TOO_MANY_COLUMNS, format!("tables can have at most {COLUMNS_MAX} columns"))
    })?;
    Ok(Column {
        number,
        name,
        ty,
        not_null: false,
        default: None,
        missing: None,
        identity: None,
        dropped: false,
    })
}

/// 42P16 for types that no column can have.
fn require_storable(name: &str, ty: Type) -> Result<()> {
    if matches!(ty.id, TypeId::Unknown | TypeId::Void | TypeId::AnyArray) {
        return Err(SqlError::new(
            SqlState::INVALID_TABLE_DEFINITION,
            format!("column \"{name}\" has pseudo-type {}", ty.id.sql_name()),
        ));
    }
    Ok(())
}

/// 0A000 for key columns of types without a key form.
pub(super) fn require_key_types(columns: &[Column], key: &[usize]) -> Result<()> {
    for column in key.iter().filter_map(|at| columns.get(*at)) {
        if !sql_types::key::is_supported(column.ty.id) {
            return Err(SqlError::unsupported(format!("a primary key of type {}", column.ty.id.sql_name())));
        }
    }
    Ok(())
}

/// The type behind serial and its kin, which are no types themselves.
fn serial_type(ast: &ast::DataType) -> Option<Type> {
    let id = match ast.to_string().to_ascii_lowercase().as_str() {
        "serial" | "serial4" => TypeId::Int4,
        "bigserial" | "serial8" => TypeId::Int8,
        "smallserial" | "serial2" => TypeId::Int2,
        _ => return None,
    };
    Some(Type::of(id))
}

/// One column of CREATE TABLE or ADD COLUMN; its table-wide constraints go to `table`.
fn column_definition(ast: &ast::ColumnDef, at: usize, table: &mut Definition) -> Result<Column> {
    let name = fold(&ast.name);
    let serial = serial_type(&ast.data_type);
    let ty = serial.map_or_else(|| expr::data_type(&ast.data_type), Ok)?;
    let mut column = plain_column(at, name, ty)?;
    if serial.is_some() {
        column.not_null = true;
        let own = OwnSequence { at, identity: None, options: SequenceOptions::default() };
        table.sequences.push(own);
    }
    for option in &ast.options {
        let constraint_name = option.name.as_ref().map(fold);
        match &option.option {
            ast::ColumnOption::Null => {}
            ast::ColumnOption::NotNull => column.not_null = true,
            ast::ColumnOption::Default(default) => column.default = Some(default.to_string()),
            ast::ColumnOption::PrimaryKey(key) => {
                require_plain_key(key)?;
                set_primary_key(table, constraint_name, vec![at])?;
            }
            ast::ColumnOption::Check(check) => table.checks.push((constraint_name, check_text(check)?)),
            ast::ColumnOption::Collation(collation) => {
                let wanted = Analyzer::function_name(collation)?.unwrap_or_default();
                if !matches!(wanted.as_str(), "c" | "C" | "default" | "posix" | "POSIX") {
                    return Err(SqlError::unsupported(format!("collation \"{wanted}\"")));
                }
            }
            ast::ColumnOption::Unique(unique) => {
                table.uniques.push(unique_key(unique, constraint_name, vec![at])?);
            }
            ast::ColumnOption::ForeignKey(_) => return Err(SqlError::unsupported("FOREIGN KEY")),
            ast::ColumnOption::Generated {
                generated_as, sequence_options, generation_expr: None, ..
            } => {
                let own = identity_of(at, *generated_as, sequence_options.as_deref())?;
                column.not_null = true;
                column.identity = own.identity;
                table.sequences.push(own);
            }
            ast::ColumnOption::Generated { .. } | ast::ColumnOption::Identity(_) => {
                return Err(SqlError::unsupported("a generated column"));
            }
            other => return Err(SqlError::unsupported(format!("the column option {other}"))),
        }
    }
    let own = table.sequences.iter().filter(|own| own.at == at).count();
    if own + usize::from(column.default.is_some()) > 1 {
        let kind =
            if column.identity.is_some() { "both default and identity" } else { "multiple default values" };
        return Err(SqlError::syntax(format!(
            "{kind} specified for column \"{}\" of table \"{}\"",
            column.name, table.name
        )));
    }
    Ok(column)
}

/// GENERATED { ALWAYS | BY DEFAULT } AS IDENTITY (options).
pub(super) fn identity_of(
    at: usize,
    generated: ast::GeneratedAs,
    options: Option<&[ast::SequenceOptions]>,
) -> Result<OwnSequence> {
    let identity = match generated {
        ast::GeneratedAs::Always => Identity::Always,
        ast::GeneratedAs::ByDefault => Identity::ByDefault,
        ast::GeneratedAs::ExpStored => return Err(SqlError::unsupported("a generated column")),
    };
    let options = identity_options(options.unwrap_or_default())?;
    Ok(OwnSequence { at, identity: Some(identity), options })
}

fn set_primary_key(table: &mut Definition, name: Option<String>, columns: Vec<usize>) -> Result<()> {
    if table.primary_key.is_some() {
        return Err(SqlError::new(
            SqlState::INVALID_TABLE_DEFINITION,
            format!("multiple primary keys for table \"{}\" are not allowed", table.name),
        ));
    }
    table.primary_key = Some((name, columns));
    Ok(())
}

/// The condition of a CHECK constraint as it is kept. NO INHERIT says nothing where nothing inherits.
pub(super) fn check_text(check: &ast::CheckConstraint) -> Result<String> {
    let ast::CheckConstraint { name: _, expr, no_inherit: _, enforced } = check;
    if enforced.is_some() {
        return Err(SqlError::unsupported("ENFORCED of a constraint"));
    }
    Ok(expr.to_string())
}

/// Refuses what a constraint says of when it is checked, unless that is at once.
fn require_immediate(how: Option<&ast::ConstraintCharacteristics>) -> Result<()> {
    let Some(ast::ConstraintCharacteristics { deferrable, initially, enforced }) = how else { return Ok(()) };
    let deferred = *initially == Some(ast::DeferrableInitial::Deferred);
    if deferred && *deferrable == Some(false) {
        return Err(SqlError::syntax("constraint declared INITIALLY DEFERRED must be DEFERRABLE"));
    }
    if deferred || *deferrable == Some(true) {
        return Err(SqlError::unsupported("a deferrable constraint"));
    }
    if enforced.is_some() {
        return Err(SqlError::unsupported("ENFORCED of a constraint"));
    }
    Ok(())
}

/// Refuses what a primary key may say besides its name and columns.
pub(super) fn require_plain_key(key: &ast::PrimaryKeyConstraint) -> Result<()> {
    let ast::PrimaryKeyConstraint {
        name: _,
        index_name,
        index_type,
        columns: _,
        include,
        index_options,
        characteristics,
    } = key;
    require_immediate(characteristics.as_ref())?;
    if index_name.is_some() || index_type.is_some() || !include.is_empty() || !index_options.is_empty() {
        return Err(SqlError::unsupported("this form of PRIMARY KEY"));
    }
    Ok(())
}

/// A UNIQUE constraint over these columns.
pub(super) fn unique_key(
    ast: &ast::UniqueConstraint,
    name: Option<String>,
    columns: Vec<usize>,
) -> Result<UniqueKey> {
    let ast::UniqueConstraint {
        name: _,
        index_name,
        index_type_display: _,
        index_type,
        columns: _,
        include,
        index_options,
        characteristics,
        nulls_distinct,
    } = ast;
    require_immediate(characteristics.as_ref())?;
    if index_name.is_some() || index_type.is_some() || !include.is_empty() || !index_options.is_empty() {
        return Err(SqlError::unsupported("this form of UNIQUE"));
    }
    let nulls_not_distinct = matches!(nulls_distinct, ast::NullsDistinctOption::NotDistinct);
    Ok(UniqueKey { name, columns, nulls_not_distinct })
}

/// The places of the columns that a key names.
pub(super) fn key_columns(columns: &[Column], key: &[ast::IndexColumn], what: &str) -> Result<Vec<usize>> {
    let mut places = Vec::with_capacity(key.len());
    for part in key {
        let ast::Expr::Identifier(name) = &part.column.expr else {
            return Err(SqlError::syntax("a key names columns, not expressions"));
        };
        let name = fold(name);
        let at =
            columns.iter().position(|column| !column.dropped && column.name == name).ok_or_else(|| {
                SqlError::new(
                    SqlState::UNDEFINED_COLUMN,
                    format!("column \"{name}\" named in key does not exist"),
                )
            })?;
        if places.contains(&at) {
            return Err(SqlError::new(
                SqlState::DUPLICATE_COLUMN,
                format!("column \"{name}\" appears twice in {what} constraint"),
            ));
        }
        places.push(at);
    }
    Ok(places)
}

fn table_constraint(constraint: &ast::TableConstraint, table: &mut Definition) -> Result<()> {
    match constraint {
        ast::TableConstraint::PrimaryKey(key) => {
            require_plain_key(key)?;
            let columns = key_columns(&table.columns, &key.columns, "primary key")?;
            set_primary_key(table, key.name.as_ref().map(fold), columns)
        }
        ast::TableConstraint::Check(check) => {
            table.checks.push((check.name.as_ref().map(fold), check_text(check)?));
            Ok(())
        }
        ast::TableConstraint::Unique(unique) => {
            let columns = key_columns(&table.columns, &unique.columns, "unique")?;
            table.uniques.push(unique_key(unique, unique.name.as_ref().map(fold), columns)?);
            Ok(())
        }
        ast::TableConstraint::ForeignKey(_) => Err(SqlError::unsupported("FOREIGN KEY")),
        ast::TableConstraint::Exclude(_) => Err(SqlError::unsupported("EXCLUDE")),
        _ => Err(SqlError::unsupported("this table constraint")),
    }
}

/// A column of ALTER TABLE ADD COLUMN.
pub(super) struct AddedColumn {
    pub(super) column: Column,
    pub(super) checks: Vec<NamedCheck>,
    pub(super) uniques: Vec<UniqueKey>,
    pub(super) sequences: Vec<OwnSequence>,
}

/// What ALTER TABLE ADD COLUMN says.
pub(super) fn added_column(relation: &Relation, ast: &ast::ColumnDef) -> Result<AddedColumn> {
    let at = relation.columns.len();
    let mut table = Definition::new(&relation.name);
    let column = column_definition(ast, at, &mut table)?;
    if table.primary_key.is_some() {
        return Err(SqlError::unsupported("ADD COLUMN with PRIMARY KEY"));
    }
    let Definition { checks, uniques, sequences, .. } = table;
    Ok(AddedColumn { column, checks, uniques, sequences })
}
