use super::schema::{Config, Idle, PortChoice, StorageMode, SyncChoice, Undeclared};

const REFERENCE: &str = include_str!("../../../config/latticed.toml");

/// The keys without a default, as the reference has them.
const MINIMAL: &str = "[cluster]\nname = \"demo\"\n[node]\nid = 1\n[network]\naddress = \"10.77.0.1\"\n";

/// The problems of a text as `line: key: found; expected`.
fn problems(text: &str) -> Vec<String> {
    match Config::parse(text, "test.toml") {
        Ok(config) => panic!("accepted: {config:?}"),
        Err(errors) => errors.problems.iter().map(|p| format!("{}: {p}", p.line)).collect(),
    }
}

/// Asserts that a text has exactly one problem that begins like this.
#[track_caller]
fn assert_problem(text: &str, beginning: &str) {
    let problems = problems(text);
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].starts_with(beginning), "{:?} does not begin with {beginning:?}", problems[0]);
}

/// A good file with lines added at its end; their first is line 7.
fn with(lines: &str) -> String {
    format!("{MINIMAL}{lines}\n")
}

#[test]
fn reference_equals_the_defaults() {
    let reference = Config::parse(REFERENCE, "config/latticed.toml").expect("the reference is valid");
    let minimal = Config::parse(MINIMAL, "minimal").expect("the minimal file is valid");
    assert_eq!(reference, minimal);
}

#[test]
fn reference_names_every_key() {
    // The reader lists the keys that it knows when it meets one that is like none of them.
    let extra = "zzzzzzzz = 1\n";
    for section in [
        "cluster", "node", "network", "workers", "paths", "storage", "process", "log", "metrics", "keys",
        "limits", "timers",
    ] {
        let text = REFERENCE.replace(&format!("\n[{section}]"), &format!("\n[{section}]\n{extra}#"));
        let problem = problems(&text).remove(0);
        let known = problem.rsplit("known here: ").next().unwrap_or_default();
        for key in known.split(", ") {
            let (value, comment) = (format!("\n{key} = "), format!("\n# {key} = "));
            assert!(REFERENCE.contains(&value) || REFERENCE.contains(&comment), "[{section}] lacks {key}");
        }
    }
}

#[test]
fn a_full_file_is_read() {
    let text = "[cluster]\nname = \"c\"\nshards = 8\n[node]\nid = 3\nname = \"host-c\"\n[network]\naddress = \"fd00::3\"\n\
                interface = \"veth0\"\nbase_port = 9000\nport = \"xdp\"\n[workers]\ncores = [1, 0]\nidle = \"busy\"\n\
                [limits]\nmax_clients = 7\n[timers]\nheartbeat_ms = 20\n[[peers]]\nid = 1\naddress = \"fd00::1\"\n";
    let config = Config::parse(text, "full").expect("valid");
    assert_eq!((config.cluster.shards, config.node.id, config.udp_port(7)), (8, 3, 9007));
    assert_eq!((config.network.port, config.workers.idle), (PortChoice::Xdp, Idle::Busy));
    assert_eq!(config.network.interface.as_deref(), Some("veth0"));
    assert_eq!(config.workers.cores, [1, 0]);
    assert_eq!((config.limits.max_clients, config.timers.heartbeat_ms), (7, 20));
    assert_eq!(config.paths.socket().to_str(), Some("/dev/shm/latticed/host-c/daemon.sock"));
    assert_eq!(config.peers.len(), 1);
}

#[test]
fn storage_is_on_disk_unless_it_is_said_otherwise() {
    let config = Config::parse(&with("[limits]\nlog_bytes = 131072"), "disk").expect("valid");
    assert_eq!((config.storage.mode, config.storage.sync), (StorageMode::Disk, SyncChoice::Interval));
    assert_eq!(config.storage.directory.to_str(), Some("/var/lib/latticed/node-1"));
    let text = "[storage]\nmode = \"memory\"\nsync = \"never\"\n[limits]\nlog_bytes = 100000";
    let config = Config::parse(&with(text), "memory").expect("any size does in memory");
    assert_eq!((config.storage.mode, config.storage.sync), (StorageMode::Memory, SyncChoice::Never));
    assert_eq!(Config::dev("/d".into(), 7400).storage.mode, StorageMode::Memory);
}

