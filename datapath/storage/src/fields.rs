//! Small blocks of numbers with a checksum in their last eight bytes: headers and trailers. Little-endian.

use xxhash_rust::xxh3::xxh3_64;

/// Writes numbers one after the other; what does not fit is a mistake of this crate that the seal of a test finds.
pub(crate) struct Put<'a> {
    block: &'a mut [u8],
    at: usize,
}

impl<'a> Put<'a> {
    pub(crate) fn new(block: &'a mut [u8]) -> Self {
        block.fill(0);
        Self { block, at: 0 }
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        let end = self.at + bytes.len();
        debug_assert!(end + 8 <= self.block.len());
        if let Some(place) = self.block.get_mut(self.at..end) {
            place.copy_from_slice(bytes);
        }
        self.at = end;
        self
    }

    pub(crate) fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    pub(crate) fn u128(&mut self, value: u128) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    /// Ends the block with its checksum.
    pub(crate) fn seal(&mut self) {
        let end = self.block.len() - 8;
        let sum = xxh3_64(&self.block[..end]);
        self.block[end..].copy_from_slice(&sum.to_le_bytes());
    }
}

/// Reads numbers one after the other; beyond the end there are zeros.
pub(crate) struct Get<'a> {
    block: &'a [u8],
    at: usize,
}

impl<'a> Get<'a> {
    /// `None` if the block's checksum is not right.
    pub(crate) fn sealed(block: &'a [u8]) -> Option<Self> {
        let end = block.len().checked_sub(8)?;
        let sum = u64::from_le_bytes(block[end..].try_into().ok()?);
        (sum == xxh3_64(&block[..end])).then_some(Self { block, at: 0 })
    }

    /// So many bytes; `None` if there are fewer before the checksum.
    pub(crate) fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(len).filter(|end| end + 8 <= self.block.len())?;
        let bytes = &self.block[self.at..end];
        self.at = end;
        Some(bytes)
    }

    fn take<const N: usize>(&mut self) -> [u8; N] {
        let bytes = self.block.get(self.at..self.at + N).and_then(|bytes| bytes.try_into().ok());
        self.at += N;
        bytes.unwrap_or([0; N])
    }

    pub(crate) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }

    pub(crate) fn u128(&mut self) -> u128 {
        u128::from_le_bytes(self.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_reads_back_and_any_flipped_bit_is_found() {
        let mut block = [0xAA; 64];
        Put::new(&mut block).u64(7).u128(u128::MAX - 1).u64(9).seal();
        let mut get = Get::sealed(&block).unwrap();
        assert_eq!((get.u64(), get.u128(), get.u64(), get.u64()), (7, u128::MAX - 1, 9, 0));
        for bit in 0..64 * 8 {
            let mut flipped = block;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Get::sealed(&flipped).is_none(), "bit {bit}");
        }
        assert!(Get::sealed(&block[..7]).is_none());
    }
}
