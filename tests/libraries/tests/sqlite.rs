//! SQLite, unchanged: an SQL function and a VFS that wait for async host functions in the middle of `sqlite3_step`.
//!
//! A binary of its own: SQLite's settings are the process's.

mod stage;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use futures_executor::block_on;
use sidestack::{Bytes, Call, Cx, Error, Module, Raise};
use sidestack_test_libraries::{set_up_sqlite, sqlite_memory};

use stage::{Bed, Gate, until};

/// How long each read of the image takes, unless it is held at the gate.
const READ: Duration = Duration::from_millis(10);
const ROWS: i64 = 20_000;

/// A database as bytes: `t(id, value, name)`, on 1 KiB pages, three levels deep.
static IMAGE: LazyLock<Arc<[u8]>> = LazyLock::new(|| {
    set_up_sqlite();
    let file = tempfile::NamedTempFile::new().expect("a file");
    let db = rusqlite::Connection::open(file.path()).expect("a database");
    db.execute_batch(&format!(
        "PRAGMA page_size = 1024; CREATE TABLE t(id INTEGER PRIMARY KEY, value INTEGER, name TEXT);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS})
         INSERT INTO t SELECT i, i * i, 'row ' || i FROM n;"
    ))
    .expect("rows");
    drop(db);
    std::fs::read(file.path()).expect("an image").into()
});

/// One test at a time: they look at SQLite's memory and the process's.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[derive(Default)]
struct Host {
    /// The first read of each connection.
    reads: Gate,
    read: AtomicUsize,
    asks: Gate,
}

fn bed(host: &Arc<Host>) -> Bed {
    Bed::new(module(host))
}

fn module(host: &Arc<Host>) -> Module {
    let image = IMAGE.clone();
    let size = image.len();
    let (reads, asks) = (host.clone(), host.clone());
    Module::new("db")
        .function("size", move || Ok(size))
        .function("read", async move |cx: Cx, offset: usize, length: usize| {
            reads.read.fetch_add(1, Ordering::Relaxed);
            if !reads.reads.pass(cx.fiber().cast_signed()).await {
                cx.sleep(READ).await;
            }
            let end = (offset + length).min(image.len());
            Ok(Bytes(image.get(offset..end).unwrap_or_default().to_vec()))
        })
        .function("ask", async move |cx: Cx, n: i64| {
            if n < 0 {
                cx.sleep(Duration::from_millis(1)).await;
                return Err(Raise::new("negative", format!("{n} is negative")).into());
            }
            if !asks.asks.pass(n).await {
                cx.sleep(Duration::from_millis(1)).await;
            }
            Ok(n * 2 + 1)
        })
}

fn query<R: serde::de::DeserializeOwned + Send + 'static>(bed: &Bed, sql: &str, parameters: (i64, i64)) -> Call<R> {
    bed.engine.spawn(bed.script.call("query", (sql, parameters.0, parameters.1))).expect("started")
}

/// Resident memory of the process, in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    line.split_whitespace().nth(1).expect("a number").parse::<usize>().expect("a number") * 1024
}

#[test]
fn ten_thousand_queries_wait_at_once_on_one_thread() {
    const QUERIES: usize = 10_000;
    let _alone = alone();
    let host = Arc::<Host>::default();
    let bed = bed(&host);
    let (memory, before) = (sqlite_memory(), resident());
    let begun = Instant::now();
    // Rows from all over the table; each asks about another number.
    let row = |i: usize| 1 + (i as i64 * 7919) % ROWS;
    let calls: Vec<Call<(i64, String, i64)>> = (0..QUERIES)
        .map(|i| query(&bed, "SELECT value, name, ask(?2) FROM t WHERE id = ?1", (row(i), i as i64)))
        .collect();
    until("all wait in xRead", || host.reads.waiting().len() == QUERIES);
    let in_reads = begun.elapsed();
    host.reads.open();
    until("all wait in ask()", || host.asks.waiting().len() == QUERIES);
    let in_asks = begun.elapsed();
    assert_eq!(bed.engine.metrics().fibers, QUERIES);
    let each = resident().saturating_sub(before) / QUERIES;
    let sqlite = (sqlite_memory() - memory) / QUERIES as i64;
    host.asks.open();
    for (i, call) in calls.into_iter().enumerate() {
        let row = row(i);
        assert_eq!(block_on(call).expect("an answer"), (row * row, format!("row {row}"), i as i64 * 2 + 1));
    }
    let (took, reads) = (begun.elapsed(), host.read.load(Ordering::Relaxed));
    println!("{QUERIES} in xRead after {in_reads:?}, in ask() after {in_asks:?}, all done after {took:?}");
    println!("{reads} reads; {each} bytes of resident memory a query, {sqlite} of them SQLite's own");
    assert!(reads >= 5 * QUERIES, "each query reads the header, the schema and three levels: {reads}");
    // One by one, the reads alone would take longer.
    assert!(took * 4 < READ * reads as u32, "{took:?} for {reads} reads of {READ:?}");
    assert!(each < 64 << 10, "{each} bytes a query");
    bed.idle();
    assert_eq!(sqlite_memory(), memory);
}

