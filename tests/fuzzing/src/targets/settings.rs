//! Settings: a configuration file, and each value by its definition.

use crate::Target;
use settings::{FileContents, SampleValues, Value, definitions, quote, sample_file, split_identifiers};
use std::path::Path;

/// Configuration files.
pub const SETTINGS: Target = Target {
    name: "settings",
    inputs: || {
        let sample = sample_file(&SampleValues::default()).replace("\n#", "\n");
        let mut inputs: Vec<Vec<u8>> = sample.lines().map(|line| line.as_bytes().to_vec()).collect();
        inputs.extend(
            [
                "a = 'it''s'\nb 5\nc=on # x\n",
                "include 'x'\ninclude_if_exists y\ninclude_dir z",
                "work_mem = 1.5GB\nwal_writer_delay='10 ms'\nlog_min_messages = debug5",
                "search_path = '\"$user\", public'",
                "plimsoll.x = 0x10\nx.y.z = -017",
            ]
            .map(|text| text.as_bytes().to_vec()),
        );
        inputs
    },
    words: &[
        "=",
        "'",
        "''",
        "\\'",
        "#",
        "\n",
        "include",
        "on",
        "off",
        "default",
        "kB",
        "MB",
        "TB",
        "ms",
        "min",
        "d",
        "0x",
        "1e3",
        "-1",
        "NaN",
        "\"$user\"",
        ",",
        "FIRST 2 (a, b)",
        "ANY 1 (*)",
        "work_mem",
        "log_line_prefix",
        "synchronous_standby_names",
    ],
    memory_bytes: 256 << 10,
    memory_factor: 512,
    open: || {
        Box::new(|input| {
            let Ok(text) = std::str::from_utf8(input) else { return };
            let contents = FileContents::from_text(text, Path::new("postgresql.conf"));
            for entry in &contents.entries {
                let Some(definition) = settings::find(&entry.name) else { continue };
                check(definition, &entry.value);
                let line = format!("{} = {}\n", entry.name, quote(&entry.value));
                let again = FileContents::from_text(&line, Path::new("x"));
                let read: Vec<&str> = again.entries.iter().map(|entry| entry.value.as_str()).collect();
                if again.errors.is_empty() {
                    assert_eq!(read, [entry.value.as_str()], "a quoted value changes");
                }
            }
            // Any text as the value of some setting.
            let at = input.iter().map(|byte| usize::from(*byte)).sum::<usize>() % definitions().len();
            check(definitions()[at], text);
            let _ = split_identifiers(text);
        })
    },
};

/// What is taken as a value is shown as a text that means the same.
fn check(definition: &settings::Definition, text: &str) {
    if let Ok(value) = Value::parse(definition, text) {
        let shown = value.show(definition);
        let again = Value::parse(definition, &shown);
        let same = match (&again, &value) {
            // Six digits are shown.
            (Ok(Value::Real(again)), Value::Real(value)) => (again - value).abs() <= value.abs() * 1e-5,
            (Ok(again), value) => again == value,
            (Err(_), _) => false,
        };
        assert!(same, "{}: {text:?} is shown as {shown:?}", definition.name);
    }
}
