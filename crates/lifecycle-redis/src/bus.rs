//! The event bus, as a stream of hints.
//!
//! Pub/sub forgets: messages are lost while a subscriber is away, and a subscriber can die without an error. So the
//! stream has a third kind of item besides *event* and *rubbish*: [`Hint::Resync`], something may have been missed, so
//! look at the keys. It is given after every (re)connect, when messages came faster than they were read, and when the
//! watchdog (a message to ourselves from time to time) did not come back.

mod listening;

use std::time::Duration;

use fred::clients::SubscriberClient;
use fred::interfaces::{ClientLike, EventInterface, PubsubInterface};
use fred::types::Message;
use lifecycle_core::wire::codec::decode;
use lifecycle_core::wire::event::Event;
use lifecycle_core::wire::ids::AgentId;
use lifecycle_core::wire::keys::{ALERT_CHANNEL, LIFECYCLE_CHANNEL, agent_channel};
use lifecycle_core::wire::word_enum::word_enum;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::error::StoreError;
use crate::store::Store;

pub use listening::Listening;

/// Time between two messages of an observer to itself. An agent's subscription waits as long after one that did not
/// come back.
const PING_INTERVAL: Duration = Duration::from_secs(2);
/// A subscription is taken for dead when a message to ourselves has been on its way for this long.
const PING_TIMEOUT: Duration = Duration::from_secs(7);
/// Most hints that wait to be read. Those beyond become a single `Resync`.
const BACKLOG: usize = 1024;

/// One item of the stream: something that may be worth a look at the keys.
#[derive(Debug, Clone, PartialEq)]
pub enum Hint {
    /// An event on `agent:lifecycle`.
    Event(Event),
    /// An alert on `system:alerts`.
    Alert(Event),
    /// Something may have been missed: look at the keys.
    Resync(Missed),
    /// A message that is no event; it was dropped.
    Rubbish {
        /// The channel it came on.
        channel: String,
        /// What is wrong with it, for people.
        problem: String,
    },
}

word_enum! {
    /// Why something may have been missed.
    Missed, "reason to look again" {
        /// The subscription has just begun, for the first time or again.
        Subscribed = "subscribed",
        /// The connection was lost and is back.
        Reconnected = "reconnected",
        /// Events came faster than they were read.
        Overrun = "overrun",
        /// They came faster than the connection passed them on.
        Lagged = "lagged",
    }
}

impl Missed {
    /// The reason in words, for people.
    #[must_use]
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Overrun => "events came faster than they were read",
            Self::Lagged => "the subscriber fell behind",
            Self::Subscribed | Self::Reconnected => self.as_str(),
        }
    }
}

/// A subscription to events. It ends when this is dropped.
#[derive(Debug)]
pub struct Bus {
    hints: mpsc::Receiver<Hint>,
    listening: Listening,
    task: tokio::task::JoinHandle<()>,
}

impl Bus {
    /// A handle that tells, from any task, whether this subscription works.
    #[must_use]
    pub fn listening(&self) -> Listening {
        self.listening.clone()
    }

