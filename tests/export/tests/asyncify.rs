//! A1, A2 and A5: a plain C program calls an async function. A binary of its own: the child's output is read, the object file compared.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use sidestack_test_export::{Bed, wait};

unsafe extern "C" {
    fn unbuffered(_: i64) -> i64;
    fn app_fetch(url: i64) -> i64;
    fn app_loop(rounds: i64) -> i64;
    fn case_ticker(_: i64) -> i64;
    fn case_stop(_: i64) -> i64;
}

/// A server that answers any request with 7, after 50 ms; its URL, terminated.
fn serve() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 1024];
            let read = stream.read(&mut request).expect("a request");
            assert!(request[..read].starts_with(b"GET /seven HTTP/1.1\r\n"));
            std::thread::sleep(Duration::from_millis(50));
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n7").expect("an answer");
        }
    });
    format!("http://{address}/seven\0")
}

const CHILD: &str = "SIDESTACK_TEST_CHILD";

#[test]
fn before_waiting_got_after() {
    if std::env::var_os(CHILD).is_some() {
        let bed = Bed::new();
        bed.run(unbuffered, 0);
        let url = serve();
        println!("\nvalue {}", bed.run(app_fetch, url.as_ptr() as i64));
        return;
    }
    let mut child = Command::new(std::env::current_exe().expect("this binary"));
    child.args(["--exact", "before_waiting_got_after", "--nocapture", "--test-threads=1"]).env(CHILD, "1");
    let output = child.output().expect("the child");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("text");
    let words = ["before", "waiting", "got", "after", "value 7"];
    let lines: Vec<&str> = text.lines().map(|line| line.rsplit("... ").next().unwrap_or(line)).collect();
    let told: Vec<&str> = lines.into_iter().filter(|line| words.contains(line)).collect();
    assert_eq!(told, words, "{text}");
}

/// How often a 5 ms ticker went on while another fiber waited 50 ms for an answer.
fn ticks_meanwhile(url: &str) -> i64 {
    let bed = Bed::new();
    let ticker = bed.engine.spawn(bed.call(case_ticker, 0)).expect("started");
    let begun = Instant::now();
    assert_eq!(bed.run(app_fetch, url.as_ptr() as i64), 7);
    assert!(begun.elapsed() >= Duration::from_millis(50));
    bed.run(case_stop, 0);
    wait(ticker).expect("ticks")
}

#[test]
fn a_ticker_on_the_same_thread_goes_on() {
    let url = serve();
    // On a machine that is busy with other work the thread itself may miss a tick or two: the best of many.
    let mut most = 0;
    assert!(
        (0..100).any(|_| {
            most = most.max(ticks_meanwhile(&url));
            most >= 8
        }),
        "{most} ticks at most"
    );
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// The instructions of a function in a linked program.
fn instructions(program: &Path, function: &str) -> Vec<String> {
    let mut objdump = Command::new("objdump");
    let output = run(objdump.args(["--no-show-raw-insn", &format!("--disassemble={function}")]).arg(program));
    let text = String::from_utf8(output.stdout).expect("text");
    let begin = format!("<{function}>:");
    // After the address, which is the linker's.
    let lines =
        text.lines().skip_while(|line| !line.contains(&begin)).skip(1).take_while(|line| !line.trim().is_empty());
    lines.filter_map(|line| Some(line.split_once(':')?.1.trim().to_string())).collect()
}

/// The program with Sidestack has the very object file that the C compiler makes without it, and the loop in it is
/// the same instructions as in a plain C program: so it runs at the same speed.
#[test]
fn the_object_file_is_untouched() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("csrc");
    for file in ["app.c", "exports.h"] {
        fs::copy(source.join(file), folder.path().join(file)).expect("a copy");
    }
    let cc = env!("SIDESTACK_TEST_CC");
    let compile = ["-std=c11", "-O2", "-fPIE", "-c", "app.c", "-o", "app.o"];
    run(Command::new(cc).current_dir(folder.path()).args(compile));
    let linked = fs::read(env!("SIDESTACK_TEST_APP")).expect("the object that this binary was linked with");
    assert!(linked == fs::read(folder.path().join("app.o")).expect("the plain object"), "the object files differ");

    let plain = "#include \"exports.h\"\n#include <stdio.h>\n\
        int64_t app_fetch(int64_t), app_loop(int64_t);\n\
        int32_t do_fetch(const char *url) { (void)url; return 7; }\n\
        int main(void) { return !printf(\"%lld\", (long long)(app_loop(1000000) + app_fetch(0))); }\n";
    fs::write(folder.path().join("plain.c"), plain).expect("written");
    let program = folder.path().join("plain");
    run(Command::new(cc).current_dir(folder.path()).args(["plain.c", "app.o", "-o", "plain"]));
    let output = String::from_utf8(run(&mut Command::new(&program)).stdout).expect("text");
    let plain_result: i64 = output.lines().last().and_then(|line| line.parse().ok()).expect("a number");
    assert_eq!(Bed::new().run(app_loop, 1_000_000) + 7, plain_result);

    let here = instructions(&std::env::current_exe().expect("this binary"), "app_loop");
    assert!(here.len() > 10, "{here:?}");
    // Jumps name their target's address: the distance within the function counts.
    let relative = |lines: Vec<String>| -> Vec<String> {
        lines
            .into_iter()
            .map(|line| match line.split_once('<') {
                Some((jump, target)) => format!("{} <{target}", jump.split_whitespace().next().unwrap_or_default()),
                None => line,
            })
            .collect()
    };
    assert_eq!(relative(here), relative(instructions(&program, "app_loop")));
}
