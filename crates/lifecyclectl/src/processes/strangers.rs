//! `processes --strangers --end PID…`: ends those of other agents' programs that a person names.

use std::time::Duration;

use agent_sdk::process::{self, Stranger};
use anyhow::bail;
use lifecycle_cli::exit::{self, Failure};
use lifecycle_cli::output::{self, Output};
use serde::Serialize;

use super::report::StrangerRow;

#[derive(Debug, Serialize)]
struct Document<'a> {
    ended: Vec<StrangerRow<'a>>,
    left: Vec<StrangerRow<'a>>,
}

/// Ends exactly these. None is ended if one of the pids is not listed.
pub(super) async fn end(pids: &[u32], kill_after: Duration, output: Output) -> anyhow::Result<u8> {
    let listed = process::strangers();
    let named = pids.iter().map(|pid| named(*pid, &listed)).collect::<anyhow::Result<Vec<Stranger>>>()?;
    let (mut ended, mut left) = (Vec::new(), Vec::new());
    for stranger in named {
        let process = stranger.process;
        let ending = tokio::task::spawn_blocking(move || process::end_stranger(process, kill_after));
        let is_gone = ending.await.unwrap_or_default();
        if is_gone { ended.push(stranger) } else { left.push(stranger) }
    }
    match output {
        Output::Json => {
            output::print_json(&Document { ended: rows(&ended), left: rows(&left) })?;
        }
        Output::Table => {
            let line = |stranger: &Stranger| format!("ended {} ({})\n", stranger.process.pid, stranger.kind);
            output::print_stdout(&ended.iter().map(line).collect::<String>())?;
        }
    }
    if !left.is_empty() {
        let pids: Vec<String> = left.iter().map(|stranger| stranger.process.pid.to_string()).collect();
        bail!("did not end: {}; end what is of another user as root", pids.join(" "));
    }
    Ok(exit::OK)
}

fn rows(strangers: &[Stranger]) -> Vec<StrangerRow<'_>> {
    strangers.iter().map(StrangerRow::of).collect()
}

fn named(pid: u32, listed: &[Stranger]) -> anyhow::Result<Stranger> {
    let found = listed.iter().find(|stranger| stranger.process.pid == pid).cloned();
    found.ok_or_else(|| {
        let unknown = format!(
            "{pid} is none of the strangers that `lifecyclectl processes --strangers` lists: nothing was ended"
        );
        Failure::new(exit::USAGE, unknown).into()
    })
}
