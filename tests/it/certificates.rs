//! Certificates of our own authority, with three replicas behind one Service: rotated without a failed call, and put right
//! whatever happens to them. Callers come with a new connection each time and trust what some API server may still trust.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use gastown::{
    api::v1alpha1::Polecat,
    cluster::certificates::WISH,
    domain::certificates::{Book, Phase, consumers::Target},
    kinds::convertible,
    manifests,
    tls::{check::certificates, mint::ForNames},
};
use gastown_testbed::{
    Node, Options, Testbed, audit::Event, http_get, manifests as bed_manifests,
    watch::await_condition,
};
use k8s_openapi::{
    ByteString,
    api::{admissionregistration::v1::ValidatingWebhookConfiguration, core::v1::Secret},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, PostParams},
    core::{ApiResource, DynamicObject, GroupVersionKind},
};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, pki_types::ServerName};
use serde_json::json;

use crate::{
    asking::{all_are_named, answered, comes_true},
    preconditions::skip,
    tracing::collector::{Collector, Span},
    world::{PATIENCE, is_judged, polecat},
};

const TOWN: &str = "gastown-operator-system";
const DEFINITION: &str = "polecats.gastown.gastown.io";
const PLURAL: &str = "polecats";

/// Three replicas with an authority of their own; none where Services lead nowhere.
struct Hall {
    bed: Testbed,
    client: Client,
}

impl Hall {
    async fn open(test: &str, retire: u64, more: &[String]) -> Option<Self> {
        let own = "--webhook-cert-source=own".to_owned();
        let retire = format!("--test-retire-seconds={retire}");
        let options = Options {
            node: Node::None,
            replicas: 3,
            operator_flags: [own, retire, "--test-settle-seconds=1".to_owned()]
                .into_iter()
                .chain(more.iter().cloned())
                .collect(),
            ..Options::default()
        };
        let bed = Testbed::start(options).await.unwrap();
        if !bed.enclosed {
            skip(test, "root", "without namespaces of its own a Service leads nowhere");
            return None;
        }
        let client = bed.client("admin").await.unwrap();
        let hall = Self { bed, client };
        hall.works("the first certificate to be trusted").await;
        Some(hall)
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), TOWN)
    }

    async fn secret(&self) -> Option<Secret> {
        self.secrets().get_opt(manifests::CERTIFICATES).await.unwrap()
    }

    /// What the Secret holds, if it is whole.
    async fn book(&self) -> Option<Book> {
        let data = self.secret().await?.data?;
        let book: Book = serde_json::from_slice(&data.get("book.json")?.0).ok()?;
        let whole = data.get("tls.crt")?.0 == book.chain().into_bytes()
            && data.get("tls.key")?.0 == book.leaf.key.0.clone().into_bytes();
        whole.then_some(book)
    }

    /// Whether a write is judged: through the API server, whatever replica it asks.
    async fn judged(&self) -> bool {
        is_judged(&self.client, TOWN).await
    }

    async fn works(&self, what: &str) {
        comes_true(what, async || self.judged().await).await;
    }

    /// What every webhook and every conversion says of whom to trust.
    async fn bundles(&self) -> Vec<Option<Vec<u8>>> {
        let mut all = Vec::new();
        for (sort, name) in CONFIGURATIONS {
            let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &configurations(sort));
            let data = api.get(name).await.unwrap().data;
            let hooks = data["webhooks"].as_array().unwrap().iter();
            all.extend(hooks.map(|it| of_config(&it["clientConfig"])));
        }
        for name in convertible() {
            let api: Api<CustomResourceDefinition> = Api::all(self.client.clone());
            let definition = serde_json::to_value(api.get(&name).await.unwrap()).unwrap();
            all.push(of_config(&definition["spec"]["conversion"]["webhook"]["clientConfig"]));
        }
        all
    }

    /// The bundles that are published, of the configuration and of a definition.
    async fn published(&self) -> [Option<Vec<u8>>; 2] {
        let api: Api<ValidatingWebhookConfiguration> = Api::all(self.client.clone());
        let configuration = api.get(manifests::VALIDATING).await.unwrap();
        let hook = configuration.webhooks.unwrap_or_default().into_iter().next();
        let api: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        let conversion = api.get(DEFINITION).await.unwrap().spec.conversion.unwrap();
        let config = conversion.webhook.and_then(|it| it.client_config);
        let of_hook = hook.and_then(|it| it.client_config.ca_bundle);
        let of_definition = config.and_then(|it| it.ca_bundle);
        [of_hook, of_definition].map(|it| it.map(|it| it.0))
    }

    async fn wish(&self, wish: &str) {
        let patch = Patch::Merge(json!({"metadata": {"annotations": {WISH: wish}}}));
        let params = PatchParams::default();
        self.secrets().patch(manifests::CERTIFICATES, &params, &patch).await.unwrap();
    }

    /// Puts a book into the Secret that was made so many days from now, for these names; its chain.
    async fn keep_book_of(&self, names: &[String], days: i64) -> String {
        let mint = ForNames { names: names.to_vec(), leaf_life: None };
        let now = k8s_openapi::jiff::Timestamp::now().as_second() + days * 24 * 3600;
        let last = self.book().await.unwrap().authority.generation;
        let book = Book::new(&mint, last + 1, now).unwrap();
        let whole = serde_json::to_string(&book).unwrap();
        let parts = [
            ("tls.crt", book.chain()),
            ("tls.key", book.leaf.key.0.clone()),
            ("ca.crt", book.bundle()),
            ("book.json", whole),
        ];
        let text = |it: &String| ByteString(it.clone().into_bytes());
        self.replace(|data| {
            data.extend(parts.iter().map(|(name, it)| ((*name).to_owned(), text(it))));
        })
        .await;
        book.chain()
    }

    async fn replace(&self, edit: impl Fn(&mut Data)) {
        let mut secret = self.secret().await.unwrap();
        edit(secret.data.get_or_insert_default());
        let params = PostParams::default();
        self.secrets().replace(manifests::CERTIFICATES, &params, &secret).await.unwrap();
    }
}

