//! A session: its settings, its transaction, its locks.
//!
//! The transaction block's states are PostgreSQL's (`access/transam/xact.c`), less savepoints:
//!
//! ```text
//!            begin_statement              BEGIN
//!   Idle ───────────────────▶ Implicit ─────────▶ Explicit ─error──▶ Failed
//!    ▲  ◀──────────────────── (sync: commit,        │ COMMIT,          │ COMMIT and ROLLBACK
//!    │          error: abort)                       ▼ ROLLBACK         ▼ both roll back
//!    └──────────────────────────────────────────────┴──────────────────┘
//! ```
//!
//! A commit has two halves ([`Session::begin_sync`], [`Session::finish_sync`]), between which the log
//! is made durable, with a thread or without.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use trunkline_aio::IoContext;
use trunkline_buffer::{ReadStreamLimits, Reader};
use trunkline_catalog::RelationDesc;
use trunkline_heap::{SparePages, SpareSource, TableTargets};
use trunkline_pgformat::{BLCKSZ, BlockNumber, Lsn, Oid, RelFileLocator};
use trunkline_txn::{
    CancelToken, CommitInProgress, CommitOptions, LockManager, LockMode, LockOwner, LockTag,
    RegisteredSnapshot, StatementId, TimestampTz, Transaction, TransactionState, WraparoundWarning,
};
use trunkline_wal::WalError;

use crate::database::Database;
use crate::durable_state::NoRedoPoint;
use crate::error::{EngineError, StatementError};
use crate::sessions::{SessionEntry, SessionRegistration};
use crate::settings::SessionSettings;
use crate::warnings::{SessionWarnings, StatementWarnings};

/// Where a session is with its transaction, as ReadyForQuery tells the client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TransactionStatus {
    /// No transaction block.
    Idle,
    /// In a transaction block.
    InBlock,
    /// In a transaction block that can only be rolled back.
    Failed,
}

/// The transaction block's state; [`Block::next`] is its one transition function.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Block {
    /// No transaction. Next: `Implicit`.
    Idle,
    /// A transaction that a statement began by itself. Next: `Explicit`, `Idle`.
    Implicit,
    /// After BEGIN. Next: `Failed`, `Idle`.
    Explicit,
    /// After an error in a block; the transaction is already aborted. Next: `Idle`.
    Failed,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    StatementBegins,
    BlockBegins,
    StatementFails,
    TransactionEnds,
}

impl Block {
    fn next(self, event: Event) -> Block {
        match (self, event) {
            (Block::Idle, Event::StatementBegins) => Block::Implicit,
            (Block::Implicit | Block::Explicit, Event::StatementBegins) => self,
            (Block::Implicit, Event::BlockBegins) => Block::Explicit,
            (Block::Explicit, Event::StatementFails) => Block::Failed,
            (Block::Implicit, Event::StatementFails) => Block::Idle,
            (Block::Idle | Block::Failed, Event::StatementFails) => self,
            (_, Event::TransactionEnds) => Block::Idle,
            (state, event) => panic!("transaction block: {event:?} in state {state:?}"),
        }
    }
}

/// What became of a COMMIT.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CommitOutcome {
    /// It committed.
    Committed,
    /// The block had failed: it rolled back.
    RolledBack,
}

/// Spare pages that loads take at a time, at most.
const SPARE_PAGES_AT_A_TIME_MAX: usize = 128;

/// What the loads of one transaction into one table used of it, for the transaction's end.
#[derive(Debug)]
pub(crate) struct LoadRecord {
    pub relation: Oid,
    pub locator: RelFileLocator,
    targets: Arc<TableTargets>,
    used: Mutex<UsedPages>,
}

#[derive(Debug)]
struct UsedPages {
    /// Blocks that it added, given back if it aborts; in order, adjacent ranges merged.
    extended: Vec<Range<BlockNumber>>,
    /// Spare pages: for the next load of the transaction, and for everybody's if it commits.
    spare: SparePages,
    /// Spare pages that it took; spare again if it aborts.
    taken: SparePages,
    /// How many it takes the next time: one at first, then twice as many each time, so that a small load
    /// leaves others theirs, and a large one uses most of what it takes.
    next_take: usize,
}

