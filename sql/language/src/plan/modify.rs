//! INSERT, UPDATE, DELETE: from syntax to nodes.

use super::analyzer::Analyzer;
use super::from::{FromItem, table_item};
use super::node::{
    ConflictAction, ConflictPlan, DeletePlan, InsertPlan, ModifiedTable, Node, ProjectPlan, ProjectSetPlan,
    Returning, UpdatePlan, ValuesPlan,
};
use super::query::{OutputColumn, Select};
use crate::expr::{self, Expr};
use crate::parse::{Change, fold};
use sql_catalogue::rights::Privileges;
use sql_catalogue::{Identity, Relation};
use sql_interface::{Result, SqlError};
use sql_types::cast::CastContext;
use sql_types::{Type, TypeId};
use sqlparser::ast;
use sqlstate::SqlState;
use std::sync::Arc;
use storage::TableLockMode;

/// A changing statement's node, and the columns of its RETURNING.
pub(crate) type Modification = (Node, Option<Vec<OutputColumn>>);

impl Analyzer<'_> {
    /// A value on its way into a column: 42804 if it cannot get there without a cast.
    pub(crate) fn assign(&mut self, value: Expr, relation: &Relation, name: &str, ty: Type) -> Result<Expr> {
        let _ = relation;
        let found = value.ty();
        expr::coerce(value, ty, CastContext::Assignment, self).map_err(|error| {
            if error.code() == SqlState::DATATYPE_MISMATCH || error.code() == SqlState::CANNOT_COERCE {
                SqlError::new(
                    SqlState::DATATYPE_MISMATCH,
                    format!(
                        "column \"{name}\" is of type {} but expression is of type {}",
                        ty.id.sql_name(),
                        found.id.sql_name()
                    ),
                )
                .with_hint("You will need to rewrite or cast the expression.")
            } else {
                error
            }
        })
    }

    /// A statement that changes rows, and sees the queries of the WITH before it.
    pub(crate) fn change<T>(
        &mut self,
        change: &Change<T>,
        plan: impl FnOnce(&mut Self, &T) -> Result<Modification>,
    ) -> Result<Modification> {
        let Some(with) = &change.with else { return plan(self, &change.statement) };
        self.add_ctes(with)?;
        let modification = plan(self, &change.statement)?;
        self.analyse_unread(0)?;
        self.ctes.clear();
        Ok(modification)
    }

    pub(crate) fn insert(&mut self, insert: &ast::Insert) -> Result<Modification> {
        self.writes = true;
        let ast::TableObject::TableName(name) = &insert.table else {
            return Err(SqlError::unsupported("INSERT into anything but a table"));
        };
        let relation = self.find_table(name)?;
        self.use_table(&relation, TableLockMode::RowExclusive, Privileges::INSERT);
        let mut target = self.target_of(&relation)?;
        let columns = self.insert_columns(&relation, &insert.columns)?;
        let (input, given) = self.insert_source(&relation, insert.source.as_deref(), &columns)?;
        if let Some(name) = insert.columns.get(given).filter(|_| insert.source.is_some()) {
            let (_, _, position) = self.table_name(name)?;
            return Err(SqlError::syntax("INSERT has more target columns than expressions").at(position));
        }
        target.written = columns.iter().take(given).copied().collect();
        self.note_written(&relation, target.written.iter().copied(), Privileges::INSERT);
        // Every column of the new row: given by the source's row, or its default.
        let mut values = Vec::with_capacity(relation.columns.len());
        for (at, column) in relation.columns.iter().enumerate() {
            let place = columns.iter().take(given).position(|column| *column == at);
            let place = match (place, column.identity) {
                (Some(_), Some(_)) if insert.overriding == Some(ast::InsertOverriding::User) => None,
                (Some(place), Some(Identity::Always)) if insert.overriding.is_none() => {
                    let defaults = insert.source.as_deref().is_some_and(|query| all_default(query, place));
                    if !defaults {
                        self.refuse_at_the_end(not_inserted(&column.name));
                    }
                    Some(place)
                }
                (place, _) => place,
            };
            values.push(match place {
                Some(index) => Expr::Column { index, ty: column.ty },
                None => self.default_value(&relation, at)?,
            });
        }
        let deferred = self.take_deferred();
        let alias = insert.table_alias.as_ref().map(|alias| fold(&alias.alias));
        let conflict = match &insert.on {
            None => None,
            Some(ast::OnInsert::OnConflict(conflict)) => {
                Some(self.conflict(&relation, alias.as_deref(), conflict)?)
            }
            Some(_) => {
                return Err(SqlError::syntax("ON DUPLICATE KEY UPDATE is not PostgreSQL's")
                    .with_hint("Use ON CONFLICT."));
            }
        };
        if let Some(ConflictPlan { action: ConflictAction::Update { assignments, .. }, .. }) = &conflict {
            target.written.extend(assignments.iter().map(|(at, _)| *at));
        }
        let (returning, outputs) = self.with_row(&relation, alias.as_deref(), insert.returning.as_deref())?;
        self.refused()?;
        let node =
            Node::Insert(Arc::new(InsertPlan { input, target, values, deferred, conflict, returning }));
        Ok((node, outputs))
    }

    /// What is wrong with the statement if nothing else is: PostgreSQL finds it after the analysis.
    fn refuse_at_the_end(&mut self, error: SqlError) {
        self.refused.get_or_insert(error);
    }

    fn refused(&mut self) -> Result<()> {
        self.refused.take().map_or(Ok(()), Err)
    }

    /// The name of a column that is written. A name of more parts would be a field of a composite value.
    fn written_column(&self, relation: &Relation, name: &ast::ObjectName) -> Result<(String, Option<u32>)> {
        let idents: Vec<&ast::Ident> = name.0.iter().filter_map(ast::ObjectNamePart::as_ident).collect();
        let [first, rest @ ..] = idents.as_slice() else {
            return Err(SqlError::syntax("a column has no name"));
        };
        let (column, position) = (fold(first), self.at(first));
        let Some(field) = rest.first() else { return Ok((column, position)) };
        let at = relation.require_column(&column).map_err(|error| error.at(position))?;
        let ty = relation.columns.get(at).map_or(TypeId::Unknown, |column| column.ty.id);
        let message = format!(
            "cannot assign to field \"{}\" of column \"{column}\" because its type {} is not a composite type",
            fold(field),
            ty.sql_name()
        );
        Err(SqlError::new(SqlState::DATATYPE_MISMATCH, message).at(position))
    }

    /// Places of the columns named, or all of them.
    fn insert_columns(&mut self, relation: &Relation, names: &[ast::ObjectName]) -> Result<Vec<usize>> {
        if names.is_empty() {
            return Ok(relation.live_columns().map(|(at, _)| at).collect());
        }
        let mut columns = Vec::with_capacity(names.len());
        for name in names {
            let (wanted, position) = self.written_column(relation, name)?;
            let at = relation.require_column(&wanted).map_err(|error| error.at(position))?;
            if columns.contains(&at) {
                return Err(SqlError::new(
                    SqlState::DUPLICATE_COLUMN,
                    format!("column \"{wanted}\" specified more than once"),
                )
                .at(position));
            }
            columns.push(at);
        }
        Ok(columns)
    }

    /// Rows of the columns given, coerced to their types; how many of the columns they fill.
    fn insert_source(
        &mut self,
        relation: &Arc<Relation>,
        source: Option<&ast::Query>,
        columns: &[usize],
    ) -> Result<(Node, usize)> {
        let Some(query) = source else {
            // DEFAULT VALUES
            return Ok((Node::Unit, 0));
        };
        if let Some(values) = plain_values(query) {
            return self.insert_values(relation, values, columns);
        }
        let mut select = self.query(query)?;
        self.check_count(select.columns.len(), columns.len())?;
        let given = select.columns.len();
        self.coerce_source(&mut select, relation, columns)?;
        Ok((select.node, given))
    }

    fn coerce_source(&mut self, select: &mut Select, relation: &Relation, columns: &[usize]) -> Result<()> {
        let wanted: Vec<(String, Type)> = columns
            .iter()
            .filter_map(|at| relation.columns.get(*at))
            .map(|column| (column.name.clone(), column.ty))
            .collect();
        select.map_outputs(|at, expr| match wanted.get(at) {
            Some((name, ty)) => self.assign(expr, relation, name, *ty),
            None => Ok(expr),
        })
    }

    fn check_count(&self, given: usize, wanted: usize) -> Result<()> {
        if given > wanted {
            return Err(SqlError::syntax("INSERT has more expressions than target columns"));
        }
        Ok(())
    }

    fn insert_values(
        &mut self,
        relation: &Arc<Relation>,
        values: &ast::Values,
        columns: &[usize],
    ) -> Result<(Node, usize)> {
        let width = values.rows.first().map_or(0, |row| row.content.len());
        self.check_count(width, columns.len())?;
        let single = values.rows.len() == 1;
        self.push_level();
        self.level().sets_allowed = single;
        self.level().no_aggregates_in = Some("VALUES");
        let rows = self.insert_rows(relation, values, columns, width);
        let deferred = self.take_deferred();
        let set_calls = std::mem::take(&mut self.level().set_calls);
        self.pop_level();
        let mut rows = rows?;
        if set_calls.is_empty() {
            return Ok((Node::Values(Arc::new(ValuesPlan { rows, deferred })), width));
        }
        // One row of VALUES with a set-returning function is a SELECT.
        let slots_of_sets = deferred.clone();
        let input = Node::ProjectSet(Arc::new(ProjectSetPlan {
            input: Node::Unit,
            calls: set_calls,
            deferred: slots_of_sets,
        }));
        let exprs = rows.pop().unwrap_or_default();
        Ok((Node::Project(Arc::new(ProjectPlan { input, exprs, deferred })), width))
    }

    fn insert_rows(
        &mut self,
        relation: &Arc<Relation>,
        values: &ast::Values,
        columns: &[usize],
        width: usize,
    ) -> Result<Vec<Vec<Expr>>> {
        let mut rows = Vec::with_capacity(values.rows.len());
        for row in &values.rows {
            if row.content.len() != width {
                return Err(SqlError::syntax("VALUES lists must all be the same length"));
            }
            // All of them first, so that a parameter has one type in all places.
            let mut written = Vec::with_capacity(width);
            for ast in &row.content {
                written.push(if is_default(ast) { None } else { Some(self.compile(ast)?) });
            }
            let mut compiled = Vec::with_capacity(width);
            for (value, at) in written.into_iter().zip(columns) {
                let Some(column) = relation.columns.get(*at) else {
                    return Err(SqlError::internal("no such column"));
                };
                compiled.push(match value {
                    None => self.default_value(relation, *at)?,
                    Some(value) => self.assign(value, relation, &column.name, column.ty)?,
                });
            }
            rows.push(compiled);
        }
        Ok(rows)
    }

    /// SET a = ..., (b, c) = (..., ...).
    pub(super) fn assignments(
        &mut self,
        relation: &Relation,
        list: &[ast::Assignment],
    ) -> Result<Vec<(usize, Expr)>> {
        let mut written: Vec<(usize, Option<Expr>)> = Vec::with_capacity(list.len());
        for assignment in list {
            let pairs: Vec<(&ast::ObjectName, &ast::Expr)> = match (&assignment.target, &assignment.value) {
                (ast::AssignmentTarget::ColumnName(name), value) => vec![(name, value)],
                (ast::AssignmentTarget::Tuple(names), ast::Expr::Tuple(values))
                    if names.len() == values.len() =>
                {
                    names.iter().zip(values).collect()
                }
                (ast::AssignmentTarget::Tuple(names), value @ ast::Expr::Subquery(_)) if names.len() == 1 => {
                    names.iter().map(|name| (name, value)).collect()
                }
                (ast::AssignmentTarget::Tuple(names), _) if names.len() == 1 => {
                    let message =
                        "source for a multiple-column UPDATE item must be a sub-SELECT or ROW() expression";
                    return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message));
                }
                (ast::AssignmentTarget::Tuple(_), ast::Expr::Tuple(_)) => {
                    return Err(SqlError::syntax("number of columns does not match number of values"));
                }
                _ => return Err(SqlError::unsupported("UPDATE of several columns from one subquery")),
            };
            for (name, ast) in pairs {
                let (wanted, position) = self.written_column(relation, name)?;
                let at = relation.require_column(&wanted).map_err(|error| error.at(position))?;
                let Some(column) = relation.columns.get(at) else {
                    return Err(SqlError::internal("no such column"));
                };
                if written.iter().any(|(known, _)| *known == at) {
                    return Err(SqlError::syntax(format!(
                        "multiple assignments to same column \"{}\"",
                        column.name
                    )));
                }
                let value = if is_default(ast) {
                    None
                } else {
                    if column.identity == Some(Identity::Always) {
                        self.refuse_at_the_end(not_updated(&column.name));
                    }
                    Some(self.compile_in("UPDATE", ast)?)
                };
                written.push((at, value));
            }
        }
        // All of them are there, so that a parameter has one type in all places.
        let assigned = written.into_iter().map(|(at, value)| {
            let value = match (value, relation.columns.get(at)) {
                (Some(value), Some(column)) => self.assign(value, relation, &column.name, column.ty)?,
                _ => self.default_value(relation, at)?,
            };
            Ok((at, value))
        });
        assigned.collect()
    }

    /// RETURNING over one row of a table.
    fn with_row(
        &mut self,
        relation: &Arc<Relation>,
        alias: Option<&str>,
        items: Option<&[ast::SelectItem]>,
    ) -> Result<(Option<Returning>, Option<Vec<OutputColumn>>)> {
        let Some(items) = items else { return Ok((None, None)) };
        let mut item = table_item(relation, false);
        if let Some(alias) = alias {
            item.rename(alias, &[])?;
        }
        self.push_level();
        self.show(item);
        let result = self.returning(items);
        self.pop_level();
        result.map(|(returning, columns)| (Some(returning), Some(columns)))
    }

    /// The one table that UPDATE or DELETE changes, with its alias.
    fn changed_table(
        &mut self,
        table: &ast::TableWithJoins,
        verb: &str,
    ) -> Result<(Arc<Relation>, FromItem)> {
        let ast::TableFactor::Table { name, alias, args: None, .. } = &table.relation else {
            return Err(SqlError::unsupported(format!("{verb} of anything but a table")));
        };
        if !table.joins.is_empty() {
            return Err(SqlError::syntax(format!("{verb} takes one table; join others with FROM or USING")));
        }
        let relation = self.find_table(name)?;
        let needed = if verb == "UPDATE" { Privileges::UPDATE } else { Privileges::DELETE };
        self.use_table(&relation, TableLockMode::RowExclusive, needed);
        let mut item = table_item(&relation, true);
        if let Some(alias) = alias {
            item.rename(&fold(&alias.name), &[])?;
        }
        item.target_width = item.width;
        Ok((relation, item))
    }

    pub(crate) fn update(&mut self, update: &ast::Update) -> Result<Modification> {
        self.writes = true;
        let from: &[ast::TableWithJoins] = match &update.from {
            None => &[],
            Some(ast::UpdateTableFromKind::AfterSet(from) | ast::UpdateTableFromKind::BeforeSet(from)) => {
                from
            }
        };
        self.push_level();
        let result = self.update_in_level(update, from);
        self.pop_level();
        result
    }

    fn update_in_level(
        &mut self,
        update: &ast::Update,
        from: &[ast::TableWithJoins],
    ) -> Result<Modification> {
        let (relation, item) = self.changed_table(&update.table, "UPDATE")?;
        let mut target = self.target_of(&relation)?;
        let key = relation.columns.len();
        let (input, recheck) = self.filtered(item, from, update.selection.as_ref(), false)?;
        let assignments = self.assignments(&relation, &update.assignments)?;
        target.written = assignments.iter().map(|(at, _)| *at).collect();
        self.note_written(&relation, target.written.iter().copied(), Privileges::UPDATE);
        let deferred = self.take_deferred();
        let moves = relation
            .primary_key
            .as_ref()
            .is_some_and(|primary| assignments.iter().any(|(at, _)| primary.columns.contains(at)));
        let (returning, outputs) = match &update.returning {
            None => (None, None),
            Some(items) => {
                let (returning, outputs) = self.returning(items)?;
                (Some(returning), Some(outputs))
            }
        };
        self.refused()?;
        let plan = UpdatePlan {
            input,
            target,
            key,
            assignments,
            deferred,
            recheck: recheck.condition,
            recheck_deferred: recheck.deferred,
            moves,
            returning,
        };
        Ok((Node::Update(Arc::new(plan)), outputs))
    }

    pub(crate) fn delete(&mut self, delete: &ast::Delete) -> Result<Modification> {
        self.writes = true;
        let (ast::FromTable::WithFromKeyword(tables) | ast::FromTable::WithoutKeyword(tables)) = &delete.from;
        let [table] = tables.as_slice() else {
            return Err(SqlError::syntax("DELETE takes one table; join others with USING"));
        };
        self.push_level();
        let result = self.delete_in_level(table, delete);
        self.pop_level();
        result
    }

    fn delete_in_level(&mut self, table: &ast::TableWithJoins, delete: &ast::Delete) -> Result<Modification> {
        let (relation, item) = self.changed_table(table, "DELETE")?;
        let key = relation.columns.len();
        let using = delete.using.as_deref().unwrap_or_default();
        let (input, recheck) = self.filtered(item, using, delete.selection.as_ref(), false)?;
        let (recheck, recheck_deferred) = (recheck.condition, recheck.deferred);
        let (returning, outputs) = match &delete.returning {
            None => (None, None),
            Some(items) => {
                let (returning, outputs) = self.returning(items)?;
                (Some(returning), Some(outputs))
            }
        };
        let target = ModifiedTable { relation, checks: Vec::new(), written: Vec::new() };
        let plan = DeletePlan { input, target, key, recheck, recheck_deferred, returning };
        Ok((Node::Delete(Arc::new(plan)), outputs))
    }
}

