//! Seeds of the configuration target: the reference, the least that is a configuration, one with everything set, and some
//! mistakes.

use super::Seed;

const REFERENCE: &str = include_str!("../../../../config/latticed.toml");

const LEAST: &str = "[cluster]\nname = \"c\"\n[node]\nid = 1\n[network]\naddress = \"10.77.0.1\"\n";

const FULL: &str = "[cluster]\nname = \"c\"\nshards = 8\n[node]\nid = 3\nname = \"host-c\"\n[network]\naddress = \"fd00::3\"\n\
    interface = \"veth\\\"0\"\nbase_port = 9000\nport = \"xdp\"\n[workers]\ncores = [1, 0x0]\nidle = \"busy\"\n\
    [paths]\ndirectory = '/run/l'\n[storage]\nmode = \"disk\"\nsync = \"always\"\ndirectory = \"/d\"\n[log]\nfilter = \"warn,lattice_control=debug\"\n[metrics]\nlisten = \"127.0.0.1:9464\"\n[limits]\nmax_clients = 7\nlog_records = 64\n[timers]\nheartbeat_ms = 20\n\
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

/// One mistake each, behind the least that is a configuration: whoever lets it pass has a configuration that can't be run.
const SINGLE: [(&str, &str); 17] = [
    ("shards", "shards = 3\n"),
    ("log-records", "[limits]\nlog_records = 1000\n"),
    ("log-bytes", "[limits]\nlog_bytes = 1000\n"),
    ("log-kept", "[limits]\nlog_bytes = 100000\n"),
    ("storage", "[storage]\ndirectory = \"relative\"\n"),
    ("log-filter", "[log]\nfilter = \"info,x=\"\n"),
    ("burst", "[limits]\nmax_burst_ops = 7\n"),
    (
        "actors",
        "[limits]\nmax_actors = 2\n[[peers]]\nid = 2\naddress = \"10.77.0.2\"\n[[peers]]\nid = 3\naddress = \"10.77.0.3\"\n",
    ),
    ("submission-slots", "[limits]\nsubmission_slots = 33\n"),
    ("completion-slots", "[limits]\ncompletion_slots = 16\n"),
    ("changes", "[limits]\nchange_ring_entries = 100\n"),
    ("cells", "[limits]\nsegment_cells_per_worker = 0\n"),
    ("extents", "[limits]\nsegment_extent_bytes_per_worker = 100\n"),
    ("cores", "[workers]\ncores = [0, 1, 2, 3, 4]\n"),
    ("directory", "[paths]\ndirectory = \"relative\"\n"),
    ("own-id", "[[peers]]\nid = 1\naddress = \"10.77.0.2\"\n"),
    (
        "same-address",
        "[[peers]]\nid = 2\naddress = \"10.77.0.2\"\n[[peers]]\nid = 3\naddress = \"10.77.0.2\"\n",
    ),
];

fn single(&(name, lines): &(&str, &str)) -> Seed {
    let text = match name {
        "shards" => LEAST.replacen('\n', &format!("\n{lines}"), 1),
        _ => format!("{LEAST}{lines}"),
    };
    Seed::new("config", format!("one-mistake-{name}"), text)
}

pub(super) fn seeds() -> Vec<Seed> {
    let mut seeds: Vec<Seed> = SINGLE.iter().map(single).collect();
    seeds.extend([
        Seed::new("config", "reference", reference()),
        Seed::new("config", "least", LEAST),
        Seed::new("config", "full", FULL),
        Seed::new("config", "mistakes", MISTAKES),
        Seed::new("config", "not-toml", "[cluster\nname = \"x\n= 1\n"),
        Seed::new("config", "not-text", b"# \n\xFF\n".as_slice()),
    ]);
    seeds
}
