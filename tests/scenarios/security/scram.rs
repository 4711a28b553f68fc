//! A client's side of SCRAM that can be made to say what is wrong.

use protocol::scram::{Channel, ClientExchange, nonce};
use scenarios::raw::Raw;

/// What is changed of a client's messages. Each gets the right text and gives the one that is sent.
#[derive(Clone, Copy)]
pub struct Tampering {
    pub mechanism: fn(&str) -> String,
    pub first: fn(&str) -> String,
    pub last: fn(&str) -> String,
}

impl Tampering {
    pub const NONE: Self = Self { mechanism: str::to_owned, first: str::to_owned, last: str::to_owned };

    pub const fn mechanism(mechanism: fn(&str) -> String) -> Self {
        Self { mechanism, ..Self::NONE }
    }
    pub const fn first(first: fn(&str) -> String) -> Self {
        Self { first, ..Self::NONE }
    }
    pub const fn last(last: fn(&str) -> String) -> Self {
        Self { last, ..Self::NONE }
    }
}

/// Asks for a session of a user and proves a password; what that comes to.
pub fn log_in(raw: &mut Raw, user: &str, password: &str, tampering: Tampering) -> String {
    log_in_over(raw, user, password, Channel::Unbound, tampering)
}

/// The same with something said of the channel.
pub fn log_in_over(
    raw: &mut Raw,
    user: &str,
    password: &str,
    channel: Channel<'_>,
    tampering: Tampering,
) -> String {
    raw.startup(&[("user", user), ("database", "postgres")]);
    prove(raw, password, channel, tampering)
}

/// Proves a password to a server that was told who asks.
pub fn prove(raw: &mut Raw, password: &str, channel: Channel<'_>, tampering: Tampering) -> String {
    match asked(raw) {
        Ok(10) => {}
        Ok(0) => return raw.outcome(),
        Ok(kind) => return format!("asked {kind}"),
        Err(outcome) => return outcome,
    }
    let (exchange, first) = ClientExchange::start(password, nonce([7; 18]), channel);
    initial(raw, &(tampering.mechanism)(channel.mechanism()), Some(&(tampering.first)(&first)));
    let challenge = match challenge(raw) {
        Ok(challenge) => challenge,
        Err(outcome) => return outcome,
    };
    let Ok((_, last)) = exchange.prove(&challenge) else { return "no challenge".to_owned() };
    raw.send(b'p', (tampering.last)(&last).as_bytes());
    raw.outcome()
}

/// The kind of proof that the server asks for; Err is the outcome if it asks for none.
pub fn asked(raw: &mut Raw) -> Result<u32, String> {
    match raw.answer() {
        Some((b'R', body)) if body.len() >= 4 => Ok(u32::from_be_bytes([body[0], body[1], body[2], body[3]])),
        other => Err(outcome_of(other)),
    }
}

/// The server's challenge; Err is the outcome if there is none.
pub fn challenge(raw: &mut Raw) -> Result<Vec<u8>, String> {
    match raw.answer() {
        Some((b'R', body)) if body.starts_with(&[0, 0, 0, 11]) => Ok(body[4..].to_vec()),
        other => Err(outcome_of(other)),
    }
}

/// Sends a SASLInitialResponse.
pub fn initial(raw: &mut Raw, mechanism: &str, first: Option<&str>) {
    let mut body = format!("{mechanism}\0").into_bytes();
    match first {
        Some(first) => {
            body.extend(u32::try_from(first.len()).expect("short").to_be_bytes());
            body.extend(first.bytes());
        }
        None => body.extend((-1_i32).to_be_bytes()),
    }
    raw.send(b'p', &body);
}

fn outcome_of(message: Option<(u8, Vec<u8>)>) -> String {
    match message {
        Some((b'E', body)) => {
            let field = |kind: u8| {
                let mut fields = body.split(|byte| *byte == 0).filter(|field| field.first() == Some(&kind));
                fields
                    .next()
                    .map(|field| String::from_utf8_lossy(&field[1..]).into_owned())
                    .unwrap_or_default()
            };
            format!("{} {}", field(b'C'), field(b'M'))
        }
        Some((kind, _)) => format!("message {}", char::from(kind)),
        None => "closed".to_owned(),
    }
}
