use super::*;
use proptest::prelude::*;
use serde_json::json;

fn measure(written: serde_json::Value) -> Measure {
    serde_json::from_value(written).expect("a measure")
}

fn one(measure: &Measure, seen: Seen) -> Finding {
    judge(measure, &[Answer { from: None, seen }])
}

fn http(status: u16, millis: u64, body: &str) -> Seen {
    Seen::Http { status, took: Span::millis(millis), body: Some(Ok(body.to_owned())) }
}

fn questions() -> Vec<Measure> {
    vec![
        measure(json!({"sql": {"query": "SELECT 1", "value": {"equals": 1}}})),
        measure(json!({"http": {"url": "http://x/", "json": {"path": "$.ok", "value": {"equals": true}}}})),
        measure(json!({"tcp": {"address": "x:1", "latency_at_most": "10ms"}})),
        measure(json!({"prometheus": {"url": "http://x", "query": "up", "value": {"equals": 1}}})),
        measure(json!({"command": {"target": {"role": "primary"}, "program": "/bin/true"}})),
    ]
}

#[test]
fn a_value_of_a_database_is_compared() {
    let sql = &questions()[0];
    assert_eq!(one(sql, Seen::Cell(Some("1".into()))).state, ProbeState::Held);
    let other = one(sql, Seen::Cell(Some("2".into())));
    assert_eq!(other, Finding { state: ProbeState::Broken, observed: "\"2\", wanted equal to 1".into() });
    assert_eq!(one(sql, Seen::Cell(None)).observed, "NULL, wanted equal to 1");
}