impl LoadRecord {
    fn new(relation: &RelationDesc, targets: Arc<TableTargets>) -> LoadRecord {
        LoadRecord {
            relation: relation.oid,
            locator: relation.locator,
            targets,
            used: Mutex::new(UsedPages {
                extended: Vec::new(),
                spare: SparePages::default(),
                taken: SparePages::default(),
                next_take: 1,
            }),
        }
    }

    fn used(&self) -> MutexGuard<'_, UsedPages> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The spare pages that earlier loads left, for a load that begins.
    pub fn take_spare(&self) -> SparePages {
        std::mem::take(&mut self.used().spare)
    }

    /// A load has ended, well or not.
    pub fn end_load(&self, extended: &[Range<BlockNumber>], spare: SparePages) {
        let mut used = self.used();
        for range in extended {
            match used.extended.last_mut() {
                Some(last) if last.end == range.start => last.end = range.end,
                _ => used.extended.push(range.clone()),
            }
        }
        used.spare.append(spare);
    }
}

impl SpareSource for LoadRecord {
    fn more_spare(&self, only_empty: bool) -> SparePages {
        let count = self.used().next_take;
        // Loads of one transaction follow each other.
        let more = self.targets.take(count, only_empty);
        if !more.is_empty() {
            let mut used = self.used();
            used.taken.append(more.clone());
            used.next_take = (count * 2).min(SPARE_PAGES_AT_A_TIME_MAX);
        }
        more
    }
}

/// A transaction and what its end has to see to.
struct Work {
    transaction: Arc<Transaction>,
    /// Relations whose catalog rows it changed.
    changed_relations: Vec<Oid>,
    /// One for each table that it loaded into.
    loads: HashMap<RelFileLocator, Arc<LoadRecord>>,
}

/// A transaction whose commit is in the log.
struct Committing {
    work: Work,
    commit: CommitInProgress,
}

/// A session.
pub struct Session {
    database: Arc<Database>,
    registration: SessionRegistration,
    settings: SessionSettings,
    block: Block,
    work: Option<Work>,
    /// A commit that is in the log, and not yet known.
    committing: Option<Committing>,
    statement: Option<StatementId>,
    warnings: Arc<SessionWarnings>,
    /// Those of the running statement, or of the last one.
    statement_warnings: Arc<StatementWarnings>,
}

impl Session {
    pub(crate) fn new(
        database: Arc<Database>,
        registration: SessionRegistration,
        settings: SessionSettings,
    ) -> Session {
        let warnings = Arc::new(SessionWarnings::default());
        Session {
            statement_warnings: StatementWarnings::new(&warnings, true),
            warnings,
            database,
            registration,
            settings,
            block: Block::Idle,
            work: None,
            committing: None,
            statement: None,
        }
    }

    /// The database system.
    pub fn database(&self) -> &Arc<Database> {
        &self.database
    }

    /// What others may know of it.
    pub fn entry(&self) -> &Arc<SessionEntry> {
        self.registration.entry()
    }

    /// Its number, as `pg_backend_pid()` reports it.
    pub fn backend_pid(&self) -> i32 {
        self.entry().backend_pid
    }

    /// What stops its statement.
    pub fn cancel(&self) -> &CancelToken {
        &self.registration.entry().cancel
    }

    /// Its settings.
    pub fn settings(&self) -> &SessionSettings {
        &self.settings
    }

    /// Its settings, to change.
    pub fn settings_mut(&mut self) -> &mut SessionSettings {
        &mut self.settings
    }

    /// Where it is with its transaction.
    pub fn transaction_status(&self) -> TransactionStatus {
        match self.block {
            Block::Idle | Block::Implicit => TransactionStatus::Idle,
            Block::Explicit => TransactionStatus::InBlock,
            Block::Failed => TransactionStatus::Failed,
        }
    }

    /// Whether a ROLLBACK could still undo what a statement does now: in a block, or in a query
    /// string of several statements.
    pub fn in_transaction(&self) -> bool {
        self.work.is_some()
    }

