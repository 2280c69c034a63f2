//! `phpt COPIES FILE [NAME=VALUE...]`: plays a PHP file in so many copies at once; what they wrote, and some counts, as JSON.

use std::path::Path;

use sidestack_test_phpt::play::play;

fn main() {
    let mut args = std::env::args().skip(1);
    let copies = args.next().and_then(|copies| copies.parse().ok());
    let (Some(copies), Some(file)) = (copies, args.next()) else {
        eprintln!("usage: phpt COPIES FILE [NAME=VALUE...]");
        std::process::exit(2);
    };
    let settings: Vec<_> =
        args.filter_map(|arg| arg.split_once('=').map(|(n, v)| (n.to_string(), v.to_string()))).collect();
    let played = play(Path::new(&file), copies, &settings);
    println!("{}", serde_json::to_string(&played).expect("JSON"));
}
