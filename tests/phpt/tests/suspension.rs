//! The suspension matrix of PHP (see tests/suspension); the table is docs/suspension-php.md.

#[path = "../../suspension/mod.rs"]
mod suspension;
mod ways;
#[path = "../../web/mod.rs"]
mod web;

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use sidestack::php::{Body, Page};
use sidestack::{Engine, Error, Script};
use sidestack_test_phpt::{probe, stage};
use suspension::{Cell, Counts, Guest, PATIENCE, Point, Way, check_docs, module};

fn points() -> Vec<Point> {
    let point = |name, text| Point { name, text };
    vec![
        point(
            "`Sidestack\\sleep`",
            "points\\enter('@KEY@'); Sidestack\\sleep(0.005); points\\leave('@KEY@'); return $n;",
        ),
        point("`usleep`", "points\\enter('@KEY@'); usleep(5000); points\\leave('@KEY@'); return $n;"),
        point(
            "HTTP",
            "$url = points\\url($n);
             points\\enter('@KEY@');
             $body = Sidestack\\Http::get($url)->body;
             points\\leave('@KEY@');
             return (int) $body;",
        ),
        point(
            "`fgets` of a socket",
            "[$host, $path] = explode('/', substr(points\\url($n), 7));
             points\\enter('@KEY@');
             $socket = stream_socket_client(\"tcp://$host\");
             fwrite($socket, \"GET /$path HTTP/1.0\\r\\n\\r\\n\");
             while (($line = fgets($socket)) !== false) $body = $line;
             points\\leave('@KEY@');
             return (int) $body;",
        ),
        point("SQL", "points\\enter('@KEY@'); $v = points\\sql($n); points\\leave('@KEY@'); return $v;"),
        point(
            "channel",
            "$channel = new Sidestack\\Channel(1);
             Sidestack\\spawn(function () use ($channel, $n) { points\\sleep(2); $channel->send($n); });
             points\\enter('@KEY@');
             $v = $channel->recv();
             points\\leave('@KEY@');
             return $v;",
        ),
    ]
}

struct OfPhp {
    engine: Engine,
    /// Where the pages are.
    folder: Mutex<PathBuf>,
}

impl OfPhp {
    /// A page's output.
    async fn page(&self, file: PathBuf, n: i64) -> Result<String, Error> {
        let request = http::Request::get(format!("/?n={n}")).body(Body::empty()).expect("a request");
        let response = self.engine.page(Page::new(file, request)).deadline(PATIENCE).await?;
        let output = match response.into_body().collect().await {
            Ok(output) => output,
            Err(error) => return Err(*error.downcast::<Error>().expect("how the page's call ended")),
        };
        Ok(String::from_utf8_lossy(&output).into_owned())
    }
}

impl Guest for OfPhp {
    const WHO: &'static str = "PHP scripts";

    fn points(&self) -> Vec<Point> {
        points()
    }

    fn ways(&self) -> Vec<Way> {
        ways::ways()
    }

    async fn load(&self, engine: &Engine, folder: &Path, cell: Cell<'_>) -> Result<Script, Error> {
        let key = cell.key.replace('\'', "\\'");
        let (point, way) = (cell.point.text.replace("@KEY@", &key), cell.way.text);
        let path = folder.join(format!("{}.php", cell.file));
        let point = format!("function P($n) {{ {point} }}");
        let text = match way.strip_prefix(ways::PAGE) {
            Some(way) => format!("<?php {point}\n$n = (int) $_GET['n'];\n{way}"),
            None => format!("<?php {point}\nfunction cell($n) {{\n{way}\n}}\nreturn fn ($n) => (string) cell($n);"),
        };
        std::fs::write(&path, text).expect("a script");
        *self.folder.lock().expect("no panic") = folder.to_path_buf();
        engine.load(&path).await
    }

    async fn call(&self, script: &Script, cell: Cell<'_>, n: i64) -> Result<String, Error> {
        if cell.way.text.starts_with(ways::PAGE) {
            let file = self.folder.lock().expect("no panic").join(format!("{}.php", cell.file));
            return self.page(file, n).await;
        }
        script.call("default", n).deadline(PATIENCE).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_way_in_waits_for_everything() {
    let counts = Counts::default();
    let engine = stage::builder().memory(8 << 30).module(module(&counts, web::serve())).build().expect("an engine");
    let guest = OfPhp { engine: engine.clone(), folder: Mutex::default() };
    let (table, wrong) = suspension::run(&guest, &engine, &counts).await;
    assert!(wrong.is_empty(), "{}\n{table}", wrong.join("\n"));
    // The interpreter is as good as before.
    let next: i64 = engine.eval("gc_collect_cycles(); return 42;").await.expect("the next call");
    assert_eq!(next, 42);
    assert_eq!(engine.metrics().quarantined, 0);
    let [upcalls, outside] = probe::bounds();
    assert!(upcalls > 1000 && outside == 0, "{outside} of {upcalls} upcalls outside of the published stack");
    check_docs("suspension-php.md", &table);
}
