//! The replicated data types of Latticed: pure join semilattices.
