//! A client: does what was chosen, over the wire, and enters into its ledger what it was told.

use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt as _, pin_mut};
use tokio_postgres::{Error, NoTls};

use crate::failure::{Failure, is_gone, query_failed, said};
use crate::inspection::{Wanted, rows_of};
use crate::ledger::{Ledger, Transaction};
use crate::table::{SHARED, Statement, filler};
use crate::work::{Chooser, Form, Work};

/// Bytes of COPY data a message.
const CHUNK_BYTES: usize = 1 << 14;

/// Of a statement that is shown.
const SHOWN_CHARACTERS: usize = 200;

/// A connection of the driver's.
pub async fn connect(port: u16) -> Result<tokio_postgres::Client, Error> {
    let mut config = tokio_postgres::Config::new();
    config
        .host("127.0.0.1")
        .port(port)
        .user("postgres")
        .dbname("postgres");
    let (client, connection) = config.connect(NoTls).await?;
    // Its end shows in the statement that runs then.
    tokio::spawn(connection);
    Ok(client)
}

/// What a client did until the server was gone.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Transactions whose commit was acknowledged, and waited for.
    pub committed: u64,
    /// Those with `synchronous_commit` off.
    pub committed_async: u64,
    /// Rolled back, or failed as they were meant to.
    pub rolled_back: u64,
    /// Cut off before their commit was asked for.
    pub cut_off: u64,
    /// Cut off while their commit was asked for.
    pub doubtful: u64,
    /// `CHECKPOINT`s done.
    pub checkpoints: u64,
    /// Segments of the log ended early.
    pub switches: u64,
    /// Tables read while others wrote.
    pub looks: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        self.committed += other.committed;
        self.committed_async += other.committed_async;
        self.rolled_back += other.rolled_back;
        self.cut_off += other.cut_off;
        self.doubtful += other.doubtful;
        self.checkpoints += other.checkpoints;
        self.switches += other.switches;
        self.looks += other.looks;
    }
}

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Committed,
    RolledBack,
    /// The server is gone, and nobody asked for the commit.
    CutOff,
    /// The server is gone, and did not say.
    Doubtful,
}

/// A client with its connections.
pub struct Client {
    number: usize,
    /// Waits for its commits.
    waiting: tokio_postgres::Client,
    /// `synchronous_commit = off`.
    hurried: tokio_postgres::Client,
    chooser: Chooser,
    ledger: Ledger,
    counts: Counts,
    /// The next transaction's.
    stamp: i32,
}

/// What is left of a client when the server is gone.
pub struct Left {
    /// Which client.
    pub number: usize,
    /// What it was told.
    pub ledger: Ledger,
    /// What it did.
    pub counts: Counts,
    /// The stamp of its next transaction.
    pub stamp: i32,
    /// What else ended it, if the server did not.
    pub failure: Option<Failure>,
}

impl Client {
    /// Connects.
    pub async fn start(
        number: usize,
        port: u16,
        chooser: Chooser,
        ledger: Ledger,
        stamp: i32,
    ) -> Result<Client, Failure> {
        let off = "SET synchronous_commit = off";
        let new = || async {
            connect(port)
                .await
                .map_err(|error| query_failed("", &error))
        };
        let (waiting, hurried) = (new().await?, new().await?);
        hurried
            .batch_execute(off)
            .await
            .map_err(|error| query_failed(off, &error))?;
        Ok(Client {
            number,
            waiting,
            hurried,
            chooser,
            ledger,
            counts: Counts::default(),
            stamp,
        })
    }

    /// Works until the server is gone.
    pub async fn work(mut self) -> Left {
        let failure = loop {
            let work = self.chooser.next(self.ledger.now(), self.stamp);
            match self.do_work(work).await {
                Ok(true) => {}
                Ok(false) => break None,
                Err(failure) => break Some(failure),
            }
        };
        Left {
            number: self.number,
            ledger: self.ledger,
            counts: self.counts,
            stamp: self.stamp,
            failure,
        }
    }

