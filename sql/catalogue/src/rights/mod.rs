//! What is kept of rights: lists on objects, memberships of roles, default privileges, settings of roles.
//!
//! What nobody has granted or revoked is not kept: an object without a list has the one that
//! [`crate::Catalogue::acl`] tells, as in a directory from before there were rights. Every change of a right
//! is a change of the catalogue and counts its version up; a plan that was made and checked for a version
//! holds as long as that version does.

mod acl;
mod privilege;
mod roles;

pub use acl::{Acl, AclItem, Behaviour, Members, PUBLIC, item_text, parse_item};
pub use privilege::{ObjectKind, Privileges};
pub use roles::{Membership, Memberships, predefined};

use std::collections::HashMap;

/// An object that has a list of rights.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Object {
    /// A table, view or sequence of a user by its OID.
    Relation(u32),
    /// A table that the server or the catalogue makes up: its OID and its name.
    MadeUp(u32, &'static str),
    /// A column: its relation's OID, its number.
    Column(u32, i16),
    /// A schema by its OID.
    Schema(u32),
    /// A database by its OID.
    Database(u32),
    /// A function by its name and argument types: `pg_promote(boolean, integer)`.
    Function(String),
}

/// What new objects of a kind begin with: those that `role` makes (pg_default_acl).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DefaultFor {
    /// Who makes the object.
    pub role: u32,
    /// In which schema; 0 for any.
    pub schema: u32,
    /// defaclobjtype: `r` tables and views, `S` sequences, `f` functions, `T` types, `n` schemas.
    pub kind: char,
}

impl DefaultFor {
    /// The kind of object; None for one that has no rights here.
    pub const fn object_kind(self) -> ObjectKind {
        match self.kind {
            'S' => ObjectKind::Sequence,
            'f' => ObjectKind::Function,
            'n' => ObjectKind::Schema,
            'T' => ObjectKind::Absent('T'),
            _ => ObjectKind::Table,
        }
    }

    /// The list where nothing was granted or revoked: that of the kind, to which those in schemas add.
    pub fn first_acl(self) -> Acl {
        if self.schema == 0 { Acl::default_of(self.object_kind(), self.role) } else { Acl::default() }
    }
}

/// What the catalogue keeps of rights.
#[derive(Clone, Debug, Default)]
pub struct Rights {
    /// Lists of those objects where something was granted or revoked.
    pub acls: HashMap<Object, Acl>,
    /// Default privileges.
    pub defaults: HashMap<DefaultFor, Acl>,
    /// Who is a member of which role.
    pub members: Memberships,
    /// Settings that sessions begin with, `name=value`, by database and role; 0 is any.
    pub settings: HashMap<(u32, u32), Vec<String>>,
    /// Owners of schemas that were given away.
    pub schema_owners: HashMap<u32, u32>,
}

impl Object {
    /// By OID, columns behind their tables, functions last.
    pub fn sort_key(&self) -> (u32, i16, &str) {
        match self {
            Self::Relation(oid) | Self::MadeUp(oid, _) | Self::Schema(oid) | Self::Database(oid) => {
                (*oid, 0, "")
            }
            Self::Column(oid, number) => (*oid, *number, ""),
            Self::Function(signature) => (u32::MAX, 0, signature),
        }
    }
}
