//! The exported form, as a reader of Jepsen histories sees it.

use crate::world::{Fate, World};
use firedrill_ledger::history::Via;
use firedrill_ledger::jepsen::{export, value};
use serde_json::Value;
use std::collections::{HashMap, HashSet};

fn exported(world: &World) -> Vec<Value> {
    let mut out = Vec::new();
    let count = export(world.history().as_slice(), &mut out).expect("exported");
    let operations: Vec<Value> = serde_json::from_slice(&out).expect("one JSON array");
    assert_eq!(operations.len() as u64, count);
    operations
}

#[test]
fn it_is_a_set_workload() {
    let mut world = World::new(2);
    let fates = [Fate::Acknowledged, Fate::Failed, Fate::UnknownDone, Fate::Acknowledged];
    let tokens: Vec<_> = fates.iter().map(|&fate| world.write(3, fate)).collect();
    let all = world.servers[&1].present.clone();
    world.read(Via::Gateway, 3, 1, &all);
    world.begin(3);
    let operations = exported(&world);

    let kinds: Vec<&str> = operations.iter().filter_map(|operation| operation["type"].as_str()).collect();
    assert_eq!(kinds, ["invoke", "ok", "invoke", "fail", "invoke", "info", "invoke", "ok", "invoke", "invoke", "ok"]);
    let adds: Vec<u64> =
        operations[..9].iter().step_by(2).filter_map(|operation| operation["value"].as_u64()).collect();
    assert_eq!(adds[..4], tokens.iter().map(|&token| value(token)).collect::<Vec<_>>()[..]);
    let last = &operations[10];
    assert_eq!(last["f"], "read");
    let there: Vec<u64> = last["value"].as_array().expect("a list").iter().filter_map(Value::as_u64).collect();
    assert_eq!(there, [value(tokens[0]), value(tokens[2]), value(tokens[3])]);
}

#[test]
fn indices_grow_times_do_not_go_back_and_the_dead_stay_dead() {
    let mut world = World::new(2);
    for number in 0..60 {
        world.write(number % 4, if number % 5 == 0 { Fate::UnknownLost } else { Fate::Acknowledged });
    }
    let (mut dead, mut open, mut last) = (HashSet::new(), HashMap::new(), 0);
    for (index, operation) in exported(&world).iter().enumerate() {
        assert_eq!(operation["index"], index);
        let time = operation["time"].as_u64().expect("a time");
        assert!(time >= last);
        last = time;
        let process = operation["process"].as_u64().expect("a process");
        assert!(!dead.contains(&process), "process {process} is dead");
        match operation["type"].as_str() {
            Some("invoke") => assert!(open.insert(process, operation["value"].clone()).is_none()),
            Some("info") => {
                dead.insert(process);
                open.remove(&process);
            }
            _ => assert!(open.remove(&process).is_some()),
        }
    }
}

#[test]
fn without_a_primary_there_is_no_final_read() {
    let mut world = World::new(2);
    world.write(0, Fate::Acknowledged);
    world.server(1).unread = true;
    assert_eq!(exported(&world).len(), 2);
}
