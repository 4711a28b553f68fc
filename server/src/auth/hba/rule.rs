//! One rule of pg_hba.conf.

use super::lines::Word;
use super::network::From;
use super::{Candidate, Missing};

/// How a connection has to prove itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    /// Not at all.
    Trust,
    /// It is refused.
    Reject,
    /// By SCRAM-SHA-256.
    ScramSha256,
    /// The same: what roles have is a SCRAM verifier, for which PostgreSQL's md5 asks by SCRAM, too.
    Md5,
    /// By the password itself.
    Password,
    /// By the operating system's user of the other end of a Unix socket.
    Peer,
    /// By a client certificate.
    Cert,
}

impl Method {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Trust => "trust",
            Self::Reject => "reject",
            Self::ScramSha256 => "scram-sha-256",
            Self::Md5 => "md5",
            Self::Password => "password",
            Self::Peer => "peer",
            Self::Cert => "cert",
        }
    }
}

/// What a client's certificate has to show besides the method.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ClientCert {
    /// There need be none.
    #[default]
    Off,
    /// It comes from a trusted root.
    VerifyCa,
    /// And it names the user.
    VerifyFull,
}

/// What a connection goes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Local,
    Host,
    HostSsl,
    HostNoSsl,
    /// Encryption by GSSAPI, which no connection here has.
    HostGss,
    HostNoGss,
}

const TRANSPORTS: &[(&str, Transport)] = &[
    ("local", Transport::Local),
    ("host", Transport::Host),
    ("hostssl", Transport::HostSsl),
    ("hostnossl", Transport::HostNoSsl),
    ("hostgssenc", Transport::HostGss),
    ("hostnogssenc", Transport::HostNoGss),
];

impl Transport {
    pub(crate) fn name(self) -> &'static str {
        TRANSPORTS.iter().find(|(_, known)| *known == self).map_or("", |(name, _)| name)
    }
    fn fits(self, candidate: &Candidate<'_>) -> bool {
        match (self, candidate.address) {
            (Self::Local, None) | (Self::Host | Self::HostNoGss, Some(_)) => true,
            (Self::HostSsl, Some(_)) => candidate.encrypted,
            (Self::HostNoSsl, Some(_)) => !candidate.encrypted,
            _ => false,
        }
    }
}

/// One rule.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    /// Its line, counted from 1, and the line's text.
    pub(crate) line: u32,
    pub(crate) raw: String,
    pub(crate) transport: Transport,
    pub(crate) databases: Vec<Word>,
    pub(crate) users: Vec<Word>,
    pub(super) from: From,
    pub(crate) method: Method,
    pub(crate) client_cert: ClientCert,
    /// The name in a certificate is the whole distinguished name (clientname=DN).
    pub(crate) by_distinguished_name: bool,
    /// The map of pg_ident.conf that leads from names outside to roles.
    pub(crate) map: Option<String>,
}

impl Rule {
    pub(super) fn parse(fields: Vec<Vec<Word>>, line: u32, raw: String) -> Result<Self, String> {
        let mut fields = fields.into_iter();
        let kind = fields.next().unwrap_or_default();
        let [kind] = kind.as_slice() else {
            return Err("multiple values specified for connection type".to_owned());
        };
        let transport = TRANSPORTS.iter().find(|(name, _)| *name == kind.text);
        let transport = transport.ok_or_else(|| format!("invalid connection type \"{}\"", kind.text))?.1;
        let databases = fields.next().ok_or("end-of-line before database specification")?;
        let users = fields.next().ok_or("end-of-line before role specification")?;
        let from = match transport {
            Transport::Local => From::All,
            _ => From::parse(&mut fields)?,
        };
        let method = fields.next().ok_or("end-of-line before authentication method")?;
        let [method] = method.as_slice() else {
            return Err("multiple values specified for authentication type".to_owned());
        };
        let method = parse_method(&method.text, transport)?;
        let client_cert = if method == Method::Cert { ClientCert::VerifyFull } else { ClientCert::Off };
        let (by_distinguished_name, map) = (false, None);
        let mut rule = Self {
            line,
            raw,
            transport,
            databases,
            users,
            from,
            method,
            client_cert,
            by_distinguished_name,
            map,
        };
        for option in fields.flatten() {
            let (name, value) = option
                .text
                .split_once('=')
                .ok_or_else(|| format!("authentication option not in name=value format: {}", option.text))?;
            rule.set(name, value)?;
        }
        Ok(rule)
    }

