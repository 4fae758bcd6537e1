//! A `ResourceQuota` as far as it matters to what waits for room: whether it has more of it than before.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// What is kept of a `ResourceQuota`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Quota {
    pub namespace: Box<str>,
    pub name: Box<str>,
    pub uid: Box<str>,
    pub resource_version: Box<str>,
    /// What is left of each resource.
    pub room: BTreeMap<Box<str>, f64>,
}

impl Quota {
    /// Whether anything has more room than before, or is no longer counted.
    pub fn has_grown(&self, since: &Self) -> bool {
        since.room.iter().any(|(name, before)| self.room.get(name).is_none_or(|now| now > before))
    }
}

/// What a quota leaves, by what it allows and what is used of that.
pub fn room(
    hard: &BTreeMap<String, Quantity>,
    used: &BTreeMap<String, Quantity>,
) -> BTreeMap<Box<str>, f64> {
    let left = |(name, hard): (&String, &Quantity)| {
        let used = used.get(name).map_or(Some(0.0), amount);
        Some((name.as_str().into(), amount(hard)? - used?))
    };
    hard.iter().filter_map(left).collect()
}

/// A quantity as a number: near enough to tell more from less.
pub fn amount(quantity: &Quantity) -> Option<f64> {
    const UNITS: [(&str, f64); 15] = [
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("Pi", 1_125_899_906_842_624.0),
        ("Ei", 1_152_921_504_606_846_976.0),
        ("n", 1e-9),
        ("u", 1e-6),
        ("m", 1e-3),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
        ("P", 1e15),
        ("E", 1e18),
    ];
    let text = quantity.0.trim();
    if let Ok(plain) = text.parse() {
        return Some(plain);
    }
    let (number, unit) =
        UNITS.iter().find_map(|(unit, size)| Some((text.strip_suffix(unit)?, size)))?;
    number.parse::<f64>().ok().map(|it| it * unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str, &str)]) -> Quota {
        let map = |pick: fn(&(&str, &str, &str)) -> String| {
            pairs.iter().map(|it| (it.0.to_owned(), Quantity(pick(it)))).collect()
        };
        let (hard, used) = (map(|it| it.1.to_owned()), map(|it| it.2.to_owned()));
        Quota { room: room(&hard, &used), ..Quota::default() }
    }

    #[test]
    fn room_is_noticed_when_it_grows() {
        let before = of(&[("pods", "3", "3"), ("requests.cpu", "2", "1500m")]);
        let table = [
            (of(&[("pods", "3", "2"), ("requests.cpu", "2", "1500m")]), true, "a pod ended"),
            (of(&[("pods", "4", "3"), ("requests.cpu", "2", "1500m")]), true, "it was raised"),
            (of(&[("pods", "3", "3"), ("requests.cpu", "2", "500m")]), true, "cores were freed"),
            (of(&[("requests.cpu", "2", "1500m")]), true, "pods are no longer counted"),
            (of(&[("pods", "3", "3"), ("requests.cpu", "2", "2")]), false, "more is used"),
            (before.clone(), false, "nothing changed"),
        ];
        for (now, want, because) in table {
            assert_eq!(now.has_grown(&before), want, "{because}");
        }
    }

    #[test]
    fn amounts_of_every_spelling_compare() {
        let rising =
            ["100n", "1m", "500m", "1", "1.5", "1k", "1Ki", "2e3", "1M", "1Mi", "1Gi", "1E"];
        let numbers: Vec<f64> =
            rising.iter().map(|it| amount(&Quantity((*it).into())).unwrap()).collect();
        assert!(numbers.is_sorted(), "{numbers:?}");
        assert_eq!(amount(&Quantity("much".into())), None);
    }
}
