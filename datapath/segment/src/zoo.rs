//! `zoo!(Bug)`: whether this build makes that mistake. A constant `false` but under the feature `zoo`, by which the tests
//! are tested (`tests/zoo`).

#[cfg(feature = "zoo")]
macro_rules! zoo {
    ($bug:ident) => {
        lattice_zoo::planted(lattice_zoo::Bug::$bug)
    };
}

#[cfg(not(feature = "zoo"))]
macro_rules! zoo {
    ($bug:ident) => {
        false
    };
}
