//! What an expression may name where it stands: the analyser as the scope of expressions.

use super::analyzer::{Analyzer, DEFAULT_PLACE, QueryLevel, REPEATED_NODES_MAX, ScopeTable, out_of_reach};
use super::exists;
use super::node::{DeferredSource, OfRow};
use super::prune::outer_columns;
use crate::expr::{AggregateCall, Expr, Facts, FunctionArgument, Scope, Subquery};
use crate::parse::fold;
use sql_catalogue::names::{SYSTEM_COLUMNS, SearchPath};
use sql_interface::{NodeReturns, Result, SqlError};
use sql_types::{Datum, Style, Type, TypeId};
use sqlparser::ast;
use sqlparser::tokenizer::Span;
use sqlstate::SqlState;

impl Scope for Analyzer<'_> {
    fn column(&mut self, name: &[ast::Ident]) -> Result<Expr> {
        let position = name.first().and_then(|first| self.at(first));
        let name = self.in_this_database(name, 4).map_err(|error| error.at(position))?;
        let (table, column) = match name {
            [column] => (None, column),
            [table, column] => (Some((fold(table), None)), column),
            [schema, table, column] => (Some((fold(table), Some(fold(schema)))), column),
            _ => return Err(SqlError::internal("a name without parts")),
        };
        let wanted = fold(column);
        let qualifier = table.as_ref().map(|(alias, schema)| (alias.as_str(), schema.as_deref()));
        for depth in (0..self.levels.len()).rev() {
            let Some(found) = self.levels.get(depth).map(|level| level.find(qualifier, &wanted)) else {
                continue;
            };
            let Some(found) = found.map_err(|error| error.at(position))? else {
                match self.system_column(depth, qualifier.map(|(alias, _)| alias), &wanted) {
                    Ok(None) => continue,
                    Ok(Some(expr)) => return Ok(expr),
                    Err(error) => return Err(error.at(position)),
                }
            };
            let found = found.clone();
            self.note_read(found.origin);
            return Ok(found.shown(self.column_at(depth, found.index, found.stored_type())));
        }
        if self.levels.last().is_some_and(|level| level.no_aggregates_in == Some(DEFAULT_PLACE)) {
            let message = "cannot use column reference in DEFAULT expression";
            return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message).at(position));
        }
        if let [word] = name
            && word.quote_style.is_none()
            && wanted == "current_schema"
        {
            // The one of the SQL standard's words for the session that the parser takes for a column.
            let current = self.facts.search_path().current();
            let name = current.map_or(Datum::Null, |schema| Datum::text(schema.name()));
            return Ok(Expr::constant(name, Type::of(TypeId::Name)));
        }
        if let [word] = name
            && word.quote_style.is_none()
            && wanted == "default"
        {
            return Err(SqlError::syntax("DEFAULT is not allowed in this context").at(position));
        }
        Err(self.no_column(table.map(|(alias, _)| alias), &wanted).at(position))
    }

    fn parameter(&mut self, number: usize) -> Result<Expr> {
        if number == 0 || number > self.parameters_max {
            return Err(SqlError::new(
                SqlState::UNDEFINED_PARAMETER,
                format!("there is no parameter ${number}"),
            ));
        }
        if self.parameters.len() < number {
            self.parameters.resize(number, None);
        }
        let index = number - 1;
        let known = self.parameters.get(index).copied().flatten();
        Ok(Expr::Param { index, ty: known.unwrap_or(Type::of(TypeId::Unknown)) })
    }

    fn determine_parameter(&mut self, index: usize, ty: Type) -> Result<()> {
        match self.parameters.get_mut(index) {
            Some(slot @ None) => {
                // A modifier of one place is not the parameter's: the value is cut or padded there.
                *slot = Some(Type::of(ty.id));
                Ok(())
            }
            Some(Some(known)) if known.id == ty.id => Ok(()),
            Some(Some(known)) => Err(SqlError::new(
                SqlState::AMBIGUOUS_PARAMETER,
                format!("inconsistent types deduced for parameter ${}", index + 1),
            )
            .with_detail(format!("{} versus {}", known.id.sql_name(), ty.id.sql_name()))),
            None => Err(SqlError::new(
                SqlState::UNDEFINED_PARAMETER,
                format!("there is no parameter ${}", index + 1),
            )),
        }
    }

    fn leave_parameter(&mut self, index: usize) {
        self.left_open.push(index);
    }

    fn reading_style(&self) -> &Style {
        self.kept_style.as_ref().unwrap_or_else(|| self.facts.style())
    }

    fn mark_literal(&mut self, span: Span) -> i32 {
        self.readings.as_mut().map_or(-1, |readings| readings.mark(span))
    }

    fn note_reading(&mut self, mark: i32, text: &str, ty: TypeId, value: &Datum) {
        self.of_moment |= self.kept_style.is_none() && hangs_on_style(ty, text);
        if let Some(readings) = &mut self.readings {
            readings.note(mark, text, ty, value);
        }
    }

    fn tests_nulls(&mut self) -> Result<bool> {
        self.of_moment |= self.kept_style.is_none();
        Ok(self.kept_style.is_none() && self.facts.setting("transform_null_equals")?.as_deref() == Some("on"))
    }

    fn note_null_test(&mut self, null: Option<Span>) {
        if let Some(readings) = &mut self.readings {
            readings.note_null_test(null);
        }
    }

    fn subquery(&mut self, subquery: Subquery<'_>) -> Result<Expr> {
        match subquery {
            Subquery::Scalar(query) | Subquery::Array(query) => {
                let array = matches!(subquery, Subquery::Array(_));
                let (mut select, correlated) = self.sub_select(query)?;
                select.settle_unknowns(self)?;
                let types = select.types();
                let [ty] = types.as_slice() else {
                    return Err(SqlError::syntax("subquery must return only one column"));
                };
                if !array {
                    return Ok(self.add_deferred(DeferredSource::Scalar(select.node), correlated, *ty));
                }
                // Arrays come together in one of one dimension more, which is of the same type.
                let of_arrays =
                    Some(ty.id).filter(|id| id.element().is_some_and(|one| one.array() == Some(*id)));
                let Some(array_type) = ty.id.array().or(of_arrays) else {
                    let name = ty.id.sql_name();
                    return Err(SqlError::new(
                        SqlState::UNDEFINED_OBJECT,
                        format!("could not find array type for data type {name}"),
                    ));
                };
                Ok(self.add_deferred(
                    DeferredSource::Array(select.node, ty.id),
                    correlated,
                    Type { id: array_type, modifier: ty.modifier },
                ))
            }
            Subquery::Exists(query) => {
                let (mut select, correlated) = self.sub_select(query)?;
                select.settle_unknowns(self)?;
                let source = exists::source(select.node)?;
                let per_row = correlated && !source.compares();
                Ok(self.add_deferred(source, per_row, Type::of(TypeId::Bool)))
            }
            Subquery::Quantified { left, op, all, query } => self.quantified(left, &op, all, query),
        }
    }

    fn aggregate(&mut self, call: AggregateCall) -> Result<Expr> {
        let above = self.rows_above(&call)?;
        let top = self.levels.len().saturating_sub(1);
        let ty = call.aggregate.ty();
        let call = if above == 0 { call } else { call.at_outer(above)? };
        let Some(level) = self.levels.get_mut(top.saturating_sub(above)) else {
            return Err(SqlError::internal("no query level"));
        };
        if let Some(place) = level.no_aggregates_in {
            return Err(SqlError::new(
                SqlState::GROUPING_ERROR,
                format!("aggregate functions are not allowed in {place}"),
            ));
        }
        // A volatile one has a value of its own wherever it is written.
        let may_be_known = level.in_sort_keys || !call.exprs().any(Expr::is_volatile);
        let known = level.aggregates.iter().position(|known| may_be_known && *known == call);
        let index = match known {
            Some(index) => index,
            None => {
                level.aggregates.push(call);
                level.aggregates.len() - 1
            }
        };
        if above == 0 {
            return Ok(Expr::Aggregate { index, ty });
        }
        // Subqueries see the aggregates of an outer query behind its columns.
        Ok(Expr::Outer { depth: above - 1, index: level.width + index, ty })
    }

    fn function(&mut self, call: &ast::Function, arguments: Vec<FunctionArgument>) -> Result<Option<Expr>> {
        let Some(name) = self.function_name(&call.name)? else { return Ok(None) };
        if let Some(value) = self.sequence_function(&name, &arguments)? {
            return Ok(Some(value));
        }
        if let Some(value) = self.sleep_function(&name, &arguments)? {
            return Ok(Some(value));
        }
        if let Some((index, function, complete)) = self.node_function(&name, &arguments)? {
            let (of_row, ty) = match &function.returns {
                NodeReturns::Scalar(ty) => (OfRow::Field(0), Some(*ty)),
                NodeReturns::Record(_) => (OfRow::Whole, Some(Type::of(TypeId::Text))),
                NodeReturns::Set(_) => (OfRow::Whole, None),
            };
            if let Some(ty) = ty {
                let source = DeferredSource::Call {
                    function: index,
                    strict: function.strict,
                    arguments: complete,
                    of_row,
                };
                return Ok(Some(self.add_deferred(source, true, ty)));
            }
        }
        let Some((set, columns)) = self.set_function(&name, &arguments)? else { return Ok(None) };
        let level = self.level();
        if !level.sets_allowed {
            let place = level.no_aggregates_in.unwrap_or("this place");
            return Err(SqlError::new(
                SqlState::FEATURE_NOT_SUPPORTED,
                format!("set-returning functions are not allowed in {place}"),
            ));
        }
        let [(_, ty)] = columns.as_slice() else {
            return Err(SqlError::unsupported(format!("function {name} outside of FROM")));
        };
        // Those of one level stand side by side: none is there before the others are.
        if set.arguments.iter().any(|argument| reads_sets(argument, level)) {
            return Err(SqlError::unsupported("a set-returning function in the arguments of another"));
        }
        level.set_calls.push(set);
        Ok(Some(Expr::Column { index: level.width + level.set_calls.len() - 1, ty: *ty }))
    }

    fn field(&mut self, value: &Expr, name: &str) -> Result<Option<Expr>> {
        let functions = self.environment.node_functions();
        let Expr::Deferred { index, .. } = value else { return Ok(None) };
        let deferred = self.level().deferred.get_mut(*index);
        let Some(DeferredSource::Call { function, of_row, .. }) = deferred.map(|value| &mut value.source)
        else {
            return Ok(None);
        };
        let Some(NodeReturns::Record(columns)) = functions.get(*function).map(|function| &function.returns)
        else {
            return Ok(None);
        };
        let Some(at) = columns.iter().position(|(column, _)| *column == name) else {
            let what = format!("could not identify column \"{name}\" in record data type");
            return Err(SqlError::new(SqlState::UNDEFINED_COLUMN, what));
        };
        *of_row = OfRow::Field(at);
        Ok(columns.get(at).map(|(_, ty)| Expr::Deferred { index: *index, ty: *ty }))
    }

    fn calls_in_turn(&mut self, name: &str) -> bool {
        matches!(name, "currval" | "lastval") && !self.in_condition()
    }

    fn set_calls(&self) -> usize {
        self.levels.last().map_or(0, |level| level.set_calls.len())
    }

    fn repeat(&mut self, nodes: usize) -> Result<()> {
        self.interruptible()?;
        self.repeated_nodes += nodes;
        if self.repeated_nodes <= REPEATED_NODES_MAX {
            return Ok(());
        }
        Err(SqlError::new(SqlState::STATEMENT_TOO_COMPLEX, "statement is too complex").with_detail(
            "BETWEEN, CASE, IN and NULLIF compute what stands before them once for each value behind them.",
        ))
    }

    fn position(&self, span: Span) -> Option<u32> {
        self.source.position(span.start)
    }

    fn facts(&self) -> &dyn Facts {
        self.facts
    }

    fn search_path(&self) -> &SearchPath {
        self.path()
    }
}

