//! Programs that actions run, and what they do in firedrill's words. The meaning of their arguments is that of their
//! manual pages (procps, psmisc, stress-ng, iproute2, iptables, util-linux, coreutils, systemd).

use super::Obstacle;
use super::activity::Arguments;
use super::document::{clean, kind};
use super::effect::{Attack, Effect, Lasts};
use super::nearest;
use super::values::Values;
use firedrill_model::quantity::Bytes;
use serde_json::{Map, Value, json};

/// Most words of one command.
const WORDS_MAX: usize = 50;

type ReadProgram = fn(&Command<'_>) -> Option<Effect>;

/// A program with a meaning that is known.
pub(super) struct Program {
    names: &'static [&'static str],
    /// Which of its commands are known.
    pub(super) form: &'static str,
    pub(super) becomes: &'static str,
    pub(super) differs: &'static str,
    read: ReadProgram,
}

/// All of them.
pub(super) const PROGRAMS: &[Program] = &[
    Program {
        names: &["pkill"],
        form: "pkill [-SIGNAL] [-x] NAME",
        becomes: "attack `kill` on all processes of that name; with `-STOP`: `pause`",
        differs: "`NAME` is the whole name of the program, also without `-x`; `-CONT` takes the pause out",
        read: pkill,
    },
    Program {
        names: &["killall"],
        form: "killall [-s SIGNAL] NAME",
        becomes: "attack `kill` or `pause`, likewise",
        differs: "",
        read: pkill,
    },
    Program {
        names: &["stress-ng", "stress"],
        form: "stress-ng --cpu N [--cpu-load P] --timeout T",
        becomes: "attack `cpu` on the first N cores, or on all with 0",
        differs: "each worker stays on its core",
        read: stress,
    },
    Program {
        names: &[],
        form: "stress-ng --vm 1 --vm-bytes B --timeout T",
        becomes: "attack `memory`",
        differs: "the memory is taken and held, not written again and again",
        read: |_| None,
    },
    Program {
        names: &["tc"],
        form: "tc qdisc add dev D root netem delay T [J] [loss P%]",
        becomes: "attack `latency`",
        differs: "what arrives waits instead of what leaves: a round trip takes as much longer; the agent's own connection, \
                  ssh and name resolution are spared, and all interfaces are meant",
        read: tc,
    },
    Program {
        names: &[],
        form: "tc qdisc add dev D root netem loss|duplicate|corrupt P%",
        becomes: "attack `loss`, `duplication` or `corruption` of what leaves",
        differs: "likewise spared; `tc qdisc del dev D root` takes it out",
        read: |_| None,
    },
    Program {
        names: &["iptables"],
        form: "iptables -A INPUT|OUTPUT [-s|-d NET] [-p P] [--dport|--sport N] -j DROP",
        becomes: "attack `partition`, `inbound` or `outbound`",
        differs: "the agent's own connection, ssh and name resolution are spared; the same with `-D` takes it out",
        read: iptables,
    },
    Program {
        names: &["fallocate"],
        form: "fallocate -l SIZE PATH",
        becomes: "attack `disk-fill` on the volume of that directory",
        differs: "`rm PATH` takes it out",
        read: fallocate,
    },
    Program {
        names: &["rm"],
        form: "rm PATH",
        becomes: "the end of what `fallocate` began",
        differs: "refused for any other path",
        read: |command| match command.plain("f")?.as_slice() {
            [path] => Some(Effect::Undo(format!("file:{path}"))),
            _ => None,
        },
    },
    Program {
        names: &["docker", "podman"],
        form: "docker pause NAME, docker kill [-s SIGNAL] NAME",
        becomes: "attack `pause` with `means: freezer`, or `kill`, of that container",
        differs: "`docker unpause` takes the pause out",
        read: docker,
    },
    Program {
        names: &["reboot"],
        form: "reboot, systemctl reboot",
        becomes: "attack `reboot`",
        differs: "",
        read: |command| command.words.is_empty().then(|| Attack::new("reboot", Lasts::Over).into()),
    },
    Program {
        names: &["poweroff"],
        form: "poweroff, systemctl poweroff, shutdown -h now",
        becomes: "attack `shutdown`",
        differs: "somebody must switch the host on again",
        read: |command| command.words.is_empty().then(|| Attack::new("shutdown", Lasts::Over).into()),
    },
    Program {
        names: &["systemctl", "shutdown"],
        form: "shutdown -r now",
        becomes: "attack `reboot`",
        differs: "",
        read: |command| match command.words().as_slice() {
            ["reboot"] | ["-r", "now"] => Some(Attack::new("reboot", Lasts::Over).into()),
            ["poweroff"] | ["-h" | "-P", "now"] => Some(Attack::new("shutdown", Lasts::Over).into()),
            _ => None,
        },
    },
    Program {
        names: &["sleep"],
        form: "sleep SECONDS",
        becomes: "step `wait`",
        differs: "",
        read: |command| match command.words().as_slice() {
            [time] => Some(Effect::Wait(command.time(time)?)),
            _ => None,
        },
    },
];

