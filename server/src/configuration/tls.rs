//! TLS as the `ssl...` settings have it.

use super::checks::path_of;
use crate::error::ServerError;
use host::Host;
use protocol::tls::TlsError;
use protocol::tls::server::{ServerTls, ServerTlsOptions};
use protocol::tls::suites::{DEFAULT_CIPHERS, check_server_ciphers};
use settings::{Refusal, Settings, Value};
use std::path::Path;
use std::sync::Arc;

/// The default of ssl_ecdh_curve.
const DEFAULT_CURVE: &str = "prime256v1";

/// What connections are encrypted with; None with ssl off.
pub(super) fn load(
    host: &Host,
    data_dir: &Path,
    settings: &Settings,
) -> Result<Option<Arc<ServerTls>>, ServerError> {
    read(host, data_dir, settings).map_err(|error| refusal(&error))
}

/// What is wrong with the files after a change of one setting: whoever goes over to another certificate names
/// its key in another statement.
pub(super) fn check_change(host: &Host, data_dir: &Path, settings: &Settings) -> Result<(), ServerError> {
    match read(host, data_dir, settings) {
        Ok(_) | Err(TlsError::Pair(_)) => Ok(()),
        Err(error) => Err(refusal(&error)),
    }
}

fn read(host: &Host, data_dir: &Path, settings: &Settings) -> Result<Option<Arc<ServerTls>>, TlsError> {
    if settings.value("ssl") != Some(Value::Bool(true)) {
        return Ok(None);
    }
    let text = |name: &str| settings.show(name).unwrap_or_default();
    let named = |name: &str| {
        let given = text(name);
        (!given.is_empty()).then(|| settings::resolve(data_dir, &given))
    };
    let options = ServerTlsOptions {
        certificate: path_of(data_dir, settings, "ssl_cert_file", "server.crt"),
        key: path_of(data_dir, settings, "ssl_key_file", "server.key"),
        roots: named("ssl_ca_file"),
        revocations: [named("ssl_crl_file"), named("ssl_crl_dir")].into_iter().flatten().collect(),
        version_min: text("ssl_min_protocol_version"),
        version_max: text("ssl_max_protocol_version"),
        ciphers: text("ssl_ciphers"),
        ecdh_curve: text("ssl_ecdh_curve"),
        prefers_own_ciphers: settings.value("ssl_prefer_server_ciphers") == Some(Value::Bool(true)),
    };
    ServerTls::load(host.disk.as_ref(), &options).map(|tls| Some(Arc::new(tls)))
}

fn refusal(error: &TlsError) -> ServerError {
    let refusal = ServerError::new(error.to_string());
    match error {
        TlsError::Permissions { detail, .. } if !detail.is_empty() => refusal.with_hint(*detail),
        _ => refusal,
    }
}

/// A check of ssl_ciphers.
pub(super) fn ciphers(text: &str) -> Result<String, Refusal> {
    check_server_ciphers(text, DEFAULT_CURVE)
        .map(|()| text.to_owned())
        .map_err(|error| format!("{error}.").into())
}

/// A check of ssl_ecdh_curve.
pub(super) fn curve(text: &str) -> Result<String, Refusal> {
    check_server_ciphers(DEFAULT_CIPHERS, text)
        .map(|()| text.to_owned())
        .map_err(|error| format!("{error}.").into())
}

/// A check of a setting for what rustls does not have: it takes no value.
pub(super) fn absent(text: &str) -> Result<String, Refusal> {
    match text.trim().is_empty() {
        true => Ok(String::new()),
        false => Err("Keys with a passphrase and DHE key exchange are not supported.".into()),
    }
}
