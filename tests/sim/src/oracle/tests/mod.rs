//! Each violation once, by hand; and random histories against an evaluation that is as naive as the specification.

mod by_hand;
mod naive;
mod random;
mod scene;
