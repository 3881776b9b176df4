//! A real driver.

use std::pin::pin;

use futures::{SinkExt, StreamExt, TryStreamExt};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error, NoTls, SimpleQueryMessage};

use crate::Fixture;

async fn connect(fixture: &Fixture) -> Client {
    let config = format!("host=127.0.0.1 port={} user=ann", fixture.address.port());
    let (client, connection) = tokio_postgres::connect(&config, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

fn code(error: &Error) -> &SqlState {
    error.code().unwrap()
}

#[tokio::test]
async fn queries_in_text_and_binary() {
    let fixture = Fixture::new().await;
    let mut client = connect(&fixture).await;
    let rows = client.query("rows 2500", &[]).await.unwrap();
    let numbers: Vec<i32> = rows.iter().map(|row| row.get("n")).collect();
    assert_eq!(numbers, (1..=2500).collect::<Vec<i32>>());
    let messages = client.simple_query("rows 2").await.unwrap();
    let texts: Vec<&str> = messages
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        })
        .collect();
    assert_eq!(texts, ["1", "2"]);
    let long = "é".repeat(100_000);
    for value in [Some(""), Some("x"), Some(long.as_str()), None] {
        let row = client.query_one("echo", &[&value]).await.unwrap();
        assert_eq!(row.get::<_, Option<&str>>(0), value);
    }
    let error = client.query("divide", &[]).await.unwrap_err();
    assert_eq!(code(&error), &SqlState::DIVISION_BY_ZERO);
    // A block, with a portal read piece by piece.
    let transaction = client.transaction().await.unwrap();
    transaction.execute("put a", &[]).await.unwrap();
    let portal = transaction.bind("rows 5", &[]).await.unwrap();
    for expected in [2, 2, 1, 0] {
        assert_eq!(
            transaction.query_portal(&portal, 2).await.unwrap().len(),
            expected
        );
    }
    transaction.commit().await.unwrap();
    assert_eq!(fixture.committed(), ["a"]);
}

#[tokio::test]
async fn copy_both_ways() {
    let fixture = Fixture::new().await;
    let client = connect(&fixture).await;
    let mut sink = pin!(client.copy_in::<_, &[u8]>("copy in").await.unwrap());
    sink.send(b"a\nb\n").await.unwrap();
    sink.send(b"c\n").await.unwrap();
    assert_eq!(sink.finish().await.unwrap(), 3);
    assert_eq!(fixture.committed(), ["a", "b", "c"]);
    {
        // Dropped unfinished: the driver sends CopyFail.
        let mut sink = pin!(client.copy_in::<_, &[u8]>("copy in").await.unwrap());
        sink.send(b"d\n").await.unwrap();
        sink.flush().await.unwrap();
    }
    let rows: Vec<_> = client
        .copy_out("copy out 3")
        .await
        .unwrap()
        .try_collect::<Vec<_>>()
        .await
        .unwrap();
    assert_eq!(rows, ["1\n", "2\n", "3\n"]);
    assert_eq!(fixture.committed(), ["a", "b", "c"]);
}

#[tokio::test]
async fn a_driver_cancels() {
    let fixture = Fixture::new().await;
    let client = connect(&fixture).await;
    let token = client.cancel_token();
    let (result, ()) = tokio::join!(client.batch_execute("wait"), async {
        fixture.world.waiting.notified().await;
        token.cancel_query(NoTls).await.unwrap();
    });
    assert_eq!(code(&result.unwrap_err()), &SqlState::QUERY_CANCELED);
    // A stream that nobody reads any more does not hold the connection up.
    let none: [&str; 0] = [];
    {
        let mut stream = pin!(client.query_raw("rows 100000", none).await.unwrap());
        assert!(stream.next().await.is_some());
    }
    assert_eq!(client.query("rows 1", &[]).await.unwrap().len(), 1);
}
