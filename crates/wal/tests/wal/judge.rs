//! PostgreSQL's pg_waldump reads what was written, up to the durable LSN.

use std::path::Path;
use std::sync::Arc;

use trunkline_aio::Aio;
use trunkline_harness::{Postgres, postgres};
use trunkline_pgformat::control_file::WalLevel;
use trunkline_pgformat::wal::info;
use trunkline_pgformat::wal::record::Compression;
use trunkline_pgformat::wal::rmgr_id::RmgrId;
use trunkline_pgformat::{BLCKSZ, ForkNumber, Oid, PageMut, RelFileLocator, Xid};
use trunkline_wal::{ImagePolicy, LoggedBlock, WalConfig, WalRecord};

use crate::support::{Cluster, config, for_each_method, record_of, within_limit};

/// `RESTORE_POINT`: a time and a name of 64 bytes (`xl_restore_point`).
fn restore_point(name: &str) -> Vec<u8> {
    let mut bytes = 800_000_000_000_000_i64.to_le_bytes().to_vec();
    bytes.extend_from_slice(name.as_bytes());
    bytes.resize(72, 0);
    bytes
}

#[test]
fn pg_waldump_reads_every_record_up_to_the_durable_lsn() {
    let Some(postgres) = postgres() else {
        return;
    };
    within_limit(move || {
        for_each_method(|aio, directory| {
            for compression in [None, Some(Compression::Pglz)] {
                let directory = directory.join(format!("{compression:?}"));
                std::fs::create_dir(&directory).unwrap();
                read_by_pg_waldump(postgres, aio, &directory, compression);
            }
        });
    });
}

fn read_by_pg_waldump(
    postgres: &Postgres,
    aio: &Arc<Aio>,
    directory: &Path,
    compression: Option<Compression>,
) {
    let config = WalConfig {
        wal_compression: compression,
        ..config(directory)
    };
    let mut cluster = Cluster::on_disk(aio, config);
    let mut page = [0; BLCKSZ];
    let mut view = PageMut::new(&mut page);
    view.init(0);
    view.add_item(&[7; 3000]).unwrap();
    let mut expected = 0;
    for number in 0..400 {
        let point = restore_point(&format!("point {number}"));
        let parts = [&point[..]];
        let mut record = record_of(&parts);
        record.info = info::xlog::RESTORE_POINT;
        cluster.wal.insert(&mut cluster.io, &record).unwrap();
        let image = WalRecord {
            rmgr: RmgrId::XLOG,
            info: info::xlog::FPI,
            xid: Xid::INVALID,
            toplevel_xid: None,
            blocks: &[LoggedBlock {
                id: 0,
                locator: RelFileLocator {
                    spc_oid: Oid(1663),
                    db_oid: Oid(5),
                    rel_number: 16384,
                },
                fork: ForkNumber::Main,
                block: number,
                page: &page,
                standard: number % 2 == 0,
                image: ImagePolicy::Always,
                keep_data: false,
                data: &[],
            }],
            main_data: &[],
        };
        let inserted = cluster.wal.insert(&mut cluster.io, &image).unwrap();
        expected += 2;
        if number % 7 == 0 {
            cluster.wal.flush(&mut cluster.io, inserted.end).unwrap();
        }
    }
    cluster
        .wal
        .begin_checkpoint(&mut cluster.io, WalLevel::Replica)
        .unwrap();
    let last = cluster.insert(1, 40_000);
    cluster.wal.flush(&mut cluster.io, last.end).unwrap();
    let stats = cluster.wal.stats();
    assert_eq!(stats.records, expected + 2 + stats.paddings);
    assert_eq!(stats.full_page_images, expected / 2);

    let (start, end) = (
        cluster.start.to_string(),
        cluster.wal.durable_lsn().to_string(),
    );
    let path = directory.to_str().unwrap();
    let arguments = ["--path", path, "--start", &start, "--end", &end];
    let said = postgres.inspect("pg_waldump", &arguments);
    let text = said.without_complaints();
    assert_eq!(text.lines().count() as u64, stats.records);
    let count = |what: &str| text.lines().filter(|line| line.contains(what)).count() as u64;
    assert_eq!(count("RESTORE_POINT point "), expected / 2);
    assert_eq!(count("desc: FPI "), expected / 2);
    assert_eq!(count("CHECKPOINT_REDO"), 1);
    assert_eq!(count("NOOP"), 1 + stats.paddings);

    let arguments = [&["--bkp-details"], &arguments[..]].concat();
    let said = postgres.inspect("pg_waldump", &arguments);
    let text = said.without_complaints();
    let count = |what: &str| text.lines().filter(|line| line.contains(what)).count() as u64;
    let compressed = count("compression saved: ");
    assert_eq!(count("(FPW)"), expected / 2);
    assert_eq!(count(", method: pglz"), compressed);
    let all_or_none = compression.map_or(0, |_| expected / 2);
    assert_eq!(compressed, all_or_none, "{text}");
}
