//! The rows of PHP's matrix: where a script waits. A row's text is the body of a function of `$n`; one that begins with
//! [`PAGE`] is a page, whose output counts.

use crate::suspension::Way;

/// Marks a row that is a page.
pub const PAGE: &str = "// a page\n";

fn n(n: i64) -> String {
    n.to_string()
}

/// All rows.
pub fn ways() -> Vec<Way> {
    [calls(), callbacks(), magic(), interfaces(), handlers(), streams(), ends(), fibers()]
        .into_iter()
        .flatten()
        .collect()
}

fn calls() -> Vec<Way> {
    let way = Way::new;
    vec![
        way("plain call", "return P($n);", n),
        way(
            "nested call",
            "function a($x) { return P($x) + 1; }
             function b($x) { return a($x) + 1; }
             return b($n);",
            |n| (n + 2).to_string(),
        ),
        way(
            "`call_user_func_array`, closures, first-class callables",
            "$p = P(...); return call_user_func_array(fn ($x) => $p($x), [$n]);",
            n,
        ),
        way("arguments of one call", "return implode(' ', [P($n), P($n + 0), max(P($n), -1)]);", |n| {
            format!("{n} {n} {n}")
        }),
        way("`eval`", "return eval('return P($n);');", n),
        way(
            "`try`, `catch`, `finally`",
            "$v = ''; try { $v .= P($n); throw new Exception('x'); } catch (Exception $e) { $v .= P($n); } finally { $v .= P($n); } return $v;",
            |n| format!("{n}{n}{n}"),
        ),
        way(
            "`static` variables and constants' initial values",
            "function s($n) { static $v = new SplObjectStorage; static $w = null; $w ??= P($n); return $w + count($v); } return s($n) . s(99);",
            |n| format!("{n}{n}"),
        ),
        way("callback of the host", "return points\\each(P(...), $n);", |n| (2 * n).to_string()),
        way(
            "callback of the host, in its own callback",
            "return points\\each(fn ($x) => points\\each(P(...), $x), $n);",
            |n| (4 * n).to_string(),
        ),
        way(
            "generators, `yield from`",
            "function g($n) { yield P($n); yield from (function () use ($n) { yield P($n) + 1; return 0; })(); } return implode(' ', iterator_to_array(g($n), false));",
            |n| format!("{n} {}", n + 1),
        ),
        way(
            "a generator's `finally`, when it is destroyed",
            "$v = null; $g = (function () use ($n, &$v) { try { yield 1; } finally { $v = P($n); } })(); $g->current(); unset($g); return $v;",
            n,
        ),
    ]
}

