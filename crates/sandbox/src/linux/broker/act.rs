//! Calls that change something, carried out for the sandbox.
//!
//! Inside, every folder is read-only. A change that the judge allows is made here, at the same path of the host,
//! where no part of it may be a link: what was asked about is what is changed. Whatever is not understood or not
//! allowed goes on to the kernel, which refuses it.

use std::os::fd::OwnedFd;

use rustix::fs::{
    self as at, AtFlags, CWD, FileType, Gid, Mode, OFlags, RenameFlags, Timespec, Timestamps,
    UTIME_NOW, Uid, XattrFlags,
};
use rustix::io::Errno;

use super::calls::{Call, Clock, Named, Op, writes};
use super::hand::{Hand, Not, Opened, Outcome, Place};
use super::listener::{Answer, Notification};
use super::open::{self, Wish};
use super::target::{KEPT_MODE, Target};
use super::view::{View, own_link};
use crate::{Access, SandboxSpec};

/// The longest value of an extended attribute (linux/limits.h, XATTR_SIZE_MAX).
const LONGEST_ATTRIBUTE: usize = 65_536;

/// Carries a call out, if it is ours.
pub(crate) fn act(
    spec: &SandboxSpec,
    view: &View,
    notification: &Notification,
    call: &Call,
    waits: &dyn Fn() -> bool,
) -> Outcome {
    let hand = Hand {
        spec,
        view,
        target: Target {
            thread: notification.pid,
        },
        arguments: &notification.arguments,
        waits,
    };
    // Nor does an opening for writing go on to the kernel, where there are private folders: what is mounted in one is
    // read-only, which does not stop writing into a FIFO there, and Landlock takes it for a part of the folder. What
    // openat2(2) asks for can change after it was read, so none of it goes on.
    let private = !spec.own.folders.is_empty();
    if let Some(judged) = spec.judged.as_ref()
        && let Some(wish) = hand.wish(call.op)
        && (judged.reads
            || private
                && (matches!(call.op, Op::OpenHow { .. })
                    || wish.as_ref().is_ok_and(|wish| writes(wish.flags))))
    {
        return match wish {
            Ok(wish) => open::open(&hand, judged, call.named, wish),
            Err(error) => Answer::Failed(error).into(),
        };
    }
    if hand.names_are_judged() && matches!(call.op, Op::Rename { .. } | Op::HardLink { .. }) {
        return hand.name_anew(call);
    }
    match hand.carry_out(call) {
        Ok(answer) => answer.into(),
        Err(not) => not.outcome(Answer::GoOn),
    }
}

