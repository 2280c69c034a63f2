//! The admin address, `sidestack fibers`, SIGQUIT, the queue's limits and `--max-requests`.

mod common;

use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::{Client, Folder, LONG, Server, burst_is_counted, metric, metric_becomes, sidestack};
use nix::sys::signal::Signal;

const ADMIN: [&str; 4] = ["--admin", "127.0.0.1:0", "--deadline", "none"];

/// `/block` holds its interpreter in C, where no tick reaches it, until there is a file.
const STATES: &str = "local ss = require 'sidestack'
return function(request)
  if request.path == '/wait' then
    ss.sleep(60)
  elseif request.path == '/loop' then
    while true do
    end
  elseif request.path == '/block' then
    io.popen('until [ -e ' .. request.query['until'] .. ' ]; do sleep 0.05; done'):read('a')
  end
  return 'ok'
end";

fn start(script: &str, flags: &[&str]) -> (Server, SocketAddr) {
    let mut server = Server::start(script, &[&ADMIN[..], flags].concat());
    let admin = server.admin();
    (server, admin)
}

/// Asks for `/block`; the file that ends it.
fn block(server: &Server, client: &mut Client) -> PathBuf {
    let go = server.folder().join("go");
    client.write("GET", &format!("/block?until={}", go.display()), &[], b"");
    go
}

fn ask(admin: SocketAddr, path: &str) -> common::Response {
    Client::to(admin).send("GET", path, &[], b"")
}

/// What `sidestack fibers` prints.
fn fibers(admin: SocketAddr, flags: &[&str]) -> String {
    let out = sidestack().args(["fibers", "--admin", &admin.to_string()]).args(flags).output().expect("a run");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).expect("text")
}

/// Asks until `good` is true of the table.
fn fibers_until(admin: SocketAddr, good: impl Fn(&str) -> bool) -> String {
    let begun = Instant::now();
    loop {
        let text = fibers(admin, &[]);
        if good(&text) {
            return text;
        }
        assert!(begun.elapsed() < LONG, "{text}");
    }
}

/// The line of a label, in words.
fn line<'a>(table: &'a str, label: &str) -> Vec<&'a str> {
    let line = table.lines().find(|line| line.ends_with(label)).unwrap_or_else(|| panic!("no {label} in\n{table}"));
    line.split_whitespace().collect()
}

#[test]
fn a_waiting_and_a_looping_script_are_shown_with_their_lines() {
    let (mut server, admin) = start(STATES, &["--threads", "1"]);
    let (mut waits, mut loops) = (server.connect(), server.connect());
    waits.write("GET", "/wait?secret=1", &[], b"");
    fibers_until(admin, |table| table.contains("waiting"));
    loops.write("GET", "/loop", &[], b"");
    let table = fibers_until(admin, |table| table.contains("/wait") && table.contains("running"));
    assert_eq!(
        table.lines().next().map(|head| head.split_whitespace().collect::<Vec<_>>()).expect("a head").join(" "),
        "ID STATE AGE WAITS FOR AT LABEL"
    );
    let waiting = line(&table, "GET /wait");
    assert_eq!((waiting[1], waiting[3], waiting[4]), ("waiting", "sleep", "app.lua:4"), "{table}");
    let looping = line(&table, "GET /loop");
    assert_eq!((looping[1], looping[3]), ("running", "-"), "{table}");
    assert!(["app.lua:6", "app.lua:7"].contains(&looping[4]), "{table}");
    assert!(table.contains("2 fibers; 1 interpreter; 0 queued"), "{table}");
    // The same as JSON, and on SIGQUIT.
    let json: serde_json::Value = serde_json::from_str(&fibers(admin, &["--json"])).expect("JSON");
    let first = &json["fibers"][0];
    assert_eq!((&first["label"], &first["state"]), (&"GET /wait".into(), &"waiting".into()), "{json}");
    assert_eq!((&first["waits_for"], &first["at"]), (&"sidestack.core.sleep".into(), &"app.lua:4".into()), "{json}");
    assert_eq!((&first["guest"], &json["interpreters"]), (&"Lua 5.4".into(), &1.into()), "{json}");
    server.signal(Signal::SIGQUIT);
    let text = server.wait_for_text("2 fibers; 1 interpreter");
    assert_eq!(line(&text, "GET /wait")[4], "app.lua:4");
    assert!(server.is_running());
}

