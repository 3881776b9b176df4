//! Tables come, change and go with their transactions.

use std::sync::Arc;

use trunkline_catalog::{
    CatalogError, CatalogRow, CreateContext, NewTable, PgConstraintRow, PgDependRow, RelationDesc,
    RowValues, TableDefinition, oids, system_table, system_tables,
};
use trunkline_pgformat::{Oid, RelFileLocator};
use trunkline_txn::Transaction;

use crate::cluster::{Cluster, DATABASE, HORIZON, definition, new_table, over_methods};

/// What `transaction` sees of a table, by OID and by name, with its own changes.
fn own(cluster: &Cluster, transaction: &Transaction, name: &str) -> Option<Arc<RelationDesc>> {
    let snapshot = transaction.snapshot();
    let mut io = cluster.io();
    let mut view = cluster.catalog.view(&snapshot, true, &mut io);
    let oid = view
        .relation_oid(oids::PG_PUBLIC_NAMESPACE, name)
        .unwrap()?;
    Some(view.relation(oid).unwrap().unwrap())
}

/// What everybody else sees.
fn others(cluster: &Cluster, name: &str) -> Option<Arc<RelationDesc>> {
    let snapshot = cluster.transactions.snapshot();
    let mut io = cluster.io();
    let mut view = cluster.catalog.view(&snapshot, false, &mut io);
    let oid = view
        .relation_oid(oids::PG_PUBLIC_NAMESPACE, name)
        .unwrap()?;
    Some(view.relation(oid).unwrap().unwrap())
}

fn rows_by_table(cluster: &Cluster) -> Vec<(&'static str, Vec<RowValues>)> {
    let sorted = |table| {
        let mut rows: Vec<_> = cluster
            .rows(table)
            .into_iter()
            .map(|(_, row)| row)
            .collect();
        rows.sort();
        rows
    };
    system_tables()
        .iter()
        .map(|table| (table.name, sorted(table)))
        .collect()
}

#[test]
fn a_table_is_seen_by_its_maker_first_and_by_others_after_the_commit() {
    over_methods(|aio| {
        let cluster = Cluster::create(aio);
        let table = new_table("src", 16384);
        let expected = RelationDesc::of_new_table(&table, DATABASE).unwrap();
        assert_eq!(expected.defaults[1].as_deref(), Some("0.5"));
        assert_eq!(expected.not_null_constraints[0].name, "src_k_not_null");

        let transaction = cluster.begin();
        assert!(others(&cluster, "src").is_none());
        cluster
            .command(&transaction, |writer| writer.create_table(&table))
            .unwrap();
        assert_eq!(*own(&cluster, &transaction, "src").unwrap(), expected);
        assert!(others(&cluster, "src").is_none());
        let version = cluster.catalog.version();
        cluster.commit(transaction, &[table.class.oid]);
        assert_ne!(cluster.catalog.version(), version);

        let seen = others(&cluster, "src").unwrap();
        assert_eq!(*seen, expected);
        assert!(
            Arc::ptr_eq(&seen, &others(&cluster, "src").unwrap()),
            "it is cached"
        );
        assert_eq!(*others(&cluster.restart(), "src").unwrap(), expected);
    });
}

#[test]
fn an_aborted_table_was_never_there() {
    over_methods(|aio| {
        let cluster = Cluster::create(aio);
        let before = rows_by_table(&cluster);
        let table = new_table("src", 16384);
        let transaction = cluster.begin();
        cluster
            .command(&transaction, |writer| writer.create_table(&table))
            .unwrap();
        assert!(own(&cluster, &transaction, "src").is_some());
        cluster.abort(&transaction);
        cluster.catalog.invalidate(&[table.class.oid]);
        assert!(others(&cluster, "src").is_none());
        assert_eq!(rows_by_table(&cluster), before);
        assert_eq!(rows_by_table(&cluster.restart()), before);
    });
}

