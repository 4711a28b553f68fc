//! The password file (the manual's section "The Password File").

use super::{DEFAULT_SOCKET_DIRS, Endpoint};
use host::{Disk, FileKind, RealDisk};
use std::path::Path;

/// The largest password file that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What a password file says of one login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Password(String),
    Nothing,
    /// The file is not used, for this reason.
    Unused(String),
}

/// The name under which the file has a server, by the host as it is written; an empty one is none.
pub(super) fn host_name(written: &str) -> &str {
    if written.is_empty() || written == DEFAULT_SOCKET_DIRS[0] { "localhost" } else { written }
}

/// The names under which the file has an endpoint that no connection string has named.
pub(super) fn names(endpoint: &Endpoint, port: u16) -> (String, String) {
    let written = match endpoint {
        Endpoint::Tcp(host) => host.clone(),
        Endpoint::Unix(folder) => folder.display().to_string(),
    };
    (host_name(&written).to_owned(), port.to_string())
}

/// The password for host, port, database and user.
pub(super) fn look_up(path: &Path, wanted: [&str; 4]) -> Found {
    let Ok(found) = RealDisk.metadata(path) else { return Found::Nothing };
    let shown = path.display();
    if found.kind != FileKind::File {
        return Found::Unused(format!("password file \"{shown}\" is not a plain file"));
    }
    if found.permissions & 0o077 != 0 {
        return Found::Unused(format!(
            "password file \"{shown}\" has group or world access; \
             permissions should be u=rw (0600) or less"
        ));
    }
    match RealDisk.read(path, FILE_BYTES_MAX) {
        Ok(contents) => {
            let found = first_fitting(&String::from_utf8_lossy(&contents), wanted);
            found.filter(|password| !password.is_empty()).map_or(Found::Nothing, Found::Password)
        }
        Err(error) => {
            Found::Unused(format!("could not read password file \"{shown}\": {}", host::os_message(&error)))
        }
    }
}

/// The password of the first line that fits.
fn first_fitting(text: &str, wanted: [&str; 4]) -> Option<String> {
    text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        wanted.iter().try_fold(line, |rest, wanted| behind_field(rest, wanted)).map(password)
    })
}

/// What stands behind the first field, if that fits. Behind a backslash an asterisk is one.
fn behind_field<'l>(line: &'l str, wanted: &str) -> Option<&'l str> {
    if let Some(rest) = line.strip_prefix("*:") {
        return Some(rest);
    }
    let (mut chars, mut wanted) = (line.chars(), wanted.chars());
    loop {
        let found = chars.next()?;
        let next = wanted.next();
        match (found, next) {
            (':', None) => return Some(chars.as_str()),
            ('\\', Some(next)) if chars.next() == Some(next) => {}
            (found, Some(next)) if found == next && found != '\\' => {}
            _ => return None,
        }
    }
}

/// The password that begins here; what follows it is left out.
fn password(text: &str) -> String {
    let (mut out, mut chars) = (String::new(), text.chars());
    while let Some(c) = chars.next().filter(|c| *c != ':') {
        // The last backslash stands for itself.
        out.push(if c == '\\' { chars.next().unwrap_or(c) } else { c });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_first_fitting_line_counts() {
        let file = "# comment\nh:5432:d:u:p\\:1\n*:*:replication:*:r:x\nlocalhost:*:*:u:l";
        let found = |wanted| first_fitting(file, wanted);
        assert_eq!(found(["h", "5432", "d", "u"]).as_deref(), Some("p:1"));
        assert_eq!(found(["z", "1", "replication", "q"]).as_deref(), Some("r"));
        assert_eq!(found(["localhost", "9", "q", "u"]).as_deref(), Some("l"));
        assert_eq!(found(["h", "5433", "d", "u"]), None);
        let file = "\\*:*:*:*:bad\na\\:b:*:*:*:p\\\\q\\\n";
        let found = |host| first_fitting(file, [host, "1", "d", "u"]);
        assert_eq!(found("*").as_deref(), Some("bad"));
        assert_eq!(found("a:b").as_deref(), Some("p\\q\\"));
        assert_eq!(found("h"), None);
    }

    #[test]
    fn a_file_that_others_can_read_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pgpass");
        std::fs::write(&path, "*:*:*:*:secret\n").unwrap();
        let look = || look_up(&path, ["h", "1", "d", "u"]);
        for (mode, used) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(look() == Found::Password("secret".into()), used, "{mode:o}");
        }
        assert_eq!(look_up(&folder.path().join("none"), ["h", "1", "d", "u"]), Found::Nothing);
        assert!(matches!(look_up(folder.path(), ["h", "1", "d", "u"]), Found::Unused(_)));
    }
}
