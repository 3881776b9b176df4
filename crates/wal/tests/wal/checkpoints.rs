//! The redo pointer moves with the reservation of the record that says so.

use std::sync::Arc;

use trunkline_pgformat::control_file::WalLevel;
use trunkline_pgformat::wal::info;
use trunkline_wal::WalReader;

use crate::support::{Cluster, config, for_each_method, insert, record_of, within_limit};

#[test]
fn a_checkpoint_begins_at_a_record_of_its_own_while_others_insert() {
    within_limit(|| {
        for_each_method(|aio, directory| {
            let mut cluster = Cluster::on_disk(aio, config(directory));
            let inserters: Vec<_> = (1..4)
                .map(|thread| {
                    let (wal, aio) = (Arc::clone(&cluster.wal), Arc::clone(aio));
                    std::thread::spawn(move || {
                        let mut io = aio.issuer(2).unwrap();
                        for number in 0..300 {
                            insert(&wal, &mut io, thread << 32 | number, 200).unwrap();
                        }
                    })
                })
                .collect();
            let mut redos = Vec::new();
            for _ in 0..20 {
                let begun = cluster
                    .wal
                    .begin_checkpoint(&mut cluster.io, WalLevel::Replica)
                    .unwrap();
                assert_eq!(cluster.wal.redo(), begun.start);
                redos.push(begun.start);
            }
            for inserter in inserters {
                inserter.join().unwrap();
            }
            let redo = cluster.wal.begin_shutdown_checkpoint();
            let mut checkpoint = record_of(&[b"the checkpoint's contents"]);
            checkpoint.info = info::xlog::CHECKPOINT_SHUTDOWN;
            let inserted = cluster.wal.insert(&mut cluster.io, &checkpoint).unwrap();
            assert_eq!(inserted.start, redo);
            cluster.wal.flush(&mut cluster.io, inserted.end).unwrap();

            let storage = Arc::clone(&cluster.storage);
            let mut reader = WalReader::new(storage, &cluster.config, cluster.start);
            let mut found = Vec::new();
            while let Ok((lsn, code, level)) = reader
                .next(&mut cluster.io, |_, record| {
                    (record.lsn, record.header.info, record.main_data.to_vec())
                })
                .unwrap()
            {
                if code == info::xlog::CHECKPOINT_REDO {
                    assert_eq!(level, 1_i32.to_le_bytes());
                    found.push(lsn);
                }
            }
            assert_eq!(found, redos);
        });
    });
}
