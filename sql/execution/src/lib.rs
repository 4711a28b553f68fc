//! Running plans: sources that give rows in batches when asked.
//!
//! A source never gives an empty batch. It is asked for a number of rows, which is a wish: more may come
//! where more were at hand, except from sources that lock rows, which touch no more than asked, and from
//! filters and projections, which compute for no more than asked: that may do something.

pub mod advisory;
mod aggregate;
mod change;
pub mod copy;
pub mod deferred;
pub mod direct;
mod generate;
pub mod index;
mod insert;
mod join;
mod lock;
mod misc;
mod observed;
mod partners;
pub mod row;
mod scan;
mod sequence;
mod sort;
pub mod spill;
pub mod violation;

pub use insert::{batch_row, copy_row, default_values, insert_batch, takes_batches};

use bytes::Bytes;
use host::Instant;
use sql_catalogue::Catalogue;
use sql_catalogue::sequences::Sequences;
use sql_interface::{BoxFuture, Canceller, Environment, Result, SettingActor, SqlError};
use sql_language::expr::{EvalContext, Facts, Replay};
use sql_language::plan::{BATCH, Node, Plan};
use sql_types::Datum;
use sqlstate::SqlState;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use storage::{Database, LockWait, Transaction};

/// One row.
pub type Row = Vec<Datum>;

/// What the values of a batch of rows take, about: a batch that has so much ends early.
const BATCH_BYTES: usize = 1 << 20;

/// What a running statement works with.
pub struct Cx<'a> {
    /// What it reads and writes in.
    pub transaction: &'a mut Transaction,
    /// The open database.
    pub database: &'a Database,
    /// Where numbers of sequences are taken.
    pub sequences: &'a Sequences,
    /// The transaction may change nothing.
    pub read_only: bool,
    /// The catalogue in its snapshot.
    pub catalogue: &'a Arc<Catalogue>,
    /// The server, for its tables and functions.
    pub environment: &'a dyn Environment,
    /// Who runs it.
    pub actor: SettingActor,
    /// The session, for expressions.
    pub facts: &'a dyn Facts,
    /// Tells it to stop.
    pub canceller: &'a Canceller,
    /// Values of `$1` and so on.
    pub params: &'a [Datum],
    /// Rows of the enclosing queries, the nearest last.
    pub outer: Vec<Row>,
    /// What one sort, hash table or materialised side of a join may hold.
    pub memory_max_bytes: usize,
    /// The session, as the holder of advisory locks.
    pub advisory: &'a advisory::AdvisoryOwner,
    /// deadlock_timeout.
    pub deadlock_timeout: Duration,
    /// How deep the transaction is nested: 1 without savepoints.
    pub depth: u32,
    /// Rows that a join gives at once: each of those on top of each other holds so many.
    pub join_rows: usize,
    /// The plan runs on a stack of its own.
    pub deep: bool,
    /// Calls of [`Cx::pause`], where the plan is deep.
    pub pauses: AtomicU32,
    /// Rows that the statement's own INSERT, UPDATE or DELETE changed.
    pub affected: u64,
    /// Rows that were computed since the last pause or look at the clock.
    pub rows: u32,
    /// The last pause, or the first look at the clock.
    pub paused: Option<Instant>,
    /// Where new rows are encoded; see [`Cx::encoded`].
    pub scratch: Vec<u8>,
}

/// Rows between two looks at the clock.
const ROWS_UNSEEN: u32 = 16;
/// How long a statement computes before others have their turn.
const TURN: Duration = Duration::from_millis(5);
/// A deep plan yields once in so many pauses.
const DEEP_PAUSES: u32 = 64;

/// Where rows are encoded has room for so many bytes from the start: most need no more.
const SCRATCH_BYTES: usize = 512;

/// What is longer stays where it was encoded.
const COPIED_BYTES_MAX: usize = 4096;

