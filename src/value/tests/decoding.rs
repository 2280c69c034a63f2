//! What Rust types make of values.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use serde_json::json;

use super::*;

#[derive(Debug, PartialEq, Deserialize)]
struct Line {
    name: String,
    qty: u32,
    note: Option<String>,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Order {
    items: Vec<Line>,
}

#[derive(Debug, PartialEq, Deserialize)]
enum Choice {
    Plain,
    One(Option<i32>),
    Two(i32, i32),
    Named { x: Option<i32>, y: i32 },
}

#[test]
fn numbers() {
    assert_eq!(recoded(&3), Ok(3.0f64));
    assert_eq!(recoded(&3.0), Ok(3u8));
    assert_eq!(recoded(&-0.5), Ok(-0.5f32));
    assert_eq!(recoded(&-9_223_372_036_854_775_808.0), Ok(i64::MIN));
    assert_eq!(recoded(&5), Ok(5u128));
    assert_eq!(decode_error::<i32>(&3.5), "expected an integer, found 3.5");
    assert_eq!(decode_error::<i32>(&f64::NAN), "expected an integer, found NaN");
    assert_eq!(decode_error::<i64>(&1e19), "10000000000000000000 is out of range for an integer");
    assert_eq!(decode_error::<i64>(&f64::INFINITY), "inf is out of range for an integer");
    assert_eq!(decode_error::<u8>(&300), "300 is out of range for u8");
    assert_eq!(decode_error::<u64>(&-1), "-1 is out of range for u64");
    assert_eq!(decode_error::<i8>(&-200.0), "-200 is out of range for i8");
    assert_eq!(decode_error::<i32>("7"), "expected a number, found a string");
    assert_eq!(decode_error::<f64>("7"), "expected a number, found a string");
    assert_eq!(decode_error::<f64>(&None::<i32>), "expected a number, found nil");
    assert_eq!(decode_error::<bool>(&1), "expected a boolean, found a number");
    assert_eq!(decode_error::<std::num::NonZeroU8>(&0), "expected a nonzero u8, found 0");
}

#[test]
fn strings() {
    assert_eq!(recoded("text"), Ok("text".to_owned()));
    assert_eq!(recoded("ß"), Ok('ß'));
    assert_eq!(recoded("text"), Ok(Bytes::from("text")));
    assert_eq!(recoded(&Bytes::from(b"\xff")), Ok(Bytes::from(b"\xff")));
    assert_eq!(recoded("127.0.0.1"), Ok(std::net::Ipv4Addr::LOCALHOST));
    assert_eq!(decode_error::<String>(&7), "expected a string, found a number");
    assert_eq!(decode_error::<String>(&true), "expected a string, found a boolean");
    assert_eq!(decode_error::<String>(&Bytes::from("t")), "expected a string, found bytes");
    assert_eq!(decode_error::<char>("ab"), r#"expected a character, found "ab""#);
    assert_eq!(decode_error::<Vec<u8>>("ab"), "expected a list, found a string");
    assert_eq!(recoded(&vec![1, 2]), Ok(Bytes::from(b"\x01\x02")));
}

/// A guest's string need not be text.
#[test]
fn strings_that_are_not_utf8() {
    let data = b"\xff\xfe";
    let mut entry = ss_value { tag: SS_STRING, len: 2, as_: ss_value__bindgen_ty_1 { bytes: data.as_ptr().cast() } };
    fn decode<T: DeserializeOwned>(entry: &mut ss_value) -> Result<T, String> {
        // SAFETY: one value, with a string that lives for the whole test.
        unsafe { Run::new(entry, 1) }.next(&mut ()).map_err(|error| error.to_string())
    }
    assert_eq!(decode::<String>(&mut entry), Err("expected a string, found one that is not UTF-8".into()));
    assert_eq!(decode(&mut entry), Ok(Bytes::from(data)));
    assert_eq!(decode(&mut entry), Ok(Value::Bytes(Bytes::from(data))));
    assert_eq!(decode::<serde_json::Value>(&mut entry), Err("expected any valid JSON value, found bytes".into()));
    entry.len = 0;
    entry.as_.bytes = std::ptr::null();
    assert_eq!(decode(&mut entry), Ok(String::new()));
    entry.tag = 99;
    assert_eq!(decode::<String>(&mut entry), Err("expected a string, found a value of an unknown kind".into()));
    assert_eq!(decode::<Value>(&mut entry), Err("a value with the unknown tag 99".into()));
    // SAFETY: as above.
    let copied = unsafe { Flat::new().copy_run(&mut entry, 1, &mut ()) };
    assert_eq!(copied.expect_err("is refused").to_string(), "a value with the unknown tag 99");
}

#[test]
fn absence() {
    assert_eq!(recoded(&()), Ok(None::<i32>));
    assert_eq!(recoded(&5), Ok(Some(5)));
    assert_eq!(recoded(&vec![None, Some(1)]), Ok(vec![None, Some(1)]));
    assert_eq!(recoded(&json!([null])), Ok(vec![()]));
    assert_eq!(decode_error::<Vec<i32>>(&json!([null])), "[0]: expected a number, found null");
    assert_eq!(recoded(&json!({ "name": "n", "qty": 1 })), Ok(Line { name: "n".into(), qty: 1, note: None }));
    assert_eq!(decode_error::<Line>(&json!({ "name": "n" })), "missing field `qty`");
}

#[test]
fn empty_lists_and_maps_are_the_same() {
    assert_eq!(recoded(&json!([])), Ok(HashMap::<String, i32>::new()));
    assert_eq!(recoded(&json!({})), Ok(Vec::<i32>::new()));
    assert_eq!(recoded(&json!([])), Ok(Bytes::default()));
    #[derive(Debug, PartialEq, Deserialize)]
    struct Settings {
        a: Option<i32>,
    }
    assert_eq!(recoded(&json!([])), Ok(Settings { a: None }));
    assert_eq!(decode_error::<Settings>(&json!([1])), "expected a map, found a list");
    assert_eq!(decode_error::<HashMap<i32, i32>>(&json!([1])), "expected a map, found a list");
    assert_eq!(decode_error::<Vec<i32>>(&json!({ "a": 1 })), "expected a list, found a map");
}

#[test]
fn paths() {
    let order = |qty: serde_json::Value| {
        let line = json!({ "name": "n", "qty": 1 });
        json!({ "items": [line, line, line, { "name": "n", "qty": qty }, line] })
    };
    assert_eq!(recoded::<Order>(&order(json!(2))).expect("decodes").items[3].qty, 2);
    assert_eq!(decode_error::<Order>(&order(json!("2"))), ".items[3].qty: expected a number, found a string");
    assert_eq!(decode_error::<Order>(&order(json!(-2))), ".items[3].qty: -2 is out of range for u32");
    let error = decode_error::<HashMap<String, i32>>(&BTreeMap::from([("a b", "c")]));
    assert_eq!(error, r#"["a b"]: expected a number, found a string"#);
    let error = decode_error::<HashMap<String, i32>>(&BTreeMap::from([(7, 7)]));
    assert_eq!(error, "[7]: as a key: expected a string, found a number");
    let error = decode_error::<HashMap<String, i32>>(&BTreeMap::from([("x".repeat(1000), ())]));
    assert!(error.len() < 120, "{error}");
}

#[test]
fn variants() {
    assert_eq!(recoded(&json!("Plain")), Ok(Choice::Plain));
    assert_eq!(recoded(&json!({ "Plain": null })), Ok(Choice::Plain));
    assert_eq!(recoded(&json!({ "One": 1 })), Ok(Choice::One(Some(1))));
    assert_eq!(recoded(&json!({ "One": null })), Ok(Choice::One(None)));
    assert_eq!(recoded(&json!("One")), Ok(Choice::One(None)));
    assert_eq!(recoded(&json!({ "Two": [1, 2] })), Ok(Choice::Two(1, 2)));
    assert_eq!(recoded(&json!({ "Named": { "y": 2 } })), Ok(Choice::Named { x: None, y: 2 }));
    assert_eq!(decode_error::<Choice>(&json!("Two")), ".Two: expected a list, got nothing");
    assert_eq!(decode_error::<Choice>(&json!({ "One": "x" })), ".One: expected a number, found a string");
    assert_eq!(decode_error::<Choice>(&json!({ "Named": { "y": [] } })), ".Named.y: expected a number, found a list");
    assert!(decode_error::<Choice>(&json!("Other")).starts_with("unknown variant `Other`, expected one of `Plain`"));
    assert!(decode_error::<Choice>(&BTreeMap::from([(1, 1)])).starts_with("unknown variant `1`"));
    assert_eq!(decode_error::<Choice>(&json!(1)), "expected the name of a variant, found a number");
    assert_eq!(
        decode_error::<Choice>(&json!({ "One": 1, "Two": 2 })),
        "expected a map with one variant, found 2 pairs"
    );
    assert_eq!(
        recoded(&json!([{ "One": [[]] }, 1])).unwrap_or((None::<Choice>, 1)),
        (None, 1),
        "a failure in contents does not lose the place"
    );
}

#[test]
fn other_taggings() {
    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(untagged)]
    enum Untagged {
        Number(f64),
        Text(String),
        List(Vec<i32>),
        Line(Line),
        Nothing,
    }
    assert_eq!(recoded(&1), Ok(Untagged::Number(1.0)));
    assert_eq!(recoded("1"), Ok(Untagged::Text("1".into())));
    assert_eq!(recoded(&[1, 2]), Ok(Untagged::List(vec![1, 2])));
    assert_eq!(recoded(&()), Ok(Untagged::Nothing));
    assert!(matches!(recoded(&json!({ "name": "n", "qty": 1 })), Ok(Untagged::Line(_))));

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(tag = "kind", rename_all = "lowercase")]
    enum Shape {
        Circle { radius: f64 },
        Square { side: i32 },
    }
    assert_eq!(recoded(&json!({ "radius": 1, "kind": "circle" })), Ok(Shape::Circle { radius: 1.0 }));
    assert_eq!(recoded(&json!({ "kind": "square", "side": 2 })), Ok(Shape::Square { side: 2 }));

    #[derive(Debug, PartialEq, Deserialize)]
    struct Flattened {
        id: i32,
        #[serde(flatten)]
        rest: BTreeMap<String, i32>,
    }
    let expected = Flattened { id: 1, rest: BTreeMap::from([("a".into(), 2)]) };
    assert_eq!(recoded(&json!({ "id": 1, "a": 2 })), Ok(expected));
}

/// An integer key must not be taken for the index of a field.
#[test]
fn keys_that_are_not_names() {
    let mixed = Value::from([
        (Value::Int(0), Value::Int(5)),
        ("name".into(), "n".into()),
        (Value::Bool(true), Value::List(vec![])),
        (Value::Float(0.5), Value::Nil),
        ("qty".into(), Value::Int(1)),
    ]);
    assert_eq!(recoded(&mixed), Ok(Line { name: "n".into(), qty: 1, note: None }));
    assert_eq!(recoded(&mixed), Ok(mixed));
}

#[test]
fn tuples() {
    assert_eq!(recoded(&vec![(1, "a")]), Ok(vec![(1, "a".to_owned())]));
    assert_eq!(recoded(&[[1]]), Ok(vec![(1, None::<i32>)]));
    assert_eq!(decode_error::<Vec<(i32, i32)>>(&[[1]]), "[0][1]: expected a number, got nothing");
    assert_eq!(decode_error::<Vec<(i32, i32)>>(&[[1, 2, 3]]), "[0]: expected a list of 2 items, found 3");
    assert_eq!(recoded(&[[1, 2]]), Ok(vec![[1, 2]]));
}

#[test]
fn arguments() {
    let mut flat = Flat::new();
    flat.push_args(&(1, "two", vec![3, 4], json!({ "five": [6] }))).expect("encodes");
    let (values, count) = flat.as_raw();
    // SAFETY: the run is valid and not written to.
    let mut run = unsafe { Run::new(values, count) };
    assert_eq!(run.left(), 4);
    assert_eq!(run.next::<i32>(&mut ()).expect("decodes"), 1);
    assert!(run.next::<i32>(&mut ()).is_err());
    assert!(run.next::<Vec<String>>(&mut ()).is_err());
    let rest: HashMap<String, Vec<i32>> = run.next(&mut ()).expect("decodes");
    assert_eq!(rest["five"], [6]);
    assert_eq!(run.left(), 0);
    assert_eq!(run.next::<Option<i32>>(&mut ()).expect("decodes"), None);
    assert_eq!(run.next::<Value>(&mut ()).expect("decodes"), Value::Nil);
    run.next::<()>(&mut ()).expect("decodes");
    for (error, wanted) in [
        (run.next::<i32>(&mut ()).map(drop), "a number"),
        (run.next::<String>(&mut ()).map(drop), "a string"),
        (run.next::<Line>(&mut ()).map(drop), "a map"),
        (run.next::<Vec<i32>>(&mut ()).map(drop), "a list"),
        (run.next::<Choice>(&mut ()).map(drop), "the name of a variant"),
    ] {
        assert_eq!(error.expect_err("is refused").to_string(), format!("expected {wanted}, got nothing"));
    }
}

#[test]
fn results_of_calls() {
    assert_eq!(results(1), Ok(1));
    assert_eq!(results((1, "extra")), Ok(1));
    assert_eq!(results(()), Ok(None::<i32>));
    assert_eq!(results(()), Ok(Value::Nil));
    assert_eq!(results::<i32>(()), Err("expected a number, got nothing".into()));
    assert_eq!(results((1, "a")), Ok((1, "a".to_owned())));
    assert_eq!(results((1, "a", 3)), Ok((1, "a".to_owned())));
    assert_eq!(results(1), Ok((1, None::<String>)));
    assert_eq!(results::<(i32, i32)>(1), Err("[1]: expected a number, got nothing".into()));
    assert_eq!(results(vec![1, 2]), Ok((1, 2)));
    assert_eq!(results(vec![1]), Ok((1, None::<i32>)));
    assert_eq!(results(vec![1, 2]), Ok((vec![1, 2],)));
    assert_eq!(results((vec![1, 2], vec![3])), Ok((vec![1, 2], vec![3])));
    assert_eq!(results((None::<i32>, "why")), Ok(None::<(i32, String)>));
    assert_eq!(results((1, "a")), Ok(Some((1, "a".to_owned()))));
    assert_eq!(results((1, "a")), Ok(()), "`()` wants no results");
    assert_eq!(results(vec![1, 2]), Ok(vec![1, 2]));
    assert_eq!(results(json!({ "name": "n", "qty": 1 })).map(|line: Line| line.qty), Ok(1));
    assert_eq!(results("Plain"), Ok(Choice::Plain));
    assert_eq!(results((true, 1)), Ok(true));
}

#[test]
fn any_number_of_results() {
    assert_eq!(results(()), Ok(Many(Vec::<i32>::new())));
    assert_eq!(results((1, 2, 3)), Ok(Many(vec![1, 2, 3])));
    assert_eq!(results((vec![1, 2],)), Ok(Many(vec![vec![1, 2]])));
    assert_eq!(results::<Many<i32>>((1, "2")), Err("[1]: expected a number, found a string".into()));
    assert_eq!(recoded(&vec![vec![1, 2]]), Ok(vec![Many(vec![1, 2])]));
    let json = serde_json::to_string(&Many(vec![1, 2])).expect("is data");
    assert_eq!(serde_json::from_str::<Many<i32>>(&json).expect("is data"), Many(vec![1, 2]));
}

#[test]
fn depth() {
    // A guest's run may be deeper than what we would encode.
    let mut entries = vec![ss_value { tag: SS_LIST, len: 1, as_: ss_value__bindgen_ty_1 { integer: 0 } }; 100_000];
    entries.push(ss_value { tag: SS_NIL, len: 0, as_: ss_value__bindgen_ty_1 { integer: 0 } });
    // SAFETY: one value, of many levels.
    let mut run = unsafe { Run::new(entries.as_mut_ptr(), 1) };
    let error = run.next::<Value>(&mut ()).expect_err("is refused").to_string();
    assert!(error.ends_with("nested deeper than 128 levels"), "{error}");
    assert_eq!(run.left(), 0);
    // SAFETY: as above.
    let mut run = unsafe { Run::new(entries.as_mut_ptr(), 1) };
    run.next::<serde::de::IgnoredAny>(&mut ()).expect("skipping does not recurse");
    let mut flat = Flat::new();
    // SAFETY: as above.
    unsafe { flat.copy_run(entries.as_mut_ptr(), 1, &mut ()) }.expect("copying does not recurse");
    assert_eq!(flat.parts().0.len(), 100_001);
}
