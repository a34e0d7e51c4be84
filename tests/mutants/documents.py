"""Mistakes in the documents: counts, tables of settings, the reference, pages that nobody finds."""

from tests.mutants.mutant import Mutant

SETTINGS, REFERENCES = "docs/extensions/settings.py", "docs/extensions/references.py"
AGENTS = ("tests/docs/test_agent_pages.py",)
REFERENCE = ("tests/docs/test_reference.py",)
DOCUMENTS = ("tests/docs/test_documents.py",)

MUTANTS = [
    Mutant(
        "documents: a page counts a parameter too many",
        "docs/agents/planet.md",
        "| `rssm` | 779,745 |",
        "| `rssm` | 779,746 |",
        AGENTS,
    ),
    Mutant(
        "documents: a size of DreamerV3 is another",
        "docs/agents/dreamer_v3.md",
        "| `12m` | 9,738,019 |",
        "| `12m` | 9,738,018 |",
        AGENTS,
    ),
    Mutant(
        "documents: an agent's page shows the settings of another",
        "docs/agents/dreamer_v2.md",
        ".. settings:: dreamzoo.DreamerV2\n",
        ".. settings:: dreamzoo.DreamerV1\n",
        AGENTS,
    ),
    Mutant(
        "documents: tables of settings repeat what all agents have",
        SETTINGS,
        "left_out = PLUMBING | (SHARED if takes_shared else set())",
        "left_out = PLUMBING",
        AGENTS,
    ),
    Mutant(
        "documents: tables show numbers as floats",
        SETTINGS,
        'return f"``{default:.6g}``"',
        'return f"``{default!r}``"',
        AGENTS,
    ),
    Mutant(
        "documents: a package is missing in the reference",
        "docs/api/planning.md",
        ".. automodule:: dreamzoo.planning\n",
        ".. module:: dreamzoo.planning\n",
        REFERENCE,
    ),
    Mutant(
        "documents: whatever stands in a docstring is said to exist",
        REFERENCES,
        "        if not hasattr(thing, name):\n            return False\n",
        "        if not hasattr(thing, name):\n            return True\n",
        REFERENCE,
    ),
    Mutant(
        "documents: a tutorial is in no table of contents",
        "docs/tutorials/index.md",
        "plan_with_cem\n",
        "",
        DOCUMENTS,
    ),
    Mutant(
        "documents: cells of tutorials are not run",
        "tests/docs/documents.py",
        '.replace("{code-cell}", "python")',
        "",
        DOCUMENTS,
    ),
]
