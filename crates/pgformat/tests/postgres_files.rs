//! The formats against files that PostgreSQL 18 wrote, see `fixtures/README.md`: what its own tools
//! printed of them is what must be read here, and writing must give the same bytes again.

#![allow(clippy::unwrap_used, reason = "a missing fixture is a failed test")]

use std::fs;
use std::path::PathBuf;
use trunkline_pgformat::control_file::{
    CATALOG_VERSION_NO, CONTROL_FILE_SIZE, ControlFile, NewCluster, PG_CONTROL_VERSION,
};
use trunkline_pgformat::relmap::{RELMAP_FILE_SIZE, RelMap};
use trunkline_pgformat::slru::{self, XactStatus};
use trunkline_pgformat::varlena::{self, VarlenaForm};
use trunkline_pgformat::wal::segment::SegmentSize;
use trunkline_pgformat::{
    BLCKSZ, HeapTupleRef, LinePointerState, Oid, PageBytes, PageMut, PageRef, Xid, line_pointer,
    page_checksum, verify_page, version_file, visibility_map,
};

fn fixture(name: &str) -> Vec<u8> {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests", "fixtures", name]
        .iter()
        .collect();
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn page(name: &str) -> Box<PageBytes> {
    fixture(name).into_boxed_slice().try_into().unwrap()
}

/// The lines of a fixture, each cut at its spaces.
fn rows(name: &str) -> Vec<Vec<String>> {
    let text = String::from_utf8(fixture(name)).unwrap();
    text.lines()
        .map(|line| line.split(' ').map(str::to_owned).collect())
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn headers_and_checksums_are_those_that_pageinspect_prints() {
    let headers = rows("headers.txt");
    assert_eq!(headers.len(), 5);
    for row in headers {
        let page = page(&format!("{}.page", row[0]));
        let block = row[1].parse().unwrap();
        let view = PageRef::new(&page);
        let printed = [
            view.lsn().to_string(),
            (view.checksum() as i16).to_string(),
            view.flags().to_string(),
            view.lower().to_string(),
            view.upper().to_string(),
            view.special().to_string(),
            (view.page_size_version() & 0xff00).to_string(),
            (view.page_size_version() & 0x00ff).to_string(),
            view.prune_xid().to_string(),
            (page_checksum(&page, block) as i16).to_string(),
        ];
        assert_eq!(printed, row[2..], "{}", row[0]);
        assert_eq!(verify_page(&page, block, true), Ok(()), "{}", row[0]);
        assert!(verify_page(&page, block + 1, true).is_err(), "{}", row[0]);
    }
    assert_eq!(PageRef::new(&page("index.page")).special_space().len(), 16);
    assert!(PageRef::new(&page("visible17.page")).is_all_visible());
}

/// `t_bits` as pageinspect prints them: whole bytes, the lowest attribute first.
fn bits(bitmap: &[u8]) -> String {
    let bit = |index: usize| bitmap[index / 8] >> (index % 8) & 1;
    (0..bitmap.len() * 8)
        .map(|index| if bit(index) == 1 { '1' } else { '0' })
        .collect()
}

#[test]
fn items_are_those_that_pageinspect_prints() {
    for table in ["varied", "pointers"] {
        let page = page(&format!("{table}.page"));
        let view = PageRef::new(&page);
        let expected = rows(&format!("{table}.items.txt"));
        assert_eq!(usize::from(view.line_pointer_count()), expected.len());
        for ((offset, pointer), row) in view.line_pointers().zip(&expected) {
            let mut printed = vec![
                offset.to_string(),
                pointer.offset().to_string(),
                (pointer.state() as u8).to_string(),
                pointer.length().to_string(),
            ];
            if let Some(item) = view.item(offset) {
                let tuple = HeapTupleRef::new(item).unwrap();
                printed.extend([
                    tuple.xmin().to_string(),
                    tuple.xmax().to_string(),
                    tuple.field3().to_string(),
                    tuple.ctid().to_string(),
                    tuple.infomask2().to_string(),
                    tuple.infomask().to_string(),
                    tuple.hoff().to_string(),
                    tuple.null_bitmap().map_or("-".to_owned(), bits),
                    "-".to_owned(),
                    hex(tuple.data()),
                ]);
                assert_eq!(tuple.header().to_bytes(), item[..23]);
            } else {
                printed.resize(14, "-".to_owned());
            }
            assert_eq!(&printed, row, "{table} line pointer {offset}");
        }
        let normal = expected.iter().filter(|row| row[2] == "1").count();
        assert_eq!(line_pointer::count_normal(&page) as usize, normal);
    }
}

#[test]
fn the_pointers_page_has_every_state() {
    let page = page("pointers.page");
    for state in [
        LinePointerState::Unused,
        LinePointerState::Normal,
        LinePointerState::Redirect,
        LinePointerState::Dead,
    ] {
        let mut pointers = PageRef::new(&page).line_pointers();
        assert!(pointers.any(|(_, pointer)| pointer.state() == state));
    }
}

/// Adding the tuples of a page that PostgreSQL filled, in its order, gives its bytes.
#[test]
fn adding_the_same_tuples_gives_the_same_page() {
    for (name, block) in [("varied.page", 0), ("visible17.page", 17)] {
        let theirs = page(name);
        let view = PageRef::new(&theirs);
        let mut ours = Box::new([0; BLCKSZ]);
        let mut building = PageMut::new(&mut ours);
        building.init(0);
        for (offset, _) in view.line_pointers() {
            assert_eq!(building.add_item(view.item(offset).unwrap()), Some(offset));
        }
        building.set_lsn(view.lsn());
        building.set_all_visible(view.is_all_visible());
        building.set_prune_xid(view.prune_xid());
        let checksum = page_checksum(&ours, block);
        PageMut::new(&mut ours).set_checksum(checksum);
        assert!(ours == theirs, "{name}");
    }
}

/// Columns a to c and m of `varied`, whose text columns have every form between them.
#[test]
fn variable_length_values_have_the_forms_that_postgresql_chose() {
    let page = page("varied.page");
    let tuple = |offset| HeapTupleRef::new(PageRef::new(&page).item(offset).unwrap()).unwrap();

    let short = tuple(1).data();
    assert_eq!(varlena::payload(&short[16..]), Ok((&b"short"[..], 6)));
    assert_eq!(&short[16..17], [varlena::short_header(5)]);
    assert!((0..13).all(|column| tuple(2).is_null(column)));

    let longest_short = tuple(3).data();
    let (payload, size) = varlena::payload(&longest_short[16..]).unwrap();
    assert_eq!((payload, size), (&[b'y'; 126][..], 127));
    let shortest_long = tuple(4).data();
    let (payload, size) = varlena::payload(&shortest_long[16..]).unwrap();
    assert_eq!((payload, size), (&[b'z'; 127][..], 131));
    assert_eq!(shortest_long[16..20], varlena::long_header(127));

    // Column b is null, so c follows a, aligned to four as its first byte is not short.
    let compressed = &tuple(5).data()[4..];
    let (form, size) = varlena::form_and_size(compressed).unwrap();
    assert_eq!(form, VarlenaForm::Compressed);
    assert_eq!(
        varlena::payload(compressed),
        Err(varlena::VarlenaError::Compressed)
    );
    // d is a byte, then m is short.
    assert_eq!(
        varlena::payload(&compressed[size + 1..]),
        Ok((&b"tail"[..], 5))
    );

    let data = tuple(6).data();
    let (payload, size) = varlena::payload(&data[4..]).unwrap();
    assert_eq!(payload, b"toasted");
    let external = &data[4 + size + 1..];
    assert_eq!(
        varlena::form_and_size(external),
        Ok((VarlenaForm::External, external.len()))
    );
}

#[test]
fn the_visibility_map_is_the_one_that_pg_visibility_prints() {
    let page = page("visible_vm.page");
    let expected = rows("visible_vm.bits.txt");
    let mut counted = (0, 0);
    for row in &expected {
        let [block, visible, frozen] = [0, 1, 2].map(|column| row[column].parse::<u32>().unwrap());
        assert_eq!(
            u32::from(visibility_map::status(&page, block)),
            visible | frozen << 1,
            "block {block}"
        );
        counted.0 += visible;
        counted.1 += frozen;
    }
    assert_eq!(visibility_map::count(&page), counted);
    assert!(0 < counted.1 && counted.1 < counted.0 && counted.0 < expected.len() as u32);
}

#[test]
fn transactions_have_the_status_that_pg_xact_status_prints() {
    let mut page = page("pg_xact.page");
    let rows = rows("pg_xact.txt");
    assert!(rows.iter().any(|row| row[1] == "2"));
    for row in rows {
        let xid = Xid(row[0].parse().unwrap());
        let status = slru::xact_status(&page, xid);
        assert_eq!((status as u8).to_string(), row[1], "xid {xid}");
        // Rewriting it leaves every other as it was.
        let before = page.clone();
        slru::set_xact_status(&mut page, xid, XactStatus::InProgress);
        slru::set_xact_status(&mut page, xid, status);
        assert!(page == before);
    }
}

#[test]
fn a_new_cluster_gets_the_slru_files_that_initdb_makes() {
    let mut expected: Vec<_> = slru::INITIAL_FILES.to_vec();
    expected.push(slru::COMMIT_TS_DIRECTORY);
    let made: Vec<_> = rows("slru_after_initdb.txt").concat();
    assert_eq!(made, expected);
    for (file, directory) in slru::INITIAL_FILES.into_iter().zip([
        slru::XACT_DIRECTORY,
        slru::SUBTRANS_DIRECTORY,
        slru::MULTIXACT_OFFSETS_DIRECTORY,
        slru::MULTIXACT_MEMBERS_DIRECTORY,
    ]) {
        assert_eq!(file, format!("{directory}/{}", slru::segment_name(0)));
    }
}

/// What `pg_controldata` prints behind `label`.
fn printed(text: &str, label: &str) -> String {
    text.lines()
        .find_map(|line| line.strip_prefix(label)?.strip_prefix(':'))
        .unwrap_or_else(|| panic!("no line {label}"))
        .trim()
        .to_owned()
}

fn on_off(value: bool) -> String {
    if value { "on" } else { "off" }.to_owned()
}

/// Seconds since 1970 as `pg_controldata` prints them in UTC: `Sun Nov 22 15:35:22 2026`.
fn printed_time(seconds: i64) -> String {
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (mut year, mut day) = (1970, days);
    let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    while day >= 365 + i64::from(leap(year)) {
        day -= 365 + i64::from(leap(year));
        year += 1;
    }
    let mut month = 0;
    let lengths = [
        31,
        28 + i64::from(leap(year)),
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ];
    while day >= lengths[month] {
        day -= lengths[month];
        month += 1;
    }
    let weekday = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"][days.rem_euclid(7) as usize];
    let month = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ][month];
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!(
        "{weekday} {month} {:2} {hour:02}:{minute:02}:{second:02} {year}",
        day + 1
    )
}

#[test]
fn the_control_file_says_what_pg_controldata_prints() {
    let file = fixture("pg_control");
    let text = String::from_utf8(fixture("pg_control.txt")).unwrap();
    let control = ControlFile::decode(&file).unwrap();
    let last = &control.check_point_copy;
    let full_xid = last.next_full_xid;
    let lines = [
        ("pg_control version number", PG_CONTROL_VERSION.to_string()),
        (
            "Catalog version number",
            control.catalog_version_no.to_string(),
        ),
        (
            "Database system identifier",
            control.system_identifier.to_string(),
        ),
        (
            "Database cluster state",
            control.state.description().to_owned(),
        ),
        ("pg_control last modified", printed_time(control.time)),
        (
            "Latest checkpoint location",
            control.check_point.to_string(),
        ),
        ("Latest checkpoint's REDO location", last.redo.to_string()),
        (
            "Latest checkpoint's TimeLineID",
            last.this_time_line_id.to_string(),
        ),
        (
            "Latest checkpoint's PrevTimeLineID",
            last.prev_time_line_id.to_string(),
        ),
        (
            "Latest checkpoint's full_page_writes",
            on_off(last.full_page_writes),
        ),
        (
            "Latest checkpoint's NextXID",
            format!("{}:{}", full_xid >> 32, last.next_xid()),
        ),
        ("Latest checkpoint's NextOID", last.next_oid.to_string()),
        (
            "Latest checkpoint's NextMultiXactId",
            last.next_multi.to_string(),
        ),
        (
            "Latest checkpoint's NextMultiOffset",
            last.next_multi_offset.to_string(),
        ),
        ("Latest checkpoint's oldestXID", last.oldest_xid.to_string()),
        (
            "Latest checkpoint's oldestXID's DB",
            last.oldest_xid_db.to_string(),
        ),
        (
            "Latest checkpoint's oldestActiveXID",
            last.oldest_active_xid.to_string(),
        ),
        (
            "Latest checkpoint's oldestMultiXid",
            last.oldest_multi.to_string(),
        ),
        (
            "Latest checkpoint's oldestMulti's DB",
            last.oldest_multi_db.to_string(),
        ),
        (
            "Latest checkpoint's oldestCommitTsXid",
            last.oldest_commit_ts_xid.to_string(),
        ),
        (
            "Latest checkpoint's newestCommitTsXid",
            last.newest_commit_ts_xid.to_string(),
        ),
        ("Time of latest checkpoint", printed_time(last.time)),
        (
            "Fake LSN counter for unlogged rels",
            control.unlogged_lsn.to_string(),
        ),
        (
            "Minimum recovery ending location",
            control.min_recovery_point.to_string(),
        ),
        (
            "Min recovery ending loc's timeline",
            control.min_recovery_point_tli.to_string(),
        ),
        (
            "Backup start location",
            control.backup_start_point.to_string(),
        ),
        ("Backup end location", control.backup_end_point.to_string()),
        (
            "wal_level setting",
            format!("{:?}", control.wal_level).to_lowercase(),
        ),
        ("wal_log_hints setting", on_off(control.wal_log_hints)),
        (
            "max_connections setting",
            control.max_connections.to_string(),
        ),
        (
            "max_worker_processes setting",
            control.max_worker_processes.to_string(),
        ),
        (
            "max_wal_senders setting",
            control.max_wal_senders.to_string(),
        ),
        (
            "max_prepared_xacts setting",
            control.max_prepared_xacts.to_string(),
        ),
        (
            "max_locks_per_xact setting",
            control.max_locks_per_xact.to_string(),
        ),
        (
            "track_commit_timestamp setting",
            on_off(control.track_commit_timestamp),
        ),
        ("Maximum data alignment", control.max_align.to_string()),
        ("Database block size", control.blcksz.to_string()),
        (
            "Blocks per segment of large relation",
            control.relseg_size.to_string(),
        ),
        ("WAL block size", control.xlog_blcksz.to_string()),
        ("Bytes per WAL segment", control.xlog_seg_size.to_string()),
        (
            "Maximum length of identifiers",
            control.name_data_len.to_string(),
        ),
        (
            "Maximum columns in an index",
            control.index_max_keys.to_string(),
        ),
        (
            "Maximum size of a TOAST chunk",
            control.toast_max_chunk_size.to_string(),
        ),
        (
            "Size of a large-object chunk",
            control.loblksize.to_string(),
        ),
        (
            "Data page checksum version",
            control.data_checksum_version.to_string(),
        ),
        (
            "Mock authentication nonce",
            hex(&control.mock_authentication_nonce),
        ),
    ];
    for (label, ours) in &lines {
        assert_eq!(*ours, printed(&text, label), "{label}");
    }
    let yes_no = printed(&text, "End-of-backup record required");
    assert_eq!(control.backup_end_required, yes_no == "yes");
    let passing = printed(&text, "Float8 argument passing");
    assert_eq!(control.float8_by_val, passing == "by value");
    let signedness = printed(&text, "Default char data signedness");
    assert_eq!(control.default_char_signedness, signedness == "signed");

    assert_eq!(control.catalog_version_no, CATALOG_VERSION_NO);
    assert_eq!(control.check_compatible(), Ok(()));
    assert_eq!(control.encode()[..], file[..]);
}

/// A new cluster's file differs from that of one PostgreSQL made only in what a cluster's life
/// changes.
#[test]
fn a_new_control_file_has_the_settings_of_initdb() {
    let theirs = ControlFile::decode(&fixture("pg_control")).unwrap();
    let mut ours = ControlFile::for_new_cluster(&NewCluster {
        system_identifier: theirs.system_identifier,
        time: theirs.time,
        mock_authentication_nonce: theirs.mock_authentication_nonce,
        next_xid: theirs.check_point_copy.next_xid(),
        next_oid: theirs.check_point_copy.next_oid,
        has_checksums: true,
        wal_segment_size: SegmentSize::DEFAULT,
    });
    assert_eq!(ours.encode().len(), CONTROL_FILE_SIZE);
    ours.check_point = theirs.check_point;
    ours.check_point_copy.redo = theirs.check_point_copy.redo;
    ours.check_point_copy.oldest_xid = theirs.check_point_copy.oldest_xid;
    ours.check_point_copy.time = theirs.check_point_copy.time;
    assert_eq!(ours, theirs);
}

#[test]
fn the_relation_map_has_the_files_that_postgresql_prints() {
    let file = fixture("pg_filenode.map");
    assert_eq!(file.len(), RELMAP_FILE_SIZE);
    let map = RelMap::decode(&file).unwrap();
    let expected = rows("pg_filenode.map.txt");
    assert_eq!(map.iter().count(), expected.len());
    for row in expected {
        let [catalog, number] = [0, 1].map(|column| row[column].parse::<u32>().unwrap());
        assert_eq!(map.get(Oid(catalog)), Some(number));
    }
    assert_eq!(map.encode()[..], file[..]);
}

#[test]
fn the_version_file_is_the_same() {
    let file = fixture("PG_VERSION");
    assert_eq!(
        version_file::decode(&file),
        Some(version_file::MAJOR_VERSION)
    );
    assert_eq!(version_file::encode(), file);
}
