//! The suspension matrix, for any guest: everywhere that guest code can be entered, it waits for everything it can wait for.
//!
//! A guest's test gives *points* (what is waited for: `P(n)` waits and returns n), *ways in* (where that happens: in a
//! function of n), what each way gives, and how a cell of the two is loaded and called ([`Guest`]). The harness calls each cell on
//! many fibers at once, compares, and keeps the table in docs/ true: `SIDESTACK_WRITE_DOCS=1` writes it anew.
//!
//! The host's part of the points is [`module`]: a SQL query, a request's address, and counters that tell whether the fibers of a
//! cell really waited side by side.
//!
//! A test includes it by path; what else it needs is `tests/web`.
#![allow(dead_code, reason = "each guest's test uses its part")]

use std::collections::HashMap;
use std::fmt::Write;
use std::future::Future;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use sidestack::{Cx, Engine, Error, Function, Module, Script};

/// Something to wait for.
pub struct Point {
    /// The column.
    pub name: &'static str,
    /// What the guest knows it by. Its `P(n)` calls `points.enter(key)` before it waits and `points.leave(key)` after it.
    pub text: &'static str,
}

/// Somewhere to wait.
pub struct Way {
    /// The row.
    pub name: &'static str,
    /// What the guest knows it by.
    pub text: &'static str,
    /// What the function gives.
    pub expected: Expected,
}

impl Way {
    /// Each fiber gets what `gives` says.
    pub fn new(name: &'static str, text: &'static str, gives: fn(i64) -> String) -> Way {
        Way { name, text, expected: Expected::Gives(gives) }
    }
}

/// What a cell gives.
pub enum Expected {
    /// Its value, as text, by n.
    Gives(fn(i64) -> String),
    /// The code of the error that refuses, which the guest itself catches and returns.
    Refused(&'static str),
    /// There is no such thing in this guest: why.
    Inapplicable(&'static str),
}

/// A point and a way.
#[derive(Clone, Copy)]
pub struct Cell<'a> {
    /// Names it everywhere: "sleep × plain call".
    pub key: &'a str,
    /// For a file of its own: "cell_3_1".
    pub file: &'a str,
    /// What is waited for.
    pub point: &'a Point,
    /// Where.
    pub way: &'a Way,
}

/// What a guest's test gives.
pub trait Guest {
    /// Who waits, for the table's heading: "Lua scripts".
    const WHO: &'static str;
    /// The columns.
    fn points(&self) -> Vec<Point>;
    /// The rows.
    fn ways(&self) -> Vec<Way>;
    /// Loads a cell, whose files may be in `folder`.
    fn load(&self, engine: &Engine, folder: &Path, cell: Cell<'_>) -> impl Future<Output = Result<Script, Error>>;
    /// Calls it with n: the result is text. It gives up after [`PATIENCE`].
    fn call(&self, script: &Script, cell: Cell<'_>, n: i64) -> impl Future<Output = Result<String, Error>>;
}

/// How long a cell may take.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Fibers that run each cell at once.
pub const FIBERS: i64 = 12;

#[derive(Default)]
struct Count {
    inside: usize,
    most: usize,
}

/// How many fibers of a cell wait at the same time.
#[derive(Clone, Default)]
pub struct Counts(Arc<Mutex<HashMap<String, Count>>>);

impl Counts {
    fn change(&self, key: &str, by: isize) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(key.to_string()).or_default();
        count.inside = count.inside.saturating_add_signed(by);
        count.most = count.most.max(count.inside);
    }

    fn most(&self, key: &str) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key).map_or(0, |count| count.most)
    }
}

/// The host's part: `sleep(ms)`, `sql(n)`, `url(n)`, `enter(key)`, `leave(key)`, `each(f, n)` (calls f(n) back).
pub fn module(counts: &Counts, server: std::net::SocketAddr) -> Module {
    let database = rusqlite::Connection::open_in_memory().expect("a database");
    database.execute_batch("create table numbers(n integer primary key)").expect("a table");
    for n in 0..FIBERS {
        database.execute("insert into numbers values (?1)", [n]).expect("a row");
    }
    let database = Mutex::new(database);
    let (enter, leave) = (counts.clone(), counts.clone());
    Module::new("points")
        .function("sleep", async |cx: Cx, milliseconds: u64| {
            cx.sleep(Duration::from_millis(milliseconds)).await;
            Ok(())
        })
        .blocking_function("sql", move |n: i64| {
            let database = database.lock().unwrap_or_else(PoisonError::into_inner);
            std::thread::sleep(Duration::from_millis(1));
            Ok(database.query_row("select n from numbers where n = ?1", [n], |row| row.get::<_, i64>(0))?)
        })
        .function("url", move |n: i64| Ok(format!("http://{server}/echo?{n}")))
        .function("enter", move |key: String| {
            enter.change(&key, 1);
            Ok(())
        })
        .function("leave", move |key: String| {
            leave.change(&key, -1);
            Ok(())
        })
        .function("each", async |mut cx: Cx, f: Function, n: i64| {
            let first: i64 = cx.call(&f, n).await?;
            let second: i64 = cx.call(&f, n).await?;
            Ok(first + second)
        })
}

