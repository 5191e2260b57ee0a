//! Scales, axes and lines: what all charts of the page are drawn with.
//!
//! Colours, dashes and text sizes are the style sheet's; here are places only, in the units of the picture's view box.

use std::fmt::Write;

/// Width of every picture.
pub const WIDTH: f64 = 620.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 160.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 46.0;
const HEIGHT: f64 = 330.0;
/// Least distance between two labels at the right.
const LABEL_STEP: f64 = 14.0;
/// Labels longer than this would leave the picture.
const LABEL_CHARS: usize = 21;

/// What a line or mark stands for; decides its colour and dashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// What was measured: the n-th row of the picture.
    Measured(usize),
    /// The best possible, for all rows of the picture.
    Limit,
    /// The best possible for the n-th row, where rows have limits of their own.
    LimitOf(usize),
    /// What others need: the n-th of them.
    Rival(usize),
}

impl Role {
    /// The style sheet's class.
    #[must_use]
    pub fn class(self) -> String {
        match self {
            Role::Measured(number) => format!("m{}", number % 6),
            Role::Limit => "limit".into(),
            Role::LimitOf(number) => format!("least m{}", number % 6),
            Role::Rival(number) => format!("r{}", number % 3),
        }
    }
}

/// Text as it may stand in HTML and SVG, attributes included.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// From values to places, logarithmically or not.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
    is_log: bool,
}

impl Scale {
    /// A logarithmic scale over whole decades around all positive values.
    #[must_use]
    pub fn log(values: impl IntoIterator<Item = f64>, from: f64, to: f64) -> Scale {
        let (low, high) = bounds(values.into_iter().filter(|value| *value > 0.0)).unwrap_or((1.0, 10.0));
        let low = low.log10().floor();
        Scale { low, high: high.log10().ceil().max(low + 1.0), from, to, is_log: true }
    }

    /// A logarithmic scale over exactly these values.
    #[must_use]
    pub fn log_exact(low: f64, high: f64, from: f64, to: f64) -> Scale {
        let (low, high) = (low.log10(), high.log10());
        Scale { low, high: if high > low { high } else { low + 1.0 }, from, to, is_log: true }
    }

    /// A linear scale from 0.
    #[must_use]
    pub fn linear(values: impl IntoIterator<Item = f64>, from: f64, to: f64) -> Scale {
        let (_, high) = bounds(values).unwrap_or((0.0, 1.0));
        Scale { low: 0.0, high: if high > 0.0 { high * 1.05 } else { 1.0 }, from, to, is_log: false }
    }

    /// Where a value is; at the nearest end if it is outside.
    #[must_use]
    pub fn at(&self, value: f64) -> f64 {
        let value = if self.is_log { value.max(f64::MIN_POSITIVE).log10() } else { value };
        let share = ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
        self.from + share * (self.to - self.from)
    }

    /// Values that deserve a label: decades (every second or third, if there are many), or round numbers.
    #[must_use]
    pub fn ticks(&self) -> Vec<f64> {
        if self.is_log {
            let step = (((self.high - self.low) / 6.0).ceil() as usize).max(1);
            let decades = (self.low.ceil() as i32..=self.high.floor() as i32).step_by(step);
            return decades.map(|decade| 10f64.powi(decade)).collect();
        }
        let rough = self.high / 4.0;
        let decade = 10f64.powf(rough.log10().floor());
        let step =
            [1.0, 2.0, 5.0, 10.0].map(|factor| factor * decade).into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(rough);
        (0..=(self.high / step) as usize).map(|number| number as f64 * step).collect()
    }
}

fn bounds(values: impl IntoIterator<Item = f64>) -> Option<(f64, f64)> {
    values.into_iter().fold(None, |bounds, value| match bounds {
        None => Some((value, value)),
        Some((low, high)) => Some((f64::min(low, value), f64::max(high, value))),
    })
}

/// One line of a chart.
#[derive(Clone, Debug)]
pub struct Line {
    /// Written beside its end.
    pub label: String,
    /// What it stands for.
    pub role: Role,
    /// x and y, ascending in x.
    pub points: Vec<(f64, f64)>,
    /// Whether each point was measured by itself and gets a mark.
    pub marks: bool,
}

/// A picture of lines over two logarithmic axes.
pub struct Chart<'a> {
    /// Said to those who can't see it.
    pub title: &'a str,
    /// Under the x axis.
    pub x_label: &'a str,
    /// x values that have a label, ascending; the axis reaches from the first to the last point or label.
    pub x_ticks: Vec<(f64, String)>,
    /// How a y value is written.
    pub y_amount: &'a dyn Fn(f64) -> String,
}

impl Chart<'_> {
    /// Draws it.
    #[must_use]
    pub fn draw(&self, lines: &[Line]) -> String {
        let points = || lines.iter().flat_map(|line| &line.points);
        let ticks = self.x_ticks.iter().map(|(x, _)| *x);
        let (low, high) = bounds(points().map(|(x, _)| *x).chain(ticks)).unwrap_or((1.0, 10.0));
        let x = Scale::log_exact(low, high, LEFT, WIDTH - RIGHT);
        let y = Scale::log(points().map(|(_, y)| *y), HEIGHT - BOTTOM, TOP);
        let mut svg = open(self.title, HEIGHT);
        for tick in y.ticks() {
            let at = y.at(tick);
            grid(&mut svg, (LEFT, at), (WIDTH - RIGHT, at));
            text(&mut svg, (LEFT - 6.0, at + 4.0), "end", "tick", &(self.y_amount)(tick));
        }
        for (tick, label) in &self.x_ticks {
            let at = x.at(*tick);
            grid(&mut svg, (at, TOP), (at, HEIGHT - BOTTOM));
            text(&mut svg, (at, HEIGHT - BOTTOM + 16.0), "middle", "tick", label);
        }
        text(&mut svg, ((LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 8.0), "middle", "axis", self.x_label);
        for line in lines {
            draw_line(&mut svg, line, &x, &y);
        }
        draw_labels(&mut svg, lines, &x, &y);
        svg.push_str("</svg>\n");
        svg
    }
}

