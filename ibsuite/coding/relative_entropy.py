"""Relative-entropy coding: one draw from a Gaussian q that only the sender knows, in about KL(q || p) bits.

q = prod_i N(mean_i, std_i^2) and p = prod_i N(0, 1). Sender and receiver share the random numbers of a tree,
whose leaves are draws from p; the sender names a leaf that is a typical draw from q (Havasi, Peharz &
Hernandez-Lobato 2018, arXiv 1810.00440; Flamich, Havasi & Hernandez-Lobato 2020, arXiv 2010.01185).

The weights are dealt out at random into groups whose KL is about ``GROUP_BITS`` each. A group's draw is
a sum of Gaussian increments, w = sum_k sqrt(r_k - r_(k-1)) z_k with 0 = r_0 < ... < r_K = 1, which is N(0, 1)
a weight. Each z_k is one of 256 shared draws, named by a byte. Beams of partial sums s are kept by

    log q_k(s) / p_k(s),   q_k = N(r_k mean, r_k (1 - r_k (1 - std^2))),   p_k = N(0, r_k),

the distributions of partial sums of a draw from q and from p. Those beams stay whose ratio is nearest to its
mean under q, KL(q_k || p_k): so the ratio of the whole draw is neither less than that of a draw from q, nor
is it a mode. K is the least number of steps that comes so far, about 1.1 KL / 8. The 256 draws of a step are
shifted cyclically by a number that depends on all bytes before: without that every beam would be offered
the same increments, and beams would gain nothing.

What is sent, by the range coder of ``ibsuite.coding.stream``, before a CRC-16 that is big endian:

1.  the settings of the prior, raw bytes, whose number the receiver knows;
2.  the number of groups, an integer >= 1, and the common schedule r_1, r_2, ...: two integers a, e >= 1;
3.  for each group: whether its schedule is another one, and then its a and e; by how much K is greater than
    that of the group before; K raw bytes.

With t = (a - 1) / 15 and c = 1 - 2^(1 - e), r_k solves t r + (1 - t) log(1 - c r) / log(1 - c) = k / K: even
steps suit means that are moved, and steps that halve what is left suit small standard deviations.
"""

import functools
import itertools
from binascii import crc_hqx
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ibsuite.coding.integers import IntegerModel
from ibsuite.coding.stream import Coder, Receiver, Sender
from ibsuite.seeds import derive_seed
from ibsuite.units import NATS_PER_BIT

GROUP_BITS = 256.0
STEP_BITS = 8
DRAWS = 2**STEP_BITS
BEAMS = 256
POOL = 256
"""Least length of the shared draws, so that there are so many shifts of them."""
TOLERANCE_BITS = 0.5
"""How far a group's log-ratio may lie below its mean."""
MOST_STEPS = 1.25
"""Steps that are tried, 8 bits each, at most this times the KL; then the nearest draw is sent."""
MOST_WORK = 5e11
"""Multiplications of a whole message, beyond which none is made; fewer beams are used before."""
SHARES, HALVINGS = 16, (1, 2, 3, 4, 5, 7, 9, 13, 17, 21, 25, 29, 33, 37, 41)
DEAL, NORMALS = 0, 1  # what random numbers are for; keeps their seeds apart
LEAST_STD = 1e-100
"""Less is not told from this."""
Floats = NDArray[np.float64]


class Schedule(NamedTuple):
    """How a group's variance is spent over its steps; see the head of this module."""

    a: int
    e: int

    @functools.cache  # noqa: B019 - schedules are few and small
    def ends(self, steps: int) -> Floats:
        """r_1 to r_K, by bisection."""
        wanted = np.arange(1, steps + 1) / steps
        low, high = np.zeros(steps), np.ones(steps)
        for _ in range(60):
            middle = (low + high) / 2
            short = self._spent(middle) < wanted
            low, high = np.where(short, middle, low), np.where(short, high, middle)
        high[-1:] = 1
        return high

    def _spent(self, r: Floats) -> Floats:
        if self.e == 1:
            return r
        even, left = (self.a - 1) / (SHARES - 1), 1 - 2.0 ** (1 - self.e)
        return even * r + (1 - even) * np.log1p(-left * r) / np.log1p(-left)


