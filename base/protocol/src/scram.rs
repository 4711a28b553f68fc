//! SCRAM-SHA-256 (RFC 5802, RFC 7677) of both sides, bound to a TLS channel or not (RFC 5929,
//! `tls-server-end-point`), and the text that roles keep.

use crate::report::Report;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use sqlstate::SqlState;
use std::borrow::Cow;
use std::fmt;
use stringprep::tables;
use unicode_normalization::UnicodeNormalization as _;

/// The mechanism's name.
pub const MECHANISM: &str = "SCRAM-SHA-256";
/// Its name with channel binding.
pub const MECHANISM_PLUS: &str = "SCRAM-SHA-256-PLUS";
/// The one kind of channel binding that PostgreSQL has.
const BINDING: &str = "tls-server-end-point";
/// Iterations of a new verifier, as PostgreSQL's scram_iterations.
pub const ITERATIONS: u32 = 4096;
/// Bytes of a new verifier's salt.
pub const SALT_BYTES: usize = 16;
/// The most iterations of a verifier, and the most that a client spends on the word of a server that has
/// proven nothing yet: less than a second.
pub const ITERATIONS_MAX: u32 = 1_000_000;
/// So many take some milliseconds.
const ITERATIONS_SOON_DONE: u32 = 4 * ITERATIONS;

type Key = [u8; 32];

