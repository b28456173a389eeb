//! Overlays, in the helper's mount namespace: overlayfs without privileges (Linux 5.11, `userxattr`).

use std::path::Path;

use nix::mount::MsFlags;

use super::jail::{Failure, failed};
use crate::{Overlay, Step};

/// Lays a private layer over a folder, in our own mount namespace, from which bubblewrap takes it.
pub(super) fn mount(overlay: &Overlay) -> Result<(), Failure> {
    let what = |path: &Path| failed::<nix::Error>(Step::Overlay, path.display().to_string());
    // What is mounted here is not for the host, and what the host mounts later not for us.
    nix::mount::mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_REC | MsFlags::MS_SLAVE,
        None::<&str>,
    )
    .map_err(what(Path::new("/")))?;
    // Commas separate options and colons lower folders: overlayfs takes both escaped.
    let escaped = |path: &Path| {
        let text = path.display().to_string();
        text.replace('\\', "\\\\")
            .replace(',', "\\,")
            .replace(':', "\\:")
    };
    let options = format!(
        // Without an index the host's copy may change while nothing is mounted (overlayfs.rst, "Changes to underlying
        // filesystems"); redirections and metadata-only copies are off with userxattr.
        "lowerdir={},upperdir={},workdir={},userxattr,index=off",
        escaped(&overlay.path),
        escaped(&overlay.upper),
        escaped(&overlay.work)
    );
    nix::mount::mount(
        Some("overlay"),
        &overlay.merged,
        Some("overlay"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
        Some(options.as_str()),
    )
    .map_err(what(&overlay.path))
}