impl Analyzer<'_> {
    /// Why there is no such column, of this table or of any.
    fn no_column(&self, table: Option<String>, wanted: &str) -> SqlError {
        let tables = || self.levels.iter().flat_map(|level| &level.tables);
        let Some(alias) = table else {
            if tables().any(|table| *table.alias == *wanted) {
                return SqlError::unsupported("a whole row as a value");
            }
            return SqlError::new(SqlState::UNDEFINED_COLUMN, format!("column \"{wanted}\" does not exist"));
        };
        let is_renamed = |table: &ScopeTable| {
            table.relation.as_ref().is_some_and(|relation| relation.name == alias) && *table.alias != *alias
        };
        if tables().any(is_renamed) {
            let message = format!("invalid reference to FROM-clause entry for table \"{alias}\"");
            return SqlError::new(SqlState::UNDEFINED_TABLE, message);
        }
        let is_hidden = |level: &QueryLevel| {
            level.tables.iter().any(|table| *table.alias == *alias && table.start < level.visible_from)
        };
        if self.levels.iter().any(is_hidden) {
            return out_of_reach(SqlState::UNDEFINED_TABLE, &alias);
        }
        if !tables().any(|table| *table.alias == *alias) {
            let message = format!("missing FROM-clause entry for table \"{alias}\"");
            return SqlError::new(SqlState::UNDEFINED_TABLE, message);
        }
        SqlError::new(SqlState::UNDEFINED_COLUMN, format!("column {alias}.{wanted} does not exist"))
    }

    /// The query whose rows an aggregate is over, counted from the present one: the nearest whose columns it
    /// names, and the present one if it names none.
    fn rows_above(&self, call: &AggregateCall) -> Result<usize> {
        let top = self.levels.len().saturating_sub(1);
        let width = |above: usize| {
            let level = top.checked_sub(above).and_then(|depth| self.levels.get(depth));
            level.map_or(usize::MAX, |level| level.width)
        };
        let (mut nearest, mut aggregates, mut waits) = (None, Vec::new(), false);
        let mut names = |above: usize, index: usize| {
            nearest = Some(nearest.map_or(above, |before: usize| before.min(above)));
            if index >= width(above) {
                aggregates.push(above);
            }
        };
        let slots = self.levels.last().map_or(&[][..], |level| level.deferred.as_slice());
        let mut rest: Vec<&Expr> = call.exprs().collect();
        while let Some(expr) = rest.pop() {
            expr.walk(&mut |part| {
                match part {
                    Expr::Column { .. } => names(0, 0),
                    Expr::Aggregate { .. } => names(0, usize::MAX),
                    Expr::Outer { depth, index, .. } => names(*depth + 1, *index),
                    Expr::Deferred { index, .. } => {
                        waits = true;
                        if let Some(slot) = slots.get(*index) {
                            outer_columns(slot, &mut |above, index, _| names(above, index));
                            rest.extend(slot.source.arguments());
                        }
                    }
                    _ => {}
                }
                true
            });
        }
        let above = nearest.unwrap_or(0);
        if aggregates.contains(&above) {
            return Err(SqlError::new(SqlState::GROUPING_ERROR, "aggregate function calls cannot be nested"));
        }
        if above > 0 && waits {
            return Err(SqlError::unsupported("an aggregate of an outer query over a subquery"));
        }
        Ok(above)
    }

    /// A column of the row of a level.
    pub(super) fn column_at(&mut self, depth: usize, index: usize, ty: Type) -> Expr {
        let top = self.levels.len().saturating_sub(1);
        if depth == top {
            return Expr::Column { index, ty };
        }
        for level in self.levels.iter_mut().skip(depth + 1) {
            level.outermost = level.outermost.min(depth);
        }
        Expr::Outer { depth: top - depth - 1, index, ty }
    }

    /// tableoid, which is the same for all rows of a table, and NULL where an outer join has none. The other
    /// system columns name places and transactions of PostgreSQL's rows, which do not exist here.
    fn system_column(&mut self, depth: usize, alias: Option<&str>, name: &str) -> Result<Option<Expr>> {
        if !SYSTEM_COLUMNS.contains(&name) {
            return Ok(None);
        }
        let tables = self.levels.get(depth).map(|level| level.tables.as_slice()).unwrap_or_default();
        let is_meant =
            |table: &&ScopeTable| table.oid.is_some() && alias.is_none_or(|alias| *table.alias == *alias);
        let mut found = tables.iter().filter(is_meant);
        let (Some(table), others) = (found.next(), found.next()) else { return Ok(None) };
        if others.is_some() {
            let message = format!("column reference \"{name}\" is ambiguous");
            return Err(SqlError::new(SqlState::AMBIGUOUS_COLUMN, message));
        }
        match table.oid {
            Some(oid) if name == "tableoid" => {
                let present = table.nullable.then(|| never_null(table));
                // No list of a column gives it.
                self.note_read(Some((oid, 0)));
                let value = Expr::constant(Datum::Oid(oid), Type::of(TypeId::Oid));
                let Some(present) = present else { return Ok(Some(value)) };
                let Some((index, ty)) = present else {
                    let message =
                        "tableoid of the outer side of a join with a table that has no NOT NULL column";
                    return Err(SqlError::unsupported(message));
                };
                let operand = Box::new(self.column_at(depth, index, ty));
                let is_there = Expr::IsNull { operand, negated: true };
                let ty = Type::of(TypeId::Oid);
                Ok(Some(Expr::Case { branches: vec![(is_there, value)], otherwise: None, ty }))
            }
            _ => Err(SqlError::unsupported(format!("the system column {name}"))),
        }
    }
}

