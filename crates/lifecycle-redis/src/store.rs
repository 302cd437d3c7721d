//! The connection to the store, and its options.
//!
//! fred's defaults suit request handlers, and a daemon needs others. Each option below is set because its default
//! hangs, gives up, or runs a command twice.

use std::sync::Arc;
use std::time::Duration;

use fred::clients::{Client, SubscriberClient};
use fred::interfaces::ClientLike;
use fred::types::config::{
    ConnectionConfig, PerformanceConfig, ReconnectPolicy, TcpConfig, UnresponsiveConfig,
};
use fred::types::scripts::Script as Source;
use fred::types::{Builder, Value};
use lifecycle_core::settings::Settings;
use lifecycle_core::wire::codec::Wire;
use lifecycle_core::wire::keys::{KeySchema, Layout};
use serde::Serialize;

use crate::error::StoreError;
use crate::fenced::Life;
use crate::reply::Reply;
use crate::scripts::{FencedKeys, Keys, Scripts};
use crate::tls;

/// How long a command waits for a store that does not answer before it says so.
const NOTICE_AFTER: Duration = Duration::from_secs(1);

/// A connection to the store: cheap to clone, shared by all clones, reconnecting for ever.
#[derive(Debug, Clone)]
pub struct Store {
    pub(crate) client: Client,
    pub(crate) builder: Arc<Builder>,
    pub(crate) scripts: Arc<Scripts>,
    pub(crate) keys: Arc<KeySchema>,
    pub(crate) wire: Wire,
    settings: Arc<Settings>,
}

impl Store {
    /// Opens a connection in the background and returns at once: commands wait for it up to
    /// `redis.command_timeout` and then fail with [`StoreError::Unavailable`]. For daemons, which start in any
    /// order and survive the store's absence.
    ///
    /// # Errors
    /// [`StoreError::Configuration`] when the URL cannot be used.
    pub fn open(settings: &Settings) -> Result<Self, StoreError> {
        let builder = builder(settings)?;
        let client = builder.build()?;
        client.connect();
        Ok(Self {
            client,
            builder: Arc::new(builder),
            scripts: Arc::new(Scripts::new()),
            keys: Arc::new(KeySchema::new(Layout::Standalone)),
            wire: settings.wire.format,
            settings: Arc::new(settings.clone()),
        })
    }

    /// Opens a connection and waits up to `redis.start_timeout` for it. For commands that are of no use without
    /// the store.
    ///
    /// # Errors
    /// [`StoreError::Configuration`] when the URL cannot be used, [`StoreError::Unreachable`] when no server
    /// answered, [`StoreError::Refused`] when it wants another password.
    pub async fn connect(settings: &Settings) -> Result<Self, StoreError> {
        let store = Self::open(settings)?;
        let mut errors = fred::interfaces::EventInterface::error_rx(&store.client);
        let deadline = tokio::time::sleep(settings.redis.start_timeout);
        tokio::pin!(deadline);
        // A silent wait at a terminal looks like a hang.
        let notice = tokio::time::sleep(NOTICE_AFTER);
        tokio::pin!(notice);
        let mut is_told = false;
        let mut last = String::from("no answer");
        loop {
            tokio::select! {
                ready = store.client.wait_for_connect() => return ready.map(|()| store.clone()).map_err(StoreError::from),
                () = &mut deadline => return Err(store.unreachable(last)),
                () = &mut notice, if !is_told => {
                    is_told = true;
                    let (url, patience) = (store.url(), humantime::format_duration(settings.redis.start_timeout));
                    tracing::warn!("no store answers at {url} yet ({last}); waiting for it, up to {patience}");
                }
                error = errors.recv() => if let Ok((error, _)) = error {
                    last = crate::error::in_words(error.details());
                    let error = StoreError::from(error);
                    if !error.is_transient() { return Err(error) }
                },
            }
        }
    }

    /// Why connections fail, as it happens. A command's own error only tells that it was not answered.
    #[must_use]
    pub fn troubles(&self) -> Troubles {
        Troubles(fred::interfaces::EventInterface::error_rx(&self.client))
    }

    fn unreachable(&self, detail: String) -> StoreError {
        StoreError::Unreachable {
            url: self.settings.redis.url_without_password(),
            seconds: self.settings.redis.start_timeout.as_secs(),
            detail,
        }
    }

    /// The settings this connection was made with.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The key names of this connection's layout.
    #[must_use]
    pub fn keys(&self) -> &KeySchema {
        &self.keys
    }

    /// The URL without its password, as people may see it.
    #[must_use]
    pub fn url(&self) -> String {
        self.settings.redis.url_without_password()
    }

