//! `sidestack serve`, seen by its clients.

mod common;

use std::time::{Duration, Instant};

use common::{Folder, LONG, Server, metric_becomes, sidestack};

#[test]
fn says_hello_and_where() {
    let server = Server::start("return function(request) return 'hello ' .. request.path end", &["--threads", "2"]);
    let response = server.get("/world");
    assert_eq!((response.status, response.body.as_str()), (200, "hello /world"));
    assert_eq!(response.header("content-type"), Some("text/plain; charset=utf-8"));
    let text = server.stderr();
    assert!(text.contains("Sidestack 0.1 · Lua 5.4 · 2 interpreters · deadline 30s · memory 64 MiB each"), "{text}");
    assert!(!text.contains('\x1b'), "colour in a pipe: {text:?}");
}

#[test]
fn one_line_per_request_unless_quiet() {
    let mut server = Server::start("return function() return {status = 404, body = 'no'} end", &[]);
    server.get("/nope");
    let text = server.wait_for_text("/nope");
    let line = text.lines().find(|line| line.contains("/nope")).expect("a line");
    assert!(line.trim_start().starts_with("GET") && line.contains("404") && line.trim_end().ends_with("ms"), "{line}");
    let mut server = Server::start("return function() error('x') end", &["--quiet"]);
    server.get("/quiet");
    let text = server.wait_for_text("error[script]");
    assert!(!text.lines().any(|line| line.starts_with("  GET")), "{text}");
}

const ECHO: &str = r#"
return function(request)
  return { body = {
    method = request.method, path = request.path, target = request.target, query = request.query,
    query_string = request.query_string, accept = request.headers.accept, header = request.headers["x-test"],
    body = request.body, size = #request.body, local_client = request.remote:match("^127.0.0.1:%d+$") ~= nil,
  } }
end"#;

#[test]
fn the_script_sees_the_whole_request() {
    let server = Server::start(ECHO, &[]);
    let headers = [("X-Test", "one"), ("X-Test", "two"), ("Accept", "*/*")];
    let response = server.connect().send("POST", "/a%20b?x=1&x=2&y=%C3%BC", &headers, b"the body");
    assert_eq!(response.header("content-type"), Some("application/json"));
    let seen: serde_json::Value = serde_json::from_str(&response.body).expect("JSON");
    assert_eq!(
        seen,
        serde_json::json!({
            "method": "POST", "path": "/a b", "target": "/a%20b?x=1&x=2&y=%C3%BC", "query": { "x": "1", "y": "ü" },
            "query_string": "x=1&x=2&y=%C3%BC", "accept": "*/*", "header": "one, two", "body": "the body", "size": 8,
            "local_client": true,
        })
    );
}

#[test]
fn bodies_are_bytes_in_both_directions() {
    let server = Server::start(
        "return function(request) return { headers = { ['x-sum'] = request.body:byte(1) + request.body:byte(-1) },
           body = request.body:reverse() } end",
        &[],
    );
    let body: Vec<u8> = (0..=255).cycle().take(1_000_000).collect();
    let mut client = server.connect();
    client.write("PUT", "/", &[], &body);
    let response = client.read("HEAD");
    assert_eq!(response.header("content-length"), Some("1000000"));
    let sum = u32::from(body[0]) + u32::from(*body.last().expect("bytes"));
    assert_eq!(response.header("x-sum"), Some(sum.to_string().as_str()));
    let mut back = vec![0; body.len()];
    std::io::Read::read_exact(&mut client.0, &mut back).expect("the body");
    back.reverse();
    assert!(back == body);
}