#[test]
fn namespaces_say_who_may_write_what() {
    let text = with(
        "[keys]\nundeclared = \"refuse\"\n[[namespaces]]\nname = \"limits\"\nkind = \"counter\"\nmax_keys = 7\n\
         write = [\"user:proxy\", \"group:100\"]\n[[namespaces]]\nname = \"*\"\nkind = \"flag\"\nwins = \"disable\"",
    );
    let config = Config::parse(&text, "namespaces").expect("valid");
    assert_eq!(config.keys.undeclared, Undeclared::Refuse);
    let shown: Vec<_> = config
        .namespaces
        .iter()
        .map(|it| (it.name.as_str(), it.only_kind(), it.max_keys, it.write.as_ref().map(ToString::to_string)))
        .collect();
    let list = Some("user:proxy, group:100".to_owned());
    assert_eq!(shown[0], ("limits", Some(lattice_crdt::Kind::Counter), Some(7), list));
    assert_eq!(shown[1], ("*", Some(lattice_crdt::Kind::FlagDisableWins), None, None));

    let wrong = |lines: &str, beginning: &str| {
        assert_problem(&with(&format!("[[namespaces]]\nname = \"a\"\n{lines}")), beginning);
    };
    wrong("kind = \"flags\"", "9: namespaces[0].kind: is \"flags\"; expected one of");
    wrong("wins = \"enable\"", "9: namespaces[0].wins: says who wins, but its keys are not flags");
    wrong(
        "write = [\"proxy\"]",
        "9: namespaces[0].write: holds an item that is \"proxy\"; expected a list of users",
    );
    wrong("write = \"user:proxy\"", "9: namespaces[0].write: is \"user:proxy\"; expected a list of users");
    wrong("read = []", "9: namespaces[0].read: can't be: the segment is one file");
    wrong("max_kes = 1", "9: namespaces[0].max_kes: there is no such key; did you mean `max_keys`?");
    wrong("[[namespaces]]\nname = \"a\"", "10: namespaces[1].name: is \"a\", which an earlier one has");
    assert_problem(
        &with("[[namespaces]]\nkind = \"set\""),
        "7: namespaces[0].name: is missing; expected what stands",
    );
    assert_problem(
        &with("[[namespaces]]\nname = \"a/b\""),
        "8: namespaces[0].name: is \"a/b\"; expected what stands",
    );
    let many: String = (0..62).map(|n| format!("[[namespaces]]\nname = \"n{n}\"\n")).collect();
    assert_problem(&with(&many), "7: namespaces: there are 62; expected at most 61");
}

#[test]
fn the_process_can_be_a_user() {
    let config =
        Config::parse(&with("[process]\nuser = \"latticed\"\nseccomp = false"), "process").expect("valid");
    assert_eq!((config.process.user.as_deref(), config.process.seccomp), (Some("latticed"), false));
    assert_problem(
        &with("[process]\ngroup = \"g\""),
        "8: process.group: names a group, but there is no process.user",
    );
    assert_problem(&with("[process]\nseccomp = 1"), "8: process.seccomp: is 1; expected true or false");
    assert_problem(
        &with("[process]\nuser = \"a b\""),
        "8: process.user: is \"a b\"; expected a user of this host",
    );
}

#[test]
fn members_are_found_by_seeds_where_they_can_prove_who_they_are() {
    let text = MINIMAL.replace("\"demo\"", "\"demo\"\nseeds = [\"10.77.0.1\", \"10.77.0.2:99\"]");
    let text = text + "control_port = 7000\n[security]\ndirectory = \"/etc/latticed/a\"\n";
    let config = Config::parse(&text, "seeds").expect("valid");
    let seeds: Vec<_> = config.cluster.seeds.iter().map(ToString::to_string).collect();
    assert_eq!(seeds, ["10.77.0.1:7000", "10.77.0.2:99"]);
    let security = config.security.as_ref().expect("there is one");
    assert_eq!(security.directory.to_str(), Some("/etc/latticed/a"));
    assert_eq!((security.seal, security.key_life_s), (true, 600), "frames are sealed by default");
    let unsealed = format!("{text}seal = false\nkey_life_s = 7\n");
    let security = Config::parse(&unsealed, "unsealed").expect("valid").security.expect("there is one");
    assert_eq!((security.seal, security.key_life_s), (false, 7));
    assert_problem(&format!("{text}seal = 1\n"), "11: security.seal: is 1; expected true or false");
    assert_problem(&with("[security]\nseal = true"), "7: security.directory: is missing; expected");

    assert_problem(
        &text.replace("[security]\ndirectory = \"/etc/latticed/a\"\n", ""),
        "3: cluster.seeds: names seeds",
    );
    let told = problems(&text.replace("directory =", "directroy ="));
    assert!(told[0].starts_with("9: security.directory: is missing; expected an absolute path"), "{told:?}");
    assert_problem(
        &text.replace("/etc", "etc"),
        "10: security.directory: is \"etc/latticed/a\"; expected an absolute",
    );
    assert_problem(&text.replace("7000", "7403"), "8: network.control_port: is 7403, which is a shard's");
    assert_problem(
        &text.replace("10.77.0.2:99", "[fd00::1]:99"),
        "3: cluster.seeds: names [fd00::1]:99, but",
    );
    for seed in ["host-b", "10.77.0.2:0", "0.0.0.0", "10.77.0.2:70000"] {
        let text = text.replace("10.77.0.2:99", seed);
        assert_problem(&text, "3: cluster.seeds: holds an item that is no address; expected");
    }
    let peer = format!("{text}[[peers]]\nid = 2\naddress = \"10.77.0.2\"\n");
    assert_problem(&peer, "11: peers: are listed, but with [security]");
}

