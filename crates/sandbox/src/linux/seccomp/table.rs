//! The system calls that no server gets, as data: one line a rule, each with its reason, and its number on each
//! processor (arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h). The numbers stand here and
//! not in a library's constants, which know one processor only: so both tables are read and tested on every machine.
//!
//! It is a list of what is refused. Newer calls were judged as they came, and pass where they give a server nothing
//! outside of its sandbox: `pidfd_open` and `pidfd_send_signal` (its own pid namespace), `landlock_*` and `mseal` (it
//! confines itself), `statmount` and `listmount` (its own mounts, as `/proc/self/mountinfo`), `futex_*`, `cachestat`,
//! `memfd_secret`, `map_shadow_stack`, `process_madvise` and `process_mrelease` (its own processes),
//! `lsm_get_self_attr` and `lsm_list_modules`, `setxattrat` and `file_setattr` (a file that it may write; a read-only
//! mount refuses them).

/// A processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arch {
    X86_64,
    Aarch64,
}

/// A call's number on each processor; `None` where it is not there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Number {
    x86_64: Option<u16>,
    aarch64: Option<u16>,
}

impl Number {
    pub(super) fn on(self, arch: Arch) -> Option<i64> {
        match arch {
            Arch::X86_64 => self.x86_64,
            Arch::Aarch64 => self.aarch64,
        }
        .map(i64::from)
    }
}

const fn nr(x86_64: u16, aarch64: u16) -> Number {
    Number {
        x86_64: Some(x86_64),
        aarch64: Some(aarch64),
    }
}

/// Since 2019 a call has the same number on every processor.
const fn all(number: u16) -> Number {
    nr(number, number)
}

const fn intel(x86_64: u16) -> Number {
    Number {
        x86_64: Some(x86_64),
        aarch64: None,
    }
}

/// When a call is refused. Arguments are counted from 0; the kernel looks at the low half of these only.
#[derive(Clone, Copy, Debug)]
pub(super) enum When {
    /// Always.
    Always,
    /// If the argument is this.
    Is(u8, u64),
    /// If the argument has any bit of the value.
    AnyBit(u8, u64),
    /// If the argument is none of the values.
    NoneOf(u8, &'static [u64]),
    /// `socket(AF_NETLINK, …)` of any protocol but NETLINK_ROUTE.
    OtherNetlink,
    /// A Unix socket that is addressed anew with each message, and so is not connected once for all.
    UnixDatagram,
}

/// One rule.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refused {
    pub(super) name: &'static str,
    pub(super) number: Number,
    pub(super) when: When,
    #[cfg_attr(
        not(test),
        expect(
            dead_code,
            reason = "read by people; a test holds that every line has one"
        )
    )]
    pub(super) reason: &'static str,
}

const fn refuse(name: &'static str, number: Number, when: When, reason: &'static str) -> Refused {
    Refused {
        name,
        number,
        when,
        reason,
    }
}

// Address families, protocols, socket types and flags are the same on both processors (linux/socket.h,
// linux/sched.h).
pub(super) const AF_UNIX: u64 = 1;
const AF_INET: u64 = 2;
const AF_INET6: u64 = 10;
pub(super) const AF_NETLINK: u64 = 16;
pub(super) const NETLINK_ROUTE: u64 = 0;
pub(super) const SOCK_STREAM: u64 = 1;
pub(super) const SOCK_SEQPACKET: u64 = 5;
/// The type without SOCK_CLOEXEC and SOCK_NONBLOCK.
pub(super) const SOCK_TYPE_MASK: u64 = 0xf;

const NEW_TIME: u64 = 0x80;
const NEW_MOUNTS: u64 = 0x2_0000;
const NEW_CGROUP: u64 = 0x200_0000;
const NEW_UTS: u64 = 0x400_0000;
const NEW_IPC: u64 = 0x800_0000;
const NEW_USER: u64 = 0x1000_0000;
const NEW_PID: u64 = 0x2000_0000;
const NEW_NET: u64 = 0x4000_0000;
const NEW_NAMESPACES: u64 =
    NEW_MOUNTS | NEW_CGROUP | NEW_UTS | NEW_IPC | NEW_USER | NEW_PID | NEW_NET;

