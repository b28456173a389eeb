//! The one nftables rule set of a sandbox, as netlink messages: every TCP connection that leaves for an address
//! other than loopback ends at the transparent listener.
//!
//! Written by hand because the libraries for it are GPL, wrap a C library, or run the program `nft`, and what is
//! needed is one table, one chain and two rules. Constants and layout: `linux/netfilter/nf_tables.h`,
//! `linux/netfilter/nfnetlink.h`, netlink(7). The messages are built as bytes and are pure.

use std::io;

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};

const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFNL_MSG_BATCH_BEGIN: u16 = 0x10;
const NFNL_MSG_BATCH_END: u16 = 0x11;
const NFT_MSG_NEWTABLE: u16 = NFNL_SUBSYS_NFTABLES << 8;
const NFT_MSG_NEWCHAIN: u16 = (NFNL_SUBSYS_NFTABLES << 8) | 3;
const NFT_MSG_NEWRULE: u16 = (NFNL_SUBSYS_NFTABLES << 8) | 6;

const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_CREATE: u16 = 0x400;
const NLM_F_APPEND: u16 = 0x800;
const NLA_F_NESTED: u16 = 0x8000;
const NLMSG_ERROR: u16 = 2;

/// `NFPROTO_INET`: one table for both families; nat in it needs Linux 5.2.
const NFPROTO_INET: u8 = 1;
const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;
const NF_INET_LOCAL_OUT: u32 = 3;
/// `NF_IP_PRI_NAT_DST`.
const PRIORITY: i32 = -100;
const NFT_REG_1: u32 = 1;
const NFT_META_NFPROTO: u32 = 15;
const NFT_META_L4PROTO: u32 = 16;
const NFT_CMP_EQ: u32 = 0;
const NFT_CMP_NEQ: u32 = 1;
const NFT_PAYLOAD_NETWORK_HEADER: u32 = 1;
const NFT_PAYLOAD_TRANSPORT_HEADER: u32 = 2;
const IPPROTO_TCP: u8 = 6;
const DNS_PORT: u16 = 53;

const TABLE: &[u8] = b"srt\0";
const CHAIN: &[u8] = b"output\0";

/// Redirects every TCP connection of this network namespace, but for loopback and port 53, to `port` of loopback.
///
/// # Errors
/// What the kernel answered to the batch: ENOENT or EOPNOTSUPP where it has no nat for the inet family.
pub(crate) fn redirect_all_tcp(port: u16) -> io::Result<()> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let (batch, last) = batch(port);
    socket.send(&batch, 0)?;
    // The kernel answers each message that asked for an acknowledgement, or the batch with one error.
    loop {
        let (answer, _) = socket.recv_from_full()?;
        for (kind, sequence, body) in messages(&answer) {
            if kind != NLMSG_ERROR || body.len() < 4 {
                continue;
            }
            let code = i32::from_ne_bytes([body[0], body[1], body[2], body[3]]);
            if code != 0 {
                return Err(io::Error::from_raw_os_error(-code));
            }
            if sequence == last {
                return Ok(());
            }
        }
    }
}

/// The batch, and the sequence number of its last acknowledged message.
fn batch(port: u16) -> (Vec<u8>, u32) {
    let mut batch = Vec::with_capacity(1024);
    let mut sequence = 0;
    let mut push = |kind, flags, family, resource: u16, body: &[u8]| {
        sequence += 1;
        message(
            &mut batch,
            kind,
            flags | NLM_F_REQUEST,
            sequence,
            family,
            resource,
            body,
        );
        sequence
    };
    push(NFNL_MSG_BATCH_BEGIN, 0, 0, NFNL_SUBSYS_NFTABLES, &[]);
    // NFTA_TABLE_NAME = 1
    push(
        NFT_MSG_NEWTABLE,
        NLM_F_CREATE | NLM_F_ACK,
        NFPROTO_INET,
        0,
        &attribute(1, TABLE),
    );
    let hook = [
        attribute(1, &NF_INET_LOCAL_OUT.to_be_bytes()), // NFTA_HOOK_HOOKNUM
        attribute(2, &PRIORITY.to_be_bytes()),          // NFTA_HOOK_PRIORITY
    ]
    .concat();
    let chain = [
        attribute(1, TABLE),                // NFTA_CHAIN_TABLE
        attribute(3, CHAIN),                // NFTA_CHAIN_NAME
        attribute(4 | NLA_F_NESTED, &hook), // NFTA_CHAIN_HOOK
        attribute(7, b"nat\0"),             // NFTA_CHAIN_TYPE
    ]
    .concat();
    push(
        NFT_MSG_NEWCHAIN,
        NLM_F_CREATE | NLM_F_ACK,
        NFPROTO_INET,
        0,
        &chain,
    );
    let mut last = 0;
    for expressions in [
        // ip daddr != 127.0.0.0/8
        redirect(
            NFPROTO_IPV4,
            &[payload(NFPROTO_IPV4), compare(NFT_CMP_NEQ, &[127])],
            port,
        ),
        // ip6 daddr != ::1
        redirect(
            NFPROTO_IPV6,
            &[
                payload(NFPROTO_IPV6),
                compare(NFT_CMP_NEQ, &std::net::Ipv6Addr::LOCALHOST.octets()),
            ],
            port,
        ),
    ] {
        let rule = [
            attribute(1, TABLE),                       // NFTA_RULE_TABLE
            attribute(2, CHAIN),                       // NFTA_RULE_CHAIN
            attribute(4 | NLA_F_NESTED, &expressions), // NFTA_RULE_EXPRESSIONS
        ]
        .concat();
        last = push(
            NFT_MSG_NEWRULE,
            NLM_F_CREATE | NLM_F_APPEND | NLM_F_ACK,
            NFPROTO_INET,
            0,
            &rule,
        );
    }
    push(NFNL_MSG_BATCH_END, 0, 0, NFNL_SUBSYS_NFTABLES, &[]);
    (batch, last)
}

