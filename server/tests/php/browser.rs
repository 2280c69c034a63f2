//! A real browser, by the WebDriver protocol: chromium and its driver.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::LONG;
use crate::server::skip;

/// A browser with one window.
pub struct Browser {
    driver: Child,
    address: SocketAddr,
    session: String,
}

impl Browser {
    /// Starts one, if there is one; else the test says so.
    pub fn start() -> Option<Browser> {
        let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
        let driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(driver) = driver else {
            skip("chromedriver (Debian packages chromium, chromium-driver)");
            return None;
        };
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

    /// Opens a page.
    pub fn open(&self, url: &str) {
        self.ask("POST", "/url", &json!({ "url": url }));
    }

    /// Runs a function's body there; its value.
    pub fn run(&self, script: &str) -> Value {
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

    /// Replaces what a field has in it.
    pub fn type_into(&self, selector: &str, text: &str) {
        let element = self.find(selector);
        self.ask("POST", &format!("/element/{element}/clear"), &json!({}));
        self.ask("POST", &format!("/element/{element}/value"), &json!({ "text": text }));
    }

    /// Clicks on an element.
    pub fn click(&self, selector: &str) {
        let element = self.find(selector);
        self.ask("POST", &format!("/element/{element}/click"), &json!({}));
    }

    /// Waits until the page shows this.
    pub fn shows(&self, text: &str) {
        self.until("document.body.innerText", |shown| shown.contains(text), text);
    }

    /// Waits until the cursor is in the element of this id.
    pub fn focuses(&self, id: &str) {
        self.until("document.activeElement.id", |focused| focused == id, id);
    }

    fn until(&self, expression: &str, good: impl Fn(&str) -> bool, what: &str) {
        let begun = Instant::now();
        loop {
            let value = self.run(&format!("return {expression}"));
            if value.as_str().is_some_and(&good) {
                return;
            }
            assert!(begun.elapsed() < LONG, "no {what:?} in {value}");
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
