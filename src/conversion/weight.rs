//! How large an object may be to be converted, and what that takes: a text of many short fields takes many times its own memory.

use super::{convert::Refusal, review::PIECE, scan};

/// Largest object, in bytes of JSON as an API server sends it. That takes no request above 3 MiB, and etcd none above 1.5 unless told so; as
/// escapes of six bytes each it may be longer.
pub const MOST_BYTES: usize = 16 << 20;
/// Most members of all objects within one. What etcd takes has no room for so many.
pub const MOST_MEMBERS: usize = 250_000;
/// A member that was opened, in its few copies, with its places in their indices: as measured, with an annotation of ours.
const MEMBER: usize = 1200;
/// Smaller objects take nothing to speak of.
const SMALL: usize = PIECE;

/// Whether an object is small enough.
pub fn check(text: &str) -> Result<(), Refusal> {
    if text.len() > MOST_BYTES {
        return Err(Refusal::Large(text.len()));
    }
    // A member takes four bytes at least, such as `"":0`, so that most objects need not be looked at.
    if text.len() / 4 > MOST_MEMBERS {
        let members = scan::members(text.as_bytes());
        if members > MOST_MEMBERS {
            return Err(Refusal::Many(members));
        }
    }
    Ok(())
}

/// Most bytes of memory that its conversion takes; none for what is refused.
pub fn of(text: &str) -> usize {
    if text.len() <= SMALL || text.len() > MOST_BYTES {
        return text.len().min(SMALL);
    }
    let members = scan::members(text.as_bytes());
    if members > MOST_MEMBERS { 0 } else { text.len() + members * MEMBER }
}