/// A bundle, a caller that trusts it, and when it was last seen to be published.
type Trusted = (Arc<ClientConfig>, Vec<u8>, Instant);

/// Bundles that an API server may still hold that lags no more than this.
struct Held {
    lag: Duration,
    all: Mutex<Vec<Trusted>>,
}

type Data = BTreeMap<String, ByteString>;
type Edit = Box<dyn Fn(&mut Data)>;

impl Held {
    fn new(lag: Duration) -> Self {
        Self { lag, all: Mutex::default() }
    }

    fn take(&self, bundle: &[u8]) {
        let mut held = self.all.lock().unwrap();
        if let Some(it) = held.iter_mut().find(|it| it.1 == bundle) {
            it.2 = Instant::now();
        } else {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(certificates(bundle).unwrap());
            let config = ClientConfig::builder().with_root_certificates(roots);
            held.push((Arc::new(config.with_no_client_auth()), bundle.to_vec(), Instant::now()));
        }
    }

    /// One of them; `None` while nobody has looked for longer.
    fn pick(&self, number: u64) -> Option<Arc<ClientConfig>> {
        let held = self.all.lock().unwrap();
        let fresh: Vec<_> = held.iter().filter(|it| it.2.elapsed() < self.lag).collect();
        let at = usize::try_from(number).unwrap().checked_rem(fresh.len())?;
        // Resumption would spare it the certificate.
        let mut config = ClientConfig::clone(&fresh[at].0);
        config.resumption = rustls::client::Resumption::disabled();
        Some(Arc::new(config))
    }
}

