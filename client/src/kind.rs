//! The kinds of keys, with the numbers that the segment's ABI gives them.

/// The kind of a key: part of its identity, with the numbers of the segment's ABI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Kind {
    /// A sum that every node may add to and subtract from.
    Counter,
    /// A switch; concurrent enable and disable leave it on.
    FlagEnableWins,
    /// A switch; concurrent enable and disable leave it off.
    FlagDisableWins,
    /// The bytes of the last writer.
    Register,
    /// A set; concurrent insert and remove of one element leave it in.
    Set,
    /// A kind that this version of the client does not know.
    Other(u8),
}

impl Kind {
    /// The number of this kind in the segment.
    #[must_use]
    pub const fn as_u8(self) -> u8 {
        match self {
            Kind::Counter => 1,
            Kind::FlagEnableWins => 2,
            Kind::FlagDisableWins => 3,
            Kind::Register => 4,
            Kind::Set => 5,
            Kind::Other(number) => number,
        }
    }

    /// The kind with this number.
    #[must_use]
    pub const fn from_u8(number: u8) -> Kind {
        match number {
            1 => Kind::Counter,
            2 => Kind::FlagEnableWins,
            3 => Kind::FlagDisableWins,
            4 => Kind::Register,
            5 => Kind::Set,
            other => Kind::Other(other),
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Kind::Counter => f.write_str("counter"),
            Kind::FlagEnableWins => f.write_str("flag (enable wins)"),
            Kind::FlagDisableWins => f.write_str("flag (disable wins)"),
            Kind::Register => f.write_str("register"),
            Kind::Set => f.write_str("set"),
            Kind::Other(number) => write!(f, "kind {number}"),
        }
    }
}
