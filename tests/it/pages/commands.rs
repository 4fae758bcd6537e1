//! Every command that a page tells people to run, with who executes it.

/// Who executes a command.
pub enum Held {
    /// The test of this name, which `make test` runs.
    Test(&'static str),
    /// The test of this name, which `make test` skips, and the target of make that runs it.
    Long(&'static str, &'static str),
    /// Nobody here: why it takes a cluster, a registry or a machine that tests have not.
    Needs(&'static str),
}
use Held::{Long, Needs, Test};

const KIND: &str = "a container engine";
/// Tests of several commands.
const SIGNED: &str = "a_release_is_verified_by_its_key_and_refused_once_anything_of_it_is_changed";
const CATALOG: &str = "a_catalog_is_made_of_a_bundle_in_a_registry_and_can_be_served";
const ASKED: &str = "a_registry_that_asks_who_comes_is_reached_by_one_file_of_credentials";
const UPGRADED: &str = "helm_upgrades_an_older_release_under_load_and_rolls_back";
const ONE_FILE: &str = "one_file_upgrades_an_older_one_under_load_and_goes_back";
const FIRST: &str = "one_file_takes_the_place_of_the_original_under_load_and_gives_it_back";
const OVER_A_RELEASE: &str =
    "helm_upgrades_the_originals_own_release_under_load_and_gives_way_to_it_again";
const HELM: &str =
    "helm_upgrades_a_release_of_the_original_and_leaves_the_definitions_when_it_goes";

/// Beginnings of commands as they stand behind a prompt, the first that fits.
pub const COMMANDS: &[(&str, Held)] = &[
    ("make demo", Needs("is a step of `.ci/run` by itself")),
    ("make test", Needs("is a step of `.ci/run` by itself")),
    ("make deploy", Test("make_deploy_brings_three_replicas_that_update_and_go_without_a_trace")),
    ("make undeploy", Test("deploy_applies_an_edition_and_undeploy_leaves_what_people_have")),
    ("make uninstall", Test("install_installs_and_uninstall_asks_first")),
    ("make docker-build DPR_REGISTRY", Needs("a registry with the bases")),
    ("make docker-build", Test("both_editions_are_built_and_are_what_their_files_say")),
    ("make docker-push", Long(SIGNED, "test-sign")),
    ("make verify-release", Long(SIGNED, "test-sign")),
    ("cosign verify ", Long(SIGNED, "test-sign")),
    ("make toolchain-image", Needs("a registry with the bases")),
    ("buildah login ", Needs("a registry with accounts")),
    ("export REGISTRY_AUTH_FILE", Long(ASKED, "test-bundle")),
    ("make agent-image", Test("an_agent_is_added_to_the_base_and_any_user_of_group_0_runs_it")),
    ("make bundle PUSHED=yes", Long(CATALOG, "test-bundle")),
    ("make bundle ", Test("a_bundle_of_a_release_names_digests_everywhere")),
    ("make bundle-push", Long(CATALOG, "test-bundle")),
    ("make catalog", Long(CATALOG, "test-bundle")),
    ("make chart", Long("a_chart_is_pushed_and_noted_for_who_signs", "test-bundle")),
    ("make plugin", Test("the_plugin_is_the_program_of_the_runners_image_and_krew_finds_it")),
    (
        "deploy/mirror/mirror-ci-images.sh",
        Test("images_are_mirrored_by_digest_where_there_is_one_and_what_is_missing_is_listed"),
    ),
    ("kubectl gt doctor", Test("a_healthy_installation_is_told_from_one_with_faults")),
    (
        "kubectl gt pause namespace",
        Test("a_paused_namespace_begins_nothing_and_touches_nothing_that_runs"),
    ),
    (
        "kubectl gt resume namespace",
        Test("a_paused_namespace_begins_nothing_and_touches_nothing_that_runs"),
    ),
    ("kubectl gt pause rig", Test("a_paused_rig_holds_its_own_polecats_alone")),
    (
        "kubectl gt shards",
        Test("a_person_sees_the_shards_and_splits_one_when_the_last_change_is_done"),
    ),
    (
        "kubectl gt storage",
        Test("the_way_back_ends_where_the_originals_own_definitions_apply_again"),
    ),
    ("kubectl gt check", Test("the_exit_code_says_allowed_refused_or_bad_input")),
    ("helm template x", Test("the_exit_code_says_allowed_refused_or_bad_input")),
    ("kubectl gt log-level", Test("the_log_level_is_changed_and_changed_back_without_a_restart")),
    (
        "kubectl -n gastown-operator-system annotate shardmap gastown",
        Needs("writes by hand what `kubectl gt log-level` writes"),
    ),
    (
        "kubectl -n gastown-operator-system get shardmap gastown",
        Test("metrics_say_what_is_owned_by_nobody"),
    ),
    (
        "kubectl -n gastown-operator-system wait shardmap/gastown --for=condition=AllOwned",
        Test("metrics_say_what_is_owned_by_nobody"),
    ),
    (
        "kubectl -n gastown-operator-system delete shardmap gastown",
        Test("a_map_that_is_put_back_stops_who_acts_by_a_newer_one_until_it_is_deleted"),
    ),
    ("kubectl gt report", Test("a_report_has_what_helps_and_no_secret")),
    ("oc adm must-gather", Needs("OpenShift")),
    ("kubectl get events --field-selector involvedObject.kind=ShardMap", Needs("reads a cluster")),
    (
        "kubectl annotate namespace team-a gastown.io/shard",
        Test("a_map_changes_by_one_version_at_a_time"),
    ),
    (
        "kubectl apply -f deploy/priority/flowschemas.yaml",
        Needs("is part of every road; a test of the shards applies them"),
    ),
    ("kubectl -n gastown-operator-system set env", Needs("a cluster with the operator in pods")),
    ("kubectl get polecat max -o jsonpath", Needs("a run of one's own to look at")),
    (
        "kubectl gt trace",
        Test(
            "a_run_is_shown_by_its_name_or_commit_from_the_api_or_from_what_speaks_as_jaeger_does",
        ),
    ),
    (
        "kubectl -n gastown-operator-system annotate --overwrite secret",
        Test("no_call_fails_while_certificates_are_rotated"),
    ),
    (
        "kubectl -n gastown-operator-system delete secret gastown-operator-webhook-certificates",
        Test("whatever_happens_to_the_certificates_is_put_right"),
    ),
    ("kubectl gt ", Needs("runs of one's own to look at")),
    ("kubectl get polecats", Needs("is what `make demo` prints")),
    ("kubectl -n town get polecats", Needs("is what `make demo` prints")),
    (
        "kubectl annotate polecat furiosa gastown.io/resume",
        Test("an_export_of_a_finished_polecat_is_held_and_runs_when_told"),
    ),
    (
        "kubectl -n town apply -f deploy/optional/missing-secrets.yaml",
        Test("a_missing_secret_is_told_with_its_line_where_a_role_lets_the_operator_look"),
    ),
    (
        "kubectl -n town apply -f polecat.yaml",
        Test("a_missing_secret_is_told_with_its_line_where_a_role_lets_the_operator_look"),
    ),
    (
        "kubectl label namespace town gastown.io/pod-security",
        Test("a_labelled_namespace_lets_in_what_can_be_mended_and_refuses_the_rest_in_words"),
    ),
    ("cat kustomization.yaml", Needs("shows a file")),
    ("cat kept.yaml", Test("the_pages_patch_keeps_definitions_and_what_keeps_objects_whole")),
    (
        "tail -n 3 kustomization.yaml",
        Test("the_pages_patch_keeps_definitions_and_what_keeps_objects_whole"),
    ),
    (
        "kubectl apply --server-side --force-conflicts -k .",
        Needs("a cluster; `make deploy` does the same with an overlay of its own"),
    ),
    ("sed -e ", Long(ONE_FILE, "test-upgrade")),
    (
        "sed s/gastown-operator-system/NAMESPACE/ ",
        Test("the_policies_of_the_network_that_the_page_applies_fit_the_pods_that_olm_makes"),
    ),
    (
        "sed 's|image: gastown-operator:|image: registry.example.com/gastown-operator:|; s|value: gastown-runner:|value: registry.example.com/gastown-runner:|' deploy/install.yaml >",
        Long(FIRST, "test-upgrade"),
    ),
    ("deploy/first.sh ", Long(FIRST, "test-upgrade")),
    ("kubectl apply --server-side --force-conflicts -f gastown.yaml", Long(FIRST, "test-upgrade")),
    ("helm template gastown-operator ", Long(OVER_A_RELEASE, "test-upgrade")),
    (
        "helm upgrade gastown-operator charts/gastown-operator --wait",
        Long(OVER_A_RELEASE, "test-upgrade"),
    ),
    ("sed ", Test("one_file_takes_the_place_of_what_the_original_applied")),
    ("helm rollback ", Long(UPGRADED, "test-upgrade")),
    (
        "helm install gastown-operator oci://",
        Long("a_chart_is_installed_from_the_registry_that_it_was_pushed_to", "test-bundle"),
    ),
    (
        "helm install gastown-operator charts/gastown-operator --namespace gastown-operator-system --take-ownership",
        Test("from_kustomize_to_helm_and_back_what_people_have_stays"),
    ),
    ("helm install gastown-operator charts/gastown-operator ", Test(HELM)),
    ("helm upgrade RELEASE charts/gastown-operator ", Test(HELM)),
    (
        "helm upgrade gastown-operator charts/gastown-operator --namespace gastown-operator-system --wait",
        Long(UPGRADED, "test-upgrade"),
    ),
    ("helm upgrade gastown-operator charts/gastown-operator ", Test(HELM)),
    (
        "helm upgrade gastown-operator oci://",
        Needs("a release of a registry's chart; installing from one and upgrading are tried each"),
    ),
    ("helm uninstall gastown-operator ", Test(HELM)),
    ("kind ", Needs(KIND)),
    ("kubectl -n town create secret docker-registry", Needs("a registry that asks who pulls")),
    ("kubectl -n town patch serviceaccount default", Needs("a registry that asks who pulls")),
    ("make install run", Needs("a cluster that reaches the reader's machine")),
    (
        "cargo build --locked --release --bin kubectl-gt",
        Test("a_healthy_installation_is_told_from_one_with_faults"),
    ),
    ("install target/release/kubectl-gt", Needs("a folder on the reader's `PATH`")),
    (
        "mkdir -p target",
        Test("archives_for_kind_are_made_in_a_fresh_clone_and_again_after_a_change"),
    ),
    ("buildah push ", Test("archives_for_kind_are_made_in_a_fresh_clone_and_again_after_a_change")),
    (
        "kubectl -n town create secret generic git-",
        Test("typed_secrets_and_every_form_of_address_push"),
    ),
    ("kubectl -n town create configmap trusted-ca", Needs("OpenShift, which fills it in")),
    ("kubectl -n town label configmap trusted-ca", Needs("OpenShift, which fills it in")),
    (
        "kubectl -n gastown-operator-system create serviceaccount reader",
        Test("metrics_are_read_by_who_may_and_by_nobody_else"),
    ),
    (
        "kubectl create clusterrolebinding reader",
        Test("metrics_are_read_by_who_may_and_by_nobody_else"),
    ),
    (
        "kubectl -n gastown-operator-system port-forward",
        Needs("a cluster with the operator in pods"),
    ),
    ("curl ", Test("metrics_are_read_by_who_may_and_by_nobody_else")),
    ("kubectl apply -k deploy/monitoring", Test("the_chart_monitors_as_kustomize_does")),
    (
        "kubectl -n gastown-operator-system scale deployment",
        Needs("a cluster with the operator in pods"),
    ),
    ("kubectl -n gastown-operator-system get lease", Needs("a cluster with the original")),
    (
        "kubectl apply --server-side --force-conflicts -f crds/",
        Test("the_crds_apply_client_side_and_then_server_side"),
    ),
    ("kubectl delete witnesses,refineries", Needs("a cluster with the original's objects")),
    (
        "cargo run --bin manifests -- --storage-version",
        Test("definitions_that_are_written_to_store_v1alpha1_lead_back_as_well"),
    ),
    ("kubectl get crd -o custom-columns", Needs("reads a cluster")),
    (
        "kubectl -n gastown-operator-system delete poddisruptionbudget",
        Test("one_file_takes_the_place_of_what_the_original_applied"),
    ),
    (
        "kubectl -n gastown-operator-system delete deployment",
        Test("from_kustomize_to_helm_and_back_what_people_have_stays"),
    ),
    ("kubectl -n NAMESPACE delete subscriptions.operators.coreos.com", Needs("OLM")),
    ("kubectl -n NAMESPACE delete clusterserviceversions.operators.coreos.com", Needs("OLM")),
    (
        "kubectl delete mutatingwebhookconfigurations,validatingwebhookconfigurations",
        Test("what_olm_leaves_is_taken_over_by_helm_and_by_kustomize"),
    ),
    ("kubectl delete -k deploy/policies", Test("what_olm_leaves_goes_with_the_definitions")),
    (
        "kubectl replace -f config/crd/bases",
        Test("a_release_gives_way_to_one_of_the_original_again"),
    ),
    (
        "kubectl delete validatingadmissionpolic",
        Test("a_release_gives_way_to_one_of_the_original_again"),
    ),
    ("kubectl label namespace gastown-operator-system", Needs("a cluster with a release")),
    ("for it in $(kubectl get crd", Test(HELM)),
];
