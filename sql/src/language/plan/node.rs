//! Plans: trees of nodes that the executor runs. A plan is immutable and shared by all its runs.

use crate::catalogue::{Index, Relation};
use crate::interface::answer::ResultColumn;
use crate::interface::stack;
use crate::language::expr::{AggregateCall, Expr};
use crate::language::parse::note_freed;
use sql_types::{Datum, Type};
use std::sync::Arc;
use storage::{Direction, LockMode, TableLockMode};

/// A source of rows.
#[derive(Debug)]
pub(crate) enum Node {
    /// One row without columns.
    Unit,
    Values(Arc<ValuesPlan>),
    Scan(Arc<ScanPlan>),
    Generated(Arc<GeneratedPlan>),
    Function(Arc<FunctionPlan>),
    Filter(Arc<FilterPlan>),
    Project(Arc<ProjectPlan>),
    ProjectSet(Arc<ProjectSetPlan>),
    Join(Arc<JoinPlan>),
    Aggregate(Arc<AggregatePlan>),
    Sort(Arc<SortPlan>),
    Limit(Arc<LimitPlan>),
    Distinct(Arc<DistinctPlan>),
    SetOperation(Arc<SetOperationPlan>),
    Lock(Arc<LockPlan>),
    Insert(Arc<InsertPlan>),
    Update(Arc<UpdatePlan>),
    Delete(Arc<DeletePlan>),
}

/// Values computed before a row's expressions: results of subqueries and of functions that wait.
pub(crate) type DeferredValues = Arc<Vec<DeferredValue>>;

/// One of them.
#[derive(Debug)]
pub(crate) struct DeferredValue {
    pub(crate) source: DeferredSource,
    /// Depends on the current row, or may change from call to call: computed for each row anew; else once.
    pub(crate) per_row: bool,
    /// Looks at columns of the current row.
    pub(crate) uses_row: bool,
}

