//! Reads decisions from the bytes of the fuzzer.
//!
//! An input is a program: each step takes what it needs from the front, and the run ends where the bytes end. So every
//! input means something, a longer one begins like the shorter one that it grew from, and a cut-out piece is a shorter
//! run: that is what lets the fuzzer splice and minimise.

/// What is left of an input.
#[derive(Clone, Debug)]
pub struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    /// Reads from the front of `data`.
    pub fn new(data: &'a [u8]) -> Self {
        Self { rest: data }
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// All that is left.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next `len` bytes, or what is left if that is less.
    pub fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (bytes, rest) = self.rest.split_at(len.min(self.rest.len()));
        self.rest = rest;
        bytes
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        let bytes = self.bytes(N);
        array[..bytes.len()].copy_from_slice(bytes);
        array
    }

    /// The next byte; zero at the end.
    pub fn u8(&mut self) -> u8 {
        u8::from_le_bytes(self.array())
    }

    /// The next two bytes.
    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    /// The next four bytes.
    pub fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    /// The next eight bytes.
    pub fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    /// The next byte as a number below `end`, which must not be zero.
    pub fn below(&mut self, end: usize) -> usize {
        usize::from(self.u8()) % end
    }

    /// One of several.
    pub fn choose<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// A byte that says how long, then so many bytes.
    pub fn string(&mut self) -> &'a [u8] {
        let len = self.u8();
        self.bytes(usize::from(len))
    }

    /// Two bytes that say how long, then so many bytes.
    pub fn long_string(&mut self) -> &'a [u8] {
        let len = self.u16();
        self.bytes(usize::from(len))
    }

    /// A number: small, at the edge of a type, or any.
    pub fn number(&mut self) -> u64 {
        match self.u8() {
            small @ 0..=223 => u64::from(small),
            224..=231 => u64::MAX - u64::from(self.u8()),
            232..=239 => (u64::from(u32::MAX) + 4).wrapping_sub(u64::from(self.u8())),
            240..=243 => 1 << (self.u8() % 64),
            244..=247 => u64::from(self.u32()),
            _ => self.u64(),
        }
    }
}
