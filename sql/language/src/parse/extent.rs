//! How large a statement's tree would be, estimated from its tokens: what is refused here costs no more
//! memory than them.
//!
//! This is about memory alone. Nothing relies on it being exact: how deep a tree really is, is found out once
//! it is made ([`super::settle()`]).

use sql_interface::{Result, SqlError, stack};
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan, Word};
use sqlstate::SqlState;

/// PostgreSQL's MaxTupleAttributeNumber.
pub(crate) const TARGETS_MAX: usize = 1664;

/// Operators in one chain: three times as many as a stack has levels for.
const CHAIN_TOKENS_MAX: usize = 100_000;

/// UNION, INTERSECT and EXCEPT in one statement: twice as many as a stack has levels for.
const SET_OPERATIONS_MAX: usize = 8_000;

/// Tables in the FROM clauses of one statement: several times as many as a stack has levels for.
const TABLES_MAX: usize = 10_000;

/// `[...]` one after the other. A type may have any number in PostgreSQL, but no array has more than 6
/// dimensions.
const BRACKETS_MAX: usize = 100;

/// Bytes of the parser's tree, but for rows of VALUES.
const TREE_BYTES_MAX: usize = 120 << 20;

/// What SELECT makes, in bytes, and an operator.
const SELECT_BYTES: usize = 10_000;
const OPERATOR_BYTES: usize = 660;

/// What the parser sets aside for a list before it knows how long it is, beyond its first item: room for
/// three more.
const LIST_BYTES: usize = 3 * 330;

/// A list whose items are counted, by what the parser makes of each, in bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum List {
    /// Values, names: `IN (...)`, `ARRAY[...]`, rows.
    Plain,
    Targets,
    Tables,
    Ordering,
    Arguments,
    /// Rows after VALUES: bounded by nothing but the text, because loads are written so.
    Rows,
    /// One of them.
    Row,
    /// WITH: what reads such a query has a copy of it.
    Queries,
}

impl List {
    const fn item_bytes(self) -> usize {
        match self {
            Self::Plain => 330,
            Self::Targets => 800,
            Self::Tables | Self::Ordering => 1400,
            Self::Arguments => 800,
            Self::Rows | Self::Row => 0,
            Self::Queries => SELECT_BYTES,
        }
    }
}

/// What stands between two parentheses.
struct Nesting {
    list: List,
    /// Items since the list began.
    items: usize,
    /// Tokens since anything began that does not go on from what is before it.
    chain: usize,
}

impl Nesting {
    const fn new(list: List) -> Self {
        Self { list, items: 1, chain: 0 }
    }
}

#[derive(Default)]
struct Counts {
    /// CASE without its END.
    cases: usize,
    /// NOT and signs, one right after the other.
    prefixes: usize,
    /// WITH lists around: each has a copy of what is in it.
    withs: usize,
    set_operations: usize,
    tables: usize,
    tree_bytes: usize,
    brackets: usize,
}

/// Refuses a statement whose tree would take too much memory or be too deep beyond doubt.
pub(super) fn check(tokens: &[TokenWithSpan]) -> Result<()> {
    if tokens.len() <= TARGETS_MAX {
        return Ok(());
    }
    let mut counts = Counts::default();
    let levels_max = stack::parser_levels_max();
    let mut levels = vec![Nesting::new(List::Plain)];
    let mut before: Option<&Token> = None;
    for TokenWithSpan { token, .. } in tokens {
        match token {
            Token::LParen => {
                let outer = levels.last().map_or(List::Plain, |level| level.list);
                levels.push(Nesting::new(list_after(before, outer)));
            }
            Token::LBracket => {
                counts.brackets = if before == Some(&Token::RBracket) { counts.brackets + 1 } else { 1 };
                levels.push(Nesting::new(List::Plain));
            }
            Token::RParen | Token::RBracket if levels.len() > 1 => {
                let ended = levels.pop();
                counts.withs -= usize::from(ended.is_some_and(|level| level.list == List::Queries));
            }
            _ => {}
        }
        counts.opened(token);
        // The parser would say so, too, but not always: it may take a word for a name instead.
        if levels.len() + counts.cases + counts.prefixes > levels_max {
            return Err(stack::exceeded());
        }
        if let Some(level) = levels.last_mut() {
            counts.see(level, token)?;
        }
        before = Some(token);
    }
    Ok(())
}