/// A program with its arguments as words.
pub(super) struct Command<'a> {
    words: Vec<String>,
    values: &'a Values,
    place: String,
}

/// Reads the action that runs a program.
pub(super) fn read(mut given: Arguments<'_>) -> Result<Effect, Obstacle> {
    let values = given.values;
    given.pass_over(&["type", "timeout"]);
    let path = values.text(&given.must("path")?, &given.place("path"))?;
    let place = given.place("arguments");
    let words = arguments(given.take("arguments"), &place, values)?;
    given.pass_over(&[]);
    let name = path.rsplit('/').next().unwrap_or_default().to_owned();
    let place_of_path = given.place("path");
    given.finish()?;
    let Some(known) = PROGRAMS.iter().find(|known| known.names.contains(&name.as_str())) else {
        return Err(Obstacle::new(place_of_path, format!("the program {:?}", clean(&name)), nearest::program(&name)));
    };
    let command = Command { words, values, place: place.clone() };
    (known.read)(&command).ok_or_else(|| {
        let found = format!("{} {}", name, clean(&command.words.join(" ")));
        let forms: Vec<&str> = PROGRAMS.iter().filter(|one| one.form.starts_with(&name)).map(|one| one.form).collect();
        let instead = match forms.as_slice() {
            [] => nearest::program(&name),
            forms => format!("of this program is known: {}; {}", forms.join(", "), nearest::program(&name)),
        };
        Obstacle::new(place, found.trim().to_owned(), instead)
    })
}

/// The arguments of a program as it gets them: a list, a map of options and values, or a text of words. A text is given to
/// a shell by the Chaos Toolkit, so nothing may stand in it that a shell would act on.
pub(super) fn arguments(given: Option<Value>, place: &str, values: &Values) -> Result<Vec<String>, Obstacle> {
    let words = match given {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::String(line)) => {
            let line = values.text(&Value::String(line), place)?;
            split(&line).ok_or_else(|| {
                Obstacle::new(place, "a line that a shell would act on", "give the arguments as a list, each a word")
            })?
        }
        Some(Value::Array(items)) => {
            let one = |(at, item): (usize, &Value)| values.text(item, &format!("{place}[{at}]"));
            items.iter().enumerate().filter(|(_, item)| !item.is_null()).map(one).collect::<Result<_, _>>()?
        }
        Some(Value::Object(fields)) => {
            let mut words = Vec::new();
            for (name, value) in &fields {
                words.push(clean(name));
                if !value.is_null() {
                    words.push(values.text(value, &format!("{place}.{}", clean(name)))?);
                }
            }
            words
        }
        Some(other) => {
            return Err(Obstacle::new(place, format!("{} as arguments", kind(&other)), "give a list of words"));
        }
    };
    let words: Vec<String> = words.into_iter().filter(|word| !word.is_empty()).collect();
    if words.len() > WORDS_MAX {
        return Err(Obstacle::new(place, format!("{} words", words.len()), format!("at most {WORDS_MAX} are taken")));
    }
    Ok(words)
}

/// Cuts a line into words; `None` when a shell would do more than that. A variable that is filled in later stays.
fn split(line: &str) -> Option<Vec<String>> {
    let (mut words, mut word, mut quote, mut some) = (Vec::new(), String::new(), None, false);
    let mut characters = line.chars().peekable();
    while let Some(c) = characters.next() {
        match (c, quote) {
            (mark, Some(open)) if mark == open => quote = None,
            ('$', _) if characters.peek() == Some(&'{') && quote != Some('\'') => {
                (word, some) = (word + "$", true);
            }
            ('\\' | '`' | '$', Some('"')) => return None,
            (inner, Some(_)) => word.push(inner),
            ('"' | '\'', None) => (quote, some) = (Some(c), true),
            (' ' | '\t', None) => {
                if some {
                    words.push(std::mem::take(&mut word));
                }
                some = false;
            }
            ('{' | '}', None) if word.contains('$') => word.push(c),
            (
                '|' | '&' | ';' | '<' | '>' | '(' | ')' | '$' | '`' | '\\' | '*' | '?' | '[' | ']' | '#' | '~' | '!'
                | '{' | '}' | '\n' | '\r',
                None,
            ) => return None,
            (plain, None) => {
                some = true;
                word.push(plain);
            }
        }
    }
    words.extend(some.then_some(word));
    quote.is_none().then_some(words)
}