/// A column of a table that is NULL only where an outer join has no row of it.
fn never_null(table: &ScopeTable) -> Option<(usize, Type)> {
    let Some(relation) = &table.relation else {
        // Tables of PostgreSQL's catalogue begin with such a column: an OID, or a reference to one.
        return Some((table.start, Type::of(TypeId::Oid)));
    };
    let at = relation.columns.iter().position(|column| column.not_null && !column.dropped)?;
    Some((table.start + at, relation.columns.get(at)?.ty))
}

/// Whether an expression looks at what a set-returning function of its level gives.
fn reads_sets(expr: &Expr, level: &QueryLevel) -> bool {
    let mut found = false;
    expr.walk(&mut |part| {
        found |= match part {
            Expr::Column { index, .. } => *index >= level.width,
            Expr::Deferred { index, .. } => {
                let own = level.deferred.get(*index).map_or(&[][..], |slot| slot.source.arguments());
                own.iter().any(|argument| reads_sets(argument, level))
            }
            _ => false,
        };
        !found
    });
    found
}

/// Whether a text is read otherwise under other settings (`TimeZone`, `DateStyle`, `IntervalStyle`,
/// `array_nulls`), or at another time ('now').
fn hangs_on_style(ty: TypeId, text: &str) -> bool {
    match ty.element() {
        None => ty.is_of_time(),
        Some(element) => element.is_of_time() || text.to_ascii_lowercase().contains("null"),
    }
}
