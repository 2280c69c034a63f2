//! The admin socket: where `sidestack fibers` finds a server of the same user on this machine without being told.
//!
//! Each server has one, named after its process, in a folder that nobody else can open: `sidestack` in `$XDG_RUNTIME_DIR`, or
//! `/run/sidestack` for root, or `/tmp/sidestack-UID`. A server that ends takes it away; one that was killed leaves it, and whoever
//! finds that nobody answers there removes it.

use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::bail;
use tokio::net::{UnixListener, UnixStream};

/// The name of a server's own socket; it goes with this.
pub struct Named(PathBuf);

impl Drop for Named {
    fn drop(&mut self) {
        // If it has gone already, so much the better.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Makes this server's.
pub fn bind() -> io::Result<(UnixListener, Named)> {
    let folder = folder();
    match std::fs::DirBuilder::new().mode(0o700).create(&folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let found = std::fs::symlink_metadata(&folder)?;
    if !found.is_dir() || found.uid() != user() || found.mode() & 0o077 != 0 {
        return Err(io::Error::other(format!("{} is not a private folder of this user", folder.display())));
    }
    let path = folder.join(format!("{}.sock", std::process::id()));
    // Another process of this number had it, and is gone.
    let _ = std::fs::remove_file(&path);
    Ok((UnixListener::bind(&path)?, Named(path)))
}

/// The connection to the one server that there is, or to that of the process `wanted`; with its process.
pub async fn find(wanted: Option<u32>) -> anyhow::Result<(u32, UnixStream)> {
    let folder = folder();
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let Some(process) = process_of(&path).filter(|process| wanted.is_none_or(|wanted| wanted == *process)) else {
            continue;
        };
        match UnixStream::connect(&path).await {
            Ok(stream) => found.push((process, stream)),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => _ = std::fs::remove_file(&path),
            Err(_) => {}
        }
    }
    found.sort_by_key(|(process, _)| *process);
    match (found.len(), wanted) {
        (1, _) => Ok(found.remove(0)),
        (0, Some(wanted)) => bail!("no server of this user is process {wanted} (looked in {})", folder.display()),
        (0, None) => bail!(
            "no server of this user runs on this machine (looked in {})\n  of another one, say where it is with --admin",
            folder.display()
        ),
        (_, _) => {
            let list: Vec<String> = found.iter().map(|(process, _)| process.to_string()).collect();
            bail!("several servers run: processes {}\n  say which one with --pid", list.join(", "))
        }
    }
}

fn process_of(path: &Path) -> Option<u32> {
    path.file_name()?.to_str()?.strip_suffix(".sock")?.parse().ok()
}

fn folder() -> PathBuf {
    match std::env::var_os("XDG_RUNTIME_DIR").filter(|folder| !folder.is_empty()) {
        Some(folder) => Path::new(&folder).join("sidestack"),
        None if user() == 0 => "/run/sidestack".into(),
        None => format!("/tmp/sidestack-{}", user()).into(),
    }
}

/// This process's user.
fn user() -> u32 {
    // The owner of what the kernel shows of this process.
    std::fs::metadata("/proc/self").map_or(u32::MAX, |own| own.uid())
}
