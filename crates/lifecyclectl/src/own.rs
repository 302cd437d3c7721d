//! `own` and `disown`: what an agent owns beside keys.
//!
//! A command of an agent has none of our settings. So it writes into the ledger of its life, which is a file of the same
//! user on the same host, and tells the store only if it can reach it. Its supervisor tells the store before the end.

mod list;

use std::time::Duration;

use agent_sdk::process::things::{describe, name_of};
use agent_sdk::process::{Ledger, NotOfLife, TOKEN_VARIABLE, life_of_caller};
use anyhow::anyhow;
use clap::{Args, Subcommand};
use lifecycle_cli::exit::{self, Failure};
use lifecycle_cli::output::{self, Output, printable};
use lifecycle_core::agent::thing::{Thing, ThingKind};
use lifecycle_core::settings::Settings;
use lifecycle_redis::{Store, StoreError};
use serde::Serialize;

/// How long a command of an agent waits for a store that it may not be able to reach at all.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
#[command(after_help = "\
Examples, inside an agent (agent run -- CMD):
  lifecyclectl own worktree ../checkout-wt-1
  lifecyclectl own container web-1
  lifecyclectl own file /tmp/build.lock
  lifecyclectl own run 'kubectl delete namespace preview-7'
  lifecyclectl own list

Whoever ends the agent's life on this host undoes these, whatever ended it. A worktree with changes that are not committed, \
or with commits that no other branch, tag or remote has, is parked: left as it is, and named in the audit log. A file that was \
replaced stays, and a folder goes only if it is empty.")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// A linked git worktree: removed if it is clean and its commits are elsewhere, else parked
    Worktree {
        /// Its folder
        path: String,
    },
    /// A container of docker or podman: removed by force
    Container {
        /// Its id or name
        #[arg(value_name = "ID")]
        id: String,
    },
    /// A file, a symbolic link or an empty folder: removed if it is still the same
    File {
        /// Its path
        path: String,
    },
    /// A command for `sh`, which runs in this folder for shutdown.kill_timeout at most
    Run {
        /// The command, in quotes
        #[arg(value_name = "CMD")]
        command: String,
    },
    /// Lists what is owned, and what was parked or left by lives that are over
    List(list::Arguments),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples, inside an agent (agent run -- CMD):
  lifecyclectl disown file /tmp/build.lock
  lifecyclectl disown run 'kubectl delete namespace preview-7'")]
pub(crate) struct DisownArguments {
    /// worktree, container, file or run
    kind: ThingKind,
    /// As it was owned
    what: String,
}

/// What was done, and where.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Done<'a> {
    agent_id: String,
    incarnation: String,
    thing: &'a str,
    owned: bool,
    ledger: bool,
    store: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    store_problem: Option<String>,
}

pub(crate) async fn run(arguments: &Arguments, settings: &Settings, output: Output) -> anyhow::Result<u8> {
    let (kind, what) = match &arguments.what {
        What::List(arguments) => return list::run(arguments, settings, output).await,
        What::Worktree { path } => (ThingKind::Worktree, path),
        What::File { path } => (ThingKind::File, path),
        What::Container { id } => (ThingKind::Container, id),
        What::Run { command } => (ThingKind::Run, command),
    };
    let ledger = own_life()?;
    let thing = describe(kind, what)?;
    ledger.own(&thing)?;
    let told = tell(&ledger, settings, Some(&thing), &thing.name()).await;
    Done::of(&ledger, &thing.name(), true, told).show(output)
}

pub(crate) async fn disown(
    arguments: &DisownArguments,
    settings: &Settings,
    output: Output,
) -> anyhow::Result<u8> {
    let ledger = own_life()?;
    let name = name_of(arguments.kind, &arguments.what);
    if !ledger.disown(&name)? {
        return Err(anyhow!(
            "{} does not own {name:?}; `lifecyclectl own list` lists what it owns",
            ledger.id
        ));
    }
    let told = tell(&ledger, settings, None, &name).await;
    Done::of(&ledger, &name, false, told).show(output)
}

/// The life of whose command this process is.
fn own_life() -> anyhow::Result<Ledger> {
    let token = std::env::var(TOKEN_VARIABLE).ok();
    life_of_caller(token.as_deref()).map_err(|error| {
        let code = if error == NotOfLife::NoToken { exit::USAGE } else { exit::FAILED };
        Failure::new(code, format!("{error}; nothing was noted")).into()
    })
}

/// Tells the store. What became of that, in words, if it does not know now.
async fn tell(ledger: &Ledger, settings: &Settings, thing: Option<&Thing>, name: &str) -> Option<String> {
    match try_to_tell(ledger, settings, thing, name).await {
        Ok(true) => None,
        Ok(false) => Some("it takes this life for over".into()),
        Err(error) => Some(printable(&error.to_string())),
    }
}

async fn try_to_tell(
    ledger: &Ledger,
    settings: &Settings,
    thing: Option<&Thing>,
    name: &str,
) -> Result<bool, StoreError> {
    let store = Store::connect(&reaching(ledger, settings)).await?;
    let (id, life) = (ledger.id.as_str(), ledger.incarnation);
    let told = match thing {
        Some(thing) => store.host(id).note_things(id, life, std::slice::from_ref(thing)).await,
        None => store.host(id).drop_things(id, life, [name]).await.map(|()| true),
    };
    store.close().await;
    told
}

/// How the life's own store can be reached from here: by these settings if they are of that store, else by its address
/// alone. Another store must not be told.
fn reaching(ledger: &Ledger, settings: &Settings) -> Settings {
    let mut settings = within_patience(settings.clone());
    if settings.redis.address() != ledger.store {
        settings.redis.url.clone_from(&ledger.store);
        settings.redis.password = None;
    }
    settings
}

fn within_patience(mut settings: Settings) -> Settings {
    settings.redis.start_timeout = settings.redis.start_timeout.min(PATIENCE);
    settings
}

impl<'a> Done<'a> {
    fn of(ledger: &Ledger, thing: &'a str, owned: bool, store_problem: Option<String>) -> Self {
        Self {
            agent_id: ledger.id.to_string(),
            incarnation: ledger.incarnation.to_string(),
            thing,
            owned,
            ledger: true,
            store: store_problem.is_none(),
            store_problem,
        }
    }

    fn show(&self, output: Output) -> anyhow::Result<u8> {
        match output {
            Output::Json => output::print_json(self)?,
            Output::Table => output::print_stdout(&self.text())?,
        };
        Ok(exit::OK)
    }

    fn text(&self) -> String {
        let (id, thing) = (&self.agent_id, printable(self.thing));
        let done = if self.owned {
            format!("{id} owns {thing}, which is undone when this life ends\n")
        } else {
            format!("{id} does not own {thing} any more\n")
        };
        match &self.store_problem {
            None => done + "written to the ledger of this host and to the store\n",
            Some(problem) => format!(
                "{done}written to the ledger of this host, which is enough; not to the store ({problem}), which its supervisor tells\n"
            ),
        }
    }
}