use When::{Always, AnyBit, Is, NoneOf, OtherNetlink, UnixDatagram};

/// Refused with EPERM.
#[rustfmt::skip]
pub(super) const NOT_PERMITTED: &[Refused] = &[
    refuse("socket", nr(41, 198), OtherNetlink, "netlink other than ROUTE reaches audit, netfilter and kernel event channels"),
    refuse("setns", nr(308, 268), Always, "enters another namespace"),
    refuse("mount", nr(165, 40), Always, "changes what the sandbox's files are"),
    refuse("umount2", nr(166, 39), Always, "uncovers what a mount hides"),
    refuse("pivot_root", nr(155, 41), Always, "changes what the sandbox's files are"),
    refuse("open_tree", all(428), Always, "mount(2) by its new name"),
    refuse("move_mount", all(429), Always, "mount(2) by its new name"),
    refuse("fsopen", all(430), Always, "mount(2) by its new name"),
    refuse("fsconfig", all(431), Always, "mount(2) by its new name"),
    refuse("fsmount", all(432), Always, "mount(2) by its new name"),
    refuse("fspick", all(433), Always, "mount(2) by its new name"),
    refuse("mount_setattr", all(442), Always, "could lift a read-only flag"),
    refuse("open_tree_attr", all(467), Always, "open_tree and mount_setattr in one"),
    refuse("listns", all(470), Always, "tells of namespaces outside"),
    refuse("open_by_handle_at", nr(304, 265), Always, "opens a file by inode, past every mount"),
    refuse("name_to_handle_at", nr(303, 264), Always, "makes the handles for it"),
    refuse("ptrace", nr(101, 117), Always, "takes over another process"),
    refuse("process_vm_readv", nr(310, 270), Always, "reads another process's memory"),
    refuse("process_vm_writev", nr(311, 271), Always, "writes another process's memory"),
    refuse("pidfd_getfd", all(438), Always, "takes another process's descriptors"),
    refuse("kcmp", nr(312, 272), Always, "compares kernel addresses of other processes"),
    refuse("migrate_pages", nr(256, 238), Always, "moves another process's memory"),
    refuse("move_pages", nr(279, 239), Always, "moves another process's memory, and tells where it is"),
    refuse("keyctl", nr(250, 219), Always, "key rings are not namespaced: the user's keys are in them"),
    refuse("add_key", nr(248, 217), Always, "key rings are not namespaced"),
    refuse("request_key", nr(249, 218), Always, "key rings are not namespaced"),
    refuse("bpf", nr(321, 280), Always, "loads programs into the kernel"),
    refuse("perf_event_open", nr(298, 241), Always, "observes other processes and the kernel"),
    refuse("userfaultfd", nr(323, 282), Always, "stalls the kernel at a chosen point: the tool of many exploits"),
    refuse("fanotify_init", nr(300, 262), Always, "watches files of the whole mount"),
    refuse("lsm_set_self_attr", all(460), Always, "changes the security module's label, which the host's rules go by"),
    refuse("kexec_load", nr(246, 104), Always, "replaces the kernel"),
    refuse("kexec_file_load", nr(320, 294), Always, "replaces the kernel"),
    refuse("init_module", nr(175, 105), Always, "loads a kernel module"),
    refuse("finit_module", nr(313, 273), Always, "loads a kernel module"),
    refuse("delete_module", nr(176, 106), Always, "unloads a kernel module"),
    refuse("clock_settime", nr(227, 112), Always, "sets the clock"),
    refuse("clock_adjtime", nr(305, 266), Always, "sets the clock"),
    refuse("settimeofday", nr(164, 170), Always, "sets the clock"),
    refuse("adjtimex", nr(159, 171), Always, "sets the clock"),
    refuse("reboot", nr(169, 142), Always, "ends the machine"),
    refuse("swapon", nr(167, 224), Always, "changes the machine's memory"),
    refuse("swapoff", nr(168, 225), Always, "changes the machine's memory"),
    refuse("acct", nr(163, 89), Always, "records every process of the machine"),
    refuse("quotactl", nr(179, 60), Always, "changes others' quotas"),
    refuse("quotactl_fd", all(443), Always, "quotactl by its new name"),
    refuse("syslog", nr(103, 116), Always, "reads the kernel's log, addresses in it"),
    refuse("lookup_dcookie", nr(212, 18), Always, "profiling of the whole machine"),
    refuse("vhangup", nr(153, 58), Always, "takes a terminal from others"),
    refuse("personality", nr(135, 92), NoneOf(0, &[0, 0x8, 0x20000, 0x20008, 0xffff_ffff]), "switches address randomisation off"),
    // TIOCSTI and TIOCLINUX (asm-generic/ioctls.h).
    refuse("ioctl", nr(16, 29), Is(1, 0x5412), "types into a terminal that it shares with others"),
    refuse("ioctl", nr(16, 29), Is(1, 0x541c), "pastes into a virtual console"),
    refuse("iopl", intel(172), Always, "talks to hardware"),
    refuse("ioperm", intel(173), Always, "talks to hardware"),
    refuse("modify_ldt", intel(154), Always, "16-bit segments: a rarely used and often broken corner"),
    refuse("uselib", intel(134), Always, "obsolete"),
];

