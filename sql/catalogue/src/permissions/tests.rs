use super::*;
use crate::model::Role;
use crate::rights::{Behaviour, Membership, item_text, parse_item};
use std::sync::Arc;

const OWNER: u32 = 100;
const ANN: u32 = 101;
const BEA: u32 = 102;
const CID: u32 = 103;

fn catalogue(memberships: &[(u32, u32)]) -> Catalogue {
    let mut catalogue = Catalogue::default();
    for oid in [BOOTSTRAP_ROLE_OID, OWNER, ANN, BEA, CID] {
        let role = Role { oid, name: format!("r{oid}"), superuser: oid == 10, ..Role::plain() };
        catalogue.roles.insert(oid, Arc::new(role));
    }
    for (role, member) in memberships {
        let membership = Membership { role: *role, member: *member, grantor: 10, admin: false };
        catalogue.rights.members.add(membership);
    }
    catalogue
}

fn item(grantee: u32, grantor: u32, privileges: Privileges, options: Privileges) -> AclItem {
    AclItem { grantee, grantor, privileges, options }
}

const READ: Privileges = Privileges::SELECT;

#[test]
fn items_print_and_read_as_in_postgresql() {
    let name = |oid: u32| if oid == ANN { "an n".to_owned() } else { format!("r{oid}") };
    let oid = |name: &str| match name {
        "an n" => Some(ANN),
        other => other.strip_prefix('r').and_then(|oid| oid.parse().ok()),
    };
    for (text, wanted) in [
        ("=r/r100", item(PUBLIC, OWNER, READ, Privileges::NONE)),
        ("r102=r*w/r100", item(BEA, OWNER, READ | Privileges::UPDATE, READ)),
        ("\"an n\"=arwdDxt/r100", item(ANN, OWNER, ObjectKind::Table.all(), Privileges::NONE)),
        ("r100=UC/r100", item(OWNER, OWNER, ObjectKind::Schema.all(), Privileges::NONE)),
    ] {
        assert_eq!(item_text(&wanted, &name), text);
        assert_eq!(parse_item(text, &oid, 10).unwrap(), wanted);
    }
    for bad in ["r100", "r100=q/r100", "nobody=r/r100"] {
        assert!(parse_item(bad, &oid, 10).is_err(), "{bad}");
    }
}

#[test]
fn a_list_comes_back_as_it_was_written() {
    let acl = Acl::new(vec![item(PUBLIC, OWNER, READ, Privileges::NONE), item(ANN, OWNER, READ, READ)]);
    assert_eq!(Acl::from_bytes(&acl.to_bytes()), Some(acl));
    assert_eq!(Acl::from_bytes(&[0; 13]), None, "a short entry is damage");
}

#[test]
fn what_was_given_on_goes_with_the_option_or_holds_it() {
    let members = catalogue(&[]);
    let mut acl = Acl::default_of(ObjectKind::Table, OWNER);
    acl.grant(item(ANN, OWNER, READ, READ), OWNER, &members).unwrap();
    acl.grant(item(BEA, ANN, READ, READ), OWNER, &members).unwrap();
    acl.grant(item(CID, BEA, READ, Privileges::NONE), OWNER, &members).unwrap();
    let taken = item(ANN, OWNER, READ, READ);
    let held = acl.clone().revoke(taken, OWNER, Behaviour::Restrict, &members).unwrap_err();
    assert_eq!(held.code().as_str(), "2BP01");
    let back = acl.clone().grant(item(ANN, CID, READ, READ), OWNER, &members);
    assert_eq!(back.unwrap_err().code().as_str(), "0LP01", "an option cannot come from itself");
    acl.revoke(taken, OWNER, Behaviour::Cascade, &members).unwrap();
    assert_eq!(acl, Acl::default_of(ObjectKind::Table, OWNER));
}

#[test]
fn a_chain_of_grants_that_the_stack_has_no_room_for_is_refused() {
    let members = catalogue(&[]);
    let chain = (0..3000).map(|at| item(1001 + at, if at == 0 { OWNER } else { 1000 + at }, READ, READ));
    let mut acl = Acl::new(chain.collect());
    let taken = item(1001, OWNER, READ, READ);
    let revoked =
        host::thread::with_stack(512 << 10, || acl.revoke(taken, OWNER, Behaviour::Cascade, &members));
    assert_eq!(revoked.unwrap_err().code().as_str(), "54001");
}

