//! Functions over storage: what they do blocks, so each call has an engine thread.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::oneshot;
use trunkline_aio::IoContext;
use trunkline_buffer::RelFork;
use trunkline_catalog::RelationDesc;
use trunkline_engine::{
    EngineError, PrewarmMode, PrewarmRequest, Session, StatementError, prewarm, relation_tag,
};
use trunkline_pgformat::{BLCKSZ, ForkNumber, Lsn, Oid};
use trunkline_txn::{CancelReason, LockMode};
use trunkline_types::oids;

use super::log_functions;
use crate::database::SqlDatabase;
use crate::error::query_error;
use crate::query::{ExternalFunction, ExternalFunctions, ExternalResult, QueryError};
use crate::relations::{ScanGroup, SessionRef, lock_session};

/// Arguments and results: payloads, `None` for NULL.
pub(super) type Value = Option<Vec<u8>>;

/// The functions, for one statement.
pub(super) struct StorageFunctions {
    shared: Arc<SqlDatabase>,
    session: SessionRef,
    scans: ScanGroup,
    functions: Vec<ExternalFunction>,
}

impl StorageFunctions {
    pub fn new(
        shared: &Arc<SqlDatabase>,
        session: SessionRef,
        scans: &ScanGroup,
    ) -> StorageFunctions {
        let functions = all()
            .map(|function| ExternalFunction {
                name: function.name.to_owned(),
                args: function.args.to_vec(),
                required: function.required,
                returns: function.returns.external(),
                strict: function.strict,
            })
            .collect();
        StorageFunctions {
            shared: Arc::clone(shared),
            session,
            scans: scans.clone(),
            functions,
        }
    }
}

#[async_trait]
impl ExternalFunctions for StorageFunctions {
    fn functions(&self) -> &[ExternalFunction] {
        &self.functions
    }

    async fn call(
        &self,
        called: &ExternalFunction,
        args: Vec<Value>,
    ) -> Result<Vec<Value>, QueryError> {
        let name = called.name.as_str();
        let function = all()
            .find(|function| function.name == name && function.args == called.args.as_slice())
            .ok_or_else(|| QueryError::internal(format!("there is no function {name}")))?;
        if name == "pg_sleep" {
            return sleep(&Args(args)).await;
        }
        let running = self
            .scans
            .enter(relation_argument(&args))
            .ok_or_else(|| QueryError::new("55000", "the transaction of this query has ended"))?;
        let session = self.session.get()?;
        let shared = Arc::clone(&self.shared);
        let (sender, receiver) = oneshot::channel();
        self.shared
            .database()
            .threads()
            .spawn(move || {
                let result = {
                    let mut session = lock_session(&session);
                    session.issuer().and_then(|mut io| {
                        let mut call = Call {
                            session: &mut session,
                            shared: &shared,
                            io: &mut io,
                        };
                        (function.run)(&mut call, &Args(args))
                    })
                };
                // The query may have been stopped meanwhile.
                let _ = sender.send(result.map_err(query_error));
                drop(running);
            })
            .map_err(|error| query_error(error.into()))?;
        receiver
            .await
            .unwrap_or_else(|_| Err(QueryError::internal("a function call ended early")))
    }
}

/// The relation that a call is about, if its first argument is one.
fn relation_argument(args: &[Value]) -> Oid {
    match args.first() {
        Some(Some(payload)) => payload
            .as_slice()
            .try_into()
            .map_or(Oid::INVALID, |word| Oid(u32::from_le_bytes(word))),
        _ => Oid::INVALID,
    }
}

/// What a function works with.
pub(super) struct Call<'a> {
    pub session: &'a mut Session,
    shared: &'a SqlDatabase,
    pub io: &'a mut IoContext,
}

pub(super) struct Args(Vec<Value>);

impl Args {
    fn get(&self, index: usize) -> Option<&[u8]> {
        self.0.get(index).and_then(Option::as_deref)
    }

    fn is_given(&self, index: usize) -> bool {
        index < self.0.len()
    }

    fn oid(&self, index: usize) -> Option<Oid> {
        Some(Oid(u32::from_le_bytes(self.get(index)?.try_into().ok()?)))
    }

    fn int4(&self, index: usize) -> Option<i32> {
        Some(i32::from_le_bytes(self.get(index)?.try_into().ok()?))
    }

    fn int8(&self, index: usize) -> Option<i64> {
        Some(i64::from_le_bytes(self.get(index)?.try_into().ok()?))
    }

    pub fn lsn(&self, index: usize) -> Option<Lsn> {
        Some(Lsn(u64::from_le_bytes(self.get(index)?.try_into().ok()?)))
    }

