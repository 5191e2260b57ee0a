//! The report: each figure of ours beside etcd's, with what each of them promises; and the table of the claim.

use std::fmt::Write;
use std::time::Duration;

use serde_json::{Value, json};

use super::Figures;
use super::fault::{Cut, Kill};
use super::outage::Tally;
use crate::budget::{Budget, Quantity};
use crate::report::{Report, Row, ratio};
use crate::series::{Series, Unit};
use crate::table;

const BENCH: &str = "etcd";

const VISIBLE: &str = "write -> visible on another host";
const WATCHED: &str = "write -> a sleeping watcher on another host";
const ACKNOWLEDGED: &str = "write acknowledged";
const CONCURRENT: &str = "64 writes under way";
const OFFERED: &str = "writes as offered: registers";
const COUNTED: &str = "writes as offered: counter increments";
const READ: &str = "a read";
const READS: &str = "reads back to back";
const KILLED: &str = "a host killed: no write accepted for";
const MAJORITY: &str = "a host cut off, side of two: no write for";
const MINORITY: &str = "a host cut off, side of one: no write for";
const JOINED: &str = "joined again: no write accepted for";
const EQUAL: &str = "joined again: until all are equal";

/// What a figure of each system promises.
const WRITE_PROMISE: [&str; 2] = [
    "applied and readable on the writer's host, in memory; sent to the others, not waited for",
    "committed: fsynced by a majority, in one order with all others",
];
const VISIBLE_PROMISE: [&str; 2] =
    ["in the memory of both hosts, merged", "a watch event of a committed write"];
const READ_PROMISE: [&str; 2] = [
    "what this host has heard of; shared memory, by handle",
    "what this member has (serializable), from a follower; one request",
];

/// All rows.
pub(crate) fn report(ours: Figures, etcd: Figures, about: Value) -> Report {
    let mut report = Report::new(
        BENCH,
        json!({
            "loop": "paced rows: open, 200 writes/s, latency from when a write was due; others: closed",
            "value_bytes": super::work::VALUE_BYTES,
            "network": "three namespaces on a kernel bridge, for both",
            "who_sleeps": "etcd and its clients sleep; our daemons, writer and reader poll, yielding, unless a row says otherwise",
            "etcd": about,
        }),
    );
    report.push_headline(
        pair(VISIBLE, ours.paced.visible, etcd.paced.visible.clone(), VISIBLE_PROMISE)
            .budget(Budget::at_least(Quantity::P99UnderRival, 100.0)),
    );
    if let Some(watched) = ours.watched {
        report.push(pair(WATCHED, watched, etcd.paced.visible, VISIBLE_PROMISE));
    }
    report.push(pair(ACKNOWLEDGED, ours.paced.acknowledged, etcd.paced.acknowledged, WRITE_PROMISE));
    report.push(pair(CONCURRENT, ours.concurrent, etcd.concurrent.clone(), WRITE_PROMISE));
    if let Some(offered) = ours.offered {
        report.push(pair(OFFERED, offered.registers, etcd.concurrent.clone(), WRITE_PROMISE));
        report.push(
            pair(COUNTED, offered.counters, etcd.concurrent, WRITE_PROMISE)
                .budget(Budget::at_least(Quantity::RateOverRival, 500.0)),
        );
    }
    report.push(pair(READ, ours.read, etcd.read, READ_PROMISE));
    report.push(pair(READS, ours.reads, etcd.reads, READ_PROMISE));
    if let (Some(ours), Some(etcd)) = (ours.faults, etcd.faults) {
        push_faults(&mut report, ours, etcd);
    }
    report
}

