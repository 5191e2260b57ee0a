//! Sealed frames: who has no key can neither read nor make one, nor send one a second time.
//!
//! ```text
//!   header 64 (in clear)                          payload (encrypted)           tag 16
//!   ┌──────────────┬───────────────┬───────────┐┌───────────────────────────┐┌─────────────────────────┐
//!   │ … who, where │ key number 44 │ counter 56││ AES-128-GCM               ││ covers header, payload  │
//!   └──────────────┴───────────────┴───────────┘└───────────────────────────┘└─────────────────────────┘
//!   nonce (96 bits) = shard (16) | 0 (16) | counter (64)                 never twice with one key
//! ```
//!
//! **Keys have a direction.** Who sends draws the key ([`Secret`]) for what it sends to one peer, and hands it over inside the
//! authenticated session of the two. So no two hosts ever make nonces for one key. All workers of the sender use it: a
//! shard has one owner, and each shard counts for itself, so their nonces differ as well.
//!
//! ```text
//!   sender                                    receiver
//!   draw key ──── Key, in the session ──────> workers open with it (and still with the one before)
//!   workers seal with it <──── Taken ──────── all workers have been told
//! ```
//!
//! Who drew a key begins to use it when the other side has it, so that a roll loses no frame. A key is rolled after some minutes,
//! long before [`KEY_FRAMES`], and with each new session: after a restart or a broken connection of either side.
//! A restarted process has none of the old keys; what was sealed with them is dropped as [`Refused::UnknownKey`].
//! Frames for a peer that has no key yet are not sent: repair brings what was in them. Operations are lost by neither.
//!
//! **Order of the checks** at the receiver: lengths and header ([`lattice_wire::split_frame`]), the key by node and number, the tag, and only
//! then the replay window ([`Window`]), so that nobody without the key can move it. What passed all is handed on.
//!
//! **Which frames are sealed** is the pair's matter, not the frame's: a frame without a seal from a peer that has to seal is dropped
//! like a forged one, and so is a sealed frame from one that does not. Both kinds are told apart by the key's number, within
//! one version of the format, so a cluster goes over to sealing host by host.
//!
//! What it costs: each frame is made for one peer (it names the peer's session and aliases), so it is sealed where it lies; there is
//! no copy when sending. Opening copies the payload once: received memory is the kernel's. The checksum of frames that are
//! not sealed is not computed. `lattice-bench seal` has the figures.
//!
//! What it does not hide: who talks to whom, about which shard, how much, and when. A host of the cluster can say anything as
//! itself: keys keep strangers out, not members.
//!
//! This crate knows no sockets, threads or time; it reads randomness of the operating system for [`Secret::draw`] alone. After
//! they are made, keys allocate nothing.

#![forbid(unsafe_code)]

mod keys;
mod secret;
mod window;

pub use keys::{OpenKey, Opened, Refused, SealKey, Unusable, Worn};
pub use secret::{NoRandomness, SECRET_BYTES, Secret};
pub use window::{WINDOW_FRAMES, Window};

/// Most frames that are sealed with one key, by all workers together. AES-GCM with 96-bit nonces holds far beyond it (2^32
/// with random ones, NIST SP 800-38D); keys are rolled at an eighth of it.
pub const KEY_FRAMES: u64 = 1 << 27;
