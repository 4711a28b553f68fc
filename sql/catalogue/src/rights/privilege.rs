//! Privileges, and the kinds of objects that they are about (utils/acl.h of PostgreSQL 15).

use std::ops::{BitAnd, BitOr, BitOrAssign, Not};

/// A set of privileges: PostgreSQL's bits (AclMode), of which an item of a list has a second set, for its
/// grant options.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Privileges(u16);

macro_rules! privileges {
    ($($bit:literal $name:ident $letter:literal $word:literal;)*) => {
        impl Privileges {
            $(#[doc = concat!("`", $letter, "`: ", $word)] pub const $name: Self = Self(1 << $bit);)*

            /// Each privilege by itself, with letter and word, in the order in which lists print them.
            pub const EACH: &'static [(Self, char, &'static str)] = &[$((Self::$name, $letter, $word),)*];
        }
    };
}

privileges! {
    0 INSERT 'a' "INSERT";
    1 SELECT 'r' "SELECT";
    2 UPDATE 'w' "UPDATE";
    3 DELETE 'd' "DELETE";
    4 TRUNCATE 'D' "TRUNCATE";
    5 REFERENCES 'x' "REFERENCES";
    6 TRIGGER 't' "TRIGGER";
    7 EXECUTE 'X' "EXECUTE";
    8 USAGE 'U' "USAGE";
    9 CREATE 'C' "CREATE";
    10 TEMPORARY 'T' "TEMPORARY";
    11 CONNECT 'c' "CONNECT";
    12 SET 's' "SET";
    13 ALTER_SYSTEM 'A' "ALTER SYSTEM";
}

impl Privileges {
    /// None of them.
    pub const NONE: Self = Self(0);

    /// Both sets together.
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
    /// What is in this set and not in the other.
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
    /// Whether it holds nothing.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
    /// Whether it holds all of the other.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
    /// How many it holds.
    pub const fn count(self) -> u32 {
        self.0.count_ones()
    }
    /// Those that it holds, one by one.
    pub fn each(self) -> impl Iterator<Item = Self> {
        Self::EACH.iter().map(|(one, ..)| *one).filter(move |one| self.has(*one))
    }
    /// The bits, as they are stored.
    pub(crate) const fn bits(self) -> u16 {
        self.0
    }
    pub(crate) const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }
    /// The first of them by its word, for errors.
    pub fn word(self) -> &'static str {
        Self::EACH.iter().find(|(one, ..)| self.has(*one)).map_or("", |(_, _, word)| word)
    }
    /// A privilege by its word, upper or lower case; TEMP is TEMPORARY.
    pub fn from_word(word: &str) -> Option<Self> {
        if word.eq_ignore_ascii_case("temp") {
            return Some(Self::TEMPORARY);
        }
        Self::EACH.iter().find(|(_, _, known)| known.eq_ignore_ascii_case(word)).map(|(one, ..)| *one)
    }
    pub(crate) fn from_letter(letter: char) -> Option<Self> {
        Self::EACH.iter().find(|(_, known, _)| *known == letter).map(|(one, ..)| *one)
    }
}

impl BitOr for Privileges {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        self.with(other)
    }
}
impl BitOrAssign for Privileges {
    fn bitor_assign(&mut self, other: Self) {
        *self = self.with(other);
    }
}
impl BitAnd for Privileges {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}
impl Not for Privileges {
    type Output = Self;
    fn not(self) -> Self {
        Self(!self.0)
    }
}

/// A kind of object that has a list of rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ObjectKind {
    /// A table.
    Table,
    /// A view, which has a table's privileges.
    View,
    /// A sequence.
    Sequence,
    /// A column of a table or a view.
    Column,
    /// A schema.
    Schema,
    /// A function.
    Function,
    /// A database.
    Database,
    /// An index: it has an owner, and no list.
    Index,
    /// Kinds that do not exist here, whose default lists `acldefault` tells all the same.
    Absent(char),
}

impl ObjectKind {
    /// What errors call it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::View => "view",
            Self::Sequence => "sequence",
            Self::Column => "column",
            Self::Schema => "schema",
            Self::Function => "function",
            Self::Database => "database",
            Self::Index => "index",
            Self::Absent(_) => "object",
        }
    }

    /// The kind by the letter that `acldefault` takes.
    pub const fn from_letter(letter: char) -> Option<Self> {
        Some(match letter {
            'c' => Self::Column,
            'r' => Self::Table,
            's' => Self::Sequence,
            'd' => Self::Database,
            'f' => Self::Function,
            'n' => Self::Schema,
            'l' | 'L' | 't' | 'F' | 'S' | 'T' | 'p' => Self::Absent(letter),
            _ => return None,
        })
    }

    /// All privileges that there are on it.
    pub const fn all(self) -> Privileges {
        use Privileges as P;
        match self {
            Self::Table | Self::View => P::INSERT
                .with(P::SELECT)
                .with(P::UPDATE)
                .with(P::DELETE)
                .with(P::TRUNCATE)
                .with(P::REFERENCES)
                .with(P::TRIGGER),
            Self::Sequence => P::USAGE.with(P::SELECT).with(P::UPDATE),
            Self::Column => P::INSERT.with(P::SELECT).with(P::UPDATE).with(P::REFERENCES),
            Self::Schema => P::USAGE.with(P::CREATE),
            Self::Function => P::EXECUTE,
            Self::Database => P::CREATE.with(P::TEMPORARY).with(P::CONNECT),
            Self::Index => P::NONE,
            Self::Absent('L') => P::SELECT.with(P::UPDATE),
            Self::Absent('t') => P::CREATE,
            Self::Absent('p') => P::SET.with(P::ALTER_SYSTEM),
            Self::Absent(_) => P::USAGE,
        }
    }

    /// What PUBLIC may do where nobody has granted or revoked anything.
    pub(crate) const fn of_public(self) -> Privileges {
        match self {
            Self::Database => Privileges::TEMPORARY.with(Privileges::CONNECT),
            Self::Function => Privileges::EXECUTE,
            Self::Absent('l' | 'T') => Privileges::USAGE,
            _ => Privileges::NONE,
        }
    }

    /// What the owner may do where nobody has granted or revoked anything.
    pub(crate) const fn of_owner(self) -> Privileges {
        match self {
            // A column has no rights but those that it was given; the table's hold for it.
            Self::Column => Privileges::NONE,
            other => other.all(),
        }
    }
}