/// One call over a connection of its own.
fn call(address: &str, config: Arc<ClientConfig>) -> Result<(), String> {
    let name = ServerName::try_from(format!("{}.{TOWN}.svc", manifests::WEBHOOK_SERVICE)).unwrap();
    let stream = TcpStream::connect(address).map_err(|it| it.to_string())?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let client = ClientConnection::new(config, name).map_err(|it| it.to_string())?;
    let mut stream = StreamOwned::new(client, stream);
    let body = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "u-1", "operation": "DELETE", "name": "x", "userInfo": {},
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "resource": {"group": "", "version": "v1", "resource": "pods"},
    }})
    .to_string();
    let head =
        "POST /validate HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json";
    let request = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).map_err(|it| it.to_string())?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).map_err(|it| it.to_string())?;
    let fine = &answer == b"HTTP/1.1 200";
    if fine { Ok(()) } else { Err(String::from_utf8_lossy(&answer).into_owned()) }
}

/// Between two calls of one caller: the replicas and the API server need the processors as well.
const REST: Duration = Duration::from_millis(3);

/// Callers that go on until told to end.
struct Callers {
    /// They end when it is dropped.
    go_on: Vec<mpsc::Sender<()>>,
    made: Arc<AtomicU64>,
    threads: Vec<thread::JoinHandle<Vec<String>>>,
}

impl Callers {
    fn start(addresses: &[String], held: &Arc<Held>) -> Self {
        let (mut go_on, made) = (Vec::new(), Arc::new(AtomicU64::new(0)));
        let run = |first: u64| {
            let (until, ends) = mpsc::channel();
            go_on.push(until);
            let (made, held) = (made.clone(), held.clone());
            let addresses = addresses.to_vec();
            thread::spawn(move || {
                let (mut failures, mut number) = (Vec::new(), first);
                while ends.recv_timeout(REST) == Err(mpsc::RecvTimeoutError::Timeout) {
                    number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    let address =
                        &addresses[usize::try_from(number >> 40).unwrap() % addresses.len()];
                    let Some(trusts) = held.pick(number >> 20) else { continue };
                    if let Err(why) = call(address, trusts) {
                        failures.push(format!("{address}: {why}"));
                    }
                    made.fetch_add(1, Ordering::Relaxed);
                }
                failures
            })
        };
        let threads = (1..=2).map(run).collect();
        Self { go_on, made, threads }
    }

    fn end(self) -> (u64, Vec<String>) {
        drop(self.go_on);
        let failures = self.threads.into_iter().flat_map(|it| it.join().unwrap()).collect();
        (self.made.load(Ordering::Relaxed), failures)
    }
}

