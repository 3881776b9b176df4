//! Data for `COPY ... FROM STDIN`.

use bytes::Bytes;
use trunkline_sql::error::SqlError;
use trunkline_sql::outcome::CopyIn;

use super::Session;

/// A running load. Dropping it unfinished undoes it.
#[derive(Debug)]
pub struct Load<'s> {
    session: &'s mut Session,
    copy: CopyIn,
}

impl<'s> Load<'s> {
    pub(super) fn new(session: &'s mut Session, copy: CopyIn) -> Load<'s> {
        Load { session, copy }
    }

    /// Hands data over, cut anywhere, once there is room. The load goes on meanwhile: an error may
    /// be about data that was handed over before.
    ///
    /// # Errors
    /// The load has failed, and is undone; `context` says in which line.
    pub async fn write(&mut self, data: impl Into<Bytes>) -> Result<(), SqlError> {
        self.copy.write(data.into()).await
    }

    /// That was all: the number of rows, which are committed outside of a transaction block.
    ///
    /// # Errors
    /// The load failed, and is undone.
    pub async fn finish(self) -> Result<u64, SqlError> {
        let Load { session, copy } = self;
        match copy.finish().await {
            Ok(tag) => {
                session.finish().await?;
                let rows = tag.strip_prefix("COPY ").and_then(|rows| rows.parse().ok());
                rows.ok_or_else(|| SqlError::internal(format!("a load ended with {tag:?}")))
            }
            // What is left of it, the session's next call ends.
            Err(error) => Err(error),
        }
    }
}
