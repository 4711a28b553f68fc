//! Lists of rights: who has granted what to whom, and how a GRANT or REVOKE changes that (acl.c of
//! PostgreSQL 15).

use super::privilege::{ObjectKind, Privileges};
use sql_interface::{Result, SqlError, stack};
use sqlstate::SqlState;
use std::fmt::Write as _;

/// The grantee that is everybody.
pub const PUBLIC: u32 = 0;

/// One item of a list: what one role has given to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AclItem {
    /// Who has it; [`PUBLIC`] for everybody.
    pub grantee: u32,
    /// Who gave it.
    pub grantor: u32,
    /// What was given.
    pub privileges: Privileges,
    /// What of it may be given on.
    pub options: Privileges,
}

/// The rights on one object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acl(Vec<AclItem>);

/// Which roles have the rights of which others, as a list asks it.
pub trait Members {
    /// Whether `role` has all rights of `of` by itself: it is that role, a superuser, or a member that
    /// inherits.
    fn has_rights_of(&self, role: u32, of: u32) -> bool;
}

/// Whether what depends on a right goes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// RESTRICT: it is refused.
    Restrict,
    /// CASCADE: it goes, too.
    Cascade,
}

/// Bytes of an item as it is stored: grantee, grantor (u32 LE each), privileges, grant options (u16 LE each).
const ITEM_BYTES: usize = 12;

impl Acl {
    /// Of these items.
    pub fn new(items: Vec<AclItem>) -> Self {
        Self(items)
    }

    /// The list of an object that nobody has granted or revoked anything on.
    pub fn default_of(kind: ObjectKind, owner: u32) -> Self {
        let mut items = Vec::new();
        let item =
            |grantee, privileges| AclItem { grantee, grantor: owner, privileges, options: Privileges::NONE };
        if !kind.of_public().is_empty() {
            items.push(item(PUBLIC, kind.of_public()));
        }
        if !kind.of_owner().is_empty() {
            items.push(item(owner, kind.of_owner()));
        }
        Self(items)
    }

    /// The items, in the order in which they were granted.
    pub fn items(&self) -> &[AclItem] {
        &self.0
    }

    /// Whether nobody has anything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the items are the same, in whatever order.
    pub fn is_same(&self, other: &Self) -> bool {
        self.0.len() == other.0.len() && self.0.iter().all(|item| other.0.contains(item))
    }

    /// By grantees and grantors, as lists of default privileges are kept.
    #[must_use]
    pub fn sorted(mut self) -> Self {
        self.0.sort_by_key(|item| (item.grantee, item.grantor));
        self
    }

    /// Whether a role stands in it.
    pub fn names(&self, role: u32) -> bool {
        self.0.iter().any(|item| item.grantee == role || item.grantor == role)
    }

    /// What of `wanted` a role has, by itself, as a member of others, or as everybody.
    pub fn held(&self, role: u32, wanted: Privileges, members: &dyn Members) -> Privileges {
        let mut found = Privileges::NONE;
        for item in &self.0 {
            let of_role = item.grantee == PUBLIC || item.grantee == role;
            let adds = wanted & item.privileges;
            if !adds.without(found).is_empty() && (of_role || members.has_rights_of(role, item.grantee)) {
                found |= adds;
            }
        }
        found
    }

    /// What of `wanted` a role may give on; an owner all of it.
    pub fn options_held(
        &self,
        role: u32,
        owner: u32,
        wanted: Privileges,
        members: &dyn Members,
    ) -> Privileges {
        if members.has_rights_of(role, owner) {
            return wanted;
        }
        let mut found = Privileges::NONE;
        for item in self.0.iter().filter(|item| item.grantee != PUBLIC) {
            let adds = wanted & item.options;
            if !adds.without(found).is_empty() && members.has_rights_of(role, item.grantee) {
                found |= adds;
            }
        }
        found
    }

    /// What of `wanted` a role itself may give on, without those that it is a member of.
    pub fn options_of(&self, role: u32, owner: u32, wanted: Privileges) -> Privileges {
        if role == owner {
            return wanted;
        }
        let own = self.0.iter().filter(|item| item.grantee == role);
        own.fold(Privileges::NONE, |found, item| found | (wanted & item.options))
    }

    /// Adds rights.
    ///
    /// # Errors
    ///
    /// 0LP01 for a grant option that would go back to whoever it comes from.
    pub fn grant(&mut self, given: AclItem, owner: u32, members: &dyn Members) -> Result<()> {
        self.refuse_circle(&given, owner, members)?;
        let place = self.place(&given);
        match place.and_then(|at| self.0.get_mut(at)) {
            Some(item) => {
                item.privileges |= given.privileges;
                item.options |= given.options;
            }
            None if given.privileges.is_empty() && given.options.is_empty() => {}
            None => self.0.push(given),
        }
        Ok(())
    }