#[test]
fn an_interpreter_that_hangs_in_c_is_shown_with_who_holds_it() {
    let (mut server, admin) = start(STATES, &["--threads", "1", "--allow", "io"]);
    let (mut waits, mut blocks) = (server.connect(), server.connect());
    waits.write("GET", "/wait", &[], b"");
    fibers_until(admin, |table| table.contains("waiting"));
    let go = block(&server, &mut blocks);
    let table = fibers_until(admin, |table| table.contains("held"));
    let blocking = line(&table, "GET /block");
    assert_eq!((blocking[1], &blocking[4][..5], blocking[6]), ("running", "(held", "app.lua:9"), "{table}");
    assert_eq!(line(&table, "GET /wait")[1], "unknown", "{table}");
    server.signal(Signal::SIGQUIT);
    assert!(server.wait_for_text("(held").contains("GET /block"));
    assert_eq!(ask(admin, "/healthz").status, 200);
    // Then it goes on, and all is known again.
    std::fs::write(go, "").expect("written");
    assert_eq!(blocks.read("GET").body, "ok");
    let table = fibers_until(admin, |table| line(table, "GET /wait")[1] == "waiting");
    assert!(!table.contains("/block"), "{table}");
}

/// What `sidestack fibers` prints of a server that is found by its socket, and its status.
fn by_socket(server: &Server, flags: &[&str]) -> (bool, String) {
    let process = server.process().to_string();
    let out = sidestack().args(["fibers", "--pid", &process]).args(flags).output().expect("a run");
    (out.status.success(), String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned())
}

#[test]
fn a_server_is_found_by_its_socket_and_shows_whole_stacks() {
    let script = "local ss = require 'sidestack'
local function wait()
  ss.sleep(60)
  return true
end
return function()
  coroutine.wrap(function()
    return not wait()
  end)()
  return 'ok'
end";
    let server = Server::start(script, &["--threads", "1", "--deadline", "none"]);
    let mut waits = server.connect();
    waits.write("GET", "/", &[], b"");
    let begun = Instant::now();
    let table = loop {
        let (good, text) = by_socket(&server, &["--stacks"]);
        assert!(good && begun.elapsed() < LONG, "{text}");
        if text.contains("waiting") {
            break text;
        }
    };
    for frame in [
        "luaV_execute",
        "sslua_entry",
        "script app.lua:3 in function <app.lua:2>",
        "script app.lua:8 in ",
        "script app.lua:9 in ",
    ] {
        assert!(table.contains(frame), "no {frame} in\n{table}");
    }
    let json: serde_json::Value = serde_json::from_str(&by_socket(&server, &["--stacks", "--json"]).1).expect("JSON");
    let stack = json["fibers"][0]["stack"].as_array().expect("a stack");
    assert!(stack.iter().any(|frame| frame.as_str().is_some_and(|frame| frame.contains("script app.lua:8"))), "{json}");
    // One that ends takes its socket away.
    let process = server.process();
    let socket = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("sidestack/{process}.sock"));
    assert!(socket.exists());
    server.signal(Signal::SIGTERM);
    server.signal(Signal::SIGTERM);
    assert!(server.wait().0.code().is_some());
    assert!(!socket.exists());
    let out = sidestack().args(["fibers", "--pid", &process.to_string()]).output().expect("a run");
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert!(!out.status.success() && stderr.contains("no server of this user is process"), "{stderr}");
}

