//! Plans: trees of nodes that the executor runs. A plan is immutable and shared by all its runs.

use super::rights::Requirement;
use crate::expr::{AggregateCall, Expr};
use crate::parse::note_freed;
use sql_catalogue::{Index, Relation};
use sql_interface::{ResultColumn, stack};
use sql_types::{Datum, Type};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use storage::{Direction, LockMode, TableLockMode};

/// A source of rows.
#[derive(Debug)]
pub enum Node {
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
    /// EXPLAIN ANALYZE looks at it.
    Observed(Arc<super::ObservedPlan>),
}

/// Values computed before a row's expressions: results of subqueries and of functions that wait.
pub type DeferredValues = Arc<Vec<DeferredValue>>;

/// One of them.
#[derive(Debug, PartialEq)]
pub struct DeferredValue {
    pub source: DeferredSource,
    /// Depends on the current row, or may change from call to call: computed for each row anew; else once.
    pub per_row: bool,
}

/// What is taken of the one row that a function gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfRow {
    /// All of it, as the text of a composite value.
    Whole,
    /// A column by its place; the first is that of a function that has no others.
    Field(usize),
}

/// Where a deferred value comes from.
#[derive(Debug, PartialEq)]
pub enum DeferredSource {
    /// The one value of a subquery.
    Scalar(Node),
    /// All values of a subquery, as an array of this element type.
    Array(Node, sql_types::TypeId),
    /// Whether a subquery has a row.
    Exists(Node),
    /// Whether a subquery, which is not about the row, has a row that goes with it: `matches` sees the left
    /// values and then the subquery's, and asks at least that the first of both, `keys` many, are equal.
    Partner { left: Vec<Expr>, node: Node, keys: usize, matches: Expr },
    /// `left op ANY/ALL (subquery)`: `matches` sees the left values and then the subquery's.
    Quantified { left: Vec<Expr>, node: Node, matches: Expr, all: bool, hashable: bool },
    /// A function of the node.
    Call { function: usize, strict: bool, arguments: Vec<Expr>, of_row: OfRow },
    /// nextval or setval.
    Sequence { function: SequenceFunction, arguments: Vec<Expr> },
}

impl DeferredSource {
    /// What it computes of the row itself before anything waits.
    pub fn arguments(&self) -> &[Expr] {
        match self {
            Self::Call { arguments, .. } | Self::Sequence { arguments, .. } => arguments,
            Self::Quantified { left, .. } | Self::Partner { left, .. } => left,
            Self::Scalar(_) | Self::Array(..) | Self::Exists(_) => &[],
        }
    }

    pub(super) fn arguments_mut(&mut self) -> &mut [Expr] {
        match self {
            Self::Call { arguments, .. } | Self::Sequence { arguments, .. } => arguments,
            Self::Quantified { left, .. } | Self::Partner { left, .. } => left,
            Self::Scalar(_) | Self::Array(..) | Self::Exists(_) => &mut [],
        }
    }

    /// Its subquery, which sees the row as its nearest outer one.
    pub fn node(&self) -> Option<&Node> {
        match self {
            Self::Scalar(node)
            | Self::Array(node, _)
            | Self::Exists(node)
            | Self::Partner { node, .. }
            | Self::Quantified { node, .. } => Some(node),
            Self::Call { .. } | Self::Sequence { .. } => None,
        }
    }

    /// Whether its value is the row's even where its subquery is not about the row.
    pub const fn compares(&self) -> bool {
        matches!(self, Self::Quantified { .. } | Self::Partner { .. })
    }
}

/// A function that changes a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SequenceFunction {
    /// nextval(regclass)
    Next,
    /// setval(regclass, bigint [, boolean])
    Set,
    /// currval(regclass)
    Current,
    /// lastval()
    Last,
}

/// Rows written in the statement.
#[derive(Debug, PartialEq)]
pub struct ValuesPlan {
    pub rows: Vec<Vec<Expr>>,
    pub deferred: DeferredValues,
}

