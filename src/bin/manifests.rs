//! Writes every generated file; with `--check` compares them and fails on a difference.

use std::{fs, path::Path, process::ExitCode};

fn main() -> anyhow::Result<ExitCode> {
    let check = std::env::args().nth(1).as_deref() == Some("--check");
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut stale = Vec::new();
    for (path, want) in gastown::manifests::files()? {
        let file = top.join(&path);
        if fs::read_to_string(&file).is_ok_and(|have| have == want) {
            continue;
        }
        if check {
            stale.push(path);
        } else {
            fs::create_dir_all(file.parent().unwrap_or(top))?;
            fs::write(&file, want)?;
            println!("wrote {path}");
        }
    }
    if stale.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("not what src/kinds.rs says: {}; run `make manifests` and commit", stale.join(", "));
    Ok(ExitCode::FAILURE)
}
