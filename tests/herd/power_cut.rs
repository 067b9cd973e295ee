//! Power cuts of processes. A library that is loaded before libc (`power_cut.c`) keeps what a
//! process has synced of a folder: the contents of files, and the names in folders. After the
//! process was killed, the folder is replaced by that, so that everything else is gone.
//!
//! It is stricter than most disks: nothing is durable without its sync, and a file only with a sync
//! of the folder that names it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/herd/power_cut.c");

/// The folder of a site whose power can be cut, relative to the site.
const ROOT: &str = "state";

/// The library.
pub(crate) struct PowerCut {
    dir: TempDir,
}

impl PowerCut {
    /// Compiles the library. Returns `None`, with a word, where that is not possible.
    pub(crate) fn compile() -> Option<Self> {
        if !cfg!(target_os = "linux") {
            println!("skipped: LD_PRELOAD and /proc are those of Linux");
            return None;
        }
        let this = Self {
            dir: TempDir::new().unwrap(),
        };
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-o"]);
        let Ok(compiled) = compiler.arg(this.library()).arg(SOURCE).output() else {
            println!("skipped: cc is missing");
            return None;
        };
        assert!(compiled.status.success(), "{compiled:?}");
        Some(this)
    }

    fn library(&self) -> PathBuf {
        self.dir.path().join("power_cut.so")
    }

    /// Creates the folder of a site, which is empty after a cut.
    pub(crate) fn prepare(site: &Path) {
        fs::create_dir(site.join(ROOT)).unwrap();
        Image::of(site).create();
    }

    /// Lets the power of a program in a site be cut.
    pub(crate) fn watch(&self, program: &mut Command, site: &Path) {
        program.env("LD_PRELOAD", self.library());
        program.env("POWER_CUT_ROOT", site.join(ROOT).canonicalize().unwrap());
        program.env("POWER_CUT_IMAGE", Image::of(site).0);
    }

    /// Leaves what is durable of the folder of a site. Its programs must have ended.
    pub(crate) fn cut(site: &Path) {
        let (root, image) = (site.join(ROOT), Image::of(site));
        // Not removed before the copy: numbers of files must stay their own.
        let before = site.join("before-the-cut");
        fs::rename(&root, &before).unwrap();
        image.restore(inode(&before), &root);
        fs::remove_dir_all(&image.0).unwrap();
        fs::remove_dir_all(before).unwrap();
        image.create();
        image.record(&root);
    }
}

fn inode(path: &Path) -> u64 {
    fs::metadata(path).unwrap().ino()
}

/// What is durable of the folder of a site: `power_cut.c` has the format.
struct Image(PathBuf);

impl Image {
    fn of(site: &Path) -> Self {
        Self(site.join("power-cut-image"))
    }

    fn path(&self, kind: &str, inode: u64) -> PathBuf {
        self.0.join(kind).join(inode.to_string())
    }

    fn create(&self) {
        for kind in ["content", "names", "held"] {
            fs::create_dir_all(self.0.join(kind)).unwrap();
        }
    }

    /// Creates a folder with what is durable of the one with this inode.
    fn restore(&self, inode: u64, folder: &Path) {
        fs::create_dir(folder).unwrap();
        let names = fs::read_to_string(self.path("names", inode)).unwrap_or_default();
        for line in names.lines() {
            let mut fields = line.splitn(3, ' ');
            let mut next = || fields.next().unwrap();
            let (inode, kind, name) = (next().parse().unwrap(), next(), next());
            let path = folder.join(name);
            if kind == "d" {
                self.restore(inode, &path);
            } else {
                // A file that was never synced is empty.
                let content = fs::read(self.path("content", inode)).unwrap_or_default();
                fs::write(path, content).unwrap();
            }
        }
    }

    /// Records that a folder is durable as it is.
    fn record(&self, folder: &Path) {
        let mut names = String::new();
        for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()) {
            let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
            let kind = if path.is_dir() { "d" } else { "f" };
            names += &format!("{} {kind} {name}\n", inode(&path));
            if path.is_dir() {
                self.record(&path);
            } else {
                fs::copy(&path, self.path("content", inode(&path))).unwrap();
                fs::hard_link(&path, self.path("held", inode(&path))).unwrap();
            }
        }
        fs::write(self.path("names", inode(folder)), names).unwrap();
    }
}