    /// An issuer for this session's I/O.
    ///
    /// # Errors
    /// All issuers are in use.
    pub fn issuer(&self) -> Result<IoContext, EngineError> {
        let mut issuer = self.database.aio().issuer(self.backend_pid())?;
        issuer.set_combine_limit(self.combine_limit_bytes());
        self.reader().attach(&mut issuer);
        Ok(issuer)
    }

    /// How the running statement reads.
    pub(crate) fn reader(&self) -> Reader {
        Reader {
            zero_damaged_pages: self.settings.switch("zero_damaged_pages"),
            ignore_checksum_failure: self.settings.switch("ignore_checksum_failure"),
            warnings: Some(Arc::clone(&self.statement_warnings) as _),
        }
    }

    /// What reads have to tell the client, whichever thread they are on.
    pub fn warnings(&self) -> &Arc<SessionWarnings> {
        &self.warnings
    }

    /// The same of the running statement.
    pub fn statement_warnings(&self) -> &Arc<StatementWarnings> {
        &self.statement_warnings
    }

    /// `io_combine_limit`, for its issuers.
    pub(crate) fn combine_limit_bytes(&self) -> u32 {
        let blocks = u32::try_from(self.settings.integer("io_combine_limit")).unwrap_or(0);
        blocks.saturating_mul(BLCKSZ as u32)
    }

    /// Partitions that a scan of this session may have: one for itself, and one for each of
    /// `max_parallel_workers_per_gather`, but not more than there are processors.
    pub fn scan_partitions(&self) -> usize {
        let workers = self.settings.integer("max_parallel_workers_per_gather");
        (1 + usize::try_from(workers).unwrap_or(0)).min(crate::database::partitions())
    }

    /// What its settings say about reading ahead; `concurrency` is the setting that counts.
    pub(crate) fn read_stream_limits(&self, concurrency: &str) -> ReadStreamLimits {
        let setting = |name| u32::try_from(self.settings.integer(name)).ok();
        ReadStreamLimits {
            io_combine_blocks: setting("io_combine_limit"),
            io_concurrency: setting(concurrency),
        }
    }

    /// Begins a statement: in the running transaction, or in one of its own. What the statements
    /// before it wrote becomes visible to it.
    ///
    /// # Errors
    /// 25P02 in a failed block, 57P01 if the session is to end, 54000 after 2^32 commands. The statement
    /// has not begun; after the last its transaction is aborted.
    pub fn begin_statement(&mut self) -> Result<(), EngineError> {
        self.settle_commit()?;
        if self.block == Block::Failed {
            return Err(StatementError::new(
                "25P02",
                "current transaction is aborted, commands ignored until end of transaction block",
            )
            .into());
        }
        self.statement = Some(self.cancel().begin_statement());
        if let Err(error) = self.database.check_failure() {
            self.end_statement();
            return Err(error);
        }
        // A statement that was told to stop before it began (termination) does not begin.
        if let Err(cancelled) = self.cancel().check() {
            self.end_statement();
            return Err(cancelled.into());
        }
        self.block = self.block.next(Event::StatementBegins);
        let is_wanted = self.settings.text("client_min_messages") != "error";
        self.statement_warnings = StatementWarnings::new(&self.warnings, is_wanted);
        match &self.work {
            Some(work) => {
                if let Err(error) = work.transaction.increment_command() {
                    self.fail_statement();
                    return Err(error.into());
                }
            }
            None => {
                self.settings.begin_transaction();
                let transaction = self.database.transactions().begin(self.backend_pid());
                self.work = Some(Work {
                    transaction: Arc::new(transaction),
                    changed_relations: Vec::new(),
                    loads: HashMap::new(),
                });
            }
        }
        Ok(())
    }

    /// The running statement takes a snapshot. Afterwards its transaction cannot be made READ WRITE
    /// again, nor DEFERRABLE.
    pub fn note_query(&mut self) {
        self.settings.note_query();
    }

