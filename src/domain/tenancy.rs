//! What a Rig lets its Polecats do: from which namespaces, with which images, under which service accounts, and under
//! which TLS policy. One function, asked at admission and again before every pod.

use serde::Deserialize;

use crate::{
    api::{text::Text, v1beta1::PolecatSpec},
    domain::{
        exposure::Exposure,
        failure::Cause,
        fields,
        tls_policy::{self, TlsPolicy},
        untrusted::fit,
    },
};

/// Reason of `Ready` where a Rig does not let a Polecat begin.
pub const NOT_ALLOWED: &str = "NotAllowedByRig";
/// In a list of a Rig: whatever is asked for.
const ANY: &str = "*";
/// Longest name of a Rig in a message, in bytes; v1alpha1 has no bound for it.
const NAMED: usize = 253;

/// What holds where a Rig does not say from which namespaces it may be used, or is not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tenancy {
    /// From any.
    #[default]
    Open,
    /// From none.
    Strict,
}

/// What the operator's settings say where a Rig does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct House {
    pub tenancy: Tenancy,
    pub tls_policy: TlsPolicy,
}

impl House {
    /// What the pods of a Rig's Polecats are held to: the stricter of both. A word that is not known holds nothing.
    pub fn tls_policy(self, rules: Option<&Rules>) -> TlsPolicy {
        let said = TlsPolicy::of(rules.and_then(|it| it.tls_policy.as_deref()));
        if self.tls_policy.is_fips() { self.tls_policy } else { said.unwrap_or_default() }
    }
}

/// The part of a Rig's spec that its Polecats are held to. A list that is not there forbids nothing by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rules {
    pub allowed_namespaces: Option<Vec<String>>,
    pub allowed_images: Option<Vec<String>>,
    pub service_accounts: Option<Vec<String>>,
    /// A word of another release is held to as well: by nobody, so nothing begins.
    pub tls_policy: Option<String>,
}

/// What a Polecat asks for that its Rig has a say in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    pub image: Option<Text>,
    pub service_account: Option<Text>,
    /// Variables of the agent's that a TLS policy would set, one after the other.
    pub tls_settings: Option<Box<str>>,
}

impl Wishes {
    pub fn of(spec: &PolecatSpec) -> Self {
        let named = |it: &Option<String>| it.as_deref().filter(|it| !it.is_empty()).map(Into::into);
        let variables = spec.agent.env.iter().flatten().map(|it| it.name.as_str());
        let set: Vec<_> = variables.filter(|it| tls_policy::sets(it)).collect();
        Self {
            image: named(&spec.agent.image),
            service_account: named(&spec.agent.service_account_name),
            tls_settings: (!set.is_empty()).then(|| set.join(", ").into()),
        }
    }
}

/// Everything that the Rig of this name, if it is there, does not let a Polecat of this namespace do.
pub fn forbidden(
    rig: &str,
    rules: Option<&Rules>,
    namespace: &str,
    wishes: &Wishes,
    house: House,
) -> Vec<Exposure> {
    let (none, rig) = (Rules::default(), &*fit(rig, NAMED));
    let said = rules.unwrap_or(&none);
    let elsewhere = match (&said.allowed_namespaces, house.tenancy) {
        (Some(list), _) if list.iter().any(|it| it == ANY || it == namespace) => None,
        (Some(_), _) => Some(format!(
            "whose allowedNamespaces do not hold {namespace}; use another Rig, or ask a platform admin to add the namespace \
             there"
        )),
        (None, Tenancy::Open) => None,
        (None, Tenancy::Strict) if rules.is_none() => Some(
            "which is not there, and with --tenancy=strict only namespaces in a Rig's allowedNamespaces may use it; ask a \
             platform admin for the Rig"
                .into(),
        ),
        (None, Tenancy::Strict) => Some(format!(
            "which has no allowedNamespaces, and with --tenancy=strict that means none; ask a platform admin to add \
             {namespace} there"
        )),
    };
    let unknown = |it: &&str| TlsPolicy::of(Some(it)).is_none();
    let policy = said.tls_policy.as_deref().filter(unknown).map(|it| {
        format!(
            "whose tlsPolicy is {it:?}, and this release cannot hold agent pods to that; use another Rig, or ask a platform \
             admin to set its tlsPolicy to default or fips"
        )
    });
    let about_rig = elsewhere
        .into_iter()
        .chain(policy)
        .map(|it| Exposure { field: "spec.rig".into(), message: format!("names Rig {rig}, {it}") });
    let fips = house.tls_policy(rules).is_fips();
    let own = wishes.tls_settings.as_deref().filter(|_| fips).map(|it| Exposure {
        field: "spec.agent.env".into(),
        message: format!(
            "sets {it}, which tlsPolicy fips sets for every program of the pod; leave it out, or use a Rig without that policy"
        ),
    });
    about_rig.chain(own).chain(unlisted(rig, said, wishes)).collect()
}

