//! Exported functions: one of each shape.

use std::ffi::{CStr, c_char, c_void};
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use sidestack::export::{C, CType};
use sidestack::{Cx, Function, HostObject, Members, Object, Raise, State, export};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::Hundred;
use crate::stage::{self, Live};

/// Where HTTP requests run: engines here have no async runtime of their own.
fn runtime() -> &'static tokio::runtime::Runtime {
    static RUNTIME: std::sync::OnceLock<tokio::runtime::Runtime> = std::sync::OnceLock::new();
    RUNTIME.get_or_init(|| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(1).enable_all().build().expect("a runtime")
    })
}

/// Fetches a page over HTTP; its body is a number.
#[export(on_error = -1)]
async fn do_fetch(url: &CStr) -> anyhow::Result<i32> {
    let url = url.to_str()?.to_string();
    let request = runtime().spawn(async move {
        let rest = url.strip_prefix("http://").context("no HTTP")?;
        let (host, path) = rest.split_once('/').context("no path")?;
        let mut stream = tokio::net::TcpStream::connect(host).await.with_context(|| format!("cannot reach {host}"))?;
        let request = format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no body")?;
        if !head.starts_with("HTTP/1.1 200 ") {
            bail!(Raise::new("http", head.lines().next().unwrap_or_default()));
        }
        Ok(body.trim().parse::<i32>()?)
    });
    println!("waiting");
    let value = request.await??;
    println!("got");
    Ok(value)
}

/// Waits so many milliseconds.
#[export(on_error = -1)]
async fn nap(cx: Cx, ms: u32) -> anyhow::Result<()> {
    let _live = Live::new();
    cx.sleep(Duration::from_millis(ms.into())).await;
    Ok(())
}

static TICKS: AtomicI64 = AtomicI64::new(0);

/// Counts.
#[export]
fn tick() -> i64 {
    TICKS.fetch_add(1, Ordering::SeqCst) + 1
}

/// Waits at a gate; its value.
#[export(on_error = i64::MIN)]
async fn at_gate(gate: i64) -> anyhow::Result<i64> {
    Ok(stage::pass(gate).await)
}

/// Is async, and ready at once.
#[export]
async fn ready_at_once(n: i32) -> i32 {
    n + 1
}

#[export]
fn add(a: i32, b: i32) -> i32 {
    a.wrapping_add(b)
}

#[export]
#[expect(clippy::too_many_arguments, reason = "one of each")]
fn numbers(a: i8, b: u8, c: i16, d: u16, e: i32, f: u32, g: i64, h: u64, i: isize, j: usize, k: f32, l: f64) -> f64 {
    let small = f64::from(a) + f64::from(b) + f64::from(c) + f64::from(d) + f64::from(e) + f64::from(f);
    small + g as f64 + h as f64 + i as f64 + j as f64 + f64::from(k) + l
}

#[export]
fn flip(bit: bool) -> bool {
    !bit
}

#[export(on_error = -1)]
fn text_length(text: &str) -> anyhow::Result<i64> {
    Ok(text.chars().count() as i64)
}

/// -2 for `NULL`; the function itself has no error.
#[export]
fn maybe_length(text: Option<&CStr>) -> i64 {
    text.map_or(-2, |text| text.to_bytes().len() as i64)
}

#[export(on_error = i64::MIN)]
async fn sum(items: &[i32]) -> anyhow::Result<i64> {
    stage::pass(1000).await;
    Ok(items.iter().map(|item| i64::from(*item)).sum())
}

#[export]
fn fill(bytes: &mut [u8], value: u8) {
    bytes.fill(value);
}

/// Writes through a pointer.
///
/// # Safety
///
/// It points to an `i32`, or is null.
#[export]
unsafe fn store(place: *mut i32, value: i32) -> *const c_char {
    // SAFETY: the caller's promise.
    if let Some(place) = unsafe { place.as_mut() } {
        *place = value;
    }
    c"stored".as_ptr()
}

#[export(out)]
fn divide(a: i32, b: i32) -> anyhow::Result<i32> {
    a.checked_div(b).context("division by zero").context("cannot divide")
}

#[export(on_error = -7)]
fn parse(text: &CStr) -> Result<(), std::str::Utf8Error> {
    text.to_str().map(drop)
}

#[export(on_error = std::ptr::null_mut())]
fn no_memory(fail: bool) -> anyhow::Result<*mut c_void> {
    if fail { Err(Raise::new("no_memory", "there is none").into()) } else { Ok(std::ptr::dangling_mut()) }
}

/// Calls a C function.
#[export]
fn apply(f: extern "C" fn(i32) -> i32, n: i32) -> i32 {
    f(n)
}

/// The same, after a while.
#[export(on_error = -1)]
async fn apply_later(
    cx: Cx,
    f: Option<unsafe extern "C" fn(*mut c_void) -> i32>,
    data: *mut c_void,
) -> anyhow::Result<i32> {
    cx.sleep(Duration::from_millis(1)).await;
    // SAFETY: the C code of the tests gives a function that fits its data, and returns.
    Ok(unsafe { f.context("no function")?(data) })
}

#[export(no_callback)]
fn quietly(f: extern "C" fn(i32) -> i32, n: i32) -> i32 {
    f(n)
}

#[export(on_error = -1, no_callback)]
async fn quietly_later(cx: Cx, f: extern "C" fn(i32) -> i32, n: i32) -> anyhow::Result<i32> {
    cx.sleep(Duration::from_millis(1)).await;
    Ok(f(n))
}

