//! `rediss://`: what is sent, and to whom.

use std::fs;
use std::io::Read as _;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use lifecycle_tests::process::RoleCommand;
use lifecycle_tests::{Role, Server, ServerOptions, server_program};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use tempfile::TempDir;

use crate::fleet::SOON;

const PASSWORD: &str = "Tell-No-One-9";

/// A store with a certificate of its own authority. Its plain port is the harness's way in.
struct Secure {
    server: Server,
    port: u16,
    folder: TempDir,
}

impl Secure {
    /// With a certificate made out to `name`, valid until the year `until`. `None`, and said, where the server cannot.
    fn start(name: &str, until: i32) -> Option<Self> {
        let program = server_program().unwrap();
        // The pinned Valkey is built without; any other server that fails to start here is a failure.
        if program.label.starts_with("Valkey") && program.origin.starts_with("fetched") {
            println!("skipped: {program} knows no TLS");
            return None;
        }
        let folder = TempDir::new().unwrap();
        let authority = authority();
        let key = KeyPair::generate().unwrap();
        let mut certificate = CertificateParams::new([name.to_owned()]).unwrap();
        certificate.not_before = date_time_ymd(2000, 1, 1);
        certificate.not_after = date_time_ymd(until, 1, 1);
        let certificate = certificate.signed_by(&key, &authority).unwrap();
        let write = |name: &str, text: String| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        write("ca.pem", authority.pem());
        let files = [write("cert.pem", certificate.pem()), write("key.pem", key.serialize_pem())];
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let port_text = port.to_string();
        let args = ["--tls-port", &port_text, "--tls-cert-file", &files[0], "--tls-key-file", &files[1]];
        let args = args.into_iter().chain(["--tls-auth-clients", "no"]).map(str::to_owned).collect();
        let server = Server::start_with(ServerOptions { args, ..ServerOptions::default() }).unwrap();
        server.client().unwrap().run(&["CONFIG", "SET", "requirepass", PASSWORD]).unwrap();
        Some(Self { server, port, folder })
    }

    fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    fn role(&self, name: &str) -> RoleCommand {
        let role = Role::command(name).unwrap().env("LIFECYCLE_REDIS__PASSWORD", PASSWORD);
        role.env("LIFECYCLE_REDIS__URL", format!("rediss://127.0.0.1:{}", self.port))
    }
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

#[test]
fn a_fleet_works_over_tls_with_the_authority_it_was_given_and_doctor_says_so() {
    let Some(secure) = Secure::start("127.0.0.1", 2100) else { return };
    let role = |name| secure.role(name).env("LIFECYCLE_REDIS__TLS__CA", secure.ca());
    let plan = "[epic]\nid = \"shop\"\n[[sprint]]\nid = \"api\"\n[[sprint.agent]]\nid = \"coder\"\ncommand = [\"true\"]\n\
                [[sprint.task]]\nid = \"one\"\n";
    fs::write(secure.folder.path().join("plan.toml"), plan).unwrap();
    let coordinator = role("coordinator").in_folder(secure.folder.path()).args(["run", "plan.toml"]);
    let mut coordinator = coordinator.spawn().unwrap();
    assert_eq!(coordinator.wait(SOON * 3).unwrap().code(), Some(0), "{}", coordinator.stderr());
    let mut sweep = role("sweeper").arg("sweep").spawn().unwrap();
    assert_eq!(sweep.wait(SOON).unwrap().code(), Some(0), "{}", sweep.stderr());

    let mut doctor = role("lifecyclectl").args(["doctor", "--output", "json"]).spawn().unwrap();
    doctor.wait(SOON).unwrap();
    let said = doctor.stdout();
    assert!(said.contains("TLS; the store's certificate is signed by") && said.contains("ca.pem"), "{said}");
    let plain = Role::command("lifecyclectl").unwrap().env("LIFECYCLE_REDIS__PASSWORD", PASSWORD);
    let mut plain = plain.env("LIFECYCLE_REDIS__URL", secure.server.url()).arg("doctor").spawn().unwrap();
    plain.wait(SOON).unwrap();
    assert!(plain.stdout().contains("none: whoever can listen"), "{}", plain.stdout());
}

#[test]
fn a_store_that_cannot_prove_itself_is_refused_at_once_and_in_one_line() {
    let foreign = TempDir::new().unwrap();
    let foreign_ca = foreign.path().join("other.pem");
    fs::write(&foreign_ca, authority().pem()).unwrap();
    for (name, until, own_authority, problem) in [
        ("127.0.0.1", 2100, false, "signed by nobody we trust"),
        ("127.0.0.1", 2001, true, "has expired"),
        ("store.example.org", 2100, true, "for another name"),
    ] {
        let Some(secure) = Secure::start(name, until) else { return };
        let ca = if own_authority { secure.ca() } else { foreign_ca.clone() };
        for args in [&["ps"][..], &["doctor"]] {
            let role =
                secure.role("lifecyclectl").env("LIFECYCLE_REDIS__TLS__CA", &ca).args(args.iter().copied());
            let mut role = role.env("LIFECYCLE_REDIS__START_TIMEOUT", "1h").spawn().unwrap();
            assert_eq!(role.wait(SOON).unwrap().code(), Some(1), "{problem}: {}", role.stderr());
            let said = role.stderr();
            assert!(said.contains(problem) && said.lines().count() == 1, "{problem}: {said}");
        }
    }
}

#[test]
fn an_authority_that_is_none_is_refused_before_anything_is_sent() {
    let folder = TempDir::new().unwrap();
    let (empty, missing) = (folder.path().join("empty.pem"), folder.path().join("missing.pem"));
    fs::write(&empty, "nothing").unwrap();
    for (url, ca, problem) in [
        ("rediss://127.0.0.1:1", &empty, "no certificate"),
        ("rediss://127.0.0.1:1", &missing, "No such file"),
        ("redis://127.0.0.1:1", &empty, "write rediss://"),
    ] {
        let role = Role::command("lifecyclectl").unwrap().args(["ps", "--redis-url", url]);
        let mut role = role.env("LIFECYCLE_REDIS__TLS__CA", ca).spawn().unwrap();
        assert_eq!(role.wait(SOON).unwrap().code(), Some(2), "{problem}: {}", role.stderr());
        assert!(role.stderr().contains(problem) && role.stderr().lines().count() == 1, "{}", role.stderr());
    }
}

#[test]
fn whoever_listens_at_a_rediss_url_without_tls_is_told_no_password() {
    for scheme in ["rediss", "valkeys"] {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let arrived = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
            let mut bytes = Vec::new();
            let mut part = [0; 4096];
            while let Ok(read @ 1..) = stream.read(&mut part) {
                bytes.extend_from_slice(&part[..read]);
            }
            bytes
        });
        let url = format!("{scheme}://:{PASSWORD}@127.0.0.1:{port}");
        let role = Role::command("lifecyclectl").unwrap().args(["ps", "--redis-url", &url]);
        let mut role = role.env("LIFECYCLE_REDIS__START_TIMEOUT", "500ms").spawn().unwrap();
        assert_ne!(role.wait(SOON).unwrap().code(), Some(0));
        let bytes = arrived.join().unwrap();
        // The first record of a TLS handshake.
        assert_eq!(bytes.first(), Some(&22), "{}", String::from_utf8_lossy(&bytes));
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains(PASSWORD) && !text.contains("AUTH"), "{text}");
    }
}