/// What is wished for and on none of the Rig's lists.
fn unlisted(rig: &str, rules: &Rules, wishes: &Wishes) -> Vec<Exposure> {
    let mut all = Vec::new();
    if let Some(list) = wishes.image.as_deref().and_then(|it| instead_of(rules, it)) {
        let message = format!(
            "is none of the allowedImages of Rig {rig}; use one of {list}, or leave it out for the operator's own"
        );
        all.push(Exposure { field: fields::IMAGE.into(), message });
    }
    if let (Some(list), Some(account)) = (&rules.service_accounts, &wishes.service_account)
        && !list.iter().any(|it| it == ANY || **it == **account)
    {
        let message = format!(
            "is none of the serviceAccounts of Rig {rig}; use one of {}, or leave it out for the namespace's default",
            shown(list)
        );
        all.push(Exposure { field: "spec.agent.serviceAccountName".into(), message });
    }
    all
}

/// The first of them, as the reason why there is no pod.
pub fn cause(forbidden: &[Exposure]) -> Option<Cause> {
    let first = forbidden.first()?;
    Some(Cause::new(NOT_ALLOWED, format!("{} {}", first.field, first.message)))
}

/// The images that a Rig allows, as a message shows them, where this one is none of them.
pub fn instead_of(rules: &Rules, image: &str) -> Option<String> {
    let list = rules.allowed_images.as_ref()?;
    (!list.iter().any(|it| fits(it, image))).then(|| shown(list))
}

/// Whether an image is what an entry names: the very image, or what begins with the part before a `*` at the end.
fn fits(entry: &str, image: &str) -> bool {
    entry.strip_suffix('*').map_or(entry == image, |start| image.starts_with(start))
}

