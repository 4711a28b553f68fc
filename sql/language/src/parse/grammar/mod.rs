//! PostgreSQL's own grammar, asked about texts that our parsing refuses: whether they are wrong, and where,
//! or whether they say something that is absent here. And about those that it takes and that may all the same
//! be none of PostgreSQL's ([`super::doubts`]).
//!
//! The grammar is that of `postgresql-cst-parser`, which runs on the tables that PostgreSQL's grammar makes
//! (of release 17, whose language holds that of 15 but for a handful of words). It takes a hundred times as
//! long as the parser for texts that we carry out, so that only what is refused or doubtful comes here. It is
//! given the text in a plain form ([`plain`]), which none of its own lexer's weaknesses shows up in.
//!
//! Why this one: of 41,080 statements of PostgreSQL's regression files that PostgreSQL 15 takes, it and we
//! refuse none, in some 0.4 ms a small text on a busy machine, and it builds in 20 s of a processor.
//! squawk-parser takes 62 s to build, its newest version asks for rustc 1.99, and it refuses 21 good
//! statements and takes 38 bad ones. pg_query and its kin ask for libclang. sqlparser stays for what runs: 3
//! us for a key lookup.

mod clauses;
mod plain;
mod shortened;

use super::source::{END_OF_INPUT, Source};
pub(super) use plain::count_tokens;
use plain::{Malformed, Plain};
use postgresql_cst_parser::{ParserError, ResolvedNode};
use shortened::shortened;
use sql_interface::{Result, SqlError, stack};
use sql_types::work;
use sqlstate::SqlState;
use std::ops::Range;

/// Texts that are longer, also when [`shortened`], are not asked about: their trees take a kilobyte a token.
const TOKENS_MAX: usize = 20_000;

/// What following the tree takes for one token, in bytes of stack: a token opens no more than a dozen levels.
const TOKEN_STACK_BYTES: usize = 6 << 10;

/// Asking about a byte takes about as long as touching so many.
const BYTE_WORK: usize = 1 << 10;

/// How errors begin that speak of grammar alone.
const SYNTAX_ERROR: &str = "syntax error";

/// What the grammar says.
enum Verdict {
    /// The text is wrong, in bytes of the plain one.
    Wrong(usize),
    /// It is right; the clause in which our parsing ended, if it has a name.
    Right(Option<String>),
    /// The grammar was not asked, or could not say.
    Unknown,
}

/// The error for a text that our parsing refused: 42601 at PostgreSQL's place where its grammar refuses it,
/// too; else 0A000 that names what is absent. `statement`: where the refused statement begins, in characters
/// from 1.
pub(super) fn judged(source: &Source, refused: SqlError, statement: Option<u32>) -> SqlError {
    let of_grammar = refused.message().starts_with(SYNTAX_ERROR);
    if !of_grammar && refused.code() != SqlState::FEATURE_NOT_SUPPORTED {
        return refused;
    }
    let plain = shown(source.text());
    let failed = refused.fields().position.map(|position| source.offset(position));
    let verdict = verdict(&plain, failed);
    if let Some(error) = refusal(source, 0, &plain, &verdict) {
        return error;
    }
    match verdict {
        Verdict::Right(clause) if of_grammar => absent(source, clause, statement, failed, refused),
        _ => refused,
    }
}

/// Asks about a statement that our parsing took, and that may be none of PostgreSQL's: 42601 where it is
/// none, and 0A000 for `left_out`, which it says and nothing here does, and for one that is too long to be
/// asked about. `statement`: its bytes.
pub(super) fn confirm(
    source: &Source,
    statement: Range<usize>,
    left_out: Option<&'static str>,
) -> Result<()> {
    let start = statement.start;
    let plain = shown(source.text().get(statement).unwrap_or_default());
    let verdict = verdict(&plain, None);
    match (refusal(source, start, &plain, &verdict), left_out) {
        (Some(error), _) => Err(error),
        (None, Some(what)) => Err(SqlError::unsupported(what)),
        (None, None) if plain.tokens() > TOKENS_MAX => {
            Err(SqlError::unsupported("a statement of this form that is so long"))
        }
        (None, None) => Ok(()),
    }
}

/// A text as the grammar is shown it.
fn shown(text: &str) -> Plain {
    let plain = Plain::of(text);
    if plain.tokens() > TOKENS_MAX { shortened(&plain) } else { plain }
}

fn verdict(plain: &Plain, failed: Option<usize>) -> Verdict {
    match plain.tokens() {
        tokens if tokens == 0 || tokens > TOKENS_MAX => Verdict::Unknown,
        tokens => work::aside(plain.text.len().saturating_mul(BYTE_WORK), || {
            stack::with_bytes(tokens * TOKEN_STACK_BYTES, || ask(plain, failed))
        }),
    }
}

/// 42601 for a text that is wrong. `start`: where it begins in the source, in bytes.
fn refusal(source: &Source, start: usize, plain: &Plain, verdict: &Verdict) -> Option<SqlError> {
    let told = |malformed: &Malformed| {
        wrong(source, malformed.message, start + malformed.start, start + malformed.end)
    };
    match (verdict, &plain.malformed) {
        (Verdict::Wrong(at), malformed) => Some(match (plain.place(*at), malformed) {
            (Some((from, to)), _) => wrong(source, SYNTAX_ERROR, start + from, start + to),
            (None, Some(malformed)) => told(malformed),
            (None, None) => source.end_of_input(),
        }),
        // The grammar takes what stands before the token that is no token.
        (_, Some(malformed)) => Some(told(malformed)),
        (_, None) => None,
    }
}

