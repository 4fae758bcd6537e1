//! What an OpenShift cluster asks of the TLS of its components: `tlsSecurityProfile` and `tlsAdherence` of its `APIServer`, as
//! what a provider is made from. Pure; unknown words never loosen anything.

use serde_json::Value;

use super::crypto::{Profile, Wanted};

/// OpenSSL's names of the suites that rustls has, as OpenShift writes them, and IANA's.
const SUITES: [(&str, &str); 6] = [
    ("ECDHE-ECDSA-AES128-GCM-SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
    ("ECDHE-ECDSA-AES256-GCM-SHA384", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"),
    ("ECDHE-ECDSA-CHACHA20-POLY1305", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"),
    ("ECDHE-RSA-AES128-GCM-SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
    ("ECDHE-RSA-AES256-GCM-SHA384", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"),
    ("ECDHE-RSA-CHACHA20-POLY1305", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"),
];
const TLS13: [&str; 3] =
    ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"];

/// What is asked for, and what of it can't be had as it is written.
#[derive(Clone, Debug, Default)]
pub struct Followed {
    pub wanted: Wanted,
    pub notes: Vec<String>,
}

/// What an `APIServer` asks for; `None`: there is none.
pub fn of(object: Option<&Value>) -> Followed {
    let mut followed = Followed::default();
    let Some(spec) = object.and_then(|it| it.get("spec")) else { return followed };
    match text(spec, "tlsAdherence") {
        // Components keep what they do by themselves.
        None | Some("" | "NoOpinion" | "LegacyAdheringComponentsOnly") => return followed,
        Some("StrictAllComponents") => {}
        Some(other) => followed.notes.push(format!("tlsAdherence {other:?} is taken as strict")),
    }
    let profile = spec.get("tlsSecurityProfile");
    match profile.and_then(|it| text(it, "type")) {
        None | Some("" | "Intermediate") => {}
        Some("Old") => {
            followed
                .notes
                .push("profile Old is met by TLS 1.2 and 1.3; there is no older one".into());
        }
        Some("Modern") => followed.wanted.profile = Profile::Modern,
        Some("Custom") => match profile.and_then(|it| it.get("custom")).filter(|it| it.is_object())
        {
            Some(custom) => followed.custom(custom),
            None => followed.notes.push("profile Custom says nothing; Intermediate holds".into()),
        },
        Some(other) => {
            // Whatever it means, nothing is less than this.
            followed.wanted.profile = Profile::Modern;
            followed.notes.push(format!("profile {other:?} is not known here; Modern holds"));
        }
    }
    followed
}

impl Followed {
    fn custom(&mut self, custom: &Value) {
        let names = |key: &str| -> Vec<String> {
            let list = custom.get(key).and_then(Value::as_array);
            list.into_iter().flatten().filter_map(Value::as_str).map(ToOwned::to_owned).collect()
        };
        self.wanted.profile = Profile::Custom;
        // Beside TLS 1.3 as the oldest, what is listed of suites has no effect.
        self.wanted.suites = if text(custom, "minTLSVersion") == Some("VersionTLS13") {
            TLS13.map(ToOwned::to_owned).to_vec()
        } else {
            names("ciphers").iter().map(|it| iana(it)).collect()
        };
        self.wanted.groups = names("groups");
    }
}

fn iana(name: &str) -> String {
    let known = SUITES.iter().find(|it| it.0.eq_ignore_ascii_case(name));
    known.map_or(name, |it| it.1).to_owned()
}

fn text<'a>(of: &'a Value, key: &str) -> Option<&'a str> {
    of.get(key).and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::tls::crypto::{group_name, suite_name};

    fn strict(profile: &Value) -> Followed {
        of(Some(
            &json!({"spec": {"tlsAdherence": "StrictAllComponents", "tlsSecurityProfile": profile}}),
        ))
    }

    fn suites(it: &Followed) -> Vec<String> {
        it.wanted.intersection().cipher_suites.iter().map(suite_name).collect()
    }

    #[test]
    fn a_cluster_is_followed_where_it_wants_all_components_to() {
        let modern = json!({"type": "Modern"});
        let with = |adherence: &str| {
            of(Some(&json!({"spec": {"tlsAdherence": adherence, "tlsSecurityProfile": modern}})))
        };
        for (adherence, followed, noted) in [
            ("", false, false),
            ("NoOpinion", false, false),
            ("LegacyAdheringComponentsOnly", false, false),
            ("StrictAllComponents", true, false),
            ("OfAnotherRelease", true, true),
        ] {
            let it = with(adherence);
            let is = it.wanted.profile == Profile::Modern;
            assert_eq!((is, !it.notes.is_empty()), (followed, noted), "{adherence:?}");
        }
        for none in [None, Some(&json!({})), Some(&json!({"spec": {"tlsAdherence": 7}}))] {
            assert_eq!(of(none).wanted.profile, Profile::Intermediate, "{none:?}");
        }
    }

    #[test]
    fn every_profile_becomes_what_rustls_has_of_it() {
        let two = |it: &Followed| suites(it).iter().any(|it| it.contains("ECDHE"));
        assert!(two(&strict(&Value::Null)) && two(&strict(&json!({"type": "Intermediate"}))));
        let old = strict(&json!({"type": "Old"}));
        assert!(two(&old) && !old.notes.is_empty(), "it is said that it can't be met");
        assert!(!two(&strict(&json!({"type": "Modern"}))), "TLS 1.3 alone");
        let unknown = strict(&json!({"type": "Future"}));
        assert!(!two(&unknown) && !unknown.notes.is_empty(), "never looser than what is known");
        let empty = strict(&json!({"type": "Custom"}));
        assert!(two(&empty) && !empty.notes.is_empty(), "Custom without content");
    }

    #[test]
    fn what_a_custom_profile_names_is_what_is_left() {
        let custom = |it: Value| strict(&json!({"type": "Custom", "custom": it}));
        let it = custom(json!({
            "minTLSVersion": "VersionTLS12", "groups": ["secp384r1", "X448"],
            "ciphers": ["ECDHE-ECDSA-AES256-GCM-SHA384", "AES128-SHA", "TLS_AES_256_GCM_SHA384"],
        }));
        let mut left = suites(&it);
        left.sort();
        let want = ["TLS_AES_256_GCM_SHA384", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"];
        assert_eq!(left, want, "by OpenSSL's name or IANA's");
        let groups: Vec<_> =
            it.wanted.intersection().kx_groups.iter().map(|it| group_name(*it)).collect();
        assert_eq!(groups, ["secp384r1"]);
        let newest = custom(json!({"minTLSVersion": "VersionTLS13", "ciphers": ["AES128-SHA"]}));
        assert!(suites(&newest).iter().all(|it| TLS13.contains(&it.as_str())));
        assert!(!suites(&newest).is_empty(), "what is listed beside TLS 1.3 has no effect");
        assert!(
            suites(&custom(json!({"ciphers": ["AES128-SHA"]}))).is_empty(),
            "nothing in common"
        );
        let none = custom(json!({"ciphers": ["TLS_AES_128_GCM_SHA256"], "groups": ["X448"]}));
        assert!(none.wanted.intersection().kx_groups.is_empty(), "no group in common");
    }
}
