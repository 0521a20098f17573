//! The tables of the journal.

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;

use super::JournalError;

/// The version that this code writes. It upgrades earlier ones.
const VERSION: u32 = UPGRADES.len() as u32;

/// What leads from each version to the next, beginning with an empty database.
const UPGRADES: [&str; 3] = [RUNS, PUBLICATIONS, NO_DIGESTS];

const RUNS: &str = "
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
";

/// Which registry has which run, and when the others are tried again (seconds since 1970).
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

/// Version 2 had the digests of files here; the cache has them now, where workers find them, too.
const NO_DIGESTS: &str = "DROP TABLE IF EXISTS digests;";

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
        0..VERSION => {
            for step in UPGRADES.iter().skip(found as usize) {
                transaction.execute_batch(step).map_err(failed)?;
            }
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
    fn the_journal_of_an_earlier_version_is_upgraded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.db");
        let old = Connection::open(&path).unwrap();
        old.execute_batch(RUNS).unwrap();
        old.execute_batch("CREATE TABLE digests (path TEXT PRIMARY KEY)")
            .unwrap();
        old.pragma_update(None, "user_version", 1).unwrap();
        drop(old);
        let upgraded = open(&path).unwrap();
        let tables = "SELECT group_concat(name) FROM sqlite_schema WHERE name IN ('runs', 'publications', 'digests')";
        let found: String = upgraded.query_row(tables, [], |row| row.get(0)).unwrap();
        assert_eq!(found, "runs,publications");
        let version: u32 = upgraded
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .unwrap();
        assert_eq!(version, VERSION);
    }

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
