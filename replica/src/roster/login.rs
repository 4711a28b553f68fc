//! How members log in to one another to ask who they are: as a user of that purpose, by a secret that all
//! copies of the cluster have, whatever pg_hba.conf says of others.
//!
//! The secret is the control file's mock_authentication_nonce, 32 random bytes that are drawn when the
//! cluster is made, and come with each clone, backup and rewind. The password is made of it by
//! HMAC-SHA-256, and goes through SCRAM as any other; neither it nor the nonce ever goes over a connection.
//! Both sides prove that they know it: who asks takes no answer from a server that does not. It is no
//! password that somebody could guess, so one iteration does, and a question costs no time of a processor.
//!
//! Who has a copy of the cluster's files can ask who is a member of what branch, and nothing else: the user
//! has no role, reads no table, streams nothing.

use protocol::scram::{Verifier, shared_password};
use wal::SystemId;

/// The user's name. PostgreSQL and Plimsoll take no role whose name begins with `pg_`.
pub const MEMBER_USER: &str = "pg_plimsoll_member";
/// The question: a command on a physical replication connection.
pub const MEMBER_QUESTION: &str = "member";

/// What a member proves that it is one.
#[derive(Clone)]
pub struct MemberLogin {
    password: String,
}

impl std::fmt::Debug for MemberLogin {
    /// Without the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemberLogin").finish_non_exhaustive()
    }
}

impl MemberLogin {
    /// Of a cluster whose control file has this nonce; None if there is no secret in it.
    pub fn new(nonce: &[u8; 32], system: SystemId) -> Option<Self> {
        let is_drawn = nonce.iter().any(|byte| *byte != 0);
        let purpose = format!("plimsoll member {system}");
        is_drawn.then(|| Self { password: shared_password(nonce, &purpose) })
    }

    /// The password.
    pub(crate) fn password(&self) -> &str {
        &self.password
    }

    /// What a server checks it by.
    pub fn verifier(&self) -> Verifier {
        Verifier::derive(&self.password, b"plimsoll member", 1)
    }
}
