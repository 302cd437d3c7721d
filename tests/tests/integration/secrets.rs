//! What a command can find of ours: who it is, and nothing that is secret.
#![cfg(target_os = "linux")]

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lifecycle_tests::process::RoleCommand;
use lifecycle_tests::program::on_path;
use lifecycle_tests::{PlainClient, Reply, Role, Server, eventually, role_binary};
use tempfile::TempDir;

use crate::fleet::{Fleet, SOON};

const PASSWORD: &str = "Tell-No-One-8";

/// Prints all that a process of the same user can read of the command itself and of everything above it.
const LOOK: &str = "env; pid=$$; while [ ${pid:-1} -gt 1 ]; do \
     for file in environ cmdline; do tr '\\0' '\\n' < /proc/$pid/$file 2>&1; done; \
     pid=$(awk '/^PPid/ {print $2}' /proc/$pid/status); [ \"$pid\" = \"$STOP\" ] && break; done";

/// The harness asks a server whether it is up, without a password; so it gets its password afterwards.
fn with_password() -> Server {
    let server = Server::start().unwrap();
    server.client().unwrap().run(&["CONFIG", "SET", "requirepass", PASSWORD]).unwrap();
    server
}

fn client(server: &Server) -> PlainClient {
    let mut client = server.client().unwrap();
    client.run(&["AUTH", PASSWORD]).unwrap();
    client
}

fn url(server: &Server) -> String {
    format!("redis://:{PASSWORD}@127.0.0.1:{}", server.port())
}

/// Stops the look upwards at the test itself, which is none of ours. In a PID namespace there would be nothing to see.
fn looking(command: RoleCommand) -> RoleCommand {
    command.env("STOP", std::process::id().to_string()).env("LIFECYCLE_CONTAINMENT__MODE", "guard")
}

#[test]
fn a_command_is_told_who_it_is_and_finds_no_setting_of_ours() {
    let fleet = Fleet::new().set("LIFECYCLE_MEMORY__TTL", "2h");
    let look = "env | grep ^LIFECYCLE_ | cut -d= -f1 | sort; env | grep -c ^OTHER_";
    let mut agent =
        fleet.agent("coder-1", look).env("OTHER_SETTING", "1").env("LIFECYCLE_OWN", "1").spawn().unwrap();
    agent.wait(SOON).unwrap();
    assert_eq!(agent.stdout(), "LIFECYCLE_AGENT_ID\nLIFECYCLE_INCARNATION\nLIFECYCLE_TOKEN\n1");
}

#[test]
fn a_password_in_a_variable_or_an_argument_is_nowhere_to_be_read_by_the_command() {
    let server = with_password();
    let place = format!("redis://127.0.0.1:{}", server.port());
    let run = ["run", "--id", "coder-1", "--", "sh", "-c", LOOK];
    let role = || looking(Role::command("agent").unwrap());
    let both =
        role().env("LIFECYCLE_REDIS__URL", &place).env("LIFECYCLE_REDIS__PASSWORD", PASSWORD).args(run);
    let in_url = role().env("LIFECYCLE_REDIS__URL", url(&server)).args(run);
    let argument = role().args(["--redis-url", &url(&server)]).args(run);
    let joined = role().arg(format!("--redis-url={}", url(&server))).args(run);
    for (name, command) in [("both", both), ("url", in_url), ("argument", argument), ("joined", joined)] {
        let mut agent = command.spawn().unwrap();
        assert_eq!(agent.wait(SOON).unwrap().code(), Some(0), "{name}: {}", agent.stderr());
        let found = agent.stdout();
        // It did look: its own supervisor's arguments are there.
        assert!(found.lines().any(|line| line == "--id"), "{name}: {found}");
        assert!(!found.contains(PASSWORD), "{name}: {found}");
    }
}

