//! The Go original's binary (`GO_ORIGINAL=path`).
