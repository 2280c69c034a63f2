//! zlib's `inflateBack`: its input comes from a real socket that drips, its output goes to the host; it waits for both.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_io::Async;
use futures_executor::block_on;
use sidestack::{Bytes, Call, Cx, HostObject, Members, Module, Object};
use sidestack_test_libraries::{gzip, zlib_live};

use super::stage::{Bed, until};

/// What the C code reads from and leaves the output in.
struct Connection {
    stream: Async<TcpStream>,
    kept: Arc<Mutex<Vec<u8>>>,
    waits: Arc<AtomicUsize>,
}

impl HostObject for Connection {
    const NAME: &'static str = "Connection";

    fn members(members: &mut Members<Self>) {
        members
            .method("read", async |this: &Self| {
                let mut buffer = vec![0; 256];
                let mut first = true;
                let read = this.stream.read_with(|mut stream| {
                    let read = stream.read(&mut buffer);
                    if std::mem::take(&mut first) && read.is_err() {
                        this.waits.fetch_add(1, Ordering::Relaxed);
                    }
                    read
                });
                let length = read.await?;
                buffer.truncate(length);
                Ok(Bytes(buffer))
            })
            .method("keep", async |this: &Self, cx: Cx, bytes: Bytes| {
                cx.sleep(Duration::from_millis(1)).await;
                this.kept.lock().expect("not poisoned").extend_from_slice(&bytes);
                Ok(())
            });
    }
}

/// A stream under way, and what has come of it.
struct Under {
    call: Call<usize>,
    kept: Arc<Mutex<Vec<u8>>>,
    waits: Arc<AtomicUsize>,
}

/// After each piece: long, so that a busy machine too has taken it before the next one comes.
const DRIP: Duration = Duration::from_millis(4);

/// A thread sends the stream in pieces of uneven length, about 60 bytes each.
fn inflate(bed: &Bed, stream: Vec<u8>) -> Under {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    std::thread::spawn(move || {
        let (mut peer, _) = listener.accept().expect("the connection");
        let mut rest = &stream[..];
        for size in (1..).map(|i| 1 + i * 37 % 120) {
            let (piece, others) = rest.split_at(rest.len().min(size));
            // Whoever was cancelled does not listen any more.
            if piece.is_empty() || peer.write_all(piece).is_err() {
                break;
            }
            rest = others;
            std::thread::sleep(DRIP);
        }
        let _ = peer.shutdown(Shutdown::Write);
    });
    let (kept, waits) = (Arc::default(), Arc::default());
    let stream = block_on(Async::<TcpStream>::connect(address)).expect("connected");
    let connection = Connection { stream, kept: Arc::clone(&kept), waits: Arc::clone(&waits) };
    let call = bed.engine.spawn(bed.script.call("inflate", Object::new(connection))).expect("started");
    Under { call, kept, waits }
}

/// Text that can be compressed, but not to nothing; the numbers never repeat.
fn content(seed: usize, length: usize) -> Vec<u8> {
    let mut state = seed as u64 + 1;
    let words = std::iter::repeat_with(move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        format!("line {} of many lines\n", state >> 40).into_bytes()
    });
    words.flatten().take(length).collect()
}

fn bed() -> Bed {
    Bed::new(Module::new("net").object::<Connection>())
}

/// All in one test: what zlib holds is counted for the process.
#[test]
fn streams_inflate_while_their_sockets_drip() {
    const STREAMS: usize = 12;
    let bed = bed();
    let begun = Instant::now();
    let all: Vec<_> = (0..STREAMS)
        .map(|seed| {
            let content = content(seed, 60_000 + seed * 7_001);
            let stream = gzip(&content);
            // One by one, the pieces alone would take as long.
            (DRIP * (stream.len() / 60) as u32, content, inflate(&bed, stream))
        })
        .collect();
    until("several are in the middle of it", || zlib_live() > 3);
    let one_by_one: Duration = all.iter().map(|(drip, ..)| *drip).sum();
    for (_, content, under) in all {
        assert_eq!(block_on(under.call).expect("inflated"), content.len());
        assert!(*under.kept.lock().expect("not poisoned") == content, "byte for byte");
        assert!(under.waits.load(Ordering::Relaxed) > 20, "it waited for the socket");
    }
    let took = begun.elapsed();
    assert!(took * 2 < one_by_one, "{took:?}, and one by one {one_by_one:?}");

    // What is wrong with a stream is told, and everything is freed.
    let good = gzip(&content(1, 20_000));
    let changed = |at: usize| {
        let mut stream = good.clone();
        stream[at] ^= 1;
        stream
    };
    for (stream, told) in [
        (good[..good.len() / 2].to_vec(), "it ends too early"),
        (changed(0), "no gzip header"),
        (changed(good.len() - 6), "wrong checksum"),
        (changed(good.len() - 1), "wrong checksum"),
        ([&good[..], b"x"].concat(), "something follows it"),
    ] {
        let error = block_on(inflate(&bed, stream).call).expect_err(told);
        assert_eq!((error.code(), error.to_string().as_str()), (Some("gzip"), told));
    }

    // In the middle of it, the call is dropped: zlib's callback is told, and stops it.
    let under = inflate(&bed, gzip(&content(2, 500_000)));
    until("it has begun", || under.kept.lock().expect("not poisoned").len() > 1000);
    assert_eq!(zlib_live(), 1);
    drop(under.call);
    bed.idle();
    assert_eq!(zlib_live(), 0);
    assert_eq!(Arc::strong_count(&under.kept), 1, "the connection is gone");
}
