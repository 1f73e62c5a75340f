//! `profile_export_genai_perf.csv`: GenAI-Perf 0.0.16's two tables, two decimals, CRLF, no standard deviation.
//!
//! A comment would break its readers; results of the embedded engine have one more row in the second table.

use std::io::{self, Write};

use super::genai_perf_json::{BLOCKS, Block, Numbers, numbers};
use super::table::ExportInput;
use crate::report::csv::write_line;

const LINE_END: &str = "\r\n";
const STATISTICS: [&str; 13] =
    ["Metric", "avg", "min", "max", "p99", "p95", "p90", "p75", "p50", "p25", "p10", "p5", "p1"];

/// Rows of the first table: GenAI-Perf's order there is not that of its JSON.
const REQUEST_ROWS: [(&str, &str); 7] = [
    ("time_to_first_token", "Time To First Token (ms)"),
    ("time_to_second_token", "Time To Second Token (ms)"),
    ("request_latency", "Request Latency (ms)"),
    ("inter_token_latency", "Inter Token Latency (ms)"),
    ("output_token_throughput_per_user", "Output Token Throughput Per User (tokens/sec/user)"),
    ("output_sequence_length", "Output Sequence Length (tokens)"),
    ("input_sequence_length", "Input Sequence Length (tokens)"),
];
/// Rows of the second table.
const SYSTEM_ROWS: [(&str, &str); 4] = [
    ("output_token_throughput", "Output Token Throughput (tokens/sec)"),
    ("request_throughput", "Request Throughput (per sec)"),
    ("request_goodput", "Request Goodput (per sec)"),
    ("request_count", "Request Count (count)"),
];

fn block(key: &str) -> &'static Block {
    BLOCKS.iter().find(|block| block.key == key).expect("every row of this file names a block of the JSON file")
}

/// Writes the file.
pub(super) fn write(input: &ExportInput<'_>, file: &mut dyn Write) -> io::Result<()> {
    write_line(file, STATISTICS, LINE_END)?;
    for (key, title) in REQUEST_ROWS {
        let Some(Numbers::Many(found)) = numbers(input, block(key)) else { continue };
        let mut fields = vec![title.to_owned()];
        fields.extend(STATISTICS[1..].iter().map(|statistic| {
            let value = match *statistic {
                "avg" => found.mean,
                "min" => found.min,
                "max" => found.max,
                percentile => percentile[1..]
                    .parse()
                    .ok()
                    .and_then(|p| found.percentile(p))
                    .expect("the header names only percentiles that are kept"),
            };
            two_decimals(value)
        }));
        write_line(file, fields.iter().map(String::as_str), LINE_END)?;
    }
    write_line(file, [""], LINE_END)?;
    write_line(file, ["Metric", "Value"], LINE_END)?;
    for (key, title) in SYSTEM_ROWS {
        let Some(Numbers::One(value)) = numbers(input, block(key)) else { continue };
        write_line(file, [title, &two_decimals(value)], LINE_END)?;
    }
    if input.summary.meta.simulated {
        write_line(file, ["Simulated (embedded engine)", "true"], LINE_END)?;
    }
    Ok(())
}

/// `1,234.50`: Python's `,.2f`, which GenAI-Perf uses; the comma makes the field a quoted one.
fn two_decimals(value: f64) -> String {
    let text = format!("{value:.2}");
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let (sign, digits) = whole.strip_prefix('-').map_or(("", whole), |digits| ("-", digits));
    let mut out = sign.to_owned();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    format!("{out}.{fraction}")
}

#[cfg(test)]
mod tests {
    use super::super::table::tests::{objectives, real, written};
    use super::*;
    use crate::measure::sample::{Shape, point};

    fn titles(text: &str) -> Vec<(String, usize)> {
        text.split("\r\n").map(|line| (line.split(',').next().unwrap().to_owned(), line.matches(',').count())).collect()
    }

    #[test]
    fn header_rows_and_line_ends_are_those_of_the_real_file() {
        // Fewer than 1000 in every number, as in the real run: no thousands marks.
        let ours = written(write, &point(Shape { ttft: 50.0, ..Shape::default() }), &objectives(), None);
        let theirs = real("profile_export_genai_perf.csv");
        assert_eq!(titles(&ours), titles(&theirs));
        assert_eq!(ours.lines().next(), theirs.lines().next());
        assert!(ours.contains("\r\nInter Token Latency (ms),10.00,10.00,"), "{ours}");
    }

    #[test]
    fn numbers_have_two_decimals_and_thousands_marks() {
        assert_eq!(
            [0.0, 9.999, 1234.5, 1_234_567.891, -1000.0].map(two_decimals),
            ["0.00", "10.00", "1,234.50", "1,234,567.89", "-1,000.00"]
        );
        let slow = written(write, &point(Shape { ttft: 5000.0, ..Shape::default() }), &[], None);
        assert!(slow.contains("Time To First Token (ms),\"4,998.75\",\"4,500.00\""), "{slow}");
    }

    #[test]
    fn goodput_has_a_row_only_with_objectives_and_simulated_results_say_so() {
        let mut data = point(Shape::default());
        assert!(!written(write, &data, &[], None).contains("Goodput"));
        data.meta.simulated = true;
        assert!(written(write, &data, &[], None).ends_with("Simulated (embedded engine),true\r\n"));
    }

    #[test]
    fn a_point_without_a_success_still_has_its_count() {
        let none = written(write, &point(Shape { fail_every: 1, ..Shape::default() }), &objectives(), None);
        assert!(none.contains("Request Count (count),0.00"), "{none}");
    }
}