    /// Whether the server is still there.
    async fn do_work(&mut self, work: Work) -> Result<bool, Failure> {
        match work {
            Work::Checkpoint => match self.hurried.batch_execute("CHECKPOINT").await {
                Ok(()) => self.counts.checkpoints += 1,
                Err(error) if is_gone(&error) => return Ok(false),
                Err(error) => return Err(self.unexpected("CHECKPOINT", &error)),
            },
            Work::SwitchSegment => {
                let sql = "SELECT pg_switch_wal()";
                match self.hurried.batch_execute(sql).await {
                    Ok(()) => self.counts.switches += 1,
                    Err(error) if is_gone(&error) => return Ok(false),
                    Err(error) => return Err(self.unexpected(sql, &error)),
                }
            }
            Work::Look(table) => return self.look(&table).await,
            Work::Write {
                statements,
                form,
                waits,
            } => return self.write(statements, form, waits).await,
        }
        Ok(true)
    }

    async fn write(
        &mut self,
        statements: Vec<Statement>,
        form: Form,
        waits: bool,
    ) -> Result<bool, Failure> {
        let stamp = self.stamp;
        self.stamp += 1;
        let ended = match form {
            Form::Block { commit, pause_ms } => {
                self.block(&statements, commit, pause_ms, waits).await
            }
            _ => self.by_itself(&statements, form, waits).await,
        };
        let transaction = Transaction {
            stamp,
            statements,
            waits,
        };
        let what = format!("{form:?}, {ended:?}");
        self.ledger.note(&transaction, &what);
        let ended = ended?;
        match ended {
            Ended::Committed => {
                self.ledger.acknowledge(transaction);
                match waits {
                    true => self.counts.committed += 1,
                    false => self.counts.committed_async += 1,
                }
            }
            Ended::RolledBack => self.counts.rolled_back += 1,
            Ended::CutOff => self.counts.cut_off += 1,
            Ended::Doubtful => {
                self.ledger.doubt(transaction);
                self.counts.doubtful += 1;
            }
        }
        Ok(matches!(ended, Ended::Committed | Ended::RolledBack))
    }

    fn session(&self, waits: bool) -> &tokio_postgres::Client {
        match waits {
            true => &self.waiting,
            false => &self.hurried,
        }
    }

    /// Whose number `write` has counted on.
    fn written_stamp(&self) -> i32 {
        self.stamp - 1
    }

    /// Statements that commit by themselves: asked for as soon as they are sent.
    async fn by_itself(
        &self,
        statements: &[Statement],
        form: Form,
        waits: bool,
    ) -> Result<Ended, Failure> {
        let session = self.session(waits);
        let stamp = self.written_stamp();
        let sql: Vec<String> = statements
            .iter()
            .map(|statement| statement.sql(self.number, stamp))
            .collect();
        let sql = sql.join("; ");
        let result = match (statements, form) {
            ([Statement::Insert(table, ids)], Form::Prepared) => {
                self.insert_prepared(session, table, ids[0], stamp).await
            }
            ([copy @ Statement::Copy { .. }], _) => self.copy(session, &sql, copy).await,
            _ => session.batch_execute(&sql).await,
        };
        let is_meant_to_fail = statements.iter().any(Statement::fails);
        match result {
            Ok(()) if is_meant_to_fail => Err(self.should_have_failed(&sql)),
            Ok(()) => Ok(Ended::Committed),
            Err(error) if is_gone(&error) => match is_meant_to_fail {
                // Whatever came of it, nothing will be of one that cannot succeed.
                true => Ok(Ended::CutOff),
                false => Ok(Ended::Doubtful),
            },
            Err(error) if is_meant_to_fail && is_as_meant(&error) => Ok(Ended::RolledBack),
            Err(error) => Err(self.unexpected(&sql, &error)),
        }
    }

