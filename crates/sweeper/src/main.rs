//! The sweeper's command line.

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use lifecycle_cli::{arguments, logging};
use lifecycle_core::settings;

/// Finds agents that died without cleaning up, and cleans up after them.
#[derive(Parser)]
#[command(name = "sweeper", version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    global: arguments::GlobalArgs,
}

const EXAMPLES: &str = "Examples:
  sweeper run                                   sweep until SIGTERM, any number of replicas
  sweeper sweep --dry-run                       who would be cleaned up, touching nothing
  sweeper sweep --output json | jq .orphans     one pass, for scripts

Exit codes: 0 done, 1 failed, 2 wrong command line or settings, 69 the store could not be reached (or is
full, busy, loading, a replica, or a cluster's node), 74 the pass found orphans and held every one of them: it may
be an outage";

#[derive(Subcommand)]
enum Command {
    /// Sweep until told to stop; serves /metrics, /healthz and /readyz
    #[command(after_help = "Example:\n  sweeper run --redis-url redis://db:6379 --listen 0.0.0.0:9464")]
    Run(Run),
    /// Ask the sweeper on this machine whether it finds orphans, for health checks; exits 1 if it does not
    #[command(after_help = "Example:\n  sweeper ready && echo at work")]
    Ready(Ready),
    /// Make one pass and print what it did
    #[command(
        after_help = "Example:\n  sweeper sweep --dry-run --output json\n\nExits 74 if it found orphans and held \
                            every one of them, because their silence may be an outage's."
    )]
    Sweep(Sweep),
    /// Print a completion script for a shell
    #[command(after_help = "Example:\n  sweeper completions bash > /etc/bash_completion.d/sweeper")]
    Completions(arguments::Completions),
}

#[derive(Args)]
struct Run {
    #[arg(long, help = settings::help("http.listen"), value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
}

#[derive(Args)]
struct Ready {
    #[arg(long, help = settings::help("http.listen"), value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
}

#[derive(Args)]
struct Sweep {
    /// Look and plan only: nothing is touched
    #[arg(long)]
    dry_run: bool,

    /// Also look for registered agents that the indexes lost: reads the name of every key
    #[arg(long, conflicts_with = "dry_run")]
    reconcile: bool,
}

fn main() -> ExitCode {
    arguments::run(|cli: Cli| match cli.command {
        Command::Run(run) => {
            let settings = cli.global.sources().with_flag("--listen", "http.listen", run.listen).load()?;
            logging::start(&settings.log)?;
            runtime()?.block_on(sweeper::daemon::run(&settings))
        }
        Command::Ready(ready) => {
            let settings = cli.global.sources().with_flag("--listen", "http.listen", ready.listen).load()?;
            sweeper::http::ready::ask(settings.http.listen)
        }
        Command::Sweep(sweep) => {
            let settings = cli.global.start()?;
            let how = sweeper::once::Sweep { dry_run: sweep.dry_run, reconcile: sweep.reconcile };
            runtime()?.block_on(sweeper::once::sweep(&settings, how, cli.global.output()))
        }
        Command::Completions(completions) => completions.print::<Cli>(),
    })
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}
