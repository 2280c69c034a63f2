//! `ss.http` in Lua scripts, against a local server.
#![cfg(feature = "tokio")]

mod web;

use serde::de::DeserializeOwned;
use sidestack::{Engine, Error, Limit, Lua};

async fn run<R: DeserializeOwned + Send + 'static>(body: &str) -> Result<R, Error> {
    let engine = Engine::builder(Lua::new()).threads(1).build().expect("an engine");
    let text = format!("local ss = require 'sidestack'\nlocal base = ...\n{body}");
    engine.eval_with(&text, format!("http://{}", web::serve())).await
}

#[tokio::test]
async fn get_gives_status_headers_and_body() {
    let got: (i64, String, i64, String, String) = run("local r = ss.http.get(base .. '/echo?hello')
         local none = ss.http.get(base .. '/none')
         local json = ss.http.get(base .. '/json')
         local v = ss.json.decode(json.body)
         assert(v.a[2] == 2 and v.none == ss.json.null)
         return r.status, r.body, none.status, json.headers['content-type'], none.body")
    .await
    .expect("answers");
    assert_eq!(got, (200, "hello".into(), 404, "application/json".into(), "nothing here".into()));
}

#[tokio::test]
async fn post_sends_text_and_json() {
    let got: Vec<String> = run(
        "local http, out = ss.http, {}
         out[1] = http.post(base .. '/mirror', 'text', { headers = { ['x-test'] = 'y' } }).body
         out[2] = http.post(base .. '/mirror', { a = 1 }).body
         out[3] = http.request { method = 'PUT', url = base .. '/mirror', json = { 1 }, headers = { ['Content-Type'] = 'a/b' } }.body
         out[4] = http.request { url = base .. '/mirror' }.body
         local options = { headers = {} }
         http.post(base .. '/mirror', { 1 }, options)
         out[5] = tostring(next(options.headers) == nil and options.url == nil and options.body == nil)
         return out",
    )
    .await
    .expect("answers");
    let expected = ["POST\n\ny\ntext", "POST\napplication/json\n\n{\"a\":1}", "PUT\na/b\n\n[1]", "GET\n\n\n", "true"];
    assert_eq!(got, expected);
}

#[tokio::test]
async fn requests_run_side_by_side_in_a_group() {
    let got: (String, String) = run("return ss.group(function(g)
           local a = g:spawn(ss.http.get, base .. '/echo?a')
           local b = g:spawn(ss.http.get, base .. '/echo?b')
           return a:join().body, b:join().body
         end)")
    .await
    .expect("answers");
    assert_eq!(got, ("a".into(), "b".into()));
}

#[tokio::test]
async fn redirects_are_followed_unless_told_not_to() {
    let got: (String, i64, String) = run("local r = ss.http.get(base .. '/moved', { redirects = false })
         return ss.http.get(base .. '/moved').body, r.status, r.headers.location")
    .await
    .expect("answers");
    assert_eq!(got, ("moved".into(), 302, "/echo?moved".into()));
}

#[tokio::test]
async fn what_goes_wrong_has_a_code() {
    let begun = std::time::Instant::now();
    let codes: Vec<String> = run("local codes = {}
         local function fails(f, ...)
           local ok, e = pcall(f, ...)
           codes[#codes + 1] = ok and 'ok' or tostring(e.code)
         end
         fails(ss.http.get, 'http://127.0.0.1:1/')
         fails(ss.http.get, base .. '/slow', { timeout = 0.1 })
         fails(ss.timeout, 0.1, ss.http.get, base .. '/slow')
         fails(ss.http.get, 'no url')
         fails(ss.http.get)
         fails(ss.http.get, base, { timeout = -1 })
         fails(ss.http.request, { url = base, method = 'A B' })
         fails(ss.http.get, base, { headers = { ['a b'] = 'x' } })
         return codes")
    .await
    .expect("codes");
    assert_eq!(
        codes,
        ["connect", "timeout", "timeout", "bad_argument", "convert", "bad_argument", "bad_argument", "bad_argument"]
    );
    assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[test]
fn without_a_runtime_http_says_so() {
    let engine = Engine::builder(Lua::new()).threads(1).build().expect("an engine");
    let text = "local _, e = pcall(require 'sidestack'.http.get, 'http://127.0.0.1:1/') return e.code";
    assert_eq!(engine.eval::<String>(text).blocking().expect("a code"), "no_runtime");
}

/// What a server sends is charged to the fiber that asked, as it comes.
#[tokio::test]
async fn a_body_without_an_end_is_a_limit_of_memory() {
    let engine = Engine::builder(Lua::new()).threads(1).build().expect("an engine");
    let base = format!("http://{}", web::serve());
    let get = "local base = ... return #require 'sidestack'.http.get(base).body";
    let endless = engine
        .eval_with::<i64>(get, format!("{base}/endless"))
        .memory(4 << 20)
        .deadline(std::time::Duration::from_secs(20));
    let (endless, beside) = tokio::join!(endless, engine.eval_with::<i64>(get, format!("{base}/echo?hello")));
    let error = endless.expect_err("it has no end");
    assert!(
        matches!(error, Error::Limit { which: Limit::Memory, value: 0x40_0000, setting: "call_memory", .. }),
        "{error:?}"
    );
    assert_eq!(beside.expect("another one"), 5);
    assert_eq!(engine.metrics().failures.memory, 1);
}
