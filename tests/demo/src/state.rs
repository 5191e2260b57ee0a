//! What applications see on one host, read through the client library at that host's daemon.

use anyhow::{Result, ensure};
use lattice_client::Client;
use serde::Serialize;

/// Requests that all rate limiters have counted.
pub const REQUESTS: &str = "demo/requests";
/// Flipped while all is well.
pub const KILL_SWITCH: &str = "demo/kill-switch";
/// Flipped on the host that is cut off.
pub const MAINTENANCE: &str = "demo/maintenance";
/// Set on one host while all is well, and on both sides of the partition.
pub const SETTING: &str = "demo/setting";
/// The live instances' names.
pub const INSTANCES: &str = "demo/instances";

/// The demo's state as one host shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Snapshot {
    /// Sum of [`REQUESTS`].
    pub requests: i64,
    /// Whether [`KILL_SWITCH`] is on.
    pub kill_switch: bool,
    /// Whether [`MAINTENANCE`] is on.
    pub maintenance: bool,
    /// The value of [`SETTING`].
    pub setting: String,
    /// The members of [`INSTANCES`], in order.
    pub instances: Vec<String>,
}

impl Snapshot {
    /// Reads it all from the segment of the client's daemon.
    pub fn read(client: &Client) -> Result<Snapshot> {
        let setting = client.register(SETTING)?.get()?.unwrap_or_default();
        let instances = client.set(INSTANCES)?.members()?;
        Ok(Snapshot {
            requests: client.counter(REQUESTS)?.get()?,
            kill_switch: client.flag(KILL_SWITCH)?.get()?,
            maintenance: client.flag(MAINTENANCE)?.get()?,
            setting: String::from_utf8_lossy(&setting).into_owned(),
            instances: instances.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect(),
        })
    }
}

/// What all hosts must show at the end.
#[derive(Clone, Debug)]
pub struct Expected {
    /// All acknowledged additions of all rate limiters.
    pub requests: i64,
    /// Either of the values that were set during the partition may have won, but the same everywhere.
    pub settings: [String; 2],
    /// All instances, in order.
    pub instances: Vec<String>,
}

impl Expected {
    /// Fails with the first thing that is not as expected.
    pub fn check(&self, snapshots: &[Snapshot]) -> Result<()> {
        for snapshot in snapshots {
            let Snapshot { requests, kill_switch, maintenance, setting, instances } = snapshot;
            ensure!(
                *requests == self.requests,
                "a host counts {requests} requests, {} were added",
                self.requests
            );
            ensure!(*kill_switch, "a host does not see the kill switch");
            ensure!(
                *maintenance,
                "a host does not see the flag that was flipped on the host that was cut off"
            );
            ensure!(
                self.settings.contains(setting),
                "a host shows the setting {setting:?}, which lost or never was"
            );
            ensure!(*instances == self.instances, "a host lists {instances:?}, not {:?}", self.instances);
            ensure!(snapshot == &snapshots[0], "hosts differ: {snapshot:?}, {:?}", snapshots[0]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn right() -> (Expected, Snapshot) {
        let instances = vec!["host-a".to_owned(), "host-b".to_owned()];
        let expected =
            Expected { requests: 7, settings: ["x".into(), "y".into()], instances: instances.clone() };
        let snapshot =
            Snapshot { requests: 7, kill_switch: true, maintenance: true, setting: "y".into(), instances };
        (expected, snapshot)
    }

    #[test]
    fn equal_hosts_with_the_right_values_pass() {
        let (expected, snapshot) = right();
        expected.check(&[snapshot.clone(), snapshot]).unwrap();
    }

    #[test]
    fn each_wrong_value_fails() {
        let (expected, snapshot) = right();
        let wrong = [
            Snapshot { requests: 8, ..snapshot.clone() },
            Snapshot { kill_switch: false, ..snapshot.clone() },
            Snapshot { maintenance: false, ..snapshot.clone() },
            Snapshot { setting: "z".into(), ..snapshot.clone() },
            // A setting that may have won, but not on this host alone.
            Snapshot { setting: "x".into(), ..snapshot.clone() },
            Snapshot { instances: vec!["host-a".into()], ..snapshot.clone() },
        ];
        for other in wrong {
            assert!(expected.check(&[snapshot.clone(), other.clone()]).is_err(), "{other:?}");
        }
    }
}