class _Group:
    """The posterior of a group's weights, for the sender."""

    def __init__(self, mean: Floats, std: Floats) -> None:
        self.mean, self.std = mean, std
        self.kl_bits = float(self.kl(np.ones(1))[0])

    def kl(self, r: Floats) -> Floats:
        """KL(q_k || p_k) for each r_k, (K,), bits."""
        gained = 0.5 * r * (self.mean**2 + self.std**2 - 1).sum()
        return (
            gained - 0.5 * np.array([np.log(1 - each + each * self.std**2).sum() for each in r])
        ) / NATS_PER_BIT

    def longest_step(self, schedule: Schedule) -> float:
        """The greatest KL that one of 32 steps adds, bits."""
        at = self._grid
        reached = np.interp(schedule.ends(32), *at)
        return float(np.diff(reached, prepend=0.0).max())

    @functools.cached_property
    def _grid(self) -> tuple[Floats, Floats]:
        halves = 2.0 ** -np.arange(1, 41, 0.5)
        r = np.concatenate([[0.0], halves[::-1], 1 - halves[1:], [1.0]])
        return r, self.kl(r)

    def best_schedule(self) -> Schedule:
        """The one whose longest step is shortest."""
        pairs = [
            Schedule(1, 1),
            *itertools.starmap(Schedule, itertools.product(range(1, SHARES), HALVINGS[1:])),
        ]
        return min(pairs, key=self.longest_step)


@dataclass(frozen=True)
class DrawStream:
    """A draw as bytes."""

    data: bytes
    kl_bits: float
    """KL(q || p) of what was sent."""
    log_ratio_bits: float
    """log2 q(w) / p(w) of the draw; its mean under q is the KL."""


def encode_draw(mean: Floats, std: Floats, seed: int, settings: bytes = b"") -> DrawStream:
    """A draw from q as bytes.

    Args:
        mean: of q, in standard deviations of p, (n,).
        std: of q, in standard deviations of p, (n,).
        seed: of the shared random numbers.
        settings: of the prior, sent in front.

    Raises:
        ValueError: q is no Gaussian, or so far from p that more than ``MOST_WORK`` would be needed.
    """
    mean, std = np.asarray(mean, np.float64), np.asarray(std, np.float64)
    if not (np.isfinite(mean).all() and np.isfinite(std).all() and (std > 0).all()):
        raise ValueError("a draw can be sent of finite means and positive standard deviations only")
    std = np.maximum(std, LEAST_STD)
    whole = _Group(mean, std)
    number = min(max(1, round(whole.kl_bits / GROUP_BITS)), max(1, len(mean)))
    groups = [_Group(mean[rows], std[rows]) for rows in _deal(len(mean), number, seed)]
    beams = _affordable_beams(groups)
    sender = Sender()
    walk = _Walk(sender, seed)
    walk.head(settings, len(settings), number, whole.best_schedule())
    ratio, pace = 0.0, 1.07
    for index, group in enumerate(groups):
        schedule = group.best_schedule()
        if group.longest_step(walk.common) <= 1.25 * group.longest_step(schedule):
            schedule = walk.common
        path, reached = _shortest_path(group, schedule, derive_seed(seed, NORMALS, index), beams, pace)
        walk.group(schedule, path)
        ratio += reached
        if group.kl_bits > GROUP_BITS / 4:  # where the next one had better begin
            pace = STEP_BITS * len(path) / group.kl_bits - 0.01
    payload = sender.payload()
    return DrawStream(payload + _check(payload), whole.kl_bits, ratio)


