//! TPC-H's data, and PostgreSQL's answers about it.

use std::fmt::{Display, Write as _};

use tpchgen::csv::{CustomerCsv, LineItemCsv, NationCsv, OrderCsv, RegionCsv};
use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, RegionGenerator,
};

use crate::postgres::Cluster;
use crate::trunkline::Trunkline;

const SCALE_FACTOR: f64 = 0.005;

pub const LINEITEM: &str = "CREATE TABLE lineitem (
    l_orderkey bigint NOT NULL, l_partkey bigint NOT NULL, l_suppkey bigint NOT NULL,
    l_linenumber int NOT NULL, l_quantity numeric(15,2) NOT NULL,
    l_extendedprice numeric(15,2) NOT NULL, l_discount numeric(15,2) NOT NULL,
    l_tax numeric(15,2) NOT NULL, l_returnflag char(1) NOT NULL, l_linestatus char(1) NOT NULL,
    l_shipdate date NOT NULL, l_commitdate date NOT NULL, l_receiptdate date NOT NULL,
    l_shipinstruct char(25) NOT NULL, l_shipmode char(10) NOT NULL,
    l_comment varchar(44) NOT NULL)";

const OTHER_TABLES: [&str; 4] = [
    "CREATE TABLE orders (
        o_orderkey bigint NOT NULL, o_custkey bigint NOT NULL, o_orderstatus char(1) NOT NULL,
        o_totalprice numeric(15,2) NOT NULL, o_orderdate date NOT NULL,
        o_orderpriority char(15) NOT NULL, o_clerk char(15) NOT NULL,
        o_shippriority int NOT NULL, o_comment varchar(79) NOT NULL)",
    "CREATE TABLE customer (
        c_custkey bigint NOT NULL, c_name varchar(25) NOT NULL, c_address varchar(40) NOT NULL,
        c_nationkey int NOT NULL, c_phone char(15) NOT NULL, c_acctbal numeric(15,2) NOT NULL,
        c_mktsegment char(10) NOT NULL, c_comment varchar(117) NOT NULL)",
    "CREATE TABLE nation (
        n_nationkey int NOT NULL, n_name char(25) NOT NULL, n_regionkey int NOT NULL,
        n_comment varchar(152))",
    "CREATE TABLE region (
        r_regionkey int NOT NULL, r_name char(25) NOT NULL, r_comment varchar(152))",
];

/// The query, queries of TPC-H without correlated subqueries, and smaller ones.
const QUERIES: [&str; 18] = [
    "SELECT l_returnflag, l_linestatus, sum(l_quantity), avg(l_extendedprice), count(*)
       FROM lineitem WHERE l_shipdate <= date '1998-09-02' GROUP BY 1, 2 ORDER BY 1, 2",
    // Q1
    "SELECT l_returnflag, l_linestatus, sum(l_quantity) AS sum_qty,
            sum(l_extendedprice) AS sum_base_price,
            sum(l_extendedprice * (1 - l_discount)) AS sum_disc_price,
            sum(l_extendedprice * (1 - l_discount) * (1 + l_tax)) AS sum_charge,
            avg(l_quantity) AS avg_qty, avg(l_extendedprice) AS avg_price,
            avg(l_discount) AS avg_disc, count(*) AS count_order
       FROM lineitem WHERE l_shipdate <= date '1998-09-02'
      GROUP BY l_returnflag, l_linestatus ORDER BY l_returnflag, l_linestatus",
    // Q3
    "SELECT l_orderkey, sum(l_extendedprice * (1 - l_discount)) AS revenue, o_orderdate,
            o_shippriority
       FROM customer, orders, lineitem
      WHERE c_mktsegment = 'BUILDING' AND c_custkey = o_custkey AND l_orderkey = o_orderkey
        AND o_orderdate < date '1995-03-15' AND l_shipdate > date '1995-03-15'
      GROUP BY l_orderkey, o_orderdate, o_shippriority
      ORDER BY revenue DESC, o_orderdate, l_orderkey LIMIT 10",
    // Q5, without suppliers
    "SELECT n_name, sum(l_extendedprice * (1 - l_discount)) AS revenue
       FROM customer JOIN orders ON c_custkey = o_custkey
       JOIN lineitem ON l_orderkey = o_orderkey JOIN nation ON c_nationkey = n_nationkey
       JOIN region ON n_regionkey = r_regionkey
      WHERE r_name = 'ASIA' AND o_orderdate >= date '1994-01-01'
        AND o_orderdate < date '1995-01-01'
      GROUP BY n_name ORDER BY revenue DESC",
    // Q6
    "SELECT sum(l_extendedprice * l_discount) AS revenue FROM lineitem
      WHERE l_shipdate >= date '1994-01-01' AND l_shipdate < date '1995-01-01'
        AND l_discount BETWEEN 0.06 - 0.01 AND 0.06 + 0.01 AND l_quantity < 24",
    // Q10
    "SELECT c_custkey, c_name, sum(l_extendedprice * (1 - l_discount)) AS revenue, c_acctbal,
            n_name, c_address, c_phone, c_comment
       FROM customer, orders, lineitem, nation
      WHERE c_custkey = o_custkey AND l_orderkey = o_orderkey
        AND o_orderdate >= date '1993-10-01' AND o_orderdate < date '1994-01-01'
        AND l_returnflag = 'R' AND c_nationkey = n_nationkey
      GROUP BY c_custkey, c_name, c_acctbal, c_phone, n_name, c_address, c_comment
      ORDER BY revenue DESC, c_custkey LIMIT 20",
    // Q12
    "SELECT l_shipmode,
            sum(CASE WHEN o_orderpriority = '1-URGENT' OR o_orderpriority = '2-HIGH'
                     THEN 1 ELSE 0 END) AS high_line_count,
            sum(CASE WHEN o_orderpriority <> '1-URGENT' AND o_orderpriority <> '2-HIGH'
                     THEN 1 ELSE 0 END) AS low_line_count
       FROM orders, lineitem
      WHERE o_orderkey = l_orderkey AND l_shipmode IN ('MAIL', 'SHIP')
        AND l_commitdate < l_receiptdate AND l_shipdate < l_commitdate
        AND l_receiptdate >= date '1994-01-01' AND l_receiptdate < date '1995-01-01'
      GROUP BY l_shipmode ORDER BY l_shipmode",
    // Q13
    "SELECT c_count, count(*) AS custdist
       FROM (SELECT c_custkey, count(o_orderkey) AS c_count
               FROM customer LEFT OUTER JOIN orders
                 ON c_custkey = o_custkey AND o_comment NOT LIKE '%special%requests%'
              GROUP BY c_custkey) AS c_orders
      GROUP BY c_count ORDER BY custdist DESC, c_count DESC",
    "SELECT count(*) FROM lineitem",
    "SELECT count(*), count(DISTINCT l_orderkey), min(l_shipdate), max(l_comment) FROM lineitem",
    "SELECT avg(l_linenumber), sum(l_linenumber), sum(l_orderkey), avg(l_orderkey) FROM lineitem",
    "SELECT sum(l_extendedprice) / sum(l_quantity), avg(l_tax) * 100, 7 / 2, 1 / 3.0
       FROM lineitem",
    "SELECT l_shipmode, count(*) FROM lineitem GROUP BY l_shipmode HAVING count(*) > 4000
      ORDER BY 2 DESC, 1",
    "SELECT l_orderkey, l_linenumber, l_shipinstruct, l_comment FROM lineitem
      WHERE l_orderkey BETWEEN 100 AND 200 ORDER BY 1, 2",
    "SELECT DISTINCT l_shipinstruct, length(l_shipinstruct) FROM lineitem ORDER BY 1",
    "SELECT o_orderkey, o_totalprice FROM orders ORDER BY o_totalprice DESC, 1 LIMIT 7 OFFSET 3",
    "SELECT upper(n_name) || ':' || r_name, n_comment FROM nation, region
      WHERE n_regionkey = r_regionkey ORDER BY 1",
    "SELECT c_mktsegment, max(c_acctbal), min(c_acctbal), round(avg(c_acctbal), 3) FROM customer
      WHERE c_acctbal IS NOT NULL AND c_comment LIKE '%furious%' GROUP BY 1 ORDER BY 1",
];

