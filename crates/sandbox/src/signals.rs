//! What a process does about signals before it has said anything about them: an exec hands on which ones are ignored
//! (execve(2)), and whoever started the daemon may have ignored some (nohup(1), a shell's `&`).

/// How many signals there are (signal(7)).
#[cfg(target_os = "linux")]
const SIGNALS: libc::c_int = 64;
#[cfg(not(target_os = "linux"))]
const SIGNALS: libc::c_int = 31;

/// Has every signal do what it does by default. Async-signal-safe (signal-safety(7)).
pub(crate) fn to_default() {
    for number in 1..=SIGNALS {
        reset(number);
    }
}

/// By the system call, since the C library keeps two signals for itself (nptl(7)) that may be ignored all the same.
#[cfg(target_os = "linux")]
fn reset(number: libc::c_int) {
    /// The kernel's `struct sigaction` with room to spare: `SIG_DFL`, no flags, an empty mask.
    const DEFAULT: [u64; 8] = [0; 8];
    // SAFETY: the kernel reads the action, which is longer than its structure, and writes nothing. SIG_DFL is no
    // handler, so no code of ours can run in a signal's context. It fails for those that cannot be ignored.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            number,
            DEFAULT.as_ptr(),
            std::ptr::null::<u64>(),
            size_of::<u64>(),
        )
    };
}

#[cfg(not(target_os = "linux"))]
fn reset(number: libc::c_int) {
    // SAFETY: SIG_DFL is no handler, so no code of ours can run in a signal's context. It fails for those that cannot
    // be ignored.
    unsafe { libc::signal(number, libc::SIG_DFL) };
}

/// Where this process was started with SIGCHLD ignored, nobody would learn how a child of it ended (wait(2)): from here
/// on it is not. A handler stays.
pub fn learn_of_children() {
    let mut now = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: the kernel fills the structure, which lives through the call, and changes nothing.
    let known = unsafe { libc::sigaction(libc::SIGCHLD, std::ptr::null(), now.as_mut_ptr()) } == 0;
    // SAFETY: all of it is integers and an optional pointer, for which zero is a value.
    let now = unsafe { now.assume_init() };
    if known && now.sa_sigaction == libc::SIG_IGN {
        // SAFETY: SIG_DFL is no handler, so no code of ours can run in a signal's context.
        unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
    }
}
