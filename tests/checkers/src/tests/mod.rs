//! Each hole with a history that falls into it and one that does not; and an honest store, whose histories are valid
//! until one answer is changed.

mod counters;
mod honest;
mod sets;
mod story;
