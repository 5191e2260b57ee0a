//! Who is at the other end of a Unix socket: what the kernel kept when it connected, which the peer can't forge.
//!
//! What can go wrong: a peer that connects, hands the socket to another process and ends. The rights are those of who
//! connected; that is how Unix sockets are.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Groups that a process can have (NGROUPS_MAX, `linux/limits.h`).
const MAX_GROUPS: usize = 65_536;
/// Room for groups in the first question: hardly anybody has more.
const USUAL_GROUPS: usize = 32;

/// The groups of who connected this socket, beside the effective one (which, with the user, `SO_PEERCRED` tells).
///
/// # Errors
/// What the kernel said: most likely that it is no connected Unix socket.
pub fn peer_groups(socket: impl AsFd) -> io::Result<Vec<u32>> {
    groups(socket.as_fd().as_raw_fd())
}

/// SO_PEERGROUPS. Linux 4.13; an older kernel says ENOPROTOOPT, and then the effective group is all there is.
fn groups(socket: libc::c_int) -> io::Result<Vec<u32>> {
    let mut groups = vec![0_u32; USUAL_GROUPS];
    loop {
        let mut bytes = (groups.len() * size_of::<u32>()) as libc::socklen_t;
        // SAFETY: `groups` has room for `bytes` bytes, which the kernel writes at most, and any bytes are numbers; `bytes` is ours.
        // The descriptor is borrowed by the caller for longer than the call.
        let result = unsafe {
            libc::getsockopt(
                socket,
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut bytes,
            )
        };
        let error = if result == 0 { None } else { Some(io::Error::last_os_error()) };
        let count = bytes as usize / size_of::<u32>();
        match error {
            None => {
                groups.truncate(count);
                return Ok(groups);
            }
            // Too little room, and `bytes` says how much it takes.
            Some(error)
                if error.raw_os_error() == Some(libc::ERANGE)
                    && count > groups.len()
                    && count <= MAX_GROUPS =>
            {
                groups.resize(count, 0);
            }
            Some(error) if error.raw_os_error() == Some(libc::ENOPROTOOPT) => return Ok(Vec::new()),
            Some(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_peer_is_known_with_all_of_its_groups() {
        let (ours, _theirs) = UnixStream::pair().expect("a socket pair");
        let mut found = peer_groups(&ours).expect("connected");
        let mut own: Vec<u32> =
            rustix::process::getgroups().expect("own groups").into_iter().map(|gid| gid.as_raw()).collect();
        own.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, own);
    }

    #[test]
    fn more_groups_than_usual_are_known_too() {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: only root can have any groups");
            return;
        }
        let many: Vec<_> = (1..=200).map(rustix::process::Gid::from_raw).collect();
        // Of this thread alone.
        let found = std::thread::spawn(move || {
            rustix::thread::set_thread_groups(&many).expect("root may");
            let (ours, _theirs) = UnixStream::pair().expect("a socket pair");
            peer_groups(&ours).expect("connected")
        });
        assert_eq!(found.join().expect("no panic"), (1..=200).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_no_socket_has_no_peer() {
        let file = std::fs::File::open("/dev/null").expect("every Linux has it");
        assert!(peer_groups(&file).is_err());
    }
}
