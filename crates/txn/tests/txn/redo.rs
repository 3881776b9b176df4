//! Redo of records that nothing here writes, and of those that cannot be redone.

use std::path::Path;
use std::sync::Arc;

use trunkline_aio::{Storage, write_file_durably};
use trunkline_pgformat::slru::XactStatus;
use trunkline_pgformat::wal::decode::DecodedRecord;
use trunkline_pgformat::wal::info::{clog, xact};
use trunkline_pgformat::wal::record::{HeaderBuffer, Record};
use trunkline_pgformat::wal::rmgr::clog::Clog;
use trunkline_pgformat::wal::rmgr::xact::{TwoPhase, XactEnd, XactOrigin};
use trunkline_pgformat::wal::rmgr_id::RmgrId;
use trunkline_pgformat::{BLCKSZ, DEFAULTTABLESPACE_OID, Lsn, Oid, RelFileLocator, Xid};
use trunkline_sim::{SimConfig, SimDisk};
use trunkline_txn::{FullXid, TransactionRedo, TxnError, redo};

use crate::rig::{XACTS_PER_PAGE, core, slru_config};

/// Redo with next id 1000, over pg_xact with these segments.
fn context(segments: &[u32]) -> (SimDisk, TransactionRedo) {
    let disk = SimDisk::new(SimConfig::new(31));
    let aio = core(&disk);
    let mut io = aio.issuer(1).unwrap();
    disk.create_dir(Path::new("/pg_xact")).unwrap();
    for segment in segments {
        let path = format!("/pg_xact/{segment:04X}");
        write_file_durably(&disk, &mut io, path.as_ref(), &[0; 2 * BLCKSZ]).unwrap();
    }
    let storage = Arc::new(disk.clone());
    let config = slru_config(Path::new("/"));
    let context = TransactionRedo::start(config, FullXid(1000), &aio, storage).unwrap();
    (disk, context)
}

fn redo_one(
    context: &mut TransactionRedo,
    rmgr: RmgrId,
    info: u8,
    xid: u32,
    data: &[u8],
) -> Result<Vec<RelFileLocator>, TxnError> {
    let record = Record {
        rmgr,
        info,
        xid: Xid(xid),
        origin: None,
        toplevel_xid: None,
        blocks: &[],
        main_data: &[data],
    };
    let mut headers = HeaderBuffer::new();
    let mut assembled = record.assemble(&mut headers).unwrap();
    assembled.finish(Lsn(40));
    let bytes: Vec<u8> = assembled.pieces().flatten().copied().collect();
    redo(
        context,
        &DecodedRecord::decode(Lsn(1 << 24), &bytes).unwrap(),
    )
}

fn redo_end(
    context: &mut TransactionRedo,
    code: u8,
    xid: u32,
    end: &XactEnd,
) -> Result<Vec<RelFileLocator>, TxnError> {
    let mut data = Vec::new();
    let info = end.encode(&mut data) | code;
    redo_one(context, RmgrId::XACT, info, xid, &data)
}

#[test]
fn subtransactions_end_with_their_parent_and_files_are_told() {
    let (_disk, mut context) = context(&[0]);
    let file = RelFileLocator {
        spc_oid: DEFAULTTABLESPACE_OID,
        db_oid: Oid(5),
        rel_number: 16_384,
    };
    // The last one is on the next page, and so is the id after it.
    let last = Xid(XACTS_PER_PAGE);
    let mut end = XactEnd {
        subxacts: vec![Xid(1001), last],
        relations: vec![file],
        ..XactEnd::default()
    };
    let files = redo_end(&mut context, xact::COMMIT, 1000, &end).unwrap();
    assert_eq!(files, [file]);
    assert_eq!(context.next_xid(), FullXid(u64::from(last.0) + 1));
    end.subxacts = vec![Xid(1003)];
    assert_eq!(
        redo_end(&mut context, xact::ABORT, 1002, &end).unwrap(),
        [file]
    );
    for (xid, status) in [
        (Xid(1000), XactStatus::Committed),
        (Xid(1001), XactStatus::Committed),
        (last, XactStatus::Committed),
        (Xid(1002), XactStatus::Aborted),
        (Xid(1003), XactStatus::Aborted),
        (Xid(1004), XactStatus::InProgress),
    ] {
        assert_eq!(context.pg_xact().status(xid).unwrap(), status, "{xid}");
    }
}

