//! The pinned polling loop that joins port, engine and segment.
