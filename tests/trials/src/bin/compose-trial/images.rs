//! The images of the compose file. They are here already, or pulled, or stand-ins where no registry can be reached.
//!
//! An image that is here is never replaced. Images that are made for the trial carry its label and are removed with it.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use lifecycle_tests::command::{output, run as run_command, workspace};
use lifecycle_tests::role_binary;

use crate::cleanup::IMAGE_LABEL;
use crate::engine::{Stack, docker};
use crate::stand_in::StandInBuilder;

/// The variable that names our own image in the compose file.
pub(crate) const OWN_IMAGE_VARIABLE: &str = "LIFECYCLE_IMAGE";
/// What the last stage of the Dockerfile takes from the one before, and what stands for it where that was not built.
const BUILT: (&str, &str) = ("COPY --from=build /out/ ", "COPY out/ ");
const ROLES: [&str; 4] = ["agent", "coordinator", "sweeper", "lifecyclectl"];

/// Makes every image of the stack available and says of each where it is from.
pub(crate) struct Images<'a> {
    stack: &'a Stack,
    own: &'a str,
    stand_ins: StandInBuilder,
    /// Whether a registry can be reached; unknown until the first attempt.
    registry: Option<bool>,
}

impl<'a> Images<'a> {
    pub(crate) fn new(stack: &'a Stack, own: &'a str, folder: PathBuf) -> Self {
        let stand_ins = StandInBuilder { folder, project: stack.project.clone() };
        Self { stack, own, stand_ins, registry: None }
    }

    /// Returns lines of an image's name and where it is from.
    pub(crate) fn prepare(&mut self) -> Result<Vec<(String, &'static str)>> {
        let mut origins = Vec::new();
        let config = self.stack.run(&["config"])?;
        for image in images_of(&config) {
            if image == self.own {
                continue;
            }
            let origin = if self.pull_if_missing(&image)? {
                "official"
            } else {
                self.stand_ins.build(&image, &[])?;
                "a stand-in made of this machine's programs"
            };
            origins.push((image, origin));
        }
        let origin = self.prepare_own()?;
        origins.push((self.own.to_string(), origin));
        Ok(origins)
    }

    fn prepare_own(&mut self) -> Result<&'static str> {
        let dockerfile = fs::read_to_string(workspace().join("Dockerfile"))?;
        let bases = bases_of(&dockerfile);
        let mut all_there = true;
        for base in &bases {
            all_there = all_there && self.pull_if_missing(base)?;
        }
        if all_there {
            run_command(self.stack.command(["build", "sweeper"]))?;
            return Ok("built as the Dockerfile says");
        }
        let base = bases.last().context("the Dockerfile has no FROM")?;
        let roles = ROLES.iter().map(|role| role_binary(role)).collect::<Result<Vec<_>>>()?;
        if !is_here(base) {
            self.stand_ins.build(base, &roles)?;
        }
        self.build_last_stage(&dockerfile, &roles)?;
        Ok("the Dockerfile's last stage, with the binaries of this machine's cargo")
    }

    fn build_last_stage(&self, dockerfile: &str, roles: &[PathBuf]) -> Result<()> {
        let context = self.stand_ins.folder.join("image");
        if context.exists() {
            fs::remove_dir_all(&context)?;
        }
        fs::create_dir_all(context.join("out"))?;
        fs::write(context.join("Dockerfile"), last_stage(dockerfile)?)?;
        for (name, role) in ROLES.iter().zip(roles) {
            fs::copy(role, context.join("out").join(name))?;
        }
        let label = format!("{IMAGE_LABEL}={}", self.stack.project);
        let mut build = docker(["build", "--quiet", "--label", &label, "--tag", self.own]);
        build.arg(&context).env("DOCKER_BUILDKIT", "0");
        output(build)?;
        Ok(fs::remove_dir_all(context)?)
    }

    /// Pulls the official image if it is not here. Returns whether it is here now. After the first pull that fails no registry
    /// is asked again.
    fn pull_if_missing(&mut self, image: &str) -> Result<bool> {
        if is_here(image) {
            ensure!(
                !is_stand_in(image),
                "{image} is a stand-in that another run made: wait for it, or `docker rmi {image}`"
            );
            return Ok(true);
        }
        if self.registry == Some(false) {
            return Ok(false);
        }
        let pulled = output(docker(["pull", "--quiet", image])).is_ok();
        self.registry = Some(self.registry == Some(true) || pulled);
        Ok(pulled)
    }
}

fn is_here(image: &str) -> bool {
    output(docker(["image", "inspect", image])).is_ok()
}

fn is_stand_in(image: &str) -> bool {
    let format = format!("{{{{index .Config.Labels \"{IMAGE_LABEL}\"}}}}");
    output(docker(["image", "inspect", "--format", &format, image]))
        .is_ok_and(|label| !label.trim().is_empty())
}

/// The images that a rendered compose file names, each once.
fn images_of(config: &str) -> Vec<String> {
    let mut images: Vec<String> = config
        .lines()
        .filter_map(|line| {
            Some(line.trim().strip_prefix("image:")?.trim().trim_matches(['"', '\'']).to_string())
        })
        .collect();
    images.sort();
    images.dedup();
    images
}

/// The images that the Dockerfile's stages begin with.
fn bases_of(dockerfile: &str) -> Vec<String> {
    let from = dockerfile.lines().filter_map(|line| line.strip_prefix("FROM "));
    from.filter_map(|rest| rest.split_whitespace().next()).map(str::to_string).collect()
}

/// The Dockerfile's last stage alone, with what the first would have built taken from the build's folder.
fn last_stage(dockerfile: &str) -> Result<String> {
    let start = dockerfile.rfind("\nFROM ").context("the Dockerfile has one stage only")?;
    let stage = &dockerfile[start + 1..];
    ensure!(
        stage.matches(BUILT.0).count() == 1,
        "the Dockerfile's last stage does not `{}` once: adjust images.rs",
        BUILT.0.trim()
    );
    Ok(stage.replace(BUILT.0, BUILT.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_dockerfile_has_a_last_stage_that_can_be_built_alone() {
        let dockerfile = fs::read_to_string(workspace().join("Dockerfile")).unwrap();
        let stage = last_stage(&dockerfile).unwrap();
        assert!(stage.starts_with("FROM debian:") && stage.contains("\nCOPY out/ "), "{stage}");
        assert_eq!(bases_of(&dockerfile).len(), 2);
    }

    #[test]
    fn images_are_read_from_a_rendered_file_each_once() {
        let config =
            "services:\n  a:\n    image: redis:7\n  b:\n    image: \"redis:7\"\n  c:\n    image: 'x/y:1'\n";
        assert_eq!(images_of(config), ["redis:7", "x/y:1"]);
    }
}