#[test]
fn queries_end_in_the_order_in_which_their_answers_come() {
    let _alone = alone();
    let host = Arc::<Host>::default();
    host.reads.open();
    let bed = bed(&host);
    let ended = Arc::<Mutex<Vec<i64>>>::default();
    let waiters: Vec<_> = (0..20)
        .map(|i| {
            let call = query::<i64>(&bed, "SELECT sum(value) + ask(?1) FROM t WHERE id BETWEEN ?1 AND ?2", (i, i + 2));
            let ended = ended.clone();
            std::thread::spawn(move || {
                let sum = block_on(call).expect("an answer");
                ended.lock().expect("not poisoned").push(i);
                sum
            })
        })
        .collect();
    until("all wait", || host.asks.waiting().len() == 20);
    let order: Vec<i64> = (0..20).map(|i| i * 7 % 20).collect();
    for (place, i) in order.iter().enumerate() {
        host.asks.release(*i);
        until("it ended", || ended.lock().expect("not poisoned").len() == place + 1);
    }
    assert_eq!(*ended.lock().expect("not poisoned"), order);
    for (i, waiter) in (0..20).zip(waiters) {
        let squares: i64 = (i..=i + 2).map(|n| n * n).sum();
        assert_eq!(waiter.join().expect("no panic"), squares + i * 2 + 1);
    }
}

/// In the middle of a sort, an aggregate and a scan: many waits in one statement. On several interpreter threads, which
/// do share SQLite's own mutexes.
#[test]
fn one_statement_waits_many_times() {
    let _alone = alone();
    let host = Arc::<Host>::default();
    host.reads.open();
    host.asks.open();
    let bed = Bed::with(module(&host), |builder| builder.threads(3));
    let sql =
        "SELECT group_concat(name), count(*) FROM (SELECT name FROM t WHERE ask(id) % 3 = 0 AND id BETWEEN ?1 AND ?2
               ORDER BY ask(value) DESC)";
    let calls: Vec<Call<(String, i64)>> = (0..30).map(|i| query(&bed, sql, (i * 100 + 1, i * 100 + 30))).collect();
    for (i, call) in (0..30).zip(calls) {
        let expected: Vec<_> = (i * 100 + 1..=i * 100 + 30)
            .rev()
            .filter(|id| (id * 2 + 1) % 3 == 0)
            .map(|id| format!("row {id}"))
            .collect();
        assert_eq!(block_on(call).expect("an answer"), (expected.join(","), expected.len() as i64));
    }
}

#[test]
fn errors_and_cancels_pass_through_sqlite() {
    let _alone = alone();
    let host = Arc::<Host>::default();
    host.reads.open();
    let bed = bed(&host);
    let memory = sqlite_memory();
    let error = block_on(query::<i64>(&bed, "SELECT ask(?1) + ?2", (-5, 0))).expect_err("the host's error");
    assert_eq!((error.code(), error.to_string().as_str()), (Some("negative"), "-5 is negative"));
    let error = block_on(query::<i64>(&bed, "SELECT missing FROM t", (0, 0))).expect_err("SQLite's own");
    assert_eq!((error.code(), error.to_string().as_str()), (Some("sqlite"), "no such column: missing"));
    let error = block_on(query::<i64>(&bed, "UPDATE t SET value = ?1 WHERE id = ?2", (0, 1))).expect_err("read only");
    assert_eq!(error.to_string(), "attempt to write a readonly database");
    // Dropped while they wait in ask() and, with another gate, in xRead.
    let calls: Vec<_> = (0..500).map(|i| query::<i64>(&bed, "SELECT ask(?1) FROM t WHERE id = ?2", (i, 1))).collect();
    until("all wait in ask()", || host.asks.waiting().len() == 500);
    drop(calls);
    bed.idle();
    assert_eq!((host.asks.waiting().len(), sqlite_memory()), (0, memory));
    let shut = Arc::<Host>::default();
    let bed = self::bed(&shut);
    let calls: Vec<_> = (0..500).map(|i| query::<i64>(&bed, "SELECT ask(?1) FROM t WHERE id = ?2", (i, 1))).collect();
    until("all wait in xRead", || shut.reads.waiting().len() == 500);
    let late = bed.script.call::<i64>("query", ("SELECT ask(1)",)).deadline(Duration::from_millis(20));
    assert!(matches!(block_on(late), Err(Error::Limit { .. })));
    drop(calls);
    bed.idle();
    assert_eq!((shut.reads.waiting().len(), sqlite_memory()), (0, memory));
}

/// What the other tests rest on: had SQLite held a mutex at a wait, they would have been told.
#[test]
fn a_wait_under_a_mutex_is_noticed() {
    let _alone = alone();
    let host = Arc::<Host>::default();
    host.reads.open();
    let bed = bed(&host);
    let call = bed.script.call::<i64>("query_serialized", ("SELECT count(*) FROM t",));
    let error = block_on(call).expect_err("the connection's mutex is held");
    assert_eq!(error.code(), Some("mutex_held"), "{error}");
    assert_eq!(host.read.load(Ordering::Relaxed), 0, "the host was not called");
}
