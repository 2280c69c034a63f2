//! PHP's own waiting functions: many requests at once on one interpreter thread take the time of one, and others run meanwhile.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_executor::block_on;
use futures_util::future::{join_all, try_join_all};
use sidestack::php::{Body, Page};
use sidestack::{Call, Engine, Module};
use sidestack_test_phpt::{SLOW_NAMES, stage};

#[path = "../../child/mod.rs"]
mod child;

/// Requests at once.
const REQUESTS: i64 = 20;
/// What each waits for.
const PAUSE: Duration = Duration::from_millis(500);

/// One interpreter thread, with a script on it that sleeps a millisecond again and again: it stands still while the thread is blocked.
struct Bed {
    engine: Engine,
    ticks: Arc<AtomicU64>,
    _ticker: Call<()>,
}

fn bed() -> Bed {
    let ticks = Arc::new(AtomicU64::new(0));
    let counter = ticks.clone();
    let module = Module::new("t").function("tick", move || {
        counter.fetch_add(1, Ordering::Relaxed);
        Ok(())
    });
    let engine = stage::builder().module(module).build().expect("an engine");
    let ticker = engine.spawn(engine.eval("while (true) { Sidestack\\sleep(0.001); t\\tick(); }")).expect("started");
    Bed { engine, ticks, _ticker: ticker }
}

/// A server of lines: half a second after each line it gives it back. To an HTTP request it gives what follows `?`.
fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || drop(answer(&stream)));
        }
    });
    address
}

fn answer(stream: &TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while reader.read_line(&mut line)? > 0 {
        std::thread::sleep(PAUSE);
        let path = line.split(' ').nth(1).filter(|_| line.starts_with("GET "));
        match path.and_then(|path| path.split_once('?')) {
            Some((_, text)) => {
                write!(&*stream, "HTTP/1.0 200 OK\r\ncontent-length: {}\r\n\r\n{text}", text.len())?;
                return Ok(());
            }
            None => write!(&*stream, "{line}")?,
        }
        line.clear();
    }
    Ok(())
}

/// Runs the body of a function of `$n` in many requests at once. Each gives n; together they take the time of a few at most.
#[track_caller]
fn together(body: &str, each: Duration) {
    let bed = bed();
    let address = server();
    let text = format!(
        "<?php $server = '{address}'; $pause = {}; return function (int $n) use ($server, $pause) {{ {body} }};",
        PAUSE.as_micros()
    );
    let script = block_on(bed.engine.load_text("waits.php", text)).expect("a script");
    // The first one is not measured: it compiles.
    let call = |n: i64| script.call::<i64>("default", n).deadline(Duration::from_secs(60));
    assert_eq!(block_on(call(7)).unwrap_or_else(|error| panic!("{error}")), 7);
    let (begun, before) = (Instant::now(), bed.ticks.load(Ordering::Relaxed));
    let values = block_on(try_join_all((0..REQUESTS).map(call))).unwrap_or_else(|error| panic!("{error}"));
    let (took, ticks) = (begun.elapsed(), bed.ticks.load(Ordering::Relaxed) - before);
    assert_eq!(values, (0..REQUESTS).collect::<Vec<_>>());
    assert!(took >= each, "{took:?}: it did not wait");
    let one_by_one = each * u32::try_from(REQUESTS).expect("a few");
    assert!(took < one_by_one / 2, "{took:?} for {REQUESTS} waits of {each:?}");
    assert!(ticks >= 5, "{ticks} ticks in {took:?}: others stood still");
}

macro_rules! waits {
    ($($name:ident: $body:expr;)*) => {$(
        #[test]
        fn $name() {
            together($body, PAUSE);
        }
    )*};
}

