//! Typed, compiled expressions: what the analyser asks of them, and what they ask of it.
//!
//! `compile` turns a parsed expression into an [`Expr`]: names looked up in a `Scope`, operators and
//! functions chosen as PostgreSQL chooses them, literals of unknown type read, casts made visible, constants
//! folded. [`Expr::eval`] then computes it over rows without looking anything up.
//!
//! `compile` calls `Scope::function` for names that are neither its own scalar functions nor aggregates (node
//! functions and set-returning functions live with the analyser), and `Scope::aggregate` for aggregates, with
//! DISTINCT, FILTER and ORDER BY inside the call already taken apart. Errors carry positions through
//! `Scope::position`.

pub(crate) mod aggregate;
mod coerce;
mod compile;
mod data_type;
mod eval;
mod fold;
pub(crate) mod functions;
mod node;
mod replay;
mod resolve;
mod shown;
#[cfg(test)]
mod tests;

pub use aggregate::{Accumulator, Aggregate};
pub(crate) use coerce::{coerce, common_type, settle};
pub use coerce::{named_reg, read_reg};
pub use compile::require_collation;
pub(crate) use compile::{
    ambiguous, argument_names, compile, is_values, named_call, operator, overload, require_names, strip,
    untold,
};
pub use data_type::{data_type, require_schema_of_type, require_schema_of_type_text};
pub use functions::has_function;
pub use functions::patterns::regexp_matches;
pub use functions::rights::read_item as read_acl_item;
pub(crate) use node::Step;
pub use node::{Comparison, Constant, Expr};
pub use replay::Replay;
pub use shown::{RowNames, Shown};

use host::Timestamp;
use sql_catalogue::names::SearchPath;
use sql_catalogue::sequences::Block;
use sql_catalogue::system::known::KnownFunction;
use sql_interface::Result;
use sql_types::{Datum, Style, Type, TypeId};
use sqlparser::ast;
use sqlparser::tokenizer::Span;

/// Whether there is a scalar function of this name.
pub fn is_function(name: &str) -> bool {
    !functions::named(name).is_empty()
}

/// How a subquery stands in an expression.
pub(crate) enum Subquery<'a> {
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

impl AggregateCall {
    /// All expressions that it computes of a row.
    pub(crate) fn exprs(&self) -> impl Iterator<Item = &Expr> {
        self.arguments.iter().chain(&self.filter).chain(self.order_by.iter().map(|(key, ..)| key))
    }

    /// The same over the rows of a query so many (at least one) above the one where it is written.
    pub(crate) fn at_outer(mut self, above: usize) -> Result<Self> {
        let keys = self.order_by.iter_mut().map(|(key, ..)| key);
        for expr in self.arguments.iter_mut().chain(&mut self.filter).chain(keys) {
            let before = std::mem::replace(expr, Expr::constant(Datum::Null, expr.ty()));
            *expr = before.transform(&mut |part| {
                Ok(match part {
                    Expr::Outer { depth, index, ty } => Step::Done(match (depth + 1).checked_sub(above) {
                        None | Some(0) => Expr::Column { index, ty },
                        Some(further) => Expr::Outer { depth: further - 1, index, ty },
                    }),
                    other => Step::Into(other),
                })
            })?;
        }
        Ok(self)
    }
}

