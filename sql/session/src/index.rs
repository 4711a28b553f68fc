//! CREATE INDEX, DROP INDEX, UNIQUE constraints, and the building of indexes over rows that are
//! there.

use super::SqlSession;
use super::definition::{UniqueKey, refuse_first};
use super::names::{is_an_index, unsupported_for};
use super::options;
use super::rights::not_owner;
use sql_catalogue::grants;
use sql_catalogue::rights::ObjectKind;
use sql_catalogue::{Index, IndexColumn, POSTGRES_DATABASE, Relation, store};
use sql_execution::index::Entry;
use sql_execution::spill::Sorter;
use sql_execution::{row, violation};
use sql_interface::{CommandTag, NAME_BYTES_MAX, Result, SqlError, clipped_to};
use sql_language::expr::require_collation;
use sql_language::parse::fold;
use sql_language::parse::{DropKind, DropTarget, Parsed};
use sql_language::plan::BATCH;
use sql_types::key::OrderedColumn;
use sqlparser::ast;
use sqlstate::SqlState;
use std::sync::Arc;
use storage::{Direction, Isolation, KeyRange, TableLockMode};

/// What the sort of an index build holds in memory.
const BUILD_MEMORY_BYTES: usize = 64 << 20;

/// PostgreSQL's limit on the columns of an index.
const INDEX_COLUMNS_MAX: usize = 32;

impl SqlSession {
    /// CREATE INDEX.
    pub(super) async fn create_index(
        &mut self,
        parsed: &Parsed,
        create: &ast::CreateIndex,
    ) -> Result<CommandTag> {
        self.refuse_in_read_only(true, "CREATE INDEX")?;
        refuse_absent_clauses(create)?;
        if create.concurrently {
            // Writers wait here too: what differs is what may stand around it.
            self.refuse_in_block("CREATE INDEX CONCURRENTLY")?;
        }
        self.refuse_other_kinds(parsed, &create.table_name, |name, kind| match kind {
            DropKind::Table => None,
            DropKind::Index => Some(is_an_index(name)),
            kind => Some(unsupported_for("cannot create index on relation", name, kind)),
        })
        .await?;
        let wait = self.lock_wait();
        let relation = self.lock_relation(parsed, &create.table_name, TableLockMode::Share, wait).await?;
        self.require_owner(&relation)?;
        self.require_create()?;
        self.refuse_in_use(&relation, "CREATE INDEX")?;
        let columns = index_columns(&relation, create)?;
        let name = match &create.name {
            Some(name) => {
                let name = self.analyzer(parsed, Vec::new(), &self.facts.catalogue).bare_name(name)?;
                if self.is_name_taken(&name).await? {
                    return self.name_is_taken(&name, create.if_not_exists, "CREATE INDEX");
                }
                name
            }
            None => {
                let places: Vec<usize> = columns.iter().map(|column| column.at).collect();
                self.choose_name(&relation.name, &column_names(&relation, &places), "idx").await?
            }
        };
        let options = options::of_index(&create.with)?;
        let index = Index {
            oid: self.engine.database().allocate_number()?,
            name,
            tree: relation.tree,
            columns,
            unique: create.unique,
            constraint: false,
            nulls_not_distinct: create.nulls_distinct == Some(false),
        };
        let oid = index.oid;
        self.add_index(&relation, index).await?;
        if !options.is_empty() {
            grants::put_options(self.transaction()?, oid, &options).await?;
        }
        Ok(CommandTag::Words("CREATE INDEX"))
    }

    /// The answer to a name that a table or an index has already.
    pub(super) fn name_is_taken(
        &mut self,
        name: &str,
        if_not_exists: bool,
        words: &'static str,
    ) -> Result<CommandTag> {
        let message = format!("relation \"{name}\" already exists");
        self.skip_existing(if_not_exists, SqlError::new(SqlState::DUPLICATE_TABLE, message))?;
        Ok(CommandTag::Words(words))
    }

    /// Whether a table or an index has this name; if none has, the transaction has locked it.
    pub(super) async fn is_name_taken(&mut self, name: &str) -> Result<bool> {
        let catalogue = self.catalogue().await?;
        if catalogue.is_name_taken(name) {
            return Ok(true);
        }
        store::lock_relation_name(self.transaction()?, name).await
    }

    /// A free name for an index or a sequence: `table_columns_label`, with a number if that is taken.
    pub(super) async fn choose_name(&mut self, table: &str, columns: &str, label: &str) -> Result<String> {
        for number in 0..u32::MAX {
            let label = if number == 0 { label.to_owned() } else { format!("{label}{number}") };
            let name = object_name(table, columns, &label);
            if !self.is_name_taken(&name).await? {
                return Ok(name);
            }
        }
        Err(SqlError::internal("no name is free"))
    }

