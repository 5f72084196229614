//! The guards: what each asks for, its limits as the fields of a form, and who has passed one over.

use crate::format;
use crate::frame::Frame;
use crate::pages::finish;
use crate::typed::Typed;
use askama::Template;
use firedrill_api::guards::Overridden;
use firedrill_api::http::Problem;
use firedrill_model::Percent;
use firedrill_model::guard::{Authority, GUARDS, Guard, GuardPolicy, Window};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

/// What the page shows.
#[derive(Debug, Clone, Default)]
pub struct GuardLimits {
    /// The limits in force.
    pub policy: GuardPolicy,
    /// What was typed, when it was refused; `None`: the form shows the limits in force.
    pub typed: Option<Typed>,
    /// The newest overrides.
    pub overrides: Vec<Overridden>,
    /// There are older ones.
    pub more: bool,
    /// They have just been set.
    pub is_set: bool,
    /// Why they were not.
    pub problem: Option<Problem>,
}

/// What is typed into a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// A whole number, this or more.
    Number(u32),
    Percent,
    Text,
    /// Something on each line.
    Lines,
}

/// A field of the form.
struct Field {
    /// As in [`GuardPolicy`].
    name: &'static str,
    label: &'static str,
    help: &'static str,
    form: Form,
}

const HEALTHY: Field = Field {
    name: "healthy_replicas_min",
    label: "Healthy replicas that stay untouched",
    help: "So many healthy replicas of the cluster must stay untouched by this and all other faults.",
    form: Form::Number(0),
};
const CLUSTER_SHARE: Field = Field {
    name: "cluster_share_max",
    label: "Share of a cluster, in percent",
    help: "Largest share of a cluster's nodes under attack at once, 0 to 100. One node is always allowed.",
    form: Form::Percent,
};
const SERVICE_SHARE: Field = Field {
    name: "service_share_max",
    label: "Share of a service, in percent",
    help: "Largest share of a service's hosts under attack at once, 0 to 100. One host is always allowed.",
    form: Form::Percent,
};
const SERVICE_TAG: Field = Field {
    name: "service_tag",
    label: "Tag of a service",
    help: "The tag by which hosts say to which service they belong, such as service.",
    form: Form::Text,
};
const IN_CLUSTER: Field = Field {
    name: "concurrent_cluster_max",
    label: "Faults at once on a cluster",
    help: "1 or more, and not more than in all. An attack on three hosts counts three.",
    form: Form::Number(1),
};
const IN_SERVICE: Field = Field {
    name: "concurrent_service_max",
    label: "Faults at once on a service",
    help: "1 or more, on the hosts of one service.",
    form: Form::Number(1),
};
const IN_ALL: Field = Field {
    name: "concurrent_all_max",
    label: "Faults at once in all",
    help: "1 or more. To block every start, halt instead.",
    form: Form::Number(1),
};
const PROTECTED_TAGS: Field = Field {
    name: "protected_tags",
    label: "Tags of protected hosts",
    help: "Hosts with one of these tags are not attacked. One on a line, such as protected=true.",
    form: Form::Lines,
};
const PROTECTED_HOSTS: Field = Field {
    name: "protected_hosts",
    label: "Protected hosts",
    help: "Not attacked either. A name on a line, such as db-1.",
    form: Form::Lines,
};
const WINDOWS: Field = Field {
    name: "windows",
    label: "Hours of attacks",
    help: "Attacks begin within these hours (UTC) only; one on a line: mon-fri 09:00-17:00. Empty: at any time.",
    form: Form::Lines,
};
const APPROVAL_TAGS: Field = Field {
    name: "approval_tags",
    label: "Tags that need a second person",
    help: "Somebody else approves attacks on hosts with one of these tags. One on a line, such as approval=required.",
    form: Form::Lines,
};
const APPROVAL_KINDS: Field = Field {
    name: "approval_kinds",
    label: "Attacks that need a second person",
    help: "Somebody else approves attacks of these kinds. One on a line, such as kill. \
           The page of attacks by hand names all kinds.",
    form: Form::Lines,
};

/// All fields, in the order of the form.
const FIELDS: [&Field; 12] = [
    &HEALTHY,
    &CLUSTER_SHARE,
    &SERVICE_SHARE,
    &SERVICE_TAG,
    &IN_CLUSTER,
    &IN_SERVICE,
    &IN_ALL,
    &PROTECTED_TAGS,
    &PROTECTED_HOSTS,
    &WINDOWS,
    &APPROVAL_TAGS,
    &APPROVAL_KINDS,
];