/// `ROTATIONS`, `ROTATION_CALLS` and `ROTATION_LAG` make it longer: `make test-rotation`.
fn asked(name: &str, else_: u64) -> u64 {
    std::env::var(name).ok().and_then(|it| it.parse().ok()).unwrap_or(else_)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_call_fails_while_certificates_are_rotated() {
    let (rotations, calls) = (asked("ROTATIONS", 3), asked("ROTATION_CALLS", 500));
    let lag = asked("ROTATION_LAG", 3);
    let test = "no_call_fails_while_certificates_are_rotated";
    let Some(hall) = Hall::open(test, lag + 20, &[]).await else { return };
    let held = Arc::new(Held::new(Duration::from_secs(lag)));
    held.take(&hall.published().await[0].clone().unwrap());
    let addresses: Vec<_> = hall
        .bed
        .replicas
        .iter()
        .map(|it| it.webhook.trim_start_matches("https://").to_owned())
        .collect();
    let first = hall.book().await.unwrap().authority.generation;
    let callers = Callers::start(&addresses, &held);
    let mut refused = 0;
    for rotation in 1..=rotations {
        let wish = rotation.to_string();
        hall.wish(&wish).await;
        answered("the rotation to be over", async || {
            if let Some(bundle) = hall.published().await[0].clone() {
                held.take(&bundle);
            }
            let book = hall.book().await?;
            (book.granted == wish && book.phase == Phase::Steady).then_some(())
        })
        .await;
        refused += u32::from(!hall.judged().await);
    }
    // As long as they call, API servers hear of what is published.
    let enough = async {
        let mut news = tokio::time::interval(REST * 100);
        while callers.made.load(Ordering::Relaxed) < calls {
            news.tick().await;
            if let Some(bundle) = hall.published().await[0].clone() {
                held.take(&bundle);
            }
        }
    };
    let patience = PATIENCE + u32::try_from(calls).unwrap() * Duration::from_millis(50);
    tokio::time::timeout(patience, enough).await.expect("the callers go on calling");
    let (made, failures) = callers.end();
    println!(
        "{rotations} rotations, {made} calls with a new connection each: {} failed",
        failures.len()
    );
    assert!(failures.is_empty(), "{} of {made} failed: {:?}", failures.len(), failures.first());
    assert_eq!(refused, 0, "writes through the API server that were not judged");
    let events = hall.bed.audit_events().await.unwrap();
    every_step_had_its_canary(&events, 4 * usize::try_from(rotations).unwrap());
    let last = hall.book().await.unwrap().authority.generation;
    assert_eq!(
        last - first,
        rotations,
        "one authority for each wish, though three replicas hear of it"
    );
    hall.bed.stop().await.unwrap();
}

/// Books that are whole and of no use to any caller: of other times, as a clock that jumps makes them too, or for other names.
async fn of_no_use(hall: &Hall) {
    let (ours, others) = (names(), vec!["other.town.svc".to_owned()]);
    for (what, names, days) in [
        ("a certificate that has expired", &ours, -30),
        ("an authority that has expired", &ours, -400),
        ("an authority that is not valid yet", &ours, 10),
        ("a certificate for another name", &others, 0),
    ] {
        let useless = hall.keep_book_of(names, days).await;
        let again = async || hall.book().await.is_some_and(|it| it.chain() != useless);
        comes_true(what, again).await;
        hall.works(&format!("a write to be judged after {what}")).await;
    }
}

/// A pair that somebody brings, in a Secret made for such: of another type, which no write changes, and with his label.
async fn another_type(hall: &Hall) {
    let text = |it: &str| BASE64_STANDARD.encode(it);
    let theirs = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"name": manifests::CERTIFICATES, "labels": {"brought-by": "somebody"}},
        "data": {"tls.crt": text("a certificate"), "tls.key": text("a key")},
    });
    let theirs: Secret = serde_json::from_value(theirs).unwrap();
    // Replicas make another one at once, and may be first.
    answered("a Secret of another type to be there", async || {
        let secrets = hall.secrets();
        let _ = secrets.delete(manifests::CERTIFICATES, &DeleteParams::default()).await;
        secrets.create(&PostParams::default(), &theirs).await.ok()
    })
    .await;
    let again = async || hall.book().await.is_some();
    comes_true("a Secret of another type to be put right", again).await;
    assert!(hall.judged().await, "what was served is served still");
    let secret = hall.secret().await.unwrap();
    assert_eq!(secret.type_.as_deref(), Some("kubernetes.io/tls"));
    assert_eq!(secret.metadata.labels.unwrap()["brought-by"], "somebody");
}

/// Waits until metrics have this line.
async fn said_by(metrics: &str, line: &str) {
    comes_true(line, async || {
        http_get(metrics).await.is_ok_and(|(_, text)| text.lines().any(|it| it == line))
    })
    .await;
}

