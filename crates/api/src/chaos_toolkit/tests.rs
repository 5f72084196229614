//! Whole files: what they become, and that nothing of one that cannot be read is taken.

use super::*;
use firedrill_model::experiment::{Experiment, StepSpec};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::fmt::Write as _;

const DATABASE_PROCESS: &str = include_str!("samples/database-process.json");
const SLOW_LINK: &str = include_str!("samples/slow-link.yaml");
const REFUSED: &str = include_str!("samples/refused.yaml");

fn on(target: &str) -> Choices {
    Choices { target: Some(target.parse().expect("a selector")), ..Choices::default() }
}

fn read(text: &str) -> Import {
    import(text, &on("role=replica"), firedrill_fault::check)
}

/// All of an import as people see it.
fn shown(import: &Import) -> String {
    let mut text = String::new();
    for part in &import.parts {
        let _ = writeln!(text, "{} {}: {} -> {}", part.place, part.name, part.was, part.became);
        part.notes.iter().for_each(|note| text.push_str(&format!("    {note}\n")));
    }
    import.problems.iter().for_each(|problem| text.push_str(&format!("! {problem}\n")));
    if let Some(template) = &import.template {
        let _ = writeln!(text, "\n{}: {}\n{}", template.name, template.title, template.about);
        for one in &template.parameters {
            let _ = writeln!(text, "{} ({}) {:?}: {}", one.name, one.kind.describe(), one.default, one.about);
        }
        let _ = writeln!(text, "\n{}", template.experiment);
    }
    text
}

fn experiment(import: &Import, given: &[(&str, &str)]) -> Experiment {
    let template = import.template.as_ref().unwrap_or_else(|| panic!("{}", shown(import)));
    let given = given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let (text, experiment) = crate::template_file::fill_in(template, &given, firedrill_fault::check).expect("fills in");
    assert!(!text.contains("${"), "{text}");
    experiment
}

#[test]
fn a_killed_process_with_its_steady_state_and_its_brake() {
    let import = read(DATABASE_PROCESS);
    insta::assert_snapshot!(shown(&import));
    let run = experiment(&import, &[("settle", "45")]);
    assert_eq!((run.probes.len(), run.abort_when.len()), (4, 1));
    assert!(matches!(run.steps[1], StepSpec::Wait(span) if span.to_string() == "45s"), "{:?}", run.steps);
}

#[test]
fn faults_of_a_network_with_their_rollbacks() {
    let import = read(SLOW_LINK);
    insta::assert_snapshot!(shown(&import));
    let run = experiment(&import, &[("share", "7.5")]);
    assert!(run.overlap);
    let loss = run.steps.iter().find_map(|step| match step {
        StepSpec::Attack(attack) if attack.fault.kind == "loss" => Some(attack),
        _ => None,
    });
    assert_eq!(loss.expect("the loss").fault.parameters["percent"], json!(7.5));
}