/// The box that switches a guard off.
fn off(guard: Guard) -> String {
    format!("off-{guard}")
}

/// Limits as the fields of the form.
#[must_use]
pub fn fields(policy: &GuardPolicy) -> Typed {
    let GuardPolicy {
        off: switched_off,
        healthy_replicas_min,
        cluster_share_max,
        service_share_max,
        service_tag,
        concurrent_cluster_max,
        concurrent_service_max,
        concurrent_all_max,
        protected_tags,
        protected_hosts,
        windows,
        approval_tags,
        approval_kinds,
    } = policy;
    let named = [
        (&HEALTHY, healthy_replicas_min.to_string()),
        (&CLUSTER_SHARE, f64::from(*cluster_share_max).to_string()),
        (&SERVICE_SHARE, f64::from(*service_share_max).to_string()),
        (&SERVICE_TAG, service_tag.clone()),
        (&IN_CLUSTER, concurrent_cluster_max.to_string()),
        (&IN_SERVICE, concurrent_service_max.to_string()),
        (&IN_ALL, concurrent_all_max.to_string()),
        (&PROTECTED_TAGS, tag_words(protected_tags).join("\n")),
        (&PROTECTED_HOSTS, words(protected_hosts).join("\n")),
        (&WINDOWS, words(windows).join("\n")),
        (&APPROVAL_TAGS, tag_words(approval_tags).join("\n")),
        (&APPROVAL_KINDS, approval_kinds.join("\n")),
    ];
    let boxes = switched_off.iter().map(|guard| (off(*guard), "true".to_owned()));
    let named = named.into_iter().map(|(field, text)| (field.name.to_owned(), text));
    Typed::of(named.chain(boxes).collect())
}

/// The limits that the fields mean. Whether they contradict each other is for the server to say.
///
/// # Errors
/// A field is not understood: which, and what would be.
pub fn read(typed: &Typed) -> Result<GuardPolicy, String> {
    Ok(GuardPolicy {
        off: GUARDS.into_iter().filter(|guard| typed.is(&off(*guard))).collect(),
        healthy_replicas_min: number(typed, &HEALTHY)?,
        cluster_share_max: percent(typed, &CLUSTER_SHARE)?,
        service_share_max: percent(typed, &SERVICE_SHARE)?,
        service_tag: typed.text(SERVICE_TAG.name).map(str::to_owned).ok_or_else(|| empty(&SERVICE_TAG))?,
        concurrent_cluster_max: number(typed, &IN_CLUSTER)?,
        concurrent_service_max: number(typed, &IN_SERVICE)?,
        concurrent_all_max: number(typed, &IN_ALL)?,
        protected_tags: tags(typed, &PROTECTED_TAGS)?,
        protected_hosts: each(typed, &PROTECTED_HOSTS)?,
        windows: each::<Window>(typed, &WINDOWS)?,
        approval_tags: tags(typed, &APPROVAL_TAGS)?,
        approval_kinds: each(typed, &APPROVAL_KINDS)?,
    })
}

fn refused(field: &Field, why: &str) -> String {
    format!("“{}”: {why}", field.label)
}

fn empty(field: &Field) -> String {
    refused(field, "it is empty")
}

fn number(typed: &Typed, field: &Field) -> Result<u32, String> {
    let text = typed.text(field.name).ok_or_else(|| empty(field))?;
    text.parse().map_err(|_| refused(field, &format!("{text:?} is no whole number such as 10")))
}

fn percent(typed: &Typed, field: &Field) -> Result<Percent, String> {
    let text = typed.text(field.name).ok_or_else(|| empty(field))?;
    let number = text.trim_end_matches('%').trim_end().parse::<f64>();
    let percent = number.ok().and_then(|number| Percent::try_from(number).ok());
    percent.ok_or_else(|| refused(field, &format!("{text:?} is no percentage from 0 to 100")))
}

/// The lines that are not empty.
fn lines<'t>(typed: &'t Typed, field: &Field) -> impl Iterator<Item = &'t str> {
    typed.get(field.name).lines().map(str::trim).filter(|line| !line.is_empty())
}

fn each<T: FromStr<Err: Display>>(typed: &Typed, field: &Field) -> Result<Vec<T>, String> {
    lines(typed, field).map(|line| line.parse::<T>().map_err(|why: T::Err| refused(field, &why.to_string()))).collect()
}