    async fn block(
        &self,
        statements: &[Statement],
        commit: bool,
        pause_ms: u64,
        waits: bool,
    ) -> Result<Ended, Failure> {
        let session = self.session(waits);
        let stamp = self.written_stamp();
        match session.batch_execute("BEGIN").await {
            Ok(()) => {}
            Err(error) if is_gone(&error) => return Ok(Ended::CutOff),
            Err(error) => return Err(self.unexpected("BEGIN", &error)),
        }
        let mut has_failed = false;
        for statement in statements {
            let sql = statement.sql(self.number, stamp);
            let result = match statement {
                Statement::Copy { .. } => self.copy(session, &sql, statement).await,
                _ => session.batch_execute(&sql).await,
            };
            match result {
                Ok(()) if statement.fails() => return Err(self.should_have_failed(&sql)),
                Ok(()) => {}
                Err(error) if is_gone(&error) => return Ok(Ended::CutOff),
                Err(error) if statement.fails() && is_as_meant(&error) => {
                    has_failed = true;
                    break;
                }
                Err(error) => return Err(self.unexpected(&sql, &error)),
            }
            if pause_ms > 0 {
                // Others, and the checkpointer, go on meanwhile.
                tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            }
        }
        let end = if commit { "COMMIT" } else { "ROLLBACK" };
        let commits = commit && !has_failed;
        match session.batch_execute(end).await {
            Ok(()) if commits => Ok(Ended::Committed),
            Ok(()) => Ok(Ended::RolledBack),
            Err(error) if is_gone(&error) && commits => Ok(Ended::Doubtful),
            Err(error) if is_gone(&error) => Ok(Ended::CutOff),
            Err(error) => Err(self.unexpected(end, &error)),
        }
    }

    async fn insert_prepared(
        &self,
        session: &tokio_postgres::Client,
        table: &str,
        id: i64,
        stamp: i32,
    ) -> Result<(), Error> {
        let sql = format!("INSERT INTO {table} VALUES ($1, $2, $3, $4)");
        let statement = session.prepare(&sql).await?;
        let filler = filler(self.number, id, stamp);
        let client = self.number as i32;
        session
            .execute(&statement, &[&client, &id, &stamp, &filler])
            .await?;
        Ok(())
    }

    async fn copy(
        &self,
        session: &tokio_postgres::Client,
        sql: &str,
        copy: &Statement,
    ) -> Result<(), Error> {
        let data = copy.copy_data(self.number, self.written_stamp());
        let sink = session.copy_in::<_, Bytes>(sql).await?;
        pin_mut!(sink);
        for chunk in data.as_bytes().chunks(CHUNK_BYTES) {
            // A server that gave up says why when the data ends.
            if sink.send(Bytes::copy_from_slice(chunk)).await.is_err() {
                break;
            }
        }
        sink.finish().await?;
        Ok(())
    }

    /// Compares a table with what it should be, while others write.
    async fn look(&mut self, table: &str) -> Result<bool, Failure> {
        let wanted = match table {
            SHARED => Wanted::Client(self.number),
            _ => Wanted::All,
        };
        let mut found = match rows_of(&self.waiting, table, wanted).await {
            Ok(found) => found,
            Err(Failure::Query { is_gone: true, .. }) => return Ok(false),
            Err(failure) => return Err(failure),
        };
        let rows = found.remove(&self.number).unwrap_or_default();
        self.counts.looks += 1;
        if !found.is_empty() || rows != self.ledger.now()[table] {
            let mut tables = self.ledger.now().clone();
            tables.insert(table.to_owned(), rows);
            let mut ledger = Ledger::new(self.ledger.now().clone());
            return Err(Failure::Lost {
                client: self.number,
                what: match ledger.adopt(tables, crate::ledger::End::Clean) {
                    Err(difference) => format!("while the server runs, {difference}"),
                    Ok(_) => format!("{table} has rows of clients {:?}", found.keys()),
                },
            });
        }
        Ok(true)
    }

    fn unexpected(&self, sql: &str, error: &Error) -> Failure {
        Failure::Statement {
            client: self.number,
            sql: sql.chars().take(SHOWN_CHARACTERS).collect(),
            error: said(error),
        }
    }

    fn should_have_failed(&self, sql: &str) -> Failure {
        Failure::Statement {
            client: self.number,
            sql: sql.chars().take(SHOWN_CHARACTERS).collect(),
            error: "it succeeded, and should have failed".to_owned(),
        }
    }
}

/// Whether it failed as statements do that are meant to.
fn is_as_meant(error: &Error) -> bool {
    // division_by_zero, invalid_text_representation
    error
        .code()
        .is_some_and(|code| ["22012", "22P02"].contains(&code.code()))
}
