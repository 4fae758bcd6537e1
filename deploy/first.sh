#!/usr/bin/env bash
# Applies what it reads over definitions that nobody converts, as the Go original's are, in an order in which no write ever asks where
# nobody answers: the replicas, if they are in it, and once they are ready the definitions and webhooks, which are told at once whom to
# trust. Where ours are there already it changes nothing. Who applies the same afterwards, kubectl or Helm, owns it alone.
#
#   NAMESPACE     the operator's                   (gastown-operator-system)
#   KUBECTL       kubectl, with its flags
#   TIMEOUT       how long to wait for the replicas (180s; 0s: not at all, so nothing is applied)
set -euo pipefail

kubectl=${KUBECTL:-kubectl}
namespace=${NAMESPACE:-gastown-operator-system}
timeout=${TIMEOUT:-180s}
deployment=gastown-operator-controller-manager
service=gastown-operator-webhook-service
certificates=gastown-operator-webhook-certificates
# A writer for whom to trust alone: given up, it stays though it is not among what is applied later. And the one who applies that.
once=gastown-operator-first
later=kubectl

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/all.yaml"
documents() { awk -v RS='\n---\n' -v ORS='\n---\n' "$1" "$work/all.yaml"; }
asking='/\nkind: (CustomResourceDefinition|MutatingWebhookConfiguration|ValidatingWebhookConfiguration)\n/'
documents "$asking" >"$work/asking.yaml"
documents "!$asking && /\nkind: /" >"$work/replicas.yaml"
documents '/\nkind: CustomResourceDefinition\n/ && /\n  conversion:\n/' >"$work/converted.yaml"
[ -s "$work/asking.yaml" ] || {
    echo "first: no definitions and no webhooks on standard input; pipe what is to be applied into it" >&2
    exit 2
}
if grep -q '^ *app.kubernetes.io/managed-by: Helm$' "$work/asking.yaml"; then later=helm; fi
apply() { $kubectl apply --server-side --force-conflicts "$@"; }

# What has two owners, such as a webhook, no later release takes out.
owned='{{range .items}}{{$it := .}}{{range $at, $by := .metadata.managedFields}}{{if eq $by.manager "'$once'"}}'
owned+='{{$it.kind}}/{{$it.metadata.name}} {{$it.metadata.resourceVersion}} {{$at}}{{"\n"}}{{end}}{{end}}{{end}}'
all_owned() { $kubectl get -f "$work/asking.yaml" --ignore-not-found --show-managed-fields -o go-template="$owned"; }
give_up() {
    local found object version at
    found=$(all_owned) || return
    while read -r object version at; do
        [ -z "$object" ] || $kubectl patch "$object" --type=json </dev/null -p "[
            {\"op\": \"test\", \"path\": \"/metadata/resourceVersion\", \"value\": \"$version\"},
            {\"op\": \"remove\", \"path\": \"/metadata/managedFields/$at\"}]" || return
    done <<<"$found"
}
# Who applies the rest owns it first: what nobody owns is taken for that of somebody from before, who never gives it up. Once more
# where somebody wrote meanwhile, as replicas do that tell whom to trust.
hand_over() {
    local found try
    found=$(all_owned)
    [ -n "$found" ] || return 0
    apply --field-manager="$later" -f "$work/asking.yaml" >/dev/null
    for try in $(seq 10); do
        if give_up; then return; fi
        sleep 1
    done
    echo "first: $once still owns what it applied; call this once more" >&2
    return 1
}

# The original's budget says minAvailable, which can't be merged with ours, whoever applies it.
replicas=$(grep '^kind: Deployment$' "$work/replicas.yaml" || true)
budget=poddisruptionbudget/gastown-operator-controller-manager-pdb
[ -z "$replicas" ] ||
    [ -z "$($kubectl -n "$namespace" get "$budget" --ignore-not-found -o 'jsonpath={.spec.minAvailable}')" ] ||
    $kubectl -n "$namespace" delete "$budget"

# Whatever was cut off before goes on from where it was: the rest is converted by nobody yet, or is only to be handed over.
strategies=$($kubectl get -f "$work/converted.yaml" --ignore-not-found -o 'jsonpath={..conversion.strategy}')
case " $strategies " in
    *" None "*) ;;
    "  ") exit ;;
    *) hand_over; exit ;;
esac
[ "$timeout" != 0s ] || exit 0

[ -z "$replicas" ] || apply -f "$work/replicas.yaml"
$kubectl -n "$namespace" rollout status "deployment/$deployment" --timeout="$timeout"
[ -n "$($kubectl -n "$namespace" get service "$service" --ignore-not-found -o name)" ] || {
    echo "first: no Service $service in $namespace, so that Deployment is not ours: bring the replicas before what asks them" >&2
    exit 1
}
bundle=$($kubectl -n "$namespace" get secret "$certificates" --ignore-not-found -o 'jsonpath={.data.ca\.crt}')
[ -n "$bundle" ] || grep -q '^ *caBundle: .' "$work/asking.yaml" || {
    echo "first: whom to trust is known of an authority of the operator's own (Secret $certificates in $namespace), or where what is" \
        "read says it (caBundle); certificates by others come a moment after what asks, so apply all at once" >&2
    exit 1
}
awk -v bundle="$bundle" '
    { print } bundle != "" && /^ *clientConfig:$/ { match($0, /^ */); printf "%s  caBundle: %s\n", substr($0, 1, RLENGTH), bundle }' \
    "$work/asking.yaml" >"$work/told.yaml"
apply --field-manager="$once" -f "$work/told.yaml"
hand_over