#[test]
fn the_cluster_tag_is_of_the_name() {
    let config = Config::parse(MINIMAL, "minimal").expect("valid");
    let hash = xxhash_rust::xxh64::xxh64(b"demo", 0);
    assert_eq!(config.cluster_tag().to_le_bytes(), hash.to_le_bytes()[..4]);
}

#[test]
fn each_mistake_is_told_with_its_line() {
    let cases = [
        ("[limits]\nmax_keys = 0", "8: limits.max_keys: is 0; expected an integer from 1 to 16777216"),
        ("[limits]\nmax_keys = -1", "8: limits.max_keys: is -1; expected an integer"),
        (
            "[limits]\nmax_keys = 99999999999999999999",
            "8: limits.max_keys: is 99999999999999999999; expected",
        ),
        ("[limits]\nmax_keys = \"many\"", "8: limits.max_keys: is \"many\"; expected an integer"),
        ("[limits]\nlog_records = 1000", "8: limits.log_records: is 1000; expected a power of two"),
        (
            "[workers]\nidle = \"yeild\"",
            "8: workers.idle: is \"yeild\"; expected one of \"busy\", \"yield\", \"sleep\"; did you mean \"yield\"?",
        ),
        ("[workers]\nidle = true", "8: workers.idle: is true; expected one of"),
        ("[workers]\ncores = []", "8: workers.cores: is a list of 0; expected a list of 1 to 64"),
        ("[workers]\ncores = [0,\n 0]", "9: workers.cores: names 0 twice; expected"),
        ("[workers]\ncores = [0, 1.5]", "8: workers.cores: holds an item that is 1.5; expected"),
        ("[workers]\ncores = 1", "8: workers.cores: is 1; expected a list"),
        ("[workers]\ncores = [0,1,2,3,4]", "8: workers.cores: names 5 cores, but there are 4 shards"),
        (
            "[paths]\ndirectory = \"relative\"",
            "8: paths.directory: is \"relative\"; expected an absolute path",
        ),
        (
            "[paths]\ndirectory = \"/a b\"",
            "8: paths.directory: is \"/a b\"; expected an absolute path without white",
        ),
        (
            "[storage]\nmode = \"dsik\"",
            "8: storage.mode: is \"dsik\"; expected one of \"disk\", \"memory\"; did you mean \"disk\"?",
        ),
        ("[storage]\nsync = \"allways\"", "8: storage.sync: is \"allways\"; expected one of \"interval\","),
        ("[storage]\nsync_interval_ms = 0", "8: storage.sync_interval_ms: is 0; expected an integer from 1"),
        ("[storage]\nsnapshot_interval_s = 604801", "8: storage.snapshot_interval_s: is 604801; expected"),
        ("[storage]\ndirectory = \"data\"", "8: storage.directory: is \"data\"; expected an absolute path"),
        (
            "[storage]\ndirectoy = \"/d\"",
            "8: storage.directoy: there is no such key; did you mean `directory`?",
        ),
        (
            "[paths]\ndirectory = \"/d\"\n[storage]\ndirectory = \"/d\"",
            "10: storage.directory: is /d, where paths.directory keeps what ends with the boot; expected",
        ),
        (
            "[limits]\nlog_bytes = 100000",
            "8: limits.log_bytes: is 100000, and a log that is kept is as large as a power of two; expected 131072, or",
        ),
        ("[timers]\nheartbeat_ms = 600", "7: timers.peer_timeout_ms: is 1000, with a heartbeat each 600 ms"),
        (
            "[timers]\nmin_rto_ms = 300",
            "7: timers.max_rto_ms: is 200, below timers.min_rto_ms, 300; expected at least 300",
        ),
        ("[log]\nfilter = \"loud\"", "8: log.filter: is \"loud\"; expected a level (\"error\", \"warn\""),
        ("[log]\nfilter = \"info,a=\"", "8: log.filter: is \"info,a=\"; expected a level"),
        (
            "[metrics]\nlisten = \"localhost\"",
            "8: metrics.listen: is \"localhost\"; expected an address of this host and a TCP port",
        ),
        ("[[peers]]\nid = 2", "7: peers[0].address: is missing; expected the IPv4 or IPv6 address"),
        ("[[peers]]\nid = 1\naddress = \"10.77.0.2\"", "8: peers[0].id: is 1, this node's own id; expected"),
        (
            "[[peers]]\nid = 2\naddress = \"10.77.0.1\"",
            "9: peers[0].address: is 10.77.0.1, this node's own address",
        ),
        (
            "[[peers]]\nid = 2\naddress = \"fd00::2\"",
            "9: peers[0].address: is fd00::2, but this node's network.address",
        ),
        (
            "[[peers]]\nid = 65535\naddress = \"10.77.0.2\"",
            "8: peers[0].id: is 65535; expected an integer from 1 to 65534",
        ),
        (
            "[[peers]]\nid = 2\naddress = \"host-b\"",
            "9: peers[0].address: is \"host-b\"; expected the IPv4 or IPv6",
        ),
        (
            "[[peers]]\nid = 2\naddress = \"0.0.0.0\"",
            "9: peers[0].address: is \"0.0.0.0\"; expected the IPv4 or IPv6",
        ),
        (
            "[[peers]]\nid = 2\naddress = \"10.77.0.2\"\nadress = 1",
            "10: peers[0].adress: there is no such key; did you mean `address`?",
        ),
        ("[peers]\nid = 2", "7: peers: is a table; expected tables, each a line [[peers]]"),
        ("[worker]\ncores = [0]", "7: worker: there is no such key; did you mean `workers`?"),
        ("[zebra]", "7: zebra: there is no such key; known here: cluster, node"),
    ];
    for (lines, beginning) in cases {
        assert_problem(&with(lines), beginning);
    }
}