fn callbacks() -> Vec<Way> {
    let way = Way::new;
    vec![
        way(
            "`usort`, `uasort`, `uksort` comparators",
            "$a = [3, 1, 2]; usort($a, function ($x, $y) use ($n) { P($n); return $x <=> $y; }); uasort($a, fn ($x, $y) => P($n) * 0 + $y <=> $x); uksort($a, fn ($x, $y) => P($n) * 0 + $x <=> $y); return implode($a);",
            |_| "123".into(),
        ),
        way("`preg_replace_callback`", "return preg_replace_callback('/\\w/', fn ($m) => $m[0] . P($n), 'ab');", |n| {
            format!("a{n}b{n}")
        }),
        way(
            "`preg_replace_callback_array`, other patterns inside",
            "return preg_replace_callback_array(['/a/' => function ($m) use ($n) { preg_match('/(x)(y)/', 'xy', $o); return P($n) . $o[2]; }, '/b/' => fn ($m) => P($n)], 'ab');",
            |n| format!("{n}y{n}"),
        ),
        way("`array_map`", "return implode(' ', array_map(fn ($x, $y) => $x + $y + P($n), [1, 2], [0, 0]));", |n| {
            format!("{} {}", n + 1, n + 2)
        }),
        way(
            "`array_filter`, `array_reduce`, `array_walk`",
            "$a = array_filter([1, 2, 3], fn ($x) => P($n) >= 0 && $x > 1); array_walk($a, function (&$x) use ($n) { $x += P($n); }); return array_reduce($a, fn ($c, $x) => P($n) * 0 + $c + $x, 0);",
            |n| (2 * n + 5).to_string(),
        ),
        way(
            "`iterator_apply`, `CallbackFilterIterator`",
            "$i = new CallbackFilterIterator(new ArrayIterator([1, 2]), fn ($x) => P($n) >= 0); $s = 0; iterator_apply($i, function () use ($i, $n, &$s) { $s += P($n) + $i->current(); return true; }); return $s;",
            |n| (2 * n + 3).to_string(),
        ),
        way(
            "XML parser handlers",
            "$v = ''; $p = xml_parser_create(); xml_set_element_handler($p, function () use ($n, &$v) { $v .= P($n); }, function () use ($n, &$v) { $v .= P($n); }); xml_parse($p, '<a><b/></a>', true); return $v;",
            |n| n.to_string().repeat(4),
        ),
        way(
            "an SQL function of SQLite's, in PHP",
            "$db = new PDO('sqlite::memory:'); $db->sqliteCreateFunction('p', fn ($x) => P($n) + $x); return $db->query('select p(1) + p(2)')->fetchColumn();",
            |n| (2 * n + 3).to_string(),
        ),
        way(
            "tick functions",
            "$v = 0; $f = function () use ($n, &$v) { $v = P($n); }; register_tick_function($f); declare(ticks=1) { $x = 1; $x = 2; } unregister_tick_function($f); return $v;",
            n,
        ),
    ]
}

fn magic() -> Vec<Way> {
    let way = Way::new;
    vec![
        way(
            "`__construct`",
            "class C { public $v; function __construct($n) { $this->v = P($n); } } return (new C($n))->v;",
            n,
        ),
        way(
            "`__destruct`",
            "class C { static $v; function __construct(public $n) {} function __destruct() { self::$v = P($this->n); } } $c = new C($n); unset($c); return C::$v;",
            n,
        ),
        way(
            "`__destruct` of many, while garbage is collected",
            "class C { static $v = 0; public $self; function __construct(public $n) { $this->self = $this; } function __destruct() { self::$v += P($this->n); } } for ($i = 0; $i < 3; $i++) new C($n); gc_collect_cycles(); return C::$v;",
            |n| (3 * n).to_string(),
        ),
        way(
            "`__get`, `__set`, `__isset`, `__unset`",
            "class C { public $v = ''; function __construct(public $n) {} function __get($k) { return $k . P($this->n); } function __set($k, $x) { $this->v .= $k . P($this->n) . $x; } function __isset($k) { return P($this->n) >= 0; } function __unset($k) { $this->v .= P($this->n); } } $c = new C($n); $c->a = 'b'; unset($c->x); return $c->y . (isset($c->q) ? '+' : '-') . $c->v;",
            |n| format!("y{n}+a{n}b{n}"),
        ),
        way(
            "`__call`, `__callStatic`, `__invoke`",
            "class C { function __call($k, $a) { return $k . P($a[0]); } static function __callStatic($k, $a) { return $k . P($a[0]); } function __invoke($x) { return P($x); } } $c = new C; return $c->a($n) . C::b($n) . $c($n);",
            |n| format!("a{n}b{n}{n}"),
        ),
        way(
            "`__toString`, in `implode`, in `sort`",
            "class C { function __construct(public $n, public $t = '') {} function __toString(): string { return $this->t . P($this->n); } } $a = [new C($n, 'b'), new C($n, 'a')]; sort($a, SORT_STRING); return new C($n) . implode($a);",
            |n| format!("{n}a{n}b{n}"),
        ),
        way(
            "`__clone`, `__debugInfo`",
            "class C { function __construct(public $v) {} function __clone() { $this->v = P($this->v); } function __debugInfo() { return ['v' => P($this->v)]; } } $c = clone new C($n); ob_start(); var_dump($c); return preg_match('/int\\((\\d+)\\)/', ob_get_clean(), $m) ? $m[1] : '';",
            n,
        ),
        way(
            "`__serialize`, `__unserialize`, `__sleep`, `__wakeup`",
            "class A { function __construct(public $v) {} function __serialize(): array { return [P($this->v)]; } function __unserialize(array $a): void { $this->v = P($a[0]); } } class B { function __construct(public $v) {} function __sleep() { P($this->v); return ['v']; } function __wakeup() { $this->v = P($this->v) + 1; } } [$a, $b] = unserialize(serialize([new A($n), new B($n)])); return $a->v . ' ' . $b->v;",
            |n| format!("{n} {}", n + 1),
        ),
        way(
            "property hooks",
            "class C { public $v { get => P($this->v); set { $this->v = P($value); } } } $c = new C; $c->v = $n; return $c->v;",
            n,
        ),
        way(
            "lazy objects' initializers",
            "class C { public $v; } $c = (new ReflectionClass('C'))->newLazyGhost(function ($c) use ($n) { $c->v = P($n); }); return $c->v;",
            n,
        ),
    ]
}

