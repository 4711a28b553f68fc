//! What the rooms of SQL and its callers say to each other: errors and notices, answers, cancellation, the
//! server around a session, and the stack that deep statements need.

pub(crate) mod answer;
pub(crate) mod cancel;
pub(crate) mod environment;
pub(crate) mod error;
pub(crate) mod stack;
pub(crate) mod token;
