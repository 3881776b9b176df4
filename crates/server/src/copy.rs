//! COPY over the connection, both ways, in either query protocol.

use bytes::BytesMut;
use trunkline_sql::error::SqlError;
use trunkline_sql::outcome::{CopyIn, CopyOut};

use crate::connection::Connection;
use crate::error::{Failure, protocol_violation};
use crate::frontend::{FrontendMessage, decode};
use crate::session::Session;
use crate::wire::Frame;

/// Data goes to the loader in pieces of about this size, in bytes, whatever the client's messages
/// are: many send one a row.
const CHUNK_BYTES: usize = 64 << 10;

/// What a wait for COPY data came to.
enum Event {
    Filled,
    Closed,
    Interrupted(SqlError),
    LoadFailed(SqlError),
}

impl<S: Session> Connection<S> {
    /// Feeds a load with the client's data. Returns its command tag.
    ///
    /// However it ends, the loader has stopped when this returns: the transaction can end.
    pub(crate) async fn copy_in(&mut self, mut copy: CopyIn) -> Result<String, Failure> {
        if let Err(failure) = self.announce_copy_in(&copy).await {
            copy.fail(connection_lost()).await;
            return Err(failure);
        }
        let mut chunk = BytesMut::new();
        loop {
            self.wire.take_copy_data(&mut chunk, CHUNK_BYTES);
            if chunk.len() >= CHUNK_BYTES {
                copy.write(chunk.split().freeze()).await?;
                continue;
            }
            let frame = match self.buffered_frame() {
                Ok(frame) => frame,
                Err(failure) => {
                    copy.fail(connection_lost()).await;
                    return Err(failure);
                }
            };
            match frame {
                Some(Frame::CopyData(data)) => chunk.extend_from_slice(&data),
                // Sync and Flush mean nothing here; drivers send a Sync along with Execute.
                Some(Frame::Message {
                    kind: b'S' | b'H', ..
                }) => {}
                Some(Frame::Message { kind: b'c', .. }) => {
                    if !chunk.is_empty() {
                        copy.write(chunk.freeze()).await?;
                    }
                    return Ok(copy.finish().await?);
                }
                Some(Frame::Message { kind: b'f', body }) => {
                    // What came before may be wrong itself, and tells how far the load got.
                    if !chunk.is_empty() {
                        copy.write(chunk.freeze()).await?;
                    }
                    return Err(match decode(b'f', body) {
                        Ok(FrontendMessage::CopyFail { message }) => {
                            copy.fail_by_client(&message).await
                        }
                        Ok(_) => {
                            copy.fail(protocol_violation("invalid message format"))
                                .await
                        }
                        Err(error) => copy.fail(error).await,
                    }
                    .into());
                }
                Some(Frame::Message { kind, .. }) => {
                    return Err(self.lose_synchronization(copy, kind).await);
                }
                None => {
                    if !chunk.is_empty() {
                        copy.write(chunk.split().freeze()).await?;
                    }
                    match self.wait_for_data(&mut copy).await {
                        Event::Filled => {}
                        Event::LoadFailed(error) => return Err(error.into()),
                        Event::Interrupted(error) => return Err(copy.fail(error).await.into()),
                        Event::Closed => {
                            copy.fail(connection_lost()).await;
                            return Err(Failure::Lost);
                        }
                    }
                }
            }
        }
    }

    async fn announce_copy_in(&mut self, copy: &CopyIn) -> Result<(), Failure> {
        self.wire.put_copy_in(copy.format(), copy.column_count())?;
        self.wire.flush(&self.interrupt).await
    }

    async fn wait_for_data(&mut self, copy: &mut CopyIn) -> Event {
        tokio::select! {
            biased;
            error = self.interrupt.requested() => Event::Interrupted(error),
            error = copy.failed() => Event::LoadFailed(error),
            filled = self.wire.fill() => match filled {
                Ok(true) => Event::Filled,
                Ok(false) => Event::Closed,
                Err(error) => {
                    tracing::debug!(%error, "connection lost during COPY");
                    Event::Closed
                }
            },
        }
    }

    /// The client sent `kind` amid its data: what follows could be anything, so the connection
    /// ends after the load has.
    async fn lose_synchronization(&mut self, copy: CopyIn, kind: u8) -> Failure {
        let message = format!("unexpected message type 0x{kind:02X} during COPY from stdin");
        let error = copy.fail(protocol_violation(message)).await;
        if let Err(failure) = self.wire.put_error(&error) {
            return failure;
        }
        Failure::Fatal(protocol_violation(
            "terminating connection because protocol synchronization was lost",
        ))
    }

    /// Sends a COPY's rows as they come. Returns its command tag.
    pub(crate) async fn copy_out(&mut self, mut copy: CopyOut) -> Result<String, Failure> {
        self.wire.put_copy_out(copy.format(), copy.column_count())?;
        loop {
            let next = tokio::select! {
                biased;
                error = self.interrupt.requested() => Some(Err(error)),
                next = copy.next() => next,
            };
            let Some(rows) = next else {
                break;
            };
            self.report_notices()?;
            for row in rows?.rows() {
                self.wire.put_copy_data(row)?;
                if self.wire.is_full() {
                    self.wire.flush(&self.interrupt).await?;
                }
            }
        }
        self.wire.put_copy_done()?;
        let tag = copy
            .tag()
            .ok_or_else(|| SqlError::internal("COPY ended without a tag"))?;
        Ok(tag.to_owned())
    }
}

/// What the load fails with when nobody is left to be told.
fn connection_lost() -> SqlError {
    SqlError::new(
        "08006",
        "unexpected EOF on client connection with an open transaction",
    )
}
