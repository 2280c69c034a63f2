//! Requests that run in turns on one interpreter thread see nothing of each other.
//!
//! Each body runs in several requests at once, as a function of `$n` that returns what was wrong. `w()` lets the others run; `same()`
//! compares.

use std::time::Duration;

use futures_executor::block_on;
use futures_util::future::try_join_all;
use sidestack::php::{Body, Page};
use sidestack::{Engine, Error, Limit};
use sidestack_test_phpt::stage;

const REQUESTS: i64 = 8;

const HEAD: &str = "<?php
    $wrong = [];
    function w() { Sidestack\\sleep(0.002); }
    function same($what, $got, $expected) {
        global $wrong;
        if ($got !== $expected) $wrong[] = \"$what: \" . var_export($got, true) . ' instead of ' . var_export($expected, true);
    }";

#[track_caller]
fn apart(body: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = stage::builder().build().expect("an engine");
    let file = folder.path().join("isolation.php");
    let text = format!("{HEAD}\nreturn function (int $n) {{ global $wrong; {body}\nreturn implode('; ', $wrong); }};");
    std::fs::write(&file, text).expect("a script");
    let script = block_on(engine.load(&file)).expect("a script");
    for _ in 0..2 {
        let calls = (0..REQUESTS).map(|n| script.call::<String>("default", n).deadline(Duration::from_secs(60)));
        let answers = block_on(try_join_all(calls)).unwrap_or_else(|error| panic!("{error}\n{error:?}"));
        for (n, wrong) in answers.iter().enumerate() {
            assert!(wrong.is_empty(), "request {n}: {wrong}");
        }
    }
    assert_eq!(engine.metrics().quarantined, 0);
}

