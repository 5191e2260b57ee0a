//! The sums that some of a few numbers can have, as intervals.

/// Ascending, disjoint, not adjacent, both ends included: the integers that can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sums(Vec<(i128, i128)>);

impl Sums {
    /// Only this one.
    pub fn of(sum: i128) -> Self {
        Self(vec![(sum, sum)])
    }

    /// `delta` may be added, or not.
    pub fn maybe(self, delta: i128) -> Self {
        let mut all = self.0;
        let shifted: Vec<_> = all.iter().map(|(least, most)| (least + delta, most + delta)).collect();
        all.extend(shifted);
        all.sort_unstable();
        let mut merged: Vec<(i128, i128)> = Vec::with_capacity(all.len());
        for (least, most) in all {
            match merged.last_mut() {
                Some(last) if least <= last.1 + 1 => last.1 = last.1.max(most),
                _ => merged.push((least, most)),
            }
        }
        Self(merged)
    }

    pub fn contain(&self, sum: i128) -> bool {
        let at = self.0.partition_point(|(_, most)| *most < sum);
        self.0.get(at).is_some_and(|(least, _)| *least <= sum)
    }

    pub fn into_intervals(self) -> Vec<(i128, i128)> {
        self.0
    }
}
