//! Requests and responses of PHP scripts, compared byte for byte with `php -S` where there is one, and with what is known.

use std::io::Read;

use crate::client::{Got, Reference, WAITS, begin, fetch, get, go, parse, request, serve, serve_folder, site, until};

/// Scripts that PHP 8.2 and 8.4 answer alike, with the requests that they get.
const SCRIPTS: &[(&str, &str)] = &[
    (
        "server.php",
        r#"<?php header('Content-Type: text/plain');
        foreach (['REQUEST_METHOD', 'REQUEST_URI', 'QUERY_STRING', 'SCRIPT_NAME', 'PHP_SELF', 'PATH_INFO', 'SERVER_PROTOCOL',
            'HTTP_HOST', 'HTTP_X_ONE', 'HTTP_USER_AGENT', 'CONTENT_TYPE', 'CONTENT_LENGTH', 'REMOTE_ADDR', 'PHP_AUTH_USER', 'PHP_AUTH_PW',
            'HTTP_COOKIE'] as $name) {
            // FPM has an empty string where the built-in server has nothing.
            echo $name, '=', var_export(($_SERVER[$name] ?? '') === '' ? null : $_SERVER[$name], true), "\n";
        }
        echo basename($_SERVER['SCRIPT_FILENAME']), ' ', $_SERVER['DOCUMENT_ROOT'] === __DIR__ ? 'root' : 'elsewhere', ' ',
            gettype($_SERVER['REQUEST_TIME']), ' ', gettype($_SERVER['REQUEST_TIME_FLOAT']), ' ', isset($_SERVER['argv']) ? 'argv' : 'no argv';"#,
    ),
    (
        "globals.php",
        "<?php header('Content-Type: application/json'); echo json_encode([$_GET, $_POST, $_COOKIE, $_REQUEST]);",
    ),
    (
        "input.php",
        r#"<?php $in = fopen('php://input', 'rb'); echo fread($in, 3), '|', stream_get_contents($in), '|', file_get_contents('php://input'), '|';
        rewind($in); echo md5(stream_get_contents($in)), ' ', json_encode($_POST);"#,
    ),
    (
        "upload.php",
        r#"<?php foreach ($_FILES as $field => $file) {
            foreach ((array) $file['tmp_name'] as $i => $tmp) {
                $of = fn ($key) => ((array) $file[$key])[$i];
                echo $field, ' ', $of('name'), ' ', $of('full_path'), ' ', $of('type'), ' ', $of('size'), ' ', $of('error'), ' ';
                echo $tmp === '' ? '-' : md5_file($tmp) . ' ' . var_export(is_uploaded_file($tmp), true), "\n";
                if ($tmp !== '') { move_uploaded_file($tmp, $to = "$tmp.moved"); echo filesize($to), "\n"; unlink($to); }
            }
        } echo json_encode($_POST), strlen(file_get_contents('php://input'));"#,
    ),
    (
        "headers.php",
        r#"<?php header('X-A: 1'); header('X-A: 2', false); header('X-B: 1'); header('X-B: 2'); header('X-Gone: 1'); header_remove('X-Gone');
        header('X-Spaces:   two  '); setcookie('a', 'b c', ['path' => '/', 'httponly' => true, 'samesite' => 'Lax']); setrawcookie('r', 'x%20y');
        echo json_encode(headers_list()[1] ?? null), headers_sent() ? 'sent' : 'not sent';"#,
    ),
    ("status.php", "<?php http_response_code((int) $_GET['s']); echo 'status ', http_response_code();"),
    (
        "line.php",
        "<?php header('HTTP/1.1 418 I am a teapot'); header('Content-Type: text/plain;charset=ISO-8859-1'); echo \"\\xe9\";",
    ),
    ("redirect.php", "<?php header('Location: /elsewhere?x=1'); exit;"),
    ("redirect307.php", "<?php header('Location: /elsewhere', true, 307);"),
    ("challenge.php", "<?php header('WWW-Authenticate: Basic realm=\"x\"'); echo 'no';"),
    ("empty.php", ""),
    ("text.php", "no PHP at all\n"),
    (
        "binary.php",
        "<?php header('Content-Type: application/octet-stream'); for ($i = 0; $i < 256; $i++) echo chr($i); echo str_repeat(\"\\0\", 70000);",
    ),
    (
        "large.php",
        "<?php for ($i = 0; $i < 3000; $i++) { echo str_repeat(chr(65 + $i % 26), 1000), \"\\n\"; } echo str_repeat('z', 1 << 20);",
    ),
    ("flush.php", "<?php for ($i = 0; $i < 20; $i++) { echo $i, ' '; if ($i % 3) flush(); }"),
    (
        "buffers.php",
        r#"<?php ob_start(fn ($text) => strtoupper($text)); echo 'upper '; ob_start(); echo 'thrown away'; ob_end_clean(); echo 'more '; ob_end_flush();
        echo 'plain '; ob_start(); echo 'left open'; header('X-Late: yes');"#,
    ),
    ("length.php", "<?php header('Content-Length: 5'); echo 'hello';"),
    ("nosniff.php", "<?php header_register_callback(function () { header('X-Callback: ran'); }); echo 'x';"),
    (
        "exit.php",
        "<?php register_shutdown_function(function () { echo ' shutdown'; }); echo 'before'; exit(' status');",
    ),
    ("destructor.php", "<?php class A { function __destruct() { echo ' destroyed'; } } $a = new A; echo 'alive';"),
    (
        "warning.php",
        "<?php echo 'a'; echo $undefined; echo 'b'; trigger_error('mine', E_USER_NOTICE); echo intdiv(4, 2);",
    ),
    ("fatal.php", "<?php echo 'a'; undefined_function(); echo 'b';"),
    ("uncaught.php", "<?php function f() { throw new DomainException('out'); } echo 'a'; f();"),
    (
        "handler.php",
        "<?php set_exception_handler(function ($e) { http_response_code(503); echo get_class($e), ' ', $e->getMessage(); }); throw new LogicException('caught late');",
    ),
    ("parse.php", "<?php echo 'a' 'b';"),
    (
        "fibers.php",
        r#"<?php $make = fn ($n) => new Fiber(function () use ($n) { echo "$n begins "; header("X-$n: 1"); $got = Fiber::suspend($n); echo "$n $got "; });
        $all = array_map($make, ['one', 'two', 'three']); ob_start(); foreach ($all as $f) $f->start(); $all[2]->resume('c'); $all[0]->resume('a'); ob_end_flush();"#,
    ),
    (
        "all.php",
        "<?php $h = getallheaders(); ksort($h); unset($h['Connection']); echo json_encode($h), json_encode(apache_request_headers()['X-One'] ?? null);",
    ),
    (
        "session.php",
        "<?php session_save_path(sys_get_temp_dir()); session_id('fixedidfortest'); session_start(); $_SESSION['n'] = ($_SESSION['n'] ?? 0) + 1; echo $_SESSION['n']; session_destroy();",
    ),
];

