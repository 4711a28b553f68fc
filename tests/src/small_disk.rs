//! A small file system of a scenario's own, to be filled.

use crate::tools::run;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A mounted tmpfs, unmounted on drop.
#[derive(Debug)]
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one of this size over a folder.
    ///
    /// # Errors
    /// Without the right to mount, with the reason.
    pub fn mount(at: &Path, size_mb: u64) -> Result<Self, String> {
        fs::create_dir_all(at).expect("a folder to mount on");
        let outcome = run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size_mb}m,mode=0700"), "tmpfs"])
            .arg(at));
        match outcome.code {
            0 => Ok(Self(at.to_path_buf())),
            _ => Err(format!("no right to mount a small file system here: {}", outcome.stderr.trim())),
        }
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }

    /// Takes all the space that is left.
    pub fn fill(&self) {
        let mut file =
            fs::OpenOptions::new().create(true).append(true).open(self.ballast()).expect("ballast");
        while file.write_all(&[0x55; 4096]).is_ok() {}
    }

    /// The same but for so many bytes.
    pub fn fill_but(&self, bytes: u64) {
        self.fill();
        let file = fs::OpenOptions::new().write(true).open(self.ballast()).expect("ballast");
        let len = file.metadata().expect("its length").len();
        file.set_len(len.checked_sub(bytes).expect("there was more room")).expect("it is cut");
    }

    /// Gives it back.
    pub fn free(&self) {
        fs::remove_file(self.ballast()).expect("ballast was there");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = run(Command::new("umount").arg("-l").arg(&self.0));
    }
}