/// The first of a list, as far as a message has room for them.
fn shown(list: &[String]) -> String {
    const MOST: usize = 5;
    let some: Vec<_> = list.iter().take(MOST).map(String::as_str).collect();
    match list.len().saturating_sub(MOST) {
        _ if list.is_empty() => "none".into(),
        0 => some.join(", "),
        more => format!("{} and {more} more", some.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::env;

    fn rules(json: &str) -> Rules {
        serde_json::from_str(json).unwrap()
    }

    fn told(rules: Option<&Rules>, wishes: &Wishes, tenancy: Tenancy) -> String {
        let house = House { tenancy, tls_policy: TlsPolicy::Default };
        let all = forbidden("greeter", rules, "town", wishes, house);
        let lines: Vec<_> = all.iter().map(|it| format!("{} {}", it.field, it.message)).collect();
        lines.join("\n")
    }

    #[test]
    fn a_rig_says_from_where_it_is_used() {
        use Tenancy::{Open, Strict};
        #[rustfmt::skip]
        let table = [
            (Some("{}"), Open, "", "old YAML means any"),
            (Some("{}"), Strict, "that means none", "strict means none"),
            (None, Open, "", "a Rig that is not there is warned about, not refused"),
            (None, Strict, "which is not there", "nobody has allowed it"),
            (Some(r#"{"allowedNamespaces": ["town"]}"#), Strict, "", "it is named"),
            (Some(r#"{"allowedNamespaces": ["*"]}"#), Strict, "", "all are"),
            (Some(r#"{"allowedNamespaces": ["towns", "tow"]}"#), Open, "do not hold town", "names are whole"),
            (Some(r#"{"allowedNamespaces": []}"#), Open, "do not hold town", "an empty list names none"),
        ];
        for (given, tenancy, want, because) in table {
            let rules = given.map(rules);
            let told = told(rules.as_ref(), &Wishes::default(), tenancy);
            let fine = if want.is_empty() { told.is_empty() } else { told.contains(want) };
            assert!(fine, "{because}: {told}");
        }
    }

    #[test]
    fn a_rig_says_which_images_and_service_accounts() {
        let list = r#"{"allowedImages": ["registry.example.com/agents/*", "plain:1"], "serviceAccounts": ["agent"]}"#;
        #[rustfmt::skip]
        let table = [
            (Some("registry.example.com/agents/claude:1"), None, "", "begins like an entry"),
            (Some("plain:1"), None, "", "is an entry"),
            (Some("plain:12"), None, "allowedImages", "is longer than an entry"),
            (Some("registry.example.com/agents"), None, "allowedImages", "is shorter than an entry"),
            (Some("evil.example.com/registry.example.com/agents/x"), None, "allowedImages", "holds an entry"),
            (None, None, "", "the operator's own, and the namespace's default"),
            (None, Some("default"), "serviceAccounts", "who names it wants it listed"),
            (None, Some("agent"), "", "is an entry"),
            (None, Some("root"), "serviceAccounts", "is none"),
        ];
        for (image, account, want, because) in table {
            let wishes = Wishes {
                image: image.map(Into::into),
                service_account: account.map(Into::into),
                tls_settings: None,
            };
            let told = told(Some(&rules(list)), &wishes, Tenancy::Open);
            let fine = if want.is_empty() { told.is_empty() } else { told.contains(want) };
            assert!(fine, "{because}: {told}");
            assert_eq!(self::told(Some(&rules("{}")), &wishes, Tenancy::Open), "", "no list");
        }
    }

    #[test]
    fn a_policy_that_nobody_holds_lets_nothing_begin() {
        for (policy, held) in [("default", true), ("fips", true), ("of-another-release", false)] {
            let rules = rules(&format!(r#"{{"tlsPolicy": "{policy}"}}"#));
            let told = told(Some(&rules), &Wishes::default(), Tenancy::Open);
            assert_eq!(told.is_empty(), held, "{told}");
        }
    }

    #[test]
    fn nobody_sets_what_the_policy_sets() {
        let agent = crate::api::v1beta1::Agent {
            env: Some(vec![env::value("NODE_OPTIONS", "--tls-min-v1.0"), env::value("LANG", "C")]),
            ..Default::default()
        };
        let wishes = Wishes::of(&PolecatSpec { agent, ..PolecatSpec::default() });
        let fips = House { tls_policy: TlsPolicy::Fips, ..House::default() };
        let rule = |it: &str| rules(&format!(r#"{{"tlsPolicy": "{it}"}}"#));
        #[rustfmt::skip]
        let table = [
            (None, House::default(), false, "no Rig, no policy"),
            (Some(rule("default")), House::default(), false, "the Rig's policy is none"),
            (Some(rule("fips")), House::default(), true, "the Rig's"),
            (Some(rule("default")), fips, true, "the operator's holds for every Rig"),
            (None, fips, true, "and for one that is not there"),
        ];
        for (rules, house, refused, because) in table {
            let all = forbidden("greeter", rules.as_ref(), "town", &wishes, house);
            assert_eq!(!all.is_empty(), refused, "{because}");
            let said = all.first().map_or("sets NODE_OPTIONS,", |it| &it.message);
            assert!(said.starts_with("sets NODE_OPTIONS,"), "it alone: {said}");
        }
    }
}
