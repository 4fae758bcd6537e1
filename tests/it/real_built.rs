//! What both Dockerfiles make, built by `make docker-build` on a base of this machine's own Debian, on the real node: loaded as a
//! file, deployed by make, ready, and doing a run; then the other edition in its place. It takes minutes, so `make test-images`
//! asks for it (`GASTOWN_BUILT=1`).

use std::fs;

use gastown::manifests::NAMESPACE;
use gastown_testbed::{Node, Options, Testbed, preconditions};

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

/// Every replica is of that edition and answers for itself.
async fn all_are_ready(kubectl: &Kubectl, edition: &str) {
    let of =
        "-o=jsonpath={range .items[*]}{.metadata.name} {.spec.containers[0].image}{\"\\n\"}{end}";
    let live = "--field-selector=status.phase=Running";
    let pods = kubectl.said(&["-n", NAMESPACE, "get", "pods", live, of]).await;
    let image = format!("localhost/gastown-operator:{edition}");
    let ours: Vec<_> = pods.lines().filter(|it| it.ends_with(&image)).collect();
    assert_eq!(ours.len(), 3, "{edition}: {pods}");
    for pod in ours {
        let name = pod.split(' ').next().unwrap();
        let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/{name}:8081/proxy/readyz");
        kubectl.said(&["get", "--raw", &path]).await; // an answer below 400, or kubectl fails
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
    let dist = dist(folder.path(), &program, &top().join("target/static/gt-runner"));

    let bed = Testbed::start(Options { node: Node::Real, ..Options::default() }).await.unwrap();
    let kubectl = Kubectl::admin(&bed);
    let client = bed.client("user-built").await.unwrap();
    bed.make_namespace(TOWN, &[]).await.unwrap();
    make_references(&client, TOWN, bed.git.as_ref().unwrap()).await;
    for (edition, name) in [("community", "max"), ("enterprise", "nux")] {
        build(&bed, &store, &dist, edition).await;
        let image = format!("IMG=localhost/gastown-operator:{edition}");
        let edition_of = format!("EDITION={edition}");
        // The runner's is named after it, as it was built.
        let deploy = ["deploy", "--assume-old=manifests", &edition_of, &image];
        makes(&bed, &[&deploy[..], &["AGENT_IMG=localhost/agent:dev"]].concat()).await;
        all_are_ready(&kubectl, edition).await;
        runs(&bed, &client, TOWN, name).await;
    }
    asks_for_what_it_may(&bed).await;
    bed.stop().await.unwrap();
}
