//! A parser of Prometheus's text format that takes nothing but what the format and the conventions allow.

use std::collections::{BTreeMap, BTreeSet};

/// A sample: its name, its labels, its value.
pub type Sample = (String, BTreeMap<String, String>, f64);

/// A page of metrics.
#[derive(Debug, Default)]
pub struct Page {
    /// Type of each family, by its name.
    pub families: BTreeMap<String, String>,
    pub samples: Vec<Sample>,
}

impl Page {
    /// The value of the sample with this name and at least these labels.
    #[track_caller]
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let mut found = self.samples.iter().filter(|(of, all, _)| {
            of == name && labels.iter().all(|(label, value)| all.get(*label).is_some_and(|v| v == value))
        });
        let (_, _, value) = found.next().unwrap_or_else(|| panic!("no {name} with {labels:?}"));
        assert!(found.next().is_none(), "{name} with {labels:?} is not one sample");
        *value
    }

    /// Sum of all samples with this name.
    pub fn sum(&self, name: &str) -> f64 {
        self.samples.iter().filter(|(of, _, _)| of == name).map(|(_, _, value)| value).sum()
    }

    /// Names of the labels of each name of samples.
    pub fn labels(&self) -> BTreeMap<&str, BTreeSet<&str>> {
        let mut labels: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (name, of, _) in &self.samples {
            labels.entry(name).or_default().extend(of.keys().map(String::as_str));
        }
        labels
    }
}

/// Understands a page.
///
/// # Errors
/// The line, and what is wrong with it.
pub fn parse(text: &str) -> Result<Page, String> {
    let mut page = Page::default();
    let (mut helped, mut family) = (None, None);
    let mut seen = BTreeSet::new();
    if !text.ends_with('\n') {
        return Err("the last line does not end".to_owned());
    }
    for line in text.lines() {
        let wrong = |what: &str| Err(format!("{what}: {line}"));
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let Some((name, help)) = rest.split_once(' ') else { return wrong("no help") };
            if !help.ends_with('.') || helped.is_some() {
                return wrong("help that is no sentence, or without a type after the one before");
            }
            helped = Some(name.to_owned());
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let Some((name, kind)) = rest.split_once(' ') else { return wrong("no type") };
            if helped.take().as_deref() != Some(name) {
                return wrong("a type without help");
            }
            let is_total = name.ends_with("_total");
            if !matches!(kind, "counter" | "gauge" | "histogram") || (kind == "counter") != is_total {
                return wrong("a counter ends in _total, and nothing else does");
            }
            if !is_name(name) || !(name.starts_with("latticed_") || name.starts_with("process_")) {
                return wrong("a bad name");
            }
            if page.families.insert(name.to_owned(), kind.to_owned()).is_some() {
                return wrong("a family twice");
            }
            family = Some((name.to_owned(), kind.to_owned()));
        } else {
            let sample = sample(line).map_err(|what| format!("{what}: {line}"))?;
            let Some((name, kind)) = &family else { return wrong("a sample without a family") };
            let suffix = sample.0.strip_prefix(name.as_str());
            let fits = match kind.as_str() {
                "histogram" => matches!(suffix, Some("_bucket" | "_sum" | "_count")),
                _ => suffix == Some(""),
            };
            if !fits || helped.is_some() {
                return wrong("a sample outside its family");
            }
            if !seen.insert((sample.0.clone(), sample.1.clone())) {
                return wrong("a sample twice");
            }
            if kind == "counter" && sample.2 < 0.0 {
                return wrong("a counter below zero");
            }
            page.samples.push(sample);
        }
    }
    histograms(&page)?;
    Ok(page)
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

fn sample(line: &str) -> Result<Sample, &'static str> {
    let end = line.find(['{', ' ']).ok_or("no value")?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, after) = rest.split_once("=\"").ok_or("a label without a value")?;
            let (value, after) = quoted(after)?;
            if !is_name(label) || labels.insert(label.to_owned(), value).is_some() {
                return Err("a bad label");
            }
            match after.strip_prefix(',') {
                Some(more) => rest = more,
                None => break rest = after.strip_prefix('}').ok_or("labels that do not end")?,
            }
        }
    }
    let value = rest.strip_prefix(' ').ok_or("no space before the value")?;
    let value: f64 = value.parse().map_err(|_| "no number")?;
    if !is_name(name) || !value.is_finite() {
        return Err("a bad name or value");
    }
    Ok((name.to_owned(), labels, value))
}

/// A label's value, and what follows its closing quotation mark.
fn quoted(text: &str) -> Result<(String, &str), &'static str> {
    let (mut value, mut chars) = (String::new(), text.char_indices());
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, c @ ('\\' | '"'))) => value.push(c),
                _ => return Err("a bad escape"),
            },
            c => value.push(c),
        }
    }
    Err("a label that does not end")
}

/// Buckets ascend to `+Inf`, which is the count.
fn histograms(page: &Page) -> Result<(), String> {
    for (name, _) in page.families.iter().filter(|(_, kind)| *kind == "histogram") {
        let mut series: BTreeMap<BTreeMap<String, String>, Vec<(f64, f64)>> = BTreeMap::new();
        for (_, labels, value) in page.samples.iter().filter(|(of, _, _)| *of == format!("{name}_bucket")) {
            let mut rest = labels.clone();
            let bound = rest.remove("le").and_then(|le| le.parse().ok()).ok_or("a bucket without a bound")?;
            series.entry(rest).or_default().push((bound, *value));
        }
        for (labels, buckets) in &series {
            let ascends = buckets.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1);
            let count =
                page.samples.iter().find(|(of, all, _)| *of == format!("{name}_count") && all == labels);
            let ends = buckets
                .last()
                .zip(count)
                .is_some_and(|((bound, last), (_, _, count))| bound.is_infinite() && last == count);
            if !ascends || !ends {
                return Err(format!("{name} {labels:?} is no histogram: {buckets:?}"));
            }
        }
    }
    Ok(())
}
