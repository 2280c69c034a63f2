//! expat's SAX callbacks, which wait in the middle of `XML_Parse`.

use std::io::Write;
use std::sync::{Arc, Mutex};

use futures_executor::block_on;
use sidestack::{Call, Cx, Module, Raise};
use sidestack_test_libraries::EXPAT;

use super::stage::{Bed, Gate, until};

/// False, said aloud, where expat is missing; where everything has to run, that is a failure.
fn expat() -> bool {
    if !EXPAT {
        assert!(std::env::var_os("CI").is_none(), "expat is missing: Debian's libexpat1-dev, found by pkg-config");
        // Not `eprintln`, which the test harness swallows.
        let _ = writeln!(std::io::stderr(), "SKIPPED: built without expat (Debian packages libexpat1-dev, pkg-config)");
    }
    EXPAT
}

struct Host {
    bed: Bed,
    gate: Arc<Gate>,
    seen: Arc<Mutex<Vec<(i64, String)>>>,
}

/// The opening of each element waits at the gate.
fn host() -> Host {
    let (gate, seen) = (Arc::<Gate>::default(), Arc::<Mutex<Vec<(i64, String)>>>::default());
    let (at, list) = (gate.clone(), seen.clone());
    let start = async move |document: i64, name: String| {
        at.pass(document).await;
        list.lock().expect("not poisoned").push((document, name.clone()));
        match name.as_str() {
            "bad" => Err(Raise::new("bad_element", "no such element").into()),
            name => Ok(format!("[{name} ")),
        }
    };
    let end = async |cx: Cx, _document: i64, _name: String| {
        cx.sleep(std::time::Duration::from_millis(1)).await;
        Ok("]")
    };
    let bed = Bed::new(Module::new("sax").function("start", start).function("end", end));
    Host { bed, gate, seen }
}

impl Host {
    fn parse(&self, number: i64, text: &str, piece: usize) -> Call<String> {
        self.bed.engine.spawn(self.bed.script.call("sax", (number, text, piece))).expect("started")
    }
}

#[cfg(expat)]
fn state() -> sidestack_test_libraries::Parsers {
    sidestack_test_libraries::parsers()
}

#[cfg(not(expat))]
fn state() -> sidestack_test_libraries::Parsers {
    unreachable!("skipped")
}

const CANCELLED: i32 = 2;

/// All in one test: what expat holds is counted for the process.
#[test]
fn documents_are_parsed_while_their_elements_wait() {
    const DOCUMENTS: i64 = 8;
    const ITEMS: i64 = 10;
    if !expat() {
        return;
    }
    let host = host();
    let document = |number: i64| {
        let items: String = (0..ITEMS).map(|item| format!("<i{item}>{number} &amp; {item}</i{item}>")).collect();
        format!("<?xml version=\"1.0\"?><doc>{items}</doc>")
    };
    let calls: Vec<_> = (0..DOCUMENTS).map(|n| host.parse(n, &document(n), 7 + n.cast_unsigned() as usize)).collect();
    // Each element of all documents, in another order of the documents each time.
    for element in 0..=ITEMS {
        until("all wait", || host.gate.waiting().len() == DOCUMENTS as usize);
        assert!(state().bytes > 0);
        for turn in 0..DOCUMENTS {
            host.gate.release((turn * 3 + element) % DOCUMENTS);
            until("it went on", || {
                host.seen.lock().expect("not poisoned").len() as i64 == element * DOCUMENTS + turn + 1
            });
        }
    }
    for (number, call) in calls.into_iter().enumerate() {
        let items: String = (0..ITEMS).map(|item| format!("[i{item} {number} & {item}]")).collect();
        assert_eq!(block_on(call).expect("parsed"), format!("[doc {items}]"));
    }
    let seen = std::mem::take(&mut *host.seen.lock().expect("not poisoned"));
    for (place, (number, name)) in seen.iter().enumerate() {
        let (element, turn) = (place as i64 / DOCUMENTS, place as i64 % DOCUMENTS);
        assert_eq!(*number, (turn * 3 + element) % DOCUMENTS);
        assert_eq!(*name, if element == 0 { "doc".into() } else { format!("i{}", element - 1) });
    }
    host.bed.idle();
    assert_eq!(state().bytes, 0);

    // The call is dropped in the middle of XML_Parse: the handler is told, and stops the parser.
    let dropped = host.parse(100, "<doc><a>text</a><b/><c/></doc>", 1000);
    until("it waits", || host.gate.waiting() == [100]);
    host.gate.release(100);
    until("it waits at <a>", || host.gate.waiting() == [100]);
    drop(dropped);
    host.bed.idle();
    let left = state();
    assert_eq!((left.status, left.aborted, left.late, left.bytes), (CANCELLED, true, 0, 0));
    assert_eq!(*host.seen.lock().expect("not poisoned"), [(100, "doc".into())]);

    // The host's error stops it too; expat's own is told.
    host.gate.open();
    let error = block_on(host.parse(1, "<doc><bad/><a/></doc>", 1000)).expect_err("an error");
    assert_eq!((error.code(), error.to_string().as_str()), (Some("bad_element"), "no such element"));
    let error = block_on(host.parse(1, "<doc><a></doc>", 1000)).expect_err("no document");
    assert_eq!((error.code(), error.to_string().as_str()), (Some("xml"), "mismatched tag"));
    host.bed.idle();
    // As expat documents: stopped in the start of an empty element, it still calls for its end. The host was not.
    assert_eq!((state().late, state().bytes), (1, 0));
}
