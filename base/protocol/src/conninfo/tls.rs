//! libpq's `ssl...` parameters and channel_binding.

use super::ConnInfoError;
use std::path::{Path, PathBuf};

/// Whether a connection is encrypted, and what the server has to prove (sslmode).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SslMode {
    /// Never encrypted.
    Disable,
    /// Encrypted only if the server lets nobody in without.
    Allow,
    /// Encrypted if the server can.
    #[default]
    Prefer,
    /// Always encrypted.
    Require,
    /// Encrypted, to a server with a certificate of a trusted root.
    VerifyCa,
    /// Encrypted, to a server with a certificate of a trusted root for its host name.
    VerifyFull,
}

/// Whether SCRAM is bound to the TLS channel (channel_binding).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChannelBinding {
    /// Never.
    Disable,
    /// If both sides can.
    #[default]
    Prefer,
    /// No server is taken that does not prove by it that it is the one which knows the password.
    Require,
}

/// What a connection's TLS is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsParameters {
    /// sslmode
    pub mode: SslMode,
    /// sslrootcert, or `root.crt` in the user's folder `.postgresql`.
    pub roots: Option<PathBuf>,
    /// sslcert, or `postgresql.crt` there.
    pub certificate: Option<PathBuf>,
    /// sslkey, or `postgresql.key` there.
    pub key: Option<PathBuf>,
    /// sslcrl, or `root.crl` there.
    pub revoked: Option<PathBuf>,
    /// sslcrldir
    pub revoked_folder: Option<PathBuf>,
    /// channel_binding
    pub binding: ChannelBinding,
    /// ssl_min_protocol_version
    pub version_min: String,
    /// ssl_max_protocol_version; empty is none.
    pub version_max: String,
    /// sslsni: whether the server is told the name that it is reached by.
    pub sni: bool,
}

impl TlsParameters {
    /// The files and folders of revocation lists. The file need not be there, as in libpq.
    pub(crate) fn revocations(&self) -> Vec<PathBuf> {
        let file = self.revoked.iter().filter(|path| path.exists());
        file.chain(&self.revoked_folder).cloned().collect()
    }
}

/// The versions of TLS from the lowest on, behind none.
const VERSIONS: [&str; 5] = ["", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"];

/// Reads the parameters; `home` is the user's folder.
pub(super) fn parse(
    get: impl Fn(&str) -> Option<String>,
    home: Option<&Path>,
) -> Result<TlsParameters, ConnInfoError> {
    let bad = |option, value: &str| Err(ConnInfoError::BadValue { option, value: value.to_owned() });
    let mode = match get("sslmode").as_deref() {
        None => SslMode::default(),
        Some("disable") => SslMode::Disable,
        Some("allow") => SslMode::Allow,
        Some("prefer") => SslMode::Prefer,
        Some("require") => SslMode::Require,
        Some("verify-ca") => SslMode::VerifyCa,
        Some("verify-full") => SslMode::VerifyFull,
        Some(other) => return bad("sslmode", other),
    };
    let binding = match get("channel_binding").as_deref() {
        None => ChannelBinding::default(),
        Some("disable") => ChannelBinding::Disable,
        Some("prefer") => ChannelBinding::Prefer,
        Some("require") => ChannelBinding::Require,
        Some(other) => return bad("channel_binding", other),
    };
    match get("gssencmode").as_deref() {
        None | Some("disable" | "prefer") => {}
        Some("require") => return Err(ConnInfoError::Unsupported("gssencmode=require (there is no GSSAPI)")),
        Some(other) => return bad("gssencmode", other),
    }
    let version = |option| {
        let text = get(option).unwrap_or_default();
        match VERSIONS.into_iter().find(|known| known.eq_ignore_ascii_case(&text)) {
            Some(known) => Ok(known.to_owned()),
            None => Err(ConnInfoError::BadValue { option, value: text }),
        }
    };
    let version_min = match version("ssl_min_protocol_version")? {
        text if text.is_empty() => "TLSv1.2".to_owned(),
        text => text,
    };
    let version_max = version("ssl_max_protocol_version")?;
    let place = |version: &str| VERSIONS.iter().position(|known| *known == version);
    if !version_max.is_empty() && place(&version_max) < place(&version_min) {
        return Err(ConnInfoError::VersionRange);
    }
    let folder = home.map(|home| home.join(".postgresql"));
    let file = |option: &str, default: &str| {
        let given = get(option).map(PathBuf::from);
        given.or_else(|| folder.as_deref().map(|folder| folder.join(default)))
    };
    let has_own_lists = get("sslcrl").is_some() || get("sslcrldir").is_none();
    Ok(TlsParameters {
        mode,
        roots: file("sslrootcert", "root.crt"),
        certificate: file("sslcert", "postgresql.crt"),
        key: file("sslkey", "postgresql.key"),
        revoked: file("sslcrl", "root.crl").filter(|_| has_own_lists),
        revoked_folder: get("sslcrldir").map(PathBuf::from),
        binding,
        version_min,
        version_max,
        sni: get("sslsni").as_deref() != Some("0"),
    })
}

#[cfg(test)]
mod tests {
    use super::super::ConnInfo;
    use super::*;

    fn parsed(text: &str) -> Result<TlsParameters, ConnInfoError> {
        let variable = |name: &str| match name {
            "HOME" => Some("/home/ann".to_owned()),
            "PGSSLMODE" => Some("verify-full".to_owned()),
            _ => None,
        };
        ConnInfo::parse_with(text, variable).map(|info| info.tls)
    }

    #[test]
    fn files_are_those_of_the_users_folder_unless_others_are_named() {
        let plain = parsed("host=h").unwrap();
        assert_eq!((plain.mode, plain.sni), (SslMode::VerifyFull, true));
        assert_eq!(plain.roots.as_deref(), Some(Path::new("/home/ann/.postgresql/root.crt")));
        assert_eq!(plain.revoked.as_deref(), Some(Path::new("/home/ann/.postgresql/root.crl")));
        assert_eq!(parsed("requiressl=1").unwrap().mode, SslMode::Require);
        let named = parsed(
            "host=h sslmode=verify-ca sslrootcert=/ca sslcert=/c sslkey=/k sslcrldir=/d sslsni=0 \
             channel_binding=require ssl_min_protocol_version=tlsv1.3 gssencmode=prefer",
        )
        .unwrap();
        assert_eq!((named.mode, named.binding), (SslMode::VerifyCa, ChannelBinding::Require));
        assert_eq!((named.roots.as_deref(), named.revoked), (Some(Path::new("/ca")), None));
        assert_eq!((named.version_min.as_str(), named.sni), ("TLSv1.3", false));
    }

    #[test]
    fn values_that_there_are_not_are_refused() {
        for text in [
            "sslmode=yes",
            "sslmode=",
            "ssl_min_protocol_version=TLSv1.3 ssl_max_protocol_version=TLSv1.2",
            "ssl_max_protocol_version=TLSv1.1",
            "channel_binding=maybe",
            "gssencmode=require",
            "gssencmode=x",
            "ssl_min_protocol_version=SSLv3",
            "ssl_max_protocol_version=2",
        ] {
            assert!(parsed(text).is_err(), "{text}");
        }
    }
}
