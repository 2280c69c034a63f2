//! More than the server takes on: bursts (D5), interpreters and workers that are replaced (B3), pages that ask their own server (B4).

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::client::{Got, begin, fetch, get, parse, request, serve};
use crate::common::{LONG, Server, burst_is_counted, metric};

/// As many clients, all of which ask before the first one reads; all answers.
fn burst(server: &Server, clients: usize, target: &str) -> Vec<Got> {
    let mut clients: Vec<_> = (0..clients).map(|_| begin(server, b"")).collect();
    let request = request("GET", target, &[], b"");
    clients.iter_mut().for_each(|client| client.write_all(&request).expect("sent"));
    let answer = |mut client: TcpStream| {
        let mut all = Vec::new();
        client.read_to_end(&mut all).expect("an answer");
        parse(&all)
    };
    clients.into_iter().map(answer).collect()
}

fn admin(files: &[(&str, &str)], flags: &[&str]) -> (Server, SocketAddr) {
    let mut server = serve(files, &[&["--admin", "127.0.0.1:0"], flags].concat());
    let admin = server.admin();
    (server, admin)
}

/// Two pages run, of those that come then some wait, and all others are refused at once. `waiting`: how many may wait.
fn overload(site: &str, flags: &[&str], waiting: usize) {
    let queue = waiting.to_string();
    let flags = [&["--queue", &queue, "--queue-timeout", "500ms"], flags].concat();
    let (server, admin) = admin(&[("index.php", site)], &flags);
    let answers = burst(&server, 40, "/");
    let of = |status| answers.iter().filter(|answer| answer.status == status).count();
    let said = |part: &str| answers.iter().filter(|answer| answer.text().contains(part)).count();
    let (full, late) = (said("too many requests are waiting"), said("no interpreter was free in time"));
    assert!(of(200) >= 2 && full >= 10 && late >= waiting / 2, "{} answered, {full} full, {late} late", of(200));
    assert_eq!((of(200) + of(503), full + late), (40, of(503)));
    assert!(answers.iter().all(|answer| answer.header("retry-after") == (answer.status == 503).then_some("1")));
    burst_is_counted(admin, of(200), full, late);
    // The burst is over, and with it the refusals.
    assert_eq!(get(&server, "/").text(), "served");
}

#[test]
fn a_burst_of_pages_gets_503_and_the_metrics_agree() {
    overload("<?php usleep(400000); echo 'served';", &["--fibers", "2"], 20);
}

#[test]
fn a_burst_for_workers_gets_503_and_the_metrics_agree() {
    let workers = "<?php while (frankenphp_handle_request(function () { usleep(400000); echo 'served'; }));";
    overload(workers, &["--workers", "2"], 20);
}

/// Interpreters, or workers, are replaced five times or more while clients go on asking; memory stays where it was.
fn recycle(files: &[(&str, &str)], flags: &[&str]) -> (Server, SocketAddr) {
    let (server, admin) = admin(files, &[&["--quiet", "--max-requests", "400"], flags].concat());
    let round = |requests: usize| {
        let next = AtomicUsize::new(0);
        let client = || {
            while next.fetch_add(1, Ordering::Relaxed) < requests {
                let got = get(&server, "/");
                assert_eq!((got.status, got.text().as_str()), (200, "500"));
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(client);
            }
        });
    };
    round(800);
    let before = server.resident();
    round(2000);
    let after = server.resident();
    assert!(after < before + before / 10, "{before} bytes, then {after}");
    (server, admin)
}

/// Holds some memory, and leaves a class, an object with a destructor and a Fiber behind.
const HOLDS: &str = "<?php
    $page = function () {
        class_exists('Held') || eval('class Held { public array $all; public ?Fiber $fiber; function __destruct() { $this->all = []; } }');
        $held = new Held;
        $held->all = array_map(fn ($n) => str_repeat('x', $n), range(1, 500));
        $held->fiber = new Fiber(function () { Fiber::suspend(); });
        $held->fiber->start();
        echo count($held->all);
    };";

#[test]
fn interpreters_are_replaced_and_memory_stays() {
    let (_server, admin) = recycle(&[("index.php", &format!("{HOLDS} $page();"))], &[]);
    let recycled = metric(admin, "sidestack_interpreters_recycled_total");
    assert!(recycled >= 5.0, "{recycled}");
    assert_eq!(metric(admin, "sidestack_interpreters_quarantined_total"), 0.0);
}

#[test]
fn workers_are_replaced_and_memory_stays() {
    let loops = "while (frankenphp_handle_request($page));";
    let (_server, admin) = recycle(&[("index.php", &format!("{HOLDS} {loops}"))], &["--workers", "2"]);
    assert_eq!(metric(admin, "sidestack_requests_total{status=\"200\"}"), 2800.0);
}

/// Asks its own server, in each of PHP's ways and ours.
const ASKS: &str = r#"<?php
    $page = function () {
        if ($_SERVER['REQUEST_URI'] === '/inner') { echo 'inner'; return; }
        $url = "http://{$_SERVER['HTTP_TO']}/inner";
        $curl = curl_init($url);
        curl_setopt($curl, CURLOPT_RETURNTRANSFER, true);
        $socket = fsockopen('tcp://' . $_SERVER['HTTP_TO']);
        fwrite($socket, "GET /inner HTTP/1.0\r\nConnection: close\r\n\r\n");
        $streamed = stream_get_contents($socket);
        echo implode(' ', [file_get_contents($url), curl_exec($curl), substr($streamed, -5), Sidestack\Http::get($url)->body]);
    };"#;

fn asks_itself(flags: &[&str], code: &str) -> (Got, Duration) {
    let server = serve(&[("index.php", &format!("{ASKS} {code}"))], flags);
    let begun = Instant::now();
    let got = fetch(server.address, &request("GET", "/", &[("To", &server.address.to_string())], b""));
    (got, begun.elapsed())
}

const LOOP: &str = "while (frankenphp_handle_request($page));";

#[test]
fn a_page_asks_its_own_server_on_one_thread() {
    for (flags, code) in [(&[][..], "$page();"), (&["--max-requests", "1"], "$page();"), (&["--workers", "2"], LOOP)] {
        let (got, took) = asks_itself(flags, code);
        assert_eq!((got.status, got.text().as_str()), (200, "inner inner inner inner"), "{flags:?}");
        assert!(took < LONG, "{flags:?}: {took:?}");
    }
}

/// The one worker waits for an answer that only it could give: it is refused, by name, and goes on.
#[test]
fn a_worker_that_asks_itself_is_told_so_in_time() {
    let page = r#"<?php $page = function () {
        $context = stream_context_create(['http' => ['ignore_errors' => true]]);
        echo file_get_contents("http://{$_SERVER['HTTP_TO']}/inner", false, $context), $http_response_header[0];
    };"#;
    let flags = ["--workers", "1", "--queue-timeout", "500ms", "--deadline", "none"];
    let server = serve(&[("index.php", &format!("{page} {LOOP}"))], &flags);
    let begun = Instant::now();
    let got = fetch(server.address, &request("GET", "/", &[("To", &server.address.to_string())], b""));
    let text = got.text();
    assert!(
        text.starts_with("no interpreter was free in time") && text.ends_with("HTTP/1.1 503 Service Unavailable"),
        "{text}"
    );
    assert!(begun.elapsed() < LONG, "{:?}", begun.elapsed());
}
