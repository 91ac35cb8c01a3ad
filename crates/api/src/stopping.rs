//! The word that the server is to end, for all who wait for something else.

use tokio::sync::watch;

/// Says the word; also when it is dropped.
#[derive(Debug)]
pub(crate) struct Stop(watch::Sender<bool>);

/// Hears the word, also one that was said before.
#[derive(Clone, Debug)]
pub(crate) struct Stopping(watch::Receiver<bool>);

impl Stop {
    pub fn new() -> (Self, Stopping) {
        let (sender, receiver) = watch::channel(false);
        (Self(sender), Stopping(receiver))
    }

    pub fn say(&self) {
        self.0.send_replace(true);
    }
}

impl Stopping {
    /// Resolves when the server is to end.
    pub async fn heard(&mut self) {
        // An error means that the sender is gone, and with it the server.
        let _ = self.0.wait_for(|said| *said).await;
    }
}
