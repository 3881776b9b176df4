//! Startup and malformed input.

use std::time::Duration;

use trunkline_server::{Listener, ServerConfig, ServerError};

use crate::raw::{Raw, V3_0, V3_2, show, startup};
use crate::{Fixture, config};

async fn refused(fixture: &Fixture, packet: &[u8]) -> Vec<String> {
    let mut raw = Raw::connect(fixture.address).await;
    raw.send_bytes(packet).await;
    raw.until('!').await
}

#[tokio::test]
async fn startup_reports_parameters_and_a_key() {
    let fixture = Fixture::new().await;
    let mut raw = Raw::connect(fixture.address).await;
    // SSL and GSS encryption are refused, in either order, and the client goes on.
    for code in [80_877_103_u32, 80_877_104] {
        let mut request = 8_u32.to_be_bytes().to_vec();
        request.extend_from_slice(&code.to_be_bytes());
        raw.send_bytes(&request).await;
        let mut answer = [0];
        tokio::io::AsyncReadExt::read_exact(&mut raw.stream, &mut answer)
            .await
            .unwrap();
        assert_eq!(answer, *b"N");
    }
    raw.send_bytes(&startup(V3_0, &[("user", "ann")])).await;
    let mut messages = raw.until('Z').await;
    let key = messages.remove(messages.len() - 2);
    assert!(key.starts_with("K:|||"), "{key}");
    let expected = [
        "R:||||",
        "S:server_version|18.0|",
        "S:client_encoding|UTF8|",
        "S:standard_conforming_strings|on|",
        "S:session_authorization|ann|",
        "Z:I",
    ];
    assert_eq!(messages, expected);
    // The database of the user's name does not exist: it is `postgres`.
    assert_eq!(raw.query("database").await[1], "D:|\\x01|||\\x08postgres");
}

#[tokio::test]
async fn protocol_versions_are_negotiated() {
    let fixture = Fixture::new().await;
    let key_bytes = async |version, parameters: &[(&str, &str)]| {
        let mut raw = Raw::connect(fixture.address).await;
        raw.send_bytes(&startup(version, parameters)).await;
        let mut negotiation = None;
        loop {
            match raw.receive().await.unwrap() {
                (b'v', body) => negotiation = Some(show(b'v', &body)),
                (b'K', body) => return (negotiation, body.len() - 4),
                _ => {}
            }
        }
    };
    let ann = ("user", "ann");
    assert_eq!(key_bytes(V3_0, &[ann]).await, (None, 4));
    assert_eq!(key_bytes(V3_2, &[ann]).await, (None, 32));
    let newer = "v:|\\x03|\\x02|||\\x01_pq_.foo|".to_owned();
    assert_eq!(
        key_bytes(V3_0 | 9, &[ann, ("_pq_.foo", "1")]).await,
        (Some(newer), 32)
    );
}

#[tokio::test]
async fn bad_startup_packets_are_refused() {
    let fixture = Fixture::new().await;
    assert_eq!(
        refused(&fixture, &startup(4 << 16, &[("user", "ann")])).await,
        [
            "E:SFATAL|VFATAL|C0A000|Munsupported frontend protocol 4.0: server supports 3.0 to \
             3.2||",
            "end"
        ]
    );
    assert_eq!(
        refused(
            &fixture,
            &startup(V3_0, &[("user", "ann"), ("database", "nope")])
        )
        .await,
        [
            "R:||||",
            "E:SFATAL|VFATAL|C3D000|Mdatabase \"nope\" does not exist||",
            "end"
        ]
    );
    assert_eq!(
        refused(
            &fixture,
            &startup(V3_0, &[("user", "ann"), ("nosuch_x", "1")])
        )
        .await,
        [
            "R:||||",
            "E:SFATAL|VFATAL|C42704|Munrecognized configuration parameter \"nosuch_x\"||",
            "end"
        ]
    );
    assert_eq!(refused(&fixture, &[0, 0, 0, 3]).await, ["end"]);
    assert_eq!(refused(&fixture, &[0, 0, 0x27, 0x11]).await, ["end"]);
}

#[tokio::test]
async fn a_client_that_does_not_start_is_let_go() {
    let startup_timeout = Duration::from_millis(20);
    let fixture = Fixture::with(ServerConfig {
        startup_timeout,
        ..config()
    })
    .await;
    let mut raw = Raw::connect(fixture.address).await;
    raw.send_bytes(&[0, 0]).await;
    assert_eq!(raw.receive().await, None);
}

#[tokio::test]
async fn only_loopback_is_listened_on() {
    let host = "0.0.0.0".to_owned();
    let refused = Listener::bind(ServerConfig { host, ..config() }).await;
    let error = refused.err().unwrap();
    assert!(matches!(error, ServerError::NotLoopback { .. }), "{error}");
    let fixture = Fixture::new().await;
    let taken = ServerConfig {
        port: fixture.address.port(),
        ..config()
    };
    let refused = Listener::bind(taken).await;
    let text = refused.err().unwrap().to_string();
    assert!(text.contains("Address already in use"), "{text}");
}