fn push_faults(report: &mut Report, ours: (Kill, Cut), etcd: (Kill, Cut)) {
    let ((our_kill, our_cut), (etcd_kill, etcd_cut)) = (ours, etcd);
    for (name, ours, etcd) in [
        (KILLED, our_kill.survivors, etcd_kill.survivors),
        (MAJORITY, our_cut.majority, etcd_cut.majority),
        (MINORITY, our_cut.minority, etcd_cut.minority),
        (JOINED, our_cut.after, etcd_cut.after),
    ] {
        let row = pair(name, once(ours.longest_gap), once(etcd.longest_gap), WRITE_PROMISE);
        let mut setup = row.setup.clone();
        setup["latticed_writes"] = counts(&ours);
        setup["etcd_writes"] = counts(&etcd);
        report.push(row.setup(setup));
    }
    let promise = [
        "every host has every write that any host had accepted",
        "the member that was cut off has every write that was committed",
    ];
    report.push(pair(EQUAL, once(our_cut.equal), once(etcd_cut.equal), promise));
}

fn pair(name: &str, ours: Series, etcd: Series, [our_promise, etcd_promise]: [&str; 2]) -> Row {
    Row::new(ours.named(name))
        .rival(etcd.named("etcd"))
        .setup(json!({ "latticed_promises": our_promise, "etcd_promises": etcd_promise }))
}

fn once(duration: Duration) -> Series {
    Series::single("", Unit::Ns, duration.as_nanos() as f64).with_rate(0.0)
}

fn counts(tally: &Tally) -> Value {
    json!({
        "offered": tally.offered,
        "accepted": tally.accepted,
        "refused": tally.refused,
        "timed_out": tally.timed_out,
    })
}

/// The claim, line by line, and below it what it does not say by itself; empty for other benches, and if this one was skipped.
#[must_use]
pub fn table(report: &Report) -> String {
    if report.bench != BENCH || report.rows.is_empty() {
        return String::new();
    }
    let row = |name: &str| report.rows.iter().find(|row| row.name() == name);
    let mut text = String::new();
    // Writing to a String can't fail.
    let mut line = |what: &str, values: Option<[String; 3]>| {
        if let Some([latticed, etcd, times]) = values {
            let _ = writeln!(text, "  {what:<58} {latticed:>22} {etcd:>22} {times:>8}");
        }
    };
    line("the claim", Some(["latticed".into(), "etcd".into(), "times".into()]));
    line("p99 write latency, 200/s", row(ACKNOWLEDGED).and_then(p99));
    line("p99 write latency, 64 under way", row(CONCURRENT).and_then(p99));
    line("p99 write -> visible on another host", row(VISIBLE).and_then(p99));
    line("  the same, to a watcher that sleeps", row(WATCHED).and_then(p99));
    line("writes/s, 64 under way", row(CONCURRENT).and_then(rate));
    line("writes/s as offered, registers (etcd: 64 under way)", row(OFFERED).and_then(rate));
    line("writes/s as offered, counters (etcd: 64 under way)", row(COUNTED).and_then(rate));
    line("p99 read", row(READ).and_then(p99));
    line("reads/s, one reader (etcd: 64 readers)", row(READS).and_then(rate));
    for (what, name) in [
        ("a host killed (etcd: its leader)", KILLED),
        ("a host cut off (its leader), side of two", MAJORITY),
        ("a host cut off (its leader), side of one", MINORITY),
        ("joined again", JOINED),
    ] {
        line(&format!("{what}: longest silence"), row(name).and_then(silence));
        line("  accepted of offered; refused; not answered in 1 s", row(name).and_then(written));
    }
    line("joined again: until all are equal", row(EQUAL).and_then(silence));
    text.push_str(NOTE);
    text
}

const NOTE: &str = "  Not the same promise: an acknowledged write of etcd is fsynced by a majority and in one order with all others; ours is in
  the memory of the writer's host, readable there, and on its way. etcd sleeps when idle, our daemons poll, yielding.
";

fn p99(row: &Row) -> Option<[String; 3]> {
    let (ours, etcd) = (row.series.numbers().p99, row.rivals.first()?.numbers().p99);
    Some([table::amount(Unit::Ns, ours), table::amount(Unit::Ns, etcd), times(etcd, ours)])
}

