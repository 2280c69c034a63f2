//! Closures that the host calls, and tasks.

use std::sync::{Arc, Mutex};

use futures_executor::block_on;
use sidestack::{Cx, Function, Module};

use crate::stage::{builder, gives};

/// A module whose function calls what it is given.
pub fn host() -> Module {
    Module::new("host").function("each", async |mut cx: Cx, f: Function, n: i64| {
        let mut sum = 0;
        for i in 0..n {
            sum += cx.call::<i64>(&f, i).await?;
        }
        Ok(sum)
    })
}

#[test]
fn a_closure_is_called_by_the_host_during_its_call() {
    let engine = builder().module(host()).build().expect("an engine");
    assert_eq!(gives::<i64>(&engine, "$x = 10; return host\\each(fn ($i) => $i * $x, 5);"), 100);
    let text = "function twice($i) { return host\\each(fn ($j) => $j + $i, 3); }
                return host\\each(twice(...), 3);";
    assert_eq!(gives::<i64>(&engine, text), 18);
    let text = "try { host\\each(function ($i) { throw new DomainException(\"at $i\"); }, 2); }
                catch (DomainException $e) { return $e->getMessage(); }";
    assert_eq!(gives::<String>(&engine, text), "at 0");
}

#[test]
fn exit_in_a_closure_that_the_host_calls_ends_the_request() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let notes = seen.clone();
    let each = Module::new("host").function("once", async move |mut cx: Cx, f: Function| {
        let result = cx.call::<i64>(&f, ()).await;
        notes.lock().expect("a lock").push(result.is_err());
        Ok(7)
    });
    let engine = builder().module(each).build().expect("an engine");
    for text in [
        "host\\once(function () { exit(1); }); return 'went on';",
        "host\\once(function () { trigger_error('x', E_USER_ERROR); }); return 'went on';",
    ] {
        crate::stage::run::<String>(&engine, text).expect_err("the request ended");
        assert_eq!(gives::<i64>(&engine, "2"), 2);
    }
    assert_eq!(*seen.lock().expect("a lock"), [true, true]);
}

#[test]
fn a_closure_outlives_its_call_as_long_as_the_host_keeps_it() {
    let engine = builder().build().expect("an engine");
    let counter: Function = gives(&engine, "$n = 40; return function ($by) use (&$n) { return $n += $by; };");
    assert_eq!(block_on(counter.call::<i64>(1)).expect("a call"), 41);
    assert_eq!(block_on(counter.call::<i64>(1)).expect("a call"), 42);
    drop(counter);
    assert_eq!(gives::<i64>(&engine, "1"), 1);
}

#[test]
fn tasks_run_beside_the_request_that_spawned_them() {
    let engine = builder().build().expect("an engine");
    let text = "$log = []; $after = new Sidestack\\Channel(1);
                $a = Sidestack\\spawn(function ($x) use (&$log, $after) { $after->recv(); $log[] = 'a'; return $x * 2; }, 21);
                $b = Sidestack\\spawn(function () use (&$log, $after) {
                    Sidestack\\sleep(0.01); $log[] = 'b'; $after->send(1); return [1, 'two' => 2];
                });
                $log[] = 'm';
                return [$a->join(), $b->join(), $log, $a->done];";
    let got: (i64, sidestack::Value, Vec<String>, bool) = gives(&engine, text);
    assert_eq!((got.0, got.2, got.3), (42, vec!["m".into(), "b".into(), "a".into()], true));
}

#[test]
fn groups_channels_and_time_limits_are_php_s_own_kind() {
    let engine = builder().build().expect("an engine");
    let text = r#"use Sidestack\{Channel, Group, TimeoutException};
        $ch = new Channel(2);
        $got = Group::run(function (Group $g) use ($ch) {
            $g->spawn(function () use ($ch) { foreach (['a', ['k' => 1], new ArrayObject([7])] as $v) $ch->send($v); $ch->close(); });
            $all = [];
            foreach ($ch as $i => $message) $all[$i] = $message instanceof ArrayObject ? $message[0] : $message;
            return $all;
        });
        if ($got !== ['a', ['k' => 1], 7]) return 'channel: ' . json_encode($got);
        $tasks = Group::run(fn (Group $g) => array_map(fn ($t) => $t->join(), [$g->spawn('strtoupper', 'x'), $g->spawn(fn () => 2)]));
        if ($tasks !== ['X', 2]) return 'tasks: ' . json_encode($tasks);
        try { Sidestack\timeout(0.05, fn () => Sidestack\sleep(30)); return 'no timeout'; } catch (TimeoutException $e) { }
        class Odd extends Exception { public $extra = 5; }
        try { Group::run(function ($g) { $g->spawn(function () { throw new Odd('odd one'); }); Sidestack\sleep(30); }); return 'no error'; }
        catch (Odd $e) { if ($e->extra !== 5) return 'another object'; }
        try { Sidestack\timeout(1, function () { throw new Odd('again'); }); } catch (Odd $e) { if ($e->getMessage() !== 'again') return 'message'; }
        $mutex = new Sidestack\Mutex; $order = [];
        Group::run(function ($g) use ($mutex, &$order) {
            foreach ([1, 2] as $n) $g->spawn(function () use ($mutex, &$order, $n) {
                $guard = $mutex->lock(); $order[] = "in$n"; Sidestack\sleep(0.01); $order[] = "out$n"; $guard->unlock();
            });
        });
        if ($order !== ['in1', 'out1', 'in2', 'out2']) return 'mutex: ' . json_encode($order);
        try { Sidestack\sleep(-1); return 'slept'; } catch (Sidestack\Exception $e) { if ($e->getCode() !== 'bad_argument') return $e->getCode(); }
        return 'fine';"#;
    assert_eq!(gives::<String>(&engine, text), "fine");
}

#[test]
fn what_php_waits_in_does_not_hold_the_thread() {
    let engine = builder().build().expect("an engine");
    let folder = tempfile::tempdir().expect("a folder");
    let lock = folder.path().join("lock");
    let text = format!(
        "$f = fopen('{}', 'c'); flock($f, LOCK_EX); usleep(50_000); flock($f, LOCK_UN);
         [$a, $b] = stream_socket_pair(STREAM_PF_UNIX, STREAM_SOCK_STREAM, 0);
         $t = Sidestack\\spawn(function () use ($b) {{ usleep(20_000); fwrite($b, \"late\\n\"); }});
         return fgets($a);",
        lock.display()
    );
    let begun = std::time::Instant::now();
    let calls: Vec<_> = (0..4).map(|_| engine.spawn(engine.eval::<String>(&text)).expect("queued")).collect();
    let sleeps: Vec<_> =
        (0..50).map(|_| engine.spawn(engine.eval::<()>("usleep(800_000);")).expect("queued")).collect();
    for call in calls {
        assert_eq!(block_on(call).expect("an answer"), "late\n");
    }
    for sleep in sleeps {
        block_on(sleep).expect("slept");
    }
    // One after the other it would be 40 s.
    assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[test]
fn nesting_through_the_host_ends_in_an_error_to_catch() {
    let engine = builder().stack(1 << 20).module(host()).build().expect("an engine");
    let text = "function deeper($n) { global $depth; $depth = max($depth, $n); return host\\each(fn () => deeper($n + 1), 1); }
                try { deeper(1); return 'no'; } catch (Error $e) { return $depth > 50 ? substr($e->getMessage(), 0, 23) : \"at $depth\"; }";
    assert_eq!(gives::<String>(&engine, text), "Maximum call stack size");
    assert_eq!(gives::<i64>(&engine, "1 + 1"), 2);
}
