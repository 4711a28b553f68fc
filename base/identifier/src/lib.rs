//! Identifiers of SQL as text: the one place that says which need quotes.
//!
//! Owns PostgreSQL's rule (quote_identifier) and its table of key words. Knows no grammar and no catalogue.

mod key_words;

pub use key_words::{KEY_WORDS, KeyWord, KeyWordKind};

/// An identifier as SQL must write it, in quotes only where it needs them: PostgreSQL's quote_identifier.
pub fn quote(name: &str) -> String {
    if needs_quotes(name) { quote_always(name) } else { name.to_owned() }
}

/// An identifier in quotes whatever it is, for commands whose grammars have key words of their own.
pub fn quote_always(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Whether an identifier means something else without quotes: it is no plain lower-case word, or a key word
/// that may not stand for every name.
pub fn needs_quotes(name: &str) -> bool {
    let plain = name.starts_with(|first: char| first.is_ascii_lowercase() || first == '_')
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    !plain || key_word(name).is_some_and(|known| known.kind != KeyWordKind::Unreserved)
}

/// Whether this word, without quotes and in any case, is none that may name a table or a column: a key word
/// that is reserved, or that may name functions and types alone.
pub fn is_reserved(word: &str) -> bool {
    key_word(word).is_some_and(|known| matches!(known.kind, KeyWordKind::Reserved | KeyWordKind::Type))
}

/// Whether this word, without quotes and in any case, may name nothing at all.
pub fn is_reserved_everywhere(word: &str) -> bool {
    key_word(word).is_some_and(|known| matches!(known.kind, KeyWordKind::Reserved))
}

/// The key word that this word is, in any case.
fn key_word(word: &str) -> Option<&'static KeyWord> {
    let in_order =
        |known: &KeyWord| known.word.bytes().cmp(word.bytes().map(|byte| byte.to_ascii_lowercase()));
    KEY_WORDS.get(KEY_WORDS.binary_search_by(in_order).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_words_are_in_order() {
        assert!(KEY_WORDS.is_sorted_by_key(|known| known.word));
    }

    #[test]
    fn reserved_words_name_no_columns() {
        for word in ["select", "SELECT", "User", "left", "all", "notnull"] {
            assert!(is_reserved(word), "{word}");
        }
        for word in ["", "t", "time", "VALUES", "name", "selects", "over", "zone"] {
            assert!(!is_reserved(word), "{word}");
        }
    }

    /// `select quote_ident(...)` in PostgreSQL 15.
    #[test]
    fn names_are_quoted_as_postgresql_quotes_them() {
        for plain in ["t", "_x", "a1_b", "name", "value", "text", "date", "abort", "key", "type", "user_name"]
        {
            assert_eq!(quote(plain), plain);
        }
        for (name, quoted) in [
            ("order", "\"order\""),
            ("user", "\"user\""),
            ("left", "\"left\""),
            ("between", "\"between\""),
            ("timestamp", "\"timestamp\""),
            ("", "\"\""),
            ("1a", "\"1a\""),
            ("Big", "\"Big\""),
            ("a b", "\"a b\""),
            ("a$b", "\"a$b\""),
            ("\u{e4}", "\"\u{e4}\""),
            ("a\"b", "\"a\"\"b\""),
        ] {
            assert_eq!(quote(name), quoted);
        }
    }
}
