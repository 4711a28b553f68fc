//! Names: what the columns, parameters, subqueries and functions of an expression mean where it stands.

use super::kept::Readings;
use super::node::{DeferredSource, DeferredValue, DeferredValues, SetCall, TableUse};
use super::predicate::hash_alike;
use super::query::Select;
use super::rights::Requirement;
use crate::expr::{self, AggregateCall, Expr, Facts, Step};
use crate::parse::{Source, too_many_tables};
use sql_catalogue::names::SearchPath;
use sql_catalogue::rights::{Object, Privileges};
use sql_catalogue::{Catalogue, Relation};
use sql_interface::{Canceller, Environment, Result, SqlError, stack};
use sql_types::cast::CastContext;
use sql_types::{Style, Type, TypeId};
use sqlparser::ast;
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
    /// The type that it is shown in.
    pub(crate) ty: Type,
    /// The type of the value in the row, where that is another: of a column that USING merges of two.
    pub(crate) stored: Option<Type>,
    /// The table's OID and the column's number, for RowDescription.
    pub(crate) origin: Option<(u32, i16)>,
    /// Its place in the row.
    pub(crate) index: usize,
    /// Its place in `table.*`.
    pub(crate) place: usize,
    /// Named only with its table (the second of a USING pair, a row's key), and not part of `*`.
    pub(crate) hidden: bool,
    /// Not to be named at all.
    pub(crate) internal: bool,
}

impl ScopeColumn {
    /// The type of the value in the row.
    pub(super) fn stored_type(&self) -> Type {
        self.stored.unwrap_or(self.ty)
    }

    /// Its value in the row in the type that it is shown in.
    pub(super) fn shown(&self, value: Expr) -> Expr {
        match self.stored {
            None => value,
            Some(_) => Expr::Cast { operand: Box::new(value), to: self.ty, explicit: true },
        }
    }

    /// What it is to the query of whose FROM clause it is.
    pub(super) fn expr(&self) -> Expr {
        self.shown(Expr::Column { index: self.index, ty: self.stored_type() })
    }
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
    /// Its number in pg_class, if it has one, for tableoid.
    pub(crate) oid: Option<u32>,
    /// It is on the side of an outer join that may be missing.
    pub(crate) nullable: bool,
}

/// One query's names while its expressions are compiled.
#[derive(Debug)]
pub(crate) struct QueryLevel {
    pub(crate) columns: Vec<ScopeColumn>,
    /// Columns of the row before this one can't be named: those before the comma, in a join's condition.
    pub(crate) visible_from: usize,
    /// Columns of the row before this one are those of the table that is changed, which nothing in FROM sees.
    pub(crate) target_width: usize,
    pub(crate) tables: Vec<ScopeTable>,
    /// Columns of the row that FROM gives.
    pub(crate) width: usize,
    pub(crate) aggregates: Vec<AggregateCall>,
    /// What is compiled is of ORDER BY or DISTINCT ON, which may name a value of the select list again.
    pub(crate) in_sort_keys: bool,
    /// Where aggregates may not stand: what the place is called.
    pub(crate) no_aggregates_in: Option<&'static str>,
    /// Subqueries and waiting functions of the expressions compiled since [`Analyzer::take_deferred`].
    pub(crate) deferred: Vec<DeferredValue>,
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
    /// It calls what may give something else each time.
    pub(crate) volatile: bool,
    /// How often it has been read: each time, it is planned anew.
    pub(crate) reads: usize,
}

/// A set-returning call, and the names and types of its columns.
pub(crate) type NamedSet = (SetCall, Vec<(String, Type)>);

