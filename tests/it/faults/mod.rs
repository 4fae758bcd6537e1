//! Faults, with three real replicas under load: whatever fails, no object is written by two owners in turns, no attempt has
//! two pods, and every Polecat is Done once. `make test` runs a quick set; `make test-faults` all, with longer faults.

mod by_hand;
mod clocks;
mod crashes;
mod flood;
mod judge;
mod mixed;