struct Loaded {
    row: usize,
    column: usize,
    key: String,
    file: String,
    script: Result<Script, Error>,
}

/// Runs every cell on many fibers at once; what differs is returned, a line each, with the table as it is.
pub async fn run<G: Guest>(guest: &G, engine: &Engine, counts: &Counts) -> (String, Vec<String>) {
    let folder = tempfile::tempdir().expect("a folder");
    let (points, ways) = (guest.points(), guest.ways());
    let mut cells = Vec::new();
    for (row, way) in ways.iter().enumerate().filter(|(_, way)| !matches!(way.expected, Expected::Inapplicable(_))) {
        for (column, point) in points.iter().enumerate() {
            let (key, file) = (format!("{} × {}", point.name, way.name), format!("cell_{row}_{column}"));
            let cell = Cell { key: &key, file: &file, point, way };
            let script = guest.load(engine, folder.path(), cell).await;
            cells.push(Loaded { row, column, script, key, file });
        }
    }
    // All cells at once, each on many fibers: whatever waits waits beside everything else.
    let outcomes = join_all(cells.iter().map(|loaded| {
        let cell = Cell { key: &loaded.key, file: &loaded.file, point: &points[loaded.column], way: &ways[loaded.row] };
        all_of_a_cell(guest, loaded.script.as_ref(), cell, counts)
    }))
    .await;
    let mut table = vec![vec![String::from("**wrong**"); points.len()]; ways.len()];
    let mut wrong = Vec::new();
    for (loaded, outcome) in cells.iter().zip(outcomes) {
        match outcome {
            Ok(shown) => table[loaded.row][loaded.column] = shown,
            Err(message) => wrong.push(format!("{}: {message}", loaded.key)),
        }
    }
    (render(G::WHO, &points, &ways, &table), wrong)
}

/// Runs a cell on many fibers.
async fn all_of_a_cell<G: Guest>(
    guest: &G,
    script: Result<&Script, &Error>,
    cell: Cell<'_>,
    counts: &Counts,
) -> Result<String, String> {
    let script = script.map_err(|error| format!("it does not load: {error}"))?;
    let calls = (0..FIBERS).map(|n| guest.call(script, cell, n));
    let shown = compare(cell, join_all(calls).await)?;
    match cell.way.expected {
        Expected::Gives(_) if counts.most(cell.key) < 2 => Err("no two of its fibers waited at the same time".into()),
        _ => Ok(shown),
    }
}

/// What a cell's fibers gave, as the table shows it.
fn compare(cell: Cell<'_>, outcomes: Vec<Result<String, Error>>) -> Result<String, String> {
    let mut shown = String::new();
    for (n, outcome) in (0..FIBERS).zip(outcomes) {
        let got = outcome.map_err(|e| format!("n = {n}: {e}"))?;
        let expected;
        (expected, shown) = match &cell.way.expected {
            Expected::Gives(value) => (value(n), "value".to_string()),
            Expected::Refused(code) => ((*code).to_string(), format!("`{code}`")),
            Expected::Inapplicable(_) => unreachable!("not run"),
        };
        if got != expected {
            return Err(format!("n = {n}: {got:?} instead of {expected:?}"));
        }
    }
    Ok(shown)
}

fn render(who: &str, points: &[Point], ways: &[Way], table: &[Vec<String>]) -> String {
    let mut out = format!(
        "# Where {who} may wait\n\nWritten by tests/suspension (SIDESTACK_WRITE_DOCS=1). Each cell was run on {FIBERS} fibers at once: \
         \"value\" is the right value after the wait, a code is the error that refuses to wait.\n\n| way in |"
    );
    for point in points {
        write!(out, " {} |", point.name).expect("a string");
    }
    out.push_str("\n| --- |");
    points.iter().for_each(|_| out.push_str(" --- |"));
    out.push('\n');
    for (way, cells) in ways.iter().zip(table) {
        write!(out, "| {} |", way.name).expect("a string");
        for cell in cells {
            match way.expected {
                Expected::Inapplicable(why) => write!(out, " none: {why} |").expect("a string"),
                _ => write!(out, " {cell} |").expect("a string"),
            }
        }
        out.push('\n');
    }
    out
}

/// Compares a table with the committed one, or writes it.
#[track_caller]
pub fn check_docs(file: &str, table: &str) {
    let folders = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|folder| folder.join("docs"));
    let path = folders.into_iter().find(|docs| docs.is_dir()).expect("docs").join(file);
    if std::env::var_os("SIDESTACK_WRITE_DOCS").is_some() {
        return std::fs::write(&path, table).expect("docs can be written");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == table,
        "docs/{file} is not what the test found (SIDESTACK_WRITE_DOCS=1 rewrites it):\n{table}"
    );
}
