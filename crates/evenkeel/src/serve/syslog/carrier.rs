//! Brings messages to the server, by one way after another.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use super::losses::Losses;
use super::message::{Form, Message};
use super::way::{Way, Went};
use super::{SyslogTarget, Trouble};

/// Messages that are sent at once.
const AT_ONCE: usize = 256;
/// Between two attempts, at first and at the most.
const PAUSES: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(15)];
/// A connection that did not live for this long was none.
const LIFE: Duration = Duration::from_secs(5);
/// A way is held to be good when nothing was heard against it for this long, and nothing was lost: over UDP, what is
/// sent to nobody is refused only later.
const PROOF: Duration = Duration::from_secs(1);

pub(super) struct Carrier {
    target: SyslogTarget,
    trouble: Trouble,
    losses: Losses,
    form: Form,
    held: Held,
}

/// Messages that are not known to have arrived, in their order.
#[derive(Default)]
struct Held {
    messages: VecDeque<Message>,
    /// So many of the first were sent by the present way.
    sent: usize,
}

impl Carrier {
    pub(super) fn new(target: SyslogTarget, trouble: Trouble, losses: Losses, form: Form) -> Self {
        Self {
            target,
            trouble,
            losses,
            form,
            held: Held::default(),
        }
    }

    /// Carries until nobody hands anything over any more.
    pub(super) async fn carry(mut self, mut queue: mpsc::Receiver<Message>) {
        let [first, most] = PAUSES;
        let mut pause = first;
        loop {
            let error = match Way::open(&self.target).await {
                Ok(mut way) => {
                    let began = Instant::now();
                    let ended = self.carry_by(&mut way, began, &mut queue).await;
                    self.note(way.end());
                    self.held.begin_anew(&self.losses);
                    if began.elapsed() >= LIFE {
                        pause = first;
                    }
                    match ended {
                        Ok(()) => return,
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            };
            self.complain(&format!("{error:#}"));
            sleep(pause).await;
            pause = (pause * 2).min(most);
        }
    }

    /// Tells why lines are not sent. How many are lost by that, the server is told, and the metrics tell: what stands in
    /// `status` is not to change all the time.
    fn complain(&mut self, why: &str) {
        let address = &self.target.address;
        let lost = match self.losses.are_untold() {
            true => "; those that do not fit into the queue are dropped",
            false => "",
        };
        self.trouble.tell(Some(format!(
            "lines of access logs are not sent to the syslog server {address}: {why}{lost}"
        )));
    }

    /// Carries by one way, first what is held.
    async fn carry_by(
        &mut self,
        way: &mut Way,
        began: Instant,
        queue: &mut mpsc::Receiver<Message>,
    ) -> anyhow::Result<()> {
        let (proven_at, mut calm_at) = (began + PROOF, began + PROOF);
        loop {
            self.send_held(way).await?;
            let now = Instant::now();
            let lost = match now >= proven_at {
                true => self.losses.take(),
                false => 0,
            };
            if lost > 0 {
                if !self.trouble.stands() {
                    self.complain("it takes them too slowly");
                }
                let notice = self.form.notice(lost, unix_ms());
                self.held.messages.push_back(notice);
                calm_at = now + PROOF;
                continue;
            }
            if now >= calm_at {
                self.trouble.tell(None);
            }
            let mut came = Vec::new();
            tokio::select! {
                biased;
                gone = way.closed() => return Err(gone.into()),
                () = sleep_until(calm_at), if now < calm_at => {}
                count = queue.recv_many(&mut came, AT_ONCE) => match count {
                    0 => return Ok(()),
                    _ => self.held.messages.extend(came),
                }
            }
        }
    }

    /// Sends what was not sent yet by this way.
    async fn send_held(&mut self, way: &mut Way) -> anyhow::Result<()> {
        while self.held.sent < self.held.messages.len() {
            let messages = self.held.messages.iter();
            let at_once = messages.skip(self.held.sent).take(AT_ONCE);
            let count = at_once.len();
            way.send(at_once).await?;
            self.held.sent += count;
            let went = way.went();
            self.note(went);
        }
        Ok(())
    }

    fn note(&mut self, went: Went) {
        self.held.forget(went.arrived);
        self.losses.note(went.lost_lines);
        self.losses.take_back(went.untold);
    }
}

impl Held {
    /// Forgets the first ones, which have arrived.
    fn forget(&mut self, arrived: usize) {
        self.messages.drain(..arrived.min(self.messages.len()));
        self.sent = self.sent.saturating_sub(arrived);
    }

    /// For another way, by which nothing was sent yet. What it will have to tell of losses is more by then, so what was
    /// to be told of them is counted again instead of sent again.
    fn begin_anew(&mut self, losses: &Losses) {
        self.sent = 0;
        self.messages.retain(|message| {
            losses.take_back(message.tells_of);
            message.tells_of == 0
        });
    }
}

/// The host's clock.
fn unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(now.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}
