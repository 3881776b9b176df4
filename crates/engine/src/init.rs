//! `init`: a new cluster with PostgreSQL's layout, its system tables, and one database.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use trunkline_aio::write_file_durably;
use trunkline_aio::{Aio, AioConfig, IoContext, MethodKind, OsStorage, Storage, SystemClock};
use trunkline_buffer::{BufferPool, PoolConfig};
use trunkline_catalog::oids::FIRST_NORMAL_OBJECT;
use trunkline_pgformat::control_file::{ControlFile, NewCluster, system_identifier};
use trunkline_pgformat::relmap::RelMap;
use trunkline_pgformat::slru::XACT_DIRECTORY;
use trunkline_smgr::{Smgr, SmgrConfig};
use trunkline_txn::{FullXid, LockManager, SlruConfig, TransactionManager, TxnConfig, XidLimits};

use crate::data_directory::{
    ControlFileStore, DATABASE_OID, DataDirectoryError, Found, complete_layout, create_layout,
    inspect,
};
use crate::database::unix_seconds;
use crate::error::EngineError;

/// Memory for the system tables while they are written.
const POOL_BYTES: u64 = 32 << 20;

/// Makes a new cluster at `path`, which must be missing or empty.
///
/// # Errors
/// There is something at `path`, or a file cannot be made.
pub fn initialise(path: &Path) -> Result<(), EngineError> {
    let storage: Arc<dyn Storage> = Arc::new(OsStorage::new());
    let aio = Aio::start(AioConfig {
        method: Some(MethodKind::Sync),
        max_issuers: 8,
        ..AioConfig::default()
    })?;
    let mut io = aio.issuer(0)?;
    let path = std::path::absolute(path).map_err(|source| DataDirectoryError::File {
        path: path.to_owned(),
        source,
    })?;
    if inspect(storage.as_ref(), &path, &mut io)? != Found::Vacant {
        return Err(DataDirectoryError::NotEmpty(path).into());
    }
    create_layout(&storage, &path, &mut io)?;
    write_system_tables(&path, &storage, &aio, &mut io)?;
    write_control_file(&path, &storage, &mut io)?;
    complete_layout(storage.as_ref(), &path, &mut io)?;
    drop(io);
    aio.shutdown();
    Ok(())
}

fn write_system_tables(
    path: &Path,
    storage: &Arc<dyn Storage>,
    aio: &Arc<Aio>,
    io: &mut IoContext,
) -> Result<(), EngineError> {
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
        Arc::new(SystemClock::new()),
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
    )?;
    let maps = trunkline_catalog::bootstrap(&pool, &transactions, DATABASE_OID, io)?;
    for (files, directory) in [(maps.shared, "global"), (maps.database, "base/5")] {
        let file = path.join(directory).join("pg_filenode.map");
        let mut map = RelMap::default();
        for (catalog, file_number) in files {
            map.set(catalog, file_number)
                .map_err(|error| DataDirectoryError::Control {
                    path: file.clone(),
                    why: error.to_string(),
                })?;
        }
        write_file_durably(storage.as_ref(), io, &file, &map.encode()).map_err(|source| {
            DataDirectoryError::File {
                path: file.clone(),
                source,
            }
        })?;
    }
    pool.write_all(io)?;
    smgr.sync_all(io)?;
    transactions.flush()?;
    Ok(())
}

fn write_control_file(
    path: &Path,
    storage: &Arc<dyn Storage>,
    io: &mut IoContext,
) -> Result<(), EngineError> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let new = NewCluster {
        system_identifier: system_identifier(
            now.as_secs(),
            now.subsec_micros(),
            std::process::id(),
        ),
        time: unix_seconds(),
        mock_authentication_nonce: nonce(),
        next_xid: FullXid::FIRST_NORMAL.xid(),
        next_oid: FIRST_NORMAL_OBJECT,
        has_checksums: true,
    };
    let control = ControlFile::for_new_cluster(&new);
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
