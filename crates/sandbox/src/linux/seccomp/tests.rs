//! Both processors' tables, on every machine: numbers against the C library's where it knows them, and what the
//! compiled filters answer.

use super::*;
use crate::linux::interpreter::run;

const EPERM: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
const ENOSYS: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const KILL: u32 = libc::SECCOMP_RET_KILL_PROCESS;

const ARCHES: [(Arch, u32); 2] = [(Arch::X86_64, 0xc000_003e), (Arch::Aarch64, 0xc000_00b7)];
const TABLES: [&[Refused]; 7] = [
    NOT_PERMITTED,
    NO_NAMESPACES,
    FEWER_NAMESPACES,
    NO_UNIX,
    SOME_UNIX,
    ALL_UNIX,
    NOT_THERE,
];

fn of(unix: Unix, nested: bool) -> Rules {
    Rules { unix, nested }
}

/// What all the filters together answer: the strictest (seccomp(2)); the order here is that of the values.
fn answer(arch: Arch, rules: Rules, audit_arch: u32, number: u32, arguments: [u64; 6]) -> u32 {
    let answers = programs_for(arch, rules)
        .unwrap()
        .into_iter()
        .map(|program| {
            let plain: Vec<_> = program
                .iter()
                .map(|step| (step.code, step.jt, step.jf, step.k))
                .collect();
            run(&plain, audit_arch, number, arguments)
        });
    answers
        .min_by_key(|answer| (*answer != KILL, *answer == ALLOW))
        .unwrap()
}

/// A call by its name, as a processor has it.
#[track_caller]
fn check(rules: Rules, name: &str, arguments: [u64; 3], expected: u32) {
    let row = TABLES
        .iter()
        .flat_map(|table| table.iter())
        .find(|row| row.name == name)
        .unwrap();
    for (arch, audit_arch) in ARCHES {
        let Some(number) = row.number.on(arch) else {
            continue;
        };
        let [a, b, c] = arguments;
        let got = answer(arch, rules, audit_arch, number as u32, [a, b, c, 0, 0, 0]);
        assert_eq!(
            got, expected,
            "{name}{arguments:?} with {rules:?} on {arch:?}"
        );
    }
}

#[test]
fn every_line_has_a_reason_and_stands_once() {
    for table in TABLES {
        let mut seen = std::collections::BTreeSet::new();
        for row in table {
            assert!(!row.reason.is_empty(), "{}", row.name);
            assert!(
                seen.insert((row.name, format!("{:?}", row.when))),
                "{} stands twice",
                row.name
            );
        }
    }
}

#[test]
fn numbers_are_the_c_librarys() {
    macro_rules! same {
        ($($name:ident $constant:ident)*) => {
            [$((stringify!($name), libc::$constant)),*]
        };
    }
    let known = same! {
        socket SYS_socket socketpair SYS_socketpair unshare SYS_unshare setns SYS_setns clone SYS_clone
        mount SYS_mount umount2 SYS_umount2 pivot_root SYS_pivot_root chroot SYS_chroot
        open_tree SYS_open_tree move_mount SYS_move_mount fsopen SYS_fsopen fsconfig SYS_fsconfig
        fsmount SYS_fsmount fspick SYS_fspick mount_setattr SYS_mount_setattr
        open_by_handle_at SYS_open_by_handle_at name_to_handle_at SYS_name_to_handle_at
        ptrace SYS_ptrace process_vm_readv SYS_process_vm_readv process_vm_writev SYS_process_vm_writev
        pidfd_getfd SYS_pidfd_getfd kcmp SYS_kcmp migrate_pages SYS_migrate_pages move_pages SYS_move_pages
        keyctl SYS_keyctl add_key SYS_add_key request_key SYS_request_key bpf SYS_bpf
        perf_event_open SYS_perf_event_open userfaultfd SYS_userfaultfd fanotify_init SYS_fanotify_init
        kexec_load SYS_kexec_load kexec_file_load SYS_kexec_file_load init_module SYS_init_module
        finit_module SYS_finit_module delete_module SYS_delete_module clock_settime SYS_clock_settime
        clock_adjtime SYS_clock_adjtime settimeofday SYS_settimeofday adjtimex SYS_adjtimex
        reboot SYS_reboot swapon SYS_swapon swapoff SYS_swapoff acct SYS_acct quotactl SYS_quotactl
        quotactl_fd SYS_quotactl_fd syslog SYS_syslog lookup_dcookie SYS_lookup_dcookie
        vhangup SYS_vhangup personality SYS_personality ioctl SYS_ioctl clone3 SYS_clone3
        io_uring_setup SYS_io_uring_setup io_uring_enter SYS_io_uring_enter
        io_uring_register SYS_io_uring_register
    };
    let here = match std::env::consts::ARCH {
        "aarch64" => Arch::Aarch64,
        _ => Arch::X86_64,
    };
    // Of Linux 6.8, 6.15 and 6.19; the C library does not name them. And four that only one processor has.
    let unknown = [
        "lsm_set_self_attr",
        "open_tree_attr",
        "listns",
        "iopl",
        "ioperm",
        "modify_ldt",
        "uselib",
    ];
    for row in TABLES.iter().flat_map(|table| table.iter()) {
        match known.iter().find(|(name, _)| *name == row.name) {
            Some((_, number)) => assert_eq!(row.number.on(here), Some(*number), "{}", row.name),
            None => assert!(unknown.contains(&row.name), "{} is not compared", row.name),
        }
    }
    #[cfg(target_arch = "x86_64")]
    for (name, number) in
        same! { iopl SYS_iopl ioperm SYS_ioperm modify_ldt SYS_modify_ldt uselib SYS_uselib }
    {
        let row = NOT_PERMITTED.iter().find(|row| row.name == name).unwrap();
        assert_eq!(row.number.on(Arch::X86_64), Some(number), "{name}");
        assert_eq!(row.number.on(Arch::Aarch64), None, "{name}");
    }
}

