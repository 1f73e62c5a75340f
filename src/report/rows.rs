//! Points as a table: one row for each point and metric, for spreadsheets and scripts.
//!
//! Percentiles of too small samples are left empty here, as in every table and plot of ours.

use std::io::{self, Write};

use serde::Serialize;

use super::csv::write_line;
use crate::measure::{METRICS, PERCENTILES, PointSummary, metric};

/// One number, or one distribution, of one point.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Row {
    deployment: String,
    workload: String,
    level: String,
    repeat: u32,
    valid: bool,
    simulated: bool,
    metric: String,
    unit: &'static str,
    /// The number of a metric of the whole point.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<f64>,
    /// Size of a per-request metric's sample.
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mean: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    std: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max: Option<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "as_map")]
    percentiles: Vec<(String, Option<f64>)>,
}

fn as_map<S: serde::Serializer>(list: &[(String, Option<f64>)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(list.iter().map(|(name, value)| (name, value)))
}

/// Counts of requests are rows too: without them no rate can be judged.
fn count_rows(point: &PointSummary) -> [(&'static str, u64); 4] {
    let counts = point.counts;
    [
        ("requests-sent", counts.sent),
        ("requests-ok", counts.ok),
        ("requests-failed", counts.failed),
        ("requests-cancelled", counts.cancelled),
    ]
}

/// All rows of one point: counts, the metrics in the order of their table, then the numbers of hooks.
pub(super) fn rows(point: &PointSummary) -> Vec<Row> {
    let empty = |metric: &str, unit| Row {
        deployment: point.meta.deployment.to_string(),
        workload: point.meta.workload.to_string(),
        level: point.meta.level.to_string(),
        repeat: point.meta.repeat,
        valid: point.is_valid(),
        simulated: point.meta.simulated,
        metric: metric.to_owned(),
        unit,
        value: None,
        n: None,
        mean: None,
        std: None,
        min: None,
        max: None,
        percentiles: Vec::new(),
    };
    let mut rows: Vec<_> = count_rows(point)
        .into_iter()
        .map(|(name, count)| Row { value: Some(count as f64), ..empty(name, "requests") })
        .collect();
    for row in METRICS {
        if let Some(found) = point.distributions.get(row.id) {
            let percentile = |p: u8| (format!("p{p}"), found.trusted_percentile(p));
            rows.push(Row {
                n: Some(found.n),
                mean: Some(found.mean),
                std: Some(found.std),
                min: Some(found.min),
                max: Some(found.max),
                percentiles: PERCENTILES.into_iter().map(percentile).collect(),
                ..empty(row.id, row.unit)
            });
        } else if let Some(value) = point.values.get(row.id) {
            rows.push(Row { value: Some(*value), ..empty(row.id, row.unit) });
        }
    }
    let hooks = point.values.iter().filter(|(name, _)| metric(name).is_none());
    rows.extend(hooks.map(|(name, value)| Row { value: Some(*value), ..empty(name, "") }));
    rows
}

/// Writes the table: a header, then every row of every point.
pub(super) fn write_csv<'a>(
    file: &mut dyn Write,
    points: impl IntoIterator<Item = &'a PointSummary>,
) -> io::Result<()> {
    let fixed = [
        "deployment",
        "workload",
        "level",
        "repeat",
        "valid",
        "simulated",
        "metric",
        "unit",
        "value",
        "n",
        "mean",
        "std",
        "min",
        "max",
    ];
    let percentiles = PERCENTILES.map(|p| format!("p{p}"));
    write_line(file, fixed.into_iter().chain(percentiles.iter().map(String::as_str)), "\n")?;
    for row in points.into_iter().flat_map(rows) {
        let number = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
        let mut fields = vec![
            row.deployment,
            row.workload,
            row.level,
            row.repeat.to_string(),
            row.valid.to_string(),
            row.simulated.to_string(),
            row.metric,
            row.unit.to_owned(),
            number(row.value),
            row.n.map(|n| n.to_string()).unwrap_or_default(),
        ];
        fields.extend([row.mean, row.std, row.min, row.max].map(number));
        fields.extend((0..PERCENTILES.len()).map(|at| number(row.percentiles.get(at).and_then(|(_, value)| *value))));
        write_line(file, fields.iter().map(String::as_str), "\n")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::sample::{Shape, summary};

    #[test]
    fn the_table_has_a_row_for_each_metric_and_no_untrusted_percentile() {
        let mut point = summary(Shape { requests: 100, ..Shape::default() });
        point.values.insert("hook.gpu-watts".to_owned(), 312.5);
        let mut text = Vec::new();
        write_csv(&mut text, [&point]).unwrap();
        let text = String::from_utf8(text).unwrap();
        let lines: Vec<Vec<_>> = text.lines().map(|line| line.split(',').collect()).collect();
        assert!(lines.iter().all(|line| line.len() == lines[0].len()), "{text}");
        let ids: Vec<_> = lines.iter().skip(1).map(|line| line[6]).collect();
        for row in METRICS {
            // Those from the send are told only where arrivals have a schedule to differ from.
            let expected = usize::from(!row.id.ends_with("-from-send") && row.id != "send-delay");
            assert_eq!(ids.iter().filter(|id| **id == row.id).count(), expected, "{}", row.id);
        }
        assert_eq!(ids.last(), Some(&"hook.gpu-watts"));
        let ttft = lines.iter().find(|line| line[6] == "time-to-first-token").unwrap();
        let column = |name| ttft[lines[0].iter().position(|title| *title == name).unwrap()];
        assert_eq!((column("p99"), column("n"), column("unit")), ("", "100", "ms"));
        assert!(column("p90").parse::<f64>().is_ok());
    }
}
