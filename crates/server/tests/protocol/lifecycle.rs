//! Transactions, portals, cancel and stop.

use std::net::SocketAddr;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::raw::{Raw, V3_0, V3_2, startup};
use crate::{Fixture, config};
use trunkline_server::ServerConfig;

const N: &str = "T:|\\x01n||||||||||\\x17|\\x04\\xff\\xff\\xff\\xff||";

fn row(text: &str) -> String {
    format!("D:|\\x01|||\\x{:02x}{text}", text.len())
}

#[tokio::test]
async fn a_query_string_is_one_transaction() {
    let fixture = Fixture::new().await;
    let mut raw = Raw::start(fixture.address).await;
    let answer = raw.query("put a; rows 1; divide; put b").await;
    let division = "E:SERROR|VERROR|C22012|Mdivision by zero||";
    let expected = [
        "C:INSERT 0 1|",
        N,
        &row("1"),
        "C:SELECT 1|",
        division,
        "Z:I",
    ]
    .map(str::to_owned);
    assert_eq!(answer, expected);
    assert_eq!(fixture.committed(), [""; 0]);
    assert_eq!(
        raw.query("put a; put b").await,
        ["C:INSERT 0 1|", "C:INSERT 0 1|", "Z:I"]
    );
    assert_eq!(fixture.committed(), ["a", "b"]);
    // The last statement's tag is not sent before the commit has succeeded.
    let failed = "E:SERROR|VERROR|C40001|Mcould not serialize access||";
    let answer = raw.query("put c; put uncommittable").await;
    assert_eq!(answer, ["C:INSERT 0 1|", failed, "Z:I"]);
    assert_eq!(fixture.committed(), ["a", "b"]);
}

#[tokio::test]
async fn a_failed_block_waits_for_its_end() {
    let fixture = Fixture::new().await;
    let mut raw = Raw::start(fixture.address).await;
    assert_eq!(
        raw.query("begin; put a").await,
        ["C:BEGIN|", "C:INSERT 0 1|", "Z:T"]
    );
    let answer = raw.query("divide").await;
    assert_eq!(
        answer,
        ["E:SERROR|VERROR|C22012|Mdivision by zero||", "Z:E"]
    );
    let aborted = "E:SERROR|VERROR|C25P02|Mcurrent transaction is aborted, commands ignored until \
                   end of transaction block||";
    assert_eq!(raw.query("rows 1").await, [aborted, "Z:E"]);
    assert_eq!(
        raw.ask(&[('P', b"\0rows 1\0\0\0"), ('S', b"")]).await,
        [aborted, "Z:E"]
    );
    assert_eq!(raw.query("commit").await, ["C:ROLLBACK|", "Z:I"]);
    assert_eq!(fixture.committed(), [""; 0]);
}

#[tokio::test]
async fn a_panic_ends_its_statement_only() {
    let fixture = Fixture::new().await;
    let mut raw = Raw::start(fixture.address).await;
    let answer = raw.query("put a; panic").await;
    let panicked = "E:SERROR|VERROR|CXX000|Mthe script panics||";
    assert_eq!(answer, ["C:INSERT 0 1|", panicked, "Z:I"]);
    assert_eq!(raw.query("put b").await, ["C:INSERT 0 1|", "Z:I"]);
    assert_eq!(fixture.committed(), ["b"]);
}

#[tokio::test]
async fn the_unnamed_statement_is_the_connections_own() {
    let fixture = Fixture::new().await;
    let mut raw = Raw::start(fixture.address).await;
    let answer = raw
        .ask(&[
            ('P', b"\0rows 1\0\0\0"),
            ('P', b"named\0rows 1\0\0\0"),
            ('C', b"Snamed\0"),
            ('D', b"S\0"),
            ('S', b""),
        ])
        .await;
    assert_eq!(answer, ["1:", "1:", "3:", "t:||", N, "Z:I"]);
    // A simple query takes its place.
    raw.query("rows 1").await;
    let gone = "E:SERROR|VERROR|C26000|Munnamed prepared statement does not exist||";
    assert_eq!(raw.ask(&[('D', b"S\0"), ('S', b"")]).await, [gone, "Z:I"]);
}

#[tokio::test]
async fn notices_and_parameter_changes_are_told() {
    let fixture = Fixture::new().await;
    let mut raw = Raw::start(fixture.address).await;
    assert_eq!(
        raw.query("drop; set TimeZone UTC; put a").await,
        [
            "N:SNOTICE|VNOTICE|C00000|Mtable \"nope\" does not exist, skipping||",
            "C:DROP TABLE|",
            "C:SET|",
            "C:INSERT 0 1|",
            "S:TimeZone|UTC|",
            "Z:I"
        ]
    );
}