/// An error in an expression that the catalogue keeps: its place is in that text, not in the statement's.
pub(super) fn elsewhere(mut error: SqlError) -> SqlError {
    error.fields_mut().position = None;
    error
}

fn generated_always(column: &str, message: String) -> SqlError {
    SqlError::new(SqlState::GENERATED_ALWAYS, message)
        .with_detail(format!("Column \"{column}\" is an identity column defined as GENERATED ALWAYS."))
}

fn not_inserted(column: &str) -> SqlError {
    generated_always(column, format!("cannot insert a non-DEFAULT value into column \"{column}\""))
        .with_hint("Use OVERRIDING SYSTEM VALUE to override.")
}

fn not_updated(column: &str) -> SqlError {
    generated_always(column, format!("column \"{column}\" can only be updated to DEFAULT"))
}

/// Whether all rows of VALUES have the word DEFAULT in this place.
fn all_default(query: &ast::Query, place: usize) -> bool {
    match &*query.body {
        ast::SetExpr::Values(values) => {
            values.rows.iter().all(|row| row.content.get(place).is_some_and(is_default))
        }
        _ => false,
    }
}

/// VALUES with nothing but parentheses around it.
fn plain_values(query: &ast::Query) -> Option<&ast::Values> {
    let plain = query.with.is_none()
        && query.order_by.is_none()
        && query.limit_clause.is_none()
        && query.fetch.is_none();
    match &*query.body {
        ast::SetExpr::Values(values) if plain => Some(values),
        ast::SetExpr::Query(inner) if plain => plain_values(inner),
        _ => None,
    }
}

/// The word DEFAULT in the place of a value.
fn is_default(ast: &ast::Expr) -> bool {
    matches!(expr::strip(ast), ast::Expr::Identifier(word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case("default"))
}

/// The types of all parameters; an error for one that has none, or stands somewhere without it.
pub(crate) fn settled(parameters: &[Option<Type>], left_open: &[usize]) -> Result<Vec<Type>> {
    let settled = |(at, ty): (usize, &Option<Type>)| {
        let known = ty.filter(|ty| ty.id != TypeId::Unknown);
        let code = match known {
            Some(ty) if !left_open.contains(&at) => return Ok(ty),
            Some(_) => SqlState::AMBIGUOUS_PARAMETER,
            None => SqlState::INDETERMINATE_DATATYPE,
        };
        Err(SqlError::new(code, format!("could not determine data type of parameter ${}", at + 1)))
    };
    parameters.iter().enumerate().map(settled).collect()
}
