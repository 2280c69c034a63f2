//! The example application, every route of it, on one thread.

mod common;

use std::path::Path;
use std::time::{Duration, Instant};

use common::{Folder, Server};

#[test]
fn every_route_answers() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/app.lua");
    let mut server = Server::start_at(&path, &["--threads", "1"], Folder::new());
    let host = server.address.to_string();
    let get = |target: &str, status: u16| {
        let mut client = server.connect();
        let text = format!("GET {target} HTTP/1.1\r\nhost: {host}\r\n\r\n");
        std::io::Write::write_all(client.0.get_mut(), text.as_bytes()).expect("sent");
        let response = client.read("GET");
        assert_eq!(response.status, status, "{target}: {}", response.body);
        response.body
    };
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");

    let routes = get("/", 200);
    assert_eq!(routes.lines().count(), 11, "a route has no test below: {routes}");
    assert_eq!(get("/hello?name=Ada", 200), "hello Ada\n");
    assert_eq!(json(&get("/echo?a=1", 200))["query"]["a"], "1");
    let sum = server.connect().send("POST", "/sum", &[], b"[1, 2, 3.5]");
    assert_eq!(json(&sum.body), serde_json::json!({ "sum": 6.5, "count": 3 }));
    assert_eq!(server.connect().send("POST", "/sum", &[], b"{").status, 400);
    assert_eq!(get("/sleep?s=0.01", 200), "slept 0.01 s\n");
    let begun = Instant::now();
    assert_eq!(json(&get("/fan-out?n=50", 200))["count"], 50);
    assert!(begun.elapsed() < Duration::from_secs(9), "50 naps of 0.2 s took {:?}", begun.elapsed());
    assert_eq!(json(&get("/timeout", 200))["code"], "timeout");
    assert_eq!(json(&get("/pipeline?n=20", 200))["sum_of_squares"], 2870);
    let mut clients: Vec<_> = (0..30).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(|client| client.write("GET", "/visits", &[], b""));
    let last = clients.iter_mut().map(|client| json(&client.read("GET").body)["visits"].as_i64()).max();
    assert_eq!(last, Some(Some(30)));
    assert_eq!(get("/later?name=Ada", 202), "it will be sent\n");
    assert!(get("/nowhere", 404).contains("/nowhere"));
    server.wait_for_text(r#"a letter was sent  {"to":"Ada"}"#);
}
