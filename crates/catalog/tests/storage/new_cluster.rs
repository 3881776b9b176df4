//! What `bootstrap` writes is there, frozen, also after a restart.

use trunkline_catalog::{
    CatalogRow, PgClassRow, RelationDesc, bootstrap, bootstrap_rows, bootstrap_rows_of, oids,
    relation_map, system_table, system_tables,
};
use trunkline_pgformat::{Oid, Xid};

use crate::cluster::{Cluster, DATABASE, over_methods};

fn check(cluster: &Cluster) {
    for table in system_tables() {
        let (headers, rows): (Vec<_>, Vec<_>) = cluster.rows(table).into_iter().unzip();
        assert_eq!(rows, bootstrap_rows(table).unwrap(), "{}", table.name);
        for header in headers {
            assert_eq!(header.xmin, Xid::BOOTSTRAP);
            assert_eq!(header.infomask & 0x0300, 0x0300, "is frozen");
        }
    }

    let snapshot = cluster.transactions.snapshot();
    let mut io = cluster.io();
    let mut view = cluster.catalog.view(&snapshot, false, &mut io);
    for table in system_tables() {
        let found = view
            .relation_oid(oids::PG_CATALOG_NAMESPACE, table.name)
            .unwrap();
        assert_eq!(found, Some(table.oid));
        let relation = view.relation(table.oid).unwrap().unwrap();
        let expected = RelationDesc::of_system_table(table, DATABASE, |oid| Some(oid.0)).unwrap();
        assert_eq!(*relation, expected);
    }
    assert!(view.relation(Oid(16384)).unwrap().is_none());
    for name in ["t", "", &"x".repeat(70)] {
        assert_eq!(
            view.relation_oid(oids::PG_PUBLIC_NAMESPACE, name).unwrap(),
            None
        );
    }

    assert_eq!(
        view.namespace_oid("public").unwrap(),
        Some(oids::PG_PUBLIC_NAMESPACE)
    );
    assert_eq!(view.namespace_oid("Public").unwrap(), None);
    assert_eq!(
        view.namespace_name(oids::PG_CATALOG_NAMESPACE)
            .unwrap()
            .as_deref(),
        Some("pg_catalog")
    );
    assert_eq!(view.namespace_name(Oid(1)).unwrap(), None);
    assert_eq!(view.database("postgres").unwrap().unwrap().oid, DATABASE);
    assert!(view.database("template1").unwrap().is_none());

    let mut names: Vec<&str> = system_tables().iter().map(|table| table.name).collect();
    names.sort_unstable();
    assert_eq!(view.table_names(oids::PG_CATALOG_NAMESPACE).unwrap(), names);
    assert!(
        view.table_names(oids::PG_PUBLIC_NAMESPACE)
            .unwrap()
            .is_empty()
    );
    let mut classes = view.relations(oids::PG_CATALOG_NAMESPACE).unwrap();
    classes.sort_by_key(|row| row.oid);
    assert_eq!(classes, bootstrap_rows_of::<PgClassRow>().unwrap());
}

#[test]
fn a_new_cluster_reads_back() {
    over_methods(|aio| {
        let cluster = Cluster::create(aio);
        check(&cluster);
        // Again: the first scans left hints.
        check(&cluster);
        check(&cluster.restart());
    });
}

#[test]
fn a_cluster_is_made_once() {
    over_methods(|aio| {
        let cluster = Cluster::create(aio);
        let mut io = cluster.io();
        let error = bootstrap(&cluster.pool, &cluster.transactions, DATABASE, &mut io).unwrap_err();
        assert_eq!(error.sqlstate(), "58P02", "{error}");
        check(&cluster);
    });
}

#[test]
fn files_are_where_the_maps_say() {
    over_methods(|aio| {
        let cluster = Cluster::create(aio).restart();
        let path = cluster.directory.path();
        let mapped = [(true, "global"), (false, "base/5")].map(|(shared, directory)| {
            relation_map(shared).iter().for_each(|(_, number)| {
                let file = path.join(directory).join(number.to_string());
                assert!(file.exists(), "{}", file.display());
            });
            relation_map(shared).len()
        });
        for row in bootstrap_rows_of::<PgClassRow>().unwrap() {
            if row.relfilenode.is_valid() {
                assert!(path.join(format!("base/5/{}", row.relfilenode)).exists());
            }
        }
        assert!(mapped[0] > 5 && mapped[1] == 4);
        assert_eq!(
            system_table(PgClassRow::TABLE).unwrap().name,
            PgClassRow::TABLE_NAME
        );
    });
}
