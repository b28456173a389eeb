//! The system calls that no server gets: from the tables to the kernel's filters (seccomp(2)).

mod table;

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, sock_filter,
};
use serde::{Deserialize, Serialize};

use self::table::{
    AF_NETLINK, AF_UNIX, ALL_UNIX, Arch, FEWER_NAMESPACES, NETLINK_ROUTE, NO_NAMESPACES, NO_UNIX,
    NOT_PERMITTED, NOT_THERE, Refused, SOCK_SEQPACKET, SOCK_STREAM, SOCK_TYPE_MASK, SOME_UNIX,
    When,
};

/// Which Unix sockets a server may make.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Unix {
    /// None but pairs that are connected to each other.
    #[default]
    None,
    /// Those that are connected, each by a call that the broker carries out.
    Connected,
    /// Every.
    All,
}

/// What of the tables is left to choose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rules {
    pub(crate) unix: Unix,
    /// Whether user namespaces, and others inside them, may be made.
    pub(crate) nested: bool,
}

/// A filter that cannot be built: this processor is not supported.
#[derive(Debug, thiserror::Error)]
#[error("no seccomp table for this processor: {0}")]
pub(crate) struct Unsupported(String);

/// The programs to install, in this order, on this machine.
pub(crate) fn programs(rules: Rules) -> Result<Vec<BpfProgram>, Unsupported> {
    let arch = match std::env::consts::ARCH {
        "x86_64" => Arch::X86_64,
        "aarch64" => Arch::Aarch64,
        other => return Err(Unsupported(other.to_owned())),
    };
    programs_for(arch, rules)
}

fn programs_for(arch: Arch, rules: Rules) -> Result<Vec<BpfProgram>, Unsupported> {
    let namespaces = match rules.nested {
        false => NO_NAMESPACES,
        true => FEWER_NAMESPACES,
    };
    let unix = match rules.unix {
        Unix::None => NO_UNIX,
        Unix::Connected => SOME_UNIX,
        Unix::All => ALL_UNIX,
    };
    let eperm = [NOT_PERMITTED, namespaces, unix].concat();
    let mut programs = vec![
        program(arch, &eperm, libc::EPERM)?,
        program(arch, NOT_THERE, libc::ENOSYS)?,
    ];
    if arch == Arch::X86_64 {
        programs.push(no_x32());
    }
    Ok(programs)
}

fn program(arch: Arch, table: &[Refused], errno: i32) -> Result<BpfProgram, Unsupported> {
    let fail = |error: &dyn std::fmt::Display| Unsupported(error.to_string());
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for refused in table {
        let Some(number) = refused.number.on(arch) else {
            continue;
        };
        let of_call = rules.entry(number).or_default();
        for conjunction in conditions(&refused.when).map_err(|error| fail(&error))? {
            let rule = SeccompRule::new(conjunction)
                .map_err(|error| fail(&format!("{}: {error}", refused.name)))?;
            of_call.push(rule);
        }
    }
    let target = match arch {
        Arch::X86_64 => TargetArch::x86_64,
        Arch::Aarch64 => TargetArch::aarch64,
    };
    // A call of another ABI (32-bit) ends the process: seccompiler's own first instructions.
    SeccompFilter::new(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(errno as u32),
        target,
    )
    .and_then(TryInto::try_into)
    .map_err(|error| fail(&error))
}

/// No call of the x32 ABI, which shares its audit architecture with x86-64 and marks its numbers by a bit (syscall(2)):
/// each would be a twin of one in the tables that passes.
fn no_x32() -> BpfProgram {
    const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
    const JUMP_ANY_BIT: u16 = 0x45; // BPF_JMP | BPF_JSET | BPF_K
    const RETURN: u16 = 0x06; // BPF_RET | BPF_K
    const X32_BIT: u32 = 0x4000_0000;
    let instruction = |code, jt, jf, k| sock_filter { code, jt, jf, k };
    vec![
        // Offset 0 of struct seccomp_data: the number.
        instruction(LOAD, 0, 0, 0),
        instruction(JUMP_ANY_BIT, 0, 1, X32_BIT),
        instruction(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32),
        instruction(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ]
}

/// A disjunction of conjunctions; none at all means always.
fn conditions(when: &When) -> Result<Vec<Vec<SeccompCondition>>, seccompiler::BackendError> {
    // int arguments: the kernel ignores the upper half, so must we.
    let dword = |argument, operator, value| {
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)
    };
    Ok(match when {
        When::Always => vec![],
        When::Is(argument, value) => vec![vec![dword(*argument, SeccompCmpOp::Eq, *value)?]],
        When::AnyBit(argument, bits) => (0..32)
            .map(|bit| 1u64 << bit)
            .filter(|bit| bits & bit != 0)
            .map(|bit| Ok(vec![dword(*argument, SeccompCmpOp::MaskedEq(bit), bit)?]))
            .collect::<Result<_, _>>()?,
        When::NoneOf(argument, values) => vec![
            values
                .iter()
                .map(|value| dword(*argument, SeccompCmpOp::Ne, *value))
                .collect::<Result<_, _>>()?,
        ],
        When::OtherNetlink => vec![vec![
            dword(0, SeccompCmpOp::Eq, AF_NETLINK)?,
            dword(2, SeccompCmpOp::Ne, NETLINK_ROUTE)?,
        ]],
        // The kernel makes a datagram socket of SOCK_RAW too (net/unix/af_unix.c): so it is by what is left.
        When::UnixDatagram => (0..=SOCK_TYPE_MASK)
            .filter(|kind| ![SOCK_STREAM, SOCK_SEQPACKET].contains(kind))
            .map(|kind| {
                Ok(vec![
                    dword(0, SeccompCmpOp::Eq, AF_UNIX)?,
                    dword(1, SeccompCmpOp::MaskedEq(SOCK_TYPE_MASK), kind)?,
                ])
            })
            .collect::<Result<_, _>>()?,
    })
}

#[cfg(test)]
#[path = "seccomp/tests.rs"]
mod tests;
