//! The real server under load, killed with SIGKILL at any moment, started again, and killed again during
//! its recovery; a ledger of what was acknowledged says what must be there, what must not, and what may.
//!
//! The server is a program that is started and spoken to through its port: nothing here knows of the
//! engine. A run ([`run`]) goes on with one data directory for all of its rounds, so that each recovery
//! builds on the one before. Settings are small, and others every round, so that checkpoints, replacement
//! and the recycling of segments go on all the time. A seed decides what is done; when it is done, and so
//! what a kill strikes, is the machine's affair: a run cannot be repeated exactly. What a failure leaves
//! for looking at is the directory, as the kill left it and as the recovery did, and the ledgers.
//!
//! A kill loses what is in the process: log that was not written, pages that were not, unfinished work.
//! What was written and not synced stays, which is the simulated disk's part (`tests/crash`).
//!
//! | module | what |
//! |---|---|
//! | `rounds` | a run, and what it counted |
//! | `server` | the program: started, killed, stopped |
//! | `settings` | a round's |
//! | `work` | transactions as chosen by the seed |
//! | `client` | doing them over the wire, and what is known of them then |
//! | `table` | tables as they should be, and their rows |
//! | `ledger` | what was acknowledged, and so what may be found |
//! | `inspection` | what is found, by queries |
//! | `judge` | what PostgreSQL's programs say of the files |

mod client;
mod failure;
mod inspection;
mod judge;
mod ledger;
mod rounds;
mod server;
mod settings;
mod table;
mod work;

pub use failure::Failure;
pub use judge::installed_judge;
pub use rounds::{Options, Report, run};