/// A table's rows: all its columns by their places (those not needed are NULL), and with `emit_key` the key's
/// bytes as one more.
#[derive(Debug)]
pub struct ScanPlan {
    pub relation: Arc<Relation>,
    /// What the statement calls it.
    pub alias: Arc<str>,
    /// Places of the columns to decode.
    pub needed: Vec<usize>,
    pub emit_key: bool,
    /// The secondary index that it goes through, by its place; None for the table's own tree.
    pub index: Option<usize>,
    pub range: RangePlan,
    pub direction: Direction,
    /// The query relies on the order in which its rows come.
    pub is_ordered: bool,
    /// A join looks its rows up: the range asks what no condition asks.
    pub is_lookup: bool,
    /// Over the row; its columns are among the needed ones.
    pub filter: Vec<Expr>,
}

impl ScanPlan {
    /// The secondary index that it goes through.
    #[inline]
    pub fn index(&self) -> Option<&Index> {
        self.relation.indexes.get(self.index?)
    }
}

/// Which keys a scan visits, of the primary key or of the index. Expressions are of the key columns' types
/// and do not depend on the row.
#[derive(Debug, Default, PartialEq)]
pub struct RangePlan {
    /// The first key columns equal these.
    pub equal: Vec<Expr>,
    /// The next one is at least or above this (true: inclusive).
    pub lower: Option<(Expr, bool)>,
    /// The next one is at most or below this (true: inclusive).
    pub upper: Option<(Expr, bool)>,
    /// `equal` holds a whole unique key: one row at most.
    pub point: bool,
    /// Instead of all that: the values of the first column, each looked up (IN list).
    pub points: Option<Vec<Expr>>,
}

/// Rows that are made up: of the node's tables, or of the catalogue's.
#[derive(Debug, PartialEq)]
pub struct GeneratedPlan {
    pub source: GeneratedSource,
    /// What the statement calls it.
    pub alias: Arc<str>,
}

/// Who makes the rows up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GeneratedSource {
    /// An index into the environment's tables.
    Node(usize),
    /// An index into the catalogue's own.
    System(usize),
    /// A sequence, by its OID.
    Sequence(u32),
}

/// A set-returning function.
#[derive(Debug, PartialEq)]
pub struct FunctionPlan {
    pub call: SetCall,
    /// What the statement calls it.
    pub alias: Arc<str>,
    pub deferred: DeferredValues,
    /// WITH ORDINALITY.
    pub ordinality: bool,
}

/// A call of a set-returning function.
#[derive(Debug, PartialEq)]
pub struct SetCall {
    pub function: SetFunction,
    pub arguments: Vec<Expr>,
}

/// Which set-returning function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetFunction {
    /// generate_series over int4, int8, numeric, timestamp or timestamptz.
    GenerateSeries(sql_types::TypeId),
    /// unnest(array)
    Unnest,
    /// generate_subscripts(array, dimension [, reverse])
    GenerateSubscripts,
    /// aclexplode(aclitem[])
    AclExplode,
    /// regexp_matches(text, pattern [, flags])
    RegexpMatches,
    /// A function of the node, by its index.
    Node { function: usize, strict: bool },
}

/// The rows for which the condition is true.
#[derive(Debug, PartialEq)]
pub struct FilterPlan {
    pub input: Node,
    pub condition: Expr,
    pub deferred: DeferredValues,
}

/// A row of expressions for each row.
#[derive(Debug, PartialEq)]
pub struct ProjectPlan {
    pub input: Node,
    pub exprs: Vec<Expr>,
    pub deferred: DeferredValues,
}

/// Appends the results of set-returning functions to each row, which is repeated as often as the longest is
/// long.
#[derive(Debug, PartialEq)]
pub struct ProjectSetPlan {
    pub input: Node,
    pub calls: Vec<SetCall>,
    pub deferred: DeferredValues,
}

/// Which rows without a partner a join gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinKind {
    Inner,
    Left,
    Right,
    Full,
}

/// Left rows joined with right rows, whose columns follow theirs.
#[derive(Debug, PartialEq)]
pub struct JoinPlan {
    pub kind: JoinKind,
    pub left: Node,
    pub right: Node,
    pub left_width: usize,
    pub right_width: usize,
    /// Equal on both sides: over the left row, over the right row.
    pub hash_keys: Vec<(Expr, Expr)>,
    /// Over the joined row.
    pub condition: Option<Expr>,
    pub deferred: DeferredValues,
    /// The hash is of the left side, and the right rows look into it. Only for inner joins by hash.
    pub build_left: bool,
    /// The right side sees the left row as its nearest outer row, and runs anew for each.
    pub lateral: bool,
    /// A FULL join by what PostgreSQL does not carry out.
    pub refused: bool,
}