fn interfaces() -> Vec<Way> {
    let way = Way::new;
    vec![
        way(
            "`Iterator`, in `foreach`",
            "class I implements Iterator { private $i; function __construct(private $n) {} function rewind(): void { P($this->n); $this->i = 0; } function valid(): bool { P($this->n); return $this->i < 2; } function current(): mixed { return P($this->n) + $this->i; } function key(): mixed { return P($this->n); } function next(): void { P($this->n); $this->i++; } } $s = 0; foreach (new I($n) as $k => $v) $s += $k + $v; return $s;",
            |n| (4 * n + 1).to_string(),
        ),
        way(
            "`IteratorAggregate`, in `iterator_to_array`, spread",
            "class I implements IteratorAggregate { function __construct(private $n) {} function getIterator(): Iterator { P($this->n); for ($i = 0; $i < 2; $i++) yield P($this->n) + $i; } } return implode(' ', [...new I($n), ...iterator_to_array(new I($n))]);",
            |n| format!("{n} {} {n} {}", n + 1, n + 1),
        ),
        way(
            "`ArrayAccess`, `Countable`",
            "class A implements ArrayAccess, Countable { public $v = ''; function __construct(private $n) {} function offsetExists($o): bool { return P($this->n) >= 0; } function offsetGet($o): mixed { return $o . P($this->n); } function offsetSet($o, $x): void { $this->v .= $o . P($this->n); } function offsetUnset($o): void { $this->v .= P($this->n); } function count(): int { return P($this->n); } } $a = new A($n); $a['s'] = 1; unset($a['u']); return $a['g'] . (isset($a['i']) ? '+' : '-') . count($a) . $a->v;",
            |n| format!("g{n}+{n}s{n}{n}"),
        ),
        way(
            "`JsonSerializable`",
            "return json_encode(new class($n) implements JsonSerializable { function __construct(private $n) {} function jsonSerialize(): mixed { return [P($this->n)]; } });",
            |n| format!("[{n}]"),
        ),
        way(
            "`SplHeap::compare`",
            "$h = new class($n) extends SplHeap { function __construct(private $n) {} protected function compare($a, $b): int { P($this->n); return $b <=> $a; } }; foreach ([3, 1, 2] as $x) $h->insert($x); return implode(iterator_to_array($h, false));",
            |_| "123".into(),
        ),
        way(
            "session handler",
            "// a page\nclass S implements SessionHandlerInterface { static $log = ''; function __construct(private $n) {} function open($p, $k): bool { self::$log .= P($this->n); return true; } function read($id): string|false { self::$log .= P($this->n); return ''; } function write($id, $d): bool { self::$log .= P($this->n); return true; } function close(): bool { return P($this->n) >= 0; } function destroy($id): bool { return true; } function gc($l): int|false { return 0; } } session_set_save_handler(new S($n), false); session_start(); $_SESSION['a'] = 1; session_write_close(); echo S::$log;",
            |n| n.to_string().repeat(3),
        ),
    ]
}

