//! SCRAM-SHA-256 (RFC 5802, RFC 7677) of both sides, without channel binding, and the text that roles keep.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use std::fmt;

/// The mechanism's name.
pub const MECHANISM: &str = "SCRAM-SHA-256";
/// Iterations of a new verifier, as PostgreSQL's scram_iterations.
pub const ITERATIONS: u32 = 4096;
/// Bytes of a new verifier's salt.
pub const SALT_BYTES: usize = 16;
/// The most iterations that a client spends on the word of a server that has proven nothing yet: less than a
/// second.
const ITERATIONS_MAX: u32 = 1_000_000;
/// So many take some milliseconds.
const ITERATIONS_SOON_DONE: u32 = 4 * ITERATIONS;

type Key = [u8; 32];

/// Why an exchange failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScramError {
    /// The peer's message does not follow the RFC.
    #[error("malformed SCRAM message ({0})")]
    Malformed(&'static str),
    /// The peer wants channel binding.
    #[error("the client selected SCRAM-SHA-256 with channel binding, which this connection does not have")]
    ChannelBinding,
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

/// PBKDF2 with HMAC-SHA-256 and one block.
fn salted_password(password: &str, salt: &[u8], iterations: u32) -> Key {
    // A password that SASLprep refuses is used as it is, as PostgreSQL does.
    let prepared = stringprep::saslprep(password);
    let password = prepared.as_deref().unwrap_or(password);
    let Ok(keyed) = Hmac::<Sha256>::new_from_slice(password.as_bytes()) else { return [0; 32] };
    let mut mac = keyed.clone();
    mac.update(salt);
    mac.update(&1_u32.to_be_bytes());
    let mut last: Key = mac.finalize().into_bytes().into();
    let mut sum = last;
    for _ in 1..iterations {
        let mut mac = keyed.clone();
        mac.update(&last);
        last = mac.finalize().into_bytes().into();
        sum = xor(&sum, &last);
    }
    sum
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
        let salted = salted_password(password, salt, iterations);
        let client_key = hmac(&salted, &[b"Client Key"]);
        Self {
            iterations,
            salt: salt.to_vec(),
            stored_key: Sha256::digest(client_key).into(),
            server_key: hmac(&salted, &[b"Server Key"]),
        }
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
        same(&Self::derive(password, &self.salt, self.iterations).server_key, &self.server_key)
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
    value.map(|value| (value, rest)).ok_or(ScramError::Malformed("attribute expected"))
}

/// The server's side.
#[derive(Debug)]
pub struct ServerExchange {
    verifier: Verifier,
    doomed: bool,
    gs2_header: String,
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
    /// Fails if the message is malformed, or asks for channel binding.
    pub fn start(
        verifier: Verifier,
        doomed: bool,
        client_first: &[u8],
        server_nonce: &str,
    ) -> Result<(Self, String), ScramError> {
        let message = text(client_first)?;
        let (binding, rest) = message.split_once(',').ok_or(ScramError::Malformed("header"))?;
        match binding {
            "n" | "y" => {}
            _ if binding.starts_with("p=") => return Err(ScramError::ChannelBinding),
            _ => return Err(ScramError::Malformed("channel binding flag")),
        }
        let Some(bare) = rest.strip_prefix(',') else {
            return Err(ScramError::Malformed("an authorization identity is not supported"));
        };
        if bare.starts_with("m=") {
            return Err(ScramError::Malformed("mandatory extension"));
        }
        let (_user, rest) = attribute(bare, "n")?;
        let (client_nonce, _) = attribute(rest, "r")?;
        if client_nonce.is_empty() || !client_nonce.bytes().all(|byte| matches!(byte, 0x21..=0x7e)) {
            return Err(ScramError::Malformed("nonce"));
        }
        let nonce = format!("{client_nonce}{server_nonce}");
        let salt = BASE64.encode(&verifier.salt);
        let server_first = format!("r={nonce},s={salt},i={}", verifier.iterations);
        let auth_message = format!("{bare},{server_first}");
        let gs2_header = format!("{binding},,");
        Ok((Self { verifier, doomed, gs2_header, nonce, auth_message }, server_first))
    }

    /// Takes the client's last message; gives the server's last message if the password was right.
    ///
    /// # Errors
    ///
    /// Fails if the message is malformed or belongs to another exchange, or the proof does not verify.
    pub fn finish(self, client_final: &[u8]) -> Result<String, ScramError> {
        let message = text(client_final)?;
        let (without_proof, proof) =
            message.rsplit_once(",p=").ok_or(ScramError::Malformed("proof missing"))?;
        let (binding, rest) = attribute(without_proof, "c")?;
        if BASE64.decode(binding).ok().as_deref() != Some(self.gs2_header.as_bytes()) {
            return Err(ScramError::Malformed("channel binding data"));
        }
        let (nonce, _) = attribute(rest, "r")?;
        if nonce != self.nonce {
            return Err(ScramError::Malformed("nonce"));
        }
        let proof = BASE64.decode(proof).ok().and_then(|proof| Key::try_from(proof).ok());
        let proof = proof.ok_or(ScramError::Malformed("proof"))?;
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

/// The client's side.
#[derive(Debug)]
pub struct ClientExchange {
    password: String,
    nonce: String,
    first_bare: String,
}

/// The client's side after its proof is sent.
#[derive(Debug)]
pub struct ClientProof {
    server_signature: Key,
}

impl ClientExchange {
    /// Starts with a fresh [`nonce`]; gives the exchange and the client's first message. The user's name
    /// travels in the startup packet, so the one here is empty, as libpq's.
    pub fn start(password: &str, nonce: String) -> (Self, String) {
        let first_bare = format!("n=,r={nonce}");
        let message = format!("n,,{first_bare}");
        (Self { password: password.to_owned(), nonce, first_bare }, message)
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
        let without_proof = format!("c={},r={nonce}", BASE64.encode("n,,"));
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
mod tests {
    use super::*;

    #[test]
    fn the_exchange_of_rfc_7677_comes_out_to_the_byte() {
        // RFC 7677, section 3: user "user", password "pencil". The RFC's client names its user; libpq's does
        // not.
        let salt = BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let verifier = Verifier::derive("pencil", &salt, 4096);
        let (server, server_first) = ServerExchange::start(
            verifier,
            false,
            b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
            "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
        )
        .unwrap();
        assert_eq!(
            server_first,
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
        );
        let server_final = server
            .finish(
                b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                  p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
            )
            .unwrap();
        assert_eq!(server_final, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    }

    fn run(password: &str, verifier: Verifier, doomed: bool) -> Result<(), ScramError> {
        let (client, first) = ClientExchange::start(password, nonce([7; 18]));
        let (server, answer) = ServerExchange::start(verifier, doomed, first.as_bytes(), &nonce([9; 18]))?;
        let (proof, last) = client.prove(answer.as_bytes())?;
        proof.verify(server.finish(last.as_bytes())?.as_bytes())
    }

    #[test]
    fn only_the_right_password_passes() {
        let verifier = Verifier::derive("gruß\u{a0}x", b"0123456789abcdef", 64);
        let kept = Verifier::parse(&verifier.to_string()).unwrap();
        assert_eq!(kept, verifier);
        // SASLprep maps a no-break space to a space.
        assert_eq!(run("gruß x", kept.clone(), false), Ok(()));
        assert_eq!(run("gruss x", kept.clone(), false), Err(ScramError::WrongPassword));
        assert_eq!(run("gruß x", kept.clone(), true), Err(ScramError::WrongPassword));
        assert!(kept.matches("gruß x") && !kept.matches("gruß  x"));
        assert_eq!(run("", Verifier::mock(b"secret", "nobody"), false), Err(ScramError::WrongPassword));
    }

    #[test]
    fn a_client_makes_a_million_iterations_at_most_and_many_where_nobody_waits() {
        let own = nonce([7; 18]);
        let demand = |iterations: u32| format!("r={own}9,s=AAAA,i={iterations}").into_bytes();
        for (iterations, long) in [(1, false), (4096, false), (16_385, true), (1_000_000, true)] {
            assert_eq!(takes_long(&demand(iterations)), long, "{iterations}");
        }
        for (iterations, error) in [
            (0, ScramError::Malformed("iteration count")),
            (1_000_001, ScramError::Iterations(1_000_001)),
            (u32::MAX, ScramError::Iterations(u32::MAX)),
        ] {
            let (client, _) = ClientExchange::start("x", own.clone());
            assert_eq!(client.prove(&demand(iterations)).err(), Some(error));
        }
    }

    #[test]
    fn a_verifier_made_by_postgresql_is_read() {
        // psql -c "set password_encryption='scram-sha-256'; create role r password 'pencil'; select
        // rolpassword ..."
        for (text, good) in [
            (
                "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
                true,
            ),
            (
                "SCRAM-SHA-256$0:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
                false,
            ),
            ("SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d:wfPL", false),
            ("md5c0ffee", false),
        ] {
            assert_eq!(
                Verifier::parse(text).is_some_and(|verifier| verifier.matches("pencil")),
                good,
                "{text}"
            );
        }
    }
}
