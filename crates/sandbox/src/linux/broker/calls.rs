//! The system calls that name a path, as data: what each does, in which of its arguments, and when it stops for the
//! broker. And the filter made of them.

use libc as c;

#[cfg(target_arch = "x86_64")]
const AUDIT_ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const AUDIT_ARCH: u32 = 0xc000_00b7;

const SECCOMP_RET_USER_NOTIF: u32 = 0x7fc0_0000;
const SECCOMP_RET_ALLOW: u32 = 0x7fff_0000;
const SECCOMP_RET_ERRNO: u32 = 0x0005_0000;

/// Linux 6.6, 6.13: the same numbers on every architecture (include/uapi/asm-generic/unistd.h).
const SYS_FCHMODAT2: c::c_long = 452;
const SYS_SETXATTRAT: c::c_long = 463;
const SYS_GETXATTRAT: c::c_long = 464;
const SYS_LISTXATTRAT: c::c_long = 465;
const SYS_REMOVEXATTRAT: c::c_long = 466;

/// Where a call names a path: in which arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    /// The folder's descriptor; `None`: the working directory.
    pub(crate) folder: Option<usize>,
    /// The pointer to the path.
    pub(crate) path: usize,
}

const fn at(folder: usize, path: usize) -> Named {
    Named {
        folder: Some(folder),
        path,
    }
}

const fn here(path: usize) -> Named {
    Named { folder: None, path }
}

/// How times are given to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clock {
    /// Two `struct timespec`.
    Nanoseconds,
    /// Two `struct timeval`.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "older calls"))]
    Microseconds,
    /// One `struct utimbuf`.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "older calls"))]
    Seconds,
}

/// What a call does. Numbers are those of its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    /// open(2), openat(2).
    Open {
        flags: usize,
        mode: usize,
    },
    /// openat2(2): a `struct open_how`.
    OpenHow {
        how: usize,
    },
    /// creat(2).
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "older calls"))]
    Create {
        mode: usize,
    },
    MakeFolder {
        mode: usize,
    },
    MakeNode {
        mode: usize,
    },
    /// symlink(2); the argument is the text of the link.
    MakeLink {
        text: usize,
    },
    HardLink {
        from: Named,
        flags: Option<usize>,
    },
    /// unlink(2), unlinkat(2).
    Remove {
        flags: Option<usize>,
    },
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "older calls"))]
    RemoveFolder,
    Rename {
        from: Named,
        flags: Option<usize>,
    },
    Truncate {
        length: usize,
    },
    Mode {
        mode: usize,
        flags: Option<usize>,
    },
    Owner {
        user: usize,
        group: usize,
        flags: Option<usize>,
        follow: bool,
    },
    Times {
        times: usize,
        clock: Clock,
        flags: Option<usize>,
    },
    SetAttribute {
        name: usize,
        value: usize,
        size: usize,
        flags: usize,
        follow: bool,
    },
    RemoveAttribute {
        name: usize,
        follow: bool,
    },
    /// access(2) and its like, asked about writing.
    Ask {
        mode: usize,
        flags: Option<usize>,
    },
    /// fchmod(2): by descriptor, the first argument.
    ModeOf {
        mode: usize,
    },
    /// fchown(2).
    OwnerOf {
        user: usize,
        group: usize,
    },
    /// Nothing is carried out; the kernel refuses it where writing is refused.
    Refused,
    /// The kernel reads something for the caller: a program, attributes, what happens to a file. What is hidden is
    /// refused; a path that changes meanwhile is not seen.
    Look {
        flags: Option<usize>,
        follow: bool,
    },
}

/// When a call stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stops {
    Always,
    /// Where reading is judged.
    WithReads,
    /// If this argument has any of these bits.
    Bits(usize, u32),
}

/// One call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    number: c::c_long,
    /// What it is about; of a call with two paths, the one where something comes to be.
    pub(crate) named: Named,
    pub(crate) op: Op,
    stops: Stops,
}

const fn call(number: c::c_long, named: Named, op: Op) -> Call {
    Call {
        number,
        named,
        op,
        stops: Stops::Always,
    }
}

/// Bits of open(2) that are there in every opening for writing.
const WRITING: u32 = (c::O_ACCMODE | c::O_CREAT | c::O_TRUNC) as u32;

