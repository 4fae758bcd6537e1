{{/* The chart and its version, as a label. */}}
{{- define "gastown-operator.chart" -}}
{{- printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* Labels by which Deployment, Service and budget find the pods: those of the original's chart, since a selector can't be changed. */}}
{{- define "gastown-operator.selectorLabels" -}}
app.kubernetes.io/name: gastown-operator
app.kubernetes.io/instance: {{ .Release.Name | quote }}
control-plane: controller-manager
{{- end }}

{{- define "gastown-operator.labels" -}}
helm.sh/chart: {{ include "gastown-operator.chart" . }}
{{ include "gastown-operator.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{/* Labels or annotations of a release, without those that it takes back by null. */}}
{{- define "gastown-operator.texts" -}}
{{- $kept := dict }}
{{- range $key, $it := . }}{{ if kindIs "string" $it }}{{ $_ := set $kept $key $it }}{{ end }}{{ end }}
{{- if $kept }}{{ toYaml $kept }}{{ end }}
{{- end }}

{{- define "gastown-operator.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default "gastown-operator-controller-manager" }}
{{- end }}

{{/* An image: registry, unless the repository names one, repository, and the digest before the tag. */}}
{{- define "gastown-operator.image" -}}
{{- $tag := .image.tag | default (printf "%s%s" .root.Chart.AppVersion (ternary "-ubi9" "" (eq .root.Values.edition "enterprise"))) -}}
{{- $host := regexMatch "^([^/]*[.:][^/]*|localhost)/" .image.repository -}}
{{- if not $host }}{{ with .root.Values.global.imageRegistry }}{{ trimSuffix "/" . }}/{{ end }}{{ end -}}
{{ .image.repository }}
{{- if .image.digest }}@{{ .image.digest }}{{ else }}:{{ $tag }}{{ end }}
{{- end }}

{{/* The variables of a replica, as the other roads have them. */}}
{{- define "gastown-operator.env" -}}
- name: GASTOWN_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: POD_UID
  valueFrom:
    fieldRef:
      fieldPath: metadata.uid
- name: POD_TEMPLATE_HASH
  valueFrom:
    fieldRef:
      fieldPath: metadata.labels['pod-template-hash']
- name: ZONE
  valueFrom:
    fieldRef:
      fieldPath: metadata.labels['topology.kubernetes.io/zone']
- name: RELATED_IMAGE_RUNNER
  value: {{ include "gastown-operator.image" (dict "root" . "image" .Values.runnerImage) | quote }}
{{- with .Values.agentImage }}
- name: RELATED_IMAGE_AGENT
  value: {{ . | quote }}
{{- end }}
{{- if ne (include "gastown-operator.serviceAccountName" .) "gastown-operator-controller-manager" }}
- name: GASTOWN_OWN_USER
  value: system:serviceaccount:{{ .Release.Namespace }}:{{ include "gastown-operator.serviceAccountName" . }}
{{- end }}
{{- end }}

{{/* Says something unless webhooks were left out in so many words. */}}
{{- define "gastown-operator.asks" -}}
{{- if ne (toString (dig "enabled" true (.Values.webhooks | default dict))) "false" }}yes{{ end }}
{{- end }}

{{- define "gastown-operator.injected" -}}
{{- if eq .Values.certificates.source "cert-manager" -}}
cert-manager.io/inject-ca-from: {{ .Release.Namespace }}/gastown-operator-webhook
{{- else if eq .Values.certificates.source "service-ca" -}}
service.beta.openshift.io/inject-cabundle: "true"
{{- end }}
{{- end }}

{{/* OpenShift's service-ca makes the Secret that the webhooks' Service names. */}}
{{- define "gastown-operator.annotations.service" -}}
{{- if eq .Values.certificates.source "service-ca" -}}
service.beta.openshift.io/serving-cert-secret-name: {{ .Values.certificates.secretName | quote }}
{{- end }}
{{- end }}

{{- define "gastown-operator.annotations.webhooks" -}}
{{ include "gastown-operator.injected" . }}
{{- end }}

{{- define "gastown-operator.annotations.kept" -}}
helm.sh/resource-policy: keep
{{- end }}

{{- define "gastown-operator.annotations.definition" -}}
{{- if .Values.crds.keep -}}
helm.sh/resource-policy: keep
{{ end }}
{{- include "gastown-operator.injected" . }}
{{- end }}

{{/* Labels by which a Prometheus finds its monitors and rules. */}}
{{- define "gastown-operator.labels.monitor" -}}
{{- include "gastown-operator.texts" .Values.metrics.serviceMonitor.labels }}
{{- end }}

{{- define "gastown-operator.labels.rules" -}}
{{- include "gastown-operator.texts" .Values.metrics.prometheusRule.labels }}
{{- end }}

{{- define "gastown-operator.labels.dashboards" -}}
{{- include "gastown-operator.texts" .Values.metrics.dashboards.labels }}
{{- end }}

{{/* Whom a monitor trusts: who signed what is served lies beside it, but for service-ca, whose bundle is in every namespace. */}}
{{- define "gastown-operator.monitor.trusts" -}}
{{- if eq .Values.certificates.source "service-ca" -}}
configMap:
  key: service-ca.crt
  name: openshift-service-ca.crt
{{- else -}}
secret:
  key: ca.crt
  name: {{ ternary "gastown-operator-webhook-certificates" .Values.certificates.secretName (eq .Values.certificates.source "own") | quote }}
{{- end }}
{{- end }}

{{/* Values that mean what this operator does not do, each with what to say instead. */}}
{{- define "gastown-operator.refuse" -}}
{{- $own := list "" "gastown-operator" }}
{{- if or (not (has .Values.nameOverride $own)) (not (has .Values.fullnameOverride $own)) }}
{{- fail "nameOverride, fullnameOverride: leave them empty; names are fixed, since there is one operator in a cluster and it finds its own objects by name" }}
{{- end }}
{{- if or .Values.volumes.enabled (ne .Values.volumes.hostPath "/home/core/gt") }}
{{- fail "volumes: take them out; the operator mounts nothing of a node" }}
{{- end }}
{{- if or (ne .Values.gtConfig.townRoot "/gt") (ne .Values.gtConfig.gtBinary "/usr/local/bin/gt") }}
{{- fail "gtConfig: take it out; the operator runs no gt and reads no town" }}
{{- end }}
{{- if .Values.polecatImages }}
{{- fail "polecatImages: polecatImages.git is runnerImage.repository and runnerImage.tag now, an image with gt-runner in it; polecatImages.claude is agentImage" }}
{{- end }}
{{- if not .Values.leaderElection.enabled }}
{{- fail "leaderElection.enabled: take it out; the election always takes place, also for one replica" }}
{{- end }}
{{- if and .Values.metrics.serviceMonitor.enabled (not (and .Values.metrics.enabled .Values.metrics.secure)) }}
{{- fail "metrics.serviceMonitor.enabled: nobody beyond a pod reads its metrics; set metrics.enabled=true and metrics.secure=true, or leave the monitor out" }}
{{- end }}
{{- if and .Values.metrics.prometheusRule.enabled (not (and .Values.metrics.enabled .Values.metrics.secure)) }}
{{- fail "metrics.prometheusRule.enabled: nobody beyond a pod reads the metrics that its alerts ask for; set metrics.enabled=true and metrics.secure=true, or leave the rules out" }}
{{- end }}
{{- $ofPods := list "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/version" "control-plane" }}
{{- $ofObjects := concat $ofPods (list "app.kubernetes.io/managed-by" "helm.sh/chart") }}
{{- $own := dict "podLabels" $ofPods "metrics.serviceMonitor.labels" $ofObjects "metrics.prometheusRule.labels" $ofObjects "metrics.dashboards.labels" (append $ofObjects "grafana_dashboard") }}
{{- range $name, $given := dict "podLabels" .Values.podLabels "metrics.serviceMonitor.labels" .Values.metrics.serviceMonitor.labels "metrics.prometheusRule.labels" .Values.metrics.prometheusRule.labels "metrics.dashboards.labels" .Values.metrics.dashboards.labels }}
{{- range $key, $_ := $given }}
{{- if has $key (get $own $name) }}{{ fail (printf "%s: take %s out; the chart writes it" $name $key) }}{{ end }}
{{- end }}
{{- end }}
{{- if ne .Values.certificates.source "own" }}
{{- range .Values.extraVolumes }}
{{- if eq (toString .name) "certificates" }}{{ fail "extraVolumes: take another name than certificates, which the chart has for what certificates.source brings" }}{{ end }}
{{- end }}
{{- end }}
{{- if eq .Values.edition "enterprise" }}
{{- range $name, $it := dict "image" .Values.image "runnerImage" .Values.runnerImage }}
{{- if and $it.tag (not $it.digest) (not (regexMatch "ubi9|enterprise" (printf "%s:%s" (base $it.repository) $it.tag))) }}
{{- fail (printf "%s.tag: by its name, %s:%s is the Community edition's, without the FIPS build of the cryptography; leave the tag out (--set %s.tag=), or take %s-ubi9, or say which image you mean by %s.digest" $name $it.repository $it.tag $name $it.tag $name) }}
{{- end }}
{{- end }}
{{- end }}
{{- $health := int .Values.probes.healthPort }}
{{- if eq $health 9443 }}
{{- fail "probes.healthPort: 9443 is the webhooks' port; take another one" }}
{{- end }}
{{- if and .Values.metrics.enabled (has (int .Values.metrics.port) (list 9443 $health)) }}
{{- fail (printf "metrics.port: %d is taken; webhooks have 9443 and health (probes.healthPort) %d, so take another one" (int .Values.metrics.port) $health) }}
{{- end }}
{{- range list .Values.securityContext .Values.podSecurityContext }}
{{- $it := . | default dict }}
{{- if or (eq (toString $it.runAsUser) "0") (eq (toString $it.runAsNonRoot) "false") }}
{{- fail "securityContext, podSecurityContext: take runAsUser and runAsNonRoot out; the operator never runs as root" }}
{{- end }}
{{- end }}
{{- if and (eq .Values.certificates.source "secret") (not .Values.certificates.caBundle) }}
{{- fail "certificates.caBundle: with certificates.source=secret say who signed: base64 -w0 ca.crt" }}
{{- end }}
{{- if and (eq .Values.certificates.source "service-ca") (eq .Values.platform "kubernetes") }}
{{- fail "certificates.source: service-ca is OpenShift's; with platform=kubernetes take own, cert-manager or secret" }}
{{- end }}
{{- if and (ne .Values.certificates.source "secret") .Values.certificates.caBundle }}
{{- fail "certificates.caBundle: it goes with certificates.source=secret; the other sources write their own" }}
{{- end }}
{{- $seen := list }}
{{- range .Values.extraEnv }}
{{- $name := toString .name }}
{{- if has $name $seen }}{{ fail (printf "extraEnv: %s is there twice; leave one" $name) }}{{ end }}
{{- $seen = append $seen $name }}
{{- if has $name (list "GT_TOWN_ROOT" "GT_PATH") }}{{ fail (printf "extraEnv: take %s out; the operator does not read it" $name) }}{{ end }}
{{- if has $name (list "GASTOWN_NAMESPACE" "POD_NAME" "POD_UID" "POD_TEMPLATE_HASH") }}{{ fail (printf "extraEnv: take %s out; a replica knows itself by it" $name) }}{{ end }}
{{- end }}
{{- end }}
