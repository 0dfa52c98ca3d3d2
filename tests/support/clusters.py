"""Dask clusters of separate processes, started from the command line: other addresses, disks, environments, and TLS."""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distributed import Client
from distributed.security import Security
from prefect.executors import DaskExecutor

ROOT = str(Path(__file__).parents[2])


@dataclass(frozen=True)
class Machine:
    """Where a scheduler or a worker runs, and with what."""

    host: str = "127.0.0.1"
    """The address that it listens on."""
    folder: Path | None = None
    """Where it stands; ``None``: in the cluster's folder."""
    python_path: Sequence[str] = ()
    """Looked through for packages before all else."""
    inside: Sequence[str] = ()
    """The command that runs its own: ``unshare``, ``ip netns exec``."""


@dataclass
class Cluster:
    """A scheduler and its workers, each a process group of its own."""

    address: str
    security: Security | None
    scheduler: subprocess.Popen[bytes]
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def executor(self) -> DaskExecutor:
        """Return an executor for one run."""
        client_kwargs = {
            "security": self.security,
            "timeout": 5,
        }  # How long it looks for a scheduler that has gone.
        return DaskExecutor(
            address=self.address, client_kwargs=client_kwargs, watch_worker_status=False
        )

    def client(self) -> Client:
        """Return a client."""
        return Client(
            self.address, security=self.security, timeout=300, set_as_default=False
        )


def objects_and_mib() -> tuple[int, float]:
    """Return how many objects and how much memory this process holds."""
    gc.collect()
    with open("/proc/self/statm") as file:
        n_pages = int(file.read().split()[1])
    return len(gc.get_objects()), n_pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def n_tasks(dask_scheduler: Any) -> int:
    """Return how many tasks this scheduler knows."""
    return len(dask_scheduler.tasks)


@contextlib.contextmanager
def cluster(
    folder: Path,
    workers: Sequence[Machine],
    *,
    scheduler: Machine = Machine(),
    tls: bool = False,
    n_expected: int | None = None,
    local_directory: Path | None = None,
    **environment: str,
) -> Iterator[Cluster]:
    """Run ``dask scheduler`` and a ``dask worker`` of one thread on each machine.

    Parameters
    ----------
    folder
        For the logs, the certificate and the scheduler's file, which tells where it
        listens.
    n_expected
        How many workers to wait for; ``None``: all.
    local_directory
        For what workers spill and shuffle; ``None``: the cluster's folder.
    environment
        Environment variables of every process; ``DASK_...`` is Dask's configuration.
    """
    folder.mkdir(parents=True, exist_ok=True)
    scheduler_file = folder / "scheduler.json"
    options, security = _tls(folder) if tls else ([], None)
    at_scheduler = ["--scheduler-file", str(scheduler_file), *options]
    protocol = "tls" if tls else "tcp"
    with contextlib.ExitStack() as stack:

        def start(
            machine: Machine, name: str, command: Sequence[str]
        ) -> subprocess.Popen[bytes]:
            process = _start(
                machine,
                folder,
                folder / f"{name}.log",
                [*command, *at_scheduler],
                environment,
            )
            stack.callback(_end, process)
            return process

        address = ["--protocol", protocol, "--host"]
        running = start(
            scheduler,
            "scheduler",
            [
                "scheduler",
                "--port",
                "0",
                "--no-dashboard",
                "--idle-timeout",
                "30 minutes",
                *address,
                scheduler.host,
            ],
        )
        started = [
            start(
                worker,
                f"worker-{number}",
                [
                    "worker",
                    "--nthreads",
                    "1",
                    "--no-nanny",
                    "--no-dashboard",
                    "--death-timeout",
                    "180",
                ]
                + [
                    "--local-directory",
                    str(local_directory or folder),
                    "--name",
                    str(number),
                    *address,
                    worker.host,
                ],
            )
            for number, worker in enumerate(workers)
        ]
        with Client(
            scheduler_file=str(scheduler_file),
            security=security,
            timeout=300,
            set_as_default=False,
        ) as client:
            client.wait_for_workers(
                len(workers) if n_expected is None else n_expected, timeout=300
            )
            address_there = client.scheduler.address
        yield Cluster(address_there, security, running, started)


