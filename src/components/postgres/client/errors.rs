//! What errors of the client mean.

use std::error::Error as _;

use postgres::error::SqlState;

use super::blocking::CallError;
use crate::components::postgres::connection::DatabaseError;

impl From<CallError> for DatabaseError {
    /// What an error of the client means for the rows. Classes of states are those of the appendix "PostgreSQL Error
    /// Codes" of the manual.
    fn from(error: CallError) -> DatabaseError {
        let CallError::Server(error) = error else { return DatabaseError::Away(error.to_string()) };
        let Some(server) = error.as_db_error() else {
            let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            return DatabaseError::Away(format!("{error}{cause}"));
        };
        let detail = server.detail().map(|detail| format!(" ({detail})")).unwrap_or_default();
        let message = format!("{}{detail}", server.message());
        let code = server.code();
        if [SqlState::ADMIN_SHUTDOWN, SqlState::CRASH_SHUTDOWN, SqlState::CANNOT_CONNECT_NOW].contains(code)
            || *code == SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT
        {
            return DatabaseError::Away(message);
        }
        match &code.code()[..2] {
            // Data, constraints, `WITH CHECK OPTION`, a row twice in an upsert, errors that functions raise, limits (a value
            // that is too long for an index).
            "22" | "23" | "44" | "21" | "P0" | "54" => DatabaseError::Row(message),
            // Nobody may connect so, the database or the schema is not there, the statement is wrong.
            "28" | "3D" | "3F" | "42" | "0A" => DatabaseError::Permanent(message),
            "08" => DatabaseError::Away(message),
            _ => DatabaseError::Busy(message),
        }
    }
}
