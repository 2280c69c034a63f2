//! Our side of `benches/peers`. Each line of input, `case<TAB>n`, is answered by the nanoseconds that n runs took. With two
//! arguments, a case and n, it runs that and ends: for counting instructions. `memory` as a case tells the resident bytes
//! that n suspended Lua fibers take.

use std::io::{BufRead, Write};

use sidestack_bench_guest::Suite;
use sidestack_bench_guest::both::resident;

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