fn rate(row: &Row) -> Option<[String; 3]> {
    let (ours, etcd) = (row.series.rate_per_s(), row.rivals.first()?.rate_per_s());
    Some([table::amount(Unit::Rate(""), ours), table::amount(Unit::Rate(""), etcd), times(ours, etcd)])
}

fn silence(row: &Row) -> Option<[String; 3]> {
    let (ours, etcd) = (row.series.numbers().p50, row.rivals.first()?.numbers().p50);
    Some([table::amount(Unit::Ns, ours), table::amount(Unit::Ns, etcd), times(etcd, ours)])
}

fn times(better: f64, than: f64) -> String {
    format!("{}x", table::times(ratio(better, than)))
}

fn written(row: &Row) -> Option<[String; 3]> {
    let text = |counts: &Value| {
        let count = |name: &str| counts[name].as_u64();
        Some(format!(
            "{} of {}; {}; {}",
            count("accepted")?,
            count("offered")?,
            count("refused")?,
            count("timed_out")?
        ))
    };
    Some([text(&row.setup["latticed_writes"])?, text(&row.setup["etcd_writes"])?, String::new()])
}

#[cfg(test)]
mod tests {
    use super::super::Offered;
    use super::super::work::Latencies;
    use super::*;

    fn series(ns: f64, rate_per_s: f64) -> Series {
        Series::single("", Unit::Ns, ns).with_rate(rate_per_s)
    }

    fn figures(ns: f64, rate_per_s: f64, gap_ms: u64) -> Figures {
        let series = || series(ns, rate_per_s);
        let tally = Tally {
            offered: 400,
            accepted: 300,
            refused: 1,
            timed_out: 99,
            longest_gap: Duration::from_millis(gap_ms),
        };
        let cut =
            Cut { majority: tally, minority: tally, after: tally, equal: Duration::from_millis(gap_ms) };
        Figures {
            paced: Latencies { acknowledged: series(), visible: series() },
            watched: Some(series()),
            concurrent: series(),
            offered: Some(Offered { registers: series(), counters: series() }),
            read: series(),
            reads: series(),
            faults: Some((Kill { survivors: tally }, cut)),
        }
    }

    #[test]
    fn ratios_say_how_many_times_better_ours_is() {
        let report = report(figures(20_000.0, 2e6, 12), figures(4e6, 2000.0, 1_800), json!({}));
        let text = table(&report);
        let line = |what: &str| {
            let found = text.lines().find(|line| line.trim_start().starts_with(what));
            found.unwrap_or_else(|| panic!("no {what} in {text}")).to_owned()
        };
        assert!(line("p99 write -> visible").ends_with("20.0 µs                4.00 ms     200x"), "{text}");
        assert!(line("writes/s as offered").ends_with("1000x"), "{text}");
        assert!(
            line("a host killed").contains("12.0 ms") && line("a host killed").contains("1.80 s"),
            "{text}"
        );
        assert!(line("accepted of offered").contains("300 of 400; 1; 99"), "{text}");
    }

    #[test]
    fn the_budgets_are_those_of_the_claim() {
        let judge = |ours, etcd: Figures| {
            let report = report(ours, etcd, json!({}));
            let judged: Vec<bool> = report
                .rows
                .iter()
                .flat_map(|row| row.budgets.iter().map(|budget| budget.judge(row).met).collect::<Vec<_>>())
                .collect();
            judged
        };
        assert_eq!(judge(figures(40_000.0, 1e6, 1), figures(4e6, 2000.0, 1)), [true, true]);
        assert_eq!(judge(figures(41_000.0, 0.9e6, 1), figures(4e6, 2000.0, 1)), [false, false]);
    }

    #[test]
    fn another_bench_claims_nothing() {
        let mut report = Report::new("read", json!({}));
        report.push(Row::new(series(1.0, 1.0)));
        assert_eq!(table(&report), "");
    }

    #[test]
    fn a_skipped_bench_claims_nothing() {
        assert_eq!(table(&Report::skipped(BENCH, "not installed")), "");
    }
}
