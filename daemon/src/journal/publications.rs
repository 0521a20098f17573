//! The rows of publications: which registry has which run, and when the others are tried again.

use std::time::Duration;

use evopress_core::time::seconds_since_1970;

use evopress_spec::{Publish, Published, Unpublished};
use rusqlite::{Row, params};

use super::{Journal, JournalError};

/// One entry of a run's `publish`.
#[derive(Clone, Debug, PartialEq)]
pub struct Publication {
    /// Its index in the plan.
    pub idx: usize,
    /// Kind of registry.
    pub kind: String,
    /// Where the model goes.
    pub place: String,
    /// Where it is, once it is there.
    pub published: Option<Published>,
    /// The number of attempts.
    pub tries: u32,
    /// The reason of its last failure.
    pub reason: Option<String>,
}

impl Publication {
    /// The entry of the report for a publication that is still missing.
    #[must_use]
    pub fn unpublished(&self) -> Option<Unpublished> {
        let waits = self.published.is_none() && self.tries > 0;
        waits.then(|| Unpublished {
            registry: self.kind.clone(),
            location: self.place.clone(),
            tries: self.tries,
            reason: self.reason.clone().unwrap_or_default(),
        })
    }
}

/// The beginning of the reason of a run that is done and that some registry does not have yet.
pub const PENDING: &str = "publication is pending";

const COLUMNS: &str = "idx, kind, place, published, tries, reason";

impl Journal {
    /// The publications of a run, in the plan's order; those that are not known yet are recorded
    /// first.
    ///
    /// # Errors
    /// SQLite fails.
    pub fn publications(
        &self,
        run: &str,
        plan: &[Publish],
    ) -> Result<Vec<Publication>, JournalError> {
        let mut connection = self.connection();
        let transaction = connection.transaction()?;
        for (idx, target) in plan.iter().enumerate() {
            transaction.execute(
                "INSERT INTO publications (run, idx, kind, place, next_try) VALUES (?1, ?2, ?3, ?4, 0)
                 ON CONFLICT (run, idx) DO NOTHING",
                params![run, idx.cast_signed() as i64, target.kind(), target.to_string()],
            )?;
        }
        let rows = {
            let mut statement = transaction.prepare(&format!(
                "SELECT {COLUMNS} FROM publications WHERE run = ?1 ORDER BY idx"
            ))?;
            statement
                .query_map([run], read)?
                .collect::<Result<_, _>>()?
        };
        transaction.commit()?;
        Ok(rows)
    }

    /// Records that a registry has the run.
    ///
    /// # Errors
    /// SQLite fails.
    pub fn published(&self, run: &str, idx: usize, at: &Published) -> Result<(), JournalError> {
        self.connection().execute(
            "UPDATE publications SET published = ?3, tries = tries + 1, reason = NULL WHERE run = ?1 AND idx = ?2",
            params![run, idx.cast_signed() as i64, serde_json::json!(at).to_string()],
        )?;
        Ok(())
    }

    /// Records that a registry did not take the run. The next attempt follows after a pause that
    /// doubles each time, up to 256 times the first.
    ///
    /// # Errors
    /// SQLite fails.
    pub fn unpublished(
        &self,
        run: &str,
        idx: usize,
        reason: &str,
        pause: Duration,
    ) -> Result<(), JournalError> {
        self.connection().execute(
            "UPDATE publications SET next_try = ?3 + ?4 * (1 << min(tries, 8)), tries = tries + 1, reason = ?5
             WHERE run = ?1 AND idx = ?2",
            params![run, idx.cast_signed() as i64, seconds_since_1970(), pause.as_secs_f64(), reason],
        )?;
        Ok(())
    }

    /// The time until the next publication of a finished run is due, and the run; `None` where none
    /// waits. A run whose last publication was recorded and not yet reported, because its publisher
    /// died in between, is due at once.
    ///
    /// # Errors
    /// SQLite fails.
    pub fn next_publication(&self) -> Result<Option<(Duration, String)>, JournalError> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached(&format!(
            "SELECT next_try, run FROM publications JOIN runs ON runs.id = run
             WHERE published IS NULL AND runs.state = 'done'
             UNION ALL
             SELECT 0.0, id FROM runs WHERE state = 'done' AND reason LIKE '{PENDING}%'
             AND NOT EXISTS (SELECT 1 FROM publications WHERE run = id AND published IS NULL)
             ORDER BY next_try LIMIT 1"
        ))?;
        let mut rows = statement.query([])?;
        let Some(row) = rows.next()? else {
            return Ok(None);
        };
        let wait = (row.get::<_, f64>(0)? - seconds_since_1970()).max(0.0);
        Ok(Some((
            Duration::try_from_secs_f64(wait).unwrap_or(Duration::MAX),
            row.get(1)?,
        )))
    }

    /// Makes everything due that waits. Called at the start of the daemon, when the cause of a
    /// failure may be gone.
    ///
    /// # Errors
    /// SQLite fails.
    pub fn publications_are_due(&self) -> Result<(), JournalError> {
        let due = "UPDATE publications SET next_try = 0 WHERE published IS NULL";
        self.connection().execute(due, [])?;
        Ok(())
    }

    /// Postpones a run's next attempts, because another process is publishing it.
    ///
    /// # Errors
    /// SQLite fails.
    pub fn put_off(&self, run: &str, pause: Duration) -> Result<(), JournalError> {
        self.connection().execute(
            "UPDATE publications SET next_try = max(next_try, ?2) WHERE run = ?1 AND published IS NULL",
            params![run, seconds_since_1970() + pause.as_secs_f64()],
        )?;
        Ok(())
    }

    /// How many publications of finished runs wait, by kind of registry.
    ///
    /// # Errors
    /// SQLite fails.
    pub fn pending_publications(&self) -> Result<Vec<(String, i64)>, JournalError> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached(
            "SELECT kind, count(*) FROM publications JOIN runs ON runs.id = run
             WHERE published IS NULL AND runs.state = 'done' GROUP BY kind",
        )?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<Publication> {
    let published: Option<String> = row.get(3)?;
    Ok(Publication {
        idx: usize::try_from(row.get::<_, i64>(0)?).unwrap_or_default(),
        kind: row.get(1)?,
        place: row.get(2)?,
        published: published.and_then(|text| serde_json::from_str(&text).ok()),
        tries: row.get(4)?,
        reason: row.get(5)?,
    })
}
