//! `test-web ADDRESS ANSWER|--echo`: the web server of a world's own network, or one that says back each line that it
//! is told. Prints where it listens, then a line for each
//! connection; ends when its stdin does.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [address, answer] = arguments.as_slice() else {
        eprintln!("usage: test-web ADDRESS ANSWER|--echo");
        std::process::exit(2);
    };
    let listener = match TcpListener::bind(address) {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!("cannot listen on {address}: {error}");
            std::process::exit(1);
        }
    };
    let said = |line: String| {
        let mut stdout = std::io::stdout();
        let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
    };
    if let Ok(address) = listener.local_addr() {
        said(address.to_string());
    }
    // Nobody who started it, nobody to serve.
    std::thread::spawn(|| {
        let mut rest = [0; 64];
        while let Ok(1..) = std::io::stdin().read(&mut rest) {}
        std::process::exit(0);
    });
    if answer == "--echo" {
        return srt_tests::web::echo(&listener, || said("connection".to_owned()));
    }
    srt_tests::web::serve(&listener, answer, || said("connection".to_owned()));
}
