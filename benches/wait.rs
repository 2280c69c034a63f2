//! What a wait that is over at once costs (suspend, ready, resume), beside a bare switch.
//!
//! Each figure is taken by the guest's own loop inside an engine (`benches/guest`). For ratios beside other projects,
//! interleaved, see `benches/compare.sh`.

use criterion::{Criterion, criterion_group, criterion_main};
use sidestack_bench_guest::Suite;

fn wait(criterion: &mut Criterion) {
    let suite = Suite::new();
    let mut group = criterion.benchmark_group("wait");
    for case in ["bare switch", "yield", "wait"] {
        group.bench_function(case, |bencher| bencher.iter_custom(|n| suite.run(case, n)));
    }
    group.finish();
}

criterion_group!(benches, wait);
criterion_main!(benches);