impl Command<'_> {
    fn words(&self) -> Vec<&str> {
        self.words.iter().map(String::as_str).collect()
    }

    /// The words that are no options, when there are no options but these letters.
    fn plain(&self, letters: &str) -> Option<Vec<&str>> {
        let (options, plain): (Vec<&str>, Vec<&str>) = self.words().into_iter().partition(|word| word.starts_with('-'));
        let known = |option: &&str| option.chars().skip(1).all(|c| letters.contains(c)) && option.len() > 1;
        options.iter().all(known).then_some(plain)
    }

    /// Options with values, and the words between them; `known` are names and what they are called. `--name=value`, too.
    fn options(&self, known: &[(&str, &'static str)]) -> Option<(Map<String, Value>, Vec<&str>)> {
        let (mut found, mut plain) = (Map::new(), Vec::new());
        let mut words = self.words.iter().map(String::as_str);
        while let Some(word) = words.next() {
            let (name, inner) = word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
            match known.iter().find(|(option, _)| *option == name) {
                Some((_, called)) => {
                    let value = inner.or_else(|| words.next())?;
                    if found.insert((*called).to_owned(), Value::from(value)).is_some() {
                        return None;
                    }
                }
                None if word.starts_with('-') => return None,
                None => plain.push(word),
            }
        }
        Some((found, plain))
    }

    /// A time in seconds, or with a unit of one letter (`s`, `m`, `h`, `d`).
    fn time(&self, text: &str) -> Option<String> {
        self.values.seconds(&Value::from(text), &self.place).ok().filter(|time| time != "0s")
    }

    fn percent(&self, value: &str) -> Option<Value> {
        self.values.percent(&Value::from(value.trim_end_matches('%')), &self.place).ok()
    }
}

/// What network attacks leave alone, unlike the programs that they stand for.
const SPARED: &str = "the agent's own connection, ssh and name resolution are spared (`spare: []` spares nothing)";

/// What a signal does: another one than those that stop and continue ends a process.
fn signal(name: &str, process: Value, key: String) -> Option<Effect> {
    let name = name.to_ascii_uppercase();
    let name = match name.trim_start_matches("SIG") {
        "1" => "HUP",
        "2" => "INT",
        "3" => "QUIT",
        "6" => "ABRT",
        "9" => "KILL",
        "15" => "TERM",
        "18" => "CONT",
        "19" => "STOP",
        other => other,
    };
    let aimed = |attack: Attack| attack.with("process", process.clone()).with("which", "all");
    match name {
        "STOP" | "TSTP" => Some(aimed(Attack::new("pause", Lasts::UntilUndone(key))).into()),
        "CONT" => Some(Effect::Undo(key)),
        "HUP" | "INT" | "QUIT" | "ABRT" | "KILL" | "TERM" | "SEGV" => {
            Some(aimed(Attack::new("kill", Lasts::Over)).with("signal", format!("SIG{name}")).into())
        }
        _ => None,
    }
}

fn pkill(command: &Command<'_>) -> Option<Effect> {
    let mut wanted = "TERM";
    let mut name = None;
    let mut words = command.words.iter().map(String::as_str);
    while let Some(word) = words.next() {
        match word {
            "-x" | "--exact" | "-e" | "--echo" | "-q" | "--quiet" | "-w" | "--wait" => {}
            "-s" | "--signal" => wanted = words.next()?,
            _ => match word.strip_prefix("--signal=").or_else(|| word.strip_prefix('-')) {
                Some(signal) => wanted = signal,
                None if name.replace(word).is_some() => return None,
                None => {}
            },
        }
    }
    let name = name.filter(|name| name.chars().all(|c| c.is_ascii_alphanumeric() || "-_+.@".contains(c)))?;
    let effect = signal(wanted, json!({ "select": "name", "name": name }), format!("signal:{name}"))?;
    Some(match effect {
        Effect::Attack(attack) => attack.note("processes whose whole program is of that name").into(),
        other => other,
    })
}

fn docker(command: &Command<'_>) -> Option<Effect> {
    let (options, plain) = command.options(&[("-s", "signal"), ("--signal", "signal")])?;
    let [verb, name] = plain.as_slice() else { return None };
    let wanted = options.get("signal").and_then(Value::as_str);
    let key = format!("container:{name}");
    match (*verb, wanted) {
        ("pause", None) => {
            let attack =
                Attack::new("pause", Lasts::UntilUndone(key)).with("container", *name).with("means", "freezer");
            Some(attack.into())
        }
        ("unpause", None) => Some(Effect::Undo(key)),
        ("kill", wanted) => match signal(wanted.unwrap_or("KILL"), Value::Null, key)? {
            Effect::Attack(mut attack) => {
                attack.parameters.retain(|name, _| name == "signal");
                Some(attack.with("container", *name).into())
            }
            other => Some(other),
        },
        _ => None,
    }
}

fn stress(command: &Command<'_>) -> Option<Effect> {
    const OPTIONS: [(&str, &str); 10] = [
        ("--cpu", "cpu"),
        ("-c", "cpu"),
        ("--cpu-load", "load"),
        ("-l", "load"),
        ("--vm", "vm"),
        ("-m", "vm"),
        ("--vm-bytes", "bytes"),
        ("--timeout", "timeout"),
        ("-t", "timeout"),
        ("--vm-keep", "keep"),
    ];
    let (options, plain) = command.options(&OPTIONS)?;
    let text = |name: &str| options.get(name).and_then(Value::as_str);
    let lasts = || Some(Lasts::Meanwhile(command.time(text("timeout")?)?));
    match (plain.is_empty(), text("cpu"), text("vm")) {
        (true, Some(cores), None) => {
            let cores: u32 = cores.parse().ok().filter(|cores| *cores <= 1024)?;
            let load = text("load").map_or(Some(json!(100)), |load| command.percent(load))?;
            let attack = Attack::new("cpu", lasts()?).with("load", load);
            let cores = (cores > 0).then(|| (0..cores).collect::<Vec<u32>>());
            Some(attack.with_some("cores", cores).note("each worker stays on its core").into())
        }
        (true, None, Some("1")) => Some(Attack::new("memory", lasts()?).with("amount", size(text("bytes")?)?).into()),
        _ => None,
    }
}

/// An amount as many programs write it: `k`, `m`, `g` with or without a `B` are powers of 1024.
pub(super) fn size(text: &str) -> Option<String> {
    let text = text.trim();
    let bare = text.trim_end_matches(['b', 'B']).trim_end_matches('i');
    let (number, unit) = match bare.chars().last()?.to_ascii_lowercase() {
        'k' => (&bare[..bare.len() - 1], "KiB"),
        'm' => (&bare[..bare.len() - 1], "MiB"),
        'g' => (&bare[..bare.len() - 1], "GiB"),
        't' => (&bare[..bare.len() - 1], "TiB"),
        _ => (bare, "B"),
    };
    let amount: Bytes = format!("{}{unit}", number.trim()).parse().ok()?;
    (amount.0 > 0).then(|| amount.to_string())
}

fn tc(command: &Command<'_>) -> Option<Effect> {
    let words = command.words();
    let (verb, rest) = match words.as_slice() {
        ["qdisc", verb, "dev", device, "root", rest @ ..] => ((*verb, *device), rest),
        _ => return None,
    };
    let key = format!("tc:{}", verb.1);
    match (verb.0, rest) {
        ("del" | "delete", [] | ["netem", ..]) => return Some(Effect::Undo(key)),
        ("add" | "replace", ["netem", ..]) => {}
        _ => return None,
    }
    let lasts = Lasts::UntilUndone(key);
    let outgoing = |kind: &'static str, share: &str, lasts| {
        Some(Attack::new(kind, lasts).with("percent", command.percent(share)?).with("direction", "outbound"))
    };
    let delay = |text: &str| command.values.seconds(&Value::from(text), &command.place).ok();
    let attack = match &rest[1..] {
        ["delay", time] => Attack::new("latency", lasts).with("delay", delay(time)?),
        ["delay", time, "loss", share] => {
            Attack::new("latency", lasts).with("delay", delay(time)?).with("loss_percent", command.percent(share)?)
        }
        ["delay", time, jitter] | ["delay", time, jitter, "distribution", "uniform"] => {
            Attack::new("latency", lasts).with("delay", delay(time)?).with("jitter", delay(jitter)?)
        }
        ["loss", share] | ["loss", "random", share] => outgoing("loss", share, lasts)?,
        ["duplicate", share] => {
            let mut attack = outgoing("duplication", share, lasts)?;
            attack.parameters.remove("direction");
            attack
        }
        ["corrupt", share] => {
            let mut attack = outgoing("corruption", share, lasts)?;
            attack.parameters.remove("direction");
            attack.note("one byte of the data is changed instead of one bit anywhere")
        }
        _ => return None,
    };
    let attack = match attack.kind {
        "latency" => attack.note("what arrives waits, not what leaves: a round trip takes as much longer"),
        _ => attack,
    };
    Some(attack.note("all interfaces are meant").note(SPARED).into())
}

