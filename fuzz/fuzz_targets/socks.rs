//! SOCKS5's messages: what more bytes come makes no other message of them, none wants more than the buffer holds, and
//! what is understood is what was sent.
#![no_main]

use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use srt_egress::fuzzing::{MOST_SOCKS, Socks, socks};

fuzz_target!(|data: &[u8]| {
    let [stage, method, cut, bytes @ ..] = data else {
        return;
    };
    let whole = socks(*stage, *method, bytes);
    let part = socks(
        *stage,
        *method,
        &bytes[..bytes.len() * usize::from(*cut) / 256],
    );
    assert!(part == Socks::More || part == whole, "{part:?}, {whole:?}");
    let sent = match &whole {
        Socks::More => {
            assert!(
                bytes.len() < MOST_SOCKS,
                "it waits for more than there is room for"
            );
            return;
        }
        Socks::Malformed => return,
        Socks::Greeting(offered, used) => {
            assert_eq!(*offered, bytes[2..*used].contains(method));
            assert_eq!(bytes[1] as usize + 2, *used);
            return;
        }
        Socks::Credentials(user, password, used) => {
            let counted = |text: &[u8]| [&[text.len() as u8][..], text].concat();
            let sent = [&[1][..], &counted(user), &counted(password)].concat();
            assert_eq!(sent.len(), *used);
            sent
        }
        Socks::Request(wanted, port, used) => {
            let wanted = match wanted {
                Ok(IpAddr::V4(v4)) => [&[1][..], &v4.octets()].concat(),
                Ok(IpAddr::V6(v6)) => [&[4][..], &v6.octets()].concat(),
                Err(name) => [&[3, name.len() as u8][..], name].concat(),
            };
            // The third byte is reserved, and whatever it is.
            let sent = [&[5, 1, bytes[2]][..], &wanted, &port.to_be_bytes()].concat();
            assert_eq!(sent.len(), *used);
            sent
        }
    };
    assert!(bytes.starts_with(&sent));
});