#[tokio::test]
async fn portals_are_suspended_and_resumed() {
    let fixture = Fixture::new().await;
    let mut raw = Raw::start(fixture.address).await;
    let bind: (char, &[u8]) = ('B', b"po\0\0\0\0\0\0\0\0");
    let two: (char, &[u8]) = ('E', b"po\0\0\0\0\x02");
    let three: (char, &[u8]) = ('E', b"po\0\0\0\0\x03");
    let sync: (char, &[u8]) = ('S', b"");
    let parse: (char, &[u8]) = ('P', b"\0rows 3\0\0\0");
    let [one, second, third] = ["1", "2", "3"].map(row);
    let duplicate = "E:SERROR|VERROR|C42P03|Mcursor \"po\" already exists||";
    assert_eq!(
        raw.ask(&[parse, bind, bind, sync]).await,
        ["1:", "2:", duplicate, "Z:I"]
    );
    let expected = [
        "2:",
        &one,
        &second,
        "s:",
        &third,
        "C:SELECT 1|",
        "C:SELECT 0|",
        "Z:I",
    ]
    .map(str::to_owned);
    assert_eq!(raw.ask(&[bind, two, two, two, sync]).await, expected);
    let expected = ["2:", &one, &second, &third, "s:", "C:SELECT 0|", "Z:I"].map(str::to_owned);
    assert_eq!(raw.ask(&[bind, three, three, sync]).await, expected);
    // Without a block, a portal ends with its implicit transaction, and its query with it.
    let gone = "E:SERROR|VERROR|C34000|Mportal \"po\" does not exist||";
    assert_eq!(raw.ask(&[bind, two, sync]).await[3..], ["s:", "Z:I"]);
    assert_eq!(raw.ask(&[two, sync]).await, [gone, "Z:I"]);
    // In a block it lives on.
    raw.query("begin").await;
    raw.ask(&[parse, bind, two, sync]).await;
    assert_eq!(raw.ask(&[two, sync]).await, [&third, "C:SELECT 1|", "Z:T"]);
    raw.query("commit").await;
    assert_eq!(raw.ask(&[two, sync]).await, [gone, "Z:I"]);
}

#[tokio::test]
async fn a_closed_portal_stops_its_query() {
    let fixture = Fixture::new().await;
    let mut raw = Raw::start(fixture.address).await;
    raw.ask(&[
        ('P', b"\0forever\0\0\0"),
        ('B', b"po\0\0\0\0\0\0\0\0"),
        ('E', b"po\0\0\0\0\x02"),
        ('C', b"Ppo\0"),
        ('S', b""),
    ])
    .await;
    let mut stopped = fixture.world.stopped_streams.subscribe();
    stopped.wait_for(|count| *count == 1).await.unwrap();
}

#[tokio::test]
async fn commands_and_empty_statements_in_the_extended_protocol() {
    let fixture = Fixture::new().await;
    let mut raw = Raw::start(fixture.address).await;
    let bind: (char, &[u8]) = ('B', b"\0\0\0\0\0\0\0\0");
    let execute: (char, &[u8]) = ('E', b"\0\0\0\0\0");
    let sync: (char, &[u8]) = ('S', b"");
    let answer = raw
        .ask(&[
            ('P', b"\0put a\0\0\0"),
            bind,
            ('D', b"S\0"),
            execute,
            execute,
            sync,
        ])
        .await;
    let again = "E:SERROR|VERROR|C55000|Mportal \"\" cannot be run||";
    assert_eq!(
        answer,
        ["1:", "2:", "t:||", "n:", "C:INSERT 0 1|", again, "Z:I"]
    );
    assert_eq!(fixture.committed(), [""; 0], "the error rolled it back");
    let answer = raw
        .ask(&[('P', b"\0 ; \0\0\0"), bind, ('D', b"P\0"), execute, sync])
        .await;
    assert_eq!(answer, ["1:", "2:", "n:", "I:", "Z:I"]);
    // Flush makes the server answer without Sync.
    raw.send(&[('P', b"\0rows 1\0\0\0"), ('D', b"S\0"), ('H', b"")])
        .await;
    assert_eq!(raw.until('T').await, ["1:", "t:||", N]);
    assert_eq!(raw.ask(&[sync]).await, ["Z:I"]);
}

struct Key {
    address: SocketAddr,
    pid_and_key: Vec<u8>,
}

impl Key {
    /// Sends a cancel request, and waits for the server to have taken it.
    async fn cancel(&self) {
        let mut raw = Raw::connect(self.address).await;
        let length = u32::try_from(self.pid_and_key.len() + 8).unwrap();
        let mut packet = length.to_be_bytes().to_vec();
        packet.extend_from_slice(&80_877_102_u32.to_be_bytes());
        packet.extend_from_slice(&self.pid_and_key);
        raw.send_bytes(&packet).await;
        assert_eq!(raw.receive().await, None);
    }
}

