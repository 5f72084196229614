//! What an error says about a write: certainly not committed, or not known.

use firedrill_ledger::history::Outcome;
use mysql_async::Error;

/// Server errors after which the statement certainly has not taken effect; each is raised before the commit begins.
/// Any other error, and any that can interrupt a commit (a killed connection, a shutdown, a full disk), leaves it
/// unknown. Source: MariaDB knowledge base, "MariaDB Error Codes".
const NOT_COMMITTED: [u16; 17] = [
    1040, // too many connections
    1044, // access denied to the database
    1045, // access denied
    1046, // no database selected
    1049, // unknown database
    1064, // syntax
    1142, // command denied on the table
    1146, // no such table
    1153, // packet too large
    1203, // too many connections of this user
    1205, // lock wait time-out
    1213, // deadlock, rolled back
    1226, // a resource limit of the user
    1227, // a privilege is missing
    1290, // the server runs with an option (read_only) that forbids it
    1406, // data too long
    1792, // read-only transaction
];

/// The outcome of a write that got an error after it was handed to the connection.
pub(crate) fn of_write(error: &Error) -> Outcome {
    let reason = error.to_string();
    match error {
        Error::Server(server) if NOT_COMMITTED.contains(&server.code) => Outcome::Failed { reason },
        _ => Outcome::Unknown { reason },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mysql_async::{IoError, ServerError};

    fn server(code: u16) -> Error {
        Error::Server(ServerError { code, message: "m".to_owned(), state: "HY000".to_owned() })
    }

    #[test]
    fn only_errors_from_before_the_commit_prove_a_failure() {
        for code in [1290, 1792, 1213] {
            assert!(matches!(of_write(&server(code)), Outcome::Failed { .. }), "{code}");
        }
        // Connection killed, shutdown in progress, query interrupted, disk full, error during commit.
        for code in [1927, 1053, 1317, 1021, 1180] {
            assert!(matches!(of_write(&server(code)), Outcome::Unknown { .. }), "{code}");
        }
        let reset = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        assert!(matches!(of_write(&Error::Io(IoError::Io(reset))), Outcome::Unknown { .. }));
    }
}