/// Each input with PostgreSQL's answer, on one connection, which stays usable.
#[tokio::test]
async fn malformed_messages_leave_the_connection_usable() {
    let fixture = Fixture::new().await;
    let mut raw = Raw::start(fixture.address).await;
    let error = |text: &str| format!("E:SERROR|VERROR|{text}||");
    type Messages = &'static [(char, &'static [u8])];
    let cases: [(Messages, String); 13] = [
        (&[('S', b"xx")], error("C08P01|Minvalid message format")),
        (
            &[('B', b"\0\0\0"), ('S', b"")],
            error("C08P01|Minsufficient data left in message"),
        ),
        (
            &[('Q', b"select \xff\0")],
            error("C22021|Minvalid byte sequence for encoding \"UTF8\": 0xff"),
        ),
        (
            &[('Q', b"select 1")],
            error("C08P01|Minvalid string in message"),
        ),
        (
            &[('B', b"\0nope\0\0\0\0\0\0\0"), ('S', b"")],
            error("C26000|Mprepared statement \"nope\" does not exist"),
        ),
        (
            &[('E', b"nope\0\0\0\0\0"), ('S', b"")],
            error("C34000|Mportal \"nope\" does not exist"),
        ),
        (
            &[('D', b"Snope\0"), ('S', b"")],
            error("C26000|Mprepared statement \"nope\" does not exist"),
        ),
        (
            &[('D', b"Pnope\0"), ('S', b"")],
            error("C34000|Mportal \"nope\" does not exist"),
        ),
        (
            &[('B', b"\0\0\0\0\0\0\0\0"), ('S', b"")],
            error("C26000|Munnamed prepared statement does not exist"),
        ),
        (
            &[('P', b"\0rows 1; rows 2\0\0\0"), ('S', b"")],
            error("C42601|Mcannot insert multiple commands into a prepared statement"),
        ),
        (
            &[('F', b"\0\0\0\x01\0\0\0\0\0\0")],
            error("C0A000|Mthe function call sub-protocol is not supported"),
        ),
        // What follows an error is skipped up to Sync, a Query as well.
        (
            &[
                ('D', b"Snope\0"),
                ('P', b"\0nonsense\0\0\0"),
                ('Q', b"divide\0"),
                ('S', b""),
            ],
            error("C26000|Mprepared statement \"nope\" does not exist"),
        ),
        (&[('Q', b"rows 1;  nonsense\0")], String::new()),
    ];
    for (messages, expected) in &cases[..12] {
        assert_eq!(
            raw.ask(messages).await,
            [expected.as_str(), "Z:I"],
            "{messages:?}"
        );
    }
    // Positions count from the start of the query string.
    let answer = raw.ask(cases[12].0).await;
    let syntax = "E:SERROR|VERROR|C42601|Msyntax error at or near \"nonsense\"|P10||";
    assert_eq!(answer[3..], [syntax, "Z:I"]);
    assert_eq!(raw.query("").await, ["I:", "Z:I"]);
}

#[tokio::test]
async fn unknown_message_types_end_the_connection() {
    let fixture = Fixture::new().await;
    for kind in ['~', 'p'] {
        let mut raw = Raw::start(fixture.address).await;
        raw.send(&[(kind, b"x\0")]).await;
        let text = format!(
            "E:SFATAL|VFATAL|C08P01|Minvalid frontend message type {}||",
            u32::from(kind)
        );
        assert_eq!(raw.until('!').await, [text.as_str(), "end"]);
    }
    let mut raw = Raw::start(fixture.address).await;
    raw.send_bytes(b"Q\0\0\0\x03").await;
    assert_eq!(raw.receive().await, None, "a length that cannot be");
}

#[tokio::test]
async fn bind_checks_counts_and_formats() {
    let fixture = Fixture::new().await;
    let mut raw = Raw::start(fixture.address).await;
    raw.ask(&[('P', b"p1\0echo\0\0\0"), ('S', b"")]).await;
    let cases: [(&[u8], &str); 5] = [
        (
            b"\0p1\0\0\0\0\0\0\0",
            "C08P01|Mbind message supplies 0 parameters, but prepared statement \"p1\" requires 1",
        ),
        (
            b"\0p1\0\0\x02\0\0\0\0\0\x01\0\0\0\x011\0\0",
            "C08P01|Mbind message has 2 parameter formats but 1 parameters",
        ),
        (
            b"\0p1\0\0\x01\0\x07\0\x01\0\0\0\x011\0\0",
            "C22023|Munsupported format code: 7|Wunnamed portal parameter $1",
        ),
        (
            b"\0p1\0\0\0\0\x01\0\0\0\x011\0\x03\0\0\0\0\0\0",
            "C08P01|Mbind message has 3 result formats but query has 1 columns",
        ),
        (
            b"\0p1\0\0\0\0\x01\0\0\0\x011\0\0x",
            "C08P01|Minvalid message format",
        ),
    ];
    for (body, expected) in cases {
        let expected = format!("E:SERROR|VERROR|{expected}||");
        assert_eq!(
            raw.ask(&[('B', body), ('S', b"")]).await,
            [expected.as_str(), "Z:I"]
        );
    }
    assert_eq!(
        raw.ask(&[('P', b"p1\0echo\0\0\0"), ('S', b"")]).await,
        [
            "E:SERROR|VERROR|C42P05|Mprepared statement \"p1\" already exists||",
            "Z:I"
        ]
    );
}
