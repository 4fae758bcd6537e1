//! `kubectl gt check` as pipelines call it: exit codes, lines of JSON, and words for what can't be read. No cluster is there.

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};

fn check(folder: &Path, args: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-gt"));
    command.arg("check").args(args).current_dir(folder).env("KUBECONFIG", "/nowhere");
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = pipes.spawn().unwrap();
    // Who fails on its arguments reads nothing.
    drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
    child.wait_with_output().unwrap()
}

/// Exit code, lines of JSON, and what the standard error says.
fn json(folder: &Path, args: &[&str], input: &str) -> (i32, Vec<Value>, String) {
    let output = check(folder, &[args, &["-o", "json"]].concat(), input);
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().map(|it| serde_json::from_str(it).unwrap()).collect();
    (output.status.code().unwrap(), lines, String::from_utf8(output.stderr).unwrap())
}

const GOOD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: good}
spec:
  securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
  containers:
    - name: main
      image: i
      securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
";

/// The same as the template of another kind.
fn template(api_version: &str, kind: &str, path: &[&str], extra: &Value) -> Value {
    let pod: Value = serde_saphyr::from_str(GOOD).unwrap();
    let mut inner = json!({"spec": pod["spec"]});
    inner["spec"]["containers"][0]["securityContext"]["privileged"] = json!(true);
    for key in path.iter().rev() {
        inner = json!({*key: inner});
    }
    inner["apiVersion"] = json!(api_version);
    inner["kind"] = json!(kind);
    inner["metadata"] = json!({"name": "x"});
    inner["extra"] = extra.clone();
    inner
}

#[test]
fn the_exit_code_says_allowed_refused_or_bad_input() {
    let folder = tempfile::tempdir().unwrap();
    let bad = GOOD.replace("runAsNonRoot: true", "runAsNonRoot: false");
    let (at, both) = (folder.path(), format!("{GOOD}---{bad}"));
    for (args, input, code, because) in [
        (&["-f", "-"][..], GOOD, 0, "all allowed"),
        (&["-f", "-"], &bad, 1, "root"),
        (&["-f", "-"], &both, 1, "one of two"),
        (&["-f", "-", "--policy", "baseline@v1.20"], &bad, 0, "baseline lets root in"),
        (&["-f", "-"], "a: [", 2, "no YAML"),
        (&["-f", "-"], "", 2, "nothing"),
        (&["-f", "-"], "just text", 2, "no object"),
        (&["-f", "-"], "replicas: 1", 2, "no object either, and who names it means it"),
        (&["-f", "-"], "{\"apiVersion\": \"v1\", \"kind\": \"List\", \"items\": []}", 0, "none"),
        (&["-f", "-"], "apiVersion: v1\nkind: PodList\nitems: []\n", 0, "as kubectl has no pods"),
        (&["-f", "-"], "apiVersion: v1\nkind: PodList\nitems: {}\n", 2, "no list"),
        (&["-f", "-"], "{\"apiVersion\": \"v1\"}", 2, "no kind"),
        (&["-f", "-"], "apiVersion: v1\nkind: Pod\nspec: {}\n", 2, "a pod without containers"),
        (&["-f", "missing.yaml"], "", 2, "no such file"),
        (&["-f", "-", "--policy", "restricted@v1.99"], GOOD, 2, "no such version"),
        (&["-f", "-", "--policy", "privileged"], GOOD, 2, "no level that refuses anything"),
        (&["-f", "-", "--rules", "none"], GOOD, 2, "no such rules"),
        (&[], GOOD, 2, "nothing to check"),
    ] {
        let output = check(at, args, input);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{because}: {errors}");
        assert_eq!(code == 2, !errors.is_empty(), "{because}: words for bad input alone: {errors}");
    }
}

#[test]
fn bad_input_is_told_with_where_and_how_and_hides_no_verdict() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("bad.yaml"), "kind: [\n").unwrap();
    std::fs::write(folder.path().join("good.yaml"), GOOD).unwrap();
    let (code, lines, errors) = json(folder.path(), &["-f", "."], "");
    assert_eq!((code, lines.len()), (2, 1), "the good one is judged: {errors}");
    assert_eq!(lines[0]["file"], "./good.yaml");
    assert!(errors.contains("./bad.yaml: is no YAML: ") && errors.contains("line 1"), "{errors}");
    let (_, _, errors) = json(folder.path(), &["-f", "-", "--policy", "restricted@v1.99"], "");
    assert!(errors.contains("v1.99") && errors.contains("v1.0 to v1."), "{errors}");
}

