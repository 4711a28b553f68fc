//! Scripts for psql, split into the messages that psql would send.

use std::collections::HashMap;

/// psql's commands that send what was typed so far.
const SENDING: [&str; 7] = ["g", "gx", "gset", "gexec", "gdesc", "crosstabview", "watch"];

/// A message and the line on which it begins.
#[derive(Debug, PartialEq, Eq)]
pub struct Message {
    /// What psql sends.
    pub text: String,
    /// From 1.
    pub line: usize,
}

/// The messages of a script: at semicolons outside quotes, comments, parentheses and BEGIN ATOMIC bodies, and
/// at commands such as `\gset`; `\;` only separates statements of one message. Other commands of psql, and
/// data of COPY, are left out; both branches of an `\if` are taken.
pub fn messages(script: &str) -> Vec<Message> {
    let mut splitter = Splitter {
        rest: script,
        line: 1,
        now: Pending::default(),
        variables: HashMap::new(),
        made: Vec::new(),
    };
    while !splitter.rest.is_empty() {
        splitter.step();
    }
    splitter.send();
    splitter.made
}

/// A message that is not complete.
#[derive(Default)]
struct Pending {
    text: String,
    /// The line of its first word; 0 before that.
    line: usize,
    parentheses: usize,
    /// BEGIN and CASE without END in the body of a function.
    bodies: usize,
    /// Its first unquoted words, in lower case.
    words: Vec<String>,
}

struct Splitter<'a> {
    rest: &'a str,
    line: usize,
    now: Pending,
    variables: HashMap<String, String>,
    made: Vec<Message>,
}

/// The length of a word as of an identifier at the beginning of the text.
fn word_length(text: &str) -> usize {
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '$' || !c.is_ascii();
    match text.chars().next() {
        Some(first) if is_part(first) && first != '$' => text.find(|c| !is_part(c)).unwrap_or(text.len()),
        _ => 0,
    }
}

/// The length of a quoted text with its quotes; up to the end if it is not closed.
fn quoted_length(text: &str, quote: char, escapes: bool) -> usize {
    let mut after_backslash = false;
    for (at, c) in text.char_indices().skip(1) {
        if after_backslash {
            after_backslash = false;
        } else if escapes && c == '\\' {
            after_backslash = true;
        } else if c == quote {
            // A doubled quote begins another quoted text at once, which comes to the same.
            return at + 1;
        }
    }
    text.len()
}

