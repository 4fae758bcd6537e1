//! What a conversion costs: lists of 10,000 objects of 7.5 kB, and one object at a time; ours beside an implementation
//! with `Vec<Value>` and types, as `kube` offers it, in the same run. Each measurement is a process of its own, so that
//! none has the memory of another; time is the processor's, so that others on the machine cost none.

#![allow(
    clippy::indexing_slicing,
    reason = "JSON is indexed by name, and a wrong place of a bench may end it"
)]

mod measure;
mod objects;
mod table;
mod to_hub;
mod typed;

use std::{env, fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use objects::{Direction, Sort};
use serde::{Deserialize, Serialize};
use serde_json::Value;

#[derive(Debug, Parser)]
struct Options {
    /// Set by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
    /// Objects of a list.
    #[arg(long, default_value_t = 10_000)]
    objects: usize,
    /// Bytes of an object.
    #[arg(long, default_value_t = 7_500)]
    bytes: usize,
    /// Measurements of each.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// One measurement: what, and the file with the body.
    #[arg(long, hide = true, num_args = 2)]
    measure: Option<Vec<String>>,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// Our review, piece by piece.
    Review,
    /// The same behind `/convert`, its body arriving in parts.
    Route,
    /// `kube`'s `ConversionReview`, and types.
    Typed,
    /// Our review with one object, many times.
    Single,
}

fn main() -> Result<()> {
    let options = Options::parse();
    if let Some(asked) = &options.measure {
        let [what, body] = &asked[..] else { anyhow::bail!("two values") };
        let figures = measure::one(serde_json::from_str(what)?, &PathBuf::from(body))?;
        println!("{}", serde_json::to_string(&figures)?);
        return Ok(());
    }
    if !options.bench {
        // As `cargo test` starts it: there is no harness, so the bench checks that both do the same.
        return check();
    }
    bench(&options)
}

/// Both implementations say the same of a list that needs no annotation; what needs one comes back by ours, with it.
fn check() -> Result<()> {
    for sort in Sort::ALL {
        for (direction, back) in
            [(Direction::Up, Direction::Down), (Direction::Down, Direction::Up)]
        {
            let body = objects::review(sort, direction, 20, 3000)?;
            let ours: Value = serde_json::from_slice(&measure::review(body.as_bytes())?)?;
            let ours = &ours["response"]["convertedObjects"];
            let theirs = if sort.is_plain() {
                let theirs: Value = serde_json::from_slice(&typed::answer(body.as_bytes())?)?;
                theirs["response"]["convertedObjects"].clone()
            } else {
                let there: Value = serde_json::from_str(&objects::review(sort, back, 20, 3000)?)?;
                there["request"]["objects"].clone()
            };
            ensure!(*ours == theirs, "{sort:?} {direction:?}: {ours}\nis not\n{theirs}");
            ensure!(ours.as_array().is_some_and(|it| it.len() == 20), "all of them");
            let noted = ours[0].to_string().contains("-fields");
            ensure!(noted != sort.is_plain(), "{sort:?} {direction:?}: an annotation, or none");
        }
    }
    Ok(())
}

fn bench(options: &Options) -> Result<()> {
    check()?;
    let folder = tempfile::tempdir()?;
    let mut missed = 0;
    println!("{}\n", table::machine());
    for sort in Sort::ALL {
        for direction in [Direction::Up, Direction::Down] {
            let body = objects::review(sort, direction, options.objects, options.bytes)?;
            let file = folder.path().join("body");
            fs::write(&file, &body)?;
            let mut rounds = Vec::new();
            for _ in 0..options.rounds {
                for what in [What::Review, What::Route, What::Typed, What::Single] {
                    if what == What::Typed && !sort.is_plain() {
                        continue; // types have no place for an annotation
                    }
                    rounds.push((what, apart(what, &file)?));
                }
            }
            let title = format!(
                "{sort:?} {direction:?}: {} objects of {:.1} kB, a body of {:.1} MiB",
                options.objects,
                kilobytes(body.len() / options.objects.max(1)),
                table::mebibytes(body.len())
            );
            let (text, lacking) = table::table(&title, &rounds, body.len(), options.objects);
            println!("{text}");
            missed += lacking;
        }
    }
    ensure!(missed == 0, "{missed} goals were missed");
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn kilobytes(bytes: usize) -> f64 {
    bytes as f64 / 1000.0
}

/// One measurement in a process of its own.
fn apart(what: What, body: &std::path::Path) -> Result<measure::Figures> {
    let program = env::current_exe()?;
    let what = serde_json::to_string(&what)?;
    let done = Command::new(program).arg("--measure").arg(&what).arg(body).output()?;
    ensure!(done.status.success(), "{what}: {}", String::from_utf8_lossy(&done.stderr));
    serde_json::from_slice(&done.stdout).context("a measurement says its figures")
}