#[test]
fn what_is_no_object_is_left_out_of_a_folder_and_said() {
    let folder = tempfile::tempdir().unwrap();
    let lay = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    lay("values.yaml", "replicas: 1\nimage: {tag: latest}\n");
    lay("empty.yaml", "# kept for later\n");
    lay("list.json", "[1, 2]");
    let said = |folder: &Path, words: &[&str]| {
        let output = check(folder, words, "");
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, errors) = said(folder.path(), &["-f", "."]);
    assert_eq!(code, Some(2), "whoever names the wrong folder hears of it: {errors}");
    assert!(errors.contains("no file in it holds an object"), "{errors}");
    lay("pod.yaml", &format!("{GOOD}---\nnote: beside it\n"));
    let (code, errors) = said(folder.path(), &["-f", "."]);
    assert_eq!(code, Some(0), "{errors}");
    for it in ["./values.yaml: document 1", "./list.json: document 1", "./pod.yaml: document 2"] {
        let said = format!("{it} is left out: it has neither an apiVersion nor a kind");
        assert!(errors.contains(&said), "{errors}");
    }
    assert!(errors.contains("./empty.yaml is left out"), "{errors}");
    assert_eq!(said(folder.path(), &["-f", "values.yaml"]).0, Some(2), "a file that is named");
    lay("half.yaml", "kind: Pod\n");
    let (code, errors) = said(folder.path(), &["-f", "."]);
    assert_eq!(code, Some(2), "one of both was forgotten: {errors}");
}

#[test]
fn there_is_one_line_for_each_object_with_every_violation() {
    let templates = [
        template("apps/v1", "Deployment", &["spec", "template"], &json!(1)),
        template("apps/v1", "StatefulSet", &["spec", "template"], &json!(1)),
        template("apps/v1", "DaemonSet", &["spec", "template"], &json!(1)),
        template("apps/v1", "ReplicaSet", &["spec", "template"], &json!(1)),
        template("batch/v1", "Job", &["spec", "template"], &json!(1)),
        template("batch/v1", "CronJob", &["spec", "jobTemplate", "spec", "template"], &json!(1)),
    ];
    let list = json!({"apiVersion": "v1", "kind": "List", "items": templates});
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("below")).unwrap();
    std::fs::write(folder.path().join("below/all.json"), list.to_string()).unwrap();
    let other = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n";
    std::fs::write(folder.path().join("other.yml"), format!("{other}---\n{GOOD}")).unwrap();
    std::fs::write(folder.path().join("notes.txt"), "no manifest").unwrap();
    let name = folder.path().to_str().unwrap();
    let (code, lines, errors) = json(folder.path(), &["-f", name], "");
    assert_eq!((code, lines.len()), (1, 8), "{errors}");
    for (line, place) in lines.iter().zip([
        "spec.template.",
        "spec.template.",
        "spec.template.",
        "spec.template.",
        "spec.template.",
        "spec.jobTemplate.spec.template.",
    ]) {
        assert_eq!(line["file"], format!("{name}/below/all.json"));
        let path = format!("{place}spec.containers[0].securityContext.privileged");
        let violation = &line["violations"][0];
        assert_eq!((&violation["check"], &violation["path"]), (&json!("privileged"), &json!(path)));
        assert!(violation["message"].as_str().unwrap().contains("must be unset or false"));
        assert_eq!(
            line.as_object().unwrap().keys().collect::<Vec<_>>(),
            ["allowed", "file", "violations"]
        );
    }
    let allowed: Vec<_> = lines.iter().filter(|it| it["allowed"] == true).collect();
    assert_eq!(allowed.len(), 2, "a ConfigMap holds no pod, and the good pod is good");
    assert_eq!(allowed[0]["violations"], json!([]));
}

/// A pod with next to nothing in its spec.
fn bare(context: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: bare}}\nspec:\n  {context}\n  containers: [{{name: main, image: i}}]\n"
    )
}