/// Turns statements into plans.
pub struct Analyzer<'a> {
    pub(crate) catalogue: &'a Catalogue,
    pub(crate) environment: &'a dyn Environment,
    pub(crate) facts: &'a dyn Facts,
    pub(crate) source: &'a Source,
    pub(crate) parameters: Vec<Option<Type>>,
    /// Those of them that stand somewhere without a type.
    pub(crate) left_open: Vec<usize>,
    /// No more parameters than are declared may be named (the arguments of EXECUTE have none).
    pub parameters_max: usize,
    pub(crate) levels: Vec<QueryLevel>,
    pub(crate) ctes: Vec<Cte>,
    pub(crate) tables: Vec<TableUse>,
    pub(crate) writes: bool,
    /// What is wrong with the statement if its analysis finds nothing else.
    pub(crate) refused: Option<SqlError>,
    /// What the statement does, for [`super::rights::check`].
    pub(crate) rights: Vec<Requirement>,
    /// Whose rights count: None for whoever runs the statement, inside a view its owner.
    pub(crate) acting: Option<u32>,
    /// Inside a view's query, of what it reads: the numbers of the last columns that it sees.
    pub(crate) within: Vec<(u32, i16)>,
    /// Columns that are named now need no right to be read.
    pub(crate) reads_unnoted: bool,
    /// OIDs of the views and sequences that are read.
    pub views: Vec<u32>,
    /// Views of the catalogue are among what is read.
    pub(crate) reads_catalogue: bool,
    /// It looks at what the session keeps by name.
    pub(crate) reads_session: bool,
    /// What a literal or a sign means hangs on settings of the session, or on the present.
    pub(super) of_moment: bool,
    /// The FROM item just made must run once for each row of the left side of its join.
    pub(crate) lateral_pending: bool,
    /// There is a FULL join that PostgreSQL refuses, unless something above it makes another of it.
    pub(super) full_joins_refused: bool,
    /// Who may stop the analysis.
    pub canceller: Option<&'a Canceller>,
    /// Tokens of the statement and of all texts of the catalogue that it has led to.
    pub tokens: usize,
    /// Tables, subqueries and functions in FROM so far, of views and WITH queries as often as they are read.
    from_items: usize,
    /// Parts of expressions that were written once and stand in the plan again.
    pub(super) repeated_nodes: usize,
    /// The path of names in the text that is being analysed, unless it is the session's.
    pub own_path: Option<&'a SearchPath>,
    /// The texts of the catalogue that it reads are being made by the statement itself.
    pub(super) defines: bool,
    /// What the text that is being made leaves to the session, while that is noted.
    pub(super) readings: Option<Readings>,
    /// How literals of a text of the catalogue are read, while one is: alike in every session.
    pub(super) kept_style: Option<Style>,
    /// What is analysed is kept, and planned again where it is read.
    pub is_kept: bool,
}

/// How errors call the place of a DEFAULT expression.
pub(crate) const DEFAULT_PLACE: &str = "DEFAULT expressions";

/// What a plan may read. A view that reads another twice, which reads another twice, ... doubles at each.
const FROM_ITEMS_MAX: usize = 65_000;

/// Parts of expressions that a plan may hold more than once.
pub(super) const REPEATED_NODES_MAX: usize = 500_000;

impl QueryLevel {
    pub(crate) fn new(depth: usize) -> Self {
        Self {
            columns: Vec::new(),
            visible_from: 0,
            target_width: 0,
            tables: Vec::new(),
            width: 0,
            aggregates: Vec::new(),
            in_sort_keys: false,
            no_aggregates_in: None,
            deferred: Vec::new(),
            set_calls: Vec::new(),
            sets_allowed: false,
            outermost: depth,
        }
    }