#[test]
fn a_dropped_table_leaves_no_row() {
    over_methods(|aio| {
        let cluster = Cluster::create(aio);
        cluster.create_table(&new_table("stays", 20000));
        let before = rows_by_table(&cluster);
        let table = new_table("goes", 16384);
        cluster.create_table(&table);
        let with_table = rows_by_table(&cluster);
        assert_ne!(with_table, before);
        assert!(others(&cluster, "goes").is_some());

        let transaction = cluster.begin();
        cluster
            .command(&transaction, |writer| writer.drop_table(table.class.oid))
            .unwrap();
        assert!(own(&cluster, &transaction, "goes").is_none());
        assert!(others(&cluster, "goes").is_some());
        cluster.abort(&transaction);
        cluster.catalog.invalidate(&[table.class.oid]);
        assert!(others(&cluster, "goes").is_some());
        assert_eq!(rows_by_table(&cluster), with_table);

        let transaction = cluster.begin();
        cluster
            .command(&transaction, |writer| writer.drop_table(table.class.oid))
            .unwrap();
        cluster.commit(transaction, &[table.class.oid]);
        assert!(others(&cluster, "goes").is_none());
        assert!(others(&cluster, "stays").is_some());
        assert_eq!(rows_by_table(&cluster), before);

        let transaction = cluster.begin();
        let error = cluster
            .command(&transaction, |writer| writer.drop_table(table.class.oid))
            .unwrap_err();
        assert_eq!(
            (error.sqlstate(), error.to_string().as_str()),
            ("XX000", "cache lookup failed for relation 16384")
        );
    });
}

#[test]
fn a_truncated_table_has_another_file() {
    over_methods(|aio| {
        let cluster = Cluster::create(aio);
        let table = new_table("src", 16384);
        cluster.create_table(&table);
        let created = others(&cluster, "src").unwrap();
        let truncated = |rel_number| RelFileLocator {
            rel_number,
            ..created.locator
        };

        let transaction = cluster.begin();
        cluster
            .command(&transaction, |writer| {
                writer.set_relfilenode(created.oid, 30000)
            })
            .unwrap();
        let own_view = own(&cluster, &transaction, "src").unwrap();
        assert_eq!(own_view.locator, truncated(30000));
        assert_eq!(own_view.desc, created.desc);
        assert_eq!(others(&cluster, "src").unwrap().locator, created.locator);
        cluster.abort(&transaction);
        cluster.catalog.invalidate(&[created.oid]);
        assert_eq!(others(&cluster, "src").unwrap().locator, created.locator);

        // Twice in one transaction, which is not the oldest.
        let older = cluster.begin();
        let oldest = older.assign_xid().unwrap().xid();
        let transaction = cluster.begin();
        for rel_number in [30001, 30002] {
            cluster
                .command(&transaction, |writer| {
                    writer.set_relfilenode(created.oid, rel_number)
                })
                .unwrap();
            let own_view = own(&cluster, &transaction, "src").unwrap();
            assert_eq!(own_view.locator, truncated(rel_number));
        }
        cluster.commit(transaction, &[created.oid]);
        let seen = others(&cluster, "src").unwrap();
        assert_eq!(seen.locator, truncated(30002));
        assert_eq!(seen.relfrozenxid, oldest);
        assert_eq!(
            others(&cluster.restart(), "src").unwrap().locator,
            truncated(30002)
        );
    });
}

#[test]
fn tables_made_and_dropped_or_truncated_at_once() {
    over_methods(|aio| {
        let cluster = Cluster::create(aio);
        let before = rows_by_table(&cluster);
        let [gone, truncated] = [new_table("gone", 16384), new_table("truncated", 16484)];
        let transaction = cluster.begin();
        for table in [&gone, &truncated] {
            cluster
                .command(&transaction, |writer| writer.create_table(table))
                .unwrap();
        }
        let oid = truncated.class.oid;
        cluster
            .command(&transaction, |writer| writer.set_relfilenode(oid, 30000))
            .unwrap();
        cluster
            .command(&transaction, |writer| writer.drop_table(gone.class.oid))
            .unwrap();
        assert!(own(&cluster, &transaction, "gone").is_none());
        assert_eq!(
            own(&cluster, &transaction, "truncated")
                .unwrap()
                .locator
                .rel_number,
            30000
        );
        cluster
            .command(&transaction, |writer| writer.drop_table(oid))
            .unwrap();
        assert!(own(&cluster, &transaction, "truncated").is_none());
        cluster.commit(transaction, &[gone.class.oid, oid]);
        assert_eq!(rows_by_table(&cluster), before);
    });
}

