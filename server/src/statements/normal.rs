//! The text of a statement without its constants, so that statements which differ in nothing else count as
//! one.
//!
//! A constant becomes a parameter, numbered behind those that the text has already. What PostgreSQL keeps
//! stays: places in ORDER BY and GROUP BY, and the numbers of a type, as in numeric(10,2).

/// A statement as it is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Normal {
    /// The same for all texts that differ in constants, blanks, comments and the case of words only.
    pub(crate) id: i64,
    /// This one's text with parameters for constants.
    pub(crate) text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Word,
    Number,
    Literal,
    /// An identifier in quotes.
    Quoted,
    Parameter,
    Symbol,
}

#[derive(Clone, Copy, Debug)]
struct Token<'a> {
    kind: Kind,
    text: &'a str,
    start: usize,
}

/// The non-empty statements of a text, which semicolons part.
pub(crate) fn split(text: &str) -> Vec<&str> {
    let tokens = tokens(text);
    let mut parts = Vec::new();
    for run in tokens.split(|token| token.text == ";") {
        if let (Some(first), Some(last)) = (run.first(), run.last()) {
            parts.push(text.get(first.start..last.start + last.text.len()).unwrap_or_default());
        }
    }
    parts
}

/// A statement with constants that do not matter.
pub(crate) fn normal(text: &str) -> Normal {
    let tokens = tokens(text);
    let is_parameter = |token: &&Token<'_>| token.kind == Kind::Parameter;
    let numbers =
        tokens.iter().filter(is_parameter).filter_map(|token| token.text.get(1..)?.parse::<u64>().ok());
    let mut next = numbers.max().unwrap_or(0) + 1;
    let (mut out, mut taken, mut id) = (String::with_capacity(text.len()), 0, Hash::new());
    let mut keeps = Keeps::default();
    for (at, token) in tokens.iter().enumerate() {
        keeps.see(token);
        if !is_constant(&tokens, at) || keeps.keep(&tokens, at) {
            // A sign belongs to its number.
            if !is_sign(&tokens, at) {
                id.token(token);
            }
            continue;
        }
        let start = match at.checked_sub(1).and_then(|before| tokens.get(before)) {
            Some(sign) if is_sign(&tokens, at - 1) => sign.start,
            _ => token.start,
        };
        out.push_str(text.get(taken..start).unwrap_or_default());
        out.push_str(&format!("${next}"));
        id.constant();
        next += 1;
        taken = token.start + token.text.len();
    }
    out.push_str(text.get(taken..).unwrap_or_default());
    let end = out.trim_end_matches([';', ' ', '\n', '\t', '\r']).len();
    out.truncate(end);
    Normal { id: id.value(), text: out.trim_start().to_owned() }
}

/// A statement whose constants matter, or may not be told from the rest.
pub(crate) fn verbatim(text: &str) -> Normal {
    let mut id = Hash::new();
    tokens(text).iter().for_each(|token| id.token(token));
    Normal {
        id: id.value(),
        text: text.trim_end_matches([';', ' ', '\n', '\t', '\r']).trim_start().to_owned(),
    }
}

fn is_word(token: &Token<'_>, word: &str) -> bool {
    token.kind == Kind::Word && token.text.eq_ignore_ascii_case(word)
}