    /// Builds a new index over a table that nobody else can write, and enters it in the catalogue.
    pub(super) async fn add_index(&mut self, relation: &Relation, index: Index) -> Result<()> {
        let index = self.build_index(relation, index).await?;
        let transaction = self.transaction()?;
        // As with any change of the table.
        store::put_relation(transaction, relation).await?;
        store::put_index(transaction, relation.oid, &index, &relation.columns).await?;
        self.catalogue_changed();
        Ok(())
    }

    /// Begins a statement that sees all rows of a table which nobody else can write, to put them elsewhere.
    /// (Who only asks something of all rows opens a complete scan.)
    pub(super) async fn see_all_rows(&mut self) -> Result<()> {
        let canceller = self.canceller.clone();
        let transaction = self.transaction()?;
        if transaction.isolation() == Isolation::RepeatableRead {
            return Err(SqlError::unsupported("looking at all rows in a REPEATABLE READ transaction")
                .with_hint("Use READ COMMITTED."));
        }
        transaction.begin_complete_statement().await.map_err(|error| canceller.explain(error))
    }

    /// Fills a new tree with the entries of all rows, in order. The caller holds a lock that keeps writers
    /// out.
    pub(super) async fn build_index(&mut self, relation: &Relation, mut index: Index) -> Result<Index> {
        self.see_all_rows().await?;
        let canceller = self.canceller.clone();
        let explain = |error| canceller.explain(error);
        let space = self.engine.temp_space().clone();
        let transaction = self.transaction()?;
        index.tree = transaction.create_tree(POSTGRES_DATABASE).await.map_err(explain)?;
        let needed: Vec<usize> = index.columns.iter().map(|column| column.at).collect();
        let mut sorter = Sorter::new(space, BUILD_MEMORY_BYTES);
        let mut scan = transaction.scan(relation.tree, KeyRange::all(), Direction::Forward);
        let mut batch = Vec::new();
        loop {
            batch.clear();
            let more = scan.next_batch(transaction, BATCH, &mut batch).await.map_err(explain)?;
            for (key, value) in &batch {
                let values = row::decode(relation, &needed, key, value)?;
                let entry = Entry::new(&index, &values, key)?;
                let value = entry.value(&index, key);
                sorter.add(entry.key, value)?;
            }
            if !more {
                break;
            }
            tokio::task::yield_now().await;
            canceller.check()?;
        }
        let mut sorted = sorter.finish()?;
        let mut last: Vec<u8> = Vec::new();
        let mut count = 0_u64;
        while let Some((key, value)) = sorted.next_pair()? {
            // Only entries of unique keys can be alike: all others end in their row's key.
            if count > 0 && key == last {
                let row = transaction.get(relation.tree, &value).await.map_err(explain)?.unwrap_or_default();
                let values = row::decode(relation, &needed, &value, &row)?;
                let columns: Vec<usize> = index.columns.iter().map(|column| column.at).collect();
                let key = (index.name.as_str(), columns.as_slice());
                return Err(violation::duplicate_in_build(&self.facts, relation, key, &values));
            }
            transaction.make_room().await.map_err(explain)?;
            transaction.put_guarded(index.tree, key.clone(), value).map_err(explain)?;
            last = key;
            count += 1;
            if count.is_multiple_of(1024) {
                tokio::task::yield_now().await;
                canceller.check()?;
            }
        }
        Ok(index)
    }

    /// Builds all indexes of a table anew: their rows' keys have changed, or somebody wishes it.
    pub(super) async fn rebuild_indexes(&mut self, relation: &Relation) -> Result<()> {
        for index in &relation.indexes {
            self.rebuild_index(relation, index).await?;
        }
        Ok(())
    }

    pub(super) async fn rebuild_index(&mut self, relation: &Relation, index: &Index) -> Result<()> {
        let old = index.tree;
        let rebuilt = self.build_index(relation, index.clone()).await?;
        let transaction = self.transaction()?;
        store::put_relation(transaction, relation).await?;
        store::put_index(transaction, relation.oid, &rebuilt, &relation.columns).await?;
        transaction.drop_tree(old)?;
        self.catalogue_changed();
        Ok(())
    }

    /// Puts new, empty trees in the place of a table's indexes.
    pub(super) async fn empty_indexes(&mut self, relation: &Relation) -> Result<()> {
        let canceller = self.canceller.clone();
        for index in &relation.indexes {
            let transaction = self.transaction()?;
            let tree =
                transaction.create_tree(POSTGRES_DATABASE).await.map_err(|error| canceller.explain(error))?;
            let changed = Index { tree, ..index.clone() };
            store::put_index(transaction, relation.oid, &changed, &relation.columns).await?;
            transaction.drop_tree(index.tree)?;
        }
        Ok(())
    }

