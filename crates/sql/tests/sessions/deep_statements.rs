//! Statements whose syntax trees are deep: run, or refused, and the session goes on.

use std::time::{Duration, Instant};

use crate::cluster::{Client, Cluster};

/// A statement of so many terms, or what it answers.
type Chain = fn(usize) -> String;

/// A name, the statement, its answer.
type NamedChain = (&'static str, Chain, Chain);

/// Chains that make left-deep trees.
const CHAINS: &[NamedChain] = &[
    (
        "+",
        |terms| format!("SELECT {}", vec!["1"; terms].join("+")),
        |terms| terms.to_string(),
    ),
    (
        "||",
        |terms| format!("SELECT length({})", vec!["'a'"; terms].join("||")),
        |terms| terms.to_string(),
    ),
    (
        "+ of columns",
        |terms| format!("SELECT {} FROM one", vec!["a"; terms].join("+")),
        |terms| terms.to_string(),
    ),
    (
        "OR",
        |terms| {
            let tests: Vec<String> = (1..=terms).map(|term| format!("a = {term}")).collect();
            format!("SELECT count(*) FROM one WHERE {}", tests.join(" OR "))
        },
        |_| "1".to_owned(),
    ),
    (
        "AND",
        |terms| format!("SELECT {}", vec!["1=1"; terms].join(" AND ")),
        |_| "t".to_owned(),
    ),
    (
        "UNION ALL",
        |terms| {
            let queries = vec!["SELECT 1 AS x"; terms].join(" UNION ALL ");
            format!("SELECT count(*) FROM ({queries}) AS q")
        },
        |terms| terms.to_string(),
    ),
    (
        "::",
        |terms| format!("SELECT '1'{}", "::int".repeat(terms)),
        |_| "1".to_owned(),
    ),
    (
        "NOT",
        |terms| format!("SELECT {} true", "NOT ".repeat(terms)),
        |terms| if terms.is_multiple_of(2) { "t" } else { "f" }.to_owned(),
    ),
    (
        "()",
        |terms| format!("SELECT {}1{}", "(".repeat(terms), ")".repeat(terms)),
        |_| "1".to_owned(),
    ),
    (
        "f()",
        |terms| format!("SELECT {}1{}", "abs(".repeat(terms), ")".repeat(terms)),
        |_| "1".to_owned(),
    ),
    (
        "subqueries",
        |terms| format!("SELECT {}1{}", "(SELECT ".repeat(terms), ")".repeat(terms)),
        |_| "1".to_owned(),
    ),
];

async fn is_too_deep(client: &mut Client, sql: &str) {
    let error = client.fails(sql).await;
    assert_eq!(error.sqlstate, "54001");
    assert_eq!(error.message, "stack depth limit exceeded");
    assert_eq!(
        error.hint.as_deref(),
        Some(
            "Increase the configuration parameter \"max_stack_depth\" (currently 2048kB), after \
             ensuring the platform's stack depth limit is adequate."
        )
    );
    assert_eq!(client.one("SELECT 1").await, "1");
}

/// How many terms each chain has in the test of what runs.
fn terms_that_run(name: &str) -> usize {
    match name {
        "UNION ALL" => 200,
        "NOT" | "()" | "f()" => 150,
        "subqueries" => 8,
        _ => 1000,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn long_chains_run() {
    let cluster = Cluster::new();
    let mut client = cluster.client();
    client
        .query("CREATE TABLE one (a int); INSERT INTO one VALUES (1)")
        .await;
    for (name, chain, answer) in CHAINS {
        let terms = terms_that_run(name);
        assert_eq!(client.one(&chain(terms)).await, answer(terms), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn longer_chains_are_refused() {
    let cluster = Cluster::new();
    let mut client = cluster.client();
    client.query("CREATE TABLE one (a int)").await;
    for (_, chain, _) in CHAINS {
        is_too_deep(&mut client, &chain(100_000)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nesting_and_joins_take_no_time() {
    let cluster = Cluster::new();
    let mut client = cluster.client();
    let began = Instant::now();
    let calls = format!("SELECT {}1{}", "abs(".repeat(100), ")".repeat(100));
    assert_eq!(client.one(&calls).await, "1");
    let coalesced = format!("SELECT {}1{}", "coalesce(1, ".repeat(60), ")".repeat(60));
    assert_eq!(client.one(&coalesced).await, "1");
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
}
