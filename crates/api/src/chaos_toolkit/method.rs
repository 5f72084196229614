//! The walk through a file: the steady state, the method in its order, the rollbacks, the safeguards.

use super::activity::{Activity, Arguments, Provider, name_of};
use super::document::{Document, clean, list, map};
use super::effect::{Attack, Effect, Lasts};
use super::values::Values;
use super::{Choices, Obstacle, Part, extensions, probes, programs};
use firedrill_model::experiment::DURATION_MAX;
use firedrill_model::{Selector, Span};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// An attack that lasts until it is undone may stay this much longer than the rest of the method is known to take, if
/// nobody undoes it: steps take time of their own. The end of the run takes it out in any case.
const LONGER: Span = Span::secs(600);
/// What a wait is reckoned as whose length is only known at the start.
const UNKNOWN_WAIT: Span = Span::secs(3600);
/// Controls that only look on, so that the experiment is the same without them.
const ONLOOKERS: [&str; 6] =
    ["chaostracing.", "chaosslack.", "chaoshumio.", "chaosgrafana.", "chaosprometheus.", "chaosreliably.controls."];
/// The control that watches probes and ends an experiment.
const SAFEGUARDS: &str = "chaosaddons.controls.safeguards";

/// An attack that is there until something takes it out.
struct InPlace {
    key: String,
    label: String,
    /// Its step, and whether its duration is open.
    step: usize,
    open: bool,
}

/// What has been read so far.
pub(super) struct Reading<'a> {
    choices: &'a Choices,
    values: &'a Values,
    pub(super) parts: Vec<Part>,
    pub(super) problems: Vec<Obstacle>,
    pub(super) probes: Vec<Value>,
    pub(super) steps: Vec<Value>,
    pub(super) abort_when: Vec<Value>,
    pub(super) overlap: bool,
    /// All activities of the file that have a name, for those that refer to one.
    named: BTreeMap<String, Value>,
    /// The probes that an activity of the steady state has become.
    steady: BTreeMap<String, Vec<String>>,
    in_place: Vec<InPlace>,
    lasting: bool,
    taken: BTreeSet<String>,
}

impl<'a> Reading<'a> {
    pub(super) fn new(choices: &'a Choices, values: &'a Values) -> Self {
        Self {
            choices,
            values,
            parts: Vec::new(),
            problems: Vec::new(),
            probes: Vec::new(),
            steps: Vec::new(),
            abort_when: Vec::new(),
            overlap: false,
            named: BTreeMap::new(),
            steady: BTreeMap::new(),
            in_place: Vec::new(),
            lasting: false,
            taken: BTreeSet::new(),
        }
    }

    /// Reads all of a file; what is wrong is in `problems`.
    pub(super) fn read(&mut self, document: &Document) {
        let steady = self.or_problem(steady_state(document)).unwrap_or_default();
        let method = self.or_problem(document.list("method").map(<[Value]>::to_vec)).unwrap_or_default();
        let rollbacks = self.or_problem(document.list("rollbacks").map(<[Value]>::to_vec)).unwrap_or_default();
        for activity in steady.iter().chain(&method).chain(&rollbacks) {
            if let Some(name) = activity.get("name").and_then(Value::as_str) {
                self.named.entry(name.to_owned()).or_insert_with(|| activity.clone());
            }
        }
        let when = self.or_problem(runtime(document)).unwrap_or_else(|| json!(["before", "after"]));
        for (at, value) in steady.iter().enumerate() {
            self.step(value, &format!("steady-state-hypothesis.probes[{at}]"), |reading, value, place| {
                let asked = reading.probe(value, place, &when, &said_of(&when))?;
                reading.steady.insert(name_of(value, place), asked);
                Ok(())
            });
        }
        self.controls(document);
        for (at, value) in method.iter().enumerate() {
            self.step(value, &format!("method[{at}]"), Self::activity);
        }
        let (mut durations, mut after) = (Vec::new(), Span::ZERO);
        for step in self.steps.iter().rev() {
            durations.push(after);
            after = Span(after.0 + length_of(step).0);
        }
        durations.reverse();
        for left in self.in_place.iter().filter(|left| left.open) {
            let rest = durations.get(left.step).copied().unwrap_or_default();
            let duration = Span((rest.0 + LONGER.0).min(DURATION_MAX.0));
            if let Some(attack) = self.steps.get_mut(left.step).and_then(|step| step.get_mut("attack")) {
                attack["duration"] = json!(duration);
            }
        }
        for (at, value) in rollbacks.iter().enumerate() {
            self.step(value, &format!("rollbacks[{at}]"), Self::rollback);
        }
        if self.steps.is_empty() && self.problems.is_empty() {
            self.problems.push(Obstacle::new(
                "method",
                "nothing would be done",
                "give an action, or a probe with a tolerance",
            ));
        }
        for name in self.choices.targets.keys().filter(|name| !self.named.contains_key(*name)) {
            let known = self.named.keys().map(|name| clean(name)).collect::<Vec<_>>().join(", ");
            let found = format!("a target for {:?}, which is no activity of the file", clean(name));
            self.problems.push(Obstacle::new("targets", found, format!("there are: {known}")));
        }
    }