#[derive(Debug)]
pub(crate) enum DeferredSource {
    /// The one value of a subquery.
    Scalar(Node),
    /// All values of a subquery, as an array of this element type.
    Array(Node, sql_types::TypeId),
    /// Whether a subquery has a row.
    Exists(Node),
    /// `left op ANY/ALL (subquery)`: `matches` sees the left values and then the subquery's.
    Quantified { left: Vec<Expr>, node: Node, matches: Expr, all: bool, hashable: bool },
    /// A function of the node.
    Call { function: usize, strict: bool, arguments: Vec<Expr>, record: Option<Vec<Type>> },
    /// nextval or setval.
    Sequence { function: SequenceFunction, arguments: Vec<Expr> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SequenceFunction {
    /// nextval(regclass)
    Next,
    /// setval(regclass, bigint [, boolean])
    Set,
}

#[derive(Debug)]
pub(crate) struct ValuesPlan {
    pub(crate) rows: Vec<Vec<Expr>>,
    pub(crate) deferred: DeferredValues,
}

/// A table's rows: all its columns by their places (those not needed are NULL), and with `emit_key` the key's
/// bytes as one more.
#[derive(Debug)]
pub(crate) struct ScanPlan {
    pub(crate) relation: Arc<Relation>,
    /// Places of the columns to decode.
    pub(crate) needed: Vec<usize>,
    pub(crate) emit_key: bool,
    /// The secondary index that it goes through, by its place; None for the table's own tree.
    pub(crate) index: Option<usize>,
    pub(crate) range: RangePlan,
    pub(crate) direction: Direction,
    /// Over the row; its columns are among the needed ones.
    pub(crate) filter: Vec<Expr>,
}

impl ScanPlan {
    /// The secondary index that it goes through.
    pub(crate) fn index(&self) -> Option<&Index> {
        self.relation.indexes.get(self.index?)
    }
}

/// Which keys a scan visits, of the primary key or of the index. Expressions are of the key columns' types
/// and do not depend on the row.
#[derive(Debug, Default)]
pub(crate) struct RangePlan {
    /// The first key columns equal these.
    pub(crate) equal: Vec<Expr>,
    /// The next one is at least or above this (true: inclusive).
    pub(crate) lower: Option<(Expr, bool)>,
    /// The next one is at most or below this (true: inclusive).
    pub(crate) upper: Option<(Expr, bool)>,
    /// `equal` holds a whole unique key: one row at most.
    pub(crate) point: bool,
    /// Instead of all that: the values of the first column, each looked up (IN list).
    pub(crate) points: Option<Vec<Expr>>,
}

/// Rows that are made up: of the node's tables, or of the catalogue's.
#[derive(Debug)]
pub(crate) struct GeneratedPlan {
    pub(crate) source: GeneratedSource,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GeneratedSource {
    /// An index into the environment's tables.
    Node(usize),
    /// An index into the catalogue's own.
    System(usize),
    /// A sequence, by its OID.
    Sequence(u32),
}

/// A set-returning function.
#[derive(Debug)]
pub(crate) struct FunctionPlan {
    pub(crate) call: SetCall,
    pub(crate) deferred: DeferredValues,
    /// WITH ORDINALITY.
    pub(crate) ordinality: bool,
}

/// A call of a set-returning function.
#[derive(Debug)]
pub(crate) struct SetCall {
    pub(crate) function: SetFunction,
    pub(crate) arguments: Vec<Expr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SetFunction {
    /// generate_series over int4, int8, numeric, timestamp or timestamptz.
    GenerateSeries(sql_types::TypeId),
    /// unnest(array)
    Unnest,
    /// A function of the node, by its index.
    Node { function: usize, strict: bool },
}

#[derive(Debug)]
pub(crate) struct FilterPlan {
    pub(crate) input: Node,
    pub(crate) condition: Expr,
    pub(crate) deferred: DeferredValues,
}

#[derive(Debug)]
pub(crate) struct ProjectPlan {
    pub(crate) input: Node,
    pub(crate) exprs: Vec<Expr>,
    pub(crate) deferred: DeferredValues,
}

/// Appends the results of set-returning functions to each row, which is repeated as often as the longest is
/// long.
#[derive(Debug)]
pub(crate) struct ProjectSetPlan {
    pub(crate) input: Node,
    pub(crate) calls: Vec<SetCall>,
    pub(crate) deferred: DeferredValues,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JoinKind {
    Inner,
    Left,
    Right,
    Full,
}

#[derive(Debug)]
pub(crate) struct JoinPlan {
    pub(crate) kind: JoinKind,
    pub(crate) left: Node,
    pub(crate) right: Node,
    pub(crate) left_width: usize,
    pub(crate) right_width: usize,
    /// Equal on both sides: over the left row, over the right row.
    pub(crate) hash_keys: Vec<(Expr, Expr)>,
    /// Over the joined row.
    pub(crate) condition: Option<Expr>,
    pub(crate) deferred: DeferredValues,
    /// The hash is of the left side, and the right rows look into it. Only for inner joins by hash.
    pub(crate) build_left: bool,
    /// The right side sees the left row as its nearest outer row, and runs anew for each.
    pub(crate) lateral: bool,
}

#[derive(Debug)]
pub(crate) struct AggregatePlan {
    pub(crate) input: Node,
    pub(crate) group_by: Vec<Expr>,
    pub(crate) aggregates: Vec<AggregateCall>,
    /// No GROUP BY: one row even without input.
    pub(crate) plain: bool,
}

/// One column of an ORDER BY.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SortKey {
    pub(crate) expr: Expr,
    pub(crate) descending: bool,
    pub(crate) nulls_first: bool,
}

#[derive(Debug)]
pub(crate) struct SortPlan {
    pub(crate) input: Node,
    pub(crate) keys: Vec<SortKey>,
    /// The LIMIT and OFFSET right above: no more rows than their sum are kept.
    pub(crate) limit: Option<(Option<Expr>, Option<Expr>)>,
}

#[derive(Debug)]
pub(crate) struct LimitPlan {
    pub(crate) input: Node,
    pub(crate) limit: Option<Expr>,
    pub(crate) offset: Option<Expr>,
    pub(crate) deferred: DeferredValues,
}

#[derive(Debug)]
pub(crate) struct DistinctPlan {
    pub(crate) input: Node,
    /// Rows count as equal when these are: all visible columns, or those of DISTINCT ON.
    pub(crate) columns: Vec<usize>,
    /// The input is sorted by them: neighbours are compared (DISTINCT ON keeps the first).
    pub(crate) sorted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SetKind {
    Union,
    Intersect,
    Except,
}

#[derive(Debug)]
pub(crate) struct SetOperationPlan {
    pub(crate) kind: SetKind,
    pub(crate) all: bool,
    pub(crate) left: Node,
    pub(crate) right: Node,
}

/// SELECT ... FOR UPDATE/SHARE.
#[derive(Debug)]
pub(crate) struct LockPlan {
    pub(crate) input: Node,
    pub(crate) targets: Vec<LockTarget>,
    /// All conditions over the row, to be seen again on newest versions.
    pub(crate) recheck: Option<Expr>,
    pub(crate) deferred: DeferredValues,
}

#[derive(Debug)]
pub(crate) struct LockTarget {
    pub(crate) relation: Arc<Relation>,
    /// Where its columns begin in the row, and where its key is.
    pub(crate) start: usize,
    pub(crate) key: usize,
    pub(crate) mode: LockMode,
    pub(crate) wait: RowWait,
    pub(crate) needed: Vec<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowWait {
    Wait,
    NoWait,
    SkipLocked,
}

/// What every change of a table needs.
#[derive(Debug)]
pub(crate) struct ModifiedTable {
    pub(crate) relation: Arc<Relation>,
    /// CHECK constraints over the table's row: name, condition.
    pub(crate) checks: Vec<(String, Expr)>,
}

/// RETURNING, over the changed row (and for UPDATE and DELETE the other tables' columns after it).
#[derive(Debug)]
pub(crate) struct Returning {
    pub(crate) exprs: Vec<Expr>,
    pub(crate) deferred: DeferredValues,
}

#[derive(Debug)]
pub(crate) struct InsertPlan {
    pub(crate) input: Node,
    pub(crate) target: ModifiedTable,
    /// The whole new row, over the input row.
    pub(crate) values: Vec<Expr>,
    /// Of the values: what defaults take from sequences.
    pub(crate) deferred: DeferredValues,
    pub(crate) conflict: Option<ConflictPlan>,
    pub(crate) returning: Option<Returning>,
}

/// ON CONFLICT.
#[derive(Debug)]
pub(crate) struct ConflictPlan {
    /// The unique keys whose conflicts it is about.
    pub(crate) arbiters: Vec<Arbiter>,
    pub(crate) action: ConflictAction,
}

/// A unique key of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arbiter {
    Primary,
    /// A secondary index, by its place.
    Index(usize),
}

#[derive(Debug)]
pub(crate) enum ConflictAction {
    Nothing,
    /// Expressions see the existing row, then the one that was to be inserted.
    Update {
        assignments: Vec<(usize, Expr)>,
        condition: Option<Expr>,
        deferred: DeferredValues,
    },
}

#[derive(Debug)]
pub(crate) struct UpdatePlan {
    pub(crate) input: Node,
    pub(crate) target: ModifiedTable,
    /// Where the target's key is in the input row; its columns come first.
    pub(crate) key: usize,
    pub(crate) assignments: Vec<(usize, Expr)>,
    pub(crate) deferred: DeferredValues,
    /// All conditions over the input row, to be seen again on newest versions.
    pub(crate) recheck: Option<Expr>,
    pub(crate) recheck_deferred: DeferredValues,
    /// An assignment changes a key column.
    pub(crate) moves: bool,
    pub(crate) returning: Option<Returning>,
}

#[derive(Debug)]
pub(crate) struct DeletePlan {
    pub(crate) input: Node,
    pub(crate) target: ModifiedTable,
    pub(crate) key: usize,
    pub(crate) recheck: Option<Expr>,
    pub(crate) recheck_deferred: DeferredValues,
    pub(crate) returning: Option<Returning>,
}

/// A table that a plan touches: locked before the statement's snapshot is taken.
#[derive(Clone, Debug)]
pub(crate) struct TableUse {
    pub(crate) relation: Arc<Relation>,
    pub(crate) mode: TableLockMode,
}

/// How a plan's command is counted and named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Select,
    Insert,
    Update,
    Delete,
}

impl Verb {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Select => "SELECT",
            Self::Insert => "INSERT",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
        }
    }
}

/// An analysed SELECT, INSERT, UPDATE or DELETE.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) verb: Verb,
    pub(crate) node: Node,
    /// None where no rows come back.
    pub(crate) columns: Option<Vec<ResultColumn>>,
    pub(crate) parameters: Vec<Type>,
    pub(crate) tables: Vec<TableUse>,
    /// The catalogue's version that it was made for.
    pub(crate) version: u64,
    /// Takes row locks or writes: refused in a read-only transaction.
    pub(crate) writes: bool,
    /// What it gives does not depend on any row: only on the node itself.
    pub(crate) of_node_alone: bool,
    pub(crate) direct: Option<super::direct::Direct>,
    /// Places of result columns of type regclass, which are shown as names.
    pub(crate) regclasses: Vec<usize>,
    /// Of how many tokens its text is made.
    pub(crate) tokens: usize,
    /// The stack that running it takes, in bytes; 0 if any will do.
    pub(crate) stack_bytes: usize,
    /// Rows that each of its joins gives at once.
    pub(crate) join_rows: usize,
}

impl Drop for Plan {
    fn drop(&mut self) {
        if self.stack_bytes > 0 {
            let node = std::mem::replace(&mut self.node, Node::Unit);
            stack::with_bytes(self.stack_bytes, || drop(node));
        }
        note_freed(self.tokens);
    }
}

impl Plan {
    /// The command as errors name it.
    pub(crate) const fn words(&self) -> &'static str {
        if self.writes && matches!(self.verb, Verb::Select) { "SELECT FOR UPDATE" } else { self.verb.word() }
    }
}

/// A constant NULL.
pub(crate) fn null(ty: Type) -> Expr {
    Expr::Const(Datum::Null, ty)
}
