//! The published shared-memory segment: layout, writer, readers and client rings.
