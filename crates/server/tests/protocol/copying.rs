//! COPY, with clients that behave and those that do not.

use crate::Fixture;
use crate::raw::Raw;

const COPY_IN: &str = "G:||\\x02||||";

#[tokio::test]
async fn copy_in_takes_data_in_any_pieces() {
    let fixture = Fixture::new().await;
    let mut raw = Raw::start(fixture.address).await;
    // Flush and Sync are ignored; the query string goes on after it.
    let answer = raw
        .ask(&[
            ('Q', b"copy in; rows 1\0"),
            ('d', b"a\nb"),
            ('H', b""),
            ('S', b""),
            ('d', b""),
            ('d', b"\nc\n"),
            ('c', b""),
        ])
        .await;
    assert_eq!(answer[..2], [COPY_IN, "C:COPY 3|"]);
    assert_eq!(answer[4..], ["C:SELECT 1|", "Z:I"]);
    assert_eq!(fixture.committed(), ["a", "b", "c"]);
    let answer = raw.ask(&[('Q', b"copy in binary\0"), ('c', b"")]).await;
    assert_eq!(answer, ["G:\\x01|\\x02|\\x01|\\x01", "C:COPY 0|", "Z:I"]);
}

#[tokio::test]
async fn large_copy_messages_are_not_collected() {
    let fixture = Fixture::new().await;
    let mut raw = Raw::start(fixture.address).await;
    let line = format!("{}\n", "x".repeat(99));
    let big = line.repeat(50_000);
    raw.send(&[('Q', b"copy in\0")]).await;
    raw.until('G').await;
    raw.send(&[('d', big.as_bytes()), ('d', line.as_bytes()), ('c', b"")])
        .await;
    assert_eq!(raw.until('Z').await, ["C:COPY 50001|", "Z:I"]);
}

#[tokio::test]
async fn copy_fail_and_bad_data_undo_the_load() {
    let fixture = Fixture::new().await;
    let mut raw = Raw::start(fixture.address).await;
    let answer = raw
        .ask(&[('Q', b"put a; copy in\0"), ('d', b"b\n"), ('f', b"no\0")])
        .await;
    let failed = "E:SERROR|VERROR|C57014|MCOPY from stdin failed: no||";
    assert_eq!(answer, ["C:INSERT 0 1|", COPY_IN, failed, "Z:I"]);
    let bad = "E:SERROR|VERROR|C22P02|Mbad line|WCOPY t, line 1: \"bad\"||";
    // The data before a CopyFail is read, as PostgreSQL reads it.
    let answer = raw
        .ask(&[('Q', b"copy in\0"), ('d', b"bad\n"), ('f', b"no\0")])
        .await;
    assert_eq!(answer, [COPY_IN, bad, "Z:I"]);
    // What comes after the bad line is read and ignored, CopyDone too.
    let more = vec![b'x'; 200_000];
    let answer = raw
        .ask(&[
            ('Q', b"copy in\0"),
            ('d', b"bad\n"),
            ('d', more.as_slice()),
            ('c', b""),
        ])
        .await;
    assert_eq!(answer, [COPY_IN, bad, "Z:I"]);
    // In the extended protocol, up to Sync.
    let answer = raw
        .ask(&[
            ('P', b"\0copy in\0\0\0"),
            ('B', b"\0\0\0\0\0\0\0\0"),
            ('E', b"\0\0\0\0\0"),
            ('d', b"bad\n"),
            ('c', b""),
            ('S', b""),
        ])
        .await;
    assert_eq!(answer, ["1:", "2:", COPY_IN, bad, "Z:I"]);
    assert_eq!(fixture.committed(), [""; 0]);
    // Late COPY messages are ignored at any time.
    let answer = raw
        .ask(&[('d', b"x"), ('c', b""), ('f', b"x\0"), ('S', b"")])
        .await;
    assert_eq!(answer, ["Z:I"]);
    assert_eq!(raw.query("put c").await, ["C:INSERT 0 1|", "Z:I"]);
}

#[tokio::test]
async fn copy_in_with_the_extended_protocol() {
    let fixture = Fixture::new().await;
    let mut raw = Raw::start(fixture.address).await;
    raw.send(&[
        ('P', b"\0copy in\0\0\0"),
        ('B', b"\0\0\0\0\0\0\0\0"),
        ('D', b"P\0"),
        ('E', b"\0\0\0\0\0"),
        ('S', b""),
    ])
    .await;
    assert_eq!(raw.until('G').await, ["1:", "2:", "n:", COPY_IN]);
    let answer = raw.ask(&[('d', b"a\n"), ('c', b""), ('S', b"")]).await;
    assert_eq!(answer, ["C:COPY 1|", "Z:I"]);
    assert_eq!(fixture.committed(), ["a"]);
}

#[tokio::test]
async fn another_message_amid_copy_data_ends_the_connection() {
    let fixture = Fixture::new().await;
    let mut raw = Raw::start(fixture.address).await;
    raw.send(&[('Q', b"copy in\0")]).await;
    raw.until('G').await;
    raw.send(&[('d', b"a\n"), ('Q', b"rows 1\0")]).await;
    assert_eq!(
        raw.until('!').await,
        [
            "E:SERROR|VERROR|C08P01|Munexpected message type 0x51 during COPY from stdin||",
            "E:SFATAL|VFATAL|C08P01|Mterminating connection because protocol synchronization was \
             lost||",
            "end"
        ]
    );
    assert_eq!(fixture.committed(), [""; 0]);
}

/// Cut at each place where a client can vanish, the load fails, and nothing of it stays.
#[tokio::test]
async fn a_connection_cut_in_mid_copy_fails_the_load() {
    let whole_row: &[u8] = b"d\0\0\0\x06a\n";
    for cut in 0..=whole_row.len() {
        let fixture = Fixture::new().await;
        let mut raw = Raw::start(fixture.address).await;
        raw.send(&[('Q', b"put x; copy in\0")]).await;
        raw.until('G').await;
        raw.send_bytes(&whole_row[..cut]).await;
        drop(raw);
        let error = fixture.first_load().await.unwrap_err();
        assert_eq!(error.sqlstate, "08006", "cut at {cut}");
        let mut other = Raw::start(fixture.address).await;
        assert_eq!(other.query("put y").await, ["C:INSERT 0 1|", "Z:I"]);
        assert_eq!(fixture.committed(), ["y"], "cut at {cut}");
    }
}

#[tokio::test]
async fn copy_out_sends_a_message_a_row() {
    let fixture = Fixture::new().await;
    let mut raw = Raw::start(fixture.address).await;
    let expected = [
        "H:||\\x01||",
        "d:1\\x0a",
        "d:2\\x0a",
        "c:",
        "C:COPY 2|",
        "Z:I",
    ];
    assert_eq!(raw.query("copy out 2").await, expected);
    let bind: (char, &[u8]) = ('B', b"\0\0\0\0\0\0\0\0");
    let execute: (char, &[u8]) = ('E', b"\0\0\0\0\0");
    let answer = raw
        .ask(&[
            ('P', b"\0copy out 1\0\0\0"),
            bind,
            ('D', b"P\0"),
            execute,
            execute,
            ('S', b""),
        ])
        .await;
    let again = "E:SERROR|VERROR|C55000|Mportal \"\" cannot be run||";
    let expected = [
        "1:",
        "2:",
        "n:",
        "H:||\\x01||",
        "d:1\\x0a",
        "c:",
        "C:COPY 1|",
        again,
        "Z:I",
    ];
    assert_eq!(answer, expected);
}