#[test]
fn mistakes_in_the_required_sections_are_told_with_their_line() {
    let cases = [
        ("name = \"demo\"", "name = \"a/b\"", "2: cluster.name: is \"a/b\"; expected 1 to 63 letters"),
        ("name = \"demo\"", "shards = 4", "1: cluster.name: is missing; expected the cluster's name"),
        (
            "name = \"demo\"",
            "name = \"demo\"\nshards = 128",
            "3: cluster.shards: is 128; expected a power of two from 1 to 64",
        ),
        ("id = 1", "id = 0", "4: node.id: is 0; expected an integer from 1 to 65534"),
        ("id = 1", "di = 1\nid = 1", "4: node.di: there is no such key; "),
        (
            "address = \"10.77.0.1\"",
            "address = \"10.77.0.1/24\"",
            "6: network.address: is \"10.77.0.1/24\"; expected",
        ),
        (
            "address = \"10.77.0.1\"",
            "address = \"10.77.0.1\"\nbase_port = 65535",
            "7: network.base_port: is 65535, but 4 shards take 4 ports",
        ),
        (
            "address = \"10.77.0.1\"",
            "address = \"10.77.0.1\"\nport = \"dpdk\"",
            "7: network.port: is \"dpdk\"; expected one of \"auto\"",
        ),
        (
            "address = \"10.77.0.1\"",
            "address = \"10.77.0.1\"\nadress = 1",
            "7: network.adress: there is no such key; did you mean `address`?",
        ),
    ];
    for (from, to, beginning) in cases {
        assert_problem(&MINIMAL.replace(from, to), beginning);
    }
}

#[test]
fn peers_must_differ() {
    let peer = "[[peers]]\nid = 2\naddress = \"10.77.0.2\"\n";
    let told = problems(&with(&format!("{peer}{peer}")));
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].starts_with("11: peers[1].id: is 2, which an earlier peer has"), "{told:?}");
    assert!(told[1].starts_with("12: peers[1].address: is 10.77.0.2, which an earlier peer has"), "{told:?}");
}

