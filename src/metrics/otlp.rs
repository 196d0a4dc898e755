//! The same families in the form that OpenTelemetry collectors take.
//!
//! They are read from the text that is scraped, so the two cannot differ. The client library has no other
//! way out of its registry that would not need `protoc` for each build; an OpenTelemetry instrument beside
//! each of its metrics would be a second truth.

use std::{collections::BTreeMap, fmt};

use jiff::Timestamp;
use opentelemetry::TraceId;
use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value},
    metrics::v1::{
        AggregationTemporality, Exemplar, Gauge, Histogram, HistogramDataPoint, Metric,
        NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, exemplar, metric::Data,
        number_data_point,
    },
    resource::v1::Resource,
};

use super::{
    Metrics,
    table::{self, Described, Kind},
};

/// What the parts of a histogram end in.
const PARTS: [&str; 3] = ["_bucket", "_sum", "_count"];
const TRACE_ID: &str = "trace_id";

/// A line of the text.
#[derive(Debug)]
struct Sample<'a> {
    name: &'a str,
    labels: Vec<(&'a str, String)>,
    value: &'a str,
    exemplar: Option<Exemplar>,
}

/// From when until when was counted.
#[derive(Clone, Copy)]
struct Period {
    began: u64,
    now: u64,
}

impl Metrics {
    /// All families at `now`, counted since the process `began`.
    ///
    /// # Errors
    /// Never: text grows in memory.
    pub fn otlp(
        &self,
        attributes: Vec<KeyValue>,
        began: Timestamp,
        now: Timestamp,
    ) -> Result<ExportMetricsServiceRequest, fmt::Error> {
        let period = Period { began: nanos(began), now: nanos(now) };
        let metrics = families(&self.text()?, period);
        let scope =
            InstrumentationScope { name: "kintsugi".to_owned(), ..InstrumentationScope::default() };
        let scope_metrics = ScopeMetrics { scope: Some(scope), metrics, ..ScopeMetrics::default() };
        let resource = Resource { attributes, ..Resource::default() };
        let all = ResourceMetrics {
            resource: Some(resource),
            scope_metrics: vec![scope_metrics],
            ..ResourceMetrics::default()
        };
        Ok(ExportMetricsServiceRequest { resource_metrics: vec![all] })
    }
}

fn families(text: &str, period: Period) -> Vec<Metric> {
    let mut of_family: BTreeMap<&str, Vec<Sample<'_>>> = BTreeMap::new();
    let names: Vec<String> = table::ALL.iter().map(|described| described.full_name()).collect();
    for sample in text.lines().filter(|line| !line.starts_with('#')).filter_map(sample) {
        let stem = PARTS.iter().find_map(|part| sample.name.strip_suffix(part));
        let is_it = |name: &&String| *name == sample.name || Some(name.as_str()) == stem;
        if let Some(name) = names.iter().find(is_it) {
            of_family.entry(name).or_default().push(sample);
        }
    }
    let metric = |(described, name): (&&Described, &String)| {
        let samples = of_family.remove(name.as_str())?;
        let numbers = |began| samples.iter().filter_map(|s| number(s, began, period.now)).collect();
        let data = match described.kind {
            Kind::Gauge => Data::Gauge(Gauge { data_points: numbers(0) }),
            Kind::Counter => Data::Sum(Sum {
                data_points: numbers(period.began),
                aggregation_temporality: AggregationTemporality::Cumulative.into(),
                is_monotonic: true,
            }),
            Kind::Seconds => Data::Histogram(Histogram {
                data_points: histograms(&samples, period),
                aggregation_temporality: AggregationTemporality::Cumulative.into(),
            }),
        };
        Some(Metric {
            name: name.clone(),
            description: described.help.to_owned(),
            unit: if described.kind == Kind::Seconds { "s" } else { "" }.to_owned(),
            data: Some(data),
            ..Metric::default()
        })
    };
    table::ALL.iter().zip(&names).filter_map(metric).collect()
}

fn number(sample: &Sample<'_>, began: u64, now: u64) -> Option<NumberDataPoint> {
    Some(NumberDataPoint {
        attributes: attributes(&sample.labels),
        start_time_unix_nano: began,
        time_unix_nano: now,
        exemplars: sample.exemplar.iter().cloned().collect(),
        value: Some(number_data_point::Value::AsInt(sample.value.parse().ok()?)),
        ..NumberDataPoint::default()
    })
}

