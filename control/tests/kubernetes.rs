//! The DaemonSet's manifest, as far as it can be checked without a cluster: it is YAML of the right shape, what it runs exists,
//! and it agrees with the daemon's defaults and with the systemd unit.

use std::collections::BTreeSet;
use std::process::Command;

use yaml_rust2::{Yaml, YamlLoader};

/// A file below `config`.
fn file(name: &str) -> String {
    let path = format!("{}/../config/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn manifest() -> Yaml {
    let mut documents = YamlLoader::load_from_str(&file("kubernetes/daemonset.yaml")).expect("YAML");
    assert_eq!(documents.len(), 1);
    documents.remove(0)
}

fn pod(manifest: &Yaml) -> &Yaml {
    &manifest["spec"]["template"]["spec"]
}

fn container(manifest: &Yaml) -> &Yaml {
    let containers = pod(manifest)["containers"].as_vec().expect("containers");
    assert_eq!(containers.len(), 1);
    &containers[0]
}

fn texts(list: &Yaml) -> Vec<&str> {
    list.as_vec().expect("a list").iter().map(|text| text.as_str().expect("a text")).collect()
}

/// The value of a setting of the unit.
fn unit(setting: &str) -> String {
    let unit = file("systemd/latticed.service");
    let line = unit.lines().find_map(|line| line.strip_prefix(setting)?.strip_prefix('='));
    line.unwrap_or_else(|| panic!("no {setting}")).to_owned()
}

/// A number of the reference configuration, commented out or not.
fn configured(key: &str) -> String {
    let reference = file("latticed.toml");
    let line = reference.lines().find_map(|line| {
        line.trim_start_matches("# ").strip_prefix(key)?.trim_start().strip_prefix('=').map(str::to_owned)
    });
    let line = line.unwrap_or_else(|| panic!("no {key}"));
    line.split('#').next().expect("a value").trim().trim_matches('"').to_owned()
}

#[test]
fn it_is_a_daemon_set_of_the_hosts_own_network() {
    let manifest = manifest();
    assert_eq!(
        (manifest["apiVersion"].as_str(), manifest["kind"].as_str()),
        (Some("apps/v1"), Some("DaemonSet"))
    );
    let selected = &manifest["spec"]["selector"]["matchLabels"];
    assert_eq!(selected, &manifest["spec"]["template"]["metadata"]["labels"]);
    assert_eq!(pod(&manifest)["hostNetwork"].as_bool(), Some(true));
    assert_eq!(manifest["spec"]["updateStrategy"]["rollingUpdate"]["maxUnavailable"].as_i64(), Some(1));
}

#[test]
fn what_it_runs_exists_and_is_what_the_unit_runs() {
    let manifest = manifest();
    let container = container(&manifest);
    let command: Vec<&str> = [texts(&container["command"]), texts(&container["args"])].concat();
    assert_eq!(command.join(" "), unit("ExecStart"));
    let before_stop = texts(&container["lifecycle"]["preStop"]["exec"]["command"]);
    assert_eq!(before_stop[0], "/usr/bin/latticectl");
    // Options that there are not would be refused before the help is shown.
    let known = Command::new(env!("CARGO_BIN_EXE_latticectl")).args(&before_stop[1..]).arg("--help").output();
    let known = known.expect("latticectl starts");
    assert!(known.status.success(), "{}", String::from_utf8_lossy(&known.stderr));
    let seconds = |option: &str| -> i64 {
        let at = before_stop.iter().position(|argument| *argument == option).expect("the option");
        before_stop[at + 1].parse().expect("seconds")
    };
    let stop: i64 = unit("TimeoutStopSec").parse().expect("seconds");
    let grace = pod(&manifest)["terminationGracePeriodSeconds"].as_i64().expect("seconds");
    assert!(grace >= seconds("--grace") + seconds("--timeout") + stop, "it is killed while it drains");
}

#[test]
fn ports_and_probes_are_those_of_the_configuration() {
    let manifest = manifest();
    let container = container(&manifest);
    let listen = configured("listen");
    let (host, port) = listen.rsplit_once(':').expect("an address");
    for (probe, path) in
        [("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")]
    {
        let get = &container[probe]["httpGet"];
        assert_eq!(get["path"].as_str(), Some(path));
        assert_eq!((get["host"].as_str(), get["port"].as_i64()), (Some(host), port.parse().ok()), "{probe}");
    }
    // It may read from its disk for as long as systemd lets it.
    let startup = &container["startupProbe"];
    let patience = startup["periodSeconds"].as_i64().zip(startup["failureThreshold"].as_i64());
    assert_eq!(patience.map(|(period, times)| period * times), unit("TimeoutStartSec").parse().ok());
    let number = |key: &str| -> i64 { configured(key).parse().expect("a number") };
    let (base, shards) = (number("base_port"), number("shards"));
    let expected: BTreeSet<i64> = (base..base + shards).chain([number("control_port")]).collect();
    let ports = container["ports"].as_vec().expect("ports");
    assert!(ports.iter().all(|port| port["protocol"].as_str() == Some("UDP")));
    let found: BTreeSet<i64> = ports.iter().filter_map(|port| port["containerPort"].as_i64()).collect();
    assert_eq!(found, expected);
}

#[test]
fn it_has_the_rights_of_the_unit_and_no_others() {
    let manifest = manifest();
    let context = &container(&manifest)["securityContext"];
    let capabilities = &context["capabilities"];
    assert_eq!(texts(&capabilities["drop"]), ["ALL"]);
    let of_unit = unit("CapabilityBoundingSet");
    let mut expected: BTreeSet<String> =
        of_unit.split(' ').map(|name| name.trim_start_matches("CAP_").to_owned()).collect();
    // In place of LimitMEMLOCK, which a pod does not have.
    assert_eq!(unit("LimitMEMLOCK"), "infinity");
    expected.insert("IPC_LOCK".to_owned());
    let found: BTreeSet<String> = texts(&capabilities["add"]).into_iter().map(str::to_owned).collect();
    assert_eq!(found, expected);
    assert_eq!(context["allowPrivilegeEscalation"].as_bool(), Some(false));
    assert_eq!(context["readOnlyRootFilesystem"].as_bool(), Some(true));
    assert_eq!(context["seccompProfile"]["type"].as_str(), Some("RuntimeDefault"));
    assert!(pod(&manifest)["hostPID"].is_badvalue() && context["privileged"].is_badvalue());
}

#[test]
fn what_outlives_the_pod_is_where_the_configuration_says() {
    let manifest = manifest();
    let volumes = pod(&manifest)["volumes"].as_vec().expect("volumes");
    let on_host = |name: &Yaml| {
        let volume = volumes.iter().find(|volume| &volume["name"] == name).expect("the volume");
        volume["hostPath"]["path"].as_str().expect("a path").to_owned()
    };
    let mounts = container(&manifest)["volumeMounts"].as_vec().expect("mounts");
    assert_eq!(mounts.len(), volumes.len());
    let mut places = BTreeSet::new();
    for mount in mounts {
        let inside = mount["mountPath"].as_str().expect("a path");
        assert_eq!(inside, on_host(&mount["name"]), "the same inside and outside");
        places.insert(inside.to_owned());
    }
    let reference = file("latticed.toml");
    for default in ["/dev/shm/latticed/node-1", "/var/lib/latticed/node-1", "/etc/latticed/node-1"] {
        assert!(reference.contains(&format!("directory = \"{default}\"")), "{default}");
        let parent = default.trim_end_matches("/node-1");
        assert!(places.contains(parent), "{parent} is not mounted");
    }
    assert_eq!(places.len(), 3);
}