/// A row for each group: what it is grouped by, then the aggregates.
#[derive(Debug, PartialEq)]
pub struct AggregatePlan {
    pub input: Node,
    pub group_by: Vec<Expr>,
    pub aggregates: Vec<AggregateCall>,
    /// No GROUP BY: one row even without input.
    pub plain: bool,
}

/// One column of an ORDER BY.
#[derive(Clone, Debug, PartialEq)]
pub struct SortKey {
    pub expr: Expr,
    pub descending: bool,
    pub nulls_first: bool,
}

/// The rows in order.
#[derive(Debug, PartialEq)]
pub struct SortPlan {
    pub input: Node,
    pub keys: Vec<SortKey>,
    /// The LIMIT and OFFSET right above: no more rows than their sum are kept.
    pub limit: Option<(Option<Expr>, Option<Expr>)>,
}

/// LIMIT and OFFSET.
#[derive(Debug, PartialEq)]
pub struct LimitPlan {
    pub input: Node,
    pub limit: Option<Expr>,
    pub offset: Option<Expr>,
    pub deferred: DeferredValues,
}

/// DISTINCT and DISTINCT ON.
#[derive(Debug, PartialEq)]
pub struct DistinctPlan {
    pub input: Node,
    /// Rows count as equal when these are: all visible columns, or those of DISTINCT ON.
    pub columns: Vec<usize>,
    /// The input is sorted by them: neighbours are compared (DISTINCT ON keeps the first).
    pub sorted: bool,
}

/// How two sets of rows are combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetKind {
    Union,
    Intersect,
    Except,
}

/// UNION, INTERSECT and EXCEPT, with ALL or without.
#[derive(Debug, PartialEq)]
pub struct SetOperationPlan {
    pub kind: SetKind,
    pub all: bool,
    pub left: Node,
    pub right: Node,
}

/// SELECT ... FOR UPDATE/SHARE.
#[derive(Debug)]
pub struct LockPlan {
    pub input: Node,
    pub targets: Vec<LockTarget>,
    /// The conditions of joins, to be seen again on newest versions, in this order; that of WHERE comes last.
    pub joins: Vec<JoinCheck>,
    pub recheck: Option<Expr>,
    pub deferred: DeferredValues,
}

/// A condition of a join over the whole row.
#[derive(Clone, Debug)]
pub struct JoinCheck {
    pub condition: Expr,
    /// The columns that are NULL where an outer join's does not hold; None: there is no row then.
    pub missing: Option<std::ops::Range<usize>>,
}

/// One table whose rows are locked.
#[derive(Debug)]
pub struct LockTarget {
    pub relation: Arc<Relation>,
    /// Where its columns begin in the row, and where its key is.
    pub start: usize,
    pub key: usize,
    pub mode: LockMode,
    pub wait: RowWait,
    pub needed: Vec<usize>,
}

/// What happens with a row that another transaction has locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowWait {
    Wait,
    NoWait,
    SkipLocked,
}

/// What every change of a table needs.
#[derive(Debug)]
pub struct ModifiedTable {
    pub relation: Arc<Relation>,
    /// CHECK constraints over the table's row: name, condition.
    pub checks: Vec<(String, Expr)>,
    /// Columns that the statement sets: what errors may tell of a row whatever the role may read.
    pub written: Vec<usize>,
}

/// RETURNING, over the changed row (and for UPDATE and DELETE the other tables' columns after it).
#[derive(Debug)]
pub struct Returning {
    pub exprs: Vec<Expr>,
    pub deferred: DeferredValues,
}

/// INSERT: a new row for each input row.
#[derive(Debug)]
pub struct InsertPlan {
    pub input: Node,
    pub target: ModifiedTable,
    /// The whole new row, over the input row.
    pub values: Vec<Expr>,
    /// Of the values: what defaults take from sequences.
    pub deferred: DeferredValues,
    pub conflict: Option<ConflictPlan>,
    pub returning: Option<Returning>,
}

/// ON CONFLICT.
#[derive(Debug)]
pub struct ConflictPlan {
    /// The unique keys whose conflicts it is about.
    pub arbiters: Vec<Arbiter>,
    pub action: ConflictAction,
}

