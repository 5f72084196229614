//! What somebody may do, as it is typed into a form: a role, everywhere or on one cluster, for all attacks or for some.

use crate::typed::Typed;
use firedrill_model::access::{AttackFamily, Grant, Role};

/// From the least to the most.
pub(crate) const ROLES: [Role; 3] = [Role::Viewer, Role::Operator, Role::Admin];
/// In the order of the form.
pub(crate) const FAMILIES: [AttackFamily; 5] =
    [AttackFamily::State, AttackFamily::Network, AttackFamily::Resource, AttackFamily::Storage, AttackFamily::Engine];
/// The field of a grant that stands as a whole, as JSON: one that is to be taken away.
const WHOLE: &str = "grant";

/// The name of the box of a family.
pub(crate) fn family_field(family: AttackFamily) -> String {
    format!("family-{family}")
}

/// A grant as one field, to be taken away again with [`whole`].
pub(crate) fn as_field(grant: &Grant) -> String {
    // Names and words always have a form in JSON.
    serde_json::to_string(grant).unwrap_or_default()
}

/// The grant that a form describes.
///
/// # Errors
/// There is no such role, or the cluster has no name of a cluster.
pub fn read(typed: &Typed) -> Result<Grant, String> {
    let role = typed.get("role").parse()?;
    let cluster = typed.text("cluster").map(str::parse).transpose();
    let cluster = cluster.map_err(|why| format!("the cluster: {why}"))?;
    let families = FAMILIES.into_iter().filter(|family| typed.is(&family_field(*family))).collect();
    Ok(Grant { role, cluster, families })
}

/// The grant that a button names as a whole.
///
/// # Errors
/// It is none; no page of ours sends that.
pub fn whole(typed: &Typed) -> Result<Grant, String> {
    serde_json::from_str(typed.get(WHOLE)).map_err(|why| format!("this is no grant: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(pairs: &[(&str, &str)]) -> Typed {
        Typed::of(pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect())
    }

    #[test]
    fn a_form_becomes_a_grant_and_a_button_the_same_again() {
        let form = [("role", "operator"), ("cluster", " shop "), ("family-network", "true"), ("family-state", "true")];
        let grant = read(&typed(&form)).expect("a grant");
        assert_eq!(grant.to_string(), "operator of cluster shop (state, network)");
        assert_eq!(whole(&typed(&[("grant", &as_field(&grant))])), Ok(grant));
        assert_eq!(read(&typed(&[("role", "admin"), ("cluster", " ")])), Ok(Grant::everywhere(Role::Admin)));
    }

    #[test]
    fn what_is_no_grant_is_refused_by_name() {
        assert!(read(&typed(&[("role", "king")])).is_err_and(|why| why.contains("king")));
        assert!(read(&typed(&[("role", "admin"), ("cluster", "No Name")])).is_err_and(|why| why.contains("cluster")));
        assert!(whole(&typed(&[("grant", "all")])).is_err());
    }
}