/// One for each set of labels, from all of its lines.
fn histograms(samples: &[Sample<'_>], period: Period) -> Vec<HistogramDataPoint> {
    let mut points: BTreeMap<Vec<(&str, String)>, HistogramDataPoint> = BTreeMap::new();
    let mut below: BTreeMap<Vec<(&str, String)>, u64> = BTreeMap::new();
    for sample in samples {
        let mut labels = sample.labels.clone();
        labels.retain(|(name, _)| *name != "le");
        let point = points.entry(labels.clone()).or_insert_with(|| HistogramDataPoint {
            attributes: attributes(&labels),
            start_time_unix_nano: period.began,
            time_unix_nano: period.now,
            ..HistogramDataPoint::default()
        });
        if sample.name.ends_with("_sum") {
            point.sum = sample.value.parse().ok();
        } else if sample.name.ends_with("_count") {
            point.count = sample.value.parse().unwrap_or(0);
        } else {
            // Here each bucket has those below it, too; there it has its own alone.
            let below = below.entry(labels).or_default();
            let all: u64 = sample.value.parse().unwrap_or(*below);
            point.bucket_counts.push(all.saturating_sub(*below));
            *below = all;
            let bound = sample.labels.iter().find(|(name, _)| *name == "le");
            let bound = bound.and_then(|(_, bound)| bound.parse().ok());
            // The last one has no end.
            point.explicit_bounds.extend(bound.filter(|bound: &f64| bound.is_finite()));
            point.exemplars.extend(sample.exemplar.clone());
        }
    }
    points.into_values().collect()
}

fn attributes(labels: &[(&str, String)]) -> Vec<KeyValue> {
    labels.iter().map(|(name, value)| attribute(name, value)).collect()
}

/// An attribute with a text as its value.
#[must_use]
pub fn attribute(name: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) };
    KeyValue { key: name.to_owned(), value: Some(value), ..KeyValue::default() }
}

/// A line of the text; None where it is not one.
fn sample(line: &str) -> Option<Sample<'_>> {
    let (name, rest) = line.split_at(line.find(['{', ' '])?);
    let (labels, rest) = labels(rest)?;
    let rest = rest.strip_prefix(' ')?;
    let (value, rest) = rest.split_once(" # ").map_or((rest, None), |(v, rest)| (v, Some(rest)));
    Some(Sample { name, labels, value, exemplar: rest.and_then(exemplar) })
}

/// What follows the `#`: labels, the value, and when it was seen.
fn exemplar(text: &str) -> Option<Exemplar> {
    let (labels, rest) = labels(text)?;
    let mut words = rest.split_whitespace();
    let value = words.next()?.parse().ok()?;
    let trace = labels.iter().find(|(name, _)| *name == TRACE_ID);
    let trace = trace.and_then(|(_, id)| TraceId::from_hex(id).ok())?;
    let at: f64 = words.next()?.parse().ok()?;
    let at = Timestamp::from_duration(jiff::SignedDuration::try_from_secs_f64(at).ok()?).ok()?;
    Some(Exemplar {
        time_unix_nano: nanos(at),
        trace_id: trace.to_bytes().to_vec(),
        value: Some(exemplar::Value::AsDouble(value)),
        ..Exemplar::default()
    })
}

/// Labels and what follows them.
fn labels(text: &str) -> Option<(Vec<(&str, String)>, &str)> {
    let mut labels = Vec::new();
    let Some(mut rest) = text.strip_prefix('{') else { return Some((labels, text)) };
    loop {
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (name, after) = rest.split_once("=\"")?;
        let (value, after) = quoted(after)?;
        labels.push((name, value));
        rest = after.strip_prefix(',').unwrap_or(after);
    }
}

/// A text up to its closing quote, and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                escaped => value.push(escaped),
            },
            _ => value.push(c),
        }
    }
    None
}

