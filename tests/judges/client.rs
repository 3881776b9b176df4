//! A blocking client, the same for PostgreSQL and for Trunkline.

use bytes::Bytes;
use futures::{SinkExt, TryStreamExt, pin_mut};
use tokio::runtime::Runtime;
use tokio_postgres::{Config, Error, NoTls, SimpleQueryMessage};

/// Bytes of COPY data a message.
const CHUNK_BYTES: usize = 1 << 16;

/// A row as text; `None` is NULL.
pub type Row = Vec<Option<String>>;

/// What a server says when a statement fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Five characters; `?` when the server is gone.
    pub sqlstate: String,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
    pub context: Option<String>,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        match error.as_db_error() {
            Some(error) => Failure {
                sqlstate: error.code().code().to_owned(),
                message: error.message().to_owned(),
                detail: owned(error.detail()),
                hint: owned(error.hint()),
                context: owned(error.where_()),
            },
            None => Failure {
                sqlstate: "?".to_owned(),
                message: format!("{error:?}"),
                detail: None,
                hint: None,
                context: None,
            },
        }
    }
}

/// A connection.
pub struct Client {
    client: tokio_postgres::Client,
    runtime: Runtime,
}

impl Client {
    /// Connects.
    pub fn connect(config: &Config) -> Client {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let client = runtime.block_on(async {
            let (client, connection) = config.connect(NoTls).await.unwrap();
            // Its end shows in the statement that runs then.
            tokio::spawn(connection);
            client
        });
        Client { client, runtime }
    }

    /// Runs statements of which all rows are wanted.
    pub fn try_rows(&mut self, sql: &str) -> Result<Vec<Row>, Failure> {
        let messages = self.runtime.block_on(self.client.simple_query(sql))?;
        let rows = messages.into_iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(
                (0..row.len())
                    .map(|at| row.get(at).map(str::to_owned))
                    .collect(),
            ),
            _ => None,
        });
        Ok(rows.collect())
    }

    /// Names and types of a query's columns.
    #[track_caller]
    pub fn columns(&mut self, sql: &str) -> Vec<(String, String)> {
        let prepared = self.runtime.block_on(self.client.prepare(sql)).unwrap();
        let columns = prepared.columns().iter();
        columns
            .map(|column| (column.name().to_owned(), column.type_().name().to_owned()))
            .collect()
    }

    /// Runs statements that have to succeed.
    #[track_caller]
    pub fn rows(&mut self, sql: &str) -> Vec<Row> {
        self.try_rows(sql)
            .unwrap_or_else(|failure| panic!("{sql}: {failure:?}"))
    }

    /// Runs statements that have to succeed and give nothing.
    #[track_caller]
    pub fn run(&mut self, sql: &str) {
        assert_eq!(self.rows(sql), [] as [Row; 0], "{sql}");
    }

    /// The one value of a query that has to succeed.
    #[track_caller]
    pub fn value(&mut self, sql: &str) -> String {
        let mut rows = self.rows(sql);
        assert!(rows.len() == 1 && rows[0].len() == 1, "{sql}: {rows:?}");
        rows[0]
            .pop()
            .flatten()
            .unwrap_or_else(|| panic!("{sql} gave NULL"))
    }

    /// Runs a `COPY ... FROM STDIN` with this data; returns the number of rows.
    pub fn try_copy_in(&mut self, sql: &str, data: &[u8]) -> Result<u64, Failure> {
        self.runtime.block_on(async {
            let sink = self.client.copy_in::<_, Bytes>(sql).await?;
            pin_mut!(sink);
            for chunk in data.chunks(CHUNK_BYTES) {
                // A server that gave up says why when the data ends.
                if sink.feed(Bytes::copy_from_slice(chunk)).await.is_err() {
                    break;
                }
            }
            Ok(sink.finish().await?)
        })
    }

    /// Runs one that has to succeed.
    #[track_caller]
    pub fn copy_in(&mut self, sql: &str, data: &[u8]) -> u64 {
        self.try_copy_in(sql, data)
            .unwrap_or_else(|failure| panic!("{sql}: {failure:?}"))
    }

    /// Starts a `COPY ... FROM STDIN`, sends this data, and is gone.
    pub fn vanish_in_copy(self, sql: &str, data: &[u8]) {
        let Client { client, runtime } = self;
        runtime.block_on(async {
            let sink = client.copy_in::<_, Bytes>(sql).await.unwrap();
            pin_mut!(sink);
            sink.send(Bytes::copy_from_slice(data)).await.unwrap();
        });
        // With the runtime goes the socket, in the middle of the data.
        drop(runtime);
    }

    /// What a `COPY ... TO STDOUT` that has to succeed gives.
    #[track_caller]
    pub fn copy_out(&mut self, sql: &str) -> Vec<u8> {
        let copied: Result<Vec<u8>, Error> = self.runtime.block_on(async {
            let stream = self.client.copy_out(sql).await?;
            pin_mut!(stream);
            let mut data = Vec::new();
            while let Some(chunk) = stream.try_next().await? {
                data.extend_from_slice(&chunk);
            }
            Ok(data)
        });
        copied.unwrap_or_else(|error| panic!("{sql}: {:?}", Failure::from(error)))
    }
}
