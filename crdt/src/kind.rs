//! The kinds of replicated objects. Kind is part of a key's identity, so two nodes that create one key with different
//! kinds make two objects, never a corrupt one.

use std::fmt;

/// What kind of object a key names. The numbers are those of the wire and of the published segment; 0 is never a
/// kind, and 6 and up are reserved for later ones.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Debug)]
#[repr(u8)]
pub enum Kind {
    /// A counter that goes both ways ([`crate::Counter`]).
    Counter = 1,
    /// A flag on which a concurrent enable beats a disable ([`crate::Flag`]).
    FlagEnableWins = 2,
    /// A flag on which a concurrent disable beats an enable ([`crate::Flag`]).
    FlagDisableWins = 3,
    /// A last-writer-wins register ([`crate::Register`]).
    Register = 4,
    /// An add-wins set ([`crate::AwSet`]).
    Set = 5,
}

impl Kind {
    /// All kinds, in the order of their numbers.
    pub const ALL: [Kind; 5] =
        [Kind::Counter, Kind::FlagEnableWins, Kind::FlagDisableWins, Kind::Register, Kind::Set];

    /// The name that people read: in status output, errors and configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::FlagEnableWins => "flag-enable-wins",
            Kind::FlagDisableWins => "flag-disable-wins",
            Kind::Register => "register",
            Kind::Set => "set",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A number that names no [`Kind`] of this version.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct UnknownKind(pub u8);

impl fmt::Display for UnknownKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is no kind of replicated object that this version knows", self.0)
    }
}

impl std::error::Error for UnknownKind {}

impl TryFrom<u8> for Kind {
    type Error = UnknownKind;

    fn try_from(number: u8) -> Result<Self, UnknownKind> {
        match number {
            1 => Ok(Kind::Counter),
            2 => Ok(Kind::FlagEnableWins),
            3 => Ok(Kind::FlagDisableWins),
            4 => Ok(Kind::Register),
            5 => Ok(Kind::Set),
            other => Err(UnknownKind(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_kinds_are_inverse() {
        let known: Vec<Kind> = (0..=u8::MAX).filter_map(|n| Kind::try_from(n).ok()).collect();
        assert_eq!(known, Kind::ALL);
        for kind in Kind::ALL {
            assert_eq!(Kind::try_from(kind as u8), Ok(kind));
        }
    }

    #[test]
    fn names_are_those_that_configuration_and_status_use() {
        let names = Kind::ALL.map(|kind| kind.to_string());
        assert_eq!(names, ["counter", "flag-enable-wins", "flag-disable-wins", "register", "set"]);
    }
}