#[export(on_error = -3)]
fn explode(_now: bool) -> anyhow::Result<i32> {
    let _live = Live::new();
    panic!("boom")
}

#[export]
async fn explode_later(gate: i64) -> i32 {
    stage::pass(gate).await;
    panic!("boom, later")
}

/// Panics while it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("boom, dropped");
    }
}

#[export]
async fn explode_dropped(gate: i64) -> i32 {
    let _bomb = Bomb;
    stage::pass(gate).await as i32
}

/// An error whose text panics.
#[derive(Debug)]
struct Mute;

impl std::fmt::Display for Mute {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic!("no text")
    }
}

impl std::error::Error for Mute {}

#[export(on_error = -1)]
fn mute_error() -> Result<i32, Mute> {
    Err(Mute)
}

/// An asynchronous sum, for any thread.
#[export(on_error = -1, foreign = owner)]
async fn owned_add(cx: Cx, text: &CStr, a: i32, b: i32) -> anyhow::Result<i32> {
    cx.sleep(Duration::from_millis(1)).await;
    if a < 0 {
        bail!(Raise::new("negative", format!("{} is negative: {}", a, text.to_str()?)));
    }
    Ok(a + b)
}

#[export(on_error = -1, foreign = owner)]
async fn owned_gate(gate: i64) -> anyhow::Result<i64> {
    Ok(stage::pass(gate).await)
}

#[export(on_error = -1, foreign = attach)]
async fn attached_add(a: i32, b: i32) -> anyhow::Result<i32> {
    futures_util::future::ready(()).await;
    std::future::poll_fn({
        let mut first = true;
        move |task| {
            if std::mem::take(&mut first) {
                let waker = task.waker().clone();
                std::thread::spawn(move || waker.wake());
                return std::task::Poll::Pending;
            }
            std::task::Poll::Ready(())
        }
    })
    .await;
    assert!(a != -2, "two below");
    anyhow::ensure!(a >= 0, Raise::new("negative", a));
    Ok(a + b)
}

#[export(no_callback, foreign = attach)]
fn attached_quietly(f: extern "C" fn(i32) -> i32, n: i32) -> i32 {
    f(n)
}

/// A leaf.
///
/// # Safety
///
/// None: it is one.
#[export(stack = fiber)]
unsafe fn mix(a: u32, b: u32) -> u32 {
    a.rotate_left(5) ^ b
}

#[export]
fn nothing() {}

/// What C calls by another name, with parameters that are words of C's.
#[export(name = "c_word")]
fn rust_word(int: i32, default: i32) -> i32 {
    int - default
}

/// A struct of C's.
#[repr(C)]
#[derive(Debug)]
pub struct Point {
    x: i32,
    y: i32,
}

// SAFETY: `struct point` of csrc/cases.c has two `int32_t`.
unsafe impl CType for Point {
    const C: C = C::Name("struct point");
}

/// # Safety
///
/// It is a point.
#[export(on_error = -1)]
unsafe fn manhattan(point: *const Point) -> anyhow::Result<i32> {
    // SAFETY: the caller's promise.
    let point = unsafe { point.as_ref() }.context("no point")?;
    Ok(point.x.abs() + point.y.abs())
}

/// What the interpreter gives is no parameter of C's.
#[export]
fn with_state(state: State<Hundred>, n: i32) -> i32 {
    state.0.0 + n
}

/// What C holds by handle.
struct Counter {
    total: AtomicI64,
    _live: Live,
}

impl HostObject for Counter {
    const NAME: &'static str = "Counter";
    fn members(_: &mut Members<Self>) {}
}

struct Other;

impl HostObject for Other {
    const NAME: &'static str = "Other";
    fn members(_: &mut Members<Self>) {}
}

/// A counter, by handle.
#[export]
fn counter_new(start: i64) -> Object<Counter> {
    Object::new(Counter { total: AtomicI64::new(start), _live: Live::new() })
}

#[export(on_error = 0)]
async fn counter_later(cx: Cx, start: i64) -> anyhow::Result<Object<Counter>> {
    cx.sleep(Duration::from_millis(1)).await;
    anyhow::ensure!(start >= 0, Raise::new("negative", start));
    Ok(Object::new(Counter { total: AtomicI64::new(start), _live: Live::new() }))
}

#[export(on_error = -1)]
fn counter_add(counter: Object<Counter>, n: i64) -> anyhow::Result<i64> {
    Ok(counter.total.fetch_add(n, Ordering::Relaxed) + n)
}

/// Holds it while it waits.
#[export(on_error = -1)]
async fn counter_add_later(counter: Object<Counter>, gate: i64) -> anyhow::Result<i64> {
    let n = stage::pass(gate).await;
    Ok(counter.total.fetch_add(n, Ordering::Relaxed) + n)
}

#[export(on_error = 0)]
fn other_new() -> anyhow::Result<Object<Other>> {
    Ok(Object::new(Other))
}

static KEPT: Mutex<Option<Function>> = Mutex::new(None);

/// Keeps a guest's function for `call_kept`.
pub fn keep(function: Function) {
    *KEPT.lock().expect("not poisoned") = Some(function);
}

#[export(on_error = -1)]
async fn call_kept(mut cx: Cx) -> anyhow::Result<i32> {
    let function = KEPT.lock().expect("not poisoned").take().context("none is kept")?;
    Ok(cx.call(&function, ()).await?)
}