impl Hand<'_> {
    /// A call that gives a new name, and never goes on to the kernel.
    fn name_anew(&self, call: &Call) -> Outcome {
        let own = match call.op {
            Op::Rename { from, flags } => self.rename_own(call.named, from, self.bits(flags)),
            Op::HardLink { from, flags } => self.link_own(call.named, from, self.flags(flags)),
            _ => Ok(None),
        };
        let done = own.and_then(|own| own.map_or_else(|| self.carry_out(call), Ok));
        match done {
            Ok(answer) => answer.into(),
            Err(not) => not.outcome(Answer::Failed(Errno::ROFS)),
        }
    }

    fn carry_out(&self, call: &Call) -> Result<Answer, Not> {
        let named = call.named;
        match call.op {
            Op::Open { .. } | Op::Create { .. } | Op::OpenHow { .. } => {
                let Some(Ok(wish)) = self.wish(call.op) else {
                    return Err(Not::Ours);
                };
                // A caller that asks for more than a path has reasons that are not ours to guess.
                if wish.resolve != 0 {
                    return Err(Not::Ours);
                }
                self.open(named, wish.flags, wish.mode)
            }
            Op::MakeFolder { mode } => {
                let place = self.new_place(named, true)?;
                let mode = self.target.masked(self.arguments[mode])?;
                self.done(at::mkdirat(&place.folder, &place.name, mode))
            }
            Op::MakeNode { mode } => self.make_node(named, self.arguments[mode]),
            Op::MakeLink { text } => {
                let text = self.text(text)?;
                let place = self.new_place(named, false)?;
                self.is_no_place_of_a_rule(&place)?;
                self.done(at::symlinkat(text, &place.folder, &place.name))
            }
            Op::HardLink { from, flags } => self.hard_link(named, from, self.flags(flags)),
            Op::Remove { flags } => self.remove(named, self.flags(flags) & AtFlags::REMOVEDIR),
            Op::RemoveFolder => self.remove(named, AtFlags::REMOVEDIR),
            Op::Rename { from, flags } => self.rename(named, from, self.bits(flags)),
            Op::Truncate { length } => {
                // The caller's own limit does not bind us (setrlimit(2), RLIMIT_FSIZE).
                let longest = self.spec.limits.file_size;
                if longest.is_some_and(|longest| self.arguments[length] > longest) {
                    return Err(Errno::FBIG.into());
                }
                let file = self.writable_file(named, true)?;
                let path = own_link(&file);
                self.done(
                    at::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
                        .and_then(|file| at::ftruncate(file, self.arguments[length])),
                )
            }
            Op::Mode { mode, flags } => {
                let follow = !self.flags(flags).contains(AtFlags::SYMLINK_NOFOLLOW);
                let file = self.writable_file(named, follow)?;
                self.set_mode(&file, self.arguments[mode])
            }
            Op::Owner {
                user,
                group,
                flags,
                follow,
            } => {
                let follow = follow && !self.flags(flags).contains(AtFlags::SYMLINK_NOFOLLOW);
                let file = self.writable_file(named, follow)?;
                self.set_owner(&file, user, group)
            }
            Op::Times {
                times,
                clock,
                flags,
            } => {
                let follow = !self.flags(flags).contains(AtFlags::SYMLINK_NOFOLLOW);
                let times = self.times(self.arguments[times], clock)?;
                // Without a path it is about the descriptor (utimensat(2)).
                let file = match (named.folder, self.arguments[named.path]) {
                    (Some(folder), 0) => self.by_descriptor(folder)?,
                    _ => self.writable_file(named, follow)?,
                };
                self.done(at::utimensat(&file, "", &times, AtFlags::EMPTY_PATH))
            }
            Op::SetAttribute {
                name,
                value,
                size,
                flags,
                follow,
            } => {
                let name = self.text(name)?;
                let value = self
                    .target
                    .block(
                        self.arguments[value],
                        self.arguments[size],
                        LONGEST_ATTRIBUTE,
                    )
                    .map_err(|_| Not::Ours)?;
                let flags = XattrFlags::from_bits_truncate(self.arguments[flags] as u32);
                let file = self.writable_file(named, follow)?;
                self.done(at::setxattr(own_link(&file), name, &value, flags))
            }
            Op::RemoveAttribute { name, follow } => {
                let name = self.text(name)?;
                let file = self.writable_file(named, follow)?;
                self.done(at::removexattr(own_link(&file), name))
            }
            Op::Ask { mode, flags } => {
                let follow = !self.flags(flags).contains(AtFlags::SYMLINK_NOFOLLOW);
                // Nobody is told of a question.
                let file = self.writable_file(named, follow).map_err(|not| match not {
                    Not::Allowed(_) => Not::Ours,
                    other => other,
                })?;
                let access = at::Access::from_bits_truncate(self.arguments[mode] as u32);
                self.done(at::accessat(CWD, own_link(&file), access, AtFlags::empty()))
            }
            Op::ModeOf { mode } => {
                let file = self.by_descriptor(named.path)?;
                self.set_mode(&file, self.arguments[mode])
            }
            Op::OwnerOf { user, group } => {
                let file = self.by_descriptor(named.path)?;
                self.set_owner(&file, user, group)
            }
            Op::Look { flags, follow } => {
                let follow = follow && !self.flags(flags).contains(AtFlags::SYMLINK_NOFOLLOW);
                let found = self.found(&self.absolute(named)?, follow)?;
                if !found.is_nameless() && self.spec.access(&found.path) == Access::None {
                    return Err(Not::Shown(found.path));
                }
                Err(Not::Ours)
            }
            Op::Refused => {
                self.writable_file(named, true)?;
                Err(Not::Ours)
            }
        }
    }

    /// What an opening asks for; `None` for another call.
    fn wish(&self, op: Op) -> Option<Result<Wish, Errno>> {
        let plain = |flags, mode| {
            Some(Ok(Wish {
                flags,
                mode,
                resolve: 0,
                in_memory: false,
            }))
        };
        match op {
            Op::Open { flags, mode } => plain(self.arguments[flags], self.arguments[mode]),
            Op::Create { mode } => plain(
                (libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC) as u64,
                self.arguments[mode],
            ),
            Op::OpenHow { how } => {
                let how = self.target.bytes::<24>(self.arguments[how]);
                Some(how.map(|how| {
                    let [flags, mode, resolve] = [0, 8, 16].map(|at| word(&how[at..at + 8]));
                    Wish {
                        flags,
                        mode,
                        resolve,
                        in_memory: true,
                    }
                }))
            }
            _ => None,
        }
    }

    /// Opens for writing.
    fn open(&self, named: Named, flags: u64, mode: u64) -> Result<Answer, Not> {
        if !writes(flags) {
            return Err(Not::Ours);
        }
        let flags = OFlags::from_bits_retain(flags as u32);
        let create = flags.contains(OFlags::CREATE);
        let exclusive = create && flags.contains(OFlags::EXCL);
        let follow = !flags.contains(OFlags::NOFOLLOW) && !exclusive;
        let path = self.absolute(named)?;
        if flags.contains(OFlags::TMPFILE) {
            let folder = self.found(&path, true)?;
            self.may_write(&folder.path)?;
            // Programs then make a file with a name, which can be judged.
            return Err(Errno::OPNOTSUPP.into());
        }
        match self.opened(&path, follow, create) {
            Ok(Opened::Found(found)) => {
                if exclusive || found.is_nameless() || found.kind() != FileType::RegularFile {
                    return Err(Not::Ours);
                }
                self.may_be_file(&found.path)?;
                let place = self.place(&found.path)?;
                self.open_at(&place, flags - OFlags::CREATE, Mode::empty())
            }
            Ok(Opened::New { folder, name }) => {
                let whole = folder.path.join(&name);
                self.may_be_file(&whole)?;
                let place = self.place(&whole)?;
                self.open_at(&place, flags, self.target.masked(mode)?)
            }
            Err(_) => Err(Not::Ours),
        }
    }

    fn remove(&self, named: Named, flags: AtFlags) -> Result<Answer, Not> {
        let place = self.old_place(named)?;
        if flags.contains(AtFlags::REMOVEDIR) {
            self.is_no_place_of_a_rule(&place)?;
        }
        self.done(at::unlinkat(&place.folder, &place.name, flags))
    }

    fn make_node(&self, named: Named, mode: u64) -> Result<Answer, Not> {
        let kind = match FileType::from_raw_mode(mode as u32) {
            // A mode without a type means a file (mknod(2)).
            FileType::Unknown if mode as u32 & libc::S_IFMT == 0 => FileType::RegularFile,
            kind @ (FileType::RegularFile | FileType::Fifo | FileType::Socket) => kind,
            _ => return Err(Not::Ours),
        };
        let place = self.new_place(named, false)?;
        let mode = self.target.masked(mode)?;
        self.done(at::mknodat(&place.folder, &place.name, kind, mode, 0))
    }

    /// A second name for a file that may be written by the first, and so gives nothing new.
    fn hard_link(&self, named: Named, from: Named, flags: AtFlags) -> Result<Answer, Not> {
        if flags.contains(AtFlags::EMPTY_PATH) {
            return Err(Not::Ours);
        }
        let follow = flags.contains(AtFlags::SYMLINK_FOLLOW);
        let from = self.found(&self.absolute(from)?, follow)?;
        let to = self.new_place(named, false)?;
        if from.is_nameless() {
            return Err(Not::Ours);
        }
        // As a file: else what stands on the way to a rule could be written by its new name.
        self.may_be_file(&from.path)?;
        if from.kind() == FileType::Symlink {
            self.is_no_place_of_a_rule(&to)?;
        }
        // The very thing that was looked at gets the name.
        let file = self.writable(from)?;
        self.done(at::linkat(
            CWD,
            own_link(&file),
            &to.folder,
            &to.name,
            AtFlags::SYMLINK_FOLLOW,
        ))
    }

    fn rename(&self, to: Named, from: Named, flags: u32) -> Result<Answer, Not> {
        let flags = RenameFlags::from_bits(flags)
            .filter(|flags| !flags.contains(RenameFlags::WHITEOUT))
            .ok_or(Not::Ours)?;
        let from = self.old_place(from)?;
        let judged = self.judged()?;
        let (folder, name) = self.parent(&self.absolute(to)?)?;
        let to_path = folder.path.join(name);
        self.may_write(&to_path)?;
        let to = self.place(&to_path)?;
        let moves = |from: &Place, to: &Place| -> Result<(), Not> {
            let stat = at::statat(&from.folder, &from.name, AtFlags::SYMLINK_NOFOLLOW)?;
            let kind = FileType::from_raw_mode(stat.st_mode);
            let folder = kind == FileType::Directory;
            if folder {
                self.is_no_place_of_a_rule(from)?;
            }
            if kind != FileType::RegularFile {
                self.is_no_place_of_a_rule(to)?;
            }
            if !judged.judge.may_move(&from.path, &to.path, folder) {
                return Err(Not::Allowed(to.path.clone()));
            }
            if folder {
                Ok(())
            } else {
                self.may_be_file(&to.path)
            }
        };
        moves(&from, &to)?;
        if flags.contains(RenameFlags::EXCHANGE) {
            moves(&to, &from)?;
        }
        self.done(at::renameat_with(
            &from.folder,
            &from.name,
            &to.folder,
            &to.name,
            flags,
        ))
    }

    fn set_mode(&self, file: &OwnedFd, mode: u64) -> Result<Answer, Not> {
        let mode = Mode::from_raw_mode(mode as u32 & KEPT_MODE);
        self.done(at::chmod(own_link(file), mode))
    }

    fn set_owner(&self, file: &OwnedFd, user: usize, group: usize) -> Result<Answer, Not> {
        let id = |index: usize| {
            let id = self.arguments[index] as u32;
            (id != u32::MAX).then_some(id)
        };
        self.done(at::chownat(
            file,
            "",
            id(user).map(Uid::from_raw),
            id(group).map(Gid::from_raw),
            AtFlags::EMPTY_PATH,
        ))
    }

    fn times(&self, address: u64, clock: Clock) -> Result<Timestamps, Not> {
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_NOW,
        };
        if address == 0 {
            return Ok(Timestamps {
                last_access: now,
                last_modification: now,
            });
        }
        let words = |count: usize| -> Result<Vec<i64>, Not> {
            let bytes = self
                .target
                .block(address, 8 * count as u64, 32)
                .map_err(|_| Not::Ours)?;
            Ok(bytes
                .chunks_exact(8)
                .map(|bytes| word(bytes).cast_signed())
                .collect())
        };
        let time = |tv_sec, tv_nsec| Timespec { tv_sec, tv_nsec };
        let (last_access, last_modification) = match clock {
            Clock::Seconds => {
                let words = words(2)?;
                (time(words[0], 0), time(words[1], 0))
            }
            Clock::Nanoseconds => {
                let words = words(4)?;
                (time(words[0], words[1]), time(words[2], words[3]))
            }
            Clock::Microseconds => {
                let words = words(4)?;
                let nanoseconds = |micro: i64| micro.saturating_mul(1000);
                (
                    time(words[0], nanoseconds(words[1])),
                    time(words[2], nanoseconds(words[3])),
                )
            }
        };
        Ok(Timestamps {
            last_access,
            last_modification,
        })
    }

    fn done(&self, result: Result<(), Errno>) -> Result<Answer, Not> {
        Ok(result.map(|()| Answer::Done)?)
    }
}

/// Eight bytes as a number of this processor.
fn word(bytes: &[u8]) -> u64 {
    let mut whole = [0; 8];
    whole.copy_from_slice(bytes);
    u64::from_ne_bytes(whole)
}
