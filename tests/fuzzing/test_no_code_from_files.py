"""The source runs nothing from files: no eval, no unpickling, no shell, no archive written out."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import archgrad

SOURCE = Path(archgrad.__file__).parent
MODULES = {"pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}
BUILTINS = {"eval", "exec", "compile", "__import__"}
CALLS = {
    "os.system", "os.popen", "yaml.load", "yaml.load_all", "yaml.full_load", "yaml.unsafe_load",
    "pandas.read_pickle", "torch.jit.load", "torch.hub.load", "shutil.unpack_archive",
}  # fmt: skip
ANYWHERE = {"extractall", "extract", "__reduce_ex__"}
READERS = {  # the allow-list readers, and what else reads files in forms that could hold code
    "storage/plain_pickle.py": "plain data from pickles, without the module pickle",
    "storage/checkpoints.py": "torch.load, with weights_only and after a check by plain_pickle",
    "system/distributed.py": "torch.load, with weights_only, of what another process sent",
    "data/files.py": "numpy.load, with allow_pickle=False",
    "untrusted.py": "YAML, with SafeLoader and limits",
}
NEEDED = {"torch.load": ("weights_only", True), "np.load": ("allow_pickle", False)}
NEEDED["numpy.load"] = NEEDED["np.load"]
CODE = {  # modules of the library by names of the library, and no data
    "__init__.py": "import_module of archgrad's own modules",
    "data/images.py": "import_module of extra packages",
}


def findings(text: str, place: str) -> Iterator[str]:
    """What a module does that none may do, as "line: what"."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            first = [alias.name for alias in node.names]
            names = first if isinstance(node, ast.Import) else [node.module or "", *first]
            yield from (f"{node.lineno}: {n}" for n in names if n.split(".")[0] in MODULES)
        if isinstance(node, ast.Call):
            yield from (f"{node.lineno}: {what}" for what in _of_call(node, place))


def _of_call(node: ast.Call, place: str) -> Iterator[str]:
    name = ast.unparse(node.func)
    options = {one.arg: getattr(one.value, "value", None) for one in node.keywords}
    if name in BUILTINS | CALLS or name.rpartition(".")[2] in ANYWHERE:
        yield name
    if name in NEEDED:
        option, value = NEEDED[name]
        if options.get(option) is not value or place not in READERS:
            yield f"{name} without {option}={value}, or in another place"
    if "shell" in options and options["shell"] is not False:
        yield "a shell"
    if name.endswith("Loader") and name.startswith("yaml") and name != "yaml.SafeLoader":
        yield name
    if name in ("yaml.safe_load", "yaml.SafeLoader") and place not in READERS:
        yield f"{name} without the limits of archgrad.untrusted"
    if name.rpartition(".")[2] == "import_module" and place not in CODE:
        yield name


def test_no_module_does_it() -> None:
    paths = sorted(SOURCE.rglob("*.py"))
    found = {
        place: list(findings(path.read_text(encoding="utf-8"), place))
        for path in paths
        for place in [path.relative_to(SOURCE).as_posix()]
    }
    assert len(paths) > 200
    assert {place: what for place, what in found.items() if what} == {}
    assert set(READERS) <= found.keys()


@pytest.mark.parametrize(
    "text",
    [
        "import pickle", "from pickle import loads", "import marshal as m", "eval(x)", "exec(x)",
        "compile(x, 'a', 'exec')", "__import__(x)", "torch.load(p)", "os.system(c)",
        "torch.load(p, weights_only=False)", "torch.load(p, weights_only=True)", "yaml.load(t)",
        "np.load(p)", "np.load(p, allow_pickle=True)", "subprocess.run(c, shell=True)",
        "subprocess.run(c, shell=flag)", "archive.extractall(p)", "tar.extract(m)",
        "yaml.Loader(t)", "yaml.safe_load(t)", "importlib.import_module(name)", "import dill",
    ],
)  # fmt: skip
def test_the_walk_sees_each(text: str) -> None:
    assert list(findings(text, "elsewhere.py"))


@pytest.mark.parametrize(
    "text", ["torch.compile(net)", "network.eval()", "re.compile(p)", "model.load(p)"]
)
def test_the_walk_sees_nothing_else(text: str) -> None:
    assert not list(findings(text, "elsewhere.py"))
