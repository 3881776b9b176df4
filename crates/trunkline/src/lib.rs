//! Trunkline, to embed: PostgreSQL's storage engine with SQL on top, in this process.
//!
//! [`Database`], [`Session`], [`Rows`] and [`Load`] are what a program needs to load data and to ask
//! for it; results are Arrow's record batches ([`arrow_form`](sql::arrow_form) has the types). Errors
//! are [`SqlError`]: PostgreSQL's SQLSTATE, message, and its further fields. The async functions need
//! no particular runtime.
//!
//! ```no_run
//! use trunkline::arrow::array::AsArray;
//! use trunkline::arrow::datatypes::Int64Type;
//! use trunkline::{Database, Param, Settings, SqlError};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), SqlError> {
//! let database = Database::open("./trunkline-data", Settings::new().set("work_mem", "64MB"))?;
//! let mut session = database.session()?;
//! session.execute("CREATE TABLE t (a int, b text)").await?;
//!
//! // Everything that is handed over, or nothing of it.
//! let mut load = session.copy_in("COPY t FROM STDIN (FORMAT csv)").await?;
//! load.write("1,one\n2,two\n").await?;
//! assert_eq!(load.finish().await?, 2);
//!
//! let mut rows = session.query_with("SELECT count(*) FROM t WHERE a > $1", vec![Param::text("1")]).await?;
//! while let Some(batch) = rows.next().await? {
//!     println!("{}", batch.column(0).as_primitive::<Int64Type>().value(0));
//! }
//!
//! // Several statements to a transaction, as in SQL. Dropping the session rolls back.
//! session.execute("BEGIN; INSERT INTO t VALUES (3, 'three')").await?;
//! session.execute("COMMIT").await?;
//! match session.execute("SELECT a / 0 FROM t").await {
//!     Err(error) if error.sqlstate == "22012" => println!("{error}"),
//!     other => panic!("{other:?}"),
//! }
//!
//! drop(session);
//! // A clean stop, so that the next start has nothing to recover.
//! database.close()
//! # }
//! ```
//!
//! The parts below are [`engine`] (a data directory, open), [`sql`] (sessions that run statements) and
//! [`server`] (sessions behind a port); the program of the same name is built from them too.

mod embedded;

pub use bytes;

pub use trunkline_engine as engine;
pub use trunkline_server as server;
pub use trunkline_sql as sql;
pub use trunkline_sql::arrow;

pub use embedded::{Database, Load, Rows, Session, Settings};
pub use trunkline_engine::{EngineError, initialise};
pub use trunkline_server::{Server, ServerConfig, ServerError};
pub use trunkline_sql::error::SqlError;
pub use trunkline_sql::outcome::{Notice, Param};