def decode_draw(data: bytes, size: int, seed: int, num_settings: int = 0) -> tuple[Floats, bytes]:
    """The draw, (size,), in standard deviations of p, and the settings of the prior.

    Args:
        data: what ``encode_draw`` made.
        size: number of weights.
        seed: of the shared random numbers.
        num_settings: bytes of the prior's settings.

    Raises:
        ValueError: the bytes are altered, or of other weights.
    """
    payload = data[:-2]
    wrong = ValueError("the draw of the weights is cut off or altered, or belongs to another network")
    if len(data) < 2 or data[-2:] != _check(payload):
        raise wrong
    walk = _Walk(Receiver(payload), seed)
    try:
        settings, number = walk.head(None, num_settings, None, None)
        if number > max(size, 1):
            raise wrong
        draw = np.empty(size)
        for index, rows in enumerate(_deal(size, number, seed)):
            schedule, path = walk.group(None, None)
            draw[rows] = _follow(schedule, path, len(rows), derive_seed(seed, NORMALS, index))
    except AssertionError:  # how the range coder says that no sender makes such bytes
        raise wrong from None
    return draw, settings


class _Walk:
    """The one description of the payload; ``None`` is what the receiver does not know yet."""

    def __init__(self, coder: Coder, seed: int) -> None:
        self.coder = coder
        self.numbers, self.schedules, self.lengths = (IntegerModel(coder) for _ in range(3))
        self.common, self.steps = Schedule(1, 1), 0

    def head(
        self, settings: bytes | None, num_settings: int, number: int | None, common: Schedule | None
    ) -> tuple[bytes, int]:
        """Settings, number of groups and common schedule."""
        settings = self.coder.raw(num_settings, settings, "settings")
        number = self.numbers.natural(number, "groups")
        self.common = self._schedule(common)
        return settings, number

    def group(self, schedule: Schedule | None, path: list[int] | None) -> tuple[Schedule, list[int]]:
        """One group."""
        other = None if schedule is None else int(schedule != self.common)
        other = self.schedules.flag("other", other, "schedule")
        found = self._schedule(schedule) if other else self.common
        self.steps += self.lengths.signed(None if path is None else len(path) - self.steps, "steps")
        if self.steps < 0:
            raise ValueError("The draw of the weights has a negative number of steps.")
        return found, list(self.coder.raw(self.steps, None if path is None else bytes(path), "draw"))

    def _schedule(self, given: Schedule | None) -> Schedule:
        a, e = given or (None, None)
        found = self.schedules.natural(a, "schedule"), self.schedules.natural(e, "schedule")
        if found[0] > SHARES or found[1] > HALVINGS[-1]:
            raise ValueError("The draw of the weights has an unknown schedule.")
        return Schedule(*found)


def _check(payload: bytes) -> bytes:
    return crc_hqx(payload, 0).to_bytes(2, "big")


def _deal(size: int, number: int, seed: int) -> list[NDArray[np.intp]]:
    """Which weights are in which group."""
    rows = np.random.Generator(np.random.PCG64(derive_seed(seed, DEAL))).permutation(size)
    return np.array_split(rows, number)


def _normals(key: int, step: int, rows: int, size: int) -> Floats:
    """The first of the 256 shared draws of a step, (rows, pool)."""
    generator = np.random.Generator(np.random.PCG64(derive_seed(key, step)))
    return generator.standard_normal((rows, max(size, POOL)))


