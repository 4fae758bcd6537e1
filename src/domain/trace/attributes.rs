//! Every name of an attribute, once. Those of the semantic conventions mean what they mean there; `gastown.*` are ours.
//! None holds a secret, a prompt, or any other text that a tenant or an agent wrote, beside names of objects and of a model.

/// Name and meaning, for the documentation.
pub type Row = (&'static str, &'static str);

macro_rules! table {
    ($($(#[$doc:meta])* $name:ident = $key:literal, $means:literal;)*) => {
        $(#[doc = $means] pub const $name: &str = $key;)*
        /// All of them.
        pub const TABLE: &[Row] = &[$(($key, $means)),*];
    };
}

table! {
    NAMESPACE = "k8s.namespace.name", "Namespace of the object";
    POD = "k8s.pod.name", "Pod of the attempt";
    POD_UID = "k8s.pod.uid", "Uid of that pod";
    CONTAINER = "k8s.container.name", "Container of the pod in which a stage ran";
    METHOD = "http.request.method", "Method of a request";
    STATUS = "http.response.status_code", "Code of its answer; missing where there was none";
    ROUTE = "http.route", "Path of a call to the operator";
    ERROR = "error.type", "Why it failed: a reason of docs/failures.md, or a class of errors";
    OPERATION = "gen_ai.operation.name", "Of the stage `agent`: `invoke_agent`";
    MODEL = "gen_ai.request.model", "Model that the agent was told to use, where that reads as the name of one";
    TOKENS = "gastown.tokens", "Tokens that the agent reported, of input and output together";
    KIND = "gastown.kind", "Kind of the object";
    NAME = "gastown.name", "Name of the object";
    UID = "gastown.uid", "Uid of the object";
    RIG = "gastown.rig", "Rig of the Polecat";
    ATTEMPT = "gastown.attempt", "Number of the attempt, from 1";
    PHASE = "gastown.phase", "Phase in which the run ended";
    EXIT = "gastown.exit_code", "Exit code of the agent";
    PUSHED = "gastown.pushed", "Whether the remote has the commits";
    COMMIT = "gastown.commit", "Commit that was handed over";
    REPLICA = "gastown.replica", "Replica of the operator";
    SHARD = "gastown.shard", "Shard that the pass acted in";
    EPOCH = "gastown.epoch", "Epoch of its owner";
    WAITED = "gastown.queue.wait_ms", "Milliseconds that the object waited in the queue";
    RETRIES = "gastown.retries", "How many passes over the object failed in a row before this one; missing where none did";
    WRITES = "gastown.writes", "Writes that the pass made";
    RESOURCE = "gastown.resource", "Resource of a request to the API server";
    ADMITTED = "gastown.admission.allowed", "Whether admission let the write pass";
    DOING = "gastown.admission.operation", "CREATE or UPDATE";
    FROM = "gastown.shard.from", "Replica that a shard was taken over from; missing where that is not known";
    TO = "gastown.shard.to", "Replica that it has now";
    LEFT = "gastown.shard.left", "How the shard lost its owner: handed-over, stopped or lost";
    GAP = "gastown.shard.gap_ms", "Milliseconds that nobody worked in it";
    OBJECTS = "gastown.conversion.objects", "Objects of a call that were converted";
    DESIRED = "gastown.conversion.version", "Version that they were converted to";
    STEP = "gastown.certificates.step", "Step that was taken about certificates";
    GENERATION = "gastown.certificates.generation", "Generation of the authority after it";
    STORAGE = "gastown.storage.version", "Version that a kind's objects are written anew in";
    FLAWS = "gastown.admission.violations", "How many things were wrong with it";
    BROKEN = "gastown.admission.broken", "Rules that it broke, or fields in which something was wrong, without keys that somebody chose";
}