    /// Whether traffic to the store is encrypted, and the store has proven its identity.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.builder.get_config().is_some_and(fred::types::config::Config::uses_tls)
    }

    /// Whether the store is reached over a Unix socket.
    #[must_use]
    pub fn is_local_socket(&self) -> bool {
        self.builder.get_config().is_some_and(|config| config.server.is_unix_socket())
    }

    /// Whether there is a connection at this moment.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.client.is_connected()
    }

    /// A separate client for a subscription.
    pub(crate) fn subscriber(&self) -> Result<SubscriberClient, StoreError> {
        let mut builder = Builder::clone(&self.builder);
        // This would wake the process every second to look for unanswered commands, and a subscription sends none. A
        // message to itself shows whether it still hears anything.
        builder.with_connection_config(|connection| connection.unresponsive.max_timeout = None);
        Ok(builder.build_subscriber_client()?)
    }

    /// Closes the connection. Commands that were already sent are answered first.
    pub async fn close(&self) {
        // A failure loses nothing: the process is ending, and the server drops the connection.
        let _ = self.client.quit().await;
    }

    /// Runs a script.
    pub(crate) async fn run<K: Keys>(&self, keys: K, args: Vec<Value>) -> Result<Value, StoreError> {
        self.run_on(keys, Vec::new(), args).await
    }

    /// The same with further keys behind the named ones.
    pub(crate) async fn run_on<K: Keys>(
        &self,
        keys: K,
        further: impl IntoIterator<Item = String>,
        args: Vec<Value>,
    ) -> Result<Value, StoreError> {
        let mut names = keys.named();
        names.extend(further);
        self.evaluate(K::source(&self.scripts), names, args).await
    }

    /// Runs a write of this life, which the script refuses where the life may not write. No other place says whose
    /// write it is.
    pub(crate) async fn run_fenced<K: FencedKeys>(
        &self,
        life: &Life,
        keys: K,
        args: Vec<Value>,
    ) -> Result<Reply, StoreError> {
        self.run_fenced_on(life, keys, Vec::new(), args).await
    }

    /// The same with further keys behind the named ones.
    pub(crate) async fn run_fenced_on<K: FencedKeys>(
        &self,
        life: &Life,
        keys: K,
        further: impl IntoIterator<Item = String>,
        args: Vec<Value>,
    ) -> Result<Reply, StoreError> {
        let mut names =
            vec![self.keys.state(life.id.as_str()), self.keys.generation(), self.keys.memory_stats()];
        names.extend(keys.named());
        names.extend(further);
        let mut all = vec![life.incarnation.to_string().into(), life.generation.as_str().into()];
        all.extend(args);
        Reply::read(self.evaluate(K::source(&self.scripts), names, all).await?)
    }

    async fn evaluate(
        &self,
        source: &Source,
        keys: Vec<String>,
        args: Vec<Value>,
    ) -> Result<Value, StoreError> {
        match source.evalsha_with_reload::<Value, _, _>(&self.client, keys.clone(), args).await {
            Ok(reply) => Ok(reply),
            Err(error) => Err(self.diagnose(error, &keys).await),
        }
    }
}

/// The errors of a connection, as they happen.
#[derive(Debug)]
pub struct Troubles(
    tokio::sync::broadcast::Receiver<(fred::error::Error, Option<fred::types::config::Server>)>,
);

impl Troubles {
    /// The next error. Waits for ever once the connection was closed.
    pub async fn next(&mut self) -> StoreError {
        use tokio::sync::broadcast::error::RecvError;
        loop {
            match self.0.recv().await {
                Ok((error, _)) => return error.into(),
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => std::future::pending().await,
            }
        }
    }
}

/// The schemes that a URL may have: one server by TCP, by TLS (in a build with it) or by a socket.
const SCHEMES: [&str; 6] = ["redis", "valkey", "rediss", "valkeys", "redis+unix", "valkey+unix"];

fn builder(settings: &Settings) -> Result<Builder, StoreError> {
    let redis = &settings.redis;
    let scheme = redis.url.split("://").next().unwrap_or_default();
    if !SCHEMES.contains(&scheme) {
        return Err(StoreError::Configuration {
            url: redis.url_without_password(),
            problem: format!(
                "it begins with none of {}",
                SCHEMES.map(|scheme| format!("{scheme}://")).join(" ")
            ),
        });
    }
    let mut config = tls::config(redis)
        .map_err(|problem| StoreError::Configuration { url: redis.url_without_password(), problem })?;
    // `false`: keep trying from the first attempt on. Callers bring their own start-up deadline.
    config.fail_fast = false;
    if redis.password.is_some() {
        config.password.clone_from(&redis.password);
    }
    let mut builder = Builder::from_config(config);
    // Default: give up at the first broken connection.
    builder.set_policy(reconnecting());
    builder.set_performance_config(PerformanceConfig {
        // Default: never.
        default_command_timeout: redis.command_timeout,
        // Default 32: a burst of events would be dropped.
        broadcast_channel_capacity: 1024,
        ..PerformanceConfig::default()
    });
    builder.set_connection_config(ConnectionConfig {
        connection_timeout: Duration::from_secs(2),
        internal_command_timeout: Duration::from_secs(2),
        // Default 3: a script that is not idempotent would run twice after a reconnect.
        max_command_attempts: 1,
        // Default: none, so a store that accepts and never answers would hang everything for ever.
        unresponsive: UnresponsiveConfig {
            max_timeout: Some(Duration::from_secs(3)),
            // Each look wakes the process, and an idle agent has hardly anything else to wake up for. So it looks a few
            // times a beat; fleets that beat often look more often.
            interval: (settings.heartbeat.interval / 10)
                .clamp(Duration::from_secs(1), Duration::from_secs(3)),
        },
        reconnect_on_auth_error: true,
        // Default: unlimited, so an outage would fill the memory.
        max_command_buffer_len: 10_000,
        tcp: TcpConfig { nodelay: Some(true), ..TcpConfig::default() },
        ..ConnectionConfig::default()
    });
    Ok(builder)
}

/// For ever, after 1, 4, 16, 64, 256 and 1,024 ms and then every two seconds or so. The client waits before its very first
/// attempt too, jitter included, which made every command 90 ms late: so the first pause is as short as it can be. And it
/// cuts the jitter off at the longest pause, so that a whole fleet would come back together after an outage: so the
/// longest pause is another one in each process.
fn reconnecting() -> ReconnectPolicy {
    let longest = rand::random_range(1_500..2_500);
    let mut policy = ReconnectPolicy::new_exponential(0, 1, longest, 4);
    policy.set_jitter(0);
    policy
}

/// Named arguments for a script.
pub(crate) fn arguments<T: Serialize>(value: &T) -> Result<Value, StoreError> {
    Ok(Value::Bytes(Wire::MsgPack.encode(value)?.into()))
}