    fn text(&self, index: usize) -> Option<&str> {
        std::str::from_utf8(self.get(index)?).ok()
    }
}

pub(super) struct Function {
    pub name: &'static str,
    pub args: &'static [Oid],
    pub required: usize,
    pub returns: Returns,
    pub strict: bool,
    pub run: fn(&mut Call<'_>, &Args) -> Result<Vec<Value>, EngineError>,
}

/// What a function gives.
#[derive(Clone, Copy)]
pub(super) enum Returns {
    Value(Oid),
    Record(&'static [(&'static str, Oid)]),
}

impl Returns {
    fn external(self) -> ExternalResult {
        match self {
            Returns::Value(oid) => ExternalResult::Value(oid),
            Returns::Record(columns) => ExternalResult::Record(
                columns
                    .iter()
                    .map(|(name, oid)| ((*name).to_owned(), *oid))
                    .collect(),
            ),
        }
    }
}

fn all() -> impl Iterator<Item = &'static Function> {
    FUNCTIONS.iter().chain(log_functions::FUNCTIONS)
}

const FUNCTIONS: &[Function] = &[
    Function {
        name: "pg_prewarm",
        args: &[
            oids::REGCLASS,
            oids::TEXT,
            oids::TEXT,
            oids::INT8,
            oids::INT8,
        ],
        required: 1,
        returns: Returns::Value(oids::INT8),
        strict: false,
        run: pg_prewarm,
    },
    Function {
        name: "pg_relation_size",
        args: &[oids::REGCLASS, oids::TEXT],
        required: 1,
        returns: Returns::Value(oids::INT8),
        strict: true,
        run: pg_relation_size,
    },
    Function {
        name: "pg_table_size",
        args: &[oids::REGCLASS],
        required: 1,
        returns: Returns::Value(oids::INT8),
        strict: true,
        run: pg_table_size,
    },
    Function {
        name: "pg_total_relation_size",
        args: &[oids::REGCLASS],
        required: 1,
        returns: Returns::Value(oids::INT8),
        strict: true,
        // There are no indexes and no TOAST tables yet.
        run: pg_table_size,
    },
    Function {
        name: "pg_database_size",
        args: &[oids::OID],
        required: 1,
        returns: Returns::Value(oids::INT8),
        strict: true,
        run: pg_database_size,
    },
    Function {
        name: "pg_database_size",
        args: &[oids::NAME],
        required: 1,
        returns: Returns::Value(oids::INT8),
        strict: true,
        run: pg_database_size_by_name,
    },
    Function {
        name: "pg_tablespace_size",
        args: &[oids::OID],
        required: 1,
        returns: Returns::Value(oids::INT8),
        strict: true,
        run: pg_tablespace_size,
    },
    Function {
        name: "set_config",
        args: &[oids::TEXT, oids::TEXT, oids::BOOL],
        required: 3,
        returns: Returns::Value(oids::TEXT),
        strict: false,
        run: set_config,
    },
    Function {
        name: "pg_reload_conf",
        args: &[],
        required: 0,
        returns: Returns::Value(oids::BOOL),
        strict: true,
        run: pg_reload_conf,
    },
    Function {
        name: "pg_sleep",
        args: &[oids::FLOAT8],
        required: 1,
        returns: Returns::Value(oids::VOID),
        strict: true,
        // Waiting takes no thread: see `sleep`.
        run: |_, _| Ok(one(Some(Vec::new()))),
    },
    Function {
        name: "pg_relation_filepath",
        args: &[oids::REGCLASS],
        required: 1,
        returns: Returns::Value(oids::TEXT),
        strict: true,
        run: pg_relation_filepath,
    },
    Function {
        name: "pg_relation_filenode",
        args: &[oids::REGCLASS],
        required: 1,
        returns: Returns::Value(oids::OID),
        strict: true,
        run: pg_relation_filenode,
    },
    Function {
        name: "pg_buffercache_evict_relation",
        args: &[oids::REGCLASS],
        required: 1,
        // As pg_buffercache 1.6 has it.
        returns: Returns::Record(&[
            ("buffers_evicted", oids::INT4),
            ("buffers_flushed", oids::INT4),
            ("buffers_skipped", oids::INT4),
        ]),
        strict: true,
        run: pg_buffercache_evict_relation,
    },
    Function {
        name: "pg_cancel_backend",
        args: &[oids::INT4],
        required: 1,
        returns: Returns::Value(oids::BOOL),
        strict: true,
        run: pg_cancel_backend,
    },
    Function {
        name: "pg_terminate_backend",
        args: &[oids::INT4],
        required: 1,
        returns: Returns::Value(oids::BOOL),
        strict: true,
        run: pg_terminate_backend,
    },
    Function {
        name: "pg_current_xact_id_if_assigned",
        args: &[],
        required: 0,
        returns: Returns::Value(oids::XID8),
        strict: true,
        run: pg_current_xact_id_if_assigned,
    },
];