/// Begins a picture of this height.
#[must_use]
pub fn open(title: &str, height: f64) -> String {
    let title = escape(title);
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{title}\">\n<title>{title}</title>\n"
    )
}

/// A thin line behind all others.
pub fn grid(svg: &mut String, from: (f64, f64), to: (f64, f64)) {
    // Writing to a String can't fail, here and below.
    let _ = writeln!(
        svg,
        "<line class=\"grid\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\"/>",
        from.0, from.1, to.0, to.1
    );
}

/// Text at a place.
pub fn text(svg: &mut String, at: (f64, f64), anchor: &str, class: &str, text: &str) {
    let _ = writeln!(
        svg,
        "<text class=\"{class}\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>",
        at.0,
        at.1,
        escape(text)
    );
}

fn draw_line(svg: &mut String, line: &Line, x: &Scale, y: &Scale) {
    let class = line.role.class();
    let places: Vec<(f64, f64)> = line.points.iter().map(|point| (x.at(point.0), y.at(point.1))).collect();
    let path: Vec<String> = places.iter().map(|place| format!("{:.1},{:.1}", place.0, place.1)).collect();
    let _ = writeln!(svg, "<polyline class=\"line {class}\" points=\"{}\"/>", path.join(" "));
    for place in places.iter().filter(|_| line.marks) {
        let _ = writeln!(
            svg,
            "<circle class=\"mark {class}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3.5\"/>",
            place.0, place.1
        );
    }
}

/// Writes each line's name beside its end, one below the other where ends are close.
fn draw_labels(svg: &mut String, lines: &[Line], x: &Scale, y: &Scale) {
    let mut ends: Vec<(f64, f64, &Line)> = lines
        .iter()
        .filter_map(|line| line.points.last().map(|end| (y.at(end.1), x.at(end.0), line)))
        .collect();
    ends.sort_by(|a, b| a.0.total_cmp(&b.0));
    // Downwards from the top first; if that leaves the picture, all move up as far as needed.
    let mut next = TOP;
    let mut places: Vec<f64> = Vec::with_capacity(ends.len());
    for (end, _, _) in &ends {
        let place = end.max(next);
        places.push(place);
        next = place + LABEL_STEP;
    }
    let mut limit = HEIGHT - BOTTOM;
    for place in places.iter_mut().rev() {
        *place = place.min(limit);
        limit = *place - LABEL_STEP;
    }
    for ((end_y, end_x, line), place) in ends.iter().zip(places) {
        let class = line.role.class();
        let at = WIDTH - RIGHT + 12.0;
        let _ = writeln!(
            svg,
            "<line class=\"leader {class}\" x1=\"{:.1}\" y1=\"{end_y:.1}\" x2=\"{:.1}\" y2=\"{place:.1}\"/>",
            end_x + 2.0,
            at - 3.0
        );
        text(svg, (at, place + 4.0), "start", &format!("label {class}"), &shortened(&line.label));
    }
}

fn shortened(label: &str) -> String {
    if label.chars().count() <= LABEL_CHARS {
        return label.to_owned();
    }
    label.chars().take(LABEL_CHARS - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_put_values_in_order_and_keep_them_inside() {
        let log = Scale::log([0.7, 250.0], 100.0, 0.0);
        assert_eq!(log.ticks(), [0.1, 1.0, 10.0, 100.0, 1000.0]);
        assert!((log.at(0.1) - 100.0).abs() < 1e-9 && log.at(1000.0).abs() < 1e-9);
        assert!((log.at(10.0) - 50.0).abs() < 1e-9 && (log.at(0.0) - 100.0).abs() < 1e-9);
        let linear = Scale::linear([3.0, 9.0], 0.0, 100.0);
        assert_eq!(linear.ticks(), [0.0, 5.0]);
        assert!(linear.at(9.0) > linear.at(3.0) && linear.at(9.0) < 100.0);
    }

    #[test]
    fn labels_of_close_lines_do_not_lie_on_each_other() {
        let line = |number: usize| Line {
            label: format!("line {number} & <more>"),
            role: Role::Measured(number),
            points: vec![(1.0, 10.0), (10.0, 20.0)],
            marks: true,
        };
        let chart = Chart {
            title: "t",
            x_label: "keys",
            x_ticks: vec![(1.0, "1".into())],
            y_amount: &|value| format!("{value} ns"),
        };
        let svg = chart.draw(&[line(0), line(1), line(2)]);
        let labels = svg.lines().filter(|line| line.contains("class=\"label"));
        let mut places: Vec<f64> =
            labels.filter_map(|line| line.split(" y=\"").nth(1)?.split('"').next()?.parse().ok()).collect();
        places.sort_by(f64::total_cmp);
        assert_eq!(places.len(), 3);
        assert!(places.windows(2).all(|pair| pair[1] - pair[0] >= LABEL_STEP - 0.1), "{places:?}");
        assert!(svg.contains("line 1 &amp; &lt;more&gt;"), "{svg}");
        assert_eq!(svg.matches("<circle").count(), 6);
    }
}
