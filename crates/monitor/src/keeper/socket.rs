//! The unix socket on which other roles ask, for the api may be another process. One question and one answer to a
//! connection, each a line of JSON.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use model::{FigureAnswer, FigureQuery, Newest, Unanswered};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::Asker;

/// Those who ask at once; more wait to be let in.
const MOST_ASKING: usize = 16;
/// Bytes of a question.
const MOST_QUESTION: u64 = 64 << 10;
/// Bytes of an answer: a million values, as many as there can be, of 20 digits and some.
const MOST_ANSWER: u64 = 32 << 20;
/// How long a question may take to come, and its answer to be taken.
const EXCHANGE: Duration = Duration::from_secs(5);
/// How long the log may take for an answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);
/// After a connection could not be taken, for want of descriptors.
const PAUSE: Duration = Duration::from_millis(200);

/// What can be asked.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Question {
    /// For what was counted of everything.
    Newest { newest: bool },
    /// For an instance's past.
    Figures(FigureQuery),
}

/// Makes the socket, in the place of one that a predecessor left. Only its owner can ask.
///
/// # Errors
/// What the system says.
pub fn bind_questions(path: &Path) -> io::Result<UnixListener> {
    // Nobody can connect before its mode is set, and a name that is there is never without a listener.
    let fresh = path.with_extension("new");
    let _absent = std::fs::remove_file(&fresh);
    let listener = UnixListener::bind(&fresh)?;
    std::fs::set_permissions(&fresh, PermissionsExt::from_mode(0o600))?;
    std::fs::rename(&fresh, path)?;
    Ok(listener)
}

/// Answers whoever asks, for as long as this is awaited.
pub async fn answer_questions(listener: UnixListener, asker: Asker) -> std::convert::Infallible {
    let mut asking = JoinSet::new();
    loop {
        while asking.len() >= MOST_ASKING {
            let _ended = asking.join_next().await;
        }
        match listener.accept().await {
            Ok((stream, _)) => {
                let _own_trouble = asking.spawn(converse(stream, asker.clone()));
            }
            Err(_no_descriptors) => sleep(PAUSE).await,
        }
        while asking.try_join_next().is_some() {}
    }
}

/// Whoever asks and hangs up, or asks nonsense, gets no answer.
async fn converse(stream: UnixStream, asker: Asker) -> io::Result<()> {
    let (from, mut to) = stream.into_split();
    let mut line = String::new();
    let mut from = BufReader::new(from.take(MOST_QUESTION));
    timeout(EXCHANGE, from.read_line(&mut line)).await??;
    let mut text = match serde_json::from_str(&line) {
        Ok(Question::Newest { .. }) => serde_json::to_vec(&Ok::<_, Unanswered>(asker.newest())),
        Ok(Question::Figures(query)) => {
            let answer = tokio::select! {
                answer = asker.ask(query) => answer,
                () = hangs_up(&mut from) => return Ok(()),
            };
            serde_json::to_vec(&answer)
        }
        Err(error) => serde_json::to_vec(&Err::<FigureAnswer, _>(Unanswered::Unavailable(
            format!("the question cannot be read: {error}"),
        ))),
    }?;
    text.push(b'\n');
    timeout(EXCHANGE, to.write_all(&text)).await?
}

/// Waits until whoever asked has gone. What he says beyond his question is not heard.
async fn hangs_up(from: &mut (impl AsyncRead + Unpin)) {
    while matches!(from.read_u8().await, Ok(_more)) {}
}

/// Asks the monitor that listens on a socket for an instance's past.
///
/// # Errors
/// [`Unanswered`], also where nobody listens.
pub async fn ask_monitor(path: &Path, query: &FigureQuery) -> Result<FigureAnswer, Unanswered> {
    ask(path, query).await
}

/// Asks the monitor that listens on a socket for what it counted of everything.
///
/// # Errors
/// [`Unanswered::Unavailable`].
pub async fn ask_newest(path: &Path) -> Result<Newest, Unanswered> {
    ask(path, &Question::Newest { newest: true }).await
}

async fn ask<A: DeserializeOwned>(path: &Path, question: &impl Serialize) -> Result<A, Unanswered> {
    let exchange = async {
        let mut stream = UnixStream::connect(path).await?;
        let mut text = serde_json::to_vec(question)?;
        text.push(b'\n');
        stream.write_all(&text).await?;
        let mut answer = String::new();
        stream.take(MOST_ANSWER).read_to_string(&mut answer).await?;
        Ok::<_, io::Error>(serde_json::from_str(&answer)?)
    };
    let unavailable = |why: String| {
        Err(Unanswered::Unavailable(format!(
            "the monitor does not answer at {}: {why}",
            path.display()
        )))
    };
    match timeout(PATIENCE + EXCHANGE, exchange).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => unavailable(error.to_string()),
        Err(_late) => unavailable("it takes too long".into()),
    }
}
