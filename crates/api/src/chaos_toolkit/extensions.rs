//! Functions of the Chaos Toolkit's extensions, and what they do in firedrill's words. Names and arguments are those of
//! chaostoolkit-kubernetes, chaostoolkit-toxiproxy, chaostoolkit-aws, chaostoolkit-azure and chaostoolkit-reliably.

use super::Obstacle;
use super::activity::Arguments;
use super::document::clean;
use super::effect::{Attack, Effect, Lasts};
use super::programs::size;
use serde_json::{Value, json};

type ReadFunction = fn(&mut Arguments<'_>) -> Result<Effect, Obstacle>;

/// A function with a meaning that is known.
pub(super) struct Function {
    pub(super) name: &'static str,
    pub(super) becomes: &'static str,
    pub(super) differs: &'static str,
    read: ReadFunction,
}

const fn function(name: &'static str, becomes: &'static str, differs: &'static str, read: ReadFunction) -> Function {
    Function { name, becomes, differs, read }
}

/// What names the machines or pods; the target says instead, in firedrill's words.
const WHOM: [&str; 18] = [
    "ns",
    "namespaces_selectors",
    "label_selectors",
    "annotations_selectors",
    "mode",
    "mode_value",
    "container_names",
    "instance_id",
    "instance_ids",
    "az",
    "filter",
    "filters",
    "target_mode",
    "target_mode_value",
    "timeout",
    "label_selector",
    "listen_host",
    "listen_port",
];

/// All of them.
pub(super) const FUNCTIONS: &[Function] = &[
    function("chaosk8s.chaosmesh.network.actions.add_latency", "attack `latency`", "without `correlation`", |given| {
        let (delay, jitter) = (given.must("latency")?, given.take("jitter"));
        let attack = mesh(given, "latency")?.with("delay", time(given, "latency", &delay)?);
        Ok(attack.with_some("jitter", jitter.map(|jitter| time(given, "jitter", &jitter)).transpose()?).into())
    }),
    function("chaosk8s.chaosmesh.network.actions.set_loss", "attack `loss`", "likewise", |given| {
        mesh_share(given, "loss", "loss")
    }),
    function(
        "chaosk8s.chaosmesh.network.actions.corrupt_packets",
        "attack `corruption`",
        "likewise; only `direction: to`",
        |given| mesh_share(given, "corruption", "corrupt"),
    ),
    function(
        "chaosk8s.chaosmesh.network.actions.duplicate_packets",
        "attack `duplication`",
        "likewise; only `direction: to`",
        |given| mesh_share(given, "duplication", "duplicate"),
    ),
    function(
        "chaosk8s.chaosmesh.network.actions.set_bandwidth",
        "attack `bandwidth`",
        "bursts are not told apart",
        |given| {
            given.pass_over(&["limit", "buffer", "peakrate", "minburst"]);
            let rate = given.must("rate")?;
            let rate = rate
                .as_str()
                .and_then(rate_of_tc)
                .ok_or_else(|| no(given, "rate", "no rate", "give one such as 1mbps"))?;
            Ok(mesh(given, "bandwidth")?.with("rate", rate).into())
        },
    ),
    function(
        "chaosk8s.chaosmesh.network.actions.delete_network_fault",
        "the end of the fault of that name",
        "",
        |given| undo(given, "mesh-network", "name"),
    ),
    function(
        "chaosk8s.chaosmesh.stress.actions.stress_cpu",
        "attack `cpu`",
        "each worker stays on its core",
        |given| {
            let (workers, load) = (given.must("workers")?, given.must("load")?);
            let workers = workers.as_u64().filter(|count| (1..=1024).contains(count));
            let workers = workers.ok_or_else(|| no(given, "workers", "no number of workers", "give 1 to 1024"))?;
            let load = given.values.percent(&load, &given.place("load"))?;
            let cores: Vec<u64> = (0..workers).collect();
            Ok(mesh_stress(given, "cpu")?.with("load", load).with("cores", cores).into())
        },
    ),
    function("chaosk8s.chaosmesh.stress.actions.stress_memory", "attack `memory`", "with one worker", |given| {
        let amount = given.must("size")?;
        if given.take("workers").is_some_and(|workers| workers != json!(1)) {
            return Err(no(given, "workers", "several workers", "give one, with all of the memory"));
        }
        let amount =
            amount.as_str().and_then(size).ok_or_else(|| no(given, "size", "no amount", "give one such as 256MB"))?;
        let ramp =
            given.take("time_to_get_to_size").map(|ramp| time(given, "time_to_get_to_size", &ramp)).transpose()?;
        Ok(mesh_stress(given, "memory")?.with("amount", amount).with_some("ramp", ramp).into())
    }),
    function("chaosk8s.chaosmesh.stress.actions.delete_stressor", "the end of the stress of that name", "", |given| {
        undo(given, "mesh-stress", "name")
    }),
    function(
        "chaostoxi.toxic.actions.create_latency_toxic",
        "attack `latency`",
        "all connections of the target's host wait, not only those through the proxy",
        |given| {
            let (delay, jitter) = (given.must("latency")?, given.take("jitter"));
            let attack = toxic(given, "latency")?.with("delay", given.values.millis(&delay, &given.place("latency"))?);
            let jitter = jitter.map(|jitter| given.values.millis(&jitter, &given.place("jitter"))).transpose()?;
            Ok(attack.with_some("jitter", jitter).into())
        },
    ),
    function("chaostoxi.toxic.actions.create_bandwith_degradation_toxic", "attack `bandwidth`", "likewise", |given| {
        let rate = given.must("rate")?.as_u64().and_then(|rate| rate.checked_mul(8));
        let rate = rate.ok_or_else(|| no(given, "rate", "no rate", "give kilobytes in a second"))?;
        Ok(toxic(given, "bandwidth")?.with("rate", format!("{rate}kbit/s")).into())
    }),
    function("chaostoxi.toxic.actions.delete_toxic", "the end of that toxic", "", |given| {
        let toxic = given.must("toxic_name")?;
        let proxy = given.must("for_proxy")?;
        Ok(Effect::Undo(format!("toxiproxy:{proxy}/{toxic}")))
    }),
    function(
        "chaostoxi.proxy.actions.disable_proxy",
        "attack `reset`",
        "all connections of the target's host are broken, not only those through the proxy",
        |given| {
            let proxy = given.must("proxy_name")?;
            Ok(Attack::new("reset", Lasts::UntilUndone(format!("toxiproxy:{proxy}"))).into())
        },
    ),
    function("chaostoxi.proxy.actions.enable_proxy", "the end of what `disable_proxy` began", "", |given| {
        let proxy = given.must("proxy_name")?;
        Ok(Effect::Undo(format!("toxiproxy:{proxy}")))
    }),
    function("chaostoxi.proxy.actions.reset", "the end of all toxics", "", |_| {
        Ok(Effect::Undo("toxiproxy:*".to_owned()))
    }),
    function(
        "chaosaws.ec2.actions.stop_instance",
        "attack `shutdown`, with `force` `power-off`",
        "somebody must switch the host on again",
        stop,
    ),
    function("chaosaws.ec2.actions.stop_instances", "attack `shutdown`, with `force` `power-off`", "likewise", stop),
    function("chaosaws.ec2.actions.restart_instances", "attack `reboot`", "", |_| {
        Ok(Attack::new("reboot", Lasts::Over).into())
    }),
    function(
        "chaosazure.machine.actions.stop_machines",
        "attack `shutdown`",
        "somebody must switch the host on again",
        |_| Ok(Attack::new("shutdown", Lasts::Over).into()),
    ),
    function("chaosazure.machine.actions.restart_machines", "attack `reboot`", "", |_| {
        Ok(Attack::new("reboot", Lasts::Over).into())
    }),
    function("chaosazure.machine.actions.stress_cpu", "attack `cpu` on all cores", "", |given| {
        Ok(Attack::new("cpu", azure(given, 120)?).with("load", 100).into())
    }),
    function("chaosazure.machine.actions.fill_disk", "attack `disk-fill`", "`path` must be given", |given| {
        let path = given.must("path")?;
        let path = given.values.text(&path, &given.place("path"))?;
        let amount = given.take("size").unwrap_or(json!(1000)).as_u64();
        let amount = amount.ok_or_else(|| no(given, "size", "no amount", "give megabytes"))?;
        Ok(Attack::new("disk-fill", azure(given, 120)?)
            .with("path", path)
            .with("amount", format!("{amount}MiB"))
            .into())
    }),
    function(
        "chaosazure.machine.actions.network_latency",
        "attack `latency`",
        "what arrives waits instead of what leaves",
        |given| {
            let delay = given.take("delay").unwrap_or(json!(200));
            let jitter = given.take("jitter").unwrap_or(json!(50));
            given.pass_over(&["network_interface"]);
            let delay = given.values.millis(&delay, &given.place("delay"))?;
            let jitter = given.values.millis(&jitter, &given.place("jitter"))?;
            Ok(Attack::new("latency", azure(given, 60)?).with("delay", delay).with("jitter", jitter).into())
        },
    ),
    function("chaosreliably.activities.pauses.pause_execution", "step `wait`", "`duration` must be above 0", |given| {
        let duration = given.must("duration")?;
        given.pass_over(&["username", "user_id"]);
        Ok(Effect::Wait(given.values.seconds(&duration, &given.place("duration"))?))
    }),
];

/// Whether a function is one of these.
pub(super) fn knows(name: &str) -> bool {
    FUNCTIONS.iter().any(|known| known.name == name)
}

/// Reads the action that calls a function.
pub(super) fn read(name: &str, mut given: Arguments<'_>, place: &str) -> Result<Effect, Obstacle> {
    let Some(known) = FUNCTIONS.iter().find(|known| known.name == name) else {
        let found = format!("the function {}", clean(name));
        return Err(Obstacle::new(format!("{place}.provider.func"), found, super::nearest::function(name)));
    };
    let effect = (known.read)(&mut given)?;
    let says_whom = given.any(&WHOM);
    given.finish()?;
    Ok(match effect {
        Effect::Attack(mut attack) => {
            if says_whom {
                attack.notes.push("what names the machines in the file is replaced by the target".to_owned());
            }
            if !known.differs.is_empty() && known.differs != "likewise" {
                attack.notes.push(known.differs.to_owned());
            }
            Effect::Attack(attack)
        }
        other => other,
    })
}

fn no(given: &Arguments<'_>, name: &str, found: &str, instead: &str) -> Obstacle {
    Obstacle::new(given.place(name), found, instead)
}

fn time(given: &Arguments<'_>, name: &str, value: &Value) -> Result<String, Obstacle> {
    given.values.seconds(value, &given.place(name))
}

fn undo(given: &mut Arguments<'_>, family: &str, name: &str) -> Result<Effect, Obstacle> {
    let name = given.must(name)?;
    Ok(Effect::Undo(format!("{family}:{name}")))
}

/// A fault of Chaos Mesh in the network: it is there until it is deleted.
fn mesh(given: &mut Arguments<'_>, kind: &'static str) -> Result<Attack, Obstacle> {
    let name = given.must("name")?;
    let none = [json!("0"), json!("0%"), json!(0), json!("")];
    if given.take("correlation").is_some_and(|correlation| !none.contains(&correlation)) {
        return Err(no(given, "correlation", "a correlation", "each packet has a chance of its own: leave it out"));
    }
    let others = ["target_namespaces_selectors", "target_label_selectors", "target_annotations_selectors"];
    if given.any(&others) {
        let instead = "give `external_targets` as addresses, or write the attack by hand with `peers`";
        return Err(no(given, others[1], "the other side as pods", instead));
    }
    let peers = match given.take("external_targets") {
        None => None,
        Some(Value::String(one)) => Some(one.split(',').map(|one| json!(one.trim())).collect::<Value>()),
        Some(many) => Some(many),
    };
    let direction = given.take("direction").unwrap_or(json!("to"));
    let direction = match direction.as_str() {
        Some("to") => "outbound",
        Some("from") => "inbound",
        Some("both") => "both",
        _ => return Err(no(given, "direction", "no direction", "there are `to`, `from` and `both`")),
    };
    let attack = Attack::new(kind, Lasts::UntilUndone(format!("mesh-network:{name}"))).with_some("peers", peers);
    match (kind, direction) {
        ("corruption" | "duplication", "outbound") => Ok(attack),
        ("corruption" | "duplication", _) => {
            Err(no(given, "direction", "not what leaves", "let it be `to`, with the other side as target"))
        }
        _ => Ok(attack.with("direction", direction)),
    }
}

fn mesh_share(given: &mut Arguments<'_>, kind: &'static str, name: &str) -> Result<Effect, Obstacle> {
    let share = given.must(name)?;
    let share = given.values.percent(&share, &given.place(name))?;
    Ok(mesh(given, kind)?.with("percent", share).into())
}

/// Stress of Chaos Mesh: it is begun, and ends by itself or is deleted.
fn mesh_stress(given: &mut Arguments<'_>, kind: &'static str) -> Result<Attack, Obstacle> {
    let name = given.must("name")?;
    let duration = given.take("duration").unwrap_or(json!("30s"));
    let duration = time(given, "duration", &duration)?;
    given.pass_over(&["direction", "oom_score"]);
    Ok(Attack::new(kind, Lasts::Beside(duration, format!("mesh-stress:{name}"))))
}

fn toxic(given: &mut Arguments<'_>, kind: &'static str) -> Result<Attack, Obstacle> {
    let (proxy, name) = (given.must("for_proxy")?, given.must("toxic_name")?);
    Ok(Attack::new(kind, Lasts::UntilUndone(format!("toxiproxy:{proxy}/{name}"))))
}

fn stop(given: &mut Arguments<'_>) -> Result<Effect, Obstacle> {
    let forced = given.take("force") == Some(Value::Bool(true));
    Ok(Attack::new(if forced { "power-off" } else { "shutdown" }, Lasts::Over).into())
}

fn azure(given: &mut Arguments<'_>, default: u64) -> Result<Lasts, Obstacle> {
    let duration = given.take("duration").unwrap_or(json!(default));
    Ok(Lasts::Meanwhile(time(given, "duration", &duration)?))
}

/// A rate as `tc` writes it: `kbit` and `mbit` are bits, `bps`, `kbps` and `mbps` bytes in a second.
fn rate_of_tc(text: &str) -> Option<String> {
    let text = text.trim().to_ascii_lowercase();
    let units =
        [("gbps", 8_000_000_000), ("mbps", 8_000_000), ("kbps", 8000), ("gbit", 1_000_000_000), ("mbit", 1_000_000)];
    let units = units.into_iter().chain([("kbit", 1000), ("bps", 8), ("bit", 1_u64)]);
    let (number, unit) =
        units.into_iter().find_map(|(unit, size)| Some((text.strip_suffix(unit)?.to_owned(), size)))?;
    let bits = number.trim().parse::<u64>().ok()?.checked_mul(unit)?;
    Some(format!("{bits}bit/s"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_of_tc_is_in_bytes_or_bits() {
        for (text, wanted) in [("1mbps", "8000000bit/s"), ("10mbit", "10000000bit/s"), ("100 kbit", "100000bit/s")] {
            assert_eq!(rate_of_tc(text).as_deref(), Some(wanted), "{text}");
        }
        assert!(["", "fast", "1", "-1mbit", "99999999999999999999gbit"].iter().all(|text| rate_of_tc(text).is_none()));
    }
}