def _start(
    machine: Machine,
    folder: Path,
    log: Path,
    command: Sequence[str],
    environment: Mapping[str, str],
) -> subprocess.Popen[bytes]:
    python_path = os.pathsep.join(
        [*machine.python_path, *filter(None, [os.environ.get("PYTHONPATH")]), ROOT]
    )
    # No child of this process, as on another machine.
    child = ["sh", "-c", '"$@"; exit', "sh"]
    with open(log, "wb") as output:
        return subprocess.Popen(
            [*child, *machine.inside, sys.executable, "-m", "dask", *command],
            cwd=machine.folder or folder,
            env={**os.environ, "PYTHONPATH": python_path, **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _end(process: subprocess.Popen[bytes]) -> None:
    # What is stopped does not hear SIGTERM, and no test looks at how a cluster ends.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(20)


def _tls(folder: Path) -> tuple[list[str], Security]:
    security = Security.temporary()
    authority, key = folder / "certificate.pem", folder / "key.pem"
    authority.write_text(security.tls_ca_file)
    key.write_text(security.tls_client_key)
    files = [
        "--tls-ca-file",
        str(authority),
        "--tls-cert",
        str(authority),
        "--tls-key",
        str(key),
    ]
    return files, security


def without_package(folder: Path, *packages: str) -> str:
    """Return a folder that, ahead on the path for packages, lets the import of these fail."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(
        "import sys\n"
        "class Missing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name in {packages!r}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Missing())\n"
    )
    return str(folder)


def with_version(folder: Path, package: str, version: str) -> str:
    """Return a folder that, ahead on the path for packages, lets a package pass for another version of itself."""
    described = folder / f"{package}-{version}.dist-info"
    described.mkdir(parents=True, exist_ok=True)
    (described / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n"
    )
    return str(folder)


def own_disk(folder: Path) -> list[str]:
    """Return the command that runs another one with a disk of its own at this folder."""
    return [
        "unshare",
        "--mount",
        "sh",
        "-c",
        f"mount -t tmpfs tmpfs '{folder}' && exec \"$@\"",
        "sh",
    ]


@functools.cache
def why_no_own_disk() -> str:
    """Return why a process cannot be given a disk of its own here; empty where it can."""
    return _why_not("unshare", "--mount", "sh", "-c", "mount -t tmpfs tmpfs /mnt")


@functools.cache
def why_no_network() -> str:
    """Return why there can be no network namespaces here; empty where there can."""
    try:
        with network(1):
            return ""
    except (OSError, subprocess.CalledProcessError) as error:
        return f"no network namespaces: {error}"


def _why_not(*command: str) -> str:
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=120)
    except (OSError, subprocess.SubprocessError) as error:
        return f"not permitted: {error}"
    return ""


@dataclass(frozen=True)
class Network:
    """A bridge on this machine and hosts on it, each a network namespace with an address of its own."""

    name: str
    address: str
    """Of this machine."""
    hosts: Sequence[Machine]

    def cut(self, number: int) -> None:
        """Take a host off the network."""
        _ip("link", "set", f"{self.name}h{number}", "down")

    def mend(self, number: int) -> None:
        """Bring a host back."""
        _ip("link", "set", f"{self.name}h{number}", "up")


@contextlib.contextmanager
def network(n_hosts: int) -> Iterator[Network]:
    """Make a network of hosts on this machine.

    Raises
    ------
    OSError, subprocess.CalledProcessError
        There is no ``ip``, or it may not.
    """
    number = uuid.uuid4().int
    name = f"ds{number % 16**6:06x}"
    prefix = f"10.{200 + number % 50}.{number // 50 % 250}"
    with contextlib.ExitStack() as stack:

        def made(*command: str, undo: Sequence[str]) -> None:
            _ip(*command)
            stack.callback(
                subprocess.run, ["ip", *undo], check=False, capture_output=True
            )

        made("link", "add", name, "type", "bridge", undo=["link", "del", name])
        _ip("addr", "add", f"{prefix}.254/24", "dev", name)
        _ip("link", "set", name, "up")
        hosts = []
        for host in range(n_hosts):
            space, here, there, address = (
                f"{name}n{host}",
                f"{name}h{host}",
                f"{name}p{host}",
                f"{prefix}.{host + 1}",
            )
            made("netns", "add", space, undo=["netns", "del", space])
            made(
                "link",
                "add",
                here,
                "type",
                "veth",
                "peer",
                "name",
                there,
                undo=["link", "del", here],
            )
            _ip("link", "set", there, "netns", space)
            _ip("link", "set", here, "master", name, "up")
            for command in (
                ["addr", "add", f"{address}/24", "dev", there],
                ["link", "set", there, "up"],
            ):
                _ip("-n", space, *command)
            _ip("-n", space, "link", "set", "lo", "up")
            hosts.append(Machine(address, inside=["ip", "netns", "exec", space]))
        yield Network(name, f"{prefix}.254", hosts)


def _ip(*command: str) -> None:
    subprocess.run(["ip", *command], check=True, capture_output=True, timeout=120)
