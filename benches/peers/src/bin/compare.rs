//! Runs our measurements and theirs in turn, several rounds, and prints Markdown tables: `benches/compare.sh`.
//!
//! Single times mean little on a machine that does other work. Each round takes all figures one after the other; a cell
//! is the least of all rounds, a ratio the median of the rounds' own ratios. Instructions come from callgrind, by the
//! difference of a long and a short run, and include everything that the process does for the operation, on all threads.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

const ROUNDS: usize = 15;

/// One row: what it is, our case, the yardstick's case, how often it is run, and what it is aimed at.
struct Row {
    what: &'static str,
    ours: &'static str,
    yardstick: Side,
    n: u64,
    aim: &'static str,
}

/// What a row is divided by.
enum Side {
    Ours(&'static str),
    Theirs(&'static str),
}
use Side::{Ours, Theirs};

const fn row(what: &'static str, ours: &'static str, yardstick: Side, n: u64, aim: &'static str) -> Row {
    Row { what, ours, yardstick, n, aim }
}

const ROWS: &[Row] = &[
    row("signals deferred by a flag / raw call C → Rust", "raw, flag", Ours("raw"), 1_000_000, ""),
    row("signals deferred by the kernel's mask / raw call", "raw, kernel mask", Ours("raw"), 20_000, ""),
    row("crossing: catch, deferral / raw call", "crossing", Ours("raw"), 500_000, ""),
    row("crossing: handle, catch, deferral / raw call", "crossing, handle", Ours("raw"), 500_000, "≤ 10"),
    row("suspend → ready → resume / bare switch in C", "yield", Ours("bare switch"), 200_000, "≤ 2.5"),
    row("host call that waits: future, waker, poll / bare switch", "wait", Ours("bare switch"), 200_000, ""),
    row("exported function, ready at once / raw call", "export, ready", Ours("raw"), 300_000, ""),
    row("exported function with a handle / raw call", "export, handle", Ours("raw"), 300_000, ""),
    row(
        "exported function that waits / swapcontext, there and back",
        "export, awaited",
        Ours("swapcontext"),
        100_000,
        "",
    ),
    row("exported function that waits / thread hand-off", "export, awaited", Ours("thread hand-off"), 10_000, ""),
    row("host call from Lua / mlua", "lua host call", Theirs("lua host call"), 300_000, ""),
    row(
        "host call from Lua, (1, 2) → 3 / mlua",
        "lua host call, arguments",
        Theirs("lua host call, arguments"),
        300_000,
        "",
    ),
    row("leaf from Lua / mlua's host call", "lua leaf", Theirs("lua host call"), 300_000, "≤ 0.67"),
    row(
        "leaf from Lua, (1, 2) → 3 / mlua's host call",
        "lua leaf, arguments",
        Theirs("lua host call, arguments"),
        300_000,
        "≤ 0.67",
    ),
    row("awaited call from Lua / mlua", "lua awaited call", Theirs("lua awaited call"), 50_000, "≤ 0.25"),
    row("new call of an empty function / mlua, sync", "lua new call", Theirs("lua new call"), 20_000, "≤ 1.5"),
    row("new call of an empty function / mlua, async", "lua new call", Theirs("lua new call, async"), 20_000, ""),
    row("10,000 × 50 × sleep 1 ms, fibers of C / tokio tasks", "sleeps", Theirs("sleeps, tokio"), 50, "≤ 1.5"),
    row("10,000 × 50 × sleep 1 ms, Lua / tokio tasks", "lua sleeps", Theirs("sleeps, tokio"), 50, "≤ 1.5"),
    row("10,000 × 50 × sleep 1 ms, Lua / mlua on tokio", "lua sleeps", Theirs("sleeps"), 50, ""),
];

/// A child process that measures.
struct Measurer {
    program: String,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    child: Child,
}

impl Measurer {
    fn start(program: &str) -> Measurer {
        let mut child = Command::new(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}"));
        let input = child.stdin.take().expect("piped");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        Measurer { program: program.into(), input, output, child }
    }

    /// Nanoseconds of one operation.
    fn time(&mut self, case: &str, n: u64) -> f64 {
        writeln!(self.input, "{case}\t{n}").expect("it reads");
        let mut line = String::new();
        self.output.read_line(&mut line).expect("it answers");
        let time: f64 = line.trim().parse().unwrap_or_else(|_| panic!("{}, {case}: {line:?}", self.program));
        time / n as f64
    }

    /// Instructions of one operation; `None` without valgrind.
    fn instructions(&self, case: &str) -> Option<u64> {
        const SHORT: u64 = 1_000;
        const LONG: u64 = 11_000;
        let count = |n: u64| -> Option<u64> {
            let output = Command::new("valgrind")
                .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", &self.program, case, &n.to_string()])
                .output()
                .ok()?;
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            text.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok())
        };
        Some(count(LONG)?.saturating_sub(count(SHORT)?) / (LONG - SHORT))
    }

    /// Resident bytes of each of 10,000 waiting fibers, in a process that has done nothing else.
    fn memory(&self) -> f64 {
        let output = Command::new(&self.program).args(["memory", "10000"]).output().expect("it runs");
        let bytes: f64 = String::from_utf8_lossy(&output.stdout).trim().parse().expect("a number");
        bytes / 10_000.0
    }
}

impl Drop for Measurer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn least(times: &[f64]) -> f64 {
    times.iter().copied().fold(f64::INFINITY, f64::min)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn nanoseconds(time: f64) -> String {
    match time {
        t if t < 100.0 => format!("{t:.1} ns"),
        t if t < 100_000.0 => format!("{t:.0} ns"),
        t => format!("{:.0} µs", t / 1000.0),
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (Some(ours), Some(theirs)) = (arguments.next(), arguments.next()) else {
        panic!("two programs: ours and theirs");
    };
    let rounds = arguments.next().map_or(ROUNDS, |rounds| rounds.parse().expect("a number of rounds"));
    let (mut ours, mut theirs) = (Measurer::start(&ours), Measurer::start(&theirs));

    let mut times: Vec<Vec<(f64, f64)>> = ROWS.iter().map(|_| Vec::new()).collect();
    for round in 0..rounds {
        for (row, times) in ROWS.iter().zip(&mut times) {
            // mlua takes over ten seconds for the sleeps: once is enough.
            if row.what.ends_with("mlua on tokio") && round > 0 {
                continue;
            }
            let mine = ours.time(row.ours, row.n);
            let other = match row.yardstick {
                Ours(case) => ours.time(case, row.n),
                Theirs(case) => theirs.time(case, row.n),
            };
            times.push((mine, other));
        }
    }
    println!("| operation / yardstick | Sidestack | yardstick | ratio | aim |");
    println!("| --- | --- | --- | --- | --- |");
    for (row, times) in ROWS.iter().zip(&times) {
        let (mine, other): (Vec<f64>, Vec<f64>) = times.iter().copied().unzip();
        let ratio = median(times.iter().map(|(mine, other)| mine / other).collect());
        // The sleeps are told as the whole run of 50.
        let whole = if row.ours.ends_with("sleeps") { row.n as f64 } else { 1.0 };
        let (mine, other) = (nanoseconds(least(&mine) * whole), nanoseconds(least(&other) * whole));
        println!("| {} | {mine} | {other} | {ratio:.2} | {} |", row.what, row.aim);
    }
    println!();
    println!(
        "Resident memory of a suspended Lua fiber, of 10,000: {:.1} KiB (mlua coroutine: {:.1} KiB).",
        ours.memory() / 1024.0,
        theirs.memory() / 1024.0
    );
    println!();
    println!("| instructions of one | Sidestack | mlua |");
    println!("| --- | --- | --- |");
    let cell = |count: Option<u64>| count.map_or("-".into(), |count| count.to_string());
    for case in [
        "raw",
        "raw, flag",
        "crossing",
        "crossing, handle",
        "bare switch",
        "yield",
        "wait",
        "lua leaf",
        "lua leaf, arguments",
    ] {
        println!("| {case} | {} | |", cell(ours.instructions(case)));
    }
    for case in ["lua host call", "lua host call, arguments", "lua awaited call", "lua new call"] {
        println!("| {case} | {} | {} |", cell(ours.instructions(case)), cell(theirs.instructions(case)));
    }
}
