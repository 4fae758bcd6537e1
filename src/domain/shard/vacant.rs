//! Shards that nobody owns, and for so long that this is no hand-over: what the condition `AllOwned` of the map says.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::ShardId;

/// A shard counts as nobody's that has been so for this long, as the alert `GastownShardUnowned` has it. Whoever ends or
/// crashes is succeeded sooner.
pub const LASTS: Duration = Duration::from_secs(15);
/// What has lasted is told of once it has been the same for this long: shards lose their owners together, and are taken one
/// after the other.
const TOGETHER: Duration = Duration::from_secs(1);

/// What one replica has seen of that.
#[derive(Clone, Debug, Default)]
pub struct Vacant {
    /// Shards that are nobody's, and since when that is seen.
    since: BTreeMap<ShardId, Duration>,
    /// Those of them that have been so for long, and since when it is just these.
    lasting: (BTreeSet<ShardId>, Duration),
    told: Option<BTreeSet<ShardId>>,
}

impl Vacant {
    /// Takes note of the shards that are nobody's at `now`, the time since this machine started; `None`: it can't be seen. The
    /// answer: those that count as nobody's; `None` as long as that is not known, as by who has just begun to look.
    pub fn note(
        &mut self,
        vacant: Option<BTreeSet<ShardId>>,
        now: Duration,
    ) -> Option<&BTreeSet<ShardId>> {
        let Some(vacant) = vacant else {
            *self = Self::default();
            return None;
        };
        let since = |it: ShardId| (it, self.since.get(&it).copied().unwrap_or(now));
        self.since = vacant.into_iter().map(since).collect();
        let long = self.since.iter().filter(|(_, since)| now >= **since + LASTS);
        let lasting: BTreeSet<_> = long.map(|(it, _)| *it).collect();
        if self.lasting.0 != lasting {
            self.lasting = (lasting, now);
        }
        let (lasting, since) = &self.lasting;
        // Who has seen each with an owner, or for long without, knows; who began to look while one had none does not.
        let known = self.told.is_some() || !lasting.is_empty();
        if self.since.is_empty() || (known && now >= *since + TOGETHER) {
            self.told = Some(lasting.clone());
        }
        self.told.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A moment in milliseconds, the shards that are nobody's then, what is told of that, and why.
    type Step<'a> = (u64, Option<&'a [u16]>, Option<&'a [u16]>, &'a str);

    fn told(steps: &[Step<'_>]) {
        let mut vacant = Vacant::default();
        let set = |all: &[u16]| all.iter().copied().map(ShardId).collect::<BTreeSet<_>>();
        for (at, nobodys, want, because) in steps {
            let found = vacant.note(nobodys.map(set), Duration::from_millis(*at));
            assert_eq!(found, want.map(set).as_ref(), "at {at} ms: {because}");
        }
    }

    #[test]
    fn a_shard_counts_as_nobodys_once_it_has_been_so_for_long() {
        told(&[
            (0, Some(&[]), Some(&[]), "all are owned"),
            (100, Some(&[3]), Some(&[]), "it may be a hand-over"),
            (200, Some(&[4]), Some(&[]), "it was, and there is another"),
            (300, Some(&[]), Some(&[]), "that one too"),
            (400, Some(&[3]), Some(&[]), "its owner is gone"),
            (600, Some(&[3, 4]), Some(&[]), "and that of another"),
            (14_000, Some(&[3, 4]), Some(&[]), "a crash takes ten seconds"),
            (15_399, Some(&[3, 4]), Some(&[]), "they may yet be taken over"),
            (15_400, Some(&[3, 4]), Some(&[]), "there may be more in a moment"),
            (15_600, Some(&[3, 4]), Some(&[]), "there were"),
            (16_600, Some(&[3, 4]), Some(&[3, 4]), "these are all"),
            (17_000, Some(&[3, 4, 9]), Some(&[3, 4]), "9 is being handed over"),
            (18_000, Some(&[4]), Some(&[3, 4]), "3 was taken, and 4 may be next"),
            (18_500, Some(&[4]), Some(&[3, 4]), "it is not yet"),
            (19_000, Some(&[4]), Some(&[4]), "nor will it be"),
            (20_000, Some(&[]), Some(&[]), "at once, where all are owned"),
        ]);
    }

    #[test]
    fn one_that_is_being_handed_over_does_not_hide_that_the_others_were_taken() {
        told(&[
            (0, Some(&[3]), None, "nothing is known of who was there before"),
            (15_000, Some(&[3]), None, "there may be more in a moment"),
            (16_000, Some(&[3]), Some(&[3]), "there are not"),
            (17_000, Some(&[9]), Some(&[3]), "another may be, too"),
            (18_000, Some(&[9]), Some(&[]), "no shard has been without an owner for long"),
        ]);
    }

    #[test]
    fn who_sees_nothing_says_nothing_and_begins_anew() {
        told(&[
            (0, Some(&[]), Some(&[]), "all are owned"),
            (1_000, Some(&[3]), Some(&[]), "its owner is gone"),
            (9_000, None, None, "nobody is heard"),
            (20_000, Some(&[3]), None, "it may have been owned meanwhile"),
            (34_999, Some(&[3]), None, "nobody knows"),
            (36_000, Some(&[3]), None, "there may be more in a moment"),
            (37_000, Some(&[3]), Some(&[3]), "now it has been so for long"),
        ]);
    }
}