fn handlers() -> Vec<Way> {
    let way = Way::new;
    vec![
        way(
            "error handler",
            "set_error_handler(function ($no, $m) use ($n, &$v) { $v = P($n); return true; }); echo $undefined; restore_error_handler(); return $v;",
            n,
        ),
        way(
            "error handler that throws",
            "set_error_handler(function ($no, $m) use ($n) { throw new Exception(P($n)); }); try { 1 <=> $undefined; } catch (Exception $e) { return $e->getMessage(); }",
            n,
        ),
        way(
            "autoloader, of a class and its parent",
            "spl_autoload_register(function ($c) use ($n) { $v = P($n); eval($c === 'Leaf' ? 'class Leaf extends Root {}' : \"class $c { const V = $v; }\"); }); return Leaf::V;",
            n,
        ),
        way(
            "output buffer callback",
            "ob_start(); ob_start(fn ($b) => $b . P($n)); echo 'x'; ob_end_flush(); return ob_get_clean();",
            |n| format!("x{n}"),
        ),
        way("a page's output", "// a page\nfor ($i = 0; $i < 3; $i++) { echo P($n), ' '; flush(); }", |n| {
            format!("{n} {n} {n} ")
        }),
        way(
            "exception handler",
            "// a page\nset_exception_handler(function ($e) use ($n) { echo $e->getMessage(), P($n); }); throw new Exception('x');",
            |n| format!("x{n}"),
        ),
        way(
            "`header_register_callback`",
            "// a page\nheader_register_callback(function () use ($n) { global $v; $v = P($n); }); echo 'x'; flush(); echo $v;",
            |n| format!("x{n}"),
        ),
    ]
}

fn streams() -> Vec<Way> {
    let way = Way::new;
    const WRAPPER: &str = "class W { public $context; private $p = 0, $d; static $n; function stream_open($path) { $v = P(self::$n); $this->d = '<?php return ' . $v . ' + 1;'; return true; } function stream_read($c) { P(self::$n); $r = substr($this->d, $this->p, 8); $this->p += strlen($r); return $r; } function stream_eof() { return $this->p >= strlen($this->d); } function stream_stat() { P(self::$n); return []; } function stream_set_option($o, $a, $b) { return false; } function stream_close() { P(self::$n); } } W::$n = $n; stream_wrapper_register('wrap', 'W'); ";
    let include: &'static str = Box::leak(format!("{WRAPPER} return include 'wrap://x';").into_boxed_str());
    let read: &'static str = Box::leak(format!("{WRAPPER} return file_get_contents('wrap://x');").into_boxed_str());
    vec![
        way("`include` through a stream wrapper", include, |n| (n + 1).to_string()),
        way("`file_get_contents` through a stream wrapper", read, |n| format!("<?php return {n} + 1;")),
        way(
            "stream filter",
            "class F extends php_user_filter { static $n; function filter($in, $out, &$used, bool $closing): int { while ($b = stream_bucket_make_writeable($in)) { $b->data .= P(self::$n); $used += $b->datalen; stream_bucket_append($out, $b); } return PSFS_PASS_ON; } } F::$n = $n; stream_filter_register('f', 'F'); $s = fopen('php://memory', 'w+'); stream_filter_append($s, 'f', STREAM_FILTER_WRITE); fwrite($s, 'x'); rewind($s); return stream_get_contents($s);",
            |n| format!("x{n}"),
        ),
        way(
            "curl's write callback",
            "$v = ''; $c = curl_init(points\\url($n)); curl_setopt($c, CURLOPT_WRITEFUNCTION, function ($c, $data) use ($n, &$v) { $v .= $data . '/' . P($n); return strlen($data); }); curl_exec($c); return $v;",
            |n| format!("{n}/{n}"),
        ),
    ]
}