fn csv(header: &str, lines: impl Iterator<Item = impl Display>) -> Vec<u8> {
    let mut data = format!("{header}\n");
    for line in lines {
        writeln!(data, "{line}").unwrap();
    }
    data.into_bytes()
}

/// lineitem as CSV with a header.
pub fn lineitem_csv(scale_factor: f64) -> Vec<u8> {
    csv(
        LineItemCsv::header(),
        LineItemGenerator::new(scale_factor, 1, 1)
            .iter()
            .map(LineItemCsv::new),
    )
}

#[test]
fn answers_about_tpch_are_postgresqls() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let trunkline = Trunkline::start(&directory.path().join("data"));
    let (mut ours, mut theirs) = (trunkline.client(), cluster.client());
    let scale_factor = SCALE_FACTOR;
    let data = [
        ("lineitem", lineitem_csv(scale_factor)),
        (
            "orders",
            csv(
                OrderCsv::header(),
                OrderGenerator::new(scale_factor, 1, 1)
                    .iter()
                    .map(OrderCsv::new),
            ),
        ),
        (
            "customer",
            csv(
                CustomerCsv::header(),
                CustomerGenerator::new(scale_factor, 1, 1)
                    .iter()
                    .map(CustomerCsv::new),
            ),
        ),
        (
            "nation",
            csv(
                NationCsv::header(),
                NationGenerator::new(scale_factor, 1, 1)
                    .iter()
                    .map(NationCsv::new),
            ),
        ),
        (
            "region",
            csv(
                RegionCsv::header(),
                RegionGenerator::new(scale_factor, 1, 1)
                    .iter()
                    .map(RegionCsv::new),
            ),
        ),
    ];
    for client in [&mut ours, &mut theirs] {
        client.run(LINEITEM);
        for table in OTHER_TABLES {
            client.run(table);
        }
    }
    for (table, csv) in &data {
        let sql = format!("COPY {table} FROM STDIN (FORMAT csv, HEADER)");
        assert_eq!(
            ours.copy_in(&sql, csv),
            theirs.copy_in(&sql, csv),
            "{table}"
        );
    }
    let mut wrong = Vec::new();
    for query in QUERIES {
        let expected = theirs.rows(query);
        assert!(!expected.is_empty(), "{query} gives nothing");
        match ours.try_rows(query) {
            Ok(rows) if rows == expected => {}
            answer => wrong.push(format!("{query}\nours   {answer:?}\ntheirs {expected:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    drop(ours);
    trunkline.stop();
}
