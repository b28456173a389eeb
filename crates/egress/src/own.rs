//! This host's own addresses, which a name must not lead to.
//!
//! They are asked for at each dial, since an interface may have come up since the last; and reading them takes the
//! kernel longer than the dial itself. So on Linux they are kept, and read anew when the kernel has said that an address
//! came or went (rtnetlink(7)). It says so before the change is of use to anybody.

use std::io;
use std::net::IpAddr;

/// This host's own addresses, as they are now.
pub(crate) fn addresses() -> io::Result<Vec<IpAddr>> {
    #[cfg(target_os = "linux")]
    return watch::addresses();
    #[cfg(not(target_os = "linux"))]
    read()
}

fn read() -> io::Result<Vec<IpAddr>> {
    let mut own = Vec::new();
    for interface in nix::ifaddrs::getifaddrs()? {
        let Some(address) = interface.address else {
            continue;
        };
        if let Some(v4) = address.as_sockaddr_in() {
            own.push(IpAddr::V4(v4.ip()));
        } else if let Some(v6) = address.as_sockaddr_in6() {
            own.push(IpAddr::V6(v6.ip()));
        }
    }
    Ok(own)
}

#[cfg(target_os = "linux")]
mod watch {
    use std::io;
    use std::net::IpAddr;
    use std::os::fd::OwnedFd;
    use std::sync::{Mutex, PoisonError};

    use rustix::io::Errno;
    use rustix::net::netlink::SocketAddrNetlink;
    use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};

    /// `RTMGRP_IPV4_IFADDR` and `RTMGRP_IPV6_IFADDR` (linux/rtnetlink.h): addresses that come and go.
    const GROUPS: u32 = 0x10 | 0x100;

    static WATCH: Mutex<Watch> = Mutex::new(Watch {
        told: None,
        known: None,
    });

    struct Watch {
        /// Where the kernel tells.
        told: Option<OwnedFd>,
        /// What was read since it last did.
        known: Option<Vec<IpAddr>>,
    }

    pub(super) fn addresses() -> io::Result<Vec<IpAddr>> {
        // A panic in here leaves at worst nothing known.
        let mut watch = WATCH.lock().unwrap_or_else(PoisonError::into_inner);
        watch.addresses()
    }

    impl Watch {
        fn addresses(&mut self) -> io::Result<Vec<IpAddr>> {
            if self.told.is_none() {
                self.told = open().ok();
            }
            let Some(told) = &self.told else {
                // Without being told, nothing may be kept.
                return super::read();
            };
            if changed(told) {
                self.known = None;
            }
            if let Some(known) = &self.known {
                return Ok(known.clone());
            }
            let known = super::read()?;
            self.known = Some(known.clone());
            Ok(known)
        }
    }

    fn open() -> rustix::io::Result<OwnedFd> {
        // Protocol 0 is NETLINK_ROUTE.
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let told = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        rustix::net::bind(&told, &SocketAddrNetlink::new(0, GROUPS))?;
        Ok(told)
    }

    /// Whether something was told since the last time. What it was does not matter, nor whether all of it fitted.
    fn changed(told: &OwnedFd) -> bool {
        let mut changed = false;
        let mut message = [0; 4096];
        loop {
            match rustix::net::recv(told, &mut message[..], RecvFlags::DONTWAIT) {
                Err(Errno::AGAIN) => return changed,
                Err(Errno::INTR) => {}
                // Messages were lost for want of room: that is news, too.
                Ok(_) | Err(Errno::NOBUFS) => changed = true,
                // Not to be trusted; read afresh, this time and the next.
                Err(_) => return true,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_os = "linux")]
    use std::process::Command;

    /// Addresses can be added in a network namespace of one's own, so the test runs itself in one.
    #[cfg(target_os = "linux")]
    #[test]
    fn an_address_that_comes_or_goes_is_seen_at_once() {
        let status = Command::new("unshare")
            .args(["--user", "--map-root-user", "--net"])
            .arg(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "own::tests::in_a_namespace"])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&status.stdout);
        assert!(
            status.status.success() && said.contains("1 passed"),
            "{status:?}"
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    #[ignore = "run by the one above"]
    fn in_a_namespace() {
        let ip = |change: &str| {
            let words = format!("address {change} dev lo");
            let ended = Command::new("ip").args(words.split(' ')).status().unwrap();
            assert!(ended.success(), "{words}");
        };
        for address in ["192.0.2.7", "2001:db8::7"] {
            let parsed = address.parse().unwrap();
            let prefix = if address.contains(':') { 128 } else { 32 };
            for _ in 0..3 {
                assert!(!super::addresses().unwrap().contains(&parsed));
                ip(&format!("add {address}/{prefix}"));
                assert!(super::addresses().unwrap().contains(&parsed), "{address}");
                ip(&format!("del {address}/{prefix}"));
            }
        }
    }

    #[test]
    fn they_hold_loopback_each_time() {
        for _ in 0..3 {
            let own = super::addresses().unwrap();
            assert!(own.contains(&"127.0.0.1".parse().unwrap()), "{own:?}");
            assert_eq!(own, super::read().unwrap());
        }
    }
}
