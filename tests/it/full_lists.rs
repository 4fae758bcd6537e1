//! Many full lists at once through the shipped binary in a control group of 512 MiB: it holds as much as it has room for, asks
//! the API server to come again for the rest, and nobody's list fails.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use gastown_testbed::{Operator, OperatorOptions, Options, Testbed};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use serde_json::json;

use crate::{
    asking::answered,
    preconditions,
    versions::{api, bead_store, object},
};

const TOWN: &str = "town";
const LISTS: usize = 8;
const LIMIT: usize = 512 << 20;
/// 7.5 kB each.
const FILLER: usize = 7000;
const AT_ONCE: usize = 16;

/// Objects of a list. `GASTOWN_FULL_LISTS` says otherwise.
fn crowd() -> usize {
    std::env::var("GASTOWN_FULL_LISTS")
        .map_or(5000, |it| it.parse().expect("a number in GASTOWN_FULL_LISTS"))
}

/// A control group with this limit, taken away at the end.
struct Group(PathBuf);

impl Group {
    /// Where memory is limited by groups, and we may make one.
    fn make(name: &str) -> Result<Self, String> {
        let roots = ["/sys/fs/cgroup/memory", "/sys/fs/cgroup"].map(Path::new);
        let files = ["memory.limit_in_bytes", "memory.max"];
        for (root, file) in roots.iter().zip(files) {
            let path = root.join(name);
            if root.join("cgroup.procs").exists() && fs::create_dir(&path).is_ok() {
                let group = Self(path);
                let said = fs::write(group.0.join(file), LIMIT.to_string());
                return said.map(|()| group).map_err(|it| format!("no limit of memory: {it}"));
            }
        }
        Err("no control group with a limit of memory can be made".into())
    }

    /// A figure of it, by its name in the first or the second version.
    fn figure(&self, names: [&str; 2]) -> usize {
        let read = |it: &str| fs::read_to_string(self.0.join(it)).ok();
        names.into_iter().find_map(read).and_then(|it| it.trim().parse().ok()).unwrap_or_default()
    }

    fn killed(&self) -> bool {
        let text = ["memory.oom_control", "memory.events"]
            .map(|it| fs::read_to_string(self.0.join(it)).unwrap_or_default())
            .concat();
        text.lines().any(|it| it.strip_prefix("oom_kill ").is_some_and(|it| it != "0"))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The kernel gives a group up a moment after its last process, and tells nobody.
        for _ in 0..500 {
            if fs::remove_dir(&self.0).is_ok() || !self.0.exists() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

async fn start_within(bed: &Testbed, group: &Group, program: &Path) -> Operator {
    let script = bed.dir.join("within.sh");
    let text = format!(
        "#!/bin/sh\nset -e\necho $$ > {}/cgroup.procs\nexec {} \"$@\"\n",
        group.0.display(),
        program.display()
    );
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let options = OperatorOptions {
        program: Some(script),
        name: "within".into(),
        flags: vec!["--watch-namespaces=nobody".into()],
        ..OperatorOptions::default()
    };
    let operator = Operator::start(bed, options).await.unwrap();
    operator.wait_ready().await.unwrap();
    operator
}

/// Makes this one convert the kind from now on.
async fn convert_by(client: &Client, operator: &Operator) {
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    let kind = bead_store();
    let by = json!({"spec": {"conversion": {"webhook": {"clientConfig": {
        "url": format!("{}/convert", operator.webhook), "caBundle": STANDARD.encode(&operator.authority),
    }}}}});
    let name = format!("{}.{}", kind.plural, kind.group);
    crds.patch(&name, &PatchParams::default(), &Patch::Merge(by)).await.unwrap();
}

async fn fill(client: &Client, count: usize) {
    let stores = api(client, TOWN, bead_store(), "v1beta1");
    let spec = json!({"rigRef": {"name": "greeter"}, "prefix": "gt-", "syncIntervalSeconds": 7});
    let numbers = futures::stream::iter(0..count);
    futures::StreamExt::for_each_concurrent(numbers, AT_ONCE, |number| {
        let (stores, spec) = (stores.clone(), spec.clone());
        async move {
            let mut made = object(bead_store(), "v1beta1", &format!("beads-{number}"), &spec);
            made.metadata.annotations = Some([("filler".into(), "x".repeat(FILLER))].into());
            answered("the cache of the kind", async || {
                match stores.create(&PostParams::default(), &made).await {
                    Err(kube::Error::Api(it)) if it.code == 429 => None,
                    other => Some(other.unwrap()),
                }
            })
            .await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_full_lists_at_once_in_512_mib_and_none_fails() {
    let me = "eight_full_lists_at_once_in_512_mib_and_none_fails";
    let Some(program) = preconditions::release_binary(me) else { return };
    let group = match Group::make(&format!("gastown-full-lists-{}", std::process::id())) {
        Ok(group) => group,
        Err(why) => return preconditions::skip(me, "cgroup", &why),
    };
    let bed = Testbed::start(Options::default()).await.unwrap();
    bed.install_crds().await.unwrap();
    bed.make_namespace(TOWN, &[]).await.unwrap();
    let client = bed.client("user").await.unwrap();
    let operator = start_within(&bed, &group, &program).await;
    convert_by(&client, &operator).await;
    fill(&client, crowd()).await;
    // One in the cold, so that the API server knows the new address.
    let stores = api(&client, TOWN, bead_store(), "v1alpha1");
    let few = ListParams::default().limit(1);
    answered("the kind to be served", async || stores.list(&few).await.ok()).await;

    let began = Instant::now();
    let lists = (0..LISTS).map(|_| {
        let stores = stores.clone();
        tokio::spawn(async move { stores.list(&ListParams::default()).await })
    });
    for list in futures::future::join_all(lists).await {
        let list = list.unwrap().unwrap_or_else(|why| panic!("{why}\n{}", peak(&group)));
        assert_eq!(list.items.len(), crowd());
        let said = list.items.iter().all(|it| it.data["spec"]["syncInterval"] == "7s");
        assert!(said, "{:?}", list.items.first());
    }
    eprintln!("{LISTS} lists of {} in {:.1?}; {}", crowd(), began.elapsed(), peak(&group));
    assert!(!group.killed(), "the kernel killed it");
    assert_eq!(operator.ended(), None, "it is the same process");
    drop(operator);
    bed.stop().await.unwrap();
}

fn peak(group: &Group) -> String {
    let peak = group.figure(["memory.max_usage_in_bytes", "memory.peak"]);
    let refused = group.figure(["memory.failcnt", "memory.swap.current"]);
    format!("{} MiB of {} at most, the limit was met {refused} times", peak >> 20, LIMIT >> 20)
}
