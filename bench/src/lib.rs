//! Latency and throughput benches with HDR histograms.
