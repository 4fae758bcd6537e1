//! Polecats at the door: our labels and who asks are stamped, what an agent is never given is refused, and what will not
//! take effect is said at once.

mod trace;

use serde_json::Value;

use super::{Refusal, Request, Rig, Verdict, annotation, stamp, unstamp, warning};
use crate::{
    api::v1beta1::{AgentKind, DesiredState, PolecatSpec},
    domain::{
        exposure::{self, Exposure},
        fields, names, pod,
        polecat::made_from,
        provenance::Provenance,
        shard::bucket,
        tenancy::{self, Tenancy, Wishes},
        untrusted::fit,
    },
};

/// Annotations that admission writes and keeps: a client's own values for them count for nothing.
const OURS: [&str; 4] = [
    names::REQUESTED_BY,
    names::REQUESTED_BY_UID,
    names::REQUESTED_BY_GROUPS,
    names::RESTORED_FROM,
];

/// Longest name of a Rig in a warning, in bytes: what to do about it comes after it.
const NAMED: usize = 63;

/// Stamps, refuses and warns. While `generateName` has not made the name yet, the label with it waits for the next update.
pub fn admit(request: &Request<'_, PolecatSpec>) -> Verdict {
    let refusals = refusals(request);
    let sent = request.asked.sent;
    let mut changed = sent.clone();
    stamp_labels(request, &mut changed);
    let mut warnings = keep_ours(request, &mut changed);
    if begins(request) && request.new.repository.is_none() {
        warnings.push(format!(
            "{} is missing: this Polecat will be Stuck (MissingKubernetesSpec); set {} and {}",
            fields::REPOSITORY,
            fields::URL,
            fields::GIT_SECRET
        ));
    }
    warnings.extend(without_rig(request));
    warnings.extend(without_image(request));
    warnings.extend(unreached(request));
    let idle = |it: &PolecatSpec| it.limits.max_idle_seconds.filter(|it| *it <= 0);
    if idle(&request.new).is_some() && request.old.as_ref().and_then(idle) != idle(&request.new) {
        warnings.push(format!(
            "{} is not positive and sets no limit: a silent agent runs until its deadline; leave it out to say so",
            fields::MAX_IDLE
        ));
    }
    let before = request.old.as_ref().map(pod::capped).unwrap_or_default();
    warnings.extend(pod::capped(&request.new).into_iter().filter(|it| !before.contains(it)));
    let ttl = |it: &PolecatSpec| it.limits.ttl_seconds_after_finished.filter(|it| *it < 0);
    if ttl(&request.new).is_some() && request.old.as_ref().and_then(ttl) != ttl(&request.new) {
        warnings.push(format!(
            "{} is negative and has no effect: this Polecat stays until it is deleted; set 0 to delete it as soon as it has \
             ended, or leave it out",
            fields::TTL
        ));
    }
    Verdict { changed: (changed != *sent).then_some(changed), warnings, refusals }
}

/// A Rig that is not there keeps nobody from working and holds nobody to anything: most likely its name was mistyped.
fn without_rig(request: &Request<'_, PolecatSpec>) -> Option<String> {
    let open = request.asked.policy.house.tenancy == Tenancy::Open;
    let absent = matches!(request.asked.rig, Rig::Absent);
    let text = format!(
        "spec.rig: there is no Rig {:?}, so no rule and no pause of it holds this Polecat: create that Rig, or the Polecat \
         anew with the name that is meant",
        fit(&request.new.rig, NAMED)
    );
    (open && absent && (request.old.is_none() || begins(request))).then_some(text)
}

/// It will wait for an image that nobody names.
fn without_image(request: &Request<'_, PolecatSpec>) -> Option<String> {
    let named = request.new.agent.image.as_deref().is_some_and(|it| !it.is_empty());
    let waits = request.asked.policy.no_agent_image && !named && request.new.repository.is_some();
    let text = format!(
        "this Polecat will wait (AgentImageNotSet): set {}; this operator was started without an image for agents. {} builds one",
        fields::IMAGE,
        pod::BUILD_AGENT
    );
    (waits && begins(request)).then_some(text)
}

