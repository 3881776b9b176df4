//! Executing I/Os: [`Method`] for the disk.
//!
//! An I/O takes effect, as a whole, when its simulated time has come and some
//! thread waits: whoever waits executes what is due, earliest first, its own
//! and everybody else's (A6). The lock is never held while an I/O is
//! completed, which runs callbacks and closes files.

use std::thread::{self, Thread};

use trunkline_aio::{Completions, InFlight, Method, Op, RequestBatch};

use crate::disk::{Opening, Queued, SimDisk, State};
use crate::faults::{Fault, OpKind};
use crate::file_system::Errno;
use crate::names::Inode;
use crate::trace::{TraceEvent, TraceKind};

impl Method for SimDisk {
    fn name(&self) -> &'static str {
        "simulated"
    }

    fn submit(&self, batch: &mut RequestBatch, completions: &Completions) {
        let mut state = self.lock();
        for request in batch {
            state.enqueue(request, completions.clone());
        }
    }

    fn wait(&self, io: &InFlight<'_>) {
        while !io.is_complete() {
            if self.has(io) {
                self.execute_next(Some(io.completions()));
                self.sound_alarms();
            } else {
                // Another thread has it in its hands, and may put it back.
                self.lock().parked.push(thread::current());
                io.park_until(|| self.has(io));
                let this = thread::current().id();
                self.lock().parked.retain(|thread| thread.id() != this);
            }
        }
    }

    /// Nobody waits, so that it is executed now; simulated time passes, but
    /// the caller is not blocked.
    fn drive(&self, io: &InFlight<'_>) {
        while !io.is_complete() {
            if self.has(io) {
                self.execute_next(Some(io.completions()));
                continue;
            }
            let mut state = self.lock();
            // Whoever has it sees it through; or it came back meanwhile.
            if !state.has(io) {
                state.driven.push(io.carrier());
                return;
            }
        }
    }
}

impl SimDisk {
    fn has(&self, io: &InFlight<'_>) -> bool {
        self.lock().has(io)
    }

    /// Executes the I/O that is due first, if there is one, on behalf of
    /// `completer` where that is of the same AIO core.
    pub(crate) fn execute_next(&self, completer: Option<&Completions>) {
        let mut state = self.lock();
        let Some((queued, outcome)) = state.execute_next() else {
            return;
        };
        drop(state);
        let Queued {
            request,
            completions,
            ..
        } = queued;
        let by = completer
            .filter(|completer| completer.serves(&request))
            .unwrap_or(&completions);
        let wait_ref = request.wait_ref();
        let rest = by.complete(request, outcome);
        let mut state = self.lock();
        let driven = state.driven.iter().position(|other| *other == wait_ref);
        let Some(rest) = rest else {
            state.driven.retain(|other| *other != wait_ref);
            return;
        };
        // Of combined I/Os another one may carry what is left.
        let wait_ref = rest.wait_ref();
        if let Some(at) = driven {
            state.driven[at] = wait_ref;
        }
        state.enqueue(rest, completions.clone());
        // They leave the list by themselves: whoever wakes may find it taken
        // again, and waits on.
        state.parked.iter().for_each(Thread::unpark);
        drop(state);
        if driven.is_some() {
            self.drive(&completions.in_flight(wait_ref));
        }
    }
}

impl State {
    fn has(&self, io: &InFlight<'_>) -> bool {
        let carrier = io.carrier();
        self.queue.values().any(|queued| {
            queued.request.wait_ref() == carrier && io.completions().serves(&queued.request)
        })
    }

    fn execute_next(&mut self) -> Option<(Queued, i32)> {
        if self.queue.is_empty() {
            return None;
        }
        // Before it is taken out: when the power fails here, it is in flight.
        let power = self.step();
        let ((due_ns, _), mut queued) = self.queue.pop_first()?;
        self.move_time(due_ns);
        let done = power.and_then(|()| match queued.refused {
            Some(errno) => Err(errno),
            None => self.execute(&mut queued),
        });
        // One I/O moves less than 2 GiB.
        let outcome = done.map_or_else(|errno| -errno, |bytes| bytes as i32);
        let request = &queued.request;
        let path = request.file().map(|file| file.path());
        let event = TraceEvent {
            at_ns: self.now_ns,
            kind: TraceKind::Completed,
            op: OpKind::of(request.op()).name(),
            path: path.map_or_else(String::new, |path| self.shown(path)),
            offset: request.offset(),
            length_bytes: request.length_bytes().into(),
            outcome: outcome.into(),
        };
        self.trace.push(event);
        Some((queued, outcome))
    }

