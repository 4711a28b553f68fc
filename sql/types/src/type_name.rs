//! Names of types in a text, as regtype reads them: `varchar(10)[]`, `pg_catalog.int4`, `double precision`.

use crate::absent::AbsentType;
use crate::error::{Error, Result};
use crate::integer;
use crate::types::{STANDING_FOR_OTHERS, Type, TypeId};
use sqlstate::SqlState;
use std::str::FromStr;

/// The last bit count of FLOAT(n) that a real holds, and that a double precision does.
const REAL_BITS_MAX: u32 = 24;
const DOUBLE_BITS_MAX: u32 = 53;

/// The OID of the type that a text names; the name alone if there is no such type.
///
/// # Errors
///
/// As [`require_type_name`].
pub(crate) fn type_named(text: &str) -> Result<std::result::Result<u32, String>> {
    let invalid = || Error::new(SqlState::SYNTAX_ERROR, format!("invalid type name \"{text}\""));
    let tokens = tokens(text)?;
    let is_setof = |token: &Token<'_>| token.word.as_deref() == Some("setof") && !token.is_quoted();
    if tokens.first().is_none_or(is_setof) {
        return Err(invalid());
    }
    let mut reader = Reader { tokens: &tokens, at: 0 };
    let name = reader.name()?;
    let is_array = reader.array_bounds()?;
    match reader.peek() {
        Some(_) => Err(reader.unexpected()),
        None => name.oid(is_array),
    }
}

/// Whether a text could be the name of a type, of this server or another.
///
/// # Errors
///
/// 42601 for a text that names no type, 22023 and 22P02 for a modifier that the type does not take, 0A000 for
/// a type that PostgreSQL has and this server has not.
pub fn require_type_name(text: &str) -> Result<()> {
    type_named(text).map(drop)
}

impl TypeId {
    /// The type of a name as SQL has it anywhere: qualified or not, with a modifier or without, in any case.
    pub fn from_sql(text: &str) -> Option<Self> {
        type_named(text).ok()?.ok().and_then(Self::from_oid)
    }
}

/// A piece of a text: a word, a number, a string or a character.
struct Token<'t> {
    written: &'t str,
    /// The name that a word is, in lower case unless it was quoted.
    word: Option<String>,
}

impl Token<'_> {
    fn is_quoted(&self) -> bool {
        self.written.starts_with('"')
    }

    fn number<N: FromStr>(&self) -> Option<N> {
        self.written.parse().ok().filter(|_| self.written.starts_with(|c: char| c.is_ascii_digit()))
    }
}

fn tokens(text: &str) -> Result<Vec<Token<'_>>> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    let begins_word = |c: char| c.is_ascii_alphabetic() || c == '_' || !c.is_ascii();
    let in_word = |c: char| begins_word(c) || c.is_ascii_digit() || c == '$';
    while let Some(first) = rest.chars().next() {
        let length = |wanted: &dyn Fn(char) -> bool| rest.find(|c| !wanted(c)).unwrap_or(rest.len());
        let (len, word) = if begins_word(first) {
            let len = length(&in_word);
            (len, rest.get(..len).map(str::to_ascii_lowercase))
        } else if matches!(first, '"' | '\'') {
            let (len, content) = quoted(rest, first).ok_or_else(|| {
                let what = if first == '"' {
                    "unterminated quoted identifier"
                } else {
                    "unterminated quoted string"
                };
                Error::new(SqlState::SYNTAX_ERROR, format!("{what} at or near \"{rest}\""))
            })?;
            (len, Some(content).filter(|_| first == '"'))
        } else if first.is_ascii_digit() {
            let len = length(&|c| c.is_ascii_digit() || c == '.');
            if rest.get(len..).is_some_and(|behind| behind.starts_with(begins_word)) {
                let end = length(&|c| in_word(c) || c == '.');
                let junk = rest.get(..end).unwrap_or_default();
                let message = format!("trailing junk after numeric literal at or near \"{junk}\"");
                return Err(Error::new(SqlState::SYNTAX_ERROR, message));
            }
            (len, None)
        } else {
            (first.len_utf8(), None)
        };
        let (written, behind) = rest.split_at(len);
        tokens.push(Token { written, word });
        rest = behind.trim_start();
    }
    Ok(tokens)
}

