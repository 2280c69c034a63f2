//! PHP's database extensions wait: 50 requests at once on one interpreter thread, with real servers.

#[path = "../../hooks/src/server.rs"]
#[allow(dead_code, reason = "some servers are for other tests")]
mod server;

use std::time::{Duration, Instant};

use futures_executor::block_on;
use futures_util::future::try_join_all;
use server::Server;
use sidestack_test_phpt::stage;

const REQUESTS: i64 = 50;

/// Runs the body of a function of `$n` (and `$at`, where the server is) in many requests at once; each waits half a second.
#[track_caller]
fn together(at: &str, body: &str) {
    let engine = stage::builder().build().expect("an engine");
    let text = format!("<?php $at = '{at}'; return function (int $n) use ($at) {{ {body} }};");
    let script = block_on(engine.load_text("database.php", text)).expect("a script");
    let call = |n: i64| script.call::<i64>("default", n).deadline(Duration::from_secs(60));
    assert_eq!(block_on(call(7)).unwrap_or_else(|error| panic!("{error}")), 7);
    let begun = Instant::now();
    let values = block_on(try_join_all((0..REQUESTS).map(call))).unwrap_or_else(|error| panic!("{error}"));
    let took = begun.elapsed();
    assert_eq!(values, (0..REQUESTS).collect::<Vec<_>>());
    assert!(took >= Duration::from_millis(500), "{took:?}: it did not wait");
    // One by one: 25 seconds.
    assert!(took < Duration::from_secs(12), "{took:?} for {REQUESTS} waits of 0.5 s");
}

#[test]
fn postgresql() {
    let Some((_server, place)) = Server::postgres(REQUESTS as usize + 5) else { return };
    let place = place.replace(' ', ";");
    together(
        &place,
        "$db = new PDO(\"pgsql:$at\"); $q = $db->prepare('select pg_sleep(0.5), cast(? as int) + 0 as n'); $q->execute([$n]);
         return $q->fetch(PDO::FETCH_ASSOC)['n'];",
    );
}

#[test]
fn mariadb() {
    let Some((_server, socket)) = Server::mariadb(REQUESTS as usize + 5) else { return };
    together(
        &socket,
        "$db = new PDO(\"mysql:unix_socket=$at;dbname=mysql\", 'root', ''); $q = $db->prepare('select sleep(0.5), ? + 0 as n'); $q->execute([$n]);
         return (int) $q->fetch(PDO::FETCH_ASSOC)['n'];",
    );
    together(
        &socket,
        "$db = new mysqli(null, 'root', '', 'mysql', 0, $at); $r = $db->query(\"select sleep(0.5), $n + 0 as n\"); return (int) $r->fetch_assoc()['n'];",
    );
    together(
        &socket,
        "$db = new mysqli(null, 'root', '', 'mysql', 0, $at); $db->query(\"select sleep(0.5), $n + 0 as n\", MYSQLI_ASYNC);
         do { $read = $error = $reject = [$db]; } while (!mysqli_poll($read, $error, $reject, 1));
         return (int) $db->reap_async_query()->fetch_assoc()['n'];",
    );
}