fn form() -> Vec<u8> {
    let file: String = (0..50_000).map(|i| char::from(b'a' + (i % 23) as u8)).collect();
    let mut body = String::new();
    for (name, file_name, text) in [
        ("plain", None, "value é"),
        ("list[]", None, "1"),
        ("list[]", None, "2"),
        ("one", Some("a b.txt"), "small"),
        ("many[]", Some("x/large.bin"), &file),
        ("many[]", Some(""), ""),
        ("tag", Some("\"quoted\".txt"), "q"),
    ] {
        body.push_str("--XyZ\r\nContent-Disposition: form-data; name=\"");
        body.push_str(name);
        if let Some(file_name) = file_name {
            body.push_str(&format!("\"; filename=\"{}\"\r\nContent-Type: text/x-test", file_name.replace('"', "\\\"")));
        } else {
            body.push('"');
        }
        body.push_str(&format!("\r\n\r\n{text}\r\n"));
    }
    (body + "--XyZ--\r\n").into_bytes()
}

/// What the scripts are asked.
fn requests() -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    let mut ask = |what: &str, request: Vec<u8>| all.push((what.to_string(), request));
    for (name, _) in SCRIPTS {
        ask(
            name,
            request(
                "GET",
                &format!("/{name}?a=1&b[x]=2&b[]=3&c%20d=%C3%A9&s=404"),
                &[("X-One", "eins"), ("Cookie", "k=v; k2=v%202")],
                b"",
            ),
        );
    }
    let urlencoded = [("Content-Type", "application/x-www-form-urlencoded"), ("User-Agent", "test")];
    for name in ["server.php", "globals.php", "input.php"] {
        ask(
            &format!("POST {name}"),
            request("POST", &format!("/{name}?q=1"), &urlencoded, b"p=1&p2[]=x&p2[]=y%26z&empty="),
        );
        ask(
            &format!("PUT {name}"),
            request("PUT", &format!("/{name}"), &[("Content-Type", "text/plain")], b"put this"),
        );
        ask(
            &format!("JSON {name}"),
            request("POST", &format!("/{name}"), &[("Content-Type", "application/json")], b"{\"a\": [1]}"),
        );
    }
    ask("auth", request("GET", "/server.php", &[("Authorization", "Basic dXNlcjpwYTpzcw==")], b""));
    ask("path info", request("GET", "/server.php/more/path%20x?y", &[], b""));
    ask("upload", request("POST", "/upload.php", &[("Content-Type", "multipart/form-data; boundary=XyZ")], &form()));
    ask(
        "broken upload",
        request(
            "POST",
            "/upload.php",
            &[("Content-Type", "multipart/form-data; boundary=XyZ")],
            b"--XyZ\r\nContent-Disp",
        ),
    );
    for status in ["200", "201", "301", "400", "500", "503"] {
        ask(&format!("status {status}"), request("GET", &format!("/status.php?s={status}"), &[], b""));
    }
    for name in ["text.php", "headers.php", "large.php", "redirect.php"] {
        ask(&format!("HEAD {name}"), request("HEAD", &format!("/{name}"), &[], b""));
    }
    ask("OPTIONS", request("OPTIONS", "/globals.php?o=1", &[], b""));
    all
}

