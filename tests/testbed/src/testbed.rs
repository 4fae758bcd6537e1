//! A testbed as tests hold it: a program that runs beside them and ends with them.

use std::{
    collections::{BTreeMap, VecDeque},
    fs,
    io::{BufRead as _, BufReader, Write as _},
    ops::Deref,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::{Api, Client, api::PostParams, runtime::wait::await_condition};
use serde_json::json;
use tokio::sync::OnceCell;

use crate::{
    Node, Operator, OperatorOptions, Options, Ready,
    audit::{self, Event},
    kubeconfig,
    manifests::{self, Webhooks},
    node,
    pki::{Authority, MASTERS},
    plan,
    tools::on_path,
};

/// The user whose requests mark places in the audit log.
const MARKER: &str = "testbed-marker";
/// The operator that converts for tests, and its namespace.
const CONVERTER: &str = "converter";
/// How long the audit log may take to catch up.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running testbed. What it says of itself ([`Ready`]) is read through it: `testbed.kubeconfig`,
/// `testbed.audit`, … It ends when this is dropped, and when this process ends, however it does.
#[derive(Debug)]
pub struct Testbed {
    ready: Ready,
    /// Absent when the testbed is another process's.
    own: Option<Own>,
    /// Converts objects of the installed CRDs, where no replica of the testbed's own does.
    converter: OnceCell<Operator>,
}

/// The program `testbed` as a child of this process: it ends when this is dropped, which closes its standard input.
#[derive(Debug)]
struct Own {
    child: Child,
    control: Arc<Mutex<Control>>,
}

/// Orders go in, answers come out.
#[derive(Debug)]
struct Control {
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Control {
    fn order(&mut self, order: &str) -> Result<()> {
        let sent = writeln!(self.input, "{order}").and_then(|()| self.input.flush());
        sent.context("failed to speak to testbed")?;
        let mut line = String::new();
        self.output.read_line(&mut line).context("failed to listen to testbed")?;
        match serde_json::from_str(&line) {
            Ok(plan::Event::Obeyed { .. }) => Ok(()),
            Ok(plan::Event::Refused { message, .. }) => bail!("{order}: {message}"),
            _ => bail!("{order}: testbed answered {line:?}"),
        }
    }
}

impl Deref for Testbed {
    type Target = Ready;

    fn deref(&self) -> &Ready {
        &self.ready
    }
}

impl Testbed {
    /// Starts one and waits until it is ready. Programs that are missing are built first, which takes
    /// minutes; progress goes to standard error.
    pub async fn start(options: Options) -> Result<Self> {
        tokio::task::spawn_blocking(move || start(&options))
            .await
            .context("starting a testbed was cut short")?
    }

    /// The one without a node that all tests of this process share; its namespaces keep them apart. Inside
    /// `testbed exec --node none` it is that one.
    pub async fn shared() -> Result<&'static Self> {
        Self::shared_with(Node::None).await
    }

    /// The same for another node: one for each kind.
    pub async fn shared_with(node: Node) -> Result<&'static Self> {
        static NONE: OnceCell<Testbed> = OnceCell::const_new();
        static KWOK: OnceCell<Testbed> = OnceCell::const_new();
        static REAL: OnceCell<Testbed> = OnceCell::const_new();
        let cell = match node {
            Node::None => &NONE,
            Node::Kwok => &KWOK,
            Node::Real => &REAL,
        };
        cell.get_or_try_init(|| async {
            match Self::surrounding()? {
                Some(testbed) if testbed.node == node => Ok(testbed),
                _ => Self::start(Options { node, ..Options::default() }).await,
            }
        })
        .await
    }

    /// The one whose `testbed exec` this process runs in.
    pub fn surrounding() -> Result<Option<Self>> {
        let Ok(line) = std::env::var("GASTOWN_TESTBED") else { return Ok(None) };
        let ready =
            serde_json::from_str(&line).context("GASTOWN_TESTBED is no ready line of a testbed")?;
        Ok(Some(Self { ready, own: None, converter: OnceCell::new() }))
    }

    /// Ends it and waits until nothing is left of it.
    pub async fn stop(mut self) -> Result<()> {
        let Some(Own { mut child, control }) = self.own.take() else { return Ok(()) };
        let waited = tokio::task::spawn_blocking(move || {
            drop(control);
            child.wait()
        });
        let status = waited
            .await
            .context("stopping a testbed was cut short")?
            .context("failed to wait for it")?;
        if !status.success() {
            bail!("the testbed ended with {status}: see what it wrote to standard error");
        }
        Ok(())
    }

    /// The pid of the program `testbed`; `None` when it is another process's.
    pub fn pid(&self) -> Option<u32> {
        self.own.as_ref().map(|it| it.child.id())
    }

    /// Kills one of its programs, such as `kube-apiserver`, and waits until it is gone. The testbed stays; it is then the
    /// caller's alone, for other tests would suffer.
    pub async fn stop_program(&self, name: &str) -> Result<()> {
        self.order(format!("stop {name}")).await
    }

    /// Starts it again with the same addresses and data; an API server answers when this returns.
    pub async fn start_program(&self, name: &str) -> Result<()> {
        self.order(format!("start {name}")).await
    }

    /// Stops one where it is, as if the machine it runs on were busy with other things; [`Testbed::thaw_program`] lets it
    /// go on.
    pub async fn freeze_program(&self, name: &str) -> Result<()> {
        self.order(format!("freeze {name}")).await
    }

    pub async fn thaw_program(&self, name: &str) -> Result<()> {
        self.order(format!("thaw {name}")).await
    }

    /// Gives an image of the real node another name, as if that had just been pulled.
    pub async fn name_image(&self, image: &str, name: &str) -> Result<()> {
        let named = self.images(&["tag", image, name]).await;
        named.with_context(|| format!("failed to name image {image} {name}"))
    }

    /// Gives the real node an image like the runner's, with another program as its runner.
    pub async fn make_runner_image(&self, runner: &Path, image: &str) -> Result<()> {
        self.make_image(image, |path| node::images::write_runner(runner, image, path)).await
    }

    /// Gives the real node an image for agents with programs of this machine, by their names in it.
    pub async fn make_agent_image(&self, programs: &[(&str, PathBuf)], image: &str) -> Result<()> {
        self.make_image(image, |path| node::images::write_agent(programs, image, path)).await
    }

    /// Gives the real node an image of the operator's program.
    pub async fn make_operator_image(&self, program: &Path, image: &str) -> Result<()> {
        self.make_image(image, |path| node::images::write_operator(program, image, path)).await
    }

    /// Gives the real node the images of an archive that was written elsewhere, under the names that they have there.
    pub async fn load_images(&self, archive: &Path) -> Result<()> {
        let loaded = self.images(&["import", &archive.to_string_lossy()]).await;
        loaded.with_context(|| format!("failed to load the images of {}", archive.display()))
    }

    async fn make_image(&self, image: &str, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let path = self.dir.join(format!("{}.tar", image.replace(['/', ':'], "-")));
        write(&path)?;
        let loaded = self.images(&["import", &path.to_string_lossy()]).await;
        fs::remove_file(&path).with_context(|| format!("failed to remove {}", path.display()))?;
        loaded.with_context(|| format!("failed to load image {image}"))
    }

    /// Does something about the real node's images.
    async fn images(&self, words: &[&str]) -> Result<()> {
        let ctr = on_path("ctr").context("no ctr: install the Debian package containerd")?;
        let mut command = tokio::process::Command::new(ctr);
        command.arg("--address").arg(self.dir.join("node/containerd.sock"));
        command.args(["--namespace", "k8s.io", "images"]).args(words);
        let answer = command.stdin(Stdio::null()).kill_on_drop(true).output().await;
        let answer = answer.context("failed to run ctr")?;
        if !answer.status.success() {
            bail!(
                "ctr ended with {}: {}",
                answer.status,
                String::from_utf8_lossy(&answer.stderr).trim()
            );
        }
        Ok(())
    }

    async fn order(&self, order: String) -> Result<()> {
        let own = self.own.as_ref().context("this testbed is another process's")?;
        let control = Arc::clone(&own.control);
        let obeyed = tokio::task::spawn_blocking(move || {
            control.lock().unwrap_or_else(PoisonError::into_inner).order(&order)
        });
        obeyed.await.context("an order was cut short")?
    }

    /// A client of this name that may do anything. Each call makes a certificate, and connections of the
    /// calling runtime.
    pub async fn client(&self, name: &str) -> Result<Client> {
        kubeconfig::client(&self.kubeconfig_for(name, Some(MASTERS))?).await
    }

    /// A client of this name that may do what the group may, or next to nothing without one.
    pub async fn client_in(&self, name: &str, group: Option<&str>) -> Result<Client> {
        kubeconfig::client(&self.kubeconfig_for(name, group)?).await
    }

    /// Writes the kubeconfig of a client of this name, the user in the audit log, and group. Every call
    /// writes a new file.
    pub fn kubeconfig_for(&self, name: &str, group: Option<&str>) -> Result<PathBuf> {
        let folder = self.own_folder("client")?;
        kubeconfig::write(&folder, &self.server()?, &self.authority()?, name, group)
    }

    /// A certificate and its key, PEM, for a server on the host that the API server calls as it calls a kubelet.
    pub fn kubelet_certificate(&self) -> Result<(String, String)> {
        let pair = self.authority()?.server("kubelet", None, &[self.host_address.to_string()])?;
        Ok((pair.certificate, pair.key))
    }

    /// The API server, as `https://ADDRESS:PORT`.
    pub fn server(&self) -> Result<String> {
        kubeconfig::server(&self.kubeconfig)
    }

    /// Applies the CRDs of the checkout and waits until they are served. Where they ask for a conversion webhook, an
    /// operator is started that looks after no namespace and is that webhook for as long as this testbed is held.
    pub async fn install_crds(&self) -> Result<()> {
        let client = self.client("admin").await?;
        let folder = manifests::project(None)?.join("crds");
        if !manifests::ask_for_conversion(&folder)? {
            return manifests::apply_crds(&client, &folder, None).await;
        }
        let converter = self.converter.get_or_try_init(|| self.start_converter()).await?;
        let webhooks = Webhooks::Url(converter.webhook.clone());
        manifests::apply_crds(&client, &folder, Some((&webhooks, &converter.authority))).await
    }

    /// The operator that converts, once [`Testbed::install_crds`] has started it.
    pub fn converter(&self) -> Option<&Operator> {
        self.converter.get()
    }

    async fn start_converter(&self) -> Result<Operator> {
        let options = OperatorOptions {
            name: CONVERTER.to_owned(),
            namespace: CONVERTER.to_owned(),
            flags: vec![format!("--watch-namespaces={CONVERTER}")],
            ..OperatorOptions::default()
        };
        let converter = Operator::start(self, options).await?;
        converter.wait_ready().await?;
        Ok(converter)
    }

    /// Makes a namespace, with these annotations, and waits until pods can be made in it.
    pub async fn make_namespace(&self, name: &str, annotations: &[(&str, &str)]) -> Result<()> {
        let client = self.client("admin").await?;
        let annotations: BTreeMap<_, _> = annotations.iter().copied().collect();
        let namespace = json!({ "metadata": { "name": name, "annotations": annotations } });
        let namespace =
            serde_json::from_value(namespace).context("failed to describe a namespace")?;
        let made =
            Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &namespace).await;
        made.with_context(|| format!("failed to make namespace {name}"))?;
        let accounts = Api::<ServiceAccount>::namespaced(client, name);
        let made = await_condition(accounts, "default", |it: Option<&ServiceAccount>| it.is_some());
        let made = tokio::time::timeout(PATIENCE, made).await;
        made.with_context(|| {
            format!("waited {} s for ServiceAccount default of {name}", PATIENCE.as_secs())
        })?
        .map(drop)
        .with_context(|| format!("failed to wait for ServiceAccount default of {name}"))
    }

    /// The watches that are under way, in the order in which they began. One that began or ended a moment ago may not be told of yet.
    pub fn watches(&self) -> Result<Vec<Event>> {
        audit::read_watches(&self.audit)
    }

    /// Every request answered so far. Waits until the log has caught up with what was asked before this call.
    pub async fn audit_events(&self) -> Result<Vec<Event>> {
        let place = format!("/apis/{MARKER}/{}", crate::build::random_id()?);
        let client = self.client_in(MARKER, None).await?;
        let request =
            http::Request::get(&place).body(Vec::new()).context("failed to make a request")?;
        let _ = client.request_text(request).await; // refused, and logged
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut events = audit::read(&self.audit)?;
            if let Some(end) = events.iter().position(|it| it.uri == place) {
                events.truncate(end);
                events.retain(|it| it.user != MARKER);
                return Ok(events);
            }
            if Instant::now() > deadline {
                bail!(
                    "the audit log {} did not catch up in {} s",
                    self.audit.display(),
                    PATIENCE.as_secs()
                );
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) fn authority(&self) -> Result<Authority> {
        Authority::open(&self.dir.join("pki"))
    }

    /// A new folder that no other test uses.
    pub(crate) fn own_folder(&self, what: &str) -> Result<PathBuf> {
        let folder =
            self.dir.join("clients").join(format!("{what}-{}", crate::build::random_id()?));
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("failed to create {}", folder.display()))?;
        Ok(folder)
    }
}

