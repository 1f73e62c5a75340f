//! Axes: which values they reach over, where their ticks stand, and how tick labels are written.

use crate::base::format_quantity;

/// How values are laid out along an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Law {
    Linear,
    Log,
}

/// An axis with its ticks. Every value handed to it is finite.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Axis {
    law: Law,
    low: f64,
    high: f64,
    /// Where a grid line stands, and what is written at it.
    pub(super) ticks: Vec<(f64, String)>,
    /// What is written along the axis, with the unit.
    pub(super) title: String,
    /// What is written instead where the title has no room; empty: the title, cut.
    pub(super) brief: String,
}

impl Axis {
    /// From zero to beyond the largest value; below zero only if a value is.
    pub(super) fn linear(values: impl IntoIterator<Item = f64>, title: String, about: usize) -> Self {
        let (low, high) = values.into_iter().fold((0.0_f64, 0.0_f64), |(low, high), v| (low.min(v), high.max(v)));
        Self::between(low * 1.06, high * 1.06, title, about)
    }

    /// Around the values, from zero only if they reach down to its neighbourhood: for pictures of a shape or a spread,
    /// where no length is compared.
    pub(super) fn around(values: impl IntoIterator<Item = f64> + Clone, title: String, about: usize) -> Self {
        let (low, high) = values
            .clone()
            .into_iter()
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
        if low > high * 0.4 && low < high && high < 1e300 {
            let edge = (high - low) * 0.08;
            Self::between(low - edge, high + edge, title, about)
        } else {
            Self::linear(values, title, about)
        }
    }

    fn between(low: f64, high: f64, title: String, about: usize) -> Self {
        // Half of each, so that a range wider than the largest number stays finite.
        let span = high / 2.0 - low / 2.0;
        if span <= f64::MIN_POSITIVE {
            return Self::fixed(0.0, 1.0, vec![(0.0, "0".to_owned())], title);
        }
        if span > 1e300 {
            let (low, high) = (low.max(-f64::MAX), high.min(f64::MAX));
            return Self::fixed(low, high, vec![(low, format_quantity(low))], title);
        }
        let step = nice_step(span * 2.0 / about.max(1) as f64);
        let (first, last) = ((low / step).ceil(), (high / step).floor());
        let ticks = (first as i64..=last as i64).map(|count| count as f64 * step).map(|at| (at, tick_label(at, step)));
        Self { law: Law::Linear, low, high, ticks: ticks.collect(), title, brief: String::new() }
    }

    /// From below the smallest positive value to beyond the largest; without any, 1 to 10. At least two ticks.
    pub(super) fn log(values: impl IntoIterator<Item = f64>, title: String, about: usize) -> Self {
        let positive = values.into_iter().filter(|value| *value > 0.0);
        let (low, high) = positive.fold((f64::INFINITY, 0.0_f64), |(low, high), v| (low.min(v), high.max(v)));
        let (low, high) = if low <= high { (low, high) } else { (1.0, 10.0) };
        let exponent = |value: f64| value.clamp(1e-300, 1e300).log10();
        let (low, high) = (exponent(low), exponent(high));
        let edge = ((high - low) * 0.05).clamp(0.02, 0.3);
        let (low, high) = (low - edge, high + edge);
        let decades = low.floor() as i32..=high.ceil() as i32;
        let stride = (decades.clone().count() / about.max(1)).max(1);
        let within: &[f64] = match high - low {
            ..1.0 => &[1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0],
            1.0..2.5 => &[1.0, 2.0, 5.0],
            _ => &[1.0],
        };
        let marks: Vec<f64> = decades
            .step_by(stride)
            .flat_map(|decade| within.iter().map(move |digit| f64::from(decade) + digit.log10()))
            .collect();
        let inside = |mark: &&f64| (low..=high).contains(*mark);
        let (low, high) = if marks.iter().filter(inside).count() > 1 {
            (low, high)
        } else {
            // Too narrow for two ticks: up to the next ones at both sides.
            let below = marks.iter().copied().rfind(|mark| *mark <= low).unwrap_or(low);
            let above = marks.iter().copied().find(|mark| *mark >= high).unwrap_or(high);
            (below, above)
        };
        let ticks = marks.iter().filter(|mark| (low..=high).contains(*mark)).map(|mark| 10_f64.powf(*mark));
        Self {
            law: Law::Log,
            low,
            high,
            ticks: ticks.map(|at| (at, log_label(at))).collect(),
            title,
            brief: String::new(),
        }
    }

