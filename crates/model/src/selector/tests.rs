use super::*;
use crate::quantity::Percent;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

fn host(name: &str, region: &str, role: Role, behind: Option<u64>) -> Target {
    Target {
        host: name.parse().expect("a name"),
        address: "10.0.0.1".parse().expect("an address"),
        region: Some(region.parse().expect("a name")),
        tags: BTreeMap::new(),
        node: Some((name.parse().expect("a name"), role)),
        database: DatabaseFacts {
            cluster: Some("shop".parse().expect("a name")),
            behind: behind.map(|behind| (0, behind)),
            donor: name == "east-3",
        },
    }
}

fn fleet() -> Vec<Target> {
    vec![
        host("east-2", "east", Role::Replica, Some(3)),
        host("east-1", "east", Role::Primary, None),
        host("east-3", "east", Role::Replica, Some(9)),
        host("west-1", "west", Role::PseudoPrimary, Some(5)),
        host("west-2", "west", Role::PseudoReplica, Some(7)),
    ]
}

fn selected(text: &str, draw: u64) -> Vec<String> {
    let selector: Selector = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
    selector.select(&fleet(), draw).iter().map(|target| target.host.to_string()).collect()
}

fn refused(text: &str) -> String {
    text.parse::<Selector>().expect_err(text).to_string()
}

#[test]
fn an_empty_selector_selects_nothing() {
    assert!(Selector::default().select(&fleet(), 0).is_empty());
    let counted = Selector { choose: Some(Choice::All), limit: None, ..Selector::default() };
    assert!(counted.is_empty() && counted.select(&fleet(), 0).is_empty());
    assert!(refused("limit=1").contains("selects nothing") && refused("choose=all").contains("selects nothing"));
}

#[test]
fn all_conditions_must_hold() {
    assert_eq!(selected("region=east", 0), ["east-1", "east-2", "east-3"]);
    assert_eq!(selected("region=east,role=replica", 0), ["east-2", "east-3"]);
    assert_eq!(selected("cluster=shop role=primary", 0), ["east-1"]);
    assert!(selected("cluster=bank", 0).is_empty());
}

#[test]
fn facts_of_the_database_select() {
    assert_eq!(selected("role=replica,lag=max", 0), ["east-3"]);
    assert_eq!(selected("role=replica,lag=min", 0), ["east-2"]);
    assert_eq!(selected("cluster=shop,lag=max,choose=2", 0), ["east-3", "west-2"]);
    assert_eq!(selected("role=donor", 0), ["east-3"]);
}

#[test]
fn a_choice_takes_some() {
    assert_eq!(selected("cluster=shop,choose=2", 0), ["east-1", "east-2"]);
    assert_eq!(selected("cluster=shop,limit=2", 0), ["east-1", "east-2"]);
    assert_eq!(selected("cluster=shop,choose=50%", 0), ["east-1", "east-2"]);
    assert_eq!(selected("cluster=shop,choose=1%", 0), ["east-1"]);
    assert_eq!(selected("cluster=shop,choose=one-per-zone", 0), ["east-1", "west-1"]);
    assert_eq!(selected("cluster=shop,lag=max,choose=one-per-zone", 0), ["east-3", "west-2"]);
    assert_eq!(selected("cluster=shop,choose=all", 0).len(), 5);
    let one: std::collections::BTreeSet<_> =
        (0..100).map(|draw| selected("cluster=shop,choose=random", draw)).collect();
    assert_eq!(one.len(), 5, "a hundred draws reach everybody");
}

#[test]
fn a_zone_is_a_tag_or_the_region() {
    let mut fleet = fleet();
    fleet[0].tags.insert(ZONE_TAG.to_owned(), "east-b".to_owned());
    let selector: Selector = "cluster=shop,choose=one-per-zone".parse().expect("a selector");
    let chosen: Vec<_> = selector.select(&fleet, 0).iter().map(|target| target.host.to_string()).collect();
    assert_eq!(chosen, ["east-1", "east-2", "west-1"]);
}

