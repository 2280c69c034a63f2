//! What contexts share: what one request does to it, no other sees, and it costs each of them little.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use sidestack::{Engine, Script};

use crate::stage::{Gate, app, builder, resident};

const TABLES: &str = r#"<?php
function here(): array {
    return [count(get_defined_functions()['internal']), count(get_defined_constants()), PHP_VERSION_ID, M_PI, strlen('four')];
}

return [
    'nap' => fn (float $s) => app\nap($s),
    'waits' => fn () => gate\wait(),
    // Far more than PHP's tables have room for: they grow, where the request is suspended in between.
    'many' => function (int $id, int $count): string {
        $before = here();
        $code = '';
        for ($i = 0; $i < $count; $i++) {
            $name = "{$id}_$i";
            define("C_$name", $i);
            $code .= "function f_$name() { return $i; } class K_$name { const IT = $i; }";
            if ($i % 500 === 499) { eval($code); $code = ''; app\nap(0.002); }
        }
        foreach ([0, intdiv($count, 2), $count - 500] as $i) {
            $name = "{$id}_$i";
            if (constant("C_$name") !== $i || "f_$name"() !== $i || constant("K_$name::IT") !== $i) return "lost $name";
        }
        $other = ($id ^ 1) . '_1';
        if (defined("C_$other") || function_exists("f_$other") || class_exists("K_$other", false)) return "sees $other";
        $after = here();
        $after[1] -= $count;
        return $after === $before ? 'own' : json_encode([$before, $after]);
    },
    // Of each of these sizes PHP's heap has a run of pages, of which one place is used. Those that are free again go back.
    'heap' => function (): int {
        $sizes = [660, 1250, 1500, 1750, 3000];
        gc_mem_caches();
        $before = memory_get_usage();
        $texts = array_map(fn (int $size) => str_repeat('a', $size), $sizes);
        unset($texts);
        $pages = intdiv(gc_mem_caches(), 4096);
        // And the places are whole that are used from then on.
        for ($i = 0; $i < 2000; $i++) $texts[] = str_repeat(chr($i % 256), $sizes[$i % 5]);
        foreach ($texts as $i => $text) if ($text !== str_repeat(chr($i % 256), $sizes[$i % 5])) return -1;
        unset($texts, $text);
        gc_mem_caches();
        return memory_get_usage() - $before > 4096 ? -2 : $pages;
    },
    // The notice of a deprecated constant, told while another request's handler of the same notice waits.
    'deprecated' => function (): int {
        $told = 0;
        set_error_handler(function () use (&$told) { $told++; app\nap(0.05); return true; });
        $value = constant('E_STRICT');
        restore_error_handler();
        return $value === 2048 ? $told : -1;
    },
];
"#;

fn script(engine: &Engine) -> Script {
    futures_executor::block_on(engine.load_text("tables.php", TABLES)).expect("a script")
}

#[test]
fn a_request_that_outgrows_the_shared_tables_takes_nobody_with_it() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let _entered = runtime.enter();
    let engine = builder().memory(4 << 30).module(app()).build().expect("an engine");
    let script = script(&engine);
    for round in 0..3 {
        let calls = (0..8).map(|id| engine.spawn(script.call::<String>("many", (id, 2_000))).expect("queued"));
        for answer in runtime.block_on(join_all(calls.collect::<Vec<_>>())) {
            assert_eq!(answer.expect("an answer"), "own", "round {round}");
        }
        // In the contexts that are idle now, and in new ones.
        let calls = (8..40).map(|id| engine.spawn(script.call::<String>("many", (id, 500))).expect("queued"));
        for answer in runtime.block_on(join_all(calls.collect::<Vec<_>>())) {
            assert_eq!(answer.expect("an answer"), "own", "round {round}");
        }
    }
}

#[test]
fn each_request_is_told_of_what_is_deprecated() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let _entered = runtime.enter();
    let engine = builder().module(app()).build().expect("an engine");
    let script = script(&engine);
    let calls = (0..4).map(|_| engine.spawn(script.call::<i64>("deprecated", ())).expect("queued"));
    for told in runtime.block_on(join_all(calls.collect::<Vec<_>>())) {
        assert_eq!(told.expect("an answer"), 1);
    }
}

#[test]
fn a_heap_gives_back_pages_that_were_hardly_used() {
    let engine = builder().module(app()).build().expect("an engine");
    let script = script(&engine);
    for _ in 0..3 {
        let pages = futures_executor::block_on(script.call::<i64>("heap", ())).expect("an answer");
        assert!(pages >= 12, "{pages} pages");
    }
}

#[test]
#[ignore = "it measures the whole process: alone, as `./test.sh php` runs it"]
fn what_contexts_hold() {
    const MANY: i64 = 200;
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let _entered = runtime.enter();
    let gate = Gate::new();
    let engine = builder().memory(4 << 30).module(app()).module(gate.module()).build().expect("an engine");
    let script = script(&engine);
    runtime.block_on(async {
        script.call::<String>("nap", 0.0).await.expect("an answer");
        let before = resident();
        let calls = (0..MANY).map(|_| engine.spawn(script.call::<()>("waits", ())).expect("queued"));
        let calls = calls.collect::<Vec<_>>();
        gate.wait_for(MANY as usize);
        // What an interpreter without work gives back is not theirs.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let each = (resident() - before) / MANY;
        // In a debug build, of a text that is compiled for each; it would be 140 more.
        assert!((100..480).contains(&each), "a suspended request holds {each} KiB");
        gate.open();
        join_all(calls).await;
        // It gives them back when nothing happens,
        let (begun, mut left) = (Instant::now(), i64::MAX);
        while left > 10 * 1024 && begun.elapsed() < Duration::from_secs(10) {
            tokio::time::sleep(Duration::from_millis(50)).await;
            left = resident() - before;
        }
        assert!(left <= 10 * 1024, "{left} KiB are left of {MANY} requests");
        // and where requests go on coming.
        let naps = (0..MANY).map(|_| engine.spawn(script.call::<String>("nap", 0.2)).expect("queued"));
        join_all(naps.collect::<Vec<_>>()).await;
        for _ in 0..600 {
            let some = (0..16).map(|_| engine.spawn(script.call::<String>("nap", 0.0)).expect("queued"));
            join_all(some.collect::<Vec<_>>()).await;
        }
        let left = resident() - before;
        assert!(left <= 24 * 1024, "{left} KiB are held while 16 requests are served at a time");
    });
}
