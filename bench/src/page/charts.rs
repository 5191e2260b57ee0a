//! Which picture shows which rows.
//!
//! ```text
//!   rows with a place on an axis of sizes ──> lines over that axis, one picture a unit
//!   rows of many latencies                ──> percentiles: x is 1/(1-p), so that 99, 99.9, 99.99 lie equally far apart
//!   rows of rates, sizes, single values   ──> a dot each on a common axis, its limit as a bar, its rivals as rings
//! ```

use std::fmt::Write;

use crate::page::svg::{self, Chart, Line, Role, Scale, escape};
use crate::report::Row;
use crate::series::{Series, Unit};
use crate::table::amount;

/// A row with fewer values than this has no tail worth a curve.
const CURVE_COUNT: u64 = 100;
/// Points of a curve in each decade of 1/(1-p).
const POINTS_PER_DECADE: usize = 24;
/// Height of one row of dots.
const DOT_ROW: f64 = 46.0;

/// All pictures of a report's rows.
#[must_use]
pub fn figures(rows: &[Row]) -> Vec<String> {
    let mut figures = Vec::new();
    let (placed, plain): (Vec<&Row>, Vec<&Row>) = rows.iter().partition(|row| row.place.is_some());
    let (curves, dots): (Vec<&Row>, Vec<&Row>) =
        plain.into_iter().partition(|row| row.unit() == Unit::Ns && row.series.count() >= CURVE_COUNT);
    for (name, rows) in groups(curves, |row| row.chart.clone().unwrap_or_else(|| row.name().to_owned())) {
        figures.push(percentiles(&name, &rows));
    }
    for (name, rows) in groups(dots, |row| row.chart.clone().unwrap_or_else(|| title_of(row.unit()))) {
        figures.push(dot_plot(&name, &rows));
    }
    let axis_of = |row: &Row| row.place.as_ref().map_or("", |place| place.axis);
    let name_of = |row: &Row| {
        let title = title_of(row.unit());
        row.chart.clone().unwrap_or_else(|| format!("{title} by number of {}", axis_of(row)))
    };
    for (name, rows) in groups(placed, name_of) {
        figures.push(over_sizes(&name, &rows));
    }
    figures
}

/// What a picture of values in this unit is called, if nobody named it.
fn title_of(unit: Unit) -> String {
    if unit == Unit::Ns { "time".into() } else { unit.name() }
}

/// A value at an axis: without zeros that say nothing.
fn tick(unit: Unit, value: f64) -> String {
    let text = amount(unit, value);
    let (number, name) = text.split_once(' ').unwrap_or((text.as_str(), ""));
    let number =
        if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number };
    format!("{number} {name}").trim_end().to_owned()
}

/// Rows by a name, in the order of their first appearance.
fn groups(rows: Vec<&Row>, name: impl Fn(&Row) -> String) -> Vec<(String, Vec<&Row>)> {
    let mut groups: Vec<(String, Vec<&Row>)> = Vec::new();
    for row in rows {
        let name = name(row);
        match groups.iter_mut().find(|(known, _)| *known == name) {
            Some((_, members)) => members.push(row),
            None => groups.push((name, vec![row])),
        }
    }
    groups
}

/// The parts of a row's name that its picture's name does not say already; alone in its picture, it is just ours.
fn label(row: &Row, chart: &str) -> String {
    let known: Vec<&str> = chart.split(", ").collect();
    let rest: Vec<&str> = row.name().split(", ").filter(|part| !known.contains(part)).collect();
    if rest.is_empty() { "latticed".into() } else { rest.join(", ") }
}

/// The rows' series with their limits and rivals, each once.
fn series<'a>(rows: &[&'a Row], chart: &str) -> Vec<(String, Role, &'a Series)> {
    let mut all: Vec<(String, Role, &Series)> = Vec::new();
    for (number, row) in rows.iter().enumerate() {
        all.push((label(row, chart), Role::Measured(number), &row.series));
    }
    let limits: Vec<&Series> = rows.iter().filter_map(|row| row.limit.as_ref()).collect();
    let rivals: Vec<&Series> = rows.iter().flat_map(|row| &row.rivals).collect();
    for (number, rival) in distinct(&rivals).into_iter().enumerate() {
        all.push((rival.name.clone(), Role::Rival(number), rival));
    }
    let limits = distinct(&limits);
    for limit in &limits {
        let is_its = |row: &&&Row| row.limit.as_ref().is_some_and(|own| own.is_same_as(limit));
        let first = rows.iter().position(|row| is_its(&row)).unwrap_or(0);
        let role = if limits.len() > 1 { Role::LimitOf(first) } else { Role::Limit };
        all.push((format!("limit: {}", limit.name), role, *limit));
    }
    all
}