/// `meta nfproto FAMILY meta l4proto tcp <elsewhere> tcp dport != 53 redirect to :port`.
fn redirect(family: u8, elsewhere: &[Vec<u8>], port: u16) -> Vec<u8> {
    let destination_port = expression(
        b"payload\0",
        &[
            number(1, NFT_REG_1),
            number(2, NFT_PAYLOAD_TRANSPORT_HEADER),
            number(3, 2),
            number(4, 2),
        ],
    );
    let mut all = [
        meta(NFT_META_NFPROTO),
        compare(NFT_CMP_EQ, &[family]),
        meta(NFT_META_L4PROTO),
        compare(NFT_CMP_EQ, &[IPPROTO_TCP]),
    ]
    .concat();
    all.extend(elsewhere.concat());
    all.extend(destination_port);
    all.extend(compare(NFT_CMP_NEQ, &DNS_PORT.to_be_bytes()));
    // NFTA_IMMEDIATE_DREG = 1, NFTA_IMMEDIATE_DATA = 2 { NFTA_DATA_VALUE = 1 }
    let value = attribute(1, &port.to_be_bytes());
    all.extend(expression(
        b"immediate\0",
        &[number(1, NFT_REG_1), attribute(2 | NLA_F_NESTED, &value)],
    ));
    // NFTA_REDIR_REG_PROTO_MIN = 1
    all.extend(expression(b"redir\0", &[number(1, NFT_REG_1)]));
    all
}

fn meta(key: u32) -> Vec<u8> {
    // NFTA_META_DREG = 1, NFTA_META_KEY = 2
    expression(b"meta\0", &[number(1, NFT_REG_1), number(2, key)])
}

/// The destination address: its first byte of IPv4, all of IPv6.
fn payload(family: u8) -> Vec<u8> {
    let (offset, length) = if family == NFPROTO_IPV4 {
        (16, 1)
    } else {
        (24, 16)
    };
    // NFTA_PAYLOAD_DREG = 1, _BASE = 2, _OFFSET = 3, _LEN = 4
    expression(
        b"payload\0",
        &[
            number(1, NFT_REG_1),
            number(2, NFT_PAYLOAD_NETWORK_HEADER),
            number(3, offset),
            number(4, length),
        ],
    )
}

fn compare(operator: u32, value: &[u8]) -> Vec<u8> {
    // NFTA_CMP_SREG = 1, NFTA_CMP_OP = 2, NFTA_CMP_DATA = 3 { NFTA_DATA_VALUE = 1 }
    let data = attribute(1, value);
    expression(
        b"cmp\0",
        &[
            number(1, NFT_REG_1),
            number(2, operator),
            attribute(3 | NLA_F_NESTED, &data),
        ],
    )
}

/// NFTA_LIST_ELEM = 1 { NFTA_EXPR_NAME = 1, NFTA_EXPR_DATA = 2 { … } }
fn expression(name: &[u8], parts: &[Vec<u8>]) -> Vec<u8> {
    let body = [
        attribute(1, name),
        attribute(2 | NLA_F_NESTED, &parts.concat()),
    ]
    .concat();
    attribute(1 | NLA_F_NESTED, &body)
}

fn number(kind: u16, value: u32) -> Vec<u8> {
    attribute(kind, &value.to_be_bytes())
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = 4 + value.len();
    let mut out = Vec::with_capacity(length.next_multiple_of(4));
    out.extend((length as u16).to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend(value);
    out.resize(length.next_multiple_of(4), 0);
    out
}

fn message(
    out: &mut Vec<u8>,
    kind: u16,
    flags: u16,
    sequence: u32,
    family: u8,
    resource: u16,
    body: &[u8],
) {
    let length = 16 + 4 + body.len();
    out.extend((length as u32).to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend(flags.to_ne_bytes());
    out.extend(sequence.to_ne_bytes());
    out.extend(0u32.to_ne_bytes());
    out.push(family);
    out.push(0); // NFNETLINK_V0
    out.extend(resource.to_be_bytes());
    out.extend(body);
    out.resize(out.len().next_multiple_of(4), 0);
}

/// Type, sequence number and body of each message in `bytes`.
fn messages(mut bytes: &[u8]) -> Vec<(u16, u32, &[u8])> {
    let mut out = Vec::new();
    while let Some(header) = bytes.first_chunk::<16>() {
        let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        if length < 16 || length > bytes.len() {
            break;
        }
        let kind = u16::from_ne_bytes([header[4], header[5]]);
        let sequence = u32::from_ne_bytes([header[8], header[9], header[10], header[11]]);
        out.push((kind, sequence, &bytes[16..length]));
        bytes = &bytes[length.next_multiple_of(4).min(bytes.len())..];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_a_chain_of_whole_messages() {
        let (bytes, last) = batch(4321);
        let all = messages(&bytes);
        assert_eq!(
            all.iter().map(|(kind, ..)| *kind).collect::<Vec<_>>(),
            [
                NFNL_MSG_BATCH_BEGIN,
                NFT_MSG_NEWTABLE,
                NFT_MSG_NEWCHAIN,
                NFT_MSG_NEWRULE,
                NFT_MSG_NEWRULE,
                NFNL_MSG_BATCH_END
            ]
        );
        assert_eq!(all[4].1, last);
        assert_eq!(
            all.iter().map(|(.., body)| body.len() + 16).sum::<usize>(),
            bytes.len()
        );
        assert!(bytes.windows(2).any(|pair| pair == 4321u16.to_be_bytes()));
    }
}
