//! Whatever goes in comes out again.

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::*;

fn any_value() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Nil),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_filter("NaN is not equal to itself", |n| !n.is_nan()).prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        any::<Vec<u8>>().prop_map(|bytes| Bytes(bytes).into()),
    ];
    let key = prop_oneof![any::<i64>().prop_map(Value::from), "[a-z]{0,6}".prop_map(Value::from)];
    scalar.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::List),
            prop::collection::vec((key.clone(), inner), 0..6).prop_map(Value::Map),
        ]
    })
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::Value as Json;
    let scalar = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        (-1e9..1e9f64).prop_map(Json::from),
        ".{0,12}".prop_map(Json::from),
    ];
    scalar.prop_recursive(6, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Json::from),
            prop::collection::btree_map(".{0,6}", inner, 0..6).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Record {
    id: u32,
    ratio: f32,
    letter: char,
    title: Option<String>,
    tags: Vec<Option<String>>,
    by_name: HashMap<String, i16>,
    by_number: BTreeMap<i64, Vec<bool>>,
    pair: (i8, String),
    data: Bytes,
    shape: Shape,
    parent: Option<Box<Record>>,
    unit: (),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Shape {
    Nothing,
    Sized(Option<u16>),
    Placed(i32, Meters),
    Named { name: Option<String>, inner: Box<Option<Shape>> },
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Meters(f64);

fn any_shape() -> impl Strategy<Value = Shape> {
    let leaf = prop_oneof![
        Just(Shape::Nothing),
        any::<Option<u16>>().prop_map(Shape::Sized),
        (any::<i32>(), -1e9..1e9f64).prop_map(|(at, size)| Shape::Placed(at, Meters(size))),
    ];
    leaf.prop_recursive(4, 8, 1, |inner| {
        (any::<Option<String>>(), prop::option::of(inner))
            .prop_map(|(name, inner)| Shape::Named { name, inner: Box::new(inner) })
    })
}

fn any_record() -> impl Strategy<Value = Record> {
    let scalars = (any::<u32>(), -1e9..1e9f32, any::<char>(), any::<Option<String>>(), any::<(i8, String)>());
    let maps = (any::<HashMap<String, i16>>(), any::<BTreeMap<i64, Vec<bool>>>());
    let record = (scalars, any::<Vec<Option<String>>>(), maps, any::<Vec<u8>>(), any_shape()).prop_map(
        |((id, ratio, letter, title, pair), tags, (by_name, by_number), data, shape)| Record {
            id,
            ratio,
            letter,
            title,
            tags,
            by_name,
            by_number,
            pair,
            data: Bytes(data),
            shape,
            parent: None,
            unit: (),
        },
    );
    record.prop_recursive(3, 3, 1, |inner| {
        inner.prop_map(|record| Record { parent: Some(Box::new(record.clone())), ..record })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn values(value in any_value()) {
        prop_assert_eq!(recoded::<Value>(&value), Ok(value.clone()));
        // The copy of a run is the same run.
        let mut original = flat(&value);
        let (values, count) = original.as_raw();
        let mut copy = Flat::new();
        copy.push("something before").expect("encodes");
        // SAFETY: the run is valid, and without attachments it is not written to.
        unsafe { copy.copy_run(values, count, &mut ()) }.expect("copies");
        prop_assert_eq!(&words(&copy)["\"something before\" ".len()..], &words(&original));
        let (_, copied): (String, Value) = Results::of(&copy).decode().expect("decodes");
        prop_assert_eq!(copied, value);
    }

    #[test]
    fn json(value in any_json()) {
        prop_assert_eq!(recoded::<serde_json::Value>(&value), Ok(value.clone()));
        let ours: Value = serde_json::from_value(value.clone()).expect("is data");
        prop_assert_eq!(recoded::<Value>(&value), Ok(ours.clone()));
        prop_assert_eq!(serde_json::to_value(&ours).expect("is data"), value);
    }

    #[test]
    fn records(record in any_record()) {
        prop_assert_eq!(recoded::<Record>(&record), Ok(record.clone()));
        let tree: Value = recoded(&record).expect("decodes");
        prop_assert_eq!(recoded::<Record>(&tree), Ok(record));
    }

    #[test]
    fn wrong_types_are_errors(value in any_value()) {
        let _ = recoded::<Record>(&value);
        let _ = recoded::<Vec<Shape>>(&value);
        let _ = recoded::<Many<HashMap<String, Shape>>>(&value);
        let _ = recoded::<(i32, Option<Record>, Vec<(String, u8)>)>(&value);
    }
}
