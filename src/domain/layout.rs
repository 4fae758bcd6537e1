//! What the parts of an agent pod agree on: container names, volumes, paths and environment variables.
//! The pod builder writes them, the runner inside the pod reads them; nothing else knows them.

/// Clones, and lays out the tools. The pod's one init container.
pub const GIT_INIT: &str = "git-init";
/// The agent. Holds no git credential and no cluster credential.
pub const CLAUDE: &str = "claude";
/// Pushes, and writes the verdict. Holds the git credential.
pub const TELEMETRY: &str = "telemetry";

/// The longest time that the runner is told, in seconds: a year, as in v1beta1's schema.
pub const MAX_SECONDS: u32 = 365 * 86_400;

/// Clone for the agent: `git-init` and `claude`.
pub const WORKSPACE: Mount = Mount { volume: "workspace", path: "/workspace" };
/// The agent's working directory.
pub const REPOSITORY: &str = "/workspace/repo";
/// The agent's `/tmp`: `claude` alone.
pub const TMP: Mount = Mount { volume: "tmp", path: "/tmp" };
/// The agent's home: `claude` alone.
pub const HOME: Mount = Mount { volume: "home", path: "/home/nonroot" };
/// Home and temporary files of `git-init` alone.
pub const INIT_HOME: Mount = Mount { volume: "init-home", path: "/home/nonroot" };
/// Home and temporary files of `telemetry` alone. The original's volume name.
pub const TELEMETRY_HOME: Mount = Mount { volume: "metrics", path: "/home/nonroot" };
/// The runner's program for `claude`: writable in `git-init`, read-only in `claude`.
pub const TOOLS: Mount = Mount { volume: "tools", path: "/gastown/tools" };
/// The runner as `claude` finds it.
pub const RUNNER: &str = "/gastown/tools/gt-runner";
/// What `git-init` tells the runner in `claude`: JSON of the base commit. Beside the runner, so the agent
/// can't write it.
pub const START: &str = "/gastown/tools/start.json";
/// The lines that the commit-msg hook adds to every commit. Beside the runner, so the agent can't write it.
pub const TRAILERS: &str = "/gastown/tools/trailers";
/// The runner as the runner's own image has it.
pub const RUNNER_IN_IMAGE: &str = "/usr/local/bin/gt-runner";
/// The lock files' folder: written by `git-init`, read-only in `claude` and `telemetry`, so that an agent can
/// neither delete nor replace them. `flock` works on a read-only descriptor.
pub const LOCK: Mount = Mount { volume: "lock", path: "/gastown/lock" };
/// Held exclusively by the runner in `claude` while the agent runs; released by the kernel however it dies.
pub const LOCK_FILE: &str = "/gastown/lock/agent";
/// Shared by `telemetry` for as long as it lives: the agent does not begin before.
pub const TELEMETRY_LOCK: &str = "/gastown/lock/telemetry";
/// What the agent hands over: written in `claude`, read-only in `telemetry`, not there in `git-init`. Everything in it is hostile
/// input.
pub const HANDOVER: Mount = Mount { volume: "handover", path: "/gastown/handover" };
/// Says that the agent's container has begun; with a free lock it means "ended".
pub const BEGUN: &str = "/gastown/handover/begun";
/// `base..work` as one git bundle.
pub const BUNDLE: &str = "/gastown/handover/work.bundle";
/// What the agent committed on other branches, as another: opened when all is over for the work branch.
pub const BESIDE: &str = "/gastown/handover/beside.bundle";
/// What the runner in `claude` says of the agent's end: a JSON `Ended`.
pub const ENDED: &str = "/gastown/handover/ended.json";
/// Time stamp (its mtime) of the agent's last activity.
pub const ACTIVITY: &str = "/gastown/handover/activity";
/// The bare clone that is pushed from: `git-init` and `telemetry`, never `claude`.
pub const DELIVERY: Mount = Mount { volume: "delivery", path: "/gastown/delivery" };
/// When the clone began and ended: JSON of two numbers.
pub const CLONED: &str = "/gastown/delivery/cloned.json";
/// The repository inside it.
pub const BARE: &str = "/gastown/delivery/repo.git";
/// The git Secret: `git-init` and `telemetry`, never `claude`.
pub const GIT_CREDS: Mount = Mount { volume: "git-creds", path: "/git-creds" };
/// The ConfigMap with `known_hosts`: `git-init` and `telemetry`.
pub const KNOWN_HOSTS: Mount = Mount { volume: "ssh-known-hosts", path: "/ssh-known-hosts" };
/// The agent's subscription credentials: `claude` alone.
pub const CLAUDE_CREDS: Mount = Mount { volume: "claude-creds", path: "/claude-creds" };
/// `agentConfig.configMapRef`: `claude` alone.
pub const AGENT_CONFIG: Mount = Mount { volume: "agent-config", path: "/gastown/agent-config" };
/// Whom to trust, where the operator names a ConfigMap for it: all three containers.
pub const TRUSTED_CA: Mount = Mount { volume: "trusted-ca", path: "/gastown/trusted-ca" };
/// The key of that ConfigMap, as OpenShift fills it in.
pub const TRUSTED_KEY: &str = "ca-bundle.crt";
/// Its value, as programs find it.
pub const TRUSTED_BUNDLE: &str = "/gastown/trusted-ca/ca-bundle.crt";
/// Where a container leaves its last words.
pub const TERMINATION_LOG: &str = "/dev/termination-log";
/// The port of the pod's own metrics, served by `telemetry`.
pub const METRICS_PORT: u16 = 8080;