fn bad_parameter(message: impl Into<String>) -> EngineError {
    StatementError::new("22023", message).into()
}

fn fork_by_name(name: &str) -> Result<ForkNumber, EngineError> {
    ForkNumber::from_name(name).ok_or_else(|| {
        StatementError::new("22023", "invalid fork name")
            .with_hint("Valid fork names are \"main\", \"fsm\", \"vm\", and \"init\".")
            .into()
    })
}

fn int8(value: u64) -> Value {
    Some(
        i64::try_from(value)
            .unwrap_or(i64::MAX)
            .to_le_bytes()
            .to_vec(),
    )
}

/// The result of a function that gives one value.
fn one(value: Value) -> Vec<Value> {
    vec![value]
}

impl Call<'_> {
    /// The relation `oid`, locked for reading; `None` if there is none.
    fn relation(&mut self, oid: Oid) -> Result<Option<Arc<RelationDesc>>, EngineError> {
        let Some(relation) = self.session.relation(oid, self.io)? else {
            return Ok(None);
        };
        self.session
            .lock(relation_tag(&relation), LockMode::AccessShare)?;
        self.session.relation(oid, self.io)
    }

    fn fork_bytes(&self, relation: &RelationDesc, fork: ForkNumber) -> Result<u64, EngineError> {
        let database = self.session.database();
        if !database.smgr().exists(relation.locator, fork)? {
            return Ok(0);
        }
        let blocks = database.pool().nblocks(RelFork {
            rel: relation.locator,
            fork,
        })?;
        Ok(u64::from(blocks) * BLCKSZ as u64)
    }
}

fn pg_prewarm(call: &mut Call<'_>, args: &Args) -> Result<Vec<Value>, EngineError> {
    let oid = args
        .oid(0)
        .ok_or_else(|| bad_parameter("relation cannot be null"))?;
    let mode = match args.text(1) {
        Some(mode) => PrewarmMode::parse(mode)?,
        None if args.is_given(1) => return Err(bad_parameter("prewarm type cannot be null")),
        None => PrewarmMode::Buffer,
    };
    let fork = match args.text(2) {
        Some(fork) => fork_by_name(fork)?,
        None if args.is_given(2) => return Err(bad_parameter("relation fork cannot be null")),
        None => ForkNumber::Main,
    };
    let relation = call.relation(oid)?.ok_or_else(|| {
        StatementError::new("42P01", format!("could not open relation with OID {oid}"))
    })?;
    let request = PrewarmRequest {
        relation,
        fork,
        mode,
        first: args.int8(3),
        last: args.int8(4),
    };
    Ok(one(Some(
        prewarm(call.session, &request)?.to_le_bytes().to_vec(),
    )))
}

fn pg_relation_size(call: &mut Call<'_>, args: &Args) -> Result<Vec<Value>, EngineError> {
    let fork = args.text(1).map_or(Ok(ForkNumber::Main), fork_by_name)?;
    // A relation that is gone has no size, which is no error: it may have gone just now.
    let Some(relation) = args.oid(0).map_or(Ok(None), |oid| call.relation(oid))? else {
        return Ok(one(None));
    };
    Ok(one(int8(call.fork_bytes(&relation, fork)?)))
}

fn pg_table_size(call: &mut Call<'_>, args: &Args) -> Result<Vec<Value>, EngineError> {
    let Some(relation) = args.oid(0).map_or(Ok(None), |oid| call.relation(oid))? else {
        return Ok(one(None));
    };
    let mut bytes = 0;
    for fork in [ForkNumber::Main, ForkNumber::Fsm, ForkNumber::Vm] {
        bytes += call.fork_bytes(&relation, fork)?;
    }
    Ok(one(int8(bytes)))
}

fn pg_database_size(call: &mut Call<'_>, args: &Args) -> Result<Vec<Value>, EngineError> {
    let database = call.session.database();
    let bytes = args.oid(0).and_then(|oid| database.database_bytes(oid));
    Ok(one(bytes.and_then(int8)))
}

fn pg_database_size_by_name(call: &mut Call<'_>, args: &Args) -> Result<Vec<Value>, EngineError> {
    let name = args.text(0).unwrap_or_default().trim_end_matches('\0');
    let snapshot = call.session.snapshot()?;
    let own_changes = call.session.has_own_catalog_changes();
    let database = call.session.database();
    let mut view = database.catalog().view(&snapshot, own_changes, call.io);
    let Some(row) = view.database(name)? else {
        let message = format!("database \"{name}\" does not exist");
        return Err(StatementError::new("3D000", message).into());
    };
    Ok(one(database.database_bytes(row.oid).and_then(int8)))
}

