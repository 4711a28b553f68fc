//! From a statement's text to its plan: grammar, expressions, analysis.
//!
//! | room | owns | does not know |
//! |---|---|---|
//! | [`parse`] | texts and their statements | what names stand for |
//! | [`expr`] | typed expressions: made from syntax, and their values over a row | tables |
//! | [`plan`] | analysis by the catalogue; what is to be done for a statement | how a plan runs |
//! | [`mod@reference`] | lists of functions and system tables, for the documentation | |
//!
//! It does not know how a plan runs, nor which session asks.

pub mod expr;
pub mod parse;
pub mod plan;
pub mod reference;
