//! How far transaction ids may run before the oldest unfrozen ones would seem to lie in the future.

use trunkline_pgformat::Oid;

use crate::error::TxnError;
use crate::full_xid::FullXid;

/// Half of the 32-bit circle: ids further apart than this compare wrongly.
const HALF_CIRCLE: u64 = (u32::MAX >> 1) as u64;
/// Ids kept back for a superuser's repairs (`SetTransactionIdLimit` in `access/transam/varsup.c`).
const STOP_MARGIN: u64 = 3_000_000;
/// From here on every assignment warns.
const WARN_MARGIN: u64 = 40_000_000;

/// What limits the assignment of transaction ids (`SetTransactionIdLimit`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct XidLimits {
    /// The oldest id that may stand unfrozen in some table (`datfrozenxid`'s minimum).
    pub oldest_xid: FullXid,
    /// The database that holds it.
    pub oldest_database: Oid,
    /// That database's name, if known.
    pub oldest_database_name: Option<String>,
}

/// PostgreSQL's WARNING when the ids run low.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WraparoundWarning {
    /// The message.
    pub message: String,
    /// The HINT.
    pub hint: &'static str,
}

impl XidLimits {
    /// The first id that would seem older than `oldest_xid`.
    pub fn wrap_limit(&self) -> FullXid {
        FullXid(self.oldest_xid.0 + HALF_CIRCLE)
    }

    /// Whether `xid` may be given out, and the warning that goes with it.
    pub(crate) fn check(&self, xid: FullXid) -> Result<Option<WraparoundWarning>, TxnError> {
        let wrap_limit = self.wrap_limit().0;
        let database = || {
            TxnError::database_phrase(self.oldest_database, self.oldest_database_name.as_deref())
        };
        if xid.0 >= wrap_limit - STOP_MARGIN {
            return Err(TxnError::Wraparound {
                database: database(),
            });
        }
        Ok((xid.0 >= wrap_limit - WARN_MARGIN).then(|| WraparoundWarning {
            message: format!(
                "database {} must be vacuumed within {} transactions",
                database(),
                wrap_limit - xid.0
            ),
            // As in `varsup.c`, which says it in two ways.
            hint: match &self.oldest_database_name {
                Some(_) => {
                    "To avoid transaction ID assignment failures, execute a database-wide VACUUM in \
                     that database.\nYou might also need to commit or roll back old prepared \
                     transactions, or drop stale replication slots."
                }
                None => {
                    "To avoid XID assignment failures, execute a database-wide VACUUM in that \
                     database.\nYou might also need to commit or roll back old prepared \
                     transactions, or drop stale replication slots."
                }
            },
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warns_then_refuses_before_the_wrap() {
        let mut limits = XidLimits {
            oldest_xid: FullXid(744),
            oldest_database: Oid(1),
            oldest_database_name: Some("template1".to_owned()),
        };
        let wrap_limit = limits.wrap_limit().0;
        // pg_controldata's oldestXID 744 gives a wrap limit of 2147484391 in PostgreSQL's log.
        assert_eq!(wrap_limit, 2_147_484_391);
        assert_eq!(
            limits.check(FullXid(wrap_limit - 40_000_001)).unwrap(),
            None
        );
        let warning = limits
            .check(FullXid(wrap_limit - 40_000_000))
            .unwrap()
            .unwrap();
        assert_eq!(
            warning.message,
            "database \"template1\" must be vacuumed within 40000000 transactions"
        );
        assert!(
            limits
                .check(FullXid(wrap_limit - 3_000_001))
                .unwrap()
                .is_some()
        );
        let refusal = limits.check(FullXid(wrap_limit - 3_000_000)).unwrap_err();
        assert_eq!(refusal.sqlstate(), "54000");
        limits.oldest_database_name = None;
        let warning = limits.check(FullXid(wrap_limit - 3_000_001));
        let warning = warning.unwrap().unwrap();
        assert_eq!(
            warning.message,
            "database with OID 1 must be vacuumed within 3000001 transactions"
        );
        assert!(warning.hint.starts_with("To avoid XID assignment failures"));
        assert_eq!(
            limits.check(FullXid(wrap_limit)).unwrap_err().to_string(),
            "database is not accepting commands that assign new transaction IDs to avoid \
             wraparound data loss in database with OID 1"
        );
    }
}
