//! EXPLAIN (FORMAT TEXT): a line an operator, indented as PostgreSQL does it.

use super::tree::Operator;
use super::{Explained, Timing, milliseconds};
use identifier::quote;
use sql_language::plan::Observed;

/// All lines.
pub(super) fn lines(explained: &Explained) -> Vec<String> {
    let mut lines = Vec::new();
    describe(&explained.root, 0, explained, &mut lines);
    if let Some(settings) = explained.settings.as_ref().filter(|settings| !settings.is_empty()) {
        let shown = settings.iter().map(|(name, value)| format!("{name} = '{value}'"));
        lines.push(format!("Settings: {}", shown.collect::<Vec<_>>().join(", ")));
    }
    if let Some(time) = explained.planning {
        lines.push(format!("Planning Time: {:.3} ms", milliseconds(time)));
    }
    if let Some(time) = explained.execution {
        lines.push(format!("Execution Time: {:.3} ms", milliseconds(time)));
    }
    lines
}

fn describe(operator: &Operator, depth: usize, explained: &Explained, lines: &mut Vec<String>) {
    let arrow = if depth == 0 { String::new() } else { format!("{}->  ", "      ".repeat(depth - 1) + "  ") };
    let mut line = format!("{arrow}{}", operator.line.as_deref().unwrap_or(operator.kind));
    if operator.backward {
        line.push_str(" Backward");
    }
    if let Some(index) = &operator.index {
        line.push_str(&format!(" using {}", quote(index)));
    }
    if let Some(relation) = &operator.relation {
        let schema = if explained.verbose { format!("{}.", operator.schema()) } else { String::new() };
        line.push_str(&format!(" on {schema}{}", quote(relation)));
    }
    if let Some(timing) = explained.ran {
        line.push_str(&actual(operator.observed.unwrap_or_default(), timing));
    }
    lines.push(line);
    operator.inputs.iter().for_each(|input| describe(input, depth + 1, explained, lines));
}

fn actual(observed: Observed, timing: Timing) -> String {
    if observed.loops == 0 {
        return " (never executed)".to_owned();
    }
    let rows = super::tree::per_loop(observed.rows, observed.loops);
    let loops = observed.loops;
    match timing {
        Timing::Left => format!(" (actual rows={rows} loops={loops})"),
        Timing::Taken => {
            let each = |time| milliseconds(time) / loops as f64;
            let (first, total) = (each(observed.first), each(observed.total));
            format!(" (actual time={first:.3}..{total:.3} rows={rows} loops={loops})")
        }
    }
}