const fn opening(number: c::c_long, named: Named, flags: usize, mode: usize) -> Call {
    Call {
        number,
        named,
        op: Op::Open { flags, mode },
        stops: Stops::Bits(flags, WRITING),
    }
}

const fn looking(number: c::c_long, named: Named, flags: Option<usize>, follow: bool) -> Call {
    Call {
        number,
        named,
        op: Op::Look { flags, follow },
        stops: Stops::WithReads,
    }
}

const fn asking(number: c::c_long, named: Named, mode: usize, flags: Option<usize>) -> Call {
    Call {
        number,
        named,
        op: Op::Ask { mode, flags },
        stops: Stops::Bits(mode, c::W_OK as u32),
    }
}

#[rustfmt::skip]
const CALLS: &[Call] = &[
    opening(c::SYS_openat, at(0, 1), 2, 3),
    call(c::SYS_openat2, at(0, 1), Op::OpenHow { how: 2 }),
    call(c::SYS_mkdirat, at(0, 1), Op::MakeFolder { mode: 2 }),
    call(c::SYS_mknodat, at(0, 1), Op::MakeNode { mode: 2 }),
    call(c::SYS_symlinkat, at(1, 2), Op::MakeLink { text: 0 }),
    call(c::SYS_linkat, at(2, 3), Op::HardLink { from: at(0, 1), flags: Some(4) }),
    call(c::SYS_unlinkat, at(0, 1), Op::Remove { flags: Some(2) }),
    call(c::SYS_renameat2, at(2, 3), Op::Rename { from: at(0, 1), flags: Some(4) }),
    call(c::SYS_renameat, at(2, 3), Op::Rename { from: at(0, 1), flags: None }),
    call(c::SYS_truncate, here(0), Op::Truncate { length: 1 }),
    call(c::SYS_fchmodat, at(0, 1), Op::Mode { mode: 2, flags: None }),
    call(SYS_FCHMODAT2, at(0, 1), Op::Mode { mode: 2, flags: Some(3) }),
    call(c::SYS_fchownat, at(0, 1), Op::Owner { user: 2, group: 3, flags: Some(4), follow: true }),
    call(c::SYS_utimensat, at(0, 1), Op::Times { times: 2, clock: Clock::Nanoseconds, flags: Some(3) }),
    call(c::SYS_setxattr, here(0), Op::SetAttribute { name: 1, value: 2, size: 3, flags: 4, follow: true }),
    call(c::SYS_lsetxattr, here(0), Op::SetAttribute { name: 1, value: 2, size: 3, flags: 4, follow: false }),
    call(c::SYS_removexattr, here(0), Op::RemoveAttribute { name: 1, follow: true }),
    call(c::SYS_lremovexattr, here(0), Op::RemoveAttribute { name: 1, follow: false }),
    call(SYS_SETXATTRAT, at(0, 1), Op::Refused),
    call(SYS_REMOVEXATTRAT, at(0, 1), Op::Refused),
    asking(c::SYS_faccessat, at(0, 1), 2, None),
    asking(c::SYS_faccessat2, at(0, 1), 2, Some(3)),
    looking(c::SYS_execve, here(0), None, true),
    looking(c::SYS_execveat, at(0, 1), Some(4), true),
    looking(c::SYS_getxattr, here(0), None, true),
    looking(c::SYS_lgetxattr, here(0), None, false),
    looking(c::SYS_listxattr, here(0), None, true),
    looking(c::SYS_llistxattr, here(0), None, false),
    looking(SYS_GETXATTRAT, at(0, 1), Some(2), true),
    looking(SYS_LISTXATTRAT, at(0, 1), Some(2), true),
    looking(c::SYS_inotify_add_watch, here(1), None, true),
    call(c::SYS_fchmod, here(0), Op::ModeOf { mode: 1 }),
    call(c::SYS_fchown, here(0), Op::OwnerOf { user: 1, group: 2 }),
];

