//! pg_prewarm: its modes, its ranges, its errors (texts and SQLSTATEs from PostgreSQL 18).

use trunkline_engine::{EngineError, PrewarmMode, PrewarmRequest, Session, prewarm};
use trunkline_pgformat::ForkNumber;
use trunkline_txn::LockMode;

use crate::rig::{Rig, blocks, count, create, load, opened, statement};

fn warm(
    session: &mut Session,
    table: &str,
    fork: ForkNumber,
    mode: &str,
    first: Option<i64>,
    last: Option<i64>,
) -> Result<i64, EngineError> {
    statement(session, |session| {
        let request = PrewarmRequest {
            relation: opened(session, table, LockMode::AccessShare)?,
            fork,
            mode: PrewarmMode::parse(mode)?,
            first,
            last,
        };
        prewarm(session, &request)
    })
}

fn refused(result: Result<i64, EngineError>) -> String {
    let error = result.unwrap_err();
    assert_eq!(error.sqlstate(), "22023");
    error.to_string()
}

#[test]
fn ranges_and_names_are_checked_as_postgresql_does() {
    let rig = Rig::new();
    let mut session = rig.session();
    create(&mut session, "empty").unwrap();
    create(&mut session, "t").unwrap();
    load(&mut session, "t", 900, false).unwrap();
    assert_eq!(blocks(&mut session, "t"), 7);
    let main = ForkNumber::Main;
    for mode in ["buffer", "read", "prefetch"] {
        let mut warm = |table, first, last| warm(&mut session, table, main, mode, first, last);
        assert_eq!(warm("t", None, None).unwrap(), 7);
        assert_eq!(warm("t", Some(4), Some(4)).unwrap(), 1);
        assert_eq!(warm("t", Some(1), None).unwrap(), 6);
        assert_eq!(warm("t", None, Some(2)).unwrap(), 3);
        assert_eq!(warm("t", Some(3), Some(1)).unwrap(), 0);
        assert_eq!(warm("empty", None, None).unwrap(), 0);
        assert_eq!(
            refused(warm("t", Some(-1), None)),
            "starting block number must be between 0 and 6"
        );
        assert_eq!(
            refused(warm("t", Some(7), None)),
            "starting block number must be between 0 and 6"
        );
        assert_eq!(
            refused(warm("t", Some(1), Some(99))),
            "ending block number must be between 0 and 6"
        );
        assert_eq!(
            refused(warm("t", Some(1), Some(1 << 40))),
            "ending block number must be between 0 and 6"
        );
        assert_eq!(
            refused(warm("empty", Some(0), None)),
            "starting block number must be between 0 and -1"
        );
    }
    let error = PrewarmMode::parse("nope").unwrap_err();
    assert_eq!(
        (error.sqlstate, error.message.as_str()),
        ("22023", "invalid prewarm type")
    );
    assert_eq!(
        error.hint.unwrap(),
        "Valid prewarm types are \"prefetch\", \"read\", and \"buffer\"."
    );
    let init = warm(&mut session, "t", ForkNumber::Init, "buffer", None, None);
    assert_eq!(
        refused(init),
        "fork \"init\" does not exist for this relation"
    );
    count(&mut session, "t").unwrap();
    let map = warm(&mut session, "t", ForkNumber::Vm, "buffer", None, None);
    assert_eq!(map.unwrap(), 1);
}

/// What each mode leaves where, over every method.
#[test]
fn a_mode_warms_what_it_says() {
    for method in ["sync", "worker", "io_uring", "posix_aio"] {
        let rig = Rig::over(method);
        let database = rig.database();
        let mut session = rig.session();
        create(&mut session, "t").unwrap();
        load(&mut session, "t", 50_000, false).unwrap();
        let blocks = u64::from(blocks(&mut session, "t"));
        assert!(
            blocks > 256,
            "more than one read, and not more than the pool holds"
        );
        assert!(blocks < 400);
        let direct = database.smgr().is_direct();
        for mode in ["read", "prefetch", "buffer"] {
            let mut io = session.issuer().unwrap();
            let relation = statement(&mut session, |session| {
                opened(session, "t", LockMode::AccessShare)
            })
            .unwrap();
            let evicted = database
                .pool()
                .evict_relation(&mut io, relation.locator)
                .unwrap();
            assert_eq!(evicted.skipped, 0, "{method} {mode}");
            let done = warm(&mut session, "t", ForkNumber::Main, mode, None, None).unwrap();
            assert_eq!(done as u64, blocks);
            let in_pool = database
                .pool()
                .evict_relation(&mut io, relation.locator)
                .unwrap();
            let expected = match mode {
                "buffer" => blocks,
                "prefetch" if direct => blocks,
                _ => 0,
            };
            assert_eq!(in_pool.evicted, expected, "{method} {mode}");
        }
        // A cancel stops it.
        let entry = std::sync::Arc::clone(session.entry());
        for mode in ["read", "prefetch", "buffer"] {
            let error = statement(&mut session, |session| {
                let request = PrewarmRequest {
                    relation: opened(session, "t", LockMode::AccessShare)?,
                    fork: ForkNumber::Main,
                    mode: PrewarmMode::parse(mode)?,
                    first: None,
                    last: None,
                };
                assert!(
                    database
                        .sessions()
                        .cancel(entry.backend_pid, entry.secret_key)
                );
                prewarm(session, &request)
            })
            .unwrap_err();
            assert_eq!(error.sqlstate(), "57014", "{method} {mode}");
        }
        drop(session);
        database.stop().unwrap();
    }
}
