//! EXPLAIN (FORMAT TEXT): a line an operator, indented as PostgreSQL does it.

use super::tree::{Detail, Operator};
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

/// `indent`: as PostgreSQL counts it, two blanks each; 0 for the plan itself.
fn describe(operator: &Operator, indent: usize, explained: &Explained, lines: &mut Vec<String>) {
    let (arrow, below) = match indent {
        0 => (String::new(), 1),
        _ => (format!("{}->  ", "  ".repeat(indent)), indent + 3),
    };
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
        if let Some(alias) = operator.alias.as_ref().filter(|alias| *alias != relation) {
            line.push_str(&format!(" {}", quote(alias)));
        }
    }
    if let (Some(function), Some(alias)) = (&operator.function, &operator.alias) {
        let schema = if explained.verbose { format!("{}.", operator.schema()) } else { String::new() };
        line.push_str(&format!(" on {schema}{}", quote(function)));
        if alias != function {
            line.push_str(&format!(" {}", quote(alias)));
        }
    }
    if let Some(timing) = explained.ran {
        line.push_str(&actual(operator.observed.unwrap_or_default(), timing));
    }
    lines.push(line);
    let blanks = "  ".repeat(below);
    if explained.verbose && !operator.output.is_empty() {
        lines.push(format!("{blanks}Output: {}", operator.output.join(", ")));
    }
    for (name, detail) in operator.details.iter().chain(&operator.filter_details(false)) {
        lines.push(match detail {
            Detail::Text(text) => format!("{blanks}{name}: {text}"),
            Detail::List(values) => format!("{blanks}{name}: {}", values.join(", ")),
            Detail::Count(count) => format!("{blanks}{name}: {count}"),
        });
    }
    let subplans = |once: bool| operator.subplans.iter().filter(move |subplan| subplan.once == once);
    for subplan in subplans(true) {
        lines.push(format!("{blanks}{}", subplan.title));
        describe(&subplan.root, below + 1, explained, lines);
    }
    operator.inputs.iter().for_each(|input| describe(input, below, explained, lines));
    for subplan in subplans(false) {
        lines.push(format!("{blanks}{}", subplan.title));
        describe(&subplan.root, below + 1, explained, lines);
    }
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
