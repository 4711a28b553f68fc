//! Whole clusters of the real server code under one seed: what clients do, what may happen to the nodes, and
//! what must be true of all that was seen.
//!
//! | module      | what it is                                                                              |
//! |-------------|-----------------------------------------------------------------------------------------|
//! | `branch`    | branches of the log, tokens, and how branches come from each other                      |
//! | `rare`      | counters of states that are rarely reached                                              |
//! | `features`  | the kinds of operations and faults that a seed switches on                              |
//! | `plan`      | a seed becomes a list of timed events, which can be read and written as a story         |
//! | `history`   | what clients did and were told, and what was there in the end                           |
//! | `guarantee` | which commits must have survived what happened                                          |
//! | `checks`    | what is wrong with a history, promise by promise                                        |
//! | `workload`  | seeded clients over the wire protocol                                                   |
//! | `shrink`    | a plan that fails becomes a short plan that fails                                       |
//! | `bugs`      | what is planted in product code to know what the checks catch                           |
//! | `runner`    | runs many plans, each in a process of its own, and adds up what they came to            |
//!
//! With the feature `simulated` there are also the nodes' machines (`machine`), the cluster that is made of
//! them (`cluster`), and what lets a plan happen to it (`director`): all below `runner`.
//!
//! Each imports only from those before it. Nothing here looks at the machine's clock or at randomness of its
//! own: a seed and the clock that is passed in decide everything that is decided here. Durability: nothing
//! here writes a file.

pub mod branch;
pub mod bugs;
pub mod checks;
#[cfg(feature = "simulated")]
pub mod cluster;
#[cfg(feature = "simulated")]
pub mod director;
pub mod features;
pub mod guarantee;
pub mod history;
#[cfg(feature = "simulated")]
pub mod machine;
pub mod plan;
pub mod rare;
pub mod runner;
pub mod shrink;
pub mod workload;