#[test]
fn what_cannot_be_is_refused_by_name_all_at_once() {
    let import = read(REFUSED);
    assert!(import.template.is_none());
    let text = shown(&import);
    assert!(!text.contains("hunter2") && !serde_json::to_string(&import).expect("JSON").contains("hunter2"), "{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn a_step_whose_hosts_nobody_names_is_refused_and_one_may_have_its_own() {
    let import = super::import(DATABASE_PROCESS, &Choices::default(), firedrill_fault::check);
    assert!(import.problems.iter().any(|problem| problem.instead.contains("--target")), "{}", shown(&import));
    let one = |name: &str| Choices {
        targets: BTreeMap::from([(name.to_owned(), "role=primary".parse().expect("a selector"))]),
        name: Some("drill".to_owned()),
        ..Choices::default()
    };
    let named = super::import(DATABASE_PROCESS, &one("kill the database"), firedrill_fault::check);
    assert_eq!(named.template.as_ref().map(|template| template.name.as_str()), Some("drill"), "{}", shown(&named));
    let unknown = super::import(DATABASE_PROCESS, &one("kill it"), firedrill_fault::check);
    assert!(shown(&unknown).contains("which is no activity of the file"), "{}", shown(&unknown));
}

/// A file with one action, and what it becomes.
fn action(provider: Value) -> Import {
    let probe =
        json!({"type": "probe", "name": "p", "tolerance": 200, "provider": {"type": "http", "url": "http://x/"}});
    let action = json!({"type": "action", "name": "a", "provider": provider});
    let state = json!({"title": "s", "probes": [probe]});
    read(&json!({"title": "t", "steady-state-hypothesis": state, "method": [action]}).to_string())
}

fn process(line: &str) -> Import {
    let mut words = line.split(' ');
    action(json!({"type": "process", "path": words.next(), "arguments": words.collect::<Vec<_>>().join(" ")}))
}

fn attack(import: &Import) -> String {
    match experiment(import, &[]).steps.first() {
        Some(StepSpec::Attack(attack)) => attack.fault.to_string(),
        other => format!("{other:?}"),
    }
}

#[test]
fn programs_become_attacks() {
    for (line, wanted) in [
        ("pkill -STOP mysqld", "pause (process {\"name\":\"mysqld\",\"select\":\"name\"}, which all)"),
        (
            "killall -s TERM mysqld",
            "kill (process {\"name\":\"mysqld\",\"select\":\"name\"}, signal SIGTERM, which all)",
        ),
        ("stress-ng --cpu 0 --timeout 1m", "cpu (load 100)"),
        ("stress-ng --vm 1 --vm-bytes 256M -t 30", "memory (amount 256MiB)"),
        ("tc qdisc add dev eth0 root netem loss 10%", "loss (direction outbound, percent 10)"),
        ("tc qdisc replace dev eth0 root netem corrupt 1.5%", "corruption (percent 1.5)"),
        ("iptables -I OUTPUT -d 10.0.0.7 -j DROP", "partition (direction outbound, peers 10.0.0.7)"),
        ("fallocate -l 1G /var/lib/mysql/filler", "disk-fill (amount 1GiB, path /var/lib/mysql)"),
        ("docker pause db", "pause (container db, means freezer)"),
        ("docker kill db", "kill (container db, signal SIGKILL)"),
        ("/sbin/reboot", "reboot"),
        ("shutdown -h now", "shutdown"),
    ] {
        assert_eq!(attack(&process(line)), wanted, "{line}");
    }
    for (line, wanted) in [
        ("pkill -f mysqld", "`kill`"),
        ("pkill", "pkill"),
        ("kill -9 4711", "finds the process"),
        ("tc qdisc add dev eth0 root tbf rate 1mbit", "bandwidth"),
        ("tc qdisc add dev eth0 root netem delay 10ms 1ms 25%", "latency"),
        ("iptables -A INPUT -j REJECT", "`reset`"),
        ("iptables -F", "partition"),
        ("stress-ng --hdd 1 --timeout 10s", "disk-io"),
        ("stress-ng --cpu 1", "timeout"),
        ("rm -rf /", "rm PATH"),
        ("rm /var/lib/mysql/ibdata1", "undoes nothing"),
        ("mysqladmin shutdown", "attack kinds"),
        ("tc qdisc del dev eth0 root", "undoes nothing"),
    ] {
        let import = process(line);
        assert!(import.template.is_none() && shown(&import).contains(wanted), "{line}: {}", shown(&import));
    }
}

#[test]
fn every_function_of_the_table_is_read() {
    let python = |name: &str, arguments: Value| {
        let (module, func) = name.rsplit_once('.').expect("a module");
        action(json!({"type": "python", "module": module, "func": func, "arguments": arguments}))
    };
    let arguments = json!({
        "name": "n", "latency": "10ms", "jitter": "1ms", "loss": "5", "corrupt": "5", "duplicate": "5", "rate": "1mbps",
        "limit": 1, "buffer": 1, "workers": 1, "load": 50, "size": "64MB", "duration": 30, "path": "/var/tmp",
        "for_proxy": "p", "toxic_name": "t", "proxy_name": "p", "ns": "x"
    });
    for known in extensions::FUNCTIONS {
        // Each takes those of the arguments that it knows, as a person would find out.
        let mut given = arguments.clone();
        if known.name.starts_with("chaostoxi") {
            (given["latency"], given["jitter"], given["rate"]) = (json!(100), json!(10), json!(1024));
        } else if known.name.starts_with("chaosazure") {
            given["size"] = json!(100);
        }
        let mut import = python(known.name, given.clone());
        while let Some(name) =
            import.problems.first().and_then(|one| one.place.strip_prefix("method[0].provider.arguments."))
        {
            assert!(given.as_object_mut().expect("a map").remove(name).is_some(), "{}: {}", known.name, shown(&import));
            import = python(known.name, given.clone());
        }
        let undoes = import.problems.iter().any(|problem| problem.found.contains("undoes nothing"));
        assert!(import.template.is_some() || undoes, "{}: {}", known.name, shown(&import));
        assert_eq!(undoes, known.becomes.starts_with("the end"), "{}: {}", known.name, shown(&import));
    }
}

#[test]
fn files_that_are_none_say_so() {
    for (text, wanted) in [
        ("", "it is no map"),
        ("[1]", "it is no map"),
        ("{", "not JSON"),
        ("a: [", "not YAML"),
        ("title: x", "method: there is none"),
        ("{\"title\": 1, \"method\": 7}", "method: a number where a list belongs"),
        ("title: x\nmethod: []\n", "nothing would be done"),
        ("title: x\nmethod: []\nmothod: []\n", "an unknown part"),
        (
            "title: \"!\"\nmethod: [{type: action, name: a, provider: {type: process, path: reboot}}]\n",
            "no name for a template",
        ),
    ] {
        let import = read(text);
        assert!(shown(&import).contains(wanted), "{text}: {}", shown(&import));
    }
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(read(&deep).problems.len(), 1);
    assert_eq!(read(&format!("a: {deep}")).problems.len(), 1);
    assert_eq!(read(&format!("{{\"a\": {deep}}}")).problems.len(), 1);
    assert_eq!(read(&"a".repeat(FILE_BYTES_MAX + 1)).problems.len(), 1);
}

#[test]
fn the_page_has_these_tables() {
    let page = include_str!("../../../../docs/chaos-toolkit.md");
    assert!(page.contains(&tables()), "put these into docs/chaos-toolkit.md:\n{}", tables());
}

/// What only a part of a file may hold: whatever is taken must be whole.
fn sound(text: &str) {
    let import = read(text);
    assert_eq!(import.template.is_some(), import.problems.is_empty(), "{text}");
    if let Some(template) = &import.template {
        assert!(template.problems().is_empty(), "{text}");
    }
}

fn value() -> impl Strategy<Value = Value> {
    let words = "type|probe|action|name|provider|http|process|python|url|path|pkill|tc|\\$\\{a\\}|\\$\\{|[a-z:/ \"'\\\\{}é\n]{0,12}";
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        words.prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map("[a-z-]{1,12}", inner, 0..5)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// All places in a value, as JSON pointers.
fn places(value: &Value, at: &str, all: &mut Vec<String>) {
    all.push(at.to_owned());
    match value {
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, item)| places(item, &format!("{at}/{index}"), all))
        }
        Value::Object(fields) => fields.iter().for_each(|(key, field)| places(field, &format!("{at}/{key}"), all)),
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_text_is_taken_wholly_or_not_at_all(text in "(?s).{0,400}") {
        sound(&text);
    }

    #[test]
    fn any_value_is_taken_wholly_or_not_at_all(value in value()) {
        sound(&value.to_string());
        sound(&json!({"title": "t", "method": value, "rollbacks": value, "configuration": value}).to_string());
    }

    /// A good file in which one value, anywhere, is another one.
    #[test]
    fn a_file_with_any_value_changed_is_taken_wholly_or_not_at_all(
        which in 0..2_usize, place in any::<prop::sample::Index>(), value in value()
    ) {
        let good: Value = match which {
            0 => serde_json::from_str(DATABASE_PROCESS).expect("JSON"),
            _ => serde_saphyr::from_str(SLOW_LINK).expect("YAML"),
        };
        let mut all = Vec::new();
        places(&good, "", &mut all);
        let mut changed = good.clone();
        if let Some(there) = changed.pointer_mut(place.get::<String>(&all)) {
            *there = value;
        }
        sound(&changed.to_string());
    }
}
