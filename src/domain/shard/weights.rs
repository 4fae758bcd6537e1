//! What the shards weigh in the balance, by the Polecats that there are in each. It is advice: everybody who reads the same
//! weights plans the same, and nothing but a few moves depends on them.

use std::collections::BTreeMap;

use super::ShardId;

/// What a shard weighs that has as many Polecats as the mean.
pub const MEAN: u32 = 4;
/// What a shard weighs at most.
const MOST: u32 = 255;
/// So many Polecats for each shard, and more, are weighed; where there are fewer than half of that, all weigh the same again.
const WORTH: u64 = 8;

/// The weights that should be known from now on, if those that are known would balance much worse: some shard weighs twice
/// what is known of it, or half. None: all weigh the same.
pub fn news(
    counts: &BTreeMap<ShardId, u64>,
    known: &BTreeMap<ShardId, u32>,
) -> Option<BTreeMap<ShardId, u32>> {
    let shards = u64::try_from(counts.len()).unwrap_or(u64::MAX);
    let total: u64 = counts.values().sum();
    let worth = if known.is_empty() { WORTH } else { WORTH / 2 };
    if total < shards.saturating_mul(worth) {
        return (!known.is_empty()).then(BTreeMap::new);
    }
    let weight = |count: u64| {
        let it = (count * u64::from(MEAN) * shards + total / 2) / total.max(1);
        u32::try_from(it).unwrap_or(MOST).clamp(1, MOST)
    };
    let weights: BTreeMap<_, _> = counts.iter().map(|(shard, it)| (*shard, weight(*it))).collect();
    let differs = |(shard, now): (&ShardId, &u32)| {
        let known = known.get(shard).copied().unwrap_or(MEAN);
        *now >= known.saturating_mul(2) || now.saturating_mul(2) <= known
    };
    weights.iter().any(differs).then_some(weights)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of<T: Copy>(all: &[T]) -> BTreeMap<ShardId, T> {
        (0..).map(ShardId).zip(all.iter().copied()).collect()
    }

    #[test]
    fn weights_change_when_that_is_worth_a_move() {
        type Weights = &'static [u32];
        let table: [(&[u64], Weights, Option<Weights>, &str); 8] = [
            (&[0, 0, 0, 0], &[], None, "there is nothing to weigh"),
            (&[9, 9, 9, 1], &[], None, "too little to move anything for"),
            (&[20, 20, 20, 20], &[], None, "all weigh the same anyway"),
            (&[100, 20, 20, 20], &[], Some(&[10, 2, 2, 2]), "one has most"),
            (&[110, 20, 20, 20], &[10, 2, 2, 2], None, "that is known well enough"),
            (&[20, 20, 20, 100], &[10, 2, 2, 2], Some(&[2, 2, 2, 10]), "another has most"),
            (&[17, 0, 0, 0], &[10, 2, 2, 2], Some(&[16, 1, 1, 1]), "less, and still worth it"),
            (&[15, 0, 0, 0], &[10, 2, 2, 2], Some(&[]), "what there was is gone"),
        ];
        for (counts, known, want, because) in table {
            assert_eq!(news(&of(counts), &of(known)), want.map(of), "{because}");
        }
    }

    #[test]
    fn a_weight_has_an_end() {
        let mut counts = of(&[0; 1024]);
        counts.insert(ShardId(7), 1_000_000);
        let weights = news(&counts, &BTreeMap::new()).unwrap();
        assert_eq!((weights[&ShardId(7)], weights[&ShardId(8)]), (MOST, 1));
    }
}
