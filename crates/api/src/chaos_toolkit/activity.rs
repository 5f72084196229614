//! One activity of a file: a probe or an action, with who carries it out.

use super::Obstacle;
use super::document::{clean, kind, map};
use super::values::Values;
use serde_json::{Map, Value};

/// Longest name that is kept, in bytes: that of a probe.
const NAME_BYTES_MAX: usize = 80;

/// What an activity may hold.
const KNOWN: [&str; 11] = [
    "type",
    "name",
    "provider",
    "tolerance",
    "pauses",
    "background",
    "secrets",
    "configuration",
    "controls",
    "title",
    "description",
];

/// Who carries an activity out, with variables filled in.
pub(super) enum Provider {
    /// A web server is called.
    Http(Map<String, Value>),
    /// A program is run.
    Process(Map<String, Value>),
    /// A function of Python is called: its whole name, and its arguments.
    Python(String, Map<String, Value>),
}

/// A probe or an action.
pub(super) struct Activity {
    pub(super) place: String,
    pub(super) name: String,
    pub(super) provider: Provider,
    pub(super) is_probe: bool,
    pub(super) tolerance: Option<Value>,
    /// The next activity does not wait for its end.
    pub(super) background: bool,
    /// How long nothing is done before it, and after it.
    pub(super) pauses: (Option<String>, Option<String>),
    /// It is given secrets, which nobody here needs.
    pub(super) has_secrets: bool,
}

/// The name of an activity as it stands in the file, or its place.
pub(super) fn name_of(value: &Value, place: &str) -> String {
    let name = value.get("name").and_then(Value::as_str).map(clean).unwrap_or_default();
    let line = name.split_whitespace().collect::<Vec<_>>().join(" ");
    let line = if line.is_empty() { place.to_owned() } else { line };
    let end = (0..=NAME_BYTES_MAX.min(line.len())).rev().find(|end| line.is_char_boundary(*end)).unwrap_or_default();
    line[..end].to_owned()
}

impl Activity {
    /// Reads one; a reference (`ref`) must be resolved before.
    pub(super) fn read(value: &Value, place: &str, values: &Values) -> Result<Self, Obstacle> {
        let Value::Object(fields) = value else {
            return Err(Obstacle::new(place, format!("{} where an activity belongs", kind(value)), "make it a map"));
        };
        if let Some(key) = fields.keys().find(|key| !KNOWN.contains(&key.as_str()) && !key.starts_with("x-")) {
            let place = format!("{place}.{}", clean(key));
            return Err(Obstacle::new(
                place,
                "an unknown part of an activity",
                format!("there are {}", KNOWN.join(", ")),
            ));
        }
        let is_probe = match fields.get("type").and_then(Value::as_str) {
            Some("probe") => true,
            Some("action") => false,
            // The examples of the reference leave it out where only a probe can stand.
            None if fields.contains_key("tolerance") => true,
            _ => return Err(Obstacle::new(format!("{place}.type"), "neither `probe` nor `action`", "say which it is")),
        };
        if fields.get("controls").is_some_and(|controls| controls.as_array().is_none_or(|all| !all.is_empty())) {
            let found = "a control of one activity is a program around it";
            return Err(Obstacle::new(format!("{place}.controls"), found, "leave it out"));
        }
        let background = match fields.get("background") {
            None => false,
            Some(Value::Bool(background)) => *background,
            Some(other) => {
                let found = format!("{} where true or false belongs", kind(other));
                return Err(Obstacle::new(format!("{place}.background"), found, "say true or false"));
            }
        };
        Ok(Self {
            name: name_of(value, place),
            provider: provider(fields.get("provider"), &format!("{place}.provider"), values)?,
            is_probe,
            tolerance: fields.get("tolerance").filter(|tolerance| !tolerance.is_null()).cloned(),
            background,
            pauses: pauses(fields.get("pauses"), &format!("{place}.pauses"), values)?,
            has_secrets: fields.get("secrets").is_some_and(|secrets| !secrets.is_null()),
            place: place.to_owned(),
        })
    }

    /// What it is, for people: `process pkill`.
    pub(super) fn what(&self) -> String {
        let text = |fields: &Map<String, Value>, name: &str| {
            clean(fields.get(name).and_then(Value::as_str).unwrap_or("without an address"))
        };
        match &self.provider {
            Provider::Http(fields) => format!("http {}", text(fields, "url")),
            Provider::Process(fields) => format!("process {}", text(fields, "path")),
            Provider::Python(name, _) => format!("python {name}"),
        }
    }
}

