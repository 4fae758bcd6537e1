//! What is counted only when somebody asks: Polecats by phase, and how long the oldest object waits.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _},
    metrics::{MetricType, gauge::ConstGauge},
};

use super::{Controller, table};

/// Most pairs of namespace and Rig that are told apart; those with the fewest Polecats are one.
const MOST: usize = 500;
/// What the others are called; no namespace and no Rig can be.
const OTHERS: &str = "_others";

/// Where a Polecat belongs, and its phase.
type Place = (Arc<str>, Arc<str>, &'static str);

/// What there is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counted {
    pub polecats: BTreeMap<Place, i64>,
    /// Seconds, by controller.
    pub oldest: Vec<(&'static str, f64)>,
}

type Count = dyn Fn() -> Counted + Send + Sync;

/// Asks whoever counts, as long as there is somebody.
#[derive(Clone, Default)]
pub struct Census(Arc<Mutex<Option<Arc<Count>>>>);

impl fmt::Debug for Census {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Census")
    }
}

impl Census {
    /// From now on this counts.
    pub fn by(&self, count: impl Fn() -> Counted + Send + Sync + 'static) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(count));
    }

    fn now(&self) -> Counted {
        let count = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        count.map(|it| it()).unwrap_or_default()
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Agents {
    polecat_namespace: String,
    rig: String,
    phase: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfRig {
    rig: String,
    phase: &'static str,
}

impl Collector for Census {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Counted { polecats, oldest } = self.now();
        let polecats = bounded(polecats, MOST);
        let mut rigs = BTreeMap::<(Arc<str>, &str), i64>::new();
        for ((_, rig, phase), count) in &polecats {
            *rigs.entry((rig.clone(), phase)).or_default() += count;
        }
        let agents = polecats.iter().map(|((namespace, rig, phase), count)| {
            let (polecat_namespace, rig) = (namespace.to_string(), rig.to_string());
            (Agents { polecat_namespace, rig, phase }, *count)
        });
        gauges(&mut encoder, "gastown_polecats", agents)?;
        let rigs = rigs
            .iter()
            .map(|((rig, phase), count)| (OfRig { rig: rig.to_string(), phase }, *count));
        gauges(&mut encoder, "gastown_polecat_phase_total", rigs)?;
        let oldest = oldest.into_iter().map(|(controller, age)| (Controller { controller }, age));
        gauges(&mut encoder, "gastown_queue_oldest_seconds", oldest)
    }
}

fn gauges<L: EncodeLabelSet, N>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    cells: impl Iterator<Item = (L, N)>,
) -> fmt::Result
where
    ConstGauge<N>: prometheus_client::encoding::EncodeMetric,
{
    let mut cells = cells.peekable();
    if cells.peek().is_none() {
        return Ok(());
    }
    let help = table::row(name).map_or("", |it| it.help);
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, number) in cells {
        ConstGauge::new(number).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

/// With at most so many pairs of namespace and Rig, the biggest ones, and the others as one.
fn bounded(polecats: BTreeMap<Place, i64>, most: usize) -> BTreeMap<Place, i64> {
    let mut sizes = BTreeMap::<(Arc<str>, Arc<str>), i64>::new();
    for ((namespace, rig, _), count) in &polecats {
        *sizes.entry((namespace.clone(), rig.clone())).or_default() += count;
    }
    if sizes.len() <= most {
        return polecats;
    }
    let mut by_size: Vec<_> = sizes.into_iter().map(|(pair, size)| (Reverse(size), pair)).collect();
    by_size.sort();
    let kept: std::collections::BTreeSet<_> =
        by_size.into_iter().take(most).map(|it| it.1).collect();
    let others: Arc<str> = OTHERS.into();
    let mut all = BTreeMap::new();
    for ((namespace, rig, phase), count) in polecats {
        let pair = (namespace, rig);
        let (namespace, rig) =
            if kept.contains(&pair) { pair } else { (others.clone(), others.clone()) };
        *all.entry((namespace, rig, phase)).or_default() += count;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_with_many_names_does_not_flood_the_scrape() {
        let mut many: BTreeMap<Place, i64> = (0..2000)
            .map(|it| ((format!("tenant-{it}").into(), "a".into(), "Working"), 1))
            .collect();
        many.insert(("town".into(), "greeter".into(), "Stuck"), 3);
        let told = bounded(many.clone(), 10);
        assert_eq!(told.len(), 11, "ten pairs, and the others");
        assert_eq!(told.values().sum::<i64>(), 2003, "nobody is left out");
        assert_eq!(told[&("town".into(), "greeter".into(), "Stuck")], 3, "the biggest are kept");
        assert_eq!(bounded(many.clone(), 3000), many, "as long as there is room");
    }
}
