//! Worker scripts: state that stays, state that must not, ends, reloads.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::client::{WAITS, begin, fetch, get, go, request, serve, serve_folder, site, until};
use crate::common::{LONG, metric_becomes};

/// As in FrankenPHP's documentation: boot, loop, a limit of its own.
const WORKER: &str = r#"<?php
ignore_user_abort(true);
$boot = uniqid();
$count = 0;
$handler = static function () use (&$count, $boot) {
    $count++;
    $path = parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
    if ($path === '/count') { header("X-Count: $count"); echo "$boot $count"; }
    if ($path === '/state') {
        if (isset($_GET['set'])) { $_SESSION['x'] = 1; header('X-Left: over'); http_response_code(201); $GLOBALS['kept'] = 'kept'; ob_start(); }
        echo json_encode([$_GET, $_POST, $_COOKIE, $_FILES, $_REQUEST, isset($_SESSION), headers_list(), http_response_code(), $GLOBALS['kept'] ?? null,
            ob_get_level(), error_get_last() === null, $_SERVER['FRANKENPHP_WORKER'] ?? null, file_get_contents('php://input')]);
        if (isset($_GET['set'])) @trigger_error('left');
    }
    if ($path === '/session') { session_save_path(sys_get_temp_dir()); session_start(); $_SESSION['n'] = ($_SESSION['n'] ?? 0) + 1; echo $_SESSION['n']; }
    if ($path === '/wait') { usleep(800000); echo 'waited'; }
    if ($path === '/exit') { register_shutdown_function(fn () => print(' bye')); echo 'exits'; exit(3); }
    if ($path === '/throw') throw new Exception('let out');
    if ($path === '/fatal') { ini_set('memory_limit', '16M'); $x = str_repeat('x', 1 << 28); }
    if ($path === '/finish') { echo 'early'; frankenphp_finish_request(); usleep(50000); file_put_contents(__DIR__ . '/late', $count); }
};
$max = (int) ($_SERVER['MAX_REQUESTS'] ?? 0);
for ($n = 0; !$max || $n < $max; ++$n) {
    $more = \frankenphp_handle_request($handler);
    gc_collect_cycles();
    if (!$more) break;
}
"#;

fn worker(flags: &[&str]) -> crate::common::Server {
    let one: &[&str] = if flags.contains(&"--workers") { &[] } else { &["--workers", "1"] };
    let flags = [one, flags].concat();
    serve(
        &[
            ("index.php", WORKER),
            ("other.php", "<?php echo 'classic ', $GLOBALS['kept'] ?? 'fresh';"),
            ("a.css", "a{}"),
        ],
        &flags,
    )
}

fn count(server: &crate::common::Server) -> (String, u32) {
    let text = get(server, "/count").text();
    let (boot, count) = text.split_once(' ').unwrap_or_else(|| panic!("{text}"));
    (boot.to_string(), count.parse().expect("a number"))
}

#[test]
fn requests_that_wait_for_a_worker_are_counted() {
    let script = format!("<?php while (frankenphp_handle_request(function () {{ {WAITS} echo 'gone'; }}));");
    let flags = ["--workers", "1", "--admin", "127.0.0.1:0", "--queue-timeout", "20s"];
    let mut server = serve(&[("index.php", &script)], &flags);
    let admin = server.admin();
    let queued = |expected| metric_becomes(admin, "sidestack_calls_queued", expected);
    queued(0.0);
    std::thread::scope(|threads| {
        let clients: Vec<_> = (0..4).map(|_| threads.spawn(|| get(&server, "/").text())).collect();
        queued(3.0);
        go(&server);
        for client in clients {
            assert_eq!(client.join().expect("a client"), "gone");
        }
    });
    queued(0.0);
}

#[test]
fn a_worker_boots_once_and_other_files_are_as_ever() {
    let server = worker(&[]);
    let (boot, first) = count(&server);
    assert_eq!((first, count(&server), count(&server)), (1, (boot.clone(), 2), (boot, 3)));
    assert_eq!(get(&server, "/other.php").text(), "classic fresh");
    assert_eq!(get(&server, "/a.css").text(), "a{}");
}