    fn or_problem<T>(&mut self, result: Result<T, Obstacle>) -> Option<T> {
        result.map_err(|problem| self.problems.push(problem)).ok()
    }

    /// Reads one activity, or the one that it refers to.
    fn step(&mut self, value: &Value, place: &str, read: impl FnOnce(&mut Self, &Value, &str) -> Result<(), Obstacle>) {
        let resolved = match value.get("ref").and_then(Value::as_str) {
            None => Ok(value.clone()),
            Some(name) => self.named.get(name).cloned().ok_or_else(|| {
                let found = format!("a reference to {:?}, which is no activity of the file", clean(name));
                Obstacle::new(format!("{place}.ref"), found, "name one that is there")
            }),
        };
        let done = resolved.and_then(|value| read(self, &value, place));
        self.or_problem(done);
    }

    /// The hosts of an activity: those named for it, else those named for all.
    fn target(&self, name: &str) -> Option<&'a Selector> {
        self.choices.targets.get(name).or(self.choices.target.as_ref())
    }

    /// A name that no other probe or attack has.
    fn free(&mut self, name: &str) -> String {
        let mut free = name.to_owned();
        let mut number = 2;
        while !self.taken.insert(free.clone()) {
            free = format!("{name} {number}");
            number += 1;
        }
        free
    }

    fn said(&mut self, activity: &Activity, became: String, mut notes: Vec<String>) {
        if activity.has_secrets {
            notes.push("its `secrets` are left out: agents need none of them".to_owned());
        }
        let (place, name, was) = (activity.place.clone(), activity.name.clone(), activity.what());
        self.parts.push(Part { place, name, was, became, notes });
    }

    /// A probe with its tolerance; gives the names of the probes that it has become.
    fn probe(&mut self, value: &Value, place: &str, when: &Value, when_said: &str) -> Result<Vec<String>, Obstacle> {
        let activity = Activity::read(value, place, self.values)?;
        if !activity.is_probe {
            return Err(Obstacle::new(place, "an action where a probe belongs", "move it into the method"));
        }
        if activity.tolerance.is_none() {
            return Err(Obstacle::new(format!("{place}.tolerance"), "there is none", "say what the answer must be"));
        }
        let questions = probes::read(&activity, self.target(&activity.name), self.values)?;
        let mut names = Vec::new();
        let mut kinds = Vec::new();
        for question in questions.all {
            let name = self.free(&format!("{}{}", activity.name, question.suffix));
            kinds.extend(question.measure.as_object().into_iter().flat_map(|measure| measure.keys().cloned()));
            self.probes
                .push(json!({ "name": name, "measure": question.measure, "when": when, "timeout": questions.timeout }));
            names.push(name);
        }
        kinds.dedup();
        self.said(&activity, format!("probe {}, {when_said}", kinds.join(", ")), questions.notes);
        Ok(names)
    }

    /// One step of the method.
    fn activity(&mut self, value: &Value, place: &str) -> Result<(), Obstacle> {
        let activity = Activity::read(value, place, self.values)?;
        if activity.is_probe {
            return self.check(value, &activity, place);
        }
        let effect = self.effect(&activity)?;
        self.wait(activity.pauses.0.as_deref());
        match effect {
            Effect::Attack(attack) => self.attack(&activity, attack)?,
            Effect::Wait(time) => {
                self.wait(Some(&time));
                self.said(&activity, format!("wait {time}"), Vec::new());
            }
            Effect::Undo(key) => {
                let ended = self.undo(&key);
                if ended.is_empty() {
                    let found = format!("{} undoes nothing that this file has begun", activity.what());
                    return Err(Obstacle::new(place, found, "leave it out, or begin with what it undoes"));
                }
                self.steps.extend(ended.iter().map(|label| json!({ "end-attack": label })));
                self.said(&activity, format!("end of {}", ended.join(", ")), Vec::new());
            }
        }
        self.wait(activity.pauses.1.as_deref());
        Ok(())
    }

    /// A probe within the method: with a tolerance it must hold now, without one it only looks.
    fn check(&mut self, value: &Value, activity: &Activity, place: &str) -> Result<(), Obstacle> {
        self.wait(activity.pauses.0.as_deref());
        let asked = match (self.steady.get(&activity.name), &activity.tolerance) {
            (Some(names), _) if self.named.get(&activity.name) == Some(value) => {
                let names = names.clone();
                self.said(activity, "check of the probe of the steady state".to_owned(), Vec::new());
                names
            }
            (_, Some(_)) => self.probe(value, place, &json!([]), "checked at this step")?,
            (_, None) => {
                let note = "it has no tolerance, so nothing would come of its answer".to_owned();
                self.said(activity, "left out".to_owned(), vec![note]);
                Vec::new()
            }
        };
        self.steps.extend(asked.into_iter().map(|name| json!({ "check": name })));
        self.wait(activity.pauses.1.as_deref());
        Ok(())
    }

    fn effect(&self, activity: &Activity) -> Result<Effect, Obstacle> {
        let place = activity.place.as_str();
        let arguments = |given, name: &str| Arguments::new(given, format!("{place}.{name}"), self.values);
        match &activity.provider {
            Provider::Process(fields) => programs::read(arguments(fields, "provider")),
            Provider::Python(name, given) => extensions::read(name, arguments(given, "provider.arguments"), place),
            Provider::Http(_) => Err(Obstacle::new(
                format!("{place}.provider"),
                "an action that calls a web server",
                "say what it is to break: `firedrill attack kinds` lists what can be done to a host",
            )),
        }
    }

    fn attack(&mut self, activity: &Activity, attack: Attack) -> Result<(), Obstacle> {
        let target = self.target(&activity.name).ok_or_else(|| {
            let found = format!("the file does not say on which hosts ({})", attack.kind);
            Obstacle::new(&activity.place, found, "name them, for example role=primary (--target)")
        })?;
        let label = self.free(&activity.name);
        let mut step = json!({ "kind": attack.kind, "name": label, "target": target });
        for (name, value) in attack.parameters {
            step[name.as_str()] = value;
        }
        // One that lasts may still be there when the next one begins.
        self.overlap |= self.lasting;
        self.lasting |= attack.lasts != Lasts::Over;
        let at = self.steps.len();
        let mut meanwhile = None;
        let how_long = match attack.lasts {
            Lasts::Over => String::new(),
            Lasts::Meanwhile(time) => {
                step["duration"] = json!(time);
                meanwhile = (!activity.background).then(|| time.clone());
                format!(" for {time}")
            }
            Lasts::Beside(time, key) => {
                step["duration"] = json!(time);
                self.in_place.push(InPlace { key, label: label.clone(), step: at, open: false });
                format!(" for {time}, beside the next steps")
            }
            Lasts::UntilUndone(key) => {
                self.in_place.push(InPlace { key, label: label.clone(), step: at, open: true });
                " until it is ended, or to the end of the run".to_owned()
            }
        };
        self.steps.push(json!({ "attack": step }));
        self.wait(meanwhile.as_deref());
        self.said(activity, format!("attack {} on {target}{how_long}", attack.kind), attack.notes);
        Ok(())
    }

    fn wait(&mut self, time: Option<&str>) {
        self.steps.extend(time.map(|time| json!({ "wait": time })));
    }

    /// Takes out of the list what a key undoes; gives its labels.
    fn undo(&mut self, key: &str) -> Vec<String> {
        let meant = |one: &InPlace| match key.strip_suffix('*') {
            Some(begin) => one.key.starts_with(begin),
            None => one.key == key,
        };
        let (ended, left): (Vec<InPlace>, Vec<InPlace>) =
            std::mem::take(&mut self.in_place).into_iter().partition(meant);
        self.in_place = left;
        let open = ended.iter().filter(|one| one.open);
        for one in open {
            // Longer than it takes to come to its end; `end-attack` ends it.
            let rest: Span = Span(self.steps.iter().skip(one.step).map(|step| length_of(step).0).sum());
            let duration = Span((rest.0 + LONGER.0).min(DURATION_MAX.0));
            if let Some(attack) = self.steps.get_mut(one.step).and_then(|step| step.get_mut("attack")) {
                attack["duration"] = json!(duration);
            }
        }
        ended.into_iter().map(|one| one.label).collect()
    }

    /// A rollback is needless when it undoes what an attack was; else it is refused.
    fn rollback(&mut self, value: &Value, place: &str) -> Result<(), Obstacle> {
        let activity = Activity::read(value, place, self.values)?;
        if activity.is_probe {
            self.said(&activity, "left out".to_owned(), vec!["a probe rolls nothing back".to_owned()]);
            return Ok(());
        }
        let needless = |mut problem: Obstacle| {
            problem.instead =
                "attacks undo themselves, and what was killed is started again by its keeper or its service \
                               manager: leave it out"
                    .to_owned();
            problem
        };
        match self.effect(&activity).map_err(needless)? {
            Effect::Undo(key) => {
                let ended = self.undo(&key);
                let note = match ended.as_slice() {
                    [] => "what it undoes is not in place at the end".to_owned(),
                    ended => format!("the end of the run takes {} out", ended.join(", ")),
                };
                self.said(&activity, "left out".to_owned(), vec![note]);
                Ok(())
            }
            Effect::Wait(_) => {
                self.said(&activity, "left out".to_owned(), vec!["nothing comes after it".to_owned()]);
                Ok(())
            }
            Effect::Attack(_) => Err(Obstacle::new(
                place,
                format!("a rollback that is itself an attack ({})", activity.what()),
                "attacks undo themselves: leave it out, or move it into the method",
            )),
        }
    }

    /// Safeguards become conditions to stop early; those that only look on are left out.
    fn controls(&mut self, document: &Document) {
        let controls = self.or_problem(document.list("controls").map(<[Value]>::to_vec)).unwrap_or_default();
        for (at, control) in controls.iter().enumerate() {
            let place = format!("controls[{at}]");
            let provider = control.get("provider");
            let module = provider.and_then(|provider| provider.get("module")).and_then(Value::as_str).map(clean);
            let module = module.unwrap_or_default();
            let name = name_of(control, &place);
            let part = |became: &str, note: &str| Part {
                place: place.clone(),
                name: name.clone(),
                was: format!("control {module}"),
                became: became.to_owned(),
                notes: vec![note.to_owned()],
            };
            if module == SAFEGUARDS {
                let probes = provider.and_then(|provider| provider.get("arguments")).and_then(|all| all.get("probes"));
                let place = format!("{place}.provider.arguments.probes");
                let probes = self.or_problem(list(probes, &place).map(<[Value]>::to_vec)).unwrap_or_default();
                for (at, probe) in probes.iter().enumerate() {
                    self.step(probe, &format!("{place}[{at}]"), Self::safeguard);
                }
            } else if ONLOOKERS.iter().any(|known| module.starts_with(known)) {
                self.parts.push(part("left out", "it only looks on: the timeline, messages and metrics tell of a run"));
            } else {
                let found = format!("the control {module:?}");
                let instead =
                    "a control is a program around the experiment: leave it out, or say what it does by probes";
                self.problems.push(Obstacle::new(place, found, instead));
            }
        }
    }

    fn safeguard(&mut self, value: &Value, place: &str) -> Result<(), Obstacle> {
        let mut value = value.clone();
        let frequency = value.as_object_mut().and_then(|fields| fields.remove("frequency"));
        let background = value.get("background") == Some(&Value::Bool(true));
        let place_of_frequency = format!("{place}.frequency");
        let every = frequency
            .map(|every| self.values.seconds(&self.values.fill(&every, &place_of_frequency)?, &place_of_frequency));
        let every = every.transpose()?;
        if every.is_none() && !background {
            return self.probe(&value, place, &json!(["before"]), "asked before").map(drop);
        }
        let first = self.probes.len();
        let asked =
            self.probe(&value, place, &json!(["during"]), "asked during the steps; the run stops when it breaks")?;
        if let Some(every) = every {
            self.probes[first..].iter_mut().for_each(|probe| probe["every"] = json!(every));
        }
        self.abort_when.extend(asked.into_iter().map(|name| json!({ "probe": name })));
        Ok(())
    }
}

