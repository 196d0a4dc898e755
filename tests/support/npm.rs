//! Packages of the npm registry, pinned by the lock file in `tests/<name>/`; what is installed stays in
//! `${KINTSUGI_CACHE:-~/.cache/kintsugi}`.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use kintsugi::domain::Digest;

pub fn sources(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

/// The folder with the packages, installed when they are not there yet.
pub fn installed(name: &str) -> PathBuf {
    let lock = fs::read(sources(name).join("package-lock.json")).unwrap();
    let digest = Digest::of_bytes(&lock);
    let cache = env::var_os("KINTSUGI_CACHE").map_or_else(
        || PathBuf::from(env::var_os("HOME").unwrap()).join(".cache/kintsugi"),
        PathBuf::from,
    );
    let folder = cache.join(format!("{name}-{}", digest.short()));
    if folder.join("node_modules").exists() {
        return folder;
    }
    // Installed under another name and then renamed: a run that is cut off leaves nothing that
    // looks installed, and of two runs at once one wins.
    let making = cache.join(format!("{name}-{}.{}", digest.short(), std::process::id()));
    fs::create_dir_all(&making).unwrap();
    for file in ["package.json", "package-lock.json"] {
        fs::copy(sources(name).join(file), making.join(file)).unwrap();
    }
    let quiet = ["ci", "--no-audit", "--no-fund", "--ignore-scripts"];
    let npm = Command::new("npm").args(quiet).current_dir(&making).stdin(Stdio::null()).output();
    let npm = npm.expect("npm: install Node.js");
    assert!(npm.status.success(), "npm ci: {}", String::from_utf8_lossy(&npm.stderr));
    if fs::rename(&making, &folder).is_err() {
        fs::remove_dir_all(&making).unwrap();
    }
    folder
}