fn tags(typed: &Typed, field: &Field) -> Result<BTreeMap<String, String>, String> {
    let mut tags = BTreeMap::new();
    for line in lines(typed, field) {
        let (key, value) = line.split_once('=').map(|(key, value)| (key.trim(), value.trim())).unwrap_or_default();
        if key.is_empty() {
            return Err(refused(field, &format!("{line:?} is no tag such as service=shop")));
        }
        if tags.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(refused(field, &format!("the tag {key:?} stands there twice; it can have one value only")));
        }
    }
    Ok(tags)
}

fn words<T: ToString>(all: &[T]) -> Vec<String> {
    all.iter().map(ToString::to_string).collect()
}

fn tag_words(tags: &BTreeMap<String, String>) -> Vec<String> {
    tags.iter().map(|(key, value)| format!("{key}={value}")).collect()
}

/// What a guard asks for, one sentence.
const fn asks(guard: Guard) -> &'static str {
    match guard {
        Guard::LastReplica => "Enough healthy replicas stay untouched.",
        Guard::Degraded => "Every node is healthy and has caught up.",
        Guard::Operation => "No promotion, clone or other operation runs or waits for a person.",
        Guard::Overlap => "Nothing else is tried on the cluster at the same time.",
        Guard::ClusterShare => "Not too much of a cluster is under attack at once.",
        Guard::ServiceShare => "Not too much of a service is under attack at once.",
        Guard::ConcurrentCluster => "Not too many faults at once on a cluster.",
        Guard::ConcurrentService => "Not too many faults at once on the hosts of a service.",
        Guard::ConcurrentAll => "Not too many faults at once in all.",
        Guard::Protected => "Protected hosts stay untouched.",
        Guard::Window => "It is a time for attacks.",
        Guard::Approval => "A second person has approved what is marked so.",
        Guard::HostOwner => "The owners of the hosts allow it.",
    }
}

/// The limit of a guard, as it is in force; empty: it has none.
fn limit(guard: Guard, policy: &GuardPolicy) -> String {
    let listed = |parts: Vec<String>, none: &str| if parts.is_empty() { none.to_owned() } else { parts.join(", ") };
    match guard {
        Guard::LastReplica => format!("at least {}", policy.healthy_replicas_min),
        Guard::ClusterShare => format!("at most {} of the nodes; one always", policy.cluster_share_max),
        Guard::ServiceShare => {
            let GuardPolicy { service_share_max, service_tag, .. } = policy;
            format!("at most {service_share_max} of the hosts with the same tag {service_tag}; one always")
        }
        Guard::ConcurrentCluster => format!("at most {}", policy.concurrent_cluster_max),
        Guard::ConcurrentService => format!("at most {}", policy.concurrent_service_max),
        Guard::ConcurrentAll => format!("at most {}", policy.concurrent_all_max),
        Guard::Protected => {
            let mut parts = tag_words(&policy.protected_tags);
            parts.extend(words(&policy.protected_hosts));
            listed(parts, "no host is protected")
        }
        Guard::Window if policy.windows.is_empty() => "at any time".to_owned(),
        Guard::Window => format!("{} (UTC)", words(&policy.windows).join(", ")),
        Guard::Approval => {
            let mut parts = tag_words(&policy.approval_tags);
            parts.extend(policy.approval_kinds.iter().cloned());
            listed(parts, "nothing is marked so")
        }
        Guard::HostOwner => "what each agent's configuration allows".to_owned(),
        Guard::Degraded | Guard::Operation | Guard::Overlap => String::new(),
    }
}

/// Who may pass it over, in words.
fn authority(guard: Guard) -> String {
    match guard.authority() {
        Authority::SecondPerson => "nobody alone: a second person approves".to_owned(),
        Authority::HostOwner => "nobody here: the host's owner allows it there".to_owned(),
        other => other.to_string(),
    }
}

/// A guard, as a row.
struct Row {
    name: &'static str,
    asks: &'static str,
    limit: String,
    authority: String,
    is_off: bool,
}

/// A field with what is in it.
struct Filled {
    name: &'static str,
    label: &'static str,
    help: &'static str,
    /// As on the command line.
    limit: String,
    value: String,
    is_lines: bool,
    is_text: bool,
    /// Of a number.
    least: u32,
    is_percent: bool,
    rows: usize,
}