/// The length of a comment in slashes and stars, which nest.
fn comment_length(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < text.len() {
        let here = &text[at..];
        if here.starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if here.starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += here.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// The length of a text between dollars, if one begins here.
fn dollar_length(text: &str) -> Option<usize> {
    let tag = text[1..].find('$').filter(|end| word_length(&text[1..1 + end]) == *end)?;
    let quote = text.get(..tag + 2)?;
    (quote.ends_with('$') && !quote[1..].starts_with(|c: char| c.is_ascii_digit())).then(|| {
        let inside = &text[quote.len()..];
        inside.find(quote).map_or(text.len(), |end| end + 2 * quote.len())
    })
}

impl Splitter<'_> {
    /// Takes so many bytes into the message.
    fn take(&mut self, length: usize) {
        let taken = self.skip(length);
        self.now.text.push_str(&taken);
    }

    fn skip(&mut self, length: usize) -> String {
        let (taken, rest) = self.rest.split_at(length);
        self.line += taken.matches('\n').count();
        self.rest = rest;
        taken.to_owned()
    }

    fn line_length(&self) -> usize {
        self.rest.find('\n').unwrap_or(self.rest.len())
    }

    fn step(&mut self) {
        let rest = self.rest;
        let mut characters = rest.chars();
        let (Some(first), second) = (characters.next(), characters.next()) else { return };
        if first.is_whitespace() || rest.starts_with("--") || rest.starts_with("/*") {
            let length = match first {
                '-' => self.line_length(),
                '/' => comment_length(rest),
                _ => first.len_utf8(),
            };
            return self.take(length);
        }
        if first == '\\' && second != Some(';') {
            return self.command();
        }
        if self.now.line == 0 {
            self.now.line = self.line;
        }
        match (first, second) {
            ('\\', _) => {
                self.skip(1);
                self.take(1);
            }
            ('\'', _) => self.take(quoted_length(rest, '\'', false)),
            ('"', _) => self.take(quoted_length(rest, '"', false)),
            ('e' | 'E', Some('\'')) => {
                self.take(1);
                self.take(quoted_length(self.rest, '\'', true));
            }
            ('$', _) => self.take(dollar_length(rest).unwrap_or(1)),
            (':', Some(':')) => self.take(2),
            (':', _) => self.variable(),
            (';', _) if self.now.parentheses == 0 && self.now.bodies == 0 => {
                self.skip(1);
                let copies = self.copies_from_stdin();
                self.send();
                if copies {
                    self.skip(self.line_length());
                    self.skip_data();
                }
            }
            _ => {
                match first {
                    '(' => self.now.parentheses += 1,
                    ')' => self.now.parentheses = self.now.parentheses.saturating_sub(1),
                    _ => {}
                }
                let word = word_length(rest);
                self.note_word(&rest[..word]);
                self.take(if word == 0 { first.len_utf8() } else { word });
            }
        }
    }

    fn note_word(&mut self, word: &str) {
        if word.is_empty() {
            return;
        }
        let word = word.to_lowercase();
        let words: Vec<&str> = self
            .now
            .words
            .iter()
            .map(String::as_str)
            .filter(|word| !["or", "replace"].contains(word))
            .collect();
        if let ["create", "function" | "procedure", ..] = words[..] {
            match word.as_str() {
                "begin" => self.now.bodies += 1,
                "case" if self.now.bodies > 0 => self.now.bodies += 1,
                "end" => self.now.bodies = self.now.bodies.saturating_sub(1),
                _ => {}
            }
        }
        self.now.words.push(word);
    }

    fn copies_from_stdin(&self) -> bool {
        let words = &self.now.words;
        words.first().is_some_and(|word| word == "copy")
            && words.windows(2).any(|pair| pair[0] == "from" && pair[1] == "stdin")
    }

    /// Leaves out the lines up to the one that ends COPY's data.
    fn skip_data(&mut self) {
        while !self.rest.is_empty() {
            self.skip((self.line_length() + 1).min(self.rest.len()));
            if self.rest.lines().next().is_some_and(|line| line.trim_end() == "\\.") {
                break;
            }
        }
        self.skip(self.line_length());
    }

    fn send(&mut self) {
        let pending = std::mem::take(&mut self.now);
        if pending.line > 0 {
            self.made.push(Message { text: pending.text, line: pending.line });
        }
    }

    /// A command of psql, up to the end of its line.
    fn command(&mut self) {
        let length = self.line_length();
        let line = self.skip(length);
        let name = &line[1..1 + word_length(&line[1..])];
        if SENDING.contains(&name) {
            self.send();
        } else if name == "r" {
            self.now = Pending::default();
        } else if name == "set" {
            let (name, value) = line[4..].trim().split_once(' ').unwrap_or_default();
            let value = self.value(value.trim());
            self.variables.insert(name.to_owned(), value);
        } else if name == "copy" && line.to_lowercase().contains("from stdin") {
            self.skip_data();
        }
    }

    /// The value that `\set` gives: its parts, in quotes or not or variables, one right after the other.
    fn value(&self, mut parts: &str) -> String {
        let mut value = String::new();
        while let Some(first) = parts.chars().next() {
            let length = match first {
                '\'' => quoted_length(parts, '\'', false),
                _ => parts.find([' ', '\'']).unwrap_or(parts.len()).max(1),
            };
            let (part, rest) = parts.split_at(length);
            match part.strip_prefix(':') {
                Some(name) => value.extend(self.variables.get(name).map(String::as_str)),
                None if first == '\'' => value.push_str(part.trim_matches('\'')),
                None => value.push_str(part.trim_end()),
            }
            // A doubled quote is one inside a quoted part.
            if first == '\'' && rest.starts_with('\'') {
                value.push('\'');
            }
            parts = rest;
        }
        value
    }

    /// `:name`, `:'name'` or `:"name"` of a variable that was set; else only the colon.
    fn variable(&mut self) {
        let after = &self.rest[1..];
        let quote = after.chars().next().filter(|c| matches!(c, '\'' | '"'));
        let inside = if quote.is_some() { &after[1..] } else { after };
        let length = word_length(inside);
        let closes = quote.is_none_or(|quote| inside[length..].starts_with(quote));
        let value = closes.then(|| self.variables.get(&inside[..length]).cloned()).flatten();
        let Some(value) = value else { return self.take(1) };
        self.skip(1 + length + if quote.is_some() { 2 } else { 0 });
        match quote {
            Some(quote) => {
                let doubled = value.replace(quote, &format!("{quote}{quote}"));
                self.now.text.push_str(&format!("{quote}{doubled}{quote}"));
            }
            None => self.now.text.push_str(&value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::messages;

    fn texts(script: &str) -> Vec<String> {
        messages(script).into_iter().map(|message| message.text.trim().to_owned()).collect()
    }

    #[test]
    fn semicolons_end_messages_outside_quotes_comments_parentheses_and_bodies_alone() {
        assert_eq!(
            texts("select ';', \";\", $a$;$a$, e'\\';' -- ;\n /* ; /* ; */ */ ; select 2"),
            ["select ';', \";\", $a$;$a$, e'\\';' -- ;\n /* ; /* ; */ */", "select 2"]
        );
        assert_eq!(texts("create rule r as (select 1; select 2); select 3").len(), 2);
        let function =
            "create or replace function f() returns int begin atomic select case when true then 1 end; end";
        assert_eq!(texts(&format!("{function}; begin; end;")), [function, "begin", "end"]);
    }

    #[test]
    fn commands_of_psql_and_data_of_copy_are_left_out() {
        assert_eq!(
            texts("\\d t\nselect 1 \\gset x_\nselect 2\\;select 3;"),
            ["select 1", "select 2;select 3"]
        );
        assert_eq!(
            texts("copy t from stdin;\n1\ta;b\n\\.\nselect 1;\ncopy t to stdout;\nselect 2;"),
            ["copy t from stdin", "select 1", "copy t to stdout", "select 2"]
        );
    }

    #[test]
    fn variables_stand_for_what_was_set() {
        assert_eq!(
            texts("\\set a :b 'x''y z' w\nselect :a, :'a', :\"a\", :c, b::a, '{1:a}'"),
            ["select x'y zw, 'x''y zw', \"x'y zw\", :c, b::a, '{1:a}'"]
        );
    }
}