/// A Secret that somebody spoils and locks is left to him, and that is told; nobody tries what can't be.
async fn locked(hall: &Hall) {
    let spoilt = json!({"immutable": true, "data": {"tls.crt": BASE64_STANDARD.encode("spoilt")}});
    let (params, patch) = (PatchParams::default(), Patch::Merge(spoilt));
    hall.secrets().patch(manifests::CERTIFICATES, &params, &patch).await.unwrap();
    for replica in &hall.bed.replicas {
        let told = "gastown_certificate_degraded{reason=\"SecretImmutable\"} 1";
        said_by(&replica.metrics, told).await;
    }
    assert!(hall.judged().await, "what was served is served still");
    hall.secrets().delete(manifests::CERTIFICATES, &DeleteParams::default()).await.unwrap();
    comes_true("it to be made anew", async || hall.book().await.is_some()).await;
    for replica in &hall.bed.replicas {
        let told = "gastown_certificate_degraded{reason=\"SecretImmutable\"} 0";
        said_by(&replica.metrics, told).await;
    }
    let events = hall.bed.audit_events().await.unwrap();
    let refused = |it: &&Event| it.resource == "secrets" && it.is_write() && it.code == 422;
    assert_eq!(events.iter().filter(refused).count(), 0, "writes that no API server takes");
}

fn names() -> Vec<String> {
    let service = manifests::WEBHOOK_SERVICE.into();
    Target { namespace: TOWN.into(), service, url: None }.names()
}

/// Every consumer is told again within a second, by the API server's own clock. What other work the machine does can only
/// make it longer, so of several times the shortest counts.
async fn wiped_bundles_come_back(hall: &Hall, bundle: &[u8]) {
    let before = hall.bed.audit_events().await.unwrap().len();
    for _ in 0..3 {
        wipe(hall).await;
        comes_true("the bundles to be right again", async || {
            hall.bundles().await.iter().all(|it| it.as_deref() == Some(bundle))
        })
        .await;
        hall.works("a write to be judged again").await;
    }
    let events = hall.bed.audit_events().await.unwrap();
    let took = told_again(&events[before..]);
    println!("wiped bundles were written again after {took:?}");
    assert_eq!(took.len(), 4 + convertible().count(), "every consumer was wiped");
    for (consumer, took) in took {
        assert_eq!(took.len(), 3, "{consumer}: each time");
        assert!(took.iter().min().unwrap() <= &1000, "{consumer}: {took:?} ms");
    }
}

