//! What Rust values become.

use std::collections::BTreeMap;

use serde::Serialize;

use super::*;

#[derive(Serialize)]
struct Unit;
#[derive(Serialize)]
struct Wrapped<T>(T);
#[derive(Serialize)]
struct Pair(i32, &'static str);
#[derive(Serialize)]
struct Fields {
    a: Option<i32>,
    b: Option<&'static str>,
    c: (),
}
#[derive(Serialize)]
enum Choice {
    Plain,
    One(Option<i32>),
    Two(i32, i32),
    Named { x: Option<i32>, y: i32 },
}

#[test]
fn scalars() {
    assert_eq!(pushed(&true), "true");
    assert_eq!(pushed(&-5i8), "-5");
    assert_eq!(pushed(&(i64::MAX as u64)), "9223372036854775807");
    assert_eq!(pushed(&i128::from(i64::MIN)), "-9223372036854775808");
    assert_eq!(pushed(&1.0f32), "1.0");
    assert_eq!(pushed(&'ß'), "\"ß\"");
    assert_eq!(pushed("text"), "\"text\"");
    assert_eq!(pushed(""), "\"\"");
    assert_eq!(pushed(&Bytes::from(b"\xff\x00")), "b[255, 0]");
    assert_eq!(pushed(&std::net::Ipv6Addr::LOCALHOST), "\"::1\"");
}

#[test]
fn integers_that_do_not_fit() {
    let number = i64::MAX as u64 + 1;
    assert_eq!(refused(&number), "9223372036854775808 does not fit into a signed 64-bit integer");
    assert_eq!(refused(&vec![1, number]), "[1]: 9223372036854775808 does not fit into a signed 64-bit integer");
    assert!(refused(&i128::MIN).starts_with("-170141183460469231731687303715884105728 "));
    assert!(refused(&u128::MAX).starts_with("340282366920938463463374607431768211455 "));
}

#[test]
fn absence() {
    assert_eq!(pushed(&None::<i32>), "nil");
    assert_eq!(pushed(&()), "nil");
    assert_eq!(pushed(&Unit), "nil");
    assert_eq!(pushed(&Value::Nil), "nil");
    assert_eq!(pushed(&[None, Some(1), None]), "list3 null 1 null");
    assert_eq!(pushed(&[(), ()]), "list2 null null");
    assert_eq!(pushed(&Fields { a: None, b: Some("b"), c: () }), r#"map2 "b" "b" "c" null"#);
    assert_eq!(pushed(&BTreeMap::from([("a", None), ("b", Some(Some(2))), ("c", Some(None))])), r#"map1 "b" 2"#);
    assert_eq!(pushed(&serde_json::json!({ "a": null, "b": [null] })), r#"map2 "a" null "b" list1 null"#);
    assert_eq!(pushed(&Value::from([("a", Value::Nil)])), r#"map1 "a" null"#);
}

#[test]
fn containers() {
    assert_eq!(pushed(&Wrapped(vec![(1, 'a')])), r#"list1 list2 1 "a""#);
    assert_eq!(pushed(&Pair(1, "b")), r#"list2 1 "b""#);
    assert_eq!(pushed(&Vec::<i32>::new()), "list0");
    assert_eq!(pushed(&BTreeMap::<String, i32>::new()), "map0");
    assert_eq!(pushed(&BTreeMap::from([(1, true), (2, false)])), "map2 1 true 2 false");
    assert_eq!(pushed(&BTreeMap::from([(Some(Wrapped(1).0), 1)])), "map1 1 1");
    assert_eq!(pushed(&Value::from([(Value::Float(0.5), 1), (Bytes::from("k").into(), 2)])), "map2 0.5 1 b[107] 2");
}

#[test]
fn sequences_of_unknown_length() {
    struct Odd;
    impl Serialize for Odd {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_seq((0..6).filter(|n| n % 2 == 1))
        }
    }
    assert_eq!(pushed(&Odd), "list3 1 3 5");
}

#[test]
fn variants() {
    assert_eq!(pushed(&Choice::Plain), r#""Plain""#);
    assert_eq!(pushed(&Choice::One(Some(1))), r#"map1 "One" 1"#);
    assert_eq!(pushed(&Choice::One(None)), r#"map1 "One" null"#);
    assert_eq!(pushed(&Choice::Two(1, 2)), r#"map1 "Two" list2 1 2"#);
    assert_eq!(pushed(&Choice::Named { x: None, y: 2 }), r#"map1 "Named" map1 "y" 2"#);
    assert_eq!(passed(&Choice::Two(1, 2)), r#"map1 "Two" list2 1 2"#);
    assert_eq!(passed(&Choice::Plain), r#""Plain""#);
    let keyed = Value::from([("k", 1)]);
    assert_eq!(refused(&BTreeMap::from([(vec![1], 1)])), "as a key: a list cannot be the key of a map");
    assert_eq!(refused(&Value::from([(keyed, 1)])), "as a key: a map cannot be the key of a map");
    assert_eq!(refused(&BTreeMap::from([((), 1)])), "as a key: () cannot be the key of a map");
}

#[test]
fn argument_lists() {
    assert_eq!(passed(&()), "");
    assert_eq!(passed(&Unit), "");
    assert_eq!(passed(&(1,)), "1");
    assert_eq!(passed(&(1, "two", None::<i32>, ())), r#"1 "two" nil nil"#);
    assert_eq!(passed(&((1, 2), [3])), "list2 1 2 list1 3");
    assert_eq!(passed(&Pair(1, "b")), r#"1 "b""#);
    assert_eq!(passed(&Wrapped((1, 2))), "1 2");
    assert_eq!(passed(&Many(vec![1, 2, 3])), "1 2 3");
    assert_eq!(passed(&(Many(vec![1]), 2)), "list1 1 2");
    assert_eq!(passed(&None::<(i32, i32)>), "nil");
    assert_eq!(passed(&Some((1, 2))), "list2 1 2");
    assert_eq!(passed(&vec![1, 2]), "list2 1 2");
    assert_eq!(passed("one"), "\"one\"");
    let mut flat = Flat::new();
    flat.push_args(&(1, "x", vec![1, 2])).expect("encodes");
    flat.push(&4).expect("encodes");
    flat.push_args(&()).expect("encodes");
    assert_eq!((flat.count(), flat.as_raw().1), (4, 4));
    let error = flat.push_args(&("kept?", u64::MAX)).expect_err("does not fit").to_string();
    assert_eq!(error, "[1]: 18446744073709551615 does not fit into a signed 64-bit integer");
    assert_eq!((flat.count(), words(&flat)), (4, r#"1 "x" list2 1 2 4"#.into()));
}

#[test]
fn depth() {
    fn nested(levels: u32) -> Value {
        (0..levels).fold(Value::Nil, |inner, _| Value::List(vec![inner]))
    }
    pushed(&nested(128));
    assert!(refused(&nested(129)).ends_with("nested deeper than 128 levels"));
    assert_eq!(recoded::<Value>(&nested(128)).as_ref(), Ok(&nested(128)));
}

#[test]
fn paths() {
    let tree = BTreeMap::from([("items", vec![BTreeMap::from([("a b", 1)]), BTreeMap::from([("a b", u64::MAX)])])]);
    let error = flat_error(&tree);
    assert_eq!(error.path(), r#".items[1]["a b"]"#);
    assert!(error.message().starts_with("18446744073709551615 does not"));
    assert!(refused(&BTreeMap::from([(7, u64::MAX)])).starts_with("[7]: "));
    #[derive(Serialize)]
    enum Deep {
        Variant { field: u64 },
    }
    assert!(refused(&Deep::Variant { field: u64::MAX }).starts_with(".field: "));
}

fn flat_error(value: &impl Serialize) -> EncodeError {
    Flat::new().push(value).expect_err("is refused")
}

#[test]
fn pointers_survive_growth_and_moves() {
    let mut flat = Box::new(Flat::new());
    let mut expected = Vec::new();
    for n in 0..500 {
        let text = "x".repeat(n % 40) + &n.to_string();
        flat.push(&("", &text)).expect("encodes");
        expected.push((String::new(), text));
    }
    let mut flat = std::thread::spawn(move || *flat).join().expect("no panic");
    let (values, count) = flat.as_raw();
    // SAFETY: the run is valid and not written to.
    let mut run = unsafe { Run::new(values, count) };
    let found: Vec<(String, String)> = (0..count).map(|_| run.next(&mut ()).expect("decodes")).collect();
    assert_eq!(found, expected);
}

#[test]
fn cleared_buffers_are_kept() {
    let mut flat = flat(&vec!["some text"; 10]);
    let capacity = flat.capacity_bytes();
    assert!(capacity >= 11 * 16 + 90);
    flat.clear();
    assert_eq!((flat.count(), flat.capacity_bytes()), (0, capacity));
    flat.push(&vec!["some text"; 10]).expect("encodes");
    assert_eq!(flat.capacity_bytes(), capacity);
}
