//! EXPLAIN (FORMAT JSON), XML and YAML: one tree of groups and values, written in three ways.

use super::tree::{Detail, Operator, per_loop};
use super::{Explained, Timing, milliseconds};
use std::fmt::{Display, Write as _};

/// A value of the answer.
enum Value {
    Text(String),
    Bool(bool),
    Count(u64),
    /// Milliseconds.
    Time(f64),
    /// Named values.
    Group(Vec<(&'static str, Value)>),
    /// The same with names of the server's.
    Named(Vec<(String, String)>),
    /// Groups, each of which XML calls so.
    List(&'static str, Vec<Value>),
    Texts(Vec<String>),
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn put(out: &mut String, value: impl Display) {
    let _ = write!(out, "{value}");
}

/// The whole answer, of which there is one a statement.
fn query(explained: &Explained) -> Value {
    let mut group = vec![("Plan", plan(&explained.root, None, None, explained))];
    if let Some(settings) = &explained.settings {
        group.push(("Settings", Value::Named(settings.clone())));
    }
    if let Some(time) = explained.planning {
        group.push(("Planning Time", Value::Time(milliseconds(time))));
    }
    if explained.ran.is_some() {
        group.push(("Triggers", Value::List("Trigger", Vec::new())));
    }
    if let Some(time) = explained.execution {
        group.push(("Execution Time", Value::Time(milliseconds(time))));
    }
    Value::Group(group)
}

/// `title`: of a subquery.
fn plan(
    operator: &Operator,
    relationship: Option<&str>,
    title: Option<&str>,
    explained: &Explained,
) -> Value {
    let mut group = vec![("Node Type", text(operator.kind))];
    let facts = |names: &[&str]| {
        let known = operator.facts.iter().filter(|(name, _)| names.contains(name));
        known.map(|(name, value)| (*name, text(value))).collect::<Vec<_>>()
    };
    // In PostgreSQL's order.
    group.extend(facts(&["Strategy", "Partial Mode"]));
    group.extend(facts(&["Operation"]));
    if let Some(relationship) = relationship {
        group.push(("Parent Relationship", text(relationship)));
    }
    if let Some(title) = title {
        group.push(("Subplan Name", text(title)));
    }
    group.push(("Parallel Aware", Value::Bool(false)));
    group.push(("Async Capable", Value::Bool(false)));
    group.extend(facts(&["Scan Direction"]));
    if let Some(index) = &operator.index {
        group.push(("Index Name", text(index)));
    }
    group.extend(facts(&["Join Type", "Command"]));
    if let Some(relation) = &operator.relation {
        group.push(("Relation Name", text(relation)));
        if explained.verbose {
            group.push(("Schema", text(operator.schema())));
        }
        group.push(("Alias", text(operator.alias.as_ref().unwrap_or(relation))));
    }
    if let Some(function) = &operator.function {
        group.push(("Function Name", text(function)));
        if explained.verbose {
            group.push(("Schema", text(operator.schema())));
        }
        group.push(("Alias", text(operator.alias.as_ref().unwrap_or(function))));
    }
    if let Some(timing) = explained.ran {
        let observed = operator.observed.unwrap_or_default();
        let each = |time| Value::Time(milliseconds(time) / observed.loops.max(1) as f64);
        if timing == Timing::Taken {
            group.push(("Actual Startup Time", each(observed.first)));
            group.push(("Actual Total Time", each(observed.total)));
        }
        group.push(("Actual Rows", Value::Count(per_loop(observed.rows, observed.loops))));
        group.push(("Actual Loops", Value::Count(observed.loops)));
    }
    if explained.verbose && !operator.output.is_empty() {
        group.push(("Output", Value::Texts(operator.output.clone())));
    }
    for (name, detail) in operator.details.iter().chain(&operator.filter_details(true)) {
        let value = match detail {
            Detail::Text(shown) => text(shown),
            Detail::List(values) => Value::Texts(values.clone()),
            Detail::Count(count) => Value::Count(*count),
        };
        group.push((*name, value));
    }
    group.extend(facts(&["Sort Method"]));
    let below = plans_below(operator, explained);
    if !below.is_empty() {
        group.push(("Plans", Value::List("Plan", below)));
    }
    Value::Group(group)
}

/// What an operator reads, and the subqueries of its expressions.
fn plans_below(operator: &Operator, explained: &Explained) -> Vec<Value> {
    let subplans = |once: bool, relationship: &'static str| {
        let wanted = operator.subplans.iter().filter(move |subplan| subplan.once == once);
        wanted.map(move |subplan| plan(&subplan.root, Some(relationship), Some(&subplan.title), explained))
    };
    let is_append = matches!(operator.kind, "Append");
    let inputs = operator.inputs.iter().enumerate().map(|(at, input)| {
        let relationship = match (is_append, at) {
            (true, _) => "Member",
            (false, 0) if operator.kind == "Subquery Scan" => "Subquery",
            (false, 0) => "Outer",
            (false, _) => "Inner",
        };
        plan(input, Some(relationship), None, explained)
    });
    subplans(true, "InitPlan").chain(inputs).chain(subplans(false, "SubPlan")).collect()
}

/// FORMAT JSON
pub(super) fn json(explained: &Explained) -> String {
    let mut out = "[\n  ".to_owned();
    put_json(&mut out, &query(explained), 1);
    out.push_str("\n]");
    out
}

fn put_json(out: &mut String, value: &Value, depth: usize) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Text(text) => json_text(out, text),
        Value::Bool(on) => put(out, on),
        Value::Count(count) => put(out, count),
        Value::Time(time) => put(out, format_args!("{time:.3}")),
        Value::Group(members) => {
            out.push('{');
            for (at, (name, value)) in members.iter().enumerate() {
                let _ = write!(out, "{}\n{indent}  \"{name}\": ", if at > 0 { "," } else { "" });
                put_json(out, value, depth + 1);
            }
            let _ = write!(out, "\n{indent}}}");
        }
        Value::Named(members) => {
            out.push('{');
            for (at, (name, value)) in members.iter().enumerate() {
                let _ = write!(out, "{}\n{indent}  ", if at > 0 { "," } else { "" });
                json_text(out, name);
                out.push_str(": ");
                json_text(out, value);
            }
            let _ = write!(out, "\n{indent}}}");
        }
        Value::Texts(texts) => {
            out.push('[');
            for (at, text) in texts.iter().enumerate() {
                out.push_str(if at > 0 { ", " } else { "" });
                json_text(out, text);
            }
            out.push(']');
        }
        Value::List(_, groups) => {
            out.push('[');
            for (at, group) in groups.iter().enumerate() {
                let _ = write!(out, "{}\n{indent}  ", if at > 0 { "," } else { "" });
                put_json(out, group, depth + 1);
            }
            let _ = write!(out, "\n{indent}]");
        }
    }
}

fn json_text(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c < ' ' => put(out, format_args!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// FORMAT XML
pub(super) fn xml(explained: &Explained) -> String {
    let mut out = "<explain xmlns=\"http://www.postgresql.org/2009/explain\">\n".to_owned();
    put_xml(&mut out, "Query", &query(explained), 1);
    out.push_str("</explain>");
    out
}

fn put_xml(out: &mut String, name: &str, value: &Value, depth: usize) {
    let indent = "  ".repeat(depth);
    // An element's name has no blanks.
    let tag = name.replace(' ', "-");
    let _ = write!(out, "{indent}<{tag}>");
    match value {
        Value::Text(text) => out.push_str(&xml_text(text)),
        Value::Bool(on) => put(out, on),
        Value::Count(count) => put(out, count),
        Value::Time(time) => put(out, format_args!("{time:.3}")),
        Value::Group(members) => {
            out.push('\n');
            members.iter().for_each(|(name, value)| put_xml(out, name, value, depth + 1));
            out.push_str(&indent);
        }
        Value::Named(members) => {
            out.push('\n');
            for (name, value) in members {
                let _ = writeln!(out, "{indent}  <{name}>{}</{name}>", xml_text(value));
            }
            out.push_str(&indent);
        }
        Value::Texts(texts) => {
            out.push('\n');
            for text in texts {
                let _ = writeln!(out, "{indent}  <Item>{}</Item>", xml_text(text));
            }
            out.push_str(&indent);
        }
        Value::List(each, groups) => {
            out.push('\n');
            groups.iter().for_each(|group| put_xml(out, each, group, depth + 1));
            out.push_str(&indent);
        }
    }
    let _ = writeln!(out, "</{tag}>");
}

fn xml_text(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('\r', "&#x0d;")
}

/// FORMAT YAML
pub(super) fn yaml(explained: &Explained) -> String {
    let mut out = "- ".to_owned();
    put_yaml(&mut out, &query(explained), 1);
    out
}

/// Writes the members of a group, the first of them where the line has begun already.
fn put_yaml(out: &mut String, value: &Value, depth: usize) {
    let indent = "  ".repeat(depth);
    let next = |out: &mut String, at: usize| {
        if at > 0 {
            let _ = write!(out, "\n{indent}");
        }
    };
    match value {
        Value::Text(text) => json_text(out, text),
        Value::Bool(on) => put(out, on),
        Value::Count(count) => put(out, count),
        Value::Time(time) => put(out, format_args!("{time:.3}")),
        Value::Group(members) => {
            for (at, (name, value)) in members.iter().enumerate() {
                next(out, at);
                let _ = write!(out, "{name}: ");
                if matches!(value, Value::Group(_) | Value::Named(_)) {
                    let _ = write!(out, "\n{indent}  ");
                }
                put_yaml(out, value, depth + 1);
            }
        }
        Value::Named(members) => {
            for (at, (name, value)) in members.iter().enumerate() {
                next(out, at);
                let _ = write!(out, "{name}: ");
                json_text(out, value);
            }
        }
        Value::Texts(texts) => {
            for text in texts {
                let _ = write!(out, "\n{indent}- ");
                json_text(out, text);
            }
        }
        Value::List(_, groups) => {
            for group in groups {
                let _ = write!(out, "\n{indent}- ");
                put_yaml(out, group, depth + 1);
            }
        }
    }
}
