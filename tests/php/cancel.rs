//! The cancel matrix of PHP (see tests/cancel).

#[path = "../cancel/mod.rs"]
mod matrix;

use matrix::{Guest, Settings, State};
use sidestack::Engine;

struct OfPhp;

impl Guest for OfPhp {
    const KILLS: bool = true;
    const INAPPLICABLE: &'static [(State, &'static str)] = &[];

    fn engine(settings: Settings) -> Engine {
        matrix::matrix_engine!(crate::stage::php(), settings)
    }

    fn text() -> &'static str {
        "<?php
         function clean_up() {
           m\\clean();
           try { m\\nap(); } catch (Sidestack\\CancelledException | Sidestack\\TimeoutException $e) { m\\refused(); }
         }
         function hold() { try { m\\hold(); } finally { clean_up(); } }
         class Loops { function __destruct() { m\\at(); while (true) {} } }
         return [
           'ready' => function () { try { m\\at(); while (true) Sidestack\\give_way(); } finally { clean_up(); } },
           'running' => function () { try { m\\at(); while (true) {} } finally { clean_up(); } },
           'waiting' => hold(...),
           'nested' => function () { try { m\\each(hold(...)); } finally { clean_up(); } },
           'finalizer' => function () { $loops = new Loops; unset($loops); },
           'stubborn' => function () { m\\at(); while (true) try { while (true) {} } catch (Throwable) {} },
           'hung' => function () { m\\block(); },
         ];"
    }
}

#[test]
fn php() {
    matrix::run::<OfPhp>();
}
