//! How sessions are protected, and what the files say of who may log in: pg_stat_ssl, pg_stat_gssapi,
//! pg_hba_file_rules, pg_ident_file_mappings.

use super::{Asked, View, number, text};
use crate::auth::hba::Word;
use crate::configuration::checks::{hba_lines, ident_lines};
use crate::connection::registry::SessionHandle;
use protocol::SqlState;
use sql_interface::{NodeRows, SettingActor, SqlError, clipped};
use sql_types::{Array, Datum, Numeric, TypeId};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

pub(super) static VIEWS: &[View] =
    &[SSL, GSSAPI, View { rows: hba_rules, ..HBA }, View { rows: ident_mappings, ..IDENT }];

/// The sessions of which the asker may see how they are protected.
fn seen(asked: &Asked<'_>, actor: &SettingActor) -> Vec<Arc<SessionHandle>> {
    let mut sessions = asked.sessions.list();
    sessions.retain(|session| {
        let role = session.role_oid.load(Ordering::Relaxed);
        actor.reads_statistics || asked.acts_for(*actor, role)
    });
    sessions
}

const SSL: View = view! {
    "pg_stat_ssl", 12_232, "Whether and how each session's connection is encrypted; a row a session.",
    rows |asked, actor| seen(asked, &actor),
    each |session| [
        let tls = session.encryption.as_deref();
        let peer = tls.and_then(|tls| tls.peer.as_ref());
        let serial = peer.and_then(|peer| Numeric::parse(&peer.serial).ok());
    ] {
        "pid": Int4 = Datum::Int4(session.key.pid),
        "ssl": Bool = Datum::Bool(tls.is_some()),
        "version": Text = text(tls.map(|tls| tls.version)),
        "cipher": Text = text(tls.map(|tls| tls.cipher)),
        "bits": Int4 = number(tls.map(|tls| tls.bits.into())),
        "client_dn": Text = text(peer.map(|peer| clipped(&peer.subject))),
        "client_serial": Numeric = serial.map_or(Datum::Null, Datum::Numeric),
        "issuer_dn": Text = text(peer.map(|peer| clipped(&peer.issuer))),
    }
};

const GSSAPI: View = view! {
    "pg_stat_gssapi", 12_236, "Whether GSSAPI protects each session's connection, which it never does; a row a session.",
    rows |asked, actor| seen(asked, &actor),
    each |session| [] {
        "pid": Int4 = Datum::Int4(session.key.pid),
        "gss_authenticated": Bool = Datum::Bool(false),
        "principal": Text = Datum::Null,
        "encrypted": Bool = Datum::Bool(false),
    }
};

fn list(words: impl Iterator<Item = String>) -> Datum {
    Datum::Array(Array::of(TypeId::Text, words.map(Datum::text).collect()).into())
}

fn words(words: &[Word]) -> Datum {
    list(words.iter().map(|word| word.text.clone()))
}

fn line(line: u32) -> Datum {
    number(i32::try_from(line).ok())
}

const HBA: View = view! {
    "pg_hba_file_rules", 12_125, "The lines of pg_hba.conf as the file is now, with what is wrong with them; a row a line.",
    rows |asked, _actor| {
        let ground = asked.ground;
        let tls = ground.current().tls.is_some();
        let lines = hba_lines(&ground.host, &ground.data_dir, &ground.settings()).unwrap_or_default();
        lines.into_iter().map(move |line| (line, tls))
    },
    each |(found, tls)| [
        let (rule, error) = match found.rule {
            Ok(rule) => {
                let error = rule.never_fits(tls).map(str::to_owned);
                (Some(rule), error)
            }
            Err(error) => (None, Some(error)),
        };
        let rule = rule.as_ref();
        let options = rule.map(|rule| rule.options()).filter(|options| !options.is_empty());
    ] {
        "line_number": Int4 = line(found.number),
        "type": Text = text(rule.map(|rule| rule.transport.name())),
        "database": TextArray = rule.map_or(Datum::Null, |rule| words(&rule.databases)),
        "user_name": TextArray = rule.map_or(Datum::Null, |rule| words(&rule.users)),
        "address": Text = text(rule.and_then(|rule| rule.address())),
        "netmask": Text = text(rule.and_then(|rule| rule.netmask())),
        "auth_method": Text = text(rule.map(|rule| rule.method.name())),
        "options": TextArray = options.map_or(Datum::Null, |options| list(options.into_iter())),
        "error": Text = text(error),
    }
};

const IDENT: View = view! {
    "pg_ident_file_mappings", 12_130, "The lines of pg_ident.conf as the file is now, with what is wrong with them; a row a line.",
    rows |asked, _actor| {
        let ground = asked.ground;
        ident_lines(&ground.host, &ground.data_dir, &ground.settings()).unwrap_or_default()
    },
    each |(at, found)| [
        let (mapping, error) = match found {
            Ok(mapping) => (Some(mapping), None),
            Err(error) => (None, Some(error)),
        };
        let mapping = mapping.as_ref();
    ] {
        "line_number": Int4 = line(at),
        "map_name": Text = text(mapping.map(|mapping| &mapping.map)),
        "sys_name": Text = text(mapping.map(|mapping| &mapping.outside)),
        "pg_username": Text = text(mapping.map(|mapping| &mapping.role)),
        "error": Text = text(error),
    }
};

/// The rows of a view of a file, which is read first for its errors. The catalogue says who may read it.
fn checked(
    view: &View,
    asked: &Asked<'_>,
    actor: SettingActor,
    read: impl FnOnce() -> io::Result<()>,
) -> sql_interface::Result<NodeRows> {
    read().map_err(|error| {
        let what = format!("could not open the file behind {}: {}", view.name, host::os_message(&error));
        SqlError::new(SqlState::IO_ERROR, what)
    })?;
    (view.rows)(asked, actor)
}

fn hba_rules(asked: &Asked<'_>, actor: SettingActor) -> sql_interface::Result<NodeRows> {
    let ground = asked.ground;
    checked(&HBA, asked, actor, || hba_lines(&ground.host, &ground.data_dir, &ground.settings()).map(drop))
}

fn ident_mappings(asked: &Asked<'_>, actor: SettingActor) -> sql_interface::Result<NodeRows> {
    let ground = asked.ground;
    checked(&IDENT, asked, actor, || {
        ident_lines(&ground.host, &ground.data_dir, &ground.settings()).map(drop)
    })
}
