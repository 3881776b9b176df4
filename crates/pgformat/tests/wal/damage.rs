//! Damage of every kind: nothing panics, and a record whose bytes changed is never given.

use crate::page_writer::{LOG, PageWriter};
use crate::reading::{noop, read};
use proptest::prelude::*;
use trunkline_pgformat::Lsn;
use trunkline_pgformat::wal::XLOG_BLCKSZ;
use trunkline_pgformat::wal::reader::Reader;

fn written() -> (PageWriter, Vec<(Lsn, Vec<u8>)>) {
    let mut writer = PageWriter::new();
    let mut records = Vec::new();
    for nth in 0..60_u8 {
        let data = vec![nth; usize::from(nth) * 53 % 3001 + usize::from(nth == 30) * 20_000];
        records.push((writer.write(&noop(&[&data])), data));
    }
    (writer, records)
}

proptest! {
    #[test]
    fn flipped_bits_and_cut_logs_end_the_log_before_the_damage(
        at in any::<prop::sample::Index>(), bit in 0_u8..8, cut in any::<bool>(),
    ) {
        let (writer, records) = written();
        let at = at.index(writer.bytes.len());
        let mut log = writer.whole_segments();
        if cut {
            log.truncate(at);
        } else {
            log[at] ^= 1 << bit;
        }
        let (found, end) = read(Reader::new(LOG, writer.start), writer.start, &log);
        // What is found is a beginning of what was written.
        prop_assert!(found.len() <= records.len());
        prop_assert!(found == records[..found.len()]);
        if found.len() < records.len() {
            prop_assert_eq!(end.at.0.max(records[found.len()].0.0), records[found.len()].0.0);
        }
        // Every record that begins before the damage and goes on past it is missing.
        let damaged = Lsn(writer.start.0 + at as u64);
        let of_page = Lsn(damaged.0 - damaged.0 % XLOG_BLCKSZ as u64);
        let whole_before = records
            .iter()
            .filter(|(lsn, data)| lsn.0 + 24 + data.len() as u64 <= of_page.0)
            .count();
        if !cut {
            prop_assert!(found.len() + 1 >= whole_before);
        }
        let covering = records
            .iter()
            .enumerate()
            .filter(|(nth, (lsn, data))| {
                // A short record's bytes are where it begins; longer ones may skip headers.
                let length = 24 + data.len() as u64 + if data.is_empty() { 0 } else { 2 };
                let is_on_one_page =
                    lsn.0 % XLOG_BLCKSZ as u64 + length <= XLOG_BLCKSZ as u64;
                *nth < found.len() && is_on_one_page && (lsn.0..lsn.0 + length).contains(&damaged.0)
            })
            .count();
        prop_assert_eq!(covering, 0);
    }

    #[test]
    fn garbage_is_no_log(
        bytes in proptest::collection::vec(any::<u8>(), 3 * XLOG_BLCKSZ), start in any::<u64>(),
        near in 0_u64..30_000, keep_headers in any::<bool>(),
    ) {
        let (writer, _) = written();
        let mut log = bytes;
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
}
