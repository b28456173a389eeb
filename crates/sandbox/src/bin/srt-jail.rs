//! The private helper between the daemon and a sandboxed server; see `linux/jail.rs`.

fn main() {
    std::process::exit(srt_sandbox::jail_main());
}
