//! What sessions are doing: `pg_stat_activity` and `pg_stat_progress_copy`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use trunkline_catalog::oids::{BOOTSTRAP_SUPERUSER, POSTGRES_DATABASE};
use trunkline_engine::{EngineError, LoadProgress};
use trunkline_pgformat::Oid;
use trunkline_types::oids;

use super::{Sources, View};
use crate::relations::RowsBuilder;

/// Bytes of a query's text that are kept (`track_activity_query_size`).
const QUERY_BYTES_MAX: usize = 1024;

/// What a session does (`pg_stat_activity.state`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum ActivityState {
    /// Waits for its client.
    #[default]
    Idle,
    /// Runs a statement.
    Active,
    /// Waits for its client, in a transaction.
    IdleInTransaction,
    /// The same, and the transaction has failed.
    IdleInFailedTransaction,
}

impl ActivityState {
    const fn name(self) -> &'static str {
        match self {
            ActivityState::Idle => "idle",
            ActivityState::Active => "active",
            ActivityState::IdleInTransaction => "idle in transaction",
            ActivityState::IdleInFailedTransaction => "idle in transaction (aborted)",
        }
    }
}

#[derive(Clone, Default)]
struct Now {
    application_name: String,
    state: ActivityState,
    query: String,
    transaction_start_us: Option<i64>,
    query_start_us: Option<i64>,
    state_change_us: i64,
}

/// What one session does, for others to look at. Times are microseconds since 2000-01-01 UTC.
pub(crate) struct Activity {
    backend_pid: i32,
    user: String,
    database: String,
    start_us: i64,
    now: Mutex<Now>,
}

impl Activity {
    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A statement begins.
    pub fn begin(&self, query: &str, transaction_start_us: i64, time_us: i64) {
        let mut now = self.now();
        now.state = ActivityState::Active;
        now.query.clear();
        now.query
            .push_str(&query[..query.floor_char_boundary(QUERY_BYTES_MAX)]);
        now.transaction_start_us = Some(transaction_start_us);
        now.query_start_us = Some(time_us);
        now.state_change_us = time_us;
    }

    /// The session waits for its client.
    pub fn wait(&self, state: ActivityState, application_name: &str, time_us: i64) {
        let mut now = self.now();
        if now.application_name != application_name {
            application_name.clone_into(&mut now.application_name);
        }
        if state == ActivityState::Idle {
            now.transaction_start_us = None;
        }
        if now.state != state {
            now.state = state;
            now.state_change_us = time_us;
        }
    }
}

/// The activities of all sessions that exist, by backend pid.
#[derive(Default)]
pub(crate) struct Activities {
    sessions: Mutex<BTreeMap<i32, Weak<Activity>>>,
}

impl Activities {
    /// Adds a session, which is listed as long as its activity lives.
    pub fn add(&self, backend_pid: i32, user: &str, database: &str, time_us: i64) -> Arc<Activity> {
        let activity = Arc::new(Activity {
            backend_pid,
            user: user.to_owned(),
            database: database.to_owned(),
            start_us: time_us,
            now: Mutex::new(Now {
                state_change_us: time_us,
                ..Now::default()
            }),
        });
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.retain(|_, activity| activity.strong_count() > 0);
        sessions.insert(backend_pid, Arc::downgrade(&activity));
        activity
    }

    fn list(&self) -> Vec<Arc<Activity>> {
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.values().filter_map(Weak::upgrade).collect()
    }
}

pub(super) const PG_STAT_ACTIVITY: View = View {
    name: "pg_stat_activity",
    columns: &[
        ("datid", oids::OID),
        ("datname", oids::NAME),
        ("pid", oids::INT4),
        ("leader_pid", oids::INT4),
        ("usesysid", oids::OID),
        ("usename", oids::NAME),
        ("application_name", oids::TEXT),
        ("client_addr", oids::TEXT),
        ("client_hostname", oids::TEXT),
        ("client_port", oids::INT4),
        ("backend_start", oids::TIMESTAMPTZ),
        ("xact_start", oids::TIMESTAMPTZ),
        ("query_start", oids::TIMESTAMPTZ),
        ("state_change", oids::TIMESTAMPTZ),
        ("wait_event_type", oids::TEXT),
        ("wait_event", oids::TEXT),
        ("state", oids::TEXT),
        ("backend_xid", oids::XID),
        ("backend_xmin", oids::XID),
        ("query_id", oids::INT8),
        ("query", oids::TEXT),
        ("backend_type", oids::TEXT),
    ],
    rows: stat_activity,
};