    /// Concurrency: doubling is one step, and a tick stands at every measured level.
    pub(super) fn levels(values: impl IntoIterator<Item = f64>, title: String) -> Self {
        let mut levels: Vec<f64> = values.into_iter().filter(|value| *value > 0.0).collect();
        levels.sort_by(f64::total_cmp);
        levels.dedup();
        let (low, high) = match (levels.first(), levels.last()) {
            (Some(first), Some(last)) if first < last => (first.log10(), last.log10()),
            (Some(only), _) => (only.log10() - 0.3, only.log10() + 0.3),
            (None, _) => (0.0, 1.0),
        };
        let edge = (high - low) * 0.03;
        let ticks = levels.into_iter().map(|level| (level, format_exact(level))).collect();
        Self { law: Law::Log, low: low - edge, high: high + edge, ticks, title, brief: String::new() }
    }

    /// A linear axis with just these ends and ticks.
    pub(super) fn fixed(low: f64, high: f64, ticks: Vec<(f64, String)>, title: String) -> Self {
        Self { law: Law::Linear, low, high, ticks, title, brief: String::new() }
    }

    /// The same, with words for where the title has no room.
    pub(super) fn or_brief(mut self, brief: &str) -> Self {
        brief.clone_into(&mut self.brief);
        self
    }

    /// Where a value stands, 0 at the axis's start to 1 at its end; beyond that if the axis does not reach it.
    pub(super) fn share(&self, value: f64) -> f64 {
        let value = match self.law {
            Law::Linear => value,
            Law::Log => value.max(f64::MIN_POSITIVE).log10(),
        };
        // Halved for the same reason as above.
        (value / 2.0 - self.low / 2.0) / (self.high / 2.0 - self.low / 2.0)
    }

    /// Whether the axis reaches a value.
    pub(super) fn reaches(&self, value: f64) -> bool {
        (0.0..=1.0).contains(&self.share(value))
    }
}

/// Whether positive values lie so far apart that a linear axis from zero would hide the small ones.
pub(super) fn wants_log(values: impl IntoIterator<Item = f64>) -> bool {
    let (low, high) =
        values.into_iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    low > 0.0 && high / low > 40.0
}

/// The next of 1, 2, 2.5, 5 times a power of ten.
fn nice_step(rough: f64) -> f64 {
    let power = 10_f64.powf(rough.log10().floor());
    let digit = [1.0, 2.0, 2.5, 5.0].into_iter().find(|digit| digit * power >= rough * 0.999);
    digit.unwrap_or(10.0) * power
}

/// With as many decimals as the step needs.
fn tick_label(value: f64, step: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    if value.abs().max(step) >= 1e7 || step < 1e-5 {
        return scientific(value);
    }
    let decimals = (0..8).find(|decimals| {
        let scaled = step * 10_f64.powi(*decimals);
        (scaled - scaled.round()).abs() < 1e-6 * scaled
    });
    let decimals = usize::try_from(decimals.unwrap_or(8)).unwrap_or(8);
    if decimals == 0 { with_marks(value) } else { format!("{value:.decimals$}") }
}

fn log_label(value: f64) -> String {
    if (1e-4..1e7).contains(&value) { format_exact(value) } else { scientific(value) }
}

