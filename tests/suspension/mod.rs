//! The suspension matrix, for any guest: everywhere that guest code can be entered, it waits for everything it can wait for.
//!
//! A guest's test gives *points* (what is waited for: script text that defines `P(n)`, which waits and returns n), *ways in*
//! (where that happens: the body of a function of n) and what each way gives. The harness makes a script of each cell, runs
//! it on many fibers at once, compares, and keeps the table in docs/ true: `SIDESTACK_WRITE_DOCS=1` writes it anew.
//!
//! The host's part of the points is [`module`]: a SQL query, a request's address, and counters that tell whether the fibers of a
//! cell really waited side by side.

use std::collections::HashMap;
use std::fmt::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use sidestack::{Cx, Engine, Function, Module, Script};

/// Something to wait for.
pub struct Point {
    /// The column.
    pub name: &'static str,
    /// Defines `P(n)`, which calls `points.enter(key)` before it waits and `points.leave(key)` after it.
    pub text: &'static str,
}

/// Somewhere to wait.
pub struct Way {
    /// The row.
    pub name: &'static str,
    /// The body of a function of `n`.
    pub text: &'static str,
    /// What the function gives.
    pub expected: Expected,
}

/// What a cell gives.
pub enum Expected {
    /// Its value, as text, by n.
    Gives(fn(i64) -> String),
    /// The code of the error that refuses, which the script itself catches and returns.
    Refused(&'static str),
    /// There is no such thing in this guest: why.
    Inapplicable(&'static str),
}

/// What a guest's test gives.
pub struct Matrix {
    /// The guest, for the table's heading.
    pub guest: &'static str,
    /// The ending of script files, without the dot.
    pub ending: &'static str,
    /// The columns.
    pub points: Vec<Point>,
    /// The rows.
    pub ways: Vec<Way>,
    /// Makes a script that exports the cell as a function of n, from P's text and the way's. The text may contain
    /// `@KEY@`, the cell's name.
    pub script: fn(point: &str, way: &str) -> String,
    /// Other files beside the scripts: name and text, by point and n.
    pub modules: fn(point: &Point, n: i64) -> Vec<(String, String)>,
    /// The row whose cells load those.
    pub loader: &'static str,
    /// The export's name.
    pub export: &'static str,
}

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

impl Matrix {
    /// Runs every cell on many fibers at once; what differs is returned, a line each, with the table as it is.
    pub async fn run(&self, engine: &Engine, counts: &Counts) -> (String, Vec<String>) {
        let folder = tempfile::tempdir().expect("a folder");
        for point in &self.points {
            for n in 0..FIBERS {
                for (name, text) in (self.modules)(point, n) {
                    let text = text.replace("@KEY@", &format!("{} × {}", point.name, self.loader));
                    std::fs::write(folder.path().join(name), text).expect("a module");
                }
            }
        }
        let mut wrong = Vec::new();
        let mut cells = Vec::new();
        for (row, way) in self.ways.iter().enumerate() {
            for (column, point) in self.points.iter().enumerate() {
                if let Expected::Inapplicable(_) = way.expected {
                    continue;
                }
                let key = format!("{} × {}", point.name, way.name);
                let text = (self.script)(point.text, way.text).replace("@KEY@", &key).replace("@POINT@", point.name);
                let path = folder.path().join(format!("cell_{row}_{column}.{}", self.ending));
                std::fs::write(&path, text).expect("a script");
                match engine.load(&path).await {
                    Ok(script) => cells.push(Cell { row, column, key, script }),
                    Err(error) => wrong.push(format!("{key}: it does not load: {error}")),
                }
            }
        }
        // All cells at once, each on many fibers: whatever waits waits beside everything else.
        let outcomes = join_all(cells.iter().map(|cell| self.cell(cell))).await;
        let mut table = vec![vec![String::from("**wrong**"); self.points.len()]; self.ways.len()];
        for (cell, outcome) in cells.iter().zip(outcomes) {
            let outcome = outcome.and_then(|shown| match self.ways[cell.row].expected {
                Expected::Gives(_) if counts.most(&cell.key) < 2 => {
                    Err("no two of its fibers waited at the same time".to_string())
                }
                _ => Ok(shown),
            });
            match outcome {
                Ok(shown) => table[cell.row][cell.column] = shown,
                Err(message) => wrong.push(format!("{}: {message}", cell.key)),
            }
        }
        (self.render(&table), wrong)
    }

    async fn cell(&self, cell: &Cell) -> Result<String, String> {
        let calls = (0..FIBERS).map(|n| cell.script.call::<String>(self.export, n).deadline(Duration::from_secs(60)));
        let mut shown = String::new();
        for (n, outcome) in (0..FIBERS).zip(join_all(calls).await) {
            let got = outcome.map_err(|e| format!("n = {n}: {e}"))?;
            let expected;
            (expected, shown) = match &self.ways[cell.row].expected {
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

    fn render(&self, table: &[Vec<String>]) -> String {
        let mut out = format!(
            "# Where {} scripts may wait\n\nWritten by tests/suspension (SIDESTACK_WRITE_DOCS=1). Each cell was run on {FIBERS} fibers at once: \
             \"value\" is the right value after the wait, a code is the error that refuses to wait.\n\n| way in |",
            self.guest
        );
        for point in &self.points {
            write!(out, " {} |", point.name).expect("a string");
        }
        out.push_str("\n| --- |");
        self.points.iter().for_each(|_| out.push_str(" --- |"));
        out.push('\n');
        for (way, cells) in self.ways.iter().zip(table) {
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
}

struct Cell {
    row: usize,
    column: usize,
    key: String,
    script: Script,
}

/// Compares a table with the committed one, or writes it.
#[track_caller]
pub fn check_docs(file: &str, table: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(file);
    if std::env::var_os("SIDESTACK_WRITE_DOCS").is_some() {
        return std::fs::write(&path, table).expect("docs can be written");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == table,
        "docs/{file} is not what the test found (SIDESTACK_WRITE_DOCS=1 rewrites it):\n{table}"
    );
}
