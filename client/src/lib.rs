//! What applications link: lock-free reads and wait-free writes of replicated state.