/// The bytes of what is in quotes at the front, and what it says. Two quotes inside stand for one.
fn quoted(text: &str, quote: char) -> Option<(usize, String)> {
    let mut content = String::new();
    let mut characters = text.char_indices().skip(1).peekable();
    while let Some((at, character)) = characters.next() {
        if character == quote && characters.next_if(|(_, next)| *next == quote).is_none() {
            return Some((at + 1, content));
        }
        content.push(character);
    }
    None
}

/// A type's name as far as it is read.
struct Name {
    /// As messages show it.
    shown: String,
    /// That of pg_type; None for one of a schema that has no types.
    catalogue: Option<String>,
    /// What stands in parentheses behind it.
    modifiers: Vec<String>,
}

impl Name {
    fn of(catalogue: &str) -> Self {
        Self { shown: catalogue.to_owned(), catalogue: Some(catalogue.to_owned()), modifiers: Vec::new() }
    }

    fn with_length(self, length: Option<u32>) -> Self {
        Self { modifiers: length.iter().map(ToString::to_string).collect(), ..self }
    }

    fn oid(self, is_array: bool) -> Result<std::result::Result<u32, String>> {
        let shown = format!("{}{}", self.shown, if is_array { "[]" } else { "" });
        let Some(name) = self.catalogue.as_deref() else { return Ok(Err(shown)) };
        if AbsentType::named(name.strip_prefix('_').unwrap_or(name)).is_some() {
            let message = format!("type {} is not supported", self.shown);
            return Err(Error::new(SqlState::FEATURE_NOT_SUPPORTED, message));
        }
        let Some(id) = TypeId::ALL.iter().copied().find(|id| id.name() == name) else {
            let stand_in = |(_, known): &&(u32, &str)| known.trim_matches('"') == name;
            let found = STANDING_FOR_OTHERS.iter().find(stand_in).filter(|_| !is_array);
            return Ok(found.map(|(oid, _)| *oid).ok_or(shown));
        };
        let found = if is_array { id.array() } else { Some(id) };
        let Some(found) = found else { return Ok(Err(shown)) };
        self.check_modifiers(id)?;
        Ok(Ok(found.oid()))
    }

    fn check_modifiers(&self, id: TypeId) -> Result<()> {
        if self.modifiers.is_empty() {
            return Ok(());
        }
        let numbers = || {
            let number =
                |text: &String| integer::parse_integer(text, "integer", i32::MIN.into(), i32::MAX.into());
            self.modifiers.iter().map(number).collect::<Result<Vec<i64>>>()
        };
        let small = |number: i64| u32::try_from(number.max(0)).unwrap_or(u32::MAX);
        let refused = |message: &'static str| Error::new(SqlState::INVALID_PARAMETER_VALUE, message);
        match (id.element().unwrap_or(id), id.is_vector()) {
            (TypeId::Varchar, _) => match numbers()?.as_slice() {
                [length] => Type::varchar(Some(small(*length))).map(drop),
                _ => Err(refused("invalid type modifier")),
            },
            (TypeId::Bpchar, _) => match numbers()?.as_slice() {
                [length] => Type::bpchar(Some(small(*length))).map(drop),
                _ => Err(refused("invalid type modifier")),
            },
            (TypeId::Numeric, _) => match numbers()?.as_slice() {
                [precision] => Type::numeric(Some(*precision), 0).map(drop),
                [precision, scale] => Type::numeric(Some(*precision), *scale).map(drop),
                _ => Err(refused("invalid NUMERIC type modifier")),
            },
            (TypeId::Time | TypeId::Timestamp | TypeId::Timestamptz | TypeId::Interval, _) => {
                numbers().map(drop)
            }
            _ => {
                let message = format!("type modifier is not allowed for type \"{}\"", self.shown);
                Err(Error::new(SqlState::SYNTAX_ERROR, message))
            }
        }
    }
}

