"""What `cargo xtask deploy-check` asks of the files in deploy/: `manifests.py BASE.yaml EXAMPLE.yaml README.md SYSTEMD`.

    schemas     every object, strictly, by the schemas that Kubernetes publishes, of the oldest and the newest release
    references  what an object names is there: volumes, keys, accounts, ports, and pods behind each selector
    promises    no privileges and no API token; more time to stop than the settings take; names that the plan has
    settings    every LIFECYCLE_ variable, in the units too, is one of the README's table

Last it breaks the objects one by one, because a check that finds nothing may be one that does not look.
"""

import copy
import pathlib
import re
import sys
import tomllib

import yaml
from kubernetes_validate import ValidationError, validate

RELEASES = ["1.30", "1.37"]
# How long a store that is away is waited for at the end (RELEASE_PATIENCE in agent-sdk).
RELEASE_SECONDS = 5
DEFAULT_SECONDS = {"DRAIN": 30, "KILL": 5}


def name(document):
    return f"{document['kind']} {document['metadata']['name']}"


def schema_problems(documents):
    for release in RELEASES:
        for document in documents:
            try:
                validate(document, release, strict=True)
            except ValidationError as error:
                path = ".".join(str(part) for part in error.absolute_path)
                yield f"{name(document)}: {path}: {error.message} (Kubernetes {release})"


def templates(documents):
    """Every pod template, with the object that it is of."""
    return [(document, document["spec"]["template"]) for document in documents if "template" in document.get("spec", {})]


def selects(selector, labels):
    return selector.items() <= labels.items()


def named(documents, kind):
    return {document["metadata"]["name"]: document for document in documents if document["kind"] == kind}


def references(pod):
    """Each (kind, name, key) that a pod cannot start without."""
    yield "ServiceAccount", pod.get("serviceAccountName"), None
    for volume in pod.get("volumes", []):
        yield "ConfigMap", volume.get("configMap", {}).get("name"), None
        yield "Secret", volume.get("secret", {}).get("secretName"), None
    for container in pod["containers"]:
        for source in container.get("envFrom", []):
            yield "ConfigMap", source.get("configMapRef", {}).get("name"), None
            yield "Secret", source.get("secretRef", {}).get("name"), None
        for variable in container.get("env", []):
            source = variable.get("valueFrom", {})
            for kind, key in (("ConfigMap", "configMapKeyRef"), ("Secret", "secretKeyRef")):
                yield kind, source.get(key, {}).get("name"), source.get(key, {}).get("key")


def pod_problems(documents):
    for document, template in templates(documents):
        where, pod = name(document), template["spec"]
        for kind, wanted, key in references(pod):
            there = named(documents, kind)
            if wanted and wanted not in there:
                yield f"{where}: there is no {kind} {wanted}"
            elif key and key not in there[wanted].get("data", {}):
                yield f"{where}: {kind} {wanted} has no {key}"
        volumes = {volume["name"] for volume in pod.get("volumes", [])}
        volumes |= {claim["metadata"]["name"] for claim in document["spec"].get("volumeClaimTemplates", [])}
        for container in pod["containers"]:
            ports = {key for port in container.get("ports", []) for key in (port["name"], port["containerPort"])}
            probes = [container.get(f"{probe}Probe", {}) for probe in ("readiness", "liveness", "startup")]
            for probe in probes:
                if "httpGet" in probe and probe["httpGet"]["port"] not in ports:
                    yield f"{where}: a probe asks port {probe['httpGet']['port']}, which {container['name']} has not"
            for mount in container.get("volumeMounts", []):
                if mount["name"] not in volumes:
                    yield f"{where}: there is no volume {mount['name']}"


