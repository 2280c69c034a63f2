//! PHP's own Fibers: a request may be suspended from inside any of them.

use futures_util::future::join_all;

use crate::stage::{app, builder};

const SCRIPT: &str = r"<?php
function work(int $id): string {
    $out = [];
    $make = function (string $name, int $depth) use (&$make, &$out, $id) {
        return new Fiber(function () use ($name, $depth, &$make, &$out, $id) {
            app\nap(0.001 * (($id + strlen($name)) % 5));
            $out[] = $name . Fiber::suspend('s' . $name);
            if ($depth > 0) {
                $inner = $make($name . 'i', $depth - 1);
                $inner->start();
                app\nap(0.001);
                $inner->resume($id);
                if (!$inner->isTerminated()) throw new LogicException('inner lives');
            }
            app\nap(0.001);
            return $name;
        });
    };
    $fibers = ['a' => $make('a', 2), 'b' => $make('b', 1), 'c' => $make('c', 0)];
    foreach ($fibers as $f) $f->start();
    app\nap(0.002);
    foreach (array_reverse($fibers) as $name => $f) $f->resume($id);
    foreach ($fibers as $name => $f) if ($f->getReturn() !== $name) return 'wrong';
    // One throws, one recurses near its limit, one is left suspended.
    $thrower = new Fiber(function () { app\nap(0.001); throw new RangeException('thrown'); });
    try { $thrower->start(); } catch (RangeException $e) { $out[] = $e->getMessage(); }
    $deep = new Fiber(function () { $f = function () use (&$f) { return array_map($f, [1]); }; try { $f(); } catch (Error $e) { return 'deep'; } });
    $deep->start();
    $out[] = $deep->getReturn();
    $left = new Fiber(function () { try { app\nap(0.001); Fiber::suspend(); } finally { app\add(1, 1); } });
    $left->start();
    return implode(' ', $out);
}
";

#[test]
fn requests_are_suspended_inside_fibers_nested_and_out_of_order() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let _entered = runtime.enter();
    // On a busy machine all of them may be deep in their recursion at once.
    let engine = builder().memory(4 << 30).module(app()).build().expect("an engine");
    runtime.block_on(async {
        let script = engine.load_text("fibers.php", SCRIPT).await.expect("a script");
        for _ in 0..3 {
            let calls = (0..100).map(|id| engine.spawn(script.call::<String>("work", id)).expect("queued"));
            for (id, answer) in join_all(calls.collect::<Vec<_>>()).await.into_iter().enumerate() {
                let expected = format!("c{id} b{id} bi{id} a{id} ai{id} aii{id} thrown deep");
                assert_eq!(answer.expect("an answer"), expected);
            }
        }
    });
}
