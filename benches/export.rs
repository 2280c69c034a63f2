//! What C pays for an exported function, beside a raw call, a call by handle, a switch by `swapcontext`, and a thread that does the work.
//!
//! Each figure is taken by the guest's own loop inside an engine (`benches/guest`).

use criterion::{Criterion, criterion_group, criterion_main};
use sidestack_bench_guest::Suite;

fn export(criterion: &mut Criterion) {
    let suite = Suite::new();
    let mut group = criterion.benchmark_group("export");
    for case in [
        "raw",
        "export, leaf",
        "export, ready",
        "export, async and ready",
        "export, handle",
        "crossing, handle",
        "swapcontext",
        "export, awaited",
        "wait",
        "thread hand-off",
    ] {
        group.bench_function(case, |bencher| bencher.iter_custom(|n| suite.run(case, n)));
    }
    group.finish();
}

criterion_group!(benches, export);
criterion_main!(benches);
