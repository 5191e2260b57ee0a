//! `cluster`: a cluster's authority and its nodes' certificates, in a directory of the administrator's. Needs no daemon.

use std::fmt::Write as _;

use serde_json::json;

use super::args::Cluster;
use super::error::CtlError;
use super::output::Output;
use lattice_members::pki::{self, Authority, NodeEntry, PkiError};

/// `cluster …`.
pub(super) fn cluster(verb: &Cluster, output: &Output) -> Result<(), CtlError> {
    let made = |nodes: &[NodeEntry]| show(nodes, output);
    match verb {
        Cluster::Init { directory, name, nodes, hosts, days } => {
            let hosts = match hosts.as_slice() {
                [] => (1..=*nodes).map(|node| format!("node-{node}")).collect(),
                hosts if hosts.len() == usize::from(*nodes) => hosts.to_vec(),
                hosts => {
                    let message = format!("--hosts names {} nodes, --nodes says {nodes}", hosts.len());
                    return Err(PkiError::Usage(message).into());
                }
            };
            made(&Authority::create(directory, name, &hosts, *days)?.nodes()?)
        }
        Cluster::Add { directory, node, id, days } => {
            made(&[Authority::open(directory)?.add(node, *id, *days)?])
        }
        Cluster::Renew { directory, nodes, all, days } => {
            let authority = Authority::open(directory)?;
            let known = if *all { authority.nodes()? } else { Vec::new() };
            let names = known.iter().map(|entry| &entry.subject.name).chain(nodes);
            made(&names.map(|name| authority.renew(name, *days)).collect::<Result<Vec<_>, _>>()?)
        }
        Cluster::Rotate { directory } => made(&Authority::open(directory)?.rotate()?.nodes()?),
        Cluster::Retire { directory } => {
            let authority = Authority::open(directory)?;
            authority.retire()?;
            made(&authority.nodes()?)
        }
        Cluster::List { directory } => made(&Authority::open(directory)?.nodes()?),
    }
}

fn show(nodes: &[NodeEntry], output: &Output) -> Result<(), CtlError> {
    let datum = |entry: &NodeEntry| {
        json!({
            "cluster": entry.subject.cluster,
            "node": entry.subject.node,
            "name": entry.subject.name,
            "days_left": pki::days_left(entry.not_after_s),
            "directory": entry.directory,
        })
    };
    let table = || {
        let mut text =
            String::from("node   name                 days left  for the host's security.directory\n");
        for entry in nodes {
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "{:<6} {:<20} {:<10} {}",
                entry.subject.node,
                entry.subject.name,
                pki::days_left(entry.not_after_s),
                entry.directory.display()
            );
        }
        text
    };
    output.datum(|| json!(nodes.iter().map(datum).collect::<Vec<_>>()), table)
}