fn iptables(command: &Command<'_>) -> Option<Effect> {
    let mut words = command.words();
    let verb = words.iter().position(|word| ["-A", "-I", "-D", "--append", "--insert", "--delete"].contains(word))?;
    let removes = ["-D", "--delete"].contains(words.get(verb)?);
    let chain = *words.get(verb + 1)?;
    words.drain(verb..verb + 2);
    let rule = Command {
        words: words.iter().map(|word| (*word).to_owned()).collect(),
        values: command.values,
        place: String::new(),
    };
    let (options, plain) = rule.options(&[
        ("-s", "from"),
        ("--source", "from"),
        ("-d", "to"),
        ("--destination", "to"),
        ("-p", "protocol"),
        ("--protocol", "protocol"),
        ("--dport", "dport"),
        ("--destination-port", "dport"),
        ("--sport", "sport"),
        ("--source-port", "sport"),
        ("-j", "jump"),
        ("--jump", "jump"),
        ("-m", "match"),
        ("-w", "wait"),
    ])?;
    let text = |name: &str| options.get(name).and_then(Value::as_str);
    let (direction, peer, not_peer, local, remote) = match chain {
        "INPUT" => ("inbound", "from", "to", "dport", "sport"),
        "OUTPUT" => ("outbound", "to", "from", "sport", "dport"),
        _ => return None,
    };
    let plain_match = text("match").is_none_or(|name| ["tcp", "udp"].contains(&name));
    if text("jump") != Some("DROP") || !plain.is_empty() || text(not_peer).is_some() || !plain_match {
        return None;
    }
    let key = format!("iptables:{chain} {options:?}");
    if removes {
        return Some(Effect::Undo(key));
    }
    let ports = |name: &str| text(name).map(|ports| json!([ports.replace(':', "-")]));
    let attack = Attack::new("partition", Lasts::UntilUndone(key))
        .with("direction", direction)
        .with_some("peers", text(peer).map(|peer| json!([peer])))
        .with_some("protocol", text("protocol"))
        .with_some("local_ports", ports(local))
        .with_some("remote_ports", ports(remote));
    Some(attack.note(SPARED).into())
}

