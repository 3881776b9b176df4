//! Inserting a record: reserve, copy, publish (W1).
#![expect(unsafe_code, reason = "fills the places in the ring that it reserved")]

use trunkline_aio::IoContext;
use trunkline_pgformat::control_file::WalLevel;
use trunkline_pgformat::wal::page_header::{
    LongPageHeader, PageHeader, XLOG_PAGE_MAGIC, XLP_FIRST_IS_CONTRECORD,
};
use trunkline_pgformat::wal::record::{AssembledRecord, HeaderBuffer, Record};
use trunkline_pgformat::wal::rmgr_id::RmgrId;
use trunkline_pgformat::wal::{XLOG_BLCKSZ, info};
use trunkline_pgformat::{Lsn, Xid};

use crate::Wal;
use crate::error::{Failure, WalError};
use crate::record::{WalRecord, with_images};
use crate::reservation::{Attempt, Reservation};
use crate::writer::Extent;

const PAGE: u64 = XLOG_BLCKSZ as u64;

/// What the longest record of padding consists of.
pub(crate) static ZEROS: [u8; XLOG_BLCKSZ] = [0; XLOG_BLCKSZ];

/// Where a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inserted {
    /// Its first byte.
    pub start: Lsn,
    /// Where it ends, and with it what has to be durable for it: the LSN of the pages that it changed.
    pub end: Lsn,
}

/// A reserved place that is not published yet. The log ends before it for ever if it is dropped so:
/// everything behind it would be unreachable.
pub(crate) struct Place<'w> {
    wal: &'w Wal,
    reservation: Reservation,
    published: bool,
}

impl<'w> Place<'w> {
    pub(crate) fn new(wal: &'w Wal, reservation: Reservation) -> Self {
        Place {
            wal,
            reservation,
            published: false,
        }
    }

    pub(crate) fn publish(mut self) -> Inserted {
        let Reservation {
            ticket, start, end, ..
        } = self.reservation;
        self.published = true;
        self.wal.progress.tickets.publish(ticket, end);
        Inserted { start, end }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if !self.published {
            let (config, start) = (&self.wal.config, self.reservation.start);
            let failure = Failure::abandoned(config.timeline, config.segment_size, start);
            self.wal.progress.fail(failure);
        }
    }
}

impl Wal {
    /// Inserts a record: it is part of the log when this returns, and durable after a flush to its
    /// end. Pages that it changes are looked at for whether they need an image; the page bytes are
    /// lent, so that this can be decided again when a checkpoint begins meanwhile.
    ///
    /// Waits for writes of earlier log if the WAL buffers are full; it drives them.
    ///
    /// # Errors
    /// The parts make no record, it is too long, or the log has failed. With the first two, nothing
    /// has happened.
    pub fn insert(&self, io: &mut IoContext, record: &WalRecord<'_>) -> Result<Inserted, WalError> {
        self.check_issuer(io);
        self.progress.check()?;
        let mut headers = HeaderBuffer::new();
        let mut compressor = None;
        let inserted = loop {
            let full_page_writes = self.position.full_page_writes();
            let (mut blocks, decision) =
                with_images(record, self.position.redo(), full_page_writes);
            if decision.images > 0
                && let Some(compressors) = &self.compressors
            {
                compressor = compressor.or_else(|| compressors.take());
                if let Some(compressor) = &mut compressor {
                    compressor.compress(&mut blocks);
                }
            }
            let parts = Record {
                rmgr: record.rmgr,
                info: record.info,
                xid: record.xid,
                origin: None,
                toplevel_xid: record.toplevel_xid,
                blocks: &blocks,
                main_data: record.main_data,
            };
            let assembled = parts.assemble(&mut headers)?;
            let reserve = |length| {
                self.position
                    .reserve(&self.progress.tickets, length, decision)
            };
            if let Some(inserted) = self.place(io, assembled, reserve)? {
                break inserted;
            }
        };
        if let (Some(compressor), Some(compressors)) = (compressor, &self.compressors) {
            compressors.give_back(compressor);
        }
        self.start_bulk_writes(io);
        Ok(inserted)
    }

    /// Begins a checkpoint: inserts a record that says so, and makes its place the redo pointer with
    /// its reservation. From here on, the first change of every page logs its image.
    ///
    /// # Errors
    /// As [`Self::insert`].
    pub fn begin_checkpoint(
        &self,
        io: &mut IoContext,
        wal_level: WalLevel,
    ) -> Result<Inserted, WalError> {
        self.check_issuer(io);
        self.progress.check()?;
        let level = (wal_level as i32).to_le_bytes();
        let parts: [&[u8]; 1] = [&level];
        let mut headers = HeaderBuffer::new();
        loop {
            let assembled =
                xlog_record(info::xlog::CHECKPOINT_REDO, &parts).assemble(&mut headers)?;
            let reserve = |length| self.position.reserve_redo(&self.progress.tickets, length);
            if let Some(inserted) = self.place(io, assembled, reserve)? {
                return Ok(inserted);
            }
        }
    }

    /// Begins a checkpoint while nobody else inserts: makes the place of the next record, which will
    /// be the checkpoint's own, the redo pointer. Whoever inserts that record must find it there.
    pub fn begin_shutdown_checkpoint(&self) -> Lsn {
        self.position.redo_at_next_record()
    }