impl Cx<'_> {
    /// Takes over what a plan asks for.
    pub fn suit(&mut self, plan: &Plan) {
        self.join_rows = plan.join_rows;
        self.deep = plan.stack_bytes > 0;
    }

    /// What an expression over `row` sees.
    #[inline]
    pub fn eval<'x>(&'x self, row: &'x [Datum], deferred: &'x [Option<Datum>]) -> EvalContext<'x> {
        EvalContext {
            row,
            outer: &self.outer,
            params: self.params,
            deferred,
            facts: self.facts,
            replay: None,
        }
    }

    /// The same where it is done again until all deferred values are there.
    fn eval_again<'x>(
        &'x self,
        row: &'x [Datum],
        deferred: &'x [Option<Datum>],
        replay: &'x Replay,
    ) -> EvalContext<'x> {
        replay.begin();
        EvalContext { replay: Some(replay), ..self.eval(row, deferred) }
    }

    /// Bytes that `write` appends: encoded where there is room already, then kept in as much memory as they
    /// need.
    pub(crate) fn encoded(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Result<()>) -> Result<Bytes> {
        self.scratch.clear();
        if self.scratch.capacity() == 0 {
            self.scratch = Vec::with_capacity(SCRATCH_BYTES);
        }
        write(&mut self.scratch)?;
        if self.scratch.len() > COPIED_BYTES_MAX {
            return Ok(std::mem::take(&mut self.scratch).into());
        }
        Ok(Bytes::copy_from_slice(&self.scratch))
    }

    /// How long a row lock may be waited for.
    pub(crate) fn lock_wait(&self) -> LockWait {
        self.transaction.lock_wait()
    }

    /// Whether it is time for a pause; asked for each row by what computes over rows, since a row may take
    /// long.
    #[inline]
    pub(crate) fn is_due(&mut self) -> bool {
        self.rows += 1;
        self.rows >= ROWS_UNSEEN && self.is_late()
    }

    #[cold]
    fn is_late(&mut self) -> bool {
        self.rows = 0;
        let now = Instant::now();
        let late = now.duration_since(*self.paused.get_or_insert(now)) >= TURN;
        if late {
            self.paused = Some(now);
        }
        late
    }

    /// Gives others a turn, and fails if the statement was cancelled.
    ///
    /// # Errors
    ///
    /// Why it was cancelled.
    pub async fn pause(&self) -> Result<()> {
        // To come back into a plan takes as long as it is deep: it yields the less often.
        if self.deep && !self.pauses.fetch_add(1, Ordering::Relaxed).is_multiple_of(DEEP_PAUSES) {
            return self.canceller.check();
        }
        tokio::task::yield_now().await;
        self.canceller.check()
    }

    /// What storage's answer means to the client.
    ///
    /// # Errors
    ///
    /// The same error, or why the wait was cancelled.
    pub fn storage<T>(&self, result: std::result::Result<T, storage::Error>) -> Result<T> {
        result.map_err(|error| self.canceller.explain(error))
    }
}

/// A running source of rows.
pub trait Source: Send {
    /// The next rows, about `want` of them; None at the end.
    fn next<'a, 'b: 'a>(
        &'a mut self,
        cx: &'a mut Cx<'b>,
        want: usize,
    ) -> BoxFuture<'a, Result<Option<Vec<Row>>>>;
}

/// What each kind of node does; [`Source`] is the same behind a pointer.
trait Operator: Send {
    /// The next rows, about `want` of them; None at the end.
    fn step(&mut self, cx: &mut Cx<'_>, want: usize)
    -> impl Future<Output = Result<Option<Vec<Row>>>> + Send;
}

impl<T: Operator> Source for T {
    fn next<'a, 'b: 'a>(
        &'a mut self,
        cx: &'a mut Cx<'b>,
        want: usize,
    ) -> BoxFuture<'a, Result<Option<Vec<Row>>>> {
        Box::pin(self.step(cx, want))
    }
}

/// A running plan.
pub type Exec = Box<dyn Source>;

