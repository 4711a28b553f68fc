//! Stack for statements that nest deep, and the end of nesting that is too deep.
//!
//! A client decides how deep its statement nests, and everything that follows a tree downwards uses the
//! stack: parsing, analysis, evaluation, the operators of a plan, and the trees' own drop. An overflow would
//! end the whole process. So:
//!
//! - What is small, by its count of tokens, runs on the thread's own stack. All else runs on a tall one
//!   ([`roomy`]), made for this and given back at once: `max_stack_depth` times `STACK_FACTOR` of address
//!   space, of which only what is used takes memory.
//! - Analysis asks at each level whether there is room ([`check`]): 54001 if not. A frame of analysis is
//!   larger than those of what later follows the tree that it has made (copies, comparisons, drops), so these
//!   have room where it had.
//! - A copy of a part of a statement's own tree, which was not analysed before, makes room for itself
//!   ([`copying`]).
//! - Trees that live on know about their depth and take a stack for their drop ([`drop_tree`],
//!   [`with_bytes`]) and their evaluation ([`Tall`]).
//! - A statement that runs another one by its name (EXECUTE, FETCH) is one level more, however short both are
//!   ([`check_nested`]); one far inside has a stack as a thread has ([`nested`]).

use crate::error::{Result, SqlError};
use sqlstate::SqlState;
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

/// A tall stack is this many times max_stack_depth: a level takes several times what it takes PostgreSQL, so
/// that as many levels fit as there.
const STACK_FACTOR: usize = 32;

/// max_stack_depth counts no further, in bytes: address space is not endless.
const STACK_BYTES_MAX: usize = 1 << 30;

/// What no level touches: room for what a leaf calls.
const RESERVE_BYTES: usize = 256 << 10;

/// What analysis takes for one token that opens a level, at most.
const TOKEN_BYTES: usize = if cfg!(debug_assertions) { 20 << 10 } else { 4 << 10 };

/// What copying a statement's tree takes at each level, at most: 5 kB were measured.
const COPY_BYTES: usize = 6 << 10;

/// What following an expression takes at each level, at most, with the cast that may stand between two.
const EXPR_BYTES: usize = if cfg!(debug_assertions) { 16 << 10 } else { 4 << 10 };

/// Levels of an expression that any stack has room for.
pub const SHALLOW_LEVELS: usize = 400;

/// What the parser takes at each of its levels, at most.
const PARSER_BYTES: usize = 24 << 10;

/// Up to so many tokens the parser needs nothing. It makes itself more stack, by pieces, where less than 128
/// kB are left; only the drop of a tree as deep as more tokens make it would not fit into so little.
const PARSED_ANYWHERE_TOKENS: usize = 1000;

/// What dropping a statement's tree takes at each level, at most: 200 bytes were measured, for types of
/// arrays.
const AST_LEVEL_BYTES: usize = 256;

/// Up to so many tokens nothing about a statement can be deep: all of it runs on any stack.
pub const SHALLOW_TOKENS: usize = 64;

/// The stack of a statement far inside others: what a thread has of its own.
const STATEMENT_BYTES: usize = 2 << 20;

/// What a statement inside another counts of max_stack_depth.
const NESTED_BYTES: usize = 16 << 10;

/// PostgreSQL's default of max_stack_depth, in bytes: for texts that no session's setting is known for.
const DEFAULT_BYTES: usize = 2 << 20;

host::thread::local! {
    /// Whether this thread runs on a tall stack.
    static ON_TALL: Cell<bool> = const { Cell::new(false) };
    /// max_stack_depth of the session that the thread just now works for.
    static LIMIT_BYTES: Cell<usize> = const { Cell::new(DEFAULT_BYTES) };
}

/// Resets [`LIMIT_BYTES`].
struct Limit(usize);

impl Drop for Limit {
    fn drop(&mut self) {
        LIMIT_BYTES.set(self.0);
    }
}

/// Resets [`ON_TALL`], also when the work panics.
struct OnTall(bool);

impl Drop for OnTall {
    fn drop(&mut self) {
        ON_TALL.set(self.0);
    }
}

/// The tall stack for a value of max_stack_depth.
fn tall_bytes(max_stack_depth_bytes: usize) -> usize {
    max_stack_depth_bytes.saturating_mul(STACK_FACTOR).clamp(RESERVE_BYTES * 4, STACK_BYTES_MAX)
}

#[inline]
fn left_bytes() -> usize {
    // Where the platform does not tell, there is nothing: a stack of known size is taken.
    host::thread::stack_left().unwrap_or(0)
}

fn on_new_stack<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    host::thread::with_stack(bytes, || {
        let _on_tall = OnTall(ON_TALL.replace(true));
        work()
    })
}

/// Runs work for a session with this max_stack_depth.
pub fn limited<T>(max_stack_depth_bytes: usize, work: impl FnOnce() -> T) -> T {
    let _limit = Limit(LIMIT_BYTES.replace(max_stack_depth_bytes));
    work()
}

/// Runs the analysis of a text of this many tokens where it has room, or else [`check`] says that it nests
/// too deep.
pub fn roomy<T>(tokens: usize, work: impl FnOnce() -> T) -> T {
    let wanted = tokens.saturating_mul(TOKEN_BYTES).saturating_add(RESERVE_BYTES * 2);
    if ON_TALL.get() || left_bytes() >= wanted {
        return work();
    }
    on_new_stack(tall_bytes(LIMIT_BYTES.get()), work)
}

