//! What PostgreSQL's grammar has and sqlparser's does not, said in words that it knows.
//!
//! - FOR NO KEY UPDATE and FOR KEY SHARE become the next stronger locks, FOR UPDATE and FOR SHARE.
//! - ONLY before a table's name goes: there is no inheritance.
//! - TABLE name becomes SELECT * FROM name.

use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan, Whitespace};

fn is_word(token: &Token, wanted: &str) -> bool {
    matches!(token, Token::Word(word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(wanted))
}

/// After these words a query may begin.
const BEFORE_QUERIES: [&str; 6] = ["union", "all", "except", "intersect", "distinct", "as"];
/// After these words a table's name stands.
const BEFORE_TABLES: [&str; 5] = ["from", "update", "join", "table", "truncate"];

/// The tokens as sqlparser shall see them; places stay those of the text.
pub(super) fn adapt(tokens: &[TokenWithSpan]) -> Vec<TokenWithSpan> {
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len() + 3);
    let mut before: Option<&Token> = None;
    let mut skip = 0;
    for (at, token) in tokens.iter().enumerate() {
        if matches!(token.token, Token::Whitespace(_)) {
            out.push(token.clone());
            continue;
        }
        if skip > 0 {
            skip -= 1;
            continue;
        }
        let mut after = tokens.iter().skip(at + 1).map(|token| &token.token);
        let mut next = || after.find(|token| !matches!(token, Token::Whitespace(_)));
        if is_word(&token.token, "only") && follows_one_of(before, &BEFORE_TABLES) && is_name(next()) {
            continue;
        }
        if is_word(&token.token, "table") && may_begin_query(before) && is_name(next()) {
            let [select, from] = [keyword("SELECT", Keyword::SELECT), keyword("FROM", Keyword::FROM)];
            for word in [select, Token::Mul, from] {
                out.push(TokenWithSpan::new(word, token.span));
                out.push(TokenWithSpan::new(Token::Whitespace(Whitespace::Space), token.span));
            }
        } else {
            out.push(token.clone());
        }
        if is_word(&token.token, "for") {
            let mut is_next = |wanted: &str| next().is_some_and(|token| is_word(token, wanted));
            let mut words = ["no", "key", "update"].into_iter();
            let no_key = words.all(&mut is_next);
            let mut after = tokens.iter().skip(at + 1).map(|token| &token.token);
            let mut next = || after.find(|token| !matches!(token, Token::Whitespace(_)));
            let key = next().is_some_and(|token| is_word(token, "key"))
                && next().is_some_and(|token| is_word(token, "share"));
            skip = if no_key { 2 } else { usize::from(key) };
        }
        before = Some(&token.token);
    }
    out
}

fn follows_one_of(before: Option<&Token>, words: &[&str]) -> bool {
    before.is_some_and(|before| words.iter().any(|word| is_word(before, word)))
}

fn may_begin_query(before: Option<&Token>) -> bool {
    matches!(before, None | Some(Token::LParen)) || follows_one_of(before, &BEFORE_QUERIES)
}

fn is_name(token: Option<&Token>) -> bool {
    matches!(token, Some(Token::Word(_)))
}

fn keyword(text: &str, keyword: Keyword) -> Token {
    Token::Word(sqlparser::tokenizer::Word { value: text.to_owned(), quote_style: None, keyword })
}
