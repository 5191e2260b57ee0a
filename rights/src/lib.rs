//! What processes may: who the other end of a socket is, which users and groups there are, and how this process gives up what
//! it needs no more.
//!
//! ```text
//!   peer      a connected Unix socket ──> groups, beside those of SO_PEERCRED     SO_PEERGROUPS
//!   accounts  a name or number ──> user, group                                    as this host knows them
//!   process   root ──> a user without capabilities, for good
//!   filter    the system calls that are left
//! ```
//!
//! A thin edge around system calls, without policy: what is to be allowed, and when, is for the caller to know.

mod accounts;
mod filter;
mod peer;
mod process;

pub use accounts::{AccountError, Group, User, group, user};
pub use filter::{FilterError, filter_system_calls};
pub use peer::peer_groups;
pub use process::{Account, RightsError, act_as, act_as_root, give_up, is_root, without_capabilities};
pub use rustix::thread::CapabilitySet;
