//! How far a write is to get, and how far it has got.

use std::ffi::c_char;
use std::mem::MaybeUninit;

use lattice_client::{Ack, Error, Reached};

use crate::edge::{Out, Outcome, call, place_for, put, text};
use crate::error::{Failure, latticed_code};

/// How far a write is to get before a call returns: one of the LATTICED_ACK_ constants, or a number of peers from 1 to 65535
/// (merged, and visible, on at least so many other hosts). Levels are no steps of one ladder; every level includes
/// LATTICED_ACK_LOCAL.
pub type latticed_ack = u32;

/// Applied, and visible to every reader of this host.
pub const LATTICED_ACK_LOCAL: latticed_ack = 0;
/// In the memory-mapped log: survives the daemon.
pub const LATTICED_ACK_LOGGED: latticed_ack = 0x10000;
/// Synced to this host's disk.
pub const LATTICED_ACK_DURABLE: latticed_ack = 0x10001;
/// On more than half of the members, this host being one.
pub const LATTICED_ACK_MAJORITY: latticed_ack = 0x10002;
/// On every member.
pub const LATTICED_ACK_ALL: latticed_ack = 0x10003;

/// A timeout that never ends: 584 years.
pub const LATTICED_FOREVER: u64 = u64::MAX;

/// How far writes have got, as far as the daemon has told: of several, how far the one that is least far.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct latticed_reached {
    /// Applied, and visible to every reader of this host.
    pub local: bool,
    /// In the memory-mapped log.
    pub logged: bool,
    /// Synced to this host's disk.
    pub durable: bool,
    /// On more than half of the members.
    pub majority: bool,
    /// On every member.
    pub all: bool,
    /// How many peers have merged it; more than 32 are counted as 32.
    pub peers: u16,
    /// How many peers are known to have it on their disks.
    pub durable_on: u16,
    /// Members of the cluster, this host one of them; 0 if the daemon has not said.
    pub members: u16,
}

impl From<Reached> for latticed_reached {
    fn from(reached: Reached) -> Self {
        latticed_reached {
            local: reached.local,
            logged: reached.logged,
            durable: reached.durable,
            majority: reached.majority,
            all: reached.all,
            peers: reached.peers,
            durable_on: reached.durable_on,
            members: reached.members,
        }
    }
}

/// The level of a number that a caller gave.
pub(crate) fn level(ack: latticed_ack) -> Outcome<Ack> {
    match ack {
        LATTICED_ACK_LOCAL => Ok(Ack::Local),
        LATTICED_ACK_LOGGED => Ok(Ack::Logged),
        LATTICED_ACK_DURABLE => Ok(Ack::Durable),
        LATTICED_ACK_MAJORITY => Ok(Ack::Majority),
        LATTICED_ACK_ALL => Ok(Ack::All),
        peers => match u16::try_from(peers) {
            Ok(peers) => Ok(Ack::Peers(peers)),
            Err(_) => Err(Failure::invalid(format_args!("{ack:#x} is no acknowledgement level"))),
        },
    }
}

/// Stores what was reached, also when that was less than was asked, and hands the failure on.
pub(crate) fn put_reached(
    place: Out<'_, latticed_reached>,
    result: lattice_client::Result<Reached>,
) -> Outcome {
    let reached = match &result {
        Ok(reached) | Err(Error::NotReached { reached, .. } | Error::AckUnknown { reached, .. }) => {
            (*reached).into()
        }
        Err(_) => latticed_reached::default(),
    };
    put(place, reached);
    Ok(result.map(drop)?)
}

/// The level that a text names: "local", "logged", "durable", "peers=2", "majority" or "all".
///
/// Errors: LATTICED_EINVAL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn latticed_ack_parse(
    name: *const c_char,
    ack: Option<&mut MaybeUninit<latticed_ack>>,
) -> latticed_code {
    call(|| {
        // SAFETY: the caller's promise.
        let name = unsafe { text(name, "name") }?.to_string_lossy();
        let place = place_for(ack, "ack")?;
        let ack = name.parse().map_err(|error| Failure::invalid(format_args!("{error}")))?;
        place.write(match ack {
            Ack::Local => LATTICED_ACK_LOCAL,
            Ack::Logged => LATTICED_ACK_LOGGED,
            Ack::Durable => LATTICED_ACK_DURABLE,
            Ack::Peers(peers) => peers.into(),
            Ack::Majority => LATTICED_ACK_MAJORITY,
            Ack::All => LATTICED_ACK_ALL,
        });
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_a_level_or_refused() {
        for (ack, expected) in [
            (LATTICED_ACK_LOCAL, Ack::Local),
            (1, Ack::Peers(1)),
            (0xffff, Ack::Peers(0xffff)),
            (LATTICED_ACK_LOGGED, Ack::Logged),
            (LATTICED_ACK_DURABLE, Ack::Durable),
            (LATTICED_ACK_MAJORITY, Ack::Majority),
            (LATTICED_ACK_ALL, Ack::All),
        ] {
            assert_eq!(level(ack).ok(), Some(expected));
        }
        for ack in [0x10004, u32::MAX] {
            assert!(level(ack).is_err(), "{ack:#x}");
        }
    }
}
