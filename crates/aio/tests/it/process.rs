//! What a test can take away from its own process, for good, and see of it.
#![expect(unsafe_code, reason = "system calls that change the whole process")]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

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
    let verdict = libc::SECCOMP_RET_ERRNO | errno as u32;
    filter(system_call, verdict, 0).unwrap();
}

/// Has the kernel decide about a system call of this thread, and of those it
/// starts from now on. Returns what `seccomp` does: a descriptor, or 0.
fn filter(system_call: libc::c_long, verdict: u32, flags: libc::c_ulong) -> io::Result<i32> {
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
        statement(libc::BPF_RET | libc::BPF_K, 0, 0, verdict),
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
    let returned = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            std::ptr::from_ref(&program),
        )
    };
    match returned {
        -1 => Err(io::Error::last_os_error()),
        descriptor => Ok(descriptor as i32),
    }
}

/// The arguments of a system call.
pub type Arguments = [u64; 6];

/// The calls that were seen, in order, each as what was looked at.
#[derive(Clone, Default)]
pub struct Seen(Arc<Mutex<Vec<u32>>>);

impl Seen {
    pub fn calls(&self) -> Vec<u32> {
        self.0.lock().unwrap().clone()
    }
}

/// Sees a system call of this thread, and of those it starts from now on, each
/// time before it happens. A process can be watched once.
///
/// # Errors
/// The kernel has no such notifications (before 5.5), or somebody else's profile uses
/// them already.
pub fn watch(
    system_call: libc::c_long,
    look: impl Fn(&Arguments) -> u32 + Send + 'static,
) -> io::Result<Seen> {
    let seen = Seen::default();
    let (sender, receiver) = mpsc::channel::<OwnedFd>();
    let told = seen.clone();
    // Started before the filter is there, and so not under it.
    thread::spawn(move || {
        let Ok(listener) = receiver.recv() else {
            return;
        };
        // Until the process ends.
        while let Some((id, arguments)) = next_call(&listener) {
            told.0.lock().unwrap().push(look(&arguments));
            if !let_happen(&listener, id) {
                told.0.lock().unwrap().pop();
            }
        }
    });
    let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    let listener = filter(system_call, libc::SECCOMP_RET_USER_NOTIF, flags)?;
    // SAFETY: the kernel has just made the descriptor for this call.
    let listener = unsafe { OwnedFd::from_raw_fd(listener) };
    sender.send(listener).unwrap();
    Ok(seen)
}

/// Waits for a call; none when there will be none any more.
fn next_call(listener: &OwnedFd) -> Option<(u64, Arguments)> {
    loop {
        match received(listener) {
            Ok(call) => return Some(call),
            // Interrupted between its being told of and being asked for.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
            Err(_) => return None,
        }
    }
}

fn received(listener: &OwnedFd) -> io::Result<(u64, Arguments)> {
    // SAFETY: numbers, for which zeros are valid, and which the kernel wants zeroed.
    let mut notice: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel fills in the structure, which is of the type that the request asks for.
    let failed = unsafe {
        libc::ioctl(
            listener.as_raw_fd(),
            libc::SECCOMP_IOCTL_NOTIF_RECV,
            std::ptr::from_mut(&mut notice),
        )
    };
    if failed == 0 {
        Ok((notice.id, notice.data.args))
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Whether it does: a call that something interrupted meanwhile, such as the kernel's work for a ring, is made
/// anew, and told of again.
fn let_happen(listener: &OwnedFd, id: u64) -> bool {
    let answer = libc::seccomp_notif_resp {
        id,
        val: 0,
        error: 0,
        flags: libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32,
    };
    // SAFETY: the structure is only read, and of the type that the request asks for.
    let failed = unsafe {
        libc::ioctl(
            listener.as_raw_fd(),
            libc::SECCOMP_IOCTL_NOTIF_SEND,
            std::ptr::from_ref(&answer),
        )
    };
    if failed == 0 {
        return true;
    }
    let error = io::Error::last_os_error();
    assert_eq!(error.raw_os_error(), Some(libc::ENOENT), "{error}");
    false
}

/// Words of `struct io_uring_params`.
#[derive(Clone, Copy)]
pub enum RingParameter {
    CompletionEntries = 1,
    Flags = 2,
}

/// What a call of `io_uring_setup` asks for; to be looked at while it is held.
pub fn ring_parameter(setup: &Arguments, parameter: RingParameter) -> u32 {
    let address = setup[1] as usize + parameter as usize * size_of::<u32>();
    // SAFETY: the caller of the system call, in this process, keeps the structure until it returns.
    unsafe { std::ptr::with_exposed_provenance::<u32>(address).read_volatile() }
}