def selector_problems(documents):
    pods = templates(documents)
    for document in documents:
        spec = document.get("spec", {})
        if document["kind"] in ("Deployment", "StatefulSet"):
            if not selects(spec["selector"]["matchLabels"], spec["template"]["metadata"]["labels"]):
                yield f"{name(document)}: its selector is not of its own pods"
            continue
        if document["kind"] == "Service":
            selector, ports = spec["selector"], [port["targetPort"] for port in spec["ports"]]
        elif document["kind"] == "PodDisruptionBudget":
            selector, ports = spec["selector"]["matchLabels"], []
        elif document["kind"] == "NetworkPolicy":
            selector = spec["podSelector"]["matchLabels"]
            ports = [port["port"] for rule in spec.get("ingress", []) for port in rule["ports"]]
            peers = [peer for rule in spec.get("ingress", []) for peer in rule["from"]]
            peers += [peer for rule in spec.get("egress", []) for peer in rule.get("to", [])]
            for peer in (peer["podSelector"]["matchLabels"] for peer in peers if "podSelector" in peer):
                if not any(selects(peer, pod["metadata"]["labels"]) for _, pod in pods):
                    yield f"{name(document)}: no pods are those of the peer {peer}"
        else:
            continue
        chosen = [pod for _, pod in pods if selects(selector, pod["metadata"]["labels"])]
        has = {key for pod in chosen for container in pod["spec"]["containers"]
               for port in container.get("ports", []) for key in (port["name"], port["containerPort"])}
        if not chosen:
            yield f"{name(document)}: it selects no pods"
        yield from (f"{name(document)}: its pods have no port {port}" for port in ports if port not in has)


def seconds(text):
    number, unit = re.fullmatch(r"(\d+)\s*(s|m|h)", text).groups()
    return int(number) * {"s": 1, "m": 60, "h": 3600}[unit]


def time_problems(where, variables, wait, patience):
    """Stopping takes so long: the drain, the end of the tree, the release. Whoever stops it has to wait for longer."""
    given = {short: variables.get(f"LIFECYCLE_SHUTDOWN__{short}_TIMEOUT") for short in DEFAULT_SECONDS}
    needed = RELEASE_SECONDS + sum(seconds(given[key]) if given[key] else DEFAULT_SECONDS[key] for key in given)
    if wait is not None and wait <= needed:
        yield f"{where}: to stop may take {needed} s, and it is waited for {wait} s"
    if patience <= (wait or needed):
        yield f"{where}: to stop may take {wait or needed} s, and it is killed after {patience} s"