/// By resource and name: milliseconds from each wiping of a bundle to the operator's write after it.
fn told_again(events: &[Event]) -> BTreeMap<String, Vec<i128>> {
    let of_consumers = |it: &&Event| {
        let consumer = it.resource == "customresourcedefinitions"
            || it.resource.ends_with("webhookconfigurations");
        consumer && it.is_write() && it.code < 300 && it.subresource.is_empty()
    };
    let mut wiped = BTreeMap::new();
    let mut took = BTreeMap::<_, Vec<_>>::new();
    for it in events.iter().filter(of_consumers) {
        let consumer = format!("{} {}", it.resource, it.name);
        if !it.user_agent.ends_with(CERTIFICATES) {
            wiped.insert(consumer, it.done);
        } else if let Some(since) = wiped.remove(&consumer) {
            let span = it.done.duration_since(since).as_millis();
            took.entry(consumer).or_default().push(span);
        }
    }
    took
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_to_the_certificates_is_put_right() {
    let test = "whatever_happens_to_the_certificates_is_put_right";
    let collector = Collector::start().await;
    let endpoint = format!("--otlp-endpoint={}", collector.endpoint);
    let more = [endpoint, "--otlp-delay=50".to_owned()];
    let Some(hall) = Hall::open(test, 3600, &more).await else { return };
    let empty = ByteString::default;
    let cut = |it: &mut ByteString| it.0.truncate(it.0.len() / 2);
    let edits: Vec<(&str, Edit)> = vec![
        ("an empty Secret", Box::new(Data::clear)),
        ("a truncated certificate", Box::new(move |data| cut(data.get_mut("tls.crt").unwrap()))),
        ("a foreign key", Box::new(move |data| _ = data.insert("tls.key".into(), empty()))),
        (
            "a book that is none",
            Box::new(|data| _ = data.insert("book.json".into(), ByteString(b"{}".to_vec()))),
        ),
    ];
    for (what, edit) in edits {
        hall.replace(edit).await;
        comes_true(what, async || hall.book().await.is_some()).await;
        assert!(hall.judged().await, "{what}: a write is judged");
    }
    of_no_use(&hall).await;
    hall.secrets().delete(manifests::CERTIFICATES, &DeleteParams::default()).await.unwrap();
    comes_true("a deleted Secret to be there again", async || hall.book().await.is_some()).await;
    assert!(hall.judged().await, "what was served is served still");
    another_type(&hall).await;
    locked(&hall).await;

    hall.works("the bundle to be published").await;
    let bundle = hall.book().await.unwrap().bundle().into_bytes();
    let project = bed_manifests::project(None).unwrap();
    wiped_bundles_come_back(&hall, &bundle).await;

    // As a re-apply of what is in the repository does: by another field manager, without a bundle.
    let definition = std::fs::read_to_string(project.join("crds/gastown.gastown.io_polecats.yaml"));
    let definition: serde_json::Value = serde_saphyr::from_str(&definition.unwrap()).unwrap();
    let api: Api<CustomResourceDefinition> = Api::all(hall.client.clone());
    let mut there: CustomResourceDefinition = serde_json::from_value(definition).unwrap();
    there.metadata.resource_version = api.get(DEFINITION).await.unwrap().metadata.resource_version;
    api.replace(DEFINITION, &PostParams::default(), &there).await.unwrap();
    comes_true("a definition that was applied anew", async || {
        hall.published().await[1].as_deref() == Some(&bundle[..])
    })
    .await;
    let metrics = http_get(&hall.bed.replicas[0].metrics).await.unwrap().1;
    assert!(metrics.contains("gastown_certificate_not_after_seconds"), "{metrics}");

    hall.wish("told").await;
    let step = |it: &Span, step: &str| {
        it.name == "step of certificates" && it.says("gastown.certificates.step") == step
    };
    let both = |all: &[Span]| {
        ["Prepare", "Publish"].iter().all(|name| all.iter().any(|it| step(it, name) && !it.failed))
    };
    collector.until("steps of a rotation", both).await;
    hall.bed.stop().await.unwrap();
}

/// The definition as it is in the repository, but without its conversion: as somebody applies it who makes it otherwise.
async fn apply_without_conversion(hall: &Hall) {
    let path = format!("crds/gastown.gastown.io_{PLURAL}.yaml");
    let text = std::fs::read_to_string(bed_manifests::project(None).unwrap().join(path)).unwrap();
    let mut definition: CustomResourceDefinition = serde_saphyr::from_str(&text).unwrap();
    definition.spec.conversion = None;
    let api: Api<CustomResourceDefinition> = Api::all(hall.client.clone());
    definition.metadata.resource_version =
        api.get(DEFINITION).await.unwrap().metadata.resource_version;
    api.replace(DEFINITION, &PostParams::default(), &definition).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_applied_without_its_conversion_gets_it_back_and_no_object_is_cut() {
    let test = "a_definition_applied_without_its_conversion_gets_it_back_and_no_object_is_cut";
    let Some(hall) = Hall::open(test, 3600, &[]).await else { return };
    let api: Api<CustomResourceDefinition> = Api::all(hall.client.clone());
    let polecats: Api<Polecat> = Api::namespaced(hall.client.clone(), TOWN);
    let create = async |name: &str| {
        let mut object = polecat(name);
        object["spec"]["desiredState"] = json!("Idle");
        let object = serde_json::from_value(object).unwrap();
        polecats.create(&PostParams::default(), &object).await
    };
    let before = create("before").await.unwrap().spec;
    let stanza = api.get(DEFINITION).await.unwrap().spec.conversion;

    apply_without_conversion(&hall).await;
    let lost = Instant::now();
    let back = tokio::spawn(async move {
        let restored = |it: Option<&CustomResourceDefinition>| {
            it.is_some_and(|it| it.spec.conversion == stanza)
        };
        tokio::time::timeout(PATIENCE, await_condition(api, DEFINITION, restored))
            .await
            .unwrap()
            .unwrap();
        lost.elapsed()
    });
    let mut written = Vec::new();
    let mut refused = 0;
    while written.is_empty() {
        assert!(lost.elapsed() < PATIENCE, "{refused} writes were refused, {written:?} were not");
        let name = format!("n{}", lost.elapsed().as_millis());
        match create(&name).await {
            Ok(_) => written.push(name),
            Err(kube::Error::Api(it)) => {
                let late = it.message.contains("failed calling webhook");
                assert!(late || it.message.contains("conversion webhook"), "{}", it.message);
                refused += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    let back = back.await.unwrap();
    println!("the conversion was back after {} ms; {refused} writes refused", back.as_millis());
    assert!(refused > 0, "a write came through while an API server may have had no conversion");
    for name in written.iter().map(String::as_str).chain(["before"]) {
        let spec = polecats.get(name).await.unwrap().spec;
        assert_eq!(spec, before, "{name} is whole");
    }
    let events = hall.bed.audit_events().await.unwrap();
    all_are_named(&events, &["operator-0", "operator-1", "operator-2"]);
    let told = |it: &Event| it.name == DEFINITION && it.user_agent.ends_with(CERTIFICATES);
    assert!(events.iter().any(told), "who told the definition is named");
    hall.bed.stop().await.unwrap();
}

/// Who is told whom to trust, beside definitions.
const CONFIGURATIONS: [(&str, &str); 4] = [
    ("Mutating", manifests::MUTATING),
    ("Mutating", manifests::PODS_MUTATING),
    ("Validating", manifests::VALIDATING),
    ("Validating", manifests::PODS_VALIDATING),
];
/// What the User-Agent of the operator's writes about certificates ends with.
const CERTIFICATES: &str = "; certificates)";

fn configurations(sort: &str) -> ApiResource {
    let kind = format!("{sort}WebhookConfiguration");
    ApiResource::from_gvk(&GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", &kind))
}

fn of_config(config: &serde_json::Value) -> Option<Vec<u8>> {
    BASE64_STANDARD.decode(config["caBundle"].as_str()?).ok()
}

/// Takes every bundle away, of all webhooks and conversions.
async fn wipe(hall: &Hall) {
    for (sort, name) in CONFIGURATIONS {
        let api: Api<DynamicObject> = Api::all_with(hall.client.clone(), &configurations(sort));
        let mut there = api.get(name).await.unwrap();
        for hook in there.data["webhooks"].as_array_mut().unwrap() {
            hook["clientConfig"].as_object_mut().unwrap().remove("caBundle");
        }
        api.replace(name, &PostParams::default(), &there).await.unwrap();
    }
    let patch = json!({"spec": {"conversion": {"webhook": {"clientConfig": {"caBundle": null}}}}});
    let api: Api<CustomResourceDefinition> = Api::all(hall.client.clone());
    for name in convertible() {
        api.patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    }
}

/// Before each step of a rotation, and after the one before it, a call came through the API server.
fn every_step_had_its_canary(events: &[Event], steps: usize) {
    let ours = |it: &&Event| it.user_agent.ends_with(CERTIFICATES);
    let canary = |it: &&Event| it.resource == "polecats" && it.verb == "create";
    let canaries: Vec<_> = events.iter().filter(ours).filter(canary).collect();
    let step = |it: &&Event| it.resource == "secrets" && it.is_write() && it.code < 300;
    let taken: Vec<_> = events.iter().filter(ours).filter(step).collect();
    assert!(taken.len() > steps, "{} writes of the Secret", taken.len());
    for pair in taken.windows(2) {
        let between = |it: &&Event| it.time >= pair[0].time && it.done <= pair[1].done;
        assert!(canaries.iter().copied().any(|it| between(&it)), "no canary before {:?}", pair[1]);
    }
}
