//! The catalogs of one database, as all its sessions share them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use trunkline_aio::IoContext;
use trunkline_buffer::BufferPool;
use trunkline_pgformat::Oid;
use trunkline_txn::{RegisteredSnapshot, TransactionManager};

use crate::error::CatalogError;
use crate::relation::RelationDesc;
use crate::relation_cache::RelationCache;
use crate::system_table::system_table;
use crate::view::CatalogView;

/// The system tables of one database, with a cache of what is committed in them.
///
/// # What makes the cache right
/// A transaction that changes catalog rows holds locks that keep others from using the relations,
/// and lets them go only after [`Catalog::invalidate`], which it calls after its end. A session that
/// has looked up a relation and then waited for its lock looks at [`Catalog::version`] again, and
/// repeats the lookup if it has changed. Two relations of the same name are prevented by locks on
/// names, not here.
pub struct Catalog {
    pub(crate) pool: Arc<BufferPool>,
    pub(crate) transactions: Arc<TransactionManager>,
    pub(crate) database: Oid,
    pub(crate) cache: RelationCache,
    /// Made from the facts in the program when first wanted; they never change.
    system: Mutex<HashMap<Oid, Arc<RelationDesc>>>,
}

impl Catalog {
    /// The catalogs of `database`, whose system tables lie where [`bootstrap`](crate::bootstrap) put
    /// them.
    pub fn new(
        pool: &Arc<BufferPool>,
        transactions: &Arc<TransactionManager>,
        database: Oid,
    ) -> Catalog {
        Catalog {
            pool: Arc::clone(pool),
            transactions: Arc::clone(transactions),
            database,
            cache: RelationCache::new(),
            system: Mutex::new(HashMap::new()),
        }
    }

    /// The catalogs as a transaction sees them: what is committed at the moment of each lookup
    /// (`GetCatalogSnapshot`, so that who has waited for a lock sees what its holder did), and, with
    /// `own_changes`, what the transaction of `snapshot` did in earlier commands. That must be said
    /// of a transaction that has changed catalog rows: it bypasses the shared cache.
    pub fn view<'a>(
        &'a self,
        snapshot: &'a RegisteredSnapshot,
        own_changes: bool,
        io: &'a mut IoContext,
    ) -> CatalogView<'a> {
        CatalogView::new(self, snapshot, own_changes, io)
    }

    /// Makes known that a transaction has ended that created, changed or dropped `relations`: what
    /// is cached of them is dropped, and plans made before are stale.
    ///
    /// To be called after the commit (or abort), before its locks are released.
    pub fn invalidate(&self, relations: &[Oid]) {
        self.cache.invalidate(relations);
    }

    /// Changes with every [`Catalog::invalidate`]. A plan made at another version is stale.
    pub fn version(&self) -> u64 {
        self.cache.version()
    }

    /// The database.
    pub fn database(&self) -> Oid {
        self.database
    }

    /// What a system table is is part of the program: the catalogs could not be read otherwise.
    pub(crate) fn system_relation(
        &self,
        oid: Oid,
    ) -> Result<Option<Arc<RelationDesc>>, CatalogError> {
        let Some(table) = system_table(oid) else {
            return Ok(None);
        };
        let mut system = self.system.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(relation) = system.get(&oid) {
            return Ok(Some(Arc::clone(relation)));
        }
        let rel_number = table.initial_locator(self.database).rel_number;
        let relation = RelationDesc::of_system_table(table, self.database, |_| Some(rel_number))?;
        let relation = Arc::new(relation);
        system.insert(oid, Arc::clone(&relation));
        Ok(Some(relation))
    }
}

impl std::fmt::Debug for Catalog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Catalog")
            .field("database", &self.database)
            .field("version", &self.version())
            .finish_non_exhaustive()
    }
}
