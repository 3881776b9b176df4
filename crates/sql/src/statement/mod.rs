//! Statements: from a query string's text to what is to be done.
//!
//! - [`split`]: a query string into statements
//! - [`tokens`]: one statement's tokens, with PostgreSQL's syntax errors
//! - [`reserved`]: the words that name no table and no column
//! - [`parse`]: which statement it is; queries and INSERT go to sqlparser whole
//! - [`create_table`], [`copy`], [`explain`], [`session`]: the utility statements' own grammars
//!
//! Utility statements are parsed here, against PostgreSQL's `gram.y`, rather than by sqlparser: it
//! does not know CHECKPOINT or all of COPY, and it accepts options that would then have to be
//! hunted down and refused. Here an option is either understood or refused by name.

mod copy;
mod create_table;
mod explain;
mod parse;
mod reserved;
mod session;
mod split;
mod tokens;

use datafusion::sql::sqlparser::ast;
use trunkline_copy::OptionValue;

pub use parse::parse_statement;
pub use split::{StatementText, complete_statement_len, split_statements};
pub(crate) use tokens::called_functions;

/// A possibly schema-qualified name, folded as PostgreSQL folds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QualifiedName {
    /// The schema, when given.
    pub schema: Option<String>,
    /// The name.
    pub name: String,
}

/// One statement.
#[derive(Debug, Clone)]
pub enum Statement {
    /// SELECT, VALUES, TABLE, WITH ... SELECT.
    Query(Box<ast::Query>),
    /// INSERT.
    Insert(Box<Insert>),
    /// EXPLAIN of a query or an INSERT.
    Explain(Box<Explain>),
    /// CREATE TABLE.
    CreateTable(Box<CreateTable>),
    /// DROP TABLE.
    DropTable(DropTable),
    /// TRUNCATE.
    Truncate(Vec<QualifiedName>),
    /// COPY.
    Copy(Box<Copy>),
    /// LOCK TABLE.
    Lock(LockTable),
    /// BEGIN, COMMIT, ROLLBACK.
    Transaction(TransactionStatement),
    /// SET, RESET, SET TRANSACTION.
    Set(SetStatement),
    /// SHOW; `None` is SHOW ALL.
    Show(Option<String>),
    /// CHECKPOINT.
    Checkpoint,
    /// DISCARD.
    Discard(Discard),
    /// PREPARE name AS statement.
    Prepare(Box<PrepareStatement>),
    /// EXECUTE name (arguments).
    Execute(ExecuteStatement),
    /// DEALLOCATE; `None` is DEALLOCATE ALL.
    Deallocate(Option<String>),
}

impl Statement {
    /// Whether it runs under a snapshot (`PlannedStmtRequiresSnapshot` in PostgreSQL's
    /// `tcop/pquery.c`).
    pub fn takes_snapshot(&self) -> bool {
        !matches!(
            self,
            Statement::Transaction(_)
                | Statement::Set(_)
                | Statement::Show(_)
                | Statement::Lock(_)
                | Statement::Checkpoint
        )
    }

    /// The command tag of a utility statement that a READ ONLY transaction refuses before anything
    /// else is looked at (`ClassifyUtilityCommandAsReadOnly` in PostgreSQL's `tcop/utility.c`).
    pub fn writing_utility(&self) -> Option<&'static str> {
        match self {
            Statement::CreateTable(_) => Some("CREATE TABLE"),
            Statement::DropTable(_) => Some("DROP TABLE"),
            Statement::Truncate(_) => Some("TRUNCATE TABLE"),
            _ => None,
        }
    }
}

/// INSERT INTO table [(columns)] {query | DEFAULT VALUES}.
#[derive(Debug, Clone)]
pub struct Insert {
    /// The table.
    pub table: QualifiedName,
    /// The columns, in the order given; empty when none were.
    pub columns: Vec<String>,
    /// The rows; `None` for DEFAULT VALUES.
    pub source: Option<Box<ast::Query>>,
}

/// EXPLAIN [ANALYZE] [VERBOSE].
#[derive(Debug, Clone)]
pub struct Explain {
    /// Run it, and say what happened.
    pub analyze: bool,
    /// Say more.
    pub verbose: bool,
    /// What to explain: a query or an INSERT.
    pub statement: Statement,
}

/// CREATE TABLE.
#[derive(Debug, Clone)]
pub struct CreateTable {
    /// Its name.
    pub name: QualifiedName,
    /// Its rows are not in the log; a crash empties it.
    pub unlogged: bool,
    /// No error when it exists.
    pub if_not_exists: bool,
    /// Columns and LIKE clauses, in order.
    pub elements: Vec<TableElement>,
}

/// One element of CREATE TABLE's list.
#[derive(Debug, Clone)]
pub enum TableElement {
    /// A column.
    Column(ColumnDefinition),
    /// LIKE table.
    Like {
        /// The table whose columns are taken.
        source: QualifiedName,
        /// INCLUDING DEFAULTS, or ALL.
        including_defaults: bool,
    },
}