#[test]
fn a_response_may_be_a_table() {
    let server = Server::start(
        "return function(request)
           if request.path == '/gone' then return nil end
           if request.path == '/moved' then return { status = 302, headers = { location = '/there' } } end
           if request.path == '/cached' then return { status = 304, headers = { etag = '\"x\"' }, body = 'never sent' } end
           if request.path == '/list' then return { body = { 1, 2.5, 'x', true } } end
           return { status = 201, headers = { ['Content-Type'] = 'text/html', ['Set-Cookie'] = { 'a=1', 'b=2' }, ['X-N'] = 7 },
             body = '<p>' }
         end",
        &[],
    );
    let mut client = server.connect();
    let made = client.send("GET", "/", &[], b"");
    assert_eq!((made.status, made.body.as_str(), made.header("content-type")), (201, "<p>", Some("text/html")));
    assert_eq!(made.headers.iter().filter(|(name, _)| name == "set-cookie").count(), 2);
    assert_eq!(made.header("x-n"), Some("7"));
    assert_eq!(client.send("GET", "/gone", &[], b"").status, 204);
    let moved = client.send("GET", "/moved", &[], b"");
    assert_eq!((moved.status, moved.header("location")), (302, Some("/there")));
    // Read as one without a body: were there one, the next response would begin with it.
    let cached = client.send("HEAD", "/cached", &[], b"");
    assert_eq!((cached.status, cached.header("etag")), (304, Some("\"x\"")));
    assert_eq!(client.send("GET", "/list", &[], b"").body, r#"[1,2.5,"x",true]"#);
}

#[test]
fn head_has_the_headers_and_no_body() {
    let server = Server::start("return function(request) return request.method .. ' body' end", &[]);
    let mut client = server.connect();
    let head = client.send("HEAD", "/", &[], b"");
    assert_eq!((head.status, head.header("content-length")), (200, Some("9")));
    assert_eq!(client.send("GET", "/", &[], b"").body, "GET body");
}

#[test]
fn an_answer_that_is_none_is_a_500_that_says_why_in_the_log() {
    let mut server = Server::start(
        "return function(request)
           local answers = {
             ['/status'] = { status = 1000 }, ['/key'] = { stauts = 200 }, ['/number'] = 7,
             ['/header'] = { headers = { ['a\\nb'] = 'c' } }, ['/value'] = { headers = { a = 'b\\r\\nSet-Cookie: x' } },
             ['/function'] = { body = { f = print } },
           }
           return answers[request.path]
         end",
        &[],
    );
    for (target, why) in [
        ("/status", "1000"),
        ("/key", "`stauts`"),
        ("/number", "a response: a string, or a table"),
        ("/header", "is no header name"),
        ("/value", "\"a\""),
        ("/function", "JSON"),
    ] {
        let response = server.get(target);
        assert_eq!(response.status, 500, "{target}");
        assert!(!response.body.contains(why), "{}", response.body);
        server.wait_for_text(&format!("GET {target}"));
        server.wait_for_text(why);
    }
}

#[test]
fn a_script_error_is_a_500_with_an_id_and_a_report() {
    const SCRIPT: &str = "local function title(row)\n  return row.title\nend\nreturn function(request)\n  local x = title(nil)\n  return x\nend";
    let mut server = Server::start(SCRIPT, &[]);
    let response = server.get("/notes/7");
    assert_eq!(response.status, 500);
    assert!(!response.body.contains("title"), "{}", response.body);
    let id = response.body.split("id ").nth(1).and_then(|rest| rest.get(..8)).expect("an id").to_string();
    let text = server.wait_for_text("  GET    /notes/7");
    for part in [
        "error[script] attempt to index a nil value (local 'row')",
        "┌ app.lua:2   GET /notes/7",
        &id,
        "│ 2     return row.title",
        "   fiber ",
        "└ called from app.lua:5 in function <app.lua:4>",
    ] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    let server = Server::start(SCRIPT, &["--dev"]);
    let body = server.get("/").body;
    assert!(body.contains("local 'row'") && body.contains("app.lua:5"), "{body}");
}

#[test]
fn the_log_tells_what_a_request_waited_for() {
    let script = "local ss = require 'sidestack'
return function(request)
  if request.path == '/group' then
    ss.group(function(g)
      for _ = 1, 4 do g:spawn(function() ss.sleep(0.05) end) end
    end)
  elseif request.path == '/fails' then
    ss.sleep(0.05)
    error('it broke')
  end
  return 'ok'
end";
    let mut server = Server::start(script, &["--threads", "1"]);
    server.get("/none");
    let line = |server: &mut Server, path: &str| {
        let text = server.wait_for_text(&format!("  GET    {path} "));
        text.lines().find(|line| line.contains(path) && line.contains("GET    ")).expect("a line").to_string()
    };
    assert!(!line(&mut server, "/none").contains("host call"));
    // The group, four times spawn and sleep.
    server.get("/group");
    let text = line(&mut server, "/group");
    assert!(text.contains("  9 host calls, waited "), "{text}");
    let waited = text.split("waited ").nth(1).and_then(|rest| rest.trim().strip_suffix("ms")).expect("a time");
    assert!(waited.parse::<f64>().is_ok_and(|waited| waited >= 50.0), "{text}");
    server.get("/fails");
    let text = line(&mut server, "/fails");
    assert!(text.contains(" 500 ") && text.contains("1 host call, waited "), "{text}");
    let report = server.stderr();
    assert!(report.contains("│ 9       error('it broke')\n    └ host sleep ("), "{report}");
}

#[test]
fn a_deadline_is_a_504_whatever_the_script_does() {
    let server = Server::start(
        "local ss = require 'sidestack'
         return function(request)
           if request.path == '/sleep' then ss.sleep(60) end
           if request.path == '/loop' then while true do end end
           if request.path == '/catch' then while true do pcall(ss.sleep, 60) end end
           return 'ok'
         end",
        &["--deadline", "1s", "--threads", "1"],
    );
    for target in ["/sleep", "/loop", "/catch"] {
        let begun = Instant::now();
        assert_eq!(server.get(target).status, 504, "{target}");
        assert!(begun.elapsed() < Duration::from_secs(20), "{target} took {:?}", begun.elapsed());
        assert_eq!(server.get("/").body, "ok");
    }
}

#[test]
fn too_much_memory_is_a_503() {
    let server = Server::start(
        "return function(request)
           if request.path ~= '/big' then return 'ok' end
           local all = {}
           for i = 1, 1e9 do all[i] = ('x'):rep(1000) .. i end
         end",
        &["--memory", "8MiB", "--threads", "1"],
    );
    for _ in 0..3 {
        let response = server.get("/big");
        assert_eq!(response.status, 503, "{}", response.body);
        assert!(response.header("retry-after").is_some());
        let limit = "out of memory: memory limit of 8388608 bytes reached (setting: memory) (id ";
        assert!(response.body.starts_with(limit), "{}", response.body);
        assert_eq!(server.get("/").body, "ok");
    }
}

#[test]
fn a_full_queue_is_a_503_with_retry_after() {
    let server = Server::start(
        "local ss = require 'sidestack'
         return function() ss.sleep(1) return 'ok' end",
        &["--threads", "1", "--fibers", "1", "--queue", "1"],
    );
    let mut clients: Vec<_> = (0..6).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.write("GET", "/", &[], b"");
    }
    let responses: Vec<_> = clients.iter_mut().map(|client| client.read("GET")).collect();
    let of = |status| responses.iter().filter(|response| response.status == status).count();
    assert!(of(200) >= 1 && of(503) >= 3 && of(200) + of(503) == 6, "{responses:?}");
    for refused in responses.iter().filter(|response| response.status == 503) {
        assert_eq!(refused.header("retry-after"), Some("1"));
        assert!(refused.body.contains("queue full: 1 calls are waiting (setting: queue)"), "{}", refused.body);
    }
}

