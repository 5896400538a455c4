//! Containers that are given the machine they run on: manifests of Kubernetes and Compose, by
//! places of a YAML text.

use super::Leaf;
use crate::guard::notes::Notes;

const PRIVILEGED: &str = "container.privileged";
const HOST_NAMESPACE: &str = "container.host_namespace";
const HOST_PATH: &str = "container.host_path";
const ENGINE_SOCKET: &str = "container.engine_socket";
const CAPABILITY: &str = "container.capability";

#[cfg(test)]
pub(super) const CHECKS: [&str; 5] = [
    PRIVILEGED,
    HOST_NAMESPACE,
    HOST_PATH,
    ENGINE_SOCKET,
    CAPABILITY,
];

/// Sockets by which a container rules the others.
const SOCKETS: [&str; 3] = ["docker.sock", "containerd.sock", "crio.sock"];
/// Capabilities that are as good as all.
const CAPABILITIES: [&str; 7] = [
    "ALL",
    "SYS_ADMIN",
    "SYS_PTRACE",
    "SYS_MODULE",
    "SYS_RAWIO",
    "DAC_READ_SEARCH",
    "NET_ADMIN",
];
/// Folders of the machine that decide over it.
const FOLDERS: [&str; 9] = [
    "/",
    "/boot",
    "/dev",
    "/etc",
    "/proc",
    "/root",
    "/sys",
    "/usr",
    "/var/lib/kubelet",
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Kubernetes,
    Compose,
}

/// Looks at each document that is a manifest.
pub(super) fn check(leaves: &[Leaf], notes: &mut Notes<'_>) {
    for document in leaves.chunk_by(|a, b| a.document == b.document) {
        let has = |key: &str| {
            document
                .iter()
                .any(|leaf| leaf.steps.first().is_some_and(|step| step == key))
        };
        let dialect = match (has("kind") && has("apiVersion"), has("services")) {
            (true, _) => Dialect::Kubernetes,
            (false, true) => Dialect::Compose,
            (false, false) => continue,
        };
        for leaf in document {
            judge(leaf, dialect, notes);
        }
    }
}

fn judge(leaf: &Leaf, dialect: Dialect, notes: &mut Notes<'_>) {
    let steps: Vec<&str> = leaf.steps.iter().map(String::as_str).collect();
    let spot = Some(leaf.spot);
    let is_true = matches!(&*leaf.value, "true" | "True" | "yes");
    match (dialect, &steps[..]) {
        (Dialect::Kubernetes, [.., "securityContext", "privileged"])
        | (Dialect::Compose, ["services", _, "privileged"])
            if is_true =>
        {
            notes.add(
                PRIVILEGED,
                spot,
                "the container has every right on its machine",
            );
        }
        (Dialect::Kubernetes, [.., "hostNetwork" | "hostPID" | "hostIPC"]) if is_true => {
            notes.add(
                HOST_NAMESPACE,
                spot,
                "the container shares a namespace of its machine",
            );
        }
        (Dialect::Compose, ["services", _, "network_mode" | "pid" | "ipc"])
            if leaf.value == "host" =>
        {
            notes.add(
                HOST_NAMESPACE,
                spot,
                "the container shares a namespace of its machine",
            );
        }
        (Dialect::Kubernetes, [.., "hostPath", "path"]) => mounted(&leaf.value, leaf, notes),
        (
            Dialect::Compose,
            ["services", _, "volumes", _] | ["services", _, "volumes", _, "source"],
        ) => {
            let source = leaf.value.split(':').next().unwrap_or_default();
            mounted(source, leaf, notes);
        }
        (Dialect::Kubernetes, [.., "capabilities", "add", _])
        | (Dialect::Compose, ["services", _, "cap_add", _]) => {
            let capability = leaf.value.trim_start_matches("CAP_");
            if CAPABILITIES.contains(&capability) {
                let message = format!("the container has the capability `{capability}`");
                notes.add(CAPABILITY, spot, message);
            }
        }
        _ => {}
    }
}

fn mounted(source: &str, leaf: &Leaf, notes: &mut Notes<'_>) {
    let spot = Some(leaf.spot);
    let trimmed = match source.trim_end_matches('/') {
        "" if source.starts_with('/') => "/",
        trimmed => trimmed,
    };
    if SOCKETS.iter().any(|socket| trimmed.ends_with(socket)) {
        let message = "the container is given the socket by which all containers are ruled";
        notes.add(ENGINE_SOCKET, spot, message);
    } else if FOLDERS.contains(&trimmed) {
        let message = "the container is given a folder that decides over its machine";
        notes.add(HOST_PATH, spot, message);
    }
}
