{{- define "shop.labels" -}}
app.kubernetes.io/name: shop
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "shop.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* Everything a process of the shop needs to know. Takes (dict "root" $ "name" "inventory"). */}}
{{- define "shop.env" -}}
{{- $root := .root -}}
- name: SHOP_DATABASE_URL
  value: {{ $root.Values.database.url | quote }}
- name: SHOP_DATABASE_ROLES
  value: "1"
- name: PGPASSFILE
  value: /var/lib/shop/.pgpass
- name: SHOP_DATABASE_POOL
  value: {{ $root.Values.database.pool | quote }}
- name: SHOP_PUBLIC_URL
  value: {{ $root.Values.publicUrl | quote }}
- name: SHOP_TLS
  value: terminated
{{- if not (hasKey $root.Values.settings "SHOP_TRUSTED_PROXIES") }}
- name: SHOP_TRUSTED_PROXIES
  value: "*"
{{- end }}
- name: SHOP_METRICS_FROM
  value: {{ $root.Values.metricsFrom | quote }}
{{- if not (hasKey $root.Values.settings "SHOP_LOG_FORMAT") }}
- name: SHOP_LOG_FORMAT
  value: json
{{- end }}
- name: SHOP_KEY_DIR
  value: /etc/shop/keys
- name: SHOP_ANCHOR_FILE
  value: /var/lib/shop/anchors/anchors.jsonl
{{- if $root.Values.identity.issuers }}
- name: SHOP_ISSUERS_FILE
  value: /etc/shop/config/issuers.toml
{{- end }}
- name: SHOP_DUTIES
  value: {{ ternary "1" "0" (eq .name "desk") | quote }}
- name: SHOP_AUTH_SERVER
  value: {{ ternary "1" "0" $root.Values.identity.authServer | quote }}
{{- if $root.Values.policy }}
- name: SHOP_POLICY_FILE
  value: /etc/shop/config/policy.toml
{{- end }}
{{- range $name, $value := $root.Values.settings }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- range $name, $from := $root.Values.secretSettings }}
- name: {{ $name }}
  valueFrom:
    secretKeyRef:
      name: {{ $from.secret }}
      key: {{ $from.key }}
{{- end }}
{{- end }}

{{- define "shop.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "shop.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: ["ALL"]
{{- end }}

{{- define "shop.probes" -}}
startupProbe:
  httpGet: {path: /healthz, port: http}
  periodSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /healthz, port: http}
  periodSeconds: 10
  timeoutSeconds: 3
readinessProbe:
  httpGet: {path: /readyz, port: http}
  periodSeconds: 5
  timeoutSeconds: 3
{{- end }}

{{/* The pod of one server, or of the desk. Takes (dict "root" $ "name" … "args" …). */}}
{{- define "shop.pod" -}}
{{- $root := .root -}}
metadata:
  labels:
    {{- include "shop.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .name }}
  annotations:
    checksum/config: {{ include (print $root.Template.BasePath "/config.yaml") $root | sha256sum }}
    prometheus.io/scrape: "true"
    prometheus.io/port: "8300"
    prometheus.io/path: /metrics
spec:
  serviceAccountName: {{ $root.Release.Name }}-{{ .name }}
  automountServiceAccountToken: false
  enableServiceLinks: false # a service shop-http beside it would be SHOP_HTTP_PORT
  terminationGracePeriodSeconds: 30
  securityContext:
    {{- include "shop.podSecurity" $root | nindent 4 }}
  {{- with $root.Values.image.pullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          app.kubernetes.io/instance: {{ $root.Release.Name }}
          app.kubernetes.io/component: {{ .name }}
  initContainers:
    {{- include "shop.passwords" . | nindent 4 }}
  containers:
    - name: shop
      image: {{ include "shop.image" $root }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      args:
        {{- toYaml .args | nindent 8 }}
      env:
        {{- include "shop.env" . | nindent 8 }}
      ports:
        - {name: http, containerPort: 8300}
      {{- include "shop.probes" $root | nindent 6 }}
      lifecycle:
        preStop:
          # The endpoint is taken out of the service before the server stops listening.
          exec: {command: ["sleep", "5"]}
      resources:
        {{- toYaml $root.Values.resources | nindent 8 }}
      securityContext:
        {{- include "shop.containerSecurity" $root | nindent 8 }}
      volumeMounts:
        {{- include "shop.mounts" . | nindent 8 }}
  volumes:
    {{- include "shop.volumes" . | nindent 4 }}
{{- end }}

{{/* A password file may be read by its owner alone, which a mounted secret never is. */}}
{{- define "shop.passwords" -}}
- name: passwords
  image: {{ include "shop.image" .root }}
  imagePullPolicy: {{ .root.Values.image.pullPolicy }}
  command: ["install", "-m", "600", "/etc/shop/passwords/pgpass", "/var/lib/shop/.pgpass"]
  resources:
    requests: {cpu: 10m, memory: 16Mi}
    limits: {memory: 64Mi}
  securityContext:
    {{- include "shop.containerSecurity" .root | nindent 4 }}
  volumeMounts:
    - {name: passwords, mountPath: /etc/shop/passwords, readOnly: true}
    - {name: home, mountPath: /var/lib/shop}
{{- end }}

{{- define "shop.mounts" -}}
- {name: keys, mountPath: /etc/shop/keys, readOnly: true}
- {name: config, mountPath: /etc/shop/config, readOnly: true}
- {name: home, mountPath: /var/lib/shop}
- {name: tmp, mountPath: /tmp}
{{- if eq .name "desk" }}
- {name: anchors, mountPath: /var/lib/shop/anchors}
{{- end }}
{{- end }}

{{- define "shop.volumes" -}}
{{- $root := .root -}}
- name: keys
  secret:
    secretName: {{ $root.Values.keys.existingSecret }}
    defaultMode: 0440
- name: config
  configMap:
    name: {{ $root.Release.Name }}-config
- name: passwords
  secret:
    secretName: {{ $root.Values.database.existingSecret }}
    items: [{key: pgpass-{{ .name }}, path: pgpass}]
- {name: home, emptyDir: {}}
- {name: tmp, emptyDir: {}}
{{- if eq .name "desk" }}
- name: anchors
  persistentVolumeClaim:
    claimName: {{ $root.Values.anchors.existingClaim | default (print $root.Release.Name "-anchors") }}
{{- end }}
{{- end }}
