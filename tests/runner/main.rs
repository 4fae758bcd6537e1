//! The runner's parts as ordinary processes: three roots that stand for three containers share folders that stand for
//! volumes, exactly as the pod mounts them. Needs git; what else it needs is skipped by name where it is missing.

mod pod;
mod whole;
