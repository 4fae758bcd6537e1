//! Waits that `make test` shortens by flags, and that `make test-full` (`GASTOWN_FULL=1`) takes as users have them.

/// Whether every wait is to be as users have it.
pub fn are_full() -> bool {
    std::env::var_os("GASTOWN_FULL").is_some_and(|it| it == "1")
}

/// Flags that shorten a wait; none where it is to be full.
pub fn shortened<'a>(flags: &'a [&'a str]) -> &'a [&'a str] {
    if are_full() { &[] } else { flags }
}
