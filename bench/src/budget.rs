//! Budgets: what a row has to keep, and whether it does.

use serde::Serialize;

use crate::report::{Row, ratio};
use crate::series::Unit;
use crate::table::{amount, times};

/// A number of a row that a budget can be about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantity {
    /// Median, in the row's unit.
    P50,
    /// 99th percentile, in the row's unit.
    P99,
    /// 99.9th percentile, in the row's unit.
    P999,
    /// Operations a second.
    Rate,
    /// Median over the limit's median.
    RatioP50,
    /// 99th percentile over the limit's.
    RatioP99,
    /// Rate over the limit's rate.
    RatioRate,
    /// How many times a rival's rate: the first one's.
    RateOverRival,
    /// How many times lower the 99th percentile is than a rival's: the first one's.
    P99UnderRival,
}

#[derive(Clone, Copy, Debug)]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

/// A bound of one quantity.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    quantity: Quantity,
    bound: Bound,
}

/// A budget beside what was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Judged {
    /// `p50 <= 5 ns`.
    pub budget: String,
    /// What was measured; `None` if the row has no such quantity, which misses the budget.
    pub value: Option<f64>,
    /// Whether it is kept.
    pub met: bool,
}

impl Budget {
    /// The quantity is no larger than this.
    #[must_use]
    pub fn at_most(quantity: Quantity, bound: f64) -> Budget {
        Budget { quantity, bound: Bound::AtMost(bound) }
    }

    /// The quantity is no smaller than this.
    #[must_use]
    pub fn at_least(quantity: Quantity, bound: f64) -> Budget {
        Budget { quantity, bound: Bound::AtLeast(bound) }
    }

    /// Looks whether a row keeps it.
    #[must_use]
    pub fn judge(&self, row: &Row) -> Judged {
        let value = self.value(row);
        let (sign, bound, met) = match self.bound {
            Bound::AtMost(bound) => ("<=", bound, value.is_some_and(|value| value <= bound)),
            Bound::AtLeast(bound) => (">=", bound, value.is_some_and(|value| value >= bound)),
        };
        let name = match self.quantity {
            Quantity::P50 => "p50",
            Quantity::P99 => "p99",
            Quantity::P999 => "p99.9",
            Quantity::Rate => "rate",
            Quantity::RatioP50 => "p50/limit",
            Quantity::RatioP99 => "p99/limit",
            Quantity::RatioRate => "rate/limit",
            Quantity::RateOverRival => "rate/rival",
            Quantity::P99UnderRival => "rival p99/p99",
        };
        Judged { budget: format!("{name} {sign} {}", self.amount(row, bound)), value, met }
    }

    /// A value of the budget's quantity with its unit.
    #[must_use]
    pub fn amount(&self, row: &Row, value: f64) -> String {
        match self.quantity {
            Quantity::P50 | Quantity::P99 | Quantity::P999 => amount(row.unit(), value),
            Quantity::Rate => amount(Unit::Rate(""), value),
            Quantity::RatioP50
            | Quantity::RatioP99
            | Quantity::RatioRate
            | Quantity::RateOverRival
            | Quantity::P99UnderRival => times(value) + "x",
        }
    }

    fn value(&self, row: &Row) -> Option<f64> {
        let numbers = row.series.numbers();
        let rival = || row.rivals.first().map(|rival| rival.numbers());
        match self.quantity {
            Quantity::P50 => Some(numbers.p50),
            Quantity::P99 => Some(numbers.p99),
            Quantity::P999 => Some(numbers.p999),
            Quantity::Rate => Some(numbers.rate_per_s),
            Quantity::RatioP50 => row.ratio_p50(),
            Quantity::RatioP99 => row.ratio_p99(),
            Quantity::RatioRate => {
                row.limit.as_ref().map(|limit| ratio(numbers.rate_per_s, limit.numbers().rate_per_s))
            }
            Quantity::RateOverRival => rival().map(|rival| ratio(numbers.rate_per_s, rival.rate_per_s)),
            Quantity::P99UnderRival => rival().map(|rival| ratio(rival.p99, numbers.p99)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::Series;

    #[test]
    fn a_budget_is_met_at_its_bound_and_missed_beyond_and_without_a_value() {
        let row = Row::new(Series::single("x", Unit::Ns, 5.0));
        let judged = Budget::at_most(Quantity::P50, 5.0).judge(&row);
        assert_eq!((judged.budget.as_str(), judged.met), ("p50 <= 5.00 ns", true));
        assert!(!Budget::at_most(Quantity::P99, 4.9).judge(&row).met);
        assert!(Budget::at_least(Quantity::P999, 5.0).judge(&row).met);
        let judged = Budget::at_most(Quantity::RatioP50, 2.0).judge(&row);
        assert_eq!((judged.value, judged.met), (None, false));
        let row = row.limit(Series::single("limit", Unit::Ns, 4.0));
        assert!(Budget::at_most(Quantity::RatioP50, 2.0).judge(&row).met);
        let row = row.rival(Series::single("rival", Unit::Ns, 500.0));
        assert!(Budget::at_least(Quantity::P99UnderRival, 99.0).judge(&row).met);
        assert!(!Budget::at_least(Quantity::RateOverRival, 101.0).judge(&row).met);
    }
}
