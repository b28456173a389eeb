//! The listeners that stage 1 makes inside the sandbox's network and hands to the daemon.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt, socket,
    sockopt,
};

use super::handshake::Label;
use super::{netns, nft};
use crate::{NetworkSpec, Sockets};

const DNS_PORT: u16 = 53;

/// What was opened, with what each is.
pub(crate) struct Opened {
    pub(crate) labels: Vec<Label>,
    pub(crate) sockets: Vec<OwnedFd>,
    /// Why not every port is captured, if so.
    pub(crate) partial: Option<String>,
}

impl Opened {
    pub(crate) fn fds(&self) -> Vec<RawFd> {
        self.sockets
            .iter()
            .map(|socket| socket.as_raw_fd())
            .collect()
    }

    fn push(&mut self, label: Label, socket: OwnedFd) {
        self.labels.push(label);
        self.sockets.push(socket);
    }
}

/// Opens those that every sandbox has, in the calling thread's network namespace, which [`netns::set_up`] prepared.
///
/// # Errors
/// The listener that could not be opened.
pub(crate) fn open_standard() -> io::Result<Opened> {
    let mut opened = Opened {
        labels: Vec::new(),
        sockets: Vec::new(),
        partial: None,
    };
    let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let http = tcp(loopback(0))?;
    opened.push(Label::Http(http.local_addr()?), http.into());
    let socks = tcp(loopback(0))?;
    opened.push(Label::Socks(socks.local_addr()?), socks.into());
    for address in everywhere() {
        let address = SocketAddr::new(*address, DNS_PORT);
        opened.push(Label::DnsUdp, udp(address)?.into());
        opened.push(Label::DnsTcp, tcp(address)?.into());
    }
    let captured = tcp(loopback(0))?;
    let port = captured.local_addr()?.port();
    opened.push(Label::Transparent, captured.into());
    if netns::has_ipv6() {
        // A redirect keeps the family: to ::1 for IPv6.
        let captured = tcp((Ipv6Addr::LOCALHOST, port).into())?;
        opened.push(Label::Transparent, captured.into());
    }
    if let Err(error) = nft::redirect_all_tcp(port) {
        opened.partial = Some(format!("nftables: {error}"));
    }
    Ok(opened)
}

/// Opens those that this launch's policy asks for beside them.
///
/// # Errors
/// The listener that could not be opened: EADDRINUSE where policy names the very port that a standard one was given.
pub(crate) fn open_named(opened: &mut Opened, spec: &NetworkSpec) -> io::Result<()> {
    for address in &spec.loopback {
        if address.is_ipv4() || netns::has_ipv6() {
            opened.push(Label::Transparent, tcp(*address)?.into());
        }
    }
    for port in spec.udp_ports.iter().filter(|port| **port != DNS_PORT) {
        for address in everywhere() {
            let address = SocketAddr::new(*address, *port);
            opened.push(Label::Udp, udp(address)?.into());
        }
    }
    if opened.partial.is_some() {
        for port in &spec.ports {
            for address in everywhere() {
                // Taken by a named loopback address of the same port: that one is captured then, which is enough.
                if let Ok(listener) = tcp(SocketAddr::new(*address, *port)) {
                    opened.push(Label::Transparent, listener.into());
                }
            }
        }
    }
    Ok(())
}

fn everywhere() -> &'static [IpAddr] {
    const BOTH: &[IpAddr] = &[
        IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    ];
    if netns::has_ipv6() { BOTH } else { &BOTH[..1] }
}

/// Sorts received descriptors by their labels.
pub(crate) fn sort(
    labels: &[Label],
    fds: Vec<OwnedFd>,
    captures_every_port: bool,
) -> Option<(Sockets, SocketAddr, SocketAddr)> {
    let (mut http, mut socks) = (None, None);
    let (mut transparent, mut dns_udp, mut dns_tcp) = (Vec::new(), Vec::new(), Vec::new());
    let mut udp = Vec::new();
    if labels.len() != fds.len() {
        return None;
    }
    for (label, fd) in labels.iter().zip(fds) {
        match label {
            Label::Http(address) => http = Some((TcpListener::from(fd), *address)),
            Label::Socks(address) => socks = Some((TcpListener::from(fd), *address)),
            Label::Transparent => transparent.push(TcpListener::from(fd)),
            Label::DnsUdp => dns_udp.push(UdpSocket::from(fd)),
            Label::DnsTcp => dns_tcp.push(TcpListener::from(fd)),
            Label::Udp => udp.push(UdpSocket::from(fd)),
        }
    }
    let ((http, http_address), (socks, socks_address)) = (http?, socks?);
    Some((
        Sockets {
            http,
            socks,
            transparent,
            dns_udp,
            dns_tcp,
            udp,
            captures_every_port,
        },
        http_address,
        socks_address,
    ))
}

fn tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = open_socket(SockType::Stream, address)?;
    let backlog = Backlog::new(1024).unwrap_or(Backlog::MAXCONN);
    listen(&socket, backlog).map_err(|error| named(address, error))?;
    Ok(socket.into())
}

fn udp(address: SocketAddr) -> io::Result<UdpSocket> {
    Ok(open_socket(SockType::Datagram, address)?.into())
}

fn open_socket(kind: SockType, address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    };
    let open = || -> nix::Result<OwnedFd> {
        let fd = socket(
            family,
            kind,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
            None,
        )?;
        if address.is_ipv6() {
            setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
        }
        bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
        Ok(fd)
    };
    open().map_err(|error| named(address, error))
}

fn named(address: SocketAddr, error: nix::errno::Errno) -> io::Error {
    let error = io::Error::from(error);
    io::Error::new(error.kind(), format!("{address}: {error}"))
}
