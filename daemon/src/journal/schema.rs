//! The tables of the journal.

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;

use super::JournalError;

const VERSION: u32 = 2;

const TABLES: &str = "
    CREATE TABLE runs (
        seq       INTEGER PRIMARY KEY AUTOINCREMENT,
        id        TEXT NOT NULL UNIQUE,
        name      TEXT NOT NULL,
        origin    TEXT NOT NULL CHECK (origin IN ('watch', 'command')),
        state     TEXT NOT NULL,
        attempt   INTEGER NOT NULL DEFAULT 1,
        created   TEXT NOT NULL,
        started   TEXT,
        finished  TEXT,
        reason    TEXT,
        spec_path TEXT NOT NULL
    ) STRICT;
    CREATE INDEX runs_by_state ON runs (state, seq);
    -- SHA-256 of files by what tells that they did not change, so that a model is hashed once.
    CREATE TABLE digests (
        path     TEXT PRIMARY KEY,
        size     INTEGER NOT NULL,
        mtime_ns INTEGER NOT NULL,
        sha256   TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
";

/// Since version 2: which registry has which run, and when the others are tried again (seconds since 1970).
const PUBLICATIONS: &str = "
    CREATE TABLE publications (
        run       TEXT NOT NULL,
        idx       INTEGER NOT NULL,
        kind      TEXT NOT NULL,
        place     TEXT NOT NULL,
        published TEXT,
        tries     INTEGER NOT NULL DEFAULT 0,
        next_try  REAL NOT NULL,
        reason    TEXT,
        PRIMARY KEY (run, idx)
    ) STRICT, WITHOUT ROWID;
";

pub(super) fn open(path: &Path) -> Result<Connection, JournalError> {
    let failed = |error| JournalError::Open {
        path: path.to_owned(),
        error,
    };
    let mut connection = Connection::open(path).map_err(failed)?;
    connection
        .busy_timeout(Duration::from_secs(10))
        .map_err(failed)?;
    connection
        .pragma_update(None, "journal_mode", "WAL")
        .map_err(failed)?;
    connection
        .pragma_update(None, "synchronous", "FULL")
        .map_err(failed)?;

    let transaction = connection
        .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
        .map_err(failed)?;
    let found: u32 = transaction
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(failed)?;
    match found {
        0 | 1 => {
            if found == 0 {
                transaction.execute_batch(TABLES).map_err(failed)?;
            }
            transaction.execute_batch(PUBLICATIONS).map_err(failed)?;
            transaction
                .pragma_update(None, "user_version", VERSION)
                .map_err(failed)?;
        }
        VERSION => {}
        _ => {
            return Err(JournalError::Newer {
                path: path.to_owned(),
                found,
                known: VERSION,
            });
        }
    }
    transaction.commit().map_err(failed)?;
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_version_is_refused_and_garbage_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.db");
        open(&path)
            .unwrap()
            .pragma_update(None, "user_version", 7)
            .unwrap();
        assert!(
            open(&path)
                .unwrap_err()
                .to_string()
                .contains("has version 7")
        );
        std::fs::write(&path, [7; 4096]).unwrap();
        assert!(
            open(&path)
                .unwrap_err()
                .to_string()
                .contains("not a database")
        );
    }
}
