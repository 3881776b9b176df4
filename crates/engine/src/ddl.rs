//! CREATE TABLE, DROP TABLE and TRUNCATE: catalog rows and files, both undone by an abort.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use trunkline_aio::IoContext;
use trunkline_catalog::{
    CatalogError, CatalogWriter, FrozenHorizon, NewTable, RelationDesc, RelationPersistence,
    TableDefinition, oids,
};
use trunkline_pgformat::{DEFAULTTABLESPACE_OID, ForkNumber, Oid, RelFileLocator, Xid};
use trunkline_txn::{LockMode, LockTag};

use crate::data_directory::DATABASE_OID;
use crate::engine_records;
use crate::error::{EngineError, StatementError};
use crate::session::Session;

/// What CREATE TABLE did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CreateTableOutcome {
    /// It made the table.
    Created(Oid),
    /// There was one of this name, and IF NOT EXISTS.
    Existed,
}

impl Session {
    /// Makes a table. Of several at once with one name, the later ones wait for the first's
    /// transaction.
    ///
    /// # Errors
    /// 42P07 if the name is taken, and what is wrong with the definition.
    pub fn create_table(
        &mut self,
        definition: &TableDefinition,
        if_not_exists: bool,
        io: &mut IoContext,
    ) -> Result<CreateTableOutcome, EngineError> {
        definition.validate()?;
        if definition.persistence == RelationPersistence::Temporary {
            return Err(StatementError::new("0A000", "temporary tables are not supported").into());
        }
        trunkline_catalog::check_namespace(definition.namespace, &definition.name)?;
        self.lock_name(definition.namespace, &definition.name)?;
        let snapshot = self.snapshot()?;
        let own_changes = self.has_own_catalog_changes();
        let database = Arc::clone(self.database());
        let taken = database
            .catalog()
            .view(&snapshot, own_changes, io)
            .relation_oid(definition.namespace, &definition.name)?;
        if taken.is_some() {
            if if_not_exists {
                return Ok(CreateTableOutcome::Existed);
            }
            return Err(CatalogError::RelationExists(definition.name.clone()).into());
        }
        let transaction = Arc::clone(self.transaction()?);
        let xid = transaction.assign_xid()?.xid();
        let horizon = FrozenHorizon {
            xid: database.transactions().oldest_xmin(),
            multixact: Xid(1),
        };
        let mut new = {
            let mut view = database.catalog().view(&snapshot, own_changes, io);
            let mut context = view.new_table_context(|| Ok(database.new_oid()?));
            NewTable::build(definition, horizon, &mut context)?
        };
        let locator = RelFileLocator {
            spc_oid: DEFAULTTABLESPACE_OID,
            db_oid: DATABASE_OID,
            rel_number: new.class.oid.0,
        };
        let locator = if database.smgr().exists(locator, ForkNumber::Main)? {
            database.new_rel_number(locator)?
        } else {
            locator
        };
        new.class.relfilenode = Oid(locator.rel_number);
        let oid = new.class.oid;
        self.lock(
            LockTag::Relation {
                database: DATABASE_OID,
                relation: oid,
            },
            LockMode::AccessExclusive,
        )?;
        self.note_changed_relation(oid)?;
        self.create_files(locator, definition.persistence, io)?;
        CatalogWriter::new(
            database.catalog(),
            &snapshot,
            xid,
            transaction.command_id(true),
            io,
        )
        .create_table(&new)?;
        Ok(CreateTableOutcome::Created(oid))
    }

    /// Drops a table on which the session holds an access-exclusive lock.
    ///
    /// # Errors
    /// 42501 for a system table; the catalog cannot be changed.
    pub fn drop_table(
        &mut self,
        relation: &RelationDesc,
        io: &mut IoContext,
    ) -> Result<(), EngineError> {
        self.check_user_table(relation)?;
        let transaction = Arc::clone(self.transaction()?);
        let xid = transaction.assign_xid()?.xid();
        let snapshot = self.snapshot()?;
        self.note_changed_relation(relation.oid)?;
        let database = Arc::clone(self.database());
        CatalogWriter::new(
            database.catalog(),
            &snapshot,
            xid,
            transaction.command_id(true),
            io,
        )
        .drop_table(relation.oid)?;
        transaction.with_pending_files(|pending| pending.dropped(relation.locator));
        // Another DROP of the same name in this statement must not find it.
        transaction.increment_command()?;
        Ok(())
    }

    /// Empties a table on which the session holds an access-exclusive lock: it gets new files, and
    /// the old ones go when the transaction commits.
    ///
    /// # Errors
    /// 42501 for a system table; the catalog cannot be changed.
    pub fn truncate_table(
        &mut self,
        relation: &RelationDesc,
        io: &mut IoContext,
    ) -> Result<(), EngineError> {
        self.check_user_table(relation)?;
        let transaction = Arc::clone(self.transaction()?);
        let xid = transaction.assign_xid()?.xid();
        let snapshot = self.snapshot()?;
        let database = Arc::clone(self.database());
        let locator = database.new_rel_number(relation.locator)?;
        self.note_changed_relation(relation.oid)?;
        self.create_files(locator, relation.persistence, io)?;
        CatalogWriter::new(
            database.catalog(),
            &snapshot,
            xid,
            transaction.command_id(true),
            io,
        )
        .set_relfilenode(relation.oid, locator.rel_number)?;
        transaction.with_pending_files(|pending| pending.dropped(relation.locator));
        transaction.increment_command()?;
        Ok(())
    }

    /// Makes a relation's files. They go if the transaction aborts. Of an unlogged table, the init fork,
    /// which it gets its files from after a crash, is in the log, and the main fork is not.
    fn create_files(
        &self,
        locator: RelFileLocator,
        persistence: RelationPersistence,
        io: &mut IoContext,
    ) -> Result<(), EngineError> {
        let transaction = self.transaction()?;
        let xid = transaction.assign_xid()?.xid();
        transaction.with_pending_files(|pending| pending.created(locator));
        let smgr = self.database().smgr();
        smgr.create(locator, ForkNumber::Main, false)?;
        let logged = match persistence {
            RelationPersistence::Unlogged => {
                smgr.create(locator, ForkNumber::Init, false)?;
                ForkNumber::Init
            }
            _ => ForkNumber::Main,
        };
        // Behind the file: a checkpoint whose redo point is behind the record syncs its name.
        engine_records::fork_created(self.database().wal(), io, xid, locator, logged)?;
        Ok(())
    }

    /// Keeps others from making a relation of this name until the transaction ends. PostgreSQL's
    /// unique index on pg_class does that; two names that hash alike only wait needlessly.
    fn lock_name(&self, namespace: Oid, name: &str) -> Result<(), EngineError> {
        let mut hasher = DefaultHasher::new();
        (namespace.0, name).hash(&mut hasher);
        let tag = LockTag::Object {
            database: DATABASE_OID,
            class: oids::PG_CLASS,
            object: Oid(hasher.finish() as u32),
            sub_id: 0,
        };
        self.lock(tag, LockMode::Exclusive)
    }
}
