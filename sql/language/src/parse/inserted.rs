//! What an INSERT takes its rows from, where sqlparser expects a list of columns or SELECT.

use super::rewrite::{is_name, is_word, said_from, select_all};
use sqlparser::tokenizer::{Token, TokenWithSpan, Whitespace};

/// Leaves out the parentheses around all that INSERT INTO inserts, as PostgreSQL's grammar does, where they
/// hold VALUES, WITH, TABLE or more parentheses; and says TABLE otherwise there.
pub(super) fn plainly(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut from = 0;
    while let Some(begin) = next_source(&tokens, &mut from) {
        let mut begin = begin;
        while let Some(close) = needless(&tokens, begin) {
            for at in [begin, close] {
                if let Some(token) = tokens.get_mut(at) {
                    token.token = Token::Whitespace(Whitespace::Space);
                }
            }
            begin = after(&tokens, begin);
        }
        if is_at(&tokens, begin, "table") && is_name(token(&tokens, after(&tokens, begin))) {
            let span = tokens.get(begin).map(|table| table.span);
            tokens.splice(begin..=begin, span.into_iter().flat_map(select_all));
        }
    }
    tokens
}

fn token(tokens: &[TokenWithSpan], at: usize) -> Option<&Token> {
    tokens.get(at).map(|token| &token.token)
}

fn is_at(tokens: &[TokenWithSpan], at: usize, word: &str) -> bool {
    token(tokens, at).is_some_and(|token| is_word(token, word))
}

/// The place of the next token that says something; the end if there is none.
fn after(tokens: &[TokenWithSpan], at: usize) -> usize {
    said_from(tokens, at + 1).next().map_or(tokens.len(), |(place, _)| place)
}

/// The place of the parenthesis that ends what one at `open` begins.
fn closing(tokens: &[TokenWithSpan], open: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.token {
            Token::LParen => depth += 1,
            Token::RParen => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

/// Where the rows of the next INSERT INTO begin, behind its table's name, alias, columns and OVERRIDING.
fn next_source(tokens: &[TokenWithSpan], from: &mut usize) -> Option<usize> {
    loop {
        let insert = *from + tokens.iter().skip(*from).position(|token| is_word(&token.token, "insert"))?;
        let into = after(tokens, insert);
        *from = into;
        if !is_at(tokens, into, "into") {
            continue;
        }
        let mut at = after(tokens, after(tokens, into));
        while token(tokens, at) == Some(&Token::Period) {
            at = after(tokens, after(tokens, at));
        }
        if is_at(tokens, at, "as") {
            at = after(tokens, after(tokens, at));
        }
        let first = token(tokens, after(tokens, at));
        if token(tokens, at) == Some(&Token::LParen) && !first.is_some_and(begins_rows) {
            at = after(tokens, closing(tokens, at)?);
        }
        if is_at(tokens, at, "overriding") {
            at = after(tokens, after(tokens, after(tokens, at)));
        }
        *from = at;
        return Some(at);
    }
}

fn begins_rows(token: &Token) -> bool {
    *token == Token::LParen || ["select", "values", "with", "table"].iter().any(|word| is_word(token, word))
}

/// Where the parenthesis at `open` ends, if it holds all rows of an INSERT and the parser does not take it.
fn needless(tokens: &[TokenWithSpan], open: usize) -> Option<usize> {
    let first = token(tokens, after(tokens, open))?;
    if token(tokens, open) != Some(&Token::LParen) || !begins_rows(first) || is_word(first, "select") {
        return None;
    }
    let close = closing(tokens, open)?;
    let is_last = match token(tokens, after(tokens, close)) {
        None | Some(Token::EOF | Token::SemiColon | Token::RParen) => true,
        Some(next) => is_word(next, "on") || is_word(next, "returning"),
    };
    is_last.then_some(close)
}