/// The error for a text that did not even split into tokens.
pub(super) fn unread(source: &Source, error: SqlError) -> SqlError {
    let refused = SqlError::syntax(SYNTAX_ERROR).at(error.fields().position);
    let judged = judged(source, refused.clone(), None);
    if judged == refused { error } else { judged }
}

fn ask(plain: &Plain, failed: Option<usize>) -> Verdict {
    match postgresql_cst_parser::parse(&plain.text) {
        Ok(tree) => Verdict::Right(failed.and_then(|at| clauses::named(&tree, plain.find(at)))),
        Err(ParserError::ParseError { start_byte_pos, .. }) => Verdict::Wrong(start_byte_pos),
        Err(ParserError::ScanReport(_) | ParserError::ScanError { .. }) => Verdict::Unknown,
    }
}

/// 42601 at some bytes of the text.
fn wrong(source: &Source, message: &str, start: usize, end: usize) -> SqlError {
    let near = source.text().get(start..end).unwrap_or_default();
    SqlError::syntax(format!("{message} at or near \"{near}\"")).at(source.position_of(start))
}

/// 0A000 for a statement that is right and that our parsing could not read.
fn absent(
    source: &Source,
    clause: Option<String>,
    statement: Option<u32>,
    failed: Option<usize>,
    refused: SqlError,
) -> SqlError {
    let start = statement.map_or(0, |position| source.offset(position));
    let text = source.text().get(start..).unwrap_or_default();
    let (name, length) = clauses::statement_name(text);
    let what = match clause {
        Some(clause) => clause,
        // What its first words say is all that was read.
        None if failed.is_none_or(|failed| failed <= start + length) => name,
        None => format!("this form of {name}"),
    };
    let position = refused.fields().position.filter(|_| refused.message() != END_OF_INPUT);
    SqlError::unsupported(what).at(position)
}

/// Nodes by the place at which our parsing ended.
pub(super) type Tree = ResolvedNode;

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(text: &str, position: Option<u32>) -> (String, String, Option<u32>) {
        let refused = SqlError::syntax("syntax error at or near \"x\"").at(position);
        let error = judged(&Source::new(text), refused, Some(1));
        (error.code().to_string(), error.message().to_owned(), error.fields().position)
    }

    #[test]
    fn what_postgresql_refuses_is_refused_at_its_place() {
        for (text, message, position) in [
            ("selec 1", "syntax error at or near \"selec\"", 1),
            ("create operator", "syntax error at end of input", 16),
            ("select 'ü', from t", "syntax error at or near \"from\"", 13),
            ("select 1; create trigger x;", "syntax error at or near \";\"", 27),
            ("select 1 {", "syntax error at or near \"{\"", 10),
            ("select 12ab", "trailing junk after numeric literal at or near \"12ab\"", 8),
            ("select from where 'a", "syntax error at or near \"where\"", 13),
        ] {
            assert_eq!(judge(text, Some(1)), ("42601".into(), message.into(), Some(position)), "{text}");
        }
    }

    #[test]
    fn what_postgresql_takes_is_absent_and_named() {
        for (text, position, message) in [
            ("create operator === (leftarg = int, procedure = f)", 8, "CREATE OPERATOR is not supported"),
            ("create or replace procedure p() language sql as ''", 20, "CREATE PROCEDURE is not supported"),
            ("alter text search parser p rename to x", 7, "ALTER TEXT SEARCH PARSER is not supported"),
            ("select rank() over w from t window w as ()", 15, "a window function is not supported"),
            ("select * from t tablesample system (10)", 17, "TABLESAMPLE is not supported"),
            ("create table t (a int) partition by list (a)", 24, "PARTITION BY is not supported"),
            ("select 1 from t for update of a, b", 32, "this form of SELECT is not supported"),
        ] {
            let (code, found, _) = judge(text, Some(position));
            assert_eq!((code.as_str(), found.as_str()), ("0A000", message), "{text}");
        }
    }

    #[test]
    fn other_errors_stay() {
        let text = "create table t (a int)";
        let refused = SqlError::syntax("conflicting or redundant options");
        assert_eq!(judged(&Source::new(text), refused.clone(), Some(1)), refused);
    }

    #[test]
    fn deep_texts_take_no_more_stack_than_they_get() {
        for depth in [1000, 4000, 9000] {
            for text in [
                format!("select {}1{}", "(".repeat(depth), ")".repeat(depth)),
                format!("{}select 1{}", "select (".repeat(depth / 2), ")".repeat(depth / 2)),
                format!("select {}1{}", "case when true then ".repeat(depth / 4), " end".repeat(depth / 4)),
                format!("select {} true", "not ".repeat(2 * depth)),
                format!("select a in ({}1)", "1,".repeat(depth)),
                format!("{}select 1", "select 1 union ".repeat(depth / 3)),
                format!("select {}1", "1 + ".repeat(depth)),
                format!("select * from {}t{}", "(".repeat(depth), " join t on true)".repeat(depth / 6)),
            ] {
                let refused = SqlError::unsupported("this");
                judged(&Source::new(&text), refused, Some(1));
            }
        }
    }
}
