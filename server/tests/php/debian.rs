//! A real application, DokuWiki as Debian packages it, unchanged, served and driven in a real browser.
//!
//! Needs the package's files (`dokuwiki`, or what `dpkg -x` makes of it under `SIDESTACK_DOKUWIKI`), chromium and its driver.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::serve_folder;
use crate::common::{Folder, LONG};

/// Where the package's files are, if they are.
fn package() -> Option<PathBuf> {
    let root = std::env::var_os("SIDESTACK_DOKUWIKI").map_or_else(|| PathBuf::from("/"), PathBuf::from);
    root.join("usr/share/dokuwiki/doku.php").is_file().then_some(root)
}

/// The package's folders as one site that can be written to. Nothing in it is changed but where its parts lie.
fn installed(root: &Path) -> Folder {
    let folder = Folder::new();
    let copy = |from: &str, to: &str| {
        let (from, to) = (root.join(from), folder.path().join(to));
        let status = Command::new("cp").arg("-r").arg(from.join(".")).arg(&to).status().expect("cp");
        assert!(status.success(), "{}", from.display());
    };
    copy("usr/share/dokuwiki", "");
    for (from, to) in [
        ("var/lib/dokuwiki/lib/plugins", "lib/plugins"),
        ("var/lib/dokuwiki/lib/tpl", "lib/tpl"),
        ("var/lib/dokuwiki/data", "data"),
        ("etc/dokuwiki", "conf"),
    ] {
        let place = folder.path().join(to);
        // A link out of the site, in the package.
        let _ = std::fs::remove_file(&place);
        std::fs::create_dir_all(&place).expect("made");
        copy(from, to);
    }
    // The package's own paths are those of an installed system.
    let (conf, data) = (folder.path().join("conf"), folder.path().join("data"));
    std::fs::write(
        folder.path().join("inc/preload.php"),
        format!(
            "<?php define('DOKU_CONF', '{}/'); define('DOKU_E_LEVEL', E_ALL & ~E_DEPRECATED & ~E_NOTICE & ~E_WARNING);",
            conf.display()
        ),
    )
    .expect("written");
    std::fs::write(
        conf.join("local.php"),
        format!("<?php $conf['title'] = 'Fiber wiki'; $conf['savedir'] = '{}'; $conf['useacl'] = 0; $conf['updatecheck'] = 0;", data.display()),
    )
    .expect("written");
    for name in ["acl.auth.php", "users.auth.php"] {
        let _ = std::fs::remove_file(conf.join(name));
        std::fs::write(conf.join(name), "# none\n").expect("written");
    }
    folder
}

/// A browser, by the WebDriver protocol.
struct Browser {
    driver: Child,
    address: SocketAddr,
    session: String,
}

impl Browser {
    fn start() -> Option<Browser> {
        let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
        let driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let driver = driver.ok()?;
        let mut browser = Browser { driver, address: ([127, 0, 0, 1], port).into(), session: String::new() };
        let begun = Instant::now();
        while TcpStream::connect(browser.address).is_err() {
            assert!(begun.elapsed() < LONG, "chromedriver does not listen");
            std::thread::sleep(Duration::from_millis(50));
        }
        let args = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"];
        let wanted = json!({"capabilities": {"alwaysMatch": {"goog:chromeOptions": {"args": args}}}});
        let session = browser.ask("POST", "/session", &wanted);
        browser.session = format!("/session/{}", session["sessionId"].as_str().expect("a session"));
        Some(browser)
    }

