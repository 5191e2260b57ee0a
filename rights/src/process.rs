//! Giving up what a process needs no more: its user, its capabilities, the way to get others.
//!
//! ```text
//!   root ── act_as ──> acts as the user ── act_as_root ──> root ── give_up ──> the user, for good
//!            files are made and read                        sockets, programs     nothing leads back
//! ```
//!
//! Rights are each thread's own on Linux, and threads inherit them: so all of this is done before there is a second thread, and
//! refused after that. What can go wrong: the kernel refuses a step. Then the process has less than it had or as much, never
//! more, and is to end.

use std::io;

use rustix::process::{Gid, Uid, geteuid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_keep_capabilities, set_no_new_privs,
    set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

/// The most capabilities that a kernel can have: bits of a word.
const MAX_CAPABILITIES: u32 = 64;

/// Who a process is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its user.
    pub uid: u32,
    /// Its group: that of the files that it makes.
    pub gid: u32,
    /// Its other groups.
    pub groups: Vec<u32>,
}

/// Why rights were not given up.
#[derive(Debug, thiserror::Error)]
pub enum RightsError {
    /// There is more than one thread.
    #[error("rights can only be given up while there is one thread, and there are {0}")]
    Threads(usize),
    /// The kernel refused a step.
    #[error("{step}: {source}")]
    System {
        /// What was attempted.
        step: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// Something is left that should not be there.
    #[error("after giving up its rights this process still has {0}")]
    Left(String),
}

/// Puts the step before what the kernel said.
fn step<T>(step: &'static str, result: rustix::io::Result<T>) -> Result<T, RightsError> {
    result.map_err(|errno| RightsError::System { step, source: errno.into() })
}

/// Whether this process is root.
#[must_use]
pub fn is_root() -> bool {
    geteuid().is_root()
}

/// Goes on as another user, with the way back open: what is made from here on is that user's, and what only root may read is not
/// read. Only root can.
///
/// # Errors
/// [`RightsError`].
pub fn act_as(account: &Account) -> Result<(), RightsError> {
    single_thread()?;
    set_groups(account)?;
    step("taking the group", set_thread_res_gid(None, Gid::from_raw(account.gid), None))?;
    step("taking the user", set_thread_res_uid(None, Uid::from_raw(account.uid), None))
}

/// Back from [`act_as`]: the effective user is root again, with its capabilities.
///
/// # Errors
/// [`RightsError`].
pub fn act_as_root() -> Result<(), RightsError> {
    single_thread()?;
    step("becoming root again", set_thread_res_uid(None, Uid::ROOT, None))
}

/// Gives up all capabilities but those to `keep`, in every set, and the way to get any: no program that this process starts has
/// more than it. With an account, that is who it is from here on, for good.
///
/// # Errors
/// [`RightsError`]; also if afterwards something is left.
pub fn give_up(account: Option<&Account>, keep: CapabilitySet) -> Result<(), RightsError> {
    single_thread()?;
    empty_bounding_set()?;
    // Kernels before 4.3 have no such set.
    match clear_ambient_capability_set() {
        Err(errno) if errno != rustix::io::Errno::INVAL => step("clearing ambient capabilities", Err(errno))?,
        _ => {}
    }
    if let Some(account) = account {
        step("keeping capabilities", set_keep_capabilities(!keep.is_empty()))?;
        set_groups(account)?;
        let gid = Gid::from_raw(account.gid);
        step("taking the group", set_thread_res_gid(gid, gid, gid))?;
        let uid = Uid::from_raw(account.uid);
        step("taking the user", set_thread_res_uid(uid, uid, uid))?;
        step("keeping capabilities", set_keep_capabilities(false))?;
    }
    let had = step("asking for capabilities", capabilities(None))?.permitted;
    let kept = had & keep;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    step("giving up capabilities", set_capabilities(None, sets))?;
    step("giving up new privileges", set_no_new_privs(true))?;
    check(account, kept)
}

/// Whether the way back is really closed.
fn check(account: Option<&Account>, kept: CapabilitySet) -> Result<(), RightsError> {
    let sets = step("asking for capabilities", capabilities(None))?;
    if sets.permitted != kept || sets.effective != kept || !sets.inheritable.is_empty() {
        return Err(RightsError::Left(format!("capabilities: {sets:?}")));
    }
    let is_other = account.is_some_and(|account| account.uid != 0);
    if is_other && set_thread_res_uid(None, Uid::ROOT, None).is_ok() {
        return Err(RightsError::Left("the way back to root".to_owned()));
    }
    Ok(())
}

/// Runs something without the effective capabilities, which are there again afterwards: how will it be without them?
///
/// # Errors
/// [`RightsError`]: the capabilities may be gone.
pub fn without_capabilities<T>(attempt: impl FnOnce() -> T) -> Result<T, RightsError> {
    let sets = step("asking for capabilities", capabilities(None))?;
    let none = CapabilitySets { effective: CapabilitySet::empty(), ..sets };
    step("laying capabilities down", set_capabilities(None, none))?;
    let outcome = attempt();
    step("taking capabilities up again", set_capabilities(None, sets))?;
    Ok(outcome)
}

fn set_groups(account: &Account) -> Result<(), RightsError> {
    let groups: Vec<Gid> = account.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    step("taking the groups", set_thread_groups(&groups))
}

/// Takes every capability from the bounding set, if this process may.
fn empty_bounding_set() -> Result<(), RightsError> {
    let may = step("asking for capabilities", capabilities(None))?.effective.contains(CapabilitySet::SETPCAP);
    for number in (0..MAX_CAPABILITIES).filter(|_| may) {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        match capability_is_in_bounding_set(capability) {
            Ok(true) => step("emptying the bounding set", remove_capability_from_bounding_set(capability))?,
            Ok(false) => {}
            // The kernel knows no more of them.
            Err(_) => break,
        }
    }
    Ok(())
}

fn single_thread() -> Result<(), RightsError> {
    let tasks = std::fs::read_dir("/proc/self/task");
    let tasks = tasks.map_err(|source| RightsError::System { step: "counting threads", source })?;
    match tasks.count() {
        1 => Ok(()),
        count => Err(RightsError::Threads(count)),
    }
}