/// Why an exchange failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScramError {
    /// The peer's message does not follow the RFC.
    #[error("malformed SCRAM message ({0})")]
    Malformed(&'static str),
    /// The client's last message belongs to another exchange.
    #[error("invalid SCRAM response")]
    WrongNonce,
    /// The client wants what the RFC has and PostgreSQL does not.
    #[error("{0}")]
    Unsupported(&'static str),
    /// The client wants another kind of channel binding.
    #[error("unsupported SCRAM channel-binding type \"{0}\"")]
    BindingType(String),
    /// The client could bind the channel and was made to think that the server could not.
    #[error("SCRAM channel binding negotiation error")]
    Downgraded,
    /// The client speaks with another channel than this one.
    #[error("SCRAM channel binding check failed")]
    OtherChannel,
    /// The client's last message says otherwise than its first whether the channel is bound.
    #[error("unexpected SCRAM channel-binding attribute in client-final-message")]
    OtherBinding,
    /// The server wants more work than a client does for it.
    #[error("the server demands {0} iterations, a client makes {max} at most", max = ITERATIONS_MAX)]
    Iterations(u32),
    /// The password is wrong (or there is none).
    #[error("password authentication failed")]
    WrongPassword,
    /// The server does not know the password either.
    #[error("incorrect server signature")]
    WrongServer,
    /// The server reports a failure of its own.
    #[error("error received from server in SCRAM exchange: {0}")]
    Server(String),
}

impl ScramError {
    /// What a server tells its client, with PostgreSQL's codes.
    pub fn report(&self) -> Report {
        let violation = SqlState::PROTOCOL_VIOLATION;
        match self {
            Self::Malformed(what) => Report::fatal(violation, "malformed SCRAM message")
                .with_detail(format!("Found a wrong {what}.")),
            Self::WrongNonce => {
                Report::fatal(violation, self.to_string()).with_detail("Nonce does not match.")
            }
            Self::Unsupported(_) => Report::fatal(SqlState::FEATURE_NOT_SUPPORTED, self.to_string()),
            Self::OtherChannel => {
                Report::fatal(SqlState::INVALID_AUTHORIZATION_SPECIFICATION, self.to_string())
            }
            Self::Downgraded => {
                Report::fatal(SqlState::INVALID_AUTHORIZATION_SPECIFICATION, self.to_string()).with_detail(
                    "The client supports SCRAM channel binding but thinks the server does not. However, \
                     this server does support channel binding.",
                )
            }
            _ => Report::fatal(violation, self.to_string()),
        }
    }
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> Key {
    // HMAC takes keys of every length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return [0; 32] };
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

fn xor(a: &Key, b: &Key) -> Key {
    std::array::from_fn(|at| a[at] ^ b[at])
}

/// Compares without telling by time where a difference lies.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

/// The password as it is hashed: prepared by SASLprep (RFC 4013) as PostgreSQL does it, which looks for what
/// is prohibited before it normalizes. One that it refuses, or of which it leaves nothing, is used as it is.
fn prepared(password: &str) -> Cow<'_, str> {
    if password.is_ascii() {
        return Cow::Borrowed(password);
    }
    let mapped: Vec<char> = password
        .chars()
        .map(|c| if tables::non_ascii_space_character(c) { ' ' } else { c })
        .filter(|c| !tables::commonly_mapped_to_nothing(*c))
        .collect();
    if mapped.is_empty() || mapped.iter().copied().any(is_prohibited) || !reads_one_way(&mapped) {
        return Cow::Borrowed(password);
    }
    Cow::Owned(mapped.into_iter().nfkc().collect())
}

/// Whether no password has this character, once blanks are mapped.
fn is_prohibited(c: char) -> bool {
    tables::ascii_control_character(c)
        || tables::non_ascii_control_character(c)
        || tables::private_use(c)
        || tables::non_character_code_point(c)
        || tables::inappropriate_for_plain_text(c)
        || tables::inappropriate_for_canonical_representation(c)
        || tables::change_display_properties_or_deprecated(c)
        || tables::tagging_character(c)
        || tables::unassigned_code_point(c)
}

/// Whether what reads from right to left stands alone, and at both ends.
fn reads_one_way(text: &[char]) -> bool {
    let from_right = |c: &char| tables::bidi_r_or_al(*c);
    !text.iter().any(from_right)
        || !text.iter().any(|c| tables::bidi_l(*c))
            && text.first().is_some_and(from_right)
            && text.last().is_some_and(from_right)
}

/// PBKDF2 with HMAC-SHA-256 and one block.
fn salted_password(password: &str, salt: &[u8], iterations: u32) -> Key {
    salted_while(password, salt, iterations, &|| true).unwrap_or_default()
}

/// The same; None if nobody wants it any more.
fn salted_while(password: &str, salt: &[u8], iterations: u32, wanted: &dyn Fn() -> bool) -> Option<Key> {
    let keyed = Hmac::<Sha256>::new_from_slice(prepared(password).as_bytes()).ok()?;
    let mut mac = keyed.clone();
    mac.update(salt);
    mac.update(&1_u32.to_be_bytes());
    let mut last: Key = mac.finalize().into_bytes().into();
    let mut sum = last;
    for round in 1..iterations {
        if round.is_multiple_of(ITERATIONS) && !wanted() {
            return None;
        }
        let mut mac = keyed.clone();
        mac.update(&last);
        last = mac.finalize().into_bytes().into();
        sum = xor(&sum, &last);
    }
    Some(sum)
}

/// A password of servers that hold one secret. Of the password nobody learns the secret, nor that of another
/// purpose.
pub fn shared_password(secret: &[u8], purpose: &str) -> String {
    let key = hmac(secret, &[purpose.as_bytes()]);
    key.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a server keeps of a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    iterations: u32,
    salt: Vec<u8>,
    stored_key: Key,
    server_key: Key,
}

impl Verifier {
    /// Of a password with this salt. Takes milliseconds by intention.
    pub fn derive(password: &str, salt: &[u8], iterations: u32) -> Self {
        let iterations = iterations.max(1);
        Self::of_salted(&salted_password(password, salt, iterations), salt, iterations)
    }

    fn of_salted(salted: &Key, salt: &[u8], iterations: u32) -> Self {
        let client_key = hmac(salted, &[b"Client Key"]);
        Self {
            iterations,
            salt: salt.to_vec(),
            stored_key: Sha256::digest(client_key).into(),
            server_key: hmac(salted, &[b"Server Key"]),
        }
    }

    /// How often the password is hashed.
    pub fn iterations(&self) -> u32 {
        self.iterations
    }

    /// One that no password fits, for names that do not exist: its salt depends on the name and the server's
    /// secret alone, so that a client can't tell by asking twice.
    pub fn mock(secret: &[u8], user: &str) -> Self {
        let salt = hmac(secret, &[b"mock salt", user.as_bytes()]);
        Self {
            iterations: ITERATIONS,
            salt: salt.iter().copied().take(SALT_BYTES).collect(),
            stored_key: hmac(secret, &[b"mock stored key", user.as_bytes()]),
            server_key: hmac(secret, &[b"mock server key", user.as_bytes()]),
        }
    }

    /// Reads `SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key>`.
    pub fn parse(text: &str) -> Option<Self> {
        let (iterations, rest) = text.strip_prefix("SCRAM-SHA-256$")?.split_once(':')?;
        let (salt, keys) = rest.split_once('$')?;
        let (stored_key, server_key) = keys.split_once(':')?;
        let key = |text: &str| Key::try_from(BASE64.decode(text).ok()?).ok();
        Some(Self {
            iterations: iterations.parse().ok().filter(|count| *count > 0)?,
            salt: BASE64.decode(salt).ok()?,
            stored_key: key(stored_key)?,
            server_key: key(server_key)?,
        })
    }

    /// Whether `password` is the one.
    pub fn matches(&self, password: &str) -> bool {
        self.matches_while(password, &|| true)
    }

    /// The same; it is not as soon as nobody wants to know any more, which is asked every few milliseconds.
    pub fn matches_while(&self, password: &str, wanted: &dyn Fn() -> bool) -> bool {
        salted_while(password, &self.salt, self.iterations, wanted).is_some_and(|salted| {
            let own = Self::of_salted(&salted, &self.salt, self.iterations);
            same(&own.server_key, &self.server_key)
        })
    }
}

impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { iterations, salt, stored_key, server_key } = self;
        let [salt, stored, server] = [&salt[..], stored_key, server_key].map(|bytes| BASE64.encode(bytes));
        write!(f, "SCRAM-SHA-256${iterations}:{salt}${stored}:{server}")
    }
}