waits! {
    usleep: "usleep($pause); return $n;";
    time_nanosleep: "time_nanosleep(0, $pause * 1000); return $n;";
    time_sleep_until: "time_sleep_until(microtime(true) + 0.5); return $n;";
    file_get_contents: "return (int) file_get_contents(\"http://$server/echo?$n\");";
    fopen_of_http: "$f = fopen(\"http://$server/echo?$n\", 'r'); return (int) stream_get_contents($f);";
    fsockopen_and_fgets: "[$host, $port] = explode(':', $server); $f = fsockopen($host, $port); fwrite($f, \"$n\\n\"); return (int) fgets($f);";
    stream_socket_client_and_fread: "$f = stream_socket_client(\"tcp://$server\"); fwrite($f, \"$n\\n\"); return (int) fread($f, 100);";
    stream_select: "$f = stream_socket_client(\"tcp://$server\"); stream_set_blocking($f, false); fwrite($f, \"$n\\n\");
        $r = [$f]; $w = $e = null; return stream_select($r, $w, $e, 5) === 1 ? (int) fgets($f) : -1;";
    stream_select_until_its_time_is_over: "[$a, $b] = stream_socket_pair(STREAM_PF_UNIX, STREAM_SOCK_STREAM, 0);
        $r = [$a]; $w = $e = null; return stream_select($r, $w, $e, 0, $pause) === 0 ? $n : -1;";
    stream_set_timeout: "$f = stream_socket_client(\"tcp://$server\"); stream_set_timeout($f, 0, $pause); fgets($f);
        return stream_get_meta_data($f)['timed_out'] ? $n : -1;";
    stream_socket_server_and_accept: "$s = stream_socket_server('tcp://127.0.0.1:0'); $at = stream_socket_get_name($s, false);
        Sidestack\\spawn(function () use ($at, $n, $pause) { usleep($pause); $c = stream_socket_client(\"tcp://$at\"); fwrite($c, \"$n\\n\"); });
        $c = stream_socket_accept($s, 5); return (int) fgets($c);";
    curl_exec: "$c = curl_init(\"http://$server/echo?$n\"); curl_setopt($c, CURLOPT_RETURNTRANSFER, true); return (int) curl_exec($c);";
    curl_multi: "$m = curl_multi_init(); $all = [];
        foreach ([$n, 1] as $i) { $c = curl_init(\"http://$server/echo?$i\"); curl_setopt($c, CURLOPT_RETURNTRANSFER, true); curl_multi_add_handle($m, $c); $all[] = $c; }
        do { curl_multi_exec($m, $running); curl_multi_select($m, 1.0); } while ($running);
        return (int) curl_multi_getcontent($all[0]) * (int) curl_multi_getcontent($all[1]);";
    proc_open_pipes: "$p = proc_open(['sh', '-c', \"sleep 0.5; echo $n\"], [1 => ['pipe', 'w']], $pipes); $v = stream_get_contents($pipes[1]); proc_close($p); return (int) $v;";
    proc_close: "$p = proc_open(['sleep', '0.5'], [], $pipes); return proc_close($p) === 0 ? $n : -1;";
    pclose: "return pclose(popen('exec >&-; sleep 0.5; exit 3', 'r')) === 3 ? $n : -1;";
    a_pipe_that_the_end_closes: "$GLOBALS['p'] = popen('exec >&-; sleep 0.5', 'r'); return $n;";
    shell_exec: "return (int) shell_exec(\"sleep 0.5; echo $n\");";
}

#[test]
fn sleep() {
    together("sleep(1); return $n;", Duration::from_secs(1));
}

#[test]
fn a_name_is_looked_up() {
    together(
        "[, $port] = explode(':', $server); $f = fsockopen('localhost', $port); fwrite($f, \"$n\\n\"); return (int) fgets($f);",
        PAUSE,
    );
}

/// Names, by a C library that takes half a second for each. `$n` is 1 and more.
macro_rules! waits_for_names {
    ($($name:ident: $body:expr;)*) => {$(
        #[test]
        fn $name() {
            child::passes_with(&[("LD_PRELOAD", SLOW_NAMES)], stringify!($name), || {
                together(&format!("$m = $n + 1; return {} ? $n : -1;", $body), PAUSE);
            });
        }
    )*};
}

waits_for_names! {
    gethostbyname: "gethostbyname(\"$m.slow\") === \"10.0.0.$m\"";
    gethostbynamel: "gethostbynamel(\"$m.slow\") === [\"10.0.0.$m\"]";
    gethostbyaddr: "gethostbyaddr(\"10.0.0.$m\") === \"$m.slow\"";
    checkdnsrr: "checkdnsrr(\"$m.slow\", 'A')";
    dns_get_record: "array_column(dns_get_record(\"$m.slow\", DNS_A), 'ip') === [\"10.0.0.$m\"]";
    getmxrr: "getmxrr(\"$m.slow\", $hosts, $weights) && [$hosts, $weights] === [[\"$m.slow\"], [$m]]";
}

/// PHP has one buffer for their answers, which belongs to the request.
#[test]
fn names_of_one_request_that_are_asked_for_at_once() {
    child::passes_with(&[("LD_PRELOAD", SLOW_NAMES)], "names_of_one_request_that_are_asked_for_at_once", || {
        let bed = bed();
        let text = "$ask = fn ($n) => [gethostbyname(\"$n.slow\"), gethostbynamel(\"$n.slow\")[0]];
            $tasks = array_map(fn ($n) => Sidestack\\spawn($ask, $n), [1, 2, 3]);
            return array_map(fn ($task) => $task->join(), $tasks);";
        let given: Vec<[String; 2]> = stage::gives(&bed.engine, text);
        assert_eq!(given, [1, 2, 3].map(|n| [(); 2].map(|()| format!("10.0.0.{n}"))));
        // A cancelled one does not wait for its turn.
        let text = "Sidestack\\spawn('gethostbyname', '4.slow'); Sidestack\\give_way();
            try { Sidestack\\timeout(0.05, fn () => gethostbyname('5.slow') . Sidestack\\sleep(1)); return 'waited'; }
            catch (Sidestack\\TimeoutException) { return 'ended'; }";
        let took = || {
            let begun = Instant::now();
            assert_eq!(stage::gives::<String>(&bed.engine, text), "ended");
            begun.elapsed()
        };
        // One that waits for its turn takes as long each time; a busy machine now and then.
        assert!((0..5).any(|_| took() < 2 * PAUSE));
    });
}

/// Requests that hold the same thing one after the other, while they wait: without the hooks, the first one to find it taken
/// would stop the thread for ever.
#[track_caller]
fn one_after_the_other(setup: &str, body: &str) {
    let bed = bed();
    let folder = tempfile::tempdir().expect("a folder");
    let text = format!(
        "<?php $folder = '{}'; {setup} return function (int $n) use ($folder) {{ {body} }};",
        folder.path().display()
    );
    let script = block_on(bed.engine.load_text("holds.php", text)).expect("a script");
    let calls = (0..REQUESTS).map(|n| script.call::<i64>("default", n).deadline(Duration::from_secs(60)));
    let mut values = block_on(try_join_all(calls)).unwrap_or_else(|error| panic!("{error}"));
    values.sort_unstable();
    assert_eq!(values, (1..=REQUESTS).collect::<Vec<_>>());
    assert!(bed.ticks.load(Ordering::Relaxed) > 10);
}

#[test]
fn flock() {
    one_after_the_other(
        "",
        "$f = fopen(\"$folder/counter\", 'c+'); flock($f, LOCK_EX); $v = (int) fgets($f) + 1; usleep(5000);
         rewind($f); fwrite($f, $v); fflush($f); flock($f, LOCK_UN); return $v;",
    );
}

/// The same session in many pages: PHP holds its file's lock as long as a page has the session open.
#[test]
fn a_session_of_files() {
    let bed = bed();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("session.php");
    let text = "<?php session_save_path(__DIR__); session_id('same'); session_start();
        $v = $_SESSION['v'] = ($_SESSION['v'] ?? 0) + 1; usleep(5000); echo $v;";
    std::fs::write(&file, text).expect("a page");
    let pages = (0..REQUESTS).map(async |_| {
        let request = http::Request::get("/").body(Body::empty()).expect("a request");
        let response = bed.engine.page(Page::new(&file, request)).await.expect("a response");
        let body = response.into_body().collect().await.expect("a body");
        String::from_utf8_lossy(&body).parse::<i64>().unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&body)))
    });
    let mut values = block_on(join_all(pages));
    values.sort_unstable();
    assert_eq!(values, (1..=REQUESTS).collect::<Vec<_>>());
}

#[test]
fn a_transaction_of_sqlite() {
    one_after_the_other(
        "",
        "$db = new PDO(\"sqlite:$folder/db\", null, null, [PDO::ATTR_TIMEOUT => 50]);
         $db->exec('begin immediate'); $db->exec('create table if not exists t(v)'); usleep(3000);
         $db->exec('insert into t values (1)'); $v = $db->query('select count(*) from t')->fetchColumn();
         $db->exec('commit'); return $v;",
    );
}