#[test]
fn nothing_of_a_request_is_left_for_the_next() {
    let server = worker(&[]);
    let form = [("Cookie", "c=1"), ("Content-Type", "application/x-www-form-urlencoded")];
    let got = fetch(server.address, &request("POST", "/state?set=1", &form, b"p=1"));
    assert_eq!(got.status, 201);
    assert!(
        got.text().starts_with(r#"[{"set":"1"},{"p":"1"},{"c":"1"},[],{"set":"1","p":"1","c":"1"},true,"#),
        "{}",
        got.text()
    );
    assert!(got.text().ends_with(r#""1","p=1"]"#), "{}", got.text());
    let got = get(&server, "/state");
    assert_eq!((got.status, got.header("x-left")), (200, None));
    assert_eq!(
        got.text(),
        r#"[[],[],[],[],[],false,["X-Powered-By: PHP\/8.4.24"],200,"kept",0,true,"1",""]"#
            .replace("8.4.24", &version(&got))
    );
}

fn version(got: &crate::client::Got) -> String {
    let by = got.header("x-powered-by").expect("PHP's header");
    by.trim_start_matches("PHP/").to_string()
}

#[test]
fn sessions_are_the_clients_own() {
    let server = worker(&[]);
    let first = get(&server, "/session");
    let cookie = first.header("set-cookie").and_then(|cookie| cookie.split(';').next()).expect("a cookie").to_string();
    assert_eq!(first.text(), "1");
    let again = fetch(server.address, &request("GET", "/session", &[("Cookie", &cookie)], b""));
    assert_eq!(again.text(), "2");
    assert_eq!(get(&server, "/session").text(), "1");
}

#[test]
fn a_worker_that_ends_is_booted_again() {
    let mut server = worker(&["-d", "log_errors=1"]);
    let (boot, _) = count(&server);
    let exits = get(&server, "/exit");
    assert_eq!((exits.status, exits.text().as_str()), (200, "exits bye"));
    let (second, first) = count(&server);
    assert_eq!(first, 1);
    assert_ne!(second, boot);
    assert_eq!(get(&server, "/throw").status, 500);
    assert_eq!(get(&server, "/fatal").status, 500);
    let (third, _) = count(&server);
    assert_ne!(third, second);
    assert!(server.wait_for_text("let out").contains("Uncaught Exception: let out"));
}

#[test]
fn max_requests_recycles_workers() {
    let server = worker(&["--max-requests", "3"]);
    let seen: Vec<(String, u32)> = (0..7).map(|_| count(&server)).collect();
    assert_eq!(seen.iter().map(|(_, count)| *count).collect::<Vec<_>>(), [1, 2, 3, 1, 2, 3, 1]);
    assert_eq!(seen.into_iter().map(|(boot, _)| boot).collect::<HashSet<_>>().len(), 3);
}

#[test]
fn many_workers_wait_on_one_thread() {
    let server = worker(&["--workers", "50"]);
    let begun = Instant::now();
    let threads: Vec<_> = (0..50)
        .map(|_| {
            let address = server.address;
            std::thread::spawn(move || fetch(address, &request("GET", "/wait", &[], b"")).text())
        })
        .collect();
    for thread in threads {
        assert_eq!(thread.join().expect("a thread"), "waited");
    }
    // One after the other it would be 40 s.
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[test]
fn a_finished_response_leaves_the_worker_busy() {
    let folder = site(&[("index.php", WORKER)]);
    let late = folder.path().join("late");
    let server = serve_folder(folder, &["--workers", "1"]);
    assert_eq!(get(&server, "/finish").text(), "early");
    assert_eq!(count(&server).1, 2);
    assert_eq!(std::fs::read_to_string(late).expect("written"), "1");
}

#[test]
fn a_deadline_ends_the_request_and_its_worker_comes_back() {
    let server = serve(
        &[(
            "index.php",
            "<?php while (frankenphp_handle_request(function () { if ($_SERVER['REQUEST_URI'] === '/long') sleep(30); echo 'fine'; }));",
        )],
        &["--workers", "1", "--deadline", "500ms"],
    );
    let begun = Instant::now();
    assert_eq!(get(&server, "/long").status, 504);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(get(&server, "/").text(), "fine");
}

#[test]
fn who_waits_too_long_for_a_worker_is_refused() {
    let page = format!("echo 'be'; flush(); {WAITS} echo 'gun';");
    let text = format!("<?php while (frankenphp_handle_request(function () {{ {page} }}));");
    let server = serve(&[("index.php", &text)], &["--workers", "1", "--queue-timeout", "300ms"]);
    let address = server.address;
    let ask = move || std::thread::spawn(move || fetch(address, &request("GET", "/", &[], b"")));
    let mut served = begin(&server, &request("GET", "/", &[], b""));
    until(&mut served, "be");
    let begun = Instant::now();
    let waiting = [ask(), ask(), ask()];
    for waiting in waiting {
        let refused = waiting.join().expect("a thread");
        assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")), "{}", refused.text());
        let limit = "no interpreter was free in time: queue time limit of 300 ms reached (setting: queue_timeout)";
        assert!(refused.text().starts_with(limit), "{}", refused.text());
    }
    assert!(begun.elapsed() > Duration::from_millis(290), "{:?}", begun.elapsed());
    // Refused while the worker was busy, not when it had the time.
    go(&server);
    until(&mut served, "gun");
    assert_eq!(ask().join().expect("a thread").text(), "begun");
}

#[test]
fn a_script_that_is_no_worker_is_told_so() {
    let folder = site(&[("index.php", "<?php echo 'no loop';")]);
    let output = crate::common::sidestack()
        .args(["serve", "--listen", "127.0.0.1:0", "--workers", "1"])
        .arg(folder.path())
        .output()
        .expect("the binary");
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("does not start as a worker") && text.contains("ended before it asked"), "{text}");
    let server = serve(
        &[(
            "a.php",
            "<?php try { frankenphp_handle_request(fn () => 1); } catch (RuntimeException $e) { echo $e->getMessage(); }",
        )],
        &[],
    );
    assert_eq!(get(&server, "/a.php").text(), "frankenphp_handle_request() is for worker scripts");
}

/// Changes a file while requests come; every one of them is answered, and after a while by the new code.
#[test]
fn watch_reloads_workers_and_loses_nothing() {
    let code =
        |say: &str| format!("<?php while (frankenphp_handle_request(function () {{ usleep(2000); echo '{say}'; }}));");
    let folder = site(&[("index.php", &code("old"))]);
    let file = folder.path().join("index.php");
    let mut server = serve_folder(folder, &["--workers", "4", "--watch", "--quiet"]);
    let (address, stop) = (server.address, std::sync::Arc::new(AtomicBool::new(false)));
    let (answered, answers) = std::sync::mpsc::channel();
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (stop, answered) = (stop.clone(), answered.clone());
            std::thread::spawn(move || {
                let mut seen = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let got = fetch(address, &request("GET", "/", &[], b""));
                    assert_eq!(got.status, 200, "{}", got.text());
                    seen.push(got.text());
                    if seen.len() == 20 {
                        answered.send(()).expect("it waits");
                    }
                }
                seen
            })
        })
        .collect();
    for _ in &clients {
        answers.recv_timeout(LONG).expect("each has answers of the old code");
    }
    std::fs::write(&file, code("new")).expect("written");
    server.wait_for_text("reload index.php");
    let begun = Instant::now();
    while get(&server, "/").text() != "new" {
        assert!(begun.elapsed() < LONG, "the new code does not come");
    }
    // What does not compile leaves the old workers.
    std::fs::write(&file, "<?php ((").expect("written");
    server.wait_for_text("not reloaded");
    assert_eq!(get(&server, "/").text(), "new");
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        let seen = client.join().expect("a thread");
        assert!(seen.iter().any(|text| text == "old"), "{seen:?}");
        assert!(seen.iter().all(|text| text == "old" || text == "new"), "{seen:?}");
    }
}
