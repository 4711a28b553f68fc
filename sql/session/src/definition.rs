//! What CREATE TABLE says of a table: its columns and constraints.

use super::options;
use super::sequence::OwnSequence;
use sql_catalogue::names::SYSTEM_COLUMNS;
use sql_catalogue::{Column, Identity, Relation};
use sql_interface::{Result, SqlError};
use sql_language::expr;
use sql_language::parse::columns::text_of;
use sql_language::parse::fold;
use sql_language::parse::{SequenceOptions, identity_options};
use sql_types::{Type, TypeId};
use sqlparser::ast;
use sqlstate::SqlState;

/// PostgreSQL's limit on columns.
pub(super) const COLUMNS_MAX: usize = 1600;

/// CHECK constraints of one CREATE TABLE. PostgreSQL counts them to 32,767, and finds each a name among the
/// others.
pub(super) const CHECKS_MAX: usize = 1600;

/// A table as its definition says, before it has OIDs and files.
pub(super) struct Definition {
    /// The table's name.
    pub(super) name: String,
    pub(super) columns: Vec<Column>,
    /// Name (if given) and column places of the primary key.
    pub(super) primary_key: Option<(Option<String>, Vec<usize>)>,
    pub(super) checks: Vec<NamedCheck>,
    pub(super) uniques: Vec<UniqueKey>,
    pub(super) sequences: Vec<OwnSequence>,
    /// Storage parameters.
    pub(super) options: Vec<String>,
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
    pub(super) fn new(name: &str) -> Self {
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

/// WITH (...)
pub(super) fn storage_options(table: &ast::CreateTable) -> Result<Vec<String>> {
    match &table.table_options {
        ast::CreateTableOptions::None => Ok(Vec::new()),
        ast::CreateTableOptions::With(options) => options::of_table(options),
        ast::CreateTableOptions::Plain(options)
            if options.iter().any(|option| matches!(option, ast::SqlOption::TableSpace(_))) =>
        {
            Err(SqlError::unsupported("TABLESPACE"))
        }
        _ => Err(SqlError::unsupported("this form of CREATE TABLE")),
    }
}

/// Whether CREATE TABLE has no clause of other servers. Every clause that the parser knows is named, so that
/// a new one is seen; PostgreSQL's grammar refuses those of others before. (With a line for each it would
/// fill more than a screen.)
#[rustfmt::skip]
fn is_postgresqls(table: &ast::CreateTable) -> bool {
    matches!(
        table,
        ast::CreateTable {
            // PostgreSQL's, taken or refused elsewhere.
            if_not_exists: _, name: _, columns: _, constraints: _, table_options: _, query: _, with_data: _,
            temporary: _, unlogged: _, global: _, like: _, on_commit: _, partition_by: _, inherits: _,
            partition_of: _, for_values: _,
            // Of others.
            or_replace: false, external: false, dynamic: false, transient: false, volatile: false,
            iceberg: false, snapshot: false, sqlite_table_options: _, copy_grants: false,
            require_user: false, hive_distribution: ast::HiveDistributionStyle::NONE, hive_formats: None,
            clone: None, version: None, comment: None, on_cluster: None, primary_key: None, order_by: None,
            cluster_by: None, clustered_by: None, file_format: None, location: None,
            enable_schema_evolution: None, change_tracking: None, data_retention_time_in_days: None,
            max_data_extension_time_in_days: None, default_ddl_collation: None,
            with_aggregation_policy: None, with_row_access_policy: None,
            with_storage_lifecycle_policy: None, with_tags: None, external_volume: None,
            with_connection: None, base_location: None, catalog: None, catalog_sync: None,
            storage_serialization_policy: None, target_lag: None, warehouse: None, refresh_mode: None,
            initialize: None, diststyle: None, distkey: None, sortkey: None, backup: None, multiset: None,
            fallback: None,
        }
    )
}

/// 0A000 for what CREATE TABLE may say and nothing here does.
pub(super) fn refuse_absent_clauses(table: &ast::CreateTable) -> Result<()> {
    let temporary = table.temporary || table.global.is_some();
    let partitions =
        table.partition_by.is_some() || table.partition_of.is_some() || table.for_values.is_some();
    refuse_first(&[
        (temporary, "CREATE TEMPORARY TABLE"),
        (table.unlogged, "CREATE UNLOGGED TABLE"),
        (table.like.is_some(), "CREATE TABLE LIKE"),
        (table.inherits.is_some(), "CREATE TABLE INHERITS"),
        (partitions, "CREATE TABLE with partitions"),
        (table.on_commit.is_some(), "CREATE TABLE ON COMMIT"),
        (!is_postgresqls(table), "this form of CREATE TABLE"),
        (!table.sqlite_table_options.options.is_empty(), "this form of CREATE TABLE"),
    ])
}

/// 0A000 for the first of these that is there.
pub(super) fn refuse_first(absent: &[(bool, &str)]) -> Result<()> {
    match absent.iter().find(|(found, _)| *found) {
        Some((_, what)) => Err(SqlError::unsupported(*what)),
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
pub(super) fn require_storable(name: &str, ty: Type) -> Result<()> {
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
pub(super) fn serial_type(ast: &ast::DataType) -> Option<Type> {
    let id = match ast.to_string().to_ascii_lowercase().as_str() {
        "serial" | "serial4" => TypeId::Int4,
        "bigserial" | "serial8" => TypeId::Int8,
        "smallserial" | "serial2" => TypeId::Int2,
        _ => return None,
    };
    Some(Type::of(id))
}

/// One column of CREATE TABLE or ADD COLUMN; its table-wide constraints go to `table`.
pub(super) fn column_definition(ast: &ast::ColumnDef, at: usize, table: &mut Definition) -> Result<Column> {
    let ast::ColumnDef { name, data_type, options } = ast;
    let name = fold(name);
    let serial = serial_type(data_type);
    let ty = serial.map_or_else(|| expr::data_type(data_type), Ok)?;
    let mut column = plain_column(at, name, ty)?;
    let mut nulls = Nulls::default();
    for ast::ColumnOptionDef { name, option } in options {
        let constraint_name = name.as_ref().map(fold);
        match option {
            ast::ColumnOption::Null => nulls.say(true, &column, table)?,
            ast::ColumnOption::NotNull => nulls.say(false, &column, table)?,
            ast::ColumnOption::Default(_) if column.default.is_some() => {
                return Err(redundant("multiple default values", &column, table));
            }
            ast::ColumnOption::Default(default) => column.default = Some(text_of(default)),
            ast::ColumnOption::PrimaryKey(key) => {
                require_plain_key(key)?;
                set_primary_key(table, constraint_name, vec![at])?;
            }
            ast::ColumnOption::Check(check) => table.checks.push((constraint_name, check_text(check)?)),
            ast::ColumnOption::Collation(collation) => expr::require_collation(collation, ty)?,
            ast::ColumnOption::Unique(unique) => {
                table.uniques.push(unique_key(unique, constraint_name, vec![at])?);
            }
            ast::ColumnOption::ForeignKey(_) => return Err(SqlError::unsupported("FOREIGN KEY")),
            ast::ColumnOption::Generated {
                generated_as,
                sequence_options,
                generation_expr: None,
                generation_expr_mode: None,
                generated_keyword: _,
            } => {
                if column.identity.is_some() {
                    return Err(redundant("multiple identity specifications", &column, table));
                }
                let own = identity_of(at, *generated_as, sequence_options.as_deref())?;
                nulls.say(false, &column, table)?;
                column.identity = own.identity;
                table.sequences.push(own);
            }
            ast::ColumnOption::Generated { .. } | ast::ColumnOption::Identity(_) => {
                return Err(SqlError::unsupported("a generated column"));
            }
            other => return Err(SqlError::unsupported(format!("the column option {other}"))),
        }
    }
    if serial.is_some() {
        nulls.say(false, &column, table)?;
        let own = OwnSequence { at, identity: None, options: SequenceOptions::default() };
        table.sequences.push(own);
    }
    column.not_null = nulls.allowed == Some(false);
    let own = table.sequences.iter().filter(|own| own.at == at).count();
    if own + usize::from(column.default.is_some()) > 1 {
        let kind =
            if column.identity.is_some() { "both default and identity" } else { "multiple default values" };
        return Err(redundant(kind, &column, table));
    }
    Ok(column)
}

/// 42601 for what a column says twice.
fn redundant(kind: &str, column: &Column, table: &Definition) -> SqlError {
    let (column, table) = (&column.name, &table.name);
    SqlError::syntax(format!("{kind} specified for column \"{column}\" of table \"{table}\""))
}

/// What a column says of NULL.
#[derive(Default)]
struct Nulls {
    allowed: Option<bool>,
}

impl Nulls {
    fn say(&mut self, allowed: bool, column: &Column, table: &Definition) -> Result<()> {
        if self.allowed.is_some_and(|before| before != allowed) {
            let (column, table) = (&column.name, &table.name);
            return Err(SqlError::syntax(format!(
                "conflicting NULL/NOT NULL declarations for column \"{column}\" of table \"{table}\""
            )));
        }
        self.allowed = Some(allowed);
        Ok(())
    }
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

/// 42601 for what would let NULL into an identity column or put a default in its sequence's place.
pub(super) fn refuse_of_identity(
    relation: &Relation,
    at: usize,
    operation: &ast::AlterColumnOperation,
) -> Result<()> {
    use ast::AlterColumnOperation::{DropDefault, DropNotNull, SetDefault};
    let Some(column) = relation.columns.get(at).filter(|column| column.identity.is_some()) else {
        return Ok(());
    };
    let (column, relation) = (&column.name, &relation.name);
    let message = format!("column \"{column}\" of relation \"{relation}\" is an identity column");
    let error = SqlError::syntax(message);
    match operation {
        DropNotNull | SetDefault { .. } => Err(error),
        DropDefault => Err(error.with_hint("Use ALTER TABLE ... ALTER COLUMN ... DROP IDENTITY instead.")),
        _ => Ok(()),
    }
}

pub(super) fn set_primary_key(
    table: &mut Definition,
    name: Option<String>,
    columns: Vec<usize>,
) -> Result<()> {
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
    Ok(text_of(expr))
}

/// Refuses what a constraint says of when it is checked, unless that is at once.
pub(super) fn require_immediate(how: Option<&ast::ConstraintCharacteristics>) -> Result<()> {
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
    for ast::IndexColumn { column, operator_class } in key {
        let ast::OrderByExpr { expr, options, with_fill } = column;
        let ast::OrderByOptions { sort, nulls_first } = options;
        let ast::Expr::Identifier(name) = expr else {
            return Err(SqlError::syntax("a key names columns, not expressions"));
        };
        if operator_class.is_some() || sort.is_some() || nulls_first.is_some() || with_fill.is_some() {
            return Err(SqlError::unsupported("this form of a key's column"));
        }
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

pub(super) fn table_constraint(constraint: &ast::TableConstraint, table: &mut Definition) -> Result<()> {
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

/// 42701 for a column with the name of one that each table has.
pub(super) fn refuse_system_name(name: &str) -> Result<()> {
    if !SYSTEM_COLUMNS.contains(&name) {
        return Ok(());
    }
    let message = format!("column name \"{name}\" conflicts with a system column name");
    Err(SqlError::new(SqlState::DUPLICATE_COLUMN, message))
}