    /// Takes in an option behind the method.
    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let for_ssl = || match self.transport {
            Transport::HostSsl => Ok(()),
            _ => Err(format!("{name} can only be configured for \"hostssl\" rows")),
        };
        match name {
            "map" if matches!(self.method, Method::Peer | Method::Cert) => self.map = Some(value.to_owned()),
            "map" => {
                return Err("authentication option \"map\" is only valid for authentication methods \
                            ident, peer, gssapi, sspi, and cert"
                    .to_owned());
            }
            "clientcert" => {
                for_ssl()?;
                self.client_cert = match value {
                    "verify-full" => ClientCert::VerifyFull,
                    "verify-ca" if self.method == Method::Cert => {
                        return Err("clientcert only accepts \"verify-full\" when using \"cert\" \
                                    authentication"
                            .to_owned());
                    }
                    "verify-ca" => ClientCert::VerifyCa,
                    _ => return Err(format!("invalid value for clientcert: \"{value}\"")),
                };
            }
            "clientname" => {
                for_ssl()?;
                self.by_distinguished_name = match value {
                    "CN" => false,
                    "DN" => true,
                    _ => return Err(format!("invalid value for clientname: \"{value}\"")),
                };
            }
            _ => return Err(format!("unrecognized authentication option name: \"{name}\"")),
        }
        Ok(())
    }

    pub(super) fn fits(&self, candidate: &Candidate<'_>) -> Result<bool, Missing> {
        if !self.transport.fits(candidate) {
            return Ok(false);
        }
        if let Some(address) = candidate.address
            && !self.from.fits(address, candidate)?
        {
            return Ok(false);
        }
        Ok(self.fits_database(candidate)? && self.fits_user(candidate)?)
    }

    fn fits_database(&self, candidate: &Candidate<'_>) -> Result<bool, Missing> {
        for word in &self.databases {
            let fits = if candidate.replication {
                word.is("replication")
            } else if word.is("all") {
                true
            } else if word.is("sameuser") {
                candidate.user == candidate.database
            } else if word.is("samerole") || word.is("samegroup") {
                is_member(candidate, candidate.database)?
            } else {
                !word.is("replication") && word.text == candidate.database
            };
            if fits {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn fits_user(&self, candidate: &Candidate<'_>) -> Result<bool, Missing> {
        for word in &self.users {
            let group = word.text.strip_prefix('+').filter(|_| !word.quoted);
            let fits = match group {
                Some(group) => is_member(candidate, group)?,
                None => word.is("all") || word.text == candidate.user,
            };
            if fits {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Why no connection fits it, whoever comes: an error of pg_hba_file_rules, though the file is taken.
    pub(crate) fn never_fits(&self, tls: bool) -> Option<&'static str> {
        match self.transport {
            Transport::HostSsl if !tls => Some("hostssl record cannot match because SSL is disabled"),
            Transport::HostGss => {
                Some("hostgssenc record cannot match because GSSAPI is not supported by this build")
            }
            _ => None,
        }
    }

    /// What an administrator should know of it.
    pub(super) fn warning(&self, tls: bool) -> Option<&'static str> {
        match self.transport {
            Transport::HostSsl | Transport::HostGss => self.never_fits(tls),
            Transport::Local => None,
            _ if self.method == Method::Password => Some(
                "passwords are sent in the clear over connections without SSL: use hostssl, or scram-sha-256",
            ),
            _ => None,
        }
    }

    /// The address of pg_hba_file_rules; None for Unix sockets.
    pub(crate) fn address(&self) -> Option<String> {
        match (&self.from, self.transport) {
            (_, Transport::Local) => None,
            (From::All, _) => Some("all".to_owned()),
            (From::SameHost, _) => Some("samehost".to_owned()),
            (From::SameNet, _) => Some("samenet".to_owned()),
            (From::Network { address, .. }, _) => Some(address.to_string()),
            (From::Host(name), _) => Some(name.clone()),
        }
    }

    /// The mask of pg_hba_file_rules.
    pub(crate) fn netmask(&self) -> Option<String> {
        match self.from {
            From::Network { mask, .. } => Some(mask.to_string()),
            _ => None,
        }
    }

    /// The options of pg_hba_file_rules.
    pub(crate) fn options(&self) -> Vec<String> {
        let map = self.map.as_ref().map(|map| format!("map={map}"));
        let cert = match self.client_cert {
            ClientCert::Off => None,
            ClientCert::VerifyCa => Some("clientcert=verify-ca".to_owned()),
            ClientCert::VerifyFull => Some("clientcert=verify-full".to_owned()),
        };
        // PostgreSQL 15 does not show clientname.
        map.into_iter().chain(cert).collect()
    }
}

fn is_member(candidate: &Candidate<'_>, role: &str) -> Result<bool, Missing> {
    Ok(candidate.roles.ok_or(Missing::Roles)?.iter().any(|known| known == role))
}

fn parse_method(word: &str, transport: Transport) -> Result<Method, String> {
    match word {
        "trust" => Ok(Method::Trust),
        "reject" => Ok(Method::Reject),
        "scram-sha-256" => Ok(Method::ScramSha256),
        "md5" => Ok(Method::Md5),
        "password" => Ok(Method::Password),
        // As in PostgreSQL, ident on a Unix socket is peer.
        "peer" | "ident" if transport == Transport::Local => Ok(Method::Peer),
        "peer" => Err("peer authentication is only supported on local sockets".to_owned()),
        "cert" if transport == Transport::HostSsl => Ok(Method::Cert),
        "cert" => Err("cert authentication is only supported on hostssl connections".to_owned()),
        "gss" | "sspi" | "ident" | "ldap" | "radius" | "pam" | "bsd" => {
            Err(format!("invalid authentication method \"{word}\": not supported by this build"))
        }
        _ => Err(format!("invalid authentication method \"{word}\"")),
    }
}
