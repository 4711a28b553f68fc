//! Operators as PostgreSQL cuts them out of a text.
//!
//! Its operators are as long as they can be: `1!=-1` has the one operator `!=-`, which there is not. The
//! parser's tokens end at the first operator that it knows, so that those that touch are cut anew here.

use super::Source;
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan, Tokenizer};

/// What operators are made of.
const PARTS: &[u8] = b"~!@#^&|`?+-*/%<>=";
/// An operator with one of these may end in a sign.
const MARKS: &[u8] = b"~!@#^&|`?%";

/// Whether a token may be an operator, or a piece of one.
const fn is_piece(token: &Token) -> bool {
    !matches!(
        token,
        Token::Word(_)
            | Token::Number(..)
            | Token::Char(_)
            | Token::SingleQuotedString(_)
            | Token::DollarQuotedString(_)
            | Token::EscapedStringLiteral(_)
            | Token::UnicodeStringLiteral(_)
            | Token::NationalStringLiteral(_)
            | Token::SingleQuotedByteStringLiteral(_)
            | Token::HexStringLiteral(_)
            | Token::Placeholder(_)
            | Token::Comma
            | Token::Period
            | Token::LParen
            | Token::RParen
            | Token::LBracket
            | Token::RBracket
            | Token::Colon
            | Token::DoubleColon
            | Token::SemiColon
            | Token::Whitespace(_)
            | Token::EOF
    )
}

/// Whether PostgreSQL reads a token alone otherwise: `==` is no `=`, and signs at the end may be their own.
fn is_other(token: &Token) -> bool {
    match token {
        Token::DoubleEq => true,
        Token::CustomBinaryOperator(operator) => operator_length(operator) < operator.len(),
        _ => false,
    }
}

/// The tokens with the operators that PostgreSQL reads where several touch.
pub(super) fn joined(source: &Source, tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let touch = |one: &TokenWithSpan, next: &TokenWithSpan| {
        is_piece(&one.token) && is_piece(&next.token) && one.span.end == next.span.start
    };
    let touching = tokens.windows(2).any(|pair| matches!(pair, [one, next] if touch(one, next)));
    if !touching && !tokens.iter().any(|token| is_other(&token.token)) {
        return tokens;
    }
    let mut made: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut run: Vec<TokenWithSpan> = Vec::new();
    for token in tokens {
        if run.last().is_some_and(|last| !touch(last, &token)) {
            made.extend(cut(source, std::mem::take(&mut run)));
        }
        run.push(token);
    }
    made.extend(cut(source, run));
    made
}

/// Ends an operator where a comment begins, which the parser takes for a part of it. What was cut behind it
/// goes; gives where that has to be cut again. `known`: the tokens of which this is settled.
pub(super) fn end_at_comment(tokens: &mut Vec<TokenWithSpan>, known: usize) -> Option<Location> {
    let comment = |token: &Token| match token {
        Token::CustomBinaryOperator(operator) => {
            operator.find("--").into_iter().chain(operator.find("/*")).min().filter(|at| *at > 0)
        }
        _ => None,
    };
    let mut new = tokens.iter().enumerate().skip(known);
    let (at, length) = new.find_map(|(at, token)| Some((at, comment(&token.token)?)))?;
    let found = tokens.drain(at..).next()?;
    let operator = found.token.to_string();
    let start = found.span.start;
    let end = Location { column: start.column + u64::try_from(length).ok()?, ..start };
    tokens.push(TokenWithSpan::new(of_text(operator.get(..length)?), Span::new(start, end)));
    Some(end)
}

/// Cuts tokens that touch as PostgreSQL does, if that is another way.
fn cut(source: &Source, run: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let (Some(first), Some(last)) = (run.first(), run.last()) else { return run };
    if run.len() == 1 && !is_other(&first.token) {
        return run;
    }
    let text = source.slice(&run);
    if text.is_empty() || !text.bytes().all(|byte| PARTS.contains(&byte)) {
        return run;
    }
    let whole = Span::new(first.span.start, last.span.end);
    let mut made = Vec::with_capacity(run.len());
    let mut rest = text.as_str();
    let mut left = run.iter().peekable();
    while !rest.is_empty() {
        // What the first one leaves are signs, each for itself: a run may be as long as the statement.
        let length = if made.is_empty() { operator_length(rest) } else { 1 };
        let (operator, behind) = rest.split_at(length);
        // One of the tokens is just this.
        let same = left.next_if(|token| {
            let written = source.slice(std::slice::from_ref(token));
            written == operator && !is_other(&token.token)
        });
        match same {
            Some(token) => made.push(token.clone()),
            None => {
                made.push(TokenWithSpan::new(of_text(operator), whole));
                let mut covered = 0;
                while covered < operator.len()
                    && let Some(token) = left.next()
                {
                    covered += source.slice(std::slice::from_ref(token)).len();
                }
                if covered != operator.len() {
                    // A token reaches into the next operator: none of them is known.
                    left = [].iter().peekable();
                }
            }
        }
        rest = behind;
    }
    made
}

