//! The report of what a rewind discards, as text for a person. Its lines are JSON, which [`rewind::Report`]
//! makes and describes.

use serde_json::{Map, Value};

/// A line for a person.
pub fn text(line: &Value) -> String {
    if let Some(head) = line.get("discarded") {
        let of = |name: &str| head.get(name).map(plain).unwrap_or_default();
        return format!(
            "commits of timeline {} behind {} that timeline {} has not:",
            of("timeline"),
            of("fork"),
            of("source_timeline")
        );
    }
    let of = |name: &str| line.get(name).map(plain).unwrap_or_default();
    let mut text = format!("xid {} at {} ({})", of("xid"), of("time"), of("lsn"));
    if line.get("partial").is_some_and(|partial| partial == true) {
        text.push_str(", began before the log that was read: changes may be missing");
    }
    let list = |name: &str| line.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    for change in list("catalogue") {
        text.push_str(&format!("\n    {}", plain(&change)));
    }
    for change in list("changes") {
        let side = |name: &str| match change.get(name) {
            Some(Value::Object(columns)) => columns_text(columns),
            _ if change.get(format!("{name}_unknown")).is_some() => "unknown".to_owned(),
            _ => change
                .get(format!("{name}_bytes"))
                .map_or_else(String::new, |bytes| format!("\\x{}", plain(bytes))),
        };
        let of = |name: &str| change.get(name).map(plain).unwrap_or_default();
        let said = match of("op").as_str() {
            "insert" | "rewrite" => side("new"),
            "delete" => format!("{} was {}", side("key"), side("old")),
            _ => format!("{} was {} became {}", side("key"), side("old"), side("new")),
        };
        let doubt = if change.get("names_unknown").is_some() { " (names may have been others)" } else { "" };
        text.push_str(&format!("\n    {} {}{doubt}: {said}", of("op"), of("table")));
    }
    text
}

fn columns_text(columns: &Map<String, Value>) -> String {
    let columns: Vec<String> = columns
        .iter()
        .map(|(name, value)| match value {
            Value::String(text) => format!("{name}='{text}'"),
            _ => format!("{name}=NULL"),
        })
        .collect();
    format!("({})", columns.join(", "))
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_commit_reads_as_what_it_did() {
        let line = json!({
            "xid": 7, "time": "2026-01-01 00:00:00 UTC", "lsn": "0/100", "level": null, "partial": false,
            "tables": ["t"], "catalogue": ["created table u"],
            "changes": [
                {"table": "t", "op": "insert", "key": {"id": "1"}, "old": null, "new": {"id": "1", "v": "a"}},
                {"table": "t", "op": "update", "key": {"id": "2"}, "old": {"id": "2", "v": "b"},
                 "new": {"id": "2", "v": null}},
                {"table": "t", "op": "delete", "key": {"id": "3"}, "old_unknown": true, "new": null},
                {"table": "n", "op": "delete", "names_unknown": true, "key": {"id": "5"}, "old": {"id": "5"}, "new": null},
                {"table": "k", "op": "rewrite", "key": {"n": "4"}, "old_unknown": true, "new": {"n": "4"}},
            ],
        });
        assert_eq!(
            text(&line),
            "xid 7 at 2026-01-01 00:00:00 UTC (0/100)\n    created table u\n    insert t: (id='1', v='a')\n    \
             update t: (id='2') was (id='2', v='b') became (id='2', v=NULL)\n    delete t: (id='3') was unknown\n    \
             delete n (names may have been others): (id='5') was (id='5')\n    rewrite k: (n='4')"
        );
    }
}