/// What is the server's own and not the script's.
fn own(got: &Got) -> (u16, Vec<(String, String)>, &[u8]) {
    let of_the_server = ["date", "host", "connection", "x-powered-by", "transfer-encoding", "content-length"];
    let mut headers = got.headers.clone();
    headers.retain(|(name, _)| !of_the_server.contains(&name.as_str()));
    headers.sort_by(|(a, _), (b, _)| a.cmp(b));
    (got.status, headers, &got.body)
}

#[test]
fn responses_are_those_of_php_itself() {
    let folder = site(SCRIPTS);
    let Some(reference) = Reference::start(folder.path()) else { return };
    // The same settings as the reference's.
    let server = serve_folder(folder, &["-d", "display_errors=1", "-d", "html_errors=0", "-d", "log_errors=0"]);
    let mut different = Vec::new();
    let all = requests();
    for (what, request) in &all {
        let (expected, got) = (fetch(reference.address, request), fetch(server.address, request));
        assert!(got.whole, "{what}: broken off");
        if own(&expected) != own(&got) {
            let show = |got: &Got| {
                let (status, headers, body) = own(got);
                let text = String::from_utf8_lossy(body).chars().take(2000).collect::<String>();
                format!("{status} {headers:?} {} bytes\n{text}", body.len())
            };
            different.push(format!("---- {what}\nphp -S: {}\nours:   {}\n", show(&expected), show(&got)));
        }
    }
    assert!(different.is_empty(), "{} of {} differ\n{}", different.len(), all.len(), different.join("\n"));
}

