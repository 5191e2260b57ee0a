//! What a bench hands back: rows, each a measured series beside its limit and its rivals. One JSON object.
//!
//! ```text
//!   Report  bench, setup ─┬─ Row  series ── limit (named), rivals (named), budgets, setup     <- the headline
//!                         ├─ Row  …
//!                         └─ …                                          or: skipped, with the reason
//! ```
//!
//! The JSON's outermost object has the fields of the headline row, and under `rows` all of them, the headline included.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use crate::budget::Budget;
use crate::series::{Series, Unit};

/// Where a row stands on an axis of sizes. Rows with the same axis, unit and line are joined in the chart.
#[derive(Clone, Debug, Serialize)]
pub struct Place {
    /// What is counted along the axis: `keys`, `nodes`.
    pub axis: &'static str,
    /// How many.
    pub value: f64,
    /// Which line of the chart: `counter`.
    pub line: String,
}

/// How far the medians and the 99th percentiles of several runs lay apart.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Spread {
    /// How many runs had this row.
    pub runs: usize,
    /// Smallest and largest median.
    pub p50: [f64; 2],
    /// Smallest and largest 99th percentile.
    pub p99: [f64; 2],
}

/// One thing that was measured, beside what it could be at best and what others make of it.
#[derive(Clone, Debug)]
pub struct Row {
    /// The measured values; their name is the row's.
    pub series: Series,
    /// The best that is possible, measured the same way in the same run.
    pub limit: Option<Series>,
    /// What others need for the same.
    pub rivals: Vec<Series>,
    /// What the row has to keep.
    pub budgets: Vec<Budget>,
    /// Rows with the same chart name share a picture; without one, a row has its own.
    pub chart: Option<String>,
    /// Its place on an axis of sizes.
    pub place: Option<Place>,
    /// What was special about this row.
    pub setup: Value,
    /// Where several runs were made.
    pub spread: Option<Spread>,
}

impl Row {
    /// A row with nothing beside it.
    #[must_use]
    pub fn new(series: Series) -> Row {
        Row {
            series,
            limit: None,
            rivals: Vec::new(),
            budgets: Vec::new(),
            chart: None,
            place: None,
            setup: json!({}),
            spread: None,
        }
    }

    /// With its limit.
    #[must_use]
    pub fn limit(mut self, limit: Series) -> Row {
        self.limit = Some(limit);
        self
    }

    /// With one more rival.
    #[must_use]
    pub fn rival(mut self, rival: Series) -> Row {
        self.rivals.push(rival);
        self
    }

    /// With one more budget to keep.
    #[must_use]
    pub fn budget(mut self, budget: Budget) -> Row {
        self.budgets.push(budget);
        self
    }

    /// In the picture of this name.
    #[must_use]
    pub fn chart(mut self, chart: impl Into<String>) -> Row {
        self.chart = Some(chart.into());
        self
    }

    /// At this place of an axis of sizes.
    #[must_use]
    pub fn place(mut self, axis: &'static str, value: f64, line: impl Into<String>) -> Row {
        self.place = Some(Place { axis, value, line: line.into() });
        self
    }

    /// With this setup, an object.
    #[must_use]
    pub fn setup(mut self, setup: Value) -> Row {
        self.setup = setup;
        self
    }

    /// The row's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.series.name
    }

    /// The row's unit.
    #[must_use]
    pub fn unit(&self) -> Unit {
        self.series.unit()
    }

    /// The median over the limit's; none if the limit is less than its clock resolves and reads as 0.
    #[must_use]
    pub fn ratio_p50(&self) -> Option<f64> {
        let limit = self.limit.as_ref().map(|limit| limit.numbers().p50).filter(|limit| *limit > 0.0)?;
        Some(self.series.numbers().p50 / limit)
    }

    /// The 99th percentile over the limit's; none as above.
    #[must_use]
    pub fn ratio_p99(&self) -> Option<f64> {
        let limit = self.limit.as_ref().map(|limit| limit.numbers().p99).filter(|limit| *limit > 0.0)?;
        Some(self.series.numbers().p99 / limit)
    }

    fn to_map(&self, bench: &str) -> Map<String, Value> {
        let mut map = series_map(bench, &self.series);
        map.insert("setup".into(), self.setup.clone());
        if let Some(limit) = &self.limit {
            map.insert("limit".into(), series_map(&limit.name, limit).into());
        }
        if !self.rivals.is_empty() {
            let rivals = self.rivals.iter().map(|rival| series_map(&rival.name, rival).into());
            map.insert("rivals".into(), Value::Array(rivals.collect()));
        }
        for (name, ratio) in [("ratio_p50", self.ratio_p50()), ("ratio_p99", self.ratio_p99())] {
            if let Some(ratio) = ratio {
                map.insert(name.into(), ratio.into());
            }
        }
        if !self.budgets.is_empty() {
            let budgets = self.budgets.iter().map(|budget| budget.judge(self));
            map.insert("budgets".into(), json!(budgets.collect::<Vec<_>>()));
        }
        if let Some(place) = &self.place {
            map.insert("place".into(), json!(place));
        }
        if let Some(spread) = &self.spread {
            map.insert("spread".into(), json!(spread));
        }
        map
    }
}

