//! The report as a page: one file, without anything from elsewhere.
//!
//! ```text
//!   head: machine, kernel, commit, compiler, when
//!   budgets, all of them: met or missed
//!   each bench:  pictures (charts) ── table ── setup
//!   how to read it: percentiles, limits, open and closed loops, coordinated omission, steal
//! ```

mod charts;
mod svg;

use std::fmt::Write;
use std::path::Path;

use anyhow::Context;
use serde_json::{Value, json};

use crate::benches;
use crate::etcd::claim;
use crate::report::{Report, Row};
use crate::series::Unit;
use crate::table::{amount, times};
use svg::escape;

const STYLE: &str = include_str!("style.css");
const EXPLANATION: &str = include_str!("explain.html");

/// Writes `report.html`, `report.json` and each row's distribution as `hgrm/<bench>/<row>.hgrm` into a directory, which is
/// made if it is not there.
///
/// # Errors
/// If a file can't be written; then some may have been.
pub fn write(directory: &Path, reports: &[Report], machine: &Value) -> anyhow::Result<()> {
    let put = |name: &Path, text: String| {
        let path = directory.join(name);
        path.parent()
            .map_or(Ok(()), std::fs::create_dir_all)
            .and_then(|()| std::fs::write(&path, text))
            .with_context(|| format!("can't write {}", path.display()))
    };
    put(Path::new("report.html"), html(reports, machine))?;
    let benches: Vec<Value> = reports.iter().map(Report::to_json).collect();
    let whole = json!({ "machine": machine, "benches": benches });
    put(Path::new("report.json"), serde_json::to_string_pretty(&whole)?)?;
    for report in reports {
        for row in report.rows.iter().filter(|row| row.series.count() > 1) {
            let name = Path::new("hgrm").join(&report.bench).join(file_name(row.name()) + ".hgrm");
            put(&name, row.series.hgrm())?;
        }
    }
    Ok(())
}

fn file_name(name: &str) -> String {
    let kept = name.split(|char: char| !char.is_ascii_alphanumeric()).filter(|part| !part.is_empty());
    kept.collect::<Vec<_>>().join("-")
}

/// The page.
#[must_use]
pub fn html(reports: &[Report], machine: &Value) -> String {
    let mut page = String::from("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    let _ = writeln!(
        page,
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>Latticed: what it costs</title>\n<style>\n{STYLE}</style>\n</head>\n<body>"
    );
    head(&mut page, reports, machine);
    glance(&mut page, reports);
    budgets(&mut page, reports);
    for report in reports {
        section(&mut page, report);
    }
    page.push_str(EXPLANATION);
    page.push_str("</body>\n</html>\n");
    page
}

fn head(page: &mut String, reports: &[Report], machine: &Value) {
    let field = |name: &str| match &machine[name] {
        Value::String(text) => escape(text),
        other => other.to_string(),
    };
    let tree = match machine["tree_dirty"].as_bool() {
        Some(true) => ", with changes that are not committed",
        Some(false) => ", nothing changed",
        None => "",
    };
    let is_virtual = if machine["virtual"] == true { "a virtual machine: " } else { "" };
    // Writing to a String can't fail, here and below.
    let _ = writeln!(
        page,
        "<header>\n<h1>Latticed: what it costs</h1>\n<p class=\"soft\">{is_virtual}{}, {} cores, {} GiB, Linux {}<br>commit {}{tree}; {} build, {}; {}</p>",
        field("cpu"),
        field("cores"),
        field("memory_gib"),
        field("kernel"),
        field("commit"),
        field("build"),
        field("rustc"),
        field("measured_at")
    );
    page.push_str("<nav>");
    for report in reports {
        let name = escape(&report.bench);
        let _ = write!(page, "<a href=\"#{name}\">{name}</a>");
    }
    page.push_str("<a href=\"#how\">how to read this</a></nav>\n</header>\n");
}

