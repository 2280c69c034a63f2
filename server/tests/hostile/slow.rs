//! Clients that take their time.

use std::io::Write;
use std::time::{Duration, Instant};

use super::common::Client;
use super::watch::{Watched, rest, statuses};

const ECHO: &str = "return function(request)
  if request.path == '/large' then return ('x'):rep(1 << 20):rep(16) end
  return request.body
end";

/// What the system of a slow client takes.
const ROOM: usize = 64 << 10;

/// Short for a client, and long for one that is not slow on purpose.
const PATIENT: [&str; 4] = ["--client-timeout", "1500ms", "--deadline", "2s"];

#[test]
fn half_a_head_is_not_waited_for() {
    let watched = Watched::start(ECHO, &PATIENT);
    for half in ["", "GET", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nhost: x\r\nx-half: "] {
        let mut client = watched.server.connect();
        client.0.get_mut().write_all(half.as_bytes()).expect("sent");
        let begun = Instant::now();
        let text = rest(&mut client);
        assert!(text.is_empty() || statuses(&text) == [408], "{half:?}: {text}");
        let took = begun.elapsed();
        assert!(took > Duration::from_millis(300) && took < Duration::from_secs(20), "{half:?}: {took:?}");
    }
    watched.settles();
}

#[test]
fn a_head_that_trickles_has_no_more_time_than_others() {
    let watched = Watched::start(ECHO, &PATIENT);
    let mut clients: Vec<_> = (0..50).map(|_| watched.server.connect()).collect();
    let begun = Instant::now();
    let head = format!("GET / HTTP/1.1\r\nhost: x\r\nx-slow: {}", "y".repeat(1000));
    for byte in head.bytes() {
        // Whoever is closed is gone.
        clients.retain_mut(|client| client.0.get_mut().write_all(&[byte]).is_ok());
        if clients.is_empty() {
            break;
        }
        // Others are served meanwhile.
        assert_eq!(watched.server.get("/").status, 200);
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(clients.is_empty() && begun.elapsed() < Duration::from_secs(20), "{} are left", clients.len());
    watched.settles();
}

#[test]
fn a_body_that_trickles_is_a_408() {
    let watched = Watched::start(ECHO, &PATIENT);
    let begun = Instant::now();
    let mut client = watched.server.connect();
    client.0.get_mut().write_all(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n").expect("sent");
    let mut writer = client.0.get_ref().try_clone().expect("a stream");
    let trickle = std::thread::spawn(move || {
        while writer.write_all(b"b").is_ok() && begun.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    assert_eq!(client.read("POST").status, 408);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    drop(client);
    trickle.join().expect("it ends");
    watched.settles();
}

#[test]
fn who_does_not_read_is_let_go() {
    // On a busy machine the script has to have the time that it takes to make such an answer.
    let watched = Watched::start(ECHO, &["--client-timeout", "500ms"]);
    let answered = |_| {
        let mut client = Client::with_room_for(ROOM, watched.server.address);
        client.write("GET", "/large", &[], b"");
        let mut begins = [0; 12];
        let seen = client.0.get_ref().peek(&mut begins).expect("its answer begins");
        assert_eq!(String::from_utf8_lossy(&begins[..seen]), "HTTP/1.1 200");
        client
    };
    let clients: Vec<_> = (0..4).map(answered).collect();
    // Its connection is gone while the client still holds its end and reads nothing.
    watched.settles();
    for mut client in clients {
        let got = rest(&mut client).len();
        assert!(got < 16 << 20, "{got} bytes: the whole answer fitted on the way");
    }
}

/// What is on its way to a slow client is not lost when the connection has to be closed while the client sends.
#[test]
fn who_reads_late_has_all_answers() {
    let watched = Watched::start(ECHO, &["--max-body", "1KiB"]);
    let mut client = Client::with_room_for(ROOM, watched.server.address);
    client.write("GET", "/large", &[], b"");
    client.write("POST", "/", &[], &[b'x'; 200_000]);
    std::thread::sleep(Duration::from_millis(300));
    let large = client.read("GET");
    assert_eq!((large.status, large.body.len()), (200, 16 << 20));
    assert_eq!(client.read("POST").status, 413);
    assert_eq!(rest(&mut client), "");
    drop(client);
    watched.settles();
}

#[test]
fn a_kept_connection_ends_when_it_is_not_used() {
    let watched = Watched::start(ECHO, &PATIENT);
    let mut client = watched.server.connect();
    assert_eq!(client.send("POST", "/", &[], b"kept").body, "kept");
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(client.send("POST", "/", &[], b"again").body, "again");
    assert_eq!(rest(&mut client), "");
    watched.settles();
}
