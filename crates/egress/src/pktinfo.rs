//! Replying from the address that was asked.
//!
//! Inside a sandbox every address is local (AnyIP) and one socket hears what is sent to all of them; a client that
//! asked 8.8.8.8 takes an answer from nowhere else. The kernel tells the address on request, and takes it back.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd as _;

use nix::libc::{in_addr, in_pktinfo, in6_pktinfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt,
    sockopt,
};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// Who asked, and which of our addresses.
#[derive(Clone, Copy)]
pub(crate) struct Path {
    peer: SockaddrStorage,
    asked: Option<Asked>,
}

#[derive(Clone, Copy)]
enum Asked {
    V4(in_pktinfo),
    V6(in6_pktinfo),
}

impl Path {
    /// Who asked.
    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        if let Some(v4) = self.peer.as_sockaddr_in() {
            return Some(SocketAddr::V4((*v4).into()));
        }
        self.peer
            .as_sockaddr_in6()
            .map(|v6| SocketAddr::V6((*v6).into()))
    }

    /// The address that was asked.
    pub(crate) fn asked(&self) -> Option<IpAddr> {
        Some(match self.asked? {
            // In network byte order, as the kernel has it.
            Asked::V4(info) => IpAddr::V4(Ipv4Addr::from(u32::from_be(info.ipi_spec_dst.s_addr))),
            Asked::V6(info) => IpAddr::V6(Ipv6Addr::from(info.ipi6_addr.s6_addr)),
        })
    }
}

/// Has the kernel tell each query's destination.
pub(crate) fn prepare(socket: &std::net::UdpSocket) -> io::Result<()> {
    if socket.local_addr()?.is_ipv4() {
        setsockopt(socket, sockopt::Ipv4PacketInfo, &true)?;
    } else {
        setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &true)?;
    }
    Ok(())
}

pub(crate) async fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<(usize, Path)> {
    socket
        .async_io(Interest::READABLE, || {
            let mut control = nix::cmsg_space!(in_pktinfo, in6_pktinfo);
            let mut parts = [IoSliceMut::new(buffer)];
            let received = recvmsg::<SockaddrStorage>(
                socket.as_raw_fd(),
                &mut parts,
                Some(&mut control),
                MsgFlags::empty(),
            )?;
            let peer = received.address.ok_or(io::ErrorKind::InvalidData)?;
            let asked = received.cmsgs()?.find_map(|message| match message {
                ControlMessageOwned::Ipv4PacketInfo(info) => Some(Asked::V4(in_pktinfo {
                    // The interface is left to routing; the source is what was asked.
                    ipi_ifindex: 0,
                    ipi_spec_dst: info.ipi_addr,
                    ipi_addr: in_addr { s_addr: 0 },
                })),
                ControlMessageOwned::Ipv6PacketInfo(info) => Some(Asked::V6(info)),
                _ => None,
            });
            Ok((received.bytes, Path { peer, asked }))
        })
        .await
}

pub(crate) async fn send(socket: &UdpSocket, reply: &[u8], path: &Path) -> io::Result<()> {
    socket
        .async_io(Interest::WRITABLE, || send_once(socket, reply, path))
        .await
}

/// The same without waiting: a datagram for which there is no room may be lost.
pub(crate) fn try_send(socket: &UdpSocket, reply: &[u8], path: &Path) -> io::Result<()> {
    socket.try_io(Interest::WRITABLE, || send_once(socket, reply, path))
}

fn send_once(socket: &UdpSocket, reply: &[u8], path: &Path) -> io::Result<()> {
    let info = path.asked.as_ref().map(|asked| match asked {
        Asked::V4(info) => ControlMessage::Ipv4PacketInfo(info),
        Asked::V6(info) => ControlMessage::Ipv6PacketInfo(info),
    });
    sendmsg(
        socket.as_raw_fd(),
        &[IoSlice::new(reply)],
        info.as_slice(),
        MsgFlags::empty(),
        Some(&path.peer),
    )?;
    Ok(())
}