fn scientific(value: f64) -> String {
    let text = format!("{value:.2e}");
    let (digits, power) = text.split_once('e').expect("scientific notation has an e");
    let digits = if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { digits };
    format!("{digits}e{power}")
}

/// A number without needless decimals: `0.5`, `64`, `10,000`.
pub(super) fn format_exact(value: f64) -> String {
    if value.abs() >= 1e7 {
        return scientific(value);
    }
    if (value - value.round()).abs() < 1e-6 * value.abs().max(1.0) && value.abs() >= 0.5 {
        return with_marks(value);
    }
    let text = format!("{value:.5}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A whole number, with thousands marks from 10,000 on.
fn with_marks(value: f64) -> String {
    let rounded = value.round();
    if rounded.abs() < 10_000.0 {
        format!("{:.0}", if rounded == 0.0 { 0.0 } else { rounded })
    } else {
        format_quantity(rounded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, label)| label.as_str()).collect()
    }

    #[test]
    fn linear_axes_start_at_zero_and_end_beyond_the_data() {
        let axis = Axis::linear([37.0, 92.0], String::new(), 5);
        assert_eq!(labels(&axis), ["0", "20", "40", "60", "80"]);
        assert!(axis.reaches(92.0) && axis.reaches(0.0));
        let axis = Axis::linear([0.37, 0.92], String::new(), 4);
        assert_eq!(labels(&axis), ["0", "0.25", "0.50", "0.75"]);
        assert!(Axis::linear([-5.0, 5.0], String::new(), 5).reaches(-5.0));
    }

    #[test]
    fn axes_around_values_leave_out_an_empty_beginning() {
        assert_eq!(labels(&Axis::around([25.0, 43.0], String::new(), 5)), ["25", "30", "35", "40"]);
        assert_eq!(labels(&Axis::around([5.0, 43.0], String::new(), 5)), ["0", "10", "20", "30", "40"]);
        assert_eq!(labels(&Axis::around([5.0, 5.0], String::new(), 5)), ["0", "2", "4"]);
    }

    #[test]
    fn log_axes_have_round_ticks() {
        let axis = Axis::log([23.0, 4100.0], String::new(), 6);
        assert_eq!(labels(&axis), ["20", "50", "100", "200", "500", "1000", "2000", "5000"]);
        assert_eq!(labels(&Axis::log([7.5, 11_000.0], String::new(), 6)), ["10", "100", "1000", "10,000"]);
        assert_eq!(labels(&Axis::log([101.0, 104.0], String::new(), 6)), ["80", "100", "150"]);
        assert!(labels(&Axis::log([1e-9, 1e9], String::new(), 6)).len() <= 8);
    }

    #[test]
    fn levels_are_the_ticks_and_doubling_is_one_step() {
        let axis = Axis::levels([4.0, 1.0, 2.0, 4.0], String::new());
        assert_eq!(labels(&axis), ["1", "2", "4"]);
        assert!((axis.share(2.0) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn axes_of_strange_values_are_still_axes() {
        for values in
            [vec![], vec![0.0], vec![1e300], vec![f64::MAX, -f64::MAX], vec![1e-300], vec![5e-324], vec![-3.0]]
        {
            for axis in [
                Axis::linear(values.clone(), String::new(), 5),
                Axis::around(values.clone(), String::new(), 5),
                Axis::log(values.clone(), String::new(), 5),
                Axis::levels(values.clone(), String::new()),
            ] {
                assert!(axis.ticks.len() < 60, "{values:?} {axis:?}");
                assert!(axis.ticks.iter().all(|(at, _)| axis.share(*at).is_finite()), "{values:?} {axis:?}");
            }
        }
    }

    #[test]
    fn numbers_on_axes_have_no_needless_decimals() {
        assert_eq!([0.5, 64.0, 12_000.0, 2e7, 0.0].map(format_exact), ["0.5", "64", "12,000", "2e7", "0"]);
    }
}
