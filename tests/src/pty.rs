//! A terminal with a program on it, and the person's side of it.

use std::io::Read as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};

use crate::until;

/// A program that has a terminal, and what it wrote there.
#[derive(Debug)]
pub struct Pty {
    /// The person's side.
    ours: OwnedFd,
    /// The program's side, which stays open here: what is typed and not read is kept.
    theirs: OwnedFd,
    child: Child,
    shown: Arc<Mutex<Vec<u8>>>,
}

impl Pty {
    /// Runs what `command` would, in a session of its own with a new terminal of this size. Its three streams are on it.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    #[track_caller]
    pub fn start(command: &Command, columns: u16, rows: u16) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let ours = openpt(flags).expect("a pseudo-terminal");
        unlockpt(&ours).expect("our own");
        let theirs = ioctl_tiocgptpeer(&ours, flags).expect("our own");
        let side = || Stdio::from(theirs.try_clone().expect("a descriptor"));
        // It makes a session, and its standard input the terminal that controls it.
        let mut session = Command::new("setsid");
        session.arg("--ctty").arg(command.get_program());
        session.args(command.get_args()).env_clear();
        for (name, value) in command.get_envs() {
            session.env(name, value.unwrap_or_default());
        }
        if let Some(folder) = command.get_current_dir() {
            session.current_dir(folder);
        }
        session.env("TERM", "xterm");
        set_size(&ours, columns, rows);
        let child = session
            .stdin(side())
            .stdout(side())
            .stderr(side())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {session:?}: {error}"));
        let shown = Arc::new(Mutex::new(Vec::new()));
        let (reading, screen) = (ours.try_clone().expect("a descriptor"), shown.clone());
        std::thread::spawn(move || {
            let mut reading = std::fs::File::from(reading);
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = reading.read(&mut buffer) {
                screen
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .extend_from_slice(&buffer[..count]);
            }
        });
        Self {
            ours,
            theirs,
            child,
            shown,
        }
    }

    /// The program's process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Types.
    ///
    /// # Panics
    ///
    /// When the terminal is gone.
    #[track_caller]
    pub fn typed(&self, text: &str) {
        let mut bytes = text.as_bytes();
        while !bytes.is_empty() {
            let count = rustix::io::write(&self.ours, bytes).expect("a terminal");
            bytes = &bytes[count..];
        }
    }

    /// Makes the window another size.
    pub fn resize(&self, columns: u16, rows: u16) {
        set_size(&self.ours, columns, rows);
    }

    /// All that was shown so far.
    pub fn screen(&self) -> String {
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&shown).into_owned()
    }

    /// Waits until the screen shows a text; what was shown up to its end is forgotten.
    ///
    /// # Panics
    ///
    /// When it does not in time.
    #[track_caller]
    pub fn shows(&self, text: &str, within: Duration) {
        let what = format!("{text:?} on the screen");
        let start = std::time::Instant::now();
        loop {
            let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
            let at = shown
                .windows(text.len())
                .position(|part| part == text.as_bytes());
            if let Some(at) = at {
                shown.drain(..at + text.len());
                return;
            }
            drop(shown);
            assert!(
                start.elapsed() < within,
                "waited {within:?} in vain for {what}: {:?}",
                self.screen()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The terminal's modes, as text that can be compared.
    ///
    /// # Panics
    ///
    /// When the terminal is gone.
    pub fn modes(&self) -> String {
        let modes: Termios = tcgetattr(&self.theirs).expect("a terminal");
        format!("{modes:?}")
    }

    /// What was typed, by a person or otherwise, and read by nobody. To be asked once the program is gone.
    ///
    /// # Panics
    ///
    /// When the terminal is gone.
    pub fn unread(&self) -> String {
        let mut modes = tcgetattr(&self.theirs).expect("a terminal");
        modes.make_raw();
        rustix::termios::tcsetattr(&self.theirs, rustix::termios::OptionalActions::Now, &modes)
            .expect("a terminal");
        let mut unread = Vec::new();
        let mut buffer = [0; 4096];
        while rustix::io::ioctl_fionread(self.theirs.as_fd()).is_ok_and(|count| count > 0) {
            let count = rustix::io::read(&self.theirs, &mut buffer).expect("a terminal");
            unread.extend_from_slice(&buffer[..count]);
        }
        String::from_utf8_lossy(&unread).into_owned()
    }

    /// Waits for the program's end.
    ///
    /// # Panics
    ///
    /// When it does not end in time.
    #[track_caller]
    pub fn wait(&mut self, within: Duration) -> ExitStatus {
        let screen = self.screen();
        let child = &mut self.child;
        until(
            &format!("the end of a program that showed {screen:?}"),
            within,
            || child.try_wait().ok().flatten(),
        )
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn set_size(terminal: &OwnedFd, columns: u16, rows: u16) {
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(terminal, size).expect("our own terminal");
}