/// A column's DEFAULT.
#[derive(Debug, Clone)]
pub struct ColumnDefault {
    /// The expression.
    pub expression: Box<ast::Expr>,
    /// Its text as written.
    pub text: String,
    /// Where it begins in the statement, in characters from 1.
    pub position: usize,
}

/// A column of CREATE TABLE.
#[derive(Debug, Clone)]
pub struct ColumnDefinition {
    /// Its name.
    pub name: String,
    /// Its type.
    pub type_name: TypeName,
    /// NOT NULL was given.
    pub not_null: bool,
    /// DEFAULT's expression, and its text as written.
    pub default: Option<ColumnDefault>,
}

/// A type as written: `numeric(15,2)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypeName {
    /// The name in one of PostgreSQL's spellings: `int4`, `character varying`, `varchar`, ...
    pub name: String,
    /// What stands in parentheses.
    pub modifiers: Vec<i32>,
    /// It was written in quotes: `"char"` is another type than `char`.
    pub is_quoted: bool,
    /// One-based character position in the statement, for errors.
    pub position: usize,
}

/// DROP TABLE.
#[derive(Debug, Clone)]
pub struct DropTable {
    /// The tables.
    pub names: Vec<QualifiedName>,
    /// A notice instead of an error for one that does not exist.
    pub if_exists: bool,
}

/// Where COPY's data comes from or goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopyPlace {
    /// A file of the server, by absolute path.
    File(String),
    /// The connection.
    Client,
}

/// What COPY reads or fills.
#[derive(Debug, Clone)]
pub enum CopySubject {
    /// A table, with the columns given.
    Table {
        /// The table.
        name: QualifiedName,
        /// The columns; empty when none were given.
        columns: Vec<String>,
    },
    /// A query (COPY TO only).
    Query(Box<ast::Query>),
}

/// COPY.
#[derive(Debug, Clone)]
pub struct Copy {
    /// The table or query.
    pub subject: CopySubject,
    /// FROM, else TO.
    pub is_from: bool,
    /// The other side.
    pub place: CopyPlace,
    /// Options in PostgreSQL's generic form, in order; the copy crate judges them.
    pub options: Vec<(String, Option<OptionValue>)>,
    /// Where each option begins: one-based character positions in the statement.
    pub option_positions: Vec<usize>,
}

/// LOCK TABLE names IN mode [NOWAIT].
#[derive(Debug, Clone)]
pub struct LockTable {
    /// The tables.
    pub names: Vec<QualifiedName>,
    /// The mode, as PostgreSQL's words spell it: `ACCESS SHARE`, ...
    pub mode: String,
    /// Do not wait.
    pub no_wait: bool,
}

/// Transaction control.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransactionStatement {
    /// BEGIN or START TRANSACTION.
    Begin {
        /// START TRANSACTION, which only the command tag tells from BEGIN.
        is_start: bool,
        /// Settings for the transaction.
        modes: Vec<(String, String)>,
    },
    /// COMMIT or END; `chain`: AND CHAIN.
    Commit {
        /// Begin another one at once.
        chain: bool,
    },
    /// ROLLBACK or ABORT.
    Rollback {
        /// Begin another one at once.
        chain: bool,
    },
}

/// SET and RESET.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SetStatement {
    /// SET [LOCAL] name = value.
    Value {
        /// The setting.
        name: String,
        /// Its value's text, or that of each part of a list.
        values: Vec<String>,
        /// SET LOCAL.
        local: bool,
    },
    /// SET name TO DEFAULT, RESET name.
    Default {
        /// The setting.
        name: String,
        /// SET LOCAL.
        local: bool,
        /// RESET, which only the command tag tells from SET.
        is_reset: bool,
    },
    /// RESET ALL.
    ResetAll,
    /// SET TRANSACTION modes, as settings.
    Transaction(Vec<(String, String)>),
    /// SET SESSION CHARACTERISTICS AS TRANSACTION modes, as settings.
    Characteristics(Vec<(String, String)>),
}

/// DISCARD.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Discard {
    /// Everything of the session.
    All,
    /// Cached plans.
    Plans,
    /// Sequences' state; there is none.
    Sequences,
    /// Temporary tables; there are none.
    Temporary,
}

/// PREPARE.
#[derive(Debug, Clone)]
pub struct PrepareStatement {
    /// Its name.
    pub name: String,
    /// Declared parameter types.
    pub parameter_types: Vec<TypeName>,
    /// The statement's text, and where it begins in the PREPARE's.
    pub text: String,
}

/// EXECUTE.
#[derive(Debug, Clone)]
pub struct ExecuteStatement {
    /// The prepared statement.
    pub name: String,
    /// The arguments.
    pub arguments: Vec<ast::Expr>,
}
