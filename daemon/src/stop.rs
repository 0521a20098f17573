//! The wish that everything stops, known everywhere at once.

use tokio::sync::watch;

/// Waits for the wish. Clones wait for the same.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<bool>);

/// Utters the wish. When it is dropped without, the wish never comes.
#[derive(Debug)]
pub struct Stopper(watch::Sender<bool>);

/// A wish and those who wait for it.
#[must_use]
pub fn channel() -> (Stopper, Stop) {
    let (sender, receiver) = watch::channel(false);
    (Stopper(sender), Stop(receiver))
}

impl Stopper {
    /// Stop.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

impl Stop {
    /// Whether the wish was uttered.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits for it.
    pub async fn requested(&self) {
        let mut receiver = self.0.clone();
        let nobody_left = receiver.wait_for(|stop| *stop).await.is_err();
        if nobody_left {
            std::future::pending::<()>().await;
        }
    }
}
