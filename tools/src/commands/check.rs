//! `plimsoll check`: what takes space in a data directory though nothing leads there.

use crate::cli::DataArgs;
use crate::output;
use anyhow::{Result, anyhow};
use host::Host;
use server::FileCheck;
use std::fmt::Write;

/// Bytes of a page.
const PAGE_BYTES: u64 = 8192;

/// Looks at all files, and prints what it found. Returns the exit code: 1 if anything is not as it should be.
pub(crate) fn run(arguments: &DataArgs) -> Result<u8> {
    let checks = server::check_files(&Host::real(), &arguments.data)
        .map_err(|error| anyhow!("{}", error.message()))?;
    output::text(table(&checks));
    Ok(exit_code(&checks))
}

fn exit_code(checks: &[FileCheck]) -> u8 {
    let is_amiss =
        |check: &FileCheck| check.name.is_none() || check.unreachable > 0 || check.damage.is_some();
    u8::from(checks.iter().any(is_amiss))
}

/// A line for each file, and the sums.
fn table(checks: &[FileCheck]) -> String {
    let mut out = format!("{:<20} {:>10} {:>10} {:>12}  name\n", "file", "pages", "free", "unreachable");
    for check in checks {
        let name = match (&check.name, &check.damage) {
            (None, _) => "(no table or index names this file)".to_owned(),
            (Some(name), None) => name.clone(),
            (Some(name), Some(damage)) => format!("{name} (damaged: {damage})"),
        };
        let file = check.file.to_string();
        let FileCheck { pages, free, unreachable, .. } = check;
        // Writing to a string does not fail.
        let _ = writeln!(out, "{file:<20} {pages:>10} {free:>10} {unreachable:>12}  {name}");
    }
    let unreachable: u64 = checks.iter().map(|check| check.unreachable).sum();
    let in_relations = checks.iter().filter(|check| check.unreachable > 0).count();
    let unnamed: Vec<u64> =
        checks.iter().filter(|check| check.name.is_none()).map(|check| u64::from(check.pages)).collect();
    let damaged = checks.iter().filter(|check| check.damage.is_some()).count();
    let _ = writeln!(
        out,
        "\n{unreachable} unreachable pages ({} bytes) in {in_relations} of {} relations",
        unreachable * PAGE_BYTES,
        checks.len() - unnamed.len()
    );
    let bytes = unnamed.iter().sum::<u64>() * PAGE_BYTES;
    let _ = writeln!(out, "{} files ({bytes} bytes) that no table or index names", unnamed.len());
    let _ = writeln!(out, "{damaged} damaged or missing relations");
    if unreachable > 0 {
        out.push_str("VACUUM gives unreachable pages back.\n");
    }
    if !unnamed.is_empty() {
        out.push_str("The next start of a primary on this directory removes files that nothing names.\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use wal::RelFile;

    fn check(relation: u32, name: Option<&str>, unreachable: u64) -> FileCheck {
        let (file, name) = (RelFile::new(5, relation), name.map(str::to_owned));
        FileCheck { file, name, pages: 10, free: 2, unreachable, damage: None }
    }

    #[test]
    fn each_file_has_a_line_and_the_sums_tell_what_takes_space_for_nothing() {
        let checks = [check(16385, Some("catalogue"), 0), check(16390, Some("t"), 3), check(16391, None, 0)];
        let lines: Vec<String> = table(&checks).lines().map(str::to_owned).collect();
        assert_eq!(
            lines,
            [
                "file                      pages       free  unreachable  name",
                "base/5/16385                 10          2            0  catalogue",
                "base/5/16390                 10          2            3  t",
                "base/5/16391                 10          2            0  (no table or index names this file)",
                "",
                "3 unreachable pages (24576 bytes) in 1 of 2 relations",
                "1 files (81920 bytes) that no table or index names",
                "0 damaged or missing relations",
                "VACUUM gives unreachable pages back.",
                "The next start of a primary on this directory removes files that nothing names.",
            ]
        );
        assert_eq!(exit_code(&checks), 1);
        assert_eq!(exit_code(&checks[..1]), 0);
        assert_eq!(exit_code(&checks[..2]), 1);
        let damaged = FileCheck { damage: Some("a circle".to_owned()), ..check(16385, Some("catalogue"), 0) };
        assert_eq!(exit_code(&[damaged]), 1);
    }
}
