//! Implementations of serde's traits that do not keep to the rules must not break a run or lose their place in one.

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::*;

struct Swallowed;

impl Serialize for Swallowed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut items = serializer.serialize_seq(None)?;
        assert!(items.serialize_element(&("half", u64::MAX)).is_err());
        items.serialize_element("whole")?;
        items.end()
    }
}

#[test]
fn ignored_encoding_errors() {
    assert_eq!(pushed(&Swallowed), r#"list1 "whole""#);
}

/// Panics in the midst of a list.
struct Panics;

impl Serialize for Panics {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut items = serializer.serialize_seq(None)?;
        items.serialize_element(&1)?;
        panic!("on purpose");
    }
}

#[test]
fn panics_leave_nothing_behind() {
    let mut flat = flat("before");
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| flat.push(&vec![Panics])));
    assert!(result.is_err());
    assert_eq!((flat.count(), words(&flat)), (1, "\"before\"".into()));
}

struct Unpaired(u8);

impl Serialize for Unpaired {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self.0 {
            0 => map.serialize_key("key")?,
            1 => map.serialize_value("value")?,
            2 => {
                map.serialize_key("key")?;
                let _ = map.serialize_key("key");
            }
            _ => {
                let _ = map.serialize_value("value");
                let _ = map.serialize_key(&[1]);
                map.serialize_entry("a", "b")?;
            }
        }
        map.end()
    }
}

#[test]
fn unpaired_keys() {
    assert_eq!(refused(&Unpaired(0)), "a key without a value");
    assert_eq!(refused(&Unpaired(1)), "a value without a key");
    assert_eq!(pushed(&Unpaired(2)), "map0");
    assert_eq!(pushed(&Unpaired(3)), r#"map1 "a" "b""#);
}

/// Takes any value and looks at less, or asks for more, than there is.
#[derive(Debug, PartialEq)]
enum Careless {
    /// Does not look at all.
    Blind,
    /// Looked at something.
    Seen,
}

impl<'de> Deserialize<'de> for Careless {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Looks;
        impl<'de> Visitor<'de> for Looks {
            type Value = Careless;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("anything")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Careless, A::Error> {
                assert!(items.next_element::<i32>().is_err());
                assert_eq!(items.next_element::<i32>().ok(), Some(Some(2)));
                while let Some(IgnoredAny) = items.next_element()? {}
                assert!(items.next_element::<i32>()?.is_none());
                Ok(Careless::Seen)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<Careless, A::Error> {
                assert!(pairs.next_value::<i32>().is_err());
                assert_eq!(pairs.next_key::<String>()?.as_deref(), Some("a"));
                assert_eq!(pairs.next_key::<String>()?.as_deref(), Some("b"));
                assert!(pairs.next_value::<String>().is_err());
                assert!(pairs.next_value::<i32>().is_err());
                assert!(pairs.next_key::<i32>().is_err());
                Ok(Careless::Seen)
            }
            fn visit_unit<E>(self) -> Result<Careless, E> {
                Ok(Careless::Blind)
            }
            fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Careless, D::Error> {
                Ok(deserializer.deserialize_any(self).unwrap_or(Careless::Seen))
            }
        }
        deserializer.deserialize_option(Looks).or(Ok(Careless::Blind))
    }
}

struct Unread;

impl<'de> Deserialize<'de> for Unread {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Ok(Unread)
    }
}

#[test]
fn the_place_is_kept() {
    let value = serde_json::json!([["x", 2, 3, [4, "y"]], 7]);
    assert_eq!(recoded(&value), Ok((Careless::Seen, 7)));
    assert_eq!(recoded::<(Unread, i32)>(&value).map(|(_, last)| last), Ok(7));
    let value = serde_json::json!([{ "a": [1], "b": [2], "c": [3], "d": [4] }, 7]);
    assert_eq!(recoded(&value), Ok((Careless::Seen, 7)));
    assert_eq!(recoded::<(Unread, i32)>(&value).map(|(_, last)| last), Ok(7));
    assert_eq!(recoded(&serde_json::json!([5, 7])), Ok((Careless::Seen, 7)));
}