    /// Takes rights away, and what others had from them.
    ///
    /// # Errors
    ///
    /// 2BP01 where others have something from them and the behaviour is RESTRICT; 54001 where the chain of
    /// those who do is too long.
    pub fn revoke(
        &mut self,
        taken: AclItem,
        owner: u32,
        behaviour: Behaviour,
        members: &dyn Members,
    ) -> Result<()> {
        let Some(at) = self.place(&taken) else { return Ok(()) };
        let Some(item) = self.0.get_mut(at) else { return Ok(()) };
        let options_before = item.options;
        item.privileges = item.privileges.without(taken.privileges);
        item.options = item.options.without(taken.options);
        let lost = options_before.without(item.options);
        if item.privileges.is_empty() && item.options.is_empty() {
            self.0.remove(at);
        }
        if lost.is_empty() { Ok(()) } else { self.abandon(taken.grantee, lost, owner, behaviour, members) }
    }

    fn place(&self, wanted: &AclItem) -> Option<usize> {
        self.0.iter().position(|item| item.grantee == wanted.grantee && item.grantor == wanted.grantor)
    }

    /// After a role has lost grant options: what it gave with them goes as well.
    fn abandon(
        &mut self,
        role: u32,
        lost: Privileges,
        owner: u32,
        behaviour: Behaviour,
        members: &dyn Members,
    ) -> Result<()> {
        if role == owner {
            return Ok(());
        }
        // One role may have given it to the next, many times over.
        stack::check()?;
        // Another may have given it the same.
        let lost = lost.without(self.options_held(role, owner, lost, members));
        while let Some(given) =
            self.0.iter().find(|item| item.grantor == role && !(item.privileges & lost).is_empty()).copied()
        {
            if behaviour == Behaviour::Restrict {
                return Err(SqlError::new(
                    SqlState::DEPENDENT_OBJECTS_STILL_EXIST,
                    "dependent privileges exist",
                )
                .with_hint("Use CASCADE to revoke them too."));
            }
            let taken = AclItem { privileges: lost, options: lost, ..given };
            self.revoke(taken, owner, behaviour, members)?;
        }
        Ok(())
    }

    /// A grant option must not come from itself: without what the grantee gave, the grantor must have it.
    fn refuse_circle(&self, given: &AclItem, owner: u32, members: &dyn Members) -> Result<()> {
        if given.grantor == owner || given.options.is_empty() {
            return Ok(());
        }
        let mut without = self.clone();
        while let Some(item) =
            without.0.iter().find(|item| item.grantee == given.grantee && !item.options.is_empty()).copied()
        {
            let taken = AclItem { privileges: item.options, ..item };
            without.revoke(taken, owner, Behaviour::Cascade, members)?;
        }
        let own = without.options_held(given.grantor, owner, given.options, members);
        if own.has(given.options) {
            return Ok(());
        }
        Err(SqlError::new(
            SqlState::INVALID_GRANT_OPERATION,
            "grant options cannot be granted back to your own grantor",
        ))
    }

    /// Takes all away that a role was given, and what others had from it.
    ///
    /// # Errors
    ///
    /// 54001 as [`Acl::revoke`].
    pub fn forget(&mut self, role: u32, owner: u32, members: &dyn Members) -> Result<()> {
        while let Some(item) = self.0.iter().find(|item| item.grantee == role).copied() {
            self.revoke(item, owner, Behaviour::Cascade, members)?;
        }
        Ok(())
    }

    /// The list after its object has got another owner, who takes the old one's place.
    pub fn with_owner(&self, old: u32, new: u32) -> Self {
        let mut changed = Self::default();
        let instead = |role| if role == old { new } else { role };
        for item in &self.0 {
            let item = AclItem { grantee: instead(item.grantee), grantor: instead(item.grantor), ..*item };
            match changed.place(&item).and_then(|at| changed.0.get_mut(at)) {
                Some(known) => {
                    known.privileges |= item.privileges;
                    known.options |= item.options;
                }
                None => changed.0.push(item),
            }
        }
        changed
    }

    /// Both lists' rights.
    pub fn merged(&self, other: &Self) -> Self {
        let mut all = self.clone();
        for item in &other.0 {
            match all.place(item).and_then(|at| all.0.get_mut(at)) {
                Some(known) => {
                    known.privileges |= item.privileges;
                    known.options |= item.options;
                }
                None => all.0.push(*item),
            }
        }
        all
    }