#[test]
fn every_record_moves_the_next_id_on() {
    let (_disk, mut context) = context(&[0]);
    redo_one(&mut context, RmgrId::HEAP, 0, 1500, &[]).unwrap();
    assert_eq!(context.next_xid(), FullXid(1501));
    redo_one(&mut context, RmgrId::HEAP, 0, 1200, &[]).unwrap();
    redo_one(&mut context, RmgrId::XLOG, 0, 0, &[]).unwrap();
    assert_eq!(context.next_xid(), FullXid(1501));
    context.note_next_xid(FullXid((1 << 32) - 1));
    context.note_xid(Xid(7));
    assert_eq!(context.next_xid(), FullXid((1 << 32) + 8), "the next epoch");
}

/// An earlier server gave out the id, recorded its abort on disk and lost it in the log.
#[test]
fn the_log_is_right_and_pg_xact_is_not() {
    let (_disk, mut context) = context(&[0]);
    let xid = Xid(1000);
    redo_end(&mut context, xact::ABORT, xid.0, &XactEnd::default()).unwrap();
    redo_end(&mut context, xact::COMMIT, xid.0, &XactEnd::default()).unwrap();
    assert_eq!(
        context.pg_xact().status(xid).unwrap(),
        XactStatus::Committed
    );
}

#[test]
fn pages_are_cleared_and_segments_removed() {
    let (disk, mut context) = context(&[0, 1, 2]);
    redo_end(&mut context, xact::COMMIT, 1000, &XactEnd::default()).unwrap();
    let zero = Clog::ZeroPage { page: 0 };
    redo_one(&mut context, RmgrId::CLOG, zero.code(), 0, &zero.encode()).unwrap();
    assert_eq!(
        context.pg_xact().status(Xid(1000)).unwrap(),
        XactStatus::InProgress
    );
    let truncate = |page| Clog::Truncate {
        page,
        oldest_xact: Xid(page as u32 * XACTS_PER_PAGE),
        oldest_xact_db: Oid(1),
    };
    let names = || -> Vec<_> {
        let entries = disk.list(Path::new("/pg_xact")).unwrap();
        let mut names: Vec<_> = entries.into_iter().map(|entry| entry.name).collect();
        names.sort();
        names
    };
    // Within a segment: it stays.
    let record = truncate(63);
    redo_one(
        &mut context,
        RmgrId::CLOG,
        clog::TRUNCATE,
        0,
        &record.encode(),
    )
    .unwrap();
    assert_eq!(names(), ["0001", "0002"]);
    let record = truncate(64);
    redo_one(
        &mut context,
        RmgrId::CLOG,
        clog::TRUNCATE,
        0,
        &record.encode(),
    )
    .unwrap();
    assert_eq!(names(), ["0002"]);
    // Redone from before the truncation, a look at what is gone is none at all.
    assert_eq!(
        context.pg_xact().status(Xid(1000)).unwrap(),
        XactStatus::InProgress
    );
}

#[test]
fn what_cannot_be_redone_is_refused_with_its_place() {
    let (_disk, mut context) = context(&[0]);
    let prepared = XactEnd {
        twophase: Some(TwoPhase {
            xid: Xid(1000),
            gid: None,
        }),
        ..XactEnd::default()
    };
    let replicated = XactEnd {
        origin: Some(XactOrigin {
            lsn: Lsn(9),
            timestamp: 0,
        }),
        ..XactEnd::default()
    };
    for (code, end) in [
        (xact::PREPARE, &prepared),
        (xact::COMMIT_PREPARED, &prepared),
        (xact::ABORT_PREPARED, &prepared),
        (xact::COMMIT, &replicated),
    ] {
        let error = redo_end(&mut context, code, 1000, end).unwrap_err();
        assert_eq!(error.sqlstate(), "0A000");
        let text = error.to_string();
        assert!(
            text.starts_with("WAL redo at 0/1000000: Transaction ("),
            "{text}"
        );
    }
    let error = redo_one(&mut context, RmgrId::XACT, xact::COMMIT, 1000, &[1; 5]).unwrap_err();
    assert_eq!(error.sqlstate(), "XX001");
    let error = redo_end(&mut context, xact::COMMIT, 1, &XactEnd::default()).unwrap_err();
    assert_eq!(error.sqlstate(), "XX001");
    let page = Clog::ZeroPage { page: -1 };
    let error = redo_one(&mut context, RmgrId::CLOG, page.code(), 0, &page.encode()).unwrap_err();
    assert_eq!(error.sqlstate(), "XX001");
    // What only standbys need.
    for code in [xact::ASSIGNMENT, xact::INVALIDATIONS] {
        redo_one(&mut context, RmgrId::XACT, code, 1000, &[]).unwrap();
    }
}