#[test]
fn a_fiber_is_ended_by_hand() {
    let (server, admin) = start(STATES, &["--threads", "1"]);
    for path in ["/wait", "/loop"] {
        let mut client = server.connect();
        client.write("GET", path, &[], b"");
        let table = fibers_until(admin, |table| table.contains(path));
        let id = line(&table, &format!("GET {path}"))[0].to_string();
        let (good, text) = by_socket(&server, &["--kill", &id]);
        assert!(good && text == format!("fiber {id}: it is being ended\n"), "{text}");
        let response = client.read("GET");
        assert_eq!((response.status, response.body.as_str()), (503, "cancelled\n"));
        let (good, text) = by_socket(&server, &["--kill", &id]);
        assert!(!good && text.contains("there is no such fiber"), "{text}");
    }
    // Pages in a browser cannot.
    let refused = Client::to(admin).send("POST", "/fibers/1/cancel", &[("origin", "http://evil.test")], b"");
    assert_eq!(refused.status, 403);
    assert_eq!(Client::to(admin).send("POST", "/fibers/x/cancel", &[], b"").status, 404);
    assert_eq!(server.get("/").body, "ok");
}

#[test]
fn a_request_does_not_wait_for_an_interpreter_that_hangs() {
    let flags = ["--threads", "1", "--allow", "io", "--queue-timeout", "300ms"];
    let (server, admin) = start(STATES, &flags);
    let mut blocks = server.connect();
    let go = block(&server, &mut blocks);
    fibers_until(admin, |table| table.contains("/block"));
    let begun = Instant::now();
    let refused = server.get("/");
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")), "{}", refused.body);
    assert!(begun.elapsed() > Duration::from_millis(300));
    std::fs::write(go, "").expect("written");
    assert_eq!(blocks.read("GET").body, "ok");
    assert_eq!(server.get("/").body, "ok");
}

/// Scenario D5.
#[test]
fn a_burst_gets_503_after_the_queue_timeout_and_the_metrics_agree() {
    let flags = ["--threads", "1", "--fibers", "2", "--queue", "20", "--queue-timeout", "500ms"];
    let (server, admin) =
        start("local ss = require 'sidestack' return function() ss.sleep(0.3) return 'ok' end", &flags);
    let mut clients: Vec<_> = (0..40).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(|client| client.write("GET", "/", &[], b""));
    let answers: Vec<_> = clients.iter_mut().map(|client| client.read("GET")).collect();
    let count = |part: &str| answers.iter().filter(|answer| answer.body.contains(part)).count();
    let (full, late) = (count("too many requests are waiting"), count("no interpreter was free in time"));
    assert!(
        answers.iter().filter(|answer| answer.status == 503).all(|answer| answer.header("retry-after") == Some("1"))
    );
    let of = |status| answers.iter().filter(|answer| answer.status == status).count();
    assert!(of(200) >= 2 && full >= 10 && late >= 10, "{} answered, {full} full, {late} late", of(200));
    assert_eq!((of(200) + of(503), full + late), (40, of(503)));
    burst_is_counted(admin, of(200), full, late);
}

#[test]
fn the_queue_is_shown() {
    let (server, admin) = start(STATES, &["--threads", "1", "--fibers", "1"]);
    let (mut first, mut second) = (server.connect(), server.connect());
    first.write("GET", "/wait", &[], b"");
    fibers_until(admin, |table| table.contains("waiting"));
    second.write("GET", "/wait/too", &[], b"");
    let table = fibers_until(admin, |table| table.contains("queued  "));
    assert_eq!(line(&table, "GET /wait/too")[..2], ["-", "queued"], "{table}");
    assert!(table.contains("1 fiber; 1 interpreter; 1 queued"), "{table}");
    metric_becomes(admin, "sidestack_fibers", 1.0);
    metric_becomes(admin, "sidestack_calls_queued", 1.0);
}