fn ends() -> Vec<Way> {
    let way = Way::new;
    vec![
        way("shutdown function", "// a page\nregister_shutdown_function(function () use ($n) { echo P($n); });", n),
        way(
            "shutdown function after `exit`",
            "// a page\nregister_shutdown_function(function () use ($n) { echo P($n); }); exit('x');",
            |n| format!("x{n}"),
        ),
        way(
            "destructors at the request's end",
            "// a page\nclass C { public $self; function __construct(public $n) { $this->self = $this; } function __destruct() { echo P($this->n); } } $c = new C($n);",
            n,
        ),
        way(
            "output buffer callback at the request's end",
            "// a page\nob_start(fn ($b) => $b . P($n)); echo 'x';",
            |n| format!("x{n}"),
        ),
        way(
            "a suspended Fiber's `finally` at the request's end",
            "// a page\n$f = new Fiber(function () use ($n) { try { Fiber::suspend(); } finally { echo P($n); } }); $f->start();",
            n,
        ),
    ]
}

fn fibers() -> Vec<Way> {
    let way = Way::new;
    vec![
        way(
            "Fiber",
            "$f = new Fiber(function ($x) { $a = P($x); $b = Fiber::suspend($a); return P($b) + 1; }); $a = $f->start($n); P($n); $f->resume($n); return $a . ' ' . $f->getReturn();",
            |n| format!("{n} {}", n + 1),
        ),
        way(
            "Fibers in Fibers",
            "function deep($d, $n) { if ($d == 0) return P($n); $f = new Fiber(function () use ($d, $n) { Fiber::suspend(deep($d - 1, $n) + 1); }); return $f->start(); } return deep(5, $n);",
            |n| (n + 5).to_string(),
        ),
        way(
            "Fibers resumed out of order",
            "$fs = []; for ($i = 0; $i < 3; $i++) { $fs[$i] = new Fiber(function () use ($i, $n) { $x = P($n) + Fiber::suspend(); return P($n) * 0 + $x + $i; }); $fs[$i]->start(); } foreach ([2, 0, 1] as $i) $fs[$i]->resume(10 * P($n)); return implode(' ', array_map(fn ($f) => $f->getReturn(), $fs));",
            |n| format!("{} {} {}", 11 * n, 11 * n + 1, 11 * n + 2),
        ),
        way(
            "Fiber destroyed while it is suspended, in its `finally`",
            "$v = null; $f = new Fiber(function () use ($n, &$v) { try { Fiber::suspend(); } finally { $v = P($n); } }); $f->start(); unset($f); return $v;",
            n,
        ),
        way(
            "a generator in a Fiber, a Fiber in a generator",
            "$f = new Fiber(function () use ($n) { $g = (function () use ($n) { $i = new Fiber(fn () => Fiber::suspend(P($n))); yield $i->start(); yield P($n); })(); foreach ($g as $v) Fiber::suspend($v); }); $a = $f->start(); $b = $f->resume(); return \"$a $b\";",
            |n| format!("{n} {n}"),
        ),
        way(
            "garbage collected in a Fiber",
            "class C { static $v = 0; public $self; function __construct(public $n) { $this->self = $this; } function __destruct() { self::$v += P($this->n); } } $f = new Fiber(function () use ($n) { for ($i = 0; $i < 3; $i++) new C($n); gc_collect_cycles(); }); $f->start(); return C::$v;",
            |n| (3 * n).to_string(),
        ),
        way(
            "all of them in one another",
            "class C { function __construct(public $n) {} function __get($k) { return preg_replace_callback('/x/', function () use ($k) { $out = null; $a = [2, 1]; usort($a, function ($x, $y) use (&$out) { $f = new Fiber(fn () => points\\each(fn ($z) => P($z), $this->n)); $f->start(); $out = $f->getReturn(); return $x <=> $y; }); return $out . $k; }, 'x'); } } return (new C($n))->k;",
            |n| format!("{}k", 2 * n),
        ),
    ]
}
