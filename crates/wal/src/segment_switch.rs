//! Ending a segment early (`ReserveXLogSwitch` and `CopyXLogRecordToWAL` in PostgreSQL's
//! `transam/xlog.c`).
//!
//! A record says so, and with it the rest of the segment is reserved. Who reads the log goes from that
//! record to the next segment; the rest are zeros, without page headers.
//!
//! The rest may be longer than the ring: so it is filled and told in pieces, each of which can be written
//! while the next is filled. Whoever waits for a page behind it waits for that, as for any insertion.
#![expect(unsafe_code, reason = "fills the places in the ring that it reserved")]

use trunkline_aio::IoContext;
use trunkline_pgformat::Lsn;
use trunkline_pgformat::wal::record::HeaderBuffer;
use trunkline_pgformat::wal::{XLOG_BLCKSZ, info};

use crate::Wal;
use crate::error::WalError;
use crate::insert::{Place, ZEROS, xlog_record};
use crate::reservation::{Reservation, SwitchAttempt};

const PAGE: u64 = XLOG_BLCKSZ as u64;

impl Wal {
    /// Has the log go on in a new segment, and makes everything before durable. Where the record that
    /// says so ends; if the log ends where a segment begins, nothing is inserted, and that is told.
    ///
    /// # Errors
    /// The log has failed.
    pub fn switch_segment(&self, io: &mut IoContext) -> Result<Lsn, WalError> {
        self.check_issuer(io);
        self.progress.check()?;
        let mut headers = HeaderBuffer::new();
        let mut assembled = xlog_record(info::xlog::SWITCH, &[]).assemble(&mut headers)?;
        let tickets = &self.progress.tickets;
        let switch = loop {
            match self
                .position
                .reserve_switch(tickets, assembled.total_length())
            {
                SwitchAttempt::Reserved(switch) => break switch,
                SwitchAttempt::AtSegmentStart(at) => {
                    self.flush(io, at)?;
                    return Ok(at);
                }
                SwitchAttempt::NoTicket(ticket) => self.await_ticket(io, ticket)?,
            }
        };
        let place = Place::new(self, switch.whole);
        assembled.finish(switch.whole.prev);
        let record = Reservation {
            end: switch.record_end,
            ..switch.whole
        };
        self.copy(io, &record, &assembled)?;
        self.fill_rest(io, &record, switch.whole.end)?;
        let inserted = place.publish();
        self.flush(io, inserted.end)?;
        Ok(switch.told_end)
    }

    /// Makes what is between the end of `record`, which is in place, and `end` zeros.
    fn fill_rest(
        &self,
        io: &mut IoContext,
        record: &Reservation,
        end: Lsn,
    ) -> Result<(), WalError> {
        let tickets = &self.progress.tickets;
        let mut at = record.end;
        let mut told = record.start;
        if at < end {
            // Only then may parts be told.
            let size = self.config.segment_size;
            let before = size.end_lsn_of_byte_position(size.byte_position_of(record.start));
            self.await_insertions(io, before);
            self.progress.check()?;
        }
        while at < end {
            let next_page = Lsn(at.0 - at.0 % PAGE + PAGE);
            if at.0.is_multiple_of(PAGE) {
                // Of what waits for this, everything is before `told`: no more than a quarter of the ring
                // is not.
                self.await_free_page(io, at)?;
            }
            let length = (next_page.0 - at.0) as usize;
            // SAFETY: within the reserved place, not published, on a page that is free.
            unsafe { self.ring.put(at, &ZEROS[..length]) };
            at = next_page;
            if at < end && at.0 - told.0 >= self.bulk_bytes {
                tickets.publish_part(record.ticket, at);
                told = at;
                self.start_bulk_writes(io);
            }
        }
        assert_eq!(at, end, "zeros that do not end with their segment");
        Ok(())
    }
}