#[test]
fn what_is_stored_of_a_membership_stands_in_the_place_of_what_nobody_made() {
    let (role, member) = (predefined::READ_ALL_SETTINGS, predefined::MONITOR);
    let mut catalogue = catalogue(&[(role, member)]);
    let stored = Membership { role, member, grantor: OWNER, admin: true };
    catalogue.rights.members.add(stored);
    assert_eq!(catalogue.rights.members.sorted(), [stored]);
    assert!(stored.is_predefined());
    assert!(!Membership { role: predefined::READ_SERVER_FILES, ..stored }.is_predefined());
}

#[test]
fn rights_come_by_membership_only_where_it_is_inherited() {
    let mut members = catalogue(&[(ANN, BEA), (BEA, CID)]);
    let acl = Acl::new(vec![item(ANN, OWNER, READ, Privileges::NONE)]);
    assert_eq!(acl.held(CID, READ, &members), READ);
    assert!(members.is_member_of(CID, ANN));
    let bea = Role { inherit: false, ..Role::clone(&members.roles[&BEA]) };
    members.roles.insert(BEA, Arc::new(bea));
    assert_eq!(acl.held(CID, READ, &members), Privileges::NONE);
    assert!(members.is_member_of(CID, ANN), "SET ROLE reaches it all the same");
    assert!(!members.is_member_of(ANN, CID));
    assert_eq!(acl.held(BOOTSTRAP_ROLE_OID, READ, &members), READ);
}

#[test]
fn an_older_directory_has_postgresqls_defaults() {
    let members = catalogue(&[]);
    let public = Object::Schema(PUBLIC_OID);
    let wanted = Privileges::USAGE | Privileges::CREATE;
    assert_eq!(members.privileges(ANN, &public, wanted), Privileges::USAGE);
    let reload = Object::Function("pg_reload_conf()".to_owned());
    assert_eq!(members.privileges(ANN, &reload, Privileges::EXECUTE), Privileges::NONE);
    let version = Object::Function("pg_is_in_recovery()".to_owned());
    assert_eq!(members.privileges(ANN, &version, Privileges::EXECUTE), Privileges::EXECUTE);
    assert_eq!(members.privileges(ANN, &Object::MadeUp(1260, "pg_authid"), READ), Privileges::NONE);
    assert_eq!(members.privileges(ANN, &Object::MadeUp(1259, "pg_class"), READ), READ);
}

#[test]
fn a_path_passes_over_schemas_that_the_role_may_not_look_into() {
    use crate::names::SearchPath;
    use crate::schema::Schema;
    let mut catalogue = catalogue(&[]);
    let names = ["pg_catalog".to_owned(), "public".to_owned(), "information_schema".to_owned()];
    let searched = |catalogue: &Catalogue, role: u32| {
        let path = SearchPath::new(&names, "r101").of_role(role, catalogue);
        path.searched().map(Schema::name).collect::<Vec<_>>()
    };
    assert_eq!(searched(&catalogue, ANN), ["pg_catalog", "public", "information_schema"]);
    let owner_alone = Acl::new(vec![item(OWNER, OWNER, Privileges::USAGE, Privileges::NONE)]);
    for schema in [PUBLIC_OID, PG_CATALOG_OID] {
        catalogue.rights.acls.insert(Object::Schema(schema), owner_alone.clone());
    }
    assert_eq!(
        searched(&catalogue, ANN),
        ["pg_catalog", "information_schema"],
        "pg_catalog is searched always"
    );
    assert_eq!(searched(&catalogue, OWNER), ["pg_catalog", "public", "information_schema"]);
    let path = SearchPath::new(&names, "r101").of_role(ANN, &catalogue);
    assert!(catalogue.schema(&path, "public").is_err(), "a name in it is refused");
    assert_eq!(catalogue.schema(SearchPath::of_catalogue(), "public"), Ok(Some(Schema::PUBLIC)));
}