#[test]
fn status_latency_and_body_of_a_page_must_all_be_as_wanted() {
    let strict = measure(json!({"http": {
        "url": "http://x/", "status": 204, "latency_at_most": "100ms",
        "json": {"path": "$.queues[*].depth", "value": {"below": 10}}
    }}));
    let good = r#"{"queues": [{"depth": 1}, {"depth": 9}]}"#;
    assert_eq!(one(&strict, http(204, 100, good)).state, ProbeState::Held);
    let broken = |seen: Seen, says: &str| {
        let finding = one(&strict, seen);
        assert_eq!(finding.state, ProbeState::Broken, "{finding:?}");
        assert!(finding.observed.contains(says), "{finding:?}");
    };
    broken(http(200, 100, good), "status 200 in 100ms, wanted 204");
    broken(http(204, 101, good), "wanted within 100ms");
    broken(http(204, 1, r#"{"queues": [{"depth": 1}, {"depth": 10}]}"#), "$.queues[*].depth is 10, wanted below 10");
    broken(http(204, 1, r#"{"queues": []}"#), "nothing at $.queues[*].depth");
    broken(http(204, 1, "<html>"), "not JSON");
    broken(Seen::Http { status: 204, took: Span::ZERO, body: Some(Err("cut off".into())) }, "cut off");
    let any = measure(json!({"http": {"url": "http://x/"}}));
    assert_eq!(one(&any, http(299, 1, "")).state, ProbeState::Held);
    assert_eq!(one(&any, http(302, 1, "")).state, ProbeState::Broken);
}

#[test]
fn connections_and_programs() {
    let [_, _, tcp, _, command] = &questions()[..] else { panic!("five") };
    assert_eq!(one(tcp, Seen::Connected { took: Span::millis(10) }).state, ProbeState::Held);
    assert_eq!(one(tcp, Seen::Connected { took: Span::millis(11) }).state, ProbeState::Broken);
    let ended = |exit, output: &str| Seen::Ended { exit, output: output.to_owned() };
    assert_eq!(one(command, ended(Some(0), "anything")).state, ProbeState::Held);
    assert_eq!(one(command, ended(Some(1), "")).observed, "status 1, wanted status 0");
    assert_eq!(one(command, ended(None, "")).state, ProbeState::Broken);
    let printing = measure(json!({"command": {
        "target": {"role": "primary"}, "program": "/bin/x", "exit": 3, "output": {"at-most": 7}
    }}));
    assert_eq!(one(&printing, ended(Some(3), "7\n")).state, ProbeState::Held);
    assert_eq!(one(&printing, ended(Some(3), "8\n")).state, ProbeState::Broken);
}

#[test]
fn prometheus_is_broken_by_values_only() {
    let question = &questions()[3];
    let vector = |values: &[&str]| {
        let result: Vec<_> = values
            .iter()
            .map(|value| json!({"metric": {"__name__": "up", "job": "shop"}, "value": [1.0, value]}))
            .collect();
        http(200, 1, &json!({"status": "success", "data": {"resultType": "vector", "result": result}}).to_string())
    };
    assert_eq!(one(question, vector(&["1"])).state, ProbeState::Held);
    let broken = one(question, vector(&["1", "0"]));
    assert_eq!(broken.state, ProbeState::Broken);
    assert!(broken.observed.contains("up{job=\"shop\"} is 0"), "{broken:?}");
    assert_eq!(one(question, vector(&["NaN"])).state, ProbeState::Broken);
    let scalar = r#"{"status":"success","data":{"resultType":"scalar","result":[1.5,"1"]}}"#;
    assert_eq!(one(question, http(200, 1, scalar)).state, ProbeState::Held);
    let unknown = |seen: Seen, says: &str| {
        let finding = one(question, seen);
        assert_eq!(finding.state, ProbeState::Unknown, "{finding:?}");
        assert!(finding.observed.contains(says), "{finding:?}");
    };
    unknown(vector(&[]), "no series");
    unknown(
        http(400, 1, r#"{"status":"error","errorType":"bad_data","error":"parse error at 3"}"#),
        "parse error at 3",
    );
    unknown(http(502, 1, "<html>"), "status 502");
    unknown(http(200, 1, "{}"), "not understood");
    unknown(http(200, 1, r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#), "matrix");
    unknown(Seen::Failed("connection refused".into()), "connection refused");
}

#[test]
fn of_several_the_worst_decides_and_is_named_first() {
    let sql = &questions()[0];
    let answer = |from: &str, seen| Answer { from: Some(from.to_owned()), seen };
    let good = || Seen::Cell(Some("1".into()));
    let mixed =
        [answer("a", good()), answer("b", Seen::NotAsked("no agent".into())), answer("c", Seen::Failed("gone".into()))];
    let finding = judge(sql, &mixed);
    assert_eq!(finding.state, ProbeState::Broken);
    assert!(finding.observed.starts_with("c: gone; "), "{finding:?}");
    assert_eq!(judge(sql, &mixed[..2]).state, ProbeState::Unknown);
    assert_eq!(judge(sql, &mixed[..1]).state, ProbeState::Held);
    assert_eq!(judge(sql, &[]).state, ProbeState::Unknown);
}

fn seen() -> impl Strategy<Value = Seen> {
    let text = || "[ -~é]{0,400}";
    prop_oneof![
        proptest::option::of(text()).prop_map(Seen::Cell),
        (any::<u16>(), 0u64..100_000, proptest::option::of(proptest::result::maybe_ok(text(), text())))
            .prop_map(|(status, millis, body)| Seen::Http { status, took: Span::millis(millis), body }),
        (0u64..100_000).prop_map(|millis| Seen::Connected { took: Span::millis(millis) }),
        (proptest::option::of(any::<i32>()), text()).prop_map(|(exit, output)| Seen::Ended { exit, output }),
        text().prop_map(Seen::Failed),
        text().prop_map(Seen::NotAsked),
    ]
}

proptest! {
    /// What was not asked never holds and never breaks; what was asked in vain never holds.
    #[test]
    fn nobody_asked_nothing_known(why in ".{0,40}", which in 0usize..5) {
        let measure = &questions()[which];
        prop_assert_eq!(one(measure, Seen::NotAsked(why.clone())).state, ProbeState::Unknown);
        prop_assert_ne!(one(measure, Seen::Failed(why)).state, ProbeState::Held);
    }

    /// Any answer to any question comes to a state and a text of bounded length.
    #[test]
    fn every_answer_is_judged(seen in seen(), which in 0usize..5) {
        let finding = one(&questions()[which], seen);
        prop_assert!(finding.observed.chars().count() <= OBSERVED_CHARS_MAX + 1);
    }

    /// One more answer never makes it better.
    #[test]
    fn more_answers_are_not_better(all in proptest::collection::vec(seen(), 1..6), which in 0usize..5) {
        let measure = &questions()[which];
        let rank = |state| match state { ProbeState::Held => 0, ProbeState::Unknown => 1, ProbeState::Broken => 2 };
        let answers: Vec<_> = all.into_iter().map(|seen| Answer { from: None, seen }).collect();
        let worst = answers.iter().map(|answer| rank(one(measure, answer.seen.clone()).state)).max();
        prop_assert_eq!(Some(rank(judge(measure, &answers).state)), worst);
    }
}
