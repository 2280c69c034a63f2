//! Our side of `benches/peers`. Each line of input, `case<TAB>n`, is answered by the nanoseconds that n runs took. With two
//! arguments, a case and n, it runs that and ends: for counting instructions. `memory` as a case tells the resident bytes
//! that n suspended Lua fibers take.

use std::io::{BufRead, Write};

use sidestack_bench_guest::Suite;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [case, n] = &arguments[..] {
        println!("{}", run(&Suite::unticked(), case, n));
        return;
    }
    let suite = Suite::new();
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("text");
        let (case, n) = line.split_once('\t').expect("a case and a number");
        println!("{}", run(&suite, case, n));
        std::io::stdout().flush().expect("somebody reads");
    }
}

fn run(suite: &Suite, case: &str, n: &str) -> u128 {
    let n: u64 = n.parse().expect("a number");
    if case != "memory" {
        return suite.run(case, n).as_nanos();
    }
    let before = resident();
    let mut bytes = 0;
    suite.lua.suspended(usize::try_from(n).expect("a small number"), || bytes = resident() - before);
    bytes
}

/// Resident bytes of this process.
fn resident() -> u128 {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").expect("Linux");
    let line = text.lines().find(|line| line.starts_with("Rss:")).expect("it has an Rss");
    let kib = line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u128>().ok()).expect("in KiB");
    kib * 1024
}
