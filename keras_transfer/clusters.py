"""`TF_CONFIG`: read, and refused where it is wrong."""
import json
import os

ROLES = ("chief", "worker")


def cluster():
    """Returns the workers in `TF_CONFIG` as `{"worker": [addresses]}`, {} if it isn't set.

    TensorFlow waits without end for workers that can't come, so a wrong one is refused here.

    Raises:
        ValueError: it is no JSON, has no cluster or no task, a role is unsupported, an address is malformed or there
            twice, or the task's index is out of range.
    """
    text = os.environ.get("TF_CONFIG", "").strip()
    if text in ("", "{}"):
        return {}
    try:
        config = json.loads(text)
    except ValueError as error:
        raise ValueError(f"`TF_CONFIG` is no JSON ({error}). Received: {text[:200]!r}") from error
    if not isinstance(config, dict) or not isinstance(config.get("cluster"), dict) or not config["cluster"]:
        raise ValueError('`TF_CONFIG` must have a "cluster" such as {"worker": ["a:2222", "b:2222"]}. '
                         f"Received: {text[:200]!r}")
    workers = config["cluster"]
    for role, addresses in workers.items():
        _check_role(role, "cluster")
        if not isinstance(addresses, list) or not addresses:
            raise ValueError(f'The "{role}" in the cluster of `TF_CONFIG` must be a list of addresses "host:port". '
                             f"Received: {addresses!r}")
    if len(workers.get("chief", [])) > 1:
        raise ValueError(f'The cluster of `TF_CONFIG` must have one "chief" at most. Received: {workers["chief"]!r}')
    _check_addresses([address for addresses in workers.values() for address in addresses])
    _check_task(config.get("task"), workers)
    return workers


def _check_role(role, where):
    if role not in ROLES:
        raise ValueError(f"The {where} of `TF_CONFIG` has the type {role!r}, but all workers train alike here: only "
                         f'{" and ".join(map(repr, ROLES))} are supported (no parameter servers, no evaluator). '
                         'List all machines as "worker".')


def _check_addresses(addresses):
    for address in addresses:
        host, _, port = address.rpartition(":") if isinstance(address, str) else ("", "", "")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536 or host != host.strip() or "/" in host:
            raise ValueError(f'The cluster of `TF_CONFIG` has the address {address!r}. Write each as "host:port", '
                             'as in "10.0.0.1:2222".')
        if addresses.count(address) > 1:
            raise ValueError(f"The cluster of `TF_CONFIG` has the address {address!r} twice. "
                             "Each worker needs its own.")


def _check_task(task, workers):
    kind, index = (task.get("type"), task.get("index")) if isinstance(task, dict) else (None, None)
    if kind is None:
        raise ValueError("`TF_CONFIG` doesn't say which worker this is. Add a "
                         '"task" such as {"type": "worker", "index": 0}.')
    _check_role(kind, "task")
    if kind not in workers:
        raise ValueError(f"The task of `TF_CONFIG` is a {kind!r}, of which its cluster has none. "
                         f"It has: {', '.join(workers)}.")
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < len(workers[kind]):
        raise ValueError(f"The task of `TF_CONFIG` has the index {index!r}, but the cluster has {len(workers[kind])} of "
                         f"type {kind!r}: give a whole number from 0 to {len(workers[kind]) - 1}, each worker its own.")