/// Runs the parser over this many tokens: what it makes may be as deep as they are many, until it is known
/// and settled.
pub fn with_tokens<T>(tokens: usize, work: impl FnOnce() -> T) -> T {
    if tokens <= PARSED_ANYWHERE_TOKENS {
        return work();
    }
    let levels = tokens.min(parser_levels_max());
    let wanted = levels * PARSER_BYTES + tokens.saturating_mul(AST_LEVEL_BYTES) + RESERVE_BYTES * 2;
    if left_bytes() >= wanted { work() } else { host::thread::with_stack(wanted, work) }
}

/// How deep the parser may nest.
#[inline]
pub fn parser_levels_max() -> usize {
    tall_bytes(LIMIT_BYTES.get()) / PARSER_BYTES
}

/// How deep the tree of a statement may be: so deep that following it fits into a tall stack.
pub fn levels_max() -> usize {
    tall_bytes(LIMIT_BYTES.get()) / COPY_BYTES
}

/// Runs a future whose polls need so much stack; 0 if any will do.
pub async fn on<F: Future>(bytes: usize, future: F) -> F::Output {
    if bytes == 0 { future.await } else { Tall::new(bytes, Box::pin(future)).await }
}

/// Drops the tree of a text of this many tokens.
pub fn drop_tree<T>(tokens: usize, tree: T) {
    if tokens <= SHALLOW_TOKENS {
        return drop(tree);
    }
    // Its depth was settled.
    let levels = tokens.min(STACK_BYTES_MAX / COPY_BYTES);
    let wanted = levels * AST_LEVEL_BYTES + RESERVE_BYTES;
    if left_bytes() >= wanted { drop(tree) } else { host::thread::with_stack(wanted, || drop(tree)) }
}

/// Copies a part of the tree of a text of this many tokens: unlike analysis it does not ask whether there is
/// room.
pub fn copying<T>(tokens: usize, copy: impl FnOnce() -> T) -> T {
    with_bytes(tokens.min(levels_max()) * COPY_BYTES + RESERVE_BYTES, copy)
}

/// Runs work on a stack that has room for this many bytes; none for 0.
pub fn with_bytes<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    if bytes == 0 || left_bytes() >= bytes { work() } else { on_new_stack(bytes, work) }
}

/// What running a plan may take: its operators take more than its analysis did.
pub fn run_bytes_max() -> usize {
    tall_bytes(LIMIT_BYTES.get()).saturating_mul(2)
}

/// 54001 where an expression of so many levels could not be followed.
///
/// # Errors
///
/// 54001.
#[inline]
pub fn check_levels(levels: usize) -> Result<()> {
    check()?;
    // On a thread's own stack there is room for what a short text makes.
    let room = if ON_TALL.get() { tall_bytes(LIMIT_BYTES.get()) / EXPR_BYTES } else { SHALLOW_LEVELS };
    if levels <= room { Ok(()) } else { Err(exceeded()) }
}

/// 54001 where the next level might not fit. The session adds the hint, which tells of its setting.
///
/// # Errors
///
/// 54001.
#[inline]
pub fn check() -> Result<()> {
    if left_bytes() >= RESERVE_BYTES { Ok(()) } else { Err(exceeded()) }
}

/// 54001 where a statement runs inside so many others that it is one too many.
///
/// # Errors
///
/// 54001.
pub fn check_nested(levels: usize, max_stack_depth_bytes: usize) -> Result<()> {
    let most = (max_stack_depth_bytes / NESTED_BYTES).min(STACK_BYTES_MAX / STATEMENT_BYTES);
    if levels <= most { Ok(()) } else { Err(exceeded()) }
}

/// Runs a statement inside others where it has as much stack as one that stands alone. How many there are is
/// bounded by [`check_nested`].
pub async fn nested<F: Future>(mut statement: Pin<Box<F>>) -> F::Output {
    poll_fn(move |cx| {
        host::thread::with_stack(STATEMENT_BYTES, || {
            // Such a stack is no tall one.
            let _on_tall = OnTall(ON_TALL.replace(false));
            statement.as_mut().poll(cx)
        })
    })
    .await
}

/// PostgreSQL's error for what nests too deep.
pub fn exceeded() -> SqlError {
    SqlError::new(SqlState::STATEMENT_TOO_COMPLEX, MESSAGE)
}

const MESSAGE: &str = "stack depth limit exceeded";

/// The error with PostgreSQL's hint, if it is [`exceeded`]'s.
pub fn with_hint(error: SqlError, max_stack_depth_bytes: usize) -> SqlError {
    if error.code() != SqlState::STATEMENT_TOO_COMPLEX || error.message() != MESSAGE {
        return error;
    }
    error.with_hint(format!(
        "Increase the configuration parameter \"max_stack_depth\" (currently {}kB), \
         after ensuring the platform's stack depth limit is adequate.",
        max_stack_depth_bytes / 1024
    ))
}

/// Runs a future whose polls need this much stack. It is boxed by the caller, so that shallow statements do
/// not pay for its place.
pub struct Tall<F> {
    bytes: usize,
    future: Option<Pin<Box<F>>>,
}

impl<F: Future> Tall<F> {
    /// Polls `future` where there are this many bytes of stack.
    pub fn new(bytes: usize, future: Pin<Box<F>>) -> Self {
        Self { bytes, future: Some(future) }
    }
}

impl<F: Future> Future for Tall<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let bytes = self.bytes;
        let Some(future) = &mut self.future else { return Poll::Pending };
        let polled = with_bytes(bytes, || future.as_mut().poll(cx));
        if polled.is_ready() {
            self.drop_future();
        }
        polled
    }
}

impl<F> Tall<F> {
    fn drop_future(&mut self) {
        let Some(future) = self.future.take() else { return };
        with_bytes(self.bytes, || drop(future));
    }
}

impl<F> Drop for Tall<F> {
    fn drop(&mut self) {
        self.drop_future();
    }
}