/// Each bench's headline in one line.
fn glance(page: &mut String, reports: &[Report]) {
    let mut rows = String::new();
    for (report, row) in reports.iter().filter_map(|report| report.headline().map(|row| (report, row))) {
        let numbers = row.series.numbers();
        let limit = row.limit.iter().map(|limit| ("limit: ", limit));
        let beside = limit.chain(row.rivals.iter().map(|rival| ("", rival))).map(|(what, series)| {
            let p50 = amount(series.unit(), series.numbers().p50);
            format!("{what}{} {p50}", escape(&series.name))
        });
        let _ = writeln!(
            rows,
            "<tr><th scope=\"row\"><a href=\"#{0}\">{0}</a></th><td class=\"text\">{1}</td><td>{2}</td><td>{3}</td><td class=\"text budgets\">{4}</td></tr>",
            escape(&report.bench),
            escape(row.name()),
            amount(row.unit(), numbers.p50),
            amount(row.unit(), numbers.p99),
            beside.collect::<Vec<_>>().join("; ")
        );
    }
    if rows.is_empty() {
        return;
    }
    let _ = writeln!(
        page,
        "<h2>At a glance</h2>\n<div class=\"scroll\"><table><thead><tr><th>bench</th><th class=\"text\">what</th><th>p50</th><th>p99</th><th class=\"text\">beside (p50)</th></tr></thead><tbody>\n{rows}</tbody></table></div>"
    );
}

/// One table of all budgets, whichever row they belong to.
fn budgets(page: &mut String, reports: &[Report]) {
    let mut rows = String::new();
    let (mut met, mut all) = (0, 0);
    for (report, row) in reports.iter().flat_map(|report| report.rows.iter().map(move |row| (report, row))) {
        for budget in &row.budgets {
            let judged = budget.judge(row);
            (met, all) = (met + usize::from(judged.met), all + 1);
            let _ = writeln!(
                rows,
                "<tr><th scope=\"row\"><a href=\"#{0}\">{0}</a></th><td class=\"text\">{1}</td><td class=\"text\">{2}</td><td>{3}</td><td class=\"text\">{4}</td></tr>",
                escape(&report.bench),
                escape(row.name()),
                escape(&judged.budget),
                judged.value.map_or("-".into(), |value| budget.amount(row, value)),
                verdict(judged.met)
            );
        }
    }
    if all == 0 {
        return;
    }
    let _ = writeln!(
        page,
        "<h2>Budgets: {met} of {all} met</h2>\n<div class=\"scroll\"><table><thead><tr><th>bench</th><th class=\"text\">row</th><th class=\"text\">budget</th><th>measured</th><th></th></tr></thead><tbody>\n{rows}</tbody></table></div>"
    );
}

fn verdict(met: bool) -> &'static str {
    if met { "<span class=\"met\">✓ met</span>" } else { "<span class=\"missed\">✗ missed</span>" }
}

fn section(page: &mut String, report: &Report) {
    let name = escape(&report.bench);
    let _ = writeln!(page, "<section>\n<h2 id=\"{name}\">{name}</h2>");
    if let Some(bench) = benches::find(&report.bench) {
        let _ = writeln!(page, "<p class=\"soft\">{}</p>", escape(bench.about));
    }
    let facts = ["loop", "runs", "steal_percent", "took_s"].into_iter().filter_map(|name| {
        let value = report.setup.get(name)?;
        Some(match (name, value.as_str()) {
            ("loop", Some(kind)) => format!("loop: {kind}"),
            ("runs", _) => format!("{value} runs"),
            ("steal_percent", _) => format!("steal {value} %"),
            _ => format!("{value} s"),
        })
    });
    let facts = facts.collect::<Vec<_>>().join("; ");
    let _ = writeln!(page, "<p class=\"soft\">{}</p>", escape(&facts));
    if let Some(why) = &report.skipped {
        let _ = writeln!(page, "<p><b>Skipped:</b> {}</p>", escape(why));
    }
    if let Some(why) = &report.failed {
        let _ = writeln!(page, "<p class=\"missed\"><b>Failed:</b> {}</p>", escape(why));
    }
    if !report.rows.is_empty() {
        let _ = writeln!(page, "<div class=\"charts\">\n{}</div>", charts::figures(&report.rows).concat());
        numbers(page, &report.rows);
    }
    let claim = claim::table(report);
    if !claim.is_empty() {
        let _ =
            writeln!(page, "<h3>The claim</h3>\n<div class=\"scroll\"><pre>{}</pre></div>", escape(&claim));
    }
    setup(page, report);
    page.push_str("</section>\n");
}