    /// DROP INDEX.
    pub(super) async fn drop_indexes(&mut self, parsed: &Parsed, target: &DropTarget) -> Result<CommandTag> {
        if target.concurrently {
            self.refuse_in_block("DROP INDEX CONCURRENTLY")?;
            let refuse = |what: &str| {
                let message = format!("DROP INDEX CONCURRENTLY does not support {what}");
                Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message))
            };
            if target.names.len() > 1 {
                return refuse("dropping multiple objects");
            }
            if target.cascade {
                return refuse("CASCADE");
            }
        }
        self.refuse_in_read_only(true, "DROP INDEX")?;
        // What is no index is told before anything goes, and what is named twice goes once.
        let mut names: Vec<String> = Vec::with_capacity(target.names.len());
        for name in &target.names {
            if let Some(name) = self.dropped(parsed, name, target).await?
                && !names.contains(&name)
            {
                names.push(name);
            }
        }
        self.kept.commits_inside &= !names.is_empty();
        for name in names {
            let Some((relation, oid)) = self.lock_index(&name).await? else {
                let message = format!("index \"{name}\" does not exist");
                self.skip_missing(target.if_exists, SqlState::UNDEFINED_OBJECT, message)?;
                continue;
            };
            if !self.may_drop(relation.owner) {
                return Err(not_owner(ObjectKind::Index, &name));
            }
            match relation.indexes.iter().find(|index| index.oid == oid) {
                Some(index) if !index.constraint => self.remove_index(&relation, index).await?,
                _ => {
                    let table = &relation.name;
                    return Err(SqlError::new(
                        SqlState::DEPENDENT_OBJECTS_STILL_EXIST,
                        format!(
                            "cannot drop index {name} because constraint {name} on table {table} requires it"
                        ),
                    )
                    .with_hint(format!("You can drop constraint {name} on table {table} instead.")));
                }
            }
        }
        Ok(CommandTag::Words("DROP INDEX"))
    }

    /// Takes an index out of the catalogue, and its tree away.
    pub(super) async fn remove_index(&mut self, relation: &Relation, index: &Index) -> Result<()> {
        let transaction = self.transaction()?;
        store::put_relation(transaction, relation).await?;
        store::delete_index(transaction, relation.oid, index).await?;
        transaction.drop_tree(index.tree)?;
        if self.facts.catalogue.options.contains_key(&index.oid) {
            grants::put_options(self.transaction()?, index.oid, &[]).await?;
        }
        self.catalogue_changed();
        Ok(())
    }

    /// Locks the table of an index against everybody.
    pub(super) async fn lock_index(&mut self, name: &str) -> Result<Option<(Arc<Relation>, u32)>> {
        self.begin_statement().await?;
        loop {
            let catalogue = self.catalogue().await?;
            let Some((relation, index)) = catalogue.index_named(name) else { return Ok(None) };
            let (tree, oid) = (relation.tree, index.oid);
            self.hold_tree(tree, TableLockMode::AccessExclusive).await?;
            self.begin_statement().await?;
            let catalogue = self.catalogue().await?;
            match catalogue.index(oid) {
                Some((relation, _)) if relation.tree == tree => return Ok(Some((relation.clone(), oid))),
                _ => {}
            }
        }
    }

    /// A UNIQUE constraint as the index that it is, not yet built.
    pub(super) async fn unique_index(&mut self, relation: &Relation, key: &UniqueKey) -> Result<Index> {
        let name = match &key.name {
            Some(name) => {
                if self.is_name_taken(name).await? {
                    let message = format!("relation \"{name}\" already exists");
                    return Err(SqlError::new(SqlState::DUPLICATE_TABLE, message));
                }
                name.clone()
            }
            None => self.choose_name(&relation.name, &column_names(relation, &key.columns), "key").await?,
        };
        require_index_types(relation, key.columns.iter().copied())?;
        let order = OrderedColumn { descending: false, nulls_first: false };
        Ok(Index {
            oid: self.engine.database().allocate_number()?,
            name,
            tree: relation.tree,
            columns: key.columns.iter().map(|at| IndexColumn { at: *at, order }).collect(),
            unique: true,
            constraint: true,
            nulls_not_distinct: key.nulls_not_distinct,
        })
    }
}

/// The last part of the name of a schema or a database.
pub(super) fn last_name(name: &ast::ObjectName) -> String {
    name.0.last().and_then(ast::ObjectNamePart::as_ident).map_or_else(String::new, fold)
}

fn column_names(relation: &Relation, places: &[usize]) -> String {
    let names: Vec<&str> =
        places.iter().filter_map(|at| relation.columns.get(*at)).map(|column| column.name.as_str()).collect();
    names.join("_")
}

