"""Mistakes in dreams that a person steers: the session, its server, its page."""

from tests.mutants.mutant import Mutant

SESSION, WATCHER = "zoo/playing/session.py", "zoo/playing/watcher.py"
SERVER, BROWSER = "zoo/playing/server.py", "zoo/playing/browser.py"
OF_SESSION, OF_SERVER = ("tests/playing/test_session.py",), ("tests/playing/test_server.py",)

MUTANTS = [
    Mutant(
        "play: the dream begins without having seen reality",
        SESSION,
        'self._watcher.state() if start == "real" else',
        'self._watcher.state() if start == "reality" else',
        OF_SESSION,
    ),
    Mutant(
        "play: several dreams of one moment are one dream",
        SESSION,
        "        self._n, self._dreams = n, self._dream(n",
        "        self._n, self._dreams = n, self._dream(1",
        OF_SESSION,
    ),
    Mutant(
        "play: dreams that go on draw the same future again",
        SESSION,
        "        self._parted += 1\n",
        "",
        OF_SESSION,
    ),
    Mutant(
        "play: what a person chose is forgotten by the watcher",
        WATCHER,
        "        action, self._after = self._step(choose)\n",
        "        action, _ = self._step(choose)\n        _, self._after = self._step(None)\n",
        OF_SESSION,
    ),
    Mutant(
        "play: every step is an episode's first to the watcher",
        WATCHER,
        "self._memory, self._after, self._is_first = self._after, None, False",
        "self._memory, self._after, self._is_first = self._after, None, True",
        OF_SESSION,
    ),
    Mutant(
        "play: an ended episode is drawn as the next one's start",
        "zoo/playing/reality.py",
        "        if done[0]:  # not",
        "        if False:  # not",
        OF_SESSION,
    ),
    Mutant(
        "play: a picture of the dream is drawn of normalized numbers",
        SESSION,
        "return observation if self.reality is None else self.reality.raw(observation)",
        "return observation",
        OF_SESSION,
    ),
    Mutant(
        "play: a script forgets where the dream began anew",
        SESSION,
        '        self._events.append(Event(len(self._actions), "here", self._n))\n',
        "",
        OF_SESSION,
    ),
    Mutant(
        "play: foreign names for this machine are let in",
        SERVER,
        "if len(hosts) != 1 or hosts[0] not in self.hosts:",
        "if len(hosts) != 1:",
        OF_SERVER,
    ),
    Mutant(
        "play: pages of other origins are let in",
        SERVER,
        "return len(origins) == 1 and origins[0] in self.origins",
        "return len(origins) == 1",
        OF_SERVER,
    ),
    Mutant(
        "play: sockets without an origin are let in",
        SERVER,
        '            return kind == "http"\n',
        "            return True\n",
        OF_SERVER,
    ),
    Mutant(
        "play: the place of a browser that has gone stays taken",
        SERVER,
        "            self._playing -= 1\n",
        "            pass\n",
        OF_SERVER,
    ),
    Mutant(
        "play: a browser that does not look is run ahead of",
        BROWSER,
        " or self._sent - self._seen >= ON_THE_WAY",
        "",
        OF_SERVER,
    ),
    Mutant(
        "play: an episode does not wait for a person's first action",
        BROWSER,
        'self.session.pilot == "person"\n        await self._say_state()',
        "False\n        await self._say_state()",
        OF_SERVER,
    ),
    Mutant(
        "play: an episode begins with the last action of the one before",
        BROWSER,
        "        self._action, self._waits = self.session.controls.rest, ",
        "        self._action, self._waits = self._action, ",
        OF_SERVER,
    ),
    Mutant(
        "play: a key does not take over",
        BROWSER,
        '        if self._waits or self.session.pilot != "person":\n',
        "        if self._waits:\n",
        OF_SERVER,
    ),
    Mutant(
        "play: the pendulum is drawn upside down",
        "zoo/playing/painters.py",
        "return np.array([math.atan2(obs[1], obs[0]), obs[2]])",
        "return np.array([math.atan2(obs[1], -obs[0]), obs[2]])",
        ("tests/playing/test_painters.py",),
    ),
    Mutant(
        "play: what was wrong stays on the page",
        "zoo/playing/page.html",
        'if (what !== "seen") say("");',
        "",
        ("tests/playing/test_browser.py",),
    ),
    Mutant(
        "play: pictures cover what an episode waits for",
        "zoo/playing/page.html",
        "#waits { position: absolute; z-index: 1;",
        "#waits { position: absolute;",
        ("tests/playing/test_browser.py",),
    ),
    Mutant(
        "play: an error that nobody expects ends the play",
        BROWSER,
        "except Exception as error:  # an environment",
        "except ValueError as error:  # an environment",
        OF_SERVER,
    ),
    Mutant(
        "play: a session that cannot be made ends without a word",
        SERVER,
        "except Exception as error:  # some",
        "except ValueError as error:  # some",
        OF_SERVER,
    ),
]
