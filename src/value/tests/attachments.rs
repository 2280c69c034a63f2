//! What is not data.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::attach::{self, Kind};
use super::*;

/// As the public types do it.
#[derive(Debug, Clone)]
struct Thing<const GUEST: bool>(Arc<u64>);

type Function = Thing<true>;
type Object = Thing<false>;

const fn kind(guest: bool) -> Kind {
    if guest { Kind::Guest } else { Kind::Object }
}

impl<const GUEST: bool> Serialize for Thing<GUEST> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        attach::serialize(serializer, kind(GUEST), self.0.clone())
    }
}

impl<'de, const GUEST: bool> Deserialize<'de> for Thing<GUEST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let shared = attach::deserialize(deserializer, kind(GUEST))?;
        Ok(Thing(shared.downcast().map_err(|_| serde::de::Error::custom("another type"))?))
    }
}

/// Things by key.
#[derive(Default)]
struct Table {
    things: BTreeMap<u64, Arc<u64>>,
    claimed: Vec<u64>,
}

impl Resolver for Table {
    fn object(&mut self, key: u64, class: u32) -> Result<Arc<dyn Any + Send + Sync>, String> {
        assert_eq!(class, 3);
        Ok(self.things.get(&key).ok_or("the object is gone")?.clone())
    }

    fn guest(&mut self, entry: &mut ss_value) -> Result<Arc<dyn Any + Send + Sync>, String> {
        assert_eq!(entry.tag & SS_CLAIMED, 0);
        entry.tag |= SS_CLAIMED;
        // SAFETY: functions and references have a key.
        let key = unsafe { entry.as_.key };
        self.claimed.push(key);
        Ok(self.things.get(&key).ok_or("the function is gone")?.clone())
    }
}

fn entry(tag: u32, len: u32, key: u64) -> ss_value {
    ss_value { tag, len, as_: ss_value__bindgen_ty_1 { key } }
}

