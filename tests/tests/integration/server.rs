//! The harness's server is private, behaves as told and is gone when dropped.

use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use lifecycle_tests::plain::Reply;
use lifecycle_tests::{PlainClient, Server, ServerOptions};
#[cfg(target_os = "linux")]
use lifecycle_tests::{
    Role, eventually, process::MARKER_VARIABLE, processes_with_env, program::SERVER_VARIABLE,
};

fn value(server: &Server) -> Option<String> {
    server.client().unwrap().text(&["GET", "who"]).unwrap()
}

#[test]
fn a_started_server_answers_and_evicts_nothing() {
    let server = Server::start().unwrap();
    let mut client = server.client().unwrap();
    assert_eq!(client.run(&["PING"]).unwrap(), Reply::Simple("PONG".to_owned()));
    let policy = client.run(&["CONFIG", "GET", "maxmemory-policy"]).unwrap().texts();
    assert_eq!(policy, ["maxmemory-policy", "noeviction"]);
}

#[test]
fn two_servers_side_by_side_share_nothing() {
    let (one, two) = (Server::start().unwrap(), Server::start().unwrap());
    one.client().unwrap().run(&["SET", "who", "one"]).unwrap();
    two.client().unwrap().run(&["SET", "who", "two"]).unwrap();
    assert_ne!(one.port(), two.port());
    assert_eq!(value(&one).as_deref(), Some("one"));
    assert_eq!(value(&two).as_deref(), Some("two"));
}

#[test]
fn a_paused_server_answers_nothing_until_it_is_resumed() {
    let server = Server::start().unwrap();
    server.pause().unwrap();
    let patience = Duration::from_millis(200);
    let mut client = PlainClient::connect_within(server.port(), patience).unwrap();
    client.run(&["PING"]).expect_err("a paused server must not answer");
    server.resume().unwrap();
    server.client().unwrap().run(&["PING"]).unwrap();
}

#[test]
fn a_restarted_server_keeps_its_port_and_forgets_what_it_did_not_persist() {
    let mut server = Server::start().unwrap();
    let (port, pid) = (server.port(), server.pid());
    server.client().unwrap().run(&["SET", "who", "me"]).unwrap();
    server.restart().unwrap();
    assert_eq!(server.port(), port);
    assert_ne!(server.pid(), pid);
    assert_eq!(value(&server), None);
}

#[test]
fn a_server_told_to_persist_keeps_its_data_through_kill_and_restart() {
    let args = ["--appendonly", "yes", "--appendfsync", "always"].map(str::to_owned).to_vec();
    let mut server = Server::start_with(ServerOptions { args, ..Default::default() }).unwrap();
    server.client().unwrap().run(&["SET", "who", "me"]).unwrap();
    server.kill().unwrap();
    assert!(server.client().is_err(), "a killed server must not accept connections");
    server.restart().unwrap();
    assert_eq!(value(&server).as_deref(), Some("me"));
}

#[test]
fn a_dropped_server_is_dead_even_while_paused() {
    let server = Server::start().unwrap();
    let port = server.port();
    server.pause().unwrap();
    drop(server);
    assert!(PlainClient::connect(port).is_err());
    TcpListener::bind(("127.0.0.1", port)).expect("the port must be free again");
}

#[test]
fn a_server_outlives_the_thread_that_started_it() {
    let server = thread::spawn(|| Server::start().unwrap()).join().unwrap();
    server.client().unwrap().run(&["PING"]).unwrap();
}

#[test]
fn a_server_that_cannot_start_says_why() {
    let args = vec!["--no-such-setting".to_owned(), "1".to_owned()];
    let options = ServerOptions { args, ..Default::default() };
    let error = Server::start_with(options).unwrap_err().to_string();
    assert!(error.contains("does not start"), "{error}");
    assert!(error.contains("no-such-setting"), "{error}");
}

#[test]
fn a_subscriber_hears_what_is_published_after_it_subscribed() {
    let server = Server::start().unwrap();
    let mut listener = server.client().unwrap().subscribe(&["news"]).unwrap();
    assert_eq!(listener.next(Duration::from_millis(10)).unwrap(), None);
    server.client().unwrap().run(&["PUBLISH", "news", "hello"]).unwrap();
    let heard = listener.next(Duration::from_secs(5)).unwrap();
    assert_eq!(heard, Some(("news".to_owned(), b"hello".to_vec())));
}

/// Runs this binary once more with one (otherwise ignored) test that starts a server and waits to be killed.
#[test]
#[cfg(target_os = "linux")]
fn a_test_process_that_is_killed_leaves_no_server_behind() {
    let folder = tempfile::tempdir().unwrap();
    let mut holder = Role::program("integration", &std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "server::hold_a_server_until_killed"])
        .env(SERVER_VARIABLE, lifecycle_tests::server_program().unwrap().path)
        .env("TMPDIR", folder.path())
        .spawn()
        .unwrap();
    let line = holder.wait_for_line(|line| line.contains("holding"), Duration::from_secs(20)).unwrap();
    let port = line.rsplit_once(' ').unwrap().1.parse().unwrap();
    PlainClient::connect(port).unwrap().run(&["PING"]).unwrap();
    holder.kill().unwrap();
    eventually(Duration::from_secs(20), "the end of the killed test's server", || {
        Ok(PlainClient::connect(port).is_err().then_some(()))
    })
    .unwrap();
    assert_eq!(processes_with_env(MARKER_VARIABLE, holder.marker()), [0_u32; 0]);
}

#[test]
#[ignore = "only for a_test_process_that_is_killed_leaves_no_server_behind"]
fn hold_a_server_until_killed() {
    let server = Server::start().unwrap();
    println!("holding {}", server.port());
    thread::park_timeout(Duration::from_secs(60));
}