/// Reads tokens as SQL's grammar has the names of types.
struct Reader<'t> {
    tokens: &'t [Token<'t>],
    at: usize,
}

impl<'t> Reader<'t> {
    fn peek(&self) -> Option<&'t Token<'t>> {
        self.tokens.get(self.at)
    }

    fn next(&mut self) -> Option<&'t Token<'t>> {
        let token = self.peek()?;
        self.at += 1;
        Some(token)
    }

    fn unexpected(&self) -> Error {
        let message = match self.peek() {
            Some(token) => format!("syntax error at or near \"{}\"", token.written),
            None => "syntax error at end of input".to_owned(),
        };
        Error::new(SqlState::SYNTAX_ERROR, message)
    }

    /// The keyword that comes; None for anything else.
    fn keyword(&self) -> Option<&'t str> {
        self.peek().filter(|token| !token.is_quoted())?.word.as_deref()
    }

    fn take(&mut self, keyword: &str) -> bool {
        let is_next = self.keyword() == Some(keyword);
        self.at += usize::from(is_next);
        is_next
    }

    fn take_character(&mut self, character: &str) -> bool {
        let is_next = self.peek().is_some_and(|token| token.written == character);
        self.at += usize::from(is_next);
        is_next
    }

    fn require(&mut self, is_there: bool) -> Result<()> {
        if is_there { Ok(()) } else { Err(self.unexpected()) }
    }

    fn require_character(&mut self, character: &str) -> Result<()> {
        let is_there = self.take_character(character);
        self.require(is_there)
    }

    /// `(n)`, if it is there.
    fn length(&mut self) -> Result<Option<u32>> {
        if !self.take_character("(") {
            return Ok(None);
        }
        let number: Option<i32> = self.peek().and_then(Token::number);
        let length = number.and_then(|number| u32::try_from(number).ok()).ok_or_else(|| self.unexpected())?;
        self.at += 1;
        self.require_character(")")?;
        Ok(Some(length))
    }

    fn name(&mut self) -> Result<Name> {
        let Some(keyword) = self.keyword() else { return self.generic_name() };
        // With a schema before them, these words are names like others.
        if self.tokens.get(self.at + 1).is_some_and(|token| token.written == ".") {
            return self.generic_name();
        }
        let start = self.at;
        self.at += 1;
        Ok(match keyword {
            "int" | "integer" => Name::of("int4"),
            "smallint" => Name::of("int2"),
            "bigint" => Name::of("int8"),
            "real" => Name::of("float4"),
            "boolean" => Name::of("bool"),
            "float" => self.float()?,
            "double" if self.take("precision") => Name::of("float8"),
            "decimal" | "dec" | "numeric" => {
                let modifiers = self.modifiers()?;
                Name { modifiers, ..Name::of("numeric") }
            }
            "bit" => {
                let varying = self.take("varying");
                self.modifiers()?;
                let shown = if varying { "bit varying" } else { "bit" };
                Name { shown: shown.to_owned(), ..Name::of(if varying { "varbit" } else { "bit" }) }
            }
            "varchar" => Name::of("varchar").with_length(self.length()?),
            "character" | "char" | "nchar" => self.character()?,
            "national" => {
                let is_character = self.take("character") || self.take("char");
                self.require(is_character)?;
                self.character()?
            }
            "time" | "timestamp" => self.time(keyword)?,
            "interval" => self.interval()?,
            _ => {
                self.at = start;
                self.generic_name()?
            }
        })
    }

    fn float(&mut self) -> Result<Name> {
        let refused = |message: &'static str| Error::new(SqlState::INVALID_PARAMETER_VALUE, message);
        match self.length()? {
            Some(0) => Err(refused("precision for type float must be at least 1 bit")),
            Some(..=REAL_BITS_MAX) => Ok(Name::of("float4")),
            None | Some(..=DOUBLE_BITS_MAX) => Ok(Name::of("float8")),
            Some(_) => Err(refused("precision for type float must be less than 54 bits")),
        }
    }

    fn character(&mut self) -> Result<Name> {
        let name = Name::of(if self.take("varying") { "varchar" } else { "bpchar" });
        Ok(name.with_length(self.length()?))
    }

    fn time(&mut self, keyword: &str) -> Result<Name> {
        let digits = self.length()?;
        let next = self.tokens.get(self.at + 1).and_then(|token| token.word.as_deref());
        let with = matches!(self.keyword(), Some("with")) && next == Some("time");
        if with || self.keyword() == Some("without") {
            self.at += 1;
            for word in ["time", "zone"] {
                let is_there = self.take(word);
                self.require(is_there)?;
            }
        }
        let name = match (keyword, with) {
            ("time", true) => Name { shown: "time with time zone".to_owned(), ..Name::of("timetz") },
            (_, true) => Name::of("timestamptz"),
            (plain, false) => Name::of(plain),
        };
        Ok(name.with_length(digits))
    }

    /// An interval with a range of fields, or with digits of its seconds.
    fn interval(&mut self) -> Result<Name> {
        let name = Name::of("interval");
        let ends: &[&str] = match self.keyword() {
            Some("year") => &["month"],
            Some("day") => &["hour", "minute", "second"],
            Some("hour") => &["minute", "second"],
            Some("minute") => &["second"],
            Some("month") => &[],
            Some("second") => {
                self.at += 1;
                return Ok(name.with_length(self.length()?));
            }
            _ => return Ok(name.with_length(self.length()?)),
        };
        self.at += 1;
        if !ends.is_empty() && self.take("to") {
            let end = self.keyword().filter(|end| ends.contains(end)).ok_or_else(|| self.unexpected())?;
            self.at += 1;
            if end == "second" {
                return Ok(name.with_length(self.length()?));
            }
        }
        Ok(name)
    }

    /// A name of pg_type, perhaps with its schema, and its modifiers.
    fn generic_name(&mut self) -> Result<Name> {
        let mut parts = Vec::new();
        loop {
            // The word ANY is no name, "any" is one.
            let is_name = self.keyword() != Some("any");
            let word = self.peek().and_then(|token| token.word.clone()).filter(|_| is_name);
            let word = word.ok_or_else(|| self.unexpected())?;
            self.at += 1;
            parts.push(word);
            if !self.take_character(".") {
                break;
            }
        }
        let modifiers = self.modifiers()?;
        let shown = parts.join(".");
        let catalogue = match parts.as_slice() {
            [name] => Some(name.clone()),
            [schema, name] if schema == "pg_catalog" => Some(name.clone()),
            _ => None,
        };
        Ok(Name { shown, catalogue, modifiers })
    }

    /// `(a, b)` behind a name: numbers, names or strings.
    fn modifiers(&mut self) -> Result<Vec<String>> {
        let mut modifiers = Vec::new();
        if !self.take_character("(") {
            return Ok(modifiers);
        }
        loop {
            let sign = if self.take_character("-") { "-" } else { "" };
            let token = self.peek().ok_or_else(|| self.unexpected())?;
            let is_plain =
                token.word.is_some() || token.written.starts_with(|c: char| c == '\'' || c.is_ascii_digit());
            self.require(is_plain)?;
            self.at += 1;
            let text = token.word.as_deref().unwrap_or(token.written).trim_matches('\'');
            modifiers.push(format!("{sign}{text}"));
            match self.next().map(|token| token.written) {
                Some(",") => {}
                Some(")") => return Ok(modifiers),
                Some(_) => {
                    let message = "type modifiers must be simple constants or identifiers";
                    return Err(Error::new(SqlState::SYNTAX_ERROR, message));
                }
                None => return Err(self.unexpected()),
            }
        }
    }

    /// Whether `[]`, `[3]`, `array` or `array[3]` follows, as often as it likes.
    fn array_bounds(&mut self) -> Result<bool> {
        let mut is_array = self.take("array");
        let once = is_array;
        while self.take_character("[") {
            let is_number = self.peek().is_some_and(|token| token.number::<i32>().is_some());
            self.require(is_number || !once)?;
            self.at += usize::from(is_number);
            self.require_character("]")?;
            is_array = true;
            if once {
                break;
            }
        }
        Ok(is_array)
    }
}