fn stat_activity(sources: &mut Sources<'_>, rows: &mut RowsBuilder) -> Result<(), EngineError> {
    for activity in sources.shared.activities.list() {
        let now = activity.now().clone();
        rows.oid(POSTGRES_DATABASE)
            .text(&activity.database)
            .int4(activity.backend_pid)
            .null();
        rows.oid(BOOTSTRAP_SUPERUSER)
            .text(&activity.user)
            .text(&now.application_name);
        rows.null().null().null();
        rows.timestamptz(Some(activity.start_us))
            .timestamptz(now.transaction_start_us)
            .timestamptz(now.query_start_us)
            .timestamptz(Some(now.state_change_us));
        match now.state {
            ActivityState::Active => rows.null().null(),
            _ => rows.text("Client").text("ClientRead"),
        };
        rows.text(now.state.name()).null().null().null();
        rows.text(&now.query).text("client backend").end_row();
    }
    Ok(())
}

/// How far a COPY is.
pub(crate) struct CopyProgress {
    pub backend_pid: i32,
    /// The table; invalid for a query.
    pub relation: Oid,
    /// `COPY FROM` or `COPY TO`.
    pub command: &'static str,
    /// `FILE` or `PIPE`.
    pub place: &'static str,
    pub bytes_processed: AtomicU64,
    /// 0 if unknown.
    pub bytes_total: u64,
    /// Counts rows of a load.
    pub load: Option<Arc<LoadProgress>>,
    /// Counts rows otherwise.
    pub tuples_processed: AtomicU64,
}

impl CopyProgress {
    fn tuples(&self) -> u64 {
        match &self.load {
            Some(load) => load.tuples.load(Ordering::Relaxed),
            None => self.tuples_processed.load(Ordering::Relaxed),
        }
    }
}

/// The COPYs that run.
#[derive(Default)]
pub(crate) struct CopyProgresses {
    running: Mutex<Vec<Weak<CopyProgress>>>,
}

impl CopyProgresses {
    /// Adds a COPY, which is listed as long as its progress lives.
    pub fn add(&self, progress: CopyProgress) -> Arc<CopyProgress> {
        let progress = Arc::new(progress);
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|progress| progress.strong_count() > 0);
        running.push(Arc::downgrade(&progress));
        progress
    }

    fn list(&self) -> Vec<Arc<CopyProgress>> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.iter().filter_map(Weak::upgrade).collect()
    }
}

pub(super) const PG_STAT_PROGRESS_COPY: View = View {
    name: "pg_stat_progress_copy",
    columns: &[
        ("pid", oids::INT4),
        ("datid", oids::OID),
        ("datname", oids::NAME),
        ("relid", oids::OID),
        ("command", oids::TEXT),
        ("type", oids::TEXT),
        ("bytes_processed", oids::INT8),
        ("bytes_total", oids::INT8),
        ("tuples_processed", oids::INT8),
        ("tuples_excluded", oids::INT8),
        ("tuples_skipped", oids::INT8),
    ],
    rows: progress_copy,
};

fn progress_copy(sources: &mut Sources<'_>, rows: &mut RowsBuilder) -> Result<(), EngineError> {
    let database = sources.session.entry().database.clone();
    for copy in sources.shared.copies.list() {
        rows.int4(copy.backend_pid)
            .oid(POSTGRES_DATABASE)
            .text(&database)
            .oid(copy.relation);
        rows.text(copy.command).text(copy.place);
        rows.count(copy.bytes_processed.load(Ordering::Relaxed))
            .count(copy.bytes_total);
        rows.count(copy.tuples()).count(0).count(0).end_row();
    }
    Ok(())
}