async fn start_with_key(address: SocketAddr, version: u32) -> (Raw, Key) {
    let mut raw = Raw::connect(address).await;
    raw.send_bytes(&startup(version, &[("user", "ann")])).await;
    let mut pid_and_key = Vec::new();
    loop {
        match raw.receive().await.unwrap() {
            (b'K', body) => pid_and_key = body,
            (b'Z', _) => {
                return (
                    raw,
                    Key {
                        address,
                        pid_and_key,
                    },
                );
            }
            _ => {}
        }
    }
}

const CANCELLED: &str = "E:SERROR|VERROR|C57014|Mcanceling statement due to user request||";

#[tokio::test]
async fn cancel_reaches_waits_scans_and_copy() {
    let fixture = Fixture::new().await;
    for version in [V3_0, V3_2] {
        let (mut raw, key) = start_with_key(fixture.address, version).await;
        // An idle session ignores it.
        key.cancel().await;
        assert_eq!(raw.query("put a").await, ["C:INSERT 0 1|", "Z:I"]);
        // A statement that waits.
        raw.send(&[('Q', b"wait\0")]).await;
        fixture.world.waiting.notified().await;
        key.cancel().await;
        assert_eq!(raw.until('Z').await, [CANCELLED, "Z:I"]);
        // One whose rows are being streamed.
        raw.send(&[('Q', b"forever\0")]).await;
        assert_eq!(raw.until('D').await.len(), 2);
        let (messages, ()) = tokio::join!(raw.until('Z'), key.cancel());
        assert_eq!(messages[messages.len() - 2..], [CANCELLED, "Z:I"]);
        // COPY that waits for the client.
        raw.send(&[('Q', b"copy in\0")]).await;
        raw.until('G').await;
        raw.send(&[('d', b"row\n")]).await;
        key.cancel().await;
        assert_eq!(raw.until('Z').await, [CANCELLED, "Z:I"]);
        assert_eq!(raw.query("put b").await, ["C:INSERT 0 1|", "Z:I"]);
    }
    assert_eq!(fixture.committed(), ["a", "b", "a", "b"]);
}

#[tokio::test]
async fn too_many_clients_are_refused() {
    let fixture = Fixture::with(ServerConfig {
        max_connections: 2,
        ..config()
    })
    .await;
    let _first = Raw::start(fixture.address).await;
    let second = Raw::start(fixture.address).await;
    let mut third = Raw::connect(fixture.address).await;
    third.send_bytes(&startup(V3_0, &[("user", "ann")])).await;
    let refused = "E:SFATAL|VFATAL|C53300|Msorry, too many clients already||";
    assert_eq!(third.until('!').await, [refused, "end"]);
    // The place is free again when the server has seen the second go.
    drop(second);
    loop {
        let mut next = Raw::connect(fixture.address).await;
        next.send_bytes(&startup(V3_0, &[("user", "ann")])).await;
        match next.until('Z').await.last().map(String::as_str) {
            Some("Z:I") => break,
            _ => tokio::task::yield_now().await,
        }
    }
}