/// Makes a plan ready to run from its start.
pub fn build(node: &Node) -> Exec {
    match node {
        Node::Unit => Box::new(misc::Unit::default()),
        Node::Values(plan) => Box::new(misc::Values::new(plan.clone())),
        Node::Scan(plan) => Box::new(scan::ScanExec::new(plan.clone())),
        Node::Generated(plan) => Box::new(generate::Generated::new(plan.clone())),
        Node::Function(plan) => Box::new(generate::Function::new(plan.clone())),
        Node::Filter(plan) => Box::new(misc::Filter::new(plan.clone())),
        Node::Project(plan) => Box::new(misc::Project::new(plan.clone())),
        Node::ProjectSet(plan) => Box::new(generate::ProjectSet::new(plan.clone())),
        Node::Join(plan) => Box::new(join::Join::new(plan.clone())),
        Node::Aggregate(plan) => Box::new(aggregate::Aggregate::new(plan.clone())),
        Node::Sort(plan) => Box::new(sort::Sort::new(plan.clone())),
        Node::Limit(plan) => Box::new(misc::Limit::new(plan.clone())),
        Node::Distinct(plan) => Box::new(misc::Distinct::new(plan.clone())),
        Node::SetOperation(plan) => Box::new(misc::SetOperation::new(plan.clone())),
        Node::Lock(plan) => Box::new(lock::Lock::new(plan.clone())),
        Node::Insert(plan) => Box::new(insert::Insert::new(plan.clone())),
        Node::Update(plan) => Box::new(change::Update::new(plan.clone())),
        Node::Delete(plan) => Box::new(change::Delete::new(plan.clone())),
        Node::Observed(plan) => Box::new(observed::Observed::new(plan.clone())),
    }
}

/// What a row takes in memory, roughly.
pub(crate) fn row_bytes(row: &[Datum]) -> usize {
    size_of::<Row>() + size_of_val(row) + heap_bytes(row)
}

/// What a row's values take beside the row.
pub(crate) fn heap_bytes(row: &[Datum]) -> usize {
    row.iter().map(Datum::heap_bytes).sum()
}

/// 53200: all sessions together have what they may have.
#[cold]
pub(crate) fn out_of_memory() -> SqlError {
    SqlError::new(SqlState::OUT_OF_MEMORY, "out of memory")
        .with_detail("The server has taken what plimsoll.memory_limit allows.")
}

/// Counts what an operator holds, and refuses to hold more than allowed.
#[derive(Debug, Default)]
pub struct Budget {
    used_bytes: usize,
}

impl Budget {
    /// Counts what is held more; false where that is more than work_mem allows.
    pub(crate) fn fits(&mut self, cx: &Cx<'_>, bytes: usize) -> Result<bool> {
        self.used_bytes += bytes;
        if cx.canceller.is_out_of_memory() {
            return Err(out_of_memory());
        }
        Ok(self.used_bytes <= cx.memory_max_bytes)
    }

    pub(crate) fn add(&mut self, cx: &Cx<'_>, bytes: usize) -> Result<()> {
        if self.fits(cx, bytes)? {
            return Ok(());
        }
        Err(SqlError::new(SqlState::OUT_OF_MEMORY, "out of memory for this statement")
            .with_detail(format!(
                "A sort, hash table or join needs more than {} kB, which work_mem allows.",
                cx.memory_max_bytes / 1024
            ))
            .with_hint("Raise work_mem, or make the statement look at fewer rows at once."))
    }

    pub(crate) fn give_back(&mut self, bytes: usize) {
        self.used_bytes = self.used_bytes.saturating_sub(bytes);
    }
}

/// Reads a source to its end.
///
/// # Errors
///
/// What the source fails with, and 53200 for more rows than memory holds.
pub async fn collect(source: &mut dyn Source, cx: &mut Cx<'_>, budget: &mut Budget) -> Result<Vec<Row>> {
    let mut all = Vec::new();
    while let Some(rows) = source.next(cx, BATCH).await? {
        for row in rows {
            budget.add(cx, row_bytes(&row))?;
            all.push(row);
        }
    }
    Ok(all)
}
