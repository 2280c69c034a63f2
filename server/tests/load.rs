//! Many connections, by `wrk`.

mod common;

use std::process::Command;

use common::Server;

#[test]
fn wrk_sees_no_error_on_256_connections() {
    if Command::new("wrk").arg("-v").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "wrk is missing, and CI must run this test");
        eprintln!("SKIPPED: wrk is not installed");
        return;
    }
    for flags in [&[][..], &["--quiet"]] {
        let server = Server::start("return function(request) return 'hello ' .. request.path end", flags);
        let url = format!("http://{}/world", server.address);
        let out = Command::new("wrk")
            .args(["-t2", "-c256", "-d5s", "--timeout", "20s", "--latency", &url])
            .output()
            .expect("wrk");
        let text = String::from_utf8_lossy(&out.stdout);
        eprintln!("{flags:?}\n{text}");
        assert!(out.status.success() && text.contains("Requests/sec"), "{text}");
        assert!(!text.contains("Socket errors") && !text.contains("Non-2xx"), "{text}");
        assert_eq!(server.get("/").status, 200);
    }
}
