//! `test-dns ADDRESS FOLDER`: the resolver of a world's own network. Ends when whoever started it does.

use std::path::Path;

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [address, folder] = arguments.as_slice() else {
        eprintln!("usage: test-dns ADDRESS FOLDER");
        std::process::exit(2);
    };
    #[cfg(target_os = "linux")]
    if let Err(error) =
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))
    {
        eprintln!("cannot end with whoever started it: {error}");
        std::process::exit(1);
    }
    if let Err(error) = srt_tests::resolver::serve(address, Path::new(folder)) {
        eprintln!("cannot serve names at {address}: {error}");
        std::process::exit(1);
    }
}
