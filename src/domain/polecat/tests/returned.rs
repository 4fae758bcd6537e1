//! Objects that came back, and specs that were edited under way.

use super::*;

#[test]
fn a_restored_polecat_waits_to_be_told() {
    let held = |origin| Brief { origin, created_at: Some(at(0)), ..polecat(DesiredState::Working) };
    let given = || Seen { whole: Some(Arc::new(whole())), ..seen() };
    for (origin, reason) in
        [(Origin::Backup, "True/RestoredFromBackup"), (Origin::Export, "True/RestoredFromExport")]
    {
        let mut it = held(origin);
        assert!(!it.begins() && !it.wants_pod(&seen()), "{reason}: nothing is read for it");
        let early = it.decide(&Seen { now: at(1), ..given() });
        assert_eq!(early.status, it.status, "{reason}: its status may still be on its way");
        assert_eq!(early.next, Next::After(Duration::from_secs(2)));
        let plan = it.decide(&given());
        assert_eq!(condition(&plan.status, "Restored"), reason);
        assert_eq!((plan.children.len(), plan.status.phase), (0, Phase::Idle), "{reason}");
        it.status = plan.status;
        assert_eq!(it.decide(&given()).status, it.status, "{reason}: said once");
        let told = Brief { origin: Origin::Resumed, ..it.clone() }.decide(&given());
        assert_eq!(condition(&told.status, "Restored"), "False/Released", "{reason}");
        assert_eq!((told.children.len(), told.status.attempt), (1, Some(1)), "{reason}");
        it.desired = DesiredState::Idle;
        it.status = it.decide(&given()).status;
        it.desired = DesiredState::Working;
        assert_eq!(it.decide(&given()).children.len(), 1, "{reason}: Idle and back");
    }
    let mut with_status = held(Origin::Backup);
    with_status.status = running().status;
    let lost = with_status.decide(&Seen { past: Past::NeverScheduled, ..given() });
    assert_eq!(condition(&lost.status, "Ready"), "False/PodLost", "its status says that it ran");
}

/// Taking labels off, or replacing the object by what a repository has, is no word that it shall run.
#[test]
fn one_that_is_held_stays_so_when_its_marks_are_taken_away() {
    let given = || Seen { whole: Some(Arc::new(whole())), past: Past::NeverScheduled, ..seen() };
    for origin in [Origin::Backup, Origin::Export] {
        let mut it = Brief { origin, created_at: Some(at(0)), ..polecat(DesiredState::Working) };
        it.status = it.decide(&given()).status;
        it.origin = Origin::New;
        assert!(!it.begins() && !it.wants_pod(&given()), "{origin:?}");
        assert_eq!(it.decide(&given()).status, it.status, "{origin:?}: and says the same");
        let told = Brief { origin: Origin::Told, ..it.clone() }.decide(&given());
        assert_eq!(condition(&told.status, "Restored"), "False/Released", "{origin:?}");
        assert_eq!(told.children.len(), 1, "{origin:?}");
        let mut idle = Brief { desired: DesiredState::Idle, ..it.clone() };
        idle.status = idle.decide(&given()).status;
        idle.desired = DesiredState::Working;
        assert_eq!(idle.decide(&given()).children.len(), 1, "{origin:?}: Idle and back");
        let mut again = Brief { origin, created_at: Some(at(5000)), ..it.clone() };
        let later = || Seen { now: at(6000), ..given() };
        again.status = again.decide(&later()).status; // restored once more, with that status
        again.origin = Origin::New;
        assert!(again.decide(&later()).children.is_empty(), "{origin:?}: said of this life too");
        let mut before = it;
        before.created_at = Some(at(5000)); // made anew, with that status and no mark
        let plan = before.decide(&Seen { now: at(6000), ..given() });
        assert_eq!(plan.children.len(), 1, "{origin:?}: what was said of another life");
    }
    let alone = Brief { origin: Origin::Told, ..polecat(DesiredState::Working) }.decide(&given());
    assert_eq!((alone.children.len(), condition(&alone.status, "Restored").as_str()), (1, ""));
}

#[test]
fn a_status_from_a_backup_does_not_tell_what_was_run_since() {
    let back = || Brief {
        origin: Origin::Backup,
        created_at: Some(at(0)),
        ..polecat(DesiredState::Working)
    };
    let given = || Seen { whole: Some(Arc::new(whole())), past: Past::NeverScheduled, ..seen() };
    // Begun when the backup was made: no Event of that pod came along.
    let mut it = Brief { status: begun().status, ..back() };
    assert!(!it.wants_pod(&given()));
    let lost = it.decide(&given());
    assert_eq!(
        (condition(&lost.status, "Ready").as_str(), lost.children.len()),
        ("False/PodLost", 0)
    );
    // About to begin its second attempt.
    it.status.phase = Phase::Idle;
    let held = it.decide(&given());
    assert_eq!(condition(&held.status, "Restored"), "True/RestoredFromBackup");
    assert!(held.children.is_empty() && held.notices[0].message.contains("knows of attempt 1"));
    it.status = held.status;
    for desired in [DesiredState::Idle, DesiredState::Terminated] {
        let mut it = Brief { desired, ..it.clone() };
        it.status = it.decide(&given()).status;
        assert_eq!(condition(&it.status, "Restored"), "False/Released", "{desired:?}");
        it.desired = DesiredState::Working;
        let begins = it.decide(&given());
        assert_eq!((begins.children.len(), begins.status.attempt), (1, Some(2)), "{desired:?}");
        // Killed between the intent and the pod: that attempt is of this life.
        it.status = begins.status;
        assert_eq!(it.decide(&given()).children.len(), 1, "{desired:?}");
    }
}

