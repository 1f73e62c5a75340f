//! `profile_export_aiperf.csv`: two tables, rows by name, two decimals.

use std::io::{self, Write};

use super::blocks::{Block, HEAD, Numbers, TAIL};
use crate::measure::PERCENTILES;
use crate::report::csv::write_line;
use crate::report::exports::table::ExportInput;

const LINE_END: &str = "\n";

/// Writes the file.
pub(in crate::report::exports) fn write(input: &ExportInput<'_>, file: &mut dyn Write) -> io::Result<()> {
    let mut blocks: Vec<&Block> = HEAD.iter().chain(TAIL).collect();
    blocks.sort_by_key(|block| block.title.to_lowercase());
    let mut header = vec!["Metric".to_owned(), "avg".to_owned(), "min".to_owned(), "max".to_owned(), "sum".to_owned()];
    header.extend(PERCENTILES.iter().map(|p| format!("p{p}")));
    header.push("std".to_owned());
    write_line(file, header.iter().map(String::as_str), LINE_END)?;
    let mut singles = Vec::new();
    for block in blocks {
        match block.numbers(input) {
            None => {}
            Some(Numbers::One(value)) => singles.push((name(block), value)),
            Some(Numbers::Many(found)) => {
                let mut values = vec![found.mean, found.min, found.max, found.mean * found.n as f64];
                values.extend(found.percentiles);
                values.push(found.std);
                let mut fields = vec![name(block)];
                fields.extend(values.iter().map(|value| format!("{value:.2}")));
                write_line(file, fields.iter().map(String::as_str), LINE_END)?;
            }
        }
    }
    write_line(file, [""], LINE_END)?;
    write_line(file, ["Metric", "Value"], LINE_END)?;
    for (name, value) in singles {
        write_line(file, [name.as_str(), &format!("{value:.2}")], LINE_END)?;
    }
    if input.summary.meta.simulated {
        write_line(file, ["Simulated (embedded engine)", "true"], LINE_END)?;
    }
    Ok(())
}

/// AIPerf names the unit, unless it only says what is counted.
fn name(block: &Block) -> String {
    match block.unit {
        "requests" => block.title.to_owned(),
        unit => format!("{} ({unit})", block.title),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::table::tests::{aiperf, objectives, written};
    use super::*;
    use crate::measure::sample::{Shape, point};

    #[test]
    fn header_names_and_their_order_are_those_of_the_real_file() {
        let ours = written(write, &point(Shape::default()), &objectives(), None);
        let theirs = aiperf("profile_export_aiperf.csv");
        assert_eq!(ours.lines().next(), theirs.lines().next());
        let names = |text: &str| -> Vec<String> {
            let name = |line: &str| line.split(',').next().unwrap_or_default().to_owned();
            text.lines().skip(1).map(name).filter(|name| !name.is_empty()).collect()
        };
        // Ours are theirs in their order, with gaps where we have no such number.
        let mut real = names(&theirs).into_iter();
        let own = ["Good Request Fraction (ratio)", "Usage Prompt Cache Read Tokens (tokens)"];
        for name in names(&ours).into_iter().filter(|name| !own.contains(&name.as_str())) {
            assert!(real.any(|found| found == name), "{name} is not there, or in another place");
        }
    }

    #[test]
    fn simulated_results_say_so() {
        let mut data = point(Shape::default());
        data.meta.simulated = true;
        assert!(written(write, &data, &[], None).ends_with("Simulated (embedded engine),true\n"));
    }
}