#[test]
fn through_a_flat() {
    let (function, object) = (Thing::<true>(Arc::new(1)), Thing::<false>(Arc::new(2)));
    let mut flat = Flat::new();
    flat.push_args(&("text", &function, vec![Some(&object), None], BTreeMap::from([("f", &function)])))
        .expect("encodes");
    assert!(flat.has_attachments());
    let kinds: Vec<Kind> = flat.attachments().map(Attachment::kind).collect();
    assert_eq!(kinds, [Kind::Guest, Kind::Object, Kind::Guest]);
    assert_eq!(Arc::strong_count(&function.0), 3);
    let mut key = 40;
    flat.bind(|attachment, entry| {
        key += 1;
        entry.as_.key = key;
        entry.tag = if *attachment.downcast_ref::<u64>().expect("a number") == 1 { SS_REFERENCE } else { SS_OBJECT };
        Ok(())
    })
    .expect("binds");
    assert_eq!(words(&flat), r#""text" reference#41 list2 object#42 null map1 "f" reference#43"#);

    type Decoded = (String, Function, Vec<Option<Object>>, BTreeMap<String, Function>);
    let flat = std::thread::spawn(|| flat).join().expect("no panic");
    let (_, one, two, three): Decoded = Results::of(&flat).decode().expect("decodes");
    assert!(Arc::ptr_eq(&one.0, &function.0) && Arc::ptr_eq(&three["f"].0, &function.0));
    assert!(Arc::ptr_eq(&two[0].as_ref().expect("is there").0, &object.0));
    let values: Many<Value> = Results::of(&flat).decode().expect("decodes");
    assert_eq!(values.0[1].as_attachment(), flat.attachments().next());
    assert!(matches!(&values.0[2].at(0), Some(Value::Object(object)) if object.downcast_ref() == Some(&2u64)));

    let mut again = Flat::new();
    again.push_args(&values).expect("encodes");
    assert_eq!(Results::of(&again).decode::<Many<Value>>().expect("decodes"), values);
    drop((flat, again, values, one, three));
    assert_eq!(Arc::strong_count(&function.0), 1);
}

#[test]
fn binding_only_names_things() {
    let mut flat = flat(&vec![Thing::<true>(Arc::new(1))]);
    let error = flat.bind(|_, entry| {
        *entry = super::super::run::NOTHING;
        Ok(())
    });
    error.expect("nil is allowed: the thing is gone");
    let error = flat.bind(|_, bound| {
        *bound = entry(SS_LIST, 1000, 0);
        Ok(())
    });
    assert!(error.is_err());
    assert_eq!(words(&flat), "list1 nil");
    assert!(flat.bind(|_, _| Err(crate::Error::Cancelled)).is_err());
}

#[test]
fn from_a_guest() {
    let mut table = Table::default();
    table.things.extend([(1, Arc::new(1)), (2, Arc::new(2)), (3, Arc::new(3))]);
    let mut entries = [
        entry(SS_FUNCTION, 0, 1),
        entry(SS_LIST, 2, 0),
        entry(SS_REFERENCE, 0, 2),
        entry(SS_OBJECT, 3, 3),
        entry(SS_FUNCTION, 0, 9),
    ];
    {
        let mut copy = Flat::new();
        let mut entries = entries;
        // SAFETY: three values.
        unsafe { copy.copy_run(entries.as_mut_ptr(), 2, &mut table) }.expect("copies");
        assert_eq!(table.claimed, [1, 2]);
        assert_eq!((copy.count(), copy.attachments().count()), (2, 3));
        assert_eq!(entries[2].tag, SS_REFERENCE | SS_CLAIMED);
        let (function, list): (Function, (Function, Object)) = Results::of(&copy).decode().expect("decodes");
        assert_eq!((*function.0, *list.0.0, *list.1.0), (1, 2, 3));
        // SAFETY: three values.
        let failed = unsafe { copy.copy_run(entries[4..].as_mut_ptr(), 1, &mut table) };
        assert_eq!(failed.expect_err("is refused").to_string(), "the function is gone");
        assert_eq!((copy.count(), copy.attachments().count()), (2, 3));
    }
    table.claimed.clear();
    // SAFETY: three values.
    let mut run = unsafe { Run::new(entries.as_mut_ptr(), 3) };
    assert_eq!(*run.next::<Function>(&mut table).expect("decodes").0, 1);
    let list: Value = run.next(&mut table).expect("decodes");
    assert!(matches!(list.as_list(), Some([Value::Guest(_), Value::Object(_)])));
    let error = run.next::<Option<Function>>(&mut table).expect_err("is refused");
    assert_eq!(error.to_string(), "the function is gone");
    assert_eq!(table.claimed, [1, 2, 9]);
    assert_eq!(entries[0].tag, SS_FUNCTION | SS_CLAIMED);
    drop(list);
    assert!(table.things.values().all(|thing| Arc::strong_count(thing) == 1));
}

#[test]
fn in_place_of_something_else() {
    let mut table = Table::default();
    table.things.insert(1, Arc::new(1));
    let mut decode = |tag: u32| {
        let mut entry = entry(tag, 3, 1);
        let mut errors = Vec::new();
        let mut note = |result: Result<(), DecodeError>| errors.extend(result.err().map(|error| error.to_string()));
        // SAFETY: one value each time.
        unsafe {
            note(Run::new(&mut entry, 1).next::<i32>(&mut table).map(drop));
            note(Run::new(&mut entry, 1).next::<serde_json::Value>(&mut table).map(drop));
            note(Run::new(&mut entry, 1).next::<Function>(&mut table).map(drop));
            note(Run::new(&mut entry, 1).next::<Object>(&mut table).map(drop));
        }
        errors.join("; ")
    };
    assert_eq!(
        decode(SS_FUNCTION),
        "expected a number, found a function; expected any valid JSON value, found a function; \
         expected a host object, found a function"
    );
    assert_eq!(
        decode(SS_OBJECT),
        "expected a number, found a host object; expected any valid JSON value, found a host object; \
         expected a function, found a host object"
    );
    assert_eq!(decode_error::<Function>(&1), "expected a function, found a number");
    assert_eq!(decode_error::<Vec<Object>>(&["x"]), "[0]: expected a host object, found a string");
    assert_eq!(results::<(i32, Function)>(1).expect_err("is refused"), "[1]: expected a function, got nothing");
}

#[test]
fn not_outside_of_guests() {
    let function = Thing::<true>(Arc::new(1));
    let error = serde_json::to_string(&vec![&function]).expect_err("is refused").to_string();
    assert_eq!(error, "a function is not data: it can be passed to a guest, but not written elsewhere");
    assert!(serde_json::to_value(Value::Object(Attachment::new(Kind::Object, function.0.clone()))).is_err());
    assert_eq!(Arc::strong_count(&function.0), 1, "nothing stays behind");
    let error = serde_json::from_str::<Function>("1").expect_err("is refused").to_string();
    assert!(error.starts_with("a function is not data: it can come from a guest, but not"), "{error}");
    assert!(serde_json::from_str::<Object>("null").is_err());

    // Formats that buffer, as part of our own.
    #[derive(Debug, Serialize, Deserialize)]
    #[serde(untagged)]
    enum Untagged {
        One(Function),
    }
    assert!(Flat::new().push(&Untagged::One(function.clone())).is_ok());
    let flat = flat(&Untagged::One(function.clone()));
    assert!(Results::of(&flat).decode::<Untagged>().is_err());
    assert_eq!(refused(&BTreeMap::from([(1, Keyed(function.clone()))])), "[1]: a function is not allowed here");
    drop(flat);
    assert_eq!(Arc::strong_count(&function.0), 1);

    /// Fails after it was given the attachment.
    struct Keyed(Function);
    impl Serialize for Keyed {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            self.0.serialize(serializer)?;
            Err(serde::ser::Error::custom("a function is not allowed here"))
        }
    }
}

/// The private name alone is no attachment.
#[test]
fn forged_names() {
    struct Forged;
    impl Serialize for Forged {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_newtype_struct("$sidestack::attachment::Guest", &1)
        }
    }
    assert_eq!(refused(&Forged), "an attachment without its contents");
}
