//! Values there and back.

use futures_executor::block_on;
use sidestack::{Module, Value};

use crate::stage::{builder, gives};

#[test]
fn data_comes_back_as_it_went() {
    let engine =
        builder().module(Module::new("host").function("same", |value: Value| Ok(value))).build().expect("an engine");
    let text = "foreach ([null, true, false, 0, -1, PHP_INT_MAX, 1.5, '', 'text', \"\\0\\xff\", [], [1, 2, [3]],
                          ['a' => 1, 'b' => ['c' => null]], [5 => 'x', 7 => 'y']] as $v)
                  if (host\\same($v) !== $v) return var_export($v, true) . ' came back as ' . var_export(host\\same($v), true);
                return 'all the same';";
    assert_eq!(gives::<String>(&engine, text), "all the same");
}

#[test]
fn objects_cross_as_their_public_properties() {
    let engine = builder().build().expect("an engine");
    let text = "enum Suit: string { case Hearts = 'H'; }
                class P { public $x = 1; protected $y = 2; private $z = 3; public $s = Suit::Hearts; }
                return [new P, (object)['a' => 1], new stdClass];";
    let got: Vec<Value> = gives(&engine, text);
    assert_eq!(serde_json::to_string(&got).expect("json"), r#"[{"x":1,"s":"H"},{"a":1},{}]"#);
}

#[test]
fn arguments_arrive() {
    let engine = builder().build().expect("an engine");
    let text = "$args[0] . $args[1]['k'][1]";
    let args = ("x", serde_json::json!({"k": [1, 2]}));
    assert_eq!(block_on(engine.eval_with::<String>(text, args)).expect("text"), "x2");
}

#[test]
fn what_cannot_cross_says_so() {
    let engine =
        builder().module(Module::new("host").function("same", |value: Value| Ok(value))).build().expect("an engine");
    for (value, message) in [
        ("fopen('php://memory', 'r')", "resource"),
        ("(function () { yield 1; })()", "Generator"),
        ("(function () { $a = []; $a[0] = &$a; return $a; })()", "cyclic"),
    ] {
        let text = format!(
            "try {{ host\\same({value}); return 'crossed'; }} catch (Sidestack\\Exception $e) {{ return $e->getCode() . ' ' . $e->getMessage(); }}"
        );
        let got: String = gives(&engine, &text);
        assert!(got.starts_with("convert ") && got.contains(message), "{got}");
    }
}

#[test]
fn exceptions_cross_as_data() {
    let engine = builder().build().expect("an engine");
    let got: Value = gives(&engine, "new PDOException('gone', 0)");
    let json = serde_json::to_value(&got).expect("json");
    assert_eq!((&json["message"], &json["code"]), (&"gone".into(), &serde_json::Value::Null));
    let got: (String, bool) = gives(
        &engine,
        "try { throw new TypeError('odd'); } catch (Error $e) { return [$e->getMessage(), $e instanceof TypeError]; }",
    );
    assert_eq!(got, ("odd".into(), true));
}
