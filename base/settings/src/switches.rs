//! The switches of one letter that PostgreSQL's server program has for settings. Its command line has them,
//! and so have the `options` of a client's startup message.

use std::borrow::Cow;

/// What a switch sets, in order: names and values.
pub type Switched<'v> = Vec<(&'static str, Cow<'v, str>)>;

/// Whether a switch takes a value; None if there is no such switch. Those that set nothing are not in here.
pub const fn takes_value(letter: char) -> Option<bool> {
    match letter {
        'F' | 'i' | 'l' | 'e' | 'O' | 'P' | 's' => Some(false),
        'p' | 'h' | 'k' | 'B' | 'N' | 'S' | 'W' | 'f' | 't' | 'd' => Some(true),
        _ => None,
    }
}

/// What a switch sets; None if it is none, or has no such value. `value` counts for those that take one.
pub fn switched(letter: char, value: &str) -> Option<Switched<'_>> {
    if letter == 'd' {
        return Some(debug(value));
    }
    let given = Cow::Borrowed(value);
    let one = match letter {
        'F' => ("fsync", "off".into()),
        'i' => ("listen_addresses", "*".into()),
        'l' => ("ssl", "on".into()),
        'e' => ("datestyle", "iso, dmy".into()),
        'O' => ("allow_system_table_mods", "on".into()),
        'P' => ("ignore_system_indexes", "on".into()),
        's' => ("log_statement_stats", "on".into()),
        'p' => ("port", given),
        'h' => ("listen_addresses", given),
        'k' => ("unix_socket_directories", given),
        'B' => ("shared_buffers", given),
        'N' => ("max_connections", given),
        'S' => ("work_mem", given),
        'W' => ("post_auth_delay", given),
        'f' => (kind_of_plan(value)?, "off".into()),
        't' => (statistics(value)?, "on".into()),
        _ => return None,
    };
    Some(vec![one])
}

/// Messages of this level are logged; what is not a number counts as 0.
fn debug(level: &str) -> Switched<'_> {
    let is_off = level.parse::<u8>().unwrap_or(0) == 0;
    let messages = if is_off { "notice".into() } else { format!("debug{level}").into() };
    vec![("log_min_messages", messages)]
}

fn kind_of_plan(letter: &str) -> Option<&'static str> {
    Some(match letter {
        "s" => "enable_seqscan",
        "i" => "enable_indexscan",
        "o" => "enable_indexonlyscan",
        "b" => "enable_bitmapscan",
        "t" => "enable_tidscan",
        "n" => "enable_nestloop",
        "m" => "enable_mergejoin",
        "h" => "enable_hashjoin",
        _ => return None,
    })
}

fn statistics(word: &str) -> Option<&'static str> {
    Some(match word {
        "pa" | "parser" => "log_parser_stats",
        "pl" | "planner" => "log_planner_stats",
        "e" | "ex" | "executor" => "log_executor_stats",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_switch_sets_what_is_a_setting() {
        for letter in (0..128_u8).map(char::from) {
            let value = match letter {
                'f' => "s",
                't' => "ex",
                _ => "3",
            };
            let found = switched(letter, value);
            assert_eq!(found.is_some(), takes_value(letter).is_some(), "{letter}");
            for (name, _) in found.into_iter().flatten() {
                assert!(crate::find(name).is_some(), "{name}");
            }
        }
        assert_eq!((switched('f', "q"), switched('t', "")), (None, None));
    }
}
