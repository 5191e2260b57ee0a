//! The members that this node has met, kept from run to run: the file `members` in the data directory.
//!
//! ```text
//!   a session with a member ──> note ──> file, synced ──> the next start: peers from the beginning, without an address
//! ```
//!
//! `majority` and `all` are of the cluster's members, and an empty key is dropped when all of them know that it is empty. A
//! daemon that knew only whom it has met since its start would tell of a majority of those, and count as gone whoever is merely
//! away. So a member stays one until it is forgotten. Where it is, and that it is who it says, only a session of this run
//! can tell: until then nothing goes to it, and nothing is taken from it.
//!
//! Only where members find each other (`[security]`): listed peers are known anyway. In memory mode nothing is kept. What can go
//! wrong: the file can't be written, or is damaged; it is said so in the log, and members count from when they are met, as in
//! the first run.

use std::fs::{self, File};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use lattice_crdt::ActorId;
use lattice_members::MemberView;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::forget::Forgotten;
use crate::config::{Config, MAX_PEERS, Peer, StorageMode};

/// The file's name in the data directory.
const FILE: &str = "members";

/// A member, as it was when there last was news of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Member {
    node: u16,
    /// Of its epoch: one that was forgotten and has come back has a later one.
    generation: u8,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Known {
    /// `None`: nothing is kept.
    data: Option<PathBuf>,
    /// The address that is none, of the family of this node's own.
    nowhere: IpAddr,
    members: Mutex<Vec<Member>>,
}

impl Known {
    /// Reads what earlier runs kept, but for this node itself and those that have been forgotten since.
    #[must_use]
    pub fn open(config: &Config, forgotten: &Forgotten) -> Self {
        let nowhere = match config.network.address {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        if config.security.is_none() || config.storage.mode == StorageMode::Memory {
            return Self { data: None, nowhere, members: Mutex::default() };
        }
        let data = &config.storage.directory;
        let mut members = read(data).unwrap_or_else(|error| {
            let file = data.join(FILE);
            tracing::error!(
                file = %file.display(),
                %error,
                "the members of earlier runs are not known: majority and all are of those that are met from now on"
            );
            Vec::new()
        });
        let gone = forgotten.others();
        members.retain(|member| {
            let is_gone = |(node, least): &(u16, u8)| *node == member.node && *least > member.generation;
            member.node != config.node.id && !gone.iter().any(is_gone)
        });
        members.truncate(MAX_PEERS.min(config.limits.max_actors.saturating_sub(1)));
        Self { data: Some(data.clone()), nowhere, members: Mutex::new(members) }
    }

    /// The members, as peers whose address is not known.
    #[must_use]
    pub fn peers(&self) -> Vec<Peer> {
        let members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        members.iter().map(|member| Peer { id: member.node, address: self.nowhere }).collect()
    }

    /// Notes a member that a session was made with. Keeps it, if that is news.
    pub fn note(&self, view: &MemberView) {
        let Some(data) = &self.data else { return };
        let epoch = u64::from_str_radix(&view.epoch, 16).unwrap_or_default();
        let generation = ActorId::new(view.node, epoch).generation();
        let member = Member { node: view.node, generation };
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        match members.iter_mut().find(|known| known.node == member.node) {
            Some(known) if *known == member => return,
            Some(known) => *known = member,
            None => members.push(member),
        }
        // A few thousand bytes at most, when a member is new or begins anew: not worth a thread.
        if let Err(error) = write(data, &members) {
            tracing::error!(node = member.node, %error, "a member is not kept: after a restart it counts when it is met again");
        }
    }
}

/// A line of JSON, and one with its checksum.
fn read(data: &Path) -> io::Result<Vec<Member>> {
    let text = match fs::read_to_string(data.join(FILE)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let damaged = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let (json, sum) = text.trim_end().rsplit_once('\n').ok_or_else(|| damaged("the checksum is missing"))?;
    if sum != checksum(json) {
        return Err(damaged("the checksum is wrong"));
    }
    Ok(serde_json::from_str(json)?)
}

/// Written beside, synced and renamed: it is whole, or the one before.
fn write(data: &Path, members: &[Member]) -> io::Result<()> {
    let json = serde_json::to_string(members)?;
    let beside = data.join(FILE).with_extension("new");
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o640).open(&beside)?;
    writeln!(file, "{json}\n{}", checksum(&json))?;
    file.sync_all()?;
    fs::rename(&beside, data.join(FILE))?;
    File::open(data)?.sync_all()
}

fn checksum(json: &str) -> String {
    format!("{:016x}", xxh3_64(json.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(data: &Path) -> Config {
        let text = format!(
            "[cluster]\nname = \"c\"\nseeds = [\"10.77.0.1\"]\n[node]\nid = 1\n[network]\naddress = \"10.77.0.1\"\n\
             [security]\ndirectory = \"/etc/latticed\"\n[storage]\ndirectory = {data:?}\n"
        );
        Config::parse(&text, "test").expect("valid")
    }

    fn view(node: u16, host: u8, generation: u8) -> MemberView {
        let address = IpAddr::from([10, 77, 0, host]);
        MemberView {
            node,
            name: format!("host-{node}"),
            address,
            control: (address, 7500).into(),
            state: lattice_members::swim::State::Alive,
            since_ms: 0,
            connected: true,
            rtt_us: None,
            epoch: format!("{:012x}", u64::from(generation) << 40 | 7),
            run: format!("{generation:016x}"),
            seal: lattice_members::SealView::default(),
        }
    }

    fn known(data: &Path) -> (Config, Known) {
        let config = config(data);
        let forgotten = Forgotten::open(&config).expect("readable");
        let known = Known::open(&config, &forgotten);
        (config, known)
    }

    fn ids(known: &Known) -> Vec<u16> {
        known.peers().into_iter().map(|peer| peer.id).collect()
    }

    #[test]
    fn who_was_met_is_known_in_the_next_run() {
        let directory = tempfile::tempdir().expect("a directory");
        let (_, first) = known(directory.path());
        assert_eq!(ids(&first), [0; 0]);
        first.note(&view(2, 2, 0));
        first.note(&view(3, 3, 0));
        first.note(&view(2, 9, 0));
        let (_, second) = known(directory.path());
        assert_eq!(ids(&second), [2, 3]);
        assert!(second.peers().iter().all(|peer| peer.address.is_unspecified() && peer.address.is_ipv4()));
    }

    #[test]
    fn who_was_forgotten_is_not_and_who_came_back_is() {
        let directory = tempfile::tempdir().expect("a directory");
        let (_, first) = known(directory.path());
        [2, 3, 1].into_iter().for_each(|node| first.note(&view(node, node as u8, 0)));
        fs::write(
            directory.path().join("forgotten"),
            r#"{"nodes":{"2":1,"3":1},"begin_anew":false,"begun":[]}"#,
        )
        .expect("written");
        first.note(&view(3, 3, 1));
        // Nor is this node a peer of its own, whatever directory it was given.
        assert_eq!(ids(&known(directory.path()).1), [3]);
    }

    #[test]
    fn a_flipped_byte_is_noticed_wherever_it_is() {
        let directory = tempfile::tempdir().expect("a directory");
        let (_, first) = known(directory.path());
        first.note(&view(2, 2, 0));
        let file = directory.path().join(FILE);
        let bytes = fs::read(&file).expect("written");
        for at in 0..bytes.len() - 1 {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            fs::write(&file, damaged).expect("written");
            assert!(read(directory.path()).is_err(), "byte {at}");
            assert_eq!(ids(&known(directory.path()).1), [0; 0]);
        }
    }
}
