//! The suspension matrix of PHP (see ../suspension/mod.rs); the table is docs/suspension-php.md.

#[path = "../suspension/mod.rs"]
mod suspension;
#[path = "../web/mod.rs"]
mod web;

use std::path::Path;

use sidestack::{Call, Engine, Error, Script};
use suspension::{Cell, Counts, Guest, Point, Way, check_docs, module};

use crate::stage::builder;

fn points() -> Vec<Point> {
    vec![
        Point { name: "sleep", text: "points\\enter('@KEY@'); usleep(5000); points\\leave('@KEY@'); return $n;" },
        Point {
            name: "HTTP",
            text: "$url = points\\url($n); points\\enter('@KEY@'); $body = Sidestack\\Http::get($url)->body; points\\leave('@KEY@'); return (int)$body;",
        },
        Point {
            name: "HTTP by a stream",
            text: "$url = points\\url($n); points\\enter('@KEY@'); $body = file_get_contents($url); points\\leave('@KEY@'); return (int)$body;",
        },
        Point { name: "SQL", text: "points\\enter('@KEY@'); $v = points\\sql($n); points\\leave('@KEY@'); return $v;" },
        Point {
            name: "channel",
            text: "$ch = new Sidestack\\Channel(1);
                   Sidestack\\spawn(function () use ($ch, $n) { points\\sleep(2); $ch->send($n); });
                   points\\enter('@KEY@'); $v = $ch->recv(); points\\leave('@KEY@'); return $v;",
        },
    ]
}

fn n(n: i64) -> String {
    n.to_string()
}

