//! The system calls that no server gets, as data: one line a rule, each with its reason.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

/// Marks a system call of the x32 ABI, which shares its audit architecture with x86-64 (syscall(2)): without it
/// every number in the table below would have a twin that passes.
#[cfg(target_arch = "x86_64")]
const X32_BIT: i64 = 0x4000_0000;

/// Of Linux 6.15; libc does not name it yet. Since 2019 a call has the same number on every processor.
const OPEN_TREE_ATTR: libc::c_long = 467;

/// When a call is refused.
enum When {
    /// Always.
    Always,
    /// If the argument, masked, equals the value.
    Masked(u8, u64, u64),
    /// If the argument has any bit of the value.
    AnyBit(u8, u64),
    /// If the argument is none of the values.
    NoneOf(u8, &'static [u64]),
    /// `socket(AF_NETLINK, …)` of any protocol but NETLINK_ROUTE.
    OtherNetlink,
}

struct Refused {
    call: i64,
    when: When,
    #[allow(
        dead_code,
        reason = "read by people; a test holds that every line has one"
    )]
    reason: &'static str,
}

const fn refuse(call: libc::c_long, when: When, reason: &'static str) -> Refused {
    Refused { call, when, reason }
}

const NEW_NAMESPACES: u64 = (libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP) as u64;

const FAMILIES: &[u64] = &[
    libc::AF_INET as u64,
    libc::AF_INET6 as u64,
    libc::AF_NETLINK as u64,
];
const FAMILIES_WITH_UNIX: &[u64] = &[
    libc::AF_UNIX as u64,
    libc::AF_INET as u64,
    libc::AF_INET6 as u64,
    libc::AF_NETLINK as u64,
];

/// Linux 6.15, the same number on every architecture (include/uapi/asm-generic/unistd.h).
const SYS_OPEN_TREE_ATTR: c::c_long = 467;

use When::{Always, AnyBit, Masked, NoneOf, OtherNetlink};
use libc as c;

