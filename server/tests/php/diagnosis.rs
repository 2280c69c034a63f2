//! What the server tells of its pages while they run and when they are over: fibers, the log, the access log.

use std::time::{Duration, Instant};

use crate::client::{WAITS, get, go, serve};
use crate::common::{LONG, Server};

const INDEX: &str = r#"
$page = function () {
    if ($_SERVER['REQUEST_URI'] === '/slow') { waits(); echo 'slow'; return; }
    error_log('a line of the script');
    trigger_error('take care');
    echo $undefined;
    trigger_error('old', E_USER_DEPRECATED);
    throw new Exception('let out');
};
"#;

fn both(check: impl Fn(Server, &str)) {
    let index = format!("<?php function waits() {{ {WAITS} }} {INDEX}");
    check(serve(&[("index.php", &format!("{index} $page();"))], &["--admin", "127.0.0.1:0"]), "");
    let loops = "while (frankenphp_handle_request($page));";
    let flags = ["--admin", "127.0.0.1:0", "--workers", "1"];
    check(serve(&[("index.php", &format!("{index} {loops}"))], &flags), " (worker 0 of ");
}

/// The fibers' labels, as the admin address tells them.
fn labels(server: &mut Server) -> Vec<String> {
    let admin = server.admin();
    let text = crate::common::Client::to(admin).send("GET", "/fibers", &[], b"").body;
    let report: serde_json::Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}"));
    let fibers = report["fibers"].as_array().expect("fibers").iter();
    fibers.map(|fiber| fiber["label"].as_str().unwrap_or_default().to_string()).collect()
}

#[test]
fn fibers_are_called_by_their_requests() {
    both(|mut server, worker| {
        let address = server.address;
        let client = std::thread::spawn(move || {
            crate::client::fetch(address, &crate::client::request("GET", "/slow", &[], b"")).text()
        });
        let until = |server: &mut Server, good: &dyn Fn(&[String]) -> bool| {
            let begun = Instant::now();
            while !good(&labels(server)) {
                assert!(begun.elapsed() < LONG, "{:?}", labels(server));
                std::thread::sleep(Duration::from_millis(20));
            }
        };
        let slow = format!("GET /slow{worker}");
        until(&mut server, &|labels| labels.iter().any(|label| label.starts_with(&slow)));
        go(&server);
        assert_eq!(client.join().expect("a thread"), "slow");
        let text = server.wait_for_text("waited");
        let line = text.lines().find(|line| line.contains("GET    /slow")).unwrap_or_else(|| panic!("{text}"));
        assert!(line.contains("200") && line.contains("waited "), "{line}");
        until(&mut server, &|labels| labels.iter().all(|label| !label.contains("/slow")));
    });
}

#[test]
fn phps_log_is_the_servers() {
    both(|mut server, worker| {
        assert_eq!(get(&server, "/fails").status, 500);
        let text = server.wait_for_text("let out");
        let line =
            |part: &str| text.lines().find(|line| line.contains(part)).unwrap_or_else(|| panic!("{part}: {text}"));
        for (level, message) in [
            ("info ", "a line of the script"),
            ("info ", "PHP Notice:  take care in "),
            ("warn ", "PHP Warning:  Undefined variable $undefined in "),
            ("info ", "PHP Deprecated:  old in "),
        ] {
            let line = line(message);
            assert!(line.starts_with(&format!("  {level} {message}")), "{line}");
            assert!(line.contains("  fiber=") && line.contains(&format!("  GET /fails{worker}")), "{line}");
        }
        let fatal = line("Uncaught Exception: let out");
        assert!(fatal.starts_with("  error PHP Fatal error:  "), "{fatal}");
    });
}
