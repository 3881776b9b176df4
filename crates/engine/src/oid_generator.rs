//! OIDs, each given out once (`GetNewObjectId` in PostgreSQL's `access/transam/varsup.c`).
//!
//! The log says ahead which ones may have been given out, so that recovery gives none of them again.
//! The record need not be durable: an OID reaches the disk in a row whose own record comes behind it.

use std::sync::{Mutex, PoisonError};

use trunkline_aio::IoContext;
use trunkline_buffer::BufferError;
use trunkline_catalog::oids::FIRST_NORMAL_OBJECT;
use trunkline_pgformat::Oid;
use trunkline_wal::Wal;

use crate::engine_records;

/// OIDs that one record covers (PostgreSQL's `VAR_OID_PREFETCH`).
const PREFETCH: u32 = 8192;

/// A leaf lock, but for the log's.
#[derive(Debug)]
pub(crate) struct OidGenerator {
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug)]
struct State {
    next: u32,
    /// So many from `next` on are covered by a record.
    covered: u32,
}

impl OidGenerator {
    pub(crate) fn new(next: Oid) -> OidGenerator {
        OidGenerator {
            state: Mutex::new(State {
                next: next.0,
                covered: 0,
            }),
        }
    }

    /// The next one; it wraps past those of the system's objects.
    pub(crate) fn next(&self, wal: &Wal, io: &mut IoContext) -> Result<Oid, BufferError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.next < FIRST_NORMAL_OBJECT.0 {
            *state = State {
                next: FIRST_NORMAL_OBJECT.0,
                covered: 0,
            };
        }
        if state.covered == 0 {
            let next = Oid(state.next.wrapping_add(PREFETCH));
            engine_records::next_oid(wal, io, next)?;
            state.covered = PREFETCH;
        }
        let oid = Oid(state.next);
        state.next = state.next.wrapping_add(1);
        state.covered -= 1;
        Ok(oid)
    }

    /// What a checkpoint records: of a cluster that stops the next one, of one that goes on the next
    /// one that no record covers.
    pub(crate) fn checkpointed(&self, is_shutdown: bool) -> Oid {
        let state = *self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if is_shutdown {
            Oid(state.next)
        } else {
            Oid(state.next.wrapping_add(state.covered))
        }
    }
}
