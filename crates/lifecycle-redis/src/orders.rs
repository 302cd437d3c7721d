//! Writes about an agent by others: orders, evidence of its end, events.

use fred::interfaces::{ClientLike, PubsubInterface};
use fred::types::Value;
use lifecycle_core::agent::shutdown::StopCause;
use lifecycle_core::agent::thing::Account;
use lifecycle_core::wire::event::{Event, Payload};
use lifecycle_core::wire::ids::Incarnation;
use lifecycle_core::wire::keys::{ALERT_CHANNEL, LIFECYCLE_CHANNEL, agent_channel};
use lifecycle_core::wire::process_fate::Fate;
use lifecycle_core::wire::record::Order;
use lifecycle_core::wire::time::ServerTime;

use crate::error::StoreError;
use crate::removal::LOG_LENGTH;
use crate::reply::{Reply, number};
use crate::scripts::{Acknowledge, Evidence, GiveOrder};
use crate::store::Store;
use crate::things::things_fields;

impl Store {
    /// Gives an order. The agent learns of it in the reply to its next beat, which the event makes come at once.
    /// `false` if that life is not there.
    pub(crate) async fn order(
        &self,
        id: &str,
        incarnation: Option<Incarnation>,
        order: Order,
        why: StopCause,
    ) -> Result<bool, StoreError> {
        let names = GiveOrder { state: self.keys().state(id), command: self.keys().command(id) };
        let life = incarnation.map(|incarnation| incarnation.to_string()).unwrap_or_default();
        let args = vec![
            id.into(),
            life.into(),
            order.as_str().into(),
            why.as_str().into(),
            self.wire.as_str().into(),
        ];
        let reply = Reply::read(self.run(names, args).await?)?;
        Ok(reply.word() == "ok")
    }

    /// Reports that the agent's process ended without a clean release. Its lease ends now. `false` if that life is not
    /// there any more.
    pub(crate) async fn process_exited(
        &self,
        id: &str,
        incarnation: Incarnation,
        status: &str,
        seen_by: &str,
    ) -> Result<bool, StoreError> {
        let names = Evidence { leases: self.keys().leases(), state: self.keys().state(id) };
        let args = vec![
            id.into(),
            incarnation.to_string().into(),
            status.into(),
            seen_by.into(),
            self.wire.as_str().into(),
        ];
        let reply = Reply::read(self.run(names, args).await?)?;
        Ok(reply.word() == "ok")
    }

    /// Reports what was proven of the agent's processes on its own host, in an event and in the audit log; and in the log
    /// what became of the things that it owned.
    pub(crate) async fn acknowledge(
        &self,
        id: &str,
        incarnation: Incarnation,
        (fate, things): (&Fate, &Account),
        by: &str,
    ) -> Result<(), StoreError> {
        let pids: Vec<String> = fate.pids.iter().map(u32::to_string).collect();
        let mut args: Vec<Value> = vec![
            id.into(),
            incarnation.to_string().into(),
            fate.process.as_str().into(),
            by.into(),
            self.wire.as_str().into(),
            crate::reply::argument(LOG_LENGTH.into()),
            pids.join(" ").into(),
        ];
        args.extend(things_fields(things)?.into_iter().flat_map(|(name, value)| [name.into(), value.into()]));
        self.run(Acknowledge { log: self.keys().log() }, args).await.map(drop)
    }

    /// Publishes an event about an agent, and a life of it where one is known. It is lost if nobody listens.
    pub(crate) async fn announce(
        &self,
        id: &str,
        life: Option<Incarnation>,
        payload: Payload,
    ) -> Result<(), StoreError> {
        let now = self.server_time().await?;
        self.publish(&Event::new(payload, now.as_ms()).about(id, life)).await
    }

    /// Publishes an event as it is: to all observers, and to the agent it is addressed to.
    pub(crate) async fn publish(&self, event: &Event) -> Result<(), StoreError> {
        let channel = match event.payload {
            Payload::MemoryLeakDetected { .. } | Payload::MemoryLimitExceeded { .. } => ALERT_CHANNEL,
            _ => LIFECYCLE_CHANNEL,
        };
        let bytes = self.wire.encode(event)?;
        let observers = self.client.publish::<(), _, _>(channel, bytes.as_slice());
        match &event.agent_id {
            Some(agent) if event.kind().is_addressed() => {
                let addressee = self.client.publish::<(), _, _>(agent_channel(agent), bytes.as_slice());
                futures_util::future::try_join(observers, addressee).await?;
            }
            _ => observers.await?,
        }
        Ok(())
    }

    /// What the store's clock says.
    pub async fn server_time(&self) -> Result<ServerTime, StoreError> {
        let value: fred::types::Value =
            self.client.custom(fred::cmd!("TIME"), Vec::<fred::types::Value>::new()).await?;
        let mut parts = value.into_array().into_iter().filter_map(|part| number(&part));
        match (parts.next(), parts.next()) {
            (Some(seconds), Some(micros)) => Ok(ServerTime::from_store_ms(seconds * 1_000 + micros / 1_000)),
            _ => Err(StoreError::Unexpected("TIME did not reply with two numbers".into())),
        }
    }
}