/// Tasks are calls too: where there is no room for one, that is the server's fault and not the script's.
#[test]
fn a_task_that_finds_the_queue_full_is_a_503_with_retry_after() {
    let folder = Folder::new();
    let path = folder.script(
        "app.lua",
        "local ss = require 'sidestack'
         return function(request)
           if request.path == '/waits' then return 'ok' end
           while not io.open(request.query.file) do ss.sleep(0.01) end
           if request.path == '/spawns' then ss.spawn(function() end):join() end
           return 'ok'
         end",
    );
    let file = |name: &str| path.with_file_name(name);
    let flags = ["--threads", "1", "--fibers", "2", "--queue", "1", "--queue-timeout", "none", "--allow", "io"];
    let mut server = Server::start_at(&path, &[&flags[..], &["--admin", "127.0.0.1:0"]].concat(), folder);
    let admin = server.admin();
    let mut clients: Vec<_> = (0..3).map(|_| server.connect()).collect();
    // Two have fibers; the third waits in the queue, which is full with it.
    for (client, name, shown) in [
        (0, "holds", ("sidestack_fibers", 1.0)),
        (1, "spawns", ("sidestack_fibers", 2.0)),
        (2, "waits", ("sidestack_calls_queued", 1.0)),
    ] {
        clients[client].write("GET", &format!("/{name}?file={}", file(name).display()), &[], b"");
        metric_becomes(admin, shown.0, shown.1);
    }
    std::fs::write(file("spawns"), "").expect("written");
    let refused = clients[1].read("GET");
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")), "{}", refused.body);
    assert!(refused.body.contains("queue full: 1 calls are waiting (setting: queue)"), "{}", refused.body);
    std::fs::write(file("holds"), "").expect("written");
    assert_eq!([clients[0].read("GET").body, clients[2].read("GET").body], ["ok", "ok"]);
}

