//! Names: what the columns, parameters, subqueries and functions of an expression mean where it stands.

use super::node::{SequenceFunction, SetCall, SetFunction, Slot, SlotSource, Slots, TableUse};
use super::query::Select;
use crate::catalogue::{Catalogue, Relation, Role};
use crate::interface::cancel::Canceller;
use crate::interface::environment::{Environment, NodeFunction, NodeReturns};
use crate::interface::error::{Result, SqlError};
use crate::interface::stack;
use crate::language::expr::{
    self, AggregateCall, CastContext, Expr, Facts, FunctionArgument, Scope, Step, Subquery,
};
use crate::language::parse::{Source, fold, too_many_tables};
use sql_types::{Type, TypeId};
use sqlparser::ast;
use sqlparser::tokenizer::Span;
use sqlstate::SqlState;
use std::sync::Arc;
use storage::TableLockMode;

/// A column that expressions may name.
#[derive(Clone, Debug)]
pub(crate) struct ScopeColumn {
    /// The alias (or name) of its table.
    pub(crate) table: Arc<str>,
    /// The table's schema, where it is a table named without an alias.
    pub(crate) schema: Option<&'static str>,
    pub(crate) name: String,
    pub(crate) ty: Type,
    /// The table's OID and the column's number, for RowDescription.
    pub(crate) origin: Option<(u32, i16)>,
    /// Its place in the row.
    pub(crate) index: usize,
    /// Named only with its table (the second of a USING pair, a row's key), and not part of `*`.
    pub(crate) hidden: bool,
    /// Not to be named at all.
    pub(crate) internal: bool,
}

/// A table of the FROM clause.
#[derive(Clone, Debug)]
pub(crate) struct ScopeTable {
    pub(crate) alias: Arc<str>,
    /// The stored table that it is, if it is one.
    pub(crate) relation: Option<Arc<Relation>>,
    /// Where its columns begin in the row.
    pub(crate) start: usize,
    /// Where its key is in the row, if the scan gives it.
    pub(crate) key: Option<usize>,
}

/// One query's names while its expressions are compiled.
#[derive(Debug)]
pub(crate) struct Level {
    pub(crate) columns: Vec<ScopeColumn>,
    /// Columns of the row before this one can't be named: those before the comma, in a join's condition.
    pub(crate) visible_from: usize,
    pub(crate) tables: Vec<ScopeTable>,
    /// Columns of the row that FROM gives.
    pub(crate) width: usize,
    pub(crate) aggregates: Vec<AggregateCall>,
    /// Where aggregates may not stand: what the place is called.
    pub(crate) no_aggregates_in: Option<&'static str>,
    /// Subqueries and waiting functions of the expressions compiled since [`Analyzer::take_slots`].
    pub(crate) slots: Vec<Slot>,
    /// Set-returning functions of a select list.
    pub(crate) set_calls: Vec<SetCall>,
    /// Whether they may stand here.
    pub(crate) sets_allowed: bool,
    /// The outermost level that any expression of this one looks at.
    pub(crate) outermost: usize,
}

/// A query of a WITH clause.
#[derive(Clone, Debug)]
pub(crate) struct Cte {
    pub(crate) name: String,
    pub(crate) columns: Vec<String>,
    pub(crate) query: Arc<ast::Query>,
    /// How many of the queries before it its own text sees.
    pub(crate) sees: usize,
}

/// A set-returning call, and the names and types of its columns.
pub(crate) type NamedSet = (SetCall, Vec<(String, Type)>);

/// Turns statements into plans.
pub(crate) struct Analyzer<'a> {
    pub(crate) catalogue: &'a Catalogue,
    pub(crate) environment: &'a dyn Environment,
    pub(crate) facts: &'a dyn Facts,
    pub(crate) source: &'a Source,
    pub(crate) role: &'a Role,
    pub(crate) parameters: Vec<Option<Type>>,
    /// No more parameters than are declared may be named (the arguments of EXECUTE have none).
    pub(crate) parameters_max: usize,
    pub(crate) levels: Vec<Level>,
    pub(crate) ctes: Vec<Cte>,
    pub(crate) tables: Vec<TableUse>,
    pub(crate) writes: bool,
    /// OIDs of the views that are read.
    pub(crate) views: Vec<u32>,
    /// Views of the catalogue are among what is read.
    pub(crate) reads_catalogue: bool,
    /// The FROM item just made must run once for each row of the left side of its join.
    pub(crate) lateral_pending: bool,
    /// Who may stop the analysis.
    pub(crate) canceller: Option<&'a Canceller>,
    /// Tokens of the statement and of all texts of the catalogue that it has led to.
    pub(crate) tokens: usize,
    /// Tables, subqueries and functions in FROM so far, of views and WITH queries as often as they are read.
    from_items: usize,
    /// Parts of expressions that were written once and stand in the plan again.
    repeated_nodes: usize,
}