    /// Fills up the unit that the log ends in, if nobody is inserting.
    pub(crate) fn pad(&self, io: &mut IoContext) -> Result<(), WalError> {
        let tickets = &self.progress.tickets;
        let padding = self.position.reserve_padding(tickets, self.unit_bytes);
        let Some((reservation, length)) = padding else {
            return Ok(());
        };
        let place = Place::new(self, reservation);
        // A header for the data's length takes two bytes, or five from 256 bytes on.
        let data = match length {
            ..=24 => 0,
            25..=281 => length as usize - 26,
            _ => length as usize - 29,
        };
        let mut headers = HeaderBuffer::new();
        let parts = [&ZEROS[..data]];
        let mut assembled = xlog_record(info::xlog::NOOP, &parts).assemble(&mut headers)?;
        assert_eq!(
            assembled.total_length(),
            length,
            "padding of another length"
        );
        assembled.finish(reservation.prev);
        self.copy(io, &reservation, &assembled)?;
        place.publish();
        Ok(())
    }

    /// Gets a place by `reserve` and fills it; nothing if the record must be assembled anew.
    fn place(
        &self,
        io: &mut IoContext,
        mut assembled: AssembledRecord<'_, '_>,
        reserve: impl Fn(u32) -> Attempt,
    ) -> Result<Option<Inserted>, WalError> {
        let length_bytes = assembled.total_length();
        let limit_bytes = self.ring.bytes() / 2;
        if length_bytes as usize > limit_bytes {
            return Err(WalError::RecordTooLong {
                length_bytes,
                limit_bytes,
            });
        }
        let reservation = loop {
            match reserve(length_bytes) {
                Attempt::Reserved(reservation) => break reservation,
                Attempt::ImageNeeded => return Ok(None),
                Attempt::NoTicket(ticket) => self.await_ticket(io, ticket)?,
            }
        };
        let place = Place::new(self, reservation);
        assembled.finish(reservation.prev);
        self.copy(io, &reservation, &assembled)?;
        Ok(Some(place.publish()))
    }

    /// Waits until this ticket may be given out.
    pub(crate) fn await_ticket(&self, io: &mut IoContext, ticket: u64) -> Result<(), WalError> {
        io.submit();
        let progress = &self.progress;
        progress
            .tickets
            .wait_for_room(ticket, || progress.has_failed());
        progress.check()
    }

    /// Copies a record to its place, and page headers before what comes first on its page.
    pub(crate) fn copy(
        &self,
        io: &mut IoContext,
        place: &Reservation,
        record: &AssembledRecord<'_, '_>,
    ) -> Result<(), WalError> {
        let size = self.config.segment_size;
        let mut at = place.start;
        let mut remaining = record.total_length();
        let mut page = Lsn(at.0 - at.0 % PAGE);
        self.await_free_page(io, page)?;
        if at.0 - page.0 == size.page_header_size(page) as u64 {
            self.put_page_header(page, 0);
        }
        for piece in record.pieces() {
            let mut piece = piece;
            while !piece.is_empty() {
                if at.0 - page.0 == PAGE {
                    page = at;
                    self.await_free_page(io, page)?;
                    self.put_page_header(page, remaining);
                    at.0 += size.page_header_size(page) as u64;
                }
                let room = (page.0 + PAGE - at.0) as usize;
                let (now, later) = piece.split_at(piece.len().min(room));
                // SAFETY: within the reserved place, not published, on a page that is free.
                unsafe { self.ring.put(at, now) };
                at.0 += now.len() as u64;
                remaining -= now.len() as u32;
                piece = later;
            }
        }
        // What aligns the next record; pages end aligned.
        let gap = (at.0.next_multiple_of(8) - at.0) as usize;
        // SAFETY: as above.
        unsafe { self.ring.put(at, &ZEROS[..gap]) };
        at.0 += gap as u64;
        assert_eq!(
            (at, remaining),
            (place.end, 0),
            "a WAL record missed its end"
        );
        Ok(())
    }

    /// By who has the first byte behind it.
    fn put_page_header(&self, page: Lsn, remaining_length: u32) {
        let header = PageHeader {
            magic: XLOG_PAGE_MAGIC,
            flags: if remaining_length > 0 {
                XLP_FIRST_IS_CONTRECORD
            } else {
                0
            },
            timeline: self.config.timeline,
            page_address: page,
            remaining_length,
        };
        if self.config.segment_size.offset_of(page) == 0 {
            let long = header.encode_long(&LongPageHeader {
                system_identifier: self.config.system_identifier,
                segment_size: self.config.segment_size.bytes(),
                page_size: XLOG_BLCKSZ as u32,
            });
            // SAFETY: a page's header belongs to who has the first byte behind it.
            unsafe { self.ring.put(page, &long) };
        } else {
            // SAFETY: as above.
            unsafe { self.ring.put(page, &header.encode_short()) };
        }
    }

    /// Waits until the ring's place for `page` is free: until everything that it held is written.
    /// Needs earlier insertions only, so that no two wait for each other.
    pub(crate) fn await_free_page(&self, io: &mut IoContext, page: Lsn) -> Result<(), WalError> {
        let needed = Lsn((page.0 + PAGE).saturating_sub(self.ring.bytes() as u64));
        if self.progress.written() >= needed {
            return Ok(());
        }
        self.counts.buffers_full();
        self.write_up_to(io, needed, Extent::WholeUnits)
    }
}

pub(crate) fn xlog_record<'a>(code: u8, main_data: &'a [&'a [u8]]) -> Record<'a> {
    Record {
        rmgr: RmgrId::XLOG,
        info: code,
        xid: Xid::INVALID,
        origin: None,
        toplevel_xid: None,
        blocks: &[],
        main_data,
    }
}