/// A unique key of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arbiter {
    Primary,
    /// A secondary index, by its place.
    Index(usize),
}

/// What ON CONFLICT does.
#[derive(Debug)]
pub enum ConflictAction {
    Nothing,
    /// Expressions see the existing row, then the one that was to be inserted.
    Update {
        assignments: Vec<(usize, Expr)>,
        condition: Option<Expr>,
        deferred: DeferredValues,
    },
}

/// UPDATE: a changed row for each input row.
#[derive(Debug)]
pub struct UpdatePlan {
    pub input: Node,
    pub target: ModifiedTable,
    /// Where the target's key is in the input row; its columns come first.
    pub key: usize,
    pub assignments: Vec<(usize, Expr)>,
    pub deferred: DeferredValues,
    /// All conditions over the input row, to be seen again on newest versions.
    pub recheck: Option<Expr>,
    pub recheck_deferred: DeferredValues,
    /// An assignment changes a key column.
    pub moves: bool,
    pub returning: Option<Returning>,
}

/// DELETE: a row less for each input row.
#[derive(Debug)]
pub struct DeletePlan {
    pub input: Node,
    pub target: ModifiedTable,
    pub key: usize,
    pub recheck: Option<Expr>,
    pub recheck_deferred: DeferredValues,
    pub returning: Option<Returning>,
}

/// A table that a plan touches: locked before the statement's snapshot is taken.
#[derive(Clone, Debug)]
pub struct TableUse {
    pub relation: Arc<Relation>,
    pub mode: TableLockMode,
}

/// How a plan's command is counted and named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
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

/// No role: [`Plan::allowed`] before anybody has run it.
pub const NOBODY: u32 = 0;

/// An analysed SELECT, INSERT, UPDATE or DELETE.
#[derive(Debug)]
pub struct Plan {
    pub verb: Verb,
    pub node: Node,
    /// None where no rows come back.
    pub columns: Option<Vec<ResultColumn>>,
    pub parameters: Vec<Type>,
    pub tables: Vec<TableUse>,
    /// What whoever runs it must be allowed to do.
    pub rights: Vec<Requirement>,
    /// The role that is known to be allowed all that, in the catalogue that it was made for; [`NOBODY`] if
    /// none has been asked for yet.
    pub allowed: AtomicU32,
    /// The catalogue's version that it was made for.
    pub version: u64,
    /// Takes row locks or writes: refused in a read-only transaction.
    pub writes: bool,
    /// What it gives does not depend on any row: only on the node itself.
    pub of_node_alone: bool,
    /// It looks at what the session keeps by name: prepared statements, cursors.
    pub reads_session: bool,
    /// The same text may mean something else under other settings of the session, or at another time.
    pub of_moment: bool,
    pub direct: Option<super::direct::Direct>,
    /// Places and types of result columns that are OIDs shown as names (regclass and its kin).
    pub regs: Vec<(usize, sql_types::TypeId)>,
    /// Of how many tokens its text is made.
    pub tokens: usize,
    /// The stack that running it takes, in bytes; 0 if any will do.
    pub stack_bytes: usize,
    /// Rows that each of its joins gives at once.
    pub join_rows: usize,
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

/// What no version of the catalogue is.
pub const NO_VERSION: u64 = u64::MAX;

impl Plan {
    /// What clients know of this plan, in a plan that is made anew before it runs.
    pub fn outdated(&self) -> Self {
        Self {
            verb: self.verb,
            node: Node::Unit,
            columns: self.columns.clone(),
            parameters: self.parameters.clone(),
            tables: Vec::new(),
            rights: Vec::new(),
            allowed: AtomicU32::new(NOBODY),
            version: NO_VERSION,
            writes: self.writes,
            of_node_alone: self.of_node_alone,
            reads_session: self.reads_session,
            of_moment: self.of_moment,
            direct: None,
            regs: Vec::new(),
            tokens: 0,
            stack_bytes: 0,
            join_rows: self.join_rows,
        }
    }

    /// The command as errors name it.
    pub const fn words(&self) -> &'static str {
        if self.writes && matches!(self.verb, Verb::Select) { "SELECT FOR UPDATE" } else { self.verb.word() }
    }
}

/// A constant NULL.
pub(crate) fn null(ty: Type) -> Expr {
    Expr::constant(Datum::Null, ty)
}
