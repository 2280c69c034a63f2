//! Host objects in PHP, and what a request has of another one.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use futures_executor::block_on;
use sidestack::{Error, Function, HostObject, Members, Module, Object};

use crate::stage::{Gate, app, builder, gives, run};

#[derive(Default)]
struct Counter(AtomicI64, Arc<AtomicI64>);

impl Drop for Counter {
    fn drop(&mut self) {
        self.1.fetch_sub(1, Ordering::Relaxed);
    }
}

impl HostObject for Counter {
    const NAME: &'static str = "Counter";

    fn members(members: &mut Members<Self>) {
        members
            .method("add", |this: &Self, n: i64| Ok(this.0.fetch_add(n, Ordering::Relaxed) + n))
            .method("wait", async |this: &Self, cx: sidestack::Cx| {
                cx.sleep(std::time::Duration::from_millis(5)).await;
                Ok(this.0.load(Ordering::Relaxed))
            })
            .get("value", |this: &Self| Ok(this.0.load(Ordering::Relaxed)));
    }
}

fn counters(alive: &Arc<AtomicI64>) -> Module {
    let alive = alive.clone();
    Module::new("counters")
        .object::<Counter>()
        .function("make", move |from: i64| {
            alive.fetch_add(1, Ordering::Relaxed);
            Ok(Object::new(Counter(AtomicI64::new(from), alive.clone())))
        })
        .function("sum", |a: Object<Counter>, b: Object<Counter>| {
            Ok(a.0.load(Ordering::Relaxed) + b.0.load(Ordering::Relaxed))
        })
        .function("same", |a: Object<Counter>| Ok(a))
}

#[test]
fn host_objects_have_methods_and_properties() {
    let alive = Arc::default();
    let engine = builder().module(counters(&alive)).build().expect("an engine");
    let text = "$a = counters\\make(40); $b = counters\\make(1);
                $got = [$a->add(1), $a->wait(), $a->value, counters\\sum($a, $b), $a instanceof Counter, get_class($a)];
                $got[] = counters\\same($a)->add(1) === 42 && $a->value === 42;
                $got[] = isset($a->value) && !empty($a->value) && !isset($a->none) && ($a->none ?? 'no') === 'no';
                $got[] = (fn (Counter $c): ?Counter => $c)($a) === $a && print_r($a, true) !== '' && (array)$a === [];
                foreach (['$a->value = 3;', 'clone $a;', 'new Counter;', '$a->nothing();', 'serialize($a);', 'counters\\sum($a, 1);'] as $code)
                    try { eval($code); $got[] = 'allowed ' . $code; } catch (Throwable $e) {}
                return json_encode($got);";
    assert_eq!(gives::<String>(&engine, text), r#"[41,41,41,42,true,"Counter",true,true,true]"#);
    assert_eq!(alive.load(Ordering::Relaxed), 0, "all were released with their request");
    // One that nobody frees goes with its request too.
    run::<()>(&engine, "$c = counters\\make(1); $d = [$c]; $d[] = &$d; exit(1);").expect_err("exit");
    assert_eq!(alive.load(Ordering::Relaxed), 0);
    let metrics = block_on(engine.shutdown(std::time::Duration::from_secs(5)));
    assert_eq!(metrics.leaked_objects, 0);
}

#[test]
fn a_function_of_another_request_is_refused() {
    let kept: Arc<Mutex<Option<Function>>> = Arc::default();
    let (keep, give) = (kept.clone(), kept.clone());
    let module = Module::new("box")
        .function("keep", move |f: Function| {
            *keep.lock().expect("a lock") = Some(f);
            Ok(())
        })
        .function("give", move || Ok(give.lock().expect("a lock").clone()));
    let engine = builder().module(module).build().expect("an engine");
    gives::<()>(&engine, "$x = 5; box\\keep(fn () => ++$x);");
    let error = run::<()>(&engine, "box\\give();").expect_err("not its own");
    assert_eq!(error.code(), Some("wrong_request"), "{error:?}");
    // Its own request is still there.
    let function = kept.lock().expect("a lock").take().expect("kept");
    assert_eq!(block_on(function.call::<i64>(())).expect("a call"), 6);
}

#[derive(Debug, thiserror::Error)]
#[error("the odd error {0}")]
struct Odd(u32);

#[test]
fn a_host_s_error_that_nobody_catches_is_found_again() {
    let module = Module::new("odd").function("fail", || Err::<(), _>(Odd(7).into()));
    let engine = builder().module(module).build().expect("an engine");
    let error = run::<()>(&engine, "function f() { odd\\fail(); } f();").expect_err("it fails");
    assert_eq!(error.host::<Odd>().map(|odd| odd.0), Some(7), "{error:?}");
    let Error::Script { traceback, .. } = &error else { panic!("{error:?}") };
    assert!(traceback.contains("f()"), "{traceback}");
    let text = "try { odd\\fail(); } catch (Sidestack\\Exception $e) { return $e->getMessage(); }";
    assert_eq!(gives::<String>(&engine, text), "the odd error 7");
}

#[test]
fn a_script_that_does_not_compile_is_an_error_of_its_load() {
    let engine = builder().build().expect("an engine");
    let Err(error) = block_on(engine.load_text("bad.php", "<?php\n\nfunction (")) else { panic!("it loaded") };
    let Error::Script { message, traceback, .. } = &error else { panic!("{error:?}") };
    assert!(message.contains("Unclosed") && traceback.contains("bad.php:3"), "{message} {traceback}");
}

#[test]
fn fibers_tell_their_script_line() {
    let gate = Gate::new();
    let engine = builder().module(gate.module()).build().expect("an engine");
    let script = block_on(engine.load_text("where.php", "<?php return function () {\n\n  return gate\\wait(); };"))
        .expect("a script");
    let call = engine.spawn(script.call::<()>("default", ()).label("waits")).expect("queued");
    gate.wait_for(1);
    let fibers = block_on(engine.fibers());
    let fiber = fibers.iter().find(|fiber| fiber.label.as_deref() == Some("waits")).expect("the call");
    assert!(fiber.at.as_deref().is_some_and(|at| at == "where.php:3"), "{fiber:?}");
    gate.open();
    block_on(call).expect("an answer");
}

/// The optimizer and reflection look at what a function or class belongs to.
#[test]
fn host_functions_and_classes_belong_to_an_extension() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let _entered = runtime.enter();
    let alive = Arc::default();
    let engine = builder().module(app()).module(counters(&alive)).build().expect("an engine");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("s.php");
    let text = "<?php return fn () => json_encode([function_exists('app\\add'), function_exists('app\\none'), class_exists('Counter'),
        (new ReflectionFunction('app\\add'))->getExtensionName(), (new ReflectionClass('Counter'))->getExtensionName(),
        (new ReflectionMethod('Counter', 'add'))->isInternal(), strlen((string)new ReflectionClass('Sidestack\\Channel')) > 100,
        Closure::fromCallable('app\\add')(1, 2), array_map('app\\add', [1], [2]), (new ReflectionFunction('app\\add'))->isVariadic()]);";
    std::fs::write(&file, text).expect("written");
    let script = block_on(engine.load(&file)).expect("a script");
    for _ in 0..3 {
        let got = block_on(script.call::<String>("default", ())).expect("an answer");
        assert_eq!(got, r#"[true,false,true,"sidestack","sidestack",true,true,3,[3],true]"#);
    }
}