/// What a TLS policy does not reach, for agents that may be of that sort.
fn unreached(request: &Request<'_, PolecatSpec>) -> Option<String> {
    let rules = match request.asked.rig {
        Rig::There(rules) => Some(rules),
        Rig::Absent | Rig::Unasked => None,
    };
    let same = request.old.as_ref().is_some_and(|it| it.rig == request.new.rig);
    let held = request.asked.policy.house.tls_policy(rules).is_fips() && !same;
    let AgentKind::ClaudeCode = request.new.agent.kind;
    held.then(|| {
        "tlsPolicy fips does not reach agent claude-code where it is a program with TLS of its own (its native build): only its \
         build for Node.js is, and git, curl, OpenSSL, GnuTLS and Go beside it"
            .into()
    })
}

/// What an agent is never given, and what could never become a pod. What an update leaves as it was is not refused again.
fn refusals(request: &Request<'_, PolecatSpec>) -> Vec<Refusal> {
    let (name, most) = (request.asked.name, request.asked.policy.max_active_deadline);
    let found = |spec: &PolecatSpec| {
        let mut all = exposure::exposures(spec);
        all.extend(pod::flaws(spec, name, most));
        all
    };
    let before = request.old.as_ref().map(found).unwrap_or_default();
    let fresh = found(&request.new).into_iter().filter(|it| !before.contains(it));
    let mut all: Vec<_> =
        fresh.map(|Exposure { field, message }| Refusal { field, message }).collect();
    all.extend(forbidden(request));
    let author = |object| annotation(object, names::COMMIT_AUTHOR);
    let kept = request.asked.stored.is_some_and(|it| author(it) == author(request.asked.sent));
    if let (false, Some(text)) = (kept, author(request.asked.sent))
        && let Err(why) = Provenance::author(text)
    {
        let field = format!("metadata.annotations[{}]", names::COMMIT_AUTHOR);
        all.push(Refusal { field, message: why });
    }
    all
}

/// What its Rig does not let it do. What an update leaves as it was is refused again only where it asks for work anew.
fn forbidden(request: &Request<'_, PolecatSpec>) -> Vec<Refusal> {
    let asked = &request.asked;
    let rules = match asked.rig {
        Rig::Unasked => return Vec::new(),
        Rig::Absent => None,
        Rig::There(rules) => Some(rules),
    };
    let place = asked.sent.pointer("/metadata/namespace").and_then(Value::as_str);
    let namespace = place.unwrap_or_default();
    let found = |spec: &PolecatSpec| {
        tenancy::forbidden(&spec.rig, rules, namespace, &Wishes::of(spec), asked.policy.house)
    };
    let before = request.old.as_ref().filter(|_| !begins(request)).map(found).unwrap_or_default();
    let fresh = found(&request.new).into_iter().filter(|it| !before.contains(it));
    fresh.map(|Exposure { field, message }| Refusal { field, message }).collect()
}

fn stamp_labels(request: &Request<'_, PolecatSpec>, changed: &mut Value) {
    let (name, spec) = (request.asked.name, &request.new);
    let bead = spec.bead_id.as_deref();
    let labels = names::labels(name, &spec.rig, bead)
        .into_iter()
        .filter(|(key, _)| !name.is_empty() || key != names::POLECAT_LABEL);
    stamp(changed, "labels", labels);
    // By the function that the watches go by.
    let namespace = request.asked.sent.pointer("/metadata/namespace").and_then(Value::as_str);
    stamp(changed, "labels", namespace.map(|it| (bucket::LABEL.to_owned(), bucket::label(it))));
    let mut truths = names::truths(name, &spec.rig, bead);
    // A restore by Velero then brings the status back too, and with it what has run; who says otherwise knows it.
    if annotation(changed, names::VELERO_RESTORE_STATUS).is_none() {
        truths.insert(names::VELERO_RESTORE_STATUS.into(), "true".into());
    }
    stamp(changed, "annotations", truths);
}

/// Writes the annotations that are ours, and restores those that an update changed. Warns of what it took away.
fn keep_ours(request: &Request<'_, PolecatSpec>, changed: &mut Value) -> Vec<String> {
    let asked = &request.asked;
    let mut warnings = Vec::new();
    for key in OURS {
        unstamp(changed, key);
        if let Some(kept) = asked.stored.and_then(|it| annotation(it, key)) {
            stamp(changed, "annotations", [(key.to_owned(), kept.to_owned())]);
        }
    }
    warnings.extend(trace::keep(request, changed));
    if asked.stored.is_none() || takes_on(&request.new, request.old.as_ref()) {
        stamp(changed, "annotations", requester(request));
    }
    if asked.stored.is_none() {
        warnings.extend(mark_restored(asked.sent, changed));
    }
    warnings
}