    /// One command; its value.
    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let mut stream = TcpStream::connect(self.address).expect("chromedriver");
        stream.set_read_timeout(Some(Duration::from_secs(120))).expect("a timeout");
        let body = body.to_string();
        let head = format!(
            "{method} {}{path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: application/json\r\n",
            self.session, self.address
        );
        write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).expect("sent");
        let mut answer = BufReader::new(stream);
        let mut length = 0;
        loop {
            let mut line = String::new();
            assert!(answer.read_line(&mut line).expect("an answer") > 0, "{path}: no answer");
            if line == "\r\n" {
                break;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
        }
        let mut text = vec![0; length];
        answer.read_exact(&mut text).expect("an answer");
        let answer: Value = serde_json::from_slice(&text).expect("JSON");
        assert!(answer["value"]["error"].is_null(), "{path}: {}", answer["value"]);
        answer["value"].clone()
    }

    fn open(&self, url: &str) {
        self.ask("POST", "/url", &json!({ "url": url }));
    }

    fn run(&self, script: &str) -> Value {
        self.ask("POST", "/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// The element that a CSS selector finds, soon.
    fn find(&self, selector: &str) -> String {
        let begun = Instant::now();
        loop {
            let found = self.ask("POST", "/elements", &json!({"using": "css selector", "value": selector}));
            if let Some(element) = found[0].as_object().and_then(|element| element.values().next()) {
                return element.as_str().expect("an element").to_string();
            }
            assert!(begun.elapsed() < LONG, "no {selector} in {}", self.run("return document.body.innerText"));
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn type_into(&self, selector: &str, text: &str) {
        let element = self.find(selector);
        self.ask("POST", &format!("/element/{element}/clear"), &json!({}));
        self.ask("POST", &format!("/element/{element}/value"), &json!({ "text": text }));
    }

    fn click(&self, selector: &str) {
        let element = self.find(selector);
        self.ask("POST", &format!("/element/{element}/click"), &json!({}));
    }

    /// Waits until the page shows this.
    fn shows(&self, text: &str) {
        let begun = Instant::now();
        loop {
            let shown = self.run("return document.body.innerText");
            if shown.as_str().is_some_and(|shown| shown.contains(text)) {
                return;
            }
            assert!(begun.elapsed() < LONG, "no {text:?} in {shown}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !std::thread::panicking() && !self.session.is_empty() {
            self.ask("DELETE", "", &json!({}));
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

#[test]
fn dokuwiki_in_a_browser() {
    let missing = |what: &str| {
        assert!(std::env::var_os("CI").is_none(), "{what} is missing");
        eprintln!("SKIPPED: {what} is missing");
    };
    let Some(root) = package() else { return missing("dokuwiki (SIDESTACK_DOKUWIKI)") };
    let Some(browser) = Browser::start() else {
        return missing("chromedriver (Debian packages chromium, chromium-driver)");
    };
    let server = serve_folder(installed(&root), &["-d", "display_errors=0", "-d", "memory_limit=128M"]);
    let url = |path: &str| format!("http://{}/{path}", server.address);

    browser.open(&url("doku.php?id=start"));
    browser.shows("Fiber wiki");
    // The page is styled: scripts and styles are made by PHP too (lib/exe/css.php, js.php).
    let styles = browser.run(
        "const count = rules => Array.from(rules).reduce((n, rule) => n + 1 + count(rule.cssRules ?? []), 0);
        return Array.from(document.styleSheets).reduce((n, sheet) => n + count(sheet.cssRules), 0)",
    );
    assert!(styles.as_i64().is_some_and(|rules| rules > 100), "{styles} style rules");
    assert_eq!(browser.run("return typeof jQuery"), "function");

    browser.open(&url("doku.php?id=fibers&do=edit"));
    browser.type_into("textarea[name=wikitext]", "====== Fibers ======\nMany **requests** on one thread: äöü €.\n");
    browser.click("button[name='do[save]']");
    browser.shows("Many requests on one thread: äöü €.");
    assert_eq!(browser.run("return document.querySelector('h1.sectionedit1').innerText"), "Fibers");

    browser.open(&url("doku.php?id=start&do=search&q=requests"));
    browser.shows("fibers");
    browser.open(&url("doku.php?id=fibers&do=revisions"));
    browser.shows("created");
    browser.open(&url("lib/images/fileicons/pdf.png"));
    assert!(browser.run("return document.images[0].naturalWidth").as_i64().is_some_and(|width| width > 0));
}
