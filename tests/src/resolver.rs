//! A resolver that says what a table says, and writes down what it was asked: whatever a lookup tells the outside can
//! be seen there, and its answers may change from one question to the next.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

const A: u16 = 1;
const AAAA: u16 = 28;

/// Serves by UDP and TCP at `address` until the program ends.
///
/// `FOLDER/answers` has a line `ADDRESS[,ADDRESS…] NAME` for each name, where `*.NAME` is all that end in it: the
/// first question for it gets the first address, the next the second, and so on; the last stays. It is read anew for
/// each question. `FOLDER/asked`, which is there as soon as questions are taken, gets a line `NAME TYPE` for each.
///
/// # Errors
///
/// It cannot listen, or not write what it was asked.
pub fn serve(address: &str, folder: &Path) -> io::Result<()> {
    let udp = UdpSocket::bind(address)?;
    let tcp = TcpListener::bind(address)?;
    let table = Arc::new(Table {
        answers: folder.join("answers"),
        asked: Mutex::new(fs::File::create(folder.join("asked"))?),
        turns: Mutex::default(),
    });
    let streams = Arc::clone(&table);
    std::thread::spawn(move || {
        for mut stream in tcp.incoming().flatten() {
            let table = Arc::clone(&streams);
            std::thread::spawn(move || -> io::Result<()> {
                let mut length = [0; 2];
                loop {
                    stream.read_exact(&mut length)?;
                    let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
                    stream.read_exact(&mut question)?;
                    let Some(answer) = table.answer(&question) else {
                        return Ok(());
                    };
                    let length = u16::try_from(answer.len()).unwrap_or(u16::MAX);
                    stream.write_all(&length.to_be_bytes())?;
                    stream.write_all(&answer)?;
                }
            });
        }
    });
    let mut buffer = [0; 4096];
    loop {
        let (count, from) = udp.recv_from(&mut buffer)?;
        if let Some(answer) = table.answer(&buffer[..count]) {
            // Whoever asked may be gone.
            let _ = udp.send_to(&answer, from);
        }
    }
}

struct Table {
    answers: PathBuf,
    asked: Mutex<fs::File>,
    turns: Mutex<HashMap<(String, u16), usize>>,
}

impl Table {
    /// The answer to a message, if it is a question at all (RFC 1035, section 4.1).
    fn answer(&self, message: &[u8]) -> Option<Vec<u8>> {
        let mut labels = Vec::new();
        let mut at = 12;
        loop {
            let length = usize::from(*message.get(at)?);
            if length == 0 {
                break;
            }
            let label = message.get(at + 1..at + 1 + length)?;
            labels.push(String::from_utf8_lossy(label).to_lowercase());
            at += 1 + length;
        }
        let end = at + 5;
        let kind = u16::from_be_bytes([*message.get(at + 1)?, *message.get(at + 2)?]);
        let question = message.get(12..end)?;
        let name = labels.join(".");
        writeln!(self.asked.lock().ok()?, "{name} {kind}").ok()?;
        let known = self.known(&name, kind);
        let data = match known {
            Some(Some(IpAddr::V4(address))) => address.octets().to_vec(),
            Some(Some(IpAddr::V6(address))) => address.octets().to_vec(),
            _ => Vec::new(),
        };
        let mut answer = message.get(..2)?.to_vec();
        // A response with recursion desired and available; code 3 is "no such name".
        answer.extend([0x81, if known.is_some() { 0x80 } else { 0x83 }]);
        answer.extend([0, 1, 0, u8::from(!data.is_empty()), 0, 0, 0, 0]);
        answer.extend(question);
        if !data.is_empty() {
            // The name is that of the question; for no second to be kept.
            answer.extend([0xc0, 12]);
            answer.extend(kind.to_be_bytes());
            answer.extend([0, 1, 0, 0, 0, 0, 0, u8::try_from(data.len()).ok()?]);
            answer.extend(data);
        }
        Some(answer)
    }

    /// None for a name that is not there, none within for one that has no address of that kind.
    fn known(&self, name: &str, kind: u16) -> Option<Option<IpAddr>> {
        let table = fs::read_to_string(&self.answers).ok()?;
        let line = table.lines().find_map(|line| {
            let (addresses, pattern) = line.split_once(' ')?;
            let matches = match pattern.strip_prefix('*') {
                Some(end) => name.ends_with(end),
                None => name == pattern,
            };
            matches.then_some(addresses)
        })?;
        let addresses: Vec<IpAddr> = line
            .split(',')
            .filter_map(|text| text.parse().ok())
            .filter(|address: &IpAddr| match kind {
                A => address.is_ipv4(),
                AAAA => address.is_ipv6(),
                _ => false,
            })
            .collect();
        let mut turns = self.turns.lock().ok()?;
        let turn = turns.entry((name.to_owned(), kind)).or_default();
        let address = addresses.get(*turn).or(addresses.last()).copied();
        *turn += 1;
        Some(address)
    }
}