fn nanos(at: Timestamp) -> u64 {
    u64::try_from(at.as_nanosecond()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{super::tests::counted, *};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn exported(metrics: &Metrics) -> Vec<Metric> {
        let mut request = metrics.otlp(Vec::new(), at(1), at(90)).unwrap();
        request.resource_metrics.remove(0).scope_metrics.remove(0).metrics
    }

    fn named(metrics: &[Metric], name: &str) -> Data {
        metrics.iter().find(|metric| metric.name == name).unwrap().data.clone().unwrap()
    }

    fn text(attributes: &[KeyValue]) -> Vec<(String, String)> {
        let of = |attribute: &KeyValue| match attribute.value.clone().unwrap().value.unwrap() {
            any_value::Value::StringValue(value) => (attribute.key.clone(), value),
            other => panic!("{other:?}"),
        };
        attributes.iter().map(of).collect()
    }

    #[test]
    fn what_is_sent_is_what_is_scraped() {
        let metrics = counted();
        let all = exported(&metrics);
        for described in table::ALL {
            let name = described.full_name();
            let sent = all.iter().find(|metric| metric.name == name);
            let sent = sent.unwrap_or_else(|| panic!("{name} is not sent"));
            assert_eq!(sent.description, described.help);
            let (attributes, began) = match sent.data.clone().unwrap() {
                Data::Gauge(gauge) if described.kind == Kind::Gauge => {
                    (gauge.data_points[0].attributes.clone(), 0)
                }
                Data::Sum(sum) if described.kind == Kind::Counter => {
                    assert!(sum.is_monotonic && sum.aggregation_temporality == 2);
                    let point = &sum.data_points[0];
                    (point.attributes.clone(), point.start_time_unix_nano)
                }
                Data::Histogram(histogram) if described.kind == Kind::Seconds => {
                    assert_eq!((sent.unit.as_str(), histogram.aggregation_temporality), ("s", 2));
                    let point = &histogram.data_points[0];
                    (point.attributes.clone(), point.start_time_unix_nano)
                }
                other => panic!("{name}: {other:?}"),
            };
            let labels: Vec<_> = text(&attributes).into_iter().map(|(name, _)| name).collect();
            let expected: Vec<_> = described.labels.iter().map(|(label, _)| *label).collect();
            assert_eq!(labels, expected, "{name}");
            assert_eq!(began, if described.kind == Kind::Gauge { 0 } else { 1_000_000_000 });
        }
        let lines = metrics.text().unwrap();
        let lines = lines.lines().filter(|line| !line.starts_with('#'));
        assert!(lines.into_iter().all(|line| sample(line).is_some()));
    }

    #[test]
    fn a_histogram_has_what_fell_into_each_bucket_and_a_trace_to_look_at() {
        let metrics = Metrics::default();
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        for (seconds, second) in [(20, 40), (40, 41), (50, 42), (1_000_000, 43)] {
            metrics.took(
                super::super::Took::Resolve,
                crate::domain::Span::secs(seconds),
                trace,
                at(second),
            );
        }
        let Data::Histogram(found) = named(&exported(&metrics), "kintsugi_time_to_resolve_seconds")
        else {
            panic!()
        };
        let point = &found.data_points[0];
        assert_eq!(point.bucket_counts, [0, 0, 1, 2, 0, 0, 0, 0, 0, 1]);
        assert_eq!(point.explicit_bounds, super::super::EPISODE_SECONDS);
        assert_eq!((point.count, point.sum), (4, Some(1_000_110.0)));
        let seen: Vec<_> = point.exemplars.iter().map(|e| (e.value, e.time_unix_nano)).collect();
        let value = |value: f64| Some(exemplar::Value::AsDouble(value));
        let expected =
            [(20.0, 40), (50.0, 42), (1_000_000.0, 43)].map(|(v, s)| (value(v), s * 1_000_000_000));
        assert_eq!(seen, expected, "the last of each bucket");
        let id = TraceId::from_hex(trace).unwrap().to_bytes();
        assert!(point.exemplars.iter().all(|exemplar| exemplar.trace_id == id));
    }

    #[test]
    fn a_label_may_hold_what_the_text_is_built_from() {
        let metrics = Metrics::default();
        let odd = "a\\b\"c\nd} 1 # {e=\"f\",";
        metrics.tried(odd, "heal", "", "Changed", "4bf92f3577b34da6a3ce929d0e0e4736", at(7));
        let Data::Sum(found) = named(&exported(&metrics), "kintsugi_steps_total") else { panic!() };
        let point = &found.data_points[0];
        let expected =
            [("namespace", odd), ("policy", "heal"), ("step", ""), ("outcome", "Changed")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(text(&point.attributes), expected);
        assert_eq!(point.value, Some(number_data_point::Value::AsInt(1)));
        assert_eq!(point.exemplars[0].time_unix_nano, 7_000_000_000);
    }

    #[test]
    fn a_replica_that_does_not_lead_sends_nothing_that_is_there() {
        let metrics = counted();
        metrics.count_by(None);
        let all = exported(&metrics);
        assert!(all.iter().all(|metric| metric.name != "kintsugi_contracts"));
        let Data::Gauge(leader) = named(&all, "kintsugi_leader") else { panic!() };
        assert_eq!(leader.data_points[0].value, Some(number_data_point::Value::AsInt(0)));
    }
}
