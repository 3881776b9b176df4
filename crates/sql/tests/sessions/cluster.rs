//! A database system in a temporary directory, and clients of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use tempfile::TempDir;
use trunkline_engine::{Database, Foundation, OpenOptions};
use trunkline_sql::error::SqlError;
use trunkline_sql::outcome::{Cell, CopyIn, Format, Notice, Outcome, Param, RowStream};
use trunkline_sql::{Prepared, SqlDatabase, SqlSession, StartupParameters};

pub struct Cluster {
    pub directory: TempDir,
    pub database: Arc<Database>,
    pub sql: Arc<SqlDatabase>,
}

/// A result: rows as text (`None` for NULL) and the command tag.
#[derive(Debug, Default, PartialEq, Eq, Clone)]
pub struct Answer {
    pub columns: Vec<String>,
    pub rows: Vec<Vec<Option<String>>>,
    pub tag: String,
}

impl Cluster {
    pub fn new() -> Cluster {
        Cluster::with(&[("io_method", "sync")])
    }

    pub fn with(settings: &[(&str, &str)]) -> Cluster {
        Cluster::on(Foundation::default(), settings)
    }

    /// On disks and a method of choice.
    pub fn on(foundation: Foundation, settings: &[(&str, &str)]) -> Cluster {
        Cluster::open(TempDir::new().unwrap(), foundation, settings)
    }

    fn open(directory: TempDir, foundation: Foundation, settings: &[(&str, &str)]) -> Cluster {
        let mut overrides = vec![("shared_buffers".to_owned(), "16MB".to_owned())];
        overrides.extend(
            settings
                .iter()
                .map(|(n, v)| ((*n).to_owned(), (*v).to_owned())),
        );
        let options = OpenOptions {
            overrides,
            initialise: true,
        };
        let path = directory.path().join("data");
        let database = Database::open_on(foundation, &path, &options).unwrap();
        let sql = SqlDatabase::new(Arc::clone(&database)).unwrap();
        Cluster {
            directory,
            database,
            sql,
        }
    }

    pub fn client(&self) -> Client {
        Client {
            session: SqlSession::new(&self.sql, &StartupParameters::default()).unwrap(),
        }
    }

    /// A file name outside the data directory.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Lets go of it without a stop, and opens it again. Nobody has a session.
    pub fn crash(self) -> Cluster {
        let Cluster {
            directory,
            database,
            sql,
        } = self;
        drop(sql);
        assert_eq!(
            Arc::strong_count(&database),
            1,
            "somebody still has the database"
        );
        drop(database);
        let settings = [("io_method", "sync")];
        Cluster::open(directory, Foundation::default(), &settings)
    }

    /// Stops it cleanly and opens it again.
    pub fn restart(self) -> Cluster {
        self.restart_after(|_| ())
    }

    /// The same, and meanwhile does something with its data directory.
    pub fn restart_after(self, meanwhile: impl FnOnce(&Path)) -> Cluster {
        self.database.stop().unwrap();
        let Cluster {
            directory,
            database,
            sql,
        } = self;
        drop((sql, database));
        meanwhile(&directory.path().join("data"));
        let settings = [("io_method", "sync")];
        Cluster::open(directory, Foundation::default(), &settings)
    }
}

pub struct Client {
    pub session: SqlSession,
}

pub async fn read_rows(prepared: &Prepared, mut rows: RowStream) -> Result<Answer, SqlError> {
    let width = prepared.fields().len();
    let mut answer = Answer {
        columns: prepared
            .fields()
            .iter()
            .map(|field| field.name.clone())
            .collect(),
        ..Answer::default()
    };
    while let Some(batch) = rows.next().await {
        let batch = batch?;
        for row in 0..batch.len() {
            let mut values = Vec::with_capacity(width);
            for column in 0..width {
                let mut out = Vec::new();
                values.push(match batch.encode(row, column, Format::Text, &mut out)? {
                    Cell::Null => None,
                    Cell::Value => Some(String::from_utf8(out).unwrap()),
                });
            }
            answer.rows.push(values);
        }
    }
    answer.tag = rows.tag().text(answer.rows.len() as u64);
    Ok(answer)
}

impl Client {
    /// Runs a query string as the simple protocol does; the last statement's answer.
    pub async fn try_query(&mut self, query: &str) -> Result<Answer, SqlError> {
        let mut last = Answer::default();
        let ranges = self.session.split(query);
        self.session.begin_query_string(ranges.len());
        for range in ranges {
            match self.statement(&query[range]).await {
                Ok(answer) => last = answer,
                Err(error) => {
                    self.session.abort().await;
                    return Err(error);
                }
            }
        }
        self.session.sync().await?;
        Ok(last)
    }