/// A ratio that stays finite when what it is measured by is below what a clock resolves.
#[must_use]
pub fn ratio(measured: f64, by: f64) -> f64 {
    measured / by.max(0.001)
}

fn series_map(bench: &str, series: &Series) -> Map<String, Value> {
    let mut map = Map::new();
    map.insert("bench".into(), bench.into());
    map.insert("name".into(), series.name.as_str().into());
    map.insert("unit".into(), series.unit().name().into());
    // A struct of numbers becomes an object.
    if let Value::Object(numbers) = json!(series.numbers()) {
        map.extend(numbers);
    }
    map
}

/// What a bench found.
#[derive(Clone, Debug)]
pub struct Report {
    /// The bench's name.
    pub bench: String,
    /// Why it could not run here; then there are no rows.
    pub skipped: Option<String>,
    /// Why it broke off.
    pub failed: Option<String>,
    /// All that was measured. The first row is the headline unless another was named.
    pub rows: Vec<Row>,
    headline: usize,
    /// What holds for all rows: kind of loop, idle strategy, pinning, who polled and who slept. An object.
    pub setup: Value,
}

impl Report {
    /// A report without rows yet.
    #[must_use]
    pub fn new(bench: impl Into<String>, setup: Value) -> Report {
        Report { bench: bench.into(), skipped: None, failed: None, rows: Vec::new(), headline: 0, setup }
    }

    /// The report of a bench that can't run here.
    #[must_use]
    pub fn skipped(bench: impl Into<String>, why: impl Into<String>) -> Report {
        Report { skipped: Some(why.into()), ..Report::new(bench, json!({})) }
    }

    /// The report of a bench that broke off.
    #[must_use]
    pub fn failed(bench: impl Into<String>, why: impl Into<String>) -> Report {
        Report { failed: Some(why.into()), ..Report::new(bench, json!({})) }
    }

    /// Adds a row.
    pub fn push(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Adds a row, and makes it the headline.
    pub fn push_headline(&mut self, row: Row) {
        self.headline = self.rows.len();
        self.rows.push(row);
    }

    /// The row that stands for the whole; `None` if there are no rows.
    #[must_use]
    pub fn headline(&self) -> Option<&Row> {
        self.rows.get(self.headline)
    }

    /// Adds to the setup what is known only around a bench: machine, steal, duration.
    pub fn note(&mut self, name: &str, value: Value) {
        if let Value::Object(setup) = &mut self.setup {
            setup.insert(name.into(), value);
        }
    }

    /// The whole as one JSON object.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut map = match self.headline() {
            Some(row) => row.to_map(&self.bench),
            None => Map::from_iter([("bench".to_owned(), self.bench.as_str().into())]),
        };
        for (name, why) in [("skipped", &self.skipped), ("failed", &self.failed)] {
            if let Some(why) = why {
                map.insert(name.into(), why.as_str().into());
            }
        }
        // The headline's own setup is found in its row; here stands what holds for all, and what the headline adds.
        let mut setup = self.setup.clone();
        if let (Value::Object(setup), Some(Value::Object(own))) = (&mut setup, map.get("setup")) {
            setup.extend(own.clone());
        }
        map.insert("setup".into(), setup);
        let rows = self.rows.iter().map(|row| row.to_map(&self.bench).into());
        map.insert("rows".into(), Value::Array(rows.collect()));
        map.into()
    }
}

impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Value::Object(map) = self.to_json() else {
            return serializer.serialize_map(Some(0))?.end();
        };
        map.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Quantity;

    #[test]
    fn a_report_is_its_headline_with_all_rows_inside() {
        let mut report = Report::new("read", json!({ "loop": "closed" }));
        report.push(Row::new(Series::single("slow", Unit::Ns, 80.0)));
        report.push_headline(
            Row::new(Series::single("fast", Unit::Ns, 4.0))
                .limit(Series::single("load", Unit::Ns, 2.0))
                .rival(Series::single("other", Unit::Ns, 400.0))
                .budget(Budget::at_most(Quantity::P50, 5.0))
                .setup(json!({ "beside": "nobody" })),
        );
        let json = report.to_json();
        assert_eq!(
            (&json["bench"], &json["name"], &json["unit"]),
            (&json!("read"), &json!("fast"), &json!("ns"))
        );
        assert_eq!(json["setup"], json!({ "loop": "closed", "beside": "nobody" }));
        assert_eq!(json["limit"]["p50"].as_f64(), Some(2.0));
        assert_eq!(json["rivals"][0]["name"], "other");
        assert_eq!(json["ratio_p50"].as_f64(), Some(2.0));
        assert_eq!(json["budgets"][0]["met"], true);
        assert_eq!(json["rows"].as_array().map(Vec::len), Some(2));
        assert_eq!(json["rows"][0]["name"], "slow");
        assert!(json["rows"][0].get("limit").is_none());
    }

    #[test]
    fn a_skipped_bench_says_why() {
        let json = Report::skipped("etcd", "etcd is not installed").to_json();
        assert_eq!((&json["bench"], &json["skipped"]), (&json!("etcd"), &json!("etcd is not installed")));
        assert_eq!(json["rows"], json!([]));
    }
}
