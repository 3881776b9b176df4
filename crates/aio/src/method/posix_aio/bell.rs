//! How a thread in `aio_suspend` is called away from it: one of the blocks
//! that it waits for is a read of a pipe. Where the system has no asynchronous
//! reads of pipes, it looks up from time to time.
#![expect(unsafe_code, reason = "an asynchronous read into memory of its own")]

use std::io::{PipeReader, PipeWriter, Write};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use crate::memory::IoMemory;

use super::control::{Action, Control, suspend};

/// How often to look up without a pipe.
const LOOK_UP: Duration = Duration::from_millis(1);

/// Calls a completer.
pub(super) struct Bell {
    writer: Option<PipeWriter>,
}

impl Bell {
    /// Ends the present suspension, or the next.
    pub(super) fn ring(&self) {
        let Some(mut writer) = self.writer.as_ref() else {
            return;
        };
        // The pipe is never full: there is one ring for one that was heard.
        if let Err(error) = writer.write_all(&[0]) {
            tracing::error!(%error, "could not call the I/O completer");
        }
    }
}

/// The completer's side.
pub(super) struct Ear {
    bell: Arc<Bell>,
    pipe: Option<Pipe>,
    /// The list for the system.
    blocks: Vec<*const libc::aiocb>,
}

struct Pipe {
    reader: PipeReader,
    control: Control,
    /// Where the read puts what it finds; only the system touches it.
    byte: *mut u8,
    armed: bool,
}

impl Ear {
    pub(super) fn new() -> Self {
        let ends = cfg!(target_os = "linux").then(std::io::pipe);
        let (reader, writer) = match ends {
            Some(Ok((reader, writer))) => (Some(reader), Some(writer)),
            Some(Err(_)) | None => (None, None),
        };
        let pipe = reader.map(|reader| Pipe {
            reader,
            control: Control::new(),
            byte: Box::into_raw(Box::new(0)),
            armed: false,
        });
        Ear {
            bell: Arc::new(Bell { writer }),
            pipe,
            blocks: Vec::new(),
        }
    }

    pub(super) fn bell(&self) -> Arc<Bell> {
        Arc::clone(&self.bell)
    }

    /// Blocks until one of these is no longer in progress, the bell rings, or
    /// for no reason. `None` stands for what is not in progress already.
    pub(super) fn suspend<'a>(&mut self, controls: impl Iterator<Item = Option<&'a Control>>) {
        self.blocks.clear();
        for control in controls {
            let Some(control) = control else { return };
            self.blocks.push(control.as_ptr());
        }
        let mut timeout = Some(LOOK_UP);
        if let Some(pipe) = &mut self.pipe
            && pipe.arm()
        {
            self.blocks.push(pipe.control.as_ptr());
            timeout = None;
        }
        // SAFETY: the blocks are borrowed from their owners for the call.
        unsafe { suspend(&self.blocks, timeout) };
    }

    /// The bell has been rung: takes note, for the next time.
    pub(super) fn hear_ring(&mut self) {
        if let Some(pipe) = &mut self.pipe
            && pipe.arm()
        {
            pipe.control.wait();
            pipe.disarm();
        }
    }
}

impl Pipe {
    /// Has a read in flight, if the system takes it.
    fn arm(&mut self) -> bool {
        if !self.armed {
            let memory = IoMemory::new(self.byte, 1);
            let fd = self.reader.as_raw_fd();
            // SAFETY: reader and byte live until `Drop`, which waits.
            self.armed = unsafe { self.control.start(Action::Read, fd, 0, memory) }.is_ok();
        }
        self.armed
    }

    fn disarm(&mut self) {
        if let (Err(errno), _) = self.control.finish() {
            tracing::error!(errno, "the I/O completer does not hear");
        }
        self.armed = false;
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        if let Some(pipe) = &mut self.pipe {
            if pipe.armed {
                self.bell.ring();
                pipe.control.wait();
                pipe.disarm();
            }
            // SAFETY: made by `Box::into_raw`, and nothing reads into it.
            drop(unsafe { Box::from_raw(pipe.byte) });
        }
    }
}