#[test]
fn each_flag_says_what_a_pod_is_held_to() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    at(
        "namespace.yaml",
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: town\n  annotations:\n    \
        openshift.io/sa.scc.uid-range: 1000650000/10000\n    openshift.io/sa.scc.mcs: s0:c26,c5\n",
    );
    at("bare.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: town}\n");
    at("two.yaml", "apiVersion: v1\nkind: Namespace\n---\napiVersion: v1\nkind: Namespace\n");
    let with = |line: &str| GOOD.replace("  containers:", &format!("  {line}\n  containers:"));
    let user = |id: &str| {
        GOOD.replace("runAsNonRoot: true", &format!("runAsNonRoot: true, runAsUser: {id}"))
    };
    let local = GOOD.replace("type: RuntimeDefault", "type: Localhost, localhostProfile: a");
    let aliases = with("hostAliases: [{ip: 192.0.2.1, hostnames: [a]}]");
    let here = ["--platform", "openshift", "--namespace-file", "namespace.yaml"];
    let alone = [&here[..], &["--rules", "pss"]].concat();
    #[rustfmt::skip]
    let table = [
        (&[][..],                                       local.clone(),       vec![],                     "elsewhere a constraint is advice"),
        (&["--platform", "openshift"],                  local.clone(),       vec!["scc.seccompProfile"], "there it decides"),
        (&["--rules", "scc"],                           local,               vec!["scc.seccompProfile"], "nothing else was asked"),
        (&here,                                         GOOD.to_owned(),     vec![],                     "nothing is missing"),
        (&here,                                         bare("hostPID: false"), vec![],                     "what it would set counts as set"),
        (&here,                                         bare("securityContext: {runAsUser: 0}"), vec!["runAsUser", "scc.runAsUser"], "that nobody sets otherwise"),
        (&["--platform", "openshift"],                  bare("securityContext: {runAsUser: 0}"), vec!["runAsUser"], "nor where the range is not known"),
        (&here,                                         bare("hostNetwork: true"), vec!["hostNamespaces", "scc.hostNamespaces"], "said of what was written alone"),
        (&alone,                                        bare("hostPID: false"), vec!["allowPrivilegeEscalation", "capabilities_restricted", "runAsNonRoot", "seccompProfile_restricted"], "Pod Security alone was asked"),
        (&[],                                           bare("hostPID: false"), vec!["allowPrivilegeEscalation", "capabilities_restricted", "runAsNonRoot", "seccompProfile_restricted"], "as it is written"),
        (&here,                                         user("1000650007"),  vec![],                     "a user of the range"),
        (&here,                                         user("1500"),        vec!["scc.runAsUser"],      "another user"),
        (&["--platform", "openshift"],                  user("1500"),        vec![],                     "nobody said what the range is"),
        (&["--namespace-file", "namespace.yaml"],       user("1500"),        vec![],                     "on Kubernetes that is advice"),
        (&["--platform", "openshift", "--namespace-file", "bare.yaml"], GOOD.to_owned(),
            vec!["scc.fsGroup", "scc.runAsUser", "scc.seLinuxOptions"], "no constraint lets anything into it"),
        (&[],                                           aliases.clone(),     vec!["ours.hostAliases"],   "a rule of ours"),
        (&["--except", "ours.hostAliases"],             aliases.clone(),     vec![],                     "it does not hold"),
        (&["--rules", "pss"],                           aliases,             vec![],                     "ours were not asked"),
        (&["--rules", "ours", "--policy", "baseline"],  user("0"),           vec![],                     "baseline lets root in, so do we"),
        (&["--rules", "ours"],                          user("0"),           vec!["ours.root"],          "restricted does not"),
    ];
    for (args, input, want, because) in table {
        let (code, lines, errors) = json(folder.path(), &[&["-f", "-"], args].concat(), &input);
        let mut found: Vec<_> = lines[0]["violations"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["check"].as_str().unwrap())
            .collect();
        found.sort_unstable();
        assert_eq!(found, want, "{because}: {errors}");
        assert_eq!(code, i32::from(!want.is_empty()), "{because}");
    }
    for file in ["two.yaml", "none.yaml"] {
        let (code, _, errors) = json(folder.path(), &["-f", "-", "--namespace-file", file], GOOD);
        assert!(code == 2 && errors.contains(file), "{file}: {errors}");
    }
}

#[test]
fn a_long_stream_is_read_to_its_end_and_who_reads_no_further_hears_no_panic() {
    let folder = tempfile::tempdir().unwrap();
    let bad = GOOD.replace("runAsNonRoot: true", "runAsNonRoot: false");
    std::fs::write(
        folder.path().join("many.yaml"),
        format!("{}{bad}", format!("{GOOD}---").repeat(2000)),
    )
    .unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-gt"));
    command.args(["check", "-f", "many.yaml"]).current_dir(folder.path());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &*errors), (Some(1), ""), "the last one is refused");
}

#[test]
fn people_read_where_what_and_how_to_mend_it() {
    let folder = tempfile::tempdir().unwrap();
    let bad = GOOD.replace("drop: [ALL]", "drop: []");
    let output = check(folder.path(), &["-f", "-"], &bad);
    insta::assert_snapshot!(String::from_utf8(output.stdout).unwrap(), @r#"
    -: Pod good: refused
      spec.containers[0].securityContext.capabilities.drop: container "main" is [], must contain "ALL" (PSS restricted v1.37)
      what one value mends, as a patch (kubectl patch --local -f FILE -o yaml -p PATCH):
      {"spec":{"containers":[{"name":"main","securityContext":{"capabilities":{"drop":["ALL"]}}}]}}
      unset, and set by the operator's webhook where that looks at such pods: 1 of 1
    "#);
}
