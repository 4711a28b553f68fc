//! Comma-separated lists of names, as search_path and its kin hold them.

/// The blanks of SQL.
const fn is_blank(c: char) -> bool {
    c.is_ascii_whitespace()
}

/// The elements of a list of identifiers: folded to lower case unless quoted. None if the list is malformed.
pub fn split_identifiers(text: &str) -> Option<Vec<String>> {
    let mut names = Vec::new();
    let mut rest = text.trim_matches(is_blank);
    if rest.is_empty() {
        return Some(names);
    }
    loop {
        rest = rest.trim_start_matches(is_blank);
        let mut name = String::new();
        if let Some(mut quoted) = rest.strip_prefix('"') {
            loop {
                let (part, after) = quoted.split_once('"')?;
                name.push_str(part);
                match after.strip_prefix('"') {
                    Some(more) => {
                        name.push('"');
                        quoted = more;
                    }
                    None => {
                        rest = after;
                        break;
                    }
                }
            }
        } else {
            let end = rest.find(|c: char| c == ',' || is_blank(c)).unwrap_or(rest.len());
            let (plain, after) = rest.split_at_checked(end)?;
            if plain.is_empty() {
                return None;
            }
            name = plain.to_ascii_lowercase();
            rest = after;
        }
        names.push(name);
        rest = rest.trim_start_matches(is_blank);
        if rest.is_empty() {
            return Some(names);
        }
        rest = rest.strip_prefix(',')?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_fold_plain_names_and_keep_quoted_ones() {
        let split = |text| split_identifiers(text).map(|names| names.join("|"));
        assert_eq!(split("\"$user\", Public").as_deref(), Some("$user|public"));
        assert_eq!(split("a,\"B \"\"c\"\"\"").as_deref(), Some("a|B \"c\""));
        assert_eq!(split("").as_deref(), Some(""));
        // As set_config('search_path', ..) of PostgreSQL 15 takes them.
        assert_eq!(split("a\"B\"").as_deref(), Some("a\"b\""));
        assert_eq!(split("ÄB, a\u{a0}b,a\u{b}b ,\u{a0}").as_deref(), Some("Äb|a\u{a0}b|a\u{b}b|\u{a0}"));
        for bad in ["a,", ",a", "\"a", "a b", "\"a\" b"] {
            assert_eq!(split(bad), None, "{bad}");
        }
    }
}
