//! One test per thing a plan is refused for, each with the whole text a person would read.

use std::collections::BTreeMap;
use std::time::Duration;

use bytesize::ByteSize;

use super::*;
use crate::wire::ids::TaskId;

/// The plan of the documentation, with a second sprint.
const CHECKOUT: &str = r#"[epic]
id = "checkout"

[[sprint]]
id = "api"
after = []

[[sprint.agent]]
id = "coder"
count = 4
command = ["claude", "-p", "{input}"]
env = { MODEL = "fast" }
task_timeout = "20m"
memory_limit = "2GiB"

[[sprint.task]]
id = "schema"

[[sprint.task]]
id = "login"
input = "write the login endpoint"
needs = ["schema"]
attempts = 5

[[sprint]]
id = "web"
after = ["api"]

[[sprint.agent]]
id = "designer"
command = ["true"]

[[sprint.task]]
id = "page"
"#;

/// The refusal of [`CHECKOUT`] with one piece of it written otherwise.
#[track_caller]
fn refused(piece: &str, otherwise: &str) -> String {
    assert!(CHECKOUT.contains(piece), "{piece:?}");
    Plan::parse(&CHECKOUT.replacen(piece, otherwise, 1)).expect_err("a refusal").to_string()
}

#[track_caller]
fn refusal(text: &str) -> String {
    Plan::parse(text).expect_err("a refusal").to_string()
}

#[test]
fn a_plan_is_read_whole() {
    let plan = Plan::parse(CHECKOUT).unwrap();
    assert_eq!(plan.epic.as_str(), "checkout");
    let [api, web] = &plan.sprints[..] else { panic!("{plan:?}") };
    assert_eq!(
        (api.id.as_str(), api.after.len(), web.after[0].as_str()),
        ("checkout.api", 0, "checkout.api")
    );
    assert_eq!((api.name.as_str(), api.agents[3].name.as_str()), ("api", "coder-4"));
    let coder = &api.agents[3];
    assert_eq!((coder.id.as_str(), coder.kind.as_str()), ("checkout.coder-4", "coder"));
    assert_eq!(coder.command, ["claude", "-p", "{input}"]);
    assert_eq!(coder.env["MODEL"], "fast");
    assert_eq!(coder.task_timeout, Some(Duration::from_secs(20 * 60)));
    assert_eq!(coder.memory_limit, Some(ByteSize::gib(2)));
    let login = &api.tasks[1];
    assert_eq!((login.id.as_str(), login.input.as_str()), ("login", "write the login endpoint"));
    assert_eq!((login.needs[0].as_str(), login.attempts), ("schema", 5));
}

#[test]
fn what_a_plan_leaves_out_has_its_default() {
    let plan = Plan::parse(CHECKOUT).unwrap();
    let designer = &plan.sprints[1].agents[0];
    assert_eq!(designer.id.as_str(), "checkout.designer", "one agent keeps the name as it is");
    assert!(designer.env.is_empty() && designer.task_timeout.is_none() && designer.memory_limit.is_none());
    let page = &plan.sprints[1].tasks[0];
    assert_eq!((page.input.as_str(), page.needs.len(), page.attempts), ("", 0, 3));
}

#[test]
fn a_count_of_one_keeps_the_id_and_four_make_coder_1_to_coder_4() {
    let ids = |count: &str| -> Vec<String> {
        let plan = Plan::parse(&CHECKOUT.replace("count = 4", count)).unwrap();
        plan.sprints[0].agents.iter().map(|agent| agent.name.to_string()).collect()
    };
    assert_eq!(ids("count = 1"), ["coder"]);
    assert_eq!(ids("count = 4"), ["coder-1", "coder-2", "coder-3", "coder-4"]);
    assert_eq!(ids("count = 10000").len(), 10_000);
}