/// Work is asked for that was not asked for before.
fn begins(request: &Request<'_, PolecatSpec>) -> bool {
    works(&request.new) && !request.old.as_ref().is_some_and(works)
}

fn works(spec: &PolecatSpec) -> bool {
    spec.desired_state == DesiredState::Working
}

/// A pod may come of this that would not have come of what was there: who asks for it stands for all that the pod is given. The
/// spec of one that is at work counts too, since its pod may be made later than that spec was.
pub fn takes_on(new: &PolecatSpec, old: Option<&PolecatSpec>) -> bool {
    works(new) && !old.is_some_and(|it| works(it) && made_from(it) == made_from(new))
}

fn requester(request: &Request<'_, PolecatSpec>) -> Vec<(String, String)> {
    let user = &request.asked.user;
    let mut groups = user.groups.to_vec();
    groups.sort_unstable();
    let groups = if groups.is_empty() { String::new() } else { names::sha256(&groups.join("\n")) };
    let all = [
        (names::REQUESTED_BY, user.name.to_owned()),
        (names::REQUESTED_BY_UID, user.uid.to_owned()),
        (names::REQUESTED_BY_GROUPS, groups),
    ];
    all.into_iter()
        .filter(|(_, text)| !text.is_empty())
        .map(|(key, text)| (key.to_owned(), text))
        .collect()
}

/// An object that is created with the status of one that ran: the API server drops the status, so what it says is kept in
/// an annotation, and the operator holds the object. The word that let an earlier one resume is not for this one.
fn mark_restored(sent: &Value, changed: &mut Value) -> Option<String> {
    let status = |field: &str| sent.get("status").and_then(|it| it.get(field));
    let phase = status("phase").and_then(Value::as_str).filter(|it| is_phase(it));
    let attempt = status("attempt").and_then(Value::as_i64);
    let ran = attempt.is_some() || phase.is_some_and(|it| it != "Idle");
    let backup = sent.pointer("/metadata/labels").and_then(|it| it.get(names::VELERO_RESTORE));
    let took = (ran || backup.is_some()) && unstamp(changed, names::RESUME);
    if ran {
        let from = format!("{} {}", phase.unwrap_or("Idle"), attempt.unwrap_or(1));
        stamp(changed, "annotations", [(names::RESTORED_FROM.to_owned(), from)]);
    }
    let held = "this Polecat comes with the status of an earlier run: it is held until it is annotated with \
                gastown.io/resume=true, or set to Idle and back to Working";
    let taken = "annotation gastown.io/resume was taken off: set it once the object is there";
    if took {
        return Some(warning(taken));
    }
    ran.then(|| warning(held))
}