/// A volume's name and where every container mounts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mount {
    pub volume: &'static str,
    pub path: &'static str,
}

/// Environment variables.
pub mod env {
    /// The Polecat's name.
    pub const POLECAT: &str = "GT_POLECAT";
    /// Its uid: names the branch that keeps commits whose push was refused.
    pub const POLECAT_UID: &str = "GT_POLECAT_UID";
    /// Its namespace.
    pub const NAMESPACE: &str = "GT_NAMESPACE";
    /// The rig's name.
    pub const RIG: &str = "GT_RIG";
    /// The bead's id, empty when there is none.
    pub const ISSUE: &str = "GT_ISSUE";
    /// Number of this attempt, from 1.
    pub const ATTEMPT: &str = "GT_ATTEMPT";
    /// What the agent is asked to do.
    pub const TASK_DESCRIPTION: &str = "GT_TASK_DESCRIPTION";
    /// SHA-256 of that, as hex digits: what `telemetry` is told instead.
    pub const TASK_SHA256: &str = "GT_TASK_SHA256";
    /// Repository to clone from and push to.
    pub const GIT_REPOSITORY: &str = "GT_GIT_REPOSITORY";
    /// Branch to start from.
    pub const GIT_BRANCH: &str = "GT_GIT_BRANCH";
    /// Branch that is pushed.
    pub const WORK_BRANCH: &str = "GT_WORK_BRANCH";
    /// Name and address of the author of the agent's commits; unset: those of the original.
    pub const AUTHOR_NAME: &str = "GT_AUTHOR_NAME";
    pub const AUTHOR_EMAIL: &str = "GT_AUTHOR_EMAIL";
    /// Who asked for the run: trailer `Requested-By` of every commit. Read by `git-init`.
    pub const REQUESTED_BY: &str = "GT_REQUESTED_BY";
    /// The trace that the run belongs to: trailer `Trace` of every commit. Read by `git-init`.
    pub const TRACE: &str = "GT_TRACE";
    /// Where in the run's trace the container is, as W3C writes it. In `claude` for what the agent itself tells of; in `telemetry`
    /// the run's root, where it is told of a collector.
    pub const TRACEPARENT: &str = "TRACEPARENT";
    /// The collector that `telemetry` tells of the run, the whole address. It and the next ones are there where one is named.
    pub const OTLP_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
    /// What else is said of the runner there, `key=value,key=value`.
    pub const OTLP_RESOURCE: &str = "OTEL_RESOURCE_ATTRIBUTES";
    /// The pod's name, and its uid.
    pub const POD: &str = "GT_POD";
    pub const POD_UID: &str = "GT_POD_UID";
    /// The model that the agent was told to use; unset: none.
    pub const MODEL: &str = "GT_AGENT_MODEL";
    /// Seconds the agent may run.
    pub const DEADLINE_SECONDS: &str = "GT_DEADLINE_SECONDS";
    /// Seconds without activity after which the agent is ended; unset: never.
    pub const MAX_IDLE_SECONDS: &str = "GT_MAX_IDLE_SECONDS";
    /// What the node lets the pod's volumes hold together, in bytes, by the pod as it was admitted. Read by `claude`.
    pub const STORAGE_LIMIT: &str = "GT_STORAGE_LIMIT";
    /// Folder of `agentConfig.configMapRef`, for the agent.
    pub const AGENT_CONFIG: &str = "GT_AGENT_CONFIG";
    /// Seconds `telemetry` may take from the agent's end to the verdict; unset: 110, a push reserve of
    /// 120 less 10.
    pub const PUSH_SECONDS: &str = "GT_PUSH_SECONDS";
    /// Size cap of a bundle, in bytes.
    pub const MAX_BUNDLE_BYTES: &str = "GT_MAX_BUNDLE_BYTES";
}

/// Keys of the git Secret. Those of the types `kubernetes.io/ssh-auth` and `kubernetes.io/basic-auth` are
/// among them.
pub mod keys {
    /// A private key for ssh, under any of three names.
    pub const SSH_PRIVATE_KEY: &str = "ssh-privatekey";
    pub const ID_RSA: &str = "id_rsa";
    pub const ID_ED25519: &str = "id_ed25519";
    /// Host keys to believe; also the key of the ConfigMap of `sshKnownHostsConfigMapRef`, which wins.
    pub const KNOWN_HOSTS: &str = "known_hosts";
    /// A private key to sign the pushed commits with; used by `telemetry` alone.
    pub const SIGNING_KEY: &str = "ssh-signingkey";
    /// For https: the user's name, and the password or token.
    pub const USERNAME: &str = "username";
    pub const PASSWORD: &str = "password";
    pub const TOKEN: &str = "token";
    /// The one host, with its port if the address has one, that the token may be sent to. Required beside
    /// a token.
    pub const HOST: &str = "host";
    /// The authority that signed the host's certificate, in PEM.
    pub const CA: &str = "ca.crt";
}