impl fmt::Debug for Verifier {
    /// Keeps the keys out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

/// A printable nonce of 18 random bytes.
pub fn nonce(random: [u8; 18]) -> String {
    BASE64.encode(random)
}

fn text(message: &[u8]) -> Result<&str, ScramError> {
    std::str::from_utf8(message).map_err(|_| ScramError::Malformed("not text"))
}

/// The value of the attribute that must stand at the head of `message`, and what follows its comma.
fn attribute<'a>(message: &'a str, name: &str) -> Result<(&'a str, &'a str), ScramError> {
    let (head, rest) = message.split_once(',').unwrap_or((message, ""));
    let value = head.strip_prefix(name).and_then(|head| head.strip_prefix('='));
    value.map(|value| (value, rest)).ok_or(ScramError::Malformed("attribute"))
}

/// How a client chose to speak, and what the server offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chosen<'a> {
    /// The plain mechanism.
    Plain {
        /// The bound one was offered too.
        bound_offered: bool,
    },
    /// The bound one, over a channel with this hash of the server's certificate.
    Bound(&'a [u8]),
}

/// The server's side.
#[derive(Debug)]
pub struct ServerExchange {
    verifier: Verifier,
    doomed: bool,
    bound: bool,
    /// What the client has to say of the channel.
    binding: Vec<u8>,
    nonce: String,
    auth_message: String,
}