fn is_constant(tokens: &[Token<'_>], at: usize) -> bool {
    let Some(token) = tokens.get(at) else { return false };
    match token.kind {
        Kind::Number | Kind::Literal => true,
        Kind::Word => {
            let before = |word: &str| at > 0 && tokens.get(at - 1).is_some_and(|token| is_word(token, word));
            let is_test = before("is") || before("not");
            ["null", "true", "false"].iter().any(|word| is_word(token, word)) && !is_test
        }
        _ => false,
    }
}

/// Whether this is the minus of a negative number.
fn is_sign(tokens: &[Token<'_>], at: usize) -> bool {
    let is_minus = tokens.get(at).is_some_and(|token| token.text == "-");
    let is_number = tokens.get(at + 1).is_some_and(|token| token.kind == Kind::Number);
    let follows_value = at.checked_sub(1).and_then(|before| tokens.get(before)).is_some_and(|token| {
        let is_keyword =
            ["select", "where", "and", "or", "limit", "offset", "then", "else", "when", "by", "in"]
                .iter()
                .any(|word| is_word(token, word));
        match token.kind {
            Kind::Symbol => [")", "]"].contains(&token.text),
            Kind::Word => !is_keyword,
            _ => true,
        }
    });
    is_minus && is_number && !follows_value
}

/// Which constants stay.
#[derive(Default)]
struct Keeps {
    depth: usize,
    /// The depth at which an ORDER BY or GROUP BY is.
    listed: Option<usize>,
    /// The token before is the name of a type that a value is cast to.
    after_type: bool,
    /// The depth inside of a type's parentheses.
    typed: Option<usize>,
    /// A cast has just begun: the next word is a type.
    cast: bool,
}

impl Keeps {
    fn see(&mut self, token: &Token<'_>) {
        let cast_before = self.cast;
        match token.text {
            "(" => {
                self.depth += 1;
                if self.typed.is_none() && self.after_type {
                    self.typed = Some(self.depth);
                }
            }
            ")" => {
                self.typed.take_if(|depth| *depth == self.depth);
                self.listed.take_if(|depth| *depth == self.depth);
                self.depth = self.depth.saturating_sub(1);
            }
            _ => {}
        }
        let ends = ["limit", "offset", "having", "for", "fetch", "union", "where"];
        if is_word(token, "by") {
            self.listed = Some(self.depth);
        } else if self.listed == Some(self.depth) && ends.iter().any(|word| is_word(token, word)) {
            self.listed = None;
        }
        self.cast = token.text == "::";
        self.after_type = cast_before && token.kind == Kind::Word;
    }

    fn keep(&self, tokens: &[Token<'_>], at: usize) -> bool {
        let Some(token) = tokens.get(at) else { return false };
        if token.kind != Kind::Number {
            return false;
        }
        let neighbour = |at: Option<usize>| at.and_then(|at| tokens.get(at));
        let begins =
            neighbour(at.checked_sub(1)).is_some_and(|token| token.text == "," || is_word(token, "by"));
        let ends = neighbour(Some(at + 1)).is_none_or(|token| {
            [",", ")", ";"].contains(&token.text)
                || ["asc", "desc", "nulls", "limit", "offset", "having", "order", "for"]
                    .iter()
                    .any(|word| is_word(token, word))
        });
        self.typed.is_some() || (self.listed == Some(self.depth) && begins && ends)
    }
}

/// FNV-1a of 64 bits (the numbers are its authors'): the same on every machine, and after each restart.
struct Hash(u64);

impl Hash {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
    fn bytes(&mut self, bytes: impl Iterator<Item = u8>) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    fn token(&mut self, token: &Token<'_>) {
        match token.kind {
            // It ends the statement, and need not be there.
            Kind::Symbol if token.text == ";" => return,
            Kind::Word => self.bytes(token.text.bytes().map(|byte| byte.to_ascii_lowercase())),
            _ => self.bytes(token.text.bytes()),
        }
        self.bytes(std::iter::once(0));
    }
    fn constant(&mut self) {
        self.bytes([1, 0].into_iter());
    }
    /// Never 0, which stands for no number.
    fn value(&self) -> i64 {
        match self.0.cast_signed() {
            0 => 1,
            id => id,
        }
    }
}

/// The tokens of a text, without blanks and comments. What is not SQL still has some.
fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let (kind, len) = token(rest);
        if let Some(kind) = kind {
            tokens.push(Token { kind, text: rest.get(..len).unwrap_or(rest), start: at });
        }
        at += len.max(1);
        while !text.is_char_boundary(at) {
            at += 1;
        }
    }
    tokens
}

/// The kind of what begins here, None for what is left out, and its bytes.
fn token(rest: &str) -> (Option<Kind>, usize) {
    let bytes = rest.as_bytes();
    let (first, second) = (bytes.first().copied().unwrap_or(0), bytes.get(1).copied().unwrap_or(0));
    let while_true = |from: usize, is: fn(u8) -> bool| {
        from + bytes
            .iter()
            .skip(from)
            .position(|byte| !is(*byte))
            .unwrap_or(bytes.len() - from.min(bytes.len()))
    };
    let is_identifier =
        |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80;
    match (first, second) {
        (byte, _) if byte.is_ascii_whitespace() => (None, while_true(0, |byte| byte.is_ascii_whitespace())),
        (b'-', b'-') => (None, rest.find('\n').unwrap_or(rest.len())),
        (b'/', b'*') => (None, comment(bytes)),
        (b'\'', _) => (Some(Kind::Literal), literal(bytes, 1, false)),
        (b'e' | b'E', b'\'') => (Some(Kind::Literal), literal(bytes, 2, true)),
        (b'b' | b'B' | b'x' | b'X' | b'n' | b'N', b'\'') => (Some(Kind::Literal), literal(bytes, 2, false)),
        (b'"', _) => (Some(Kind::Quoted), quoted(bytes)),
        (b'$', byte) if byte.is_ascii_digit() => {
            (Some(Kind::Parameter), while_true(1, |byte| byte.is_ascii_digit()))
        }
        (b'$', _) => match dollars(rest) {
            Some(len) => (Some(Kind::Literal), len),
            None => (Some(Kind::Symbol), 1),
        },
        (byte, next) if byte.is_ascii_digit() || (byte == b'.' && next.is_ascii_digit()) => {
            (Some(Kind::Number), number(bytes))
        }
        (byte, _) if is_identifier(byte) => (Some(Kind::Word), while_true(0, is_identifier)),
        (b':', b':') => (Some(Kind::Symbol), 2),
        _ => (Some(Kind::Symbol), 1),
    }
}

/// Comments lie in each other.
fn comment(bytes: &[u8]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < bytes.len() {
        match bytes.get(at..at + 2) {
            Some(b"/*") => (depth, at) = (depth + 1, at + 2),
            Some(b"*/") => {
                (depth, at) = (depth - 1, at + 2);
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    bytes.len()
}

fn literal(bytes: &[u8], from: usize, escapes: bool) -> usize {
    let mut at = from;
    while let Some(byte) = bytes.get(at) {
        match (byte, bytes.get(at + 1)) {
            (b'\'', Some(b'\'')) => at += 2,
            (b'\'', _) => return at + 1,
            (b'\\', Some(_)) if escapes => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn quoted(bytes: &[u8]) -> usize {
    let mut at = 1;
    while let Some(byte) = bytes.get(at) {
        match (byte, bytes.get(at + 1)) {
            (b'"', Some(b'"')) => at += 2,
            (b'"', _) => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn dollars(rest: &str) -> Option<usize> {
    let tag_len = rest.get(1..)?.find('$')? + 2;
    let tag = rest.get(..tag_len)?;
    let name = tag.trim_matches('$');
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80) {
        return None;
    }
    let body = rest.get(tag_len..)?;
    Some(body.find(tag).map_or(rest.len(), |at| tag_len + at + tag_len))
}

fn number(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let is_sign_of_exponent = matches!(byte, b'+' | b'-')
            && at > 0
            && matches!(bytes.get(at - 1), Some(b'e' | b'E'))
            && bytes.get(at + 1).is_some_and(u8::is_ascii_digit);
        if !(byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_') || is_sign_of_exponent) {
            break;
        }
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_become_parameters() {
        for (given, text) in [
            ("SELECT 1", "SELECT $1"),
            (
                "select a, 'x''y', E'\\'', 1.5e-3 from t where b = -7 and c-7 > 2;",
                "select a, $1, $2, $3 from t where b = $4 and c-$5 > $6",
            ),
            ("select $2 + 5", "select $2 + $3"),
            ("insert into t values (1, NULL, true)", "insert into t values ($1, $2, $3)"),
            ("select 1 where a is null and b is not true", "select $1 where a is null and b is not true"),
            (
                "select \"1\" from \"t\"\"2\" -- 5\n where /* 6 /* 7 */ */ x = $q$8$q$",
                "select \"1\" from \"t\"\"2\" -- 5\n where /* 6 /* 7 */ */ x = $1",
            ),
            (
                "select x::numeric(10,2), 1 from t order by 2, x + 1 desc limit 3",
                "select x::numeric(10,2), $1 from t order by 2, x + $2 desc limit $3",
            ),
            (
                "select a, count(*) from t group by 1 order by 2 desc",
                "select a, count(*) from t group by 1 order by 2 desc",
            ),
            ("  select 1 ; ", "select $1"),
        ] {
            assert_eq!(normal(given).text, text);
        }
    }

    #[test]
    fn what_differs_in_constants_blanks_and_case_only_is_one_statement() {
        let id = |text: &str| normal(text).id;
        assert_eq!(id("select a from t where b = 1"), id("SELECT a\n FROM t -- all\n WHERE b='x';"));
        for other in
            ["select a from t where b = c", "select \"A\" from t where b = 1", "select a from t where b > 1"]
        {
            assert_ne!(id("select a from t where b = 1"), id(other), "{other}");
        }
        assert_ne!(verbatim("SET a = 1").id, verbatim("SET a = 2").id);
        // The numbers are kept by whoever watches a server: they may not change.
        assert_eq!(id("select 1"), 6_293_836_666_741_800_838);
    }

    #[test]
    fn statements_of_one_text_are_told_apart() {
        assert_eq!(split("select 1; ;select ';' -- ;\n; x"), ["select 1", "select ';'", "x"]);
        assert!(split(" ;; -- x").is_empty());
        for odd in ["'", "\"", "$", "$a", "$a$", "/*", "e'\\", "1e", "é'é", "::", "*/"] {
            let _ = (split(odd), normal(odd), verbatim(odd));
        }
    }
}