#[test]
fn known_answers() {
    let server = serve_folder(site(SCRIPTS), &["-d", "display_errors=0", "-d", "log_errors=0"]);
    let ask = |method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]| {
        fetch(server.address, &request(method, target, headers, body))
    };
    let got = ask("GET", "/server.php/a%20b?x=y", &[], b"").text();
    for line in [
        "SCRIPT_NAME='/server.php'",
        "PATH_INFO='/a b'",
        "PHP_SELF='/server.php/a b'",
        "REQUEST_URI='/server.php/a%20b?x=y'",
    ] {
        assert!(got.lines().any(|own| own == line), "{line} in {got}");
    }
    assert_eq!(ask("GET", "/fatal.php", &[], b"").status, 200, "it had begun");
    assert_eq!(ask("GET", "/parse.php", &[], b"").status, 500);
    assert_eq!(ask("GET", "/handler.php", &[], b"").text(), "LogicException caught late");
    // The built-in server sends bodies with these, which no HTTP client expects.
    for status in [204, 304] {
        let got = ask("GET", &format!("/status.php?s={status}"), &[], b"");
        assert_eq!((got.status, got.body.len()), (status, 0));
    }
    let head = ask("HEAD", "/large.php", &[], b"");
    assert_eq!((head.status, head.body.len()), (200, 0));
    let upload = ask("POST", "/upload.php", &[("Content-Type", "multipart/form-data; boundary=XyZ")], &form());
    assert!(upload.text().contains("many large.bin x/large.bin text/x-test 50000 0"), "{}", upload.text());
}

/// What is left of an answer that is too large: an error instead of it, or its beginning where that has left.
#[test]
fn a_page_over_the_limit_is_a_500_or_breaks_off() {
    let begun = "echo str_repeat('x', 20000); flush(); echo str_repeat('y', 20000);";
    let begun = format!("<?php echo 'begun'; flush(); {WAITS} {begun}");
    let files = [
        ("page.php", "<?php header('X-Own: 1'); echo str_repeat('x', (int) $_GET['n']);"),
        ("begun.php", &begun),
        ("finished.php", "<?php echo str_repeat('x', 20000); fastcgi_finish_request();"),
    ];
    let limit = "the response is too large: response limit of 10240 bytes reached (setting: max_response)";
    let mut server = serve(&files, &["--max-response", "10KiB"]);
    let whole = get(&server, "/page.php?n=10240");
    assert_eq!((whole.status, whole.body.len(), whole.header("x-own")), (200, 10240, Some("1")));
    // One that ends with its script, one that fills the script's buffer before.
    for target in ["/page.php?n=10241", "/page.php?n=1000000", "/finished.php"] {
        let refused = get(&server, target);
        assert_eq!((refused.status, refused.header("x-own"), refused.whole), (500, None, true), "{target}");
        assert!(refused.text().starts_with(limit), "{target}: {}", refused.text());
    }
    let mut stream = begin(&server, &request("GET", "/begun.php", &[], b""));
    let mut all = until(&mut stream, "begun").into_bytes();
    go(&server);
    let _ = stream.read_to_end(&mut all);
    let broken = parse(&all);
    assert_eq!((broken.status, broken.whole), (200, false));
    assert!(broken.text().starts_with("begun") && broken.body.len() <= 10240, "{} bytes", broken.body.len());
    server.wait_for_text("GET /begun.php");
    assert_eq!(get(&server, "/page.php?n=3").text(), "xxx");
    // A worker goes on too.
    let worker = "<?php while (frankenphp_handle_request(function () { echo str_repeat('x', (int) $_GET['n']); }));";
    let server = serve(&[("index.php", worker)], &["--max-response", "10KiB", "--workers", "1"]);
    for _ in 0..3 {
        let refused = get(&server, "/?n=10241");
        assert_eq!(refused.status, 500);
        assert!(refused.text().starts_with(limit), "{}", refused.text());
        assert_eq!(get(&server, "/?n=3").text(), "xxx");
    }
}
