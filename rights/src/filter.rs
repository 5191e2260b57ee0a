//! Which system calls a daemon may make: a seccomp filter.
//!
//! ```text
//!   a call on the list ──> carried out
//!   any other          ──> EPERM, and a line in the kernel's log (type=1326 … syscall=NUMBER)      another architecture's: killed
//! ```
//!
//! The list is what a service that serves files, sockets, timers and threads needs, a good deal more than what is seen at any
//! time: the C library and its name services call what they like. What is not on it: starting programs, becoming somebody else,
//! mounting, namespaces, modules, tracing, keys, clocks, the memory of other processes. The filter looks at the call's number
//! alone, so that the kernel keeps the answer in a table of its own, and a call costs what it did.

use std::collections::BTreeMap;
use std::io;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

/// Why there is no filter.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// Filters are made for x86-64 and AArch64.
    #[error("there is no list of system calls for this architecture")]
    Architecture,
    /// The filter could not be made.
    #[error("the filter could not be made: {0}")]
    Compile(String),
    /// The kernel does not take it.
    #[error("the kernel took no filter of system calls: {0}")]
    System(io::Error),
}

/// Filters the system calls of this process, all threads, for good.
///
/// # Errors
/// [`FilterError`]; nothing is filtered.
pub fn filter_system_calls() -> Result<(), FilterError> {
    install(&program()?)
}

fn program() -> Result<BpfProgram, FilterError> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH).map_err(|_| FilterError::Architecture)?;
    let calls = allowed();
    if calls.is_empty() {
        return Err(FilterError::Architecture);
    }
    let rules: BTreeMap<i64, _> = calls.into_iter().map(|number| (number, Vec::new())).collect();
    let otherwise = SeccompAction::Errno(libc::EPERM as u32);
    let failed = |error: &dyn std::fmt::Display| FilterError::Compile(error.to_string());
    let filter = SeccompFilter::new(rules, otherwise, SeccompAction::Allow, architecture);
    filter
        .map_err(|error| failed(&error))?
        .try_into()
        .map_err(|error: seccompiler::BackendError| failed(&error))
}

/// As [`seccompiler::apply_filter_all_threads`], and with `SECCOMP_FILTER_FLAG_LOG`: a refusal that nobody is told of is a riddle.
fn install(program: &BpfProgram) -> Result<(), FilterError> {
    let filter: Vec<libc::sock_filter> =
        program.iter().map(|it| libc::sock_filter { code: it.code, jt: it.jt, jf: it.jf, k: it.k }).collect();
    let len = u16::try_from(filter.len()).map_err(|_| FilterError::Compile("it is too long".to_owned()))?;
    let program = libc::sock_fprog { len, filter: filter.as_ptr().cast_mut() };
    let flags = libc::SECCOMP_FILTER_FLAG_TSYNC | libc::SECCOMP_FILTER_FLAG_LOG;
    // SAFETY: `program` describes `filter`, `len` entries that outlive the call; the kernel copies and checks them, and writes to
    // neither.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    match result {
        0 => Ok(()),
        -1 => Err(FilterError::System(io::Error::last_os_error())),
        thread => Err(FilterError::System(io::Error::other(format!("thread {thread} has another filter")))),
    }
}