/// Refused with EPERM.
#[rustfmt::skip]
const NOT_PERMITTED: &[Refused] = &[
    refuse(c::SYS_socket, OtherNetlink, "netlink other than ROUTE reaches audit, netfilter and kernel event channels"),
    refuse(c::SYS_unshare, Always, "a new namespace gives capabilities, and with them kernel code that was out of reach"),
    refuse(c::SYS_setns, Always, "enters another namespace"),
    refuse(c::SYS_clone, AnyBit(0, NEW_NAMESPACES), "a new namespace, as unshare"),
    refuse(c::SYS_mount, Always, "changes what the sandbox's files are"),
    refuse(c::SYS_umount2, Always, "uncovers what a mount hides"),
    refuse(c::SYS_pivot_root, Always, "changes what the sandbox's files are"),
    refuse(c::SYS_chroot, Always, "changes what the sandbox's files are"),
    refuse(c::SYS_open_tree, Always, "mount(2) by its new name"),
    refuse(c::SYS_move_mount, Always, "mount(2) by its new name"),
    refuse(c::SYS_fsopen, Always, "mount(2) by its new name"),
    refuse(c::SYS_fsconfig, Always, "mount(2) by its new name"),
    refuse(c::SYS_fsmount, Always, "mount(2) by its new name"),
    refuse(c::SYS_fspick, Always, "mount(2) by its new name"),
    refuse(SYS_OPEN_TREE_ATTR, Always, "mount(2) by its newest name"),
    refuse(c::SYS_quotactl_fd, Always, "changes others' quotas"),
    refuse(c::SYS_mount_setattr, Always, "could lift a read-only flag"),
    refuse(OPEN_TREE_ATTR, Always, "open_tree and mount_setattr in one"),
    refuse(c::SYS_open_by_handle_at, Always, "opens a file by inode, past every mount"),
    refuse(c::SYS_name_to_handle_at, Always, "makes the handles for it"),
    refuse(c::SYS_ptrace, Always, "takes over another process"),
    refuse(c::SYS_process_vm_readv, Always, "reads another process's memory"),
    refuse(c::SYS_process_vm_writev, Always, "writes another process's memory"),
    refuse(c::SYS_pidfd_getfd, Always, "takes another process's descriptors"),
    refuse(c::SYS_kcmp, Always, "compares kernel addresses of other processes"),
    refuse(c::SYS_keyctl, Always, "key rings are not namespaced: the user's keys are in them"),
    refuse(c::SYS_add_key, Always, "key rings are not namespaced"),
    refuse(c::SYS_request_key, Always, "key rings are not namespaced"),
    refuse(c::SYS_bpf, Always, "loads programs into the kernel"),
    refuse(c::SYS_perf_event_open, Always, "observes other processes and the kernel"),
    refuse(c::SYS_userfaultfd, Always, "stalls the kernel at a chosen point: the tool of many exploits"),
    refuse(c::SYS_fanotify_init, Always, "watches files of the whole mount"),
    refuse(c::SYS_kexec_load, Always, "replaces the kernel"),
    refuse(c::SYS_kexec_file_load, Always, "replaces the kernel"),
    refuse(c::SYS_init_module, Always, "loads a kernel module"),
    refuse(c::SYS_finit_module, Always, "loads a kernel module"),
    refuse(c::SYS_delete_module, Always, "unloads a kernel module"),
    refuse(c::SYS_clock_settime, Always, "sets the clock"),
    refuse(c::SYS_clock_adjtime, Always, "sets the clock"),
    refuse(c::SYS_settimeofday, Always, "sets the clock"),
    refuse(c::SYS_adjtimex, Always, "sets the clock"),
    refuse(c::SYS_reboot, Always, "ends the machine"),
    refuse(c::SYS_swapon, Always, "changes the machine's memory"),
    refuse(c::SYS_swapoff, Always, "changes the machine's memory"),
    refuse(c::SYS_acct, Always, "records every process of the machine"),
    refuse(c::SYS_quotactl, Always, "changes others' quotas"),
    refuse(c::SYS_quotactl_fd, Always, "quotactl by its new name"),
    refuse(c::SYS_syslog, Always, "reads the kernel's log, addresses in it"),
    refuse(c::SYS_lookup_dcookie, Always, "profiling of the whole machine"),
    refuse(c::SYS_personality, NoneOf(0, &[0, 0x8, 0x20000, 0x20008, 0xffff_ffff]), "switches address randomisation off"),
    // TIOCSTI and TIOCLINUX; the kernel looks at the low 32 bits of the request only.
    refuse(c::SYS_ioctl, Masked(1, 0xffff_ffff, 0x5412), "types into a terminal that it shares with others"),
    refuse(c::SYS_ioctl, Masked(1, 0xffff_ffff, 0x541c), "pastes into a virtual console"),
];

#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const NOT_PERMITTED_HERE: &[Refused] = &[
    refuse(c::SYS_iopl, Always, "talks to hardware"),
    refuse(c::SYS_ioperm, Always, "talks to hardware"),
    refuse(c::SYS_modify_ldt, Always, "16-bit segments: a rarely used and often broken corner"),
    refuse(c::SYS_uselib, Always, "obsolete"),
];
#[cfg(not(target_arch = "x86_64"))]
const NOT_PERMITTED_HERE: &[Refused] = &[];

/// Refused with ENOSYS, so that libraries fall back to a call that the other table can judge.
#[rustfmt::skip]
const NOT_THERE: &[Refused] = &[
    refuse(c::SYS_clone3, Always, "its flags are behind a pointer; glibc falls back to clone"),
    refuse(c::SYS_io_uring_setup, Always, "its operations (sockets, files) pass no filter"),
    refuse(c::SYS_io_uring_enter, Always, "as io_uring_setup"),
    refuse(c::SYS_io_uring_register, Always, "as io_uring_setup"),
];

