//! The figures of /metrics in OTLP's shape. They are read from the very text that is scraped, so that both say the same.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::{
    common::v1::KeyValue,
    metrics::v1::{
        AggregationTemporality, Exemplar, Gauge, Histogram, HistogramDataPoint, Metric,
        NumberDataPoint, Sum, exemplar, metric::Data, number_data_point,
    },
};

use crate::otlp::text;

type Labels = Vec<(String, String)>;

/// From when to when figures hold, in nanoseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    pub from: u64,
    pub to: u64,
}

/// One line.
#[derive(Debug, PartialEq)]
struct Sample {
    name: String,
    labels: Labels,
    value: f64,
    exemplar: Option<(Labels, f64)>,
}

/// Figures of one name.
#[derive(Debug, Default)]
struct Family {
    help: String,
    unit: String,
    kind: String,
    samples: Vec<Sample>,
}

/// Every family of a text in the format of `OpenMetrics`. Lines that can't be read are left out.
pub fn read(text: &str, span: Span) -> Vec<Metric> {
    let mut families: Vec<(String, Family)> = Vec::new();
    for line in text.lines() {
        if let Some(about) = line.strip_prefix("# ") {
            let mut words = about.splitn(3, ' ');
            let (what, name) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
            if what == "EOF" || name.is_empty() {
                continue;
            }
            if families.last().is_none_or(|(last, _)| last != name) {
                families.push((name.into(), Family::default()));
            }
            if let Some((_, family)) = families.last_mut() {
                let rest = words.next().unwrap_or("").to_owned();
                match what {
                    "HELP" => family.help = rest.trim_end_matches('.').into(),
                    "UNIT" => family.unit = rest,
                    "TYPE" => family.kind = rest,
                    _ => {}
                }
            }
        } else if let (Some(sample), Some((_, family))) = (sample(line), families.last_mut()) {
            family.samples.push(sample);
        }
    }
    families.into_iter().filter_map(|(name, family)| metric(name, family, span)).collect()
}

fn metric(name: String, family: Family, span: Span) -> Option<Metric> {
    let Family { help: description, unit, kind, samples } = family;
    let data = match &*kind {
        "counter" => Data::Sum(Sum {
            data_points: samples.iter().map(|it| number(it, span)).collect(),
            aggregation_temporality: AggregationTemporality::Cumulative.into(),
            is_monotonic: true,
        }),
        "histogram" => Data::Histogram(Histogram {
            data_points: histograms(&name, samples, span),
            aggregation_temporality: AggregationTemporality::Cumulative.into(),
        }),
        _ => {
            Data::Gauge(Gauge { data_points: samples.iter().map(|it| number(it, span)).collect() })
        }
    };
    let empty = match &data {
        Data::Sum(it) => it.data_points.is_empty(),
        Data::Gauge(it) => it.data_points.is_empty(),
        Data::Histogram(it) => it.data_points.is_empty(),
        _ => true,
    };
    let whole = Metric { name, description, unit, data: Some(data), ..Metric::default() };
    (!empty).then_some(whole)
}

fn number(it: &Sample, span: Span) -> NumberDataPoint {
    NumberDataPoint {
        attributes: pairs(&it.labels),
        start_time_unix_nano: span.from,
        time_unix_nano: span.to,
        exemplars: it.exemplar.iter().map(|it| exemplar(it, span)).collect(),
        value: Some(number_data_point::Value::AsDouble(it.value)),
        ..NumberDataPoint::default()
    }
}

