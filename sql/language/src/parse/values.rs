//! Long lists of rows, `VALUES (...), (...), ...`, row by row.
//!
//! A load is written so, and its text is as long as its data. The parser has room for four values in each
//! row, and for more whenever these are full; a row of one value would take four times what it needs. So the
//! rows are cut out, a placeholder stands in for them, and each is parsed by itself and kept in as much
//! memory as it needs.

use super::walk::{Walk, walk};
use super::{Source, read};
use sql_interface::Result;
use sqlparser::ast::{Expr, Parens, Query, SetExpr, Value, Values, VisitMut};
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan};
use std::ops::ControlFlow;

/// Shorter lists are left to the parser.
const ROWS_MIN: usize = 1000;

/// What is freed at once.
const PIECE_TOKENS: usize = 10_000;

/// The rows of one list.
type Rows = Vec<Parens<Vec<Expr>>>;

/// The lists that were cut out of a statement, by the order of their places in it.
pub(super) struct Lists(Vec<Rows>);

/// Cuts all long lists of rows out of a statement's tokens.
pub(super) fn cut(source: &Source, tokens: Vec<TokenWithSpan>) -> Result<(Vec<TokenWithSpan>, Lists)> {
    let ends = ends_of_lists(&tokens);
    if ends.is_empty() {
        return Ok((tokens, Lists(Vec::new())));
    }
    let mut lists = Vec::with_capacity(ends.len());
    let mut kept = Vec::new();
    let mut ends = ends.into_iter();
    let mut next = ends.next();
    let mut tokens = in_pieces(tokens).enumerate();
    while let Some((at, token)) = tokens.next() {
        match next {
            Some((start, end)) if start == at => {
                kept.push(token.clone());
                kept.push(TokenWithSpan::new(Token::Placeholder(stand_in(lists.len())), token.span));
                let rest = tokens.by_ref().map(|(_, token)| token);
                let (rows, close) = rows(source, token, rest.take(end - start))?;
                lists.push(rows);
                kept.push(close);
                next = ends.next();
            }
            _ => kept.push(token),
        }
    }
    Ok((kept, Lists(lists)))
}

/// The tokens one by one; their memory goes with them, so that it is not added to that of what is made of
/// them.
fn in_pieces(mut tokens: Vec<TokenWithSpan>) -> impl Iterator<Item = TokenWithSpan> {
    let mut pieces = Vec::with_capacity(tokens.len() / PIECE_TOKENS + 1);
    while tokens.len() > PIECE_TOKENS {
        pieces.push(tokens.split_off(tokens.len() - PIECE_TOKENS));
        tokens.shrink_to_fit();
    }
    pieces.push(tokens);
    pieces.into_iter().rev().flatten()
}

/// What no client can write: a text has no zero bytes.
fn stand_in(list: usize) -> String {
    format!("$\0{list}")
}

/// For each long list the place of its first parenthesis and of its last one.
fn ends_of_lists(tokens: &[TokenWithSpan]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        at += 1;
        let begins = matches!(&token.token, Token::Word(word)
            if word.keyword == Keyword::VALUES && word.quote_style.is_none());
        if !begins || tokens.get(at).is_none_or(|next| next.token != Token::LParen) {
            continue;
        }
        let (start, mut end, mut rows, mut depth) = (at, at, 0, 0_usize);
        for (place, TokenWithSpan { token, .. }) in tokens.iter().enumerate().skip(start) {
            match token {
                Token::LParen => depth += 1,
                Token::RParen if depth == 1 => {
                    depth = 0;
                    rows += 1;
                    end = place;
                }
                Token::RParen if depth > 1 => depth -= 1,
                Token::Comma if depth == 0 => {}
                _ if depth == 0 => break,
                _ => {}
            }
        }
        // What is not closed is left for the parser to complain about, and what nests would be cut twice.
        if rows >= ROWS_MIN && depth == 0 {
            found.push((start, end));
        }
        at = end.max(at);
    }
    found
}

/// Parses rows up to the last parenthesis, which is given back; the first one is at hand.
fn rows(
    source: &Source,
    first: TokenWithSpan,
    tokens: impl Iterator<Item = TokenWithSpan>,
) -> Result<(Rows, TokenWithSpan)> {
    let mut rows = Vec::new();
    let mut last = first.clone();
    let mut open = Some(first);
    let (mut row, mut depth) = (Vec::new(), 1_usize);
    for token in tokens {
        if open.is_none() {
            match token.token {
                Token::LParen if last.token == Token::Comma => {
                    (open, depth) = (Some(token), 1);
                    continue;
                }
                Token::Comma if last.token == Token::RParen => {
                    last = token;
                    continue;
                }
                _ => return Err(source.unexpected_here(&token)),
            }
        }
        match token.token {
            Token::LParen => depth += 1,
            Token::RParen => depth -= 1,
            _ => {}
        }
        row.push(token);
        if depth == 0
            && let Some(opening) = open.take()
            && let Some(closing) = row.last().cloned()
        {
            let tokens = std::mem::take(&mut row);
            let mut content = read(source, tokens, |parser| {
                let content = parser.parse_comma_separated(|parser| parser.parse_expr())?;
                parser.expect_token(&Token::RParen)?;
                Ok(content)
            })?;
            content.shrink_to_fit();
            last = closing.clone();
            rows.push(Parens { opening_token: opening.into(), content, closing_token: closing.into() });
        }
    }
    Ok((rows, last))
}

impl Lists {
    /// Puts the rows where they were cut out; 42601 if the parser took a list for something else than VALUES.
    pub(super) fn put_back<T: VisitMut>(self, source: &Source, tree: &mut T) -> Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        let mut putting = Putting(self.0);
        let _: ControlFlow<()> = walk(tree, &mut putting);
        match putting.0.iter().find_map(|rows| rows.first()) {
            None => Ok(()),
            Some(row) => Err(source.unexpected_here(&row.opening_token.0)),
        }
    }
}

struct Putting(Vec<Rows>);

impl Putting {
    fn fill(&mut self, values: &mut Values) {
        let [row] = values.rows.as_slice() else { return };
        let [Expr::Value(value)] = row.content.as_slice() else { return };
        let Value::Placeholder(name) = &value.value else { return };
        let list = name.strip_prefix("$\0").and_then(|number| number.parse::<usize>().ok());
        if let Some(rows) = list.and_then(|list| self.0.get_mut(list)) {
            values.rows = std::mem::take(rows);
        }
    }
}

impl Walk for Putting {
    fn enter_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let mut body = &mut *query.body;
        // Set operations nest to the left; those on the right side are in parentheses, and queries of their
        // own.
        loop {
            match body {
                SetExpr::Values(values) => {
                    self.fill(values);
                    break;
                }
                SetExpr::SetOperation { left, right, .. } => {
                    let mut right = &mut **right;
                    // INTERSECT binds more closely than what stands before it.
                    while let SetExpr::SetOperation { left, right: inner, .. } = right {
                        if let SetExpr::Values(values) = &mut **inner {
                            self.fill(values);
                        }
                        right = left;
                    }
                    if let SetExpr::Values(values) = right {
                        self.fill(values);
                    }
                    body = left;
                }
                _ => break,
            }
        }
        ControlFlow::Continue(())
    }
}
