//! Typed, compiled expressions: what the analyser asks of them, and what they ask of it.
//!
//! The seam. This module provides, besides what stands below:
//!
//! ```text
//! pub enum Expr { Const(Datum, Type), Column { index, ty }, Outer { depth, index, ty }, Param { index, ty },
//!                 Slot { index, ty }, Aggregate { index, ty }, And(Vec<Expr>), Or(Vec<Expr>), Not, Compare { op: Comparison, left, right },
//!                 Call { function, arguments, ty }, Cast, Case, IsNull, ... }             // Clone + PartialEq + Send + Sync
//! pub fn compile(ast: &sqlparser::ast::Expr, scope: &mut dyn Scope) -> Result<Expr>;     // resolves operators, functions, casts
//! pub fn coerce(expr: Expr, to: Type, how: CastContext, scope: &mut dyn Scope) -> Result<Expr>; // unknown literals and parameters take the type;
//!                                       // Assignment is for INSERT/UPDATE/COPY (22001 for long strings, numeric rounding), 42804 otherwise
//!                                       // an expression of unknown type that is no literal (a column of a subquery) is read as text at run time
//! pub fn operator(op: &ast::BinaryOperator, left: Expr, right: Expr, scope: &mut dyn Scope) -> Result<Expr>; // `a op b` of compiled sides, as compile does it
//! pub fn data_type(ast: &ast::DataType) -> Result<Type>;                                 // varchar(5) -> Type; 42704 for an unknown name, 0A000 for one that is absent
//! pub fn common_type(exprs: &mut [&mut Expr], context: &str, scope) -> Result<Type>;     // UNION, CASE, VALUES, IN lists, as PostgreSQL does
//! impl Expr {
//!     pub fn ty(&self) -> Type;
//!     pub fn eval(&self, cx: &EvalContext<'_>) -> Result<Datum>;
//!     pub fn eval_condition(&self, cx: &EvalContext<'_>) -> Result<bool>;                 // NULL is false
//!     pub fn walk(&self, visit: &mut dyn FnMut(&Expr) -> bool);                           // pre-order; false = skip the children
//!     pub fn transform(self, change: &mut dyn FnMut(Expr) -> Result<Step>) -> Result<Expr>; // Step::{Done(Expr), Into(Expr)}: GROUP BY and join rewriting
//!     pub fn as_comparison(&self) -> Option<(Comparison, &Expr, &Expr)>;                  // for key ranges and hash joins; Comparison::{Eq, Ne, Lt, Le, Gt, Ge}, Copy, fn swapped(self): a < b is b > a
//!     pub fn as_in_list(&self) -> Option<(&Expr, &[Expr])>;                               // `x IN (a, b, c)` with all sides of one type
//!     pub fn is_volatile(&self) -> bool;                                                  // random(), clock_timestamp(), set_config(), ...
//!     pub fn fold(self) -> Expr;                                                          // immutable calls on constants become constants
//! }
//! pub struct Aggregate;   // resolved aggregate function: `Aggregate::resolve(name, argument types) -> Option<...>`, ty()
//! impl Aggregate { pub fn start(&self) -> Accumulator }
//! impl Accumulator { pub fn add(&mut self, arguments: &[Datum]) -> Result<()>; pub fn finish(self) -> Result<Datum>; pub fn size_bytes(&self) -> usize }
//! ```
//!
//! `compile` calls `Scope::function` for names that are neither its own scalar functions nor aggregates (node functions
//! and set-returning functions live with the analyser), and `Scope::aggregate` for aggregates, with DISTINCT, FILTER and
//! ORDER BY inside the call already taken apart. Errors carry positions through `Scope::position`.

use crate::error::Result;
use datum::{Datum, Type};
use host::Timestamp;
use sqlparser::ast;
use sqlparser::tokenizer::Span;

/// A typed expression. Its owner adds the variants for operators, functions, casts and CASE.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// A value.
    Const(Datum, Type),
    /// A column of the current row.
    Column {
        /// Its place in the row.
        index: usize,
        /// Its type.
        ty: Type,
    },
    /// A column of an enclosing query's row.
    Outer {
        /// 0 is the nearest.
        depth: usize,
        /// Its place in that row.
        index: usize,
        /// Its type.
        ty: Type,
    },
    /// A parameter, counted from 0.
    Param {
        /// Its place among the parameters.
        index: usize,
        /// Its type; unknown until determined.
        ty: Type,
    },
    /// The result of a subquery or of an awaited function, computed before the row's expressions.
    Slot {
        /// Its place among the slots.
        index: usize,
        /// Its type.
        ty: Type,
    },
    /// The result of an aggregate over the current group.
    Aggregate {
        /// Its place among the query's aggregates.
        index: usize,
        /// Its type.
        ty: Type,
    },
}

/// A resolved aggregate function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aggregate {}

