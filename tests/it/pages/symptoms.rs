//! Every symptom of docs/troubleshooting.md, with the test that brings it about, or why none does.

use std::fs;

use super::{
    commands::Held::{self, Long, Needs, Test},
    sources,
};
use crate::generated::top;

/// Beginnings of rows, in the order of the page.
const SYMPTOMS: &[(&str, Held)] = &[
    (
        "`Ready=False` with a reason",
        Test("a_pod_that_does_not_start_says_why_and_starts_when_it_is_mended"),
    ),
    (
        "`Ready=False/Paused`",
        Test("a_paused_namespace_begins_nothing_and_touches_nothing_that_runs"),
    ),
    (
        "no status at all, and `kubectl gt shards` names",
        Needs("replicas that are killed leave it for seconds, and tests wait for what comes after"),
    ),
    (
        "no status at all, and the log says `The Go original acts`",
        Test("while_it_changes_nothing_is_written_and_then_it_is_taken"),
    ),
    (
        "no status at all, all shards are owned",
        Needs("every world of the tests is that to the operators of the others beside it"),
    ),
    ("`Ready=False/Restored`", Test("an_export_of_a_finished_polecat_is_held_and_runs_when_told")),
    (
        "`Ready=Unknown/ControllerNotInThisRelease`",
        Test("every_sample_of_a_stored_kind_is_warned_about_and_says_so"),
    ),
    (
        "it is `Stuck` or `Done`",
        Test("idle_and_terminated_end_the_pod_and_working_again_is_a_new_attempt"),
    ),
    ("`Stuck/PodLost`", Test("a_lost_pod_is_stuck_and_said")),
    (
        "`Pushed=Unknown/MadeByOriginal`",
        Test("its_runs_are_judged_by_their_agents_and_none_is_run_twice"),
    ),
    ("`IdleTimeout`", Test("every_end_of_a_pod_reads_as_the_table_says")),
    ("`Stuck/TelemetryFailed`", Test("a_run_whose_telemetry_dies_is_ended_and_said")),
    ("`failed calling webhook", Test("a_healthy_installation_is_told_from_one_with_faults")),
    (
        "the same, with `x509:`",
        Needs("a rotation is held to never bring it about; its words are those of the API server"),
    ),
    (
        "`conversion webhook for gastown.gastown.io/v1alpha1",
        Test("while_the_webhook_is_down_the_stored_version_works_and_the_other_says_why_not"),
    ),
    (
        "`nobody converts … objects",
        Test("without_the_operator_nothing_is_written_and_everything_can_be_deleted"),
    ),
    (
        "`this object was read in another version than it is stored in",
        Test("what_was_relabelled_instead_of_converted_is_not_written"),
    ),
    (
        "`denied the request`",
        Test("the_git_credential_is_refused_at_the_door_and_who_asks_is_stamped"),
    ),
    (
        "`no review is as large as this`",
        Needs("more than an object can be; a test of the webhooks' doors holds the answer"),
    ),
    (
        "`storage is (re)initializing`",
        Needs("the API server's own, for moments: tests that change a definition ask again"),
    ),
    (
        "`it can't be served as v1alpha1",
        Test("no_object_keeps_others_from_reading_its_kind_in_the_other_version"),
    ),
    ("`exceeded quota", Test("a_quota_on_the_number_of_polecats_is_kept_by_the_api_server")),
    ("`… is forbidden", Test("a_person_with_edit_makes_polecats_at_home_alone")),
    (
        "not Ready, `/readyz` says",
        Needs(
            "a certificate ends by the time of day, which no test changes; a table holds the answer",
        ),
    ),
    (
        "not Ready, and its log says",
        Test("a_replica_whose_webhooks_do_not_answer_itself_is_not_ready_and_says_why"),
    ),
    (
        "not Ready, and it restarts",
        Test("what_comes_later_or_cannot_be_ends_the_start_with_a_word"),
    ),
    ("Ready, and `/shardz` answers 503", Needs("the answer while all is well is held")),
    ("no pods at all", Needs("the ReplicaSet's Events are the cluster's own")),
    ("metrics answer 401 or 403", Test("metrics_are_read_by_who_may_and_by_nobody_else")),
    (
        "no metrics",
        Long(
            "network_policies_let_through_what_the_operator_needs_and_nothing_else",
            "test-network",
        ),
    ),
    ("`conflict with", Test("a_healthy_installation_is_told_from_one_with_faults")),
    (
        "`spec.selector: … field is immutable`",
        Test("from_kustomize_to_helm_and_back_what_people_have_stays"),
    ),
    (
        "`invalid ownership metadata`",
        Test("from_kustomize_to_helm_and_back_what_people_have_stays"),
    ),
    (
        "`minAvailable and maxUnavailable",
        Test("one_file_takes_the_place_of_what_the_original_applied"),
    ),
    (
        "`status.storedVersions",
        Test("the_way_back_ends_where_the_originals_own_definitions_apply_again"),
    ),
    (
        "`kubectl delete` of a definition just made",
        Needs(
            "it comes about by a race, and takes minutes; `make uninstall` is held to list first",
        ),
    ),
    (
        "objects of v1alpha1 can't be read after `helm uninstall`",
        Test("helm_upgrades_a_release_of_the_original_and_leaves_the_definitions_when_it_goes"),
    ),
];

fn page() -> String {
    fs::read_to_string(top().join("docs/troubleshooting.md")).unwrap()
}

/// Rows of the page's tables, without their heads.
fn rows(page: &str) -> Vec<&str> {
    let rows = page.lines().filter_map(|it| it.strip_prefix("| "));
    rows.filter(|it| !it.starts_with("what one sees") && !it.starts_with("its words")).collect()
}

#[test]
fn every_symptom_is_brought_about_by_a_test_or_it_is_said_why_not() {
    let mut tests = Vec::new();
    sources(&top().join("tests/it"), "", &mut tests);
    let tests: String = tests.into_iter().map(|(_, text)| text).collect();
    let page = page();
    let rows = rows(&page);
    for (at, row) in rows.iter().enumerate() {
        let known = SYMPTOMS.get(at).filter(|it| row.starts_with(it.0));
        let (_, held) = known.unwrap_or_else(|| panic!("row {at} is not in the table: {row}"));
        match held {
            Test(name) | Long(name, _) => {
                assert!(tests.contains(&format!("fn {name}()")), "{row}: no {name}");
            }
            Needs(why) => assert!(!why.is_empty(), "{row}"),
        }
    }
    assert_eq!(rows.len(), SYMPTOMS.len(), "rows of the table that the page has not");
}

/// In brackets at a row's end, as files and folders below `tests/it`.
#[test]
fn tests_that_the_page_names_are_there() {
    let page = page();
    let mut count = 0;
    for row in rows(&page) {
        let last = row.trim_end_matches(" |").strip_suffix("`)");
        let Some((_, named)) = last.and_then(|it| it.rsplit_once('(')) else { continue };
        for name in named
            .split(['`', ',', ' '])
            .filter(|it| !it.is_empty() && !it.contains(['[', ']', '.', '#', '/']))
        {
            let there =
                ["", ".rs"].iter().any(|it| top().join(format!("tests/it/{name}{it}")).exists());
            assert!(there, "{row}: {name}");
            count += 1;
        }
    }
    assert!(count > 8, "they are found: {count}");
}
