//! `test-scripted FOLDER`: the server of the chaos test, over stdin and stdout. Each launch writes down in FOLDER what
//! it reads and what it writes.

use std::path::Path;

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [folder] = arguments.as_slice() else {
        eprintln!("usage: test-scripted FOLDER");
        std::process::exit(2);
    };
    if let Err(error) = srt_tests::chaos::scripted::serve(Path::new(folder)) {
        eprintln!("test-scripted: {error}");
        std::process::exit(1);
    }
}