def promise_problems(documents):
    plans = [tomllib.loads(config["data"]["plan.toml"])
             for config in documents if config["kind"] == "ConfigMap" and "plan.toml" in config["data"]]
    pools = {(plan["epic"]["id"], sprint["id"], agent["id"]) for plan in plans
             for sprint in plan["sprint"] for agent in sprint["agent"] if agent.get("spawn") is False}
    for document, template in templates(documents):
        where, pod = name(document), template["spec"]
        outer = pod["securityContext"]
        if not outer.get("runAsNonRoot") or outer.get("seccompProfile") != {"type": "RuntimeDefault"}:
            yield f"{where}: it may be root, or make any system call"
        if pod.get("automountServiceAccountToken") is not False:
            yield f"{where}: it gets a token for the API"
        for container in pod["containers"]:
            inner = container.get("securityContext", {})
            rights = inner.get("allowPrivilegeEscalation"), inner.get("readOnlyRootFilesystem")
            if rights != (False, True) or inner.get("capabilities") != {"drop": ["ALL"]}:
                yield f"{where}: {container['name']} has rights that it does not need"
            if "memory" not in container.get("resources", {}).get("limits", {}):
                yield f"{where}: {container['name']} may take all memory of its node"
            variables = {variable["name"]: variable.get("value") for variable in container.get("env", [])}
            if {"EPIC", "SPRINT", "POOL"} <= variables.keys():
                pool = tuple(variables[key] for key in ("EPIC", "SPRINT", "POOL"))
                if pool not in pools:
                    yield f"{where}: no plan has the pool {'.'.join(pool)} with spawn = false"
            listen = variables.get("LIFECYCLE_HTTP__LISTEN")
            if listen and int(listen.rpartition(":")[2]) not in [port["containerPort"] for port in container["ports"]]:
                yield f"{where}: it listens on {listen}, which is no port of the container"
            hook = " ".join(container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", []))
            wait = re.search(r"--wait (\w+)", hook)
            if container["name"] in ("agent", "coordinator"):
                patience = pod["terminationGracePeriodSeconds"]
                yield from time_problems(where, variables, seconds(wait[1]) if wait else None, patience)


def setting_problems(documents, settings):
    for document in documents:
        text = yaml.safe_dump(document)
        yield from unknown_settings(name(document), text, settings)


def unknown_settings(where, text, settings):
    for variable in sorted(set(re.findall(r"LIFECYCLE_\w+__\w+", text)) - settings):
        yield f"{where}: {variable} is no setting of the README's table"


def unit_problems(folder, settings):
    for file in sorted(folder.iterdir()):
        text = file.read_text()
        yield from unknown_settings(file.name, text, settings)
        patience = re.search(r"^TimeoutStopSec=(\w+)$", text, re.MULTILINE)
        if file.name.startswith(("lifecycle-agent", "lifecycle-coordinator")):
            variables = dict(re.findall(r"^Environment=(\w+)=(.*)$", text, re.MULTILINE))
            wait = re.search(r"^ExecStop=.* --wait (\w+)", text, re.MULTILINE)
            yield from time_problems(file.name, variables, seconds(wait[1]) if wait else None, seconds(patience[1]))


def problems_between(documents, settings):
    return [*pod_problems(documents), *selector_problems(documents), *promise_problems(documents),
            *setting_problems(documents, settings)]


POD = ["spec", "template", "spec"]
BREAKS = [
    ("Deployment", "sweeper", ["spec", "replica"], 2),
    ("Deployment", "sweeper", ["spec", "replicas"], "two"),
    ("Deployment", "sweeper", [*POD, "containers", 0, "readinesProbe"], {}),
    ("Deployment", "sweeper", [*POD, "containers", 0, "livenessProbe", "httpGet", "port"], "metric"),
    ("Deployment", "sweeper", [*POD, "containers", 0, "envFrom", 0, "configMapRef", "name"], "lifecycle-setting"),
    ("Deployment", "sweeper", [*POD, "containers", 0, "env", 0, "valueFrom", "secretKeyRef", "key"], "pasword"),
    ("Deployment", "sweeper", [*POD, "containers", 0, "env", 1, "name"], "LIFECYCLE_HTTP__LISTENS"),
    ("Deployment", "sweeper", [*POD, "containers", 0, "env", 1, "value"], "0.0.0.0:9465"),
    ("Deployment", "sweeper", [*POD, "containers", 0, "securityContext", "readOnlyRootFilesystem"], False),
    ("Deployment", "sweeper", [*POD, "automountServiceAccountToken"], True),
    ("Deployment", "sweeper", ["spec", "template", "metadata", "labels"], {}),
    ("Deployment", "agent-coder", [*POD, "terminationGracePeriodSeconds"], 310),
    ("Deployment", "agent-coder", [*POD, "containers", 0, "env", 1, "value"], "ui"),
    ("Job", "coordinator", [*POD, "containers", 0, "volumeMounts", 0, "name"], "plans"),
    ("Job", "coordinator", [*POD, "serviceAccountName"], "default-lifecycle"),
    ("Job", "coordinator", ["spec", "podFailurePolicy", "rules", 2, "action"], 1),
    ("Service", "redis", ["spec", "selector"], {"app.kubernetes.io/name": "valkey"}),
    ("Service", "sweeper", ["spec", "ports", 0, "targetPort"], 9465),
    ("PodDisruptionBudget", "sweeper", ["spec", "selector", "matchLabels"], {"app.kubernetes.io/name": "sweepers"}),
    ("NetworkPolicy", "lifecycle-store", ["spec", "egress", 0, "to", 0, "podSelector", "matchLabels"], {"app": "redis"}),
    ("NetworkPolicy", "lifecycle-metrics", ["spec", "ingress", 0, "ports", 0, "port"], "metric"),
]


def missed(documents, settings):
    for kind, wanted, path, value in BREAKS:
        broken = copy.deepcopy(documents)
        place = changed = named(broken, kind)[wanted]
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        if not [*schema_problems([changed]), *problems_between(broken, settings)]:
            yield f"{kind} {wanted} with {'.'.join(map(str, path))} = {value!r} should be refused"


def main():
    base, example, readme, units = map(pathlib.Path, sys.argv[1:])
    table = re.findall(r"^\| `([a-z_.]+)` \|", readme.read_text(), re.MULTILINE)
    settings = {"LIFECYCLE_" + setting.upper().replace(".", "__") for setting in table}
    base, example = (list(yaml.safe_load_all(file.read_text())) for file in (base, example))
    problems = [*schema_problems(base), *schema_problems(example)]
    # Of the base not all: an overlay brings the password and the store.
    problems = problems or [*promise_problems(base), *problems_between(example, settings)]
    problems += unit_problems(units, settings)
    problems = problems or list(missed(example, settings))
    for problem in problems:
        print(f"  WRONG  {problem}", file=sys.stderr)
    if not problems:
        print(f"  ok     {len(base)} objects of the base, {len(example)} of the example, {len(BREAKS)} mistakes that are found")
    sys.exit(1 if problems else 0)


main()
