//! Old shape to new shape: pure, and total for every object that a served schema accepts.

pub mod polecat;
