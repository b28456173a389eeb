//! A terminal of the server's own: a pseudo-terminal (pts(4)) of the sandbox's own devpts, so that its name is right
//! inside, and nothing of it is the terminal of whoever started the host.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::process::ioctl_tiocsctty;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{
    InputModes, LocalModes, OptionalActions, OutputModes, SpecialCodeIndex, Winsize, tcgetattr,
    tcsetattr, tcsetwinsize,
};

use super::jail::{Failure, failed};
use crate::{Step, Terminal, TerminalModes};

/// The order of [`TerminalModes::special`].
const SPECIAL: [SpecialCodeIndex; 14] = [
    SpecialCodeIndex::VINTR,
    SpecialCodeIndex::VQUIT,
    SpecialCodeIndex::VERASE,
    SpecialCodeIndex::VKILL,
    SpecialCodeIndex::VEOF,
    SpecialCodeIndex::VSTART,
    SpecialCodeIndex::VSTOP,
    SpecialCodeIndex::VSUSP,
    SpecialCodeIndex::VEOL,
    SpecialCodeIndex::VREPRINT,
    SpecialCodeIndex::VDISCARD,
    SpecialCodeIndex::VWERASE,
    SpecialCodeIndex::VLNEXT,
    SpecialCodeIndex::VEOL2,
];

/// Makes the terminal and becomes the leader of a session that it controls. Gives the side of whoever shows it, and the
/// server's.
pub(super) fn make(terminal: &Terminal) -> Result<(OwnedFd, OwnedFd), Failure> {
    let on = |what: &'static str| failed::<io::Error>(Step::Terminal, what);
    // Only the leader of a session that has no terminal can take one. bubblewrap's --new-session made a session, whose
    // leader is process 1 of the sandbox or we are.
    match rustix::process::setsid() {
        Err(rustix::io::Errno::PERM) => {}
        other => drop(other.map_err(|error| on("setsid")(error.into()))?),
    }
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let ours = openpt(flags).map_err(|error| on("/dev/ptmx")(error.into()))?;
    unlockpt(&ours).map_err(|error| on("TIOCSPTLCK")(error.into()))?;
    // By its other side and not by its name: what stands at the name is of no interest then.
    let theirs =
        ioctl_tiocgptpeer(&ours, flags).map_err(|error| on("TIOCGPTPEER")(error.into()))?;
    describe(&theirs, terminal).map_err(on("its modes"))?;
    ioctl_tiocsctty(&theirs).map_err(|error| on("TIOCSCTTY")(error.into()))?;
    Ok((ours, theirs))
}

fn describe(fd: impl AsFd, terminal: &Terminal) -> io::Result<()> {
    tcsetwinsize(
        &fd,
        Winsize {
            ws_row: terminal.rows,
            ws_col: terminal.columns,
            ws_xpixel: terminal.width,
            ws_ypixel: terminal.height,
        },
    )?;
    let Some(modes) = &terminal.modes else {
        return Ok(());
    };
    let mut attributes = tcgetattr(&fd)?;
    set_modes(&mut attributes, modes);
    Ok(tcsetattr(&fd, OptionalActions::Now, &attributes)?)
}

fn set_modes(attributes: &mut rustix::termios::Termios, modes: &TerminalModes) {
    attributes.input_modes = InputModes::from_bits_retain(modes.input);
    attributes.output_modes = OutputModes::from_bits_retain(modes.output);
    attributes.local_modes = LocalModes::from_bits_retain(modes.local);
    for (index, code) in SPECIAL.into_iter().zip(&modes.special) {
        attributes.special_codes[index] = *code;
    }
}
