//! A server that does as it is told, a line at a time: connections that stay open, without a proxy and through one.

use std::path::Path;
use std::time::Duration;

use crate::{SOON, Talk, World};

/// bash, because its /dev/tcp connects like a program that knows of no proxy.
const SCRIPT: &str = r#"
# A connection's answer: what comes back for a word, or the end.
speak() { { printf '%s\n' "$2" >&"$1"; } 2>/dev/null; if IFS= read -r line <&"$1"; then echo "got $line"; else echo closed; fi; }
while read -r command host port word; do
  case $command in
    open) exec 3>&-; { exec 3<>"/dev/tcp/$host/$port"; } 2>/dev/null && echo open || echo refused ;;
    say) speak 3 "$host" ;;
    wait) if IFS= read -r line <&3; then echo "got $line"; else echo closed; fi ;;
    # A connection of its own, whose answer comes when it comes.
    later) ( if { exec 4<>"/dev/tcp/$host/$port"; } 2>/dev/null; then echo "$word: $(speak 4 "$word")"; else echo "$word: refused"; fi ) & ;;
    http)
      proxy=${HTTP_PROXY#http://}
      exec 5<>"/dev/tcp/${proxy%:*}/${proxy#*:}"
      printf 'GET http://%s:%s/ HTTP/1.1\r\nHost: %s:%s\r\nConnection: close\r\n\r\n' "$host" "$port" "$host" "$port" >&5
      tr '\r\n' '  ' <&5; echo
      exec 5>&- ;;
    write) { echo text >"$host"; } 2>/dev/null && echo written || echo refused ;;
    read) { IFS= read -r line <"$host"; } 2>/dev/null && echo "got $line" || echo refused ;;
    move) mv -f -- "$host" "$port" 2>/dev/null && echo moved || echo refused ;;
    link) ln -sfn -- "$host" "$port" 2>/dev/null && echo linked || echo refused ;;
    complain) echo "$host" >&2; echo done ;;
  esac
done
"#;

/// A server of that kind, in a sandbox.
#[derive(Debug)]
pub struct Shell(pub Talk);

impl Shell {
    /// Starts one under a name.
    pub fn start(world: &World, name: &str) -> Self {
        Self::with(world, &["--name", name])
    }

    /// Starts one with these options of the shim.
    ///
    /// # Panics
    ///
    /// When it does not come up.
    #[track_caller]
    pub fn with(world: &World, options: &[&str]) -> Self {
        let mut arguments = options.to_vec();
        arguments.extend(["--", "bash", "-c", SCRIPT]);
        let mut shell = Self(Talk::start(&mut world.srt(&arguments)));
        assert_eq!(shell.ask("complain up"), "done");
        shell
    }

    /// Says a line and gives the next that comes.
    #[track_caller]
    pub fn ask(&mut self, line: &str) -> String {
        self.0.send(line);
        self.next(SOON)
    }

    /// The next line.
    ///
    /// # Panics
    ///
    /// When none comes in time.
    #[track_caller]
    pub fn next(&mut self, within: Duration) -> String {
        let line = self.0.line(within);
        let line = line.unwrap_or_else(|| panic!("the server ended: {}", self.0.stderr()));
        String::from_utf8_lossy(&line).trim_end().to_owned()
    }

    /// Whether a new connection is let through: it says a word, and has it back.
    #[track_caller]
    pub fn reaches(&mut self, host: &str, port: u16) -> bool {
        match self.ask(&format!("open {host} {port}")).as_str() {
            "open" => self.ask("say hello") == "got hello",
            _ => false,
        }
    }
}

/// Puts a file in another's place, as most editors save.
///
/// # Panics
///
/// When that fails.
pub fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).expect("a file of our own");
    std::fs::rename(&new, path).expect("a file of our own");
}