fn ways() -> Vec<Way> {
    let way = Way::new;
    vec![
        way("plain call", "return P($n);", n),
        way("nested call", "$a = fn ($x) => P($x) + 1; $b = fn ($x) => $a($x) + 1; return $b($n);", |n| (n + 2).to_string()),
        way("callback of the host", "return points\\each('P'(...), $n);", |n| (2 * n).to_string()),
        way("callback of the host, in its own callback", "return points\\each(fn ($x) => points\\each('P'(...), $x), $n);", |n| {
            (4 * n).to_string()
        }),
        way("`usort` comparator", "$t = [3, 1, 2]; usort($t, function ($a, $b) use ($n) { P($n); return $a <=> $b; }); return implode($t);", |_| {
            "123".into()
        }),
        way("`array_map`, `array_filter`, `array_reduce`", "return array_reduce(array_filter(array_map(fn ($x) => P($n) + $x, [1, 2]), fn ($x) => P($n) === $n), fn ($s, $x) => $s + $x + P($n), 0);", |n| {
            (4 * n + 3).to_string()
        }),
        way("`array_walk` by reference", "$t = [1, 2]; array_walk($t, function (&$v) use ($n) { $v += P($n); }); return implode(' ', $t);", |n| {
            format!("{} {}", n + 1, n + 2)
        }),
        way("`preg_replace_callback`", "return preg_replace_callback('/\\w/', fn ($m) => $m[0] . P($n), 'ab');", |n| format!("a{n}b{n}")),
        way("`call_user_func_array`, named arguments", "return call_user_func_array(fn ($a, $b) => P($n) + $a - $b, ['b' => 1, 'a' => 2]);", |n| {
            (n + 1).to_string()
        }),
        way("constructor", "return (new class($n) { public $v; function __construct($n) { $this->v = P($n); } })->v;", n),
        way("destructor", "$got = null; $o = new class($got, $n) { function __construct(public &$got, public $n) {} function __destruct() { $this->got = P($this->n); } }; unset($o); return $got;", n),
        way("destructor that the collector calls", "$got = new stdClass; $o = new class($got, $n) { public $self; function __construct(public $got, public $n) { $this->self = $this; } function __destruct() { $this->got->v = P($this->n); } }; unset($o); gc_collect_cycles(); return $got->v;", n),
        way("`__get`, `__set`, `__isset`, `__unset`", "$o = new class($n) { public $log = ''; function __construct(private $n) {} function __get($k) { return P($this->n); } function __set($k, $v) { $this->log .= P($this->n) . $v; } function __isset($k) { return P($this->n) === $this->n; } function __unset($k) { $this->log .= P($this->n); } };
              $o->x = 'y'; unset($o->z); return $o->q . $o->log . (isset($o->w) ? 'is' : 'not');", |n| format!("{n}{n}y{n}is")),
        way("property hooks", "$o = new class($n) { function __construct(private $n) {} public $v = 0 { get => P($this->n) + $this->v; set { $this->v = $value + P($this->n); } } }; $o->v = 1; return $o->v;", |n| {
            (2 * n + 1).to_string()
        }),
        way("`__call`, `__callStatic`, `__invoke`", "$o = new class { function __call($m, $a) { return $m . P($a[0]); } static function __callStatic($m, $a) { return $m . P($a[0]); } function __invoke($x) { return P($x); } };
              return $o->a($n) . $o::b($n) . $o($n);", |n| format!("a{n}b{n}{n}")),
        way("`__toString`", "$o = new class($n) { function __construct(private $n) {} function __toString(): string { return 'v' . P($this->n); } }; return \"$o\" . str_replace('v', 'w', $o) . in_array('v' . $n, [$o]);", |n| {
            format!("v{n}w{n}1")
        }),
        way("`__clone`", "$o = new class($n) { public $v; function __construct(private $n) {} function __clone() { $this->v = P($this->n); } }; return (clone $o)->v;", n),
        way("`__serialize`, `__unserialize`", "eval('class S@ID@ { public $v; function __serialize(): array { return [P($this->v)]; } function __unserialize(array $d): void { $this->v = P($d[0]) + 1; } }'); $o = new ('S@ID@'); $o->v = $n; return unserialize(serialize($o))->v;", |n| {
            (n + 1).to_string()
        }),
        way("`JsonSerializable`", "return json_encode([new class($n) implements JsonSerializable { function __construct(private $n) {} function jsonSerialize(): mixed { return P($this->n); } }]);", |n| format!("[{n}]")),
        way("`ArrayAccess`, `Countable`", "$o = new class($n) implements ArrayAccess, Countable { function __construct(private $n) {} function offsetExists($k): bool { return P($this->n) === $this->n; } function offsetGet($k): mixed { return $k . P($this->n); } function offsetSet($k, $v): void { P($this->n); } function offsetUnset($k): void { P($this->n); } function count(): int { return P($this->n); } };
              $o['a'] = 1; unset($o['b']); return $o['c'] . (isset($o['d']) ? 1 : 0) . count($o);", |n| format!("c{n}1{n}")),
        way("`Iterator` in `foreach`", "$s = 0; foreach (new class($n) implements Iterator { private $i = 0; function __construct(private $n) {} function current(): mixed { return P($this->n) + $this->i; } function key(): mixed { return P($this->n); } function next(): void { P($this->n); $this->i++; } function rewind(): void { P($this->n); } function valid(): bool { P($this->n); return $this->i < 2; } } as $k => $v) $s += $k + $v; return $s;", |n| {
            (4 * n + 1).to_string()
        }),
        way("generator, `yield from`", "$g = (function () use ($n) { yield P($n); $x = yield from (function () use ($n) { yield P($n) + 1; return P($n); })(); yield $x + 2; })(); $s = 0; foreach ($g as $v) $s += $v; return $s;", |n| {
            (3 * n + 3).to_string()
        }),
        way("`finally` of a generator that is destroyed", "$got = null; $g = (function () use ($n, &$got) { try { yield 1; } finally { $got = P($n); } })(); $g->current(); unset($g); return $got;", n),
        way("`finally` after an exception", "try { try { throw new Exception('e'); } finally { $v = P($n); } } catch (Exception $e) { return $v . $e->getMessage(); }", |n| format!("{n}e")),
        way("error handler", "set_error_handler(function ($no, $message) use ($n, &$got) { $got = P($n); return true; }); echo $undefined; restore_error_handler(); return $got;", n),
        way("autoloader", "spl_autoload_register(function ($c) { eval(\"class $c { const V = \" . P((int)substr($c, 4)) . '; }'); }); return constant(\"Auto$n::V\");", n),
        way("included file", "return include __DIR__ . \"/wait_@ID@_$n.php\";", n),
        way("handler of an output buffer", "ob_start(); ob_start(fn ($text) => $text . P($n)); echo 'text'; ob_end_flush(); return ob_get_clean();", |n| format!("text{n}")),
        way("stream wrapper in PHP", "if (!in_array('wait', stream_get_wrappers())) stream_wrapper_register('wait', 'WaitStream'); return file_get_contents(\"wait://$n\");", n),
        way("stream filter in PHP", "stream_filter_register('wait', 'WaitFilter'); $f = fopen('php://memory', 'w+'); stream_filter_append($f, 'wait', STREAM_FILTER_WRITE, $n); fwrite($f, 'x'); rewind($f); return stream_get_contents($f);", |n| format!("x{n}")),
        way("shutdown function", "file_put_contents(__DIR__ . \"/down_@ID@_$n\", ''); register_shutdown_function(fn () => file_put_contents(__DIR__ . \"/down_@ID@_$n\", P($n))); return $n;", n),
        way("Fiber", "$f = new Fiber(function ($x) use ($n) { $a = P($x); $b = Fiber::suspend($a); return P($n) + $b; }); $a = $f->start($n); $f->resume(1); return $a . ' ' . $f->getReturn();", |n| format!("{n} {}", n + 1)),
        way("Fibers in Fibers", "$deep = function ($d) use (&$deep, $n) { if ($d === 0) return P($n); $f = new Fiber(fn () => $deep($d - 1) + 1); $f->start(); return $f->getReturn(); }; return $deep(5);", |n| (n + 5).to_string()),
        way("Fiber that is destroyed", "$got = null; $f = new Fiber(function () use ($n, &$got) { try { Fiber::suspend(); } finally { $got = P($n); } }); $f->start(); unset($f); gc_collect_cycles(); return $got;", n),
        way("SQL function of SQLite (`createFunction`)", "$db = new Pdo\\Sqlite('sqlite::memory:'); $db->createFunction('wait', fn ($x) => P($x) + 1); return $db->query(\"select wait($n) + wait($n)\")->fetchColumn();", |n| (2 * n + 2).to_string()),
        way("handlers of an XML parser", "$got = ''; $p = xml_parser_create(); xml_set_element_handler($p, function ($p, $name) use (&$got, $n) { $got .= $name . P($n); }, function () {}); xml_parse($p, '<a><b/></a>', true); return $got;", |n| format!("A{n}B{n}")),
        way("PHP functions in XPath", "$d = new DOMDocument; $d->loadXML('<a><b/><b/></a>'); $x = new DOMXPath($d); $x->registerNamespace('php', 'http://php.net/xpath'); $x->registerPhpFunctions(); return $x->query(\"//b[php:function('P', $n) = $n]\")->length + $n;", |n| (n + 2).to_string()),
        way("write function of libcurl", "$url = points\\url($n); $c = curl_init($url); $got = ''; curl_setopt($c, CURLOPT_WRITEFUNCTION, function ($c, $data) use (&$got, $n) { P($n); $got .= $data; return strlen($data); }); curl_exec($c); return $got;", n),
        way(
            "all of them in one another",
            "$o = new class($n) { function __construct(private $n) {} function __get($k) { $n = $this->n; return preg_replace_callback('/x/', function () use ($n) {
                $t = [2, 1]; usort($t, function ($a, $b) use ($n, &$out) { $f = new Fiber(fn () => points\\each(fn ($x) => array_map('P', [$x])[0], $n)); $f->start(); $out = $f->getReturn(); return $a <=> $b; });
                return $out; }, 'x') . $k; } }; return $o->k;",
            |n| format!("{}k", 2 * n),
        ),
    ]
}

