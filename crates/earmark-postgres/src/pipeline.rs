//! A pipeline: statements sent one after the other without waiting for answers.
//!
//! A future of `tokio-postgres` encodes and queues its statement when it is polled for the first
//! time. So polling each once, in order, is sending them in order; the answers are awaited
//! later. What could not be encoded shows at once, so that nothing that rests on it is sent.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use tokio_postgres::Error;

type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// A statement that was sent, with its answer once that has come.
pub(crate) enum Sent<'a, T> {
    /// Still on its way.
    Pending(Answer<'a, T>),
    /// There already.
    Answered(Result<T, Error>),
}

/// Sends a statement.
pub(crate) async fn send<'a, T>(
    statement: impl Future<Output = Result<T, Error>> + Send + 'a,
) -> Sent<'a, T> {
    let mut answer: Answer<'a, T> = Box::pin(statement);
    let first = poll_fn(|context| match answer.as_mut().poll(context) {
        Poll::Ready(result) => Poll::Ready(Some(result)),
        Poll::Pending => Poll::Ready(None),
    })
    .await;
    match first {
        Some(result) => Sent::Answered(result),
        None => Sent::Pending(answer),
    }
}

impl<T> Sent<'_, T> {
    /// Whether it could not be sent, or was refused already.
    pub(crate) fn has_failed(&self) -> bool {
        matches!(self, Self::Answered(Err(_)))
    }

    /// Waits for the answer.
    pub(crate) async fn answer(self) -> Result<T, Error> {
        match self {
            Self::Pending(answer) => answer.await,
            Self::Answered(result) => result,
        }
    }
}
