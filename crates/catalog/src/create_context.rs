//! What a new table's rows ask of the catalogs: free OIDs, free names.

use std::collections::HashSet;

use trunkline_pgformat::Oid;

use crate::error::CatalogError;
use crate::new_table::CreateContext;
use crate::view::CatalogView;

/// Made by [`CatalogView::new_table_context`].
pub struct NewTableContext<'v, 'a, F> {
    view: &'v mut CatalogView<'a>,
    next_oid: F,
    /// Read when first needed. What others add meanwhile came from the same counter, which gives no
    /// OID twice before it has gone round.
    used: Option<HashSet<Oid>>,
}

impl<'v, 'a, F> NewTableContext<'v, 'a, F>
where
    F: FnMut() -> Result<Oid, CatalogError>,
{
    pub(crate) fn new(view: &'v mut CatalogView<'a>, next_oid: F) -> Self {
        NewTableContext {
            view,
            next_oid,
            used: None,
        }
    }
}

impl<F> CreateContext for NewTableContext<'_, '_, F>
where
    F: FnMut() -> Result<Oid, CatalogError>,
{
    fn new_oid(&mut self) -> Result<Oid, CatalogError> {
        let used = match &mut self.used {
            Some(used) => used,
            none => none.insert(self.view.oids_in_use()?.into_iter().collect()),
        };
        loop {
            let oid = (self.next_oid)()?;
            if used.insert(oid) {
                return Ok(oid);
            }
        }
    }

    fn type_exists(&mut self, namespace: Oid, name: &str) -> Result<bool, CatalogError> {
        self.view.type_exists(namespace, name)
    }

    fn constraint_exists(&mut self, namespace: Oid, name: &str) -> Result<bool, CatalogError> {
        self.view.constraint_exists(namespace, name)
    }
}