fn is_phase(text: &str) -> bool {
    matches!(text, "Idle" | "Working" | "Done" | "Stuck" | "Terminated")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        admission::{Asked, Policy, User},
        api::{
            shared::{SecretKeyRef, SecretRef},
            v1beta1::Repository,
        },
        domain::tenancy::{House, Rules, Tenancy},
    };

    fn spec() -> PolecatSpec {
        PolecatSpec {
            rig: "greeter".into(),
            bead_id: Some("gt-1".into()),
            ..PolecatSpec::default()
        }
    }

    fn asked<'a>(sent: &'a Value, stored: Option<&'a Value>) -> Asked<'a> {
        let user = User { name: "ada", uid: "u-7", groups: &[] };
        Asked { name: "max", user, policy: Policy::default(), sent, stored, rig: Rig::Unasked }
    }

    fn created(sent: &Value, new: PolecatSpec) -> Verdict {
        admit(&Request { asked: asked(sent, None), new, old: None })
    }

    fn annotations(verdict: &Verdict) -> Value {
        verdict.changed.as_ref().map(|it| it["metadata"]["annotations"].clone()).unwrap_or_default()
    }

    #[test]
    fn what_its_rig_does_not_let_it_do_is_refused_once_and_when_work_is_asked_for() {
        let rules = Rules {
            allowed_namespaces: Some(vec!["other".into()]),
            allowed_images: Some(vec!["agents/*".into()]),
            ..Rules::default()
        };
        let sent = json!({"metadata": {"name": "max", "namespace": "town"}});
        let mut wants = spec();
        wants.agent.image = Some("evil:1".into());
        let of = |rig, new: &PolecatSpec, old: Option<&PolecatSpec>| {
            let asked = Asked { rig, ..asked(&sent, old.map(|_| &sent)) };
            let verdict = admit(&Request { asked, new: new.clone(), old: old.cloned() });
            verdict.refusals.into_iter().map(|it| it.field).collect::<Vec<_>>()
        };
        let both = ["spec.rig", fields::IMAGE];
        assert_eq!(of(Rig::There(&rules), &wants, None), both);
        assert_eq!(of(Rig::There(&rules), &wants, Some(&wants)), [""; 0], "it was so before");
        let working = PolecatSpec { desired_state: DesiredState::Working, ..wants.clone() };
        assert_eq!(of(Rig::There(&rules), &working, Some(&wants)), both, "work is asked for");
        assert_eq!(
            of(Rig::Absent, &wants, None),
            [""; 0],
            "a Rig that is not there refuses nothing"
        );
        assert_eq!(of(Rig::Unasked, &wants, None), [""; 0], "it is asked again before the pod");
        let house = House { tenancy: Tenancy::Strict, ..House::default() };
        let strict = Policy { house, ..Policy::default() };
        let asked = Asked { rig: Rig::Absent, policy: strict, ..asked(&sent, None) };
        let told = admit(&Request { asked, new: wants, old: None }).refusals;
        assert!(told[0].message.contains("which is not there"), "{told:?}");
    }

    #[test]
    fn a_rig_that_is_not_there_is_warned_about_when_work_is_asked_for() {
        let sent = json!({"metadata": {"name": "max", "namespace": "town"}});
        let (rules, strict) =
            (Rules::default(), House { tenancy: Tenancy::Strict, ..House::default() });
        let (idle, open) = (spec(), House::default());
        let works = PolecatSpec { desired_state: DesiredState::Working, ..spec() };
        #[rustfmt::skip]
        let table = [
            (Rig::Absent, open, &idle, None, 1, "it comes"),
            (Rig::Absent, open, &works, Some(&idle), 1, "it begins"),
            (Rig::Absent, open, &works, Some(&works), 0, "it was said before"),
            (Rig::There(&rules), open, &works, None, 0, "it is there"),
            (Rig::Unasked, open, &works, None, 0, "nobody knows"),
            (Rig::Absent, strict, &works, None, 0, "it is refused"),
        ];
        for (rig, house, new, old, want, because) in table {
            let policy = Policy { house, ..Policy::default() };
            let asked = Asked { policy, rig, ..asked(&sent, old.map(|_| &sent)) };
            let verdict = admit(&Request { asked, new: new.clone(), old: old.cloned() });
            let said = verdict.warnings.iter().filter(|it| it.contains("no Rig \"greeter\""));
            assert_eq!(said.count(), want, "{because}: {:?}", verdict.warnings);
            assert_eq!(verdict.refusals.is_empty(), house == open, "{because}");
        }
        let long = PolecatSpec { rig: "x".repeat(5000), ..spec() };
        let asked = Asked { rig: Rig::Absent, ..asked(&sent, None) };
        let told = admit(&Request { asked, new: long, old: None }).warnings;
        assert!(told.iter().any(|it| it.ends_with("that is meant") && it.len() <= 256), "{told:?}");
    }

    #[test]
    fn labels_are_stamped_once() {
        let forged = json!({"gastown.io/bucket": "7"});
        let sent = json!({"metadata": {"name": "max", "namespace": "team-a", "labels": forged}});
        let stored = created(&sent, spec()).changed.unwrap();
        let want = json!({"gastown.io/polecat": "max", "gastown.io/rig": "greeter", "gastown.io/bead": "gt-1",
            "gastown.io/bucket": "920"});
        assert_eq!(stored["metadata"]["labels"], want);
        let again =
            Request { asked: asked(&stored, Some(&stored)), new: spec(), old: Some(spec()) };
        assert_eq!(admit(&again).changed, None, "an update that changes nothing");
    }

    #[test]
    fn a_text_that_is_no_label_keeps_its_truth() {
        let bead = "gt-ünïcode and more";
        let sent = json!({"metadata": {"name": "max", "labels": null}});
        let it = created(&sent, PolecatSpec { bead_id: Some(bead.into()), ..spec() });
        assert_eq!(annotations(&it)["gastown.io/bead"], bead);
        assert_ne!(it.changed.unwrap()["metadata"]["labels"]["gastown.io/bead"], bead);
    }

    #[test]
    fn work_without_a_repository_is_warned_about() {
        let sent = json!({"metadata": {"name": "max"}});
        let new = PolecatSpec { desired_state: DesiredState::Working, ..spec() };
        assert!(created(&sent, new).warnings[0].contains("MissingKubernetesSpec"));
    }

    #[test]
    fn a_negative_life_after_the_end_is_warned_about_once() {
        let sent = json!({"metadata": {"name": "max"}});
        let with = |ttl| {
            let mut it = spec();
            it.limits.ttl_seconds_after_finished = ttl;
            it
        };
        let table = [
            (None, Some(-1), 1, "it has no effect"),
            (Some(0), Some(-1), 1, "an update brings it"),
            (Some(-1), Some(-2), 1, "another one"),
            (Some(-1), Some(-1), 0, "it was said before"),
            (None, Some(0), 0, "at once"),
            (None, None, 0, "never"),
        ];
        for (before, ttl, want, because) in table {
            let (asked, old) = (asked(&sent, Some(&sent)), Some(with(before)));
            let warnings = admit(&Request { asked, new: with(ttl), old }).warnings;
            let said = warnings.iter().filter(|it| it.contains("ttlSecondsAfterFinished")).count();
            assert_eq!(said, want, "{because}");
        }
    }

    #[test]
    fn a_time_beyond_a_year_is_taken_and_warned_about_once() {
        let sent = json!({"metadata": {"name": "max"}});
        for (idle, deadline, want) in [
            (31_536_000, 31_536_000, 0),
            (i32::MAX, 60, 1),
            (60, 99_999_999, 1),
            (i32::MAX, i64::MAX, 2),
        ] {
            let mut new = spec();
            (new.limits.max_idle_seconds, new.limits.active_deadline_seconds) =
                (Some(idle), deadline);
            let it = created(&sent, new.clone());
            let said = it.warnings.iter().filter(|it| it.contains("counts as 31536000")).count();
            assert_eq!((said, it.refusals.len()), (want, 0), "{idle}, {deadline}");
            let asked = asked(&sent, None);
            let again = admit(&Request { asked, new: new.clone(), old: Some(new) }).warnings;
            assert!(!again.iter().any(|it| it.contains("counts as")), "{again:?}");
        }
    }

    #[test]
    fn an_idle_limit_that_is_none_is_taken_and_warned_about() {
        let sent = json!({"metadata": {"name": "max"}});
        for (limit, want) in [(None, 0), (Some(60), 0), (Some(0), 1), (Some(-1), 1)] {
            let mut new = spec();
            new.limits.max_idle_seconds = limit;
            let it = created(&sent, new);
            let said = it.warnings.iter().filter(|it| it.contains("maxIdleSeconds")).count();
            assert_eq!((said, it.refusals.len()), (want, 0), "{limit:?}");
        }
    }

    #[test]
    fn who_asks_is_stamped_and_cannot_be_forged() {
        let forged = json!({"metadata": {"annotations": {names::REQUESTED_BY: "root", names::RESTORED_FROM: "Done 1"}}});
        let first = created(&forged, spec());
        let have = annotations(&first);
        assert_eq!(
            (&have[names::REQUESTED_BY], &have[names::REQUESTED_BY_UID]),
            (&json!("ada"), &json!("u-7"))
        );
        assert_eq!(have.get(names::RESTORED_FROM), None, "only we say that it came back");
        let stored = json!({"metadata": {"annotations": {names::REQUESTED_BY: "grace"}}});
        let update = |sent: &Value, from, to| {
            let state = |it| PolecatSpec { desired_state: it, ..spec() };
            let (new, old) = (state(to), Some(state(from)));
            annotations(&admit(&Request { asked: asked(sent, Some(&stored)), new, old }))
        };
        let (idle, working) = (DesiredState::Idle, DesiredState::Working);
        assert_eq!(
            update(&forged, working, working)[names::REQUESTED_BY],
            "grace",
            "a change keeps it"
        );
        assert_eq!(
            update(&json!({"metadata": {}}), working, working)[names::REQUESTED_BY],
            "grace",
            "so does a removal"
        );
        assert_eq!(
            update(&forged, idle, working)[names::REQUESTED_BY],
            "ada",
            "who starts it asks for it"
        );
    }

    #[test]
    fn who_changes_what_a_pod_is_made_from_asks_for_it() {
        let stored = json!({"metadata": {"annotations": {names::REQUESTED_BY: "grace"}}});
        #[rustfmt::skip]
        let table: [(DesiredState, Edit, &str, &str); 5] = [
            (DesiredState::Working, |it| it.agent.command = Some(vec!["sh".into()]), "ada", "it may run as that, with what grace may have"),
            (DesiredState::Working, |it| it.agent.image = Some("evil:1".into()), "ada", "or as that"),
            (DesiredState::Working, |it| it.limits.ttl_seconds_after_finished = Some(60), "grace", "no pod is made from it"),
            (DesiredState::Working, |it| it.desired_state = DesiredState::Terminated, "grace", "who ends it asks for nothing"),
            (DesiredState::Idle, |it| it.agent.image = Some("evil:1".into()), "grace", "nothing comes of it before it is set to work"),
        ];
        for (state, edit, want, because) in table {
            let old = PolecatSpec { desired_state: state, ..spec() };
            let mut new = old.clone();
            edit(&mut new);
            let asked = asked(&stored, Some(&stored));
            let told = admit(&Request { asked, new, old: Some(old) });
            assert_eq!(annotations(&told)[names::REQUESTED_BY], want, "{because}");
        }
    }

    #[test]
    fn the_groups_are_hashed_whatever_their_order() {
        let sent = json!({"metadata": {}});
        let of = |groups: &[String]| {
            let user = User { name: "ada", uid: "", groups };
            let asked = Asked { user, ..asked(&sent, None) };
            annotations(&admit(&Request { asked, new: spec(), old: None }))
        };
        let (one, other) = (of(&["a".into(), "b".into()]), of(&["b".into(), "a".into()]));
        assert_eq!(one[names::REQUESTED_BY_GROUPS], other[names::REQUESTED_BY_GROUPS]);
        assert_eq!(one[names::REQUESTED_BY_GROUPS].as_str().unwrap().len(), 64);
        assert_eq!(one.get(names::REQUESTED_BY_UID), None, "no empty annotation");
    }

    #[test]
    fn an_export_is_marked_and_its_old_word_to_resume_is_taken() {
        #[rustfmt::skip]
        let table = [
            (json!({"status": {"phase": "Done", "attempt": 2}}), Some("Done 2"), "it had run"),
            (json!({"status": {"phase": "Stuck"}}), Some("Stuck 1"), "the original numbers no attempts"),
            (json!({"status": {"phase": "Idle", "attempt": 1}}), Some("Idle 1"), "stopped, but it had run"),
            (json!({"status": {"phase": "Idle"}}), None, "it never ran"),
            (json!({"status": {"phase": "\nforged", "attempt": "x"}}), None, "no status of ours"),
            (json!({"status": 7}), None, "no status at all"),
            (json!({}), None, "a new one"),
        ];
        for (mut sent, want, because) in table {
            sent["metadata"] = json!({"annotations": {names::RESUME: "true"}});
            let it = created(&sent, spec());
            let have = annotations(&it);
            assert_eq!(have.get(names::RESTORED_FROM).and_then(Value::as_str), want, "{because}");
            assert_eq!(have.get(names::RESUME).is_none(), want.is_some(), "{because}");
            assert_eq!(it.warnings.len(), usize::from(want.is_some()), "{because}");
        }
        let backup = json!({"metadata": {"labels": {names::VELERO_RESTORE: "r"}, "annotations": {names::RESUME: "true"}}});
        assert_eq!(
            annotations(&created(&backup, spec())).get(names::RESUME),
            None,
            "so is that of a backup"
        );
    }

    #[test]
    fn what_an_agent_is_never_given_is_refused_by_field_unless_it_was_there() {
        let mut bad = fine();
        bad.agent.anthropic_key_secret_ref =
            Some(SecretKeyRef { name: "git".into(), key: "k".into() });
        let sent = json!({"metadata": {"annotations": {names::COMMIT_AUTHOR: "nobody"}}});
        let it = created(&sent, bad.clone());
        let named: Vec<_> = it.refusals.iter().map(|it| it.field.as_str()).collect();
        assert_eq!(
            named,
            [fields::ANTHROPIC_KEY, "metadata.annotations[gastown.io/commit-author]"]
        );
        let update = Request { asked: asked(&sent, Some(&sent)), new: bad.clone(), old: Some(bad) };
        assert_eq!(admit(&update).refusals, [], "what was there stays");
    }
    type Edit = fn(&mut PolecatSpec);

    fn fine() -> PolecatSpec {
        let mut it = spec();
        it.repository = Some(Repository {
            url: "git@git.example.com:town/greeter.git".into(),
            base_branch: "main".into(),
            secret_ref: SecretRef { name: "git".into() },
            ..Repository::default()
        });
        it.limits.active_deadline_seconds = 60;
        it
    }

    #[test]
    fn what_could_never_become_a_pod_is_refused_naming_the_field() {
        let table: [(Edit, &str, &str); 8] = [
            (
                |it| it.repository.as_mut().unwrap().url = "--upload-pack=touch /x".into(),
                fields::URL,
                "an option of git",
            ),
            (
                |it| it.repository.as_mut().unwrap().base_branch = "../main".into(),
                fields::BASE_BRANCH,
                "upwards",
            ),
            (
                |it| it.repository.as_mut().unwrap().base_branch = "-d".into(),
                fields::BASE_BRANCH,
                "an option",
            ),
            (
                |it| it.repository.as_mut().unwrap().work_branch = Some("a\nb".into()),
                fields::WORK_BRANCH,
                "a new line",
            ),
            (|it| it.bead_id = Some("b".repeat(300)), "spec.beadID", "300 characters in a branch"),
            (
                |it| it.bead_id = Some("gt\u{202e}1".into()),
                "spec.beadID",
                "reads the other way round",
            ),
            (
                |it| it.limits.active_deadline_seconds = 601,
                fields::DEADLINE,
                "above --max-active-deadline",
            ),
            (|it| it.task = Some("\0".into()), fields::TASK, "a NUL"),
        ];
        let sent = json!({"metadata": {"name": "max"}});
        let policy = Policy { max_active_deadline: Some(600), ..Policy::default() };
        let judged = |new: PolecatSpec, old: Option<PolecatSpec>| {
            let asked = Asked { policy, ..asked(&sent, old.as_ref().map(|_| &sent)) };
            admit(&Request { asked, new, old }).refusals
        };
        assert_eq!(judged(fine(), None), [], "nothing is wrong with this one");
        for (edit, field, because) in table {
            let mut bad = fine();
            edit(&mut bad);
            let found = judged(bad.clone(), None);
            assert_eq!(found.len(), 1, "{because}: {found:?}");
            assert_eq!(found[0].field, field, "{because}");
            assert_eq!(judged(bad.clone(), Some(fine())).len(), 1, "{because}: nor by an update");
            assert_eq!(judged(bad.clone(), Some(bad)), [], "{because}: what was there stays");
        }
    }

    #[test]
    fn a_polecat_that_will_wait_for_an_image_is_told_how_to_get_one() {
        let sent = json!({"metadata": {"name": "max"}});
        let bare = Policy { no_agent_image: true, ..Policy::default() };
        let mut new = PolecatSpec { desired_state: DesiredState::Working, ..spec() };
        new.repository = Some(Repository::default());
        let said = |policy: Policy, new: &PolecatSpec, old: Option<&PolecatSpec>| {
            let asked = Asked { policy, ..asked(&sent, old.map(|_| &sent)) };
            admit(&Request { asked, new: new.clone(), old: old.cloned() }).warnings
        };
        let told = said(bare, &new, None);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains("AgentImageNotSet") && told[0].contains(pod::BUILD_AGENT));
        for (it, in_words) in [(true, "spec.agent.image"), (false, "spec.kubernetes.image")] {
            let told = fields::in_words_of(it, &told[0]);
            assert!(told.contains(in_words) && told.chars().count() <= 256, "{told}");
        }
        assert_eq!(said(Policy::default(), &new, None), [""; 0], "the operator has one");
        assert_eq!(said(bare, &new, Some(&new)), [""; 0], "it was told before");
        new.agent.image = Some("mine:1".into());
        assert_eq!(said(bare, &new, None), [""; 0], "it names one");
    }
}
