//! Connection strings, of both forms.

use crate::Target;
use protocol::conninfo::{ConnInfo, join, split};

/// Connection strings.
pub const CONNINFO: Target = Target {
    name: "conninfo",
    inputs: || {
        [
            "host=localhost port=5432 user=postgres dbname='a b' password='it\\'s' application_name=s",
            "host=/tmp,b,c port=1,2,3 target_session_attrs=read-write connect_timeout=5",
            "postgresql://user:pass%20word@[::1]:5433,other/db?sslmode=prefer&options=-c%20x%3D1",
            "postgresql://user:pass%20NaNWord@/user:pass%20NaNWord@[::1opt:ss&,",
            "postgres:///db?host=/var/run",
            "hostaddr=127.0.0.1 keepalives_idle=10 tcp_user_timeout=3 client_encoding=UTF8",
        ]
        .map(|text| text.as_bytes().to_vec())
        .to_vec()
    },
    words: &[
        "host=",
        "port=",
        "user=",
        "password=",
        "dbname=",
        "sslmode=verify-full",
        "sslrootcert=",
        "service=",
        "passfile=",
        "target_session_attrs=any",
        "channel_binding=require",
        "connect_timeout=",
        "replication=true",
        "options=",
        "'",
        "\\",
        "=",
        " ",
        "postgresql://",
        "postgres://",
        "@",
        ":",
        "/",
        "?",
        "&",
        "%00",
        "%2",
        "[::1]",
        ",",
    ],
    memory_bytes: 64 << 10,
    memory_factor: 512,
    open: || {
        Box::new(|input| {
            let Ok(text) = std::str::from_utf8(input) else { return };
            let parsed = ConnInfo::parse_with(text, |_| None);
            if let Ok(mut conninfo) = parsed {
                let shown = format!("{conninfo:?}");
                let secret = conninfo.password.take().unwrap_or_default();
                // Another part may say the same.
                let is_shown = shown.contains(&secret) && !format!("{conninfo:?}").contains(&secret);
                assert!(secret.len() < 12 || !is_shown, "shows a password");
            }
            if let Ok(pairs) = split(text) {
                let joined = join(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())));
                assert_eq!(split(&joined).ok(), Some(pairs), "a connection string changes");
            }
        })
    },
};
