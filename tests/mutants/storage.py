"""Mistakes in files: what is checked, what is trusted, what belongs together."""

from tests.mutants.mutant import Mutant

ROOM = "zoo/common/storage/"
CONTAINER, PLAIN, AGENT = f"{ROOM}container.py", f"{ROOM}plain.py", f"{ROOM}agent_file.py"
OF_CONTAINER = ("tests/common/storage/test_container.py",)
OF_PLAIN = ("tests/common/storage/test_plain.py",)
OF_AGENT = ("tests/common/storage/test_agent_file.py",)
OF_POLICIES = ("tests/common/storage/test_policy_file.py",)
OF_INSPECTION = ("tests/common/storage/test_inspection.py",)
OF_TRANSITIONS = ("tests/common/storage/test_transitions_file.py",)
OF_SAVES = ("tests/common/storage/test_saves.py",)

MUTANTS = [
    Mutant(
        "files: the CRC of arrays is not compared",
        CONTAINER,
        "if combine(zlib.crc32(self._file.read(header)), crc, len(block)) != info.CRC:",
        "if False:",
        OF_CONTAINER,
    ),
    Mutant(
        "files: members of another file are taken",
        CONTAINER,
        'if written != index["members"] or len(infos) != len(written) + 1:',
        'if written.keys() != index["members"].keys():',
        OF_CONTAINER,
    ),
    Mutant(
        "files: compressed members are unpacked",
        CONTAINER,
        "if any(i.compress_type or i.compress_size != i.file_size for i in infos):",
        "if False:",
        OF_CONTAINER,
    ),
    Mutant(
        "files: newer ones are read as if they were not",
        CONTAINER,
        'if index["version"] > VERSION:',
        'if index["version"] > 100 * VERSION:',
        OF_CONTAINER,
    ),
    Mutant(
        "files: memory that is used again is written too late",
        CONTAINER,
        "                data = bytes(data)  # who wrote it may use its memory again\n",
        "                pass\n",
        OF_CONTAINER,
    ),
    Mutant(
        "files: large pieces overtake small ones",
        CONTAINER,
        "if size >= _SMALL or len(self._pieces) >= _SMALL:",
        "if len(self._pieces) >= _SMALL:",
        OF_CONTAINER,
    ),
    Mutant(
        "files: chunks are summed up in another order",
        f"{ROOM}crc32.py",
        "crc = combine(crc, part, min(CHUNK, len(block) - start))",
        "crc = combine(part, crc, min(CHUNK, len(block) - start))",
        ("tests/common/storage/test_crc32.py",),
    ),
    Mutant(
        "plain values: any class is found",
        PLAIN,
        'if not any(f"{module}.".startswith(f"{package}.") for package in packages):',
        "if not module:",
        OF_PLAIN,
    ),
    Mutant(
        "plain values: what a module has imported is taken for its own",
        PLAIN,
        "return found if isinstance(found, type) and name_of(found) == name else None",
        "return found if isinstance(found, type) else None",
        OF_PLAIN,
    ),
    Mutant(
        "plain values: short texts stand for any memory",
        PLAIN,
        "        if self.left < 0:\n",
        "        if False:\n",
        OF_PLAIN,
    ),
    Mutant(
        "agents: code is run without trust",
        AGENT,
        "            elif trusted:\n",
        "            elif True:\n",
        OF_AGENT,
    ),
    Mutant(
        "agents: attributes of classes can be replaced",
        AGENT,
        "    defaults -= of_classes\n",
        "    del of_classes\n",
        OF_AGENT,
    ),
    Mutant(
        "agents: unknown attributes are taken",
        "zoo/common/saved_algorithm.py",
        "if strange := sorted(stored.plain - given):",
        "if strange := sorted(stored.plain - given - stored.plain):",
        OF_AGENT,
    ),
    Mutant(
        "agents: tensors of another dtype are converted",
        AGENT,
        "(given.shape, given.dtype) != (shape, dtype):",
        "given.shape != shape:",
        OF_AGENT,
    ),
    Mutant(
        "replays: what stands beside the records is not compared",
        f"{ROOM}replay_file.py",
        "if own is not None and not _is_alike(value, own):",
        "if False:",
        OF_AGENT,
    ),
    Mutant(
        "replays: the pickle beside the model is read without trust",
        "zoo/common/replay_files.py",
        "            if not trusted:\n                raise\n            replay, state",
        "            replay, state",
        ("tests/common/storage/test_agent_file.py", "tests/sb3/test_resume.py"),
    ),
    Mutant(
        "environments: copies are read without trust",
        f"{ROOM}training_file.py",
        "    if trusted:\n        with reading(path",
        "    if path:\n        with reading(path",
        ("tests/sb3/test_resume.py",),
    ),
    Mutant(
        "environments: copies of another save are put in place",
        f"{ROOM}training_file.py",
        "            if reader.moment == moment:\n",
        "            if True:\n",
        ("tests/sb3/test_resume.py",),
    ),
    Mutant(
        "saves: a new one counts before it is complete",
        f"{ROOM}saves.py",
        "    try:\n        new.mkdir()\n",
        "    try:\n        (folder / name).mkdir()\n"
        "        (folder / SAVES).write_text(json.dumps([name]))\n        new.mkdir()\n",
        OF_SAVES,
    ),
    Mutant(
        "earlier files: what only they said is saved on",
        "zoo/common/saved_algorithm.py",
        'vars(model).pop("_agent_class", None)',
        'vars(model).get("_agent_class", None)',
        ("tests/cli/test_earlier_runs.py",),
    ),
    Mutant(
        "saves: statistics are of no moment",
        "zoo/analysis/callbacks.py",
        "save_normalizer(normalizer, folder / NORMALIZER, moment)",
        "save_normalizer(normalizer, folder / NORMALIZER)",
        OF_SAVES,
    ),
    Mutant(
        "saves: training goes on with statistics of another moment",
        "zoo/common/environments/normalizer.py",
        '    if training:\n        raise FileError(f"{said}',
        '    if not model:\n        raise FileError(f"{said}',
        OF_SAVES,
    ),
    Mutant(
        "saves: a list may name one that is not there",
        f"{ROOM}saves.py",
        "if not (last := folder / names[-1]).is_dir():",
        "if not (last := folder / names[-1]).parent.is_dir():",
        OF_SAVES,
    ),
    Mutant(
        "saves: what was cut off stays for ever",
        f"{ROOM}saves.py",
        "if _NAME.fullmatch(path.name) and path.name not in names:",
        "if False:",
        OF_SAVES,
    ),
    Mutant(
        "memory: limits of the groups around are overlooked",
        "zoo/common/host_memory.py",
        "for one in (group, *group.parents) if root in (one, *one.parents))",
        "for one in (group,) if root in (one, *one.parents))",
        ("tests/common/test_host_memory.py",),
    ),
    Mutant(
        "policies: what only code can say is read unasked",
        "zoo/common/policies/saved.py",
        "if skipped and not trusted:",
        "if skipped and not skipped:",
        OF_POLICIES,
    ),
    Mutant(
        "replays of SB3: they are read unasked",
        "zoo/common/exact_resume.py",
        "if getattr(cls, name, None) is getattr(OffPolicyAlgorithm, name):",
        "if False:",
        (OF_TRANSITIONS[0], OF_POLICIES[0]),
    ),
    Mutant(
        "replays of SB3: pickles are read unasked",
        "zoo/common/transition_files.py",
        "        if not trusted:\n",
        "        if False:\n",
        OF_TRANSITIONS,
    ),
    Mutant(
        "replays of SB3: those of another run are taken for this one's",
        "zoo/common/transition_files.py",
        "    if not agent._is_of(moment):\n",
        "    if False:\n",
        OF_TRANSITIONS,
    ),
    Mutant(
        "replays of SB3: where memory is saved the last observation is lost",
        f"{ROOM}transitions_file.py",
        "replay.pos + replay.optimize_memory_usage",
        "replay.pos",
        OF_TRANSITIONS,
    ),
    Mutant(
        "agents: a derived one passes for what it is derived from",
        "zoo/common/saved_algorithm.py",
        "if saved is not cls and (cls in own or not issubclass(cls, saved)):",
        "if not issubclass(saved, cls) and not issubclass(cls, saved):",
        OF_POLICIES,
    ),
    Mutant(
        "inspect: damaged members pass for complete",
        f"{ROOM}inspection.py",
        "        reader.check()\n",
        "",
        OF_INSPECTION,
    ),
    Mutant(
        "inspect: files command the terminal",
        f"{ROOM}container.py",
        'if c.isprintable() or c == "\\n" else "?"',
        'if c else "?"',
        OF_INSPECTION,
    ),
    Mutant(
        "inspect: a seed of 0 passes for none",
        f"{ROOM}inspection.py",
        "any(type(value) is type(x) and value == x for x in _GIVEN)",
        "any(value == x for x in _GIVEN)",
        OF_INSPECTION,
    ),
    Mutant(
        "files: a folder is opened as a file",
        CONTAINER,
        "and existing(source, *suffixes).is_dir():",
        "and False:",
        OF_CONTAINER,
    ),
    Mutant(
        "files: SB3's scores are said to need trust",
        f"{ROOM}inspection.py",
        " and x.name != _SCORES",
        "",
        OF_INSPECTION,
    ),
]
