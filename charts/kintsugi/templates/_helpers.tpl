{{- define "kintsugi.name" -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- define "kintsugi.serviceAccount" -}}
{{- default (include "kintsugi.name" .) .Values.serviceAccount.name -}}
{{- end -}}

{{- define "kintsugi.approvals" -}}
{{ include "kintsugi.name" . }}-approvals
{{- end -}}

{{- define "kintsugi.selector" -}}
app.kubernetes.io/name: kintsugi
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "kintsugi.labels" -}}
{{ include "kintsugi.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{/* What the operator may do in the namespaces that it watches: no more than the tests need. */}}
{{- define "kintsugi.rules" -}}
- apiGroups: [kintsugi.dev]
  resources: [widgetclasses, remediationpolicies]
  verbs: [list, watch]
# To patch is for repairs of contracts that ask for healing.writeBack: Document.
- apiGroups: [kintsugi.dev]
  resources: [widgetcontracts]
  verbs: [get, list, watch, patch]
# To open is what admission asks of whoever creates an Incident, whose plan is carried out.
- apiGroups: [kintsugi.dev]
  resources: [incidents]
  verbs: [get, list, watch, create, delete, open]
{{- if .Values.dashboard.enabled }}
# To write down what people decide about Incidents in the JSON API, in their name.
- apiGroups: [kintsugi.dev]
  resources: [incidents]
  verbs: [patch, approve-for]
{{- end }}
- apiGroups: [kintsugi.dev]
  resources: [widgetcontracts/status, remediationpolicies/status, incidents/status]
  verbs: [patch]
# Documents, schemas, served documents and stored revisions.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, watch, create, patch, delete]
# The label kintsugi.dev/max-mode.
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get]
# Headers for sources, read by name and only when a contract names the Secret.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get]
# Where a source's Service is reached.
- apiGroups: [""]
  resources: [services]
  verbs: [get]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [list]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- if or .Values.effects.enabled .Values.diagnosis.enabled }}
# What is wrong with the workloads of sources.
- apiGroups: [apps]
  resources: [deployments, statefulsets]
  verbs: [get]
- apiGroups: [""]
  resources: [pods, events]
  verbs: [list]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [list]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [list]
{{- if .Values.diagnosis.logs }}
- apiGroups: [""]
  resources: [pods/log]
  verbs: [get]
{{- end }}
{{- end }}
{{- if .Values.effects.enabled }}
# To act on them: each act also needs the right of the policy's ServiceAccount to it.
- apiGroups: [apps]
  resources: [deployments, statefulsets]
  verbs: [patch]
{{- if .Values.effects.deletePods }}
- apiGroups: [""]
  resources: [pods]
  verbs: [delete]
{{- end }}
{{- if .Values.effects.jobs }}
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, create]
{{- end }}
{{- if .Values.effects.jobLogs }}
- apiGroups: [""]
  resources: [pods/log]
  verbs: [get]
{{- end }}
- apiGroups: [authorization.k8s.io]
  resources: [localsubjectaccessreviews]
  verbs: [create]
{{- end }}
{{- end -}}
