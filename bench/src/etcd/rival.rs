//! What etcd takes for writes, watches and reads.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::task::JoinSet;

use super::client::{EtcdClient, Watch};
use super::pace::{Alarm, Pace};
use super::work::{Latencies, VALUE_BYTES, decode, encode, key};
use crate::series::{Series, Unit};

/// The longest that a single write or watch event may take here.
const PATIENCE: Duration = Duration::from_secs(10);

/// Writes on a schedule through one member and watches through another.
///
/// # Errors
/// If a write fails or is not reported.
pub async fn paced_writes(
    writer: &EtcdClient,
    watcher: &EtcdClient,
    rate_per_s: u32,
    duration: Duration,
) -> Result<Latencies> {
    let key = key(0);
    let watch = watcher.watch(&key).await?;
    let pace = Pace::new(rate_per_s, duration);
    let watching = tokio::spawn(follow(watch, pace));
    let mut writing = JoinSet::new();
    let mut alarm = Alarm::start(pace);
    while let Some(write) = alarm.next().await {
        let (writer, key) = (writer.clone(), key.clone());
        writing.spawn(async move {
            writer.put(&key, &encode(write)).await?;
            Ok::<_, anyhow::Error>(pace.late(write, Instant::now()))
        });
    }
    let mut acknowledged = Series::new("etcd", Unit::Ns).with_rate(f64::from(rate_per_s));
    while let Some(done) = tokio::time::timeout(PATIENCE, writing.join_next()).await? {
        acknowledged.record_duration(done??);
    }
    let visible = tokio::time::timeout(PATIENCE, watching).await.context("writes were not reported")???;
    Ok(Latencies { acknowledged, visible: visible.with_rate(f64::from(rate_per_s)) })
}

async fn follow(mut watch: Watch, pace: Pace) -> Result<Series> {
    let mut series = Series::new("etcd", Unit::Ns);
    while series.count() < pace.count() {
        for value in watch.next().await? {
            let write = decode(&value).context("a value that nobody wrote")?;
            series.record_duration(pace.late(write, Instant::now()));
        }
    }
    Ok(series)
}

/// Writers that each have one write under way at a time, spread over connections; the rate of all of them, and the
/// latency of each write from its begin.
///
/// # Errors
/// If a write fails.
pub async fn concurrent_writes(clients: &[EtcdClient], writers: usize, duration: Duration) -> Result<Series> {
    let until = Instant::now() + duration;
    let mut running = JoinSet::new();
    for (number, client) in (0..writers).zip(clients.iter().cycle()) {
        let client = client.clone();
        running.spawn(async move {
            let mut series = Series::new("etcd", Unit::Ns);
            let mut write = number as u64;
            while Instant::now() < until {
                let started = Instant::now();
                client.put(&key(write), &encode(write)).await?;
                series.record_duration(started.elapsed());
                write += writers as u64;
            }
            Ok(series)
        });
    }
    together(running, duration).await
}

/// The same for reads of one member, which answers from what it has.
///
/// # Errors
/// If a read fails.
pub async fn concurrent_reads(clients: &[EtcdClient], readers: usize, duration: Duration) -> Result<Series> {
    let until = Instant::now() + duration;
    let mut running = JoinSet::new();
    for client in clients.iter().cycle().take(readers) {
        let client = client.clone();
        running.spawn(async move {
            let mut series = Series::new("etcd", Unit::Ns);
            while Instant::now() < until {
                let started = Instant::now();
                let found = client.read(&key(0)).await?.context("the key is not there")?;
                series.record_duration(started.elapsed());
                ensure!(found.value.len() == VALUE_BYTES, "a value of {} bytes", found.value.len());
            }
            Ok(series)
        });
    }
    together(running, duration).await
}

async fn together(mut running: JoinSet<Result<Series>>, duration: Duration) -> Result<Series> {
    let mut all = Series::new("etcd", Unit::Ns);
    let started = Instant::now();
    while let Some(series) = running.join_next().await {
        all.add(&series??);
    }
    // The last answers come after the time is up.
    let took = started.elapsed().max(duration);
    let rate_per_s = all.count() as f64 / took.as_secs_f64();
    Ok(all.with_rate(rate_per_s))
}