    async fn statement(&mut self, sql: &str) -> Result<Answer, SqlError> {
        let prepared = self.session.prepare(sql, &[]).await?;
        match self.session.execute(&prepared, Vec::new()).await? {
            Outcome::Command { tag } => Ok(Answer {
                tag,
                ..Answer::default()
            }),
            Outcome::Rows(rows) => read_rows(&prepared, rows).await,
            Outcome::Empty => Ok(Answer::default()),
            other => panic!("{sql}: {other:?}"),
        }
    }

    pub async fn query(&mut self, query: &str) -> Answer {
        match self.try_query(query).await {
            Ok(answer) => answer,
            Err(error) => panic!("{query}: {error:?}"),
        }
    }

    /// The rows as text, columns separated by `|`, NULL as `~`.
    pub async fn rows(&mut self, query: &str) -> Vec<String> {
        let show = |value: Option<String>| value.unwrap_or_else(|| "~".to_owned());
        let answer = self.query(query).await;
        answer
            .rows
            .into_iter()
            .map(|row| row.into_iter().map(show).collect::<Vec<_>>().join("|"))
            .collect()
    }

    pub async fn one(&mut self, query: &str) -> String {
        let rows = self.rows(query).await;
        assert_eq!(rows.len(), 1, "{query}: {rows:?}");
        rows.into_iter().next().unwrap()
    }

    pub async fn fails(&mut self, query: &str) -> SqlError {
        match self.try_query(query).await {
            Ok(answer) => panic!("{query} did not fail: {answer:?}"),
            Err(error) => error,
        }
    }

    /// SQLSTATE and message of a query string that fails.
    pub async fn refused(&mut self, query: &str) -> (String, String) {
        let error = self.fails(query).await;
        (error.sqlstate.into_owned(), error.message)
    }

    pub fn notices(&mut self) -> Vec<Notice> {
        self.session.take_notices()
    }

    pub async fn start_copy_in(&mut self, sql: &str) -> CopyIn {
        let prepared = self.session.prepare(sql, &[]).await.unwrap();
        match self.session.execute(&prepared, Vec::new()).await.unwrap() {
            Outcome::CopyIn(copy) => copy,
            other => panic!("{sql}: {other:?}"),
        }
    }

    pub async fn try_copy_in(&mut self, sql: &str, data: &[u8]) -> Result<String, SqlError> {
        let prepared = self.session.prepare(sql, &[]).await?;
        let outcome = match self.session.execute(&prepared, Vec::new()).await {
            Ok(outcome) => outcome,
            Err(error) => {
                self.session.abort().await;
                return Err(error);
            }
        };
        let Outcome::CopyIn(mut copy) = outcome else {
            panic!("{sql}: no COPY FROM STDIN");
        };
        // Chunks that end anywhere.
        for chunk in data.chunks(7001) {
            if let Err(error) = copy.write(Bytes::copy_from_slice(chunk)).await {
                self.session.abort().await;
                return Err(error);
            }
        }
        match copy.finish().await {
            Ok(tag) => {
                self.session.sync().await?;
                Ok(tag)
            }
            Err(error) => {
                self.session.abort().await;
                Err(error)
            }
        }
    }

    pub async fn copy_out(&mut self, sql: &str) -> (Vec<u8>, String) {
        let prepared = self.session.prepare(sql, &[]).await.unwrap();
        let Outcome::CopyOut(mut copy) = self.session.execute(&prepared, Vec::new()).await.unwrap()
        else {
            panic!("{sql}: no COPY TO STDOUT");
        };
        let mut data = Vec::new();
        while let Some(rows) = copy.next().await {
            for row in rows.unwrap().rows() {
                data.extend_from_slice(row);
            }
        }
        let tag = copy.tag().unwrap().to_owned();
        self.session.sync().await.unwrap();
        (data, tag)
    }

    pub async fn execute_text(
        &mut self,
        prepared: &Arc<Prepared>,
        params: &[Option<&str>],
    ) -> Result<Answer, SqlError> {
        let params = params
            .iter()
            .map(|value| Param {
                format: Format::Text,
                value: value.map(|text| Bytes::copy_from_slice(text.as_bytes())),
            })
            .collect();
        let result = match self.session.execute(prepared, params).await {
            Ok(Outcome::Rows(rows)) => read_rows(prepared, rows).await,
            Ok(Outcome::Command { tag }) => Ok(Answer {
                tag,
                ..Answer::default()
            }),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error),
        };
        match result {
            Ok(answer) => {
                self.session.sync().await?;
                Ok(answer)
            }
            Err(error) => {
                self.session.abort().await;
                Err(error)
            }
        }
    }
}
