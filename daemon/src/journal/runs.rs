//! The rows of runs, and the only way to change one: a transition.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};
use serde::Serialize;

use super::{Journal, JournalError, Origin, RunState};

/// A run as the journal knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Run {
    /// Name and digest of all inputs.
    pub id: String,
    /// The pipeline's name.
    pub name: String,
    /// Its state.
    #[serde(serialize_with = "as_word")]
    pub state: RunState,
    /// The attempt in progress or the last one, counted from 1. Only a crash of the worker begins
    /// another.
    pub attempt: u32,
    /// When it was queued, RFC 3339.
    pub created: String,
    /// When a worker first had it.
    pub started: Option<String>,
    /// When it came to its final state.
    pub finished: Option<String>,
    /// The reason for its state, where the state alone does not say it.
    pub reason: Option<String>,
    /// The file that it came from.
    pub spec_path: PathBuf,
}

/// A run to be added.
#[derive(Clone, Debug)]
pub struct NewRun<'a> {
    /// Name and digest of all inputs.
    pub id: &'a str,
    /// The pipeline's name.
    pub name: &'a str,
    /// Who requested it.
    pub origin: Origin,
    /// The file that it came from.
    pub spec_path: &'a Path,
}

/// What else changes when a run goes into another state.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// The new attempt, if it changes.
    pub attempt: Option<u32>,
    /// The reason that is recorded with the new state.
    pub reason: Option<String>,
}

impl Change {
    /// A change for a reason.
    #[must_use]
    pub fn because(reason: impl Into<String>) -> Self {
        Self {
            attempt: None,
            reason: Some(reason.into()),
        }
    }
}

const NOW: &str = "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')";
const COLUMNS: &str = "id, name, state, attempt, created, started, finished, reason, spec_path";

impl Journal {
    /// Adds a run in the state queued. Returns false when there is a run of this ID already.
    ///
    /// # Errors
    /// SQLite fails.
    pub fn add(&self, run: &NewRun<'_>) -> Result<bool, JournalError> {
        self.insert(run, RunState::Queued, None)
    }

    /// Records a spec that was refused. Refusing it again changes the reason.
    ///
    /// # Errors
    /// SQLite fails.
    pub fn add_rejected(&self, run: &NewRun<'_>, reason: &str) -> Result<(), JournalError> {
        self.forget_rejected(run.id)?;
        self.insert(run, RunState::Rejected, Some(reason))
            .map(|_| ())
    }

    /// Removes the record of a refused spec, which has been accepted since. Returns false when
    /// there is none.
    ///
    /// # Errors
    /// SQLite fails.
    pub fn forget_rejected(&self, id: &str) -> Result<bool, JournalError> {
        Ok(self.connection().execute(
            "DELETE FROM runs WHERE id = ?1 AND state = 'rejected'",
            [id],
        )? > 0)
    }

    /// Removes the records of all refused texts of a file, which has turned out well since. Returns
    /// their IDs.
    ///
    /// # Errors
    /// SQLite fails.
    pub fn forget_rejected_of(&self, spec_path: &Path) -> Result<Vec<String>, JournalError> {
        let connection = self.connection();
        let mut statement = connection
            .prepare("DELETE FROM runs WHERE spec_path = ?1 AND state = 'rejected' RETURNING id")?;
        let ids = statement.query_map([spec_path.to_string_lossy()], |row| row.get(0))?;
        Ok(ids.collect::<Result<_, _>>()?)
    }

    fn insert(
        &self,
        run: &NewRun<'_>,
        state: RunState,
        reason: Option<&str>,
    ) -> Result<bool, JournalError> {
        let finished = if state.is_final() { NOW } else { "NULL" };
        let added = self.connection().execute(
            &format!(
                "INSERT INTO runs (id, name, origin, state, created, finished, reason, spec_path)
                 VALUES (?1, ?2, ?3, ?4, {NOW}, {finished}, ?5, ?6) ON CONFLICT (id) DO NOTHING"
            ),
            params![
                run.id,
                run.name,
                run.origin.as_str(),
                state.as_str(),
                reason,
                run.spec_path.to_string_lossy()
            ],
        )? > 0;
        if added {
            self.note(run.id, None, state, reason);
        }
        Ok(added)
    }

    /// The run of this ID.
    ///
    /// # Errors
    /// SQLite fails.
    pub fn get(&self, id: &str) -> Result<Option<Run>, JournalError> {
        get(&self.connection(), id)
    }

