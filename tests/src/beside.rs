//! What a world's own network may have beside names.

use std::fs;
use std::os::unix::net::UnixDatagram;

use crate::{SOON, World};

/// What a world's own network may have beside names in /etc/hosts.
#[derive(Clone, Debug, Default)]
pub struct Beside {
    /// Whoever runs the tests has an account to log in to: a shell, and a home, which is the world's.
    pub account: bool,
    /// A resolver, `test-dns`, and these are its answers. It is asked whatever /etc/hosts does not know. The files
    /// `dns/answers` and `dns/asked` of the world's folder are its table and its log.
    pub answers: Option<Vec<String>>,
    /// The daemon's state is on a disk of its own, of so many MiB.
    pub disk: Option<u32>,
    /// Programs in it may listen at ports below 1024.
    pub low_ports: bool,
    /// What is told to syslog (/dev/log) comes to [`World::logger`].
    pub logger: bool,
}

impl World {
    /// What comes to /dev/log in this world, made with `Beside::logger`.
    ///
    /// # Panics
    ///
    /// When the socket cannot be made.
    pub fn logger(&self) -> UnixDatagram {
        let logger = UnixDatagram::bind(self.path("syslog")).expect("a socket in our folder");
        logger
            .set_read_timeout(Some(SOON))
            .expect("a socket of ours");
        logger
    }

    /// For the shell that makes the mounts: /dev is not ours to write, so there is one of our own, of the same devices, in
    /// which the logger's socket has its name.
    pub(crate) fn devices(&self) -> String {
        fs::create_dir(self.path("dev")).expect("a folder in our folder");
        "WORLD=${HOSTS%/*}; DEV=$WORLD/dev; mount -t tmpfs -o mode=755 dev \"$DEV\"; \
         for node in null zero full random urandom tty; do : >\"$DEV/$node\"; mount --bind /dev/$node \"$DEV/$node\"; done; \
         for folder in pts shm; do mkdir \"$DEV/$folder\"; mount --rbind /dev/$folder \"$DEV/$folder\"; done; \
         for link in fd stdin stdout stderr; do cp -P /dev/$link \"$DEV/$link\"; done; ln -s pts/ptmx \"$DEV/ptmx\"; \
         ln -s \"$WORLD/syslog\" \"$DEV/log\"; mount --rbind \"$DEV\" /dev; "
            .to_owned()
    }
}
