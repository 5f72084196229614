//! Which tests are run in a guest. All are, but those that are left out here, each with its reason: a new test runs
//! there from the day on which it is written.

/// What a name begins with, and why such tests are left out.
const LEFT_OUT: &[(&str, &str)] = &[
    ("engine::", SQL),
    ("engine_crash::", SQL),
    ("kill::the_database_of_a_node_is_killed", DATABASE),
    ("power::a_database_does_not_notice_that_servers_die", DATABASE),
    ("power::a_database_with_safe_settings_loses_nothing_in_fifty_power_losses", DATABASE),
    ("power::a_power_loss_finds_unsafe_settings_and_a_kill_does_not", DATABASE),
    ("guardian::a_database_goes_on_when_the_guardian_dies_and_then_the_server", DATABASE),
    ("guardian::whoever_works_on_it_does_not_notice_that_both_die_in_turn", HUNDREDS),
    ("departure::a_stream_that_is_held_on_its_way_out_does_not_crawl", SPEED),
    ("departure::what_waits_does_not_count_against_its_sender", SPEED),
    ("departure::a_line_out_is_as_slow_as_asked", SPEED),
    ("combinations::", HUNDREDS),
    ("container_crash::", STEPS),
    ("resource_crash::a_crash_leaves_no_cpu_load", WORKER),
    ("resource_crash::a_crash_leaves_no_disk_load", WORKER),
    ("resource_crash::a_crash_leaves_no_files", WORKER),
    ("resource_crash::a_crash_leaves_no_full_volume", WORKER),
    ("resource_crash::a_crash_leaves_no_memory", WORKER),
    ("resource_crash::a_crash_leaves_no_open_files", WORKER),
    ("resource_crash::a_crash_leaves_no_threads", WORKER),
    ("storm::", STEPS),
    ("time_skew::a_busy_process_bears_it_over_and_over", HUNDREDS),
    ("time_skew::a_database_server_tells_another_time", DATABASE),
];

const SQL: &str = "statements to database servers, in which the kernel has no part";
const DATABASE: &str = "a database server under load, for which an emulated processor is too slow";
const STEPS: &str = "kills at one step after the other, hundreds of them; those of crash and limits run in their place";
const HUNDREDS: &str = "dozens or hundreds of rounds, for which an emulated processor is too slow";
const SPEED: &str = "throughput, which an emulated processor does not reach";
const WORKER: &str = "a worker that ends with its pipe: a_hung_holder_keeps_no_load_in_place runs in its place";

/// Words in the names of tests that kill a holder at one step after the other: the longest are begun first.
const LONG: [&str; 2] = ["at_any_step", "crash"];

/// What is run and what is not.
pub(super) struct Plan {
    /// In the order in which they are begun.
    pub(super) run: Vec<String>,
    /// With the reasons.
    pub(super) left_out: Vec<(String, &'static str)>,
}

/// Sorts the tests; with `wanted`, those that have it in their name, and nothing is left out.
pub(super) fn plan(tests: Vec<String>, wanted: Option<&str>) -> Plan {
    let mut plan = Plan { run: Vec::new(), left_out: Vec::new() };
    for test in tests {
        let reason = LEFT_OUT.iter().find(|(begin, _)| test.starts_with(begin)).map(|(_, reason)| *reason);
        match (wanted, reason) {
            (Some(wanted), _) if !test.contains(wanted) => {}
            (None, Some(reason)) => plan.left_out.push((test, reason)),
            _ => plan.run.push(test),
        }
    }
    let weight = |test: &String| LONG.iter().position(|word| test.contains(word)).unwrap_or(LONG.len());
    plan.run.sort_by_key(weight);
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_has_a_reason_and_the_longest_come_first() {
        let tests = ["pause::x", "engine::y", "limits::a_crash_leaves", "crash::at_any_step"].map(str::to_owned);
        let all = plan(tests.to_vec(), None);
        assert_eq!(all.run, ["crash::at_any_step", "limits::a_crash_leaves", "pause::x"]);
        assert_eq!(all.left_out, [("engine::y".to_owned(), SQL)]);
        assert_eq!(plan(tests.to_vec(), Some("engine")).run, ["engine::y"]);
    }
}
