//! Lua: calls of host functions, awaited ones, and new calls of an empty function.
//!
//! Each figure is taken by the guest's own loop inside an engine (`benches/guest`). For ratios beside other projects,
//! interleaved, see `benches/compare.sh`.

use criterion::{Criterion, criterion_group, criterion_main};
use sidestack_bench_guest::Suite;

fn lua(criterion: &mut Criterion) {
    let suite = Suite::new();
    let mut group = criterion.benchmark_group("lua");
    for case in ["lua host call", "lua host call, arguments", "lua awaited call", "lua new call"] {
        group.bench_function(case, |bencher| bencher.iter_custom(|n| suite.run(case, n)));
    }
    group.finish();
}

criterion_group!(benches, lua);
criterion_main!(benches);
