//! What holds for every text and every plan, not only for those somebody thought of.

use std::collections::{BTreeMap, HashSet};

use proptest::prelude::*;

use super::*;
use crate::wire::ids::{SprintId, TaskId};

/// Pieces of plans, right and wrong, so that random texts get further than the first line.
fn fragment() -> impl Strategy<Value = String> {
    prop_oneof![
        proptest::sample::select(vec![
            "[epic]\n",
            "[[sprint]]\n",
            "[sprint]\n",
            "[[sprint.agent]]\n",
            "[[sprint.task]]\n",
            "id = \"a\"\n",
            "id = \"b\"\n",
            "id = \"é*\"\n",
            "id.x = 1\n",
            "after = [\"a\"]\n",
            "after = [\"b\", \"c\"]\n",
            "count = 3\n",
            "count = -9223372036854775808\n",
            "command = [\"x\", \"{input}\"]\n",
            "command = []\n",
            "command = [\"\\u0000\"]\n",
            "env = { A = \"1\", \"=\" = \"\" }\n",
            "env.LIFECYCLE_A = \"\"\n",
            "task_timeout = \"584554530872y\"\n",
            "task_timeout = 1979-05-27\n",
            "memory_limit = \"99999999999999999999EiB\"\n",
            "memory_limit = \"-1.5.5 é\"\n",
            "memory_limit.\"$__serde_spanned_private_start\" = 1\n",
            "needs = [\"a\", \"a\"]\n",
            "needs = [\"b\"]\n",
            "attempts = 0\n",
            "input = '''\n{task}\r\n'''\n",
            "\u{feff}",
            "\r",
            "\"",
            "é = [",
            "# ü\n",
        ])
        .prop_map(str::to_owned),
        ".{0,12}",
        "task_timeout = \"[0-9]{1,21} ?[a-zé]{0,3}\"\n",
        "memory_limit = \"[0-9.]{1,25} ?[a-zA-Zé]{0,3}\"\n",
    ]
}

/// Whom each of up to 30 things waits for: only those that come before it in a shuffled order.
fn acyclic() -> impl Strategy<Value = Vec<Vec<usize>>> {
    (1..30_usize).prop_flat_map(|size| {
        let places = Just((0..size).collect::<Vec<_>>()).prop_shuffle();
        let wanted = proptest::collection::vec(proptest::collection::vec(0..size, 0..4), size);
        (places, wanted).prop_map(|(places, wanted)| {
            let earlier = |here: usize, other: &usize| places[*other] < places[here];
            wanted
                .into_iter()
                .enumerate()
                .map(|(here, others)| others.into_iter().filter(|other| earlier(here, other)).collect())
                .collect()
        })
    })
}

fn names(prefix: &str, indexes: &[usize]) -> Vec<String> {
    indexes.iter().map(|index| format!("{prefix}{index}")).collect()
}

fn text_of(after: &[Vec<usize>], needs: &[Vec<usize>]) -> String {
    let tasks: String = needs
        .iter()
        .enumerate()
        .map(|(index, needs)| {
            format!("[[sprint.task]]\nid = \"t{index}\"\nneeds = {:?}\n", names("t", needs))
        })
        .collect();
    let sprint = |(index, after): (usize, &Vec<usize>)| {
        let after = names("s", after);
        format!(
            "[[sprint]]\nid = \"s{index}\"\nafter = {after:?}\n[[sprint.agent]]\nid = \"a{index}\"\ncount = 2\ncommand = [\"x\"]\n{tasks}"
        )
    };
    format!("[epic]\nid = \"e\"\n{}", after.iter().enumerate().map(sprint).collect::<String>())
}

/// Whether everything comes behind all it waits for.
fn in_order<'a>(order: impl Iterator<Item = (&'a str, Vec<&'a str>)>) -> bool {
    let mut behind = HashSet::new();
    order.into_iter().all(|(name, waits)| {
        let ready = waits.iter().all(|name| behind.contains(name));
        behind.insert(name);
        ready
    })
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic_and_every_refusal_has_lines_without_control_characters(
        text in prop_oneof![
            any::<String>(),
            proptest::collection::vec(fragment(), 0..40).prop_map(|pieces| pieces.concat()),
        ],
    ) {
        if let Err(errors) = Plan::parse(&text) {
            prop_assert!(!errors.problems().is_empty());
            for problem in errors.problems() {
                prop_assert!(!problem.to_string().contains(char::is_control), "{problem:?}");
                prop_assert!(problem.line.is_none_or(|line| line <= text.split('\n').count()));
            }
        }
    }

    #[test]
    fn a_plan_without_cycles_is_accepted_and_its_order_has_first_what_is_waited_for(
        after in acyclic(),
        needs in acyclic(),
    ) {
        let plan = Plan::parse(&text_of(&after, &needs)).map_err(|e| TestCaseError::fail(e.to_string()))?;
        let sprints = plan.order();
        prop_assert_eq!(sprints.len(), after.len());
        prop_assert!(in_order(sprints.iter().map(|s| (s.id.as_str(), s.after.iter().map(SprintId::as_str).collect()))));
        for sprint in sprints {
            let tasks = sprint.order();
            prop_assert_eq!(tasks.len(), needs.len());
            prop_assert!(in_order(tasks.iter().map(|t| (t.id.as_str(), t.needs.iter().map(TaskId::as_str).collect()))));
        }
    }

    #[test]
    fn a_plan_with_one_need_turned_round_is_refused_with_its_cycle(needs in acyclic()) {
        let edge = needs.iter().enumerate().find_map(|(from, to)| to.first().map(|to| (from, *to)));
        prop_assume!(edge.is_some());
        let (from, to) = edge.unwrap();
        let mut needs = needs;
        needs[to].push(from);
        let refusal = Plan::parse(&text_of(&[vec![]], &needs)).unwrap_err().to_string();
        prop_assert!(refusal.contains("tasks wait for each other"), "{refusal}");
    }

    #[test]
    fn what_is_put_into_an_argument_is_never_read_again(
        parts in proptest::collection::vec(proptest::sample::select(vec!["{task}", "{input}", "{", "}", "{foo}", "é"]), 0..12),
        input in proptest::sample::select(vec!["", "{task}", "{input}", "{", "x}"]),
    ) {
        let task = TaskId::new("t").unwrap();
        // "{" before "task}" cannot arise from these parts, so each stands for itself.
        let wanted: String = parts.iter().map(|part| match *part { "{task}" => "t", "{input}" => input, other => other }).collect();
        let results = BTreeMap::new();
        prop_assert_eq!(substitute(&parts.concat(), &Substitutes { task: &task, input, results: &results }), wanted);
    }
}