fn start(options: &Options) -> Result<Testbed> {
    let mut command = Command::new(crate::program()?);
    command
        .args(arguments(options))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut child = command.spawn().context("failed to start testbed")?;
    let output = child.stdout.take().context("testbed has no output")?;
    let told = child.stderr.take().map(pass_on);
    let input = child.stdin.take().context("testbed has no input")?;
    let mut output = BufReader::new(output);
    let mut line = String::new();
    let read = output.read_line(&mut line).context("failed to listen to testbed")?;
    if read == 0 {
        let status = child.wait().context("failed to wait for testbed")?;
        let words = told.and_then(|it| it.join().ok()).unwrap_or_default();
        bail!("failed to start a testbed ({status}): {words}");
    }
    let ready = serde_json::from_str(&line).with_context(|| format!("testbed said {line:?}"))?;
    let control = Arc::new(Mutex::new(Control { input, output }));
    Ok(Testbed { ready, own: Some(Own { child, control }), converter: OnceCell::new() })
}

fn arguments(options: &Options) -> Vec<String> {
    let Options {
        node,
        replicas,
        audit,
        fsync,
        storage_migration,
        operator,
        operator_flags,
        manifests,
        runner,
        agent,
        enforcer,
        plain,
    } = options;
    let mut arguments =
        vec!["up".to_owned(), format!("--node={}", node.name()), format!("--replicas={replicas}")];
    let paths = [
        ("audit", audit),
        ("operator", operator),
        ("manifests", manifests),
        ("runner", runner),
        ("agent", agent),
        ("enforcer", enforcer),
    ];
    for (flag, path) in paths {
        arguments.extend(path.iter().map(|it| format!("--{flag}={}", it.display())));
    }
    arguments.extend(fsync.then(|| "--fsync".to_owned()));
    arguments.extend(storage_migration.then(|| "--storage-migration".to_owned()));
    arguments.extend(plain.then(|| "--plain".to_owned()));
    arguments.push("--".to_owned());
    arguments.extend(operator_flags.iter().cloned());
    arguments
}

/// Passes what is said on to this process's standard error, and gives the last of it back at the end.
fn pass_on(errors: std::process::ChildStderr) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut last = VecDeque::new();
        for line in BufReader::new(errors).lines().map_while(Result::ok) {
            eprintln!("{line}");
            if last.len() == 20 {
                last.pop_front();
            }
            last.push_back(line);
        }
        Vec::from(last).join("\n")
    })
}