    /// Refuses `command` in a transaction that is READ ONLY (`PreventCommandIfReadOnly` in
    /// PostgreSQL's `tcop/utility.c`).
    ///
    /// # Errors
    /// 25006.
    pub fn refuse_if_read_only(&self, command: &str) -> Result<(), EngineError> {
        if self.settings.switch("transaction_read_only") {
            return Err(StatementError::new(
                "25006",
                format!("cannot execute {command} in a read-only transaction"),
            )
            .into());
        }
        Ok(())
    }

    /// The running statement, for timers that stop it.
    pub fn statement_id(&self) -> Option<StatementId> {
        self.statement
    }

    /// The statement is over, well or not: requests to stop it are forgotten.
    pub fn end_statement(&mut self) {
        self.statement = None;
        self.cancel().end_statement();
    }

    /// The statement failed: its transaction is aborted; a block waits for ROLLBACK.
    pub fn fail_statement(&mut self) {
        self.settle_left_commit();
        self.end_statement();
        self.block = self.block.next(Event::StatementFails);
        self.abort_work();
    }

    /// BEGIN. `false` if a block was already open (PostgreSQL warns 25001).
    ///
    /// # Errors
    /// 25P02 in a failed block.
    pub fn begin_block(&mut self) -> Result<bool, EngineError> {
        self.begin_statement()?;
        let opened = self.block == Block::Implicit;
        if opened {
            self.block = self.block.next(Event::BlockBegins);
        }
        Ok(opened)
    }

    /// COMMIT. `None` if no block was open (PostgreSQL warns 25P01); what ran implicitly commits.
    ///
    /// # Errors
    /// The commit could not be recorded: the transaction is rolled back. Or, with SQLSTATE 08007, it
    /// may have been: what became of it is known after the database has recovered, which has failed.
    pub fn commit_block(&mut self) -> Result<Option<CommitOutcome>, EngineError> {
        self.settle_commit()?;
        let block = self.block;
        self.end_statement();
        match block {
            Block::Failed => {
                self.block = block.next(Event::TransactionEnds);
                Ok(Some(CommitOutcome::RolledBack))
            }
            Block::Explicit => {
                self.commit_work()?;
                Ok(Some(CommitOutcome::Committed))
            }
            Block::Idle | Block::Implicit => {
                self.commit_work()?;
                Ok(None)
            }
        }
    }

    /// ROLLBACK. `false` if no block was open (PostgreSQL warns 25P01).
    pub fn rollback_block(&mut self) -> bool {
        self.settle_left_commit();
        let had_block = matches!(self.block, Block::Explicit | Block::Failed);
        self.end_statement();
        self.block = self.block.next(Event::TransactionEnds);
        self.abort_work();
        had_block
    }

    /// The end of a query string, or of an extended query's messages: what ran implicitly commits.
    ///
    /// # Errors
    /// As [`Session::commit_block`].
    pub fn sync(&mut self) -> Result<(), EngineError> {
        self.settle_commit()?;
        self.end_statement();
        if self.block == Block::Implicit {
            self.commit_work()
        } else {
            Ok(())
        }
    }

    fn work(&self) -> Result<&Work, EngineError> {
        self.work
            .as_ref()
            .ok_or_else(|| StatementError::new("XX000", "no transaction is in progress").into())
    }

    fn work_mut(&mut self) -> Result<&mut Work, EngineError> {
        self.work
            .as_mut()
            .ok_or_else(|| StatementError::new("XX000", "no transaction is in progress").into())
    }

    /// The running transaction.
    ///
    /// # Errors
    /// No statement has begun one.
    pub fn transaction(&self) -> Result<&Arc<Transaction>, EngineError> {
        Ok(&self.work()?.transaction)
    }

    /// The warning that transaction ids run low, if the running transaction got its id with one; once.
    pub fn take_wraparound_warning(&self) -> Option<WraparoundWarning> {
        self.work.as_ref()?.transaction.take_warning()
    }

    /// A snapshot for the running statement.
    ///
    /// # Errors
    /// No statement has begun a transaction.
    pub fn snapshot(&self) -> Result<RegisteredSnapshot, EngineError> {
        Ok(self.transaction()?.snapshot())
    }

