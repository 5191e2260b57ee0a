//! The work that both systems are given: keys, values, and what is measured.

use crate::series::Series;

/// Bytes of a value. With its header it is one slot of our rings; to etcd the size makes no difference.
pub const VALUE_BYTES: usize = 32;

/// Keys of an application in the throughput runs, written in turn: so many that no two writes under way are to the same one,
/// which ours would merge into one.
pub const KEYS: u64 = 4096;

/// Both latencies of the same writes.
pub struct Latencies {
    /// Until the writer was told.
    pub acknowledged: Series,
    /// Until somebody on another host saw it.
    pub visible: Series,
}

/// The key of a write.
#[must_use]
pub fn key(write: u64) -> Vec<u8> {
    format!("bench/{:05}", write % KEYS).into_bytes()
}

/// A value that says which write it is.
#[must_use]
pub fn encode(write: u64) -> [u8; VALUE_BYTES] {
    let mut value = [b'.'; VALUE_BYTES];
    value[..8].copy_from_slice(&write.to_le_bytes());
    value
}

/// Which write a value is; `None` if it is none of ours.
#[must_use]
pub fn decode(value: &[u8]) -> Option<u64> {
    let (write, rest) = value.split_first_chunk()?;
    (rest.len() == VALUE_BYTES - 8).then(|| u64::from_le_bytes(*write))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_says_which_write_it_is() {
        assert_eq!(decode(&encode(7_000_000_000)), Some(7_000_000_000));
        assert_eq!(decode(b"short"), None);
        assert_eq!(decode(&[0; VALUE_BYTES + 1]), None);
        assert_eq!(key(3), key(KEYS + 3));
        assert_ne!(key(3), key(4));
    }
}
