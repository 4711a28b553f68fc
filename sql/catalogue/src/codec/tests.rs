use super::*;
use crate::model::{Layout, Sequence, SequencePosition, View, ViewColumn};

#[test]
fn a_role_comes_back_as_it_was_written() {
    let role = Role {
        oid: 10,
        name: "Bob".into(),
        superuser: true,
        login: true,
        replication: false,
        create_role: false,
        create_database: true,
        inherit: true,
        bypass_rls: true,
        connection_limit: -1,
        password: Some("SCRAM-SHA-256$x".into()),
        valid_until: Some(Timestamp::from_micros(5)),
    };
    assert_eq!(decode_role(10, &encode_role(&role).unwrap()).unwrap(), role);
    assert!(decode_role(10, &[1, 0]).is_err(), "a short entry is damage");
}

#[test]
fn a_table_with_its_columns_and_indexes_comes_back_as_it_was_written() {
    let column = Column {
        number: 3,
        name: "ä".into(),
        ty: Type::varchar(Some(7)).unwrap(),
        not_null: true,
        default: Some("'x'".into()),
        missing: None,
        dropped: false,
        identity: Some(Identity::ByDefault),
    };
    let key = column_key(7, 3);
    let (oid, rest) = read_oid(strip_kind(kind::COLUMN, &key).unwrap()).unwrap();
    assert_eq!(oid, 7);
    assert_eq!(decode_column(rest, &encode_column(&column).unwrap()).unwrap(), column);

    let mut relation = Relation {
        oid: 7,
        name: "t".into(),
        owner: 10,
        tree: TreeId::new(5, 99),
        columns: Vec::new(),
        primary_key: None,
        checks: Vec::new(),
        indexes: Vec::new(),
        layout: Layout::new(&[], None),
    };
    assert_eq!(decode_relation(7, &encode_relation(&relation).unwrap()).unwrap(), relation);
    relation.columns = vec![Column { number: 1, ..column.clone() }, column];
    let primary_key = PrimaryKey { oid: 8, name: "t_pkey".into(), columns: vec![1, 0] };
    let stored = encode_primary_key(&primary_key, &relation.columns).unwrap();
    decode_constraint(&mut relation, 8, &stored).unwrap();
    assert_eq!(relation.primary_key, Some(primary_key));
    let order = OrderedColumn { descending: true, nulls_first: false };
    let index = Index {
        oid: 9,
        name: "t_ä_idx".into(),
        tree: TreeId::new(5, 100),
        columns: vec![IndexColumn { at: 1, order }],
        unique: true,
        constraint: true,
        nulls_not_distinct: false,
    };
    let stored = encode_index(&index, &relation.columns).unwrap();
    decode_index(&mut relation, 9, &stored).unwrap();
    assert_eq!(relation.indexes, [index]);
    for not_valid in [true, false] {
        let check = Check { oid: 10, name: "c".into(), expression: "a > 0".into(), not_valid };
        decode_constraint(&mut relation, 10, &encode_check(&check).unwrap()).unwrap();
        assert_eq!(relation.checks.pop(), Some(check));
    }
}

#[test]
fn constraints_of_earlier_versions_are_valid() {
    let old = encode(&RELATION[..3], &[text("t"), Datum::Oid(10), Datum::Oid(99)]).unwrap();
    let mut relation = decode_relation(7, &old).unwrap();
    let old = encode(&CONSTRAINT[..4], &[text("c"), text("c"), Datum::Null, text("a > 0")]).unwrap();
    decode_constraint(&mut relation, 10, &old).unwrap();
    assert!(!relation.checks[0].not_valid);
}