    /// All runs, the newest first.
    ///
    /// # Errors
    /// SQLite fails.
    pub fn list(&self, limit: u32) -> Result<Vec<Run>, JournalError> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM runs ORDER BY seq DESC LIMIT ?1"
        ))?;
        let runs = statement
            .query_map([limit], read)?
            .collect::<Result<_, _>>()?;
        Ok(runs)
    }

    /// The newest run of a pipeline, or of all where `name` is `None`; refused specs come last.
    ///
    /// # Errors
    /// SQLite fails.
    pub fn newest(&self, name: Option<&str>) -> Result<Option<Run>, JournalError> {
        let query = format!(
            "SELECT {COLUMNS} FROM runs WHERE ?1 IS NULL OR name = ?1 ORDER BY state = 'rejected', seq DESC LIMIT 1"
        );
        Ok(self
            .connection()
            .query_row(&query, [name], read)
            .optional()?)
    }

    /// How many runs there are in each state.
    ///
    /// # Errors
    /// SQLite fails.
    pub fn counts(&self) -> Result<Vec<(RunState, u64)>, JournalError> {
        let connection = self.connection();
        let mut statement =
            connection.prepare_cached("SELECT count(*) FROM runs WHERE state = ?1")?;
        RunState::ALL
            .into_iter()
            .map(|state| {
                let count: i64 = statement.query_row([state.as_str()], |row| row.get(0))?;
                Ok((state, count.cast_unsigned()))
            })
            .collect()
    }

    /// Moves the first run of the watched folder's queue into the state running, and returns it.
    ///
    /// # Errors
    /// SQLite fails.
    pub fn claim_next(&self) -> Result<Option<Run>, JournalError> {
        let query =
            "SELECT id FROM runs WHERE state = 'queued' AND origin = 'watch' ORDER BY seq LIMIT 1";
        let first: Option<String> = self
            .connection()
            .query_row(query, [], |row| row.get(0))
            .optional()?;
        first
            .map(|id| self.transition(&id, RunState::Running, Change::default()))
            .transpose()
    }

    /// Moves a run to another state in one transaction, and logs it.
    ///
    /// # Errors
    /// There is no such run, it may not go there, or SQLite fails.
    pub fn transition(&self, id: &str, to: RunState, change: Change) -> Result<Run, JournalError> {
        let Change { attempt, reason } = change;
        let mut connection = self.connection();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let before = get(&transaction, id)?.ok_or_else(|| JournalError::Unknown(id.to_owned()))?;
        if !before.state.may_become(to) {
            return Err(JournalError::Forbidden {
                id: id.to_owned(),
                from: before.state,
                to,
            });
        }
        let started = if to == RunState::Running {
            format!("coalesce(started, {NOW})")
        } else {
            "started".to_owned()
        };
        let finished = if to.is_final() { NOW } else { "NULL" };
        transaction.execute(
            &format!(
                "UPDATE runs SET state = ?2, attempt = coalesce(?3, attempt), reason = ?4,
                 started = {started}, finished = {finished} WHERE id = ?1"
            ),
            params![id, to.as_str(), attempt, reason],
        )?;
        if before.state.is_final() {
            // Begun anew: its new result is not at any registry yet.
            transaction.execute("DELETE FROM publications WHERE run = ?1", [id])?;
        }
        let after = get(&transaction, id)?.ok_or_else(|| JournalError::Unknown(id.to_owned()))?;
        transaction.commit()?;
        drop(connection);
        self.note(id, Some(before.state), to, reason.as_deref());
        Ok(after)
    }

    /// Changes the reason of a run that is done: it says which publications are still missing.
    ///
    /// # Errors
    /// SQLite fails.
    pub fn explain(&self, id: &str, reason: Option<&str>) -> Result<(), JournalError> {
        let query = "UPDATE runs SET reason = ?2 WHERE id = ?1 AND state = 'done'";
        self.connection().execute(query, params![id, reason])?;
        Ok(())
    }

    /// Changes who requested a run: a spec that a command began may be dropped into the watched
    /// folder later. Returns false when nothing changed.
    ///
    /// # Errors
    /// SQLite fails.
    pub fn adopt(&self, id: &str, origin: Origin) -> Result<bool, JournalError> {
        let query = "UPDATE runs SET origin = ?2 WHERE id = ?1 AND origin != ?2";
        Ok(self.connection().execute(query, [id, origin.as_str()])? > 0)
    }

    /// After a start: the watched folder's runs that a daemon left behind. Those that were running
    /// or interrupted are queued again; those that were publishing come back, to be published
    /// again.
    ///
    /// # Errors
    /// SQLite fails.
    pub fn recover(&self) -> Result<Vec<Run>, JournalError> {
        let left: Vec<Run> = {
            let connection = self.connection();
            let mut statement = connection.prepare(&format!(
                "SELECT {COLUMNS} FROM runs WHERE origin = 'watch' AND state IN ('running', 'interrupted', 'publishing') ORDER BY seq"
            ))?;
            statement.query_map([], read)?.collect::<Result<_, _>>()?
        };
        let (publishing, unfinished): (Vec<_>, Vec<_>) = left
            .into_iter()
            .partition(|run| run.state == RunState::Publishing);
        for run in unfinished {
            self.transition(
                &run.id,
                RunState::Queued,
                Change::because("continues after a restart of the daemon"),
            )?;
        }
        Ok(publishing)
    }

    fn note(&self, run: &str, from: Option<RunState>, to: RunState, reason: Option<&str>) {
        self.transitions.with_label_values(&[to.as_str()]).inc();
        let from = from.map_or("new", RunState::as_str);
        tracing::info!(run, from, to = to.as_str(), reason, "run changed its state");
    }
}

fn get(connection: &Connection, id: &str) -> Result<Option<Run>, JournalError> {
    Ok(connection
        .query_row(
            &format!("SELECT {COLUMNS} FROM runs WHERE id = ?1"),
            [id],
            read,
        )
        .optional()?)
}

fn read(row: &Row<'_>) -> rusqlite::Result<Run> {
    let word: String = row.get(2)?;
    let state = word.parse().map_err(|error: String| {
        rusqlite::Error::FromSqlConversionFailure(2, rusqlite::types::Type::Text, error.into())
    })?;
    Ok(Run {
        id: row.get(0)?,
        name: row.get(1)?,
        state,
        attempt: row.get(3)?,
        created: row.get(4)?,
        started: row.get(5)?,
        finished: row.get(6)?,
        reason: row.get(7)?,
        spec_path: PathBuf::from(row.get::<_, String>(8)?),
    })
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn as_word<S: serde::Serializer>(state: &RunState, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(state.as_str())
}