/// A box that switches a guard off.
struct Switch {
    field: String,
    guard: &'static str,
    is_off: bool,
}

#[derive(Template)]
#[template(path = "guard_limits.html")]
struct Page<'a> {
    frame: &'a Frame,
    page: &'a GuardLimits,
    typed: Typed,
    may_set: bool,
}

/// The page.
#[must_use]
pub fn page(frame: &Frame, page: &GuardLimits) -> String {
    let typed = page.typed.clone().unwrap_or_else(|| fields(&page.policy));
    finish(Page { frame, page, typed, may_set: frame.may_everywhere(crate::Action::Configure) }.render())
}

impl Page<'_> {
    fn guards(&self) -> Vec<Row> {
        let policy = &self.page.policy;
        let row = |guard: Guard| Row {
            name: guard.name(),
            asks: asks(guard),
            limit: limit(guard, policy),
            authority: authority(guard),
            is_off: policy.off.contains(&guard),
        };
        GUARDS.into_iter().map(row).collect()
    }

    fn fields(&self) -> Vec<Filled> {
        let filled = |field: &&Field| {
            let value = self.typed.get(field.name).to_owned();
            Filled {
                name: field.name,
                label: field.label,
                help: field.help,
                limit: field.name.replace('_', "-"),
                rows: value.lines().count().clamp(2, 12),
                value,
                is_lines: field.form == Form::Lines,
                is_text: field.form == Form::Text,
                least: if let Form::Number(least) = field.form { least } else { 0 },
                is_percent: field.form == Form::Percent,
            }
        };
        FIELDS.iter().map(filled).collect()
    }

    fn switches(&self) -> Vec<Switch> {
        let can_be_off = |guard: &Guard| guard.authority() != Authority::HostOwner;
        let switch = |guard: Guard| {
            let field = off(guard);
            Switch { is_off: self.typed.is(&field), field, guard: guard.name() }
        };
        GUARDS.into_iter().filter(can_be_off).map(switch).collect()
    }

    /// They are not as they are when nobody has set any.
    fn is_changed(&self) -> bool {
        self.page.policy != GuardPolicy::default()
    }

    /// The limits when nobody has set any, in the words of the table.
    fn usual(&self) -> String {
        let usual = GuardPolicy::default();
        let limits = GUARDS.into_iter().map(|guard| (guard, limit(guard, &usual)));
        let limits = limits.filter(|(_, limit)| !limit.is_empty()).map(|(guard, limit)| format!("{guard}: {limit}"));
        limits.collect::<Vec<_>>().join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedules::tests::HOSTILE;
    use firedrill_model::access::Role;
    use serde_json::json;

    fn policy() -> GuardPolicy {
        serde_json::from_value(json!({
            "off": ["window", "degraded"], "healthy_replicas_min": 0, "cluster_share_max": 33.333,
            "service_share_max": 100, "service_tag": "app", "concurrent_cluster_max": 1, "concurrent_service_max": 2,
            "concurrent_all_max": 3, "protected_tags": {"tier": "0", "team": "vault = a"},
            "protected_hosts": ["db-1", "app"], "windows": ["mon-fri 09:00-17:00", "sat 22:00-02:00"],
            "approval_tags": {}, "approval_kinds": ["kill", "pause"],
        }))
        .expect("limits")
    }

    #[test]
    fn limits_are_the_same_after_a_way_through_the_form() {
        let default = GuardPolicy::default();
        assert_eq!(read(&fields(&default)), Ok(default));
        // The order of those that are off is that of the guards.
        let other = GuardPolicy { off: vec![Guard::Degraded, Guard::Window], ..policy() };
        assert_eq!(read(&fields(&policy())), Ok(other));
        let all_off = GuardPolicy::all_off();
        assert_eq!(read(&fields(&all_off)), Ok(all_off));
    }

    #[test]
    fn what_browsers_send_is_read() {
        let mut typed = fields(&GuardPolicy::default());
        let mut set = |name: &str, text: &str| typed.fields.insert(name.to_owned(), text.to_owned());
        set("protected_hosts", " db-1\r\n\r\ndb-2 ");
        set("protected_tags", "");
        set("cluster_share_max", "12.5 %");
        set("off-host-owner", "true");
        let policy = read(&typed).expect("limits");
        assert_eq!(words(&policy.protected_hosts), ["db-1", "db-2"]);
        assert_eq!((policy.protected_tags.len(), policy.cluster_share_max.thousandths()), (0, 12_500));
        assert_eq!(policy.off, [Guard::HostOwner], "the server refuses it and says why");
    }

    #[test]
    fn a_bad_value_is_refused_by_the_name_of_its_field() {
        for (field, wrong) in [
            (&HEALTHY, "-1"),
            (&HEALTHY, ""),
            (&CLUSTER_SHARE, "101"),
            (&CLUSTER_SHARE, "NaN"),
            (&SERVICE_SHARE, "half"),
            (&SERVICE_TAG, " "),
            (&IN_CLUSTER, "1.5"),
            (&IN_SERVICE, "many"),
            (&IN_ALL, "4294967296"),
            (&PROTECTED_TAGS, "protected"),
            (&PROTECTED_TAGS, "a=1\na=2"),
            (&PROTECTED_HOSTS, "DB 1"),
            (&WINDOWS, "never"),
            (&APPROVAL_TAGS, "=x"),
        ] {
            let mut typed = fields(&GuardPolicy::default());
            typed.fields.insert(field.name.to_owned(), wrong.to_owned());
            let why = read(&typed).expect_err(wrong);
            assert!(why.starts_with(&format!("“{}”", field.label)), "{wrong}: {why}");
        }
    }

    fn shown(role: Role, page_of: GuardLimits) -> String {
        page(&Frame::shown_to(role), &page_of)
    }

    fn hostile() -> GuardLimits {
        let refusal = json!({"guard": "degraded", "figure": HOSTILE, "limit": HOSTILE, "authority": "operator"});
        let overrides = json!([{"id": "o-1", "at": 0, "cluster": "shop", "by": HOSTILE, "reason": HOSTILE,
            "attack": HOSTILE, "run": "run-1", "refusal": refusal}]);
        let policy = GuardPolicy {
            service_tag: HOSTILE.to_owned(),
            approval_kinds: vec![HOSTILE.to_owned()],
            protected_tags: BTreeMap::from([(HOSTILE.to_owned(), HOSTILE.to_owned())]),
            ..policy()
        };
        let problem = Problem { code: "S075".into(), message: HOSTILE.into(), refused: false };
        let overrides = serde_json::from_value(overrides).expect("overrides");
        GuardLimits { policy, overrides, more: true, problem: Some(problem), ..GuardLimits::default() }
    }

    #[test]
    fn nothing_that_people_have_written_becomes_markup() {
        let html = shown(Role::Admin, hostile());
        assert!(!html.contains("<script>alert") && !html.contains("style=\""), "{html}");
        for text in ["/runs/run-1", "/clusters/shop", "/errors/S075", "▲ off", "✔ on", "the newest", "33.333 %"] {
            assert!(html.contains(text), "{text}: {html}");
        }
    }

    #[test]
    fn each_field_has_a_label_and_help_and_host_owner_stays_on() {
        let html = shown(Role::Admin, GuardLimits::default());
        for field in FIELDS {
            assert!(html.contains(&format!("<label for=\"{}\">", field.name)), "{}: {html}", field.name);
            assert!(html.contains(&format!("id=\"{}-help\"", field.name)), "{}: {html}", field.name);
        }
        assert!(html.contains("name=\"off-window\"") && !html.contains("off-host-owner"), "{html}");
        assert!(!html.contains("action=\"/settings/guards/default\""), "they are the usual ones: {html}");
        assert!(shown(Role::Admin, hostile()).contains("action=\"/settings/guards/default\""));
    }

    #[test]
    fn what_was_refused_is_kept_and_the_table_shows_what_is_in_force() {
        let typed =
            Typed::of(vec![("windows".to_owned(), "never".to_owned()), ("off-overlap".to_owned(), "true".to_owned())]);
        let html = shown(Role::Admin, GuardLimits { typed: Some(typed), ..GuardLimits::default() });
        assert!(html.contains(">never</textarea>") && html.contains("value=\"true\" checked"), "{html}");
        assert!(html.contains("at any time") && !html.contains("▲ off"), "{html}");
    }

    #[test]
    fn a_viewer_reads_the_limits_and_is_offered_no_form() {
        let html = shown(Role::Viewer, hostile());
        assert!(!html.contains("action=\"/settings") && !html.contains("<textarea"), "{html}");
        assert!(html.contains("sat 22:00-02:00") && html.contains("db-1"), "{html}");
    }
}