    /// The effect of one attempt: bytes moved.
    fn execute(&mut self, queued: &mut Queued) -> Result<usize, Errno> {
        let Some(inode) = queued.inode else {
            return match queued.fault {
                Some(Fault::Fail(errno)) => Err(errno),
                _ => Ok(0),
            };
        };
        let length = self.length_to_move(queued);
        match queued.request.op() {
            // Write-back that is only begun promises nothing.
            Op::Nop | Op::FlushRange => Ok(0),
            Op::Readv => self.read(queued, inode, length),
            Op::Writev => self.write(queued, inode, length),
            Op::Fsync | Op::Fdatasync => self.sync(queued, inode),
        }
    }

    /// All of it, or less where it is to be short.
    fn length_to_move(&mut self, queued: &Queued) -> usize {
        let asked = u64::from(queued.request.length_bytes());
        let direct = queued.request.file().and_then(|file| file.direct());
        let unit = direct.map_or(1, |direct| u64::from(direct.offset_bytes));
        let units = asked.div_ceil(unit);
        let moved = match queued.fault {
            Some(Fault::Short) if units > 1 => (1 + self.chance.below(units - 1)) * unit,
            _ => asked,
        };
        moved as usize
    }

    fn read(&mut self, queued: &mut Queued, inode: Inode, length: usize) -> Result<usize, Errno> {
        if let Some(Fault::Fail(errno)) = queued.fault {
            return Err(errno);
        }
        let Some(content) = self.files.content(inode) else {
            return Err(libc::EIO);
        };
        let offset = queued.request.offset();
        let mut bytes = vec![0; length];
        let moved = content.read(offset, &mut bytes);
        bytes.truncate(moved);
        if queued.fault == Some(Fault::MisdirectedRead) {
            let sector = u64::from(self.config.sector_bytes);
            let places = content.len().div_ceil(sector);
            let here = offset / sector;
            if places > 1 {
                let elsewhere = (here + 1 + self.chance.below(places - 1)) % places;
                content.get(elsewhere * sector, &mut bytes);
            }
        } else {
            self.mix_in_racing_writes(inode, offset, &mut bytes);
        }
        queued.request.copy_in(0, &bytes);
        Ok(moved)
    }

    /// A read that meets a write in flight finds any mix of sectors.
    fn mix_in_racing_writes(&mut self, inode: Inode, offset: u64, bytes: &mut [u8]) {
        let end = offset + bytes.len() as u64;
        let sector = u64::from(self.config.sector_bytes);
        for other in self.queue.values() {
            let request = &other.request;
            let (start, stop) = (
                request.offset(),
                request.offset() + u64::from(request.length_bytes()),
            );
            let races = other.inode == Some(inode) && request.op() == Op::Writev;
            if !races || stop <= offset || end <= start || other.fault.is_some() {
                continue;
            }
            let mut at = start.max(offset);
            while at < stop.min(end) {
                let next = ((at / sector + 1) * sector).min(stop).min(end);
                if self.chance.coin() {
                    let piece = (at - offset) as usize..(next - offset) as usize;
                    request.copy_out((at - start) as usize, &mut bytes[piece]);
                }
                at = next;
            }
        }
    }

    fn write(&mut self, queued: &Queued, inode: Inode, length: usize) -> Result<usize, Errno> {
        let request = &queued.request;
        let sector = u64::from(self.config.sector_bytes);
        let offset = request.offset();
        let capacity = self.config.capacity_bytes;
        let fits = self.files.fits(inode, offset, length as u64, capacity);
        let mut bytes = vec![0; fits as usize];
        request.copy_out(0, &mut bytes);
        match queued.fault {
            Some(Fault::Fail(errno)) => {
                if !matches!(errno, libc::EINTR | libc::EAGAIN | libc::ENOSPC) {
                    let chance = &mut self.chance;
                    self.files.write_some(inode, offset, &bytes, sector, chance);
                }
                return Err(errno);
            }
            Some(Fault::LostWrite) => return Ok(length),
            _ if bytes.is_empty() && length > 0 => return Err(libc::ENOSPC),
            _ => {}
        }
        let chance = &mut self.chance;
        self.files
            .write(inode, queued.submitted, offset, &bytes, sector, chance);
        let opening = request.file().map(|file| self.opening(file));
        if let Some(Ok(Opening { dsync: true, .. })) = opening {
            // What was written to the file before becomes durable with it, which a disk may do.
            let latest = self.files.sequence();
            self.files.sync(inode, latest);
        }
        self.files
            .write_back(inode, self.config.write_back_limit_bytes);
        Ok(bytes.len())
    }

    fn sync(&mut self, queued: &Queued, inode: Inode) -> Result<usize, Errno> {
        let sector = u64::from(self.config.sector_bytes);
        match queued.fault {
            Some(Fault::Fail(errno)) => {
                if !matches!(errno, libc::EINTR | libc::EAGAIN) {
                    let chance = &mut self.chance;
                    self.files
                        .fail_sync(inode, queued.submitted, sector, chance);
                }
                return Err(errno);
            }
            Some(Fault::LyingSync) => {}
            _ => self.files.sync(inode, queued.submitted),
        }
        Ok(0)
    }
}