/// How a subquery stands in an expression.
pub enum Subquery<'a> {
    /// `(SELECT ...)` as a value: NULL without a row, 21000 with two.
    Scalar(&'a ast::Query),
    /// `ARRAY(SELECT ...)`.
    Array(&'a ast::Query),
    /// `EXISTS (SELECT ...)`; the caller wraps NOT.
    Exists(&'a ast::Query),
    /// `left op ANY (SELECT ...)` and `left op ALL (SELECT ...)`; `IN` is `= ANY`, `NOT IN` is `<> ALL`.
    Quantified {
        /// The compiled left side: one expression, or the fields of a row.
        left: Vec<Expr>,
        /// The operator: `=`, `<>`, `<`, `<=`, `>`, `>=`.
        op: ast::BinaryOperator,
        /// ALL instead of ANY.
        all: bool,
        /// The right side.
        query: &'a ast::Query,
    },
}

/// An aggregate call as written, its arguments compiled.
#[derive(Clone, Debug, PartialEq)]
pub struct AggregateCall {
    /// The resolved function.
    pub aggregate: Aggregate,
    /// Its arguments, coerced; empty for count(*).
    pub arguments: Vec<Expr>,
    /// DISTINCT.
    pub distinct: bool,
    /// FILTER (WHERE ...).
    pub filter: Option<Expr>,
    /// ORDER BY inside the call: expression, descending, nulls first.
    pub order_by: Vec<(Expr, bool, bool)>,
}

/// What the analyser tells about names while an expression is compiled.
pub trait Scope {
    /// A column by its (possibly qualified) name: `Expr::Column`, `Expr::Outer`; 42703, 42P01 or 42702 if there is none or more than one.
    fn column(&mut self, name: &[ast::Ident]) -> Result<Expr>;
    /// `$number`, counted from 1. Its type is unknown until determined.
    fn parameter(&mut self, number: usize) -> Result<Expr>;
    /// Settles the type of an undetermined parameter (index from 0); 42P08 if it is settled differently already.
    fn determine_parameter(&mut self, index: usize, ty: Type) -> Result<()>;
    /// A subquery; the result is a `Slot`.
    fn subquery(&mut self, subquery: Subquery<'_>) -> Result<Expr>;
    /// An aggregate; the result is an `Aggregate` node, or 42803 where aggregates may not stand.
    fn aggregate(&mut self, call: AggregateCall) -> Result<Expr>;
    /// A function that `expr` itself does not know: None if the analyser does not either (then 42883).
    fn function(&mut self, call: &ast::Function, arguments: Vec<FunctionArgument>) -> Result<Option<Expr>>;
    /// The character (from 1) in the statement's text where a span starts, for error positions.
    fn position(&self, span: Span) -> Option<u32>;
    /// Facts of the session, for folding casts such as 'now'::timestamptz and 't'::regclass.
    fn facts(&self) -> &dyn Facts;
}

/// One argument of a function call, compiled but not yet coerced.
pub struct FunctionArgument {
    /// The name in `name => value`.
    pub name: Option<String>,
    /// The value.
    pub value: Expr,
}

/// The session as scalar functions see it.
pub trait Facts: Send + Sync {
    /// now(): when the transaction began.
    fn transaction_time(&self) -> Timestamp;
    /// statement_timestamp().
    fn statement_time(&self) -> Timestamp;
    /// clock_timestamp().
    fn clock_time(&self) -> Timestamp;
    /// Random bytes, for random() and gen_random_uuid().
    fn random(&self, bytes: &mut [u8]);
    /// How values print and are read.
    fn style(&self) -> &datum::Style;
    /// current_user.
    fn current_user(&self) -> &str;
    /// session_user.
    fn session_user(&self) -> &str;
    /// current_database().
    fn database(&self) -> &str;
    /// pg_backend_pid().
    fn backend_pid(&self) -> i32;
    /// current_setting(name); None for an unknown name.
    fn setting(&self, name: &str) -> Result<Option<String>>;
    /// set_config(name, value, is_local): the new value.
    fn set_setting(&self, name: &str, value: Option<&str>, local: bool) -> Result<String>;
    /// The OID of a relation by its text form (`t`, `public.t`, `"T"`), for regclass; None if there is none.
    fn relation_oid(&self, name: &str) -> Result<Option<u32>>;
    /// The name of a relation, qualified where it must be, for regclass output.
    fn relation_name(&self, oid: u32) -> Option<String>;
    /// The name of a role, for pg_get_userbyid.
    fn role_name(&self, oid: u32) -> Option<String>;
}

/// What an expression sees while it is evaluated.
pub struct EvalContext<'a> {
    /// `Expr::Column`.
    pub row: &'a [Datum],
    /// `Expr::Outer`: rows of the enclosing queries, the nearest last (depth 0).
    pub outer: &'a [Vec<Datum>],
    /// `Expr::Param`.
    pub params: &'a [Datum],
    /// `Expr::Slot`: results of subqueries and awaited functions for this row.
    pub slots: &'a [Datum],
    /// The session.
    pub facts: &'a dyn Facts,
}
