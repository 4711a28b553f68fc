//! The switches of one letter that PostgreSQL's server program has for settings. Its command line has them,
//! and so have the `options` of a client's startup message.

use std::iter;

/// A switch that sets something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// A setting, to this value.
    Sets(&'static str, &'static str),
    /// A setting, to the value that is given.
    Takes(&'static str),
    /// A kind of plan, by its first letter: off.
    Plan,
    /// Statistics of a part of the work, by its first letters: on.
    Statistics,
    /// A level of debugging.
    Debug,
}

/// Who has given a switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SwitchedBy {
    /// The command line of a server.
    Server,
    /// A client, for its session.
    Client,
}

/// Kinds of plans, by their letters.
const PLANS: [(char, &str); 8] = [
    ('s', "enable_seqscan"),
    ('i', "enable_indexscan"),
    ('o', "enable_indexonlyscan"),
    ('b', "enable_bitmapscan"),
    ('t', "enable_tidscan"),
    ('n', "enable_nestloop"),
    ('m', "enable_mergejoin"),
    ('h', "enable_hashjoin"),
];
/// Parts of the work, by what their words begin with.
const STATISTICS: [(&str, &str); 3] =
    [("pa", "log_parser_stats"), ("pl", "log_planner_stats"), ("e", "log_executor_stats")];
/// What is logged from a level of debugging on, and whether a server's command line alone says so.
const DEBUG: [(i32, &str, &str, bool); 6] = [
    (1, "log_connections", "on", true),
    (1, "log_disconnections", "on", true),
    (2, "log_statement", "all", false),
    (3, "debug_print_parse", "on", false),
    (4, "debug_print_plan", "on", false),
    (5, "debug_print_rewritten", "on", false),
];

/// The switch of this letter. Those that set nothing are not in here.
pub const fn switch(letter: char) -> Option<Switch> {
    Some(match letter {
        'F' => Switch::Sets("fsync", "off"),
        'i' => Switch::Sets("listen_addresses", "*"),
        'l' => Switch::Sets("ssl", "on"),
        'e' => Switch::Sets("datestyle", "iso, dmy"),
        'O' => Switch::Sets("allow_system_table_mods", "on"),
        'P' => Switch::Sets("ignore_system_indexes", "on"),
        's' => Switch::Sets("log_statement_stats", "on"),
        'p' => Switch::Takes("port"),
        'h' => Switch::Takes("listen_addresses"),
        'k' => Switch::Takes("unix_socket_directories"),
        'B' => Switch::Takes("shared_buffers"),
        'N' => Switch::Takes("max_connections"),
        'S' => Switch::Takes("work_mem"),
        'W' => Switch::Takes("post_auth_delay"),
        'f' => Switch::Plan,
        't' => Switch::Statistics,
        'd' => Switch::Debug,
        _ => return None,
    })
}

impl Switch {
    /// Whether a value follows.
    pub const fn takes_value(self) -> bool {
        !matches!(self, Self::Sets(..))
    }

    /// Names and values that it sets, in order; None if it has no such value. `value` counts for those that
    /// take one.
    pub fn settings(self, value: &str, by: SwitchedBy) -> Option<Vec<(String, String)>> {
        let (name, value) = match self {
            Self::Sets(name, fixed) => (name, fixed),
            Self::Takes(name) => (name, value),
            Self::Plan => (PLANS.iter().find(|(letter, _)| value.starts_with(*letter))?.1, "off"),
            Self::Statistics => (STATISTICS.iter().find(|(word, _)| value.starts_with(word))?.1, "on"),
            Self::Debug => return Some(debug(leading_number(value), by)),
        };
        Some(vec![(name.to_owned(), value.to_owned())])
    }
}

/// Messages of this level are logged, and from level to level more.
fn debug(level: i32, by: SwitchedBy) -> Vec<(String, String)> {
    let messages = if level > 0 { format!("debug{level}") } else { "notice".to_owned() };
    let more = DEBUG
        .iter()
        .filter(|(from, .., is_servers)| level >= *from && (by == SwitchedBy::Server || !is_servers));
    let more = more.map(|(_, name, value, _)| ((*name).to_owned(), (*value).to_owned()));
    iter::once(("log_min_messages".to_owned(), messages)).chain(more).collect()
}

/// The number that a text begins with, as C's atoi reads it: 0 if there is none.
fn leading_number(text: &str) -> i32 {
    let text = text.trim_ascii_start();
    let (sign, digits) = match text.as_bytes().first() {
        Some(b'-') => (-1, &text[1..]),
        Some(b'+') => (1, &text[1..]),
        _ => (1, text),
    };
    let digits = digits.bytes().map_while(|byte| char::from(byte).to_digit(10));
    digits.fold(0_i32, |number, digit| number.saturating_mul(10).saturating_add_unsigned(digit)) * sign
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(letter: char, value: &str, by: SwitchedBy) -> Option<String> {
        let settings = switch(letter)?.settings(value, by)?;
        Some(settings.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn each_switch_sets_what_is_a_setting() {
        let letters = (0..128_u8).map(char::from);
        let switches: Vec<Switch> = letters.filter_map(switch).collect();
        assert_eq!(switches.len(), 17);
        let values = PLANS.iter().map(|(letter, _)| letter.to_string());
        let values = values.chain(STATISTICS.iter().map(|(word, _)| (*word).to_owned()));
        for value in values.chain(["5".to_owned()]) {
            let set = switches.iter().filter_map(|switch| switch.settings(&value, SwitchedBy::Server));
            for (name, _) in set.flatten() {
                assert!(crate::find(&name).is_some(), "{name}");
            }
        }
    }

    /// As PostgreSQL 15 takes each of these.
    #[test]
    fn what_counts_of_a_value_is_how_it_begins() {
        let client = |letter, value| set(letter, value, SwitchedBy::Client);
        for (letter, value, expected) in [
            ('f', "sx", Some("enable_seqscan=off")),
            ('f', "q", None),
            ('f', "", None),
            ('t', "pax", Some("log_parser_stats=on")),
            ('t', "executor", Some("log_executor_stats=on")),
            ('t', "p", None),
            ('d', "x", Some("log_min_messages=notice")),
            ('d', "-4", Some("log_min_messages=notice")),
            (
                'd',
                "300",
                Some(
                    "log_min_messages=debug300 log_statement=all debug_print_parse=on \
                               debug_print_plan=on debug_print_rewritten=on",
                ),
            ),
            ('d', " +3x", Some("log_min_messages=debug3 log_statement=all debug_print_parse=on")),
            ('d', "99999999999", client('d', "2147483647").as_deref()),
            ('d', "05", client('d', "5").as_deref()),
            ('q', "", None),
        ] {
            assert_eq!(client(letter, value).as_deref(), expected, "-{letter} {value}");
        }
        let expected = "log_min_messages=debug1 log_connections=on log_disconnections=on";
        assert_eq!(set('d', "1", SwitchedBy::Server).as_deref(), Some(expected));
    }
}