#[tokio::test]
async fn a_stop_tells_clients_and_cancels_statements() {
    let fixture = Fixture::new().await;
    let mut idle = Raw::start(fixture.address).await;
    let mut starting = Raw::connect(fixture.address).await;
    starting.send_bytes(&[0]).await;
    let mut waiting = Raw::start(fixture.address).await;
    waiting.send(&[('Q', b"put a; wait\0")]).await;
    fixture.world.waiting.notified().await;
    let mut copying = Raw::start(fixture.address).await;
    copying.send(&[('Q', b"copy in\0")]).await;
    copying.until('G').await;
    // It does not read what it asked for.
    let mut deaf = Raw::start(fixture.address).await;
    deaf.send(&[('Q', b"forever\0")]).await;
    deaf.until('D').await;
    fixture.stop.send(()).unwrap();
    fixture.task.await.unwrap();
    let told = "E:SFATAL|VFATAL|C57P01|Mterminating connection due to administrator command||";
    assert_eq!(idle.until('!').await, [told, "end"]);
    assert_eq!(waiting.until('!').await, ["C:INSERT 0 1|", told, "end"]);
    assert_eq!(copying.until('!').await, [told, "end"]);
    let starting_up = "E:SFATAL|VFATAL|C57P03|Mthe database system is shutting down||";
    assert_eq!(starting.until('!').await, [starting_up, "end"]);
    assert_eq!(fixture.world.committed.lock().unwrap().len(), 0);
    assert!(
        tokio::net::TcpStream::connect(fixture.address)
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_failed_system_tells_why_it_ends_and_what_became_of_statements() {
    let fixture = Fixture::new().await;
    let mut idle = Raw::start(fixture.address).await;
    let mut waiting = Raw::start(fixture.address).await;
    waiting.send(&[('Q', b"wait\0")]).await;
    fixture.world.waiting.notified().await;
    let mut committing = Raw::start(fixture.address).await;
    committing.send(&[('Q', b"wait and doubt\0")]).await;
    fixture.world.waiting.notified().await;
    *fixture.world.failure.lock().unwrap() = Some("the disk is gone".to_owned());
    fixture.stop.send(()).unwrap();
    fixture.task.await.unwrap();
    let told = "E:SFATAL|VFATAL|C57P02|Mthe disk is gone||";
    assert_eq!(idle.until('!').await, [told, "end"]);
    assert_eq!(waiting.until('!').await, [told, "end"]);
    let doubt = "E:SERROR|VERROR|C08007|Mnobody knows||";
    assert_eq!(committing.until('!').await, [doubt, told, "end"]);
}

/// Resident memory of this process, in bytes.
fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// The memory is the process's, so that a process of its own runs the test: the tests beside it
/// would count too.
#[test]
fn a_thousand_idle_connections_cost_little_memory() {
    const NAME: &str = "lifecycle::a_thousand_idle_connections_cost_little_memory";
    const ALONE: &str = "TRUNKLINE_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        return runtime.block_on(thousand_idle_connections());
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", NAME, "--nocapture"])
        .env(ALONE, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}{errors}");
    assert!(
        text.contains("bytes a connection"),
        "it did not run: {text}"
    );
    println!("{text}");
}

async fn thousand_idle_connections() {
    const CONNECTIONS: usize = 1000;
    // Both ends of each are this process's.
    let needed = 2 * CONNECTIONS as u64 + 500;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < needed) {
        let raised = Rlimit {
            current: Some(needed),
            maximum: limit.maximum,
        };
        setrlimit(Resource::Nofile, raised).unwrap();
    }
    let fixture = Fixture::with(ServerConfig {
        max_connections: CONNECTIONS + 1,
        ..config()
    })
    .await;
    let mut clients = vec![Raw::start(fixture.address).await];
    clients[0].query_unseen("rows 100000").await;
    let before = resident_bytes();
    for _ in 0..CONNECTIONS {
        let mut raw = Raw::start(fixture.address).await;
        raw.query_unseen("rows 1000").await;
        clients.push(raw);
    }
    let each = resident_bytes().saturating_sub(before) / CONNECTIONS;
    println!("{each} bytes a connection, the test's own side included");
    assert!(each < 8 << 10, "{each} bytes a connection");
    // All of them are there, and are all that may be.
    for client in &mut clients {
        assert_eq!(client.query("rows 1").await.last().unwrap(), "Z:I");
    }
    let mut late = Raw::connect(fixture.address).await;
    late.send_bytes(&startup(V3_0, &[("user", "postgres")]))
        .await;
    let too_many = "E:SFATAL|VFATAL|C53300|Msorry, too many clients already||";
    assert_eq!(late.until('Z').await, [too_many, "end"]);
}

/// Where PostgreSQL's timers run: from ReadyForQuery on to the next message.
#[tokio::test]
async fn who_is_idle_too_long_is_let_go() {
    const NEVER: &str = "3600000";
    let fixture = Fixture::new().await;
    let start = async |idle_ms, block_idle_ms| {
        let mut raw = Raw::connect(fixture.address).await;
        let parameters = [
            ("user", "postgres"),
            ("idle_ms", idle_ms),
            ("block_idle_ms", block_idle_ms),
        ];
        raw.send_bytes(&startup(V3_0, &parameters)).await;
        raw.until('Z').await;
        raw
    };
    let told = |sqlstate, what| {
        format!("E:SFATAL|VFATAL|C{sqlstate}|Mterminating connection due to {what} timeout||")
    };
    let mut raw = start("1", NEVER).await;
    assert_eq!(raw.until('E').await, [told("57P05", "idle-session")]);
    assert_eq!(raw.receive().await, None);

    // A block counts alone, also one that has failed, and is rolled back.
    for (sql, answered) in [("begin; put a", 3), ("begin; divide", 3)] {
        let mut raw = start(NEVER, "1").await;
        assert_eq!(raw.query(sql).await.len(), answered);
        assert_eq!(raw.until('E').await, [told("25P03", "idle-in-transaction")]);
        assert_eq!(raw.receive().await, None);
    }
    assert_eq!(fixture.committed(), [""; 0]);

    // Not who is in the middle of something: a pipeline without its Sync.
    let mut pipeline = start("1000", NEVER).await;
    pipeline.send(&[('P', b"\0rows 1\0\0\0"), ('H', b"")]).await;
    pipeline.until('1').await;
    let mut other = start("1300", NEVER).await;
    assert_eq!(other.until('E').await, [told("57P05", "idle-session")]);
    assert_eq!(pipeline.ask(&[('S', b"")]).await, ["Z:I"]);
}