/// Older calls that newer architectures do not have.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const OLDER_CALLS: &[Call] = &[
    opening(c::SYS_open, here(0), 1, 2),
    call(c::SYS_creat, here(0), Op::Create { mode: 1 }),
    call(c::SYS_mkdir, here(0), Op::MakeFolder { mode: 1 }),
    call(c::SYS_mknod, here(0), Op::MakeNode { mode: 1 }),
    call(c::SYS_symlink, here(1), Op::MakeLink { text: 0 }),
    call(c::SYS_link, here(1), Op::HardLink { from: here(0), flags: None }),
    call(c::SYS_unlink, here(0), Op::Remove { flags: None }),
    call(c::SYS_rmdir, here(0), Op::RemoveFolder),
    call(c::SYS_rename, here(1), Op::Rename { from: here(0), flags: None }),
    call(c::SYS_chmod, here(0), Op::Mode { mode: 1, flags: None }),
    call(c::SYS_chown, here(0), Op::Owner { user: 1, group: 2, flags: None, follow: true }),
    call(c::SYS_lchown, here(0), Op::Owner { user: 1, group: 2, flags: None, follow: false }),
    call(c::SYS_utime, here(0), Op::Times { times: 1, clock: Clock::Seconds, flags: None }),
    call(c::SYS_utimes, here(0), Op::Times { times: 1, clock: Clock::Microseconds, flags: None }),
    call(c::SYS_futimesat, at(0, 1), Op::Times { times: 2, clock: Clock::Microseconds, flags: None }),
    asking(c::SYS_access, here(0), 1, None),
];
#[cfg(not(target_arch = "x86_64"))]
const OLDER_CALLS: &[Call] = &[];

/// The call of this number.
pub(crate) fn find(number: i32) -> Option<&'static Call> {
    CALLS
        .iter()
        .chain(OLDER_CALLS)
        .find(|call| call.number == c::c_long::from(number))
}

/// Whether opening flags (open(2)) ask for writing.
pub(crate) fn writes(flags: u64) -> bool {
    flags as u32 & WRITING != 0 && flags & c::O_PATH as u64 == 0
}

/// Which calls stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Stop {
    /// Every opening, not only those for writing.
    pub(crate) reads: bool,
    /// connect(2).
    pub(crate) connects: bool,
    /// execve(2) and its like: the kernel reads for the caller.
    pub(crate) looks: bool,
}

/// Whether it is connect(2), which [`find`] does not know: it names no file of its own.
pub(crate) fn is_connect(number: i32) -> bool {
    c::c_long::from(number) == c::SYS_connect
}

