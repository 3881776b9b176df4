//! `init`: a new cluster with PostgreSQL's layout, its system tables, and one database.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use trunkline_aio::{Aio, AioConfig, IoContext, MethodKind};
use trunkline_buffer::{BufferPool, PoolConfig};
use trunkline_catalog::oids::FIRST_NORMAL_OBJECT;
use trunkline_pgformat::control_file::{ControlFile, NewCluster, system_identifier};
use trunkline_pgformat::slru::XACT_DIRECTORY;
use trunkline_pgformat::wal::segment::{SegmentSize, WAL_DIRECTORY};
use trunkline_smgr::{Smgr, SmgrConfig};
use trunkline_txn::{FullXid, LockManager, SlruConfig, TransactionManager, TxnConfig, XidLimits};
use trunkline_wal::{WalConfig, create_first_segment};

use crate::data_directory::{
    ControlFileStore, DATABASE_OID, DataDirectoryError, Found, LockFile, complete_layout,
    create_layout, create_root, inspect, remove_layout, write_relation_maps,
};
use crate::database::{Foundation, unix_seconds};
use crate::error::EngineError;

/// Memory for the system tables while they are written.
const POOL_BYTES: u64 = 32 << 20;

/// An AIO core for what happens before there are settings: over the foundation's method, which
/// alone may understand the storage's files.
pub(crate) fn bootstrap_aio(foundation: &Foundation) -> Result<Arc<Aio>, EngineError> {
    let config = AioConfig {
        method: Some(MethodKind::Sync),
        max_issuers: 8,
        ..AioConfig::default()
    };
    Ok(match &foundation.method {
        Some(method) => Aio::start_with(config, Arc::clone(method))?,
        None => Aio::start(config)?,
    })
}

/// What a new cluster is like.
#[derive(Clone, Copy, Debug)]
pub struct InitOptions {
    /// Bytes of its WAL segments (`--wal-segsize`).
    pub wal_segment_size: SegmentSize,
}

impl Default for InitOptions {
    fn default() -> InitOptions {
        InitOptions {
            wal_segment_size: SegmentSize::DEFAULT,
        }
    }
}

/// Makes a new cluster at `path`, which must be missing or empty. What a failure leaves of it is
/// removed again.
///
/// # Errors
/// There is something at `path`, or a file cannot be made.
pub fn initialise(path: &Path) -> Result<(), EngineError> {
    initialise_with(&Foundation::default(), path, &InitOptions::default())
}

/// Makes a new cluster at `path` on a foundation of choice.
///
/// # Errors
/// As [`initialise`].
pub fn initialise_with(
    foundation: &Foundation,
    path: &Path,
    options: &InitOptions,
) -> Result<(), EngineError> {
    let storage = &foundation.storage;
    let path = std::path::absolute(path).map_err(|source| DataDirectoryError::File {
        path: path.to_owned(),
        source,
    })?;
    let aio = bootstrap_aio(foundation)?;
    let mut io = aio.issuer(0)?;
    // Looked at before and after it is taken: nothing is made in what is not ours to use, and of two
    // that initialise at once one fails.
    let inspect_vacant = |io: &mut IoContext| match inspect(storage.as_ref(), &path, io)? {
        Found::Vacant => Ok(()),
        Found::DataDirectory => Err(DataDirectoryError::NotEmpty(path.clone())),
    };
    inspect_vacant(&mut io)?;
    create_root(storage.as_ref(), &path)?;
    let _lock_file = LockFile::acquire(&path)?;
    inspect_vacant(&mut io)?;
    let made = make_cluster(&path, foundation, options, &aio, &mut io);
    if made.is_err()
        && let Err(error) = remove_layout(storage.as_ref(), &path)
    {
        tracing::warn!("could not remove what was made of the data directory: {error}");
    }
    made
}

fn make_cluster(
    path: &Path,
    foundation: &Foundation,
    options: &InitOptions,
    aio: &Arc<Aio>,
    io: &mut IoContext,
) -> Result<(), EngineError> {
    let storage = &foundation.storage;
    create_layout(storage, path, options.wal_segment_size, io)?;
    write_system_tables(path, foundation, aio, io)?;
    write_log_and_control_file(path, foundation, options, io)?;
    complete_layout(storage.as_ref(), path, io)?;
    Ok(())
}

fn write_system_tables(
    path: &Path,
    foundation: &Foundation,
    aio: &Arc<Aio>,
    io: &mut IoContext,
) -> Result<(), EngineError> {
    let storage = &foundation.storage;
    let smgr = Smgr::new(
        Arc::clone(storage),
        aio,
        path.to_owned(),
        SmgrConfig::default(),
    );
    let pool = BufferPool::new(
        PoolConfig {
            shared_buffers_bytes: POOL_BYTES,
            ..PoolConfig::default()
        },
        Arc::clone(aio),
        Arc::clone(&smgr),
    )?;
    let locks = Arc::new(LockManager::new(
        Arc::clone(&foundation.clock),
        Duration::from_secs(1),
    ));
    let transactions = TransactionManager::start(
        TxnConfig {
            next_xid: FullXid::FIRST_NORMAL,
            limits: XidLimits {
                oldest_xid: FullXid::FIRST_NORMAL,
                oldest_database: DATABASE_OID,
                oldest_database_name: None,
            },
            pg_xact: SlruConfig {
                directory: path.join(XACT_DIRECTORY),
                buffers: 4,
                direct: false,
            },
        },
        aio,
        Arc::clone(storage),
        locks,
        None,
    )?;
    trunkline_catalog::bootstrap(&pool, &transactions, DATABASE_OID, io)?;
    write_relation_maps(storage.as_ref(), path, io)?;
    pool.write_all(io)?;
    smgr.sync_all(io)?;
    transactions.flush(io)?;
    Ok(())
}

/// The log, which begins with the checkpoint that the control file points at: everything is on disk.
fn write_log_and_control_file(
    path: &Path,
    foundation: &Foundation,
    options: &InitOptions,
    io: &mut IoContext,
) -> Result<(), EngineError> {
    let Foundation { storage, clock, .. } = foundation;
    let now = clock.since_epoch();
    let new = NewCluster {
        system_identifier: system_identifier(
            now.as_secs(),
            now.subsec_micros(),
            std::process::id(),
        ),
        time: unix_seconds(clock.as_ref()),
        mock_authentication_nonce: nonce(),
        next_xid: FullXid::FIRST_NORMAL.xid(),
        next_oid: FIRST_NORMAL_OBJECT,
        has_checksums: true,
        wal_segment_size: options.wal_segment_size,
    };
    let control = ControlFile::for_new_cluster(&new);
    let config = WalConfig::new(
        path.join(WAL_DIRECTORY),
        control.check_point_copy.this_time_line_id,
        control.system_identifier,
        options.wal_segment_size,
    );
    let record = create_first_segment(io, storage, &config, &control.check_point_copy.encode())?;
    assert_eq!(
        record.start, control.check_point,
        "the first checkpoint's record"
    );
    ControlFileStore::new(Arc::clone(storage), path).write(&control, io)?;
    Ok(())
}

/// Random bytes, from the seeds that the standard library's hashers get from the operating system.
fn nonce() -> [u8; 32] {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let mut nonce = [0; 32];
    for chunk in nonce.chunks_exact_mut(8) {
        chunk.copy_from_slice(&RandomState::new().build_hasher().finish().to_ne_bytes());
    }
    nonce
}
