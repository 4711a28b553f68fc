//! From a statement's text to its plan: grammar, expressions, analysis.

pub(crate) mod expr;
pub(crate) mod parse;
pub(crate) mod plan;