/// What the analyser tells about names while an expression is compiled.
pub(crate) trait Scope {
    /// A column by its (possibly qualified) name: `Expr::Column`, `Expr::Outer`; 42703, 42P01 or 42702 if
    /// there is none or more than one.
    ///
    /// # Errors
    ///
    /// 42703, 42P01 or 42702.
    fn column(&mut self, name: &[ast::Ident]) -> Result<Expr>;
    /// `$number`, counted from 1. Its type is unknown until determined.
    ///
    /// # Errors
    ///
    /// 42P02 for a number that there may not be.
    fn parameter(&mut self, number: usize) -> Result<Expr>;
    /// Settles the type of an undetermined parameter (index from 0); 42P08 if it is settled differently
    /// already.
    ///
    /// # Errors
    ///
    /// 42P08.
    fn determine_parameter(&mut self, index: usize, ty: Type) -> Result<()>;
    /// Notes that an undetermined parameter stands where nothing gives it a type: an error of the whole.
    fn leave_parameter(&mut self, _index: usize) {}
    /// A subquery; the result is a `Deferred`.
    ///
    /// # Errors
    ///
    /// What its analysis fails with.
    fn subquery(&mut self, subquery: Subquery<'_>) -> Result<Expr>;
    /// An aggregate; the result is an `Aggregate` node, or 42803 where aggregates may not stand.
    ///
    /// # Errors
    ///
    /// 42803.
    fn aggregate(&mut self, call: AggregateCall) -> Result<Expr>;
    /// A function that `expr` itself does not know: None if the analyser does not either (then 42883).
    ///
    /// # Errors
    ///
    /// What is wrong with its arguments.
    fn function(&mut self, call: &ast::Function, arguments: Vec<FunctionArgument>) -> Result<Option<Expr>>;
    /// A field of what an expression gives; None if that is no composite value of which the fields are known.
    ///
    /// # Errors
    ///
    /// 42703 if it has no such field.
    fn field(&mut self, _value: &Expr, _name: &str) -> Result<Option<Expr>> {
        Ok(None)
    }
    /// Whether a function that `expr` knows is here one of the analyser's all the same, because it must be
    /// called in its turn among others of a list.
    fn calls_in_turn(&mut self, _name: &str) -> bool {
        false
    }
    /// How many functions that return sets the query has called so far.
    fn set_calls(&self) -> usize {
        0
    }
    /// Counts parts of an expression that was written once and is used again, which may double at each level:
    /// fails where these are too many, and where the statement is cancelled.
    ///
    /// # Errors
    ///
    /// 54001 for too many, 57014 where it is cancelled.
    fn repeat(&mut self, _nodes: usize) -> Result<()> {
        Ok(())
    }
    /// The character (from 1) in the statement's text where a span starts, for error positions.
    fn position(&self, span: Span) -> Option<u32>;
    /// Facts of the session, for folding casts such as 'now'::timestamptz and 't'::regclass.
    fn facts(&self) -> &dyn Facts;
    /// The schemas in which the names of this text are looked up.
    fn search_path(&self) -> &SearchPath {
        self.facts().search_path()
    }
    /// How the literals of this text are read.
    fn reading_style(&self) -> &Style {
        self.facts().style()
    }
    /// A number for a literal that is to be told when it is read, which goes with it as the modifier of its
    /// unknown type.
    fn mark_literal(&mut self, _span: Span) -> i32 {
        -1
    }
    /// Tells what a literal's text was read as, with its mark.
    fn note_reading(&mut self, _mark: i32, _text: &str, _ty: TypeId, _value: &Datum) {}
    /// Whether `value = NULL` is a test for NULL (transform_null_equals).
    ///
    /// # Errors
    ///
    /// What asking for the setting fails with.
    fn tests_nulls(&mut self) -> Result<bool> {
        Ok(self.facts().setting("transform_null_equals")?.as_deref() == Some("on"))
    }
    /// Tells of such a test, and where its NULL stands if that is bare and behind the sign.
    fn note_null_test(&mut self, _null: Option<Span>) {}
}

/// One argument of a function call, compiled but not yet coerced.
pub(crate) struct FunctionArgument {
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
    fn style(&self) -> &Style;
    /// current_user.
    fn current_user(&self) -> &str;
    /// session_user.
    fn session_user(&self) -> &str;
    /// current_database().
    fn database(&self) -> &str;
    /// pg_backend_pid().
    fn backend_pid(&self) -> i32;
    /// current_setting(name); None for an unknown name.
    ///
    /// # Errors
    ///
    /// 42501 if this role may not read it.
    fn setting(&self, name: &str) -> Result<Option<String>>;
    /// set_config(name, value, is_local): the new value.
    ///
    /// # Errors
    ///
    /// What SET fails with.
    fn set_setting(&self, name: &str, value: Option<&str>, local: bool) -> Result<String>;
    /// The name of what has this OID, as a value of a type of OIDs ([`TypeId::is_reg`]) prints.
    fn reg_name(&self, _ty: TypeId, _oid: u32) -> Option<String> {
        None
    }
    /// The OID of what has this name, for such a type, relations along the path; None if there is nothing.
    ///
    /// # Errors
    ///
    /// 42602 for a text that is no name, 42725 for one that several have.
    fn reg_oid(&self, _ty: TypeId, _path: &SearchPath, _name: &str) -> Result<Option<u32>> {
        Ok(None)
    }
    /// What to say of a name that nothing has.
    fn reg_missing(&self, _ty: TypeId, name: &str) -> sql_interface::SqlError {
        sql_interface::SqlError::new(
            sqlstate::SqlState::UNDEFINED_OBJECT,
            format!("\"{name}\" does not exist"),
        )
    }
    /// The schemas in which names without one are looked up.
    fn search_path(&self) -> &SearchPath {
        SearchPath::of_catalogue()
    }
    /// The OID of a relation by its text form (`t`, `public.t`, `"T"`), for regclass; None if there is none.
    ///
    /// # Errors
    ///
    /// A text that is no name of a relation.
    fn relation_oid(&self, path: &SearchPath, name: &str) -> Result<Option<u32>>;
    /// Whether a relation is found by its name alone, for pg_table_is_visible; None for an unknown OID.
    fn is_visible(&self, _oid: u32) -> Option<bool> {
        None
    }
    /// The name of a relation, qualified where it must be, for regclass output.
    fn relation_name(&self, oid: u32) -> Option<String>;
    /// The name of a role, for pg_get_userbyid.
    fn role_name(&self, oid: u32) -> Option<String>;
    /// The OID of a role by its name, for regrole.
    fn role_oid(&self, _name: &str) -> Option<u32> {
        None
    }
    /// The current role's OID.
    fn role(&self) -> u32 {
        0
    }
    /// The catalogue, for who may do what.
    fn catalogue(&self) -> Option<&sql_catalogue::Catalogue> {
        None
    }
    /// The made-up table of an OID.
    fn made_up(&self, _oid: u32) -> Option<sql_catalogue::rights::Object> {
        None
    }
    /// The names of a made-up table's columns.
    fn made_up_columns(&self, _oid: u32) -> Vec<&'static str> {
        Vec::new()
    }
    /// A function of the node by its text form, `name(types)`, as grants name it; None if there is none.
    ///
    /// # Errors
    ///
    /// A text that is no name of a function.
    fn function_signature(&self, _text: &str) -> Result<Option<String>> {
        Ok(None)
    }
    /// CREATE INDEX for an index's OID, or the name of one of its columns (from 1), for pg_get_indexdef.
    fn index_definition(&self, _oid: u32, _column: Option<usize>, _pretty: bool) -> Option<String> {
        None
    }
    /// The bytes of all secondary indexes of a table, for pg_indexes_size.
    fn indexes_bytes(&self, _oid: u32) -> Option<u64> {
        None
    }
    /// The query of a view, for pg_get_viewdef.
    fn view_definition(&self, _oid: u32) -> Option<String> {
        None
    }
    /// currval of a sequence, or lastval: 55000 where this session has taken no number.
    ///
    /// # Errors
    ///
    /// 55000.
    fn current_value(&self, _sequence: Option<u32>) -> Result<i64> {
        Err(sql_interface::SqlError::unsupported("a sequence in this place"))
    }
    /// Notes a number that this session has set, or (`taken`) has got by nextval.
    fn note_number(&self, _sequence: u32, _value: i64, _taken: bool, _commit: wal::Lsn) {}
    /// The values of a sequence that this session has left, and may give out itself.
    fn own_numbers(&self, _sequence: u32) -> Option<Block> {
        None
    }
    /// Keeps them, or none any more.
    fn keep_numbers(&self, _sequence: u32, _block: Option<Block>) {}
    /// The qualified name of the sequence that a column owns, for pg_get_serial_sequence.
    ///
    /// # Errors
    ///
    /// 42P01 or 42703 where there is no such column.
    fn owned_sequence(&self, _table: &str, _column: &str) -> Result<Option<String>> {
        Ok(None)
    }
    /// A constraint's words by its OID, for pg_get_constraintdef.
    fn constraint_definition(&self, _oid: u32) -> Option<String> {
        None
    }
    /// The bytes of a relation's file, for pg_relation_size and its kin.
    fn relation_bytes(&self, _oid: u32) -> Option<u64> {
        None
    }
    /// Whether there is a function of PostgreSQL here.
    fn has_function(&self, _function: &KnownFunction) -> bool {
        false
    }
    /// The rows of a view of what the session keeps by name.
    fn session_rows(&self, _view: &str) -> Vec<Vec<Datum>> {
        Vec::new()
    }
    /// Whether a relation is a table of users.
    fn is_table(&self, _oid: u32) -> bool {
        false
    }
    /// How an index orders its column of this number (from 1): descending, and NULLs first.
    fn index_order(&self, _oid: u32, _number: usize) -> Option<(bool, bool)> {
        None
    }
    /// The number of a relation's file, for pg_relation_filenode and pg_relation_filepath.
    fn relation_file(&self, _oid: u32) -> Option<u32> {
        None
    }
}

/// What an expression sees while it is evaluated.
pub struct EvalContext<'a> {
    /// `Expr::Column`.
    pub row: &'a [Datum],
    /// `Expr::Outer`: rows of the enclosing queries, the nearest last (depth 0).
    pub outer: &'a [Vec<Datum>],
    /// `Expr::Param`.
    pub params: &'a [Datum],
    /// `Expr::Deferred`: results of subqueries and awaited functions for this row; None where they are not
    /// computed yet, which reading them tells.
    pub deferred: &'a [Option<Datum>],
    /// The session.
    pub facts: &'a dyn Facts,
    /// Where this may have to be done again: what volatile functions gave.
    pub replay: Option<&'a Replay>,
}

impl<'a> EvalContext<'a> {
    /// For what needs no row and no parameters.
    pub fn of_no_row(facts: &'a dyn Facts) -> Self {
        Self { row: &[], outer: &[], params: &[], deferred: &[], facts, replay: None }
    }
}