/// The token of one operator: the parser's own if it knows it.
fn of_text(operator: &str) -> Token {
    let known = Tokenizer::new(&PostgreSqlDialect {}, operator).tokenize().unwrap_or_default();
    match <[Token; 1]>::try_from(known) {
        Ok([token]) if !is_other(&token) => token,
        _ => Token::CustomBinaryOperator(operator.to_owned()),
    }
}

/// How long the operator at the front is.
fn operator_length(text: &str) -> usize {
    if text.bytes().any(|byte| MARKS.contains(&byte)) {
        return text.len();
    }
    text.trim_end_matches(['+', '-']).len().max(1)
}

#[cfg(test)]
mod tests {
    use super::super::lexed;
    use super::*;

    fn read(text: &str) -> Vec<String> {
        let source = Source::new(text);
        let mut tokens = Tokenizer::new(&PostgreSqlDialect {}, text).tokenize_with_location().unwrap();
        tokens.retain(|token| !matches!(token.token, Token::Whitespace(_)));
        let tokens = joined(&source, tokens);
        tokens.iter().map(|token| token.token.to_string()).collect()
    }

    #[test]
    fn operators_are_as_long_as_postgresql_reads_them() {
        assert_eq!(read("a!=-1"), ["a", "!=-", "1"]);
        assert_eq!(read("a<>-1"), ["a", "<>", "-", "1"]);
        assert_eq!(read("a=-1*-b"), ["a", "=", "-", "1", "*", "-", "b"]);
        assert_eq!(read("a->-1"), ["a", "->", "-", "1"]);
        assert_eq!(read("a ! = - 1"), ["a", "!", "=", "-", "1"]);
        assert_eq!(read("count(*)+1"), ["count", "(", "*", ")", "+", "1"]);
        assert_eq!(read("a **b"), ["a", "**", "b"]);
        assert_eq!(read("a+-+1"), ["a", "+", "-", "+", "1"]);
        assert_eq!(read("a*-+1"), ["a", "*", "-", "+", "1"]);
        assert_eq!(read("a@-+1"), ["a", "@-+", "1"]);
    }

    #[test]
    fn a_comment_ends_an_operator() {
        let cut = |text: &str| -> Vec<(String, Option<u32>)> {
            let source = Source::new(text);
            let mut tokens = lexed(&source).unwrap();
            tokens.retain(|token| !matches!(token.token, Token::Whitespace(_)));
            let place = |token: &TokenWithSpan| source.position(token.span.start);
            tokens.iter().map(|token| (token.token.to_string(), place(token))).collect()
        };
        for (text, expected) in [
            ("1<>--x\n2", &[("1", 1), ("<>", 2), ("2", 8)][..]),
            ("'a'||/* b */'c'", &[("'a'", 1), ("||", 4), ("'c'", 13)]),
            ("4@/* -- */-5", &[("4", 1), ("@", 2), ("-", 11), ("5", 12)]),
            ("e'\\'' ||--'\n e'a'\n'\\'' <>--", &[("E'''", 1), ("||", 7), ("E'a'", 14), ("<>", 24)]),
        ] {
            let expected: Vec<_> =
                expected.iter().map(|(token, place)| ((*token).to_owned(), Some(*place))).collect();
            assert_eq!(cut(text), expected, "{text}");
        }
    }

    #[test]
    fn two_equals_signs_are_an_operator_of_their_own() {
        let text = "a == b";
        let tokens = Tokenizer::new(&PostgreSqlDialect {}, text).tokenize_with_location().unwrap();
        let made = joined(&Source::new(text), tokens);
        assert!(made.iter().any(|token| token.token == Token::CustomBinaryOperator("==".to_owned())));
    }
}
