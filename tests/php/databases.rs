//! PDO against a real server: the fibers wait, the thread does not.

#[allow(dead_code, reason = "of the servers, these tests use one")]
#[path = "../hooks/src/server.rs"]
mod server;

use std::time::{Duration, Instant};

use futures_executor::block_on;
use futures_util::future::join_all;
use sidestack::{Error, Limit};

use crate::stage::{builder, gives};

#[test]
fn queries_of_pdo_wait_side_by_side() {
    const MANY: i64 = 100;
    let Some((_postgres, place)) = server::Server::postgres(150) else { return };
    let host = place.split_whitespace().find_map(|part| part.strip_prefix("host=")).expect("a host").to_owned();
    let dsn = format!("pgsql:host={host};dbname=postgres;user=postgres");
    let engine = builder().build().expect("an engine");
    let script = block_on(engine.load_text(
        "pdo.php",
        "<?php return ['ask' => function ($dsn, $n) {
             $db = new PDO($dsn, null, null, [PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION]);
             $asked = $db->prepare('select ?::int + (select 0 from pg_sleep(0.5))');
             $asked->execute([$n]);
             $sum = $asked->fetchColumn();
             try { $db->query('select nonsense'); } catch (PDOException $e) { return [$sum, $e->getCode()]; }
         }];",
    ))
    .expect("a script");
    let begun = Instant::now();
    let calls =
        (0..MANY).map(|n| engine.spawn(script.call::<(i64, String)>("ask", (dsn.as_str(), n))).expect("queued"));
    for (n, answer) in (0..).zip(block_on(join_all(calls.collect::<Vec<_>>()))) {
        // Undefined column, as PostgreSQL numbers it.
        assert_eq!(answer.expect("an answer"), (n, "42703".to_owned()));
    }
    // One after the other it would be 50 s.
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    // A deadline ends a query that waits.
    let begun = Instant::now();
    let text = format!("$db = new PDO('{dsn}'); $db->query('select pg_sleep(30)'); while (true) {{}}");
    let error = block_on(engine.eval::<()>(&text).deadline(Duration::from_millis(300))).expect_err("it ends");
    assert!(matches!(error, Error::Limit { which: Limit::Deadline, .. }), "{error:?}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(gives::<i64>(&engine, "1 + 1"), 2);
}