    /// Whether the running transaction changed the catalogs, so that what everybody else shares is
    /// not what it must see.
    pub fn has_own_catalog_changes(&self) -> bool {
        self.work
            .as_ref()
            .is_some_and(|work| !work.changed_relations.is_empty())
    }

    pub(crate) fn note_changed_relation(&mut self, relation: Oid) -> Result<(), EngineError> {
        let work = self.work_mut()?;
        if !work.changed_relations.contains(&relation) {
            work.changed_relations.push(relation);
        }
        Ok(())
    }

    /// The transaction's record of its loads into `relation`.
    pub(crate) fn load_record(
        &mut self,
        relation: &RelationDesc,
    ) -> Result<Arc<LoadRecord>, EngineError> {
        let database = Arc::clone(&self.database);
        let work = self.work_mut()?;
        if let Some(record) = work.loads.get(&relation.locator) {
            return Ok(Arc::clone(record));
        }
        let targets = database.insert_targets_of(relation.locator)?;
        let record = Arc::new(LoadRecord::new(relation, targets));
        work.loads.insert(relation.locator, Arc::clone(&record));
        Ok(record)
    }

    /// Takes a lock until the transaction ends.
    ///
    /// # Errors
    /// 55P03 after `lock_timeout`, 40P01 in a deadlock, 57014 when cancelled.
    pub fn lock(&self, tag: LockTag, mode: LockMode) -> Result<(), EngineError> {
        let timeout_ms = self.settings.integer("lock_timeout");
        let timeout = u64::try_from(timeout_ms)
            .ok()
            .filter(|ms| *ms > 0)
            .map(Duration::from_millis);
        let owner = self.transaction()?.owner();
        self.database
            .locks()
            .acquire(owner, tag, mode, timeout, self.cancel())?;
        Ok(())
    }

    /// Takes a lock until the transaction ends, if it is free.
    ///
    /// # Errors
    /// No transaction is in progress.
    pub fn try_lock(&self, tag: LockTag, mode: LockMode) -> Result<bool, EngineError> {
        let owner = self.transaction()?.owner();
        Ok(self.database.locks().try_acquire(owner, tag, mode))
    }

    /// Whether what its commit has to do besides recording it is a matter of memory: nothing to
    /// delete, no catalog entry to forget, no tail of a failed load that waits for its locks.
    fn commits_in_memory(&self) -> bool {
        let is_light = self.work.as_ref().is_none_or(|work| {
            work.changed_relations.is_empty()
                && work
                    .transaction
                    .with_pending_files(|pending| pending.at_commit().is_empty())
        });
        is_light && !self.database.has_failed_tails()
    }

    /// The first half of [`Session::sync`], if that need not wait for anything but the log: then the
    /// log is to be made durable up to the place that this returns (if any), and
    /// [`Session::finish_sync`] to be told how that went. `None` if the commit takes more: then
    /// nothing has happened, and [`Session::sync`] does it.
    ///
    /// # Errors
    /// The commit could not be recorded: the transaction is rolled back.
    pub fn begin_sync(&mut self, io: &mut IoContext) -> Result<Option<LogWait>, EngineError> {
        if self.committing.is_none() && self.block != Block::Implicit {
            self.end_statement();
            return Ok(Some(LogWait(None)));
        }
        self.begin_commit_in_memory(io)
    }

    /// The same for COMMIT; its second half is [`Session::finish_sync`] too. After `None`
    /// [`Session::commit_block`] does it.
    ///
    /// # Errors
    /// As [`Session::begin_sync`].
    pub fn begin_commit_block(
        &mut self,
        io: &mut IoContext,
    ) -> Result<Option<LogWait>, EngineError> {
        if self.committing.is_none() && self.block != Block::Explicit {
            return Ok(None);
        }
        self.begin_commit_in_memory(io)
    }

