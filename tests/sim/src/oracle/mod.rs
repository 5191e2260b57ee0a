//! The oracle: what each type's specification says, evaluated on exactly the operations that a replica has seen.
//!
//! ```text
//!   every engine's log ── witness(dot, record) ──> History      all operations that ever were, of lost epochs as well
//!                                                     │
//!   a host's vector V ─── cover(V) ──────────┐        │         what it must show the whole effect of
//!   of who syncs to it ── may_show(U) ───────┴──> Replica       what it may show some effect of (rule 5)
//!                                                     │
//!   what a reader of its segment sees ── check ───────┴──> Ok, or a Violation in the field's words
//! ```
//!
//! It knows dots, vectors and the record format, and nothing of the engine; nor does it evaluate with the data types
//! of lattice-crdt, whose mistakes it would repeat. The specification, per key:
//!
//! - counter: the sum over actors of each one's last record (records are cumulative), as the nearest i64;
//! - register: the value with the greatest (hybrid clock, actor);
//! - set: the elements with an add that no operation removes or supersedes;
//! - flag: the same with the elements *enable* and *disable*. Enable-wins is on iff there is such an enable;
//!   disable-wins iff there is such an enable and no such disable.
//!
//! **V and U.** A vector covers a dot only when its whole effect is there. A state sync shows effects before the vector
//! covers their dots, and an abandoned one leaves them. So beside V there is the upper vector U: when a host *sends* a
//! frame of a state sync, or writes a snapshot, all that it may show itself goes into the U of whoever reads that. Where
//! a key has no operation in U beyond V the view must be exact; else it is bounded as tightly as the specification
//! allows: an element must be there if it has an add in V that nothing in V or U removes, and may be there if it has an
//! add in V or U that nothing in V removes; a counter is one of the sums that can be reached; a register is as new as
//! the newest of V, or a newer one of U.
//!
//! **Cost.** A replica keeps, per element, how many adds make it certain and how many make it possible, and updates
//! these as operations become covered. A step costs the operations that are new to the host, not the history.
//!
//! One oracle is for one shard: dots and vectors are a shard's own.

mod check;
mod explain;
mod history;
mod replica;
mod sums;
#[cfg(test)]
mod tests;
mod violation;

pub use check::Shown;
pub use history::{History, KeyId};
pub use replica::Replica;
pub use violation::{Breach, Verdict, Violation};