fn numbers(page: &mut String, rows: &[Row]) {
    page.push_str("<div class=\"scroll\"><table><thead><tr><th></th>");
    for name in ["p50", "p99", "p99.9", "max", "rate", "limit p50", "ratio", "count"] {
        let _ = write!(page, "<th>{name}</th>");
    }
    let has_runs = rows.iter().any(|row| row.spread.is_some());
    if has_runs {
        page.push_str("<th class=\"text\">p50 of all runs</th><th class=\"text\">p99 of all runs</th>");
    }
    let has_budgets = rows.iter().any(|row| !row.budgets.is_empty());
    page.push_str(if has_budgets { "<th class=\"text\">budget</th>" } else { "" });
    page.push_str("</tr></thead><tbody>\n");
    for row in rows {
        let numbers = row.series.numbers();
        let value = |value: f64| amount(row.unit(), value);
        let cells = [
            value(numbers.p50),
            value(numbers.p99),
            value(numbers.p999),
            value(numbers.max),
            if numbers.rate_per_s > 0.0 { amount(Unit::Rate(""), numbers.rate_per_s) } else { "-".into() },
            row.limit.as_ref().map_or("-".into(), |limit| value(limit.numbers().p50)),
            row.ratio_p50().map_or("-".into(), times),
            numbers.count.to_string(),
        ];
        let cells: String = cells.iter().map(|cell| format!("<td>{cell}</td>")).collect();
        let range =
            |[low, high]: [f64; 2]| format!("<td class=\"text\">{} .. {}</td>", value(low), value(high));
        let spread = match row.spread {
            Some(spread) => range(spread.p50) + &range(spread.p99),
            None if has_runs => "<td></td><td></td>".into(),
            None => String::new(),
        };
        let budgets = row.budgets.iter().map(|budget| {
            let judged = budget.judge(row);
            format!("{} {}", verdict(judged.met), escape(&judged.budget))
        });
        let budgets = match has_budgets {
            true => format!("<td class=\"text budgets\">{}</td>", budgets.collect::<Vec<_>>().join("; ")),
            false => String::new(),
        };
        let _ =
            writeln!(page, "<tr><th scope=\"row\">{}</th>{cells}{spread}{budgets}</tr>", escape(row.name()));
    }
    page.push_str("</tbody></table></div>\n");
}

/// What holds for the whole bench, and under each row's name what is special about it.
fn setup(page: &mut String, report: &Report) {
    page.push_str("<details><summary>Setup</summary><dl>\n");
    let mut pairs = Vec::new();
    flatten("", &report.setup, &mut pairs);
    for row in &report.rows {
        if row.setup.as_object().is_some_and(|setup| !setup.is_empty()) {
            pairs.push((row.name().to_owned(), row.setup.to_string()));
        }
    }
    // The machine stands at the head of the page.
    for (name, value) in pairs.iter().filter(|(name, _)| !name.starts_with("machine.")) {
        let _ = writeln!(page, "<dt>{}</dt><dd>{}</dd>", escape(name), escape(value));
    }
    page.push_str("</dl></details>\n");
}

fn flatten(prefix: &str, value: &Value, pairs: &mut Vec<(String, String)>) {
    let Value::Object(map) = value else { return };
    for (name, value) in map {
        let name = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match value {
            Value::Object(_) => flatten(&name, value, pairs),
            Value::String(text) => pairs.push((name, text.clone())),
            other => pairs.push((name, other.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::{Budget, Quantity};
    use crate::series::Series;

    fn reports() -> Vec<Report> {
        let mut report =
            Report::new("read", json!({ "loop": "closed", "cores": { "reader": 0 }, "machine": { "x": 1 } }));
        let mut series = Series::new("counter <1>, quiet", Unit::Ns);
        (0..1000).for_each(|ns| series.record_ns(ns));
        report.push(Row::new(series).budget(Budget::at_most(Quantity::P50, 5.0)));
        vec![report, Report::skipped("etcd", "etcd is not installed")]
    }

    #[test]
    fn the_page_needs_nothing_from_elsewhere_and_has_every_bench() {
        let machine = json!({ "cpu": "a & b", "commit": "abc", "tree_dirty": true, "cores": 2 });
        let page = html(&reports(), &machine);
        for outside in ["http://", "https://", "src=", "<script", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
        for said in [
            "a &amp; b, 2 cores",
            "commit abc, with changes",
            "counter &lt;1&gt;",
            "0 of 1 met",
            "cores.reader",
        ] {
            assert!(page.contains(said), "{said}");
        }
        assert!(page.contains("etcd is not installed") && !page.contains("machine.x"));
        for tag in ["table", "figure", "svg", "section", "details", "div"] {
            let opened = page.matches(&format!("<{tag}")).count();
            assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}");
        }
    }

    #[test]
    fn all_files_are_written() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("target/bench");
        write(&target, &reports(), &json!({})).unwrap();
        let text = std::fs::read_to_string(target.join("report.json")).unwrap();
        let whole: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(whole["benches"][0]["rows"][0]["name"], "counter <1>, quiet");
        assert!(target.join("report.html").is_file());
        assert!(target.join("hgrm/read/counter-1-quiet.hgrm").is_file());
    }
}