/// `if arch is ours and the call is one of the table, with these bits: notify, else allow` (linux/filter.h,
/// linux/seccomp.h). Calls of the x32 ABI, which would be twins of these under other numbers, are not there.
pub(crate) fn program(stop: Stop) -> Vec<c::sock_filter> {
    const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
    const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
    const JUMP_ANY_BIT: u16 = 0x45; // BPF_JMP | BPF_JSET | BPF_K
    const RETURN: u16 = 0x06; // BPF_RET | BPF_K
    // Offsets of `nr`, `arch` and `args` in struct seccomp_data; of an argument, its lower half.
    const NR: u32 = 0;
    const ARCH: u32 = 4;
    const ARGUMENTS: u32 = 16;
    let instruction = |code, jt, jf, k| c::sock_filter { code, jt, jf, k };
    let mut program = vec![
        instruction(LOAD, 0, 0, ARCH),
        instruction(JUMP_EQUAL, 1, 0, AUDIT_ARCH),
        instruction(RETURN, 0, 0, SECCOMP_RET_ALLOW),
        instruction(LOAD, 0, 0, NR),
    ];
    if cfg!(target_arch = "x86_64") {
        program.push(instruction(JUMP_ANY_BIT, 0, 1, 0x4000_0000));
        program.push(instruction(
            RETURN,
            0,
            0,
            SECCOMP_RET_ERRNO | c::ENOSYS as u32,
        ));
    }
    if stop.connects {
        program.push(instruction(JUMP_EQUAL, 0, 1, c::SYS_connect as u32));
        program.push(instruction(RETURN, 0, 0, SECCOMP_RET_USER_NOTIF));
    }
    for call in CALLS.iter().chain(OLDER_CALLS) {
        let always =
            call.stops == Stops::Always || stop.reads && matches!(call.op, Op::Open { .. });
        match call.stops {
            Stops::WithReads if !stop.looks => {}
            Stops::Bits(argument, bits) if !always => {
                program.push(instruction(JUMP_EQUAL, 0, 4, call.number as u32));
                program.push(instruction(LOAD, 0, 0, ARGUMENTS + 8 * argument as u32));
                program.push(instruction(JUMP_ANY_BIT, 0, 1, bits));
                program.push(instruction(RETURN, 0, 0, SECCOMP_RET_USER_NOTIF));
                program.push(instruction(RETURN, 0, 0, SECCOMP_RET_ALLOW));
            }
            _ => {
                program.push(instruction(JUMP_EQUAL, 0, 1, call.number as u32));
                program.push(instruction(RETURN, 0, 0, SECCOMP_RET_USER_NOTIF));
            }
        }
    }
    program.push(instruction(RETURN, 0, 0, SECCOMP_RET_ALLOW));
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(program: &[c::sock_filter], arch: u32, number: u32, arguments: [u64; 6]) -> u32 {
        let plain: Vec<_> = program
            .iter()
            .map(|step| (step.code, step.jt, step.jf, step.k))
            .collect();
        crate::linux::interpreter::run(&plain, arch, number, arguments)
    }

    #[test]
    fn calls_stop_when_they_write_or_when_all_do() {
        let open = |flags: i32| [0, 0, flags as u64, 0, 0, 0];
        for (reads, number, arguments, expected) in [
            (false, c::SYS_openat, open(c::O_RDONLY), SECCOMP_RET_ALLOW),
            (
                true,
                c::SYS_openat,
                open(c::O_RDONLY),
                SECCOMP_RET_USER_NOTIF,
            ),
            (
                false,
                c::SYS_openat,
                open(c::O_WRONLY),
                SECCOMP_RET_USER_NOTIF,
            ),
            (
                false,
                c::SYS_openat,
                open(c::O_CREAT),
                SECCOMP_RET_USER_NOTIF,
            ),
            (false, c::SYS_openat2, open(0), SECCOMP_RET_USER_NOTIF),
            (false, c::SYS_faccessat, open(c::R_OK), SECCOMP_RET_ALLOW),
            (true, c::SYS_faccessat, open(c::R_OK), SECCOMP_RET_ALLOW),
            (
                false,
                c::SYS_faccessat,
                open(c::W_OK),
                SECCOMP_RET_USER_NOTIF,
            ),
            (false, c::SYS_fchown, open(0), SECCOMP_RET_USER_NOTIF),
            (true, c::SYS_read, open(0), SECCOMP_RET_ALLOW),
        ] {
            let program = program(Stop {
                reads,
                connects: false,
                looks: false,
            });
            let got = run(&program, AUDIT_ARCH, number as u32, arguments);
            assert_eq!(got, expected, "{reads} {number} {arguments:?}");
        }
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn another_abi_finds_no_twin() {
        let program = program(Stop {
            reads: true,
            connects: true,
            looks: false,
        });
        let x32 = c::SYS_openat as u32 | 0x4000_0000;
        assert_eq!(
            run(&program, AUDIT_ARCH, x32, [0; 6]),
            SECCOMP_RET_ERRNO | c::ENOSYS as u32
        );
        // 32-bit calls are the other filters' to refuse.
        assert_eq!(run(&program, 0x4000_0003, 5, [0; 6]), SECCOMP_RET_ALLOW);
    }

    #[test]
    fn connections_stop_where_they_are_judged() {
        for (connects, expected) in [(false, SECCOMP_RET_ALLOW), (true, SECCOMP_RET_USER_NOTIF)] {
            let program = program(Stop {
                reads: false,
                connects,
                looks: false,
            });
            let got = run(&program, AUDIT_ARCH, c::SYS_connect as u32, [0; 6]);
            assert_eq!(got, expected);
        }
        assert!(is_connect(c::SYS_connect as i32) && !is_connect(c::SYS_openat as i32));
    }

    #[test]
    fn every_call_stands_once() {
        let mut numbers: Vec<_> = CALLS
            .iter()
            .chain(OLDER_CALLS)
            .map(|call| call.number)
            .collect();
        let count = numbers.len();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), count);
    }
}
