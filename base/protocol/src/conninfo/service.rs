//! Parameters from a service file (the manual's section "The Connection Service File").

use super::{ConnInfoError, is_blank, is_option};
use host::Disk;
use std::path::{Path, PathBuf};

/// The largest service file that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// The longest line of one that libpq takes.
const LINE_BYTES_MAX: usize = 1021;
/// Where Debian's libpq looks for the system's file.
const SYSTEM_FOLDER: &str = "/etc/postgresql-common";

fn bad_file(path: &Path, line: usize, what: impl std::fmt::Display) -> ConnInfoError {
    ConnInfoError::Service(format!("{what} in service file \"{}\", line {line}", path.display()))
}

/// The parameters of a service, from the user's file or the system's.
pub(super) fn read(
    service: &str,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Vec<(String, String)>, ConnInfoError> {
    let named = variable("PGSERVICEFILE").filter(|path| !path.is_empty()).map(PathBuf::from);
    let users =
        named.clone().or_else(|| variable("HOME").map(|home| Path::new(&home).join(".pg_service.conf")));
    let folder = variable("PGSYSCONFDIR").filter(|path| !path.is_empty());
    let systems = Path::new(folder.as_deref().unwrap_or(SYSTEM_FOLDER)).join("pg_service.conf");
    for path in users.into_iter().chain([systems]) {
        match host::RealDisk.read(&path, FILE_BYTES_MAX) {
            Ok(text) => {
                if let Some(found) = parse(&String::from_utf8_lossy(&text), service, &path)? {
                    return Ok(found);
                }
            }
            Err(_) if Some(&path) != named.as_ref() => {}
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                let (shown, why) = (path.display(), host::os_message(&error));
                return Err(ConnInfoError::Service(format!(
                    "could not read service file \"{shown}\": {why}"
                )));
            }
            Err(_) => {
                return Err(ConnInfoError::Service(format!("service file \"{}\" not found", path.display())));
            }
        }
    }
    Err(ConnInfoError::Service(format!("definition of service \"{service}\" not found")))
}

/// The parameters of one service; None if the file does not define it.
fn parse(text: &str, service: &str, path: &Path) -> Result<Option<Vec<(String, String)>>, ConnInfoError> {
    let (mut found, mut inside) = (None, false);
    for (at, line) in text.lines().enumerate() {
        if line.len() > LINE_BYTES_MAX {
            let message = format!("line {} too long in service file \"{}\"", at + 1, path.display());
            return Err(ConnInfoError::Service(message));
        }
        let line = line.trim_matches(is_blank);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix('[') {
            if found.is_some() {
                break;
            }
            inside = name.strip_prefix(service).is_some_and(|behind| behind.starts_with(']'));
            if inside {
                found = Some(Vec::new());
            }
            continue;
        }
        let Some(pairs) = found.as_mut().filter(|_| inside) else { continue };
        let (name, value) = line.split_once('=').ok_or_else(|| bad_file(path, at + 1, "syntax error"))?;
        if name == "service" {
            return Err(bad_file(path, at + 1, "nested service specifications not supported"));
        }
        if !is_option(name) {
            return Err(bad_file(path, at + 1, format_args!("syntax error: unknown option \"{name}\"")));
        }
        // The first counts.
        if !pairs.iter().any(|(known, _)| known == name) {
            pairs.push((name.to_owned(), value.to_owned()));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::{ConnInfo, Endpoint, SslMode, application_name_with};

    #[test]
    fn a_service_stands_below_the_string_and_above_the_environment() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("services");
        std::fs::write(
            &file,
            "# mine\n[other]\nhost=x\n[db]\nhost=h1\nport=6000\nport=1\napplication_name=boat\n\n[spaced]\nhost = h\n[third]\nbad\n[clear]\nsslmode=disable\n",
        )
        .unwrap();
        let variable = |name: &str| match name {
            "PGSERVICEFILE" => Some(file.display().to_string()),
            "PGSERVICE" => Some("db".to_owned()),
            "PGPORT" => Some("7000".to_owned()),
            "PGUSER" => Some("ann".to_owned()),
            "PGSYSCONFDIR" => Some("/nonexistent".to_owned()),
            _ => None,
        };
        let info = ConnInfo::parse_with("", variable).unwrap();
        assert_eq!(info.endpoints, [(Endpoint::Tcp("h1".into()), 6000)]);
        assert_eq!(info.user, "ann");
        let info = ConnInfo::parse_with("port=5 service=db", variable).unwrap();
        assert_eq!(info.endpoints, [(Endpoint::Tcp("h1".into()), 5)]);
        // The string's word of former times outweighs the service's for the same.
        for (text, mode) in [("", SslMode::Disable), ("requiressl=1 ", SslMode::Require)] {
            let info = ConnInfo::parse_with(&format!("{text}service=clear"), variable).unwrap();
            assert_eq!(info.tls.mode, mode);
        }
        for (text, name) in [
            ("", Some("boat")),
            ("application_name=own", Some("own")),
            ("application_name=own service=none", Some("own")),
            ("service=none", None),
        ] {
            assert_eq!(application_name_with(text, variable).as_deref(), name, "{text}");
        }
        for (service, words) in [
            ("none", "definition of service \"none\" not found"),
            ("third", "line 13"),
            ("spaced", "option \"host \""),
        ] {
            let error = ConnInfo::parse_with(&format!("service={service}"), variable).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
        }
    }
}