/// Series that are not the same measurement under the same name.
fn distinct<'a>(series: &[&'a Series]) -> Vec<&'a Series> {
    let mut kept: Vec<&Series> = Vec::new();
    for one in series {
        let is_known = |known: &&Series| known.name == one.name && known.is_same_as(one);
        if !kept.iter().any(is_known) {
            kept.push(one);
        }
    }
    kept
}

fn percentiles(name: &str, rows: &[&Row]) -> String {
    let series = series(rows, name);
    let lines: Vec<Line> = series
        .iter()
        .map(|(label, role, series)| Line {
            label: label.clone(),
            role: *role,
            points: series.tail_points(POINTS_PER_DECADE),
            marks: false,
        })
        .collect();
    let furthest =
        lines.iter().filter_map(|line| line.points.last()).map(|point| point.0).fold(10.0, f64::max);
    let ticks = [("0", 1.0), ("50", 2.0), ("90", 1e1), ("99", 1e2), ("99.9", 1e3), ("99.99", 1e4)];
    let far = [("99.999", 1e5), ("99.9999", 1e6), ("", 1e7), ("", 1e8)];
    let ticks = ticks.into_iter().chain(far).filter(|(_, x)| *x <= furthest);
    let chart = Chart {
        title: name,
        x_label: "percentile: from 90 on, each label is ten times as rare",
        x_ticks: ticks.map(|(label, x)| (x, label.to_owned())).collect(),
        y_amount: &|ns| tick(Unit::Ns, ns),
    };
    let legend: Vec<String> =
        series.iter().map(|(label, role, series)| legend_row(label, *role, series)).collect();
    figure(name, &chart.draw(&lines), &legend)
}

fn legend_row(label: &str, role: Role, series: &Series) -> String {
    let numbers = series.numbers();
    let cells = [numbers.p50, numbers.p90, numbers.p99, numbers.p999, numbers.max];
    let cells: String =
        cells.iter().map(|value| format!("<td>{}</td>", amount(series.unit(), *value))).collect();
    format!(
        "<tr><th scope=\"row\"><svg class=\"swatch\" viewBox=\"0 0 30 10\" aria-hidden=\"true\"><line class=\"line {}\" x1=\"1\" y1=\"5\" x2=\"29\" y2=\"5\"/></svg>{}</th>{cells}</tr>",
        role.class(),
        escape(label)
    )
}

fn figure(name: &str, svg: &str, legend: &[String]) -> String {
    let mut html = format!("<figure>\n<figcaption>{}</figcaption>\n{svg}", escape(name));
    if !legend.is_empty() {
        // Writing to a String can't fail.
        let _ = writeln!(
            html,
            "<table class=\"legend\"><thead><tr><th></th><th>p50</th><th>p90</th><th>p99</th><th>p99.9</th><th>max</th></tr></thead><tbody>{}</tbody></table>",
            legend.concat()
        );
    }
    html.push_str("</figure>\n");
    html
}

fn over_sizes(name: &str, rows: &[&Row]) -> String {
    let unit = rows.first().map_or(Unit::Ns, |row| row.unit());
    let axis = rows.first().and_then(|row| row.place.as_ref()).map_or("", |place| place.axis);
    let mut lines: Vec<Line> = Vec::new();
    let mut limits: Vec<Line> = Vec::new();
    for row in rows {
        let Some(place) = &row.place else { continue };
        let value = row.series.numbers().p50;
        extend(&mut lines, &place.line, Role::Measured(0), (place.value, value));
        for rival in &row.rivals {
            extend(&mut lines, &rival.name, Role::Rival(0), (place.value, rival.numbers().p50));
        }
        if let Some(limit) = &row.limit {
            let name = format!("limit: {}", limit.name);
            extend(&mut limits, &name, Role::Limit, (place.value, limit.numbers().p50));
        }
    }
    lines.append(&mut limits);
    let mut sizes: Vec<f64> = rows.iter().filter_map(|row| Some(row.place.as_ref()?.value)).collect();
    sizes.sort_by(f64::total_cmp);
    sizes.dedup();
    let chart = Chart {
        title: name,
        x_label: axis,
        x_ticks: sizes.into_iter().map(|size| (size, tick(Unit::Count(""), size))).collect(),
        y_amount: &|value| tick(unit, value),
    };
    figure(name, &chart.draw(&lines), &[])
}

/// Puts a point at the end of the line of this name, which begins with it if there is none yet.
fn extend(lines: &mut Vec<Line>, name: &str, role: Role, point: (f64, f64)) {
    if let Some(line) = lines.iter_mut().find(|line| line.label == name) {
        line.points.push(point);
        line.points.sort_by(|a, b| a.0.total_cmp(&b.0));
        return;
    }
    let same_role =
        lines.iter().filter(|line| std::mem::discriminant(&line.role) == std::mem::discriminant(&role));
    let number = same_role.count();
    let role = match role {
        Role::Measured(_) => Role::Measured(number),
        Role::Rival(_) => Role::Rival(number),
        limit => limit,
    };
    lines.push(Line { label: name.to_owned(), role, points: vec![point], marks: true });
}

