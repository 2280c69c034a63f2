//! Runs as no shim would make them, but for their shape: unknown tags, any text, any keys, marks everywhere. Decoding gives a
//! value or an error, and the same as a copy does.
#![no_main]

use std::any::Any;
use std::sync::Arc;

use arbitrary::{Arbitrary, Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use serde::de::DeserializeOwned;
use sidestack::Value;
use sidestack::guest::ss_value;
use sidestack::value::{Flat, Resolver, Results, Run};
use sidestack_fuzz::{each_type, same};

/// The mark of what the host has taken over.
const CLAIMED: u32 = 1 << 31;
const STRING: u32 = 5;
const BYTES: u32 = 6;
const LIST: u32 = 7;
const MAP: u32 = 8;

#[derive(Debug)]
struct Anything {
    entries: Vec<(u32, u32, u64)>,
    count: u32,
    text: Vec<u8>,
}

impl<'a> Arbitrary<'a> for Anything {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let text: Vec<u8> = u.arbitrary::<&[u8]>()?.to_vec();
        let count = u.int_in_range(0..=4)?;
        let mut entries = Vec::new();
        // As many entries as the heads so far announce.
        let mut left = u64::from(count);
        while left > 0 {
            left -= 1;
            let mut tag = if u.ratio(15, 16)? { u.int_in_range(0..=11)? } else { u.arbitrary::<u32>()? & !CLAIMED };
            // What there are no bytes for ends soon.
            if entries.len() > 2000 || u.is_empty() {
                tag = 3;
            }
            let len = match tag {
                LIST => u.int_in_range(0..=6)?,
                MAP => u.int_in_range(0..=4)?,
                STRING | BYTES => u.int_in_range(0..=text.len() as u32)?,
                _ => u.arbitrary()?,
            };
            left += match tag {
                LIST => u64::from(len),
                MAP => 2 * u64::from(len),
                _ => 0,
            };
            let claimed = if u.ratio(1, 16)? { CLAIMED } else { 0 };
            entries.push((tag | claimed, len, u.arbitrary()?));
        }
        Ok(Anything { entries, count, text })
    }
}

impl Anything {
    fn run(&self) -> Vec<ss_value> {
        let entry = |&(tag, len, payload): &(u32, u32, u64)| {
            // SAFETY: an entry is plain data, of which any bytes are a value; the union is written whole.
            let mut entry: ss_value = unsafe { std::mem::zeroed() };
            (entry.tag, entry.len) = (tag, len);
            match tag & !CLAIMED {
                STRING | BYTES if len == 0 => entry.as_.key = 0,
                STRING | BYTES => entry.as_.bytes = self.text[self.text.len() - len as usize..].as_ptr().cast(),
                _ => entry.as_.key = payload,
            }
            entry
        };
        self.entries.iter().map(entry).collect()
    }
}

/// Finds something behind half of the keys.
struct Half;

impl Resolver for Half {
    fn object(&mut self, key: u64, _: u32) -> std::result::Result<Arc<dyn Any + Send + Sync>, String> {
        if key % 2 == 0 { Ok(Arc::new(key)) } else { Err("no such object".into()) }
    }

    fn guest(&mut self, entry: &mut ss_value) -> std::result::Result<Arc<dyn Any + Send + Sync>, String> {
        // SAFETY: the tag says that the payload is a key.
        let key = unsafe { entry.as_.key };
        entry.tag |= CLAIMED;
        if key % 2 == 0 { Ok(Arc::new(key)) } else { Err("no such function".into()) }
    }
}

fn decode<T: DeserializeOwned>(anything: &Anything) {
    let mut run = anything.run();
    // SAFETY: as many entries as the heads announce; strings point into `text`; nobody else has it.
    let mut all = unsafe { Run::new(run.as_mut_ptr(), anything.count) };
    while all.left() > 0 {
        drop(all.next::<T>(&mut Half));
    }
    let mut run = anything.run();
    let mut half = Half;
    // SAFETY: as above.
    drop(unsafe { Results::new(run.as_mut_ptr(), anything.count, &mut half) }.decode::<T>());
}

fn first(anything: &Anything) -> std::result::Result<Value, String> {
    let mut run = anything.run();
    // SAFETY: as above.
    let mut all = unsafe { Run::new(run.as_mut_ptr(), anything.count.min(1)) };
    all.next::<Value>(&mut ()).map_err(|error| error.to_string())
}

/// By way of a copy.
fn copied(anything: &Anything) -> std::result::Result<Value, String> {
    let (mut run, mut flat) = (anything.run(), Flat::new());
    // SAFETY: as above.
    unsafe { flat.copy_run(run.as_mut_ptr(), anything.count.min(1), &mut ()) }.map_err(|error| error.to_string())?;
    Results::of(&flat).decode::<Value>().map_err(|error| error.to_string())
}

fuzz_target!(|anything: Anything| {
    each_type!(decode, &anything);
    match (first(&anything), copied(&anything)) {
        (Ok(direct), Ok(copied)) => assert!(same(&direct, &copied), "{direct:?} and {copied:?}"),
        (Err(_), Err(_)) => {}
        (direct, copied) => panic!("{direct:?} and {copied:?}"),
    }
});