#[test]
fn a_fleet_with_a_password_works_and_no_command_of_it_can_read_the_password() {
    let server = with_password();
    let folder = TempDir::new().unwrap();
    let plan = format!(
        "[epic]\nid = \"shop\"\n[[sprint]]\nid = \"api\"\n[[sprint.agent]]\nid = \"coder\"\ncommand = [\"sh\", \"-c\", '''{LOOK}''']\n\
         [[sprint.task]]\nid = \"look\"\n"
    );
    fs::write(folder.path().join("plan.toml"), plan).unwrap();
    let role =
        || looking(Role::command("coordinator").unwrap()).in_folder(folder.path()).args(["run", "plan.toml"]);
    let place = format!("redis://127.0.0.1:{}", server.port());
    let variables = role().env("LIFECYCLE_REDIS__URL", &place).env("LIFECYCLE_REDIS__PASSWORD", PASSWORD);
    for (name, command) in
        [("variables", variables), ("argument", role().args(["--redis-url", &url(&server)]))]
    {
        let mut coordinator = command.spawn().unwrap();
        assert_eq!(coordinator.wait(SOON * 3).unwrap().code(), Some(0), "{name}: {}", coordinator.stderr());
        let log = folder.path().join("runs/shop/api/look.log");
        let found = fs::read_to_string(&log).unwrap();
        // Both parents were looked at: the supervisor's arguments, and the coordinator's.
        assert!(found.contains("--lifeline") && found.contains("plan.toml"), "{name}: {found}");
        assert!(!found.contains(PASSWORD), "{name}: {found}");
        assert_eq!(log.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        fs::remove_file(&log).unwrap();
    }
    let left = client(&server).keys().unwrap();
    assert!(left.iter().all(|key| !key.starts_with("agent:") && !key.starts_with("sprint:")), "{left:?}");
}

/// A role run by a user without rights (as the user we are, if we are no root), and the folder it must not outlive.
fn unprivileged(name: &str) -> Option<(RoleCommand, TempDir)> {
    let folder = TempDir::new().unwrap();
    if !rustix::process::geteuid().is_root() {
        return Some((Role::command(name).unwrap(), folder));
    }
    let setpriv = on_path("setpriv")?;
    let user = ["--reuid", "65534", "--regid", "65534", "--clear-groups"];
    // Where it was built may be a folder of root's alone.
    let copy = folder.path().join(name);
    fs::copy(role_binary(name).unwrap(), &copy).unwrap();
    for path in [folder.path(), &copy] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    Some((Role::program(name, &setpriv).args(user).arg(copy), folder))
}

#[test]
fn a_command_of_the_same_user_can_read_neither_memory_nor_files_nor_environment_of_its_supervisor() {
    let server = with_password();
    let Some((role, _folder)) = unprivileged("agent") else {
        println!("skipped: root, and no setpriv on PATH to become somebody else");
        return;
    };
    let look = "for file in environ mem maps; do \
                if head -c 1 /proc/$PPID/$file > /dev/null 2>&1; then echo read $file; else echo no $file; fi; done; \
                ls /proc/$PPID/fd > /dev/null 2>&1 && echo read fd || echo no fd; \
                head -c 1 /proc/$PPID/stat > /dev/null && echo read stat; sleep 300 & setsid sleep 300 & exit 0";
    let role = role.env("LIFECYCLE_REDIS__URL", url(&server)).in_folder("/");
    // The parent is the supervisor itself, or its guard.
    let mut agent = None;
    for mode in ["none", "guard"] {
        let role = role.clone().env("LIFECYCLE_CONTAINMENT__MODE", mode);
        let mut ran = role.args(["run", "--id", "coder-1", "--", "sh", "-c", look]).spawn().unwrap();
        assert_eq!(ran.wait(SOON).unwrap().code(), Some(0), "{}", ran.stderr());
        assert_eq!(ran.stdout(), "no environ\nno mem\nno maps\nno fd\nread stat", "{mode}");
        agent = Some(ran);
    }
    let agent = agent.unwrap();
    // It could still do its own work: the record says what it measured, and the tree was ended.
    let left = client(&server).keys().unwrap();
    assert!(left.iter().all(|key| !key.starts_with("agent:")), "{left:?}");
    assert_eq!(lifecycle_tests::processes_with_env("LIFECYCLE_TOKEN", "coder-1:"), [0_u32; 0]);
    let marked =
        lifecycle_tests::processes_with_env(lifecycle_tests::process::MARKER_VARIABLE, agent.marker());
    assert_eq!(marked, [0_u32; 0]);
}

#[test]
fn a_plan_may_still_come_from_a_pipe_of_the_shell() {
    let Some((role, _folder)) = unprivileged("coordinator") else {
        println!("skipped: root, and no setpriv on PATH to become somebody else");
        return;
    };
    let mut role = role.in_folder("/").args(["check", "/dev/stdin"]).spawn().unwrap();
    // Standard input of a role is /dev/null: an empty plan, which is read and found wanting.
    assert_eq!(role.wait(SOON).unwrap().code(), Some(2));
    assert!(role.stderr().contains("epic"), "{}", role.stderr());
}

/// `agent run --lifeline` by hand.
fn with_lifeline(server: &Server, input: Stdio) -> std::process::Child {
    let args = ["run", "--id", "coder-1", "--parent", "boss", "--lifeline", "--", "true"];
    let mut command = Command::new(role_binary("agent").unwrap());
    command.args(args).env("LIFECYCLE_REDIS__URL", server.url());
    command.stdin(input).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn a_lifeline_that_says_nothing_is_refused_and_never_waited_for_without_end() {
    let server = Server::start().unwrap();
    for (name, said) in
        [("nothing", ""), ("rubbish", "hello\n"), ("a secret", "{\"password\":\"Tell-No-One-8\"}\n")]
    {
        let mut agent = with_lifeline(&server, Stdio::piped());
        let mut input = agent.stdin.take().unwrap();
        input.write_all(said.as_bytes()).unwrap();
        drop(input);
        let ended = agent.wait_with_output().unwrap();
        let told = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(2), "{name}: {told}");
        assert!(
            told.contains("--lifeline") && told.lines().count() == 1 && !told.contains(PASSWORD),
            "{name}: {told}"
        );
    }
    // Open, and silent.
    let began = Instant::now();
    let mut agent = with_lifeline(&server, Stdio::piped());
    let ended = eventually(SOON, "the end of the wait", || Ok(agent.try_wait()?)).unwrap();
    assert_eq!(ended.code(), Some(2));
    assert!(began.elapsed() < Duration::from_secs(15));
    assert_eq!(server.client().unwrap().command(&[b"DBSIZE"]).unwrap(), Reply::Int(0));
}

#[test]
fn no_broken_url_shows_its_password_and_nothing_is_tried() {
    for url in [
        ":Tell-No-One-8@host",
        "user:Tell-No-One-8@host:6379",
        "redis:/x:Tell-No-One-8@host",
        "http://:Tell-No-One-8@host",
        "redis://:Tell-No-One-8",
    ] {
        for role in ["agent", "lifecyclectl", "coordinator", "sweeper"] {
            let args: &[&str] = match role {
                "agent" => &["run", "--id", "x", "--", "true"],
                "lifecyclectl" => &["ps"],
                "coordinator" => &["alive", "plan.toml"],
                _ => &["sweep"],
            };
            let folder = TempDir::new().unwrap();
            fs::write(folder.path().join("plan.toml"), plan_of_one()).unwrap();
            let mut role = Role::command(role).unwrap().in_folder(folder.path()).args(args.iter().copied());
            role = role.env("LIFECYCLE_REDIS__URL", url);
            let mut role = role.spawn().unwrap();
            assert_eq!(role.wait(SOON).unwrap().code(), Some(2), "{url}: {}", role.stderr());
            let said = role.output().all().join("\n");
            assert!(!said.contains(PASSWORD) && said.contains("redis.url"), "{url}: {said}");
        }
    }
}

fn plan_of_one() -> &'static str {
    "[epic]\nid = \"shop\"\n[[sprint]]\nid = \"api\"\n[[sprint.agent]]\nid = \"coder\"\ncommand = [\"true\"]\n[[sprint.task]]\nid = \"t\"\n"
}
