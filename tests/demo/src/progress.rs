//! What the demo says while it runs, and how it is interrupted.
//!
//! Ctrl-C ends it at the next step or look, so that daemons, namespaces and files go with it; a second one at once.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// The exit status of a program that SIGINT ended, as shells report it.
const INTERRUPTED: i32 = 130;

/// The demo's voice.
pub struct Progress {
    start: Instant,
    interrupted: Arc<AtomicBool>,
}

impl Progress {
    /// Starts the clock and listens for interruptions.
    pub fn start() -> Result<Progress> {
        let interrupted = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first signal finds the flag unset and sets it, the second finds it set and exits.
            flag::register_conditional_shutdown(signal, INTERRUPTED, interrupted.clone())?;
            flag::register(signal, interrupted.clone())?;
        }
        Ok(Progress { start: Instant::now(), interrupted })
    }

    /// Begins a step. Fails when the demo was interrupted.
    pub fn step(&self, what: &str) -> Result<()> {
        println!("\n[{:5.1} s] {what}", self.start.elapsed().as_secs_f64());
        self.check()
    }

    /// Says something within a step.
    pub fn note(&self, what: &str) {
        println!("          {what}");
        // A pipe that nobody reads any more is no reason to stop.
        let _ = std::io::stdout().flush();
    }

    /// Lets time pass: something is meant to last so long. Fails when the demo was interrupted.
    pub fn pass(&self, duration: Duration) -> Result<()> {
        std::thread::sleep(duration);
        self.check()
    }

    /// Fails when the demo was interrupted.
    fn check(&self) -> Result<()> {
        // Relaxed: a lone flag, nothing is read behind it.
        if self.interrupted.load(Ordering::Relaxed) {
            bail!("interrupted");
        }
        Ok(())
    }
}