/// Each thing that may go wrong has its line, moved or not; the answer to who runs into a limit names it.
#[test]
fn each_failure_has_a_line() {
    let script = "local ss = require 'sidestack'
         local does = {
           ['/deep'] = function() local function f() return (('x'):gsub('x', f)) end return f() end,
           ['/spin'] = function() while true do end end,
           ['/keep'] = function() local ch = ss.channel() while true do ch:send(('x'):rep(100000)) end end,
         }
         return function(request) return does[request.path]() end";
    let flags = ["--threads", "1", "--cpu", "200ms", "--memory", "16MiB", "--stack", "128KiB"];
    let (server, admin) = start(script, &flags);
    for (path, status, kind, text) in [
        ("/none", 500, "script_error", "internal server error (id "),
        (
            "/deep",
            500,
            "stack",
            "the script recursed too deep: stack limit of 131072 bytes reached (setting: stack) (id ",
        ),
        ("/spin", 504, "cpu", "deadline exceeded: cpu limit of 200 ms reached (setting: cpu) (id "),
        ("/keep", 503, "memory", "out of memory: memory limit of 16777216 bytes reached (setting: memory) (id "),
    ] {
        let answer = server.get(path);
        assert!(answer.status == status && answer.body.starts_with(text), "{path}: {} {}", answer.status, answer.body);
        assert_eq!(metric(admin, &format!("sidestack_failures_total{{kind=\"{kind}\"}}")), 1.0, "{path}");
    }
    let metrics = ask(admin, "/metrics").body;
    let lines: Vec<_> = metrics.lines().filter(|line| line.starts_with("sidestack_failures_total{kind=")).collect();
    assert_eq!(lines.len(), 25, "{lines:#?}");
    let moved = lines.iter().filter(|line| !line.ends_with(" 0")).count();
    assert_eq!(moved, 4, "{lines:#?}");
}

#[test]
fn the_admin_address_answers_what_it_says() {
    let (server, admin) = start("return function() error { code = 'mine' } end", &[]);
    assert_eq!(server.get("/").status, 500);
    let metrics = ask(admin, "/metrics");
    assert!(metrics.header("content-type").expect("a type").starts_with("application/openmetrics-text"));
    assert!(metrics.body.ends_with("# EOF\n") && metrics.body.contains("# HELP sidestack_fibers"), "{}", metrics.body);
    let types = metrics.body.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let families: Vec<_> = types.map(|line| line.split(' ').next()).collect();
    let different: HashSet<_> = families.iter().collect();
    assert_eq!(different.len(), families.len(), "each once: {families:?}");
    // A script's own codes do not become labels.
    assert_eq!(metric(admin, "sidestack_errors_total{kind=\"script\"}"), 1.0);
    assert_eq!(ask(admin, "/healthz").body, "ok\n");
    assert_eq!(ask(admin, "/other").status, 404);
    assert_eq!(Client::to(admin).send("PUT", "/metrics", &[], b"x").status, 405);
    assert_eq!(server.get("/metrics").status, 500, "the application's address knows nothing of it");
}

#[test]
fn interpreters_are_replaced_and_no_request_is_lost() {
    let script = "local ss = require 'sidestack'
        local count = 0
        return function()
          count = count + 1
          local mine = count
          ss.sleep(0.002)
          return tostring(mine)
        end";
    let (server, admin) = start(script, &["--threads", "2", "--max-requests", "20", "--quiet"]);
    let most = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = server.connect();
                    let one = |_| {
                        let answer = client.send("GET", "/", &[], b"");
                        assert_eq!(answer.status, 200, "{}", answer.body);
                        answer.body.parse::<u32>().expect("a count")
                    };
                    (0..100).map(one).max().expect("some")
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().expect("answers")).max().expect("some")
    });
    // Calls that run when the number is reached are fewer than there are clients.
    assert!((20..=28).contains(&most), "{most} calls of one incarnation");
    assert!(metric(admin, "sidestack_interpreters_recycled_total") >= 25.0);
    assert_eq!(metric(admin, "sidestack_interpreters_quarantined_total"), 0.0);
    metric_becomes(admin, "sidestack_requests_total{status=\"200\"}", 800.0);
}