/// Numbers of calls by their names.
macro_rules! calls {
    ($($name:ident)*) => { [$(libc::$name),*] };
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn allowed() -> Vec<i64> {
    Vec::new()
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn allowed() -> Vec<i64> {
    let mut calls = Vec::new();
    // Descriptors, and what is read and written through them.
    calls.extend(calls![
        SYS_close SYS_close_range SYS_dup SYS_dup3 SYS_fcntl SYS_flock SYS_ioctl SYS_lseek SYS_pread64 SYS_preadv
        SYS_preadv2 SYS_pwrite64 SYS_pwritev SYS_pwritev2 SYS_read SYS_readv SYS_write SYS_writev SYS_copy_file_range
        SYS_sendfile SYS_splice SYS_pipe2 SYS_memfd_create
    ]);
    // Files and directories.
    calls.extend(calls![
        SYS_faccessat SYS_faccessat2 SYS_fadvise64 SYS_fallocate SYS_fchmod SYS_fchmodat SYS_fdatasync SYS_fgetxattr SYS_fstat
        SYS_fstatfs SYS_fsync SYS_ftruncate SYS_getcwd SYS_getdents64 SYS_inotify_add_watch SYS_inotify_init1
        SYS_inotify_rm_watch SYS_linkat SYS_mkdirat SYS_newfstatat SYS_openat SYS_openat2 SYS_readahead SYS_readlinkat
        SYS_renameat SYS_renameat2 SYS_statfs SYS_statx SYS_symlinkat SYS_sync_file_range SYS_syncfs SYS_truncate SYS_umask
        SYS_unlinkat SYS_utimensat
    ]);
    // Memory.
    calls.extend(calls![
        SYS_brk SYS_get_mempolicy SYS_madvise SYS_membarrier SYS_mincore SYS_mlock SYS_mlock2 SYS_mmap SYS_mprotect SYS_mremap
        SYS_msync SYS_munlock SYS_munmap
    ]);
    // Sockets; maps of BPF programs that are loaded.
    calls.extend(calls![
        SYS_accept SYS_accept4 SYS_bind SYS_bpf SYS_connect SYS_getpeername SYS_getsockname SYS_getsockopt SYS_listen
        SYS_recvfrom SYS_recvmmsg SYS_recvmsg SYS_sendmmsg SYS_sendmsg SYS_sendto SYS_setsockopt SYS_shutdown SYS_socket
        SYS_socketpair
    ]);
    // Waiting, time, signals to itself.
    calls.extend(calls![
        SYS_clock_getres SYS_clock_gettime SYS_clock_nanosleep SYS_epoll_create1 SYS_epoll_ctl SYS_epoll_pwait SYS_epoll_pwait2
        SYS_eventfd2 SYS_futex SYS_futex_waitv SYS_gettimeofday SYS_nanosleep SYS_ppoll SYS_pselect6 SYS_restart_syscall
        SYS_rt_sigaction SYS_rt_sigpending SYS_rt_sigprocmask SYS_rt_sigreturn SYS_rt_sigsuspend SYS_rt_sigtimedwait
        SYS_sigaltstack SYS_signalfd4 SYS_tgkill SYS_timerfd_create SYS_timerfd_gettime SYS_timerfd_settime
    ]);
    // Threads, and what a process asks about itself.
    calls.extend(calls![
        SYS_capget SYS_clone SYS_clone3 SYS_exit SYS_exit_group SYS_get_robust_list SYS_getcpu SYS_getegid SYS_geteuid
        SYS_getgid SYS_getgroups SYS_getpgid SYS_getpid SYS_getppid SYS_getpriority SYS_getrandom SYS_getresgid SYS_getresuid
        SYS_getrlimit SYS_getrusage SYS_getsid SYS_gettid SYS_getuid SYS_prctl SYS_prlimit64 SYS_rseq SYS_sched_getaffinity
        SYS_sched_getparam SYS_sched_getscheduler SYS_sched_setaffinity SYS_sched_yield SYS_set_robust_list
        SYS_set_tid_address SYS_sysinfo SYS_times SYS_uname
    ]);
    // The same under names that newer architectures do not have.
    #[cfg(target_arch = "x86_64")]
    calls.extend(calls![
        SYS_access SYS_arch_prctl SYS_chmod SYS_creat SYS_dup2 SYS_epoll_create SYS_epoll_wait SYS_eventfd SYS_getdents SYS_getpgrp
        SYS_inotify_init SYS_link SYS_lstat SYS_mkdir SYS_open SYS_pause SYS_pipe SYS_poll SYS_readlink SYS_rename SYS_rmdir
        SYS_select SYS_signalfd SYS_stat SYS_symlink SYS_time SYS_unlink SYS_utimes
    ]);
    calls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_names_each_call_once_and_nothing_that_leads_out() {
        let mut calls = allowed();
        calls.sort_unstable();
        let count = calls.len();
        calls.dedup();
        assert_eq!(calls.len(), count);
        for forbidden in [
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_ptrace,
            libc::SYS_mount,
            libc::SYS_unshare,
            libc::SYS_setns,
            libc::SYS_setresuid,
            libc::SYS_capset,
            libc::SYS_process_vm_writev,
            libc::SYS_io_uring_setup,
            libc::SYS_kexec_load,
            libc::SYS_keyctl,
        ] {
            assert!(!calls.contains(&forbidden), "{forbidden}");
        }
        assert!(program().is_ok_and(|program| program.len() > count));
    }
}