    /// The stored form.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.0.len() * ITEM_BYTES);
        for item in &self.0 {
            bytes.extend_from_slice(&item.grantee.to_le_bytes());
            bytes.extend_from_slice(&item.grantor.to_le_bytes());
            bytes.extend_from_slice(&item.privileges.bits().to_le_bytes());
            bytes.extend_from_slice(&item.options.bits().to_le_bytes());
        }
        bytes
    }

    /// From the stored form; None if it is none.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (items, []) = bytes.as_chunks::<ITEM_BYTES>() else { return None };
        let item = |bytes: &[u8; ITEM_BYTES]| {
            let [a, b, c, d, e, f, g, h, i, j, k, l] = *bytes;
            AclItem {
                grantee: u32::from_le_bytes([a, b, c, d]),
                grantor: u32::from_le_bytes([e, f, g, h]),
                privileges: Privileges::from_bits(u16::from_le_bytes([i, j])),
                options: Privileges::from_bits(u16::from_le_bytes([k, l])),
            }
        };
        Some(Self(items.iter().map(item).collect()))
    }
}

/// An item as PostgreSQL prints it: `grantee=letters/grantor`, each letter of what may be given on with a
/// star.
pub fn item_text(item: &AclItem, role_name: &dyn Fn(u32) -> String) -> String {
    let mut text = if item.grantee == PUBLIC { String::new() } else { quoted(&role_name(item.grantee)) };
    text.push('=');
    for (one, letter, _) in Privileges::EACH {
        if item.privileges.has(*one) {
            text.push(*letter);
        }
        if item.options.has(*one) {
            text.push('*');
        }
    }
    let _ = write!(text, "/{}", quoted(&role_name(item.grantor)));
    text
}

/// A role's name in an item: in quotes if it has anything but letters, digits and underscores.
fn quoted(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || !c.is_ascii();
    if !name.is_empty() && name.chars().all(plain) {
        return name.to_owned();
    }
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Reads an item as [`item_text`] prints it. `role_oid` finds a role by its name; `owner` is who has granted
/// it where the text does not say.
///
/// # Errors
///
/// 22P02 for another text, 42704 for a role that is not there.
pub fn parse_item(text: &str, role_oid: &dyn Fn(&str) -> Option<u32>, owner: u32) -> Result<AclItem> {
    let invalid = |what: String| SqlError::new(SqlState::INVALID_TEXT_REPRESENTATION, what);
    let find = |name: &str| {
        role_oid(name).ok_or_else(|| {
            SqlError::new(SqlState::UNDEFINED_OBJECT, format!("role \"{name}\" does not exist"))
        })
    };
    let (mut name, mut rest) = name_at(text);
    if !rest.starts_with('=') {
        if !matches!(name.as_str(), "group" | "user") {
            return Err(invalid(format!("unrecognized key word: \"{name}\""))
                .with_hint("ACL key word must be \"group\" or \"user\"."));
        }
        (name, rest) = name_at(rest);
        if name.is_empty() {
            return Err(invalid("missing name".to_owned())
                .with_hint("A name must follow the \"group\" or \"user\" key word."));
        }
    }
    let Some(rest) = rest.strip_prefix('=') else {
        return Err(invalid("missing \"=\" sign".to_owned()));
    };
    let grantee = if name.is_empty() { PUBLIC } else { find(&name)? };
    let end = rest.find(|c: char| c != '*' && !c.is_alphabetic()).unwrap_or(rest.len());
    let (letters, rest) = rest.split_at(end);
    let (mut privileges, mut options, mut last) = (Privileges::NONE, Privileges::NONE, Privileges::NONE);
    for letter in letters.chars() {
        if letter == '*' {
            options |= last;
            continue;
        }
        last = Privileges::from_letter(letter).ok_or_else(|| {
            let known: String = Privileges::EACH.iter().map(|(_, letter, _)| *letter).collect();
            invalid(format!("invalid mode character: must be one of \"{known}\""))
        })?;
        privileges |= last;
    }
    let (grantor, rest) = match rest.strip_prefix('/') {
        None => (owner, rest),
        Some(named) => match name_at(named) {
            (name, _) if name.is_empty() => {
                return Err(invalid("a name must follow the \"/\" sign".to_owned()));
            }
            (name, rest) => (find(&name)?, rest),
        },
    };
    if !rest.trim().is_empty() {
        return Err(invalid("extra garbage at the end of the ACL specification".to_owned()));
    }
    Ok(AclItem { grantee, grantor, privileges, options })
}

/// The role's name that a text begins with, and what follows it and the blanks behind it.
fn name_at(text: &str) -> (String, &str) {
    let text = text.trim_start();
    let (mut name, mut quoted) = (String::new(), false);
    let mut rest = text.char_indices().peekable();
    let mut end = text.len();
    while let Some((at, c)) = rest.next() {
        match c {
            '"' if quoted && rest.peek().is_some_and(|(_, next)| *next == '"') => {
                rest.next();
                name.push('"');
            }
            '"' => quoted = !quoted,
            c if quoted || c.is_alphanumeric() || c == '_' => name.push(c),
            _ => {
                end = at;
                break;
            }
        }
    }
    (name, text.get(end..).unwrap_or_default().trim_start())
}
