//! Reading with read-ahead (W8), and how it ends.

use trunkline_aio::Op;
use trunkline_pgformat::Lsn;
use trunkline_wal::WalReader;

use crate::support::{Cluster, config, for_each_method, within_limit};

#[test]
fn records_come_back_from_any_start_over_pages_and_segments() {
    within_limit(|| {
        for_each_method(|aio, directory| {
            let mut cluster = Cluster::on_disk(aio, config(directory));
            let mut expected = Vec::new();
            for id in 1..60 {
                let length = [8, 8000, 8140, 100_000, 8168, 200][id as usize % 6];
                expected.push((cluster.insert(id, length).start, id));
            }
            let end = cluster.wal.insert_lsn();
            cluster.wal.flush(&mut cluster.io, end).unwrap();
            for from in [0, 17, 40, 58] {
                cluster.start = expected[from].0;
                assert_eq!(cluster.read_back(), expected[from..]);
            }
            let read = aio.counters();
            let issued: u64 = read.issuers.iter().map(|issuer| issuer.executed).sum();
            assert!(issued > 0);
        });
    });
}

#[test]
fn reading_ends_with_the_reason_and_where_the_log_goes_on() {
    within_limit(|| {
        for_each_method(|aio, directory| {
            let mut cluster = Cluster::on_disk(aio, config(directory));
            let first = cluster.insert(1, 500);
            let second = cluster.insert(2, 20_000);
            cluster.wal.flush(&mut cluster.io, second.end).unwrap();
            let ended = |cluster: &mut Cluster, start: Lsn| {
                let storage = std::sync::Arc::clone(&cluster.storage);
                let mut reader = WalReader::new(storage, &cluster.config, start);
                loop {
                    match reader
                        .next(&mut cluster.io, |_, record| record.lsn)
                        .unwrap()
                    {
                        Ok(_) => {}
                        Err(end) => return end,
                    }
                }
            };
            let end = ended(&mut cluster, first.start);
            assert_eq!((end.at, end.last_record), (second.end, Some(second.start)));
            // A flipped bit in the middle of the second record.
            let path = directory.join("000000010000000000000001");
            let mut bytes = std::fs::read(&path).unwrap();
            let at = cluster.config.segment_size.offset_of(second.start) as usize + 10_000;
            bytes[at] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            let end = ended(&mut cluster, first.start);
            assert_eq!((end.at, end.last_record), (second.start, Some(first.start)));
            assert!(
                end.reason
                    .to_string()
                    .starts_with("incorrect resource manager data checksum"),
                "{}",
                end.reason
            );
            // No segment at all.
            std::fs::remove_file(&path).unwrap();
            let end = ended(&mut cluster, first.start);
            assert_eq!((end.at, end.last_record), (first.start, None));
        });
    });
}

/// With a method that executes only what is waited for, and what was submitted before it.
#[test]
fn several_reads_are_in_flight() {
    use std::sync::{Arc, Mutex};
    use trunkline_aio::{
        Aio, Completions, Executor, InFlight, IoRequest, Method, RequestBatch, SystemCalls,
    };

    /// Executes only what is waited for, and everything submitted before it.
    #[derive(Default)]
    struct Lazy {
        held: Mutex<Vec<IoRequest>>,
        most: Mutex<usize>,
    }

    impl Method for Lazy {
        fn name(&self) -> &'static str {
            "lazy"
        }

        fn submit(&self, batch: &mut RequestBatch, _: &Completions) {
            let mut held = self.held.lock().unwrap();
            held.extend(batch);
            let reads = held.iter().filter(|request| request.op() == Op::Readv);
            let mut most = self.most.lock().unwrap();
            *most = reads.count().max(*most);
        }

        fn wait(&self, io: &InFlight<'_>) {
            while !io.is_complete() {
                let request = self.held.lock().unwrap().remove(0);
                let mut next = Some(request);
                while let Some(request) = next {
                    let outcome = SystemCalls.execute(&request);
                    next = io.completions().complete(request, outcome);
                }
            }
        }
    }

    within_limit(|| {
        let directory = tempfile::tempdir().unwrap();
        let method = Arc::new(Lazy::default());
        let aio = Aio::start_with(crate::support::aio_config(), Arc::clone(&method) as _).unwrap();
        let mut cluster = Cluster::on_disk(&aio, config(directory.path()));
        for id in 1..60 {
            cluster.insert(id, 50_000);
        }
        let end = cluster.wal.insert_lsn();
        cluster.wal.flush(&mut cluster.io, end).unwrap();
        *method.most.lock().unwrap() = 0;
        assert_eq!(cluster.read_back().len(), 59);
        let most = *method.most.lock().unwrap();
        assert!(most >= 4, "{most} reads at once");
    });
}
