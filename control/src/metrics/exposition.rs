//! The text format of Prometheus, version 0.0.4: families of samples, each family with its help and type before them.
//!
//! ```text
//!   # HELP latticed_frames_sent_total Frames handed out for transmission.
//!   # TYPE latticed_frames_sent_total counter
//!   latticed_frames_sent_total{worker="0"} 1027
//! ```
//!
//! Everything that is written is escaped here, so a label can hold any text. What can go wrong: nothing; a family is
//! written only where it has samples, as tools complain about the others.

use std::fmt::Write as _;

/// What a family's samples are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only ever grows, until the daemon starts anew. Its name ends in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Cumulative buckets, their sum and their count.
    Histogram,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// One family's name, type and meaning.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// Its name, with its unit last (`_seconds`, `_bytes`), and `_total` after it for a counter.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// What it means, one sentence.
    pub help: &'static str,
}

/// Label names and values of one sample.
pub type Labels<'a> = &'a [(&'a str, &'a str)];

/// A page of metrics.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
}

impl Exposition {
    /// Begins a family; its samples follow.
    pub fn family(&mut self, family: Family) -> Samples<'_> {
        Samples { text: &mut self.text, family, began: false }
    }

    /// The page.
    #[must_use]
    pub fn into_text(self) -> String {
        self.text
    }
}

/// The samples of one family, as they are written.
#[derive(Debug)]
pub struct Samples<'a> {
    text: &'a mut String,
    family: Family,
    began: bool,
}

impl Samples<'_> {
    /// Writes a whole number.
    pub fn count(&mut self, labels: Labels<'_>, value: u64) {
        self.begin();
        self.line("", labels, &value);
    }

    /// Writes a number with a fraction.
    pub fn number(&mut self, labels: Labels<'_>, value: f64) {
        self.begin();
        self.line("", labels, &value);
    }

    /// Writes a yes or no as 1 or 0.
    pub fn yes(&mut self, labels: Labels<'_>, value: bool) {
        self.count(labels, u64::from(value));
    }

    /// Writes a histogram: the upper bounds, ascending and in the family's unit, each with the samples between it and the
    /// one before; then the samples above all bounds, and the sum of all.
    pub fn histogram(&mut self, labels: Labels<'_>, buckets: &[(f64, u64)], above: u64, sum: f64) {
        self.begin();
        let mut labels: Vec<(&str, &str)> = labels.to_vec();
        labels.push(("le", ""));
        let mut total = 0_u64;
        let mut bucket = |samples: &mut Self, bound: &str, count: u64| {
            total = total.saturating_add(count);
            let with_bound: Vec<_> = labels
                .iter()
                .map(|(name, value)| (*name, if *name == "le" { bound } else { *value }))
                .collect();
            samples.line("_bucket", &with_bound, &total);
        };
        for (bound, count) in buckets {
            bucket(self, &bound.to_string(), *count);
        }
        bucket(self, "+Inf", above);
        labels.pop();
        self.line("_sum", &labels, &sum);
        self.line("_count", &labels, &total);
    }

    fn begin(&mut self) {
        if !std::mem::replace(&mut self.began, true) {
            let Family { name, kind, help } = self.family;
            let help = help.replace('\\', "\\\\").replace('\n', "\\n");
            // Writing to a string does not fail, here and below.
            let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {}", kind.name());
        }
    }

    fn line(&mut self, suffix: &str, labels: Labels<'_>, value: &dyn std::fmt::Display) {
        let _ = write!(self.text, "{}{suffix}", self.family.name);
        for (at, (name, value)) in labels.iter().enumerate() {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.text, "{}{name}=\"{value}\"", if at == 0 { '{' } else { ',' });
        }
        let _ = writeln!(self.text, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAMES: Family =
        Family { name: "frames_total", kind: Kind::Counter, help: "Frames,\nby \\ reason." };

    #[test]
    fn a_page_is_as_the_format_says() {
        let mut page = Exposition::default();
        let mut frames = page.family(FRAMES);
        frames.count(&[("reason", "a \"b\"\\\n"), ("worker", "0")], 7);
        frames.count(&[], u64::MAX);
        // Without samples nothing is said of it.
        page.family(Family { name: "nothing", ..FRAMES });
        page.family(Family { name: "age_seconds", kind: Kind::Gauge, help: "Age." }).number(&[], 0.25);
        page.family(Family { name: "up", kind: Kind::Gauge, help: "Up." }).yes(&[], true);
        assert_eq!(
            page.into_text(),
            "# HELP frames_total Frames,\\nby \\\\ reason.\n# TYPE frames_total counter\n\
             frames_total{reason=\"a \\\"b\\\"\\\\\\n\",worker=\"0\"} 7\nframes_total 18446744073709551615\n\
             # HELP age_seconds Age.\n# TYPE age_seconds gauge\nage_seconds 0.25\n\
             # HELP up Up.\n# TYPE up gauge\nup 1\n"
        );
    }

    #[test]
    fn a_histogram_is_cumulative_and_ends_with_all() {
        let mut page = Exposition::default();
        let family = Family { name: "rtt_seconds", kind: Kind::Histogram, help: "Round trip." };
        page.family(family).histogram(&[("worker", "1")], &[(0.5, 2), (1.0, 3)], 4, 9.5);
        let text = page.into_text();
        let samples: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(
            samples,
            [
                "rtt_seconds_bucket{worker=\"1\",le=\"0.5\"} 2",
                "rtt_seconds_bucket{worker=\"1\",le=\"1\"} 5",
                "rtt_seconds_bucket{worker=\"1\",le=\"+Inf\"} 9",
                "rtt_seconds_sum{worker=\"1\"} 9.5",
                "rtt_seconds_count{worker=\"1\"} 9",
            ]
        );
    }
}