#[test]
fn a_sequence_comes_back_as_it_was_written() {
    let sequence = Sequence {
        oid: 11,
        name: "s".into(),
        owner: 10,
        state: 12,
        from: 2,
        ty: TypeId::Int2,
        start: -1,
        increment: -2,
        min: i64::MIN,
        max: 3,
        cache: 4,
        cycle: true,
        owned_by: Some((7, 2)),
        identity: true,
    };
    assert_eq!(decode_sequence(11, &encode_sequence(&sequence).unwrap()).unwrap(), sequence);
    let position = SequencePosition { last: -5, is_called: true };
    assert_eq!(decode_position(&encode_position(position)).unwrap(), position);
    assert!(decode_position(&[1, 2]).is_err());
}

#[test]
fn a_view_comes_back_as_it_was_written() {
    let column = |name: &str| ViewColumn { name: name.into(), inner: "x".into(), ty: Type::of(TypeId::Int4) };
    let view = View {
        oid: 13,
        name: "v".into(),
        owner: 10,
        query: "select 1".into(),
        columns: vec![column("a"), column("ä b")],
        uses: vec![7, 11],
        reach: vec![3, 1],
    };
    let bytes = encode_view(&view).unwrap();
    assert_eq!(decode_view(13, &bytes).unwrap(), view);
    // One that was written before views kept how far they see.
    let (mut fields, before) = (Vec::new(), &view::VIEW[..view::VIEW.len() - 1]);
    RowLayout::new(view::VIEW).decode(&bytes, &mut fields).unwrap();
    let bytes = encode(before, &fields[..before.len()]).unwrap();
    assert_eq!(decode_view(13, &bytes).unwrap(), View { reach: vec![], ..view });
}

#[test]
fn key_columns_without_loss_stand_in_the_key_alone() {
    let column = |number, id| Column {
        number,
        name: format!("c{number}"),
        ty: Type::of(id),
        not_null: true,
        default: None,
        missing: None,
        dropped: false,
        identity: None,
    };
    let columns = [column(1, TypeId::Numeric), column(2, TypeId::Int4), column(3, TypeId::Text)];
    let layout = Layout::new(&columns, Some(&PrimaryKey { oid: 1, name: "k".into(), columns: vec![1, 0] }));
    assert_eq!(layout.in_row, [Some(0), None, Some(1)], "numeric loses its scale in a key");
    assert_eq!(layout.in_key, [Some(1), Some(0), None]);
    assert_eq!(layout.row_columns, [0, 2]);
}

#[test]
fn rights_come_back_as_they_were_written() {
    use crate::rights::{DefaultFor, Membership, Object};
    for object in [
        Object::Relation(70_000),
        Object::Column(7, 1600),
        Object::Schema(2200),
        Object::Function("pg_promote(boolean, integer)".into()),
    ] {
        let (tree, key) = acl_key(&object);
        assert_eq!(tree, CATALOGUE_TREE);
        assert_eq!(decode_object(strip_kind(kind::RIGHTS, &key).unwrap()).unwrap(), Some(object));
    }
    assert_eq!(decode_object(b"?x").unwrap(), None, "a class that a later program knows is passed over");
    assert!(decode_object(&[b'c', 0, 0, 0, 1]).is_err(), "a short key is damage");
    assert_eq!(acl_key(&Object::Database(5)), (SHARED_TREE, oid_key(shared_kind::DATABASE_RIGHTS, 5)));

    let membership = Membership { role: 11, member: 12, grantor: 10, admin: true };
    let key = membership_key(11, 12);
    let stored = encode_membership(&membership).unwrap();
    let rest = strip_kind(shared_kind::MEMBERSHIP, &key).unwrap();
    assert_eq!(decode_membership(rest, &stored).unwrap(), membership);

    let of = DefaultFor { role: 11, schema: 2200, kind: 'S' };
    let key = default_key(of);
    assert_eq!(decode_default_for(strip_kind(kind::DEFAULT_RIGHTS, &key).unwrap()).unwrap(), of);

    let settings = vec!["work_mem=7MB".to_owned(), "search_path=\"a b\", c".to_owned()];
    assert_eq!(decode_settings(&encode_texts(&settings).unwrap()).unwrap(), settings);
    assert!(decode_attributes(&encode_attributes(true).unwrap()).unwrap());
}