/// How errors call the place of a DEFAULT expression.
pub(crate) const DEFAULT_PLACE: &str = "DEFAULT expressions";

/// What a plan may read. A view that reads another twice, which reads another twice, ... doubles at each.
const FROM_ITEMS_MAX: usize = 65_000;

/// Parts of expressions that a plan may hold more than once.
const REPEATED_NODES_MAX: usize = 500_000;

impl Level {
    pub(crate) fn new(depth: usize) -> Self {
        Self {
            columns: Vec::new(),
            visible_from: 0,
            tables: Vec::new(),
            width: 0,
            aggregates: Vec::new(),
            no_aggregates_in: None,
            slots: Vec::new(),
            set_calls: Vec::new(),
            sets_allowed: false,
            outermost: depth,
        }
    }

    /// A column by its name and that of its table; an error if two fit.
    fn find(&self, table: Option<(&str, Option<&str>)>, name: &str) -> Result<Option<&ScopeColumn>> {
        let mut found: Option<&ScopeColumn> = None;
        for column in &self.columns {
            let fits = !column.internal
                && column.index >= self.visible_from
                && column.name == name
                && match table {
                    None => !column.hidden,
                    Some((alias, schema)) => {
                        *column.table == *alias && schema.is_none_or(|schema| column.schema == Some(schema))
                    }
                };
            if fits {
                if found.is_some() {
                    let message = format!("column reference \"{name}\" is ambiguous");
                    return Err(SqlError::new(SqlState::AMBIGUOUS_COLUMN, message));
                }
                found = Some(column);
            }
        }
        Ok(found)
    }
}

impl<'a> Analyzer<'a> {
    pub(crate) fn new(
        catalogue: &'a Catalogue,
        environment: &'a dyn Environment,
        facts: &'a dyn Facts,
        source: &'a Source,
        role: &'a Role,
        declared: Vec<Option<Type>>,
    ) -> Self {
        Self {
            catalogue,
            environment,
            facts,
            source,
            role,
            parameters: declared,
            parameters_max: usize::from(u16::MAX),
            levels: Vec::new(),
            ctes: Vec::new(),
            tables: Vec::new(),
            writes: false,
            views: Vec::new(),
            reads_catalogue: false,
            lateral_pending: false,
            canceller: None,
            tokens: 0,
            from_items: 0,
            repeated_nodes: 0,
        }
    }

    pub(crate) fn at(&self, ident: &ast::Ident) -> Option<u32> {
        self.source.position(ident.span.start)
    }

    /// The level that is being compiled.
    pub(crate) fn level(&mut self) -> &mut Level {
        if self.levels.is_empty() {
            self.levels.push(Level::new(0));
        }
        let last = self.levels.len() - 1;
        &mut self.levels[last]
    }

    pub(crate) fn push_level(&mut self) {
        let depth = self.levels.len();
        self.levels.push(Level::new(depth));
    }

    /// Ends a level; true if it looked at an outer one.
    pub(crate) fn pop_level(&mut self) -> (Level, bool) {
        let depth = self.levels.len().saturating_sub(1);
        let level = self.levels.pop().unwrap_or_else(|| Level::new(0));
        let correlated = level.outermost < depth;
        if correlated && let Some(parent) = self.levels.last_mut() {
            parent.outermost = parent.outermost.min(level.outermost);
        }
        (level, correlated)
    }

