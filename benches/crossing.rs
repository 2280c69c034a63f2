//! What a call from guest C to the host costs, beside a bare call from C to Rust. The difference of the cases `crossing, handle`
//! and `crossing` is the handle's look-up.
//!
//! Each figure is taken by the guest's own loop inside an engine (`benches/guest`). For ratios beside other projects,
//! interleaved, see `benches/compare.sh`.

use criterion::{Criterion, criterion_group, criterion_main};
use sidestack_bench_guest::Suite;

fn crossing(criterion: &mut Criterion) {
    let suite = Suite::new();
    let mut group = criterion.benchmark_group("crossing");
    for case in ["raw", "raw, flag", "raw, kernel mask", "crossing", "crossing, number", "crossing, handle"] {
        group.bench_function(case, |bencher| bencher.iter_custom(|n| suite.run(case, n)));
    }
    group.finish();
}

criterion_group!(benches, crossing);
criterion_main!(benches);