#[test]
fn tasks_in_the_background_keep_their_interpreter() {
    let script = "local ss = require 'sidestack'
        return function(request)
          ss.background(function() ss.sleep(0.02) ss.log.info('task ' .. request.query.n .. ' ended') end)
          return 'ok'
        end";
    let (mut server, admin) = start(script, &["--threads", "1", "--max-requests", "1"]);
    for n in 0..10 {
        assert_eq!(server.get(&format!("/?n={n}")).body, "ok");
    }
    for n in 0..10 {
        server.wait_for_text(&format!("task {n} ended"));
    }
    assert!(metric(admin, "sidestack_interpreters_recycled_total") >= 5.0);
}

/// Scenario B4, where the first request is the last of its interpreter.
#[test]
fn a_request_that_waits_for_a_request_ends_all_the_same() {
    let script = "local ss = require 'sidestack'
        return function(request)
          if request.path == '/inner' then return 'inner' end
          return 'outer ' .. ss.http.get('http://' .. request.headers.to .. '/inner').body
        end";
    let (server, admin) = start(script, &["--threads", "1", "--max-requests", "1"]);
    let to = server.address.to_string();
    assert_eq!(server.connect().send("GET", "/", &[("to", &to)], b"").body, "outer inner");
    metric_becomes(admin, "sidestack_requests_total{status=\"200\"}", 2.0);
}

#[test]
fn watching_goes_on_until_nobody_reads() {
    let (_server, admin) = start(STATES, &[]);
    let mut child = sidestack()
        .args(["fibers", "--watch", "--admin", &admin.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let heads = lines.by_ref().take(4).filter(|line| line.as_ref().expect("text").contains("WAITS FOR")).count();
    assert_eq!(heads, 2);
    drop(lines);
    assert!(common::wait(&mut child, LONG).success());
}

#[test]
fn what_is_wrong_is_said() {
    let server = Server::start("return function() return 'not JSON' end", &[]);
    let run = |args: &[&str]| {
        let out = sidestack().args(args).output().expect("a run");
        (out.status.code(), String::from_utf8_lossy(&out.stderr).into_owned())
    };
    let address = server.address.to_string();
    let (status, stderr) = run(&["fibers", "--admin", &address]);
    assert!(status == Some(1) && stderr.contains("is not a server's admin address"), "{stderr}");
    // A port that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    let (status, stderr) = run(&["fibers", "--admin", &free.to_string()]);
    assert_eq!(status, Some(1), "{stderr}");
    for part in ["no server's admin address is at", "sidestack serve --admin", "Connection refused"] {
        assert!(stderr.contains(part), "no {part:?} in {stderr}");
    }
    let folder = Folder::new();
    let path = folder.script("app.lua", "return function() return 'ok' end");
    let path = path.to_str().expect("text");
    for (flags, status, part) in [
        (["--queue-timeout", "5"], 2, "5s"),
        (["--queue-timeout", "0s"], 2, "`none`"),
        (["--max-requests", "0"], 2, "1.."),
        (["--max-requests", "many"], 2, "--max-requests"),
        (["--queue", "long"], 2, "--queue"),
        (["--admin", "nowhere"], 1, "cannot listen on `nowhere`"),
        (["--admin", &address], 1, "choose another with --admin"),
    ] {
        let (code, stderr) = run(&["serve", path, "--listen", "127.0.0.1:0", flags[0], flags[1]]);
        assert!(code == Some(status) && stderr.contains(part), "{flags:?}: {code:?} {stderr}");
    }
}

#[test]
fn help_mentions_all() {
    let help = |command: &str| {
        let out = sidestack().args([command, "--help"]).output().expect("a run");
        String::from_utf8(out.stdout).expect("text")
    };
    let serve = help("serve");
    for part in
        ["--admin", "--queue ", "--queue-timeout", "--max-requests", "/metrics", "/fibers", "/healthz", "SIGQUIT"]
    {
        assert!(serve.contains(part), "no {part:?} in\n{serve}");
    }
    let fibers = help("fibers");
    for part in
        ["--admin", "--json", "--watch", "SIDESTACK_ADMIN", "--stacks", "--kill", "--pid", "XDG_RUNTIME_DIR", "SIGQUIT"]
    {
        assert!(fibers.contains(part), "no {part:?} in\n{fibers}");
    }
}