    fn begin_commit_in_memory(
        &mut self,
        io: &mut IoContext,
    ) -> Result<Option<LogWait>, EngineError> {
        if let Some(left) = &self.committing {
            return Ok(Some(LogWait(left.commit.awaits())));
        }
        if !self.commits_in_memory() {
            return Ok(None);
        }
        self.end_statement();
        let Some(work) = self.work.take() else {
            self.block = self.block.next(Event::TransactionEnds);
            return Ok(Some(LogWait(None)));
        };
        match work.transaction.begin_commit(io, self.commit_options()) {
            Ok(commit) => {
                let wait = LogWait(commit.awaits());
                self.committing = Some(Committing { work, commit });
                Ok(Some(wait))
            }
            Err(error) => Err(self.give_up_commit(work, error.into())),
        }
    }

    /// The second half: `flushed` is what came of making the log durable.
    ///
    /// # Errors
    /// With SQLSTATE 08007, it may have committed: what became of it is known after the database has
    /// recovered, which has failed.
    pub fn finish_sync(&mut self, flushed: Result<(), WalError>) -> Result<(), EngineError> {
        match self.committing.take() {
            None => Ok(()),
            Some(Committing { work, commit }) => {
                let committed = work.transaction.finish_commit(commit, flushed);
                self.end_commit(work, committed.map_err(EngineError::from), None)
            }
        }
    }

    fn commit_work(&mut self) -> Result<(), EngineError> {
        let Some(work) = self.work.take() else {
            self.block = self.block.next(Event::TransactionEnds);
            return Ok(());
        };
        let options = self.commit_options();
        let database = Arc::clone(&self.database);
        let mut no_redo_point = None;
        let committed = self.issuer().and_then(|mut io| {
            if work
                .transaction
                .with_pending_files(|pending| !pending.at_commit().is_empty())
            {
                no_redo_point = Some(database.durable.hold_off_redo_point(&mut io));
            }
            Ok(work.transaction.commit(&mut io, options)?)
        });
        match committed {
            Err(error) if work.transaction.state() != TransactionState::InDoubt => {
                drop(no_redo_point);
                Err(self.give_up_commit(work, error))
            }
            committed => self.end_commit(work, committed, no_redo_point),
        }
    }

    /// The rest of a commit that was recorded, or is in doubt. The order is PostgreSQL's: the commit is
    /// recorded and seen, others learn that their cached catalog entries are stale, files go, and only
    /// then may others have the locks.
    fn end_commit(
        &mut self,
        work: Work,
        committed: Result<Vec<RelFileLocator>, EngineError>,
        no_redo_point: Option<NoRedoPoint<'_>>,
    ) -> Result<(), EngineError> {
        match committed {
            Ok(files) => {
                self.block = self.block.next(Event::TransactionEnds);
                let _locks = ReleaseLocks::of(&self.database, &work.transaction);
                for load in work.loads.values() {
                    let spare = std::mem::take(&mut load.used().spare);
                    self.database
                        .insert_targets()
                        .give_back(load.locator, spare);
                }
                self.finish_work(&work, files);
                // The files are gone. Before the locks go: who gives back tails holds it off too.
                drop(no_redo_point);
                self.settings.end_transaction(true);
                Ok(())
            }
            // It may have committed: nobody may take it for ended, so it keeps its locks, and the
            // system stops.
            Err(error) => {
                self.block = self.block.next(Event::TransactionEnds);
                self.settings.end_transaction(false);
                self.database.fail(&error);
                Err(error)
            }
        }
    }

    /// The same where there is nobody to tell: what is in the log cannot be taken back. Left unfinished it
    /// would be in doubt, which stops the system.
    fn settle_left_commit(&mut self) {
        if let Err(error) = self.settle_commit() {
            tracing::error!(%error, "a commit that was left by its client is in doubt");
        }
    }

    /// Finishes a commit that somebody has begun and then left.
    fn settle_commit(&mut self) -> Result<(), EngineError> {
        let Some(committing) = &self.committing else {
            return Ok(());
        };
        let awaits = committing.commit.awaits();
        let flushed = match awaits {
            None => Ok(()),
            Some(lsn) => {
                let mut io = self.issuer()?;
                self.database.wal().flush(&mut io, lsn)
            }
        };
        self.finish_sync(flushed)
    }

