//! Disks that are full or fail: what is told, what stays, and what may still be claimed.

use std::sync::Arc;

use trunkline_pgformat::control_file::{ClusterState, ControlFile};

use crate::rig::{Faults, Rig, blocks, count, create, drop_table, faulty, load, load_as, switch};

#[test]
fn a_full_disk_loses_nothing() {
    let faults = Arc::new(Faults::default());
    let rig = Rig::on(faulty(&faults));
    let mut session = rig.session();
    create(&mut session, "t").unwrap();
    load(&mut session, "t", 1000, false).unwrap();
    // With its visibility map.
    count(&mut session, "t").unwrap();
    let (files, before) = (rig.files(), blocks(&mut session, "t"));
    assert_eq!(files.len(), 2);
    switch(&faults.disk_full, true);
    let error = load(&mut session, "t", 50_000, false).unwrap_err();
    assert_eq!(error.sqlstate(), "53100");
    assert!(
        error.to_string().contains("could not extend file"),
        "{error}"
    );
    assert_eq!(count(&mut session, "t").unwrap(), 1000);
    assert_eq!(blocks(&mut session, "t"), before);
    // Of a new table nothing stays.
    session.begin_block().unwrap();
    if create(&mut session, "u").is_ok() {
        assert_eq!(
            load_as(&mut session, "u", 10, false, true)
                .unwrap_err()
                .sqlstate(),
            "53100"
        );
    }
    session.rollback_block();
    assert_eq!(rig.files_after_checkpoint(), files);

    switch(&faults.disk_full, false);
    assert_eq!(load(&mut session, "t", 50_000, false).unwrap(), 50_000);
    assert_eq!(count(&mut session, "t").unwrap(), 51_000);
    drop(session);
    rig.database().stop().unwrap();
}

#[test]
fn a_hint_that_finds_no_room_fails_no_query() {
    let faults = Arc::new(Faults::default());
    let rig = Rig::on(faulty(&faults));
    let mut session = rig.session();
    create(&mut session, "t").unwrap();
    load(&mut session, "t", 1000, false).unwrap();
    switch(&faults.disk_full, true);
    // The first scan would make the visibility map.
    assert_eq!(count(&mut session, "t").unwrap(), 1000);
}

#[test]
fn after_a_failed_sync_nothing_claims_to_be_durable() {
    let faults = Arc::new(Faults::default());
    let rig = Rig::on(faulty(&faults));
    let (mut session, mut other) = (rig.session(), rig.session());
    create(&mut session, "t").unwrap();
    load(&mut session, "t", 1000, false).unwrap();
    let mut io = session.issuer().unwrap();
    switch(&faults.syncs_fail, true);
    let error = rig.database().checkpoint(&mut io).unwrap_err();
    assert!(
        error.to_string().contains("could not fsync file"),
        "{error}"
    );
    assert!(rig.database().failure().is_some());
    // The disk is well again, but what it forgot nobody knows.
    switch(&faults.syncs_fail, false);
    assert_eq!(
        rig.database().checkpoint(&mut io).unwrap_err().sqlstate(),
        "58030"
    );
    assert_eq!(count(&mut other, "t").unwrap_err().sqlstate(), "57P02");
    assert_eq!(
        rig.database()
            .session("postgres", &[])
            .err()
            .unwrap()
            .sqlstate(),
        "57P02"
    );
    drop((session, other, io));
    assert!(rig.database().stop().is_err());
    assert_state(&rig.path, ClusterState::InProduction);
}

#[test]
fn w7_a_checkpoint_whose_control_file_fails_ends_everything() {
    type Fault = fn(&Faults) -> &std::sync::atomic::AtomicBool;
    let of_kinds: [Fault; 2] = [|f| &f.control_writes_fail, |f| &f.control_syncs_fail];
    for fault in of_kinds {
        let faults = Arc::new(Faults::default());
        let mut rig = Rig::on(faulty(&faults));
        let mut session = rig.session();
        create(&mut session, "t").unwrap();
        load(&mut session, "t", 10, false).unwrap();
        let mut io = session.issuer().unwrap();
        switch(fault(&faults), true);
        let error = rig.database().checkpoint(&mut io).unwrap_err();
        assert!(error.to_string().contains("pg_control"), "{error}");
        switch(fault(&faults), false);
        // Whether it has the new checkpoint nobody knows.
        assert!(rig.database().failure().is_some());
        let error = rig.database().checkpoint(&mut io).unwrap_err();
        assert_eq!(error.sqlstate(), "58030");
        assert_eq!(
            load(&mut session, "t", 1, false).unwrap_err().sqlstate(),
            "57P02"
        );
        drop((session, io));
        assert!(rig.database().stop().is_err());
        rig.crash();
        assert_eq!(count(&mut rig.session(), "t").unwrap(), 10);
    }
}

/// What its control file says.
fn assert_state(path: &std::path::Path, state: ClusterState) {
    let bytes = std::fs::read(path.join("global/pg_control")).unwrap();
    assert_eq!(ControlFile::decode(&bytes).unwrap().state, state);
}

#[test]
fn a_stop_that_cannot_write_is_no_clean_stop_and_can_be_tried_again() {
    let faults = Arc::new(Faults::default());
    let mut rig = Rig::on(faulty(&faults));
    let mut session = rig.session();
    create(&mut session, "t").unwrap();
    load(&mut session, "t", 10, false).unwrap();
    switch(&faults.writes_fail, true);
    let mut io = session.issuer().unwrap();
    let error = rig.database().checkpoint(&mut io).unwrap_err();
    assert!(error.to_string().contains("could not write"), "{error}");
    assert!(rig.database().failure().is_none());
    assert_eq!(count(&mut session, "t").unwrap(), 10);
    drop((session, io));
    assert!(rig.database().stop().is_err());
    assert_state(&rig.path, ClusterState::ShuttingDown);
    switch(&faults.writes_fail, false);
    rig.restart();
    let mut session = rig.session();
    assert_eq!(count(&mut session, "t").unwrap(), 10);
}

#[test]
fn a_load_whose_writes_fail_fails() {
    let faults = Arc::new(Faults::default());
    let rig = Rig::on(faulty(&faults));
    let mut session = rig.session();
    create(&mut session, "t").unwrap();
    load(&mut session, "t", 1000, false).unwrap();
    let before = blocks(&mut session, "t");
    switch(&faults.writes_fail, true);
    let error = load(&mut session, "t", 50_000, false).unwrap_err();
    assert_eq!(error.sqlstate(), "58030");
    switch(&faults.writes_fail, false);
    assert_eq!(blocks(&mut session, "t"), before);
    assert_eq!(count(&mut session, "t").unwrap(), 1000);
    drop_table(&mut session, "t").unwrap();
    drop(session);
    rig.database().stop().unwrap();
}
