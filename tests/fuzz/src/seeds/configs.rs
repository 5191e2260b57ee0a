//! Seeds of the configuration target: the reference, the least that is a configuration, one with everything set, and some
//! mistakes.

use super::Seed;

const REFERENCE: &str = include_str!("../../../../config/latticed.toml");

const LEAST: &str = "[cluster]\nname = \"c\"\n[node]\nid = 1\n[network]\naddress = \"10.77.0.1\"\n";

const FULL: &str = "[cluster]\nname = \"c\"\nshards = 8\n[node]\nid = 3\nname = \"host-c\"\n[network]\naddress = \"fd00::3\"\n\
    interface = \"veth\\\"0\"\nbase_port = 9000\nport = \"xdp\"\n[workers]\ncores = [1, 0x0]\nidle = \"busy\"\n\
    [paths]\ndirectory = '/run/l'\n[limits]\nmax_clients = 7\nlog_records = 64\n[timers]\nheartbeat_ms = 20\n\
    [[peers]]\nid = 1\naddress = \"fd00::1\"\n[[peers]]\nid = 2\naddress = \"fd00::2\"\n";

const MISTAKES: &str = "[cluster]\nname = \"\\u001b[2J\"\nshards = 3\n[node]\nid = 65535\nnmae = \"x\"\n\"a\\nb\" = 1\n\
    [network]\naddress = \"127.0.0.1\"\nbase_port = 65535\n[workers]\ncores = [0, 0]\nidle = \"bsy\"\n\
    [timers]\nhello_ms = 1.5\nheartbeat_ms = 1979-05-27\n[[peers]]\nid = 1\naddress = \"fe80::1\"\n[peers.x]\n";

/// The reference without its comments: what is left can be broken in fewer steps.
fn reference() -> String {
    let line = |line: &str| line.split('#').next().unwrap_or_default().trim_end().to_owned();
    let lines = REFERENCE.lines().map(line).filter(|line| !line.is_empty());
    lines.map(|line| line + "\n").collect()
}

pub(super) fn seeds() -> Vec<Seed> {
    vec![
        Seed::new("config", "reference", reference()),
        Seed::new("config", "least", LEAST),
        Seed::new("config", "full", FULL),
        Seed::new("config", "mistakes", MISTAKES),
        Seed::new("config", "not-toml", "[cluster\nname = \"x\n= 1\n"),
        Seed::new("config", "not-text", b"# \n\xFF\n".as_slice()),
    ]
}
