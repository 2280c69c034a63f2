//! What the attribute says of wrong functions: the compiler's words, compared with the committed ones.

#[test]
fn mistakes_are_explained() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/ui/passes.rs");
    for case in ["arguments", "leaves", "options", "result_without_value", "results", "signatures", "values"] {
        cases.compile_fail(format!("tests/ui/{case}.rs"));
    }
}
