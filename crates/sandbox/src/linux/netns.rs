//! The network of a sandbox: a loopback on which every address is local ("AnyIP"), and nothing else.

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{LinkFlags, LinkMessage};
use netlink_packet_route::route::{
    RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

/// `lo` is the first interface of every network namespace.
const LO: u32 = 1;
/// `RT_TABLE_LOCAL` (rtnetlink(7)).
const LOCAL_TABLE: u8 = 255;
/// RFC 7600 has this address for a host that has none of its own; nothing is ever sent to it.
const DUMMY: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 8);

/// Brings `lo` up and makes `0.0.0.0/0` and `::/0` local, in the calling thread's network namespace.
///
/// # Errors
/// What the kernel said. A kernel without IPv6 is no error: then there is no way to send any either.
pub(crate) fn set_up() -> io::Result<()> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;

    let mut up = LinkMessage::default();
    up.header.index = LO;
    up.header.flags = LinkFlags::Up;
    up.header.change_mask = LinkFlags::Up;
    ask(&socket, RouteNetlinkMessage::SetLink(up), 0)?;
    // With loopback addresses alone, getaddrinfo(3) takes IPv4 for not set up, and finds no name for whoever asks with
    // AI_ADDRCONFIG and for IPv4.
    ask(&socket, dummy_address(), NLM_F_CREATE | NLM_F_EXCL)?;
    ask(
        &socket,
        everything_is_local(AddressFamily::Inet),
        NLM_F_CREATE | NLM_F_EXCL,
    )?;
    match ask(
        &socket,
        everything_is_local(AddressFamily::Inet6),
        NLM_F_CREATE | NLM_F_EXCL,
    ) {
        Err(error) if has_ipv6() => Err(error),
        _ => Ok(()),
    }
}

/// Whether this kernel has IPv6 at all.
pub(crate) fn has_ipv6() -> bool {
    std::path::Path::new("/proc/net/if_inet6").exists()
}

fn dummy_address() -> RouteNetlinkMessage {
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.prefix_len = 32;
    message.header.index = LO;
    let address = IpAddr::V4(DUMMY);
    message.attributes = vec![
        AddressAttribute::Local(address),
        AddressAttribute::Address(address),
    ];
    RouteNetlinkMessage::NewAddress(message)
}

fn everything_is_local(family: AddressFamily) -> RouteNetlinkMessage {
    let mut route = RouteMessage::default();
    route.header = RouteHeader {
        address_family: family,
        destination_prefix_length: 0,
        table: LOCAL_TABLE,
        protocol: RouteProtocol::Static,
        scope: RouteScope::Host,
        kind: RouteType::Local,
        ..RouteHeader::default()
    };
    route.attributes = vec![RouteAttribute::Oif(LO)];
    RouteNetlinkMessage::NewRoute(route)
}

/// Sends one request and waits for its acknowledgement.
fn ask(socket: &Socket, request: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(request));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send(&bytes, 0)?;
    let (answer, _) = socket.recv_from_full()?;
    let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
    match answer.payload {
        NetlinkPayload::Error(error) => match error.code {
            None => Ok(()),
            Some(_) => Err(error.to_io()),
        },
        other => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("the kernel answered {other:?}"),
        )),
    }
}