fn fallocate(command: &Command<'_>) -> Option<Effect> {
    let (options, plain) = command.options(&[("-l", "length"), ("--length", "length")])?;
    let [path] = plain.as_slice() else { return None };
    let directory = path.rsplit_once('/').filter(|_| path.starts_with('/'))?.0;
    let directory = if directory.is_empty() { "/" } else { directory };
    let lasts = Lasts::UntilUndone(format!("file:{path}"));
    let amount = size(options.get("length")?.as_str()?)?;
    Some(Attack::new("disk-fill", lasts).with("path", directory).with("amount", amount).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_into_words_when_a_shell_would_do_no_more() {
        assert_eq!(split("-9  mysqld").expect("words"), ["-9", "mysqld"]);
        assert_eq!(split("-c 'a b' \"c\"").expect("words"), ["-c", "a b", "c"]);
        assert_eq!(split("--timeout ${time}s").expect("words"), ["--timeout", "${time}s"]);
        for line in ["a | b", "a; b", "$(a)", "a > b", "`a`", "'a", "a*", "$HOME", "\"$x\"", "{a,b}"] {
            assert_eq!(split(line), None, "{line}");
        }
    }

    #[test]
    fn amounts_are_powers_of_1024() {
        for (text, wanted) in
            [("256M", "256MiB"), ("1g", "1GiB"), ("512MiB", "512MiB"), ("64kB", "64KiB"), ("4096", "4KiB")]
        {
            assert_eq!(size(text).as_deref(), Some(wanted), "{text}");
        }
        for text in ["", "50%", "m", "-1m", "0", "ä"] {
            assert_eq!(size(text), None, "{text}");
        }
    }
}
