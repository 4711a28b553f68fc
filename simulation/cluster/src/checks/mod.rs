//! What is wrong with a history, promise by promise.
//!
//! | check           | what it asks, and what makes it binding                                             |
//! |-----------------|-------------------------------------------------------------------------------------|
//! | `whole`         | a transaction is there whole or not at all, savepoints as declared, in the end and  |
//! |                 | in each snapshot; each register counts the transactions that are there; what        |
//! |                 | certainly failed is nowhere. Always.                                                |
//! | `order`         | one order explains all reads of each branch (promise 3); a read has what its token  |
//! |                 | has, and is of its branch; who writes at REPEATABLE READ writes over what its       |
//! |                 | snapshot shows. Always, but for what a node had not flushed when it lost |
//! |                 | its memory.                                                                         |
//! | `kept`          | what was told is there in the end (promise 1); what a primary showed (promise 2) or |
//! |                 | a read of what is confirmed is there, too, at the level of who wrote it. Where      |
//! |                 | [`Guarantee`] says so: the surviving branch has the position, or the standbys that  |
//! |                 | it waited for were compared at each change of branch.                               |
//! | `quorum`        | standbys had said that they hold what was told to be held by them (promise 1).      |
//! |                 | Always.                                                                             |
//! | `held`          | they had said so of what was shown, too, and of what an acknowledged transaction    |
//! |                 | rests on (promise 2). Always.                                                       |
//! | `applied`       | a standby shows what it has said to have replayed (promise 3). Always, but for what |
//! |                 | it lost meanwhile.                                                                  |
//! | `timely`        | an answer comes when what it waits for is there, or its wait is over. While nobody  |
//! |                 | does anything to the node.                                                          |
//! | `fences`        | who was fenced was replaced, and acknowledges nothing more (promise 5). Always.     |
//! | `handed`        | whoever has handed its role over acknowledges nothing more, and nothing that was    |
//! |                 | acknowledged before is missing (promises 1 and 5). Always, at any level, but for    |
//! |                 | what a node had not flushed when it lost its memory.                                |
//! | `objects`       | tables, indexes and columns are there as they were told. As `kept`.                 |
//! | `listed`        | who looks which tables there are sees those of his snapshot (promise 3). That they  |
//! |                 | are held when a primary or a confirmed read shows them, `held` asks. Always, but    |
//! |                 | for what a node had not flushed when it lost its memory.                            |
//! | `numbers`       | no number of a sequence is told twice (promise 1). As `kept`, for the branch on     |
//! |                 | which it comes again.                                                               |
//! | `turns`         | who gets a lock sees what was done under it before (promise 2): no turn is taken    |
//! |                 | twice. Always.                                                                      |
//! | `answers`       | nobody was refused what is right: no key is there twice (a sequence never gives a   |
//! |                 | number again that a row has), no table is missing; each commit tells its token.     |
//! |                 | Always.                                                                             |
//! | `refused`       | no token is refused whose commit is on each branch that there is. Always.           |
//! | [`check_equal`] | nodes that follow the survivor hold the same. Once they have caught up.             |
//!
//! A history of a run that was ended in the middle is as good as any: what never ended is unknown.

mod answers;
mod applied;
mod fences;
mod handed;
mod held;
mod kept;
mod listed;
mod numbers;
mod objects;
mod order;
mod quorum;
mod refused;
mod seldom;
mod timely;
mod turns;
mod whole;

pub(crate) use answers::COLLISION;
pub use seldom::count_rare;

use crate::guarantee::Guarantee;
use crate::history::{Deed, Entry, History, State, Write};
use std::collections::BTreeMap;
use std::fmt;

/// What was promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Promise {
    /// 1: acknowledged is durable.
    Durable,
    /// 2: visible is durable.
    Visible,
    /// 2: what a standby shows as confirmed is durable.
    Confirmed,
    /// 3: one order.
    OneOrder,
    /// 3: a read has what its token has.
    Token,
    /// A transaction is seen whole or not at all.
    Whole,
    /// What failed leaves nothing.
    Failed,
    /// Tables, indexes and columns are there as they were told.
    Objects,
    /// What is right is not refused.
    Answers,
    /// What has happened is not waited for.
    Timely,
    /// 5: one writer a branch.
    OneWriter,
    /// 4: nodes that have replayed the same hold the same.
    Equal,
}

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub promise: Promise,
    /// By what.
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.promise, self.text)
    }
}

fn violation<T>(promise: Promise, text: String) -> Result<T, Violation> {
    Err(Violation { promise, text })
}

/// Checks all that clients did against the state of the surviving primary, which must be read after clients
/// and faults have ended.
pub fn check(history: &History, guarantee: &Guarantee, state: &State) -> Result<(), Violation> {
    let writes = writes_of(history);
    answers::check(history)?;
    refused::check(history, guarantee)?;
    whole::check_end(&writes, state)?;
    turns::check(state)?;
    whole::check_reads(history, &writes)?;
    quorum::check(history, guarantee)?;
    listed::check(history, guarantee)?;
    held::check(history, &writes, guarantee)?;
    fences::check(history, guarantee)?;
    handed::check(history, guarantee)?;
    applied::check(history, guarantee)?;
    timely::check(history, guarantee)?;
    order::check(history, guarantee)?;
    kept::check_told(history, guarantee, state)?;
    kept::check_shown(history, &writes, guarantee, state)?;
    numbers::check(history, guarantee)?;
    objects::check(history, guarantee, state)
}

/// Checks that nodes hold the same; `states` are those of all that follow the survivor and have caught up.
pub fn check_equal(states: &[(usize, State)]) -> Result<(), Violation> {
    for pair in states.windows(2) {
        if let [(left, ours), (right, theirs)] = pair
            && ours != theirs
        {
            return violation(
                Promise::Equal,
                format!("nodes {left} and {right} differ: {}", difference(ours, theirs)),
            );
        }
    }
    Ok(())
}

fn difference(ours: &State, theirs: &State) -> String {
    let numbers = ours.parts.keys().chain(theirs.parts.keys());
    let mut differ = numbers.filter(|tx| ours.parts.get(tx) != theirs.parts.get(tx));
    if let Some(tx) = differ.next() {
        return format!("transaction {tx}: {:?}, {:?}", ours.parts.get(tx), theirs.parts.get(tx));
    }
    if ours.values != theirs.values {
        return format!("registers {:?}, {:?}", ours.values, theirs.values);
    }
    let objects: Vec<_> = ours.objects.symmetric_difference(&theirs.objects).collect();
    format!("objects {objects:?}, last writers {:?}, {:?}", ours.writers, theirs.writers)
}

fn write_of(entry: &Entry) -> Option<(&Entry, &Write)> {
    match &entry.deed {
        Deed::Write(write) => Some((entry, write)),
        _ => None,
    }
}

/// Each transaction by its number.
fn writes_of(history: &History) -> BTreeMap<u64, (&Entry, &Write)> {
    history.entries().iter().filter_map(write_of).map(|(entry, write)| (write.tx, (entry, write))).collect()
}

#[cfg(test)]
mod tests;
