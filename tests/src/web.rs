//! A small web server, for what an allowed or refused request would reach: in the test program on a loopback
//! address, or in a world's own network.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::{SOON, Talk, World, until};

/// Answers every request with the same text; its thread ends with the test program.
#[derive(Debug)]
pub struct Web {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    /// The program, where it is one of its own.
    program: Option<Talk>,
}

impl Web {
    /// Listens on an address, `127.0.0.1:0` for any port.
    ///
    /// # Panics
    ///
    /// When it cannot.
    pub fn on(address: &str, answer: &'static str) -> Self {
        let listener = TcpListener::bind(address)
            .unwrap_or_else(|error| panic!("cannot listen on {address}: {error}"));
        let address = listener.local_addr().expect("a listener has an address");
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        std::thread::spawn(move || {
            serve(&listener, answer, || {
                count.fetch_add(1, Ordering::SeqCst);
            });
        });
        Self {
            address,
            connections,
            program: None,
        }
    }

    /// Listens on an address of a world's own network. With the answer `--echo` it says back each line instead.
    ///
    /// # Panics
    ///
    /// When it cannot.
    pub fn in_world(world: &World, address: &str, answer: &str) -> Self {
        let mut command = world.bare(world.program("test-web"));
        let mut program = Talk::start(command.arg(address).arg(answer));
        let line = program.line(SOON).unwrap_or_default();
        let address = String::from_utf8_lossy(&line)
            .trim_end()
            .parse()
            .unwrap_or_else(|_| panic!("cannot listen on {address}: {}", program.stderr()));
        Self {
            address,
            connections: Arc::default(),
            program: Some(program),
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// How many connections came, once it is as many as are expected: what a program in a namespace of its own accepted
    /// is told a moment later.
    ///
    /// # Panics
    ///
    /// When fewer come.
    #[track_caller]
    pub fn came(&self, expected: usize) -> usize {
        until("connections", SOON, || {
            Some(self.connections()).filter(|count| *count >= expected)
        })
    }

    /// How many connections came so far.
    pub fn connections(&self) -> usize {
        if let Some(program) = &self.program {
            // One line for each, written before the connection is served.
            self.connections
                .fetch_add(program.waiting(), Ordering::SeqCst);
        }
        self.connections.load(Ordering::SeqCst)
    }
}

/// Serves until the program ends. `accepted` is called for each connection before it is served.
pub fn serve(listener: &TcpListener, answer: &str, accepted: impl Fn()) {
    for stream in listener.incoming().flatten() {
        accepted();
        let answer = answer.to_owned();
        std::thread::spawn(move || {
            let mut reader = BufReader::new(&stream);
            let mut line = String::new();
            loop {
                line.clear();
                match reader.read_line(&mut line) {
                    Ok(0) | Err(_) => return,
                    Ok(_) if line.trim_end().is_empty() => break,
                    Ok(_) => {}
                }
            }
            let _ = write!(
                &stream,
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{answer}",
                answer.len()
            );
        });
    }
}

/// Says back each line of each connection until the program ends. `accepted` is called for each before it is served.
pub fn echo(listener: &TcpListener, accepted: impl Fn()) {
    for stream in listener.incoming().flatten() {
        accepted();
        std::thread::spawn(move || {
            let mut reader = BufReader::new(&stream);
            let mut line = String::new();
            while let Ok(1..) = reader.read_line(&mut line) {
                if (&stream).write_all(line.as_bytes()).is_err() {
                    return;
                }
                line.clear();
            }
        });
    }
}
