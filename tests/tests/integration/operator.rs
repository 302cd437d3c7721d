//! What an operator asks and orders with `lifecyclectl`, on real agents' keys in a real store.

mod act;
mod edges;
mod judge;
mod memory;
mod read;
mod text;
mod verify;

use std::time::Duration;

use lifecycle_core::settings::Settings;
use lifecycle_core::wire::ids::{AgentId, EpicId, SprintId, TaskId};
use lifecycle_core::wire::record::{AgentState, Heartbeat, Order, Registration, Role as AgentRole};
use lifecycle_core::wire::task::{Assignment, TaskRecord};
use lifecycle_core::wire::time::HostTime;
use lifecycle_redis::{Assigned, Fenced, Life, Registered, SprintStarted, Store};
use lifecycle_tests::process::RoleCommand;
use lifecycle_tests::{PlainClient, Role, Server};
use serde_json::Value;
use tokio::runtime::Runtime;

const SOON: Duration = Duration::from_secs(20);
const LEASE: Duration = Duration::from_secs(600);
const PID: u32 = 4242;

/// A store, an operator and the agents they look at.
struct Site {
    server: Server,
    runtime: Runtime,
    store: Store,
    client: PlainClient,
}

/// What a command came to.
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Site {
    fn start() -> Self {
        let server = Server::start().unwrap();
        let mut settings = Settings::default();
        settings.redis.url = server.url();
        let runtime = Runtime::new().unwrap();
        let store = runtime.block_on(Store::connect(&settings)).unwrap();
        let client = server.client().unwrap();
        Self { server, runtime, store, client }
    }

    fn command(&self, args: &[&str]) -> RoleCommand {
        let command = Role::command("lifecyclectl").unwrap().args(args.iter().copied());
        command.env("LIFECYCLE_REDIS__URL", self.server.url())
    }

    fn spawn(&self, args: &[&str]) -> Role {
        self.command(args).spawn().unwrap()
    }

    fn run(&self, args: &[&str]) -> Ended {
        ended(self.command(args))
    }

    /// Data of a command that succeeds, and no word on stderr.
    fn ok(&self, args: &[&str]) -> String {
        let Ended { code, stdout, stderr } = self.run(args);
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{args:?}: {stdout}");
        stdout
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.ok(&[args, &["--output", "json"]].concat())).unwrap()
    }

    /// The one line of a command that fails with this code.
    fn refused(&self, args: &[&str], code: i32) -> String {
        let ended = self.run(args);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(code), ""), "{args:?}: {}", ended.stderr);
        assert_eq!(ended.stderr.lines().count(), 1, "{args:?}: {}", ended.stderr);
        ended.stderr
    }

    fn registers(&self, id: &str, change: impl FnOnce(&mut Registration)) -> Life {
        let mut registration = registration(id);
        change(&mut registration);
        match self
            .runtime
            .block_on(self.store.newcomer(&registration).register(AgentState::Running, None))
            .unwrap()
        {
            Registered::Ok(life) => life,
            other => panic!("{id}: {other:?}"),
        }
    }

    fn beats(&self, life: &Life) -> Option<(Order, String)> {
        let timestamp = Some(HostTime::from_host_ms(1));
        let beat = Heartbeat { agent_id: life.id.to_string(), timestamp, ..Heartbeat::default() };
        let lease = u64::try_from(LEASE.as_millis()).unwrap();
        let reply =
            self.runtime.block_on(self.store.agent(life).beat(lease, &beat, AgentState::Running)).unwrap();
        match reply {
            Fenced::Ok(reply) => reply.order,
            other => panic!("{other:?}"),
        }
    }

    /// An agent on the plain protocol, with a heartbeat of this age in ms.
    /// Its beat is as old by the server's clock as by its own; of one as old as its lifetime only the timestamp tells.
    fn plain(&mut self, id: &str, age: i64) {
        let written = self.now() - age;
        let beat = format!(r#"{{"agentId":"{id}","timestamp":{written},"pid":77}}"#);
        let (key, expires_at) = (format!("agent:heartbeat:{id}"), (written + 180_000).to_string());
        let lifetime: &[&str] = if age < 180_000 { &["PXAT", &expires_at] } else { &[] };
        self.redis(&[&["SET", &key, &beat], lifetime].concat());
        self.redis(&["SADD", "agents:active", id]);
    }

    fn expires(&mut self, id: &str) {
        let over = (self.now() - 12_000).to_string();
        self.redis(&["ZADD", "agents:leases", "XX", &over, id]);
    }

    fn now(&mut self) -> i64 {
        self.client.now_ms().unwrap()
    }

    /// In bytes, as the server counts them.
    fn used_memory(&mut self) -> u64 {
        let info = self.client.text(&["INFO", "memory"]).unwrap().unwrap();
        info.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap().parse().unwrap()
    }

    fn redis(&mut self, parts: &[&str]) {
        self.client.run(parts).unwrap();
    }

    /// A coordinator that runs the sprint `api` of the epic `shop`.
    fn coordinator(&self) -> Life {
        let epic = EpicId::new("shop").unwrap();
        let life = self.registers("boss", |boss| {
            boss.role = AgentRole::Coordinator;
            boss.epic = Some(epic.clone());
        });
        let tasks = [(TaskId::new("login").unwrap(), TaskRecord::pending(3, 3))].into();
        let sprint = sprint();
        let coordinator_store = self.store.coordinator(&life);
        let started = coordinator_store.start_sprint(&epic, &sprint, &tasks, &[]);
        assert_eq!(self.runtime.block_on(started).unwrap(), Fenced::Ok(SprintStarted::Ok));
        life
    }

    /// A worker of that sprint with the task `login` in flight.
    fn worker(&self, id: &str, boss: &Life) -> Life {
        let life = self.registers(id, |worker| *worker = worker_of(id, boss));
        let task = Assignment {
            run: 1,
            task: TaskId::new("login").unwrap(),
            sprint: sprint(),
            attempt: 1,
            max_attempts: 3,
            input: "write the login".into(),
            timeout: None,
        };
        let coordinator_store = self.store.coordinator(boss);
        let assigned = coordinator_store.assign_task(&life.id, life.incarnation, &task);
        assert_eq!(self.runtime.block_on(assigned).unwrap(), Fenced::Ok(Assigned::Ok));
        life
    }

    fn worker_is_over(&mut self, id: &str, boss: &Life) {
        self.registers(id, |worker| *worker = worker_of(id, boss));
        self.expires(id);
    }
}

fn registration(id: &str) -> Registration {
    Registration {
        id: AgentId::new(id).unwrap(),
        role: AgentRole::Worker,
        kind: "coder".into(),
        parent: None,
        sprint: None,
        epic: None,
        host: "builder".into(),
        pid: PID,
        pid_start: None,
        place: None,
        lease: LEASE,
    }
}

fn worker_of(id: &str, boss: &Life) -> Registration {
    Registration { parent: Some(boss.id.clone()), sprint: Some(sprint()), ..registration(id) }
}

fn sprint() -> SprintId {
    SprintId::new("api").unwrap()
}

fn ended(command: RoleCommand) -> Ended {
    let mut role = command.spawn().unwrap();
    let code = role.wait(SOON).unwrap().code();
    Ended { code, stdout: role.stdout(), stderr: role.stderr() }
}
