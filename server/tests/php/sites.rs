//! Document roots: files, folders, the front controller.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::time::{Duration, Instant};

use crate::client::{fetch, get, request, serve, serve_folder, site};
use crate::common::Server;

const INDEX: &str =
    "<?php echo 'front ', $_SERVER['REQUEST_URI'], ' ', $_SERVER['SCRIPT_NAME'], ' ', $_SERVER['PATH_INFO'] ?? '-';";

#[test]
fn files_scripts_folders_and_the_front_controller() {
    let server = serve(
        &[
            ("index.php", INDEX),
            ("tool.php", "<?php echo 'tool ', $_SERVER['PATH_INFO'] ?? '-';"),
            ("style.css", "body {}"),
            ("docs/index.html", "<p>docs"),
            (".env", "SECRET=1"),
            ("lib.inc", "<?php secret"),
        ],
        &[],
    );
    for (target, status, body) in [
        ("/", 200, "front / /index.php -"),
        ("/any/path?x=1", 200, "front /any/path?x=1 /index.php -"),
        ("/index.php/7", 200, "front /index.php/7 /index.php /7"),
        ("/tool.php", 200, "tool -"),
        ("/tool.php/a/b", 200, "tool /a/b"),
        ("/style.css", 200, "body {}"),
        ("/docs/", 200, "<p>docs"),
        ("/.env", 404, "not found\n"),
        ("/lib.inc", 404, "not found\n"),
        ("/../../etc/passwd", 404, "not found\n"),
        ("/%2e%2e/%2e%2e/etc/passwd", 404, "not found\n"),
    ] {
        let got = get(&server, target);
        assert_eq!((got.status, got.text().as_str()), (status, body), "{target}");
    }
    let folder = get(&server, "/docs?x");
    assert_eq!((folder.status, folder.header("location")), (301, Some("/docs/?x")));
    // No open redirect.
    assert_eq!(get(&server, "//docs").header("location"), Some("/docs/"));
}

#[test]
fn files_have_types_validators_and_ranges() {
    let server = serve(&[("a.css", "0123456789"), ("b.svg", "<svg/>")], &[]);
    let whole = get(&server, "/a.css");
    assert_eq!(whole.header("content-type"), Some("text/css"));
    assert_eq!(get(&server, "/b.svg").header("content-type"), Some("image/svg+xml"));
    let tag = whole.header("etag").expect("a tag").to_string();
    let ask = |method: &str, name: &str, value: &str| {
        fetch(server.address, &request(method, "/a.css", &[(name, value)], b""))
    };
    let part = ask("GET", "range", "bytes=2-4");
    assert_eq!((part.status, part.text().as_str(), part.header("content-range")), (206, "234", Some("bytes 2-4/10")));
    assert_eq!(ask("GET", "range", "bytes=50-").status, 416);
    assert_eq!(ask("GET", "if-none-match", &tag).status, 304);
    assert_eq!(ask("GET", "if-none-match", "W/\"other\"").status, 200);
    assert_eq!(ask("GET", "if-modified-since", whole.header("last-modified").expect("a time")).status, 304);
    let head = ask("HEAD", "x", "y");
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, Some("10"), 0));
    assert_eq!(ask("POST", "x", "y").status, 405);
    assert_eq!(get(&server, "/nothing").status, 404);
}

#[test]
fn one_file_answers_everything() {
    let folder =
        site(&[("app.php", "<?php echo $_SERVER['REQUEST_URI'], ' ', $_SERVER['SCRIPT_NAME'];"), ("x.txt", "hidden")]);
    let path = folder.path().join("app.php");
    let server = Server::start_at(&path, &["--threads", "1"], folder);
    assert_eq!(get(&server, "/x.txt").text(), "/x.txt /app.php");
}

#[test]
fn settings_come_from_the_command_line_php_ini_and_folders() {
    let show = "<?php echo ini_get('memory_limit'), ' ', ini_get('precision'), ' ', ini_get('date.timezone'), ' ', ini_get('user_agent');";
    let folder = site(&[
        ("show.php", show),
        ("sub/show.php", show),
        ("sub/.user.ini", "user_agent = sub\nprecision = 7\n"),
        (".user.ini", "user_agent = root\n"),
        ("php.ini", "memory_limit = 99M\ndate.timezone = Europe/Berlin\nprecision = 5\n"),
    ]);
    let ini = folder.path().join("php.ini").display().to_string();
    let server = serve_folder(folder, &["--php-ini", &ini, "-d", "memory_limit=77M"]);
    assert_eq!(get(&server, "/show.php").text(), "77M 5 Europe/Berlin root");
    assert_eq!(get(&server, "/sub/show.php").text(), "77M 7 Europe/Berlin sub");
    assert_eq!(get(&server, "/show.php").text(), "77M 5 Europe/Berlin root", "a request's settings end with it");
}

