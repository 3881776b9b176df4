//! Rows of the system tables in the heap, as one snapshot sees them.

use std::sync::Arc;

use trunkline_aio::IoContext;
use trunkline_buffer::{BufferPool, ReadStreamLimits, RelFork};
use trunkline_heap::{HeapRelation, HeapScan, ScanBlocks};
use trunkline_pgformat::{ItemPointer, Oid};
use trunkline_txn::{RegisteredSnapshot, Visibility};
use trunkline_types::{Projection, TypeError, deform};

use crate::error::CatalogError;
use crate::field::{CatalogField, RowValues};
use crate::rows::CatalogRow;
use crate::system_table::{SystemTable, system_table};

/// Most columns that one search compares.
const MAX_KEYS: usize = 3;

/// A column's value that wanted rows have.
pub(crate) struct Key {
    column: &'static str,
    payload: Option<Vec<u8>>,
}

impl Key {
    /// Rows whose `column` is `value`.
    pub fn new<T: CatalogField>(column: &'static str, value: &T) -> Key {
        Key {
            column,
            payload: value.encode(),
        }
    }
}

/// A row and where it is.
pub(crate) type PlacedRow<R> = (ItemPointer, R);

/// Reads system tables by sequential scans: they are small, and there are no indexes on them yet.
pub(crate) struct CatalogReader<'a> {
    pool: &'a Arc<BufferPool>,
    database: Oid,
    snapshot: RegisteredSnapshot,
    io: &'a mut IoContext,
}

/// The system table with this OID.
pub(crate) fn table_of(oid: Oid) -> Result<&'static SystemTable, CatalogError> {
    system_table(oid).ok_or_else(|| CatalogError::Inconsistent {
        relation: oid,
        reason: "not a system table".to_owned(),
    })
}

impl<'a> CatalogReader<'a> {
    pub fn new(
        pool: &'a Arc<BufferPool>,
        database: Oid,
        snapshot: RegisteredSnapshot,
        io: &'a mut IoContext,
    ) -> CatalogReader<'a> {
        CatalogReader {
            pool,
            database,
            snapshot,
            io,
        }
    }

    /// The rows that have all of `keys`.
    pub fn rows<R: CatalogRow>(&mut self, keys: &[Key]) -> Result<Vec<R>, CatalogError> {
        Ok(self
            .placed_rows(keys)?
            .into_iter()
            .map(|(_, row)| row)
            .collect())
    }

    /// All rows of a system table: the payloads of `columns`.
    pub fn projected_rows(
        &mut self,
        table: &SystemTable,
        columns: &[usize],
    ) -> Result<Vec<RowValues>, CatalogError> {
        let projection = Projection::new(&table.desc, columns);
        let locator = table.initial_locator(self.database);
        let blocks = self.pool.nblocks(RelFork::main(locator))?;
        let mut scan = HeapScan::new(
            self.pool,
            HeapRelation::permanent(locator),
            ScanBlocks::new(blocks),
            ReadStreamLimits::default(),
        );
        let mut visibility = Visibility::new(self.snapshot.manager(), &self.snapshot);
        let mut rows = Vec::new();
        while let Some(page) = scan.next_page(self.io)? {
            let leaves_hints = page.visit_visible(&mut visibility, |_, tuple| {
                let mut values = vec![None; columns.len()];
                projection
                    .deform(tuple.bytes(), &mut values)
                    .map_err(TypeError::from)?;
                rows.push(
                    values
                        .into_iter()
                        .map(|value| value.map(<[u8]>::to_vec))
                        .collect(),
                );
                Ok::<(), CatalogError>(())
            })?;
            if leaves_hints {
                scan.leave_hints(&page, &mut visibility, self.io)?;
            }
        }
        Ok(rows)
    }

    /// The rows that have all of `keys`, with their places.
    ///
    /// # Panics
    /// If a key names no column of the table, or there are more keys than a search takes.
    pub fn placed_rows<R: CatalogRow>(
        &mut self,
        keys: &[Key],
    ) -> Result<Vec<PlacedRow<R>>, CatalogError> {
        assert!(keys.len() <= MAX_KEYS, "{} keys", keys.len());
        let table = table_of(R::TABLE)?;
        let index_of = |key: &Key| match table.desc.index_of(key.column) {
            Some(index) => index,
            None => panic!("{} has no column {}", table.name, key.column),
        };
        let columns: Vec<usize> = keys.iter().map(index_of).collect();
        let key_columns = Projection::new(&table.desc, &columns);

        let locator = table.initial_locator(self.database);
        let blocks = self.pool.nblocks(RelFork::main(locator))?;
        let mut scan = HeapScan::new(
            self.pool,
            HeapRelation::permanent(locator),
            ScanBlocks::new(blocks),
            ReadStreamLimits::default(),
        );
        let mut visibility = Visibility::new(self.snapshot.manager(), &self.snapshot);
        let mut found = Vec::new();
        while let Some(page) = scan.next_page(self.io)? {
            let leaves_hints = page.visit_visible(&mut visibility, |place, tuple| {
                let mut values = [None; MAX_KEYS];
                let values = &mut values[..keys.len()];
                key_columns
                    .deform(tuple.bytes(), values)
                    .map_err(TypeError::from)?;
                if values
                    .iter()
                    .zip(keys)
                    .all(|(value, key)| *value == key.payload.as_deref())
                {
                    let mut row = Vec::with_capacity(table.desc.len());
                    deform(&table.desc, tuple.bytes(), &mut row).map_err(TypeError::from)?;
                    found.push((place, R::from_values(&row)?));
                }
                Ok::<(), CatalogError>(())
            })?;
            if leaves_hints {
                scan.leave_hints(&page, &mut visibility, self.io)?;
            }
        }
        Ok(found)
    }
}
