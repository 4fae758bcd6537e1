//! What tests count instead of time: bytes that are split or compared, and members that are looked through for a name.

use std::cell::Cell;

thread_local! {
    static SPENT: Cell<usize> = const { Cell::new(0) };
}

pub fn spend(amount: usize) {
    SPENT.set(SPENT.get() + amount);
}

/// What this took in the calling thread.
pub fn of(work: impl FnOnce()) -> usize {
    let before = SPENT.get();
    work();
    SPENT.get() - before
}

/// Holds that twice as much takes about twice as long. Whatever looks for each in all of them takes four times as long.
pub fn in_proportion(half: usize, work: impl Fn(usize)) {
    let [less, more] = [half, 2 * half].map(|it| of(|| work(it)));
    assert!(less > half, "{less} for {half} is no effort");
    assert!(more < 3 * less, "{less} for {half}, {more} for twice as many");
}