/// Refused with EPERM, unless user namespaces may be made.
#[rustfmt::skip]
pub(super) const NO_NAMESPACES: &[Refused] = &[
    refuse("unshare", nr(272, 97), Always, "a new namespace gives capabilities, and with them kernel code that was out of reach"),
    refuse("clone", nr(56, 220), AnyBit(0, NEW_NAMESPACES), "a new namespace, as unshare"),
    refuse("chroot", nr(161, 51), Always, "changes what the sandbox's files are"),
];

/// Refused with EPERM where user namespaces may be made: what browsers need of them is not in it.
#[rustfmt::skip]
pub(super) const FEWER_NAMESPACES: &[Refused] = &[
    refuse("unshare", nr(272, 97), AnyBit(0, NEW_CGROUP | NEW_TIME), "shows other cgroups, shifts clocks"),
    refuse("clone", nr(56, 220), AnyBit(0, NEW_CGROUP), "shows other cgroups"),
];

/// Refused with EPERM, unless every Unix socket may be used. Unix sockets are the doors to docker, D-Bus, ssh-agent,
/// the desktop and us; the other families (VSOCK, PACKET …) bypass the network namespace or are of no use to a server.
#[rustfmt::skip]
pub(super) const NO_UNIX: &[Refused] = &[
    refuse("socket", nr(41, 198), NoneOf(0, &[AF_INET, AF_INET6, AF_NETLINK]), "families that lead out of the sandbox"),
    refuse("socketpair", nr(53, 199), UnixDatagram, "either end can still send to any socket by its path"),
];

/// Refused with EPERM where some Unix sockets may be connected to: connect(2) is carried out by the broker, and
/// nothing else may name an address.
#[rustfmt::skip]
pub(super) const SOME_UNIX: &[Refused] = &[
    refuse("socket", nr(41, 198), NoneOf(0, &[AF_UNIX, AF_INET, AF_INET6, AF_NETLINK]), "families that lead out of the sandbox"),
    refuse("socket", nr(41, 198), UnixDatagram, "each message may name another address"),
    refuse("socketpair", nr(53, 199), UnixDatagram, "either end can still send to any socket by its path"),
];

/// Refused with EPERM where every Unix socket may be used.
#[rustfmt::skip]
pub(super) const ALL_UNIX: &[Refused] = &[
    refuse("socket", nr(41, 198), NoneOf(0, &[AF_UNIX, AF_INET, AF_INET6, AF_NETLINK]), "families that lead out of the sandbox"),
];

/// Refused with ENOSYS, so that libraries fall back to a call that the other tables can judge.
#[rustfmt::skip]
pub(super) const NOT_THERE: &[Refused] = &[
    refuse("clone3", all(435), Always, "its flags are behind a pointer; glibc falls back to clone"),
    refuse("io_uring_setup", all(425), Always, "its operations (sockets, files) pass no filter"),
    refuse("io_uring_enter", all(426), Always, "as io_uring_setup"),
    refuse("io_uring_register", all(427), Always, "as io_uring_setup"),
];
