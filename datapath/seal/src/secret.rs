//! A key as it is drawn, handed over and kept: a number and sixteen random bytes.

use std::fmt;

use ring::rand::{SecureRandom, SystemRandom};

/// Bytes of a secret.
pub const SECRET_BYTES: usize = 16;

/// A key for what one host sends to one other. Its bytes are never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    id: u32,
    bytes: [u8; SECRET_BYTES],
}

/// The operating system gave no random bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gives no random bytes")]
pub struct NoRandomness;

impl Secret {
    /// Draws a key from the operating system. Its number is random as well, so that keys of different sessions are told apart.
    ///
    /// # Errors
    /// [`NoRandomness`].
    pub fn draw() -> Result<Self, NoRandomness> {
        let random = SystemRandom::new();
        let (mut id, mut bytes) = ([0; 4], [0; SECRET_BYTES]);
        random.fill(&mut bytes).map_err(|_| NoRandomness)?;
        while id == [0; 4] {
            random.fill(&mut id).map_err(|_| NoRandomness)?;
        }
        Ok(Self { id: u32::from_le_bytes(id), bytes })
    }

    /// A key that was handed over. `None`: its number is zero, which none has.
    #[must_use]
    pub fn of_parts(id: u32, bytes: [u8; SECRET_BYTES]) -> Option<Self> {
        (id != 0).then_some(Self { id, bytes })
    }

    /// Its number, not zero: what frames name it by.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Its bytes, to hand them over.
    #[must_use]
    pub fn bytes(&self) -> &[u8; SECRET_BYTES] {
        &self.bytes
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").field("id", &self.id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_another_and_none_is_printed() {
        let (a, b) = (Secret::draw().expect("drawn"), Secret::draw().expect("drawn"));
        assert_ne!(a, b);
        assert_ne!(a.bytes(), b.bytes());
        assert!(a.id() != 0);
        let known = Secret::of_parts(7, [0xAB; SECRET_BYTES]).expect("a number");
        assert_eq!(format!("{known:?}"), "Secret { id: 7, .. }");
        assert_eq!(Secret::of_parts(0, [1; SECRET_BYTES]), None);
    }
}
