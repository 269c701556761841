"""Who computes: joblib, with its loky, dask and ray back ends. A worker that dies or hangs is a finding.

Chunks of seeds go out, outcomes come back in any order. A chunk has a time limit, which ends the process
that exceeds it: so a hang is a death like any other. When a worker dies, joblib gives up all that is under
way; then the chunks that were out are computed in a process of their own, one architecture after the other,
which tells who is to blame; all others go out again.
"""

from __future__ import annotations

import faulthandler
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module, util
from typing import Any

import joblib

from handgrad._errors import require
from handgrad.architectures import Coverage, generate
from torch_ext.fuzz.outcome import Failure, Outcome

ENGINES = ("loky", "dask", "ray")
COMPARE = "torch_ext.fuzz.compare:compare_seed"
_AHEAD = 2  # chunks that wait for each worker
_BREAKDOWNS = 3  # in a row without a finished chunk: the engine itself does not work
Chunk = tuple[int, ...]
Result = tuple[list[Outcome], Coverage]


@dataclass(frozen=True)
class Engine:
    """``jobs`` worker processes of joblib back end ``name``; ``scheduler``: the address of a running cluster.

    ``limit``: seconds an architecture may take. ``compare``: "module:function" of (seed, layers).
    """

    name: str = "loky"
    jobs: int = -1
    scheduler: str = ""
    limit: float = 60.0
    compare: str = COMPARE

    def require_installed(self) -> None:
        module = {"dask": "distributed", "ray": "ray"}.get(self.name)
        require(
            module is None or util.find_spec(module) is not None,
            f"the engine {self.name} needs its package",
            f"a Python without {module}",
            f"install it, by pip install 'handgrad[{self.name}]', or use --engine loky",
        )

    @property
    def workers(self) -> int:
        return joblib.cpu_count() if self.jobs < 1 else self.jobs

    def run(self, chunks: Sequence[Chunk], layers: tuple[str, ...] | None) -> Iterator[tuple[Chunk, Result]]:
        """Every chunk with its result, as they are finished."""
        left = dict.fromkeys(chunks)
        breakdowns = 0
        with self._backend() as parallel:
            while left:
                before = len(left)
                try:
                    for chunk, result in parallel(_task(self, chunk, layers) for chunk in left):
                        del left[chunk]
                        yield chunk, result
                except GeneratorExit:
                    raise
                except Exception:  # of the engine: a comparison raises nothing
                    breakdowns = 0 if len(left) < before else breakdowns + 1
                    if breakdowns > _BREAKDOWNS:
                        raise
                    for chunk in [*left][: self.workers * _AHEAD]:
                        del left[chunk]
                        yield chunk, careful(chunk, layers, self)

    @contextmanager
    def _backend(self) -> Iterator[Any]:
        """A callable like joblib.Parallel, within the back end."""
        jobs = self.workers
        with ExitStack() as stack:
            options: dict[str, Any] = {}
            if self.name == "dask":
                options["client"] = stack.enter_context(_dask(jobs, self.scheduler))
            elif self.name == "ray":
                _ray(jobs, self.scheduler)
            # alone, a worker is still a process of its own: two, of which one is never given anything
            n_jobs, ahead = (2, 1) if jobs == 1 and self.name == "loky" else (jobs, jobs * _AHEAD)
            stack.enter_context(joblib.parallel_config(self.name, n_jobs=n_jobs, **options))
            yield lambda tasks: joblib.Parallel(
                return_as="generator_unordered", pre_dispatch=ahead, batch_size=1
            )(tasks)


def _task(engine: Engine, chunk: Chunk, layers: tuple[str, ...] | None) -> Any:
    return joblib.delayed(work)(chunk, layers, engine.compare, engine.limit)


def work(
    chunk: Chunk, layers: tuple[str, ...] | None, compare: str = COMPARE, limit: float = 0.0
) -> tuple[Chunk, Result]:
    """The outcomes of a chunk. With a limit, the process ends when the chunk takes longer."""
    if limit:
        faulthandler.dump_traceback_later(limit * len(chunk), exit=True, file=_nowhere())
    try:
        return chunk, ([_one(compare, seed, layers) for seed in chunk], coverage(chunk, layers))
    finally:
        if limit:
            faulthandler.cancel_dump_traceback_later()


_sink: Any = None


def _nowhere() -> Any:
    global _sink
    _sink = _sink or open(os.devnull, "w")  # noqa: SIM115 (kept open as long as the process)
    return _sink