/// What a parenthesis begins after this token.
fn list_after(before: Option<&Token>, outer: List) -> List {
    match before {
        _ if outer == List::Rows => List::Row,
        Some(Token::Word(word)) => match word.keyword {
            Keyword::IN | Keyword::VALUES | Keyword::ANY | Keyword::ALL | Keyword::ROW => List::Plain,
            _ => List::Arguments,
        },
        _ => List::Plain,
    }
}

impl Counts {
    fn opened(&mut self, token: &Token) {
        let keyword = match token {
            Token::Word(word) if word.quote_style.is_none() => word.keyword,
            _ => Keyword::NoKeyword,
        };
        match keyword {
            Keyword::CASE => self.cases += 1,
            Keyword::END => self.cases = self.cases.saturating_sub(1),
            _ => {}
        }
        let is_prefix = keyword == Keyword::NOT || matches!(token, Token::Plus | Token::Minus | Token::Tilde);
        self.prefixes = if is_prefix { self.prefixes + 1 } else { 0 };
    }

    fn see(&mut self, level: &mut Nesting, token: &Token) -> Result<()> {
        level.chain += 1;
        match token {
            Token::Comma => {
                level.items += 1;
                level.chain = 0;
                self.take(level.list.item_bytes());
                if level.items == 2 && level.list != List::Row {
                    self.take(LIST_BYTES);
                }
                self.tables += usize::from(level.list == List::Tables);
                if matches!(level.list, List::Targets | List::Row) && level.items > TARGETS_MAX {
                    return Err(too_many_targets());
                }
            }
            Token::Word(word) if word.quote_style.is_none() => self.word(level, word),
            Token::Eq
            | Token::Lt
            | Token::Gt
            | Token::LtEq
            | Token::GtEq
            | Token::Neq
            | Token::Plus
            | Token::Minus
            | Token::Mul
            | Token::Div
            | Token::Mod
            | Token::DoubleColon
            | Token::StringConcat => self.take(OPERATOR_BYTES),
            _ => {}
        }
        if level.chain > CHAIN_TOKENS_MAX || self.set_operations > SET_OPERATIONS_MAX {
            return Err(stack::exceeded());
        }
        if self.tables > TABLES_MAX {
            return Err(too_many_tables());
        }
        if self.brackets > BRACKETS_MAX {
            let message = "number of array dimensions exceeds the maximum allowed (6)";
            return Err(SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message));
        }
        if self.tree_bytes > TREE_BYTES_MAX {
            return Err(SqlError::new(SqlState::STATEMENT_TOO_COMPLEX, "statement is too complex")
                .with_detail("Its lists have too many items, or its conditions too many parts.")
                .with_hint("Load many values with COPY, or pass them as one array parameter."));
        }
        Ok(())
    }

    fn word(&mut self, level: &mut Nesting, word: &Word) {
        let list = match word.keyword {
            Keyword::SELECT => {
                self.take(SELECT_BYTES);
                List::Targets
            }
            Keyword::WITH => List::Queries,
            Keyword::FROM => List::Tables,
            Keyword::ORDER | Keyword::PARTITION => List::Ordering,
            Keyword::VALUES => List::Rows,
            Keyword::UNION | Keyword::INTERSECT | Keyword::EXCEPT => {
                self.set_operations += 1;
                List::Plain
            }
            Keyword::JOIN => {
                self.tables += 1;
                level.chain = 0;
                return;
            }
            Keyword::WHERE
            | Keyword::GROUP
            | Keyword::HAVING
            | Keyword::LIMIT
            | Keyword::OFFSET
            | Keyword::SET
            | Keyword::RETURNING => List::Plain,
            // Chains of AND and OR are made flat, and WHEN and its kin begin anew.
            Keyword::AND | Keyword::OR | Keyword::WHEN | Keyword::THEN | Keyword::ELSE => {
                self.take(OPERATOR_BYTES);
                level.chain = 0;
                return;
            }
            _ => return,
        };
        self.withs += usize::from(list == List::Queries);
        self.withs -= usize::from(level.list == List::Queries);
        *level = Nesting::new(list);
    }

    fn take(&mut self, bytes: usize) {
        self.tree_bytes = self.tree_bytes.saturating_add(bytes.saturating_mul(1 + self.withs));
    }
}

/// 54011
pub(crate) fn too_many_targets() -> SqlError {
    SqlError::new(SqlState::TOO_MANY_COLUMNS, format!("target lists can have at most {TARGETS_MAX} entries"))
}

/// 54000
pub(crate) fn too_many_tables() -> SqlError {
    SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "too many range table entries")
}
