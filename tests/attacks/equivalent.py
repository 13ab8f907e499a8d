"""Mutants that no test can kill, since nothing that a user could see depends on them: why, by file, line and changed line."""

EQUIVALENT: dict[tuple[str, str, str], str] = {
    (
        "pytest_metalperf/judge/speedup.py",
        "taken.append(take_turns(session.fleet, (over, of), plan, progress, len(taken) + 1, built=built))",
        "taken.append(take_turns(session.fleet, (over, of), plan, progress, len(taken) - 1, built=built))",
    ): "which side begins depends on whether the number is even",
    (
        "pytest_metalperf/baselines/format2.py",
        "Whole = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]",
        "Whole = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 2)]",
    ): "no count of a baseline comes near 2**63",
    (
        "pytest_metalperf/gate/paired.py",
        'verdict, decided = "within", spent or change >= -tolerance',
        'verdict, decided = "within", spent or change > -tolerance',
    ): "the mean of measured logarithms is the tolerance's to the last bit",
    (
        "pytest_metalperf/baselines/update.py",
        "last = pairs[-1]",
        "last = pairs[-2]",
    ): "pairs of one session share what is taken of the last",
    (
        "pytest_metalperf/baselines/file.py",
        "if self._read is None or self._read[0] != data:",
        "if self._read is None or self._read[1] != data:",
    ): "what has not changed is read once more, which takes longer and says the same",
    (
        "pytest_metalperf/baselines/reading.py",
        'raise Damaged(f"{file}: {_plain(str(error))}") from None',
        "pass",
    ): "what msgspec refuses as a whole `_find` has found in a part, and raised",
    (
        "pytest_metalperf/gate/noise.py",
        "if seen > 1:",
        "if seen > 0:",
    ): "an entry of one session counts for none, so never one is seen",
    (
        "pytest_metalperf/judge/against_baseline.py",
        'largest = max(trained, key=lambda workload: int(workload.axes.get("batch_size") or 0))',
        'largest = max(trained, key=lambda workload: int(workload.axes.get("batch_size") or 1))',
    ): "no batch is smaller than one example",
    (
        "pytest_metalperf/baselines/update.py",
        "if before is not None and before.count >= count:",
        "if before is not None and before.count > count:",
    ): "the same runs are stored once more, which changes nothing",
    (
        "pytest_metalperf/baselines/reading.py",
        "if len({key for key, _ in pairs}) < len(pairs):",
        "if len({key for key, _ in pairs}) <= len(pairs):",
    ): "a whole file is read step by step, which takes longer and says the same",
    (
        "pytest_metalperf/baselines/format2.py",
        "Whole = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]",
        "Whole = Annotated[int, msgspec.Meta(ge=-(2*63), le=2**63 - 1)]",
    ): "no count is below 0",
    (
        "pytest_metalperf/gate/paired.py",
        "elif enough and change <= inside and not blind:",
        "elif enough and change < inside and not blind:",
    ): "the mean of measured logarithms is the limit's to the last bit",
    ("pytest_metalperf/gate/noise.py", "for _ in range(8):", "for _ in range(9):"): "eight iterations have converged",
    (
        "pytest_metalperf/judge/parity.py",
        "drawn: bool = False # whether the same variant computed something else the next time",
        "drawn: bool = True # whether the same variant computed something else the next time",
    ): "who looks at it has got it from a worker",
    (
        "pytest_metalperf/baselines/update.py",
        "last = pairs[-1]",
        "last = pairs[1]",
    ): "pairs of one session share what is taken of the last",
    ("pytest_metalperf/baselines/update.py", "return before.new", "return None"): "nobody takes what is returned",
    (
        "pytest_metalperf/gate/noise.py",
        "own = entries[0] if stored else _Entry(0.0, 0, 0.0, 0, 1.0, frozenset())",
        "own = entries[0] if stored else _Entry(1.0, 0, 0.0, 0, 1.0, frozenset())",
    ): "a variance of no degrees of freedom weighs nothing",
    ("pytest_metalperf/baselines/file.py", "self._read = data, changed", "pass"): "what was written is read once more",
    (
        "pytest_metalperf/baselines/reading.py",
        "if len({key for key, _ in pairs}) < len(pairs):",
        "if len({key for key, _ in pairs}) >= len(pairs):",
    ): "a file with one object that has no key twice is read step by step",
    (
        "pytest_metalperf/gate/estimate.py",
        "if values.size > MOST_FOR_DRIFT:",
        "if values.size >= MOST_FOR_DRIFT:",
    ): "as many parts as values hold one each",
    (
        "pytest_metalperf/gate/paired.py",
        "if enough and change >= beyond and median_low(each) >= tolerance:",
        "if enough and change > beyond and median_low(each) >= tolerance:",
    ): "the mean of measured logarithms is the threshold's to the last bit",
}
