//! What an expression may name where it stands: the analyser as the scope of expressions.

use super::analyzer::{Analyzer, DEFAULT_PLACE, REPEATED_NODES_MAX};
use super::node::DeferredSource;
use crate::expr::{AggregateCall, Expr, Facts, FunctionArgument, Scope, Subquery};
use crate::parse::fold;
use sql_catalogue::names::{SYSTEM_COLUMNS, SearchPath};
use sql_interface::{NodeReturns, Result, SqlError};
use sql_types::{Datum, Type, TypeId};
use sqlparser::ast;
use sqlparser::tokenizer::Span;
use sqlstate::SqlState;

impl Scope for Analyzer<'_> {
    fn column(&mut self, name: &[ast::Ident]) -> Result<Expr> {
        let (table, column) = match name {
            [column] => (None, column),
            [table, column] => (Some((fold(table), None)), column),
            [schema, table, column] => (Some((fold(table), Some(fold(schema)))), column),
            _ => return Err(SqlError::syntax("improper qualified name (too many dotted names)")),
        };
        let position = name.first().and_then(|first| self.at(first));
        let wanted = fold(column);
        let qualifier = table.as_ref().map(|(alias, schema)| (alias.as_str(), schema.as_deref()));
        let top = self.levels.len().saturating_sub(1);
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
            let (index, ty, origin) = (found.index, found.ty, found.origin);
            self.note_read(origin);
            if depth == top {
                return Ok(Expr::Column { index, ty });
            }
            for level in self.levels.iter_mut().skip(depth + 1) {
                level.outermost = level.outermost.min(depth);
            }
            return Ok(Expr::Outer { depth: top - depth - 1, index, ty });
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
            return Ok(Expr::Const(name, Type::of(TypeId::Name)));
        }
        if let Some((alias, _)) = &table
            && self.levels.iter().flat_map(|level| &level.tables).any(|table| {
                table.relation.as_ref().is_some_and(|relation| relation.name == *alias)
                    && *table.alias != **alias
            })
        {
            return Err(SqlError::new(
                SqlState::UNDEFINED_TABLE,
                format!("invalid reference to FROM-clause entry for table \"{alias}\""),
            )
            .at(position));
        }
        if let Some((alias, _)) = &table
            && !self.levels.iter().any(|level| level.tables.iter().any(|table| *table.alias == **alias))
        {
            return Err(SqlError::new(
                SqlState::UNDEFINED_TABLE,
                format!("missing FROM-clause entry for table \"{alias}\""),
            )
            .at(position));
        }
        let full = table.map_or_else(|| format!("\"{wanted}\""), |(alias, _)| format!("{alias}.{wanted}"));
        Err(SqlError::new(SqlState::UNDEFINED_COLUMN, format!("column {full} does not exist")).at(position))
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
                let Some(array_type) = ty.id.array() else {
                    let name = ty.id.sql_name();
                    return Err(SqlError::new(
                        SqlState::UNDEFINED_OBJECT,
                        format!("could not find array type for data type {name}"),
                    ));
                };
                Ok(self.add_deferred(
                    DeferredSource::Array(select.node, ty.id),
                    correlated,
                    Type::of(array_type),
                ))
            }
            Subquery::Exists(query) => {
                let (select, correlated) = self.sub_select(query)?;
                Ok(self.add_deferred(DeferredSource::Exists(select.node), correlated, Type::of(TypeId::Bool)))
            }
            Subquery::Quantified { left, op, all, query } => self.quantified(left, &op, all, query),
        }
    }

    fn aggregate(&mut self, call: AggregateCall) -> Result<Expr> {
        let level = self.level();
        if let Some(place) = level.no_aggregates_in {
            return Err(SqlError::new(
                SqlState::GROUPING_ERROR,
                format!("aggregate functions are not allowed in {place}"),
            ));
        }
        let mut inside = false;
        let mut slot = false;
        for argument in
            call.arguments.iter().chain(&call.filter).chain(call.order_by.iter().map(|(key, ..)| key))
        {
            argument.walk(&mut |part| {
                inside |= matches!(part, Expr::Aggregate { .. });
                slot |= matches!(part, Expr::Deferred { .. });
                true
            });
        }
        if inside {
            return Err(SqlError::new(SqlState::GROUPING_ERROR, "aggregate function calls cannot be nested"));
        }
        if slot {
            return Err(SqlError::unsupported("a subquery inside an aggregate function"));
        }
        let ty = call.aggregate.ty();
        let index = match level.aggregates.iter().position(|known| *known == call) {
            Some(index) => index,
            None => {
                level.aggregates.push(call);
                level.aggregates.len() - 1
            }
        };
        Ok(Expr::Aggregate { index, ty })
    }

    fn function(&mut self, call: &ast::Function, arguments: Vec<FunctionArgument>) -> Result<Option<Expr>> {
        let Some(name) = Self::function_name(&call.name)? else { return Ok(None) };
        if let Some(value) = self.sequence_function(&name, &arguments)? {
            return Ok(Some(value));
        }
        if let Some((index, function, complete)) = self.node_function(&name, &arguments)? {
            let (record, ty) = match &function.returns {
                NodeReturns::Scalar(ty) => (None, Some(*ty)),
                NodeReturns::Record(columns) => {
                    (Some(columns.iter().map(|(_, ty)| *ty).collect()), Some(Type::of(TypeId::Text)))
                }
                NodeReturns::Set(_) => (None, None),
            };
            if let Some(ty) = ty {
                let source = DeferredSource::Call {
                    function: index,
                    strict: function.strict,
                    arguments: complete,
                    record,
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
        let mut nested = false;
        for argument in &set.arguments {
            argument.walk(&mut |part| {
                nested |= matches!(part, Expr::Column { index, .. } if *index >= level.width);
                true
            });
        }
        if nested {
            return Err(SqlError::unsupported("a set-returning function in the arguments of another"));
        }
        level.set_calls.push(set);
        Ok(Some(Expr::Column { index: level.width + level.set_calls.len() - 1, ty: *ty }))
    }

    fn calls_in_turn(&mut self, name: &str) -> bool {
        matches!(name, "currval" | "lastval") && !self.in_condition()
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
    /// tableoid, which is the same for all rows of a table. The other system columns name places and
    /// transactions of PostgreSQL's rows, which do not exist here.
    fn system_column(&self, depth: usize, alias: Option<&str>, name: &str) -> Result<Option<Expr>> {
        if !SYSTEM_COLUMNS.contains(&name) {
            return Ok(None);
        }
        let tables = self.levels.get(depth).map(|level| level.tables.as_slice()).unwrap_or_default();
        let is_meant = |table: &&super::analyzer::ScopeTable| {
            table.oid.is_some() && alias.is_none_or(|alias| *table.alias == *alias)
        };
        let mut found = tables.iter().filter(is_meant);
        let (Some(table), others) = (found.next(), found.next()) else { return Ok(None) };
        if others.is_some() {
            let message = format!("column reference \"{name}\" is ambiguous");
            return Err(SqlError::new(SqlState::AMBIGUOUS_COLUMN, message));
        }
        match table.oid {
            Some(oid) if name == "tableoid" && !table.nullable => {
                Ok(Some(Expr::Const(Datum::Oid(oid), Type::of(TypeId::Oid))))
            }
            _ if name == "tableoid" => Err(SqlError::unsupported("tableoid of the outer side of a join")),
            _ => Err(SqlError::unsupported(format!("the system column {name}"))),
        }
    }
}