#[test]
fn a_body_over_the_limit_is_a_413() {
    let server = Server::start("return function(request) return tostring(#request.body) end", &["--max-body", "1MiB"]);
    assert_eq!(server.connect().send("POST", "/", &[], &vec![b'x'; 1 << 20]).body, (1 << 20).to_string());
    let refused = server.connect().send("POST", "/", &[], &vec![b'x'; 4 << 20]);
    assert_eq!(refused.status, 413);
    assert!(refused.body.contains("the limit is 1048576 bytes (setting: max_body)"), "{}", refused.body);
    // Without a length beforehand.
    let mut client = server.connect();
    let chunk = format!("{:x}\r\n{}\r\n", 1 << 20, "x".repeat(1 << 20));
    let text = format!("POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n{chunk}{chunk}0\r\n\r\n");
    std::io::Write::write_all(client.0.get_mut(), text.as_bytes()).expect("sent");
    assert_eq!(client.read("POST").status, 413);
}

#[test]
fn a_response_over_the_limit_is_a_500_that_names_the_limit() {
    let script = "return function(request) return ('x'):rep(tonumber(request.query.n)) end";
    let server = Server::start(script, &["--max-response", "1KiB", "--dev"]);
    let mut client = server.connect();
    assert_eq!(client.send("GET", "/?n=1024", &[], b"").body.len(), 1024);
    let refused = client.send("GET", "/?n=1025", &[], b"");
    assert_eq!(refused.status, 500);
    assert!(refused.body.contains("response limit of 1024 bytes reached (setting: max_response)"), "{}", refused.body);
    assert_eq!(client.send("GET", "/?n=1", &[], b"").body, "x");
}

#[test]
fn processor_time_over_the_limit_is_a_504_and_waiting_is_free() {
    let script = "local ss = require 'sidestack'
        return function(request) if request.path == '/spin' then while true do end end ss.sleep(0.3) return 'slept' end";
    let server = Server::start(script, &["--cpu", "100ms", "--dev"]);
    let mut client = server.connect();
    assert_eq!(client.send("GET", "/sleep", &[], b"").body, "slept");
    let refused = client.send("GET", "/spin", &[], b"");
    assert_eq!(refused.status, 504);
    assert!(refused.body.contains("cpu limit of 100 ms reached (setting: cpu)"), "{}", refused.body);
}

#[test]
fn a_connection_serves_many_requests() {
    let server = Server::start("return function(request) return request.path end", &[]);
    let mut client = server.connect();
    for number in 0..500 {
        let path = format!("/{number}");
        assert_eq!(client.send("GET", &path, &[], b"").body, path);
    }
    // Two at once.
    client.write("GET", "/a", &[], b"");
    client.write("GET", "/b", &[], b"");
    assert_eq!((client.read("GET").body, client.read("GET").body), ("/a".into(), "/b".into()));
}

#[test]
fn a_client_that_goes_away_cancels_its_call() {
    let mut server = Server::start(
        "local ss = require 'sidestack'
         local count = { begun = 0, ended = 0, cleaned = 0 }
         return function(request)
           if request.path == '/count' then return { body = count } end
           count.begun = count.begun + 1
           local clean <close> = setmetatable({}, { __close = function() count.cleaned = count.cleaned + 1 end })
           ss.sleep(60)
           count.ended = count.ended + 1
         end",
        &["--threads", "1", "--deadline", "none"],
    );
    let mut client = server.connect();
    client.write("GET", "/slow", &[], b"");
    let count = |server: &Server| server.get("/count").body;
    while !count(&server).contains("\"begun\":1") {}
    drop(client);
    server.wait_for_text("went away");
    let begun = Instant::now();
    let mut seen = String::new();
    while !seen.contains("\"cleaned\":1") {
        assert!(begun.elapsed() < LONG, "{seen}");
        seen = count(&server);
    }
    assert!(seen.contains("\"ended\":0"), "{seen}");
}