#[test]
fn settings_of_folders_are_read_again_after_their_time() {
    let write = |path: &std::path::Path, agent: &str| {
        std::fs::write(path.join("sub/.user.ini"), format!("user_agent = {agent}\n")).expect("written");
    };
    // One second, never, and at once.
    for (ttl, soon, later) in [("1", "old", "new"), ("300", "old", "old"), ("0", "new", "new")] {
        let folder = site(&[("sub/show.php", "<?php echo ini_get('user_agent');")]);
        let path = folder.path().to_path_buf();
        write(&path, "old");
        let server = serve_folder(folder, &["-d", &format!("user_ini.cache_ttl={ttl}")]);
        let show = || get(&server, "/sub/show.php").text();
        let begun = Instant::now();
        assert_eq!(show(), "old");
        write(&path, "new");
        let seen = show();
        assert!(seen == soon || ttl == "1" && begun.elapsed() > Duration::from_millis(900), "{ttl}: {seen}");
        std::thread::sleep(Duration::from_millis(1100));
        assert_eq!(show(), later, "{ttl}");
    }
}

/// What a newcomer gets wrong is said, and where.
#[test]
fn what_cannot_be_served_is_named() {
    let folder = site(&[("empty/a.txt", "a"), ("index.php", "<?php echo ini_get('user_agent');")]);
    let fails = |args: &[&str]| {
        let listen = ["--listen", "127.0.0.1:0", "--threads", "1"];
        let mut command = crate::common::sidestack();
        command.current_dir(folder.path()).args(args).args(if args[0] == "serve" { &listen[..] } else { &[] });
        let output = command.output().expect("the binary");
        assert!(!output.status.success(), "{args:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    for (args, parts) in [
        (&["serve", "none"][..], &["cannot read none: No such file"][..]),
        (&["serve", "none.php"], &["cannot read none.php: No such file"]),
        (&["serve", "empty/a.txt"], &["no guest runs `.txt` files", "PHP (`.php`)"]),
        (&["serve", "empty", "--workers", "1"], &["the worker script", "empty/index.php", "--worker names another"]),
        (&["serve", ".", "--php-ini", "none.ini"], &["cannot read none.ini: No such file"]),
        (&["serve", ".", "--php-ini", "empty"], &["cannot read empty: Is a directory"]),
        (&["serve", ".", "-d", "=64M"], &["`-d =64M` names no setting"]),
        (&["serve", ".", "-d", "opcache.jit=tracing"], &["opcache.jit can be `function` or `disable` here"]),
        (&["run", "empty"], &["empty is a folder", "`sidestack serve empty`"]),
    ] {
        let text = fails(args);
        assert!(parts.iter().all(|part| text.contains(part)), "{args:?}: {text}");
    }
    let path = folder.path().join("empty");
    let mut server = Server::start_at(&path, &["--threads", "1"], site(&[]));
    assert!(server.wait_for_text("no index.php").contains("warn "));
    assert_eq!((get(&server, "/a.txt").text().as_str(), get(&server, "/").status), ("a", 404));
    // PHP goes on with what it could read, as everywhere.
    let ini = folder.path().join("php.ini");
    std::fs::write(&ini, "user_agent = read\nfoo[ =\nprecision = 3\n").expect("written");
    let mut server = Server::start_at(&path, &["--php-ini", &ini.display().to_string()], site(&[]));
    assert!(server.wait_for_text("syntax error").contains("php.ini on line 2"));
    // As PHP's own -d, it takes any text.
    let server = serve_folder(folder, &["-d", "user_agent=(any; text)"]);
    assert_eq!(get(&server, "/").text(), "(any; text)");
}

/// As a user who may not read everything: root may.
#[test]
fn files_that_the_server_may_not_read_are_refused_and_logged() {
    let folder = site(&[
        ("site/a.txt", "secret"),
        ("site/a.php", "<?php echo 'secret';"),
        ("site/index.php", "<?php echo 'fine';"),
    ]);
    let program = folder.path().join("sidestack");
    // By a process of its own: one that another thread starts meanwhile would have the file open for writing.
    let copied = std::process::Command::new("cp").arg(env!("CARGO_BIN_EXE_sidestack")).arg(&program).status();
    assert!(copied.expect("cp").success());
    let mode = |path: &str, mode| {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(folder.path().join(path), permissions).expect("changed");
    };
    for (path, bits) in [("", 0o755), ("site/a.txt", 0), ("site/a.php", 0)] {
        mode(path, bits);
    }
    let mut command = std::process::Command::new(program);
    command.arg("serve").arg(folder.path().join("site")).args(["--threads", "1", "--listen", "127.0.0.1:0"]);
    if nix::unistd::geteuid().is_root() {
        let nobody = nix::unistd::User::from_name("nobody").expect("users").expect("nobody");
        command.uid(nobody.uid.as_raw()).gid(nobody.gid.as_raw());
    }
    let mut server = Server::spawn(command, folder);
    assert_eq!(get(&server, "/").text(), "fine");
    let refused = get(&server, "/a.txt");
    assert_eq!((refused.status, refused.text().as_str()), (403, "the server may not read this file\n"));
    server.wait_for_text("a.txt: Permission denied");
    let failed = get(&server, "/a.php");
    assert!(failed.status == 500 && !failed.text().contains("secret"), "{failed:?}");
    server.wait_for_text("Failed to open stream: Permission denied");
}

/// Without --watch a change may count later: of settings after user_ini.cache_ttl, five minutes.
#[test]
fn watched_pages_and_their_settings_change_at_once() {
    let folder = site(&[("a.php", "<?php echo 'old ', ini_get('user_agent');"), (".user.ini", "user_agent = old")]);
    let path = folder.path().to_path_buf();
    let server = serve_folder(folder, &["--watch"]);
    assert_eq!(get(&server, "/a.php").text(), "old old");
    std::fs::write(path.join("a.php"), "<?php echo 'new ', ini_get('user_agent');").expect("written");
    std::fs::write(path.join(".user.ini"), "user_agent = new").expect("written");
    assert_eq!(get(&server, "/a.php").text(), "new new");
}

#[test]
fn run_is_phps_own_command_line() {
    let folder = site(&[(
        "job.php",
        r#"<?php echo PHP_SAPI, ' ', json_encode(array_slice($argv, 1)), $argc, ' ', json_encode($_SERVER['argv'][1] ?? null), ' ', basename($_SERVER['SCRIPT_NAME']), "\n";
        fwrite(STDOUT, 'out: ' . fgets(STDIN)); fwrite(STDERR, "err\n"); echo $undefined; exit(7);"#,
    )]);
    let mut child = crate::common::sidestack()
        .arg("run")
        .arg(folder.path().join("job.php"))
        .args(["one", "--two"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the binary");
    std::io::Write::write_all(&mut child.stdin.take().expect("piped"), b"line\n").expect("sent");
    let ran = crate::common::ran(child);
    assert!(ran.stdout.starts_with("cli [\"one\",\"--two\"]3 \"one\" job.php\nout: line\n"), "{}", ran.stdout);
    assert!(ran.stdout.contains("Warning: Undefined variable $undefined"), "{}", ran.stdout);
    assert!(
        ran.stderr.starts_with("err\n") && ran.stderr.contains("PHP Warning:  Undefined variable"),
        "{}",
        ran.stderr
    );
    assert_eq!(ran.status, Some(7));
}

#[test]
fn the_example_runs_with_and_without_workers() {
    for flags in [&[][..], &["--workers", "2"]] {
        let folder = crate::common::Folder::new();
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/php/public");
        let server = Server::start_at(&path, &[&["--threads", "1"], flags].concat(), folder);
        assert!(get(&server, "/").text().contains("<h1>Hello from PHP 8.4."), "{flags:?}");
        let form = [("Content-Type", "application/x-www-form-urlencoded")];
        let hello = fetch(server.address, &request("POST", "/hello", &form, b"name=%3Cyou%3E"));
        assert!(hello.text().contains("<h1>Hello &lt;you&gt;</h1>"), "{flags:?}: {}", hello.text());
        assert_eq!(get(&server, "/style.css").header("content-type"), Some("text/css"));
        assert_eq!(get(&server, "/none").status, 404);
        assert!(get(&server, "/stream").text().ends_with("line 5\n"), "{flags:?}");
    }
}