    /// A column by its name and that of its table; an error if two fit.
    pub(super) fn find(
        &self,
        table: Option<(&str, Option<&str>)>,
        name: &str,
    ) -> Result<Option<&ScopeColumn>> {
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
                if column.index < self.target_width {
                    return Err(out_of_reach(SqlState::INVALID_COLUMN_REFERENCE, &column.table));
                }
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

/// What FROM has, and cannot be named here.
pub(super) fn out_of_reach(code: SqlState, table: &str) -> SqlError {
    let message = format!("invalid reference to FROM-clause entry for table \"{table}\"");
    let hint = format!(
        "There is an entry for table \"{table}\", but it cannot be referenced from this part of the query."
    );
    SqlError::new(code, message).with_hint(hint)
}

impl<'a> Analyzer<'a> {
    /// For one statement. `declared`: the types that the client gave its parameters; None where it left one
    /// open.
    pub fn new(
        catalogue: &'a Catalogue,
        environment: &'a dyn Environment,
        facts: &'a dyn Facts,
        source: &'a Source,
        declared: Vec<Option<Type>>,
    ) -> Self {
        Self {
            catalogue,
            environment,
            facts,
            source,
            parameters: declared,
            left_open: Vec::new(),
            parameters_max: usize::from(u16::MAX),
            levels: Vec::new(),
            ctes: Vec::new(),
            tables: Vec::new(),
            writes: false,
            refused: None,
            rights: Vec::new(),
            acting: None,
            within: Vec::new(),
            reads_unnoted: false,
            views: Vec::new(),
            reads_catalogue: false,
            reads_session: false,
            of_moment: false,
            lateral_pending: false,
            full_joins_refused: false,
            canceller: None,
            tokens: 0,
            from_items: 0,
            repeated_nodes: 0,
            own_path: None,
            defines: false,
            readings: None,
            kept_style: None,
            is_kept: false,
        }
    }

    pub(crate) fn at(&self, ident: &ast::Ident) -> Option<u32> {
        self.source.position(ident.span.start)
    }

    /// The level that is being compiled.
    pub(crate) fn level(&mut self) -> &mut QueryLevel {
        if self.levels.is_empty() {
            self.levels.push(QueryLevel::new(0));
        }
        let last = self.levels.len() - 1;
        &mut self.levels[last]
    }

    pub(crate) fn push_level(&mut self) {
        let depth = self.levels.len();
        self.levels.push(QueryLevel::new(depth));
    }

    /// Ends a level; true if it looked at an outer one.
    pub(crate) fn pop_level(&mut self) -> (QueryLevel, bool) {
        let depth = self.levels.len().saturating_sub(1);
        let level = self.levels.pop().unwrap_or_else(|| QueryLevel::new(0));
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
    pub(super) fn interruptible(&self) -> Result<()> {
        self.canceller.map_or(Ok(()), Canceller::check)
    }

    /// Counts one more item of a FROM clause.
    pub(crate) fn count_from_item(&mut self) -> Result<()> {
        self.interruptible()?;
        self.from_items += 1;
        if self.from_items > FROM_ITEMS_MAX { Err(too_many_tables()) } else { Ok(()) }
    }

    /// The deferred values of the expressions compiled since the last call.
    pub fn take_deferred(&mut self) -> DeferredValues {
        Arc::new(std::mem::take(&mut self.level().deferred))
    }

    pub(crate) fn compile(&mut self, ast: &ast::Expr) -> Result<Expr> {
        expr::compile(ast, self)
    }

    /// An expression where aggregates and sets may not stand.
    ///
    /// # Errors
    ///
    /// What is wrong with the expression.
    pub fn compile_in(&mut self, place: &'static str, ast: &ast::Expr) -> Result<Expr> {
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

    /// A value as what is assigned to a parameter or column of this type.
    ///
    /// # Errors
    ///
    /// 42804 where there is no such cast, and what reading a literal fails with.
    pub fn assigned(&mut self, value: Expr, to: Type) -> Result<Expr> {
        expr::coerce(value, to, CastContext::Assignment, self)
    }

    /// Notes that the statement uses a table, and what for.
    pub fn use_table(&mut self, relation: &Arc<Relation>, mode: TableLockMode, needed: Privileges) {
        self.require_public();
        self.require(&Object::Relation(relation.oid), needed);
        match self.tables.iter_mut().find(|used| used.relation.oid == relation.oid) {
            Some(used) => used.mode = used.mode.max(mode),
            None => self.tables.push(TableUse { relation: relation.clone(), mode }),
        }
    }

    /// A subquery as a plan of its own; its levels see the present one as the nearest outer one.
    pub(super) fn sub_select(&mut self, query: &ast::Query) -> Result<(Select, bool)> {
        self.nested(|analyzer| {
            analyzer.push_level();
            let result = analyzer.query_in_level(query);
            let (_, correlated) = analyzer.pop_level();
            Ok((result?, correlated))
        })
    }

    pub(super) fn add_deferred(&mut self, source: DeferredSource, per_row: bool, ty: Type) -> Expr {
        let deferred = &mut self.level().deferred;
        deferred.push(DeferredValue { source, per_row });
        Expr::Deferred { index: deferred.len() - 1, ty }
    }

    pub(super) fn quantified(
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
            hashable &= hash_alike(value.ty().id, ty.id);
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
        let source =
            DeferredSource::Quantified { left: left_values, node: select.node, matches, all, hashable };
        // The subquery may run once, but the comparison is the row's.
        Ok(self.add_deferred(source, correlated, Type::of(TypeId::Bool)))
    }

    /// Takes over deferred values that were made at another level, and the expression that reads them.
    pub(crate) fn adopt(&mut self, value: Expr, deferred: Vec<DeferredValue>) -> Result<Expr> {
        let base = self.level().deferred.len();
        let moved = |expr: Expr| {
            expr.transform(&mut |part| {
                Ok(match part {
                    Expr::Deferred { index, ty } => Step::Done(Expr::Deferred { index: index + base, ty }),
                    other => Step::Into(other),
                })
            })
        };
        for mut slot in deferred {
            if slot.source.node().is_some() {
                return Err(SqlError::unsupported("a subquery in a DEFAULT expression"));
            }
            for argument in slot.source.arguments_mut() {
                let before = std::mem::replace(argument, super::node::null(argument.ty()));
                *argument = moved(before)?;
            }
            self.level().deferred.push(slot);
        }
        if base == 0 { Ok(value) } else { moved(value) }
    }
}
