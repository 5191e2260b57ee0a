//! Sleeping on a port's descriptor and the worker's wakeup at once.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::PortError;

/// Sleeps until one of the two is readable or `timeout` passed. A signal ends it early, without an error.
pub(crate) fn poll_two(
    own: BorrowedFd<'_>,
    wakeup: BorrowedFd<'_>,
    timeout: Duration,
) -> Result<(), PortError> {
    let mut descriptors =
        [PollFd::from_borrowed_fd(own, PollFlags::IN), PollFd::from_borrowed_fd(wakeup, PollFlags::IN)];
    // A timeout too long for the kernel's type is as good as none.
    let timeout = Timespec::try_from(timeout).ok();
    match poll(&mut descriptors, timeout.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(errno) => Err(PortError { operation: "poll", source: errno.into() }),
    }
}
