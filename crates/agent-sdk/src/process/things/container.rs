//! Removes a container, by whichever of docker and podman is there.

use std::process::Command;

use lifecycle_core::agent::thing::{Outcome, Thing};

use super::{Became, Hands, PATIENCE};

const ENGINES: [&str; 2] = ["docker", "podman"];

pub(super) fn undo(thing: &Thing, hands: &Hands) -> Became {
    for engine in ENGINES {
        let mut command = Command::new(engine);
        command.args(["rm", "-f", &thing.what]);
        match hands.ask(command, PATIENCE) {
            Ok(answer) if answer.is_success || is_absent(&answer.errors) => {
                return (Outcome::Undone, String::new());
            }
            Ok(answer) => return (Outcome::Left, format!("{engine}: {}", answer.complaint())),
            // The other one may be there.
            Err(_) if !hands.finds(engine) => {}
            Err(error) => return (Outcome::Left, format!("{engine}: {error}")),
        }
    }
    (Outcome::Left, "neither docker nor podman is on PATH".into())
}

/// Both say so, and some versions count it as a failure.
fn is_absent(errors: &str) -> bool {
    errors.to_lowercase().contains("no such container")
}
