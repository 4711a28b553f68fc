//! Long texts made short for the grammar: of parts that are written alike, one behind the other, it is shown
//! the first ones only.

use super::plain::Plain;
use identifier::is_reserved;
use std::hash::{DefaultHasher, Hash, Hasher};

/// So many items of one form stay: nothing in the grammar counts further.
const ALIKE_MAX: usize = 8;

/// What begins another part of a list or a chain.
const BEGINNINGS: [&str; 5] = [",", "when", "and", "or", "union"];

/// A list, or what stands between parentheses.
struct List {
    /// The present item: how many tokens were kept before it, and the form of its tokens.
    begins: usize,
    item: DefaultHasher,
    is_empty: bool,
    /// The form of the item before, and how many had it in a row.
    last: Option<u64>,
    alike: usize,
    /// The forms of all items.
    all: DefaultHasher,
}

impl List {
    fn new(begins: usize) -> Self {
        Self {
            begins,
            item: DefaultHasher::new(),
            is_empty: true,
            last: None,
            alike: 0,
            all: DefaultHasher::new(),
        }
    }

    fn add(&mut self, form: impl Hash) {
        form.hash(&mut self.item);
        self.is_empty = false;
    }

    /// Ends an item; one of too many that are alike is taken out of what was kept.
    fn end_item(&mut self, kept: &mut Vec<usize>) {
        let form = self.item.finish();
        if self.last == Some(form) {
            self.alike += 1;
        } else {
            (self.last, self.alike) = (Some(form), 1);
            form.hash(&mut self.all);
        }
        if self.alike > ALIKE_MAX {
            kept.truncate(self.begins);
        }
        (self.begins, self.is_empty) = (kept.len(), true);
        self.item = DefaultHasher::new();
    }
}

/// What tells tokens (in lower case) apart: constants are all alike, and so are names.
fn form(token: &str) -> &str {
    let is_constant = token.ends_with('\'')
        || token.starts_with(|first: char| first.is_ascii_digit() || first == '$')
        || ["null", "true", "false"].contains(&token);
    if is_constant {
        return "1";
    }
    let is_word = token.starts_with(|first: char| first.is_ascii_alphabetic() || matches!(first, '_' | '"'));
    if is_word && !is_reserved(token) { "x" } else { token }
}

/// The text with the first parts of each run of alike ones.
pub(super) fn shortened(plain: &Plain) -> Plain {
    let mut kept = Vec::new();
    let mut lists = vec![List::new(0)];
    for at in 0..plain.tokens() {
        let token = plain.token(at).trim_end().to_ascii_lowercase();
        let depth = lists.len();
        let Some(list) = lists.last_mut() else { break };
        match token.as_str() {
            "(" | "[" => {
                list.add(&token);
                kept.push(at);
                lists.push(List::new(kept.len()));
            }
            ")" | "]" if depth > 1 => {
                list.end_item(&mut kept);
                let inside = list.all.finish();
                kept.push(at);
                lists.pop();
                if let Some(around) = lists.last_mut() {
                    around.add(inside);
                }
            }
            begins if BEGINNINGS.contains(&begins) => {
                list.end_item(&mut kept);
                begins.hash(&mut list.item);
                kept.push(at);
            }
            // The sign of a number.
            "-" | "+" if list.is_empty => kept.push(at),
            other => {
                list.add(form(other));
                kept.push(at);
            }
        }
    }
    plain.with_tokens(&kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short(text: &str) -> String {
        shortened(&Plain::of(text)).text
    }

    #[test]
    fn long_lists_of_alike_items_become_short_and_others_stay() {
        let rows = |count: usize| vec!["(1, -2, 'three', null)"; count].join(", ");
        let insert = |count: usize| format!("insert into t (a, b, c, d) values {} returning a", rows(count));
        // The first one and the last one have more about them.
        assert_eq!(short(&insert(1000)), short(&insert(ALIKE_MAX + 2)));
        assert_eq!(short(&insert(3)), Plain::of(&insert(3)).text);
        let list = |count: usize| format!("select a in ({}1) from t", "1, ".repeat(count));
        assert_eq!(short(&list(5000)), short(&list(20)));
        let case = |count: usize| format!("select case a {}end", "when 1 then 'x' ".repeat(count));
        assert_eq!(short(&case(5000)), short(&case(20)));
        let tables: Vec<String> = (0..100).map(|number| format!("public.t{number}")).collect();
        let drop = short(&format!("drop table {}", tables.join(", ")));
        assert!(drop.starts_with("drop table public.t0, ") && drop.ends_with("t8, public.t99"), "{drop}");
    }

    #[test]
    fn what_is_wrong_in_one_item_is_shown() {
        let text = format!("select {}2 +, {}3", "1, ".repeat(30), "1, ".repeat(30));
        assert!(short(&text).contains("2 +,"), "{}", short(&text));
        let places = shortened(&Plain::of(&text));
        let at = places.text.find("2 +").unwrap();
        assert_eq!(places.place(at).map(|(start, _)| start), text.find("2 +"));
    }
}
