//! The audit log's head, told to syslog (the journal): a copy of the anchor that is not beside the database, and that who
//! changes the one cannot change with it.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::supervisor::Shared;

/// Where syslog listens (syslog(3)).
const SOCKET: &str = match cfg!(target_os = "macos") {
    true => "/var/run/syslog",
    false => "/dev/log",
};

/// How often a head that has moved is told.
const EVERY: Duration = Duration::from_secs(60);

/// Facility user, severity notice (RFC 3164).
const PRIORITY: u8 = (1 << 3) | 5;

/// Tells the head when it has moved, while the settings say so, and once more at the end.
pub(crate) async fn follow(shared: Arc<Shared>) {
    let mut settings = shared.settings.subscribe();
    let mut told = None;
    loop {
        if settings.borrow_and_update().anchor_syslog {
            tell(&shared, &mut told).await;
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            changed = settings.changed() => if changed.is_err() { return },
            () = shared.shutdown.cancelled() => return,
        }
    }
}

/// Tells the head as it is at the daemon's orderly end.
pub(crate) async fn tell_last(shared: &Shared) {
    if shared.settings.subscribe().borrow().anchor_syslog {
        tell(shared, &mut None).await;
    }
}

async fn tell(shared: &Shared, told: &mut Option<String>) {
    let line = shared.store.anchor();
    if told.as_ref() == Some(&line) {
        return;
    }
    let message = line.clone();
    let sent = tokio::task::spawn_blocking(move || send(Path::new(SOCKET), &message)).await;
    match sent {
        Ok(Ok(())) => *told = Some(line),
        Ok(Err(error)) => {
            tracing::warn!(%error, "cannot tell the audit log's head to syslog at {SOCKET} (audit.anchor.syslog)");
        }
        Err(error) => tracing::warn!(%error, "telling syslog ended early"),
    }
}

fn send(socket: &Path, line: &str) -> io::Result<()> {
    let message = format!("<{PRIORITY}>srtd[{}]: {line}", std::process::id());
    let datagram = UnixDatagram::unbound()?;
    // A logger that hangs must not hold us up for good.
    datagram.set_write_timeout(Some(Duration::from_secs(5)))?;
    datagram.send_to(message.as_bytes(), socket)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_logger_gets_one_line_with_who_says_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        assert!(send(&path, "x").is_err(), "nobody listens");
        let logger = UnixDatagram::bind(&path).unwrap();
        send(&path, "srtd-audit-anchor-1 database=x").unwrap();
        let mut buffer = [0; 200];
        let length = logger.recv(&mut buffer).unwrap();
        let pid = std::process::id();
        assert_eq!(
            String::from_utf8_lossy(&buffer[..length]),
            format!("<13>srtd[{pid}]: srtd-audit-anchor-1 database=x")
        );
    }
}