/// One of each set of labels: what the text counts up to each bound is counted between two here.
fn histograms(name: &str, samples: Vec<Sample>, span: Span) -> Vec<HistogramDataPoint> {
    let mut all: BTreeMap<Labels, (HistogramDataPoint, u64)> = BTreeMap::new();
    for mut it in samples {
        let bound = it.labels.iter().position(|(key, _)| key == "le");
        let bound = bound.map(|at| it.labels.remove(at).1);
        let (point, so_far) = all.entry(it.labels.clone()).or_insert_with(|| {
            let point = HistogramDataPoint {
                attributes: pairs(&it.labels),
                start_time_unix_nano: span.from,
                time_unix_nano: span.to,
                ..HistogramDataPoint::default()
            };
            (point, 0)
        });
        point.exemplars.extend(it.exemplar.iter().map(|it| exemplar(it, span)));
        match (it.name.strip_prefix(name), bound) {
            (Some("_sum"), _) => point.sum = Some(it.value),
            (Some("_count"), _) => point.count = whole(it.value),
            (Some("_bucket"), Some(bound)) => {
                let count = whole(it.value);
                point.bucket_counts.push(count.saturating_sub(*so_far));
                *so_far = count;
                point.explicit_bounds.extend(bound.parse::<f64>().ok().filter(|it| it.is_finite()));
            }
            _ => {}
        }
    }
    all.into_values().map(|(point, _)| point).collect()
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts are whole")]
fn whole(it: f64) -> u64 {
    it.max(0.0) as u64
}

fn exemplar((labels, value): &(Labels, f64), span: Span) -> Exemplar {
    let id = |name: &str| {
        let found = labels.iter().find(|(key, _)| key == name);
        found.and_then(|(_, hex)| bytes(hex)).unwrap_or_default()
    };
    let other = |(key, _): &&(String, String)| key != "trace_id" && key != "span_id";
    let others: Labels = labels.iter().filter(other).cloned().collect();
    Exemplar {
        filtered_attributes: pairs(&others),
        time_unix_nano: span.to,
        trace_id: id("trace_id"),
        span_id: id("span_id"),
        value: Some(exemplar::Value::AsDouble(*value)),
    }
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let pair = |at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
    (0..hex.len()).step_by(2).map(pair).collect()
}

fn pairs(labels: &Labels) -> Vec<KeyValue> {
    labels.iter().map(|(key, value)| text(key, value)).collect()
}

/// `name{label="value"} 1.0 # {label="value"} 1.0`.
fn sample(line: &str) -> Option<Sample> {
    let end = line.find(['{', ' '])?;
    let (name, rest) = line.split_at(end);
    let (labels, rest) = labels(rest)?;
    let (value, exemplar) = match rest.split_once(" # ") {
        Some((value, exemplar)) => (value, Some(exemplar)),
        None => (rest, None),
    };
    let exemplar = exemplar.and_then(|it| {
        let (labels, rest) = self::labels(it)?;
        Some((labels, rest.split_whitespace().next()?.parse().ok()?))
    });
    let value = value.split_whitespace().next()?.parse().ok()?;
    Some(Sample { name: name.into(), labels, value, exemplar })
}

/// Labels, where there are any, and what follows them.
fn labels(text: &str) -> Option<(Labels, &str)> {
    let Some(mut rest) = text.strip_prefix('{') else { return Some((Labels::new(), text)) };
    let mut all = Labels::new();
    loop {
        if let Some(after) = rest.strip_prefix('}') {
            return Some((all, after));
        }
        let (key, after) = rest.split_once("=\"")?;
        let (value, after) = quoted(after)?;
        all.push((key.trim_start_matches(',').into(), value));
        rest = after;
    }
}

/// Up to the quote that is no part of it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, it)) = chars.next() {
        match it {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prometheus_client::{encoding::text::encode, registry::Registry};

    use super::*;
    use crate::cluster::meters::{Lost, Meters};

    const SPAN: Span = Span { from: 1, to: 2 };

    fn figures(meters: &Meters) -> BTreeMap<String, Metric> {
        let mut registry = Registry::default();
        meters.register(&mut registry);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        read(&text, SPAN).into_iter().map(|it| (it.name.clone(), it)).collect()
    }

    #[test]
    fn what_is_scraped_is_what_is_sent() {
        let meters = Meters::default();
        meters.spans_lost.get_or_create(&Lost { reason: "refused" }).inc_by(7);
        meters.owned.set(3);
        for it in [2, 2, 300, 100_000] {
            meters.pass_took("polecat", Duration::from_millis(it), None);
        }
        let all = figures(&meters);
        let Some(Data::Sum(sum)) = &all["gastown_spans_lost"].data else { panic!("a counter") };
        assert!(sum.is_monotonic && sum.aggregation_temporality == 2, "cumulative");
        let refused = |it: &&NumberDataPoint| it.attributes == [text("reason", "refused")];
        let point = sum.data_points.iter().find(refused).unwrap();
        assert_eq!(point.value, Some(number_data_point::Value::AsDouble(7.0)));
        assert_eq!((point.start_time_unix_nano, point.time_unix_nano), (1, 2));
        let Some(Data::Gauge(gauge)) = &all["gastown_shards_owned"].data else { panic!("a gauge") };
        assert_eq!(gauge.data_points[0].value, Some(number_data_point::Value::AsDouble(3.0)));
        let Some(Data::Histogram(histogram)) = &all["gastown_reconcile_duration_seconds"].data
        else {
            panic!("a histogram")
        };
        let point = &histogram.data_points[0];
        assert_eq!((point.count, point.sum), (4, Some(100.304)));
        assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1, "the last is open");
        assert_eq!(point.bucket_counts.iter().sum::<u64>(), 4);
        let at = |bound: f64| point.explicit_bounds.iter().position(|it| *it >= bound).unwrap();
        assert_eq!(point.bucket_counts[at(0.002)], 2);
        assert_eq!(point.bucket_counts.last(), Some(&1), "beyond the last bound");
        assert!(all["gastown_shards_owned"].description.starts_with("Shards that this"));
    }

    #[test]
    fn labels_and_exemplars_are_read_as_they_are_written() {
        let line = r#"a_bucket{le="0.1",x="say \"hi\", {n}\n"} 3 # {trace_id="0af7651916cd43dd8448eb211c80319c",k="v"} 0.05 1.5"#;
        let it = sample(line).unwrap();
        assert_eq!((&*it.name, it.value), ("a_bucket", 3.0));
        assert_eq!(it.labels[1], ("x".into(), "say \"hi\", {n}\n".into()));
        let found = exemplar(&it.exemplar.unwrap(), SPAN);
        assert_eq!((found.trace_id.len(), found.filtered_attributes), (16, vec![text("k", "v")]));
        assert_eq!(sample("a 1").unwrap().labels, []);
        for broken in ["", "a", "a{", "a{b=\"c} 1", "a{b=\"c\"} x", "a{b} 1"] {
            assert_eq!(sample(broken), None, "{broken}");
        }
    }
}
