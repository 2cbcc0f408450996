//! Prepared transactions of a real server.
//!
//! A session announces that it prepares by an advisory lock of the session, which a `PREPARE TRANSACTION` does not take
//! along. It takes that lock within the transaction, and gives it back together with the end of the transaction: so a
//! process that is stopped in between has the session ended by `idle_in_transaction_session_timeout`, and the transaction
//! with it.

use postgres::error::SqlState;

use super::connection::ServerConnection;
use super::journaled_table::literal;
use crate::components::postgres::connection::{DatabaseError, PreparedMark, Prepares, Writer};

/// What the advisory lock of a task is made of.
fn lock_name(writer: &Writer) -> String {
    format!("squall prepares {}/{}/{}", writer.topology, writer.component, writer.task)
}

impl ServerConnection {
    /// Rolls the open transaction back, and gives back the lock that announced that it would be prepared.
    pub(super) fn roll_back(&mut self) -> Result<(), DatabaseError> {
        // In one message: between two, a process that is stopped would hold the lock outside of a transaction.
        let sql = match std::mem::take(&mut self.is_announced) {
            true => "ROLLBACK; SELECT pg_advisory_unlock_all()",
            false => "ROLLBACK",
        };
        self.client.batch_execute(sql).map_err(DatabaseError::from)
    }

    /// Decides about a prepared transaction. `false`: there is none with this name.
    fn decide(&mut self, decision: &str, name: &str) -> Result<bool, DatabaseError> {
        match self.client.batch_execute(&format!("{decision} PREPARED {}", literal(name))) {
            Ok(()) => Ok(true),
            Err(error) if error.code() == Some(&SqlState::UNDEFINED_OBJECT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

impl Prepares for ServerConnection {
    fn prepares_max(&mut self) -> Result<i64, DatabaseError> {
        let sql = "SELECT current_setting('max_prepared_transactions')::bigint";
        self.client.query_one(sql, &[]).map(|row| row.get(0)).map_err(DatabaseError::from)
    }

    fn announce_prepare(&mut self, writer: &Writer) -> Result<(), DatabaseError> {
        // Also if the answer is lost or late: then the lock may be held.
        self.is_announced = true;
        let sql = "SELECT pg_advisory_lock_shared(hashtextextended($1, 0))";
        self.client.execute(sql, &[&lock_name(writer)]).map(drop).map_err(DatabaseError::from)
    }

    fn await_prepares(&mut self, writer: &Writer) -> Result<(), DatabaseError> {
        let sql = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))";
        self.client.execute(sql, &[&lock_name(writer)]).map(drop).map_err(DatabaseError::from)
    }

    fn mark_prepared(&mut self, writer: &Writer, mark: &PreparedMark) -> Result<(), DatabaseError> {
        let sql = "INSERT INTO squall_prepared (name, topology, component, task, lineage, sequence) \
                   VALUES ($1, $2, $3, $4, $5, $6)";
        let PreparedMark { name, lineage, sequence } = mark;
        let Writer { topology, component, task } = writer;
        let done = self.client.execute(sql, &[name, topology, component, task, lineage, sequence]);
        done.map(drop).map_err(DatabaseError::from)
    }

    fn prepare(&mut self, name: &str) -> Result<(), DatabaseError> {
        let sql = format!("PREPARE TRANSACTION {}; SELECT pg_advisory_unlock_all()", literal(name));
        match self.client.batch_execute(&sql) {
            Ok(()) => {
                self.is_announced = false;
                Ok(())
            }
            Err(error) => {
                let is_taken = error.code() == Some(&SqlState::DUPLICATE_OBJECT);
                let error = match DatabaseError::from(error) {
                    // Another attempt finds it, and rolls it back.
                    DatabaseError::Permanent(why) if is_taken => DatabaseError::Busy(why),
                    error => error,
                };
                if !matches!(error, DatabaseError::Away(_)) {
                    self.roll_back()?;
                }
                Err(error)
            }
        }
    }

    fn commit_prepared(&mut self, name: &str) -> Result<bool, DatabaseError> {
        self.decide("COMMIT", name)
    }

    fn roll_back_prepared(&mut self, name: &str) -> Result<bool, DatabaseError> {
        self.decide("ROLLBACK", name)
    }

    fn prepared(&mut self, prefix: &str) -> Result<Vec<String>, DatabaseError> {
        let sql =
            "SELECT gid FROM pg_prepared_xacts WHERE database = current_database() AND starts_with(gid, $1)";
        let rows = self.client.query(sql, &[&prefix])?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    fn is_marked(&mut self, name: &str) -> Result<bool, DatabaseError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM squall_prepared WHERE name = $1)";
        self.client.query_one(sql, &[&name]).map(|row| row.get(0)).map_err(DatabaseError::from)
    }

    fn drop_marks(&mut self, writer: &Writer, lineage: i64, up_to: i64) -> Result<(), DatabaseError> {
        let sql = "DELETE FROM squall_prepared WHERE topology = $1 AND component = $2 AND task = $3 \
                   AND (lineage <> $4 OR sequence <= $5)";
        let Writer { topology, component, task } = writer;
        let done = self.client.execute(sql, &[topology, component, task, &lineage, &up_to]);
        done.map(drop).map_err(DatabaseError::from)
    }
}