#[test]
fn what_is_refused_always_is_refused_whatever_is_lifted() {
    for rules in [
        of(Unix::None, false),
        of(Unix::Connected, true),
        of(Unix::All, true),
    ] {
        for row in NOT_PERMITTED {
            if matches!(row.when, When::Always) {
                check(rules, row.name, [0; 3], EPERM);
            }
        }
        for row in NOT_THERE {
            check(rules, row.name, [0; 3], ENOSYS);
        }
        check(rules, "ioctl", [0, 0x5412, 0], EPERM);
        // The kernel looks at the low half.
        check(rules, "ioctl", [0, 0xdead_0000_5412, 0], EPERM);
        check(rules, "ioctl", [0, 0x5413, 0], ALLOW);
        check(rules, "personality", [0x40000, 0, 0], EPERM);
        check(rules, "personality", [0xffff_ffff, 0, 0], ALLOW);
    }
}

#[test]
fn namespaces_are_lifted_only_where_asked_and_never_all() {
    let user = 0x1000_0000;
    let cgroup = 0x200_0000;
    for (nested, expected) in [(false, EPERM), (true, ALLOW)] {
        let rules = of(Unix::None, nested);
        for flags in [user, user | 0x2000_0000 | 0x4000_0000 | 0x2_0000] {
            check(rules, "unshare", [flags, 0, 0], expected);
            check(rules, "clone", [flags | 17, 0, 0], expected);
        }
        check(rules, "chroot", [0; 3], expected);
        check(rules, "unshare", [user | cgroup, 0, 0], EPERM);
        check(rules, "clone", [user | cgroup, 0, 0], EPERM);
        check(rules, "unshare", [0x80, 0, 0], EPERM);
        check(rules, "clone", [0x3d_0f00, 0, 0], ALLOW);
        check(rules, "mount", [0; 3], EPERM);
        check(rules, "setns", [0; 3], EPERM);
    }
}

#[test]
fn sockets_are_of_the_families_and_kinds_that_stay_inside() {
    const CLOEXEC: u64 = 0o2_000_000;
    for (unix, stream, datagram, pair) in [
        (Unix::None, EPERM, EPERM, EPERM),
        (Unix::Connected, ALLOW, EPERM, EPERM),
        (Unix::All, ALLOW, ALLOW, ALLOW),
    ] {
        let rules = of(unix, false);
        for kind in [1, 5, 1 | CLOEXEC] {
            check(rules, "socket", [AF_UNIX, kind, 0], stream);
            check(rules, "socketpair", [AF_UNIX, kind, 0], ALLOW);
        }
        // Datagram; raw, which becomes one.
        for kind in [2, 3, 2 | CLOEXEC] {
            check(rules, "socket", [AF_UNIX, kind, 0], datagram);
            check(rules, "socketpair", [AF_UNIX, kind, 0], pair);
        }
        check(rules, "socket", [2, 1, 6], ALLOW);
        check(rules, "socket", [10, 2, 17], ALLOW);
        check(rules, "socket", [AF_NETLINK, 3, 0], ALLOW);
        for protocol in [9, 12, 15, 16] {
            check(rules, "socket", [AF_NETLINK, 3, protocol], EPERM);
        }
        // PACKET, VSOCK, ALG, XDP, BLUETOOTH, CAN, TIPC.
        for family in [17, 40, 38, 44, 31, 29, 30] {
            check(rules, "socket", [family, 1, 0], EPERM);
        }
    }
}

#[test]
fn no_other_abi_is_a_way_around() {
    let rules = Rules::default();
    let x86 = 0xc000_003e;
    // x32: mount, and a call that no table has.
    for number in [165, 257] {
        let got = answer(Arch::X86_64, rules, x86, 0x4000_0000 | number, [0; 6]);
        assert!([EPERM, ENOSYS].contains(&got), "{number}: {got:#x}");
    }
    assert_eq!(answer(Arch::X86_64, rules, x86, 257, [0; 6]), ALLOW);
    // i386 on x86-64, ARM on aarch64.
    assert_eq!(answer(Arch::X86_64, rules, 0x4000_0003, 5, [0; 6]), KILL);
    assert_eq!(answer(Arch::Aarch64, rules, 0x4000_0028, 5, [0; 6]), KILL);
}
