//! Memory that a burst has left, such as the pages of a start's lists or the objects of shards that went, goes back to the system:
//! the C library keeps what lies between things that are in use, for as long as nobody asks it.

use std::time::Duration;

use tokio::{sync::watch, time::timeout};

/// Nothing was let go for so long: what comes at once, such as the lists of many shards, is waited for.
const QUIET: Duration = Duration::from_secs(3);

/// Has free memory given back whenever much was let go, until nobody can let go any more.
pub async fn give_back(mut left: watch::Receiver<()>, trim: impl Fn() + Clone + Send + 'static) {
    while left.changed().await.is_ok() {
        while let Ok(Ok(())) = timeout(QUIET, left.changed()).await {}
        // Milliseconds with a large heap, in which no worker is to wait.
        if tokio::task::spawn_blocking(trim.clone()).await.is_err() {
            tracing::warn!("Free memory was not given back");
        }
    }
}

/// Asks the C library for it.
#[cfg(target_env = "gnu")]
pub fn trim() {
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
pub const fn trim() {}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn what_is_let_go_at_once_is_given_back_once_and_what_comes_later_again() {
        let (left, lets) = watch::channel(());
        let (told, mut asked) = mpsc::unbounded_channel();
        for _ in 0..10 {
            left.send_replace(());
        }
        let task = tokio::spawn(give_back(lets, move || {
            trim();
            told.send(()).unwrap();
        }));
        asked.recv().await.unwrap();
        assert!(asked.try_recv().is_err(), "once for all");
        left.send_replace(());
        asked.recv().await.unwrap();
        drop(left);
        task.await.unwrap();
        assert!(asked.recv().await.is_none(), "and no more than that");
    }
}