    /// A commit was not recorded: the transaction is rolled back.
    fn give_up_commit(&mut self, work: Work, error: EngineError) -> EngineError {
        self.work = Some(work);
        self.block = self.block.next(Event::TransactionEnds);
        self.abort_work();
        error
    }

    fn commit_options(&self) -> CommitOptions {
        CommitOptions {
            // Of a standby there is none to wait for.
            synchronous: self.settings.text("synchronous_commit") != "off",
            now: self.now(),
        }
    }

    /// The time of day, for the records of transactions' ends.
    fn now(&self) -> TimestampTz {
        TimestampTz::since_unix_epoch(self.database.clock().since_epoch())
    }

    fn abort_work(&mut self) {
        let Some(work) = self.work.take() else {
            return;
        };
        // What failed may have been the log.
        self.database.durable.check_log();
        let database = Arc::clone(&self.database);
        let mut no_redo_point = None;
        let files = match self.issuer() {
            Ok(mut io) => {
                if work
                    .transaction
                    .with_pending_files(|pending| !pending.at_abort().is_empty())
                {
                    no_redo_point = Some(database.durable.hold_off_redo_point(&mut io));
                }
                work.transaction.abort(&mut io, self.now())
            }
            Err(error) => {
                tracing::debug!(%error, "a transaction is aborted without a record");
                work.transaction.abandon()
            }
        };
        let _locks = ReleaseLocks::of(&self.database, &work.transaction);
        for load in work.loads.values() {
            if files.contains(&load.locator) {
                continue;
            }
            let taken = std::mem::take(&mut load.used().taken);
            load.targets.give_back(taken);
            let extended = std::mem::take(&mut load.used().extended);
            self.database
                .add_failed_tails(load.relation, load.locator, extended);
        }
        self.finish_work(&work, files);
        drop(no_redo_point);
        // While this transaction's own lock still keeps the tables from being dropped.
        self.database.give_back_tails(work.transaction.owner());
        self.settings.end_transaction(false);
    }

    fn finish_work(&self, work: &Work, files: Vec<RelFileLocator>) {
        if !work.changed_relations.is_empty() {
            self.database.catalog().invalidate(&work.changed_relations);
        }
        self.database.delete_files(&files);
    }
}

/// Up to where the log has to be durable before a commit is finished; nothing if it need not wait.
#[derive(Clone, Copy, Debug)]
#[must_use = "the commit is to be finished"]
pub struct LogWait(Option<Lsn>);

impl LogWait {
    /// The place in the log.
    pub fn lsn(self) -> Option<Lsn> {
        self.0
    }
}

/// Lets a transaction's locks go, and what waits for tables to be unused proceed; also if something
/// before it panics.
struct ReleaseLocks {
    database: Arc<Database>,
    owner: LockOwner,
}

impl ReleaseLocks {
    fn of(database: &Arc<Database>, transaction: &Transaction) -> ReleaseLocks {
        ReleaseLocks {
            database: Arc::clone(database),
            owner: transaction.owner(),
        }
    }
}

impl Drop for ReleaseLocks {
    fn drop(&mut self) {
        let locks: &LockManager = self.database.locks();
        locks.release_all(self.owner);
        if !std::thread::panicking() {
            self.database.give_back_tails(self.owner);
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.end_statement();
        self.settle_left_commit();
        self.abort_work();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_transitions() {
        let block = Block::Idle.next(Event::StatementBegins);
        assert_eq!(block, Block::Implicit);
        assert_eq!(block.next(Event::StatementFails), Block::Idle);
        let block = block.next(Event::BlockBegins);
        assert_eq!(block.next(Event::StatementBegins), Block::Explicit);
        let failed = block.next(Event::StatementFails);
        assert_eq!(failed, Block::Failed);
        assert_eq!(failed.next(Event::TransactionEnds), Block::Idle);
    }

    #[test]
    #[should_panic(expected = "transaction block")]
    fn a_failed_block_runs_no_statement() {
        let _ = Block::Failed.next(Event::StatementBegins);
    }
}