/// What scripts of some rows need of classes.
const CLASSES: &str = r"
class WaitStream {
    public $context; private $left;
    function stream_open($path) { $this->left = (string)P((int)parse_url($path, PHP_URL_HOST)); return true; }
    function stream_read($count) { $now = $this->left; $this->left = ''; P(0 + (int)$now); return $now; }
    function stream_eof() { return $this->left === ''; }
    function stream_stat() { return false; }
}
class WaitFilter extends php_user_filter {
    function filter($in, $out, &$consumed, $closing): int {
        while ($b = stream_bucket_make_writeable($in)) { $b->data .= P($this->params); $consumed += $b->datalen; stream_bucket_append($out, $b); }
        return PSFS_PASS_ON;
    }
}
";

struct OfPhp;

impl Guest for OfPhp {
    const WHO: &'static str = "PHP scripts";

    fn points(&self) -> Vec<Point> {
        points()
    }

    fn ways(&self) -> Vec<Way> {
        ways()
    }

    async fn load(&self, engine: &Engine, folder: &Path, cell: Cell<'_>) -> Result<Script, Error> {
        let point = cell.point.text.replace("@KEY@", cell.key);
        let way = cell.way.text.replace("@ID@", cell.file);
        if cell.way.name == "included file" {
            for n in 0..suspension::FIBERS {
                let path = folder.join(format!("wait_{}_{n}.php", cell.file));
                std::fs::write(path, format!("<?php return P({n});")).expect("a file");
            }
        }
        let path = folder.join(format!("{}.php", cell.file));
        let text = format!(
            "<?php\nfunction P($n) {{ {point} }}\n{CLASSES}\nreturn ['text' => fn ($n) => (string)(function ($n) {{\n{way}\n}})($n)];"
        );
        std::fs::write(&path, text).expect("a script");
        engine.load(&path).await
    }

    fn call(&self, script: &Script, _: Cell<'_>, n: i64) -> Call<String> {
        script.call("text", n)
    }
}

#[test]
fn every_way_in_waits_for_everything() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let counts = Counts::default();
        let engine = builder().memory(8 << 30).module(module(&counts, web::serve())).build().expect("an engine");
        let (table, wrong) = suspension::run(&OfPhp, &engine, &counts).await;
        assert!(wrong.is_empty(), "{}\n{table}", wrong.join("\n"));
        assert_eq!(engine.metrics().quarantined, 0);
        check_docs("suspension-php.md", &table);
    });
}