#[test]
fn a_name_waited_for_twice_counts_once() {
    let plan = Plan::parse(&CHECKOUT.replace(r#"["schema"]"#, r#"["schema", "schema"]"#)).unwrap();
    assert_eq!(plan.sprints[0].tasks[1].needs.len(), 1);
}

#[test]
fn the_order_puts_what_is_waited_for_first() {
    let swapped = CHECKOUT
        .replace("after = []", r#"after = ["web"]"#)
        .replace(r#"after = ["api"]"#, "")
        .replace("id = \"schema\"", "id = \"schema\"\nneeds = [\"login\"]")
        .replace(r#"needs = ["schema"]"#, "");
    let plan = Plan::parse(&swapped).unwrap();
    assert_eq!(plan.order().iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["web", "api"]);
    let api = plan.sprints[0].order();
    assert_eq!(api.iter().map(|t| t.id.as_str()).collect::<Vec<_>>(), ["login", "schema"]);
}

#[test]
fn text_that_is_no_toml_is_refused_with_line_and_column() {
    assert_eq!(
        refused("id = \"api\"", "id = \"api"),
        "line 5, column 10: not a plan in TOML: invalid basic string"
    );
    assert_eq!(refusal("x"), "line 1, column 2: not a plan in TOML: expected `.`, `=`");
}

#[test]
fn a_value_of_the_wrong_type_is_refused_with_line_and_column() {
    assert_eq!(
        refused("\"schema\"", "7"),
        "line 17, column 6: sprint \"api\", id is the number 7: write text in quotes\n\
         line 22: sprint \"api\", task \"login\": needs names \"schema\", which is no task of its sprint: name a task of its sprint or remove it"
    );
    assert_eq!(
        refused(r#"{ MODEL = "fast" }"#, "{ MODEL = 3 }"),
        "line 12, column 17: sprint \"api\", agent \"coder\": env MODEL is the number 3: write text in quotes"
    );
}

#[test]
fn a_header_in_single_brackets_is_refused_saying_so() {
    assert_eq!(
        refusal("[epic]\nid = \"e\"\n[sprint]\nid = \"s\"\n"),
        "line 3, column 1: sprint is a table: write the header in double brackets, such as [[sprint]]"
    );
}

#[test]
fn a_table_where_a_value_belongs_is_refused_without_words_of_the_library() {
    for piece in
        ["id = \"coder\"", "count = 4", "env = { MODEL = \"fast\" }", "input = \"write the login endpoint\""]
    {
        let key = piece.split(' ').next().unwrap();
        let text = refused(piece, &format!("{key}.x.y = 1"));
        assert!(text.contains(" is a table (look for a key with a dot in it): write "), "{text}");
        assert!(!text.starts_with("line 1,") && text.lines().count() == 1, "{text}");
    }
}

#[test]
fn an_unknown_key_is_refused_with_the_one_that_was_meant() {
    assert_eq!(
        refused("command =", "comand ="),
        "line 8: sprint \"api\", agent \"coder\": has no command: add command = [\"PROGRAM\", \"ARGUMENT\"]\n\
         line 11, column 1: sprint \"api\", agent \"coder\": unknown key \"comand\": did you mean \"command\"?"
    );
    assert_eq!(
        refused("attempts = 5", "colour = 5"),
        "line 23, column 1: sprint \"api\", task \"login\": unknown key \"colour\": the keys here are id, input, needs, attempts, max_crashes, retry_backoff, timeout"
    );
    assert_eq!(
        refused("id = \"checkout\"", "\"a`, expected `b\" = 1"),
        "the plan's epic has no id: begin the plan with [epic] and id = \"NAME\"\n\
         line 2, column 1: epic: unknown key \"a`, expected `b\": the keys here are id"
    );
    assert_eq!(
        refused("[epic]", "[epik]"),
        "the plan's epic has no id: begin the plan with [epic] and id = \"NAME\"\n\
         line 1, column 2: unknown key \"epik\": did you mean \"epic\"?"
    );
}

#[test]
fn mistakes_of_shape_and_of_meaning_are_told_in_one_reading() {
    let text = CHECKOUT
        .replace("count = 4", "count = \"4\"")
        .replace("attempts = 5", "attempts = 500\ncolour = 1")
        .replace("command = [\"true\"]", "command = [1]\ntask_timeot = \"1s\"")
        .replace("after = [\"api\"]", "after = [\"apii\"]");
    assert_eq!(
        refusal(&text),
        "line 10, column 9: sprint \"api\", agent \"coder\": count is text: write a whole number without quotes\n\
         line 23: sprint \"api\", task \"login\": attempts is 500: use 1 to 100\n\
         line 24, column 1: sprint \"api\", task \"login\": unknown key \"colour\": the keys here are id, input, needs, attempts, max_crashes, retry_backoff, timeout\n\
         line 28: sprint \"web\": after names \"apii\", which is no sprint of the plan: did you mean \"api\"?\n\
         line 32, column 12: sprint \"web\", agent \"designer\": command has the number 1 in it: write a list of texts, such as [\"a\", \"b\"]\n\
         line 33, column 1: sprint \"web\", agent \"designer\": unknown key \"task_timeot\": did you mean \"task_timeout\"?"
    );
}

#[test]
fn names_hold_no_dot_and_fit_together_with_their_epic() {
    assert_eq!(
        refused("\"coder\"", "\"co.der\""),
        "line 9: sprint \"api\", agent id \"co.der\" has '.' at position 3: names in a plan hold no dot, because a dot separates the epic from the rest of an id"
    );
    assert!(refused("\"web\"", "\"w.eb\"").starts_with("line 26: sprint id \"w.eb\" has '.'"));
    assert!(refused("\"checkout\"", "\"check.out\"").starts_with("line 2: epic id \"check.out\" has '.'"));
    let long = "a".repeat(120);
    assert_eq!(
        refused("\"designer\"", &format!("{long:?}")),
        format!(
            "line 30: sprint \"web\", agent {long:?}: agent id has 129 characters, at most 128 are allowed, together with the epic's id and a dot: shorten either"
        )
    );
    assert!(refused("id = \"web\"", &format!("id = {long:?}")).contains("sprint id has 129 characters"));
    assert!(
        refused("\"checkout\"", &format!("{long:?}"))
            .contains("as the epic's coordinator is called: shorten")
    );
    assert_eq!(
        refused("\"designer\"", "\"coordinator\""),
        "line 30: sprint \"web\", agent \"coordinator\": the name is that of the epic's own coordinator: choose another"
    );
}

#[test]
fn an_empty_plan_is_refused_with_all_it_lacks() {
    let lacks = "the plan's epic has no id: begin the plan with [epic] and id = \"NAME\"\n\
                 the plan has no sprint: add [[sprint]], [[sprint.agent]] and [[sprint.task]]";
    for text in ["", "[epic]\n", "sprint = []"] {
        assert_eq!(refusal(text), lacks, "{text:?}");
    }
}

#[test]
fn a_sprint_agent_or_task_without_an_id_is_refused() {
    assert_eq!(refused("id = \"web\"\n", ""), "line 25: sprint 2: has no id: add id = \"NAME\"");
    assert_eq!(
        refused("id = \"coder\"\n", ""),
        "line 8: sprint \"api\", agent 1: has no id: add id = \"NAME\""
    );
    assert_eq!(
        refused("id = \"login\"\n", ""),
        "line 19: sprint \"api\", task 2: has no id: add id = \"NAME\""
    );
}

#[test]
fn a_sprint_without_tasks_is_refused() {
    assert_eq!(
        refused("[[sprint.task]]\nid = \"page\"\n", ""),
        "line 25: sprint \"web\": has no task, so there is nothing to do: add [[sprint.task]] with an id, say open = true, or remove the sprint"
    );
}

#[test]
fn a_sprint_with_tasks_and_without_agents_is_refused() {
    assert_eq!(
        refused("[[sprint.agent]]\nid = \"designer\"\ncommand = [\"true\"]\n", ""),
        "line 25: sprint \"web\": has tasks and no agent to do them: add [[sprint.agent]] with an id and a command"
    );
}

#[test]
fn invalid_ids_are_refused_naming_the_character() {
    let allowed = "allowed are A-Z a-z 0-9 . _ - and the first must be a letter or digit";
    for (piece, otherwise, start) in [
        ("\"checkout\"", "\"a*\"", "line 2: epic id \"a*\" has '*' at position 2"),
        ("\"web\"", "\"x:y\"", "line 26: sprint id \"x:y\" has ':' at position 2"),
        ("\"coder\"", "\"a\\nb\"", "line 9: sprint \"api\", agent id \"a\\nb\" has '\\n' at position 2"),
        ("\"login\"", "\".a\"", "line 20: sprint \"api\", task id \".a\" has '.' at position 1"),
    ] {
        assert_eq!(refused(piece, otherwise), format!("{start}: {allowed}"));
    }
    assert_eq!(
        refused("\"coder\"", &format!("\"{}\"", "a".repeat(127))),
        format!(
            "line 9: sprint \"api\", agent \"{}\": agent id has 129 characters, at most 128 are allowed, with the number that count adds: shorten the id",
            "a".repeat(127)
        )
    );
}

#[test]
fn an_invalid_id_does_not_make_those_that_name_it_wrong_as_well() {
    let text = CHECKOUT.replace("\"schema\"", "\"sche ma\"");
    assert_eq!(
        refusal(&text),
        "line 17: sprint \"api\", task id \"sche ma\" has ' ' at position 5: allowed are A-Z a-z 0-9 . _ - and the first must be a letter or digit"
    );
}

#[test]
fn a_duplicate_sprint_is_refused() {
    assert_eq!(
        refused("id = \"web\"\nafter = [\"api\"]", "id = \"api\""),
        "line 26: sprint \"api\": the sprint on line 5 has this id: it must be unique in the plan"
    );
}

#[test]
fn a_duplicate_task_is_refused_within_its_sprint_only() {
    assert_eq!(
        refused(
            "id = \"login\"\ninput = \"write the login endpoint\"\nneeds = [\"schema\"]",
            "id = \"schema\""
        ),
        "line 20: sprint \"api\", task \"schema\": the task on line 17 has this id: it must be unique in its sprint"
    );
    assert!(Plan::parse(&CHECKOUT.replace("\"page\"", "\"login\"")).is_ok());
}

#[test]
fn a_duplicate_agent_is_refused_over_all_sprints_and_after_expansion() {
    for id in ["coder-2", "coder\"\ncount = 7 #\""] {
        let shown = id.split('"').next().unwrap();
        let clash = if shown == "coder" { "coder-1" } else { "coder-2" };
        assert_eq!(
            refused("\"designer\"", &format!("\"{id}\"")),
            format!(
                "line 30: sprint \"web\", agent \"{shown}\": the agent on line 9 has the id {clash:?} too: it must be unique in the plan"
            )
        );
    }
}

#[test]
fn after_and_needs_that_lead_nowhere_are_refused_with_the_nearest_name() {
    assert_eq!(
        refused("after = [\"api\"]", "after = [\"apii\"]"),
        "line 27: sprint \"web\": after names \"apii\", which is no sprint of the plan: did you mean \"api\"?"
    );
    assert_eq!(
        refused("needs = [\"schema\"]", "needs = [\"shema\"]"),
        "line 22: sprint \"api\", task \"login\": needs names \"shema\", which is no task of its sprint: did you mean \"schema\"?"
    );
    assert_eq!(
        refused("needs = [\"schema\"]", "needs = [\"page\"]"),
        "line 22: sprint \"api\", task \"login\": needs names \"page\", which is no task of its sprint: name a task of its sprint or remove it"
    );
}

#[test]
fn after_and_needs_that_name_themselves_are_refused() {
    assert_eq!(
        refused("after = [\"api\"]", "after = [\"api\", \"web\"]"),
        "line 27: sprint \"web\": after names itself: remove it"
    );
    assert_eq!(
        refused("needs = [\"schema\"]", "needs = [\"login\"]"),
        "line 22: sprint \"api\", task \"login\": needs names itself: remove it"
    );
}

#[test]
fn cycles_are_refused_and_printed() {
    assert_eq!(
        refused("after = []", "after = [\"web\"]"),
        "line 5: sprints wait for each other, so none of them could start: api → web → api: remove one of these \"after\""
    );
    assert_eq!(
        refused("id = \"schema\"", "id = \"schema\"\nneeds = [\"login\"]"),
        "line 17: sprint \"api\": tasks wait for each other, so none of them could start: schema → login → schema: remove one of these \"needs\""
    );
}

#[test]
fn a_count_out_of_range_is_refused() {
    for count in ["0", "-1", "10001", "9223372036854775807"] {
        assert_eq!(
            refused("count = 4", &format!("count = {count}")),
            format!("line 10: sprint \"api\", agent \"coder\": count is {count}: use 1 to 10000")
        );
    }
}

#[test]
fn more_agents_than_a_plan_may_have_are_refused_before_any_is_made() {
    let many: String = (0..11)
        .map(|n| format!("[[sprint.agent]]\nid = \"kind{n}\"\ncount = 10000\ncommand = [\"true\"]\n"))
        .collect();
    let text = format!("[epic]\nid = \"e\"\n[[sprint]]\nid = \"s\"\n{many}[[sprint.task]]\nid = \"t\"\n");
    assert_eq!(
        refusal(&text),
        "line 46: sprint \"s\", agent \"kind10\": the plan asks for 110000 agents up to here: use 100000 or fewer in all"
    );
}

#[test]
fn attempts_out_of_range_are_refused() {
    for attempts in ["0", "-3", "101"] {
        assert_eq!(
            refused("attempts = 5", &format!("attempts = {attempts}")),
            format!("line 23: sprint \"api\", task \"login\": attempts is {attempts}: use 1 to 100")
        );
    }
}

#[test]
fn a_missing_or_empty_command_is_refused() {
    for otherwise in ["", "command = []\n"] {
        assert_eq!(
            refused("command = [\"true\"]\n", otherwise),
            "line 29: sprint \"web\", agent \"designer\": has no command: add command = [\"PROGRAM\", \"ARGUMENT\"]"
        );
    }
    assert_eq!(
        refused("[\"true\"]", "[\"\", \"x\"]"),
        "line 31: sprint \"web\", agent \"designer\": command begins with an empty string: name a program there"
    );
    assert!(Plan::parse(&CHECKOUT.replace("[\"true\"]", "[\"echo\", \"\", \"{foo}\"]")).is_ok());
}

#[test]
fn nul_in_a_command_an_input_or_the_environment_is_refused() {
    let nul = "has a NUL character, which no program can be given: remove it";
    assert_eq!(
        refused("[\"true\"]", "[\"true\", \"a\\u0000\"]"),
        format!("line 31: sprint \"web\", agent \"designer\": command {nul}")
    );
    assert_eq!(
        refused("endpoint", "end\\u0000point"),
        format!("line 21: sprint \"api\", task \"login\": input {nul}")
    );
    assert_eq!(
        refused("\"fast\"", "\"\\u0000\""),
        format!("line 12: sprint \"api\", agent \"coder\": env \"MODEL\" {nul}")
    );
}

#[test]
fn environment_names_that_cannot_be_or_are_reserved_are_refused() {
    for (name, wrong) in [
        ("\"\"", "\"\" is empty: give it a name"),
        ("\"A=B\"", "\"A=B\" has '=' or NUL, which no environment can hold: remove it"),
        ("\"A\\u0000\"", "\"A\\0\" has '=' or NUL, which no environment can hold: remove it"),
        (
            "LIFECYCLE_REDIS__URL",
            "\"LIFECYCLE_REDIS__URL\" is reserved for what the agent tells its command: choose another",
        ),
    ] {
        assert_eq!(
            refused("MODEL", name),
            format!("line 12: sprint \"api\", agent \"coder\": env name {wrong}")
        );
    }
}

#[test]
fn an_input_over_64_kib_is_refused() {
    let input = |len| CHECKOUT.replace("write the login endpoint", &"x".repeat(len));
    assert!(Plan::parse(&input(65_536)).is_ok());
    assert_eq!(
        refusal(&input(65_537)),
        "line 21: sprint \"api\", task \"login\": input has 65537 bytes, over the 65536 allowed: put it in a file and name the file"
    );
}

#[test]
fn a_timeout_that_is_no_duration_or_out_of_range_is_refused() {
    for (timeout, wrong) in [
        ("20", "is no text: write a duration with its unit, such as \"20m\""),
        ("\"20\"", "\"20\" is not a duration: write a number with its unit, such as 500ms, 30s, 5m or 1h"),
        ("\"0s\"", "is no time at all: use 1s or more"),
        ("\"366days\"", "is over a year: leave it out for no end"),
    ] {
        assert_eq!(
            refused("\"20m\"", timeout),
            format!("line 13: sprint \"api\", agent \"coder\": task_timeout {wrong}")
        );
    }
}

#[test]
fn a_memory_limit_that_is_no_size_is_refused() {
    for (limit, wrong) in [
        ("\"lots\"", "\"lots\" is not a size: write a number with its unit, such as 512MiB, 2GiB or 100MB"),
        ("\"0MB\"", "is no memory at all: leave it out for no limit"),
        ("-1", "is negative: use 1 or more bytes"),
        ("2.5", "is no size: write it as text, such as \"2GiB\""),
    ] {
        assert_eq!(
            refused("\"2GiB\"", limit),
            format!("line 14: sprint \"api\", agent \"coder\": memory_limit {wrong}")
        );
    }
    let plan = Plan::parse(&CHECKOUT.replace("\"2GiB\"", "4096")).unwrap();
    assert_eq!(plan.sprints[0].agents[0].memory_limit, Some(ByteSize(4096)));
}

#[test]
fn a_soft_memory_limit_stands_below_the_hard_one_or_alone() {
    let soft = |limits: &str| Plan::parse(&CHECKOUT.replace("memory_limit = \"2GiB\"", limits));
    let coder = soft("memory_limit = \"2GiB\"\nmemory_soft_limit = \"1GiB\"")
        .unwrap()
        .sprints
        .remove(0)
        .agents
        .remove(0);
    assert_eq!(coder.memory_soft_limit, Some(ByteSize::gib(1)));
    assert_eq!(soft("memory_soft_limit = \"1GiB\"").unwrap().sprints[0].agents[0].memory_limit, None);
    assert_eq!(
        soft("memory_limit = \"1GiB\"\nmemory_soft_limit = \"1GiB\"").unwrap_err().to_string(),
        "line 15: sprint \"api\", agent \"coder\": memory_soft_limit must be below the memory limit, or the tree is ended before the agent can drain"
    );
}

#[test]
fn every_problem_is_reported_at_once_in_the_order_of_the_file() {
    let text = CHECKOUT
        .replace("\"checkout\"", "\"\"")
        .replace("count = 4", "count = 0")
        .replace("attempts = 5", "attempts = 0")
        .replace("after = [\"api\"]", "after = [\"appi\"]")
        .replace("[\"true\"]", "[]");
    let errors = Plan::parse(&text).unwrap_err();
    let lines: Vec<_> = errors.problems().iter().map(|problem| problem.line).collect();
    assert_eq!(lines, [Some(2), Some(10), Some(23), Some(27), Some(29)]);
    assert_eq!(errors.to_string().lines().count(), 5);
}

#[test]
fn substitution_is_one_pass_and_leaves_other_braces_alone() {
    let (task, results) = (TaskId::new("login").unwrap(), BTreeMap::new());
    let with = Substitutes { task: &task, input: "say {task} {input}", results: &results };
    for (argument, filled) in [
        ("{task}: {input}", "login: say {task} {input}"),
        ("{input}{task}{input}", "say {task} {input}loginsay {task} {input}"),
        ("{foo} {{task}} { {task {} }{é", "{foo} {login} { {task {} }{é"),
        ("", ""),
    ] {
        assert_eq!(substitute(argument, &with), filled, "{argument:?}");
    }
}

#[test]
fn results_of_needed_tasks_are_put_in_as_they_are_and_those_of_others_are_left_alone() {
    let task = TaskId::new("review").unwrap();
    let results = BTreeMap::from([(TaskId::new("write").unwrap(), "{task} {result:write}".to_owned())]);
    let with = Substitutes { task: &task, input: "read {result:write}", results: &results };
    for (argument, filled) in [
        ("{result:write}!", "{task} {result:write}!"),
        ("{input}", "read {task} {result:write}"),
        ("{result:other} {result:write", "{result:other} {result:write"),
    ] {
        assert_eq!(substitute(argument, &with), filled, "{argument:?}");
    }
    assert!(depends_on_task("{result:write}"));
}

#[test]
fn a_pool_is_started_by_somebody_else_who_says_how() {
    let plan = |pool: &str| {
        Plan::parse(&format!(
            "[epic]\nid = \"e\"\n[[sprint]]\nid = \"s\"\n[[sprint.agent]]\nid = \"p\"\nspawn = false\n{pool}\n[[sprint.task]]\nid = \"t\"\n"
        ))
    };
    let sprint = plan("task_timeout = \"5m\"").unwrap().sprints.remove(0);
    assert_eq!((sprint.agents.len(), sprint.pools[0].name.as_str()), (0, "p"));
    assert_eq!(sprint.pools[0].task_timeout, Some(Duration::from_secs(300)));
    let refusal = plan("command = [\"true\"]\ncount = 3").unwrap_err().to_string();
    assert!(refusal.contains("agent \"p\": has count: with spawn = false"), "{refusal}");
    assert!(refusal.contains("agent \"p\": has command: "), "{refusal}");
    let twice = "\n[[sprint.agent]]\nid = \"p\"\ncommand = [\"true\"]";
    assert!(plan(twice).unwrap_err().to_string().contains("unique in the plan"));
}

#[test]
fn an_open_sprint_needs_no_task_and_a_task_says_how_long_it_waits_and_lasts() {
    let plan = |text: &str| Plan::parse(&format!("[epic]\nid = \"e\"\n[[sprint]]\nid = \"s\"\n{text}"));
    let agent = "[[sprint.agent]]\nid = \"a\"\ncommand = [\"true\"]\n";
    assert!(plan(&format!("open = true\n{agent}")).unwrap().sprints[0].is_open);
    assert!(plan(agent).unwrap_err().to_string().contains("open = true"));
    let task = "[[sprint.task]]\nid = \"t\"\nretry_backoff = \"10s\"\ntimeout = \"2m\"\n";
    let task = plan(&format!("{agent}{task}")).unwrap().sprints.remove(0).tasks.remove(0);
    assert_eq!((task.retry_backoff, task.timeout), (Duration::from_secs(10), Some(Duration::from_secs(120))));
    assert_eq!(task.record().retry_backoff_ms, 10_000);
    let wrong = "[[sprint.task]]\nid = \"t\"\nretry_backoff = \"2h\"\ninput = \"{result:x}\"\n";
    let refusal = plan(&format!("{agent}{wrong}")).unwrap_err().to_string();
    assert!(refusal.contains("retry_backoff is over 1h") && refusal.contains("add x to needs"), "{refusal}");
}
