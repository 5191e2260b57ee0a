//! When a count has changed.

use crate::operations::Spec;

/// A change beyond this share is one.
const TOLERANCE: f64 = 0.05;
/// A change below this share is none at all: blessing leaves the count, and its reason, alone.
const NOISE: f64 = 0.005;

/// What a count is, compared with the file's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Within 5 %.
    Same,
    /// Cheaper by more than 5 %.
    Fell,
    /// Dearer by more than 5 %.
    Rose,
    /// The file does not know the operation.
    Unknown,
}

/// Compares a count with the file's.
pub fn verdict(now: f64, before: f64) -> Verdict {
    if now > before * (1.0 + TOLERANCE) {
        Verdict::Rose
    } else if now < before * (1.0 - TOLERANCE) {
        Verdict::Fell
    } else {
        Verdict::Same
    }
}

/// Whether the two are the same count, but for what a clock read more or less makes.
pub fn is_noise(now: f64, before: f64) -> bool {
    (now - before).abs() <= before * NOISE
}

/// One line of the table.
pub fn line(spec: &Spec, now: f64, before: Option<f64>) -> String {
    let (file, change) = match before {
        Some(before) => (format!("{before:.1}"), format!("{:+.1} %", (now / before - 1.0) * 100.0)),
        None => ("-".into(), "new".into()),
    };
    format!("{:<22} {now:>9.1} {file:>9} {change:>8}  {}", spec.name, spec.what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_percent_are_the_limit_on_both_sides() {
        assert_eq!(verdict(104.9, 100.0), Verdict::Same);
        assert_eq!(verdict(105.1, 100.0), Verdict::Rose);
        assert_eq!(verdict(95.1, 100.0), Verdict::Same);
        assert_eq!(verdict(94.9, 100.0), Verdict::Fell);
    }

    #[test]
    fn a_few_thousandths_are_no_reason_to_bless() {
        assert!(is_noise(100.4, 100.0) && is_noise(99.6, 100.0));
        assert!(!is_noise(101.0, 100.0));
    }
}
