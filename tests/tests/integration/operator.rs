//! What an operator asks and orders with `lifecyclectl`, on real agents' keys in a real store.

mod act;
mod edges;
mod judge;
mod memory;
mod read;
mod text;
mod verify;

use lifecycle_core::wire::record::Order;
use lifecycle_redis::{Fenced, Life};
use lifecycle_tests::Role;
use lifecycle_tests::process::RoleCommand;
use serde_json::Value;

use crate::fleet::SOON;
use crate::site::Site;

/// What a command came to.
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Site {
    fn command(&self, args: &[&str]) -> RoleCommand {
        self.role("lifecyclectl").args(args.iter().copied())
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

    /// What the answer to the next beat of this life orders.
    fn order_to(&self, life: &Life) -> Option<(Order, String)> {
        match self.beat(life) {
            Fenced::Ok(reply) => reply.order,
            other => panic!("{other:?}"),
        }
    }

    /// As if a sweeper had just made a pass.
    fn was_just_swept(&mut self) {
        let now = self.ago(0);
        self.redis(&["HSET", "sweep:watermark", "at", &now, "good", &now, "by", "test"]);
    }
}

fn ended(command: RoleCommand) -> Ended {
    let mut role = command.spawn().unwrap();
    let code = role.wait(SOON).unwrap().code();
    Ended { code, stdout: role.stdout(), stderr: role.stderr() }
}