    /// Waits for the next hint. Never ends by itself.
    pub async fn next(&mut self) -> Hint {
        match self.hints.recv().await {
            Some(hint) => hint,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Store {
    /// Subscribes to the lifecycle and alert channels. The subscription lives as long as the [`Bus`], across
    /// reconnects.
    ///
    /// # Errors
    /// [`StoreError::Configuration`] when no subscriber can be built.
    pub fn subscribe(&self) -> Result<Bus, StoreError> {
        self.subscribe_to(&[LIFECYCLE_CHANNEL, ALERT_CHANNEL], PING_INTERVAL)
    }

    /// Subscribes to what is said to one agent only, so that other agents' events cost it nothing. A missed event only
    /// delays this agent until its next beat. So it checks whether it still hears no more often than it beats.
    ///
    /// # Errors
    /// As [`Store::subscribe`].
    pub fn subscribe_as(&self, agent: &AgentId) -> Result<Bus, StoreError> {
        let rhythm = self.settings().heartbeat.interval.max(PING_INTERVAL);
        self.subscribe_to(&[&agent_channel(agent.as_str())], rhythm)
    }

    fn subscribe_to(&self, channels: &[&str], rhythm: Duration) -> Result<Bus, StoreError> {
        let subscriber = self.subscriber()?;
        let (sender, hints) = mpsc::channel(BACKLOG);
        let listening = Listening::default();
        let echo = format!("{LIFECYCLE_CHANNEL}:echo:{:032x}", rand::random::<u128>());
        let listener = Listener {
            subscriber,
            channels: channels.iter().map(ToString::to_string).chain([echo.clone()]).collect(),
            subscribed: false,
            listening: listening.clone(),
            publisher: self.client.clone(),
            echo,
            rhythm,
            pinged: None,
            unanswered: None,
            begun: Instant::now(),
            hints: Outbox { sender, missed: false },
        };
        Ok(Bus { hints, listening, task: tokio::spawn(listener.run()) })
    }
}

struct Outbox {
    sender: mpsc::Sender<Hint>,
    missed: bool,
}

impl Outbox {
    fn say(&mut self, hint: Hint) {
        if self.missed && self.sender.try_send(Hint::Resync(Missed::Overrun)).is_ok() {
            self.missed = false;
        }
        self.missed |= self.sender.try_send(hint).is_err();
    }
}

struct Listener {
    subscriber: SubscriberClient,
    channels: Vec<String>,
    /// Whether the subscription was made once. From then on fred repeats it at every reconnect.
    subscribed: bool,
    listening: Listening,
    publisher: fred::clients::Client,
    echo: String,
    /// Time between two messages to ourselves.
    rhythm: Duration,
    /// When the last message to ourselves was sent.
    pinged: Option<Instant>,
    /// When the oldest message to ourselves was sent that has not come back.
    unanswered: Option<Instant>,
    /// Our messages to ourselves carry the time since this moment, in µs.
    begun: Instant,
    hints: Outbox,
}

impl Listener {
    async fn run(mut self) {
        let mut messages = self.subscriber.message_rx();
        let mut reconnects = self.subscriber.reconnect_rx();
        let _connection = AbortOnDrop(self.subscriber.connect());
        let _resubscriber = AbortOnDrop(self.subscriber.manage_subscriptions());
        self.subscribe().await;
        if self.subscribed {
            // The connection that was just made is no reconnect.
            while reconnects.try_recv().is_ok() {}
        }
        let mut next_look = Instant::now();
        loop {
            tokio::select! {
                message = messages.recv() => match message {
                    Ok(message) if *message.channel == *self.echo => {
                        self.unanswered = None;
                        self.listening.came_back(self.on_its_way(&message));
                    }
                    Ok(message) => self.hints.say(read(&message)),
                    Err(RecvError::Lagged(_)) => self.hints.say(Hint::Resync(Missed::Lagged)),
                    Err(RecvError::Closed) => return,
                },
                reconnect = reconnects.recv() => if reconnect.is_ok() {
                    self.unanswered = None;
                    if self.subscribed {
                        self.hints.say(Hint::Resync(Missed::Reconnected));
                    } else {
                        self.subscribe().await;
                    }
                    self.ping();
                },
                () = sleep_until(next_look) => next_look = self.keep_proving().await,
            }
        }
    }

    /// Sends the next message to ourselves when it is due, and another one soon after if it did not come back: the very
    /// first can reach the server before the subscription does. Returns when to call again.
    async fn keep_proving(&mut self) -> Instant {
        if self.unanswered.is_some_and(|sent| sent.elapsed() > PING_TIMEOUT) {
            self.unanswered = None;
            self.listening.went_quiet();
            self.revive().await;
        } else if self.unanswered.is_none() && self.pinged.is_some_and(|at| at.elapsed() < self.rhythm) {
            return self.pinged.unwrap_or(self.begun) + self.rhythm;
        }
        self.ping();
        Instant::now() + PING_INTERVAL
    }

    async fn subscribe(&mut self) {
        match self.subscriber.subscribe(self.channels.clone()).await {
            Ok(()) => {
                self.subscribed = true;
                self.hints.say(Hint::Resync(Missed::Subscribed));
            }
            // The next connection tries again, and so does the watchdog.
            Err(error) => tracing::debug!(%error, "could not subscribe yet"),
        }
    }

    async fn revive(&mut self) {
        if self.subscribed {
            tracing::warn!("the event subscription went quiet; subscribing again");
        }
        if self.subscriber.is_connected() {
            let _ = self.subscriber.force_reconnection().await;
        }
        self.subscribe().await;
    }

    fn ping(&mut self) {
        // It runs on its own task: a store that does not answer must not stop the listening.
        let (publisher, echo) = (self.publisher.clone(), self.echo.clone());
        let stamp = self.begun.elapsed().as_micros().to_string();
        let now = Instant::now();
        self.pinged = Some(now);
        self.unanswered.get_or_insert(now);
        self.listening.sent();
        tokio::spawn(async move {
            let _: Result<(), _> = publisher.publish(echo, stamp).await;
        });
    }

    /// How long our own message was on its way, by the time stamp in it.
    fn on_its_way(&self, message: &Message) -> Option<Duration> {
        let sent = Duration::from_micros(message.value.as_str()?.parse().ok()?);
        Some(self.begun.elapsed().saturating_sub(sent))
    }
}

fn read(message: &Message) -> Hint {
    let channel = message.channel.to_string();
    let bytes = message.value.as_bytes().unwrap_or_default();
    match decode::<Event>(bytes) {
        Ok(event) if channel == ALERT_CHANNEL => Hint::Alert(event),
        Ok(event) => Hint::Event(event),
        Err(error) => Hint::Rubbish { channel, problem: error.to_string() },
    }
}

struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