/// How long a step takes for sure.
fn length_of(step: &Value) -> Span {
    match step.get("wait").and_then(Value::as_str) {
        Some(time) => time.parse().unwrap_or(UNKNOWN_WAIT),
        None => Span::ZERO,
    }
}

/// When a probe is asked, for people.
fn said_of(when: &Value) -> String {
    let words: Vec<&str> = when.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    format!("asked {}", words.join(", "))
}

fn steady_state(document: &Document) -> Result<Vec<Value>, Obstacle> {
    const PLACE: &str = "steady-state-hypothesis";
    let state = map(document.get(PLACE), PLACE)?;
    let place = format!("{PLACE}.probes");
    Ok(list(state.get("probes"), &place)?.to_vec())
}

/// When the steady state is looked at.
fn runtime(document: &Document) -> Result<Value, Obstacle> {
    let runtime = map(document.get("runtime"), "runtime")?;
    let hypothesis = map(runtime.get("hypothesis"), "runtime.hypothesis")?;
    match hypothesis.get("strategy").and_then(Value::as_str) {
        None | Some("default") => Ok(json!(["before", "after"])),
        Some("before-method-only") => Ok(json!(["before"])),
        Some("after-method-only") => Ok(json!(["after"])),
        Some("during-method-only") => Ok(json!(["during"])),
        Some("continuously") => Ok(json!(["before", "during", "after"])),
        Some(other) => {
            let found = format!("the strategy {:?}", clean(other));
            let known = "there are default, before-method-only, after-method-only, during-method-only and continuously";
            Err(Obstacle::new("runtime.hypothesis.strategy", found, known))
        }
    }
}