#[test]
fn all_mistakes_are_told_at_once_and_in_order() {
    let text = "[node]\nid = 70000\n[network]\naddress = 5\nbase_prot = 1\n[workers]\nidle = \"lazy\"\n";
    let told = problems(text);
    let keys: Vec<_> = told.iter().map(|p| p.split(": ").take(2).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(
        keys,
        ["1 cluster.name", "2 node.id", "4 network.address", "5 network.base_prot", "7 workers.idle"]
    );
}

#[test]
fn broken_syntax_is_told_with_its_line() {
    for text in [with("[workers\ncores = [0]"), with("x ="), with("[node]\nid = 2")] {
        let told = problems(&text);
        assert!(told.iter().any(|p| p.contains("not TOML") && p.starts_with(['7', '8'])), "{told:?}");
    }
}

#[test]
fn the_message_names_file_line_and_key() {
    let errors = Config::parse(&with("[limits]\nmax_keys = 0"), "my.toml").expect_err("wrong");
    let text = errors.to_string();
    assert!(text.starts_with("my.toml:8: limits.max_keys: is 0; expected"), "{text}");
    assert!(text.ends_with("my.toml: 1 error"), "{text}");
}

#[test]
fn any_bytes_are_answered_not_panicked_on() {
    // Every prefix of the reference, and the reference with each line dropped or doubled.
    for end in (0..REFERENCE.len()).filter(|&end| REFERENCE.is_char_boundary(end)).step_by(7) {
        let _ = Config::parse(&REFERENCE[..end], "prefix");
    }
    let lines: Vec<_> = REFERENCE.lines().collect();
    for index in 0..lines.len() {
        let mut doubled = lines.clone();
        doubled.insert(index, lines[index]);
        let _ = Config::parse(&doubled.join("\n"), "doubled");
    }
}

#[test]
fn addresses_that_no_peer_could_reach_are_refused() {
    for address in ["::ffff:10.77.0.1", "255.255.255.255", "0.1.2.3", "fe80::1", "10.77.0.1/24", "ff02::1"] {
        let text = MINIMAL.replace("10.77.0.1", address);
        assert_problem(
            &text,
            &format!("6: network.address: is \"{address}\"; expected the IPv4 or IPv6 address"),
        );
    }
    // Half of the cluster on loopback can't reach the other half.
    let peer = with("[[peers]]\nid = 2\naddress = \"127.0.0.1\"");
    assert_problem(
        &peer,
        "9: peers[0].address: is 127.0.0.1, a loopback address, but this node's is 10.77.0.1",
    );
    let own = with("[[peers]]\nid = 2\naddress = \"10.77.0.2\"").replace("10.77.0.1", "127.0.0.1");
    assert_problem(
        &own,
        "9: peers[0].address: is 10.77.0.2, but this node's is 127.0.0.1, a loopback address",
    );
}

#[test]
fn names_with_control_characters_are_refused_and_do_not_reach_the_terminal() {
    assert_problem(&with("interface = \"a\\nb\""), "7: network.interface: is \"a\\nb\"");
    assert_problem(&with("interface = \"..\""), "7: network.interface: is \"..\"");
    let problems = problems(&with("\"a\\nb\\u001b[2J\" = 1"));
    assert_eq!(problems.len(), 1);
    assert!(problems[0].starts_with("7: network.\"a\\nb\\u{1b}[2J\": there is no such key"), "{problems:?}");
}

#[test]
fn what_is_not_utf_8_is_told_with_its_line() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let path = home.path().join("latin1.toml");
    std::fs::write(&path, [with("[paths]\ndirectory = \"/x/").as_bytes(), b"\xe9\"\n"].concat())
        .expect("a file");
    let told = Config::load(&path).expect_err("not UTF-8").to_string();
    assert!(told.contains("latin1.toml:9: not TOML: is not UTF-8; expected"), "{told}");
}

#[test]
fn a_file_without_an_end_is_refused() {
    let told = Config::load(std::path::Path::new("/dev/zero")).expect_err("no configuration").to_string();
    assert!(told.contains("longer than"), "{told}");
}

/// Found by fuzzing: a bare word that is no value comes as an integer with the text as it stands in the file.
#[test]
fn words_that_are_no_value_do_not_reach_the_terminal_as_they_are() {
    for word in ["_x\u{6}", "_1\u{1b}x", "clus\u{6}"] {
        for problem in problems(&with(&format!("[limits]\nmax_keys = {word}"))) {
            assert!(!problem.contains(char::is_control), "{problem:?}");
        }
    }
}
