//! The request that everything stops, and those who wait for it.

use tokio::sync::watch;

/// The side that waits. All clones wait for one request.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<bool>);

/// The side that requests. If it is dropped before, the request never comes.
#[derive(Debug)]
pub struct Stopper(watch::Sender<bool>);

/// The two sides of a request that has not been made yet.
#[must_use]
pub fn channel() -> (Stopper, Stop) {
    let (sender, receiver) = watch::channel(false);
    (Stopper(sender), Stop(receiver))
}

impl Stopper {
    /// Requests that everything stops.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

impl Stop {
    /// Whether the request was made.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until the request is made.
    pub async fn requested(&self) {
        let mut receiver = self.0.clone();
        let nobody_left = receiver.wait_for(|stop| *stop).await.is_err();
        if nobody_left {
            std::future::pending::<()>().await;
        }
    }
}
