//! Why the API server will not have a pod: its own words, behind a word for programs.

use crate::domain::failure::{Cause, quote_whole};

/// What an answer means.
pub fn refused(code: u16, words: &str) -> Cause {
    let lower = words.to_lowercase();
    let has = |text: &str| lower.contains(text);
    // The same plugin's other words: a quota that nobody has counted yet, and a resource that only a quota may grant.
    let no_room = ["exceeded quota", "status unknown for quota", "insufficient quota to consume"];
    let reason = if no_room.into_iter().any(has) {
        "QuotaExceeded"
    } else if has("failed quota") {
        "QuotaUnmet"
    } else if has("violates podsecurity") {
        "PodSecurityRefused"
    } else if has("security context constraint") {
        "SecurityContextConstraintRefused"
    } else if has("failed calling webhook") {
        "AdmissionUnavailable"
    } else if has("admission webhook") || has("validatingadmissionpolicy") {
        "AdmissionRefused"
    } else if has("error looking up service account") {
        "ServiceAccountMissing"
    } else if has("being terminated") {
        "NamespaceTerminating"
    } else if code == 403 && (has("usage per") || has("limit to request ratio")) {
        "LimitRangeRefused"
    } else if code == 422 {
        "PodInvalid"
    } else {
        "PodCreateFailed"
    };
    let said = quote_whole(words);
    let said = if reason == "QuotaExceeded" { without_usage(&said) } else { said };
    Cause::known(reason, format!("the API server refused the pod ({code}): {said}"))
}

/// Whether somebody's webhook stands behind an answer: it may choose any code, and one that does not answer is a 500.
pub fn is_of_a_webhook(words: &str) -> bool {
    let lower = words.to_lowercase();
    lower.contains("failed calling webhook")
        || (lower.contains("admission webhook") && lower.contains("denied the request"))
}

/// What is used of a quota changes all the time, and with it the words: without that, waiting says the same every time.
fn without_usage(said: &str) -> String {
    match (said.find(", used: "), said.find(", limited: ")) {
        (Some(from), Some(to)) if from < to => {
            let (head, tail) = (said.get(..from), said.get(to..));
            format!("{}{}", head.unwrap_or_default(), tail.unwrap_or_default())
        }
        _ => said.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_for_a_quota_says_the_same_every_time() {
        let words = |used| {
            format!(
                "pods \"p\" is forbidden: exceeded quota: small, requested: pods=1, used: pods={used}, limited: pods=3"
            )
        };
        assert_eq!(refused(403, &words(3)), refused(403, &words(2)));
        let said = refused(403, &words(3)).message;
        assert!(
            said.contains("exceeded quota: small, requested: pods=1, limited: pods=3"),
            "{said}"
        );
    }

    /// In the API server's own words.
    #[test]
    fn every_word_of_quotas_and_limits_is_known() {
        let table = [
            ("pods \"p\" is forbidden: exceeded quota: small, requested: pods=1", "QuotaExceeded"),
            (
                "pods \"p\" is forbidden: status unknown for quota: small, resources: pods",
                "QuotaExceeded",
            ),
            ("pods \"p\" is forbidden: insufficient quota to consume: pods", "QuotaExceeded"),
            ("pods \"p\" is forbidden: failed quota: small: must specify cpu", "QuotaUnmet"),
            (
                "pods \"p\" is forbidden: maximum cpu usage per Container is 1, but limit is 2",
                "LimitRangeRefused",
            ),
            (
                "pods \"p\" is forbidden: cpu max limit to request ratio per Container is 4, but provided ratio is 10.000000",
                "LimitRangeRefused",
            ),
        ];
        for (words, want) in table {
            assert_eq!(refused(403, words).reason, want, "{words}");
        }
    }

    #[test]
    fn what_comes_last_in_a_long_refusal_is_kept() {
        let tried =
            "provider restricted-v2: .spec.securityContext.fsGroup: Invalid value: ".repeat(36);
        let words = format!(
            "unable to validate against any security context constraint: [{tried}] the end"
        );
        let message = refused(403, &words).message;
        assert!(words.len() > 2500 && message.contains("the end"), "{message}");
    }

    #[test]
    fn a_webhook_is_known_by_its_words_whatever_its_code() {
        let denied = "admission webhook \"policy.example.com\" denied the request: busy";
        let silent = "Internal error occurred: failed calling webhook \"policy.example.com\": failed to call webhook: Post";
        assert!(is_of_a_webhook(denied) && is_of_a_webhook(silent));
        assert!(!is_of_a_webhook("etcdserver: request timed out"), "the API server's own trouble");
        assert_eq!(refused(409, denied).reason, "AdmissionRefused");
        assert_eq!(refused(500, silent).reason, "AdmissionUnavailable");
    }

    #[test]
    fn foreign_words_are_kept_and_made_harmless() {
        let words = format!(
            "admission webhook \"policy.example.com\" denied the request: no\u{1b}[31m red\ntext {}",
            "x".repeat(9000)
        );
        let cause = refused(403, &words);
        assert_eq!(cause.reason, "AdmissionRefused");
        assert!(cause.message.contains("policy.example.com"), "who refused");
        assert!(!cause.message.contains(char::is_control), "no control characters");
        assert!(cause.message.len() < 4096 && cause.message.contains('…'), "cut, and it shows");
    }
}