impl ServerExchange {
    /// Takes the client's first message; gives the exchange and the server's first message.
    ///
    /// `doomed` goes through the motions and then fails, for roles that do not exist or have no password.
    ///
    /// # Errors
    ///
    /// Fails if the message is malformed, or says otherwise of channel binding than the mechanism that the
    /// client chose.
    pub fn start(
        verifier: Verifier,
        doomed: bool,
        client_first: &[u8],
        server_nonce: &str,
        chosen: Chosen<'_>,
    ) -> Result<(Self, String), ScramError> {
        let message = text(client_first)?;
        let (flag, rest) = message.split_once(',').ok_or(ScramError::Malformed("header"))?;
        let mut binding = format!("{flag},,").into_bytes();
        match (flag, chosen) {
            ("y", Chosen::Plain { bound_offered: true }) => return Err(ScramError::Downgraded),
            ("n" | "y", Chosen::Plain { .. }) => {}
            (flag, chosen) => match (flag.strip_prefix("p="), chosen) {
                (Some(BINDING), Chosen::Bound(hash)) => binding.extend_from_slice(hash),
                (Some(kind), Chosen::Bound(_)) => {
                    return Err(ScramError::BindingType(kind.chars().take(80).collect()));
                }
                _ => return Err(ScramError::Malformed("channel binding flag")),
            },
        }
        let Some(bare) = rest.strip_prefix(',') else {
            return Err(match rest.starts_with("a=") {
                true => {
                    ScramError::Unsupported("client uses authorization identity, but it is not supported")
                }
                false => ScramError::Malformed("header"),
            });
        };
        if bare.starts_with("m=") {
            return Err(ScramError::Unsupported("client requires an unsupported SCRAM extension"));
        }
        let (_user, rest) = attribute(bare, "n")?;
        let (client_nonce, extensions) = attribute(rest, "r")?;
        // What they mean nobody knows, but that is how they look.
        let is_attribute =
            |one: &str| matches!(one.as_bytes(), [name, b'=', ..] if name.is_ascii_alphabetic());
        if !extensions.split_terminator(',').all(is_attribute) {
            return Err(ScramError::Malformed("attribute"));
        }
        if client_nonce.is_empty() || !client_nonce.bytes().all(|byte| matches!(byte, 0x21..=0x7e)) {
            return Err(ScramError::Malformed("nonce"));
        }
        let nonce = format!("{client_nonce}{server_nonce}");
        let salt = BASE64.encode(&verifier.salt);
        let server_first = format!("r={nonce},s={salt},i={}", verifier.iterations);
        let auth_message = format!("{bare},{server_first}");
        let bound = matches!(chosen, Chosen::Bound(_));
        Ok((Self { verifier, doomed, bound, binding, nonce, auth_message }, server_first))
    }

    /// Takes the client's last message; gives the server's last message if the password was right.
    ///
    /// # Errors
    ///
    /// Fails if the message is malformed or belongs to another exchange or channel, or the proof does not
    /// verify.
    pub fn finish(self, client_final: &[u8]) -> Result<String, ScramError> {
        let message = text(client_final)?;
        let (binding, rest) = attribute(message, "c")?;
        if BASE64.decode(binding).ok().as_deref() != Some(self.binding.as_slice()) {
            return Err(if self.bound { ScramError::OtherChannel } else { ScramError::OtherBinding });
        }
        let (without_proof, proof) = message.rsplit_once(",p=").ok_or(ScramError::Malformed("proof"))?;
        let (nonce, _) = attribute(rest, "r")?;
        let proof = BASE64.decode(proof).ok().and_then(|proof| Key::try_from(proof).ok());
        let proof = proof.ok_or(ScramError::Malformed("proof"))?;
        if nonce != self.nonce {
            return Err(ScramError::WrongNonce);
        }
        let auth_message = format!("{},{without_proof}", self.auth_message);
        let signature = hmac(&self.verifier.stored_key, &[auth_message.as_bytes()]);
        let client_key = xor(&proof, &signature);
        let right = same(&Sha256::digest(client_key), &self.verifier.stored_key);
        if self.doomed || !right {
            return Err(ScramError::WrongPassword);
        }
        let signature = hmac(&self.verifier.server_key, &[auth_message.as_bytes()]);
        Ok(format!("v={}", BASE64.encode(signature)))
    }
}

/// What a server's first message asks of a client.
struct Demand<'m> {
    nonce: &'m str,
    salt: &'m str,
    iterations: u32,
}

impl<'m> Demand<'m> {
    fn of(server_first: &'m str) -> Result<Self, ScramError> {
        let (nonce, rest) = attribute(server_first, "r")?;
        let (salt, rest) = attribute(rest, "s")?;
        let (iterations, _) = attribute(rest, "i")?;
        match iterations.parse() {
            Err(_) | Ok(0) => Err(ScramError::Malformed("iteration count")),
            Ok(count) if count > ITERATIONS_MAX => Err(ScramError::Iterations(count)),
            Ok(iterations) => Ok(Self { nonce, salt, iterations }),
        }
    }
}

