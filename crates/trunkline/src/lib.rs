//! Trunkline, to embed: PostgreSQL's storage engine with SQL on top, in this process.
//!
//! The parts are [`engine`] (a data directory, open), [`sql`] (sessions that run statements) and
//! [`server`] (sessions behind a port). This crate only names them in one place; the program of
//! the same name is built from them too.
//!
//! ```no_run
//! use std::path::Path;
//! use trunkline::{Database, Format, OpenOptions, Outcome, SqlDatabase, SqlSession};
//! use trunkline::{StartupParameters, bytes::Bytes};
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let options = OpenOptions { initialise: true, ..OpenOptions::default() };
//!     let database = Database::open(Path::new("./trunkline-data"), &options)?;
//!     let sql_database = SqlDatabase::new(database.clone())?;
//!     let mut session = SqlSession::new(&sql_database, &StartupParameters::default())?;
//!
//!     session.run("CREATE TABLE t (a int, b text)").await?;
//!
//!     let copy = session.prepare("COPY t FROM STDIN (FORMAT csv)", &[]).await?;
//!     if let Outcome::CopyIn(mut copy) = session.execute(&copy, Vec::new()).await? {
//!         copy.write(Bytes::from_static(b"1,one\n2,two\n")).await?;
//!         println!("{}", copy.finish().await?);
//!     }
//!     // Outside BEGIN and COMMIT, this commits.
//!     session.sync().await?;
//!
//!     let count = session.prepare("SELECT count(*) FROM t", &[]).await?;
//!     if let Outcome::Rows(mut rows) = session.execute(&count, Vec::new()).await? {
//!         while let Some(batch) = rows.next().await {
//!             let batch = batch?;
//!             let mut cell = Vec::new();
//!             for row in 0..batch.len() {
//!                 cell.clear();
//!                 batch.encode(row, 0, Format::Text, &mut cell)?;
//!                 println!("{}", String::from_utf8_lossy(&cell));
//!             }
//!         }
//!     }
//!     session.sync().await?;
//!
//!     drop(session);
//!     // A clean stop, so that the next start has nothing to recover.
//!     Ok(database.stop()?)
//! }
//! ```

pub use bytes;

pub use trunkline_engine as engine;
pub use trunkline_server as server;
pub use trunkline_sql as sql;

pub use trunkline_engine::{Database, EngineError, OpenOptions, initialise};
pub use trunkline_server::{Server, ServerConfig, ServerError};
pub use trunkline_sql::error::SqlError;
pub use trunkline_sql::outcome::{
    Cell, CopyIn, CopyOut, FieldDesc, Format, Notice, Outcome, Param, RowBatch, RowStream,
    TransactionStatus,
};
pub use trunkline_sql::{Prepared, SqlDatabase, SqlSession, StartupParameters};
