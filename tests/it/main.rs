//! The one integration-test binary: the layer rule, generated files, and everything that needs a real API server.

mod architecture;
mod generated;
mod polecats;
mod preconditions;
mod process;
mod world;
