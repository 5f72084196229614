use super::*;
use proptest::prelude::*;

fn cluster(name: &str) -> ClusterName {
    name.parse().expect("a name")
}

fn clusters() -> impl Strategy<Value = ClusterName> {
    prop::sample::select(vec![cluster("orders"), cluster("files"), cluster("users")])
}

fn families() -> impl Strategy<Value = AttackFamily> {
    use AttackFamily::{Engine, Network, Resource, State, Storage};
    prop::sample::select(vec![State, Network, Resource, Storage, Engine])
}

fn grants() -> impl Strategy<Value = Vec<Grant>> {
    let role = prop::sample::select(vec![Role::Viewer, Role::Operator, Role::Admin]);
    let grant = (role, prop::option::of(clusters()), prop::collection::vec(families(), 0..3))
        .prop_map(|(role, cluster, families)| Grant { role, cluster, families });
    prop::collection::vec(grant, 0..4)
}

fn objects() -> impl Strategy<Value = Object> {
    prop_oneof![
        Just(Object::Everything),
        Just(Object::Somewhere),
        clusters().prop_map(Object::Cluster),
        (clusters(), families()).prop_map(|(cluster, family)| Object::Attack(cluster, family)),
    ]
}

fn actions() -> impl Strategy<Value = Action> {
    prop::sample::select(Action::ALL.to_vec())
}

fn person(grants: Vec<Grant>, token: Option<Vec<Grant>>) -> Principal {
    Principal { name: "ada".to_owned(), grants, token }
}

proptest! {
    #[test]
    fn a_token_never_does_what_its_owner_may_not(
        own in grants(), token in grants(), action in actions(), object in objects(),
    ) {
        let with_token = authorise(&person(own.clone(), Some(token)), action, &object);
        prop_assert!(with_token.is_err() || authorise(&person(own, None), action, &object).is_ok());
    }

    #[test]
    fn one_grant_more_takes_nothing_away(own in grants(), more in grants(), action in actions(), object in objects()) {
        if authorise(&person(own.clone(), None), action, &object).is_ok() {
            let all = own.into_iter().chain(more).collect();
            prop_assert!(authorise(&person(all, None), action, &object).is_ok());
        }
    }

    #[test]
    fn what_includes_another_grant_allows_all_that_it_does(
        one in grants(), other in grants(), action in actions(), object in objects(),
    ) {
        for (one, other) in one.into_iter().zip(other) {
            let allowed = authorise(&person(vec![other.clone()], None), action, &object).is_ok();
            if one.includes(&other) && allowed {
                prop_assert!(authorise(&person(vec![one.clone()], None), action, &object).is_ok(), "{one} > {other}");
            }
        }
    }

    #[test]
    fn a_grant_on_one_cluster_reaches_no_other(own in grants(), action in actions(), object in objects()) {
        let own: Vec<Grant> =
            own.into_iter().map(|grant| Grant { cluster: Some(cluster("orders")), ..grant }).collect();
        let elsewhere = match &object {
            Object::Everything => true,
            Object::Somewhere => false,
            Object::Cluster(name) | Object::Attack(name, _) => *name != cluster("orders"),
        };
        if elsewhere && action != Action::Own {
            prop_assert!(authorise(&person(own, None), action, &object).is_err());
        }
    }

    #[test]
    fn the_full_admin_may_do_everything_and_nobody_nothing(action in actions(), object in objects()) {
        let admin = person(vec![Grant::everywhere(Role::Admin)], None);
        prop_assert!(authorise(&admin, action, &object).is_ok());
        prop_assert_eq!(authorise(&person(vec![], None), action, &object).is_ok(), action == Action::Own);
    }
}

#[test]
fn a_denial_names_what_was_asked_and_what_is_missing() {
    let grant = Grant { role: Role::Operator, cluster: Some(cluster("orders")), families: vec![AttackFamily::State] };
    let ada = person(vec![grant], None);
    let network = Object::Attack(cluster("orders"), AttackFamily::Network);
    assert!(authorise(&ada, Action::Attack, &Object::Attack(cluster("orders"), AttackFamily::State)).is_ok());
    let denial = authorise(&ada, Action::Attack, &network).expect_err("another family");
    assert_eq!(
        denial.to_string(),
        "ada may not start attacks of the family network on cluster orders: that needs the role operator there, for \
         that family; they have operator of cluster orders (state)"
    );
    let token = person(vec![Grant::everywhere(Role::Admin)], Some(vec![Grant::everywhere(Role::Viewer)]));
    let denial = authorise(&token, Action::Attack, &network).expect_err("the token is a viewer's");
    assert!(denial.token && denial.to_string().contains("the token has not"), "{denial}");
}

#[test]
fn nobody_has_a_family_that_they_were_not_given() {
    let some = Grant { families: vec![AttackFamily::State], ..Grant::everywhere(Role::Operator) };
    let all = Grant::everywhere(Role::Operator);
    assert!(all.includes(&some) && !some.includes(&all));
    assert!(person(vec![all.clone()], None).has(&some) && !person(vec![all.clone()], Some(vec![some])).has(&all));
}