fn pg_tablespace_size(call: &mut Call<'_>, args: &Args) -> Result<Vec<Value>, EngineError> {
    let database = call.session.database();
    let bytes = args.oid(0).and_then(|oid| database.tablespace_bytes(oid));
    Ok(one(bytes.and_then(int8)))
}

/// `set_config_by_name`: a NULL value is the default's.
fn set_config(call: &mut Call<'_>, args: &Args) -> Result<Vec<Value>, EngineError> {
    let Some(name) = args.text(0) else {
        return Err(StatementError::new("22004", "SET requires parameter name").into());
    };
    let local = args.get(2).is_some_and(|value| value == [1]);
    let settings = call.session.settings_mut();
    let value = match args.text(1) {
        Some(value) => value.to_owned(),
        None => settings.reset_value(name)?,
    };
    settings.set(name, &value, local, true)?;
    Ok(one(Some(settings.show(name)?.1.into_bytes())))
}

/// What it finds is in the log and in `pg_settings.pending_restart`, as after a signal.
fn pg_reload_conf(call: &mut Call<'_>, _: &Args) -> Result<Vec<Value>, EngineError> {
    call.session.database().reload_configuration();
    Ok(one(Some(vec![1])))
}

/// `pg_sleep`: the executor waits for a timer, and stops waiting when the query is cancelled.
async fn sleep(args: &Args) -> Result<Vec<Value>, QueryError> {
    let seconds = args.get(0).and_then(|bytes| bytes.try_into().ok());
    let seconds = seconds.map_or(0.0, f64::from_le_bytes);
    if seconds > 0.0 {
        // A century stands for ever.
        let duration = Duration::try_from_secs_f64(seconds.min(3.2e9)).unwrap_or(Duration::MAX);
        tokio::time::sleep(duration).await;
    }
    Ok(one(Some(Vec::new())))
}

fn pg_relation_filepath(call: &mut Call<'_>, args: &Args) -> Result<Vec<Value>, EngineError> {
    let relation = args
        .oid(0)
        .map_or(Ok(None), |oid| call.session.relation(oid, call.io))?;
    Ok(one(relation.map(|relation| {
        relation.locator.path(ForkNumber::Main).into_bytes()
    })))
}

fn pg_relation_filenode(call: &mut Call<'_>, args: &Args) -> Result<Vec<Value>, EngineError> {
    let relation = args
        .oid(0)
        .map_or(Ok(None), |oid| call.session.relation(oid, call.io))?;
    Ok(one(relation.map(|relation| {
        relation.locator.rel_number.to_le_bytes().to_vec()
    })))
}

fn pg_buffercache_evict_relation(
    call: &mut Call<'_>,
    args: &Args,
) -> Result<Vec<Value>, EngineError> {
    let Some(relation) = args.oid(0).map_or(Ok(None), |oid| call.relation(oid))? else {
        return Err(StatementError::new("42P01", "could not open relation").into());
    };
    let evicted = call
        .session
        .database()
        .pool()
        .evict_relation(call.io, relation.locator)?;
    let counts = [evicted.evicted, evicted.flushed, evicted.skipped];
    Ok(counts
        .into_iter()
        .map(|count| {
            let count = i32::try_from(count).unwrap_or(i32::MAX);
            Some(count.to_le_bytes().to_vec())
        })
        .collect())
}

fn request(call: &Call<'_>, args: &Args, reason: CancelReason) -> Value {
    let pid = args.int4(0).unwrap_or_default();
    let sessions = call.shared.database().sessions().list();
    let found = sessions.iter().find(|entry| entry.backend_pid == pid);
    if let Some(entry) = found {
        // An idle session has nothing to cancel, which is no failure of the request.
        entry.cancel.request(reason);
    } else {
        tracing::warn!("PID {pid} is not a PostgreSQL backend process");
    }
    Some(vec![u8::from(found.is_some())])
}

fn pg_cancel_backend(call: &mut Call<'_>, args: &Args) -> Result<Vec<Value>, EngineError> {
    Ok(one(request(call, args, CancelReason::UserRequest)))
}

fn pg_terminate_backend(call: &mut Call<'_>, args: &Args) -> Result<Vec<Value>, EngineError> {
    Ok(one(request(call, args, CancelReason::Terminate)))
}

fn pg_current_xact_id_if_assigned(
    call: &mut Call<'_>,
    _: &Args,
) -> Result<Vec<Value>, EngineError> {
    let xid = call.session.transaction()?.full_xid();
    Ok(one(xid.map(|xid| xid.0.to_le_bytes().to_vec())))
}
