//! Memory that a burst has left, such as the pages of a start's lists or the objects of shards that went, goes back to the system:
//! the C library keeps what lies between things that are in use, for as long as nobody asks it. So does what that burst needed of the
//! program itself: a start comes by nearly all of it.

use std::time::Duration;

use tokio::{sync::watch, time::timeout};

/// Nothing was let go for so long: what comes at once, such as the lists of many shards, is waited for.
const QUIET: Duration = Duration::from_secs(3);
/// What is seldom needed of the program comes by and by all the same, and goes again after so long: some hundred faults in
/// memory, without a read, bring back what is in use.
pub const REST: Duration = Duration::from_secs(30);

/// What was left to be given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// Much was let go.
    Heap,
    /// Nobody let anything go for a while.
    Program,
}

/// Has free memory given back whenever much was let go, and after each `rest` what the program itself takes, until nobody can let go
/// any more.
pub async fn give_back(
    mut left: watch::Receiver<()>,
    rest: Duration,
    trim: impl Fn(Left) + Clone + Send + 'static,
) {
    loop {
        let what = match timeout(rest, left.changed()).await {
            Ok(Ok(())) => Left::Heap,
            Ok(Err(_)) => return,
            Err(_) => Left::Program,
        };
        if what == Left::Heap {
            while let Ok(Ok(())) = timeout(QUIET, left.changed()).await {}
        }
        // Milliseconds with a large heap, in which no worker is to wait.
        let trim = trim.clone();
        if tokio::task::spawn_blocking(move || trim(what)).await.is_err() {
            tracing::warn!("Free memory was not given back");
        }
    }
}

/// Gives back what can be.
pub fn trim(what: Left) {
    if what == Left::Heap {
        free();
    }
    unmap();
}

/// Asks the C library for it.
#[cfg(target_env = "gnu")]
fn free() {
    #[expect(
        unsafe_code,
        reason = "glibc's own, which takes a number and touches free memory alone"
    )]
    unsafe extern "C" {
        safe fn malloc_trim(kept: usize) -> std::ffi::c_int;
    }
    malloc_trim(0);
}

/// Others give back by themselves.
#[cfg(not(target_env = "gnu"))]
const fn free() {}

/// Lets go of the program's own instructions and constants. They lie in a file that is in memory all the same, and whatever is
/// needed is mapped again when it is: a replica at rest comes by a third of it. Returns how many parts went.
fn unmap() -> usize {
    let (program, maps) =
        (std::fs::read_link("/proc/self/exe"), std::fs::read_to_string("/proc/self/maps"));
    let (Ok(program), Ok(maps)) = (program, maps) else { return 0 };
    let mut gone = 0;
    for (from, length) in maps.lines().filter_map(|it| unwritten(it, &program)) {
        #[expect(
            unsafe_code,
            reason = "these pages were never written, so that what is read again is the same"
        )]
        // SAFETY: a private mapping of a file that nobody may write; without its pages it reads the file.
        let done = unsafe {
            rustix::mm::madvise(
                std::ptr::with_exposed_provenance_mut(from),
                length,
                rustix::mm::Advice::LinuxDontNeed,
            )
        };
        match done {
            Ok(()) => gone += 1,
            Err(error) => tracing::debug!(%error, "The program's pages stay"),
        }
    }
    gone
}

/// Where a mapping of the program begins and how long it is, if none of its pages can differ from the file: instructions, and
/// what lies before them. What comes after was relocated at the start, also where it can't be written by now.
fn unwritten(line: &str, program: &std::path::Path) -> Option<(usize, usize)> {
    let mut words = line.split_ascii_whitespace();
    let (from, to) = words.next()?.split_once('-')?;
    let (rights, offset) = (words.next()?, words.next()?);
    let path = line.split_once('/').map(|(_, it)| format!("/{it}"))?;
    let first = rights == "r--p" && offset.bytes().all(|it| it == b'0');
    let ours = std::path::Path::new(&path) == program;
    if !ours || !(first || rights == "r-xp") {
        return None;
    }
    let (from, to) = (usize::from_str_radix(from, 16).ok()?, usize::from_str_radix(to, 16).ok()?);
    Some((from, to.checked_sub(from)?))
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    #[test]
    fn only_what_was_never_written_is_unmapped() {
        let program = std::path::Path::new("/opt/gas town/gastown-operator");
        let line = |rights: &str, offset: &str, path: &str| {
            let line = format!("7f00001000-7f00003000 {rights} {offset} fe:00 77      {path}");
            unwritten(&line, program)
        };
        let (whole, ours) = (Some((0x7f_0000_1000, 0x2000)), "/opt/gas town/gastown-operator");
        for (rights, offset, path, want, because) in [
            ("r-xp", "00400000", ours, whole, "instructions"),
            ("r--p", "00000000", ours, whole, "constants before them"),
            ("r--p", "01a00000", ours, None, "relocated, and then made read-only"),
            ("rw-p", "01b00000", ours, None, "variables"),
            ("rwxp", "00400000", ours, None, "somebody may have written it"),
            ("r-xp", "00026000", "/usr/lib/libc.so.6", None, "another file"),
            ("r-xp", "00000000", "[vdso]", None, "no file"),
            ("rw-p", "00000000", "", None, "memory"),
        ] {
            assert_eq!(line(rights, offset, path), want, "{because}");
        }
        assert!(unmap() >= 2, "instructions of this very program, and what lies before them");
        assert_eq!(line("r-xp", "0", ours), whole, "what is needed comes back");
    }

    #[tokio::test]
    async fn what_is_let_go_at_once_is_given_back_once_and_what_comes_later_again() {
        let (left, lets) = watch::channel(());
        let (told, mut asked) = mpsc::unbounded_channel();
        for _ in 0..10 {
            left.send_replace(());
        }
        let task = tokio::spawn(give_back(lets, REST, move |what| {
            trim(what);
            told.send(what).unwrap();
        }));
        assert_eq!(asked.recv().await, Some(Left::Heap));
        assert!(asked.try_recv().is_err(), "once for all");
        left.send_replace(());
        assert_eq!(asked.recv().await, Some(Left::Heap));
        drop(left);
        task.await.unwrap();
        assert!(asked.recv().await.is_none(), "and no more than that");
    }

    #[tokio::test]
    async fn at_rest_the_program_is_given_back_now_and_then() {
        let (left, lets) = watch::channel(());
        let (told, mut asked) = mpsc::unbounded_channel();
        let (began, rest) = (tokio::time::Instant::now(), Duration::from_millis(5));
        let task = tokio::spawn(give_back(lets, rest, move |what| told.send(what).unwrap()));
        for times in 1..=3 {
            assert_eq!(asked.recv().await, Some(Left::Program));
            assert!(began.elapsed() >= rest * times, "not sooner");
        }
        drop(left);
        task.await.unwrap();
    }
}
