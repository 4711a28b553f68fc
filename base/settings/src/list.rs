//! Comma-separated lists of names, as search_path and its kin hold them.

/// The elements of a list of identifiers: folded to lower case unless quoted. None if the list is malformed.
pub fn split_identifiers(text: &str) -> Option<Vec<String>> {
    let mut names = Vec::new();
    let mut rest = text.trim();
    if rest.is_empty() {
        return Some(names);
    }
    loop {
        rest = rest.trim_start();
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
            let end = rest.find(|c: char| c == ',' || c.is_ascii_whitespace()).unwrap_or(rest.len());
            let (plain, after) = rest.split_at_checked(end)?;
            if plain.is_empty() || plain.contains('"') {
                return None;
            }
            name = plain.to_lowercase();
            rest = after;
        }
        names.push(name);
        rest = rest.trim_start();
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
        for bad in ["a,", ",a", "\"a", "a b", "a\"b\""] {
            assert_eq!(split(bad), None, "{bad}");
        }
    }
}