def _places(state: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Which numbers of a shared draw the weights take, for each state, (n, size)."""
    return (state[:, None] + np.arange(size)) % max(size, POOL)


def _next_state(state: NDArray[np.int64], byte: NDArray[np.int64]) -> NDArray[np.int64]:
    """A number that depends on all bytes so far, below 2^31."""
    return (state * 1103515245 + (byte + 1) * 12345) % (2**31 - 1)


def _follow(schedule: Schedule, path: list[int], size: int, key: int) -> Floats:
    """The draw at the end of a path; at the end of an empty one, the first."""
    ends = schedule.ends(max(len(path), 1))
    draw, state = np.zeros(size), np.zeros(1, np.int64)
    for step, (byte, spent) in enumerate(zip(path or [0], np.diff(ends, prepend=0.0), strict=True)):
        normals = _normals(key, step, byte + 1, size)
        draw += np.sqrt(spent) * normals[byte, _places(state, size)[0]]
        state = _next_state(state, np.array([byte]))
    return draw


def _work(groups: list[_Group]) -> float:
    """Multiplications for one beam in every group."""
    return sum(1.5 * g.kl_bits / STEP_BITS * DRAWS * 4 * max(len(g.mean), POOL) for g in groups)


def _affordable_beams(groups: list[_Group]) -> int:
    work = _work(groups)
    beams = int(min(BEAMS, MOST_WORK / max(work, 1)))
    if beams < BEAMS / 16:
        raise ValueError(
            f"a draw of {sum(len(g.mean) for g in groups):,} weights that cost "
            f"{sum(g.kl_bits for g in groups):,.0f} bits takes too long to find; let a smaller network learn"
        )
    return beams


def _shortest_path(
    group: _Group, schedule: Schedule, key: int, beams: int, pace: float
) -> tuple[list[int], float]:
    """The path of fewest steps to a typical draw, and the draw's log-ratio, bits."""
    if group.kl_bits < TOLERANCE_BITS:
        return [], 0.0
    steps, most = (
        max(1, int(pace * group.kl_bits / STEP_BITS)),
        int(MOST_STEPS * group.kl_bits / STEP_BITS) + 2,
    )
    while True:
        path, ratio = _search(group, schedule.ends(steps), key, beams)
        if ratio >= group.kl_bits - TOLERANCE_BITS or steps >= most:
            return path, ratio
        steps += 1


def _search(group: _Group, ends: Floats, key: int, beams: int) -> tuple[list[int], float]:
    """The path to the leaf whose log-ratio is nearest to its mean, among those that beams reach."""
    mean, variance, size = group.mean, group.std**2, len(group.mean)
    pool, wanted = max(size, POOL), group.kl(ends)
    sums, state = np.zeros((1, size)), np.zeros(1, np.int64)
    parents, bytes_ = [], []
    ratio = np.zeros(0)
    for step, (r, spent) in enumerate(zip(ends, np.diff(ends, prepend=0.0), strict=True)):
        normals, gain = _normals(key, step, DRAWS, size), np.sqrt(spent)
        # log q_k / p_k of a sum s is square s^2 + line s + constant for each weight, nats.
        v = r * (1 - r + r * variance)
        square, line = 1 / (2 * r) - 1 / (2 * v), r * mean / v
        constant = -(line * r * mean + np.log(v / r)).sum() / 2
        places, rows = _places(state, size), np.arange(len(sums))[:, None]
        factors = np.zeros((len(sums), 2 * pool))
        factors[rows, places] = gain * (line + 2 * square * sums)
        factors[rows, pool + places] = gain**2 * square
        old = (sums * (square * sums + line)).sum(1)[:, None] + constant
        ratios = (old + factors @ np.concatenate([normals, normals**2], 1).T) / NATS_PER_BIT
        kept = 1 if step == len(ends) - 1 else min(beams, ratios.size)
        best = np.argpartition(np.abs(ratios - wanted[step]).ravel(), kept - 1)[:kept]
        parent, byte = np.divmod(best, DRAWS)
        sums = sums[parent] + gain * normals[byte[:, None], places[parent]]
        state, ratio = _next_state(state[parent], byte), ratios.ravel()[best]
        parents.append(parent)
        bytes_.append(byte)
    path, at = [], 0
    for parent, byte in zip(reversed(parents), reversed(bytes_), strict=True):
        path.append(int(byte[at]))
        at = int(parent[at])
    return path[::-1], float(ratio[0])