def _one(compare: str, seed: int, layers: tuple[str, ...] | None) -> Outcome:
    module, _, function = compare.partition(":")
    try:
        outcome: Outcome = getattr(import_module(module), function)(seed, layers)
    except Exception as error:  # of the comparison itself
        message = f"the comparison raises {type(error).__name__}: {error}"
        return Outcome(seed=seed, failures=(Failure(way="worker", message=message),))
    return outcome


def coverage(seeds: Sequence[int], layers: tuple[str, ...] | None) -> Coverage:
    """What the architectures of these seeds cover."""
    seen = Coverage()
    for seed in seeds:
        try:
            seen.add(generate(seed, layers))
        except Exception:  # a finding, elsewhere
            continue
    return seen


# --- where a worker died ------------------------------------------------------------------------------


def careful(chunk: Chunk, layers: tuple[str, ...] | None, engine: Engine) -> Result:
    """A chunk in a process of its own, which begins again after each architecture that ends it."""
    left = list(chunk)
    outcomes: list[Outcome] = []
    while left:
        left = _until_it_dies(left, layers, engine, outcomes)
    return outcomes, coverage([o.seed for o in outcomes if not o.architecture], layers)


def _until_it_dies(
    seeds: list[int], layers: tuple[str, ...] | None, engine: Engine, outcomes: list[Outcome]
) -> list[int]:
    """What is left to do after one process."""
    process = subprocess.Popen(
        [sys.executable, "-c", "from torch_ext.fuzz.engine import child; child()"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stdin is not None
    process.stdin.write(json.dumps([seeds, layers, engine.compare]))
    process.stdin.close()
    lines: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_pump, args=(process.stdout, lines), daemon=True).start()
    begun: dict[str, Any] | None = None
    hung = False
    try:
        while True:
            try:
                line = lines.get(timeout=engine.limit if begun else max(engine.limit, 60.0))
            except queue.Empty:
                hung = True
                break
            if not line:
                break
            data = json.loads(line)
            if "begun" in data:
                begun = data
            else:
                outcomes.append(Outcome.from_dict(data))
                begun = None
    finally:
        process.kill()
        code = process.wait()
    done = {o.seed for o in outcomes}
    rest = [seed for seed in seeds if seed not in done]
    if not rest:
        return []
    seed = begun["begun"] if begun else rest[0]
    how = f"takes longer than {engine.limit:g} s" if hung else f"ends the process ({_ending(code)})"
    failure = Failure(way="worker", message=how)
    outcomes.append(Outcome(seed=seed, failures=(failure,), architecture=(begun or {}).get("architecture")))
    return [other for other in rest if other != seed]


def _pump(stream: Any, lines: queue.Queue[str]) -> None:
    for line in stream:
        lines.put(line)
    lines.put("")


def _ending(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit status {code}"


def child() -> None:
    """What :func:`careful` starts: says which architecture it begins, then what came of it."""
    seeds, layers, compare = json.loads(sys.stdin.read())
    layers = None if layers is None else tuple(layers)
    out, sys.stdout = sys.stdout, sys.stderr
    for seed in seeds:
        print(json.dumps({"begun": seed, "architecture": None}), file=out, flush=True)
        try:
            made = generate(seed, layers).to_dict()
            print(json.dumps({"begun": seed, "architecture": made}), file=out, flush=True)
        except Exception:
            pass  # the comparison says so
        print(json.dumps(_one(compare, seed, layers).to_dict()), file=out, flush=True)


# --- clusters ----------------------------------------------------------------------------------------


@contextmanager
def _dask(jobs: int, scheduler: str) -> Iterator[Any]:
    import dask  # type: ignore[import-not-found, unused-ignore]
    from distributed import Client, LocalCluster  # type: ignore[import-not-found, unused-ignore]

    quiet = {"distributed.logging.distributed": "critical", "distributed.scheduler.allowed-failures": 0}
    with dask.config.set(quiet), ExitStack() as stack:
        where: Any = scheduler
        if not scheduler:
            where = stack.enter_context(
                LocalCluster(n_workers=jobs, threads_per_worker=1, processes=True, dashboard_address=None)
            )
        yield stack.enter_context(Client(where))


def _ray(jobs: int, scheduler: str) -> None:
    import ray  # type: ignore[import-not-found, unused-ignore]
    from ray.util.joblib import register_ray  # type: ignore[import-not-found, unused-ignore]

    if not ray.is_initialized():
        settings: dict[str, Any] = {"log_to_driver": False, "include_dashboard": False}
        ray.init(**settings, **({"address": scheduler} if scheduler else {"num_cpus": jobs}))
    register_ray()
