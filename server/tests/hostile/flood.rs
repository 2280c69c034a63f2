//! Clients in numbers.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use super::common::{Folder, Server, sidestack};
use super::watch::Watched;

const SLEEPS: &str = "local ss = require 'sidestack'
return function(request)
  if request.path == '/sleep' then ss.sleep(60) end
  if request.path == '/loop' then while true do end end
  return 'ok'
end";

/// Closes with a reset instead of an end.
fn reset(stream: &TcpStream) {
    let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
    nix::sys::socket::setsockopt(stream, nix::sys::socket::sockopt::Linger, &linger).expect("a socket");
}

#[test]
fn connections_that_are_reset_leave_nothing() {
    let watched = Watched::start(SLEEPS, &["--threads", "2", "--deadline", "none"]);
    let sent: [&[u8]; 7] = [
        b"",
        b"GET /sl",
        b"GET /sleep HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /loop HTTP/1.1\r\nhost: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\nhalf",
        b"GET / HTTP/1.1\r\nhost: x\r\n\r\nGET /sleep HTTP/1.1\r\nhost: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel",
    ];
    for round in 0..6 {
        let mut clients: Vec<_> = (0..70).map(|_| watched.server.connect()).collect();
        for (i, client) in clients.iter_mut().enumerate() {
            client.0.get_mut().write_all(sent[i % sent.len()]).expect("sent");
        }
        std::thread::sleep(Duration::from_millis(round * 20));
        for (i, client) in clients.iter().enumerate() {
            match i % 3 {
                0 => reset(client.0.get_ref()),
                1 => drop(client.0.get_ref().shutdown(Shutdown::Both)),
                _ => {}
            }
        }
        drop(clients);
        assert_eq!(watched.server.get("/").status, 200);
    }
    watched.settles();
    assert_eq!(watched.metric("sidestack_interpreters_quarantined_total "), 0);
}

/// More connections than the process may have files: whoever comes first is served, the others wait, nobody is lost.
#[test]
fn too_few_descriptors_are_no_end() {
    let folder = Folder::new();
    let app = folder.script("app.lua", SLEEPS);
    let binary = sidestack();
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "ulimit -n 64 && exec \"$0\" \"$@\""]).arg(binary.get_program()).arg("serve").arg(&app);
    command.args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--quiet", "--threads", "2"]);
    let watched = Watched::of(Server::spawn(command, folder));
    let mut clients: Vec<_> = (0..150).map(|_| watched.server.connect()).collect();
    for client in &mut clients {
        client.write("GET", "/", &[("connection", "close")], b"");
    }
    let mut answered = 0;
    // Each that is answered closes, and makes room for the next.
    for client in &mut clients {
        let mut text = String::new();
        client.0.read_to_string(&mut text).expect("an answer");
        assert!(text.starts_with("HTTP/1.1 200"), "{text:?}");
        answered += 1;
    }
    assert_eq!(answered, 150);
    // And a crowd that sends nothing is waited out.
    let mut idle: Vec<_> = (0..150).map(|_| watched.server.connect()).collect();
    std::thread::sleep(Duration::from_millis(300));
    idle.truncate(10);
    drop(clients);
    assert_eq!(watched.server.get("/").status, 200);
    drop(idle);
    watched.settles();
    assert!(watched.server.stderr().contains("cannot accept a connection"), "{}", watched.server.stderr());
}