#[test]
fn globals_functions_classes_constants_and_statics() {
    apart(
        "$GLOBALS['g'] = $n; define('D', $n);
         eval(\"class K { const N = $n; static \\$s = $n; } function f() { static \\$c = 0; return ++\\$c + $n; } enum E: int { case A = $n; }\");
         for ($i = 1; $i < 6; $i++) {
             w();
             same('global', $GLOBALS['g'], $n); same('constant', D, $n); same('class', K::N, $n); same('static', K::$s, $n + $i - 1);
             same('function', f(), $n + $i); same('enum', E::from($n)->value, $n);
             K::$s++;
         }",
    );
}

#[test]
fn autoloaders() {
    apart(
        "same('before', count(spl_autoload_functions()), 0);
         spl_autoload_register(function ($c) use ($n) { w(); if ($c === \"C$n\") eval(\"class C$n { const N = $n; }\"); });
         spl_autoload_extensions(\".e$n\");
         for ($i = 0; $i < 3; $i++) {
             w();
             same('loaders', count(spl_autoload_functions()), 1); same('extensions', spl_autoload_extensions(), \".e$n\");
             same('own', class_exists(\"C$n\"), true); same('of another', class_exists('C' . ($n + 1)), false);
         }",
    );
}

#[test]
fn settings() {
    apart(
        "$zones = ['Europe/Paris', 'Asia/Tokyo', 'America/Lima']; $zone = $zones[$n % 3];
         same('before', ini_get('precision'), '14');
         ini_set('precision', 5 + $n); ini_set('memory_limit', (64 + $n) . 'M'); date_default_timezone_set($zone); error_reporting(1 << ($n % 4));
         mb_internal_encoding($n % 2 ? 'UTF-8' : 'ISO-8859-1'); ini_set('include_path', \"/p$n\"); assert_options(ASSERT_ACTIVE, 1);
         for ($i = 0; $i < 5; $i++) {
             w();
             same('precision', ini_get('precision'), (string) (5 + $n)); same('digits', (string) (1 / 3), rtrim(sprintf('%.' . (5 + $n) . 'G', 1 / 3), '0'));
             same('memory', ini_get('memory_limit'), (64 + $n) . 'M'); same('zone', date('e', 0), $zone); same('reporting', error_reporting(), 1 << ($n % 4));
             same('length', mb_strlen('é'), $n % 2 ? 1 : 2); same('path', get_include_path(), \"/p$n\");
         }",
    );
}

#[test]
fn working_folders() {
    apart(
        "$folder = sys_get_temp_dir() . '/sidestack-' . getmypid() . \"-$n\"; @mkdir($folder); chdir($folder);
         file_put_contents('me', \"$n\"); file_put_contents('me.php', \"<?php return $n;\"); mkdir(\"sub$n\");
         for ($i = 0; $i < 5; $i++) {
             w();
             same('folder', getcwd(), realpath($folder)); same('file', file_get_contents('me'), \"$n\"); same('include', include './me.php', $n);
             same('glob', glob('sub*'), [\"sub$n\"]); same('is', is_dir(\"sub$n\"), true); same('real', basename(realpath(\"sub$n\")), \"sub$n\");
             same('fopen', fread(fopen('me', 'r'), 9), \"$n\"); same('db', (bool) new PDO(\"sqlite:db$n\"), true); same('dbfile', file_exists(\"db$n\"), true);
             if ($i == 2) { chdir(\"sub$n\"); w(); same('below', basename(getcwd()), \"sub$n\"); chdir('..'); }
         }
         chdir('/'); array_map('unlink', [\"$folder/me\", \"$folder/me.php\", \"$folder/db$n\"]); rmdir(\"$folder/sub$n\"); rmdir($folder);",
    );
}

#[test]
fn regular_expressions() {
    apart(
        "for ($i = 0; $i < 5; $i++) {
             @preg_match('/./u', $n % 2 ? \"\\xff\" : 'x'); w();
             same('error', preg_last_error(), $n % 2 ? PREG_BAD_UTF8_ERROR : 0);
             same('inside', preg_replace_callback('/(\\d)(\\w)/', function ($m) use ($n) {
                 w(); preg_match('/(?<x>b+)/', str_repeat('b', $n + 1), $o); w();
                 return $m[2] . strlen($o['x']);
             }, \"1a 2b\"), 'a' . ($n + 1) . ' b' . ($n + 1));
             ini_set('pcre.jit', '0'); ini_set('pcre.backtrack_limit', $n % 2 ? 100 : 1000000); w();
             same('limit', preg_match('/^(a+)+$/', str_repeat('a', 12) . 'b'), $n % 2 ? false : 0);
             ini_set('pcre.jit', $n % 3 ? '1' : '0');
         }",
    );
}

#[test]
fn errors_of_libxml() {
    apart(
        "$collects = $n % 2 == 0; $reported = 0;
         set_error_handler(function ($no, $m) use (&$reported, $n) { w(); $reported += str_contains($m, \"t$n\"); return true; });
         same('before', libxml_use_internal_errors(), false);
         if ($collects) libxml_use_internal_errors(true);
         for ($i = 1; $i < 5; $i++) {
             w();
             $d = new DOMDocument; $d->loadXML(\"<t$n>\"); w();
             same('mode', libxml_use_internal_errors(), $collects);
             same('collected', count(libxml_get_errors()), $collects ? $i : 0);
             same('reported', $reported, $collects ? 0 : $i);
             $last = libxml_get_last_error(); same('last', $last && str_contains($last->message, \"t$n\"), true);
         }
         foreach (libxml_get_errors() as $e) same('message', str_contains($e->message, \"t$n\"), true);",
    );
}

#[test]
fn documents_are_read_through_php_s_streams() {
    apart(
        "eval('class W { public $context; private $p = 0, $d; function stream_open($path) { w(); $n = substr($path, strpos($path, chr(47)) + 2); $this->d = \"<r><v>$n</v></r>\"; return true; }
             function stream_read($c) { w(); $r = substr($this->d, $this->p, 4); $this->p += strlen($r); return $r; } function stream_eof() { return $this->p >= strlen($this->d); }
             function stream_stat() { return []; } function url_stat() { return []; } function stream_close() {} function stream_set_option() { return false; } }');
         stream_wrapper_register('wrap', 'W');
         for ($i = 0; $i < 4; $i++) {
             $d = new DOMDocument; $d->preserveWhiteSpace = $n % 2 == 0; $d->load(\"wrap://$n\"); same('dom', $d->textContent, \"$n\");
             $x = simplexml_load_file(\"wrap://$n\"); same('simplexml', (string) $x->v, \"$n\");
             $r = new XMLReader; $r->open(\"wrap://$n\"); $t = ''; while ($r->read()) { w(); $t .= $r->value; } same('reader', $t, \"$n\");
         }",
    );
}

#[test]
fn errors_of_openssl_json_and_php() {
    apart(
        "for ($i = 0; $i < 3; $i++) {
             if ($n % 2) { @openssl_pkey_get_private('no key'); @openssl_decrypt('x', 'aes-128-gcm', 'k', 0, 'iv', 'tag'); }
             w();
             $count = 0; while (openssl_error_string() !== false) $count++;
             same('openssl', $count > 0, $n % 2 == 1);
             json_decode($n % 2 ? '{' : '{}'); w(); same('json', json_last_error(), $n % 2 ? JSON_ERROR_SYNTAX : JSON_ERROR_NONE);
             @trigger_error(\"e$n\"); w(); same('last', error_get_last()['message'], \"e$n\");
             mt_srand($n); $a = [mt_rand(), mt_rand()]; mt_srand($n); $b = [mt_rand()]; w(); $b[] = mt_rand(); same('random', $b, $a);
             strtok(\"a$n b$n c\", ' '); w(); same('token', strtok(' '), \"b$n\");
             ob_start(); echo \"o$n\"; w(); echo '!'; w(); same('output', ob_get_clean(), \"o$n!\");
             $s = serialize([new ArrayObject([$n])]); w(); same('serialized', unserialize($s)[0][0], $n);
         }",
    );
}

/// What is left in OpenSSL's own queue, and what a request leaves behind in PHP's.
#[test]
fn errors_of_openssl_that_nobody_has_asked_for() {
    apart(
        "$server = stream_socket_server('tcp://127.0.0.1:0'); $at = stream_socket_get_name($server, false);
         $none = stream_context_create(['ssl' => ['local_cert' => '/none', 'verify_peer' => false]]);
         for ($i = 0; $i < 3; $i++) {
             same('before', openssl_error_string(), false);
             if ($n % 2) @stream_socket_client(\"ssl://$at\", $no, $m, 5, STREAM_CLIENT_CONNECT, $none);
             w();
             $error = openssl_error_string();
             same('error', $error !== false && str_contains($error, 'No such file'), $n % 2 == 1);
             while (openssl_error_string() !== false);
         }
         // The next request in this context does not find it.
         if ($n % 2) @openssl_pkey_get_private('no key');",
    );
}

/// Handshakes that fail while others are under way, by PHP's streams and by curl.
#[test]
fn errors_of_tls_and_curl() {
    apart(
        "$pem = __DIR__ . '/server.pem';
         if (!file_exists($pem)) {
             file_put_contents($conf = __DIR__ . \"/$n.cnf\", \"[req]\\ndistinguished_name=dn\\n[dn]\\n\");
             $options = ['config' => $conf, 'private_key_type' => OPENSSL_KEYTYPE_EC, 'curve_name' => 'prime256v1'];
             $key = openssl_pkey_new($options);
             $certificate = openssl_csr_sign(openssl_csr_new(['commonName' => 'localhost'], $key, $options), null, $key, 1, $options);
             openssl_x509_export($certificate, $text); openssl_pkey_export($key, $more, null, $options);
             file_put_contents(\"$pem.$n\", $text . $more); rename(\"$pem.$n\", $pem);
         }
         while (openssl_error_string() !== false);
         $context = stream_context_create(['ssl' => ['local_cert' => $pem]]);
         $server = stream_socket_server('ssl://127.0.0.1:0', $no, $m, STREAM_SERVER_BIND | STREAM_SERVER_LISTEN, $context);
         $at = stream_socket_get_name($server, false);
         $serves = Sidestack\\spawn(function () use ($server) {
             for ($i = 0; $i < 6; $i++) if ($c = @stream_socket_accept($server, 20)) { w(); fwrite($c, fgets($c)); fclose($c); }
         });
         $trust = ['ssl' => ['verify_peer' => false, 'verify_peer_name' => false]];
         for ($i = 0; $i < 3; $i++) {
             $c = @stream_socket_client(\"ssl://$at\", $no, $m, 20, STREAM_CLIENT_CONNECT, stream_context_create($n % 2 ? $trust : []));
             same('connected', is_resource($c), $n % 2 == 1);
             if ($c) { w(); fwrite($c, \"hello $n\\n\"); w(); same('answer', fgets($c), \"hello $n\\n\"); fclose($c); }
             else same('warning', str_contains(error_get_last()['message'], 'stream_socket_client()'), true);
             w();
             $curl = curl_init(\"https://$at/$n\"); curl_setopt($curl, CURLOPT_RETURNTRANSFER, true);
             same('curl', curl_exec($curl), false); w();
             same('number', curl_errno($curl), CURLE_SSL_CACERT); same('text', str_contains(curl_error($curl), 'certificate'), true);
             $none = curl_init('http://127.0.0.1:1/'); same('none', [curl_exec($none), curl_errno($none)], [false, CURLE_COULDNT_CONNECT]);
             w(); same('still', curl_errno($curl), CURLE_SSL_CACERT);
         }
         $serves->join();",
    );
}

#[test]
fn handlers_streams_and_wrappers() {
    apart(
        "$seen = [];
         set_error_handler(function ($no, $m) use (&$seen) { $seen[] = $m; return true; });
         $stream = fopen('php://memory', 'w+'); stream_context_set_default(['http' => ['user_agent' => \"a$n\"]]);
         for ($i = 1; $i < 5; $i++) {
             w(); trigger_error(\"m$n\"); w(); same('seen', array_unique($seen), [\"m$n\"]); same('count', count($seen), $i);
             fwrite($stream, $n % 10); rewind($stream); w(); same('stream', strlen(stream_get_contents($stream)), $i);
             same('agent', stream_context_get_options(stream_context_get_default())['http']['user_agent'], \"a$n\");
             same('handles', count(get_resources('stream')) >= 1, true);
         }",
    );
}

#[test]
fn superglobals_headers_and_input() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("page.php");
    let text = format!(
        "{HEAD}
         $n = (int) $_GET['n']; header(\"X-N: $n\"); setcookie('c', \"$n\"); http_response_code(200 + $n);
         for ($i = 0; $i < 5; $i++) {{
             w();
             same('get', $_GET, ['n' => \"$n\"]); same('post', $_POST, ['p' => \"p$n\"]); same('cookie', $_COOKIE['k'], \"k$n\");
             same('server', $_SERVER['HTTP_X_ASKED'], \"a$n\"); same('headers', getallheaders()['X-Asked'], \"a$n\");
             same('input', file_get_contents('php://input'), \"p=p$n\"); same('env', getenv('HTTP_X_ASKED'), \"a$n\");
             same('code', http_response_code(), 200 + $n); same('list', in_array(\"X-N: $n\", headers_list()), true);
             $_SERVER['mine'] = ($_SERVER['mine'] ?? 0) + 1; same('mine', $_SERVER['mine'], $i + 1);
         }}
         echo $wrong ? implode('; ', $wrong) : \"fine $n\";"
    );
    std::fs::write(&file, text).expect("a page");
    let engine = stage::builder().build().expect("an engine");
    let pages = (0..REQUESTS).map(async |n| {
        let request = http::Request::post(format!("/?n={n}"))
            .header("content-type", "application/x-www-form-urlencoded")
            .header("content-length", "4")
            .header("cookie", format!("k=k{n}"))
            .header("x-asked", format!("a{n}"))
            .body(Body::from(format!("p=p{n}").into_bytes()))
            .expect("a request");
        let response = engine.page(Page::new(&file, request)).await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.into_body().collect().await.expect("a body");
        assert_eq!(String::from_utf8_lossy(&body), format!("fine {n}"));
        assert_eq!((i64::from(status), headers["x-n"].to_str().ok()), (200 + n, Some(n.to_string().as_str())));
        assert!(headers["set-cookie"].to_str().expect("text").starts_with(&format!("c={n}")));
        Ok::<_, sidestack::Error>(())
    });
    block_on(try_join_all(pages)).expect("pages");
}

#[test]
fn one_that_uses_too_much_memory_ends_alone() {
    let engine = stage::builder().build().expect("an engine");
    let calm = |engine: &Engine| {
        let text = "$a = range(1, 1000); for ($i = 0; $i < 20; $i++) { Sidestack\\sleep(0.002); if (array_sum($a) !== 500500) return 'wrong'; } return 'fine';";
        engine.spawn(engine.eval::<String>(text)).expect("started")
    };
    let others: Vec<_> = (0..REQUESTS).map(|_| calm(&engine)).collect();
    for _ in 0..3 {
        let text = "ini_set('memory_limit', '8M'); $s = ''; while (true) { $s .= str_repeat('x', 100000); Sidestack\\sleep(0.0001); }";
        let error = block_on(engine.eval::<()>(text).deadline(Duration::from_secs(30))).expect_err("too much");
        assert!(matches!(error, Error::Limit { which: Limit::Memory, .. }), "{error:?}");
    }
    for other in others {
        assert_eq!(block_on(other).expect("an answer"), "fine");
    }
    assert_eq!(engine.metrics().quarantined, 0);
}