/// A name made of parts, the longer of the first two cut until all fits.
pub(super) fn object_name(table: &str, columns: &str, label: &str) -> String {
    let joints = if columns.is_empty() { 1 } else { 2 };
    let bytes_max = NAME_BYTES_MAX.saturating_sub(label.len() + joints);
    let (mut table_bytes, mut columns_bytes) = (table.len(), columns.len());
    while table_bytes + columns_bytes > bytes_max {
        if table_bytes > columns_bytes {
            table_bytes -= 1;
        } else {
            columns_bytes = columns_bytes.saturating_sub(1);
        }
    }
    // Bytes are counted off, and a character that then is not whole goes.
    let (table, columns) = (clipped_to(table, table_bytes), clipped_to(columns, columns_bytes));
    if columns.is_empty() { format!("{table}_{label}") } else { format!("{table}_{columns}_{label}") }
}

fn refuse_absent_clauses(create: &ast::CreateIndex) -> Result<()> {
    let ast::CreateIndex {
        // Read elsewhere.
        name: _,
        table_name: _,
        columns: _,
        unique: _,
        concurrently: _,
        if_not_exists: _,
        nulls_distinct: _,
        with: _,
        // PostgreSQL's.
        using,
        include,
        predicate,
        // Of other servers.
        r#async,
        index_options,
        alter_options,
    } = create;
    let methods = match using {
        None | Some(ast::IndexType::BTree) => None,
        Some(other) => Some(other.to_string().to_ascii_lowercase()),
    };
    if let Some(method) = methods {
        return Err(SqlError::unsupported(format!("access method \"{method}\"")));
    }
    let foreign = *r#async || !index_options.is_empty() || !alter_options.is_empty();
    refuse_first(&[
        (predicate.is_some(), "a partial index"),
        (!include.is_empty(), "CREATE INDEX INCLUDE"),
        (foreign, "this form of CREATE INDEX"),
    ])
}

/// The columns that CREATE INDEX names.
fn index_columns(relation: &Relation, create: &ast::CreateIndex) -> Result<Vec<IndexColumn>> {
    if create.columns.len() > INDEX_COLUMNS_MAX {
        let message = format!("cannot use more than {INDEX_COLUMNS_MAX} columns in an index");
        return Err(SqlError::new(SqlState::TOO_MANY_COLUMNS, message));
    }
    let mut columns = Vec::with_capacity(create.columns.len());
    for ast::IndexColumn { column, operator_class } in &create.columns {
        let ast::OrderByExpr { expr, options, with_fill: _ } = column;
        if operator_class.is_some() {
            return Err(SqlError::unsupported("an operator class of an index"));
        }
        let (mut expr, mut collation) = (expr, None);
        while let ast::Expr::Nested(inner) | ast::Expr::Collate { expr: inner, .. } = expr {
            if let ast::Expr::Collate { collation: given, .. } = expr {
                collation = Some(given);
            }
            expr = inner;
        }
        let ast::Expr::Identifier(name) = expr else {
            return Err(SqlError::unsupported("an index on an expression"));
        };
        let name = fold(name);
        let at = relation.column(&name).ok_or_else(|| {
            SqlError::new(SqlState::UNDEFINED_COLUMN, format!("column \"{name}\" does not exist"))
        })?;
        if let (Some(collation), Some(column)) = (collation, relation.columns.get(at)) {
            require_collation(collation, column.ty)?;
        }
        let descending = matches!(options.sort, Some(ast::OrderBySort::Desc));
        let nulls_first = options.nulls_first.unwrap_or(descending);
        columns.push(IndexColumn { at, order: OrderedColumn { descending, nulls_first } });
    }
    require_index_types(relation, columns.iter().map(|column| column.at))?;
    Ok(columns)
}

/// 42704 for columns of types that have no order in an index.
fn require_index_types(relation: &Relation, columns: impl Iterator<Item = usize>) -> Result<()> {
    for column in columns.filter_map(|at| relation.columns.get(at)) {
        if !sql_types::key::is_supported(column.ty.id) {
            let name = column.ty.id.sql_name();
            return Err(SqlError::unsupported(format!("an index on a column of type {name}")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_lose_the_end_of_their_longer_part() {
        assert_eq!(object_name("t", "a_b", "idx"), "t_a_b_idx");
        assert_eq!(object_name("t", "", "pkey"), "t_pkey");
        let long = object_name(&"x".repeat(70), "abc", "key");
        assert_eq!(long, format!("{}_abc_key", "x".repeat(55)));
        assert_eq!(object_name(&"x".repeat(70), &"y".repeat(70), "key").len(), 63);
    }
}
