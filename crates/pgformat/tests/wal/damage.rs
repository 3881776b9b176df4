//! Damage of every kind: nothing panics, and a record whose bytes changed is never given.

use crate::page_writer::{LOG, PageWriter};
use crate::reading::{noop, read};
use proptest::prelude::*;
use std::sync::LazyLock;
use trunkline_pgformat::wal::XLOG_BLCKSZ;
use trunkline_pgformat::wal::decode::DecodedRecord;
use trunkline_pgformat::wal::reader::Reader;
use trunkline_pgformat::wal::record::{BlockReference, HeaderBuffer, Record};
use trunkline_pgformat::wal::rmgr;
use trunkline_pgformat::wal::rmgr::heap::UpdatedTuple;
use trunkline_pgformat::wal::rmgr::heap2::MultiInsertTuples;
use trunkline_pgformat::wal::rmgr_id::RmgrId;
use trunkline_pgformat::{ForkNumber, Lsn, Oid, RelFileLocator, Xid};

type Written = (PageWriter, Vec<(Lsn, Vec<u8>)>);

/// A log of three segments, and its records' places and data.
static WRITTEN: LazyLock<Written> = LazyLock::new(|| {
    let mut writer = PageWriter::new();
    let mut records = Vec::new();
    for nth in 0..60_u8 {
        let large = match nth {
            20 => 20_000,
            40 => 2_000_000,
            _ => 0,
        };
        let data = vec![nth; usize::from(nth) * 53 % 3001 + large];
        records.push((writer.write(&noop(&[&data])), data));
    }
    (writer, records)
});

/// Where a record ends, without padding: behind its last byte.
fn end_of((lsn, data): &(Lsn, Vec<u8>)) -> Lsn {
    let data_header = match data.len() {
        0 => 0,
        1..256 => 2,
        _ => 5,
    };
    let length = (24 + data_header + data.len()) as u64;
    let size = LOG.segment_size;
    Lsn(size
        .lsn_of_byte_position(size.byte_position_of(*lsn) + length - 1)
        .0
        + 1)
}

/// The log and a page of zeros behind it.
fn log() -> Vec<u8> {
    let mut log = WRITTEN.0.bytes.clone();
    log.resize(log.len().next_multiple_of(XLOG_BLCKSZ) + XLOG_BLCKSZ, 0);
    log
}

proptest! {
    #[test]
    fn a_flipped_bit_ends_the_log_before_its_record(
        at in any::<prop::sample::Index>(), bit in 0_u8..8,
    ) {
        let (writer, records) = &*WRITTEN;
        let at = at.index(writer.bytes.len());
        let mut log = log();
        log[at] ^= 1 << bit;
        let (found, end) = read(Reader::new(LOG, writer.start), writer.start, &log);
        prop_assert!(found == records[..found.len()]);
        if found.len() < records.len() {
            prop_assert!(end.at <= records[found.len()].0);
        }
        let damaged = Lsn(writer.start.0 + at as u64);
        let page = Lsn(damaged.0 - damaged.0 % XLOG_BLCKSZ as u64);
        let is_in_page_header =
            damaged.0 - page.0 < LOG.segment_size.page_header_size(page) as u64;
        let before = records.iter().take_while(|record| end_of(record) <= damaged).count();
        let is_in_record = records
            .get(before)
            .is_some_and(|record| record.0 <= damaged && !is_in_page_header);
        if is_in_record {
            prop_assert_eq!(found.len(), before);
        } else if is_in_page_header {
            // A flag that says nothing here may be wrong.
            prop_assert!(found.len() + 1 >= before);
        } else {
            // Padding.
            prop_assert_eq!(found.len(), records.len());
        }
    }

    #[test]
    fn a_log_that_was_cut_off_ends_with_its_last_whole_page(at in any::<prop::sample::Index>()) {
        let (writer, records) = &*WRITTEN;
        let pages = at.index(writer.bytes.len()) / XLOG_BLCKSZ;
        let cut = Lsn(writer.start.0 + (pages * XLOG_BLCKSZ) as u64);
        let log = log();
        let log = &log[..pages * XLOG_BLCKSZ];
        let (found, _) = read(Reader::new(LOG, writer.start), writer.start, log);
        let whole = records.iter().take_while(|record| end_of(record) <= cut).count();
        prop_assert_eq!(found.len(), whole);
        prop_assert!(found == records[..whole]);
    }

    #[test]
    fn garbage_is_no_log(
        seed in any::<u64>(), start in any::<u64>(), near in 0_u64..30_000,
        keep_headers in any::<bool>(),
    ) {
        let (writer, _) = &*WRITTEN;
        let mut state = seed;
        let mut log: Vec<u8> = (0..3 * XLOG_BLCKSZ)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 56) as u8
            })
            .collect();
        if keep_headers {
            for page in 0..3 {
                let at = page * XLOG_BLCKSZ;
                log[at..at + 40].copy_from_slice(&writer.bytes[at..at + 40]);
            }
        }
        for start in [start, writer.start.0 + near, writer.start.0] {
            let (found, _) = read(Reader::new(LOG, Lsn(start)), writer.start, &log);
            prop_assert!(found.is_empty());
        }
    }

    #[test]
    fn any_contents_are_described_or_refused_without_panic(
        rmgr in 0_u8..=22, info in any::<u8>(),
        main_data in proptest::collection::vec(prop_oneof![Just(0), 0_u8..4, any::<u8>()], 0..200),
        block_data in proptest::collection::vec(prop_oneof![Just(0), 0_u8..4, any::<u8>()], 0..80),
    ) {
        let blocks = [BlockReference {
            id: 0,
            locator: RelFileLocator { spc_oid: Oid(1663), db_oid: Oid(5), rel_number: 1259 },
            fork: ForkNumber::Main,
            block: 0,
            will_init: false,
            image: None,
            data: &[&block_data],
        }];
        let record = Record {
            rmgr: RmgrId(rmgr),
            info,
            xid: Xid(3),
            origin: None,
            toplevel_xid: None,
            blocks: &blocks,
            main_data: &[&main_data],
        };
        let mut headers = HeaderBuffer::new();
        let mut assembled = record.assemble(&mut headers).unwrap();
        assembled.finish(Lsn(0));
        let bytes: Vec<u8> = assembled.pieces().flatten().copied().collect();
        let decoded = DecodedRecord::decode(Lsn(8), &bytes).unwrap();
        prop_assert_eq!(decoded.main_data, &main_data[..]);
        let _ = rmgr::waldump_line(&decoded);
        let _ = UpdatedTuple::decode(&block_data, info);
        let tuples = MultiInsertTuples::new(&block_data).count();
        prop_assert!(tuples <= block_data.len());
    }
}
