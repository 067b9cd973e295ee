#!/usr/bin/env python3
"""Checks the manifests without a cluster: deploy/kubernetes/check.py [PROXYHERD]

Builds each folder with `kubectl kustomize` (or kustomize). Each object of Kubernetes itself
is checked against the models of the official Python client: fields that the API does not
have, required ones that are missing, values of a wrong type. Then what no schema shows:
names that objects refer to, labels that select, and the herd itself, by `PROXYHERD check`.
Objects of cert-manager and of the Prometheus operator are only listed. Needs kubectl and the
Python packages kubernetes and pyyaml.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml
from kubernetes import client

HERE = Path(__file__).resolve().parent
FAULTS = []


def build(folder):
    tool = ["kustomize", "build"] if shutil.which("kustomize") else ["kubectl", "kustomize"]
    built = subprocess.run([*tool, HERE / folder], capture_output=True, text=True)
    if built.returncode:
        sys.exit(f"{folder} cannot be built: {built.stderr}")
    return [document for document in yaml.safe_load_all(built.stdout) if document]


def model_of(document):
    """The model of the client library for an object, such as V1StatefulSet."""
    version = document["apiVersion"].rsplit("/")[-1]
    return getattr(client, version[0].upper() + version[1:] + document["kind"], None)


def check(value, kind, path):
    """Compares a value with the type that the client library gives for it."""
    if found := re.fullmatch(r"[Ll]ist\[(.+)\]", kind):
        if not isinstance(value, list):
            return fault(path, f"is no list: {value!r}")
        for index, item in enumerate(value):
            check(item, found[1], f"{path}[{index}]")
    elif found := re.fullmatch(r"[Dd]ict[(\[]str, (.+)[)\]]", kind):
        if not isinstance(value, dict):
            return fault(path, f"is no map: {value!r}")
        for key, item in value.items():
            check(item, found[1], f"{path}.{key}")
    elif kind in ("str", "int", "bool", "float"):
        if type(value).__name__ != kind:
            fault(path, f"is {value!r} and no {kind}")
    elif kind != "object":
        check_fields(value, getattr(client, kind), path)


def check_fields(value, model, path):
    if not isinstance(value, dict):
        return fault(path, f"is no object: {value!r}")
    names = {json: name for name, json in model.attribute_map.items()}
    for key, item in value.items():
        if key not in names:
            fault(path, f"has an unknown field {key}")
        else:
            check(item, model.openapi_types[names[key]], f"{path}.{key}")
    given = {names[key]: item for key, item in value.items() if key in names}
    try:
        model(**given)
    except ValueError as error:
        fault(path, str(error))


def fault(path, message):
    FAULTS.append(f"{path} {message}")


def check_references(documents):
    """Names and labels that must fit each other."""
    by_kind = {}
    for document in documents:
        by_kind.setdefault(document["kind"], {})[document["metadata"]["name"]] = document
    (servers,) = by_kind["StatefulSet"].values()
    spec, pod = servers["spec"], servers["spec"]["template"]["spec"]
    labels = servers["spec"]["template"]["metadata"]["labels"]
    (container,) = pod["containers"]
    ports = {port["name"] for port in container["ports"]}
    selectors = {"StatefulSet": spec["selector"]["matchLabels"]}
    for name, service in by_kind["Service"].items():
        selectors[f"Service {name}"] = service["spec"]["selector"]
        for port in service["spec"]["ports"]:
            if port["targetPort"] not in ports:
                fault(f"Service {name}", f"leads to an unknown port {port['targetPort']}")
    (budget,) = by_kind["PodDisruptionBudget"].values()
    selectors["PodDisruptionBudget"] = budget["spec"]["selector"]["matchLabels"]
    (policy,) = by_kind["NetworkPolicy"].values()
    selectors["NetworkPolicy"] = policy["spec"]["podSelector"]["matchLabels"]
    for name, selector in selectors.items():
        if not selector or not selector.items() <= labels.items():
            fault(name, f"does not select the pods: {selector}")
    if spec["serviceName"] not in by_kind["Service"]:
        fault("StatefulSet", f"has an unknown service {spec['serviceName']}")
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        if container[probe]["httpGet"]["port"] not in ports:
            fault(probe, "asks an unknown port")
    volumes = {volume["name"] for volume in pod["volumes"]}
    volumes |= {claim["metadata"]["name"] for claim in spec["volumeClaimTemplates"]}
    for mount in container["volumeMounts"]:
        if mount["name"] not in volumes:
            fault("StatefulSet", f"mounts an unknown volume {mount['name']}")
    maps = [v["configMap"]["name"] for v in pod["volumes"] if "configMap" in v]
    for name in maps:
        if name not in by_kind["ConfigMap"]:
            fault("StatefulSet", f"mounts an unknown ConfigMap {name}")
    config = by_kind["ConfigMap"][maps[0]]["data"]["herd.toml"]
    names = set(re.findall(r'^name = "(proxyherd-\d+)"$', config, re.M))
    if names != {f"proxyherd-{index}" for index in range(spec["replicas"])}:
        fault("herd.toml", f"has the servers {sorted(names)}, not one for each of the replicas")
    return config


def check_herd(config, program):
    """Lets the program judge the config, with certificates as the pods have them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "herd.toml"
        local = config.replace("${TLS}", f"{folder}/servers/{{name}}").replace("/tls/", f"{folder}/")
        path.write_text(local)
        make = [program, "certs", "--config", path, "--dir", folder]
        for command in (make, [program, "check", "--config", path]):
            done = subprocess.run(command, capture_output=True, text=True, env={**os.environ})
            if done.returncode:
                fault("herd.toml", f"is refused: {done.stdout}{done.stderr}")


def main():
    for folder in ("base", "cert-manager", "monitoring"):
        documents = build(folder)
        for document in documents:
            name = f"{document['kind']} {document['metadata']['name']}"
            model = model_of(document)
            if model is None:
                print(f"{folder}: {name}: not checked, {document['apiVersion']}")
                continue
            check_fields(document, model, f"{folder}: {name}")
            print(f"{folder}: {name}: {model.__name__}")
        # What is no valid object refers to nothing.
        if folder != "monitoring" and not FAULTS:
            config = check_references(documents)
            if len(sys.argv) > 1:
                check_herd(config, sys.argv[1])
    for line in FAULTS:
        print(line, file=sys.stderr)
    print(f"{len(FAULTS)} faults")
    return 1 if FAULTS else 0


if __name__ == "__main__":
    sys.exit(main())
