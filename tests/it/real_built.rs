//! What both Dockerfiles make, built by `make docker-build` on a base of this machine's own Debian, on the real node: loaded as a
//! file, deployed by make, ready, and doing a run; then the other edition in its place, with its own programs where `make test-fips`
//! has built them. It takes minutes, so `make test-images` asks for it (`GASTOWN_BUILT=1`).

use std::{fs, path::Path};

use gastown::manifests::NAMESPACE;
use gastown_testbed::{Node, Options, Testbed, preconditions};
use serde_json::Value;

use crate::{
    generated::top,
    images::{Store, base, dist},
    kubectl::Kubectl,
    preconditions::{release_binary, skip},
    real_deployed::{asks_for_what_it_may, makes, runs},
    real_node::make_references,
};

const TOWN: &str = "built";

/// Builds operator and runner of an edition, and gives them to the node as the page on kind does to its.
async fn build(bed: &Testbed, store: &Store, dist: &str, edition: &str) {
    let image = |name: &str| format!("localhost/gastown-{name}:{edition}");
    store.build(edition, dist, ("TARGETS=operator runner", &image("operator")));
    for name in ["operator", "runner"] {
        let archive = store.folder.path().join(format!("{name}-{edition}.tar"));
        let (image, path) = (image(name), archive.display());
        store.run(&["push", "--quiet", &image, &format!("docker-archive:{path}:{image}")]);
        bed.load_images(&archive).await.unwrap();
        fs::remove_file(&archive).unwrap();
    }
}

/// The folder of what goes into an edition's images, as seen from the checkout; and whether its cryptography is the FIPS module's.
fn programs(test: &str, folder: &Path, edition: &str, release: &Path) -> (String, bool) {
    let fips = top().join("target/fips/release");
    let [operator, runner, plugin] =
        ["gastown-operator", "gt-runner", "kubectl-gt"].map(|it| fips.join(it));
    let is_own =
        edition == "enterprise" && [&operator, &runner, &plugin].iter().all(|it| it.exists());
    if is_own {
        let built = fs::metadata(&operator).unwrap().modified().unwrap().elapsed().unwrap();
        let at = operator.display();
        eprintln!("{test}: Enterprise holds {at}, built {} s ago", built.as_secs());
        return (dist(&folder.join(edition), [&operator, &runner, &plugin]), true);
    }
    if edition == "enterprise" {
        skip(
            test,
            "fips",
            "Enterprise holds Community's programs; `make test-fips` builds its own",
        );
    }
    let runner = top().join("target/static/gt-runner");
    let plugin = Path::new(env!("CARGO_BIN_EXE_kubectl-gt"));
    (dist(&folder.join(edition), [release, &runner, plugin]), false)
}

/// Every replica is of that edition, answers for itself and has said which cryptography it uses.
async fn all_are_ready(kubectl: &Kubectl, edition: &str, fips: bool) {
    let of =
        "-o=jsonpath={range .items[*]}{.metadata.name} {.spec.containers[0].image}{\"\\n\"}{end}";
    let running = "--field-selector=status.phase=Running";
    let pods = kubectl.said(&["-n", NAMESPACE, "get", "pods", running, of]).await;
    let image = format!("localhost/gastown-operator:{edition}");
    let ours: Vec<_> = pods.lines().filter(|it| it.ends_with(&image)).collect();
    assert_eq!(ours.len(), 3, "{edition}: {pods}");
    for pod in ours {
        let name = pod.split(' ').next().unwrap();
        let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/{name}:8081/proxy/readyz");
        kubectl.said(&["get", "--raw", &path]).await; // an answer below 400, or kubectl fails
        let lines = kubectl.said(&["-n", NAMESPACE, "logs", name]).await;
        let line = lines.lines().find(|it| it.contains("Using cryptography")).unwrap();
        let said: Value = serde_json::from_str(line).unwrap();
        assert_eq!(said["fips"], fips, "{edition}: {line}");
    }
}

#[tokio::test]
async fn images_of_both_editions_are_deployed_answer_and_do_a_run() {
    const TEST: &str = "images_of_both_editions_are_deployed_answer_and_do_a_run";
    if std::env::var_os("GASTOWN_BUILT").is_none_or(|it| it != "1") {
        return skip(TEST, "built", "GASTOWN_BUILT is not 1 (make test-images)");
    }
    if !preconditions::allow(TEST, Node::Real).unwrap() {
        return;
    }
    let Some(program) = release_binary(TEST) else { return };
    let Some(store) = Store::new(TEST) else { return };
    base(&store, &program);
    let folder = top().join("target/dist");
    fs::create_dir_all(&folder).unwrap();
    let folder = tempfile::tempdir_in(folder).unwrap();

    let bed = Testbed::start(Options { node: Node::Real, ..Options::default() }).await.unwrap();
    let kubectl = Kubectl::admin(&bed);
    let client = bed.client("user-built").await.unwrap();
    bed.make_namespace(TOWN, &[]).await.unwrap();
    make_references(&client, TOWN, bed.git.as_ref().unwrap()).await;
    for (edition, name) in [("community", "max"), ("enterprise", "nux")] {
        let (dist, fips) = programs(TEST, folder.path(), edition, &program);
        build(&bed, &store, &dist, edition).await;
        let image = format!("IMG=localhost/gastown-operator:{edition}");
        let edition_of = format!("EDITION={edition}");
        // The runner's is named after it, as it was built.
        let deploy = ["deploy", "--assume-old=manifests", &edition_of, &image];
        makes(&bed, &[&deploy[..], &["AGENT_IMG=localhost/agent:dev"]].concat()).await;
        all_are_ready(&kubectl, edition, fips).await;
        runs(&bed, &client, TOWN, name).await;
    }
    asks_for_what_it_may(&bed).await;
    bed.stop().await.unwrap();
}
