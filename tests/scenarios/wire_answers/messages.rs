//! Messages of a client, as bytes.

/// One step of a case.
pub enum Step {
    /// These bytes are sent.
    Send(Vec<u8>),
    /// Nothing more is sent until a message of this kind has come.
    Await(u8),
    /// A cancel request for this session is sent on a connection of its own, and its end awaited; `true` with
    /// the right key.
    Cancel(bool),
    /// The same with the right key, again and again until a message of this kind comes: a request that is
    /// there before the statement has begun cancels nothing.
    CancelUntil(u8),
}

/// A message of this kind.
pub fn raw(kind: u8, body: &[u8]) -> Step {
    let mut message = vec![kind];
    message.extend(u32::try_from(body.len() + 4).expect("short").to_be_bytes());
    message.extend(body);
    Step::Send(message)
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend(text.bytes());
    out.push(0);
}

fn count(out: &mut Vec<u8>, count: usize) {
    out.extend(u16::try_from(count).expect("few").to_be_bytes());
}

pub fn query(sql: &str) -> Step {
    let mut body = Vec::new();
    text(&mut body, sql);
    raw(b'Q', &body)
}

pub fn parse_typed(name: &str, sql: &str, types: &[u32]) -> Step {
    let mut body = Vec::new();
    text(&mut body, name);
    text(&mut body, sql);
    count(&mut body, types.len());
    types.iter().for_each(|oid| body.extend(oid.to_be_bytes()));
    raw(b'P', &body)
}

pub fn parse(name: &str, sql: &str) -> Step {
    parse_typed(name, sql, &[])
}

/// A Bind in full: formats of the parameters, the parameters, formats of the results.
pub fn bind_formats(
    portal: &str,
    statement: &str,
    formats: &[i16],
    parameters: &[Option<&[u8]>],
    results: &[i16],
) -> Step {
    let mut body = Vec::new();
    text(&mut body, portal);
    text(&mut body, statement);
    count(&mut body, formats.len());
    formats.iter().for_each(|format| body.extend(format.to_be_bytes()));
    count(&mut body, parameters.len());
    for parameter in parameters {
        match parameter {
            None => body.extend((-1_i32).to_be_bytes()),
            Some(value) => {
                body.extend(u32::try_from(value.len()).expect("short").to_be_bytes());
                body.extend(*value);
            }
        }
    }
    count(&mut body, results.len());
    results.iter().for_each(|format| body.extend(format.to_be_bytes()));
    raw(b'B', &body)
}

/// A Bind with parameters as text.
pub fn bind(portal: &str, statement: &str, parameters: &[&str]) -> Step {
    let parameters: Vec<Option<&[u8]>> = parameters.iter().map(|value| Some(value.as_bytes())).collect();
    bind_formats(portal, statement, &[], &parameters, &[])
}

fn target(kind: u8, what: u8, name: &str) -> Step {
    let mut body = vec![what];
    text(&mut body, name);
    raw(kind, &body)
}

pub fn describe_statement(name: &str) -> Step {
    target(b'D', b'S', name)
}

pub fn describe_portal(name: &str) -> Step {
    target(b'D', b'P', name)
}

pub fn close_statement(name: &str) -> Step {
    target(b'C', b'S', name)
}

pub fn close_portal(name: &str) -> Step {
    target(b'C', b'P', name)
}

/// An Execute of so many rows; 0 is all.
pub fn execute(portal: &str, rows: i32) -> Step {
    let mut body = Vec::new();
    text(&mut body, portal);
    body.extend(rows.to_be_bytes());
    raw(b'E', &body)
}

pub fn sync() -> Step {
    raw(b'S', b"")
}

pub fn flush() -> Step {
    raw(b'H', b"")
}

pub fn copy_data(data: &[u8]) -> Step {
    raw(b'd', data)
}

pub fn copy_done() -> Step {
    raw(b'c', b"")
}

pub fn copy_fail(why: &str) -> Step {
    let mut body = Vec::new();
    text(&mut body, why);
    raw(b'f', &body)
}

/// A call of a function by its OID, without arguments.
pub fn function_call(oid: u32) -> Step {
    let mut body = oid.to_be_bytes().to_vec();
    body.extend([0, 0, 0, 0, 0, 0]);
    raw(b'F', &body)
}
