//! What happens while a script runs: streams, slow bodies, clients that leave, many at once.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::client::{WAITS, begin, fetch, get, go, request, serve, serve_folder, site, until};
use crate::common::LONG;

/// Waits until a file is there, and reads it.
fn told(path: &std::path::Path) -> String {
    let begun = Instant::now();
    loop {
        match std::fs::read_to_string(path) {
            Ok(text) if text.ends_with('\n') => return text,
            _ => assert!(begun.elapsed() < LONG, "{} is not written", path.display()),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn output_arrives_while_the_script_waits() {
    let server = serve(&[("a.php", &format!("<?php echo 'one'; flush(); {WAITS} echo 'two';"))], &[]);
    let mut stream = begin(&server, &request("GET", "/a.php", &[], b""));
    until(&mut stream, "one");
    go(&server);
    until(&mut stream, "two");
}

#[test]
fn a_finished_response_lets_the_script_go_on() {
    let tells = "file_put_contents(__DIR__ . '/told', connection_status() . \"\\n\");";
    let script = format!("<?php echo 'done'; fastcgi_finish_request(); echo 'not seen'; {WAITS} {tells}");
    let folder = site(&[("a.php", &script)]);
    let told_at = folder.path().join("told");
    let server = serve_folder(folder, &[]);
    assert_eq!(get(&server, "/a.php").text(), "done");
    assert!(!told_at.exists());
    go(&server);
    assert_eq!(told(&told_at), "0\n");
}

const ENDLESS: &str = r#"<?php ignore_user_abort((bool) $_GET['ignore']);
register_shutdown_function(fn () => file_put_contents(__DIR__ . '/told', connection_status() . ' ' . ($GLOBALS['after'] ?? 'not after') . "\n"));
for ($i = 0; $i < 3000 && !connection_aborted(); $i++) { echo str_repeat('x', 1 << 16); flush(); usleep(10000); }
$after = 'after';"#;

#[test]
fn a_client_that_leaves_ends_the_script_unless_it_goes_on() {
    for (ignore, expected) in [("0", "1 not after\n"), ("1", "1 after\n")] {
        let folder = site(&[("a.php", ENDLESS)]);
        let told_at = folder.path().join("told");
        let server = serve_folder(folder, &[]);
        let mut stream = begin(&server, &request("GET", &format!("/a.php?ignore={ignore}"), &[], b""));
        until(&mut stream, "xxx");
        drop(stream);
        assert_eq!(told(&told_at), expected, "ignore_user_abort {ignore}");
        assert_eq!(get(&server, "/b.php").status, 404, "the server goes on");
    }
}

#[test]
fn a_slow_reader_makes_only_its_own_script_wait() {
    let server = serve(
        &[
            ("big.php", "<?php for ($i = 0; $i < 400; $i++) echo str_repeat('b', 1 << 16);"),
            ("a.php", "<?php echo 'quick';"),
        ],
        &[],
    );
    let mut stream = begin(&server, &request("GET", "/big.php", &[], b""));
    until(&mut stream, "bbb");
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(get(&server, "/a.php").text(), "quick");
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("the rest");
    assert!(rest.len() > 20 << 20, "{}", rest.len());
}

#[test]
fn a_slow_body_makes_only_its_own_script_wait() {
    let server = serve(
        &[
            ("in.php", "<?php echo strlen(file_get_contents('php://input')), ' ', count($_POST);"),
            ("a.php", "<?php echo 'quick';"),
        ],
        &[],
    );
    let whole = request("POST", "/in.php", &[("Content-Type", "application/x-www-form-urlencoded")], &[b'x'; 600]);
    let mut stream = begin(&server, &whole[..whole.len() - 300]);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(get(&server, "/a.php").text(), "quick");
    stream.write_all(&whole[whole.len() - 300..]).expect("sent");
    until(&mut stream, "600 1");
}

#[test]
fn uploads_of_some_megabytes() {
    let server = serve(
        &[
            ("up.php", "<?php $f = $_FILES['f']; echo $f['error'], ' ', $f['size'], ' ', md5_file($f['tmp_name']);"),
            ("raw.php", "<?php echo md5_file('php://input');"),
        ],
        &["--max-body", "32MiB", "-d", "post_max_size=32M", "-d", "upload_max_filesize=32M"],
    );
    let bytes: Vec<u8> = (0..6 << 20).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    // Of these bytes, by md5sum.
    let sum = md5sum(&bytes);
    let head = b"--B\r\nContent-Disposition: form-data; name=\"f\"; filename=\"f\"\r\n\r\n";
    let form = [head.as_slice(), &bytes, b"\r\n--B--\r\n"].concat();
    let got = fetch(
        server.address,
        &request("POST", "/up.php", &[("Content-Type", "multipart/form-data; boundary=B")], &form),
    );
    assert_eq!(got.text(), format!("0 {} {sum}", bytes.len()));
    let got = fetch(server.address, &request("PUT", "/raw.php", &[], &bytes));
    assert_eq!(got.text(), sum);
}

fn md5sum(bytes: &[u8]) -> String {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), bytes).expect("written");
    let output = std::process::Command::new("md5sum").arg(file.path()).output().expect("md5sum");
    String::from_utf8_lossy(&output.stdout).split(' ').next().expect("a sum").to_string()
}

#[test]
fn a_body_beyond_the_limit_is_refused() {
    let server = serve(&[("a.php", "<?php echo 'ran';")], &["--max-body", "1KiB"]);
    let got = fetch(server.address, &request("POST", "/a.php", &[], &[b'x'; 2000]));
    assert_eq!(got.status, 413);
}

#[test]
fn a_thousand_slow_pages_on_one_thread() {
    let server = serve(
        &[("slow.php", "<?php usleep(500000); echo $_GET['n'];")],
        &["--queue-timeout", "none", "--memory", "4GiB"],
    );
    let begun = Instant::now();
    let streams: Vec<(usize, TcpStream)> =
        (0..1000).map(|n| (n, begin(&server, &request("GET", &format!("/slow.php?n={n}"), &[], b"")))).collect();
    for (n, mut stream) in streams {
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("a response");
        assert!(text.ends_with(&format!("\r\n\r\n{n}")), "{n}: {text}");
    }
    // One after the other it would be 500 s.
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
}

/// Each ends its own request, by PHP's own error, which the log has; shutdown functions run.
#[test]
fn whatever_ends_a_page_leaves_the_others() {
    let mut server = serve(
        &[
            ("memory.php", "<?php ini_set('memory_limit', '8M'); $x = str_repeat('x', 1 << 24);"),
            ("time.php", "<?php set_time_limit(1); while (true);"),
            ("stack.php", "<?php function f() { return array_map('f', [1]); } f();"),
            ("left.php", "<?php (function () { throw new Exception('let out'); })();"),
            ("syntax.php", "<?php (("),
            ("waits.php", "<?php usleep(1500000); echo 'fine';"),
        ],
        &["-d", "auto_prepend_file=bye.inc", "-d", "include_path=."],
    );
    let folder = server.folder().to_path_buf();
    std::fs::write(folder.join("bye.inc"), "<?php register_shutdown_function(fn () => print('bye'));")
        .expect("written");
    let mut others = begin(&server, &request("GET", "/waits.php", &[], b""));
    for (page, said) in [
        ("memory", "Allowed memory size of 8388608 bytes exhausted"),
        ("time", "Maximum execution time of 1 second exceeded"),
        ("stack", "Maximum call stack size of"),
        ("left", "Uncaught Exception: let out"),
    ] {
        let got = get(&server, &format!("/{page}.php"));
        assert_eq!((got.status, got.text().as_str()), (500, "bye"), "{page}");
        assert!(server.wait_for_text(said).contains("  error PHP Fatal error:  "), "{page}");
    }
    assert_eq!(get(&server, "/syntax.php").status, 500);
    server.wait_for_text("error PHP Parse error:  ");
    until(&mut others, "fine");
}

#[test]
fn a_deadline_is_504_and_leaves_the_server() {
    let server = serve(
        &[("long.php", "<?php sleep(20);"), ("spin.php", "<?php while (true);"), ("a.php", "<?php echo 'fine';")],
        &["--deadline", "500ms"],
    );
    for target in ["/long.php", "/spin.php"] {
        let begun = Instant::now();
        assert_eq!(get(&server, target).status, 504, "{target}");
        assert!(begun.elapsed() < Duration::from_secs(10), "{target}: {:?}", begun.elapsed());
        assert_eq!(get(&server, "/a.php").text(), "fine");
    }
}

#[test]
fn a_refused_request_leaves_its_connection_whatever_its_body() {
    let files = [("nap.php", "<?php echo 'begun'; flush(); sleep(60);"), ("a.php", "<?php echo 'never';")];
    let server = serve(&files, &["--fibers", "1", "--queue-timeout", "100ms", "--deadline", "none"]);
    let mut busy = begin(&server, &request("GET", "/nap.php", &[], b""));
    until(&mut busy, "begun");
    let mut client = server.connect();
    for _ in 0..5 {
        // More than the kernel and the server take before anybody asks for it.
        let refused = client.send("PUT", "/a.php", &[], &[b'x'; 500_000]);
        assert_eq!((refused.status, refused.header("connection")), (503, None), "{}", refused.body);
    }
}

/// What overflows the C stack where PHP does not look costs the interpreter, not the server.
#[test]
fn a_crash_is_503_and_leaves_the_server() {
    let crash = "$a = $b = null; for ($i = 0; $i < 100_000; $i++) { $a = [$a]; $b = [$b]; } echo $a == $b;";
    let server = serve(&[("crash.php", &format!("<?php {crash}")), ("a.php", "<?php echo 'fine';")], &[]);
    for _ in 0..2 {
        assert_eq!(get(&server, "/crash.php").status, 503);
        assert_eq!(get(&server, "/a.php").text(), "fine");
    }
}