fn provider(value: Option<&Value>, place: &str, values: &Values) -> Result<Provider, Obstacle> {
    let fields = map(value, place)?;
    let kind = fields.get("type").and_then(Value::as_str);
    // As the examples of the reference do, the type may be left out of a function of Python.
    let kind = kind.or(fields.contains_key("func").then_some("python"));
    if !matches!(kind, Some("http" | "process" | "python")) {
        let found = match kind {
            Some(kind) => format!("a provider of the type {:?}", clean(kind)),
            None => "no type of provider".to_owned(),
        };
        return Err(Obstacle::new(format!("{place}.type"), found, "there are `http`, `process` and `python`"));
    }
    if kind == Some("python") {
        return python(&fields, place, values);
    }
    // One by one: what is refused must not be looked up.
    let one =
        |(key, field): (&String, &Value)| Ok((key.clone(), values.fill(field, &format!("{place}.{}", clean(key)))?));
    let filled = fields.iter().map(one).collect::<Result<_, Obstacle>>()?;
    Ok(if kind == Some("http") { Provider::Http(filled) } else { Provider::Process(filled) })
}

fn python(fields: &Map<String, Value>, place: &str, values: &Values) -> Result<Provider, Obstacle> {
    let text = |name: &str| match fields.get(name).and_then(Value::as_str) {
        Some(text) if !text.trim().is_empty() => Ok(clean(text.trim())),
        _ => Err(Obstacle::new(format!("{place}.{name}"), "a function of Python without it", "name the function")),
    };
    let name = format!("{}.{}", text("module")?, text("func")?);
    let place = format!("{place}.arguments");
    let arguments = map(fields.get("arguments"), &place)?;
    // A function that is not known is refused by its name, whatever its arguments hold.
    if !super::extensions::knows(&name) && !super::probes::knows(&name) {
        return Ok(Provider::Python(name, arguments));
    }
    let one =
        |(key, field): (&String, &Value)| Ok((key.clone(), values.fill(field, &format!("{place}.{}", clean(key)))?));
    Ok(Provider::Python(name, arguments.iter().map(one).collect::<Result<_, Obstacle>>()?))
}

fn pauses(value: Option<&Value>, place: &str, values: &Values) -> Result<(Option<String>, Option<String>), Obstacle> {
    let fields = map(value, place)?;
    if let Some(key) = fields.keys().find(|key| !["before", "after"].contains(&key.as_str())) {
        return Err(Obstacle::new(
            format!("{place}.{}", clean(key)),
            "an unknown pause",
            "there are `before` and `after`",
        ));
    }
    let one = |name: &str| {
        let place = format!("{place}.{name}");
        let pause = fields.get(name).map(|pause| values.seconds(&values.fill(pause, &place)?, &place)).transpose()?;
        Ok(pause.filter(|pause| pause != "0s"))
    };
    Ok((one("before")?, one("after")?))
}

/// The arguments of a call, taken one by one; what nobody has taken is refused.
pub(super) struct Arguments<'a> {
    pub(super) values: &'a Values,
    place: String,
    left: Map<String, Value>,
}

impl<'a> Arguments<'a> {
    pub(super) fn new(given: &Map<String, Value>, place: String, values: &'a Values) -> Self {
        let left = given.iter().filter(|(_, value)| !value.is_null()).map(|(key, value)| (key.clone(), value.clone()));
        Self { values, place, left: left.collect() }
    }

    /// Where one of them stands.
    pub(super) fn place(&self, name: &str) -> String {
        format!("{}.{name}", self.place)
    }

    /// One of them.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        self.left.remove(name)
    }

    /// One that there must be.
    pub(super) fn must(&mut self, name: &str) -> Result<Value, Obstacle> {
        self.take(name).ok_or_else(|| Obstacle::new(self.place(name), "it is not given", "give it"))
    }

    /// Some that have no meaning here.
    pub(super) fn pass_over(&mut self, names: &[&str]) {
        names.iter().for_each(|name| drop(self.left.remove(*name)));
    }

    /// Whether any of them is given; they are passed over.
    pub(super) fn any(&mut self, names: &[&str]) -> bool {
        names.iter().filter(|name| self.left.remove(**name).is_some()).count() > 0
    }

    /// Refuses what is left.
    pub(super) fn finish(self) -> Result<(), Obstacle> {
        match self.left.keys().next() {
            None => Ok(()),
            Some(name) => {
                let found = "an argument that has no counterpart here";
                Err(Obstacle::new(self.place(&clean(name)), found, "leave it out if the experiment can do without"))
            }
        }
    }
}