/// Whether a client's proof for this first message of a server takes long, so that it is made where nobody
/// waits behind it.
pub(crate) fn takes_long(server_first: &[u8]) -> bool {
    let demand = text(server_first).and_then(Demand::of);
    demand.is_ok_and(|demand| demand.iterations > ITERATIONS_SOON_DONE)
}

/// What a client says of the channel that it speaks over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel<'a> {
    /// It binds none: there is no TLS, or the user does not want it.
    Unbound,
    /// It would, and the server has not offered it.
    NotOffered,
    /// It binds this one, by the hash of the server's certificate.
    Bound(&'a [u8]),
}

impl Channel<'_> {
    /// The mechanism to choose.
    pub const fn mechanism(self) -> &'static str {
        match self {
            Self::Bound(_) => MECHANISM_PLUS,
            Self::Unbound | Self::NotOffered => MECHANISM,
        }
    }
    fn header(self) -> String {
        match self {
            Self::Unbound => "n,,".to_owned(),
            Self::NotOffered => "y,,".to_owned(),
            Self::Bound(_) => format!("p={BINDING},,"),
        }
    }
}

/// The client's side.
#[derive(Debug)]
pub struct ClientExchange {
    password: String,
    nonce: String,
    first_bare: String,
    /// What is said of the channel, as the last message has it.
    binding: String,
}

/// The client's side after its proof is sent.
#[derive(Debug)]
pub struct ClientProof {
    server_signature: Key,
}

impl ClientExchange {
    /// Starts with a fresh [`nonce`]; gives the exchange and the client's first message. The user's name
    /// travels in the startup packet, so the one here is empty, as libpq's.
    pub fn start(password: &str, nonce: String, channel: Channel<'_>) -> (Self, String) {
        let first_bare = format!("n=,r={nonce}");
        let header = channel.header();
        let message = format!("{header}{first_bare}");
        let mut binding = header.into_bytes();
        if let Channel::Bound(hash) = channel {
            binding.extend_from_slice(hash);
        }
        let binding = BASE64.encode(binding);
        (Self { password: password.to_owned(), nonce, first_bare, binding }, message)
    }

    /// Takes the server's first message; gives the client's last one.
    ///
    /// # Errors
    ///
    /// Fails if the message is malformed, or does not continue our nonce.
    pub fn prove(self, server_first: &[u8]) -> Result<(ClientProof, String), ScramError> {
        let server_first = text(server_first)?;
        let Demand { nonce, salt, iterations } = Demand::of(server_first)?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err(ScramError::Malformed("nonce"));
        }
        let salt = BASE64.decode(salt).map_err(|_| ScramError::Malformed("salt"))?;
        let salted = salted_password(&self.password, &salt, iterations);
        let client_key = hmac(&salted, &[b"Client Key"]);
        let without_proof = format!("c={},r={nonce}", self.binding);
        let auth_message = format!("{},{server_first},{without_proof}", self.first_bare);
        let signature = hmac(&Sha256::digest(client_key), &[auth_message.as_bytes()]);
        let proof = BASE64.encode(xor(&client_key, &signature));
        let server_key = hmac(&salted, &[b"Server Key"]);
        let server_signature = hmac(&server_key, &[auth_message.as_bytes()]);
        Ok((ClientProof { server_signature }, format!("{without_proof},p={proof}")))
    }
}

impl ClientProof {
    /// Takes the server's last message, which proves that it knows the password too.
    ///
    /// # Errors
    ///
    /// Fails if the server reports an error, or its signature does not verify.
    pub fn verify(self, server_final: &[u8]) -> Result<(), ScramError> {
        let message = text(server_final)?;
        if let Ok((error, _)) = attribute(message, "e") {
            return Err(ScramError::Server(error.chars().take(80).collect()));
        }
        let (signature, _) = attribute(message, "v")?;
        let signature = BASE64.decode(signature).map_err(|_| ScramError::Malformed("signature"))?;
        if same(&signature, &self.server_signature) { Ok(()) } else { Err(ScramError::WrongServer) }
    }
}

#[cfg(test)]
mod tests;
