//! What a test can take away from its own process, for good.
#![expect(unsafe_code, reason = "system calls that change the whole process")]

use std::io;

/// The user that owns nothing.
const NOBODY: libc::uid_t = 65_534;

/// Lowers a limit.
pub fn limit(resource: libc::__rlimit_resource_t, value: u64) {
    let limit = libc::rlimit {
        rlim_cur: value,
        rlim_max: value,
    };
    // SAFETY: the structure is only read.
    let failed = unsafe { libc::setrlimit(resource, &limit) };
    assert_eq!(failed, 0, "{}", io::Error::last_os_error());
}

/// Gives up root's rights; false if there are none.
pub fn become_nobody() -> bool {
    // SAFETY: names no memory.
    if unsafe { libc::geteuid() } != 0 {
        return false;
    }
    // SAFETY: names no memory.
    let failed = unsafe { libc::setuid(NOBODY) };
    assert_eq!(failed, 0, "{}", io::Error::last_os_error());
    true
}

/// From now on a system call fails with `errno`, as under a container's
/// seccomp profile.
pub fn forbid(system_call: libc::c_long, errno: i32) {
    let statement = |code: u32, jump_if_equal, jump_else, k| libc::sock_filter {
        code: code as u16,
        jt: jump_if_equal,
        jf: jump_else,
        k,
    };
    let mut filter = [
        // The number of the call is the first word of `struct seccomp_data`.
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        statement(
            libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
            0,
            1,
            system_call as u32,
        ),
        statement(
            libc::BPF_RET | libc::BPF_K,
            0,
            0,
            libc::SECCOMP_RET_ERRNO | errno as u32,
        ),
        statement(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: names no memory.
    let failed = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    assert_eq!(failed, 0, "{}", io::Error::last_os_error());
    // SAFETY: the kernel copies the program, which outlives the call.
    let failed = unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            std::ptr::from_ref(&program),
        )
    };
    assert_eq!(failed, 0, "{}", io::Error::last_os_error());
}