#[test]
fn a_word_that_a_backup_brought_along_was_for_the_life_before() {
    let given = || Seen { whole: Some(Arc::new(whole())), past: Past::NeverScheduled, ..seen() };
    let back = |created, status: &PolecatStatus| Brief {
        origin: Origin::Backup,
        created_at: Some(at(created)),
        status: status.clone(),
        ..polecat(DesiredState::Working)
    };
    let mut idle = back(0, &PolecatStatus::default());
    idle.desired = DesiredState::Idle;
    let released = idle.decide(&given()).status;
    assert_eq!(condition(&released, "Restored"), "False/Released");
    assert_eq!(
        back(0, &released).decide(&given()).children.len(),
        1,
        "in the life that it was for"
    );

    // That one was backed up, deleted, and comes back with its status.
    let later = || Seen { now: at(5000), ..given() };
    let mut again = back(4000, &released);
    assert!(!again.begins() && !again.wants_pod(&later()));
    let held = again.decide(&later());
    assert_eq!(condition(&held.status, "Restored"), "True/RestoredFromBackup");
    assert_eq!(held.children, []);
    again.status = held.status;
    let told = Brief { origin: Origin::Resumed, ..again }.decide(&later());
    assert_eq!(condition(&told.status, "Restored"), "False/Released", "and can be told anew");
    assert_eq!(told.children.len(), 1);

    // Told before anybody said that it is held: the old word takes the new one's time.
    let direct = Brief { origin: Origin::Resumed, ..back(4000, &released) }.decide(&later());
    let begun = Brief { status: direct.status, ..back(4000, &released) };
    assert_eq!(begun.decide(&later()).children.len(), 1, "its pod is made after a restart too");

    let mut working = released;
    (working.phase, working.attempt) = (Phase::Working, Some(1));
    let lost = back(4000, &working).decide(&later());
    assert_eq!(condition(&lost.status, "Ready"), "False/PodLost", "begun in the life before");
}

#[test]
fn a_word_of_this_life_counts_where_the_operators_clock_is_behind() {
    // The API server made the object two seconds later than it is here.
    let given = || Seen { whole: Some(Arc::new(whole())), past: Past::NeverScheduled, ..seen() };
    let back = |origin, desired| Brief { origin, created_at: Some(at(102)), ..polecat(desired) };
    let mut it = back(Origin::Backup, DesiredState::Idle);
    it.status = it.decide(&given()).status;
    assert_eq!(condition(&it.status, "Restored"), "False/Released");
    it.desired = DesiredState::Working;
    let later = Seen { now: at(200), ..given() };
    assert_eq!(it.decide(&later).children.len(), 1, "Idle and back");

    let mut told = back(Origin::Resumed, DesiredState::Working);
    told.status = told.decide(&given()).status;
    assert_eq!(condition(&told.status, "Restored"), "False/Released");
    told.origin = Origin::Backup; // the annotation was taken away
    assert_eq!(told.decide(&later).children.len(), 1, "its pod is made after a restart too");
}

#[test]
fn marks_on_an_object_say_how_it_came_back() {
    let of = |label: Option<&str>, annotations: &[(&str, &str)]| {
        let pair = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        let meta = kube::core::ObjectMeta {
            labels: label.map(|it| [pair((it, "x"))].into()),
            annotations: Some(annotations.iter().copied().map(pair).collect()),
            ..kube::core::ObjectMeta::default()
        };
        Origin::of(&meta)
    };
    let (from, resume) = ((names::RESTORED_FROM, "Done 1"), (names::RESUME, "true"));
    assert_eq!(of(None, &[resume]), Origin::Told, "the word alone");
    assert_eq!(of(Some(names::VELERO_RESTORE), &[]), Origin::Backup);
    assert_eq!(of(None, &[from]), Origin::Export);
    assert_eq!(of(None, &[from, resume]), Origin::Resumed);
    assert_eq!(of(None, &[from, (names::RESUME, "yes")]), Origin::Export, "only true");
}

#[test]
fn an_edited_spec_is_said_of_the_attempt_under_way_alone() {
    type Edit = fn(&mut v1beta1::Polecat);
    let now = || Seen { pod: Some(pod(PodPhase::Running)), ..seen() };
    let edited = |edit: Edit| {
        let mut it = whole();
        it.metadata.generation = Some(3);
        it.status = running().status;
        it.status.attempt_generation = Some(1);
        edit(&mut it);
        Brief { name: "max".into(), ..Brief::from(&it) }
    };
    #[rustfmt::skip]
    let table: [(Edit, &str, &str); 6] = [
        (|it| it.spec.task = Some("another".into()), "True/SpecChanged", "another task"),
        (|it| it.spec.agent.model = Some("m".into()), "True/SpecChanged", "another model"),
        (|_| {}, "", "Idle and back between two looks"),
        (|it| it.spec.limits.ttl_seconds_after_finished = Some(5), "", "takes effect at once"),
        (|it| it.spec.desired_state = DesiredState::Idle, "", "no attempt is under way any more"),
        (|it| { it.spec.task = Some("another".into()); it.metadata.generation = Some(1); }, "", "made from this very generation"),
    ];
    for (edit, want, because) in table {
        let plan = edited(edit).decide(&now());
        assert_eq!(condition(&plan.status, "SpecChanged"), want, "{because}");
    }
    let mut it = edited(|it| it.spec.task = Some("another".into()));
    it.status = it.decide(&now()).status;
    let done = it.decide(&Seen { pod: Some(pod(PodPhase::Succeeded)), ..seen() });
    assert_eq!(condition(&done.status, "SpecChanged"), "", "over: there is nothing to restart");
    it.status = done.status;
    assert_eq!(condition(&it.decide(&now()).status, "SpecChanged"), "", "nor later");
}
