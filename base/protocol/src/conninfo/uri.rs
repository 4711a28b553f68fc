//! `postgresql://user:password@host:port/dbname?keyword=value`, as libpq reads it.

use super::ConnInfoError;

fn percent_decoded(text: &str) -> Result<String, ConnInfoError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = after.get(..2).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let value = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok())
            .filter(|value| *value != 0)
            .ok_or(ConnInfoError::BadUri("invalid percent-encoded token"))?;
        bytes.push(value);
        rest = after.get(2..).unwrap_or_default();
    }
    String::from_utf8(bytes).map_err(|_| ConnInfoError::BadUri("percent-encoded text is not UTF-8"))
}

/// Keywords and values of a URI, of which `rest` stands behind the slashes.
pub(super) fn split(rest: &str) -> Result<Vec<(String, String)>, ConnInfoError> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    // As libpq: the first @ ends the login, if no slash stands before it.
    let (login, rest) = match rest.split_once('@') {
        Some((login, rest)) if !login.contains('/') => (Some(login), rest),
        _ => (None, rest),
    };
    let (rest, query) = rest.split_once('?').map_or((rest, ""), |(rest, query)| (rest, query));
    let (hosts, dbname) = rest.split_once('/').map_or((rest, ""), |(rest, dbname)| (rest, dbname));
    if let Some(login) = login {
        let (user, password) =
            login.split_once(':').map_or((login, None), |(user, password)| (user, Some(password)));
        if !user.is_empty() {
            pairs.push(("user".into(), percent_decoded(user)?));
        }
        if let Some(password) = password.filter(|password| !password.is_empty()) {
            pairs.push(("password".into(), percent_decoded(password)?));
        }
    }
    let (mut names, mut ports) = (Vec::new(), Vec::new());
    for host in hosts.split(',') {
        let (name, port) = if let Some(inside) = host.strip_prefix('[') {
            let (name, after) =
                inside.split_once(']').ok_or(ConnInfoError::BadUri("IPv6 address without its \"]\""))?;
            if name.is_empty() {
                return Err(ConnInfoError::BadUri("IPv6 host address may not be empty"));
            }
            let port = match after.strip_prefix(':') {
                Some(port) => port,
                None if after.is_empty() => "",
                None => return Err(ConnInfoError::BadUri("unexpected character after an IPv6 address")),
            };
            (name, port)
        } else {
            host.split_once(':').unwrap_or((host, ""))
        };
        names.push(percent_decoded(name)?);
        ports.push(percent_decoded(port)?);
    }
    if names.iter().any(|name| !name.is_empty()) {
        pairs.push(("host".into(), names.join(",")));
    }
    if ports.iter().any(|port| !port.is_empty()) {
        pairs.push(("port".into(), ports.join(",")));
    }
    if !dbname.is_empty() {
        pairs.push(("dbname".into(), percent_decoded(dbname)?));
    }
    for pair in query.split_terminator('&') {
        let (keyword, value) =
            pair.split_once('=').ok_or(ConnInfoError::BadUri("query parameter without \"=\""))?;
        if value.contains('=') {
            return Err(ConnInfoError::BadUri("query parameter with a second \"=\""));
        }
        let (keyword, value) = (percent_decoded(keyword)?, percent_decoded(value)?);
        // As libpq takes what is written for JDBC.
        pairs.push(match (keyword.as_str(), value.as_str()) {
            ("ssl", "true") => ("sslmode".to_owned(), "require".to_owned()),
            _ => (keyword, value),
        });
    }
    Ok(pairs)
}