#[test]
fn many_requests_wait_on_one_thread() {
    let server = Server::start(
        "local ss = require 'sidestack'
         return function() ss.sleep(0.5) return 'ok' end",
        &["--threads", "1", "--quiet"],
    );
    let begun = Instant::now();
    let mut clients: Vec<_> = (0..200).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(|client| client.write("GET", "/", &[], b""));
    for client in &mut clients {
        assert_eq!(client.read("GET").body, "ok");
    }
    // One after the other it would be 100 s.
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

/// Scenario B4.
#[test]
fn a_script_requests_its_own_server_on_one_thread() {
    let server = Server::start(
        "local ss = require 'sidestack'
         local http = ss.http
         return function(request)
           local n = tonumber(request.query.n)
           if n == 0 then return 'bottom' end
           local answer = http.request { url = 'http://' .. request.headers.host .. '/?n=' .. n - 1 }
           return n .. ' ' .. answer.body
         end",
        &["--threads", "1"],
    );
    let host = server.address.to_string();
    let mut text = format!("GET /?n=5 HTTP/1.1\r\nhost: {host}\r\n\r\n").into_bytes();
    let mut client = server.connect();
    std::io::Write::write_all(client.0.get_mut(), &std::mem::take(&mut text)).expect("sent");
    assert_eq!(client.read("GET").body, "5 4 3 2 1 bottom");
}

/// Scenario B4, where it cannot go on: the only fiber waits, or the only interpreter is held.
#[test]
fn a_request_that_nobody_can_answer_is_refused_in_time() {
    let script = "local ss = require 'sidestack'
         return function(request)
           local url = 'http://' .. request.headers.host .. '/'
           if request.path == '/waits' then
             local answer = ss.http.get(url)
             return answer.status .. ' ' .. answer.body
           elseif request.path == '/holds' then
             return io.popen(\"bash -c 'exec 3<>/dev/tcp/\" .. request.headers.host:gsub(':', '/')
               .. \"; printf \\\"GET / HTTP/1.1\\r\\nhost: x\\r\\nconnection: close\\r\\n\\r\\n\\\" >&3; cat <&3'\"):read('a')
           end
           return 'ok'
         end";
    for (path, flags) in [("/waits", &["--fibers", "1"][..]), ("/holds", &["--allow", "io"])] {
        let always = ["--threads", "1", "--deadline", "none", "--queue-timeout", "500ms"];
        let server = Server::start(script, &[&always, flags].concat());
        let host = server.address.to_string();
        let mut client = server.connect();
        let head = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n");
        std::io::Write::write_all(client.0.get_mut(), head.as_bytes()).expect("sent");
        let body = client.read("GET").body;
        assert!(body.contains("503") && body.contains("no interpreter was free in time"), "{path}: {body:?}");
    }
}

#[test]
fn what_is_wrong_at_the_start_is_said() {
    let folder = Folder::new();
    let start = |path: &std::path::Path, flags: &[&str]| {
        let out =
            sidestack().arg("serve").arg(path).args(["--listen", "127.0.0.1:0"]).args(flags).output().expect("a run");
        (out.status.code(), String::from_utf8_lossy(&out.stderr).into_owned())
    };
    for (name, text, parts) in [
        ("syntax.lua", "return function(request\n  return 1\nend", &["syntax.lua:2", "error[script]", "return 1"][..]),
        ("load.lua", "local x = nil\nx()", &["load.lua:2", "attempt to call a nil value"]),
        ("none.lua", "local x = 1", &["returns no function"]),
        ("table.lua", "return { greet = function() end }", &["returns no function"]),
        ("number.lua", "return 7", &["number"]),
        ("app.js", "1", &["`.js`"]),
    ] {
        let (status, stderr) = start(&folder.script(name, text), &[]);
        assert_eq!(status, Some(1), "{name}: {stderr}");
        for part in parts {
            assert!(stderr.contains(part), "{name}: no {part:?} in {stderr}");
        }
    }
    let (status, stderr) = start(&folder.path().join("missing.lua"), &[]);
    assert!(status == Some(1) && stderr.contains("missing.lua") && stderr.contains("No such file"), "{stderr}");
    let good = folder.script("good.lua", "return function() return 'ok' end");
    for (flags, part) in [
        (&["--deadline", "30"][..], "30s"),
        (&["--memory", "much"], "64MiB"),
        (&["--allow", "everything"], "unknown permission `everything`"),
        (&["--unheard-of"], "--unheard-of"),
    ] {
        let (status, stderr) = start(&good, flags);
        assert!(status == Some(2) && stderr.contains(part), "{flags:?}: {stderr}");
    }
}

#[cfg(not(feature = "php"))]
#[test]
fn a_build_without_php_says_how_to_get_one() {
    let folder = Folder::new();
    for path in [folder.script("app.php", "<?php"), folder.path().into()] {
        let out = sidestack().args(["serve", "--listen", "127.0.0.1:0"]).arg(path).output().expect("a run");
        let stderr = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.code() == Some(1) && stderr.contains("feature `php`"), "{stderr}");
    }
}

#[test]
fn a_taken_port_names_its_holder_and_the_way_out() {
    let server = Server::start("return function() return 'ok' end", &[]);
    let folder = Folder::new();
    let path = folder.script("app.lua", "return function() return 'ok' end");
    let out =
        sidestack().arg("serve").arg(path).args(["--listen", &server.address.to_string()]).output().expect("a run");
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{stderr}");
    for part in ["taken by process", "sidestack serve", "--listen 127.0.0.1:"] {
        assert!(stderr.contains(part), "no {part:?} in {stderr}");
    }
}

#[test]
fn flags_win_over_the_environment() {
    let folder = Folder::new();
    let path = folder.script("app.lua", "return 9");
    let run = |flags: &[&str]| {
        let out =
            sidestack().arg("run").args(flags).arg(&path).env("SIDESTACK_DEADLINE", "soon").output().expect("a run");
        out.status.code()
    };
    assert_eq!(run(&[]), Some(2));
    assert_eq!(run(&["--deadline", "5s"]), Some(9));
}

#[test]
fn help_has_examples_and_a_version() {
    for (args, part) in [
        (&["serve", "--help"][..], "sidestack serve app.lua"),
        (&["run", "--help"], "sidestack run job.lua"),
        (&["--version"], env!("CARGO_PKG_VERSION")),
    ] {
        let out = sidestack().args(args).output().expect("a run");
        let stdout = String::from_utf8_lossy(&out.stdout);
        assert!(out.status.success() && stdout.contains(part), "{stdout}");
    }
}

#[test]
fn watch_loads_changed_files_and_loses_no_request() {
    let code = |say: &str| {
        format!(
            "local ss = require 'sidestack'\nreturn function() ss.sleep(0.05) return '{say} ' .. require('words').last end"
        )
    };
    let folder = Folder::new();
    folder.script("words.lua", "return { last = 'one' }");
    let path = folder.script("app.lua", &code("old"));
    let words = path.with_file_name("words.lua");
    let mut server = Server::start_at(&path, &["--watch", "--quiet", "--threads", "1"], folder);
    let address = server.address;
    let (answered, answers) = std::sync::mpsc::channel();
    let client = std::thread::spawn(move || {
        let mut seen = Vec::new();
        let begun = Instant::now();
        while !seen.ends_with(&["new two".to_string()]) {
            let response = common::Client::to(address).send("GET", "/", &[], b"");
            assert_eq!(response.status, 200, "{}", response.body);
            seen.push(response.body);
            let _ = answered.send(());
            assert!(begun.elapsed() < LONG, "{seen:?}");
        }
        seen
    });
    answers.recv_timeout(LONG).expect("an answer of the old code");
    std::fs::write(&words, "return { last = 'two' }").expect("written");
    std::fs::write(&path, code("new")).expect("written");
    server.wait_for_text("reload ");
    let seen = client.join().expect("a client");
    assert_eq!(seen.first().map(String::as_str), Some("old one"));
    // What is broken leaves the former program.
    std::fs::write(&path, "return (").expect("written");
    server.wait_for_text("not reloaded");
    assert_eq!(server.get("/").body, "new two");
}
