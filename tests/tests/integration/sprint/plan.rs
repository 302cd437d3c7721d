//! Plans that are wrong.

use super::{Stage, sprint};
use crate::fleet::{Fleet, SOON};

fn refused(fleet: &Fleet, plan: &str) -> String {
    let stage = Stage::new(plan);
    let mut lines = Vec::new();
    for command in ["run", "check"] {
        let role = fleet.role("coordinator").args([command, "plan.toml"]).in_folder(stage.folder.path());
        let mut coordinator = role.spawn().unwrap();
        assert_eq!(coordinator.wait(SOON).unwrap().code(), Some(2), "{plan}: {}", coordinator.stderr());
        assert_eq!(coordinator.stdout(), "");
        lines.push(coordinator.stderr());
    }
    assert_eq!(lines[0], lines[1]);
    assert_eq!(lines[0].lines().count(), 1, "{}", lines[0]);
    lines.remove(0)
}

#[test]
fn a_bad_plan_is_refused_in_one_line_with_exit_2_and_nothing_is_started() {
    let mut fleet = Fleet::new();
    let good = |tasks: &[(&str, &str)]| sprint("api", &[], 1, "true", tasks);
    for (plan, named) in [
        (good(&[("a", "needs = [\"b\"]"), ("b", "needs = [\"a\"]")]), "a"),
        (good(&[("a", ""), ("a", "")]), "unique"),
        (good(&[("a", "atempts = 2")]), "atempts"),
        (good(&[("a", "needs = [\"nobody\"]")]), "nobody"),
        (
            "[[sprint]]\nid = \"api\"\n[[sprint.agent]]\nid = \"c\"\n[[sprint.task]]\nid = \"t\"\n".into(),
            "command",
        ),
        (good(&[("a", "")]).replace("[\"sh\"", "[\"no-such-program\""), "no-such-program"),
        ("[[sprint]".into(), "line 3"),
    ] {
        let said = refused(&fleet, &plan);
        assert!(said.starts_with("error: plan.toml: ") && said.contains(named), "{named}: {said}");
    }
    let mut coordinator = fleet.role("coordinator").args(["run", "missing.toml"]).spawn().unwrap();
    assert_eq!(coordinator.wait(SOON).unwrap().code(), Some(2));
    assert_eq!(coordinator.stderr().lines().count(), 1, "{}", coordinator.stderr());
    assert_eq!(fleet.client.keys().unwrap(), [""; 0]);
}

#[test]
fn output_that_could_not_be_written_is_refused_before_a_task_is_lost() {
    let (mut fleet, stage) = (Fleet::new(), Stage::new(&sprint("api", &[], 1, "true", &[("a", "")])));
    std::fs::write(stage.path("runs"), "a file").unwrap();
    for command in ["run", "check"] {
        let role = fleet.role("coordinator").args([command, "plan.toml"]).in_folder(stage.folder.path());
        let mut coordinator = role.spawn().unwrap();
        assert_eq!(coordinator.wait(SOON).unwrap().code(), Some(2), "{}", coordinator.stderr());
        let said = coordinator.stderr();
        assert!(said.lines().count() == 1 && said.contains("runs: it is no folder"), "{said}");
    }
    assert_eq!(fleet.client.keys().unwrap(), [""; 0]);
}

#[test]
fn the_plans_that_come_with_the_deployment_files_can_be_run() {
    let fleet = Fleet::new();
    for overlay in ["base", "example"] {
        let plan =
            lifecycle_tests::command::workspace().join("deploy/kubernetes").join(overlay).join("plan.toml");
        let mut check = fleet.role("coordinator").arg("check").arg(plan).spawn().unwrap();
        assert_eq!(check.wait(SOON).unwrap().code(), Some(0), "{}", check.stderr());
        assert!(check.stdout().contains("whoever joins"), "{}", check.stdout());
    }
}