#[test]
fn a_row_that_another_transaction_changed_is_not_changed_again() {
    over_methods(|aio| {
        let cluster = Cluster::create(aio);
        let table = new_table("src", 16384);
        cluster.create_table(&table);
        let [first, second] = [cluster.begin(), cluster.begin()];
        let truncate = |transaction, rel_number| {
            cluster.command(transaction, |writer| {
                writer.set_relfilenode(table.class.oid, rel_number)
            })
        };
        truncate(&first, 30000).unwrap();
        // Nobody gets here who holds the locks; without them it is refused.
        let error = truncate(&second, 30001).unwrap_err();
        assert_eq!(
            (error.sqlstate(), error.to_string().as_str()),
            ("XX000", "tuple concurrently updated")
        );
        cluster.abort(&second);
        cluster.commit(first, &[table.class.oid]);
        assert_eq!(others(&cluster, "src").unwrap().locator.rel_number, 30000);
        // The refused update left nothing behind.
        let class = system_table(oids::PG_CLASS).unwrap();
        let rows = cluster.rows(class);
        assert_eq!(rows.len(), system_tables().len() + 1);
    });
}

#[test]
fn a_default_longer_than_a_page_is_refused() {
    over_methods(|aio| {
        let cluster = Cluster::create(aio);
        let mut definition = definition("wide");
        definition.columns[1].default = Some("1".repeat(9000));
        let table =
            NewTable::build(&definition, HORIZON, &mut crate::cluster::Counter(16384)).unwrap();
        let transaction = cluster.begin();
        let error = cluster
            .command(&transaction, |writer| writer.create_table(&table))
            .unwrap_err();
        assert_eq!(error.sqlstate(), "54000");
        assert!(
            error.to_string().starts_with("row is too big: size "),
            "{error}"
        );
        cluster.abort(&transaction);
        assert!(others(&cluster, "wide").is_none());
    });
}

/// OIDs and names come from the catalogs as the transaction sees them.
#[test]
fn new_tables_avoid_what_is_there() {
    over_methods(|aio| {
        let cluster = Cluster::create(aio);
        let transaction = cluster.begin();
        cluster
            .command(&transaction, |w| w.create_table(&new_table("_t", 16384)))
            .unwrap();
        let oid = Oid(16384);
        cluster
            .command(&transaction, |w| w.set_relfilenode(oid, 16390))
            .unwrap();

        let build = |definition: &TableDefinition, own_changes| {
            let snapshot = transaction.snapshot();
            let mut io = cluster.io();
            let mut view = cluster.catalog.view(&snapshot, own_changes, &mut io);
            let mut next = 16383;
            let mut context = view.new_table_context(|| {
                next += 1;
                Ok(Oid(next))
            });
            assert!(
                context
                    .type_exists(oids::PG_CATALOG_NAMESPACE, "int4")
                    .unwrap()
            );
            assert!(
                !context
                    .type_exists(oids::PG_PUBLIC_NAMESPACE, "int4")
                    .unwrap()
            );
            NewTable::build(definition, HORIZON, &mut context)
        };
        // 16384 to 16388 are the first table's, 16390 is its file.
        let second = build(&definition("t"), true).unwrap();
        assert_eq!(second.class.oid, Oid(16389));
        assert_eq!(&*second.types[1].typname, "_t_1");
        assert_eq!(second.types[1].oid, Oid(16391));
        assert_eq!(second.types[0].oid, Oid(16392));
        let error = build(&definition("_t"), true).unwrap_err();
        assert!(matches!(error, CatalogError::TypeExists(_)), "{error}");
        let unaware = build(&definition("_t"), false).unwrap();
        assert_eq!(unaware.class.oid, oid);

        let mut same_constraint = definition("u");
        same_constraint.columns[0].name = "k".to_owned();
        same_constraint.name = "_t".to_owned();
        cluster
            .command(&transaction, |w| w.drop_table(oid))
            .unwrap();
        let third = build(&same_constraint, true).unwrap();
        assert_eq!(&*third.constraints[0].conname, "_t_k_not_null");
        for (table, len) in [(PgConstraintRow::TABLE, 0), (PgDependRow::TABLE, 0)] {
            assert_eq!(cluster.rows(system_table(table).unwrap()).len(), len);
        }
    });
}
