//! What somebody has typed into a form, kept as it is so that a refused form shows it again.

use std::collections::{BTreeMap, BTreeSet};

/// Before the names of fields that are parameters: no parameter can then be taken for a field of the form itself.
const PARAMETER: &str = "p.";
/// The field that says which guard is passed over; it may come several times.
const OVERRIDE: &str = "override";

/// The fields of a form or of a query.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Typed {
    /// Fields of the form itself, by name.
    pub fields: BTreeMap<String, String>,
    /// Parameters that have a text, by name.
    pub values: BTreeMap<String, String>,
    /// Guards to be passed over, by name.
    pub overrides: BTreeSet<String>,
}

impl Typed {
    /// Sorts the fields as a browser has sent them. An empty parameter is one that was not given.
    #[must_use]
    pub fn of(pairs: Vec<(String, String)>) -> Self {
        let mut typed = Self::default();
        for (name, text) in pairs {
            if name == OVERRIDE {
                typed.overrides.insert(text);
            } else if let Some(parameter) = name.strip_prefix(PARAMETER) {
                if !text.trim().is_empty() {
                    typed.values.insert(parameter.to_owned(), text.trim().to_owned());
                }
            } else {
                typed.fields.insert(name, text);
            }
        }
        typed
    }

    /// The text of a field; empty when it was not sent.
    #[must_use]
    pub fn get(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }

    /// The text of a field without blanks around it; `None` when there is nothing else.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        Some(self.get(name).trim()).filter(|text| !text.is_empty())
    }

    /// Whether a box was ticked.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        self.get(name) == "true"
    }

    /// The text of a parameter; empty when it was not given.
    #[must_use]
    pub fn value(&self, name: &str) -> &str {
        self.values.get(name).map_or("", String::as_str)
    }

    /// Whether that guard is to be passed over.
    #[must_use]
    pub fn overrides(&self, guard: &str) -> bool {
        self.overrides.contains(guard)
    }

    /// Everything as pairs again, for hidden fields; without fields of these names.
    #[must_use]
    pub fn pairs(&self, without: &[&str]) -> Vec<(String, &str)> {
        let fields = self.fields.iter().filter(|(name, _)| !without.contains(&name.as_str()));
        let fields = fields.map(|(name, text)| (name.clone(), text.as_str()));
        let values = self.values.iter().map(|(name, text)| (format!("{PARAMETER}{name}"), text.as_str()));
        fields.chain(values).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_parameters_and_guards_are_told_apart() {
        let pairs =
            [("cluster", "shop"), ("p.cluster", " 3 "), ("p.none", " "), ("override", "window"), ("force", "true")];
        let typed = Typed::of(pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect());
        assert_eq!((typed.get("cluster"), typed.value("cluster"), typed.values.len()), ("shop", "3", 1));
        assert!(typed.overrides("window") && !typed.overrides("degraded") && typed.is("force") && !typed.is("cluster"));
        assert_eq!(typed.text("nothing"), None);
        assert_eq!(typed.pairs(&["force"]), [("cluster".to_owned(), "shop"), ("p.cluster".to_owned(), "3")]);
    }
}