/// A filter that cannot be built: this processor is not supported.
#[derive(Debug, thiserror::Error)]
#[error("no seccomp table for this processor: {0}")]
pub(crate) struct Unsupported(String);

/// The programs to install, in this order.
pub(crate) fn programs(allow_unix_sockets: bool) -> Result<Vec<BpfProgram>, Unsupported> {
    let families = if allow_unix_sockets {
        FAMILIES_WITH_UNIX
    } else {
        FAMILIES
    };
    // Unix sockets are the doors to docker, D-Bus, ssh-agent, the desktop and us; the rest (VSOCK, PACKET, …)
    // bypass the network namespace or need no server's attention.
    let socket = refuse(
        libc::SYS_socket,
        NoneOf(0, families),
        "families that lead out of the sandbox",
    );
    let eperm = NOT_PERMITTED
        .iter()
        .chain(NOT_PERMITTED_HERE)
        .chain([&socket])
        .collect::<Vec<_>>();
    let enosys = NOT_THERE.iter().collect::<Vec<_>>();
    Ok(vec![
        program(&eperm, libc::EPERM)?,
        program(&enosys, libc::ENOSYS)?,
    ])
}

fn program(table: &[&Refused], errno: i32) -> Result<BpfProgram, Unsupported> {
    let fail = |error: &dyn std::fmt::Display| Unsupported(error.to_string());
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for refused in table {
        let conditions = conditions(&refused.when).map_err(|error| fail(&error))?;
        for call in numbers(refused.call) {
            let of_call = rules.entry(call).or_default();
            for conjunction in &conditions {
                of_call.push(SeccompRule::new(conjunction.clone()).map_err(|error| fail(&error))?);
            }
        }
    }
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(|error| fail(&error))?;
    SeccompFilter::new(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(errno as u32),
        arch,
    )
    .and_then(TryInto::try_into)
    .map_err(|error| fail(&error))
}

#[cfg(target_arch = "x86_64")]
fn numbers(call: i64) -> Vec<i64> {
    vec![call, call | X32_BIT]
}
#[cfg(not(target_arch = "x86_64"))]
fn numbers(call: i64) -> Vec<i64> {
    vec![call]
}

/// A disjunction of conjunctions; none at all means always.
fn conditions(when: &When) -> Result<Vec<Vec<SeccompCondition>>, seccompiler::BackendError> {
    // int arguments: the kernel ignores the upper half, so must we.
    let dword = |argument, operator, value| {
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)
    };
    Ok(match when {
        Always => vec![],
        Masked(argument, mask, value) => vec![vec![dword(
            *argument,
            SeccompCmpOp::MaskedEq(*mask),
            *value,
        )?]],
        AnyBit(argument, bits) => (0..32)
            .map(|bit| 1u64 << bit)
            .filter(|bit| bits & bit != 0)
            .map(|bit| Ok(vec![dword(*argument, SeccompCmpOp::MaskedEq(bit), bit)?]))
            .collect::<Result<_, _>>()?,
        NoneOf(argument, values) => vec![
            values
                .iter()
                .map(|value| dword(*argument, SeccompCmpOp::Ne, *value))
                .collect::<Result<_, _>>()?,
        ],
        OtherNetlink => vec![vec![
            dword(0, SeccompCmpOp::Eq, libc::AF_NETLINK as u64)?,
            dword(2, SeccompCmpOp::Ne, libc::NETLINK_ROUTE as u64)?,
        ]],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_has_a_reason_and_the_tables_compile() {
        for refused in NOT_PERMITTED
            .iter()
            .chain(NOT_PERMITTED_HERE)
            .chain(NOT_THERE)
        {
            assert!(!refused.reason.is_empty(), "call {}", refused.call);
        }
        for unix in [false, true] {
            assert_eq!(programs(unix).unwrap().len(), 2);
        }
    }
}