    /// Guards against queries that nest too deep, and hears who stops the analysis.
    pub(crate) fn nested<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.interruptible()?;
        stack::check()?;
        work(self)
    }

    /// Fails if the statement was cancelled.
    fn interruptible(&self) -> Result<()> {
        self.canceller.map_or(Ok(()), Canceller::check)
    }

    /// Counts one more item of a FROM clause.
    pub(crate) fn count_from_item(&mut self) -> Result<()> {
        self.interruptible()?;
        self.from_items += 1;
        if self.from_items > FROM_ITEMS_MAX { Err(too_many_tables()) } else { Ok(()) }
    }

    /// Works over a text of the catalogue, which may nest as deep as its own tokens are many.
    pub(crate) fn over_text<T>(&mut self, tokens: usize, work: impl FnOnce(&mut Self) -> T) -> T {
        self.tokens = self.tokens.saturating_add(tokens);
        stack::roomy(tokens, || work(self))
    }

    /// The slots of the expressions compiled since the last call.
    pub(crate) fn take_slots(&mut self) -> Slots {
        Arc::new(std::mem::take(&mut self.level().slots))
    }

    pub(crate) fn compile(&mut self, ast: &ast::Expr) -> Result<Expr> {
        expr::compile(ast, self)
    }

    /// An expression where aggregates and sets may not stand.
    pub(crate) fn compile_in(&mut self, place: &'static str, ast: &ast::Expr) -> Result<Expr> {
        let before = self.level().no_aggregates_in.replace(place);
        let sets = std::mem::replace(&mut self.level().sets_allowed, false);
        let result = expr::compile(ast, self);
        let level = self.level();
        level.no_aggregates_in = before;
        level.sets_allowed = sets;
        result
    }

    /// A condition: boolean, or 42804 naming the clause.
    pub(crate) fn condition(&mut self, place: &'static str, ast: &ast::Expr) -> Result<Expr> {
        let condition = self.compile_in(place, ast)?;
        self.boolean(place, condition)
    }

    pub(crate) fn boolean(&mut self, place: &'static str, condition: Expr) -> Result<Expr> {
        let found = condition.ty();
        if !matches!(found.id, TypeId::Bool | TypeId::Unknown) {
            return Err(SqlError::new(
                SqlState::DATATYPE_MISMATCH,
                format!("argument of {place} must be type boolean, not type {}", found.id.sql_name()),
            ));
        }
        expr::coerce(condition, Type::of(TypeId::Bool), CastContext::Implicit, self)
    }

    /// Notes that the statement uses a table, and checks that the role may.
    pub(crate) fn use_table(&mut self, relation: &Arc<Relation>, mode: TableLockMode) -> Result<()> {
        if !self.role.superuser && self.role.oid != relation.owner {
            return Err(SqlError::new(
                SqlState::INSUFFICIENT_PRIVILEGE,
                format!("permission denied for table {}", relation.name),
            ));
        }
        match self.tables.iter_mut().find(|used| used.relation.oid == relation.oid) {
            Some(used) => used.mode = used.mode.max(mode),
            None => self.tables.push(TableUse { relation: relation.clone(), mode }),
        }
        Ok(())
    }

    /// A user's table by its (possibly qualified) name.
    pub(crate) fn find_table(&self, name: &ast::ObjectName) -> Result<Arc<Relation>> {
        let (schema, table, position) = self.table_name(name)?;
        let known = match schema.as_deref() {
            None | Some("public") => true,
            Some("pg_catalog" | "information_schema" | "pg_temp") => false,
            Some(other) => {
                let full = format!("relation \"{other}.{table}\" does not exist");
                return Err(SqlError::new(SqlState::UNDEFINED_TABLE, full).at(position));
            }
        };
        if known && self.catalogue.view_named(&table).is_some() {
            return Err(SqlError::unsupported("a change or lock of a view"));
        }
        self.catalogue.relation(&table).filter(|_| known).cloned().ok_or_else(|| {
            let full = schema.map_or_else(|| table.clone(), |schema| format!("{schema}.{table}"));
            SqlError::new(SqlState::UNDEFINED_TABLE, format!("relation \"{full}\" does not exist"))
                .at(position)
        })
    }

    /// Schema, name and position of a table's name.
    pub(crate) fn table_name(&self, name: &ast::ObjectName) -> Result<(Option<String>, String, Option<u32>)> {
        let idents: Vec<&ast::Ident> = name.0.iter().filter_map(ast::ObjectNamePart::as_ident).collect();
        match idents.as_slice() {
            [table] => Ok((None, fold(table), self.at(table))),
            [schema, table] => Ok((Some(fold(schema)), fold(table), self.at(schema))),
            [database, schema, table] if fold(database) == self.facts.database() => {
                Ok((Some(fold(schema)), fold(table), self.at(database)))
            }
            _ => Err(SqlError::new(
                SqlState::FEATURE_NOT_SUPPORTED,
                format!("cross-database references are not implemented: \"{name}\""),
            )),
        }
    }

    /// A function's name without pg_catalog; None if it lies in another schema.
    pub(crate) fn function_name(name: &ast::ObjectName) -> Option<String> {
        let idents: Vec<&ast::Ident> = name.0.iter().filter_map(ast::ObjectNamePart::as_ident).collect();
        match idents.as_slice() {
            [function] => Some(fold(function)),
            [schema, function] if matches!(fold(schema).as_str(), "pg_catalog" | "public") => {
                Some(fold(function))
            }
            _ => None,
        }
    }

    /// A subquery as a plan of its own; its levels see the present one as the nearest outer one.
    fn sub_select(&mut self, query: &ast::Query) -> Result<(Select, bool)> {
        self.nested(|analyzer| {
            analyzer.push_level();
            let result = analyzer.query_in_level(query);
            let (_, correlated) = analyzer.pop_level();
            Ok((result?, correlated))
        })
    }

    fn add_slot(&mut self, source: SlotSource, per_row: bool, ty: Type) -> Expr {
        let names_columns = |exprs: &[Expr]| exprs.iter().any(|expr| !super::predicate::is_rowless(expr));
        let uses_row = match &source {
            SlotSource::Call { arguments, .. } | SlotSource::Sequence { arguments, .. } => {
                names_columns(arguments)
            }
            SlotSource::Quantified { left, .. } => per_row || names_columns(left),
            _ => per_row,
        };
        let slots = &mut self.level().slots;
        slots.push(Slot { source, per_row, uses_row });
        Expr::Slot { index: slots.len() - 1, ty }
    }

    fn quantified(
        &mut self,
        left: Vec<Expr>,
        op: &ast::BinaryOperator,
        all: bool,
        query: &ast::Query,
    ) -> Result<Expr> {
        let (mut select, correlated) = self.sub_select(query)?;
        select.settle_unknowns(self)?;
        let types = select.types();
        if types.len() != left.len() {
            let what = if types.len() > left.len() { "many" } else { "few" };
            return Err(SqlError::syntax(format!("subquery has too {what} columns")));
        }
        // The comparison sees the left values first, then the subquery's.
        let count = left.len();
        let mut left_values = Vec::with_capacity(count);
        let mut matches: Option<Expr> = None;
        let mut hashable =
            matches!((op, all), (ast::BinaryOperator::Eq, false) | (ast::BinaryOperator::NotEq, true));
        for (index, (value, ty)) in left.into_iter().zip(types).enumerate() {
            let value = if value.ty().id == TypeId::Unknown {
                expr::coerce(value, Type::of(ty.id), CastContext::Implicit, self)?
            } else {
                value
            };
            hashable &= count == 1 && value.ty().id == ty.id;
            let one = expr::operator(
                op,
                Expr::Column { index, ty: value.ty() },
                Expr::Column { index: count + index, ty },
                self,
            )?;
            left_values.push(value);
            matches = Some(match matches {
                None => one,
                Some(before) => {
                    let join = if *op == ast::BinaryOperator::NotEq {
                        ast::BinaryOperator::Or
                    } else {
                        ast::BinaryOperator::And
                    };
                    expr::operator(&join, before, one, self)?
                }
            });
        }
        let matches = matches.ok_or_else(|| SqlError::syntax("subquery has too few columns"))?;
        let source = SlotSource::Quantified { left: left_values, node: select.node, matches, all, hashable };
        // The subquery may run once, but the comparison is the row's.
        Ok(self.add_slot(source, correlated, Type::of(TypeId::Bool)))
    }

    /// nextval and setval, which wait for the log now and then.
    fn sequence_function(&mut self, name: &str, arguments: &[FunctionArgument]) -> Result<Option<Expr>> {
        let (function, types): (_, &[TypeId]) = match (name, arguments.len()) {
            ("nextval", 1) => (SequenceFunction::Next, &[TypeId::Regclass]),
            ("setval", 2) => (SequenceFunction::Set, &[TypeId::Regclass, TypeId::Int8]),
            ("setval", 3) => (SequenceFunction::Set, &[TypeId::Regclass, TypeId::Int8, TypeId::Bool]),
            _ => return Ok(None),
        };
        let mut coerced = Vec::with_capacity(types.len());
        for (argument, id) in arguments.iter().zip(types) {
            coerced.push(expr::coerce(argument.value.clone(), Type::of(*id), CastContext::Implicit, self)?);
        }
        Ok(Some(self.sequence_call(function, coerced)))
    }

    pub(crate) fn sequence_call(&mut self, function: SequenceFunction, arguments: Vec<Expr>) -> Expr {
        // Not of the node alone: what it gives depends on commits.
        self.reads_catalogue = true;
        self.add_slot(SlotSource::Sequence { function, arguments }, true, Type::of(TypeId::Int8))
    }

    /// Takes over slots that were made at another level, and the expression that reads them.
    pub(crate) fn adopt(&mut self, value: Expr, slots: Vec<Slot>) -> Result<Expr> {
        if slots.is_empty() {
            return Ok(value);
        }
        let own = &mut self.level().slots;
        let base = own.len();
        for slot in slots {
            let plain = match &slot.source {
                SlotSource::Sequence { arguments, .. } => arguments.iter().all(super::predicate::is_rowless),
                _ => false,
            };
            if !plain {
                return Err(SqlError::unsupported("a subquery or waiting function in a DEFAULT expression"));
            }
            own.push(slot);
        }
        value.transform(&mut |part| {
            Ok(match part {
                Expr::Slot { index, ty } => Step::Done(Expr::Slot { index: index + base, ty }),
                other => Step::Into(other),
            })
        })
    }

    /// The overload of a node function that takes these arguments, coerced and completed with defaults.
    pub(crate) fn node_function(
        &mut self,
        name: &str,
        arguments: &[FunctionArgument],
    ) -> Result<Option<(usize, &'a NodeFunction, Vec<Expr>)>> {
        let environment = self.environment;
        let mut error = None;
        for (index, function) in
            environment.node_functions().iter().enumerate().filter(|(_, f)| f.name == name)
        {
            match self.match_arguments(function, arguments) {
                Ok(Some(complete)) => return Ok(Some((index, function, complete))),
                Ok(None) => {}
                Err(mismatch) => error = Some(mismatch),
            }
        }
        error.map_or(Ok(None), Err)
    }

    fn match_arguments(
        &mut self,
        function: &NodeFunction,
        given: &[FunctionArgument],
    ) -> Result<Option<Vec<Expr>>> {
        if given.len() > function.arguments.len() {
            return Ok(None);
        }
        let mut complete: Vec<Option<Expr>> = vec![None; function.arguments.len()];
        for (place, argument) in given.iter().enumerate() {
            let place = match &argument.name {
                None => place,
                Some(name) => match function.arguments.iter().position(|known| known.name == name) {
                    Some(place) => place,
                    None => return Ok(None),
                },
            };
            let (Some(slot), Some(declared)) = (complete.get_mut(place), function.arguments.get(place))
            else {
                return Ok(None);
            };
            if slot.is_some() {
                return Ok(None);
            }
            *slot = Some(expr::coerce(argument.value.clone(), declared.ty, CastContext::Implicit, self)?);
        }
        let filled =
            complete.into_iter().zip(&function.arguments).enumerate().map(|(place, (value, declared))| {
                value.or_else(|| {
                    (place >= function.required).then(|| Expr::Const(declared.default.clone(), declared.ty))
                })
            });
        Ok(filled.collect())
    }

    /// A set-returning function by its name: its call and the columns that it gives.
    pub(crate) fn set_function(
        &mut self,
        name: &str,
        arguments: &[FunctionArgument],
    ) -> Result<Option<NamedSet>> {
        let values: Vec<Expr> = arguments.iter().map(|argument| argument.value.clone()).collect();
        match (name, values.len()) {
            ("generate_series", 2 | 3) => {
                let (call, ty) = self.generate_series(values)?;
                Ok(Some((call, vec![("generate_series".to_owned(), ty)])))
            }
            ("unnest", 1) => {
                let array = values.into_iter().next().map(|value| (value.ty().id.element(), value));
                let Some((Some(element), value)) = array else {
                    return Err(SqlError::new(
                        SqlState::UNDEFINED_FUNCTION,
                        "function unnest of this argument type does not exist",
                    ));
                };
                let call = SetCall { function: SetFunction::Unnest, arguments: vec![value] };
                Ok(Some((call, vec![("unnest".to_owned(), Type::of(element))])))
            }
            _ => {
                let Some((index, function, arguments)) = self.node_function(name, arguments)? else {
                    return Ok(None);
                };
                let (NodeReturns::Record(columns) | NodeReturns::Set(columns)) = &function.returns else {
                    return Ok(None);
                };
                let columns = columns.iter().map(|(name, ty)| ((*name).to_owned(), *ty)).collect();
                let function = SetFunction::Node { function: index, strict: function.strict };
                Ok(Some((SetCall { function, arguments }, columns)))
            }
        }
    }

    /// generate_series: all arguments become one type; for times the step is an interval.
    fn generate_series(&mut self, mut values: Vec<Expr>) -> Result<(SetCall, Type)> {
        let times = values
            .iter()
            .take(2)
            .any(|value| matches!(value.ty().id, TypeId::Date | TypeId::Timestamp | TypeId::Timestamptz));
        let step = (values.len() == 3 && times).then(|| values.pop()).flatten();
        let mut ty = if times {
            let zoned = values.iter().any(|value| value.ty().id == TypeId::Timestamptz)
                || values.iter().all(|value| value.ty().id == TypeId::Date);
            Type::of(if zoned { TypeId::Timestamptz } else { TypeId::Timestamp })
        } else {
            let mut all: Vec<&mut Expr> = values.iter_mut().collect();
            expr::common_type(&mut all, "generate_series", self)?
        };
        ty = Type::of(match ty.id {
            TypeId::Int2 | TypeId::Unknown | TypeId::Text => TypeId::Int4,
            id => id,
        });
        if !matches!(
            ty.id,
            TypeId::Int4 | TypeId::Int8 | TypeId::Numeric | TypeId::Timestamp | TypeId::Timestamptz
        ) || times != step.is_some()
        {
            return Err(SqlError::new(
                SqlState::UNDEFINED_FUNCTION,
                format!("function generate_series over type {} does not exist", ty.id.sql_name()),
            )
            .with_hint("No function matches the given name and argument types. You might need to add explicit type casts."));
        }
        let mut arguments = Vec::with_capacity(3);
        for value in values {
            arguments.push(expr::coerce(value, ty, CastContext::Implicit, self)?);
        }
        if let Some(step) = step {
            arguments.push(expr::coerce(step, Type::of(TypeId::Interval), CastContext::Implicit, self)?);
        }
        Ok((SetCall { function: SetFunction::GenerateSeries(ty.id), arguments }, ty))
    }
}

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
            let Some(found) = found.map_err(|error| error.at(position))? else { continue };
            let (index, ty) = (found.index, found.ty);
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
            return Ok(Expr::Const(sql_types::Datum::text("public"), Type::of(TypeId::Name)));
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
                    return Ok(self.add_slot(SlotSource::Scalar(select.node), correlated, *ty));
                }
                let Some(array_type) = ty.id.array() else {
                    let name = ty.id.sql_name();
                    return Err(SqlError::new(
                        SqlState::UNDEFINED_OBJECT,
                        format!("could not find array type for data type {name}"),
                    ));
                };
                Ok(self.add_slot(SlotSource::Array(select.node, ty.id), correlated, Type::of(array_type)))
            }
            Subquery::Exists(query) => {
                let (select, correlated) = self.sub_select(query)?;
                Ok(self.add_slot(SlotSource::Exists(select.node), correlated, Type::of(TypeId::Bool)))
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
                slot |= matches!(part, Expr::Slot { .. });
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
        let Some(name) = Self::function_name(&call.name) else { return Ok(None) };
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
                let source = SlotSource::Call {
                    function: index,
                    strict: function.strict,
                    arguments: complete,
                    record,
                };
                return Ok(Some(self.add_slot(source, true, ty)));
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
}
