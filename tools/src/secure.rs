//! What `init` says of who may log in: the password of a secure directory, once, or that anybody may.

use crate::output::{complain, say};
use crate::programs::initdb::InitArgs;
use host::Host;

/// Letters and digits of which nobody takes one for another.
const SIGNS: &[u8] = b"abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";
/// So many of them are more than 128 bits.
const PASSWORD_CHARS: usize = 24;

/// A new password.
pub fn password() -> String {
    let host = Host::real();
    let mut password = String::new();
    while password.len() < PASSWORD_CHARS {
        let mut byte = [0];
        host.entropy.fill(&mut byte);
        // What is past the list's end is drawn again, so that each sign is as likely as the others.
        let sign = SIGNS.get(usize::from(byte[0] & 63));
        password.extend(sign.map(|sign| char::from(*sign)));
    }
    password
}

/// Tells the password that was made for the superuser: nobody can read it anywhere later.
pub fn tell(superuser: &str, password: &str) {
    say!(
        "superuser \"{superuser}\" has the password\n\n    {password}\n\nwhich is not kept and not told again"
    );
}

/// Warns, as initdb does, of a directory whose sockets let in everybody because nothing else was said.
pub fn warn_of_trust(arguments: &InitArgs) {
    let is_open = |own: &Option<String>| own.is_none() && arguments.auth.is_none();
    if !arguments.secure && (is_open(&arguments.auth_local) || is_open(&arguments.auth_host)) {
        complain!("initdb: warning: enabling \"trust\" authentication for local connections");
        complain!(
            "initdb: hint: You can change this by editing pg_hba.conf or using the option -A, or --auth-local and \
             --auth-host, the next time you run init; --secure sets up passwords and TLS."
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_long_and_differ() {
        let (one, other) = (password(), password());
        assert_eq!((one.len(), other.len()), (PASSWORD_CHARS, PASSWORD_CHARS));
        assert_ne!(one, other);
        assert!(one.bytes().all(|byte| SIGNS.contains(&byte)));
    }
}
