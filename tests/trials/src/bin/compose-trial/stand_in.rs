//! Stand-ins for official images, made of this machine's own programs where no image registry can be reached.
//!
//! A stand-in is a program, the libraries it is linked with and a static shell. It has those paths, users, entry points and
//! folders of the official image that the compose file uses.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use lifecycle_tests::program::on_path;
use lifecycle_trials::image_root::{copy, import, inside, install_libraries, install_shell, write};

use crate::cleanup::IMAGE_LABEL;

/// The content of one stand-in.
struct StandIn {
    /// The image's name without its tag.
    image: &'static str,
    /// Where each program goes, and what it is called here: the first name that is on PATH.
    programs: &'static [(&'static str, &'static [&'static str])],
    /// Its user beside root, as a line of /etc/passwd.
    user: &'static str,
    /// Folders that any user may write.
    folders: &'static [&'static str],
    files: &'static [(&'static str, &'static str)],
    /// Instructions of a Dockerfile.
    config: &'static [&'static str],
}

const STAND_INS: &[StandIn] = &[
    StandIn {
        image: "redis",
        programs: &[
            ("/usr/local/bin/redis-server", &["redis-server", "valkey-server"]),
            ("/usr/local/bin/redis-cli", &["redis-cli", "valkey-cli"]),
        ],
        user: "redis:x:999:999::/data:/bin/sh\n",
        folders: &["/data"],
        files: &[],
        config: &["WORKDIR /data"],
    },
    StandIn {
        image: "prom/prometheus",
        programs: &[("/bin/prometheus", &["prometheus"])],
        user: "nobody:x:65534:65534::/:/bin/false\n",
        folders: &["/prometheus"],
        files: &[],
        config: &[
            "USER nobody",
            "WORKDIR /prometheus",
            "ENTRYPOINT [\"/bin/prometheus\"]",
            "CMD [\"--config.file=/etc/prometheus/prometheus.yml\", \"--storage.tsdb.path=/prometheus\"]",
        ],
    },
    // Only the health page: no check needs a dashboard.
    StandIn {
        image: "grafana/grafana",
        programs: &[],
        user: "grafana:x:472:0::/:/bin/false\n",
        folders: &["/var/lib/grafana"],
        files: &[("/www/api/health", "{\"database\": \"ok\", \"version\": \"stand-in\"}\n")],
        config: &["USER 472", "CMD [\"httpd\", \"-f\", \"-p\", \"3000\", \"-h\", \"/www\"]"],
    },
    // The base of our own image. The libraries of our roles are installed in it, too.
    StandIn {
        image: "debian",
        programs: &[("/usr/sbin/useradd", &["/usr/sbin/useradd"])],
        user: "",
        folders: &[],
        files: &[("/etc/login.defs", "")],
        config: &["CMD [\"sh\"]"],
    },
];

/// Builds stand-ins in `folder`, labelled with `project`.
pub(crate) struct StandInBuilder {
    pub(crate) folder: PathBuf,
    pub(crate) project: String,
}

impl StandInBuilder {
    /// Builds the stand-in for `image` (with its tag) under that very name. `guests` are programs that will run in it: their
    /// libraries are installed, too.
    ///
    /// # Errors
    /// When there is no stand-in for it, or a program is missing here; says what to install.
    pub(crate) fn build(&self, image: &str, guests: &[PathBuf]) -> Result<()> {
        let name = image.split(':').next().unwrap_or(image);
        let stand_in = STAND_INS.iter().find(|stand_in| stand_in.image == name);
        let stand_in = stand_in.with_context(|| {
            format!("{image} cannot be pulled, and there is no recipe for a stand-in in stand_in.rs")
        })?;
        let root = self.folder.join(name.replace('/', "-"));
        assemble(stand_in, &root, guests)
            .with_context(|| format!("no stand-in for {image} could be made"))?;
        import(&root, image, &format!("{IMAGE_LABEL}={}", self.project), stand_in.config)
    }
}

fn assemble(stand_in: &StandIn, root: &Path, guests: &[PathBuf]) -> Result<()> {
    if root.exists() {
        fs::remove_dir_all(root)?;
    }
    install_shell(root)?;
    for (place, names) in stand_in.programs {
        let found = names.iter().find_map(|name| on_path(name));
        let found = found.with_context(|| {
            format!("there is no {0} on PATH: install {0} (Debian: apt-get install {0})", names[0])
        })?;
        copy(&found, &inside(root, place))?;
        install_libraries(&found, root)?;
    }
    for guest in guests {
        install_libraries(guest, root)?;
    }
    write(root, "/etc/passwd", &format!("root:x:0:0:root:/root:/bin/sh\n{}", stand_in.user))?;
    write(root, "/etc/group", "root:x:0:\n")?;
    write(root, "/etc/nsswitch.conf", "hosts: files dns\n")?;
    for (place, text) in stand_in.files {
        write(root, place, text)?;
    }
    for folder in ["/tmp"].iter().chain(stand_in.folders) {
        let folder = inside(root, folder);
        fs::create_dir_all(&folder)?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o1777))?;
    }
    Ok(())
}