fn dot_plot(name: &str, rows: &[&Row]) -> String {
    let unit = rows.first().map_or(Unit::Ns, |row| row.unit());
    let of = |series: &Series| series.numbers().p50;
    let values: Vec<f64> = rows
        .iter()
        .flat_map(|row| std::iter::once(&row.series).chain(&row.limit).chain(&row.rivals))
        .map(of)
        .collect();
    let (low, high) =
        values.iter().fold((f64::MAX, 0.0), |(low, high), value| (value.min(low), value.max(high)));
    let (from, to) = (36.0, svg::WIDTH - 100.0);
    let scale = if low > 0.0 && high / low > 20.0 {
        Scale::log(values.iter().copied(), from, to)
    } else {
        Scale::linear(values.iter().copied(), from, to)
    };
    let height = rows.len() as f64 * DOT_ROW + 34.0;
    let mut picture = svg::open(name, height);
    for value in scale.ticks() {
        let at = scale.at(value);
        svg::grid(&mut picture, (at, 4.0), (at, height - 26.0));
        svg::text(&mut picture, (at, height - 10.0), "middle", "tick", &tick(unit, value));
    }
    for (number, row) in rows.iter().enumerate() {
        let top = number as f64 * DOT_ROW + 6.0;
        draw_dots(&mut picture, row, &label(row, name), top, &scale);
    }
    picture.push_str("</svg>\n");
    figure(name, &picture, &[])
}

/// One row: its name, and on the line below the limit as a bar, the rivals as rings, the row's own value as a dot.
fn draw_dots(picture: &mut String, row: &Row, label: &str, top: f64, scale: &Scale) {
    let unit = row.unit();
    let (text_y, y) = (top + 10.0, top + 26.0);
    let mut legend = label.to_owned();
    let value = row.series.numbers().p50;
    if let Some(limit) = &row.limit {
        let at = scale.at(limit.numbers().p50);
        let _ = writeln!(
            picture,
            "<line class=\"bar limit\" x1=\"{at:.1}\" y1=\"{:.1}\" x2=\"{at:.1}\" y2=\"{:.1}\"/>",
            y - 9.0,
            y + 9.0
        );
        let _ = write!(legend, " · bar: limit, {}, {}", limit.name, amount(unit, limit.numbers().p50));
    }
    for (number, rival) in row.rivals.iter().enumerate() {
        let at = scale.at(rival.numbers().p50);
        let class = Role::Rival(number).class();
        let _ = writeln!(picture, "<circle class=\"ring {class}\" cx=\"{at:.1}\" cy=\"{y:.1}\" r=\"5\"/>");
        let _ = write!(legend, " · ring: {}, {}", rival.name, amount(unit, rival.numbers().p50));
    }
    let at = scale.at(value);
    let _ = writeln!(picture, "<circle class=\"mark m0\" cx=\"{at:.1}\" cy=\"{y:.1}\" r=\"5.5\"/>");
    svg::text(picture, (at + 10.0, y + 4.0), "start", "label m0", &amount(unit, value));
    svg::text(picture, (36.0, text_y), "start", "name", &legend);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latencies(name: &str, ns: u64) -> Series {
        let mut series = Series::new(name, Unit::Ns);
        (0..1000).for_each(|extra| series.record_ns(ns + extra));
        series
    }

    #[test]
    fn each_sort_of_row_has_its_picture() {
        let limit = latencies("load", 1);
        let rows = [
            Row::new(latencies("counter, by handle, quiet", 10)).limit(limit.clone()).chart("counter, quiet"),
            Row::new(latencies("counter, by key, quiet", 90)).limit(limit).chart("counter, quiet"),
            Row::new(Series::single("1 key", Unit::Rate("deltas"), 5e6))
                .limit(Series::single("flood", Unit::Rate("deltas"), 6e6))
                .rival(Series::single("etcd", Unit::Rate("deltas"), 3e3)),
            Row::new(Series::single("1 k", Unit::Bytes, 200.0)).place("keys", 1e3, "counter"),
            Row::new(Series::single("1 M", Unit::Bytes, 210.0)).place("keys", 1e6, "counter"),
        ];
        let figures = figures(&rows);
        assert_eq!(figures.len(), 3);
        assert!(figures[0].contains("<figcaption>counter, quiet</figcaption>"));
        assert_eq!(figures[0].matches("<polyline").count(), 3, "two rows and their common limit");
        assert!(
            figures[0].contains(">by handle</text>") && figures[0].contains(">99.9</text>"),
            "{}",
            figures[0]
        );
        assert!(
            figures[1].contains("ring: etcd, 3.00 k/s") && figures[1].contains("limit, flood"),
            "{}",
            figures[1]
        );
        assert!(
            figures[2].contains("bytes by number of keys") && figures[2].contains(">1 M</text>"),
            "{}",
            figures[2]
        );
    }
}
