//! The bucket of a namespace: a number that never changes, so that it can stand in a label. Splits, merges and pins change
//! which shard has a bucket, and write no object.

use std::collections::{BTreeMap, BTreeSet};

/// How many there are: 0 to 1023.
pub const BUCKETS: u16 = 1024;
/// Label of Polecats and agent pods: the bucket of their namespace, without leading zeros.
pub const LABEL: &str = "gastown.io/bucket";
/// A bucket is this many bits of the hash.
const BITS: u32 = BUCKETS.trailing_zeros();

/// The bucket of a namespace; of an object outside of namespaces, that of its own name.
pub fn of(namespace: &str) -> u16 {
    let top = finished(fnv1a(namespace.as_bytes())) >> (u64::BITS - BITS);
    u16::try_from(top).unwrap_or_default() // ten bits
}

/// The label's value in this namespace.
pub fn label(namespace: &str) -> String {
    of(namespace).to_string()
}

/// The bucket that a label's value says; none, if it is not what [`label`] gives for any namespace.
pub fn labelled(value: &str) -> Option<u16> {
    let plain = value == "0" || !value.starts_with(['0', '+']);
    value.parse().ok().filter(|it| plain && *it < BUCKETS)
}

/// The bucket that these labels name.
pub fn of_labels(labels: Option<&BTreeMap<String, String>>) -> Option<u16> {
    labelled(labels?.get(LABEL)?)
}

/// What has one of these buckets in its label.
pub fn selector(buckets: &BTreeSet<u16>) -> String {
    if buckets.is_empty() {
        return format!("{LABEL},!{LABEL}"); // nothing: an empty list is no selector
    }
    format!("{LABEL} in ({})", list(buckets.iter().copied()))
}

/// What has no bucket in its label: because it has no such label, or because that says something else.
pub fn orphans() -> String {
    format!("{LABEL} notin ({})", list(0..BUCKETS))
}

fn list(buckets: impl Iterator<Item = u16>) -> String {
    buckets.map(|it| it.to_string()).collect::<Vec<_>>().join(",")
}

/// As people write them: `0-15`, `20`.
pub fn ranges(buckets: &BTreeSet<u16>) -> Vec<String> {
    let mut found: Vec<(u16, u16)> = Vec::new();
    for it in buckets {
        match found.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(*it) => *last = *it,
            _ => found.push((*it, *it)),
        }
    }
    let shown = |(first, last): (u16, u16)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    found.into_iter().map(shown).collect()
}

/// Reads what [`ranges`] writes.
pub fn parsed<'a>(
    ranges: impl IntoIterator<Item = &'a str>,
) -> Result<impl Iterator<Item = u16>, String> {
    let mut all = Vec::new();
    for range in ranges {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let ends = labelled(first).zip(labelled(last)).filter(|(first, last)| first <= last);
        let Some((first, last)) = ends else {
            return Err(format!(
                "{range:?} is no range of buckets: write one bucket, as in \"7\", or the first and the last, as in \"0-15\", \
                 between 0 and {}",
                BUCKETS - 1
            ));
        };
        all.push(first..=last);
    }
    Ok(all.into_iter().flatten())
}

const fn fnv1a(bytes: &[u8]) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut rest = bytes;
    while let [byte, tail @ ..] = rest {
        hash = (hash ^ *byte as u64).wrapping_mul(0x0100_0000_01b3);
        rest = tail;
    }
    hash
}

/// The last step of murmur's hash: the last bytes of a name barely reach FNV's top bits, and names that people count up
/// (`rig-00000`, `rig-00001`) would fall into few buckets.
const fn finished(mut hash: u64) -> u64 {
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::shard::Map;

    #[test]
    fn the_hash_is_the_published_one() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325, "vectors of the FNV reference");
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
        assert_eq!(finished(1), 0xb456_bcfc_34c2_cb2c, "fmix64 of smhasher");
    }

    #[test]
    fn a_label_never_changes() {
        let table =
            [("default", 849), ("gastown-system", 970), ("rig-00000", 521), ("team-a", 920)];
        for (namespace, want) in table {
            assert_eq!(of(namespace), want, "{namespace}: objects of earlier releases have it");
        }
    }

    #[test]
    fn names_spread_over_the_shards() {
        let hex = |it: u32| format!("ns-{:016x}", finished(u64::from(it)));
        let sets: [(&str, Vec<String>); 4] = [
            ("rigs", (0..10_000).map(|it| format!("rig-{it:05}")).collect()),
            ("tenants", (1..=10_000).map(|it| format!("tenant-{it}")).collect()),
            ("random", (0..10_000).map(hex).collect()),
            (
                "teams",
                (0..3_334)
                    .flat_map(|it| ["dev", "stage", "prod"].map(|env| format!("team-{it}-{env}")))
                    .collect(),
            ),
        ];
        let map = Map::first(64);
        for (set, names) in sets {
            let mut counts = [0_usize; 64];
            for name in &names {
                counts[usize::from(map.shard_of(name).unwrap().0)] += 1;
            }
            let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
            let mean = names.len() / 64;
            println!("{set}: {least} to {most} of {mean}");
            assert!(
                most * 4 <= mean * 5,
                "{set}: the biggest of 64 shards has {most}, mean {mean}"
            );
            assert!(*least > 0, "{set}: no shard is empty");
        }
        let top = |name: String| fnv1a(name.as_bytes()) >> 58;
        let hit: BTreeSet<_> = (0..10_000).map(|it| top(format!("rig-{it:05}"))).collect();
        assert!(hit.len() < 64, "without the last step some would be empty, as this test can tell");
    }

    #[test]
    fn every_selector_says_what_it_means() {
        assert_eq!(selector(&[3, 700].into()), "gastown.io/bucket in (3,700)");
        let none = selector(&BTreeSet::new());
        assert_eq!(none, "gastown.io/bucket,!gastown.io/bucket", "there and not there: nothing");
        let orphans = orphans();
        assert!(orphans.starts_with("gastown.io/bucket notin (0,1,2,"), "{orphans}");
        assert!(orphans.ends_with(",1022,1023)"), "{orphans}");
    }

    #[test]
    fn garbage_is_no_label() {
        for garbage in ["", "00", "01", "+1", "-1", "1024", "70000", "1 ", "x", "１"] {
            assert_eq!(labelled(garbage), None, "{garbage:?}");
        }
        assert_eq!((labelled("0"), labelled("1023")), (Some(0), Some(1023)));
    }

    #[test]
    fn ranges_that_mean_nothing_are_named() {
        for garbage in ["", "-", "5-3", "0-1024", "1-2-3", "a", "0 - 1", "01-2"] {
            let told = parsed([garbage]).err().unwrap_or_default();
            assert!(told.contains(&format!("{garbage:?}")) && told.contains("0-15"), "{told}");
        }
    }

    proptest! {
        #[test]
        fn ranges_are_read_as_they_were_written(buckets: BTreeSet<u16>) {
            let buckets: BTreeSet<_> = buckets.into_iter().map(|it| it % BUCKETS).collect();
            let written = ranges(&buckets);
            let read: BTreeSet<_> = parsed(written.iter().map(String::as_str)).unwrap().collect();
            prop_assert_eq!(read, buckets);
        }

        #[test]
        fn every_name_has_a_bucket_and_its_label_says_it(name in ".{0,80}") {
            prop_assert!(of(&name) < BUCKETS);
            prop_assert_eq!(labelled(&label(&name)), Some(of(&name)));
        }
    }
}
