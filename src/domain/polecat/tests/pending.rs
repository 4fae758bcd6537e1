//! Pods that do not start, and what their Events say of that.

use super::*;

#[test]
fn a_pod_that_says_nothing_has_its_events_read_once_and_once_more_later() {
    let settings = seen().settings;
    let silent = |age: i32| PodBrief {
        created_at: Some(at(100 - i64::from(age))),
        ..pod(PodPhase::Pending)
    };
    let due = |age, read| {
        let due = begun().reports_due(&silent(age), read, &settings, at(100));
        due.map(|it| it.as_secs())
    };
    assert_eq!([due(0, 0), due(4, 0), due(12, 0)], [Some(10), Some(6), Some(0)]);
    assert_eq!([due(12, 1), due(160, 1)], [Some(148), Some(0)]);
    assert_eq!(due(900, 2), None, "by then nobody will say anything");
    assert_eq!(due(900, u32::MAX), None, "they have spoken");
    let running = begun().reports_due(&pod(PodPhase::Running), 0, &settings, at(100));
    assert_eq!(running, None, "a pod that runs is not asked about");
    let again = Some(Duration::from_secs(8));
    let waits = Seen { pod: Some(silent(12)), reports: Reports { told: None, again }, ..seen() };
    assert_eq!(begun().decide(&waits).next, Next::After(Duration::from_secs(8)));
}

#[test]
fn a_pod_that_gets_its_node_late_has_its_events_read_after_that() {
    let settings = seen().settings;
    let mut late = PodBrief { created_at: Some(at(0)), ..pod(PodPhase::Pending) };
    late.moments.scheduled = u32::try_from(at(170).as_second()).unwrap();
    let due = |now, read| {
        let due = begun().reports_due(&late, read, &settings, at(now));
        due.map(|it| it.as_secs())
    };
    assert_eq!([due(171, 0), due(180, 0)], [Some(9), Some(0)], "not by the age of the pod");
    assert_eq!([due(180, 1), due(330, 1)], [Some(150), Some(0)], "nor the second time");
}

#[test]
fn what_events_said_is_told_again_until_the_status_carries_it() {
    let settings = seen().settings;
    let silent = PodBrief { created_at: Some(at(80)), ..pod(PodPhase::Pending) };
    let told = Some(Cause::new("SecretMissing", "Secret llm is not there"));
    let reports = Reports { told, again: None };
    let told = Seen { pod: Some(silent.clone()), reports, ..seen() };
    let mut it = begun();
    let lost = it.decide(&told);
    assert_eq!(condition(&lost.status, "Ready"), "False/SecretMissing");
    // That status could not be written.
    assert!(it.lacks_reason(&silent, &settings, at(100)), "it is to be told again");
    let written = it.decide(&told);
    assert_eq!(condition(&written.status, "Ready"), "False/SecretMissing");
    it.status = written.status;
    assert!(!it.lacks_reason(&silent, &settings, at(100)), "its status says it");
    let later = it.decide(&Seen { pod: Some(silent), ..seen() });
    assert_eq!(condition(&later.status, "Ready"), "False/SecretMissing", "and goes on to");
}
