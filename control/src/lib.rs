//! The Latticed daemon and its command-line tool.
