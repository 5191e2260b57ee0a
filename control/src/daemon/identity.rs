//! Who this run of the daemon is: random names that no other run has.
//!
//! A start goes on with the epoch of the last run only where storage shows that nothing of it is lost; everything else is a new
//! epoch (40 random bits, and how often the cluster has forgotten this node), so that a dot is never used twice. The session (32
//! bits) tells acknowledgements of this run from those of an earlier one.

use lattice_crdt::ActorId;
use rustix::rand::{GetRandomFlags, getrandom};

use super::StartError;

/// The names of one run.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// Node and a new epoch: for each shard that does not go on with its old one.
    pub actor: ActorId,
    /// Never zero: zero on the wire means "not known yet".
    pub session: u32,
    /// Seeds the engines' own draws, which need no secrecy.
    pub random_seed: u64,
}

impl Identity {
    /// Draws the names from the operating system, for an epoch of that generation.
    ///
    /// # Errors
    /// [`StartError::Random`]: it gave none.
    pub fn draw(node: u16, generation: u8) -> Result<Self, StartError> {
        let epoch = non_zero(|| Ok(random()? >> 24))?;
        let session = non_zero(|| Ok(random()? >> 32))?;
        Ok(Self {
            actor: ActorId::of_generation(node, generation, epoch),
            session: u32::try_from(session).unwrap_or(u32::MAX),
            random_seed: random()?,
        })
    }
}

/// Draws until it is not zero: once in 2^32 draws, twice.
fn non_zero(mut draw: impl FnMut() -> Result<u64, StartError>) -> Result<u64, StartError> {
    loop {
        let drawn = draw()?;
        if drawn != 0 {
            return Ok(drawn);
        }
    }
}

fn random() -> Result<u64, StartError> {
    let mut bytes = [0; 8];
    let mut filled = 0;
    while filled < bytes.len() {
        match getrandom(&mut bytes[filled..], GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(StartError::Random(errno.into())),
        }
    }
    Ok(u64::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_draw_is_another() {
        let (a, b) = (Identity::draw(7, 0).expect("drawn"), Identity::draw(7, 3).expect("drawn"));
        assert_eq!((a.actor.node(), b.actor.node()), (7, 7));
        assert_eq!((a.actor.generation(), b.actor.generation()), (0, 3));
        assert!(a.actor.epoch() != 0 && a.actor.epoch() != b.actor.epoch() % (1 << 40));
        assert!(a.session != 0 && b.session != 0);
    }

    #[test]
    fn zero_is_drawn_again() {
        let mut draws = [0, 0, 5].into_iter();
        assert_eq!(non_zero(|| Ok(draws.next().unwrap_or(9))).ok(), Some(5));
    }
}