#[test]
fn what_is_wrong_is_said() {
    for (text, part) in [
        ("", "selects nothing"),
        ("colour=red", "\"colour\" is no part"),
        ("role=boss", "role=boss"),
        ("node=../x", "node=../x"),
        ("limit=x,role=primary", "limit=x"),
        ("role=primary,choose=0", "leaves nobody"),
        ("role=primary,choose=some", "one-per-zone"),
        ("role=primary,choose=101%", "no share"),
        ("role=replica,limit=1,choose=1", "both say how many"),
        ("role=replica,role=primary", "given twice"),
        ("role=donor,role=primary", "given twice"),
        ("region=east,region=west", "given twice"),
        ("role=primary,lag=max", "behind nobody"),
        ("role=replica,lag=max,choose=random", "takes no notice"),
        ("role=replica,limit=0", "leaves nobody"),
        ("tag.team=\"a", "not closed"),
        ("tag.=x", "no part of a selector"),
    ] {
        assert!(refused(text).contains(part), "{text}: {}", refused(text));
    }
    assert!(serde_json::from_str::<Selector>(r#"{"colour":"red"}"#).is_err());
    assert!(serde_json::from_str::<Selector>(r#"{"role":"boss"}"#).is_err());
    assert!(serde_json::from_str::<Selector>(r#"{"role":"primary","choose":0}"#).is_err());
}

fn name() -> impl Strategy<Value = String> {
    "[a-c][a-c0-2]{0,2}"
}

fn amounts() -> impl Strategy<Value = Amount> {
    prop_oneof![
        (1_u32..20).prop_map(Amount::Count),
        (1_u32..=100).prop_map(|share| Amount::Share(Percent::whole(share))),
        Just(Amount::Share(Percent::try_from(12.5).expect("a share"))),
    ]
}

fn choices() -> impl Strategy<Value = Choice> {
    prop_oneof![
        Just(Choice::All),
        amounts().prop_map(Choice::First),
        amounts().prop_map(Choice::Random),
        Just(Choice::OnePerZone),
    ]
}

const ROLES: [Role; 5] = [Role::Primary, Role::Replica, Role::PseudoPrimary, Role::PseudoReplica, Role::OutOfService];

fn roles() -> impl Strategy<Value = Role> {
    proptest::sample::select(ROLES.to_vec())
}

prop_compose! {
    fn selectors()(
        cluster in option::of(name()),
        nodes in vec(name(), 0..3),
        hosts in vec(name(), 0..3),
        role in option::of(roles()),
        donor in any::<bool>(),
        lag in option::of(prop_oneof![Just(Lag::Max), Just(Lag::Min)]),
        region in option::of(name()),
        tags in btree_map("[a-z]{1,3}", ".{0,6}", 0..3),
        server in any::<bool>(),
        limit in option::of(1_u32..5),
        choose in option::of(choices()),
    ) -> Selector {
        Selector {
            cluster: cluster.map(|name| name.parse().expect("a name")),
            nodes: nodes.iter().map(|name| name.parse().expect("a name")).collect(),
            hosts: hosts.iter().map(|name| name.parse().expect("a name")).collect(),
            role,
            donor: donor && role.is_none(),
            lag,
            region: region.map(|name| name.parse().expect("a name")),
            tags,
            server,
            limit,
            choose,
        }
    }
}

prop_compose! {
    fn fleets()(
        hosts in btree_map(name(), (name(), roles(), option::of(0_u64..4), any::<bool>()), 0..12),
    ) -> Vec<Target> {
        let host = |(name, (region, role, behind, donor)): (String, (String, Role, Option<u64>, bool))| Target {
            database: DatabaseFacts { donor, ..host(&name, &region, role, behind).database },
            ..host(&name, &region, role, behind)
        };
        hosts.into_iter().map(host).collect()
    }
}

proptest! {
    #[test]
    fn the_text_and_the_file_say_the_same(selector in selectors()) {
        let file = serde_json::to_string(&selector).expect("serialises");
        prop_assert_eq!(&serde_json::from_str::<Selector>(&file).expect("reads"), &selector);
        let text = selector.to_string();
        match text.parse::<Selector>() {
            Ok(read) => prop_assert_eq!(read, selector),
            Err(error) => prop_assert!(selector.is_empty() || selector.contradiction().is_some(), "{text}: {error}"),
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in ".{0,40}") {
        if let Ok(selector) = text.parse::<Selector>() {
            prop_assert!(!selector.is_empty() && selector.contradiction().is_none());
        }
    }

    #[test]
    fn a_selection_is_some_of_the_matches(selector in selectors(), fleet in fleets(), draw in any::<u64>()) {
        let chosen = selector.select(&fleet, draw);
        let conditions = Selector { lag: None, limit: None, choose: None, ..selector.clone() };
        // An order alone is asked of everybody; without it nothing is left that selects.
        let alone = selector.lag.is_some() && conditions.is_empty();
        let all = if alone { fleet.iter().collect() } else { conditions.select(&fleet, draw) };
        prop_assert!(chosen.iter().all(|target| all.contains(target)));
        prop_assert!(chosen.windows(2).all(|pair| pair[0].host < pair[1].host));
        let ordered = fleet.iter().filter(|target| selector.lag.is_none() || target.database.behind.is_some());
        let matching = ordered.filter(|target| all.contains(target)).count();
        if selector.contradiction().is_none() && matching > 0 {
            prop_assert!(!chosen.is_empty());
            if let Some(Choice::First(amount) | Choice::Random(amount)) = selector.choose {
                prop_assert_eq!(chosen.len(), amount.of(matching));
            }
        }
    }

    #[test]
    fn the_same_draw_chooses_the_same_whatever_the_order(
        selector in selectors(), fleet in fleets(), draw in any::<u64>(),
    ) {
        let reversed: Vec<Target> = fleet.iter().rev().cloned().collect();
        prop_assert_eq!(selector.select(&fleet, draw), selector.select(&reversed, draw));
    }

    #[test]
    fn the_furthest_behind_is_chosen_by_lag(fleet in fleets()) {
        let selector = Selector { lag: Some(Lag::Max), ..Selector::default() };
        let most = fleet.iter().filter_map(|target| target.database.behind).max();
        let chosen = selector.select(&fleet, 0);
        prop_assert_eq!(chosen.first().and_then(|target| target.database.behind), most);
        prop_assert!(chosen.len() <= 1);
    }
}
